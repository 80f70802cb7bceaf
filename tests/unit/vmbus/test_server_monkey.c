// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A guest and devices that do anything at any time, by a fixed sequence of random numbers. After
 * each step the server's books must be in order (vmbus_server_check) and every call it makes must
 * be one that its header allows (server_world.c). A small model beside it says what the guest must
 * hear.
 */
#include "tests/unit/vmbus/server_world.h"

#include <stdlib.h>
#include <string.h>

#define STEPS 60000u
#define GPADL_IDS 12u

static struct world world;
static uint64_t random_state;

static uint32_t roll(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 33) % below;
}

/* What must be answered and what must not be said. */
static struct {
	uint32_t opens_asked, opens_answered;
	uint32_t gpadls_asked, gpadls_answered, torndown;
	uint32_t devices_opened, contacts_answered;
} told;

static uint32_t some_channel_id(void)
{
	return roll(20) == 0 ? roll(4096) : roll(8);
}

static void listen_to_the_host(void)
{
	const struct vmbus_message_header *message;

	while ((message = guest_reads(&world, 0, 0))) {
		switch (message->type) {
		case VMBUS_MSG_OPEN_RESULT:
			told.opens_answered++;
			break;
		case VMBUS_MSG_GPADL_CREATED:
			told.gpadls_answered++;
			break;
		case VMBUS_MSG_GPADL_TORNDOWN:
			told.torndown++;
			break;
		case VMBUS_MSG_VERSION_RESPONSE:
			told.contacts_answered++;
			break;
		default:
			break;
		}
	}
	guest_reads_nothing(&world);
}

static void guest_makes_some_gpadl(void)
{
	uint32_t pages = roll(8) == 0 ? 1 + roll(200) : 4 + roll(4);
	uint64_t pfn = roll(10) == 0 ? WORLD_PAGES - roll(8) : roll(1000);

	guest_makes_gpadl(&world, some_channel_id(), roll(GPADL_IDS), pfn, pages);
	told.gpadls_asked++;
}

static void guest_begins_a_gpadl_only(void)
{
	uint64_t words[4] = { 0 };
	struct vmbus_msg_gpadl_header header = {
		.header.type = VMBUS_MSG_GPADL_HEADER,
		.channel_id = some_channel_id(),
		.gpadl_id = roll(GPADL_IDS),
		.range_bytes = (uint16_t)(roll(2) ? 48 : roll(65536)),
		.range_count = (uint16_t)(roll(4) ? 1 : roll(65536)),
	};

	memcpy(words, &header, sizeof(header));
	guest_posts(&world, words, 20 + roll(13));
}

static void guest_sends_some_body(void)
{
	uint64_t words[30];
	struct vmbus_msg_gpadl_body body = {
		.header.type = VMBUS_MSG_GPADL_BODY,
		.gpadl_id = roll(GPADL_IDS),
	};

	for (uint32_t i = 0; i < 30; i++)
		words[i] = roll(3) ? 4096 : roll(WORLD_PAGES + 16);
	memcpy(words, &body, sizeof(body));
	guest_posts(&world, words, 16 + roll(225));
}

static void guest_contacts_somehow(void)
{
	static const uint32_t versions[] = {
#define ONE(version) version,
		VMBUS_VERSIONS(ONE)
#undef ONE
	};
	uint32_t version = roll(10) == 0 ? roll(8) << 16 | roll(6) :
					   versions[roll(sizeof(versions) / sizeof(versions[0]))];

	guest_contacts(&world, version, roll(WORLD_VPS + 1));
}

static void guest_sends_junk(void)
{
	uint32_t words[60];

	for (uint32_t i = 0; i < 60; i++)
		words[i] = roll(2) ? roll(8) : (uint32_t)random_state;
	words[0] = roll(VMBUS_MSG_TYPE_MAX + 2);
	guest_posts_on(&world, roll(3) ? 1 : roll(6), words, roll(241));
}

static void guest_does_something(void)
{
	struct vmbus_message_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };
	struct vmbus_msg_modify_channel modify = { .header.type = VMBUS_MSG_MODIFY_CHANNEL };

	switch (roll(40)) {
	case 0:
		if (roll(4) == 0)
			guest_contacts_somehow();
		break;
	case 1:
		request.type = roll(10) ? VMBUS_MSG_REQUEST_OFFERS : VMBUS_MSG_UNLOAD;
		guest_posts(&world, &request, sizeof(request));
		break;
	case 2:
		guest_begins_a_gpadl_only();
		break;
	case 3:
		guest_sends_some_body();
		break;
	case 4:
		guest_sends_junk();
		break;
	case 5 ... 14:
		guest_makes_some_gpadl();
		break;
	case 15 ... 24:
		guest_opens(&world, some_channel_id(), roll(GPADL_IDS), roll(8) ? 2 : roll(9));
		told.opens_asked++;
		break;
	case 25 ... 28:
		guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, some_channel_id());
		break;
	case 29 ... 33:
		guest_tears_down(&world, some_channel_id(), roll(GPADL_IDS));
		break;
	case 34 ... 36:
		modify.channel_id = some_channel_id();
		modify.target_vp = roll(WORLD_VPS + 1);
		guest_posts(&world, &modify, sizeof(modify));
		break;
	default:
		guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, some_channel_id());
		break;
	}
}

static void a_device_takes_or_gives_a_gpadl(struct world_channel *channel)
{
	struct vmbus_server_range range;

	if (channel->device == DEVICE_IDLE)
		return;
	if (roll(2)) {
		if (vmbus_server_gpadl_get(&world.server, &channel->server, roll(GPADL_IDS),
					   roll(2), &range) == 0)
			for (uint32_t i = 0; i < range.pfn_count; i++)
				assert_true(range.pfns[i] < WORLD_PAGES);
	} else if (vmbus_server_gpadl_put(
			   &world.server, &channel->server,
			   channel->open.ring_gpadl_id + 1 +
				   roll(3))) { /* never the ring's: the server holds it */
		vmbus_server_answer_teardowns(&world.server);
	}
}

/* Channels 0..3 are devices, 4.. are their sub-channels. */
static void the_host_does_something(void)
{
	uint32_t at = roll(WORLD_CHANNELS);
	struct world_channel *channel = &world.channels[at];

	switch (roll(12)) {
	case 0:
		if (!channel->offered && at < 4)
			(void)world_offer(&world, at);
		else if (!channel->offered)
			(void)world_offer_sub(&world, at, at % 4, (uint16_t)(at / 4));
		break;
	case 1:
		if (channel->offered && !channel->rescinding && roll(4) == 0) {
			/* The sub-channels go with it; the judge wants to know. */
			world_rescind(&world, at);
		}
		break;
	case 2:
		if (channel->device == DEVICE_OPEN)
			vmbus_server_break(&world.server, &channel->server);
		break;
	case 3:
		a_device_takes_or_gives_a_gpadl(channel);
		break;
	case 4:
		if (channel->device == DEVICE_OPENING) {
			channel->device = DEVICE_IDLE;
			vmbus_server_open_done(&world.server, &channel->server, -LIS_NOMEM);
		}
		break;
	case 5:
		if (roll(200) == 0)
			vmbus_server_reset(&world.server);
		break;
	default:
		world_answer(&world, channel);
		break;
	}
	world_check(&world);
}

static void run_monkey(uint64_t seed, int allocs_until_failure)
{
	struct vmbus_server_config config = { .vp_count = WORLD_VPS };

	random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	memset(&told, 0, sizeof(told));
	world_init(&world, &config);
	for (uint32_t step = 0; step < STEPS; step++) {
		/* Memory comes and goes. */
		if (allocs_until_failure >= 0 && roll(50) == 0)
			world.allocs_until_failure = (int)roll((uint32_t)allocs_until_failure + 1);
		if (roll(300) == 0)
			world.open_error = -LIS_BUSY;
		if (roll(500) == 0)
			world.connect_error = -LIS_NOMEM;
		if (world.server.state == VMBUS_SERVER_DISCONNECTED && roll(3) == 0)
			guest_contacts_somehow();
		if (roll(5) < 3)
			guest_does_something();
		else
			the_host_does_something();
		for (uint32_t i = 0; i < WORLD_CHANNELS; i++)
			told.devices_opened += world.channels[i].device == DEVICE_OPEN;
		listen_to_the_host();
	}
	/* It went somewhere: not all of it was refused. */
	assert_true(told.devices_opened > STEPS / 100);
	assert_true(told.opens_answered <= told.opens_asked + STEPS / 100);
	assert_true(told.gpadls_answered > 0 && told.torndown > 0 && told.contacts_answered > 10);
	world_fini(&world);
}

static void anything_at_any_time_leaves_the_books_in_order(void **state)
{
	for (uint64_t seed = 1; seed <= 8; seed++)
		run_monkey(seed, -1);
}

static void so_it_does_where_memory_runs_out(void **state)
{
	for (uint64_t seed = 100; seed < 104; seed++)
		run_monkey(seed, 8);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anything_at_any_time_leaves_the_books_in_order),
		cmocka_unit_test(so_it_does_where_memory_runs_out),
	};

	/* One seed by hand, to go on looking: test_vmbus_server_monkey SEED */
	if (argc > 1) {
		run_monkey(strtoull(argv[1], NULL, 0), -1);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
