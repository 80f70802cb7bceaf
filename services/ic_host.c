// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The host end of an integration service, without its messages: see ic_host.h.
 *
 * Invariant: in_flight is set only while a channel is open. An answer counts if it has the type and
 * transaction id of what is in flight; other well-formed answers are late ones and dropped. A
 * packet that is no answer at all breaks the channel.
 */
#include "services/ic_host.h"

#include <string.h>

#include "vmbus/os.h"

#define PACKETS_AT_ONCE 16u /* [policy] bounds one receive() */

static const struct ic_version frameworks[] = { { 1, 0 }, { 3, 0 } };
#define FRAMEWORK_COUNT (sizeof(frameworks) / sizeof(frameworks[0]))

static const struct ic_version no_version;

int ic_version_compare(struct ic_version a, struct ic_version b)
{
	if (a.major != b.major)
		return a.major < b.major ? -1 : 1;
	return a.minor < b.minor ? -1 : a.minor > b.minor;
}

const char *ic_host_state_text(enum ic_host_state state)
{
	switch (state) {
	case IC_HOST_CLOSED:
		return "closed";
	case IC_HOST_NEGOTIATING:
		return "negotiating";
	case IC_HOST_READY:
		return "ready";
	case IC_HOST_REFUSED:
		return "refused";
	}
	return "unknown";
}

/* ---- to the guest ---- */

static int send_message(struct ic_host *ic, enum ic_message_type type, const void *message,
			size_t message_bytes)
{
	struct ic_header header = {
		.framework = ic->framework,
		.type = (uint16_t)type,
		.message_version = ic->version,
		.bytes = (uint16_t)message_bytes,
		.transaction_id = (uint8_t)(ic->transaction_id + 1),
		.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
	};
	struct ic_pipe_header pipe = {
		.type = IC_PIPE_DATA,
		.bytes = (uint32_t)(sizeof(header) + message_bytes),
	};
	struct iovec iov[] = {
		{ .iov_base = &pipe, .iov_len = sizeof(pipe) },
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)message, .iov_len = message_bytes },
	};
	int err = vmbus_channel_send(ic->channel, VMBUS_PACKET_IN_BAND, header.transaction_id, false,
				     iov, 3);

	if (err)
		return err;
	ic->transaction_id = header.transaction_id;
	ic->in_flight = true;
	ic->sent_ns = io_loop_now_ns(ic->loop);
	vmbus_channel_flush(ic->channel);
	return 0;
}

static void start_negotiation(struct io_timer *timer)
{
	struct ic_host *ic = (struct ic_host *)((char *)timer - offsetof(struct ic_host, start));
	const struct ic_host_config *config = ic->config;
	struct {
		struct ic_negotiate head;
		struct ic_version versions[FRAMEWORK_COUNT + IC_HOST_VERSIONS_MAX];
	} message = {
		.head = { .framework_count = FRAMEWORK_COUNT,
			  .message_count = (uint16_t)config->version_count },
	};
	size_t bytes = sizeof(message.head) +
		       (FRAMEWORK_COUNT + config->version_count) * sizeof(struct ic_version);

	memcpy(message.versions, frameworks, sizeof(frameworks));
	memcpy(message.versions + FRAMEWORK_COUNT, config->versions,
	       config->version_count * sizeof(struct ic_version));
	/* A ring just opened has room for this; one that has not was built to be full. */
	if (send_message(ic, IC_NEGOTIATE, &message, bytes) == -LIS_FULL)
		vmbus_channel_break(ic->channel, "no room for the first message");
}

int ic_host_request(struct ic_host *ic, const void *message, size_t message_bytes)
{
	if (ic->state != IC_HOST_READY)
		return -LIS_GONE;
	if (ic->in_flight)
		return -LIS_BUSY;
	int err = send_message(ic, ic->config->type, message, message_bytes);

	if (!err)
		ic->counters.requests++;
	return err;
}

void ic_host_abandon(struct ic_host *ic)
{
	ic->in_flight = false;
}

/* ---- from the guest ---- */

/* The best of the guest's versions that we offered; no_version if there is none. */
static struct ic_version best_version(const struct ic_version *answered, size_t answered_count,
				      const struct ic_version *offered, size_t offered_count)
{
	struct ic_version best = no_version;

	for (size_t i = 0; i < answered_count; i++)
		for (size_t j = 0; j < offered_count; j++)
			if (ic_version_compare(answered[i], offered[j]) == 0 &&
			    ic_version_compare(answered[i], best) > 0)
				best = answered[i];
	return best;
}

static const char *take_versions(struct ic_host *ic, const uint8_t *message, size_t bytes)
{
	const struct ic_host_config *config = ic->config;
	struct ic_version answered[FRAMEWORK_COUNT + IC_HOST_VERSIONS_MAX];
	struct ic_negotiate head;

	if (bytes < sizeof(head))
		return "short answer to the version offer";
	memcpy(&head, message, sizeof(head));
	if (head.framework_count == 0 || head.message_count == 0) {
		ic->state = IC_HOST_REFUSED;
		os_log(OS_LOG_WARNING, "%s: the guest knows none of our versions", config->name);
		return NULL;
	}
	if (head.framework_count > FRAMEWORK_COUNT || head.message_count > config->version_count ||
	    (size_t)(head.framework_count + head.message_count) * sizeof(struct ic_version) >
		    bytes - sizeof(head))
		return "impossible version counts";
	memcpy(answered, message + sizeof(head),
	       (size_t)(head.framework_count + head.message_count) * sizeof(struct ic_version));
	ic->framework = best_version(answered, head.framework_count, frameworks, FRAMEWORK_COUNT);
	ic->version = best_version(answered + head.framework_count, head.message_count,
				   config->versions, config->version_count);
	if (ic_version_compare(ic->framework, no_version) == 0 ||
	    ic_version_compare(ic->version, no_version) == 0)
		return "a version we did not offer";
	ic->state = IC_HOST_READY;
	os_log(OS_LOG_INFO, "%s: version %u.%u, framework %u.%u", config->name, ic->version.major,
	       ic->version.minor, ic->framework.major, ic->framework.minor);
	config->ops->ready(ic);
	return NULL;
}

/* Takes one packet apart. Returns NULL, or why the guest must lose the channel. */
static const char *take_packet(struct ic_host *ic, uint16_t type, const uint8_t *payload,
			       size_t payload_bytes)
{
	bool negotiating = ic->state == IC_HOST_NEGOTIATING;
	struct ic_pipe_header pipe;
	struct ic_header header;

	if (type != VMBUS_PACKET_IN_BAND)
		return "packet of a wrong type";
	if (payload_bytes < IC_HEADERS_BYTES)
		return "packet shorter than its headers";
	memcpy(&pipe, payload, sizeof(pipe));
	memcpy(&header, payload + sizeof(pipe), sizeof(header));
	if (pipe.type != IC_PIPE_DATA || pipe.bytes < sizeof(header) ||
	    pipe.bytes > payload_bytes - sizeof(pipe))
		return "bad pipe header";
	if (header.bytes > pipe.bytes - sizeof(header))
		return "message longer than its packet";
	if (!(header.flags & IC_FLAG_RESPONSE) || !(header.flags & IC_FLAG_TRANSACTION))
		return "packet that is no answer";
	if (!ic->in_flight || header.transaction_id != ic->transaction_id ||
	    header.type != (negotiating ? IC_NEGOTIATE : ic->config->type)) {
		ic->counters.strays++;
		return NULL;
	}
	ic->in_flight = false;
	payload += IC_HEADERS_BYTES;
	if (negotiating)
		return take_versions(ic, payload, header.bytes);
	ic->counters.answers++;
	ic->counters.round_trip_ns = io_loop_now_ns(ic->loop) - ic->sent_ns;
	return ic->config->ops->answer(ic, header.status, payload, header.bytes);
}

static bool receive(struct vmbus_channel *channel)
{
	struct ic_host *ic = channel->owner;
	bool any = false;

	for (unsigned i = 0; i < PACKETS_AT_ONCE; i++) {
		struct vmbus_packet packet;
		const char *wrong;

		if (vmbus_channel_receive(channel, ic->buffer, sizeof(ic->buffer), &packet))
			break;
		any = true;
		wrong = take_packet(ic, packet.type, packet.payload, packet.payload_bytes);
		if (wrong) {
			vmbus_channel_break(channel, wrong);
			break;
		}
	}
	return any;
}

/* ---- life of the channel ---- */

static int opened(struct vmbus_channel *channel)
{
	struct ic_host *ic = vmbus_device_owner(channel->device);

	channel->owner = ic;
	ic->channel = channel;
	ic->state = IC_HOST_NEGOTIATING;
	ic->in_flight = false;
	/* After this turn, so that the guest hears first that its channel is open. */
	ic->start.expired = start_negotiation;
	io_timer_set(&ic->start, ic->loop, io_loop_now_ns(ic->loop));
	return 0;
}

static void closed(struct vmbus_channel *channel)
{
	struct ic_host *ic = channel->owner;

	io_timer_cancel(&ic->start);
	ic->state = IC_HOST_CLOSED;
	ic->framework = no_version;
	ic->version = no_version;
	ic->in_flight = false;
	ic->channel = NULL;
	ic->config->ops->closed(ic);
	vmbus_channel_closed(channel);
}

static const struct vmbus_device_ops device_ops = {
	.open = opened,
	.receive = receive,
	.close = closed,
};

int ic_host_init(struct ic_host *ic, const struct ic_host_config *config, struct vmbus_host *host,
		 struct io_loop *loop)
{
	struct vmbus_device_config device = {
		.name = config->name,
		.interface_id = config->interface_id,
		.instance_id = config->instance_id,
		.offer_flags = VMBUS_OFFER_NAMED_PIPE,
		.ops = &device_ops,
		.owner = ic,
	};
	uint32_t mode = VMBUS_PIPE_MESSAGE;

	memcpy(device.user_data, &mode, sizeof(mode));
	memset(ic, 0, offsetof(struct ic_host, buffer));
	ic->config = config;
	ic->loop = loop;
	return vmbus_host_offer(host, &device, &ic->device);
}

void ic_host_fini(struct ic_host *ic, struct io_call *retired)
{
	struct vmbus_device *device = ic->device;

	ic->device = NULL;
	vmbus_host_rescind(device, retired);
}

void ic_host_status(const struct ic_host *ic, struct ic_host_status *out_status)
{
	out_status->state = ic->state;
	out_status->framework = ic->framework;
	out_status->version = ic->version;
	out_status->counters = ic->counters;
}
