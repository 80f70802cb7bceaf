// SPDX-License-Identifier: GPL-2.0-only
/*
 * hv_netvsc: network cards. Here is a NIC's life from probe to remove, and what the network stack asks
 * of it beside frames; netvsc_nic.h says how the files and the locks go together.
 *
 * A card that breaks (the host wrote nonsense into a ring) is taken down and set up anew, a few times;
 * then the interface stays without carrier, and a change of MTU tries again.
 */
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/nls.h>
#include <linux/rtnetlink.h>

#include "linux/netvsc_nic.h"

static unsigned int ring_size = 128;
module_param(ring_size, uint, 0444);
MODULE_PARM_DESC(ring_size, "Pages of 4 KiB in each ring (default: 128)");

static int debug = -1;
module_param(debug, int, 0444);
MODULE_PARM_DESC(debug, "Level of messages, 0 to 16 (default: those of link and errors)");

/* As every netvsc has them. */
#define RING_PAGES_MIN 64u
/* Both rings go into one GPADL, with two pages more. */
#define RING_PAGES_MAX 2048u
#define DEFAULT_MESSAGES \
	(NETIF_MSG_DRV | NETIF_MSG_PROBE | NETIF_MSG_LINK | NETIF_MSG_IFUP | NETIF_MSG_IFDOWN | \
	 NETIF_MSG_RX_ERR | NETIF_MSG_TX_ERR)
/* What hosts call a card that nobody has named. */
#define NAME_OF_NONE "Network Adapter"
/* How long the link is shown to be down when the network may be another one; as every netvsc does. */
#define MOVED_SECONDS 2
/* So many times a card is set up anew without anybody's asking. [policy] */
#define RECOVERIES_MAX 8
#define RETRY_RTNL (HZ / 50)

unsigned int netvsc_ring_bytes;

/* The network stack's requests, under the RTNL */

static int nic_open(struct net_device *netdev)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	int error;

	if (!netvsc_card_of(nic))
		return -ENODEV;
	netif_tx_start_all_queues(netdev);
	error = netvsc_update_filter(nic);
	if (error) {
		netif_tx_disable(netdev);
		return error;
	}
	netvsc_set_carrier(nic);
	return 0;
}

static int nic_stop(struct net_device *netdev)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	netif_tx_disable(netdev);
	netif_carrier_off(netdev);
	/* The interface does not count as running any more, so there is nothing to receive. */
	if (netvsc_card_of(nic) && netvsc_update_filter(nic))
		netdev_warn(netdev, "the host does not stop sending frames\n");
	return 0;
}

static void set_mtu_back(struct netvsc_nic *nic, void *arg)
{
	WRITE_ONCE(nic->netdev->mtu, *(int *)arg);
}

static int nic_change_mtu(struct net_device *netdev, int mtu)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	int old = netdev->mtu;

	if (rtnl_dereference(nic->xdp_prog) && !netvsc_xdp_takes_mtu(mtu))
		return -EINVAL;
	WRITE_ONCE(netdev->mtu, mtu);
	return netvsc_change(nic, set_mtu_back, &old);
}

static int nic_set_mac(struct net_device *netdev, void *address)
{
	struct netvsc_nic *nic = netdev_priv(netdev);
	int error = eth_prepare_mac_addr_change(netdev, address);

	if (error)
		return error;
	error = netvsc_update_mac(nic, ((struct sockaddr *)address)->sa_data);
	if (!error)
		eth_commit_mac_addr_change(netdev, address);
	return error;
}

static netdev_features_t nic_fix_features(struct net_device *netdev, netdev_features_t features)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	/* A program is given frames as they came, in one piece. */
	if (rtnl_dereference(nic->xdp_prog))
		features &= ~NETIF_F_LRO;
	return features;
}

static int nic_set_features(struct net_device *netdev, netdev_features_t features)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	if (!((features ^ netdev->features) & NETIF_F_LRO) || !netvsc_card_of(nic))
		return 0;
	return netvsc_update_coalescing(nic, features & NETIF_F_LRO);
}

static void nic_set_rx_mode(struct net_device *netdev)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	mod_delayed_work(system_percpu_wq, &nic->filter_work, 0);
}

static void add_send_stats(const struct netvsc_send_stats *stats, struct rtnl_link_stats64 *sum)
{
	u64 packets, bytes;
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&stats->sync);
		packets = u64_stats_read(&stats->packets);
		bytes = u64_stats_read(&stats->bytes);
	} while (u64_stats_fetch_retry(&stats->sync, start));
	sum->tx_packets += packets;
	sum->tx_bytes += bytes;
}

static void add_receive_stats(const struct netvsc_receive_stats *stats,
			      struct rtnl_link_stats64 *sum)
{
	u64 packets, bytes, multicast;
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&stats->sync);
		packets = u64_stats_read(&stats->packets);
		bytes = u64_stats_read(&stats->bytes);
		multicast = u64_stats_read(&stats->multicast);
	} while (u64_stats_fetch_retry(&stats->sync, start));
	sum->rx_packets += packets;
	sum->rx_bytes += bytes;
	sum->multicast += multicast;
}

static void nic_get_stats64(struct net_device *netdev, struct rtnl_link_stats64 *sum)
{
	struct netvsc_nic *nic = netdev_priv(netdev);

	for (unsigned int i = 0; i < NETVSC_CHANNELS_MAX; i++) {
		add_send_stats(&nic->send_stats[i], sum);
		add_receive_stats(&nic->receive_stats[i], sum);
	}
}

static const struct net_device_ops nic_ops = {
	.ndo_open = nic_open,
	.ndo_stop = nic_stop,
	.ndo_start_xmit = netvsc_start_xmit,
	.ndo_select_queue = netvsc_select_queue,
	.ndo_set_rx_mode = nic_set_rx_mode,
	.ndo_set_mac_address = nic_set_mac,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_change_mtu = nic_change_mtu,
	.ndo_fix_features = nic_fix_features,
	.ndo_set_features = nic_set_features,
	.ndo_get_stats64 = nic_get_stats64,
	.ndo_bpf = netvsc_bpf,
	.ndo_xdp_xmit = netvsc_xdp_xmit,
};

/* Work. It may be canceled under the RTNL, so it does not wait for that. */

static void filter_work(struct work_struct *work)
{
	struct netvsc_nic *nic = container_of(work, struct netvsc_nic, filter_work.work);

	if (!rtnl_trylock()) {
		schedule_delayed_work(&nic->filter_work, RETRY_RTNL);
		return;
	}
	if (netvsc_card_of(nic) && netvsc_update_filter(nic) && !nic->gone)
		netdev_warn(nic->netdev, "the host does not change what it sends\n");
	rtnl_unlock();
}

static void follow_link(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);
	bool was_up = netif_carrier_ok(nic->netdev);

	if (!card)
		return;
	netvsc_take_speed(nic, &card->core);
	if (nic->moved && was_up) {
		netif_carrier_off(nic->netdev);
		nic->moved = false;
		schedule_delayed_work(&nic->link_work, MOVED_SECONDS * HZ);
		return;
	}
	nic->moved = false;
	netvsc_set_carrier(nic);
	/* Told again that it is up: the addresses are to be known behind it, too. */
	if (was_up && netif_carrier_ok(nic->netdev))
		__netdev_notify_peers(nic->netdev);
}

static void link_work(struct work_struct *work)
{
	struct netvsc_nic *nic = container_of(work, struct netvsc_nic, link_work.work);

	if (!rtnl_trylock()) {
		schedule_delayed_work(&nic->link_work, RETRY_RTNL);
		return;
	}
	follow_link(nic);
	rtnl_unlock();
}

static void recover(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);
	int error = -EPROTO;

	/* The card that broke may have been taken down meanwhile. */
	if (nic->gone || !card || !READ_ONCE(card->broken) ||
	    lis_channel_rescinded(nic->device->channel))
		return;
	netvsc_detach(nic);
	if (++nic->recoveries <= RECOVERIES_MAX) {
		netdev_warn(nic->netdev, "setting the card up anew\n");
		error = netvsc_attach(nic, true);
	}
	if (error)
		netvsc_give_up(nic, error);
}

static void recover_work(struct work_struct *work)
{
	struct netvsc_nic *nic = container_of(work, struct netvsc_nic, recover_work.work);

	if (!rtnl_trylock()) {
		schedule_delayed_work(&nic->recover_work, RETRY_RTNL);
		return;
	}
	recover(nic);
	rtnl_unlock();
}

/* Probe and remove */

static struct netvsc_nic *nic_create(struct lis_device *device)
{
	struct net_device *netdev =
		alloc_etherdev_mq(sizeof(struct netvsc_nic), NETVSC_CHANNELS_MAX);
	struct netvsc_nic *nic;

	if (!netdev)
		return NULL;
	nic = netdev_priv(netdev);
	nic->netdev = netdev;
	nic->device = device;
	mutex_init(&nic->ports_mutex);
	nic->channels = max_t(u32, NETVSC_CHANNELS_DEFAULT, netif_get_num_default_rss_queues());
	nic->receive_sections = NETVSC_RECEIVE_BYTES_DEFAULT / NETVSC_RECEIVE_SECTION_BYTES;
	nic->send_sections = NETVSC_SEND_BYTES_DEFAULT / NETVSC_SEND_SECTION_BYTES;
	nic->l4_hash = NETVSC_L4_ALL;
	nic->speed = nic->host_speed = SPEED_UNKNOWN;
	nic->duplex = DUPLEX_FULL;
	nic->msg_enable = netif_msg_init(debug, DEFAULT_MESSAGES);
	netdev_rss_key_fill(nic->rss_key, sizeof(nic->rss_key));
	INIT_DELAYED_WORK(&nic->link_work, link_work);
	INIT_DELAYED_WORK(&nic->filter_work, filter_work);
	INIT_DELAYED_WORK(&nic->channels_work, netvsc_channels_work);
	INIT_DELAYED_WORK(&nic->recover_work, recover_work);
	for (unsigned int i = 0; i < NETVSC_CHANNELS_MAX; i++) {
		u64_stats_init(&nic->send_stats[i].sync);
		u64_stats_init(&nic->receive_stats[i].sync);
	}
	netdev->netdev_ops = &nic_ops;
	netdev->ethtool_ops = &netvsc_ethtool_ops;
	SET_NETDEV_DEV(netdev, &device->dev);
	/* A frame in flight is linked by its control buffer: nobody else may send it, too. */
	netdev->priv_flags &= ~IFF_TX_SKB_SHARING;
	/* What a card is asked for at first; it says what of it there is. */
	netdev->features = NETIF_F_LRO;
	netif_carrier_off(netdev);
	dev_set_drvdata(&device->dev, nic);
	return nic;
}

static void nic_destroy(struct netvsc_nic *nic)
{
	cancel_delayed_work_sync(&nic->recover_work);
	cancel_delayed_work_sync(&nic->link_work);
	cancel_delayed_work_sync(&nic->filter_work);
	cancel_delayed_work_sync(&nic->channels_work);
	dev_set_drvdata(&nic->device->dev, NULL);
	free_netdev(nic->netdev);
}

/* The card's name becomes the interface's alias, unless it is nobody's. */
static void take_name(struct netvsc_nic *nic)
{
	const struct netvsc *core = &netvsc_card_of(nic)->core;
	u8 alias[NETVSC_NAME_BYTES_MAX];
	int bytes = utf16s_to_utf8s((const wchar_t *)core->name, core->name_bytes / 2,
				    UTF16_LITTLE_ENDIAN, alias, sizeof(alias) - 1);

	alias[bytes] = 0;
	bytes = strnlen(alias, bytes);
	if (bytes && strcmp(alias, NAME_OF_NONE))
		dev_set_alias(nic->netdev, alias, bytes);
}

static void set_limits(struct netvsc_nic *nic)
{
	const struct netvsc *core = &netvsc_card_of(nic)->core;
	struct net_device *netdev = nic->netdev;

	eth_hw_addr_set(netdev, core->mac);
	netdev->hw_features |= NETIF_F_SG | NETIF_F_RXCSUM | NETIF_F_RXHASH;
	netdev->vlan_features = netdev->hw_features | NETIF_F_HIGHDMA;
	netdev->hw_features |= NETIF_F_HW_VLAN_CTAG_TX | NETIF_F_HW_VLAN_CTAG_RX;
	netdev->features = netdev->hw_features | NETIF_F_HIGHDMA;
	netdev->min_mtu = ETH_MIN_MTU;
	netdev->max_mtu = core->version < NVSP_VERSION_2 ? ETH_DATA_LEN : NETVSC_MTU_MAX;
	compat_set_xdp_features(netdev, NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT |
						NETDEV_XDP_ACT_NDO_XMIT);
}

static int add_nic(struct netvsc_nic *nic)
{
	int error = netvsc_attach(nic, false);

	if (error)
		return error;
	take_name(nic);
	set_limits(nic);
	error = register_netdevice(nic->netdev);
	if (error)
		netvsc_detach(nic);
	return error;
}

static int netvsc_probe(struct lis_device *device, const struct hv_vmbus_device_id *id)
{
	struct netvsc_nic *nic = nic_create(device);
	int error;

	if (!nic)
		return -ENOMEM;
	rtnl_lock();
	error = add_nic(nic);
	rtnl_unlock();
	if (error) {
		dev_err(&device->dev, "the card cannot be used, error %d\n", error);
		nic_destroy(nic);
	}
	return error;
}

static void netvsc_remove(struct lis_device *device)
{
	struct netvsc_nic *nic = dev_get_drvdata(&device->dev);

	rtnl_lock();
	nic->gone = true;
	netvsc_detach(nic);
	unregister_netdevice(nic->netdev);
	rtnl_unlock();
	nic_destroy(nic);
}

static int netvsc_suspend(struct lis_device *device)
{
	struct netvsc_nic *nic = dev_get_drvdata(&device->dev);

	rtnl_lock();
	netvsc_detach(nic);
	rtnl_unlock();
	return 0;
}

/*
 * As it was: all that is wanted of a card is kept. It has its channels again before anybody looks,
 * for the stack forgets with a queue what was set of it, its CPUs for example.
 */
static int netvsc_resume(struct lis_device *device)
{
	struct netvsc_nic *nic = dev_get_drvdata(&device->dev);
	int error;

	rtnl_lock();
	error = netvsc_attach(nic, true);
	if (error)
		netvsc_give_up(nic, error);
	rtnl_unlock();
	return error;
}

static const struct hv_vmbus_device_id ids[] = {
	{ GUID_INIT(0xf8615163, 0xdf3e, 0x46c5, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e) },
	{ },
};
MODULE_DEVICE_TABLE(vmbus, ids);

static struct lis_driver driver = {
	.name = "hv_netvsc",
	.ids = ids,
	.probe = netvsc_probe,
	.remove = netvsc_remove,
	.sub_channel_offered = netvsc_sub_channel_offered,
	.sub_channel_rescinded = netvsc_sub_channel_rescinded,
	.suspend = netvsc_suspend,
	.resume = netvsc_resume,
	.driver = {
		/* Interfaces get their names in the order of their cards. */
		.probe_type = PROBE_FORCE_SYNCHRONOUS,
	},
};

static int __init netvsc_module_init(void)
{
	netvsc_ring_bytes = clamp(ring_size, RING_PAGES_MIN, RING_PAGES_MAX) * HV_PAGE_BYTES;
	return lis_driver_register(&driver);
}

static void __exit netvsc_module_exit(void)
{
	lis_driver_unregister(&driver);
}

module_init(netvsc_module_init);
module_exit(netvsc_module_exit);

MODULE_AUTHOR("The OpenLIS developers");
MODULE_DESCRIPTION("Hyper-V's network cards, guest end");
MODULE_LICENSE("GPL");
MODULE_VERSION(OPENLIS_VERSION);
