/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A guest in a few lines: blocking, one VP, driven by the test. It speaks the wire format itself,
 * so that a mistake shared by our client and our server is not hidden.
 */
#ifndef OPENLIS_TESTS_MINI_GUEST_H
#define OPENLIS_TESTS_MINI_GUEST_H

#include "vmbus/loopback.h"
#include "vmbus/ring.h"

#define MINI_OFFERS_MAX 64u
#define MINI_WAIT_MS 5000

struct mini_guest {
	struct loopback_guest *lo;
	uint32_t version;
	uint32_t vp;              /* where messages and interrupts come */
	uint32_t connection_id;   /* for messages */
	uint32_t next_gpadl;
	struct vmbus_msg_offer_channel offers[MINI_OFFERS_MAX];
	size_t offer_count;
	uint32_t rescinded[MINI_OFFERS_MAX];
	size_t rescinded_count;
	uint8_t *interrupt_page;  /* below 2.4 */
	void (*pump)(void *arg); /* turns the host's loops while waiting; NULL: they have threads */
	void *pump_arg;
	void *test;               /* the test's own */
};

struct mini_channel {
	struct mini_guest *guest;
	struct vmbus_msg_offer_channel offer;
	struct gpa gpa;
	uint32_t pages;           /* of each ring, control page included */
	uint32_t gpadl_id;
	void *data_out, *data_in; /* mapped twice */
	struct vmbus_ring_writer to_host;
	struct vmbus_ring_reader from_host;
};

/* All return 0 or a negative error; waits end with -LIS_TIMEOUT. */
int mini_post(struct mini_guest *guest, uint32_t connection_id, const void *message, size_t bytes);
/* The next message of @type; offers and rescinds on the way are noted. */
int mini_expect(struct mini_guest *guest, uint32_t type, void *out_message, size_t bytes);
/* Note what has come, without waiting. */
void mini_drain(struct mini_guest *guest);
int mini_connect(struct mini_guest *guest, uint32_t version);
int mini_request_offers(struct mini_guest *guest);
int mini_unload(struct mini_guest *guest);
/* A request that is refused: when it returns 0, all that was posted before is done. */
int mini_fence(struct mini_guest *guest);
const struct vmbus_msg_offer_channel *mini_find_offer(const struct mini_guest *guest,
						      const struct guid *instance_id,
						      uint16_t sub_channel_index);
int mini_gpadl(struct mini_guest *guest, uint32_t channel_id, struct gpa gpa, uint32_t pages,
	       uint32_t *out_id);
int mini_gpadl_teardown(struct mini_guest *guest, uint32_t channel_id, uint32_t gpadl_id);
int mini_open(struct mini_guest *guest, const struct vmbus_msg_offer_channel *offer, uint32_t pages,
	      struct mini_channel *channel);
/* Close, tear down, free. */
int mini_close(struct mini_channel *channel);
int mini_release(struct mini_guest *guest, uint32_t channel_id);
/** mini_release_rescinded() - All that went: sub-channels may be offered anew then. */
void mini_release_rescinded(struct mini_guest *guest);
/* Write one in-band packet and signal if wanted. -LIS_FULL as the ring. */
int mini_send(struct mini_channel *channel, uint64_t id, const void *payload, size_t bytes);
void mini_signal(struct mini_channel *channel);
/* Take one packet, waiting for it. */
int mini_receive(struct mini_channel *channel, void *buffer, size_t buffer_bytes,
		 struct vmbus_packet *out_packet);

#endif
