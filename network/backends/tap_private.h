/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the parts of the TAP port: tap.c is the port, tap_open.c makes it. Nobody else includes this. */
#ifndef OPENLIS_NETWORK_BACKENDS_TAP_PRIVATE_H
#define OPENLIS_NETWORK_BACKENDS_TAP_PRIVATE_H

#include <limits.h>
#include <net/if.h>

#include "network/backends/tap.h"

struct tap_queue {
	struct tap *tap;
	int fd;
	struct io_fd data;
	struct io_call stopped;
};

struct tap {
	struct net_port port;
	struct io_loop *loop;
	struct net_port_user *user;
	char name[IFNAMSIZ];
	struct tap_queue queues[TAP_QUEUES_MAX];
	uint32_t queue_count; /* of those that are open */
	uint32_t filled;      /* a bit for each that may have frames */
	uint32_t turn, turn_frames;
	int changes_fd;       /* may be -1 */
	struct io_fd changes;
	bool made, user_waits, gone, stopping;
	uint32_t can;     /* NET_CAN_* of the user, which the kernel knows */
	unsigned watches; /* descriptors that the loop has not let go of */
	struct io_call changes_stopped, last_call;
	struct io_call *stopped;
	struct iovec iov[IOV_MAX];
};

/* ---- tap.c ---- */

/** tap_alloc() - One without descriptors. Return: NULL: no memory. */
struct tap *tap_alloc(const char *name);

/** tap_kernel_offloads() - TUN_F_* for NET_CAN_*. */
unsigned tap_kernel_offloads(uint32_t can);

/** tap_interface_is_up() - In the case of doubt it is. */
bool tap_interface_is_up(struct tap *tap);

#endif
