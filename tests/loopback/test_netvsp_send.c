/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Frames from the guest, in every length and on every way, and what the card does to them. */
#include <stdio.h>

#include "tests/loopback/netvsp_world.h"

#define FRAME_MAX 65535u
#define MESSAGE_MAX (FRAME_MAX + 300u)
#define BATCH 16u

/* ---- every size ---- */

static uint8_t pattern[3 * FRAME_MAX];

static void make_pattern(void)
{
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = net_test_pattern(7, i);
}

/* A frame like no other of about its size. */
static const uint8_t *frame_of(uint32_t bytes)
{
	return pattern + bytes % 1021 + bytes / 2;
}

static struct netvsp_guest_way way_of(const struct world *world, uint32_t bytes, uint32_t message_bytes,
				      uint32_t kind)
{
	struct netvsp_guest_way way = { .section = NVSP_SECTION_NONE, .seed = bytes + 1 };
	uint32_t room = world->guest.section_bytes;

	if (kind == 0) { /* section, where it fits in */
		way.section = bytes % 30;
		way.section_bytes = message_bytes < room ? message_bytes : room;
		way.ranges = 1 + bytes % 3;
	} else if (kind == 1) { /* ranges, their number all there may be */
		way.ranges = 1 + bytes % NVSP_MDL_CHAIN_LENGTH_MAX;
		if (way.ranges > message_bytes / 2)
			way.ranges = 1;
	} else { /* any part of it in a section */
		way.section = bytes % 30;
		way.section_bytes = 1 + bytes % (message_bytes < room ? message_bytes - 1 : room - 1);
		way.ranges = 1 + bytes % 7;
	}
	return way;
}

static void send_sizes(struct world *world, uint32_t first, uint32_t count, uint32_t kind)
{
	static uint8_t message[MESSAGE_MAX];
	struct netvsp_guest *guest = &world->guest;

	for (uint32_t bytes = first; bytes < first + count; bytes++) {
		struct netvsp_guest_out out = { .data = frame_of(bytes), .bytes = bytes };
		uint32_t message_bytes = netvsp_guest_message(&out, message);
		struct netvsp_guest_way way = way_of(world, bytes, message_bytes, kind);

		assert_int_equal(netvsp_guest_send(guest, 0, bytes, message, message_bytes, &way), 0);
	}
	world_settle(world);
	for (uint32_t bytes = first; bytes < first + count; bytes++) {
		struct netvsp_guest_completion completion;
		struct memory_frame *sent = memory_port_take(&world->port);

		assert_int_equal(netvsp_guest_wait(guest, 0, bytes, &completion), 0);
		if (completion.message.rndis_packet_complete.status != NVSP_STATUS_SUCCESS || !sent)
			fail_msg("a frame of %u bytes, way %u, was not sent", bytes, kind);
		if (sent->bytes != bytes || memcmp(sent->data, frame_of(bytes), bytes))
			fail_msg("a frame of %u bytes, way %u, is another now", bytes, kind);
		free(sent);
	}
}

static void every_size_is_sent_as_it_is(void **state)
{
	struct world *world = *state;

	make_pattern();
	world_ready(world, FILTER_ALL);
	for (uint32_t kind = 0; kind < 3; kind++) {
		for (uint32_t bytes = 14; bytes <= FRAME_MAX; bytes += BATCH) {
			uint32_t left = FRAME_MAX + 1 - bytes;

			send_sizes(world, bytes, left < BATCH ? left : BATCH, kind);
		}
	}
	assert_int_equal(netvsp_status(world->netvsp).send_invalid, 0);
	assert_int_equal(world->port.unflushed, 0);
}

/* As many ranges as the host says it takes, whatever pages they lie in. */
static void as_many_ranges_as_the_host_says_are_taken(void **state)
{
	static uint8_t message[MESSAGE_MAX];
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_completion completion;

	make_pattern();
	world_ready(world, FILTER_ALL);
	for (uint32_t seed = 0; seed < 500; seed++) {
		struct netvsp_guest_out out = { .data = frame_of(seed), .bytes = FRAME_MAX };
		uint32_t bytes = netvsp_guest_message(&out, message);
		struct netvsp_guest_way way = { .section = NVSP_SECTION_NONE, .seed = seed,
						.ranges = NVSP_MDL_CHAIN_LENGTH_MAX,
						.worst = seed % 4 < 2 };
		struct memory_frame *sent;

		if (seed % 2) {
			way.section = seed % 20;
			way.section_bytes = guest->section_bytes;
		}
		assert_int_equal(netvsp_guest_send(guest, 0, seed, message, bytes, &way), 0);
		assert_int_equal(netvsp_guest_wait(guest, 0, seed, &completion), 0);
		assert_int_equal(completion.message.rndis_packet_complete.status, NVSP_STATUS_SUCCESS);
		sent = memory_port_take(&world->port);
		assert_non_null(sent);
		assert_int_equal(sent->bytes, FRAME_MAX);
		assert_memory_equal(sent->data, frame_of(seed), FRAME_MAX);
		free(sent);
	}
}

static void several_messages_go_in_one_packet(void **state)
{
	static uint8_t messages[10 * 1100];
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	make_pattern();
	world_ready(world, FILTER_ALL);
	for (uint32_t count = 1; count <= 8; count++) {
		for (uint32_t kind = 0; kind < 3; kind++) {
			struct netvsp_guest_completion completion;
			struct netvsp_guest_way way;
			uint32_t bytes = 0;

			for (uint32_t i = 0; i < count; i++) {
				struct netvsp_guest_out out = {
					.data = frame_of(1000 * count + i),
					.bytes = 60 + 97 * i + count, .gap = 4 * i,
				};

				bytes += netvsp_guest_message(&out, messages + bytes);
			}
			way = way_of(world, 100 + count, bytes, kind);
			assert_int_equal(netvsp_guest_send(guest, 0, count, messages, bytes, &way), 0);
			assert_int_equal(netvsp_guest_wait(guest, 0, count, &completion), 0);
			assert_int_equal(completion.message.rndis_packet_complete.status,
					 NVSP_STATUS_SUCCESS);
			for (uint32_t i = 0; i < count; i++) {
				struct memory_frame *sent = memory_port_take(&world->port);

				assert_non_null(sent);
				assert_int_equal(sent->bytes, 60 + 97 * i + count);
				assert_memory_equal(sent->data, frame_of(1000 * count + i), sent->bytes);
				free(sent);
			}
		}
	}
}

static void more_messages_than_allowed_end_the_packet(void **state)
{
	static uint8_t messages[20 * 128];
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_completion completion;
	struct netvsp_guest_way way = { .section = 2 };

	make_pattern();
	world_ready(world, FILTER_ALL);
	for (uint32_t i = 0; i < 20; i++) {
		struct netvsp_guest_out out = { .data = frame_of(i), .bytes = 60 };

		way.section_bytes += netvsp_guest_message(&out, messages + way.section_bytes);
	}
	assert_int_equal(netvsp_guest_send(guest, 0, 1, messages, way.section_bytes, &way), 0);
	assert_int_equal(netvsp_guest_wait(guest, 0, 1, &completion), 0);
	assert_int_equal(completion.message.rndis_packet_complete.status,
			 NVSP_STATUS_INVALID_RNDIS_PACKET);
	assert_int_equal(world->port.sent_frames, 8);
}

/* What aligns a message may be within it or behind it, and the last one needs none. */
static void padding_is_no_message(void **state)
{
	static uint8_t message[400];
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	make_pattern();
	world_ready(world, FILTER_ALL);
	for (uint32_t padding = 0; padding < 8; padding++) {
		struct netvsp_guest_out out = { .data = frame_of(padding), .bytes = 116 };
		struct netvsp_guest_way way = { .section = 2 };
		struct netvsp_guest_completion completion;
		uint32_t bytes = netvsp_guest_message(&out, message);

		assert_int_equal(bytes, 44 + 116);
		way.section_bytes = bytes + padding;
		assert_int_equal(netvsp_guest_send(guest, 0, 1, message, way.section_bytes, &way), 0);
		assert_int_equal(netvsp_guest_wait(guest, 0, 1, &completion), 0);
		assert_int_equal(completion.message.rndis_packet_complete.status, NVSP_STATUS_SUCCESS);
	}
	assert_int_equal(world->port.sent_frames, 8);
}

/* ---- offloads ---- */

static const uint32_t ports[] = {
	0, NET_CAN_CHECKSUM, NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4, NET_CAN_CHECKSUM | NET_CAN_TCP_IPV6,
	NET_CAN_ALL, NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6,
};

/* Frames of many kinds, by number. */
static struct net_test_frame frame_kind(uint32_t kind, uint32_t payload_bytes)
{
	struct net_test_frame frame = {
		.ip_version = kind & 1 ? 6 : 4,
		.protocol = kind & 2 ? NET_TEST_UDP : NET_TEST_TCP,
		.payload_bytes = payload_bytes, .seed = 0xfffffff0u + kind * 77777 + payload_bytes,
		.source_port = (uint16_t)(1000 + kind), .destination_port = 443,
		.host = kind * 3 + payload_bytes,
	};

	if (kind & 4) {
		frame.ip_options_bytes = kind & 1 ? 0 : 12;
		frame.extension_bytes = kind & 1 ? 16 : 0;
		frame.tcp_options_bytes = kind & 2 ? 0 : 12;
	}
	return frame;
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

/* What a port that can would do, in the slowest way. */
static void complete(struct memory_frame *frame)
{
	uint32_t start = frame->offload.checksum_start, sum = 0;
	uint32_t place = start + frame->offload.checksum_offset;

	if (!(frame->offload.flags & NET_CHECKSUM_PARTIAL))
		return;
	for (uint32_t i = start; i < frame->bytes; i++) {
		sum += (i - start) % 2 ? frame->data[i] : (uint32_t)frame->data[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	sum = ~sum & 0xffff;
	put16(frame->data + place, !sum && frame->offload.checksum_offset == 6 ? 0xffff : sum);
}

static uint32_t vlan_wish(uint16_t tci)
{
	return (uint32_t)(tci >> 13) | (tci & 0x1000 ? RNDIS_VLAN_DEI : 0) |
	       (uint32_t)(tci & 0xfff) << RNDIS_VLAN_ID_SHIFT;
}

static struct memory_frame *send_one(struct world *world, const struct netvsp_guest_out *out)
{
	struct memory_frame *sent;

	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, out), NVSP_STATUS_SUCCESS);
	world_check(world);
	sent = memory_port_take(&world->port);
	assert_non_null(sent);
	return sent;
}

static void check_checksums(struct world *world, uint32_t kind, uint32_t payload_bytes, bool vlan,
			    bool old_driver)
{
	struct net_test_frame frame = frame_kind(kind, payload_bytes);
	uint8_t from[4096], wanted[4096];
	struct net_test_layout layout = net_test_build(&frame, from);
	struct netvsp_guest_out out = { .data = from, .bytes = layout.bytes, .has_checksum = true,
					.has_vlan = vlan, .vlan = vlan_wish(0xb123) };
	struct memory_frame *sent;

	out.checksum = (kind & 1 ? RNDIS_TX_IPV6 : RNDIS_TX_IPV4) |
		       (kind & 2 ? RNDIS_TX_UDP_CHECKSUM : RNDIS_TX_TCP_CHECKSUM);
	if (!old_driver)
		out.checksum |= layout.transport_offset << RNDIS_TX_HEADER_OFFSET_SHIFT;
	net_test_pseudo(from, &layout, layout.bytes - layout.transport_offset);
	if (!(kind & 1)) {
		out.checksum |= RNDIS_TX_IP_CHECKSUM;
		put16(from + layout.ip_offset + 10, 0x1234);
	}
	frame.has_vlan = vlan;
	frame.vlan_tci = 0xb123;
	layout = net_test_build(&frame, wanted);
	sent = send_one(world, &out);
	assert_int_equal(!!(sent->offload.flags & NET_CHECKSUM_PARTIAL),
			 world->config.can_send & NET_CAN_CHECKSUM);
	assert_int_equal(sent->offload.gso, NET_GSO_NONE);
	if (sent->offload.flags & NET_CHECKSUM_PARTIAL)
		assert_int_equal(sent->offload.checksum_start, layout.transport_offset);
	complete(sent);
	assert_int_equal(sent->bytes, layout.bytes);
	assert_null(net_test_check(sent->data, sent->bytes));
	assert_memory_equal(sent->data, wanted, layout.bytes);
	free(sent);
}

static void checksums_are_made_for_every_kind_of_frame(void **state)
{
	for (size_t port = 0; port < ARRAY_SIZE(ports); port++) {
		const struct world_config config = { .can_send = ports[port] };
		struct world *world = world_again(state, &config);

		world_ready(world, FILTER_ALL);
		for (uint32_t kind = 0; kind < 8; kind++) {
			for (uint32_t bytes = 0; bytes < 300; bytes += 1 + bytes / 40) {
				check_checksums(world, kind, bytes, false, false);
				check_checksums(world, kind, bytes, true, false);
				check_checksums(world, kind, bytes, bytes & 1, true);
			}
			check_checksums(world, kind, 1400, true, false);
			check_checksums(world, kind, 3001, false, false);
		}
		assert_int_equal(netvsp_status(world->netvsp).send_invalid, 0);
	}
}

static void only_the_checksum_that_is_asked_for_is_made(void **state)
{
	struct world *world = *state;
	struct net_test_frame frame = frame_kind(0, 100);
	uint8_t data[4096];
	struct net_test_layout layout = net_test_build(&frame, data);
	struct netvsp_guest_out out = { .data = data, .bytes = layout.bytes, .has_checksum = true };
	struct memory_frame *sent;

	world_ready(world, FILTER_ALL);
	put16(data + layout.ip_offset + 10, 0xdead);
	put16(data + layout.transport_offset + 16, 0xbeef);
	for (uint32_t vlan = 0; vlan < 2; vlan++) {
		out.has_vlan = vlan;
		out.checksum = RNDIS_TX_IPV4;
		sent = send_one(world, &out);
		assert_int_equal(sent->offload.flags, 0);
		assert_int_equal(get16(sent->data + layout.ip_offset + 4 * vlan + 10), 0xdead);
		assert_int_equal(get16(sent->data + layout.transport_offset + 4 * vlan + 16), 0xbeef);
		free(sent);
		out.checksum = RNDIS_TX_IPV4 | RNDIS_TX_IP_CHECKSUM;
		sent = send_one(world, &out);
		assert_int_equal(sent->offload.flags, 0);
		assert_int_not_equal(get16(sent->data + layout.ip_offset + 4 * vlan + 10), 0xdead);
		assert_int_equal(get16(sent->data + layout.transport_offset + 4 * vlan + 16), 0xbeef);
		free(sent);
	}
}

/* An IPv4 checksum is asked for where there is no IPv4: nothing else is written to. */
static void what_is_no_ipv4_keeps_its_bytes(void **state)
{
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct net_test_frame frame = frame_kind(1 | kind << 1, 33);
		uint8_t data[4096];
		struct net_test_layout layout;
		struct netvsp_guest_out out = { .data = data, .has_checksum = true,
						.checksum = RNDIS_TX_IPV4 | RNDIS_TX_IP_CHECKSUM };
		struct memory_frame *sent;

		if (kind == 3)
			frame.ip_version = 0;
		layout = net_test_build(&frame, data);
		out.bytes = layout.bytes;
		sent = send_one(world, &out);
		assert_int_equal(sent->bytes, layout.bytes);
		assert_memory_equal(sent->data, data, layout.bytes);
		free(sent);
	}
}

static void a_tag_is_put_in_for_every_value(void **state)
{
	struct world *world = *state;
	uint8_t data[200];

	world_ready(world, FILTER_ALL);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = net_test_pattern(5, i);
	for (uint32_t tci = 0; tci <= UINT16_MAX; tci += 251) {
		struct netvsp_guest_out out = { .data = data, .bytes = 14 + tci % 180, .has_vlan = true,
						.vlan = vlan_wish((uint16_t)tci) };
		struct memory_frame *sent = send_one(world, &out);

		assert_int_equal(sent->bytes, out.bytes + 4);
		assert_memory_equal(sent->data, data, 12);
		assert_int_equal(get16(sent->data + 12), 0x8100);
		assert_int_equal(get16(sent->data + 14), tci);
		assert_memory_equal(sent->data + 16, data + 12, out.bytes - 12);
		free(sent);
	}
}

/* ---- large segments ---- */

/* Everything of a segment but what has to differ is as in the frame it was cut from. */
static void check_segment(const struct memory_frame *segment, const uint8_t *whole,
			  const struct net_test_frame *frame, uint32_t index, uint32_t offset, bool last)
{
	struct net_test_layout layout = net_test_layout(frame);
	const uint8_t *tcp = segment->data + layout.transport_offset;
	const uint8_t *whole_tcp = whole + layout.transport_offset;
	uint8_t drop = 0;

	assert_null(net_test_check(segment->data, segment->bytes));
	assert_memory_equal(segment->data, whole, layout.ip_offset);
	if (frame->ip_version == 4) {
		const uint8_t *ip = segment->data + layout.ip_offset;

		assert_int_equal(get16(ip + 4), (frame->seed + index) & 0xffff);
		assert_memory_equal(ip + 6, whole + layout.ip_offset + 6, 4);
		assert_memory_equal(ip + 12, whole + layout.ip_offset + 12,
				    layout.transport_offset - layout.ip_offset - 12);
	} else {
		assert_memory_equal(segment->data + layout.ip_offset + 6, whole + layout.ip_offset + 6,
				    layout.transport_offset - layout.ip_offset - 6);
	}
	assert_memory_equal(tcp, whole_tcp, 4);
	assert_int_equal(get32(tcp + 4), get32(whole_tcp + 4) + offset);
	assert_memory_equal(tcp + 8, whole_tcp + 8, 5);
	drop |= index ? 0x80 : 0;
	drop |= last ? 0 : 0x09;
	assert_int_equal(tcp[13], whole_tcp[13] & ~drop);
	assert_memory_equal(tcp + 14, whole_tcp + 14, 2);
	assert_memory_equal(tcp + 18, whole_tcp + 18,
			    layout.payload_offset - layout.transport_offset - 18);
	assert_memory_equal(segment->data + layout.payload_offset,
			    whole + layout.payload_offset + offset,
			    segment->bytes - layout.payload_offset);
}

static void check_whole(struct memory_frame *sent, const uint8_t *whole,
			const struct net_test_frame *frame, uint32_t mss)
{
	struct net_test_layout layout = net_test_layout(frame);

	assert_int_equal(sent->offload.gso, frame->payload_bytes <= mss ? NET_GSO_NONE :
			 frame->ip_version == 4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6);
	assert_int_equal(sent->offload.flags, NET_CHECKSUM_PARTIAL);
	assert_int_equal(sent->offload.checksum_start, layout.transport_offset);
	assert_int_equal(sent->offload.checksum_offset, 16);
	if (sent->offload.gso != NET_GSO_NONE) {
		assert_int_equal(sent->offload.segment_bytes, mss);
		assert_int_equal(sent->offload.header_bytes, layout.payload_offset);
	}
	complete(sent);
	assert_int_equal(sent->bytes, layout.bytes);
	assert_memory_equal(sent->data, whole, layout.bytes);
}

static void check_lso(struct world *world, uint32_t kind, uint32_t payload_bytes, uint32_t mss,
		      uint32_t version, bool vlan)
{
	static uint8_t from[FRAME_MAX + 100], whole[FRAME_MAX + 100];
	struct net_test_frame frame = frame_kind(kind, payload_bytes);
	struct net_test_layout layout;
	struct netvsp_guest_out out = { .data = from, .has_lso = true, .lso = mss, .has_vlan = vlan,
					.vlan = vlan_wish(0x2005), .has_hash = kind & 4 };
	uint32_t can = NET_CAN_CHECKSUM | (kind & 1 ? NET_CAN_TCP_IPV6 : NET_CAN_TCP_IPV4);
	uint32_t offset = 0, index = 0;

	frame.tcp_flags = 0x99; /* CWR, ACK, PSH, FIN */
	layout = net_test_build(&frame, from);
	out.bytes = layout.bytes;
	if (version == 2) {
		out.lso |= RNDIS_LSO_V2 | (kind & 1 ? RNDIS_LSO_IPV6 : 0);
		net_test_pseudo(from, &layout, 0);
		put16(from + layout.ip_offset + (kind & 1 ? 4 : 2), 0);
		if (!(kind & 1))
			put16(from + layout.ip_offset + 10, 0);
	} else {
		net_test_pseudo(from, &layout, layout.bytes - layout.transport_offset);
	}
	out.lso |= layout.transport_offset << RNDIS_LSO_HEADER_OFFSET_SHIFT & ~(3u << 30);
	frame.has_vlan = vlan;
	frame.vlan_tci = 0x2005;
	layout = net_test_build(&frame, whole);
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	world_check(world);
	if ((world->config.can_send & can) == can) {
		struct memory_frame *sent = memory_port_take(&world->port);

		check_whole(sent, whole, &frame, mss);
		free(sent);
	}
	while (world->port.sent.first) {
		struct memory_frame *sent = memory_port_take(&world->port);
		uint32_t bytes = payload_bytes - offset < mss ? payload_bytes - offset : mss;

		complete(sent);
		assert_int_equal(sent->bytes, layout.payload_offset + bytes);
		check_segment(sent, whole, &frame, index, offset, offset + bytes == payload_bytes);
		offset += bytes;
		index++;
		free(sent);
		if (!world->port.sent.first)
			assert_int_equal(offset, payload_bytes);
	}
}

static void large_segments_are_cut_or_passed_on(void **state)
{
	static const uint32_t msses[] = { 8, 88, 536, 1000, 1448, 8948, 40000 };
	static const uint32_t sizes[] = { 1, 2, 87, 535, 536, 537, 1448, 1449, 2896, 10001, 62000 };

	for (size_t port = 0; port < ARRAY_SIZE(ports); port++) {
		const struct world_config config = { .can_send = ports[port] };
		struct world *world = world_again(state, &config);

		world_ready(world, FILTER_ALL);
		for (uint32_t i = 0; i < ARRAY_SIZE(msses) * ARRAY_SIZE(sizes); i++) {
			uint32_t mss = msses[i % ARRAY_SIZE(msses)], bytes = sizes[i / ARRAY_SIZE(msses)];

			if (bytes / mss > 3000)
				continue;
			for (uint32_t kind = 0; kind < 8; kind++) {
				if (kind & 2)
					continue;
				check_lso(world, kind, bytes, mss, 2, i & 1);
				if (!(kind & 1))
					check_lso(world, kind, bytes, mss, 1, !(i & 1));
			}
		}
		assert_int_equal(netvsp_status(world->netvsp).send_invalid, 0);
	}
}

static uint32_t add_words(uint32_t sum, const uint8_t *at, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return sum;
}

static uint32_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Where a packet goes in the end its routing header says, and that is what its checksum covers. */
static void segments_with_a_routing_header_keep_their_destination(void **state)
{
	const struct world_config config = { .can_send = NET_CAN_ALL };
	struct world *world = world_again(state, &config);
	struct net_test_frame frame = { .ip_version = 6, .protocol = NET_TEST_TCP, .extension_bytes = 24,
					.payload_bytes = 3000 };
	uint8_t data[4000];
	struct net_test_layout layout = net_test_build(&frame, data);
	uint8_t *ip = data + layout.ip_offset, *routing = ip + 40;
	uint8_t *checksum = data + layout.transport_offset + 16;
	struct netvsp_guest_out out = { .data = data, .bytes = layout.bytes, .has_lso = true,
					.lso = RNDIS_LSO_V2 | RNDIS_LSO_IPV6 | 1000 };
	struct memory_frame *sent;
	uint32_t sum;

	ip[6] = 43;
	routing[2] = 0;
	routing[3] = 1;
	for (uint32_t i = 0; i < 16; i++)
		routing[8 + i] = (uint8_t)(0x30 + i);
	sum = add_words(add_words(NET_TEST_TCP, ip + 8, 16), routing + 8, 16);
	checksum[0] = (uint8_t)(folded(sum) >> 8);
	checksum[1] = (uint8_t)folded(sum);
	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	sent = memory_port_take(&world->port);
	assert_int_equal(sent->offload.gso, NET_GSO_TCP_IPV6);
	assert_int_equal(add_words(0, sent->data + layout.transport_offset + 16, 2),
			 folded(sum + layout.bytes - layout.transport_offset));
	free(sent);
}

/* ---- the port ---- */

/* Whole, and in segments. */
static void a_frame_has_its_channel_for_a_queue(void **state)
{
	static const uint32_t abilities[] = { 0, NET_CAN_ALL };

	for (size_t i = 0; i < ARRAY_SIZE(abilities); i++) {
		const struct world_config config = { .can_send = abilities[i] };
		struct world *world = world_again(state, &config);
		struct net_test_frame frame = frame_kind(0, 3000);
		uint8_t data[4000];
		struct netvsp_guest_out out = { .data = data, .has_lso = true };
		struct net_test_layout layout = net_test_build(&frame, data);

		out.bytes = layout.bytes;
		out.lso = 1000 | RNDIS_LSO_V2 | layout.transport_offset << RNDIS_LSO_HEADER_OFFSET_SHIFT;
		world_ready(world, FILTER_ALL);
		world_channels(world, 3);
		for (uint32_t channel = 0; channel < 4; channel++) {
			assert_int_equal(netvsp_guest_send_frame(&world->guest, channel, &out),
					 NVSP_STATUS_SUCCESS);
			assert_int_equal(world->port.sent.count, abilities[i] ? 1 : 3);
			while (world->port.sent.first) {
				struct memory_frame *sent = memory_port_take(&world->port);

				assert_int_equal(sent->queue, channel);
				free(sent);
			}
		}
	}
}

static void a_frame_that_the_port_drops_is_sent(void **state)
{
	static const int errors[] = { -LIS_FULL, -LIS_IO, -LIS_INVALID };
	struct world *world = *state;
	uint8_t data[60] = { 2 };
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		world->port.send_error = errors[i];
		assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out),
				 NVSP_STATUS_SUCCESS);
	}
	assert_int_equal(netvsp_status(world->netvsp).send_dropped, 3);
	assert_int_equal(netvsp_status(world->netvsp).send_invalid, 0);
	world->port.send_error = 0;
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	assert_int_equal(world->port.sent.count, 1);
}

/* ---- addresses ---- */

static void send_of(struct world *world, const uint8_t *data, uint32_t bytes, bool has_checksum)
{
	struct netvsp_guest_out out = { .data = data, .bytes = bytes, .has_checksum = has_checksum,
					.checksum = RNDIS_TX_IPV4 | RNDIS_TX_UDP_CHECKSUM | 34u << 16 };

	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	memory_port_drop(&world->port);
}

static void addresses_are_learned_and_go_with_the_guest(void **state)
{
	struct world *world = *state;
	struct net_address found[NET_ADDRESSES_MAX];
	struct net_test_frame udp = { .ip_version = 4, .protocol = NET_TEST_UDP, .payload_bytes = 20 };
	uint8_t arp[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6,
			    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1 };
	uint8_t packet[200];
	uint64_t seen_ns;

	world_ready(world, FILTER_ALL);
	net_test_build(&udp, packet);
	memcpy(packet + 6, world_mac, 6);
	memcpy(arp + 28, packet + 26, 4);
	/* Many packets with an address of which it did not say that it is its own. */
	for (uint32_t i = 0; i < 600; i++)
		send_of(world, packet, 62, i & 1);
	assert_int_equal(netvsp_addresses(world->netvsp, found), 0);
	send_of(world, arp, sizeof(arp), false);
	assert_int_equal(netvsp_addresses(world->netvsp, found), 1);
	assert_int_equal(found[0].version, 4);
	assert_memory_equal(found[0].bytes, packet + 26, 4);
	/* Now some of them say that it is in use. */
	seen_ns = found[0].seen_ns;
	for (uint32_t i = 0; i < 255 && found[0].seen_ns == seen_ns; i++) {
		send_of(world, packet, 62, i & 1);
		assert_int_equal(netvsp_addresses(world->netvsp, found), 1);
	}
	assert_true(found[0].seen_ns > seen_ns);
	netvsp_guest_close(&world->guest, 0);
	world_settle(world);
	assert_int_equal(netvsp_addresses(world->netvsp, found), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_size_is_sent_as_it_is),
		TEST(as_many_ranges_as_the_host_says_are_taken),
		TEST(several_messages_go_in_one_packet),
		TEST(more_messages_than_allowed_end_the_packet),
		TEST(padding_is_no_message),
		TEST(checksums_are_made_for_every_kind_of_frame),
		TEST(only_the_checksum_that_is_asked_for_is_made),
		TEST(what_is_no_ipv4_keeps_its_bytes),
		TEST(a_tag_is_put_in_for_every_value),
		TEST(large_segments_are_cut_or_passed_on),
		TEST(segments_with_a_routing_header_keep_their_destination),
		TEST(a_frame_has_its_channel_for_a_queue),
		TEST(a_frame_that_the_port_drops_is_sent),
		TEST(addresses_are_learned_and_go_with_the_guest),
	};

	return cmocka_run_group_tests_name("netvsp_send", tests, NULL, NULL);
}
