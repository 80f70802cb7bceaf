// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices and drivers: what the host offers becomes a device of Linux, or another channel of one;
 * what it rescinds goes again.
 *
 * Both happen on one ordered workqueue, so a channel's offer is dealt with before its rescind. A
 * channel's storage lives from its offer until the host has its id back, a device's until nobody
 * refers to it.
 */
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uuid.h>

#include "linux/vmbus/private.h"
#include "vmbus/interfaces.h"

/* How long until the next try to give an id back that something still hangs on. [policy] */
#define RELEASE_RETRY_MS 20

static_assert(sizeof(guid_t) == sizeof(struct guid));

static const guid_t *interface_of(const struct lis_device *device)
{
	return (const guid_t *)&device->channel->core.offer.interface_id;
}

/* Matching */

/* An id that came through new_id. */
struct dynamic_id {
	struct list_head node;
	struct hv_vmbus_device_id id;
};

static const struct hv_vmbus_device_id *find_dynamic_id(struct lis_driver *driver,
							const guid_t *interface)
{
	const struct hv_vmbus_device_id *found = NULL;
	struct dynamic_id *dynamic;

	spin_lock(&driver->dynamic_lock);
	list_for_each_entry(dynamic, &driver->dynamic_ids, node)
		if (guid_equal(&dynamic->id.guid, interface))
			found = &dynamic->id;
	spin_unlock(&driver->dynamic_lock);
	return found;
}

static const struct hv_vmbus_device_id *find_id(struct lis_driver *driver, const guid_t *interface)
{
	const struct hv_vmbus_device_id *id = driver->ids;

	for (; id && !guid_is_null(&id->guid); id++)
		if (guid_equal(&id->guid, interface))
			return id;
	return find_dynamic_id(driver, interface);
}

/* Whoever names a driver for a device means it: no other has it, and that one does. */
static DEFINE_SPINLOCK(override_lock);

int lis_device_set_override(struct lis_device *device, const char *name, size_t bytes)
{
	char *override = NULL, *old;

	if (bytes && name[bytes - 1] == '\n')
		bytes--;
	if (bytes) {
		override = kstrndup(name, bytes, GFP_KERNEL);
		if (!override)
			return -ENOMEM;
	}
	spin_lock(&override_lock);
	old = device->driver_override;
	device->driver_override = override;
	spin_unlock(&override_lock);
	kfree(old);
	return 0;
}

ssize_t lis_device_show_override(struct lis_device *device, char *text)
{
	ssize_t bytes;

	spin_lock(&override_lock);
	bytes = sysfs_emit(text, "%s\n", device->driver_override ?: "(null)");
	spin_unlock(&override_lock);
	return bytes;
}

/* The id by which a driver has a device, or NULL. */
static const struct hv_vmbus_device_id *match_id(struct lis_device *device,
						 struct lis_driver *driver)
{
	static const struct hv_vmbus_device_id any;
	const struct hv_vmbus_device_id *id = find_id(driver, interface_of(device));

	spin_lock(&override_lock);
	if (device->driver_override)
		id = strcmp(device->driver_override, driver->driver.name) ? NULL : id ?: &any;
	spin_unlock(&override_lock);
	return id;
}

static int bus_match(struct device *device, compat_match_const struct device_driver *driver)
{
	return match_id(to_lis_device(device), to_lis_driver(driver)) != NULL;
}

static int bus_uevent(compat_uevent_const struct device *device, struct kobj_uevent_env *env)
{
	return add_uevent_var(env, "MODALIAS=vmbus:%*phN", UUID_SIZE,
			      interface_of(to_lis_device(device)));
}

static int bus_probe(struct device *dev)
{
	struct lis_device *device = to_lis_device(dev);
	struct lis_driver *driver = to_lis_driver(dev->driver);
	const struct hv_vmbus_device_id *id = match_id(device, driver);
	int error;

	if (!id)
		return -ENODEV; /* what matched was taken away meanwhile */
	error = driver->probe(device, id);
	device->bound = !error;
	return error;
}

static void bus_remove(struct device *dev)
{
	struct lis_device *device = to_lis_device(dev);
	struct lis_driver *driver = to_lis_driver(dev->driver);

	device->bound = false;
	if (driver->remove)
		driver->remove(device);
}

static void bus_shutdown(struct device *dev)
{
	struct lis_driver *driver;

	if (!dev->driver)
		return;
	driver = to_lis_driver(dev->driver);
	if (driver->shutdown)
		driver->shutdown(to_lis_device(dev));
}

static int bus_suspend(struct device *dev)
{
	struct lis_device *device = to_lis_device(dev);

	if (!device->bound)
		return 0;
	if (!to_lis_driver(dev->driver)->suspend)
		return -EOPNOTSUPP;
	return to_lis_driver(dev->driver)->suspend(device);
}

static int bus_resume(struct device *dev)
{
	struct lis_device *device = to_lis_device(dev);

	return device->bound ? to_lis_driver(dev->driver)->resume(device) : 0;
}

/*
 * Hibernation only: a guest that merely idles keeps its channels, and is woken by what comes in. As late as
 * the bus itself, and before it.
 */
static const struct dev_pm_ops pm_ops = {
	.freeze_noirq = bus_suspend,
	.thaw_noirq = bus_resume,
	.poweroff_noirq = bus_suspend,
	.restore_noirq = bus_resume,
};

static struct bus_type bus_type = {
	.name = "vmbus",
	.match = bus_match,
	.uevent = bus_uevent,
	.probe = bus_probe,
	.remove = bus_remove,
	.shutdown = bus_shutdown,
	.pm = &pm_ops,
	.bus_groups = lis_bus_groups,
	.dev_groups = lis_device_groups,
	.drv_groups = lis_driver_groups,
};

/* Drivers */

int lis_driver_register_owner(struct lis_driver *driver, struct module *owner,
			      const char *module_name)
{
	spin_lock_init(&driver->dynamic_lock);
	INIT_LIST_HEAD(&driver->dynamic_ids);
	driver->driver.name = driver->name;
	driver->driver.owner = owner;
	driver->driver.mod_name = module_name;
	driver->driver.bus = &bus_type;
	return driver_register(&driver->driver);
}
EXPORT_SYMBOL_GPL(lis_driver_register_owner);

void lis_driver_unregister(struct lis_driver *driver)
{
	struct dynamic_id *dynamic, *next;

	driver_unregister(&driver->driver);
	list_for_each_entry_safe(dynamic, next, &driver->dynamic_ids, node) {
		list_del(&dynamic->node);
		kfree(dynamic);
	}
}
EXPORT_SYMBOL_GPL(lis_driver_unregister);

int lis_driver_add_id(struct lis_driver *driver, const guid_t *interface)
{
	struct dynamic_id *dynamic;

	if (find_id(driver, interface))
		return -EEXIST;
	dynamic = kzalloc(sizeof(*dynamic), GFP_KERNEL);
	if (!dynamic)
		return -ENOMEM;
	dynamic->id.guid = *interface;
	spin_lock(&driver->dynamic_lock);
	list_add_tail(&dynamic->node, &driver->dynamic_ids);
	spin_unlock(&driver->dynamic_lock);
	return driver_attach(&driver->driver);
}

int lis_driver_remove_id(struct lis_driver *driver, const guid_t *interface)
{
	struct dynamic_id *dynamic, *next;
	int error = -ENODEV;

	spin_lock(&driver->dynamic_lock);
	list_for_each_entry_safe(dynamic, next, &driver->dynamic_ids, node) {
		if (guid_equal(&dynamic->id.guid, interface)) {
			list_del(&dynamic->node);
			kfree(dynamic);
			error = 0;
		}
	}
	spin_unlock(&driver->dynamic_lock);
	return error;
}

/* Devices */

static void device_release(struct device *dev)
{
	struct lis_device *device = to_lis_device(dev);

	kfree(device->driver_override);
	kfree(device);
}

static struct lis_device *device_create_for(struct lis_channel *channel)
{
	struct lis_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	struct device *dev;

	if (!device)
		return NULL;
	device->channel = channel;
	dev = &device->dev;
	device_initialize(dev);
	dev->bus = &bus_type;
	dev->parent = lis_bus.root;
	dev->release = device_release;
	dev->dma_parms = &device->dma_parameters;
	dev->dma_mask = &device->dma_mask;
	dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (dev_set_name(dev, "%pUl", &channel->core.offer.instance_id)) {
		put_device(dev);
		return NULL;
	}
	return device;
}

static int add_channel_folder(struct lis_channel *channel)
{
	return kobject_add(&channel->kobj, channel->device->channels_folder, "%u",
			   channel->core.offer.channel_id);
}

static void add_device(struct lis_channel *channel)
{
	struct lis_device *device = device_create_for(channel);
	int error;

	if (!device) {
		pr_err("hv_vmbus: no memory for device %pUl\n", &channel->core.offer.instance_id);
		return;
	}
	get_device(&device->dev); /* for the channel */
	channel->device = device;
	lis_channel_choose_cpu(channel);
	error = device_add(&device->dev);
	if (error) {
		pr_err("hv_vmbus: cannot add device %s, error %d\n", dev_name(&device->dev), error);
		channel->device = NULL;
		put_device(&device->dev);
		put_device(&device->dev);
		return;
	}
	device->channels_folder = kobject_create_and_add("channels", &device->dev.kobj);
	if (!device->channels_folder || add_channel_folder(channel))
		pr_warn("hv_vmbus: %s: its channels are not in sysfs\n", dev_name(&device->dev));
}

static void remove_channel_folder(struct lis_channel *channel)
{
	if (channel->kobj.state_in_sysfs)
		kobject_del(&channel->kobj);
}

/* The primary channel is closed when this returns, and so is what its driver had of the others. */
static void remove_device(struct lis_channel *channel)
{
	struct lis_device *device = channel->device;

	remove_channel_folder(channel);
	kobject_put(device->channels_folder);
	device_unregister(&device->dev);
}

/* Offers and rescinds, on the ordered workqueue */

/* Tell the driver of a sub-channel, if there is one. */
static void call_driver(struct lis_channel *channel, bool rescinded)
{
	struct lis_device *device = channel->device;
	struct lis_driver *driver;

	device_lock(&device->dev);
	if (device->bound) {
		driver = to_lis_driver(device->dev.driver);
		if (!rescinded && driver->sub_channel_offered)
			driver->sub_channel_offered(device, channel);
		if (rescinded && driver->sub_channel_rescinded)
			driver->sub_channel_rescinded(device, channel);
	}
	device_unlock(&device->dev);
}

static void add_sub_channel(struct lis_channel *channel)
{
	struct lis_device *device = to_lis_channel(channel->core.primary)->device;

	/* Without its primary's device it waits to be rescinded. */
	if (!device || lis_channel_rescinded(device->channel))
		return;
	get_device(&device->dev);
	channel->device = device;
	lis_channel_choose_cpu(channel);
	if (device->channels_folder && add_channel_folder(channel))
		pr_warn("hv_vmbus: %s: channel %u is not in sysfs\n", dev_name(&device->dev),
			channel->core.offer.channel_id);
	call_driver(channel, false);
}

static void handle_offer(struct work_struct *work)
{
	struct lis_channel *channel = container_of(work, struct lis_channel, offer_work);

	mutex_lock(&lis_bus.channels_lock);
	list_add_tail(&channel->node, &lis_bus.channels);
	mutex_unlock(&lis_bus.channels_lock);
	if (channel->core.primary)
		add_sub_channel(channel);
	else
		add_device(channel);
}

static void free_channel(struct lis_channel *channel)
{
	mutex_lock(&lis_bus.channels_lock);
	list_del(&channel->node);
	mutex_unlock(&lis_bus.channels_lock);
	if (channel->device)
		put_device(&channel->device->dev);
	kobject_put(&channel->kobj);
}

/* Give the id back as soon as nothing hangs on it: its close must be sent, sub-channels gone. */
static void handle_release(struct work_struct *work)
{
	struct lis_channel *channel = container_of(work, struct lis_channel, release_work.work);
	int error = 0;
	bool stopping;

	if (channel->forgotten) {
		free_channel(channel); /* its id is no longer its own */
		return;
	}
	spin_lock_irq(&lis_bus.lock);
	stopping = lis_bus.stopping;
	if (!stopping)
		error = vmbus_client_release(&lis_bus.client, &channel->core);
	spin_unlock_irq(&lis_bus.lock);
	if (stopping)
		return; /* lis_bus_free_channels() has it */
	if (error)
		queue_delayed_work(lis_bus.devices, &channel->release_work,
				   msecs_to_jiffies(RELEASE_RETRY_MS));
	else
		free_channel(channel);
}

static void handle_rescind(struct work_struct *work)
{
	struct lis_channel *channel = container_of(work, struct lis_channel, rescind_work);

	if (channel->device && channel->core.primary) {
		call_driver(channel, true);
		lis_channel_close(channel); /* where no driver did */
		remove_channel_folder(channel);
	} else if (channel->device) {
		remove_device(channel);
	}
	handle_release(&channel->release_work.work);
}

void lis_bus_on_rescinded(void *port, struct vmbus_client_channel *core)
{
	if (!lis_bus.stopping)
		queue_work(lis_bus.devices, &to_lis_channel(core)->rescind_work);
}

void lis_bus_on_offered(void *port, struct vmbus_client_channel *core)
{
	struct lis_channel *channel = to_lis_channel(core);

	/* One that was offered again is a device already. */
	if (!channel->device)
		queue_work(lis_bus.devices, &channel->offer_work);
}

/* The one that had the offer before a hibernation, or NULL. */
static struct lis_channel *take_absent(const struct vmbus_client_offer *offer)
{
	struct lis_channel *channel;

	lockdep_assert_held(&lis_bus.lock);
	list_for_each_entry(channel, &lis_bus.absent, absent) {
		if (vmbus_client_is_same_channel(&channel->core.offer, offer)) {
			list_del_init(&channel->absent);
			return channel;
		}
	}
	return NULL;
}

struct vmbus_client_channel *lis_channel_alloc(void *port, const struct vmbus_client_offer *offer)
{
	struct lis_channel *channel;

	if (lis_bus.stopping)
		return NULL;
	channel = take_absent(offer);
	if (channel)
		return &channel->core;
	channel = kzalloc(sizeof(*channel), GFP_ATOMIC);
	if (!channel) {
		pr_err("hv_vmbus: no memory for a channel of device %pUl\n", &offer->instance_id);
		return NULL;
	}
	mutex_init(&channel->lock);
	init_completion(&channel->opened_answer);
	init_completion(&channel->modified_answer);
	INIT_LIST_HEAD(&channel->node);
	INIT_LIST_HEAD(&channel->absent);
	INIT_WORK(&channel->offer_work, handle_offer);
	INIT_WORK(&channel->rescind_work, handle_rescind);
	INIT_DELAYED_WORK(&channel->release_work, handle_release);
	kobject_init(&channel->kobj, &lis_channel_kobj_type);
	return &channel->core;
}

/* The end of the bus. Nothing is on the ordered workqueue any more, and nothing comes. */

void lis_bus_remove_devices(void)
{
	struct lis_channel *channel;

	/* Nobody changes the list: no offers are taken, no ids given back. */
	list_for_each_entry(channel, &lis_bus.channels, node)
		if (channel->core.primary)
			remove_channel_folder(channel);
	list_for_each_entry(channel, &lis_bus.channels, node)
		if (!channel->core.primary && channel->device &&
		    device_is_registered(&channel->device->dev))
			remove_device(channel);
}

void lis_bus_free_channels(void)
{
	struct lis_channel *channel, *next;

	list_for_each_entry_safe(channel, next, &lis_bus.channels, node) {
		cancel_delayed_work_sync(&channel->release_work);
		free_channel(channel);
	}
}

/* Hibernation. Nothing is on the ordered workqueue, and nothing comes from the host. */

/* Only a device stays; one that was removed has a channel until that is released. */
static bool outlives_hibernation(const struct lis_channel *channel)
{
	return !channel->core.primary && channel->device &&
	       device_is_registered(&channel->device->dev);
}

void lis_bus_hide_channels(void)
{
	struct lis_channel *channel;

	list_for_each_entry(channel, &lis_bus.channels, node) {
		remove_channel_folder(channel);
		if (!outlives_hibernation(channel))
			continue;
		spin_lock_irq(&lis_bus.lock);
		list_add_tail(&channel->absent, &lis_bus.absent);
		spin_unlock_irq(&lis_bus.lock);
	}
}

void lis_bus_free_other_channels(void)
{
	struct lis_channel *channel, *next;

	list_for_each_entry_safe(channel, next, &lis_bus.channels, node) {
		cancel_delayed_work_sync(&channel->release_work);
		if (!outlives_hibernation(channel))
			free_channel(channel);
	}
}

void lis_bus_show_channels(void)
{
	struct lis_channel *channel;

	mutex_lock(&lis_bus.channels_lock);
	list_for_each_entry(channel, &lis_bus.channels, node) {
		/* What is new has its folder from its offer on. */
		if (!outlives_hibernation(channel) || channel->kobj.state_in_sysfs)
			continue;
		spin_lock_irq(&lis_bus.lock);
		/* Its driver finds the host gone, as with any other rescind. */
		if (!list_empty(&channel->absent))
			WRITE_ONCE(channel->core.rescinded, true);
		spin_unlock_irq(&lis_bus.lock);
		if (!channel->core.rescinded && channel->device->channels_folder &&
		    add_channel_folder(channel))
			pr_warn("hv_vmbus: %s: channel %u is not in sysfs\n",
				dev_name(&channel->device->dev), channel->core.offer.channel_id);
	}
	mutex_unlock(&lis_bus.channels_lock);
}

void lis_bus_remove_absent(void)
{
	struct lis_channel *channel, *next;

	spin_lock_irq(&lis_bus.lock);
	list_for_each_entry_safe(channel, next, &lis_bus.absent, absent) {
		list_del_init(&channel->absent);
		channel->forgotten = true;
		pr_warn("hv_vmbus: %s: this host does not have it\n", dev_name(&channel->device->dev));
		queue_work(lis_bus.devices, &channel->rescind_work);
	}
	spin_unlock_irq(&lis_bus.lock);
}

int lis_bus_type_register(void)
{
	return bus_register(&bus_type);
}

void lis_bus_type_unregister(void)
{
	bus_unregister(&bus_type);
}
