// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The TAP port: frames, what is left to the kernel, and the interface. */
#include "tests/unit/network/tap_world.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "network/backends/vlan.h"

#define FLAG_CWR 0x80u

static bool is_up(const char *name)
{
	struct ifreq request = tap_request_for(name);

	assert_int_equal(ioctl(tap_control, SIOCGIFFLAGS, &request), 0);
	return request.ifr_flags & IFF_UP;
}

static void set_up(const char *name, bool up)
{
	struct ifreq request = tap_request_for(name);

	assert_int_equal(ioctl(tap_control, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
	assert_int_equal(ioctl(tap_control, SIOCSIFFLAGS, &request), 0);
}

/* ---- frames ---- */

static void put_macs(uint8_t *at)
{
	memcpy(at, tap_mac_b, 6);
	memcpy(at + 6, tap_mac_a, 6);
}

static void make_plain(uint32_t bytes)
{
	put_macs(tap_frame);
	for (uint32_t i = 12; i < bytes; i++)
		tap_frame[i] = (uint8_t)(i * 11 + bytes);
	tap_frame[12] = 0x88; /* an experiment's ethertype */
	tap_frame[13] = 0xb5;
}

static uint32_t make_flow(const struct slow_plan *plan, uint16_t segment_bytes,
			  struct net_offload *offload)
{
	uint32_t bytes = slow_build(plan, tap_frame, segment_bytes, offload);

	put_macs(tap_frame);
	return bytes;
}

static bool is_ours(const struct port_user *user)
{
	return !memcmp(user->memory + 6, tap_mac_a, 6);
}

/* The next frame of ours; the kernel has some to say itself. */
static void port_gets(struct port_user *user)
{
	do
		user_wait(user);
	while (!is_ours(user));
}

/* ---- frames as they are ---- */

static void frames_reach_the_kernel_as_they_are(void **state)
{
	static const uint32_t sizes[] = { 14, 15, 60, 61, 1514, 1518, 9014, 65549 };
	struct tap_world world;

	tap_begin(&world, "lis0");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		make_plain(sizes[i]);
		assert_int_equal(user_send(&world.user, tap_frame, sizes[i], sizes[i] / 9 + 1, NULL),
				 0);
		assert_int_equal(tap_kernel_gets(world.packets), sizes[i]);
		assert_memory_equal(tap_came_frame(), tap_frame, sizes[i]);
		assert_int_equal(tap_came_header().gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(tap_came_header().flags, 0);
	}
	tap_end(&world);
}

static void frames_of_the_kernel_arrive_as_they_are(void **state)
{
	static const uint32_t sizes[] = { 14, 15, 60, 61, 1500, 1514 };
	struct tap_world world;

	tap_begin(&world, "lis0");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		make_plain(sizes[i]);
		user_drain(&world.user); /* so that it is waited for */
		assert_int_equal(tap_kernel_sends(world.packets, NULL, sizes[i]),
				 sizes[i] + sizeof(struct virtio_net_hdr));
		port_gets(&world.user);
		assert_int_equal(world.user.bytes, sizes[i]);
		assert_memory_equal(world.user.memory, tap_frame, sizes[i]);
		assert_int_equal(world.user.offload.flags, 0);
		assert_int_equal(world.user.offload.gso, NET_GSO_NONE);
	}
	/* Many at once, one call of ready. */
	for (uint32_t i = 0; i < 100; i++) {
		make_plain(100 + i);
		tap_kernel_sends(world.packets, NULL, 100 + i);
	}
	for (uint32_t i = 0; i < 100; i++) {
		port_gets(&world.user);
		assert_int_equal(world.user.bytes, 100 + i);
	}
	tap_end(&world);
}

static void a_frame_longer_than_the_room_is_dropped_and_counted(void **state)
{
	struct tap_world world;

	tap_begin(&world, "lis0");
	user_drain(&world.user);
	make_plain(601);
	tap_kernel_sends(world.packets, NULL, 601);
	make_plain(600);
	tap_kernel_sends(world.packets, NULL, 600);
	assert_int_equal(user_take(&world.user, 600), 0);
	assert_int_equal(world.user.bytes, 600);
	assert_memory_equal(world.user.memory, tap_frame, 600);
	assert_int_equal(atomic_load(&world.port->counters.receive_dropped), 1);
	assert_int_equal(user_take(&world.user, 600), -LIS_EMPTY);
	/* As many as there may be in a row, and one behind them. */
	for (int i = 0; i < 64; i++)
		tap_kernel_sends(world.packets, NULL, 600);
	make_plain(99);
	tap_kernel_sends(world.packets, NULL, 99);
	assert_int_equal(user_take(&world.user, 100), -LIS_EMPTY);
	port_gets(&world.user);
	assert_int_equal(world.user.bytes, 99);
	assert_int_equal(atomic_load(&world.port->counters.receive_dropped), 65);
	tap_end(&world);
}

/* ---- offloads ---- */

static void a_checksum_is_left_to_the_kernel(void **state)
{
	struct slow_plan plan = { .payload_bytes = 700, .seed = 3 };
	struct net_offload offload;
	struct tap_world world;
	uint32_t bytes;

	tap_begin(&world, "lis0");
	for (int kind = 0; kind < 4; kind++) {
		plan.ipv6 = kind & 1;
		plan.udp = kind & 2;
		bytes = make_flow(&plan, 0, &offload);
		assert_int_equal(user_send(&world.user, tap_frame, bytes, 500, &offload), 0);
		assert_int_equal(tap_kernel_gets(world.packets), bytes);
		assert_int_equal(tap_came_header().flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(tap_came_header().csum_start, offload.checksum_start);
		assert_int_equal(tap_came_header().csum_offset, offload.checksum_offset);
		assert_memory_equal(tap_came_frame(), tap_frame, bytes);
	}
	tap_end(&world);
}

static void the_kernel_leaves_a_checksum_to_who_can(void **state)
{
	struct slow_plan plan = { .payload_bytes = 501, .seed = 4 };
	struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	struct net_offload offload;
	struct tap_world world;
	uint32_t bytes;

	tap_begin(&world, "lis0");
	bytes = make_flow(&plan, 0, &offload);
	header.csum_start = offload.checksum_start;
	header.csum_offset = offload.checksum_offset;
	tap_kernel_sends(world.packets, &header, bytes);
	port_gets(&world.user);
	assert_int_equal(world.user.offload.flags, 0);
	assert_null(slow_frame_wrong(world.user.memory, world.user.bytes, false));

	net_port_set_receive(world.port, NET_CAN_CHECKSUM);
	tap_kernel_sends(world.packets, &header, bytes);
	port_gets(&world.user);
	assert_int_equal(world.user.offload.flags, NET_CHECKSUM_PARTIAL);
	assert_int_equal(world.user.offload.checksum_start, offload.checksum_start);
	assert_int_equal(world.user.offload.checksum_offset, offload.checksum_offset);
	assert_null(slow_frame_wrong(world.user.memory, world.user.bytes, true));

	/* What waits is made what it must be now. */
	tap_kernel_sends(world.packets, &header, bytes);
	net_port_set_receive(world.port, 0);
	port_gets(&world.user);
	assert_int_equal(world.user.offload.flags, 0);
	assert_null(slow_frame_wrong(world.user.memory, world.user.bytes, false));
	tap_end(&world);
}

static void a_large_segment_reaches_the_kernel_whole(void **state)
{
	struct slow_plan plan = { .payload_bytes = 50000, .seed = 5, .tcp_flags = 0x10 };
	struct net_offload offload;
	struct tap_world world;
	uint32_t bytes;

	tap_begin(&world, "lis0");
	for (int kind = 0; kind < 4; kind++) {
		uint32_t gso;

		plan.ipv6 = kind & 1;
		plan.tcp_flags = (uint8_t)(0x10 | (kind & 2 ? FLAG_CWR : 0));
		bytes = make_flow(&plan, 1400, &offload);
		assert_int_equal(user_send(&world.user, tap_frame, bytes, 999, &offload), 0);
		assert_int_equal(tap_kernel_gets(world.packets), bytes);
		gso = plan.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		gso |= kind & 2 ? VIRTIO_NET_HDR_GSO_ECN : 0;
		assert_int_equal(tap_came_header().gso_type, gso);
		assert_int_equal(tap_came_header().gso_size, 1400);
		assert_int_equal(tap_came_header().csum_start, offload.checksum_start);
		assert_memory_equal(tap_came_frame(), tap_frame, bytes);
	}
	tap_end(&world);
}

/* Two TAPs behind one bridge. */
struct bridged {
	struct tap_world a, b;
};

static bool begin_bridged(struct bridged *bridged)
{
	struct ifreq request = tap_request_for("br0");

	if (ioctl(tap_control, SIOCBRADDBR, "br0") < 0)
		return false;
	tap_begin(&bridged->a, "lis0");
	tap_begin(&bridged->b, "lis1");
	request.ifr_ifindex = (int)if_nametoindex("lis0");
	assert_int_equal(ioctl(tap_control, SIOCBRADDIF, &request), 0);
	request.ifr_ifindex = (int)if_nametoindex("lis1");
	assert_int_equal(ioctl(tap_control, SIOCBRADDIF, &request), 0);
	set_up("br0", true);
	return true;
}

static void end_bridged(struct bridged *bridged)
{
	tap_end(&bridged->a);
	tap_end(&bridged->b);
	set_up("br0", false);
	assert_int_equal(ioctl(tap_control, SIOCBRDELBR, "br0"), 0);
}

static void expect_whole(struct port_user *user, uint32_t bytes, const struct net_offload *offload)
{
	port_gets(user);
	assert_int_equal(user->bytes, bytes);
	assert_memory_equal(user->memory, tap_frame, bytes);
	assert_int_equal(user->offload.gso, offload->gso);
	assert_int_equal(user->offload.flags, NET_CHECKSUM_PARTIAL);
	assert_int_equal(user->offload.segment_bytes, offload->segment_bytes);
	assert_int_equal(user->offload.header_bytes, offload->header_bytes);
	assert_int_equal(user->offload.checksum_start, offload->checksum_start);
	assert_int_equal(user->offload.checksum_offset, offload->checksum_offset);
}

static void expect_segments(struct port_user *user, uint32_t bytes,
			    const struct net_offload *offload)
{
	struct slow_join join = { .frame = tap_frame, .bytes = bytes, .offload = *offload };

	join.at = offload->header_bytes;
	while (join.at < bytes) {
		const char *wrong;

		port_gets(user);
		assert_int_equal(user->offload.gso, NET_GSO_NONE);
		assert_int_equal(user->offload.flags & NET_CHECKSUM_PARTIAL, 0);
		wrong = slow_join_wrong(&join, user->memory, user->bytes, false);
		if (wrong)
			fail_msg("segment %u: %s", join.index, wrong);
	}
	assert_int_equal(join.at, bytes);
}

static void the_kernel_cuts_large_frames_for_who_cannot(void **state)
{
	struct slow_plan plan = { .payload_bytes = 30000, .tcp_flags = 0x19, .ip_id = 0xfff0 };
	struct bridged bridged;

	if (!begin_bridged(&bridged))
		skip();
	for (int kind = 0; kind < 12; kind++) {
		struct net_offload offload;
		uint32_t bytes;

		plan.ipv6 = kind & 1;
		plan.vlan_tags = (kind & 2) / 2;
		plan.udp = kind / 4 == 1;
		plan.tcp_option_words = kind / 4 == 2 ? 3 : 0;
		plan.seed = (uint32_t)kind;
		if (plan.udp && !(bridged.a.port->can_send & NET_CAN_UDP))
			continue;
		bytes = make_flow(&plan, 1400, &offload);
		net_port_set_receive(bridged.b.port, NET_CAN_ALL);
		assert_int_equal(user_send(&bridged.a.user, tap_frame, bytes, 4096, &offload), 0);
		expect_whole(&bridged.b.user, bytes, &offload);
		net_port_set_receive(bridged.b.port, 0);
		assert_int_equal(user_send(&bridged.a.user, tap_frame, bytes, 4096, &offload), 0);
		expect_segments(&bridged.b.user, bytes, &offload);
	}
	end_bridged(&bridged);
}

/* An access port of VLAN 5 here, all VLANs there, and the kernel's bridge between them. */
static void a_vlan_passes_the_kernel_with_its_offloads(void **state)
{
	static uint8_t tagged[SLOW_FRAME_BYTES_MAX];
	struct bridged bridged;
	struct net_port *vlan;

	if (!begin_bridged(&bridged))
		skip();
	user_stop(&bridged.a.user);
	assert_int_equal(vlan_create(bridged.a.port, 5, &vlan, NULL), 0);
	bridged.a.port = vlan;
	user_start(&bridged.a.user, vlan, tap_loop);
	net_port_set_receive(vlan, vlan->can_receive);
	net_port_set_receive(bridged.b.port, vlan->can_receive);
	for (int kind = 0; kind < 4; kind++) {
		struct slow_plan plan = { .ipv6 = kind & 1, .payload_bytes = kind & 2 ? 50000 : 900,
					  .seed = 6, .tcp_flags = 0x10 };
		struct net_offload offload, moved;
		uint32_t bytes = make_flow(&plan, kind & 2 ? 1400 : 0, &offload);

		moved = offload;
		moved.checksum_start += 4;
		moved.header_bytes += kind & 2 ? 4 : 0;
		memcpy(tagged, tap_frame, 12);
		memcpy(tagged + 12, (const uint8_t[]){ 0x81, 0, 0, 5 }, 4);
		memcpy(tagged + 16, tap_frame + 12, bytes - 12);
		assert_int_equal(user_send(&bridged.a.user, tap_frame, bytes, 999, &offload), 0);
		port_gets(&bridged.b.user);
		assert_int_equal(bridged.b.user.bytes, bytes + 4);
		assert_memory_equal(bridged.b.user.memory, tagged, bytes + 4);
		assert_memory_equal(&bridged.b.user.offload, &moved, sizeof(moved));
		/* Without its tag it does not reach the port, with it it does. */
		assert_int_equal(user_send(&bridged.b.user, tap_frame, bytes, 999, &offload), 0);
		assert_int_equal(user_send(&bridged.b.user, tagged, bytes + 4, 999, &moved), 0);
		port_gets(&bridged.a.user);
		assert_int_equal(bridged.a.user.bytes, bytes);
		assert_memory_equal(bridged.a.user.memory, tap_frame, bytes);
		assert_memory_equal(&bridged.a.user.offload, &offload, sizeof(offload));
		assert_int_equal(user_drain(&bridged.a.user), 0);
	}
	end_bridged(&bridged);
}

static void a_large_frame_that_came_too_late_is_dropped(void **state)
{
	struct slow_plan plan = { .payload_bytes = 5000 };
	struct net_offload offload;
	struct bridged bridged;
	uint32_t bytes;

	if (!begin_bridged(&bridged))
		skip();
	net_port_set_receive(bridged.b.port, NET_CAN_ALL);
	user_drain(&bridged.b.user);
	bytes = make_flow(&plan, 1400, &offload);
	assert_int_equal(user_send(&bridged.a.user, tap_frame, bytes, 4096, &offload), 0);
	net_port_set_receive(bridged.b.port, NET_CAN_CHECKSUM);
	make_plain(77);
	assert_int_equal(user_send(&bridged.a.user, tap_frame, 77, 77, NULL), 0);
	port_gets(&bridged.b.user);
	assert_int_equal(bridged.b.user.bytes, 77);
	assert_int_equal(atomic_load(&bridged.b.port->counters.receive_dropped), 1);
	end_bridged(&bridged);
}

static void frames_that_cannot_be_are_refused(void **state)
{
	struct slow_plan plan = { .payload_bytes = 3000 };
	struct net_offload offload, bad;
	struct iovec iov[2000];
	struct net_frame many = { .iov = iov, .iov_count = 1023, .bytes = 1023 };
	struct tap_world world;
	uint32_t bytes;

	tap_begin(&world, "lis0");
	bytes = make_flow(&plan, 1400, &offload);
	bad = offload;
	bad.flags = 0;
	assert_int_equal(user_send(&world.user, tap_frame, bytes, 999, &bad), -LIS_INVALID);
	bad = offload;
	bad.gso = 77;
	assert_int_equal(user_send(&world.user, tap_frame, bytes, 999, &bad), -LIS_INVALID);
	bad = offload;
	bad.checksum_start = (uint16_t)bytes;
	assert_int_equal(user_send(&world.user, tap_frame, bytes, 999, &bad), -LIS_INVALID);
	assert_int_equal(user_send(&world.user, tap_frame, 13, 13, NULL), -LIS_INVALID);
	make_plain(1023);
	for (uint32_t i = 0; i < 2000; i++)
		iov[i] = (struct iovec){ tap_frame + i, 1 };
	assert_int_equal(net_port_send(world.port, &many), -LIS_INVALID);
	many.iov_count = many.bytes = 1022;
	assert_int_equal(net_port_send(world.port, &many), 0);
	assert_int_equal(tap_kernel_gets(world.packets), 1022);
	assert_int_equal(atomic_load(&world.port->counters.send_dropped), 0);
	tap_end(&world);
}

/* ---- the interface ---- */

static struct tap_world linked;

static bool link_is_up(void *context)
{
	return atomic_load(&linked.port->link_up) &&
	       linked.user.link_changes == *(unsigned *)context;
}

static bool link_is_down(void *context)
{
	return !atomic_load(&linked.port->link_up) &&
	       linked.user.link_changes == *(unsigned *)context;
}

static void the_link_is_up_while_the_interface_is(void **state)
{
	struct ifreq request = tap_request_for("lis0");
	char line[NET_PORT_LINE_BYTES];
	unsigned changes = 1;

	tap_begin(&linked, "lis0");
	set_up("lis0", false);
	turn_until(tap_loop, link_is_down, &changes);
	make_plain(100);
	assert_int_equal(user_send(&linked.user, tap_frame, 100, 100, NULL), -LIS_IO);
	assert_int_equal(atomic_load(&linked.port->counters.send_dropped), 1);
	/* By another name it is the same. */
	strcpy(request.ifr_newname, "other0");
	assert_int_equal(ioctl(tap_control, SIOCSIFNAME, &request), 0);
	settle(tap_loop);
	assert_int_equal(linked.user.link_changes, 1);
	changes++;
	set_up("other0", true);
	turn_until(tap_loop, link_is_up, &changes);
	linked.port->ops->describe(linked.port, line);
	assert_string_equal(line, "tap, other0, made for it");
	assert_int_equal(user_send(&linked.user, tap_frame, 100, 100, NULL), 0);
	/* Other interfaces are not ours. */
	assert_int_equal(tap_make_interface("lis9", IFF_TAP | IFF_NO_PI), 0);
	tap_delete_interface("lis9");
	settle(tap_loop);
	assert_int_equal(linked.user.link_changes, 2);
	tap_end(&linked);
}

static void a_deleted_interface_is_a_link_down_and_nothing_more(void **state)
{
	unsigned changes = 1;

	tap_begin(&linked, "lis0");
	user_drain(&linked.user);
	tap_delete_interface("lis0");
	turn_until(tap_loop, link_is_down, &changes);
	make_plain(100);
	assert_int_equal(user_send(&linked.user, tap_frame, 100, 100, NULL), -LIS_IO);
	assert_int_equal(user_take(&linked.user, 2000), -LIS_EMPTY);
	net_port_set_receive(linked.port, NET_CAN_ALL);
	settle(tap_loop); /* ends: nothing is looked at again and again */
	tap_end(&linked);
}

static void an_interface_made_for_a_port_goes_with_it(void **state)
{
	struct tap_config config = { .name = "lis0", .make = true };
	struct net_port *port;
	char line[NET_PORT_LINE_BYTES];

	assert_int_equal(tap_create(&config, &port, NULL), 0);
	assert_true(if_nametoindex("lis0") != 0);
	assert_false(is_up("lis0"));
	assert_false(atomic_load(&port->link_up));
	port->ops->describe(port, line);
	assert_string_equal(line, "tap, lis0, made for it");
	net_port_destroy(port);
	assert_int_equal(if_nametoindex("lis0"), 0);
}

static void an_interface_that_was_there_stays(void **state)
{
	static const short kinds[] = { IFF_TAP | IFF_NO_PI, IFF_TAP | IFF_MULTI_QUEUE };

	for (size_t i = 0; i < 2; i++) {
		struct tap_world world;
		char line[NET_PORT_LINE_BYTES];

		assert_int_equal(tap_make_interface("lis0", kinds[i]), 0);
		tap_begin(&world, "lis0");
		make_plain(300);
		assert_int_equal(user_send(&world.user, tap_frame, 300, 300, NULL), 0);
		assert_int_equal(tap_kernel_gets(world.packets), 300);
		tap_kernel_sends(world.packets, NULL, 300);
		port_gets(&world.user);
		assert_int_equal(world.user.bytes, 300);
		world.port->ops->describe(world.port, line);
		assert_string_equal(line, "tap, lis0");
		tap_end(&world);
		assert_true(is_up("lis0"));
		tap_delete_interface("lis0");
	}
}

static void expect_error(const char *name, bool make, int err, const char *words)
{
	struct tap_config config = { .name = name, .make = make };
	char error[NET_PORT_ERROR_BYTES] = "";
	struct net_port *port = NULL;

	assert_int_equal(tap_create(&config, &port, error), err);
	assert_null(port);
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
}

static void what_cannot_be_opened_is_an_error_in_words(void **state)
{
	struct tap_world world;

	expect_error(NULL, true, -LIS_INVALID, "no name");
	expect_error("", true, -LIS_INVALID, "no name");
	expect_error("a-name-of-sixteen", true, -LIS_INVALID, "a-name-of-sixteen");
	expect_error("lis%d", true, -LIS_INVALID, "no name");
	expect_error("../lis0", true, -LIS_INVALID, "no name");
	expect_error("lis0", false, -LIS_NOTFOUND, "tap lis0: there is no such interface");
	expect_error("lo", false, -LIS_UNSUPPORTED, "lo: it is no TAP");
	expect_error("lo", true, -LIS_UNSUPPORTED, "lo: it is no TAP");
	assert_int_equal(tap_make_interface("tun0", IFF_TUN), 0);
	expect_error("tun0", false, -LIS_UNSUPPORTED, "tun0: it is no TAP");
	tap_delete_interface("tun0");
	tap_begin(&world, "lis0");
	expect_error("lis0", false, -LIS_BUSY, "lis0: it is in use");
	expect_error("lis0", true, -LIS_BUSY, "lis0: it is in use");
	tap_end(&world);
	/* Somebody without any rights; the message depends on what the first obstacle is. */
	if (geteuid() == 0 && seteuid(65534) == 0) {
		expect_error("lis0", true, -LIS_DENIED, "");
		assert_int_equal(seteuid(0), 0);
	}
}

static void a_stopped_port_starts_again(void **state)
{
	struct tap_world world;

	tap_begin(&world, "lis0");
	net_port_set_receive(world.port, NET_CAN_ALL);
	user_stop(&world.user);
	make_plain(200);
	tap_kernel_sends(world.packets, NULL, 200);
	settle(tap_loop);
	user_start(&world.user, world.port, tap_loop);
	port_gets(&world.user);
	assert_int_equal(world.user.bytes, 200);
	tap_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_reach_the_kernel_as_they_are),
		cmocka_unit_test(frames_of_the_kernel_arrive_as_they_are),
		cmocka_unit_test(a_frame_longer_than_the_room_is_dropped_and_counted),
		cmocka_unit_test(a_checksum_is_left_to_the_kernel),
		cmocka_unit_test(the_kernel_leaves_a_checksum_to_who_can),
		cmocka_unit_test(a_large_segment_reaches_the_kernel_whole),
		cmocka_unit_test(the_kernel_cuts_large_frames_for_who_cannot),
		cmocka_unit_test(a_vlan_passes_the_kernel_with_its_offloads),
		cmocka_unit_test(a_large_frame_that_came_too_late_is_dropped),
		cmocka_unit_test(frames_that_cannot_be_are_refused),
		cmocka_unit_test(the_link_is_up_while_the_interface_is),
		cmocka_unit_test(a_deleted_interface_is_a_link_down_and_nothing_more),
		cmocka_unit_test(an_interface_made_for_a_port_goes_with_it),
		cmocka_unit_test(an_interface_that_was_there_stays),
		cmocka_unit_test(what_cannot_be_opened_is_an_error_in_words),
		cmocka_unit_test(a_stopped_port_starts_again),
	};
	int failed;

	if (!tap_world_begin())
		return MESON_SKIP;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tap_world_end();
	return failed;
}
