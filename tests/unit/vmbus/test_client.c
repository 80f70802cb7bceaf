// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The client against a scripted host, well-behaved and not.
 */
#include "tests/unit/vmbus/client_world.h"

static const uint32_t versions[] = {
#define VERSION_ENTRY(version) version,
	VMBUS_VERSIONS(VERSION_ENTRY)
#undef VERSION_ENTRY
};

#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

static void host_refuses_version(struct port *port)
{
	const struct vmbus_msg_version_response message = {
		.header.type = VMBUS_MSG_VERSION_RESPONSE
	};

	host_sends(port, &message, sizeof(message));
}

/* Connecting */

static void contact_has_the_form_of_its_version(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = {
		.features = VMBUS_FEATURE_CLIENT_ID, .target_vp = 3,
		.interrupt_page_gpa = 0x7000, .host_to_guest_monitor_gpa = 0x8000,
		.guest_to_host_monitor_gpa = 0x9000, .client_id.bytes = { 1, 2, 3 },
	};

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		bool newest = versions[i] >= VMBUS_VERSION_COPPER;
		const struct vmbus_msg_initiate_contact2 *message =
			port_reads(port, VMBUS_MSG_INITIATE_CONTACT, newest ? 56 : 40);

		assert_int_equal(port->posted[port->read_count - 1].connection_id,
				 versions[i] >= VMBUS_VERSION_WIN10_V5 ? 4 : 1);
		assert_int_equal(message->contact.version, versions[i]);
		assert_int_equal(message->contact.target_vp, 3);
		assert_int_equal(message->contact.host_to_guest_monitor_gpa, 0x8000);
		assert_int_equal(message->contact.guest_to_host_monitor_gpa, 0x9000);
		if (versions[i] >= VMBUS_VERSION_WIN10_V5) {
			assert_int_equal(message->contact.sint, 2);
			assert_int_equal(message->contact.vtl, 0);
			assert_int_equal(message->contact.features, newest ? 8 : 0);
		} else {
			assert_int_equal(message->contact.interrupt_page_gpa, 0x7000);
		}
		if (newest)
			assert_memory_equal(&message->client_id, &config.client_id, 16);
		port_reads_nothing(port);
		assert_int_equal(port->connects, 0);
		host_refuses_version(port);
	}
	assert_int_equal(port->connected, -LIS_REFUSED);
	assert_int_equal(port->connects, 1);
	port_reads_nothing(port);
}

static void connection_uses_what_the_host_accepts(void **state)
{
	struct port *port = *state;

	for (size_t i = 0; i < VERSION_COUNT; i++) {
		port_connects(port, versions[i]);
		assert_int_equal(port->posted[0].connection_id,
				 versions[i] >= VMBUS_VERSION_WIN10_V5 ? 4 : 1);
		/* The request for offers went where the host said. */
		assert_int_equal(port->posted[1].connection_id,
				 versions[i] >= VMBUS_VERSION_WIN10_V5 ? 77 : 1);
		vmbus_client_unload(&port->client);
		if (versions[i] >= VMBUS_VERSION_WIN8_1) {
			port_reads(port, VMBUS_MSG_UNLOAD, 8);
			host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE);
		}
		assert_int_equal(port->unloads, i + 1);
		port_reads_nothing(port);
	}
}

static void a_host_that_listens_nowhere_is_given_up(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = { 0 };

	port->post_error = -LIS_NOTFOUND;
	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	assert_int_equal(port->connected, -LIS_NOTFOUND);
	assert_int_equal(port->client.state, VMBUS_CLIENT_IDLE);
}

static int listens_at_1_only(void *argument, uint32_t connection_id, const void *payload,
			     size_t bytes)
{
	struct port *port = argument;

	port->retries_asked++; /* counts posts here */
	if (connection_id != 1)
		return -LIS_NOTFOUND;
	port->interrupt_bit = ((const struct vmbus_msg_initiate_contact *)payload)->version;
	return 0;
}

static void hosts_without_connection_4_are_asked_for_4_1_next(void **state)
{
	struct port *port = *state;
	struct vmbus_client_ops ops = *port->client.ops;
	const struct vmbus_client_ops *before = port->client.ops;
	const struct vmbus_client_config config = { 0 };

	ops.post_message = listens_at_1_only;
	port->client.ops = &ops;
	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	assert_int_equal(port->retries_asked, 2);
	assert_int_equal(port->interrupt_bit, VMBUS_VERSION_WIN10_V4_1);
	port->client.ops = before;
}

static void versions_outside_the_wanted_range_are_not_asked_for(void **state)
{
	struct port *port = *state;
	struct vmbus_client_config config = { .version_max = VMBUS_VERSION_IRON,
					      .version_min = VMBUS_VERSION_WIN10_V5_2 };
	const struct vmbus_msg_initiate_contact *message;

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	message = port_reads(port, VMBUS_MSG_INITIATE_CONTACT, 40);
	assert_int_equal(message->version, VMBUS_VERSION_IRON);
	host_refuses_version(port);
	message = port_reads(port, VMBUS_MSG_INITIATE_CONTACT, 40);
	assert_int_equal(message->version, VMBUS_VERSION_WIN10_V5_2);
	host_refuses_version(port);
	port_reads_nothing(port);
	assert_int_equal(port->connected, -LIS_REFUSED);

	config.version_min = VMBUS_VERSION_COPPER;
	assert_int_equal(vmbus_client_connect(&port->client, &config), -LIS_INVALID);
	config = (struct vmbus_client_config){ .host_to_guest_monitor_gpa = 0x1000 };
	assert_int_equal(vmbus_client_connect(&port->client, &config), -LIS_INVALID);
	config = (struct vmbus_client_config){ .features = 0x80 };
	assert_int_equal(vmbus_client_connect(&port->client, &config), -LIS_INVALID);
	port_reads_nothing(port);
}

static void features_nobody_asked_for_are_not_taken(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = { .features = VMBUS_FEATURE_CLIENT_ID };

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	port_reads(port, VMBUS_MSG_INITIATE_CONTACT, 56);
	host_accepts(port, 0xffffffff);
	assert_int_equal(port->client.features, VMBUS_FEATURE_CLIENT_ID);
	assert_int_equal(vmbus_client_connect(&port->client, &config), -LIS_BUSY);
}

static void a_short_response_grants_no_features(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = { .features = VMBUS_CLIENT_FEATURES };
	const struct vmbus_msg_version_response message = {
		.header.type = VMBUS_MSG_VERSION_RESPONSE, .supported = 1,
		.version_or_connection_id = 9,
	};

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	host_sends(port, &message, sizeof(message));
	assert_int_equal(port->connected, 0);
	assert_int_equal(port->client.features, 0);
	assert_int_equal(port->client.connection_id, 9);
}

static void version_responses_out_of_turn_are_violations(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = { 0 };

	host_refuses_version(port);
	assert_int_equal(violations(port), 1);
	port->post_error = -LIS_FULL;
	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	host_refuses_version(port); /* before the question was sent */
	assert_int_equal(violations(port), 1);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	host_accepts(port, 0);
	host_accepts(port, 0);
	assert_int_equal(violations(port), 1);
	assert_int_equal(port->connects, 1);
}

/* Hostile messages */

static void messages_of_every_type_and_length_are_checked(void **state)
{
	struct port *port = *state;

	for (int connect = 0; connect < 2; connect++) {
		for (uint32_t type = 0; type < 40; type++) {
			for (size_t bytes = 0; bytes <= VMBUS_MESSAGE_BYTES_MAX + 8; bytes++) {
				uint64_t message[(VMBUS_MESSAGE_BYTES_MAX + 8) / 8], count;

				memset(message, 0xff, sizeof(message));
				((struct vmbus_message_header *)message)->type = type;
				host_sends(port, message, bytes);
				/* Nothing here names anything that exists. */
				assert_int_equal(port->offers + port->rescinds, 0);
				count = violations(port);
				if (connect && type != VMBUS_MSG_ALL_OFFERS_DELIVERED)
					assert_int_equal(count, 1);
				port_reads_nothing(port);
			}
		}
		port_reads_nothing(port);
		if (!connect)
			port_connects(port, VMBUS_VERSION_IRON);
	}
}

static void messages_cut_short_do_nothing(void **state)
{
	struct port *port = *state;
	const struct vmbus_msg_offer_channel offer = make_offer(5, 1, 0);
	struct vmbus_client_channel *channel;

	port_connects(port, VMBUS_VERSION_IRON);
	for (size_t bytes = 0; bytes < sizeof(offer); bytes++)
		host_sends(port, &offer, bytes);
	assert_int_equal(port->offers, 0);
	assert_int_equal(violations(port), sizeof(offer));
	channel = host_offers(port, 5, 1, 0);
	assert_non_null(channel);
	for (size_t bytes = 0; bytes < 12; bytes++) {
		const struct vmbus_msg_channel rescind = {
			.header.type = VMBUS_MSG_RESCIND_OFFER, .channel_id = 5
		};

		host_sends(port, &rescind, bytes);
	}
	assert_false(channel->rescinded);
}

/* Offers */

static void an_offer_arrives_whole(void **state)
{
	struct port *port = *state;
	struct vmbus_msg_offer_channel wire = make_offer(7, 9, 0);
	const struct vmbus_client_offer *offer;

	wire.flags = VMBUS_OFFER_NAMED_PIPE;
	wire.mmio_megabytes = 8;
	wire.mmio_megabytes_optional = 64;
	wire.monitor_allocated = 1;
	wire.monitor_id = 12;
	memset(wire.user_data, 0x5a, sizeof(wire.user_data));
	port_connects(port, VMBUS_VERSION_IRON);
	host_sends(port, &wire, sizeof(wire));
	offer = &port->last_offered->offer;
	assert_memory_equal(&offer->interface_id, &wire.interface_id, 16);
	assert_memory_equal(&offer->instance_id, &wire.instance_id, 16);
	assert_int_equal(offer->flags, VMBUS_OFFER_NAMED_PIPE);
	assert_int_equal(offer->mmio_megabytes, 8);
	assert_int_equal(offer->mmio_megabytes_optional, 64);
	assert_int_equal(offer->sub_channel_index, 0);
	assert_int_equal(offer->channel_id, 7);
	assert_int_equal(offer->monitor_id, 12);
	assert_int_equal(offer->connection_id, 0x2007);
	assert_true(offer->dedicated_signal);
	assert_memory_equal(offer->user_data, wire.user_data, VMBUS_USER_DATA_BYTES);
	assert_ptr_equal(vmbus_client_channel(&port->client, 7), port->last_offered);
	assert_null(vmbus_client_channel(&port->client, 8));
	assert_null(vmbus_client_channel(&port->client, UINT32_MAX));
	host_sends_type(port, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	assert_int_equal(port->deliveries, 1);
	host_sends_type(port, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	assert_int_equal(port->deliveries, 1);
	assert_int_equal(violations(port), 1);
}

static void monitor_ids_stay_within_their_pages(void **state)
{
	struct port *port = *state;

	port_connects(port, VMBUS_VERSION_IRON);
	for (uint32_t monitor = 0; monitor < 256; monitor++) {
		struct vmbus_msg_offer_channel wire = make_offer(1 + monitor, (uint8_t)monitor, 0);

		wire.monitor_allocated = 1;
		wire.monitor_id = (uint8_t)monitor;
		host_sends(port, &wire, sizeof(wire));
		assert_int_equal(port->last_offered->offer.monitor_id,
				 monitor < 4 * 32 ? monitor : VMBUS_MONITOR_NONE);
	}
}

static void channels_of_the_oldest_hosts_share_a_signal(void **state)
{
	struct port *port = *state;
	struct vmbus_msg_offer_channel wire = make_offer(7, 9, 0);

	port_connects(port, VMBUS_VERSION_WS2008);
	host_sends(port, &wire, offsetof(struct vmbus_msg_offer_channel, is_dedicated));
	assert_non_null(port->last_offered);
	vmbus_client_signal(&port->client, port->last_offered);
	assert_int_equal(port->signalled_connection, VMBUS_CONNECTION_EVENT);
	assert_int_equal(port->interrupt_bit, 7);
}

static void channels_of_newer_hosts_have_their_own_signal(void **state)
{
	struct port *port = *state;

	port_connects(port, VMBUS_VERSION_WIN7);
	vmbus_client_signal(&port->client, host_offers(port, 7, 9, 0));
	assert_int_equal(port->signalled_connection, 0x2007);
	assert_int_equal(port->interrupt_bit, 0);
}

static void only_possible_channel_ids_are_taken(void **state)
{
	static const uint32_t far[] = { 0x10001, 0x7fffffff, 0x80000001, 0xffffffff };
	struct port *port = *state;

	port_connects(port, VMBUS_VERSION_IRON);
	for (uint32_t id = 0; id < 5000; id++) {
		struct vmbus_msg_offer_channel offer = make_offer(id, 0, 0);

		memcpy(offer.instance_id.bytes, &id, 4);
		host_sends(port, &offer, sizeof(offer));
	}
	for (size_t i = 0; i < 4; i++)
		assert_null(host_offers(port, far[i], 0xff, 0));
	assert_int_equal(port->offers, VMBUS_CHANNEL_ID_MAX);
	assert_int_equal(violations(port), 5000 - VMBUS_CHANNEL_ID_MAX + 4);
	port_reads_nothing(port);
}

static void offers_that_clash_are_given_back(void **state)
{
	struct port *port = *state;
	const struct vmbus_msg_channel *release;

	port_connects(port, VMBUS_VERSION_IRON);
	assert_non_null(host_offers(port, 1, 1, 0));
	assert_null(host_offers(port, 1, 2, 0)); /* id in use: not even given back */
	port_reads_nothing(port);
	assert_null(host_offers(port, 2, 1, 0)); /* the same device */
	release = port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
	assert_int_equal(release->channel_id, 2);
	assert_null(host_offers(port, 3, 3, 1)); /* no such primary channel */
	release = port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
	assert_int_equal(release->channel_id, 3);
	assert_int_equal(violations(port), 3);
	port->refuse_offers = true;
	assert_null(host_offers(port, 4, 4, 0));
	release = port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
	assert_int_equal(release->channel_id, 4);
	assert_int_equal(violations(port), 0);
	port_reads_nothing(port);
}

static void sub_channels_belong_to_their_primary_channel(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *primary, *sub;

	port_connects(port, VMBUS_VERSION_IRON);
	primary = host_offers(port, 1, 1, 0);
	sub = host_offers(port, 2, 1, 1);
	assert_ptr_equal(sub->primary, primary);
	assert_null(primary->primary);
	assert_null(host_offers(port, 3, 1, 1)); /* the same index */
	assert_int_equal(violations(port), 1);
	port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
	assert_non_null(host_offers(port, 4, 1, 2));

	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 1);
	assert_int_equal(vmbus_client_release(&port->client, primary), -LIS_BUSY);
	for (uint32_t id = 2; id <= 4; id += 2) {
		host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, id);
		assert_int_equal(vmbus_client_release(&port->client, port->last_rescinded), 0);
		free(port->last_rescinded);
	}
	assert_int_equal(vmbus_client_release(&port->client, primary), 0);
	free(primary);
	port->live_channels -= 3;
}

static void offers_nobody_asked_for_are_ignored(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = { 0 };

	assert_int_equal(vmbus_client_request_offers(&port->client), -LIS_GONE);
	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	host_accepts(port, 0);
	assert_null(host_offers(port, 1, 1, 0));
	host_sends_type(port, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	assert_int_equal(violations(port), 2);
	assert_int_equal(port->deliveries, 0);
	assert_int_equal(vmbus_client_request_offers(&port->client), 0);
	assert_int_equal(vmbus_client_request_offers(&port->client), -LIS_BUSY);
}

/* Unload */

static void unload_drops_and_forgets_everything(void **state)
{
	struct port *port = *state;
	struct vmbus_client_gpadl gpadl;
	uint64_t pfn = 1;

	port_connects(port, VMBUS_VERSION_IRON);
	port_opens(port, host_offers(port, 6, 1, 0));
	host_offers(port, 7, 2, 0);
	port->post_error = -LIS_AGAIN;
	assert_int_equal(vmbus_client_gpadl_create(&port->client, port->last_offered, &gpadl, &pfn,
						   4096, 0), 0);
	vmbus_client_unload(&port->client);
	vmbus_client_unload(&port->client);
	host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE); /* not asked yet */
	assert_int_equal(violations(port), 1);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	port_reads(port, VMBUS_MSG_UNLOAD, 8);
	port_reads_nothing(port);
	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6); /* was on its way */
	assert_int_equal(violations(port), 0);
	assert_int_equal(port->rescinds, 0);
	assert_int_equal(port->unloads, 0);
	host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE);
	assert_int_equal(port->unloads, 1);
	assert_int_equal(port->forgotten, 2);
	host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE);
	assert_int_equal(violations(port), 1);
	port_connects(port, VMBUS_VERSION_COPPER);
}

/* As a guest hibernates: the next host numbers its channels otherwise. */
static void a_channel_outlives_unload_by_its_instance(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_offer sub_channel;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	port_opens(port, channel);
	port->keep_forgotten = true;
	vmbus_client_unload(&port->client);
	host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE);
	assert_ptr_equal(port->kept, channel);
	port->keep_forgotten = false;
	while (port->read_count < port->posted_count)
		port->read_count++;

	port_connects(port, VMBUS_VERSION_WIN10_V5_2);
	assert_ptr_not_equal(host_offers(port, 6, 2, 0), channel); /* another device has its id */
	assert_ptr_equal(host_offers(port, 9, 1, 0), channel);
	assert_int_equal(channel->offer.channel_id, 9);
	sub_channel = channel->offer;
	sub_channel.sub_channel_index = 1;
	assert_false(vmbus_client_is_same_channel(&channel->offer, &sub_channel));
	port_opens(port, channel);
	assert_int_equal(violations(port), 0);
}

static void unload_does_not_wait_for_a_host_that_is_not_there(void **state)
{
	struct port *port = *state;

	port_connects(port, VMBUS_VERSION_IRON);
	host_offers(port, 6, 1, 0);
	port->post_error = -LIS_IO;
	vmbus_client_unload(&port->client);
	assert_int_equal(port->unloads, 1);
	port->post_error = 0;
}

static void unload_ends_a_contact_under_way(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = { 0 };

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	vmbus_client_unload(&port->client);
	assert_int_equal(port->unloads, 1);
	assert_int_equal(port->connects, 0);
	host_refuses_version(port);
	assert_int_equal(violations(port), 1);
	assert_int_equal(port->connects, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PORT(contact_has_the_form_of_its_version),
		WITH_PORT(connection_uses_what_the_host_accepts),
		WITH_PORT(a_host_that_listens_nowhere_is_given_up),
		WITH_PORT(hosts_without_connection_4_are_asked_for_4_1_next),
		WITH_PORT(versions_outside_the_wanted_range_are_not_asked_for),
		WITH_PORT(features_nobody_asked_for_are_not_taken),
		WITH_PORT(a_short_response_grants_no_features),
		WITH_PORT(version_responses_out_of_turn_are_violations),
		WITH_PORT(messages_of_every_type_and_length_are_checked),
		WITH_PORT(messages_cut_short_do_nothing),
		WITH_PORT(an_offer_arrives_whole),
		WITH_PORT(monitor_ids_stay_within_their_pages),
		WITH_PORT(channels_of_the_oldest_hosts_share_a_signal),
		WITH_PORT(channels_of_newer_hosts_have_their_own_signal),
		WITH_PORT(only_possible_channel_ids_are_taken),
		WITH_PORT(offers_that_clash_are_given_back),
		WITH_PORT(sub_channels_belong_to_their_primary_channel),
		WITH_PORT(offers_nobody_asked_for_are_ignored),
		WITH_PORT(unload_drops_and_forgets_everything),
		WITH_PORT(a_channel_outlives_unload_by_its_instance),
		WITH_PORT(unload_does_not_wait_for_a_host_that_is_not_there),
		WITH_PORT(unload_ends_a_contact_under_way),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
