/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A network port: where a network VSP's frames go to and come from. A back end (backends/) implements
 * it; the VSP does not know which.
 *
 * Frames are Ethernet, with their VLAN tags in place. What was left undone in a frame, so that it need
 * not be done for each packet or not at all, travels beside it in struct net_offload, which says what
 * virtio's network header says.
 *
 * Nothing is queued in between: net_port_send() has taken a frame or dropped it when it returns, and
 * frames wait in the back end until the VSP has room and asks for them.
 *
 * Threads: a port belongs to the loop it was started on, and every function is for its thread but
 * where it says otherwise. Nothing blocks.
 */
#ifndef OPENLIS_NETWORK_PORT_H
#define OPENLIS_NETWORK_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/loop.h"
#include "vmbus/error.h"

#define NET_MAC_BYTES 6u
#define NET_ETHERNET_BYTES 14u
#define NET_VLAN_BYTES 4u
/* The longest frame: an IP packet of 65535 bytes behind an Ethernet header with a VLAN tag. */
#define NET_FRAME_BYTES_MAX (65535u + NET_ETHERNET_BYTES + NET_VLAN_BYTES)
#define NET_FRAME_BYTES_MIN NET_ETHERNET_BYTES

enum net_gso {
	NET_GSO_NONE,
	NET_GSO_TCP_IPV4,
	NET_GSO_TCP_IPV6,
	NET_GSO_UDP, /* datagrams of one flow side by side, as Linux' UDP_SEGMENT */
};

/*
 * The sum from @checksum_start to the frame's end belongs at @checksum_start + @checksum_offset, where
 * the pseudo header's sum is now.
 */
#define NET_CHECKSUM_PARTIAL 1u
/* TCP's or UDP's checksum was found right. */
#define NET_CHECKSUM_VALID 2u

/* Lengths in the frame's own headers are those of the whole frame as it is. */
struct net_offload {
	uint8_t flags;             /* NET_CHECKSUM_*; PARTIAL wherever @gso is not NONE */
	uint8_t gso;               /* enum net_gso */
	uint16_t segment_bytes;    /* gso: payload of each segment */
	uint16_t header_bytes;     /* gso: all headers, TCP's or UDP's included */
	uint16_t checksum_start;
	uint16_t checksum_offset;
};

struct net_frame {
	const struct iovec *iov;
	uint32_t iov_count;
	uint32_t bytes;            /* sum of @iov; NET_FRAME_BYTES_MIN..NET_FRAME_BYTES_MAX */
	struct net_offload offload;
	uint16_t queue;            /* send: of one queue frames stay in order; else of no meaning */
};

/* What a side understands in struct net_offload; any of the others only with NET_CAN_CHECKSUM. */
#define NET_CAN_CHECKSUM 0x1u
#define NET_CAN_TCP_IPV4 0x2u
#define NET_CAN_TCP_IPV6 0x4u
#define NET_CAN_UDP 0x8u
#define NET_CAN_ALL 0xfu

struct net_port;

struct net_port_user {
	/**
	 * @ready: there may be something to receive. Called at most once after each -LIS_EMPTY or
	 * -LIS_IO of receive (and after start), on the loop, not from inside an op.
	 */
	void (*ready)(struct net_port_user *user);
	/** @link_changed: port->link_up changed. On the loop, not from inside an op. */
	void (*link_changed)(struct net_port_user *user);
};

struct net_port_ops {
	/**
	 * @start: work on @loop for @user, until stop. Returns 0, -LIS_NOMEM, -LIS_IO.
	 */
	int (*start)(struct net_port *port, struct io_loop *loop, struct net_port_user *user);
	/** @stop: undo start; no call of the user any more. @stopped runs on the loop at the end. */
	void (*stop)(struct net_port *port, struct io_call *stopped);
	/**
	 * @send: pass a frame on; its memory may change once this returns, and even before (what is
	 * looked at is to be copied first). Uses no offload that is not in port->can_send.
	 * Returns 0, -LIS_FULL (dropped: no room behind the port), -LIS_INVALID (dropped: no such
	 * frame is possible here), -LIS_IO (dropped).
	 */
	int (*send)(struct net_port *port, const struct net_frame *frame);
	/** @flush: the last frame for now was sent. Optional. */
	void (*flush)(struct net_port *port);
	/**
	 * @receive: the next frame, into @iov, which has room for at least @bytes.
	 * @out_bytes and @out_offload are set on success. A frame that is longer than @bytes is
	 * dropped and counted.
	 * Returns 0, -LIS_EMPTY, -LIS_IO. After either error nobody asks again before @ready.
	 */
	int (*receive)(struct net_port *port, const struct iovec *iov, uint32_t iov_count,
		       uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload);
	/** @set_receive: from now on receive may use these NET_CAN_*; none at start. */
	void (*set_receive)(struct net_port *port, uint32_t can);
	/** @describe: one line for people: "user, 10.0.2.0/24". @line has NET_PORT_LINE_BYTES. */
	void (*describe)(const struct net_port *port, char *line);
	/** @destroy: free a port that is not started. */
	void (*destroy)(struct net_port *port);
};

#define NET_PORT_LINE_BYTES 160

/* Written on the loop, read by anyone. */
struct net_port_counters {
	_Atomic uint64_t send_dropped, receive_dropped;
};

/* Base of each back end's own struct. */
struct net_port {
	const struct net_port_ops *ops;
	uint32_t can_send;           /* NET_CAN_*: offloads that send understands; fixed */
	uint32_t can_receive;        /* NET_CAN_*: those that set_receive knows; fixed */
	uint32_t mtu_max;            /* longest IP packet; fixed, up to 65521 */
	uint64_t bits_per_second;    /* of the link, for show */
	_Atomic bool link_up;
	struct net_port_counters counters;
	struct net_port *behind;     /* of a port in front of another; NULL: none */
};

static inline int net_port_start(struct net_port *port, struct io_loop *loop,
				 struct net_port_user *user)
{
	return port->ops->start(port, loop, user);
}

static inline void net_port_stop(struct net_port *port, struct io_call *stopped)
{
	port->ops->stop(port, stopped);
}

static inline int net_port_send(struct net_port *port, const struct net_frame *frame)
{
	return port->ops->send(port, frame);
}

static inline void net_port_flush(struct net_port *port)
{
	if (port->ops->flush)
		port->ops->flush(port);
}

static inline int net_port_receive(struct net_port *port, const struct iovec *iov,
				   uint32_t iov_count, uint32_t bytes, uint32_t *out_bytes,
				   struct net_offload *out_offload)
{
	return port->ops->receive(port, iov, iov_count, bytes, out_bytes, out_offload);
}

static inline void net_port_set_receive(struct net_port *port, uint32_t can)
{
	port->ops->set_receive(port, can);
}

/** net_port_counts() - What was dropped here and behind here. Any thread. */
static inline void net_port_counts(const struct net_port *port, uint64_t *out_send_dropped,
				   uint64_t *out_receive_dropped)
{
	*out_send_dropped = *out_receive_dropped = 0;
	for (; port; port = port->behind) {
		*out_send_dropped += atomic_load_explicit(&port->counters.send_dropped,
							  memory_order_relaxed);
		*out_receive_dropped += atomic_load_explicit(&port->counters.receive_dropped,
							     memory_order_relaxed);
	}
}

/** net_port_destroy() - NULL is fine. */
static inline void net_port_destroy(struct net_port *port)
{
	if (port)
		port->ops->destroy(port);
}

/**
 * net_frame_copy() - Copy a part of a frame.
 *
 * Return: how much of it there was.
 */
size_t net_frame_copy(const struct net_frame *frame, size_t offset, void *to, size_t bytes);

/** net_iov_write() - Copy into pieces of memory from @offset on; they have room for all of it. */
void net_iov_write(const struct iovec *iov, size_t iov_count, size_t offset, const void *from,
		   size_t bytes);

#endif
