/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Both ends of the network, joined by the loopback partition: buffers, channels, the card or the guest go in the
 * midst of traffic, and whatever comes next begins anew.
 */
#include "tests/loopback/netvsc_pair.h"

static void start_traffic(struct pair *pair, uint32_t lanes)
{
	static uint8_t data[1514];

	for (uint32_t i = 0; i < 40; i++) {
		struct netvsc_request *request = malloc(sizeof(*request));
		struct netvsc_piece pieces[NETVSC_PIECES_MAX];
		struct netvsc_packet packet;
		bool done;

		pair_fill(pair->data, 60 + i * 300, i);
		packet = pair_describe(pair, pieces, 0, 60 + i * 300, 4096);
		if (netvsc_send(&pair->lanes[i % lanes].netvsc, &packet, request, &done) || done)
			free(request);
		pair_fill(data, 1514, i);
		memory_port_queue(&pair->port, data, 1514, NULL);
	}
	for (uint32_t i = 0; i < lanes; i++)
		if (netvsc_channel_flush(&pair->lanes[i].netvsc))
			mini_signal(&pair->lanes[i].mini);
}

static void buffers_are_revoked_in_the_midst_of_traffic(void **state)
{
	struct pair *pair = *state;

	for (int turns = 0; turns < 12; turns++) {
		pair_ready(pair, turns % 2 ? 3 : 0);
		start_traffic(pair, turns % 2 ? 4 : 1);
		for (int i = 0; i < turns / 4; i++)
			pair_turn_host(pair);
		if (turns % 4 > 1)
			pair_turn_guest(pair);
		netvsc_revoke(&pair->netvsc);
		if (netvsc_channel_flush(&pair->lanes[0].netvsc))
			mini_signal(&pair->lanes[0].mini);
		pair_settle(pair);
		assert_int_equal(pair->netvsc.state, NETVSC_HALTED);
		/* Both ends can begin again. */
		pair_leave(pair);
		pair_settle(pair);
		while (pair->received)
			free(pair_received(pair));
		memory_port_drop(&pair->port);
		mini_drain(&pair->guest);
		for (size_t i = 0; i < pair->guest.rescinded_count; i++)
			mini_release(&pair->guest, pair->guest.rescinded[i]);
		pair->guest.rescinded_count = 0;
		pair_settle(pair);
	}
}

/* Another pair, so many turns after traffic began on four channels. */
static struct pair *in_traffic(void **state, int turns)
{
	struct pair *pair = pair_again(state, &(struct pair_config){ .can_receive = NET_CAN_CHECKSUM });

	pair_ready(pair, 3);
	start_traffic(pair, 4);
	for (int i = 0; i < turns; i++)
		(i & 1 ? pair_turn_guest : pair_turn_host)(pair);
	return pair;
}

static void channels_are_closed_in_the_midst_of_traffic(void **state)
{
	for (int turns = 0; turns < 8; turns++) {
		struct pair *pair = in_traffic(state, turns);

		for (uint32_t i = 4; i-- > 0;)
			pair_close_lane(pair, i);
		for (uint32_t i = 0; i < pair->netvsc.section_count; i++)
			assert_false(pair->netvsc.section_bits[i / 64] >> i % 64 & 1);
	}
}

static void the_card_goes_in_the_midst_of_traffic(void **state)
{
	for (int turns = 0; turns < 4; turns++) {
		struct pair *pair = in_traffic(state, turns);

		netvsp_destroy(pair->netvsp, &pair->call);
		for (int i = 0; i < 1000 && !pair->called; i++)
			pair_turn_host(pair);
		assert_int_equal(pair->called, 1);
		mini_drain(&pair->guest);
		assert_int_equal(pair->guest.rescinded_count, 4);
		for (uint32_t i = PAIR_LANES; i-- > 0;)
			pair_close_lane(pair, i);
		netvsc_fini(&pair->netvsc);
		pair->netvsp = NULL;
	}
}

static void a_guest_comes_and_goes_many_times(void **state)
{
	struct pair *pair = *state;

	for (int i = 0; i < 30; i++) {
		struct netvsc_piece pieces[NETVSC_PIECES_MAX];
		struct netvsc_packet packet;

		pair_ready(pair, 0);
		pair_fill(pair->data, 9000, 1);
		packet = pair_describe(pair, pieces, 0, 9000, 9000);
		pair_send(pair, 0, &packet);
		free(pair_took(pair));
		pair_leave(pair);
	}
}

/* A frame of TCP to @mac. Returns what came of it, or NULL. */
static struct pair_frame *send_to_guest(struct pair *pair, const uint8_t mac[6], uint16_t source_port,
					uint32_t *out_hash_of_key)
{
	struct net_test_frame what = { .ip_version = 4, .protocol = NET_TEST_TCP, .host = 7,
				       .source_port = source_port, .payload_bytes = 50 };
	struct net_test_layout layout;
	uint8_t data[200], key[NDIS_RSS_KEY_BYTES];

	memcpy(what.destination, mac, 6);
	layout = net_test_build(&what, data);
	memset(key, source_port, sizeof(key));
	/* Both addresses and both ports are side by side. */
	*out_hash_of_key = net_test_toeplitz(key, data + layout.ip_offset + 12, 12);
	memory_port_queue(&pair->port, data, layout.bytes, NULL);
	pair_settle(pair);
	return pair_received(pair);
}

/* A guest that goes to sleep, as one that changes an MTU, begins anew with what it was told to want. */
static void a_card_that_is_opened_again_is_new_and_takes_all_that_was_set(void **state)
{
	static const uint8_t foreign[6] = { 2, 9, 9, 9, 9, 9 };
	struct pair *pair = pair_again(state, &(struct pair_config){ .can_receive = NET_CAN_ALL });

	for (uint32_t round = 1; round <= 12; round++) {
		const uint8_t mac[6] = { 0x02, 0xab, 0xcd, 0xef, 0x10, (uint8_t)round };
		struct netvsc_rss rss = {
			.enabled = true, .table_count = NDIS_RSS_TABLE_COUNT,
			.hash_types = NDIS_HASH_TCP_IPV4,
		};
		struct pair_frame *frame;
		uint32_t hash;

		/* Nothing is left of the round before. */
		pair->config.guest.mtu = 0;
		pair->config.guest.coalesce = false;
		pair_ready(pair, 0);
		assert_int_equal(netvsp_status(pair->netvsp).mtu, 1500);
		assert_memory_equal(netvsp_status(pair->netvsp).mac, pair_mac, 6);
		assert_int_equal(netvsp_status(pair->netvsp).filter, PAIR_FILTER);
		assert_int_equal(pair->port.receive_can & (NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6), 0);
		assert_null(send_to_guest(pair, mac, (uint16_t)round, &hash));
		assert_null(send_to_guest(pair, foreign, (uint16_t)round, &hash));
		frame = send_to_guest(pair, pair_mac, (uint16_t)round, &hash);
		assert_non_null(frame);
		assert_int_equal(frame->lane, 0);
		assert_false(frame->info.has_hash);
		free(frame);
		pair_leave(pair);
		assert_int_equal(netvsp_status(pair->netvsp).filter, 0);

		pair->config.guest.mtu = 1500 + 500 * round;
		pair->config.guest.coalesce = true;
		pair_ready(pair, 3);
		memset(rss.table, (int)(round % 4), sizeof(rss.table));
		memset(rss.key, (int)round, sizeof(rss.key));
		assert_int_equal(pair_control(pair, netvsc_set_mac(&pair->netvsc, mac, 0)), 0);
		assert_int_equal(pair_control(pair, netvsc_set_rss(&pair->netvsc, &rss, 0)), 0);
		if (round & 1)
			assert_int_equal(pair_control(pair, netvsc_set_filter(
				&pair->netvsc, NDIS_FILTER_PROMISCUOUS, 0)), 0);
		assert_int_equal(netvsp_status(pair->netvsp).mtu, 1500 + 500 * round);
		assert_int_equal(netvsp_status(pair->netvsp).channels_open, 4);
		assert_int_equal(pair->port.receive_can & (NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6),
				 NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6);
		frame = send_to_guest(pair, mac, (uint16_t)round, &hash);
		assert_non_null(frame);
		assert_int_equal(frame->lane, round % 4);
		assert_true(frame->info.has_hash);
		assert_int_equal(frame->info.hash, hash);
		free(frame);
		frame = send_to_guest(pair, foreign, (uint16_t)round, &hash);
		assert_int_equal(frame != NULL, round & 1);
		free(frame);
		pair_leave(pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
		TEST(buffers_are_revoked_in_the_midst_of_traffic),
		TEST(channels_are_closed_in_the_midst_of_traffic),
		TEST(the_card_goes_in_the_midst_of_traffic),
		TEST(a_guest_comes_and_goes_many_times),
		TEST(a_card_that_is_opened_again_is_new_and_takes_all_that_was_set),
#undef TEST
	};

	return cmocka_run_group_tests_name("loopback/netvsc_life", tests, NULL, NULL);
}
