// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.3: a network device says what it can do about XDP. */
#include <linux/netdevice.h>

struct net_device probe = { .xdp_features = NETDEV_XDP_ACT_BASIC };
