// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The TAP port, in a network namespace of its own: the kernel's end is a packet socket, or another
 * TAP behind a bridge. Skipped where there is no right to any of it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "network/backends/tap_private.h"
#include "network/backends/vlan.h"
#include "tests/unit/network/port_world.h"
#include "tests/unit/network/slow_frame.h"

#define MESON_SKIP 77
#define FLAG_CWR 0x80u

static const uint8_t mac_a[6] = { 2, 0, 0, 0, 0, 0xa }, mac_b[6] = { 2, 0, 0, 0, 0, 0xb };

static struct io_loop *loop;
static int control = -1; /* a socket for questions about interfaces */
static uint8_t frame[SLOW_FRAME_BYTES_MAX],
	came[sizeof(struct virtio_net_hdr) + SLOW_FRAME_BYTES_MAX];

/* ---- interfaces ---- */

static struct ifreq request_for(const char *name)
{
	struct ifreq request = { 0 };

	strcpy(request.ifr_name, name);
	return request;
}

/* An interface that stays; returns 0, or errno. */
static int make_interface(const char *name, short flags)
{
	struct ifreq request = request_for(name);
	int fd = open("/dev/net/tun", O_RDWR), err = 0;

	request.ifr_flags = flags;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static void delete_interface(const char *name)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} message = {
		.head = { sizeof(message), RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0 },
		.info.ifi_index = (int)if_nametoindex(name),
	};
	char answer[1024];
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	assert_int_equal(send(fd, &message, sizeof(message), 0), sizeof(message));
	assert_true(recv(fd, answer, sizeof(answer), 0) > 0);
	close(fd);
	assert_int_equal(if_nametoindex(name), 0);
}

static bool is_up(const char *name)
{
	struct ifreq request = request_for(name);

	assert_int_equal(ioctl(control, SIOCGIFFLAGS, &request), 0);
	return request.ifr_flags & IFF_UP;
}

static void set_up(const char *name, bool up)
{
	struct ifreq request = request_for(name);

	assert_int_equal(ioctl(control, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
	assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
}

/* The kernel's end of an interface: frames behind struct virtio_net_hdr. */
static int packet_socket(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), on = 1;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* The next frame from @mac_a that arrived at the kernel; its header is *came. Returns its length.
 */
static uint32_t kernel_gets(int fd)
{
	struct sockaddr_ll from;
	socklen_t from_bytes = sizeof(from);
	ssize_t bytes;

	do {
		turn_until(loop, readable, &fd);
		bytes = recvfrom(fd, came, sizeof(came), 0, (struct sockaddr *)&from, &from_bytes);
		assert_true(bytes > (ssize_t)sizeof(struct virtio_net_hdr));
	} while (from.sll_pkttype == PACKET_OUTGOING ||
		 memcmp(came + sizeof(struct virtio_net_hdr) + 6, mac_a, 6));
	return (uint32_t)bytes - (uint32_t)sizeof(struct virtio_net_hdr);
}

static const uint8_t *came_frame(void)
{
	return came + sizeof(struct virtio_net_hdr);
}

static struct virtio_net_hdr came_header(void)
{
	struct virtio_net_hdr header;

	memcpy(&header, came, sizeof(header));
	return header;
}

static ssize_t kernel_sends(int fd, const struct virtio_net_hdr *header, uint32_t bytes)
{
	static const struct virtio_net_hdr none;
	struct iovec iov[] = { { (void *)(uintptr_t)(header ? header : &none), sizeof(none) },
			       { frame, bytes } };

	return writev(fd, iov, 2);
}

/* ---- frames ---- */

static void put_macs(uint8_t *at)
{
	memcpy(at, mac_b, 6);
	memcpy(at + 6, mac_a, 6);
}

static void make_plain(uint32_t bytes)
{
	put_macs(frame);
	for (uint32_t i = 12; i < bytes; i++)
		frame[i] = (uint8_t)(i * 11 + bytes);
	frame[12] = 0x88; /* an experiment's ethertype */
	frame[13] = 0xb5;
}

static uint32_t make_flow(const struct slow_plan *plan, uint16_t segment_bytes,
			  struct net_offload *offload)
{
	uint32_t bytes = slow_build(plan, frame, segment_bytes, offload);

	put_macs(frame);
	return bytes;
}

static bool is_ours(const struct port_user *user)
{
	return !memcmp(user->memory + 6, mac_a, 6);
}

/* The next frame of ours; the kernel has some to say itself. */
static void port_gets(struct port_user *user)
{
	do
		user_wait(user);
	while (!is_ours(user));
}

/* ---- the world ---- */

struct tap_world {
	struct net_port *port;
	struct port_user user;
	int packets;
};

static void begin(struct tap_world *world, const char *name)
{
	struct tap_config config = { .name = name, .make = true, .up = true };
	char error[NET_PORT_ERROR_BYTES] = "";

	if (tap_create(&config, &world->port, error))
		fail_msg("%s", error);
	assert_true(atomic_load(&world->port->link_up));
	user_start(&world->user, world->port, loop);
	world->packets = packet_socket(name);
}

static void end(struct tap_world *world)
{
	user_stop(&world->user);
	net_port_destroy(world->port);
	close(world->packets);
}

static int enter_namespace(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -1;
	/* The kernel's own chatter. */
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
	if (fd >= 0) {
		(void)!write(fd, "1", 1);
		close(fd);
	}
	control = socket(AF_INET, SOCK_DGRAM, 0);
	return make_interface("try0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
}

/* ---- frames as they are ---- */

static void frames_reach_the_kernel_as_they_are(void **state)
{
	static const uint32_t sizes[] = { 14, 15, 60, 61, 1514, 1518, 9014, 65549 };
	struct tap_world world;

	begin(&world, "lis0");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		make_plain(sizes[i]);
		assert_int_equal(user_send(&world.user, frame, sizes[i], sizes[i] / 9 + 1, NULL),
				 0);
		assert_int_equal(kernel_gets(world.packets), sizes[i]);
		assert_memory_equal(came_frame(), frame, sizes[i]);
		assert_int_equal(came_header().gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(came_header().flags, 0);
	}
	end(&world);
}

static void frames_of_the_kernel_arrive_as_they_are(void **state)
{
	static const uint32_t sizes[] = { 14, 15, 60, 61, 1500, 1514 };
	struct tap_world world;

	begin(&world, "lis0");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		make_plain(sizes[i]);
		user_drain(&world.user); /* so that it is waited for */
		assert_int_equal(kernel_sends(world.packets, NULL, sizes[i]),
				 sizes[i] + sizeof(struct virtio_net_hdr));
		port_gets(&world.user);
		assert_int_equal(world.user.bytes, sizes[i]);
		assert_memory_equal(world.user.memory, frame, sizes[i]);
		assert_int_equal(world.user.offload.flags, 0);
		assert_int_equal(world.user.offload.gso, NET_GSO_NONE);
	}
	/* Many at once, one call of ready. */
	for (uint32_t i = 0; i < 100; i++) {
		make_plain(100 + i);
		kernel_sends(world.packets, NULL, 100 + i);
	}
	for (uint32_t i = 0; i < 100; i++) {
		port_gets(&world.user);
		assert_int_equal(world.user.bytes, 100 + i);
	}
	end(&world);
}

static void a_frame_longer_than_the_room_is_dropped_and_counted(void **state)
{
	struct tap_world world;

	begin(&world, "lis0");
	user_drain(&world.user);
	make_plain(601);
	kernel_sends(world.packets, NULL, 601);
	make_plain(600);
	kernel_sends(world.packets, NULL, 600);
	assert_int_equal(user_take(&world.user, 600), 0);
	assert_int_equal(world.user.bytes, 600);
	assert_memory_equal(world.user.memory, frame, 600);
	assert_int_equal(atomic_load(&world.port->counters.receive_dropped), 1);
	assert_int_equal(user_take(&world.user, 600), -LIS_EMPTY);
	/* As many as there may be in a row, and one behind them. */
	for (int i = 0; i < 64; i++)
		kernel_sends(world.packets, NULL, 600);
	make_plain(99);
	kernel_sends(world.packets, NULL, 99);
	assert_int_equal(user_take(&world.user, 100), -LIS_EMPTY);
	port_gets(&world.user);
	assert_int_equal(world.user.bytes, 99);
	assert_int_equal(atomic_load(&world.port->counters.receive_dropped), 65);
	end(&world);
}

/* ---- offloads ---- */

static void a_checksum_is_left_to_the_kernel(void **state)
{
	struct slow_plan plan = { .payload_bytes = 700, .seed = 3 };
	struct net_offload offload;
	struct tap_world world;
	uint32_t bytes;

	begin(&world, "lis0");
	for (int kind = 0; kind < 4; kind++) {
		plan.ipv6 = kind & 1;
		plan.udp = kind & 2;
		bytes = make_flow(&plan, 0, &offload);
		assert_int_equal(user_send(&world.user, frame, bytes, 500, &offload), 0);
		assert_int_equal(kernel_gets(world.packets), bytes);
		assert_int_equal(came_header().flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(came_header().csum_start, offload.checksum_start);
		assert_int_equal(came_header().csum_offset, offload.checksum_offset);
		assert_memory_equal(came_frame(), frame, bytes);
	}
	end(&world);
}

static void the_kernel_leaves_a_checksum_to_who_can(void **state)
{
	struct slow_plan plan = { .payload_bytes = 501, .seed = 4 };
	struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	struct net_offload offload;
	struct tap_world world;
	uint32_t bytes;

	begin(&world, "lis0");
	bytes = make_flow(&plan, 0, &offload);
	header.csum_start = offload.checksum_start;
	header.csum_offset = offload.checksum_offset;
	kernel_sends(world.packets, &header, bytes);
	port_gets(&world.user);
	assert_int_equal(world.user.offload.flags, 0);
	assert_null(slow_frame_wrong(world.user.memory, world.user.bytes, false));

	net_port_set_receive(world.port, NET_CAN_CHECKSUM);
	kernel_sends(world.packets, &header, bytes);
	port_gets(&world.user);
	assert_int_equal(world.user.offload.flags, NET_CHECKSUM_PARTIAL);
	assert_int_equal(world.user.offload.checksum_start, offload.checksum_start);
	assert_int_equal(world.user.offload.checksum_offset, offload.checksum_offset);
	assert_null(slow_frame_wrong(world.user.memory, world.user.bytes, true));

	/* What waits is made what it must be now. */
	kernel_sends(world.packets, &header, bytes);
	net_port_set_receive(world.port, 0);
	port_gets(&world.user);
	assert_int_equal(world.user.offload.flags, 0);
	assert_null(slow_frame_wrong(world.user.memory, world.user.bytes, false));
	end(&world);
}

static void a_large_segment_reaches_the_kernel_whole(void **state)
{
	struct slow_plan plan = { .payload_bytes = 50000, .seed = 5, .tcp_flags = 0x10 };
	struct net_offload offload;
	struct tap_world world;
	uint32_t bytes;

	begin(&world, "lis0");
	for (int kind = 0; kind < 4; kind++) {
		uint32_t gso;

		plan.ipv6 = kind & 1;
		plan.tcp_flags = (uint8_t)(0x10 | (kind & 2 ? FLAG_CWR : 0));
		bytes = make_flow(&plan, 1400, &offload);
		assert_int_equal(user_send(&world.user, frame, bytes, 999, &offload), 0);
		assert_int_equal(kernel_gets(world.packets), bytes);
		gso = plan.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		gso |= kind & 2 ? VIRTIO_NET_HDR_GSO_ECN : 0;
		assert_int_equal(came_header().gso_type, gso);
		assert_int_equal(came_header().gso_size, 1400);
		assert_int_equal(came_header().csum_start, offload.checksum_start);
		assert_memory_equal(came_frame(), frame, bytes);
	}
	end(&world);
}

/* Two TAPs behind one bridge. */
struct bridged {
	struct tap_world a, b;
};

static bool begin_bridged(struct bridged *bridged)
{
	struct ifreq request = request_for("br0");

	if (ioctl(control, SIOCBRADDBR, "br0") < 0)
		return false;
	begin(&bridged->a, "lis0");
	begin(&bridged->b, "lis1");
	request.ifr_ifindex = (int)if_nametoindex("lis0");
	assert_int_equal(ioctl(control, SIOCBRADDIF, &request), 0);
	request.ifr_ifindex = (int)if_nametoindex("lis1");
	assert_int_equal(ioctl(control, SIOCBRADDIF, &request), 0);
	set_up("br0", true);
	return true;
}

static void end_bridged(struct bridged *bridged)
{
	end(&bridged->a);
	end(&bridged->b);
	set_up("br0", false);
	assert_int_equal(ioctl(control, SIOCBRDELBR, "br0"), 0);
}

static void expect_whole(struct port_user *user, uint32_t bytes, const struct net_offload *offload)
{
	port_gets(user);
	assert_int_equal(user->bytes, bytes);
	assert_memory_equal(user->memory, frame, bytes);
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
	struct slow_join join = { .frame = frame, .bytes = bytes, .offload = *offload };

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
		assert_int_equal(user_send(&bridged.a.user, frame, bytes, 4096, &offload), 0);
		expect_whole(&bridged.b.user, bytes, &offload);
		net_port_set_receive(bridged.b.port, 0);
		assert_int_equal(user_send(&bridged.a.user, frame, bytes, 4096, &offload), 0);
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
	user_start(&bridged.a.user, vlan, loop);
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
		memcpy(tagged, frame, 12);
		memcpy(tagged + 12, (const uint8_t[]){ 0x81, 0, 0, 5 }, 4);
		memcpy(tagged + 16, frame + 12, bytes - 12);
		assert_int_equal(user_send(&bridged.a.user, frame, bytes, 999, &offload), 0);
		port_gets(&bridged.b.user);
		assert_int_equal(bridged.b.user.bytes, bytes + 4);
		assert_memory_equal(bridged.b.user.memory, tagged, bytes + 4);
		assert_memory_equal(&bridged.b.user.offload, &moved, sizeof(moved));
		/* Without its tag it does not reach the port, with it it does. */
		assert_int_equal(user_send(&bridged.b.user, frame, bytes, 999, &offload), 0);
		assert_int_equal(user_send(&bridged.b.user, tagged, bytes + 4, 999, &moved), 0);
		port_gets(&bridged.a.user);
		assert_int_equal(bridged.a.user.bytes, bytes);
		assert_memory_equal(bridged.a.user.memory, frame, bytes);
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
	assert_int_equal(user_send(&bridged.a.user, frame, bytes, 4096, &offload), 0);
	net_port_set_receive(bridged.b.port, NET_CAN_CHECKSUM);
	make_plain(77);
	assert_int_equal(user_send(&bridged.a.user, frame, 77, 77, NULL), 0);
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

	begin(&world, "lis0");
	bytes = make_flow(&plan, 1400, &offload);
	bad = offload;
	bad.flags = 0;
	assert_int_equal(user_send(&world.user, frame, bytes, 999, &bad), -LIS_INVALID);
	bad = offload;
	bad.gso = 77;
	assert_int_equal(user_send(&world.user, frame, bytes, 999, &bad), -LIS_INVALID);
	bad = offload;
	bad.checksum_start = (uint16_t)bytes;
	assert_int_equal(user_send(&world.user, frame, bytes, 999, &bad), -LIS_INVALID);
	assert_int_equal(user_send(&world.user, frame, 13, 13, NULL), -LIS_INVALID);
	make_plain(1023);
	for (uint32_t i = 0; i < 2000; i++)
		iov[i] = (struct iovec){ frame + i, 1 };
	assert_int_equal(net_port_send(world.port, &many), -LIS_INVALID);
	many.iov_count = many.bytes = 1022;
	assert_int_equal(net_port_send(world.port, &many), 0);
	assert_int_equal(kernel_gets(world.packets), 1022);
	assert_int_equal(atomic_load(&world.port->counters.send_dropped), 0);
	end(&world);
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
	struct ifreq request = request_for("lis0");
	char line[NET_PORT_LINE_BYTES];
	unsigned changes = 1;

	begin(&linked, "lis0");
	set_up("lis0", false);
	turn_until(loop, link_is_down, &changes);
	make_plain(100);
	assert_int_equal(user_send(&linked.user, frame, 100, 100, NULL), -LIS_IO);
	assert_int_equal(atomic_load(&linked.port->counters.send_dropped), 1);
	/* By another name it is the same. */
	strcpy(request.ifr_newname, "other0");
	assert_int_equal(ioctl(control, SIOCSIFNAME, &request), 0);
	settle(loop);
	assert_int_equal(linked.user.link_changes, 1);
	changes++;
	set_up("other0", true);
	turn_until(loop, link_is_up, &changes);
	linked.port->ops->describe(linked.port, line);
	assert_string_equal(line, "tap, other0, made for it");
	assert_int_equal(user_send(&linked.user, frame, 100, 100, NULL), 0);
	/* Other interfaces are not ours. */
	assert_int_equal(make_interface("lis9", IFF_TAP | IFF_NO_PI), 0);
	delete_interface("lis9");
	settle(loop);
	assert_int_equal(linked.user.link_changes, 2);
	end(&linked);
}

static void a_deleted_interface_is_a_link_down_and_nothing_more(void **state)
{
	unsigned changes = 1;

	begin(&linked, "lis0");
	user_drain(&linked.user);
	delete_interface("lis0");
	turn_until(loop, link_is_down, &changes);
	make_plain(100);
	assert_int_equal(user_send(&linked.user, frame, 100, 100, NULL), -LIS_IO);
	assert_int_equal(user_take(&linked.user, 2000), -LIS_EMPTY);
	net_port_set_receive(linked.port, NET_CAN_ALL);
	settle(loop); /* ends: nothing is looked at again and again */
	end(&linked);
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

		assert_int_equal(make_interface("lis0", kinds[i]), 0);
		begin(&world, "lis0");
		make_plain(300);
		assert_int_equal(user_send(&world.user, frame, 300, 300, NULL), 0);
		assert_int_equal(kernel_gets(world.packets), 300);
		kernel_sends(world.packets, NULL, 300);
		port_gets(&world.user);
		assert_int_equal(world.user.bytes, 300);
		world.port->ops->describe(world.port, line);
		assert_string_equal(line, "tap, lis0");
		end(&world);
		assert_true(is_up("lis0"));
		delete_interface("lis0");
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
	assert_int_equal(make_interface("tun0", IFF_TUN), 0);
	expect_error("tun0", false, -LIS_UNSUPPORTED, "tun0: it is no TAP");
	delete_interface("tun0");
	begin(&world, "lis0");
	expect_error("lis0", false, -LIS_BUSY, "lis0: it is in use");
	expect_error("lis0", true, -LIS_BUSY, "lis0: it is in use");
	end(&world);
	/* Somebody without any rights; the message depends on what the first obstacle is. */
	if (geteuid() == 0 && seteuid(65534) == 0) {
		expect_error("lis0", true, -LIS_DENIED, "");
		assert_int_equal(seteuid(0), 0);
	}
}

static void a_stopped_port_starts_again(void **state)
{
	struct tap_world world;

	begin(&world, "lis0");
	net_port_set_receive(world.port, NET_CAN_ALL);
	user_stop(&world.user);
	make_plain(200);
	kernel_sends(world.packets, NULL, 200);
	settle(loop);
	user_start(&world.user, world.port, loop);
	port_gets(&world.user);
	assert_int_equal(world.user.bytes, 200);
	end(&world);
}

/* ---- several queues ---- */

#define UDP_FRAME_BYTES 60u

/* The @number-th datagram of a flow, to or from the kernel. */
static void make_datagram(uint16_t flow, uint16_t number, bool from_kernel)
{
	uint8_t *ip = frame + 14, *udp = ip + 20;
	uint16_t there = htons((uint16_t)(1000 + flow)), here = htons(53);

	memset(frame, 0, UDP_FRAME_BYTES);
	memcpy(frame, from_kernel ? mac_a : mac_b, 6);
	memcpy(frame + 6, from_kernel ? mac_b : mac_a, 6);
	frame[12] = 0x08;
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
	struct iovec iov = { frame, UDP_FRAME_BYTES };
	struct net_frame out = { .iov = &iov, .iov_count = 1, .bytes = UDP_FRAME_BYTES, .queue = queue };

	return net_port_send(port, &out);
}

static void open_queues(struct tap_world *world, const char *name, uint32_t queues)
{
	struct tap_config config = { .name = name, .make = true, .up = true, .queues = queues };
	char error[NET_PORT_ERROR_BYTES] = "";

	if (tap_create(&config, &world->port, error))
		fail_msg("%s", error);
	user_start(&world->user, world->port, loop);
	world->packets = packet_socket(name);
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
		assert_int_equal(kernel_gets(world.packets), UDP_FRAME_BYTES);
		assert_memory_equal(came_frame(), frame, UDP_FRAME_BYTES);
		user_drain(&world.user);
		make_datagram(flow, 1, true);
		kernel_sends(world.packets, NULL, UDP_FRAME_BYTES);
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(is_filled(&world, i), i == queue % 4u);
		user_wait(&world.user);
		assert_memory_equal(world.user.memory, frame, UDP_FRAME_BYTES);
	}
	end(&world);
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
		kernel_gets(world.packets);
	}
	for (int round = 0; round < 5; round++) {
		user_drain(&world.user);
		memset(next, 0, sizeof(next));
		for (number = 0; number < EACH; number++) {
			for (flow = 0; flow < FLOWS; flow++) {
				make_datagram(flow, number, true);
				kernel_sends(world.packets, NULL, UDP_FRAME_BYTES);
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
	end(&world);
}

static void several_queues_take_an_interface_that_was_made_for_them(void **state)
{
	struct tap_config config = { .name = "one0", .queues = 2 };
	char error[NET_PORT_ERROR_BYTES];
	struct net_port *port;

	assert_int_equal(make_interface("one0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), 0);
	assert_int_equal(make_interface("many0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE), 0);
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
	delete_interface("one0");
	delete_interface("many0");
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
	assert_int_equal(make_interface("many0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE), 0);
	for (config.queues = 1; config.queues <= 3; config.queues++) {
		assert_int_equal(tap_create(&config, &port, error), 0);
		assert_int_equal(tap_create(&config, &other, error), -LIS_BUSY);
		assert_non_null(strstr(error, "it is in use"));
		net_port_destroy(port);
	}
	delete_interface("many0");
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
		cmocka_unit_test(a_flow_comes_back_by_the_queue_it_went_by),
		cmocka_unit_test(queues_have_their_turns),
		cmocka_unit_test(several_queues_take_an_interface_that_was_made_for_them),
		cmocka_unit_test(an_interface_of_several_queues_has_one_user),
	};
	int failed;

	if (enter_namespace()) {
		fprintf(stderr, "no network namespace with TAP interfaces can be had here\n");
		return MESON_SKIP;
	}
	if (io_loop_create(NULL, &loop))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	io_loop_destroy(loop);
	return failed;
}
