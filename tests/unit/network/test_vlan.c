// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* An access port of a VLAN in front of a port in memory: what passes it, how, and what does not. */
#include <stdlib.h>
#include <string.h>

#include "network/backends/vlan.h"
#include "tests/loopback/memory_port.h"
#include "tests/unit/network/port_world.h"
#include "tests/unit/network/slow_frame.h"

#define ID 5u
#define HEAD (NET_ETHERNET_BYTES + NET_VLAN_BYTES)

static struct io_loop *loop;
static struct memory_port behind;
static struct net_port *port;
static struct port_user user;
static uint8_t frame[SLOW_FRAME_BYTES_MAX], tagged[SLOW_FRAME_BYTES_MAX];

static int setup(void **state)
{
	char error[NET_PORT_ERROR_BYTES];

	if (io_loop_create(NULL, &loop))
		return -1;
	memory_port_init(&behind, NET_CAN_ALL, NET_CAN_ALL, 9000);
	assert_int_equal(vlan_create(&behind.base, ID, &port, error), 0);
	user_start(&user, port, loop);
	return 0;
}

static int teardown(void **state)
{
	user_stop(&user);
	net_port_destroy(port);
	io_loop_destroy(loop);
	if (behind.problem)
		fail_msg("the port behind saw %s", behind.problem);
	return 0;
}

/* The frame with a tag of @type and @tci in it. */
static uint32_t tag(const uint8_t *from, uint32_t bytes, uint32_t type, uint32_t tci, uint8_t *to)
{
	memcpy(to, from, 12);
	to[12] = (uint8_t)(type >> 8);
	to[13] = (uint8_t)type;
	to[14] = (uint8_t)(tci >> 8);
	to[15] = (uint8_t)tci;
	memcpy(to + 16, from + 12, bytes - 12);
	return bytes + 4;
}

static uint32_t any_frame(bool udp, bool ipv6, uint32_t payload_bytes, uint16_t segment_bytes,
			  struct net_offload *out_offload)
{
	struct slow_plan plan = { .udp = udp, .ipv6 = ipv6, .payload_bytes = payload_bytes, .seed = 7 };

	return slow_build(&plan, frame, segment_bytes, out_offload);
}

/* What is behind got @expected, and nothing else. */
static void sent_is(const uint8_t *expected, uint32_t bytes, const struct net_offload *offload)
{
	struct memory_frame *sent = memory_port_take(&behind);

	assert_non_null(sent);
	assert_int_equal(sent->bytes, bytes);
	assert_memory_equal(sent->data, expected, bytes);
	assert_memory_equal(&sent->offload, offload, sizeof(*offload));
	assert_null(memory_port_take(&behind));
	free(sent);
}

static uint64_t dropped_to_host(void)
{
	uint64_t send, receive;

	net_port_counts(port, &send, &receive);
	return send;
}

static struct net_offload moved(struct net_offload offload)
{
	offload.checksum_start += offload.flags ? 4 : 0;
	offload.header_bytes += offload.gso ? 4 : 0;
	return offload;
}

/* ---- from the guest ---- */

static void what_is_sent_gets_the_tag_however_it_is_cut(void **state)
{
	struct net_offload offload, none = { 0 };
	uint32_t bytes = any_frame(false, false, 200, 0, &offload), tagged_bytes;

	tagged_bytes = tag(frame, bytes, 0x8100, ID, tagged);
	for (uint32_t piece = 4; piece <= bytes; piece++) {
		assert_int_equal(user_send(&user, frame, bytes, piece, NULL), 0);
		sent_is(tagged, tagged_bytes, &none);
	}
	assert_int_equal(behind.unflushed, 0);
}

static void frames_of_all_lengths_pass_both_ways(void **state)
{
	struct net_offload none = { 0 };

	memset(frame, 0x3c, sizeof(frame));
	for (uint32_t bytes = NET_FRAME_BYTES_MIN; bytes <= NET_FRAME_BYTES_MAX - 4;
	     bytes += bytes < 100 ? 1 : 613) {
		uint32_t tagged_bytes = tag(frame, bytes, 0x8100, ID, tagged);

		assert_int_equal(user_send(&user, frame, bytes, 4096, NULL), 0);
		sent_is(tagged, tagged_bytes, &none);
		memory_port_queue(&behind, tagged, tagged_bytes, NULL);
		assert_int_equal(user_take(&user, bytes), 0);
		assert_int_equal(user.bytes, bytes);
		assert_memory_equal(user.memory, frame, bytes);
	}
}

static void offloads_move_with_the_tag(void **state)
{
	for (uint32_t i = 0; i < 8; i++) {
		struct net_offload offload, behind_offload;
		bool udp = i & 1, ipv6 = i & 2;
		uint32_t bytes = any_frame(udp, ipv6, 9000, i & 4 ? 1400 : 0, &offload), tagged_bytes;

		behind_offload = moved(offload);
		tagged_bytes = tag(frame, bytes, 0x8100, ID, tagged);
		assert_int_equal(user_send(&user, frame, bytes, 1000, &offload), 0);
		sent_is(tagged, tagged_bytes, &behind_offload);
		memory_port_queue(&behind, tagged, tagged_bytes, &behind_offload);
		assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), 0);
		assert_int_equal(user.bytes, bytes);
		assert_memory_equal(user.memory, frame, bytes);
		assert_memory_equal(&user.offload, &offload, sizeof(offload));
	}
}

static void a_tag_of_the_guest_does_not_pass_but_one_of_priority_alone(void **state)
{
	struct net_offload offload;
	uint32_t bytes = any_frame(true, false, 40, 0, &offload), tagged_bytes;
	uint8_t twice[512];

	offload = moved(offload);
	/* Its own, another's, the highest; tags of service providers; two of them. */
	tagged_bytes = tag(frame, bytes, 0x8100, ID, tagged);
	assert_int_equal(user_send(&user, tagged, tagged_bytes, 4096, NULL), -LIS_INVALID);
	tagged_bytes = tag(frame, bytes, 0x8100, 0xefff, tagged);
	assert_int_equal(user_send(&user, tagged, tagged_bytes, 4096, NULL), -LIS_INVALID);
	tagged_bytes = tag(frame, bytes, 0x88a8, 0, tagged);
	assert_int_equal(user_send(&user, tagged, tagged_bytes, 4096, NULL), -LIS_INVALID);
	tagged_bytes = tag(frame, bytes, 0x8100, 9, tagged);
	tagged_bytes = tag(tagged, tagged_bytes, 0x8100, 0xe000, twice);
	assert_int_equal(user_send(&user, twice, tagged_bytes, 4096, NULL), -LIS_INVALID);
	assert_int_equal(dropped_to_host(), 4);
	assert_null(memory_port_take(&behind));

	/* Priority 7, may be dropped: it stays, and nothing else moves. */
	tagged_bytes = tag(frame, bytes, 0x8100, 0xf000, tagged);
	assert_int_equal(user_send(&user, tagged, tagged_bytes, 13, &offload), 0);
	tag(frame, bytes, 0x8100, 0xf000 | ID, tagged);
	sent_is(tagged, tagged_bytes, &offload);

	/* A tag, and nothing behind it: the frame's own type is not there. */
	assert_int_equal(user_send(&user, tagged, 16, 4096, NULL), -LIS_INVALID);
	/* One byte longer than any frame may be. */
	memset(frame, 0, 14);
	assert_int_equal(user_send(&user, frame, NET_FRAME_BYTES_MAX - 3, 4096, NULL), -LIS_INVALID);
	assert_int_equal(dropped_to_host(), 6);
}

/* ---- from the network ---- */

static void nothing_but_the_vlan_reaches_the_guest(void **state)
{
	struct net_offload offload;
	uint32_t bytes = any_frame(true, true, 100, 0, &offload), tagged_bytes;

	memory_port_queue(&behind, frame, bytes, NULL); /* no tag */
	tagged_bytes = tag(frame, bytes, 0x8100, 0, tagged); /* no VLAN */
	memory_port_queue(&behind, tagged, tagged_bytes, NULL);
	tagged_bytes = tag(frame, bytes, 0x8100, ID + 1, tagged);
	memory_port_queue(&behind, tagged, tagged_bytes, NULL);
	tagged_bytes = tag(frame, bytes, 0x8100, ID | 0x100, tagged);
	memory_port_queue(&behind, tagged, tagged_bytes, NULL);
	tagged_bytes = tag(frame, bytes, 0x88a8, ID, tagged);
	memory_port_queue(&behind, tagged, tagged_bytes, NULL);
	tagged_bytes = tag(frame, bytes, 0x8100, ID, tagged);
	memory_port_queue(&behind, tagged, 17, NULL); /* too short to be a frame without it */
	memory_port_queue(&behind, tagged, 14, NULL);
	tag(frame, bytes, 0x8100, 0xf000 | ID, tagged); /* with a priority */
	memory_port_queue(&behind, tagged, tagged_bytes, NULL);
	assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), 0);
	assert_int_equal(user.bytes, bytes);
	assert_memory_equal(user.memory, frame, bytes);
	assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
}

static void places_in_front_of_the_frame_are_not_believed(void **state)
{
	struct net_offload bad = { .flags = NET_CHECKSUM_PARTIAL, .checksum_start = 17 };
	uint32_t bytes;

	memset(frame, 0x11, 100);
	bytes = tag(frame, 100, 0x8100, ID, tagged);
	memory_port_queue(&behind, tagged, bytes, &bad);
	bad = (struct net_offload){ .flags = NET_CHECKSUM_PARTIAL, .checksum_start = 40,
				    .gso = NET_GSO_UDP, .header_bytes = 3, .segment_bytes = 9 };
	memory_port_queue(&behind, tagged, bytes, &bad);
	assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
}

static void a_flood_of_other_vlans_keeps_nobody_busy_and_nothing_is_forgotten(void **state)
{
	uint32_t bytes;

	memset(frame, 0x22, 60);
	bytes = tag(frame, 60, 0x8100, ID + 1, tagged);
	settle(loop);
	assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
	for (unsigned i = 0; i < 1000; i++)
		memory_port_queue(&behind, tagged, bytes, NULL);
	tag(frame, 60, 0x8100, ID, tagged);
	memory_port_queue(&behind, tagged, bytes, NULL);
	user_wait(&user);
	assert_memory_equal(user.memory, frame, 60);
	assert_true(user.readies >= 1000 / 64);
	assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
	/* It may be stopped while it is to look again. */
	tag(frame, 60, 0x8100, ID + 1, tagged);
	for (unsigned i = 0; i < 100; i++)
		memory_port_queue(&behind, tagged, bytes, NULL);
	settle(loop);
	assert_int_equal(user_take(&user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
}

/* ---- the port ---- */

static void the_rest_is_as_it_is_behind(void **state)
{
	char line[NET_PORT_LINE_BYTES];
	uint64_t send, receive;

	assert_int_equal(port->can_send, NET_CAN_ALL);
	assert_int_equal(port->mtu_max, 9000);
	assert_true(atomic_load(&port->link_up));
	memory_port_set_link(&behind, false);
	settle(loop);
	assert_false(atomic_load(&port->link_up));
	assert_int_equal(user.link_changes, 1);
	net_port_set_receive(port, NET_CAN_CHECKSUM);
	assert_int_equal(behind.receive_can, NET_CAN_CHECKSUM);
	port->ops->describe(port, line);
	assert_string_equal(line, "memory, VLAN 5");
	behind.send_error = -LIS_FULL;
	assert_int_equal(user_send(&user, frame, 60, 60, NULL), -LIS_FULL);
	net_port_counts(port, &send, &receive);
	assert_int_equal(send, 1);
	assert_int_equal(receive, 0);
}

static void there_are_4094_vlans(void **state)
{
	char error[NET_PORT_ERROR_BYTES];
	struct net_port *other;

	assert_int_equal(vlan_create(&behind.base, 0, &other, error), -LIS_INVALID);
	assert_int_equal(vlan_create(&behind.base, 4095, &other, error), -LIS_INVALID);
	assert_non_null(strstr(error, "1 to 4094"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_sent_gets_the_tag_however_it_is_cut),
		TEST(frames_of_all_lengths_pass_both_ways),
		TEST(offloads_move_with_the_tag),
		TEST(a_tag_of_the_guest_does_not_pass_but_one_of_priority_alone),
		TEST(nothing_but_the_vlan_reaches_the_guest),
		TEST(places_in_front_of_the_frame_are_not_believed),
		TEST(a_flood_of_other_vlans_keeps_nobody_busy_and_nothing_is_forgotten),
		TEST(the_rest_is_as_it_is_behind),
		TEST(there_are_4094_vlans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
