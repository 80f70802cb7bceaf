/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What ports of a switch send to each other: a datagram is a head and one or more frames, each
 * behind a head of its own, without gaps. It never leaves the machine, so numbers are in the
 * machine's order.
 */
#ifndef OPENLIS_NETWORK_BACKENDS_SWITCH_FORMAT_H
#define OPENLIS_NETWORK_BACKENDS_SWITCH_FORMAT_H

#include <stdint.h>

#include "network/port.h"

#define SWITCH_MAGIC 0x4c495357u
/* Ports of different versions do not understand each other. */
#define SWITCH_VERSION 1u

struct switch_head {
	uint32_t magic;
	uint16_t version;
	uint16_t zero;
	uint64_t from; /* the sender's id; its socket's name is that in 16 digits, hexadecimal */
};
_Static_assert(sizeof(struct switch_head) == 16, "as it is sent");

/* Then the frame. As struct net_offload; of flags NET_CHECKSUM_PARTIAL counts. */
struct switch_frame_head {
	uint32_t bytes;
	uint8_t flags;
	uint8_t gso;
	uint16_t segment_bytes;
	uint16_t header_bytes;
	uint16_t checksum_start;
	uint16_t checksum_offset;
	uint16_t zero;
};
_Static_assert(sizeof(struct switch_frame_head) == 16, "as it is sent");

/* The longest datagram has one frame, the longest. */
#define SWITCH_DATAGRAM_BYTES_MAX                                                                  \
	(sizeof(struct switch_head) + sizeof(struct switch_frame_head) + NET_FRAME_BYTES_MAX)

#endif
