/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Merges a differencing image that is in use behind a live device into its parent, and has the live
 * device go on on that: what a checkpoint has put in between goes again.
 *
 * At any instant, also after a crash, the child over its parent reads as it did, with all that was
 * flushed, until it is removed; and it is removed before anything is flushed that it does not have.
 *
 * It comes to an end whatever the guest does: one that changes more than can be copied in the same time has its
 * changes wait, so that it changes half as much.
 */
#ifndef OPENLIS_STORAGE_LIVE_MERGE_H
#define OPENLIS_STORAGE_LIVE_MERGE_H

#include "io/worker.h"
#include "storage/live.h"

struct live_merge;

struct live_merge_config {
	struct live *live;          /* behind it is a differencing image, open for writing; nothing else changes it */
	struct io_loop *loop;       /* its owner's */
	struct io_workers *workers; /* one of them is busy with it; NULL: none, as where time is simulated */
	bool direct;                /* the parent is opened with O_DIRECT, as block_open_options.direct */
	/** @done: on the loop, when it has ended one way or other; live_merge_result() tells how */
	void (*done)(void *context);
	/** @goes_on: optional; called by the worker now and then */
	void (*goes_on)(void *context);
	void *context;
};

/**
 * live_merge_start() - Begin.
 * @config: copied
 * @out_merge: set on success only; may be looked at when this has returned
 *
 * Return: 0, -LIS_NOMEM.
 */
int live_merge_start(const struct live_merge_config *config, struct live_merge **out_merge) LIS_MUST_USE;

/** live_merge_cancel() - End soon, on the child, if it is not on the parent yet. Context: any thread. */
void live_merge_cancel(struct live_merge *merge);

/** live_merge_progress() - The child is copied up to @out_done_bytes. Context: any thread. */
void live_merge_progress(const struct live_merge *merge, uint64_t *out_done_bytes, uint64_t *out_all_bytes);

/**
 * live_merge_result() - When it is done.
 * @out_error: a line for the user where it is not 0; @merge's
 *
 * What is behind the live device says whether it is on the parent. If it is, and this is not 0, then the
 * child may still be there, and must not be used: it hides what was written since.
 *
 * Return: 0, -LIS_CANCELED, -LIS_BUSY (another uses the parent), -LIS_UNSUPPORTED, or as block_open() and
 * block_done.
 */
int live_merge_result(const struct live_merge *merge, const char **out_error);

/** live_merge_destroy() - When it is done. NULL is fine. */
void live_merge_destroy(struct live_merge *merge);

#endif
