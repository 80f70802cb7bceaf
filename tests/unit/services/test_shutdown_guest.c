/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The guest end of shutdown, against a scripted host and against ours. */
#include "services/shutdown_guest.h"
#include "services/shutdown_host.h"
#include "tests/unit/services/guest_world.h"
#include "tests/unit/services/service_world.h"

#define LIST(...) (const struct ic_version[]){ __VA_ARGS__, { 0, 0 } }

struct fixture {
	struct guest_world *world;
	struct shutdown_guest shutdown;
};

static uint32_t receive(struct fixture *f)
{
	return shutdown_guest_receive(&f->shutdown) & ~IC_GUEST_EVENT_SIGNAL;
}

static void begin(struct fixture *f, struct ic_version version, bool can_hibernate)
{
	shutdown_guest_init(&f->shutdown, &f->world->to_host, &f->world->from_host, can_hibernate);
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

static void ask(struct fixture *f, uint32_t flags, bool accepted)
{
	struct shutdown_message message = { .reason = SHUTDOWN_REASON_PLANNED,
					    .timeout_seconds = 30,
					    .flags = flags };

	host_sends(f->world, IC_SHUTDOWN, &message, sizeof(message));
	assert_int_equal(receive(f), accepted ? SHUTDOWN_GUEST_EVENT_REQUEST : 0);
	host_takes(f->world, IC_SHUTDOWN, accepted ? IC_STATUS_OK : IC_STATUS_FAIL);
}

static void each_version_has_its_requests(void **state)
{
	static const struct {
		struct ic_version version;
		bool can_hibernate, reboot, hibernate;
	} cases[] = {
		{ { 1, 0 }, true, false, false }, { { 3, 0 }, true, false, false },
		{ { 3, 1 }, true, true, false }, { { 3, 2 }, true, true, true },
		{ { 3, 2 }, false, true, false },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (uint32_t force = 0; force < 2; force++) {
			begin(f, cases[i].version, cases[i].can_hibernate);
			ask(f, force, true);
			assert_int_equal(f->shutdown.request.kind, SHUTDOWN_GUEST_POWER_OFF);
			assert_int_equal(f->shutdown.request.force, force);
			assert_int_equal(f->shutdown.request.reason, SHUTDOWN_REASON_PLANNED);
			assert_int_equal(f->shutdown.request.timeout_seconds, 30);
			shutdown_guest_over(&f->shutdown);
			ask(f, SHUTDOWN_RESTART | force, cases[i].reboot);
			if (cases[i].reboot)
				assert_int_equal(f->shutdown.request.kind, SHUTDOWN_GUEST_REBOOT);
			shutdown_guest_over(&f->shutdown);
			ask(f, SHUTDOWN_HIBERNATE | force, cases[i].hibernate);
			if (cases[i].hibernate)
				assert_int_equal(f->shutdown.request.kind,
						 SHUTDOWN_GUEST_HIBERNATE);
		}
	}
}

static void unknown_flags_are_refused(void **state)
{
	static const uint32_t flags[] = { 6, 7, 8, 0x80000000u, UINT32_MAX };
	struct fixture *f = *state;

	begin(f, IC_VERSION(3, 2), true);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		ask(f, flags[i], false);
	assert_false(f->shutdown.under_way);
}

static void a_short_request_fails_and_a_text_is_not_needed(void **state)
{
	struct shutdown_message message = { 0 };
	struct fixture *f = *state;

	begin(f, IC_VERSION(3, 2), true);
	for (uint32_t bytes = 0; bytes < 12; bytes++) {
		host_sends(f->world, IC_SHUTDOWN, &message, bytes);
		assert_int_equal(receive(f), 0);
		host_takes(f->world, IC_SHUTDOWN, IC_STATUS_FAIL);
	}
	assert_int_equal(f->shutdown.ic.counters.violations, 12);
	host_sends(f->world, IC_SHUTDOWN, &message, 12);
	assert_int_equal(receive(f), SHUTDOWN_GUEST_EVENT_REQUEST);
}

static void what_is_under_way_is_not_begun_again(void **state)
{
	struct shutdown_message message = { 0 };
	struct fixture *f = *state;

	begin(f, IC_VERSION(3, 2), true);
	ask(f, 0, true);
	host_sends(f->world, IC_SHUTDOWN, &message, sizeof(message));
	assert_int_equal(receive(f), 0);
	host_takes(f->world, IC_SHUTDOWN, IC_STATUS_OK);
	ask(f, SHUTDOWN_RESTART, false);
	assert_int_equal(f->shutdown.request.kind, SHUTDOWN_GUEST_POWER_OFF);
	shutdown_guest_over(&f->shutdown);
	ask(f, SHUTDOWN_RESTART, true);
}

/* With our host. */

static enum shutdown_result last_result;
static int results;

static void on_result(struct shutdown_request *request, enum shutdown_result result,
		      uint32_t status)
{
	last_result = result;
	results++;
}

static void our_host_is_understood(void **state)
{
	static const struct {
		enum shutdown_kind kind;
		bool can_hibernate;
		enum shutdown_result result;
		enum shutdown_guest_kind guest_kind;
	} cases[] = {
		{ SHUTDOWN_POWER_OFF, true, SHUTDOWN_ACCEPTED, SHUTDOWN_GUEST_POWER_OFF },
		{ SHUTDOWN_REBOOT, true, SHUTDOWN_ACCEPTED, SHUTDOWN_GUEST_REBOOT },
		{ SHUTDOWN_HIBERNATE_GUEST, true, SHUTDOWN_ACCEPTED, SHUTDOWN_GUEST_HIBERNATE },
		{ SHUTDOWN_HIBERNATE_GUEST, false, SHUTDOWN_REFUSED, SHUTDOWN_GUEST_HIBERNATE },
	};
	static struct service_world world;
	struct shutdown_guest *guest = malloc(sizeof(*guest));
	struct shutdown_host *host;

	world_init(&world);
	assert_int_equal(shutdown_host_create(world.host, world.loop, &host), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct shutdown_request request = { .kind = cases[i].kind, .force = true,
						    .done = on_result };
		uint32_t events = 0;

		guest_opens(&world, SHUTDOWN_INSTANCE_ID);
		shutdown_guest_init(guest, &world.channel.to_host, &world.channel.from_host,
				    cases[i].can_hibernate);
		world_pass_ms(&world, 100);
		events = shutdown_guest_receive(guest);
		assert_true(events & IC_GUEST_EVENT_READY);
		assert_true(ic_guest_version_is(&guest->ic, 3, 2));
		mini_signal(&world.channel);
		world_settle(&world);
		results = 0;
		assert_int_equal(shutdown_host_request(host, &request), 0);
		world_settle(&world);
		events = shutdown_guest_receive(guest);
		mini_signal(&world.channel);
		world_settle(&world);
		assert_int_equal(results, 1);
		assert_int_equal(last_result, cases[i].result);
		assert_int_equal(!!(events & SHUTDOWN_GUEST_EVENT_REQUEST),
				 cases[i].result == SHUTDOWN_ACCEPTED);
		if (cases[i].result == SHUTDOWN_ACCEPTED) {
			assert_int_equal(guest->request.kind, cases[i].guest_kind);
			assert_true(guest->request.force);
		}
		guest_closes(&world);
	}
	shutdown_host_destroy(host, NULL);
	world_fini(&world);
	free(guest);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(each_version_has_its_requests),
		TEST(unknown_flags_are_refused),
		TEST(a_short_request_fails_and_a_text_is_not_needed),
		TEST(what_is_under_way_is_not_begun_again),
		cmocka_unit_test(our_host_is_understood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
