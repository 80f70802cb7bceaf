/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Both ends of the network, joined by the loopback partition: what one sends the other gets, byte for
 * byte, in every version, of every size, by every channel, and with everything that is left to the card.
 */
#include "tests/loopback/netvsc_pair.h"

#define ALL_CAN NET_CAN_ALL

static const uint32_t versions[] = {
#define LIST(version) version,
	NVSP_VERSIONS(LIST)
#undef LIST
};
#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

static void assert_frame(const uint8_t *data, uint32_t bytes, uint32_t expect_bytes, uint32_t seed)
{
	static uint8_t expect[NETVSC_FRAME_BYTES_MAX];

	pair_fill(expect, expect_bytes, seed);
	assert_int_equal(bytes, expect_bytes);
	if (memcmp(data, expect, bytes))
		fail_msg("a frame of %u bytes differs", bytes);
}

/* ---- set-up ---- */

static void both_ends_agree_on_every_version_and_move_frames(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < VERSION_COUNT; i++) {
		struct netvsc_piece pieces[NETVSC_PIECES_MAX];
		struct netvsc_packet packet;
		struct memory_frame *frame;
		struct pair_frame *received;

		pair->config.guest.version_max = versions[i];
		pair_ready(pair, 0);
		assert_int_equal(pair->netvsc.version, versions[i]);
		assert_int_equal(netvsp_status(pair->netvsp).version, versions[i]);
		assert_memory_equal(pair->netvsc.mac, pair_mac, sizeof(pair_mac));
		assert_true(pair->netvsc.link_up);
		assert_int_equal(pair->netvsc.mtu, 1500);
		assert_int_equal(pair->netvsc.rss.queues_max,
				 versions[i] >= NVSP_VERSION_5 ? PAIR_LANES : 0);
		pair_fill(pair->data, 1514, 7);
		packet = pair_describe(pair, pieces, 0, 1514, 1514);
		pair_send(pair, 0, &packet);
		frame = pair_took(pair);
		assert_frame(frame->data, frame->bytes, 1514, 7);
		free(frame);
		pair_fill(pair->data, 1514, 8);
		memory_port_queue(&pair->port, pair->data, 1514, NULL);
		pair_settle(pair);
		received = pair_received(pair);
		assert_non_null(received);
		assert_frame(received->data, received->info.bytes, 1514, 8);
		free(received);
		pair_leave(pair);
	}
}

static void an_older_host_is_met_at_its_version(void **state)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		struct pair *pair = pair_again(state, &(struct pair_config){
			.can_receive = NET_CAN_CHECKSUM, .host_version = versions[i],
		});

		pair_ready(pair, 0);
		assert_int_equal(pair->netvsc.version, versions[i]);
	}
}

static void an_mtu_is_granted_up_to_the_port_s(void **state)
{
	static const struct {
		uint32_t asked, port, granted;
	} cases[] = { { 1500, 65521, 1500 }, { 9000, 65521, 9000 }, { 9000, 4000, 4000 },
		      { 65521, 65521, 65521 }, { 576, 65521, 576 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair *pair = pair_again(state, &(struct pair_config){
			.can_receive = NET_CAN_CHECKSUM, .mtu_max = cases[i].port,
			.guest.mtu = cases[i].asked,
		});

		pair_ready(pair, 0);
		assert_int_equal(pair->netvsc.mtu, cases[i].granted);
	}
}

/* ---- frames of every size ---- */

/* Send frames of sizes from *size up to @last, as many as the data's memory and the table hold. */
static uint32_t send_some(struct pair *pair, uint32_t *size, uint32_t last)
{
	uint32_t offset = 0, count = 0;

	while (*size <= last && count < 32 && offset + *size <= PAIR_FRAME_BYTES) {
		struct netvsc_request *request = malloc(sizeof(*request));
		struct netvsc_piece pieces[NETVSC_PIECES_MAX];
		struct netvsc_packet packet;
		bool done;

		assert_non_null(request);
		pair_fill(pair->data + offset, *size, *size);
		packet = pair_describe(pair, pieces, offset, *size, *size % 3 ? *size : 4096);
		assert_int_equal(netvsc_send(&pair->lanes[0].netvsc, &packet, request, &done), 0);
		if (done)
			free(request);
		offset += *size;
		count++;
		++*size;
	}
	return count;
}

static void every_size_arrives_at_the_port(void **state)
{
	struct pair *pair = pair_again(state, &(struct pair_config){
		.can_receive = NET_CAN_CHECKSUM, .guest.mtu = 65521, .head_pages = 4, .send_pages = 128,
	});
	uint32_t size = 60;

	pair_ready(pair, 0);
	while (size <= 65535) {
		uint32_t first = size, count = send_some(pair, &size, 65535);
		uint32_t frames = pair->ended.frames + count;

		for (int i = 0; i < 1000 && pair->ended.frames < frames; i++) {
			pair_turn_guest(pair);
			pair_turn_host(pair);
		}
		assert_int_equal(pair->ended.frames, frames);
		for (uint32_t i = 0; i < count; i++) {
			struct memory_frame *frame = pair_took(pair);

			assert_frame(frame->data, frame->bytes, first + i, first + i);
			free(frame);
		}
	}
	assert_int_equal(pair->ended.failed, 0);
	assert_int_equal(pair->ended.frames, 65535 - 60 + 1);
	assert_int_equal(netvsp_status(pair->netvsp).packets_sent, 65535 - 60 + 1);
	assert_int_equal(netvsp_status(pair->netvsp).send_invalid, 0);
	assert_true(pair->lanes[0].netvsc.send_counters.copied > 5900);
	pair_settle(pair);
}

static void every_size_arrives_at_the_guest(void **state)
{
	struct pair *pair = pair_again(state, &(struct pair_config){
		.can_receive = NET_CAN_CHECKSUM, .guest.mtu = 65521,
	});
	static uint8_t data[NETVSC_FRAME_BYTES_MAX];
	uint32_t size = 60;

	pair_ready(pair, 0);
	while (size <= 65535) {
		uint32_t first = size;

		for (; size <= 65535 && size < first + 16; size++) {
			pair_fill(data, size, size);
			memory_port_queue(&pair->port, data, size, NULL);
		}
		for (int i = 0; i < 1000 && pair->received_count < size - first; i++) {
			pair_turn_host(pair);
			pair_turn_guest(pair);
		}
		for (uint32_t i = first; i < size; i++) {
			struct pair_frame *frame = pair_received(pair);

			assert_non_null(frame);
			assert_int_equal(frame->info.part_count, 1);
			assert_frame(frame->data, frame->info.bytes, i, i);
			free(frame);
		}
	}
	assert_int_equal(netvsp_status(pair->netvsp).receive_dropped, 0);
	pair_settle(pair);
	assert_int_equal(pair->lanes[0].netvsc.receive_counters.violations, 0);
}

static void frames_come_in_order_whatever_the_mixture(void **state)
{
	struct pair *pair = pair_again(state, &(struct pair_config){
		.can_receive = NET_CAN_CHECKSUM, .guest.mtu = 9000, .ring_pages = 5, .queue_depth = 16,
		.head_pages = 1, .send_pages = 3,
	});
	uint32_t sent = 0, got = 0;

	pair_ready(pair, 0);
	while (got < 4000) {
		while (sent < 4000) {
			uint32_t bytes = 60 + net_test_pattern(3, sent) * 35u, offset;
			struct netvsc_request *request = malloc(sizeof(*request));
			struct netvsc_piece pieces[NETVSC_PIECES_MAX];
			struct netvsc_packet packet;
			bool done;
			int err;

			offset = sent % 24 * 10000;
			pair_fill(pair->data + offset, bytes, sent);
			packet = pair_describe(pair, pieces, offset, bytes, 5000);
			err = netvsc_send(&pair->lanes[0].netvsc, &packet, request, &done);
			if (err || done)
				free(request);
			if (err) {
				assert_int_equal(err, -LIS_AGAIN);
				break;
			}
			sent++;
		}
		pair_turn_guest(pair);
		pair_turn_host(pair);
		for (struct memory_frame *frame; (frame = memory_port_take(&pair->port)); got++) {
			assert_frame(frame->data, frame->bytes, 60 + net_test_pattern(3, got) * 35u, got);
			free(frame);
		}
	}
	pair_settle(pair);
	assert_int_equal(pair->ended.frames, 4000);
	assert_true(pair->lanes[0].netvsc.send_counters.full > 0);
}

/* ---- checksums and segments ---- */

/* A frame as a stack leaves it for a card that makes checksums. */
static struct netvsc_packet describe_ip(struct pair *pair, struct netvsc_piece *pieces,
					const struct net_test_frame *what)
{
	struct net_test_layout layout = net_test_build(what, pair->data + 50);
	struct netvsc_packet packet;

	net_test_pseudo(pair->data + 50, &layout, layout.bytes - layout.transport_offset);
	packet = pair_describe(pair, pieces, 50, layout.bytes, 30000);
	packet.wishes = what->ip_version == 6 ? NETVSC_WISH_IPV6 : NETVSC_WISH_IPV4;
	packet.wishes |= what->protocol == NET_TEST_TCP ? NETVSC_WISH_TCP_CHECKSUM
							: NETVSC_WISH_UDP_CHECKSUM;
	packet.network_offset = (uint16_t)layout.ip_offset;
	packet.transport_offset = (uint16_t)layout.transport_offset;
	return packet;
}

static void checksums_are_made_by_the_card(void **state)
{
	for (uint32_t can = 0; can < 2; can++) {
		struct pair *pair = pair_again(state, &(struct pair_config){
			.can_send = can ? NET_CAN_CHECKSUM : 0, .can_receive = NET_CAN_CHECKSUM,
		});

		pair_ready(pair, 0);
		for (uint32_t i = 0; i < 4 * 40; i++) {
			struct net_test_frame what = {
				.ip_version = i & 1 ? 6 : 4, .protocol = i & 2 ? NET_TEST_UDP : NET_TEST_TCP,
				.payload_bytes = i * 9, .seed = i, .source_port = 7, .destination_port = 9,
				.tcp_options_bytes = i % 3 * 4,
			};
			struct netvsc_piece pieces[NETVSC_PIECES_MAX];
			struct netvsc_packet packet = describe_ip(pair, pieces, &what);
			struct memory_frame *frame;

			pair_send(pair, 0, &packet);
			frame = pair_took(pair);
			assert_int_equal(frame->bytes, packet.bytes);
			assert_int_equal(frame->offload.flags & NET_CHECKSUM_PARTIAL, can);
			if (can)
				assert_int_equal(frame->offload.checksum_start, packet.transport_offset);
			else if (net_test_check(frame->data, frame->bytes))
				fail_msg("frame %u: %s", i, net_test_check(frame->data, frame->bytes));
			free(frame);
		}
	}
}

/* Segments one after the other: right each, and together what was sent. */
static void check_segments(struct pair *pair, const struct net_test_frame *what, uint32_t mss)
{
	static uint8_t expect[70000];
	struct net_test_layout layout = net_test_build(what, expect);
	uint32_t at = 0;

	while (at < what->payload_bytes) {
		struct memory_frame *frame = pair_took(pair);
		uint32_t bytes = frame->bytes - layout.payload_offset;
		const char *wrong = net_test_check(frame->data, frame->bytes);

		if (wrong)
			fail_msg("a segment at %u: %s", at, wrong);
		assert_int_equal(bytes, what->payload_bytes - at < mss ? what->payload_bytes - at : mss);
		assert_memory_equal(frame->data + layout.payload_offset,
				    expect + layout.payload_offset + at, bytes);
		at += bytes;
		free(frame);
	}
	assert_null(memory_port_take(&pair->port));
}

static void large_segments_are_cut_by_the_card(void **state)
{
	static const uint32_t sizes[] = { 1461, 2920, 5000, 6000, 20000, 62000 };

	for (uint32_t can = 0; can < 2; can++) {
		struct pair *pair = pair_again(state, &(struct pair_config){
			.can_send = can ? ALL_CAN : 0, .can_receive = NET_CAN_CHECKSUM,
		});

		pair_ready(pair, 0);
		assert_true(pair->netvsc.offloads.segments_ipv4_bytes >= 62780);
		for (uint32_t i = 0; i < 12; i++) {
			struct net_test_frame what = {
				.ip_version = i & 1 ? 6 : 4, .protocol = NET_TEST_TCP,
				.payload_bytes = sizes[i / 2], .seed = 1000 * i, .source_port = 80,
				.destination_port = 1234, .tcp_options_bytes = 12,
			};
			struct netvsc_piece pieces[NETVSC_PIECES_MAX];
			struct netvsc_packet packet = describe_ip(pair, pieces, &what);

			packet.wishes &= ~NETVSC_WISH_TCP_CHECKSUM;
			packet.wishes |= NETVSC_WISH_SEGMENTS;
			packet.segment_bytes = 1460;
			pair_send(pair, 0, &packet);
			if (can) {
				struct memory_frame *frame = pair_took(pair);

				assert_int_equal(frame->bytes, packet.bytes);
				assert_int_equal(frame->offload.gso,
						 i & 1 ? NET_GSO_TCP_IPV6 : NET_GSO_TCP_IPV4);
				assert_int_equal(frame->offload.segment_bytes, 1460);
				free(frame);
			} else {
				check_segments(pair, &what, 1460);
			}
		}
		assert_int_equal(netvsp_status(pair->netvsp).send_invalid, 0);
	}
}

static void a_received_frame_says_that_its_checksum_is_right(void **state)
{
	struct pair *pair = *state;
	struct net_test_frame what = { .ip_version = 4, .protocol = NET_TEST_TCP,
				       .payload_bytes = 500 };
	struct net_offload offload = { .flags = NET_CHECKSUM_PARTIAL, .checksum_offset = 16 };
	struct net_test_layout layout;
	struct pair_frame *frame;
	uint8_t data[1000];

	pair_ready(pair, 0);
	memcpy(what.destination, pair_mac, 6);
	layout = net_test_build(&what, data);
	net_test_pseudo(data, &layout, layout.bytes - layout.transport_offset);
	offload.checksum_start = (uint16_t)layout.transport_offset;
	memory_port_queue(&pair->port, data, layout.bytes, &offload);
	net_test_build(&what, data);
	memory_port_queue(&pair->port, data, layout.bytes, NULL);
	pair_settle(pair);
	frame = pair_received(pair);
	assert_non_null(frame);
	assert_true(frame->info.checksum & RNDIS_RX_TCP_SUCCEEDED);
	assert_null(net_test_check(frame->data, frame->info.bytes));
	free(frame);
	frame = pair_received(pair);
	assert_non_null(frame);
	assert_false(frame->info.checksum & RNDIS_RX_TCP_SUCCEEDED);
	assert_null(net_test_check(frame->data, frame->info.bytes));
	free(frame);
}

/* ---- tags ---- */

static void a_tag_travels_beside_the_frame(void **state)
{
	struct pair *pair = *state;
	struct net_test_frame what = { .ip_version = 4, .protocol = NET_TEST_UDP, .has_vlan = true,
				       .vlan_tci = 0xb123, .payload_bytes = 300 };
	struct netvsc_piece pieces[NETVSC_PIECES_MAX];
	struct netvsc_packet packet;
	struct memory_frame *frame;
	struct pair_frame *received;
	struct net_test_layout layout;
	uint8_t tagged[1000];

	pair_ready(pair, 0);
	memcpy(what.destination, pair_mac, 6);
	layout = net_test_build(&what, tagged);
	what.has_vlan = false;
	packet = describe_ip(pair, pieces, &what);
	packet.wishes |= NETVSC_WISH_VLAN;
	packet.vlan_tci = 0xb123;
	pair_send(pair, 0, &packet);
	frame = pair_took(pair);
	assert_int_equal(frame->bytes, layout.bytes);
	assert_memory_equal(frame->data, tagged, layout.bytes);
	free(frame);
	memory_port_queue(&pair->port, tagged, layout.bytes, NULL);
	pair_settle(pair);
	received = pair_received(pair);
	assert_non_null(received);
	assert_true(received->info.has_vlan);
	assert_int_equal(received->info.vlan_tci, 0xb123);
	layout = net_test_build(&what, tagged);
	assert_int_equal(received->info.bytes, layout.bytes);
	assert_memory_equal(received->data, tagged, layout.bytes);
	free(received);
}

/* ---- coalescing ---- */

static void queue_large(struct pair *pair, struct net_test_frame *what)
{
	static uint8_t data[70000];
	struct net_test_layout layout;
	struct net_offload offload = {
		.flags = NET_CHECKSUM_PARTIAL, .segment_bytes = 1448, .checksum_offset = 16,
		.gso = what->ip_version == 4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6,
	};

	memcpy(what->destination, pair_mac, 6);
	layout = net_test_build(what, data);
	net_test_pseudo(data, &layout, layout.bytes - layout.transport_offset);
	offload.checksum_start = (uint16_t)layout.transport_offset;
	offload.header_bytes = (uint16_t)layout.payload_offset;
	memory_port_queue(&pair->port, data, layout.bytes, &offload);
}

static void segments_come_together_where_the_guest_wants_that(void **state)
{
	struct pair *pair = pair_again(state, &(struct pair_config){
		.can_receive = ALL_CAN, .guest.coalesce = true,
	});

	pair_ready(pair, 0);
	assert_true(pair->netvsc.coalescing);
	for (uint32_t bytes = 1449; bytes < 65000; bytes += 1777) {
		struct net_test_frame what = { .ip_version = bytes & 1 ? 4 : 6, .seed = bytes,
					       .protocol = NET_TEST_TCP, .payload_bytes = bytes };
		struct net_test_layout layout = net_test_layout(&what);
		static uint8_t expect[70000];
		struct pair_frame *frame;

		queue_large(pair, &what);
		pair_settle(pair);
		frame = pair_received(pair);
		assert_non_null(frame);
		assert_int_equal(frame->info.bytes, layout.bytes);
		assert_true(frame->info.part_count > 1 || bytes < 1900);
		assert_true(frame->info.checksum & RNDIS_RX_TCP_SUCCEEDED);
		net_test_build(&what, expect);
		assert_memory_equal(frame->data + layout.payload_offset, expect + layout.payload_offset,
				    bytes);
		free(frame);
	}
	assert_true(pair->lanes[0].netvsc.receive_counters.coalesced > 30);
	/* Switched off, the port is not to leave them together any more. */
	assert_int_equal(pair_control(pair, netvsc_set_coalescing(&pair->netvsc, false, 0)), 0);
	assert_false(pair->netvsc.coalescing);
	assert_int_equal(pair->port.receive_can & (NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6), 0);
	assert_int_equal(pair_control(pair, netvsc_set_coalescing(&pair->netvsc, true, 0)), 0);
	assert_int_equal(pair->port.receive_can & (NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6),
			 NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6);
}

/* ---- channels ---- */

static void each_channel_sends_and_receives(void **state)
{
	struct pair *pair = *state;
	uint32_t lanes = 0;

	pair_ready(pair, PAIR_LANES - 1);
	assert_int_equal(netvsp_status(pair->netvsp).channels_open, PAIR_LANES);
	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		assert_int_equal(netvsc_channel_of_hash(&pair->netvsc, i), i % PAIR_LANES);
	for (uint32_t lane = 0; lane < PAIR_LANES; lane++) {
		struct netvsc_piece pieces[NETVSC_PIECES_MAX];
		struct netvsc_packet packet;
		struct memory_frame *frame;

		for (uint32_t bytes = 100; bytes < 20000; bytes += 9999) {
			pair_fill(pair->data, bytes, lane);
			packet = pair_describe(pair, pieces, 0, bytes, bytes);
			pair_send(pair, lane, &packet);
			frame = pair_took(pair);
			assert_frame(frame->data, frame->bytes, bytes, lane);
			free(frame);
		}
	}
	/* Flows go over all of them, each flow over one. */
	for (uint32_t flow = 0; flow < 200; flow++) {
		struct net_test_frame what = { .ip_version = 4, .protocol = NET_TEST_TCP,
					       .source_port = (uint16_t)(flow * 77), .payload_bytes = 50 };
		struct net_test_layout layout;
		struct pair_frame *first, *second;
		uint8_t data[200];

		memcpy(what.destination, pair_mac, 6);
		layout = net_test_build(&what, data);
		memory_port_queue(&pair->port, data, layout.bytes, NULL);
		memory_port_queue(&pair->port, data, layout.bytes, NULL);
		pair_settle(pair);
		first = pair_received(pair);
		second = pair_received(pair);
		assert_non_null(first);
		assert_non_null(second);
		assert_int_equal(first->lane, second->lane);
		assert_true(first->info.has_hash);
		assert_int_equal(first->info.hash % NDIS_RSS_TABLE_COUNT % PAIR_LANES, first->lane);
		lanes |= 1u << first->lane;
		free(first);
		free(second);
	}
	assert_int_equal(lanes, (1u << PAIR_LANES) - 1);
}

static void a_channel_less_is_no_matter(void **state)
{
	struct pair *pair = *state;
	struct netvsc_piece pieces[NETVSC_PIECES_MAX];
	struct netvsc_packet packet;

	pair_ready(pair, 3);
	pair_close_lane(pair, 2);
	pair_settle(pair);
	for (uint32_t lane = 0; lane < 4; lane++) {
		if (lane == 2)
			continue;
		pair_fill(pair->data, 500, lane);
		packet = pair_describe(pair, pieces, 0, 500, 500);
		pair_send(pair, lane, &packet);
		free(pair_took(pair));
	}
}

/* ---- what changes ---- */

static void the_link_goes_and_comes(void **state)
{
	struct pair *pair = *state;

	pair_ready(pair, 0);
	for (int i = 0; i < 20; i++) {
		bool up = i & 1;

		if (i < 10)
			netvsp_set_link(pair->netvsp, up);
		else
			memory_port_set_link(&pair->port, up);
		assert_int_equal(pair_events(pair), NETVSC_EVENT_LINK);
		assert_int_equal(pair->netvsc.link_up, up);
	}
	/* So quickly that nothing has changed when it is told. */
	netvsp_set_link(pair->netvsp, false);
	netvsp_set_link(pair->netvsp, true);
	assert_int_equal(pair_events(pair), 0);
}

static void a_link_that_is_down_is_found_so(void **state)
{
	struct pair *pair = *state;

	netvsp_set_link(pair->netvsp, false);
	pair_ready(pair, 0);
	assert_false(pair->netvsc.link_up);
	netvsp_set_link(pair->netvsp, true);
	assert_int_equal(pair_events(pair), NETVSC_EVENT_LINK);
	assert_true(pair->netvsc.link_up);
}

static void the_address_changes(void **state)
{
	static const uint8_t mac[] = { 0x02, 0xab, 0xcd, 0xef, 0x10, 0x9f };
	struct pair *pair = *state;
	uint8_t data[100];

	pair_ready(pair, 0);
	assert_int_equal(pair_control(pair, netvsc_set_mac(&pair->netvsc, mac, 0)), 0);
	assert_memory_equal(netvsp_status(pair->netvsp).mac, mac, 6);
	pair_fill(data, 100, 1);
	memcpy(data, pair_mac, 6);
	memory_port_queue(&pair->port, data, 100, NULL);
	memcpy(data, mac, 6);
	memory_port_queue(&pair->port, data, 100, NULL);
	pair_settle(pair);
	assert_int_equal(pair->received_count, 1);
	assert_memory_equal(pair->received->data, mac, 6);
	assert_memory_equal(pair->netvsc.mac, pair_mac, 6);
}

static void filters_are_kept(void **state)
{
	static const struct {
		uint32_t filter, expect; /* direct, other, multicast, broadcast */
	} cases[] = {
		{ NDIS_FILTER_DIRECTED, 1 }, { NDIS_FILTER_PROMISCUOUS, 15 },
		{ NDIS_FILTER_DIRECTED | NDIS_FILTER_ALL_MULTICAST, 5 },
		{ NDIS_FILTER_DIRECTED | NDIS_FILTER_BROADCAST, 9 },
	};
	static const uint8_t addresses[4][6] = {
		{ 0x00, 0x15, 0x5d, 0x01, 0x02, 0x03 }, { 2, 9, 9, 9, 9, 9 }, { 1, 0, 0x5e, 1, 2, 3 },
		{ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	};
	struct pair *pair = *state;
	uint8_t data[100];

	pair_ready(pair, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t got = 0;

		assert_int_equal(pair_control(pair, netvsc_set_filter(&pair->netvsc, cases[i].filter,
								      0)), 0);
		for (int k = 0; k < 4; k++) {
			pair_fill(data, 100, 1);
			memcpy(data, addresses[k], 6);
			memory_port_queue(&pair->port, data, 100, NULL);
		}
		pair_settle(pair);
		while (pair->received) {
			struct pair_frame *frame = pair_received(pair);

			for (int k = 0; k < 4; k++)
				got |= memcmp(frame->data, addresses[k], 6) ? 0 : 1u << k;
			free(frame);
		}
		assert_int_equal(got, cases[i].expect);
	}
	/* Without any there is nothing to receive. */
	assert_int_equal(pair_control(pair, netvsc_set_filter(&pair->netvsc, 0, 0)), 0);
	memory_port_queue(&pair->port, data, 100, NULL);
	pair_settle(pair);
	assert_null(pair->received);
}

static void questions_are_answered(void **state)
{
	struct pair *pair = *state;
	struct netvsc_piece pieces[NETVSC_PIECES_MAX];
	struct netvsc_packet packet;
	uint32_t value;

	pair_ready(pair, 0);
	assert_int_equal(pair_control(pair, netvsc_keep_alive(&pair->netvsc, 0)), 0);
	pair_fill(pair->data, 100, 1);
	packet = pair_describe(pair, pieces, 0, 100, 100);
	for (int i = 0; i < 5; i++) {
		pair_send(pair, 0, &packet);
		free(pair_took(pair));
	}
	assert_int_equal(pair_control(pair, netvsc_query(&pair->netvsc, OID_GEN_XMIT_OK, 0)), 0);
	assert_int_equal(pair->netvsc.control.bytes, 4);
	memcpy(&value, pair->netvsc.control_info, 4);
	assert_int_equal(value, 5);
	assert_int_equal(pair_control(pair, netvsc_query(&pair->netvsc, 0x12345678, 0)), -LIS_REFUSED);
	assert_int_equal(pair->netvsc.control.status, RNDIS_STATUS_NOT_SUPPORTED);
}

/* ---- no room ---- */

static void a_guest_that_takes_nothing_loses_nothing(void **state)
{
	struct pair *pair = pair_again(state, &(struct pair_config){
		.can_receive = NET_CAN_CHECKSUM, .receive_pages = 8, .ring_pages = 3,
	});
	static uint8_t data[1514];

	pair_ready(pair, 0);
	pair->hold = true;
	for (uint32_t i = 0; i < 300; i++) {
		pair_fill(data, 60 + i * 4, i);
		memory_port_queue(&pair->port, data, 60 + i * 4, NULL);
	}
	pair_settle(pair);
	assert_int_equal(pair->received_count, 0);
	assert_true(netvsp_status(pair->netvsp).starved > 0);
	pair->hold = false;
	for (int i = 0; i < 100 && pair->received_count < 300; i++)
		pair_settle(pair);
	assert_int_equal(pair->received_count, 300);
	for (uint32_t i = 0; i < 300; i++) {
		struct pair_frame *frame = pair_received(pair);

		assert_frame(frame->data, frame->info.bytes, 60 + i * 4, i);
		free(frame);
	}
}

static void few_signals_do_for_many_frames(void **state)
{
	struct pair *pair = *state;
	struct netvsc_piece pieces[NETVSC_PIECES_MAX];
	struct netvsc_packet packet;
	bool done;

	pair_ready(pair, 0);
	pair_settle(pair);
	pair->signals = 0;
	pair_fill(pair->data, 60, 1);
	packet = pair_describe(pair, pieces, 0, 60, 60);
	for (int i = 0; i < 80; i++) {
		assert_int_equal(netvsc_send(&pair->lanes[0].netvsc, &packet, NULL, &done), 0);
		assert_true(done);
	}
	pair_settle(pair);
	assert_int_equal(pair->ended.frames, 80);
	assert_int_equal(pair->lanes[0].netvsc.send_counters.packets, 10);
	assert_in_range(pair->signals, 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
		TEST(both_ends_agree_on_every_version_and_move_frames),
		TEST(an_older_host_is_met_at_its_version),
		TEST(an_mtu_is_granted_up_to_the_port_s),
		TEST(every_size_arrives_at_the_port),
		TEST(every_size_arrives_at_the_guest),
		TEST(frames_come_in_order_whatever_the_mixture),
		TEST(checksums_are_made_by_the_card),
		TEST(large_segments_are_cut_by_the_card),
		TEST(a_received_frame_says_that_its_checksum_is_right),
		TEST(a_tag_travels_beside_the_frame),
		TEST(segments_come_together_where_the_guest_wants_that),
		TEST(each_channel_sends_and_receives),
		TEST(a_channel_less_is_no_matter),
		TEST(the_link_goes_and_comes),
		TEST(a_link_that_is_down_is_found_so),
		TEST(the_address_changes),
		TEST(filters_are_kept),
		TEST(questions_are_answered),
		TEST(a_guest_that_takes_nothing_loses_nothing),
		TEST(few_signals_do_for_many_frames),
#undef TEST
	};

	return cmocka_run_group_tests_name("loopback/netvsc", tests, NULL, NULL);
}
