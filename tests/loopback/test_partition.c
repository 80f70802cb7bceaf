// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Guest memory of a partition, and the loopback partition's own promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmbus/loopback.h"

#define MEMORY_BYTES (1u << 20) /* half of it low, half high */
#define HALF (MEMORY_BYTES / 2)

static struct partition *partition;
static struct loopback_guest *guest;

static int set_up(void **state)
{
	struct loopback_config config = { .vp_count = 2, .memory_bytes = MEMORY_BYTES };

	return loopback_create(&config, &partition) || loopback_guest_attach(partition, &guest);
}

static int tear_down(void **state)
{
	loopback_guest_detach(guest);
	loopback_destroy(partition);
	return 0;
}

static void impossible_partitions_are_not_made(void **state)
{
	struct loopback_config config = { .vp_count = 0, .memory_bytes = MEMORY_BYTES };
	struct partition *none = NULL;

	assert_int_equal(loopback_create(&config, &none), -LIS_INVALID);
	config.vp_count = LOOPBACK_VPS_MAX + 1;
	assert_int_equal(loopback_create(&config, &none), -LIS_INVALID);
	config.vp_count = 1;
	config.memory_bytes = 0;
	assert_int_equal(loopback_create(&config, &none), -LIS_INVALID);
	config.memory_bytes = UINT64_MAX;
	assert_int_equal(loopback_create(&config, &none), -LIS_INVALID);
	assert_null(none);
	loopback_destroy(NULL);
	loopback_guest_detach(NULL);
}

static void addresses_outside_memory_have_no_pointer(void **state)
{
	static const struct {
		uint64_t gpa, bytes;
		bool good;
	} cases[] = {
		{ LOOPBACK_LOW_GPA, 1, true },
		{ LOOPBACK_LOW_GPA, HALF, true },
		{ LOOPBACK_LOW_GPA, HALF + 1, false },
		{ LOOPBACK_LOW_GPA, 0, false },
		{ LOOPBACK_LOW_GPA, UINT64_MAX, false },
		{ LOOPBACK_LOW_GPA - 1, 1, false },
		{ LOOPBACK_LOW_GPA - 1, 2, false },
		{ LOOPBACK_LOW_GPA + HALF - 1, 1, true },
		{ LOOPBACK_LOW_GPA + HALF - 1, 2, false },
		{ LOOPBACK_LOW_GPA + HALF, 1, false },
		{ LOOPBACK_HIGH_GPA - 1, 1, false },
		{ LOOPBACK_HIGH_GPA, HALF, true },
		{ LOOPBACK_HIGH_GPA + HALF - 8, 8, true },
		{ LOOPBACK_HIGH_GPA + HALF - 8, UINT64_MAX, false },
		{ LOOPBACK_HIGH_GPA + HALF, 1, false },
		{ UINT64_MAX, 1, false },
		{ 0, 1, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(partition_hva(partition, GPA(cases[i].gpa), cases[i].bytes) !=
					 NULL,
				 cases[i].good);
}

static void pages_are_mapped_in_the_order_given_and_twice(void **state)
{
	uint64_t low = LOOPBACK_LOW_GPA >> HV_PAGE_SHIFT, high = LOOPBACK_HIGH_GPA >> HV_PAGE_SHIFT;
	uint64_t last_low = low + HALF / HV_PAGE_BYTES - 1;
	/* Backwards, in a row, over the edge of a slot, the same one again. */
	uint64_t pfns[] = { low + 9,  low + 8, low + 3,	 low + 4, low + 5,
			    last_low, high,    high + 1, low + 9 };
	const size_t count = sizeof(pfns) / sizeof(pfns[0]);
	void *mapped;
	char *at;

	assert_int_equal(partition_map_pages(partition, pfns, count, true, &mapped), 0);
	at = mapped;
	for (size_t i = 0; i < count; i++) {
		uint64_t *page = partition_hva(partition, GPA(pfns[i] << HV_PAGE_SHIFT),
					       HV_PAGE_BYTES);

		*page = pfns[i];
		assert_int_equal(*(uint64_t *)(void *)(at + i * HV_PAGE_BYTES), pfns[i]);
		*(uint64_t *)(void *)(at + (count + i) * HV_PAGE_BYTES) = ~pfns[i];
		assert_int_equal(*page, ~pfns[i]);
	}
	partition_unmap_pages(mapped, count, true);
	partition_unmap_pages(NULL, count, true);
	assert_int_equal(partition_map_pages(partition, pfns, 0, false, &mapped), -LIS_INVALID);
	pfns[4] = last_low + 1;
	assert_int_equal(partition_map_pages(partition, pfns, count, false, &mapped), -LIS_INVALID);
	pfns[4] = UINT64_MAX;
	assert_int_equal(partition_map_pages(partition, pfns, count, false, &mapped), -LIS_INVALID);
	pfns[4] = UINT64_MAX >> HV_PAGE_SHIFT;
	assert_int_equal(partition_map_pages(partition, pfns, count, false, &mapped), -LIS_INVALID);
}

static void signals_reach_what_is_bound_and_nothing_else(void **state)
{
	/* Two that look for the same place in the table. */
	const uint32_t one = 0x2001, other = 0x2001 + LOOPBACK_BINDINGS_MAX;
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK);
	eventfd_t count;

	assert_int_equal(loopback_guest_signal(guest, one), -LIS_NOTFOUND);
	assert_int_equal(loopback_guest_signal(guest, 0), -LIS_NOTFOUND);
	assert_int_equal(partition->ops->bind_signal(partition, 0, a), -LIS_INVALID);
	assert_int_equal(partition->ops->bind_signal(partition, 0x1000000, a), -LIS_INVALID);
	assert_int_equal(partition->ops->bind_signal(partition, one, a), 0);
	assert_int_equal(partition->ops->bind_signal(partition, one, b), -LIS_BUSY);
	assert_int_equal(partition->ops->bind_signal(partition, other, b), 0);
	assert_int_equal(loopback_guest_signal(guest, other), 0);
	assert_int_equal(loopback_guest_signal(guest, other), 0);
	assert_int_equal(eventfd_read(b, &count), 0);
	assert_int_equal(count, 2);
	assert_int_not_equal(eventfd_read(a, &count), 0);
	partition->ops->unbind_signal(partition, one);
	partition->ops->unbind_signal(partition, one);
	assert_int_equal(loopback_guest_signal(guest, one), -LIS_NOTFOUND);
	assert_int_equal(loopback_guest_signal(guest, other), 0);
	assert_int_equal(eventfd_read(b, &count), 0);
	assert_int_equal(partition->ops->bind_signal(partition, one, b), 0);
	assert_int_equal(loopback_guest_signal(guest, one), 0);
	assert_int_equal(eventfd_read(b, &count), 0);
	partition->ops->unbind_signal(partition, one);
	partition->ops->unbind_signal(partition, other);
	close(a);
	close(b);
}

static void bindings_run_out_without_harm(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	for (uint32_t i = 1; i <= LOOPBACK_BINDINGS_MAX + 1; i++)
		assert_int_equal(partition->ops->bind_signal(partition, i * 7, fd),
				 i <= LOOPBACK_BINDINGS_MAX ? 0 : -LIS_NOMEM);
	for (uint32_t i = 1; i <= LOOPBACK_BINDINGS_MAX; i++)
		partition->ops->unbind_signal(partition, i * 7);
	assert_int_equal(partition->ops->bind_signal(partition, 5, fd), 0);
	partition->ops->unbind_signal(partition, 5);
	close(fd);
}

static void messages_come_in_order_to_their_vp(void **state)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX + 1] = { 0 };
	size_t bytes;

	for (uint32_t i = 0; i < 3 * LOOPBACK_MESSAGES_MAX; i++) {
		message[0] = (uint8_t)i;
		assert_int_equal(
			partition->ops->post_message(partition, i % 2, message, 1 + i % 240), 0);
		if (i % 100 != 99)
			continue;
		assert_int_equal(partition->ops->messages_pending(partition), 100);
		assert_int_equal(loopback_guest_wait(guest, 0, 1000), 0);
		assert_int_equal(loopback_guest_wait(guest, 1, 1000), 0);
		for (uint32_t j = i - 99; j <= i; j++) {
			assert_int_equal(loopback_guest_next_message(guest, j % 2, message, &bytes),
					 0);
			assert_int_equal(message[0], (uint8_t)j);
			assert_int_equal(bytes, 1 + j % 240);
		}
		assert_int_equal(loopback_guest_next_message(guest, 0, message, &bytes),
				 -LIS_EMPTY);
	}
	assert_int_equal(partition->ops->post_message(partition, 2, message, 8), -LIS_INVALID);
	assert_int_equal(partition->ops->post_message(partition, 0, message, sizeof(message)),
			 -LIS_INVALID);
}

static void a_full_queue_of_messages_takes_no_more(void **state)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = { 0 };
	size_t bytes;

	while (loopback_guest_next_message(guest, 0, message, &bytes) == 0 ||
	       loopback_guest_next_message(guest, 1, message, &bytes) == 0)
		;
	for (uint32_t i = 0; i < LOOPBACK_MESSAGES_MAX; i++)
		assert_int_equal(partition->ops->post_message(partition, 0, message, 8), 0);
	assert_int_equal(partition->ops->post_message(partition, 0, message, 8), -LIS_NOMEM);
	assert_int_equal(partition->ops->messages_pending(partition), LOOPBACK_MESSAGES_MAX);
	assert_int_equal(loopback_guest_next_message(guest, 0, message, &bytes), 0);
	assert_int_equal(partition->ops->post_message(partition, 0, message, 8), 0);
}

static void a_flag_interrupts_once_until_it_is_taken(void **state)
{
	uint64_t flags[LOOPBACK_FLAG_WORDS];
	eventfd_t count;

	eventfd_read(loopback_guest_interrupt_fd(guest, 1), &count);
	partition->ops->set_event_flag(partition, 1, 2047);
	partition->ops->set_event_flag(partition, 1, 2047);
	assert_int_equal(eventfd_read(loopback_guest_interrupt_fd(guest, 1), &count), 0);
	assert_int_equal(count, 1);
	partition->ops->set_event_flag(partition, 1, 64);
	assert_false(loopback_guest_take_flag(guest, 1, 65));
	assert_false(loopback_guest_take_flag(guest, 0, 64));
	assert_true(loopback_guest_take_flag(guest, 1, 64));
	assert_false(loopback_guest_take_flag(guest, 1, 64));
	assert_true(loopback_guest_take_flags(guest, 1, flags));
	assert_true(flags[31] == UINT64_C(1) << 63);
	assert_false(loopback_guest_take_flags(guest, 1, flags));
	partition->ops->set_event_flag(partition, 1, VMBUS_EVENT_FLAGS);
	partition->ops->set_event_flag(partition, 2, 0);
	assert_false(loopback_guest_take_flags(guest, 1, flags));
	assert_int_equal(loopback_guest_wait(guest, 1, 0), 0);
	assert_int_equal(loopback_guest_wait(guest, 1, 10), -LIS_TIMEOUT);
}

static void pages_are_given_once_and_zeroed(void **state)
{
	const size_t all = HALF / HV_PAGE_BYTES;
	struct gpa first, second, third;
	uint8_t *at = loopback_guest_alloc_pages(guest, all - 3, true, &first);

	assert_non_null(at);
	assert_true(first.value >= LOOPBACK_HIGH_GPA);
	memset(at, 0xff, (all - 3) * HV_PAGE_BYTES);
	assert_null(loopback_guest_alloc_pages(guest, 4, true, &second));
	assert_null(loopback_guest_alloc_pages(guest, 0, true, &second));
	assert_non_null(loopback_guest_alloc_pages(guest, 3, true, &second));
	assert_int_equal(second.value, first.value + (all - 3) * HV_PAGE_BYTES);
	assert_non_null(loopback_guest_alloc_pages(guest, 3, false, &third));
	assert_true(third.value < LOOPBACK_HIGH_GPA);
	loopback_guest_free_pages(guest, first, all - 3);
	at = loopback_guest_alloc_pages(guest, 10, true, &first);
	assert_non_null(at);
	for (size_t i = 0; i < 10 * HV_PAGE_BYTES; i++)
		assert_int_equal(at[i], 0);
	assert_ptr_equal(at,
			 partition_hva(loopback_guest_memory(guest), first, 10 * HV_PAGE_BYTES));
	loopback_guest_free_pages(guest, first, 10);
	loopback_guest_free_pages(guest, second, 3);
	loopback_guest_free_pages(guest, third, 3);
}

static int take(void *owner, uint32_t connection_id, const void *payload, size_t payload_bytes)
{
	uint32_t *sum = owner;

	if (connection_id != 1)
		return -LIS_NOTFOUND;
	*sum += *(const uint8_t *)payload + (uint32_t)payload_bytes;
	return payload_bytes == 3 ? -LIS_FULL : 0;
}

/* The other process; its exit status says which step went wrong. */
static int far_end(int fd)
{
	struct loopback_guest *far;
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = { 5 };
	struct gpa gpa;
	size_t bytes;

	if (loopback_guest_connect(fd, &far))
		return 1;
	if (loopback_guest_vp_count(far) != 2)
		return 2;
	if (loopback_guest_post_message(far, 1, message, 2) ||
	    loopback_guest_post_message(far, 1, message, 3) != -LIS_FULL ||
	    loopback_guest_post_message(far, 2, message, 2) != -LIS_NOTFOUND ||
	    loopback_guest_post_message(far, 1, message, 241) != -LIS_INVALID)
		return 3;
	if (loopback_guest_signal(far, 77) || loopback_guest_signal(far, 77) ||
	    loopback_guest_signal(far, 78) != -LIS_NOTFOUND)
		return 4;
	/* The host binds 77 anew when it gets this; the old descriptor must not be used. */
	if (loopback_guest_post_message(far, 1, message, 9) || loopback_guest_signal(far, 77))
		return 5;
	if (loopback_guest_wait(far, 1, 5000) ||
	    loopback_guest_next_message(far, 1, message, &bytes) || bytes != 8 || message[0] != 42)
		return 6;
	strcpy(loopback_guest_alloc_pages(far, 1, true, &gpa), "far away");
	if (loopback_guest_post_message(far, 1, message, 10))
		return 7;
	loopback_guest_detach(far);
	return 0;
}

static struct {
	uint32_t sum;
	int fds[2];
} host;

static int take_far(void *owner, uint32_t connection_id, const void *payload, size_t payload_bytes)
{
	uint8_t answer[8] = { 42 };

	if (connection_id == 1 && payload_bytes == 9) {
		partition->ops->unbind_signal(partition, 77);
		assert_int_equal(partition->ops->bind_signal(partition, 77, host.fds[1]), 0);
		assert_int_equal(partition->ops->post_message(partition, 1, answer, sizeof(answer)),
				 0);
		return 0;
	}
	return take(&host.sum, connection_id, payload, payload_bytes);
}

static void another_process_sees_the_same_partition(void **state)
{
	eventfd_t count;
	int fd, status;
	pid_t child;

	host.fds[0] = eventfd(0, EFD_NONBLOCK);
	host.fds[1] = eventfd(0, EFD_NONBLOCK);
	partition->listener = (struct partition_listener){ take_far, &host };
	assert_int_equal(partition->ops->bind_signal(partition, 77, host.fds[0]), 0);
	while (eventfd_read(loopback_guest_interrupt_fd(guest, 1), &count) == 0)
		;
	assert_int_equal(loopback_serve(partition, &fd), 0);
	assert_int_equal(loopback_serve(partition, &status), -LIS_BUSY);
	child = fork();
	if (child == 0)
		_exit(far_end(fd));
	close(fd);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	loopback_unserve(partition);
	assert_int_equal(host.sum, 5 + 2 + 5 + 3 + 42 + 10);
	assert_int_equal(eventfd_read(host.fds[0], &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(eventfd_read(host.fds[1], &count), 0);
	assert_int_equal(count, 1);
	assert_string_equal(partition_hva(partition, GPA(LOOPBACK_HIGH_GPA), 16), "far away");
	partition->ops->unbind_signal(partition, 77);
	close(host.fds[0]);
	close(host.fds[1]);
	/* Whoever comes when nobody serves any more is told so. */
	assert_int_equal(loopback_serve(partition, &fd), 0);
	loopback_unserve(partition);
	struct loopback_guest *late;

	assert_int_equal(loopback_guest_connect(fd, &late), -LIS_GONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(impossible_partitions_are_not_made),
		cmocka_unit_test(addresses_outside_memory_have_no_pointer),
		cmocka_unit_test(pages_are_mapped_in_the_order_given_and_twice),
		cmocka_unit_test(signals_reach_what_is_bound_and_nothing_else),
		cmocka_unit_test(bindings_run_out_without_harm),
		cmocka_unit_test(messages_come_in_order_to_their_vp),
		cmocka_unit_test(a_full_queue_of_messages_takes_no_more),
		cmocka_unit_test(a_flag_interrupts_once_until_it_is_taken),
		cmocka_unit_test(pages_are_given_once_and_zeroed),
		cmocka_unit_test(another_process_sees_the_same_partition),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
