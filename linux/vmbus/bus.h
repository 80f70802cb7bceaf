/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a driver on our VMBus sees of it: devices, channels, and the rings of an open channel.
 *
 * hv_vmbus.ko has the bus and exports all of this, and the rings and packets of the portable core
 * (vmbus/ring.h, vmbus/packet.h). It replaces the kernel's own bus, whose names it leaves alone.
 *
 * A device is what the host offers: one primary channel, which goes when the device goes, and
 * sub-channels that come when the driver asks the host for them in the device's own protocol. A
 * driver opens the primary channel in probe and closes it in remove; sub-channels likewise in its
 * sub_channel calls, and what is left of them in remove, before the primary.
 */
#ifndef OPENLIS_LINUX_VMBUS_BUS_H
#define OPENLIS_LINUX_VMBUS_BUS_H

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/mod_devicetable.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "vmbus/client.h"
#include "vmbus/ring.h"

struct lis_device;
struct lis_memory;

/* Written by the channel's user and the bus, shown in sysfs. */
struct lis_channel_counters {
	u64 interrupts;     /* from the host */
	u64 signals;        /* to the host, of either kind below; "events" in sysfs */
	u64 signals_room;   /* the host waits for room; "intr_in_full" */
	u64 signals_packet; /* the host had read all; "intr_out_empty" */
	u64 full_first;     /* writes that found the ring full, the first in a row; "out_full_first" */
	u64 full_total;     /* "out_full_total" */
};

/**
 * struct lis_channel - A channel that the host offered.
 * @core: the portable client's; what it says of the offer is constant until the guest hibernates, all else is
 * the bus' own
 * @device: whose channel it is
 * @cpu: where its interrupts go; changes while channel_moved says so
 * @to_host: valid while open; the channel's user owns it
 * @from_host: likewise
 * @user: for the driver, untouched here
 * @counters: see there
 *
 * All else is private to the bus.
 */
struct lis_channel {
	struct vmbus_client_channel core;
	struct lis_device *device;
	unsigned int cpu;
	struct vmbus_ring_writer to_host;
	struct vmbus_ring_reader from_host;
	void *user;
	struct lis_channel_counters counters;

	void (*on_signal)(struct lis_channel *channel);
	struct mutex lock;                 /* open, close, moving and looking at the rings */
	bool opened;
	struct lis_memory *memory;
	struct completion opened_answer, modified_answer;
	int opened_error, modified_error;
	struct kobject kobj;
	struct list_head node;             /* in the bus' list */
	struct list_head absent;           /* in lis_bus.absent; under lis_bus.lock */
	bool forgotten;                    /* by a host that did not offer it again */
	struct work_struct offer_work, rescind_work;
	struct delayed_work release_work;
	struct rcu_head rcu;
};

/**
 * struct lis_device - A device on the bus, with one primary channel.
 * @dev: the kernel's; drivers keep theirs by dev_set_drvdata()
 * @channel: the primary
 *
 * All else is private to the bus.
 */
struct lis_device {
	struct device dev;
	struct lis_channel *channel;
	struct kobject *channels_folder; /* "channels" in sysfs */
	bool bound;                      /* probe succeeded; under the device's lock */
	char *driver_override;           /* under the device's lock */
	struct device_dma_parameters dma_parameters;
	u64 dma_mask;
};

#define to_lis_device(device) container_of_const(device, struct lis_device, dev)

/**
 * struct lis_driver - A driver on the bus.
 * @name: as in /sys/bus/vmbus/drivers
 * @ids: by interface, ends with an empty one
 * @probe: may sleep; @id is one of @ids or one from new_id. Returns 0 or -errno.
 * @remove: close all channels. The device may be gone already (channel->core.rescinded).
 * @sub_channel_offered: optional; may sleep; between probe and remove, and one call at a time
 * @sub_channel_rescinded: the channel goes now: close it, if open. Likewise.
 * @channel_moved: optional; channel->cpu has changed. May sleep; may run beside all others.
 * @shutdown: optional; as in struct device_driver
 * @suspend: the guest hibernates, and the host forgets all its channels: close them. Sub-channels are gone
 * then, and are offered again when they are asked for. May sleep, other threads cannot be relied on. Without
 * it, nobody hibernates. Returns 0 or -errno.
 * @resume: after @suspend, maybe on another machine: open the primary again. Likewise; sub-channels
 * that are asked for are offered while it waits.
 * @driver: owner, probe_type and the like may be set; the rest is filled in
 */
struct lis_driver {
	const char *name;
	const struct hv_vmbus_device_id *ids;
	int (*probe)(struct lis_device *device, const struct hv_vmbus_device_id *id);
	void (*remove)(struct lis_device *device);
	void (*sub_channel_offered)(struct lis_device *device, struct lis_channel *channel);
	void (*sub_channel_rescinded)(struct lis_device *device, struct lis_channel *channel);
	void (*channel_moved)(struct lis_channel *channel);
	void (*shutdown)(struct lis_device *device);
	int (*suspend)(struct lis_device *device);
	int (*resume)(struct lis_device *device);
	struct device_driver driver;

	spinlock_t dynamic_lock;
	struct list_head dynamic_ids; /* from new_id */
};

int lis_driver_register_owner(struct lis_driver *driver, struct module *owner,
			      const char *module_name);

/**
 * lis_driver_register() - Add a driver to the bus; devices that match are probed.
 * @driver: stays valid until lis_driver_unregister()
 *
 * Return: 0 or -errno.
 */
#define lis_driver_register(driver) \
	lis_driver_register_owner(driver, THIS_MODULE, KBUILD_MODNAME)

/** lis_driver_unregister() - Undo lis_driver_register(); its devices are removed first. */
void lis_driver_unregister(struct lis_driver *driver);

/* How a channel is to be opened. */
struct lis_channel_open {
	u32 to_host_bytes;   /* of data; a multiple of 4096 */
	u32 from_host_bytes; /* likewise */
	/**
	 * @on_signal: the host signalled. In hard interrupt context, on the channel's CPU, or for
	 * a while after a move on that before it as well; never after lis_channel_close() has
	 * returned.
	 */
	void (*on_signal)(struct lis_channel *channel);
	const void *user_data; /* VMBUS_USER_DATA_BYTES for the VSP, or NULL */
};

/**
 * lis_channel_open() - Open a channel with new rings, both empty.
 * @channel: closed
 * @open: how; not kept
 *
 * @on_signal may run before this returns. What it needs, and @channel->user, is set up before; the
 * rings are valid from the first signal on.
 *
 * Context: may sleep.
 * Return: 0, -ENOMEM, -ENODEV (rescinded), -EBUSY (open already), -ETIMEDOUT, -EPROTO and the like
 * (refused, or the host broke the protocol).
 */
int lis_channel_open(struct lis_channel *channel, const struct lis_channel_open *open);

/**
 * lis_channel_close() - Close a channel, and take the rings' memory back from the host.
 * @channel: open or not
 *
 * Context: may sleep; waits until @on_signal has returned everywhere. Do not hold a lock that it
 * takes.
 * Return: true where the host did not let go of the rings: it may still use whatever memory was
 * named in them. The rings' memory is leaked then.
 */
bool lis_channel_close(struct lis_channel *channel);

/* Why the host is signalled; for the counters. */
enum lis_signal {
	LIS_SIGNAL_PACKET, /* as vmbus_ring_writer_publish() said */
	LIS_SIGNAL_ROOM,   /* as vmbus_ring_reader_publish() said */
};

/**
 * lis_channel_signal() - Tell the host to look at the rings.
 * @channel: open
 * @why: enum lis_signal
 *
 * Context: any.
 */
void lis_channel_signal(struct lis_channel *channel, enum lis_signal why);

/**
 * struct lis_buffer - Memory that a driver shares with the host, beside the rings.
 * @memory: mapped in one piece; zero at first
 * @bytes: whole pages
 * @gpadl_id: what the host knows it by
 */
struct lis_buffer {
	void *memory;
	u32 bytes;
	u32 gpadl_id;

	struct lis_channel *channel; /* these are private */
	struct lis_memory *shared;
};

/**
 * lis_buffer_create() - Share memory with the host.
 * @channel: open; for whose use it is
 * @bytes: rounded up to whole pages
 *
 * Context: may sleep.
 * Return: the buffer, or an ERR_PTR: -ENOMEM, -EINVAL (none, or more than fits into one GPADL), -ENODEV
 * (rescinded), -ETIMEDOUT, -EPROTO and the like (refused).
 */
struct lis_buffer *lis_buffer_create(struct lis_channel *channel, u32 bytes);

/**
 * lis_buffer_destroy() - Take a buffer back from the host, and free it.
 * @buffer: NULL and ERR_PTR are fine; hosts want the channel closed before
 *
 * Context: may sleep.
 * Return: true where the host did not let go of it. It is leaked then.
 */
bool lis_buffer_destroy(struct lis_buffer *buffer);

/** lis_channel_rescinded() - Has the host taken the channel away? Context: any. */
static inline bool lis_channel_rescinded(const struct lis_channel *channel)
{
	return READ_ONCE(channel->core.rescinded);
}

/** lis_bus_can_hibernate() - Do bus and drivers outlive hibernation? */
bool lis_bus_can_hibernate(void);

/** lis_bus_version() - VMBUS_VERSION_* as agreed with the host. */
u32 lis_bus_version(void);

/** lis_errno() - What the kernel calls one of the core's errors: -LIS_* in, -errno out. */
int lis_errno(int error);

#endif
