// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Host end of the heartbeat service.
 *
 * One request is in flight at most. A period that ends with it still there counts as lost; after
 * several of them the request is given up and a new one sent, so that a guest that dropped one
 * packet is not silent for ever.
 */
#include "services/heartbeat_host.h"

#include <stdlib.h>
#include <string.h>

#include "vmbus/os.h"

#define NS_PER_MS 1000000ull
#define PERIOD_NS (HEARTBEAT_PERIOD_MS * NS_PER_MS)
#define GIVE_UP_PERIODS 5u /* [policy] */

static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 } };

struct heartbeat_host {
	struct ic_host ic; /* first: ops get a pointer to it */
	struct io_timer timer;
	bool paused;
	bool held_back; /* the last one did not fit into the ring */
	uint64_t sequence;
	uint64_t last_sign_ns; /* answer, or start of the wait for the first one */
	uint64_t lost;
	uint64_t lost_in_a_row;
	enum heartbeat_application application;
	struct io_call retired;
	struct io_call *destroyed;
};

static struct heartbeat_host *heartbeat_of(struct ic_host *ic)
{
	return (struct heartbeat_host *)ic;
}

static void send_beat(struct heartbeat_host *heartbeat)
{
	struct heartbeat_message message = { .sequence = heartbeat->sequence + 1 };

	int err = ic_host_request(&heartbeat->ic, &message, sizeof(message));

	if (!err)
		heartbeat->sequence++;
	/* A full ring is the guest's silence, too. */
	heartbeat->held_back = err == -LIS_FULL;
}

static void count_lost(struct heartbeat_host *heartbeat)
{
	heartbeat->lost++;
	heartbeat->lost_in_a_row++;
	if (heartbeat->lost_in_a_row == 1)
		os_log(OS_LOG_INFO, "heartbeat: the guest does not answer");
	if (heartbeat->lost_in_a_row % GIVE_UP_PERIODS == 0)
		ic_host_abandon(&heartbeat->ic);
}

static void arm(struct heartbeat_host *heartbeat)
{
	io_timer_set(&heartbeat->timer, heartbeat->ic.loop,
		     io_loop_now_ns(heartbeat->ic.loop) + PERIOD_NS);
}

static void period_over(struct io_timer *timer)
{
	struct heartbeat_host *heartbeat =
		(struct heartbeat_host *)((char *)timer - offsetof(struct heartbeat_host, timer));

	arm(heartbeat);
	if (heartbeat->ic.in_flight || heartbeat->held_back)
		count_lost(heartbeat);
	if (!heartbeat->ic.in_flight)
		send_beat(heartbeat);
}

static void ready(struct ic_host *ic)
{
	struct heartbeat_host *heartbeat = heartbeat_of(ic);

	heartbeat->last_sign_ns = io_loop_now_ns(ic->loop);
	heartbeat->lost_in_a_row = 0;
	heartbeat->held_back = false;
	heartbeat->application = HEARTBEAT_APPLICATION_UNKNOWN;
	if (heartbeat->paused)
		return;
	arm(heartbeat);
	send_beat(heartbeat);
}

static const char *answer(struct ic_host *ic, uint32_t status, const void *message,
			  size_t message_bytes)
{
	struct heartbeat_host *heartbeat = heartbeat_of(ic);
	struct heartbeat_message reply = { 0 };

	if (message_bytes < sizeof(reply.sequence))
		return "heartbeat without a number";
	memcpy(&reply, message, message_bytes < sizeof(reply) ? message_bytes : sizeof(reply));
	if (reply.sequence != heartbeat->sequence + 1)
		return "heartbeat with a wrong number";
	/* The guest's number is the next one: take it over. */
	heartbeat->sequence = reply.sequence;
	heartbeat->last_sign_ns = io_loop_now_ns(ic->loop);
	if (heartbeat->lost_in_a_row)
		os_log(OS_LOG_INFO, "heartbeat: the guest answers again");
	heartbeat->lost_in_a_row = 0;
	if (status == IC_STATUS_OK && reply.application_state <= HEARTBEAT_APPLICATION_STOPPED)
		heartbeat->application = (enum heartbeat_application)reply.application_state;
	return NULL;
}

static void closed(struct ic_host *ic)
{
	struct heartbeat_host *heartbeat = heartbeat_of(ic);

	io_timer_cancel(&heartbeat->timer);
	heartbeat->lost_in_a_row = 0;
}

static const struct ic_host_ops ops = {
	.ready = ready,
	.answer = answer,
	.closed = closed,
};

static const struct ic_host_config config = {
	.name = "heartbeat",
	.interface_id = HEARTBEAT_INTERFACE_ID,
	.instance_id = HEARTBEAT_INSTANCE_ID,
	.type = IC_HEARTBEAT,
	.versions = versions,
	.version_count = sizeof(versions) / sizeof(versions[0]),
	.ops = &ops,
};

int heartbeat_host_create(struct vmbus_host *host, struct io_loop *loop,
			  struct heartbeat_host **out_heartbeat)
{
	struct heartbeat_host *heartbeat = calloc(1, sizeof(*heartbeat));
	int err;

	if (!heartbeat)
		return -LIS_NOMEM;
	heartbeat->timer.expired = period_over;
	err = ic_host_init(&heartbeat->ic, &config, host, loop);
	if (err) {
		free(heartbeat);
		return err;
	}
	*out_heartbeat = heartbeat;
	return 0;
}

static void retired(struct io_call *call)
{
	struct heartbeat_host *heartbeat =
		(struct heartbeat_host *)((char *)call - offsetof(struct heartbeat_host, retired));
	struct io_call *destroyed = heartbeat->destroyed;

	free(heartbeat);
	if (destroyed)
		destroyed->fn(destroyed);
}

void heartbeat_host_destroy(struct heartbeat_host *heartbeat, struct io_call *done)
{
	if (!heartbeat) {
		if (done)
			done->fn(done);
		return;
	}
	heartbeat->destroyed = done;
	heartbeat->retired.fn = retired;
	ic_host_fini(&heartbeat->ic, &heartbeat->retired);
}

void heartbeat_host_pause(struct heartbeat_host *heartbeat)
{
	heartbeat->paused = true;
	io_timer_cancel(&heartbeat->timer);
}

void heartbeat_host_resume(struct heartbeat_host *heartbeat)
{
	if (!heartbeat->paused)
		return;
	heartbeat->paused = false;
	heartbeat->lost_in_a_row = 0;
	heartbeat->last_sign_ns = io_loop_now_ns(heartbeat->ic.loop);
	/* What was in flight when the guest stopped gets its full period again. */
	if (heartbeat->ic.state == IC_HOST_READY)
		arm(heartbeat);
}

static enum heartbeat_state state_of(const struct heartbeat_host *heartbeat)
{
	if (heartbeat->ic.state != IC_HOST_READY)
		return HEARTBEAT_NO_CONTACT;
	if (heartbeat->paused)
		return HEARTBEAT_PAUSED;
	return heartbeat->lost_in_a_row ? HEARTBEAT_LOST : HEARTBEAT_OK;
}

void heartbeat_host_status(const struct heartbeat_host *heartbeat,
			   struct heartbeat_status *out_status)
{
	ic_host_status(&heartbeat->ic, &out_status->ic);
	out_status->state = state_of(heartbeat);
	out_status->sent = heartbeat->ic.counters.requests;
	out_status->answered = heartbeat->ic.counters.answers;
	out_status->lost = heartbeat->lost;
	out_status->silent_ms = 0;
	if (out_status->state == HEARTBEAT_LOST)
		out_status->silent_ms = (io_loop_now_ns(heartbeat->ic.loop) -
					 heartbeat->last_sign_ns) / NS_PER_MS;
	out_status->application = heartbeat->application;
}
