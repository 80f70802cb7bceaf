// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.17: ethtool_ops has get_rxfh_fields and set_rxfh_fields; before, they are commands of rxnfc. */
#include <linux/ethtool.h>

static int get(struct net_device *netdev, struct ethtool_rxfh_fields *fields)
{
	return 0;
}

struct ethtool_ops probe = { .get_rxfh_fields = get };
