// SPDX-License-Identifier: GPL-2.0-only
/*
 * hv_utils: the integration services that need nothing of user space. Here are the driver, what all
 * services share, and the heartbeat.
 *
 * The host's signal only queues a work item; all else happens there, under the service's lock.
 * Whoever holds the lock and sees @open may use the rings: they do not go before it is false.
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "linux/utils.h"
#include "services/heartbeat_guest.h"

/* Each way. A service has a request or two under way. [policy] */
#define RING_BYTES (4 * HV_PAGE_BYTES)

/* Heartbeat */

struct utils_heartbeat {
	struct utils_service service;
	struct heartbeat_guest guest;
};

static int heartbeat_init(struct utils_service *service)
{
	struct utils_heartbeat *heartbeat = container_of(service, struct utils_heartbeat, service);
	struct lis_channel *channel = service->device->channel;

	heartbeat_guest_init(&heartbeat->guest, &channel->to_host, &channel->from_host);
	return 0;
}

static u32 heartbeat_receive(struct utils_service *service)
{
	struct utils_heartbeat *heartbeat = container_of(service, struct utils_heartbeat, service);

	return heartbeat_guest_receive(&heartbeat->guest);
}

static const struct utils_service_kind utils_heartbeat = {
	.bytes = sizeof(struct utils_heartbeat),
	.init = heartbeat_init,
	.receive = heartbeat_receive,
};

/* Any service */

/* In hard interrupt context. */
static void on_signal(struct lis_channel *channel)
{
	struct utils_service *service = channel->user;

	schedule_work(&service->work);
}

/*
 * One receive, and if there is more, that is another turn of the work: a host that never stops
 * takes no more than its share, and does not keep others waiting for the lock.
 */
static void take_signal(struct work_struct *work)
{
	struct utils_service *service = container_of(work, struct utils_service, work);
	struct lis_channel *channel = service->device->channel;
	bool broken = false;
	u32 events;

	mutex_lock(&service->lock);
	if (service->open) {
		events = service->kind->receive(service);
		if (events & IC_GUEST_EVENT_SIGNAL)
			lis_channel_signal(channel, LIS_SIGNAL_PACKET);
		if (service->kind->act)
			service->kind->act(service, events);
		broken = events & IC_GUEST_EVENT_BROKEN;
		if (broken)
			service->open = false;
		else if (events & IC_GUEST_EVENT_MORE)
			schedule_work(&service->work);
	}
	mutex_unlock(&service->lock);
	if (broken) {
		dev_err(&service->device->dev,
			"the host broke the ring: off until the driver is bound anew\n");
		lis_channel_close(channel);
	}
}

/*
 * The lock keeps the work off the rings until the outcome is known: where opening fails they may go
 * after the host has signalled.
 */
static int open_channel(struct utils_service *service)
{
	static const struct lis_channel_open how = {
		.to_host_bytes = RING_BYTES,
		.from_host_bytes = RING_BYTES,
		.on_signal = on_signal,
	};
	int error;

	mutex_lock(&service->lock);
	error = lis_channel_open(service->device->channel, &how);
	service->open = !error;
	mutex_unlock(&service->lock);
	return error;
}

static int utils_probe(struct lis_device *device, const struct hv_vmbus_device_id *id)
{
	const struct utils_service_kind *kind = (const void *)id->driver_data;
	struct utils_service *service;
	int error;

	/* An id from user space, by new_id or driver_override, does not say which service it is. */
	if (!kind)
		return -ENODEV;
	service = kzalloc(kind->bytes, GFP_KERNEL);
	if (!service)
		return -ENOMEM;
	service->kind = kind;
	service->device = device;
	mutex_init(&service->lock);
	INIT_WORK(&service->work, take_signal);
	device->channel->user = service;
	error = kind->init(service);
	if (error)
		goto free;
	error = open_channel(service);
	if (error)
		goto cancel;
	if (kind->opened)
		kind->opened(service);
	dev_set_drvdata(&device->dev, service);
	return 0;

cancel:
	cancel_work_sync(&service->work);
	if (kind->fini)
		kind->fini(service);
free:
	device->channel->user = NULL;
	kfree(service);
	return error;
}

static void close_channel(struct utils_service *service)
{
	/* From here on the work neither uses the rings nor queues itself. */
	mutex_lock(&service->lock);
	service->open = false;
	mutex_unlock(&service->lock);
	/* From here on nobody else queues it. */
	lis_channel_close(service->device->channel);
	cancel_work_sync(&service->work);
}

static void utils_remove(struct lis_device *device)
{
	struct utils_service *service = dev_get_drvdata(&device->dev);

	close_channel(service);
	if (service->kind->fini)
		service->kind->fini(service);
	device->channel->user = NULL;
	kfree(service);
}

static int utils_suspend(struct lis_device *device)
{
	struct utils_service *service = dev_get_drvdata(&device->dev);

	close_channel(service);
	if (service->kind->suspend)
		service->kind->suspend(service);
	return 0;
}

/* The host begins anew: with its versions, and with whatever it asked for before. */
static int utils_resume(struct lis_device *device)
{
	struct utils_service *service = dev_get_drvdata(&device->dev);
	int error = service->kind->init(service);

	return error ?: open_channel(service);
}

/* As the services' protocol headers have them: INTERFACE_ID. */
static const struct hv_vmbus_device_id ids[] = {
	{ GUID_INIT(0x0e0b6031, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb),
	  .driver_data = (kernel_ulong_t)&utils_shutdown },
	{ GUID_INIT(0x9527e630, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf),
	  .driver_data = (kernel_ulong_t)&utils_timesync },
	{ GUID_INIT(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d),
	  .driver_data = (kernel_ulong_t)&utils_heartbeat },
	{},
};
MODULE_DEVICE_TABLE(vmbus, ids);

static struct lis_driver driver = {
	.name = "hv_utils",
	.ids = ids,
	.probe = utils_probe,
	.remove = utils_remove,
	.suspend = utils_suspend,
	.resume = utils_resume,
	.driver.probe_type = PROBE_PREFER_ASYNCHRONOUS,
};

static int __init utils_start(void)
{
	return lis_driver_register(&driver);
}

static void __exit utils_exit(void)
{
	lis_driver_unregister(&driver);
}

module_init(utils_start);
module_exit(utils_exit);

MODULE_AUTHOR("The OpenLIS developers");
MODULE_DESCRIPTION("Hyper-V's shutdown, time synchronization and heartbeat, guest ends");
MODULE_LICENSE("GPL");
MODULE_VERSION(OPENLIS_VERSION);
