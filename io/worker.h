/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What sleeps and cannot be made asynchronous (ioctls, fsync with a rename), on a few threads of its
 * own; its end is a call on the loop it was asked from.
 */
#ifndef OPENLIS_IO_WORKER_H
#define OPENLIS_IO_WORKER_H

#include "io/loop.h"

struct io_workers;

/* Embedded in its owner's struct; stays in place until done. */
struct io_work {
	void (*run)(struct io_work *work);  /* on a worker's thread */
	void (*done)(struct io_work *work); /* on the loop, afterwards; NULL: nobody needs to know */

	/* The rest is the workers'. */
	struct io_loop *loop;
	struct io_call call;
	struct io_work *next;
};

/**
 * io_workers_create() - Make a group of workers, yet without a thread.
 * @name: of its threads, up to 15 characters; copied
 * @thread_max: how much may sleep at once; at least 1
 * @out_workers: set on success only
 *
 * Threads come when there is work for them and stay until the end.
 *
 * Context: any; allocates.
 * Return: 0, -LIS_NOMEM.
 */
int io_workers_create(const char *name, uint32_t thread_max,
		      struct io_workers **out_workers) LIS_MUST_USE;

/** io_workers_destroy() - With no work under way but such without @done, which is waited for. NULL is fine. */
void io_workers_destroy(struct io_workers *workers);

/**
 * io_work_start() - Have @work run.
 * @workers: NULL: at once, by the caller, as where time is simulated
 * @loop: the calling thread's, where it is to be done; NULL with no @workers or no @done only
 * @work: with run and done set
 *
 * It also runs at once where no thread can be had.
 */
void io_work_start(struct io_workers *workers, struct io_loop *loop, struct io_work *work);

#endif
