/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of hv_netvsc.ko: netvsc.c (a device of the bus becomes a network device),
 * netvsc_card.c (setting a card up and taking it down, which happens again for each change of MTU or
 * rings), netvsc_port.c (one open channel: NAPI), netvsc_send.c, netvsc_receive.c (frames),
 * netvsc_ethtool.c.
 *
 * A NIC lives from probe to remove. A card is what has been set up with the host; the NIC has one,
 * or none while it is being changed, or when that failed. A port is an open channel of a card; its
 * number is that of the queue it serves.
 *
 * Locks, outermost first. The RTNL: setting up, taking down, requests of control; work that wants it
 * tries, and comes back later, so that it can be canceled under it. netvsc_nic.ports_mutex: which
 * card there is and which ports it has; the bus takes it to tell of sub-channels. Ports come under
 * the mutex alone, and go under both, so that either holds those that are there. A queue's transmit
 * lock: the portable core's "sending unit" of that channel. NAPI of a port is its "receiving unit".
 *
 * Cards and ports are found without a lock, under RCU. Whoever found a port takes its queue's lock
 * and looks at @live: one that is not is about to go, and nothing in it may be touched.
 */
#ifndef OPENLIS_LINUX_NETVSC_NIC_H
#define OPENLIS_LINUX_NETVSC_NIC_H

#include <linux/bpf.h>
#include <linux/completion.h>
#include <linux/etherdevice.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/u64_stats_sync.h>
#include <linux/workqueue.h>
#include <net/xdp.h>

#include "linux/vmbus/bus.h"
#include "network/netvsc.h"

/* How long the host may take for one request of control, and to offer sub-channels. [policy] */
#define NETVSC_CONTROL_SECONDS 60
#define NETVSC_CHANNELS_SECONDS 10
/* Channels that are asked for to begin with, at most. As in every netvsc. */
#define NETVSC_CHANNELS_DEFAULT 16
/* As in every netvsc: sizes of the buffers that are asked for, by how many frames they hold. */
#define NETVSC_RECEIVE_SECTION_BYTES 1728u
#define NETVSC_SEND_SECTION_BYTES 6144u
#define NETVSC_RECEIVE_BYTES_DEFAULT (16u << 20)
#define NETVSC_SEND_BYTES_DEFAULT (1u << 20)
#define NETVSC_SECTIONS_MIN 10u

/* Which flows are told apart by their ports, too. */
#define NETVSC_L4_TCP4 0x1u
#define NETVSC_L4_TCP6 0x2u
#define NETVSC_L4_UDP4 0x4u
#define NETVSC_L4_UDP6 0x8u
#define NETVSC_L4_ALL 0xfu

struct netvsc_nic;
struct netvsc_card;

struct netvsc_port {
	struct napi_struct napi;
	struct netvsc_card *card;
	struct netvsc_nic *nic;
	struct lis_channel *channel;
	unsigned int index;
	bool live;          /* under the queue's lock */
	bool full;          /* the last frame found no room; likewise */
	bool xdp_redirected; /* NAPI's: to be flushed */
	bool gathered;      /* sent, to be flushed at the end of NAPI's round */
	struct xdp_rxq_info xdp_rxq;
	u8 *heads;
	u64 *head_pfns;
	struct delayed_work late_work; /* the flush that the core is owed */
	struct netvsc_channel core;
};

struct netvsc_card {
	struct netvsc core;
	struct netvsc_nic *nic;
	struct netvsc_port __rcu *ports[NETVSC_CHANNELS_MAX];
	unsigned int port_count;      /* open ones; under the NIC's ports_mutex */
	unsigned int ports_wanted;
	bool takes_ports;             /* sub-channels may be opened; under the NIC's ports_mutex */
	bool lost;                    /* the host did not let go of a channel */
	bool rss_set;                 /* the host has a table; under the RTNL */
	bool broken;                  /* the host wrote nonsense into a ring */
	struct lis_buffer *receive_buffer, *send_buffer;
	void *control_page;
	atomic_t news;                /* NETVSC_EVENT_* for who waits */
	struct completion news_came, ports_came;
};

/* Of one queue; survive its channel. */
struct netvsc_send_stats {
	struct u64_stats_sync sync;
	u64_stats_t packets, bytes, xdp_xmit;
} ____cacheline_aligned_in_smp;

struct netvsc_receive_stats {
	struct u64_stats_sync sync;
	u64_stats_t packets, bytes, multicast, xdp_drop, xdp_redirect, xdp_tx;
} ____cacheline_aligned_in_smp;

/* Of the whole NIC, by the names that ethtool shows; rare, so that losing one is no matter. */
struct netvsc_events {
	unsigned long tx_scattered, tx_no_memory, tx_no_space, tx_too_big, tx_busy, tx_send_full;
	unsigned long rx_comp_busy, rx_no_memory, stop_queue, wake_queue, vlan_error;
};

struct netvsc_nic {
	struct net_device *netdev;
	struct lis_device *device;
	struct netvsc_card __rcu *card; /* written under the RTNL and @ports_mutex */
	struct mutex ports_mutex;
	bool gone;                      /* remove has begun */

	/* What is wanted of a card, under the RTNL. */
	u32 channels;
	u32 receive_sections, send_sections;
	u32 l4_hash;                    /* NETVSC_L4_* */
	u8 rss_key[NDIS_RSS_KEY_BYTES];
	u8 rss_table[NDIS_RSS_TABLE_COUNT]; /* by queues, some of which there may not be */
	u32 filter;                     /* as the host has it */
	u32 speed, host_speed;          /* as is shown, and as the host said last; Mb/s */
	u8 duplex;
	u32 msg_enable;
	struct bpf_prog __rcu *xdp_prog;

	unsigned int recoveries;
	struct delayed_work link_work, filter_work, channels_work, recover_work;
	bool moved;                     /* link_work: the network may be another one */

	struct netvsc_events events;
	struct netvsc_send_stats send_stats[NETVSC_CHANNELS_MAX];
	struct netvsc_receive_stats receive_stats[NETVSC_CHANNELS_MAX];
};

extern unsigned int netvsc_ring_bytes;

/* netvsc_card.c */

/**
 * netvsc_attach() - Set a card up, as @nic and its net_device want it.
 * @wait: for its sub-channels, too; else they are used when they have come
 *
 * Where the interface is up it works when this returns.
 *
 * Context: RTNL; sleeps.
 * Return: 0 or -errno.
 */
int netvsc_attach(struct netvsc_nic *nic, bool wait);

/** netvsc_detach() - Take the card down, if there is one. Context: RTNL; sleeps. */
void netvsc_detach(struct netvsc_nic *nic);

/**
 * netvsc_change() - Take the card down and set it up as @nic wants it now; if that fails, @undo what is
 * wanted, and try once more.
 *
 * Context: RTNL; sleeps.
 * Return: 0 or -errno.
 */
int netvsc_change(struct netvsc_nic *nic, void (*undo)(struct netvsc_nic *nic, void *arg),
		  void *arg);

/**
 * netvsc_give_up() - There is no card until somebody wants a change: for the stack the interface is
 * there, without carrier.
 *
 * Context: RTNL.
 */
void netvsc_give_up(struct netvsc_nic *nic, int error);

/** netvsc_card_of() - Its card, or NULL. Context: RTNL. */
static inline struct netvsc_card *netvsc_card_of(struct netvsc_nic *nic)
{
	return rtnl_dereference(nic->card);
}

/** netvsc_rss_queue() - Where the table's flows go, as far as there are queues. Context: RTNL. */
static inline u8 netvsc_rss_queue(const struct netvsc_nic *nic, unsigned int i)
{
	return nic->rss_table[i] % nic->netdev->real_num_rx_queues;
}

/* Requests of control. Context: RTNL; sleep. Return: 0 or -errno. */
int netvsc_update_filter(struct netvsc_nic *nic);
int netvsc_update_rss(struct netvsc_nic *nic);
int netvsc_update_mac(struct netvsc_nic *nic, const u8 *mac);
int netvsc_update_coalescing(struct netvsc_nic *nic, bool coalesce);

/**
 * netvsc_take_speed() - The speed that the host says; while it says the same, whoever has set
 * another one keeps it.
 *
 * Context: RTNL.
 */
void netvsc_take_speed(struct netvsc_nic *nic, const struct netvsc *core);

/** netvsc_set_carrier() - As the host says the link is, if the interface is up. Context: RTNL. */
void netvsc_set_carrier(struct netvsc_nic *nic);

/** netvsc_channels_work() - Use the channels that have come. */
void netvsc_channels_work(struct work_struct *work);

/* What the bus says of sub-channels. */
void netvsc_sub_channel_offered(struct lis_device *device, struct lis_channel *channel);
void netvsc_sub_channel_rescinded(struct lis_device *device, struct lis_channel *channel);

/* netvsc_port.c */

/** netvsc_port_open() - Open a channel. Context: ports_mutex; sleeps. Return: 0 or -errno. */
int netvsc_port_open(struct netvsc_card *card, struct lis_channel *channel, unsigned int index);

/** netvsc_port_show() - Tell whoever asks which NAPI serves the queue. Context: RTNL. */
void netvsc_port_show(struct netvsc_port *port);

/**
 * netvsc_port_close() - Close a channel; all that is in flight ends.
 *
 * Context: RTNL and ports_mutex; sleeps.
 */
void netvsc_port_close(struct netvsc_port *port);

/** netvsc_port_quiet() - Flush; is nothing in flight, either way? Context: sleeps or not. */
bool netvsc_port_quiet(struct netvsc_port *port);

/** netvsc_port_is_polled() - Is this called from within the port's NAPI? Context: BH off. */
bool netvsc_port_is_polled(const struct netvsc_port *port);

static inline struct netdev_queue *netvsc_port_queue(const struct netvsc_port *port)
{
	return netdev_get_tx_queue(port->nic->netdev, port->index);
}

/** netvsc_now_ns() - The clock of the core's deadlines: coarse, and costs nothing. */
static inline u64 netvsc_now_ns(void)
{
	return jiffies64_to_nsecs(get_jiffies_64());
}

/* netvsc_send.c */

netdev_tx_t netvsc_start_xmit(struct sk_buff *skb, struct net_device *netdev);
u16 netvsc_select_queue(struct net_device *netdev, struct sk_buff *skb, struct net_device *sb_dev);
int netvsc_xdp_xmit(struct net_device *netdev, int count, struct xdp_frame **frames, u32 flags);

/**
 * netvsc_xdp_send_back() - XDP_TX of a frame; it leaves at the end of the round.
 *
 * Context: NAPI of @port.
 * Return: was it sent?
 */
bool netvsc_xdp_send_back(struct netvsc_port *port, const void *data, u32 bytes);

/** netvsc_sent() - What was sent is over; its queue's lock is not held. Context: NAPI. */
void netvsc_sent(struct netvsc_port *port, const struct netvsc_ended *ended, int budget);

/** netvsc_skb_of() - The frame of a request that the core gave back. */
struct sk_buff *netvsc_skb_of(struct netvsc_request *request);

/* netvsc_receive.c */

/** netvsc_received() - Pass a frame on. Context: NAPI of @port. */
void netvsc_received(struct netvsc_port *port, const struct netvsc_frame *frame);

int netvsc_bpf(struct net_device *netdev, struct netdev_bpf *bpf);

/** netvsc_xdp_takes_mtu() - Are frames of this MTU short enough for an XDP program? */
bool netvsc_xdp_takes_mtu(int mtu);

/* netvsc_ethtool.c */

extern const struct ethtool_ops netvsc_ethtool_ops;

#endif
