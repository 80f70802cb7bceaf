/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The network end of a scripted guest: what it sends. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/loopback/netvsp_guest.h"

/* Transaction ids of calls; tests use smaller ones. */
#define CALL_ID (1ull << 40)
#define CONTROL_PAGES 16u

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int netvsp_guest_put(struct netvsp_guest *guest, uint32_t channel,
		     const struct vmbus_packet_out *packet)
{
	struct mini_channel *mini = &guest->channels[channel];
	int err = vmbus_ring_write(&mini->to_host, packet);

	if (vmbus_ring_writer_publish(&mini->to_host))
		mini_signal(mini);
	return err;
}

int netvsp_guest_send_nvsp(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
			   const struct nvsp_message *message, bool completion)
{
	struct vmbus_piece piece = { message, guest->message_bytes };
	struct vmbus_packet_out out = vmbus_packet_in_band(id, completion, &piece, 1);

	return netvsp_guest_put(guest, channel, &out);
}

int netvsp_guest_complete(struct netvsp_guest *guest, uint32_t channel, uint64_t id)
{
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET_COMPLETE,
		.rndis_packet_complete = { NVSP_STATUS_SUCCESS },
	};
	struct vmbus_piece piece = { &message, guest->message_bytes };
	struct vmbus_packet_out out = vmbus_packet_completion(id, &piece, 1);

	return netvsp_guest_put(guest, channel, &out);
}

static bool find_completion(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
			    struct netvsp_guest_completion *out_completion)
{
	struct netvsp_guest_completion **at = &guest->completions, *found;

	while (*at && ((*at)->id != id || (*at)->channel != channel))
		at = &(*at)->next;
	found = *at;
	if (!found)
		return false;
	*at = found->next;
	*out_completion = *found;
	free(found);
	return true;
}

int netvsp_guest_wait(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
		      struct netvsp_guest_completion *out_completion)
{
	uint64_t until_ms = now_ms() + MINI_WAIT_MS;

	do {
		netvsp_guest_poll(guest);
		if (find_completion(guest, channel, id, out_completion))
			return 0;
		if (guest->problem)
			return -LIS_CORRUPT;
		guest->mini.pump(guest->mini.pump_arg);
	} while (now_ms() < until_ms);
	return -LIS_TIMEOUT;
}

int netvsp_guest_call(struct netvsp_guest *guest, const struct nvsp_message *message,
		      struct netvsp_guest_completion *out_completion)
{
	uint64_t id = CALL_ID + guest->next_request++;
	int err = netvsp_guest_send_nvsp(guest, 0, id, message, true);

	return err ? err : netvsp_guest_wait(guest, 0, id, out_completion);
}

/* ---- set-up ---- */

int netvsp_guest_open(struct netvsp_guest *guest, uint32_t index)
{
	const struct vmbus_msg_offer_channel *offer;
	int err;

	mini_release_rescinded(&guest->mini);
	offer = mini_find_offer(&guest->mini, &guest->instance_id, (uint16_t)index);
	if (!offer)
		return -LIS_NOTFOUND;
	err = mini_open(&guest->mini, offer, guest->ring_pages, &guest->channels[index]);
	guest->open[index] = !err;
	return err;
}

void netvsp_guest_close(struct netvsp_guest *guest, uint32_t index)
{
	if (!guest->open[index])
		return;
	guest->open[index] = false;
	(void)!mini_close(&guest->channels[index]);
	free(guest->partial[index]);
	guest->partial[index] = NULL;
}

int netvsp_guest_version(struct netvsp_guest *guest, uint32_t version)
{
	struct nvsp_message message = { .type = NVSP_INIT, .init = { version, version } };
	struct netvsp_guest_completion completion;
	int err = netvsp_guest_call(guest, &message, &completion);

	if (err)
		return err;
	if (completion.message.type != NVSP_INIT_COMPLETE)
		return -LIS_CORRUPT;
	if (completion.message.init_complete.status != NVSP_STATUS_SUCCESS)
		return -LIS_REFUSED;
	guest->version = version;
	return 0;
}

int netvsp_guest_config(struct netvsp_guest *guest, uint32_t mtu_bytes, uint32_t capabilities)
{
	struct nvsp_message ndis = { .type = NVSP_SEND_NDIS_VERSION, .ndis_version = { 6, 30 } };
	struct nvsp_message config = {
		.type = NVSP_SEND_NDIS_CONFIG,
		.ndis_config = { .mtu_bytes = mtu_bytes, .capabilities = capabilities },
	};
	int err = netvsp_guest_send_nvsp(guest, 0, 0, &config, false);

	return err ? err : netvsp_guest_send_nvsp(guest, 0, 0, &ndis, false);
}

int netvsp_guest_give_receive(struct netvsp_guest *guest, uint32_t gpadl_id)
{
	struct nvsp_message message = {
		.type = NVSP_SEND_RECEIVE_BUFFER,
		.buffer = { .gpadl_id = gpadl_id, .id = NVSP_RECEIVE_BUFFER_ID },
	};
	struct netvsp_guest_completion completion;
	const struct nvsp_receive_buffer_complete *complete;
	int err = netvsp_guest_call(guest, &message, &completion);

	if (err)
		return err;
	complete = &completion.message.receive_buffer_complete;
	if (completion.message.type != NVSP_SEND_RECEIVE_BUFFER_COMPLETE)
		return -LIS_CORRUPT;
	if (complete->status != NVSP_STATUS_SUCCESS)
		return -LIS_REFUSED;
	if (complete->section_count != 1 || complete->section.offset ||
	    !complete->section.sub_allocation_bytes ||
	    (uint64_t)complete->section.sub_allocation_bytes *
		    complete->section.sub_allocation_count > guest->receive.bytes)
		return -LIS_CORRUPT;
	guest->sub_bytes = complete->section.sub_allocation_bytes;
	guest->sub_count = complete->section.sub_allocation_count;
	free(guest->sub_holder);
	guest->sub_holder = calloc(guest->sub_count, sizeof(guest->sub_holder[0]));
	return guest->sub_holder ? 0 : -LIS_NOMEM;
}

int netvsp_guest_give_send(struct netvsp_guest *guest, uint32_t gpadl_id)
{
	struct nvsp_message message = {
		.type = NVSP_SEND_SEND_BUFFER,
		.buffer = { .gpadl_id = gpadl_id, .id = NVSP_SEND_BUFFER_ID },
	};
	struct netvsp_guest_completion completion;
	int err = netvsp_guest_call(guest, &message, &completion);

	if (err)
		return err;
	if (completion.message.type != NVSP_SEND_SEND_BUFFER_COMPLETE)
		return -LIS_CORRUPT;
	if (completion.message.send_buffer_complete.status != NVSP_STATUS_SUCCESS)
		return -LIS_REFUSED;
	guest->section_bytes = completion.message.send_buffer_complete.section_bytes;
	return guest->section_bytes ? 0 : -LIS_CORRUPT;
}

int netvsp_guest_revoke(struct netvsp_guest *guest, bool receive)
{
	struct nvsp_message message = {
		.type = receive ? NVSP_REVOKE_RECEIVE_BUFFER : NVSP_REVOKE_SEND_BUFFER,
		.revoke.id = receive ? NVSP_RECEIVE_BUFFER_ID : NVSP_SEND_BUFFER_ID,
	};

	return netvsp_guest_send_nvsp(guest, 0, 0, &message, false);
}

int netvsp_guest_sub_channels(struct netvsp_guest *guest, uint32_t count)
{
	struct nvsp_message message = {
		.type = NVSP_SUB_CHANNEL,
		.sub_channel_request = { NVSP_SUB_CHANNEL_ALLOCATE, count },
	};
	struct netvsp_guest_completion completion;
	int err = netvsp_guest_call(guest, &message, &completion);

	if (err)
		return err;
	if (completion.message.type != NVSP_SUB_CHANNEL)
		return -LIS_CORRUPT;
	if (completion.message.sub_channel_complete.status != NVSP_STATUS_SUCCESS)
		return -LIS_REFUSED;
	return (int)completion.message.sub_channel_complete.count;
}

/* ---- control ---- */

int netvsp_guest_send_control(struct netvsp_guest *guest, uint64_t id, const void *message,
			      uint32_t bytes)
{
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_CONTROL, NVSP_SECTION_NONE, 0 },
	};
	struct vmbus_piece piece = { &nvsp, guest->message_bytes };
	uint32_t page = (uint32_t)(id % (CONTROL_PAGES / 2)) * 2;
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[8];
	int err;

	if (!guest->control.pages) {
		err = netvsp_guest_alloc(guest, CONTROL_PAGES, &guest->control);
		if (err)
			return err;
	}
	netvsp_guest_write(&guest->control, page * HV_PAGE_BYTES, message, bytes);
	err = vmbus_gpa_head_begin(&builder, head, sizeof(head));
	if (!err)
		err = vmbus_gpa_head_add(&builder, bytes, 0, &guest->control.pfns[page]);
	if (err)
		return err;
	out = vmbus_packet_gpa_direct(id, &builder, &piece, 1);
	return netvsp_guest_put(guest, 0, &out);
}

int netvsp_guest_rndis(struct netvsp_guest *guest, const void *message, uint32_t bytes,
		       struct netvsp_guest_control **out_answer)
{
	uint64_t id = CALL_ID + guest->next_request++, until_ms = now_ms() + MINI_WAIT_MS;
	struct netvsp_guest_completion completion;
	int err = netvsp_guest_send_control(guest, id, message, bytes);

	if (!err)
		err = netvsp_guest_wait(guest, 0, id, &completion);
	if (err)
		return err;
	if (completion.message.type != NVSP_SEND_RNDIS_PACKET_COMPLETE)
		return -LIS_CORRUPT;
	if (completion.message.rndis_packet_complete.status != NVSP_STATUS_SUCCESS)
		return -LIS_REFUSED;
	do {
		netvsp_guest_poll(guest);
		*out_answer = netvsp_guest_take_control(guest);
		if (*out_answer)
			return 0;
		guest->mini.pump(guest->mini.pump_arg);
	} while (now_ms() < until_ms && !guest->problem);
	return -LIS_TIMEOUT;
}

int netvsp_guest_initialize(struct netvsp_guest *guest)
{
	struct {
		struct rndis_header header;
		struct rndis_initialize body;
	} message = {
		{ RNDIS_INITIALIZE, sizeof(message) },
		{ 0x1234, RNDIS_MAJOR_VERSION, RNDIS_MINOR_VERSION, 2048 },
	};
	struct rndis_initialize_complete complete;
	struct netvsp_guest_control *answer;
	struct rndis_header header;
	int err = netvsp_guest_rndis(guest, &message, sizeof(message), &answer);

	if (err)
		return err;
	memcpy(&header, answer->message, sizeof(header));
	if (header.type == (RNDIS_INITIALIZE | RNDIS_COMPLETION) &&
	    header.bytes == sizeof(header) + sizeof(complete)) {
		memcpy(&complete, answer->message + sizeof(header), sizeof(complete));
		err = complete.request_id == 0x1234 && !complete.status ? 0 : -LIS_REFUSED;
	} else {
		err = -LIS_CORRUPT;
	}
	free(answer);
	return err;
}

/* QUERY or SET. */
static int request(struct netvsp_guest *guest, uint32_t type, uint32_t oid, const void *info,
		   uint32_t info_bytes, struct netvsp_guest_control **out_answer)
{
	struct rndis_header header = { type, sizeof(header) + sizeof(struct rndis_request) + info_bytes };
	struct rndis_request body = {
		.request_id = ++guest->next_request,
		.oid = oid,
		.info_bytes = info_bytes,
		.info_offset = info_bytes ? sizeof(body) : 0,
	};
	uint8_t message[NETVSP_GUEST_CONTROL_MAX];
	uint32_t id = body.request_id, answered;
	int err;

	if (header.bytes > sizeof(message))
		return -LIS_INVALID;
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), &body, sizeof(body));
	if (info_bytes)
		memcpy(message + sizeof(header) + sizeof(body), info, info_bytes);
	err = netvsp_guest_rndis(guest, message, header.bytes, out_answer);
	if (err)
		return err;
	memcpy(&header, (*out_answer)->message, sizeof(header));
	memcpy(&answered, (*out_answer)->message + sizeof(header), sizeof(answered));
	if (header.type == (type | RNDIS_COMPLETION) && answered == id)
		return 0;
	free(*out_answer);
	return -LIS_CORRUPT;
}

uint32_t netvsp_guest_query(struct netvsp_guest *guest, uint32_t oid, void *info, uint32_t *bytes)
{
	struct rndis_query_complete complete;
	struct netvsp_guest_control *answer;
	const uint32_t head = sizeof(struct rndis_header);

	if (request(guest, RNDIS_QUERY, oid, NULL, 0, &answer))
		return UINT32_MAX;
	memcpy(&complete, answer->message + head, sizeof(complete));
	if (complete.info_bytes &&
	    (complete.info_offset < sizeof(complete) ||
	     head + complete.info_offset + complete.info_bytes != answer->bytes ||
	     complete.info_bytes > *bytes))
		complete.status = UINT32_MAX;
	else
		memcpy(info, answer->message + head + complete.info_offset, complete.info_bytes);
	*bytes = complete.info_bytes;
	free(answer);
	return complete.status;
}

uint32_t netvsp_guest_set(struct netvsp_guest *guest, uint32_t oid, const void *info,
			  uint32_t bytes)
{
	struct rndis_status_complete complete;
	struct netvsp_guest_control *answer;

	if (request(guest, RNDIS_SET, oid, info, bytes, &answer))
		return UINT32_MAX;
	memcpy(&complete, answer->message + sizeof(struct rndis_header), sizeof(complete));
	free(answer);
	return complete.status;
}

/* ---- frames ---- */

static uint8_t *put_info(uint8_t *at, uint32_t type, uint32_t value)
{
	struct rndis_packet_info info = { 16, type, 12 };

	memcpy(at, &info, sizeof(info));
	memcpy(at + sizeof(info), &value, sizeof(value));
	return at + 16;
}

uint32_t netvsp_guest_message(const struct netvsp_guest_out *out, uint8_t *to)
{
	struct rndis_header header = { RNDIS_PACKET, 0 };
	struct rndis_packet packet = { .data_bytes = out->bytes };
	uint8_t *infos = to + sizeof(header) + sizeof(packet), *at = infos;

	if (out->has_vlan)
		at = put_info(at, RNDIS_INFO_VLAN, out->vlan);
	if (out->has_lso)
		at = put_info(at, RNDIS_INFO_LSO, out->lso);
	if (out->has_hash)
		at = put_info(at, RNDIS_INFO_HASH_VALUE, 0x5a5a5a5a);
	if (out->has_checksum)
		at = put_info(at, RNDIS_INFO_CHECKSUM, out->checksum);
	packet.info_bytes = (uint32_t)(at - infos);
	packet.info_offset = packet.info_bytes ? sizeof(packet) : 0;
	memset(at, 0xee, out->gap);
	at += out->gap;
	packet.data_offset = (uint32_t)(at - to - (ptrdiff_t)sizeof(header));
	memcpy(at, out->data, out->bytes);
	at += out->bytes;
	while ((at - to) % 8)
		*at++ = 0;
	header.bytes = (uint32_t)(at - to);
	memcpy(to, &header, sizeof(header));
	memcpy(to + sizeof(header), &packet, sizeof(packet));
	return header.bytes;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Ranges one behind the other in a slot's pages; each begins on a page of its own. */
static int add_ranges(struct netvsp_guest *guest, struct vmbus_head_builder *builder, uint32_t slot,
		      const uint8_t *from, uint32_t bytes, const struct netvsp_guest_way *way)
{
	uint32_t page = slot * NETVSP_GUEST_SLOT_PAGES, seed = way->seed;

	for (uint32_t left = way->ranges; bytes; left--) {
		uint32_t offset = way->seed ? next_random(&seed) % HV_PAGE_BYTES : 0;
		uint32_t piece = bytes, pages;
		int err;

		if (way->worst)
			offset = HV_PAGE_BYTES - 1;
		if (left > 1) {
			piece = bytes / left;
			if (way->seed && !way->worst)
				piece = 1 + next_random(&seed) % (2 * piece + 1);
			piece = piece < bytes - (left - 1) ? piece : 1;
		}
		pages = vmbus_gpa_pfn_count(piece, offset);
		if (page + pages > (slot + 1) * NETVSP_GUEST_SLOT_PAGES)
			return -LIS_INVALID;
		netvsp_guest_write(&guest->data, page * HV_PAGE_BYTES + offset, from, piece);
		err = vmbus_gpa_head_add(builder, piece, offset, &guest->data.pfns[page]);
		if (err)
			return err;
		page += pages;
		from += piece;
		bytes -= piece;
	}
	return 0;
}

int netvsp_guest_send(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
		      const uint8_t *messages, uint32_t bytes, const struct netvsp_guest_way *way)
{
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, way->section,
				  way->section == NVSP_SECTION_NONE ? 0 : way->section_bytes },
	};
	struct vmbus_piece piece = { &nvsp, guest->message_bytes };
	uint32_t in_section = nvsp.rndis_packet.send_section_bytes;
	uint64_t head[256];
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	int err = 0;

	if (!guest->data.pages)
		err = netvsp_guest_alloc(guest, NETVSP_GUEST_SLOTS * NETVSP_GUEST_SLOT_PAGES,
					 &guest->data);
	if (err)
		return err;
	if (in_section)
		netvsp_guest_write(&guest->send, way->section * guest->section_bytes, messages,
				   in_section);
	if (bytes == in_section) {
		out = vmbus_packet_in_band(id, true, &piece, 1);
		return netvsp_guest_put(guest, channel, &out);
	}
	err = vmbus_gpa_head_begin(&builder, head, sizeof(head));
	if (!err)
		err = add_ranges(guest, &builder, (uint32_t)(id % NETVSP_GUEST_SLOTS),
				 messages + in_section, bytes - in_section, way);
	if (err)
		return err;
	out = vmbus_packet_gpa_direct(id, &builder, &piece, 1);
	return netvsp_guest_put(guest, channel, &out);
}

uint32_t netvsp_guest_send_frame(struct netvsp_guest *guest, uint32_t channel,
				 const struct netvsp_guest_out *out)
{
	struct netvsp_guest_way way = { .section = NVSP_SECTION_NONE, .ranges = 1 };
	struct netvsp_guest_completion completion;
	uint64_t id = CALL_ID + guest->next_request++;
	static uint8_t message[70000];
	uint32_t bytes = netvsp_guest_message(out, message);

	if (guest->section_bytes && bytes <= guest->section_bytes)
		way = (struct netvsp_guest_way){ .section = 1, .section_bytes = bytes };
	if (netvsp_guest_send(guest, channel, id, message, bytes, &way) ||
	    netvsp_guest_wait(guest, channel, id, &completion) ||
	    completion.message.type != NVSP_SEND_RNDIS_PACKET_COMPLETE)
		return UINT32_MAX;
	return completion.message.rndis_packet_complete.status;
}
