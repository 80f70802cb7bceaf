// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* A network namespace with TAP interfaces and the kernel's end of them, for tests. */
#include "tests/unit/network/tap_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

const uint8_t tap_mac_a[6] = { 2, 0, 0, 0, 0, 0xa }, tap_mac_b[6] = { 2, 0, 0, 0, 0, 0xb };

struct io_loop *tap_loop;
int tap_control = -1;
uint8_t tap_frame[SLOW_FRAME_BYTES_MAX];
static uint8_t tap_came[sizeof(struct virtio_net_hdr) + SLOW_FRAME_BYTES_MAX];

/* ---- interfaces ---- */

struct ifreq tap_request_for(const char *name)
{
	struct ifreq request = { 0 };

	strcpy(request.ifr_name, name);
	return request;
}

int tap_make_interface(const char *name, short flags)
{
	struct ifreq request = tap_request_for(name);
	int fd = open("/dev/net/tun", O_RDWR), err = 0;

	request.ifr_flags = flags;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

void tap_delete_interface(const char *name)
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

int tap_packet_socket(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), on = 1;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

uint32_t tap_kernel_gets(int fd)
{
	struct sockaddr_ll from;
	socklen_t from_bytes = sizeof(from);
	ssize_t bytes;

	do {
		turn_until(tap_loop, readable, &fd);
		bytes = recvfrom(fd, tap_came, sizeof(tap_came), 0, (struct sockaddr *)&from, &from_bytes);
		assert_true(bytes > (ssize_t)sizeof(struct virtio_net_hdr));
	} while (from.sll_pkttype == PACKET_OUTGOING ||
		 memcmp(tap_came + sizeof(struct virtio_net_hdr) + 6, tap_mac_a, 6));
	return (uint32_t)bytes - (uint32_t)sizeof(struct virtio_net_hdr);
}

const uint8_t *tap_came_frame(void)
{
	return tap_came + sizeof(struct virtio_net_hdr);
}

struct virtio_net_hdr tap_came_header(void)
{
	struct virtio_net_hdr header;

	memcpy(&header, tap_came, sizeof(header));
	return header;
}

ssize_t tap_kernel_sends(int fd, const struct virtio_net_hdr *header, uint32_t bytes)
{
	static const struct virtio_net_hdr none;
	struct iovec iov[] = { { (void *)(uintptr_t)(header ? header : &none), sizeof(none) },
			       { tap_frame, bytes } };

	return writev(fd, iov, 2);
}

/* ---- the world ---- */

void tap_begin(struct tap_world *world, const char *name)
{
	struct tap_config config = { .name = name, .make = true, .up = true };
	char error[NET_PORT_ERROR_BYTES] = "";

	if (tap_create(&config, &world->port, error))
		fail_msg("%s", error);
	assert_true(atomic_load(&world->port->link_up));
	user_start(&world->user, world->port, tap_loop);
	world->packets = tap_packet_socket(name);
}

void tap_end(struct tap_world *world)
{
	user_stop(&world->user);
	net_port_destroy(world->port);
	close(world->packets);
}

static int tap_enter_namespace(void)
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
	tap_control = socket(AF_INET, SOCK_DGRAM, 0);
	return tap_make_interface("try0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
}

bool tap_world_begin(void)
{
	if (tap_enter_namespace()) {
		fprintf(stderr, "no network namespace with TAP interfaces can be had here\n");
		return false;
	}
	return !io_loop_create(NULL, &tap_loop);
}

void tap_world_end(void)
{
	io_loop_destroy(tap_loop);
}
