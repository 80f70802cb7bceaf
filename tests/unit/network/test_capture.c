// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A capture's memory: what goes in comes out, what does not fit is counted, and no lie of either end
 * harms the other.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "network/capture.h"
#include "tests/unit/network/any_frame.h"

static struct net_capture *capture;
static struct net_capture_reader *reader;
static int memory; /* a second descriptor, for those who lie */

static void open_with(uint32_t snap_bytes)
{
	int fd;

	assert_int_equal(net_capture_create(snap_bytes, &capture, &fd), 0);
	memory = dup(fd);
	assert_int_equal(net_capture_reader_open(fd, &reader), 0);
}

static int setup_all(void **state)
{
	setup(state);
	open_with(NET_FRAME_BYTES_MAX);
	return 0;
}

static int teardown(void **state)
{
	net_capture_destroy(capture);
	net_capture_reader_close(reader);
	close(memory);
	return 0;
}

static int again(uint32_t snap_bytes)
{
	teardown(NULL);
	open_with(snap_bytes);
	return 0;
}

/* In pieces of any size. */
static void record(const uint8_t *data, uint32_t bytes, const struct net_offload *its)
{
	struct pieces pieces = scatter(data, bytes);
	struct net_frame to_record = { .iov = pieces.iov, .iov_count = pieces.count, .bytes = bytes };

	if (its)
		to_record.offload = *its;
	net_capture_frame(capture, &to_record);
	pieces_free(&pieces);
}

static void what_is_recorded_is_read_in_order_and_in_time(void **state)
{
	uint8_t *data = gathered;
	struct net_capture_record got;
	const uint8_t *read;
	struct timespec before, after;
	uint64_t last = 0;

	for (uint32_t i = 0; i < NET_FRAME_BYTES_MAX; i++)
		data[i] = (uint8_t)any(256);
	clock_gettime(CLOCK_REALTIME, &before);
	assert_int_equal(net_capture_next(reader, &got, &read), -LIS_EMPTY);
	/* Many times around, with any number of them waiting. */
	for (uint32_t round = 0; round < 400; round++) {
		uint32_t lengths[40], count = 1 + any(40);

		for (uint32_t i = 0; i < count; i++) {
			lengths[i] = 14 + any(any(8) ? 1500 : NET_FRAME_BYTES_MAX - 14);
			record(data + NET_FRAME_BYTES_MAX - lengths[i], lengths[i], NULL);
		}
		for (uint32_t i = 0; i < count; i++) {
			assert_int_equal(net_capture_next(reader, &got, &read), 0);
			assert_int_equal(got.bytes, lengths[i]);
			assert_int_equal(got.frame_bytes, lengths[i]);
			assert_memory_equal(read, data + NET_FRAME_BYTES_MAX - lengths[i], lengths[i]);
			assert_true(got.time_ns >= last);
			last = got.time_ns;
		}
		assert_int_equal(net_capture_next(reader, &got, &read), -LIS_EMPTY);
	}
	clock_gettime(CLOCK_REALTIME, &after);
	assert_true(last / 1000000000 >= (uint64_t)before.tv_sec);
	assert_true(last / 1000000000 <= (uint64_t)after.tv_sec);
	assert_int_equal(net_capture_dropped(reader), 0);
}

static void what_an_offload_left_open_is_filled_in_on_the_copy(void **state)
{
	uint8_t *before;

	for (uint32_t i = 0; i < 3000; i++) {
		struct slow_plan plan = any_plan(any(8) ? 1600 : 60000);
		struct net_capture_record got;
		const uint8_t *read;
		uint32_t bytes = slow_build(&plan, frame, any(2) ? 500 : 0, &offload);

		before = copy_of(frame, bytes);
		record(frame, bytes, &offload);
		assert_memory_equal(frame, before, bytes);
		free(before);
		assert_int_equal(net_capture_next(reader, &got, &read), 0);
		/* A large segment stays large, as one right frame. */
		assert_int_equal(got.bytes, bytes);
		NO_WRONG(slow_frame_wrong(read, bytes, false));
	}
}

static void a_cut_record_has_the_whole_frames_checksum(void **state)
{
	struct slow_plan plan = { .payload_bytes = 3001, .seed = 5 };
	uint32_t bytes = slow_build(&plan, frame, 0, &offload);
	struct net_capture_record got;
	const uint8_t *read;

	for (uint32_t snap = 14; snap < 90; snap++) {
		uint8_t whole[100];

		again(snap);
		record(frame, bytes, &offload);
		assert_int_equal(net_capture_next(reader, &got, &read), 0);
		assert_int_equal(got.bytes, snap);
		assert_int_equal(got.frame_bytes, bytes);
		memcpy(whole, read, snap);
		again(NET_FRAME_BYTES_MAX);
		record(frame, bytes, &offload);
		assert_int_equal(net_capture_next(reader, &got, &read), 0);
		NO_WRONG(slow_frame_wrong(read, bytes, false));
		/* It is at 50, and left as it is where half of it is not there. */
		if (snap == 51)
			assert_memory_equal(whole, frame, snap);
		else
			assert_memory_equal(whole, read, snap);
	}
}

static void places_that_are_none_change_nothing(void **state)
{
	struct net_offload bad = { .flags = NET_CHECKSUM_PARTIAL, .checksum_start = 65535,
				   .checksum_offset = 65535 };
	struct net_capture_record got;
	const uint8_t *read;

	memset(frame, 0x5a, 60);
	for (uint32_t i = 0; i < 100; i++) {
		record(frame, 60, &bad);
		assert_int_equal(net_capture_next(reader, &got, &read), 0);
		assert_memory_equal(read, frame, 60);
		bad.checksum_start = (uint16_t)(any(4) ? any(65536) : 60);
		bad.checksum_offset = (uint16_t)(59 + any(65536 - 59));
	}
}

static void what_does_not_fit_is_counted_and_what_is_there_stays(void **state)
{
	struct net_capture_record got;
	const uint8_t *read;
	uint32_t taken = 0, i;

	for (i = 0; !net_capture_dropped(reader); i++) {
		gathered[0] = (uint8_t)i;
		record(gathered, 60000, NULL);
	}
	assert_true(i > NET_CAPTURE_BYTES / 61000 && i <= NET_CAPTURE_BYTES / 60000 + 1);
	record(gathered, 60000, NULL);
	assert_int_equal(net_capture_dropped(reader), 2);
	/* What is left of the room is for small ones; the last of them would lie over the first frame. */
	for (; net_capture_dropped(reader) == 2; i++) {
		gathered[0] = (uint8_t)(i - 1);
		record(gathered, 14, NULL);
	}
	/* The writer goes; nothing is lost of what it said before. */
	net_capture_destroy(capture);
	capture = NULL;
	while (!net_capture_next(reader, &got, &read))
		assert_int_equal(read[0], (uint8_t)taken++);
	assert_int_equal(taken, i - 2);
}

static void room_comes_back_with_what_is_read(void **state)
{
	struct net_capture_record got;
	const uint8_t *read;

	while (!net_capture_dropped(reader))
		record(gathered, 60000, NULL);
	assert_int_equal(net_capture_next(reader, &got, &read), 0);
	record(gathered, 60000, NULL);
	assert_int_equal(net_capture_dropped(reader), 2); /* it is being looked at */
	assert_int_equal(net_capture_next(reader, &got, &read), 0);
	record(gathered, 60000, NULL);
	assert_int_equal(net_capture_dropped(reader), 2);
}

/* ---- lies ---- */

struct lies {
	uint32_t magic, version;
	uint64_t put, dropped;
	uint8_t space[40];
	uint64_t taken;
};

static struct lies *places(void)
{
	struct lies *lies = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);

	assert_true(lies != MAP_FAILED);
	return lies;
}

static void a_reader_that_lies_gets_nothing_and_harms_nobody(void **state)
{
	struct lies *lies = places();

	record(frame, 100, NULL);
	lies->taken = UINT64_MAX / 2;
	record(frame, 100, NULL);
	lies->taken = lies->put + 1;
	record(frame, 100, NULL);
	assert_int_equal(lies->dropped, 2);
	for (uint32_t i = 0; i < 1000; i++) {
		lies->taken = (uint64_t)any(UINT32_MAX) << any(33);
		lies->put = any(UINT32_MAX);
		record(frame, 100, NULL);
	}
	/* It cannot be made shorter under the writer. */
	assert_int_equal(ftruncate(memory, 0), -1);
	munmap(lies, 4096);
}

static void a_writer_that_lies_is_found_out(void **state)
{
	struct lies *lies = places();
	struct net_capture_record *first = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory,
						4096), got;
	const struct net_capture_record bad[] = { { 0, 100, 101 }, { 0, UINT32_MAX, UINT32_MAX },
						  { 0, 70000, 65554 }, { 0, 1000, 1000 } };
	const uint8_t *read;

	record(frame, 100, NULL);
	for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		*first = bad[i];
		assert_int_equal(net_capture_next(reader, &got, &read), -LIS_CORRUPT);
	}
	*first = (struct net_capture_record){ 0, 100, 100 };
	assert_int_equal(net_capture_next(reader, &got, &read), 0);
	lies->put = 8 + lies->taken + 120;
	assert_int_equal(net_capture_next(reader, &got, &read), -LIS_CORRUPT);
	lies->put = NET_CAPTURE_BYTES * 3ull;
	assert_int_equal(net_capture_next(reader, &got, &read), -LIS_CORRUPT);
	munmap(lies, 4096);
	munmap(first, 4096);
}

static void what_is_no_capture_is_refused(void **state)
{
	struct net_capture_reader *other;
	struct lies *lies = places();
	int fd = memfd_create("x", 0);

	assert_int_equal(net_capture_reader_open(fd, &other), -LIS_FORMAT);
	lies->version++;
	assert_int_equal(net_capture_reader_open(dup(memory), &other), -LIS_UNSUPPORTED);
	lies->magic++;
	assert_int_equal(net_capture_reader_open(dup(memory), &other), -LIS_FORMAT);
	munmap(lies, 4096);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_all, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_recorded_is_read_in_order_and_in_time),
		TEST(what_an_offload_left_open_is_filled_in_on_the_copy),
		TEST(a_cut_record_has_the_whole_frames_checksum),
		TEST(places_that_are_none_change_nothing),
		TEST(what_does_not_fit_is_counted_and_what_is_there_stays),
		TEST(room_comes_back_with_what_is_read),
		TEST(a_reader_that_lies_gets_nothing_and_harms_nobody),
		TEST(a_writer_that_lies_is_found_out),
		TEST(what_is_no_capture_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
