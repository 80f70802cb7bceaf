/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of hv_utils.ko: utils.c (driver, channels, heartbeat), utils_shutdown.c,
 * utils_timesync.c.
 *
 * A device is one service. Its kind embeds struct utils_service, at the start, in a structure of
 * its own, beside the guest end of the portable core.
 */
#ifndef OPENLIS_LINUX_UTILS_H
#define OPENLIS_LINUX_UTILS_H

#include "linux/vmbus/bus.h"

struct utils_service_kind;

/**
 * struct utils_service - A device of ours, from probe to remove.
 * @kind: what it is
 * @device: the bus' device
 * @lock: held over all calls into the portable guest end; may be held while clocks are set, never
 * while the channel is closed
 * @open: the rings may be used; under @lock
 * @work: takes what the host sent
 */
struct utils_service {
	const struct utils_service_kind *kind;
	struct lis_device *device;
	struct mutex lock;
	bool open;
	struct work_struct work;
};

/**
 * struct utils_service_kind - What a service does.
 * @bytes: size of the structure that begins with struct utils_service; comes zeroed
 * @init: begin with the channel's rings, before they are there; also after @suspend. Returns 0 or -errno.
 * @opened: optional; the channel is open, and the host may have sent something already
 * @receive: call the guest end's receive function; returns what that did. Under @lock.
 * @act: optional; do what the service's own event bits say; the host was signalled. Under @lock.
 * @suspend: optional; end what still runs by itself, the channel is closed: the guest hibernates
 * @fini: optional; end what else still runs: the channel is closed, no other function is called
 * any more
 */
struct utils_service_kind {
	size_t bytes;
	int (*init)(struct utils_service *service);
	void (*opened)(struct utils_service *service);
	u32 (*receive)(struct utils_service *service);
	void (*act)(struct utils_service *service, u32 events);
	void (*suspend)(struct utils_service *service);
	void (*fini)(struct utils_service *service);
};

extern const struct utils_service_kind utils_shutdown;
extern const struct utils_service_kind utils_timesync;

#endif
