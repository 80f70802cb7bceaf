// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Rings: what a hostile peer can write into control page and descriptors, exhaustively on the
 * smallest ring; both ends against a simple queue; the rules of signalling; two threads.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/vmbus/ring_memory.h"

#define SMALL 4096u

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 32) * limit >> 32);
}

/* Values a peer may put where an index belongs: each up to beyond the ring, and the far ends. */
#define INDEX_CASES (SMALL + 64u + 8u)

static uint32_t index_case(uint32_t i)
{
	static const uint32_t far[8] = { 2 * SMALL, 2 * SMALL - 8, 0x7ffffff8, 0x80000000,
					 0x80000008, 0xfffff000, 0xfffffff8, 0xffffffff };

	return i < SMALL + 64 ? i : far[i - SMALL - 64];
}

static void put_descriptor(struct ring_memory *memory, uint32_t at, uint16_t offset8,
			   uint16_t length8)
{
	struct vmbus_packet_descriptor descriptor = {
		.type = VMBUS_PACKET_IN_BAND, .data_offset8 = offset8, .length8 = length8, .id = 7
	};

	memcpy(memory->data + at, &descriptor, sizeof(descriptor));
}

/* A reader that stands at @out with nothing to read. */
static void place_reader(struct ring_memory *memory, struct vmbus_ring_reader *reader, uint32_t out)
{
	memory->control->in = out;
	memory->control->out = out;
	assert_int_equal(vmbus_ring_reader_init(reader, memory->control, memory->data,
						memory->data_bytes), 0);
}

static void init_refuses_impossible_sizes(void **state)
{
	static const size_t sizes[] = { 0, 8, 4088, 4095, 4097, 4104, 6144,
					(size_t)VMBUS_RING_DATA_BYTES_MAX + 4096, (size_t)1 << 32 };
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_reader reader;
	struct vmbus_ring_writer writer;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(vmbus_ring_reader_init(&reader, memory.control, memory.data,
							sizes[i]), -LIS_INVALID);
		assert_int_equal(vmbus_ring_writer_init(&writer, memory.control, memory.data,
							sizes[i]), -LIS_INVALID);
	}
	ring_memory_destroy(&memory);
}

static void init_refuses_impossible_indexes(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_reader reader;
	struct vmbus_ring_writer writer;

	for (uint32_t i = 0; i < INDEX_CASES; i++) {
		uint32_t index = index_case(i);
		int expected = index < SMALL && index % 8 == 0 ? 0 : -LIS_CORRUPT;

		for (int which = 0; which < 2; which++) {
			memory.control->in = which ? index : 0;
			memory.control->out = which ? 0 : index;
			assert_int_equal(vmbus_ring_reader_init(&reader, memory.control,
								memory.data, SMALL), expected);
			assert_int_equal(vmbus_ring_writer_init(&writer, memory.control,
								memory.data, SMALL), expected);
		}
	}
	ring_memory_destroy(&memory);
}

static void reader_survives_every_in_index_at_every_out_index(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_reader reader;
	uint64_t *copy = malloc(16);
	uint32_t bytes;

	for (uint32_t out = 0; out < SMALL; out += 8) {
		put_descriptor(&memory, out, 2, 2);
		for (uint32_t i = 0; i < INDEX_CASES; i++) {
			uint32_t in = index_case(i), available = (in - out) % SMALL;
			int expected = 0;

			if (in >= SMALL || in % 8)
				expected = -LIS_CORRUPT;
			else if (!available)
				expected = -LIS_EMPTY;
			else if (available < 24)
				expected = -LIS_CORRUPT;
			place_reader(&memory, &reader, out);
			memory.control->in = in;
			assert_int_equal(vmbus_ring_reader_ready(&reader), expected != -LIS_EMPTY);
			assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes), expected);
			/* Broken stays broken, whatever the peer does next. */
			memory.control->in = out;
			if (expected == -LIS_CORRUPT) {
				assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes),
						 -LIS_CORRUPT);
				assert_false(vmbus_ring_reader_publish(&reader));
				assert_true(vmbus_ring_reader_ready(&reader));
			}
		}
	}
	free(copy);
	ring_memory_destroy(&memory);
}

/* One descriptor with @available bytes in the ring; returns what must come of it. */
static int descriptor_model(uint32_t offset8, uint32_t length8, uint32_t available,
			    size_t buffer_bytes)
{
	if (offset8 < 2 || length8 < offset8 || length8 * 8 + 8 > available ||
	    length8 * 8 > buffer_bytes)
		return -LIS_CORRUPT;
	return 0;
}

static void check_descriptor(struct ring_memory *memory, uint32_t out, uint32_t available,
			     uint16_t offset8, uint16_t length8, void *buffer, size_t buffer_bytes)
{
	struct vmbus_ring_reader reader;
	int expected = descriptor_model(offset8, length8, available, buffer_bytes);
	uint32_t bytes = 0;

	put_descriptor(memory, out, offset8, length8);
	place_reader(memory, &reader, out);
	memory->control->in = (out + available) % SMALL;
	assert_int_equal(vmbus_ring_read(&reader, buffer, buffer_bytes, &bytes), expected);
	if (expected) {
		/* Broken for good, though the descriptor be mended. */
		put_descriptor(memory, out, 2, 2);
		memory->control->in = (out + 24) % SMALL;
		assert_int_equal(vmbus_ring_read(&reader, buffer, buffer_bytes, &bytes),
				 -LIS_CORRUPT);
		return;
	}
	assert_int_equal(bytes, length8 * 8u);
	assert_memory_equal(buffer, memory->data + out, bytes);
	assert_int_equal(reader.out, (out + bytes + 8) % SMALL);
}

static void reader_takes_exactly_the_descriptors_that_fit(void **state)
{
	static const uint32_t outs[] = { 0, 8, 2048, SMALL - 16, SMALL - 8 };
	struct ring_memory memory = ring_memory_create(SMALL);
	uint8_t *buffer = malloc(SMALL);

	for (uint32_t i = 0; i < SMALL; i++)
		memory.data[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t o = 0; o < sizeof(outs) / sizeof(outs[0]); o++) {
		for (uint32_t available = 8; available < SMALL; available += 8) {
			for (uint32_t length8 = 0; length8 <= 514; length8++) {
				const uint16_t far = (uint16_t)(0xffff - length8 % 4);
				const uint16_t offsets[] = { 0, 1, 2, 3, (uint16_t)length8,
							     (uint16_t)(length8 + 1), far };

				/* Every length near the edge, and some far from it. */
				if (length8 > 4 && length8 % 61 &&
				    (length8 * 8 + 32 < available || length8 * 8 > available + 16))
					continue;
				for (size_t i = 0; i < 7; i++)
					check_descriptor(&memory, outs[o], available, offsets[i],
							 (uint16_t)length8, buffer, SMALL);
			}
			for (uint32_t length8 = 0xffff; length8 > 2; length8 /= 2)
				check_descriptor(&memory, outs[o], available, 2, (uint16_t)length8,
						 buffer, SMALL);
		}
	}
	free(buffer);
	ring_memory_destroy(&memory);
}

static void reader_refuses_packets_longer_than_its_buffer(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);

	for (size_t bytes = 16; bytes <= 128; bytes++) {
		/* Exactly so large: a byte too many is seen by the sanitizer. */
		void *buffer = malloc(bytes);

		for (uint16_t length8 = 2; length8 <= 17; length8++)
			check_descriptor(&memory, 64, 512, 2, length8, buffer, bytes);
		free(buffer);
	}
	ring_memory_destroy(&memory);
}

static void reader_refuses_an_in_index_that_goes_back_over_unpublished_packets(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_reader reader;
	uint64_t copy[2];
	uint32_t bytes;

	for (uint32_t in = 0; in < SMALL; in += 8) {
		place_reader(&memory, &reader, 800);
		put_descriptor(&memory, 800, 2, 2);
		memory.control->in = 824;
		assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes), 0);
		memory.control->in = in;
		put_descriptor(&memory, 824, 2, 2);
		if (in >= 800 && in < 824)
			assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes), -LIS_CORRUPT);
		else if (in == 824)
			assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes), -LIS_EMPTY);
		else if (in < 848 && in > 824)
			assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes), -LIS_CORRUPT);
		else
			assert_int_equal(vmbus_ring_read(&reader, copy, 16, &bytes), 0);
	}
	ring_memory_destroy(&memory);
}

static void writer_survives_every_out_index(void **state)
{
	static const uint32_t ins[] = { 0, 8, 2048, SMALL - 8 };
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_writer writer;

	for (size_t n = 0; n < 4; n++) {
		for (uint32_t known = 0; known < SMALL; known += 40) {
			for (uint32_t i = 0; i < INDEX_CASES; i++) {
				uint32_t out = index_case(i), in = ins[n];
				uint32_t used = (in - known) % SMALL;
				bool sound = out < SMALL && out % 8 == 0 &&
					     (in - out) % SMALL <= used;

				memory.control->in = in;
				memory.control->out = known;
				assert_int_equal(vmbus_ring_writer_init(&writer, memory.control,
									memory.data, SMALL), 0);
				memory.control->out = out;
				assert_int_equal(vmbus_ring_writer_free_bytes(&writer),
						 sound ? SMALL - 8 - (in - out) % SMALL : 0);
				assert_int_equal(writer.broken, !sound);
			}
		}
	}
	ring_memory_destroy(&memory);
}

static void broken_writer_stays_broken_and_writes_nothing(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_packet_out packet = vmbus_packet_in_band(1, false, NULL, 0);
	struct vmbus_ring_writer writer;
	void *body;

	assert_int_equal(vmbus_ring_writer_init(&writer, memory.control, memory.data, SMALL), 0);
	memory.control->out = 4;
	assert_true(vmbus_ring_writer_has_room(&writer, 24));
	assert_true(vmbus_ring_writer_has_room(&writer, SMALL));
	memory.control->out = 0;
	assert_int_equal(vmbus_ring_write(&writer, &packet), -LIS_CORRUPT);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 0, 0, &body), -LIS_CORRUPT);
	assert_false(vmbus_ring_writer_publish(&writer));
	assert_int_equal(memory.control->in, 0);
	ring_memory_destroy(&memory);
}

static void writer_refuses_what_can_never_fit(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct ring_memory large = ring_memory_create(1 << 20);
	struct vmbus_ring_writer writer;
	void *body;

	assert_int_equal(vmbus_ring_writer_init(&writer, memory.control, memory.data, SMALL), 0);
	/* descriptor 16, trailer 8, gap 8 */
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 0, SMALL - 31, &body), -LIS_INVALID);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 4, 8, &body), -LIS_INVALID);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, SIZE_MAX - 7, 16, &body),
			 -LIS_INVALID);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 8, SIZE_MAX, &body), -LIS_INVALID);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 0, SMALL - 32, &body), 0);
	vmbus_ring_commit(&writer);
	assert_int_equal(vmbus_ring_writer_free_bytes(&writer), 0);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 0, 0, &body), -LIS_FULL);

	assert_int_equal(vmbus_ring_writer_init(&writer, large.control, large.data, 1 << 20), 0);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 0, VMBUS_PACKET_BYTES_LIMIT - 15,
					    &body), -LIS_INVALID);
	assert_int_equal(vmbus_ring_reserve(&writer, 6, 0, 0, 0, VMBUS_PACKET_BYTES_LIMIT - 16,
					    &body), 0);
	ring_memory_destroy(&memory);
	ring_memory_destroy(&large);
}

static void packets_look_on_the_wire_as_documented(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_writer writer;
	const uint64_t head[2] = { 0x1111111111111111, 0x2222222222222222 };
	const struct vmbus_piece pieces[] = { { "abc", 3 }, { NULL, 0 }, { "de", 2 } };
	const uint8_t wire[48] = {
		9, 0, 4, 0, 5, 0, 1, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
		0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
		'a', 'b', 'c', 'd', 'e', 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x0f, 0, 0,
	};
	struct vmbus_packet_out packet = {
		.type = VMBUS_PACKET_GPA_DIRECT, .flags = 1, .id = 0x1122334455667788,
		.head = head, .head_bytes = 16, .payload = pieces, .payload_count = 3,
	};

	memory.control->in = memory.control->out = SMALL - 16;
	memset(memory.data, 0xee, SMALL);
	assert_int_equal(vmbus_ring_writer_init(&writer, memory.control, memory.data, SMALL), 0);
	assert_int_equal(memory.control->features, 1);
	assert_int_equal(vmbus_ring_write(&writer, &packet), 0);
	assert_int_equal(memory.control->in, SMALL - 16); /* not yet visible */
	assert_true(vmbus_ring_writer_publish(&writer));
	assert_int_equal(memory.control->in, 32);
	assert_memory_equal(memory.data + SMALL - 16, wire, 48);
	ring_memory_destroy(&memory);
}

/* The rules of signalling, one by one */

struct pair {
	struct ring_memory memory;
	struct vmbus_ring_writer writer;
	struct vmbus_ring_reader reader;
};

static struct pair *pair_create(size_t data_bytes, uint32_t start)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	pair->memory = ring_memory_create(data_bytes);
	pair->memory.control->in = pair->memory.control->out = start;
	assert_int_equal(vmbus_ring_writer_init(&pair->writer, pair->memory.control,
						pair->memory.data, data_bytes), 0);
	assert_int_equal(vmbus_ring_reader_init(&pair->reader, pair->memory.control,
						pair->memory.data, data_bytes), 0);
	return pair;
}

static void pair_destroy(struct pair *pair)
{
	ring_memory_destroy(&pair->memory);
	free(pair);
}

/* A packet that takes @bytes of the ring, all told. */
static int pair_write(struct pair *pair, uint32_t bytes)
{
	void *body;
	int error = vmbus_ring_reserve(&pair->writer, 6, 0, 0, 0, bytes - 24, &body);

	if (!error) {
		memset(body, 0, bytes - 24);
		vmbus_ring_commit(&pair->writer);
	}
	return error;
}

static int pair_read(struct pair *pair)
{
	static uint64_t buffer[SMALL / 8];
	uint32_t bytes;

	return vmbus_ring_read(&pair->reader, buffer, sizeof(buffer), &bytes);
}

static void writer_signals_only_a_reader_that_had_read_everything(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	assert_false(vmbus_ring_writer_publish(&pair->writer)); /* nothing written */
	assert_int_equal(pair_write(pair, 64), 0);
	assert_true(vmbus_ring_writer_publish(&pair->writer));
	assert_false(vmbus_ring_writer_publish(&pair->writer)); /* nothing new */
	assert_int_equal(pair_write(pair, 64), 0);
	assert_false(vmbus_ring_writer_publish(&pair->writer)); /* the first is not read yet */
	assert_int_equal(pair_read(pair), 0);
	assert_false(vmbus_ring_reader_publish(&pair->reader));
	assert_int_equal(pair_write(pair, 64), 0);
	assert_false(vmbus_ring_writer_publish(&pair->writer)); /* the second is not */
	assert_int_equal(pair_read(pair), 0);
	assert_int_equal(pair_read(pair), 0);
	assert_false(vmbus_ring_reader_publish(&pair->reader));
	assert_int_equal(pair_write(pair, 64), 0);
	assert_true(vmbus_ring_writer_publish(&pair->writer));
	pair_destroy(pair);
}

static void writer_signals_a_reader_that_slept_between_exposures(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	assert_int_equal(pair_write(pair, 64), 0);
	vmbus_ring_writer_expose(&pair->writer);
	/* An awake reader takes it, finds no more and goes to sleep. */
	vmbus_ring_reader_mask(&pair->reader);
	assert_int_equal(pair_read(pair), 0);
	assert_false(vmbus_ring_reader_publish(&pair->reader));
	assert_false(vmbus_ring_reader_unmask(&pair->reader));
	assert_int_equal(pair_write(pair, 64), 0);
	vmbus_ring_writer_expose(&pair->writer);
	assert_true(vmbus_ring_writer_publish(&pair->writer));
	pair_destroy(pair);
}

static void writer_signals_after_exposing_more_than_a_full_turn(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	for (int i = 0; i < 300; i++) {
		assert_int_equal(pair_write(pair, 64), 0);
		vmbus_ring_writer_expose(&pair->writer);
		if (i == 299)
			break;
		assert_int_equal(pair_read(pair), 0);
		assert_false(vmbus_ring_reader_publish(&pair->reader));
	}
	assert_true(vmbus_ring_writer_publish(&pair->writer));
	pair_destroy(pair);
}

static void masked_reader_is_not_signalled(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	vmbus_ring_reader_mask(&pair->reader);
	assert_int_equal(pair_write(pair, 64), 0);
	assert_false(vmbus_ring_writer_publish(&pair->writer));
	assert_true(vmbus_ring_reader_unmask(&pair->reader)); /* tells of it instead */
	assert_int_equal(pair->memory.control->interrupt_mask, 0);
	assert_int_equal(pair_read(pair), 0);
	assert_false(vmbus_ring_reader_unmask(&pair->reader));
	pair_destroy(pair);
}

/* From that moment on a signal may make another thread the owner. */
static void unmasking_changes_nothing_of_the_reader(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);
	struct vmbus_ring_reader before = pair->reader;

	vmbus_ring_reader_mask(&pair->reader);
	assert_int_equal(pair_write(pair, 64), 0);
	assert_false(vmbus_ring_writer_publish(&pair->writer));
	assert_true(vmbus_ring_reader_unmask(&pair->reader));
	assert_memory_equal(&pair->reader, &before, sizeof(before));
	assert_int_equal(pair_read(pair), 0);
	/* What cannot be is found by whoever reads next. */
	pair->memory.control->in = 4;
	before = pair->reader;
	assert_true(vmbus_ring_reader_unmask(&pair->reader));
	assert_memory_equal(&pair->reader, &before, sizeof(before));
	assert_int_equal(pair_read(pair), -LIS_CORRUPT);
	pair_destroy(pair);
}

static void reader_signals_when_room_crosses_what_the_writer_waits_for(void **state)
{
	struct pair *pair = pair_create(SMALL, 1000 * 8 % SMALL);

	for (int i = 0; i < 15; i++)
		assert_int_equal(pair_write(pair, 256), 0);
	assert_true(vmbus_ring_writer_publish(&pair->writer));
	assert_int_equal(pair_read(pair), 0);
	assert_false(vmbus_ring_reader_publish(&pair->reader)); /* nobody waits */
	/* 14 * 256 used, 504 free */
	assert_int_equal(pair_write(pair, 1024), -LIS_FULL);
	assert_int_equal(pair->memory.control->pending_send_bytes, 1024);
	for (int free_bytes = 504 + 256; free_bytes < 3000; free_bytes += 256) {
		bool crossed = free_bytes >= 1024 && free_bytes - 256 < 1024;

		assert_int_equal(pair_read(pair), 0);
		assert_int_equal(vmbus_ring_reader_publish(&pair->reader), crossed);
	}
	assert_int_equal(pair_write(pair, 1024), 0);
	assert_int_equal(pair->memory.control->pending_send_bytes, 0);
	pair_destroy(pair);
}

static void full_exposes_what_was_written_before_it_asks_for_room(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	for (int i = 0; i < 15; i++)
		assert_int_equal(pair_write(pair, 256), 0);
	assert_int_equal(pair->memory.control->in, 0);
	assert_int_equal(pair_write(pair, 512), -LIS_FULL);
	assert_int_equal(pair->memory.control->in, 15 * 256);
	assert_true(vmbus_ring_writer_publish(&pair->writer)); /* still owed */
	assert_int_equal(pair_read(pair), 0);
	assert_false(vmbus_ring_reader_publish(&pair->reader));
	assert_int_equal(pair_read(pair), 0);
	assert_true(vmbus_ring_reader_publish(&pair->reader));
	pair_destroy(pair);
}

static void reader_batches_count_from_the_last_published_index(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	for (int i = 0; i < 15; i++)
		assert_int_equal(pair_write(pair, 256), 0);
	assert_int_equal(pair_write(pair, 2048), -LIS_FULL);
	for (int i = 0; i < 12; i++)
		assert_int_equal(pair_read(pair), 0);
	assert_int_equal(vmbus_ring_reader_unpublished(&pair->reader), 12 * 256);
	assert_true(vmbus_ring_reader_publish(&pair->reader));
	assert_int_equal(vmbus_ring_reader_unpublished(&pair->reader), 0);
	pair_destroy(pair);
}

static void odd_pending_sizes_never_leave_the_writer_waiting(void **state)
{
	/* Writers of old guests ask for the ring less one byte, or nonsense. */
	static const uint32_t wishes[] = { 1, 7, 8, 100, SMALL - 9, SMALL - 8, SMALL - 7, SMALL - 1,
					   SMALL, SMALL + 8, 0x80000000, 0xffffffff };

	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		struct pair *pair = pair_create(SMALL, 8);
		int signals = 0;

		assert_int_equal(pair_write(pair, SMALL - 8 - 24), 0);
		assert_int_equal(pair_write(pair, 24), 0);
		assert_true(vmbus_ring_writer_publish(&pair->writer));
		pair->memory.control->pending_send_bytes = wishes[i];
		while (pair_read(pair) == 0)
			signals += vmbus_ring_reader_publish(&pair->reader);
		assert_int_equal(signals, 1);
		pair_destroy(pair);
	}
}

static void writer_without_the_feature_is_signalled_for_any_room(void **state)
{
	struct pair *pair = pair_create(SMALL, 0);

	pair->memory.control->features = 0;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pair_write(pair, 64), 0);
	assert_true(vmbus_ring_writer_publish(&pair->writer));
	assert_int_equal(pair_read(pair), 0);
	assert_true(vmbus_ring_reader_publish(&pair->reader));
	assert_false(vmbus_ring_reader_publish(&pair->reader));
	pair_destroy(pair);
}

static void status_tells_impossible_indexes_apart(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct vmbus_ring_status status;

	memory.control->in = 16;
	memory.control->out = SMALL - 16;
	vmbus_ring_status(memory.control, SMALL, &status);
	assert_true(status.sane);
	assert_int_equal(status.used_bytes, 32);
	memory.control->in = SMALL;
	vmbus_ring_status(memory.control, SMALL, &status);
	assert_false(status.sane);
	assert_int_equal(status.used_bytes, 0);
	ring_memory_destroy(&memory);
}

/*
 * Both ends against a queue, single-threaded, with ends that sleep as real ones do: a reader that
 * found nothing wakes by a signal only, a writer that found no room likewise.
 */
struct model {
	struct pair *pair;
	uint32_t sent, received; /* packets; each one's id and size follow from its number */
	bool reader_sleeps, writer_sleeps;
	uint32_t total, size_limit;
};

static uint32_t packet_payload_bytes(const struct model *model, uint32_t number)
{
	return (number * 2654435761u >> 7) % model->size_limit;
}

static void fill(uint8_t *at, uint32_t number, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(number + i * 3);
}

static void model_publish_writer(struct model *model)
{
	if (vmbus_ring_writer_publish(&model->pair->writer))
		model->reader_sleeps = false;
}

static void model_write(struct model *model)
{
	uint32_t bytes = packet_payload_bytes(model, model->sent), cut = random_below(bytes + 1);
	uint8_t *payload = malloc(bytes + 1);
	struct vmbus_piece pieces[2] = { { payload, cut }, { payload + cut, bytes - cut } };
	struct vmbus_packet_out packet = vmbus_packet_in_band(model->sent, true, pieces, 2);
	int error;

	fill(payload, model->sent, bytes);
	error = vmbus_ring_write(&model->pair->writer, &packet);
	free(payload);
	if (error) {
		assert_int_equal(error, -LIS_FULL);
		model_publish_writer(model);
		model->writer_sleeps = true;
		return;
	}
	model->sent++;
	switch (random_below(4)) {
	case 0:
		model_publish_writer(model);
		break;
	case 1:
		vmbus_ring_writer_expose(&model->pair->writer);
	}
}

static void model_check_packet(struct model *model, const uint64_t *copy, uint32_t bytes)
{
	uint32_t payload_bytes = packet_payload_bytes(model, model->received);
	uint8_t *expected = calloc(1, payload_bytes + 8);
	struct vmbus_packet packet;

	assert_int_equal(vmbus_packet_parse(copy, bytes, &packet), 0);
	assert_int_equal(packet.id, model->received);
	assert_true(vmbus_packet_wants_completion(&packet));
	assert_int_equal(packet.payload_bytes, (payload_bytes + 7) & ~7u);
	fill(expected, model->received, payload_bytes);
	assert_memory_equal(packet.payload, expected, packet.payload_bytes);
	free(expected);
}

static void model_publish_reader(struct model *model)
{
	if (vmbus_ring_reader_publish(&model->pair->reader))
		model->writer_sleeps = false;
}

static void model_read(struct model *model)
{
	static uint64_t buffer[VMBUS_PACKET_BYTES_MAX / 8];
	uint32_t bytes;
	int error = vmbus_ring_read(&model->pair->reader, buffer, sizeof(buffer), &bytes);

	if (!error) {
		model_check_packet(model, buffer, bytes);
		model->received++;
		if (!random_below(5))
			model_publish_reader(model);
		return;
	}
	assert_int_equal(error, -LIS_EMPTY);
	model_publish_reader(model);
	if (!vmbus_ring_reader_unmask(&model->pair->reader))
		model->reader_sleeps = true;
}

static void model_step(struct model *model)
{
	bool may_write = model->sent < model->total && !model->writer_sleeps;

	if (may_write && (model->reader_sleeps || random_below(2))) {
		for (uint32_t i = random_below(8) + 1; i && !model->writer_sleeps; i--)
			if (model->sent < model->total)
				model_write(model);
		if (!random_below(3) || model->sent == model->total)
			model_publish_writer(model);
	} else if (!model->reader_sleeps) {
		if (random_below(2))
			vmbus_ring_reader_mask(&model->pair->reader);
		for (uint32_t i = random_below(12) + 1; i && !model->reader_sleeps; i--)
			model_read(model);
	} else {
		/* Both asleep: legal only if the writer sleeps on purpose with all delivered. */
		fail_msg("both ends sleep with %u of %u delivered", model->received, model->total);
	}
}

static void both_ends_behave_like_a_queue(void **state)
{
	static const struct { uint32_t data_bytes, size_limit; } rings[] = {
		{ 4096, 40 }, { 4096, 2000 }, { 4096, 4065 }, { 8192, 300 }, { 131072, 65000 },
	};

	for (size_t r = 0; r < sizeof(rings) / sizeof(rings[0]); r++) {
		for (uint32_t seed = 1; seed <= 20; seed++) {
			struct model model = { .total = 2000, .size_limit = rings[r].size_limit };
			uint32_t start = seed * 328 % rings[r].data_bytes;

			random_state = seed * 0x9e3779b97f4a7c15;
			model.pair = pair_create(rings[r].data_bytes, start & ~7u);
			while (model.received < model.total) {
				model_step(&model);
				/* The writer may end with packets it owes a publish for. */
				if (model.sent == model.total)
					model_publish_writer(&model);
			}
			pair_destroy(model.pair);
		}
	}
}

/* Two threads */

struct flipper {
	struct ring_memory *memory;
	uint64_t words[2];
	int stop;
};

static void *flip_descriptor(void *argument)
{
	struct flipper *flipper = argument;
	uint64_t *word = (uint64_t *)(void *)flipper->memory->data;

	for (uint32_t i = 0; !__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED); i++)
		__atomic_store_n(word, flipper->words[i & 1], __ATOMIC_RELAXED);
	return NULL;
}

static uint64_t descriptor_word(uint16_t offset8, uint16_t length8)
{
	return VMBUS_PACKET_IN_BAND | (uint64_t)offset8 << 16 | (uint64_t)length8 << 32;
}

static void descriptor_is_read_once_while_the_peer_rewrites_it(void **state)
{
	struct ring_memory memory = ring_memory_create(SMALL);
	struct flipper flipper = {
		.memory = &memory,
		.words = { descriptor_word(2, 4), descriptor_word(60, 64) },
	};
	uint64_t *buffer = malloc(512);
	struct vmbus_ring_reader reader;
	struct vmbus_packet packet;
	unsigned int seen[2] = { 0, 0 };
	pthread_t thread;

	memcpy(memory.data, &flipper.words[0], 8);
	assert_int_equal(pthread_create(&thread, NULL, flip_descriptor, &flipper), 0);
	for (int i = 0; i < 3000000 && (i < 300000 || !seen[0] || !seen[1]); i++) {
		uint32_t bytes = 0;
		int which;

		place_reader(&memory, &reader, 0);
		memory.control->in = 1024;
		assert_int_equal(vmbus_ring_read(&reader, buffer, 512, &bytes), 0);
		which = buffer[0] == flipper.words[1];
		assert_true(buffer[0] == flipper.words[which]);
		assert_int_equal(bytes, which ? 512 : 32);
		assert_int_equal(reader.out, bytes + 8);
		assert_int_equal(vmbus_packet_parse(buffer, bytes, &packet), 0);
		seen[which]++;
	}
	__atomic_store_n(&flipper.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_true(seen[0] && seen[1]); /* else nothing was tested */
	free(buffer);
	ring_memory_destroy(&memory);
}

#define THREAD_PACKETS 100000u

struct threads {
	struct pair *pair;
	sem_t wake_reader, wake_writer;
	int stuck;
};

static bool wait_for_signal(sem_t *semaphore)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	return sem_timedwait(semaphore, &until) == 0;
}

static void *thread_write(void *argument)
{
	struct threads *threads = argument;
	struct vmbus_ring_writer *writer = &threads->pair->writer;

	for (uint32_t i = 0; i < THREAD_PACKETS;) {
		uint32_t words[64] = { i, ~i };
		struct vmbus_piece piece = { words, 8 + (i * 31 % 61) * 4 };
		struct vmbus_packet_out packet = vmbus_packet_in_band(i, false, &piece, 1);
		int error = vmbus_ring_write(writer, &packet);

		if (!error)
			i++;
		if (i % 5 == 0)
			vmbus_ring_writer_expose(writer);
		if ((error || i % 3 == 0 || i == THREAD_PACKETS) &&
		    vmbus_ring_writer_publish(writer))
			sem_post(&threads->wake_reader);
		if (error && (error != -LIS_FULL || !wait_for_signal(&threads->wake_writer))) {
			threads->stuck = error;
			break;
		}
	}
	return NULL;
}

static void two_threads_lose_no_packet_and_no_wake_up(void **state)
{
	struct threads threads = { .pair = pair_create(SMALL, 0) };
	struct vmbus_ring_reader *reader = &threads.pair->reader;
	uint64_t buffer[64];
	pthread_t thread;

	sem_init(&threads.wake_reader, 0, 0);
	sem_init(&threads.wake_writer, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, thread_write, &threads), 0);
	for (uint32_t i = 0; i < THREAD_PACKETS;) {
		uint32_t bytes;
		int error = vmbus_ring_read(reader, buffer, sizeof(buffer), &bytes);

		if (!error) {
			assert_int_equal(buffer[1], i);
			assert_true(buffer[2] == ((uint64_t)~i << 32 | i));
			i++;
			continue;
		}
		assert_int_equal(error, -LIS_EMPTY);
		if (vmbus_ring_reader_publish(reader))
			sem_post(&threads.wake_writer);
		if (!vmbus_ring_reader_unmask(reader))
			assert_true(wait_for_signal(&threads.wake_reader));
		vmbus_ring_reader_mask(reader);
	}
	pthread_join(thread, NULL);
	assert_int_equal(threads.stuck, 0);
	sem_destroy(&threads.wake_reader);
	sem_destroy(&threads.wake_writer);
	pair_destroy(threads.pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_refuses_impossible_sizes),
		cmocka_unit_test(init_refuses_impossible_indexes),
		cmocka_unit_test(reader_survives_every_in_index_at_every_out_index),
		cmocka_unit_test(reader_takes_exactly_the_descriptors_that_fit),
		cmocka_unit_test(reader_refuses_packets_longer_than_its_buffer),
		cmocka_unit_test(
			reader_refuses_an_in_index_that_goes_back_over_unpublished_packets),
		cmocka_unit_test(writer_survives_every_out_index),
		cmocka_unit_test(broken_writer_stays_broken_and_writes_nothing),
		cmocka_unit_test(writer_refuses_what_can_never_fit),
		cmocka_unit_test(packets_look_on_the_wire_as_documented),
		cmocka_unit_test(writer_signals_only_a_reader_that_had_read_everything),
		cmocka_unit_test(writer_signals_a_reader_that_slept_between_exposures),
		cmocka_unit_test(writer_signals_after_exposing_more_than_a_full_turn),
		cmocka_unit_test(masked_reader_is_not_signalled),
		cmocka_unit_test(unmasking_changes_nothing_of_the_reader),
		cmocka_unit_test(reader_signals_when_room_crosses_what_the_writer_waits_for),
		cmocka_unit_test(full_exposes_what_was_written_before_it_asks_for_room),
		cmocka_unit_test(reader_batches_count_from_the_last_published_index),
		cmocka_unit_test(odd_pending_sizes_never_leave_the_writer_waiting),
		cmocka_unit_test(writer_without_the_feature_is_signalled_for_any_room),
		cmocka_unit_test(status_tells_impossible_indexes_apart),
		cmocka_unit_test(both_ends_behave_like_a_queue),
		cmocka_unit_test(descriptor_is_read_once_while_the_peer_rewrites_it),
		cmocka_unit_test(two_threads_lose_no_packet_and_no_wake_up),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
