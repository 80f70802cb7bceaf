/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Frames of any kind, in pieces of any kind, for tests; the same ones each time. Memory is of its
 * very length, so that the sanitizers see a byte too many.
 */
#ifndef OPENLIS_TESTS_ANY_FRAME_H
#define OPENLIS_TESTS_ANY_FRAME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/network/slow_frame.h"

#define PIECES_MAX 40u

#define NO_WRONG(call)                                                                             \
	do {                                                                                       \
		const char *wrong_ = (call);                                                       \
		if (wrong_)                                                                        \
			fail_msg("wrong: %s", wrong_);                                             \
	} while (0)

static uint64_t random_state;

static inline uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 32) % below);
}

/* Each test has the same numbers however many run before it. */
static inline int setup(void **state)
{
	random_state = 0x123456789abcdef1;
	return 0;
}

static inline uint8_t *copy_of(const uint8_t *from, size_t bytes)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);

	assert_non_null(copy);
	memcpy(copy, from, bytes);
	return copy;
}

/* ---- frames and pieces ---- */

static inline struct slow_plan any_plan(uint32_t payload_max)
{
	static const uint8_t extensions[] = { 0, 43, 44, 60 };
	struct slow_plan plan = { .vlan_tags = (uint8_t)any(3),
				  .ipv6 = any(2),
				  .udp = any(2),
				  .ip_option_words = (uint8_t)(any(2) ? any(11) : 0),
				  .extension_count = (uint8_t)(any(2) ? any(SLOW_EXTENSIONS_MAX)
								      : 0),
				  .tcp_option_words = (uint8_t)any(11),
				  .tcp_flags = (uint8_t)any(256),
				  .ip_id = (uint16_t)any(65536),
				  .sequence = any(UINT32_MAX),
				  .payload_bytes = any(payload_max + 1),
				  .seed = any(UINT32_MAX) };

	/* All headers are 242 bytes at most. */
	for (uint32_t i = 0; i < SLOW_EXTENSIONS_MAX; i++) {
		plan.extensions[i].protocol = extensions[any(4)];
		plan.extensions[i].units = (uint8_t)any(3);
	}
	return plan;
}

struct pieces {
	struct iovec iov[PIECES_MAX];
	uint32_t count;
};

/* Some pieces are empty, and some of those are nowhere. */
static inline struct pieces scatter(const uint8_t *frame, uint32_t bytes)
{
	struct pieces pieces = { .count = 1 + any(any(2) ? 4 : PIECES_MAX) };
	uint32_t at = 0;

	for (uint32_t i = 0; i < pieces.count; i++) {
		uint32_t length = any(2) ? any(20) : any(bytes + 1);

		if (!any(8))
			length = 0;
		if (length > bytes - at || i + 1 == pieces.count)
			length = bytes - at;
		pieces.iov[i].iov_len = length;
		pieces.iov[i].iov_base = length || any(2) ? copy_of(frame + at, length) : NULL;
		at += length;
	}
	return pieces;
}

static inline void gather(const struct iovec *iov, uint32_t count, uint8_t *to)
{
	for (uint32_t i = 0; i < count; i++) {
		if (iov[i].iov_len)
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

static inline void pieces_free(struct pieces *pieces)
{
	for (uint32_t i = 0; i < pieces->count; i++)
		free(pieces->iov[i].iov_base);
}

static uint8_t frame[SLOW_FRAME_BYTES_MAX], gathered[SLOW_FRAME_BYTES_MAX];
static struct net_offload offload;

#endif
