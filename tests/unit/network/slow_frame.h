/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Frames made and judged the slow and simple way, byte by byte, from the RFCs and from nothing of
 * network/offload.c: what that is measured by, in tests and fuzzers.
 */
#ifndef OPENLIS_TESTS_SLOW_FRAME_H
#define OPENLIS_TESTS_SLOW_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "network/offload.h"

#define SLOW_EXTENSIONS_MAX 6u
/* A plan's longest frame is somewhat longer than a port's. */
#define SLOW_FRAME_BYTES_MAX (65536u + NET_HEADERS_BYTES_MAX * 2)

/* A frame that is to be made. */
struct slow_plan {
	uint8_t vlan_tags; /* 0..3; the first of several is a service tag */
	bool ipv6, udp;
	uint8_t ip_option_words; /* IPv4, 0..10 */
	uint8_t extension_count; /* IPv6 */
	struct {
		uint8_t protocol; /* 0, 43, 44 (one that is all of it), 60 */
		uint8_t units;	  /* 8 bytes more each; not with 44 */
	} extensions[SLOW_EXTENSIONS_MAX];
	uint8_t tcp_option_words; /* 0..10 */
	uint8_t tcp_flags;
	uint16_t ip_id;
	uint32_t sequence;
	uint32_t payload_bytes;
	uint32_t seed; /* of all bytes that do not matter */
};

/**
 * slow_build() - Make a frame, right in all but the checksum of TCP or UDP.
 * @frame: SLOW_FRAME_BYTES_MAX
 * @out_offload: asks for the rest: the checksum, and with @segment_bytes segments as well
 *
 * Return: its length. IP's own lengths are wrong where that is more than they can say.
 */
uint32_t slow_build(const struct slow_plan *plan, uint8_t *frame, uint16_t segment_bytes,
		    struct net_offload *out_offload);

/** slow_parse() - What net_parse_headers() must find. */
void slow_parse(const uint8_t *frame, size_t bytes, struct net_headers *out_headers);

/** slow_sum() - Of big-endian 16-bit words, modulo 65535. */
uint32_t slow_sum(const uint8_t *memory, size_t bytes);

/** slow_pseudo() - The pseudo header's sum, for a transport of @bytes bytes, modulo 65535. */
uint32_t slow_pseudo(const uint8_t *frame, const struct net_headers *headers, size_t bytes);

/** slow_word() - A 16-bit word as it lies in memory, as a big-endian number. */
uint32_t slow_word(uint16_t word);

/** slow_hash() - Toeplitz, bit by bit. */
uint32_t slow_hash(const uint8_t key[NDIS_RSS_KEY_BYTES], const uint8_t *input, size_t bytes);

/** slow_flow_hash() - What net_hash() must return. */
uint32_t slow_flow_hash(const uint8_t key[NDIS_RSS_KEY_BYTES], const uint8_t *frame,
			const struct net_headers *headers, uint32_t types, uint32_t *out_type);

/**
 * slow_frame_wrong() - What is wrong with a TCP or UDP frame that is to go out: lengths, checksums.
 * @partial: the checksum is left to somebody else
 *
 * Return: words for people; NULL: nothing.
 */
const char *slow_frame_wrong(const uint8_t *frame, size_t bytes, bool partial);

/* Segments, put together again. */
struct slow_join {
	const uint8_t *frame; /* of which they are */
	uint32_t bytes;
	struct net_offload offload;
	uint32_t at, index; /* of the next one's payload in the frame */
};

/** slow_join_wrong() - What is wrong with the next segment, as slow_frame_wrong(). */
const char *slow_join_wrong(struct slow_join *join, const uint8_t *segment, size_t bytes,
			    bool partial);

#endif
