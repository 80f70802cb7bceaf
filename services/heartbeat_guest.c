// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Guest end of the heartbeat service.
 *
 * Source: [linux 6.1 drivers/hv/hv_util.c heartbeat_onchannelcallback]
 */
#include <string.h>

#include "services/heartbeat_guest.h"

static const struct ic_version versions[] = { { 3, 0 }, { 1, 0 } };

static const struct ic_guest_config config = {
	.name = "heartbeat",
	.type = IC_HEARTBEAT,
	.versions = versions,
	.version_count = sizeof(versions) / sizeof(versions[0]),
};

void heartbeat_guest_init(struct heartbeat_guest *heartbeat, struct vmbus_ring_writer *to_host,
			  struct vmbus_ring_reader *from_host)
{
	ic_guest_init(&heartbeat->ic, &config, to_host, from_host, heartbeat->buffer,
		      sizeof(heartbeat->buffer));
	heartbeat->application = HEARTBEAT_APPLICATION_UNKNOWN;
	heartbeat->sequence = 0;
}

void heartbeat_guest_set_application(struct heartbeat_guest *heartbeat,
				     enum heartbeat_application application)
{
	heartbeat->application = application;
}

static uint32_t answer_beat(struct heartbeat_guest *heartbeat)
{
	struct ic_guest *ic = &heartbeat->ic;
	const uint32_t state_end = offsetof(struct heartbeat_message, application_state) +
				   sizeof(uint32_t);
	uint32_t state = (uint32_t)heartbeat->application;
	uint64_t sequence;

	if (ic->message_bytes < sizeof(sequence)) {
		ic_guest_violation(ic, "a heartbeat without a number");
		return ic_guest_answer(ic, IC_STATUS_FAIL, ic->message_bytes);
	}
	memcpy(&sequence, ic->message, sizeof(sequence));
	heartbeat->sequence = ++sequence;
	memcpy(ic->message, &sequence, sizeof(sequence));
	if (ic->message_bytes >= state_end)
		memcpy(ic->message + state_end - sizeof(state), &state, sizeof(state));
	return ic_guest_answer(ic, IC_STATUS_OK, ic->message_bytes);
}

uint32_t heartbeat_guest_receive(struct heartbeat_guest *heartbeat)
{
	uint32_t events = ic_guest_receive(&heartbeat->ic);

	if (events & IC_GUEST_EVENT_MESSAGE)
		events |= answer_beat(heartbeat);
	return events & ~IC_GUEST_EVENT_MESSAGE;
}
