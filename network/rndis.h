/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * RNDIS, remote NDIS, as it travels in NVSP: frames with what is to be done to them, and questions
 * about the card (OIDs). Both ends include this. Little-endian; all fields lie at multiples of their
 * size.
 *
 * Offsets within a message count from behind its header (struct rndis_header), but those within an
 * object of NDIS count from the object's start.
 *
 * Sources: [Microsoft "Remote NDIS Specification" 1.1], [linux 7.3 include/linux/rndis.h,
 * drivers/net/hyperv/hyperv_net.h], [openvmm netvsp/src/rndisprot.rs].
 */
#ifndef OPENLIS_NETWORK_RNDIS_H
#define OPENLIS_NETWORK_RNDIS_H

#include <stdint.h>

#define RNDIS_ASSERT_SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has its size on the wire")

#define RNDIS_MAJOR_VERSION 1u
#define RNDIS_MINOR_VERSION 0u

#define RNDIS_COMPLETION 0x80000000u

enum rndis_message_type {
	RNDIS_PACKET = 1,
	RNDIS_INITIALIZE = 2,
	RNDIS_HALT = 3,
	RNDIS_QUERY = 4,
	RNDIS_SET = 5,
	RNDIS_RESET = 6,
	RNDIS_INDICATE_STATUS = 7,
	RNDIS_KEEP_ALIVE = 8,
	RNDIS_SET_EX = 9,
};

#define RNDIS_STATUS_SUCCESS 0x00000000u
#define RNDIS_STATUS_MEDIA_CONNECT 0x4001000bu
#define RNDIS_STATUS_MEDIA_DISCONNECT 0x4001000cu
#define RNDIS_STATUS_LINK_SPEED_CHANGE 0x40010013u
#define RNDIS_STATUS_NETWORK_CHANGE 0x40010018u
#define RNDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG 0x40020006u
#define RNDIS_STATUS_BUFFER_OVERFLOW 0x80000005u
#define RNDIS_STATUS_FAILURE 0xc0000001u
#define RNDIS_STATUS_RESOURCES 0xc000009au
#define RNDIS_STATUS_NOT_SUPPORTED 0xc00000bbu
#define RNDIS_STATUS_BAD_VERSION 0xc0010004u
#define RNDIS_STATUS_INVALID_LENGTH 0xc0010014u
#define RNDIS_STATUS_INVALID_DATA 0xc0010015u
#define RNDIS_STATUS_INVALID_OID 0xc0010017u

struct rndis_header {
	uint32_t type;  /* enum rndis_message_type, answers with RNDIS_COMPLETION */
	uint32_t bytes; /* of the message, this included */
};
RNDIS_ASSERT_SIZE(rndis_header, 8);

struct rndis_initialize {
	uint32_t request_id;
	uint32_t major;
	uint32_t minor;
	uint32_t transfer_bytes_max;
};
RNDIS_ASSERT_SIZE(rndis_initialize, 16);

#define RNDIS_DEVICE_CONNECTIONLESS 1u
#define RNDIS_MEDIUM_802_3 0u

struct rndis_initialize_complete {
	uint32_t request_id;
	uint32_t status;
	uint32_t major;
	uint32_t minor;
	uint32_t device_flags;
	uint32_t medium;
	uint32_t packets_per_message_max;
	uint32_t transfer_bytes_max;
	uint32_t packet_alignment_shift; /* messages side by side begin at multiples of 1 << this */
	uint32_t af_list_offset;
	uint32_t af_list_bytes;
};
RNDIS_ASSERT_SIZE(rndis_initialize_complete, 44);

struct rndis_halt {
	uint32_t request_id;
};
RNDIS_ASSERT_SIZE(rndis_halt, 4);

/* QUERY, SET and SET_EX. */
struct rndis_request {
	uint32_t request_id;
	uint32_t oid;
	uint32_t info_bytes;
	uint32_t info_offset;
	uint32_t vc_handle;
};
RNDIS_ASSERT_SIZE(rndis_request, 20);

struct rndis_query_complete {
	uint32_t request_id;
	uint32_t status;
	uint32_t info_bytes;
	uint32_t info_offset;
};
RNDIS_ASSERT_SIZE(rndis_query_complete, 16);

/* SET and KEEP_ALIVE. */
struct rndis_status_complete {
	uint32_t request_id;
	uint32_t status;
};
RNDIS_ASSERT_SIZE(rndis_status_complete, 8);

struct rndis_reset_complete {
	uint32_t status;
	uint32_t addressing_reset; /* not 0: packet filter and multicast list are to be set again */
};
RNDIS_ASSERT_SIZE(rndis_reset_complete, 8);

struct rndis_indicate_status {
	uint32_t status;
	uint32_t info_bytes;
	uint32_t info_offset;
};
RNDIS_ASSERT_SIZE(rndis_indicate_status, 12);

struct rndis_keep_alive {
	uint32_t request_id;
};
RNDIS_ASSERT_SIZE(rndis_keep_alive, 4);

/* ---- frames ---- */

struct rndis_packet {
	uint32_t data_offset;
	uint32_t data_bytes;
	uint32_t oob_offset;
	uint32_t oob_bytes;
	uint32_t oob_count;
	uint32_t info_offset; /* of struct rndis_packet_info, one behind the other; 0: none */
	uint32_t info_bytes;
	uint32_t vc_handle;
	uint32_t reserved;
};
RNDIS_ASSERT_SIZE(rndis_packet, 36);

/* Set in rndis_packet_info.type for what is between the two ends only. */
#define RNDIS_INFO_INTERNAL 0x80000000u

enum rndis_packet_info_type {
	RNDIS_INFO_CHECKSUM = 0,
	RNDIS_INFO_LSO = 2,
	RNDIS_INFO_VLAN = 6,
	RNDIS_INFO_HASH_VALUE = 8, /* 32 bits; a frame that is sent has its cancel id here */
	RNDIS_INFO_HASH_INFO = 9,  /* NDIS_HASH_*; what the value was made by */
	RNDIS_INFO_PACKET_ID = (int)(RNDIS_INFO_INTERNAL | 1),
};

struct rndis_packet_info {
	uint32_t bytes;  /* this included; a multiple of 4 */
	uint32_t type;   /* enum rndis_packet_info_type */
	uint32_t offset; /* of the value, from here */
};
RNDIS_ASSERT_SIZE(rndis_packet_info, 12);

/* RNDIS_INFO_CHECKSUM of a frame that is sent: what the host is to fill in. */
#define RNDIS_TX_IPV4 0x01u
#define RNDIS_TX_IPV6 0x02u
#define RNDIS_TX_TCP_CHECKSUM 0x04u
#define RNDIS_TX_UDP_CHECKSUM 0x08u
#define RNDIS_TX_IP_CHECKSUM 0x10u
#define RNDIS_TX_HEADER_OFFSET_SHIFT 16 /* of TCP or UDP, from the frame's start, 10 bits */
#define RNDIS_TX_HEADER_OFFSET_MASK 0x3ffu

/* RNDIS_INFO_CHECKSUM of a frame that is received: what was found. */
#define RNDIS_RX_TCP_FAILED 0x001u
#define RNDIS_RX_UDP_FAILED 0x002u
#define RNDIS_RX_IP_FAILED 0x004u
#define RNDIS_RX_TCP_SUCCEEDED 0x008u
#define RNDIS_RX_UDP_SUCCEEDED 0x010u
#define RNDIS_RX_IP_SUCCEEDED 0x020u
/* The sums in the headers are not those of the frame as it is: segments that were put together. */
#define RNDIS_RX_TCP_VALUE_INVALID 0x080u
#define RNDIS_RX_IP_VALUE_INVALID 0x100u

/*
 * RNDIS_INFO_LSO: a TCP segment to be cut. Version 2 has IPv4's total length (or IPv6's payload
 * length) and header checksum 0, and the pseudo header's sum without length as TCP checksum. Version 1
 * is IPv4 only, with all of these as for one large packet.
 */
#define RNDIS_LSO_MSS_MASK 0xfffffu
#define RNDIS_LSO_HEADER_OFFSET_SHIFT 20
#define RNDIS_LSO_HEADER_OFFSET_MASK 0x3ffu
#define RNDIS_LSO_V2 0x40000000u
#define RNDIS_LSO_IPV6 0x80000000u

/* RNDIS_INFO_VLAN. */
#define RNDIS_VLAN_PRIORITY_MASK 0x7u
#define RNDIS_VLAN_DEI 0x8u
#define RNDIS_VLAN_ID_SHIFT 4
#define RNDIS_VLAN_ID_MASK 0xfffu

/* RNDIS_INFO_PACKET_ID, of received frames: one that came in several sub-allocations. */
struct rndis_packet_id {
	uint8_t version; /* 1 */
	uint8_t flags;   /* RNDIS_PACKET_ID_* */
	uint16_t id;
};
RNDIS_ASSERT_SIZE(rndis_packet_id, 4);

#define RNDIS_PACKET_ID_SPLIT 1u
#define RNDIS_PACKET_ID_FIRST 2u
#define RNDIS_PACKET_ID_LAST 4u

/* ---- OIDs ---- */

#define OID_GEN_SUPPORTED_LIST 0x00010101u
#define OID_GEN_HARDWARE_STATUS 0x00010102u
#define OID_GEN_MEDIA_SUPPORTED 0x00010103u
#define OID_GEN_MEDIA_IN_USE 0x00010104u
#define OID_GEN_MAXIMUM_LOOKAHEAD 0x00010105u
#define OID_GEN_MAXIMUM_FRAME_SIZE 0x00010106u
#define OID_GEN_LINK_SPEED 0x00010107u
#define OID_GEN_TRANSMIT_BUFFER_SPACE 0x00010108u
#define OID_GEN_RECEIVE_BUFFER_SPACE 0x00010109u
#define OID_GEN_TRANSMIT_BLOCK_SIZE 0x0001010au
#define OID_GEN_RECEIVE_BLOCK_SIZE 0x0001010bu
#define OID_GEN_VENDOR_ID 0x0001010cu
#define OID_GEN_VENDOR_DESCRIPTION 0x0001010du
#define OID_GEN_CURRENT_PACKET_FILTER 0x0001010eu
#define OID_GEN_CURRENT_LOOKAHEAD 0x0001010fu
#define OID_GEN_DRIVER_VERSION 0x00010110u
#define OID_GEN_MAXIMUM_TOTAL_SIZE 0x00010111u
#define OID_GEN_PROTOCOL_OPTIONS 0x00010112u
#define OID_GEN_MAC_OPTIONS 0x00010113u
#define OID_GEN_MEDIA_CONNECT_STATUS 0x00010114u
#define OID_GEN_MAXIMUM_SEND_PACKETS 0x00010115u
#define OID_GEN_VENDOR_DRIVER_VERSION 0x00010116u
#define OID_GEN_NETWORK_LAYER_ADDRESSES 0x00010118u
#define OID_GEN_PHYSICAL_MEDIUM 0x00010202u
#define OID_GEN_RECEIVE_SCALE_CAPABILITIES 0x00010203u
#define OID_GEN_RECEIVE_SCALE_PARAMETERS 0x00010204u
#define OID_GEN_MAX_LINK_SPEED 0x00010206u
#define OID_GEN_LINK_STATE 0x00010207u
#define OID_GEN_LINK_PARAMETERS 0x00010208u
#define OID_GEN_RNDIS_CONFIG_PARAMETER 0x0001021bu
#define OID_GEN_XMIT_OK 0x00020101u
#define OID_GEN_RCV_OK 0x00020102u
#define OID_GEN_XMIT_ERROR 0x00020103u
#define OID_GEN_RCV_ERROR 0x00020104u
#define OID_GEN_RCV_NO_BUFFER 0x00020105u
#define OID_GEN_FRIENDLY_NAME 0x00020216u
#define OID_GEN_BYTES_RCV 0x00020219u
#define OID_GEN_BYTES_XMIT 0x0002021au
#define OID_802_3_PERMANENT_ADDRESS 0x01010101u
#define OID_802_3_CURRENT_ADDRESS 0x01010102u
#define OID_802_3_MULTICAST_LIST 0x01010103u
#define OID_802_3_MAXIMUM_LIST_SIZE 0x01010104u
#define OID_802_3_RCV_ERROR_ALIGNMENT 0x01020101u
#define OID_802_3_XMIT_ONE_COLLISION 0x01020102u
#define OID_802_3_XMIT_MORE_COLLISIONS 0x01020103u
#define OID_OFFLOAD_ENCAPSULATION 0x0101010au
#define OID_TCP_OFFLOAD_CURRENT_CONFIG 0xfc01020bu
#define OID_TCP_OFFLOAD_PARAMETERS 0xfc01020cu
#define OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES 0xfc01020du

#define RNDIS_MEDIA_CONNECTED 0u
#define RNDIS_MEDIA_DISCONNECTED 1u

/* OID_GEN_CURRENT_PACKET_FILTER. */
#define NDIS_FILTER_DIRECTED 0x01u
#define NDIS_FILTER_MULTICAST 0x02u
#define NDIS_FILTER_ALL_MULTICAST 0x04u
#define NDIS_FILTER_BROADCAST 0x08u
#define NDIS_FILTER_PROMISCUOUS 0x20u

/* OID_GEN_MAC_OPTIONS. */
#define NDIS_MAC_COPY_LOOKAHEAD 0x001u
#define NDIS_MAC_TRANSFERS_NOT_PEND 0x004u
#define NDIS_MAC_NO_LOOPBACK 0x008u
#define NDIS_MAC_8021P_PRIORITY 0x040u
#define NDIS_MAC_8021Q_VLAN 0x200u

/* OID_GEN_RNDIS_CONFIG_PARAMETER; name and value are UTF-16. */
struct rndis_config_parameter {
	uint32_t name_offset;
	uint32_t name_bytes;
	uint32_t type; /* RNDIS_CONFIG_* */
	uint32_t value_offset;
	uint32_t value_bytes;
};
RNDIS_ASSERT_SIZE(rndis_config_parameter, 20);

#define RNDIS_CONFIG_INTEGER 0u
#define RNDIS_CONFIG_STRING 2u

/* Begins each object of NDIS. */
struct ndis_object {
	uint8_t type;
	uint8_t revision;
	uint16_t bytes;
};
RNDIS_ASSERT_SIZE(ndis_object, 4);

#define NDIS_OBJECT_DEFAULT 0x80u
#define NDIS_OBJECT_RSS_CAPABILITIES 0x88u
#define NDIS_OBJECT_RSS_PARAMETERS 0x89u
#define NDIS_OBJECT_OFFLOAD 0xa7u
#define NDIS_OBJECT_OFFLOAD_ENCAPSULATION 0xa8u

struct ndis_link_state {
	struct ndis_object object;     /* DEFAULT, revision 1 */
	uint32_t media_connect_state;  /* 1: connected, 2: not */
	uint32_t media_duplex_state;   /* 0: unknown, 2: full */
	uint32_t reserved;
	uint64_t send_bits_per_second;
	uint64_t receive_bits_per_second;
	uint32_t pause_functions;
	uint32_t auto_negotiation_flags;
};
RNDIS_ASSERT_SIZE(ndis_link_state, 40);

/* Receive side scaling: frames of one flow go to one channel, by a hash over their addresses. */
#define NDIS_HASH_TOEPLITZ 0x00000001u
#define NDIS_HASH_FUNCTION_MASK 0x000000ffu
#define NDIS_HASH_IPV4 0x00000100u
#define NDIS_HASH_TCP_IPV4 0x00000200u
#define NDIS_HASH_IPV6 0x00000400u
#define NDIS_HASH_TCP_IPV6 0x00001000u
#define NDIS_HASH_UDP_IPV4 0x00004000u
#define NDIS_HASH_UDP_IPV6 0x00008000u

#define NDIS_RSS_CAPABILITY_TCP_IPV4 0x00000100u
#define NDIS_RSS_CAPABILITY_TCP_IPV6 0x00000200u
#define NDIS_RSS_CAPABILITY_UDP_IPV4 0x00000800u
#define NDIS_RSS_CAPABILITY_UDP_IPV6 0x00001000u

#define NDIS_RSS_KEY_BYTES 40u
#define NDIS_RSS_TABLE_COUNT 128u

struct ndis_rss_capabilities {
	struct ndis_object object; /* RSS_CAPABILITIES, revision 2, NDIS_RSS_CAPABILITIES_BYTES */
	uint32_t flags;            /* NDIS_RSS_CAPABILITY_* | NDIS_HASH_TOEPLITZ */
	uint32_t interrupt_message_count;
	uint32_t receive_queue_count;
	uint16_t table_count;
	uint16_t reserved;
};
RNDIS_ASSERT_SIZE(ndis_rss_capabilities, 20);
/* Without what is reserved. */
#define NDIS_RSS_CAPABILITIES_BYTES 18u

#define NDIS_RSS_HASH_INFO_UNCHANGED 0x02u
#define NDIS_RSS_TABLE_UNCHANGED 0x04u
#define NDIS_RSS_KEY_UNCHANGED 0x08u
#define NDIS_RSS_DISABLE 0x10u

struct ndis_rss_parameters {
	struct ndis_object object; /* RSS_PARAMETERS, revision 2; its length is that of this struct */
	uint16_t flags;            /* NDIS_RSS_* */
	uint16_t base_cpu;
	uint32_t hash_info;        /* NDIS_HASH_* */
	uint16_t table_bytes;      /* of channel numbers, 32 bits each */
	uint16_t reserved_1;
	uint32_t table_offset;
	uint16_t key_bytes;
	uint16_t reserved_2;
	uint32_t key_offset;
	uint32_t processor_masks_offset;
	uint32_t processor_masks_count;
	uint32_t processor_masks_entry_bytes;
};
RNDIS_ASSERT_SIZE(ndis_rss_parameters, 40);

/* What the card can do about checksums, and does. */
#define NDIS_ENCAPSULATION_802_3 2u

#define NDIS_CHECKSUM_IP_OPTIONS 0x001u /* IPv6: extension headers */
#define NDIS_CHECKSUM_TCP_OPTIONS 0x004u
#define NDIS_CHECKSUM_TCP 0x010u
#define NDIS_CHECKSUM_UDP 0x040u
#define NDIS_CHECKSUM_IP 0x100u /* IPv4 */

struct ndis_checksum_offload {
	uint32_t ipv4_tx_encapsulation, ipv4_tx;
	uint32_t ipv4_rx_encapsulation, ipv4_rx;
	uint32_t ipv6_tx_encapsulation, ipv6_tx;
	uint32_t ipv6_rx_encapsulation, ipv6_rx;
};
RNDIS_ASSERT_SIZE(ndis_checksum_offload, 32);

struct ndis_lso_v1_offload {
	uint32_t encapsulation, bytes_max, segments_min, options;
};
RNDIS_ASSERT_SIZE(ndis_lso_v1_offload, 16);

/* ndis_lso_v1_offload.options. */
#define NDIS_LSO_V1_TCP_OPTIONS 0x1u
#define NDIS_LSO_V1_IP_OPTIONS 0x4u

struct ndis_lso_v2_offload {
	uint32_t ipv4_encapsulation, ipv4_bytes_max, ipv4_segments_min;
	uint32_t ipv6_encapsulation, ipv6_bytes_max, ipv6_segments_min;
	uint32_t ipv6_options; /* NDIS_CHECKSUM_IP_OPTIONS, _TCP_OPTIONS */
};
RNDIS_ASSERT_SIZE(ndis_lso_v2_offload, 28);

struct ndis_offload {
	struct ndis_object object; /* OFFLOAD; NDIS_OFFLOAD_BYTES_* by its revision */
	struct ndis_checksum_offload checksum;
	struct ndis_lso_v1_offload lso_v1;
	uint32_t ipsec_v1[7];
	struct ndis_lso_v2_offload lso_v2;
	uint32_t flags;
	uint32_t ipsec_v2[8];
	uint8_t rsc_ipv4, rsc_ipv6;
	uint8_t reserved[2];
	uint32_t encapsulated_gre[2];
};
RNDIS_ASSERT_SIZE(ndis_offload, 156);

#define NDIS_OFFLOAD_BYTES_1 112u
#define NDIS_OFFLOAD_BYTES_2 144u
#define NDIS_OFFLOAD_BYTES_3 156u

/* Fields of ndis_offload_parameters. */
#define NDIS_OFFLOAD_NO_CHANGE 0u
#define NDIS_OFFLOAD_DISABLED 1u
#define NDIS_OFFLOAD_ENABLED 2u /* LSO, RSC */
#define NDIS_OFFLOAD_TX 2u      /* checksums: only when sending */
#define NDIS_OFFLOAD_RX 3u
#define NDIS_OFFLOAD_TX_RX 4u

struct ndis_offload_parameters {
	struct ndis_object object; /* DEFAULT */
	uint8_t ipv4_checksum;
	uint8_t tcp_ipv4_checksum, udp_ipv4_checksum;
	uint8_t tcp_ipv6_checksum, udp_ipv6_checksum;
	uint8_t lso_v1;
	uint8_t ipsec_v1;
	uint8_t lso_v2_ipv4, lso_v2_ipv6;
	uint8_t tcp_connection_ipv4, tcp_connection_ipv6;
	uint8_t reserved;
	uint32_t flags;
	/* Revision 2 ends behind IPsec, revision 1 before it. */
	uint8_t ipsec_v2, ipsec_v2_ipv4;
	uint8_t rsc_ipv4, rsc_ipv6;
	uint8_t encapsulated_packet_offload, encapsulation_types;
	uint8_t reserved_2[2];
};
RNDIS_ASSERT_SIZE(ndis_offload_parameters, 28);

#define NDIS_OFFLOAD_PARAMETERS_BYTES_MIN 20u

struct ndis_offload_encapsulation {
	struct ndis_object object; /* OFFLOAD_ENCAPSULATION, revision 1 */
	uint32_t ipv4_enabled, ipv4_encapsulation, ipv4_header_bytes;
	uint32_t ipv6_enabled, ipv6_encapsulation, ipv6_header_bytes;
};
RNDIS_ASSERT_SIZE(ndis_offload_encapsulation, 28);

#endif
