/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of storage: how it is set up with hosts of every version, with refusing ones and
 * with hostile ones, and which channel serves which CPU.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/storvsc_world.h"

/* ---- tests: set-up ---- */

static void the_newest_version_that_the_host_takes_is_used(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < STORVSC_VERSION_COUNT; i++) {
		bool is_long = storvsc_versions[i] >= STORVSC_VERSION_WIN8;
		struct storvsc_request request = command_with_data(0, 512);
		struct question question;

		wire_reset(&w->wire);
		world_open_primary(w);
		assert_int_equal(host_serve_setup(w, storvsc_versions[i]), STORVSC_EVENT_READY);
		assert_int_equal(w->storvsc.version, storvsc_versions[i]);
		assert_int_equal(storvsc_submit(&w->channel, &request), 0);
		question = host_take(w);
		assert_int_equal(question.bytes, is_long ? 64 : 48);
		assert_int_equal(question.packet.request.length, is_long ? 0x34 : 0x24);
		assert_int_equal(question.packet.request.sense_bytes, is_long ? 20 : 18);
		assert_ptr_equal(storvsc_channel_close(&w->channel, false), &request);
		storvsc_fini(&w->storvsc);
	}
}

static void versions_are_tried_from_the_newest_down_in_the_short_form(void **state)
{
	struct world *w = *state;
	struct question question;

	world_open_primary(w);
	host_serve_step(w, STORVSC_VERSION_WIN6, &question);
	assert_int_equal(question.packet.operation, STORVSC_BEGIN_INITIALIZATION);
	for (size_t i = 0; i < STORVSC_VERSION_COUNT; i++) {
		host_serve_step(w, STORVSC_VERSION_WIN6, &question);
		assert_int_equal(question.packet.operation, STORVSC_QUERY_PROTOCOL_VERSION);
		assert_int_equal(question.packet.version.major_minor, storvsc_versions[i]);
		assert_int_equal(question.bytes, 48);
	}
	host_serve_step(w, STORVSC_VERSION_WIN6, &question);
	assert_int_equal(question.packet.operation, STORVSC_QUERY_PROPERTIES);
}

static void no_version_in_common_fails_the_set_up(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 512);

	world_open_primary(w);
	assert_int_equal(host_serve_setup(w, STORVSC_VERSION(9, 9)), STORVSC_EVENT_FAILED);
	assert_int_equal(w->storvsc.error, -LIS_UNSUPPORTED);
	assert_int_equal(storvsc_submit(&w->channel, &request), -LIS_GONE);
}

static void a_version_above_the_limit_is_not_asked_for(void **state)
{
	struct world *w = *state;
	struct question question;

	w->config.version_max = STORVSC_VERSION_WIN8;
	world_open_primary(w);
	host_serve_step(w, STORVSC_VERSION_WIN8, &question);
	host_serve_step(w, STORVSC_VERSION_WIN8, &question);
	assert_int_equal(question.packet.version.major_minor, STORVSC_VERSION_WIN8);
}

/* Begin, version, properties, end; the host goes wrong at step @bad. */
static void go_to_step(struct world *w, int bad)
{
	struct question question;

	wire_reset(&w->wire);
	world_open_primary(w);
	for (int i = 0; i < bad; i++)
		host_serve_step(w, STORVSC_VERSION_THRESHOLD, &question);
}

static void a_refused_step_fails_the_set_up(void **state)
{
	struct world *w = *state;

	for (int bad = 0; bad < 4; bad++) {
		struct question question;

		if (bad == 1)
			continue; /* another version is tried */
		go_to_step(w, bad);
		question = host_take(w);
		assert_int_equal(
			host_answer_status(w, &question, STORVSC_STATUS_INVALID_DEVICE_STATE),
			STORVSC_EVENT_FAILED);
		assert_int_equal(w->storvsc.error, -LIS_REFUSED);
		world_end(w);
	}
}

static void a_step_answered_with_nonsense_fails_the_set_up(void **state)
{
	struct world *w = *state;

	for (int bad = 0; bad < 4; bad++) {
		for (int how = 0; how < 2; how++) {
			struct question question;
			struct storvsc_packet packet;

			go_to_step(w, bad);
			question = host_take(w);
			packet = question.packet;
			packet.operation = how ? STORVSC_EXECUTE_SRB : STORVSC_COMPLETE_IO;
			assert_int_equal(host_answer(w, question.id, &packet, how ? 64 : 8),
					 STORVSC_EVENT_FAILED);
			assert_int_equal(w->storvsc.error, -LIS_CORRUPT);
			assert_true(w->channel.counters.violations);
			world_end(w);
		}
	}
}

static void a_step_without_answer_fails_the_set_up_in_time(void **state)
{
	struct world *w = *state;

	for (int bad = 0; bad < 4; bad++) {
		struct question question;

		go_to_step(w, bad);
		question = host_take(w);
		assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns + TIMEOUT_NS - 1),
				 0);
		assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns + TIMEOUT_NS),
				 STORVSC_EVENT_FAILED);
		assert_int_equal(w->storvsc.error, -LIS_TIMEOUT);
		/* And late it changes nothing. */
		assert_int_equal(host_answer_status(w, &question, STORVSC_STATUS_SUCCESS),
				 STORVSC_EVENT_RELEASED);
		assert_int_equal(w->channel.counters.violations, 0);
		assert_int_equal(w->storvsc.state, STORVSC_FAILED);
		world_end(w);
	}
}

static void properties_are_held_to_what_they_can_be(void **state)
{
	static const struct {
		uint32_t host, config, expect;
	} cases[] = {
		{ 1u << 20, 0, 1u << 20 },
		{ (1u << 20) + 4095, 0, 1u << 20 },
		{ 1u << 20, 65536, 65536 },
		{ 4096, 65536, 4096 },
		{ 0, 0, 65536 },
		{ 4095, 0, 0 }, /* fails */
		{ UINT32_MAX, 0, 1009 * 4096 }, /* half a ring full of page numbers */
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		w->properties.transfer_bytes_max = cases[i].host;
		w->config.transfer_bytes_max = cases[i].config;
		wire_reset(&w->wire);
		world_open_primary(w);
		assert_int_equal(host_serve_setup(w, STORVSC_VERSION_THRESHOLD),
				 cases[i].expect ? STORVSC_EVENT_READY : STORVSC_EVENT_FAILED);
		if (cases[i].expect)
			assert_int_equal(w->storvsc.transfer_bytes_max, cases[i].expect);
		world_end(w);
	}
}

static void properties_cut_short_fail_the_set_up(void **state)
{
	struct world *w = *state;
	struct question question;

	go_to_step(w, 2);
	question = host_take(w);
	question.bytes = STORVSC_HEADER_BYTES + sizeof(struct storvsc_channel_properties) - 8;
	assert_int_equal(host_answer_status(w, &question, STORVSC_STATUS_SUCCESS),
			 STORVSC_EVENT_FAILED);
	assert_int_equal(w->storvsc.error, -LIS_CORRUPT);
}

static void sub_channels_are_asked_for_where_both_ends_have_them(void **state)
{
	static const struct {
		uint16_t version, host, wanted;
		uint32_t flags;
		uint16_t expect;
	} cases[] = {
		{ STORVSC_VERSION_THRESHOLD, 8, 3, STORVSC_SUPPORTS_MULTI_CHANNEL, 3 },
		{ STORVSC_VERSION_WIN8, 2, 3, STORVSC_SUPPORTS_MULTI_CHANNEL, 2 },
		{ STORVSC_VERSION_WIN8, 2, 3, 0, 0 },
		{ STORVSC_VERSION_WIN7, 2, 3, STORVSC_SUPPORTS_MULTI_CHANNEL, 0 },
		{ STORVSC_VERSION_THRESHOLD, 8, 0, STORVSC_SUPPORTS_MULTI_CHANNEL, 0 },
		{ STORVSC_VERSION_THRESHOLD, 65535, 65535, STORVSC_SUPPORTS_MULTI_CHANNEL, 127 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct question question;

		w->config.sub_channels_wanted = cases[i].wanted;
		w->properties.sub_channels_max = cases[i].host;
		w->properties.flags = cases[i].flags;
		wire_reset(&w->wire);
		world_open_primary(w);
		assert_int_equal(host_serve_setup(w, cases[i].version), STORVSC_EVENT_READY);
		assert_int_equal(w->storvsc.sub_channels, cases[i].expect);
		if (cases[i].expect) {
			question = host_take(w);
			assert_int_equal(question.packet.operation, STORVSC_CREATE_SUB_CHANNELS);
			assert_int_equal(question.packet.sub_channel_count, cases[i].expect);
			assert_int_equal(host_answer_status(w, &question, STORVSC_STATUS_SUCCESS),
					 STORVSC_EVENT_SUB_CHANNELS);
		}
		assert_false(wire_take(&w->wire, &question));
		world_end(w);
	}
}

static void without_sub_channels_the_primary_works_on(void **state)
{
	struct world *w = *state;

	for (int how = 0; how < 3; how++) {
		struct storvsc_request request = command_with_data(0, 512);
		struct question question;

		w->properties.sub_channels_max = 3;
		w->properties.flags = STORVSC_SUPPORTS_MULTI_CHANNEL;
		wire_reset(&w->wire);
		world_become_ready(w);
		question = host_take(w);
		if (how == 0)
			assert_int_equal(
				host_answer_status(w, &question, STORVSC_STATUS_INVALID_PARAMETER),
				0);
		else if (how == 1)
			assert_int_equal(host_answer(w, question.id, &question.packet, 8), 0);
		else
			assert_int_equal(
				storvsc_channel_on_timer(&w->channel, w->now_ns + TIMEOUT_NS), 0);
		assert_int_equal(w->storvsc.sub_channels, 0);
		assert_int_equal(storvsc_submit(&w->channel, &request), 0);
		question = host_take(w);
		assert_int_equal(host_answer_good(w, &question), STORVSC_EVENT_ENDED);
		assert_ptr_equal(world_ended_one(w), &request);
		world_end(w);
	}
}

static void memory_that_cannot_be_had_is_an_error_and_nothing_leaks(void **state)
{
	struct world *w = *state;

	w->allocations_left = 0;
	assert_int_equal(storvsc_init(&w->storvsc, &w->config), -LIS_NOMEM);
	storvsc_fini(&w->storvsc);
	w->allocations_left = 1;
	assert_int_equal(storvsc_init(&w->storvsc, &w->config), 0);
	assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config),
			 -LIS_NOMEM);
	assert_null(storvsc_channel_close(&w->channel, false));
	assert_int_equal(storvsc_start(&w->storvsc, 0), -LIS_GONE);
	w->allocations_left = 1;
	assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config), 0);
	assert_int_equal(w->allocations, 2);
}

static void nonsense_in_the_configuration_is_refused(void **state)
{
	struct world *w = *state;
	struct storvsc_config good = w->config;

	w->config.cpu_count = 0;
	assert_int_equal(storvsc_init(&w->storvsc, &w->config), -LIS_INVALID);
	w->config = good;
	w->config.version_max = STORVSC_VERSION(6, 1);
	assert_int_equal(storvsc_init(&w->storvsc, &w->config), -LIS_INVALID);
	w->config = good;
	w->config.transfer_bytes_max = 1000;
	assert_int_equal(storvsc_init(&w->storvsc, &w->config), -LIS_INVALID);
	assert_int_equal(storvsc_init(&w->storvsc, &good), 0);
	w->channel_config.queue_depth = 0;
	assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config),
			 -LIS_INVALID);
	w->channel_config.queue_depth = UINT32_MAX;
	assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config),
			 -LIS_INVALID);
}

static uint32_t node_of_cpu(void *port, uint32_t cpu)
{
	return cpu / 4;
}

static void a_cpu_uses_its_own_channel_or_a_near_one(void **state)
{
	struct world *w = *state;
	struct storvsc_channel subs[3];
	static const uint32_t cpus[3] = { 2, 4, 6 };

	w->config.cpu_count = 8;
	w->config.node_of_cpu = node_of_cpu;
	world_become_ready(w);
	for (uint32_t cpu = 0; cpu < 8; cpu++)
		assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, cpu), &w->channel);
	for (int i = 0; i < 3; i++) {
		w->channel_config.cpu = cpus[i];
		assert_int_equal(storvsc_channel_open(&w->storvsc, &subs[i], &w->channel_config),
				 0);
	}
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 0), &w->channel);
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 2), &subs[0]);
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 4), &subs[1]);
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 6), &subs[2]);
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 8 + 6), &subs[2]);
	for (uint32_t cpu = 1; cpu < 8; cpu += 2)
		assert_int_equal(storvsc_channel_for_cpu(&w->storvsc, cpu)->cpu / 4, cpu / 4);
	storvsc_channel_set_cpu(&subs[2], 7);
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 7), &subs[2]);
	assert_null(storvsc_channel_close(&subs[0], false));
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 2), &w->channel);
	assert_null(storvsc_channel_close(&subs[1], false));
	assert_null(storvsc_channel_close(&subs[2], false));
	assert_ptr_equal(storvsc_channel_for_cpu(&w->storvsc, 7), &w->channel);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	static const struct CMUnitTest tests[] = {
		TEST(the_newest_version_that_the_host_takes_is_used),
		TEST(versions_are_tried_from_the_newest_down_in_the_short_form),
		TEST(no_version_in_common_fails_the_set_up),
		TEST(a_version_above_the_limit_is_not_asked_for),
		TEST(a_refused_step_fails_the_set_up),
		TEST(a_step_answered_with_nonsense_fails_the_set_up),
		TEST(a_step_without_answer_fails_the_set_up_in_time),
		TEST(properties_are_held_to_what_they_can_be),
		TEST(properties_cut_short_fail_the_set_up),
		TEST(sub_channels_are_asked_for_where_both_ends_have_them),
		TEST(without_sub_channels_the_primary_works_on),
		TEST(memory_that_cannot_be_had_is_an_error_and_nothing_leaks),
		TEST(nonsense_in_the_configuration_is_refused),
		TEST(a_cpu_uses_its_own_channel_or_a_near_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
