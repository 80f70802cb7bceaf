/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the parts of the network VSP: netvsp.c has the card's life, netvsp_channel.c the channels and
 * NVSP, netvsp_send.c what comes from the guest, netvsp_receive.c what goes to it, netvsp_buffer.c where
 * and in which packets, netvsp_rndis.c its questions about the card, netvsp_capture.c those who listen,
 * netvsp_rates.c how fast it all goes.
 * Nobody else includes this. All of it runs on the card's loop, where nothing else is said.
 */
#ifndef OPENLIS_NETWORK_NETVSP_PRIVATE_H
#define OPENLIS_NETWORK_NETVSP_PRIVATE_H

#include "network/addresses.h"
#include "network/netvsp.h"
#include "network/offload.h"
#include "network/rndis.h"

/* Largest TCP segment that a guest may leave to the card, as Hyper-V has it. */
#define NETVSP_LSO_BYTES_MAX 62780u
/* [linux 6.1 include/net/tcp.h TCP_MIN_GSO_SIZE] No TCP makes shorter ones. */
#define NETVSP_SEGMENT_BYTES_MIN 8u
/* [policy] Pieces of one: no TCP sends finer ones, but a guest could keep the host busy with them. */
#define NETVSP_SEGMENTS_MAX 4096u
/* [policy] RNDIS messages side by side in one packet of the guest; and their alignment. */
#define NETVSP_MESSAGES_AT_ONCE 8u
#define NETVSP_MESSAGE_ALIGN_SHIFT 3u
/* [policy] A message of control: the largest that Linux sends is 632 bytes. */
#define NETVSP_CONTROL_BYTES_MAX 4096u
/* [policy] Answers that may wait for room; a guest that asks on is told to wait. */
#define NETVSP_CONTROL_WAITING_MAX 16u
/* In front of each received frame's data: header, packet, and four pieces of information. */
#define NETVSP_RECEIVE_HEAD_BYTES 112u

/* A buffer that the guest shares; none if @pages is NULL. */
struct netvsp_buffer {
	uint8_t **pages;
	uint32_t gpadl_id;
	uint32_t offset;       /* of its first byte in the first page */
	uint32_t bytes;
};

#define NETVSP_SUB_NONE UINT32_MAX
/* [policy] A sub-allocation is no shorter. */
#define NETVSP_SUB_BYTES_MIN 2048u

/*
 * The receive buffer in sub-allocations. Each is free, in a channel's batch, or the guest's. The chain of
 * those in one packet hangs on its first. The packet's transaction id is that one's number and one in the
 * lower half, and netvsp.receive_generation in the upper half: what comes back of a buffer that was
 * revoked stands for nothing in the next one.
 */
struct netvsp_subs {
	uint32_t bytes, count;
	uint32_t free_first, free_count;
	uint32_t *next;
	uint8_t *owner;        /* of a chain's first: channel index + 1; else 0 */
};

/* Frames for one packet to the guest. */
struct netvsp_batch {
	uint32_t first, last;
	uint32_t count;
	uint32_t channel_type; /* NVSP_RNDIS_* */
	struct vmbus_transfer_range ranges[NVSP_RECEIVE_RANGES_MAX];
};

/* A message of RNDIS that waits for room. */
struct netvsp_control {
	struct netvsp_control *next;
	uint32_t bytes;
	uint8_t message[];
};

struct netvsp_channel {
	struct netvsp *netvsp;
	struct vmbus_channel *channel;
	struct netvsp_channel *next_to_flush;
	bool flush_due, broken;
	/* An answer for which there was no room; nothing more is taken then. */
	bool answer_due;
	bool answer_can_wait;  /* nothing hangs on it in the guest */
	uint64_t answer_id;
	uint32_t answer_bytes;
	struct nvsp_message answer;
	struct netvsp_batch batch;
	uint32_t subs_out;     /* sub-allocations in the batch and with the guest */
	uint64_t full_since_ns; /* 0: it has room */
	bool passed_over;      /* it was full for too long: its frames are dropped */
	uint32_t passes;       /* so often */
	bool last_was_tcp;     /* of its frames; where guest_shares_cpu */
	uint64_t enough_since_ns; /* the guest had enough datagrams; 0: it had not, or has rested */
	uint64_t rests_until_ns; /* it took some of them, and is left alone; 0: not yet */
	uint64_t rest_look_ns; /* between two looks whether it sleeps */
	/* Answers that the guest was not woken for, and when it will be. */
	uint32_t held_count;
	struct io_timer held_timer;
	uint8_t *packet_buffer;
};

/* What the guest has switched on, of what it was offered. */
struct netvsp_offloads {
	bool rx_ipv4_checksum, rx_tcp_ipv4, rx_udp_ipv4, rx_tcp_ipv6, rx_udp_ipv6;
	bool tx_ipv4_checksum, tx_tcp_ipv4, tx_udp_ipv4, tx_tcp_ipv6, tx_udp_ipv6;
	bool lso_ipv4, lso_ipv6;
	bool rsc_ipv4, rsc_ipv6;
};

struct netvsp_rss {
	bool enabled;
	uint32_t types;        /* NDIS_HASH_* */
	uint32_t table[NDIS_RSS_TABLE_COUNT];
	struct net_hash_key key;
};

/* Written on the bus loop; @per_second is read by anyone. */
struct netvsp_rate {
	uint64_t last;         /* the counter, when it was looked at last */
	_Atomic uint64_t per_second;
};

struct netvsp_rates {
	struct io_timer timer;
	uint64_t last_ns;
	struct netvsp_rate packets_received, bytes_received, packets_sent, bytes_sent;
};

struct netvsp {
	struct vmbus_device *device;
	struct partition *partition;
	struct io_loop *bus_loop, *loop;
	struct net_port *port;
	struct net_port_user user;
	struct io_poller poller;
	char *name;
	uint8_t permanent_mac[NET_MAC_BYTES];
	uint16_t channels_max;
	uint32_t version_max;
	uint32_t mtu_max;
	bool guest_shares_cpu;

	/* Agreed with the guest; all zero while the primary channel is closed. */
	struct netvsp_channel *channels[NETVSP_CHANNELS_MAX];
	uint32_t capabilities; /* NVSP_CAPABILITY_* */
	struct nvsp_ndis_version ndis;
	struct netvsp_buffer receive_buffer, send_buffer;
	struct netvsp_subs subs;
	uint32_t receive_generation; /* counts receive buffers from 1 on */
	uint32_t section_bytes;
	bool initialized;      /* RNDIS */
	uint32_t mtu_bytes;    /* with Ethernet header */
	struct netvsp_offloads offloads;
	struct netvsp_rss rss;

	/* A message of RNDIS being built, those that wait for room, and what is to be told. */
	uint32_t control_bytes;
	uint8_t control[NETVSP_CONTROL_BYTES_MAX];
	struct netvsp_control *waiting;
	uint32_t waiting_count;
	bool told_link_up;
	uint64_t told_bits_per_second;

	bool started;          /* the port is */
	bool port_ready;       /* there may be frames in the port */
	bool starving;         /* and no room for them */
	struct io_timer patience_timer; /* some channel is full, and others are not; or the guest rests */
	uint32_t frames_to_port; /* counts on and on */
	struct netvsp_channel *to_flush;
	uint32_t long_frames_due;
	uint8_t long_frame[NET_FRAME_BYTES_MAX]; /* what of one is not expected */
	struct netvsp_capture *captures; /* NULL: none */
	struct net_addresses addresses;  /* of the guest */

	_Atomic bool leaving;  /* the card is being taken away */
	/* Until it is, netvsp_remove(): what the guest had sent, so often seen, since when. */
	struct io_timer quiet_timer;
	uint64_t quiet_packets, quiet_since_ns, quiet_until_ns;
	struct io_call quiet_call, rescind_call;
	bool rescinded;        /* bus loop */
	_Atomic bool link_wanted;
	_Atomic uint64_t speed_wanted; /* 0: the port's */
	_Atomic bool update_queued;
	struct io_call update_call;
	struct io_call retired_call, last_call, stopped_call, gone_call;
	struct io_call *destroyed;
	bool port_stopped;     /* the last of the port was heard */
	_Atomic uint32_t capture_count; /* also those not begun yet, and not quite gone */

	/* Written on the loop, read by all. */
	_Atomic uint32_t version, filter, mtu;
	_Atomic uint64_t mac;  /* first byte lowest */
	_Atomic uint32_t channels_open;
	_Atomic uint64_t packets_received, bytes_received, packets_sent, bytes_sent;
	_Atomic uint64_t send_invalid, starved, unread_dropped;
	struct netvsp_rates rates;
};

static inline void netvsp_count(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

static inline uint32_t netvsp_version(const struct netvsp *netvsp)
{
	return atomic_load_explicit(&netvsp->version, memory_order_relaxed);
}

/* ---- netvsp.c ---- */

void netvsp_mac_get(const struct netvsp *netvsp, uint8_t out_mac[NET_MAC_BYTES]);
void netvsp_mac_set(struct netvsp *netvsp, const uint8_t mac[NET_MAC_BYTES]);

/** netvsp_start() - Start the port, once. Return: what net_port_start() returns. */
int netvsp_start(struct netvsp *netvsp) LIS_MUST_USE;

/** netvsp_forget_guest() - The primary channel was closed: back to the beginning. */
void netvsp_forget_guest(struct netvsp *netvsp);

/** netvsp_is_plugged() - Do frames go? */
static inline bool netvsp_is_plugged(const struct netvsp *netvsp)
{
	return atomic_load_explicit(&netvsp->link_wanted, memory_order_relaxed);
}

/** netvsp_gone_if_done() - Go, if the card was taken away and nothing is left of it. */
void netvsp_gone_if_done(struct netvsp *netvsp);

/** netvsp_link_up() - What the guest is to be told. */
bool netvsp_link_up(const struct netvsp *netvsp);
uint64_t netvsp_bits_per_second(const struct netvsp *netvsp);

/* ---- netvsp_channel.c ---- */

extern const struct vmbus_device_ops netvsp_device_ops;

/** netvsp_flush_later() - The channel has something to be flushed at the end of this turn. */
void netvsp_flush_later(struct netvsp_channel *ch);

/** netvsp_send_answer() - Where one waits. Return: true if it is gone, one way or another. */
bool netvsp_send_answer(struct netvsp_channel *ch);

/** netvsp_break() - vmbus_channel_break(), once. */
void netvsp_break(struct netvsp_channel *ch, const char *why);

/* ---- netvsp_buffer.c ---- */

/**
 * netvsp_buffer_map() - Take a buffer that the guest shares.
 * Return: 0, -LIS_NOTFOUND (no such GPADL), -LIS_INVALID (not guest memory), -LIS_NOMEM.
 */
int netvsp_buffer_map(struct netvsp_channel *ch, uint32_t gpadl_id, struct netvsp_buffer *buffer) LIS_MUST_USE;
void netvsp_buffer_unmap(struct netvsp *netvsp, struct netvsp_buffer *buffer);

/**
 * netvsp_buffer_iov() - Pieces of a part of a buffer, added to @iov.
 * Return: their number, 0 if the part is not all in the buffer or needs more than @iov_max.
 */
uint32_t netvsp_buffer_iov(const struct netvsp_buffer *buffer, uint64_t offset, uint32_t bytes,
			   struct iovec *iov, uint32_t iov_max);

/** netvsp_receive_start() - Cut the receive buffer up. Return: 0, -LIS_NOMEM, -LIS_INVALID (too small). */
int netvsp_receive_start(struct netvsp *netvsp) LIS_MUST_USE;
void netvsp_receive_stop(struct netvsp *netvsp);

/** netvsp_receive_completed() - The guest gives a packet back. Return: false if it has none such. */
bool netvsp_receive_completed(struct netvsp_channel *ch, uint64_t id);

/** netvsp_receive_channel_closed() - Whatever the guest held of this channel is free, if it closed it. */
void netvsp_receive_channel_closed(struct netvsp_channel *ch);

/** netvsp_sub_take() - One of those that are free, of which there must be some. */
uint32_t netvsp_sub_take(struct netvsp_subs *subs);
void netvsp_sub_give(struct netvsp_subs *subs, uint32_t sub);

/**
 * netvsp_batch_add() - Sub-allocations, each with the length of its message, into the channel's batch.
 * Frames and messages of control share none.
 */
void netvsp_batch_add(struct netvsp_channel *ch, uint32_t channel_type, const uint32_t *subs,
		      const uint32_t *bytes, uint32_t count);

/** netvsp_batch_send() - Return: true if nothing is left of it, one way or another. */
bool netvsp_batch_send(struct netvsp_channel *ch);

/* ---- netvsp_receive.c ---- */

/** netvsp_receive_has_room_for_long_frames() - Is the receive buffer large enough for coalescing? */
bool netvsp_receive_has_room_for_long_frames(const struct netvsp *netvsp);

/**
 * netvsp_receive_pump() - What waits, then frames from the port to the guest, as long as there is room.
 * Return: how many frames there were.
 */
uint32_t netvsp_receive_pump(struct netvsp *netvsp);

/** netvsp_receive_control() - Send netvsp->control to the guest, now or when there is room. */
void netvsp_receive_control(struct netvsp *netvsp);

/* ---- netvsp_capture.c ---- */

/** netvsp_capture_frame() - While netvsp->captures: one frame, on its way to or from the guest. */
void netvsp_capture_frame(struct netvsp *netvsp, const struct net_frame *frame);

/** netvsp_captures_end() - All of them; netvsp_gone_if_done() follows. */
void netvsp_captures_end(struct netvsp *netvsp);

/* ---- netvsp_rates.c ---- */

/* Both on the bus loop. */
void netvsp_rates_start(struct netvsp *netvsp);
void netvsp_rates_stop(struct netvsp *netvsp);

/* ---- netvsp_send.c ---- */

/** netvsp_send_packet() - RNDIS from the guest. Return: NVSP_STATUS_*. */
uint32_t netvsp_send_packet(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			    const struct nvsp_rndis_packet *rndis);

/* ---- netvsp_rndis.c ---- */

/** netvsp_rndis_control() - A message that is no frame; the answer is in netvsp->control. */
uint32_t netvsp_rndis_control(struct netvsp *netvsp, const uint8_t *message, uint32_t bytes);

/** netvsp_rndis_set_receive() - Tell the port what the guest takes now. */
void netvsp_rndis_set_receive(struct netvsp *netvsp);

/** netvsp_rndis_indicate() - Tell the guest what changed, if anything, and if there is room. */
void netvsp_rndis_indicate(struct netvsp *netvsp);

#endif
