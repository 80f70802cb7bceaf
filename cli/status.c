// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis list` and `lis status`: the VM's JSON for programs, tables for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/json.h"
#include "cli/manage.h"
#include "control/registry.h"

#define CELL_BYTES 32

/* ---- numbers for people ---- */

static const char *size_text(uint64_t bytes, char out[CELL_BYTES])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned unit = 0;
	uint64_t tenths = bytes * 10;

	if (bytes > UINT64_MAX / 10)
		tenths = UINT64_MAX;
	while (tenths >= 10240 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		tenths /= 1024;
		unit++;
	}
	if (unit == 0 || tenths >= 1000 || tenths % 10 == 0)
		snprintf(out, CELL_BYTES, "%" PRIu64 " %s", tenths / 10, units[unit]);
	else
		snprintf(out, CELL_BYTES, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10,
			 units[unit]);
	return out;
}

static const char *time_text(uint64_t ms, char out[CELL_BYTES])
{
	uint64_t s = ms / 1000;

	if (s < 120)
		snprintf(out, CELL_BYTES, "%" PRIu64 " s", s);
	else if (s < 7200)
		snprintf(out, CELL_BYTES, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 172800)
		snprintf(out, CELL_BYTES, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(out, CELL_BYTES, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
	return out;
}

/* ---- lis status ---- */

static void print_head(struct json_object *status)
{
	char size[CELL_BYTES], time[CELL_BYTES];
	const char *version = json_text(status, "vmbus.version", NULL);
	size_t cpus = json_count(status, "cpus");

	printf("%s: %s, up %s, process %" PRIu64 "\n", json_text(status, "name", "?"),
	       json_text(status, "state", "?"), time_text(json_number(status, "uptime_ms"), time),
	       json_number(status, "pid"));
	printf("%zu CPU%s, %s of memory, ", cpus, cpus == 1 ? "" : "s",
	       size_text(json_number(status, "memory_bytes"), size));
	if (version)
		printf("VMBus %s", version);
	else
		printf("VMBus not connected");
	if (json_number(status, "resets"))
		printf(", %" PRIu64 " reset%s", json_number(status, "resets"),
		       json_number(status, "resets") == 1 ? "" : "s");
	if (json_number(status, "vmbus.violations"))
		printf(", %" PRIu64 " protocol violations", json_number(status, "vmbus.violations"));
	printf("\n");
}

static void print_device(struct json_object *device)
{
	uint64_t signals = 0, interrupts = 0, in = 0, out = 0, packets = 0;
	size_t open = 0, count = json_count(device, "channels");
	char in_text[CELL_BYTES], out_text[CELL_BYTES], channels[CELL_BYTES];

	for (size_t i = 0; i < count; i++) {
		struct json_object *channel = json_item(device, "channels", i);

		open += json_flag(channel, "open");
		signals += json_number(channel, "signals");
		interrupts += json_number(channel, "interrupts");
		packets += json_number(channel, "packets_in");
		in += json_number(channel, "bytes_in");
		out += json_number(channel, "bytes_out");
	}
	snprintf(channels, sizeof(channels), "%zu of %" PRIu64, open,
		 json_number(device, "channel_count"));
	printf("%-14s %-10s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12s %12s\n",
	       json_text(device, "name", "?"), channels, packets, signals, interrupts,
	       size_text(in, in_text), size_text(out, out_text));
}

static void print_devices(struct json_object *status)
{
	size_t count = json_count(status, "devices");

	if (!count)
		return;
	printf("\n%-14s %-10s %10s %10s %10s %12s %12s\n", "DEVICE", "CHANNELS", "PACKETS",
	       "SIGNALS", "INTERRUPTS", "FROM GUEST", "TO GUEST");
	for (size_t i = 0; i < count; i++)
		print_device(json_item(status, "devices", i));
}

static void print_drive(struct json_object *drive)
{
	struct json_object *merge;
	char place[CELL_BYTES], size[CELL_BYTES], in[CELL_BYTES], out[CELL_BYTES];

	snprintf(place, sizeof(place), "%s %" PRIu64 ":%" PRIu64, json_text(drive, "name", "?"),
		 json_number(drive, "controller"), json_number(drive, "lun"));
	printf("%-14s %-10s %10s %10" PRIu64 " %10s %10" PRIu64 " %10s  %s%s", place,
	       json_text(drive, "format", json_text(drive, "type", "?")), size_text(json_number(drive, "size_bytes"), size),
	       json_number(drive, "reads"), size_text(json_number(drive, "read_bytes"), in),
	       json_number(drive, "writes"), size_text(json_number(drive, "written_bytes"), out),
	       json_text(drive, "path", "(empty)"), json_flag(drive, "read_only") ? " (read-only)" : "");
	if (json_number(drive, "parents"))
		printf(" (over %" PRIu64 " more)", json_number(drive, "parents"));
	if (json_object_object_get_ex(drive, "merge", &merge) && json_number(merge, "all_bytes"))
		printf(" (being merged, %u %%)",
		       (unsigned)(json_number(merge, "done_bytes") * 100 / json_number(merge, "all_bytes")));
	else if (*json_text(drive, "being", ""))
		printf(" (being %s)", json_text(drive, "being", ""));
	if (json_number(drive, "errors"))
		printf(" (%" PRIu64 " errors)", json_number(drive, "errors"));
	printf("\n");
}

static void print_drives(struct json_object *status)
{
	size_t count = json_count(status, "drives");

	if (!count)
		return;
	printf("\n%-14s %-10s %10s %10s %10s %10s %10s  %s\n", "DRIVE", "FORMAT", "SIZE", "READS",
	       "", "WRITES", "", "IMAGE");
	for (size_t i = 0; i < count; i++)
		print_drive(json_item(status, "drives", i));
}

static const char *rate_text(uint64_t bits, char out[CELL_BYTES])
{
	static const char *const units[] = { "bit/s", "kbit/s", "Mbit/s", "Gbit/s" };
	unsigned unit = 0;
	uint64_t tenths = bits * 10;

	while (tenths >= 10000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		tenths /= 1000;
		unit++;
	}
	if (unit && tenths % 10)
		snprintf(out, CELL_BYTES, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10,
			 units[unit]);
	else
		snprintf(out, CELL_BYTES, "%" PRIu64 " %s", tenths / 10, units[unit]);
	return out;
}

/* What the guest does with the card, below its line. */
static void print_nic_use(struct json_object *nic)
{
	size_t addresses = json_count(nic, "addresses");
	uint64_t channels = json_number(nic, "channels_open");
	char received[CELL_BYTES], sent[CELL_BYTES];

	printf("%14s ", "");
	for (size_t i = 0; i < addresses; i++)
		printf("%s%s", i ? ", " : "", json_object_get_string(json_item(nic, "addresses", i)));
	printf("%s; %" PRIu64 " channel%s", addresses ? "" : "no IP address seen", channels,
	       channels == 1 ? "" : "s");
	if (json_number(nic, "captures"))
		printf("; being captured");
	printf("\n%14s receives %s, %" PRIu64 " packets/s; sends %s, %" PRIu64 " packets/s\n", "",
	       rate_text(json_number(nic, "received_bits_per_second"), received),
	       json_number(nic, "packets_received_per_second"),
	       rate_text(json_number(nic, "sent_bits_per_second"), sent),
	       json_number(nic, "packets_sent_per_second"));
}

static void print_nic(struct json_object *nic)
{
	char received[CELL_BYTES], sent[CELL_BYTES];
	uint64_t dropped = json_number(nic, "receive_dropped") + json_number(nic, "send_dropped") +
			   json_number(nic, "unread_dropped");

	printf("%-14s %-10s %-18s %10" PRIu64 " %10s %10" PRIu64 " %10s  %s", json_text(nic, "name", "?"),
	       !json_flag(nic, "link_up") ? "down" : json_flag(nic, "ready") ? "up" : "not in use",
	       json_text(nic, "mac", "?"), json_number(nic, "packets_received"),
	       size_text(json_number(nic, "received_bytes"), received),
	       json_number(nic, "packets_sent"), size_text(json_number(nic, "sent_bytes"), sent),
	       json_text(nic, "connection", "?"));
	if (dropped)
		printf(" (%" PRIu64 " dropped)", dropped);
	printf("\n");
	if (json_flag(nic, "ready"))
		print_nic_use(nic);
}

static void print_nics(struct json_object *status)
{
	size_t count = json_count(status, "nics");

	if (!count)
		return;
	printf("\n%-14s %-10s %-18s %10s %10s %10s %10s  %s\n", "NIC", "LINK", "ADDRESS", "RECEIVED", "",
	       "SENT", "", "CONNECTION");
	for (size_t i = 0; i < count; i++)
		print_nic(json_item(status, "nics", i));
}

/* What there is to say about a service beyond its state. */
static void service_details(struct json_object *service, char *out, size_t bytes)
{
	const char *name = json_text(service, "name", "");
	char time[CELL_BYTES];

	*out = 0;
	if (strcmp(name, "heartbeat") == 0 && json_at(service, "lost")) {
		snprintf(out, bytes, "%" PRIu64 " answered, %" PRIu64 " lost%s%s%s%s",
			 json_number(service, "answers"), json_number(service, "lost"),
			 json_number(service, "silent_ms") ? ", silent for " : "",
			 json_number(service, "silent_ms") ?
				 time_text(json_number(service, "silent_ms"), time) : "",
			 json_text(service, "application", NULL) ? ", applications " : "",
			 json_text(service, "application", ""));
	} else if (strcmp(name, "timesync") == 0 && json_at(service, "since_sync_ms")) {
		snprintf(out, bytes, "clock set %s ago, %" PRIu64 " samples",
			 time_text(json_number(service, "since_sync_ms"), time),
			 json_number(service, "samples"));
	} else if (strcmp(name, "shutdown") == 0 && json_text(service, "version", NULL)) {
		snprintf(out, bytes, "power off%s%s%s",
			 json_flag(service, "reboot_supported") ? ", reboot" : "",
			 json_flag(service, "hibernate_supported") ? ", hibernate" : "",
			 json_flag(service, "pending") ? "; asked, no answer yet" : "");
	}
}

static void print_services(struct json_object *status)
{
	size_t count = json_count(status, "services");

	if (!count)
		return;
	printf("\n%-14s %-12s %-8s\n", "SERVICE", "STATE", "VERSION");
	for (size_t i = 0; i < count; i++) {
		struct json_object *service = json_item(status, "services", i);
		char details[160];

		service_details(service, details, sizeof(details));
		printf("%-14s %-12s %-8s %s\n", json_text(service, "name", "?"),
		       json_text(service, "state", "?"), json_text(service, "version", "-"),
		       details);
	}
}

/* The line of a crash message that says why: the one about the panic, else the last one. */
static void print_crash(struct json_object *status)
{
	struct json_object *crash = json_at(status, "crash");
	const char *message = json_text(crash, "message", ""), *best = message;
	char time[CELL_BYTES];

	if (!crash)
		return;
	for (const char *line = message; *line;) {
		size_t bytes = strcspn(line, "\n");

		if (bytes)
			best = line;
		if (memmem(line, bytes, "panic", 5))
			break;
		line += bytes + (line[bytes] == '\n');
	}
	printf("\nCrashed %s ago on CPU %" PRIu64 "%s%.*s\n",
	       time_text(json_number(crash, "ago_ms"), time), json_number(crash, "vp"),
	       *best ? ": " : "", (int)strcspn(best, "\n"), best);
}

static void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* Takes "--json" out of the arguments. Returns the number of others, or -1 for --help. */
static int parse_json(int argc, char **argv, bool *out_json)
{
	int count = 0;

	*out_json = false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			*out_json = true;
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return -1;
		else
			argv[++count] = argv[i];
	}
	return count;
}

int command_status(const struct command *command, int argc, char **argv)
{
	struct json_object *status;
	bool json;
	int count = parse_json(argc, argv, &json);

	if (count < 0)
		return show_help(command);
	if (count != 1 || argv[1][0] == '-')
		return complain_usage(command, count ? "one name, and nothing else" : "which VM?");
	if (manage_call(argv[1], "status", NULL, MANAGE_TIMEOUT_MS, &status))
		return LIS_EXIT_ERROR;
	if (json) {
		print_json(status);
	} else {
		print_head(status);
		print_devices(status);
		print_drives(status);
		print_nics(status);
		print_services(status);
		print_crash(status);
	}
	json_object_put(status);
	return LIS_EXIT_OK;
}

/* ---- lis list ---- */

struct list {
	bool json;
	struct json_object *vms; /* array */
};

static const char *heartbeat_of(struct json_object *status)
{
	for (size_t i = 0; i < json_count(status, "services"); i++) {
		struct json_object *service = json_item(status, "services", i);

		if (strcmp(json_text(service, "name", ""), "heartbeat") == 0)
			return json_text(service, "state", "?");
	}
	return "?";
}

/* The VM in short; one that does not answer is shown as such. */
static void list_one(void *arg, const char *name, pid_t pid)
{
	struct list *list = arg;
	struct json_object *vm = json_object_new_object(), *status = NULL;
	char path[REGISTRY_PATH_BYTES], error[REGISTRY_ERROR_BYTES];
	struct control_client *client = NULL;
	const char *version;

	if (registry_find(name, path, error) ||
	    control_client_open(path, MANAGE_TIMEOUT_MS, &client, error) ||
	    control_client_call(client, "status", NULL, MANAGE_TIMEOUT_MS, &status, error))
		status = NULL;
	control_client_close(client);
	version = json_text(status, "vmbus.version", NULL);
	json_object_object_add(vm, "name", json_object_new_string(name));
	json_object_object_add(vm, "pid", json_object_new_int(pid));
	json_object_object_add(vm, "state", json_object_new_string(
						    json_text(status, "state", "not-answering")));
	json_object_object_add(vm, "cpus", json_object_new_uint64(json_count(status, "cpus")));
	json_object_object_add(vm, "memory_bytes",
			       json_object_new_uint64(json_number(status, "memory_bytes")));
	json_object_object_add(vm, "uptime_ms",
			       json_object_new_uint64(json_number(status, "uptime_ms")));
	json_object_object_add(vm, "vmbus_version",
			       version ? json_object_new_string(version) : NULL);
	json_object_object_add(vm, "heartbeat", json_object_new_string(heartbeat_of(status)));
	json_object_array_add(list->vms, vm);
	json_object_put(status);
}

static void print_list(struct json_object *vms)
{
	printf("%-20s %-14s %4s %10s %14s  %-6s %-12s %s\n", "NAME", "STATE", "CPUS", "MEMORY", "UP",
	       "VMBUS", "HEARTBEAT", "PROCESS");
	for (size_t i = 0; i < json_object_array_length(vms); i++) {
		struct json_object *vm = json_object_array_get_idx(vms, i);
		char size[CELL_BYTES], time[CELL_BYTES];

		printf("%-20s %-14s %4" PRIu64 " %10s %14s  %-6s %-12s %" PRIu64 "\n",
		       json_text(vm, "name", "?"), json_text(vm, "state", "?"),
		       json_number(vm, "cpus"), size_text(json_number(vm, "memory_bytes"), size),
		       time_text(json_number(vm, "uptime_ms"), time),
		       json_text(vm, "vmbus_version", "-"), json_text(vm, "heartbeat", "?"),
		       json_number(vm, "pid"));
	}
}

int command_list(const struct command *command, int argc, char **argv)
{
	char error[REGISTRY_ERROR_BYTES];
	struct list list;
	int count = parse_json(argc, argv, &list.json);

	if (count < 0)
		return show_help(command);
	if (count)
		return complain_usage(command, "'%s': it takes no names", argv[1]);
	list.vms = json_object_new_array();
	if (registry_each(list_one, &list, error)) {
		json_object_put(list.vms);
		return complain("%s", error);
	}
	if (list.json)
		print_json(list.vms);
	else
		print_list(list.vms);
	json_object_put(list.vms);
	return LIS_EXIT_OK;
}
