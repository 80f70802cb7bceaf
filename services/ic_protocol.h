/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The framing that all integration services ("ICs") share. A service is a named pipe in message
 * mode: each packet is in-band, holds a pipe header, an IC header and a message, and asks for no
 * completion. The host speaks first: it offers versions of the framework and of the service, the
 * guest answers with one of each. From then on the host sends requests and the guest answers in the
 * same form.
 */
#ifndef OPENLIS_SERVICES_IC_PROTOCOL_H
#define OPENLIS_SERVICES_IC_PROTOCOL_H

#include <stdint.h>

#include "vmbus/protocol.h"

/* Source: [openvmm vmbus_ring/src/lib.rs PipeHeader]; the guest's kernel calls it vmbuspipe_hdr. */
struct ic_pipe_header {
	uint32_t type; /* IC_PIPE_DATA */
	uint32_t bytes; /* of what follows */
};
VMBUS_ASSERT_SIZE(ic_pipe_header, 8);

#define IC_PIPE_DATA 1u

struct ic_version {
	uint16_t major;
	uint16_t minor;
};
VMBUS_ASSERT_SIZE(ic_version, 4);

#define IC_VERSION(major_, minor_) ((struct ic_version){ .major = (major_), .minor = (minor_) })

/* Versions of the framework. Source: [linux 6.1 drivers/hv/hyperv_vmbus.h], [openvmm hyperv_ic_protocol] */
#define IC_FRAMEWORK_1_0 IC_VERSION(1, 0) /* UTIL_WS2K8_FW_VERSION */
#define IC_FRAMEWORK_3_0 IC_VERSION(3, 0) /* UTIL_FW_VERSION */

/* Source: [linux 6.1 include/linux/hyperv.h ICMSGTYPE_*], 6 and 8 [openvmm hyperv_ic_protocol] */
enum ic_message_type {
	IC_NEGOTIATE = 0,
	IC_HEARTBEAT = 1,
	IC_KVP_EXCHANGE = 2,
	IC_SHUTDOWN = 3,
	IC_TIMESYNC = 4,
	IC_VSS = 5,
	IC_RDV = 6,
	IC_GUEST_INTERFACE = 7, /* ICMSGTYPE_FCOPY */
	IC_VM_SESSION = 8,
};

/* ic_header.flags. Source: [linux 6.1 include/linux/hyperv.h ICMSGHDRFLAG_*] */
#define IC_FLAG_TRANSACTION 0x01u /* an answer is expected; the answer has it too */
#define IC_FLAG_REQUEST 0x02u
#define IC_FLAG_RESPONSE 0x04u

/* ic_header.status: HRESULTs. Source: [openvmm hyperv_ic_protocol Status], HV_S_* and HV_E_* in Linux. */
#define IC_STATUS_OK 0x00000000u
#define IC_STATUS_FAIL 0x80004005u
#define IC_STATUS_NOT_SUPPORTED 0x80070032u
#define IC_STATUS_NO_MORE_ITEMS 0x80070103u
#define IC_STATUS_NOT_FOUND 0x80041002u

/* Source: [linux 6.1 include/linux/hyperv.h struct icmsg_hdr] */
struct ic_header {
	struct ic_version framework;
	uint16_t type; /* enum ic_message_type */
	struct ic_version message_version;
	uint16_t bytes; /* of the message that follows */
	uint32_t status; /* IC_STATUS_*, in answers */
	uint8_t transaction_id;
	uint8_t flags; /* IC_FLAG_* */
	uint8_t reserved[2];
};
VMBUS_ASSERT_SIZE(ic_header, 20);

#define IC_HEADERS_BYTES (sizeof(struct ic_pipe_header) + sizeof(struct ic_header))

/*
 * IC_NEGOTIATE, followed by @framework_count, then @message_count versions. An answer has one of
 * each, or none where no version suits the guest.
 * Source: [linux 6.1 include/linux/hyperv.h struct icmsg_negotiate]
 */
struct ic_negotiate {
	uint16_t framework_count;
	uint16_t message_count;
	uint32_t reserved;
};
VMBUS_ASSERT_SIZE(ic_negotiate, 8);

/*
 * The largest message of any service, with its IC header but without the pipe's.
 * Source: [openvmm hyperv_ic_protocol MAX_MESSAGE_SIZE]
 */
#define IC_MESSAGE_BYTES_MAX 13312u

#endif
