// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of the network: what comes from the host.
 *
 * Receiving takes packets out of the ring, one after the other, and frames out of packets, one for
 * each call. Whatever else there is in them is noted: answers to what was sent, packets that the host
 * waits to get back, a message of control, an answer of NVSP's. Settling does what was noted; it
 * holds the sending side, too. Where there is no room for another note, and behind each message of
 * control, receiving stops until that is done.
 *
 * A packet is given back when its last frame has been asked past, so that the port is done with it.
 */
#include "network/netvsc_private.h"

static void violation(struct netvsc_channel *channel, const char *what)
{
	netvsc_violation(channel->netvsc, &channel->receive_counters.violations, what);
}

static void broken(struct netvsc_channel *channel)
{
	if (!channel->receive_broken)
		violation(channel, "the ring from it is broken");
	channel->receive_broken = true;
	channel->events |= NETVSC_EVENT_BROKEN;
}

/* ---- frames ---- */

/* What is said of one message's data. */
struct info {
	uint32_t checksum, vlan, hash, hash_type;
	struct rndis_packet_id id;
	bool has_vlan, has_hash;
};

static void take_info(struct info *info, uint32_t type, uint32_t value)
{
	switch (type) {
	case RNDIS_INFO_CHECKSUM:
		info->checksum = value;
		break;
	case RNDIS_INFO_VLAN:
		info->vlan = value;
		info->has_vlan = true;
		break;
	case RNDIS_INFO_HASH_VALUE:
		info->hash = value;
		info->has_hash = true;
		break;
	case RNDIS_INFO_HASH_INFO:
		info->hash_type = value;
		break;
	case (uint32_t)RNDIS_INFO_PACKET_ID:
		memcpy(&info->id, &value, sizeof(info->id));
		break;
	}
}

/* @at is a private copy. Returns false where it is not a list of what it should be. */
static bool read_info(const uint8_t *at, uint32_t bytes, struct info *info)
{
	while (bytes) {
		struct rndis_packet_info head;
		uint32_t value;

		if (bytes < sizeof(head))
			return false;
		memcpy(&head, at, sizeof(head));
		if (head.bytes < sizeof(head) || head.bytes > bytes || head.offset > head.bytes)
			return false;
		if (head.bytes - head.offset >= sizeof(value)) {
			memcpy(&value, at + head.offset, sizeof(value));
			take_info(info, head.type, value);
		}
		at += head.bytes;
		bytes -= head.bytes;
	}
	return true;
}

/* Behind the header of a message of @body_bytes bytes at @body, which is shared. */
static const char *read_packet(struct netvsc_channel *channel, const uint8_t *body,
			       uint32_t body_bytes, struct rndis_packet *packet, struct info *info)
{
	memset(info, 0, sizeof(*info));
	if (body_bytes < sizeof(*packet))
		return "a frame's message is cut short";
	netvsc_copy_in(packet, body, sizeof(*packet));
	if (!packet->data_bytes || packet->data_offset > body_bytes ||
	    packet->data_bytes > body_bytes - packet->data_offset)
		return "a frame is not in its message";
	if (!packet->info_offset || !packet->info_bytes)
		return NULL;
	if (packet->info_offset < sizeof(*packet) || packet->info_offset > body_bytes ||
	    packet->info_bytes > body_bytes - packet->info_offset ||
	    packet->info_bytes > sizeof(channel->info))
		return "per-packet information is not in its message";
	netvsc_copy_in(channel->info, body + packet->info_offset, packet->info_bytes);
	if (!read_info(channel->info, packet->info_bytes, info))
		return "per-packet information out of form";
	return NULL;
}

static uint16_t vlan_tci(uint32_t value)
{
	return (uint16_t)((value & RNDIS_VLAN_PRIORITY_MASK) << 13 |
			  (value & RNDIS_VLAN_DEI ? 0x1000 : 0) |
			  (value >> RNDIS_VLAN_ID_SHIFT & RNDIS_VLAN_ID_MASK));
}

static void begin_frame(struct netvsc_channel *channel, const struct info *info)
{
	channel->frame = (struct netvsc_frame){
		.parts = channel->parts,
		.checksum = info->checksum,
		.has_hash = info->has_hash,
		.hash = info->hash,
		.hash_type = info->hash_type,
		.has_vlan = info->has_vlan,
		.vlan_tci = vlan_tci(info->vlan),
	};
}

static void drop_frame(struct netvsc_channel *channel)
{
	channel->frame.part_count = 0;
}

static const char *add_part(struct netvsc_channel *channel, const uint8_t *data, uint32_t bytes)
{
	struct netvsc_frame *frame = &channel->frame;

	if (frame->part_count == NETVSC_PARTS_MAX)
		return "a frame in too many parts";
	if (bytes > NETVSC_FRAME_BYTES_MAX - frame->bytes)
		return "a frame that is too long";
	channel->parts[frame->part_count++] = (struct netvsc_part){ data, bytes };
	frame->bytes += bytes;
	return NULL;
}

/* Puts frames of several parts together; *out_whole where one is complete. */
static const char *take_data(struct netvsc_channel *channel, const uint8_t *data, uint32_t bytes,
			     const struct info *info, bool *out_whole)
{
	bool split = info->id.flags & RNDIS_PACKET_ID_SPLIT;
	bool first = !split || (info->id.flags & RNDIS_PACKET_ID_FIRST);
	bool last = !split || (info->id.flags & RNDIS_PACKET_ID_LAST);
	const char *wrong;

	if (!first && !channel->frame.part_count)
		return "a part of a frame that did not begin";
	if (first && channel->frame.part_count)
		return "a frame begins before the last one's end";
	if (first)
		begin_frame(channel, info);
	wrong = add_part(channel, data, bytes);
	if (wrong || !last)
		return wrong;
	if (channel->frame.bytes < NETVSC_ETHERNET_BYTES)
		return "a frame that is too short";
	*out_whole = true;
	return NULL;
}

static bool take_frame(struct netvsc_channel *channel, const uint8_t *body, uint32_t body_bytes,
		       struct netvsc_frame *out_frame)
{
	struct rndis_packet packet;
	bool whole = false;
	struct info info;
	const char *wrong = read_packet(channel, body, body_bytes, &packet, &info);

	if (likely(!wrong))
		wrong = take_data(channel, body + packet.data_offset, packet.data_bytes, &info,
				  &whole);
	if (unlikely(wrong)) {
		violation(channel, wrong);
		drop_frame(channel);
		channel->packet_failed = true;
		return false;
	}
	if (!whole)
		return false;
	*out_frame = channel->frame;
	channel->receive_counters.frames++;
	channel->receive_counters.bytes += out_frame->bytes;
	channel->receive_counters.coalesced += out_frame->part_count > 1;
	drop_frame(channel);
	return true;
}

/* ---- messages ---- */

/* Keep it for settling. Its header says a length that may be less than what is there. */
static void take_control(struct netvsc_channel *channel, const uint8_t *message, uint32_t bytes)
{
	struct netvsc *netvsc = channel->netvsc;

	if (channel->index) {
		violation(channel, "a message of control on a sub-channel");
		channel->packet_failed = true;
		return;
	}
	if (bytes > sizeof(netvsc->message))
		bytes = sizeof(netvsc->message);
	netvsc_copy_in(netvsc->message, message, bytes);
	netvsc->message_bytes = bytes;
	channel->stopped = true;
}

/* One range of a packet. Returns true where a frame is complete. */
static bool take_range(struct netvsc_channel *channel, const struct vmbus_transfer_range *range,
		       struct netvsc_frame *out_frame)
{
	const struct netvsc *netvsc = channel->netvsc;
	const uint8_t *message = netvsc->receive_buffer.memory + range->byte_offset;
	const char *wrong = NULL;
	struct rndis_header header;

	if (range->byte_offset > netvsc->receive_buffer.bytes ||
	    range->byte_count > netvsc->receive_buffer.bytes - range->byte_offset ||
	    range->byte_count > netvsc->sub_bytes)
		wrong = "a message that is not in the receive buffer";
	else if (range->byte_count < sizeof(header))
		wrong = "a message without a header";
	if (unlikely(wrong))
		goto drop;
	netvsc_copy_in(&header, message, sizeof(header));
	if (unlikely(header.bytes < sizeof(header) || header.bytes > range->byte_count)) {
		wrong = "a message that says a wrong length";
		goto drop;
	}
	if (likely(header.type == RNDIS_PACKET))
		return take_frame(channel, message + sizeof(header),
				  range->byte_count - (uint32_t)sizeof(header), out_frame);
	take_control(channel, message, range->byte_count);
	return false;

drop:
	violation(channel, wrong);
	drop_frame(channel);
	channel->packet_failed = true;
	return false;
}

/* ---- packets ---- */

static void give_back(struct netvsc_channel *channel, const struct vmbus_packet *packet, bool good)
{
	channel->completions[channel->completion_count++] = (struct netvsc_completion){
		packet->id, good ? NVSP_STATUS_SUCCESS : NVSP_STATUS_FAILURE, packet->range_count,
	};
}

static void begin_transfer(struct netvsc_channel *channel, const struct vmbus_packet *packet)
{
	uint32_t type = 0;

	if (packet->payload_bytes >= sizeof(type))
		memcpy(&type, packet->payload, sizeof(type));
	if (unlikely(type != NVSP_SEND_RNDIS_PACKET ||
		     packet->transfer_set_id != NVSP_RECEIVE_BUFFER_ID ||
		     !channel->netvsc->receive_buffer.memory || !channel->netvsc->sub_bytes)) {
		violation(channel, "a packet of what is not the receive buffer");
		give_back(channel, packet, false);
		return;
	}
	channel->in_packet = true;
	channel->packet_failed = false;
	channel->packet = *packet;
	channel->ranges = vmbus_packet_ranges(packet);
	channel->receive_counters.packets++;
}

static void end_transfer(struct netvsc_channel *channel)
{
	if (unlikely(channel->frame.part_count)) {
		violation(channel, "a frame without an end");
		drop_frame(channel);
		channel->packet_failed = true;
	}
	give_back(channel, &channel->packet, !channel->packet_failed);
	channel->in_packet = false;
}

/* The next frame of the packet that was begun; false: it has no more, or something stopped it. */
static bool next_of_packet(struct netvsc_channel *channel, struct netvsc_frame *out_frame)
{
	struct vmbus_transfer_range range;

	while (!channel->stopped) {
		if (!vmbus_packet_next_transfer(&channel->ranges, &range)) {
			end_transfer(channel);
			return false;
		}
		if (take_range(channel, &range, out_frame))
			return true;
	}
	return false;
}

static bool is_nvsp_answer(uint32_t type)
{
	return type == NVSP_INIT_COMPLETE || type == NVSP_SEND_RECEIVE_BUFFER_COMPLETE ||
	       type == NVSP_SEND_SEND_BUFFER_COMPLETE || type == NVSP_SUB_CHANNEL;
}

static void take_answer(struct netvsc_channel *channel, const struct vmbus_packet *packet)
{
	struct netvsc *netvsc = channel->netvsc;
	struct nvsp_message message = { .type = 0 };
	uint32_t bytes = packet->payload_bytes;

	if (bytes > sizeof(message))
		bytes = sizeof(message);
	memcpy(&message, packet->payload, bytes);
	if (unlikely(is_nvsp_answer(message.type) && !channel->index)) {
		netvsc->nvsp_answer = message;
		netvsc->nvsp_answer_bytes = bytes;
		netvsc->nvsp_answer_id = packet->id;
		channel->stopped = true;
		return;
	}
	if (unlikely(message.type != NVSP_SEND_RNDIS_PACKET_COMPLETE ||
		     bytes < sizeof(message.type) + sizeof(message.rndis_packet_complete))) {
		violation(channel, "a completion that says nothing");
		message.rndis_packet_complete.status = NVSP_STATUS_NONE;
	}
	channel->answers[channel->answer_count++] = (struct netvsc_completion){
		packet->id, message.rndis_packet_complete.status,
	};
}

/*
 * Hosts up to version 6 may name a wrong offset, where the table is behind the longest message.
 * Source: [linux 7.3 netvsc.c netvsc_send_table]
 */
static void take_send_table(struct netvsc_channel *channel, const struct nvsp_message *message,
			    const struct vmbus_packet *packet)
{
	struct netvsc *netvsc = channel->netvsc;
	uint32_t offset = message->indirection_table.offset;
	uint32_t table[NVSP_SEND_TABLE_COUNT];

	if (netvsc->version <= NVSP_VERSION_6 &&
	    packet->payload_bytes >= NVSP_MESSAGE_BYTES_6_1 + sizeof(table))
		offset = NVSP_MESSAGE_BYTES_6_1;
	if (message->indirection_table.count != NVSP_SEND_TABLE_COUNT ||
	    packet->payload_bytes < sizeof(table) ||
	    offset > packet->payload_bytes - sizeof(table)) {
		violation(channel, "a send table that cannot be");
		return;
	}
	memcpy(table, packet->payload + offset, sizeof(table));
	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		os_write_once(netvsc->send_table[i], table[i] % NETVSC_CHANNELS_MAX);
	channel->events |= NETVSC_EVENT_SEND_TABLE;
}

static void take_news(struct netvsc_channel *channel, const struct vmbus_packet *packet)
{
	struct nvsp_message message = { .type = 0 };
	uint32_t bytes = packet->payload_bytes;

	if (bytes > sizeof(message))
		bytes = sizeof(message);
	memcpy(&message, packet->payload, bytes);
	if (message.type == NVSP_SEND_INDIRECTION_TABLE && !channel->index &&
	    bytes >= sizeof(message.type) + sizeof(message.indirection_table))
		take_send_table(channel, &message, packet);
	else if (message.type != NVSP_SEND_VF_ASSOCIATION || channel->index)
		violation(channel, "a message that no host sends");
}

static void take_packet(struct netvsc_channel *channel, uint32_t bytes)
{
	struct vmbus_packet packet;

	if (unlikely(vmbus_packet_parse(channel->buffer, bytes, &packet))) {
		violation(channel, "a packet out of form");
		return;
	}
	switch (packet.type) {
	case VMBUS_PACKET_TRANSFER_PAGES:
		begin_transfer(channel, &packet);
		return;
	case VMBUS_PACKET_COMPLETION:
		take_answer(channel, &packet);
		return;
	case VMBUS_PACKET_IN_BAND:
		take_news(channel, &packet);
		return;
	default:
		violation(channel, "a packet of a type that no host sends");
	}
}

/* No room for another note of each kind. */
static bool notes_full(const struct netvsc_channel *channel)
{
	return channel->completion_count == NETVSC_NOTES_MAX ||
	       channel->answer_count == NETVSC_NOTES_MAX;
}

bool netvsc_channel_next(struct netvsc_channel *channel, struct netvsc_frame *out_frame)
{
	uint32_t bytes;
	int error;

	if (!channel->open)
		return false;
	for (;;) {
		if (channel->stopped)
			return false;
		/* Also when a packet under way can end. */
		if (unlikely(notes_full(channel))) {
			channel->stopped = true;
			return false;
		}
		if (channel->in_packet) {
			if (next_of_packet(channel, out_frame))
				return true;
			continue;
		}
		error = vmbus_ring_read(channel->from_host, channel->buffer,
					sizeof(channel->buffer), &bytes);
		if (error == -LIS_EMPTY)
			return false;
		if (unlikely(error)) {
			broken(channel);
			return false;
		}
		take_packet(channel, bytes);
	}
}

void netvsc_channel_mask(struct netvsc_channel *channel)
{
	if (channel->open)
		vmbus_ring_reader_mask(channel->from_host);
}

bool netvsc_channel_unmask(struct netvsc_channel *channel)
{
	/* A ring that is broken is always ready; nothing more comes out of it. */
	if (!channel->open || channel->receive_broken)
		return false;
	/* What is stopped now waits for room in the other ring, and the host tells of that. */
	return vmbus_ring_reader_unmask(channel->from_host) && !channel->stopped;
}

/* ---- settling ---- */

static uint32_t settle_answers(struct netvsc_channel *channel, uint64_t now_ns)
{
	uint32_t events = 0;

	for (uint32_t i = 0; i < channel->answer_count; i++)
		events |= netvsc_end_flight(channel, channel->answers[i].id,
					    channel->answers[i].status, now_ns);
	channel->answer_count = 0;
	return events;
}

/* Its flight must be one of NVSP's: whoever answers frames so is not understood. */
static uint32_t settle_nvsp_answer(struct netvsc_channel *channel, uint64_t now_ns)
{
	struct netvsc *netvsc = channel->netvsc;
	uint32_t bytes = netvsc->nvsp_answer_bytes;
	uint64_t id = netvsc->nvsp_answer_id;

	if (channel->index || !bytes)
		return 0;
	netvsc->nvsp_answer_bytes = 0;
	if (!vmbus_requests_find(&channel->requests, id) ||
	    channel->flights[(uint32_t)id - 1].kind != NETVSC_FLIGHT_NVSP)
		return netvsc_end_flight(channel, id, NVSP_STATUS_NONE, now_ns);
	vmbus_requests_remove(&channel->requests, id);
	return netvsc_control_answered(netvsc, id, &netvsc->nvsp_answer, bytes, now_ns);
}

static uint32_t settle_message(struct netvsc_channel *channel, uint64_t now_ns)
{
	struct netvsc *netvsc = channel->netvsc;
	uint32_t events;

	if (channel->index || !netvsc->message_bytes)
		return 0;
	events = netvsc_control_message(netvsc, now_ns);
	netvsc->message_bytes = 0;
	return events;
}

/* Those for which there is no room stay; the host tells when there is. */
static void settle_completions(struct netvsc_channel *channel)
{
	uint32_t count = channel->completion_count, sent;

	for (sent = 0; sent < count; sent++) {
		const struct nvsp_message message = {
			.type = NVSP_SEND_RNDIS_PACKET_COMPLETE,
			.rndis_packet_complete.status = channel->completions[sent].status,
		};
		const struct vmbus_piece piece = {
			&message, sizeof(message.type) + sizeof(message.rndis_packet_complete),
		};
		const struct vmbus_packet_out packet =
			vmbus_packet_completion(channel->completions[sent].id, &piece, 1);
		int error = vmbus_ring_write(channel->to_host, &packet);

		if (error == -LIS_FULL)
			break;
		if (error)
			netvsc_send_broken(channel);
		channel->late_ranges += channel->completions[sent].ranges;
		channel->late_bytes += (uint32_t)vmbus_packet_ring_bytes(0, piece.bytes);
	}
	if (unlikely(sent < count))
		memmove(channel->completions, channel->completions + sent,
			(count - sent) * sizeof(channel->completions[0]));
	channel->completion_count = count - sent;
}

/*
 * What the host gets back it does not need at once: may it find it when it wakes for something else? Not
 * where it has little left, nor with anything else in the ring.
 */
static bool may_be_late(const struct netvsc_channel *channel)
{
	/* [policy] All channels together keep an eighth at most. */
	uint32_t few = channel->netvsc->sub_count / 8 / NETVSC_CHANNELS_MAX;

	return !channel->completion_count && channel->late_ranges && channel->late_ranges <= channel->late_max &&
	       channel->late_ranges <= few &&
	       channel->late_bytes == vmbus_ring_writer_unpublished_bytes(channel->to_host);
}

static uint32_t show_host(struct netvsc_channel *channel, bool signalled)
{
	if (!signalled && may_be_late(channel)) {
		vmbus_ring_writer_expose(channel->to_host);
		return NETVSC_EVENT_LATE;
	}
	return netvsc_publish(channel) ? NETVSC_EVENT_SIGNAL : 0;
}

uint32_t netvsc_channel_settle(struct netvsc_channel *channel, uint64_t now_ns)
{
	uint32_t events = channel->events;

	if (!channel->open)
		return 0;
	channel->events = 0;
	settle_completions(channel);
	events |= settle_answers(channel, now_ns);
	events |= settle_nvsp_answer(channel, now_ns);
	events |= settle_message(channel, now_ns);
	events |= netvsc_look_for_room(channel);
	if (unlikely(channel->send_broken))
		events |= NETVSC_EVENT_BROKEN;
	if (channel->stopped && !notes_full(channel)) {
		channel->stopped = false;
		events |= NETVSC_EVENT_MORE;
	}
	if (vmbus_ring_reader_publish(channel->from_host))
		events |= NETVSC_EVENT_SIGNAL;
	return events | show_host(channel, events & NETVSC_EVENT_SIGNAL);
}

bool netvsc_idle(const struct netvsc_channel *channel)
{
	return !channel->open ||
	       (!channel->requests.used_count && !channel->completion_count && !channel->late_ranges &&
		!channel->in_packet && channel->batch.section == NVSP_SECTION_NONE);
}
