/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network: a card whose frames travel to the host over VMBus channels, in
 * buffers that both sides share and in the guest's own pages.
 *
 * Portable and passive: no locks, no threads, no clock, no I/O of its own, memory only when opened.
 * Calls of the port come in; what it must do comes back as bits, NETVSC_EVENT_*. Nothing here calls
 * the port, except for memory.
 *
 * The port's part, in order:
 *	netvsc_init(), open the device's channel, netvsc_channel_open() with its rings,
 *		netvsc_start();
 *	netvsc_channel_next() and netvsc_channel_settle() whenever the host signals, until
 *		NETVSC_EVENT_BUFFERS: share two buffers with the host, netvsc_set_buffers();
 *	on with it until NETVSC_EVENT_READY; netvsc_set_filter(), and frames go both ways:
 *		netvsc_channel_flush() after sending, and a while after NETVSC_EVENT_LATE;
 *	netvsc_ask_sub_channels(), and as the host offers them: open each, netvsc_channel_open();
 *		then netvsc_set_rss();
 *	at the end netvsc_set_filter() to none, netvsc_halt(), netvsc_revoke(), close each channel,
 *		netvsc_channel_close(), take the buffers back, at last netvsc_fini().
 *
 * Who may call what at once. Each channel has two units, each with one caller at a time: what
 * receives (netvsc_channel_next() and about it) and what sends; netvsc_channel_settle() belongs to
 * both. The device is a third unit: init, fini, opening and closing of channels. Requests of
 * control (set-up, filter, address and so on) belong to the sending unit of the primary channel,
 * and so do all fields of struct netvsc that change. Channels work side by side without a lock
 * between them.
 *
 * Each struct netvsc_request that netvsc_send() kept ends exactly once: it comes out of
 * netvsc_take_ended() or netvsc_channel_close(), whatever the host does.
 *
 * The host is not trusted: packets and messages are copied out of shared memory before they are
 * looked at, ids are looked up in a table and never pointers, every length and offset is held
 * against the buffer. Only the data of received frames stays where it is, for the port to copy
 * once. What does not fit counts as a violation and is dropped.
 *
 * Sources: [linux 7.3 drivers/net/hyperv/netvsc.c, rndis_filter.c], [freebsd hyperv/netvsc/if_hn.c,
 * hn_rndis.c], [openvmm netvsp/src/lib.rs].
 */
#ifndef OPENLIS_NETWORK_NETVSC_H
#define OPENLIS_NETWORK_NETVSC_H

#include "network/netvsc_protocol.h"
#include "network/rndis.h"
#include "vmbus/requests.h"
#include "vmbus/ring.h"

/* [policy] Primary and sub-channels of one device; as Linux has it. */
#define NETVSC_CHANNELS_MAX 64u
/* Slots for messages of control, so that these find one when frames have taken all theirs. */
#define NETVSC_OWN_SLOTS 4u
/* [policy] Packets in flight on one channel. */
#define NETVSC_QUEUE_DEPTH_MAX (VMBUS_REQUESTS_MAX - NETVSC_OWN_SLOTS)

#define NETVSC_MAC_BYTES 6u
#define NETVSC_ETHERNET_BYTES 14u
/* Versions before 2 know this MTU only; no host takes frames beyond the other. */
#define NETVSC_MTU_DEFAULT 1500u
#define NETVSC_MTU_MAX 65521u
/* An IPv6 packet with the longest payload, in a frame with a tag. */
#define NETVSC_FRAME_BYTES_MAX (65535u + 40u + 18u)

/* RNDIS' part of a frame that is sent, with all per-packet information there can be. */
#define NETVSC_HEAD_BYTES 112u
/* A frame's own headers, as far as the driver may have to change them. */
#define NETVSC_FRAME_HEAD_BYTES_MAX 256u
/* Both of them, for one frame, in memory of the port's (netvsc_channel_config.heads). [policy] */
#define NETVSC_HEAD_SLOT_BYTES 512u

/* [policy] Pieces of one frame to send. */
#define NETVSC_PIECES_MAX 32u
/* [linux 7.3 hyperv_net.h NVSP_RSC_MAX] Pieces of one frame that was received. */
#define NETVSC_PARTS_MAX 562u
/* [policy] The longest packet we take: about 1,000 ranges, twice what hosts are known to send. */
#define NETVSC_RECEIVE_BYTES 8192u
/* [policy] Per-packet information of one received frame; hosts send about 100 bytes. */
#define NETVSC_INFO_BYTES_MAX 512u
/* [policy] A message of control from the host; the longest answer to what we ask is about 560. */
#define NETVSC_CONTROL_BYTES_MAX 1024u
/* [policy] What is noted down before netvsc_channel_settle() must be called. */
#define NETVSC_NOTES_MAX 64u
/* [linux 7.3 hyperv_net.h NETVSC_SEND_BUFFER_SIZE] */
#define NETVSC_SEND_BYTES_MAX (15u << 20)
/* [policy] Smaller sections of the send buffer are of no use. */
#define NETVSC_SECTION_BYTES_MIN 512u
/* [policy] Smaller sub-allocations of the receive buffer cannot hold a message of control. */
#define NETVSC_SUB_BYTES_MIN 1024u
/* UTF-16; what every system that asks for it has room for. */
#define NETVSC_NAME_BYTES_MAX 512u

/* What a call asks of the port. */
#define NETVSC_EVENT_SIGNAL 0x0001u       /* signal the host on this channel */
#define NETVSC_EVENT_ENDED 0x0002u        /* netvsc_take_ended() has something */
#define NETVSC_EVENT_ROOM 0x0004u         /* what came back with -LIS_AGAIN is worth a new try */
#define NETVSC_EVENT_MORE 0x0008u         /* netvsc_channel_next() has more: call it again */
#define NETVSC_EVENT_BUFFERS 0x0010u      /* version agreed: netvsc_set_buffers() */
#define NETVSC_EVENT_READY 0x0020u        /* set up */
#define NETVSC_EVENT_FAILED 0x0040u       /* set-up failed, see netvsc.error: close the channel */
#define NETVSC_EVENT_CONTROL 0x0080u      /* the request of control is over: netvsc.control */
#define NETVSC_EVENT_LINK 0x0100u         /* netvsc.link_up was told, perhaps as it was */
#define NETVSC_EVENT_MOVED 0x0200u        /* the card may be on another network now */
#define NETVSC_EVENT_SPEED 0x0400u        /* netvsc.bits_per_second changed */
#define NETVSC_EVENT_SEND_TABLE 0x0800u   /* netvsc.send_table changed */
#define NETVSC_EVENT_BROKEN 0x1000u       /* the channel is of no use any more: close it */
#define NETVSC_EVENT_LATE 0x2000u         /* netvsc_channel_flush() is due, see late_max */

/* ---- sending ---- */

/* Memory of a frame that is side by side, for the host as well. */
struct netvsc_piece {
	const void *data;
	uint64_t pfn;   /* of the page that @data begins in; the next ones are its neighbours */
	uint32_t bytes; /* at least 1 */
};

/* What the host is to do about a frame. */
#define NETVSC_WISH_IPV4 0x01u         /* what it is, for the others; exactly one of the two */
#define NETVSC_WISH_IPV6 0x02u
#define NETVSC_WISH_TCP_CHECKSUM 0x04u /* the pseudo header's sum is in its place */
#define NETVSC_WISH_UDP_CHECKSUM 0x08u
#define NETVSC_WISH_SEGMENTS 0x10u     /* cut it into TCP segments, with all checksums */
#define NETVSC_WISH_VLAN 0x20u         /* put a tag in */
#define NETVSC_WISH_HASH 0x40u         /* tell it the flow's hash */

/**
 * struct netvsc_packet - A frame to send; nothing of it is needed after netvsc_send().
 * @pieces: its memory, in order
 * @piece_count: 1..NETVSC_PIECES_MAX
 * @bytes: sum of the pieces, at least NETVSC_ETHERNET_BYTES
 * @wishes: NETVSC_WISH_*, of what netvsc.offloads has
 * @network_offset: of the IP header, with NETVSC_WISH_SEGMENTS
 * @transport_offset: of the TCP or UDP header, with a checksum or segments
 * @segment_bytes: payload of each segment, with NETVSC_WISH_SEGMENTS
 * @vlan_tci: the tag's 16 bits, with NETVSC_WISH_VLAN
 * @hash: with NETVSC_WISH_HASH
 *
 * A frame to be cut is as one large packet, with lengths and pseudo header's sum of the whole: what
 * the host wants it to be instead is done in a copy of its headers. At most
 * netvsc.offloads.segments_ipv4_bytes (or _ipv6_) long.
 */
struct netvsc_packet {
	const struct netvsc_piece *pieces;
	uint32_t piece_count;
	uint32_t bytes;
	uint32_t wishes;
	uint16_t network_offset;
	uint16_t transport_offset;
	uint16_t segment_bytes;
	uint16_t vlan_tci;
	uint32_t hash;
};

/* Stands for a frame that is on its way, in the caller's storage; nothing in it to set. */
struct netvsc_request {
	struct netvsc_request *next;
};

/* What has been sent and is over since the last look. */
struct netvsc_ended {
	struct netvsc_request *requests; /* linked by @next; the caller's again */
	uint32_t frames, bytes;          /* those that were copied, too */
	uint32_t failed;                 /* of @frames: the host had no use for them */
};

/* ---- receiving ---- */

struct netvsc_part {
	const uint8_t *data; /* in the receive buffer: the host may change it at any time */
	uint32_t bytes;
};

/**
 * struct netvsc_frame - A frame that was received.
 * @parts: its memory, in order; the host's until the next call about this channel
 * @part_count: more than 1 where the host has put several TCP segments together
 * @bytes: sum of the parts, NETVSC_ETHERNET_BYTES..NETVSC_FRAME_BYTES_MAX
 * @checksum: RNDIS_RX_*
 * @hash: of the flow, where has_hash
 * @hash_type: NDIS_HASH_* or 0, where has_hash
 * @vlan_tci: tag that was taken out, where has_vlan
 *
 * With RNDIS_RX_IP_VALUE_INVALID the checksum of an IPv4 header is to be computed anew.
 */
struct netvsc_frame {
	const struct netvsc_part *parts;
	uint32_t part_count;
	uint32_t bytes;
	uint32_t checksum;
	uint32_t hash;
	uint32_t hash_type;
	uint16_t vlan_tci;
	bool has_hash, has_vlan;
};

/* ---- the card ---- */

struct netvsc_config {
	const char *name;            /* for the log; must stay valid */
	/** @alloc: memory, or NULL. Only netvsc_init() and netvsc_channel_open() call it. */
	void *(*alloc)(void *port, size_t bytes);
	/** @release: give back what @alloc gave. May sleep. */
	void (*release)(void *port, void *memory);
	void *port;
	void *control_page;          /* HV_PAGE_BYTES that the host may read; until fini */
	uint64_t control_pfn;        /* its number */
	uint32_t version_max;        /* NVSP_VERSION_*; 0: the newest */
	bool isolated;               /* take nothing older than 6.1 */
	bool again;                  /* the card was there before: its line in the log is for debugging */
	uint32_t mtu;                /* of IP packets; 0: NETVSC_MTU_DEFAULT */
	uint32_t send_bytes_max;     /* of the send buffer; 0: NETVSC_SEND_BYTES_MAX */
	bool coalesce;               /* have the host put TCP segments together where it can */
	uint64_t control_timeout_ns; /* for each request of control; 0: none */
};

/* Memory that the port has shared with the host under a GPADL of the device's channel. */
struct netvsc_buffer {
	uint8_t *memory; /* mapped in one piece */
	uint32_t bytes;
	uint32_t gpadl_id;
};

/* What the host can do, and was asked to. */
struct netvsc_offloads {
	bool tcp_ipv4, udp_ipv4, tcp_ipv6, udp_ipv6;       /* checksums, both ways */
	uint32_t segments_ipv4_bytes, segments_ipv6_bytes; /* longest frame to cut; 0: none */
	bool coalesce_ipv4, coalesce_ipv6;                 /* it can; netvsc.coalescing: it does */
};

/* Receive side scaling. */
struct netvsc_rss_capabilities {
	uint32_t queues_max;   /* 0 or 1: there is none */
	uint16_t table_count;  /* up to NDIS_RSS_TABLE_COUNT */
	bool udp_ipv4, udp_ipv6;
};

struct netvsc_rss {
	bool enabled;
	uint32_t hash_types;                     /* NDIS_HASH_*, without the function */
	uint16_t table_count;                    /* 1..NDIS_RSS_TABLE_COUNT */
	uint8_t table[NDIS_RSS_TABLE_COUNT];     /* indexes of channels */
	uint8_t key[NDIS_RSS_KEY_BYTES];
};

enum netvsc_state {
	NETVSC_CLOSED,
	NETVSC_AGREEING,       /* on a version */
	NETVSC_WANTS_BUFFERS,  /* NETVSC_EVENT_BUFFERS */
	NETVSC_RECEIVE_BUFFER, /* shown to the host */
	NETVSC_SEND_BUFFER,
	NETVSC_INITIALIZING,   /* RNDIS */
	NETVSC_ASKING,         /* about the card */
	NETVSC_READY,
	NETVSC_HALTED,
	NETVSC_FAILED,
};

/* The one request of control that is or was under way; read it after NETVSC_EVENT_CONTROL. */
struct netvsc_control {
	int error;          /* 0, -LIS_REFUSED (@status), -LIS_TIMEOUT, -LIS_CORRUPT */
	uint32_t status;    /* RNDIS_STATUS_* or NVSP_STATUS_*, as the host said */
	uint32_t bytes;     /* of what was asked for by netvsc_query(), in netvsc.control_info */
	/* private */
	bool busy;          /* not over */
	bool page_in_use;   /* the host has not given the page back */
	bool wants_answer, answered;
	bool sets_coalescing, coalesce;
	uint8_t kind;       /* RNDIS_*; 0: a message of NVSP */
	uint32_t request_id;
	uint64_t nvsp_id;   /* 0: RNDIS */
	uint64_t deadline_ns;
};

struct netvsc_channel;

/**
 * struct netvsc - One card, in the caller's storage.
 *
 * To be read once READY: all up to @control, in the sending unit of the primary channel; @version,
 * @mac, @mtu, @rss, @offloads and @pieces_max do not change any more and are for all. @error after
 * NETVSC_EVENT_FAILED. All else is private.
 */
struct netvsc {
	struct netvsc_config config;
	uint8_t state; /* enum netvsc_state */
	int error;
	uint32_t version;
	uint32_t mtu;                        /* as granted; at most config.mtu */
	uint8_t mac[NETVSC_MAC_BYTES];       /* the permanent one */
	bool link_up;
	bool coalescing;
	uint64_t bits_per_second;            /* 0: unknown */
	struct netvsc_offloads offloads;
	struct netvsc_rss_capabilities rss;
	uint32_t pieces_max;                 /* of one frame */
	uint32_t sub_bytes, sub_count;       /* the receive buffer's parts */
	uint32_t section_bytes, section_count; /* the send buffer's */
	uint32_t sub_channels;               /* that the host granted, by netvsc_ask_sub_channels() */
	uint32_t name_bytes;
	uint8_t name[NETVSC_NAME_BYTES_MAX]; /* of the card, for people; UTF-16 */
	struct netvsc_control control;
	uint8_t control_info[NETVSC_CONTROL_BYTES_MAX];

	uint32_t send_table[NVSP_SEND_TABLE_COUNT]; /* written by the primary's receiver */
	uint32_t nvsp_bytes;         /* of messages in this version */
	uint32_t messages_max;       /* side by side in one section */
	uint32_t align_bytes;        /* where each of them begins */
	uint32_t transfer_bytes_max; /* of all RNDIS messages in a packet */
	uint32_t last_request_id;
	uint32_t asking;             /* which of the questions of the set-up is under way */
	struct netvsc_buffer receive_buffer, send_buffer;
	uint64_t *section_bits;      /* taken ones; shared by all channels, atomic */
	uint32_t section_words;
	/* From the primary's receiver to its sender. */
	uint32_t message_bytes;      /* of a message of control; 0: none */
	uint64_t nvsp_answer_id;
	uint32_t nvsp_answer_bytes;  /* 0: none */
	struct nvsp_message nvsp_answer;
	_Alignas(8) uint8_t message[NETVSC_CONTROL_BYTES_MAX];
	struct netvsc_channel *channels[NETVSC_CHANNELS_MAX]; /* by index; [0] is the primary */
	uint32_t channel_count;
};

/* Written by the sending unit, read by anyone for reports. */
struct netvsc_send_counters {
	uint64_t frames, bytes;  /* that netvsc_send() took */
	uint64_t packets;        /* of VMBus, with frames */
	uint64_t copied;         /* frames whose data went into the send buffer */
	uint64_t segmented;      /* frames to be cut */
	uint64_t failed;         /* frames that the host had no use for */
	uint64_t full;           /* sends that came back with -LIS_AGAIN */
	uint64_t no_section;     /* short frames that were sent from where they are */
	uint64_t late;           /* answers to what had been given up */
	uint64_t violations;
};

/* Written by the receiving unit, read by anyone for reports. */
struct netvsc_receive_counters {
	uint64_t frames, bytes;
	uint64_t packets;        /* of VMBus, with frames */
	uint64_t coalesced;      /* frames in several parts */
	uint64_t violations;     /* what broke the protocol, frames among it */
};

struct netvsc_channel_config {
	struct vmbus_ring_writer *to_host;   /* both stay the caller's, and valid until close */
	struct vmbus_ring_reader *from_host;
	uint32_t index;                      /* 0: the primary; as the host offered it */
	uint32_t queue_depth;                /* 1..NETVSC_QUEUE_DEPTH_MAX: packets in flight */
	/*
	 * Pages for headers of frames that the host reads from where they are, one after the other
	 * for the guest; until close. One page has room for the heads of 8 frames in flight.
	 */
	uint8_t *heads;
	const uint64_t *head_pfns;           /* of each page */
	uint32_t head_pages;                 /* 1..1024 */
	/*
	 * So many ranges of the receive buffer, given back, may wait in the ring without a signal of
	 * their own: one costs the host a wake-up and the guest an exit, and a reply that follows brings
	 * them along. With NETVSC_EVENT_LATE the caller owes netvsc_channel_flush() in a while, a tenth
	 * of a second, say. 0: none.
	 */
	uint32_t late_max;
};

struct netvsc_flight;

/* A completion that the host waits for. */
struct netvsc_completion {
	uint64_t id;
	uint32_t status; /* NVSP_STATUS_* */
	uint32_t ranges; /* that the host gets back by it */
};

/* One open channel, in the caller's storage; private but for the counters. */
struct netvsc_channel {
	struct netvsc *netvsc;
	uint32_t index;
	bool open;

	/* The sending unit's. */
	struct vmbus_ring_writer *to_host;
	struct vmbus_requests requests;
	struct netvsc_flight *flights; /* beside the slots of @requests */
	uint8_t *heads;
	const uint64_t *head_pfns;
	uint16_t *head_next;           /* list of free heads */
	uint16_t head_free;
	uint32_t section_hint;         /* word of netvsc.section_bits to begin with */
	bool accepting, send_broken, room_wanted, batch_due;
	uint32_t room_bytes;           /* what the last refused packet would have taken */
	uint32_t late_max;
	uint32_t late_ranges, late_bytes; /* given back without a signal; their bytes in the ring */
	struct {
		uint32_t section;      /* NVSP_SECTION_NONE: there is no batch */
		uint32_t bytes;        /* used of the section */
		uint32_t frames, frame_bytes;
		struct netvsc_request *requests, **requests_end; /* of those that are waited for */
	} batch;
	struct netvsc_ended ended;
	struct netvsc_request **ended_end;
	struct netvsc_send_counters send_counters;

	/* The receiving unit's. */
	struct vmbus_ring_reader *from_host;
	bool receive_broken, stopped; /* stopped: what was noted is to be settled first */
	uint32_t events;           /* for the next settle */
	bool in_packet, packet_failed;
	struct vmbus_packet packet;
	struct vmbus_packet_ranges ranges;
	struct netvsc_part *parts;
	struct netvsc_frame frame; /* being put together, where frame.part_count is not 0 */
	struct netvsc_receive_counters receive_counters;

	/* From the receiving to the sending unit. */
	uint32_t completion_count, answer_count;
	struct netvsc_completion completions[NETVSC_NOTES_MAX]; /* to send */
	struct netvsc_completion answers[NETVSC_NOTES_MAX];     /* that came */

	_Alignas(8) uint8_t info[NETVSC_INFO_BYTES_MAX];
	_Alignas(8) uint8_t buffer[NETVSC_RECEIVE_BYTES];
};

/**
 * netvsc_init() - Prepare a card without channels.
 * @netvsc: set, also on failure
 * @config: copied
 *
 * Context: device's unit; sleeps as config->alloc does.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (unknown version, no page, no MTU or buffer that can be).
 */
int netvsc_init(struct netvsc *netvsc, const struct netvsc_config *config) LIS_MUST_USE;

/**
 * netvsc_fini() - Undo netvsc_init().
 * @netvsc: without open channels; one that failed to init is fine
 *
 * Context: device's unit; sleeps as config->release does.
 */
void netvsc_fini(struct netvsc *netvsc);

/**
 * netvsc_channel_open() - Add a channel that the bus has opened; the first is the primary.
 * @netvsc: the card; for sub-channels, once READY
 * @channel: set; caller's storage until closed
 * @config: copied
 *
 * Context: device's unit; sleeps as config->alloc does.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (queue depth, index or pages out of bounds, or there is such a
 * channel), -LIS_GONE (a sub-channel while the card is not READY).
 */
int netvsc_channel_open(struct netvsc *netvsc, struct netvsc_channel *channel,
			const struct netvsc_channel_config *config) LIS_MUST_USE;

/**
 * netvsc_channel_stop() - Take no more frames on a channel; what is in flight goes on.
 * @channel: open or not
 *
 * Context: sending unit.
 */
void netvsc_channel_stop(struct netvsc_channel *channel);

/**
 * netvsc_channel_close() - The bus has closed a channel, or it was rescinded: end all on it.
 * @channel: open, half opened or closed already; sub-channels go before the primary
 *
 * Whether the host is done with the memory of what was in flight the port knows: it is if the ring's
 * GPADL is torn down.
 *
 * Context: device's unit and both of the channel's; sleeps as config->release does.
 * Return: list of all requests that had not ended or not been taken, or NULL.
 */
struct netvsc_request *netvsc_channel_close(struct netvsc_channel *channel) LIS_MUST_USE;

/**
 * netvsc_start() - Begin to set the card up over its primary channel.
 * @netvsc: with its primary channel open and none else
 * @now_ns: for config.control_timeout_ns
 *
 * Flush the primary channel after it. Ends with NETVSC_EVENT_BUFFERS or NETVSC_EVENT_FAILED.
 *
 * Context: sending unit of the primary.
 * Return: 0, -LIS_GONE (no channel, or started already), -LIS_CORRUPT (the ring is of no use).
 */
int netvsc_start(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_receive_bytes_max() - The largest receive buffer that the host takes in this version.
 * @netvsc: from NETVSC_EVENT_BUFFERS on
 *
 * Source: [linux 7.3 hyperv_net.h NETVSC_RECEIVE_BUFFER_SIZE_LEGACY] 15 MiB before version 4.
 */
uint32_t netvsc_receive_bytes_max(const struct netvsc *netvsc);

/**
 * netvsc_set_buffers() - Go on with the set-up, with two buffers shared with the host.
 * @netvsc: waiting for them
 * @receive: copied; the memory is the driver's until all channels are closed
 * @send: likewise
 * @now_ns: for config.control_timeout_ns
 *
 * Flush the primary channel after it. Ends with NETVSC_EVENT_READY or NETVSC_EVENT_FAILED.
 *
 * Context: sending unit of the primary.
 * Return: 0, -LIS_INVALID (a buffer is too small or too large), -LIS_GONE (not waiting for them),
 * -LIS_CORRUPT (the ring is of no use).
 */
int netvsc_set_buffers(struct netvsc *netvsc, const struct netvsc_buffer *receive,
		       const struct netvsc_buffer *send, uint64_t now_ns) LIS_MUST_USE;

/*
 * Requests of control. One is under way at a time, and ends with NETVSC_EVENT_CONTROL; how, says
 * netvsc.control. Flush the primary channel after each.
 *
 * Context: sending unit of the primary.
 * Return: 0; -LIS_BUSY (another is under way, or the host has not let go of the page of one that was
 * given up); -LIS_AGAIN (no room now, NETVSC_EVENT_ROOM follows); -LIS_GONE (not READY); -LIS_INVALID;
 * -LIS_CORRUPT (the host broke the ring: close the channel).
 */

/** netvsc_set_filter() - Which frames to receive. @filter: NDIS_FILTER_*; 0: none. */
int netvsc_set_filter(struct netvsc *netvsc, uint32_t filter, uint64_t now_ns) LIS_MUST_USE;

/** netvsc_set_mac() - The card has another address now; it is the port's to remember. */
int netvsc_set_mac(struct netvsc *netvsc, const uint8_t mac[NETVSC_MAC_BYTES],
		   uint64_t now_ns) LIS_MUST_USE;

/** netvsc_set_coalescing() - Have the host put TCP segments together, or not; if it can. */
int netvsc_set_coalescing(struct netvsc *netvsc, bool coalesce, uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_set_rss() - Which channel each flow's frames are received on.
 * @rss: copied; -LIS_INVALID with a table that names a channel that is not open, or none at all. Hosts
 *	want it disabled before it is changed.
 */
int netvsc_set_rss(struct netvsc *netvsc, const struct netvsc_rss *rss,
		   uint64_t now_ns) LIS_MUST_USE;

/** netvsc_query() - Ask about @oid; the answer's control.bytes bytes are in netvsc.control_info. */
int netvsc_query(struct netvsc *netvsc, uint32_t oid, uint64_t now_ns) LIS_MUST_USE;

/** netvsc_keep_alive() - Is the host still there? */
int netvsc_keep_alive(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_ask_sub_channels() - Ask for sub-channels, once.
 * @count: beside the primary; the host may give fewer: netvsc.sub_channels, then it offers them
 *
 * -LIS_INVALID before version 5, and with more than NETVSC_CHANNELS_MAX - 1.
 */
int netvsc_ask_sub_channels(struct netvsc *netvsc, uint32_t count, uint64_t now_ns) LIS_MUST_USE;

/** netvsc_halt() - The end of RNDIS; over when the host has taken note. No frames after it. */
int netvsc_halt(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_revoke() - Tell the host that the buffers are not its own any more.
 * @netvsc: in any state; at the end, before the primary channel is closed
 *
 * There is no answer. The buffers stay where they are until the channels are closed. Where the ring
 * has no room the message is dropped: closing says the same.
 *
 * Context: sending unit of the primary.
 */
void netvsc_revoke(struct netvsc *netvsc);

/**
 * netvsc_on_timer() - Look for a request of control that is late. Call it once a second or so.
 * @netvsc: in any state
 * @now_ns: a clock that only goes forward
 *
 * Context: sending unit of the primary.
 * Return: NETVSC_EVENT_* or 0.
 */
uint32_t netvsc_on_timer(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_channel_of_hash() - Which channel the host wants a flow's frames on.
 * @netvsc: the card
 * @hash: of the flow, any number
 *
 * Context: any, without a lock.
 * Return: an index below NETVSC_CHANNELS_MAX; the channel may not be open.
 */
static inline uint32_t netvsc_channel_of_hash(const struct netvsc *netvsc, uint32_t hash)
{
	return os_read_once(netvsc->send_table[hash % NVSP_SEND_TABLE_COUNT]);
}

/**
 * netvsc_send() - Send a frame.
 * @channel: of a card that is READY
 * @packet: the frame
 * @request: the caller's, the driver's until it ends where @out_done says so; NULL: send it only if it can
 *	be copied
 * @out_done: set on success: true: the frame's memory and @request are the caller's again. NULL: @request ends
 *	when the host is done with the frame, also where that was copied, as for who counts what is on its way
 *
 * Short frames are copied into the send buffer, several side by side, and leave when there is no room
 * for another or with netvsc_channel_flush(), which is due after -LIS_AGAIN, too. The rest the host
 * reads from where it is, after a copy of its headers.
 *
 * Context: sending unit; does not sleep.
 * Return: 0, -LIS_AGAIN (no room now: NETVSC_EVENT_ROOM follows; without a @request it may not),
 * -LIS_INVALID (a field is out of bounds, or there are more pieces than netvsc.pieces_max), -LIS_GONE (not
 * READY, stopped or closed), -LIS_CORRUPT (the host broke the ring: close the channel).
 */
int netvsc_send(struct netvsc_channel *channel, const struct netvsc_packet *packet,
		struct netvsc_request *request, bool *out_done) LIS_MUST_USE;

/**
 * netvsc_channel_flush() - Show the host what was sent, and what was given back late.
 * @channel: open or not
 *
 * Context: sending unit.
 * Return: true if the host must be signalled.
 */
bool netvsc_channel_flush(struct netvsc_channel *channel) LIS_MUST_USE;

/**
 * netvsc_channel_has_room() - Is there room for any frame now? If not, NETVSC_EVENT_ROOM follows.
 * @channel: open or not
 *
 * Context: sending unit.
 */
bool netvsc_channel_has_room(struct netvsc_channel *channel) LIS_MUST_USE;

/**
 * netvsc_channel_mask() - From here on the host need not signal: we look by ourselves.
 * @channel: open or not
 *
 * Context: receiving unit.
 */
void netvsc_channel_mask(struct netvsc_channel *channel);

/**
 * netvsc_channel_next() - Take the next frame.
 * @channel: open or not
 * @out_frame: set where there is one; valid until the next call of this or of settle
 *
 * All else that the host sent on the way is noted down for netvsc_channel_settle(), which is due
 * when there is no frame, and in between as often as one likes.
 *
 * Context: receiving unit; does not sleep.
 * Return: true if there is one.
 */
bool netvsc_channel_next(struct netvsc_channel *channel,
			 struct netvsc_frame *out_frame) LIS_MUST_USE;

/**
 * netvsc_channel_settle() - Do what was noted down: end what was sent, give frames back, go on with
 * requests of control.
 * @channel: open or not
 * @now_ns: for config.control_timeout_ns
 *
 * Before waiting for a signal: settle until it does not say MORE, then netvsc_channel_unmask().
 *
 * Context: receiving and sending unit; does not sleep.
 * Return: NETVSC_EVENT_* or 0.
 */
uint32_t netvsc_channel_settle(struct netvsc_channel *channel, uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_channel_unmask() - Have the host signal again.
 * @channel: open or not; settled
 *
 * Context: receiving unit, or who was it until now: a signal may begin the next one before this
 * returns, and it changes nothing of the unit's.
 * Return: true if something came meanwhile: mask and look again instead of waiting.
 */
bool netvsc_channel_unmask(struct netvsc_channel *channel) LIS_MUST_USE;

/**
 * netvsc_take_ended() - Take what was sent and is over.
 * @channel: open or not
 *
 * Context: sending unit.
 */
struct netvsc_ended netvsc_take_ended(struct netvsc_channel *channel) LIS_MUST_USE;

/** netvsc_in_flight() - Packets that the host has, messages of control included. Context: sending unit. */
uint32_t netvsc_in_flight(const struct netvsc_channel *channel);

/**
 * netvsc_idle() - Has the host answered all that was sent, and got back all it sent?
 * @channel: open or not
 *
 * Context: receiving and sending unit.
 */
bool netvsc_idle(const struct netvsc_channel *channel);

#endif
