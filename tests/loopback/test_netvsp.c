/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The network VSP and NVSP: versions, configuration, buffers, sub-channels. */
#include "tests/loopback/netvsp_world.h"

static const uint32_t versions[] = {
#define LIST(version) version,
	NVSP_VERSIONS(LIST)
#undef LIST
};

/* ---- versions ---- */

static void every_version_is_agreed_on(void **state)
{
	struct world *world = *state;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		world->config.version = versions[i];
		/* Linux sends the long form always, Windows what the version has. */
		world->guest.message_bytes = i % 2 ? NVSP_MESSAGE_BYTES : NVSP_MESSAGE_BYTES_6_1;
		world_ready(world, FILTER_ALL);
		assert_int_equal(netvsp_status(world->netvsp).version, versions[i]);
		assert_true(netvsp_status(world->netvsp).ready);
		world_carries(world);
		netvsp_guest_close(&world->guest, 0);
		assert_int_equal(netvsp_status(world->netvsp).version, 0);
		assert_int_equal(netvsp_status(world->netvsp).channels_open, 0);
		assert_false(netvsp_status(world->netvsp).ready);
	}
}

static void answers_are_as_long_as_the_versions_messages(void **state)
{
	struct world *world = *state;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct nvsp_message message = { .type = NVSP_SEND_RECEIVE_BUFFER };
		struct netvsp_guest_completion completion;

		world->config.version = versions[i];
		world_open(world);
		assert_int_equal(netvsp_guest_call(&world->guest, &message, &completion), 0);
		assert_int_equal(completion.message.type, NVSP_SEND_RECEIVE_BUFFER_COMPLETE);
		assert_int_equal(completion.bytes, versions[i] >= NVSP_VERSION_6_1 ? 40 : 32);
		netvsp_guest_close(&world->guest, 0);
	}
}

static void unknown_versions_are_refused_until_one_is_known(void **state)
{
	static const uint32_t unknown[] = { 0, 1, 0x10000, 0x30003, 0x60002, 0x70000, UINT32_MAX };
	struct world *world = *state;

	assert_int_equal(netvsp_guest_open(&world->guest, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(netvsp_guest_version(&world->guest, unknown[i]), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_version(&world->guest, NVSP_VERSION_5), 0);
	assert_int_equal(netvsp_status(world->netvsp).version, NVSP_VERSION_5);
}

static void a_capped_version_refuses_the_newer_ones(void **state)
{
	const struct world_config config = { .version_max = NVSP_VERSION_4 };
	struct world *world = world_again(state, &config);

	assert_int_equal(netvsp_guest_open(&world->guest, 0), 0);
	assert_int_equal(netvsp_guest_version(&world->guest, NVSP_VERSION_6_1), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_version(&world->guest, NVSP_VERSION_6), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_version(&world->guest, NVSP_VERSION_5), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_version(&world->guest, NVSP_VERSION_4), 0);
}

static void only_the_first_version_has_its_number_in_the_answer(void **state)
{
	struct world *world = *state;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct nvsp_message message = { .type = NVSP_INIT,
						.init = { versions[i], versions[i] } };
		struct netvsp_guest_completion completion;

		assert_int_equal(netvsp_guest_open(&world->guest, 0), 0);
		assert_int_equal(netvsp_guest_call(&world->guest, &message, &completion), 0);
		assert_int_equal(completion.message.init_complete.mdl_chain_length_max, 34);
		assert_int_equal(completion.message.init_complete.version,
				 versions[i] == NVSP_VERSION_1 ? NVSP_VERSION_1 : UINT32_MAX);
		netvsp_guest_close(&world->guest, 0);
	}
}

/* ---- configuration ---- */

static void mtu_is_what_the_guest_wants_and_the_port_has(void **state)
{
	static const struct {
		uint32_t wanted, port, got, card;
	} cases[] = {
		{ 9014, 9000, 4014, 4000 }, { 1514, 9000, 1414, 1400 }, { 0, 9000, 1414, 1400 },
		{ 9014, 1500, 1514, 4000 },
		{ 0, 1500, 1514 }, { 1514, 1500, 1514 }, { 1400, 1500, 1514 },
		{ 9014, 9000, 9014 }, { 9014, 1500, 1514 }, { 65535, 65521, 65535 },
		{ UINT32_MAX, 65521, 65535 }, { 4000, 65521, 4000 }, { 1514, 1280, 1294 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct world_config config = { .mtu_max = cases[i].port,
						     .card_mtu_max = cases[i].card };
		struct world *world = world_again(state, &config);
		uint32_t value, bytes = sizeof(value);

		world_open(world);
		assert_int_equal(netvsp_guest_config(&world->guest, cases[i].wanted, 0), 0);
		world_share(world);
		assert_int_equal(netvsp_guest_initialize(&world->guest), 0);
		assert_int_equal(netvsp_status(world->netvsp).mtu, cases[i].got - 14);
		assert_true(world->guest.sub_bytes >= cases[i].got + 4 + 44);
		assert_true(world->guest.sub_bytes >= 2048);
		assert_int_equal(world->guest.sub_count,
				 world->guest.receive.bytes / world->guest.sub_bytes);
		assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_MAXIMUM_TOTAL_SIZE, &value,
						    &bytes), 0);
		assert_int_equal(value, cases[i].got);
	}
}

/* Any order is fine: what comes after the buffer changes no sub-allocation. */
static void mtu_that_grows_behind_the_buffer_is_harmless(void **state)
{
	const struct world_config config = { .mtu_bytes = 1514, .version = NVSP_VERSION_5 };
	struct world *world = world_again(state, &config);
	uint8_t frame[9014] = { 2, 0, 0, 0, 0, 1 };
	uint32_t sub_bytes;

	world_ready(world, FILTER_ALL);
	sub_bytes = world->guest.sub_bytes;
	assert_int_equal(netvsp_guest_config(&world->guest, 9014, 0), 0);
	memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 0);
	assert_int_equal(netvsp_status(world->netvsp).receive_dropped, 1);
	assert_int_equal(sub_bytes, world->guest.sub_bytes);
	world_carries(world);
}

/* ---- buffers ---- */

static void buffers_that_do_not_exist_are_refused(void **state)
{
	struct world *world = *state;

	world_open(world);
	assert_int_equal(netvsp_guest_give_receive(&world->guest, 0), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_give_receive(&world->guest, 4711), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_give_send(&world->guest, 0), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_give_send(&world->guest, 4711), -LIS_REFUSED);
	world_share(world);
	assert_int_equal(netvsp_guest_initialize(&world->guest), 0);
	world_set_filter(world, FILTER_ALL);
	world_carries(world);
}

static void buffers_that_are_too_small_are_refused_and_let_go(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_open(world);
	assert_int_equal(netvsp_guest_alloc(guest, 2, &guest->receive), 0);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, 2047), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), -LIS_REFUSED);
	assert_int_equal(mini_gpadl_teardown(&guest->mini, guest->channels[0].offer.channel_id,
					     guest->receive.gpadl_id), 0);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, 2048), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	assert_int_equal(guest->sub_count, 1);
	assert_int_equal(netvsp_guest_initialize(guest), 0);
	world_set_filter(world, FILTER_ALL);
	for (int i = 0; i < 20; i++) {
		uint8_t frame[60] = { 2, 0, 0, 0, 0, 1, [14] = (uint8_t)i };
		struct netvsp_guest_frame *came = world_receives(world, frame, sizeof(frame), NULL);

		assert_int_equal(came->data[14], i);
		free(came);
	}
}

/* The bus knows what guest memory is, and refuses the GPADL; there is nothing to give then. */
static void a_buffer_that_is_no_guest_memory_is_refused(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_open(world);
	assert_int_equal(netvsp_guest_alloc(guest, 8, &guest->receive), 0);
	guest->receive.pfns[5] = 1u << 30;
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, 8 * HV_PAGE_BYTES),
			 -LIS_REFUSED);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_give_send(guest, guest->receive.gpadl_id), -LIS_REFUSED);
	netvsp_guest_free(guest, &guest->receive);
	world_share(world);
}

static void a_second_buffer_is_refused(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_give_send(guest, guest->send.gpadl_id), -LIS_REFUSED);
	world_carries(world);
}

static void buffers_may_begin_anywhere_in_a_page(void **state)
{
	static const uint32_t offsets[] = { 1, 8, 100, 2048, 4095 };

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		const struct world_config config = { .mtu_bytes = 9014 };
		struct world *world = world_again(state, &config);
		struct netvsp_guest *guest = &world->guest;
		uint32_t bytes = 100 * HV_PAGE_BYTES - 4095;

		world_open(world);
		assert_int_equal(netvsp_guest_alloc(guest, 100, &guest->receive), 0);
		assert_int_equal(netvsp_guest_alloc(guest, 100, &guest->send), 0);
		assert_int_equal(netvsp_guest_share(guest, &guest->receive, offsets[i], bytes), 0);
		assert_int_equal(netvsp_guest_share(guest, &guest->send, offsets[i], bytes), 0);
		assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
		assert_int_equal(netvsp_guest_give_send(guest, guest->send.gpadl_id), 0);
		assert_int_equal(netvsp_guest_initialize(guest), 0);
		world_set_filter(world, FILTER_ALL);
		guest->keep = true;
		for (uint32_t n = 0; n < guest->sub_count - 3; n++) {
			uint8_t frame[9014];
			struct netvsp_guest_frame *came;

			for (uint32_t at = 0; at < sizeof(frame); at++)
				frame[at] = net_test_pattern(n, at);
			memcpy(frame, world_mac, sizeof(world_mac));
			came = world_receives(world, frame, sizeof(frame), NULL);
			assert_int_equal(came->bytes, sizeof(frame));
			assert_memory_equal(came->data, frame, sizeof(frame));
			free(came);
		}
		assert_int_equal(guest->sub_count, bytes / guest->sub_bytes);
		guest->keep = false;
		netvsp_guest_give_back(guest, UINT32_MAX);
		world_carries(world);
	}
}

/* The receive buffer is asked for in whole; the host never writes outside it. */
static void nothing_outside_the_receive_buffer_is_touched(void **state)
{
	const struct world_config config = { .mtu_bytes = 9014 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint8_t frame[9014] = { 2, 0, 0, 0, 0, 1 };
	uint8_t around[5000];

	world_open(world);
	assert_int_equal(netvsp_guest_alloc(guest, 40, &guest->receive), 0);
	memset(guest->receive.hva, 0xa5, 40 * HV_PAGE_BYTES);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 1000, 38 * HV_PAGE_BYTES + 17), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	assert_int_equal(netvsp_guest_initialize(guest), 0);
	world_set_filter(world, FILTER_ALL);
	guest->keep = true;
	guest->forget = true;
	for (uint32_t i = 0; i < 100; i++)
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	world_settle(world);
	guest->receive.offset = 0;
	netvsp_guest_read(&guest->receive, 0, around, 1000);
	netvsp_guest_read(&guest->receive, 1000 + 38 * HV_PAGE_BYTES + 17, around + 1000, 4000);
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(around[i], 0xa5);
	guest->receive.offset = 1000;
}

static void a_revoked_buffer_is_let_go_and_another_taken(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint32_t channel_id;

	world_ready(world, FILTER_ALL);
	channel_id = guest->channels[0].offer.channel_id;
	for (int i = 0; i < 5; i++) {
		uint32_t receive = guest->receive.gpadl_id, send = guest->send.gpadl_id;

		world_carries(world);
		assert_int_equal(netvsp_guest_revoke(guest, true), 0);
		assert_int_equal(netvsp_guest_revoke(guest, false), 0);
		world_settle(world);
		/* The host has let go: the bus answers at once. */
		assert_int_equal(mini_gpadl_teardown(&guest->mini, channel_id, receive), 0);
		assert_int_equal(mini_gpadl_teardown(&guest->mini, channel_id, send), 0);
		world_share(world);
	}
	world_carries(world);
}

static void frames_wait_while_there_is_no_buffer(void **state)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_revoke(guest, true), 0);
	assert_int_equal(netvsp_guest_revoke(guest, false), 0);
	world_settle(world);
	assert_int_equal(netvsp_guest_send_frame(guest, 0, &out), NVSP_STATUS_INVALID_RNDIS_PACKET);
	for (int i = 0; i < 10; i++)
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	world_settle(world);
	assert_int_equal(guest->frame_count, 0);
	world_share(world);
	world_settle(world);
	assert_int_equal(guest->frame_count, 10);
	netvsp_guest_drop(guest);
	guest->frame_count = 0;
	world_carries(world);
}

/* The guest tears a GPADL down that it has given away: the bus waits until the card lets go. */
static void a_buffer_torn_down_in_use_stays_until_it_is_revoked(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct vmbus_msg_gpadl_teardown teardown = {
		.header.type = VMBUS_MSG_GPADL_TEARDOWN,
	};
	struct vmbus_msg_gpadl_torndown torndown;

	world_ready(world, FILTER_ALL);
	teardown.channel_id = guest->channels[0].offer.channel_id;
	teardown.gpadl_id = guest->receive.gpadl_id;
	assert_int_equal(mini_post(&guest->mini, guest->mini.connection_id, &teardown,
				   sizeof(teardown)), 0);
	for (int i = 0; i < 10; i++)
		world_carries(world);
	assert_int_equal(netvsp_guest_give_send(guest, guest->receive.gpadl_id), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_revoke(guest, true), 0);
	assert_int_equal(mini_expect(&guest->mini, VMBUS_MSG_GPADL_TORNDOWN, &torndown,
				     sizeof(torndown)), 0);
	assert_int_equal(torndown.gpadl_id, teardown.gpadl_id);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), -LIS_REFUSED);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, guest->receive.bytes), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	world_carries(world);
}

static void buffers_are_revoked_while_the_guest_holds_frames(void **state)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	guest->forget = true;
	for (int i = 0; i < 100; i++)
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	world_settle(world);
	assert_true(guest->held_count > 0);
	assert_int_equal(netvsp_guest_revoke(guest, true), 0);
	world_settle(world);
	/* What comes back now is nobody's. */
	guest->keep = false;
	guest->forget = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	netvsp_guest_forget_held(guest);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, guest->receive.bytes), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	world_carries(world);
}

/* It comes back when there is the next buffer: it is none of that one's packets, and no offence. */
static void what_comes_back_of_a_revoked_buffer_is_not_the_next_ones(void **state)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };
	const struct world_config config = { .receive_pages = 32 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_held old[8];
	uint32_t count;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	guest->forget = true;
	for (uint32_t round = 0; round < 3; round++) {
		for (int i = 0; i < 8; i++) {
			memory_port_queue(&world->port, frame, sizeof(frame), NULL);
			world_settle(world);
		}
		count = guest->held_count < 8 ? guest->held_count : 8;
		assert_true(count > 0);
		memcpy(old, guest->held, count * sizeof(old[0]));
		netvsp_guest_forget_held(guest);
		assert_int_equal(netvsp_guest_revoke(guest, true), 0);
		world_settle(world);
		assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, guest->receive.bytes), 0);
		assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
		/* These hold the sub-allocations that the old ones held. */
		for (int i = 0; i < 8; i++) {
			memory_port_queue(&world->port, frame, sizeof(frame), NULL);
			world_settle(world);
		}
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(netvsp_guest_complete(guest, old[i].channel, old[i].id), 0);
		world_settle(world);
		/* None of them may come again while the guest has it; see take_range(). */
		for (uint32_t i = 0; i < 3 * guest->sub_count; i++)
			memory_port_queue(&world->port, frame, sizeof(frame), NULL);
		world_settle(world);
		assert_null(guest->problem);
		guest->keep = false;
		netvsp_guest_give_back(guest, UINT32_MAX);
		world_settle(world);
		guest->keep = true;
	}
	guest->keep = guest->forget = false;
	world_carries(world);
}

/* ---- sub-channels ---- */

static void sub_channels_come_as_asked_for(void **state)
{
	const struct world_config config = { .channels_max = 8 };
	struct world *world = world_again(state, &config);

	world_open(world);
	/* Not before RNDIS is up: so it is with every host. */
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, 3), -LIS_REFUSED);
	world_share(world);
	assert_int_equal(netvsp_guest_initialize(&world->guest), 0);
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, 0), 0);
	assert_int_equal(netvsp_guest_open(&world->guest, 1), -LIS_NOTFOUND);
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, 3), 3);
	world_settle(world);
	assert_int_equal(world->guest.table_count, 1);
	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		assert_int_equal(world->guest.table[i], i % 4);
	for (uint32_t i = 1; i <= 3; i++)
		assert_int_equal(netvsp_guest_open(&world->guest, i), 0);
	assert_int_equal(netvsp_guest_open(&world->guest, 4), -LIS_NOTFOUND);
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, UINT32_MAX), 7);
	world_settle(world);
	for (uint32_t i = 4; i <= 7; i++)
		assert_int_equal(netvsp_guest_open(&world->guest, i), 0);
	assert_int_equal(netvsp_status(world->netvsp).channels_open, 8);
}

static void old_versions_have_no_sub_channels(void **state)
{
	const struct world_config config = { .version = NVSP_VERSION_4 };
	struct world *world = world_again(state, &config);
	struct nvsp_message message = {
		.type = NVSP_SUB_CHANNEL, .sub_channel_request = { NVSP_SUB_CHANNEL_ALLOCATE, 1 },
	};

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_send_nvsp(&world->guest, 0, 1, &message, true), 0);
	world_is_broken(world);
}

static void every_channel_sends(void **state)
{
	const struct world_config config = { .channels_max = 9 };
	struct world *world = world_again(state, &config);

	world_ready(world, FILTER_ALL);
	world_channels(world, 8);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 9; i++) {
			uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, [20] = (uint8_t)i };
			struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
			struct memory_frame *sent;

			assert_int_equal(netvsp_guest_send_frame(&world->guest, i, &out),
					 NVSP_STATUS_SUCCESS);
			sent = memory_port_take(&world->port);
			assert_non_null(sent);
			assert_memory_equal(sent->data, frame, sizeof(frame));
			free(sent);
		}
		assert_int_equal(world->port.unflushed, 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_version_is_agreed_on),
		TEST(answers_are_as_long_as_the_versions_messages),
		TEST(unknown_versions_are_refused_until_one_is_known),
		TEST(a_capped_version_refuses_the_newer_ones),
		TEST(only_the_first_version_has_its_number_in_the_answer),
		TEST(mtu_is_what_the_guest_wants_and_the_port_has),
		TEST(mtu_that_grows_behind_the_buffer_is_harmless),
		TEST(buffers_that_do_not_exist_are_refused),
		TEST(buffers_that_are_too_small_are_refused_and_let_go),
		TEST(a_buffer_that_is_no_guest_memory_is_refused),
		TEST(a_second_buffer_is_refused),
		TEST(buffers_may_begin_anywhere_in_a_page),
		TEST(nothing_outside_the_receive_buffer_is_touched),
		TEST(a_revoked_buffer_is_let_go_and_another_taken),
		TEST(frames_wait_while_there_is_no_buffer),
		TEST(a_buffer_torn_down_in_use_stays_until_it_is_revoked),
		TEST(buffers_are_revoked_while_the_guest_holds_frames),
		TEST(what_comes_back_of_a_revoked_buffer_is_not_the_next_ones),
		TEST(sub_channels_come_as_asked_for),
		TEST(old_versions_have_no_sub_channels),
		TEST(every_channel_sends),
	};

	return cmocka_run_group_tests_name("netvsp", tests, NULL, NULL);
}
