// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The addresses of a guest: see addresses.h.
 *
 * The lock is for those who read. Who learns only tries it: what is missed once is said again.
 */
#include "network/addresses.h"

#include <string.h>


#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_IPV6 0x86ddu

#define ARP_BYTES 28u
#define IPV4_BYTES 20u
#define IPV6_BYTES 40u
#define PROTOCOL_ICMPV6 58u
/* Only from the same link: no router lets it be so high. */
#define HOP_LIMIT_NEIGHBOUR 255u
#define ICMPV6_SOLICITATION 135u
#define ICMPV6_ADVERTISEMENT 136u
#define ICMPV6_TARGET 8u
/* Ethernet with a tag, IPv6, and ICMPv6 up to the end of the target. */
#define HEAD_BYTES (NET_ETHERNET_BYTES + NET_VLAN_BYTES + IPV6_BYTES + ICMPV6_TARGET + 16u)

static uint32_t get_be16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

/* ---- addresses ---- */

/* One that a single host has, on a link. */
static bool is_usable(uint8_t version, const uint8_t *bytes)
{
	static const uint8_t loopback[16] = { [15] = 1 }, nothing[16];

	if (version == 4)
		return bytes[0] && bytes[0] != 127 && bytes[0] < 224;
	return bytes[0] != 0xff && memcmp(bytes, nothing, 16) && memcmp(bytes, loopback, 16);
}

static uint32_t address_bytes(uint8_t version)
{
	return version == 4 ? 4 : 16;
}

static struct net_address *find(struct net_addresses *addresses, uint8_t version, const uint8_t *bytes)
{
	for (uint32_t i = 0; i < addresses->count; i++) {
		struct net_address *entry = &addresses->entries[i];

		if (entry->version == version && !memcmp(entry->bytes, bytes, address_bytes(version)))
			return entry;
	}
	return NULL;
}

/* A place for another: a new one, or that of the one used longest ago. */
static struct net_address *place(struct net_addresses *addresses)
{
	struct net_address *oldest = addresses->entries;

	if (addresses->count < NET_ADDRESSES_MAX)
		return &addresses->entries[addresses->count++];
	for (uint32_t i = 1; i < addresses->count; i++) {
		if (addresses->entries[i].seen_ns < oldest->seen_ns)
			oldest = &addresses->entries[i];
	}
	return oldest;
}

static void used(struct net_addresses *addresses, uint8_t version, const uint8_t *bytes, bool is_its_own,
		 uint64_t now_ns)
{
	struct net_address *entry;

	if (!is_usable(version, bytes) || pthread_mutex_trylock(&addresses->lock))
		return;
	entry = find(addresses, version, bytes);
	if (!entry && is_its_own) {
		entry = place(addresses);
		memset(entry, 0, sizeof(*entry));
		entry->version = version;
		memcpy(entry->bytes, bytes, address_bytes(version));
	}
	if (entry)
		entry->seen_ns = now_ns;
	pthread_mutex_unlock(&addresses->lock);
}

/* ---- frames ---- */

/* Of Ethernet and IPv4, from the card itself. */
static bool is_arp_of(const uint8_t *arp, const uint8_t *mac)
{
	static const uint8_t kind[] = { 0, 1, 8, 0, NET_MAC_BYTES, 4 };

	return !memcmp(arp, kind, sizeof(kind)) && !memcmp(arp + 8, mac, NET_MAC_BYTES);
}

static void see_ipv6(struct net_addresses *addresses, const uint8_t *ip, size_t bytes, uint64_t now_ns)
{
	const uint8_t *icmp = ip + IPV6_BYTES;
	bool neighbour = ip[6] == PROTOCOL_ICMPV6 && ip[7] == HOP_LIMIT_NEIGHBOUR &&
			 bytes >= IPV6_BYTES + ICMPV6_TARGET + 16 &&
			 (icmp[0] == ICMPV6_SOLICITATION || icmp[0] == ICMPV6_ADVERTISEMENT);

	used(addresses, 6, ip + 8, neighbour, now_ns);
	/* Whose is it? means mine, where the asker has none yet. */
	if (neighbour && (icmp[0] == ICMPV6_ADVERTISEMENT || !is_usable(6, ip + 8)))
		used(addresses, 6, icmp + ICMPV6_TARGET, true, now_ns);
}

void net_addresses_see(struct net_addresses *addresses, const uint8_t mac[NET_MAC_BYTES],
		       const struct net_frame *frame, uint64_t now_ns)
{
	uint8_t head[HEAD_BYTES];
	size_t bytes = net_frame_copy(frame, 0, head, sizeof(head)), at = NET_ETHERNET_BYTES;
	uint32_t type;

	if (bytes < NET_ETHERNET_BYTES + NET_VLAN_BYTES ||
	    memcmp(head + NET_MAC_BYTES, mac, NET_MAC_BYTES))
		return;
	type = get_be16(head + at - 2);
	if (type == ETHERTYPE_VLAN) {
		at += NET_VLAN_BYTES;
		type = get_be16(head + at - 2);
	}
	if (type == ETHERTYPE_ARP && bytes >= at + ARP_BYTES && is_arp_of(head + at, mac))
		used(addresses, 4, head + at + 14, true, now_ns);
	else if (type == ETHERTYPE_IPV4 && bytes >= at + IPV4_BYTES)
		used(addresses, 4, head + at + 12, false, now_ns);
	else if (type == ETHERTYPE_IPV6 && bytes >= at + IPV6_BYTES)
		see_ipv6(addresses, head + at, bytes - at, now_ns);
}

/* ---- life ---- */

void net_addresses_init(struct net_addresses *addresses)
{
	pthread_mutex_init(&addresses->lock, NULL);
	addresses->count = 0;
}

void net_addresses_fini(struct net_addresses *addresses)
{
	pthread_mutex_destroy(&addresses->lock);
}

void net_addresses_forget(struct net_addresses *addresses)
{
	pthread_mutex_lock(&addresses->lock);
	addresses->count = 0;
	pthread_mutex_unlock(&addresses->lock);
}

static bool comes_before(const struct net_address *a, const struct net_address *b)
{
	return a->version != b->version ? a->version < b->version : a->seen_ns > b->seen_ns;
}

uint32_t net_addresses_get(struct net_addresses *addresses, uint64_t now_ns, struct net_address *out)
{
	uint32_t count = 0;

	pthread_mutex_lock(&addresses->lock);
	for (uint32_t i = 0; i < addresses->count; i++) {
		const struct net_address *entry = &addresses->entries[i];
		uint32_t at = count;

		/* It may be seen by now: the clock was read before. */
		if (now_ns > entry->seen_ns && now_ns - entry->seen_ns > NET_ADDRESS_AGE_NS)
			continue;
		for (; at && comes_before(entry, &out[at - 1]); at--)
			out[at] = out[at - 1];
		out[at] = *entry;
		count++;
	}
	pthread_mutex_unlock(&addresses->lock);
	return count;
}
