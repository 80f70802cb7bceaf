// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Channels of the client: offers, open, close, modify, rescind, release.
 *
 * A channel stands in the table under its id from its offer until it is released; a rescinded one
 * keeps its place, so that the id is not taken for another before the host may use it again.
 */
#include "vmbus/client_private.h"
#include "vmbus/interfaces.h"

struct vmbus_client_channel *vmbus_client_channel(const struct vmbus_client *client,
						  uint32_t channel_id)
{
	return channel_id <= VMBUS_CHANNEL_ID_MAX ? client->channels[channel_id] : NULL;
}

bool vmbus_client_is_same_channel(const struct vmbus_client_offer *one,
				  const struct vmbus_client_offer *other)
{
	return !guid_compare(&one->instance_id, &other->instance_id) &&
	       !guid_compare(&one->interface_id, &other->interface_id) &&
	       one->sub_channel_index == other->sub_channel_index;
}

/* Give an id back that no channel of ours has (any more). */
static void release_id(struct vmbus_client *client, uint32_t channel_id)
{
	client->release_bits[channel_id / 64] |= (uint64_t)1 << channel_id % 64;
	client_queue(client, &client->releases, CLIENT_RELEASES);
}

int client_send_releases(struct vmbus_client *client)
{
	for (uint32_t word = 0; word < VMBUS_CLIENT_ID_WORDS; word++) {
		while (client->release_bits[word]) {
			uint32_t bit = (uint32_t)__builtin_ctzll(client->release_bits[word]);
			const struct vmbus_msg_channel message = {
				.header.type = VMBUS_MSG_RELID_RELEASED,
				.channel_id = word * 64 + bit,
			};

			if (client_post(client, &message, sizeof(message)) == -LIS_AGAIN)
				return -LIS_AGAIN;
			client->release_bits[word] &= client->release_bits[word] - 1;
		}
	}
	return 0;
}

static bool id_is_being_released(const struct vmbus_client *client, uint32_t channel_id)
{
	return client->release_bits[channel_id / 64] >> channel_id % 64 & 1;
}

/* Offers */

/* The live primary channel of a device, or NULL. */
static struct vmbus_client_channel *find_primary(const struct vmbus_client *client,
						 const struct vmbus_client_offer *offer)
{
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++) {
		struct vmbus_client_channel *channel = client->channels[id];

		if (channel && !channel->primary && !channel->rescinded &&
		    !guid_compare(&channel->offer.instance_id, &offer->instance_id) &&
		    !guid_compare(&channel->offer.interface_id, &offer->interface_id))
			return channel;
	}
	return NULL;
}

static bool has_sub_channel(const struct vmbus_client *client,
			    const struct vmbus_client_channel *primary, uint16_t index)
{
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++) {
		const struct vmbus_client_channel *channel = client->channels[id];

		if (channel && channel->primary == primary && !channel->rescinded &&
		    channel->offer.sub_channel_index == index)
			return true;
	}
	return false;
}

static void read_offer(const struct vmbus_client *client,
		       const struct vmbus_msg_offer_channel *wire,
		       struct vmbus_client_offer *offer)
{
	*offer = (struct vmbus_client_offer){
		.interface_id = wire->interface_id,
		.instance_id = wire->instance_id,
		.flags = wire->flags,
		.mmio_megabytes = wire->mmio_megabytes,
		.mmio_megabytes_optional = wire->mmio_megabytes_optional,
		.sub_channel_index = wire->sub_channel_index,
		.channel_id = (uint16_t)wire->channel_id,
		.monitor_id = VMBUS_MONITOR_NONE,
		.connection_id = VMBUS_CONNECTION_EVENT,
	};
	memcpy(offer->user_data, wire->user_data, sizeof(offer->user_data));
	/* The port takes it for an index into the monitor pages. */
	if ((wire->monitor_allocated & 1) && wire->monitor_id < VMBUS_MONITOR_IDS)
		offer->monitor_id = wire->monitor_id;
	/* Undefined before 1.1. */
	if (client->version >= VMBUS_VERSION_WIN7) {
		offer->dedicated_signal = wire->is_dedicated & 1;
		offer->connection_id = wire->connection_id;
	}
}

/*
 * Rings or data in memory that not even the hypervisor sees: only on a connection of that kind,
 * which we never ask for, so that whoever offers it deceives somebody about where his data goes.
 */
static bool offer_is_confidential(struct vmbus_client *client,
				  const struct vmbus_client_offer *offer)
{
	bool ring = offer->flags & VMBUS_OFFER_CONFIDENTIAL_RING;
	bool memory = offer->flags & VMBUS_OFFER_CONFIDENTIAL_MEMORY;

	if (memory && !ring)
		client_violation(client, "offer of confidential memory without a confidential ring",
				 offer->channel_id);
	else if (ring)
		client_violation(client, "confidential channel offered on a connection that is not",
				 offer->channel_id);
	return ring || memory;
}

/* How a log names a device; NULL where we do not know it. */
static const char *interface_name(const struct guid *interface_id, bool *out_safe)
{
	static const struct {
		struct guid id;
		const char *name;
		bool safe;
	} interfaces[] = {
#define INTERFACE_ENTRY(id, name, safe) { id, name, safe },
		VMBUS_INTERFACES(INTERFACE_ENTRY)
#undef INTERFACE_ENTRY
	};

	for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++) {
		if (!guid_compare(&interfaces[i].id, interface_id)) {
			*out_safe = interfaces[i].safe;
			return interfaces[i].name;
		}
	}
	*out_safe = false;
	return NULL;
}

/* No fault of the host's: it offers the same to every guest. */
static bool isolated_guest_declines(struct vmbus_client *client,
				    const struct vmbus_client_offer *offer)
{
	char id[GUID_TEXT_BYTES];
	const char *name;
	bool safe;

	if (!client->config.isolated || (offer->flags & VMBUS_OFFER_TLNPI_PROVIDER))
		return false;
	name = interface_name(&offer->interface_id, &safe);
	if (safe)
		return false;
	if (client_to_be_logged(++client->counters.declined)) {
		guid_format(&offer->interface_id, id);
		os_log(OS_LOG_INFO, "vmbus: declined %s %s: it is not for an isolated guest",
		       name ? name : "unknown device", id);
	}
	return true;
}

/* Is there a place for what is offered? Sets the primary channel of a sub-channel. */
static bool offer_makes_sense(struct vmbus_client *client, const struct vmbus_client_offer *offer,
			      struct vmbus_client_channel **out_primary)
{
	struct vmbus_client_channel *primary = find_primary(client, offer);

	*out_primary = NULL;
	if (!offer->sub_channel_index) {
		if (primary)
			client_violation(client, "device offered twice", offer->channel_id);
		return !primary;
	}
	if (!primary) {
		client_violation(client, "sub-channel offered without its primary channel",
				 offer->channel_id);
		return false;
	}
	if (has_sub_channel(client, primary, offer->sub_channel_index)) {
		client_violation(client, "sub-channel offered twice", offer->channel_id);
		return false;
	}
	*out_primary = primary;
	return true;
}

void client_handle_offer(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_msg_offer_channel wire = { 0 };
	struct vmbus_client_channel *channel = NULL, *primary;
	struct vmbus_client_offer offer;

	memcpy(&wire, payload, bytes < sizeof(wire) ? bytes : sizeof(wire));
	if (client->version >= VMBUS_VERSION_WIN7 && bytes < sizeof(wire)) {
		client_violation(client, "offer too short", (uint32_t)bytes);
		return;
	}
	if (!client->offers_requested || client->request_offers.queued) {
		client_violation(client, "offer that nobody asked for", wire.channel_id);
		return;
	}
	if (!wire.channel_id || wire.channel_id > VMBUS_CHANNEL_ID_MAX ||
	    client->channels[wire.channel_id] || id_is_being_released(client, wire.channel_id)) {
		client_violation(client, "offer with an id impossible or in use", wire.channel_id);
		return;
	}
	read_offer(client, &wire, &offer);
	if (!offer_is_confidential(client, &offer) && !isolated_guest_declines(client, &offer) &&
	    offer_makes_sense(client, &offer, &primary))
		channel = client->ops->channel_alloc(client->port, &offer);
	if (!channel) {
		release_id(client, offer.channel_id);
		return;
	}
	*channel = (struct vmbus_client_channel){ .offer = offer, .primary = primary };
	client->channels[offer.channel_id] = channel;
	if (primary)
		primary->sub_channel_count++;
	client->ops->offered(client->port, channel);
}

void client_handle_delivered(struct vmbus_client *client, const void *payload, size_t bytes)
{
	if (!client->offers_requested || client->request_offers.queued ||
	    client->offers_delivered) {
		client_violation(client, "end of offers that nobody asked for", 0);
		return;
	}
	client->offers_delivered = true;
	client->ops->offers_delivered(client->port);
}

/* Rescind and release */

/* The channel is being closed, or gone. Whether a host still answers then is its own affair. */
static void end_modify(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	if (!channel->modifying)
		return;
	channel->late_modify = !channel->modify_item.queued;
	client_unqueue(client, &channel->modify_item);
	channel->modifying = false;
	client->ops->modified(client->port, channel, -LIS_GONE);
}

void client_handle_rescind(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_client_channel *channel;
	struct vmbus_msg_channel message;

	memcpy(&message, payload, sizeof(message));
	channel = vmbus_client_channel(client, message.channel_id);
	if (!channel || channel->rescinded) {
		/* What we did without is rescinded too, while its release is under way. */
		if (message.channel_id > VMBUS_CHANNEL_ID_MAX || channel)
			client_violation(client, "rescind of no channel of ours",
					 message.channel_id);
		return;
	}
	channel->rescinded = true;
	client_unqueue(client, &channel->open_item);
	if (channel->state == VMBUS_CLIENT_CHANNEL_OPENING) {
		channel->state = VMBUS_CLIENT_CHANNEL_CLOSED;
		client->ops->opened(client->port, channel, -LIS_GONE);
	}
	end_modify(client, channel);
	client->ops->rescinded(client->port, channel);
}

static void remove_channel(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	client->channels[channel->offer.channel_id] = NULL;
	if (channel->primary)
		channel->primary->sub_channel_count--;
}

int vmbus_client_release(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	if (!channel->rescinded)
		return -LIS_INVALID;
	if (channel->state != VMBUS_CLIENT_CHANNEL_CLOSED || channel->close_item.queued ||
	    channel->sub_channel_count || client_channel_has_gpadls(client, channel))
		return -LIS_BUSY;
	remove_channel(client, channel);
	release_id(client, channel->offer.channel_id);
	client_pump(client);
	return 0;
}

void client_forget_channels(struct vmbus_client *client)
{
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++) {
		struct vmbus_client_channel *channel = client->channels[id];

		client->channels[id] = NULL;
		if (channel)
			client->ops->channel_forgotten(client->port, channel);
	}
}

/* Open, close, modify */

int vmbus_client_open(struct vmbus_client *client, struct vmbus_client_channel *channel,
		      const struct vmbus_client_open *open)
{
	if (client->state != VMBUS_CLIENT_CONNECTED || channel->rescinded)
		return -LIS_GONE;
	if (channel->state != VMBUS_CLIENT_CHANNEL_CLOSED)
		return -LIS_BUSY;
	channel->state = VMBUS_CLIENT_CHANNEL_OPENING;
	channel->open = *open;
	channel->open_id = ++client->last_open_id;
	client_queue(client, &channel->open_item, CLIENT_OPEN);
	client_pump(client);
	return 0;
}

int client_send_open(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	struct vmbus_msg_open_channel2 message = {
		.open = {
			.header.type = VMBUS_MSG_OPEN_CHANNEL,
			.channel_id = channel->offer.channel_id,
			.open_id = channel->open_id,
			.ring_gpadl_id = channel->open.ring_gpadl_id,
			.target_vp = channel->open.target_vp,
			.host_to_guest_page_offset = channel->open.host_to_guest_page_offset,
		},
		.connection_id = channel->offer.connection_id,
		.event_flag = channel->offer.channel_id,
	};
	bool long_form = client->features & VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS;
	int error;

	memcpy(message.open.user_data, channel->open.user_data, sizeof(message.open.user_data));
	error = client_post(client, &message, long_form ? sizeof(message) : sizeof(message.open));
	if (error && error != -LIS_AGAIN) {
		channel->state = VMBUS_CLIENT_CHANNEL_CLOSED;
		client->ops->opened(client->port, channel, -LIS_IO);
		return 0;
	}
	return error;
}

void client_handle_open_result(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_msg_open_result message;
	struct vmbus_client_channel *channel;

	memcpy(&message, payload, sizeof(message));
	channel = vmbus_client_channel(client, message.channel_id);
	if (channel && channel->rescinded)
		return; /* both were on their way; the port has its answer */
	if (!channel || channel->state != VMBUS_CLIENT_CHANNEL_OPENING ||
	    channel->open_item.queued || channel->open_id != message.open_id) {
		client_violation(client, "result of an open that nobody asked for",
				 message.channel_id);
		return;
	}
	channel->late_modify = false; /* it would have come before this */
	channel->status = message.status;
	channel->state = message.status ? VMBUS_CLIENT_CHANNEL_CLOSED : VMBUS_CLIENT_CHANNEL_OPEN;
	client->ops->opened(client->port, channel, message.status ? -LIS_REFUSED : 0);
}

int vmbus_client_close(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	if (client->state != VMBUS_CLIENT_CONNECTED)
		return -LIS_GONE;
	if (channel->state != VMBUS_CLIENT_CHANNEL_OPEN)
		return channel->state == VMBUS_CLIENT_CHANNEL_OPENING ? -LIS_BUSY : -LIS_INVALID;
	channel->state = VMBUS_CLIENT_CHANNEL_CLOSED;
	end_modify(client, channel);
	client_queue(client, &channel->close_item, CLIENT_CLOSE);
	client_pump(client);
	return 0;
}

int client_send_close(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	const struct vmbus_msg_channel message = {
		.header.type = VMBUS_MSG_CLOSE_CHANNEL,
		.channel_id = channel->offer.channel_id,
	};

	return client_post(client, &message, sizeof(message)) == -LIS_AGAIN ? -LIS_AGAIN : 0;
}

int vmbus_client_modify(struct vmbus_client *client, struct vmbus_client_channel *channel,
			uint32_t target_vp)
{
	if (client->state != VMBUS_CLIENT_CONNECTED || channel->rescinded)
		return -LIS_GONE;
	if (client->version < VMBUS_VERSION_WIN10_V4_1)
		return -LIS_UNSUPPORTED;
	if (channel->state != VMBUS_CLIENT_CHANNEL_OPEN || target_vp == VMBUS_VP_NONE)
		return -LIS_INVALID;
	if (channel->modifying)
		return -LIS_BUSY;
	channel->modifying = true;
	channel->modify_vp = target_vp;
	client_queue(client, &channel->modify_item, CLIENT_MODIFY);
	client_pump(client);
	return 0;
}

int client_send_modify(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	const struct vmbus_msg_modify_channel message = {
		.header.type = VMBUS_MSG_MODIFY_CHANNEL,
		.channel_id = channel->offer.channel_id,
		.target_vp = channel->modify_vp,
	};
	int error = client_post(client, &message, sizeof(message));

	if (error == -LIS_AGAIN)
		return error;
	if (error || client->version < VMBUS_VERSION_IRON) {
		channel->modifying = false;
		client->ops->modified(client->port, channel, error ? -LIS_IO : 0);
	}
	return 0;
}

void client_handle_modify_response(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_msg_modify_channel_response message;
	struct vmbus_client_channel *channel;

	memcpy(&message, payload, sizeof(message));
	channel = vmbus_client_channel(client, message.channel_id);
	if (channel && channel->rescinded)
		return; /* both were on their way */
	if (channel && channel->late_modify) {
		channel->late_modify = false;
		return;
	}
	if (!channel || !channel->modifying || channel->modify_item.queued) {
		client_violation(client, "answer to a modification that nobody asked for",
				 message.channel_id);
		return;
	}
	channel->modifying = false;
	channel->status = message.status;
	client->ops->modified(client->port, channel, message.status ? -LIS_REFUSED : 0);
}

void vmbus_client_signal(struct vmbus_client *client, struct vmbus_client_channel *channel)
{
	if (!channel->offer.dedicated_signal)
		client->ops->set_interrupt_page_bit(client->port, channel->offer.channel_id);
	client->ops->signal(client->port, channel->offer.connection_id);
}
