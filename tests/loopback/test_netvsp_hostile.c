/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A guest that breaks the rules: it costs the guest a frame or its channel, and nobody else anything. */
#include "tests/loopback/netvsp_world.h"

static uint32_t wait_status(struct world *world, uint32_t channel, uint64_t id)
{
	struct netvsp_guest_completion completion;

	assert_int_equal(netvsp_guest_wait(&world->guest, channel, id, &completion), 0);
	assert_int_equal(completion.message.type, NVSP_SEND_RNDIS_PACKET_COMPLETE);
	return completion.message.rndis_packet_complete.status;
}

/* ---- messages of NVSP ---- */

static void data_before_a_version_break_the_channel(void **state)
{
	struct world *world = *state;
	struct nvsp_message message = { .type = NVSP_SEND_RNDIS_PACKET };

	for (uint32_t type = 0; type < 140; type++) {
		if (type == NVSP_INIT)
			continue;
		assert_int_equal(netvsp_guest_open(&world->guest, 0), 0);
		message.type = type;
		assert_int_equal(netvsp_guest_send_nvsp(&world->guest, 0, 1, &message, true), 0);
		world_is_broken(world);
	}
	world_ready(world, FILTER_ALL);
	world_carries(world);
}

/* Of the messages behind the version, those that hosts know are answered; the others break it. */
static void messages_that_mean_nothing_break_the_channel(void **state)
{
	static const uint32_t known[] = {
		NVSP_SEND_NDIS_VERSION, NVSP_SEND_RECEIVE_BUFFER, NVSP_REVOKE_RECEIVE_BUFFER,
		NVSP_SEND_SEND_BUFFER, NVSP_REVOKE_SEND_BUFFER, NVSP_SEND_RNDIS_PACKET,
		NVSP_SEND_NDIS_CONFIG, NVSP_SWITCH_DATA_PATH, NVSP_SUB_CHANNEL, NVSP_OID_QUERY_EX,
	};
	struct world *world = *state;
	struct netvsp_guest_completion completion;

	for (uint32_t type = 0; type < 140; type++) {
		struct nvsp_message message = { .type = type };
		bool is_known = false;

		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			is_known |= known[i] == type;
		world_open(world);
		assert_int_equal(netvsp_guest_send_nvsp(&world->guest, 0, 1, &message, true), 0);
		if (is_known) {
			assert_int_equal(netvsp_guest_wait(&world->guest, 0, 1, &completion), 0);
			netvsp_guest_close(&world->guest, 0);
		} else {
			world_is_broken(world);
		}
	}
}

static void a_second_version_breaks_the_channel(void **state)
{
	struct world *world = *state;
	struct nvsp_message message = { .type = NVSP_INIT,
					.init = { NVSP_VERSION_5, NVSP_VERSION_5 } };

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_send_nvsp(&world->guest, 0, 1, &message, true), 0);
	world_is_broken(world);
	world_ready(world, FILTER_ALL);
	world_carries(world);
}

static void a_packet_without_a_message_breaks_the_channel(void **state)
{
	struct world *world = *state;
	struct vmbus_packet_out out = vmbus_packet_in_band(1, true, NULL, 0);

	world_open(world);
	assert_int_equal(netvsp_guest_put(&world->guest, 0, &out), 0);
	world_is_broken(world);
}

/* Short ones mean what they would with zeroes behind. */
static void messages_cut_short_do_no_harm(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	for (uint32_t bytes = 4; bytes < 40; bytes += 4) {
		struct nvsp_message message = {
			.type = NVSP_SEND_RNDIS_PACKET,
			.rndis_packet = { NVSP_RNDIS_DATA, NVSP_SECTION_NONE, 64 },
		};
		struct vmbus_piece piece = { &message, bytes };
		struct vmbus_packet_out out = vmbus_packet_in_band(bytes, true, &piece, 1);

		assert_int_equal(netvsp_guest_put(guest, 0, &out), 0);
		assert_int_equal(wait_status(world, 0, bytes), NVSP_STATUS_INVALID_RNDIS_PACKET);
	}
	world_carries(world);
}

static void set_up_by_the_wrong_packets_breaks_the_channel(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct nvsp_message message = { .type = NVSP_SEND_NDIS_CONFIG };
	struct vmbus_piece piece = { &message, sizeof(message) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[8];

	world_open(world);
	assert_int_equal(netvsp_guest_alloc(guest, 1, &guest->data), 0);
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 8, 0, guest->data.pfns), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_int_equal(netvsp_guest_put(guest, 0, &out), 0);
	world_is_broken(world);
	world_open(world);
	assert_int_equal(vmbus_transfer_head_begin(&builder, head, sizeof(head), 0), 0);
	assert_int_equal(vmbus_transfer_head_add(&builder, 8, 0), 0);
	out = vmbus_packet_transfer_pages(1, &builder, &piece, 1);
	assert_int_equal(netvsp_guest_put(guest, 0, &out), 0);
	world_is_broken(world);
	netvsp_guest_free(guest, &guest->data);
	world_ready(world, FILTER_ALL);
	world_carries(world);
}

static void set_up_on_a_sub_channel_costs_only_that_one(void **state)
{
	static const uint32_t types[] = { 0, NVSP_INIT, NVSP_SEND_RECEIVE_BUFFER, NVSP_REVOKE_RECEIVE_BUFFER,
					  NVSP_REVOKE_SEND_BUFFER, NVSP_SEND_NDIS_CONFIG, NVSP_SUB_CHANNEL };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	world_channels(world, 2);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct nvsp_message message = { .type = types[i] };

		assert_int_equal(netvsp_guest_send_nvsp(guest, 1, 1, &message, true), 0);
		world_settle(world);
		assert_int_equal(netvsp_status(world->netvsp).channels_open, 2);
		world_carries(world);
		netvsp_guest_close(guest, 1);
		world_settle(world);
		assert_int_equal(netvsp_guest_open(guest, 1), 0);
		world_settle(world);
		assert_int_equal(netvsp_status(world->netvsp).channels_open, 3);
	}
}

/* ---- completions ---- */

static void hold_some_frames(struct world *world)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };
	struct netvsp_guest *guest = &world->guest;

	guest->keep = true;
	guest->forget = true;
	for (int i = 0; i < 3; i++) {
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
		world_settle(world);
	}
	assert_int_equal(guest->held_count, 3);
}

static void completions_of_nothing_break_the_channel(void **state)
{
	static const uint64_t ids[] = { 0, 1, 1000000, UINT32_MAX, 1ull << 48, UINT64_MAX };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	for (size_t i = 0; i < ARRAY_SIZE(ids) + 3; i++) {
		uint64_t id = i < ARRAY_SIZE(ids) ? ids[i] : 0;

		world_ready(world, FILTER_ALL);
		hold_some_frames(world);
		if (i == ARRAY_SIZE(ids)) { /* twice */
			id = guest->held[0].id;
			assert_int_equal(netvsp_guest_complete(guest, 0, id), 0);
		} else if (i == ARRAY_SIZE(ids) + 1) { /* one more than there are */
			id = (guest->held[0].id & ~(uint64_t)UINT32_MAX) | (guest->sub_count + 1);
		} else if (i == ARRAY_SIZE(ids) + 2) { /* just never sent */
			id = (guest->held[0].id & ~(uint64_t)UINT32_MAX) | (guest->sub_count - 1);
		}
		assert_int_equal(netvsp_guest_complete(guest, 0, id), 0);
		world_is_broken(world);
		guest->keep = guest->forget = false;
		world_ready(world, FILTER_ALL);
		world_carries(world);
		netvsp_guest_close(guest, 0);
	}
}

static void completions_on_another_channel_cost_that_one(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	world_channels(world, 1);
	hold_some_frames(world);
	assert_int_equal(netvsp_guest_complete(guest, 1, guest->held[0].id), 0);
	world_settle(world);
	assert_int_equal(netvsp_status(world->netvsp).channels_open, 1);
	guest->keep = guest->forget = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	world_carries(world);
}

static void completions_before_there_is_a_buffer_are_nobodys(void **state)
{
	struct world *world = *state;

	world_open(world);
	for (uint64_t id = 0; id < 100; id++)
		assert_int_equal(netvsp_guest_complete(&world->guest, 0, id), 0);
	world_settle(world);
	world_share(world);
	assert_int_equal(netvsp_guest_initialize(&world->guest), 0);
	world_set_filter(world, FILTER_ALL);
	world_carries(world);
}

/* A broken channel's frames are free again, each once. */
static void a_broken_sub_channel_gives_everything_back(void **state)
{
	const struct world_config config = { .receive_pages = 8, .channels_max = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_UDP };
	uint8_t data[100];
	struct net_test_layout layout = net_test_build(&frame, data);
	struct nvsp_message message = { .type = 0 };

	world_ready(world, FILTER_ALL);
	for (int round = 0; round < 20; round++) {
		assert_int_equal(netvsp_guest_sub_channels(guest, 1), 1);
		world_settle(world);
		assert_int_equal(netvsp_guest_open(guest, 1), 0);
		assert_int_equal(world_set_rss(world, NDIS_HASH_IPV4, 0, 1, 1), 0);
		guest->keep = guest->forget = true;
		for (int i = 0; i < 8; i++)
			memory_port_queue(&world->port, data, layout.bytes, NULL);
		world_settle(world);
		assert_int_equal(world->port.waiting.count, 0);
		assert_int_equal(netvsp_guest_send_nvsp(guest, 1, 1, &message, false), 0);
		world_settle(world);
		netvsp_guest_close(guest, 1);
		netvsp_guest_forget_held(guest);
		guest->keep = guest->forget = false;
	}
	/* All sub-allocations are there: as many frames as there is room for are kept. */
	guest->keep = guest->forget = true;
	for (uint32_t i = 0; i < 30; i++)
		memory_port_queue(&world->port, data, layout.bytes, NULL);
	world_settle(world);
	assert_true(guest->frames_total >= guest->sub_count);
	guest->keep = guest->forget = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	netvsp_guest_drop(guest);
	guest->frame_count = 0;
	world_carries(world);
}

/* ---- where messages lie ---- */

static void sections_that_do_not_exist_are_refused(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint32_t count, room;

	world_ready(world, FILTER_ALL);
	room = guest->section_bytes;
	count = guest->send.bytes / room;
	for (uint64_t index = 0; index < 1ull << 32; index = index * 3 + 1 + (index < 100)) {
		static const uint32_t sizes[] = { 0, 1, 7, 43, 6143, 6144, 6145, 65536, 0x7fffffff,
						  0x80000000, UINT32_MAX };

		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct nvsp_message message = {
				.type = NVSP_SEND_RNDIS_PACKET,
				.rndis_packet = { NVSP_RNDIS_DATA, (uint32_t)index, sizes[i] },
			};

			assert_int_equal(netvsp_guest_send_nvsp(guest, 0, 1, &message, true), 0);
			assert_int_equal(wait_status(world, 0, 1), NVSP_STATUS_INVALID_RNDIS_PACKET);
		}
	}
	assert_int_equal(world->port.sent_frames, 0);
	/* The last whole section is one, the next is none. */
	for (uint32_t index = count - 1; index <= count + 1; index++) {
		uint8_t frame[60] = { 2 }, bytes[200];
		struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
		struct nvsp_message message = {
			.type = NVSP_SEND_RNDIS_PACKET,
			.rndis_packet = { NVSP_RNDIS_DATA, index, room },
		};

		message.rndis_packet.send_section_bytes = netvsp_guest_message(&out, bytes);
		if (index == count - 1)
			netvsp_guest_write(&guest->send, index * room, bytes,
					   message.rndis_packet.send_section_bytes);
		else
			message.rndis_packet.send_section_bytes = room;
		assert_int_equal(netvsp_guest_send_nvsp(guest, 0, 1, &message, true), 0);
		assert_int_equal(wait_status(world, 0, 1), index == count - 1 ?
				 NVSP_STATUS_SUCCESS : NVSP_STATUS_INVALID_RNDIS_PACKET);
	}
	world_carries(world);
}

/* It would fit into two. */
static void a_message_longer_than_its_section_is_refused(void **state)
{
	static uint8_t frame[7000], message[7100];
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, 1, netvsp_guest_message(&out, message) },
	};

	world_ready(world, FILTER_ALL);
	netvsp_guest_write(&guest->send, guest->section_bytes, message,
			   nvsp.rndis_packet.send_section_bytes);
	assert_int_equal(netvsp_guest_send_nvsp(guest, 0, 1, &nvsp, true), 0);
	assert_int_equal(wait_status(world, 0, 1), NVSP_STATUS_INVALID_RNDIS_PACKET);
	assert_int_equal(world->port.sent_frames, 0);
}

static void ranges_outside_guest_memory_are_refused(void **state)
{
	static const uint64_t pfns[] = { 0, 1u << 30, UINT64_MAX >> 12, (UINT64_MAX >> 12) + 1, UINT64_MAX };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, NVSP_SECTION_NONE, 0 },
	};
	struct vmbus_piece piece = { &message, sizeof(message) };

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_alloc(guest, NETVSP_GUEST_SLOTS * NETVSP_GUEST_SLOT_PAGES,
					    &guest->data), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pfns); i++) {
		for (uint32_t place = 0; place < 3; place++) {
			uint64_t list[3] = { guest->data.pfns[0], guest->data.pfns[1],
					     guest->data.pfns[2] };
			struct vmbus_head_builder builder;
			struct vmbus_packet_out out;
			uint64_t head[16];

			list[place] = pfns[i];
			message.rndis_packet.channel_type = place & 1;
			assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
			assert_int_equal(vmbus_gpa_head_add(&builder, 10000, 100, list), 0);
			out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
			assert_int_equal(netvsp_guest_put(guest, 0, &out), 0);
			assert_int_equal(wait_status(world, 0, 1), NVSP_STATUS_INVALID_RNDIS_PACKET);
		}
	}
	world_carries(world);
}

/* One packet names the same page again and again: more than 4 GiB, or more pieces than there may be. */
static void endless_ranges_are_refused(void **state)
{
	static uint64_t head[8000], pfns[7000];
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, NVSP_SECTION_NONE, 0 },
	};
	struct vmbus_piece piece = { &message, sizeof(message) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_alloc(guest, NETVSP_GUEST_SLOTS * NETVSP_GUEST_SLOT_PAGES,
					    &guest->data), 0);
	for (uint32_t i = 0; i < 7000; i++)
		pfns[i] = guest->data.pfns[0];
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 7000 * HV_PAGE_BYTES, 0, pfns), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_int_equal(netvsp_guest_put(guest, 0, &out), 0);
	assert_int_equal(wait_status(world, 0, 1), NVSP_STATUS_INVALID_RNDIS_PACKET);
	/* Neighbours this time: many bytes in one piece. */
	for (uint32_t i = 0; i < 3000; i++)
		pfns[i] = (guest->data.gpa.value >> HV_PAGE_SHIFT) + i;
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 3000 * HV_PAGE_BYTES, 0, pfns), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_int_equal(netvsp_guest_put(guest, 0, &out), 0);
	assert_int_equal(wait_status(world, 0, 1), NVSP_STATUS_INVALID_RNDIS_PACKET);
	world_carries(world);
}

/* ---- messages with frames ---- */

struct packet_message {
	struct rndis_header header;
	struct rndis_packet body;
	uint8_t rest[512];
};

/* Sends the first @bytes of it in a section; the NVSP message says so. */
static uint32_t send_raw(struct world *world, const struct packet_message *message, uint32_t bytes)
{
	struct netvsp_guest *guest = &world->guest;
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, 1, bytes },
	};

	netvsp_guest_write(&guest->send, guest->section_bytes, message, bytes);
	assert_int_equal(netvsp_guest_send_nvsp(guest, 0, 1, &nvsp, true), 0);
	return wait_status(world, 0, 1);
}

static struct packet_message some_message(uint32_t data_bytes)
{
	struct packet_message message = {
		.header = { RNDIS_PACKET, 44 + data_bytes },
		.body = { .data_offset = 36, .data_bytes = data_bytes },
	};

	memset(message.rest, 0x42, sizeof(message.rest));
	return message;
}

static void frames_before_rndis_is_up_are_refused(void **state)
{
	struct world *world = *state;
	struct packet_message message = some_message(60);

	world_open(world);
	world_share(world);
	assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
	assert_int_equal(world->port.sent_frames, 0);
	assert_int_equal(netvsp_guest_initialize(&world->guest), 0);
	assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_SUCCESS);
}

static void frames_cut_short_are_refused(void **state)
{
	struct world *world = *state;
	struct packet_message message = some_message(60);

	world_ready(world, FILTER_ALL);
	for (uint32_t bytes = 1; bytes < 104; bytes++)
		assert_int_equal(send_raw(world, &message, bytes), NVSP_STATUS_INVALID_RNDIS_PACKET);
	for (uint32_t bytes = 0; bytes < 104; bytes++) {
		message.header.bytes = bytes;
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
	}
	for (uint32_t bytes = 0; bytes < 14; bytes++) {
		message = some_message(60);
		message.body.data_bytes = bytes;
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
	}
	assert_int_equal(world->port.sent_frames, 0);
	world_carries(world);
}

static void lengths_that_lie_are_refused(void **state)
{
	static const uint32_t lies[] = { 97, 98, 200, 65535, 65536, 0x7fffffff, 0x80000000,
					 UINT32_MAX - 60, UINT32_MAX - 35, UINT32_MAX };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct packet_message message = some_message(60);

		message.body.data_offset = lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
		message.body.data_bytes = 0 - lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
		message = some_message(60);
		message.body.data_bytes = lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
		message = some_message(60);
		message.body.info_offset = lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
		message.body.info_bytes = 0 - lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
		message = some_message(60);
		message.body.info_offset = 36;
		message.body.info_bytes = lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
		message = some_message(60);
		message.header.bytes = lies[i] < 105 ? 105 : lies[i];
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_INVALID_RNDIS_PACKET);
	}
	assert_int_equal(world->port.sent_frames, 0);
	world_carries(world);
}

/* A frame may be any bytes of its message, the header included: they are the guest's own. */
static void data_may_lie_over_the_headers(void **state)
{
	struct world *world = *state;
	struct packet_message message = some_message(60);

	world_ready(world, FILTER_ALL);
	for (uint32_t offset = 0; offset <= 36; offset++) {
		struct memory_frame *sent;

		message.body.data_offset = offset;
		assert_int_equal(send_raw(world, &message, 104), NVSP_STATUS_SUCCESS);
		sent = memory_port_take(&world->port);
		assert_int_equal(sent->bytes, 60);
		assert_memory_equal(sent->data, (const uint8_t *)&message + 8 + offset, 60);
		free(sent);
	}
}

static void information_that_makes_no_sense_is_refused(void **state)
{
	static const struct {
		uint32_t bytes, type, offset, all;
	} wrong[] = {
		{ 0, 0, 0, 16 }, { 8, 99, 0, 16 }, { 0, 0, 12, 16 }, { 1, 0, 12, 16 },
		{ 11, 0, 12, 16 }, { 17, 0, 12, 16 },
		{ 16, 0, 17, 16 }, { 16, 0, UINT32_MAX, 16 }, { UINT32_MAX, 0, 12, 16 },
		{ 12, 0, 12, 23 }, { 16, 0, 12, 17 }, { 16, 0, 12, 27 }, { 300, 99, 12, 300 },
	};
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct packet_message message = some_message(400);
		struct rndis_packet_info info = { wrong[i].bytes, wrong[i].type, wrong[i].offset };

		message.body.info_offset = 36;
		message.body.info_bytes = wrong[i].all;
		memset(message.rest, 0, sizeof(message.rest));
		memcpy(message.rest, &info, sizeof(info));
		assert_int_equal(send_raw(world, &message, 444), NVSP_STATUS_INVALID_RNDIS_PACKET);
	}
	assert_int_equal(world->port.sent_frames, 0);
	world_carries(world);
}

/* What the card does not know, or has no room for its value, is not there. */
static void unknown_information_is_skipped(void **state)
{
	static const struct rndis_packet_info infos[] = {
		{ 12, RNDIS_INFO_CHECKSUM, 12 }, { 15, RNDIS_INFO_VLAN, 12 }, { 16, RNDIS_INFO_LSO, 13 },
		{ 16, 1, 12 }, { 16, 7, 12 }, { 16, 0x80000000u, 12 }, { 16, UINT32_MAX, 12 },
		{ 16, RNDIS_INFO_HASH_VALUE, 12 }, { 16, RNDIS_INFO_HASH_INFO, 16 },
	};
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		struct packet_message message = some_message(100);
		struct memory_frame *sent;

		message.body.info_offset = 36;
		message.body.info_bytes = infos[i].bytes;
		memcpy(message.rest, &infos[i], sizeof(infos[i]));
		assert_int_equal(send_raw(world, &message, 144), NVSP_STATUS_SUCCESS);
		sent = memory_port_take(&world->port);
		assert_int_equal(sent->bytes, 100);
		assert_int_equal(sent->offload.flags, 0);
		assert_memory_equal(sent->data, message.rest, 100);
		free(sent);
	}
}

static uint32_t send_wish(struct world *world, const uint8_t *data, uint32_t bytes, uint32_t type,
			  uint32_t value)
{
	struct netvsp_guest_out out = { .data = data, .bytes = bytes };

	if (type == RNDIS_INFO_LSO) {
		out.has_lso = true;
		out.lso = value;
	} else {
		out.has_checksum = true;
		out.checksum = value;
	}
	return netvsp_guest_send_frame(&world->guest, 0, &out);
}

static void large_segments_that_are_none_are_refused(void **state)
{
	const struct world_config config = { .can_send = NET_CAN_CHECKSUM };
	struct world *world = world_again(state, &config);
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_TCP, .payload_bytes = 34000 };
	const uint32_t lso = RNDIS_LSO_V2 | 34u << RNDIS_LSO_HEADER_OFFSET_SHIFT, refused =
		NVSP_STATUS_INVALID_RNDIS_PACKET;
	static uint8_t data[35000];
	struct net_test_layout layout = net_test_build(&frame, data);

	world_ready(world, FILTER_ALL);
	for (uint32_t mss = 0; mss < 8; mss++)
		assert_int_equal(send_wish(world, data, 1000, RNDIS_INFO_LSO, lso | mss), refused);
	assert_int_equal(send_wish(world, data, layout.bytes, RNDIS_INFO_LSO, lso | 0xfffff), refused);
	assert_int_equal(send_wish(world, data, layout.bytes, RNDIS_INFO_LSO, lso | 65536), refused);
	for (uint32_t bytes = 14; bytes <= 54; bytes++)
		assert_int_equal(send_wish(world, data, bytes, RNDIS_INFO_LSO, lso | 1000), refused);
	/* More pieces than anybody has a use for. */
	assert_int_equal(send_wish(world, data, 4096 * 8 + 54, RNDIS_INFO_LSO, lso | 8), 1);
	assert_int_equal(world->port.sent_frames, 4096);
	memory_port_drop(&world->port);
	assert_int_equal(send_wish(world, data, 4097 * 8 + 54, RNDIS_INFO_LSO, lso | 8), refused);
	assert_int_equal(world->port.sent_frames, 4096);
	frame.payload_bytes = 5000;
	layout = net_test_build(&frame, data);
	for (uint32_t first = 0; first < 54; first++) {
		/* Broken headers: refused, or nothing worse than a strange frame. */
		struct netvsp_status before = netvsp_status(world->netvsp), after;
		uint8_t old = data[first];

		for (uint32_t value = 0; value < 256; value++) {
			data[first] = (uint8_t)value;
			send_wish(world, data, layout.bytes, RNDIS_INFO_LSO, lso | 1000);
		}
		data[first] = old;
		after = netvsp_status(world->netvsp);
		assert_int_equal(after.packets_sent + after.send_invalid,
				 before.packets_sent + before.send_invalid + 256);
		world_check(world);
		memory_port_drop(&world->port);
	}
	frame.protocol = NET_TEST_UDP;
	layout = net_test_build(&frame, data);
	assert_int_equal(send_wish(world, data, layout.bytes, RNDIS_INFO_LSO, lso | 1000), refused);
	world_carries(world);
}

/* Headers that a tag makes longer than what can be cut: found out last of all. */
static void what_is_refused_does_not_count_as_sent(void **state)
{
	const struct world_config config = { .can_send = NET_CAN_CHECKSUM };
	struct world *world = world_again(state, &config);
	struct net_test_frame frame = { .ip_version = 6, .protocol = NET_TEST_TCP, .extension_bytes = 160,
					.tcp_options_bytes = 20, .payload_bytes = 1000 };
	uint8_t data[2000];
	struct net_test_layout layout = net_test_build(&frame, data);
	struct netvsp_guest_out out = { .data = data, .bytes = layout.bytes, .has_lso = true,
					.lso = RNDIS_LSO_V2 | RNDIS_LSO_IPV6 | 500 };

	world_ready(world, FILTER_ALL);
	assert_int_equal(layout.payload_offset, 254);
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	out.has_vlan = true;
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out),
			 NVSP_STATUS_INVALID_RNDIS_PACKET);
	assert_int_equal(world->port.sent_frames, 2);
	assert_int_equal(netvsp_status(world->netvsp).packets_sent, 1);
	assert_int_equal(netvsp_status(world->netvsp).bytes_sent, layout.bytes);
	assert_int_equal(netvsp_status(world->netvsp).send_invalid, 1);
	memory_port_drop(&world->port);
}

/* Many packets of many pieces each: the loop looks at other things in between. */
static void a_turn_has_its_end_whatever_the_guest_sends(void **state)
{
	const struct world_config config = { .can_send = NET_CAN_CHECKSUM };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_TCP, .payload_bytes = 4000 };
	static uint8_t data[5000], message[5000];
	struct net_test_layout layout = net_test_build(&frame, data);
	struct netvsp_guest_out out = { .data = data, .bytes = layout.bytes, .has_lso = true,
					.lso = RNDIS_LSO_V2 | 8 };
	struct netvsp_guest_way way = { .section = 1 };
	uint64_t before = 0;

	world_ready(world, FILTER_ALL);
	way.section_bytes = netvsp_guest_message(&out, message);
	world->port.forget = true;
	for (uint32_t i = 0; i < 60; i++)
		assert_int_equal(netvsp_guest_send(guest, 0, i, message, way.section_bytes, &way), 0);
	for (uint32_t turn = 0; turn < 60; turn++) {
		io_loop_turn(world->loop, false);
		assert_true(world->port.sent_frames - before <= 1024 + 500);
		before = world->port.sent_frames;
	}
	assert_int_equal(before, 60 * 500);
	world_settle(world);
}

static void checksums_outside_the_frame_are_refused(void **state)
{
	for (uint32_t can = 0; can < 2; can++) {
		const struct world_config config = { .can_send = can };
		struct world *world = world_again(state, &config);
		uint8_t data[200] = { 2 };

		world_ready(world, FILTER_ALL);
		for (uint32_t bytes = 14; bytes < 200; bytes += 7) {
			for (uint32_t start = 0; start < 1024; start += 1 + start / 16) {
				uint32_t value = start << RNDIS_TX_HEADER_OFFSET_SHIFT | RNDIS_TX_IPV4;
				uint32_t status;

				status = send_wish(world, data, bytes, RNDIS_INFO_CHECKSUM,
						   value | RNDIS_TX_TCP_CHECKSUM);
				assert_int_equal(status == NVSP_STATUS_SUCCESS,
						 start && start + 18 <= bytes);
				status = send_wish(world, data, bytes, RNDIS_INFO_CHECKSUM,
						   value | RNDIS_TX_UDP_CHECKSUM);
				assert_int_equal(status == NVSP_STATUS_SUCCESS,
						 start && start + 8 <= bytes);
			}
		}
		world_check(world);
		world_carries(world);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(data_before_a_version_break_the_channel),
		TEST(messages_that_mean_nothing_break_the_channel),
		TEST(a_second_version_breaks_the_channel),
		TEST(a_packet_without_a_message_breaks_the_channel),
		TEST(messages_cut_short_do_no_harm),
		TEST(set_up_by_the_wrong_packets_breaks_the_channel),
		TEST(set_up_on_a_sub_channel_costs_only_that_one),
		TEST(completions_of_nothing_break_the_channel),
		TEST(completions_on_another_channel_cost_that_one),
		TEST(completions_before_there_is_a_buffer_are_nobodys),
		TEST(a_broken_sub_channel_gives_everything_back),
		TEST(sections_that_do_not_exist_are_refused),
		TEST(a_message_longer_than_its_section_is_refused),
		TEST(ranges_outside_guest_memory_are_refused),
		TEST(endless_ranges_are_refused),
		TEST(frames_before_rndis_is_up_are_refused),
		TEST(frames_cut_short_are_refused),
		TEST(lengths_that_lie_are_refused),
		TEST(data_may_lie_over_the_headers),
		TEST(information_that_makes_no_sense_is_refused),
		TEST(unknown_information_is_skipped),
		TEST(large_segments_that_are_none_are_refused),
		TEST(what_is_refused_does_not_count_as_sent),
		TEST(a_turn_has_its_end_whatever_the_guest_sends),
		TEST(checksums_outside_the_frame_are_refused),
	};

	return cmocka_run_group_tests_name("netvsp_hostile", tests, NULL, NULL);
}
