// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* A network card as users write it on the command line: see options.h. */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options_private.h"
#include "network/backends/switch.h"
#include "network/backends/tap.h"
#include "network/backends/vlan.h"
#include "network/netvsp.h"

/* [policy] Forwards are for this machine only, unless an address is given. */
#define HOST_ADDRESS_DEFAULT "127.0.0.1"

static int parse_mac(const char *text, struct vm_nic *nic, char *error)
{
	unsigned bytes[NET_MAC_BYTES];
	char rest;

	if (strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
		   &bytes[4], &bytes[5], &rest) != 6)
		return options_fail(error, "nic: mac '%s': write it like 00:15:5d:01:02:03", text);
	for (size_t i = 0; i < NET_MAC_BYTES; i++)
		nic->mac[i] = (uint8_t)bytes[i];
	if (nic->mac[0] & 1)
		return options_fail(error, "nic: mac '%s': that is a multicast address", text);
	if (!memcmp(nic->mac, (const uint8_t[NET_MAC_BYTES]){ 0 }, NET_MAC_BYTES))
		return options_fail(error, "nic: mac '%s': that is no card's address", text);
	nic->has_mac = true;
	return 0;
}

/* Cuts "ADDRESS:" or "[ADDRESS]:" off, if it is there. */
static int take_address(char **at, char out_address[VM_ADDRESS_BYTES], char *error)
{
	uint8_t parsed[16];
	char *address = *at, *end;
	bool brackets = *address == '[';

	end = strchr(address, brackets ? ']' : ':');
	if (!end || (!brackets && !memchr(address, '.', (size_t)(end - address))))
		return 0;
	*end = 0;
	*at = end + 1;
	address += brackets;
	if (brackets && *(*at)++ != ':')
		return options_fail(error, "nic: hostfwd: ':' and a port follow '[%s]'", address);
	if (strlen(address) >= VM_ADDRESS_BYTES ||
	    inet_pton(brackets ? AF_INET6 : AF_INET, address, parsed) != 1)
		return options_fail(error, "nic: hostfwd: '%s' is no address", address);
	strcpy(out_address, address);
	return 0;
}

static int take_port(char **at, uint16_t *out_port, char *error)
{
	char *port = *at, *end = strchr(port, ':');
	uint32_t number;
	int err;

	*at = end ? end + 1 : port + strlen(port);
	if (end)
		*end = 0;
	err = options_parse_number("nic: hostfwd: port", port, 1, UINT16_MAX, &number, error);
	if (!err)
		*out_port = (uint16_t)number;
	return err;
}

/* "tcp:[ADDRESS:]PORT:[ADDRESS:]PORT"; without the guest's part to remove it. */
static int parse_forward(const char *option, char *text, struct vm_nic *nic, char *error)
{
	bool remove = *option == 'n';
	size_t *count = remove ? &nic->removed_forward_count : &nic->forward_count;
	struct vm_forward forward = { .host_address = HOST_ADDRESS_DEFAULT };
	char *at = text;
	int err;

	if (*count == VM_FORWARDS_MAX)
		return options_fail(error, "nic: more than %u forwards", VM_FORWARDS_MAX);
	if (strncmp(at, "tcp:", 4) && strncmp(at, "udp:", 4))
		return options_fail(error, "nic: %s=%s: write it like %s=tcp:2222%s", option, text, option,
				    remove ? "" : ":22");
	forward.udp = *at == 'u';
	at += 4;
	err = take_address(&at, forward.host_address, error);
	err = err ? err : take_port(&at, &forward.host_port, error);
	if (!err && !remove)
		err = take_address(&at, forward.guest_address, error);
	if (!err && !remove)
		err = take_port(&at, &forward.guest_port, error);
	if (!err && *at)
		err = options_fail(error, "nic: %s: '%s' is too much", option, at);
	if (!err)
		(remove ? nic->removed_forwards : nic->forwards)[(*count)++] = forward;
	return err;
}

static int parse_link(const char *text, struct vm_nic *nic, char *error)
{
	if (strcmp(text, "up") && strcmp(text, "down"))
		return options_fail(error, "nic: link '%s': there are up and down", text);
	nic->link = strcmp(text, "up") ? VM_LINK_DOWN : VM_LINK_UP;
	return 0;
}

/* What can also be changed later. Returns false where @item is something else. */
static bool parse_setting(const char *item, const char *value, struct vm_nic *nic, int *out_err,
			  char *error)
{
	if (strcmp(item, "mac") == 0)
		*out_err = parse_mac(value, nic, error);
	else if (strcmp(item, "link") == 0)
		*out_err = parse_link(value, nic, error);
	else if (strcmp(item, "speed") == 0)
		*out_err = options_parse_number("nic: speed", value, 1, VM_NIC_SPEED_MAX,
						&nic->speed_mbps, error);
	else if (strcmp(item, "mtu") == 0)
		*out_err = options_parse_number("nic: mtu", value, VM_NIC_MTU_MIN, VM_NIC_MTU_MAX,
						&nic->mtu, error);
	else
		return false;
	return true;
}

static int parse_item(char *item, struct vm_nic *nic, char *error)
{
	char *value = strchr(item, '=');
	bool user = nic->kind == VM_NIC_USER;
	int err;

	if (value)
		*value++ = 0;
	if (value && parse_setting(item, value, nic, &err, error))
		return err;
	if (strcmp(item, "channels") == 0 && value)
		return options_parse_number("nic: channels", value, 1, NETVSP_CHANNELS_MAX,
					    &nic->channels, error);
	if (nic->kind == VM_NIC_TAP && strcmp(item, "queues") == 0 && value)
		return options_parse_number("nic: queues", value, 1, TAP_QUEUES_MAX, &nic->queues, error);
	if (strcmp(item, "vlan") == 0 && value)
		return user ? options_fail(error, "nic: vlan=%s: user-mode NAT knows no VLANs: it is for "
					   "tap: and switch:", value)
			    : options_parse_number("nic: vlan", value, VLAN_ID_MIN, VLAN_ID_MAX,
						   &nic->vlan, error);
	if (user && strcmp(item, "hostfwd") == 0 && value)
		return parse_forward(item, value, nic, error);
	if (user && strcmp(item, "restrict") == 0 && !value) {
		nic->restricted = true;
		return 0;
	}
	return options_fail(error, "nic: '%s%s%s': there are mac=, link=, speed=, mtu=, channels=, %s", item,
			    value ? "=" : "", value ? value : "",
			    user ? "hostfwd= and restrict" : nic->kind == VM_NIC_TAP ? "queues= and vlan=" :
										       "vlan=");
}

static int parse_kind(const char *text, struct vm_nic *nic, char *error)
{
	static const char *const prefixes[] = { [VM_NIC_TAP] = "tap:", [VM_NIC_SWITCH] = "switch:" };
	static const size_t bytes_max[] = { [VM_NIC_TAP] = IFNAMSIZ - 1,
					    [VM_NIC_SWITCH] = SWITCH_NAME_BYTES_MAX };

	if (strcmp(text, "user") == 0) {
		nic->kind = VM_NIC_USER;
		return 0;
	}
	for (size_t kind = VM_NIC_TAP; kind <= VM_NIC_SWITCH; kind++) {
		const char *target = text + strlen(prefixes[kind]);

		if (strncmp(text, prefixes[kind], strlen(prefixes[kind])))
			continue;
		if (!*target || strchr(target, '/') || strlen(target) > bytes_max[kind])
			return options_fail(error, "nic: '%s': a name of up to %zu characters follows '%s'",
					    text, bytes_max[kind], prefixes[kind]);
		nic->kind = (enum vm_nic_kind)kind;
		nic->target = strdup(target);
		if (nic->target)
			return 0;
		options_fail(error, "out of memory");
		return -LIS_NOMEM;
	}
	return options_fail(error, "nic: '%s': it begins with user, tap:NAME or switch:NAME", text);
}

int options_parse_nic(const char *text, struct vm_nic *out_nic, char *error)
{
	char *copy = strdup(text), *list = copy, *item;
	struct vm_nic nic = { 0 };
	int err;

	if (!copy) {
		options_fail(error, "out of memory");
		return -LIS_NOMEM;
	}
	err = parse_kind(options_next_item(&list), &nic, error);
	while (!err && (item = options_next_item(&list)))
		err = parse_item(item, &nic, error);
	if (err)
		free(nic.target);
	else
		*out_nic = nic;
	free(copy);
	return err;
}

int options_parse_nic_change(const char *text, struct vm_nic *out_nic, char *error)
{
	char *copy = strdup(text), *list = copy, *item;
	struct vm_nic nic = { 0 };
	int err = 0;

	if (!copy) {
		options_fail(error, "out of memory");
		return -LIS_NOMEM;
	}
	while (!err && (item = options_next_item(&list))) {
		char *value = strchr(item, '=');

		if (value)
			*value++ = 0;
		if (value && (strcmp(item, "hostfwd") == 0 || strcmp(item, "no-hostfwd") == 0))
			err = parse_forward(item, value, &nic, error);
		else if (!value || !parse_setting(item, value, &nic, &err, error))
			err = options_fail(error,
					   "nic: '%s%s%s': there are mac=, link=, speed=, mtu=, hostfwd= and no-hostfwd=",
					   item, value ? "=" : "", value ? value : "");
	}
	if (!err)
		*out_nic = nic;
	free(copy);
	return err;
}
