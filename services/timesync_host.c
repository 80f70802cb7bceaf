// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Host end of time synchronization.
 *
 * One message is in flight at most. sync_wanted stays set until an order to set the clock was
 * answered, so an order that got lost, by a pause, a full ring or a guest that dropped it, is sent
 * again.
 */
#include "services/timesync_host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmbus/os.h"

#define NS_PER_MS 1000000ull
#define PERIOD_MS TIMESYNC_PERIOD_MS
#define RETRY_MS 100u /* [policy] when the ring is full and an order is due */

static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 }, { 4, 0 } };

struct timesync_host {
	struct ic_host ic; /* first: ops get a pointer to it */
	struct timesync_config config;
	struct io_timer timer;
	bool paused;
	bool sync_wanted;
	bool sync_in_flight; /* what is in flight is an order, and no newer one was wanted since */
	uint64_t syncs, samples, refused, unanswered;
	bool synced;           /* this driver took an order, at last_sync_ns */
	uint64_t last_sync_ns;
	struct io_call retired;
	struct io_call *destroyed;
};

static uint64_t real_utc_100ns(void *clock)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 10000000u + (uint64_t)now.tv_nsec / 100;
}

/* Wall clock and reference counter of one moment: the counter is read on both sides of the clock. */
static void read_clocks(const struct timesync_host *timesync, uint64_t *out_utc_1601_100ns,
			uint64_t *out_reference_100ns)
{
	const struct timesync_config *config = &timesync->config;
	uint64_t before_100ns = config->reference_time_100ns(config->clock);
	uint64_t utc_100ns = config->utc_100ns(config->clock);
	uint64_t after_100ns = config->reference_time_100ns(config->clock);

	*out_utc_1601_100ns = utc_100ns + TIMESYNC_UNIX_EPOCH_100NS;
	*out_reference_100ns = before_100ns + (after_100ns - before_100ns) / 2;
}

static int send_time(struct timesync_host *timesync, uint8_t flags)
{
	uint64_t utc_1601_100ns, reference_100ns;

	read_clocks(timesync, &utc_1601_100ns, &reference_100ns);
	if (ic_version_compare(timesync->ic.version, TIMESYNC_4_0) >= 0) {
		struct timesync_message_4 message = {
			.parent_time_100ns = utc_1601_100ns,
			.vm_reference_time_100ns = reference_100ns,
			.flags = flags,
		};

		return ic_host_request(&timesync->ic, &message, sizeof(message));
	} else {
		struct timesync_message message = {
			.parent_time_100ns = utc_1601_100ns,
			.round_trip_100ns = timesync->ic.counters.round_trip_ns / 100,
			.flags = flags,
		};

		return ic_host_request(&timesync->ic, &message, TIMESYNC_MESSAGE_BYTES);
	}
}

static void arm(struct timesync_host *timesync, uint32_t in_ms)
{
	io_timer_set(&timesync->timer, timesync->ic.loop,
		     io_loop_now_ns(timesync->ic.loop) + in_ms * NS_PER_MS);
}

/* Sends an order if one is wanted, else a sample, unless there is still one in flight. */
static void send_next(struct timesync_host *timesync)
{
	uint8_t flags = timesync->sync_wanted ? TIMESYNC_SYNC : TIMESYNC_SAMPLE;

	if (timesync->paused || timesync->ic.state != IC_HOST_READY)
		return;
	if (timesync->ic.in_flight) {
		arm(timesync, PERIOD_MS);
		return;
	}
	if (send_time(timesync, flags) == 0) {
		timesync->sync_in_flight = timesync->sync_wanted;
		arm(timesync, PERIOD_MS);
	} else {
		arm(timesync, timesync->sync_wanted ? RETRY_MS : PERIOD_MS);
	}
}

static void period_over(struct io_timer *timer)
{
	struct timesync_host *timesync =
		(struct timesync_host *)((char *)timer - offsetof(struct timesync_host, timer));

	if (timesync->ic.in_flight) {
		/* A message that old is of no use; its answer, if it comes, is a stray. */
		timesync->unanswered++;
		ic_host_abandon(&timesync->ic);
	}
	send_next(timesync);
}

static void ready(struct ic_host *ic)
{
	struct timesync_host *timesync = (struct timesync_host *)ic;

	timesync->sync_wanted = true;
	timesync->sync_in_flight = false;
	send_next(timesync);
}

static const char *answer(struct ic_host *ic, uint32_t status, const void *message,
			  size_t message_bytes)
{
	struct timesync_host *timesync = (struct timesync_host *)ic;
	bool was_sync = timesync->sync_in_flight;

	timesync->sync_in_flight = false;
	if (status != IC_STATUS_OK)
		timesync->refused++;
	if (was_sync) {
		timesync->sync_wanted = false;
		if (status == IC_STATUS_OK) {
			timesync->syncs++;
			timesync->synced = true;
			timesync->last_sync_ns = io_loop_now_ns(ic->loop);
		} else {
			os_log(OS_LOG_WARNING, "timesync: the guest refused to set its clock: 0x%08x",
			       status);
		}
	} else {
		timesync->samples += status == IC_STATUS_OK;
	}
	if (timesync->sync_wanted)
		send_next(timesync);
	return NULL;
}

static void closed(struct ic_host *ic)
{
	struct timesync_host *timesync = (struct timesync_host *)ic;

	io_timer_cancel(&timesync->timer);
	timesync->sync_in_flight = false;
	timesync->synced = false;
}

static const struct ic_host_ops ops = {
	.ready = ready,
	.answer = answer,
	.closed = closed,
};

static const struct ic_host_config ic_config = {
	.name = "timesync",
	.interface_id = TIMESYNC_INTERFACE_ID,
	.instance_id = TIMESYNC_INSTANCE_ID,
	.type = IC_TIMESYNC,
	.versions = versions,
	.version_count = sizeof(versions) / sizeof(versions[0]),
	.ops = &ops,
};

int timesync_host_create(struct vmbus_host *host, struct io_loop *loop,
			 const struct timesync_config *config, struct timesync_host **out_timesync)
{
	struct timesync_host *timesync = calloc(1, sizeof(*timesync));
	int err;

	if (!timesync)
		return -LIS_NOMEM;
	timesync->config = *config;
	if (!timesync->config.utc_100ns)
		timesync->config.utc_100ns = real_utc_100ns;
	timesync->timer.expired = period_over;
	err = ic_host_init(&timesync->ic, &ic_config, host, loop);
	if (err) {
		free(timesync);
		return err;
	}
	*out_timesync = timesync;
	return 0;
}

static void retired(struct io_call *call)
{
	struct timesync_host *timesync =
		(struct timesync_host *)((char *)call - offsetof(struct timesync_host, retired));
	struct io_call *destroyed = timesync->destroyed;

	free(timesync);
	if (destroyed)
		destroyed->fn(destroyed);
}

void timesync_host_destroy(struct timesync_host *timesync, struct io_call *done)
{
	if (!timesync) {
		if (done)
			done->fn(done);
		return;
	}
	timesync->destroyed = done;
	timesync->retired.fn = retired;
	ic_host_fini(&timesync->ic, &timesync->retired);
}

void timesync_host_sync(struct timesync_host *timesync)
{
	timesync->sync_wanted = true;
	timesync->sync_in_flight = false; /* an older order does not count any more */
	if (!timesync->ic.in_flight)
		send_next(timesync);
}

void timesync_host_pause(struct timesync_host *timesync)
{
	timesync->paused = true;
	io_timer_cancel(&timesync->timer);
}

void timesync_host_resume(struct timesync_host *timesync)
{
	if (!timesync->paused)
		return;
	timesync->paused = false;
	timesync_host_sync(timesync);
	/* If something is in flight the order follows its answer, or the end of its period. */
	if (timesync->ic.state == IC_HOST_READY && timesync->ic.in_flight)
		arm(timesync, PERIOD_MS);
}

void timesync_host_status(const struct timesync_host *timesync, struct timesync_status *out_status)
{
	ic_host_status(&timesync->ic, &out_status->ic);
	out_status->paused = timesync->paused;
	out_status->sync_pending = timesync->sync_wanted;
	out_status->syncs = timesync->syncs;
	out_status->samples = timesync->samples;
	out_status->refused = timesync->refused;
	out_status->unanswered = timesync->unanswered;
	out_status->since_sync_ms =
		timesync->synced ? (io_loop_now_ns(timesync->ic.loop) - timesync->last_sync_ns) /
					  NS_PER_MS : UINT64_MAX;
}
