/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What network cards do for their drivers, done in software where a port cannot: checksums, cutting of
 * large TCP segments and UDP datagrams, and the hash that tells flows apart. Pure functions on memory;
 * nothing here trusts a frame.
 *
 * Sources: [RFC 791, 8200, 9293, 768, 1071, 1624], [Microsoft "Verifying the RSS Hash Calculation"].
 */
#ifndef OPENLIS_NETWORK_OFFLOAD_H
#define OPENLIS_NETWORK_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "network/port.h"
#include "network/rndis.h"

/* All headers together: Ethernet, two VLAN tags, IPv6 with some extension headers, TCP with options. */
#define NET_HEADERS_BYTES_MAX 256u

enum net_transport {
	NET_TRANSPORT_OTHER,
	NET_TRANSPORT_TCP,
	NET_TRANSPORT_UDP,
};

/* Where the headers of a frame are. */
struct net_headers {
	uint16_t ip_offset;        /* behind Ethernet and VLAN tags */
	uint16_t transport_offset; /* behind IP with all its options and extension headers; 0: unknown */
	uint16_t bytes;            /* of all headers, TCP's options included; 0 unless TCP or UDP */
	uint8_t ip_version;        /* 4, 6; 0: no IP, or a broken header */
	uint8_t transport;         /* enum net_transport; OTHER for any fragment */
	bool fragment;
};

/**
 * net_parse_headers() - Find a frame's headers.
 * @frame: its beginning, a private copy
 * @bytes: how much of it is there, NET_HEADERS_BYTES_MAX or the whole frame; the headers of transport
 * found lie within
 * @out_headers: always set
 *
 * Context: any.
 */
void net_parse_headers(const uint8_t *frame, size_t bytes, struct net_headers *out_headers);

/**
 * net_sum() - Add up memory as 16-bit words in one's complement, RFC 1071.
 * @sum: what to go on from, 0 at first; any 32-bit value
 * @odd: the bytes before were odd in number
 *
 * Context: any. Return: the sum, not folded.
 */
uint32_t net_sum(const void *memory, size_t bytes, uint32_t sum, bool odd);

/** net_sum_iov() - net_sum() of @bytes bytes of @iov from @offset on; false if there are not so many. */
bool net_sum_iov(const struct iovec *iov, size_t iov_count, size_t offset, size_t bytes,
		 uint32_t sum, uint32_t *out_sum);

/** net_sum_fold() - The sum as it stands in a header, in its bytes' order, not inverted: to be copied there. */
uint16_t net_sum_fold(uint32_t sum);

/**
 * net_set_lengths() - Make a frame's headers those of an IP packet of a certain length.
 * @frame: its headers, private
 * @headers: of TCP or UDP
 * @payload_bytes: behind the headers; IP packets up to 65535 bytes
 *
 * Sets IPv4's total length and header checksum, IPv6's payload length, UDP's length, and TCP's or UDP's
 * checksum to the pseudo header's sum, as NET_CHECKSUM_PARTIAL wants it. Jumbograms are not made.
 *
 * Return: 0, -LIS_INVALID (it would be too long, or it is neither TCP nor UDP).
 */
int net_set_lengths(uint8_t *frame, const struct net_headers *headers, size_t payload_bytes) LIS_MUST_USE;

/** net_set_ipv4_checksum() - Of an IPv4 header at @ip_offset, private and whole. */
void net_set_ipv4_checksum(uint8_t *frame, const struct net_headers *headers);

/**
 * net_checksum() - What NET_CHECKSUM_PARTIAL asks for, as it stands in a header.
 * @iov: the frame
 * @offload: with NET_CHECKSUM_PARTIAL
 * @out_word: in its bytes' order: to be copied there
 *
 * A UDP checksum of 0 is sent as 0xffff; with checksum_offset 6 it is UDP.
 *
 * Return: 0, -LIS_INVALID (the frame is too short for it).
 */
int net_checksum(const struct iovec *iov, size_t iov_count, size_t frame_bytes,
		 const struct net_offload *offload, uint16_t *out_word) LIS_MUST_USE;

/**
 * net_complete_checksum() - Do what NET_CHECKSUM_PARTIAL asks for, in place.
 * @iov: the frame; its memory may be changing, so the sum may be wrong, but nothing else is
 * @offload: NET_CHECKSUM_PARTIAL is gone from it then
 *
 * Return: 0, -LIS_INVALID (the frame is too short for it).
 */
int net_complete_checksum(const struct iovec *iov, size_t iov_count, size_t frame_bytes,
			  struct net_offload *offload) LIS_MUST_USE;

/* Cuts a frame into segments, each with its own headers, lengths and checksums. */
struct net_segmenter {
	const struct net_frame *frame;
	struct net_headers headers;
	uint32_t offset;           /* of the next segment's payload, in the frame */
	uint32_t index;
	uint8_t template[NET_HEADERS_BYTES_MAX];
	uint8_t header[NET_HEADERS_BYTES_MAX]; /* of the segment */
	struct iovec *iov;         /* of the segment; @iov_max entries, the caller's */
	uint32_t iov_max;
};

/**
 * net_segmenter_init() - Begin to cut a frame with gso.
 * @frame: stays in place, with its iov; its first header_bytes are copied once and not looked at again
 * @iov: room for the pieces of one segment: frame->iov_count + 1 are always enough
 *
 * TCP segments get their sequence numbers, CWR in the first only, FIN and PSH in the last only; IPv4 ids
 * count on.
 *
 * Return: 0, -LIS_INVALID (headers that do not fit what offload says, segments of no bytes, or more than
 * 65535 of them).
 */
int net_segmenter_init(struct net_segmenter *segmenter, const struct net_frame *frame,
		       struct iovec *iov, uint32_t iov_max) LIS_MUST_USE;

/**
 * net_segmenter_next() - The next segment.
 * @can_checksum: leave the checksum to the port, as NET_CHECKSUM_PARTIAL; else it is computed
 * @out_segment: its iov points into @segmenter, and into the frame; valid until the next call
 *
 * Return: true, or false at the end.
 */
bool net_segmenter_next(struct net_segmenter *segmenter, bool can_checksum,
			struct net_frame *out_segment);

/* The key of a hash, prepared. */
struct net_hash_key {
	uint8_t key[NDIS_RSS_KEY_BYTES];
	uint32_t table[36][256]; /* by place and value of each byte of what is hashed */
};

/** net_hash_key_set() - Prepare a key. */
void net_hash_key_set(struct net_hash_key *key, const uint8_t bytes[NDIS_RSS_KEY_BYTES]);

/**
 * net_hash() - Toeplitz hash of a frame's addresses, and ports where asked for.
 * @frame: its headers, private
 * @types: NDIS_HASH_* that are wanted
 * @out_type: the one NDIS_HASH_* that was used; 0: none fits, and the hash is 0
 *
 * Return: the hash.
 */
uint32_t net_hash(const struct net_hash_key *key, const uint8_t *frame,
		  const struct net_headers *headers, uint32_t types, uint32_t *out_type);

#endif
