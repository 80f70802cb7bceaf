/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Frames made and judged the slow way. All that is read of a frame is read by number(), which knows
 * where it ends.
 */
#include "tests/unit/network/slow_frame.h"

#include <string.h>

static void put(uint8_t *at, uint64_t value, uint32_t bytes)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

/* -1: it is not all there. */
static int64_t number(const uint8_t *memory, size_t there, size_t at, size_t bytes)
{
	int64_t value = 0;

	if (at + bytes > there)
		return -1;
	while (bytes--)
		value = value * 256 + memory[at++];
	return value;
}

/* ---- sums ---- */

uint32_t slow_sum(const uint8_t *memory, size_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum = (sum + memory[i] * (i % 2 ? 1u : 256u)) % 65535;
	return (uint32_t)sum;
}

uint32_t slow_word(uint16_t word)
{
	uint8_t bytes[2];

	memcpy(bytes, &word, 2);
	return bytes[0] * 256u + bytes[1];
}

uint32_t slow_pseudo(const uint8_t *frame, const struct net_headers *headers, size_t bytes)
{
	const uint8_t *ip = frame + headers->ip_offset;
	uint8_t pseudo[40] = { 0 };

	if (headers->ip_version == 4) {
		memcpy(pseudo, ip + 12, 8);
		pseudo[9] = headers->transport == NET_TRANSPORT_TCP ? 6 : 17;
		put(pseudo + 10, bytes, 2);
		return slow_sum(pseudo, 12);
	}
	memcpy(pseudo, ip + 8, 32);
	put(pseudo + 32, bytes, 4);
	pseudo[39] = headers->transport == NET_TRANSPORT_TCP ? 6 : 17;
	return slow_sum(pseudo, 40);
}

/* ---- a frame made ---- */

static uint32_t build_ethernet(const struct slow_plan *plan, uint8_t *frame)
{
	uint32_t at = 12;

	for (uint32_t i = 0; i < plan->vlan_tags; i++, at += 4)
		put(frame + at, i + 1 < plan->vlan_tags ? 0x88a8 : 0x8100, 2);
	put(frame + at, plan->ipv6 ? 0x86dd : 0x0800, 2);
	return at + 2;
}

/* Returns its end; its lengths come later. */
static uint32_t build_ip(const struct slow_plan *plan, uint8_t *frame, uint32_t at)
{
	uint8_t *ip = frame + at, *next = ip + 6, protocol = plan->udp ? 17 : 6;

	if (!plan->ipv6) {
		ip[0] = (uint8_t)(0x45 + plan->ip_option_words);
		put(ip + 4, plan->ip_id, 2);
		put(ip + 6, 0x4000, 2);
		ip[9] = protocol;
		return at + 20u + plan->ip_option_words * 4u;
	}
	ip[0] = 0x60;
	at += 40;
	for (uint32_t i = 0; i < plan->extension_count; i++) {
		*next = plan->extensions[i].protocol;
		next = frame + at;
		if (plan->extensions[i].protocol == 44) {
			put(next + 1, 0, 3);
			at += 8;
		} else {
			next[1] = plan->extensions[i].units;
			at += 8 + plan->extensions[i].units * 8u;
		}
	}
	*next = protocol;
	return at;
}

static void build_lengths(const struct slow_plan *plan, uint8_t *frame, uint32_t ip, uint32_t bytes)
{
	if (plan->ipv6) {
		put(frame + ip + 4, bytes - ip - 40, 2);
		return;
	}
	put(frame + ip + 2, bytes - ip, 2);
	put(frame + ip + 10, 0, 2);
	put(frame + ip + 10,
	    (65535 - slow_sum(frame + ip, 20 + plan->ip_option_words * 4u)) % 65535, 2);
}

uint32_t slow_build(const struct slow_plan *plan, uint8_t *frame, uint16_t segment_bytes,
		    struct net_offload *out_offload)
{
	uint32_t ip, transport, end, bytes, random = plan->seed | 1;
	struct net_headers headers = {
		.transport = plan->udp ? NET_TRANSPORT_UDP : NET_TRANSPORT_TCP,
		.ip_version = plan->ipv6 ? 6 : 4,
	};

	bytes = NET_HEADERS_BYTES_MAX * 2 + plan->payload_bytes;
	for (uint32_t i = 0; i < bytes; i++) {
		random = random * 1664525 + 1013904223;
		frame[i] = (uint8_t)(random >> 24);
	}
	ip = build_ethernet(plan, frame);
	transport = build_ip(plan, frame, ip);
	end = transport + (plan->udp ? 8 : 20 + plan->tcp_option_words * 4u);
	bytes = end + plan->payload_bytes;
	build_lengths(plan, frame, ip, bytes);
	if (plan->udp) {
		put(frame + transport + 4, bytes - transport, 2);
	} else {
		put(frame + transport + 4, plan->sequence, 4);
		frame[transport + 12] = (uint8_t)(0x50 + plan->tcp_option_words * 0x10);
		frame[transport + 13] = plan->tcp_flags;
	}
	headers.ip_offset = (uint16_t)ip;
	put(frame + transport + (plan->udp ? 6 : 16),
	    slow_pseudo(frame, &headers, bytes - transport), 2);
	*out_offload = (struct net_offload){
		.flags = NET_CHECKSUM_PARTIAL,
		.gso = !segment_bytes ? NET_GSO_NONE
		       : plan->udp    ? NET_GSO_UDP
		       : plan->ipv6   ? NET_GSO_TCP_IPV6
				      : NET_GSO_TCP_IPV4,
		.segment_bytes = segment_bytes,
		.header_bytes = segment_bytes ? (uint16_t)end : 0,
		.checksum_start = (uint16_t)transport,
		.checksum_offset = plan->udp ? 6 : 16,
	};
	return bytes;
}

/* ---- a frame judged ---- */

/* Where an IP packet ends that says it has @said bytes from @from on; 0 says nothing. */
static size_t packet_end(size_t there, size_t from, int64_t said)
{
	return said && from + (size_t)said < there ? from + (size_t)said : there;
}

/* Returns the protocol behind IP, or -1. */
static int64_t parse_4(const uint8_t *frame, size_t *there, struct net_headers *headers)
{
	size_t ip = headers->ip_offset;
	int64_t first = number(frame, *there, ip, 1), total = number(frame, *there, ip + 2, 2);
	size_t length = (size_t)(first & 15) * 4;

	if (number(frame, *there, ip + 19, 1) == -1 || first / 16 != 4 || length < 20 ||
	    ip + length > *there || (total && (size_t)total < length))
		return -1;
	headers->ip_version = 4;
	if (number(frame, *there, ip + 6, 2) % 0x4000) {
		headers->fragment = true;
		return -1;
	}
	headers->transport_offset = (uint16_t)(ip + length);
	*there = packet_end(*there, ip, total);
	return frame[ip + 9];
}

static int64_t parse_6(const uint8_t *frame, size_t *there, struct net_headers *headers)
{
	size_t ip = headers->ip_offset, at = ip + 40;
	int64_t protocol, length, where;

	if (number(frame, *there, ip + 39, 1) == -1 || frame[ip] / 16 != 6)
		return -1;
	headers->ip_version = 6;
	*there = packet_end(*there, at, number(frame, *there, ip + 4, 2));
	protocol = frame[ip + 6];
	while (protocol == 0 || protocol == 43 || protocol == 44 || protocol == 60) {
		length = number(frame, *there, at + 1, 1) * 8 + 8;
		where = number(frame, *there, at + 2, 2);
		if (number(frame, *there, at + 7, 1) == -1)
			return -1;
		if (protocol == 44 && (where / 8 || where % 2)) {
			headers->fragment = true;
			return -1;
		}
		if (protocol == 44)
			length = 8;
		if (at + (size_t)length > *there)
			return -1;
		protocol = frame[at];
		at += (size_t)length;
	}
	headers->transport_offset = (uint16_t)at;
	return protocol;
}

void slow_parse(const uint8_t *frame, size_t bytes, struct net_headers *out_headers)
{
	size_t there = bytes < NET_HEADERS_BYTES_MAX ? bytes : NET_HEADERS_BYTES_MAX, at = 14,
	       length;
	int64_t type = number(frame, there, 12, 2), protocol = -1;

	*out_headers = (struct net_headers){ 0 };
	for (uint32_t tags = 0; tags < 2 && (type == 0x8100 || type == 0x88a8); tags++, at += 4)
		type = number(frame, there, at + 2, 2);
	if (type == -1)
		return;
	out_headers->ip_offset = (uint16_t)at;
	if (type == 0x0800)
		protocol = parse_4(frame, &there, out_headers);
	if (type == 0x86dd)
		protocol = parse_6(frame, &there, out_headers);
	at = out_headers->transport_offset;
	if (protocol == 17 && at + 8 <= there) {
		out_headers->transport = NET_TRANSPORT_UDP;
		out_headers->bytes = (uint16_t)(at + 8);
	}
	if (protocol != 6 || at + 20 > there)
		return;
	length = frame[at + 12] / 16 * 4u;
	if (length >= 20 && at + length <= there) {
		out_headers->transport = NET_TRANSPORT_TCP;
		out_headers->bytes = (uint16_t)(at + length);
	}
}

const char *slow_frame_wrong(const uint8_t *frame, size_t bytes, bool partial)
{
	const uint8_t *ip, *transport, *checksum;
	struct net_headers headers;
	size_t left;

	slow_parse(frame, bytes, &headers);
	if (!headers.bytes)
		return "neither TCP nor UDP";
	ip = frame + headers.ip_offset;
	transport = frame + headers.transport_offset;
	left = bytes - headers.transport_offset;
	checksum = transport + (headers.transport == NET_TRANSPORT_TCP ? 16 : 6);
	if (headers.ip_version == 4) {
		if ((size_t)ip[2] * 256 + ip[3] != bytes - headers.ip_offset)
			return "IPv4's total length";
		if (slow_sum(ip, (ip[0] & 15) * 4u) || (ip[10] & ip[11]) == 0xff)
			return "IPv4's header checksum";
	} else if ((size_t)ip[4] * 256 + ip[5] != bytes - headers.ip_offset - 40) {
		return "IPv6's payload length";
	}
	if (headers.transport == NET_TRANSPORT_UDP && transport[4] * 256u + transport[5] != left)
		return "UDP's length";
	if (partial)
		return slow_sum(checksum, 2) == slow_pseudo(frame, &headers, left)
			       ? NULL
			       : "the pseudo header's sum";
	/* Of the two zeroes of one's complement, UDP has one, and all others have the other one. */
	if (headers.transport == NET_TRANSPORT_UDP ? !(checksum[0] | checksum[1])
						   : (checksum[0] & checksum[1]) == 0xff)
		return "the wrong zero for a checksum";
	if ((slow_pseudo(frame, &headers, left) + slow_sum(transport, left)) % 65535)
		return "the checksum of TCP or UDP";
	return NULL;
}

/* The header that a segment must have but for checksums, which are 0. */
static void expected_header(const struct slow_join *join, uint32_t payload_bytes, uint8_t *header)
{
	uint32_t bytes = join->offload.header_bytes, total = bytes + payload_bytes, transport;
	bool last = join->at + payload_bytes == join->bytes;
	struct net_headers headers;

	memcpy(header, join->frame, bytes);
	slow_parse(header, bytes, &headers);
	transport = headers.transport_offset;
	if (headers.ip_version == 4) {
		put(header + headers.ip_offset + 2, total - headers.ip_offset, 2);
		put(header + headers.ip_offset + 4,
		    (uint64_t)number(header, bytes, headers.ip_offset + 4u, 2) + join->index, 2);
		put(header + headers.ip_offset + 10, 0, 2);
	} else {
		put(header + headers.ip_offset + 4, total - headers.ip_offset - 40, 2);
	}
	if (headers.transport == NET_TRANSPORT_UDP) {
		put(header + transport + 4, total - transport, 2);
		put(header + transport + 6, 0, 2);
		return;
	}
	put(header + transport + 4,
	    (uint64_t)number(header, bytes, transport + 4, 4) + join->at - bytes, 4);
	if (join->index)
		header[transport + 13] &= 0x7f; /* CWR */
	if (!last)
		header[transport + 13] &= 0xf6; /* PSH, FIN */
	put(header + transport + 16, 0, 2);
}

const char *slow_join_wrong(struct slow_join *join, const uint8_t *segment, size_t bytes,
			    bool partial)
{
	uint32_t header_bytes = join->offload.header_bytes, payload_bytes;
	uint8_t expected[NET_HEADERS_BYTES_MAX], found[NET_HEADERS_BYTES_MAX];
	uint32_t left;
	const char *wrong;
	struct net_headers headers;

	if (!join->index)
		join->at = header_bytes;
	left = join->bytes - join->at;
	payload_bytes = left < join->offload.segment_bytes ? left : join->offload.segment_bytes;
	if (!payload_bytes)
		return "one segment too many";
	if (bytes != header_bytes + payload_bytes)
		return "its size";
	expected_header(join, payload_bytes, expected);
	memcpy(found, segment, header_bytes);
	slow_parse(found, header_bytes, &headers);
	if (headers.ip_version == 4)
		put(found + headers.ip_offset + 10, 0, 2);
	put(found + join->offload.checksum_start + join->offload.checksum_offset, 0, 2);
	if (memcmp(found, expected, header_bytes))
		return "its headers";
	if (memcmp(segment + header_bytes, join->frame + join->at, payload_bytes))
		return "its payload";
	wrong = slow_frame_wrong(segment, bytes, partial);
	join->at += payload_bytes;
	join->index++;
	return wrong;
}

/* ---- the hash ---- */

uint32_t slow_hash(const uint8_t key[NDIS_RSS_KEY_BYTES], const uint8_t *input, size_t bytes)
{
	uint32_t hash = 0;

	for (size_t bit = 0; bit < bytes * 8; bit++) {
		if (!(input[bit / 8] & 0x80 >> bit % 8))
			continue;
		for (size_t i = 0; i < 32; i++) {
			size_t of_key = bit + i;

			if (key[of_key / 8] & 0x80 >> of_key % 8)
				hash ^= 0x80000000u >> i;
		}
	}
	return hash;
}

uint32_t slow_flow_hash(const uint8_t key[NDIS_RSS_KEY_BYTES], const uint8_t *frame,
			const struct net_headers *headers, uint32_t types, uint32_t *out_type)
{
	bool tcp = headers->transport == NET_TRANSPORT_TCP;
	bool udp = headers->transport == NET_TRANSPORT_UDP;
	uint32_t addresses, ports;
	uint8_t input[36];
	size_t bytes;

	*out_type = 0;
	if (headers->ip_version == 4) {
		addresses = NDIS_HASH_IPV4;
		ports = tcp ? NDIS_HASH_TCP_IPV4 : udp ? NDIS_HASH_UDP_IPV4 : 0;
		bytes = 8;
		memcpy(input, frame + headers->ip_offset + 12, bytes);
	} else if (headers->ip_version == 6) {
		addresses = NDIS_HASH_IPV6;
		ports = tcp ? NDIS_HASH_TCP_IPV6 : udp ? NDIS_HASH_UDP_IPV6 : 0;
		bytes = 32;
		memcpy(input, frame + headers->ip_offset + 8, bytes);
	} else {
		return 0;
	}
	if (types & ports) {
		*out_type = ports;
		memcpy(input + bytes, frame + headers->transport_offset, 4);
		return slow_hash(key, input, bytes + 4);
	}
	if (!(types & addresses))
		return 0;
	*out_type = addresses;
	return slow_hash(key, input, bytes);
}
