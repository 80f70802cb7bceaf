/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The network end of a scripted guest: its memory, and what comes from the host. */
#include "tests/loopback/netvsp_guest.h"

#include <stdlib.h>
#include <string.h>

#define PACKET_BYTES_MAX 16384u
/* What a settled pair does not do any more, it does not do in so many rounds. */
#define QUIET_ROUNDS 8u

static void expect(struct netvsp_guest *guest, bool holds, const char *problem)
{
	if (!holds && !guest->problem)
		guest->problem = problem;
}

/* ---- memory ---- */

int netvsp_guest_alloc(struct netvsp_guest *guest, uint32_t pages, struct netvsp_guest_memory *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->hva = loopback_guest_alloc_pages(guest->mini.lo, pages, true, &memory->gpa);
	memory->pfns = calloc(pages, sizeof(*memory->pfns));
	if (!memory->hva || !memory->pfns) {
		free(memory->pfns);
		return -LIS_NOMEM;
	}
	memory->pages = pages;
	memory->bytes = pages * HV_PAGE_BYTES;
	for (uint32_t i = 0; i < pages; i++)
		memory->pfns[i] = (memory->gpa.value >> HV_PAGE_SHIFT) + pages - 1 - i;
	return 0;
}

void netvsp_guest_free(struct netvsp_guest *guest, struct netvsp_guest_memory *memory)
{
	if (memory->pages)
		loopback_guest_free_pages(guest->mini.lo, memory->gpa, memory->pages);
	free(memory->pfns);
	memset(memory, 0, sizeof(*memory));
}

static uint8_t *page_of(const struct netvsp_guest_memory *memory, uint32_t page)
{
	return memory->hva + (size_t)(memory->pages - 1 - page) * HV_PAGE_BYTES;
}

/* @at counts from the shared offset on. */
void netvsp_guest_write(const struct netvsp_guest_memory *memory, uint32_t at, const void *from,
			uint32_t bytes)
{
	for (at += memory->offset; bytes;) {
		uint32_t in_page = at % HV_PAGE_BYTES, piece = HV_PAGE_BYTES - in_page;

		piece = piece < bytes ? piece : bytes;
		memcpy(page_of(memory, at / HV_PAGE_BYTES) + in_page, from, piece);
		from = (const uint8_t *)from + piece;
		at += piece;
		bytes -= piece;
	}
}

void netvsp_guest_read(const struct netvsp_guest_memory *memory, uint32_t at, void *to,
		       uint32_t bytes)
{
	for (at += memory->offset; bytes;) {
		uint32_t in_page = at % HV_PAGE_BYTES, piece = HV_PAGE_BYTES - in_page;

		piece = piece < bytes ? piece : bytes;
		memcpy(to, page_of(memory, at / HV_PAGE_BYTES) + in_page, piece);
		to = (uint8_t *)to + piece;
		at += piece;
		bytes -= piece;
	}
}

int netvsp_guest_share(struct netvsp_guest *guest, struct netvsp_guest_memory *memory,
		       uint32_t offset, uint32_t bytes)
{
	uint64_t buffer[VMBUS_MESSAGE_BYTES_MAX / 8] = { 0 };
	struct vmbus_msg_gpadl_header *header = (void *)buffer;
	struct vmbus_msg_gpadl_body *body = (void *)buffer;
	struct vmbus_gpa_range range = { .byte_count = bytes, .byte_offset = offset };
	uint32_t pages = vmbus_gpa_pfn_count(bytes, offset), done = 0, room = 26;
	uint32_t id = ++guest->mini.next_gpadl;
	size_t head_bytes = sizeof(*header) + sizeof(range);
	struct vmbus_msg_gpadl_created created;
	int err = 0;

	header->header.type = VMBUS_MSG_GPADL_HEADER;
	header->channel_id = guest->channels[0].offer.channel_id;
	header->gpadl_id = id;
	header->range_bytes = (uint16_t)(8 + pages * 8);
	header->range_count = 1;
	memcpy((char *)buffer + sizeof(*header), &range, sizeof(range));
	while (!err && done < pages) {
		uint32_t now = pages - done < room ? pages - done : room;

		memcpy((char *)buffer + head_bytes, memory->pfns + done, now * 8);
		err = mini_post(&guest->mini, guest->mini.connection_id, buffer, head_bytes + now * 8);
		done += now;
		room = 28;
		head_bytes = sizeof(*body);
		memset(buffer, 0, sizeof(buffer));
		body->header.type = VMBUS_MSG_GPADL_BODY;
		body->gpadl_id = id;
	}
	if (!err)
		err = mini_expect(&guest->mini, VMBUS_MSG_GPADL_CREATED, &created, sizeof(created));
	if (err)
		return err;
	memory->gpadl_id = id;
	memory->offset = offset;
	memory->bytes = bytes;
	return created.gpadl_id == id && created.status == 0 ? 0 : -LIS_REFUSED;
}

/* ---- packets of the host ---- */

static void take_completion(struct netvsp_guest *guest, uint32_t channel,
			    const struct vmbus_packet *packet)
{
	struct netvsp_guest_completion **at = &guest->completions, *completion;
	uint32_t bytes = packet->payload_bytes;

	completion = calloc(1, sizeof(*completion));
	if (!completion)
		abort();
	while (*at)
		at = &(*at)->next;
	completion->channel = channel;
	completion->id = packet->id;
	completion->bytes = bytes;
	memcpy(&completion->message, packet->payload,
	       bytes < sizeof(completion->message) ? bytes : sizeof(completion->message));
	*at = completion;
}

static void take_in_band(struct netvsp_guest *guest, const struct vmbus_packet *packet)
{
	struct nvsp_message message;
	uint32_t bytes = packet->payload_bytes;

	expect(guest, bytes >= NVSP_MESSAGE_BYTES, "a message that is too short");
	if (bytes < sizeof(message))
		return;
	memcpy(&message, packet->payload, sizeof(message));
	expect(guest, message.type == NVSP_SEND_INDIRECTION_TABLE, "a message nobody asked for");
	if (message.type != NVSP_SEND_INDIRECTION_TABLE)
		return;
	expect(guest, message.indirection_table.count == NVSP_SEND_TABLE_COUNT &&
	       message.indirection_table.offset <= bytes - sizeof(guest->table),
	       "a table that is not in its message");
	if (guest->problem)
		return;
	memcpy(guest->table, packet->payload + message.indirection_table.offset,
	       sizeof(guest->table));
	guest->table_count++;
}

static void take_control(struct netvsp_guest *guest, uint32_t at, uint32_t bytes)
{
	struct netvsp_guest_control **last, *control;
	struct rndis_header header;

	expect(guest, bytes <= NETVSP_GUEST_CONTROL_MAX, "an answer that is too long");
	if (bytes > NETVSP_GUEST_CONTROL_MAX)
		return;
	control = malloc(sizeof(*control) + bytes);
	if (!control)
		abort();
	control->next = NULL;
	control->bytes = bytes;
	netvsp_guest_read(&guest->receive, at, control->message, bytes);
	memcpy(&header, control->message, sizeof(header));
	expect(guest, header.bytes == bytes, "an answer of another length than its packet says");
	last = header.type == RNDIS_INDICATE_STATUS ? &guest->indications : &guest->controls;
	while (*last)
		last = &(*last)->next;
	*last = control;
}

/* What is said beside a frame, or a piece of it. */
struct infos {
	struct netvsp_guest_frame said;
	bool has_id;
	struct rndis_packet_id id;
};

static void read_infos(struct netvsp_guest *guest, const uint8_t *at, uint32_t bytes,
		       struct infos *infos)
{
	while (bytes) {
		struct rndis_packet_info info;
		uint32_t value;

		expect(guest, bytes >= sizeof(info) + sizeof(value), "information that is cut short");
		if (guest->problem)
			return;
		memcpy(&info, at, sizeof(info));
		expect(guest, info.bytes >= sizeof(info) + sizeof(value) && info.bytes <= bytes &&
		       info.bytes % 4 == 0 && info.offset >= sizeof(info) &&
		       info.offset <= info.bytes - sizeof(value), "information of no length");
		if (guest->problem)
			return;
		memcpy(&value, at + info.offset, sizeof(value));
		if (info.type == RNDIS_INFO_CHECKSUM) {
			infos->said.has_checksum = true;
			infos->said.checksum = value;
		} else if (info.type == RNDIS_INFO_VLAN) {
			infos->said.has_vlan = true;
			infos->said.vlan = value;
		} else if (info.type == RNDIS_INFO_HASH_VALUE) {
			infos->said.has_hash = true;
			infos->said.hash = value;
		} else if (info.type == (uint32_t)RNDIS_INFO_PACKET_ID) {
			infos->has_id = true;
			memcpy(&infos->id, &value, sizeof(infos->id));
		} else {
			expect(guest, false, "unknown information");
		}
		at += info.bytes;
		bytes -= info.bytes;
	}
}

static struct netvsp_guest_frame *new_frame(uint32_t room)
{
	struct netvsp_guest_frame *frame = malloc(sizeof(*frame) + room);

	if (!frame)
		abort();
	memset(frame, 0, sizeof(*frame));
	frame->room = room;
	frame->data = (uint8_t *)(frame + 1);
	return frame;
}

static void add_data(struct netvsp_guest *guest, struct netvsp_guest_frame **frame, uint32_t at,
		     uint32_t bytes)
{
	if (bytes > (*frame)->room - (*frame)->bytes) {
		*frame = realloc(*frame, sizeof(**frame) + 70000);
		if (!*frame)
			abort();
		(*frame)->room = 70000;
		(*frame)->data = (uint8_t *)(*frame + 1);
	}
	expect(guest, bytes <= (*frame)->room - (*frame)->bytes, "a frame without end");
	if (guest->problem)
		return;
	netvsp_guest_read(&guest->receive, at, (*frame)->data + (*frame)->bytes, bytes);
	(*frame)->bytes += bytes;
	(*frame)->pieces++;
}

static void end_frame(struct netvsp_guest *guest, struct netvsp_guest_frame *frame)
{
	struct netvsp_guest_frame **last = &guest->frames;

	guest->frames_total++;
	if (guest->forget) {
		free(frame);
		return;
	}
	while (*last)
		last = &(*last)->next;
	*last = frame;
	guest->frame_count++;
}

static void take_piece(struct netvsp_guest *guest, uint32_t channel, const struct infos *infos,
		       uint32_t at, uint32_t bytes)
{
	struct netvsp_guest_frame **partial = &guest->partial[channel];
	const struct netvsp_guest_frame *said = &infos->said;
	uint32_t flags = infos->has_id ? infos->id.flags :
			 RNDIS_PACKET_ID_SPLIT | RNDIS_PACKET_ID_FIRST | RNDIS_PACKET_ID_LAST;

	expect(guest, !infos->has_id || infos->id.version == 1, "an unknown kind of packet id");
	expect(guest, flags & RNDIS_PACKET_ID_SPLIT, "a piece that is none");
	expect(guest, !(flags & RNDIS_PACKET_ID_FIRST) == !!*partial, "pieces out of order");
	if (guest->problem)
		return;
	if (flags & RNDIS_PACKET_ID_FIRST) {
		*partial = new_frame(bytes);
		(*partial)->channel = channel;
		(*partial)->has_checksum = said->has_checksum;
		(*partial)->checksum = said->checksum;
		(*partial)->has_vlan = said->has_vlan;
		(*partial)->vlan = said->vlan;
		(*partial)->has_hash = said->has_hash;
		(*partial)->hash = said->hash;
	}
	add_data(guest, partial, at, bytes);
	if (flags & RNDIS_PACKET_ID_LAST) {
		end_frame(guest, *partial);
		*partial = NULL;
	}
}

static void take_data(struct netvsp_guest *guest, uint32_t channel, uint32_t at, uint32_t bytes)
{
	const uint32_t head_bytes = sizeof(struct rndis_header);
	struct rndis_header header;
	struct rndis_packet packet;
	struct infos infos = { 0 };
	uint8_t buffer[256];
	uint32_t body;

	expect(guest, bytes >= head_bytes + sizeof(packet), "a message that is too short");
	if (guest->problem)
		return;
	netvsp_guest_read(&guest->receive, at, &header, sizeof(header));
	netvsp_guest_read(&guest->receive, at + head_bytes, &packet, sizeof(packet));
	body = bytes - head_bytes;
	expect(guest, header.type == RNDIS_PACKET, "data that are no packet");
	expect(guest, header.bytes == bytes, "a message of another length than its packet says");
	expect(guest, packet.data_offset <= body && packet.data_bytes <= body - packet.data_offset &&
	       packet.data_bytes > 0, "data outside their message");
	expect(guest, packet.info_offset <= body && packet.info_bytes <= body - packet.info_offset &&
	       packet.info_bytes <= sizeof(buffer), "information outside its message");
	expect(guest, !packet.info_bytes == !packet.info_offset, "information nowhere");
	expect(guest, !packet.info_bytes || (packet.info_offset >= sizeof(packet) &&
	       packet.info_offset + packet.info_bytes <= packet.data_offset),
	       "information over something else");
	expect(guest, packet.data_offset >= sizeof(packet), "data over the header");
	expect(guest, !packet.oob_bytes && !packet.oob_count && !packet.vc_handle, "odd fields");
	if (guest->problem)
		return;
	netvsp_guest_read(&guest->receive, at + head_bytes + packet.info_offset, buffer,
			  packet.info_bytes);
	read_infos(guest, buffer, packet.info_bytes, &infos);
	if (!guest->problem)
		take_piece(guest, channel, &infos, at + head_bytes + packet.data_offset,
			   packet.data_bytes);
}

/* A sub-allocation becomes the guest's. */
static bool take_range(struct netvsp_guest *guest, const struct vmbus_transfer_range *range,
		       uint64_t id)
{
	uint32_t sub = guest->sub_bytes ? range->byte_offset / guest->sub_bytes : 0;

	expect(guest, guest->sub_bytes && range->byte_offset % guest->sub_bytes == 0 &&
	       sub < guest->sub_count, "a range that begins at no sub-allocation");
	expect(guest, range->byte_count >= sizeof(struct rndis_header) &&
	       range->byte_count <= guest->sub_bytes, "a range longer than its sub-allocation");
	if (guest->problem)
		return false;
	expect(guest, !guest->sub_holder[sub], "a sub-allocation that is the guest's");
	guest->sub_holder[sub] = id + 1;
	return !guest->problem;
}

static void release_subs(struct netvsp_guest *guest, uint64_t id)
{
	for (uint32_t i = 0; i < guest->sub_count; i++) {
		if (guest->sub_holder[i] == id + 1)
			guest->sub_holder[i] = 0;
	}
}

static void give_back_now(struct netvsp_guest *guest, uint32_t channel, uint64_t id)
{
	if (netvsp_guest_complete(guest, channel, id)) {
		guest->unsent = true;
		guest->unsent_completion = (struct netvsp_guest_held){ channel, id };
	}
}

static void check_transfer(struct netvsp_guest *guest, const struct vmbus_packet *packet,
			   const struct nvsp_message *message)
{
	uint32_t bytes = guest->version >= NVSP_VERSION_6_1 ? NVSP_MESSAGE_BYTES_6_1 : 32;

	expect(guest, packet->transfer_set_id == NVSP_RECEIVE_BUFFER_ID, "ranges of another buffer");
	expect(guest, packet->flags & VMBUS_PACKET_FLAG_COMPLETION, "frames nobody gets back");
	expect(guest, packet->payload_bytes == bytes, "a message not as long as the version's");
	expect(guest, message->type == NVSP_SEND_RNDIS_PACKET, "ranges without RNDIS");
	expect(guest, message->rndis_packet.send_section_index == NVSP_SECTION_NONE,
	       "a section of the host's");
	expect(guest, message->rndis_packet.channel_type <= NVSP_RNDIS_CONTROL, "unknown kind of data");
	expect(guest, packet->range_count > 0 && packet->range_count <= NVSP_RECEIVE_RANGES_MAX,
	       "impossible number of ranges");
	for (uint32_t i = 0; i < guest->held_count; i++)
		expect(guest, guest->held[i].id != packet->id, "an id that is in use");
}

static void take_transfer(struct netvsp_guest *guest, uint32_t channel,
			  const struct vmbus_packet *packet)
{
	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(packet);
	struct vmbus_transfer_range range;
	struct nvsp_message message = { 0 };
	uint32_t bytes = packet->payload_bytes;

	memcpy(&message, packet->payload, bytes < sizeof(message) ? bytes : sizeof(message));
	check_transfer(guest, packet, &message);
	while (!guest->problem && vmbus_packet_next_transfer(&ranges, &range)) {
		if (!take_range(guest, &range, packet->id))
			return;
		if (message.rndis_packet.channel_type == NVSP_RNDIS_CONTROL)
			take_control(guest, range.byte_offset, range.byte_count);
		else
			take_data(guest, channel, range.byte_offset, range.byte_count);
	}
	expect(guest, !guest->partial[channel], "a frame that does not end in its packet");
	guest->packets_total++;
	if (guest->keep && (!guest->keep_channels || (guest->keep_channels & 1u << channel))) {
		expect(guest, guest->held_count < NETVSP_GUEST_HELD_MAX, "too many packets to keep");
		if (!guest->problem)
			guest->held[guest->held_count++] =
				(struct netvsp_guest_held){ channel, packet->id };
		return;
	}
	ranges = vmbus_packet_ranges(packet);
	while (!guest->problem && vmbus_packet_next_transfer(&ranges, &range))
		guest->sub_holder[range.byte_offset / guest->sub_bytes] = 0;
	give_back_now(guest, channel, packet->id);
}

static bool take_packet(struct netvsp_guest *guest, uint32_t channel)
{
	uint64_t buffer[PACKET_BYTES_MAX / 8];
	struct vmbus_packet packet;
	uint32_t bytes;
	int err = vmbus_ring_read(&guest->channels[channel].from_host, buffer, sizeof(buffer), &bytes);

	if (err == -LIS_EMPTY)
		return false;
	if (!err)
		err = vmbus_packet_parse(buffer, bytes, &packet);
	expect(guest, !err, "a packet that is none");
	if (err)
		return false;
	switch (packet.type) {
	case VMBUS_PACKET_COMPLETION:
		take_completion(guest, channel, &packet);
		break;
	case VMBUS_PACKET_IN_BAND:
		take_in_band(guest, &packet);
		break;
	case VMBUS_PACKET_TRANSFER_PAGES:
		take_transfer(guest, channel, &packet);
		break;
	default:
		expect(guest, false, "a packet of another kind");
	}
	return !guest->problem;
}

uint32_t netvsp_guest_poll(struct netvsp_guest *guest)
{
	uint32_t count = 0;

	if (guest->unsent) {
		guest->unsent = false;
		give_back_now(guest, guest->unsent_completion.channel, guest->unsent_completion.id);
	}
	for (uint32_t i = 0; i < NETVSP_GUEST_CHANNELS; i++) {
		while (guest->open[i] && !guest->unsent && take_packet(guest, i))
			count++;
		if (guest->open[i] && vmbus_ring_reader_publish(&guest->channels[i].from_host))
			mini_signal(&guest->channels[i]);
	}
	return count;
}

void netvsp_guest_settle(struct netvsp_guest *guest)
{
	for (uint32_t quiet = 0; quiet < QUIET_ROUNDS && !guest->problem; quiet++) {
		guest->mini.pump(guest->mini.pump_arg);
		if (netvsp_guest_poll(guest))
			quiet = 0;
	}
}

void netvsp_guest_give_back(struct netvsp_guest *guest, uint32_t count)
{
	uint32_t done;

	for (done = 0; done < count && done < guest->held_count && !guest->unsent; done++) {
		release_subs(guest, guest->held[done].id);
		give_back_now(guest, guest->held[done].channel, guest->held[done].id);
	}
	guest->held_count -= done;
	memmove(guest->held, guest->held + done, guest->held_count * sizeof(guest->held[0]));
}

void netvsp_guest_forget_held(struct netvsp_guest *guest)
{
	guest->held_count = 0;
	guest->unsent = false;
	if (guest->sub_holder)
		memset(guest->sub_holder, 0, guest->sub_count * sizeof(guest->sub_holder[0]));
}

struct netvsp_guest_frame *netvsp_guest_take_frame(struct netvsp_guest *guest)
{
	struct netvsp_guest_frame *frame = guest->frames;

	if (!frame)
		return NULL;
	guest->frames = frame->next;
	guest->frame_count--;
	return frame;
}

struct netvsp_guest_control *netvsp_guest_take_control(struct netvsp_guest *guest)
{
	struct netvsp_guest_control *control = guest->controls;

	if (control)
		guest->controls = control->next;
	return control;
}

uint32_t netvsp_guest_take_indication(struct netvsp_guest *guest)
{
	struct netvsp_guest_control *control = guest->indications;
	struct rndis_indicate_status indication = { 0 };
	const uint32_t head = sizeof(struct rndis_header);

	if (!control)
		return 0;
	guest->indications = control->next;
	expect(guest, control->bytes >= head + sizeof(indication), "an indication that is too short");
	if (control->bytes >= head + sizeof(indication))
		memcpy(&indication, control->message + head, sizeof(indication));
	guest->indicated = 0;
	expect(guest, !indication.info_bytes ||
	       (indication.info_bytes == 4 && indication.info_offset >= sizeof(indication) &&
		indication.info_offset <= control->bytes - head - 4),
	       "an indication whose number lies elsewhere");
	if (indication.info_bytes && !guest->problem)
		memcpy(&guest->indicated, control->message + head + indication.info_offset, 4);
	free(control);
	return indication.status;
}

void netvsp_guest_drop(struct netvsp_guest *guest)
{
	while (guest->frames)
		free(netvsp_guest_take_frame(guest));
	while (guest->controls)
		free(netvsp_guest_take_control(guest));
	while (guest->indications)
		netvsp_guest_take_indication(guest);
	while (guest->completions) {
		struct netvsp_guest_completion *completion = guest->completions;

		guest->completions = completion->next;
		free(completion);
	}
	for (uint32_t i = 0; i < NETVSP_GUEST_CHANNELS; i++) {
		free(guest->partial[i]);
		guest->partial[i] = NULL;
	}
}
