// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The server: connection, offers, and messages that should not be, in each state and version. */
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

/* Negotiation. */

static void each_version_is_agreed_on_in_its_own_form(void **state)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		bool newest = versions[i] == VMBUS_VERSION_COPPER;
		uint32_t expected = versions[i] >= VMBUS_VERSION_WIN10_V5 ? 1 : versions[i];
		const struct vmbus_msg_version_response *response;

		world_init(&world, NULL);
		guest_contacts(&world, versions[i], 2);
		assert_int_equal(world.sent[0].vp, versions[i] >= VMBUS_VERSION_WIN8_1 ? 2 : 0);
		response = guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, newest ? 20 : 16);
		assert_int_equal(response->supported, 1);
		assert_int_equal(response->connection_state, VMBUS_CONNECTION_SUCCESSFUL);
		assert_int_equal(response->version_or_connection_id, expected);
		guest_reads_nothing(&world);
		assert_int_equal(world.connection.version, versions[i]);
		assert_int_equal(world.connection.interrupt_page_gpa,
				 versions[i] < VMBUS_VERSION_WIN8 ? 0x5000 : 0);
		world_fini(&world);
	}
}

static void reads_refusal(uint32_t vp)
{
	const struct vmbus_msg_version_response *response;

	assert_int_equal(world.sent[world.read_count].vp, vp);
	response = guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	assert_int_equal(response->supported, 0);
	assert_int_equal(response->connection_state, 0);
	assert_int_equal(response->version_or_connection_id, 0);
	guest_reads_nothing(&world);
	assert_int_equal(world.server.state, VMBUS_SERVER_DISCONNECTED);
}

static void unknown_versions_are_refused_in_the_short_form(void **state)
{
	static const uint32_t unknown[] = { 0, 1, VMBUS_VERSION(2, 3), VMBUS_VERSION(5, 4),
					    VMBUS_VERSION(6, 1), VMBUS_VERSION(7, 0), UINT32_MAX };

	world_init(&world, NULL);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		guest_contacts(&world, unknown[i], 3);
		reads_refusal(unknown[i] >= VMBUS_VERSION_WIN8_1 ? 3 : 0);
	}
	world_fini(&world);
}

static void a_cap_refuses_what_is_newer_and_closes_port_4(void **state)
{
	for (size_t cap = 0; cap < VERSION_COUNT; cap++) {
		struct vmbus_server_config config = { .vp_count = WORLD_VPS,
						      .version_max = versions[cap] };

		world_init(&world, &config);
		assert_int_equal(vmbus_server_listens(&world.server, 4),
				 versions[cap] >= VMBUS_VERSION_WIN10_V5);
		assert_true(vmbus_server_listens(&world.server, 1));
		assert_false(vmbus_server_listens(&world.server, 2));
		for (size_t i = 0; i < VERSION_COUNT; i++) {
			struct vmbus_msg_initiate_contact contact = {
				.header.type = VMBUS_MSG_INITIATE_CONTACT,
				.version = versions[i],
			};

			guest_posts(&world, &contact,
				    sizeof(contact)); /* also newer ones on port 1 */
			assert_int_equal(world.server.state == VMBUS_SERVER_CONNECTED,
					 versions[i] <= versions[cap]);
		}
		world_fini(&world);
	}
}

static void a_cap_may_spare_the_first_guest(void **state)
{
	struct vmbus_server_config config = { .vp_count = WORLD_VPS,
					      .version_max = VMBUS_VERSION_WIN10,
					      .version_max_delayed = true };

	world_init(&world, &config);
	for (int boots = 0; boots < 2; boots++) {
		guest_contacts(&world, VMBUS_VERSION(6, 1), 0); /* a refusal spends nothing */
		guest_contacts(&world, VMBUS_VERSION_COPPER, 0);
		assert_int_equal(world.server.state, VMBUS_SERVER_CONNECTED);
		assert_true(vmbus_server_listens(&world.server, 4));
		guest_contacts(&world, VMBUS_VERSION_IRON, 0);
		assert_int_equal(world.server.state, VMBUS_SERVER_DISCONNECTED);
		assert_false(vmbus_server_listens(&world.server, 4));
		guest_contacts(&world, VMBUS_VERSION_WIN10, 0);
		assert_int_equal(world.server.state, VMBUS_SERVER_CONNECTED);
		vmbus_server_reset(&world.server);
	}
	world_fini(&world);
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

static void only_features_that_exist_are_granted(void **state)
{
	struct vmbus_msg_initiate_contact2 contact = contact_of(VMBUS_VERSION_COPPER);
	const struct vmbus_msg_version_response2 *response;

	world_init(&world, NULL);
	contact.contact.features = UINT32_MAX;
	guest_posts_on(&world, 4, &contact, sizeof(contact));
	response = guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, sizeof(*response));
	assert_int_equal(response->features, 0x09);
	assert_int_equal(guid_compare(&world.connection.client_id, &contact.client_id), 0);
	/* The client's id is told by the length; without it the flag is a lie. */
	guest_posts_on(&world, 4, &contact, sizeof(contact.contact));
	reads_refusal(0);
	contact.contact.version = VMBUS_VERSION_IRON;
	guest_posts_on(&world, 4, &contact, sizeof(contact));
	assert_int_equal(world.connection.features, 0);
	world_fini(&world);
}

static void monitor_pages_come_in_pairs(void **state)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		struct vmbus_msg_initiate_contact2 contact = contact_of(versions[i]);
		const struct vmbus_msg_version_response *response;
		bool can_tell = versions[i] >= VMBUS_VERSION_WIN8;

		world_init(&world, NULL);
		contact.contact.host_to_guest_monitor_gpa = 0x1000;
		guest_posts(&world, &contact, sizeof(contact.contact));
		response = guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
		assert_int_equal(response->supported, can_tell);
		assert_int_equal(response->connection_state,
				 can_tell ? VMBUS_CONNECTION_UNKNOWN_FAILURE : 0);
		assert_int_equal(world.server.state, VMBUS_SERVER_DISCONNECTED);
		world_fini(&world);
	}
}

static void a_port_that_cannot_take_the_guest_refuses_it(void **state)
{
	const struct vmbus_msg_version_response *response;

	world_init(&world, NULL);
	world.connect_error = -LIS_NOMEM;
	guest_contacts(&world, VMBUS_VERSION_IRON, 0);
	response = guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	assert_int_equal(response->connection_state, VMBUS_CONNECTION_LOW_RESOURCES);
	world.connect_error = -LIS_INVALID;
	guest_contacts(&world, VMBUS_VERSION_WIN7, 0);
	reads_refusal(0);
	world_fini(&world);
}

static void contacts_for_others_are_not_taken(void **state)
{
	struct vmbus_msg_initiate_contact2 contact = contact_of(VMBUS_VERSION_IRON);

	world_init(&world, NULL);
	contact.contact.vtl = 2;
	guest_posts_on(&world, 4, &contact, sizeof(contact.contact));
	guest_reads_nothing(&world);
	contact.contact.version = VMBUS_VERSION_WIN10_V5; /* the field is younger */
	guest_posts_on(&world, 4, &contact, sizeof(contact.contact));
	assert_int_equal(world.server.state, VMBUS_SERVER_CONNECTED);
	guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	contact.contact.vtl = 0;
	contact.contact.sint = 5;
	guest_posts_on(&world, 4, &contact, sizeof(contact.contact));
	reads_refusal(0);
	guest_posts_on(&world, 1, &contact, sizeof(contact.contact)); /* not looked at on port 1 */
	assert_int_equal(world.server.state, VMBUS_SERVER_CONNECTED);
	guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	contact = contact_of(VMBUS_VERSION_IRON);
	contact.contact.target_vp = WORLD_VPS;
	guest_posts_on(&world, 4, &contact, sizeof(contact.contact));
	reads_refusal(0);
	assert_int_equal(violations(), 3);
	world_fini(&world);
}

static void a_new_contact_is_answered_when_everything_is_closed(void **state)
{
	world_init(&world, NULL);
	world_offer(&world, 0);
	world_offer(&world, 1);
	guest_connects(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 7);
	guest_makes_gpadl(&world, world.channels[1].server.id, 8, 0x100, 100);
	guest_reads_created(&world, 8);
	guest_contacts(&world, VMBUS_VERSION_WIN10, 1);
	guest_reads_nothing(&world);
	/* Between the lives nothing else is heard. */
	guest_tears_down(&world, 1, 7);
	guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	assert_int_equal(violations(), 2);
	/* The newest request counts. */
	guest_contacts(&world, VMBUS_VERSION_WIN8_1, 2);
	guest_reads_nothing(&world);
	world_answer_all(&world);
	assert_int_equal(world.sent[0].vp, 2);
	guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	guest_reads_nothing(&world);
	assert_int_equal(world.connection.version, VMBUS_VERSION_WIN8_1);
	assert_int_equal(world.allocated, 0);
	world_fini(&world);
}

static void unload_is_answered_where_it_was_asked_for(void **state)
{
	struct vmbus_message_header unload = { .type = VMBUS_MSG_UNLOAD };

	for (size_t i = 0; i < VERSION_COUNT; i++) {
		world_init(&world, NULL);
		world_offer(&world, 0);
		guest_contacts(&world, versions[i], 3);
		guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, i == 0 ? 20 : 16);
		guest_reads_nothing(&world);
		guest_posts(&world, &unload, sizeof(unload));
		assert_int_equal(world.server.state, VMBUS_SERVER_DISCONNECTED);
		if (versions[i] != VMBUS_VERSION_WS2008) { /* which does not know the answer */
			assert_int_equal(world.sent[0].vp,
					 versions[i] >= VMBUS_VERSION_WIN8_1 ? 3 : 0);
			guest_reads(&world, VMBUS_MSG_UNLOAD_COMPLETE, 8);
		}
		guest_reads_nothing(&world);
		world_fini(&world);
	}
}

static void unload_waits_for_devices_and_no_longer(void **state)
{
	struct vmbus_message_header unload = { .type = VMBUS_MSG_UNLOAD };

	world_init(&world, NULL);
	guest_posts(&world, &unload, sizeof(unload)); /* nobody there: answered all the same */
	guest_reads(&world, VMBUS_MSG_UNLOAD_COMPLETE, 8);
	guest_reads_nothing(&world);
	world_offer(&world, 0);
	guest_connects(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 7);
	guest_posts(&world, &unload, sizeof(unload));
	guest_reads_nothing(&world);
	assert_true(world_answer(&world, &world.channels[0]));
	guest_reads(&world, VMBUS_MSG_UNLOAD_COMPLETE, 8);
	world_fini(&world);
}

static void a_reset_overrules_what_the_guest_wanted(void **state)
{
	world_init(&world, NULL);
	world_offer(&world, 0);
	guest_connects(&world, VMBUS_VERSION_IRON);
	guest_has_open(&world, 0, 7);
	guest_contacts(&world, VMBUS_VERSION_IRON, 0);
	vmbus_server_reset(&world.server);
	guest_contacts(&world, VMBUS_VERSION_IRON, 0);
	assert_int_equal(world.resets_done, 0);
	world_answer_all(&world);
	assert_int_equal(world.resets_done, 1);
	guest_reads_nothing(&world);
	assert_int_equal(world.server.state, VMBUS_SERVER_DISCONNECTED);
	world_fini(&world);
}

/* Offers. */

static void offers_come_sorted_with_the_lowest_ids(void **state)
{
	struct vmbus_message_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };
	struct guid last = { { 0 } };

	world_init(&world, NULL);
	/* Order within an interface comes before the instance id. */
	for (uint32_t i = 0; i < 9; i++) {
		uint32_t at = i * 5 % 9;

		assert_int_equal(world_offer(&world, at), 0);
	}
	guest_contacts(&world, VMBUS_VERSION_IRON, 1);
	guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	guest_posts(&world, &request, sizeof(request));
	for (uint32_t id = 1; id <= 9; id++) {
		const struct vmbus_msg_offer_channel *offer =
			guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, sizeof(*offer));

		assert_int_equal(offer->channel_id, id);
		assert_true(guid_compare(&last, &offer->interface_id) <= 0);
		last = offer->interface_id;
		assert_int_equal(offer->connection_id, 0x2000 | id);
		assert_int_equal(offer->is_dedicated, 1);
		assert_int_equal(offer->monitor_id, 0xff);
		assert_int_equal(offer->monitor_allocated, 0);
		assert_int_equal(offer->flags, VMBUS_OFFER_DEVICE_INTERFACE);
		assert_int_equal(world.sent[world.read_count - 1].vp, 1);
	}
	guest_reads(&world, VMBUS_MSG_ALL_OFFERS_DELIVERED, 8);
	guest_reads_nothing(&world);
	guest_posts(&world, &request, sizeof(request));
	guest_reads_nothing(&world);
	assert_int_equal(violations(), 1);
	world_fini(&world);
}

static void the_order_of_a_device_comes_before_its_instance(void **state)
{
	world_init(&world, NULL);
	for (uint32_t i = 0; i < 3; i++) {
		struct world_channel *channel = &world.channels[i];

		channel->server.offer.instance_id = GUID(i + 1, 0, 0, 0, 0);
		channel->server.offer.order = 3 - i;
		channel->offered = true;
		assert_int_equal(vmbus_server_offer(&world.server, &channel->server), 0);
	}
	guest_connects(&world, VMBUS_VERSION_IRON);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(world.channels[i].server.id, 3 - i);
	world_fini(&world);
}

static void a_device_that_comes_late_is_offered_at_once(void **state)
{
	const struct vmbus_msg_offer_channel *offer;

	world_init(&world, NULL);
	world_offer(&world, 0);
	guest_contacts(&world, VMBUS_VERSION_IRON, 0);
	guest_reads(&world, VMBUS_MSG_VERSION_RESPONSE, 16);
	world_offer(&world, 1);
	guest_reads_nothing(&world); /* not before the guest asks */
	guest_connects(&world, VMBUS_VERSION_IRON);
	assert_int_equal(world_offer(&world, 2), 0);
	offer = guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, sizeof(*offer));
	assert_int_equal(offer->channel_id, 3);
	assert_int_equal(offer->mmio_megabytes, 2);
	world_fini(&world);
}

static void one_instance_is_offered_once(void **state)
{
	world_init(&world, NULL);
	assert_int_equal(world_offer(&world, 0), 0);
	world.channels[1].server.offer = world.channels[0].server.offer;
	assert_int_equal(vmbus_server_offer(&world.server, &world.channels[1].server), -LIS_BUSY);
	world_fini(&world);
}

static void a_bus_is_full_at_2047(void **state)
{
	struct vmbus_message_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };
	struct world_channel *many = calloc(2048, sizeof(*many));

	world_init(&world, NULL);
	for (uint32_t i = 0; i < 2048; i++) {
		many[i].offered = true;
		many[i].server.offer.instance_id = GUID(i * 7919 % 2048, 0, 0, 0, 0);
		assert_int_equal(vmbus_server_offer(&world.server, &many[i].server),
				 i < 2047 ? 0 : -LIS_FULL);
	}
	guest_contacts(&world, VMBUS_VERSION_IRON, 0);
	guest_posts(&world, &request, sizeof(request));
	assert_int_equal(world.sent_count, 1 + 2047 + 1);
	/* An id that is dead is not given again; the late one waits for it. */
	many[0].rescinding = true;
	vmbus_server_rescind(&world.server, &many[0].server);
	world.read_count = world.sent_count = 0;
	assert_int_equal(vmbus_server_offer(&world.server, &many[2047].server), 0);
	guest_reads_nothing(&world);
	guest_sends_channel(&world, VMBUS_MSG_RELID_RELEASED, 1);
	guest_reads(&world, VMBUS_MSG_OFFER_CHANNEL, 196);
	assert_int_equal(many[2047].server.id, 1);
	for (uint32_t i = 1; i < 2048; i++) {
		world.read_count = world.sent_count = 0;
		many[i].rescinding = true;
		vmbus_server_rescind(&world.server, &many[i].server);
	}
	free(many);
	world_fini(&world);
}

/* Everything else a guest may say. */

static void sockets_and_reserved_channels_are_declined(void **state)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		struct vmbus_msg_tl_connect_request connect = {
			.header.type = VMBUS_MSG_TL_CONNECT_REQUEST,
			.endpoint_id = GUID(1, 0, 0, 0, 0), .service_id = GUID(2, 0, 0, 0, 0),
		};
		struct vmbus_msg_open_reserved_channel reserved = {
			.header.type = VMBUS_MSG_OPEN_RESERVED_CHANNEL, .channel_id = 1,
			.target_vp = 3, .target_sint = 2,
		};
		const struct vmbus_msg_tl_connect_result *result;

		world_offered_and_connected(&world, versions[i]);
		guest_posts(&world, &connect, sizeof(connect));
		if (versions[i] >= VMBUS_VERSION_WIN10_V4_1) {
			result = guest_reads(&world, VMBUS_MSG_TL_CONNECT_RESULT, sizeof(*result));
			assert_int_equal(result->status, VMBUS_STATUS_CONNECTION_REFUSED);
			assert_int_equal(guid_compare(&result->service_id, &connect.service_id), 0);
		}
		guest_reads_nothing(&world);
		guest_posts(&world, &reserved, sizeof(reserved));
		if (versions[i] >= VMBUS_VERSION_WIN10) {
			assert_int_equal(world.sent[0].vp, 3);
			guest_reads(&world, VMBUS_MSG_OPEN_RESULT, 20);
			assert_int_equal(violations(), 0);
		} else {
			assert_int_equal(violations(), 2);
		}
		reserved.target_sint = 3;
		guest_posts(&world, &reserved, sizeof(reserved));
		reserved.target_sint = 2;
		reserved.target_vp = WORLD_VPS;
		guest_posts(&world, &reserved, sizeof(reserved));
		guest_reads_nothing(&world);
		world_fini(&world);
	}
}

/* One of each state a channel, and the connection, can be in. */
enum moment {
	NOBODY,
	CONTACTED,
	OFFERED,
	OPENING,
	OPEN,
	CLOSING,
	REOPENING,
	DEAD,
	LEAVING,
	MOMENTS
};

static void come_to(enum moment moment)
{
	world_init(&world, NULL);
	world_offer(&world, 0);
	world_offer(&world, 1);
	if (moment == NOBODY)
		return;
	guest_contacts(&world, VMBUS_VERSION_COPPER, 0);
	if (moment == CONTACTED)
		return;
	guest_connects(&world, VMBUS_VERSION_COPPER);
	if (moment == OFFERED)
		return;
	guest_makes_gpadl(&world, 1, 1, 0x10, 4);
	guest_opens(&world, 1, 1, 2);
	if (moment == OPENING)
		return;
	world_answer_all(&world);
	if (moment == CLOSING || moment == REOPENING)
		guest_sends_channel(&world, VMBUS_MSG_CLOSE_CHANNEL, 1);
	if (moment == REOPENING)
		guest_opens(&world, 1, 1, 2);
	if (moment == DEAD)
		world_rescind(&world, 0);
	if (moment == LEAVING)
		guest_contacts(&world, VMBUS_VERSION_COPPER, 0);
}

/* Whatever fits into a message slot, the next guest finds a bus that works. */
static void any_type_of_any_length_in_any_state_does_no_harm(void **state)
{
	for (int moment = 0; moment < MOMENTS; moment++) {
		for (uint32_t type = 0; type <= VMBUS_MSG_TYPE_MAX + 2; type++) {
			come_to((enum moment)moment);
			for (size_t bytes = 0; bytes <= VMBUS_MESSAGE_BYTES_MAX + 8; bytes++) {
				uint32_t words[62];

				for (size_t i = 0; i < 62; i++)
					words[i] = (uint32_t)(bytes % 3); /* ids 0, 1 and 2 */
				words[0] = type;
				world.read_count = world.sent_count = 0;
				guest_posts_on(&world, bytes % 2 ? 1 : 4, words, bytes);
				world_check(&world);
				if (bytes % 5 == 0)
					world_answer_all(&world);
			}
			world_answer_all(&world);
			world.read_count = world.sent_count = 0;
			guest_connects(&world, VMBUS_VERSION_IRON);
			world_fini(&world);
		}
	}
}

static void short_messages_and_those_of_the_host_are_violations(void **state)
{
	static const uint8_t bytes_min[VMBUS_MSG_TYPE_MAX + 1] = {
		[VMBUS_MSG_OPEN_CHANNEL] = 148, [VMBUS_MSG_CLOSE_CHANNEL] = 12,
		[VMBUS_MSG_GPADL_HEADER] = 20, [VMBUS_MSG_GPADL_BODY] = 16,
		[VMBUS_MSG_GPADL_TEARDOWN] = 16, [VMBUS_MSG_RELID_RELEASED] = 12,
		[VMBUS_MSG_INITIATE_CONTACT] = 40, [VMBUS_MSG_OPEN_RESERVED_CHANNEL] = 28,
		[VMBUS_MSG_TL_CONNECT_REQUEST] = 40, [VMBUS_MSG_MODIFY_CHANNEL] = 16,
		[VMBUS_MSG_UNLOAD] = 8, [VMBUS_MSG_REQUEST_OFFERS] = 8,
	};

	for (uint32_t type = 0; type <= VMBUS_MSG_TYPE_MAX; type++) {
		size_t end = bytes_min[type] ? bytes_min[type] : 241;

		for (size_t bytes = 0; bytes < end; bytes++) {
			uint32_t words[61] = { type };

			world_offered_and_connected(&world, VMBUS_VERSION_IRON);
			guest_posts(&world, words, bytes);
			assert_int_equal(violations(), 1);
			guest_reads_nothing(&world);
			assert_int_equal(world.server.state, VMBUS_SERVER_CONNECTED);
			world_fini(&world);
		}
	}
}

static void without_a_connection_only_contact_and_unload_are_heard(void **state)
{
	world_init(&world, NULL);
	world_offer(&world, 0);
	for (uint32_t type = 0; type <= VMBUS_MSG_TYPE_MAX; type++) {
		uint32_t words[60] = { type };
		uint64_t before = violations();

		if (type == VMBUS_MSG_INITIATE_CONTACT || type == VMBUS_MSG_UNLOAD)
			continue;
		guest_posts(&world, words, sizeof(words));
		/* A guest that has just unloaded may still give its channels back. */
		assert_int_equal(violations() - before, type != VMBUS_MSG_RELID_RELEASED);
		guest_reads_nothing(&world);
	}
	world_fini(&world);
}

static void port_4_takes_contact_only(void **state)
{
	struct vmbus_message_header unload = { .type = VMBUS_MSG_UNLOAD };

	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	guest_posts_on(&world, 4, &unload, sizeof(unload));
	guest_posts_on(&world, 3, &unload, sizeof(unload));
	assert_int_equal(world.server.state, VMBUS_SERVER_CONNECTED);
	assert_int_equal(violations(), 2);
	world_fini(&world);
}

static void messages_that_cannot_be_posted_are_counted(void **state)
{
	world_offered_and_connected(&world, VMBUS_VERSION_IRON);
	world.post_fails = true;
	guest_makes_gpadl(&world, 1, 5, 0x10, 4);
	guest_opens(&world, 1, 5, 2);
	world_answer_all(&world);
	assert_int_equal(world.server.counters.messages_lost, 2);
	world.post_fails = false;
	assert_int_equal(world.channels[0].device, DEVICE_OPEN);
	world_fini(&world);
}

static void memory_that_runs_out_costs_one_request(void **state)
{
	for (int at = 0; at < 4; at++) {
		world_offered_and_connected(&world, VMBUS_VERSION_IRON);
		world.allocs_until_failure = at;
		for (uint32_t id = 0; id < 4; id++) {
			guest_makes_gpadl(&world, 1, id, 0x10, 4);
			assert_int_equal(guest_reads_created(&world, id), (int)id < at ? 0 :
					 VMBUS_STATUS_INSUFFICIENT_RESOURCES);
		}
		assert_int_equal(world.server.counters.no_memory, 4 - at);
		assert_int_equal(violations(), 0);
		world.allocs_until_failure = -1;
		guest_has_open(&world, 0, 9);
		world_fini(&world);
	}
}

static void the_numbers_of_channels_stay_the_same_over_connections(void **state)
{
	uint16_t ids[9];

	world_init(&world, NULL);
	for (uint32_t i = 0; i < 9; i++)
		world_offer(&world, 8 - i);
	for (int round = 0; round < 3; round++) {
		guest_connects(&world, VMBUS_VERSION_IRON);
		for (uint32_t i = 0; i < 9; i++) {
			if (round > 0)
				assert_int_equal(world.channels[i].server.id, ids[i]);
			ids[i] = world.channels[i].server.id;
		}
		world_rescind(&world, 4);
		world_offer(&world, 4);
	}
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_version_is_agreed_on_in_its_own_form),
		cmocka_unit_test(unknown_versions_are_refused_in_the_short_form),
		cmocka_unit_test(a_cap_refuses_what_is_newer_and_closes_port_4),
		cmocka_unit_test(a_cap_may_spare_the_first_guest),
		cmocka_unit_test(only_features_that_exist_are_granted),
		cmocka_unit_test(monitor_pages_come_in_pairs),
		cmocka_unit_test(a_port_that_cannot_take_the_guest_refuses_it),
		cmocka_unit_test(contacts_for_others_are_not_taken),
		cmocka_unit_test(a_new_contact_is_answered_when_everything_is_closed),
		cmocka_unit_test(unload_is_answered_where_it_was_asked_for),
		cmocka_unit_test(unload_waits_for_devices_and_no_longer),
		cmocka_unit_test(a_reset_overrules_what_the_guest_wanted),
		cmocka_unit_test(offers_come_sorted_with_the_lowest_ids),
		cmocka_unit_test(the_order_of_a_device_comes_before_its_instance),
		cmocka_unit_test(a_device_that_comes_late_is_offered_at_once),
		cmocka_unit_test(one_instance_is_offered_once),
		cmocka_unit_test(a_bus_is_full_at_2047),
		cmocka_unit_test(sockets_and_reserved_channels_are_declined),
		cmocka_unit_test(any_type_of_any_length_in_any_state_does_no_harm),
		cmocka_unit_test(short_messages_and_those_of_the_host_are_violations),
		cmocka_unit_test(without_a_connection_only_contact_and_unload_are_heard),
		cmocka_unit_test(port_4_takes_contact_only),
		cmocka_unit_test(messages_that_cannot_be_posted_are_counted),
		cmocka_unit_test(memory_that_runs_out_costs_one_request),
		cmocka_unit_test(the_numbers_of_channels_stay_the_same_over_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
