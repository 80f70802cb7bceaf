// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The server: GPADLs. */
#include "tests/unit/vmbus/server_world.h"

#include <stdlib.h>
#include <string.h>

static struct world world;

static uint64_t violations(void)
{
	return world.server.counters.violations;
}

/* GPADLs. */

static void gpadls_of_all_sizes_are_taken(void **state)
{
	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	for (uint32_t pages = 1; pages <= 8190; pages += pages < 120 ? 1 : 807) {
		guest_makes_gpadl(&world, 1, 5, 0x10, pages);
		assert_int_equal(guest_reads_created(&world, 5), 0);
		guest_tears_down(&world, 1, 5);
		guest_reads_torndown(&world, 5);
		guest_reads_nothing(&world);
		assert_int_equal(world.allocated, 0);
	}
	assert_int_equal(violations(), 0);
	world_fini(&world);
}

static size_t make_header(uint64_t words[VMBUS_MESSAGE_BYTES_MAX / 8], uint32_t gpadl_id,
			  uint16_t range_bytes, uint16_t range_count)
{
	struct vmbus_msg_gpadl_header header = {
		.header.type = VMBUS_MSG_GPADL_HEADER,
		.channel_id = 1,
		.gpadl_id = gpadl_id,
		.range_bytes = range_bytes,
		.range_count = range_count,
	};

	memset(words, 0, VMBUS_MESSAGE_BYTES_MAX);
	memcpy(words, &header, sizeof(header));
	return sizeof(header);
}

static size_t add_word(uint64_t *words, size_t at, uint64_t word)
{
	memcpy((uint8_t *)words + at, &word, 8);
	return at + 8;
}

static uint64_t range_word(uint32_t byte_count, uint32_t byte_offset)
{
	return byte_count | (uint64_t)byte_offset << 32;
}

static void a_gpadl_may_have_many_ranges(void **state)
{
	struct vmbus_server_range range;
	uint64_t words[30];
	size_t bytes;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 77);
	bytes = make_header(words, 5, 7 * 8, 3);
	bytes = add_word(words, bytes, range_word(100, 4095));
	bytes = add_word(words, bytes, 0x11);
	bytes = add_word(words, bytes, 0x12);
	bytes = add_word(words, bytes, range_word(1, 0));
	bytes = add_word(words, bytes, 0x13);
	bytes = add_word(words, bytes, range_word(4096, 0));
	bytes = add_word(words, bytes, 0x14);
	guest_posts(&world, words, bytes);
	assert_int_equal(guest_reads_created(&world, 5), 0);
	assert_int_equal(
		vmbus_server_gpadl_get(&world.server, &world.channels[0].server, 5, 0, &range), 0);
	assert_int_equal(range.range_count, 3);
	assert_int_equal(range.byte_count, 100);
	assert_int_equal(range.byte_offset, 4095);
	assert_int_equal(range.pfn_count, 2);
	assert_int_equal(range.pfns[1], 0x12);
	assert_int_equal(
		vmbus_server_gpadl_get(&world.server, &world.channels[0].server, 5, 2, &range), 0);
	assert_int_equal(range.pfns[0], 0x14);
	assert_int_equal(
		vmbus_server_gpadl_get(&world.server, &world.channels[0].server, 5, 3, &range),
		-LIS_NOTFOUND);
	/* No ring is in three pieces. */
	assert_false(vmbus_server_gpadl_put(&world.server, &world.channels[0].server, 5));
	assert_false(vmbus_server_gpadl_put(&world.server, &world.channels[0].server, 5));
	world_fini(&world);
}

static void padding_behind_a_gpadl_is_clipped(void **state)
{
	uint64_t words[30];
	size_t bytes;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	bytes = make_header(words, 5, 8 + 8 * 30, 1);
	bytes = add_word(words, bytes, range_word(30 * 4096, 0));
	for (uint64_t i = 0; i < 26; i++)
		bytes = add_word(words, bytes, 0x100 + i);
	guest_posts(&world, words, bytes);
	guest_reads_nothing(&world);
	memset(words, 0xff, sizeof(words)); /* padding that would be no memory */
	words[0] = VMBUS_MSG_GPADL_BODY;
	words[1] = (uint64_t)5 << 32;
	for (uint64_t i = 0; i < 4; i++)
		words[2 + i] = 0x11a + i;
	guest_posts(&world, words, sizeof(words));
	assert_int_equal(guest_reads_created(&world, 5), 0);
	/* Words that were announced but belong to no range do no harm either. */
	bytes = make_header(words, 6, 4 * 8, 1);
	bytes = add_word(words, bytes, range_word(4096, 0));
	bytes = add_word(words, bytes, 0x20);
	guest_posts(&world, words, 240);
	assert_int_equal(guest_reads_created(&world, 6), 0);
	assert_int_equal(violations(), 0);
	world_fini(&world);
}

static void impossible_gpadls_are_refused(void **state)
{
	static const struct {
		uint16_t range_bytes, range_count;
		uint64_t words[4];
	} wrong[] = {
		{ 0, 0, { 0 } },
		{ 0, 1, { 0 } },
		{ 7, 1, { 0 } },
		{ 8, 1, { 4096 } },                               /* no page */
		{ 16, 0, { 4096, 1 } },                           /* no range */
		{ 16, 2, { 4096, 1 } },                           /* one range too many */
		{ 32, 3, { 4096, 1, 4096, 1 } },
		{ 16, UINT16_MAX, { 4096, 1 } },
		{ 16, 1, { 0, 1 } },                              /* empty range */
		{ 16, 1, { 4097, 1 } },                           /* a page too few */
		{ 16, 1, { 4096 | (uint64_t)1 << 32, 1 } },       /* by its offset */
		{ 16, 1, { 16 | (uint64_t)4096 << 32, 1 } },      /* offset beyond the page */
		{ 16, 1, { UINT32_MAX, 1 } },
		{ 16, 1, { UINT32_MAX | (uint64_t)UINT32_MAX << 32, 1 } },
		{ 16, 1, { 4096, WORLD_PAGES } },                 /* no memory there */
		{ 16, 1, { 4096, UINT64_MAX } },
		{ 32, 2, { 4096, 1, 4096, WORLD_PAGES } },
	};

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint64_t words[30];
		size_t bytes = make_header(words, 5, wrong[i].range_bytes, wrong[i].range_count);

		memcpy((uint8_t *)words + bytes, wrong[i].words, 32);
		guest_posts(&world, words, bytes + 32);
		assert_int_equal(guest_reads_created(&world, 5), VMBUS_STATUS_INVALID_PARAMETER);
		guest_reads_nothing(&world);
		assert_int_equal(world.allocated, 0);
		assert_int_equal(violations(), i + 1);
	}
	guest_makes_gpadl(&world, 99, 5, 0x10, 1);
	assert_int_equal(guest_reads_created(&world, 5), VMBUS_STATUS_INVALID_PARAMETER);
	guest_makes_gpadl(&world, 0, 5, 0x10, 1);
	assert_int_equal(guest_reads_created(&world, 5), VMBUS_STATUS_INVALID_PARAMETER);
	guest_makes_gpadl(&world, 2048, 5, 0x10, 1);
	assert_int_equal(guest_reads_created(&world, 5), VMBUS_STATUS_INVALID_PARAMETER);
	/* And the bus still works. */
	guest_has_open(&world, 0, 5);
	world_fini(&world);
}

static void ids_of_unfinished_gpadls_are_unique(void **state)
{
	uint64_t words[30], body[3] = { VMBUS_MSG_GPADL_BODY, (uint64_t)5 << 32, 0x30 };
	size_t bytes;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_makes_gpadl(&world, 2, 6, 0x10, 2);
	assert_int_equal(guest_reads_created(&world, 6), 0);
	/* A finished one of another channel may have the same id. */
	guest_makes_gpadl(&world, 1, 6, 0x10, 2);
	assert_int_equal(guest_reads_created(&world, 6), 0);
	guest_makes_gpadl(&world, 1, 6, 0x10, 2);
	assert_int_equal(guest_reads_created(&world, 6), VMBUS_STATUS_INVALID_PARAMETER);
	bytes = make_header(words, 5, 3 * 8, 1);
	bytes = add_word(words, bytes, range_word(8192, 0));
	guest_posts(&world, words, bytes);
	guest_reads_nothing(&world);
	guest_makes_gpadl(&world, 2, 5, 0x10, 2);
	assert_int_equal(guest_reads_created(&world, 5), VMBUS_STATUS_INVALID_PARAMETER);
	/* Unfinished: nothing to open, to take or to tear down. */
	guest_tears_down(&world, 1, 5);
	guest_opens(&world, 1, 5, 2);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	guest_posts(&world, body, 16); /* a body of nothing */
	guest_reads_nothing(&world);
	guest_posts(&world, body, 24);
	guest_reads_nothing(&world);
	guest_posts(&world, body, 23); /* rounds down to nothing */
	guest_reads_nothing(&world);
	guest_posts(&world, body, 24);
	assert_int_equal(guest_reads_created(&world, 5), 0);
	guest_posts(&world, body, 24); /* one too many */
	guest_reads_nothing(&world);
	assert_int_equal(violations(), 5);
	world_fini(&world);
}

static void what_a_guest_may_have_of_gpadls_is_limited(void **state)
{
	uint64_t words[30];
	uint32_t taken = 0;
	size_t bytes;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	for (uint32_t id = 0; id < 200; id++) { /* announced at full size, never finished */
		bytes = make_header(words, id, UINT16_MAX, 1);
		guest_posts(&world, words, bytes);
		if (world.sent_count == world.read_count)
			taken++;
		else
			assert_int_equal(guest_reads_created(&world, id),
					 VMBUS_STATUS_INSUFFICIENT_RESOURCES);
	}
	assert_int_equal(taken, VMBUS_SERVER_GPADL_WORDS_MAX / 8191);
	guest_connects(&world, VMBUS_VERSION_IRON);
	assert_int_equal(world.allocated, 0);
	for (uint32_t id = 0; id < VMBUS_SERVER_GPADLS_MAX; id++) {
		world.read_count = world.sent_count = 0;
		guest_makes_gpadl(&world, 1, id * VMBUS_SERVER_GPADL_BUCKETS, 1, 1); /* one chain */
		if (id % 512 == 0)
			assert_int_equal(
				guest_reads_created(&world, id * VMBUS_SERVER_GPADL_BUCKETS), 0);
	}
	world.read_count = world.sent_count = 0;
	guest_makes_gpadl(&world, 1, 3, 1, 1);
	assert_int_equal(guest_reads_created(&world, 3), VMBUS_STATUS_INSUFFICIENT_RESOURCES);
	world_fini(&world);
}

static void teardown_waits_for_the_device(void **state)
{
	struct vmbus_server_range range;
	struct vmbus_server_channel *channel = &world.channels[0].server;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 7);
	guest_makes_gpadl(&world, 1, 8, 0x10, 2);
	guest_reads_created(&world, 8);
	assert_int_equal(vmbus_server_gpadl_get(&world.server, channel, 8, 0, &range), 0);
	assert_int_equal(vmbus_server_gpadl_get(&world.server, channel, 8, 0, &range), 0);
	guest_tears_down(&world, 1, 8);
	guest_tears_down(&world, 1, 8); /* twice is wrong */
	assert_int_equal(violations(), 1);
	assert_int_equal(vmbus_server_gpadl_get(&world.server, channel, 8, 0, &range),
			 -LIS_NOTFOUND);
	assert_false(vmbus_server_gpadl_put(&world.server, channel, 8));
	vmbus_server_answer_teardowns(&world.server);
	guest_reads_nothing(&world);
	assert_true(vmbus_server_gpadl_put(&world.server, channel, 8));
	guest_reads_nothing(&world);
	vmbus_server_answer_teardowns(&world.server);
	guest_reads_torndown(&world, 8);
	/* One put too many changes nothing. */
	assert_false(vmbus_server_gpadl_put(&world.server, channel, 8));
	/* The ring itself is held as long as the channel is open. */
	guest_tears_down(&world, 1, 7);
	guest_reads_nothing(&world);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_reads_nothing(&world);
	world_answer_all(&world);
	guest_reads_torndown(&world, 7);
	guest_reads_nothing(&world);
	/* A device has nothing to do with GPADLs of a closed channel. */
	guest_makes_gpadl(&world, 1, 9, 0x10, 2);
	guest_reads_created(&world, 9);
	assert_int_equal(vmbus_server_gpadl_get(&world.server, channel, 9, 0, &range),
			 -LIS_NOTFOUND);
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gpadls_of_all_sizes_are_taken),
		cmocka_unit_test(a_gpadl_may_have_many_ranges),
		cmocka_unit_test(padding_behind_a_gpadl_is_clipped),
		cmocka_unit_test(impossible_gpadls_are_refused),
		cmocka_unit_test(ids_of_unfinished_gpadls_are_unique),
		cmocka_unit_test(what_a_guest_may_have_of_gpadls_is_limited),
		cmocka_unit_test(teardown_waits_for_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
