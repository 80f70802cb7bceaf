// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The user of a port in tests of back ends: see port_world.h. */
#include "tests/unit/network/port_world.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#define PIECES_MAX 80u
#define ROOM_PIECE_BYTES 4096u
/* Nothing here keeps a loop busy for so long. */
#define SETTLE_TURNS_MAX 100000u

static void on_ready(struct net_port_user *net_user)
{
	struct port_user *user = container_of(net_user, struct port_user, user);

	assert_false(user->in_op);
	assert_false(user->stopped);
	assert_true(user->ready_allowed);
	user->ready_allowed = false;
	user->readies++;
}

static void on_link_changed(struct net_port_user *net_user)
{
	struct port_user *user = container_of(net_user, struct port_user, user);

	assert_false(user->in_op);
	user->link_changes++;
}

static void on_stopped(struct io_call *call)
{
	container_of(call, struct port_user, stopped_call)->stopped = true;
}

void user_start(struct port_user *user, struct net_port *port, struct io_loop *loop)
{
	memset(user, 0, sizeof(*user));
	user->user = (struct net_port_user){ on_ready, on_link_changed };
	user->port = port;
	user->loop = loop;
	user->stopped_call.fn = on_stopped;
	user->ready_allowed = true;
	user->in_op = true;
	assert_int_equal(net_port_start(port, loop, &user->user), 0);
	user->in_op = false;
}

static bool is_stopped(void *context)
{
	return ((struct port_user *)context)->stopped;
}

void user_stop(struct port_user *user)
{
	unsigned readies = user->readies;

	user->in_op = true;
	net_port_stop(user->port, &user->stopped_call);
	user->in_op = false;
	turn_until(user->loop, is_stopped, user);
	settle(user->loop);
	assert_int_equal(user->readies, readies);
	free(user->memory);
	user->memory = NULL;
}

int user_send(struct port_user *user, const void *frame, uint32_t bytes, uint32_t piece_bytes,
	      const struct net_offload *offload)
{
	struct net_frame net_frame = { .bytes = bytes };
	struct iovec iov[PIECES_MAX];
	uint32_t count = 0;
	int err;

	for (uint32_t at = 0; at < bytes; at += piece_bytes) {
		uint32_t left = bytes - at;

		assert_true(count < PIECES_MAX);
		iov[count].iov_len = left < piece_bytes ? left : piece_bytes;
		iov[count].iov_base = malloc(iov[count].iov_len);
		memcpy(iov[count].iov_base, (const uint8_t *)frame + at, iov[count].iov_len);
		count++;
	}
	net_frame.iov = iov;
	net_frame.iov_count = count;
	if (offload)
		net_frame.offload = *offload;
	user->in_op = true;
	err = net_port_send(user->port, &net_frame);
	net_port_flush(user->port);
	user->in_op = false;
	for (uint32_t i = 0; i < count; i++)
		free(iov[i].iov_base);
	return err;
}

static void gather(struct port_user *user, const struct iovec *iov)
{
	free(user->memory);
	user->memory = malloc(user->bytes);
	for (uint32_t at = 0; at < user->bytes; iov++) {
		uint32_t left = user->bytes - at;
		uint32_t now = iov->iov_len < left ? (uint32_t)iov->iov_len : left;

		memcpy(user->memory + at, iov->iov_base, now);
		at += now;
	}
}

int user_take(struct port_user *user, uint32_t room)
{
	struct iovec iov[PIECES_MAX];
	uint32_t count = 0;
	int err;

	/* The first piece is short: headers lie across. */
	for (uint32_t at = 0; at < room;) {
		uint32_t piece = at ? ROOM_PIECE_BYTES : 20, left = room - at;

		assert_true(count < PIECES_MAX);
		iov[count].iov_len = left < piece ? left : piece;
		iov[count].iov_base = malloc(iov[count].iov_len);
		at += (uint32_t)iov[count++].iov_len;
	}
	user->in_op = true;
	err = net_port_receive(user->port, iov, count, room, &user->bytes, &user->offload);
	user->in_op = false;
	if (!err) {
		assert_in_range(user->bytes, NET_FRAME_BYTES_MIN, room);
		gather(user, iov);
	} else if (err == -LIS_EMPTY) {
		user->ready_allowed = true;
	}
	for (uint32_t i = 0; i < count; i++)
		free(iov[i].iov_base);
	return err;
}

static bool was_ready(void *context)
{
	return !((struct port_user *)context)->ready_allowed;
}

/* As a VSP does it: nothing is asked for before ready(). */
void user_wait(struct port_user *user)
{
	int err;

	do {
		turn_until(user->loop, was_ready, user);
		err = user_take(user, NET_FRAME_BYTES_MAX);
	} while (err == -LIS_EMPTY);
	assert_int_equal(err, 0);
}

unsigned user_drain(struct port_user *user)
{
	unsigned count = 0;

	while (!user_take(user, NET_FRAME_BYTES_MAX))
		count++;
	return count;
}

/* ---- waiting ---- */

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Not all that is waited for wakes the loop, nor has every loop real time. */
void turn_until(struct io_loop *loop, bool (*done)(void *context), void *context)
{
	uint64_t end_ms = real_ms() + WORLD_WAIT_MS;

	while (!done(context) && real_ms() < end_ms) {
		if (!io_loop_turn(loop, false))
			usleep(200);
	}
	assert_true(done(context));
}

void settle(struct io_loop *loop)
{
	uint32_t turns = 0;

	for (int idle = 0; idle < 3; turns++) {
		assert_true(turns < SETTLE_TURNS_MAX);
		idle = io_loop_turn(loop, false) ? 0 : idle + 1;
	}
}

bool readable(void *context)
{
	struct pollfd pollfd = { .fd = *(int *)context, .events = POLLIN };

	return poll(&pollfd, 1, 0) > 0;
}

/* ---- time ---- */

static uint64_t simulated_ns(void *clock)
{
	return *(uint64_t *)clock;
}

struct io_loop *simulated_loop(uint64_t *clock)
{
	struct io_loop_config config = { .now_ns = simulated_ns, .clock = clock };
	struct io_loop *loop = NULL;

	*clock = real_ms() * 1000000u;
	assert_int_equal(io_loop_create(&config, &loop), 0);
	return loop;
}

void pass_time(struct io_loop *loop, uint64_t *clock, uint32_t ms, uint32_t step_ms)
{
	for (uint32_t passed = 0; passed < ms; passed += step_ms) {
		*clock += step_ms * 1000000ull;
		settle(loop);
	}
}
