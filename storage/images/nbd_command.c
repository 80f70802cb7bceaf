// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Requests as commands of the NBD protocol. A command has one buffer: large buffers of a request are
 * given as they are, a run of small ones goes through a copy. A request has a few commands under way at
 * a time, whatever its length.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/images/image.h"
#include "storage/images/nbd_internal.h"
#include "vmbus/os.h"

#define COMMANDS_MAX 8u               /* [policy] of one request at a time */
#define DIRECT_BYTES (64u << 10)      /* [policy] from here on copying costs more than a command */
#define COPY_BYTES (1u << 20)         /* [policy] longest copy */
#define RANGE_BYTES (UINT64_C(1) << 30) /* [policy] of one trim; lengths have 32 bits */

static uint8_t zeroes[COPY_BYTES]; /* never written */

struct command {
	struct nbd_link *link;
	struct block_request *request;
	uint64_t bytes;
	uint8_t *copy; /* NULL: the request's own buffer */
	/* Where in the request a copy that was read goes. */
	uint32_t iov_index;
	uint64_t skip_bytes;
	bool giving, ended; /* libnbd is being given it; and has ended it meanwhile */
};

/* ---- buffers ---- */

/* Copies between @data and the request's buffers from a place on. */
static void copy(struct command *command)
{
	const struct iovec *iov = &command->request->iov[command->iov_index];
	uint64_t skip_bytes = command->skip_bytes;
	uint8_t *data = command->copy;

	for (uint64_t left = command->bytes; left; iov++, skip_bytes = 0) {
		uint64_t bytes = iov->iov_len - skip_bytes < left ? iov->iov_len - skip_bytes : left;

		if (command->request->op == BLOCK_READ)
			memcpy((char *)iov->iov_base + skip_bytes, data, bytes);
		else
			memcpy(data, (char *)iov->iov_base + skip_bytes, bytes);
		data += bytes;
		left -= bytes;
	}
}

static void move_along(struct block_request *request, uint64_t bytes)
{
	struct nbd_work *work = nbd_work_of(request);

	work->begun_bytes += bytes;
	bytes += work->skip_bytes;
	while (work->iov_index < request->iov_count && bytes >= request->iov[work->iov_index].iov_len)
		bytes -= request->iov[work->iov_index++].iov_len;
	work->skip_bytes = bytes;
}

/* How much of what comes next lies in one buffer and is worth a command of its own; 0: copy. */
static uint64_t direct_bytes(const struct nbd *nbd, struct block_request *request)
{
	struct nbd_work *work = nbd_work_of(request);
	uint64_t left = request->length_bytes - work->begun_bytes;
	uint64_t bytes = request->iov[work->iov_index].iov_len - work->skip_bytes;

	if (bytes >= left)
		return left;
	return bytes < DIRECT_BYTES ? 0 : bytes - bytes % nbd->abilities.sector_bytes;
}

/* How much to copy: up to the end, or to where a large buffer begins on a sector. */
static uint64_t copied_bytes(const struct nbd *nbd, struct block_request *request)
{
	struct nbd_work *work = nbd_work_of(request);
	uint64_t left = request->length_bytes - work->begun_bytes, bytes = 0;
	uint64_t skip_bytes = work->skip_bytes;

	for (uint32_t i = work->iov_index; i < request->iov_count && bytes < COPY_BYTES; i++, skip_bytes = 0) {
		if (bytes && bytes % nbd->abilities.sector_bytes == 0 && request->iov[i].iov_len >= DIRECT_BYTES)
			break;
		bytes += request->iov[i].iov_len - skip_bytes;
	}
	if (bytes > COPY_BYTES)
		bytes = COPY_BYTES;
	if (bytes < left)
		bytes -= bytes % nbd->abilities.sector_bytes;
	return bytes < left ? bytes : left;
}

/* ---- ends ---- */

static const char *op_name(enum block_op op)
{
	static const char *const names[] = { "reading", "writing", "flushing", "discarding", "zeroing" };

	return names[op];
}

static void take_error(struct command *command, int posix)
{
	struct block_request *request = command->request;
	struct nbd *nbd = command->link->nbd;

	if (posix == ENOTCONN || posix == ESHUTDOWN) {
		nbd_work_of(request)->error = -LIS_GONE;
		return;
	}
	nbd_work_of(request)->error = (int16_t)image_errno(posix);
	if (image_tell_now(&nbd->told, request->op))
		os_log(OS_LOG_ERROR, "%s: %s at byte %llu failed on the server: %s", nbd->device.path,
		       op_name(request->op), (unsigned long long)request->offset_bytes, strerror(posix));
}

static void command_over(struct command *command)
{
	nbd_work_of(command->request)->commands--;
	command->link->commands--;
}

static void command_free(struct command *command)
{
	if (command->copy != zeroes)
		free(command->copy);
	free(command);
}

/* Called by libnbd, under its lock. */
static int command_done(void *user_data, int *posix)
{
	struct command *command = user_data;
	struct block_request *request = command->request;
	struct nbd_link *link = command->link;

	if (*posix && !nbd_work_of(request)->error)
		take_error(command, *posix);
	else if (command->copy && request->op == BLOCK_READ && !*posix)
		copy(command);
	link->heard |= nbd_work_of(request)->error != -LIS_GONE;
	command_over(command);
	if (command->giving)
		command->ended = true; /* count_given() frees it */
	else
		command_free(command);
	nbd_link_attend(link, request);
	return 1;
}

/* ---- commands ---- */

/* What the next command of the request moves, and from or to where. NULL: out of memory. */
static struct command *next_command(struct nbd_link *link, struct block_request *request, void **out_data)
{
	const struct nbd *nbd = link->nbd;
	struct nbd_work *work = nbd_work_of(request);
	struct command *command = calloc(1, sizeof(*command));

	if (!command)
		return NULL;
	command->link = link;
	command->request = request;
	command->iov_index = work->iov_index;
	command->skip_bytes = work->skip_bytes;
	command->bytes = request->length_bytes - work->begun_bytes;
	if (request->op == BLOCK_WRITE_ZEROES && !nbd->abilities.zero) {
		command->copy = zeroes;
		if (command->bytes > COPY_BYTES)
			command->bytes = COPY_BYTES;
		*out_data = zeroes;
	} else if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
		command->bytes = direct_bytes(nbd, request);
		if (command->bytes)
			*out_data = (char *)request->iov[work->iov_index].iov_base + work->skip_bytes;
		else
			command->bytes = copied_bytes(nbd, request);
	} else if (command->bytes > RANGE_BYTES) {
		command->bytes = RANGE_BYTES;
	}
	if (*out_data && command->bytes > nbd->abilities.data_bytes_max)
		command->bytes = nbd->abilities.data_bytes_max;
	return command;
}

/* Gives a run of small buffers its copy. */
static bool add_copy(struct command *command, void **data)
{
	enum block_op op = command->request->op;
	uint64_t most_bytes = command->link->nbd->abilities.data_bytes_max;

	if (*data || (op != BLOCK_READ && op != BLOCK_WRITE))
		return true;
	if (command->bytes > most_bytes)
		command->bytes = most_bytes;
	command->copy = malloc(command->bytes);
	*data = command->copy;
	if (command->copy && op == BLOCK_WRITE)
		copy(command);
	return command->copy;
}

static int64_t give(struct nbd_link *link, struct command *command, void *data)
{
	const struct block_request *request = command->request;
	const struct nbd_abilities *abilities = &link->nbd->abilities;
	uint64_t at = request->offset_bytes + nbd_work_of(command->request)->begun_bytes;
	uint32_t flags = request->flags & BLOCK_WRITE_FUA && abilities->fua ? LIBNBD_CMD_FLAG_FUA : 0;
	nbd_completion_callback done = { .callback = command_done, .user_data = command };

	if (!link->handle)
		return -1;
	switch (request->op) {
	case BLOCK_READ:
		return nbd_aio_pread(link->handle, data, command->bytes, at, done, 0);
	case BLOCK_WRITE:
		return nbd_aio_pwrite(link->handle, data, command->bytes, at, done, flags);
	case BLOCK_DISCARD:
		return nbd_aio_trim(link->handle, command->bytes, at, done, 0);
	case BLOCK_WRITE_ZEROES:
		if (data)
			return nbd_aio_pwrite(link->handle, data, command->bytes, at, done, flags);
		return nbd_aio_zero(link->handle, command->bytes, at, done, flags);
	case BLOCK_FLUSH:
		break;
	}
	return -1;
}

/* It may end before the call that gives it returns, also where that fails. */
static struct command *begin(struct command *command)
{
	command->giving = true;
	nbd_work_of(command->request)->commands++;
	command->link->commands++;
	return command;
}

/* @cookie: what libnbd said; below 0 the connection broke a moment ago. */
static bool count_given(struct command *command, int64_t cookie)
{
	command->giving = false;
	if (cookie < 0 && !command->ended) {
		nbd_work_of(command->request)->error = -LIS_GONE;
		command_over(command);
		command_free(command);
		return false;
	}
	if (command->ended)
		command_free(command);
	return true;
}

/* Returns false where nothing was given; the request has its error then. */
static bool give_next(struct nbd_link *link, struct block_request *request)
{
	void *data = NULL;
	struct command *command = next_command(link, request, &data);
	uint64_t bytes;

	if (!command || !add_copy(command, &data)) {
		free(command);
		nbd_work_of(request)->error = -LIS_NOMEM;
		return false;
	}
	bytes = command->bytes;
	if (!count_given(command, give(link, begin(command), data)))
		return false;
	move_along(request, bytes);
	return true;
}

static bool give_flush(struct nbd_link *link, struct block_request *request)
{
	struct command *command = calloc(1, sizeof(*command));
	nbd_completion_callback done = { .callback = command_done, .user_data = command };

	nbd_work_of(request)->flushing = true;
	if (!command) {
		nbd_work_of(request)->error = -LIS_NOMEM;
		return false;
	}
	command->link = link;
	command->request = request;
	begin(command);
	return count_given(command, link->handle ? nbd_aio_flush(link->handle, done, 0) : -1);
}

/* Is a flush still missing? */
static bool wants_flush(const struct nbd *nbd, const struct block_request *request)
{
	if (!nbd->abilities.flush || nbd_work_of((struct block_request *)request)->flushing)
		return false;
	return request->op == BLOCK_FLUSH ||
	       ((request->flags & BLOCK_WRITE_FUA) && !nbd->abilities.fua && request->op != BLOCK_READ);
}

bool nbd_command_go(struct nbd_link *link, struct block_request *request)
{
	struct nbd_work *work = nbd_work_of(request);

	while (request->op != BLOCK_FLUSH && !work->error && work->begun_bytes < request->length_bytes &&
	       work->commands < COMMANDS_MAX)
		if (!give_next(link, request))
			break;
	if (work->commands)
		return false;
	/* Its last command may have ended while it was given: then it waits for attention, which comes here again. */
	if (work->queued)
		return false;
	if (work->error || !wants_flush(link->nbd, request))
		return true;
	return !give_flush(link, request);
}
