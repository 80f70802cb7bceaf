// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* See net_port.h. On the loop of bus.c. */
#include "fuzz/net_port.h"

#include "fuzz/bus.h"

#define FRAMES_MAX 64u

/* A frame that has not been received; behind its head is the pattern. */
struct arriving {
	uint32_t bytes;
	uint32_t head_bytes;
	uint8_t head[64];
	struct net_offload offload;
};

static struct net_port port;
static struct net_port_user *user;
static struct io_call ready_call;
static bool ready_queued, look_again;
static struct arriving arriving[FRAMES_MAX];
static uint32_t arriving_count, number, receive_can;
static int receive_error, send_error;
static uint8_t pattern[NET_FRAME_BYTES_MAX];

static void is_ready(struct io_call *call)
{
	ready_queued = false;
	if (user)
		user->ready(user);
}

static void ready(void)
{
	if (!user || !look_again || ready_queued)
		return;
	look_again = false;
	ready_queued = true;
	io_loop_call(bus_loop(), &ready_call);
}

/* ---- what the VSP calls ---- */

static int port_start(struct net_port *which, struct io_loop *loop, struct net_port_user *by)
{
	FUZZ_CHECK(which == &port && !user && loop == bus_loop());
	user = by;
	look_again = true;
	receive_can = 0;
	return 0;
}

static void port_stop(struct net_port *which, struct io_call *stopped)
{
	FUZZ_CHECK(user);
	user = NULL;
	io_loop_call(bus_loop(), stopped);
}

static void check_offload(const struct net_frame *frame)
{
	static const uint32_t can[] = { 0, NET_CAN_TCP_IPV4, NET_CAN_TCP_IPV6, NET_CAN_UDP };
	const struct net_offload *offload = &frame->offload;
	uint32_t place = (uint32_t)offload->checksum_start + offload->checksum_offset + 2;

	FUZZ_CHECK(!(offload->flags & ~NET_CHECKSUM_PARTIAL) && offload->gso <= NET_GSO_UDP);
	if (offload->flags & NET_CHECKSUM_PARTIAL)
		FUZZ_CHECK((port.can_send & NET_CAN_CHECKSUM) && place <= frame->bytes &&
			   (offload->checksum_offset == 16 || offload->checksum_offset == 6));
	if (offload->gso == NET_GSO_NONE)
		return;
	FUZZ_CHECK(port.can_send & can[offload->gso]);
	FUZZ_CHECK((offload->flags & NET_CHECKSUM_PARTIAL) && place <= offload->header_bytes);
	FUZZ_CHECK(offload->segment_bytes && offload->header_bytes < frame->bytes &&
		   frame->bytes - offload->header_bytes > offload->segment_bytes);
}

static int port_send(struct net_port *which, const struct net_frame *frame)
{
	uint64_t bytes = 0;

	FUZZ_CHECK(user && frame->iov_count);
	for (uint32_t i = 0; i < frame->iov_count; i++) {
		volatile uint8_t *at = frame->iov[i].iov_base;

		FUZZ_CHECK(frame->iov[i].iov_len);
		bytes += frame->iov[i].iov_len;
		(void)at[0]; /* a sanitizer sees where it is not there */
		(void)at[frame->iov[i].iov_len - 1];
	}
	FUZZ_CHECK(bytes == frame->bytes);
	FUZZ_CHECK(bytes >= NET_FRAME_BYTES_MIN && bytes <= NET_FRAME_BYTES_MAX);
	check_offload(frame);
	return send_error;
}

static void scatter(const struct iovec *iov, const struct arriving *frame)
{
	uint32_t at = 0;

	memcpy(pattern, frame->head, frame->head_bytes);
	for (uint32_t i = 0; at < frame->bytes; i++) {
		uint32_t piece = frame->bytes - at;

		piece = iov[i].iov_len < piece ? (uint32_t)iov[i].iov_len : piece;
		memcpy(iov[i].iov_base, pattern + at, piece);
		at += piece;
	}
}

static int port_receive(struct net_port *which, const struct iovec *iov, uint32_t iov_count,
			uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct arriving frame;
	uint64_t room = 0;

	FUZZ_CHECK(user);
	for (uint32_t i = 0; i < iov_count; i++)
		room += iov[i].iov_len;
	FUZZ_CHECK(room >= bytes);
	if (receive_error)
		return receive_error;
	do {
		if (!arriving_count) {
			look_again = true;
			return -LIS_EMPTY;
		}
		frame = arriving[0];
		memmove(arriving, arriving + 1, --arriving_count * sizeof(frame));
	} while (frame.bytes > bytes);
	scatter(iov, &frame);
	*out_bytes = frame.bytes;
	*out_offload = frame.offload;
	return 0;
}

static void port_set_receive(struct net_port *which, uint32_t can)
{
	FUZZ_CHECK(user && !(can & ~port.can_receive));
	receive_can = can;
}

static const struct net_port_ops port_ops = {
	.start = port_start, .stop = port_stop, .send = port_send, .receive = port_receive,
	.set_receive = port_set_receive,
};

/* ---- what the input does ---- */

struct net_port *fuzz_port_begin(uint8_t abilities, uint32_t mtu_max)
{
	port = (struct net_port){ .ops = &port_ops, .can_send = abilities & 15,
				  .can_receive = abilities >> 4, .mtu_max = mtu_max };
	atomic_store(&port.link_up, true);
	ready_call.fn = is_ready;
	ready_queued = false;
	user = NULL;
	arriving_count = number = 0;
	receive_error = send_error = 0;
	for (uint32_t i = 0; !pattern[sizeof(pattern) - 1] && i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + (i >> 8)) | 1;
	return &port;
}

void fuzz_port_end(void)
{
	FUZZ_CHECK(!user);
}

/* The headers of TCP or UDP on IPv4 or IPv6, or something like it. Returns where TCP or UDP begins. */
static uint32_t put_headers(uint8_t *head, uint8_t how, uint8_t kind)
{
	uint32_t at = kind & 0x40 ? 18 : 14, transport = at + (kind & 1 ? 40 : 20);

	head[0] = (const uint8_t[]){ 2, 0xff, 1, 6 }[kind >> 2 & 3];
	head[5] = kind >> 2 & 3 ? 0 : 1;
	if (head[0] == 0xff)
		memset(head, 0xff, NET_MAC_BYTES);
	memcpy(head + FUZZ_PORT_NUMBER_OFFSET, &number, sizeof(number));
	if (kind & 0x40)
		memcpy(head + 12, (const uint8_t[]){ 0x81, 0, kind, how }, 4);
	head[at - 2] = kind & 1 ? 0x86 : 0x08;
	head[at - 1] = kind & 1 ? 0xdd : 0x00;
	head[at] = kind & 1 ? 0x60 : 0x45;
	head[at + (kind & 1 ? 6 : 9)] = kind & 2 ? 17 : 6;
	head[at + 15] = how;
	if (!(kind & 2) && transport + 12 < sizeof(arriving[0].head))
		head[transport + 12] = 0x50;
	return transport;
}

void fuzz_port_comes(struct input *input)
{
	static const uint8_t flags[] = { 0, NET_CHECKSUM_VALID, NET_CHECKSUM_PARTIAL,
					 NET_CHECKSUM_PARTIAL };
	uint8_t how = input_u8(input), kind = input_u8(input);
	struct arriving *frame = &arriving[arriving_count];
	struct net_offload *offload = &frame->offload;
	uint32_t transport;

	if (arriving_count == FRAMES_MAX)
		return;
	memset(frame, 0, sizeof(*frame));
	frame->bytes = how & 0x80 ? input_u16(input) + (how & 0x40 ? 18 : 0) : input_u8(input);
	if (frame->bytes < NET_FRAME_BYTES_MIN)
		frame->bytes = NET_FRAME_BYTES_MIN;
	frame->head_bytes = frame->bytes < sizeof(frame->head) ? frame->bytes : sizeof(frame->head);
	number++;
	transport = put_headers(frame->head, how, kind);
	if (how & 1)
		input_copy(input, frame->head + 14, how >> 1 & 15);
	offload->flags = flags[kind >> 4 & 3];
	offload->checksum_start = (uint16_t)transport;
	offload->checksum_offset = kind & 2 ? 6 : 16;
	if (kind & 0x80) {
		offload->checksum_start = input_u16(input) | 16; /* not over the number */
		offload->checksum_offset = input_u8(input);
	}
	if (offload->flags == NET_CHECKSUM_PARTIAL && how & 0x40 && !(kind & 2) &&
	    receive_can & (kind & 1 ? NET_CAN_TCP_IPV6 : NET_CAN_TCP_IPV4)) {
		offload->gso = kind & 1 ? NET_GSO_TCP_IPV6 : NET_GSO_TCP_IPV4;
		offload->segment_bytes = 1000;
		offload->header_bytes = (uint16_t)(transport + 20);
	}
	arriving_count++;
	ready();
}

uint32_t fuzz_port_count(void)
{
	return number;
}

void fuzz_port_fails(int on_send, int on_receive)
{
	send_error = on_send;
	receive_error = on_receive;
	look_again |= !receive_error;
	ready();
}

void fuzz_port_link(bool up)
{
	atomic_store(&port.link_up, up);
	if (user)
		user->link_changed(user);
}
