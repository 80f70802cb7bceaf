/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One thread's loop over one io_uring: disk I/O, eventfds, file descriptors, timers and calls from
 * other threads all end as a function called here. What a loop owns needs no lock.
 *
 * Pollers make it quick: while they find work, or for a bounded, adaptive time after they last did,
 * the loop spins instead of sleeping (a wake-up across CPUs costs more than the work it announces).
 *
 * Everything is embedded in its owner's struct; the loop allocates nothing after creation. All
 * functions are for the loop's own thread (or before it runs) unless they say otherwise.
 */
#ifndef OPENLIS_IO_LOOP_H
#define OPENLIS_IO_LOOP_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmbus/error.h"

struct io_loop;

/* One operation in the ring; @done is called once for each submission, with the kernel's result. */
struct io_op {
	void (*done)(struct io_op *op, int32_t result);
};

/* A call from another thread; the same call must not be queued twice before it ran. */
struct io_call {
	void (*fn)(struct io_call *call);
	struct io_call *next;
};

/* A watched eventfd; @fired has the count read from it. Owned and closed by the user. */
struct io_event {
	struct io_op op;
	void (*fired)(struct io_event *event, uint64_t count);
	struct io_loop *loop;
	int fd;
	uint64_t count;
	bool reading, stopping;
	struct io_call *stopped;
};

/* A watched file descriptor (socket, terminal); @ready has poll(2)'s bits. One shot: rearm by io_fd_poll(). */
struct io_fd {
	struct io_op op;
	void (*ready)(struct io_fd *fd, uint32_t poll_events);
	struct io_loop *loop;
	int fd;
	bool polling, stopping;
	struct io_call *stopped;
};

/* A one-shot timer on CLOCK_MONOTONIC. */
struct io_timer {
	void (*expired)(struct io_timer *timer);
	struct io_loop *loop;
	uint64_t due_ns;      /* 0: not set */
	struct io_timer *next;
};

/* Something to look at while the loop is awake. */
struct io_poller {
	/** @poll: do what is there; how many requests (packets, frames, answers) that was, 0: nothing. */
	uint32_t (*poll)(struct io_poller *poller);
	/** @sleep: ask for wake-ups again (unmask, then look once more); not 0: there is or was work, do not sleep. */
	uint32_t (*sleep)(struct io_poller *poller);
	/** @wake: the loop is awake, wake-ups are not needed (mask). */
	void (*wake)(struct io_poller *poller);
	struct io_poller *next;
	bool asleep;
};

struct io_loop_config {
	const char *name;          /* of the thread, up to 15 characters */
	uint32_t entries;          /* submissions in one go, 0: 256 */
	uint32_t poll_max_ns;      /* longest spin after the last work; 0: never spin */
	uint64_t (*now_ns)(void *clock); /* NULL: CLOCK_MONOTONIC; else simulated, loop never sleeps for timers */
	void *clock;
};

/* Longest spin that pays on machines of today: a wake-up across CPUs is 35-66 us. [policy] */
#define IO_LOOP_POLL_NS 50000u

struct io_loop_stats {
	uint64_t turns, sleeps;
};

/**
 * io_loop_create() - Make a loop.
 * @config: copied; NULL for all defaults without polling
 * @out_loop: set on success only
 *
 * On a machine where this thread may use one CPU only, poll_max_ns counts as 0: spinning would keep
 * the peer from running. Nor does the loop's own thread take the CPU from whoever wakes it, as long as many
 * requests come together by then.
 *
 * Return: 0, -LIS_NOMEM, -LIS_DENIED (io_uring is switched off on this machine), -LIS_UNSUPPORTED.
 */
int io_loop_create(const struct io_loop_config *config, struct io_loop **out_loop) LIS_MUST_USE;

/**
 * io_loop_destroy() - Free a loop that is not running (joined). NULL is fine. Whoever has seen the effect of a call
 * may do so: it waits for the caller to be out of io_loop_call().
 */
void io_loop_destroy(struct io_loop *loop);

/** io_loop_run() - Run on the calling thread until io_loop_stop(). */
void io_loop_run(struct io_loop *loop);

/**
 * io_loop_turn() - One turn: everything that is there now; for tests and for loops inside loops.
 * @wait: sleep until there is something, if there is nothing
 * Return: true if anything was done.
 */
bool io_loop_turn(struct io_loop *loop, bool wait);

/** io_loop_stop() - Make io_loop_run() return after the current turn. Any thread. */
void io_loop_stop(struct io_loop *loop);

/** io_loop_start() - Run the loop on a thread of its own. Return: 0, -LIS_NOMEM. */
int io_loop_start(struct io_loop *loop) LIS_MUST_USE;

/** io_loop_join() - Stop a started loop and wait for its thread. Not from the loop itself. */
void io_loop_join(struct io_loop *loop);

/** io_loop_is_current() - Is this the thread that runs the loop (or nobody does yet)? Any thread. */
bool io_loop_is_current(const struct io_loop *loop);

/** io_loop_has_one_cpu() - Was there but one CPU for the thread that made it? Any thread. */
bool io_loop_has_one_cpu(const struct io_loop *loop);

/** io_loop_now_ns() - The loop's clock, read now. */
uint64_t io_loop_now_ns(const struct io_loop *loop);

struct io_loop_stats io_loop_stats(const struct io_loop *loop);

/** io_loop_call() - Have call->fn(call) run on the loop, in order. Any thread, any time before destroy. */
void io_loop_call(struct io_loop *loop, struct io_call *call);

/**
 * io_loop_call_wait() - Run a function on the loop and wait for its end. Any thread but the loop's own
 * waits; on the loop's own thread, or while nobody runs the loop, it is called directly.
 */
void io_loop_call_wait(struct io_loop *loop, void (*fn)(void *arg), void *arg);

/**
 * io_loop_sqe() - A free submission for @op; submitted when the loop has nothing better to do.
 * Return: never NULL (a full queue is submitted first). The caller fills it by io_uring_prep_*();
 * user data is set already and must not be changed after.
 */
struct io_uring_sqe *io_loop_sqe(struct io_loop *loop, struct io_op *op);

/** io_event_start() - Watch an eventfd: @event with @fired set, @fd non-blocking or not. */
void io_event_start(struct io_event *event, struct io_loop *loop, int fd);

/**
 * io_event_stop() - Stop watching.
 * @stopped: called on the loop when the kernel has let go of @event and it may be freed
 */
void io_event_stop(struct io_event *event, struct io_call *stopped);

/** io_fd_start() - Bind to a descriptor (no poll yet). io_fd_poll() - wait once for POLLIN/POLLOUT. */
void io_fd_start(struct io_fd *fd, struct io_loop *loop, int descriptor);
void io_fd_poll(struct io_fd *fd, uint32_t poll_events);
/** io_fd_stop() - As io_event_stop(); does not close. */
void io_fd_stop(struct io_fd *fd, struct io_call *stopped);

/** io_timer_set() - (Re)arm: expires once at @due_ns of the loop's clock. */
void io_timer_set(struct io_timer *timer, struct io_loop *loop, uint64_t due_ns);
/** io_timer_cancel() - Disarm; fine when not set. */
void io_timer_cancel(struct io_timer *timer);

void io_poller_add(struct io_loop *loop, struct io_poller *poller);
/** io_poller_remove() - From the loop's own thread, also from inside a poller's own functions. */
void io_poller_remove(struct io_loop *loop, struct io_poller *poller);

#endif
