// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The TAP port is made: descriptors, interface, format. See tap.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "network/backends/tap_private.h"

#define TUN_PATH "/dev/net/tun"

static int open_error(const char *name, bool exists, uint32_t queues, char *error)
{
	switch (errno) {
	case EPERM:
	case EACCES:
		return exists ? net_port_error(error, -LIS_DENIED,
					       "tap %s: it belongs to somebody else", name)
			      : net_port_error(error, -LIS_DENIED,
					       "tap %s: making an interface needs "
					       "privileges (CAP_NET_ADMIN)",
					       name);
	case EBUSY:
		return net_port_error(error, -LIS_BUSY, "tap %s: it is in use", name);
	case EINVAL:
		return net_port_error(error, -LIS_UNSUPPORTED, "tap %s: it is no TAP interface%s", name,
				      queues > 1 ? " that was made for several queues" : "");
	case E2BIG:
		return net_port_error(error, -LIS_INVALID, "tap %s: there cannot be so many queues",
				      name);
	case ENOMEM:
		return net_port_error(error, -LIS_NOMEM, "tap %s: out of memory", name);
	}
	return net_port_error(error, -LIS_IO, "tap %s: %s", name, strerror(errno));
}

static int add_queue(struct tap *tap)
{
	struct tap_queue *queue = &tap->queues[tap->queue_count];

	queue->fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (queue->fd < 0)
		return errno;
	tap->queue_count++;
	return 0;
}

static int attach(const struct tap *tap, uint32_t index, short flags)
{
	struct ifreq request = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags) };

	memcpy(request.ifr_name, tap->name, sizeof(request.ifr_name));
	return ioctl(tap->queues[index].fd, TUNSETIFF, &request);
}

/* Is somebody else attached to an interface of several queues? The kernel does not mind that. */
static bool is_shared(const struct tap *tap)
{
	char path[80], text[16] = "";
	struct stat status;
	FILE *file;

	/* It may be that of another network namespace. */
	snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", tap->name);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file) ||
	    strtoul(text, NULL, 10) != if_nametoindex(tap->name))
		text[0] = 0;
	fclose(file);
	snprintf(path, sizeof(path), "/sys/class/net/%s/queues/rx-%u", tap->name, tap->queue_count);
	return text[0] && stat(path, &status) == 0;
}

static int open_interface(struct tap *tap, const struct tap_config *config, char *error)
{
	bool exists = if_nametoindex(config->name) != 0;
	short several = config->queues > 1 ? IFF_MULTI_QUEUE : 0;

	if (!exists && !config->make)
		return net_port_error(
			error, -LIS_NOTFOUND,
			"tap %s: there is no such interface (ip tuntap add dev %s mode tap "
			"user NAME%s makes one)",
			tap->name, tap->name, several ? " multi_queue" : "");
	if (attach(tap, 0, exists ? several : several | IFF_TUN_EXCL) < 0) {
		if (errno != EINVAL || !exists || several || attach(tap, 0, IFF_MULTI_QUEUE) < 0)
			return open_error(tap->name, exists, config->queues, error);
	}
	tap->made = !exists;
	while (tap->queue_count < config->queues) {
		int err = add_queue(tap);

		if (err)
			return net_port_errno(error, err, TUN_PATH);
		if (attach(tap, tap->queue_count - 1, IFF_MULTI_QUEUE) < 0)
			return open_error(tap->name, true, config->queues, error);
	}
	if (exists && is_shared(tap))
		return net_port_error(error, -LIS_BUSY, "tap %s: it is in use", tap->name);
	return 0;
}

/* An interface keeps what its last user has set. */
static int set_format(struct tap *tap, char *error)
{
	int header_bytes = sizeof(struct virtio_net_hdr), little_endian = 1;
	uint32_t can = NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6;

	if (ioctl(tap->queues[0].fd, TUNSETVNETHDRSZ, &header_bytes) < 0 ||
	    ioctl(tap->queues[0].fd, TUNSETVNETLE, &little_endian) < 0)
		return net_port_error(error, -LIS_UNSUPPORTED, "tap %s: virtio's header: %s",
				      tap->name, strerror(errno));
	if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, tap_kernel_offloads(can | NET_CAN_UDP)) == 0)
		can |= NET_CAN_UDP;
	if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, 0) < 0)
		return net_port_error(error, -LIS_UNSUPPORTED, "tap %s: offloads: %s", tap->name,
				      strerror(errno));
	tap->port.can_send = tap->port.can_receive = can;
	return 0;
}

static int bring_up(struct tap *tap, char *error)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };
	int err = 0;

	memcpy(request.ifr_name, tap->name, sizeof(request.ifr_name));
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		err = net_port_error(error, -LIS_IO, "tap %s: %s", tap->name, strerror(errno));
	} else if (!(request.ifr_flags & IFF_UP)) {
		request.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
			err = net_port_error(error, errno == EPERM ? -LIS_DENIED : -LIS_IO,
					     "tap %s: it does not come up: %s", tap->name,
					     strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* -1 where there is none: then the link counts as up. */
static int open_changes(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int tap_create(const struct tap_config *config, struct net_port **out_port, char *error)
{
	size_t name_bytes = config->name ? strlen(config->name) : 0;
	struct tap *tap;
	int err;

	/* The kernel would make a name of a '%'. */
	if (!name_bytes || name_bytes >= IFNAMSIZ || strpbrk(config->name, "/%: \t\n"))
		return net_port_error(error, -LIS_INVALID,
				      "tap '%.32s': that is no name for an interface",
				      config->name ? config->name : "");
	if (config->queues > TAP_QUEUES_MAX)
		return net_port_error(error, -LIS_INVALID, "tap %s: no more than %u queues", config->name,
				      TAP_QUEUES_MAX);
	tap = tap_alloc(config->name);
	if (!tap)
		return net_port_error(error, -LIS_NOMEM, "tap %s: out of memory", config->name);
	err = add_queue(tap);
	if (err) {
		err = net_port_errno(error, err == ENODEV || err == ENXIO ? ENOENT : err, TUN_PATH);
		goto destroy;
	}
	err = open_interface(tap, config, error);
	err = err ? err : set_format(tap, error);
	err = err || !config->up ? err : bring_up(tap, error);
	if (err)
		goto destroy;
	tap->changes_fd = open_changes();
	atomic_init(&tap->port.link_up, tap_interface_is_up(tap));
	*out_port = &tap->port;
	return 0;

destroy:
	net_port_destroy(&tap->port);
	return err;
}
