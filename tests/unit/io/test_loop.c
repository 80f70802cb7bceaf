// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The event loop: each kind of event arrives, exactly once, on the loop's thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io/error.h"
#include "io/loop.h"

static struct io_loop *new_loop(const struct io_loop_config *config)
{
	struct io_loop *loop = NULL;

	assert_int_equal(io_loop_create(config, &loop), 0);
	return loop;
}

/* Turn until nothing happens; never sleeps. */
static void settle(struct io_loop *loop)
{
	for (int idle = 0; idle < 3;)
		idle = io_loop_turn(loop, false) ? 0 : idle + 1;
}

/* ---- operations ---- */

struct read_op {
	struct io_op op;
	int32_t result;
	int calls;
};

static void read_done(struct io_op *op, int32_t result)
{
	struct read_op *read = (struct read_op *)op;

	read->result = result;
	read->calls++;
}

static void an_operation_completes_once_with_its_result(void **state)
{
	struct io_loop *loop = new_loop(NULL);
	struct read_op op = { .op.done = read_done };
	char buffer[4];
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	io_uring_prep_read(io_loop_sqe(loop, &op.op), fds[0], buffer, sizeof(buffer), -1);
	while (!op.calls)
		io_loop_turn(loop, true);
	settle(loop);
	assert_int_equal(op.calls, 1);
	assert_int_equal(op.result, 3);
	close(fds[0]);
	close(fds[1]);
	io_loop_destroy(loop);
}

static void more_submissions_than_entries_all_complete(void **state)
{
	struct io_loop_config config = { .entries = 8 };
	struct io_loop *loop = new_loop(&config);
	struct read_op ops[500];

	memset(ops, 0, sizeof(ops));
	for (int i = 0; i < 500; i++) {
		ops[i].op.done = read_done;
		io_uring_prep_nop(io_loop_sqe(loop, &ops[i].op));
	}
	settle(loop);
	for (int i = 0; i < 500; i++)
		assert_int_equal(ops[i].calls, 1);
	io_loop_destroy(loop);
}

static void timer_to_wake_by(struct io_timer *timer)
{
}

/* Writes a byte as an operation of the loop; how many bytes the pipe has before the loop turns. */
static int bytes_after_a_write(struct io_loop *loop, struct read_op *op, const int *fds)
{
	int bytes = -1;

	op->op.done = read_done;
	io_uring_prep_write(io_loop_sqe(loop, &op->op), fds[1], "x", 1, (uint64_t)-1);
	assert_int_equal(ioctl(fds[0], FIONREAD, &bytes), 0);
	return bytes;
}

static void each_submission_is_larger_until_the_loop_sleeps(void **state)
{
	static const int steps[] = { 8, 8 + 16, 8 + 16 + 32, 8 + 16 + 32 + 32 };
	struct io_loop *loop = new_loop(NULL);
	uint64_t sleeps;
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0); /* or a worker might write, later */
	settle(loop);
	for (int round = 0; round < 2; round++) {
		struct read_op ops[100] = { 0 };
		struct io_timer timer = { .expired = timer_to_wake_by };
		char buffer[128];
		int step = 0;

		for (int i = 0; i < 100; i++) {
			int bytes = bytes_after_a_write(loop, &ops[i], fds);

			if (step < 4 && i == steps[step])
				step++;
			assert_int_equal(bytes, step ? steps[step - 1] : 0);
		}
		settle(loop);
		assert_int_equal(read(fds[0], buffer, sizeof(buffer)), 100);
		sleeps = io_loop_stats(loop).sleeps;
		/* On a busy machine the time may be over before the loop looks. */
		while (io_loop_stats(loop).sleeps == sleeps) {
			io_timer_set(&timer, loop, io_loop_now_ns(loop) + 1000000);
			io_loop_turn(loop, true);
		}
		io_timer_cancel(&timer);
	}
	close(fds[0]);
	close(fds[1]);
	io_loop_destroy(loop);
}

/* ---- eventfds ---- */

struct counted_event {
	struct io_event event;
	uint64_t sum;
};

static void event_fired(struct io_event *event, uint64_t count)
{
	((struct counted_event *)event)->sum += count;
}

struct flag_call {
	struct io_call call;
	int calls;
};

static void flag_fn(struct io_call *call)
{
	((struct flag_call *)call)->calls++;
}

static void an_eventfd_fires_until_it_is_stopped(void **state)
{
	for (int flags = 0; flags <= EFD_NONBLOCK; flags += EFD_NONBLOCK) {
		struct io_loop *loop = new_loop(NULL);
		struct counted_event event = { .event.fired = event_fired };
		struct flag_call stopped = { .call.fn = flag_fn };
		int fd = eventfd(0, flags);

		io_event_start(&event.event, loop, fd);
		settle(loop);
		for (int i = 1; i <= 3; i++) {
			eventfd_write(fd, 5);
			while (event.sum < (uint64_t)i * 5)
				io_loop_turn(loop, true);
		}
		io_event_stop(&event.event, &stopped.call);
		while (!stopped.calls)
			io_loop_turn(loop, true);
		eventfd_write(fd, 1);
		settle(loop);
		assert_int_equal(event.sum, 15);
		assert_int_equal(stopped.calls, 1);
		close(fd);
		io_loop_destroy(loop);
	}
}

/* ---- descriptors ---- */

struct ready_fd {
	struct io_fd fd;
	uint32_t events;
	int calls;
};

static void fd_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct ready_fd *ready = (struct ready_fd *)fd;

	ready->events = poll_events;
	ready->calls++;
}

static void a_descriptor_is_polled_once_for_each_request(void **state)
{
	struct io_loop *loop = new_loop(NULL);
	struct ready_fd ready = { .fd.ready = fd_ready };
	struct flag_call stopped = { .call.fn = flag_fn };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	io_fd_start(&ready.fd, loop, fds[0]);
	io_fd_poll(&ready.fd, POLLIN);
	settle(loop);
	assert_int_equal(ready.calls, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	while (!ready.calls)
		io_loop_turn(loop, true);
	settle(loop);
	assert_int_equal(ready.calls, 1);
	assert_true(ready.events & POLLIN);
	io_fd_poll(&ready.fd, POLLIN);
	while (ready.calls < 2)
		io_loop_turn(loop, true);
	io_fd_stop(&ready.fd, &stopped.call);
	while (!stopped.calls)
		io_loop_turn(loop, true);
	close(fds[0]);
	close(fds[1]);
	io_loop_destroy(loop);
}

/* ---- timers, on a clock of our own ---- */

static uint64_t test_clock(void *clock)
{
	return *(uint64_t *)clock;
}

struct ordered_timer {
	struct io_timer timer;
	int *next;
	int seen_as;
};

static void timer_expired(struct io_timer *timer)
{
	struct ordered_timer *ordered = (struct ordered_timer *)timer;

	ordered->seen_as = ++*ordered->next;
}

static void timers_expire_in_order_once_and_not_before_their_time(void **state)
{
	uint64_t now_ns = 1000;
	struct io_loop_config config = { .now_ns = test_clock, .clock = &now_ns };
	struct io_loop *loop = new_loop(&config);
	int next = 0;
	struct ordered_timer late = { .timer.expired = timer_expired, .next = &next };
	struct ordered_timer early = late, canceled = late;

	io_timer_set(&late.timer, loop, 3000);
	io_timer_set(&early.timer, loop, 5000);
	io_timer_set(&early.timer, loop, 2000); /* set again: moved */
	io_timer_set(&canceled.timer, loop, 2500);
	settle(loop);
	assert_int_equal(next, 0);
	io_timer_cancel(&canceled.timer);
	io_timer_cancel(&canceled.timer);
	now_ns = 3000;
	settle(loop);
	assert_int_equal(early.seen_as, 1);
	assert_int_equal(late.seen_as, 2);
	assert_int_equal(canceled.seen_as, 0);
	now_ns = 100000;
	settle(loop);
	assert_int_equal(next, 2);
	io_loop_destroy(loop);
}

static void a_real_timer_ends_a_sleep(void **state)
{
	struct io_loop *loop = new_loop(NULL);
	int next = 0;
	struct ordered_timer timer = { .timer.expired = timer_expired, .next = &next };
	uint64_t start_ns = io_loop_now_ns(loop);

	io_timer_set(&timer.timer, loop, start_ns + 2000000);
	while (!next)
		io_loop_turn(loop, true);
	assert_true(io_loop_now_ns(loop) >= start_ns + 2000000);
	io_loop_destroy(loop);
}

/* ---- calls between threads ---- */

#define CALLS 20000

struct numbered_call {
	struct io_call call;
	struct call_log *log;
	int number;
};

struct call_log {
	struct io_loop *loop;
	int expected, out_of_order, wrong_thread;
	struct numbered_call calls[CALLS];
};

static void numbered_fn(struct io_call *call)
{
	struct numbered_call *numbered = (struct numbered_call *)call;

	if (numbered->number != numbered->log->expected++)
		numbered->log->out_of_order++;
	if (!io_loop_is_current(numbered->log->loop))
		numbered->log->wrong_thread++;
}

static void nothing(void *arg)
{
}

static void calls_run_in_order_on_the_loop_and_none_is_lost(void **state)
{
	static struct call_log log;
	struct io_loop_config config = { .name = "calls", .poll_max_ns = 5000 };

	memset(&log, 0, sizeof(log));
	log.loop = new_loop(&config);
	assert_int_equal(io_loop_start(log.loop), 0);
	for (int i = 0; i < CALLS; i++) {
		log.calls[i] = (struct numbered_call){ .call.fn = numbered_fn, .log = &log, .number = i };
		io_loop_call(log.loop, &log.calls[i].call);
		if (i % 64 == 0)
			io_loop_call_wait(log.loop, nothing, NULL); /* lets it fall asleep in between */
	}
	io_loop_call_wait(log.loop, nothing, NULL);
	assert_int_equal(log.expected, CALLS);
	assert_int_equal(log.out_of_order, 0);
	assert_int_equal(log.wrong_thread, 0);
	assert_false(io_loop_is_current(log.loop));
	io_loop_join(log.loop);
	io_loop_destroy(log.loop);
}

static void a_joined_loop_can_be_turned_and_started_again(void **state)
{
	struct io_loop *loop = new_loop(NULL);
	struct flag_call call = { .call.fn = flag_fn };

	for (int i = 1; i <= 3; i++) {
		assert_int_equal(io_loop_start(loop), 0);
		io_loop_call_wait(loop, nothing, NULL);
		io_loop_join(loop);
		io_loop_call(loop, &call.call);
		settle(loop);
		assert_int_equal(call.calls, i);
	}
	io_loop_destroy(loop);
}

struct last_call {
	struct flag_call call;
	struct io_loop *loop;
};

static void *call_from_elsewhere(void *arg)
{
	struct last_call *last = arg;

	io_loop_call(last->loop, &last->call.call);
	return NULL;
}

/* What its caller touches behind that the sanitizers see. */
static void a_loop_may_go_as_soon_as_its_last_call_was_made(void **state)
{
	for (int i = 0; i < 100; i++) {
		struct last_call last = { .call.call.fn = flag_fn, .loop = new_loop(NULL) };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, call_from_elsewhere, &last), 0);
		while (!last.call.calls)
			io_loop_turn(last.loop, true);
		io_loop_destroy(last.loop);
		pthread_join(thread, NULL);
	}
}

/* ---- pollers ---- */

struct test_poller {
	struct io_poller poller;
	struct io_loop *loop;
	int work, done, sleeps, wakes;
	bool work_at_sleep, remove_at_poll;
};

static uint32_t test_poll(struct io_poller *poller)
{
	struct test_poller *test = (struct test_poller *)poller;

	if (test->remove_at_poll)
		io_poller_remove(test->loop, poller);
	if (!test->work)
		return 0;
	test->work--;
	test->done++;
	return 1;
}

static uint32_t test_sleep(struct io_poller *poller)
{
	struct test_poller *test = (struct test_poller *)poller;

	test->sleeps++;
	if (test->work_at_sleep) {
		test->work_at_sleep = false;
		test->work++;
		return 1;
	}
	return 0;
}

static void test_wake(struct io_poller *poller)
{
	((struct test_poller *)poller)->wakes++;
}

static void work_that_shows_up_at_the_last_look_is_done_without_a_sleep(void **state)
{
	struct io_loop *loop = new_loop(NULL);
	struct test_poller poller = {
		.poller = { .poll = test_poll, .sleep = test_sleep, .wake = test_wake },
		.work = 3,
		.work_at_sleep = true,
	};

	io_poller_add(loop, &poller.poller);
	/* Would hang in the second half if the loop slept in spite of the work. */
	while (poller.done < 4)
		io_loop_turn(loop, true);
	assert_int_equal(poller.sleeps, 1);
	assert_int_equal(poller.wakes, 2);
	io_poller_remove(loop, &poller.poller);
	io_loop_destroy(loop);
}

static void a_poller_may_remove_itself_while_it_is_polled(void **state)
{
	struct io_loop *loop = new_loop(NULL);
	struct test_poller pollers[3];

	for (int i = 0; i < 3; i++) {
		pollers[i] = (struct test_poller){
			.poller = { .poll = test_poll, .sleep = test_sleep, .wake = test_wake },
			.loop = loop,
			.work = 1,
			.remove_at_poll = true,
		};
		io_poller_add(loop, &pollers[i].poller);
	}
	settle(loop);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pollers[i].done, 1);
	io_loop_destroy(loop);
}

/* ---- one CPU ---- */

#define WAKES 3000

/* A loop that wakes itself, each time with so many requests. */
struct busy_loop {
	struct io_poller poller; /* first */
	struct io_event event;   /* counts as a request, too */
	int fd;
	uint32_t due;
	int wakes, policies[WAKES]; /* what it slept with */
	sem_t end;
};

static void busy_fired(struct io_event *event, uint64_t count)
{
}

static uint32_t busy_poll(struct io_poller *poller)
{
	struct busy_loop *busy = (struct busy_loop *)poller;
	uint32_t due = busy->due;

	busy->due = 0;
	return due;
}

/* What wakes it is there before it sleeps. */
static uint32_t busy_sleep(struct io_poller *poller)
{
	struct busy_loop *busy = (struct busy_loop *)poller;

	if (busy->wakes < WAKES)
		eventfd_write(busy->fd, 1);
	return 0;
}

/* Many requests, few, many for a short time, few. */
static void busy_wake(struct io_poller *poller)
{
	struct busy_loop *busy = (struct busy_loop *)poller;

	if (busy->wakes == WAKES)
		return;
	busy->due = busy->wakes < 400 || (busy->wakes >= 800 && busy->wakes < 1100) ? 20 : 1;
	busy->policies[busy->wakes] = sched_getscheduler(0);
	if (++busy->wakes == WAKES)
		sem_post(&busy->end);
}

/* How many wakes it has the same policy, from this one on. */
static int stretch(const struct busy_loop *busy, int from)
{
	int to = from;

	while (to < WAKES && busy->policies[to] == busy->policies[from])
		to++;
	return to - from;
}

static void with_one_cpu_a_loop_is_patient_where_that_brings_something(void **state)
{
	struct busy_loop *busy = calloc(1, sizeof(*busy));
	struct io_loop *loop;
	cpu_set_t all, one;
	int cpu = 0, at;

	assert_non_null(busy);
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	loop = new_loop(NULL);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	*busy = (struct busy_loop){
		.poller = { .poll = busy_poll, .sleep = busy_sleep, .wake = busy_wake },
		.event = { .fired = busy_fired },
		.fd = eventfd(0, EFD_CLOEXEC),
	};
	assert_int_equal(sem_init(&busy->end, 0, 0), 0);
	io_event_start(&busy->event, loop, busy->fd);
	io_poller_add(loop, &busy->poller);
	assert_int_equal(io_loop_start(loop), 0);
	while (sem_wait(&busy->end))
		;
	io_loop_join(loop);

	/* It begins so, and stays so while there are many requests. */
	assert_int_equal(busy->policies[0], SCHED_BATCH);
	at = stretch(busy, 0);
	assert_in_range(at, 400 + 1, 400 + 260);
	assert_int_equal(busy->policies[at], SCHED_OTHER);
	/* Many bring it back soon. */
	at += stretch(busy, at);
	assert_in_range(at, 800 + 1, 800 + 130);
	at += stretch(busy, at);
	assert_in_range(at, 1100 + 1, 1100 + 260);
	/* It tries again, now and then. */
	assert_in_range(stretch(busy, at), 200, 400);
	at += stretch(busy, at);
	assert_in_range(stretch(busy, at), 10, 100);

	io_poller_remove(loop, &busy->poller);
	io_loop_destroy(loop);
	close(busy->fd);
	sem_destroy(&busy->end);
	free(busy);
}

static void errors_have_words_and_an_errno(void **state)
{
	assert_string_equal(lis_error_text(-LIS_FULL), "no room");
	assert_string_equal(lis_error_text(-12345), "unknown error");
	for (int code = 1; code <= 19; code++)
		if (code != LIS_STILL_SHARED) /* EBUSY too, but nobody else's */
			assert_int_equal(lis_error_from_errno(lis_error_errno(-code)), -code);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_operation_completes_once_with_its_result),
		cmocka_unit_test(more_submissions_than_entries_all_complete),
		cmocka_unit_test(each_submission_is_larger_until_the_loop_sleeps),
		cmocka_unit_test(an_eventfd_fires_until_it_is_stopped),
		cmocka_unit_test(a_descriptor_is_polled_once_for_each_request),
		cmocka_unit_test(timers_expire_in_order_once_and_not_before_their_time),
		cmocka_unit_test(a_real_timer_ends_a_sleep),
		cmocka_unit_test(calls_run_in_order_on_the_loop_and_none_is_lost),
		cmocka_unit_test(a_joined_loop_can_be_turned_and_started_again),
		cmocka_unit_test(a_loop_may_go_as_soon_as_its_last_call_was_made),
		cmocka_unit_test(work_that_shows_up_at_the_last_look_is_done_without_a_sleep),
		cmocka_unit_test(a_poller_may_remove_itself_while_it_is_polled),
		cmocka_unit_test(with_one_cpu_a_loop_is_patient_where_that_brings_something),
		cmocka_unit_test(errors_have_words_and_an_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
