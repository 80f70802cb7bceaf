// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.8: netif_queue_set_napi() says which NAPI serves a queue. */
#include <linux/module.h>
#include <linux/netdevice.h>

static void __used probe(struct net_device *netdev, struct napi_struct *napi)
{
	netif_queue_set_napi(netdev, 0, NETDEV_QUEUE_TYPE_RX, napi);
}
