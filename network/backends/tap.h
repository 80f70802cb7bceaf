/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A port to the host's kernel: a TAP interface, where the host can bridge, route, filter and watch.
 * Frames go between the user's memory and the kernel's with no copy in between, and offloads with
 * them: struct net_offload and the kernel's struct virtio_net_hdr say the same.
 *
 * The link is up while the interface is.
 *
 * An interface with several queues keeps flows apart: a flow comes by the queue it is sent on
 * (struct net_frame's), or by one that the kernel chooses by its hash. All are read and written on
 * the port's loop.
 *
 * Sources: [linux 6.1 drivers/net/tun.c, include/linux/virtio_net.h], [linux 6.2 TUN_F_USO4,
 * TUN_F_USO6].
 */
#ifndef OPENLIS_NETWORK_BACKENDS_TAP_H
#define OPENLIS_NETWORK_BACKENDS_TAP_H

#include "network/backends/backend.h"

struct tap_config {
	const char *name; /* of the interface, up to 15 characters */
	bool make;        /* make it where there is none; it goes with the port */
	bool up;          /* bring it up */
	uint32_t queues;  /* 0: 1; up to TAP_QUEUES_MAX */
};

#define TAP_QUEUES_MAX 16u /* [policy] */

/**
 * tap_create() - Open a TAP interface; nobody else can have it as long.
 * @config: not used any more after this
 * @out_port: set on success only
 * @error: NET_PORT_ERROR_BYTES, or NULL; on failure one line for the user
 *
 * An interface that is there must have been made for several queues (multi_queue) where it is to have
 * them; one that was may be used with one.
 *
 * Context: may sleep; any thread, in the interface's network namespace.
 * Return: 0, -LIS_INVALID (no name for an interface, too many queues), -LIS_NOTFOUND (no such interface, or no TAP
 * on this machine), -LIS_DENIED (somebody else's, or making one is not allowed), -LIS_BUSY (in
 * use), -LIS_UNSUPPORTED (an interface of another kind, or a kernel that lacks virtio's header),
 * -LIS_NOMEM, -LIS_IO.
 */
int tap_create(const struct tap_config *config, struct net_port **out_port,
	       char *error) LIS_MUST_USE;

#endif
