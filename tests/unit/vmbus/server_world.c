// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/unit/vmbus/server_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The server logs; what it says is not the subject, that it can be said is. */
void os_log(enum os_log_level level, const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
}

static void enter_op(struct world *world)
{
	assert_false(world->busy);
	world->busy = true;
}

static void leave_op(struct world *world)
{
	world->busy = false;
}

static void *op_alloc(void *port, size_t bytes)
{
	struct world *world = port;
	void *memory;

	if (world->allocs_until_failure == 0)
		return NULL;
	if (world->allocs_until_failure > 0)
		world->allocs_until_failure--;
	memory = malloc(bytes);
	assert_non_null(memory);
	memset(memory, 0xa5, bytes);
	world->allocated++;
	return memory;
}

static void op_free(void *port, void *memory)
{
	struct world *world = port;

	world->allocated--;
	free(memory);
}

static size_t message_bytes(const struct world *world, uint32_t type)
{
	switch (type) {
	case VMBUS_MSG_OFFER_CHANNEL: return 196;
	case VMBUS_MSG_RESCIND_OFFER: return 12;
	case VMBUS_MSG_ALL_OFFERS_DELIVERED: return 8;
	case VMBUS_MSG_OPEN_RESULT: return 20;
	case VMBUS_MSG_GPADL_CREATED: return 20;
	case VMBUS_MSG_GPADL_TORNDOWN: return 12;
	case VMBUS_MSG_UNLOAD_COMPLETE: return 8;
	case VMBUS_MSG_TL_CONNECT_RESULT: return 44;
	case VMBUS_MSG_MODIFY_CHANNEL_RESPONSE: return 16;
	default: return 0;
	}
}

static int op_post_message(void *port, uint32_t vp, const void *payload, size_t payload_bytes)
{
	struct world *world = port;
	struct sent *sent = &world->sent[world->sent_count];

	enter_op(world);
	assert_true(vp < WORLD_VPS);
	assert_true(payload_bytes <= VMBUS_MESSAGE_BYTES_MAX);
	assert_true(world->sent_count < WORLD_SENT_MAX);
	sent->vp = vp;
	sent->bytes = payload_bytes;
	memcpy(sent->payload, payload, payload_bytes);
	sent->type = (uint32_t)sent->payload[0];
	if (sent->type == VMBUS_MSG_VERSION_RESPONSE)
		assert_true(payload_bytes == 16 || payload_bytes == 20);
	else
		assert_int_equal(payload_bytes, message_bytes(world, sent->type));
	if (!world->post_fails)
		world->sent_count++;
	leave_op(world);
	return world->post_fails ? -LIS_NOMEM : 0;
}

static bool op_page_is_memory(void *port, uint64_t pfn)
{
	return pfn < WORLD_PAGES;
}

static int op_connected(void *port, const struct vmbus_server_connection *connection)
{
	struct world *world = port;
	int err = world->connect_error;

	assert_false(world->connected);
	world->connect_error = 0;
	if (err)
		return err;
	for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
		assert_int_equal(world->channels[i].device, DEVICE_IDLE);
	world->connected = true;
	world->connection = *connection;
	return 0;
}

static void op_disconnected(void *port)
{
	struct world *world = port;

	assert_true(world->connected);
	for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
		assert_int_equal(world->channels[i].device, DEVICE_IDLE);
	assert_int_equal(world->allocated, 0);
	world->connected = false;
}

static int op_open_channel(void *port, struct vmbus_server_channel *server_channel,
			   const struct vmbus_server_open *open,
			   const struct vmbus_server_range *ring)
{
	struct world *world = port;
	struct world_channel *channel = (struct world_channel *)server_channel;
	int err = world->open_error;

	enter_op(world);
	assert_true(channel->offered && !channel->rescinding && world->connected);
	assert_int_equal(channel->device, DEVICE_IDLE);
	for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
		if (channel->server.offer.sub_channel_index == 0 &&
		    guid_compare(&world->channels[i].server.offer.instance_id,
				 &channel->server.offer.instance_id) == 0)
			assert_int_equal(world->channels[i].device, DEVICE_IDLE);
	assert_int_equal(ring->byte_offset, 0);
	assert_int_equal(ring->pfn_count, ring->byte_count / HV_PAGE_BYTES);
	assert_true(open->host_to_guest_page_offset >= 2);
	assert_true(open->host_to_guest_page_offset + 2 <= ring->pfn_count);
	assert_true(open->target_vp < WORLD_VPS || open->target_vp == VMBUS_VP_NONE);
	assert_true(open->event_flag < VMBUS_EVENT_FLAGS);
	for (uint32_t i = 0; i < ring->pfn_count; i++)
		assert_true(ring->pfns[i] < WORLD_PAGES);
	world->open_error = 0;
	leave_op(world);
	if (err)
		return err;
	channel->open = *open;
	channel->target_vp = open->target_vp;
	channel->ring = *ring;
	channel->device = DEVICE_OPENING;
	channel->opens++;
	return 0;
}

static void op_close_channel(void *port, struct vmbus_server_channel *server_channel)
{
	struct world_channel *channel = (struct world_channel *)server_channel;

	assert_int_equal(channel->device, DEVICE_OPEN);
	channel->device = DEVICE_CLOSING;
	channel->closes++;
}

static void op_modify_channel(void *port, struct vmbus_server_channel *server_channel,
			      uint32_t target_vp)
{
	struct world_channel *channel = (struct world_channel *)server_channel;

	assert_int_equal(channel->device, DEVICE_OPEN);
	assert_false(channel->modifying);
	assert_true(target_vp < WORLD_VPS);
	channel->modifying = true;
	channel->target_vp = target_vp;
}

static void op_channel_released(void *port, struct vmbus_server_channel *server_channel)
{
	struct world_channel *channel = (struct world_channel *)server_channel;

	assert_true(channel->offered);
	assert_int_equal(channel->device, DEVICE_IDLE);
	if (channel->server.offer.sub_channel_index == 0)
		assert_true(channel->rescinding);
	channel->offered = channel->rescinding = false;
	channel->releases++;
	/* Its memory may be used for anything now. */
	memset(&channel->server.next, 0x5a,
	       sizeof(channel->server) - offsetof(struct vmbus_server_channel, next));
}

static void op_reset_done(void *port)
{
	struct world *world = port;

	assert_false(world->connected);
	world->resets_done++;
}

static const struct vmbus_server_ops ops = {
	.alloc = op_alloc,
	.free = op_free,
	.post_message = op_post_message,
	.page_is_memory = op_page_is_memory,
	.connected = op_connected,
	.disconnected = op_disconnected,
	.open_channel = op_open_channel,
	.close_channel = op_close_channel,
	.modify_channel = op_modify_channel,
	.channel_released = op_channel_released,
	.reset_done = op_reset_done,
};

void world_init(struct world *world, const struct vmbus_server_config *config)
{
	struct vmbus_server_config usual = { .vp_count = WORLD_VPS };

	memset(world, 0, sizeof(*world));
	world->allocs_until_failure = -1;
	vmbus_server_init(&world->server, config ? config : &usual, &ops, world);
}

void world_check(struct world *world)
{
	const char *wrong = vmbus_server_check(&world->server);

	if (wrong)
		fail_msg("%s", wrong);
	/* Rings stay where they are while a device uses them; a sanitizer would see it. */
	for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
		if (world->channels[i].device != DEVICE_IDLE)
			assert_true(world->channels[i].ring.pfns[0] < WORLD_PAGES);
}

void world_fini(struct world *world)
{
	world->allocs_until_failure = -1;
	vmbus_server_reset(&world->server);
	world_answer_all(world);
	assert_int_equal(world->server.state, VMBUS_SERVER_DISCONNECTED);
	world_check(world);
	for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
		if (world->channels[i].offered)
			world_rescind(world, i);
	assert_null(world->server.channels);
	assert_int_equal(world->allocated, 0);
	vmbus_server_fini(&world->server);
}

int world_offer(struct world *world, uint32_t at)
{
	struct world_channel *channel = &world->channels[at];
	int err;

	memset(channel, 0, sizeof(*channel));
	channel->server.offer.interface_id = GUID(0x100 - at / 4, 1, 2, 3, 4);
	channel->server.offer.instance_id = GUID(0x1000 - at, 5, 6, 7, 8);
	channel->server.offer.flags = VMBUS_OFFER_DEVICE_INTERFACE | VMBUS_OFFER_PINNED_MEMORY;
	channel->server.offer.mmio_megabytes = (uint16_t)at;
	channel->offered = true;
	err = vmbus_server_offer(&world->server, &channel->server);
	channel->offered = !err;
	return err;
}

int world_offer_sub(struct world *world, uint32_t at, uint32_t of, uint16_t index)
{
	struct world_channel *channel = &world->channels[at];
	int err;

	memset(channel, 0, sizeof(*channel));
	channel->server.offer = world->channels[of].server.offer;
	channel->server.offer.sub_channel_index = index;
	channel->offered = true;
	err = vmbus_server_offer(&world->server, &channel->server);
	channel->offered = !err;
	return err;
}

void world_rescind(struct world *world, uint32_t at)
{
	world->channels[at].rescinding = true;
	vmbus_server_rescind(&world->server, &world->channels[at].server);
}

bool world_answer(struct world *world, struct world_channel *channel)
{
	if (channel->device == DEVICE_OPENING) {
		channel->device = DEVICE_OPEN;
		vmbus_server_open_done(&world->server, &channel->server, 0);
		return true;
	}
	if (channel->modifying) {
		channel->modifying = false;
		vmbus_server_modify_done(&world->server, &channel->server);
		return true;
	}
	if (channel->device == DEVICE_CLOSING) {
		channel->device = DEVICE_IDLE;
		vmbus_server_close_done(&world->server, &channel->server);
		return true;
	}
	return false;
}

void world_answer_all(struct world *world)
{
	bool any;

	do {
		any = false;
		for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
			any |= world_answer(world, &world->channels[i]);
	} while (any);
}

void guest_posts_on(struct world *world, uint32_t connection_id, const void *message, size_t bytes)
{
	/* An allocation of its very length, so that reading behind it is seen. */
	void *copy = malloc(bytes ? bytes : 1);

	memcpy(copy, message, bytes);
	vmbus_server_on_message(&world->server, connection_id, copy, bytes);
	free(copy);
	world_check(world);
}

void guest_posts(struct world *world, const void *message, size_t bytes)
{
	guest_posts_on(world, VMBUS_CONNECTION_MESSAGE, message, bytes);
}

const void *guest_reads(struct world *world, uint32_t type, size_t bytes)
{
	struct sent *sent = &world->sent[world->read_count];

	if (world->read_count == world->sent_count) {
		if (type != 0)
			fail_msg("no message where one of type %u should be", type);
		return NULL;
	}
	if (type != 0) {
		assert_int_equal(sent->type, type);
		assert_int_equal(sent->bytes, bytes);
	}
	world->read_count++;
	return sent->payload;
}

void guest_reads_nothing(struct world *world)
{
	if (world->read_count != world->sent_count)
		fail_msg("a message of type %u that should not be",
			 world->sent[world->read_count].type);
	world->read_count = world->sent_count = 0;
}

void guest_contacts(struct world *world, uint32_t version, uint32_t vp)
{
	struct vmbus_msg_initiate_contact contact = {
		.header.type = VMBUS_MSG_INITIATE_CONTACT,
		.version = version,
		.target_vp = vp,
		.interrupt_page_gpa = 0x5000,
		.host_to_guest_monitor_gpa = 0x6000,
		.guest_to_host_monitor_gpa = 0x7000,
	};
	bool newer = version >= VMBUS_VERSION_WIN10_V5;

	if (newer) {
		contact.interrupt_page_gpa = 0;
		contact.sint = VMBUS_MESSAGE_SINT;
	}
	guest_posts_on(world, newer ? VMBUS_CONNECTION_MESSAGE_4 : VMBUS_CONNECTION_MESSAGE,
		       &contact, sizeof(contact));
}

void guest_connects(struct world *world, uint32_t version)
{
	struct vmbus_message_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };

	guest_contacts(world, version, 0);
	world_answer_all(world);
	assert_int_equal(world->server.state, VMBUS_SERVER_CONNECTED);
	guest_posts(world, &request, sizeof(request));
	while (guest_reads(world, 0, 0))
		;
	guest_reads_nothing(world);
}

void guest_sends_channel(struct world *world, uint32_t type, uint32_t channel_id)
{
	struct vmbus_msg_channel message = { .header.type = type, .channel_id = channel_id };

	guest_posts(world, &message, sizeof(message));
}

void guest_makes_gpadl(struct world *world, uint32_t channel_id, uint32_t gpadl_id, uint64_t pfn,
		       uint32_t pages)
{
	uint64_t words[VMBUS_MESSAGE_BYTES_MAX / 8] = { 0 };
	struct vmbus_msg_gpadl_header header = {
		.header.type = VMBUS_MSG_GPADL_HEADER,
		.channel_id = channel_id,
		.gpadl_id = gpadl_id,
		.range_bytes = (uint16_t)(8 + 8 * pages),
		.range_count = 1,
	};
	uint8_t *at = (uint8_t *)words;
	struct vmbus_gpa_range range = { .byte_count = pages * HV_PAGE_BYTES };
	uint32_t done = 0;

	memcpy(at, &header, sizeof(header));
	memcpy(at + 20, &range, sizeof(range));
	for (; done < pages && done < 26; done++) {
		uint64_t number = pfn + done;

		memcpy(at + 28 + done * 8, &number, 8);
	}
	guest_posts(world, words, 28 + done * 8);
	while (done < pages) {
		struct vmbus_msg_gpadl_body body = {
			.header.type = VMBUS_MSG_GPADL_BODY,
			.gpadl_id = gpadl_id,
		};
		uint32_t now = pages - done < 28 ? pages - done : 28;

		memcpy(at, &body, sizeof(body));
		for (uint32_t i = 0; i < now; i++) {
			uint64_t number = pfn + done + i;

			memcpy(at + 16 + i * 8, &number, 8);
		}
		guest_posts(world, words, 16 + now * 8);
		done += now;
	}
}

void guest_tears_down(struct world *world, uint32_t channel_id, uint32_t gpadl_id)
{
	struct vmbus_msg_gpadl_teardown teardown = {
		.header.type = VMBUS_MSG_GPADL_TEARDOWN,
		.channel_id = channel_id,
		.gpadl_id = gpadl_id,
	};

	guest_posts(world, &teardown, sizeof(teardown));
}

void guest_opens(struct world *world, uint32_t channel_id, uint32_t gpadl_id, uint32_t offset)
{
	struct vmbus_msg_open_channel open = {
		.header.type = VMBUS_MSG_OPEN_CHANNEL,
		.channel_id = channel_id,
		.open_id = channel_id + 1000,
		.ring_gpadl_id = gpadl_id,
		.target_vp = 1,
		.host_to_guest_page_offset = offset,
	};

	memset(open.user_data, 0xdd, sizeof(open.user_data));
	guest_posts(world, &open, sizeof(open));
}

uint32_t guest_reads_status(struct world *world)
{
	const struct vmbus_msg_open_result *result =
		guest_reads(world, VMBUS_MSG_OPEN_RESULT, sizeof(*result));

	assert_int_equal(result->open_id, result->channel_id + 1000);
	return result->status;
}

void guest_has_open(struct world *world, uint32_t at, uint32_t gpadl_id)
{
	uint16_t id = world->channels[at].server.id;

	guest_makes_gpadl(world, id, gpadl_id, 0x100, 8);
	assert_int_equal(((const struct vmbus_msg_gpadl_created *)
			  guest_reads(world, VMBUS_MSG_GPADL_CREATED, 20))->status, 0);
	guest_opens(world, id, gpadl_id, 4);
	world_answer_all(world);
	assert_int_equal(guest_reads_status(world), 0);
	guest_reads_nothing(world);
	assert_int_equal(world->channels[at].device, DEVICE_OPEN);
}

void world_offered_and_connected(struct world *world, uint32_t version)
{
	world_init(world, NULL);
	world_offer(world, 0);
	world_offer(world, 1);
	guest_connects(world, version);
}

uint32_t guest_reads_created(struct world *world, uint32_t gpadl_id)
{
	const struct vmbus_msg_gpadl_created *created =
		guest_reads(world, VMBUS_MSG_GPADL_CREATED, sizeof(*created));

	assert_int_equal(created->gpadl_id, gpadl_id);
	return created->status;
}

void guest_reads_torndown(struct world *world, uint32_t gpadl_id)
{
	const struct vmbus_msg_gpadl_torndown *torndown =
		guest_reads(world, VMBUS_MSG_GPADL_TORNDOWN, sizeof(*torndown));

	assert_int_equal(torndown->gpadl_id, gpadl_id);
}
