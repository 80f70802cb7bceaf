// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The VMBus server: connection, offers, dispatch. server_channel.c and server_gpadl.c have the
 * rest.
 *
 * Connection. Each request for contact, the unloading of the bus and a reset begin alike: the guest
 * has let go of everything, devices close, and when all are idle @next is done. So no device ever
 * touches memory of a guest that was told it is free, and a kernel that was started by kexec finds
 * a fresh bus. A newer request replaces the older one that still waits; nothing replaces a reset.
 *
 * Offers. Channels are kept in the order in which they are offered. @offer_pending marks those the
 * guest is to hear of; they get the lowest free id, unless an earlier channel of the same instance
 * is rescinded but not yet released by the guest: Linux takes two of one instance badly.
 *
 * Invariants: server->ids[channel->id].channel == channel for each channel with an id; an idle
 * channel holds no GPADL; disconnected means no ids, no GPADLs, all channels idle.
 * vmbus_server_check() has them all.
 *
 * Context: as server.h.
 */
#include "vmbus/server_private.h"

#define VERSION_NEWEST VMBUS_VERSION_COPPER
/* Confidential and pinned memory have features of their own, which nobody is granted. */
#define OFFER_FLAGS_NOT_GRANTED \
	(VMBUS_OFFER_CONFIDENTIAL_RING | VMBUS_OFFER_CONFIDENTIAL_MEMORY | \
	 VMBUS_OFFER_PINNED_MEMORY)

static bool worth_a_line(uint64_t count)
{
	return count <= 16 || (count & (count - 1)) == 0;
}

void server_violation(struct vmbus_server *server, const char *what, uint32_t number)
{
	server->counters.violations++;
	if (worth_a_line(server->counters.violations))
		os_log(OS_LOG_WARNING, "vmbus: %s (0x%x; violation %llu)", what, number,
		       (unsigned long long)server->counters.violations);
}

void server_no_memory(struct vmbus_server *server, uint32_t gpadl_words)
{
	if (worth_a_line(++server->counters.no_memory))
		os_log(OS_LOG_ERROR, "vmbus: no memory for a GPADL of %u words (%llu in all)",
		       gpadl_words, (unsigned long long)server->counters.no_memory);
}

void server_post(struct vmbus_server *server, uint32_t vp, const void *message, size_t bytes)
{
	server->counters.messages_out++;
	if (server->ops->post_message(server->port, vp, message, bytes) == 0)
		return;
	server->counters.messages_lost++;
	if (worth_a_line(server->counters.messages_lost))
		os_log(OS_LOG_ERROR, "vmbus: message of type %u to VP %u is lost (%llu in all)",
		       ((const struct vmbus_message_header *)message)->type, vp,
		       (unsigned long long)server->counters.messages_lost);
}

void server_send(struct vmbus_server *server, const void *message, size_t bytes)
{
	server_post(server, server->connection.target_vp, message, bytes);
}

/* Offers. */

static int offer_compare(const struct vmbus_server_offer *a, const struct vmbus_server_offer *b)
{
	int order = guid_compare(&a->interface_id, &b->interface_id);

	if (order == 0 && a->order != b->order)
		order = a->order < b->order ? -1 : 1;
	if (order == 0)
		order = guid_compare(&a->instance_id, &b->instance_id);
	if (order == 0)
		order = (int)a->sub_channel_index - (int)b->sub_channel_index;
	return order;
}

static void send_offer(struct vmbus_server *server, const struct vmbus_server_channel *channel)
{
	const struct vmbus_server_offer *offer = &channel->offer;
	struct vmbus_msg_offer_channel message = {
		.header.type = VMBUS_MSG_OFFER_CHANNEL,
		.interface_id = offer->interface_id,
		.instance_id = offer->instance_id,
		.flags = offer->flags & ~OFFER_FLAGS_NOT_GRANTED,
		.mmio_megabytes = offer->mmio_megabytes,
		.sub_channel_index = offer->sub_channel_index,
		.mmio_megabytes_optional = offer->mmio_megabytes_optional,
		.channel_id = channel->id,
		.monitor_id = 0xff,
		.is_dedicated = 1,
		.connection_id = vmbus_server_connection_id(channel->id),
	};

	for (uint32_t i = 0; i < VMBUS_USER_DATA_BYTES; i++)
		message.user_data[i] = offer->user_data[i];
	server_send(server, &message, sizeof(message));
}

static bool has_dead_twin(const struct vmbus_server *server,
			  const struct vmbus_server_channel *channel)
{
	if (server->dead_id_count == 0)
		return false;
	for (uint32_t i = 1; i <= VMBUS_CHANNEL_ID_MAX; i++) {
		const struct vmbus_server_id *id = &server->ids[i];

		if (id->dead && id->sub_channel_index == channel->offer.sub_channel_index &&
		    guid_compare(&id->instance_id, &channel->offer.instance_id) == 0)
			return true;
	}
	return false;
}

void server_offer_waiting(struct vmbus_server *server)
{
	struct vmbus_server_channel *channel;
	uint16_t id = 1;

	if (server->state != VMBUS_SERVER_CONNECTED || !server->offers_requested)
		return;
	for (channel = server->channels; channel; channel = channel->next) {
		if (!channel->offer_pending || has_dead_twin(server, channel))
			continue;
		while (id <= VMBUS_CHANNEL_ID_MAX &&
		       (server->ids[id].channel || server->ids[id].dead))
			id++;
		if (id > VMBUS_CHANNEL_ID_MAX)
			return;
		channel->offer_pending = false;
		channel->id = id;
		server->ids[id].channel = channel;
		send_offer(server, channel);
	}
}

static bool primary_is_open(const struct vmbus_server *server,
			    const struct vmbus_server_channel *sub_channel)
{
	const struct vmbus_server_channel *channel;

	for (channel = server->channels; channel; channel = channel->next)
		if (channel->offer.sub_channel_index == 0 &&
		    server_same_device(channel, sub_channel))
			return channel->state == VMBUS_SERVER_CHANNEL_OPEN && channel->guest_open;
	return false;
}

int vmbus_server_offer(struct vmbus_server *server, struct vmbus_server_channel *channel)
{
	struct vmbus_server_channel **link = &server->channels, *other;

	for (other = server->channels; other; other = other->next)
		if (other->offer.sub_channel_index == channel->offer.sub_channel_index &&
		    guid_compare(&other->offer.instance_id, &channel->offer.instance_id) == 0)
			return -LIS_BUSY;
	if (server->channel_count >= VMBUS_CHANNEL_ID_MAX)
		return -LIS_FULL;
	if (channel->offer.sub_channel_index != 0 && !primary_is_open(server, channel))
		return -LIS_GONE;
	while (*link && offer_compare(&(*link)->offer, &channel->offer) < 0)
		link = &(*link)->next;
	*channel = (struct vmbus_server_channel){
		.offer = channel->offer,
		.next = *link,
		.registered = true,
		.offer_pending = server->offers_requested,
	};
	*link = channel;
	server->channel_count++;
	server_offer_waiting(server);
	return 0;
}

static void handle_request_offers(struct vmbus_server *server, const struct server_message *message)
{
	struct vmbus_msg_channel delivered = { .header.type = VMBUS_MSG_ALL_OFFERS_DELIVERED };
	struct vmbus_server_channel *channel;

	if (server->offers_requested) {
		server_violation(server, "second request for offers ignored", 0);
		return;
	}
	server->offers_requested = true;
	/* Sub-channels are offered when a device asks for it; none outlives a connection. */
	for (channel = server->channels; channel; channel = channel->next)
		channel->offer_pending = !channel->leaving;
	server_offer_waiting(server);
	server_send(server, &delivered.header, sizeof(delivered.header));
}

/* Connection. */

static uint32_t version_max(const struct vmbus_server *server)
{
	if (!server->version_capped || server->config.version_max == 0)
		return VERSION_NEWEST;
	return server->config.version_max;
}

static bool version_known(uint32_t version)
{
	switch (version) {
#define VERSION_CASE(known) case known:
	VMBUS_VERSIONS(VERSION_CASE)
#undef VERSION_CASE
		return true;
	default:
		return false;
	}
}

static uint32_t version_or_connection(uint32_t version)
{
	return version >= VMBUS_VERSION_WIN10_V5 ? VMBUS_CONNECTION_MESSAGE : version;
}

/* A version that is not supported, or, with another state than success, one that is but failed. */
static void refuse_contact(struct vmbus_server *server, uint8_t connection_state)
{
	const struct vmbus_server_contact *contact = &server->contact;
	struct vmbus_msg_version_response response = { .header.type = VMBUS_MSG_VERSION_RESPONSE };

	/* Source: [openvmm channels.rs:send_version_response] from 2.4 on guests know failure */
	if (connection_state != VMBUS_CONNECTION_SUCCESSFUL &&
	    contact->version >= VMBUS_VERSION_WIN8) {
		response.supported = 1;
		response.connection_state = connection_state;
		response.version_or_connection_id = version_or_connection(contact->version);
	}
	server_post(server, contact->target_vp, &response, sizeof(response));
}

static void answer_contact(struct vmbus_server *server)
{
	const struct vmbus_server_contact *contact = &server->contact;
	struct vmbus_server_connection connection = {
		.version = contact->version,
		.features = contact->features & VMBUS_SERVER_FEATURES,
		.target_vp = contact->target_vp,
		.interrupt_page_gpa = contact->interrupt_page_gpa,
	};
	struct vmbus_msg_version_response2 response = {
		.response = {
			.header.type = VMBUS_MSG_VERSION_RESPONSE,
			.supported = 1,
			.version_or_connection_id = version_or_connection(contact->version),
		},
		.features = connection.features,
	};
	int err;

	if (!version_known(contact->version) || contact->version > version_max(server)) {
		refuse_contact(server, VMBUS_CONNECTION_SUCCESSFUL);
		return;
	}
	if (!contact->monitor_pages_sane) {
		server_violation(server, "contact with one monitor page refused", contact->version);
		refuse_contact(server, VMBUS_CONNECTION_UNKNOWN_FAILURE);
		return;
	}
	if (connection.features & VMBUS_FEATURE_CLIENT_ID)
		connection.client_id = contact->client_id;
	err = server->ops->connected(server->port, &connection);
	if (err) {
		refuse_contact(server, err == -LIS_NOMEM ? VMBUS_CONNECTION_LOW_RESOURCES :
							   VMBUS_CONNECTION_UNKNOWN_FAILURE);
		return;
	}
	server->connected_told = true;
	server->connection = connection;
	server->state = VMBUS_SERVER_CONNECTED;
	if (worth_a_line(server->counters.contacts))
		os_log(OS_LOG_INFO, "vmbus: the guest connected with version %u.%u, features 0x%x",
		       connection.version >> 16, connection.version & 0xffff, connection.features);
	server_send(server, &response, contact->version >= VMBUS_VERSION_COPPER ?
		    sizeof(response) : sizeof(response.response));
}

/* The guest lets go of everything; server_settle() goes on when the devices have, too. */
static void disconnect(struct vmbus_server *server, enum vmbus_server_next next)
{
	struct vmbus_server_channel *channel;

	if (server->state != VMBUS_SERVER_DISCONNECTING || server->next != VMBUS_SERVER_NEXT_RESET)
		server->next = next;
	if (server->state == VMBUS_SERVER_DISCONNECTING)
		return;
	server->state = VMBUS_SERVER_DISCONNECTING;
	server->offers_requested = false;
	server_gpadls_forget(server, 0);
	for (channel = server->channels; channel; channel = channel->next)
		server_channel_forget(server, channel);
	for (uint32_t i = 1; server->dead_id_count > 0 && i <= VMBUS_CHANNEL_ID_MAX; i++) {
		server->dead_id_count -= server->ids[i].dead;
		server->ids[i].dead = false;
	}
}

static void finish_disconnect(struct vmbus_server *server)
{
	struct vmbus_msg_channel unloaded = { .header.type = VMBUS_MSG_UNLOAD_COMPLETE };
	enum vmbus_server_next next = server->next;
	struct vmbus_server_connection was = server->connection;

	server->next = VMBUS_SERVER_NEXT_NOTHING;
	server->state = VMBUS_SERVER_DISCONNECTED;
	server->connection = (struct vmbus_server_connection){ 0 };
	if (server->connected_told) {
		server->connected_told = false;
		server->version_capped = true;
		server->ops->disconnected(server->port);
	}
	if (next == VMBUS_SERVER_NEXT_CONNECT) {
		answer_contact(server);
	} else if (next == VMBUS_SERVER_NEXT_UNLOAD && was.version != VMBUS_VERSION_WS2008) {
		server_post(server, was.target_vp, &unloaded.header, sizeof(unloaded.header));
	} else if (next == VMBUS_SERVER_NEXT_RESET) {
		server->version_capped = !server->config.version_max_delayed;
		server->ops->reset_done(server->port);
	}
}

/* One channel that can be released, taken off the list; or NULL. */
static struct vmbus_server_channel *take_released(struct vmbus_server *server)
{
	struct vmbus_server_channel **link = &server->channels, *channel;

	while (*link && (!(*link)->leaving || (*link)->state != VMBUS_SERVER_CHANNEL_IDLE))
		link = &(*link)->next;
	channel = *link;
	if (!channel)
		return NULL;
	*link = channel->next;
	channel->next = NULL;
	channel->registered = false;
	server->channel_count--;
	server_gpadls_disown(server, channel);
	return channel;
}

void server_settle(struct vmbus_server *server)
{
	struct vmbus_server_channel *channel;
	bool idle = true;

	while ((channel = take_released(server)))
		server->ops->channel_released(server->port, channel);
	for (channel = server->channels; channel; channel = channel->next) {
		server_channel_start_queued(server, channel);
		if (channel->state != VMBUS_SERVER_CHANNEL_IDLE)
			idle = false;
	}
	if (server->state == VMBUS_SERVER_DISCONNECTING && idle)
		finish_disconnect(server);
}

static void handle_contact(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_initiate_contact *request = message->payload;
	const struct vmbus_msg_initiate_contact2 *request2 = message->payload;
	bool first_contact_port = message->connection_id == VMBUS_CONNECTION_MESSAGE_4;
	struct vmbus_server_contact contact = {
		.version = request->version,
		.monitor_pages_sane = (request->host_to_guest_monitor_gpa == 0) ==
				      (request->guest_to_host_monitor_gpa == 0),
	};
	bool sane = true;

	server->counters.contacts++;
	if (contact.version >= VMBUS_VERSION_WIN8_1 && request->target_vp < server->config.vp_count)
		contact.target_vp = request->target_vp;
	if (contact.version < VMBUS_VERSION_WIN8)
		contact.interrupt_page_gpa = request->interrupt_page_gpa;
	if (contact.version >= VMBUS_VERSION_COPPER)
		contact.features = request->features;
	if (contact.features & VMBUS_FEATURE_CLIENT_ID) {
		if (message->bytes >= sizeof(*request2))
			contact.client_id = request2->client_id;
		else
			sane = false;
	}
	if (first_contact_port && contact.version >= VMBUS_VERSION_WIN10_V5_1 &&
	    request->vtl != 0) {
		server_violation(server, "contact for another trust level ignored", request->vtl);
		return;
	}
	if (first_contact_port && contact.version >= VMBUS_VERSION_WIN10_V5 &&
	    request->sint != VMBUS_MESSAGE_SINT)
		sane = false;
	if (contact.version >= VMBUS_VERSION_WIN8_1 &&
	    request->target_vp >= server->config.vp_count)
		sane = false;
	if (!sane) {
		server_violation(server, "contact with impossible parameters refused",
				 contact.version);
		contact.version = 0; /* no version at all */
	}
	server->contact = contact;
	disconnect(server, VMBUS_SERVER_NEXT_CONNECT);
}

static void handle_unload(struct vmbus_server *server, const struct server_message *message)
{
	disconnect(server, VMBUS_SERVER_NEXT_UNLOAD);
}

void vmbus_server_reset(struct vmbus_server *server)
{
	disconnect(server, VMBUS_SERVER_NEXT_RESET);
	server_settle(server);
}

/* There are no Hyper-V sockets. Source: [openvmm channels.rs:send_tl_connect_result] the status. */
static void handle_tl_connect(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_tl_connect_request *request = message->payload;
	struct vmbus_msg_tl_connect_result result = {
		.header.type = VMBUS_MSG_TL_CONNECT_RESULT,
		.endpoint_id = request->endpoint_id,
		.service_id = request->service_id,
		.status = VMBUS_STATUS_CONNECTION_REFUSED,
	};

	if (server->connection.version >= VMBUS_VERSION_WIN10_V4_1)
		server_send(server, &result, sizeof(result));
}

/* Dispatch. */

struct handler {
	uint16_t bytes_min;
	bool connected_only;
	uint32_t version_min;
	void (*handle)(struct vmbus_server *server, const struct server_message *message);
};

static const struct handler handlers[VMBUS_MSG_TYPE_MAX + 1] = {
#define HANDLER(type, body, connected_only, version_min, function) \
	[VMBUS_MSG_##type] = { sizeof(struct body), connected_only, version_min, function }
	HANDLER(REQUEST_OFFERS, vmbus_message_header, true, 0, handle_request_offers),
	HANDLER(OPEN_CHANNEL, vmbus_msg_open_channel, true, 0, server_handle_open),
	HANDLER(CLOSE_CHANNEL, vmbus_msg_channel, true, 0, server_handle_close),
	HANDLER(GPADL_HEADER, vmbus_msg_gpadl_header, true, 0, server_handle_gpadl_header),
	HANDLER(GPADL_BODY, vmbus_msg_gpadl_body, true, 0, server_handle_gpadl_body),
	HANDLER(GPADL_TEARDOWN, vmbus_msg_gpadl_teardown, true, 0, server_handle_gpadl_teardown),
	HANDLER(RELID_RELEASED, vmbus_msg_channel, true, 0, server_handle_relid_released),
	HANDLER(INITIATE_CONTACT, vmbus_msg_initiate_contact, false, 0, handle_contact),
	HANDLER(UNLOAD, vmbus_message_header, false, 0, handle_unload),
	HANDLER(OPEN_RESERVED_CHANNEL, vmbus_msg_open_reserved_channel, true, VMBUS_VERSION_WIN10,
		server_handle_open_reserved),
	HANDLER(TL_CONNECT_REQUEST, vmbus_msg_tl_connect_request, true, VMBUS_VERSION_WIN10,
		handle_tl_connect),
	HANDLER(MODIFY_CHANNEL, vmbus_msg_modify_channel, true, VMBUS_VERSION_WIN10_V4_1,
		server_handle_modify),
#undef HANDLER
};

bool vmbus_server_listens(const struct vmbus_server *server, uint32_t connection_id)
{
	if (connection_id == VMBUS_CONNECTION_MESSAGE_4)
		return version_max(server) >= VMBUS_VERSION_WIN10_V5;
	return connection_id == VMBUS_CONNECTION_MESSAGE;
}

void vmbus_server_on_message(struct vmbus_server *server, uint32_t connection_id,
			     const void *payload, size_t payload_bytes)
{
	const struct vmbus_message_header *header = payload;
	struct server_message message = { payload, payload_bytes, connection_id };
	const struct handler *handler = NULL;

	server->counters.messages_in++;
	if (payload_bytes < sizeof(*header) || payload_bytes > VMBUS_MESSAGE_BYTES_MAX) {
		server_violation(server, "message of impossible length ignored",
				 (uint32_t)payload_bytes);
		return;
	}
	if (header->type <= VMBUS_MSG_TYPE_MAX)
		handler = &handlers[header->type];
	if (!handler || !handler->handle)
		server_violation(server, "message of a type that no guest sends ignored",
				 header->type);
	else if (payload_bytes < handler->bytes_min)
		server_violation(server, "message that is too short ignored", header->type);
	else if (!vmbus_server_listens(server, connection_id) ||
		 (connection_id == VMBUS_CONNECTION_MESSAGE_4 &&
		  header->type != VMBUS_MSG_INITIATE_CONTACT))
		server_violation(server, "message on a connection of another purpose ignored",
				 header->type);
	else if (header->type == VMBUS_MSG_RELID_RELEASED &&
		 server->state != VMBUS_SERVER_CONNECTED)
		; /* Linux frees its channels after UNLOAD: nothing is left to release */
	else if (handler->connected_only && server->state != VMBUS_SERVER_CONNECTED)
		server_violation(server, "message without a connection ignored", header->type);
	else if (server->connection.version < handler->version_min)
		server_violation(server, "message of a newer version than agreed on ignored",
				 header->type);
	else
		handler->handle(server, &message);
	server_settle(server);
}

void vmbus_server_init(struct vmbus_server *server, const struct vmbus_server_config *config,
		       const struct vmbus_server_ops *ops, void *port)
{
	__builtin_memset(server, 0, sizeof(*server)); /* in place: too large for a temporary */
	server->ops = ops;
	server->port = port;
	server->config = *config;
	server->version_capped = !config->version_max_delayed;
}

void vmbus_server_fini(struct vmbus_server *server)
{
	server_gpadls_free_all(server);
}

static const char *check_channel(const struct vmbus_server *server,
				 const struct vmbus_server_channel *channel)
{
	bool connected = server->state == VMBUS_SERVER_CONNECTED;

	if (!channel->registered)
		return "a channel on the list is not registered";
	if (channel->next && offer_compare(&channel->offer, &channel->next->offer) >= 0)
		return "channels are out of order";
	if (channel->id != 0 && (!connected || server->ids[channel->id].channel != channel))
		return "a channel has an id that is not its own";
	if (channel->id == 0 && (channel->guest_open || channel->open_queued))
		return "a channel without an id is open for the guest";
	if (channel->leaving && (channel->id != 0 || channel->state == VMBUS_SERVER_CHANNEL_IDLE))
		return "a channel that is leaving is still here";
	if (channel->state == VMBUS_SERVER_CHANNEL_OPEN && !channel->guest_open)
		return "a channel is open for the device only";
	if (channel->state == VMBUS_SERVER_CHANNEL_IDLE && !connected &&
	    channel->offer.sub_channel_index != 0)
		return "a sub-channel outlived its connection";
	if (channel->offer.sub_channel_index != 0 && channel->id != 0 &&
	    !primary_is_open(server, channel))
		return "a sub-channel is there without its primary channel";
	if (channel->abandoned && channel->state != VMBUS_SERVER_CHANNEL_OPENING)
		return "a channel is abandoned that is not opening";
	return NULL;
}

const char *vmbus_server_check(const struct vmbus_server *server)
{
	const struct vmbus_server_channel *channel;
	uint32_t count = 0, ids = 0, dead = 0;
	const char *wrong;

	for (channel = server->channels; channel; channel = channel->next) {
		wrong = check_channel(server, channel);
		if (wrong)
			return wrong;
		count++;
		ids += channel->id != 0;
	}
	if (count != server->channel_count)
		return "channels are counted wrong";
	for (uint32_t i = 0; i <= VMBUS_CHANNEL_ID_MAX; i++) {
		ids -= server->ids[i].channel != NULL;
		dead += server->ids[i].dead;
		if (server->ids[i].channel &&
		    (server->ids[i].dead || server->ids[i].channel->id != i))
			return "an id is of two minds";
	}
	if (ids != 0 || dead != server->dead_id_count)
		return "ids are counted wrong";
	if (server->state == VMBUS_SERVER_DISCONNECTED && (server->gpadl_count != 0 || dead != 0))
		return "something outlived the connection";
	return server_gpadls_check(server);
}
