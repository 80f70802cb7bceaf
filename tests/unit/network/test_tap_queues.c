// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The TAP port with several queues. */
#include "tests/unit/network/tap_world.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>

#include "network/backends/tap_private.h"

#define UDP_FRAME_BYTES 60u

/* The @number-th datagram of a flow, to or from the kernel. */
static void make_datagram(uint16_t flow, uint16_t number, bool from_kernel)
{
	uint8_t *ip = tap_frame + 14, *udp = ip + 20;
	uint16_t there = htons((uint16_t)(1000 + flow)), here = htons(53);

	memset(tap_frame, 0, UDP_FRAME_BYTES);
	memcpy(tap_frame, from_kernel ? tap_mac_a : tap_mac_b, 6);
	memcpy(tap_frame + 6, from_kernel ? tap_mac_b : tap_mac_a, 6);
	tap_frame[12] = 0x08;
	memcpy(ip, (const uint8_t[]){ 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0 }, 12);
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, from_kernel, 10, 0, 0, !from_kernel }, 8);
	memcpy(udp, from_kernel ? &here : &there, 2);
	memcpy(udp + 2, from_kernel ? &there : &here, 2);
	udp[5] = 26;
	memcpy(udp + 8, &flow, 2);
	memcpy(udp + 10, &number, 2);
}

static void read_datagram(const uint8_t *data, uint16_t *flow, uint16_t *number)
{
	memcpy(flow, data + 14 + 20 + 8, 2);
	memcpy(number, data + 14 + 20 + 10, 2);
}

static int send_on_queue(struct net_port *port, uint16_t queue)
{
	struct iovec iov = { tap_frame, UDP_FRAME_BYTES };
	struct net_frame out = { .iov = &iov, .iov_count = 1, .bytes = UDP_FRAME_BYTES, .queue = queue };

	return net_port_send(port, &out);
}

static void open_queues(struct tap_world *world, const char *name, uint32_t queues)
{
	struct tap_config config = { .name = name, .make = true, .up = true, .queues = queues };
	char error[NET_PORT_ERROR_BYTES] = "";

	if (tap_create(&config, &world->port, error))
		fail_msg("%s", error);
	user_start(&world->user, world->port, tap_loop);
	world->packets = tap_packet_socket(name);
}

static bool is_filled(const struct tap_world *world, uint32_t queue)
{
	struct pollfd poll_fd = { ((const struct tap *)world->port)->queues[queue].fd, POLLIN, 0 };

	return poll(&poll_fd, 1, 0) == 1;
}

static void a_flow_comes_back_by_the_queue_it_went_by(void **state)
{
	struct tap_world world;
	char line[NET_PORT_LINE_BYTES];

	open_queues(&world, "lis4", 4);
	world.port->ops->describe(world.port, line);
	assert_string_equal(line, "tap, lis4, made for it, 4 queues");
	for (uint16_t flow = 0; flow < 24; flow++) {
		/* A channel of the user's for which there is no queue shares one. */
		uint16_t queue = (uint16_t)(flow * 5 % 7);

		make_datagram(flow, 0, false);
		assert_int_equal(send_on_queue(world.port, queue), 0);
		assert_int_equal(tap_kernel_gets(world.packets), UDP_FRAME_BYTES);
		assert_memory_equal(tap_came_frame(), tap_frame, UDP_FRAME_BYTES);
		user_drain(&world.user);
		make_datagram(flow, 1, true);
		tap_kernel_sends(world.packets, NULL, UDP_FRAME_BYTES);
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(is_filled(&world, i), i == queue % 4u);
		user_wait(&world.user);
		assert_memory_equal(world.user.memory, tap_frame, UDP_FRAME_BYTES);
	}
	tap_end(&world);
}

/* All that waits in all queues comes, each flow's in order, and no queue waits for another to be empty. */
static void queues_have_their_turns(void **state)
{
	enum { FLOWS = 8, EACH = 60 };
	uint16_t next[FLOWS] = { 0 }, flow, number, most_behind = 0;
	struct tap_world world;

	open_queues(&world, "lis4", 4);
	for (flow = 0; flow < FLOWS; flow++) {
		make_datagram(flow, 0, false);
		assert_int_equal(send_on_queue(world.port, flow), 0);
		tap_kernel_gets(world.packets);
	}
	for (int round = 0; round < 5; round++) {
		user_drain(&world.user);
		memset(next, 0, sizeof(next));
		for (number = 0; number < EACH; number++) {
			for (flow = 0; flow < FLOWS; flow++) {
				make_datagram(flow, number, true);
				tap_kernel_sends(world.packets, NULL, UDP_FRAME_BYTES);
			}
		}
		for (uint32_t i = 0; i < FLOWS * EACH; i++) {
			user_wait(&world.user);
			read_datagram(world.user.memory, &flow, &number);
			assert_in_range(flow, 0, FLOWS - 1);
			assert_int_equal(number, next[flow]++);
			for (uint16_t other = 0; other < FLOWS; other++)
				if (next[flow] > next[other] + most_behind)
					most_behind = (uint16_t)(next[flow] - next[other]);
		}
		assert_int_equal(user_take(&world.user, 2000), -LIS_EMPTY);
	}
	/* Two flows in a queue, and 16 frames in a turn. */
	assert_in_range(most_behind, 1, 32);
	tap_end(&world);
}

static void several_queues_take_an_interface_that_was_made_for_them(void **state)
{
	struct tap_config config = { .name = "one0", .queues = 2 };
	char error[NET_PORT_ERROR_BYTES];
	struct net_port *port;

	assert_int_equal(tap_make_interface("one0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), 0);
	assert_int_equal(tap_make_interface("many0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE), 0);
	assert_int_equal(tap_create(&config, &port, error), -LIS_UNSUPPORTED);
	assert_non_null(strstr(error, "made for several queues"));
	config.name = "many0";
	for (config.queues = 0; config.queues <= TAP_QUEUES_MAX; config.queues += 4) {
		assert_int_equal(tap_create(&config, &port, error), 0);
		net_port_destroy(port);
	}
	config.queues = TAP_QUEUES_MAX + 1;
	assert_int_equal(tap_create(&config, &port, error), -LIS_INVALID);
	config.name = "none0";
	config.queues = 2;
	assert_int_equal(tap_create(&config, &port, error), -LIS_NOTFOUND);
	assert_non_null(strstr(error, "multi_queue"));
	tap_delete_interface("one0");
	tap_delete_interface("many0");
}

/* The kernel would let anybody take one more queue. */
static void an_interface_of_several_queues_has_one_user(void **state)
{
	struct tap_config config = { .name = "many0", .queues = 1 };
	char error[NET_PORT_ERROR_BYTES];
	struct net_port *port, *other;

	/* This namespace's interfaces in /sys. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL)) {
		print_message("not possible here\n");
		skip();
	}
	assert_int_equal(tap_make_interface("many0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE), 0);
	for (config.queues = 1; config.queues <= 3; config.queues++) {
		assert_int_equal(tap_create(&config, &port, error), 0);
		assert_int_equal(tap_create(&config, &other, error), -LIS_BUSY);
		assert_non_null(strstr(error, "it is in use"));
		net_port_destroy(port);
	}
	tap_delete_interface("many0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flow_comes_back_by_the_queue_it_went_by),
		cmocka_unit_test(queues_have_their_turns),
		cmocka_unit_test(several_queues_take_an_interface_that_was_made_for_them),
		cmocka_unit_test(an_interface_of_several_queues_has_one_user),
	};
	int failed;

	if (!tap_world_begin())
		return MESON_SKIP;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tap_world_end();
	return failed;
}
