// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The event loop: see loop.h.
 *
 * A turn runs calls, timers, pollers and completions. Submissions wait until a turn found nothing, so that work and
 * going to sleep cost one system call together, or until there are a few: a disk that ends many commands at
 * once must not wait for the last of those that follow them. When it has some, more are put together each time, as
 * each submission costs a system call and a signal to the disk. Only the call list is shared between threads (a
 * lock-free stack, reversed when taken); a write to the wake eventfd follows a push only if the loop said it is
 * about to sleep.
 */
#include "io/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "vmbus/os.h"

#define ENTRIES_DEFAULT 256u
#define COMPLETIONS_AT_ONCE 16u /* [policy] bounds a turn */
#define SUBMIT_FIRST 8u         /* [policy] submissions that are not kept for the end of the work */
#define SUBMIT_MOST 32u         /* [policy] and how many this grows to */
#define YIELD_AFTER_NS 4000u    /* [policy] of a spin; most of what comes soon has come by then */

/* [policy] With one CPU: see adapt_patience(). Round trips are 2.0 to 2.5 requests for each time the loop wakes. */
#define REQUESTS_OF_STREAM(wakes) ((wakes) * 11u / 4u)
#define WAKES_SEEN 128u   /* then it is looked at how many requests there were */
#define WAKES_EAGER 256u  /* then patience is tried again: to a hasty loop a stream may look like round trips */
#define WAKES_TRIED 32u

enum sleep_state { AWAKE, ASLEEP };

struct io_loop {
	struct io_uring uring;
	struct io_loop_config config;
	char name[16];

	_Atomic(struct io_call *) calls; /* newest first */
	_Atomic uint32_t callers;        /* threads inside io_loop_call() */
	_Atomic int sleep_state;
	atomic_bool stop;
	struct io_event wake;

	struct io_timer *timers; /* by due time */
	struct io_poller *pollers;
	struct io_poller *poll_next; /* survives removal while iterating */
	uint64_t poll_ns;      /* current bound of a spin */
	uint64_t last_work_ns;
	uint32_t submit_at;    /* so many are not kept */

	struct io_loop_stats stats;
	_Atomic pid_t runner;  /* thread that runs the loop; 0: nobody */
	pthread_t thread;
	bool has_thread;
	bool one_cpu;          /* this is all there is */
	/* On the loop's own thread then: */
	bool adapts_patience, patient, trying;
	uint32_t wakes;        /* since patience was decided on */
	uint32_t requests;     /* since it was last looked at */
};

static _Thread_local pid_t own_tid;

static pid_t current_tid(void)
{
	if (!own_tid)
		own_tid = gettid();
	return own_tid;
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t io_loop_now_ns(const struct io_loop *loop)
{
	return loop->config.now_ns ? loop->config.now_ns(loop->config.clock) : monotonic_ns();
}

bool io_loop_is_current(const struct io_loop *loop)
{
	pid_t runner = atomic_load_explicit(&loop->runner, memory_order_acquire);

	return runner == 0 || runner == current_tid();
}

bool io_loop_has_one_cpu(const struct io_loop *loop)
{
	return loop->one_cpu;
}

struct io_loop_stats io_loop_stats(const struct io_loop *loop)
{
	return loop->stats;
}

/* ---- submissions ---- */

struct io_uring_sqe *io_loop_sqe(struct io_loop *loop, struct io_op *op)
{
	struct io_uring_sqe *sqe;

	/* The one before this is whole by now. */
	if (io_uring_sq_ready(&loop->uring) >= loop->submit_at) {
		io_uring_submit(&loop->uring);
		if (loop->submit_at < SUBMIT_MOST)
			loop->submit_at *= 2;
	}
	sqe = io_uring_get_sqe(&loop->uring);
	while (!sqe) {
		io_uring_submit(&loop->uring);
		sqe = io_uring_get_sqe(&loop->uring);
	}
	/* liburing's prep functions leave user_data alone. */
	io_uring_sqe_set_data(sqe, op);
	return sqe;
}

static bool run_completions(struct io_loop *loop)
{
	struct io_uring_cqe *cqes[COMPLETIONS_AT_ONCE];
	unsigned count = io_uring_peek_batch_cqe(&loop->uring, cqes, COMPLETIONS_AT_ONCE);

	for (unsigned i = 0; i < count; i++) {
		struct io_op *op = io_uring_cqe_get_data(cqes[i]);
		int32_t result = cqes[i]->res;

		/* Given back before the call: the callee may turn the loop itself. */
		io_uring_cqe_seen(&loop->uring, cqes[i]);
		if (op)
			op->done(op, result);
	}
	loop->requests += count;
	return count > 0;
}

/* ---- calls from other threads ---- */

void io_loop_call(struct io_loop *loop, struct io_call *call)
{
	struct io_call *head = atomic_load_explicit(&loop->calls, memory_order_relaxed);

	atomic_fetch_add_explicit(&loop->callers, 1, memory_order_relaxed);
	do {
		call->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&loop->calls, &head, call,
							memory_order_seq_cst,
							memory_order_relaxed));
	/* Pairs with prepare_sleep(): either we see ASLEEP, or it sees the call. */
	if (atomic_load(&loop->sleep_state) == ASLEEP)
		eventfd_write(loop->wake.fd, 1);
	/* Pairs with io_loop_destroy(). */
	atomic_fetch_sub_explicit(&loop->callers, 1, memory_order_release);
}

static bool run_calls(struct io_loop *loop)
{
	struct io_call *newest, *oldest = NULL;

	if (!atomic_load_explicit(&loop->calls, memory_order_relaxed))
		return false;
	newest = atomic_exchange_explicit(&loop->calls, NULL, memory_order_acquire);
	while (newest) {
		struct io_call *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct io_call *next = oldest->next;

		oldest->fn(oldest);
		oldest = next;
	}
	return true;
}

struct waited_call {
	struct io_call call;
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void run_waited(struct io_call *call)
{
	struct waited_call *waited = (struct waited_call *)call;

	waited->fn(waited->arg);
	pthread_mutex_lock(&waited->lock);
	waited->done = true;
	pthread_cond_signal(&waited->cond);
	pthread_mutex_unlock(&waited->lock);
}

void io_loop_call_wait(struct io_loop *loop, void (*fn)(void *arg), void *arg)
{
	struct waited_call waited = {
		.call.fn = run_waited,
		.fn = fn,
		.arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER,
	};

	if (io_loop_is_current(loop)) {
		fn(arg);
		return;
	}
	io_loop_call(loop, &waited.call);
	pthread_mutex_lock(&waited.lock);
	while (!waited.done)
		pthread_cond_wait(&waited.cond, &waited.lock);
	pthread_mutex_unlock(&waited.lock);
	pthread_mutex_destroy(&waited.lock);
	pthread_cond_destroy(&waited.cond);
}

void io_loop_stop(struct io_loop *loop)
{
	atomic_store(&loop->stop, true);
	if (atomic_load(&loop->sleep_state) == ASLEEP)
		eventfd_write(loop->wake.fd, 1);
}

/* ---- eventfds and descriptors ---- */

static void event_read(struct io_event *event)
{
	event->reading = true;
	io_uring_prep_read(io_loop_sqe(event->loop, &event->op), event->fd, &event->count,
			   sizeof(event->count), 0);
}

static void event_poll(struct io_event *event)
{
	event->reading = true;
	io_uring_prep_poll_add(io_loop_sqe(event->loop, &event->op), event->fd, POLLIN);
}

static void event_done(struct io_op *op, int32_t result)
{
	struct io_event *event = (struct io_event *)op;

	event->reading = false;
	if (event->stopping) {
		if (event->stopped)
			event->stopped->fn(event->stopped);
		return;
	}
	if (result == (int32_t)sizeof(event->count)) {
		event_read(event);
		event->fired(event, event->count);
	} else if (result == -EAGAIN) {
		event_poll(event); /* non-blocking eventfd: wait, the read follows */
	} else if (result == -EINTR || result > 0) {
		event_read(event);
	} else {
		os_log(OS_LOG_ERROR, "%s: reading an eventfd failed: %s", event->loop->name,
		       strerror(-result));
	}
}

void io_event_start(struct io_event *event, struct io_loop *loop, int fd)
{
	event->op.done = event_done;
	event->loop = loop;
	event->fd = fd;
	event->stopping = false;
	event_read(event);
}

static void cancel(struct io_loop *loop, struct io_op *op)
{
	io_uring_prep_cancel(io_loop_sqe(loop, NULL), op, 0);
}

void io_event_stop(struct io_event *event, struct io_call *stopped)
{
	event->stopping = true;
	event->stopped = stopped;
	if (event->reading)
		cancel(event->loop, &event->op);
	else if (stopped)
		io_loop_call(event->loop, stopped);
}

static void fd_done(struct io_op *op, int32_t result)
{
	struct io_fd *fd = (struct io_fd *)op;

	fd->polling = false;
	if (fd->stopping) {
		if (fd->stopped)
			fd->stopped->fn(fd->stopped);
		return;
	}
	fd->ready(fd, result < 0 ? POLLERR : (uint32_t)result);
}

void io_fd_start(struct io_fd *fd, struct io_loop *loop, int descriptor)
{
	fd->op.done = fd_done;
	fd->loop = loop;
	fd->fd = descriptor;
	fd->polling = false;
	fd->stopping = false;
}

void io_fd_poll(struct io_fd *fd, uint32_t poll_events)
{
	if (fd->polling || fd->stopping)
		return;
	fd->polling = true;
	io_uring_prep_poll_add(io_loop_sqe(fd->loop, &fd->op), fd->fd, poll_events);
}

void io_fd_stop(struct io_fd *fd, struct io_call *stopped)
{
	fd->stopping = true;
	fd->stopped = stopped;
	if (fd->polling)
		cancel(fd->loop, &fd->op);
	else if (stopped)
		io_loop_call(fd->loop, stopped);
}

/* ---- timers ---- */

void io_timer_cancel(struct io_timer *timer)
{
	struct io_timer **at;

	if (!timer->due_ns)
		return;
	for (at = &timer->loop->timers; *at; at = &(*at)->next) {
		if (*at == timer) {
			*at = timer->next;
			break;
		}
	}
	timer->due_ns = 0;
}

void io_timer_set(struct io_timer *timer, struct io_loop *loop, uint64_t due_ns)
{
	struct io_timer **at;

	io_timer_cancel(timer);
	timer->loop = loop;
	timer->due_ns = due_ns ? due_ns : 1;
	for (at = &loop->timers; *at && (*at)->due_ns <= timer->due_ns; at = &(*at)->next)
		;
	timer->next = *at;
	*at = timer;
}

static bool run_timers(struct io_loop *loop)
{
	uint64_t now_ns;
	bool any = false;

	if (!loop->timers)
		return false;
	now_ns = io_loop_now_ns(loop);
	while (loop->timers && loop->timers->due_ns <= now_ns) {
		struct io_timer *timer = loop->timers;

		loop->timers = timer->next;
		timer->due_ns = 0;
		timer->expired(timer);
		any = true;
	}
	return any;
}

/* ---- pollers ---- */

void io_poller_add(struct io_loop *loop, struct io_poller *poller)
{
	poller->asleep = true; /* woken at the start of the next turn */
	poller->next = loop->pollers;
	loop->pollers = poller;
}

void io_poller_remove(struct io_loop *loop, struct io_poller *poller)
{
	struct io_poller **at;

	for (at = &loop->pollers; *at; at = &(*at)->next) {
		if (*at == poller) {
			*at = poller->next;
			break;
		}
	}
	if (loop->poll_next == poller)
		loop->poll_next = poller->next;
}

#define for_each_poller(loop, poller) \
	for (poller = (loop)->pollers; \
	     poller && ((loop)->poll_next = poller->next, true); poller = (loop)->poll_next)

static void wake_pollers(struct io_loop *loop)
{
	struct io_poller *poller;

	for_each_poller(loop, poller) {
		if (poller->asleep) {
			poller->asleep = false;
			poller->wake(poller);
		}
	}
}

static bool run_pollers(struct io_loop *loop)
{
	struct io_poller *poller;
	uint32_t requests = 0;

	for_each_poller(loop, poller)
		requests += poller->poll(poller);
	loop->requests += requests;
	return requests > 0;
}

/* True: every poller will be woken from outside. */
static bool put_pollers_to_sleep(struct io_loop *loop)
{
	struct io_poller *poller;

	for_each_poller(loop, poller) {
		if (poller->asleep)
			continue;
		poller->asleep = true;
		if (poller->sleep(poller))
			return false;
	}
	return true;
}

/* ---- sleeping ---- */

/* While spinning a system call is made only if the kernel has something for us, or we for it. */
static void enter_kernel_if_due(struct io_loop *loop)
{
	if (io_uring_sq_ready(&loop->uring) ||
	    (os_read_once(*loop->uring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
		io_uring_submit_and_get_events(&loop->uring);
}

/*
 * Spin while the last work is younger than poll_ns. The bound doubles when spinning would have caught
 * what ended a sleep, and halves when a spin found nothing, so a quiet loop stops spinning by itself. Whoever
 * else wants this CPU gets it before long: it may be a worker of our io_uring, with what we are waiting for.
 */
static bool keep_spinning(struct io_loop *loop)
{
	uint64_t spun_ns;

	if (!loop->poll_ns || !loop->pollers)
		return false;
	spun_ns = monotonic_ns() - loop->last_work_ns;
	if (spun_ns >= loop->poll_ns)
		return false;
	if (spun_ns > YIELD_AFTER_NS)
		sched_yield();
	return true;
}

static void adapt(struct io_loop *loop, uint64_t slept_ns)
{
	uint64_t max_ns = loop->config.poll_max_ns;

	if (!max_ns)
		return;
	if (slept_ns <= max_ns) {
		loop->poll_ns = loop->poll_ns ? loop->poll_ns * 2 : max_ns / 8;
		if (loop->poll_ns > max_ns)
			loop->poll_ns = max_ns;
	} else {
		loop->poll_ns /= 2;
		if (loop->poll_ns < max_ns / 64)
			loop->poll_ns = 0;
	}
}

static void wait_for_completion(struct io_loop *loop)
{
	struct __kernel_timespec timeout, *limit = NULL;
	struct io_uring_cqe *cqe;

	if (loop->timers && !loop->config.now_ns) {
		uint64_t now_ns = monotonic_ns(), due_ns = loop->timers->due_ns;
		uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;

		timeout.tv_sec = (int64_t)(left_ns / 1000000000u);
		timeout.tv_nsec = (long long)(left_ns % 1000000000u);
		limit = &timeout;
	}
	io_uring_submit_and_wait_timeout(&loop->uring, &cqe, 1, limit, NULL);
}

static void set_patience(struct io_loop *loop, bool patient)
{
	const struct sched_param none = { 0 };

	loop->wakes = 0;
	if (loop->patient == patient)
		return;
	loop->patient = patient;
	/* It may be forbidden; then it is as it was. */
	pthread_setschedparam(pthread_self(), patient ? SCHED_BATCH : SCHED_OTHER, &none);
}

/*
 * On a machine with one CPU each signal of the guest takes the CPU from it, for one request of a stream. A batch
 * thread waits until the guest does, or its slice is over; by then there are many, each time or now and then. But if
 * there never are, as with round trips, that is time lost.
 */
static void adapt_patience(struct io_loop *loop)
{
	uint32_t wakes = loop->trying ? WAKES_TRIED : WAKES_SEEN;
	bool stream;

	if (++loop->wakes % wakes)
		return;
	stream = loop->requests >= REQUESTS_OF_STREAM(wakes);
	loop->requests = 0;
	loop->trying = !stream && !loop->patient && loop->wakes >= WAKES_EAGER;
	if (stream || loop->trying)
		set_patience(loop, true);
	else if (loop->patient)
		set_patience(loop, false);
}

static void sleep_until_work(struct io_loop *loop)
{
	uint64_t slept_at_ns;

	if (!put_pollers_to_sleep(loop))
		return;
	atomic_store(&loop->sleep_state, ASLEEP);
	/* Pairs with io_loop_call() and io_loop_stop(). */
	if (!atomic_load(&loop->calls) && !atomic_load(&loop->stop)) {
		loop->stats.sleeps++;
		if (loop->adapts_patience)
			adapt_patience(loop);
		slept_at_ns = loop->config.poll_max_ns ? monotonic_ns() : 0;
		wait_for_completion(loop);
		loop->submit_at = SUBMIT_FIRST;
		if (loop->config.poll_max_ns) {
			loop->last_work_ns = monotonic_ns();
			adapt(loop, loop->last_work_ns - slept_at_ns);
		}
	}
	atomic_store(&loop->sleep_state, AWAKE);
}

bool io_loop_turn(struct io_loop *loop, bool wait)
{
	bool any;

	loop->stats.turns++;
	wake_pollers(loop);
	any = run_calls(loop);
	any |= run_timers(loop);
	any |= run_pollers(loop);
	any |= run_completions(loop);
	if (any) {
		if (loop->poll_ns)
			loop->last_work_ns = monotonic_ns();
		return true;
	}
	if (!wait || keep_spinning(loop)) {
		enter_kernel_if_due(loop);
		return run_completions(loop);
	}
	sleep_until_work(loop);
	return run_completions(loop);
}

static void run_until_stopped(struct io_loop *loop)
{
	while (!atomic_load_explicit(&loop->stop, memory_order_acquire))
		io_loop_turn(loop, true);
}

void io_loop_run(struct io_loop *loop)
{
	atomic_store_explicit(&loop->runner, current_tid(), memory_order_release);
	run_until_stopped(loop);
	atomic_store(&loop->stop, false);
	atomic_store_explicit(&loop->runner, 0, memory_order_release);
}

static void *loop_thread(void *arg)
{
	struct io_loop *loop = arg;

	atomic_store_explicit(&loop->runner, current_tid(), memory_order_release);
	loop->adapts_patience = loop->one_cpu;
	loop->requests = 0;
	if (loop->adapts_patience)
		set_patience(loop, true);
	run_until_stopped(loop);
	loop->adapts_patience = loop->patient = loop->trying = false;
	return NULL;
}

int io_loop_start(struct io_loop *loop)
{
	/* Nobody may take the loop for its own between now and the thread's first instruction. */
	atomic_store_explicit(&loop->runner, -1, memory_order_release);
	if (pthread_create(&loop->thread, NULL, loop_thread, loop)) {
		atomic_store(&loop->runner, 0);
		return -LIS_NOMEM;
	}
	pthread_setname_np(loop->thread, loop->name);
	loop->has_thread = true;
	return 0;
}

void io_loop_join(struct io_loop *loop)
{
	if (!loop->has_thread)
		return;
	io_loop_stop(loop);
	pthread_join(loop->thread, NULL);
	loop->has_thread = false;
	atomic_store(&loop->stop, false);
	atomic_store_explicit(&loop->runner, 0, memory_order_release);
}

/* ---- life ---- */

static void wake_fired(struct io_event *event, uint64_t count)
{
	/* The call list is looked at in every turn. */
}

static unsigned cpus_of_this_thread(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

static int open_uring(struct io_loop *loop, uint32_t entries)
{
	struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN |
						   IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP };
	int err = io_uring_queue_init_params(entries, &loop->uring, &params);

	if (err == -EINVAL) { /* kernels below 5.19 */
		params = (struct io_uring_params){ .flags = IORING_SETUP_CLAMP };
		err = io_uring_queue_init_params(entries, &loop->uring, &params);
	}
	if (err == -EPERM || err == -EACCES)
		return -LIS_DENIED;
	if (err == -ENOSYS || err == -EINVAL)
		return -LIS_UNSUPPORTED;
	return err ? -LIS_NOMEM : 0;
}

int io_loop_create(const struct io_loop_config *config, struct io_loop **out_loop)
{
	struct io_loop *loop = calloc(1, sizeof(*loop));
	int fd, err;

	if (!loop)
		return -LIS_NOMEM;
	if (config)
		loop->config = *config;
	loop->one_cpu = cpus_of_this_thread() < 2;
	if (loop->one_cpu)
		loop->config.poll_max_ns = 0;
	loop->poll_ns = loop->config.poll_max_ns;
	loop->submit_at = SUBMIT_FIRST;
	strncpy(loop->name, config && config->name ? config->name : "loop", sizeof(loop->name) - 1);
	err = open_uring(loop, loop->config.entries ? loop->config.entries : ENTRIES_DEFAULT);
	if (err)
		goto free_loop;
	fd = eventfd(0, EFD_CLOEXEC);
	if (fd < 0) {
		err = -LIS_NOMEM;
		goto exit_uring;
	}
	loop->wake.fired = wake_fired;
	io_event_start(&loop->wake, loop, fd);
	*out_loop = loop;
	return 0;

exit_uring:
	io_uring_queue_exit(&loop->uring);
free_loop:
	free(loop);
	return err;
}

void io_loop_destroy(struct io_loop *loop)
{
	if (!loop)
		return;
	io_loop_join(loop);
	/* The call may have been made, and all may be over, before its caller has looked whether to wake us. */
	while (atomic_load_explicit(&loop->callers, memory_order_acquire))
		sched_yield();
	io_uring_queue_exit(&loop->uring);
	close(loop->wake.fd);
	free(loop);
}
