/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A bus and a loop for one device, in place of vmbus/host.c and io/loop.c: packets of the guest
 * come straight from the input, without rings, threads or system calls; the clock stands unless
 * told to go. It checks that the device keeps to vmbus/host.h.
 */
#ifndef OPENLIS_FUZZ_BUS_H
#define OPENLIS_FUZZ_BUS_H

#include "vmbus/host.h"

#define BUS_CHANNELS 3u

/** bus_begin() - Nothing is offered. @sent: gets each packet to the guest. */
void bus_begin(void (*sent)(struct vmbus_channel *channel, uint16_t type, uint64_t id,
			    const uint8_t *payload, size_t payload_bytes));

/** bus_end() - All must be gone: channels, the device, timers, pollers and calls. */
void bus_end(void);

struct vmbus_host *bus_host(void);
struct io_loop *bus_loop(void);

/** bus_open() - The guest opens a channel; false where it is open, or not offered. */
bool bus_open(uint32_t index);

/** bus_close() - The guest closes it; a primary channel's sub-channels first. */
void bus_close(uint32_t index);

bool bus_is_open(uint32_t index);

/** bus_guest_sends() - A packet, as long as it says; taken in a later turn. False: no room. */
bool bus_guest_sends(uint32_t index, const void *packet, size_t bytes);

/** bus_fill() - From now on the ring to the guest has no room; or it has. */
void bus_fill(bool full);

/** bus_send() - What a packet for the guest meets now: 0, -LIS_FULL, -LIS_CORRUPT. */
int bus_send(struct vmbus_channel *channel);

/** bus_turn() - Calls, pollers, timers that are due, receives: until nothing more happens. */
void bus_turn(void);

/** bus_pass_ms() - The clock goes on. */
void bus_pass_ms(uint64_t ms);

#endif
