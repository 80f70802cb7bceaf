/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of storage: thousands of commands by chance, with a host that is mostly right.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/storvsc_world.h"

/* ---- test: chance ---- */

#define RANDOM_REQUESTS 24u
#define RANDOM_STEPS 100000u

struct random_request {
	struct storvsc_request request; /* first */
	bool out;                       /* submitted, not ended */
	uint64_t id;
};

struct random_world {
	struct world *w;
	uint64_t seed;
	struct random_request requests[RANDOM_REQUESTS];
	struct question questions[64]; /* taken by the host, not all answered */
	uint32_t question_count;
	uint64_t submitted, ended, given_up, closes;
};

static uint32_t chance(struct random_world *r, uint32_t below)
{
	r->seed = r->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(r->seed >> 33) % below;
}

static void collect(struct random_world *r, struct storvsc_request *list)
{
	while (list) {
		struct random_request *one = (struct random_request *)list;
		struct storvsc_request *next = list->next;

		assert_true(one->out); /* exactly once */
		assert_true(list->transferred_bytes <= list->data_bytes);
		assert_true(list->sense_bytes <= STORVSC_SENSE_BYTES);
		one->out = false;
		r->ended++;
		r->given_up += list->result == STORVSC_RESULT_TIMED_OUT;
		memset(list, 0xee, sizeof(*list)); /* it is the caller's again */
		list = next;
	}
}

static void random_submit(struct random_world *r)
{
	struct random_request *one = &r->requests[chance(r, RANDOM_REQUESTS)];
	int err;

	if (one->out)
		return;
	one->request = chance(r, 4) ? command_with_data(chance(r, 4096), 1 + chance(r, 65536)) :
				      command_without_data();
	if (!chance(r, 10))
		one->request.kind = (uint8_t)(STORVSC_LUN_RESET + chance(r, 3));
	one->request.lun = (uint8_t)chance(r, 3);
	if (chance(r, 2))
		one->request.deadline_ns = r->w->now_ns + chance(r, 20) * SECOND_NS;
	one->out = true;
	err = storvsc_submit(&r->w->channel, &one->request);
	if (err) {
		one->out = false;
		assert_true(err == -LIS_AGAIN || err == -LIS_GONE);
		return;
	}
	one->id = one->request.id;
	r->submitted++;
}

static void random_take(struct random_world *r)
{
	struct question question;

	(void)!storvsc_channel_flush(&r->w->channel);
	while (r->question_count < 64 && wire_take(&r->w->wire, &question))
		r->questions[r->question_count++] = question;
}

/* A host that is mostly right. */
static void random_answer(struct random_world *r)
{
	struct question *question;
	struct storvsc_packet packet;
	uint32_t at, bytes;
	uint64_t id;

	if (!r->question_count)
		return;
	at = chance(r, r->question_count);
	question = &r->questions[at];
	packet = host_good_answer(question);
	bytes = question->bytes;
	id = question->id;
	switch (chance(r, 12)) {
	case 0:
		bytes = chance(r, 9) * 8;
		break;
	case 1:
		packet.operation = chance(r, 20);
		break;
	case 2:
		packet.request.data_transfer_length = chance(r, 200000);
		packet.request.sense_bytes = (uint8_t)chance(r, 256);
		packet.request.srb_status = (uint8_t)chance(r, 256);
		packet.request.scsi_status = chance(r, 2) ? 2 : (uint8_t)chance(r, 256);
		break;
	case 3:
		id = id ^ (1ull << chance(r, 64));
		break;
	case 4:
		id = 0;
		break;
	}
	/* A ring that is full of wrong packets is the host's own loss. */
	(void)!host_send(r->w, chance(r, 30) ? VMBUS_PACKET_COMPLETION : (uint16_t)chance(r, 14),
			 id, &packet, bytes);
	if (chance(r, 8))
		r->questions[at] =
			r->questions[--r->question_count]; /* else it is answered again */
}

static void random_receive(struct random_world *r)
{
	uint32_t events = storvsc_channel_receive(&r->w->channel, 1 + chance(r, 16));
	struct storvsc_request *list = storvsc_take_ended(&r->w->channel);

	assert_int_equal(!!(events & STORVSC_EVENT_ENDED), list != NULL);
	assert_false(events & STORVSC_EVENT_BROKEN);
	collect(r, list);
	if (chance(r, 2))
		(void)!storvsc_channel_unmask(&r->w->channel);
}

static void random_reopen(struct random_world *r)
{
	struct world *w = r->w;

	if (chance(r, 2))
		storvsc_channel_stop(&w->channel);
	collect(r, storvsc_channel_close(&w->channel, !chance(r, 4)));
	assert_int_equal(r->ended, r->submitted);
	for (uint32_t i = 0; i < RANDOM_REQUESTS; i++)
		assert_false(r->requests[i].out);
	r->question_count = 0;
	r->closes++;
	wire_reset(&w->wire);
	if (!chance(r, 3)) {
		w->allocations_left = 0;
		assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config),
				 -LIS_NOMEM);
		w->allocations_left = UINT_MAX;
	}
	assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config), 0);
	assert_int_equal(storvsc_start(&w->storvsc, w->now_ns), 0);
	assert_int_equal(host_serve_setup(w, storvsc_versions[chance(r, STORVSC_VERSION_COUNT)]),
			 STORVSC_EVENT_READY);
}

static void every_request_ends_exactly_once_whatever_the_host_does(void **state)
{
	struct random_world *r = calloc(1, sizeof(*r));
	struct world *w = *state;

	assert_non_null(r);
	r->w = w;
	for (r->seed = 1; r->seed <= 3; r->seed++) {
		uint64_t first_seed = r->seed;

		w->channel_config.queue_depth = 16;
		wire_reset(&w->wire);
		world_become_ready(w);
		for (uint32_t i = 0; i < RANDOM_STEPS; i++) {
			switch (chance(r, 11)) {
			case 0: case 1: case 2:
				random_submit(r);
				break;
			case 3: case 4:
				random_take(r);
				break;
			case 5: case 6: case 7:
				random_answer(r);
				break;
			case 8: case 9:
				random_receive(r);
				break;
			default:
				w->now_ns += chance(r, 2) * SECOND_NS;
				/* All its slots may be lost to a host that leaves out answers. */
				if (storvsc_channel_on_timer(&w->channel, w->now_ns) &
				    STORVSC_EVENT_BROKEN)
					random_reopen(r);
				collect(r, storvsc_take_ended(&w->channel));
				if (!chance(r, 60))
					random_reopen(r);
			}
		}
		collect(r, storvsc_channel_close(&w->channel, false));
		assert_int_equal(r->ended, r->submitted);
		storvsc_fini(&w->storvsc);
		r->question_count = 0;
		r->seed = first_seed;
	}
	assert_in_range(r->submitted, 20000, UINT32_MAX);
	assert_in_range(r->given_up, 100, UINT32_MAX);
	assert_in_range(r->closes, 100, UINT32_MAX);
	free(r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	static const struct CMUnitTest tests[] = {
		TEST(every_request_ends_exactly_once_whatever_the_host_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
