// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The server: open and close, modify, rescind, release, sub-channels. */
#include "tests/unit/vmbus/server_world.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t versions[] = {
#define ONE(version) version,
	VMBUS_VERSIONS(ONE)
#undef ONE
};
#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

static struct world world;

static uint64_t violations(void)
{
	return world.server.counters.violations;
}

static struct vmbus_msg_initiate_contact2 contact_of(uint32_t version)
{
	return (struct vmbus_msg_initiate_contact2){
		.contact = {
			.header.type = VMBUS_MSG_INITIATE_CONTACT,
			.version = version,
			.sint = VMBUS_MESSAGE_SINT,
		},
		.client_id = GUID(1, 2, 3, 4, 5),
	};
}

static size_t make_header(uint64_t words[VMBUS_MESSAGE_BYTES_MAX / 8], uint32_t gpadl_id,
			  uint16_t range_bytes, uint16_t range_count)
{
	struct vmbus_msg_gpadl_header header = {
		.header.type = VMBUS_MSG_GPADL_HEADER,
		.channel_id = 1,
		.gpadl_id = gpadl_id,
		.range_bytes = range_bytes,
		.range_count = range_count,
	};

	memset(words, 0, VMBUS_MESSAGE_BYTES_MAX);
	memcpy(words, &header, sizeof(header));
	return sizeof(header);
}

static size_t add_word(uint64_t *words, size_t at, uint64_t word)
{
	memcpy((uint8_t *)words + at, &word, 8);
	return at + 8;
}

static uint64_t range_word(uint32_t byte_count, uint32_t byte_offset)
{
	return byte_count | (uint64_t)byte_offset << 32;
}

/* Open and close. */

static void an_open_says_what_the_guest_wants(void **state)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		const struct world_channel *channel = &world.channels[0];

		world_offered_and_connected(&world, versions[i]);
		guest_has_open(&world, 0, 7);
		assert_int_equal(channel->target_vp, versions[i] >= VMBUS_VERSION_WIN8 ? 1 : 0);
		assert_int_equal(channel->open.connection_id, 0x2001);
		assert_int_equal(channel->open.event_flag, 1);
		assert_int_equal(channel->open.host_to_guest_page_offset, 4);
		assert_int_equal(channel->open.user_data[119], 0xdd);
		assert_int_equal(channel->ring.pfn_count, 8);
		world_fini(&world);
	}
}

static void a_guest_may_choose_its_signals_if_that_was_granted(void **state)
{
	static const struct {
		uint32_t connection_id;
		uint16_t event_flag;
		size_t bytes;
		bool good;
	} cases[] = {
		{ 0x123456, 2047, 156, true }, { 0x123456, 2048, 156, false },
		{ 0x1000000, 1, 156, false },  { 4, 1, 156, false },
		{ 0, 1, 156, false },          { 0x123456, 0, 156, true },
		{ 0x123456, 1, 148, false },   { 0x123456, 1, 155, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vmbus_msg_initiate_contact2 contact = contact_of(VMBUS_VERSION_COPPER);
		struct vmbus_message_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };
		struct vmbus_msg_open_channel2 open = {
			.open = { .header.type = VMBUS_MSG_OPEN_CHANNEL, .channel_id = 1,
				  .open_id = 1001, .ring_gpadl_id = 5,
				  .host_to_guest_page_offset = 2 },
			.connection_id = cases[i].connection_id,
			.event_flag = cases[i].event_flag,
		};

		world_init(&world, NULL);
		world_offer(&world, 0);
		contact.contact.features = VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS;
		guest_posts_on(&world, 4, &contact, sizeof(contact));
		guest_posts(&world, &request, sizeof(request));
		world.read_count = world.sent_count = 0;
		guest_makes_gpadl(&world, 1, 5, 0x10, 4);
		guest_reads_created(&world, 5);
		guest_posts(&world, &open, cases[i].bytes);
		world_answer_all(&world);
		assert_int_equal(guest_reads_status(&world) == 0, cases[i].good);
		if (cases[i].good) {
			assert_int_equal(world.channels[0].open.connection_id, 0x123456);
			assert_int_equal(world.channels[0].open.event_flag, cases[i].event_flag);
		}
		world_fini(&world);
	}
}

static void impossible_opens_are_refused(void **state)
{
	static const struct {
		uint32_t offset, pages;
		bool good;
	} rings[] = {
		{ 2, 4, true }, { 1, 4, false }, { 0, 4, false }, { 3, 4, false }, { 4, 4, false },
		{ 5, 4, false }, { UINT32_MAX, 4, false }, { 2, 3, false }, { 1, 2, false },
		{ 3, 5, true }, { 1, 1, false },
	};

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
		guest_makes_gpadl(&world, 1, 5, 0x10, rings[i].pages);
		guest_reads_created(&world, 5);
		guest_opens(&world, 1, 5, rings[i].offset);
		world_answer_all(&world);
		assert_int_equal(guest_reads_status(&world),
				 rings[i].good ? 0 : VMBUS_STATUS_INVALID_PARAMETER);
		if (rings[i].good)
			guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
		world_answer_all(&world);
		guest_tears_down(&world, 1, 5);
		guest_reads_torndown(&world, 5); /* a refused open holds nothing */
		guest_reads_nothing(&world);
	}
	/* A ring that is not whole pages, or begins within one. */
	for (int i = 0; i < 2; i++) {
		uint64_t words[30];
		size_t bytes = make_header(words, 5, 8 * 6, 1);

		bytes = add_word(words, bytes,
				 i ? range_word(4 * 4096, 8) : range_word(5 * 4096 - 8, 0));
		for (uint64_t page = 0; page < 5; page++)
			bytes = add_word(words, bytes, 0x10 + page);
		guest_posts(&world, words, bytes);
		assert_int_equal(guest_reads_created(&world, 5), 0);
		guest_opens(&world, 1, 5, 2);
		assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
		guest_tears_down(&world, 1, 5);
		guest_reads_torndown(&world, 5);
	}
	guest_opens(&world, 1, 99, 2); /* no such GPADL */
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	guest_opens(&world, 77, 99, 2); /* no such channel */
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	assert_int_equal(world.channels[0].device, DEVICE_IDLE);
	guest_has_open(&world, 0, 6);
	world_fini(&world);
}

static void a_gpadl_of_another_channel_is_no_ring(void **state)
{
	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_makes_gpadl(&world, 2, 5, 0x10, 4);
	guest_reads_created(&world, 5);
	guest_opens(&world, 1, 5, 2);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	world_fini(&world);
}

static void a_vp_that_is_not_there_gets_no_channel(void **state)
{
	struct vmbus_msg_open_channel open = {
		.header.type = VMBUS_MSG_OPEN_CHANNEL, .channel_id = 1, .open_id = 1001,
		.ring_gpadl_id = 5, .host_to_guest_page_offset = 2, .target_vp = WORLD_VPS,
	};

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_makes_gpadl(&world, 1, 5, 0x10, 4);
	guest_reads_created(&world, 5);
	guest_posts(&world, &open, sizeof(open));
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	open.target_vp = VMBUS_VP_NONE;
	guest_posts(&world, &open, sizeof(open));
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), 0);
	assert_int_equal(world.channels[0].target_vp, VMBUS_VP_NONE);
	world_fini(&world);
}

static void a_device_may_refuse_at_once_or_later(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_makes_gpadl(&world, 1, 5, 0x10, 4);
	guest_reads_created(&world, 5);
	world.open_error = -LIS_NOMEM;
	guest_opens(&world, 1, 5, 2);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INSUFFICIENT_RESOURCES);
	guest_opens(&world, 1, 5, 2);
	guest_reads_nothing(&world);
	channel->device = DEVICE_IDLE;
	vmbus_server_open_done(&world.server, &channel->server, -LIS_REFUSED);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_UNSUCCESSFUL);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1); /* it is not open */
	guest_tears_down(&world, 1, 5);
	guest_reads_torndown(&world, 5);
	guest_has_open(&world, 0, 6);
	assert_int_equal(channel->closes, 0);
	world_fini(&world);
}

static void opens_and_closes_out_of_turn_are_refused(void **state)
{
	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 0);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 3000);
	guest_makes_gpadl(&world, 1, 5, 0x10, 4);
	guest_reads_created(&world, 5);
	guest_opens(&world, 1, 5, 2);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1); /* not open yet */
	guest_opens(&world, 1, 5, 2);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	guest_reads_nothing(&world);
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), 0);
	guest_opens(&world, 1, 5, 2);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	assert_int_equal(world.channels[0].device, DEVICE_OPEN);
	assert_int_equal(world.channels[0].opens, 1);
	assert_int_equal(violations(), 6);
	world_fini(&world);
}

static void a_channel_may_be_opened_while_it_is_still_closing(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 5);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_makes_gpadl(&world, 1, 6, 0x40, 6);
	guest_reads_created(&world, 6);
	guest_opens(&world, 1, 6, 3);
	guest_reads_nothing(&world);
	guest_opens(&world, 1, 6, 3); /* but only once */
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1);
	assert_int_equal(violations(), 3);
	assert_int_equal(channel->device, DEVICE_CLOSING);
	assert_true(world_answer(&world, channel));
	assert_int_equal(channel->device, DEVICE_OPENING);
	assert_int_equal(channel->ring.pfn_count, 6);
	assert_true(world_answer(&world, channel));
	assert_int_equal(guest_reads_status(&world), 0);
	/* Where its ring is gone by the time, the open fails, and nothing else does. */
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_opens(&world, 1, 5, 4);
	guest_tears_down(&world, 1, 5);
	guest_reads_torndown(&world, 5);
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	guest_has_open(&world, 0, 9);
	world_fini(&world);
}

static void a_broken_channel_is_closed_once_and_may_be_opened_again(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	vmbus_server_break(&world.server, &channel->server); /* not open: nothing */
	guest_has_open(&world, 0, 5);
	vmbus_server_break(&world.server, &channel->server);
	vmbus_server_break(&world.server, &channel->server);
	assert_int_equal(channel->device, DEVICE_CLOSING);
	guest_reads_nothing(&world);
	world_answer_all(&world);
	guest_opens(&world, 1, 5, 4); /* the guest believes that it is open */
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_INVALID_PARAMETER);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	assert_int_equal(channel->closes, 1);
	guest_opens(&world, 1, 5, 4);
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), 0);
	/* The guest's close may also come while the device closes. */
	vmbus_server_break(&world.server, &channel->server);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_opens(&world, 1, 5, 4);
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), 0);
	world_fini(&world);
}

/* Modify. */

static void guest_modifies(uint32_t channel_id, uint32_t vp)
{
	struct vmbus_msg_modify_channel modify = {
		.header.type = VMBUS_MSG_MODIFY_CHANNEL, .channel_id = channel_id, .target_vp = vp,
	};

	guest_posts(&world, &modify, sizeof(modify));
}

static void reads_modified(uint32_t status)
{
	const struct vmbus_msg_modify_channel_response *response =
		guest_reads(&world, VMBUS_MSG_MODIFY_CHANNEL_RESPONSE, sizeof(*response));

	assert_int_equal(response->status, status);
}

static void interrupts_move_and_only_new_guests_hear_of_it(void **state)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		struct world_channel *channel = &world.channels[0];
		bool known = versions[i] >= VMBUS_VERSION_WIN10_V4_1;

		world_offered_and_connected(&world, versions[i]);
		guest_has_open(&world, 0, 5);
		guest_modifies(1, 3);
		assert_int_equal(channel->modifying, known);
		guest_reads_nothing(&world);
		world_answer_all(&world);
		if (versions[i] >= VMBUS_VERSION_IRON)
			reads_modified(0);
		guest_reads_nothing(&world);
		assert_int_equal(violations(), known ? 0 : 1);
		if (known)
			assert_int_equal(channel->target_vp, 3);
		world_fini(&world);
	}
}

static void many_moves_of_an_old_guest_are_one(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_WIN10_V5);
	guest_has_open(&world, 0, 5);
	for (uint32_t vp = 0; vp < WORLD_VPS; vp++)
		guest_modifies(1, vp);
	assert_int_equal(channel->target_vp, 0);
	world_answer(&world, channel);
	assert_int_equal(channel->target_vp, 3);
	assert_true(channel->modifying);
	world_answer(&world, channel);
	assert_false(channel->modifying);
	guest_reads_nothing(&world);
	assert_int_equal(violations(), 0);
	world_fini(&world);
}

static void impossible_moves_are_refused(void **state)
{
	struct vmbus_msg_open_channel open = {
		.header.type = VMBUS_MSG_OPEN_CHANNEL, .channel_id = 2, .open_id = 1002,
		.ring_gpadl_id = 6, .host_to_guest_page_offset = 2, .target_vp = VMBUS_VP_NONE,
	};

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_modifies(1, 1); /* closed */
	reads_modified(VMBUS_STATUS_UNSUCCESSFUL);
	guest_modifies(9, 1); /* not there */
	reads_modified(VMBUS_STATUS_UNSUCCESSFUL);
	guest_has_open(&world, 0, 5);
	guest_modifies(1, WORLD_VPS);
	reads_modified(VMBUS_STATUS_UNSUCCESSFUL);
	guest_modifies(1, VMBUS_VP_NONE); /* this cannot switch interrupts off */
	reads_modified(VMBUS_STATUS_UNSUCCESSFUL);
	guest_makes_gpadl(&world, 2, 6, 0x10, 4);
	guest_reads_created(&world, 6);
	guest_posts(&world, &open, sizeof(open));
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), 0);
	guest_modifies(2, 1); /* nor on */
	reads_modified(VMBUS_STATUS_UNSUCCESSFUL);
	guest_modifies(1, 1);
	guest_modifies(1, 2); /* before the answer */
	assert_int_equal(violations(), 6);
	world_answer_all(&world);
	reads_modified(0);
	guest_reads_nothing(&world);
	assert_int_equal(world.channels[0].target_vp, 1);
	world_fini(&world);
}

static void a_move_that_ends_after_the_close_says_nothing(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 5);
	guest_modifies(1, 2);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_opens(&world, 1, 5, 4);
	world_answer_all(&world);
	assert_int_equal(guest_reads_status(&world), 0);
	guest_reads_nothing(&world);
	assert_int_equal(channel->target_vp, 1);
	guest_modifies(1, 3);
	world_answer_all(&world);
	reads_modified(0);
	world_fini(&world);
}

/* Rescind, release, sub-channels. */

static void reads_rescind(uint32_t channel_id)
{
	const struct vmbus_msg_channel *rescind =
		guest_reads(&world, VMBUS_MSG_RESCIND_OFFER, sizeof(*rescind));

	assert_int_equal(rescind->channel_id, channel_id);
}

static void a_rescinded_channel_closes_and_its_id_lives_until_released(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 5);
	guest_makes_gpadl(&world, 1, 6, 0x10, 30);
	guest_reads_created(&world, 6);
	world_rescind(&world, 0);
	reads_rescind(1);
	assert_int_equal(channel->device, DEVICE_CLOSING);
	assert_int_equal(channel->releases, 0);
	guest_tears_down(&world, 1, 6); /* nobody holds it: at once */
	guest_reads_torndown(&world, 6);
	guest_tears_down(&world, 1, 5); /* the ring is held still */
	guest_reads_nothing(&world);
	world_answer_all(&world);
	guest_reads_torndown(&world, 5);
	assert_int_equal(channel->releases, 1);
	/* On the dead id GPADLs go on as if nothing had happened, and nothing else is held against
	 * it. */
	guest_makes_gpadl(&world, 1, 8, 0x10, 30);
	assert_int_equal(guest_reads_created(&world, 8), 0);
	guest_tears_down(&world, 1, 8);
	guest_reads_torndown(&world, 8);
	guest_tears_down(&world, 1, 4711);
	guest_reads_torndown(&world, 4711);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_opens(&world, 1, 8, 2);
	assert_int_equal(guest_reads_status(&world), VMBUS_STATUS_UNSUCCESSFUL);
	guest_modifies(1, 0);
	reads_modified(VMBUS_STATUS_UNSUCCESSFUL);
	guest_makes_gpadl(&world, 1, 10, 0x10, 3);
	assert_int_equal(guest_reads_created(&world, 10), 0);
	assert_int_equal(violations(), 0);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1);
	guest_reads_nothing(&world);
	assert_int_equal(world.allocated, 0);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1);
	guest_tears_down(&world, 1, 10);
	assert_int_equal(violations(), 2);
	world_fini(&world);
}

static void gpadls_of_a_dead_id_belong_to_no_device(void **state)
{
	struct world_channel *channel = &world.channels[0];
	struct vmbus_server_range range;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_makes_gpadl(&world, 1, 5, 0x10, 4);
	guest_reads_created(&world, 5);
	world_rescind(&world, 0);
	reads_rescind(1);
	/* The same storage serves another device. */
	memset(channel, 0, sizeof(*channel));
	channel->server.offer.instance_id = GUID(0x77, 0, 0, 0, 0);
	channel->offered = true;
	assert_int_equal(vmbus_server_offer(&world.server, &channel->server), 0);
	guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, 196);
	guest_has_open(&world, 0, 6);
	assert_int_equal(vmbus_server_gpadl_get(&world.server, &channel->server, 5, 0, &range),
			 -LIS_NOTFOUND);
	world_fini(&world);
}

static void a_device_comes_back_when_the_guest_has_let_go_of_it(void **state)
{
	const struct vmbus_msg_offer_channel *offer;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	world_rescind(&world, 0);
	reads_rescind(1);
	assert_int_equal(world_offer(&world, 0), 0);
	guest_reads_nothing(&world);
	assert_int_equal(world_offer(&world, 2),
			 0); /* another one need not wait, nor gets that id */
	offer = guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, sizeof(*offer));
	assert_int_equal(offer->channel_id, 3);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1);
	offer = guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, sizeof(*offer));
	assert_int_equal(offer->channel_id, 1);
	assert_int_equal(
		guid_compare(&offer->instance_id, &world.channels[0].server.offer.instance_id), 0);
	/* A new connection knows no dead ids. */
	world_rescind(&world, 0);
	assert_int_equal(world_offer(&world, 0), 0);
	guest_connects(&world, VMBUS_VERSION_IRON);
	assert_int_not_equal(world.channels[0].server.id, 0);
	world_fini(&world);
}

static void rescind_meets_an_open_halfway(void **state)
{
	struct world_channel *channel = &world.channels[0];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_makes_gpadl(&world, 1, 5, 0x10, 4);
	guest_reads_created(&world, 5);
	guest_opens(&world, 1, 5, 2);
	world_rescind(&world, 0);
	reads_rescind(1);
	assert_int_equal(channel->device, DEVICE_OPENING);
	assert_true(world_answer(&world, channel));
	assert_int_equal(channel->device, DEVICE_CLOSING);
	guest_reads_nothing(&world);
	assert_true(world_answer(&world, channel));
	assert_int_equal(channel->releases, 1);
	world_fini(&world);
}

static void a_guest_may_give_a_closed_channel_back(void **state)
{
	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 5);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1); /* not while it is open */
	assert_int_equal(violations(), 1);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1); /* the device is closing still */
	assert_int_equal(world.channels[0].server.id, 0);
	assert_int_equal(violations(), 1);
	world_answer_all(&world);
	assert_int_equal(world.allocated, 0);
	guest_reads_nothing(&world); /* it does not come again by itself */
	guest_connects(&world, VMBUS_VERSION_IRON);
	assert_int_equal(world.channels[0].server.id, 1);
	world_fini(&world);
}

static void sub_channels_are_offered_on_demand_and_rescinded_first(void **state)
{
	const struct vmbus_msg_offer_channel *offer;

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	assert_int_equal(world_offer_sub(&world, 5, 0, 1), -LIS_GONE); /* the primary is closed */
	guest_has_open(&world, 0, 5);
	for (uint16_t i = 1; i <= 3; i++) {
		assert_int_equal(world_offer_sub(&world, 4u + i, 0, i), 0);
		offer = guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, sizeof(*offer));
		assert_int_equal(offer->sub_channel_index, i);
		assert_int_equal(offer->channel_id, 2 + i);
	}
	guest_reads_nothing(&world);
	guest_has_open(&world, 6, 6);
	world_rescind(&world, 0);
	for (uint32_t id = 3; id <= 5; id++)
		reads_rescind(id);
	reads_rescind(1);
	assert_int_equal(world.channels[5].releases, 1);
	assert_int_equal(world.channels[6].releases, 0);
	world_answer_all(&world);
	assert_int_equal(world.channels[6].releases, 1);
	assert_int_equal(world.channels[0].releases, 1);
	world_fini(&world);
}

static void sub_channels_do_not_outlive_what_they_belong_to(void **state)
{
	struct world_channel *sub = &world.channels[5];

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	for (int round = 0; round < 4; round++) {
		guest_has_open(&world, 0, 5);
		assert_int_equal(world_offer_sub(&world, 5, 0, 1), 0);
		guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, 196);
		guest_has_open(&world, 5, 6);
		if (round == 0) { /* the guest closes the primary */
			guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
			reads_rescind(3);
			/* It opens again only when the sub-channel is closed, too. */
			guest_opens(&world, 1, 5, 4);
			assert_true(world_answer(&world, &world.channels[0]));
			assert_int_equal(world.channels[0].device, DEVICE_IDLE);
			assert_true(world_answer(&world, sub));
			assert_int_equal(world.channels[0].device, DEVICE_OPENING);
			assert_int_equal(sub->releases, 1);
			guest_connects(&world, VMBUS_VERSION_IRON);
		} else if (round == 1) { /* the guest gives the sub-channel back */
			guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 3);
			guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 3);
			world_answer_all(&world);
			assert_int_equal(sub->releases, 1);
			assert_int_equal(world_offer_sub(&world, 5, 0, 1), 0);
			guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, 196);
			guest_reads_nothing(&world);
		} else if (round == 2) { /* the primary breaks */
			vmbus_server_break(&world.server, &world.channels[0].server);
			reads_rescind(3);
			guest_reads_nothing(&world);
		}
		world_answer_all(&world);
		guest_contacts(&world, VMBUS_VERSION_IRON, 0);
		world_answer_all(&world);
		assert_false(sub->offered);
		guest_connects(&world, VMBUS_VERSION_IRON);
	}
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_open_says_what_the_guest_wants),
		cmocka_unit_test(a_guest_may_choose_its_signals_if_that_was_granted),
		cmocka_unit_test(impossible_opens_are_refused),
		cmocka_unit_test(a_gpadl_of_another_channel_is_no_ring),
		cmocka_unit_test(a_vp_that_is_not_there_gets_no_channel),
		cmocka_unit_test(a_device_may_refuse_at_once_or_later),
		cmocka_unit_test(opens_and_closes_out_of_turn_are_refused),
		cmocka_unit_test(a_channel_may_be_opened_while_it_is_still_closing),
		cmocka_unit_test(a_broken_channel_is_closed_once_and_may_be_opened_again),
		cmocka_unit_test(interrupts_move_and_only_new_guests_hear_of_it),
		cmocka_unit_test(many_moves_of_an_old_guest_are_one),
		cmocka_unit_test(impossible_moves_are_refused),
		cmocka_unit_test(a_move_that_ends_after_the_close_says_nothing),
		cmocka_unit_test(a_rescinded_channel_closes_and_its_id_lives_until_released),
		cmocka_unit_test(gpadls_of_a_dead_id_belong_to_no_device),
		cmocka_unit_test(a_device_comes_back_when_the_guest_has_let_go_of_it),
		cmocka_unit_test(rescind_meets_an_open_halfway),
		cmocka_unit_test(a_guest_may_give_a_closed_channel_back),
		cmocka_unit_test(sub_channels_are_offered_on_demand_and_rescinded_first),
		cmocka_unit_test(sub_channels_do_not_outlive_what_they_belong_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
