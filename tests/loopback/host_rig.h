/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The bus on the host over the loopback partition: two devices that echo, and a guest in a few lines. All loops are
 * turned by the test's own thread, or each has a thread of its own. Everything here asserts.
 */
#ifndef OPENLIS_TESTS_HOST_RIG_H
#define OPENLIS_TESTS_HOST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/loopback/echo_vsp.h"
#include "tests/loopback/mini_guest.h"

#define RING_PAGES 4u
#define LOOPS 3u /* the first is the bus */

/* A test in both ways. */
#define BOTH_WAYS(name) \
	static void name##_on_one_thread(void **state) { name(false); } \
	static void name##_on_threads(void **state) { name(true); }
#define UNIT_TESTS(name) cmocka_unit_test(name##_on_one_thread), cmocka_unit_test(name##_on_threads)

extern const struct guid rig_instance_a, rig_instance_b;

struct rig {
	bool threads;
	struct partition *partition;
	struct io_loop *loops[LOOPS];
	struct vmbus_host *host;
	struct echo_device a, b; /* a: three sub-channels on two loops of its own; b: on the bus's */
	struct mini_guest guest;
};

/* A function on the bus loop; it has done.fn called when it is through. */
struct rig_job {
	struct io_call done;
	atomic_bool is_done;
	struct rig *rig;
	struct vmbus_device *device;
};

/** rig_up_with() - Both devices are offered, the guest is attached. @version_max: of the bus, 0: all. */
void rig_up_with(struct rig *rig, bool threads, uint32_t version_max);
void rig_up(struct rig *rig, bool threads);
void rig_down(struct rig *rig);

/** rig_pump() - One turn of each loop; @arg: the rig. */
void rig_pump(void *arg);
/** rig_eventually() - Wait for something to become true. */
void rig_eventually(struct rig *rig, bool (*is)(struct rig *rig));
/** rig_a_has_closed() - Something to wait for: no channel of a is open. */
bool rig_a_has_closed(struct rig *rig);

/** rig_run() - @fn(a struct rig_job) on the bus loop, until it is through. */
void rig_run(struct rig *rig, struct vmbus_device *device, void (*fn)(void *arg));
void rig_rescind(struct rig *rig, struct vmbus_device *device);
void rig_reset(struct rig *rig);

/** rig_connect() - The guest, in any version; it sees both devices. */
void rig_connect(struct rig *rig, uint32_t version);
/** rig_open() - A device's primary channel. */
void rig_open(struct rig *rig, const struct guid *instance, struct mini_channel *channel);

/* Send, and wait for the echo. Return: 0, -LIS_CORRUPT (another came), what mini_send() and mini_receive() return. */
int rig_echo(struct mini_channel *channel, uint64_t id, const void *payload, size_t bytes);
int rig_plain_echo(struct mini_channel *channel, uint64_t id);
/** rig_command() - Tell the device: ECHO_*. */
int rig_command(struct mini_channel *channel, uint8_t number, uint8_t argument, uint32_t id);

#endif
