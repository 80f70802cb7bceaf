// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A block device that can be changed under whoever uses it: see live.h.
 *
 * Each loop has a gate of its own, which only its thread touches: it counts what is under way on this
 * loop, knows the device, and keeps what waits. So requests cost no lock, no atomic operation and no
 * memory. The owner sends calls to the loops to close the gates and to open them; each answers when it is
 * done, and the last to answer tells the owner. Only asking where data is takes a lock, on any thread.
 *
 * A gate has two lanes. What was under way when the gates were stopped stays on the lane, and the device,
 * it came by, and the other lane is used from then on; live_settle() waits until the first is empty.
 *
 * A gate that is throttled lets changes pass while it has room, which live_allow() gives to those where any wait:
 * wants_room is set with the first that waits, and whoever clears it calls the gate, so that there is one call
 * under way at most.
 */
#include "storage/live.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#define CACHE_LINE_BYTES 64

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Requests in the order they came in. */
struct queue {
	struct block_request *first, **end;
};

struct lane {
	struct gate *gate;
	struct block_device *behind;
	uint32_t under_way;
};

struct gate {
	_Alignas(CACHE_LINE_BYTES) struct io_loop *loop;
	struct live *live;
	struct lane lanes[2], *lane;
	struct block_device *before; /* what is on it may not be durable yet: flushes go to it, too */
	struct regions *regions;     /* of what is changed; NULL: nobody asks */
	bool closed, holds, throttled;
	bool waits;           /* to answer when nothing is under way on its lanes, or on the one it left */
	struct queue waiting; /* while it is closed */
	struct queue held;    /* what wants to be durable, while it holds */
	struct queue slowed;  /* changes, while it is throttled and there is no room */
	_Atomic int64_t room; /* bytes */
	_Atomic bool wants_room;
	struct io_call room_call;
	struct io_call call;  /* what the owner wants of it, one at a time */
	uint64_t paused_ns;   /* the last time */
};

struct live {
	struct block_device device;
	struct io_loop *owner;
	struct block_device *behind; /* the owner's view */
	struct block_device *before; /* as gate.before */
	struct regions *regions;     /* as gate.regions */
	bool stopped;                /* not drained: what is under way stays where it is */
	bool hold;                   /* as the gates are to be when they open */
	_Atomic uint32_t to_answer;  /* gates that have not done what they were called for */
	struct io_call *answered;
	struct io_call left;         /* live_settle(): nobody uses @before for anything but flushes */
	struct block_request flush;
	struct io_call *settled;
	int settle_result;
	uint64_t closed_ns;          /* when the gates were called to close */
	pthread_mutex_t map_lock;    /* what is behind is not changed while it is asked where data is */
	bool draining;               /* or drained: it may be changed; under map_lock */
	size_t gate_count;
	struct gate gates[];
};

/* ---- queues ---- */

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void queue_add(struct queue *queue, struct block_request *request)
{
	request->next = NULL;
	*queue->end = request;
	queue->end = &request->next;
}

/* ---- requests ---- */

static void answer(struct live *live)
{
	if (atomic_fetch_sub(&live->to_answer, 1) == 1)
		io_loop_call(live->owner, live->answered);
}

/* Is nothing left of what the gate waits for? A closed one waits for all, an open one for the lane it left. */
static bool is_empty(const struct gate *gate)
{
	const struct lane *left = &gate->lanes[gate->lane == gate->lanes];

	return !left->under_way && !(gate->closed && gate->lane->under_way);
}

static void answer_if_empty(struct gate *gate)
{
	if (!gate->waits || !is_empty(gate))
		return;
	gate->waits = false;
	answer(gate->live);
}

static bool changes(const struct block_request *request)
{
	return request->op != BLOCK_READ && request->op != BLOCK_FLUSH;
}

static void request_done(struct block_request *request, int result)
{
	struct lane *lane = request->layer;

	request->done = request->above;
	if (lane->gate->regions && changes(request))
		regions_mark(lane->gate->regions, request->offset_bytes, request->length_bytes);
	lane->under_way--;
	answer_if_empty(lane->gate);
	request->done(request, result);
}

/* What was behind before is durable; now what is behind the lane. */
static void before_flushed(struct block_request *request, int result)
{
	struct lane *lane = request->layer;

	request->done = request_done;
	if (result)
		request_done(request, result);
	else
		block_submit(lane->behind, lane->gate->loop, request);
}

static void forward(struct gate *gate, struct block_request *request)
{
	struct lane *lane = gate->lane;
	bool twice = gate->before && request->op == BLOCK_FLUSH;

	lane->under_way++;
	request->layer = lane;
	request->above = request->done;
	request->done = twice ? before_flushed : request_done;
	/* The guest was told that it would read zeroes. */
	if (request->op == BLOCK_DISCARD && gate->live->device.geometry.discard_zeroes &&
	    !lane->behind->geometry.discard_zeroes)
		request->op = BLOCK_WRITE_ZEROES;
	block_submit(twice ? gate->before : lane->behind, gate->loop, request);
}

static bool wants_durability(const struct block_request *request)
{
	return request->op == BLOCK_FLUSH || request->flags & BLOCK_WRITE_FUA;
}

static bool has_room(struct gate *gate, const struct block_request *request)
{
	uint64_t bytes = regions_span_bytes(gate->regions, request->offset_bytes, request->length_bytes);

	if (gate->slowed.first || atomic_load(&gate->room) <= 0)
		return false;
	atomic_fetch_sub(&gate->room, (int64_t)bytes);
	return true;
}

static void pass(struct gate *gate, struct block_request *request)
{
	if (gate->closed) {
		queue_add(&gate->waiting, request);
	} else if (gate->holds && wants_durability(request)) {
		queue_add(&gate->held, request);
	} else if (gate->throttled && changes(request) && !has_room(gate, request)) {
		bool first = !gate->slowed.first;

		queue_add(&gate->slowed, request);
		if (first)
			atomic_store(&gate->wants_room, true);
	} else {
		forward(gate, request);
	}
}

static void live_submit(struct block_device *device, struct block_request *request)
{
	struct live *live = (struct live *)device;

	for (size_t i = 0; i < live->gate_count; i++) {
		if (live->gates[i].loop == request->loop) {
			pass(&live->gates[i], request);
			return;
		}
	}
	request->done(request, -LIS_INVALID); /* from a loop that nobody told of */
}

/* Once through; the gate may be such that some of it waits again. */
static void pass_all(struct gate *gate, struct queue *queue)
{
	struct block_request *request = queue->first;

	queue_init(queue);
	while (request) {
		struct block_request *next = request->next;

		pass(gate, request);
		request = next;
	}
}

/* ---- gates ---- */

static void call_gates(struct live *live, void (*fn)(struct io_call *call), struct io_call *answered)
{
	live->answered = answered;
	atomic_store(&live->to_answer, (uint32_t)live->gate_count);
	for (size_t i = 0; i < live->gate_count; i++) {
		live->gates[i].call.fn = fn;
		io_loop_call(live->gates[i].loop, &live->gates[i].call);
	}
}

static struct gate *gate_of(struct io_call *call)
{
	return container_of(call, struct gate, call);
}

static void stop_gate(struct io_call *call)
{
	gate_of(call)->closed = true;
	answer(gate_of(call)->live);
}

static void drain_gate(struct io_call *call)
{
	gate_of(call)->closed = true;
	gate_of(call)->waits = true;
	answer_if_empty(gate_of(call));
}

static void begin_change(struct live *live, bool stop, struct io_call *done)
{
	pthread_mutex_lock(&live->map_lock);
	live->draining = true;
	pthread_mutex_unlock(&live->map_lock);
	live->stopped = stop;
	live->closed_ns = io_loop_now_ns(live->owner);
	call_gates(live, stop ? stop_gate : drain_gate, done);
}

void live_drain(struct live *live, struct io_call *drained)
{
	begin_change(live, false, drained);
}

void live_stop(struct live *live, struct io_call *stopped)
{
	begin_change(live, true, stopped);
}

static void open_gate(struct io_call *call)
{
	struct gate *gate = gate_of(call);
	struct live *live = gate->live;

	gate->paused_ns = io_loop_now_ns(live->owner) - live->closed_ns;
	if (live->before != gate->before)
		gate->lane = &gate->lanes[gate->lane == gate->lanes];
	gate->before = live->before;
	gate->lane->behind = live->behind;
	gate->holds = live->hold;
	gate->closed = false;
	gate->throttled = false;
	pass_all(gate, &gate->slowed);
	pass_all(gate, &gate->held);
	pass_all(gate, &gate->waiting);
	answer(live);
}

void live_resume(struct live *live, struct block_device *behind, bool hold, struct io_call *resumed)
{
	if (live->stopped && behind != live->behind)
		live->before = live->behind;
	pthread_mutex_lock(&live->map_lock);
	live->behind = behind;
	live->draining = false;
	pthread_mutex_unlock(&live->map_lock);
	live->hold = hold;
	live->device.geometry.size_bytes = behind->geometry.size_bytes;
	live->device.path = behind->path;
	call_gates(live, open_gate, resumed);
}

/* ---- what was behind before ---- */

static void leave_gate(struct io_call *call)
{
	gate_of(call)->waits = true;
	answer_if_empty(gate_of(call));
}

static void forget_gate(struct io_call *call)
{
	gate_of(call)->before = NULL;
	answer(gate_of(call)->live);
}

static void flushed(struct block_request *request, int result)
{
	struct live *live = container_of(request, struct live, flush);

	live->settle_result = result;
	if (result) {
		io_loop_call(live->owner, live->settled);
		return;
	}
	live->before = NULL;
	call_gates(live, forget_gate, live->settled);
}

static void left(struct io_call *call)
{
	struct live *live = container_of(call, struct live, left);

	live->flush = (struct block_request){ .op = BLOCK_FLUSH, .done = flushed };
	block_submit(live->before, live->owner, &live->flush);
}

void live_settle(struct live *live, struct io_call *settled)
{
	live->settle_result = 0;
	live->settled = settled;
	live->left.fn = left;
	if (live->before)
		call_gates(live, leave_gate, &live->left);
	else
		io_loop_call(live->owner, settled);
}

int live_settle_result(const struct live *live)
{
	return live->settle_result;
}

/* ---- what is held ---- */

static void release_gate(struct io_call *call)
{
	struct gate *gate = gate_of(call);

	gate->holds = false;
	pass_all(gate, &gate->held);
	answer(gate->live);
}

void live_release(struct live *live, struct io_call *released)
{
	live->hold = false;
	call_gates(live, release_gate, released);
}

/* ---- what is changed ---- */

static void track_gate(struct io_call *call)
{
	struct gate *gate = gate_of(call);

	gate->regions = gate->live->regions;
	gate->throttled = false;
	pass_all(gate, &gate->slowed);
	answer(gate->live);
}

void live_track(struct live *live, struct regions *regions, struct io_call *tracked)
{
	live->regions = regions;
	call_gates(live, track_gate, tracked);
}

/* ---- changes that wait ---- */

static void throttle_gate(struct io_call *call)
{
	struct gate *gate = gate_of(call);

	gate->throttled = true;
	atomic_store(&gate->room, 0);
	atomic_store(&gate->wants_room, gate->slowed.first != NULL);
	answer(gate->live);
}

void live_throttle(struct live *live, struct io_call *throttled)
{
	call_gates(live, throttle_gate, throttled);
}

static void room_given(struct io_call *call)
{
	struct gate *gate = container_of(call, struct gate, room_call);

	pass_all(gate, &gate->slowed);
}

void live_allow(struct live *live, uint64_t bytes)
{
	size_t waiting = 0;
	uint64_t share;

	for (size_t i = 0; i < live->gate_count; i++)
		waiting += atomic_load(&live->gates[i].wants_room);
	share = waiting ? bytes / waiting : 0;
	/* Others may have come to wait meanwhile. */
	for (size_t i = 0; waiting && i < live->gate_count; i++) {
		struct gate *gate = &live->gates[i];

		if (!atomic_exchange(&gate->wants_room, false))
			continue;
		waiting--;
		atomic_fetch_add(&gate->room, (int64_t)share);
		io_loop_call(gate->loop, &gate->room_call);
	}
}

/* ---- questions ---- */

uint64_t live_pause_ns(const struct live *live)
{
	uint64_t longest_ns = 0;

	for (size_t i = 0; i < live->gate_count; i++)
		if (live->gates[i].paused_ns > longest_ns)
			longest_ns = live->gates[i].paused_ns;
	return longest_ns;
}

/* ---- life ---- */

/* While it may be changed there is data everywhere, as far as anybody knows. */
static int live_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct live *live = (struct live *)device;
	int err = 0;

	pthread_mutex_lock(&live->map_lock);
	if (!live->draining)
		err = block_map(live->behind, offset_bytes, out_extent);
	pthread_mutex_unlock(&live->map_lock);
	return err;
}

static int live_close(struct block_device *device)
{
	struct live *live = (struct live *)device;
	int err = block_close(live->behind);

	pthread_mutex_destroy(&live->map_lock);
	free(live);
	return err;
}

static const struct block_driver live_driver = {
	.name = "live",
	.forwards = true,
	.submit = live_submit,
	.close = live_close,
	.map = live_map,
};

int live_create(struct block_device *behind, struct io_loop *const *loops, size_t loop_count,
		struct io_loop *owner, struct live **out_live)
{
	size_t bytes = sizeof(struct live) + loop_count * sizeof(struct gate);
	struct live *live;

	if (!loop_count)
		return -LIS_INVALID;
	live = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (!live)
		return -LIS_NOMEM;
	*live = (struct live){
		.device = { .driver = &live_driver, .geometry = behind->geometry, .path = behind->path },
		.owner = owner,
		.behind = behind,
		.gate_count = loop_count,
	};
	pthread_mutex_init(&live->map_lock, NULL);
	live->device.geometry.buffer_align_bytes = 1;
	for (size_t i = 0; i < loop_count; i++) {
		struct gate *gate = &live->gates[i];

		*gate = (struct gate){ .loop = loops[i], .live = live, .lane = gate->lanes };
		gate->lanes[0] = (struct lane){ .gate = gate, .behind = behind };
		gate->lanes[1] = (struct lane){ .gate = gate };
		queue_init(&gate->waiting);
		queue_init(&gate->held);
		queue_init(&gate->slowed);
		gate->room_call.fn = room_given;
	}
	*out_live = live;
	return 0;
}

struct block_device *live_device(struct live *live)
{
	return &live->device;
}

struct block_device *live_behind(const struct live *live)
{
	return live->behind;
}
