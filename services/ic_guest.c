// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of an integration service, without its messages: see ic_guest.h.
 *
 * Invariant: at_hand and waiting are never set together, and while one is, no packet is read: the
 * buffer holds the message that is at hand or waits.
 */
#include <string.h>

#include "services/ic_guest.h"

/* [policy] Bounds one receive. */
#define PACKETS_AT_ONCE 16u

static const struct ic_version frameworks[] = { { 3, 0 }, { 1, 0 } }; /* the best first */
#define FRAMEWORK_COUNT (sizeof(frameworks) / sizeof(frameworks[0]))

void ic_guest_init(struct ic_guest *ic, const struct ic_guest_config *config,
		   struct vmbus_ring_writer *to_host, struct vmbus_ring_reader *from_host,
		   void *buffer, uint32_t buffer_bytes)
{
	*ic = (struct ic_guest){
		.config = config, .to_host = to_host, .from_host = from_host,
		.buffer = buffer, .buffer_bytes = buffer_bytes,
	};
}

void ic_guest_violation(struct ic_guest *ic, const char *what)
{
	uint64_t count = ++ic->counters.violations;

	if (count <= 16 || !(count & (count - 1)))
		os_log(OS_LOG_WARNING, "%s: the host broke the protocol, time %llu: %s",
		       ic->config->name, (unsigned long long)count, what);
}

static uint32_t ring_is_broken(struct ic_guest *ic)
{
	if (!ic->broken)
		ic_guest_violation(ic, "the ring is broken");
	ic->broken = true;
	return IC_GUEST_EVENT_BROKEN;
}

/* ---- to the host ---- */

/* Writes the answer in ic->header and ic->message; it is in the ring, or waits. */
static uint32_t send_answer(struct ic_guest *ic)
{
	struct ic_pipe_header pipe = {
		.type = IC_PIPE_DATA,
		.bytes = (uint32_t)sizeof(ic->header) + ic->header.bytes,
	};
	struct vmbus_piece pieces[] = {
		{ &pipe, sizeof(pipe) },
		{ &ic->header, sizeof(ic->header) },
		{ ic->message, ic->header.bytes },
	};
	struct vmbus_packet_out packet = vmbus_packet_in_band(ic->packet_id, false, pieces, 3);
	int error = vmbus_ring_write(ic->to_host, &packet);
	uint32_t events = vmbus_ring_writer_publish(ic->to_host) ? IC_GUEST_EVENT_SIGNAL : 0;

	ic->waiting = error == -LIS_FULL;
	if (error && !ic->waiting)
		return events | ring_is_broken(ic);
	ic->counters.answers += !error;
	return events;
}

uint32_t ic_guest_answer(struct ic_guest *ic, uint32_t status, uint32_t message_bytes)
{
	if (!ic->at_hand)
		return 0;
	ic->at_hand = false;
	if (message_bytes > ic->message_bytes)
		message_bytes = ic->message_bytes;
	ic->header.bytes = (uint16_t)message_bytes;
	ic->header.status = status;
	ic->header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	return send_answer(ic);
}

/* ---- versions ---- */

/* The best of ours that is among the host's; false if none is. */
static bool choose(const struct ic_version *ours, uint32_t our_count, const uint8_t *theirs,
		   uint32_t their_count, struct ic_version *out_version)
{
	for (uint32_t i = 0; i < our_count; i++)
		for (uint32_t j = 0; j < their_count; j++)
			if (!memcmp(&ours[i], theirs + j * sizeof(ours[i]), sizeof(ours[i]))) {
				*out_version = ours[i];
				return true;
			}
	return false;
}

/* Answers a version offer. The host may make one at any time, for example after it was updated. */
static uint32_t negotiate(struct ic_guest *ic)
{
	const struct ic_guest_config *config = ic->config;
	struct {
		struct ic_negotiate head;
		struct ic_version versions[2];
	} answer = { .head = { .framework_count = 1, .message_count = 1 } };
	const uint8_t *versions = ic->message + sizeof(struct ic_negotiate);
	struct ic_negotiate offer;
	uint32_t count;

	if (ic->message_bytes < sizeof(answer)) {
		ic_guest_violation(ic, "a version offer that is too short");
		return 0;
	}
	memcpy(&offer, ic->message, sizeof(offer));
	count = (uint32_t)offer.framework_count + offer.message_count;
	if (!offer.framework_count || !offer.message_count ||
	    count > (ic->message_bytes - sizeof(offer)) / sizeof(struct ic_version)) {
		ic_guest_violation(ic, "a version offer that is longer than its packet");
		return 0;
	}
	ic->ready = choose(frameworks, FRAMEWORK_COUNT, versions, offer.framework_count,
			   &answer.versions[0]) &&
		    choose(config->versions, config->version_count,
			   versions + offer.framework_count * sizeof(struct ic_version),
			   offer.message_count, &answer.versions[1]);
	if (!ic->ready) {
		os_log(OS_LOG_WARNING, "%s: the host has no version that we know", config->name);
		memset(&answer, 0, sizeof(answer));
	} else {
		ic->framework = answer.versions[0];
		ic->version = answer.versions[1];
		os_log(OS_LOG_INFO, "%s: version %u.%u, framework %u.%u", config->name,
		       ic->version.major, ic->version.minor, ic->framework.major,
		       ic->framework.minor);
	}
	memcpy(ic->message, &answer, sizeof(answer));
	ic->at_hand = true;
	return (ic->ready ? IC_GUEST_EVENT_READY : IC_GUEST_EVENT_REFUSED) |
	       ic_guest_answer(ic, IC_STATUS_OK, sizeof(answer));
}

/* ---- from the host ---- */

static const char *take_apart(struct ic_guest *ic, uint32_t bytes)
{
	struct vmbus_packet packet;
	struct ic_pipe_header pipe;

	if (vmbus_packet_parse(ic->buffer, bytes, &packet))
		return "a packet out of form";
	if (packet.type != VMBUS_PACKET_IN_BAND)
		return "a packet of a wrong type";
	if (packet.payload_bytes < IC_HEADERS_BYTES)
		return "a packet shorter than its headers";
	memcpy(&pipe, packet.payload, sizeof(pipe));
	memcpy(&ic->header, packet.payload + sizeof(pipe), sizeof(ic->header));
	if (pipe.type != IC_PIPE_DATA || pipe.bytes < sizeof(ic->header) ||
	    pipe.bytes > packet.payload_bytes - sizeof(pipe))
		return "a bad pipe header";
	if (ic->header.bytes > pipe.bytes - sizeof(ic->header))
		return "a message longer than its packet";
	if (ic->header.flags & IC_FLAG_RESPONSE)
		return "an answer to nothing";
	ic->packet_id = packet.id;
	ic->message = ic->buffer + (packet.payload - ic->buffer) + IC_HEADERS_BYTES;
	ic->message_bytes = ic->header.bytes;
	return NULL;
}

static uint32_t take_packet(struct ic_guest *ic, uint32_t bytes)
{
	const char *wrong = take_apart(ic, bytes);

	if (wrong) {
		ic_guest_violation(ic, wrong);
		return 0;
	}
	if (ic->header.type == IC_NEGOTIATE)
		return negotiate(ic);
	ic->at_hand = true;
	if (ic->header.type != (uint16_t)ic->config->type)
		return ic_guest_answer(ic, IC_STATUS_NOT_SUPPORTED, ic->message_bytes);
	if (!ic->ready)
		return ic_guest_answer(ic, IC_STATUS_FAIL, ic->message_bytes);
	ic->counters.requests++;
	return IC_GUEST_EVENT_MESSAGE;
}

uint32_t ic_guest_receive(struct ic_guest *ic)
{
	uint32_t events = 0;
	uint32_t taken = 0;
	uint32_t bytes;

	if (ic->waiting)
		events |= send_answer(ic);
	while (!ic->at_hand && !ic->waiting && !ic->broken && taken < PACKETS_AT_ONCE) {
		int error = vmbus_ring_read(ic->from_host, ic->buffer, ic->buffer_bytes, &bytes);

		if (error == -LIS_EMPTY)
			break;
		if (error) {
			events |= ring_is_broken(ic);
			break;
		}
		events |= take_packet(ic, bytes);
		taken++;
	}
	if (vmbus_ring_reader_publish(ic->from_host))
		events |= IC_GUEST_EVENT_SIGNAL;
	if (ic->broken)
		return events | IC_GUEST_EVENT_BROKEN;
	/* What came before the room was given back is not signalled. */
	if (vmbus_ring_reader_unmask(ic->from_host) && !ic->waiting)
		events |= IC_GUEST_EVENT_MORE;
	return events;
}
