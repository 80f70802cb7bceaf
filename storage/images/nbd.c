// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Disks behind an NBD server as block devices: see nbd.h, and nbd_internal.h for who owns what.
 *
 * A server that comes back has what it had: it answers for writes that it had answered, flushed or not,
 * as a disk does that was not without power. Whether it keeps that promise over a crash of its own machine
 * is its business.
 */
#include "storage/images/nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/error.h"
#include "storage/images/image.h"
#include "storage/images/nbd_internal.h"
#include "storage/images/query.h"
#include "vmbus/os.h"

#define EXTENT_BYTES_MAX (UINT64_C(1) << 30) /* [policy] asked for at a time; lengths have 32 bits */
#define STATE_ZERO 2u /* [nbd proto.md, base:allocation] */

bool nbd_is_uri(const char *path)
{
	return !strncmp(path, "nbd://", 6) || !strncmp(path, "nbds://", 7) || !strncmp(path, "nbd+", 4) ||
	       !strncmp(path, "nbds+", 5);
}

/* ---- requests ---- */

static void take_here(struct io_call *call)
{
	struct block_request *request = (struct block_request *)
		((char *)call - offsetof(struct nbd_work, call) - offsetof(struct block_request, driver_data));

	nbd_link_take(request->driver, request);
}

/* The link for requests of a loop, with one user more. NULL: out of memory. */
static struct nbd_link *link_for(struct nbd *nbd, struct io_loop *loop)
{
	struct nbd_link *link;

	pthread_mutex_lock(&nbd->lock);
	link = nbd->links;
	while (!nbd->loop && link && link->loop && link->loop != loop)
		link = link->next;
	if (!link) {
		link = nbd_link_create(nbd);
		if (!link)
			goto out_unlock;
		link->next = nbd->links->next;
		nbd->links->next = link;
	}
	loop = nbd->loop ? nbd->loop : loop;
	if (link->loop != loop) /* else somebody may be reading it: a link in use keeps its loop */
		link->loop = loop;
	link->users++;
out_unlock:
	pthread_mutex_unlock(&nbd->lock);
	return link;
}

static void nbd_submit(struct block_device *device, struct block_request *request)
{
	struct nbd *nbd = (struct nbd *)device;
	struct nbd_link *link;

	if (request->op == BLOCK_DISCARD && !nbd->abilities.trim) {
		request->done(request, 0);
		return;
	}
	memset(request->driver_data, 0, sizeof(request->driver_data));
	if (request->op != BLOCK_READ && request->op != BLOCK_FLUSH)
		atomic_store_explicit(&nbd->written, true, memory_order_relaxed);
	link = link_for(nbd, request->loop);
	request->driver = link;
	if (!link) {
		request->done(request, -LIS_NOMEM);
	} else if (link->loop == request->loop) {
		nbd_link_take(link, request);
	} else {
		nbd_work_of(request)->call.fn = take_here;
		io_loop_call(link->loop, &nbd_work_of(request)->call);
	}
}

/* ---- questions ---- */

struct question {
	struct nbd *nbd;
	uint64_t offset_bytes, most_bytes;
	struct block_extent extent; /* of no length: not known */
	bool answered, done;
	int result;
};

/* Neighbours that are alike are one. */
static int take_extents(void *user_data, const char *context, uint64_t offset_bytes, uint32_t *entries,
			size_t count, int *posix)
{
	struct question *question = user_data;

	if (question->answered || strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION))
		return 0;
	question->answered = true;
	question->extent.length_bytes = 0;
	for (size_t i = 0; i + 1 < count; i += 2) {
		bool data = !(entries[i + 1] & STATE_ZERO);

		if (i && data != question->extent.data)
			break;
		question->extent.data = data;
		question->extent.length_bytes += entries[i];
	}
	return 0;
}

static int question_done(void *user_data, int *posix)
{
	struct question *question = user_data;

	question->done = true;
	question->result = *posix == ENOTCONN ? -LIS_GONE : *posix ? -LIS_IO : 0;
	return 1;
}

/* A connected link to ask on. NULL: none can be had. */
static struct nbd_link *link_to_ask(struct nbd *nbd)
{
	struct nbd_link *link = nbd->links;
	char why[BLOCK_ERROR_BYTES];

	if (!link->handle && !link->users)
		link->handle = nbd_connect(nbd, why);
	return link->handle ? link : NULL;
}

/* On the link's loop, or while nothing is with it. */
static void ask_extent(void *arg)
{
	struct question *question = arg;
	struct nbd_link *link = link_to_ask(question->nbd);
	nbd_completion_callback done = { .callback = question_done, .user_data = question };
	nbd_extent_callback extents = { .callback = take_extents, .user_data = question };

	question->result = -LIS_GONE;
	if (!link)
		return;
	if (nbd_can_meta_context(link->handle, LIBNBD_CONTEXT_BASE_ALLOCATION) <= 0) {
		question->result = 0;
		return;
	}
	if (nbd_aio_block_status(link->handle, question->most_bytes, question->offset_bytes, extents, done, 0) >= 0)
		(void)!nbd_wait_until(question->nbd, link->handle, &question->done);
	nbd_link_wake(link);
}

static int nbd_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct nbd *nbd = (struct nbd *)device;
	struct question question = { .nbd = nbd, .offset_bytes = offset_bytes };

	question.most_bytes = out_extent->length_bytes < EXTENT_BYTES_MAX ? out_extent->length_bytes :
									    EXTENT_BYTES_MAX;
	if (nbd->loop)
		io_loop_call_wait(nbd->loop, ask_extent, &question);
	else if (!nbd->links->users || io_loop_is_current(nbd->links->loop))
		ask_extent(&question);
	/* Where nothing is known all of it may be data. */
	if (!question.result && question.extent.length_bytes)
		*out_extent = question.extent;
	return question.result ? -LIS_IO : 0;
}

static void nbd_describe(struct block_device *device, struct block_details *out_details)
{
	const struct nbd *nbd = (const struct nbd *)device;

	if (!nbd->abilities.flush && !nbd->abilities.read_only)
		query_add(out_details, false, "the server cannot flush: what it keeps when it stops is its own affair");
}

/* ---- closing ---- */

static int flush_last(struct nbd *nbd)
{
	struct question question = { .result = -LIS_GONE };
	nbd_completion_callback done = { .callback = question_done, .user_data = &question };
	struct nbd_link *link = nbd->links;

	while (link && !link->handle)
		link = link->next;
	if (!link)
		link = link_to_ask(nbd);
	if (link && nbd_aio_flush(link->handle, done, 0) >= 0)
		(void)!nbd_wait_until(nbd, link->handle, &question.done);
	return question.result;
}

static void nbd_free(struct nbd *nbd)
{
	io_loop_destroy(nbd->loop);
	while (nbd->links) {
		struct nbd_link *link = nbd->links;

		nbd->links = link->next;
		nbd_link_destroy(link);
	}
	pthread_mutex_destroy(&nbd->lock);
	free(nbd->device.path);
	free(nbd);
}

static int nbd_close_device(struct block_device *device)
{
	struct nbd *nbd = (struct nbd *)device;
	int result = 0;

	if (nbd->loop)
		io_loop_join(nbd->loop);
	if (atomic_load(&nbd->written) && nbd->abilities.flush)
		result = flush_last(nbd);
	nbd_free(nbd);
	return result;
}

static const struct block_driver nbd_driver = {
	.name = "nbd",
	.submit = nbd_submit,
	.close = nbd_close_device,
	.map = nbd_map,
	.describe = nbd_describe,
};

/* ---- opening ---- */

static void set_geometry(struct nbd *nbd, const struct block_open_options *options)
{
	struct block_geometry *geometry = &nbd->device.geometry;
	const struct nbd_abilities *abilities = &nbd->abilities;

	geometry->size_bytes = abilities->size_bytes;
	geometry->logical_sector_bytes = abilities->sector_bytes;
	geometry->physical_sector_bytes = 4096;
	geometry->buffer_align_bytes = 1;
	geometry->read_only = abilities->read_only || (options && options->read_only);
	geometry->discard_granularity_bytes = abilities->trim && !geometry->read_only ? abilities->trim_bytes : 0;
	image_place_id(nbd->device.path, &geometry->unique_id);
}

static int connect_first(struct nbd *nbd, const struct block_open_options *options, char *error)
{
	char why[BLOCK_ERROR_BYTES] = "";
	int result;

	nbd->links->handle = nbd_connect(nbd, why);
	if (!nbd->links->handle)
		return image_error(error, -LIS_GONE, nbd->device.path, "cannot be reached: %s", why);
	result = nbd_learn(nbd->links->handle, &nbd->abilities, why);
	if (result)
		return image_error(error, result, nbd->device.path, "%s", why);
	if (nbd->abilities.read_only && !(options && options->read_only))
		return image_error(error, -LIS_READONLY, nbd->device.path,
				   "the server lets nobody write to it; open it read-only");
	return 0;
}

static int start_loop(struct nbd *nbd, char *error)
{
	const struct io_loop_config config = { .name = "nbd", .poll_max_ns = IO_LOOP_POLL_NS };
	int result = io_loop_create(&config, &nbd->loop);

	if (!result)
		result = io_loop_start(nbd->loop);
	if (result)
		image_error(error, result, nbd->device.path, "a thread for it cannot be had: %s",
			    lis_error_text(result));
	return result;
}

int nbd_open(const char *uri, const struct block_open_options *options, struct block_device **out_device,
	     char *error)
{
	struct nbd *nbd;
	int result;

	if (options && options->format && strcmp(options->format, "raw"))
		return image_error(error, -LIS_UNSUPPORTED, uri,
				   "what a server exports is raw; other formats are for the server to understand");
	nbd = calloc(1, sizeof(*nbd));
	if (!nbd)
		return image_error(error, -LIS_NOMEM, uri, "out of memory");
	pthread_mutex_init(&nbd->lock, NULL);
	nbd->timeout_ms = options && options->timeout_ms ? options->timeout_ms : NBD_TIMEOUT_MS;
	nbd->device.driver = &nbd_driver;
	nbd->device.path = strdup(uri);
	nbd->links = nbd_link_create(nbd);
	if (!nbd->device.path || !nbd->links) {
		result = image_error(error, -LIS_NOMEM, uri, "out of memory");
		goto out_free;
	}
	result = connect_first(nbd, options, error);
	if (!result && !nbd->abilities.multi_conn)
		result = start_loop(nbd, error);
	if (result)
		goto out_free;
	set_geometry(nbd, options);
	*out_device = &nbd->device;
	return 0;

out_free:
	nbd_free(nbd);
	return result;
}
