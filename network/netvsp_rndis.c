/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network VSP's answers to what the guest asks about the card, and asks it to be. A message is a
 * private copy by now, and its answer is built in netvsp->control, one at a time.
 */
#include "network/netvsp_private.h"

#include <string.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* ---- building ---- */

static void put(struct netvsp *netvsp, const void *from, uint32_t bytes)
{
	if (bytes > sizeof(netvsp->control) - netvsp->control_bytes)
		bytes = (uint32_t)sizeof(netvsp->control) - netvsp->control_bytes;
	memcpy(netvsp->control + netvsp->control_bytes, from, bytes);
	netvsp->control_bytes += bytes;
}

static void put_u32(struct netvsp *netvsp, uint32_t value)
{
	put(netvsp, &value, sizeof(value));
}

static void begin(struct netvsp *netvsp, uint32_t type)
{
	struct rndis_header header = { type, 0 };

	netvsp->control_bytes = 0;
	put(netvsp, &header, sizeof(header));
}

static void end(struct netvsp *netvsp)
{
	struct rndis_header header;

	memcpy(&header, netvsp->control, sizeof(header));
	header.bytes = netvsp->control_bytes;
	memcpy(netvsp->control, &header, sizeof(header));
}

static void answer_status(struct netvsp *netvsp, uint32_t type, uint32_t request_id, uint32_t status)
{
	struct rndis_status_complete complete = { request_id, status };

	begin(netvsp, type | RNDIS_COMPLETION);
	put(netvsp, &complete, sizeof(complete));
	end(netvsp);
}

/* ---- queries ---- */

static const uint32_t oids[] = {
	OID_GEN_SUPPORTED_LIST, OID_GEN_HARDWARE_STATUS, OID_GEN_MEDIA_SUPPORTED, OID_GEN_MEDIA_IN_USE,
	OID_GEN_MAXIMUM_LOOKAHEAD, OID_GEN_MAXIMUM_FRAME_SIZE, OID_GEN_LINK_SPEED,
	OID_GEN_TRANSMIT_BUFFER_SPACE, OID_GEN_RECEIVE_BUFFER_SPACE, OID_GEN_TRANSMIT_BLOCK_SIZE,
	OID_GEN_RECEIVE_BLOCK_SIZE, OID_GEN_VENDOR_ID, OID_GEN_VENDOR_DESCRIPTION,
	OID_GEN_CURRENT_PACKET_FILTER, OID_GEN_CURRENT_LOOKAHEAD, OID_GEN_DRIVER_VERSION,
	OID_GEN_MAXIMUM_TOTAL_SIZE, OID_GEN_MAC_OPTIONS, OID_GEN_MEDIA_CONNECT_STATUS,
	OID_GEN_MAXIMUM_SEND_PACKETS, OID_GEN_VENDOR_DRIVER_VERSION, OID_GEN_NETWORK_LAYER_ADDRESSES,
	OID_GEN_FRIENDLY_NAME, OID_GEN_RNDIS_CONFIG_PARAMETER, OID_GEN_XMIT_OK, OID_GEN_RCV_OK,
	OID_GEN_XMIT_ERROR, OID_GEN_RCV_ERROR, OID_GEN_RCV_NO_BUFFER, OID_802_3_PERMANENT_ADDRESS,
	OID_802_3_CURRENT_ADDRESS, OID_802_3_MULTICAST_LIST, OID_802_3_MAXIMUM_LIST_SIZE,
	OID_802_3_RCV_ERROR_ALIGNMENT, OID_802_3_XMIT_ONE_COLLISION, OID_802_3_XMIT_MORE_COLLISIONS,
};

/* From NDIS 6.0 on. */
static const uint32_t oids_6[] = {
	OID_GEN_LINK_PARAMETERS, OID_GEN_LINK_STATE, OID_GEN_MAX_LINK_SPEED, OID_GEN_BYTES_RCV,
	OID_GEN_BYTES_XMIT, OID_TCP_OFFLOAD_PARAMETERS, OID_OFFLOAD_ENCAPSULATION,
	OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, OID_TCP_OFFLOAD_CURRENT_CONFIG,
};

/* From NDIS 6.30 on. */
static const uint32_t oids_6_30[] = {
	OID_GEN_RECEIVE_SCALE_CAPABILITIES, OID_GEN_RECEIVE_SCALE_PARAMETERS,
};

static void put_supported_list(struct netvsp *netvsp)
{
	put(netvsp, oids, sizeof(oids));
	if (netvsp->ndis.major < 6)
		return;
	put(netvsp, oids_6, sizeof(oids_6));
	if (netvsp->ndis.major > 6 || netvsp->ndis.minor >= 30)
		put(netvsp, oids_6_30, sizeof(oids_6_30));
}

static uint32_t hundreds(uint64_t bits_per_second)
{
	return bits_per_second / 100 < UINT32_MAX ? (uint32_t)(bits_per_second / 100) : UINT32_MAX;
}

static void put_link_state(struct netvsp *netvsp)
{
	struct ndis_link_state state = {
		.object = { NDIS_OBJECT_DEFAULT, 1, sizeof(state) },
		.media_connect_state = netvsp_link_up(netvsp) ? 1 : 2,
		.media_duplex_state = 2,
		.send_bits_per_second = netvsp_bits_per_second(netvsp),
		.receive_bits_per_second = netvsp_bits_per_second(netvsp),
	};

	put(netvsp, &state, sizeof(state));
}

static void put_max_link_speed(struct netvsp *netvsp)
{
	uint64_t speeds[] = { netvsp_bits_per_second(netvsp), netvsp_bits_per_second(netvsp) };

	put(netvsp, speeds, sizeof(speeds));
}

/* The name that Linux makes the card's alias: ASCII to UTF-16. */
static void put_friendly_name(struct netvsp *netvsp)
{
	for (const char *at = netvsp->name; *at; at++) {
		uint8_t unit[] = { (uint8_t)*at, 0 };

		put(netvsp, unit, sizeof(unit));
	}
}

static uint32_t checksum_bits(bool ip, bool tcp, bool udp)
{
	return (ip ? NDIS_CHECKSUM_IP : 0) | (udp ? NDIS_CHECKSUM_UDP : 0) |
	       (tcp ? NDIS_CHECKSUM_TCP | NDIS_CHECKSUM_TCP_OPTIONS : 0) | NDIS_CHECKSUM_IP_OPTIONS;
}

static const struct netvsp_offloads all_offloads = {
	true, true, true, true, true, true, true, true, true, true, true, true, true, true,
};

/* @can: NET_CAN_TCP_IPV4 or _IPV6. */
static bool can_coalesce(const struct netvsp *netvsp, uint32_t can)
{
	return (netvsp->capabilities & NVSP_CAPABILITY_RSC) && (netvsp->port->can_receive & can) &&
	       netvsp_receive_has_room_for_long_frames(netvsp);
}

/* All but coalescing is there, by the port or in software; on is what the guest has switched on. */
static void put_offloads(struct netvsp *netvsp, const struct netvsp_offloads *on)
{
	struct ndis_offload offload = {
		.object = { NDIS_OBJECT_OFFLOAD, 3, NDIS_OFFLOAD_BYTES_3 },
		.checksum = {
			.ipv4_tx_encapsulation = NDIS_ENCAPSULATION_802_3,
			.ipv4_tx = checksum_bits(on->tx_ipv4_checksum, on->tx_tcp_ipv4, on->tx_udp_ipv4),
			.ipv4_rx_encapsulation = NDIS_ENCAPSULATION_802_3,
			.ipv4_rx = checksum_bits(on->rx_ipv4_checksum, on->rx_tcp_ipv4, on->rx_udp_ipv4),
			.ipv6_tx_encapsulation = NDIS_ENCAPSULATION_802_3,
			.ipv6_tx = checksum_bits(false, on->tx_tcp_ipv6, on->tx_udp_ipv6),
			.ipv6_rx_encapsulation = NDIS_ENCAPSULATION_802_3,
			.ipv6_rx = checksum_bits(false, on->rx_tcp_ipv6, on->rx_udp_ipv6),
		},
	};

	if (on->lso_ipv4) {
		offload.lso_v1 = (struct ndis_lso_v1_offload){
			NDIS_ENCAPSULATION_802_3, NETVSP_LSO_BYTES_MAX, 2,
			NDIS_LSO_V1_TCP_OPTIONS | NDIS_LSO_V1_IP_OPTIONS,
		};
		offload.lso_v2.ipv4_encapsulation = NDIS_ENCAPSULATION_802_3;
		offload.lso_v2.ipv4_bytes_max = NETVSP_LSO_BYTES_MAX;
		offload.lso_v2.ipv4_segments_min = 2;
	}
	if (on->lso_ipv6) {
		offload.lso_v2.ipv6_encapsulation = NDIS_ENCAPSULATION_802_3;
		offload.lso_v2.ipv6_bytes_max = NETVSP_LSO_BYTES_MAX;
		offload.lso_v2.ipv6_segments_min = 2;
		offload.lso_v2.ipv6_options = NDIS_CHECKSUM_IP_OPTIONS | NDIS_CHECKSUM_TCP_OPTIONS;
	}
	offload.rsc_ipv4 = on->rsc_ipv4 && can_coalesce(netvsp, NET_CAN_TCP_IPV4);
	offload.rsc_ipv6 = on->rsc_ipv6 && can_coalesce(netvsp, NET_CAN_TCP_IPV6);
	/* Guests of old have room for their revision only. */
	if (netvsp_version(netvsp) < NVSP_VERSION_5) {
		bool first = netvsp_version(netvsp) < NVSP_VERSION_4;

		offload.object.revision = first ? 1 : 2;
		offload.object.bytes = first ? NDIS_OFFLOAD_BYTES_1 : NDIS_OFFLOAD_BYTES_2;
	}
	put(netvsp, &offload, offload.object.bytes);
}


static void put_encapsulation(struct netvsp *netvsp)
{
	struct ndis_offload_encapsulation encapsulation = {
		{ NDIS_OBJECT_OFFLOAD_ENCAPSULATION, 1, sizeof(encapsulation) },
		1, NDIS_ENCAPSULATION_802_3, NET_ETHERNET_BYTES,
		1, NDIS_ENCAPSULATION_802_3, NET_ETHERNET_BYTES,
	};

	put(netvsp, &encapsulation, sizeof(encapsulation));
}

static void put_rss_capabilities(struct netvsp *netvsp)
{
	struct ndis_rss_capabilities capabilities = {
		.object = { NDIS_OBJECT_RSS_CAPABILITIES, 2, NDIS_RSS_CAPABILITIES_BYTES },
		.flags = NDIS_RSS_CAPABILITY_TCP_IPV4 | NDIS_RSS_CAPABILITY_TCP_IPV6 |
			 NDIS_RSS_CAPABILITY_UDP_IPV4 | NDIS_RSS_CAPABILITY_UDP_IPV6 |
			 NDIS_HASH_TOEPLITZ,
		.interrupt_message_count = 1,
		.receive_queue_count = netvsp->channels_max,
		.table_count = NDIS_RSS_TABLE_COUNT,
	};

	put(netvsp, &capabilities, NDIS_RSS_CAPABILITIES_BYTES);
}

static void put_mac(struct netvsp *netvsp, bool permanent)
{
	uint8_t mac[NET_MAC_BYTES];

	netvsp_mac_get(netvsp, mac);
	put(netvsp, permanent ? netvsp->permanent_mac : mac, sizeof(mac));
}

static uint64_t counter(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

/* What is one number. Returns false for an OID that is not. */
static bool number_of_oid(struct netvsp *netvsp, uint32_t oid, uint32_t *out_value)
{
	switch (oid) {
	case OID_GEN_HARDWARE_STATUS: /* ready */
	case OID_GEN_MEDIA_SUPPORTED:
	case OID_GEN_MEDIA_IN_USE:
	case OID_GEN_XMIT_ERROR:
	case OID_GEN_RCV_ERROR:
	case OID_802_3_RCV_ERROR_ALIGNMENT:
	case OID_802_3_XMIT_ONE_COLLISION:
	case OID_802_3_XMIT_MORE_COLLISIONS:
	case OID_802_3_MAXIMUM_LIST_SIZE: /* of multicast: a filter is enough */
		*out_value = 0;
		return true;
	case OID_GEN_MAXIMUM_LOOKAHEAD:
	case OID_GEN_CURRENT_LOOKAHEAD:
	case OID_GEN_MAXIMUM_FRAME_SIZE:
		*out_value = netvsp->mtu_bytes - NET_ETHERNET_BYTES;
		return true;
	case OID_GEN_MAXIMUM_TOTAL_SIZE:
	case OID_GEN_TRANSMIT_BLOCK_SIZE:
	case OID_GEN_RECEIVE_BLOCK_SIZE:
		*out_value = netvsp->mtu_bytes;
		return true;
	case OID_GEN_LINK_SPEED:
		*out_value = hundreds(netvsp_bits_per_second(netvsp));
		return true;
	case OID_GEN_TRANSMIT_BUFFER_SPACE:
		*out_value = netvsp->send_buffer.bytes;
		return true;
	case OID_GEN_RECEIVE_BUFFER_SPACE:
		*out_value = netvsp->receive_buffer.bytes;
		return true;
	case OID_GEN_VENDOR_ID: /* the first three bytes of Hyper-V's addresses */
		*out_value = 0x5d1500;
		return true;
	case OID_GEN_VENDOR_DRIVER_VERSION:
		*out_value = 0x00010000;
		return true;
	case OID_GEN_CURRENT_PACKET_FILTER:
		*out_value = atomic_load_explicit(&netvsp->filter, memory_order_relaxed);
		return true;
	case OID_GEN_MAC_OPTIONS:
		*out_value = NDIS_MAC_COPY_LOOKAHEAD | NDIS_MAC_TRANSFERS_NOT_PEND | NDIS_MAC_NO_LOOPBACK |
			     NDIS_MAC_8021P_PRIORITY | NDIS_MAC_8021Q_VLAN;
		return true;
	case OID_GEN_MEDIA_CONNECT_STATUS:
		netvsp->told_link_up = netvsp_link_up(netvsp);
		*out_value = netvsp->told_link_up ? RNDIS_MEDIA_CONNECTED : RNDIS_MEDIA_DISCONNECTED;
		return true;
	case OID_GEN_MAXIMUM_SEND_PACKETS:
		*out_value = NETVSP_MESSAGES_AT_ONCE;
		return true;
	case OID_GEN_RCV_NO_BUFFER:
		*out_value = (uint32_t)counter(&netvsp->port->counters.receive_dropped);
		return true;
	default:
		return false;
	}
}

/* Statistics are 32 bits wide, or 64 where they are asked for by an OID of today. */
static bool put_statistic(struct netvsp *netvsp, uint32_t oid)
{
	uint64_t value;

	switch (oid) {
	case OID_GEN_XMIT_OK:
		value = counter(&netvsp->packets_sent);
		break;
	case OID_GEN_RCV_OK:
		value = counter(&netvsp->packets_received);
		break;
	case OID_GEN_BYTES_RCV:
		value = counter(&netvsp->bytes_received);
		break;
	case OID_GEN_BYTES_XMIT:
		value = counter(&netvsp->bytes_sent);
		break;
	default:
		return false;
	}
	put(netvsp, &value, oid == OID_GEN_XMIT_OK || oid == OID_GEN_RCV_OK ? 4 : 8);
	return true;
}

static bool put_object(struct netvsp *netvsp, uint32_t oid)
{
	static const char vendor[] = "OpenLIS";
	uint16_t version = 0x0600;

	switch (oid) {
	case OID_GEN_SUPPORTED_LIST:
		put_supported_list(netvsp);
		return true;
	case OID_GEN_VENDOR_DESCRIPTION:
		put(netvsp, vendor, sizeof(vendor));
		return true;
	case OID_GEN_DRIVER_VERSION:
		put(netvsp, &version, sizeof(version));
		return true;
	case OID_GEN_FRIENDLY_NAME:
		put_friendly_name(netvsp);
		return true;
	case OID_802_3_PERMANENT_ADDRESS:
	case OID_802_3_CURRENT_ADDRESS:
		put_mac(netvsp, oid == OID_802_3_PERMANENT_ADDRESS);
		return true;
	case OID_802_3_MULTICAST_LIST:
		return true;
	case OID_GEN_LINK_STATE:
		put_link_state(netvsp);
		return true;
	case OID_GEN_MAX_LINK_SPEED:
		put_max_link_speed(netvsp);
		return true;
	case OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES:
		put_offloads(netvsp, &all_offloads);
		return true;
	case OID_TCP_OFFLOAD_CURRENT_CONFIG:
		put_offloads(netvsp, &netvsp->offloads);
		return true;
	case OID_OFFLOAD_ENCAPSULATION:
		put_encapsulation(netvsp);
		return true;
	case OID_GEN_RECEIVE_SCALE_CAPABILITIES:
		put_rss_capabilities(netvsp);
		return true;
	default:
		return put_statistic(netvsp, oid);
	}
}

static void query(struct netvsp *netvsp, const struct rndis_request *request)
{
	struct rndis_query_complete complete = { .request_id = request->request_id };
	uint32_t at = sizeof(struct rndis_header) + sizeof(complete), value;
	bool known = true;

	begin(netvsp, RNDIS_QUERY | RNDIS_COMPLETION);
	put(netvsp, &complete, sizeof(complete));
	if (number_of_oid(netvsp, request->oid, &value))
		put_u32(netvsp, value);
	else
		known = put_object(netvsp, request->oid);
	complete.status = known ? RNDIS_STATUS_SUCCESS : RNDIS_STATUS_NOT_SUPPORTED;
	complete.info_bytes = netvsp->control_bytes - at;
	complete.info_offset = complete.info_bytes ? sizeof(complete) : 0;
	memcpy(netvsp->control + sizeof(struct rndis_header), &complete, sizeof(complete));
	end(netvsp);
}

/* ---- sets ---- */

/* What stands in an object at @offset, if all of it does. */
static const uint8_t *part(const uint8_t *info, uint32_t info_bytes, uint32_t offset, uint32_t bytes)
{
	return offset <= info_bytes && bytes <= info_bytes - offset ? info + offset : NULL;
}

static uint32_t set_filter(struct netvsp *netvsp, const uint8_t *info, uint32_t bytes)
{
	uint32_t filter;

	if (bytes < sizeof(filter))
		return RNDIS_STATUS_INVALID_LENGTH;
	memcpy(&filter, info, sizeof(filter));
	atomic_store_explicit(&netvsp->filter, filter, memory_order_relaxed);
	return RNDIS_STATUS_SUCCESS;
}

static void set_checksum(uint8_t wish, bool *tx, bool *rx)
{
	if (wish == NDIS_OFFLOAD_NO_CHANGE)
		return;
	*tx = wish == NDIS_OFFLOAD_TX || wish == NDIS_OFFLOAD_TX_RX;
	*rx = wish == NDIS_OFFLOAD_RX || wish == NDIS_OFFLOAD_TX_RX;
}

static void set_switch(uint8_t wish, bool *on)
{
	if (wish != NDIS_OFFLOAD_NO_CHANGE)
		*on = wish == NDIS_OFFLOAD_ENABLED;
}

void netvsp_rndis_set_receive(struct netvsp *netvsp)
{
	const struct netvsp_offloads *on = &netvsp->offloads;
	/* Checksums are completed here for guests that want them so. */
	uint32_t can = NET_CAN_CHECKSUM;

	if (on->rsc_ipv4 && can_coalesce(netvsp, NET_CAN_TCP_IPV4))
		can |= NET_CAN_TCP_IPV4;
	if (on->rsc_ipv6 && can_coalesce(netvsp, NET_CAN_TCP_IPV6))
		can |= NET_CAN_TCP_IPV6;
	net_port_set_receive(netvsp->port, can & netvsp->port->can_receive);
}

static uint32_t set_offloads(struct netvsp *netvsp, const uint8_t *info, uint32_t bytes)
{
	struct netvsp_offloads *on = &netvsp->offloads;
	struct ndis_offload_parameters wish = { 0 };

	if (bytes < NDIS_OFFLOAD_PARAMETERS_BYTES_MIN)
		return RNDIS_STATUS_INVALID_LENGTH;
	memcpy(&wish, info, bytes < sizeof(wish) ? bytes : sizeof(wish));
	set_checksum(wish.ipv4_checksum, &on->tx_ipv4_checksum, &on->rx_ipv4_checksum);
	set_checksum(wish.tcp_ipv4_checksum, &on->tx_tcp_ipv4, &on->rx_tcp_ipv4);
	set_checksum(wish.udp_ipv4_checksum, &on->tx_udp_ipv4, &on->rx_udp_ipv4);
	set_checksum(wish.tcp_ipv6_checksum, &on->tx_tcp_ipv6, &on->rx_tcp_ipv6);
	set_checksum(wish.udp_ipv6_checksum, &on->tx_udp_ipv6, &on->rx_udp_ipv6);
	set_switch(wish.lso_v2_ipv4, &on->lso_ipv4);
	set_switch(wish.lso_v2_ipv6, &on->lso_ipv6);
	set_switch(wish.rsc_ipv4, &on->rsc_ipv4);
	set_switch(wish.rsc_ipv6, &on->rsc_ipv6);
	netvsp_rndis_set_receive(netvsp);
	return RNDIS_STATUS_SUCCESS;
}

static uint32_t set_rss_table(struct netvsp *netvsp, const uint8_t *table, uint32_t count)
{
	struct netvsp_rss *rss = &netvsp->rss;

	for (uint32_t i = 0; i < NDIS_RSS_TABLE_COUNT; i++) {
		uint32_t entry;

		memcpy(&entry, table + 4 * (i % count), sizeof(entry));
		if (entry >= netvsp->channels_max)
			return RNDIS_STATUS_INVALID_DATA;
		rss->table[i] = entry;
	}
	return RNDIS_STATUS_SUCCESS;
}

static uint32_t set_rss(struct netvsp *netvsp, const uint8_t *info, uint32_t bytes)
{
	struct netvsp_rss *rss = &netvsp->rss;
	struct ndis_rss_parameters wish = { 0 };
	const uint8_t *table, *key;

	if (bytes < offsetof(struct ndis_rss_parameters, processor_masks_offset))
		return RNDIS_STATUS_INVALID_LENGTH;
	memcpy(&wish, info, bytes < sizeof(wish) ? bytes : sizeof(wish));
	rss->enabled = false;
	if (!(wish.flags & NDIS_RSS_HASH_INFO_UNCHANGED))
		rss->types = wish.hash_info;
	if ((wish.flags & NDIS_RSS_DISABLE) ||
	    (rss->types & NDIS_HASH_FUNCTION_MASK) != NDIS_HASH_TOEPLITZ)
		return RNDIS_STATUS_SUCCESS;
	table = part(info, bytes, wish.table_offset, wish.table_bytes);
	key = part(info, bytes, wish.key_offset, NDIS_RSS_KEY_BYTES);
	if (!(wish.flags & NDIS_RSS_KEY_UNCHANGED)) {
		if (!key || wish.key_bytes != NDIS_RSS_KEY_BYTES)
			return RNDIS_STATUS_INVALID_DATA;
		net_hash_key_set(&rss->key, key);
	}
	if (!(wish.flags & NDIS_RSS_TABLE_UNCHANGED)) {
		if (!table || wish.table_bytes < 4 || wish.table_bytes % 4 ||
		    set_rss_table(netvsp, table, wish.table_bytes / 4))
			return RNDIS_STATUS_INVALID_DATA;
	}
	rss->enabled = true;
	return RNDIS_STATUS_SUCCESS;
}

static int hex_digit(uint8_t digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20;
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* An address as twelve hexadecimal digits in UTF-16. */
static bool parse_mac(const uint8_t *text, uint8_t out_mac[NET_MAC_BYTES])
{
	static const uint8_t none[NET_MAC_BYTES];

	for (uint32_t i = 0; i < 2 * NET_MAC_BYTES; i++) {
		int digit = text[2 * i + 1] ? -1 : hex_digit(text[2 * i]);

		if (digit < 0)
			return false;
		out_mac[i / 2] = (uint8_t)(i % 2 ? out_mac[i / 2] << 4 | digit : digit);
	}
	return !(out_mac[0] & 1) && memcmp(out_mac, none, sizeof(none));
}

static uint32_t set_config_parameter(struct netvsp *netvsp, const uint8_t *info, uint32_t bytes)
{
	static const char wanted[] = "NetworkAddress";
	struct rndis_config_parameter parameter;
	const uint8_t *name, *value;
	uint8_t mac[NET_MAC_BYTES];

	if (bytes < sizeof(parameter))
		return RNDIS_STATUS_INVALID_LENGTH;
	memcpy(&parameter, info, sizeof(parameter));
	name = part(info, bytes, parameter.name_offset, parameter.name_bytes);
	value = part(info, bytes, parameter.value_offset, parameter.value_bytes);
	if (!name || !value || parameter.name_bytes != 2 * (sizeof(wanted) - 1))
		return RNDIS_STATUS_INVALID_DATA;
	for (uint32_t i = 0; i < sizeof(wanted) - 1; i++) {
		if (name[2 * i] != (uint8_t)wanted[i] || name[2 * i + 1])
			return RNDIS_STATUS_NOT_SUPPORTED;
	}
	if (parameter.type != RNDIS_CONFIG_STRING || parameter.value_bytes < 4 * NET_MAC_BYTES ||
	    !parse_mac(value, mac))
		return RNDIS_STATUS_INVALID_DATA;
	netvsp_mac_set(netvsp, mac);
	return RNDIS_STATUS_SUCCESS;
}

static uint32_t set(struct netvsp *netvsp, uint32_t oid, const uint8_t *info, uint32_t bytes)
{
	switch (oid) {
	case OID_GEN_CURRENT_PACKET_FILTER:
		return set_filter(netvsp, info, bytes);
	case OID_TCP_OFFLOAD_PARAMETERS:
		return set_offloads(netvsp, info, bytes);
	case OID_GEN_RECEIVE_SCALE_PARAMETERS:
		return set_rss(netvsp, info, bytes);
	case OID_GEN_RNDIS_CONFIG_PARAMETER:
		return set_config_parameter(netvsp, info, bytes);
	case OID_GEN_CURRENT_LOOKAHEAD:
	case OID_GEN_NETWORK_LAYER_ADDRESSES:
	case OID_GEN_LINK_PARAMETERS:
	case OID_OFFLOAD_ENCAPSULATION:
	case OID_802_3_MULTICAST_LIST:
		/* Good to know, and nothing depends on it. */
		return RNDIS_STATUS_SUCCESS;
	default:
		return RNDIS_STATUS_NOT_SUPPORTED;
	}
}

/* ---- messages ---- */

static void initialize(struct netvsp *netvsp, const struct rndis_initialize *wish)
{
	struct rndis_initialize_complete complete = {
		.request_id = wish->request_id,
		.status = RNDIS_STATUS_SUCCESS,
		.major = RNDIS_MAJOR_VERSION,
		.minor = RNDIS_MINOR_VERSION,
		.device_flags = RNDIS_DEVICE_CONNECTIONLESS,
		.medium = RNDIS_MEDIUM_802_3,
		.packets_per_message_max = NETVSP_MESSAGES_AT_ONCE,
		.transfer_bytes_max = NETVSP_MESSAGES_AT_ONCE * NET_FRAME_BYTES_MAX,
		.packet_alignment_shift = NETVSP_MESSAGE_ALIGN_SHIFT,
	};

	if (wish->major != RNDIS_MAJOR_VERSION)
		complete.status = RNDIS_STATUS_BAD_VERSION;
	else
		netvsp->initialized = true;
	/* Whoever wants to know asks after this. */
	netvsp->told_bits_per_second = netvsp_bits_per_second(netvsp);
	begin(netvsp, RNDIS_INITIALIZE | RNDIS_COMPLETION);
	put(netvsp, &complete, sizeof(complete));
	end(netvsp);
}

static void reset(struct netvsp *netvsp)
{
	struct rndis_reset_complete complete = { RNDIS_STATUS_SUCCESS, 1 };

	atomic_store_explicit(&netvsp->filter, 0, memory_order_relaxed);
	begin(netvsp, RNDIS_RESET | RNDIS_COMPLETION);
	put(netvsp, &complete, sizeof(complete));
	end(netvsp);
}

static void halt(struct netvsp *netvsp)
{
	netvsp->initialized = false;
	atomic_store_explicit(&netvsp->filter, 0, memory_order_relaxed);
}

static bool request(struct netvsp *netvsp, uint32_t type, const uint8_t *body, uint32_t bytes)
{
	struct rndis_request wish;
	const uint8_t *info;
	uint32_t status;

	if (bytes < sizeof(wish))
		return false;
	memcpy(&wish, body, sizeof(wish));
	if (type == RNDIS_QUERY) {
		query(netvsp, &wish);
		return true;
	}
	info = part(body, bytes, wish.info_offset, wish.info_bytes);
	status = info ? set(netvsp, wish.oid, info, wish.info_bytes) : RNDIS_STATUS_INVALID_DATA;
	answer_status(netvsp, type, wish.request_id, status);
	return true;
}

uint32_t netvsp_rndis_control(struct netvsp *netvsp, const uint8_t *message, uint32_t bytes)
{
	struct rndis_header header;
	struct rndis_initialize wish = { 0 };
	const uint8_t *body = message + sizeof(header);
	uint32_t body_bytes;
	bool ok = true;

	if (bytes < sizeof(header))
		return NVSP_STATUS_INVALID_RNDIS_PACKET;
	memcpy(&header, message, sizeof(header));
	if (header.bytes < sizeof(header) || header.bytes > bytes)
		return NVSP_STATUS_INVALID_RNDIS_PACKET;
	body_bytes = header.bytes - (uint32_t)sizeof(header);
	memcpy(&wish, body, body_bytes < sizeof(wish) ? body_bytes : sizeof(wish));
	switch (header.type) {
	case RNDIS_INITIALIZE:
		ok = body_bytes >= sizeof(wish);
		if (ok)
			initialize(netvsp, &wish);
		break;
	case RNDIS_HALT:
		halt(netvsp);
		break;
	case RNDIS_QUERY:
	case RNDIS_SET:
		ok = request(netvsp, header.type, body, body_bytes);
		break;
	case RNDIS_RESET:
		reset(netvsp);
		break;
	case RNDIS_KEEP_ALIVE:
		ok = body_bytes >= sizeof(struct rndis_keep_alive);
		if (ok)
			answer_status(netvsp, header.type, wish.request_id, RNDIS_STATUS_SUCCESS);
		break;
	default:
		ok = false;
	}
	return ok ? NVSP_STATUS_SUCCESS : NVSP_STATUS_INVALID_RNDIS_PACKET;
}

static void indicate(struct netvsp *netvsp, uint32_t status, const void *info, uint32_t info_bytes)
{
	struct rndis_indicate_status indication = {
		.status = status,
		.info_bytes = info_bytes,
		.info_offset = info_bytes ? sizeof(indication) : 0,
	};

	begin(netvsp, RNDIS_INDICATE_STATUS);
	put(netvsp, &indication, sizeof(indication));
	if (info_bytes)
		put(netvsp, info, info_bytes);
	end(netvsp);
	netvsp_receive_control(netvsp);
}

/* Asked again with each turn: where there is no room now it is told later. */
static bool may_indicate(const struct netvsp *netvsp)
{
	return netvsp->initialized && netvsp->subs.count &&
	       netvsp->waiting_count < NETVSP_CONTROL_WAITING_MAX;
}

void netvsp_rndis_indicate(struct netvsp *netvsp)
{
	uint64_t speed = netvsp_bits_per_second(netvsp);
	bool up = netvsp_link_up(netvsp);
	uint32_t speed_100 = hundreds(speed);

	if (speed != netvsp->told_bits_per_second && may_indicate(netvsp)) {
		netvsp->told_bits_per_second = speed;
		indicate(netvsp, RNDIS_STATUS_LINK_SPEED_CHANGE, &speed_100, sizeof(speed_100));
	}
	if (up != netvsp->told_link_up && may_indicate(netvsp)) {
		netvsp->told_link_up = up;
		indicate(netvsp, up ? RNDIS_STATUS_MEDIA_CONNECT : RNDIS_STATUS_MEDIA_DISCONNECT, NULL, 0);
	}
}
