// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of the bus: connection, what waits to be sent, and dispatch; see client.h.
 *
 * Invariants: an item is in the queue exactly if it says so; @queue_end is where the next is hung.
 * The queue holds items of this client, of channels in its table and of GPADLs in its list only, so
 * it is bounded by what the port created. While idle it is empty. The caller serializes.
 */
#include "vmbus/client_private.h"

bool client_to_be_logged(uint64_t count)
{
	return count <= 16 || !(count & (count - 1));
}

void client_violation(struct vmbus_client *client, const char *what, uint32_t number)
{
	uint64_t count = ++client->counters.violations;

	if (client_to_be_logged(count))
		os_log(OS_LOG_WARNING, "vmbus: host: %s (%u), violation %llu", what, number,
		       (unsigned long long)count);
}

void client_queue(struct vmbus_client *client, struct vmbus_client_item *item,
		  enum client_item_kind kind)
{
	if (item->queued)
		return;
	*item = (struct vmbus_client_item){ .kind = kind, .queued = true };
	*client->queue_end = item;
	client->queue_end = &item->next;
}

void client_unqueue(struct vmbus_client *client, struct vmbus_client_item *item)
{
	struct vmbus_client_item **at = &client->queue;

	if (!item->queued)
		return;
	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
	if (client->queue_end == &item->next)
		client->queue_end = at;
	item->queued = false;
}

static void empty_queue(struct vmbus_client *client)
{
	while (client->queue)
		client_unqueue(client, client->queue);
}

int client_post(struct vmbus_client *client, const void *message, size_t bytes)
{
	int error = client->ops->post_message(client->port, client->connection_id, message, bytes);

	if (error == -LIS_FULL || error == -LIS_AGAIN) {
		client->counters.retries++;
		return -LIS_AGAIN;
	}
	if (!error)
		client->counters.messages_out++;
	else if (error != -LIS_NOTFOUND || client->state != VMBUS_CLIENT_CONTACTING)
		os_log(OS_LOG_ERROR, "vmbus: message %u to the host is lost, error %d",
		       ((const struct vmbus_message_header *)message)->type, error);
	return error;
}

/* Versions */

static const uint32_t versions[] = {
#define VERSION_ENTRY(version) version,
	VMBUS_VERSIONS(VERSION_ENTRY)
#undef VERSION_ENTRY
};

#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

/* The newest version below @limit that the port wants, 0 if there is none. */
static uint32_t next_version(const struct vmbus_client_config *config, uint32_t limit)
{
	for (size_t i = 0; i < VERSION_COUNT; i++)
		if (versions[i] < limit && versions[i] >= config->version_min &&
		    (!config->version_max || versions[i] <= config->version_max))
			return versions[i];
	return 0;
}

static void ask_for_version(struct vmbus_client *client, uint32_t version)
{
	client->version = version;
	client->connection_id = version >= VMBUS_VERSION_WIN10_V5 ? VMBUS_CONNECTION_MESSAGE_4 :
								    VMBUS_CONNECTION_MESSAGE;
	client_queue(client, &client->contact, CLIENT_CONTACT);
}

/* The version asked for will not be: go on below @limit, or give up with @error. */
static void ask_for_older_version(struct vmbus_client *client, uint32_t limit, int error)
{
	uint32_t version = next_version(&client->config, limit);

	if (version) {
		ask_for_version(client, version);
		return;
	}
	client->state = VMBUS_CLIENT_IDLE;
	client->version = 0;
	client->ops->connected(client->port, error);
}

static int send_contact(struct vmbus_client *client)
{
	const struct vmbus_client_config *config = &client->config;
	struct vmbus_msg_initiate_contact2 message = {
		.contact = {
			.header.type = VMBUS_MSG_INITIATE_CONTACT,
			.version = client->version,
			.target_vp = config->target_vp,
			.host_to_guest_monitor_gpa = config->host_to_guest_monitor_gpa,
			.guest_to_host_monitor_gpa = config->guest_to_host_monitor_gpa,
		},
	};
	size_t bytes = sizeof(message.contact);
	int error;

	if (client->version >= VMBUS_VERSION_WIN10_V5)
		message.contact.sint = VMBUS_MESSAGE_SINT;
	else
		message.contact.interrupt_page_gpa = config->interrupt_page_gpa;
	if (client->version >= VMBUS_VERSION_COPPER) {
		message.contact.features = config->features;
		if (config->features & VMBUS_FEATURE_CLIENT_ID) {
			message.client_id = config->client_id;
			bytes = sizeof(message);
		}
	}
	error = client_post(client, &message, bytes);
	if (!error || error == -LIS_AGAIN)
		return error;
	/* Hosts before 5.0 do not have connection 4 at all. */
	if (error == -LIS_NOTFOUND && client->connection_id == VMBUS_CONNECTION_MESSAGE_4)
		ask_for_older_version(client, VMBUS_VERSION_WIN10_V5, error);
	else
		ask_for_older_version(client, 0, error);
	return 0;
}

static void handle_version(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_msg_version_response2 message = { 0 };

	if (client->state != VMBUS_CLIENT_CONTACTING || client->contact.queued) {
		client_violation(client, "version response that nobody asked for", 0);
		return;
	}
	memcpy(&message, payload, bytes < sizeof(message) ? bytes : sizeof(message));
	if (!message.response.supported ||
	    message.response.connection_state != VMBUS_CONNECTION_SUCCESSFUL) {
		ask_for_older_version(client, client->version, -LIS_REFUSED);
		return;
	}
	client->state = VMBUS_CLIENT_CONNECTED;
	client->features = 0;
	if (client->version >= VMBUS_VERSION_WIN10_V5)
		client->connection_id = message.response.version_or_connection_id;
	if (client->version >= VMBUS_VERSION_COPPER)
		client->features = message.features & client->config.features;
	client->ops->connected(client->port, 0);
}

/* Requests about the connection */

static int send_request_offers(struct vmbus_client *client)
{
	struct vmbus_message_header message = { .type = VMBUS_MSG_REQUEST_OFFERS };

	return client_post(client, &message, sizeof(message)) == -LIS_AGAIN ? -LIS_AGAIN : 0;
}

static void finish_unload(struct vmbus_client *client)
{
	empty_queue(client);
	client_forget_channels(client);
	client->gpadls = NULL;
	client->state = VMBUS_CLIENT_IDLE;
	client->version = 0;
	client->features = 0;
	client->offers_requested = false;
	client->offers_delivered = false;
	memset(client->release_bits, 0, sizeof(client->release_bits));
	client->ops->unloaded(client->port);
}

static int send_unload(struct vmbus_client *client)
{
	struct vmbus_message_header message = { .type = VMBUS_MSG_UNLOAD };
	int error = client_post(client, &message, sizeof(message));

	if (error && error != -LIS_AGAIN) {
		finish_unload(client); /* nobody is there to answer */
		return 0;
	}
	return error;
}

static void handle_unloaded(struct vmbus_client *client, const void *payload, size_t bytes)
{
	if (client->state != VMBUS_CLIENT_UNLOADING || client->unload.queued) {
		client_violation(client, "unload response that nobody asked for", 0);
		return;
	}
	finish_unload(client);
}

static int send_item(struct vmbus_client *client, struct vmbus_client_item *item)
{
	switch ((enum client_item_kind)item->kind) {
	case CLIENT_CONTACT:
		return send_contact(client);
	case CLIENT_REQUEST_OFFERS:
		return send_request_offers(client);
	case CLIENT_RELEASES:
		return client_send_releases(client);
	case CLIENT_UNLOAD:
		return send_unload(client);
	case CLIENT_OPEN:
		return client_send_open(
			client, client_container(item, struct vmbus_client_channel, open_item));
	case CLIENT_CLOSE:
		return client_send_close(
			client, client_container(item, struct vmbus_client_channel, close_item));
	case CLIENT_MODIFY:
		return client_send_modify(
			client, client_container(item, struct vmbus_client_channel, modify_item));
	case CLIENT_GPADL_CREATE:
		return client_send_gpadl(
			client, client_container(item, struct vmbus_client_gpadl, create));
	case CLIENT_GPADL_TEARDOWN:
		return client_send_gpadl_teardown(
			client, client_container(item, struct vmbus_client_gpadl, teardown));
	}
	return 0;
}

void client_pump(struct vmbus_client *client)
{
	struct vmbus_client_item *item;

	while ((item = client->queue)) {
		/*
		 * Off the queue first: what fails to be sent may give the item's storage back, or
		 * queue it anew.
		 */
		client_unqueue(client, item);
		if (send_item(client, item) == -LIS_AGAIN) {
			if (!client->queue)
				client->queue_end = &item->next;
			item->next = client->queue;
			item->queued = true;
			client->queue = item;
			client->ops->retry_later(client->port);
			return;
		}
	}
}

void vmbus_client_retry(struct vmbus_client *client)
{
	client_pump(client);
}

void vmbus_client_init(struct vmbus_client *client, const struct vmbus_client_ops *ops, void *port)
{
	memset(client, 0, sizeof(*client));
	client->ops = ops;
	client->port = port;
	client->queue_end = &client->queue;
}

int vmbus_client_connect(struct vmbus_client *client, const struct vmbus_client_config *config)
{
	struct vmbus_client_config wanted = *config;
	uint32_t version;

	if (client->state != VMBUS_CLIENT_IDLE)
		return -LIS_BUSY;
	if (wanted.isolated && wanted.version_min < VMBUS_CLIENT_ISOLATED_VERSION_MIN)
		wanted.version_min = VMBUS_CLIENT_ISOLATED_VERSION_MIN;
	version = next_version(&wanted, UINT32_MAX);
	if (!version || (wanted.features & ~VMBUS_CLIENT_FEATURES) ||
	    !wanted.host_to_guest_monitor_gpa != !wanted.guest_to_host_monitor_gpa)
		return -LIS_INVALID;
	client->config = wanted;
	client->state = VMBUS_CLIENT_CONTACTING;
	ask_for_version(client, version);
	client_pump(client);
	return 0;
}

int vmbus_client_request_offers(struct vmbus_client *client)
{
	if (client->state != VMBUS_CLIENT_CONNECTED)
		return -LIS_GONE;
	if (client->offers_requested)
		return -LIS_BUSY;
	client->offers_requested = true;
	client_queue(client, &client->request_offers, CLIENT_REQUEST_OFFERS);
	client_pump(client);
	return 0;
}

void vmbus_client_unload(struct vmbus_client *client)
{
	if (client->state == VMBUS_CLIENT_UNLOADING)
		return;
	empty_queue(client);
	if (client->state != VMBUS_CLIENT_CONNECTED || client->version < VMBUS_VERSION_WIN8_1) {
		finish_unload(client);
		return;
	}
	client->state = VMBUS_CLIENT_UNLOADING;
	client_queue(client, &client->unload, CLIENT_UNLOAD);
	client_pump(client);
}

/* Dispatch */

struct handler {
	uint16_t bytes_min;
	bool connected; /* makes sense to a connected client only */
	void (*handle)(struct vmbus_client *client, const void *payload, size_t bytes);
};

/* Before 1.1 an offer ended before is_dedicated. */
#define OFFER_BYTES_MIN offsetof(struct vmbus_msg_offer_channel, is_dedicated)

#define HANDLER(type, bytes, connected, handle) [VMBUS_MSG_##type] = { bytes, connected, handle }

static const struct handler handlers[VMBUS_MSG_TYPE_MAX + 1] = {
	HANDLER(OFFER_CHANNEL, OFFER_BYTES_MIN, true, client_handle_offer),
	HANDLER(RESCIND_OFFER, sizeof(struct vmbus_msg_channel), true, client_handle_rescind),
	HANDLER(ALL_OFFERS_DELIVERED, sizeof(struct vmbus_message_header), true,
		client_handle_delivered),
	HANDLER(OPEN_RESULT, sizeof(struct vmbus_msg_open_result), true, client_handle_open_result),
	HANDLER(GPADL_CREATED, sizeof(struct vmbus_msg_gpadl_created), true,
		client_handle_gpadl_created),
	HANDLER(GPADL_TORNDOWN, sizeof(struct vmbus_msg_gpadl_torndown), true,
		client_handle_gpadl_torndown),
	HANDLER(VERSION_RESPONSE, sizeof(struct vmbus_msg_version_response), false, handle_version),
	HANDLER(UNLOAD_COMPLETE, sizeof(struct vmbus_message_header), false, handle_unloaded),
	HANDLER(MODIFY_CHANNEL_RESPONSE, sizeof(struct vmbus_msg_modify_channel_response), true,
		client_handle_modify_response),
};

void vmbus_client_on_message(struct vmbus_client *client, const void *payload, size_t payload_bytes)
{
	struct vmbus_message_header header;
	const struct handler *handler;

	client->counters.messages_in++;
	if (payload_bytes < sizeof(header) || payload_bytes > VMBUS_MESSAGE_BYTES_MAX) {
		client_violation(client, "message of impossible length", (uint32_t)payload_bytes);
		return;
	}
	memcpy(&header, payload, sizeof(header));
	if (header.type > VMBUS_MSG_TYPE_MAX || !handlers[header.type].handle) {
		client_violation(client, "message of a type that is none of ours", header.type);
		return;
	}
	handler = &handlers[header.type];
	if (payload_bytes < handler->bytes_min) {
		client_violation(client, "message too short for its type", header.type);
		return;
	}
	/*
	 * No fault: the host may not know yet that this guest is unloading, or was never told that
	 * an earlier one is gone.
	 */
	if (handler->connected && client->state != VMBUS_CLIENT_CONNECTED)
		return;
	handler->handle(client, payload, payload_bytes);
	client_pump(client);
}

const char *vmbus_client_check(const struct vmbus_client *client)
{
	struct vmbus_client_item *const *end = &client->queue;

	for (const struct vmbus_client_item *item = client->queue; item; item = item->next) {
		if (!item->queued)
			return "an item in the queue does not know it";
		end = &item->next;
	}
	if (end != client->queue_end)
		return "the end of the queue is elsewhere";
	if (client->state == VMBUS_CLIENT_IDLE && (client->queue || client->gpadls))
		return "something is left of an earlier connection";
	for (uint32_t id = 0; id <= VMBUS_CHANNEL_ID_MAX; id++) {
		const struct vmbus_client_channel *channel = client->channels[id];

		if (!channel)
			continue;
		if (client->state == VMBUS_CLIENT_IDLE || channel->offer.channel_id != id)
			return "a channel stands where it should not";
		if (channel->primary &&
		    client->channels[channel->primary->offer.channel_id] != channel->primary)
			return "a sub-channel has lost its primary channel";
	}
	for (const struct vmbus_client_gpadl *gpadl = client->gpadls; gpadl; gpadl = gpadl->next)
		if (client->channels[gpadl->channel->offer.channel_id] != gpadl->channel)
			return "a GPADL has lost its channel";
	return NULL;
}
