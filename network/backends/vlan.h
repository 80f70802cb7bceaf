/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A port in front of a port, which makes of a trunk an access port, as a switch does: what the user
 * sends gets the VLAN's tag, and what comes with that tag reaches the user without it. Nothing else
 * passes: no frame of another VLAN, none without a tag, and none that the user tagged itself, whatever
 * the number in the tag. Only a tag that gives a priority and names no VLAN (number 0) is welcome; it
 * is given the VLAN's number.
 *
 * Offloads pass as they are, with their places moved, and a frame's data are not copied.
 *
 * Sources: [IEEE 802.1Q-2018 6.9], [Microsoft "Set-VMNetworkAdapterVlan", -Access].
 */
#ifndef OPENLIS_NETWORK_BACKENDS_VLAN_H
#define OPENLIS_NETWORK_BACKENDS_VLAN_H

#include "network/backends/backend.h"

#define VLAN_ID_MIN 1u
#define VLAN_ID_MAX 4094u

/**
 * vlan_create() - Put a port in front of another.
 * @behind: not started; belongs to the new port on success, and goes with it
 * @id: VLAN_ID_MIN..VLAN_ID_MAX
 * @out_port: set on success only
 * @error: NET_PORT_ERROR_BYTES, or NULL; on failure one line for the user
 *
 * Context: any thread.
 * Return: 0, -LIS_INVALID (no such VLAN), -LIS_NOMEM.
 */
int vlan_create(struct net_port *behind, uint32_t id, struct net_port **out_port,
		char *error) LIS_MUST_USE;

#endif
