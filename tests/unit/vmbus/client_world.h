/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A port around one client, for tests: it keeps what the client posted and what it was told, and
 * checks every call against what the client's header promises.
 */
#ifndef OPENLIS_TESTS_CLIENT_WORLD_H
#define OPENLIS_TESTS_CLIENT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmbus/client.h"

#ifndef PORT_POSTED_MAX /* the fuzzers want small worlds */
#define PORT_POSTED_MAX 4096u
#endif
#define NOT_TOLD 1 /* no error is positive */

struct posted {
	uint32_t connection_id, type;
	size_t bytes;
	uint64_t payload[VMBUS_MESSAGE_BYTES_MAX / 8];
};

struct port {
	struct vmbus_client client;
	struct posted posted[PORT_POSTED_MAX];
	size_t posted_count, read_count;
	/* What posting gives: @post_error once @posts_until_error more went through. */
	int post_error;
	uint32_t posts_until_error;
	uint32_t retries_asked;
	int connected, opened, modified, gpadl_created, gpadl_torn_down;
	uint32_t connects, unloads, offers, deliveries, rescinds, forgotten;
	bool refuse_offers;
	bool keep_forgotten; /* one; it is what its channel gets when that is offered again */
	struct vmbus_client_channel *kept;
	struct vmbus_client_channel *last_offered, *last_rescinded, *last_opened;
	uint32_t live_channels; /* given out by channel_alloc, not yet freed */
	uint32_t signalled_connection, interrupt_bit;
};

void port_init(struct port *port);
/* Frees what the client still has. */
void port_fini(struct port *port);
/* For cmocka: *state is a fresh port. */
int port_set_up(void **state);
int port_tear_down(void **state);
#define WITH_PORT(test) cmocka_unit_test_setup_teardown(test, port_set_up, port_tear_down)
/* How many since the last call. */
uint64_t violations(struct port *port);
/* The next message posted; must be of @type and @bytes. */
const void *port_reads(struct port *port, uint32_t type, size_t bytes);
void port_reads_nothing(struct port *port);
/* A message of the host, in memory of exactly its size. */
void host_sends(struct port *port, const void *message, size_t bytes);
void host_sends_type(struct port *port, uint32_t type);
void host_sends_channel(struct port *port, uint32_t type, uint32_t channel_id);
/* Connects with @version, no more; asks for offers; reads all that was posted. */
void port_connects(struct port *port, uint32_t version);
void host_accepts(struct port *port, uint32_t features);
struct vmbus_msg_offer_channel make_offer(uint32_t channel_id, uint8_t device, uint16_t index);
struct vmbus_client_channel *host_offers(struct port *port, uint32_t channel_id, uint8_t device,
					 uint16_t index);
/* Offered, its GPADL created, and open. */
void port_opens(struct port *port, struct vmbus_client_channel *channel);
void host_answers_open(struct port *port, struct vmbus_client_channel *channel, uint32_t status);
void host_creates_gpadl(struct port *port, const struct vmbus_client_gpadl *gpadl, uint32_t status);
void host_tears_gpadl_down(struct port *port, uint32_t gpadl_id);

#endif
