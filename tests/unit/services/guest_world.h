/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A host that a test plays packet by packet, over a pair of rings, for the guest ends of the
 * services. Everything here asserts.
 */
#ifndef OPENLIS_TESTS_GUEST_WORLD_H
#define OPENLIS_TESTS_GUEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/ic_guest.h"
#include "tests/unit/vmbus/ring_memory.h"

#define GUEST_WORLD_RING_BYTES 8192u

struct guest_world {
	struct ring_memory to_host_memory, to_guest_memory;
	struct vmbus_ring_writer to_host, to_guest;
	struct vmbus_ring_reader from_guest, from_host;
	uint8_t transaction_id;
};

/* An answer of the guest, taken apart. */
struct guest_answer {
	uint16_t packet_type;
	uint64_t packet_id;
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t message[4096];
};

struct guest_world *guest_world_create(void);
void guest_world_destroy(struct guest_world *world);

/* Any in-band packet. Returns 0, -LIS_FULL. */
int host_sends_raw(struct guest_world *world, uint16_t packet_type, const void *payload,
		   size_t bytes);
/* A sound request with this message. */
void host_sends(struct guest_world *world, enum ic_message_type type, const void *message,
		size_t message_bytes);
/* A version offer; lists end with {0, 0}. */
void host_offers(struct guest_world *world, const struct ic_version *frameworks,
		 const struct ic_version *versions);
/* The next answer must be there, be sound, and answer the last request sent. */
struct guest_answer host_takes(struct guest_world *world, enum ic_message_type type,
			       uint32_t status);
/* Any answer; false if there is none. */
bool host_has(struct guest_world *world, struct guest_answer *out_answer);
void host_has_nothing(struct guest_world *world);

#endif
