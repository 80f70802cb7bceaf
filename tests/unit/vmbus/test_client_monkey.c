// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The client and a host that sends whatever it likes: messages of every type, with fields that are
 * sometimes right, at any moment, while the port does everything it may. The client's books must be
 * in order after every step, and what it told the port must have come in a legal order.
 */
#include "tests/unit/vmbus/client_world.h"

#define SEEDS 30u
#define STEPS 6000u
#define IDS 4u /* channel ids that the host plays with */

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 32) * limit >> 32);
}

static uint32_t some_id(void)
{
	static const uint32_t odd[] = { 0, 2047, 2048, 0x10003, 0xffffffff };

	return random_below(10) ? 1 + random_below(IDS) : odd[random_below(5)];
}

static uint32_t some_type(void)
{
	static const uint8_t likely[] = {
		VMBUS_MSG_OFFER_CHANNEL, VMBUS_MSG_RESCIND_OFFER, VMBUS_MSG_OPEN_RESULT,
		VMBUS_MSG_GPADL_CREATED, VMBUS_MSG_GPADL_TORNDOWN,
		VMBUS_MSG_MODIFY_CHANNEL_RESPONSE, VMBUS_MSG_VERSION_RESPONSE,
	};

	return random_below(10) ? likely[random_below(sizeof(likely))] :
				  random_below(VMBUS_MSG_TYPE_MAX + 2);
}

/* One GPADL for each channel id, as the port's storage. */
static struct vmbus_client_gpadl gpadls[IDS + 1];
static bool gpadl_in_use[IDS + 1];
static uint64_t pfns[100];

static void host_monkey(struct port *port)
{
	uint64_t message[VMBUS_MESSAGE_BYTES_MAX / 8];
	struct vmbus_message_header *header = (void *)message;
	const struct vmbus_client_channel *channel;
	const struct vmbus_client_gpadl *gpadl;
	uint32_t id = some_id();
	size_t bytes = VMBUS_MESSAGE_BYTES_MAX;

	for (size_t i = 0; i < VMBUS_MESSAGE_BYTES_MAX / 8; i++)
		message[i] = random_below(2) ? random_below(4) : random_below(UINT32_MAX);
	*header = (struct vmbus_message_header){ .type = some_type() };
	channel = vmbus_client_channel(&port->client, id);
	gpadl = &gpadls[id <= IDS ? id : 0];
	switch (header->type) {
	case VMBUS_MSG_OFFER_CHANNEL: {
		const struct vmbus_msg_offer_channel offer =
			make_offer(id, (uint8_t)random_below(2), (uint16_t)random_below(3));

		memcpy(message, &offer, sizeof(offer));
		bytes = sizeof(offer);
		break;
	}
	case VMBUS_MSG_OPEN_RESULT: {
		const struct vmbus_msg_open_result result = {
			.header = *header, .channel_id = id, .status = random_below(2),
			.open_id = channel ? channel->open_id - !random_below(4) : 7,
		};

		memcpy(message, &result, sizeof(result));
		break;
	}
	case VMBUS_MSG_GPADL_CREATED: {
		const struct vmbus_msg_gpadl_created created = {
			.header = *header, .gpadl_id = gpadl->id, .status = !random_below(3),
			.channel_id = random_below(4) ? id : some_id(),
		};

		memcpy(message, &created, sizeof(created));
		break;
	}
	case VMBUS_MSG_GPADL_TORNDOWN: {
		const struct vmbus_msg_gpadl_torndown torndown = {
			.header = *header, .gpadl_id = gpadl->id,
		};

		memcpy(message, &torndown, sizeof(torndown));
		break;
	}
	case VMBUS_MSG_VERSION_RESPONSE: {
		const struct vmbus_msg_version_response response = {
			.header = *header, .supported = random_below(8) != 0,
			.connection_state = !random_below(8), .version_or_connection_id = 1,
		};

		memcpy(message, &response, sizeof(response));
		break;
	}
	case VMBUS_MSG_UNLOAD_COMPLETE:
		break;
	default: /* those that begin with a channel id */
		((struct vmbus_msg_channel *)(void *)message)->channel_id = id;
	}
	if (!random_below(16))
		bytes = random_below(VMBUS_MESSAGE_BYTES_MAX + 1);
	host_sends(port, message, bytes);
}

static void forget_gpadls_unless_listed(struct port *port)
{
	for (uint32_t i = 0; i <= IDS; i++) {
		const struct vmbus_client_gpadl *gpadl = port->client.gpadls;

		while (gpadl && gpadl != &gpadls[i])
			gpadl = gpadl->next;
		gpadl_in_use[i] = gpadl != NULL;
	}
}

static void act_on_gpadl(struct port *port, struct vmbus_client_channel *channel)
{
	uint32_t id = channel->offer.channel_id;
	int error;

	if (id > IDS)
		return;
	if (!gpadl_in_use[id]) {
		error = vmbus_client_gpadl_create(&port->client, channel, &gpadls[id], pfns,
						  1 + random_below(100 * 4096), 0);
		assert_true(!error || error == -LIS_GONE);
	} else if (!random_below(30)) {
		vmbus_client_gpadl_abandon(&port->client, &gpadls[id]);
	} else {
		error = vmbus_client_gpadl_teardown(&port->client, &gpadls[id]);
		assert_true(!error || error == -LIS_BUSY || error == -LIS_GONE);
	}
}

static void act_on_channel(struct port *port, struct vmbus_client_channel *channel)
{
	const struct vmbus_client_open open = { .ring_gpadl_id = 1 };
	int error = 0;

	switch (random_below(6)) {
	case 0:
		error = vmbus_client_open(&port->client, channel, &open);
		break;
	case 1:
		error = vmbus_client_close(&port->client, channel);
		break;
	case 2:
		error = vmbus_client_modify(&port->client, channel, random_below(4));
		break;
	case 3:
		vmbus_client_signal(&port->client, channel);
		break;
	case 4:
		act_on_gpadl(port, channel);
		break;
	case 5:
		error = vmbus_client_release(&port->client, channel);
		if (!error) {
			free(channel);
			port->live_channels--;
		}
		break;
	}
	assert_true(!error || error == -LIS_BUSY || error == -LIS_GONE || error == -LIS_INVALID ||
		    error == -LIS_UNSUPPORTED);
}

static void port_monkey(struct port *port)
{
	const struct vmbus_client_config config = {
		.version_max = random_below(2) ? 0 : VMBUS_VERSION_WIN10_V4_1,
		.features = VMBUS_CLIENT_FEATURES,
	};
	struct vmbus_client_channel *channel =
		vmbus_client_channel(&port->client, 1 + random_below(IDS));
	int error = 0;

	port->post_error = random_below(8) ? 0 : random_below(3) ? -LIS_AGAIN : -LIS_IO;
	port->posts_until_error = random_below(3);
	port->posted_count = port->read_count = 0;
	switch (random_below(12)) {
	case 0:
		error = vmbus_client_connect(&port->client, &config);
		break;
	case 1:
		error = vmbus_client_request_offers(&port->client);
		break;
	case 2:
		if (!random_below(50))
			vmbus_client_unload(&port->client);
		break;
	case 3:
		vmbus_client_retry(&port->client);
		break;
	default:
		if (channel)
			act_on_channel(port, channel);
	}
	assert_true(!error || error == -LIS_BUSY || error == -LIS_GONE);
	assert_null(vmbus_client_check(&port->client));
}

static void no_host_brings_the_client_out_of_order(void **state)
{
	struct port *port = malloc(sizeof(*port));
	uint32_t offers = 0, rescinds = 0, connects = 0;

	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15;
		port_init(port);
		memset(gpadl_in_use, 0, sizeof(gpadl_in_use));
		for (uint32_t i = 0; i < STEPS; i++) {
			if (random_below(3))
				port_monkey(port);
			else
				host_monkey(port);
			forget_gpadls_unless_listed(port);
		}
		offers += port->offers;
		rescinds += port->rescinds;
		connects += port->connects;
		assert_true(port->rescinds <= port->offers);
		port->post_error = 0;
		port_fini(port);
	}
	/* Else nothing was tested. */
	assert_true(offers > 10 * SEEDS && rescinds > 10 * SEEDS && connects > SEEDS);
	free(port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_host_brings_the_client_out_of_order),
	};

	return cmocka_run_group_tests_name("client monkey", tests, NULL, NULL);
}
