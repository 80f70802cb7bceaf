// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis drive`: the drives of a running VM. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit.h"
#include "cli/json.h"
#include "cli/manage.h"
#include "cli/options.h"
#include "cli/progress.h"

/* [policy] Opening may replay a log, closing may have much to write: they take the time they take. */
#define NO_TIMEOUT (-1)

#define SHOW_US 200000 /* [policy] between two looks at how far it is */

/* A path that means the same to the VM, whose working folder is another. NULL: out of memory. */
static char *absolute(const char *path)
{
	char *folder, *whole = NULL;

	if (*path == '/' || strstr(path, "://"))
		return strdup(path);
	folder = getcwd(NULL, 0);
	if (folder && asprintf(&whole, "%s/%s", folder, path) < 0)
		whole = NULL;
	free(folder);
	return whole;
}

/* The same for what --drive takes, which begins with a path and in which a comma is written ",,". */
static char *absolute_spec(const char *spec)
{
	char *folder = absolute("."), *whole = NULL, *to;

	/* An empty path, that of a CD drive without a medium, stays one. */
	if (*spec == '/' || (*spec == ',' && spec[1] != ',') || strstr(spec, "://") || !folder) {
		free(folder);
		return strdup(spec);
	}
	whole = malloc(2 * strlen(folder) + strlen(spec) + 1);
	to = whole;
	for (const char *from = folder; whole && from[1]; from++) { /* all but the dot */
		if (*from == ',')
			*to++ = ',';
		*to++ = *from;
	}
	if (whole)
		strcpy(to, spec);
	free(folder);
	return whole;
}

static void add_text(struct json_object *arguments, const char *name, const char *text)
{
	json_object_object_add(arguments, name, json_object_new_string(text));
}

static int drive_add(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments, *result;
	char error[OPTIONS_ERROR_BYTES];
	struct vm_drive drive;
	char *spec;
	int status;

	if (argc != 1)
		return complain_usage(command, "add: what --drive of `lis run` takes, and nothing else");
	/* The VM takes it apart itself; what is wrong with it as such is better said here. */
	if (options_parse_drive(argv[0], &drive, error))
		return complain_usage(command, "%s", error);
	free(drive.path);
	spec = absolute_spec(argv[0]);
	if (!spec)
		return complain("out of memory");
	arguments = json_object_new_object();
	add_text(arguments, "drive", spec);
	free(spec);
	status = manage_call(name, "drive-add", arguments, NO_TIMEOUT, &result);
	if (status)
		return status;
	printf("%s\n", json_text(result, "name", "?"));
	json_object_put(result);
	return LIS_EXIT_OK;
}

static int drive_remove(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments;

	if (argc != 1)
		return complain_usage(command, "remove: which drive, and nothing else");
	arguments = json_object_new_object();
	add_text(arguments, "drive", argv[0]);
	return manage_call(name, "drive-remove", arguments, NO_TIMEOUT, NULL);
}

static int drive_insert(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments;
	char *path;

	if (argc != 2)
		return complain_usage(command, "insert: which drive and which ISO image, and nothing else");
	path = absolute(argv[1]);
	if (!path)
		return complain("out of memory");
	arguments = json_object_new_object();
	add_text(arguments, "drive", argv[0]);
	add_text(arguments, "path", path);
	free(path);
	return manage_call(name, "drive-insert", arguments, NO_TIMEOUT, NULL);
}

static int drive_eject(const struct command *command, const char *name, int argc, char **argv)
{
	bool force = argc == 2 && strcmp(argv[1], "--force") == 0;
	struct json_object *arguments;

	if (argc != 1 && !force)
		return complain_usage(command, "eject: which drive, and --force or nothing else");
	arguments = json_object_new_object();
	add_text(arguments, "drive", argv[0]);
	json_object_object_add(arguments, "force", json_object_new_boolean(force));
	return manage_call(name, "drive-eject", arguments, NO_TIMEOUT, NULL);
}

static int drive_resize(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments;
	bool shrink = argc == 3 && strcmp(argv[2], "--shrink") == 0;
	char error[OPTIONS_ERROR_BYTES];
	uint64_t bytes;

	if (argc != 2 && !shrink)
		return complain_usage(command, "resize: a drive and its new size, or +SIZE");
	if (options_parse_size(argv[1] + (*argv[1] == '+'), &bytes, error))
		return complain_usage(command, "%s", error);
	arguments = json_object_new_object();
	add_text(arguments, "drive", argv[0]);
	add_text(arguments, "size", argv[1]);
	json_object_object_add(arguments, "shrink", json_object_new_boolean(shrink));
	return manage_call(name, "drive-resize", arguments, NO_TIMEOUT, NULL);
}

static int drive_checkpoint(const struct command *command, const char *name, int argc, char **argv)
{
	bool child = argc == 3 && strcmp(argv[1], "--child") == 0;
	struct json_object *arguments, *result;
	int status;

	if (argc > 1 && !child)
		return complain_usage(command, "checkpoint: a drive, with --child PATH if you like, or none for all");
	if (argc && argv[0][0] == '-')
		return complain_usage(command, "checkpoint: which drive?");
	arguments = json_object_new_object();
	add_text(arguments, "drive", argc ? argv[0] : "");
	if (child) {
		char *path = absolute(argv[2]);

		add_text(arguments, "child", path ? path : argv[2]);
		free(path);
	}
	status = manage_call(name, "drive-checkpoint", arguments, NO_TIMEOUT, &result);
	if (status)
		return status;
	for (size_t i = 0; i < json_count(result, "checkpoints"); i++) {
		struct json_object *item = json_item(result, "checkpoints", i);

		printf("%s %s\n", json_text(item, "drive", "?"), json_text(item, "path", "?"));
	}
	json_object_put(result);
	return LIS_EXIT_OK;
}

/* ---- merging ---- */

/* The call that waits for the end, on a thread of its own, while this one shows how far it is. */
struct merge_call {
	const char *name;
	struct json_object *arguments, *result;
	int status;
	_Atomic bool done;
};

static void *wait_for_merge(void *context)
{
	struct merge_call *call = context;

	call->status = manage_call(call->name, "drive-merge", call->arguments, NO_TIMEOUT, &call->result);
	atomic_store(&call->done, true);
	return NULL;
}

static void show_merge(struct control_client *client, const char *drive, struct progress *progress)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct json_object *status, *merge;

	if (control_client_call(client, "status", NULL, MANAGE_TIMEOUT_MS, &status, error))
		return;
	for (size_t i = 0; i < json_count(status, "drives"); i++) {
		struct json_object *item = json_item(status, "drives", i);

		if (!strcmp(json_text(item, "name", ""), drive) && json_object_object_get_ex(item, "merge", &merge) && merge)
			progress_show(progress, json_number(merge, "done_bytes"), json_number(merge, "all_bytes"));
	}
	json_object_put(status);
}

/* Who interrupts this takes both connections from the VM, which has the merge canceled by that. */
static int drive_merge(const struct command *command, const char *name, int argc, char **argv)
{
	bool quiet = argc == 2 && strcmp(argv[1], "--quiet") == 0;
	struct merge_call call = { .name = name };
	struct control_client *client;
	struct progress progress;
	pthread_t thread;

	if ((argc != 1 && !quiet) || argv[0][0] == '-')
		return complain_usage(command, "merge: which drive, and --quiet or nothing else");
	if (manage_open(name, &client))
		return LIS_EXIT_ERROR;
	call.arguments = json_object_new_object();
	add_text(call.arguments, "drive", argv[0]);
	progress_begin(&progress, quiet);
	if (!progress.visible) {
		wait_for_merge(&call);
	} else if (pthread_create(&thread, NULL, wait_for_merge, &call)) {
		wait_for_merge(&call);
	} else {
		while (!atomic_load(&call.done)) {
			show_merge(client, argv[0], &progress);
			usleep(SHOW_US);
		}
		pthread_join(thread, NULL);
		progress_end(&progress);
	}
	control_client_close(client);
	if (call.status)
		return call.status;
	printf("%s %s\n", argv[0], json_text(call.result, "path", "?"));
	json_object_put(call.result);
	return LIS_EXIT_OK;
}

int command_drive(const struct command *command, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct command *command, const char *name, int argc, char **argv);
	} actions[] = {
		{ "add", drive_add },
		{ "remove", drive_remove },
		{ "insert", drive_insert },
		{ "eject", drive_eject },
		{ "resize", drive_resize },
		{ "checkpoint", drive_checkpoint },
		{ "merge", drive_merge },
	};

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return show_help(command);
	if (argc < 3)
		return complain_usage(command, "a name, and add, remove, insert, eject, resize, checkpoint or merge");
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(argv[2], actions[i].name) == 0)
			return actions[i].run(command, argv[1], argc - 3, argv + 3);
	}
	return complain_usage(command, "'%s': there are add, remove, insert, eject, resize, checkpoint and merge", argv[2]);
}
