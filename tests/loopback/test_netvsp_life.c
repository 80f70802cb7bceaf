/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The network VSP's life: it comes, is opened again and again, goes under load, and its link changes. */
#include "tests/loopback/netvsp_world.h"

/* ---- life ---- */

static void a_card_is_refused_that_makes_no_sense(void **state)
{
	struct world *world = *state;
	struct netvsp_config config = {
		.name = "nic1", .mac = { 2, 0, 0, 0, 0, 9 }, .bus_loop = world->bus_loop,
		.loop = world->loop, .port = &world->port.base,
	};
	struct netvsp_config wrong = config;
	struct netvsp *netvsp;

	wrong.loop = NULL;
	assert_int_equal(netvsp_create(world->host, &wrong, &netvsp), -LIS_INVALID);
	wrong = config;
	wrong.port = NULL;
	assert_int_equal(netvsp_create(world->host, &wrong, &netvsp), -LIS_INVALID);
	wrong = config;
	wrong.mac[0] = 3;
	assert_int_equal(netvsp_create(world->host, &wrong, &netvsp), -LIS_INVALID);
	wrong = config;
	memset(wrong.mac, 0, sizeof(wrong.mac));
	assert_int_equal(netvsp_create(world->host, &wrong, &netvsp), -LIS_INVALID);
	wrong = config;
	wrong.channels_max = NETVSP_CHANNELS_MAX + 1;
	assert_int_equal(netvsp_create(world->host, &wrong, &netvsp), -LIS_INVALID);
	wrong = config;
	wrong.instance_id = netvsp_instance_id(world_mac);
	assert_int_equal(netvsp_create(world->host, &wrong, &netvsp), -LIS_BUSY);
}

static void a_card_nobody_opened_goes(void **state)
{
	struct world *world = *state;

	world_destroy_card(world);
	assert_int_equal(world->port.set_receives, 0);
}

static void a_closed_card_begins_anew(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	for (int i = 0; i < 20; i++) {
		static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };

		world_ready(world, FILTER_ALL);
		guest->keep = true;
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
		world_settle(world);
		assert_int_equal(guest->frame_count, 1);
		free(netvsp_guest_take_frame(guest));
		guest->keep = false;
		netvsp_guest_close(guest, 0);
		netvsp_guest_forget_held(guest);
		assert_int_equal(netvsp_status(world->netvsp).filter, 0);
		/* For the next guest. */
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
		world_open(world);
		world_share(world);
		assert_int_equal(netvsp_guest_initialize(guest), 0);
		world_settle(world);
		assert_int_equal(guest->frame_count, 0);
		world_set_filter(world, NDIS_FILTER_DIRECTED);
		world_settle(world);
		assert_int_equal(guest->frame_count, 1);
		netvsp_guest_drop(guest);
		guest->frame_count = 0;
		world_carries(world);
		netvsp_guest_close(guest, 0);
	}
}

/* What it leaves unchanged was never there. */
static void a_guest_finds_no_hash_table_of_the_one_before(void **state)
{
	const uint16_t unchanged = NDIS_RSS_TABLE_UNCHANGED | NDIS_RSS_KEY_UNCHANGED;
	const struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_UDP };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint8_t data[100];
	struct net_test_layout layout = net_test_build(&frame, data);

	for (uint32_t i = 0; i < 6; i++) {
		bool first = i % 2 == 0;

		world_ready(world, FILTER_ALL);
		world_channels(world, 1);
		assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, first ? 0 : unchanged, 1, 1), 0);
		guest->keep = guest->forget = true;
		memory_port_queue(&world->port, data, layout.bytes, NULL);
		world_settle(world);
		assert_int_equal(guest->held_count, 1);
		assert_int_equal(guest->held[0].channel, first ? 1 : 0);
		guest->keep = guest->forget = false;
		netvsp_guest_close(guest, 1);
		netvsp_guest_close(guest, 0);
		netvsp_guest_forget_held(guest);
		world_settle(world);
	}
}

static void a_card_goes_under_load(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };
	uint8_t message[200];
	struct netvsp_guest_way way = { .section = 3 };

	world_ready(world, FILTER_ALL);
	world_channels(world, 3);
	guest->keep = true;
	for (int i = 0; i < 500; i++)
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	way.section_bytes = netvsp_guest_message(
		&(struct netvsp_guest_out){ .data = frame, .bytes = sizeof(frame) }, message);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(netvsp_guest_send(guest, i % 4, i, message, way.section_bytes, &way),
				 0);
	io_loop_turn(world->loop, false);
	netvsp_guest_poll(guest);
	world_destroy_card(world);
	assert_null(guest->problem);
}

static const struct vmbus_msg_offer_channel *offer_other_than(const struct netvsp_guest *guest,
							      uint32_t channel_id)
{
	const struct vmbus_msg_offer_channel *offer =
		mini_find_offer(&guest->mini, &guest->instance_id, 0);

	return offer && offer->channel_id != channel_id ? offer : NULL;
}

static void on_reset(struct io_call *call)
{
	call->fn = NULL;
}

/* Under load, with the guest told only when all is over; also where the machine is reset meanwhile. */
static void a_card_that_went_comes_back(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	for (uint32_t round = 0; round < 12; round++) {
		uint32_t old_id, next = 0;

		world_ready(world, FILTER_ALL);
		world_channels(world, 3);
		old_id = guest->channels[0].offer.channel_id;
		guest->keep = true;
		for (uint32_t i = 0; i < 300; i++)
			world_queue_numbered(world, i, 60);
		io_loop_turn(world->loop, false);
		netvsp_guest_poll(guest);
		world_take_numbered(world, &next, 300);
		if (round % 3 == 2) {
			/* One waits for the other's channels. */
			struct io_call reset = { .fn = on_reset };

			netvsp_destroy(world->netvsp, &world->call);
			vmbus_host_reset(world->host, &reset);
			for (int i = 0; i < 1000 && (!world->called || reset.fn); i++)
				guest->mini.pump(guest->mini.pump_arg);
			assert_int_equal(world->called, 1);
			assert_null(reset.fn);
			world->called = 0;
			memset(guest->open, 0, sizeof(guest->open));
		} else {
			world_destroy_card(world);
		}
		assert_false(world->port.started);
		world_create_card(world);
		world_runs(world);
		mini_drain(&guest->mini);
		/* The guest has not let go of the old one. */
		assert_null(round % 3 == 2 ? NULL : offer_other_than(guest, old_id));
		for (uint32_t i = NETVSP_GUEST_CHANNELS; i-- > 0;)
			netvsp_guest_close(guest, i);
		guest->keep = false;
		netvsp_guest_drop(guest);
		netvsp_guest_forget_held(guest);
		guest->frame_count = 0;
		if (round % 3 == 2) {
			assert_int_equal(mini_connect(&guest->mini, VMBUS_VERSION_IRON), 0);
			assert_int_equal(mini_request_offers(&guest->mini), 0);
		}
		world_ready(world, FILTER_ALL);
		/* What waited behind the card. */
		netvsp_guest_drop(guest);
		guest->frame_count = 0;
		world_carries(world);
		netvsp_guest_close(guest, 0);
		assert_null(guest->problem);
	}
}

/* Each channel is closed while the card's loop goes on, as on another thread. */
static struct {
	struct world *world;
	const struct partition_ops *ops;
} closing;

static void unbind_and_run(struct partition *partition, uint32_t connection_id)
{
	closing.ops->unbind_signal(partition, connection_id);
	for (int i = 0; i < 20; i++) {
		io_loop_turn(closing.world->loop, false);
		netvsp_guest_poll(&closing.world->guest);
	}
}

/*
 * Sub-channels are closed first, and the guest, who does not know yet, reads on: what came on them must
 * not be written over by what comes on the primary channel.
 */
static void what_the_guest_holds_of_a_card_that_goes_is_its_own(void **state)
{
	const struct world_config config = { .receive_pages = 16 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct partition_ops ops = *world->partition->ops;

	world_ready(world, FILTER_ALL);
	world_channels(world, 3);
	assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, 0, 0, 4), 0);
	guest->keep = guest->forget = true;
	for (uint32_t i = 0; i < 200; i++) {
		struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_UDP, .host = i };
		uint8_t data[100];
		struct net_test_layout layout = net_test_build(&frame, data);

		memory_port_queue(&world->port, data, layout.bytes, NULL);
	}
	world_settle(world);
	assert_true(guest->held_count > 1);
	closing.world = world;
	closing.ops = world->partition->ops;
	ops.unbind_signal = unbind_and_run;
	world->partition->ops = &ops;
	world_destroy_card(world);
	world->partition->ops = closing.ops;
	/* None came again that it has. */
	world_check(world);
}

static void a_guest_that_vanishes_leaves_nothing_behind(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };

	world_ready(world, FILTER_ALL);
	world_channels(world, 2);
	guest->keep = true;
	for (int i = 0; i < 500; i++)
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	netvsp_guest_settle(guest);
	vmbus_host_reset(world->host, &world->call);
	for (int i = 0; i < 1000 && !world->called; i++)
		guest->mini.pump(guest->mini.pump_arg);
	assert_int_equal(world->called, 1);
	world->called = 0;
	assert_int_equal(netvsp_status(world->netvsp).channels_open, 0);
	memset(guest->open, 0, sizeof(guest->open));
	netvsp_guest_drop(guest);
	guest->frame_count = 0;
	guest->keep = false;
	netvsp_guest_forget_held(guest);
	assert_int_equal(mini_connect(&guest->mini, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&guest->mini), 0);
	world_ready(world, FILTER_ALL);
	netvsp_guest_drop(guest);
	guest->frame_count = 0;
	world_carries(world);
}

/* ---- link ---- */

static void link_changes_are_told(void **state)
{
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), 0);
	netvsp_set_link(world->netvsp, false);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), RNDIS_STATUS_MEDIA_DISCONNECT);
	assert_false(netvsp_status(world->netvsp).link_up);
	/* Down already. */
	memory_port_set_link(&world->port, false);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), 0);
	netvsp_set_link(world->netvsp, true);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), 0);
	memory_port_set_link(&world->port, true);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), RNDIS_STATUS_MEDIA_CONNECT);
	for (int i = 0; i < 10; i++) {
		netvsp_set_link(world->netvsp, i % 2);
		netvsp_set_link(world->netvsp, !(i % 2));
		netvsp_set_link(world->netvsp, i % 2);
		world_settle(world);
		assert_int_equal(netvsp_guest_take_indication(&world->guest),
				 i % 2 ? RNDIS_STATUS_MEDIA_CONNECT : RNDIS_STATUS_MEDIA_DISCONNECT);
	}
	world_carries(world);
}

static void a_pulled_cable_carries_nothing(void **state)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5 };
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	netvsp_set_link(world->netvsp, false);
	world_settle(world);
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	assert_int_equal(world->port.sent_frames, 0);
	memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 0);
	/* What came meanwhile does not come later. */
	netvsp_set_link(world->netvsp, true);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 0);
	world_carries(world);
}

static void speed_changes_are_told(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint32_t value, bytes = sizeof(value);

	netvsp_set_speed(world->netvsp, 1000000000);
	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_query(guest, OID_GEN_LINK_SPEED, &value, &bytes),
			 RNDIS_STATUS_SUCCESS);
	assert_int_equal(value, 10000000);
	/* What it knows already is no news. */
	netvsp_set_speed(world->netvsp, 1000000000);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(guest), 0);
	netvsp_set_speed(world->netvsp, 2500000000);
	netvsp_set_link(world->netvsp, false);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(guest), RNDIS_STATUS_LINK_SPEED_CHANGE);
	assert_int_equal(guest->indicated, 25000000);
	assert_int_equal(netvsp_guest_take_indication(guest), RNDIS_STATUS_MEDIA_DISCONNECT);
	assert_int_equal(guest->indicated, 0);
	/* Back to what the port says, which is more than there is room for. */
	world->port.base.bits_per_second = 800000000000;
	netvsp_set_speed(world->netvsp, 0);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(guest), RNDIS_STATUS_LINK_SPEED_CHANGE);
	assert_int_equal(guest->indicated, UINT32_MAX);
	assert_true(netvsp_status(world->netvsp).bits_per_second == 800000000000);
	world_check(world);
}

static void a_link_that_was_down_before_the_guest_came_is_known(void **state)
{
	struct world *world = *state;
	uint32_t value, bytes = sizeof(value);

	netvsp_set_link(world->netvsp, false);
	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), RNDIS_STATUS_MEDIA_DISCONNECT);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_MEDIA_CONNECT_STATUS, &value, &bytes),
			 RNDIS_STATUS_SUCCESS);
	assert_int_equal(value, RNDIS_MEDIA_DISCONNECTED);
	netvsp_set_link(world->netvsp, true);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(&world->guest), RNDIS_STATUS_MEDIA_CONNECT);
}

/* It changes while there is nothing to tell it in. */
static void a_link_change_is_told_when_there_is_a_buffer(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_revoke(guest, true), 0);
	world_settle(world);
	memory_port_set_link(&world->port, false);
	world_settle(world);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, guest->receive.bytes), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	world_settle(world);
	assert_int_equal(netvsp_guest_take_indication(guest), RNDIS_STATUS_MEDIA_DISCONNECT);
}

/* It is told, and the channel closed, before anything is flushed. */
static void a_link_change_right_before_the_end_is_harmless(void **state)
{
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	world_channels(world, 2);
	netvsp_set_link(world->netvsp, false);
	netvsp_destroy(world->netvsp, &world->call);
	for (int i = 0; i < 20; i++)
		io_loop_turn(world->bus_loop, false);
	for (int i = 0; i < 1000 && !world->called; i++)
		world->guest.mini.pump(world->guest.mini.pump_arg);
	assert_int_equal(world->called, 1);
	world->called = 0;
	world->netvsp = NULL;
}

/* ---- rates ---- */

static void rates_are(struct world *world, uint64_t received, uint64_t received_bytes, uint64_t sent,
		      uint64_t sent_bytes)
{
	struct netvsp_status status;

	world_settle(world);
	status = netvsp_status(world->netvsp);
	assert_int_equal(status.packets_received_per_second, received);
	assert_int_equal(status.bytes_received_per_second, received_bytes);
	assert_int_equal(status.packets_sent_per_second, sent);
	assert_int_equal(status.bytes_sent_per_second, sent_bytes);
}

static void rates_are_those_of_the_last_second(void **state)
{
	static const struct world_config config = { .simulated = true };
	const uint64_t second_ns = 1000000000;
	struct world *world = world_again(state, &config);

	world_ready(world, FILTER_ALL);
	for (uint32_t i = 0; i < 10; i++)
		world_carries(world);
	rates_are(world, 0, 0, 0, 0);
	world->now_ns += second_ns - 1;
	rates_are(world, 0, 0, 0, 0);
	world->now_ns++;
	rates_are(world, 10, 600, 10, 600);
	/* Looked at late: less per second. */
	free(world_receives(world, (const uint8_t[60]){ 2, 0, 0, 0, 0, 1 }, 60, NULL));
	world_carries(world);
	rates_are(world, 10, 600, 10, 600);
	world->now_ns += second_ns / 2 * 5;
	rates_are(world, 0, 48, 0, 24);
	world->now_ns += second_ns;
	rates_are(world, 0, 0, 0, 0);
	/* A card that goes does not look any more. */
	world_destroy_card(world);
	world->now_ns += 10 * second_ns;
	io_loop_turn(world->bus_loop, false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_card_is_refused_that_makes_no_sense),
		TEST(a_card_nobody_opened_goes),
		TEST(a_closed_card_begins_anew),
		TEST(a_guest_finds_no_hash_table_of_the_one_before),
		TEST(a_card_goes_under_load),
		TEST(a_card_that_went_comes_back),
		TEST(what_the_guest_holds_of_a_card_that_goes_is_its_own),
		TEST(a_guest_that_vanishes_leaves_nothing_behind),
		TEST(link_changes_are_told),
		TEST(a_pulled_cable_carries_nothing),
		TEST(speed_changes_are_told),
		TEST(a_link_that_was_down_before_the_guest_came_is_known),
		TEST(a_link_change_is_told_when_there_is_a_buffer),
		TEST(a_link_change_right_before_the_end_is_harmless),
		TEST(rates_are_those_of_the_last_second),
	};

	return cmocka_run_group_tests_name("netvsp life", tests, NULL, NULL);
}
