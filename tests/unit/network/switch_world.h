/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Three ports of one switch in one process, and strangers: sockets in the switch's folder that are
 * no ports of ours. For tests of the switch.
 */
#ifndef OPENLIS_TESTS_SWITCH_WORLD_H
#define OPENLIS_TESTS_SWITCH_WORLD_H

#include <sys/un.h>

#include "network/backends/switch.h"
#include "network/backends/switch_format.h"
#include "tests/unit/network/port_world.h"
#include "tests/unit/network/slow_frame.h"

#define PORTS 3
#define STRANGER_ID 0x0123456789abcdefull

struct switch_world {
	struct io_loop *loop;
	char directory[32], folder[48];
	struct net_port *ports[PORTS];
	struct port_user users[PORTS];
};

extern struct switch_world switch_world;

/* The three ports' users. */
static struct port_user *const a = &switch_world.users[0], *const b = &switch_world.users[1],
			       *const c = &switch_world.users[2];

extern const uint8_t broadcast[6];
/* The next frame, the next datagram. */
extern uint8_t switch_frame[SLOW_FRAME_BYTES_MAX], datagram[SWITCH_DATAGRAM_BYTES_MAX + 1000];

/* ---- the world ---- */

/** switch_make_directory() - A directory and a loop for all tests of a program. */
int switch_make_directory(void **state);
int switch_remove_directory(void **state);

/** switch_begin() - Three ports, started. switch_end() - None, and no trace of them. */
void switch_begin(void);
void switch_end(void);

struct net_port *new_port(void);
uint64_t received_drops(const struct port_user *user);
uint64_t sent_drops(const struct port_user *user);

/* ---- frames ---- */

/** mac_of() - Of the guest behind a port; NULL: of the stranger. */
const uint8_t *mac_of(const struct port_user *user);

/** make_plain() - A frame of no protocol. */
void make_plain(const uint8_t *to, const uint8_t *from, uint32_t bytes);

/** make_flow() - A frame of a flow from a to b, as slow_build(). */
uint32_t make_flow(const struct slow_plan *plan, uint16_t segment_bytes,
		   struct net_offload *offload);

/** send_plain() - It must be taken. */
void send_plain(struct port_user *from, const uint8_t *to, uint32_t bytes);

/** expect_frame() - The next one is that in switch_frame. */
void expect_frame(struct port_user *user, uint32_t bytes);
void expect_nothing(struct port_user *user);

/** introduce() - Each hears of all others. */
void introduce(void);

/* ---- strangers ---- */

struct sockaddr_un address_of(uint64_t id);

/** stranger() - A socket in the folder. bury() - Its name goes. */
int stranger(uint64_t id);
void bury(uint64_t id);
bool is_in_folder(uint64_t id);

/** port_id() - Of the @number-th of our ports, in no order. */
uint64_t port_id(int number);

/** say_to_all() - A datagram of one frame, to all our ports. */
void say_to_all(int fd, uint64_t from, const struct switch_frame_head *frame_head, uint32_t bytes);

/** send_raw() - A datagram of anything, to all our ports. */
void send_raw(int fd, const void *bytes, size_t length);

#endif
