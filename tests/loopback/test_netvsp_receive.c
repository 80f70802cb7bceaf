/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Frames to the guest, in every length, with what is said beside them, on the channel they belong to. */
#include <stdio.h>

#include "tests/loopback/netvsp_world.h"

#define FRAME_MAX 65535u
#define FRAME_ROOM (FRAME_MAX + 64u)
#define BATCH 32u

/* ---- every size ---- */

static void every_size_comes_as_it_is(void **state)
{
	static const uint32_t mtus[] = { 65535, 9014, 1514 };
	static uint8_t pattern[3 * FRAME_MAX];

	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = net_test_pattern(11, i);
	for (size_t m = 0; m < ARRAY_SIZE(mtus); m++) {
		const struct world_config config = { .mtu_bytes = mtus[m], .receive_pages = 700 };
		struct world *world = world_again(state, &config);
		struct netvsp_guest *guest = &world->guest;

		world_ready(world, NDIS_FILTER_PROMISCUOUS);
		for (uint32_t first = 14; first <= mtus[m]; first += BATCH) {
			uint32_t end = first + BATCH < mtus[m] + 1 ? first + BATCH : mtus[m] + 1;

			for (uint32_t bytes = first; bytes < end; bytes++)
				memory_port_queue(&world->port, pattern + bytes % 1021 + bytes / 2, bytes,
						  NULL);
			world_settle(world);
			for (uint32_t bytes = first; bytes < end; bytes++) {
				struct netvsp_guest_frame *came = netvsp_guest_take_frame(guest);

				if (!came || came->bytes != bytes || came->pieces != 1 ||
				    memcmp(came->data, pattern + bytes % 1021 + bytes / 2, bytes))
					fail_msg("a frame of %u bytes did not come as it is", bytes);
				assert_false(came->has_checksum || came->has_vlan || came->has_hash);
				free(came);
			}
		}
		assert_int_equal(netvsp_status(world->netvsp).receive_dropped, 0);
	}
}

static void frames_longer_than_the_mtu_are_dropped_and_counted(void **state)
{
	static uint8_t frame[3000] = { 2, 0, 0, 0, 0, 1 };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	memory_port_queue(&world->port, frame, 1514, NULL);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 1);
	assert_int_equal(world->guest.frames->bytes, 1514);
	assert_int_equal(netvsp_status(world->netvsp).receive_dropped, 1);
}

/* ---- filters ---- */

static void frames_are_filtered_by_their_address(void **state)
{
	static const struct {
		uint8_t address[6];
		uint32_t filters; /* that let it through */
	} frames[] = {
		{ { 2, 0, 0, 0, 0, 1 }, NDIS_FILTER_DIRECTED | NDIS_FILTER_PROMISCUOUS },
		{ { 2, 0, 0, 0, 0, 3 }, NDIS_FILTER_PROMISCUOUS },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, NDIS_FILTER_BROADCAST | NDIS_FILTER_PROMISCUOUS },
		{ { 0x33, 0x33, 0, 0, 0, 1 },
		  NDIS_FILTER_MULTICAST | NDIS_FILTER_ALL_MULTICAST | NDIS_FILTER_PROMISCUOUS },
		{ { 1, 0, 0x5e, 0, 0, 1 },
		  NDIS_FILTER_MULTICAST | NDIS_FILTER_ALL_MULTICAST | NDIS_FILTER_PROMISCUOUS },
		{ { 0x00, 0x15, 0x5d, 1, 2, 3 }, NDIS_FILTER_PROMISCUOUS },
	};
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (uint32_t filter = 1; filter < 0x40; filter++) {
		uint32_t due = 0;

		world_set_filter(world, filter);
		for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
			uint8_t data[60] = { [20] = (uint8_t)i };

			memcpy(data, frames[i].address, 6);
			memory_port_queue(&world->port, data, sizeof(data), NULL);
			due |= (frames[i].filters & filter ? 1u : 0) << i;
		}
		world_settle(world);
		while (world->guest.frames) {
			struct netvsp_guest_frame *came = netvsp_guest_take_frame(&world->guest);

			due ^= 1u << came->data[20];
			free(came);
		}
		if (due)
			fail_msg("filter 0x%x: frames 0x%x", filter, due);
	}
}

static void the_address_that_the_guest_sets_is_its_own(void **state)
{
	struct world *world = *state;
	uint8_t data[60] = { 0x00, 0x15, 0x5d, 1, 2, 3 };
	uint8_t info[20 + 28 + 24] = { 0 };
	struct rndis_config_parameter parameter = { 20, 28, RNDIS_CONFIG_STRING, 48, 24 };

	memcpy(info, &parameter, sizeof(parameter));
	for (int i = 0; i < 14; i++)
		info[20 + 2 * i] = (uint8_t)"NetworkAddress"[i];
	for (int i = 0; i < 12; i++)
		info[48 + 2 * i] = (uint8_t)"00155d010203"[i];
	world_ready(world, NDIS_FILTER_DIRECTED);
	memory_port_queue(&world->port, data, sizeof(data), NULL);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 0);
	assert_int_equal(netvsp_guest_set(&world->guest, OID_GEN_RNDIS_CONFIG_PARAMETER, info,
					  sizeof(info)), 0);
	free(world_receives(world, data, sizeof(data), NULL));
	memcpy(data, world_mac, sizeof(world_mac));
	memory_port_queue(&world->port, data, sizeof(data), NULL);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 0);
}

static void without_a_filter_frames_wait(void **state)
{
	struct world *world = *state;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 1 };

	world_ready(world, 0);
	for (int i = 0; i < 100; i++)
		memory_port_queue(&world->port, data, sizeof(data), NULL);
	world_settle(world);
	assert_int_equal(world->port.waiting.count, 100);
	world_set_filter(world, NDIS_FILTER_DIRECTED);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 100);
	assert_int_equal(world->port.waiting.count, 0);
}

/* ---- tags and checksums ---- */

static uint32_t vlan_value(uint16_t tci)
{
	return (uint32_t)(tci >> 13) | (tci & 0x1000 ? RNDIS_VLAN_DEI : 0) |
	       (uint32_t)(tci & 0xfff) << RNDIS_VLAN_ID_SHIFT;
}

static void tags_are_taken_out_for_those_who_want_it(void **state)
{
	for (uint32_t wanted = 0; wanted < 2; wanted++) {
		const struct world_config config = {
			.capabilities = wanted ? NVSP_CAPABILITY_VLAN : NVSP_CAPABILITY_TEAMING,
			.mtu_bytes = 1514,
		};
		struct world *world = world_again(state, &config);

		world_ready(world, FILTER_ALL);
		for (uint32_t tci = 0; tci <= UINT16_MAX; tci += 509) {
			struct net_test_frame frame = {
				.has_vlan = true, .vlan_tci = (uint16_t)tci,
				.payload_bytes = tci % 1501, .seed = tci,
			};
			uint8_t tagged[2000], plain[2000];
			struct net_test_layout layout = net_test_build(&frame, tagged);
			struct netvsp_guest_frame *came =
				world_receives(world, tagged, layout.bytes, NULL);

			assert_int_equal(came->has_vlan, wanted);
			if (wanted) {
				frame.has_vlan = false;
				layout = net_test_build(&frame, plain);
				assert_int_equal(came->vlan, vlan_value((uint16_t)tci));
				assert_memory_equal(came->data, plain, layout.bytes);
			} else {
				assert_memory_equal(came->data, tagged, layout.bytes);
			}
			assert_int_equal(came->bytes, layout.bytes);
			free(came);
		}
	}
}

/* The shortest frames that begin like tagged ones. */
static void a_tag_that_is_cut_short_is_none(void **state)
{
	const struct world_config config = { .capabilities = NVSP_CAPABILITY_VLAN, .mtu_bytes = 1514 };
	struct world *world = world_again(state, &config);
	const uint8_t data[18] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0x12, 0x34, 0x88, 0xb5 };

	world_ready(world, FILTER_ALL);
	for (uint32_t bytes = 14; bytes <= 18; bytes++) {
		struct netvsp_guest_frame *came = world_receives(world, data, bytes, NULL);

		assert_int_equal(came->has_vlan, bytes == 18);
		assert_int_equal(came->bytes, bytes == 18 ? 14 : bytes);
		free(came);
	}
}

static void checksums_left_undone_are_made_or_known_to_be_right(void **state)
{
	const struct world_config config = { .can_receive = NET_CAN_ALL, .mtu_bytes = 9014,
					     .capabilities = NVSP_CAPABILITY_VLAN };
	struct world *world = world_again(state, &config);
	static uint8_t wanted[9100], undone[9100];

	world_ready(world, FILTER_ALL);
	for (uint32_t kind = 0; kind < 16; kind++) {
		for (uint32_t bytes = 0; bytes < 9000 - 100; bytes += 1 + bytes / 7) {
			struct net_test_frame frame = {
				.ip_version = kind & 1 ? 6 : 4,
				.protocol = kind & 2 ? NET_TEST_UDP : NET_TEST_TCP,
				.has_vlan = kind & 4, .vlan_tci = 0x6007, .seed = bytes + kind,
				.ip_options_bytes = kind & 8 ? 8 : 0, .extension_bytes = kind & 8 ? 8 : 0,
				.tcp_options_bytes = 12, .payload_bytes = bytes,
			};
			struct net_test_layout layout = net_test_build(&frame, undone);
			struct net_offload offload = {
				.flags = NET_CHECKSUM_PARTIAL,
				.checksum_start = (uint16_t)layout.transport_offset,
				.checksum_offset = kind & 2 ? 6 : 16,
			};
			uint32_t due = kind & 2 ? RNDIS_RX_UDP_SUCCEEDED : RNDIS_RX_TCP_SUCCEEDED;
			struct netvsp_guest_frame *came;

			net_test_pseudo(undone, &layout, layout.bytes - layout.transport_offset);
			came = world_receives(world, undone, layout.bytes, &offload);
			frame.has_vlan = false;
			layout = net_test_build(&frame, wanted);
			assert_int_equal(came->bytes, layout.bytes);
			assert_null(net_test_check(came->data, came->bytes));
			assert_memory_equal(came->data, wanted, layout.bytes);
			assert_true(came->has_checksum);
			assert_int_equal(came->checksum & ~RNDIS_RX_IP_SUCCEEDED, due);
			assert_int_equal(came->has_vlan, !!(kind & 4));
			free(came);
			/* Right already, and known to be. */
			offload = (struct net_offload){ .flags = NET_CHECKSUM_VALID };
			came = world_receives(world, wanted, layout.bytes, &offload);
			assert_memory_equal(came->data, wanted, layout.bytes);
			assert_int_equal(came->checksum & ~RNDIS_RX_IP_SUCCEEDED, due);
			free(came);
			/* Nothing is known, nothing is said. */
			came = world_receives(world, wanted, layout.bytes, NULL);
			assert_false(came->has_checksum);
			free(came);
		}
	}
}

/* Whoever made the frame: IPv4's own sum is only said to be right where it is. */
static void a_wrong_ipv4_checksum_is_not_said_to_be_right(void **state)
{
	struct world *world = *state;
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_UDP, .payload_bytes = 10 };
	const struct net_offload offload = { .flags = NET_CHECKSUM_VALID };
	struct netvsp_guest_frame *came;
	struct net_test_layout layout;
	uint8_t data[200];

	world_ready(world, FILTER_ALL);
	layout = net_test_build(&frame, data);
	came = world_receives(world, data, layout.bytes, &offload);
	assert_int_equal(came->checksum, RNDIS_RX_IP_SUCCEEDED | RNDIS_RX_UDP_SUCCEEDED);
	free(came);
	data[layout.ip_offset + 10] ^= 1;
	came = world_receives(world, data, layout.bytes, &offload);
	assert_false(came->checksum & RNDIS_RX_IP_SUCCEEDED);
	free(came);
}

static void offloads_that_make_no_sense_drop_the_frame(void **state)
{
	struct world *world = *state;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 1 };
	static const struct net_offload wrong[] = {
		{ .flags = NET_CHECKSUM_PARTIAL, .checksum_start = 59, .checksum_offset = 6 },
		{ .flags = NET_CHECKSUM_PARTIAL, .checksum_start = 43, .checksum_offset = 16 },
		{ .flags = NET_CHECKSUM_PARTIAL, .checksum_start = 65535, .checksum_offset = 65535 },
	};

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		memory_port_queue(&world->port, data, sizeof(data), &wrong[i]);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 0);
	free(world_receives(world, data, sizeof(data), NULL));
}

/* ---- channels ---- */

static uint32_t hash_of(const struct net_test_layout *layout, const uint8_t *data, bool ipv6, bool ports)
{
	uint8_t input[36];
	uint32_t bytes = ipv6 ? 32 : 8;

	memcpy(input, data + layout->ip_offset + (ipv6 ? 8 : 12), bytes);
	memcpy(input + bytes, data + layout->transport_offset, 4);
	return net_test_toeplitz(world_key, input, bytes + (ports ? 4 : 0));
}

static void flows_go_to_the_channel_of_their_hash(void **state)
{
	static const uint32_t all = NDIS_HASH_IPV4 | NDIS_HASH_TCP_IPV4 | NDIS_HASH_UDP_IPV4 |
				    NDIS_HASH_IPV6 | NDIS_HASH_TCP_IPV6 | NDIS_HASH_UDP_IPV6;
	static const uint32_t types[] = { all, NDIS_HASH_IPV4 | NDIS_HASH_IPV6,
					  NDIS_HASH_TCP_IPV4 | NDIS_HASH_TCP_IPV6 };
	const struct world_config config = { .channels_max = 8, .capabilities = NVSP_CAPABILITY_VLAN };
	struct world *world = world_again(state, &config);
	uint32_t seen = 0;

	world_ready(world, FILTER_ALL);
	world_channels(world, 7);
	for (uint32_t i = 0; i < 600; i++) {
		struct net_test_frame frame = {
			.ip_version = i & 1 ? 6 : 4,
			.protocol = (const uint8_t[]){ NET_TEST_TCP, NET_TEST_UDP, 47 }[i / 2 % 3],
			.has_vlan = i % 5 == 0, .host = i * 7919, .source_port = (uint16_t)(i * 31),
			.destination_port = 80, .payload_bytes = i % 100,
		};
		uint32_t type = types[i / 200], want = 0, hash;
		bool tcp = frame.protocol == NET_TEST_TCP, udp = frame.protocol == NET_TEST_UDP, ports;
		struct net_test_layout layout;
		struct netvsp_guest_frame *came;
		uint8_t data[400];

		if (i % 200 == 0)
			assert_int_equal(world_set_rss(world, type, 0, 0, 8), 0);
		layout = net_test_build(&frame, data);
		ports = (tcp && type & (i & 1 ? NDIS_HASH_TCP_IPV6 : NDIS_HASH_TCP_IPV4)) ||
			(udp && type & (i & 1 ? NDIS_HASH_UDP_IPV6 : NDIS_HASH_UDP_IPV4));
		want = ports || type & (i & 1 ? NDIS_HASH_IPV6 : NDIS_HASH_IPV4);
		hash = want ? hash_of(&layout, data, i & 1, ports) : 0;
		came = world_receives(world, data, layout.bytes, NULL);
		assert_int_equal(came->has_hash, want);
		if (want)
			assert_int_equal(came->hash, hash);
		assert_int_equal(came->channel, world_channel_of(hash, 0, 8));
		seen |= 1u << came->channel;
		free(came);
	}
	assert_int_equal(seen, 0xff);
}

static void channels_that_are_not_open_leave_their_flows_to_the_first(void **state)
{
	const struct world_config config = { .channels_max = 8 };
	struct world *world = world_again(state, &config);
	uint32_t seen = 0;

	world_ready(world, FILTER_ALL);
	world_channels(world, 3);
	assert_int_equal(world_set_rss(world, NDIS_HASH_TCP_IPV4, 0, 0, 8), 0);
	netvsp_guest_close(&world->guest, 2);
	world_settle(world);
	for (uint32_t i = 0; i < 300; i++) {
		struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_TCP,
						.source_port = (uint16_t)i, .host = i };
		struct netvsp_guest_frame *came;
		uint8_t data[200];
		struct net_test_layout layout = net_test_build(&frame, data);
		uint32_t want = world_channel_of(hash_of(&layout, data, false, true), 0, 8);

		came = world_receives(world, data, layout.bytes, NULL);
		assert_int_equal(came->channel, want == 1 || want == 3 ? want : 0);
		seen |= 1u << want;
		free(came);
	}
	assert_int_equal(seen, 0xff);
}

static void rss_that_is_switched_off_says_nothing(void **state)
{
	const struct world_config config = { .channels_max = 4 };
	struct world *world = world_again(state, &config);
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_TCP };
	struct netvsp_guest_frame *came;
	struct net_test_layout layout;
	uint8_t data[200];

	world_ready(world, FILTER_ALL);
	world_channels(world, 3);
	layout = net_test_build(&frame, data);
	assert_int_equal(world_set_rss(world, NDIS_HASH_TCP_IPV4, 0, 0, 4), 0);
	came = world_receives(world, data, layout.bytes, NULL);
	assert_true(came->has_hash);
	free(came);
	assert_int_equal(world_set_rss(world, NDIS_HASH_TCP_IPV4, NDIS_RSS_DISABLE, 0, 4), 0);
	came = world_receives(world, data, layout.bytes, NULL);
	assert_false(came->has_hash);
	assert_int_equal(came->channel, 0);
	free(came);
	/* What is unchanged is as it was. */
	assert_int_equal(world_set_rss(world, 0, NDIS_RSS_HASH_INFO_UNCHANGED |
				       NDIS_RSS_TABLE_UNCHANGED | NDIS_RSS_KEY_UNCHANGED, 0, 1), 0);
	came = world_receives(world, data, layout.bytes, NULL);
	assert_int_equal(came->hash, hash_of(&layout, data, false, true));
	free(came);
}

/* ---- coalesced frames ---- */

static void switch_coalescing_on(struct world *world)
{
	struct ndis_offload_parameters wish = {
		.object = { NDIS_OBJECT_DEFAULT, 3, sizeof(wish) },
		.rsc_ipv4 = NDIS_OFFLOAD_ENABLED, .rsc_ipv6 = NDIS_OFFLOAD_ENABLED,
	};

	assert_int_equal(netvsp_guest_set(&world->guest, OID_TCP_OFFLOAD_PARAMETERS, &wish, sizeof(wish)),
			 0);
}

static struct netvsp_guest_frame *receive_coalesced(struct world *world, struct net_test_frame *frame,
						    uint8_t *plain, uint32_t *plain_bytes)
{
	static uint8_t data[FRAME_ROOM];
	struct net_test_layout layout = net_test_build(frame, data);
	struct net_offload offload = {
		.flags = NET_CHECKSUM_PARTIAL,
		.gso = frame->ip_version == 4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6,
		.segment_bytes = 1400, .header_bytes = (uint16_t)layout.payload_offset,
		.checksum_start = (uint16_t)layout.transport_offset, .checksum_offset = 16,
	};

	net_test_pseudo(data, &layout, layout.bytes - layout.transport_offset);
	*plain_bytes = layout.bytes - (frame->has_vlan ? 4 : 0);
	memcpy(plain, data, 12);
	memcpy(plain + 12, data + (frame->has_vlan ? 16 : 12), *plain_bytes - 12);
	return world_receives(world, data, layout.bytes, &offload);
}

static void coalesced_frames_come_in_pieces(void **state)
{
	static uint8_t plain[FRAME_ROOM];
	const struct world_config config = {
		.can_receive = NET_CAN_ALL, .mtu_bytes = 1514, .channels_max = 4,
		.capabilities = NVSP_CAPABILITY_RSC | NVSP_CAPABILITY_VLAN,
	};
	struct world *world = world_again(state, &config);
	uint32_t plain_bytes, room;

	world_ready(world, FILTER_ALL);
	world_channels(world, 3);
	switch_coalescing_on(world);
	assert_int_equal(world_set_rss(world, NDIS_HASH_TCP_IPV4 | NDIS_HASH_TCP_IPV6, 0, 0, 4), 0);
	room = world->guest.sub_bytes - 112;
	for (uint32_t bytes = 2000; bytes < 65400; bytes += 997) {
		for (uint32_t kind = 0; kind < 4; kind++) {
			struct net_test_frame frame = {
				.ip_version = kind & 1 ? 6 : 4, .protocol = NET_TEST_TCP,
				.has_vlan = kind & 2, .vlan_tci = 0x2003, .payload_bytes = bytes,
				.seed = bytes, .host = bytes,
			};
			struct netvsp_guest_frame *came;

			came = receive_coalesced(world, &frame, plain, &plain_bytes);
			assert_int_equal(came->bytes, plain_bytes);
			assert_memory_equal(came->data, plain, plain_bytes);
			assert_int_equal(came->pieces,
					 (plain_bytes + (kind & 2 ? 4 : 0) + room - 1) / room);
			assert_int_equal(came->checksum & RNDIS_RX_TCP_SUCCEEDED, RNDIS_RX_TCP_SUCCEEDED);
			assert_int_equal(came->has_vlan, !!(kind & 2));
			if (kind & 2)
				assert_int_equal(came->vlan, vlan_value(0x2003));
			assert_true(came->has_hash);
			free(came);
		}
	}
	/* Small frames go on as before. */
	for (uint32_t i = 0; i < 100; i++) {
		uint8_t data[60] = { 2, 0, 0, 0, 0, 1, [14] = (uint8_t)i };
		struct netvsp_guest_frame *came = world_receives(world, data, sizeof(data), NULL);

		assert_int_equal(came->pieces, 1);
		assert_memory_equal(came->data, data, sizeof(data));
		free(came);
	}
}

/* At the edge between one piece more and one less, byte by byte. */
static void coalesced_frames_have_as_many_pieces_as_they_need(void **state)
{
	static uint8_t plain[FRAME_ROOM];
	const struct world_config config = { .can_receive = NET_CAN_ALL, .mtu_bytes = 1514,
					     .capabilities = NVSP_CAPABILITY_RSC };
	struct world *world = world_again(state, &config);
	uint32_t plain_bytes, room;

	world_ready(world, FILTER_ALL);
	switch_coalescing_on(world);
	room = world->guest.sub_bytes - 112;
	for (uint32_t pieces = 1; pieces <= 33; pieces++) {
		for (int around = -3; around <= 3; around++) {
			struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_TCP };
			struct netvsp_guest_frame *came;

			frame.payload_bytes = pieces * room - 54 + (uint32_t)around;
			came = receive_coalesced(world, &frame, plain, &plain_bytes);
			assert_int_equal(came->bytes, plain_bytes);
			assert_memory_equal(came->data, plain, plain_bytes);
			assert_int_equal(came->pieces, around > 0 ? pieces + 1 : pieces);
			free(came);
		}
	}
}

/* A guest with few sub-allocations gets its frames all the same. */
/* Whether a long frame is expected or not, and whatever pages its pieces lie on. */
static void coalesced_frames_come_in_jumbo_pieces(void **state)
{
	static uint8_t plain[FRAME_ROOM];
	const struct world_config config = { .can_receive = NET_CAN_ALL, .mtu_bytes = 9014,
					     .capabilities = NVSP_CAPABILITY_RSC };
	struct world *world = world_again(state, &config);
	uint32_t plain_bytes;

	world_ready(world, FILTER_ALL);
	switch_coalescing_on(world);
	for (uint32_t bytes = 2000; bytes < 65400; bytes += 2997) {
		struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_TCP,
						.payload_bytes = bytes, .seed = bytes };
		struct netvsp_guest_frame *came;
		uint8_t data[60] = { 2, 0, 0, 0, 0, 1 };

		for (int again = 0; again < 2; again++) {
			came = receive_coalesced(world, &frame, plain, &plain_bytes);
			assert_int_equal(came->bytes, plain_bytes);
			assert_memory_equal(came->data, plain, plain_bytes);
			free(came);
		}
		for (uint32_t i = 0; i < 70; i++)
			free(world_receives(world, data, sizeof(data), NULL));
	}
}

static void a_small_buffer_and_coalescing_still_carry_frames(void **state)
{
	const struct world_config config = { .can_receive = NET_CAN_ALL, .mtu_bytes = 1514,
					     .receive_pages = 5, .capabilities = NVSP_CAPABILITY_RSC };
	struct world *world = world_again(state, &config);

	world_ready(world, FILTER_ALL);
	assert_int_equal(world->guest.sub_count, 10);
	switch_coalescing_on(world);
	assert_int_equal(world->port.receive_can & (NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6), 0);
	for (uint32_t i = 0; i < 100; i++) {
		uint8_t data[1514] = { 2, 0, 0, 0, 0, 1, [14] = (uint8_t)i };
		struct netvsp_guest_frame *came = world_receives(world, data, sizeof(data), NULL);

		assert_memory_equal(came->data, data, sizeof(data));
		free(came);
	}
}

/* The buffer is given when coalescing is on already. */
static void a_buffer_that_shrinks_under_coalescing_still_carries_frames(void **state)
{
	const struct world_config config = { .can_receive = NET_CAN_ALL, .mtu_bytes = 1514,
					     .capabilities = NVSP_CAPABILITY_RSC };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint8_t data[1514] = { 2, 0, 0, 0, 0, 1 };

	world_ready(world, FILTER_ALL);
	switch_coalescing_on(world);
	assert_int_equal(netvsp_guest_revoke(guest, true), 0);
	world_settle(world);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, 5 * HV_PAGE_BYTES), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	for (uint32_t i = 0; i < 20; i++)
		free(world_receives(world, data, sizeof(data), NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_size_comes_as_it_is),
		TEST(frames_longer_than_the_mtu_are_dropped_and_counted),
		TEST(frames_are_filtered_by_their_address),
		TEST(the_address_that_the_guest_sets_is_its_own),
		TEST(without_a_filter_frames_wait),
		TEST(tags_are_taken_out_for_those_who_want_it),
		TEST(a_tag_that_is_cut_short_is_none),
		TEST(checksums_left_undone_are_made_or_known_to_be_right),
		TEST(a_wrong_ipv4_checksum_is_not_said_to_be_right),
		TEST(offloads_that_make_no_sense_drop_the_frame),
		TEST(flows_go_to_the_channel_of_their_hash),
		TEST(channels_that_are_not_open_leave_their_flows_to_the_first),
		TEST(rss_that_is_switched_off_says_nothing),
		TEST(coalesced_frames_come_in_pieces),
		TEST(coalesced_frames_have_as_many_pieces_as_they_need),
		TEST(coalesced_frames_come_in_jumbo_pieces),
		TEST(a_small_buffer_and_coalescing_still_carry_frames),
		TEST(a_buffer_that_shrinks_under_coalescing_still_carries_frames),
	};

	return cmocka_run_group_tests_name("netvsp_receive", tests, NULL, NULL);
}
