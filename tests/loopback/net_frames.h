/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Frames for tests of the network pair: made and looked through byte by byte, with nothing from
 * network/offload.c, so that a mistake there is not hidden.
 */
#ifndef OPENLIS_TESTS_NET_FRAMES_H
#define OPENLIS_TESTS_NET_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_TEST_TCP 6u
#define NET_TEST_UDP 17u

struct net_test_frame {
	uint8_t destination[6];        /* all zero: 02:00:00:00:00:01 */
	uint8_t ip_version;            /* 4, 6; 0: no IP, all payload */
	uint8_t protocol;              /* NET_TEST_*, or anything else */
	bool has_vlan;                 /* in the frame */
	uint16_t vlan_tci;
	uint8_t ip_options_bytes;      /* IPv4, a multiple of 4 */
	uint8_t extension_bytes;       /* IPv6: a hop-by-hop header of so many bytes, a multiple of 8 */
	uint8_t tcp_options_bytes;     /* a multiple of 4 */
	uint8_t tcp_flags;             /* 0: ACK */
	uint16_t source_port, destination_port;
	uint32_t host;                 /* goes into the source address */
	uint32_t payload_bytes;
	uint32_t seed;                 /* of the payload */
};

/* Where things are in a frame that was made. */
struct net_test_layout {
	uint32_t ip_offset, transport_offset, payload_offset, bytes;
};

/** net_test_pattern() - What byte @at of a payload with @seed holds. */
uint8_t net_test_pattern(uint32_t seed, uint32_t at);

/** net_test_build() - Make a frame, all checksums right. @to: room enough. */
struct net_test_layout net_test_build(const struct net_test_frame *frame, uint8_t *to);

/** net_test_layout() - Where things would be. */
struct net_test_layout net_test_layout(const struct net_test_frame *frame);

/** net_test_pseudo() - Put the pseudo header's sum where the checksum is; with @bytes as length. */
void net_test_pseudo(uint8_t *frame, const struct net_test_layout *layout, uint32_t bytes);

/** net_test_check() - Look through all lengths and sums. Return: NULL, or what is wrong. */
const char *net_test_check(const uint8_t *frame, uint32_t bytes);

/** net_test_toeplitz() - The hash of @bytes, bit by bit. */
uint32_t net_test_toeplitz(const uint8_t key[40], const uint8_t *data, uint32_t bytes);

#endif
