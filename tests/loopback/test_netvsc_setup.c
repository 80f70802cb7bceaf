/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network: how it sets a card up, and what becomes of hosts that refuse, that say
 * what cannot be, or that do not answer.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/netvsc_world.h"

static struct world *again(void **state)
{
	struct world *w = *state;

	world_finish(w);
	assert_int_equal(w->allocations, 0);
	world_begin(w);
	return w;
}

/* Set up with a card that is a bit different: it fails, with this error. */
static void assert_fails(struct world *w, int error)
{
	world_open_primary(w);
	assert_int_equal(host_serve_setup(w), NETVSC_EVENT_FAILED);
	assert_int_equal(w->netvsc.error, error);
	assert_int_equal(w->netvsc.state, NETVSC_FAILED);
}

/* ---- versions ---- */

static void versions_are_tried_newest_first_until_the_host_takes_one(void **state)
{
	for (size_t i = 0; i < NVSP_VERSION_COUNT; i++) {
		struct world *w = again(state);
		struct question question;

		w->card.version = nvsp_versions[i];
		world_open_primary(w);
		for (size_t asked = 0; asked <= i; asked++) {
			uint32_t events = host_serve_step(w, &question);

			assert_int_equal(question.message.type, NVSP_INIT);
			assert_true(question.wants_completion);
			assert_int_equal(question.message.init.version_max, nvsp_versions[asked]);
			assert_int_equal(events, asked == i ? NETVSC_EVENT_BUFFERS : 0);
		}
		assert_int_equal(w->netvsc.version, nvsp_versions[i]);
		assert_int_equal(w->netvsc.nvsp_bytes, nvsp_versions[i] == NVSP_VERSION_6_1 ? 40 : 28);
	}
}

static void a_limit_on_versions_is_kept(void **state)
{
	for (size_t i = 0; i < NVSP_VERSION_COUNT; i++) {
		struct world *w = again(state);
		struct question question;

		w->config.version_max = nvsp_versions[i];
		world_open_primary(w);
		host_serve_step(w, &question);
		assert_int_equal(question.message.init.version_max, nvsp_versions[i]);
	}
}

static void a_host_that_takes_no_version_fails_the_set_up(void **state)
{
	struct world *w = *state;

	w->card.version = 1;
	assert_fails(w, -LIS_UNSUPPORTED);
}

static void an_isolated_guest_takes_6_1_or_nothing(void **state)
{
	struct world *w = *state;

	w->config.isolated = true;
	world_become_ready(w);
	w = again(state);
	w->config.isolated = true;
	w->config.version_max = NVSP_VERSION_5;
	w->card.version = NVSP_VERSION_6;
	assert_fails(w, -LIS_UNSUPPORTED);
}

static void the_host_is_told_what_fits_the_version(void **state)
{
	static const struct {
		uint32_t version, capabilities, minor;
	} cases[] = {
		{ NVSP_VERSION_6_1, NVSP_CAPABILITY_VLAN | NVSP_CAPABILITY_TEAMING | NVSP_CAPABILITY_RSC,
		  30 },
		{ NVSP_VERSION_6, NVSP_CAPABILITY_VLAN | NVSP_CAPABILITY_TEAMING, 30 },
		{ NVSP_VERSION_5, NVSP_CAPABILITY_VLAN | NVSP_CAPABILITY_TEAMING, 30 },
		{ NVSP_VERSION_4, NVSP_CAPABILITY_VLAN, 1 },
		{ NVSP_VERSION_2, NVSP_CAPABILITY_VLAN, 1 },
		{ NVSP_VERSION_1, 0, 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = again(state);
		struct question question;

		w->config.version_max = cases[i].version;
		w->config.mtu = 9000;
		world_open_primary(w);
		assert_int_equal(host_serve_step(w, &question), NETVSC_EVENT_BUFFERS);
		if (cases[i].version > NVSP_VERSION_1) {
			question = host_take(w, 0);
			assert_int_equal(question.message.type, NVSP_SEND_NDIS_CONFIG);
			assert_int_equal(question.message.ndis_config.mtu_bytes, 9014);
			assert_int_equal(question.message.ndis_config.capabilities,
					 cases[i].capabilities);
			assert_false(question.wants_completion);
			assert_int_equal(question.id, 0);
		} else {
			assert_int_equal(w->netvsc.mtu, 1500);
		}
		question = host_take(w, 0);
		assert_int_equal(question.message.type, NVSP_SEND_NDIS_VERSION);
		assert_int_equal(question.message.ndis_version.major, 6);
		assert_int_equal(question.message.ndis_version.minor, cases[i].minor);
		assert_false(question.wants_completion);
		assert_false(host_look(w, 0, &question));
	}
}

/* ---- buffers ---- */

static void buffers_that_cannot_be_are_refused(void **state)
{
	struct world *w = *state;
	struct question question;
	struct netvsc_buffer receive = w->receive, send = w->send;

	assert_int_equal(netvsc_set_buffers(&w->netvsc, &receive, &send, 0), -LIS_GONE);
	w->config.send_bytes_max = send.bytes;
	world_open_primary(w);
	assert_int_equal(netvsc_set_buffers(&w->netvsc, &receive, &send, 0), -LIS_GONE);
	host_serve_step(w, &question);
#define REFUSED(buffer, value) \
	do { \
		receive = w->receive; \
		send = w->send; \
		buffer.bytes = (value); \
		assert_int_equal(netvsc_set_buffers(&w->netvsc, &receive, &send, 0), -LIS_INVALID); \
	} while (0)
	REFUSED(receive, 0);
	REFUSED(receive, (31u << 20) + 1);
	REFUSED(send, 0);
	REFUSED(send, w->send.bytes + 1);
#undef REFUSED
	assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive, &w->send, 0), 0);
	assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive, &w->send, 0), -LIS_GONE);
}

static void hosts_of_old_have_smaller_receive_buffers(void **state)
{
	struct world *w = *state;

	world_become_ready(w);
	assert_int_equal(netvsc_receive_bytes_max(&w->netvsc), 31u << 20);
	w = again(state);
	w->card.version = NVSP_VERSION_2;
	world_become_ready(w);
	assert_int_equal(netvsc_receive_bytes_max(&w->netvsc), 15u << 20);
}

static void sections_that_cannot_be_fail_the_set_up(void **state)
{
	struct world *w;
	int error;

#define FAILS(change, code) \
	do { \
		w = again(state); \
		error = (code); \
		change; \
		assert_fails(w, error); \
	} while (0)
	FAILS(w->card.receive.status = NVSP_STATUS_FAILURE, -LIS_REFUSED);
	FAILS(w->card.receive.section_count = 0, -LIS_CORRUPT);
	FAILS(w->card.receive.section_count = 2, -LIS_CORRUPT);
	FAILS(w->card.receive.section.offset = 8, -LIS_CORRUPT);
	FAILS(w->card.receive.section.sub_allocation_bytes = 1023, -LIS_CORRUPT);
	FAILS(w->card.receive.section.sub_allocation_bytes = 0, -LIS_CORRUPT);
	FAILS(w->card.receive.section.sub_allocation_count = 0, -LIS_CORRUPT);
	FAILS(w->card.receive.section.sub_allocation_count = SUB_COUNT + 1, -LIS_CORRUPT);
	FAILS(w->card.receive.section.sub_allocation_bytes = 1u << 31;
	      w->card.receive.section.sub_allocation_count = 2, -LIS_CORRUPT);
	FAILS(w->card.send.status = NVSP_STATUS_FAILURE, -LIS_REFUSED);
	FAILS(w->card.send.section_bytes = 0, -LIS_CORRUPT);
	FAILS(w->card.send.section_bytes = 511, -LIS_CORRUPT);
	FAILS(w->card.send.section_bytes = w->send.bytes + 1, -LIS_CORRUPT);
#undef FAILS
}

/* ---- RNDIS and questions ---- */

static void rndis_limits_that_cannot_be_fail_the_set_up(void **state)
{
	struct world *w = again(state);

	w->card.rndis.packet_alignment_shift = 8;
	assert_fails(w, -LIS_CORRUPT);
	w = again(state);
	w->card.rndis.packet_alignment_shift = 32;
	assert_fails(w, -LIS_CORRUPT);
	w = again(state);
	w->card.rndis.transfer_bytes_max = 1514;
	assert_fails(w, -LIS_CORRUPT);
	w = again(state);
	w->card.rndis.status = RNDIS_STATUS_FAILURE;
	assert_fails(w, -LIS_REFUSED);
	w = again(state);
	w->card.rndis.packets_per_message_max = 0;
	world_become_ready(w);
	assert_int_equal(w->netvsc.messages_max, 1);
}

static void the_card_is_as_the_host_says(void **state)
{
	struct world *w = *state;

	w->config.mtu = 9000;
	w->card.mtu = 4000;
	world_become_ready(w);
	assert_int_equal(w->netvsc.mtu, 4000);
	assert_memory_equal(w->netvsc.mac, w->card.mac, 6);
	assert_int_equal(w->netvsc.name_bytes, 6);
	assert_memory_equal(w->netvsc.name, w->card.name, 6);
	assert_int_equal(w->netvsc.bits_per_second, 10000000000ull);
	assert_true(w->netvsc.link_up);
	assert_true(w->netvsc.coalescing);
	assert_true(w->netvsc.offloads.tcp_ipv4 && w->netvsc.offloads.udp_ipv4);
	assert_true(w->netvsc.offloads.tcp_ipv6 && w->netvsc.offloads.udp_ipv6);
	assert_int_equal(w->netvsc.offloads.segments_ipv4_bytes, 62780);
	assert_int_equal(w->netvsc.offloads.segments_ipv6_bytes, 62780);
	assert_int_equal(w->netvsc.rss.queues_max, 8);
	assert_int_equal(w->netvsc.rss.table_count, 128);
	assert_true(w->netvsc.rss.udp_ipv4);
	assert_false(w->netvsc.rss.udp_ipv6);
	assert_int_equal(w->netvsc.sub_bytes, SUB_BYTES);
	assert_int_equal(w->netvsc.section_count, SECTION_COUNT);
	assert_int_equal(w->netvsc.pieces_max, NETVSC_PIECES_MAX);
}

static void a_card_can_do_without_most_answers(void **state)
{
	static const uint32_t oids[] = {
		OID_GEN_MAXIMUM_FRAME_SIZE, OID_GEN_FRIENDLY_NAME,
		OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, OID_TCP_OFFLOAD_PARAMETERS,
		OID_GEN_MEDIA_CONNECT_STATUS, OID_GEN_LINK_SPEED, OID_GEN_RECEIVE_SCALE_CAPABILITIES,
	};
	struct world *w;

	for (size_t i = 0; i < sizeof(oids) / sizeof(oids[0]); i++) {
		w = again(state);
		w->card.refuse_oid = oids[i];
		world_become_ready(w);
		assert_int_equal(w->netvsc.mtu, 1500);
		assert_true(w->netvsc.link_up);
		assert_int_equal(!w->netvsc.name_bytes, oids[i] == OID_GEN_FRIENDLY_NAME);
		assert_int_equal(!w->netvsc.bits_per_second, oids[i] == OID_GEN_LINK_SPEED);
		assert_int_equal(!w->netvsc.rss.queues_max,
				 oids[i] == OID_GEN_RECEIVE_SCALE_CAPABILITIES);
		/* What cannot be switched on is not there. */
		assert_int_equal(!w->netvsc.offloads.tcp_ipv4,
				 oids[i] == OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES ||
					 oids[i] == OID_TCP_OFFLOAD_PARAMETERS);
	}
	w = again(state);
	w->card.refuse_oid = OID_802_3_PERMANENT_ADDRESS;
	assert_fails(w, -LIS_CORRUPT);
}

static void answers_that_cannot_be_count_for_nothing(void **state)
{
	struct world *w = again(state);

	w->card.mtu = 67;
	world_become_ready(w);
	assert_int_equal(w->netvsc.mtu, 1500);
	w = again(state);
	w->card.mac[0] = 1; /* a group's */
	assert_fails(w, -LIS_CORRUPT);
	w = again(state);
	memset(w->card.mac, 0, 6);
	assert_fails(w, -LIS_CORRUPT);
#define NO_OFFLOADS(change) \
	do { \
		w = again(state); \
		change; \
		world_become_ready(w); \
		assert_false(w->netvsc.offloads.tcp_ipv4 || w->netvsc.offloads.segments_ipv4_bytes); \
	} while (0)
	NO_OFFLOADS(w->card.offload.object.type = NDIS_OBJECT_DEFAULT);
	NO_OFFLOADS(w->card.offload.object.revision = 0);
	NO_OFFLOADS(w->card.offload.object.bytes = NDIS_OFFLOAD_BYTES_1 - 1);
	NO_OFFLOADS(w->card.offload.checksum.ipv4_tx &= ~NDIS_CHECKSUM_TCP_OPTIONS);
#undef NO_OFFLOADS
	/* Too short for what they are to say, or too long. */
#define BENT(oid, bytes) \
	do { \
		w = again(state); \
		w->card.bent_oid = (oid); \
		w->card.bent_bytes = (bytes); \
	} while (0)
	BENT(OID_802_3_PERMANENT_ADDRESS, 5);
	assert_fails(w, -LIS_CORRUPT);
	BENT(OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, NDIS_OFFLOAD_BYTES_3 - 1);
	world_become_ready(w);
	assert_false(w->netvsc.offloads.tcp_ipv4);
	BENT(OID_GEN_MAXIMUM_FRAME_SIZE, 3);
	world_become_ready(w);
	assert_int_equal(w->netvsc.mtu, 1500);
	BENT(OID_GEN_MEDIA_CONNECT_STATUS, 3);
	w->card.media = RNDIS_MEDIA_DISCONNECTED;
	world_become_ready(w);
	assert_true(w->netvsc.link_up);
	BENT(OID_GEN_LINK_SPEED, 3);
	world_become_ready(w);
	assert_int_equal(w->netvsc.bits_per_second, 0);
	BENT(OID_GEN_RECEIVE_SCALE_CAPABILITIES, NDIS_RSS_CAPABILITIES_BYTES - 1);
	world_become_ready(w);
	assert_int_equal(w->netvsc.rss.queues_max, 0);
	BENT(OID_GEN_FRIENDLY_NAME, NETVSC_NAME_BYTES_MAX);
	world_become_ready(w);
	assert_int_equal(w->netvsc.name_bytes, NETVSC_NAME_BYTES_MAX);
	BENT(OID_GEN_FRIENDLY_NAME, NETVSC_NAME_BYTES_MAX + 1);
	world_become_ready(w);
	assert_int_equal(w->netvsc.name_bytes, 0);
#undef BENT
	w = again(state);
	w->card.rss.object.type = NDIS_OBJECT_DEFAULT;
	world_become_ready(w);
	assert_int_equal(w->netvsc.rss.queues_max, 0);
	w = again(state);
	w->card.rss.table_count = 129;
	world_become_ready(w);
	assert_int_equal(w->netvsc.rss.table_count, 128);
	w = again(state);
	w->card.offload.lso_v2.ipv4_bytes_max = UINT32_MAX;
	w->card.offload.lso_v2.ipv6_bytes_max = 1000;
	world_become_ready(w);
	assert_int_equal(w->netvsc.offloads.segments_ipv4_bytes, 65549);
	assert_int_equal(w->netvsc.offloads.segments_ipv6_bytes, 0);
}

/* The parameters of OID_TCP_OFFLOAD_PARAMETERS, as the host gets them. */
static struct ndis_offload_parameters offloads_asked(struct world *w)
{
	struct ndis_offload_parameters parameters;
	struct rndis_request request = { 0 };
	struct question question;

	world_open_primary(w);
	while (request.oid != OID_TCP_OFFLOAD_PARAMETERS) {
		uint32_t events = host_serve_step(w, &question);

		assert_int_equal(events & ~NETVSC_EVENT_BUFFERS, 0);
		if (events & NETVSC_EVENT_BUFFERS)
			assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive, &w->send, 0), 0);
		if (question.data_bytes >= 8 + sizeof(request))
			memcpy(&request, w->data + 8, sizeof(request));
	}
	memset(&parameters, 0, sizeof(parameters));
	assert_int_equal(request.info_offset, sizeof(request));
	assert_int_equal(question.data_bytes, 8 + sizeof(request) + request.info_bytes);
	memcpy(&parameters, w->data + 8 + sizeof(request), request.info_bytes);
	assert_int_equal(parameters.object.bytes, request.info_bytes);
	return parameters;
}

static void what_the_host_can_do_is_switched_on(void **state)
{
	struct world *w = *state;
	struct ndis_offload_parameters wish = offloads_asked(w);

	assert_int_equal(wish.object.type, NDIS_OBJECT_DEFAULT);
	assert_int_equal(wish.object.revision, 3);
	assert_int_equal(wish.ipv4_checksum, NDIS_OFFLOAD_DISABLED);
	assert_int_equal(wish.tcp_ipv4_checksum, NDIS_OFFLOAD_TX_RX);
	assert_int_equal(wish.udp_ipv6_checksum, NDIS_OFFLOAD_TX_RX);
	assert_int_equal(wish.lso_v2_ipv4, NDIS_OFFLOAD_ENABLED);
	assert_int_equal(wish.rsc_ipv4, NDIS_OFFLOAD_ENABLED);
	assert_int_equal(wish.rsc_ipv6, NDIS_OFFLOAD_ENABLED);
	w = again(state);
	w->config.coalesce = false;
	w->card.offload.lso_v2.ipv6_options = 0;
	wish = offloads_asked(w);
	assert_int_equal(wish.rsc_ipv4, NDIS_OFFLOAD_DISABLED);
	assert_int_equal(wish.lso_v2_ipv6, NDIS_OFFLOAD_DISABLED);
	w = again(state);
	w->card.version = NVSP_VERSION_4;
	wish = offloads_asked(w);
	assert_int_equal(wish.object.bytes, NDIS_OFFLOAD_PARAMETERS_BYTES_MIN);
	assert_int_equal(wish.tcp_ipv4_checksum, NDIS_OFFLOAD_TX_RX);
	assert_int_equal(wish.udp_ipv4_checksum, NDIS_OFFLOAD_NO_CHANGE);
}

/* ---- hosts that do not do their part ---- */

static void each_step_that_is_not_answered_in_time_fails_the_set_up(void **state)
{
	for (int steps = 0; steps < 20; steps++) {
		struct world *w = again(state);
		struct question question;
		uint32_t events = 0;
		int done = 0;

		world_open_primary(w);
		while (done < steps) {
			events = host_serve_step(w, &question);
			if (events & NETVSC_EVENT_BUFFERS)
				assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive,
								    &w->send, w->now_ns), 0);
			done++;
			if (events & NETVSC_EVENT_READY)
				return; /* all steps have been tried */
		}
		w->now_ns += TIMEOUT_NS - 1;
		assert_int_equal(netvsc_on_timer(&w->netvsc, w->now_ns), 0);
		w->now_ns++;
		if (!w->netvsc.control.busy)
			continue;
		assert_int_equal(netvsc_on_timer(&w->netvsc, w->now_ns), NETVSC_EVENT_FAILED);
		assert_int_equal(w->netvsc.error, -LIS_TIMEOUT);
		assert_int_equal(netvsc_on_timer(&w->netvsc, w->now_ns + TIMEOUT_NS), 0);
		/* What comes now changes nothing. */
		while (host_look(w, 0, &question))
			if (question.wants_completion)
				host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
		world_receive(w, 0);
		assert_int_equal(w->netvsc.state, NETVSC_FAILED);
	}
	fail_msg("the set-up has more steps than the test knows");
}

static void an_answer_of_another_kind_fails_the_set_up(void **state)
{
	static const uint32_t types[] = {
		NVSP_INIT_COMPLETE, NVSP_SEND_RECEIVE_BUFFER_COMPLETE, NVSP_SEND_SEND_BUFFER_COMPLETE,
		NVSP_SEND_RNDIS_PACKET_COMPLETE, NVSP_SUB_CHANNEL, 4711,
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		for (int step = 0; step < 3; step++) {
			struct world *w = again(state);
			struct nvsp_message answer = { .type = types[i] };
			struct question question;

			answer.init_complete.status = NVSP_STATUS_SUCCESS;
			world_open_primary(w);
			question = host_take(w, 0);
			for (int at = 0; at < step; at++) {
				struct nvsp_message good = { .type = NVSP_INIT_COMPLETE,
							     .init_complete = w->card.init };

				good.init_complete.status = NVSP_STATUS_SUCCESS;
				if (at) {
					good.type = NVSP_SEND_RECEIVE_BUFFER_COMPLETE;
					good.receive_buffer_complete = w->card.receive;
				}
				host_answer(w, 0, question.id, &good);
				if (world_receive(w, 0) & NETVSC_EVENT_BUFFERS)
					assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive,
									    &w->send, 0), 0);
				do
					question = host_take(w, 0);
				while (!question.wants_completion);
			}
			if (types[i] == types[step])
				continue;
			host_answer(w, 0, question.id, &answer);
			assert_int_equal(world_receive(w, 0), NETVSC_EVENT_FAILED);
			assert_int_equal(w->netvsc.error, -LIS_CORRUPT);
		}
	}
}

static void an_answer_cut_short_fails_the_set_up(void **state)
{
	struct world *w = *state;
	struct nvsp_message answer = { .type = NVSP_INIT_COMPLETE,
				       .init_complete.status = NVSP_STATUS_SUCCESS };
	struct question question;

	world_open_primary(w);
	question = host_take(w, 0);
	assert_int_equal(host_send(w, 0, VMBUS_PACKET_COMPLETION, question.id, &answer, 8), 0);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_FAILED);
	assert_int_equal(w->netvsc.error, -LIS_CORRUPT);
}

static void an_answer_to_nothing_is_dropped(void **state)
{
	struct world *w = *state;
	struct nvsp_message answer = { .type = NVSP_INIT_COMPLETE,
				       .init_complete.status = NVSP_STATUS_SUCCESS };
	struct question question;

	world_open_primary(w);
	question = host_take(w, 0);
	host_answer(w, 0, question.id + 1, &answer);
	host_answer(w, 0, 0, &answer);
	host_answer(w, 0, question.id | 1ull << 40, &answer);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 3);
	host_answer(w, 0, question.id, &answer);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_BUFFERS);
	/* Twice. */
	host_answer(w, 0, question.id, &answer);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 4);
}

/* ---- life ---- */

static void every_allocation_may_fail(void **state)
{
	for (unsigned i = 0; i < 6; i++) {
		struct world *w = again(state);
		int err;

		w->allocations_left = i;
		err = netvsc_init(&w->netvsc, &w->config);
		if (!err)
			err = world_open_channel(w, 0);
		assert_int_equal(err, i < 5 ? -LIS_NOMEM : 0);
		assert_null(netvsc_channel_close(&w->channels[0]));
		netvsc_fini(&w->netvsc);
		assert_int_equal(w->allocations, 0);
	}
}

static void impossible_configurations_are_refused(void **state)
{
	struct world *w;

#define REFUSED(change) \
	do { \
		w = again(state); \
		change; \
		assert_int_equal(netvsc_init(&w->netvsc, &w->config), -LIS_INVALID); \
	} while (0)
	REFUSED(w->config.version_max = 0x30000);
	REFUSED(w->config.control_page = NULL);
	REFUSED(w->config.mtu = NETVSC_MTU_MAX + 1);
	REFUSED(w->config.send_bytes_max = NETVSC_SEND_BYTES_MAX + 1);
#undef REFUSED
#define CHANNEL_REFUSED(change) \
	do { \
		w = again(state); \
		assert_int_equal(netvsc_init(&w->netvsc, &w->config), 0); \
		change; \
		assert_int_equal(world_open_channel(w, 0), -LIS_INVALID); \
	} while (0)
	CHANNEL_REFUSED(w->channel_config.queue_depth = 0);
	CHANNEL_REFUSED(w->channel_config.queue_depth = NETVSC_QUEUE_DEPTH_MAX + 1);
	CHANNEL_REFUSED(w->channel_config.head_pages = 0);
	CHANNEL_REFUSED(w->channel_config.head_pages = 1025);
#undef CHANNEL_REFUSED
	/* Twice the same. */
	w = again(state);
	assert_int_equal(netvsc_init(&w->netvsc, &w->config), 0);
	assert_int_equal(world_open_channel(w, 0), 0);
	w->channel_config.heads = w->heads[0];
	assert_int_equal(netvsc_channel_open(&w->netvsc, &w->channels[1], &w->channel_config),
			 -LIS_INVALID);
}

static void nothing_goes_before_ready(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 60);
	bool done;

	world_open_primary(w);
	assert_int_equal(netvsc_start(&w->netvsc, 0), -LIS_GONE);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &request, &done), -LIS_GONE);
	assert_int_equal(netvsc_set_filter(&w->netvsc, 1, 0), -LIS_GONE);
	assert_int_equal(netvsc_halt(&w->netvsc, 0), -LIS_GONE);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 1, 0), -LIS_GONE);
	assert_int_equal(world_open_channel(w, 1), -LIS_GONE);
}

static void a_card_is_set_up_again_after_it_was_closed(void **state)
{
	struct world *w = *state;
	struct question question;

	for (int i = 0; i < 3; i++) {
		world_become_ready(w);
		assert_int_equal(netvsc_set_filter(&w->netvsc, 0xf, w->now_ns), 0);
		question = host_take(w, 0);
		assert_int_equal(host_answer_control(w, &question), NETVSC_EVENT_CONTROL);
		assert_int_equal(netvsc_halt(&w->netvsc, w->now_ns), 0);
		question = host_take(w, 0);
		assert_int_equal(host_answer_control(w, &question), NETVSC_EVENT_CONTROL);
		assert_int_equal(w->netvsc.control.error, 0);
		assert_int_equal(netvsc_set_filter(&w->netvsc, 0xf, w->now_ns), -LIS_GONE);
		netvsc_revoke(&w->netvsc);
		question = host_take(w, 0);
		assert_int_equal(question.message.type, NVSP_REVOKE_RECEIVE_BUFFER);
		assert_int_equal(question.message.revoke.id, NVSP_RECEIVE_BUFFER_ID);
		assert_false(question.wants_completion);
		question = host_take(w, 0);
		assert_int_equal(question.message.type, NVSP_REVOKE_SEND_BUFFER);
		assert_int_equal(question.message.revoke.id, NVSP_SEND_BUFFER_ID);
		w = again(state);
	}
}

/* The driver has taken its memory back, and the host of the next time speaks too early. */
static void buffers_are_forgotten_with_the_channel(void **state)
{
	struct world *w = *state;
	struct host_message frame = host_frame(w->frames, 60, NULL, 0);

	world_become_ready(w);
	assert_null(netvsc_channel_close(&w->channels[0]));
	wire_reset(&w->wires[0]);
	assert_int_equal(world_open_channel(w, 0), 0);
	assert_int_equal(netvsc_start(&w->netvsc, w->now_ns), 0);
	host_say(w, 0, frame.bytes, frame.length);
	assert_null(world_next(w, 0, NULL));
	assert_int_equal(world_violations(w), 1);
	netvsc_revoke(&w->netvsc);
	assert_int_equal(host_take(w, 0).message.type, NVSP_INIT);
	assert_false(host_look(w, 0, &(struct question){ 0 }));
}

static void closing_is_possible_at_any_step(void **state)
{
	for (int steps = 0; steps < 13; steps++) {
		struct world *w = again(state);
		struct question question;

		world_open_primary(w);
		for (int i = 0; i < steps; i++)
			if (host_serve_step(w, &question) & NETVSC_EVENT_BUFFERS)
				assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive,
								    &w->send, 0), 0);
		netvsc_revoke(&w->netvsc);
		assert_null(netvsc_channel_close(&w->channels[0]));
		assert_null(netvsc_channel_close(&w->channels[0]));
		assert_int_equal(world_receive(w, 0), 0);
		assert_false(netvsc_channel_flush(&w->channels[0]));
		assert_int_equal(netvsc_on_timer(&w->netvsc, UINT64_MAX), 0);
		netvsc_fini(&w->netvsc);
		assert_int_equal(w->allocations, 0);
	}
}

/* ---- sub-channels ---- */

static uint32_t answer_sub_channels(struct world *w, uint32_t status, uint32_t count)
{
	struct question question = host_take(w, 0);
	struct nvsp_message answer = { .type = NVSP_SUB_CHANNEL,
				       .sub_channel_complete = { status, count } };

	assert_int_equal(question.message.type, NVSP_SUB_CHANNEL);
	assert_int_equal(question.message.sub_channel_request.operation, NVSP_SUB_CHANNEL_ALLOCATE);
	host_answer(w, 0, question.id, &answer);
	return world_receive(w, 0);
}

static void sub_channels_are_as_many_as_the_host_gives(void **state)
{
	struct world *w = *state;

	world_become_ready(w);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 0, 0), -LIS_INVALID);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 64, 0), -LIS_INVALID);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 3, w->now_ns), 0);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 3, w->now_ns), -LIS_BUSY);
	assert_int_equal(answer_sub_channels(w, NVSP_STATUS_SUCCESS, 2), NETVSC_EVENT_CONTROL);
	assert_int_equal(w->netvsc.control.error, 0);
	assert_int_equal(w->netvsc.sub_channels, 2);
	assert_int_equal(world_open_channel(w, 1), 0);
	assert_int_equal(world_open_channel(w, 2), 0);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 3, w->now_ns), 0);
	assert_int_equal(answer_sub_channels(w, NVSP_STATUS_FAILURE, 3), NETVSC_EVENT_CONTROL);
	assert_int_equal(w->netvsc.control.error, -LIS_REFUSED);
	assert_int_equal(w->netvsc.sub_channels, 0);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 3, w->now_ns), 0);
	assert_int_equal(answer_sub_channels(w, NVSP_STATUS_SUCCESS, 4), NETVSC_EVENT_CONTROL);
	assert_int_equal(w->netvsc.control.error, -LIS_CORRUPT);
	assert_int_equal(w->netvsc.sub_channels, 0);
}

static void hosts_of_old_have_no_sub_channels(void **state)
{
	struct world *w = *state;

	w->card.version = NVSP_VERSION_4;
	world_become_ready(w);
	assert_int_equal(netvsc_ask_sub_channels(&w->netvsc, 1, 0), -LIS_INVALID);
	assert_int_equal(w->netvsc.rss.queues_max, 0);
}

static void a_send_table_is_checked_before_it_is_used(void **state)
{
	struct world *w = *state;
	struct {
		struct nvsp_message message;
		uint32_t table[NVSP_SEND_TABLE_COUNT];
	} send = {
		.message = { .type = NVSP_SEND_INDIRECTION_TABLE,
			     .indirection_table = { NVSP_SEND_TABLE_COUNT, sizeof(send.message) } },
	};

	world_become_ready(w);
	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		send.table[i] = i % 3;
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send));
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_SEND_TABLE);
	assert_int_equal(netvsc_channel_of_hash(&w->netvsc, 5), 2);
	assert_int_equal(netvsc_channel_of_hash(&w->netvsc, 5 + 16 * 1000), 2);
	/* Numbers that no channel has. */
	send.table[7] = UINT32_MAX;
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send));
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_SEND_TABLE);
	assert_in_range(netvsc_channel_of_hash(&w->netvsc, 7), 0, NETVSC_CHANNELS_MAX - 1);
	assert_int_equal(world_violations(w), 0);
	send.message.indirection_table.count = 15;
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send));
	send.message.indirection_table.count = 16;
	send.message.indirection_table.offset = sizeof(send.message) + 1;
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send));
	send.message.indirection_table.offset = UINT32_MAX;
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send));
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, 8);
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send.message));
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 5);
}

static void hosts_up_to_6_may_name_a_wrong_offset(void **state)
{
	struct world *w = *state;
	struct {
		struct nvsp_message message;
		uint32_t table[NVSP_SEND_TABLE_COUNT];
	} send = {
		.message = { .type = NVSP_SEND_INDIRECTION_TABLE,
			     .indirection_table = { NVSP_SEND_TABLE_COUNT, 12 } },
		.table = { [1] = 3 },
	};

	w->card.version = NVSP_VERSION_6;
	world_become_ready(w);
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &send, sizeof(send));
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_SEND_TABLE);
	assert_int_equal(netvsc_channel_of_hash(&w->netvsc, 1), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
		TEST(versions_are_tried_newest_first_until_the_host_takes_one),
		TEST(a_limit_on_versions_is_kept),
		TEST(a_host_that_takes_no_version_fails_the_set_up),
		TEST(an_isolated_guest_takes_6_1_or_nothing),
		TEST(the_host_is_told_what_fits_the_version),
		TEST(buffers_that_cannot_be_are_refused),
		TEST(hosts_of_old_have_smaller_receive_buffers),
		TEST(sections_that_cannot_be_fail_the_set_up),
		TEST(rndis_limits_that_cannot_be_fail_the_set_up),
		TEST(the_card_is_as_the_host_says),
		TEST(a_card_can_do_without_most_answers),
		TEST(answers_that_cannot_be_count_for_nothing),
		TEST(what_the_host_can_do_is_switched_on),
		TEST(each_step_that_is_not_answered_in_time_fails_the_set_up),
		TEST(an_answer_of_another_kind_fails_the_set_up),
		TEST(an_answer_cut_short_fails_the_set_up),
		TEST(an_answer_to_nothing_is_dropped),
		TEST(every_allocation_may_fail),
		TEST(impossible_configurations_are_refused),
		TEST(nothing_goes_before_ready),
		TEST(a_card_is_set_up_again_after_it_was_closed),
		TEST(buffers_are_forgotten_with_the_channel),
		TEST(closing_is_possible_at_any_step),
		TEST(sub_channels_are_as_many_as_the_host_gives),
		TEST(hosts_of_old_have_no_sub_channels),
		TEST(a_send_table_is_checked_before_it_is_used),
		TEST(hosts_up_to_6_may_name_a_wrong_offset),
#undef TEST
	};

	return cmocka_run_group_tests_name("loopback/netvsc_setup", tests, NULL, NULL);
}
