// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Merges what is behind a live device into its parent: see live_merge.h.
 *
 * The parent is opened for writing, in place of the one the child reads from. Then a worker copies what
 * the child has, while the guest goes on on the child. What it writes meanwhile is marked when it ends,
 * and copied again, until little is marked; if that does not get less, with the drive throttled, so that for
 * each two regions that are copied one can be marked. The rest is copied with the drive drained. Then the drive
 * goes on on the parent, but nobody gets anything durable there until all of it is, and the child is removed:
 * before, the child hides what is newer in the parent.
 *
 * The child keeps all sectors that it has, so what is written to the parent does not show. A VHDX parent gets
 * another identity before it is written, so that other children of it know; this child knows that one,
 * too (block_prepare_merge()).
 *
 * Each step begins the next one, on the owner's loop but for what the worker does. All is the loop's but
 * what is atomic, and what a worker is busy with.
 */
#include "storage/live_merge.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/merge.h"
#include "vmbus/os.h"

#define LAST_BYTES (UINT64_C(2) << 20) /* [policy] copied while the guest waits; or one region */
#define SLOW_PASSES 4                  /* [policy] more that leave hardly less than the one before: throttle */
#define THROTTLED_BYTES (UINT64_C(32) << 20) /* [policy] copied then before they are flushed, for which changes wait */

struct live_merge {
	struct live_merge_config config;
	struct block_device *child, *parent; /* open for writing, from prepared() on */
	struct block_device *old_parent;     /* in whose place that is; NULL: it was open for writing */
	struct regions *regions;
	struct io_call call;
	struct io_work work;
	struct block_request flush;
	struct block_device *flushed;
	void (*then)(struct live_merge *merge);
	_Atomic bool canceled;
	_Atomic uint64_t done_bytes;
	/* The worker's, while it copies. */
	bool copied_once, throttled;
	int slow;               /* passes that left hardly less than the one before */
	uint64_t allowed_bytes; /* for so much copied were changes let through */
	int result;
	char *child_path;
	char error[BLOCK_ERROR_BYTES];
};

/* ---- steps ---- */

static void called(struct io_call *call)
{
	struct live_merge *merge = (struct live_merge *)((char *)call - offsetof(struct live_merge, call));

	merge->then(merge);
}

static struct io_call *then(struct live_merge *merge, void (*fn)(struct live_merge *merge))
{
	merge->then = fn;
	merge->call.fn = called;
	return &merge->call;
}

static struct live_merge *merge_of(struct io_work *work)
{
	return (struct live_merge *)((char *)work - offsetof(struct live_merge, work));
}

static void work_done(struct io_work *work)
{
	struct live_merge *merge = merge_of(work);

	merge->then(merge);
}

static void work(struct live_merge *merge, void (*run)(struct io_work *work), void (*fn)(struct live_merge *merge))
{
	merge->then = fn;
	merge->work = (struct io_work){ .run = run, .done = work_done };
	io_work_start(merge->config.workers, merge->config.loop, &merge->work);
}

/* The first failure counts. */
__attribute__((format(printf, 3, 4)))
static void failed(struct live_merge *merge, int result, const char *format, ...)
{
	va_list arguments;

	if (!result || merge->result)
		return;
	merge->result = result;
	va_start(arguments, format);
	vsnprintf(merge->error, sizeof(merge->error), format, arguments);
	va_end(arguments);
}

static void flushed(struct block_request *request, int result)
{
	struct live_merge *merge = (struct live_merge *)((char *)request - offsetof(struct live_merge, flush));

	if (result)
		failed(merge, result, "%s: writing failed: %s", merge->flushed->path, lis_error_text(result));
	merge->then(merge);
}

static void flush(struct live_merge *merge, struct block_device *device, void (*fn)(struct live_merge *merge))
{
	merge->then = fn;
	merge->flushed = device;
	merge->flush = (struct block_request){ .op = BLOCK_FLUSH, .flags = BLOCK_FLUSH_IDENTITY, .done = flushed };
	block_submit(device, merge->config.loop, &merge->flush);
}

/* ---- the end ---- */

static void ended(struct live_merge *merge)
{
	merge->config.done(merge->config.context);
}

static void end(struct live_merge *merge)
{
	live_track(merge->config.live, NULL, then(merge, ended));
}

static void remove_child_run(struct io_work *work)
{
	struct live_merge *merge = merge_of(work);

	if (!merge->result && unlink(merge->child_path) < 0)
		failed(merge, lis_error_from_errno(errno), "%s: is merged, but cannot be removed: %s",
		       merge->child_path, strerror(errno));
	if (!merge->result)
		block_sync_name(merge->child_path);
	/* Nothing of it is needed any more. */
	(void)block_close(merge->child);
}

static void child_removed(struct live_merge *merge)
{
	live_release(merge->config.live, then(merge, end));
}

static void parent_flushed(struct live_merge *merge)
{
	work(merge, remove_child_run, child_removed);
}

/* On the parent, or, after a failure, still on the child. */
static void last_resumed(struct live_merge *merge)
{
	if (live_behind(merge->config.live) == merge->child)
		end(merge);
	else
		flush(merge, merge->parent, parent_flushed);
}

static void last_copied(struct live_merge *merge)
{
	bool over = !merge->result;

	if (over)
		(void)block_detach(merge->child);
	live_resume(merge->config.live, over ? merge->parent : merge->child, over, then(merge, last_resumed));
}

/* ---- copying ---- */

static bool goes_on(void *context, uint64_t done_bytes)
{
	struct live_merge *merge = context;

	if (!merge->copied_once)
		atomic_store(&merge->done_bytes, done_bytes);
	if (merge->throttled) {
		live_allow(merge->config.live, (done_bytes - merge->allowed_bytes) / 2);
		merge->allowed_bytes = done_bytes;
	}
	if (merge->config.goes_on)
		merge->config.goes_on(merge->config.context);
	return !atomic_load(&merge->canceled);
}

/* All that the child has, or what is marked. */
static void copy(struct live_merge *merge, struct regions *only, bool last)
{
	struct merge_copy copy = {
		.child = merge->child, .base = merge->parent, .only = only,
		.take_bytes = merge->throttled && !last ? THROTTLED_BYTES : 0,
		.goes_on = last ? NULL : goes_on, .context = merge,
	};
	int result;

	merge->allowed_bytes = 0;
	result = merge_copy(&copy);

	if (result == -LIS_CANCELED)
		failed(merge, result, "%s: merging was canceled; it can be run again", merge->child_path);
	else
		failed(merge, result, "%s: merging stopped: %s; it can be run again",
		       copy.failed_path ? copy.failed_path : merge->child_path, lis_error_text(result));
}

static bool is_little(const struct live_merge *merge)
{
	uint64_t bytes = regions_marked_bytes(merge->regions);
	uint64_t size_bytes = merge->child->geometry.size_bytes;

	/* A single region of a huge disk may be more than that. */
	return bytes <= LAST_BYTES || bytes <= size_bytes >> 22;
}

static void copy_all(struct live_merge *merge)
{
	copy(merge, NULL, false);
	merge->copied_once = true;
	if (!merge->result)
		atomic_store(&merge->done_bytes, merge->child->geometry.size_bytes);
}

/*
 * Pass after pass, until little is left. What each leaves is what was written while it was made, and as long
 * as that is less each time it comes to an end.
 */
static void copy_run(struct io_work *work)
{
	struct live_merge *merge = merge_of(work);

	if (!merge->copied_once)
		copy_all(merge);
	while (!merge->result && !is_little(merge) && merge->slow <= SLOW_PASSES) {
		uint64_t before_bytes = regions_marked_bytes(merge->regions);

		copy(merge, merge->regions, false);
		merge->slow += regions_marked_bytes(merge->regions) > before_bytes / 4 * 3;
	}
}

static void throttled_run(struct io_work *work)
{
	struct live_merge *merge = merge_of(work);

	copy(merge, merge->regions, false);
}

static void last_run(struct io_work *work)
{
	struct live_merge *merge = merge_of(work);

	copy(merge, merge->regions, true);
}

static void drained(struct live_merge *merge)
{
	work(merge, last_run, last_copied);
}

static void copied(struct live_merge *merge);

static void throttled(struct live_merge *merge)
{
	merge->throttled = true;
	work(merge, throttled_run, copied);
}

static void throttle(struct live_merge *merge)
{
	os_log(OS_LOG_INFO, "%s: the guest writes faster than it can be merged; it has to wait", merge->child_path);
	live_throttle(merge->config.live, then(merge, throttled));
}

/* Much may have been written while it was flushed. */
static void copied_is_durable(struct live_merge *merge)
{
	if (merge->result)
		end(merge);
	else if (is_little(merge))
		live_drain(merge->config.live, then(merge, drained));
	else if (merge->throttled)
		work(merge, throttled_run, copied);
	else if (++merge->slow <= SLOW_PASSES)
		work(merge, copy_run, copied);
	else
		throttle(merge);
}

/* So that little is left to be flushed when the guest's flushes wait for it. */
static void copied(struct live_merge *merge)
{
	if (merge->result)
		end(merge);
	else
		flush(merge, merge->parent, copied_is_durable);
}

static void tracked(struct live_merge *merge)
{
	work(merge, copy_run, copied);
}

/* ---- getting the parent for writing ---- */

static void parent_ready(struct live_merge *merge)
{
	if (merge->result)
		end(merge);
	else
		live_track(merge->config.live, merge->regions, then(merge, tracked));
}

/* It has its new identity before anything is written to it. */
static void begin_parent(struct live_merge *merge)
{
	flush(merge, merge->parent, parent_ready);
}

static void close_old_run(struct io_work *work)
{
	(void)block_close(merge_of(work)->old_parent); /* read-only: nothing can be lost */
}

static void exchanged(struct live_merge *merge)
{
	work(merge, close_old_run, begin_parent);
}

/* Nothing uses the child, nor what is below it. */
static void drained_for_parent(struct live_merge *merge)
{
	merge->child->parent = merge->parent;
	(void)block_detach(merge->old_parent);
	block_begin_merge(merge->child);
	live_resume(merge->config.live, merge->child, false, then(merge, exchanged));
}

static void prepared(struct live_merge *merge)
{
	if (merge->result) {
		end(merge);
	} else if (merge->old_parent) {
		live_drain(merge->config.live, then(merge, drained_for_parent));
	} else {
		block_begin_merge(merge->child);
		begin_parent(merge);
	}
}

static void prepare_run(struct io_work *work)
{
	struct live_merge *merge = merge_of(work);
	struct block_device *parent = merge->child->parent;
	struct block_open_options options = {
		.format = parent->driver->name, .direct = merge->config.direct,
		.parent = parent->parent, .instead = parent,
	};

	merge->result = block_prepare_merge(merge->child, merge->error);
	merge->parent = parent;
	if (merge->result || !parent->geometry.read_only)
		return;
	merge->result = block_open(parent->path, &options, &merge->parent, merge->error);
	if (!merge->result)
		merge->old_parent = parent;
}

static void begun(struct live_merge *merge)
{
	if (merge->result)
		end(merge);
	else
		work(merge, prepare_run, prepared);
}

static void settled(struct live_merge *merge)
{
	int result = live_settle_result(merge->config.live);

	failed(merge, result, "%s: writing failed: %s", merge->child->parent->path, lis_error_text(result));
	if (result)
		end(merge);
	else
		flush(merge, merge->child, begun);
}

/* ---- life ---- */

int live_merge_start(const struct live_merge_config *config, struct live_merge **out_merge)
{
	struct live_merge *merge = calloc(1, sizeof(*merge));
	struct block_device *child = live_behind(config->live);

	if (merge)
		merge->child_path = strdup(child->path);
	if (!merge || !merge->child_path || regions_create(child->geometry.size_bytes, &merge->regions)) {
		live_merge_destroy(merge);
		return -LIS_NOMEM;
	}
	merge->config = *config;
	merge->child = child;
	*out_merge = merge;
	live_settle(config->live, then(merge, settled));
	return 0;
}

void live_merge_cancel(struct live_merge *merge)
{
	atomic_store(&merge->canceled, true);
}

void live_merge_progress(const struct live_merge *merge, uint64_t *out_done_bytes, uint64_t *out_all_bytes)
{
	*out_done_bytes = atomic_load(&merge->done_bytes);
	*out_all_bytes = live_device(merge->config.live)->geometry.size_bytes;
}

int live_merge_result(const struct live_merge *merge, const char **out_error)
{
	*out_error = merge->error;
	return merge->result;
}

void live_merge_destroy(struct live_merge *merge)
{
	if (!merge)
		return;
	regions_destroy(merge->regions);
	free(merge->child_path);
	free(merge);
}
