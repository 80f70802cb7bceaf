/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Network cards of a VM that come, go and change while it runs: the commands as a client gives them, on
 * a VM without a machine, whose guest is a scripted one. The bus's loop and the cards' are turned by
 * the test, until the VM ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/loopback/netvsp_guest.h"
#include "tests/loopback/vm_rig.h"

#define MAC_A "02:00:00:00:00:0a"
#define MAC_B "02:00:00:00:00:0b"

struct rig {
	struct vm_rig base;       /* first */
	struct netvsp_guest guest;
	uint64_t clock;           /* of the cards' loop */
	bool sends, told;         /* the guest; until it is told that the link is down */
	uint32_t sent, answered;
};

static uint64_t now_ns(void *clock)
{
	return *(uint64_t *)clock;
}

static void guest_runs(struct rig *rig);

static void pump(void *arg)
{
	struct rig *rig = arg;

	vm_rig_turn(&rig->base);
	rig->clock += 1000000;
}

static void pump_guest(struct vm_rig *base)
{
	struct rig *rig = (struct rig *)base;

	pump(rig);
	guest_runs(rig);
}

/* ---- commands ---- */

/* Returns the card's number. */
static int add(struct rig *rig, const char *nic)
{
	struct vm_rig_call call;
	int number = -1;

	vm_rig_begin(&rig->base, &call, "nic-add", "nic", nic, NULL, NULL);
	if (vm_rig_finish(&rig->base, &call))
		fail_msg("add %s: %s", nic, call.error);
	assert_int_equal(sscanf(json_text(call.result, "name", ""), "nic%d", &number), 1);
	json_object_put(call.result);
	return number;
}

static void refuses(struct rig *rig, const char *command, const char *card, const char *value, int err,
		    const char *says)
{
	bool adds = strcmp(command, "nic-add") == 0;
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, command, adds ? "nic" : "card", adds ? value : card, "change", value);
	assert_int_equal(vm_rig_finish(&rig->base, &call), err);
	if (!strstr(call.error, says))
		fail_msg("%s %s: %s", command, value, call.error);
}

static void remove_card(struct rig *rig, const char *card)
{
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, "nic-remove", "card", card, NULL, NULL);
	if (vm_rig_finish(&rig->base, &call))
		fail_msg("remove %s: %s", card, call.error);
	json_object_put(call.result);
}

static void change(struct rig *rig, const char *card, const char *how)
{
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, "nic-set", "card", card, "change", how);
	if (vm_rig_finish(&rig->base, &call))
		fail_msg("set %s %s: %s", card, how, call.error);
	json_object_put(call.result);
}

/* ---- the VM ---- */

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct io_loop_config io = { .name = "io", .now_ns = now_ns, .clock = &rig->clock };
	char error[VM_ERROR_BYTES];

	assert_non_null(rig);
	*state = rig;
	rig->clock = 1;
	rig->base.config = (struct vm_config){ .name = "vm", .cpus = 2, .nic_count = 2 };
	rig->base.pump = pump_guest;
	vm_rig_init(&rig->base, &io);
	assert_int_equal(cli_vm_nics_open(rig->base.vm, error), 0);
	assert_int_equal(cli_vm_nics_start(rig->base.vm, error), 0);
	vm_rig_listen(&rig->base);
	assert_int_equal(loopback_guest_attach(rig->base.partition, &rig->guest.mini.lo), 0);
	rig->guest.mini.pump = pump;
	rig->guest.mini.pump_arg = rig;
	rig->guest.ring_pages = 17;
	rig->guest.message_bytes = NVSP_MESSAGE_BYTES_6_1;
	assert_int_equal(mini_connect(&rig->guest.mini, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&rig->guest.mini), 0);
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	struct netvsp_guest *guest = &rig->guest;

	if (rig->base.vm)
		vm_rig_end(&rig->base);
	netvsp_guest_drop(guest);
	free(guest->sub_holder);
	netvsp_guest_free(guest, &guest->receive);
	netvsp_guest_free(guest, &guest->send);
	netvsp_guest_free(guest, &guest->data);
	netvsp_guest_free(guest, &guest->control);
	loopback_guest_detach(guest->mini.lo);
	loopback_destroy(rig->base.partition);
	free(rig);
	return 0;
}

/* ---- the guest ---- */

static void guest_opens(struct rig *rig, const struct vm_card *card)
{
	struct netvsp_guest *guest = &rig->guest;
	uint32_t filter = NDIS_FILTER_PROMISCUOUS;

	guest->instance_id = card->instance_id;
	if (!guest->receive.pages) {
		assert_int_equal(netvsp_guest_alloc(guest, 64, &guest->receive), 0);
		assert_int_equal(netvsp_guest_alloc(guest, 64, &guest->send), 0);
	}
	assert_int_equal(netvsp_guest_open(guest, 0), 0);
	assert_int_equal(netvsp_guest_version(guest, NVSP_VERSION_6_1), 0);
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, guest->receive.pages * HV_PAGE_BYTES), 0);
	assert_int_equal(netvsp_guest_share(guest, &guest->send, 0, guest->send.pages * HV_PAGE_BYTES), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	assert_int_equal(netvsp_guest_give_send(guest, guest->send.gpadl_id), 0);
	assert_int_equal(netvsp_guest_initialize(guest), 0);
	assert_int_equal(netvsp_guest_set(guest, OID_GEN_CURRENT_PACKET_FILTER, &filter, sizeof(filter)),
			 RNDIS_STATUS_SUCCESS);
}

static void guest_forgets(struct rig *rig)
{
	struct netvsp_guest *guest = &rig->guest;

	rig->sends = false;
	guest->open[0] = false;
	mini_drain(&guest->mini); /* a reset machine has no messages of before */
	netvsp_guest_drop(guest);
	netvsp_guest_forget_held(guest);
	guest->frame_count = 0;
}

/* It finds out that its card is gone. */
static void guest_lets_go(struct rig *rig)
{
	netvsp_guest_close(&rig->guest, 0);
	guest_forgets(rig);
}

static void send_one(struct rig *rig)
{
	static const uint8_t frame[60] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6 };
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
	uint8_t message[200];
	uint32_t bytes = netvsp_guest_message(&out, message);
	struct netvsp_guest_way way = { .section = rig->sent % 8, .section_bytes = bytes };

	if (netvsp_guest_send(&rig->guest, 0, rig->sent, message, bytes, &way) == 0)
		rig->sent++;
}

/* Frames on their way, none of which was taken yet. */
static void guest_sends(struct rig *rig)
{
	rig->sends = true;
	rig->told = false;
	rig->sent = rig->answered = 0;
	while (rig->sent < 40)
		send_one(rig);
}

/* As Linux: it goes on until it is told that the link is down, and then takes the answers to what it sent. */
static void guest_runs(struct rig *rig)
{
	struct netvsp_guest *guest = &rig->guest;

	if (!rig->sends || !guest->open[0])
		return;
	netvsp_guest_poll(guest);
	while (guest->completions) {
		struct netvsp_guest_completion *completion = guest->completions;

		guest->completions = completion->next;
		free(completion);
		rig->answered++;
	}
	if (netvsp_guest_take_indication(guest) == RNDIS_STATUS_MEDIA_DISCONNECT)
		rig->told = true;
	if (!rig->told && rig->sent - rig->answered < 100)
		send_one(rig);
}

static bool guest_answers(struct rig *rig)
{
	uint32_t value, bytes = sizeof(value);

	return netvsp_guest_query(&rig->guest, OID_GEN_MEDIA_CONNECT_STATUS, &value, &bytes) ==
	       RNDIS_STATUS_SUCCESS;
}

/* ---- tests ---- */

static void a_card_keeps_its_number_and_a_new_one_gets_the_lowest(void **state)
{
	struct rig *rig = *state;
	struct netvsp *nic0 = rig->base.vm->cards[0].netvsp, *nic2;

	assert_int_equal(add(rig, "user"), 2);
	nic2 = rig->base.vm->cards[2].netvsp;
	remove_card(rig, "nic1");
	assert_int_equal(rig->base.vm->cards[1].state, VM_CARD_FREE);
	assert_null(rig->base.vm->cards[1].port);
	assert_ptr_equal(rig->base.vm->cards[0].netvsp, nic0);
	assert_ptr_equal(rig->base.vm->cards[2].netvsp, nic2);
	assert_int_equal(add(rig, "switch:lab"), 1);
	assert_int_equal(rig->base.vm->cards[1].nic.kind, VM_NIC_SWITCH);
	assert_int_equal(add(rig, "user"), 3);
	remove_card(rig, "nic0");
	assert_int_equal(add(rig, "user"), 0);
}

static void what_cannot_be_is_refused_in_words(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(add(rig, "user,mac=" MAC_A), 2);
	refuses(rig, "nic-add", NULL, "wire", -LIS_INVALID, "it begins with user");
	refuses(rig, "nic-add", NULL, "user,mac=" MAC_A, -LIS_BUSY, "nic3: nic2 has this address");
	refuses(rig, "nic-add", NULL, "tap:no-such-%", -LIS_INVALID, "no name for an interface");
	refuses(rig, "nic-remove", "nic3", "", -LIS_NOTFOUND, "no network card 'nic3'");
	refuses(rig, "nic-remove", "", "", -LIS_NOTFOUND, "no network card ''");
	refuses(rig, "nic-set", "nic8", "link=up", -LIS_NOTFOUND, "no network card 'nic8'");
	refuses(rig, "nic-set", "nic0", "", -LIS_INVALID, "there are mac=");
	refuses(rig, "nic-set", "nic0", "mac=" MAC_A, -LIS_BUSY, "nic0: nic2 has this address");
	/* One that had another address first is known by that to guests. */
	change(rig, "nic2", "mac=" MAC_B);
	refuses(rig, "nic-add", NULL, "user,mac=" MAC_A, -LIS_BUSY, "nic2 was made with this address");
	change(rig, "nic2", "mac=" MAC_A);
	for (int i = 3; i < (int)VM_NICS_MAX; i++)
		assert_int_equal(add(rig, "user"), i);
	refuses(rig, "nic-add", NULL, "user", -LIS_FULL, "there are 8 network cards");
	remove_card(rig, "nic5");
	assert_int_equal(add(rig, "user"), 5);
}

/* What the old card was connected to is free when the answer comes. */
static void a_connection_is_free_when_its_card_is_removed(void **state)
{
	struct rig *rig = *state;
	static const char nic[] = "user,hostfwd=tcp:127.0.0.199:47123:22";

	assert_int_equal(add(rig, nic), 2);
	refuses(rig, "nic-add", NULL, nic, -LIS_BUSY, "nic3: ");
	for (int i = 0; i < 20; i++) {
		remove_card(rig, "nic2");
		assert_int_equal(add(rig, nic), 2);
	}
}

#define FORWARD_A "tcp:127.0.0.198:47125"
#define FORWARD_B "udp:127.0.0.198:47126"
#define FORWARD_C "tcp:127.0.0.198:47127"

/* All that are asked for at once, or none. */
static void forwards_are_changed_while_the_card_is_there(void **state)
{
	struct rig *rig = *state;
	const struct vm_nic *nic = &rig->base.vm->cards[0].nic;

	change(rig, "nic0", "hostfwd=" FORWARD_A ":22,hostfwd=" FORWARD_B ":53");
	assert_int_equal(nic->forward_count, 2);
	refuses(rig, "nic-set", "nic1", "hostfwd=" FORWARD_C ":1,hostfwd=" FORWARD_A ":22", -LIS_BUSY,
		"nic1: forward " FORWARD_A ": that port is taken");
	refuses(rig, "nic-set", "nic0", "hostfwd=" FORWARD_C ":1,no-hostfwd=tcp:127.0.0.198:47126", -LIS_NOTFOUND,
		"nic0: there is no forward tcp:127.0.0.198:47126");
	/* Nothing was left of those. */
	assert_int_equal(rig->base.vm->cards[1].nic.forward_count, 0);
	change(rig, "nic1", "hostfwd=" FORWARD_C ":1");
	change(rig, "nic0", "no-hostfwd=" FORWARD_A);
	assert_int_equal(nic->forward_count, 1);
	assert_true(nic->forwards[0].udp);
	change(rig, "nic1", "hostfwd=" FORWARD_A ":22,no-hostfwd=" FORWARD_C);
	refuses(rig, "nic-set", "nic0", "hostfwd=2222:22", -LIS_INVALID, "write it like hostfwd=tcp:2222:22");
	assert_int_equal(add(rig, "switch:lab"), 2);
	refuses(rig, "nic-set", "nic2", "hostfwd=" FORWARD_C ":1", -LIS_INVALID, "forwards are for cards on user-mode");
	/* What is too much, and what there is room for again. */
	for (uint32_t i = 1; i < VM_FORWARDS_MAX; i++) {
		char how[64];

		snprintf(how, sizeof(how), "hostfwd=tcp:127.0.0.198:%u:22", 47200 + i);
		change(rig, "nic0", how);
	}
	refuses(rig, "nic-set", "nic0", "hostfwd=" FORWARD_C ":1", -LIS_FULL, "more than 32 forwards");
	change(rig, "nic0", "no-hostfwd=" FORWARD_B);
	change(rig, "nic0", "hostfwd=" FORWARD_C ":1");
}

static void changes_are_there_when_they_are_answered(void **state)
{
	struct rig *rig = *state;
	const struct vm_card *card = &rig->base.vm->cards[1];
	struct guid id = card->instance_id;
	struct net_port *port = card->port;
	struct netvsp *before = card->netvsp;
	static const uint8_t mac[] = { 2, 0, 0, 0, 0, 0x0b };

	change(rig, "nic1", "link=down,speed=2500");
	assert_ptr_equal(card->netvsp, before);
	assert_false(netvsp_status(card->netvsp).link_up);
	assert_true(netvsp_status(card->netvsp).bits_per_second == 2500000000);
	change(rig, "nic1", "mac=" MAC_B ",mtu=1400");
	assert_memory_equal(netvsp_status(card->netvsp).mac, mac, sizeof(mac));
	assert_int_equal(netvsp_status(card->netvsp).mtu_max, 1400);
	/* All else is as it was. */
	assert_false(netvsp_status(card->netvsp).link_up);
	assert_true(netvsp_status(card->netvsp).bits_per_second == 2500000000);
	assert_ptr_equal(card->port, port);
	assert_int_equal(guid_compare(&card->instance_id, &id), 0);
	/* What it is already needs no other card. */
	before = card->netvsp;
	change(rig, "nic1", "link=up,mac=" MAC_B ",mtu=1400");
	assert_ptr_equal(card->netvsp, before);
	assert_true(netvsp_status(card->netvsp).link_up);
}

static void a_card_is_removed_and_added_under_load(void **state)
{
	struct rig *rig = *state;
	const struct vm_card *card = &rig->base.vm->cards[2];

	assert_int_equal(add(rig, "user,mac=" MAC_A), 2);
	for (int i = 0; i < 30; i++) {
		guest_opens(rig, card);
		guest_sends(rig);
		if (i % 3 == 2)
			change(rig, "nic2", i % 2 ? "mtu=1400" : "mtu=1500");
		else {
			remove_card(rig, "nic2");
			/* Its driver waits for what it has no answer to. */
			assert_true(rig->told);
			assert_int_equal(rig->answered, rig->sent);
			assert_int_equal(add(rig, "user,mac=" MAC_A), 2);
		}
		guest_lets_go(rig);
	}
	guest_opens(rig, card);
	assert_true(guest_answers(rig));
	assert_null(rig->guest.problem);
	guest_lets_go(rig);
}

/* It may hang, or be paused. */
static void a_guest_that_does_not_listen_loses_its_card(void **state)
{
	struct rig *rig = *state;
	uint64_t begin_ns;

	guest_opens(rig, &rig->base.vm->cards[1]);
	guest_sends(rig);
	rig->sends = false;
	begin_ns = rig->clock;
	remove_card(rig, "nic1");
	assert_true(rig->clock - begin_ns >= NETVSP_QUIET_NS_MAX);
	assert_int_equal(rig->base.vm->cards[1].state, VM_CARD_FREE);
	guest_lets_go(rig);
}

static void a_card_that_is_leaving_is_busy(void **state)
{
	struct rig *rig = *state;
	struct vm_card *card = &rig->base.vm->cards[1];
	struct vm_rig_call call;

	guest_opens(rig, card);
	guest_sends(rig);
	vm_rig_begin(&rig->base, &call, "nic-remove", "card", "nic1", NULL, NULL);
	/* Its own loop does not come to it. */
	while (card->state == VM_CARD_ON)
		io_loop_turn(rig->base.vm->loop, false);
	assert_int_equal(card->state, VM_CARD_LEAVING);
	assert_false(atomic_load(&call.done));
	cli_vm_nics_stop(rig->base.vm); /* which leaves it alone, and takes the other */
	assert_int_equal(rig->base.vm->leaving, 2);
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	while (rig->base.vm->leaving)
		pump(rig);
	guest_lets_go(rig);
}

static void on_reset(struct io_call *call)
{
	call->fn = NULL;
}

static void a_reset_meanwhile_is_harmless(void **state)
{
	struct rig *rig = *state;
	struct vm_card *card = &rig->base.vm->cards[1];

	for (int i = 0; i < 12; i++) {
		struct io_call reset = { .fn = on_reset };
		struct vm_rig_call call;

		guest_opens(rig, card);
		guest_sends(rig);
		if (i % 2)
			vm_rig_begin(&rig->base, &call, "nic-remove", "card", "nic1", NULL, NULL);
		else
			vm_rig_begin(&rig->base, &call, "nic-set", "card", "nic1", "change",
			      i % 4 ? "mtu=1400" : "mtu=1500");
		while (card->state == VM_CARD_ON)
			io_loop_turn(rig->base.vm->loop, false);
		if (i % 3)
			io_loop_turn(rig->base.vm->io_loops[0], false);
		vmbus_host_reset(rig->base.vm->host, &reset);
		assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
		json_object_put(call.result);
		while (reset.fn)
			pump(rig);
		if (i % 2)
			assert_int_equal(add(rig, "user"), 1);
		assert_int_equal(card->state, VM_CARD_ON);
		guest_forgets(rig);
		assert_int_equal(mini_connect(&rig->guest.mini, VMBUS_VERSION_IRON), 0);
		assert_int_equal(mini_request_offers(&rig->guest.mini), 0);
	}
	guest_opens(rig, card);
	assert_true(guest_answers(rig));
	guest_lets_go(rig);
}

/* @command is under way; its client hears of it or of the end, and nobody waits for ever. */
static void ends_during(struct rig *rig, const char *command, const char *how)
{
	struct vm_card *card = &rig->base.vm->cards[1];
	struct vm_rig_call call;

	guest_opens(rig, card);
	guest_sends(rig);
	vm_rig_begin(&rig->base, &call, command, "card", "nic1", "change", how);
	while (card->state == VM_CARD_ON)
		io_loop_turn(rig->base.vm->loop, false);
	assert_int_equal(card->state, VM_CARD_LEAVING);
	vm_rig_end(&rig->base);
	pthread_join(call.thread, NULL);
	assert_true(call.err == 0 || call.err == -LIS_GONE);
	if (!call.err)
		json_object_put(call.result);
}

static void the_vm_may_end_during_a_removal(void **state)
{
	ends_during(*state, "nic-remove", "");
}

static void the_vm_may_end_during_a_change(void **state)
{
	ends_during(*state, "nic-set", "mac=" MAC_B);
}

static void look_for_nic1(void *arg, const struct vmbus_device_status *status)
{
	*(bool *)arg |= !strcmp(status->name, "nic1");
}

/* It is off the bus, and its port is not through yet. */
static void the_vm_may_end_when_a_card_is_nearly_gone(void **state)
{
	struct rig *rig = *state;
	bool there = true;
	struct vm_rig_call call;

	guest_opens(rig, &rig->base.vm->cards[1]);
	guest_sends(rig);
	vm_rig_begin(&rig->base, &call, "nic-remove", "card", "nic1", NULL, NULL);
	while (there) {
		there = false;
		rig->clock += 1000000;
		guest_runs(rig);
		io_loop_turn(rig->base.vm->io_loops[0], false);
		io_loop_turn(rig->base.vm->loop, false);
		vmbus_host_each_device(rig->base.vm->host, look_for_nic1, &there);
	}
	assert_int_equal(rig->base.vm->cards[1].state, VM_CARD_LEAVING);
	rig->sends = false;
	vm_rig_end(&rig->base);
	pthread_join(call.thread, NULL);
	assert_true(call.err == 0 || call.err == -LIS_GONE);
	if (!call.err)
		json_object_put(call.result);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_card_keeps_its_number_and_a_new_one_gets_the_lowest),
		TEST(what_cannot_be_is_refused_in_words),
		TEST(a_connection_is_free_when_its_card_is_removed),
		TEST(forwards_are_changed_while_the_card_is_there),
		TEST(changes_are_there_when_they_are_answered),
		TEST(a_card_is_removed_and_added_under_load),
		TEST(a_guest_that_does_not_listen_loses_its_card),
		TEST(a_card_that_is_leaving_is_busy),
		TEST(a_reset_meanwhile_is_harmless),
		TEST(the_vm_may_end_during_a_removal),
		TEST(the_vm_may_end_during_a_change),
		TEST(the_vm_may_end_when_a_card_is_nearly_gone),
	};

	return cmocka_run_group_tests_name("nics", tests, NULL, NULL);
}
