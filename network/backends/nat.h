/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A port to the host's own network, by user-mode NAT: libslirp is the guest's router, DHCP and DNS
 * server, and makes of each of its connections a socket of this process. No privileges are needed;
 * the guest can reach what this process can, and nothing reaches the guest but by a forward.
 *
 * The guest finds the router (and by it this host's loopback) at .2 of the network, the name server
 * at .3, and gets its own address from .15 on by DHCP; in IPv6 ::2 and ::3, and any address of its
 * own by router advertisement.
 *
 * libslirp ends TCP itself, so large segments go into it in one piece, and come out of it. Those who do not take
 * them, NET_CAN_TCP_*, get packets of the MTU.
 *
 * The process has to ignore SIGPIPE: libslirp writes to sockets whose other end may be closed.
 *
 * Sources: [libslirp 4.7.0 src/libslirp.h, src/slirp.c, src/tcp_input.c].
 */
#ifndef OPENLIS_NETWORK_BACKENDS_NAT_H
#define OPENLIS_NETWORK_BACKENDS_NAT_H

#include "network/backends/backend.h"

/* A port of the host that leads to one of the guest's. */
struct nat_forward {
	bool udp;                  /* else TCP */
	const char *host_address;  /* NULL: 127.0.0.1. "0.0.0.0", "::": any */
	uint16_t host_port;
	const char *guest_address; /* NULL: the guest's, in the host address' family */
	uint16_t guest_port;
};

struct nat_config {
	const char *ipv4;          /* network; NULL: "10.0.2.0/24"; 8 to 27 bits */
	const char *ipv6;          /* network of 64 bits; NULL: "fec0::/64" */
	bool no_ipv4, no_ipv6;     /* not both */
	bool restricted;           /* the guest reaches nobody; forwards to it still work */
	bool no_loopback;          /* the guest does not reach the host's loopback */
	const char *hostname;      /* the guest's, by DHCP; up to 32 characters; NULL: none */
	const char *domain;        /* by DHCP; NULL: none */
	const char *const *search; /* domains, by DHCP, a NULL behind the last; NULL: none */
	uint32_t mtu;              /* of packets to the guest; 0: 1500; 1280 to 65521 */
	const struct nat_forward *forwards;
	uint32_t forward_count;
};

/**
 * nat_create() - Make a port with its network and its forwards.
 * @config: not used any more after this; NULL for defaults
 * @out_port: set on success only
 * @error: NET_PORT_ERROR_BYTES, or NULL; on failure one line for the user
 *
 * Forwards take connections from start on.
 *
 * Context: may sleep; any thread.
 * Return: 0, -LIS_INVALID (no such address, network, name or MTU), -LIS_BUSY (a forward's port of
 * the host is taken), -LIS_DENIED (it is for the privileged), -LIS_NOMEM, -LIS_IO.
 */
int nat_create(const struct nat_config *config, struct net_port **out_port,
	       char *error) LIS_MUST_USE;

/**
 * nat_add_forward() - One more.
 * @port: from nat_create()
 *
 * Context: the loop that the port was started on; where it was not, or is not any more, any one thread.
 * Return: as nat_create().
 */
int nat_add_forward(struct net_port *port, const struct nat_forward *forward, char *error) LIS_MUST_USE;

/**
 * nat_remove_forward() - Take one away, which is told by where it is on the host. What came through it stays
 * connected, but for UDP.
 *
 * Context: as nat_add_forward(). Return: 0, -LIS_NOTFOUND.
 */
int nat_remove_forward(struct net_port *port, const struct nat_forward *forward, char *error) LIS_MUST_USE;

#endif
