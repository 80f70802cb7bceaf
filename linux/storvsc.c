// SPDX-License-Identifier: GPL-2.0-only
/*
 * hv_storvsc: SCSI controllers, and IDE disks by their fast path. Here is the life of a controller:
 * from probe to remove, and recovery in between.
 *
 * Recovery is for channels of no use any more: the host broke a ring, or gave no answer until it
 * was too late. All channels are closed, which ends all commands; then the controller is set up
 * anew and they are sent again. Where that fails, or the device is going, the controller is dead:
 * all commands fail from then on, so that nobody waits for them.
 *
 * While a controller is not dead its host may have memory of commands; storvsc_port_close() is what
 * takes it back.
 */
#include <linux/blk-mq.h>
#include <linux/cpumask.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/topology.h>

#include <scsi/scsi_device.h>

#include "linux/storvsc_host.h"
#include "vmbus/packet.h"

static int storvsc_ringbuffer_size = 128 * 1024;
module_param(storvsc_ringbuffer_size, int, 0444);
MODULE_PARM_DESC(storvsc_ringbuffer_size, "Bytes of each ring (default: 131072)");

static unsigned int storvsc_max_hw_queues;
module_param(storvsc_max_hw_queues, uint, 0644);
MODULE_PARM_DESC(storvsc_max_hw_queues, "Most hardware queues (default: one for each CPU)");

static unsigned int storvsc_vcpus_per_sub_channel = 4;
module_param(storvsc_vcpus_per_sub_channel, uint, 0444);
MODULE_PARM_DESC(storvsc_vcpus_per_sub_channel,
		 "CPUs for each channel that commands in flight are reckoned for (default: 4)");

static unsigned int storvsc_timeout = 180;
module_param(storvsc_timeout, uint, 0444);
MODULE_PARM_DESC(storvsc_timeout,
		 "Seconds until a command is late and its LUN is reset (default: 180, 0: never)");

/* Both rings go into one GPADL; and a ring that holds no long command is of no use. [policy] */
#define RING_BYTES_MIN (16u * 1024)
#define RING_BYTES_MAX (8u * 1024 * 1024)
/* A command of this many pages is what a ring is reckoned to hold. As in every storvsc. */
#define USUAL_PAGES 32
/* Of one LUN, to begin with. As in every storvsc. */
#define COMMANDS_PER_LUN 2048
#define CDB_BYTES_MAX STORVSC_CDB_BYTES
/* So many recoveries within so long are the last ones. [policy] */
#define RECOVERIES_MAX 8
#define RECOVERIES_SECONDS 600

/* For recovery, which memory may depend on. */
static struct workqueue_struct *recovery_wq;

enum {
	DEVICE_SCSI, /* also what new_id brings */
	DEVICE_IDE,
};

/* What the core needs of a system */

static void *core_alloc(void *port, size_t bytes)
{
	return kvmalloc(bytes, GFP_KERNEL);
}

static void core_release(void *port, void *memory)
{
	kvfree(memory);
}

static uint32_t core_node_of_cpu(void *port, uint32_t cpu)
{
	return (uint32_t)cpu_to_node(cpu);
}

/* Channels of a controller */

/* Returns whether the host did not let go of the primary. */
static bool close_ports(struct storvsc_host *host)
{
	struct storvsc_port *port, *previous;
	bool lost = false;

	lockdep_assert_held(&host->mutex);
	/* The primary is the first, and the last to go. */
	list_for_each_entry_safe_reverse(port, previous, &host->ports, node)
		lost = storvsc_port_close(port);
	return lost;
}

/* Wait until the set-up is through, one way or the other. A rescind ends it at once, or nearly. */
static int wait_for_set_up(struct storvsc_host *host, const struct storvsc_port *primary)
{
	while (!wait_for_completion_timeout(&host->set_up_done, HZ / 10)) {
		if (lis_channel_rescinded(primary->channel))
			return -ENODEV;
		if (READ_ONCE(host->removing))
			return -ECANCELED;
	}
	if (READ_ONCE(host->core.state) == STORVSC_READY)
		return 0;
	return host->core.error ? lis_errno(host->core.error) : -EPROTO;
}

/* Returns 0, or -errno with no port open. */
static int set_up(struct storvsc_host *host)
{
	struct storvsc_port *primary;
	int error;

	reinit_completion(&host->set_up_done);
	error = storvsc_port_open(host, host->device->channel, &primary);
	if (error)
		return error;
	error = storvsc_port_start(primary);
	if (!error)
		error = wait_for_set_up(host, primary);
	if (error)
		storvsc_port_close(primary);
	return error;
}

static void storvsc_sub_channel_offered(struct lis_device *device, struct lis_channel *channel)
{
	struct storvsc_host *host = dev_get_drvdata(&device->dev);
	struct storvsc_port *port;
	int error = 0;

	mutex_lock(&host->mutex);
	if (!host->dead)
		error = storvsc_port_open(host, channel, &port);
	mutex_unlock(&host->mutex);
	if (error && !lis_channel_rescinded(channel))
		dev_warn(&device->dev, "sub-channel %u cannot be used, error %d\n",
			 channel->core.offer.sub_channel_index, error);
}

static void storvsc_sub_channel_rescinded(struct lis_device *device, struct lis_channel *channel)
{
	struct storvsc_host *host = dev_get_drvdata(&device->dev);
	struct storvsc_port *port;

	mutex_lock(&host->mutex);
	list_for_each_entry(port, &host->ports, node) {
		if (port->channel == channel) {
			storvsc_port_close(port);
			break;
		}
	}
	mutex_unlock(&host->mutex);
}

static void move_ports(struct work_struct *work)
{
	struct storvsc_host *host = container_of(work, struct storvsc_host, move_work);
	struct storvsc_port *port;

	mutex_lock(&host->mutex);
	list_for_each_entry(port, &host->ports, node)
		storvsc_channel_set_cpu(&port->core, READ_ONCE(port->channel->cpu));
	mutex_unlock(&host->mutex);
}

/* The bus does not close the channel, nor we free the port, while this runs. */
static void storvsc_channel_moved(struct lis_channel *channel)
{
	struct storvsc_port *port = channel->user;

	queue_work(system_long_wq, &port->host->move_work);
}

/* What is late, and recovery */

void storvsc_host_watch(struct storvsc_host *host)
{
	queue_delayed_work(recovery_wq, &host->timer, HZ);
}

/*
 * A channel that was rescinded is closed when the bus says so, which it cannot while probe or
 * remove runs; and these may be waiting for a command.
 */
static bool will_not_answer(const struct storvsc_port *port)
{
	return lis_channel_rescinded(port->host->device->channel) ||
	       (READ_ONCE(port->host->removing) && lis_channel_rescinded(port->channel));
}

static void on_timer(struct work_struct *work)
{
	struct storvsc_host *host = container_of(work, struct storvsc_host, timer.work);
	struct storvsc_port *port;
	bool busy = false;

	rcu_read_lock();
	list_for_each_entry_rcu(port, &host->ports, node) {
		if (!storvsc_port_tick(port))
			continue;
		busy = true;
		if (will_not_answer(port))
			storvsc_host_recover_later(port);
	}
	rcu_read_unlock();
	if (busy)
		storvsc_host_watch(host);
}

void storvsc_host_recover_later(struct storvsc_port *port)
{
	WRITE_ONCE(port->failed, true);
	queue_work(recovery_wq, &port->host->recover_work);
}

/* A host that breaks everything again and again is not worth it. */
static bool too_often(struct storvsc_host *host)
{
	u64 now = get_jiffies_64();

	if (!host->recoveries || now - host->recoveries_since > RECOVERIES_SECONDS * HZ) {
		host->recoveries = 0;
		host->recoveries_since = now;
	}
	return ++host->recoveries > RECOVERIES_MAX;
}

static void give_up(struct storvsc_host *host)
{
	mutex_lock(&host->mutex);
	WRITE_ONCE(host->dead, true);
	close_ports(host);
	mutex_unlock(&host->mutex);
}

/* Close all channels and, @again, set them up anew. Returns 0, or -errno: it is dead. */
static int recover(struct storvsc_host *host, bool again)
{
	struct device *dev = &host->device->dev;
	int error = -ENODEV;
	bool going;

	lockdep_assert_held(&host->mutex);
	if (host->dead || host->suspended)
		return -ENODEV;
	going = lis_channel_rescinded(host->device->channel) || READ_ONCE(host->removing);
	if (!going)
		dev_warn(dev, "resetting the controller\n");
	if (going || !again)
		WRITE_ONCE(host->dead, true);
	scsi_block_requests(host->shost);
	if (close_ports(host))
		error = -EBUSY;
	else if (!host->dead)
		error = set_up(host);
	if (error)
		WRITE_ONCE(host->dead, true);
	scsi_unblock_requests(host->shost);
	if (error && !going)
		dev_err(dev, "the controller cannot be used any more, error %d\n", error);
	return error;
}

int storvsc_host_reset(struct storvsc_host *host)
{
	int error;

	mutex_lock(&host->mutex);
	error = recover(host, true);
	mutex_unlock(&host->mutex);
	return error;
}

static bool any_failed(struct storvsc_host *host)
{
	struct storvsc_port *port;

	list_for_each_entry(port, &host->ports, node)
		if (READ_ONCE(port->failed))
			return true;
	return false;
}

static void recover_failed(struct work_struct *work)
{
	struct storvsc_host *host = container_of(work, struct storvsc_host, recover_work);

	mutex_lock(&host->mutex);
	if (any_failed(host))
		recover(host, !too_often(host));
	mutex_unlock(&host->mutex);
}

/* Probe and remove */

static u32 ring_bytes(void)
{
	int bytes = clamp_t(int, storvsc_ringbuffer_size, RING_BYTES_MIN, RING_BYTES_MAX);

	return round_up((u32)bytes, HV_PAGE_BYTES);
}

/* One channel for each CPU, if the host has so many. */
static u16 sub_channels_wanted(const struct storvsc_host *host)
{
	if (host->is_ide)
		return 0;
	return (u16)min(num_online_cpus() - 1, STORVSC_CHANNELS_MAX - 1);
}

/*
 * As many commands as rings hold, of so many channels as hosts usually have, and the block layer
 * has tags for.
 */
static unsigned int commands_at_once(const struct storvsc_host *host)
{
	size_t bytes = vmbus_packet_ring_bytes(sizeof(struct vmbus_gpa_direct_head) +
					       sizeof(struct vmbus_gpa_range) +
					       (USUAL_PAGES + 1) * sizeof(u64),
					       STORVSC_PACKET_BYTES_LONG);
	unsigned int channels = 1;

	if (!host->is_ide)
		channels += (num_online_cpus() - 1) / max(storvsc_vcpus_per_sub_channel, 1u);
	return min_t(size_t, host->ring_bytes / bytes * channels, BLK_MQ_MAX_DEPTH);
}

static unsigned int hw_queues(const struct storvsc_host *host)
{
	unsigned int most = READ_ONCE(storvsc_max_hw_queues);

	if (host->is_ide)
		return 1;
	return most ? min(most, num_present_cpus()) : num_present_cpus();
}

static int init_core(struct storvsc_host *host)
{
	const struct storvsc_config config = {
		.name = dev_name(&host->device->dev),
		.alloc = core_alloc,
		.release = core_release,
		.node_of_cpu = core_node_of_cpu,
		.port = host,
		.cpu_count = nr_cpu_ids,
		.sub_channels_wanted = sub_channels_wanted(host),
		.transfer_bytes_max = (SG_MAX_SEGMENTS - 1) * HV_PAGE_BYTES,
		.setup_timeout_ns = STORVSC_SET_UP_SECONDS * NSEC_PER_SEC,
		.reset_grace_ns = STORVSC_GRACE_SECONDS * NSEC_PER_SEC,
	};

	return lis_errno(storvsc_init(&host->core, &config));
}

static void host_destroy(struct storvsc_host *host)
{
	cancel_work_sync(&host->recover_work);
	cancel_delayed_work_sync(&host->timer);
	cancel_work_sync(&host->move_work);
	storvsc_scsi_fini(host);
	dev_set_drvdata(&host->device->dev, NULL);
	storvsc_fini(&host->core);
	kvfree(host->queues);
	scsi_host_put(host->shost);
}

static struct storvsc_host *host_create(struct lis_device *device, bool is_ide)
{
	struct Scsi_Host *shost = scsi_host_alloc(&storvsc_template, sizeof(struct storvsc_host));
	struct storvsc_host *host;

	if (!shost)
		return NULL;
	host = to_storvsc_host(shost);
	host->device = device;
	host->shost = shost;
	host->is_ide = is_ide;
	host->ring_bytes = ring_bytes();
	host->timeout_ns = storvsc_timeout * NSEC_PER_SEC;
	mutex_init(&host->mutex);
	INIT_LIST_HEAD(&host->ports);
	init_completion(&host->set_up_done);
	INIT_DELAYED_WORK(&host->timer, on_timer);
	INIT_WORK(&host->recover_work, recover_failed);
	INIT_WORK(&host->move_work, move_ports);
	storvsc_scsi_init(host);
	shost->can_queue = commands_at_once(host);
	shost->nr_hw_queues = hw_queues(host);
	dev_set_drvdata(&device->dev, host);
	/* A power of two is what memory is aligned to. */
	host->queues = kvcalloc(roundup_pow_of_two(shost->nr_hw_queues), sizeof(*host->queues),
				GFP_KERNEL);
	if (host->queues && !init_core(host))
		return host;
	host_destroy(host);
	return NULL;
}

/* Of IDE, the device's number on its cable is the middle of its instance id. */
static unsigned int ide_target(const struct lis_device *device)
{
	const u8 *id = device->channel->core.offer.instance_id.bytes;

	return id[5] << 8 | id[4];
}

static void set_limits(struct storvsc_host *host)
{
	struct Scsi_Host *shost = host->shost;
	u32 pages = host->core.transfer_bytes_max / HV_PAGE_BYTES;

	shost->max_sectors = host->core.transfer_bytes_max >> SECTOR_SHIFT;
	shost->sg_tablesize = pages + 1;
	shost->max_cmd_len = CDB_BYTES_MAX;
	shost->cmd_per_lun = COMMANDS_PER_LUN;
	shost->max_channel = host->is_ide ? 0 : STORVSC_PATHS - 1;
	shost->max_id = host->is_ide ? ide_target(host->device) + 1 : STORVSC_TARGETS;
	shost->max_lun = host->is_ide ? 1 : STORVSC_LUNS - 1;
}

/* Returns 0, or -errno, having taken it from the SCSI layer again. */
static int add_to_scsi(struct storvsc_host *host)
{
	int error = scsi_add_host(host->shost, &host->device->dev);

	if (error)
		return error;
	WRITE_ONCE(host->added, true);
	if (!host->is_ide) {
		scsi_scan_host(host->shost);
		return 0;
	}
	error = scsi_add_device(host->shost, 0, ide_target(host->device), 0);
	if (error)
		scsi_remove_host(host->shost);
	return error;
}

static int storvsc_probe(struct lis_device *device, const struct hv_vmbus_device_id *id)
{
	bool is_ide = id->driver_data == DEVICE_IDE;
	struct storvsc_host *host;
	int error;

	if (is_ide && ide_target(device) >= STORVSC_TARGETS)
		return -ENODEV;
	host = host_create(device, is_ide);
	if (!host)
		return -ENOMEM;
	dma_set_min_align_mask(&device->dev, HV_PAGE_BYTES - 1);
	mutex_lock(&host->mutex);
	error = set_up(host);
	mutex_unlock(&host->mutex);
	if (error)
		goto give_up;
	set_limits(host);
	error = add_to_scsi(host);
	if (error)
		goto give_up;
	return 0;

give_up:
	give_up(host);
	host_destroy(host);
	return error;
}

static void storvsc_remove(struct lis_device *device)
{
	struct storvsc_host *host = dev_get_drvdata(&device->dev);

	/* From here on recovery gives up, too. */
	WRITE_ONCE(host->removing, true);
	/* With a host that is still there caches are written back first. */
	if (lis_channel_rescinded(device->channel))
		give_up(host);
	scsi_remove_host(host->shost);
	give_up(host);
	host_destroy(host);
}

/*
 * Commands that come now wait, and so do those that had not ended. Nobody is kept from hibernation: where
 * this were to fail, resume would not be called.
 */
static int storvsc_suspend(struct lis_device *device)
{
	struct storvsc_host *host = dev_get_drvdata(&device->dev);

	mutex_lock(&host->mutex);
	scsi_block_requests(host->shost);
	host->suspended = true;
	if (close_ports(host))
		WRITE_ONCE(host->dead, true);
	mutex_unlock(&host->mutex);
	return 0;
}

static int storvsc_resume(struct lis_device *device)
{
	struct storvsc_host *host = dev_get_drvdata(&device->dev);
	int error = -ENODEV;

	mutex_lock(&host->mutex);
	host->suspended = false;
	if (!host->dead)
		error = set_up(host);
	if (error)
		WRITE_ONCE(host->dead, true);
	scsi_unblock_requests(host->shost);
	mutex_unlock(&host->mutex);
	if (error)
		dev_err(&device->dev, "the controller is not there after hibernation, error %d\n",
			error);
	return error;
}

static const struct hv_vmbus_device_id ids[] = {
	{ GUID_INIT(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f),
	  .driver_data = DEVICE_SCSI },
	{ GUID_INIT(0x32412632, 0x86cb, 0x44a2, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5),
	  .driver_data = DEVICE_IDE },
	{ },
};
MODULE_DEVICE_TABLE(vmbus, ids);

static struct lis_driver driver = {
	.name = "hv_storvsc",
	.ids = ids,
	.probe = storvsc_probe,
	.remove = storvsc_remove,
	.sub_channel_offered = storvsc_sub_channel_offered,
	.sub_channel_rescinded = storvsc_sub_channel_rescinded,
	.channel_moved = storvsc_channel_moved,
	.suspend = storvsc_suspend,
	.resume = storvsc_resume,
	.driver = {
		.probe_type = PROBE_PREFER_ASYNCHRONOUS,
	},
};

static int __init storvsc_module_init(void)
{
	int error = -ENOMEM;

	recovery_wq = alloc_workqueue("hv_storvsc_recovery", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!recovery_wq)
		return -ENOMEM;
	storvsc_poll_wq = alloc_workqueue("hv_storvsc_poll",
					  WQ_MEM_RECLAIM | WQ_HIGHPRI | WQ_PERCPU, 0);
	if (!storvsc_poll_wq)
		goto destroy_recovery;
	error = lis_driver_register(&driver);
	if (error)
		goto destroy_poll;
	return 0;

destroy_poll:
	destroy_workqueue(storvsc_poll_wq);
destroy_recovery:
	destroy_workqueue(recovery_wq);
	return error;
}

static void __exit storvsc_module_exit(void)
{
	lis_driver_unregister(&driver);
	destroy_workqueue(storvsc_poll_wq);
	destroy_workqueue(recovery_wq);
}

module_init(storvsc_module_init);
module_exit(storvsc_module_exit);

MODULE_AUTHOR("The OpenLIS developers");
MODULE_DESCRIPTION("Hyper-V's SCSI controllers, guest end");
MODULE_LICENSE("GPL");
MODULE_VERSION(OPENLIS_VERSION);
