// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Packets: every descriptor edge and every range edge, checked against a model written the long
 * way; builders and parser are each other's inverse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmbus/packet.h"

static const uint32_t edges32[] = { 0, 1, 7, 8, 4095, 4096, 4097, 8191, 8192, 8193, 0x7fffffff,
				    0x80000000, 0xfffff000, 0xfffff001, 0xfffffffe, 0xffffffff };
#define EDGES (sizeof(edges32) / sizeof(edges32[0]))

/* A copy of exactly @bytes, so that the sanitizer sees a read beyond it. */
static uint64_t *make_packet(uint16_t type, uint16_t offset8, uint16_t length8, size_t bytes)
{
	struct vmbus_packet_descriptor descriptor = { type, offset8, length8, 0, 0x1234567890ab };
	uint64_t *copy = calloc(1, bytes);

	memcpy(copy, &descriptor, bytes < 16 ? bytes : 16);
	return copy;
}

static void parser_accepts_exactly_the_descriptors_that_fit(void **state)
{
	for (size_t bytes = 1; bytes <= 80; bytes++) {
		for (uint32_t offset = 0; offset <= 14; offset++) {
			for (uint32_t length = 0; length <= 14; length++) {
				uint16_t offset8 = offset < 13 ? (uint16_t)offset :
						   (uint16_t)(0xfff0 + offset);
				uint16_t length8 = length < 13 ? (uint16_t)length :
						   (uint16_t)(0xfff0 + length);
				uint64_t *copy = make_packet(6, offset8, length8, bytes);
				bool sound = bytes >= 16 && offset8 >= 2 && offset8 <= length8 &&
					     length8 * 8u <= bytes;
				struct vmbus_packet packet;

				assert_int_equal(vmbus_packet_parse(copy, bytes, &packet),
						 sound ? 0 : -LIS_CORRUPT);
				if (sound) {
					assert_ptr_equal(packet.payload, copy + offset8);
					assert_int_equal(packet.payload_bytes,
							 (length8 - offset8) * 8);
				}
				free(copy);
			}
		}
	}
}

static void parser_knows_four_types_only(void **state)
{
	for (uint32_t type = 0; type <= 0xffff; type++) {
		uint64_t copy[8] = { 0 };
		struct vmbus_packet_descriptor descriptor = { (uint16_t)type, 6, 8, 1, 5 };
		struct vmbus_packet packet;
		const uint64_t range[3] = { (uint64_t)1 << 32, 1, 0 }; /* one range, 1 byte */

		memcpy(copy, &descriptor, 16);
		memcpy(copy + 2, range, 24);
		assert_int_equal(vmbus_packet_parse(copy, 64, &packet),
				 type == 6 || type == 7 || type == 9 || type == 11 ? 0 :
				 -LIS_CORRUPT);
	}
}

static void parser_refuses_misaligned_copies(void **state)
{
	uint64_t copy[8] = { 0 };
	struct vmbus_packet packet;

	for (int i = 1; i < 8; i++)
		assert_int_equal(vmbus_packet_parse((uint8_t *)copy + i, 32, &packet),
				 -LIS_INVALID);
}

static void page_numbers_are_counted_without_overflow(void **state)
{
	for (size_t i = 0; i < EDGES; i++) {
		for (size_t j = 0; j < EDGES; j++) {
			unsigned __int128 end = (unsigned __int128)edges32[i] + edges32[j];

			assert_int_equal(vmbus_gpa_pfn_count(edges32[i], edges32[j]),
					 (uint32_t)((end + 4095) / 4096));
		}
	}
}

/* What vmbus_gpa_run_next() must say of one range with @words page numbers behind it. */
static bool range_is_sound(uint32_t byte_count, uint32_t byte_offset, size_t words)
{
	unsigned __int128 pages = ((unsigned __int128)byte_count + byte_offset + 4095) / 4096;

	return byte_count && byte_offset < 4096 && pages <= words;
}

static void gpa_ranges_are_accepted_only_where_all_page_numbers_are_there(void **state)
{
	for (size_t words = 0; words <= 4; words++) {
		for (size_t i = 0; i < EDGES; i++) {
			for (size_t j = 0; j < EDGES; j++) {
				uint16_t offset8 = (uint16_t)(4 + words);
				uint64_t *copy = make_packet(9, offset8, offset8, offset8 * 8u);
				bool sound = range_is_sound(edges32[i], edges32[j], words);
				struct vmbus_packet packet;
				struct vmbus_packet_ranges ranges;
				struct vmbus_gpa_run run;

				copy[2] = (uint64_t)1 << 32;
				copy[3] = edges32[i] | (uint64_t)edges32[j] << 32;
				assert_int_equal(vmbus_packet_parse(copy, offset8 * 8u, &packet),
						 sound ? 0 : -LIS_CORRUPT);
				if (sound) {
					ranges = vmbus_packet_ranges(&packet);
					assert_true(vmbus_packet_next_gpa_run(&ranges, &run));
					assert_int_equal(run.byte_count, edges32[i]);
					assert_int_equal(run.byte_offset, edges32[j]);
					assert_ptr_equal(run.pfns, copy + 4);
					assert_false(vmbus_packet_next_gpa_run(&ranges, &run));
				}
				free(copy);
			}
		}
	}
}

static void gpa_range_counts_beyond_the_head_are_refused(void **state)
{
	/* A head with room for three ranges of one page each. */
	for (size_t i = 0; i < EDGES + 5; i++) {
		uint32_t count = i < 5 ? (uint32_t)i : edges32[i - 5];
		uint64_t *copy = make_packet(9, 9, 10, 80);
		struct vmbus_packet packet;

		copy[2] = (uint64_t)count << 32;
		for (int n = 3; n < 9; n += 2)
			copy[n] = 512;
		assert_int_equal(vmbus_packet_parse(copy, 80, &packet),
				 count >= 1 && count <= 3 ? 0 : -LIS_CORRUPT);
		if (count >= 1 && count <= 3)
			assert_int_equal(packet.ranges_bytes, count * 16);
		free(copy);
	}
}

static void gpa_direct_without_a_head_is_refused(void **state)
{
	for (uint16_t offset8 = 2; offset8 < 5; offset8++) {
		uint64_t *copy = make_packet(9, offset8, 5, 40);
		struct vmbus_packet packet;

		copy[2] = (uint64_t)1 << 32;
		copy[3] = 1;
		/* At offset 5 it would be sound: the page number stands there. */
		assert_int_equal(vmbus_packet_parse(copy, 40, &packet), -LIS_CORRUPT);
		free(copy);
	}
}

static void transfer_range_counts_beyond_the_head_are_refused(void **state)
{
	for (uint16_t words = 0; words <= 4; words++) {
		for (size_t i = 0; i < EDGES + 6; i++) {
			uint32_t count = i < 6 ? (uint32_t)i : edges32[i - 6];
			uint16_t offset8 = (uint16_t)(3 + words);
			uint64_t *copy = make_packet(7, offset8, offset8, offset8 * 8u);
			struct vmbus_packet packet;
			struct vmbus_packet_ranges ranges;
			struct vmbus_transfer_range range;

			copy[2] = (uint64_t)count << 32 | 0xcafe;
			for (uint16_t n = 0; n < words; n++)
				copy[3 + n] = (uint64_t)(100u + n) << 32 | n;
			assert_int_equal(vmbus_packet_parse(copy, offset8 * 8u, &packet),
					 count <= words ? 0 : -LIS_CORRUPT);
			if (count <= words) {
				assert_int_equal(packet.transfer_set_id, 0xcafe);
				ranges = vmbus_packet_ranges(&packet);
				for (uint32_t n = 0; n < count; n++) {
					assert_true(vmbus_packet_next_transfer(&ranges, &range));
					assert_int_equal(range.byte_count, n);
					assert_int_equal(range.byte_offset, 100 + n);
				}
				assert_false(vmbus_packet_next_transfer(&ranges, &range));
			}
			free(copy);
		}
	}
	/* Not even the head fits. */
	uint64_t *copy = make_packet(7, 2, 3, 24);
	struct vmbus_packet packet;

	assert_int_equal(vmbus_packet_parse(copy, 24, &packet), -LIS_CORRUPT);
	free(copy);
}

/* Lay a built packet out as vmbus_ring_write() would. */
static size_t flatten(const struct vmbus_packet_out *out, uint64_t *copy)
{
	size_t at = 16 + out->head_bytes;
	struct vmbus_packet_descriptor descriptor = {
		.type = out->type, .data_offset8 = (uint16_t)(at / 8),
		.flags = out->flags, .id = out->id,
	};

	if (out->head_bytes)
		memcpy(copy + 2, out->head, out->head_bytes);
	for (size_t i = 0; i < out->payload_count; i++) {
		memcpy((uint8_t *)copy + at, out->payload[i].base, out->payload[i].bytes);
		at += out->payload[i].bytes;
	}
	at = (at + 7) & ~(size_t)7;
	descriptor.length8 = (uint16_t)(at / 8);
	memcpy(copy, &descriptor, 16);
	assert_int_equal(at + 8, vmbus_packet_ring_bytes(out->head_bytes,
							 at - 16 - out->head_bytes));
	return at;
}

static void what_the_gpa_builder_makes_the_parser_takes_apart(void **state)
{
	static const struct { uint32_t byte_count, byte_offset; } cases[] = {
		{ 1, 0 }, { 4096, 0 }, { 4096, 1 }, { 1, 4095 }, { 2, 4095 }, { 12288, 4088 },
	};
	const size_t case_count = sizeof(cases) / sizeof(cases[0]);
	const uint64_t pfns[4] = { 0x100, 0x3fffffffffff, 0, UINT64_MAX };
	uint64_t head[64], copy[128] = { 0 };
	const struct vmbus_piece payload = { "payload!", 8 };
	struct vmbus_head_builder builder;
	struct vmbus_packet packet;
	struct vmbus_packet_out out;
	struct vmbus_gpa_run run;

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	for (size_t i = 0; i < case_count; i++)
		assert_int_equal(vmbus_gpa_head_add(&builder, cases[i].byte_count,
						    cases[i].byte_offset, pfns), 0);
	out = vmbus_packet_gpa_direct(42, &builder, &payload, 1);
	assert_int_equal(vmbus_packet_parse(copy, flatten(&out, copy), &packet), 0);
	assert_int_equal(packet.type, VMBUS_PACKET_GPA_DIRECT);
	assert_true(vmbus_packet_wants_completion(&packet));
	assert_int_equal(packet.id, 42);
	assert_int_equal(packet.range_count, case_count);
	assert_memory_equal(packet.payload, "payload!", 8);
	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(&packet);

	for (size_t i = 0; i < case_count; i++) {
		assert_true(vmbus_packet_next_gpa_run(&ranges, &run));
		assert_int_equal(run.byte_count, cases[i].byte_count);
		assert_int_equal(run.byte_offset, cases[i].byte_offset);
		assert_memory_equal(run.pfns, pfns, run.pfn_count * 8);
	}
	assert_false(vmbus_packet_next_gpa_run(&ranges, &run));
}

static void what_the_transfer_builder_makes_the_parser_takes_apart(void **state)
{
	uint64_t head[4], copy[16] = { 0 };
	struct vmbus_head_builder builder;
	struct vmbus_packet packet;
	struct vmbus_packet_out out;

	assert_int_equal(vmbus_transfer_head_begin(&builder, head, sizeof(head), 0xbeef), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(vmbus_transfer_head_add(&builder, i, i * 2), 0);
	assert_int_equal(vmbus_transfer_head_add(&builder, 1, 1), -LIS_FULL);
	out = vmbus_packet_transfer_pages(9, &builder, NULL, 0);
	assert_int_equal(vmbus_packet_parse(copy, flatten(&out, copy), &packet), 0);
	assert_int_equal(packet.transfer_set_id, 0xbeef);
	assert_int_equal(packet.range_count, 3);
	assert_int_equal(packet.payload_bytes, 0);
}

static void builders_stop_at_the_end_of_their_memory(void **state)
{
	const uint64_t pfns[2] = { 1, 2 };

	for (size_t bytes = 0; bytes <= 40; bytes++) {
		/* Exactly so large; word 0 is the head, then 8 + 2 * 8 for the range. */
		void *memory = malloc(bytes ? bytes : 1);
		struct vmbus_head_builder builder;

		if (bytes < 8) {
			assert_int_equal(vmbus_gpa_head_begin(&builder, memory, bytes), -LIS_FULL);
		} else {
			assert_int_equal(vmbus_gpa_head_begin(&builder, memory, bytes), 0);
			assert_int_equal(vmbus_gpa_head_add(&builder, 8192, 0, pfns),
					 bytes >= 32 ? 0 : -LIS_FULL);
			assert_int_equal(((struct vmbus_gpa_direct_head *)memory)->range_count,
					 bytes >= 32);
		}
		free(memory);
	}
}

static void gpa_builder_refuses_what_the_parser_would(void **state)
{
	uint64_t head[8], pfn = 1;
	struct vmbus_head_builder builder;

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 0, 0, &pfn), -LIS_INVALID);
	assert_int_equal(vmbus_gpa_head_add(&builder, 1, 4096, &pfn), -LIS_INVALID);
	assert_int_equal(vmbus_gpa_head_add(&builder, 0xffffffff, 4095, &pfn), -LIS_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parser_accepts_exactly_the_descriptors_that_fit),
		cmocka_unit_test(parser_knows_four_types_only),
		cmocka_unit_test(parser_refuses_misaligned_copies),
		cmocka_unit_test(page_numbers_are_counted_without_overflow),
		cmocka_unit_test(gpa_ranges_are_accepted_only_where_all_page_numbers_are_there),
		cmocka_unit_test(gpa_range_counts_beyond_the_head_are_refused),
		cmocka_unit_test(gpa_direct_without_a_head_is_refused),
		cmocka_unit_test(transfer_range_counts_beyond_the_head_are_refused),
		cmocka_unit_test(what_the_gpa_builder_makes_the_parser_takes_apart),
		cmocka_unit_test(what_the_transfer_builder_makes_the_parser_takes_apart),
		cmocka_unit_test(builders_stop_at_the_end_of_their_memory),
		cmocka_unit_test(gpa_builder_refuses_what_the_parser_would),
	};

	return cmocka_run_group_tests_name("packet", tests, NULL, NULL);
}
