/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A device for tests: answers every packet with a completion of the same payload. Commands in the
 * first byte of a payload make it do something else, see enum echo_command.
 */
#ifndef OPENLIS_TESTS_ECHO_VSP_H
#define OPENLIS_TESTS_ECHO_VSP_H

#include "vmbus/host.h"

enum echo_command {
	ECHO_PLAIN = 0,
	ECHO_OFFER_SUB_CHANNELS = 1, /* second byte: how many */
	ECHO_HOLD_GPADL = 2, /* GPADL id in bytes 4..7; held until ECHO_RELEASE_GPADL or close */
	ECHO_RELEASE_GPADL = 3,
	ECHO_BREAK = 4, /* the device finds fault with the guest */
	ECHO_BUSY = 5,	/* take nothing more until echo_kick() */
};

struct echo_device {
	struct vmbus_device *device;
	atomic_int opens, closes, receives_after_close;
	atomic_int close_delay_ms;   /* how long after close() the device says so */
	atomic_int open_error;       /* 0, or what open() gives */
	atomic_bool break_in_open;
	atomic_bool busy;
	atomic_int gpadl_bytes;      /* of the last GPADL held */
};

/* On the bus loop. */
int echo_offer(struct vmbus_host *host, struct echo_device *echo, const char *name,
	       struct guid instance_id, uint16_t sub_channels_max, struct io_loop *const *loops,
	       size_t loop_count);

#endif
