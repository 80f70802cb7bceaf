// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames of the network stack on their way to the host. All of it runs under the queue's transmit
 * lock, which the stack holds for start_xmit.
 *
 * The core copies short frames into its send buffer; the others it describes to the host where they
 * are. Either are kept until the host is done: what a socket has on its way is what its send buffer,
 * TCP's small queues and its corking go by. Byte queue limits count both until then, too.
 */
#include <linux/if_vlan.h>
#include <linux/jhash.h>
#include <linux/skbuff.h>
#include <net/flow_dissector.h>
#include <net/ip.h>

#include "linux/netvsc_nic.h"

/* Where the checksum is, by which TCP and UDP are told apart. */
#define TCP_CHECKSUM_OFFSET offsetof(struct tcphdr, check)

struct netvsc_cb {
	struct netvsc_request request;
};

static struct netvsc_cb *cb_of(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct netvsc_cb) > sizeof_field(struct sk_buff, cb));
	return (struct netvsc_cb *)skb->cb;
}

struct sk_buff *netvsc_skb_of(struct netvsc_request *request)
{
	return container_of((void *)request, struct sk_buff, cb);
}

/* Which queue */

static bool ports_wanted(const struct netvsc_nic *nic, const struct flow_keys *flow)
{
	u32 bit = 0;

	if (flow->basic.ip_proto == IPPROTO_TCP)
		bit = flow->basic.n_proto == htons(ETH_P_IP) ? NETVSC_L4_TCP4 : NETVSC_L4_TCP6;
	else if (flow->basic.ip_proto == IPPROTO_UDP)
		bit = flow->basic.n_proto == htons(ETH_P_IP) ? NETVSC_L4_UDP4 : NETVSC_L4_UDP6;
	return nic->l4_hash & bit;
}

/* By addresses alone where ports are not wanted. */
static u32 flow_hash(const struct netvsc_nic *nic, struct sk_buff *skb)
{
	static u32 secret __read_mostly;
	struct flow_keys flow;

	if (likely(nic->l4_hash == NETVSC_L4_ALL))
		return skb_get_hash(skb);
	if (!skb_flow_dissect_flow_keys(skb, &flow, 0) || ports_wanted(nic, &flow))
		return skb_get_hash(skb);
	net_get_random_once(&secret, sizeof(secret));
	if (flow.basic.n_proto == htons(ETH_P_IP))
		return jhash2((u32 *)&flow.addrs.v4addrs, 2, secret);
	if (flow.basic.n_proto == htons(ETH_P_IPV6))
		return jhash2((u32 *)&flow.addrs.v6addrs, 8, secret);
	return skb_get_hash(skb);
}

static u16 queue_of_flow(struct netvsc_nic *nic, struct sk_buff *skb, int old)
{
	const struct netvsc_card *card = rcu_dereference_bh(nic->card);
	struct sock *sk = skb->sk;
	int queue = 0;

	if (card)
		queue = netvsc_channel_of_hash(&card->core, flow_hash(nic, skb));
	queue %= nic->netdev->real_num_tx_queues;
	if (queue != old && sk && sk_fullsock(sk) && rcu_access_pointer(sk->sk_dst_cache))
		sk_tx_queue_set(sk, queue);
	return queue;
}

u16 netvsc_select_queue(struct net_device *netdev, struct sk_buff *skb, struct net_device *sb_dev)
{
	int queue = sk_tx_queue_get(skb->sk);
	u16 chosen;

	if (netdev->real_num_tx_queues == 1)
		return 0;
	if (queue >= 0 && !skb->ooo_okay && queue < netdev->real_num_tx_queues)
		return queue;
	if (skb_rx_queue_recorded(skb))
		return skb_get_rx_queue(skb) % netdev->real_num_tx_queues;
	rcu_read_lock_bh();
	chosen = queue_of_flow(netdev_priv(netdev), skb, queue);
	rcu_read_unlock_bh();
	return chosen;
}

/* Describing a frame */

static void add_piece(struct netvsc_packet *packet, struct netvsc_piece *pieces, const void *data,
		      struct page *page, u32 bytes)
{
	pieces[packet->piece_count++] = (struct netvsc_piece){
		.data = data, .pfn = page_to_pfn(page), .bytes = bytes,
	};
}

/* There are at most NETVSC_PIECES_MAX. */
static void describe_memory(const struct sk_buff *skb, struct netvsc_packet *packet,
			    struct netvsc_piece *pieces)
{
	const struct skb_shared_info *shared = skb_shinfo(skb);

	packet->pieces = pieces;
	packet->bytes = skb->len;
	if (skb_headlen(skb))
		add_piece(packet, pieces, skb->data, virt_to_page(skb->data), skb_headlen(skb));
	for (unsigned int i = 0; i < shared->nr_frags; i++) {
		const skb_frag_t *frag = &shared->frags[i];
		void *data = skb_frag_address(frag);

		add_piece(packet, pieces, data, virt_to_page(data), skb_frag_size(frag));
	}
}

static u32 ip_wish(const struct sk_buff *skb)
{
	return vlan_get_protocol(skb) == htons(ETH_P_IPV6) ? NETVSC_WISH_IPV6 : NETVSC_WISH_IPV4;
}

static bool can_checksum(const struct netvsc_offloads *can, u32 wishes)
{
	if (wishes & NETVSC_WISH_TCP_CHECKSUM)
		return wishes & NETVSC_WISH_IPV6 ? can->tcp_ipv6 : can->tcp_ipv4;
	return wishes & NETVSC_WISH_IPV6 ? can->udp_ipv6 : can->udp_ipv4;
}

/* What the stack left undone. Returns 0, or -errno where it cannot be done. */
static int describe_wishes(const struct netvsc *core, struct sk_buff *skb,
			   struct netvsc_packet *packet)
{
	if (skb_vlan_tag_present(skb)) {
		packet->wishes |= NETVSC_WISH_VLAN;
		packet->vlan_tci = skb_vlan_tag_get(skb);
	}
	if (skb->dev->real_num_tx_queues > 1 && skb_get_hash_raw(skb)) {
		packet->wishes |= NETVSC_WISH_HASH;
		packet->hash = skb_get_hash_raw(skb);
	}
	/* Whatever is said of its checksum: each segment gets its own. */
	if (skb_is_gso(skb)) {
		packet->wishes |= NETVSC_WISH_SEGMENTS | ip_wish(skb);
		packet->network_offset = skb_network_offset(skb);
		packet->transport_offset = skb_transport_offset(skb);
		packet->segment_bytes = skb_shinfo(skb)->gso_size;
		return 0;
	}
	if (skb->ip_summed != CHECKSUM_PARTIAL)
		return 0;
	packet->transport_offset = skb_checksum_start_offset(skb);
	packet->wishes |= ip_wish(skb) | (skb->csum_offset == TCP_CHECKSUM_OFFSET ?
						  NETVSC_WISH_TCP_CHECKSUM :
						  NETVSC_WISH_UDP_CHECKSUM);
	if (likely(can_checksum(&core->offloads, packet->wishes)))
		return 0;
	packet->wishes &= ~(NETVSC_WISH_TCP_CHECKSUM | NETVSC_WISH_UDP_CHECKSUM);
	return skb_checksum_help(skb);
}

/*
 * A tag within the frame, as from a packet socket: hosts want it beside the frame. Where there is one
 * beside it already, that is the outer one of two, and the inner one stays.
 * Source: [linux 7.3 netvsc_drv.c netvsc_xmit]
 */
static int take_vlan_out(struct sk_buff *skb)
{
	u16 tci;
	int error;

	skb_reset_mac_header(skb);
	if (skb_vlan_tag_present(skb) || skb->len < VLAN_ETH_HLEN ||
	    eth_hdr(skb)->h_proto != htons(ETH_P_8021Q))
		return 0;
	error = skb_cow_head(skb, 0) ?: __skb_vlan_pop(skb, &tci);
	if (!error)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), tci);
	return error;
}

/* Returns 0 or -errno, having counted. */
static int prepare(struct netvsc_nic *nic, const struct netvsc *core, struct sk_buff *skb,
		   struct netvsc_packet *packet, struct netvsc_piece *pieces)
{
	if (skb->protocol == htons(ETH_P_8021Q) && take_vlan_out(skb)) {
		nic->events.vlan_error++;
		return -EINVAL;
	}
	/* One range of memory more than there are pieces: the copied head. */
	if (unlikely(skb_shinfo(skb)->nr_frags + 2 > core->pieces_max)) {
		nic->events.tx_scattered++;
		if (skb_linearize(skb)) {
			nic->events.tx_no_memory++;
			return -ENOMEM;
		}
	}
	if (describe_wishes(core, skb, packet))
		return -EINVAL;
	describe_memory(skb, packet, pieces);
	return 0;
}

/* Sending */

/*
 * What NAPI's frames call forth, answers and what TCP now may send, goes to the host with the round's end:
 * one signal instead of one in their midst, by which the host would take the first of them alone.
 */
static void show(struct netvsc_port *port)
{
	if (netvsc_port_is_polled(port))
		port->gathered = true;
	else if (netvsc_channel_flush(&port->core))
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
}

/* The queue stops until the core says that there is room. */
static void stop_queue(struct netvsc_port *port, struct netdev_queue *queue)
{
	netif_tx_stop_queue(queue);
	port->nic->events.stop_queue++;
}

static void count_full(struct netvsc_port *port)
{
	port->channel->counters.full_total++;
	if (!port->full)
		port->channel->counters.full_first++;
	port->full = true;
}

/* The frame stays the stack's. */
static netdev_tx_t no_room(struct netvsc_port *port, struct netdev_queue *queue)
{
	count_full(port);
	port->nic->events.tx_busy++;
	stop_queue(port, queue);
	show(port);
	return NETDEV_TX_BUSY;
}

static netdev_tx_t drop(struct sk_buff *skb, struct net_device *netdev)
{
	dev_core_stats_tx_dropped_inc(netdev);
	dev_kfree_skb_any(skb);
	return NETDEV_TX_OK;
}

/* After a frame was taken: stop in time, and show it to the host unless more come at once. */
static void sent_one(struct netvsc_port *port, struct netdev_queue *queue, u32 bytes)
{
	bool kick = __netdev_tx_sent_queue(queue, bytes, netdev_xmit_more());

	port->full = false;
	if (unlikely(!netvsc_channel_has_room(&port->core))) {
		stop_queue(port, queue);
		kick = true;
	}
	if (kick)
		show(port);
}

static netdev_tx_t send(struct netvsc_port *port, struct sk_buff *skb)
{
	struct netdev_queue *queue = netvsc_port_queue(port);
	struct netvsc_piece pieces[NETVSC_PIECES_MAX];
	struct netvsc_packet packet = { };
	int error;

	error = prepare(port->nic, &port->card->core, skb, &packet, pieces);
	if (unlikely(error))
		goto drop;
	error = netvsc_send(&port->core, &packet, &cb_of(skb)->request, NULL);
	if (unlikely(error == -LIS_AGAIN))
		return no_room(port, queue);
	if (unlikely(error)) {
		port->nic->events.tx_too_big += error == -LIS_INVALID;
		goto drop;
	}
	/* It cannot be over before the queue is unlocked. */
	skb_tx_timestamp(skb);
	sent_one(port, queue, packet.bytes);
	return NETDEV_TX_OK;

drop:
	/* What came before it must not wait for a frame that is none. */
	if (!netdev_xmit_more())
		show(port);
	return drop(skb, port->nic->netdev);
}

netdev_tx_t netvsc_start_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	struct netvsc_card *card = rcu_dereference_bh(nic->card);
	struct netvsc_port *port;

	if (unlikely(!card))
		return drop(skb, netdev);
	port = rcu_dereference_bh(card->ports[skb_get_queue_mapping(skb)]);
	if (unlikely(!port || !port->live))
		return drop(skb, netdev);
	return send(port, skb);
}

void netvsc_sent(struct netvsc_port *port, const struct netvsc_ended *ended, int budget)
{
	struct netvsc_send_stats *stats = &port->nic->send_stats[port->index];
	struct netvsc_request *request = ended->requests, *next;

	for (; request; request = next) {
		next = request->next;
		napi_consume_skb(netvsc_skb_of(request), budget);
	}
	u64_stats_update_begin(&stats->sync);
	u64_stats_add(&stats->packets, ended->frames);
	u64_stats_add(&stats->bytes, ended->bytes);
	u64_stats_update_end(&stats->sync);
	netdev_tx_completed_queue(netvsc_port_queue(port), ended->frames, ended->bytes);
}

/* XDP: frames that are copied or dropped, so that their memory is free at once */

/* Caller holds the lock of a live port's queue. */
static bool xdp_send(struct netvsc_port *port, const void *data, u32 bytes)
{
	const struct netvsc_piece piece = {
		.data = data, .pfn = page_to_pfn(virt_to_page(data)), .bytes = bytes,
	};
	const struct netvsc_packet packet = { .pieces = &piece, .piece_count = 1, .bytes = bytes };
	struct netdev_queue *queue = netvsc_port_queue(port);
	bool done;

	if (unlikely(netif_tx_queue_stopped(queue)) ||
	    netvsc_send(&port->core, &packet, NULL, &done))
		return false;
	if (__netdev_tx_sent_queue(queue, bytes, true))
		return true; /* flushed at the end, as always */
	if (!netvsc_channel_has_room(&port->core))
		stop_queue(port, queue);
	return true;
}

bool netvsc_xdp_send_back(struct netvsc_port *port, const void *data, u32 bytes)
{
	struct netdev_queue *queue = netvsc_port_queue(port);
	bool sent = false;

	__netif_tx_lock(queue, smp_processor_id());
	if (likely(port->live)) {
		txq_trans_cond_update(queue);
		sent = xdp_send(port, data, bytes);
	}
	__netif_tx_unlock(queue);
	/* Flushed with all others of the round, and also where this one found no room. */
	port->gathered = true;
	return sent;
}

static int xdp_send_all(struct netvsc_port *port, int count, struct xdp_frame **frames, u32 flags)
{
	struct netvsc_send_stats *stats = &port->nic->send_stats[port->index];
	int sent;

	for (sent = 0; sent < count; sent++) {
		if (!xdp_send(port, frames[sent]->data, frames[sent]->len))
			break;
	}
	show(port);
	for (int i = 0; i < sent; i++)
		xdp_return_frame_rx_napi(frames[i]);
	u64_stats_update_begin(&stats->sync);
	u64_stats_add(&stats->xdp_xmit, sent);
	u64_stats_update_end(&stats->sync);
	return sent;
}

int netvsc_xdp_xmit(struct net_device *netdev, int count, struct xdp_frame **frames, u32 flags)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	struct netvsc_card *card = rcu_dereference_bh(nic->card);
	unsigned int index = smp_processor_id() % netdev->real_num_tx_queues;
	struct netvsc_port *port;
	struct netdev_queue *queue;
	int sent = 0;

	if (unlikely(flags & ~XDP_XMIT_FLAGS_MASK))
		return -EINVAL;
	port = card ? rcu_dereference_bh(card->ports[index]) : NULL;
	if (unlikely(!port || !netif_carrier_ok(netdev)))
		return -ENETDOWN;
	queue = netvsc_port_queue(port);
	__netif_tx_lock(queue, smp_processor_id());
	if (likely(port->live)) {
		txq_trans_cond_update(queue);
		sent = xdp_send_all(port, count, frames, flags);
	}
	__netif_tx_unlock(queue);
	return sent;
}
