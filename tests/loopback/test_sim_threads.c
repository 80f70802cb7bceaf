// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Both halves with a thread for each VP, one for the guest's bus and three of the host, for TSan
 * above all: what is promised about locks (storvsc.h, client.h) must suffice. The test's own thread
 * is the guest's bus; it also has controllers rescinded and brought back, and memory run out.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/loopback/sim.h"

/* Thousands of each; the numbers are reached, however long that takes. */
#define RESCINDS 1000u
#define OPENS 2000u
#define REQUESTS 50000u
#define GIVE_UP_MS 60000

struct vp_thread {
	pthread_t thread;
	struct sim_random random;
	uint32_t vp;
};

static struct world {
	struct sim_host host;
	struct sim_guest guest;
	struct sim_random random;
	struct vp_thread vps[SIM_VPS];
	_Atomic bool submit, stop;
} world;

static uint32_t chance(uint32_t below)
{
	return sim_chance(&world.random, below);
}

static void *run_vp(void *arg)
{
	struct vp_thread *t = arg;
	struct sim_guest *guest = &world.guest;

	while (!atomic_load(&world.stop)) {
		(void)!loopback_guest_wait(guest->machine, t->vp, 1);
		sim_vp_take_flags(guest, t->vp);
		while (sim_vp_receive(guest, t->vp, 1 + sim_chance(&t->random, 16)))
			;
		sim_vp_collect(guest, t->vp);
		if (atomic_load(&world.submit))
			sim_vp_submit(guest, t->vp, &t->random);
	}
	return NULL;
}

/* Whatever the bus' thread may do, each now and then. */
static void act(void)
{
	struct sim_guest *guest = &world.guest;
	struct sim_controller *controller = &world.host.controllers[chance(SIM_DISKS)];

	switch (chance(64)) {
	case 0: case 1:
		sim_host_act(controller);
		break;
	case 2: case 3: case 4:
		guest->disks[chance(SIM_DISKS)].wanted = chance(4);
		break;
	case 5:
		guest->busy_hypervisor = !chance(4);
		break;
	case 6: case 7:
		sim_fail_allocation((int)(1 + chance(16)));
		break;
	case 8: case 9: case 10: case 11:
		sim_guest_move(guest, &world.random);
		break;
	case 12:
		atomic_fetch_add(&guest->now_ns, SIM_SECOND_NS);
		sim_guest_tick(guest);
		break;
	case 13:
		atomic_store(&controller->block.defer, chance(2));
		break;
	case 14:
		atomic_store(&controller->block.fail_in, (int)chance(50));
		break;
	case 15:
		if (guest->client.state == VMBUS_CLIENT_IDLE && !guest->unloaded)
			sim_guest_connect(guest);
		else if (!chance(8))
			sim_guest_unload(guest);
		break;
	}
}

/* Returns true if the guest's bus did anything. */
static bool run_bus(void)
{
	bool moved = false;

	while (sim_guest_take_message(&world.guest))
		moved = true;
	return sim_guest_step(&world.guest) || moved;
}

static bool vps_idle(void)
{
	for (uint32_t vp = 0; vp < SIM_VPS; vp++)
		if (!sim_vp_idle(&world.guest, vp))
			return false;
	return true;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Nothing fails any more: all that was begun comes to its end. */
static void settle(void)
{
	uint64_t end_ms = now_ms() + GIVE_UP_MS;

	atomic_store(&world.submit, false);
	sim_fail_allocation(0);
	world.guest.busy_hypervisor = false;
	while (run_bus() || !sim_guest_settled(&world.guest) || !vps_idle()) {
		SIM_CHECK(now_ms() < end_ms);
		sched_yield();
	}
	SIM_CHECK(sim_counters.submitted == sim_counters.ended);
	atomic_store(&world.submit, true);
}

static bool enough(void)
{
	return sim_counters.rescinds >= RESCINDS && sim_counters.re_offers >= RESCINDS &&
	       sim_counters.opens + sim_counters.sub_opens >= OPENS &&
	       sim_counters.submitted >= REQUESTS;
}

static void begin(void)
{
	world.random.state = 7;
	sim_host_create(&world.host, NULL, NULL);
	sim_guest_create(&world.guest, world.host.partition, &world.random);
	for (int i = 0; i < 3; i++)
		SIM_CHECK(!io_loop_start(world.host.loops[i]));
	for (uint32_t vp = 0; vp < SIM_VPS; vp++) {
		struct vp_thread *t = &world.vps[vp];

		t->vp = vp;
		t->random.state = 100 + vp;
		SIM_CHECK(!pthread_create(&t->thread, NULL, run_vp, t));
	}
	atomic_store(&world.submit, true);
}

static void end(void)
{
	uint64_t end_ms = now_ms() + GIVE_UP_MS;

	settle();
	sim_guest_unload(&world.guest);
	settle();
	atomic_store(&world.stop, true);
	for (uint32_t vp = 0; vp < SIM_VPS; vp++)
		SIM_CHECK(!pthread_join(world.vps[vp].thread, NULL));
	for (uint32_t i = 0; i < SIM_DISKS; i++) {
		struct sim_controller *controller = &world.host.controllers[i];

		while (atomic_load(&controller->state) != SIM_ABSENT ||
		       atomic_load(&controller->acting)) {
			SIM_CHECK(now_ms() < end_ms);
			if (atomic_load(&controller->state) == SIM_PRESENT)
				sim_host_act(controller);
			usleep(100);
		}
	}
	for (int i = 2; i >= 0; i--)
		io_loop_join(world.host.loops[i]);
	sim_guest_destroy(&world.guest);
	sim_host_destroy(&world.host);
}

static void every_request_ends_exactly_once_on_many_threads(void **state)
{
	uint64_t end_ms = now_ms() + 4 * GIVE_UP_MS;
	uint32_t acts = 0;

	begin();
	while (!enough()) {
		SIM_CHECK(now_ms() < end_ms);
		act();
		if (!run_bus())
			sched_yield();
		/* Whatever the scheduler prefers, there shall be requests to disturb. */
		if (acts > sim_counters.submitted + sim_counters.submitted / 2)
			usleep(200);
		if (++acts % 20000 == 0)
			settle();
	}
	end();
	sim_print_counters();
	assert_in_range(sim_counters.good, REQUESTS / 4, UINT32_MAX);
	assert_in_range(sim_counters.gone, 100, UINT32_MAX);
	assert_in_range(sim_counters.failed_allocations, 100, UINT32_MAX);
	assert_in_range(sim_counters.unloads, 10, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_request_ends_exactly_once_on_many_threads),
	};

	return cmocka_run_group_tests_name("world of threads", tests, NULL, NULL);
}
