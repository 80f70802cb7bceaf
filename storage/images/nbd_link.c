// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A connection to an NBD server on an event loop: turns libnbd's handle when its socket is ready, gives up
 * a server that is silent, and connects again when there is something to do.
 *
 * Connecting blocks now and then (names, TLS), so a thread does it. Requests wait for its end, whatever
 * it is: those that find no server each time fail once for each try, at a pace that slows down.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "storage/images/nbd_internal.h"
#include "vmbus/os.h"

#define RETRY_MIN_MS 100u  /* [policy] */
#define RETRY_MAX_MS 5000u /* [policy] */
#define RESTED_NS UINT64_C(1000000000) /* [policy] */
#define DATA_BYTES_MAX (32u << 20) /* what every server takes [nbd proto.md, maximum payload] */

static void service(struct nbd_link *link);

/* ---- queues ---- */

static void put(struct nbd_queue *queue, struct block_request *request)
{
	request->next = NULL;
	*queue->tail = request;
	queue->tail = &request->next;
}

static struct block_request *take_all(struct nbd_queue *queue)
{
	struct block_request *first = queue->first;

	queue->first = NULL;
	queue->tail = &queue->first;
	return first;
}

/* ---- connecting ---- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The reason without the name of libnbd's function. */
static void take_reason(char *why)
{
	const char *text = nbd_get_error(), *colon = text ? strstr(text, ": ") : NULL;

	if (text && colon && !strncmp(text, "nbd_", 4))
		text = colon + 2;
	strncpy(why, text ? text : "the connection was closed", BLOCK_ERROR_BYTES - 1);
	why[BLOCK_ERROR_BYTES - 1] = 0;
}

/* One turn of the handle. Returns an error, or 0. */
static int turn(struct nbd_handle *handle, uint64_t end_ms, char *why)
{
	uint64_t at_ms = now_ms();

	if (at_ms >= end_ms) {
		strcpy(why, "it does not answer");
		return -LIS_GONE;
	}
	if (nbd_poll(handle, (int)(end_ms - at_ms)) >= 0)
		return 0;
	take_reason(why);
	return -LIS_GONE;
}

struct nbd_handle *nbd_connect(const struct nbd *nbd, char *why)
{
	struct nbd_handle *handle = nbd_create();
	uint64_t end_ms = now_ms() + nbd->timeout_ms;

	if (!handle || nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    nbd_set_uri_allow_local_file(handle, true) < 0 || nbd_set_pread_initialize(handle, false) < 0 ||
	    nbd_aio_connect_uri(handle, nbd->device.path) < 0) {
		take_reason(why);
		goto out_close;
	}
	while (nbd_aio_is_connecting(handle) > 0 || nbd_aio_is_negotiating(handle) > 0)
		if (turn(handle, end_ms, why))
			goto out_close;
	if (nbd_aio_is_ready(handle) > 0)
		return handle;
	take_reason(why);
out_close:
	nbd_close(handle);
	return NULL;
}

int nbd_wait_until(const struct nbd *nbd, struct nbd_handle *handle, const bool *done)
{
	uint64_t end_ms = now_ms() + nbd->timeout_ms;
	char why[BLOCK_ERROR_BYTES];

	while (!*done && now_ms() < end_ms)
		if (turn(handle, end_ms, why))
			break;
	if (*done)
		return 0;
	/* At the end of its connection libnbd ends all commands, this one too. */
	shutdown(nbd_aio_get_fd(handle), SHUT_RDWR);
	while (!*done && nbd_poll(handle, (int)nbd->timeout_ms) > 0)
		;
	return -LIS_GONE;
}

int nbd_learn(struct nbd_handle *handle, struct nbd_abilities *out, char *why)
{
	int64_t size_bytes = nbd_get_size(handle);
	int64_t least_bytes = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
	int64_t best_bytes = nbd_get_block_size(handle, LIBNBD_SIZE_PREFERRED);
	int64_t most_bytes = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);

	*out = (struct nbd_abilities){
		.sector_bytes = least_bytes > 512 ? 4096 : 512,
		.data_bytes_max = most_bytes > 0 && most_bytes < DATA_BYTES_MAX ? (uint32_t)most_bytes :
										   DATA_BYTES_MAX,
		.trim_bytes = best_bytes > 4096 && best_bytes <= 1 << 30 ? (uint32_t)best_bytes : 4096,
		.read_only = nbd_is_read_only(handle) > 0,
		.flush = nbd_can_flush(handle) > 0,
		.fua = nbd_can_fua(handle) > 0,
		.trim = nbd_can_trim(handle) > 0,
		.zero = nbd_can_zero(handle) > 0,
		.multi_conn = nbd_can_multi_conn(handle) > 0,
	};
	if (least_bytes > 4096 || out->data_bytes_max < out->sector_bytes) {
		strcpy(why, "the server takes no requests of 4096 bytes");
		return -LIS_UNSUPPORTED;
	}
	out->data_bytes_max -= out->data_bytes_max % out->sector_bytes;
	out->size_bytes = size_bytes > 0 ? (uint64_t)size_bytes : 0;
	out->size_bytes -= out->size_bytes % out->sector_bytes;
	if (!out->size_bytes) {
		strcpy(why, "it is empty");
		return -LIS_UNSUPPORTED;
	}
	return 0;
}

/* Is this the disk it was, as far as one can tell? */
static bool same_disk(const struct nbd *nbd, struct nbd_handle *handle, char *why)
{
	struct nbd_abilities now;

	if (nbd_learn(handle, &now, why))
		return false;
	if (now.size_bytes == nbd->abilities.size_bytes && now.sector_bytes <= nbd->abilities.sector_bytes &&
	    now.data_bytes_max >= nbd->abilities.data_bytes_max && now.flush >= nbd->abilities.flush &&
	    now.fua >= nbd->abilities.fua && now.trim >= nbd->abilities.trim && now.zero >= nbd->abilities.zero &&
	    (!now.read_only || nbd->device.geometry.read_only))
		return true;
	strcpy(why, "the server has another disk there now, or other abilities");
	return false;
}

static void *connect_thread(void *arg)
{
	struct nbd_link *link = arg;

	link->fresh = nbd_connect(link->nbd, link->why);
	if (link->fresh && !same_disk(link->nbd, link->fresh, link->why)) {
		nbd_close(link->fresh);
		link->fresh = NULL;
	}
	/* Requests wait, so the loop and the link are there. */
	io_loop_call(link->loop, &link->connected);
	return NULL;
}

static void end_all(struct nbd_link *link, struct nbd_queue *queue, int error)
{
	struct block_request *request = take_all(queue);

	while (request) {
		struct block_request *next = request->next;

		nbd_work_of(request)->error = (int16_t)error;
		put(&link->over, request);
		request = next;
	}
}

static void next_retry(struct nbd_link *link)
{
	link->retry_ms = link->retry_ms ? 2 * link->retry_ms : RETRY_MIN_MS;
	if (link->retry_ms > RETRY_MAX_MS)
		link->retry_ms = RETRY_MAX_MS;
}

/* One line for all connections, and one when it is back. */
static void tell_down(struct nbd_link *link)
{
	if (!atomic_exchange(&link->nbd->down, true))
		os_log(OS_LOG_ERROR, "%s: the server is gone (%s); the disk is not ready until it is back",
		       link->nbd->device.path, link->why);
}

static void on_connected(struct io_call *call)
{
	struct nbd_link *link = (struct nbd_link *)((char *)call - offsetof(struct nbd_link, connected));
	struct block_request *request;

	link->connecting = false;
	link->handle = link->fresh;
	link->fresh = NULL;
	if (!link->handle) {
		tell_down(link);
		link->why[0] = 0;
		next_retry(link);
		end_all(link, &link->waiting, -LIS_GONE);
		service(link);
		return;
	}
	if (atomic_exchange(&link->nbd->down, false))
		os_log(OS_LOG_WARNING, "%s: the server is back", link->nbd->device.path);
	request = take_all(&link->waiting);
	while (request) {
		struct block_request *next = request->next;

		nbd_link_attend(link, request);
		request = next;
	}
	service(link);
}

static void connect_now(struct nbd_link *link)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int failed;

	link->connecting = true;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	failed = pthread_create(&thread, &attributes, connect_thread, link);
	pthread_attr_destroy(&attributes);
	if (failed) {
		strcpy(link->why, strerror(failed));
		io_loop_call(link->loop, &link->connected);
	}
}

/* ---- the socket ---- */

static void take_note_of_failure(struct nbd_link *link, int result)
{
	if (result < 0 && !link->why[0])
		take_reason(link->why);
}

static void in_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct nbd_link *link = (struct nbd_link *)((char *)fd - offsetof(struct nbd_link, in));

	if (link->handle && (nbd_aio_get_direction(link->handle) & LIBNBD_AIO_DIRECTION_READ))
		take_note_of_failure(link, nbd_aio_notify_read(link->handle));
	service(link);
}

static void out_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct nbd_link *link = (struct nbd_link *)((char *)fd - offsetof(struct nbd_link, out));

	if (link->handle && (nbd_aio_get_direction(link->handle) & LIBNBD_AIO_DIRECTION_WRITE))
		take_note_of_failure(link, nbd_aio_notify_write(link->handle));
	service(link);
}

static void in_stopped(struct io_call *call)
{
	struct nbd_link *link = (struct nbd_link *)((char *)call - offsetof(struct nbd_link, in_stopped));

	link->in.stopping = false;
	service(link);
}

static void out_stopped(struct io_call *call)
{
	struct nbd_link *link = (struct nbd_link *)((char *)call - offsetof(struct nbd_link, out_stopped));

	link->out.stopping = false;
	service(link);
}

/* Returns true once nobody looks at the socket any more. */
static bool let_go_of_socket(struct nbd_link *link)
{
	if (link->in.polling && !link->in.stopping)
		io_fd_stop(&link->in, &link->in_stopped);
	if (link->out.polling && !link->out.stopping)
		io_fd_stop(&link->out, &link->out_stopped);
	return !link->in.polling && !link->out.polling;
}

static void timer_expired(struct io_timer *timer)
{
	struct nbd_link *link = (struct nbd_link *)((char *)timer - offsetof(struct nbd_link, timer));
	uint64_t end_ns = link->heard_ns + link->nbd->timeout_ms * UINT64_C(1000000);

	if (!link->handle) {
		connect_now(link);
	} else if (io_loop_now_ns(link->loop) < end_ns) {
		io_timer_set(timer, link->loop, end_ns);
	} else {
		/* The socket is readable from here on, at its end: the rest is as if the server had closed it. */
		strcpy(link->why, "it does not answer");
		shutdown(nbd_aio_get_fd(link->handle), SHUT_RDWR);
	}
}

/* ---- the link's work ---- */

static void poll_socket(struct nbd_link *link, struct io_fd *fd, uint32_t poll_events)
{
	if (fd->polling || fd->stopping)
		return;
	/* Another loop or socket than last time, maybe. */
	io_fd_start(fd, link->loop, nbd_aio_get_fd(link->handle));
	io_fd_poll(fd, poll_events);
}

static void watch(struct nbd_link *link)
{
	unsigned direction = nbd_aio_get_direction(link->handle);

	if (direction & LIBNBD_AIO_DIRECTION_READ)
		poll_socket(link, &link->in, POLLIN);
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		poll_socket(link, &link->out, POLLOUT);
	if (!link->timer.due_ns) {
		link->heard_ns = io_loop_now_ns(link->loop);
		io_timer_set(&link->timer, link->loop, link->heard_ns + link->nbd->timeout_ms * UINT64_C(1000000));
	}
}

static void attend_all(struct nbd_link *link)
{
	struct block_request *request;

	while ((request = take_all(&link->attention))) {
		while (request) {
			struct block_request *next = request->next;

			nbd_work_of(request)->queued = false;
			if (nbd_command_go(link, request))
				put(&link->over, request);
			request = next;
		}
	}
}

/* libnbd has ended all commands of a dead handle already. */
static void drop_dead_handle(struct nbd_link *link)
{
	if (!link->handle || (nbd_aio_is_dead(link->handle) <= 0 && nbd_aio_is_closed(link->handle) <= 0))
		return;
	if (!link->why[0])
		strcpy(link->why, "it closed the connection");
	nbd_close(link->handle);
	link->handle = NULL;
	io_timer_cancel(&link->timer);
	tell_down(link);
	link->why[0] = 0;
	next_retry(link);
}

static void done_here(struct io_call *call)
{
	struct block_request *request = (struct block_request *)
		((char *)call - offsetof(struct nbd_work, call) - offsetof(struct block_request, driver_data));

	request->done(request, nbd_work_of(request)->error);
}

/* Last of all: with the last user gone the link may be anybody's, or be freed. */
static void tell_over(struct nbd_link *link)
{
	struct block_request *request = take_all(&link->over);
	struct io_loop *loop = link->loop;
	struct nbd *nbd = link->nbd;
	uint64_t count = 0;

	for (struct block_request *each = request; each; each = each->next)
		count++;
	if (!count)
		return;
	pthread_mutex_lock(&nbd->lock);
	link->users -= count;
	pthread_mutex_unlock(&nbd->lock);
	while (request) {
		struct block_request *next = request->next;

		if (request->loop == loop) {
			request->done(request, nbd_work_of(request)->error);
		} else {
			nbd_work_of(request)->call.fn = done_here;
			io_loop_call(request->loop, &nbd_work_of(request)->call);
		}
		request = next;
	}
}

/* Whatever happened: go on from here. */
static void service(struct nbd_link *link)
{
	attend_all(link);
	if (link->heard) {
		link->heard = false;
		link->heard_ns = io_loop_now_ns(link->loop);
		link->retry_ms = 0;
	}
	drop_dead_handle(link);
	if (link->handle && link->commands) {
		watch(link);
	} else if (!let_go_of_socket(link) || link->woken) {
		return; /* comes here again */
	} else if (link->handle) {
		io_timer_cancel(&link->timer);
	} else if (link->waiting.first && !link->connecting && !link->timer.due_ns) {
		if (link->retry_ms)
			io_timer_set(&link->timer, link->loop,
				     io_loop_now_ns(link->loop) + link->retry_ms * UINT64_C(1000000));
		else
			connect_now(link);
	}
	tell_over(link);
}

void nbd_link_attend(struct nbd_link *link, struct block_request *request)
{
	if (nbd_work_of(request)->queued)
		return;
	nbd_work_of(request)->queued = true;
	put(&link->attention, request);
}

static void woken(struct io_call *call)
{
	struct nbd_link *link = (struct nbd_link *)((char *)call - offsetof(struct nbd_link, wake));

	link->woken = false;
	service(link);
}

void nbd_link_wake(struct nbd_link *link)
{
	if (!link->users || link->woken)
		return;
	link->woken = true;
	io_loop_call(link->loop, &link->wake);
}

void nbd_link_take(struct nbd_link *link, struct block_request *request)
{
	/* Nobody has looked at the socket since it had nothing to do; the server may be long gone. */
	if (link->handle && !link->commands && io_loop_now_ns(link->loop) - link->heard_ns > RESTED_NS)
		take_note_of_failure(link, nbd_poll(link->handle, 0));
	if (!link->commands)
		drop_dead_handle(link);
	if (link->handle)
		nbd_link_attend(link, request);
	else
		put(&link->waiting, request);
	service(link);
}

/* ---- life ---- */

struct nbd_link *nbd_link_create(struct nbd *nbd)
{
	struct nbd_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->nbd = nbd;
	link->waiting.tail = &link->waiting.first;
	link->attention.tail = &link->attention.first;
	link->over.tail = &link->over.first;
	link->in.ready = in_ready;
	link->out.ready = out_ready;
	link->in_stopped.fn = in_stopped;
	link->out_stopped.fn = out_stopped;
	link->timer.expired = timer_expired;
	link->wake.fn = woken;
	link->connected.fn = on_connected;
	return link;
}

void nbd_link_destroy(struct nbd_link *link)
{
	/* Told to go; if it does not hear that, it sees the connection close. */
	if (link->handle)
		nbd_aio_disconnect(link->handle, 0);
	nbd_close(link->handle);
	free(link);
}
