// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What users write on the command line, taken apart: see options.h. */
#include "cli/options_private.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmbus/protocol.h"

#define MEMORY_BYTES_DEFAULT (512ull << 20) /* [policy] */
#define MEMORY_BYTES_MIN (32ull << 20)      /* [policy] no Linux comes up in less */
#define MIB (1ull << 20)

int options_fail(char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, OPTIONS_ERROR_BYTES, format, args);
	va_end(args);
	return -LIS_INVALID;
}

static bool all_digits(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

int options_parse_number(const char *what, const char *text, uint32_t min, uint32_t max,
			 uint32_t *out_number, char *error)
{
	unsigned long long number;

	errno = 0;
	number = strtoull(text, NULL, 10);
	if (!all_digits(text) || errno || number < min || number > max)
		return options_fail(error, "%s '%s': give a number from %u to %u", what, text, min, max);
	*out_number = (uint32_t)number;
	return 0;
}

int options_parse_size(const char *text, uint64_t *out_bytes, char *error)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	unsigned shift = 20;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno)
		goto malformed;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit)
			goto malformed;
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
		if (*end && strcasecmp(end, "B") && strcasecmp(end, "iB"))
			goto malformed;
	}
	if (number > UINT64_MAX >> shift)
		return options_fail(error, "size '%s': too large", text);
	*out_bytes = (uint64_t)number << shift;
	return 0;

malformed:
	return options_fail(error, "size '%s': write it like 512M or 2G", text);
}

int options_parse_version(const char *text, uint32_t *out_version, char *error)
{
	static const uint32_t versions[] = {
#define VERSION_ENTRY(version) version,
		VMBUS_VERSIONS(VERSION_ENTRY)
#undef VERSION_ENTRY
	};
	char known[160] = "";

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u.%u", versions[i] >> 16, versions[i] & 0xffff);
		if (strcmp(name, text) == 0) {
			*out_version = versions[i];
			return 0;
		}
		strncat(known, i ? ", " : "", sizeof(known) - strlen(known) - 1);
		strncat(known, name, sizeof(known) - strlen(known) - 1);
	}
	return options_fail(error, "VMBus version '%s': there are %s", text, known);
}

/* ---- drives ---- */

char *options_next_item(char **list)
{
	char *item = *list, *from = *list, *to = *list;

	if (!from)
		return NULL;
	while (*from) {
		if (*from == ',' && from[1] != ',')
			break;
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*list = *from ? from + 1 : NULL;
	*to = 0;
	return item;
}

static int parse_drive_type(const char *value, struct vm_drive *drive, char *error)
{
	static const char *const types[] = {
		[VM_DRIVE_DISK] = "disk", [VM_DRIVE_CD] = "cd", [VM_DRIVE_PASSTHROUGH] = "passthrough",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(value, types[i]) == 0) {
			drive->kind = (enum vm_drive_kind)i;
			return 0;
		}
	}
	return options_fail(error, "drive: type '%s': there are disk, cd and passthrough", value);
}

static bool is_iso(const char *path)
{
	size_t length = strlen(path);

	return length > 4 && strcasecmp(path + length - 4, ".iso") == 0 && !strstr(path, "://");
}

/* What the parts of a drive mean together. */
static int check_drive(const struct vm_drive *drive, const char *text, char *error)
{
	if (!*drive->path && drive->kind != VM_DRIVE_CD)
		return options_fail(error, "drive '%s': it begins with the path of an image (an empty CD drive is "
				    "',type=cd')", text);
	if (drive->kind == VM_DRIVE_CD && drive->format && strcmp(drive->format, "raw") != 0)
		return options_fail(error, "drive '%s': a CD is an ISO image, not %s", text, drive->format);
	if (drive->kind == VM_DRIVE_PASSTHROUGH && (drive->format || drive->direct))
		return options_fail(error, "drive '%s': a device that is passed through has no image: no %s", text,
				    drive->format ? "format=" : "direct");
	return 0;
}

static int parse_drive_item(char *item, struct vm_drive *drive, char *error)
{
	static const char *const formats[] = { "raw", "vhd", "vhdx" };
	char *value = strchr(item, '=');

	if (value)
		*value++ = 0;
	if (strcmp(item, "ro") == 0 && !value) {
		drive->read_only = true;
		return 0;
	}
	if (strcmp(item, "direct") == 0 && !value) {
		drive->direct = true;
		return 0;
	}
	if (strcmp(item, "controller") == 0 && value)
		return options_parse_number("drive: controller", value, 0, VM_CONTROLLERS_MAX - 1,
					    &drive->controller, error);
	if (strcmp(item, "lun") == 0 && value)
		return options_parse_number("drive: lun", value, 0, VM_LUNS_MAX - 1, &drive->lun,
					    error);
	if (strcmp(item, "type") == 0 && value)
		return parse_drive_type(value, drive, error);
	if (strcmp(item, "format") == 0 && value) {
		for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
			if (strcmp(value, formats[i]) == 0) {
				drive->format = formats[i];
				return 0;
			}
		}
		return options_fail(error, "drive: format '%s': there are raw, vhd and vhdx", value);
	}
	return options_fail(error, "drive: '%s%s%s': there are type=, format=, ro, direct, controller= and lun= "
		    "(a comma in a path is written ',,')", item, value ? "=" : "", value ? value : "");
}

int options_parse_drive(const char *text, struct vm_drive *out_drive, char *error)
{
	struct vm_drive drive = { .lun = VM_LUN_ANY };
	char *copy = strdup(text), *list = copy, *item;
	int err = 0;

	if (!copy) {
		options_fail(error, "out of memory");
		return -LIS_NOMEM;
	}
	item = options_next_item(&list);
	drive.kind = is_iso(item) ? VM_DRIVE_CD : VM_DRIVE_DISK;
	drive.path = strdup(item);
	if (!drive.path) {
		options_fail(error, "out of memory");
		err = -LIS_NOMEM;
		goto free_copy;
	}
	while (!err && (item = options_next_item(&list)))
		err = parse_drive_item(item, &drive, error);
	err = err ? err : check_drive(&drive, text, error);
	drive.read_only |= drive.kind == VM_DRIVE_CD;
	if (err)
		free(drive.path);
	else
		*out_drive = drive;
free_copy:
	free(copy);
	return err;
}

static int add_drive(const char *text, struct vm_config *vm, char *error)
{
	int err;

	if (vm->drive_count == VM_DRIVES_MAX)
		return options_fail(error, "more than %u drives", VM_DRIVES_MAX);
	err = options_parse_drive(text, &vm->drives[vm->drive_count], error);
	if (!err)
		vm->drive_count++;
	return err;
}

static int add_nic(const char *text, struct vm_config *vm, char *error)
{
	int err;

	if (vm->nic_count == VM_NICS_MAX)
		return options_fail(error, "more than %u network cards", VM_NICS_MAX);
	err = options_parse_nic(text, &vm->nics[vm->nic_count], error);
	if (!err)
		vm->nic_count++;
	return err;
}

/* Among the first @count drives. */
static bool lun_is_free(const struct vm_config *vm, size_t count, uint32_t controller, uint32_t lun)
{
	for (size_t i = 0; i < count; i++)
		if (vm->drives[i].controller == controller && vm->drives[i].lun == lun)
			return false;
	return true;
}

/* Given places first, then the lowest free ones in the order of the command line. */
static int place_drives(struct vm_config *vm, char *error)
{
	for (size_t i = 0; i < vm->drive_count; i++) {
		struct vm_drive *drive = &vm->drives[i];

		if (drive->controller >= vm->controller_count)
			return options_fail(error, "drive '%s': there is no controller %u, only %u of them",
				    drive->path, drive->controller, vm->controller_count);
		if (drive->lun != VM_LUN_ANY && !lun_is_free(vm, i, drive->controller, drive->lun))
			return options_fail(error, "drive '%s': lun %u of controller %u is taken",
				    drive->path, drive->lun, drive->controller);
	}
	for (size_t i = 0; i < vm->drive_count; i++) {
		struct vm_drive *drive = &vm->drives[i];

		for (uint32_t lun = 0; drive->lun == VM_LUN_ANY && lun < VM_LUNS_MAX; lun++)
			if (lun_is_free(vm, vm->drive_count, drive->controller, lun))
				drive->lun = lun;
		if (drive->lun == VM_LUN_ANY)
			return options_fail(error, "drive '%s': controller %u has %u drives already",
				    drive->path, drive->controller, VM_LUNS_MAX);
	}
	return 0;
}

static void count_controllers(struct vm_config *vm)
{
	uint32_t count = 1;

	for (size_t i = 0; i < vm->drive_count; i++)
		if (vm->drives[i].controller >= count)
			count = vm->drives[i].controller + 1;
	if (!vm->controller_count)
		vm->controller_count = count;
}

/* ---- the rest of `lis run` ---- */

static int parse_reaction(const char *option, const char *text, bool crash,
			  enum vm_reaction *out_reaction, char *error)
{
	static const struct {
		const char *name;
		enum vm_reaction reaction;
	} reactions[] = {
		{ "stop", VM_STOP },
		{ "reset", VM_RESET },
		{ "pause", VM_PAUSE },
		{ "continue", VM_CONTINUE },
	};

	for (size_t i = 0; i < sizeof(reactions) / sizeof(reactions[0]); i++) {
		if (strcmp(text, reactions[i].name) ||
		    (!crash && (reactions[i].reaction == VM_CONTINUE ||
				reactions[i].reaction == VM_PAUSE)))
			continue;
		*out_reaction = reactions[i].reaction;
		return 0;
	}
	return options_fail(error, "--%s '%s': there are %s", option, text,
		    crash ? "stop, reset, pause and continue" : "reset and stop");
}

static int parse_console(const char *text, struct run_options *options, char *error)
{
	if (strcmp(text, "stdio") == 0) {
		options->console = CONSOLE_STDIO;
	} else if (strcmp(text, "none") == 0) {
		options->console = CONSOLE_NONE;
	} else if (strncmp(text, "log:", 4) == 0 && text[4]) {
		options->console = CONSOLE_LOG;
		options->console_path = text + 4;
	} else {
		return options_fail(error, "--console '%s': there are stdio, none and log:FILE", text);
	}
	return 0;
}

/* "SIZE" or "SIZE,huge" */
static int parse_memory(const char *text, struct vm_config *vm, char *error)
{
	size_t size_chars = strcspn(text, ",");
	char size[32];
	int err;

	vm->huge_pages = strcmp(text + size_chars, ",huge") == 0;
	if ((text[size_chars] && !vm->huge_pages) || size_chars >= sizeof(size))
		return options_fail(error, "--memory '%s': write it like 2G, or 2G,huge", text);
	snprintf(size, sizeof(size), "%.*s", (int)size_chars, text);
	err = options_parse_size(size, &vm->memory_bytes, error);
	if (err)
		return err;
	if (vm->memory_bytes < MEMORY_BYTES_MIN || vm->memory_bytes % MIB)
		return options_fail(error, "--memory '%s': give whole MiB, at least %llu", text,
			    MEMORY_BYTES_MIN / MIB);
	return 0;
}

/* "SOCKETS:CORES:THREADS" */
static int parse_topology(const char *text, struct machine_topology *out_topology, char *error)
{
	unsigned sockets, cores, threads;
	char rest;

	if (sscanf(text, "%3u:%3u:%3u%c", &sockets, &cores, &threads, &rest) != 3 || !sockets ||
	    !cores || !threads)
		return options_fail(error, "--topology '%s': write it like 1:2:1 (sockets:cores:threads)",
			    text);
	*out_topology = (struct machine_topology){ sockets, cores, threads };
	return 0;
}

static int parse_no_service(const char *text, struct vm_config *vm, char *error)
{
	enum vm_service_id id = cli_vm_service_find(text);

	if (id == VM_SERVICE_COUNT)
		return options_fail(error, "--no-service '%s': there are heartbeat, shutdown and timesync",
			    text);
	vm->service_off[id] = true;
	return 0;
}

enum option_id {
	OPT_KERNEL = 256, OPT_INITRD, OPT_APPEND, OPT_MEMORY, OPT_CPUS, OPT_TOPOLOGY, OPT_DRIVE,
	OPT_CONTROLLERS, OPT_VMBUS_MAX, OPT_CONSOLE, OPT_NO_SERVICE, OPT_ON_CRASH, OPT_ON_REBOOT,
	OPT_PAUSED, OPT_NIC, OPT_IO_THREADS,
};

static const struct option long_options[] = {
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "topology", required_argument, NULL, OPT_TOPOLOGY },
	{ "io-threads", required_argument, NULL, OPT_IO_THREADS },
	{ "drive", required_argument, NULL, OPT_DRIVE },
	{ "nic", required_argument, NULL, OPT_NIC },
	{ "controllers", required_argument, NULL, OPT_CONTROLLERS },
	{ "vmbus-max", required_argument, NULL, OPT_VMBUS_MAX },
	{ "console", required_argument, NULL, OPT_CONSOLE },
	{ "no-service", required_argument, NULL, OPT_NO_SERVICE },
	{ "on-crash", required_argument, NULL, OPT_ON_CRASH },
	{ "on-reboot", required_argument, NULL, OPT_ON_REBOOT },
	{ "paused", no_argument, NULL, OPT_PAUSED },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int take_option(int option, const char *value, struct run_options *options, char *error)
{
	struct vm_config *vm = &options->vm;

	switch (option) {
	case OPT_KERNEL:
		vm->kernel_path = value;
		return 0;
	case OPT_INITRD:
		vm->initrd_path = value;
		return 0;
	case OPT_APPEND:
		vm->cmdline = value;
		return 0;
	case OPT_MEMORY:
		return parse_memory(value, vm, error);
	case OPT_CPUS:
		return options_parse_number("--cpus", value, 1, MACHINE_CPUS_MAX, &vm->cpus, error);
	case OPT_IO_THREADS:
		return options_parse_number("--io-threads", value, 1, MACHINE_CPUS_MAX, &vm->io_threads, error);
	case OPT_TOPOLOGY:
		return parse_topology(value, &vm->topology, error);
	case OPT_DRIVE:
		return add_drive(value, vm, error);
	case OPT_NIC:
		return add_nic(value, vm, error);
	case OPT_CONTROLLERS:
		return options_parse_number("--controllers", value, 1, VM_CONTROLLERS_MAX,
					    &vm->controller_count, error);
	case OPT_VMBUS_MAX:
		return options_parse_version(value, &vm->vmbus_version_max, error);
	case OPT_CONSOLE:
		return parse_console(value, options, error);
	case OPT_NO_SERVICE:
		return parse_no_service(value, vm, error);
	case OPT_ON_CRASH:
		return parse_reaction("on-crash", value, true, &vm->on_crash, error);
	case OPT_ON_REBOOT:
		return parse_reaction("on-reboot", value, false, &vm->on_reboot, error);
	case OPT_PAUSED:
		vm->start_paused = true;
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case 'h':
		options->help = true;
		return 0;
	}
	return options_fail(error, "unknown option");
}

/* What getopt found wrong with @argument. */
static int bad_option(int option, const char *argument, char *error)
{
	if (option == ':')
		return options_fail(error, "option '%s' needs a value", argument);
	return options_fail(error, "unknown option '%s' (see `lis run --help`)", argument);
}

static int finish_run(struct run_options *options, char *error)
{
	struct vm_config *vm = &options->vm;
	uint32_t product = vm->topology.sockets * vm->topology.cores_per_socket *
			   vm->topology.threads_per_core;

	if (!vm->kernel_path)
		return options_fail(error, "no kernel given: add --kernel FILE (a Linux bzImage)");
	if (product && !vm->cpus)
		vm->cpus = product;
	if (product && vm->cpus != product)
		return options_fail(error, "--topology describes %u CPUs, --cpus %u", product, vm->cpus);
	if (!vm->cpus)
		vm->cpus = 1;
	if (vm->io_threads > vm->cpus)
		return options_fail(error, "--io-threads %u: with --cpus %u there is no use for more than %u",
				    vm->io_threads, vm->cpus, vm->cpus);
	if (!vm->cmdline)
		vm->cmdline = options->console == CONSOLE_NONE ? "" : "console=ttyS0";
	if (!vm->name) {
		if (asprintf(&options->default_name, "lis-%d", (int)getpid()) < 0) {
			options->default_name = NULL;
			options_fail(error, "out of memory");
			return -LIS_NOMEM;
		}
		vm->name = options->default_name;
	}
	count_controllers(vm);
	return place_drives(vm, error);
}

int options_parse_run(int argc, char **argv, struct run_options *out_options, char *error)
{
	struct run_options *options = out_options;
	int option, err;

	*options = (struct run_options){
		.vm = { .memory_bytes = MEMORY_BYTES_DEFAULT, .on_crash = VM_STOP,
			.on_reboot = VM_RESET },
	};
	optind = 0; /* start anew, also in tests */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hv", long_options, NULL)) != -1) {
		if (option == '?' || option == ':')
			return bad_option(option, argv[optind - 1], error);
		err = take_option(option, optarg, options, error);
		if (err)
			return err;
	}
	if (options->help)
		return 0;
	if (optind < argc)
		options->vm.name = argv[optind++];
	if (optind < argc)
		return options_fail(error, "'%s': one name is enough", argv[optind]);
	return finish_run(options, error);
}

void options_free_run(struct run_options *options)
{
	for (size_t i = 0; i < options->vm.drive_count; i++)
		free(options->vm.drives[i].path);
	for (size_t i = 0; i < options->vm.nic_count; i++)
		free(options->vm.nics[i].target);
	free(options->default_name);
	options->vm.drive_count = 0;
	options->vm.nic_count = 0;
	options->default_name = NULL;
}
