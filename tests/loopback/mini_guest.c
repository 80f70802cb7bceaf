// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/loopback/mini_guest.h"

#include <sched.h>
#include <string.h>
#include <time.h>

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* One step of waiting; false when it has been long enough. */
static bool wait_step(struct mini_guest *guest, uint64_t until_ms)
{
	int err;

	if (guest->pump) {
		guest->pump(guest->pump_arg);
		return now_ms() < until_ms;
	}
	err = loopback_guest_wait(guest->lo, guest->vp, 20);
	return err == 0 || now_ms() < until_ms;
}

int mini_post(struct mini_guest *guest, uint32_t connection_id, const void *message, size_t bytes)
{
	uint64_t until_ms = now_ms() + MINI_WAIT_MS;
	int err;

	do {
		err = loopback_guest_post_message(guest->lo, connection_id, message, bytes);
		if (err != -LIS_FULL)
			return err;
		if (guest->pump)
			guest->pump(guest->pump_arg);
		else
			sched_yield();
	} while (now_ms() < until_ms);
	return -LIS_TIMEOUT;
}

static void note(struct mini_guest *guest, const void *message)
{
	const struct vmbus_message_header *header = message;

	if (header->type == VMBUS_MSG_OFFER_CHANNEL && guest->offer_count < MINI_OFFERS_MAX)
		memcpy(&guest->offers[guest->offer_count++], message, sizeof(guest->offers[0]));
	if (header->type == VMBUS_MSG_RESCIND_OFFER && guest->rescinded_count < MINI_OFFERS_MAX)
		guest->rescinded[guest->rescinded_count++] =
			((const struct vmbus_msg_channel *)message)->channel_id;
}

int mini_expect(struct mini_guest *guest, uint32_t type, void *out_message, size_t bytes)
{
	uint64_t until_ms = now_ms() + MINI_WAIT_MS;
	uint64_t buffer[VMBUS_MESSAGE_BYTES_MAX / 8];
	size_t came;

	do {
		while (loopback_guest_next_message(guest->lo, guest->vp, buffer, &came) == 0) {
			const struct vmbus_message_header *header = (const void *)buffer;

			note(guest, buffer);
			if (header->type != type)
				continue;
			memcpy(out_message, buffer, bytes);
			return came >= bytes ? 0 : -LIS_CORRUPT;
		}
	} while (wait_step(guest, until_ms));
	return -LIS_TIMEOUT;
}

void mini_drain(struct mini_guest *guest)
{
	uint64_t buffer[VMBUS_MESSAGE_BYTES_MAX / 8];
	size_t came;

	while (loopback_guest_next_message(guest->lo, guest->vp, buffer, &came) == 0)
		note(guest, buffer);
}

int mini_connect(struct mini_guest *guest, uint32_t version)
{
	struct vmbus_msg_initiate_contact contact = {
		.header.type = VMBUS_MSG_INITIATE_CONTACT,
		.version = version,
		.target_vp = guest->vp,
	};
	uint32_t connection_id = version >= VMBUS_VERSION_WIN10_V5 ? VMBUS_CONNECTION_MESSAGE_4 :
								     VMBUS_CONNECTION_MESSAGE;
	struct vmbus_msg_version_response response;
	struct gpa gpa;
	int err;

	if (version >= VMBUS_VERSION_WIN10_V5) {
		contact.sint = VMBUS_MESSAGE_SINT;
	} else {
		guest->interrupt_page = loopback_guest_alloc_pages(guest->lo, 1, false, &gpa);
		contact.interrupt_page_gpa = gpa.value;
	}
	guest->version = version;
	guest->offer_count = guest->rescinded_count = 0;
	err = mini_post(guest, connection_id, &contact, sizeof(contact));
	if (!err)
		err = mini_expect(guest, VMBUS_MSG_VERSION_RESPONSE, &response, sizeof(response));
	if (err)
		return err;
	if (!response.supported || response.connection_state != VMBUS_CONNECTION_SUCCESSFUL)
		return -LIS_REFUSED;
	guest->connection_id = version >= VMBUS_VERSION_WIN10_V5 ? response.version_or_connection_id
								 : VMBUS_CONNECTION_MESSAGE;
	return 0;
}

int mini_request_offers(struct mini_guest *guest)
{
	struct vmbus_message_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };
	struct vmbus_message_header delivered;
	int err = mini_post(guest, guest->connection_id, &request, sizeof(request));

	return err ? err : mini_expect(guest, VMBUS_MSG_ALL_OFFERS_DELIVERED, &delivered,
				       sizeof(delivered));
}

int mini_unload(struct mini_guest *guest)
{
	struct vmbus_message_header unload = { .type = VMBUS_MSG_UNLOAD };
	struct vmbus_message_header complete;
	int err = mini_post(guest, guest->connection_id, &unload, sizeof(unload));

	return err ? err
		   : mini_expect(guest, VMBUS_MSG_UNLOAD_COMPLETE, &complete, sizeof(complete));
}

int mini_fence(struct mini_guest *guest)
{
	struct vmbus_msg_gpadl_header header = { .header.type = VMBUS_MSG_GPADL_HEADER };
	struct vmbus_msg_gpadl_created created;
	int err = mini_post(guest, guest->connection_id, &header, sizeof(header));

	if (!err)
		err = mini_expect(guest, VMBUS_MSG_GPADL_CREATED, &created, sizeof(created));
	return err ? err : created.status != 0 ? 0 : -LIS_CORRUPT;
}

const struct vmbus_msg_offer_channel *mini_find_offer(const struct mini_guest *guest,
						      const struct guid *instance_id,
						      uint16_t sub_channel_index)
{
	/* The newest, where there were several. */
	for (size_t i = guest->offer_count; i > 0; i--)
		if (guid_compare(&guest->offers[i - 1].instance_id, instance_id) == 0 &&
		    guest->offers[i - 1].sub_channel_index == sub_channel_index)
			return &guest->offers[i - 1];
	return NULL;
}

/* 26 page numbers fit into the first message, 28 into each of the others. */
int mini_gpadl(struct mini_guest *guest, uint32_t channel_id, struct gpa gpa, uint32_t pages,
	       uint32_t *out_id)
{
	uint64_t buffer[VMBUS_MESSAGE_BYTES_MAX / 8] = { 0 };
	struct vmbus_msg_gpadl_header *header = (void *)buffer;
	struct vmbus_msg_gpadl_body *body = (void *)buffer;
	struct vmbus_gpa_range range = { .byte_count = pages * HV_PAGE_BYTES };
	struct vmbus_msg_gpadl_created created;
	uint32_t id = ++guest->next_gpadl;
	uint32_t done = 0, room = 26;
	size_t head_bytes = sizeof(*header) + sizeof(range);
	int err = 0;

	header->header.type = VMBUS_MSG_GPADL_HEADER;
	header->channel_id = channel_id;
	header->gpadl_id = id;
	header->range_bytes = (uint16_t)(8 + pages * 8);
	header->range_count = 1;
	memcpy((char *)buffer + sizeof(*header), &range, sizeof(range));
	while (!err && done < pages) {
		uint32_t now = pages - done < room ? pages - done : room;

		for (uint32_t i = 0; i < now; i++) {
			uint64_t pfn = (gpa.value >> HV_PAGE_SHIFT) + done + i;

			memcpy((char *)buffer + head_bytes + i * 8, &pfn, 8);
		}
		err = mini_post(guest, guest->connection_id, buffer, head_bytes + now * 8);
		done += now;
		room = 28;
		head_bytes = sizeof(*body);
		memset(buffer, 0, sizeof(buffer));
		body->header.type = VMBUS_MSG_GPADL_BODY;
		body->gpadl_id = id;
	}
	if (!err)
		err = mini_expect(guest, VMBUS_MSG_GPADL_CREATED, &created, sizeof(created));
	if (err)
		return err;
	*out_id = id;
	return created.gpadl_id == id && created.status == 0 ? 0 : -LIS_REFUSED;
}

int mini_gpadl_teardown(struct mini_guest *guest, uint32_t channel_id, uint32_t gpadl_id)
{
	struct vmbus_msg_gpadl_teardown teardown = {
		.header.type = VMBUS_MSG_GPADL_TEARDOWN,
		.channel_id = channel_id,
		.gpadl_id = gpadl_id,
	};
	struct vmbus_msg_gpadl_torndown torndown;
	int err = mini_post(guest, guest->connection_id, &teardown, sizeof(teardown));

	if (!err)
		err = mini_expect(guest, VMBUS_MSG_GPADL_TORNDOWN, &torndown, sizeof(torndown));
	return err ? err : torndown.gpadl_id == gpadl_id ? 0 : -LIS_CORRUPT;
}

static int map_rings(struct mini_channel *channel)
{
	const struct partition *memory = loopback_guest_memory(channel->guest->lo);
	uint64_t pfns[256];
	uint32_t data_pages = channel->pages - 1;
	void *control = partition_hva(memory, channel->gpa, 2 * channel->pages * HV_PAGE_BYTES);
	void *control_in = (char *)control + channel->pages * HV_PAGE_BYTES;
	uint64_t first = channel->gpa.value >> HV_PAGE_SHIFT;
	int err;

	for (uint32_t i = 0; i < 2 * channel->pages; i++)
		pfns[i] = first + i;
	err = partition_map_pages(memory, pfns + 1, data_pages, true, &channel->data_out);
	if (!err)
		err = partition_map_pages(memory, pfns + channel->pages + 1, data_pages, true,
					  &channel->data_in);
	if (!err)
		err = vmbus_ring_writer_init(&channel->to_host, control, channel->data_out,
					     data_pages * HV_PAGE_BYTES);
	if (!err)
		err = vmbus_ring_reader_init(&channel->from_host, control_in, channel->data_in,
					     data_pages * HV_PAGE_BYTES);
	return err;
}

static void free_rings(struct mini_channel *channel)
{
	partition_unmap_pages(channel->data_out, channel->pages - 1, true);
	partition_unmap_pages(channel->data_in, channel->pages - 1, true);
	loopback_guest_free_pages(channel->guest->lo, channel->gpa, 2 * channel->pages);
}

int mini_open(struct mini_guest *guest, const struct vmbus_msg_offer_channel *offer, uint32_t pages,
	      struct mini_channel *channel)
{
	struct vmbus_msg_open_channel open = {
		.header.type = VMBUS_MSG_OPEN_CHANNEL,
		.channel_id = offer->channel_id,
		.open_id = offer->channel_id,
		.target_vp = guest->vp,
		.host_to_guest_page_offset = pages,
	};
	struct vmbus_msg_open_result result;
	int err;

	memset(channel, 0, sizeof(*channel));
	channel->guest = guest;
	channel->offer = *offer;
	channel->pages = pages;
	if (pages < 2 || pages > 128 ||
	    !loopback_guest_alloc_pages(guest->lo, 2 * pages, true, &channel->gpa))
		return -LIS_NOMEM;
	err = map_rings(channel);
	if (!err)
		err = mini_gpadl(guest, offer->channel_id, channel->gpa, 2 * pages,
				 &channel->gpadl_id);
	open.ring_gpadl_id = channel->gpadl_id;
	if (!err)
		err = mini_post(guest, guest->connection_id, &open, sizeof(open));
	if (!err)
		err = mini_expect(guest, VMBUS_MSG_OPEN_RESULT, &result, sizeof(result));
	if (!err && (result.channel_id != offer->channel_id || result.status != 0))
		err = -LIS_REFUSED;
	if (err)
		free_rings(channel);
	return err;
}

int mini_close(struct mini_channel *channel)
{
	struct vmbus_msg_channel close = {
		.header.type = VMBUS_MSG_CLOSE_CHANNEL,
		.channel_id = channel->offer.channel_id,
	};
	int err = mini_post(channel->guest, channel->guest->connection_id, &close, sizeof(close));

	if (!err)
		err = mini_gpadl_teardown(channel->guest, channel->offer.channel_id,
					  channel->gpadl_id);
	free_rings(channel);
	return err;
}

int mini_release(struct mini_guest *guest, uint32_t channel_id)
{
	struct vmbus_msg_channel released = {
		.header.type = VMBUS_MSG_RELID_RELEASED,
		.channel_id = channel_id,
	};

	return mini_post(guest, guest->connection_id, &released, sizeof(released));
}

void mini_release_rescinded(struct mini_guest *guest)
{
	mini_drain(guest);
	while (guest->rescinded_count)
		(void)!mini_release(guest, guest->rescinded[--guest->rescinded_count]);
}

void mini_signal(struct mini_channel *channel)
{
	struct mini_guest *guest = channel->guest;
	uint32_t id = channel->offer.channel_id;

	if (guest->version >= VMBUS_VERSION_WIN7) {
		loopback_guest_signal(guest->lo, channel->offer.connection_id);
		return;
	}
	__atomic_fetch_or(&guest->interrupt_page[2048 + id / 8], (uint8_t)(1u << id % 8),
			  __ATOMIC_SEQ_CST);
	loopback_guest_signal(guest->lo, VMBUS_CONNECTION_EVENT);
}

int mini_send(struct mini_channel *channel, uint64_t id, const void *payload, size_t bytes)
{
	struct vmbus_piece piece = { payload, bytes };
	struct vmbus_packet_out packet = vmbus_packet_in_band(id, true, &piece, 1);
	int err = vmbus_ring_write(&channel->to_host, &packet);

	if (vmbus_ring_writer_publish(&channel->to_host))
		mini_signal(channel);
	return err;
}

int mini_receive(struct mini_channel *channel, void *buffer, size_t buffer_bytes,
		 struct vmbus_packet *out_packet)
{
	struct mini_guest *guest = channel->guest;
	uint64_t until_ms = now_ms() + MINI_WAIT_MS;
	uint32_t bytes;
	int err;

	for (;;) {
		err = vmbus_ring_read(&channel->from_host, buffer, buffer_bytes, &bytes);
		if (err != -LIS_EMPTY)
			break;
		loopback_guest_take_flag(guest->lo, guest->vp,
					 guest->version >= VMBUS_VERSION_WIN8 ?
					 channel->offer.channel_id : 0);
		if (vmbus_ring_reader_ready(&channel->from_host))
			continue;
		if (!wait_step(guest, until_ms))
			return -LIS_TIMEOUT;
	}
	if (!err)
		err = vmbus_packet_parse(buffer, bytes, out_packet);
	if (vmbus_ring_reader_publish(&channel->from_host))
		mini_signal(channel);
	return err;
}
