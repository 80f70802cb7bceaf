// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/loopback/echo_vsp.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 32

struct echo_channel {
	struct echo_device *echo;
	struct vmbus_channel *channel;
	struct io_timer close_timer;
	bool closed;
	uint64_t buffer[VMBUS_PACKET_BYTES_MAX / 8];
	/* An answer that found no room. */
	bool held;
	uint64_t held_id;
	size_t held_bytes;
};

static bool answer(struct echo_channel *e, uint64_t id, const void *payload, size_t bytes)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)payload, .iov_len = bytes };
	int err = vmbus_channel_send(e->channel, VMBUS_PACKET_COMPLETION, id, false, &iov, 1);

	if (err != -LIS_FULL)
		return true;
	if (payload != e->buffer)
		memmove(e->buffer, payload, bytes);
	e->held = true;
	e->held_id = id;
	e->held_bytes = bytes;
	return false;
}

/* False where the channel is no more. */
static bool obey(struct echo_channel *e, const uint8_t *payload, size_t bytes)
{
	const uint64_t *pfns;
	size_t pfn_count;
	uint32_t id, offset, length;

	if (bytes < 8)
		return true;
	memcpy(&id, payload + 4, 4);
	switch (payload[0]) {
	case ECHO_OFFER_SUB_CHANNELS:
		vmbus_device_offer_sub_channels(e->channel->device, payload[1]);
		return true;
	case ECHO_HOLD_GPADL:
		length = 0;
		if (vmbus_channel_gpadl(e->channel, id, &pfns, &pfn_count, &offset, &length) == 0)
			atomic_store(&e->echo->gpadl_bytes, (int)length);
		return true;
	case ECHO_RELEASE_GPADL:
		vmbus_channel_gpadl_release(e->channel, id);
		return true;
	case ECHO_BREAK:
		vmbus_channel_break(e->channel, "asked to by the test");
		return false;
	case ECHO_BUSY:
		atomic_store(&e->echo->busy, true);
		return true;
	default:
		return true;
	}
}

static bool receive(struct vmbus_channel *channel)
{
	struct echo_channel *e = channel->owner;
	struct vmbus_packet packet;
	bool any = false;

	if (e->closed)
		atomic_fetch_add(&e->echo->receives_after_close, 1);
	if (atomic_load(&e->echo->busy))
		return false;
	if (e->held) {
		e->held = false;
		if (!answer(e, e->held_id, e->buffer, e->held_bytes))
			return any;
		any = true;
	}
	for (int i = 0; i < BATCH; i++) {
		if (vmbus_channel_receive(channel, e->buffer, sizeof(e->buffer), &packet))
			break;
		any = true;
		if (!obey(e, packet.payload, packet.payload_bytes) ||
		    !answer(e, packet.id, packet.payload, packet.payload_bytes) ||
		    atomic_load(&e->echo->busy))
			break;
	}
	return any;
}

static int opened(struct vmbus_channel *channel)
{
	struct echo_device *echo = vmbus_device_owner(channel->device);
	int err = atomic_load(&echo->open_error);
	struct echo_channel *e;

	if (err)
		return err;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -LIS_NOMEM;
	e->echo = echo;
	e->channel = channel;
	channel->owner = e;
	atomic_fetch_add(&echo->opens, 1);
	if (atomic_load(&echo->break_in_open))
		vmbus_channel_break(channel, "asked to by the test");
	return 0;
}

static void say_closed(struct io_timer *timer)
{
	struct echo_channel *e =
		(struct echo_channel *)((char *)timer - offsetof(struct echo_channel, close_timer));
	struct vmbus_channel *channel = e->channel;

	atomic_fetch_add(&e->echo->closes, 1);
	free(e);
	vmbus_channel_closed(channel);
}

static void closed(struct vmbus_channel *channel)
{
	struct echo_channel *e = channel->owner;
	int delay_ms = atomic_load(&e->echo->close_delay_ms);

	e->closed = true;
	e->close_timer.expired = say_closed;
	if (delay_ms > 0)
		io_timer_set(&e->close_timer, channel->loop,
			     io_loop_now_ns(channel->loop) + (uint64_t)delay_ms * 1000000);
	else
		say_closed(&e->close_timer);
}

static const struct vmbus_device_ops echo_ops = {
	.open = opened,
	.receive = receive,
	.close = closed,
};

int echo_offer(struct vmbus_host *host, struct echo_device *echo, const char *name,
	       struct guid instance_id, uint16_t sub_channels_max, struct io_loop *const *loops,
	       size_t loop_count)
{
	struct vmbus_device_config config = {
		.name = name,
		.interface_id = GUID(0x0e0c0e0c, 0x1234, 0x4321, 0x8765, 0x0102030405),
		.instance_id = instance_id,
		.sub_channels_max = sub_channels_max,
		.loops = loops,
		.loop_count = loop_count,
		.ops = &echo_ops,
		.owner = echo,
	};

	return vmbus_host_offer(host, &config, &echo->device);
}
