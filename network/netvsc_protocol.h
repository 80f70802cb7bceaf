/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * NVSP, the network protocol on a VMBus channel: agreement on a version, two buffers that the guest
 * shares, and RNDIS messages (rndis.h) carried in them. Both ends include this. Little-endian; all
 * fields lie at multiples of their size from the message's start.
 *
 * A guest's RNDIS message lies in a section of the send buffer, in pages that a GPA-direct packet
 * names, or begins there and ends here. A host's lies in the receive buffer, where a transfer-page
 * packet names it; one packet may name many. Both are given back by a completion.
 *
 * Source for all below: [linux 7.3 drivers/net/hyperv/hyperv_net.h, netvsc.c],
 * [openvmm netvsp/src/protocol.rs].
 */
#ifndef OPENLIS_NETWORK_NETVSC_PROTOCOL_H
#define OPENLIS_NETWORK_NETVSC_PROTOCOL_H

#include <stdint.h>

#include "vmbus/interfaces.h"

#define NVSP_ASSERT_SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has its size on the wire")

#define NETVSC_INTERFACE_ID VMBUS_INTERFACE_NETWORK

#define NVSP_VERSION_1 0x00002u
#define NVSP_VERSION_2 0x30002u   /* from here on SEND_NDIS_CONFIG: MTU, VLAN */
#define NVSP_VERSION_4 0x40000u
#define NVSP_VERSION_5 0x50000u   /* sub-channels */
#define NVSP_VERSION_6 0x60000u
#define NVSP_VERSION_6_1 0x60001u /* receive coalescing; longer messages */

/* All versions, newest first: X(version). */
#define NVSP_VERSIONS(X) \
	X(NVSP_VERSION_6_1) \
	X(NVSP_VERSION_6) \
	X(NVSP_VERSION_5) \
	X(NVSP_VERSION_4) \
	X(NVSP_VERSION_2) \
	X(NVSP_VERSION_1)

enum nvsp_message_type {
	NVSP_INIT = 1,
	NVSP_INIT_COMPLETE = 2,

	NVSP_SEND_NDIS_VERSION = 100,
	NVSP_SEND_RECEIVE_BUFFER = 101,
	NVSP_SEND_RECEIVE_BUFFER_COMPLETE = 102,
	NVSP_REVOKE_RECEIVE_BUFFER = 103,
	NVSP_SEND_SEND_BUFFER = 104,
	NVSP_SEND_SEND_BUFFER_COMPLETE = 105,
	NVSP_REVOKE_SEND_BUFFER = 106,
	NVSP_SEND_RNDIS_PACKET = 107,
	NVSP_SEND_RNDIS_PACKET_COMPLETE = 108,

	NVSP_SEND_NDIS_CONFIG = 125,

	NVSP_SEND_VF_ASSOCIATION = 128,
	NVSP_SWITCH_DATA_PATH = 129,

	NVSP_OID_QUERY_EX = 131,
	NVSP_OID_QUERY_EX_COMPLETE = 132,
	NVSP_SUB_CHANNEL = 133,            /* question and answer */
	NVSP_SEND_INDIRECTION_TABLE = 134, /* to the guest, unsolicited */

	NVSP_PACKET_DIRECT_API = 135,
};

enum nvsp_status {
	NVSP_STATUS_NONE = 0,
	NVSP_STATUS_SUCCESS = 1,
	NVSP_STATUS_FAILURE = 2,
	NVSP_STATUS_VERSION_TOO_NEW = 3,
	NVSP_STATUS_VERSION_TOO_OLD = 4,
	NVSP_STATUS_INVALID_RNDIS_PACKET = 5,
	NVSP_STATUS_BUSY = 6,
	NVSP_STATUS_VERSION_UNSUPPORTED = 7,
};

/*
 * How long messages are: what came before 6.1, and from then on. Shorter ones are padded with zeroes;
 * Linux sends the long form always, Windows what the version has.
 */
#define NVSP_MESSAGE_BYTES 28u
#define NVSP_MESSAGE_BYTES_6_1 40u

/* The guest asks for one version at a time: both fields are the same. */
struct nvsp_init {
	uint32_t version_min;
	uint32_t version_max;
};
NVSP_ASSERT_SIZE(nvsp_init, 8);

struct nvsp_init_complete {
	uint32_t version;               /* of the first release only; guests ignore it */
	uint32_t mdl_chain_length_max;  /* pieces of memory in one RNDIS message */
	uint32_t status;                /* NVSP_STATUS_* */
};
NVSP_ASSERT_SIZE(nvsp_init_complete, 12);

/* What hosts say. Source: [openvmm netvsp/src/lib.rs] */
#define NVSP_MDL_CHAIN_LENGTH_MAX 34u

struct nvsp_ndis_version {
	uint32_t major;
	uint32_t minor;
};
NVSP_ASSERT_SIZE(nvsp_ndis_version, 8);

/* Ids that all guests use for their buffers; transfer-page packets name the receive buffer's. */
#define NVSP_RECEIVE_BUFFER_ID 0xcafeu
#define NVSP_SEND_BUFFER_ID 0u

/* For both buffers. */
struct nvsp_buffer {
	uint32_t gpadl_id;
	uint16_t id;
	uint16_t reserved;
};
NVSP_ASSERT_SIZE(nvsp_buffer, 8);

/* Sub-allocations of one size, side by side. */
struct nvsp_receive_section {
	uint32_t offset;
	uint32_t sub_allocation_bytes;
	uint32_t sub_allocation_count;
	uint32_t end_offset;
};
NVSP_ASSERT_SIZE(nvsp_receive_section, 16);

struct nvsp_receive_buffer_complete {
	uint32_t status;
	uint32_t section_count; /* no host has ever said more than 1, and Linux wants 1 */
	struct nvsp_receive_section section;
};
NVSP_ASSERT_SIZE(nvsp_receive_buffer_complete, 24);

struct nvsp_send_buffer_complete {
	uint32_t status;
	uint32_t section_bytes;
};
NVSP_ASSERT_SIZE(nvsp_send_buffer_complete, 8);

/* For both buffers; not answered. */
struct nvsp_revoke {
	uint16_t id;
	uint16_t reserved;
};
NVSP_ASSERT_SIZE(nvsp_revoke, 4);

#define NVSP_RNDIS_DATA 0u
#define NVSP_RNDIS_CONTROL 1u
/* send_section_index: nothing of the message is in the send buffer. */
#define NVSP_SECTION_NONE UINT32_MAX

struct nvsp_rndis_packet {
	uint32_t channel_type; /* NVSP_RNDIS_* */
	uint32_t send_section_index;
	uint32_t send_section_bytes;
};
NVSP_ASSERT_SIZE(nvsp_rndis_packet, 12);

struct nvsp_rndis_packet_complete {
	uint32_t status;
};
NVSP_ASSERT_SIZE(nvsp_rndis_packet_complete, 4);

#define NVSP_CAPABILITY_VMQ 0x01u
#define NVSP_CAPABILITY_CHIMNEY 0x02u
#define NVSP_CAPABILITY_SRIOV 0x04u
#define NVSP_CAPABILITY_VLAN 0x08u
#define NVSP_CAPABILITY_CORRELATION_ID 0x10u
#define NVSP_CAPABILITY_TEAMING 0x20u /* wants to hear of the link's speed */
#define NVSP_CAPABILITY_VIRTUAL_SUBNET 0x40u
#define NVSP_CAPABILITY_RSC 0x80u

/* The guest's wishes; not answered. */
struct nvsp_ndis_config {
	uint32_t mtu_bytes;    /* with the Ethernet header */
	uint32_t reserved;
	/* NVSP_CAPABILITY_*; 64 bits on the wire, which begin 4 bytes off their alignment */
	uint32_t capabilities;
	uint32_t capabilities_high;
};
NVSP_ASSERT_SIZE(nvsp_ndis_config, 16);

/* Frames of this size at most where the guest has not said. */
#define NVSP_MTU_BYTES_DEFAULT 1514u

struct nvsp_vf_association {
	uint32_t allocated;
	uint32_t serial;
};
NVSP_ASSERT_SIZE(nvsp_vf_association, 8);

#define NVSP_DATA_PATH_SYNTHETIC 0u
#define NVSP_DATA_PATH_VF 1u

struct nvsp_data_path {
	uint32_t active; /* NVSP_DATA_PATH_* */
};
NVSP_ASSERT_SIZE(nvsp_data_path, 4);

#define NVSP_SUB_CHANNEL_ALLOCATE 1u

struct nvsp_sub_channel_request {
	uint32_t operation; /* NVSP_SUB_CHANNEL_* */
	uint32_t count;
};
NVSP_ASSERT_SIZE(nvsp_sub_channel_request, 8);

struct nvsp_sub_channel_complete {
	uint32_t status;
	uint32_t count; /* which the host offers now */
};
NVSP_ASSERT_SIZE(nvsp_sub_channel_complete, 8);

/* To the guest's OID_QUERY_EX: an OID asked for without RNDIS. */
struct nvsp_oid_query_complete {
	uint32_t status; /* RNDIS_STATUS_* */
	uint32_t bytes;  /* of the answer, which follows */
};
NVSP_ASSERT_SIZE(nvsp_oid_query_complete, 8);

/* Which channel a guest sends on, by a flow's hash; Linux takes a table of just this size. */
#define NVSP_SEND_TABLE_COUNT 16u

struct nvsp_indirection_table {
	uint32_t count;
	uint32_t offset; /* of the channel numbers, 32 bits each, from the message's start */
};
NVSP_ASSERT_SIZE(nvsp_indirection_table, 8);

/* Any message. */
struct nvsp_message {
	uint32_t type; /* enum nvsp_message_type */
	union {
		uint8_t payload[NVSP_MESSAGE_BYTES_6_1 - 4];
		struct nvsp_init init;
		struct nvsp_init_complete init_complete;
		struct nvsp_ndis_version ndis_version;
		struct nvsp_buffer buffer;
		struct nvsp_receive_buffer_complete receive_buffer_complete;
		struct nvsp_send_buffer_complete send_buffer_complete;
		struct nvsp_revoke revoke;
		struct nvsp_rndis_packet rndis_packet;
		struct nvsp_rndis_packet_complete rndis_packet_complete;
		struct nvsp_ndis_config ndis_config;
		struct nvsp_vf_association vf_association;
		struct nvsp_data_path data_path;
		struct nvsp_sub_channel_request sub_channel_request;
		struct nvsp_sub_channel_complete sub_channel_complete;
		struct nvsp_oid_query_complete oid_query_complete;
		struct nvsp_indirection_table indirection_table;
	};
};
NVSP_ASSERT_SIZE(nvsp_message, NVSP_MESSAGE_BYTES_6_1);

/* Ranges of one transfer-page packet: what guests have room for. */
#define NVSP_RECEIVE_RANGES_MAX 375u

#endif
