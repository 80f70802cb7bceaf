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

#endif
