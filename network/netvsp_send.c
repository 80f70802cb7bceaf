/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network VSP's way from the guest: RNDIS messages out of the send buffer and out of the guest's
 * pages, frames to the port.
 *
 * Where the card has something to do in a frame, its headers are copied once and made right in the copy;
 * what lies behind them goes to the port as it lies in the guest's memory. What the port cannot do is
 * done here.
 */
#include "network/netvsp_private.h"

#include <string.h>

/*
 * Pieces of one message: a section's pages, and those of as many ranges as guests are told they may use,
 * with the longest frame in them: each begins and ends anywhere in a page.
 */
#define PIECES_MAX (4u + 2 * NVSP_MDL_CHAIN_LENGTH_MAX + NET_FRAME_BYTES_MAX / HV_PAGE_BYTES)
/* [RFC 8200] Without extension headers. */
#define IPV6_BYTES 40
/* [policy] Per-packet information of one frame. */
#define INFO_BYTES_MAX 256u
/* [policy] Of all frames every so many-th is looked at, for the addresses that are still used. */
#define LOOK_AT_EACH 256u

/* An RNDIS message's memory, or several messages' side by side. */
struct message {
	struct iovec iov[PIECES_MAX];
	uint32_t iov_count;
	uint32_t bytes;
	uint16_t queue; /* the channel it came by */
};

/* What is to be done to a frame, as the guest says. */
struct wishes {
	uint32_t checksum; /* RNDIS_TX_* */
	uint32_t lso;      /* RNDIS_LSO_* */
	uint32_t vlan;     /* RNDIS_VLAN_* */
	bool has_checksum, has_lso, has_vlan;
};

/* A frame on its way to the port. */
struct departure {
	uint8_t room[NET_VLAN_BYTES + NET_HEADERS_BYTES_MAX];
	uint8_t *head;           /* in @room: a tag grows it downwards */
	uint32_t head_bytes;
	struct iovec iov[PIECES_MAX + 1];
	struct net_frame frame;
};

/* ---- memory ---- */

static bool message_add(struct message *message, void *hva, uint64_t bytes)
{
	if (!hva || message->iov_count == PIECES_MAX || bytes > UINT32_MAX - message->bytes)
		return false;
	message->iov[message->iov_count++] = (struct iovec){ hva, bytes };
	message->bytes += (uint32_t)bytes;
	return true;
}

/* Adds a range, pages that are neighbours together. */
static bool message_add_run(const struct partition *partition, struct message *message,
			    const struct vmbus_gpa_run *run)
{
	uint64_t offset = run->byte_offset, left = run->byte_count;

	for (uint32_t i = 0; left && i < run->pfn_count;) {
		uint32_t pages = 1;
		uint64_t bytes;

		while (i + pages < run->pfn_count && run->pfns[i + pages] == run->pfns[i] + pages)
			pages++;
		if (run->pfns[i] > (UINT64_MAX >> HV_PAGE_SHIFT) - pages)
			return false;
		bytes = ((uint64_t)pages << HV_PAGE_SHIFT) - offset;
		if (bytes > left)
			bytes = left;
		if (!message_add(message,
				 partition_hva(partition, GPA((run->pfns[i] << HV_PAGE_SHIFT) + offset),
					       bytes),
				 bytes))
			return false;
		left -= bytes;
		offset = 0;
		i += pages;
	}
	return !left;
}

static bool message_map(struct netvsp *netvsp, const struct vmbus_packet *packet,
			const struct nvsp_rndis_packet *rndis, struct message *message)
{
	struct vmbus_packet_ranges ranges;
	struct vmbus_gpa_run run;

	message->iov_count = 0;
	message->bytes = 0;
	if (rndis->send_section_index != NVSP_SECTION_NONE) {
		uint64_t offset = (uint64_t)rndis->send_section_index * netvsp->section_bytes;

		if (rndis->send_section_bytes > netvsp->section_bytes)
			return false;
		message->iov_count = netvsp_buffer_iov(&netvsp->send_buffer, offset,
						       rndis->send_section_bytes, message->iov,
						       PIECES_MAX);
		if (!message->iov_count)
			return false;
		message->bytes = rndis->send_section_bytes;
	}
	if (packet->type != VMBUS_PACKET_GPA_DIRECT)
		return message->bytes > 0;
	ranges = vmbus_packet_ranges(packet);
	while (vmbus_packet_next_gpa_run(&ranges, &run)) {
		if (!message_add_run(netvsp->partition, message, &run))
			return false;
	}
	return true;
}

/* The pieces of a part of the message that is in it. */
static uint32_t message_slice(const struct message *message, uint32_t offset, uint32_t bytes,
			      struct iovec *iov)
{
	uint32_t count = 0;

	for (uint32_t i = 0; bytes && i < message->iov_count; i++) {
		const struct iovec *piece = &message->iov[i];
		size_t length;

		if (offset >= piece->iov_len) {
			offset -= (uint32_t)piece->iov_len;
			continue;
		}
		length = piece->iov_len - offset < bytes ? piece->iov_len - offset : bytes;
		iov[count++] = (struct iovec){ (uint8_t *)piece->iov_base + offset, length };
		bytes -= (uint32_t)length;
		offset = 0;
	}
	return count;
}

static void message_copy(const struct message *message, uint32_t offset, void *to, uint32_t bytes)
{
	struct iovec iov[PIECES_MAX];
	uint32_t count = message_slice(message, offset, bytes, iov);

	for (uint32_t i = 0; i < count; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to = (uint8_t *)to + iov[i].iov_len;
	}
}

/* ---- what the guest wants done ---- */

static void wish(struct wishes *wishes, uint32_t type, uint32_t value)
{
	switch (type) {
	case RNDIS_INFO_CHECKSUM:
		wishes->has_checksum = true;
		wishes->checksum = value;
		return;
	case RNDIS_INFO_LSO:
		wishes->has_lso = true;
		wishes->lso = value;
		return;
	case RNDIS_INFO_VLAN:
		wishes->has_vlan = true;
		wishes->vlan = value;
		return;
	}
}

/* @infos is a private copy. Returns false where it is not a list of what it should be. */
static bool read_wishes(const uint8_t *infos, uint32_t bytes, struct wishes *wishes)
{
	memset(wishes, 0, sizeof(*wishes));
	while (bytes) {
		struct rndis_packet_info info;
		uint32_t value;

		if (bytes < sizeof(info))
			return false;
		memcpy(&info, infos, sizeof(info));
		if (info.bytes < sizeof(info) || info.bytes > bytes || info.offset > info.bytes)
			return false;
		if (info.bytes - info.offset >= sizeof(value)) {
			memcpy(&value, infos + info.offset, sizeof(value));
			wish(wishes, info.type, value);
		}
		infos += info.bytes;
		bytes -= info.bytes;
	}
	return true;
}

/*
 * With extension headers, one for routing among them, the pseudo header's destination may be another than
 * IPv6's: there the guest's own sum is taken, which has no length in it.
 */
static void keep_pseudo_sum(struct departure *departure, const struct net_headers *headers,
			    uint16_t sum, uint32_t data_bytes)
{
	uint32_t transport_bytes = data_bytes - headers->transport_offset;
	const uint8_t length[2] = { (uint8_t)(transport_bytes >> 8), (uint8_t)transport_bytes };

	sum = net_sum_fold(net_sum(length, sizeof(length), sum, false));
	memcpy(departure->head + headers->transport_offset + 16, &sum, sizeof(sum));
}

static bool prepare_lso(struct departure *departure, uint32_t data_bytes, uint32_t lso)
{
	struct net_offload *offload = &departure->frame.offload;
	struct net_headers headers;
	uint16_t sum;

	net_parse_headers(departure->head, departure->head_bytes, &headers);
	if (headers.transport != NET_TRANSPORT_TCP || headers.bytes >= data_bytes ||
	    (lso & RNDIS_LSO_MSS_MASK) < NETVSP_SEGMENT_BYTES_MIN ||
	    (lso & RNDIS_LSO_MSS_MASK) > UINT16_MAX)
		return false;
	memcpy(&sum, departure->head + headers.transport_offset + 16, sizeof(sum));
	if (net_set_lengths(departure->head, &headers, data_bytes - headers.bytes))
		return false;
	if (headers.ip_version == 6 && headers.transport_offset > headers.ip_offset + IPV6_BYTES)
		keep_pseudo_sum(departure, &headers, sum, data_bytes);
	*offload = (struct net_offload){
		.flags = NET_CHECKSUM_PARTIAL,
		.gso = headers.ip_version == 4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6,
		.segment_bytes = (uint16_t)(lso & RNDIS_LSO_MSS_MASK),
		.header_bytes = headers.bytes,
		.checksum_start = headers.transport_offset,
		.checksum_offset = 16,
	};
	/* What fits into one segment is none. */
	if (data_bytes - headers.bytes <= offload->segment_bytes)
		offload->gso = NET_GSO_NONE;
	return (data_bytes - headers.bytes) / offload->segment_bytes <= NETVSP_SEGMENTS_MAX;
}

static bool prepare_checksum(struct departure *departure, uint32_t data_bytes, uint32_t checksum)
{
	uint32_t start = checksum >> RNDIS_TX_HEADER_OFFSET_SHIFT & RNDIS_TX_HEADER_OFFSET_MASK;
	struct net_offload *offload = &departure->frame.offload;
	struct net_headers headers;

	net_parse_headers(departure->head, departure->head_bytes, &headers);
	if (checksum & RNDIS_TX_IP_CHECKSUM)
		net_set_ipv4_checksum(departure->head, &headers);
	if (!(checksum & (RNDIS_TX_TCP_CHECKSUM | RNDIS_TX_UDP_CHECKSUM)))
		return true;
	/* Drivers of old did not say where. */
	if (!start)
		start = headers.transport_offset;
	offload->checksum_offset = checksum & RNDIS_TX_TCP_CHECKSUM ? 16 : 6;
	if (!start || start + offload->checksum_offset + 2u > departure->head_bytes)
		return false;
	offload->flags = NET_CHECKSUM_PARTIAL;
	offload->checksum_start = (uint16_t)start;
	return true;
}

static void put_vlan_in(struct departure *departure, uint32_t vlan)
{
	struct net_offload *offload = &departure->frame.offload;
	uint16_t tci = (uint16_t)((vlan & RNDIS_VLAN_PRIORITY_MASK) << 13 |
				  (vlan & RNDIS_VLAN_DEI ? 0x1000 : 0) |
				  (vlan >> RNDIS_VLAN_ID_SHIFT & RNDIS_VLAN_ID_MASK));
	uint8_t *tag;

	departure->head -= NET_VLAN_BYTES;
	departure->head_bytes += NET_VLAN_BYTES;
	memmove(departure->head, departure->head + NET_VLAN_BYTES, 2 * NET_MAC_BYTES);
	tag = departure->head + 2 * NET_MAC_BYTES;
	tag[0] = 0x81;
	tag[1] = 0x00;
	tag[2] = (uint8_t)(tci >> 8);
	tag[3] = (uint8_t)tci;
	if (offload->flags)
		offload->checksum_start += NET_VLAN_BYTES;
	if (offload->gso != NET_GSO_NONE)
		offload->header_bytes += NET_VLAN_BYTES;
}

/* ---- to the port ---- */

static bool port_can(const struct net_port *port, uint8_t gso)
{
	static const uint32_t can[] = {
		[NET_GSO_NONE] = 0,
		[NET_GSO_TCP_IPV4] = NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4,
		[NET_GSO_TCP_IPV6] = NET_CAN_CHECKSUM | NET_CAN_TCP_IPV6,
		[NET_GSO_UDP] = NET_CAN_CHECKSUM | NET_CAN_UDP,
	};

	return (port->can_send & can[gso]) == can[gso];
}

/* These return false for a frame that makes no sense; the port counts those that it drops. */
static bool send_segments(struct netvsp *netvsp, const struct net_frame *frame)
{
	bool can_checksum = netvsp->port->can_send & NET_CAN_CHECKSUM;
	struct iovec iov[PIECES_MAX + 2];
	struct net_segmenter segmenter;
	struct net_frame segment;

	if (net_segmenter_init(&segmenter, frame, iov, PIECES_MAX + 2))
		return false;
	while (net_segmenter_next(&segmenter, can_checksum, &segment)) {
		net_port_send(netvsp->port, &segment);
		netvsp->frames_to_port++;
	}
	return true;
}

static bool send_frame(struct netvsp *netvsp, struct net_frame *frame)
{
	struct net_port *port = netvsp->port;

	if (!netvsp_is_plugged(netvsp))
		return true;
	if (netvsp->captures)
		netvsp_capture_frame(netvsp, frame);
	if (!port_can(port, frame->offload.gso))
		return send_segments(netvsp, frame);
	/* The checksum's place is in the copied head, so nothing of the guest's is written. */
	if ((frame->offload.flags & NET_CHECKSUM_PARTIAL) && !(port->can_send & NET_CAN_CHECKSUM) &&
	    net_complete_checksum(frame->iov, frame->iov_count, frame->bytes, &frame->offload))
		return false;
	net_port_send(port, frame);
	netvsp->frames_to_port++;
	return true;
}

/* What is left to the card is TCP and UDP, and tells nothing new. */
static void look_for_addresses(struct netvsp *netvsp, const struct net_frame *frame)
{
	bool news = !frame->offload.flags && net_addresses_is_news(frame);
	uint8_t mac[NET_MAC_BYTES];

	if (!news && netvsp->frames_to_port % LOOK_AT_EACH)
		return;
	netvsp_mac_get(netvsp, mac);
	net_addresses_see(&netvsp->addresses, mac, frame, io_loop_now_ns(netvsp->loop));
}

/* The frame at @offset of the message, of @bytes bytes, all of which are there. */
static bool send_data(struct netvsp *netvsp, const struct message *message, uint32_t offset,
		      uint32_t bytes, const struct wishes *wishes)
{
	struct departure departure = { 0 };

	if (bytes < NET_FRAME_BYTES_MIN || bytes > NET_FRAME_BYTES_MAX - NET_VLAN_BYTES)
		return false;
	departure.head = departure.room + NET_VLAN_BYTES;
	if (wishes->has_lso || wishes->has_checksum || wishes->has_vlan) {
		departure.head_bytes = bytes < NET_HEADERS_BYTES_MAX ? bytes : NET_HEADERS_BYTES_MAX;
		message_copy(message, offset, departure.head, departure.head_bytes);
	}
	departure.frame.iov = departure.iov;
	departure.frame.bytes = bytes;
	departure.frame.queue = message->queue;
	departure.frame.iov_count = message_slice(message, offset + departure.head_bytes,
						  bytes - departure.head_bytes, departure.iov + 1);
	if (wishes->has_lso) {
		if (!prepare_lso(&departure, bytes, wishes->lso))
			return false;
	} else if (wishes->has_checksum && !prepare_checksum(&departure, bytes, wishes->checksum)) {
		return false;
	}
	if (wishes->has_vlan) {
		put_vlan_in(&departure, wishes->vlan);
		departure.frame.bytes += NET_VLAN_BYTES;
	}
	if (departure.head_bytes) {
		departure.iov[0] = (struct iovec){ departure.head, departure.head_bytes };
		departure.frame.iov_count++;
	} else {
		departure.frame.iov++;
	}
	look_for_addresses(netvsp, &departure.frame);
	if (!send_frame(netvsp, &departure.frame))
		return false;
	netvsp_count(&netvsp->packets_sent, 1);
	netvsp_count(&netvsp->bytes_sent, departure.frame.bytes);
	return true;
}

/* One RNDIS message with a frame. Returns false where it is none. */
static bool send_message(struct netvsp *netvsp, const struct message *message, uint32_t offset,
			 uint32_t bytes)
{
	const uint32_t head = sizeof(struct rndis_header);
	uint8_t infos[INFO_BYTES_MAX];
	struct rndis_packet packet;
	struct wishes wishes;
	uint32_t body;

	if (bytes < head + sizeof(packet))
		return false;
	message_copy(message, offset + head, &packet, sizeof(packet));
	body = bytes - head;
	if (packet.data_offset > body || packet.data_bytes > body - packet.data_offset)
		return false;
	if (!packet.info_offset)
		packet.info_bytes = 0;
	if (packet.info_offset > body || packet.info_bytes > body - packet.info_offset ||
	    packet.info_bytes > sizeof(infos))
		return false;
	message_copy(message, offset + head + packet.info_offset, infos, packet.info_bytes);
	return read_wishes(infos, packet.info_bytes, &wishes) &&
	       send_data(netvsp, message, offset + head + packet.data_offset, packet.data_bytes,
			 &wishes);
}

static bool send_messages(struct netvsp *netvsp, const struct message *message)
{
	uint32_t offset = 0, count = 0;

	/* Behind the last one there may be what aligns the next. */
	while (message->bytes - offset >= sizeof(struct rndis_header)) {
		struct rndis_header header;

		message_copy(message, offset, &header, sizeof(header));
		if (header.type != RNDIS_PACKET || header.bytes > message->bytes - offset ||
		    count++ == NETVSP_MESSAGES_AT_ONCE ||
		    !send_message(netvsp, message, offset, header.bytes))
			return false;
		offset += header.bytes;
	}
	return offset > 0;
}

uint32_t netvsp_send_packet(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			    const struct nvsp_rndis_packet *rndis)
{
	struct netvsp *netvsp = ch->netvsp;
	uint8_t control[NETVSP_CONTROL_BYTES_MAX];
	struct message message;
	bool ok = message_map(netvsp, packet, rndis, &message);

	message.queue = ch->channel->index;
	if (ok && rndis->channel_type == NVSP_RNDIS_CONTROL) {
		if (netvsp->waiting_count >= NETVSP_CONTROL_WAITING_MAX)
			return NVSP_STATUS_BUSY;
		if (message.bytes <= sizeof(control) && !ch->channel->index) {
			message_copy(&message, 0, control, message.bytes);
			return netvsp_rndis_control(netvsp, control, message.bytes);
		}
		ok = false;
	}
	if (ok && netvsp->initialized && send_messages(netvsp, &message))
		return NVSP_STATUS_SUCCESS;
	netvsp_count(&netvsp->send_invalid, 1);
	return NVSP_STATUS_INVALID_RNDIS_PACKET;
}
