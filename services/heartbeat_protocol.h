/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Heartbeat: every two seconds the host sends a number, the guest answers with the next one, and
 * with the state of its applications where it knows that.
 */
#ifndef OPENLIS_SERVICES_HEARTBEAT_PROTOCOL_H
#define OPENLIS_SERVICES_HEARTBEAT_PROTOCOL_H

#include "services/ic_protocol.h"
#include "vmbus/interfaces.h"

#define HEARTBEAT_INTERFACE_ID VMBUS_INTERFACE_HEARTBEAT
/* The id every Hyper-V gives it. Source: [capture lsvmbus on Hyper-V] */
#define HEARTBEAT_INSTANCE_ID GUID(0xfd149e91, 0x82e0, 0x4a7d, 0xafa6, 0x2a4166cbd7c0)

/* Source: [linux 6.1 drivers/hv/hv_util.c hb_versions] */
#define HEARTBEAT_1_0 IC_VERSION(1, 0)
#define HEARTBEAT_3_0 IC_VERSION(3, 0)

/* Source: [linux 6.1 drivers/hv/hv_util.c] "every two seconds" */
#define HEARTBEAT_PERIOD_MS 2000u

/* Source: [openvmm hyperv_ic_protocol/src/heartbeat.rs ApplicationState] */
enum heartbeat_application {
	HEARTBEAT_APPLICATION_UNKNOWN = 0, /* what a guest that does not know gives back */
	HEARTBEAT_APPLICATION_HEALTHY = 1,
	HEARTBEAT_APPLICATION_CRITICAL = 2,
	HEARTBEAT_APPLICATION_STOPPED = 3,
};

/*
 * The guest must cope with a shorter one, and an answer need not have more than @sequence.
 * Source: [linux 6.1 include/linux/hyperv.h struct heartbeat_msg_data]; @application_state
 * [openvmm]
 */
struct heartbeat_message {
	uint64_t sequence;
	uint32_t application_state; /* enum heartbeat_application, in answers */
	uint32_t reserved[7];
};
VMBUS_ASSERT_SIZE(heartbeat_message, 40);

#endif
