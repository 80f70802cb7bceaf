// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The network cards of a VM: what they are connected to, and their offers on the bus. */
#include <stdio.h>
#include <string.h>

#include "cli/vm_private.h"
#include "io/error.h"
#include "network/backends/nat.h"
#include "network/backends/switch.h"
#include "network/backends/tap.h"

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

static int open_user(const struct vm_nic *nic, struct net_port **out_port, char *error)
{
	struct nat_forward forwards[VM_FORWARDS_MAX];
	struct nat_config config = {
		.restricted = nic->restricted,
		.forwards = forwards,
		.forward_count = (uint32_t)nic->forward_count,
	};

	for (size_t i = 0; i < nic->forward_count; i++) {
		const struct vm_forward *forward = &nic->forwards[i];

		forwards[i] = (struct nat_forward){
			.udp = forward->udp,
			.host_address = forward->host_address,
			.host_port = forward->host_port,
			.guest_address = *forward->guest_address ? forward->guest_address : NULL,
			.guest_port = forward->guest_port,
		};
	}
	return nat_create(&config, out_port, error);
}

static int open_tap(const struct vm_nic *nic, struct net_port **out_port, char *error)
{
	struct tap_config config = { .name = nic->target, .make = true, .up = true };

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

static int open_nic(const struct vm *vm, const struct vm_nic *nic, struct net_port **out_port,
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

int cli_vm_nics_open(struct vm *vm, char *error)
{
	for (size_t i = 0; i < vm->config->nic_count; i++) {
		char why[NET_PORT_ERROR_BYTES];
		int err = open_nic(vm, &vm->config->nics[i], &vm->ports[i], why);

		if (err) {
			snprintf(error, VM_ERROR_BYTES, "nic%u: %s", (unsigned)i, why);
			return err;
		}
	}
	return 0;
}

void cli_vm_nics_close(struct vm *vm)
{
	for (size_t i = 0; i < vm->config->nic_count; i++)
		net_port_destroy(vm->ports[i]);
}

/* ---- on the bus ---- */

int cli_vm_nics_start(struct vm *vm, char *error)
{
	for (size_t i = 0; i < vm->config->nic_count; i++) {
		const struct vm_nic *nic = &vm->config->nics[i];
		char name[16];
		struct netvsp_config config = {
			.name = name,
			.channels_max = (uint16_t)(nic->channels ? nic->channels : vm->config->cpus),
			.bus_loop = vm->loop,
			.loop = vm->io_loops[i % vm->io_loop_count],
			.port = vm->ports[i],
		};
		int err;

		snprintf(name, sizeof(name), "nic%u", (unsigned)i);
		if (nic->has_mac)
			memcpy(config.mac, nic->mac, NET_MAC_BYTES);
		else
			choose_mac(vm, i, config.mac);
		if (config.channels_max > NETVSP_CHANNELS_MAX)
			config.channels_max = NETVSP_CHANNELS_MAX;
		config.instance_id = netvsp_instance_id(config.mac);
		err = netvsp_create(vm->host, &config, &vm->nics[i]);
		if (err) {
			snprintf(error, VM_ERROR_BYTES, "%s: %s", name,
				 err == -LIS_BUSY ? "another card has this address" : lis_error_text(err));
			return err;
		}
	}
	return 0;
}

void cli_vm_nics_stop(struct vm *vm)
{
	for (size_t i = 0; i < vm->config->nic_count; i++) {
		if (vm->nics[i])
			netvsp_destroy(vm->nics[i], cli_vm_leave(vm, &vm->nics_leaver[i]));
	}
}
