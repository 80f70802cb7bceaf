/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the fuzzers share. An input is a script of what the hostile side does, a byte or a few for
 * each step; one that is at its end goes on with zeroes. Nothing depends on anything but the input.
 */
#ifndef OPENLIS_FUZZ_FUZZ_H
#define OPENLIS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What an oracle says when it has found something. */
#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "fuzz: %s:%d: does not hold: %s\n", __FILE__, __LINE__,    \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct input {
	const uint8_t *at;
	size_t bytes;
};

static inline void input_copy(struct input *input, void *to, size_t bytes)
{
	size_t there = bytes < input->bytes ? bytes : input->bytes;

	memset(to, 0, bytes);
	if (there)
		memcpy(to, input->at, there);
	input->at += there;
	input->bytes -= there;
}

static inline uint8_t input_u8(struct input *input)
{
	uint8_t value;

	input_copy(input, &value, sizeof(value));
	return value;
}

static inline uint16_t input_u16(struct input *input)
{
	uint16_t value;

	input_copy(input, &value, sizeof(value));
	return value;
}

static inline uint32_t input_u32(struct input *input)
{
	uint32_t value;

	input_copy(input, &value, sizeof(value));
	return value;
}

static inline uint64_t input_u64(struct input *input)
{
	uint64_t value;

	input_copy(input, &value, sizeof(value));
	return value;
}

#endif
