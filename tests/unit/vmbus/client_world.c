// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/unit/vmbus/client_world.h"

/* The client's log would drown the test's. */
void os_log(enum os_log_level level, const char *format, ...)
{
}

static int post_message(void *argument, uint32_t connection_id, const void *payload, size_t bytes)
{
	struct port *port = argument;
	struct posted *posted;

	if (port->post_error && !port->posts_until_error)
		return port->post_error;
	if (port->post_error)
		port->posts_until_error--;
	assert_in_range(bytes, 8, VMBUS_MESSAGE_BYTES_MAX);
	assert_true(port->posted_count < PORT_POSTED_MAX);
	posted = &port->posted[port->posted_count++];
	posted->connection_id = connection_id;
	posted->bytes = bytes;
	memcpy(posted->payload, payload, bytes);
	posted->type = ((const struct vmbus_message_header *)payload)->type;
	return 0;
}

static void signal_host(void *argument, uint32_t connection_id)
{
	((struct port *)argument)->signalled_connection = connection_id;
}

static void set_interrupt_page_bit(void *argument, uint32_t channel_id)
{
	((struct port *)argument)->interrupt_bit = channel_id;
}

static void retry_later(void *argument)
{
	((struct port *)argument)->retries_asked++;
}

static void connected(void *argument, int error)
{
	struct port *port = argument;

	port->connects++;
	port->connected = error;
}

static void unloaded(void *argument)
{
	((struct port *)argument)->unloads++;
}

static struct vmbus_client_channel *channel_alloc(void *argument,
						  const struct vmbus_client_offer *offer)
{
	struct port *port = argument;
	struct vmbus_client_channel *channel;

	assert_in_range(offer->channel_id, 1, VMBUS_CHANNEL_ID_MAX);
	if (port->refuse_offers)
		return NULL;
	port->live_channels++;
	if (port->kept && vmbus_client_is_same_channel(&port->kept->offer, offer)) {
		channel = port->kept;
		port->kept = NULL;
		return channel;
	}
	channel = malloc(sizeof(*channel));
	memset(channel, 0xee, sizeof(*channel)); /* "any contents" */
	return channel;
}

static void channel_forgotten(void *argument, struct vmbus_client_channel *channel)
{
	struct port *port = argument;

	port->forgotten++;
	port->live_channels--;
	if (port->keep_forgotten && !port->kept)
		port->kept = channel;
	else
		free(channel);
}

static void offered(void *argument, struct vmbus_client_channel *channel)
{
	struct port *port = argument;

	port->offers++;
	port->last_offered = channel;
}

static void offers_delivered(void *argument)
{
	((struct port *)argument)->deliveries++;
}

static void rescinded(void *argument, struct vmbus_client_channel *channel)
{
	struct port *port = argument;

	assert_true(channel->rescinded);
	assert_true(channel->state != VMBUS_CLIENT_CHANNEL_OPENING);
	port->rescinds++;
	port->last_rescinded = channel;
}

static void opened(void *argument, struct vmbus_client_channel *channel, int error)
{
	struct port *port = argument;

	assert_int_equal(channel->state, error ? VMBUS_CLIENT_CHANNEL_CLOSED :
						 VMBUS_CLIENT_CHANNEL_OPEN);
	port->opened = error;
	port->last_opened = channel;
}

static void modified(void *argument, struct vmbus_client_channel *channel, int error)
{
	((struct port *)argument)->modified = error;
}

static void gpadl_created(void *argument, struct vmbus_client_gpadl *gpadl, int error)
{
	((struct port *)argument)->gpadl_created = error;
}

static void gpadl_torn_down(void *argument, struct vmbus_client_gpadl *gpadl, int error)
{
	((struct port *)argument)->gpadl_torn_down = error;
}

static const struct vmbus_client_ops ops = {
	.post_message = post_message,
	.signal = signal_host,
	.set_interrupt_page_bit = set_interrupt_page_bit,
	.retry_later = retry_later,
	.connected = connected,
	.unloaded = unloaded,
	.channel_alloc = channel_alloc,
	.channel_forgotten = channel_forgotten,
	.offered = offered,
	.offers_delivered = offers_delivered,
	.rescinded = rescinded,
	.opened = opened,
	.modified = modified,
	.gpadl_created = gpadl_created,
	.gpadl_torn_down = gpadl_torn_down,
};

void port_init(struct port *port)
{
	memset(port, 0, sizeof(*port));
	port->connected = port->opened = port->modified = NOT_TOLD;
	port->gpadl_created = port->gpadl_torn_down = NOT_TOLD;
	vmbus_client_init(&port->client, &ops, port);
}

void port_fini(struct port *port)
{
	assert_null(vmbus_client_check(&port->client));
	vmbus_client_unload(&port->client);
	if (port->client.state == VMBUS_CLIENT_UNLOADING)
		host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE);
	assert_int_equal(port->client.state, VMBUS_CLIENT_IDLE);
	assert_null(vmbus_client_check(&port->client));
	assert_int_equal(port->live_channels, 0);
}

const void *port_reads(struct port *port, uint32_t type, size_t bytes)
{
	const struct posted *posted;

	assert_true(port->read_count < port->posted_count);
	posted = &port->posted[port->read_count++];
	assert_int_equal(posted->type, type);
	if (bytes)
		assert_int_equal(posted->bytes, bytes);
	return posted->payload;
}

void port_reads_nothing(struct port *port)
{
	assert_int_equal(port->read_count, port->posted_count);
	port->read_count = port->posted_count = 0;
}

void host_sends(struct port *port, const void *message, size_t bytes)
{
	void *copy = malloc(bytes ? bytes : 1);

	memcpy(copy, message, bytes);
	vmbus_client_on_message(&port->client, copy, bytes);
	free(copy);
	assert_null(vmbus_client_check(&port->client));
}

void host_sends_type(struct port *port, uint32_t type)
{
	const struct vmbus_message_header message = { .type = type };

	host_sends(port, &message, sizeof(message));
}

void host_sends_channel(struct port *port, uint32_t type, uint32_t channel_id)
{
	const struct vmbus_msg_channel message = { .header.type = type, .channel_id = channel_id };

	host_sends(port, &message, sizeof(message));
}

void host_accepts(struct port *port, uint32_t features)
{
	const struct vmbus_msg_version_response2 message = {
		.response = {
			.header.type = VMBUS_MSG_VERSION_RESPONSE,
			.supported = 1,
			.version_or_connection_id = port->client.version >= VMBUS_VERSION_WIN10_V5 ?
						    77 : port->client.version,
		},
		.features = features,
	};

	host_sends(port, &message, port->client.version >= VMBUS_VERSION_COPPER ?
				   sizeof(message) : sizeof(message.response));
}

void port_connects(struct port *port, uint32_t version)
{
	const struct vmbus_client_config config = { .version_max = version };

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	port_reads(port, VMBUS_MSG_INITIATE_CONTACT, sizeof(struct vmbus_msg_initiate_contact));
	host_accepts(port, 0);
	assert_int_equal(port->connected, 0);
	assert_int_equal(port->client.version, version);
	assert_int_equal(vmbus_client_request_offers(&port->client), 0);
	port_reads(port, VMBUS_MSG_REQUEST_OFFERS, 8);
	port_reads_nothing(port);
}

struct vmbus_msg_offer_channel make_offer(uint32_t channel_id, uint8_t device, uint16_t index)
{
	return (struct vmbus_msg_offer_channel){
		.header.type = VMBUS_MSG_OFFER_CHANNEL,
		.interface_id = GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb605, 0x72e2ffb1dc7f),
		.instance_id.bytes = { device },
		.channel_id = channel_id,
		.sub_channel_index = index,
		.is_dedicated = 1,
		.connection_id = 0x2000 + channel_id,
		.monitor_id = 0xff,
	};
}

struct vmbus_client_channel *host_offers(struct port *port, uint32_t channel_id, uint8_t device,
					 uint16_t index)
{
	const struct vmbus_msg_offer_channel offer = make_offer(channel_id, device, index);

	port->last_offered = NULL;
	host_sends(port, &offer, sizeof(offer));
	return port->last_offered;
}

void host_answers_open(struct port *port, struct vmbus_client_channel *channel, uint32_t status)
{
	const struct vmbus_msg_open_result message = {
		.header.type = VMBUS_MSG_OPEN_RESULT, .channel_id = channel->offer.channel_id,
		.open_id = channel->open_id, .status = status,
	};

	host_sends(port, &message, sizeof(message));
}

void port_opens(struct port *port, struct vmbus_client_channel *channel)
{
	const struct vmbus_client_open open = { .ring_gpadl_id = 5 };

	assert_int_equal(vmbus_client_open(&port->client, channel, &open), 0);
	port_reads(port, VMBUS_MSG_OPEN_CHANNEL, 0);
	host_answers_open(port, channel, 0);
	assert_int_equal(port->opened, 0);
	port_reads_nothing(port);
}

void host_creates_gpadl(struct port *port, const struct vmbus_client_gpadl *gpadl, uint32_t status)
{
	const struct vmbus_msg_gpadl_created message = {
		.header.type = VMBUS_MSG_GPADL_CREATED, .gpadl_id = gpadl->id, .status = status,
		.channel_id = gpadl->channel->offer.channel_id,
	};

	host_sends(port, &message, sizeof(message));
}

void host_tears_gpadl_down(struct port *port, uint32_t gpadl_id)
{
	const struct vmbus_msg_gpadl_torndown message = {
		.header.type = VMBUS_MSG_GPADL_TORNDOWN, .gpadl_id = gpadl_id,
	};

	host_sends(port, &message, sizeof(message));
}

int port_set_up(void **state)
{
	*state = malloc(sizeof(struct port));
	port_init(*state);
	return 0;
}

int port_tear_down(void **state)
{
	port_fini(*state);
	free(*state);
	return 0;
}

uint64_t violations(struct port *port)
{
	uint64_t count = port->client.counters.violations;

	port->client.counters.violations = 0;
	return count;
}
