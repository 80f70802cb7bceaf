/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A bus with services on it, a scripted guest and a simulated clock: the guest's driver is the test
 * itself, which sees each packet and answers as it likes.
 */
#ifndef OPENLIS_TESTS_SERVICE_WORLD_H
#define OPENLIS_TESTS_SERVICE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "services/ic_protocol.h"
#include "tests/loopback/mini_guest.h"
#include "vmbus/host.h"

#define SECOND_NS 1000000000ull
#define MS_NS 1000000ull

struct service_world {
	struct partition *partition;
	struct io_loop *loop;
	struct vmbus_host *host;
	struct mini_guest guest;
	struct mini_channel channel;
	uint64_t now_ns;
};

/* A packet of the host, taken apart. */
struct ic_packet {
	uint16_t type;
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint32_t payload_bytes; /* of the whole packet, padding included */
	uint8_t message[4096];
};

void world_init(struct service_world *world);
/* Services must have been destroyed. */
void world_fini(struct service_world *world);
/* Turns the loop until nothing happens any more. */
void world_settle(struct service_world *world);
/* Lets time pass in steps of 100 ms. */
void world_pass_ms(struct service_world *world, uint64_t ms);

/* The guest connects (once) and opens the device of that instance. */
void guest_opens(struct service_world *world, struct guid instance_id);
void guest_closes(struct service_world *world);
/* Is there a packet? Takes it. */
bool guest_has(struct service_world *world, struct ic_packet *out_packet);
/* Takes the next request, which must be there and sound, and of @type. */
void guest_takes(struct service_world *world, enum ic_message_type type,
		 struct ic_packet *out_packet);
void guest_has_nothing(struct service_world *world);
/* Sends raw bytes as an in-band packet. */
void guest_sends(struct service_world *world, const void *payload, size_t bytes);
/* Answers a request as Linux does: same packet, with flags, status and the first bytes replaced. */
void guest_answers(struct service_world *world, const struct ic_packet *request, uint32_t status,
		   const void *message, size_t message_bytes);
/* Takes the version offer and answers with one framework and one version. */
void guest_negotiates(struct service_world *world, struct ic_version framework,
		      struct ic_version version);

#endif
