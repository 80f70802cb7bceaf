// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/unit/services/guest_world.h"

struct guest_world *guest_world_create(void)
{
	struct guest_world *world = calloc(1, sizeof(*world));
	struct ring_memory *out = &world->to_host_memory, *in = &world->to_guest_memory;

	assert_non_null(world);
	*out = ring_memory_create(GUEST_WORLD_RING_BYTES);
	*in = ring_memory_create(GUEST_WORLD_RING_BYTES);
	assert_int_equal(vmbus_ring_writer_init(&world->to_host, out->control, out->data,
						GUEST_WORLD_RING_BYTES), 0);
	assert_int_equal(vmbus_ring_reader_init(&world->from_guest, out->control, out->data,
						GUEST_WORLD_RING_BYTES), 0);
	assert_int_equal(vmbus_ring_writer_init(&world->to_guest, in->control, in->data,
						GUEST_WORLD_RING_BYTES), 0);
	assert_int_equal(vmbus_ring_reader_init(&world->from_host, in->control, in->data,
						GUEST_WORLD_RING_BYTES), 0);
	return world;
}

void guest_world_destroy(struct guest_world *world)
{
	ring_memory_destroy(&world->to_host_memory);
	ring_memory_destroy(&world->to_guest_memory);
	free(world);
}

int host_sends_raw(struct guest_world *world, uint16_t packet_type, const void *payload,
		   size_t bytes)
{
	struct vmbus_piece piece = { payload, bytes };
	struct vmbus_packet_out packet = { .type = packet_type, .id = 4711, .payload = &piece,
					   .payload_count = 1 };
	int err = vmbus_ring_write(&world->to_guest, &packet);

	(void)!vmbus_ring_writer_publish(&world->to_guest);
	return err;
}

void host_sends(struct guest_world *world, enum ic_message_type type, const void *message,
		size_t message_bytes)
{
	uint8_t payload[4096];
	struct ic_header header = {
		.framework = { 3, 0 },
		.type = (uint16_t)type,
		.bytes = (uint16_t)message_bytes,
		.transaction_id = ++world->transaction_id,
		.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
	};
	struct ic_pipe_header pipe = {
		.type = IC_PIPE_DATA,
		.bytes = (uint32_t)(sizeof(header) + message_bytes),
	};

	memcpy(payload, &pipe, sizeof(pipe));
	memcpy(payload + sizeof(pipe), &header, sizeof(header));
	if (message_bytes)
		memcpy(payload + IC_HEADERS_BYTES, message, message_bytes);
	assert_int_equal(host_sends_raw(world, VMBUS_PACKET_IN_BAND, payload,
					IC_HEADERS_BYTES + message_bytes), 0);
}

void host_offers(struct guest_world *world, const struct ic_version *frameworks,
		 const struct ic_version *versions)
{
	struct {
		struct ic_negotiate head;
		struct ic_version list[64];
	} offer = { .head = { 0 } };
	uint32_t count = 0;

	for (; frameworks->major; count++, offer.head.framework_count++)
		offer.list[count] = *frameworks++;
	for (; versions->major; count++, offer.head.message_count++)
		offer.list[count] = *versions++;
	host_sends(world, IC_NEGOTIATE, &offer, sizeof(offer.head) + count * sizeof(offer.list[0]));
}

bool host_has(struct guest_world *world, struct guest_answer *out_answer)
{
	_Alignas(8) uint8_t buffer[8192];
	struct vmbus_packet packet;
	uint32_t bytes;
	int err = vmbus_ring_read(&world->from_guest, buffer, sizeof(buffer), &bytes);

	if (err == -LIS_EMPTY)
		return false;
	assert_int_equal(err, 0);
	(void)!vmbus_ring_reader_publish(&world->from_guest);
	assert_int_equal(vmbus_packet_parse(buffer, bytes, &packet), 0);
	memset(out_answer, 0, sizeof(*out_answer));
	out_answer->packet_type = packet.type;
	out_answer->packet_id = packet.id;
	assert_in_range(packet.payload_bytes, IC_HEADERS_BYTES, 4096);
	memcpy(&out_answer->pipe, packet.payload, sizeof(out_answer->pipe));
	memcpy(&out_answer->header, packet.payload + 8, sizeof(out_answer->header));
	memcpy(out_answer->message, packet.payload + IC_HEADERS_BYTES,
	       packet.payload_bytes - IC_HEADERS_BYTES);
	assert_int_equal(out_answer->pipe.type, IC_PIPE_DATA);
	assert_int_equal(out_answer->pipe.bytes,
			 sizeof(struct ic_header) + out_answer->header.bytes);
	assert_in_range(packet.payload_bytes - sizeof(struct ic_pipe_header) -
				out_answer->pipe.bytes,
			0, 7);
	return true;
}

struct guest_answer host_takes(struct guest_world *world, enum ic_message_type type,
			       uint32_t status)
{
	struct guest_answer answer;

	assert_true(host_has(world, &answer));
	assert_int_equal(answer.packet_type, VMBUS_PACKET_IN_BAND);
	assert_int_equal(answer.packet_id, 4711);
	assert_int_equal(answer.header.type, type);
	assert_int_equal(answer.header.status, status);
	assert_int_equal(answer.header.flags, IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE);
	assert_int_equal(answer.header.transaction_id, world->transaction_id);
	return answer;
}

void host_has_nothing(struct guest_world *world)
{
	struct guest_answer answer;

	assert_false(host_has(world, &answer));
}
