/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of hv_vmbus.ko: module.c (life of the bus, panic, kexec), synic.c (what each
 * CPU has of the hypervisor: messages, events), bus.c (devices and drivers), channel.c (rings,
 * open, close, CPUs of channels), memory.c (memory that the host sees), sysfs.c, log.c.
 *
 * Locks, outermost first: the kernel's CPU hotplug lock; a device's lock; a channel's lock (open,
 * close, moving); lis_bus.channels_lock (the list of channels); lis_bus.lock (the portable client,
 * every call into it; also taken where a panic leaves no choice, see lis_bus_crash_unload()).
 */
#ifndef OPENLIS_LINUX_VMBUS_PRIVATE_H
#define OPENLIS_LINUX_VMBUS_PRIVATE_H

#include <asm/mshyperv.h>
#include <clocksource/hyperv_timer.h>

#include "linux/vmbus/bus.h"

/* How long a host may take to answer before it is given up. [policy] */
#define LIS_ANSWER_SECONDS 60
/* Likewise about a channel that was rescinded: some hosts never answer then. [policy] */
#define LIS_RESCINDED_SECONDS 5
/* Source: [linux 7.3 drivers/hv/channel_mgmt.c] a host may write its disk cache back first. */
#define LIS_UNLOAD_SECONDS 100

struct lis_bus {
	spinlock_t lock; /* of the client */
	struct vmbus_client client;
	struct device *root;
	bool stopping; /* take no offers any more; under @lock */
	/* Primary channels from before a hibernation that were not offered again yet; under @lock. */
	struct list_head absent;

	u32 newest_version; /* to ask for; 0: any */
	struct completion connected_answer, delivered, unloaded;
	int connected_error;
	struct delayed_work retry_work;
	void *post_page;           /* what is being posted; under @lock */
	unsigned int posts_refused;         /* in a row, for a connection that must be there */
	void *interrupt_page;               /* below 2.4 */
	void *monitor_pages[2];             /* host to guest, guest to host */

	struct workqueue_struct *messages; /* what the host says, on the CPU it was said to */
	struct workqueue_struct *devices;  /* what becomes of devices, in order */
	struct mutex channels_lock;
	struct list_head channels;         /* all, in the order of their offers */

	/* For interrupts: channels that are open, by id; written under the channel's lock. */
	struct lis_channel __rcu *open_channels[VMBUS_CHANNEL_ID_MAX + 1];
	unsigned int event_words; /* so many words of event flags are in use; grows, under @lock */
};

extern struct lis_bus lis_bus;
extern const struct vmbus_client_ops lis_client_ops;

/* module.c */
void lis_bus_crash_unload(void);

/* synic.c */
int lis_synic_start(void);
/* Off with the SynIC of all CPUs; waits for CPUs only, neither for time nor for RCU. */
void lis_synic_leave_cpus(void);
/* The same, and forget all of it. */
void lis_synic_stop(void);
void lis_synic_disable_cpu(unsigned int cpu);
/* Handle what is in all CPUs' message slots, from any context; for a crash. */
void lis_synic_poll_messages(void);
int lis_post_message(void *port, uint32_t connection_id, const void *payload, size_t bytes);

/* bus.c */
int lis_bus_type_register(void);
void lis_bus_type_unregister(void);
/* What the client tells of offers, under the bus' lock. */
struct vmbus_client_channel *lis_channel_alloc(void *port, const struct vmbus_client_offer *offer);
void lis_bus_on_offered(void *port, struct vmbus_client_channel *core);
void lis_bus_on_rescinded(void *port, struct vmbus_client_channel *core);
/* The end, before and after the host forgets the channels. */
void lis_bus_remove_devices(void);
void lis_bus_free_channels(void);
/*
 * Hibernation: before the host forgets the channels, behind it, and when it has offered them anew. No driver has
 * a channel open in between.
 */
void lis_bus_hide_channels(void);
void lis_bus_free_other_channels(void);
void lis_bus_show_channels(void);
/* Devices that did not come back are removed. */
void lis_bus_remove_absent(void);
int lis_driver_add_id(struct lis_driver *driver, const guid_t *interface);
int lis_driver_remove_id(struct lis_driver *driver, const guid_t *interface);
int lis_device_set_override(struct lis_device *device, const char *name, size_t bytes);
ssize_t lis_device_show_override(struct lis_device *device, char *text);

/* channel.c */
/* Choose where its interrupts go. May sleep. */
void lis_channel_choose_cpu(struct lis_channel *channel);
/* Move its interrupts. @cpu is online. May sleep. Returns 0 or -errno. */
int lis_channel_set_cpu(struct lis_channel *channel, unsigned int cpu);
/* @cpu goes offline: move all channels away. Returns 0 or -errno. */
int lis_channels_leave_cpu(unsigned int cpu);
/* Run on_signal on the channel's CPU, in case a signal got lost on the way. */
void lis_channel_kick(struct lis_channel *channel);
/* How its rings are. @channel is open and its lock is held. */
void lis_channel_ring_status(struct lis_channel *channel, struct vmbus_ring_status *out_to_host,
			     struct vmbus_ring_status *out_from_host);
/* Answers of the host. */
void lis_channel_on_opened(void *port, struct vmbus_client_channel *core, int error);
void lis_channel_on_modified(void *port, struct vmbus_client_channel *core, int error);

/* memory.c */
struct lis_memory {
	struct page **pages;
	u64 *pfns;
	void *map; /* or NULL; as its owner mapped the pages */
	u32 page_count;
	struct vmbus_client_gpadl gpadl;
	struct completion answer;
	int error;
};
/*
 * Wait for an answer, not for ever: hosts are known that say nothing more of a channel they
 * rescinded. Returns false where none came.
 */
bool lis_wait_for_answer(struct lis_channel *channel, struct completion *answer);
/* Zeroed pages, not mapped; or NULL. */
struct lis_memory *lis_memory_alloc(u32 page_count);
void lis_memory_free(struct lis_memory *memory);
/* Show all pages to the host. On failure they are freed, or leaked. Returns 0 or -errno. */
int lis_memory_share(struct lis_channel *channel, struct lis_memory *memory);
/* Take them back and free them. Returns true where the host keeps them. */
bool lis_memory_unshare(struct lis_channel *channel, struct lis_memory *memory);
/* Answers of the host. */
void lis_memory_on_gpadl_created(void *port, struct vmbus_client_gpadl *gpadl, int error);
void lis_memory_on_gpadl_torn_down(void *port, struct vmbus_client_gpadl *gpadl, int error);

/* sysfs.c */
extern const struct attribute_group *lis_bus_groups[];
extern const struct attribute_group *lis_device_groups[];
extern const struct attribute_group *lis_driver_groups[];
extern const struct kobj_type lis_channel_kobj_type;

static inline struct lis_channel *to_lis_channel(struct vmbus_client_channel *core)
{
	return container_of(core, struct lis_channel, core);
}

static inline struct lis_driver *to_lis_driver(const struct device_driver *driver)
{
	return (struct lis_driver *)container_of(driver, struct lis_driver, driver);
}

#endif
