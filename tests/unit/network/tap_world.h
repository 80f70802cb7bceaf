/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The TAP port, in a network namespace of its own: the kernel's end is a packet socket, or another TAP behind a
 * bridge. Everything here asserts. Not to be had without the right to any of it.
 */
#ifndef OPENLIS_TESTS_TAP_WORLD_H
#define OPENLIS_TESTS_TAP_WORLD_H

#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>

#include "network/backends/tap.h"
#include "tests/unit/network/port_world.h"
#include "tests/unit/network/slow_frame.h"

#define MESON_SKIP 77

/* a: this side; b: the kernel. */
extern const uint8_t tap_mac_a[6], tap_mac_b[6];

extern struct io_loop *tap_loop;
extern int tap_control; /* a socket for questions about interfaces */
extern uint8_t tap_frame[SLOW_FRAME_BYTES_MAX]; /* that is being made, or was sent */

struct tap_world {
	struct net_port *port;
	struct port_user user;
	int packets;            /* the kernel's end */
};

/** tap_world_begin() - Once, before all else. Return: false, said why, if it cannot be had. */
bool tap_world_begin(void);
void tap_world_end(void);

/** tap_begin() - A port on an interface made for it. */
void tap_begin(struct tap_world *world, const char *name);
void tap_end(struct tap_world *world);

/** tap_request_for() - To be filled in, for ioctl(). */
struct ifreq tap_request_for(const char *name);
/** tap_make_interface() - One that stays. Return: 0, or errno. */
int tap_make_interface(const char *name, short flags);
void tap_delete_interface(const char *name);

/** tap_packet_socket() - The kernel's end of an interface: frames behind struct virtio_net_hdr. */
int tap_packet_socket(const char *name);
/** tap_kernel_gets() - The next frame from tap_mac_a that arrived at the kernel. Return: its length. */
uint32_t tap_kernel_gets(int fd);
const uint8_t *tap_came_frame(void);
struct virtio_net_hdr tap_came_header(void);
/** tap_kernel_sends() - tap_frame. @header: NULL: it says nothing. Return: as writev(). */
ssize_t tap_kernel_sends(int fd, const struct virtio_net_hdr *header, uint32_t bytes);

#endif
