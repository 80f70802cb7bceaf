/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What benchmarks of both ends over the loopback partition have in common: the guest is the calling
 * thread on CPU 0, the host a loop on CPU 1. Whatever goes wrong ends the program with a line.
 */
#ifndef OPENLIS_BENCH_PAIR_H
#define OPENLIS_BENCH_PAIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "io/loop.h"
#include "tests/loopback/mini_guest.h"
#include "vmbus/host.h"

#define BENCH_RING_PAGES 33u /* 128 KiB of data, as Linux has */

struct bench_pair {
	struct io_loop *loop;
	struct partition *partition;
	struct vmbus_host *bus;
	struct mini_guest guest; /* connected once bench_pair_connect() was called */
	void (*destroy)(struct bench_pair *pair, struct io_call *destroyed);
	struct io_call destroyed;
	atomic_bool gone;
	uint64_t cpu_ns; /* result of read_cpu() */
};

/** bench_must() - End the program unless @err is 0. */
void bench_must(const char *what, int err);

uint64_t bench_clock_ns(clockid_t id);

static inline uint64_t bench_now_ns(void)
{
	return bench_clock_ns(CLOCK_MONOTONIC);
}

/** bench_pin() - The calling thread stays on a CPU; bench_unpin() - or on none of the two. */
void bench_pin(int cpu);
void bench_unpin(void);

/** bench_median() - Sorts @values. */
double bench_median(double *values, unsigned count);

/** bench_pair_begin() - A bus on a loop of its own, without devices. @name: of the loop */
void bench_pair_begin(struct bench_pair *pair, const char *name);

/** bench_pair_connect() - The guest finds what is offered by now. */
void bench_pair_connect(struct bench_pair *pair);

/** bench_pair_cpu_ns() - CPU time the host's thread has used. */
uint64_t bench_pair_cpu_ns(struct bench_pair *pair);

/**
 * bench_pair_end() - Take all apart.
 * @destroy: called on the loop; destroys the device and has @destroyed called when it is gone
 */
void bench_pair_end(struct bench_pair *pair,
		    void (*destroy)(struct bench_pair *pair, struct io_call *destroyed));

#endif
