/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Shutdown: the host asks the guest to power off, to restart or to hibernate. The guest answers
 * whether it will, and then does it in its own time.
 */
#ifndef OPENLIS_SERVICES_SHUTDOWN_PROTOCOL_H
#define OPENLIS_SERVICES_SHUTDOWN_PROTOCOL_H

#include "services/ic_protocol.h"
#include "vmbus/interfaces.h"

/* Source: [openvmm hyperv_ic_protocol/src/shutdown.rs] */
#define SHUTDOWN_INTERFACE_ID VMBUS_INTERFACE_SHUTDOWN
#define SHUTDOWN_INSTANCE_ID GUID(0xb6650ff7, 0x33bc, 0x4840, 0x8048, 0xe0676786f393)

/*
 * One message for all versions; what a version adds are flags a guest of that version understands.
 * Source: [linux 6.1 drivers/hv/hv_util.c sd_versions]
 */
#define SHUTDOWN_1_0 IC_VERSION(1, 0)
#define SHUTDOWN_3_0 IC_VERSION(3, 0)
#define SHUTDOWN_3_1 IC_VERSION(3, 1) /* SHUTDOWN_RESTART */
#define SHUTDOWN_3_2 IC_VERSION(3, 2) /* SHUTDOWN_HIBERNATE */

/* shutdown_message.flags. Source: [openvmm hyperv_ic_protocol/src/shutdown.rs ShutdownFlags] */
#define SHUTDOWN_FORCE 0x1u
#define SHUTDOWN_RESTART 0x2u
#define SHUTDOWN_HIBERNATE 0x4u

/* shutdown_message.reason, from the Windows SDK. Source: [openvmm hyperv_ic_protocol/src/shutdown.rs] */
#define SHUTDOWN_REASON_PLANNED 0x80000000u

/* Source: [linux 6.1 include/linux/hyperv.h struct shutdown_msg_data] */
struct shutdown_message {
	uint32_t reason;
	uint32_t timeout_seconds; /* the guest may take that long, where it cares */
	uint32_t flags;
	uint8_t display[2048]; /* UTF-16 text for who is logged in, ends with a zero */
};
VMBUS_ASSERT_SIZE(shutdown_message, 2060);

#endif
