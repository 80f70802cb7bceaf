/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Time synchronization: the host tells its wall clock, either as an order to set the clock (after
 * start, resume, restore) or as a sample the guest may use to discipline its own. From 4.0 on the
 * message says at which reading of the partition's reference counter the clock was read, so that
 * the way through the ring costs no precision.
 */
#ifndef OPENLIS_SERVICES_TIMESYNC_PROTOCOL_H
#define OPENLIS_SERVICES_TIMESYNC_PROTOCOL_H

#include "services/ic_protocol.h"
#include "vmbus/interfaces.h"

/* Source: [openvmm hyperv_ic_protocol/src/timesync.rs] */
#define TIMESYNC_INTERFACE_ID VMBUS_INTERFACE_TIMESYNC
#define TIMESYNC_INSTANCE_ID GUID(0x2dd1ce17, 0x079e, 0x403c, 0xb352, 0xa1921ee207ee)

/* Source: [linux 6.1 drivers/hv/hv_util.c ts_versions] */
#define TIMESYNC_1_0 IC_VERSION(1, 0)
#define TIMESYNC_3_0 IC_VERSION(3, 0)
#define TIMESYNC_4_0 IC_VERSION(4, 0) /* struct timesync_message_4 */

/* Source: [openvmm hyperv_ic/src/timesync.rs SAMPLE_PERIOD] */
#define TIMESYNC_PERIOD_MS 5000u

/* From 1601-01-01 to 1970-01-01. Source: [linux 6.1 include/linux/hyperv.h WLTIMEDELTA] */
#define TIMESYNC_UNIX_EPOCH_100NS 116444736000000000ull

/* flags of both messages. Source: [linux 6.1 include/linux/hyperv.h ICTIMESYNCFLAG_*] */
#define TIMESYNC_SYNC 0x1u   /* set the clock */
#define TIMESYNC_SAMPLE 0x2u /* use it or not */

/* Below 4.0. Source: [linux 6.1 include/linux/hyperv.h struct ictimesync_data], padded as [openvmm] */
struct timesync_message {
	uint64_t parent_time_100ns; /* UTC since 1601-01-01 */
	uint64_t child_time_100ns;  /* unused */
	uint64_t round_trip_100ns;  /* of the exchange before, as the host measured it */
	uint8_t flags;
	uint8_t reserved[7]; /* 3 of them travel, see TIMESYNC_MESSAGE_BYTES */
};
VMBUS_ASSERT_SIZE(timesync_message, 32);

/* Source: [openvmm hyperv_ic_protocol/src/timesync.rs TimesyncMessage] */
#define TIMESYNC_MESSAGE_BYTES 28u

/* From 4.0. Source: [openvmm TimesyncMessageV4], struct ictimesync_ref_data in Linux */
struct timesync_message_4 {
	uint64_t parent_time_100ns;
	uint64_t vm_reference_time_100ns; /* HV_X64_MSR_TIME_REF_COUNT when parent_time was read */
	uint8_t flags;
	uint8_t leap_indicator; /* as in NTP */
	uint8_t stratum;        /* as in NTP; 0: not said */
	uint8_t reserved[5];
};
VMBUS_ASSERT_SIZE(timesync_message_4, 24);

#endif
