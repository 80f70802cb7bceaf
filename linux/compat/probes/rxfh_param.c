// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.8: ethtool_ops' get_rxfh and set_rxfh take a struct; before, its fields. */
#include <linux/ethtool.h>

static int get(struct net_device *netdev, struct ethtool_rxfh_param *rxfh)
{
	return 0;
}

struct ethtool_ops probe = { .get_rxfh = get };
