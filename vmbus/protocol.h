/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * VMBus wire format: the control messages that travel in SynIC message slots, and the numbers both
 * ends need. Everything is little-endian and naturally aligned unless said. Rings and their packets
 * are in ring.h and packet.h.
 *
 * Names are ours; Microsoft's, as Linux has them, stand beside where they differ.
 */
#ifndef OPENLIS_VMBUS_PROTOCOL_H
#define OPENLIS_VMBUS_PROTOCOL_H

#include <stdint.h>

#include "vmbus/guid.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "VMBus exists on little-endian machines only"
#endif

/* Pages of the protocol are 4 KiB whatever the guest uses. */
#define HV_PAGE_BYTES 4096u
#define HV_PAGE_SHIFT 12

/* Source: [tlfs 11] message type below 0x80000000 is the sender's own; VMBus uses 1. */
#define VMBUS_MESSAGE_TYPE 1u
#define VMBUS_MESSAGE_SINT 2u
/* Source: [tlfs 11] HV_MESSAGE_PAYLOAD_BYTE_COUNT */
#define VMBUS_MESSAGE_BYTES_MAX 240u

/*
 * Well-known connection ids. Source: [linux 6.1 drivers/hv/hyperv_vmbus.h], [openvmm
 * vmbus_server/src/lib.rs].
 */
#define VMBUS_CONNECTION_MESSAGE 1u /* VMBUS_MESSAGE_CONNECTION_ID */
#define VMBUS_CONNECTION_EVENT 2u   /* shared signal of guests below 2.4 */
#define VMBUS_CONNECTION_MONITOR 3u
#define VMBUS_CONNECTION_MESSAGE_4 4u /* first contact from 5.0 on, VMBUS_MESSAGE_CONNECTION_ID_4 */

/* Bits of the monitor pages: 4 groups of 32. Source: [tlfs 11] HV_MONITOR_PAGE */
#define VMBUS_MONITOR_IDS 128u
#define VMBUS_MONITOR_NONE 0xffu

/* Channel ids ("relids"): 0 is reserved, an event-flag page has 2048 bits. */
#define VMBUS_CHANNEL_ID_MAX 2047u
#define VMBUS_EVENT_FLAGS 2048u

#define VMBUS_VERSION(major, minor) ((uint32_t)(major) << 16 | (uint32_t)(minor))
#define VMBUS_VERSION_WS2008 VMBUS_VERSION(0, 13)
#define VMBUS_VERSION_WIN7 VMBUS_VERSION(1, 1)
#define VMBUS_VERSION_WIN8 VMBUS_VERSION(2, 4)
#define VMBUS_VERSION_WIN8_1 VMBUS_VERSION(3, 0)
#define VMBUS_VERSION_WIN10 VMBUS_VERSION(4, 0)
#define VMBUS_VERSION_WIN10_V4_1 VMBUS_VERSION(4, 1)
#define VMBUS_VERSION_WIN10_V5 VMBUS_VERSION(5, 0)
#define VMBUS_VERSION_WIN10_V5_1 VMBUS_VERSION(5, 1)
#define VMBUS_VERSION_WIN10_V5_2 VMBUS_VERSION(5, 2)
#define VMBUS_VERSION_IRON VMBUS_VERSION(5, 3)   /* WIN10_V5_3 in Linux */
#define VMBUS_VERSION_COPPER VMBUS_VERSION(6, 0) /* V6_0 in Linux */

/* All versions of the protocol, newest first: X(version). */
#define VMBUS_VERSIONS(X) \
	X(VMBUS_VERSION_COPPER) \
	X(VMBUS_VERSION_IRON) \
	X(VMBUS_VERSION_WIN10_V5_2) \
	X(VMBUS_VERSION_WIN10_V5_1) \
	X(VMBUS_VERSION_WIN10_V5) \
	X(VMBUS_VERSION_WIN10_V4_1) \
	X(VMBUS_VERSION_WIN10) \
	X(VMBUS_VERSION_WIN8_1) \
	X(VMBUS_VERSION_WIN8) \
	X(VMBUS_VERSION_WIN7) \
	X(VMBUS_VERSION_WS2008)

/* Feature flags of 5.3 and later. Source: [openvmm vmbus_core/src/protocol.rs FeatureFlags] */
#define VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS 0x01u
#define VMBUS_FEATURE_INTERRUPT_REDIRECTION 0x02u
#define VMBUS_FEATURE_MODIFY_CONNECTION 0x04u
#define VMBUS_FEATURE_CLIENT_ID 0x08u
#define VMBUS_FEATURE_CONFIDENTIAL_CHANNELS 0x10u
#define VMBUS_FEATURE_PAUSE_RESUME 0x20u
#define VMBUS_FEATURE_SERVER_MONITOR_PAGES 0x40u
#define VMBUS_FEATURE_GPA_PINNING 0x80u

/* Source: [linux 6.1 include/linux/hyperv.h enum vmbus_channel_message_type], from 18 on [openvmm] */
enum vmbus_message_type {
	VMBUS_MSG_OFFER_CHANNEL = 1,
	VMBUS_MSG_RESCIND_OFFER = 2,
	VMBUS_MSG_REQUEST_OFFERS = 3,
	VMBUS_MSG_ALL_OFFERS_DELIVERED = 4,
	VMBUS_MSG_OPEN_CHANNEL = 5,
	VMBUS_MSG_OPEN_RESULT = 6,
	VMBUS_MSG_CLOSE_CHANNEL = 7,
	VMBUS_MSG_GPADL_HEADER = 8,
	VMBUS_MSG_GPADL_BODY = 9,
	VMBUS_MSG_GPADL_CREATED = 10,
	VMBUS_MSG_GPADL_TEARDOWN = 11,
	VMBUS_MSG_GPADL_TORNDOWN = 12,
	VMBUS_MSG_RELID_RELEASED = 13,
	VMBUS_MSG_INITIATE_CONTACT = 14,
	VMBUS_MSG_VERSION_RESPONSE = 15,
	VMBUS_MSG_UNLOAD = 16,
	VMBUS_MSG_UNLOAD_COMPLETE = 17,         /* UNLOAD_RESPONSE in Linux */
	VMBUS_MSG_OPEN_RESERVED_CHANNEL = 18,   /* from 4.0 */
	VMBUS_MSG_CLOSE_RESERVED_CHANNEL = 19,
	VMBUS_MSG_CLOSE_RESERVED_RESPONSE = 20,
	VMBUS_MSG_TL_CONNECT_REQUEST = 21,      /* from 4.0: Hyper-V sockets */
	VMBUS_MSG_MODIFY_CHANNEL = 22,          /* from 4.1 */
	VMBUS_MSG_TL_CONNECT_RESULT = 23,       /* from 4.1, failures only */
	VMBUS_MSG_MODIFY_CHANNEL_RESPONSE = 24, /* from 5.3 */
	VMBUS_MSG_MODIFY_CONNECTION = 25,       /* from 6.0 with its feature flag, as all below */
	VMBUS_MSG_MODIFY_CONNECTION_RESPONSE = 26,
	VMBUS_MSG_PAUSE = 27,
	VMBUS_MSG_PAUSE_RESPONSE = 28,
	VMBUS_MSG_RESUME = 29,
	VMBUS_MSG_TYPE_MAX = VMBUS_MSG_RESUME,
};

/* NTSTATUS values that appear in results. */
#define VMBUS_STATUS_SUCCESS 0u
#define VMBUS_STATUS_UNSUCCESSFUL 0xc0000001u
#define VMBUS_STATUS_INVALID_PARAMETER 0xc000000du
#define VMBUS_STATUS_INSUFFICIENT_RESOURCES 0xc000009au
#define VMBUS_STATUS_CONNECTION_REFUSED 0xc0000236u

#define VMBUS_ASSERT_SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has its size on the wire")

/* Source for all below: [linux 6.1 include/linux/hyperv.h], [openvmm vmbus_core/src/protocol.rs] */

struct vmbus_message_header {
	uint32_t type; /* enum vmbus_message_type */
	uint32_t reserved;
};
VMBUS_ASSERT_SIZE(vmbus_message_header, 8);

/* Bits of vmbus_msg_offer_channel.flags */
#define VMBUS_OFFER_DEVICE_INTERFACE 0x0001u
#define VMBUS_OFFER_CONFIDENTIAL_RING 0x0002u
#define VMBUS_OFFER_CONFIDENTIAL_MEMORY 0x0004u
#define VMBUS_OFFER_PINNED_MEMORY 0x0008u
#define VMBUS_OFFER_NAMED_PIPE 0x0010u
#define VMBUS_OFFER_TLNPI_PROVIDER 0x2000u /* a Hyper-V socket */

#define VMBUS_USER_DATA_BYTES 120u

/* First word of the user data of a named pipe. */
#define VMBUS_PIPE_BYTE 0u
#define VMBUS_PIPE_MESSAGE 4u

struct vmbus_msg_offer_channel {
	struct vmbus_message_header header;
	struct guid interface_id;
	struct guid instance_id;
	uint32_t reserved[4];
	uint16_t flags;
	uint16_t mmio_megabytes;
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
	uint16_t sub_channel_index; /* 0 is the primary channel */
	uint16_t mmio_megabytes_optional;
	uint32_t channel_id; /* child_relid */
	uint8_t monitor_id;  /* 0xff: none */
	uint8_t monitor_allocated;
	uint16_t is_dedicated;  /* from 1.1: 1 = signal connection_id, leave the interrupt page alone */
	uint32_t connection_id; /* from 1.1: what the guest signals */
};
VMBUS_ASSERT_SIZE(vmbus_msg_offer_channel, 196);

/* RESCIND_OFFER, CLOSE_CHANNEL and RELID_RELEASED carry a channel id and nothing more. */
struct vmbus_msg_channel {
	struct vmbus_message_header header;
	uint32_t channel_id;
};
VMBUS_ASSERT_SIZE(vmbus_msg_channel, 12);

/* No interrupts for this channel, in target_vp fields. */
#define VMBUS_VP_NONE UINT32_MAX

struct vmbus_msg_open_channel {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t open_id;
	uint32_t ring_gpadl_id;
	uint32_t target_vp;              /* honoured from 2.4 */
	uint32_t host_to_guest_page_offset; /* downstream_ringbuffer_pageoffset */
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
};
VMBUS_ASSERT_SIZE(vmbus_msg_open_channel, 148);

#define VMBUS_OPEN_REDIRECT_INTERRUPT 0x0001u

/* 6.0 with GUEST_SIGNAL_PARAMETERS or INTERRUPT_REDIRECTION */
struct vmbus_msg_open_channel2 {
	struct vmbus_msg_open_channel open;
	uint32_t connection_id;
	uint16_t event_flag;
	uint16_t flags;
};
VMBUS_ASSERT_SIZE(vmbus_msg_open_channel2, 156);

struct vmbus_msg_open_result {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t open_id;
	uint32_t status;
};
VMBUS_ASSERT_SIZE(vmbus_msg_open_result, 20);

/*
 * Followed by ranges {u32 byte_count, u32 byte_offset, u64 pfn[]}, cut off where the message is
 * full and continued in GPADL_BODY messages.
 */
struct vmbus_msg_gpadl_header {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t gpadl_id;
	uint16_t range_bytes; /* of all ranges together, headers included */
	uint16_t range_count;
};
VMBUS_ASSERT_SIZE(vmbus_msg_gpadl_header, 20);

#define VMBUS_GPADL_HEADER_WORDS ((VMBUS_MESSAGE_BYTES_MAX - 20u) / 8u)

struct vmbus_gpa_range {
	uint32_t byte_count;
	uint32_t byte_offset;
	/* uint64_t pfn[] */
};
VMBUS_ASSERT_SIZE(vmbus_gpa_range, 8);

struct vmbus_msg_gpadl_body {
	struct vmbus_message_header header;
	uint32_t message_number;
	uint32_t gpadl_id;
	/* uint64_t pfn[] */
};
VMBUS_ASSERT_SIZE(vmbus_msg_gpadl_body, 16);

#define VMBUS_GPADL_BODY_WORDS ((VMBUS_MESSAGE_BYTES_MAX - 16u) / 8u)

struct vmbus_msg_gpadl_created {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t gpadl_id;
	uint32_t status;
};
VMBUS_ASSERT_SIZE(vmbus_msg_gpadl_created, 20);

struct vmbus_msg_gpadl_teardown {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t gpadl_id;
};
VMBUS_ASSERT_SIZE(vmbus_msg_gpadl_teardown, 16);

struct vmbus_msg_gpadl_torndown {
	struct vmbus_message_header header;
	uint32_t gpadl_id;
};
VMBUS_ASSERT_SIZE(vmbus_msg_gpadl_torndown, 12);

struct vmbus_msg_initiate_contact {
	struct vmbus_message_header header;
	uint32_t version;
	uint32_t target_vp; /* honoured from 3.0 */
	union {
		uint64_t interrupt_page_gpa; /* below 5.0; used below 2.4 */
		struct {
			uint8_t sint;     /* from 5.0 */
			uint8_t vtl;      /* from 5.1 */
			uint16_t reserved;
			uint32_t features; /* from 5.3: VMBUS_FEATURE_* */
		};
	};
	uint64_t host_to_guest_monitor_gpa; /* parent to child, monitor_page1 */
	uint64_t guest_to_host_monitor_gpa;
};
VMBUS_ASSERT_SIZE(vmbus_msg_initiate_contact, 40);

/* Told from the short form by its size. */
struct vmbus_msg_initiate_contact2 {
	struct vmbus_msg_initiate_contact contact;
	struct guid client_id; /* with VMBUS_FEATURE_CLIENT_ID */
};
VMBUS_ASSERT_SIZE(vmbus_msg_initiate_contact2, 56);

enum vmbus_connection_state {
	VMBUS_CONNECTION_SUCCESSFUL = 0,
	VMBUS_CONNECTION_LOW_RESOURCES = 1,
	VMBUS_CONNECTION_UNKNOWN_FAILURE = 2,
};

/* Every refusal is this short form. */
struct vmbus_msg_version_response {
	struct vmbus_message_header header;
	uint8_t supported;
	uint8_t connection_state; /* enum vmbus_connection_state */
	uint16_t reserved;
	uint32_t version_or_connection_id; /* selected version below 5.0, message connection from 5.0 */
};
VMBUS_ASSERT_SIZE(vmbus_msg_version_response, 16);

/* 6.0 */
struct vmbus_msg_version_response2 {
	struct vmbus_msg_version_response response;
	uint32_t features;
};
VMBUS_ASSERT_SIZE(vmbus_msg_version_response2, 20);

/* 6.0 with SERVER_MONITOR_PAGES; natural alignment puts the reserved word there by itself */
struct vmbus_msg_version_response3 {
	struct vmbus_msg_version_response2 response2;
	uint32_t reserved;
	uint64_t host_to_guest_monitor_gpa;
	uint64_t guest_to_host_monitor_gpa;
};
VMBUS_ASSERT_SIZE(vmbus_msg_version_response3, 40);

struct vmbus_msg_open_reserved_channel {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t target_vp;
	uint32_t target_sint;
	uint32_t ring_gpadl_id;
	uint32_t host_to_guest_page_offset;
};
VMBUS_ASSERT_SIZE(vmbus_msg_open_reserved_channel, 28);

struct vmbus_msg_close_reserved_channel {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t target_vp;
	uint32_t target_sint;
};
VMBUS_ASSERT_SIZE(vmbus_msg_close_reserved_channel, 20);

struct vmbus_msg_tl_connect_request {
	struct vmbus_message_header header;
	struct guid endpoint_id;
	struct guid service_id;
};
VMBUS_ASSERT_SIZE(vmbus_msg_tl_connect_request, 40);

/* From 5.2; told from the short form by its size. */
struct vmbus_msg_tl_connect_request2 {
	struct vmbus_msg_tl_connect_request request;
	struct guid silo_id;
};
VMBUS_ASSERT_SIZE(vmbus_msg_tl_connect_request2, 56);

struct vmbus_msg_tl_connect_result {
	struct vmbus_message_header header;
	struct guid endpoint_id;
	struct guid service_id;
	uint32_t status;
};
VMBUS_ASSERT_SIZE(vmbus_msg_tl_connect_result, 44);

struct vmbus_msg_modify_channel {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t target_vp;
};
VMBUS_ASSERT_SIZE(vmbus_msg_modify_channel, 16);

struct vmbus_msg_modify_channel_response {
	struct vmbus_message_header header;
	uint32_t channel_id;
	uint32_t status;
};
VMBUS_ASSERT_SIZE(vmbus_msg_modify_channel_response, 16);

struct vmbus_msg_modify_connection {
	struct vmbus_message_header header;
	uint64_t host_to_guest_monitor_gpa;
	uint64_t guest_to_host_monitor_gpa;
};
VMBUS_ASSERT_SIZE(vmbus_msg_modify_connection, 24);

struct vmbus_msg_modify_connection_response {
	struct vmbus_message_header header;
	uint8_t connection_state; /* enum vmbus_connection_state */
	uint8_t reserved[3];
};
VMBUS_ASSERT_SIZE(vmbus_msg_modify_connection_response, 12);

#endif
