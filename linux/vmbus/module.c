// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module: finds the VMBus in ACPI's tables, connects to the host, and takes leave of it, in
 * peace (removal), in haste (kexec) or in a panic.
 */
#include <linux/acpi.h>
#include <linux/cpuhotplug.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/panic_notifier.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "linux/vmbus/private.h"

struct lis_bus lis_bus = {
	.lock = __SPIN_LOCK_UNLOCKED(lis_bus.lock),
	.channels_lock = __MUTEX_INITIALIZER(lis_bus.channels_lock),
	.channels = LIST_HEAD_INIT(lis_bus.channels),
	.absent = LIST_HEAD_INIT(lis_bus.absent),
};

static unsigned int max_version;
module_param(max_version, uint, 0444);
MODULE_PARM_DESC(max_version, "Newest version of the VMBus to ask the host for, "
			      "major << 16 | minor (default: the newest there is)");

u32 lis_bus_version(void)
{
	return READ_ONCE(lis_bus.client.version);
}
EXPORT_SYMBOL_GPL(lis_bus_version);

bool lis_bus_can_hibernate(void)
{
	return IS_ENABLED(CONFIG_HIBERNATION);
}
EXPORT_SYMBOL_GPL(lis_bus_can_hibernate);

/* What the client asks of us, under the bus' lock */

static void retry(struct work_struct *work)
{
	unsigned long flags;

	spin_lock_irqsave(&lis_bus.lock, flags);
	vmbus_client_retry(&lis_bus.client);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
}

static void on_retry_later(void *port)
{
	mod_delayed_work(system_highpri_wq, &lis_bus.retry_work, 1);
}

static void on_signal(void *port, uint32_t connection_id)
{
	hv_do_fast_hypercall8(HVCALL_SIGNAL_EVENT, connection_id);
}

static void on_set_interrupt_page_bit(void *port, uint32_t channel_id)
{
	unsigned long *upper_half = lis_bus.interrupt_page + HV_PAGE_BYTES / 2;

	set_bit(channel_id, upper_half);
}

static void on_connected(void *port, int error)
{
	lis_bus.connected_error = error;
	complete(&lis_bus.connected_answer);
}

static void on_unloaded(void *port)
{
	complete(&lis_bus.unloaded);
}

static void on_offers_delivered(void *port)
{
	complete(&lis_bus.delivered);
}

/* The connection is over: lis_bus_free_channels() makes an end of all, or nobody cares any more. */
static void on_channel_forgotten(void *port, struct vmbus_client_channel *core)
{
}

const struct vmbus_client_ops lis_client_ops = {
	.post_message = lis_post_message,
	.signal = on_signal,
	.set_interrupt_page_bit = on_set_interrupt_page_bit,
	.retry_later = on_retry_later,
	.connected = on_connected,
	.unloaded = on_unloaded,
	.channel_alloc = lis_channel_alloc,
	.channel_forgotten = on_channel_forgotten,
	.offered = lis_bus_on_offered,
	.offers_delivered = on_offers_delivered,
	.rescinded = lis_bus_on_rescinded,
	.opened = lis_channel_on_opened,
	.modified = lis_channel_on_modified,
	.gpadl_created = lis_memory_on_gpadl_created,
	.gpadl_torn_down = lis_memory_on_gpadl_torn_down,
};

/* Connecting */

static int connect(void)
{
	const struct vmbus_client_config config = {
		.version_max = lis_bus.newest_version,
		.target_vp = hv_cpu_number_to_vp_number(0),
		.interrupt_page_gpa = virt_to_phys(lis_bus.interrupt_page),
		.host_to_guest_monitor_gpa = virt_to_phys(lis_bus.monitor_pages[0]),
		.guest_to_host_monitor_gpa = virt_to_phys(lis_bus.monitor_pages[1]),
	};
	int error;

	reinit_completion(&lis_bus.connected_answer);
	spin_lock_irq(&lis_bus.lock);
	error = vmbus_client_connect(&lis_bus.client, &config);
	spin_unlock_irq(&lis_bus.lock);
	if (error) {
		pr_err("hv_vmbus: there is no version up to 0x%x\n", lis_bus.newest_version);
		return lis_errno(error);
	}
	if (!wait_for_completion_timeout(&lis_bus.connected_answer, LIS_ANSWER_SECONDS * HZ)) {
		pr_err("hv_vmbus: the host does not answer\n");
		return -ETIMEDOUT;
	}
	if (lis_bus.connected_error) {
		pr_err("hv_vmbus: the host takes no version of the VMBus that we know\n");
		return lis_errno(lis_bus.connected_error);
	}
	pr_info("hv_vmbus: Vmbus version:%u.%u\n", lis_bus_version() >> 16,
		lis_bus_version() & 0xffff);
	return 0;
}

/* All devices that are there now are devices of Linux when this returns. */
static int request_offers(void)
{
	int error;

	reinit_completion(&lis_bus.delivered);
	spin_lock_irq(&lis_bus.lock);
	error = vmbus_client_request_offers(&lis_bus.client);
	spin_unlock_irq(&lis_bus.lock);
	if (error)
		return lis_errno(error);
	if (!wait_for_completion_timeout(&lis_bus.delivered, LIS_ANSWER_SECONDS * HZ))
		pr_warn("hv_vmbus: the host has not told of all devices yet\n");
	flush_workqueue(lis_bus.devices);
	return 0;
}

/* Returns false where the host does not answer. */
static bool disconnect(void)
{
	unsigned long flags;

	spin_lock_irqsave(&lis_bus.lock, flags);
	lis_bus.stopping = true;
	reinit_completion(&lis_bus.unloaded);
	vmbus_client_unload(&lis_bus.client);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	if (wait_for_completion_timeout(&lis_bus.unloaded, LIS_UNLOAD_SECONDS * HZ))
		return true;
	pr_err("hv_vmbus: the host does not let go of this guest\n");
	return false;
}

/* Panic and kexec */

/* Messages are taken from the slots of all CPUs. */
static void crash_unload(void)
{
	lis_bus.stopping = true;
	reinit_completion(&lis_bus.unloaded);
	vmbus_client_unload(&lis_bus.client);
	for (unsigned int i = 0; i < LIS_UNLOAD_SECONDS * 100; i++) {
		if (completion_done(&lis_bus.unloaded))
			break;
		lis_synic_poll_messages();
		vmbus_client_retry(&lis_bus.client);
		mdelay(10);
	}
}

/*
 * No other CPU can be relied on, nor that whoever holds the lock lets go of it: try for a while,
 * then go ahead without.
 */
void lis_bus_crash_unload(void)
{
	for (unsigned int i = 0; i < 1000; i++) {
		if (spin_trylock(&lis_bus.lock)) {
			crash_unload();
			spin_unlock(&lis_bus.lock);
			return;
		}
		udelay(10);
	}
	crash_unload();
}

static int on_panic(struct notifier_block *block, unsigned long event, void *data)
{
	lis_bus_crash_unload();
	return NOTIFY_DONE;
}

/* After all who want to say something to a device. */
static struct notifier_block panic_block = {
	.notifier_call = on_panic,
	.priority = INT_MIN + 1,
};

static void on_crash(struct pt_regs *registers)
{
	unsigned int cpu = smp_processor_id();

	lis_bus_crash_unload();
	hv_stimer_cleanup(cpu);
	lis_synic_disable_cpu(cpu);
}

/*
 * Newer kernels have stopped the timers of all CPUs by now, so nothing here may wait for time to pass or
 * for RCU: only for what the host and other CPUs do. What memory there is need not be freed.
 */
static void on_kexec(void)
{
	disconnect();
	lis_synic_leave_cpus();
	/* Older ones leave that to us. */
	compat_kexec_stop_timers();
}

/* The device in ACPI's tables */

static void free_pages_of_bus(void)
{
	free_page((unsigned long)lis_bus.interrupt_page);
	free_page((unsigned long)lis_bus.monitor_pages[0]);
	free_page((unsigned long)lis_bus.monitor_pages[1]);
	free_page((unsigned long)lis_bus.post_page);
}

static int alloc_pages_of_bus(void)
{
	lis_bus.interrupt_page = (void *)get_zeroed_page(GFP_KERNEL);
	lis_bus.monitor_pages[0] = (void *)get_zeroed_page(GFP_KERNEL);
	lis_bus.monitor_pages[1] = (void *)get_zeroed_page(GFP_KERNEL);
	lis_bus.post_page = (void *)get_zeroed_page(GFP_KERNEL);
	if (lis_bus.interrupt_page && lis_bus.monitor_pages[0] && lis_bus.monitor_pages[1] &&
	    lis_bus.post_page)
		return 0;
	free_pages_of_bus();
	return -ENOMEM;
}

static int start(void)
{
	int error = alloc_pages_of_bus();

	if (error)
		return error;
	error = -ENOMEM;
	lis_bus.messages = alloc_workqueue("hv_vmbus_messages", WQ_HIGHPRI | WQ_PERCPU, 0);
	if (!lis_bus.messages)
		goto free_pages;
	lis_bus.devices = alloc_ordered_workqueue("hv_vmbus_devices", 0);
	if (!lis_bus.devices)
		goto free_messages;
	lis_bus.stopping = false;
	lis_bus.newest_version = max_version;
	vmbus_client_init(&lis_bus.client, &lis_client_ops, &lis_bus);
	error = lis_synic_start();
	if (error)
		goto free_devices;
	error = connect();
	if (error)
		goto stop;
	return 0;

stop:
	disconnect();
	cancel_delayed_work_sync(&lis_bus.retry_work);
	lis_synic_stop();
free_devices:
	destroy_workqueue(lis_bus.devices);
free_messages:
	destroy_workqueue(lis_bus.messages);
free_pages:
	free_pages_of_bus();
	return error;
}

static void stop(void)
{
	spin_lock_irq(&lis_bus.lock);
	lis_bus.stopping = true;
	spin_unlock_irq(&lis_bus.lock);
	flush_workqueue(lis_bus.devices);
	lis_bus_remove_devices();
	disconnect();
	cancel_delayed_work_sync(&lis_bus.retry_work);
	lis_synic_stop();
	lis_bus_free_channels();
	destroy_workqueue(lis_bus.devices);
	destroy_workqueue(lis_bus.messages);
	free_pages_of_bus();
}

static int vmbus_probe(struct platform_device *device)
{
	int error;

	if (lis_bus.root)
		return -EBUSY; /* there is one interrupt, so there is one bus */
	lis_bus.root = &device->dev;
	error = start();
	if (error) {
		lis_bus.root = NULL;
		return error;
	}
	hv_setup_kexec_handler(on_kexec);
	hv_setup_crash_handler(on_crash);
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
	error = request_offers();
	if (error)
		pr_err("hv_vmbus: the host was not asked for devices, error %d\n", error);
	return 0;
}

static const struct acpi_device_id acpi_ids[] = {
	{ "VMBUS", 0 },
	{ "VMBus", 0 },
	{ "", 0 },
};
MODULE_DEVICE_TABLE(acpi, acpi_ids);

/*
 * Hibernation, in two kernels: one takes leave of the host before the picture of its memory is made, connects
 * to write it, and takes leave for good; the other one does the same before it gives way to the first, which
 * finds a host that knows nothing of it. All devices have closed their channels before, and open them again
 * afterwards.
 */
static int vmbus_suspend(struct device *dev)
{
	u32 version = lis_bus_version();

	spin_lock_irq(&lis_bus.lock);
	lis_bus.stopping = true;
	spin_unlock_irq(&lis_bus.lock);
	flush_workqueue(lis_bus.devices);
	lis_bus_hide_channels();
	if (!disconnect())
		return -ETIMEDOUT;
	cancel_delayed_work_sync(&lis_bus.retry_work);
	lis_bus_free_other_channels();
	/* The other host may know less; more, and devices would be other than they were. */
	lis_bus.newest_version = version;
	return 0;
}

static int vmbus_resume(struct device *dev)
{
	int error;

	spin_lock_irq(&lis_bus.lock);
	lis_bus.stopping = false;
	spin_unlock_irq(&lis_bus.lock);
	error = connect();
	if (!error)
		error = request_offers();
	lis_bus_show_channels();
	return error;
}

/* Not before all else is awake: it is their drivers that remove them. */
static void vmbus_complete(struct device *dev)
{
	lis_bus_remove_absent();
}

static const struct dev_pm_ops vmbus_pm_ops = {
	.freeze_noirq = vmbus_suspend,
	.thaw_noirq = vmbus_resume,
	.poweroff_noirq = vmbus_suspend,
	.restore_noirq = vmbus_resume,
	.complete = vmbus_complete,
};

static struct platform_driver vmbus_driver = {
	.probe = vmbus_probe,
	.driver = {
		.name = "vmbus",
		.acpi_match_table = acpi_ids,
		.pm = &vmbus_pm_ops,
		.suppress_bind_attrs = true,
		.probe_type = PROBE_FORCE_SYNCHRONOUS,
	},
};

/* Why this guest cannot have our bus, or 0. */
static int check_guest(void)
{
	if (!hv_is_hyperv_initialized())
		return -ENODEV;
	/* Its driver has the same name as ours. Without it, a blacklisted one is not there. */
	if (driver_find(vmbus_driver.driver.name, &platform_bus_type)) {
		/* No error: both may be installed, and which is used is said by the command line. */
		pr_notice(KBUILD_MODNAME ": the kernel's own VMBus driver is built in and at work; to use this one, boot with initcall_blacklist=hv_acpi_init\n");
		return -EBUSY;
	}
	if (hv_is_isolation_supported()) {
		pr_err("hv_vmbus: confidential guests are not supported; use the kernel's own driver\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int __init vmbus_init(void)
{
	int error = check_guest();

	if (error)
		return error;
	init_completion(&lis_bus.connected_answer);
	init_completion(&lis_bus.delivered);
	init_completion(&lis_bus.unloaded);
	INIT_DELAYED_WORK(&lis_bus.retry_work, retry);
	error = lis_bus_type_register();
	if (error)
		return error;
	error = platform_driver_register(&vmbus_driver);
	if (error)
		goto unregister_bus;
	if (!lis_bus.root) {
		error = -ENODEV; /* no such device, or it could not be used, and probe said why */
		goto unregister_driver;
	}
	return 0;

unregister_driver:
	platform_driver_unregister(&vmbus_driver);
unregister_bus:
	lis_bus_type_unregister();
	return error;
}

/* The platform device stays and cannot be unbound, so this is the one way out of probe. */
static void __exit vmbus_exit(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_block);
	hv_remove_crash_handler();
	hv_remove_kexec_handler();
	stop();
	lis_bus.root = NULL;
	platform_driver_unregister(&vmbus_driver);
	lis_bus_type_unregister();
}

module_init(vmbus_init);
module_exit(vmbus_exit);

MODULE_AUTHOR("The OpenLIS developers");
MODULE_DESCRIPTION("Hyper-V's VMBus, guest end");
MODULE_LICENSE("GPL");
MODULE_VERSION(OPENLIS_VERSION);
