/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Frames for tests, slow and plain. */
#include "tests/loopback/net_frames.h"

#include <string.h>

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)(at[0] << 8 | at[1]);
}

uint8_t net_test_pattern(uint32_t seed, uint32_t at)
{
	uint32_t x = seed * 2654435761u + (at >> 2) * 40503u;

	x ^= x >> 15;
	x *= 2246822519u;
	return (uint8_t)(x >> (at & 3) * 8);
}

/* The big-endian sum of 16-bit words, as RFC 1071 has it. */
static uint32_t slow_sum(const uint8_t *at, uint32_t bytes, uint32_t sum)
{
	for (uint32_t i = 0; i < bytes; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static uint32_t pseudo_sum(const uint8_t *ip, uint32_t version, uint32_t protocol, uint32_t bytes)
{
	uint8_t tail[8] = { (uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8),
			    (uint8_t)bytes, 0, 0, 0, (uint8_t)protocol };

	return slow_sum(tail, sizeof(tail),
			version == 4 ? slow_sum(ip + 12, 8, 0) : slow_sum(ip + 8, 32, 0));
}

struct net_test_layout net_test_layout(const struct net_test_frame *frame)
{
	struct net_test_layout layout = { .ip_offset = 14 + (frame->has_vlan ? 4 : 0) };

	if (frame->ip_version == 4)
		layout.transport_offset = layout.ip_offset + 20 + frame->ip_options_bytes;
	else if (frame->ip_version == 6)
		layout.transport_offset = layout.ip_offset + 40 + frame->extension_bytes;
	else
		layout.transport_offset = layout.ip_offset;
	layout.payload_offset = layout.transport_offset;
	if (frame->ip_version && frame->protocol == NET_TEST_TCP)
		layout.payload_offset += 20 + frame->tcp_options_bytes;
	else if (frame->ip_version && frame->protocol == NET_TEST_UDP)
		layout.payload_offset += 8;
	layout.bytes = layout.payload_offset + frame->payload_bytes;
	return layout;
}

static void put_ipv4(const struct net_test_frame *frame, const struct net_test_layout *layout,
		     uint8_t *ip)
{
	uint32_t header_bytes = 20u + frame->ip_options_bytes;

	ip[0] = (uint8_t)(0x40 | header_bytes / 4);
	put16(ip + 2, layout->bytes - layout->ip_offset);
	put16(ip + 4, frame->seed & 0xffff);
	ip[6] = 0x40; /* do not fragment */
	ip[8] = 64;
	ip[9] = frame->protocol;
	ip[12] = 10;
	ip[13] = (uint8_t)(frame->host >> 16);
	ip[14] = (uint8_t)(frame->host >> 8);
	ip[15] = (uint8_t)frame->host;
	memcpy(ip + 16, (const uint8_t[]){ 10, 1, 2, 3 }, 4);
	memset(ip + 20, 1, frame->ip_options_bytes);
	put16(ip + 10, ~slow_sum(ip, header_bytes, 0) & 0xffff);
}

static void put_ipv6(const struct net_test_frame *frame, const struct net_test_layout *layout,
		     uint8_t *ip)
{
	ip[0] = 0x60;
	put16(ip + 4, layout->bytes - layout->ip_offset - 40);
	ip[6] = frame->protocol;
	ip[7] = 64;
	ip[8] = ip[24] = 0xfd;
	ip[20] = (uint8_t)(frame->host >> 24);
	ip[21] = (uint8_t)(frame->host >> 16);
	ip[22] = (uint8_t)(frame->host >> 8);
	ip[23] = (uint8_t)frame->host;
	ip[39] = 9;
	if (frame->extension_bytes) {
		ip[6] = 0;
		ip[40] = frame->protocol;
		ip[41] = (uint8_t)(frame->extension_bytes / 8 - 1);
		ip[42] = 1; /* padding to the end */
		ip[43] = (uint8_t)(frame->extension_bytes - 4);
	}
}

static void put_transport(const struct net_test_frame *frame, const struct net_test_layout *layout,
			  uint8_t *to)
{
	uint8_t *at = to + layout->transport_offset;
	uint32_t bytes = layout->bytes - layout->transport_offset, sum;
	uint32_t place = frame->protocol == NET_TEST_TCP ? 16 : 6;

	put16(at, frame->source_port);
	put16(at + 2, frame->destination_port);
	if (frame->protocol == NET_TEST_TCP) {
		put16(at + 4, frame->seed >> 16);
		put16(at + 6, frame->seed);
		at[12] = (uint8_t)((20 + frame->tcp_options_bytes) / 4 << 4);
		at[13] = frame->tcp_flags ? frame->tcp_flags : 0x10;
		put16(at + 14, 0x7210);
		memset(at + 20, 1, frame->tcp_options_bytes);
	} else {
		put16(at + 4, bytes);
	}
	sum = slow_sum(at, bytes, pseudo_sum(to + layout->ip_offset, frame->ip_version,
					     frame->protocol, bytes));
	sum = ~sum & 0xffff;
	put16(at + place, !sum && place == 6 ? 0xffff : sum);
}

struct net_test_layout net_test_build(const struct net_test_frame *frame, uint8_t *to)
{
	static const uint8_t addresses[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };
	static const uint8_t none[6];
	struct net_test_layout layout = net_test_layout(frame);
	uint8_t *type = to + 12;

	memset(to, 0, layout.payload_offset);
	memcpy(to, addresses, sizeof(addresses));
	if (memcmp(frame->destination, none, sizeof(none)))
		memcpy(to, frame->destination, sizeof(none));
	if (frame->has_vlan) {
		put16(type, 0x8100);
		put16(type + 2, frame->vlan_tci);
		type += 4;
	}
	put16(type, frame->ip_version == 4 ? 0x0800 : frame->ip_version == 6 ? 0x86dd : 0x88b5);
	for (uint32_t i = 0; i < frame->payload_bytes; i++)
		to[layout.payload_offset + i] = net_test_pattern(frame->seed, i);
	if (frame->ip_version == 4)
		put_ipv4(frame, &layout, to + layout.ip_offset);
	else if (frame->ip_version == 6)
		put_ipv6(frame, &layout, to + layout.ip_offset);
	if (layout.payload_offset > layout.transport_offset)
		put_transport(frame, &layout, to);
	return layout;
}

static uint32_t version_of(const uint8_t *ip)
{
	return ip[0] >> 4;
}

/* Returns the protocol behind IP. */
static uint32_t protocol_of(const uint8_t *ip)
{
	if (version_of(ip) == 4)
		return ip[9];
	return ip[6] ? ip[6] : ip[40];
}

void net_test_pseudo(uint8_t *frame, const struct net_test_layout *layout, uint32_t bytes)
{
	uint8_t *ip = frame + layout->ip_offset;
	uint32_t protocol = protocol_of(ip);

	put16(frame + layout->transport_offset + (protocol == NET_TEST_TCP ? 16 : 6),
	      pseudo_sum(ip, version_of(ip), protocol, bytes));
}

static const char *check_transport(const uint8_t *ip, const uint8_t *at, uint32_t bytes)
{
	uint32_t protocol = protocol_of(ip);
	uint32_t sum = slow_sum(at, bytes, pseudo_sum(ip, version_of(ip), protocol, bytes));

	if (protocol == NET_TEST_UDP && bytes >= 8) {
		if (get16(at + 4) != bytes)
			return "UDP's length";
		if (!get16(at + 6))
			return "UDP without a checksum";
		return sum == 0xffff ? NULL : "UDP's checksum";
	}
	if (protocol == NET_TEST_TCP && bytes >= 20)
		return sum == 0xffff ? NULL : "TCP's checksum";
	return NULL;
}

const char *net_test_check(const uint8_t *frame, uint32_t bytes)
{
	uint32_t offset = 14, type, transport;
	const uint8_t *ip;

	if (bytes < 14)
		return "shorter than Ethernet";
	type = get16(frame + 12);
	if (type == 0x8100) {
		type = get16(frame + 16);
		offset = 18;
	}
	ip = frame + offset;
	if (type == 0x0800) {
		if (bytes < offset + 20 || get16(ip + 2) != bytes - offset)
			return "IPv4's length";
		transport = (ip[0] & 15u) * 4;
		if (slow_sum(ip, transport, 0) != 0xffff)
			return "IPv4's checksum";
	} else if (type == 0x86dd) {
		if (bytes < offset + 40 || get16(ip + 4) != bytes - offset - 40)
			return "IPv6's length";
		transport = ip[6] ? 40 : 40u + (ip[41] + 1u) * 8;
	} else {
		return NULL;
	}
	return check_transport(ip, ip + transport, bytes - offset - transport);
}

uint32_t net_test_toeplitz(const uint8_t key[40], const uint8_t *data, uint32_t bytes)
{
	uint32_t hash = 0;

	for (uint32_t bit = 0; bit < bytes * 8; bit++) {
		uint32_t window = 0;

		if (!(data[bit / 8] >> (7 - bit % 8) & 1))
			continue;
		for (uint32_t i = bit; i < bit + 32; i++)
			window = window << 1 | (key[i / 8] >> (7 - i % 8) & 1);
		hash ^= window;
	}
	return hash;
}
