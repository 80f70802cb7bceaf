// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Client and server joined by two queues of messages: devices come and go, channels open and close,
 * everything at random and late. Both ends keep to the protocol, so neither may ever accuse the
 * other; when things have settled both see the same, and after an unload nothing is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmbus/client.h"
#include "vmbus/server.h"

#define DEVICES 6u
#define SUBS 3u /* of each device, besides its primary channel */
#define QUEUE 512u
#define RING_PAGES 4u
#define STEPS 30000u

void os_log(enum os_log_level level, const char *format, ...)
{
}

struct message {
	uint32_t connection_id;
	size_t bytes;
	uint64_t payload[VMBUS_MESSAGE_BYTES_MAX / 8];
};

struct queue {
	struct message messages[QUEUE];
	uint32_t in, out;
};

enum answer { ANSWER_NONE, ANSWER_OPEN, ANSWER_CLOSE };

struct host_channel {
	struct vmbus_server_channel server; /* first */
	bool offered, open, modifying;
	enum answer answer;
};

struct guest_channel {
	struct vmbus_client_channel client; /* first */
	struct vmbus_client_gpadl gpadl;
	uint64_t pfns[2 * RING_PAGES];
	bool has_gpadl, gpadl_busy;
};

static struct {
	struct vmbus_server server;
	struct vmbus_client client;
	struct queue to_server, to_client;
	struct host_channel host[DEVICES][1 + SUBS];
	uint32_t live_guest_channels, allocations;
	int connected, unloads;
	bool hypervisor_full;
	uint64_t random;
	uint32_t opens, refusals, rescinds, modifications;
} world;

static uint32_t random_below(uint32_t limit)
{
	world.random ^= world.random << 13;
	world.random ^= world.random >> 7;
	world.random ^= world.random << 17;
	return (uint32_t)((world.random >> 32) * limit >> 32);
}

static bool queue_empty(const struct queue *queue)
{
	return queue->in == queue->out;
}

static void queue_add(struct queue *queue, uint32_t connection_id, const void *payload,
		      size_t bytes)
{
	struct message *message = &queue->messages[queue->in++ % QUEUE];

	assert_true(queue->in - queue->out < QUEUE);
	assert_true(bytes <= VMBUS_MESSAGE_BYTES_MAX);
	message->connection_id = connection_id;
	message->bytes = bytes;
	memcpy(message->payload, payload, bytes);
}

/* The guest's port */

static int client_post(void *port, uint32_t connection_id, const void *payload, size_t bytes)
{
	if (!vmbus_server_listens(&world.server, connection_id))
		return -LIS_NOTFOUND;
	if (world.hypervisor_full || world.to_server.in - world.to_server.out > 20)
		return random_below(2) ? -LIS_FULL : -LIS_AGAIN;
	queue_add(&world.to_server, connection_id, payload, bytes);
	return 0;
}

static void client_signal(void *port, uint32_t connection_id)
{
}

static void client_retry_later(void *port)
{
}

static void client_connected(void *port, int error)
{
	world.connected = error;
}

static void client_unloaded(void *port)
{
	world.unloads++;
}

static struct vmbus_client_channel *client_alloc(void *port, const struct vmbus_client_offer *offer)
{
	struct guest_channel *channel;

	if (!random_below(50))
		return NULL;
	channel = calloc(1, sizeof(*channel));
	world.live_guest_channels++;
	return &channel->client;
}

static void client_forgotten(void *port, struct vmbus_client_channel *channel)
{
	world.live_guest_channels--;
	free(channel);
}

static void client_channel_news(void *port, struct vmbus_client_channel *channel)
{
}

static void client_delivered(void *port)
{
}

static void client_opened(void *port, struct vmbus_client_channel *channel, int error)
{
	if (error)
		world.refusals++;
	else
		world.opens++;
}

static void client_modified(void *port, struct vmbus_client_channel *channel, int error)
{
	if (!error)
		world.modifications++;
}

static void client_gpadl_created(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	struct guest_channel *channel = (struct guest_channel *)gpadl->channel;

	assert_int_equal(error, 0);
	channel->gpadl_busy = false;
}

static void client_gpadl_torn_down(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	struct guest_channel *channel = (struct guest_channel *)gpadl->channel;

	assert_int_equal(error, 0);
	channel->gpadl_busy = channel->has_gpadl = false;
}

static const struct vmbus_client_ops client_ops = {
	.post_message = client_post, .signal = client_signal,
	.set_interrupt_page_bit = client_signal, .retry_later = client_retry_later,
	.connected = client_connected, .unloaded = client_unloaded,
	.channel_alloc = client_alloc, .channel_forgotten = client_forgotten,
	.offered = client_channel_news, .offers_delivered = client_delivered,
	.rescinded = client_channel_news, .opened = client_opened, .modified = client_modified,
	.gpadl_created = client_gpadl_created, .gpadl_torn_down = client_gpadl_torn_down,
};

/* The host's port */

static void *server_alloc(void *port, size_t bytes)
{
	world.allocations++;
	return malloc(bytes);
}

static void server_free(void *port, void *memory)
{
	world.allocations--;
	free(memory);
}

static int server_post(void *port, uint32_t vp, const void *payload, size_t bytes)
{
	assert_int_equal(vp, 0);
	queue_add(&world.to_client, 0, payload, bytes);
	return 0;
}

static bool server_page_is_memory(void *port, uint64_t pfn)
{
	return pfn < 1000;
}

static int server_connected(void *port, const struct vmbus_server_connection *connection)
{
	return 0;
}

static void server_disconnected(void *port)
{
}

static int server_open(void *port, struct vmbus_server_channel *server,
		       const struct vmbus_server_open *open, const struct vmbus_server_range *ring)
{
	struct host_channel *channel = (struct host_channel *)server;

	assert_false(channel->open);
	assert_int_equal(channel->answer, ANSWER_NONE);
	assert_int_equal(ring->pfn_count, 2 * RING_PAGES);
	channel->answer = ANSWER_OPEN;
	return 0;
}

static void server_close(void *port, struct vmbus_server_channel *server)
{
	struct host_channel *channel = (struct host_channel *)server;

	assert_true(channel->open);
	assert_int_equal(channel->answer, ANSWER_NONE);
	channel->answer = ANSWER_CLOSE;
}

static void server_modify(void *port, struct vmbus_server_channel *server, uint32_t target_vp)
{
	((struct host_channel *)server)->modifying = true;
}

static void server_released(void *port, struct vmbus_server_channel *server)
{
	struct host_channel *channel = (struct host_channel *)server;

	assert_true(channel->offered);
	assert_false(channel->open);
	channel->offered = false;
}

static void server_reset_done(void *port)
{
	fail();
}

static const struct vmbus_server_ops server_ops = {
	.alloc = server_alloc, .free = server_free, .post_message = server_post,
	.page_is_memory = server_page_is_memory, .connected = server_connected,
	.disconnected = server_disconnected, .open_channel = server_open,
	.close_channel = server_close, .modify_channel = server_modify,
	.channel_released = server_released, .reset_done = server_reset_done,
};

/* What may happen next */

static bool deliver_to_server(void)
{
	struct message message;

	if (queue_empty(&world.to_server))
		return false;
	message = world.to_server.messages[world.to_server.out++ % QUEUE];
	vmbus_server_on_message(&world.server, message.connection_id, message.payload,
				message.bytes);
	return true;
}

static bool deliver_to_client(void)
{
	struct message message;

	if (queue_empty(&world.to_client))
		return false;
	message = world.to_client.messages[world.to_client.out++ % QUEUE];
	vmbus_client_on_message(&world.client, message.payload, message.bytes);
	return true;
}

static bool device_answers(struct host_channel *channel)
{
	enum answer answer = channel->answer;
	int error = random_below(10) ? 0 : -LIS_IO;

	if (channel->modifying) { /* always the first of the two */
		channel->modifying = false;
		vmbus_server_modify_done(&world.server, &channel->server);
		return true;
	}
	if (answer == ANSWER_NONE)
		return false;
	channel->answer = ANSWER_NONE;
	channel->open = answer == ANSWER_OPEN && !error;
	if (answer == ANSWER_OPEN)
		vmbus_server_open_done(&world.server, &channel->server, error);
	else
		vmbus_server_close_done(&world.server, &channel->server);
	return true;
}

static void host_acts(void)
{
	uint32_t device = random_below(DEVICES), index = random_below(1 + SUBS);
	struct host_channel *channel = &world.host[device][index];
	int error;

	if (channel->offered) {
		if (index ? !random_below(6) : !random_below(20)) {
			vmbus_server_rescind(&world.server, &channel->server);
			world.rescinds++;
		}
		return;
	}
	if (index && (!world.host[device][0].open || !world.host[device][0].offered))
		return;
	memset(&channel->server, 0, sizeof(channel->server));
	channel->server.offer.instance_id.bytes[0] = (uint8_t)(device + 1);
	channel->server.offer.sub_channel_index = (uint16_t)index;
	error = vmbus_server_offer(&world.server, &channel->server);
	assert_true(!error || (index && error == -LIS_GONE) || error == -LIS_BUSY);
	channel->offered = !error;
}

static bool sub_channels_are_closed(const struct vmbus_client_channel *primary)
{
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++) {
		const struct vmbus_client_channel *channel = world.client.channels[id];

		if (channel && channel->primary == primary &&
		    channel->state != VMBUS_CLIENT_CHANNEL_CLOSED)
			return false;
	}
	return true;
}

static void make_gpadl(struct guest_channel *channel)
{
	for (uint32_t i = 0; i < 2 * RING_PAGES; i++)
		channel->pfns[i] = random_below(1000);
	assert_int_equal(vmbus_client_gpadl_create(&world.client, &channel->client, &channel->gpadl,
						   channel->pfns, 2 * RING_PAGES * 4096, 0), 0);
	channel->has_gpadl = channel->gpadl_busy = true;
}

static void tear_gpadl_down(struct guest_channel *channel)
{
	channel->gpadl_busy = true;
	assert_int_equal(vmbus_client_gpadl_teardown(&world.client, &channel->gpadl), 0);
}

static void open_channel(struct guest_channel *channel)
{
	const struct vmbus_client_open open = {
		.ring_gpadl_id = channel->gpadl.id, .host_to_guest_page_offset = RING_PAGES,
		.target_vp = 0,
	};

	assert_int_equal(vmbus_client_open(&world.client, &channel->client, &open), 0);
}

/* True if the guest did anything with the channel. @settle: only what must be done. */
static bool guest_acts_on(struct guest_channel *channel, bool settle)
{
	struct vmbus_client_channel *client = &channel->client;
	bool may_close = client->primary || sub_channels_are_closed(client);

	if (client->state == VMBUS_CLIENT_CHANNEL_OPENING || channel->gpadl_busy)
		return false;
	if (client->rescinded) {
		if (client->state == VMBUS_CLIENT_CHANNEL_OPEN) {
			assert_int_equal(vmbus_client_close(&world.client, client), 0);
		} else if (channel->has_gpadl) {
			tear_gpadl_down(channel);
		} else if (!vmbus_client_release(&world.client, client)) {
			world.live_guest_channels--;
			free(channel);
		} else {
			return false;
		}
		return true;
	}
	if (settle)
		return false;
	if (client->state == VMBUS_CLIENT_CHANNEL_OPEN) {
		int error = random_below(2) ? vmbus_client_modify(&world.client, client, 0) : 0;

		assert_true(!error || error == -LIS_BUSY || error == -LIS_UNSUPPORTED);
		if (!random_below(6) && may_close)
			assert_int_equal(vmbus_client_close(&world.client, client), 0);
	} else if (!channel->has_gpadl) {
		make_gpadl(channel);
	} else if (random_below(4)) {
		open_channel(channel);
	} else {
		tear_gpadl_down(channel);
	}
	return true;
}

static bool each_guest_channel(bool settle, uint32_t chance)
{
	bool acted = false;

	if (world.client.state != VMBUS_CLIENT_CONNECTED)
		return false;
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++)
		if (world.client.channels[id] && !random_below(chance))
			acted |= guest_acts_on((struct guest_channel *)world.client.channels[id],
					       settle);
	return acted;
}

static void check_books(void)
{
	const char *wrong = vmbus_server_check(&world.server);

	if (wrong)
		fail_msg("server: %s", wrong);
	wrong = vmbus_client_check(&world.client);
	if (wrong)
		fail_msg("client: %s", wrong);
	assert_int_equal(world.server.counters.violations, 0);
	assert_int_equal(world.client.counters.violations, 0);
}

static void step(void)
{
	switch (random_below(8)) {
	case 0:
	case 1:
		deliver_to_server();
		break;
	case 2:
	case 3:
		deliver_to_client();
		break;
	case 4:
		device_answers(&world.host[random_below(DEVICES)][random_below(1 + SUBS)]);
		break;
	case 5:
		if (!random_below(4))
			host_acts();
		break;
	case 6:
		each_guest_channel(false, 20);
		break;
	case 7:
		world.hypervisor_full = !random_below(3);
		vmbus_client_retry(&world.client);
		break;
	}
}

/* Let everything that was begun come to its end. */
static void settle(void)
{
	bool moved = true;

	world.hypervisor_full = false;
	for (uint32_t rounds = 0; moved; rounds++) {
		assert_true(rounds < 100000);
		moved = deliver_to_server();
		moved |= deliver_to_client();
		moved |= each_guest_channel(true, 1);
		for (uint32_t i = 0; i < DEVICES * (1 + SUBS); i++)
			moved |= device_answers(&world.host[0][0] + i);
		moved |= world.client.queue != NULL;
		vmbus_client_retry(&world.client);
		check_books();
	}
}

/* What the host has open the guest has open, and the reverse. */
static void check_agreement(void)
{
	uint32_t host_open = 0, guest_open = 0;

	for (uint32_t i = 0; i < DEVICES * (1 + SUBS); i++) {
		const struct host_channel *channel = &world.host[0][0] + i;
		const struct vmbus_client_channel *client;

		if (!channel->offered)
			continue;
		client = vmbus_client_channel(&world.client, channel->server.id);
		host_open += channel->open;
		if (!client) {
			assert_false(channel->open);
			continue;
		}
		assert_int_equal(client->state == VMBUS_CLIENT_CHANNEL_OPEN, channel->open);
		assert_memory_equal(&client->offer.instance_id,
				    &channel->server.offer.instance_id, 16);
		assert_int_equal(client->offer.sub_channel_index,
				 channel->server.offer.sub_channel_index);
	}
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++)
		if (world.client.channels[id])
			guest_open += world.client.channels[id]->state == VMBUS_CLIENT_CHANNEL_OPEN;
	assert_int_equal(host_open, guest_open);
}

static void connect_guest(uint32_t version)
{
	const struct vmbus_client_config config = { .features = VMBUS_CLIENT_FEATURES,
						    .client_id.bytes = { 1 } };

	world.connected = 1;
	assert_int_equal(vmbus_client_connect(&world.client, &config), 0);
	settle();
	assert_int_equal(world.connected, 0);
	assert_int_equal(world.client.version, version);
	assert_int_equal(world.server.connection.version, version);
	assert_int_equal(vmbus_client_request_offers(&world.client), 0);
}

static void live_through(uint32_t version, uint32_t seed)
{
	const struct vmbus_server_config config = { .vp_count = 1, .version_max = version };

	memset(&world, 0, sizeof(world));
	world.random = seed * 0x9e3779b97f4a7c15;
	vmbus_server_init(&world.server, &config, &server_ops, NULL);
	vmbus_client_init(&world.client, &client_ops, NULL);
	for (int life = 0; life < 3; life++) {
		connect_guest(version);
		for (uint32_t i = 0; i < STEPS; i++) {
			step();
			if (i % 16 == 0)
				check_books();
		}
		settle();
		check_agreement();
		/* Half of the guests crash: the bus is unloaded with everything under way. */
		for (uint32_t i = 0; i < 200 && life == 1; i++)
			step();
		vmbus_client_unload(&world.client);
		if (version < VMBUS_VERSION_WIN8_1) {
			/* No such message: a new contact does it instead. */
			assert_int_equal(world.client.state, VMBUS_CLIENT_IDLE);
			world.to_client.out = world.to_client.in;
			world.to_server.out = world.to_server.in;
			continue;
		}
		settle();
		assert_int_equal(world.client.state, VMBUS_CLIENT_IDLE);
		assert_int_equal(world.server.state, VMBUS_SERVER_DISCONNECTED);
		assert_int_equal(world.allocations, 0);
		assert_int_equal(world.live_guest_channels, 0);
	}
	/* Else nothing was tested. */
	assert_true(world.opens > 20 && world.refusals > 5 && world.rescinds > 20);
	assert_int_equal(world.modifications > 5, version >= VMBUS_VERSION_WIN10_V4_1);
	vmbus_server_fini(&world.server);
	assert_int_equal(world.allocations, 0);
	assert_int_equal(world.live_guest_channels, 0);
}

static void neither_end_accuses_the_other_in_any_version(void **state)
{
#define LIVE(version) live_through(version, version);
	VMBUS_VERSIONS(LIVE)
#undef LIVE
}

static void both_see_the_same_after_any_history(void **state)
{
	for (uint32_t seed = 1; seed <= 10; seed++)
		live_through(seed % 2 ? VMBUS_VERSION_COPPER : VMBUS_VERSION_IRON, seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neither_end_accuses_the_other_in_any_version),
		cmocka_unit_test(both_see_the_same_after_any_history),
	};

	return cmocka_run_group_tests_name("client and server", tests, NULL, NULL);
}
