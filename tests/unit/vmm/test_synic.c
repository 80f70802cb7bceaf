// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Message slots and event flags against pages that a test plays the guest of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/memory.h"
#include "vmm/synic.h"

#define MESSAGES_GPA 0x5000u
#define EVENTS_GPA 0x6000u

static struct partition partition;
static struct synic synic;
static struct synic_message *slot;
static uint64_t *events;

static int setup(void **state)
{
	struct memory_map map;
	char error[256];

	assert_int_equal(memory_map_init(&map, 16u << 20, 40, error, sizeof(error)), 0);
	assert_int_equal(memory_create(&partition, &map, error, sizeof(error)), 0);
	synic_init(&synic);
	slot = (struct synic_message *)partition_hva(&partition, GPA(MESSAGES_GPA), 4096) + 2;
	events = (uint64_t *)partition_hva(&partition, GPA(EVENTS_GPA), 4096) + 2 * 32;
	return 0;
}

static int teardown(void **state)
{
	synic_fini(&synic);
	memory_destroy(&partition);
	return 0;
}

static bool enable(void)
{
	return synic_set_registers(&synic, &partition, 1, EVENTS_GPA | 1, MESSAGES_GPA | 1);
}

static void post(char first, size_t bytes)
{
	uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];

	memset(payload, first, sizeof(payload));
	assert_int_equal(synic_post(&synic, payload, bytes), 0);
}

static enum synic_delivery deliver(bool expect_written)
{
	enum synic_delivery left;
	bool written;

	left = synic_deliver(&synic, &written);
	assert_int_equal(written, expect_written);
	return left;
}

static void pages_are_zeroed_when_they_are_enabled(void **state)
{
	memset(partition_hva(&partition, GPA(MESSAGES_GPA), 4096), 0xaa, 4096);
	memset(partition_hva(&partition, GPA(EVENTS_GPA), 4096), 0xaa, 4096);
	synic_set_registers(&synic, &partition, 1, EVENTS_GPA, MESSAGES_GPA);
	assert_int_equal(slot->type, 0xaaaaaaaa);
	enable();
	assert_int_equal(slot->type, 0);
	assert_int_equal(events[0], 0);
	/* Writing the same again is no news. */
	slot->type = 5;
	enable();
	assert_int_equal(slot->type, 5);
}

static void a_message_fills_the_slot(void **state)
{
	enable();
	post('m', 100);
	assert_int_equal(deliver(true), SYNIC_IDLE);
	assert_int_equal(slot->type, 1);
	assert_int_equal(slot->payload_bytes, 100);
	assert_int_equal(slot->flags, 0);
	assert_int_equal(slot->payload[99], 'm');
	assert_int_equal(slot->payload[100], 0);
	assert_int_equal(deliver(false), SYNIC_IDLE);
}

static void a_busy_slot_gets_the_pending_flag_and_blocks(void **state)
{
	enable();
	post('a', 8);
	assert_int_equal(deliver(true), SYNIC_IDLE);
	post('b', 8);
	assert_int_equal(deliver(false), SYNIC_BLOCKED);
	assert_int_equal(slot->payload[0], 'a');
	assert_int_equal(slot->flags, SYNIC_MESSAGE_PENDING);
	slot->type = 0; /* the guest is done, sees the flag, says so */
	assert_int_equal(deliver(true), SYNIC_IDLE);
	assert_int_equal(slot->payload[0], 'b');
	assert_int_equal(slot->flags, 0);
}

static void messages_keep_their_order_and_announce_more(void **state)
{
	enable();
	for (char c = 'a'; c < 'f'; c++)
		post(c, 1);
	assert_int_equal(synic_waiting(&synic), 5);
	for (char c = 'a'; c < 'f'; c++) {
		assert_int_equal(deliver(true), c == 'e' ? SYNIC_IDLE : SYNIC_BLOCKED);
		assert_int_equal(slot->payload[0], c);
		assert_int_equal(slot->flags, c == 'e' ? 0 : SYNIC_MESSAGE_PENDING);
		slot->type = 0;
	}
	assert_int_equal(synic_waiting(&synic), 0);
}

static void nothing_is_delivered_while_the_page_is_off(void **state)
{
	post('a', 8);
	assert_int_equal(deliver(false), SYNIC_IDLE);
	enable();
	assert_int_equal(deliver(false), SYNIC_IDLE);
	/* The controller as a whole counts as well. */
	assert_false(synic_set_registers(&synic, &partition, 0, EVENTS_GPA | 1, MESSAGES_GPA | 1));
	post('b', 8);
	assert_int_equal(deliver(false), SYNIC_IDLE);
	assert_false(synic_set_event_flag(&synic, 7));
	assert_int_equal(events[0], 0);
	assert_int_equal(synic.dropped, 2);
}

static void what_waits_is_lost_when_the_guest_takes_its_page_away(void **state)
{
	enable();
	post('a', 8);
	deliver(true);
	post('b', 8);
	assert_int_equal(synic_waiting(&synic), 1);
	assert_false(synic_set_registers(&synic, &partition, 1, EVENTS_GPA | 1, 0));
	assert_int_equal(synic_waiting(&synic), 0);
	enable();
	assert_int_equal(slot->type, 0);
	assert_int_equal(deliver(false), SYNIC_IDLE);
}

static void a_page_that_moves_takes_the_messages_along(void **state)
{
	struct synic_message *moved =
		(struct synic_message *)partition_hva(&partition, GPA(0x9000), 4096) + 2;

	enable();
	post('a', 8);
	deliver(true);
	post('b', 8);
	assert_int_equal(deliver(false), SYNIC_BLOCKED);
	assert_true(synic_set_registers(&synic, &partition, 1, EVENTS_GPA | 1, 0x9000 | 1));
	assert_int_equal(deliver(true), SYNIC_IDLE);
	assert_int_equal(moved->payload[0], 'b');
}

static void event_flags_tell_a_change_only(void **state)
{
	enable();
	assert_true(synic_set_event_flag(&synic, 1));
	assert_false(synic_set_event_flag(&synic, 1));
	assert_true(synic_set_event_flag(&synic, 2047));
	assert_int_equal(events[0], 2);
	assert_int_equal(events[31], 1ull << 63);
	assert_false(synic_set_event_flag(&synic, 2048));
	events[0] = 0;
	assert_true(synic_set_event_flag(&synic, 1));
}

static void pages_outside_memory_are_as_good_as_off(void **state)
{
	synic_set_registers(&synic, &partition, 1, 0xfffffffff000ull | 1, 0x1000000 | 1);
	assert_false(synic_set_event_flag(&synic, 1));
	post('a', 8);
	assert_int_equal(deliver(false), SYNIC_IDLE);
	synic_set_registers(&synic, &partition, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	assert_false(synic_set_event_flag(&synic, 1));
}

static void the_queue_is_bounded(void **state)
{
	uint8_t payload[1] = { 1 };

	enable();
	for (uint32_t i = 0; i < SYNIC_QUEUE_MAX; i++)
		post('q', 1);
	assert_int_equal(synic_post(&synic, payload, 1), -LIS_NOMEM);
	assert_int_equal(synic_post(&synic, payload, VMBUS_MESSAGE_BYTES_MAX + 1), -LIS_INVALID);
}

static void reset_turns_everything_off(void **state)
{
	enable();
	post('a', 8);
	synic_reset(&synic);
	assert_int_equal(synic_waiting(&synic), 0);
	assert_false(synic_set_event_flag(&synic, 1));
	post('b', 8);
	assert_int_equal(deliver(false), SYNIC_IDLE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(pages_are_zeroed_when_they_are_enabled),
		T(a_message_fills_the_slot),
		T(a_busy_slot_gets_the_pending_flag_and_blocks),
		T(messages_keep_their_order_and_announce_more),
		T(nothing_is_delivered_while_the_page_is_off),
		T(what_waits_is_lost_when_the_guest_takes_its_page_away),
		T(a_page_that_moves_takes_the_messages_along),
		T(event_flags_tell_a_change_only),
		T(pages_outside_memory_are_as_good_as_off),
		T(the_queue_is_bounded),
		T(reset_turns_everything_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
