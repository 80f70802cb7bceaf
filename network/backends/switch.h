/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A port of a switch between the VMs of one host, of one user. There is no daemon: the switch is a
 * folder, each port a datagram socket in it, and each port learns for itself who is behind which.
 *
 * Frames pass with their offloads, so that a large segment goes from guest to guest in one piece,
 * and nobody computes a checksum. What the receiving side has not said it can take is done to a
 * frame when it is received.
 *
 * Who has the right to open the folder is trusted to send to whom it likes and in whose name it
 * likes, and with nothing else.
 */
#ifndef OPENLIS_NETWORK_BACKENDS_SWITCH_H
#define OPENLIS_NETWORK_BACKENDS_SWITCH_H

#include "network/backends/backend.h"

/* [policy] Ports of one switch; more do not hear of each other. */
#define SWITCH_PORTS_MAX 64u
#define SWITCH_NAME_BYTES_MAX 32u

struct switch_config {
	const char
		*directory; /* for things of this boot; exists. The folder "switch-NAME" is in it */
	const char *name;   /* of the switch: letters, digits, '.', '_', '-' */
};

/**
 * switch_create() - A new port of a switch, which is made where there is none.
 * @config: not used any more after this
 * @out_port: set on success only
 * @error: NET_PORT_ERROR_BYTES, or NULL; on failure one line for the user
 *
 * The folder goes with the last port.
 *
 * Context: may sleep; any thread.
 * Return: 0, -LIS_INVALID (the name, or a path that is too long), -LIS_NOTFOUND (no such
 * directory), -LIS_DENIED (not our directory, or others may write to the folder), -LIS_NOSPACE,
 * -LIS_NOMEM, -LIS_IO.
 */
int switch_create(const struct switch_config *config, struct net_port **out_port,
		  char *error) LIS_MUST_USE;

#endif
