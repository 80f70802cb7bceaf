// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What `lis status --json` shows. Members are only ever added; numbers carry their unit in the
 * name; what is not known is null.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/vm_private.h"
#include "network/rndis.h"

#define NS_PER_MS 1000000u

/* ---- members ---- */

static void add_text(struct json_object *to, const char *name, const char *text)
{
	json_object_object_add(to, name, text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *to, const char *name, uint64_t number)
{
	json_object_object_add(to, name, json_object_new_uint64(number));
}

static void add_bool(struct json_object *to, const char *name, bool value)
{
	json_object_object_add(to, name, json_object_new_boolean(value));
}

static void add_guid(struct json_object *to, const char *name, const struct guid *guid)
{
	char text[GUID_TEXT_BYTES];

	guid_format(guid, text);
	add_text(to, name, text);
}

/* "5.3", or null for 0.0. */
static void add_version(struct json_object *to, const char *name, uint32_t major, uint32_t minor)
{
	char text[16];

	snprintf(text, sizeof(text), "%u.%u", major, minor);
	add_text(to, name, major || minor ? text : NULL);
}

/* ---- bus ---- */

static struct json_object *channel_json(const struct vmbus_channel_status *channel)
{
	struct json_object *json = json_object_new_object();

	add_number(json, "id", channel->channel_id);
	add_number(json, "index", channel->index);
	add_bool(json, "open", channel->open);
	if (!channel->open)
		return json;
	if (channel->target_vp == VMBUS_VP_NONE)
		json_object_object_add(json, "vp", NULL);
	else
		add_number(json, "vp", channel->target_vp);
	add_number(json, "ring_to_host_bytes", channel->ring_to_host_bytes);
	add_number(json, "ring_to_guest_bytes", channel->ring_to_guest_bytes);
	add_number(json, "packets_in", channel->packets_in);
	add_number(json, "packets_out", channel->packets_out);
	add_number(json, "bytes_in", channel->bytes_in);
	add_number(json, "bytes_out", channel->bytes_out);
	add_number(json, "signals", channel->signals_in);
	add_number(json, "interrupts", channel->signals_out);
	return json;
}

static void add_device(void *arg, const struct vmbus_device_status *device)
{
	struct json_object *json = json_object_new_object(), *channels = json_object_new_array();
	size_t shown = sizeof(device->channels) / sizeof(device->channels[0]);

	add_text(json, "name", device->name);
	add_guid(json, "interface_id", &device->interface_id);
	add_guid(json, "instance_id", &device->instance_id);
	add_number(json, "channel_count", device->channel_count);
	for (size_t i = 0; i < device->channel_count && i < shown; i++)
		json_object_array_add(channels, channel_json(&device->channels[i]));
	json_object_object_add(json, "channels", channels);
	json_object_array_add(arg, json);
}

static struct json_object *vmbus_json(struct vm *vm)
{
	struct json_object *json = json_object_new_object();
	struct vmbus_host_status status;

	vmbus_host_status(vm->host, &status);
	add_version(json, "version", status.version >> 16, status.version & 0xffff);
	add_number(json, "features", status.features);
	add_number(json, "contacts", status.contacts);
	add_number(json, "messages_in", status.messages_in);
	add_number(json, "messages_out", status.messages_out);
	add_number(json, "violations", status.violations);
	return json;
}

/* ---- drives ---- */

/* How far it is; NULL: none is under way. */
static struct json_object *merge_json(const struct live_merge *merge)
{
	uint64_t done_bytes, all_bytes;
	struct json_object *json;

	if (!merge)
		return NULL;
	live_merge_progress(merge, &done_bytes, &all_bytes);
	json = json_object_new_object();
	json_object_object_add(json, "done_bytes", json_object_new_uint64(done_bytes));
	json_object_object_add(json, "all_bytes", json_object_new_uint64(all_bytes));
	return json;
}

static uint32_t depth_of(const struct block_device *image)
{
	uint32_t depth = 0;

	while ((image = image->parent))
		depth++;
	return depth;
}

static struct json_object *drive_json(const struct vm_unit *unit)
{
	static const char *const types[] = {
		[VM_DRIVE_DISK] = "disk", [VM_DRIVE_CD] = "cd", [VM_DRIVE_PASSTHROUGH] = "passthrough",
	};
	/* What is behind may be worked on: of that, only what does not change. */
	const struct block_device *image = unit->live ? live_behind(unit->live) : unit->image;
	const struct block_geometry *geometry = unit->live ? &live_device(unit->live)->geometry
					       : image	    ? &image->geometry
							    : NULL;
	const struct scsi_counters *counters = scsi_unit_counters(unit->scsi);
	struct json_object *json = json_object_new_object();

	add_text(json, "name", unit->name);
	add_text(json, "type", types[unit->drive.kind]);
	add_text(json, "path", *unit->drive.path ? unit->drive.path : NULL);
	add_text(json, "format", image ? image->driver->name : NULL);
	add_number(json, "parents", image ? depth_of(image) : 0);
	add_text(json, "being", unit->doing);
	json_object_object_add(json, "merge", merge_json(unit->merge));
	add_number(json, "controller", unit->drive.controller);
	add_number(json, "lun", unit->drive.lun);
	json_object_object_add(json, "size_bytes",
			       geometry ? json_object_new_uint64(geometry->size_bytes) : NULL);
	add_bool(json, "read_only", geometry ? geometry->read_only : unit->drive.read_only);
	add_number(json, "reads", counters->reads);
	add_number(json, "read_bytes", counters->read_bytes);
	add_number(json, "writes", counters->writes);
	add_number(json, "written_bytes", counters->written_bytes);
	add_number(json, "flushes", counters->flushes);
	add_number(json, "discards", counters->discards);
	add_number(json, "discarded_bytes", counters->discarded_bytes);
	add_number(json, "errors", counters->errors);
	return json;
}

/* ---- network cards ---- */

static struct json_object *addresses_json(struct netvsp *netvsp)
{
	struct json_object *json = json_object_new_array();
	struct net_address found[NET_ADDRESSES_MAX];
	uint32_t count = netvsp_addresses(netvsp, found);

	for (uint32_t i = 0; i < count; i++) {
		char text[INET6_ADDRSTRLEN];

		inet_ntop(found[i].version == 4 ? AF_INET : AF_INET6, found[i].bytes, text, sizeof(text));
		json_object_array_add(json, json_object_new_string(text));
	}
	return json;
}

static struct json_object *forwards_json(const struct vm_nic *nic)
{
	struct json_object *json = json_object_new_array();

	for (size_t i = 0; i < nic->forward_count; i++) {
		const struct vm_forward *forward = &nic->forwards[i];
		bool host6 = strchr(forward->host_address, ':'), guest6 = strchr(forward->guest_address, ':');
		char text[2 * VM_ADDRESS_BYTES + 32];

		snprintf(text, sizeof(text), "%s:%s%s%s:%u:%s%s%s%s%u", forward->udp ? "udp" : "tcp",
			 host6 ? "[" : "", forward->host_address, host6 ? "]" : "", forward->host_port,
			 guest6 ? "[" : "", forward->guest_address, guest6 ? "]" : "",
			 *forward->guest_address ? ":" : "", forward->guest_port);
		json_object_array_add(json, json_object_new_string(text));
	}
	return json;
}

static void add_traffic(struct json_object *json, const struct netvsp_status *status)
{
	add_number(json, "packets_received", status->packets_received);
	add_number(json, "received_bytes", status->bytes_received);
	add_number(json, "packets_received_per_second", status->packets_received_per_second);
	add_number(json, "received_bits_per_second", status->bytes_received_per_second * 8);
	add_number(json, "packets_sent", status->packets_sent);
	add_number(json, "sent_bytes", status->bytes_sent);
	add_number(json, "packets_sent_per_second", status->packets_sent_per_second);
	add_number(json, "sent_bits_per_second", status->bytes_sent_per_second * 8);
	add_number(json, "receive_dropped", status->receive_dropped);
	add_number(json, "unread_dropped", status->unread_dropped);
	add_number(json, "send_dropped", status->send_dropped);
	add_number(json, "send_invalid", status->send_invalid);
}

/* Which frames the guest wants. */
static struct json_object *filter_json(uint32_t filter)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{ NDIS_FILTER_DIRECTED, "directed" },
		{ NDIS_FILTER_MULTICAST, "multicast" },
		{ NDIS_FILTER_ALL_MULTICAST, "all_multicast" },
		{ NDIS_FILTER_BROADCAST, "broadcast" },
		{ NDIS_FILTER_PROMISCUOUS, "promiscuous" },
	};
	struct json_object *json = json_object_new_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (filter & names[i].bit)
			json_object_array_add(json, json_object_new_string(names[i].name));
	return json;
}

static struct json_object *nic_json(const struct vm_card *card)
{
	static const char *const kinds[] = { "user", "tap", "switch" };
	struct netvsp_status status = netvsp_status(card->netvsp);
	struct json_object *json = json_object_new_object();
	char text[NET_PORT_LINE_BYTES];

	add_text(json, "name", card->name);
	add_text(json, "kind", kinds[card->nic.kind]);
	card->port->ops->describe(card->port, text);
	add_text(json, "connection", text);
	if (card->nic.vlan)
		add_number(json, "vlan", card->nic.vlan);
	else
		json_object_object_add(json, "vlan", NULL);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", status.mac[0], status.mac[1],
		 status.mac[2], status.mac[3], status.mac[4], status.mac[5]);
	add_text(json, "mac", text);
	add_version(json, "version", status.version >> 16, status.version & 0xffff);
	add_bool(json, "link_up", status.link_up);
	add_bool(json, "ready", status.ready);
	add_number(json, "link_bits_per_second", status.bits_per_second);
	add_number(json, "mtu_bytes", status.mtu);
	add_number(json, "mtu_max_bytes", status.mtu_max);
	add_number(json, "channels_open", status.channels_open);
	json_object_object_add(json, "filter", filter_json(status.filter));
	add_number(json, "captures", status.captures);
	json_object_object_add(json, "addresses", addresses_json(card->netvsp));
	json_object_object_add(json, "forwards", forwards_json(&card->nic));
	add_traffic(json, &status);
	return json;
}

/* ---- services ---- */

static void add_ic(struct json_object *json, const struct ic_host_status *ic)
{
	add_version(json, "version", ic->version.major, ic->version.minor);
	add_version(json, "framework", ic->framework.major, ic->framework.minor);
	add_number(json, "requests", ic->counters.requests);
	add_number(json, "answers", ic->counters.answers);
	add_number(json, "round_trip_us", ic->counters.round_trip_ns / 1000);
}

/* Of a service without more to say: as its channel is. */
static const char *ic_state_text(const struct ic_host_status *ic)
{
	switch (ic->state) {
	case IC_HOST_CLOSED:
		return "no-contact";
	case IC_HOST_NEGOTIATING:
		return "negotiating";
	case IC_HOST_READY:
		return "ok";
	case IC_HOST_REFUSED:
		return "refused";
	}
	return "no-contact";
}

static const char *heartbeat_text(const struct heartbeat_status *status)
{
	switch (status->state) {
	case HEARTBEAT_NO_CONTACT:
		return ic_state_text(&status->ic);
	case HEARTBEAT_OK:
		return "ok";
	case HEARTBEAT_LOST:
		return "lost";
	case HEARTBEAT_PAUSED:
		return "paused";
	}
	return "no-contact";
}

static void add_heartbeat(struct json_object *json, const struct heartbeat_host *heartbeat)
{
	static const char *const applications[] = { NULL, "healthy", "critical", "stopped" };
	struct heartbeat_status status;

	heartbeat_host_status(heartbeat, &status);
	add_text(json, "state", heartbeat_text(&status));
	add_ic(json, &status.ic);
	add_number(json, "lost", status.lost);
	add_number(json, "silent_ms", status.silent_ms);
	add_text(json, "application", applications[status.application]);
}

static void add_shutdown(struct json_object *json, const struct shutdown_host *shutdown)
{
	struct shutdown_status status;

	shutdown_host_status(shutdown, &status);
	add_text(json, "state", ic_state_text(&status.ic));
	add_ic(json, &status.ic);
	add_bool(json, "pending", status.pending);
	add_bool(json, "reboot_supported", status.reboot_supported);
	add_bool(json, "hibernate_supported", status.hibernate_supported);
}

static void add_timesync(struct json_object *json, const struct timesync_host *timesync)
{
	struct timesync_status status;

	timesync_host_status(timesync, &status);
	add_text(json, "state", status.paused && status.ic.state == IC_HOST_READY ?
				 "paused" : ic_state_text(&status.ic));
	add_ic(json, &status.ic);
	add_number(json, "syncs", status.syncs);
	add_number(json, "samples", status.samples);
	add_number(json, "refused", status.refused);
	add_number(json, "unanswered", status.unanswered);
	add_bool(json, "sync_pending", status.sync_pending);
	if (status.since_sync_ms == UINT64_MAX)
		json_object_object_add(json, "since_sync_ms", NULL);
	else
		add_number(json, "since_sync_ms", status.since_sync_ms);
}

static struct json_object *service_json(struct vm *vm, enum vm_service_id id)
{
	struct json_object *json = json_object_new_object();
	const struct vm_service *service = &vm->services[id];

	add_text(json, "name", cli_vm_service_name(id));
	add_bool(json, "enabled", service->wanted);
	if (service->state == VM_SERVICE_LEAVING)
		add_text(json, "state", "leaving");
	else if (service->state == VM_SERVICE_OFF)
		add_text(json, "state", service->wanted ? "waiting" : "disabled");
	else if (id == VM_SERVICE_HEARTBEAT)
		add_heartbeat(json, vm->heartbeat);
	else if (id == VM_SERVICE_SHUTDOWN)
		add_shutdown(json, vm->shutdown);
	else
		add_timesync(json, vm->timesync);
	return json;
}

/* ---- machine ---- */

static struct json_object *cpu_json(struct vm *vm, uint32_t vp)
{
	struct json_object *json = json_object_new_object();
	struct machine_vp_counters counters;

	add_number(json, "vp", vp);
	if (machine_vp_counters(vm->machine, vp, &counters))
		return json;
	add_number(json, "exits", counters.exits);
	add_number(json, "exits_port", counters.exits_port);
	add_number(json, "exits_mmio", counters.exits_mmio);
	add_number(json, "exits_hypercall", counters.exits_hypercall);
	add_number(json, "exits_synic", counters.exits_synic);
	add_number(json, "exits_other", counters.exits_other);
	add_number(json, "messages_in", counters.messages_in);
	add_number(json, "messages_out", counters.messages_out);
	add_number(json, "messages_waiting", counters.messages_waiting);
	add_number(json, "interrupts", counters.interrupts);
	return json;
}

static struct json_object *crash_json(struct vm *vm)
{
	const struct vm_crash *crash = &vm->crash;
	struct json_object *json, *parameters;

	if (!crash->any)
		return NULL;
	json = json_object_new_object();
	parameters = json_object_new_array();
	add_number(json, "ago_ms", (io_loop_now_ns(vm->loop) - crash->at_ns) / NS_PER_MS);
	add_number(json, "vp", crash->vp);
	for (size_t i = 0; i < sizeof(crash->parameters) / sizeof(crash->parameters[0]); i++) {
		char text[20];

		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)crash->parameters[i]);
		json_object_array_add(parameters, json_object_new_string(text));
	}
	json_object_object_add(json, "parameters", parameters);
	add_text(json, "message", crash->message);
	return json;
}

const char *cli_vm_phase_text(enum vm_phase phase)
{
	switch (phase) {
	case VM_READY:
		return "starting";
	case VM_RUNNING:
		return "running";
	case VM_PAUSED:
		return "paused";
	case VM_RESETTING:
		return "resetting";
	case VM_ENDED:
		return "ended";
	}
	return "unknown";
}

struct json_object *cli_vm_status_json(struct vm *vm)
{
	struct json_object *json = json_object_new_object(), *list;
	struct machine_status machine;

	machine_status(vm->machine, &machine);
	add_text(json, "name", vm->config->name);
	add_text(json, "version", LIS_VERSION);
	add_number(json, "pid", (uint64_t)getpid());
	add_text(json, "state", cli_vm_phase_text(vm->phase));
	add_number(json, "uptime_ms", (io_loop_now_ns(vm->loop) - vm->started_ns) / NS_PER_MS);
	add_number(json, "memory_bytes", machine.memory_bytes);
	add_number(json, "resets", machine.resets);
	add_number(json, "crashes", machine.crashes);
	json_object_object_add(json, "crash", crash_json(vm));
	json_object_object_add(json, "vmbus", vmbus_json(vm));
	list = json_object_new_array();
	for (uint32_t vp = 0; vp < machine.cpus; vp++)
		json_object_array_add(list, cpu_json(vm, vp));
	json_object_object_add(json, "cpus", list);
	add_number(json, "io_threads", vm->io_loop_count);
	list = json_object_new_array();
	vmbus_host_each_device(vm->host, add_device, list);
	json_object_object_add(json, "devices", list);
	list = json_object_new_array();
	for (size_t i = 0; i < VM_DRIVES_MAX; i++)
		if (vm->units[i].state == VM_UNIT_ON)
			json_object_array_add(list, drive_json(&vm->units[i]));
	json_object_object_add(json, "drives", list);
	list = json_object_new_array();
	for (size_t i = 0; i < VM_NICS_MAX; i++)
		if (vm->cards[i].state == VM_CARD_ON)
			json_object_array_add(list, nic_json(&vm->cards[i]));
	json_object_object_add(json, "nics", list);
	list = json_object_new_array();
	for (unsigned id = 0; id < VM_SERVICE_COUNT; id++)
		json_object_array_add(list, service_json(vm, (enum vm_service_id)id));
	json_object_object_add(json, "services", list);
	return json;
}
