// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Frames of a NAT port that are longer than the guest's MTU. To libslirp the link has the largest
 * MTU there is, and the guest a large MSS: a TCP segment of 32 KiB costs it hardly more than one of
 * 1460 bytes. What it makes of that goes to the guest as one large segment, to be taken in one
 * piece or cut; what is not TCP becomes fragments.
 *
 * Pure functions, on frames of this process: nobody changes them meanwhile.
 */
#include "network/backends/nat_private.h"

#include <string.h>

#define IPV4_BYTES 20u
#define IPV6_BYTES 40u
#define IPV4_LENGTH 2u
#define IPV4_FRAGMENT 6u
#define IPV4_DONT_FRAGMENT 0x4000u
#define IPV4_MORE_FRAGMENTS 0x2000u
#define IPV4_OFFSET 0x1fffu
#define TCP_BYTES 20u
#define TCP_FLAGS 13u
#define TCP_SYN 0x02u
#define TCP_CHECKSUM 16u
#define OPTION_END 0u
#define OPTION_NOTHING 1u
#define OPTION_MSS 2u
#define OPTION_MSS_BYTES 4u

static uint32_t get_be16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void put_be16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void parse(const uint8_t *frame, uint32_t bytes, struct net_headers *headers)
{
	net_parse_headers(frame, bytes < NET_HEADERS_BYTES_MAX ? bytes : NET_HEADERS_BYTES_MAX,
			  headers);
}

/* ---- MSS ---- */

/* The MSS among the options of a TCP header; NULL: none. */
static uint8_t *find_mss(uint8_t *option, const uint8_t *end)
{
	while (option < end && *option != OPTION_END) {
		if (*option == OPTION_NOTHING) {
			option++;
			continue;
		}
		if (end - option < 2 || option[1] < 2 || option[1] > end - option)
			return NULL;
		if (*option == OPTION_MSS)
			return option[1] == OPTION_MSS_BYTES ? option + 2 : NULL;
		option += option[1];
	}
	return NULL;
}

void nat_raise_mss(uint8_t *frame, uint32_t bytes, uint32_t mtu)
{
	struct net_headers headers;
	uint8_t *tcp, *mss;
	uint32_t old, ip_bytes;

	parse(frame, bytes, &headers);
	tcp = frame + headers.transport_offset;
	if (headers.transport != NET_TRANSPORT_TCP || !(tcp[TCP_FLAGS] & TCP_SYN))
		return;
	mss = find_mss(tcp + TCP_BYTES, frame + headers.bytes);
	ip_bytes = headers.ip_version == 4 ? IPV4_BYTES : IPV6_BYTES;
	/* One that wants less than the MTU gets that from libslirp. */
	if (!mss || get_be16(mss) + ip_bytes + TCP_BYTES < mtu)
		return;
	old = get_be16(mss);
	/* Options may begin at any byte; a sum of bytes that are swapped is the sum, swapped: RFC
	 * 1071. */
	put_be16(mss, UINT16_MAX);
	if ((mss - tcp) & 1)
		old = (old & 0xff) << 8 | old >> 8;
	/* RFC 1624: what was there goes from the sum, what is there comes to it, and that is
	 * nothing. */
	old = get_be16(tcp + TCP_CHECKSUM) + old;
	put_be16(tcp + TCP_CHECKSUM, (old & 0xffff) + (old >> 16));
}

/* ---- large segments ---- */

bool nat_large_segment(const uint8_t *frame, uint32_t bytes, uint32_t mtu, uint8_t *out_head,
		       struct net_offload *out_offload)
{
	struct net_headers headers;
	bool ipv4;

	parse(frame, bytes, &headers);
	ipv4 = headers.ip_version == 4;
	if (headers.transport != NET_TRANSPORT_TCP || headers.bytes >= headers.ip_offset + mtu)
		return false;
	memcpy(out_head, frame, headers.bytes);
	if (net_set_lengths(out_head, &headers, bytes - headers.bytes))
		return false;
	*out_offload = (struct net_offload){
		.flags = NET_CHECKSUM_PARTIAL,
		.gso = ipv4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6,
		.segment_bytes = (uint16_t)(mtu - (headers.bytes - headers.ip_offset)),
		.header_bytes = headers.bytes,
		.checksum_start = headers.transport_offset,
		.checksum_offset = TCP_CHECKSUM,
	};
	return true;
}

static bool put_segments(struct nat_queue *queue, const uint8_t *frame, uint32_t bytes,
			 const uint8_t *head, const struct net_offload *offload)
{
	uint32_t head_bytes = offload->header_bytes;
	struct iovec whole[] = { { (void *)(uintptr_t)head, head_bytes },
				 { (void *)(uintptr_t)(frame + head_bytes), bytes - head_bytes } };
	struct net_frame large = {
		.iov = whole, .iov_count = 2, .bytes = bytes, .offload = *offload
	};
	struct net_segmenter segmenter;
	struct net_frame segment;
	struct iovec iov[3];

	if (net_segmenter_init(&segmenter, &large, iov, 3))
		return false;
	while (net_segmenter_next(&segmenter, false, &segment)) {
		/* TCP sends what is missing again. */
		if (!nat_queue_put(queue, segment.iov, segment.iov_count, segment.bytes))
			return false;
	}
	return true;
}

/* ---- fragments ---- */

static bool put_fragments(struct nat_queue *queue, const uint8_t *frame, uint32_t bytes,
			  uint32_t mtu)
{
	struct net_headers headers;
	uint8_t head[NET_HEADERS_BYTES_MAX];
	uint32_t ip_bytes, head_bytes, flags, piece_bytes;
	uint8_t *ip = head + NET_ETHERNET_BYTES;

	parse(frame, bytes, &headers);
	if (headers.ip_version != 4 || headers.ip_offset != NET_ETHERNET_BYTES)
		return false;
	ip_bytes = (frame[NET_ETHERNET_BYTES] & 0xfu) * 4;
	head_bytes = NET_ETHERNET_BYTES + ip_bytes;
	memcpy(head, frame, head_bytes);
	flags = get_be16(ip + IPV4_FRAGMENT);
	piece_bytes = (mtu - ip_bytes) & ~7u;
	if (flags & IPV4_DONT_FRAGMENT)
		return false;
	for (uint32_t at = head_bytes; at < bytes; at += piece_bytes) {
		uint32_t left = bytes - at, piece = left < piece_bytes ? left : piece_bytes;
		struct iovec iov[] = { { head, head_bytes },
				       { (void *)(uintptr_t)(frame + at), piece } };

		put_be16(ip + IPV4_LENGTH, ip_bytes + piece);
		put_be16(ip + IPV4_FRAGMENT,
			 (flags & ~IPV4_OFFSET) | ((flags & IPV4_OFFSET) + (at - head_bytes) / 8) |
				 (piece < left ? IPV4_MORE_FRAGMENTS : 0));
		net_set_ipv4_checksum(head, &headers);
		if (!nat_queue_put(queue, iov, 2, head_bytes + piece))
			return false;
	}
	return true;
}

bool nat_put_large(struct nat_queue *queue, const uint8_t *frame, uint32_t bytes, uint32_t mtu,
		   uint32_t can)
{
	uint8_t head[NET_HEADERS_BYTES_MAX];
	struct iovec whole = { (void *)(uintptr_t)frame, bytes };
	struct net_offload offload;

	if (nat_large_segment(frame, bytes, mtu, head, &offload)) {
		if (can & nat_can_of(&offload))
			return nat_queue_put(queue, &whole, 1, bytes);
		return put_segments(queue, frame, bytes, head, &offload);
	}
	/* libslirp makes no fragments of IPv6 either. */
	return get_be16(frame + 12) == NAT_ETHERTYPE_IPV4 ? put_fragments(queue, frame, bytes, mtu)
							  : nat_queue_put(queue, &whole, 1, bytes);
}
