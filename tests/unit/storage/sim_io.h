/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Disk I/O for tests of what may go wrong below the image layer. Linked into a test, sim_io.c stands in
 * for io/loop.c: a loop does one operation at a time, at once, in an order that depends on the seed only.
 * It also stands in for the system calls by which images are read and changed, so that everything they
 * do to a file is seen, and can be made to fail.
 *
 * One thread.
 */
#ifndef OPENLIS_TESTS_SIM_IO_H
#define OPENLIS_TESTS_SIM_IO_H

#include <stdbool.h>
#include <stdint.h>

/* Told of what succeeded. Calls made from inside are not reported. */
struct sim_watch {
	/** @written: @data NULL: zeroes; @durable: by RWF_DSYNC */
	void (*written)(int fd, const void *data, uint64_t bytes, uint64_t at, bool durable);
	void (*resized)(int fd, uint64_t bytes);
	/** @flushing: the flush is about to be made */
	void (*flushing)(int fd);
};

/** sim_watch() - From here on; NULL: nobody. */
void sim_watch(const struct sim_watch *watch);

/** sim_seed() - Start the sequence of random numbers anew. sim_pick() - The next one, below @below. */
void sim_seed(uint64_t seed);
uint64_t sim_pick(uint64_t below);

enum sim_kind {
	SIM_READ = 1,
	SIM_WRITE = 2,
	SIM_FLUSH = 4,
	SIM_SPACE = 8, /* fallocate(), ftruncate() */
};

/* Which operations fail. */
struct sim_fault {
	unsigned kinds;             /* sum of enum sim_kind */
	uint64_t skip;              /* so many go well first */
	uint64_t count;             /* then so many fail; 0: all, until the fault is taken away */
	uint64_t from_bytes, to_bytes; /* only those that begin here; both 0: anywhere */
	int posix;                  /* errno; 0: they do only a part, a sector of a longer one at least */
};

/** sim_fault() - One fault from here on; NULL: none. sim_faults_seen() - Operations that failed by it. */
void sim_fault(const struct sim_fault *fault);
uint64_t sim_faults_seen(void);

#endif
