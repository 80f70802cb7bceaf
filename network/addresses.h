/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The IP addresses that a guest uses on a card, learned from what it says of itself: ARP, and IPv6's
 * neighbour discovery. Source addresses of its other packets only show that an address is still used:
 * a guest that routes sends others' packets, too.
 *
 * There is a small number of them; a guest that makes more up pushes out those it said longest ago.
 *
 * Sources: [RFC 826, 5227, 4861, 4862].
 */
#ifndef OPENLIS_NETWORK_ADDRESSES_H
#define OPENLIS_NETWORK_ADDRESSES_H

#include <pthread.h>

#include "network/port.h"

#define NET_ADDRESSES_MAX 16u                        /* [policy] */
#define NET_ADDRESS_AGE_NS (3600ull * 1000000000ull) /* [policy] unused for so long, it is forgotten */

struct net_address {
	uint8_t version;   /* 4, 6 */
	uint8_t bytes[16]; /* 4 of them for IPv4 */
	uint64_t seen_ns;  /* when it was used last */
};

struct net_addresses {
	pthread_mutex_t lock;
	uint32_t count;
	struct net_address entries[NET_ADDRESSES_MAX];
};

void net_addresses_init(struct net_addresses *addresses);
void net_addresses_fini(struct net_addresses *addresses);

/** net_addresses_forget() - All of them. Any thread. */
void net_addresses_forget(struct net_addresses *addresses);

/**
 * net_addresses_see() - Look at a frame of the guest.
 * @mac: the card's: what another is said to have sent tells nothing
 * @frame: its memory may be changing; only copies are looked at
 * @now_ns: any clock, always the same
 *
 * Context: one thread at a time; does not wait for those who read.
 */
void net_addresses_see(struct net_addresses *addresses, const uint8_t mac[NET_MAC_BYTES],
		       const struct net_frame *frame, uint64_t now_ns);

/**
 * net_addresses_is_news() - May the frame tell of an address that is not known? A guess, in no time, from
 * memory that may be changing.
 */
static inline bool net_addresses_is_news(const struct net_frame *frame)
{
	const uint8_t *at = frame->iov[0].iov_base;
	size_t bytes = frame->iov[0].iov_len;

	if (bytes >= 16 && at[12] == 0x81 && at[13] == 0) {
		at += NET_VLAN_BYTES;
		bytes -= NET_VLAN_BYTES;
	}
	if (bytes < NET_ETHERNET_BYTES)
		return false;
	if (at[12] == 0x08)
		return at[13] == 0x06;
	return at[12] == 0x86 && at[13] == 0xdd && bytes > 20 && at[20] == 58;
}

/**
 * net_addresses_get() - Those in use, IPv4 first, of each those used last first.
 * @out: NET_ADDRESSES_MAX
 *
 * Context: any thread.
 * Return: how many.
 */
uint32_t net_addresses_get(struct net_addresses *addresses, uint64_t now_ns, struct net_address *out);

#endif
