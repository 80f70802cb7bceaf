// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of the network: frames to the host, and what has become of them.
 *
 * Short frames are copied, each as an RNDIS message, into one section of the send buffer: the batch.
 * It leaves as one packet, when it is full or flushed. Of a frame that the host reads from where it
 * is, RNDIS' part and the frame's own headers, where these are short or must be changed, are in a
 * slot of the port's pages, or in a section where there is no slot.
 *
 * Invariant. A frame that is longer than what may go into the batch goes after the batch, never before.
 */
#include "network/netvsc_private.h"

/* [rfc 9293] TCP's header without options, and where its checksum is. */
#define TCP_HEADER_BYTES 20u
#define TCP_CHECKSUM_OFFSET 16u
#define IPPROTO_TCP_NUMBER 6u

#define INFO_BYTES ((uint32_t)(sizeof(struct rndis_packet_info) + sizeof(uint32_t)))
#define RNDIS_BYTES ((uint32_t)(sizeof(struct rndis_header) + sizeof(struct rndis_packet)))

_Static_assert(RNDIS_BYTES + 4 * INFO_BYTES <= NETVSC_HEAD_BYTES, "all information has room");
_Static_assert(NETVSC_HEAD_BYTES + NETVSC_FRAME_HEAD_BYTES_MAX <= NETVSC_HEAD_SLOT_BYTES,
	       "both heads have room in a slot");

/* A frame on its way: what is copied of it, before the host sees any of it. */
struct departure {
	const struct netvsc_packet *packet;
	uint32_t head_bytes;       /* RNDIS' */
	uint32_t frame_head_bytes; /* of the frame, copied because they may change */
	uint8_t head[NETVSC_HEAD_BYTES];
	uint8_t frame_head[NETVSC_FRAME_HEAD_BYTES_MAX];
};

/* ---- RNDIS' part of a frame ---- */

static uint8_t *put_info(uint8_t *at, uint32_t type, uint32_t value)
{
	const struct rndis_packet_info info = { INFO_BYTES, type, sizeof(info) };

	memcpy(at, &info, sizeof(info));
	memcpy(at + sizeof(info), &value, sizeof(value));
	return at + INFO_BYTES;
}

static uint32_t checksum_value(const struct netvsc_packet *packet)
{
	uint32_t value = packet->wishes & NETVSC_WISH_IPV6 ? RNDIS_TX_IPV6 : RNDIS_TX_IPV4;

	value |= packet->wishes & NETVSC_WISH_TCP_CHECKSUM ? RNDIS_TX_TCP_CHECKSUM
							   : RNDIS_TX_UDP_CHECKSUM;
	return value | (uint32_t)packet->transport_offset << RNDIS_TX_HEADER_OFFSET_SHIFT;
}

static uint32_t segments_value(const struct netvsc_packet *packet)
{
	return RNDIS_LSO_V2 | (packet->wishes & NETVSC_WISH_IPV6 ? RNDIS_LSO_IPV6 : 0) |
	       (uint32_t)packet->transport_offset << RNDIS_LSO_HEADER_OFFSET_SHIFT |
	       packet->segment_bytes;
}

static uint32_t vlan_value(uint16_t tci)
{
	return (tci >> 13 & RNDIS_VLAN_PRIORITY_MASK) | (tci & 0x1000 ? RNDIS_VLAN_DEI : 0) |
	       (uint32_t)(tci & RNDIS_VLAN_ID_MASK) << RNDIS_VLAN_ID_SHIFT;
}

#define WISH_CHECKSUM (NETVSC_WISH_TCP_CHECKSUM | NETVSC_WISH_UDP_CHECKSUM)

/* All of RNDIS' part but how long the message is. */
static void put_head(struct departure *departure)
{
	const struct netvsc_packet *packet = departure->packet;
	struct rndis_packet rndis = { .data_bytes = packet->bytes };
	uint8_t *infos = departure->head + RNDIS_BYTES, *at = infos;

	if (packet->wishes & NETVSC_WISH_HASH)
		at = put_info(at, RNDIS_INFO_HASH_VALUE, packet->hash);
	if (packet->wishes & NETVSC_WISH_VLAN)
		at = put_info(at, RNDIS_INFO_VLAN, vlan_value(packet->vlan_tci));
	if (packet->wishes & NETVSC_WISH_SEGMENTS)
		at = put_info(at, RNDIS_INFO_LSO, segments_value(packet));
	else if (packet->wishes & WISH_CHECKSUM)
		at = put_info(at, RNDIS_INFO_CHECKSUM, checksum_value(packet));
	departure->head_bytes = (uint32_t)(at - departure->head);
	rndis.info_offset = sizeof(rndis);
	rndis.info_bytes = (uint32_t)(at - infos);
	rndis.data_offset = departure->head_bytes - (uint32_t)sizeof(struct rndis_header);
	memcpy(departure->head + sizeof(struct rndis_header), &rndis, sizeof(rndis));
}

static void put_message_bytes(struct departure *departure, uint32_t bytes)
{
	const struct rndis_header header = { RNDIS_PACKET, bytes };

	memcpy(departure->head, &header, sizeof(header));
}

/* ---- the frame's own headers ---- */

/* @bytes bytes of a frame from @offset on; they are there. */
static void copy_frame(const struct netvsc_packet *packet, uint32_t offset, uint8_t *to,
		       uint32_t bytes)
{
	for (uint32_t i = 0; bytes; i++) {
		const struct netvsc_piece *piece = &packet->pieces[i];
		uint32_t there;

		if (offset >= piece->bytes) {
			offset -= piece->bytes;
			continue;
		}
		there = piece->bytes - offset < bytes ? piece->bytes - offset : bytes;
		memcpy(to, (const uint8_t *)piece->data + offset, there);
		to += there;
		bytes -= there;
		offset = 0;
	}
}

/* Sum of 16-bit words, big-endian, of an even number of bytes. */
static uint32_t sum_words(const uint8_t *at, uint32_t bytes)
{
	uint32_t sum = 0;

	for (; bytes; bytes -= 2, at += 2)
		sum += (uint32_t)at[0] << 8 | at[1];
	return sum;
}

static void store_be16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* As version 2 of LSO wants it: see RNDIS_INFO_LSO. */
static void prepare_segments(struct departure *departure)
{
	const struct netvsc_packet *packet = departure->packet;
	uint8_t *ip = departure->frame_head + packet->network_offset;
	uint32_t sum = IPPROTO_TCP_NUMBER;

	if (packet->wishes & NETVSC_WISH_IPV4) {
		store_be16(ip + 2, 0);
		store_be16(ip + 10, 0);
		sum += sum_words(ip + 12, 8);
	} else {
		store_be16(ip + 4, 0);
		sum += sum_words(ip + 8, 32);
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(departure->frame_head + packet->transport_offset + TCP_CHECKSUM_OFFSET, sum);
}

/* What of a frame is to be copied though the host reads it from where it is. */
static uint32_t head_worth_copying(const struct netvsc_packet *packet)
{
	uint32_t bytes = 0;

	if (packet->wishes & NETVSC_WISH_SEGMENTS)
		bytes = packet->transport_offset + TCP_HEADER_BYTES;
	/* A short first piece is nothing but headers, and one range of memory less. */
	if (packet->pieces[0].bytes > bytes &&
	    packet->pieces[0].bytes <= NETVSC_FRAME_HEAD_BYTES_MAX)
		bytes = packet->pieces[0].bytes;
	return bytes;
}

static void copy_head(struct departure *departure, uint32_t bytes)
{
	departure->frame_head_bytes = bytes;
	copy_frame(departure->packet, 0, departure->frame_head, bytes);
	if (departure->packet->wishes & NETVSC_WISH_SEGMENTS)
		prepare_segments(departure);
}

/* ---- the batch ---- */

static void put_nvsp(const struct netvsc *netvsc, uint8_t *at, uint32_t section, uint32_t bytes)
{
	const struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, section, bytes },
	};

	memcpy(at, &message, netvsc->nvsp_bytes);
}

/* Send the batch, if there is one. Returns 0, -LIS_FULL (it stays), -LIS_CORRUPT. */
static int close_batch(struct netvsc_channel *channel)
{
	const struct netvsc_flight flight = {
		.requests = channel->batch.requests,
		.section = channel->batch.section,
		.head = NETVSC_HEAD_NONE,
		.frames = channel->batch.frames,
		.bytes = channel->batch.frame_bytes,
		.kind = NETVSC_FLIGHT_FRAMES,
	};
	uint64_t id;
	void *body;
	int error;

	if (channel->batch.section == NVSP_SECTION_NONE)
		return 0;
	channel->batch_due = true;
	if (netvsc_table_full(channel)) {
		channel->room_bytes = 0;
		return -LIS_FULL;
	}
	error = netvsc_begin_packet(channel, &flight, VMBUS_PACKET_IN_BAND, 0, &body, &id);
	if (error)
		return error == -LIS_FULL ? error : -LIS_CORRUPT;
	put_nvsp(channel->netvsc, body, channel->batch.section, channel->batch.bytes);
	vmbus_ring_commit(channel->to_host);
	channel->batch.section = NVSP_SECTION_NONE;
	channel->batch_due = false;
	channel->send_counters.packets++;
	return 0;
}

/* A batch with room for @bytes. Returns 0, -LIS_FULL, -LIS_NOTFOUND (no section), -LIS_CORRUPT. */
static int open_batch(struct netvsc_channel *channel, uint32_t bytes)
{
	const struct netvsc *netvsc = channel->netvsc;
	int error;

	if (channel->batch.section != NVSP_SECTION_NONE) {
		if (channel->batch.frames < netvsc->messages_max &&
		    bytes <= netvsc->section_bytes - channel->batch.bytes &&
		    bytes <= netvsc->transfer_bytes_max - channel->batch.bytes)
			return 0;
		error = close_batch(channel);
		if (error)
			return error;
	}
	channel->batch.section = netvsc_section_take(channel);
	if (channel->batch.section == NVSP_SECTION_NONE)
		return -LIS_NOTFOUND;
	channel->batch.bytes = 0;
	channel->batch.frames = 0;
	channel->batch.frame_bytes = 0;
	channel->batch.requests = NULL;
	channel->batch.requests_end = &channel->batch.requests;
	return 0;
}

/* It ends with the batch. */
static void add_request(struct netvsc_channel *channel, struct netvsc_request *request)
{
	request->next = NULL;
	*channel->batch.requests_end = request;
	channel->batch.requests_end = &request->next;
}

/* Writes the message, padded up to where another may begin. */
static int send_copied(struct netvsc_channel *channel, struct departure *departure, uint32_t bytes)
{
	const struct netvsc_packet *packet = departure->packet;
	uint32_t there, copied;
	uint8_t *at;
	int error = open_batch(channel, bytes);

	if (error)
		return error;
	copied = packet->wishes & NETVSC_WISH_SEGMENTS ? packet->transport_offset + TCP_HEADER_BYTES
						       : 0;
	copy_head(departure, copied);
	put_message_bytes(departure, bytes);
	at = netvsc_section_memory(channel->netvsc, channel->batch.section) + channel->batch.bytes;
	memcpy(at, departure->head, departure->head_bytes);
	at += departure->head_bytes;
	memcpy(at, departure->frame_head, copied);
	copy_frame(packet, copied, at + copied, packet->bytes - copied);
	there = departure->head_bytes + packet->bytes;
	memset(at + packet->bytes, 0, bytes - there);
	channel->batch.bytes += bytes;
	channel->batch.frames++;
	channel->batch.frame_bytes += packet->bytes;
	return 0;
}

/* ---- frames that stay where they are ---- */

struct layout {
	uint32_t range_count, pfn_count;
};

/* What is left of a piece when @skip bytes of the frame are copied already; false: nothing. */
static bool rest_of_piece(const struct netvsc_piece *piece, uint32_t *skip,
			  struct vmbus_gpa_range *out_range, uint64_t *out_pfn)
{
	uint32_t skipped = *skip < piece->bytes ? *skip : piece->bytes;
	uint32_t offset = (uint32_t)((uintptr_t)piece->data % HV_PAGE_BYTES);
	uint64_t begin = (uint64_t)offset + skipped;

	*skip -= skipped;
	if (skipped == piece->bytes)
		return false;
	out_range->byte_count = piece->bytes - skipped;
	out_range->byte_offset = (uint32_t)(begin % HV_PAGE_BYTES);
	*out_pfn = piece->pfn + (begin >> HV_PAGE_SHIFT);
	return true;
}

static struct layout lay_out(const struct netvsc_packet *packet, uint32_t skip, bool head_in_page)
{
	struct layout layout = { head_in_page, head_in_page };

	for (uint32_t i = 0; i < packet->piece_count; i++) {
		struct vmbus_gpa_range range;
		uint64_t pfn;

		if (!rest_of_piece(&packet->pieces[i], &skip, &range, &pfn))
			continue;
		layout.range_count++;
		layout.pfn_count += vmbus_gpa_pfn_count(range.byte_count, range.byte_offset);
	}
	return layout;
}

static uint8_t *put_range(uint8_t *at, struct vmbus_gpa_range range, uint64_t pfn)
{
	uint32_t count = vmbus_gpa_pfn_count(range.byte_count, range.byte_offset);

	memcpy(at, &range, sizeof(range));
	at += sizeof(range);
	for (uint32_t i = 0; i < count; i++, pfn++, at += sizeof(pfn))
		memcpy(at, &pfn, sizeof(pfn));
	return at;
}

static uint8_t *put_ranges(uint8_t *at, const struct netvsc_packet *packet, uint32_t skip)
{
	for (uint32_t i = 0; i < packet->piece_count; i++) {
		struct vmbus_gpa_range range;
		uint64_t pfn;

		if (rest_of_piece(&packet->pieces[i], &skip, &range, &pfn))
			at = put_range(at, range, pfn);
	}
	return at;
}

/* Where the heads of this frame go; false: there is no place now. */
static bool take_head(struct netvsc_channel *channel, struct netvsc_flight *flight, uint8_t **out)
{
	flight->section = NVSP_SECTION_NONE;
	flight->head = netvsc_head_take(channel);
	if (likely(flight->head != NETVSC_HEAD_NONE)) {
		*out = channel->heads + (size_t)flight->head * NETVSC_HEAD_SLOT_BYTES;
		return true;
	}
	flight->section = netvsc_section_take(channel);
	if (flight->section == NVSP_SECTION_NONE)
		return false;
	*out = netvsc_section_memory(channel->netvsc, flight->section);
	return true;
}

/* Writes the packet for a frame whose heads are in place, @head_bytes of them. */
static int write_paged(struct netvsc_channel *channel, const struct departure *departure,
		       const struct netvsc_flight *flight)
{
	const struct netvsc_packet *packet = departure->packet;
	uint32_t head_bytes = departure->head_bytes + departure->frame_head_bytes;
	bool in_page = flight->head != NETVSC_HEAD_NONE;
	struct layout layout = lay_out(packet, departure->frame_head_bytes, in_page);
	struct vmbus_gpa_direct_head head = { .range_count = layout.range_count };
	size_t bytes = sizeof(head) + layout.range_count * sizeof(struct vmbus_gpa_range) +
		       layout.pfn_count * sizeof(uint64_t);
	struct vmbus_gpa_range range;
	uint16_t type = VMBUS_PACKET_GPA_DIRECT;
	uint64_t id;
	uint8_t *at;
	void *body;
	int error;

	if (!layout.range_count) { /* all of it is in the section */
		type = VMBUS_PACKET_IN_BAND;
		bytes = 0;
	}
	error = netvsc_begin_packet(channel, flight, type, bytes, &body, &id);
	if (error)
		return error;
	at = body;
	if (bytes) {
		memcpy(at, &head, sizeof(head));
		at += sizeof(head);
		if (in_page) {
			range.byte_count = head_bytes;
			range.byte_offset = flight->head % NETVSC_HEADS_PER_PAGE *
					    NETVSC_HEAD_SLOT_BYTES;
			at = put_range(at, range,
				       channel->head_pfns[flight->head / NETVSC_HEADS_PER_PAGE]);
		}
		at = put_ranges(at, packet, departure->frame_head_bytes);
	}
	put_nvsp(channel->netvsc, at, flight->section, in_page ? 0 : head_bytes);
	vmbus_ring_commit(channel->to_host);
	channel->send_counters.packets++;
	return 0;
}

static int send_paged(struct netvsc_channel *channel, struct departure *departure,
		      struct netvsc_request *request)
{
	const struct netvsc_packet *packet = departure->packet;
	struct netvsc_flight flight = {
		.requests = request, .frames = 1, .bytes = packet->bytes,
		.kind = NETVSC_FLIGHT_FRAMES,
	};
	uint8_t *head;
	int error = close_batch(channel);

	if (error)
		return error;
	channel->room_bytes = 0;
	if (netvsc_table_full(channel) || !take_head(channel, &flight, &head))
		return -LIS_FULL;
	request->next = NULL;
	copy_head(departure, head_worth_copying(packet));
	put_message_bytes(departure, departure->head_bytes + packet->bytes);
	memcpy(head, departure->head, departure->head_bytes);
	memcpy(head + departure->head_bytes, departure->frame_head, departure->frame_head_bytes);
	error = write_paged(channel, departure, &flight);
	if (error)
		netvsc_give_head(channel, &flight);
	return error;
}

/* ---- send ---- */

static bool wishes_possible(const struct netvsc_packet *packet)
{
	uint32_t wishes = packet->wishes;
	uint32_t ip_bytes = wishes & NETVSC_WISH_IPV6 ? 40 : 20;

	if (!(wishes & (NETVSC_WISH_SEGMENTS | WISH_CHECKSUM)))
		return true;
	if (!(wishes & NETVSC_WISH_IPV4) == !(wishes & NETVSC_WISH_IPV6) ||
	    packet->transport_offset > RNDIS_TX_HEADER_OFFSET_MASK ||
	    packet->transport_offset >= packet->bytes)
		return false;
	if (!(wishes & NETVSC_WISH_SEGMENTS))
		return true;
	return packet->segment_bytes &&
	       packet->network_offset + ip_bytes <= packet->transport_offset &&
	       packet->transport_offset + TCP_HEADER_BYTES <= NETVSC_FRAME_HEAD_BYTES_MAX &&
	       packet->transport_offset + TCP_HEADER_BYTES <= packet->bytes;
}

/* One range may be more than there are pieces: where the copied head ends within the first. */
static bool packet_possible(const struct netvsc *netvsc, const struct netvsc_packet *packet)
{
	uint64_t bytes = 0;

	if (!packet->piece_count || packet->piece_count > NETVSC_PIECES_MAX ||
	    packet->bytes < NETVSC_ETHERNET_BYTES ||
	    packet->bytes > netvsc->transfer_bytes_max - NETVSC_HEAD_BYTES ||
	    packet->bytes > NETVSC_FRAME_BYTES_MAX)
		return false;
	for (uint32_t i = 0; i < packet->piece_count; i++) {
		if (!packet->pieces[i].bytes)
			return false;
		bytes += packet->pieces[i].bytes;
	}
	return bytes == packet->bytes && wishes_possible(packet);
}

static inline uint32_t round_up(uint32_t bytes, uint32_t to)
{
	return (bytes + to - 1) & ~(to - 1);
}

static int send_either(struct netvsc_channel *channel, struct departure *departure,
		       struct netvsc_request *request, bool *out_copied)
{
	const struct netvsc *netvsc = channel->netvsc;
	uint32_t bytes = round_up(departure->head_bytes + departure->packet->bytes,
				  netvsc->align_bytes);
	int error;

	*out_copied = bytes <= netvsc->section_bytes && bytes <= netvsc->transfer_bytes_max;
	if (*out_copied) {
		error = send_copied(channel, departure, bytes);
		if (likely(error != -LIS_NOTFOUND))
			return error;
		/* The other channels have all sections: nothing here may ever set one free. */
		channel->send_counters.no_section++;
		*out_copied = false;
	}
	if (!request)
		return -LIS_FULL;
	if (departure->packet->piece_count + 1 > netvsc->pieces_max &&
	    lay_out(departure->packet, head_worth_copying(departure->packet), true).range_count >
		    netvsc->pieces_max)
		return -LIS_INVALID;
	return send_paged(channel, departure, request);
}

int netvsc_send(struct netvsc_channel *channel, const struct netvsc_packet *packet,
		struct netvsc_request *request, bool *out_done)
{
	struct departure departure;
	bool copied;
	int error;

	if (unlikely(!channel->accepting || os_read_once(channel->netvsc->state) != NETVSC_READY))
		return -LIS_GONE;
	if (unlikely(channel->send_broken))
		return -LIS_CORRUPT;
	if (unlikely(!packet_possible(channel->netvsc, packet)))
		return -LIS_INVALID;
	departure.packet = packet;
	put_head(&departure);
	error = send_either(channel, &departure, request, &copied);
	if (unlikely(error == -LIS_FULL))
		return netvsc_no_room(channel);
	if (unlikely(error))
		return error;
	channel->send_counters.frames++;
	channel->send_counters.bytes += packet->bytes;
	channel->send_counters.copied += copied;
	channel->send_counters.segmented += (packet->wishes & NETVSC_WISH_SEGMENTS) != 0;
	if (out_done)
		*out_done = copied;
	else if (copied && request)
		add_request(channel, request);
	return 0;
}

/* Where it does not go now it goes when there is room; nobody else waits for that. */
static void send_batch(struct netvsc_channel *channel)
{
	uint32_t room_bytes = channel->room_bytes;

	(void)!close_batch(channel);
	channel->room_bytes = room_bytes;
}

bool netvsc_publish(struct netvsc_channel *channel)
{
	channel->late_ranges = channel->late_bytes = 0;
	return vmbus_ring_writer_publish(channel->to_host);
}

bool netvsc_channel_flush(struct netvsc_channel *channel)
{
	if (!channel->open)
		return false;
	send_batch(channel);
	return netvsc_publish(channel);
}

/* ---- room ---- */

/* What the longest packet takes: all pieces, each of which may begin within a page. */
static uint32_t largest_packet(const struct netvsc *netvsc)
{
	uint32_t pages = NETVSC_FRAME_BYTES_MAX / HV_PAGE_BYTES + 2 * netvsc->pieces_max;

	return (uint32_t)vmbus_packet_ring_bytes(
		sizeof(struct vmbus_gpa_direct_head) +
			netvsc->pieces_max * sizeof(struct vmbus_gpa_range) +
			pages * sizeof(uint64_t),
		NVSP_MESSAGE_BYTES_6_1);
}

/* Is there room in the ring? If not, the host tells when there is. */
static bool ring_has_room(struct netvsc_channel *channel, uint32_t bytes)
{
	uint32_t least = (uint32_t)vmbus_packet_ring_bytes(0, 0);
	void *body;

	if (likely(vmbus_ring_writer_has_room(channel->to_host, bytes)))
		return true;
	/* Only a write that failed asks for that; this one is never ended. */
	return vmbus_ring_reserve(channel->to_host, VMBUS_PACKET_IN_BAND, 0, 0, 0,
				  bytes > least ? bytes - least : 0, &body) != -LIS_FULL;
}

bool netvsc_channel_has_room(struct netvsc_channel *channel)
{
	uint32_t bytes = largest_packet(channel->netvsc);

	if (!channel->open || channel->send_broken)
		return true; /* so that the next send tells */
	channel->room_bytes = 0;
	/* The batch that is open wants a slot, too. */
	if (channel->requests.used_count + 2 > channel->requests.slot_count - NETVSC_OWN_SLOTS ||
	    channel->head_free == NETVSC_HEAD_NONE) {
		channel->room_wanted = true;
		return false;
	}
	if (likely(vmbus_ring_writer_has_room(channel->to_host, bytes)))
		return true;
	/* Some more room saves telling often. */
	if (bytes < channel->to_host->data_bytes / 4)
		bytes = channel->to_host->data_bytes / 4;
	if (bytes > VMBUS_PACKET_BYTES_MAX)
		bytes = VMBUS_PACKET_BYTES_MAX;
	if (ring_has_room(channel, bytes))
		return true;
	channel->room_bytes = bytes;
	channel->room_wanted = true;
	return false;
}

/* So many slots are free that it is worth to say so. [policy] */
static bool table_has_room(const struct netvsc_channel *channel)
{
	return channel->requests.used_count <=
	       (channel->requests.slot_count - NETVSC_OWN_SLOTS) * 3 / 4;
}

uint32_t netvsc_look_for_room(struct netvsc_channel *channel)
{
	if (channel->batch_due)
		send_batch(channel);
	if (likely(!channel->room_wanted) || channel->batch_due || !table_has_room(channel) ||
	    channel->head_free == NETVSC_HEAD_NONE ||
	    !ring_has_room(channel, channel->room_bytes))
		return 0;
	channel->room_wanted = false;
	return NETVSC_EVENT_ROOM;
}
