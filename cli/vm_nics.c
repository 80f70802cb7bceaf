// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The network cards of a VM: what they are connected to, and their offers on the bus, from the start or
 * while it runs. A card that is rescinded keeps its number and its connection until its VSP says that
 * nothing uses them any more; then it is free, or it is offered again.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cli/vm_private.h"
#include "io/error.h"
#include "network/backends/nat.h"
#include "network/backends/switch.h"
#include "network/backends/tap.h"
#include "network/backends/vlan.h"

#define BITS_PER_MEGABIT 1000000ull

/* ---- addresses ---- */

/* FNV-1a: names that differ have addresses that differ, mostly. */
static uint32_t hash_name(const char *name)
{
	uint32_t hash = 0x811c9dc5;

	while (*name)
		hash = (hash ^ (uint8_t)*name++) * 0x01000193;
	return hash;
}

/* Of those that Hyper-V gives its guests; the same each time for the same card. */
static void choose_mac(const struct vm *vm, size_t index, uint8_t mac[NET_MAC_BYTES])
{
	uint32_t number = hash_name(vm->config->name) + (uint32_t)index;

	mac[0] = 0x00;
	mac[1] = 0x15;
	mac[2] = 0x5d;
	mac[3] = (uint8_t)(number >> 16);
	mac[4] = (uint8_t)(number >> 8);
	mac[5] = (uint8_t)number;
}

/* ---- connections ---- */

static struct nat_forward nat_forward_of(const struct vm_forward *forward)
{
	return (struct nat_forward){
		.udp = forward->udp,
		.host_address = forward->host_address,
		.host_port = forward->host_port,
		.guest_address = *forward->guest_address ? forward->guest_address : NULL,
		.guest_port = forward->guest_port,
	};
}

static int open_user(const struct vm_nic *nic, struct net_port **out_port, char *error)
{
	struct nat_forward forwards[VM_FORWARDS_MAX];
	struct nat_config config = {
		.restricted = nic->restricted,
		.forwards = forwards,
		.forward_count = (uint32_t)nic->forward_count,
	};

	for (size_t i = 0; i < nic->forward_count; i++)
		forwards[i] = nat_forward_of(&nic->forwards[i]);
	return nat_create(&config, out_port, error);
}

static int open_tap(const struct vm_nic *nic, struct net_port **out_port, char *error)
{
	struct tap_config config = {
		.name = nic->target, .make = true, .up = true, .queues = nic->queues,
	};

	return tap_create(&config, out_port, error);
}

/* Beside the control socket: what belongs to one user belongs together. */
static int open_switch(const struct vm *vm, const struct vm_nic *nic, struct net_port **out_port,
		       char *error)
{
	char folder[REGISTRY_PATH_BYTES];
	struct switch_config config = { .directory = folder, .name = nic->target };

	strcpy(folder, vm->claim.socket_path);
	*strrchr(folder, '/') = 0;
	return switch_create(&config, out_port, error);
}

static int open_connection(const struct vm *vm, const struct vm_nic *nic, struct net_port **out_port,
			   char *error)
{
	switch (nic->kind) {
	case VM_NIC_USER:
		return open_user(nic, out_port, error);
	case VM_NIC_TAP:
		return open_tap(nic, out_port, error);
	case VM_NIC_SWITCH:
		return open_switch(vm, nic, out_port, error);
	}
	return -LIS_INVALID;
}

static int open_nic(const struct vm *vm, const struct vm_nic *nic, struct net_port **out_port,
		    char *error)
{
	struct net_port *port;
	int err = open_connection(vm, nic, &port, error);

	if (!err && nic->vlan) {
		struct net_port *behind = port;

		err = vlan_create(behind, nic->vlan, &port, error);
		if (err)
			net_port_destroy(behind);
	}
	if (!err)
		*out_port = port;
	return err;
}

/* ---- cards ---- */

static const struct vm_card *card_with_mac(const struct vm *vm, const uint8_t mac[NET_MAC_BYTES])
{
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		const struct vm_card *card = &vm->cards[i];

		if (card->state != VM_CARD_FREE && !memcmp(card->nic.mac, mac, NET_MAC_BYTES))
			return card;
	}
	return NULL;
}

static const struct vm_card *card_with_id(const struct vm *vm, const struct guid *id)
{
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		if (vm->cards[i].state != VM_CARD_FREE && !guid_compare(&vm->cards[i].instance_id, id))
			return &vm->cards[i];
	}
	return NULL;
}

static int check_address(const struct vm *vm, const char *name, const uint8_t mac[NET_MAC_BYTES],
			 char *error)
{
	const struct vm_card *other = card_with_mac(vm, mac);

	if (!other)
		return 0;
	snprintf(error, VM_ERROR_BYTES, "%s: %s has this address", name, other->name);
	return -LIS_BUSY;
}

static int check_mtu(const struct vm_card *card, uint32_t mtu, char *error)
{
	if (mtu <= card->port->mtu_max)
		return 0;
	snprintf(error, VM_ERROR_BYTES, "%s: no more than an MTU of %u goes through its connection",
		 card->name, card->port->mtu_max);
	return -LIS_INVALID;
}

static int card_open(struct vm_card *card, const struct vm_nic *nic, char *error)
{
	const struct vm_card *other;
	char why[NET_PORT_ERROR_BYTES];
	int err;

	card->nic = *nic;
	if (!nic->has_mac)
		choose_mac(card->vm, (size_t)(card - card->vm->cards), card->nic.mac);
	err = check_address(card->vm, card->name, card->nic.mac, error);
	if (err)
		return err;
	card->instance_id = netvsp_instance_id(card->nic.mac);
	other = card_with_id(card->vm, &card->instance_id);
	if (other) {
		snprintf(error, VM_ERROR_BYTES, "%s: %s was made with this address, and is known by it",
			 card->name, other->name);
		return -LIS_BUSY;
	}
	err = open_nic(card->vm, nic, &card->port, why);
	card->nic.target = NULL;
	if (err) {
		snprintf(error, VM_ERROR_BYTES, "%s: %s", card->name, why);
		return err;
	}
	card->state = VM_CARD_OPEN;
	return check_mtu(card, nic->mtu, error);
}

static void card_close(struct vm_card *card)
{
	net_port_destroy(card->port);
	card->port = NULL;
	card->state = VM_CARD_FREE;
}

static struct io_loop *card_loop(const struct vm_card *card)
{
	return card->vm->io_loops[(size_t)(card - card->vm->cards) % card->vm->io_loop_count];
}

static int card_offer(struct vm_card *card, char *error)
{
	const struct vm_nic *nic = &card->nic;
	struct vm *vm = card->vm;
	struct netvsp_config config = {
		.name = card->name,
		.instance_id = card->instance_id,
		.channels_max = (uint16_t)(nic->channels ? nic->channels : vm->config->cpus),
		.bus_loop = vm->loop,
		.loop = card_loop(card),
		.port = card->port,
		.link_down = nic->link == VM_LINK_DOWN,
		.bits_per_second = nic->speed_mbps * BITS_PER_MEGABIT,
		.mtu_max = nic->mtu,
		.guest_shares_cpu = io_loop_has_one_cpu(card_loop(card)),
	};
	int err;

	memcpy(config.mac, nic->mac, NET_MAC_BYTES);
	if (config.channels_max > NETVSP_CHANNELS_MAX)
		config.channels_max = NETVSP_CHANNELS_MAX;
	err = netvsp_create(vm->host, &config, &card->netvsp);
	if (err)
		snprintf(error, VM_ERROR_BYTES, "%s: %s", card->name, lis_error_text(err));
	else
		card->state = VM_CARD_ON;
	return err;
}

/* Its VSP and its port have let go of everything, and so has the bus. */
static void card_gone(struct io_call *call)
{
	struct vm_card *card = (struct vm_card *)((char *)call - offsetof(struct vm_card, gone));
	struct control_request *request = card->request;
	char error[VM_ERROR_BYTES];
	int err = 0;

	card->vm->leaving--;
	card->netvsp = NULL;
	card->request = NULL;
	card->state = VM_CARD_OPEN;
	if (card->comes_back && card->vm->phase != VM_ENDED)
		err = card_offer(card, error);
	card->comes_back = false;
	if (card->state == VM_CARD_OPEN)
		card_close(card);
	if (err)
		os_log(OS_LOG_ERROR, "%s", error);
	if (err && request)
		control_reply_error(request, err, "%s", error);
	else if (request)
		control_reply(request, NULL);
}

static void card_leave(struct vm_card *card, bool comes_back, struct control_request *request)
{
	card->state = VM_CARD_LEAVING;
	card->comes_back = comes_back;
	card->request = request;
	card->gone.fn = card_gone;
	card->vm->leaving++;
	if (card->vm->phase == VM_ENDED)
		netvsp_destroy(card->netvsp, &card->gone);
	else
		netvsp_remove(card->netvsp, &card->gone);
}

/* ---- all of them ---- */

int cli_vm_nics_open(struct vm *vm, char *error)
{
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		vm->cards[i].vm = vm;
		snprintf(vm->cards[i].name, sizeof(vm->cards[i].name), "nic%u", (unsigned)i);
	}
	for (size_t i = 0; i < vm->config->nic_count; i++) {
		int err = card_open(&vm->cards[i], &vm->config->nics[i], error);

		if (err)
			return err;
	}
	return 0;
}

void cli_vm_nics_close(struct vm *vm)
{
	for (size_t i = 0; i < VM_NICS_MAX; i++)
		card_close(&vm->cards[i]);
}

int cli_vm_nics_start(struct vm *vm, char *error)
{
	for (size_t i = 0; i < vm->config->nic_count; i++) {
		int err = card_offer(&vm->cards[i], error);

		if (err)
			return err;
	}
	return 0;
}

void cli_vm_nics_stop(struct vm *vm)
{
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		struct vm_card *card = &vm->cards[i];

		card->comes_back = false;
		if (card->state == VM_CARD_ON)
			card_leave(card, false, NULL);
		else if (card->state == VM_CARD_LEAVING)
			netvsp_destroy(card->netvsp, &card->gone);
	}
}

/* ---- commands ---- */

static struct vm_card *free_card(struct vm *vm)
{
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		if (vm->cards[i].state == VM_CARD_FREE)
			return &vm->cards[i];
	}
	return NULL;
}

void cli_vm_nic_add(struct vm *vm, const struct vm_nic *nic, struct control_request *request)
{
	struct vm_card *card = free_card(vm);
	struct json_object *result;
	char error[VM_ERROR_BYTES];
	int err;

	if (!card) {
		control_reply_error(request, -LIS_FULL,
				    "there are %u network cards, and no room for more", VM_NICS_MAX);
		return;
	}
	err = card_open(card, nic, error);
	err = err ? err : card_offer(card, error);
	if (err) {
		card_close(card);
		control_reply_error(request, err, "%s", error);
		return;
	}
	result = json_object_new_object();
	json_object_object_add(result, "name", json_object_new_string(card->name));
	control_reply(request, result);
}

/* A card that is there and not busy; else the request is answered. */
static struct vm_card *find_card(struct vm *vm, const char *name, struct control_request *request)
{
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		struct vm_card *card = &vm->cards[i];

		if (strcmp(card->name, name) || card->state == VM_CARD_FREE)
			continue;
		if (card->state == VM_CARD_ON)
			return card;
		control_reply_error(request, -LIS_BUSY, "%s is being %s", name,
				    card->comes_back ? "changed" : "removed");
		return NULL;
	}
	control_reply_error(request, -LIS_NOTFOUND,
			    "there is no network card '%.32s' (lis status shows them)", name);
	return NULL;
}

void cli_vm_nic_remove(struct vm *vm, const char *name, struct control_request *request)
{
	struct vm_card *card = find_card(vm, name, request);

	if (card)
		card_leave(card, false, request);
}

void cli_vm_nic_capture(struct vm *vm, const char *name, uint32_t snap_bytes,
			struct control_request *request)
{
	struct vm_card *card = find_card(vm, name, request);
	int fds[NETVSP_CAPTURE_FDS], err;

	if (!card)
		return;
	err = netvsp_capture(card->netvsp, snap_bytes, fds);
	if (err == -LIS_FULL)
		control_reply_error(request, err, "%s has %u captures already, and may have no more", name,
				    NETVSP_CAPTURES_MAX);
	else if (err)
		control_reply_error(request, err, "%s", lis_error_text(err));
	else
		control_reply_fds(request, NULL, fds, NETVSP_CAPTURE_FDS);
}

/* ---- forwards ---- */

/* The place of one in the card's list, by where it is on the host; the list's end: none. */
static size_t forward_place(const struct vm_nic *nic, const struct vm_forward *forward)
{
	size_t i;

	for (i = 0; i < nic->forward_count; i++) {
		const struct vm_forward *other = &nic->forwards[i];

		if (other->udp == forward->udp && other->host_port == forward->host_port &&
		    !strcmp(other->host_address, forward->host_address))
			break;
	}
	return i;
}

struct forward_change {
	struct vm_card *card;
	const struct vm_nic *change;
	char *error; /* NET_PORT_ERROR_BYTES */
	int err;
};

static int remove_forward(struct vm_card *card, const struct vm_forward *forward, char *error)
{
	struct nat_forward nat = nat_forward_of(forward);
	size_t place = forward_place(&card->nic, forward);
	int err = nat_remove_forward(card->port, &nat, error);

	if (!err)
		card->nic.forwards[place] = card->nic.forwards[--card->nic.forward_count];
	return err;
}

/* On the card's loop, while the bus waits. All that are to be added are, or none. */
static void change_forwards(void *arg)
{
	struct forward_change *todo = arg;
	const struct vm_nic *change = todo->change;
	struct vm_nic *nic = &todo->card->nic;
	char ignored[NET_PORT_ERROR_BYTES];
	size_t i;

	for (i = 0; i < change->forward_count && !todo->err; i++) {
		struct nat_forward nat = nat_forward_of(&change->forwards[i]);

		todo->err = nat_add_forward(todo->card->port, &nat, todo->error);
		if (!todo->err)
			nic->forwards[nic->forward_count++] = change->forwards[i];
	}
	if (todo->err) {
		for (i--; i > 0; i--)
			(void)!remove_forward(todo->card, &change->forwards[i - 1], ignored);
		return;
	}
	for (i = 0; i < change->removed_forward_count && !todo->err; i++)
		todo->err = remove_forward(todo->card, &change->removed_forwards[i], todo->error);
}

static int card_change_forwards(struct vm_card *card, const struct vm_nic *change, char *error)
{
	char why[NET_PORT_ERROR_BYTES];
	struct forward_change todo = { .card = card, .change = change, .error = why };

	if (!change->forward_count && !change->removed_forward_count)
		return 0;
	if (card->nic.kind != VM_NIC_USER) {
		snprintf(error, VM_ERROR_BYTES, "%s: forwards are for cards on user-mode NAT", card->name);
		return -LIS_INVALID;
	}
	if (card->nic.forward_count + change->forward_count > VM_FORWARDS_MAX) {
		snprintf(error, VM_ERROR_BYTES, "%s: more than %u forwards", card->name, VM_FORWARDS_MAX);
		return -LIS_FULL;
	}
	for (size_t i = 0; i < change->removed_forward_count; i++) {
		const struct vm_forward *forward = &change->removed_forwards[i];

		if (forward_place(&card->nic, forward) < card->nic.forward_count)
			continue;
		snprintf(error, VM_ERROR_BYTES, "%s: there is no forward %s:%s:%u", card->name,
			 forward->udp ? "udp" : "tcp", forward->host_address, forward->host_port);
		return -LIS_NOTFOUND;
	}
	io_loop_call_wait(card_loop(card), change_forwards, &todo);
	if (todo.err)
		snprintf(error, VM_ERROR_BYTES, "%s: %s", card->name, why);
	return todo.err;
}

void cli_vm_nic_change(struct vm *vm, const char *name, const struct vm_nic *change,
		       struct control_request *request)
{
	struct vm_card *card = find_card(vm, name, request);
	char error[VM_ERROR_BYTES];
	bool new_mac, new_mtu;
	int err = 0;

	if (!card)
		return;
	new_mac = change->has_mac && memcmp(change->mac, card->nic.mac, NET_MAC_BYTES);
	new_mtu = change->mtu && change->mtu != card->nic.mtu;
	if (new_mac)
		err = check_address(vm, name, change->mac, error);
	if (!err && new_mtu)
		err = check_mtu(card, change->mtu, error);
	if (!err)
		err = card_change_forwards(card, change, error);
	if (err) {
		control_reply_error(request, err, "%s", error);
		return;
	}
	if (new_mac)
		memcpy(card->nic.mac, change->mac, NET_MAC_BYTES);
	if (new_mtu)
		card->nic.mtu = change->mtu;
	if (change->link != VM_LINK_ANY) {
		card->nic.link = change->link;
		netvsp_set_link(card->netvsp, change->link == VM_LINK_UP);
	}
	if (change->speed_mbps) {
		card->nic.speed_mbps = change->speed_mbps;
		netvsp_set_speed(card->netvsp, change->speed_mbps * BITS_PER_MEGABIT);
	}
	if (new_mac || new_mtu)
		card_leave(card, true, request);
	else
		control_reply(request, NULL);
}
