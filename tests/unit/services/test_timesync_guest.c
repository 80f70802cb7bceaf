/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The guest end of time synchronization, against a scripted host and against ours. */
#include "services/timesync_guest.h"
#include "services/timesync_host.h"
#include "tests/unit/services/guest_world.h"
#include "tests/unit/services/service_world.h"

#define LIST(...) (const struct ic_version[]){ __VA_ARGS__, { 0, 0 } }
#define SECOND_100NS 10000000ull
/* 2026-01-01, about */
#define UTC 17672256000000000ull
#define REFERENCE (1000 * SECOND_100NS)

struct fixture {
	struct guest_world *world;
	struct timesync_guest timesync;
	struct timesync_guest_now now;
};

static uint32_t receive(struct fixture *f)
{
	return timesync_guest_receive(&f->timesync, &f->now) & ~IC_GUEST_EVENT_SIGNAL;
}

static void begin(struct fixture *f, struct ic_version version,
		  const struct timesync_guest_config *config)
{
	timesync_guest_init(&f->timesync, config, &f->world->to_host, &f->world->from_host);
	f->now = (struct timesync_guest_now){ UTC, REFERENCE };
	host_offers(f->world, LIST({ 3, 0 }), (struct ic_version[]){ version, { 0, 0 } });
	assert_int_equal(receive(f), IC_GUEST_EVENT_READY);
	host_takes(f->world, IC_NEGOTIATE, IC_STATUS_OK);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	f->world = guest_world_create();
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	guest_world_destroy(f->world);
	free(f);
	return 0;
}

/* The host's clock read @utc_100ns when the counter read @reference_100ns. */
static void tell_raw(struct fixture *f, uint64_t parent_100ns, uint64_t reference_100ns,
		     uint8_t flags, bool good)
{
	struct timesync_message_4 message = {
		.parent_time_100ns = parent_100ns,
		.vm_reference_time_100ns = reference_100ns,
		.flags = flags, .leap_indicator = 1, .stratum = 2,
	};

	host_sends(f->world, IC_TIMESYNC, &message, sizeof(message));
	assert_int_equal(receive(f), good && (flags & 3) ? TIMESYNC_GUEST_EVENT_TIME : 0);
	host_takes(f->world, IC_TIMESYNC, good ? IC_STATUS_OK : IC_STATUS_FAIL);
}

static void tell(struct fixture *f, uint64_t utc_100ns, uint64_t reference_100ns, uint8_t flags)
{
	tell_raw(f, utc_100ns + TIMESYNC_UNIX_EPOCH_100NS, reference_100ns, flags, true);
}

static const struct timesync_guest_config plain;

static void an_order_slews_a_little_and_steps_when_far_off(void **state)
{
	static const struct {
		int64_t offset_100ns;
		enum timesync_guest_action action;
	} cases[] = {
		{ 0, TIMESYNC_GUEST_SLEW },
		{ 100, TIMESYNC_GUEST_SLEW },
		{ -100, TIMESYNC_GUEST_SLEW },
		{ 5000000, TIMESYNC_GUEST_SLEW },
		{ -5000000, TIMESYNC_GUEST_SLEW },
		{ 5000001, TIMESYNC_GUEST_STEP },
		{ -5000001, TIMESYNC_GUEST_STEP },
		{ (int64_t)UTC, TIMESYNC_GUEST_STEP },
		{ -(int64_t)UTC, TIMESYNC_GUEST_STEP },
	};
	struct fixture *f = *state;

	begin(f, TIMESYNC_4_0, &plain);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tell(f, UTC + (uint64_t)cases[i].offset_100ns, REFERENCE, TIMESYNC_SYNC);
		assert_true(f->timesync.told.offset_100ns == cases[i].offset_100ns);
		assert_int_equal(f->timesync.told.action, cases[i].action);
		assert_true(f->timesync.told.ordered);
		assert_int_equal(f->timesync.told.leap_indicator, 1);
		assert_int_equal(f->timesync.told.stratum, 2);
	}
}

static void the_way_through_the_ring_costs_no_precision(void **state)
{
	struct fixture *f = *state;

	begin(f, TIMESYNC_4_0, &plain);
	/* Read 7 s ago; both clocks have gone on together since. */
	tell(f, UTC - 7 * SECOND_100NS, REFERENCE - 7 * SECOND_100NS, TIMESYNC_SYNC);
	assert_true(f->timesync.told.offset_100ns == 0);
	assert_true(f->timesync.told.utc_100ns == UTC);
	/* The message overtook our reading of the clocks. */
	tell(f, UTC + 1000, REFERENCE + 1000, TIMESYNC_SYNC);
	assert_true(f->timesync.told.offset_100ns == 0);
}

static void samples_change_the_clock_only_where_they_are_followed(void **state)
{
	struct timesync_guest_config follow = { .follow_samples = true, .step_100ns = 100 };
	struct fixture *f = *state;

	begin(f, TIMESYNC_4_0, &plain);
	tell(f, UTC + SECOND_100NS, REFERENCE, TIMESYNC_SAMPLE);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_LEAVE);
	assert_false(f->timesync.told.ordered);
	assert_true(f->timesync.told.offset_100ns == (int64_t)SECOND_100NS);
	tell(f, UTC + SECOND_100NS, REFERENCE, TIMESYNC_SAMPLE | TIMESYNC_SYNC);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_STEP);

	begin(f, TIMESYNC_4_0, &follow);
	tell(f, UTC + 100, REFERENCE, TIMESYNC_SAMPLE);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_SLEW);
	tell(f, UTC + 101, REFERENCE, TIMESYNC_SAMPLE);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_STEP);
}

static void a_sample_is_followed_where_the_guest_is_far_behind(void **state)
{
	static const struct {
		int64_t offset_100ns;
		enum timesync_guest_action action;
	} cases[] = {
		{ 0, TIMESYNC_GUEST_LEAVE },
		{ 5 * (int64_t)SECOND_100NS - 1, TIMESYNC_GUEST_LEAVE },
		{ 5 * (int64_t)SECOND_100NS, TIMESYNC_GUEST_STEP },
		{ 3600 * (int64_t)SECOND_100NS, TIMESYNC_GUEST_STEP },
		/* The guest is ahead: no host forgot a resume. */
		{ -5 * (int64_t)SECOND_100NS, TIMESYNC_GUEST_LEAVE },
		{ -(int64_t)UTC, TIMESYNC_GUEST_LEAVE },
	};
	struct timesync_guest_config behind = { .follow_behind_100ns = 5 * SECOND_100NS };
	struct fixture *f = *state;

	begin(f, TIMESYNC_4_0, &behind);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tell(f, UTC + (uint64_t)cases[i].offset_100ns, REFERENCE, TIMESYNC_SAMPLE);
		assert_int_equal(f->timesync.told.action, cases[i].action);
		assert_true(f->timesync.told.offset_100ns == cases[i].offset_100ns);
		assert_false(f->timesync.told.ordered);
	}
	/* The step is a matter of its own. */
	f->timesync.config.step_100ns = 60 * SECOND_100NS;
	tell(f, UTC + 5 * SECOND_100NS, REFERENCE, TIMESYNC_SAMPLE);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_SLEW);
	/* An order needs none of this; and it all may change on the way. */
	tell(f, UTC + 1, REFERENCE, TIMESYNC_SYNC);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_SLEW);
	f->timesync.config = plain;
	tell(f, UTC + 5 * SECOND_100NS, REFERENCE, TIMESYNC_SAMPLE);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_LEAVE);
	tell(f, UTC + 5 * SECOND_100NS, REFERENCE, TIMESYNC_SYNC);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_STEP);
}

static void a_message_that_says_nothing_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t utc_100ns;

	begin(f, TIMESYNC_4_0, &plain);
	tell(f, UTC, REFERENCE, 0);
	tell(f, UTC, REFERENCE, 0xfc);
	assert_int_equal(timesync_guest_host_time(&f->timesync, REFERENCE, &utc_100ns), -LIS_AGAIN);
}

static void times_that_cannot_be_are_refused(void **state)
{
	static const struct {
		uint64_t parent_100ns, reference_100ns;
	} cases[] = {
		{ 0, REFERENCE },
		{ TIMESYNC_UNIX_EPOCH_100NS - 1, REFERENCE },
		{ UINT64_MAX, REFERENCE },
		{ TIMESYNC_UNIX_EPOCH_100NS + TIMESYNC_GUEST_UTC_MAX_100NS + 1, REFERENCE },
		/* beyond the end only when reckoned on */
		{ TIMESYNC_UNIX_EPOCH_100NS + TIMESYNC_GUEST_UTC_MAX_100NS, REFERENCE - 1 },
		/* before the beginning, likewise */
		{ TIMESYNC_UNIX_EPOCH_100NS, REFERENCE + 1 },
		/* read in the future */
		{ TIMESYNC_UNIX_EPOCH_100NS + UTC, REFERENCE + SECOND_100NS + 1 },
		{ TIMESYNC_UNIX_EPOCH_100NS + UTC, UINT64_MAX },
	};
	struct fixture *f = *state;
	uint64_t utc_100ns;

	begin(f, TIMESYNC_4_0, &plain);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tell_raw(f, cases[i].parent_100ns, cases[i].reference_100ns, TIMESYNC_SYNC, false);
	assert_int_equal(f->timesync.ic.counters.violations, sizeof(cases) / sizeof(cases[0]));
	assert_int_equal(timesync_guest_host_time(&f->timesync, REFERENCE, &utc_100ns), -LIS_AGAIN);
	/* The ends themselves are fine. */
	tell_raw(f, TIMESYNC_UNIX_EPOCH_100NS, REFERENCE, TIMESYNC_SYNC, true);
	tell_raw(f, TIMESYNC_UNIX_EPOCH_100NS + TIMESYNC_GUEST_UTC_MAX_100NS, REFERENCE,
		 TIMESYNC_SYNC, true);
	/* And a guest whose own clock is out of its mind is told nothing that overflows. */
	f->now.utc_100ns = UINT64_MAX;
	tell(f, 0, REFERENCE, TIMESYNC_SYNC);
	assert_true(f->timesync.told.offset_100ns == -(int64_t)TIMESYNC_GUEST_UTC_MAX_100NS);
}

static void the_length_goes_by_the_version(void **state)
{
	struct fixture *f = *state;
	uint8_t message[64] = { 0 };
	uint64_t parent_100ns = UTC + TIMESYNC_UNIX_EPOCH_100NS, reference_100ns = REFERENCE;

	for (int old = 0; old < 2; old++) {
		uint32_t needed = old ? TIMESYNC_MESSAGE_BYTES : sizeof(struct timesync_message_4);

		begin(f, old ? TIMESYNC_3_0 : TIMESYNC_4_0, &plain);
		memcpy(message, &parent_100ns, 8);
		memcpy(message + 8, &reference_100ns, 8);
		message[old ? 24 : 16] = TIMESYNC_SYNC;
		for (uint32_t bytes = 0; bytes <= 40; bytes++) {
			host_sends(f->world, IC_TIMESYNC, message, bytes);
			assert_int_equal(receive(f),
					 bytes < needed ? 0 : TIMESYNC_GUEST_EVENT_TIME);
			host_takes(f->world, IC_TIMESYNC,
				   bytes < needed ? IC_STATUS_FAIL : IC_STATUS_OK);
		}
		assert_true(f->timesync.told.offset_100ns == 0);
		memset(message, 0, sizeof(message));
	}
}

static void one_message_does_not_hide_another(void **state)
{
	struct timesync_message_4 message = {
		.parent_time_100ns = UTC + 9 * SECOND_100NS + TIMESYNC_UNIX_EPOCH_100NS,
		.vm_reference_time_100ns = REFERENCE, .flags = TIMESYNC_SYNC,
	};
	struct fixture *f = *state;

	begin(f, TIMESYNC_4_0, &plain);
	host_sends(f->world, IC_TIMESYNC, &message, sizeof(message));
	message.flags = TIMESYNC_SAMPLE;
	host_sends(f->world, IC_TIMESYNC, &message, sizeof(message));
	assert_int_equal(receive(f), TIMESYNC_GUEST_EVENT_TIME | IC_GUEST_EVENT_MORE);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_STEP);
	assert_int_equal(receive(f), TIMESYNC_GUEST_EVENT_TIME);
	assert_int_equal(f->timesync.told.action, TIMESYNC_GUEST_LEAVE);
}

static void the_hosts_clock_is_reckoned_on_until_it_is_stale(void **state)
{
	struct fixture *f = *state;
	uint64_t utc_100ns = 0;

	begin(f, TIMESYNC_4_0, &plain);
	assert_int_equal(timesync_guest_host_time(&f->timesync, REFERENCE, &utc_100ns), -LIS_AGAIN);
	tell(f, UTC + 5, REFERENCE - 10, TIMESYNC_SAMPLE);
	assert_int_equal(timesync_guest_host_time(&f->timesync, REFERENCE + 90, &utc_100ns), 0);
	assert_true(utc_100ns == UTC + 105);
	assert_int_equal(timesync_guest_host_time(&f->timesync, REFERENCE - 10 + 600 * SECOND_100NS,
						  &utc_100ns), 0);
	assert_int_equal(timesync_guest_host_time(&f->timesync, REFERENCE - 9 + 600 * SECOND_100NS,
						  &utc_100ns), -LIS_TIMEOUT);
	/* A counter that went back, as after a restore. */
	assert_int_equal(timesync_guest_host_time(&f->timesync, 0, &utc_100ns), -LIS_TIMEOUT);
	assert_true(utc_100ns == UTC + 600 * SECOND_100NS + 5);
}

/* With our host. */

static uint64_t host_reference(void *clock)
{
	return ((struct service_world *)clock)->now_ns / 100;
}

static uint64_t host_utc(void *clock)
{
	return UTC + ((struct service_world *)clock)->now_ns / 100;
}

static void our_host_sets_the_clock_and_samples(void **state)
{
	static struct service_world world;
	struct timesync_config config = { host_reference, host_utc, &world };
	struct timesync_guest *guest = malloc(sizeof(*guest));
	struct timesync_status status;
	struct timesync_host *host;
	uint64_t behind_100ns = 3 * SECOND_100NS, utc_100ns;
	unsigned orders = 0, samples = 0;

	world_init(&world);
	assert_int_equal(timesync_host_create(world.host, world.loop, &config, &host), 0);
	guest_opens(&world, TIMESYNC_INSTANCE_ID);
	timesync_guest_init(guest, &plain, &world.channel.to_host, &world.channel.from_host);
	for (int i = 0; i < 300; i++) {
		struct timesync_guest_now now;
		uint32_t events;

		world_pass_ms(&world, 100);
		now.utc_100ns = host_utc(&world) - behind_100ns;
		now.reference_100ns = host_reference(&world);
		events = timesync_guest_receive(guest, &now);
		if (events & IC_GUEST_EVENT_SIGNAL)
			mini_signal(&world.channel);
		if (!(events & TIMESYNC_GUEST_EVENT_TIME))
			continue;
		assert_true(guest->told.offset_100ns == (int64_t)behind_100ns);
		orders += guest->told.ordered;
		samples += !guest->told.ordered;
		if (guest->told.action == TIMESYNC_GUEST_STEP)
			behind_100ns = 0;
	}
	world_settle(&world);
	timesync_host_status(host, &status);
	assert_int_equal(orders, 1);
	assert_in_range(samples, 4, 6);
	assert_int_equal(behind_100ns, 0);
	assert_int_equal(status.syncs, 1);
	assert_in_range(status.samples, 4, 6);
	assert_int_equal(status.refused, 0);
	assert_int_equal(status.unanswered, 0);
	assert_int_equal(timesync_guest_host_time(guest, host_reference(&world), &utc_100ns), 0);
	assert_true(utc_100ns == host_utc(&world));
	guest_closes(&world);
	timesync_host_destroy(host, NULL);
	world_fini(&world);
	free(guest);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(an_order_slews_a_little_and_steps_when_far_off),
		TEST(the_way_through_the_ring_costs_no_precision),
		TEST(samples_change_the_clock_only_where_they_are_followed),
		TEST(a_sample_is_followed_where_the_guest_is_far_behind),
		TEST(a_message_that_says_nothing_changes_nothing),
		TEST(times_that_cannot_be_are_refused),
		TEST(the_length_goes_by_the_version),
		TEST(one_message_does_not_hide_another),
		TEST(the_hosts_clock_is_reckoned_on_until_it_is_stale),
		cmocka_unit_test(our_host_sets_the_clock_and_samples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
