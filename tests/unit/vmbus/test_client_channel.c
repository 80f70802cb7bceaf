// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * GPADLs and channels of the client against a scripted host, well-behaved and not.
 */
#include "tests/unit/vmbus/client_world.h"

static const uint32_t versions[] = {
#define VERSION_ENTRY(version) version,
	VMBUS_VERSIONS(VERSION_ENTRY)
#undef VERSION_ENTRY
};

#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

/* GPADLs */

static uint64_t *make_pfns(uint32_t count)
{
	uint64_t *pfns = malloc(count * sizeof(*pfns)); /* exactly */

	for (uint32_t i = 0; i < count; i++)
		pfns[i] = 0x100000000u + i * 3u;
	return pfns;
}

/* What a host would put together from the messages. */
static void check_gpadl_messages(struct port *port, const struct vmbus_client_gpadl *gpadl,
				 const uint64_t *pfns, uint32_t count)
{
	const uint8_t *header = port_reads(port, VMBUS_MSG_GPADL_HEADER, 0);
	const struct posted *posted = &port->posted[port->read_count - 1];
	struct vmbus_msg_gpadl_header fields;
	struct vmbus_gpa_range range;
	uint32_t got;

	memcpy(&fields, header, sizeof(fields));
	memcpy(&range, header + 20, sizeof(range));
	assert_int_equal(fields.channel_id, gpadl->channel->offer.channel_id);
	assert_int_equal(fields.gpadl_id, gpadl->id);
	assert_int_equal(fields.range_bytes, 8 + 8 * count);
	assert_int_equal(fields.range_count, 1);
	assert_int_equal(range.byte_count, gpadl->byte_count);
	assert_int_equal(range.byte_offset, gpadl->byte_offset);
	got = (uint32_t)(posted->bytes - 28) / 8;
	assert_int_equal(got, count < 26 ? count : 26);
	assert_memory_equal(header + 28, pfns, got * 8);
	for (uint32_t number = 1; got < count; number++) {
		const struct vmbus_msg_gpadl_body *body = port_reads(port, VMBUS_MSG_GPADL_BODY, 0);
		uint32_t words;

		posted = &port->posted[port->read_count - 1];
		words = (uint32_t)(posted->bytes - 16) / 8;
		assert_int_equal(words, count - got < 28 ? count - got : 28);
		assert_int_equal(body->gpadl_id, gpadl->id);
		assert_int_equal(body->message_number, number);
		assert_memory_equal((const uint8_t *)body + 16, pfns + got, words * 8);
		got += words;
	}
	port_reads_nothing(port);
}

static void gpadls_of_any_size_are_described_whole(void **state)
{
	static const uint32_t large[] = { 1000, 4096, VMBUS_CLIENT_GPADL_PAGES_MAX };
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_gpadl gpadl;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	for (uint32_t i = 1; i <= 100 + 3; i++) {
		uint32_t count = i <= 100 ? i : large[i - 101];
		uint64_t *pfns = make_pfns(count);

		assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns,
							   count * 4096 - 100, 100), 0);
		check_gpadl_messages(port, &gpadl, pfns, count);
		free(pfns);
		assert_int_equal(vmbus_client_gpadl_teardown(&port->client, &gpadl), -LIS_BUSY);
		host_creates_gpadl(port, &gpadl, 0);
		assert_int_equal(port->gpadl_created, 0);
		assert_int_equal(vmbus_client_gpadl_teardown(&port->client, &gpadl), 0);
		assert_int_equal(vmbus_client_gpadl_teardown(&port->client, &gpadl), -LIS_BUSY);
		port_reads(port, VMBUS_MSG_GPADL_TEARDOWN, 16);
		port_reads_nothing(port);
		port->gpadl_torn_down = NOT_TOLD;
		host_tears_gpadl_down(port, gpadl.id);
		assert_int_equal(port->gpadl_torn_down, 0);
	}
}

static void gpadls_that_cannot_be_described_are_refused(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_gpadl gpadl;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, NULL, 0, 0),
			 -LIS_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, NULL, 1, 4096),
			 -LIS_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, NULL,
						   VMBUS_CLIENT_GPADL_PAGES_MAX * 4096, 1),
			 -LIS_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, NULL, UINT32_MAX,
						   4095), -LIS_INVALID);
	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, NULL, 1, 0),
			 -LIS_GONE);
	port_reads_nothing(port);
}

static void full_buffers_delay_and_do_not_reorder(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel, *other;
	struct vmbus_client_gpadl gpadl;
	uint64_t *pfns = make_pfns(100);

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	other = host_offers(port, 7, 2, 0);
	port_opens(port, channel);
	port_opens(port, other);
	port->post_error = -LIS_FULL;
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns, 409600, 0),
			 0);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), 0);
	assert_int_equal(vmbus_client_close(&port->client, other), 0);
	/* One message goes through with each retry. */
	for (int message = 0; message < 6; message++) {
		uint32_t asked = port->retries_asked;

		port->posts_until_error = 1;
		vmbus_client_retry(&port->client);
		assert_int_equal(port->retries_asked, asked + (message < 5));
		assert_null(vmbus_client_check(&port->client));
	}
	port_reads(port, VMBUS_MSG_GPADL_HEADER, 236);
	for (int body = 0; body < 3; body++)
		port_reads(port, VMBUS_MSG_GPADL_BODY, 0);
	port_reads(port, VMBUS_MSG_MODIFY_CHANNEL, 16);
	port_reads(port, VMBUS_MSG_CLOSE_CHANNEL, 12);
	port_reads_nothing(port);
	port->post_error = 0;
	vmbus_client_gpadl_abandon(&port->client, &gpadl);
	free(pfns);
}

static void gpadl_failures_say_whether_memory_is_shared(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_gpadl gpadl;
	uint64_t *pfns = make_pfns(100);

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	for (uint32_t posts = 0; posts < 4; posts++) {
		port->post_error = -LIS_IO;
		port->posts_until_error = posts;
		assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns,
							   409600, 0), 0);
		assert_int_equal(port->gpadl_created, posts ? -LIS_STILL_SHARED : -LIS_IO);
	}
	port->post_error = 0;
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns, 4096, 0),
			 0);
	host_creates_gpadl(port, &gpadl, VMBUS_STATUS_UNSUCCESSFUL);
	assert_int_equal(port->gpadl_created, -LIS_REFUSED);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns, 4096, 0),
			 0);
	host_creates_gpadl(port, &gpadl, 0);
	port->post_error = -LIS_IO;
	port->posts_until_error = 0;
	assert_int_equal(vmbus_client_gpadl_teardown(&port->client, &gpadl), 0);
	assert_int_equal(port->gpadl_torn_down, -LIS_STILL_SHARED);
	port->post_error = 0;
	free(pfns);
}

static void gpadl_answers_out_of_turn_are_violations(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_gpadl gpadl, other;
	uint64_t *pfns = make_pfns(100);

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	port->post_error = -LIS_AGAIN;
	port->posts_until_error = 2;
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns, 409600, 0),
			 0);
	host_creates_gpadl(port, &gpadl, 0); /* two of four messages were sent */
	assert_int_equal(violations(port), 1);
	assert_int_equal(port->gpadl_created, NOT_TOLD);
	host_tears_gpadl_down(port, gpadl.id);
	assert_int_equal(violations(port), 1);
	/* A refusal may come so early; the rest is not sent then. */
	host_creates_gpadl(port, &gpadl, VMBUS_STATUS_UNSUCCESSFUL);
	assert_int_equal(port->gpadl_created, -LIS_REFUSED);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	assert_int_equal(port->posted_count, 2);

	other = gpadl;
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, pfns, 4096, 0),
			 0);
	host_creates_gpadl(port, &other, 0); /* one that is no more */
	other.id = gpadl.id;
	other.channel = &(struct vmbus_client_channel){ .offer.channel_id = 9 };
	host_creates_gpadl(port, &other, 0); /* another channel's */
	assert_int_equal(violations(port), 2);
	host_creates_gpadl(port, &gpadl, 0);
	host_creates_gpadl(port, &gpadl, 0);
	host_tears_gpadl_down(port, gpadl.id);
	assert_int_equal(violations(port), 2);
	vmbus_client_gpadl_abandon(&port->client, &gpadl);
	host_tears_gpadl_down(port, gpadl.id);
	assert_int_equal(violations(port), 1);
	free(pfns);
}

static void gpadl_answers_before_the_question_are_violations(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_gpadl gpadl;
	uint64_t pfn = 1;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	port->post_error = -LIS_AGAIN;
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, &pfn, 4096, 0),
			 0);
	host_creates_gpadl(port, &gpadl, 0);
	host_creates_gpadl(port, &gpadl, VMBUS_STATUS_UNSUCCESSFUL);
	assert_int_equal(violations(port), 2);
	assert_int_equal(port->gpadl_created, NOT_TOLD);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	host_creates_gpadl(port, &gpadl, 0);
	port->post_error = -LIS_AGAIN;
	assert_int_equal(vmbus_client_gpadl_teardown(&port->client, &gpadl), 0);
	host_tears_gpadl_down(port, gpadl.id);
	assert_int_equal(violations(port), 1);
	assert_int_equal(port->gpadl_torn_down, NOT_TOLD);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	host_tears_gpadl_down(port, gpadl.id);
	assert_int_equal(port->gpadl_torn_down, 0);
}

/* Open, close, modify */

static void open_says_what_the_port_wants(void **state)
{
	struct port *port = *state;
	struct vmbus_client_open open = { .ring_gpadl_id = 11, .host_to_guest_page_offset = 4,
					  .target_vp = 2, .user_data = { 1, 2, 3 } };
	const struct vmbus_msg_open_channel *message;
	struct vmbus_client_channel *channel;

	port_connects(port, VMBUS_VERSION_COPPER);
	channel = host_offers(port, 6, 1, 0);
	assert_int_equal(vmbus_client_open(&port->client, channel, &open), 0);
	message = port_reads(port, VMBUS_MSG_OPEN_CHANNEL, 148);
	assert_int_equal(message->channel_id, 6);
	assert_int_equal(message->open_id, channel->open_id);
	assert_int_equal(message->ring_gpadl_id, 11);
	assert_int_equal(message->host_to_guest_page_offset, 4);
	assert_int_equal(message->target_vp, 2);
	assert_memory_equal(message->user_data, open.user_data, VMBUS_USER_DATA_BYTES);
	assert_int_equal(vmbus_client_open(&port->client, channel, &open), -LIS_BUSY);
	assert_int_equal(vmbus_client_close(&port->client, channel), -LIS_BUSY);
	host_answers_open(port, channel, VMBUS_STATUS_UNSUCCESSFUL);
	assert_int_equal(port->opened, -LIS_REFUSED);
	assert_int_equal(channel->status, VMBUS_STATUS_UNSUCCESSFUL);
	assert_int_equal(vmbus_client_close(&port->client, channel), -LIS_INVALID);
	port_reads_nothing(port);
	for (int i = 0; i < 3; i++) {
		port_opens(port, channel);
		assert_int_equal(vmbus_client_close(&port->client, channel), 0);
		port_reads(port, VMBUS_MSG_CLOSE_CHANNEL, 12);
	}
}

static void open_has_its_long_form_where_that_was_granted(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_config config = {
		.features = VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS };
	const struct vmbus_client_open open = { .ring_gpadl_id = 1 };
	const struct vmbus_msg_open_channel2 *message;

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	host_accepts(port, VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS);
	assert_int_equal(vmbus_client_request_offers(&port->client), 0);
	assert_int_equal(vmbus_client_open(&port->client, host_offers(port, 6, 1, 0), &open), 0);
	port->read_count = 2;
	message = port_reads(port, VMBUS_MSG_OPEN_CHANNEL, 156);
	assert_int_equal(message->event_flag, 6);
	assert_int_equal(message->connection_id, 0x2006);
	assert_int_equal(message->flags, 0);
}

static void open_results_out_of_turn_are_violations(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel, other;
	const struct vmbus_client_open open = { .ring_gpadl_id = 1 };

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	host_answers_open(port, channel, 0);
	port->post_error = -LIS_AGAIN;
	assert_int_equal(vmbus_client_open(&port->client, channel, &open), 0);
	host_answers_open(port, channel, 0); /* not asked yet */
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	other = *channel;
	other.open_id--;
	host_answers_open(port, &other, 0); /* an older one */
	assert_int_equal(violations(port), 3);
	assert_int_equal(port->opened, NOT_TOLD);
	host_answers_open(port, channel, 0);
	assert_int_equal(port->opened, 0);
	host_answers_open(port, channel, 0);
	assert_int_equal(violations(port), 1);
}

static void an_open_that_cannot_be_sent_fails(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_open open = { .ring_gpadl_id = 1 };

	port_connects(port, VMBUS_VERSION_IRON);
	host_offers(port, 6, 1, 0);
	port->post_error = -LIS_IO;
	assert_int_equal(vmbus_client_open(&port->client, port->last_offered, &open), 0);
	assert_int_equal(port->opened, -LIS_IO);
	port->post_error = 0;
	port_opens(port, port->last_offered);
}

static void host_answers_modify(struct port *port, uint32_t channel_id, uint32_t status)
{
	const struct vmbus_msg_modify_channel_response message = {
		.header.type = VMBUS_MSG_MODIFY_CHANNEL_RESPONSE,
		.channel_id = channel_id, .status = status,
	};

	host_sends(port, &message, sizeof(message));
}

static void modify_waits_for_an_answer_from_5_3_on(void **state)
{
	struct port *port = *state;
	const struct vmbus_msg_modify_channel *message;
	struct vmbus_client_channel *channel;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), -LIS_INVALID);
	port_opens(port, channel);
	assert_int_equal(vmbus_client_modify(&port->client, channel, VMBUS_VP_NONE), -LIS_INVALID);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), 0);
	message = port_reads(port, VMBUS_MSG_MODIFY_CHANNEL, 16);
	assert_int_equal(message->channel_id, 6);
	assert_int_equal(message->target_vp, 1);
	assert_int_equal(port->modified, NOT_TOLD);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 2), -LIS_BUSY);
	host_answers_modify(port, 6, 0);
	assert_int_equal(port->modified, 0);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 2), 0);
	host_answers_modify(port, 6, VMBUS_STATUS_UNSUCCESSFUL);
	assert_int_equal(port->modified, -LIS_REFUSED);
	host_answers_modify(port, 6, 0);
	host_answers_modify(port, 5, 0);
	assert_int_equal(violations(port), 2);
}

/* Hosts differ: some answer after the close, some do not. */
static void a_close_ends_a_modification_whether_it_is_answered_or_not(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	for (int answered = 0; answered < 2; answered++) {
		port_opens(port, channel);
		assert_int_equal(vmbus_client_modify(&port->client, channel, 1), 0);
		port_reads(port, VMBUS_MSG_MODIFY_CHANNEL, 16);
		port->modified = NOT_TOLD;
		assert_int_equal(vmbus_client_close(&port->client, channel), 0);
		port_reads(port, VMBUS_MSG_CLOSE_CHANNEL, 12);
		assert_int_equal(port->modified, -LIS_GONE);
		port->modified = NOT_TOLD;
		if (answered)
			host_answers_modify(port, 6, 0);
		assert_int_equal(violations(port), 0);
		if (answered)
			host_answers_modify(port, 6, 0);
		assert_int_equal(violations(port), answered);
		assert_int_equal(port->modified, NOT_TOLD);
	}
	/* One that nobody was asked for is not sent any more. */
	port_opens(port, channel);
	port->post_error = -LIS_AGAIN;
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), 0);
	assert_int_equal(vmbus_client_close(&port->client, channel), 0);
	assert_int_equal(port->modified, -LIS_GONE);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	port_reads(port, VMBUS_MSG_CLOSE_CHANNEL, 12);
	host_answers_modify(port, 6, 0);
	assert_int_equal(violations(port), 1);
	/* Nor is an old answer taken for a new one. */
	port_opens(port, channel);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), 0);
	assert_int_equal(vmbus_client_close(&port->client, channel), 0);
	port->posted_count = port->read_count = 0;
	port_opens(port, channel);
	host_answers_modify(port, 6, 0);
	assert_int_equal(violations(port), 1);
}

static void modify_ends_at_once_before_5_3_and_is_unknown_before_4_1(void **state)
{
	struct port *port = *state;

	for (size_t i = 0; i < VERSION_COUNT; i++) {
		struct vmbus_client_channel *channel;
		bool known = versions[i] >= VMBUS_VERSION_WIN10_V4_1;

		port_connects(port, versions[i]);
		channel = host_offers(port, 6, 1, 0);
		port_opens(port, channel);
		port->modified = NOT_TOLD;
		assert_int_equal(vmbus_client_modify(&port->client, channel, 1),
				 known ? 0 : -LIS_UNSUPPORTED);
		assert_int_equal(port->modified, known && versions[i] < VMBUS_VERSION_IRON ?
						 0 : NOT_TOLD);
		if (known)
			port_reads(port, VMBUS_MSG_MODIFY_CHANNEL, 16);
		port_reads_nothing(port);
		vmbus_client_unload(&port->client);
		if (versions[i] >= VMBUS_VERSION_WIN8_1)
			host_sends_type(port, VMBUS_MSG_UNLOAD_COMPLETE);
		port->read_count = port->posted_count = 0;
	}
}

/* Rescind */

static void a_rescinded_channel_ends_step_by_step(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;
	struct vmbus_client_gpadl gpadl;
	uint64_t pfn = 1;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	assert_int_equal(vmbus_client_gpadl_create(&port->client, channel, &gpadl, &pfn, 4096, 0),
			 0);
	host_creates_gpadl(port, &gpadl, 0);
	port_reads(port, VMBUS_MSG_GPADL_HEADER, 36);
	port_opens(port, channel);
	assert_int_equal(vmbus_client_release(&port->client, channel), -LIS_INVALID);
	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6);
	assert_ptr_equal(port->last_rescinded, channel);
	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6);
	assert_int_equal(violations(port), 1);
	assert_int_equal(port->rescinds, 1);
	assert_int_equal(vmbus_client_release(&port->client, channel), -LIS_BUSY);
	assert_int_equal(vmbus_client_close(&port->client, channel), 0);
	port_reads(port, VMBUS_MSG_CLOSE_CHANNEL, 12);
	assert_int_equal(vmbus_client_release(&port->client, channel), -LIS_BUSY);
	assert_int_equal(vmbus_client_gpadl_teardown(&port->client, &gpadl), 0);
	port_reads(port, VMBUS_MSG_GPADL_TEARDOWN, 16);
	assert_int_equal(vmbus_client_release(&port->client, channel), -LIS_BUSY);
	host_tears_gpadl_down(port, gpadl.id);
	/* The same device may be back under another id before the old one is released. */
	assert_non_null(host_offers(port, 7, 1, 0));
	assert_null(host_offers(port, 6, 2, 0));
	assert_int_equal(violations(port), 1);
	assert_int_equal(vmbus_client_release(&port->client, channel), 0);
	port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
	free(channel);
	port->live_channels--;
	assert_non_null(host_offers(port, 6, 2, 0));
	port_reads_nothing(port);
}

static void rescind_ends_what_is_under_way(void **state)
{
	struct port *port = *state;
	const struct vmbus_client_open open = { .ring_gpadl_id = 1 };
	struct vmbus_client_channel *channel;

	port_connects(port, VMBUS_VERSION_IRON);
	for (int sent = 0; sent < 2; sent++) {
		channel = host_offers(port, 6, 1, 0);
		port->opened = NOT_TOLD;
		port->post_error = sent ? 0 : -LIS_AGAIN;
		assert_int_equal(vmbus_client_open(&port->client, channel, &open), 0);
		host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6);
		assert_int_equal(port->opened, -LIS_GONE);
		assert_int_equal(vmbus_client_open(&port->client, channel, &open), -LIS_GONE);
		host_answers_open(port, channel, 0); /* was on its way */
		assert_int_equal(violations(port), 0);
		assert_int_equal(channel->state, VMBUS_CLIENT_CHANNEL_CLOSED);
		port->post_error = 0;
		assert_int_equal(vmbus_client_release(&port->client, channel), 0);
		free(channel);
		port->live_channels--;
		if (sent)
			port_reads(port, VMBUS_MSG_OPEN_CHANNEL, 148);
		port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
		port_reads_nothing(port);
	}
	channel = host_offers(port, 6, 1, 0);
	port_opens(port, channel);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), 0);
	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6);
	assert_int_equal(port->modified, -LIS_GONE);
	assert_int_equal(vmbus_client_modify(&port->client, channel, 1), -LIS_GONE);
	host_answers_modify(port, 6, 0);
	assert_int_equal(violations(port), 0);
}

static void a_channel_is_not_released_before_its_close_is_sent(void **state)
{
	struct port *port = *state;
	struct vmbus_client_channel *channel;

	port_connects(port, VMBUS_VERSION_IRON);
	channel = host_offers(port, 6, 1, 0);
	port_opens(port, channel);
	host_sends_channel(port, VMBUS_MSG_RESCIND_OFFER, 6);
	port->post_error = -LIS_AGAIN;
	assert_int_equal(vmbus_client_close(&port->client, channel), 0);
	assert_int_equal(vmbus_client_release(&port->client, channel), -LIS_BUSY);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	assert_int_equal(vmbus_client_release(&port->client, channel), 0);
	free(channel);
	port->live_channels--;
	port_reads(port, VMBUS_MSG_CLOSE_CHANNEL, 12);
	port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
	port_reads_nothing(port);
}

static void ids_wait_their_turn_to_be_released(void **state)
{
	struct port *port = *state;
	uint64_t seen = 0;

	port_connects(port, VMBUS_VERSION_IRON);
	port->refuse_offers = true;
	port->post_error = -LIS_AGAIN;
	for (uint32_t id = 1; id < 64; id++)
		host_offers(port, id * 32, (uint8_t)id, 0);
	assert_null(host_offers(port, 32, 1, 0)); /* not the host's yet */
	assert_int_equal(violations(port), 1);
	port->posts_until_error = 10;
	vmbus_client_retry(&port->client);
	port->post_error = 0;
	vmbus_client_retry(&port->client);
	for (int i = 1; i < 64; i++) {
		const struct vmbus_msg_channel *message =
			port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);

		assert_int_equal(message->channel_id % 32, 0);
		seen |= (uint64_t)1 << message->channel_id / 32;
	}
	port_reads_nothing(port);
	assert_true(seen == UINT64_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PORT(gpadls_of_any_size_are_described_whole),
		WITH_PORT(gpadls_that_cannot_be_described_are_refused),
		WITH_PORT(full_buffers_delay_and_do_not_reorder),
		WITH_PORT(gpadl_failures_say_whether_memory_is_shared),
		WITH_PORT(gpadl_answers_out_of_turn_are_violations),
		WITH_PORT(gpadl_answers_before_the_question_are_violations),
		WITH_PORT(open_says_what_the_port_wants),
		WITH_PORT(open_has_its_long_form_where_that_was_granted),
		WITH_PORT(open_results_out_of_turn_are_violations),
		WITH_PORT(an_open_that_cannot_be_sent_fails),
		WITH_PORT(modify_waits_for_an_answer_from_5_3_on),
		WITH_PORT(a_close_ends_a_modification_whether_it_is_answered_or_not),
		WITH_PORT(modify_ends_at_once_before_5_3_and_is_unknown_before_4_1),
		WITH_PORT(a_rescinded_channel_ends_step_by_step),
		WITH_PORT(rescind_ends_what_is_under_way),
		WITH_PORT(a_channel_is_not_released_before_its_close_is_sent),
		WITH_PORT(ids_wait_their_turn_to_be_released),
	};

	return cmocka_run_group_tests_name("client channel", tests, NULL, NULL);
}
