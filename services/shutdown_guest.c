// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Guest end of the shutdown service.
 *
 * Source: [linux 6.1 drivers/hv/hv_util.c shutdown_onchannelcallback]
 */
#include <string.h>

#include "services/shutdown_guest.h"

static const struct ic_version versions[] = { { 3, 2 }, { 3, 1 }, { 3, 0 }, { 1, 0 } };

static const struct ic_guest_config config = {
	.name = "shutdown",
	.type = IC_SHUTDOWN,
	.versions = versions,
	.version_count = sizeof(versions) / sizeof(versions[0]),
};

void shutdown_guest_init(struct shutdown_guest *shutdown, struct vmbus_ring_writer *to_host,
			 struct vmbus_ring_reader *from_host, bool can_hibernate)
{
	ic_guest_init(&shutdown->ic, &config, to_host, from_host, shutdown->buffer,
		      sizeof(shutdown->buffer));
	shutdown->can_hibernate = can_hibernate;
	shutdown->under_way = false;
}

void shutdown_guest_over(struct shutdown_guest *shutdown)
{
	shutdown->under_way = false;
}

/* What the flags ask for; false if this version has no such request, or the port cannot do it. */
static bool kind_of(const struct shutdown_guest *shutdown, uint32_t flags,
		    enum shutdown_guest_kind *out_kind)
{
	switch (flags & ~SHUTDOWN_FORCE) {
	case 0:
		*out_kind = SHUTDOWN_GUEST_POWER_OFF;
		return true;
	case SHUTDOWN_RESTART:
		*out_kind = SHUTDOWN_GUEST_REBOOT;
		return ic_guest_version_is(&shutdown->ic, 3, 1);
	case SHUTDOWN_HIBERNATE:
		*out_kind = SHUTDOWN_GUEST_HIBERNATE;
		return shutdown->can_hibernate && ic_guest_version_is(&shutdown->ic, 3, 2);
	default:
		return false;
	}
}

static const char *kind_text(enum shutdown_guest_kind kind)
{
	switch (kind) {
	case SHUTDOWN_GUEST_REBOOT:
		return "restart";
	case SHUTDOWN_GUEST_HIBERNATE:
		return "hibernate";
	default:
		return "power off";
	}
}

static uint32_t answer_request(struct shutdown_guest *shutdown)
{
	const uint32_t needed_bytes = offsetof(struct shutdown_message, display);
	struct ic_guest *ic = &shutdown->ic;
	enum shutdown_guest_kind kind = SHUTDOWN_GUEST_POWER_OFF;
	uint32_t fields[3]; /* reason, time-out, flags; the text for people is of no use here */
	uint32_t events;

	if (ic->message_bytes < needed_bytes) {
		ic_guest_violation(ic, "a shutdown request that is too short");
		return ic_guest_answer(ic, IC_STATUS_FAIL, ic->message_bytes);
	}
	memcpy(fields, ic->message, sizeof(fields));
	if (!kind_of(shutdown, fields[2], &kind)) {
		os_log(OS_LOG_WARNING, "shutdown: refused a request with flags 0x%x", fields[2]);
		return ic_guest_answer(ic, IC_STATUS_FAIL, ic->message_bytes);
	}
	if (shutdown->under_way)
		return ic_guest_answer(ic, kind == shutdown->request.kind ? IC_STATUS_OK :
									    IC_STATUS_FAIL,
				       ic->message_bytes);
	events = ic_guest_answer(ic, IC_STATUS_OK, ic->message_bytes);
	shutdown->under_way = true;
	shutdown->request = (struct shutdown_guest_request){
		.kind = kind, .force = fields[2] & SHUTDOWN_FORCE,
		.reason = fields[0], .timeout_seconds = fields[1],
	};
	os_log(OS_LOG_INFO, "shutdown: the host asks to %s", kind_text(kind));
	return events | SHUTDOWN_GUEST_EVENT_REQUEST;
}

uint32_t shutdown_guest_receive(struct shutdown_guest *shutdown)
{
	uint32_t events = ic_guest_receive(&shutdown->ic);

	if (events & IC_GUEST_EVENT_MESSAGE)
		events |= answer_request(shutdown);
	return events & ~IC_GUEST_EVENT_MESSAGE;
}
