// SPDX-License-Identifier: GPL-2.0-only
/*
 * What ethtool asks of a network card. All of it runs under the RTNL.
 *
 * Rings are the two buffers that are shared with the host, counted in frames. Statistics of a queue go
 * on when its channel is set up anew.
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>

#include "linux/netvsc_nic.h"

static struct netvsc *core_of(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);

	return card ? &card->core : NULL;
}

/* The driver, and what it says */

static void get_drvinfo(struct net_device *netdev, struct ethtool_drvinfo *info)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	const struct netvsc *core = core_of(nic);

	strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
	strscpy(info->version, OPENLIS_VERSION, sizeof(info->version));
	strscpy(info->bus_info, dev_name(&nic->device->dev), sizeof(info->bus_info));
	if (core)
		snprintf(info->fw_version, sizeof(info->fw_version), "NVSP %x.%x",
			 core->version >> 16, core->version & 0xffff);
}

static u32 get_msglevel(struct net_device *netdev)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	return nic->msg_enable;
}

static void set_msglevel(struct net_device *netdev, u32 level)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	nic->msg_enable = level;
}

static int get_regs_len(struct net_device *netdev)
{
	return NVSP_SEND_TABLE_COUNT * sizeof(u32);
}

/* The table by which the host wants flows sent. */
static void get_regs(struct net_device *netdev, struct ethtool_regs *regs, void *out)
{
	const struct netvsc *core = core_of(netdev_priv(netdev));
	u32 *table = out;

	regs->version = 1;
	for (u32 i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		table[i] = core ? netvsc_channel_of_hash(core, i) : 0;
}

/* The link */

static int get_link_ksettings(struct net_device *netdev, struct ethtool_link_ksettings *settings)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	settings->base.speed = nic->speed;
	settings->base.duplex = nic->duplex;
	settings->base.port = PORT_OTHER;
	return 0;
}

static int set_link_ksettings(struct net_device *netdev,
			      const struct ethtool_link_ksettings *settings)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	return ethtool_virtdev_set_link_ksettings(netdev, settings, &nic->speed, &nic->duplex);
}

/* Channels */

static void get_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	const struct netvsc *core = core_of(netdev_priv(netdev));

	if (!core)
		return;
	channels->combined_count = netdev->real_num_tx_queues;
	channels->max_combined = clamp_t(u32, min(core->rss.queues_max, num_online_cpus()), 1,
					 NETVSC_CHANNELS_MAX);
}

static void set_channels_back(struct netvsc_nic *nic, void *arg)
{
	nic->channels = *(u32 *)arg;
}

static int set_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	const struct netvsc *core = core_of(nic);
	u32 old = nic->channels;

	if (!core)
		return -ENODEV;
	if (core->version < NVSP_VERSION_5)
		return -EOPNOTSUPP;
	nic->channels = channels->combined_count;
	return netvsc_change(nic, set_channels_back, &old);
}

/* Rings */

static void get_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
			  struct kernel_ethtool_ringparam *kernel_ring,
			  struct netlink_ext_ack *extack)
{
	const struct netvsc *core = core_of(netdev_priv(netdev));

	if (!core)
		return;
	ring->rx_pending = core->sub_count;
	ring->tx_pending = core->section_count;
	ring->rx_max_pending = netvsc_receive_bytes_max(core) / core->sub_bytes;
	ring->tx_max_pending = NETVSC_SEND_BYTES_MAX / core->section_bytes;
}

struct sections {
	u32 receive, send;
};

static void set_sections_back(struct netvsc_nic *nic, void *arg)
{
	const struct sections *old = arg;

	nic->receive_sections = old->receive;
	nic->send_sections = old->send;
}

/* How many parts of the usual size make up @count of the host's. */
static u32 usual_sections(u32 count, u32 bytes, u32 usual_bytes, u32 bytes_max)
{
	u64 total = min_t(u64, (u64)max(count, NETVSC_SECTIONS_MIN) * bytes, bytes_max);

	return (u32)div_u64(total + usual_bytes - 1, usual_bytes);
}

static int set_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
			 struct kernel_ethtool_ringparam *kernel_ring,
			 struct netlink_ext_ack *extack)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	const struct netvsc *core = core_of(nic);
	struct sections old = { nic->receive_sections, nic->send_sections };

	if (!core)
		return -ENODEV;
	if (ring->rx_pending == core->sub_count && ring->tx_pending == core->section_count)
		return 0;
	nic->receive_sections = usual_sections(ring->rx_pending, core->sub_bytes,
					       NETVSC_RECEIVE_SECTION_BYTES,
					       netvsc_receive_bytes_max(core));
	/* Rounded down, or the last page would be one too many. */
	nic->send_sections = min_t(u32, usual_sections(ring->tx_pending, core->section_bytes,
						       NETVSC_SEND_SECTION_BYTES,
						       NETVSC_SEND_BYTES_MAX),
				   NETVSC_SEND_BYTES_MAX / NETVSC_SEND_SECTION_BYTES);
	return netvsc_change(nic, set_sections_back, &old);
}

/* Receive side scaling */

static u32 get_rx_ring_count(struct net_device *netdev)
{
	return netdev->real_num_rx_queues;
}

static u32 get_rxfh_key_size(struct net_device *netdev)
{
	return NDIS_RSS_KEY_BYTES;
}

static u32 get_rxfh_indir_size(struct net_device *netdev)
{
	const struct netvsc *core = core_of(netdev_priv(netdev));

	return core && core->rss.queues_max > 1 ? core->rss.table_count : 0;
}

static int get_rxfh(struct net_device *netdev, struct ethtool_rxfh_param *rxfh)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	rxfh->hfunc = ETH_RSS_HASH_TOP;
	for (u32 i = 0; rxfh->indir && i < get_rxfh_indir_size(netdev); i++)
		rxfh->indir[i] = netvsc_rss_queue(nic, i);
	if (rxfh->key)
		memcpy(rxfh->key, nic->rss_key, sizeof(nic->rss_key));
	return 0;
}

static int set_rxfh(struct net_device *netdev, struct ethtool_rxfh_param *rxfh,
		    struct netlink_ext_ack *extack)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	u32 count = get_rxfh_indir_size(netdev);
	u8 old_table[NDIS_RSS_TABLE_COUNT], old_key[NDIS_RSS_KEY_BYTES];
	int error;

	if (rxfh->hfunc != ETH_RSS_HASH_NO_CHANGE && rxfh->hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	if (!count)
		return -EOPNOTSUPP;
	if (!rxfh->indir && !rxfh->key)
		return 0;
	memcpy(old_table, nic->rss_table, sizeof(old_table));
	memcpy(old_key, nic->rss_key, sizeof(old_key));
	for (u32 i = 0; rxfh->indir && i < count; i++)
		nic->rss_table[i] = (u8)rxfh->indir[i];
	if (rxfh->key)
		memcpy(nic->rss_key, rxfh->key, sizeof(nic->rss_key));
	error = netvsc_update_rss(nic);
	if (error) {
		memcpy(nic->rss_table, old_table, sizeof(old_table));
		memcpy(nic->rss_key, old_key, sizeof(old_key));
	}
	return error;
}
COMPAT_RXFH(get_rxfh, set_rxfh)

/* Which of NETVSC_L4_* a kind of flow is; 0: it has no ports. */
static u32 l4_bit(u32 flow_type)
{
	switch (flow_type) {
	case TCP_V4_FLOW:
		return NETVSC_L4_TCP4;
	case TCP_V6_FLOW:
		return NETVSC_L4_TCP6;
	case UDP_V4_FLOW:
		return NETVSC_L4_UDP4;
	case UDP_V6_FLOW:
		return NETVSC_L4_UDP6;
	default:
		return 0;
	}
}

#define RXH_ADDRESSES (RXH_IP_SRC | RXH_IP_DST)
#define RXH_PORTS (RXH_L4_B_0_1 | RXH_L4_B_2_3)

static int get_rxfh_fields(struct net_device *netdev, struct ethtool_rxfh_fields *fields)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	fields->data = 0;
	if (l4_bit(fields->flow_type) || fields->flow_type == IPV4_FLOW ||
	    fields->flow_type == IPV6_FLOW)
		fields->data = RXH_ADDRESSES;
	if (nic->l4_hash & l4_bit(fields->flow_type))
		fields->data |= RXH_PORTS;
	return 0;
}

static int set_rxfh_fields(struct net_device *netdev, const struct ethtool_rxfh_fields *fields,
			   struct netlink_ext_ack *extack)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	u32 bit = l4_bit(fields->flow_type), old = nic->l4_hash;
	int error;

	if (!bit)
		return -EOPNOTSUPP;
	if (fields->data == (RXH_ADDRESSES | RXH_PORTS))
		nic->l4_hash |= bit;
	else if (fields->data == RXH_ADDRESSES)
		nic->l4_hash &= ~bit;
	else
		return -EOPNOTSUPP;
	if (nic->l4_hash == old || netdev->real_num_rx_queues < 2)
		return 0;
	error = netvsc_update_rss(nic);
	if (error)
		nic->l4_hash = old;
	return error;
}
COMPAT_RXNFC(get_rx_ring_count, get_rxfh_fields, set_rxfh_fields)

/* Statistics */

#define EVENT(name) { #name, offsetof(struct netvsc_events, name) }

/* By the names that every netvsc has. */
static const struct {
	char name[ETH_GSTRING_LEN];
	size_t offset;
} event_stats[] = {
	EVENT(tx_scattered), EVENT(tx_no_memory), EVENT(tx_no_space), EVENT(tx_too_big),
	EVENT(tx_busy), EVENT(tx_send_full), EVENT(rx_comp_busy), EVENT(rx_no_memory),
	EVENT(stop_queue), EVENT(wake_queue), EVENT(vlan_error),
};

static const char *const queue_stats[] = {
	"tx_queue_%u_packets", "tx_queue_%u_bytes", "tx_queue_%u_xdp_xmit",
	"rx_queue_%u_packets", "rx_queue_%u_bytes", "rx_queue_%u_xdp_drop",
	"rx_queue_%u_xdp_redirect", "rx_queue_%u_xdp_tx",
};

static int get_sset_count(struct net_device *netdev, int set)
{
	if (set != ETH_SS_STATS)
		return -EOPNOTSUPP;
	return ARRAY_SIZE(event_stats) +
	       ARRAY_SIZE(queue_stats) * netdev->real_num_tx_queues;
}

static void get_strings(struct net_device *netdev, u32 set, u8 *out)
{
	if (set != ETH_SS_STATS)
		return;
	for (unsigned int i = 0; i < ARRAY_SIZE(event_stats); i++)
		ethtool_sprintf(&out, "%s", event_stats[i].name);
	for (unsigned int queue = 0; queue < netdev->real_num_tx_queues; queue++)
		for (unsigned int i = 0; i < ARRAY_SIZE(queue_stats); i++)
			ethtool_sprintf(&out, queue_stats[i], queue);
}

static u64 *put_queue(const struct netvsc_nic *nic, unsigned int queue, u64 *out)
{
	const struct netvsc_send_stats *send = &nic->send_stats[queue];
	const struct netvsc_receive_stats *receive = &nic->receive_stats[queue];
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&send->sync);
		out[0] = u64_stats_read(&send->packets);
		out[1] = u64_stats_read(&send->bytes);
		out[2] = u64_stats_read(&send->xdp_xmit);
	} while (u64_stats_fetch_retry(&send->sync, start));
	do {
		start = u64_stats_fetch_begin(&receive->sync);
		out[3] = u64_stats_read(&receive->packets);
		out[4] = u64_stats_read(&receive->bytes);
		out[5] = u64_stats_read(&receive->xdp_drop);
		out[6] = u64_stats_read(&receive->xdp_redirect);
		out[7] = u64_stats_read(&receive->xdp_tx);
	} while (u64_stats_fetch_retry(&receive->sync, start));
	return out + ARRAY_SIZE(queue_stats);
}

/* Short frames that found no room in the send buffer, on the channels that are open. */
static unsigned long no_section(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);
	unsigned long count = 0;

	for (unsigned int i = 0; card && i < NETVSC_CHANNELS_MAX; i++) {
		struct netvsc_port *port = rtnl_dereference(card->ports[i]);

		if (port)
			count += READ_ONCE(port->core.send_counters.no_section);
	}
	return count;
}

static void get_ethtool_stats(struct net_device *netdev, struct ethtool_stats *stats, u64 *out)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	struct netvsc_events events = nic->events;

	events.tx_send_full += no_section(nic);
	for (unsigned int i = 0; i < ARRAY_SIZE(event_stats); i++)
		*out++ = *(unsigned long *)((u8 *)&events + event_stats[i].offset);
	for (unsigned int queue = 0; queue < netdev->real_num_tx_queues; queue++)
		out = put_queue(nic, queue, out);
}

const struct ethtool_ops netvsc_ethtool_ops = {
	.get_drvinfo = get_drvinfo,
	.get_msglevel = get_msglevel,
	.set_msglevel = set_msglevel,
	.get_regs_len = get_regs_len,
	.get_regs = get_regs,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = get_link_ksettings,
	.set_link_ksettings = set_link_ksettings,
	.get_channels = get_channels,
	.set_channels = set_channels,
	.get_ringparam = get_ringparam,
	.set_ringparam = set_ringparam,
	.get_rxfh_key_size = get_rxfh_key_size,
	.get_rxfh_indir_size = get_rxfh_indir_size,
	COMPAT_RXFH_OPS(get_rxfh, set_rxfh)
	COMPAT_RXNFC_OPS(get_rx_ring_count, get_rxfh_fields, set_rxfh_fields)
	.get_sset_count = get_sset_count,
	.get_strings = get_strings,
	.get_ethtool_stats = get_ethtool_stats,
	.get_ts_info = ethtool_op_get_ts_info,
};
