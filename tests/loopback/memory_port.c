/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A network port in memory, which complains of a VSP that breaks the rules of network/port.h. */
#include "tests/loopback/memory_port.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static struct memory_port *memory_port(const struct net_port *port)
{
	return container_of(port, struct memory_port, base);
}

static void expect(struct memory_port *port, bool holds, const char *problem)
{
	if (!holds && !port->problem)
		port->problem = problem;
}

/* ---- lists ---- */

static void append(struct memory_frames *frames, struct memory_frame *frame)
{
	frame->next = NULL;
	*frames->end = frame;
	frames->end = &frame->next;
	frames->count++;
}

static struct memory_frame *take(struct memory_frames *frames)
{
	struct memory_frame *frame = frames->first;

	if (!frame)
		return NULL;
	frames->first = frame->next;
	if (!frames->first)
		frames->end = &frames->first;
	frames->count--;
	return frame;
}

static void drop(struct memory_frames *frames)
{
	while (frames->first)
		free(take(frames));
}

/* ---- what the VSP calls ---- */

static void tell_ready(struct io_call *call)
{
	struct memory_port *port = container_of(call, struct memory_port, ready_call);

	port->ready_queued = false;
	if (port->started)
		port->user->ready(port->user);
}

static void tell_link(struct io_call *call)
{
	struct memory_port *port = container_of(call, struct memory_port, link_call);

	port->link_queued = false;
	if (port->started)
		port->user->link_changed(port->user);
}

static void ready(struct memory_port *port)
{
	if (!port->started || !port->look_again || port->ready_queued)
		return;
	port->look_again = false;
	port->ready_queued = true;
	io_loop_call(port->loop, &port->ready_call);
}

static int port_start(struct net_port *base, struct io_loop *loop, struct net_port_user *user)
{
	struct memory_port *port = memory_port(base);

	expect(port, !port->started, "start of a port that is started");
	port->loop = loop;
	port->user = user;
	port->started = true;
	port->look_again = true;
	if (port->waiting.first)
		ready(port);
	return 0;
}

static void port_stop(struct net_port *base, struct io_call *stopped)
{
	struct memory_port *port = memory_port(base);

	expect(port, port->started, "stop of a port that is not started");
	port->started = false;
	io_loop_call(port->loop, stopped);
}

static void check_offload(struct memory_port *port, const struct net_frame *frame)
{
	static const uint32_t can[] = { 0, NET_CAN_TCP_IPV4, NET_CAN_TCP_IPV6, NET_CAN_UDP };
	const struct net_offload *offload = &frame->offload;
	uint32_t place = (uint32_t)offload->checksum_start + offload->checksum_offset;

	expect(port, !(offload->flags & ~(NET_CHECKSUM_PARTIAL | NET_CHECKSUM_VALID)),
	       "unknown flags");
	if (offload->flags & NET_CHECKSUM_PARTIAL) {
		expect(port, port->base.can_send & NET_CAN_CHECKSUM, "a checksum nobody can make");
		expect(port, place + 2 <= frame->bytes, "a checksum behind the frame");
	}
	expect(port, offload->gso <= NET_GSO_UDP, "unknown gso");
	if (offload->gso == NET_GSO_NONE || offload->gso > NET_GSO_UDP)
		return;
	expect(port, (port->base.can_send & can[offload->gso]) == can[offload->gso],
	       "segments nobody can cut");
	expect(port, offload->flags & NET_CHECKSUM_PARTIAL, "gso without a checksum");
	expect(port, offload->segment_bytes, "segments of nothing");
	expect(port, offload->header_bytes < frame->bytes, "headers behind the frame");
	expect(port, place + 2 <= offload->header_bytes, "a checksum behind the headers");
}

static int port_send(struct net_port *base, const struct net_frame *frame)
{
	struct memory_port *port = memory_port(base);
	struct memory_frame *copy = malloc(sizeof(*copy) + frame->bytes);
	size_t bytes = 0;

	if (!copy)
		abort();
	expect(port, port->started, "send on a port that is not started");
	expect(port, frame->bytes >= NET_FRAME_BYTES_MIN && frame->bytes <= NET_FRAME_BYTES_MAX,
	       "a frame of impossible length");
	check_offload(port, frame);
	for (uint32_t i = 0; i < frame->iov_count; i++) {
		size_t piece = frame->iov[i].iov_len;

		if (piece > frame->bytes - bytes)
			piece = frame->bytes - bytes;
		memcpy(copy->data + bytes, frame->iov[i].iov_base, piece);
		bytes += frame->iov[i].iov_len;
	}
	expect(port, bytes == frame->bytes, "pieces that are not the frame");
	copy->bytes = frame->bytes;
	copy->offload = frame->offload;
	copy->queue = frame->queue;
	port->unflushed++;
	if (port->send_error) {
		free(copy);
		atomic_fetch_add(&base->counters.send_dropped, 1);
		return port->send_error;
	}
	port->sent_frames++;
	if (port->echo) {
		copy->offload = (struct net_offload){ 0 };
		append(&port->waiting, copy);
		ready(port);
		return 0;
	}
	append(&port->sent, copy);
	if (port->forget)
		drop(&port->sent);
	return 0;
}

static void port_flush(struct net_port *base)
{
	struct memory_port *port = memory_port(base);

	port->flushes++;
	port->unflushed = 0;
	if (port->on_flush)
		port->on_flush(port->on_flush_arg);
}

static size_t scatter(const struct iovec *iov, uint32_t iov_count, const uint8_t *from, size_t bytes)
{
	for (uint32_t i = 0; i < iov_count && bytes; i++) {
		size_t piece = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;

		memcpy(iov[i].iov_base, from, piece);
		from += piece;
		bytes -= piece;
	}
	return bytes;
}

static int port_receive(struct net_port *base, const struct iovec *iov, uint32_t iov_count,
			uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct memory_port *port = memory_port(base);
	struct memory_frame *frame;
	size_t room = 0, left;

	expect(port, port->started, "receive on a port that is not started");
	for (uint32_t i = 0; i < iov_count; i++)
		room += iov[i].iov_len;
	expect(port, room >= bytes, "less room than is said");
	port->receives++;
	if (port->receive_error)
		return port->receive_error;
	frame = take(&port->waiting);
	while (frame && frame->bytes > bytes) {
		atomic_fetch_add(&base->counters.receive_dropped, 1);
		free(frame);
		frame = take(&port->waiting);
	}
	if (!frame) {
		port->look_again = true;
		return -LIS_EMPTY;
	}
	left = scatter(iov, iov_count, frame->data, frame->bytes);
	expect(port, !left, "no room for the frame");
	*out_bytes = frame->bytes;
	*out_offload = frame->offload;
	free(frame);
	return 0;
}

static void port_set_receive(struct net_port *base, uint32_t can)
{
	struct memory_port *port = memory_port(base);

	expect(port, port->started, "set_receive on a port that is not started");
	expect(port, !(can & ~base->can_receive), "what the port cannot do is switched on");
	port->receive_can = can;
	port->set_receives++;
}

static void port_describe(const struct net_port *base, char *line)
{
	snprintf(line, NET_PORT_LINE_BYTES, "memory");
}

static void port_destroy(struct net_port *base)
{
	memory_port_fini(memory_port(base));
}

static const struct net_port_ops memory_port_ops = {
	.start = port_start,
	.stop = port_stop,
	.send = port_send,
	.flush = port_flush,
	.receive = port_receive,
	.set_receive = port_set_receive,
	.describe = port_describe,
	.destroy = port_destroy,
};

/* ---- what the test calls ---- */

void memory_port_init(struct memory_port *port, uint32_t can_send, uint32_t can_receive,
		      uint32_t mtu_max)
{
	memset(port, 0, sizeof(*port));
	port->base.ops = &memory_port_ops;
	port->base.can_send = can_send;
	port->base.can_receive = can_receive;
	port->base.mtu_max = mtu_max;
	atomic_store(&port->base.link_up, true);
	port->ready_call.fn = tell_ready;
	port->link_call.fn = tell_link;
	port->sent.end = &port->sent.first;
	port->waiting.end = &port->waiting.first;
}

void memory_port_fini(struct memory_port *port)
{
	expect(port, !port->started, "end of a port that is started");
	drop(&port->sent);
	drop(&port->waiting);
}

void memory_port_queue(struct memory_port *port, const uint8_t *data, uint32_t bytes,
		       const struct net_offload *offload)
{
	struct memory_frame *frame = malloc(sizeof(*frame) + bytes);

	if (!frame)
		abort();
	frame->bytes = bytes;
	frame->offload = offload ? *offload : (struct net_offload){ 0 };
	memcpy(frame->data, data, bytes);
	append(&port->waiting, frame);
	ready(port);
}

struct memory_frame *memory_port_take(struct memory_port *port)
{
	return take(&port->sent);
}

void memory_port_drop(struct memory_port *port)
{
	drop(&port->sent);
}

void memory_port_set_link(struct memory_port *port, bool up)
{
	atomic_store(&port->base.link_up, up);
	if (!port->started || port->link_queued)
		return;
	port->link_queued = true;
	io_loop_call(port->loop, &port->link_call);
}
