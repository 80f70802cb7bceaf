// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis disk`: options of its sub-commands, and new images. */
#include "cli/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/exit.h"
#include "cli/options.h"
#include "storage/images/lock.h"
#include "storage/images/nbd.h"

#define MIB (UINT64_C(1) << 20)

/* ---- signals ---- */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	interrupted = 1;
}

bool disk_interrupted(void)
{
	return interrupted;
}

void disk_catch_signals(void)
{
	struct sigaction action = { .sa_handler = interrupt };
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

/* ---- new images ---- */

const char *disk_format(const struct disk_options *options, const char *path)
{
	static const char *const endings[][2] = {
		{ ".vhdx", "vhdx" }, { ".vhd", "vhd" }, { ".raw", "raw" }, { ".img", "raw" },
	};
	size_t bytes = strlen(path);

	if (nbd_is_uri(path)) {
		complain("%s: is a server's to make", path);
		return NULL;
	}
	if (options->format)
		return options->format;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t ending = strlen(endings[i][0]);

		if (bytes > ending && !strcasecmp(path + bytes - ending, endings[i][0]))
			return endings[i][1];
	}
	complain("%s: its name does not tell the format; add --format raw, vhd or vhdx", path);
	return NULL;
}

/* The file that is to be replaced must be one, and nobody's at the moment. */
static int take_old(struct disk_target *target)
{
	char holder[LOCK_HOLDER_BYTES];
	struct stat status;

	if (lstat(target->path, &status) < 0) {
		if (errno == ENOENT)
			return 0;
		complain("%s: %s", target->path, strerror(errno));
		return -1;
	}
	if (!target->force) {
		complain("%s: exists already (--force replaces it)", target->path);
		return -1;
	}
	if (!S_ISREG(status.st_mode)) {
		complain("%s: is not a plain file; only such are replaced", target->path);
		return -1;
	}
	target->lock_fd = open(target->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (target->lock_fd < 0) {
		complain("%s: cannot be opened for writing: %s", target->path, strerror(errno));
		return -1;
	}
	if (lock_take(target->lock_fd, -1, target->path, true, holder)) {
		complain("%s: is in use%s%s", target->path, holder[0] ? " by " : "", holder);
		return -1;
	}
	return 0;
}

uint64_t disk_round_size(const char *path, const char *format, uint64_t size_bytes)
{
	uint64_t rounded = (size_bytes + MIB - 1) / MIB * MIB;

	/* Azure takes whole MiB only, and sizes that are no geometry's are read differently by some. */
	if (strcmp(format, "vhd") || size_bytes == rounded)
		return size_bytes;
	fprintf(stderr, "lis: %s: size rounded up to %llu MiB, as VHD wants it\n", path,
		(unsigned long long)(rounded / MIB));
	return rounded;
}

int disk_target_begin(struct disk_target *target, const char *path, bool force,
		      struct block_create_options *create)
{
	char error[BLOCK_ERROR_BYTES];

	*target = (struct disk_target){ .path = path, .lock_fd = -1, .force = force };
	if (take_old(target))
		goto out_drop;
	if (asprintf(&target->temporary, "%s.lis-%d", path, (int)getpid()) < 0) {
		target->temporary = NULL;
		complain("out of memory");
		goto out_drop;
	}
	if (!create->parent)
		create->size_bytes = disk_round_size(path, create->format, create->size_bytes);
	disk_catch_signals();
	if (block_create(target->temporary, create, error)) {
		const char *reason = strstr(error, ": ");

		/* The user knows the file by its own name. */
		complain("%s%s", path, reason ? reason : "");
		free(target->temporary);
		target->temporary = NULL;
		goto out_drop;
	}
	return 0;

out_drop:
	disk_target_drop(target);
	return -1;
}

void disk_target_drop(struct disk_target *target)
{
	if (target->temporary)
		unlink(target->temporary);
	free(target->temporary);
	target->temporary = NULL;
	if (target->lock_fd >= 0)
		close(target->lock_fd);
	target->lock_fd = -1;
}

int disk_target_finish(struct disk_target *target)
{
	int result;

	if (interrupted) {
		complain("%s: interrupted, not written", target->path);
		disk_target_drop(target);
		return -1;
	}
	result = renameat2(AT_FDCWD, target->temporary, AT_FDCWD, target->path,
			   target->force ? 0 : RENAME_NOREPLACE);
	if (result < 0 && errno == EINVAL && !target->force) {
		/* Not known to this file system: as good as it gets. */
		result = access(target->path, F_OK) == 0 ? -1 : rename(target->temporary, target->path);
		errno = result < 0 ? EEXIST : 0;
	}
	if (result < 0) {
		complain("%s: cannot be given its name: %s", target->path, strerror(errno));
		disk_target_drop(target);
		return -1;
	}
	block_sync_name(target->path);
	free(target->temporary);
	target->temporary = NULL;
	disk_target_drop(target);
	return 0;
}

int disk_create(const struct disk_options *options)
{
	struct block_create_options create = {
		.format = disk_format(options, options->paths[0]),
		.size_bytes = options->size_bytes,
		.block_bytes = options->block_bytes,
		.logical_sector_bytes = options->sector_bytes,
		.fixed = options->fixed,
		.allocate = options->fixed,
	};
	struct disk_target target;

	if (!create.format)
		return LIS_EXIT_USAGE;
	if (disk_target_begin(&target, options->paths[0], options->force, &create) ||
	    disk_target_finish(&target))
		return LIS_EXIT_ERROR;
	return LIS_EXIT_OK;
}

/* ---- the command line ---- */

static const struct sub {
	const char *name;
	int (*run)(const struct disk_options *options);
	int paths;
	const char *takes; /* letters of the options it knows */
} subs[] = {
	{ "create", disk_create, 1, "sbltFf" },
	{ "info", disk_info, 1, "tj" },
	{ "check", disk_check, 1, "tjr" },
	{ "convert", disk_convert, 2, "btFfq" },
	{ "resize", disk_resize, 2, "tS" },
	{ "diff", disk_diff, 2, "btf" },
	{ "merge", disk_merge, 1, "tik" },
	{ "compact", disk_compact, 1, "tq" },
	{ "map", disk_map, 1, "t" },
	{ NULL, NULL, 0, NULL },
};

static const struct option long_options[] = {
	{ "size", required_argument, NULL, 's' },
	{ "block-size", required_argument, NULL, 'b' },
	{ "sector-size", required_argument, NULL, 'l' },
	{ "format", required_argument, NULL, 't' },
	{ "fixed", no_argument, NULL, 'F' },
	{ "force", no_argument, NULL, 'f' },
	{ "into", required_argument, NULL, 'i' },
	{ "json", no_argument, NULL, 'j' },
	{ "keep", no_argument, NULL, 'k' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "shrink", no_argument, NULL, 'S' },
	{ "repair", no_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int take_format(const char *text, struct disk_options *options, char *error)
{
	if (strcmp(text, "raw") && strcmp(text, "vhd") && strcmp(text, "vhdx")) {
		snprintf(error, OPTIONS_ERROR_BYTES, "--format '%s': there are raw, vhd and vhdx", text);
		return -LIS_INVALID;
	}
	options->format = text;
	return 0;
}

static int take_option(int option, const char *value, struct disk_options *options, char *error)
{
	uint64_t bytes;
	int err;

	switch (option) {
	case 's':
		return options_parse_size(value, &options->size_bytes, error);
	case 'b':
		err = options_parse_size(value, &bytes, error);
		if (!err && (!bytes || bytes > UINT32_MAX)) {
			snprintf(error, OPTIONS_ERROR_BYTES, "--block-size '%s': write it like 2M", value);
			err = -LIS_INVALID;
		}
		if (!err)
			options->block_bytes = (uint32_t)bytes;
		return err;
	case 'l':
		if (strcmp(value, "512") && strcmp(value, "4096")) {
			snprintf(error, OPTIONS_ERROR_BYTES, "--sector-size '%s': there are 512 and 4096", value);
			return -LIS_INVALID;
		}
		options->sector_bytes = *value == '5' ? 512 : 4096;
		return 0;
	case 't':
		return take_format(value, options, error);
	case 'F':
		options->fixed = true;
		return 0;
	case 'f':
		options->force = true;
		return 0;
	case 'i':
		options->into = value;
		return 0;
	case 'j':
		options->json = true;
		return 0;
	case 'k':
		options->keep = true;
		return 0;
	case 'r':
		options->repair = true;
		return 0;
	case 'S':
		options->shrink = true;
		return 0;
	case 'q':
		options->quiet = true;
		return 0;
	default:
		options->help = true;
		return 0;
	}
}

static int parse(const struct command *command, const struct sub *sub, int argc, char **argv,
		 struct disk_options *options)
{
	char error[OPTIONS_ERROR_BYTES];
	int option;

	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
		if (option == ':')
			return complain_usage(command, "option '%s' needs a value", argv[optind - 1]);
		if (option == '?' || (option != 'h' && !strchr(sub->takes, option)))
			return complain_usage(command, "%s: unknown option '%s'", sub->name, argv[optind - 1]);
		if (take_option(option, optarg, options, error))
			return complain_usage(command, "%s: %s", sub->name, error);
	}
	if (options->help)
		return LIS_EXIT_OK;
	if (argc - optind != sub->paths)
		return complain_usage(command, "%s: give %s", sub->name,
				      sub->run == disk_resize ? "the path of one image and its new size" :
				      sub->run == disk_diff ? "the image that is to be the parent, and the child" :
				      sub->paths == 2 ? "the image to read and the one to write" :
							"the path of one image");
	for (int i = 0; i < sub->paths; i++)
		options->paths[i] = argv[optind + i];
	options->path_count = sub->paths;
	if (sub->run == disk_create && !options->size_bytes)
		return complain_usage(command, "create: give the size of the disk: --size 20G");
	return LIS_EXIT_OK;
}

int command_disk(const struct command *command, int argc, char **argv)
{
	struct disk_options options = { .format = NULL };
	const char *name = argc > 1 ? argv[1] : "";
	int status;

	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		return show_help(command);
	for (const struct sub *sub = subs; sub->name; sub++) {
		if (strcmp(sub->name, name))
			continue;
		status = parse(command, sub, argc - 1, argv + 1, &options);
		if (options.help)
			return show_help(command);
		return status ? status : sub->run(&options);
	}
	return complain_usage(command, "%s%s%sthere are create, info, check, convert, resize, compact, diff, merge and map",
			      *name ? "'" : "", name, *name ? "': " : "");
}
