// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Host end of the shutdown service. At most one request is pending; it ends by the guest's answer,
 * by the timer or with the channel, whichever comes first.
 */
#include "services/shutdown_host.h"

#include <stdlib.h>

#define NS_PER_MS 1000000ull
#define GUEST_MAY_TAKE_SECONDS 300u /* [policy] told to the guest; Linux ignores it */

static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 }, { 3, 1 }, { 3, 2 } };

struct shutdown_host {
	struct ic_host ic; /* first: ops get a pointer to it */
	struct io_timer timer;
	struct shutdown_request *pending;
	struct io_call retired;
	struct io_call *destroyed;
};

static void finish(struct shutdown_host *shutdown, enum shutdown_result result, uint32_t status)
{
	struct shutdown_request *request = shutdown->pending;

	io_timer_cancel(&shutdown->timer);
	shutdown->pending = NULL;
	if (request)
		request->done(request, result, status);
}

static void timed_out(struct io_timer *timer)
{
	struct shutdown_host *shutdown =
		(struct shutdown_host *)((char *)timer - offsetof(struct shutdown_host, timer));

	ic_host_abandon(&shutdown->ic);
	finish(shutdown, SHUTDOWN_TIMED_OUT, 0);
}

static void ready(struct ic_host *ic)
{
}

static const char *answer(struct ic_host *ic, uint32_t status, const void *message,
			  size_t message_bytes)
{
	struct shutdown_host *shutdown = (struct shutdown_host *)ic;

	if (status == IC_STATUS_OK)
		finish(shutdown, SHUTDOWN_ACCEPTED, status);
	else if (status == IC_STATUS_NOT_SUPPORTED)
		finish(shutdown, SHUTDOWN_UNSUPPORTED, status);
	else
		finish(shutdown, SHUTDOWN_REFUSED, status);
	return NULL;
}

static void closed(struct ic_host *ic)
{
	finish((struct shutdown_host *)ic, SHUTDOWN_NO_ANSWER, 0);
}

static const struct ic_host_ops ops = {
	.ready = ready,
	.answer = answer,
	.closed = closed,
};

static const struct ic_host_config config = {
	.name = "shutdown",
	.interface_id = SHUTDOWN_INTERFACE_ID,
	.instance_id = SHUTDOWN_INSTANCE_ID,
	.type = IC_SHUTDOWN,
	.versions = versions,
	.version_count = sizeof(versions) / sizeof(versions[0]),
	.ops = &ops,
};

static bool version_has(const struct shutdown_host *shutdown, enum shutdown_kind kind)
{
	struct ic_version version = shutdown->ic.version;

	switch (kind) {
	case SHUTDOWN_POWER_OFF:
		return true;
	case SHUTDOWN_REBOOT:
		return ic_version_compare(version, SHUTDOWN_3_1) >= 0;
	case SHUTDOWN_HIBERNATE_GUEST:
		return ic_version_compare(version, SHUTDOWN_3_2) >= 0;
	}
	return false;
}

static uint32_t flags_of(const struct shutdown_request *request)
{
	uint32_t flags = request->force ? SHUTDOWN_FORCE : 0;

	if (request->kind == SHUTDOWN_REBOOT)
		flags |= SHUTDOWN_RESTART;
	if (request->kind == SHUTDOWN_HIBERNATE_GUEST)
		flags |= SHUTDOWN_HIBERNATE;
	return flags;
}

int shutdown_host_request(struct shutdown_host *shutdown, struct shutdown_request *request)
{
	struct shutdown_message message = {
		.reason = SHUTDOWN_REASON_PLANNED,
		.timeout_seconds = GUEST_MAY_TAKE_SECONDS,
		.flags = flags_of(request),
	};
	uint32_t timeout_ms = request->timeout_ms ? request->timeout_ms : SHUTDOWN_ANSWER_MS;
	int err;

	if (shutdown->ic.state != IC_HOST_READY)
		return -LIS_GONE;
	if (shutdown->pending)
		return -LIS_BUSY;
	if (!version_has(shutdown, request->kind))
		return -LIS_UNSUPPORTED;
	err = ic_host_request(&shutdown->ic, &message, sizeof(message));
	if (err)
		return err;
	shutdown->pending = request;
	io_timer_set(&shutdown->timer, shutdown->ic.loop,
		     io_loop_now_ns(shutdown->ic.loop) + timeout_ms * NS_PER_MS);
	return 0;
}

int shutdown_host_create(struct vmbus_host *host, struct io_loop *loop,
			 struct shutdown_host **out_shutdown)
{
	struct shutdown_host *shutdown = calloc(1, sizeof(*shutdown));
	int err;

	if (!shutdown)
		return -LIS_NOMEM;
	shutdown->timer.expired = timed_out;
	err = ic_host_init(&shutdown->ic, &config, host, loop);
	if (err) {
		free(shutdown);
		return err;
	}
	*out_shutdown = shutdown;
	return 0;
}

static void retired(struct io_call *call)
{
	struct shutdown_host *shutdown =
		(struct shutdown_host *)((char *)call - offsetof(struct shutdown_host, retired));
	struct io_call *destroyed = shutdown->destroyed;

	free(shutdown);
	if (destroyed)
		destroyed->fn(destroyed);
}

void shutdown_host_destroy(struct shutdown_host *shutdown, struct io_call *done)
{
	if (!shutdown) {
		if (done)
			done->fn(done);
		return;
	}
	shutdown->destroyed = done;
	shutdown->retired.fn = retired;
	ic_host_fini(&shutdown->ic, &shutdown->retired);
}

void shutdown_host_status(const struct shutdown_host *shutdown, struct shutdown_status *out_status)
{
	bool is_ready = shutdown->ic.state == IC_HOST_READY;

	ic_host_status(&shutdown->ic, &out_status->ic);
	out_status->pending = shutdown->pending != NULL;
	out_status->reboot_supported = is_ready && version_has(shutdown, SHUTDOWN_REBOOT);
	out_status->hibernate_supported = is_ready && version_has(shutdown, SHUTDOWN_HIBERNATE_GUEST);
}

const char *shutdown_result_text(enum shutdown_result result)
{
	switch (result) {
	case SHUTDOWN_ACCEPTED:
		return "the guest accepted";
	case SHUTDOWN_REFUSED:
		return "the guest refused";
	case SHUTDOWN_UNSUPPORTED:
		return "the guest does not support this";
	case SHUTDOWN_TIMED_OUT:
		return "the guest did not answer in time";
	case SHUTDOWN_NO_ANSWER:
		return "the guest's driver went away before it answered";
	}
	return "unknown result";
}
