// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames from the host on their way to the network stack. The host may change them at any time where
 * they lie, so each is copied once, and nothing is looked at before.
 *
 * Frames of up to a page go into one piece; of longer ones the headers do, and the rest into pages. With
 * an XDP program all go into one piece with room in front, and the program sees the copy.
 */
#include <linux/bpf_trace.h>
#include <linux/filter.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>

#include "linux/netvsc_nic.h"

/* What is copied in front of the pages: all headers, and short enough to be cheap. */
#define HEAD_BYTES 256u
/* With its headroom and the stack's own part, as much as fits into a page. */
#define ONE_PIECE_BYTES 3072u
/* The room of a frame with a program, without what the program is given and the stack's part. */
#define XDP_FRAME_BYTES (PAGE_SIZE - XDP_PACKET_HEADROOM - \
			 SKB_DATA_ALIGN(sizeof(struct skb_shared_info)))

/* Copying out of the receive buffer: where in the frame, and how much is left of a part. */
struct reader {
	const struct netvsc_part *part;
	u32 offset;
};

static void read_bytes(struct reader *reader, void *to, u32 bytes)
{
	while (bytes) {
		u32 there = min(reader->part->bytes - reader->offset, bytes);

		memcpy(to, reader->part->data + reader->offset, there);
		to += there;
		bytes -= there;
		reader->offset += there;
		if (reader->offset == reader->part->bytes) {
			reader->part++;
			reader->offset = 0;
		}
	}
}

/* Building an skb */

static bool add_page_pieces(struct sk_buff *skb, struct reader *reader, u32 bytes)
{
	for (int i = 0; bytes; i++) {
		u32 there = min_t(u32, bytes, PAGE_SIZE);
		struct page *page;

		page = i < MAX_SKB_FRAGS ? dev_alloc_page() : NULL;
		if (unlikely(!page))
			return false;
		read_bytes(reader, page_address(page), there);
		skb_add_rx_frag(skb, i, page, 0, there, PAGE_SIZE);
		bytes -= there;
	}
	return true;
}

static struct sk_buff *copy_frame(struct netvsc_port *port, const struct netvsc_frame *frame)
{
	u32 head = frame->bytes <= ONE_PIECE_BYTES ? frame->bytes : HEAD_BYTES;
	struct sk_buff *skb = napi_alloc_skb(&port->napi, head);
	struct reader reader = { .part = frame->parts };

	if (unlikely(!skb))
		return NULL;
	read_bytes(&reader, skb_put(skb, head), head);
	if (unlikely(!add_page_pieces(skb, &reader, frame->bytes - head))) {
		kfree_skb(skb);
		return NULL;
	}
	return skb;
}

/* The header's sum is not that of the segments put together. False: this is no such header. */
static bool compute_ip_checksum(struct sk_buff *skb)
{
	struct iphdr *ip = (struct iphdr *)skb->data;

	if (skb_headlen(skb) < sizeof(*ip) || ip->ihl < 5 || skb_headlen(skb) < ip->ihl * 4)
		return false;
	ip->check = 0;
	ip->check = ip_fast_csum(ip, ip->ihl);
	return true;
}

/* Flows that are told apart by addresses only may still be told apart by ports, elsewhere. */
static enum pkt_hash_types hash_type(const struct netvsc_frame *frame)
{
	const u32 addresses = NDIS_HASH_IPV4 | NDIS_HASH_IPV6;

	return frame->hash_type && !(frame->hash_type & ~(addresses | NDIS_HASH_FUNCTION_MASK)) ?
		       PKT_HASH_TYPE_L3 :
		       PKT_HASH_TYPE_L4;
}

/* Back in, for who does not want it beside. NULL: no memory, and the frame is gone. */
static struct sk_buff *put_vlan_in(struct sk_buff *skb, u16 tci)
{
	struct net_device *netdev = skb->dev;

	skb_push(skb, ETH_HLEN);
	skb = vlan_insert_tag(skb, htons(ETH_P_8021Q), tci);
	if (skb)
		skb->protocol = eth_type_trans(skb, netdev);
	return skb;
}

/* Passes it on. */
static void deliver(struct netvsc_port *port, const struct netvsc_frame *frame, struct sk_buff *skb)
{
	struct net_device *netdev = port->nic->netdev;
	u32 sum = frame->checksum;

	skb->protocol = eth_type_trans(skb, netdev);
	skb_record_rx_queue(skb, port->index);
	if ((sum & RNDIS_RX_IP_VALUE_INVALID) && (sum & RNDIS_RX_IP_SUCCEEDED) &&
	    skb->protocol == htons(ETH_P_IP) && !compute_ip_checksum(skb)) {
		kfree_skb(skb);
		return;
	}
	if ((sum & (RNDIS_RX_TCP_SUCCEEDED | RNDIS_RX_UDP_SUCCEEDED)) &&
	    (netdev->features & NETIF_F_RXCSUM))
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (frame->has_hash && (netdev->features & NETIF_F_RXHASH))
		skb_set_hash(skb, frame->hash, hash_type(frame));
	if (frame->has_vlan && (netdev->features & NETIF_F_HW_VLAN_CTAG_RX))
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), frame->vlan_tci);
	else if (frame->has_vlan)
		skb = put_vlan_in(skb, frame->vlan_tci);
	if (likely(skb))
		napi_gro_receive(&port->napi, skb);
}

/* XDP */

static void *xdp_copy(struct netvsc_port *port, const struct netvsc_frame *frame,
		      struct xdp_buff *xdp)
{
	struct reader reader = { .part = frame->parts };
	void *memory;

	if (frame->bytes > XDP_FRAME_BYTES)
		return NULL;
	memory = napi_alloc_frag(PAGE_SIZE);
	if (!memory)
		return NULL;
	xdp_init_buff(xdp, PAGE_SIZE, &port->xdp_rxq);
	xdp_prepare_buff(xdp, memory, XDP_PACKET_HEADROOM, frame->bytes, true);
	read_bytes(&reader, xdp->data, frame->bytes);
	return memory;
}

enum xdp_outcome {
	XDP_OUTCOME_PASS,
	XDP_OUTCOME_SENT,
	XDP_OUTCOME_REDIRECTED,
	XDP_OUTCOME_DROPPED,
};

static enum xdp_outcome run_xdp(struct netvsc_port *port, struct bpf_prog *prog,
				struct xdp_buff *xdp)
{
	struct net_device *netdev = port->nic->netdev;
	u32 action = bpf_prog_run_xdp(prog, xdp);

	switch (action) {
	case XDP_PASS:
		return XDP_OUTCOME_PASS;
	case XDP_TX:
		if (netvsc_xdp_send_back(port, xdp->data, xdp->data_end - xdp->data))
			return XDP_OUTCOME_SENT;
		trace_xdp_exception(netdev, prog, action);
		return XDP_OUTCOME_DROPPED;
	case XDP_REDIRECT:
		if (!xdp_do_redirect(netdev, xdp, prog))
			return XDP_OUTCOME_REDIRECTED;
		trace_xdp_exception(netdev, prog, action);
		return XDP_OUTCOME_DROPPED;
	default:
		bpf_warn_invalid_xdp_action(netdev, prog, action);
		fallthrough;
	case XDP_ABORTED:
		trace_xdp_exception(netdev, prog, action);
		fallthrough;
	case XDP_DROP:
		return XDP_OUTCOME_DROPPED;
	}
}

/* A frame that a program has passed, in the memory it saw it in. */
static struct sk_buff *xdp_build(struct xdp_buff *xdp)
{
	u32 meta = xdp->data - xdp->data_meta;
	struct sk_buff *skb = napi_build_skb(xdp->data_hard_start, PAGE_SIZE);

	if (unlikely(!skb))
		return NULL;
	skb_reserve(skb, xdp->data - xdp->data_hard_start);
	skb_put(skb, xdp->data_end - xdp->data);
	if (meta)
		skb_metadata_set(skb, meta);
	return skb;
}

static void count_xdp(struct netvsc_port *port, enum xdp_outcome outcome)
{
	struct netvsc_receive_stats *stats = &port->nic->receive_stats[port->index];

	u64_stats_update_begin(&stats->sync);
	if (outcome == XDP_OUTCOME_SENT)
		u64_stats_inc(&stats->xdp_tx);
	else if (outcome == XDP_OUTCOME_REDIRECTED)
		u64_stats_inc(&stats->xdp_redirect);
	else if (outcome == XDP_OUTCOME_DROPPED)
		u64_stats_inc(&stats->xdp_drop);
	u64_stats_update_end(&stats->sync);
}

/* Returns the frame where it is passed on. */
static struct sk_buff *receive_with_xdp(struct netvsc_port *port, const struct netvsc_frame *frame,
					struct bpf_prog *prog)
{
	enum xdp_outcome outcome = XDP_OUTCOME_DROPPED;
	struct sk_buff *skb = NULL;
	struct xdp_buff xdp;
	void *memory = xdp_copy(port, frame, &xdp);

	if (memory)
		outcome = run_xdp(port, prog, &xdp);
	if (outcome == XDP_OUTCOME_PASS)
		skb = xdp_build(&xdp);
	else if (outcome == XDP_OUTCOME_REDIRECTED)
		port->xdp_redirected = true;
	if (memory && !skb && outcome != XDP_OUTCOME_REDIRECTED)
		skb_free_frag(memory);
	count_xdp(port, outcome);
	return skb;
}

static void count(struct netvsc_port *port, const struct netvsc_frame *frame, bool multicast)
{
	struct netvsc_receive_stats *stats = &port->nic->receive_stats[port->index];

	u64_stats_update_begin(&stats->sync);
	u64_stats_inc(&stats->packets);
	u64_stats_add(&stats->bytes, frame->bytes);
	if (multicast)
		u64_stats_inc(&stats->multicast);
	u64_stats_update_end(&stats->sync);
}

void netvsc_received(struct netvsc_port *port, const struct netvsc_frame *frame)
{
	struct netvsc_nic *nic = port->nic;
	struct bpf_prog *prog;
	struct sk_buff *skb;

	/* Where the interface is down, or not there yet, nobody wants it, whatever the host sends. */
	if (unlikely(!netif_running(nic->netdev)))
		return;
	prog = rcu_dereference_bh(nic->xdp_prog);
	if (prog) {
		skb = receive_with_xdp(port, frame, prog);
		count(port, frame, false);
		if (skb)
			deliver(port, frame, skb);
		return;
	}
	skb = copy_frame(port, frame);
	if (unlikely(!skb)) {
		nic->events.rx_no_memory++;
		dev_core_stats_rx_dropped_inc(nic->netdev);
		return;
	}
	count(port, frame, is_multicast_ether_addr(skb->data));
	deliver(port, frame, skb);
}

bool netvsc_xdp_takes_mtu(int mtu)
{
	return mtu + VLAN_ETH_HLEN <= (int)XDP_FRAME_BYTES;
}

static int set_prog(struct netvsc_nic *nic, struct bpf_prog *prog, struct netlink_ext_ack *extack)
{
	struct net_device *netdev = nic->netdev;
	struct bpf_prog *old;

	if (prog && !netvsc_xdp_takes_mtu(netdev->mtu)) {
		NL_SET_ERR_MSG_MOD(extack, "the MTU is too large for XDP");
		return -EOPNOTSUPP;
	}
	if (prog && (netdev->features & NETIF_F_LRO)) {
		NL_SET_ERR_MSG_MOD(extack, "LRO must be off for XDP");
		return -EOPNOTSUPP;
	}
	old = rcu_replace_pointer(nic->xdp_prog, prog, lockdep_rtnl_is_held());
	if (old)
		bpf_prog_put(old);
	return 0;
}

int netvsc_bpf(struct net_device *netdev, struct netdev_bpf *bpf)
{
	if (bpf->command != XDP_SETUP_PROG)
		return -EINVAL;
	return set_prog(netdev_priv(netdev), bpf->prog, bpf->extack);
}
