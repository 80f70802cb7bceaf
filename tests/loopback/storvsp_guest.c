/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The storage end of a scripted guest. */
#include "tests/loopback/storvsp_guest.h"

#include <string.h>
#include <time.h>

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int storvsp_guest_write(struct mini_channel *channel, const struct vmbus_packet_out *packet)
{
	int err = vmbus_ring_write(&channel->to_host, packet);

	if (vmbus_ring_writer_publish(&channel->to_host))
		mini_signal(channel);
	return err;
}

int storvsp_guest_send(struct mini_channel *channel, uint64_t id,
		       const struct storvsc_packet *packet, size_t bytes)
{
	struct vmbus_piece piece = { packet, bytes };
	struct vmbus_packet_out out = vmbus_packet_in_band(id, true, &piece, 1);

	return storvsp_guest_write(channel, &out);
}

int storvsp_guest_receive(struct mini_channel *channel, struct storvsp_reply *out_reply)
{
	uint64_t buffer[64];
	struct vmbus_packet packet;
	uint32_t bytes;
	int err = vmbus_ring_read(&channel->from_host, buffer, sizeof(buffer), &bytes);

	if (vmbus_ring_reader_publish(&channel->from_host))
		mini_signal(channel);
	if (!err)
		err = vmbus_packet_parse(buffer, bytes, &packet);
	if (err)
		return err;
	memset(out_reply, 0, sizeof(*out_reply));
	out_reply->type = packet.type;
	out_reply->id = packet.id;
	out_reply->bytes = packet.payload_bytes;
	memcpy(&out_reply->packet, packet.payload,
	       packet.payload_bytes < sizeof(out_reply->packet) ? packet.payload_bytes :
								  sizeof(out_reply->packet));
	return 0;
}

int storvsp_guest_wait(struct mini_channel *channel, struct storvsp_reply *out_reply)
{
	uint64_t end_ms = now_ms() + MINI_WAIT_MS;
	int err;

	do {
		err = storvsp_guest_receive(channel, out_reply);
		if (err != -LIS_EMPTY)
			return err;
		if (channel->guest->pump)
			channel->guest->pump(channel->guest->pump_arg);
	} while (now_ms() < end_ms);
	return -LIS_TIMEOUT;
}

int storvsp_guest_call(struct mini_channel *channel, const struct storvsc_packet *packet,
		       size_t bytes, struct storvsp_reply *out_reply)
{
	int err = storvsp_guest_send(channel, 0x1234567, packet, bytes);

	return err ? err : storvsp_guest_wait(channel, out_reply);
}

static int step(struct mini_channel *channel, uint32_t operation, uint16_t version)
{
	struct storvsc_packet packet = { .operation = operation,
					 .flags = STORVSC_FLAG_REQUEST_COMPLETION };
	size_t bytes = version >= STORVSC_VERSION_WIN8 ? STORVSC_PACKET_BYTES_LONG :
							 STORVSC_PACKET_BYTES_SHORT;
	struct storvsp_reply reply;
	int err;

	if (operation == STORVSC_QUERY_PROTOCOL_VERSION)
		packet.version.major_minor = version;
	err = storvsp_guest_call(channel, &packet, bytes, &reply);
	if (err)
		return err;
	if (reply.type != VMBUS_PACKET_COMPLETION ||
	    reply.packet.operation != STORVSC_COMPLETE_IO || reply.bytes != bytes)
		return -LIS_CORRUPT;
	return reply.packet.status ? -LIS_REFUSED : 0;
}

int storvsp_guest_init(struct mini_channel *channel, uint16_t version)
{
	static const uint32_t steps[] = { STORVSC_BEGIN_INITIALIZATION,
					  STORVSC_QUERY_PROTOCOL_VERSION, STORVSC_QUERY_PROPERTIES,
					  STORVSC_END_INITIALIZATION };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int err = step(channel, steps[i], version);

		if (err)
			return err;
	}
	return 0;
}
