// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Channels on the server: open, close, modify, rescind, release.
 *
 * A channel has two sides that are out of step most of the time. @state is the device's: it opens
 * and closes in its own time. @id and @guest_open are the guest's: it may close (no answer in the
 * protocol), open again, or let go of the id while the device is still busy. What the guest wants
 * next waits in @queued, @abandoned or @leaving until the device is idle; server_settle() picks it
 * up.
 *
 * A device's primary channel opens only when all its sub-channels are idle, so that a device never
 * sees a new life begin before the old one has ended.
 *
 * Context: as server.h.
 */
#include "vmbus/server_private.h"

bool server_same_device(const struct vmbus_server_channel *a, const struct vmbus_server_channel *b)
{
	return guid_compare(&a->offer.instance_id, &b->offer.instance_id) == 0 &&
	       guid_compare(&a->offer.interface_id, &b->offer.interface_id) == 0;
}

struct vmbus_server_id *server_id(struct vmbus_server *server, uint32_t channel_id)
{
	struct vmbus_server_id *id;

	if (channel_id == 0 || channel_id > VMBUS_CHANNEL_ID_MAX)
		return NULL;
	id = &server->ids[channel_id];
	return id->channel || id->dead ? id : NULL;
}

static void send_open_result(struct vmbus_server *server, uint32_t channel_id, uint32_t open_id,
			     uint32_t status)
{
	struct vmbus_msg_open_result result = {
		.header.type = VMBUS_MSG_OPEN_RESULT,
		.channel_id = channel_id,
		.open_id = open_id,
		.status = status,
	};

	server_send(server, &result, sizeof(result));
}

static uint32_t status_of(int error)
{
	switch (error) {
	case 0:
		return VMBUS_STATUS_SUCCESS;
	case -LIS_NOMEM:
		return VMBUS_STATUS_INSUFFICIENT_RESOURCES;
	case -LIS_INVALID:
		return VMBUS_STATUS_INVALID_PARAMETER;
	default:
		return VMBUS_STATUS_UNSUCCESSFUL;
	}
}

/* The device's side begins to close; what the guest believes is the caller's business. */
static void close_device_side(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	if (channel->state == VMBUS_SERVER_CHANNEL_OPENING) {
		channel->abandoned = true;
	} else if (channel->state == VMBUS_SERVER_CHANNEL_OPEN) {
		channel->state = VMBUS_SERVER_CHANNEL_CLOSING;
		channel->modify_queued = false;
		server->ops->close_channel(server->port, channel);
	}
}

/* The guest has nothing to do with the channel any more; its id is the caller's business. */
static void detach(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	channel->id = 0;
	channel->offer_pending = false;
	channel->guest_open = false;
	channel->open_queued = false;
	close_device_side(server, channel);
	if (channel->offer.sub_channel_index != 0)
		channel->leaving = true;
}

void server_channel_forget(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	if (channel->id != 0)
		server->ids[channel->id].channel = NULL;
	detach(server, channel);
}

static void rescind_one(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	if (channel->id != 0) {
		struct vmbus_server_id *id = &server->ids[channel->id];
		struct vmbus_msg_channel rescind = {
			.header.type = VMBUS_MSG_RESCIND_OFFER,
			.channel_id = channel->id,
		};

		id->channel = NULL;
		id->dead = true;
		server->dead_id_count++;
		id->instance_id = channel->offer.instance_id;
		id->sub_channel_index = channel->offer.sub_channel_index;
		server_send(server, &rescind, sizeof(rescind));
	}
	detach(server, channel);
	channel->leaving = true;
}

static void rescind_sub_channels(struct vmbus_server *server,
				 const struct vmbus_server_channel *primary)
{
	struct vmbus_server_channel *channel;

	if (primary->offer.sub_channel_index != 0)
		return;
	for (channel = server->channels; channel; channel = channel->next)
		if (channel != primary && server_same_device(channel, primary))
			rescind_one(server, channel);
}

void vmbus_server_rescind(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	rescind_sub_channels(server, channel);
	rescind_one(server, channel);
	server_settle(server);
}

void vmbus_server_break(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	if (channel->state != VMBUS_SERVER_CHANNEL_OPEN)
		return;
	server->counters.violations++;
	rescind_sub_channels(server, channel);
	close_device_side(server, channel);
	server_settle(server);
}

/* Check the rings and ask the device. Returns 0 when its answer will come. */
static int start_open(struct vmbus_server *server, struct vmbus_server_channel *channel,
		      const struct vmbus_server_open *open)
{
	uint32_t offset = open->host_to_guest_page_offset;
	struct vmbus_server_range ring;
	int err;

	channel->state = VMBUS_SERVER_CHANNEL_OPENING;
	channel->open = *open;
	channel->abandoned = false;
	channel->modifying = false;
	channel->modify_queued = false;
	if (vmbus_server_gpadl_get(server, channel, open->ring_gpadl_id, 0, &ring)) {
		server_violation(server, "open refused, its ring is no GPADL", open->ring_gpadl_id);
		err = -LIS_INVALID;
	} else if (ring.range_count != 1 || ring.byte_offset != 0 ||
		   ring.byte_count % HV_PAGE_BYTES != 0 ||
		   offset < VMBUS_SERVER_RING_PAGES_MIN || offset > ring.pfn_count ||
		   ring.pfn_count - offset < VMBUS_SERVER_RING_PAGES_MIN) {
		server_violation(server, "open refused, no two rings in their GPADL", offset);
		err = -LIS_INVALID;
	} else {
		err = server->ops->open_channel(server->port, channel, &channel->open, &ring);
		if (err)
			server_violation(server, "open refused, no use can be made of its rings",
					 (uint32_t)-err);
	}
	if (err) {
		channel->state = VMBUS_SERVER_CHANNEL_IDLE;
		server_gpadls_drop(server, channel);
	}
	return err;
}

static void open_now(struct vmbus_server *server, struct vmbus_server_channel *channel,
		     const struct vmbus_server_open *open)
{
	uint16_t id = channel->id;
	int err = start_open(server, channel, open);

	if (err)
		send_open_result(server, id, open->open_id, status_of(err));
}

static bool sub_channels_idle(const struct vmbus_server *server,
			      const struct vmbus_server_channel *primary)
{
	const struct vmbus_server_channel *channel;

	if (primary->offer.sub_channel_index != 0)
		return true;
	for (channel = server->channels; channel; channel = channel->next)
		if (channel != primary && channel->state != VMBUS_SERVER_CHANNEL_IDLE &&
		    server_same_device(channel, primary))
			return false;
	return true;
}

void server_channel_start_queued(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	struct vmbus_server_open open;

	if (!channel->open_queued || channel->state != VMBUS_SERVER_CHANNEL_IDLE ||
	    !sub_channels_idle(server, channel))
		return;
	channel->open_queued = false;
	open = channel->queued;
	open_now(server, channel, &open);
}

/* Fill @out_open from a request; false where it asks for what cannot be. */
static bool take_open(struct vmbus_server *server, const struct server_message *message,
		      struct vmbus_server_open *out_open)
{
	const struct vmbus_msg_open_channel *request = message->payload;
	const struct vmbus_msg_open_channel2 *request2 = message->payload;
	uint32_t version = server->connection.version;

	*out_open = (struct vmbus_server_open){
		.open_id = request->open_id,
		.ring_gpadl_id = request->ring_gpadl_id,
		.host_to_guest_page_offset = request->host_to_guest_page_offset,
		.target_vp = version >= VMBUS_VERSION_WIN8 ? request->target_vp : 0,
		.connection_id = vmbus_server_connection_id((uint16_t)request->channel_id),
		.event_flag = (uint16_t)request->channel_id,
	};
	for (uint32_t i = 0; i < VMBUS_USER_DATA_BYTES; i++)
		out_open->user_data[i] = request->user_data[i];
	if (server->connection.features & VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS) {
		if (message->bytes < sizeof(*request2) ||
		    request2->connection_id <= VMBUS_CONNECTION_MESSAGE_4 ||
		    request2->connection_id > VMBUS_CONNECTION_ID_MAX ||
		    request2->event_flag >= VMBUS_EVENT_FLAGS)
			return false;
		out_open->connection_id = request2->connection_id;
		out_open->event_flag = request2->event_flag;
	}
	return out_open->target_vp == VMBUS_VP_NONE ||
	       out_open->target_vp < server->config.vp_count;
}

void server_handle_open(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_open_channel *request = message->payload;
	const struct vmbus_server_id *id = server_id(server, request->channel_id);
	struct vmbus_server_channel *channel = id ? id->channel : NULL;
	uint32_t status = VMBUS_STATUS_INVALID_PARAMETER;
	struct vmbus_server_open open;

	if (id && id->dead) { /* no violation: the rescind was on its way */
		status = VMBUS_STATUS_UNSUCCESSFUL;
		goto refuse;
	}
	if (!channel || channel->guest_open || channel->open_queued ||
	    channel->state == VMBUS_SERVER_CHANNEL_OPENING) {
		server_violation(server, channel ? "second open of a channel refused" :
						   "open of an unknown channel refused",
				 request->channel_id);
		goto refuse;
	}
	if (!take_open(server, message, &open)) {
		server_violation(server, "open with impossible parameters refused",
				 request->channel_id);
		goto refuse;
	}
	channel->open_queued = true;
	channel->queued = open;
	server_channel_start_queued(server, channel);
	return;

refuse:
	send_open_result(server, request->channel_id, request->open_id, status);
}

void vmbus_server_open_done(struct vmbus_server *server, struct vmbus_server_channel *channel,
			    int error)
{
	bool abandoned = channel->abandoned;

	if (channel->state != VMBUS_SERVER_CHANNEL_OPENING)
		return;
	channel->abandoned = false;
	if (!abandoned) {
		channel->guest_open = !error;
		send_open_result(server, channel->id, channel->open.open_id, status_of(error));
	}
	if (error) {
		channel->state = VMBUS_SERVER_CHANNEL_IDLE;
		server_gpadls_drop(server, channel);
	} else {
		channel->state = VMBUS_SERVER_CHANNEL_OPEN;
		if (abandoned)
			close_device_side(server, channel);
	}
	server_settle(server);
}

void server_handle_close(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_channel *request = message->payload;
	const struct vmbus_server_id *id = server_id(server, request->channel_id);

	if (id && id->dead)
		return;
	if (!id || !id->channel->guest_open) {
		server_violation(server, "close of a channel that is not open ignored",
				 request->channel_id);
		return;
	}
	id->channel->guest_open = false;
	rescind_sub_channels(server, id->channel);
	close_device_side(server, id->channel);
}

void vmbus_server_close_done(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	if (channel->state != VMBUS_SERVER_CHANNEL_CLOSING)
		return;
	channel->state = VMBUS_SERVER_CHANNEL_IDLE;
	channel->modifying = false;
	server_gpadls_drop(server, channel);
	server_settle(server);
}

static void send_modify_response(struct vmbus_server *server, uint32_t channel_id, uint32_t status)
{
	struct vmbus_msg_modify_channel_response response = {
		.header.type = VMBUS_MSG_MODIFY_CHANNEL_RESPONSE,
		.channel_id = channel_id,
		.status = status,
	};

	if (server->connection.version >= VMBUS_VERSION_IRON)
		server_send(server, &response, sizeof(response));
}

static void start_modify(struct vmbus_server *server, struct vmbus_server_channel *channel,
			 uint32_t target_vp)
{
	channel->modifying = true;
	channel->open.target_vp = target_vp;
	server->ops->modify_channel(server->port, channel, target_vp);
}

void server_handle_modify(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_modify_channel *request = message->payload;
	const struct vmbus_server_id *id = server_id(server, request->channel_id);
	struct vmbus_server_channel *channel = id ? id->channel : NULL;

	if (!channel || channel->state != VMBUS_SERVER_CHANNEL_OPEN || !channel->guest_open ||
	    channel->open.target_vp == VMBUS_VP_NONE ||
	    request->target_vp >= server->config.vp_count) {
		if (!id || !id->dead)
			server_violation(server, "modification of a channel refused",
					 request->channel_id);
		send_modify_response(server, request->channel_id, VMBUS_STATUS_UNSUCCESSFUL);
	} else if (!channel->modifying) {
		start_modify(server, channel, request->target_vp);
	} else if (server->connection.version < VMBUS_VERSION_IRON) {
		/* Such a guest hears of no end, so it may ask at any time; the last counts. */
		channel->modify_queued = true;
		channel->queued_vp = request->target_vp;
	} else {
		server_violation(server,
				 "modification of a channel before the last one was answered",
				 request->channel_id);
	}
}

void vmbus_server_modify_done(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	if (!channel->modifying)
		return;
	channel->modifying = false;
	if (channel->state != VMBUS_SERVER_CHANNEL_OPEN || channel->id == 0)
		return;
	send_modify_response(server, channel->id, VMBUS_STATUS_SUCCESS);
	if (channel->modify_queued) {
		channel->modify_queued = false;
		start_modify(server, channel, channel->queued_vp);
	}
}

void server_handle_relid_released(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_channel *request = message->payload;
	struct vmbus_server_id *id = server_id(server, request->channel_id);
	struct vmbus_server_channel *channel = id ? id->channel : NULL;

	if (!id || (channel && (channel->guest_open || channel->open_queued ||
				channel->state == VMBUS_SERVER_CHANNEL_OPENING))) {
		server_violation(server, "release of a channel id in use or unknown ignored",
				 request->channel_id);
		return;
	}
	if (channel)
		server_channel_forget(server, channel);
	else
		server->dead_id_count--;
	id->dead = false;
	server_gpadls_forget(server, (uint16_t)request->channel_id);
	server_offer_waiting(server);
}

void server_handle_open_reserved(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_open_reserved_channel *request = message->payload;
	struct vmbus_msg_open_result result = {
		.header.type = VMBUS_MSG_OPEN_RESULT,
		.channel_id = request->channel_id,
		.status = VMBUS_STATUS_UNSUCCESSFUL,
	};

	/* No device here has reserved channels; a guest that asks is told, on the SINT we have. */
	if (request->target_sint == VMBUS_MESSAGE_SINT &&
	    request->target_vp < server->config.vp_count)
		server_post(server, request->target_vp, &result, sizeof(result));
}
