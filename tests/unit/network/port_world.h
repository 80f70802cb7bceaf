/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What tests of back ends have in common: the user of a port, who minds the contract in
 * network/port.h, and waits that end, with a failed test where they take too long.
 */
#ifndef OPENLIS_TESTS_PORT_WORLD_H
#define OPENLIS_TESTS_PORT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "network/port.h"

/* Longest wait of a test for what must come. */
#define WORLD_WAIT_MS 20000u

struct port_user {
	struct net_port_user user;
	struct net_port *port;
	struct io_loop *loop;
	struct io_call stopped_call;
	unsigned readies, link_changes;
	bool ready_allowed; /* it is due at most once after each -LIS_EMPTY */
	bool in_op, stopped;
	uint8_t *memory; /* of the last frame received, of its very length */
	uint32_t bytes;
	struct net_offload offload;
};

/** user_start() - Start a port on a loop. */
void user_start(struct port_user *user, struct net_port *port, struct io_loop *loop);

/** user_stop() - Stop it and wait for the end; the port is as it was before start. */
void user_stop(struct port_user *user);

/** user_send() - A frame in pieces of @piece_bytes, which are gone when it returns. */
int user_send(struct port_user *user, const void *frame, uint32_t bytes, uint32_t piece_bytes,
	      const struct net_offload *offload);

/**
 * user_take() - What receive() says; the frame is in @user.
 * @room: of the pieces given to it
 */
int user_take(struct port_user *user, uint32_t room);

/** user_wait() - The next frame, waited for by ready(). */
void user_wait(struct port_user *user);

/** user_drain() - Take and forget whatever is there. Return: how many. */
unsigned user_drain(struct port_user *user);

/** turn_until() - Turn the loop until @done(@context). */
void turn_until(struct io_loop *loop, bool (*done)(void *context), void *context);

/** settle() - Turn the loop until nothing happens. */
void settle(struct io_loop *loop);

/** simulated_loop() - A loop whose time is @clock, which begins with the real one. */
struct io_loop *simulated_loop(uint64_t *clock);

/** pass_time() - In steps, and settle after each. */
void pass_time(struct io_loop *loop, uint64_t *clock, uint32_t ms, uint32_t step_ms);

/** readable() - for turn_until(): can this descriptor be read? @context: int * */
bool readable(void *context);

#endif
