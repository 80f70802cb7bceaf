// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Both halves in simulated time, on one thread: controllers are rescinded and offered anew, the
 * guest opens, closes, crashes and comes back, requests are under way meanwhile, disks hang, memory
 * runs out. From one seed all of it is the same again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/sim.h"

#define SEEDS 6u
#define STEPS 1000000u
#define STEPS_UNTIL_SETTLED 2500u

static struct world {
	struct sim_host host;
	struct sim_guest guest;
	struct sim_random random;
	bool asleep[SIM_VPS]; /* takes no interrupts for a while */
} world;

static uint64_t now_ns(void *clock)
{
	return atomic_load(&((struct world *)clock)->guest.now_ns);
}

static uint32_t chance(uint32_t below)
{
	return sim_chance(&world.random, below);
}

static struct sim_controller *some_controller(void)
{
	return &world.host.controllers[chance(SIM_DISKS)];
}

static void turn_some_loop(void)
{
	struct io_loop *loop = world.host.loops[chance(3)];

	for (uint32_t n = 1 + chance(3); n; n--)
		io_loop_turn(loop, false);
}

static void use_a_vp(void)
{
	uint32_t vp = chance(SIM_VPS);

	if (!chance(60))
		world.asleep[vp] = !world.asleep[vp];
	if (world.asleep[vp])
		return;
	if (chance(8))
		sim_vp_take_flags(&world.guest, vp);
	sim_vp_receive(&world.guest, vp, 1 + chance(8));
	if (chance(2))
		sim_vp_collect(&world.guest, vp);
}

/* Disks answer at once, a turn later, or hang; and now and then they fail. */
static void change_a_disk(void)
{
	struct sim_block *block = &some_controller()->block;

	switch (chance(4)) {
	case 0:
		block->hold = !block->hold;
		break;
	case 1:
		atomic_store(&block->defer, chance(2));
		break;
	case 2:
		atomic_store(&block->fail_in, (int)chance(20));
		break;
	default:
		sim_block_release(block, 1 + chance(8));
	}
}

static void pass_time(void)
{
	atomic_fetch_add(&world.guest.now_ns, SIM_SECOND_NS);
	sim_guest_tick(&world.guest);
}

/* The guest crashes, with everything under way, or is there again. */
static void come_or_go(void)
{
	if (world.guest.client.state == VMBUS_CLIENT_IDLE && !world.guest.unloaded)
		sim_guest_connect(&world.guest);
	else if (!chance(120))
		sim_guest_unload(&world.guest);
}

static void step(void)
{
	struct sim_guest *guest = &world.guest;

	switch (chance(32)) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7:
		turn_some_loop();
		break;
	case 8: case 9: case 10:
		for (uint32_t n = 1 + chance(4); n && sim_guest_take_message(guest); n--)
			;
		break;
	case 11: case 12: case 13:
		sim_guest_step(guest);
		break;
	case 14: case 15: case 16: case 17: case 18: case 19:
		use_a_vp();
		break;
	case 20: case 21: case 22: case 23:
		sim_vp_submit(guest, chance(SIM_VPS), &world.random);
		break;
	case 24:
		if (!chance(2))
			change_a_disk();
		break;
	case 25:
		if (!chance(20))
			sim_controller_act(some_controller());
		break;
	case 26:
		if (!chance(8))
			guest->disks[chance(SIM_DISKS)].wanted = chance(4);
		break;
	case 27:
		guest->busy_hypervisor = !chance(5);
		break;
	case 28:
		if (!chance(8))
			pass_time();
		break;
	case 29:
		if (!chance(12))
			sim_fail_allocation((int)(1 + chance(8)));
		break;
	case 30:
		sim_guest_move(guest, &world.random);
		break;
	default:
		come_or_go();
	}
}

/* One round in which everything that can go on goes on. Returns true if the guest did anything. */
static bool let_go_on(void)
{
	struct sim_guest *guest = &world.guest;
	bool moved = false;

	for (uint32_t i = 0; i < SIM_DISKS; i++)
		sim_block_release(&world.host.controllers[i].block, UINT32_MAX);
	for (int i = 0; i < 12; i++)
		io_loop_turn(world.host.loops[i % 3], false);
	while (sim_guest_take_message(guest))
		moved = true;
	moved |= sim_guest_step(guest);
	for (uint32_t vp = 0; vp < SIM_VPS; vp++) {
		sim_vp_take_flags(guest, vp);
		moved |= sim_vp_receive(guest, vp, 64);
		sim_vp_collect(guest, vp);
	}
	return moved;
}

static bool nobody_waits_for_room(void)
{
	for (uint32_t d = 0; d < SIM_DISKS; d++)
		for (uint32_t i = 0; i <= SIM_SUBS; i++) {
			const struct sim_lane *lane = world.guest.disks[d].lanes[i];

			if (lane && lane->attached && lane->room_wanted)
				return false;
		}
	return true;
}

/*
 * Nothing fails or hangs any more: all that was begun comes to its end, without the clock and
 * without anybody looking at a ring that was not signalled.
 */
static void settle(void)
{
	struct sim_guest *guest = &world.guest;
	uint32_t rounds = 0, quiet = 0;

	sim_fail_allocation(0);
	guest->busy_hypervisor = false;
	for (uint32_t i = 0; i < SIM_DISKS; i++) {
		struct sim_block *block = &world.host.controllers[i].block;

		block->hold = false;
		atomic_store(&block->defer, false);
		atomic_store(&block->fail_in, 0);
	}
	while (quiet < 8) {
		quiet = let_go_on() || !sim_guest_settled(guest) ? 0 : quiet + 1;
		SIM_CHECK(++rounds < 20000);
	}
	for (uint32_t vp = 0; vp < SIM_VPS; vp++)
		SIM_CHECK(sim_vp_idle(guest, vp));
	SIM_CHECK(nobody_waits_for_room());
	SIM_CHECK(!vmbus_client_check(&guest->client));
	SIM_CHECK(sim_counters.submitted == sim_counters.ended);
}

static void remove_all_controllers(void)
{
	for (uint32_t i = 0; i < SIM_DISKS; i++) {
		struct sim_controller *controller = &world.host.controllers[i];

		if (controller->state == SIM_PRESENT)
			sim_controller_act(controller);
		while (controller->state != SIM_ABSENT)
			let_go_on();
	}
}

static void live_through(uint64_t seed)
{
	memset(&world, 0, sizeof(world));
	world.random.state = seed;
	sim_host_create(&world.host, now_ns, &world);
	sim_guest_create(&world.guest, world.host.partition, &world.random);
	for (uint32_t i = 0; i < STEPS; i++) {
		step();
		if (i % STEPS_UNTIL_SETTLED == 0)
			settle();
	}
	settle();
	sim_guest_unload(&world.guest);
	settle();
	remove_all_controllers();
	sim_guest_destroy(&world.guest);
	sim_host_destroy(&world.host);
}

static void
every_request_ends_exactly_once_whatever_opens_closes_goes_comes_back_or_fails(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		live_through(seed);
	sim_print_counters();
	/* Thousands of each, else little was tested. */
	assert_in_range(sim_counters.opens, 2000, UINT32_MAX);
	assert_in_range(sim_counters.sub_opens, 2000, UINT32_MAX);
	assert_in_range(sim_counters.closes, 2000, UINT32_MAX);
	assert_in_range(sim_counters.rescinds, 2000, UINT32_MAX);
	assert_in_range(sim_counters.re_offers, 2000, UINT32_MAX);
	assert_in_range(sim_counters.failed_allocations, 2000, UINT32_MAX);
	assert_in_range(sim_counters.submitted, 100000, UINT32_MAX);
	assert_in_range(sim_counters.gone, 1000, UINT32_MAX);
	assert_in_range(sim_counters.timed_out, 1000, UINT32_MAX);
	assert_in_range(sim_counters.unloads, 100, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		every_request_ends_exactly_once_whatever_opens_closes_goes_comes_back_or_fails),
	};

	return cmocka_run_group_tests_name("simulated world", tests, NULL, NULL);
}
