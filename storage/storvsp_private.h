/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the two halves of the storage VSP: storvsp.c has the controller with its LUNs and resets,
 * which all loops share; storvsp_channel.c has the channels, each owned by its loop. Nobody else
 * includes this.
 */
#ifndef OPENLIS_STORAGE_STORVSP_PRIVATE_H
#define OPENLIS_STORAGE_STORVSP_PRIVATE_H

#include <pthread.h>

#include "storage/storvsp.h"

#define STORVSP_ADDRESSES (STORVSP_PATHS * STORVSP_TARGETS * STORVSP_LUNS)

/*
 * A place for a unit; once made it stays until the controller goes, so that loops may look at it
 * without a lock. @users counts commands on their way, with STORVSP_LUN_PRESENT while a unit is
 * there.
 */
struct storvsp_lun {
	_Atomic uint32_t users;
	struct scsi_unit *unit;            /* for whoever found PRESENT when he became a user */
	_Atomic(struct io_call *) removed; /* being removed; taken by who sees the last user go */
	uint32_t index;                    /* in storvsp.luns */
};

#define STORVSP_LUN_PRESENT 0x80000000u

struct storvsp_channel;

/* A reset waiting until each LUN in its scope was seen without users. Under storvsp.lock. */
struct storvsp_reset {
	struct storvsp_reset *next;
	struct io_loop *loop;
	struct io_call done_call; /* to the loop of the channel that asked */
	bool listed;
	uint32_t waiting_count;
	uint64_t waiting[STORVSP_ADDRESSES / 64];
};

/* How far the guest is with setting the controller up. Primary channel's loop. */
enum storvsp_state {
	STORVSP_BEGIN,
	STORVSP_QUERY_VERSION,
	STORVSP_QUERY_PROPERTIES,
	STORVSP_END,
	STORVSP_READY,
};

struct storvsp {
	struct vmbus_device *device;
	const struct partition *partition;
	struct io_loop *bus_loop, *primary_loop;
	char *name;
	uint32_t queue_depth;
	uint16_t sub_channels_max, version_max;

	/* The primary channel's loop. */
	struct storvsp_channel *primary;
	enum storvsp_state state;

	/* Written by the primary channel's loop, read by all. */
	_Atomic uint16_t version; /* agreed on; 0: none */
	_Atomic bool ready;

	/* LUNs came or went: tell the guest. */
	struct io_call rescan_call;
	_Atomic bool rescan_queued;

	pthread_mutex_t lock; /* adding and removing LUNs; resets */
	struct storvsp_reset *resets;
	_Atomic uint32_t resets_waiting;
	_Atomic(struct storvsp_lun *) luns[STORVSP_ADDRESSES];

	struct io_call retired_call, last_call, gone_call;
	struct io_call *destroyed;

	_Atomic uint32_t channels_open;
	_Atomic uint64_t commands, resets_done, starved;
};

/** storvsp_lun_get() - Become a user of the unit at an address; NULL if there is none. */
struct storvsp_lun *storvsp_lun_get(struct storvsp *storvsp, struct storvsp_address address);

/** storvsp_lun_put() - Undo it; after the command's answer was given to the ring. */
void storvsp_lun_put(struct storvsp *storvsp, struct storvsp_lun *lun);

/** storvsp_luns_of_target() - LUNs with units, ascending; returns how many. */
uint32_t storvsp_luns_of_target(struct storvsp *storvsp, uint8_t path, uint8_t target,
				uint8_t out_luns[STORVSP_LUNS]);

/**
 * storvsp_reset_start() - Reset units, and wait for the commands under way.
 * @reset: with loop and done_call set; stays in place until done
 * @address: of the only LUN; NULL: all
 * Return: true if there are none; else done_call follows.
 */
bool storvsp_reset_start(struct storvsp *storvsp, struct storvsp_reset *reset,
			 const struct storvsp_address *address);

/** storvsp_reset_abandon() - Stop waiting. Return: false if done_call comes nevertheless. */
bool storvsp_reset_abandon(struct storvsp *storvsp, struct storvsp_reset *reset);

/* storvsp_channel.c */
extern const struct vmbus_device_ops storvsp_device_ops;
/** storvsp_channel_rescan() - Tell the guest to look for LUNs. Primary channel, its loop. */
void storvsp_channel_rescan(struct storvsp_channel *ch);

#endif
