/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of hv_storvsc.ko: storvsc.c (life of a controller, and what is done when its
 * host does not do its part), storvsc_port.c (one open channel), storvsc_scsi.c (what the SCSI
 * layer sees of it).
 *
 * A port is an open channel. It is made when the channel is opened and gone when it is closed; an
 * attempt to recover makes new ones.
 *
 * Locks, outermost first: storvsc_host.mutex, the portable core's "device's unit": opening, closing
 * and moving of ports, recovery; storvsc_port.lock, its "channel's unit", taken in interrupts. The
 * bus opens and closes channels under its own locks, inside of the mutex, and calls channel_moved
 * under the same ones, which therefore takes none.
 *
 * Ports are found without a lock, by the core's map of CPUs, storvsc_host.primary, ports and
 * queues, under RCU. Whoever found one takes its lock and looks at @live: a port that is not is
 * about to go, and nothing in it may be touched.
 *
 * Where a command is: with the core, from storvsc_port_submit() until it comes out of one of the
 * core's lists; or in storvsc_port.held, given up but with memory that the host may write to; or
 * with the SCSI layer. Only the one who took it out of where it was may pass it on.
 */
#ifndef OPENLIS_LINUX_STORVSC_HOST_H
#define OPENLIS_LINUX_STORVSC_HOST_H

#include <linux/bitmap.h>
#include <linux/cache.h>
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include <scsi/scsi_host.h>

#include "linux/vmbus/bus.h"
#include "storage/storvsc.h"

/* How long one set-up may take, and what a late command gets after a reset of its LUN. [policy] */
#define STORVSC_SET_UP_SECONDS 60
#define STORVSC_GRACE_SECONDS 30

#define STORVSC_ADDRESSES (STORVSC_PATHS * STORVSC_TARGETS * STORVSC_LUNS)

struct storvsc_port {
	spinlock_t lock;
	bool live;    /* under @lock */
	bool watched; /* storvsc_host.timer runs for it; under @lock */
	bool full;    /* the last command found no room; under @lock */
	bool failed;  /* asks for recovery */
	struct lis_channel *channel;
	struct storvsc_host *host;
	struct storvsc_request *held; /* under @lock */
	struct work_struct poll_work;
	struct list_head node; /* in storvsc_host.ports */
	struct rcu_head rcu;
	struct storvsc_channel core;
};

/* What is not yet flushed of a batch that the block layer sends by one hardware queue. */
struct storvsc_queue {
	struct storvsc_port *unflushed;
} ____cacheline_aligned_in_smp;

/* In the private part of a Scsi_Host, so that it lives as long as anybody refers to that. */
struct storvsc_host {
	struct storvsc core;
	struct lis_device *device; /* not to be used once @dead, after remove */
	struct Scsi_Host *shost;
	struct storvsc_queue *queues; /* by number of the hardware queue */
	u64 timeout_ns;               /* 0: commands may take for ever */
	u32 ring_bytes;
	bool is_ide;
	bool added;    /* to the SCSI layer */
	bool removing; /* nothing is to be set up any more */
	bool suspended; /* nor now; under @mutex */
	bool dead;     /* for good: all commands fail. Written under @mutex */

	struct mutex mutex;
	struct list_head ports; /* the primary first; RCU, written under @mutex */
	struct storvsc_port __rcu *primary;
	struct completion set_up_done;
	unsigned int recoveries; /* lately, the first of them then */
	u64 recoveries_since;

	struct delayed_work timer; /* runs while commands are in flight */
	struct work_struct recover_work, move_work, rescan_work, lun_work;
	DECLARE_BITMAP(changed_luns, STORVSC_ADDRESSES);
	DECLARE_BITMAP(missing_luns, STORVSC_ADDRESSES);
};

static inline struct storvsc_host *to_storvsc_host(struct Scsi_Host *shost)
{
	return shost_priv(shost);
}

/* The clock of deadlines: coarse, and costs nothing. */
static inline u64 storvsc_now_ns(void)
{
	return jiffies64_to_nsecs(get_jiffies_64());
}

/* storvsc.c */

/** storvsc_host_watch() - Commands are in flight: look for what is late. Context: any. */
void storvsc_host_watch(struct storvsc_host *host);

/** storvsc_host_recover_later() - A channel is of no use any more. Context: any. */
void storvsc_host_recover_later(struct storvsc_port *port);

/**
 * storvsc_host_reset() - Close all channels and set them up anew, as if there was reason to.
 *
 * No command is with the host when this returns, whatever it returns.
 *
 * Context: sleeps.
 * Return: 0 or -errno.
 */
int storvsc_host_reset(struct storvsc_host *host);

/* storvsc_port.c */

extern struct workqueue_struct *storvsc_poll_wq;

/**
 * storvsc_port_open() - Open a channel and let commands use it, the primary when it is set up.
 *
 * Context: the host's mutex; sleeps.
 * Return: 0 or -errno.
 */
int storvsc_port_open(struct storvsc_host *host, struct lis_channel *channel,
		      struct storvsc_port **out_port);

/**
 * storvsc_port_close() - Close a channel; all that is in flight on it ends. @port is gone then.
 *
 * Context: the host's mutex; sleeps.
 * Return: true where the host did not let go of the channel.
 */
bool storvsc_port_close(struct storvsc_port *port);

/** storvsc_port_start() - Begin the set-up on the primary. Context: the host's mutex. */
int storvsc_port_start(struct storvsc_port *port);

/**
 * storvsc_port_submit() - Send a request.
 * @last: flush it, and all before it; else that is owed
 *
 * Where it returns 0 the request may have ended already.
 *
 * Context: any, under RCU.
 * Return: 0, or as storvsc_submit(); in that case what was sent before has been flushed.
 */
int storvsc_port_submit(struct storvsc_port *port, struct storvsc_request *request, bool last);

/** storvsc_port_flush() - Show the host what was sent. Context: any, under RCU. */
void storvsc_port_flush(struct storvsc_port *port);

/** storvsc_port_tick() - Look for what is late. Context: RCU. Return: is anything in flight? */
bool storvsc_port_tick(struct storvsc_port *port);

/* storvsc_scsi.c */

extern struct scsi_host_template storvsc_template;

/** storvsc_scsi_init() - Set up what storvsc_scsi.c has of @host. */
void storvsc_scsi_init(struct storvsc_host *host);

/** storvsc_scsi_fini() - Nothing of it runs any more when this returns. Sleeps. */
void storvsc_scsi_fini(struct storvsc_host *host);

/** storvsc_scsi_rescan() - LUNs may have come or gone. Context: any. */
void storvsc_scsi_rescan(struct storvsc_host *host);

/** storvsc_scsi_ended() - Give a request back to who sent it. Context: any; no lock held. */
void storvsc_scsi_ended(struct storvsc_host *host, struct storvsc_request *request);

/**
 * storvsc_scsi_abandon() - Likewise, but the host may use its memory for ever.
 *
 * Its pages are never free again. What lies in a slab cannot be kept so and is reused nevertheless.
 *
 * Context: any; no lock held.
 * Return: pages lost.
 */
unsigned long storvsc_scsi_abandon(struct storvsc_host *host, struct storvsc_request *request);

#endif
