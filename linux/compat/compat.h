/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What older kernels lack, so that the drivers can be written to the newest. Included before
 * everything else in every source of the modules.
 *
 * HAVE_NAME comes from the probe compat/probes/NAME.c, which says since when there is what. A driver
 * names something of "compat_" here only where no macro can stand for what an old kernel has; all
 * else is named as the newest kernel does.
 */
#ifndef OPENLIS_LINUX_COMPAT_H
#define OPENLIS_LINUX_COMPAT_H

#include "have.h"

#include <linux/types.h>

/* Arguments of callbacks that became const: written in the place of that word. */

#if HAVE_BUS_MATCH_CONST
#define compat_match_const const
#else
#define compat_match_const
#endif

#if HAVE_BUS_UEVENT_CONST
#define compat_uevent_const const
#else
#define compat_uevent_const
#endif

#if HAVE_BUS_ATTRIBUTE_CONST
#define compat_bus_const const
#else
#define compat_bus_const
#endif

#if !HAVE_WQ_PERCPU
#define WQ_PERCPU 0
#define system_percpu_wq system_wq
#endif

#if !HAVE_HV_MSR
#define hv_get_msr hv_get_register
#define hv_set_msr hv_set_register
#endif

/*
 * Where timers cannot send messages, nobody asks for them. And there the kernel stops its timers by
 * itself before it calls the kexec handler; elsewhere that is the bus' to do.
 */
#if HAVE_HV_STIMER_LEGACY
#define compat_kexec_stop_timers() hv_stimer_global_cleanup()
#else
#define compat_kexec_stop_timers() ((void)0)
static inline void hv_stimer_legacy_init(unsigned int cpu, int sint)
{
}
static inline void hv_stimer_legacy_cleanup(unsigned int cpu)
{
}
static inline void hv_stimer0_isr(void)
{
}
#endif

/*
 * What runs on the last CPU when the machine sleeps: functions that are given data, of which there is none
 * with older kernels. A driver says COMPAT_SYSCORE(name, suspend, resume), and registers &name.
 */
#if HAVE_SYSCORE
#define COMPAT_SYSCORE(name, on_suspend, on_resume) \
	static const struct syscore_ops name##_ops = { \
		.suspend = on_suspend, .resume = on_resume, \
	}; \
	static struct syscore name = { .ops = &name##_ops }
#else
#define register_syscore register_syscore_ops
#define unregister_syscore unregister_syscore_ops
#define COMPAT_SYSCORE(name, on_suspend, on_resume) \
	static int name##_suspend(void) \
	{ \
		return on_suspend(NULL); \
	} \
	static void name##_resume(void) \
	{ \
		on_resume(NULL); \
	} \
	static struct syscore_ops name = { .suspend = name##_suspend, .resume = name##_resume }
#endif

/*
 * SCSI hosts. A queuecommand returns an enum scsi_qc_status; where that is not known, one that is
 * an int, as an enum with a negative value is. A sdev_configure is followed by
 * COMPAT_SDEV_CONFIGURE(function) and put into the template as compat_sdev_configure(function); it
 * leaves the limits alone, since there may be none: what is in the template applies.
 */
#if !HAVE_SCSI_QC_STATUS
enum scsi_qc_status { COMPAT_SCSI_QC_STATUS_IS_INT = -1 };
#endif

#if !HAVE_SCSI_TIMEOUT_ACTION
#define scsi_timeout_action blk_eh_timer_return
#define SCSI_EH_RESET_TIMER BLK_EH_RESET_TIMER
#define SCSI_EH_NOT_HANDLED BLK_EH_DONE
#endif

#if !HAVE_SDEV_INIT
#define sdev_init slave_alloc
#define sdev_destroy slave_destroy
#endif

#if HAVE_SDEV_INIT || HAVE_DEVICE_CONFIGURE
#define COMPAT_SDEV_CONFIGURE(function)
#define compat_sdev_configure(function) function
#else
#define COMPAT_SDEV_CONFIGURE(function) \
	static int function##_without_limits(struct scsi_device *device) \
	{ \
		return function(device, NULL); \
	}
#define compat_sdev_configure(function) function##_without_limits
#endif
#if !HAVE_SDEV_INIT && HAVE_DEVICE_CONFIGURE
#define sdev_configure device_configure
#elif !HAVE_SDEV_INIT
#define sdev_configure slave_configure
#endif

/*
 * Network devices. What a device can do about XDP, and which NAPI serves a queue, is told where somebody
 * asks.
 */
#if HAVE_XDP_FEATURES
#define compat_set_xdp_features(netdev, features) ((netdev)->xdp_features = (features))
#else
#define compat_set_xdp_features(netdev, features) ((void)0)
#endif

#if !HAVE_QUEUE_SET_NAPI
#define netif_queue_set_napi(netdev, queue, type, napi) ((void)(netdev), (void)(napi))
#endif

/*
 * Receive side scaling. A driver has functions for the newest kernel; behind them it says
 * COMPAT_RXFH(get, set) and COMPAT_RXNFC(count, get, set), and in its ethtool_ops COMPAT_RXFH_OPS and
 * COMPAT_RXNFC_OPS of the same.
 */
#if HAVE_RXFH_PARAM
#define COMPAT_RXFH(get, set)
#define COMPAT_RXFH_OPS(get, set) .get_rxfh = get, .set_rxfh = set,
#else
struct ethtool_rxfh_param {
	u8 hfunc;
	u32 *indir;
	u8 *key;
};
#define COMPAT_RXFH(get, set) \
	static int get##_apart(struct net_device *netdev, u32 *indir, u8 *key, u8 *hfunc) \
	{ \
		struct ethtool_rxfh_param rxfh = { .indir = indir, .key = key }; \
		int error = get(netdev, &rxfh); \
		if (hfunc) \
			*hfunc = rxfh.hfunc; \
		return error; \
	} \
	static int set##_apart(struct net_device *netdev, const u32 *indir, const u8 *key, \
			       const u8 hfunc) \
	{ \
		struct ethtool_rxfh_param rxfh = { hfunc, (u32 *)indir, (u8 *)key }; \
		return set(netdev, &rxfh, NULL); \
	}
#define COMPAT_RXFH_OPS(get, set) .get_rxfh = get##_apart, .set_rxfh = set##_apart,
#endif

#if HAVE_RX_RING_COUNT
#define COMPAT_RXNFC_COUNT_OPS(count) .get_rx_ring_count = count,
#else
#define COMPAT_RXNFC_COUNT_OPS(count)
#endif

#if HAVE_RXFH_FIELDS
#define COMPAT_RXNFC_FIELDS_OPS(get, set) .get_rxfh_fields = get, .set_rxfh_fields = set,
#else
struct ethtool_rxfh_fields {
	u32 data;
	u32 flow_type;
};
#define COMPAT_RXNFC_FIELDS_OPS(get, set) .set_rxnfc = set##_rxnfc,
#endif

#if HAVE_RX_RING_COUNT && HAVE_RXFH_FIELDS
#define COMPAT_RXNFC(count, get, set)
#define COMPAT_RXNFC_GET_OPS(get)
#elif HAVE_RXFH_FIELDS
#define COMPAT_RXNFC(count, get, set) \
	static int get##_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *rxnfc, u32 *rules) \
	{ \
		if (rxnfc->cmd != ETHTOOL_GRXRINGS) \
			return -EOPNOTSUPP; \
		rxnfc->data = count(netdev); \
		return 0; \
	}
#define COMPAT_RXNFC_GET_OPS(get) .get_rxnfc = get##_rxnfc,
#else
#define COMPAT_RXNFC(count, get, set) \
	static int get##_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *rxnfc, u32 *rules) \
	{ \
		struct ethtool_rxfh_fields fields = { .flow_type = rxnfc->flow_type }; \
		int error = 0; \
		if (rxnfc->cmd == ETHTOOL_GRXRINGS) \
			fields.data = count(netdev); \
		else if (rxnfc->cmd == ETHTOOL_GRXFH) \
			error = get(netdev, &fields); \
		else \
			error = -EOPNOTSUPP; \
		rxnfc->data = fields.data; \
		return error; \
	} \
	static int set##_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *rxnfc) \
	{ \
		struct ethtool_rxfh_fields fields = { (u32)rxnfc->data, rxnfc->flow_type }; \
		if (rxnfc->cmd != ETHTOOL_SRXFH) \
			return -EOPNOTSUPP; \
		return set(netdev, &fields, NULL); \
	}
#define COMPAT_RXNFC_GET_OPS(get) .get_rxnfc = get##_rxnfc,
#endif
#define COMPAT_RXNFC_OPS(count, get, set) \
	COMPAT_RXNFC_COUNT_OPS(count) COMPAT_RXNFC_FIELDS_OPS(get, set) COMPAT_RXNFC_GET_OPS(get)

#endif
