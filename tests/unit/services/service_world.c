// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* A bus with services on it, a scripted guest and a simulated clock. */
#include "tests/unit/services/service_world.h"

#include "vmbus/packet.h"

#define RING_PAGES 3u /* as hv_utils: control page and two of data */

static uint64_t simulated_now(void *clock)
{
	return ((struct service_world *)clock)->now_ns;
}

static void pump(void *arg)
{
	struct service_world *world = arg;

	io_loop_turn(world->loop, false);
}

void world_init(struct service_world *world)
{
	struct loopback_config loopback = { .vp_count = 1, .memory_bytes = 2u << 20 };
	struct io_loop_config loop = { .name = "test", .now_ns = simulated_now, .clock = world };
	struct vmbus_host_config host = { 0 };

	memset(world, 0, sizeof(*world));
	world->now_ns = 1000 * SECOND_NS;
	assert_int_equal(loopback_create(&loopback, &world->partition), 0);
	assert_int_equal(io_loop_create(&loop, &world->loop), 0);
	host.partition = world->partition;
	host.loop = world->loop;
	assert_int_equal(vmbus_host_create(&host, &world->host), 0);
	assert_int_equal(loopback_guest_attach(world->partition, &world->guest.lo), 0);
	world->guest.pump = pump;
	world->guest.pump_arg = world;
}

void world_fini(struct service_world *world)
{
	world_settle(world);
	vmbus_host_destroy(world->host);
	loopback_guest_detach(world->guest.lo);
	loopback_destroy(world->partition);
	io_loop_destroy(world->loop);
}

void world_settle(struct service_world *world)
{
	/* Eventfds take a turn or two to come round. */
	for (int idle = 0; idle < 5;)
		idle = io_loop_turn(world->loop, false) ? 0 : idle + 1;
}

void world_pass_ms(struct service_world *world, uint64_t ms)
{
	world_settle(world);
	while (ms) {
		uint64_t step_ms = ms < 100 ? ms : 100;

		world->now_ns += step_ms * MS_NS;
		ms -= step_ms;
		world_settle(world);
	}
}

void guest_opens(struct service_world *world, struct guid instance_id)
{
	const struct vmbus_msg_offer_channel *offer;

	if (!world->guest.version) {
		assert_int_equal(mini_connect(&world->guest, VMBUS_VERSION_IRON), 0);
		assert_int_equal(mini_request_offers(&world->guest), 0);
	}
	offer = mini_find_offer(&world->guest, &instance_id, 0);
	assert_non_null(offer);
	assert_int_equal(mini_open(&world->guest, offer, RING_PAGES, &world->channel), 0);
	world_settle(world);
}

void guest_closes(struct service_world *world)
{
	assert_int_equal(mini_close(&world->channel), 0);
	world_settle(world);
}

bool guest_has(struct service_world *world, struct ic_packet *out_packet)
{
	_Alignas(8) uint8_t buffer[8192];
	struct vmbus_packet packet;
	uint32_t bytes;
	int err;

	world_settle(world);
	err = vmbus_ring_read(&world->channel.from_host, buffer, sizeof(buffer), &bytes);
	if (err == -LIS_EMPTY)
		return false;
	assert_int_equal(err, 0);
	if (vmbus_ring_reader_publish(&world->channel.from_host))
		mini_signal(&world->channel);
	assert_int_equal(vmbus_packet_parse(buffer, bytes, &packet), 0);
	assert_true(packet.payload_bytes >= IC_HEADERS_BYTES);
	assert_true(packet.payload_bytes <= sizeof(out_packet->message));
	memset(out_packet, 0, sizeof(*out_packet));
	out_packet->type = packet.type;
	out_packet->payload_bytes = packet.payload_bytes;
	memcpy(&out_packet->pipe, packet.payload, sizeof(out_packet->pipe));
	memcpy(&out_packet->header, packet.payload + 8, sizeof(out_packet->header));
	memcpy(out_packet->message, packet.payload + IC_HEADERS_BYTES,
	       packet.payload_bytes - IC_HEADERS_BYTES);
	return true;
}

void guest_takes(struct service_world *world, enum ic_message_type type,
		 struct ic_packet *out_packet)
{
	assert_true(guest_has(world, out_packet));
	assert_int_equal(out_packet->type, VMBUS_PACKET_IN_BAND);
	assert_int_equal(out_packet->pipe.type, IC_PIPE_DATA);
	assert_int_equal(out_packet->pipe.bytes,
			 sizeof(out_packet->header) + out_packet->header.bytes);
	assert_true(out_packet->pipe.bytes + sizeof(out_packet->pipe) <= out_packet->payload_bytes);
	assert_int_equal(out_packet->header.type, type);
	assert_int_equal(out_packet->header.flags, IC_FLAG_TRANSACTION | IC_FLAG_REQUEST);
	assert_int_equal(out_packet->header.status, IC_STATUS_OK);
}

void guest_has_nothing(struct service_world *world)
{
	struct ic_packet packet;

	assert_false(guest_has(world, &packet));
}

void guest_sends(struct service_world *world, const void *payload, size_t bytes)
{
	assert_int_equal(mini_send(&world->channel, 1, payload, bytes), 0);
	mini_signal(&world->channel);
	world_settle(world);
}

void guest_answers(struct service_world *world, const struct ic_packet *request, uint32_t status,
		   const void *message, size_t message_bytes)
{
	uint8_t payload[sizeof(request->message) + IC_HEADERS_BYTES];
	struct ic_header header = request->header;

	header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	header.status = status;
	memcpy(payload, &request->pipe, sizeof(request->pipe));
	memcpy(payload + 8, &header, sizeof(header));
	memcpy(payload + IC_HEADERS_BYTES, request->message, sizeof(request->message));
	if (message_bytes)
		memcpy(payload + IC_HEADERS_BYTES, message, message_bytes);
	guest_sends(world, payload, request->payload_bytes);
}

void guest_negotiates(struct service_world *world, struct ic_version framework,
		      struct ic_version version)
{
	struct {
		struct ic_negotiate head;
		struct ic_version versions[2];
	} answer = { .head = { 1, 1, 0 }, .versions = { framework, version } };
	struct ic_packet request;

	guest_takes(world, IC_NEGOTIATE, &request);
	request.header.bytes = sizeof(answer);
	guest_answers(world, &request, IC_STATUS_OK, &answer, sizeof(answer));
}
