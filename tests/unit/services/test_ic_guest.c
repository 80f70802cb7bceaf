/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The guest end that all services share, against a host that breaks every rule of the framing. */
#include "tests/unit/services/guest_world.h"

static const struct ic_version versions[] = { { 3, 2 }, { 3, 1 }, { 1, 0 } };
static const struct ic_guest_config config = {
	.name = "test", .type = IC_HEARTBEAT, .versions = versions, .version_count = 3,
};

#define LIST(...) (const struct ic_version[]){ __VA_ARGS__, { 0, 0 } }

struct fixture {
	struct guest_world *world;
	struct ic_guest ic;
	_Alignas(8) uint8_t buffer[IC_GUEST_BUFFER_BYTES];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	f->world = guest_world_create();
	ic_guest_init(&f->ic, &config, &f->world->to_host, &f->world->from_host, f->buffer,
		      sizeof(f->buffer));
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	guest_world_destroy(f->world);
	free(f);
	return 0;
}

static uint32_t receive(struct fixture *f)
{
	return ic_guest_receive(&f->ic) & ~IC_GUEST_EVENT_SIGNAL;
}

static void negotiate(struct fixture *f)
{
	host_offers(f->world, LIST({ 1, 0 }, { 3, 0 }), LIST({ 1, 0 }, { 3, 1 }));
	assert_int_equal(receive(f), IC_GUEST_EVENT_READY);
	host_takes(f->world, IC_NEGOTIATE, IC_STATUS_OK);
}

static void assert_versions(const struct guest_answer *answer, struct ic_version framework,
			    struct ic_version version)
{
	struct {
		struct ic_negotiate head;
		struct ic_version versions[2];
	} message;

	assert_int_equal(answer->header.bytes, sizeof(message));
	memcpy(&message, answer->message, sizeof(message));
	assert_int_equal(message.head.framework_count, framework.major != 0);
	assert_int_equal(message.head.message_count, framework.major != 0);
	assert_memory_equal(&message.versions[0], &framework, sizeof(framework));
	assert_memory_equal(&message.versions[1], &version, sizeof(version));
}

static void the_best_versions_in_common_are_chosen(void **state)
{
	struct fixture *f = *state;
	struct guest_answer answer;

	host_offers(f->world, LIST({ 1, 0 }, { 3, 0 }),
		    LIST({ 1, 0 }, { 3, 0 }, { 3, 1 }, { 9, 9 }));
	assert_int_equal(receive(f), IC_GUEST_EVENT_READY);
	answer = host_takes(f->world, IC_NEGOTIATE, IC_STATUS_OK);
	assert_versions(&answer, IC_VERSION(3, 0), IC_VERSION(3, 1));
	assert_true(ic_guest_version_is(&f->ic, 3, 1));
	assert_true(ic_guest_version_is(&f->ic, 1, 5));
	assert_false(ic_guest_version_is(&f->ic, 3, 2));

	/* The host may come again, with less. */
	host_offers(f->world, LIST({ 1, 0 }), LIST({ 1, 0 }));
	assert_int_equal(receive(f), IC_GUEST_EVENT_READY);
	answer = host_takes(f->world, IC_NEGOTIATE, IC_STATUS_OK);
	assert_versions(&answer, IC_VERSION(1, 0), IC_VERSION(1, 0));
	assert_false(ic_guest_version_is(&f->ic, 3, 1));
}

static void without_a_version_in_common_the_counts_are_zero(void **state)
{
	struct fixture *f = *state;
	struct guest_answer answer;
	uint64_t beat = 1;

	for (int i = 0; i < 2; i++) {
		host_offers(f->world, i ? LIST({ 2, 0 }) : LIST({ 3, 0 }),
			    i ? LIST({ 1, 0 }) : LIST({ 3, 0 }, { 7, 7 }));
		assert_int_equal(receive(f), IC_GUEST_EVENT_REFUSED);
		answer = host_takes(f->world, IC_NEGOTIATE, IC_STATUS_OK);
		assert_versions(&answer, IC_VERSION(0, 0), IC_VERSION(0, 0));
	}
	assert_false(f->ic.ready);
	host_sends(f->world, IC_HEARTBEAT, &beat, sizeof(beat));
	assert_int_equal(receive(f), 0);
	host_takes(f->world, IC_HEARTBEAT, IC_STATUS_FAIL);
}

static void an_offer_with_impossible_counts_is_dropped(void **state)
{
	static const struct {
		uint16_t frameworks, messages, bytes;
	} cases[] = {
		{ 1, 1, 12 }, { 0, 2, 16 }, { 2, 0, 16 }, { 1, 2, 16 }, { 65535, 65535, 16 },
		{ 65535, 1, 16 }, { 1, 1, 8 }, { 1, 1, 0 }, { 0, 0, 16 }, { 2, 3, 27 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct {
			struct ic_negotiate head;
			struct ic_version list[8];
		} offer = { .head = { cases[i].frameworks, cases[i].messages, 0 },
			    .list = { { 3, 0 }, { 3, 1 }, { 3, 1 }, { 3, 1 } } };

		host_sends(f->world, IC_NEGOTIATE, &offer, cases[i].bytes);
		assert_int_equal(receive(f), 0);
		assert_int_equal(f->ic.counters.violations, i + 1);
		host_has_nothing(f->world);
		assert_false(f->ic.ready);
	}
}

static void a_request_waits_for_its_answer_and_others_behind_it(void **state)
{
	struct fixture *f = *state;
	const char first[] = "first", second[] = "second";
	struct guest_answer answer;

	negotiate(f);
	host_sends(f->world, IC_HEARTBEAT, first, sizeof(first));
	assert_int_equal(receive(f), IC_GUEST_EVENT_MESSAGE);
	assert_int_equal(f->ic.message_bytes, sizeof(first));
	assert_memory_equal(f->ic.message, first, sizeof(first));
	host_sends(f->world, IC_HEARTBEAT, second, sizeof(second));
	assert_int_equal(receive(f) & IC_GUEST_EVENT_MESSAGE, 0);
	assert_memory_equal(f->ic.message, first, sizeof(first));
	host_has_nothing(f->world);
	f->world->transaction_id--;
	f->ic.message[0] = 'F';
	(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, 3);
	answer = host_takes(f->world, IC_HEARTBEAT, IC_STATUS_OK);
	assert_int_equal(answer.header.bytes, 3);
	assert_memory_equal(answer.message, "Fir", 3);
	/* There is but one answer. */
	(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, 3);
	host_has_nothing(f->world);
	f->world->transaction_id++;
	assert_int_equal(receive(f), IC_GUEST_EVENT_MESSAGE);
	(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, 100000);
	answer = host_takes(f->world, IC_HEARTBEAT, IC_STATUS_OK);
	assert_int_equal(answer.header.bytes, sizeof(second));
}

static void a_request_of_another_service_is_not_supported(void **state)
{
	struct fixture *f = *state;
	uint32_t message[4] = { 1, 2, 3, 4 };

	negotiate(f);
	host_sends(f->world, IC_SHUTDOWN, message, sizeof(message));
	assert_int_equal(receive(f), 0);
	host_takes(f->world, IC_SHUTDOWN, IC_STATUS_NOT_SUPPORTED);
	host_sends(f->world, (enum ic_message_type)4711, message, 0);
	assert_int_equal(receive(f), 0);
	host_takes(f->world, (enum ic_message_type)4711, IC_STATUS_NOT_SUPPORTED);
}

static void a_request_before_the_versions_fails(void **state)
{
	struct fixture *f = *state;
	uint64_t beat = 1;

	host_sends(f->world, IC_HEARTBEAT, &beat, sizeof(beat));
	assert_int_equal(receive(f), 0);
	host_takes(f->world, IC_HEARTBEAT, IC_STATUS_FAIL);
	assert_int_equal(f->ic.counters.requests, 0);
}

/* A sound request of 8 bytes, for spoiling. */
struct raw {
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t message[12];
};

static struct raw sound(void)
{
	return (struct raw){
		.pipe = { IC_PIPE_DATA, sizeof(struct ic_header) + 8 },
		.header = { .type = IC_HEARTBEAT, .bytes = 8,
			    .flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST },
	};
}

static void packets_out_of_form_are_dropped(void **state)
{
	struct fixture *f = *state;
	struct raw raw;
	uint64_t count = 0;

	negotiate(f);
	raw = sound();
	assert_int_equal(host_sends_raw(f->world, VMBUS_PACKET_IN_BAND, &raw, 36), 0);
	assert_int_equal(receive(f), IC_GUEST_EVENT_MESSAGE);
	(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, 8);
#define DROPPED(type, bytes, change) \
	do { \
		struct guest_answer answer; \
		raw = sound(); \
		change; \
		while (host_has(f->world, &answer)) \
			; \
		assert_int_equal(host_sends_raw(f->world, type, &raw, bytes), 0); \
		assert_int_equal(receive(f), 0); \
		assert_int_equal(f->ic.counters.violations, ++count); \
		host_has_nothing(f->world); \
	} while (0)
	for (uint32_t bytes = 0; bytes < IC_HEADERS_BYTES - 4; bytes += 8)
		DROPPED(VMBUS_PACKET_IN_BAND, bytes, (void)0);
	DROPPED(VMBUS_PACKET_COMPLETION, 36, (void)0);
	DROPPED(VMBUS_PACKET_GPA_DIRECT, 36, (void)0);
	DROPPED(3, 36, (void)0);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.pipe.type = 2);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.pipe.bytes = 19);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.pipe.bytes = 33);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.pipe.bytes = UINT32_MAX);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.header.bytes = 9);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.header.bytes = UINT16_MAX);
	DROPPED(VMBUS_PACKET_IN_BAND, 36, raw.header.flags |= IC_FLAG_RESPONSE);
#undef DROPPED
	raw = sound();
	assert_int_equal(host_sends_raw(f->world, VMBUS_PACKET_IN_BAND, &raw, 36), 0);
	assert_int_equal(receive(f), IC_GUEST_EVENT_MESSAGE);
}

static void a_packet_longer_than_the_buffer_breaks_the_channel_only(void **state)
{
	struct fixture *f = *state;
	static uint8_t payload[IC_GUEST_BUFFER_BYTES];

	negotiate(f);
	assert_int_equal(host_sends_raw(f->world, VMBUS_PACKET_IN_BAND, payload, sizeof(payload)),
			 0);
	assert_int_equal(receive(f), IC_GUEST_EVENT_BROKEN);
	assert_int_equal(receive(f), IC_GUEST_EVENT_BROKEN);
	assert_int_equal(f->ic.counters.violations, 1);
}

static void an_answer_waits_for_room_and_comes_once(void **state)
{
	struct fixture *f = *state;
	static uint8_t message[2000];
	struct guest_answer answer;
	uint32_t sent = 0, taken = 0;

	negotiate(f);
	/* The host does not read: our ring fills, then its own. */
	for (; sent < 20; sent++) {
		uint32_t events;

		if (!vmbus_ring_writer_has_room(&f->world->to_guest,
						vmbus_packet_ring_bytes(0, 28 + sizeof(message))))
			break;
		memset(message, (int)sent, sizeof(message));
		host_sends(f->world, IC_HEARTBEAT, message, sizeof(message));
		events = receive(f);
		if (events & IC_GUEST_EVENT_MESSAGE)
			(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, f->ic.message_bytes);
	}
	assert_true(f->ic.waiting);
	assert_in_range(sent, 5, 10);
	for (int turns = 0; turns < 100 && taken < sent; turns++) {
		if (host_has(f->world, &answer))
			assert_int_equal(answer.message[0], taken++);
		if (receive(f) & IC_GUEST_EVENT_MESSAGE)
			(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, f->ic.message_bytes);
	}
	assert_int_equal(taken, sent);
	assert_int_equal(f->ic.counters.answers, sent + 1);
	host_has_nothing(f->world);
}

static void a_flood_is_taken_in_portions(void **state)
{
	struct fixture *f = *state;
	uint32_t message = 0;
	struct guest_answer answer;

	negotiate(f);
	for (int i = 0; i < 40; i++)
		host_sends(f->world, IC_SHUTDOWN, &message, sizeof(message));
	assert_int_equal(receive(f), IC_GUEST_EVENT_MORE);
	assert_int_equal(receive(f), IC_GUEST_EVENT_MORE);
	assert_int_equal(receive(f), 0);
	for (int i = 0; i < 40; i++)
		assert_true(host_has(f->world, &answer));
}

static void random_packets_do_no_harm(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 5;

	for (int i = 0; i < 100000; i++) {
		struct raw raw = sound();
		uint8_t *bytes = (uint8_t *)&raw;
		struct guest_answer answer;

		for (int n = 0; n < 3; n++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			if (seed >> 62)
				bytes[(seed >> 33) % sizeof(raw)] = (uint8_t)(seed >> 50);
		}
		if (i % 7 == 0)
			raw.header.type = IC_NEGOTIATE;
		(void)!host_sends_raw(f->world, VMBUS_PACKET_IN_BAND, &raw, (seed >> 40) % 41);
		if (ic_guest_receive(&f->ic) & IC_GUEST_EVENT_MESSAGE) {
			memset(f->ic.message, 0xff, f->ic.message_bytes);
			(void)!ic_guest_answer(&f->ic, IC_STATUS_OK, f->ic.message_bytes);
		}
		assert_false(f->ic.broken);
		(void)!host_has(f->world, &answer);
	}
	assert_true(f->ic.counters.violations > 1000);
	assert_true(f->ic.counters.answers > 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(the_best_versions_in_common_are_chosen),
		TEST(without_a_version_in_common_the_counts_are_zero),
		TEST(an_offer_with_impossible_counts_is_dropped),
		TEST(a_request_waits_for_its_answer_and_others_behind_it),
		TEST(a_request_of_another_service_is_not_supported),
		TEST(a_request_before_the_versions_fails),
		TEST(packets_out_of_form_are_dropped),
		TEST(a_packet_longer_than_the_buffer_breaks_the_channel_only),
		TEST(an_answer_waits_for_room_and_comes_once),
		TEST(a_flood_is_taken_in_portions),
		TEST(random_packets_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
