/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the parts of the NAT port: nat_setup.c reads the config, nat.c runs. Nobody else includes
 * this. */
#ifndef OPENLIS_NETWORK_BACKENDS_NAT_PRIVATE_H
#define OPENLIS_NETWORK_BACKENDS_NAT_PRIVATE_H

#include <slirp/libslirp.h>

#include "network/backends/nat.h"

/**
 * nat_setup() - What libslirp is told.
 * @out_setup: holds on to @config's strings
 * @out_line: NET_PORT_LINE_BYTES, for people
 * @error: as nat_create()
 *
 * Return: 0, -LIS_INVALID.
 */
int nat_setup(const struct nat_config *config, SlirpConfig *out_setup, char *out_line,
	      char *error) LIS_MUST_USE;

/** nat_add_forwards() - All, up to the first that cannot be. Return: as nat_create(). */
int nat_add_forwards(Slirp *slirp, const struct nat_config *config, char *error) LIS_MUST_USE;

#endif
