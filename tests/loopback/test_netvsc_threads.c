/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network, with a thread for each unit and for the host's end of each channel. All
 * channels fight for a few sections, and every ring, table and buffer is small, so that all wait for
 * each other again and again. Nobody is woken by luck: whoever sleeps when it should not sleeps for good,
 * and the test fails. Meant for TSan, too.
 */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/loopback/netvsc_world.h"

#define LANES 3u
#define FRAMES 30000u
#define LANE_SUBS 6u  /* sub-allocations that a lane's host has */
#define LATE_MAX LANE_SUBS /* without a flush the host has none left */
#define DEPTH 5u
#define CONTROL_SUB (LANES * LANE_SUBS)
#define CONTROL_ID UINT32_MAX
#define FRAME_MAX 9000u
#define WAIT_SECONDS 60
#define LANE_BYTES (FRAME_PAGES * HV_PAGE_BYTES / LANES)

_Static_assert((DEPTH + 1) * FRAME_MAX <= LANE_BYTES, "each request has memory of its own");

/* Rung by whoever has news for one thread. */
struct bell {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool rung;
};

struct request {
	struct netvsc_request netvsc; /* first */
	struct request *next;
	uint32_t offset;              /* of its memory in world.frames */
};

struct traffic;

struct lane {
	struct traffic *traffic;
	uint32_t index;
	struct wire *wire;
	struct netvsc_channel *channel;
	struct bell to_host, to_guest, room;
	uint32_t seeds[3];
	_Atomic bool all_sent, over;
	pthread_mutex_t sending; /* the sending unit */
	/* Under it. */
	struct request requests[DEPTH + 1], *free;
	uint32_t sent, ended, controls;
	/* The receiving unit's. */
	uint32_t received, late;
	bool owes; /* what was given back late */
	/* The host's. */
	uint32_t came, gave, given_back, answer_count, sub_first, sub_used;
	uint64_t answers[256];
	bool answer_control;
	uint32_t control_id;
	uint8_t buffer[8192], data[70000];
};

struct traffic {
	struct world *world;
	struct lane lanes[LANES];
	_Atomic(const char *) problem;
};

static uint32_t pick(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* ---- threads and bells ---- */

static void bell_ring(struct bell *bell)
{
	pthread_mutex_lock(&bell->lock);
	bell->rung = true;
	pthread_cond_signal(&bell->cond);
	pthread_mutex_unlock(&bell->lock);
}

static void trouble(struct traffic *t, const char *what)
{
	const char *none = NULL;

	atomic_compare_exchange_strong(&t->problem, &none, what);
	for (uint32_t i = 0; i < LANES; i++) {
		bell_ring(&t->lanes[i].to_host);
		bell_ring(&t->lanes[i].to_guest);
		bell_ring(&t->lanes[i].room);
	}
}

static void bell_wait(struct traffic *t, struct bell *bell, const char *who)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SECONDS;
	pthread_mutex_lock(&bell->lock);
	while (!bell->rung && !err)
		err = pthread_cond_timedwait(&bell->cond, &bell->lock, &until);
	bell->rung = false;
	pthread_mutex_unlock(&bell->lock);
	if (err)
		trouble(t, who);
}

#define EXPECT(t, holds) \
	do { \
		if (!(holds)) \
			trouble((t), #holds); \
	} while (0)

/* A frame says whose it is and which one; all else follows. */
static uint32_t frame_bytes(uint32_t lane, uint32_t number, bool by_host)
{
	uint32_t seed = number * 977 + lane + (by_host ? 77777 : 0), which = pick(&seed);

	if (by_host)
		return 60 + which % 1400;
	return which % 4 ? 60 + which % 1455 : 60 + which % (FRAME_MAX - 60);
}

static void frame_fill(uint8_t *at, uint32_t bytes, uint32_t lane, uint32_t number)
{
	memset(at, (int)(lane * 50 + number % 50), bytes);
	memcpy(at, &lane, 4);
	memcpy(at + 4, &number, 4);
}

static bool frame_good(const uint8_t *at, uint32_t bytes, uint32_t lane, uint32_t number)
{
	uint8_t expect[FRAME_MAX];

	if (bytes > sizeof(expect))
		return false;
	frame_fill(expect, bytes, lane, number);
	return !memcmp(at, expect, bytes);
}

/* ---- the guest: the sending unit ---- */

/* With the lane's lock. Returns whether to wait for room. */
static bool send_one(struct lane *lane)
{
	struct world *w = lane->traffic->world;
	struct request *request = lane->free;
	struct netvsc_piece pieces[2];
	struct netvsc_packet packet;
	uint32_t bytes = frame_bytes(lane->index, lane->sent, false);
	bool done;
	int err;

	frame_fill(w->frames + request->offset, bytes, lane->index, lane->sent);
	packet = world_packet(w, pieces, request->offset, bytes);
	if (bytes > 200) {
		world_packet(w, &pieces[0], request->offset, 150);
		world_packet(w, &pieces[1], request->offset + 150, bytes - 150);
		packet.piece_count = 2;
	}
	err = netvsc_send(lane->channel, &packet, &request->netvsc, &done);
	if (err) {
		EXPECT(lane->traffic, err == -LIS_AGAIN);
		return true;
	}
	lane->sent++;
	if (done)
		memset(w->frames + request->offset, 0xee, bytes);
	else
		lane->free = request->next;
	return !netvsc_channel_has_room(lane->channel);
}

static void ask_sometimes(struct lane *lane)
{
	struct netvsc *netvsc = &lane->traffic->world->netvsc;

	if (!lane->index && pick(&lane->seeds[0]) % 64 == 0 && !netvsc->control.busy &&
	    netvsc_keep_alive(netvsc, 0) == 0)
		lane->controls++;
	/* Whatever the table says, it says a number of a channel. */
	EXPECT(lane->traffic,
	       netvsc_channel_of_hash(netvsc, pick(&lane->seeds[0])) < NETVSC_CHANNELS_MAX);
}

static void *run_sender(void *arg)
{
	struct lane *lane = arg;
	struct traffic *t = lane->traffic;

	while (lane->sent < FRAMES && !t->problem) {
		bool wait = false, signal = false;

		pthread_mutex_lock(&lane->sending);
		ask_sometimes(lane);
		while (!wait && lane->sent < FRAMES && pick(&lane->seeds[0]) % 8)
			wait = send_one(lane);
		if (wait || lane->sent == FRAMES || pick(&lane->seeds[0]) % 2)
			signal = netvsc_channel_flush(lane->channel);
		pthread_mutex_unlock(&lane->sending);
		if (signal)
			bell_ring(&lane->to_host);
		if (wait)
			bell_wait(t, &lane->room, "a sender sleeps");
	}
	atomic_store(&lane->all_sent, true);
	bell_ring(&lane->to_guest);
	return NULL;
}

/* ---- the guest: the receiving unit ---- */

static void take_ended(struct lane *lane)
{
	struct netvsc_ended ended = netvsc_take_ended(lane->channel);
	struct request *request = (struct request *)ended.requests;

	EXPECT(lane->traffic, !ended.failed);
	lane->ended += ended.frames;
	while (request) {
		struct request *next = (struct request *)request->netvsc.next;

		request->next = lane->free;
		lane->free = request;
		request = next;
	}
}

/* Returns whether to go on without waiting. */
static bool receive_some(struct lane *lane)
{
	struct netvsc_frame frame;
	uint32_t budget = 1 + pick(&lane->seeds[1]) % 16, events;
	bool more = true;

	netvsc_channel_mask(lane->channel);
	while (budget-- && (more = netvsc_channel_next(lane->channel, &frame))) {
		EXPECT(lane->traffic, frame.part_count == 1 &&
		       frame.bytes == frame_bytes(lane->index, lane->received, true));
		EXPECT(lane->traffic, frame_good(frame.parts[0].data, frame.bytes, lane->index,
						 lane->received));
		lane->received++;
	}
	pthread_mutex_lock(&lane->sending);
	events = netvsc_channel_settle(lane->channel, 0);
	take_ended(lane);
	if (atomic_load(&lane->all_sent) && lane->received == FRAMES && lane->ended == FRAMES &&
	    netvsc_idle(lane->channel))
		atomic_store(&lane->over, true);
	pthread_mutex_unlock(&lane->sending);
	if (events & NETVSC_EVENT_SIGNAL)
		bell_ring(&lane->to_host);
	if (events & NETVSC_EVENT_ROOM)
		bell_ring(&lane->room);
	lane->late += !!(events & NETVSC_EVENT_LATE);
	lane->owes |= events & NETVSC_EVENT_LATE;
	EXPECT(lane->traffic, !(events & (NETVSC_EVENT_BROKEN | NETVSC_EVENT_FAILED)));
	if (more || (events & NETVSC_EVENT_MORE))
		return true;
	return netvsc_channel_unmask(lane->channel);
}

/*
 * What was given back late is shown before the receiver sleeps; it may have been shown since. Returns whether there
 * was anything: by that it may be over.
 */
static bool pay(struct lane *lane)
{
	bool signal;

	if (!lane->owes)
		return false;
	lane->owes = false;
	pthread_mutex_lock(&lane->sending);
	signal = netvsc_channel_flush(lane->channel);
	pthread_mutex_unlock(&lane->sending);
	if (signal)
		bell_ring(&lane->to_host);
	return true;
}

static void *run_receiver(void *arg)
{
	struct lane *lane = arg;
	struct traffic *t = lane->traffic;

	while (!atomic_load(&lane->over) && !t->problem)
		if (!receive_some(lane) && !pay(lane) && !atomic_load(&lane->over))
			bell_wait(t, &lane->to_guest, "a receiver sleeps");
	bell_ring(&lane->to_host);
	return NULL;
}

/* ---- the host ---- */

static uint32_t gather(struct lane *lane, const struct vmbus_packet *packet,
		       const struct nvsp_rndis_packet *rndis)
{
	struct world *w = lane->traffic->world;
	uint32_t bytes = 0;
	struct vmbus_packet_ranges ranges;
	struct vmbus_gpa_run run;

	if (rndis->send_section_index != NVSP_SECTION_NONE) {
		memcpy(lane->data, w->send.memory + rndis->send_section_index * SECTION_BYTES,
		       rndis->send_section_bytes);
		bytes = rndis->send_section_bytes;
	}
	if (packet->type != VMBUS_PACKET_GPA_DIRECT)
		return bytes;
	ranges = vmbus_packet_ranges(packet);
	while (vmbus_packet_next_gpa_run(&ranges, &run)) {
		/* Pages of one range are neighbours here. */
		memcpy(lane->data + bytes,
		       w->memory + (run.pfns[0] - WORLD_PFN) * HV_PAGE_BYTES + run.byte_offset,
		       run.byte_count);
		bytes += run.byte_count;
	}
	return bytes;
}

static void take_frames(struct lane *lane, uint32_t bytes)
{
	uint32_t at = 0;

	while (at < bytes && !lane->traffic->problem) {
		struct rndis_header header;
		struct rndis_packet packet;

		memcpy(&header, lane->data + at, sizeof(header));
		memcpy(&packet, lane->data + at + sizeof(header), sizeof(packet));
		EXPECT(lane->traffic, header.type == RNDIS_PACKET && header.bytes <= bytes - at);
		EXPECT(lane->traffic,
		       packet.data_bytes == frame_bytes(lane->index, lane->came, false));
		EXPECT(lane->traffic,
		       frame_good(lane->data + at + sizeof(header) + packet.data_offset,
				  packet.data_bytes, lane->index, lane->came));
		lane->came++;
		at += header.bytes;
	}
}

static void take_packet(struct lane *lane, const struct vmbus_packet *packet)
{
	struct nvsp_message message = { 0 };
	uint32_t bytes;

	memcpy(&message, packet->payload, packet->payload_bytes < sizeof(message) ?
						  packet->payload_bytes : sizeof(message));
	if (packet->type == VMBUS_PACKET_COMPLETION) {
		EXPECT(lane->traffic, message.rndis_packet_complete.status == NVSP_STATUS_SUCCESS);
		if (packet->id == CONTROL_ID)
			return;
		/* They come in the order in which they went. */
		EXPECT(lane->traffic, packet->id == lane->given_back);
		lane->given_back++;
		lane->sub_used--;
		return;
	}
	EXPECT(lane->traffic, message.type == NVSP_SEND_RNDIS_PACKET);
	bytes = gather(lane, packet, &message.rndis_packet);
	if (message.rndis_packet.channel_type == NVSP_RNDIS_CONTROL) {
		lane->answer_control = true;
		memcpy(&lane->control_id, lane->data + sizeof(struct rndis_header), 4);
	} else {
		take_frames(lane, bytes);
	}
	lane->answers[lane->answer_count++] = packet->id;
}

/* Returns false where the ring is full. */
static bool write_answers(struct lane *lane)
{
	const struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET_COMPLETE,
		.rndis_packet_complete.status = NVSP_STATUS_SUCCESS,
	};
	const struct vmbus_piece piece = { &message, 8 };

	while (lane->answer_count) {
		uint32_t at = pick(&lane->seeds[2]) % lane->answer_count;
		struct vmbus_packet_out packet =
			vmbus_packet_completion(lane->answers[at], &piece, 1);

		if (vmbus_ring_write(&lane->wire->to_guest, &packet))
			return false;
		lane->answers[at] = lane->answers[--lane->answer_count];
	}
	return true;
}

/* Returns false where the ring is full. */
static bool transfer(struct lane *lane, uint64_t id, uint32_t sub, const struct host_message *what)
{
	const struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, NVSP_SECTION_NONE, 0 },
	};
	const struct vmbus_piece piece = { &message, sizeof(message) };
	const struct vmbus_transfer_range range =
		host_put(lane->traffic->world, sub, what->bytes, what->length);
	_Alignas(8) uint8_t buffer[64];
	struct vmbus_head_builder head;
	struct vmbus_packet_out packet;

	EXPECT(lane->traffic, !vmbus_transfer_head_begin(&head, buffer, sizeof(buffer),
							 NVSP_RECEIVE_BUFFER_ID));
	EXPECT(lane->traffic,
	       !vmbus_transfer_head_add(&head, range.byte_count, range.byte_offset));
	packet = vmbus_packet_transfer_pages(id, &head, &piece, 1);
	return vmbus_ring_write(&lane->wire->to_guest, &packet) == 0;
}

static bool write_control(struct lane *lane)
{
	const struct rndis_status_complete complete = { lane->control_id, RNDIS_STATUS_SUCCESS };
	struct host_message message;

	if (!lane->answer_control)
		return true;
	message = host_message(RNDIS_KEEP_ALIVE | RNDIS_COMPLETION, &complete, sizeof(complete));
	if (!transfer(lane, CONTROL_ID, CONTROL_SUB, &message))
		return false;
	lane->answer_control = false;
	return true;
}

static bool write_table(struct lane *lane)
{
	struct {
		struct nvsp_message message;
		uint32_t table[NVSP_SEND_TABLE_COUNT];
	} send = {
		.message = { .type = NVSP_SEND_INDIRECTION_TABLE,
			     .indirection_table = { NVSP_SEND_TABLE_COUNT, sizeof(send.message) } },
	};
	const struct vmbus_piece piece = { &send, sizeof(send) };
	const struct vmbus_packet_out packet = vmbus_packet_in_band(0, false, &piece, 1);

	if (lane->index || pick(&lane->seeds[2]) % 64)
		return true;
	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		send.table[i] = pick(&lane->seeds[2]);
	return vmbus_ring_write(&lane->wire->to_guest, &packet) == 0;
}

/* What the guest has no use for, until the ring is full. */
static bool write_noise(struct lane *lane)
{
	const struct nvsp_message message = { .type = NVSP_SEND_VF_ASSOCIATION };
	const struct vmbus_piece piece = { &message, sizeof(message) };
	const struct vmbus_packet_out packet = vmbus_packet_in_band(0, false, &piece, 1);

	if (lane->index || pick(&lane->seeds[2]) % 64)
		return true;
	while (vmbus_ring_write(&lane->wire->to_guest, &packet) == 0)
		;
	return false;
}

/* Returns false where the ring is full, or the guest has all parts of the receive buffer. */
static bool write_frame(struct lane *lane)
{
	uint8_t data[1500];
	struct host_message message;
	uint32_t bytes;

	if (lane->gave == FRAMES || lane->sub_used == LANE_SUBS)
		return false;
	bytes = frame_bytes(lane->index, lane->gave, true);
	frame_fill(data, bytes, lane->index, lane->gave);
	message = host_frame(data, bytes, NULL, 0);
	if (!transfer(lane, lane->gave, lane->index * LANE_SUBS + lane->gave % LANE_SUBS, &message))
		return false;
	lane->gave++;
	lane->sub_used++;
	return true;
}

static bool read_some(struct lane *lane)
{
	uint32_t budget = 1 + pick(&lane->seeds[2]) % 8, bytes;
	struct vmbus_packet packet;
	bool any = false;

	while (budget-- && lane->answer_count < 200 &&
	       vmbus_ring_read(&lane->wire->from_guest, lane->buffer, sizeof(lane->buffer),
			       &bytes) == 0) {
		EXPECT(lane->traffic, !vmbus_packet_parse(lane->buffer, bytes, &packet));
		take_packet(lane, &packet);
		any = true;
	}
	return any;
}

static void *run_host(void *arg)
{
	struct lane *lane = arg;
	struct traffic *t = lane->traffic;

	while (!atomic_load(&lane->over) && !t->problem) {
		bool any, signal;

		vmbus_ring_reader_mask(&lane->wire->from_guest);
		any = read_some(lane);
		/* It likes to be late with answers, so that tables fill. */
		if ((!any || pick(&lane->seeds[2]) % 8 == 0) && write_answers(lane) &&
		    write_control(lane) && write_table(lane) && write_noise(lane))
			while (pick(&lane->seeds[2]) % 8 && write_frame(lane))
				any = true;
		signal = vmbus_ring_writer_publish(&lane->wire->to_guest);
		signal |= vmbus_ring_reader_publish(&lane->wire->from_guest);
		if (signal)
			bell_ring(&lane->to_guest);
		if (any || vmbus_ring_reader_unmask(&lane->wire->from_guest))
			continue;
		/* What is left to send found no room, and the guest tells of that. */
		if (write_answers(lane) && write_control(lane) && write_frame(lane))
			continue;
		if (!atomic_load(&lane->over))
			bell_wait(t, &lane->to_host, "a host sleeps");
	}
	return NULL;
}

/* ---- frame ---- */

static void lane_begin(struct traffic *t, uint32_t index, uint32_t seed)
{
	struct lane *lane = &t->lanes[index];

	lane->traffic = t;
	lane->index = index;
	lane->wire = &t->world->wires[index];
	lane->channel = &t->world->channels[index];
	lane->channel->late_max = LATE_MAX;
	for (uint32_t i = 0; i < 3; i++)
		lane->seeds[i] = seed * 100 + index * 10 + i;
	for (uint32_t i = 0; i < DEPTH + 1; i++) {
		lane->requests[i].offset = index * LANE_BYTES + i * FRAME_MAX;
		lane->requests[i].next = lane->free;
		lane->free = &lane->requests[i];
	}
	pthread_mutex_init(&lane->sending, NULL);
	for (struct bell *bell = &lane->to_host; bell <= &lane->room; bell++) {
		pthread_mutex_init(&bell->lock, NULL);
		pthread_cond_init(&bell->cond, NULL);
	}
}

static void all_that_moves_arrives(void **state)
{
	static void *(*const runs[])(void *arg) = { run_sender, run_receiver, run_host };
	struct world *w = *state;
	struct traffic *t = calloc(1, sizeof(*t));
	pthread_t threads[LANES][3];
	struct question question;

	assert_non_null(t);
	t->world = w;
	w->channel_config.queue_depth = DEPTH;
	world_become_ready(w);
	assert_false(host_look(w, 0, &question)); /* what was given back meanwhile */
	for (uint32_t i = 1; i < LANES; i++)
		assert_int_equal(world_open_channel(w, i), 0);
	/* It is told of more than the lanes use, so that it may be late. */
	w->netvsc.sub_count = 8 * NETVSC_CHANNELS_MAX * LATE_MAX;
	for (uint32_t i = 0; i < LANES; i++)
		lane_begin(t, i, 1);
	for (uint32_t i = 0; i < LANES; i++)
		for (uint32_t k = 0; k < 3; k++)
			assert_int_equal(pthread_create(&threads[i][k], NULL, runs[k],
							&t->lanes[i]), 0);
	for (uint32_t i = 0; i < LANES; i++)
		for (uint32_t k = 0; k < 3; k++)
			assert_int_equal(pthread_join(threads[i][k], NULL), 0);
	if (t->problem)
		fail_msg("%s", t->problem);
	for (uint32_t i = 0; i < LANES; i++) {
		assert_int_equal(t->lanes[i].came, FRAMES);
		assert_int_equal(t->lanes[i].given_back + t->lanes[i].sub_used, FRAMES);
		assert_true(t->lanes[i].late > 0);
		assert_null(netvsc_channel_close(&w->channels[LANES - 1 - i]));
	}
	assert_true(t->lanes[0].controls > 0);
	assert_int_equal(world_violations(w), 0);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_that_moves_arrives, world_setup, world_teardown),
	};

	return cmocka_run_group_tests_name("loopback/netvsc_threads", tests, NULL, NULL);
}
