/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Captures of a card: what the guest sends and gets is recorded as it is, and both ends end well. */
#include <poll.h>
#include <unistd.h>

#include "network/capture.h"
#include "tests/loopback/netvsp_world.h"

struct listener {
	struct net_capture_reader *reader;
	int session;
};

static void listen_to(struct world *world, struct listener *listener)
{
	int fds[NETVSP_CAPTURE_FDS];

	assert_int_equal(netvsp_capture(world->netvsp, NET_FRAME_BYTES_MAX, fds), 0);
	assert_int_equal(net_capture_reader_open(fds[0], &listener->reader), 0);
	listener->session = fds[1];
	world_settle(world);
}

static bool is_over(const struct listener *listener)
{
	struct pollfd pollfd = { .fd = listener->session, .events = POLLIN };

	return poll(&pollfd, 1, 0) > 0;
}

static void leave(struct listener *listener)
{
	net_capture_reader_close(listener->reader);
	if (listener->session >= 0)
		close(listener->session);
	listener->session = -1;
}

/* The next record is this. */
static void heard(struct listener *listener, const uint8_t *data, uint32_t bytes)
{
	struct net_capture_record record;
	const uint8_t *read;

	assert_int_equal(net_capture_next(listener->reader, &record, &read), 0);
	assert_int_equal(record.bytes, bytes);
	assert_int_equal(record.frame_bytes, bytes);
	assert_memory_equal(read, data, bytes);
}

static void heard_all(struct listener *listener)
{
	struct net_capture_record record;
	const uint8_t *read;

	assert_int_equal(net_capture_next(listener->reader, &record, &read), -LIS_EMPTY);
	assert_int_equal(net_capture_dropped(listener->reader), 0);
}

static struct net_offload left_open(const struct net_test_layout *layout, bool ipv6, uint16_t segment)
{
	return (struct net_offload){
		.flags = NET_CHECKSUM_PARTIAL,
		.gso = segment ? ipv6 ? NET_GSO_TCP_IPV6 : NET_GSO_TCP_IPV4 : NET_GSO_NONE,
		.segment_bytes = segment,
		.header_bytes = (uint16_t)(segment ? layout->payload_offset : 0),
		.checksum_start = (uint16_t)layout->transport_offset,
		.checksum_offset = 16,
	};
}

static void switch_coalescing_on(struct world *world)
{
	struct ndis_offload_parameters wish = {
		.object = { NDIS_OBJECT_DEFAULT, 3, sizeof(wish) },
		.rsc_ipv4 = NDIS_OFFLOAD_ENABLED, .rsc_ipv6 = NDIS_OFFLOAD_ENABLED,
	};

	assert_int_equal(netvsp_guest_set(&world->guest, OID_TCP_OFFLOAD_PARAMETERS, &wish, sizeof(wish)),
			 0);
}

/* Large segments whole, tags in place, sums right; whether or not the port can do any of it. */
static void check_both_ways(struct world *world, bool ipv6, bool vlan, uint32_t payload)
{
	static uint8_t whole[70000], open[70000];
	struct net_test_frame frame = { .ip_version = ipv6 ? 6 : 4, .protocol = NET_TEST_TCP,
					.payload_bytes = payload, .seed = payload };
	struct net_test_layout layout = net_test_build(&frame, whole);
	bool large = payload > 1460;
	struct netvsp_guest_out out = { .data = open, .bytes = layout.bytes, .has_checksum = !large,
					.has_lso = large, .has_vlan = vlan, .vlan = 7u << 4 };
	struct netvsp_guest_frame *came;
	struct net_offload offload;
	struct listener listener;

	listen_to(world, &listener);
	memcpy(open, whole, layout.bytes);
	net_test_pseudo(open, &layout, large ? 0 : layout.bytes - layout.transport_offset);
	out.checksum = (ipv6 ? RNDIS_TX_IPV6 : RNDIS_TX_IPV4) | RNDIS_TX_TCP_CHECKSUM |
		       layout.transport_offset << RNDIS_TX_HEADER_OFFSET_SHIFT;
	out.lso = 1000 | RNDIS_LSO_V2 | (ipv6 ? RNDIS_LSO_IPV6 : 0);
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	frame.has_vlan = vlan;
	frame.vlan_tci = 7;
	layout = net_test_build(&frame, whole);
	heard(&listener, whole, layout.bytes);

	memcpy(open, whole, layout.bytes);
	net_test_pseudo(open, &layout, layout.bytes - layout.transport_offset);
	offload = left_open(&layout, ipv6, large ? 1000 : 0);
	if (!large || world->config.capabilities & NVSP_CAPABILITY_RSC) {
		came = world_receives(world, open, layout.bytes, &offload);
		free(came);
		heard(&listener, whole, layout.bytes);
	}
	heard_all(&listener);
	leave(&listener);
	memory_port_drop(&world->port);
}

static void what_passes_is_recorded_with_its_sums(void **state)
{
	static const struct world_config configs[] = {
		{ .can_send = NET_CAN_ALL, .can_receive = NET_CAN_ALL,
		  .capabilities = NVSP_CAPABILITY_RSC },
		{ .can_send = 0, .can_receive = NET_CAN_CHECKSUM },
		{ .can_send = NET_CAN_CHECKSUM, .can_receive = 0,
		  .capabilities = NVSP_CAPABILITY_VLAN },
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(configs); i++) {
		struct world *world = world_again(state, &configs[i]);

		world_ready(world, FILTER_ALL);
		if (configs[i].capabilities & NVSP_CAPABILITY_RSC)
			switch_coalescing_on(world);
		for (uint32_t kind = 0; kind < 4; kind++) {
			check_both_ways(world, kind & 1, kind & 2, 100);
			check_both_ways(world, kind & 1, kind & 2, 30001);
		}
	}
}

static void several_hear_the_same_and_one_that_goes_disturbs_nobody(void **state)
{
	struct world *world = *state;
	struct listener listeners[NETVSP_CAPTURES_MAX];
	int fds[NETVSP_CAPTURE_FDS];
	struct net_capture_record record;
	const uint8_t *read;

	world_ready(world, FILTER_ALL);
	for (uint32_t i = 0; i < NETVSP_CAPTURES_MAX; i++)
		listen_to(world, &listeners[i]);
	assert_int_equal(netvsp_capture(world->netvsp, 100, fds), -LIS_FULL);
	for (uint32_t gone = 0; gone < NETVSP_CAPTURES_MAX; gone++) {
		assert_int_equal(netvsp_status(world->netvsp).captures, NETVSP_CAPTURES_MAX - gone);
		world_carries(world);
		for (uint32_t i = gone; i < NETVSP_CAPTURES_MAX; i++) {
			assert_int_equal(net_capture_next(listeners[i].reader, &record, &read), 0);
			assert_int_equal(net_capture_next(listeners[i].reader, &record, &read), 0);
			heard_all(&listeners[i]);
		}
		/* In the middle of the list first. */
		if (!gone) {
			struct listener other = listeners[0];

			listeners[0] = listeners[4];
			listeners[4] = other;
		}
		leave(&listeners[gone]);
		world_settle(world);
	}
	assert_int_equal(netvsp_status(world->netvsp).captures, 0);
	world_carries(world);
	/* There is room again. */
	listen_to(world, &listeners[0]);
	leave(&listeners[0]);
}

static void what_the_guest_does_not_get_is_not_recorded(void **state)
{
	static const uint8_t others[60] = { 2, 9, 9, 9, 9, 9 };
	struct world *world = *state;
	struct listener listener;

	world_ready(world, NDIS_FILTER_DIRECTED);
	listen_to(world, &listener);
	memory_port_queue(&world->port, others, sizeof(others), NULL);
	world_settle(world);
	heard_all(&listener);
	leave(&listener);
}

static void a_card_that_goes_says_so_and_what_was_recorded_stays(void **state)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, 1, 2, 3 };
	struct world *world = *state;
	struct listener listener, other;

	world_ready(world, FILTER_ALL);
	listen_to(world, &listener);
	listen_to(world, &other);
	world_carries(world);
	assert_false(is_over(&listener));
	/* One that leaves in the same moment. */
	close(other.session);
	other.session = -1;
	world_destroy_card(world);
	assert_true(is_over(&listener));
	heard(&listener, frame, sizeof(frame));
	heard(&listener, frame, sizeof(frame));
	heard_all(&listener);
	leave(&listener);
	leave(&other);
}

static void one_that_begins_right_before_the_end_is_over_soon(void **state)
{
	struct world *world = *state;
	int fds[NETVSP_CAPTURE_FDS];
	struct listener listener;

	assert_int_equal(netvsp_capture(world->netvsp, 100, fds), 0);
	assert_int_equal(net_capture_reader_open(fds[0], &listener.reader), 0);
	listener.session = fds[1];
	world_destroy_card(world);
	assert_true(is_over(&listener));
	leave(&listener);
}

static void nobody_who_does_not_read_holds_the_card_up(void **state)
{
	struct world *world = *state;
	struct listener listener;
	uint32_t next = 0;

	world_ready(world, FILTER_ALL);
	listen_to(world, &listener);
	for (uint32_t i = 0; i < 12000; i += 60) {
		for (uint32_t j = 0; j < 60; j++)
			world_queue_numbered(world, i + j, 1514);
		world_settle(world);
		world_take_numbered(world, &next, i + 60);
	}
	assert_int_equal(next, 12000);
	assert_true(net_capture_dropped(listener.reader) > 12000 - NET_CAPTURE_BYTES / 1514);
	assert_false(is_over(&listener));
	leave(&listener);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_passes_is_recorded_with_its_sums),
		TEST(several_hear_the_same_and_one_that_goes_disturbs_nobody),
		TEST(what_the_guest_does_not_get_is_not_recorded),
		TEST(a_card_that_goes_says_so_and_what_was_recorded_stays),
		TEST(one_that_begins_right_before_the_end_is_over_soon),
		TEST(nobody_who_does_not_read_holds_the_card_up),
	};

	return cmocka_run_group_tests_name("netvsp capture", tests, NULL, NULL);
}
