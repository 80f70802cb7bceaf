// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The commands that change a running VM, and `lis wait`. */
#include "cli/manage.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/exit.h"
#include "cli/json.h"
#include "cli/options.h"
#include "control/registry.h"

int manage_open(const char *name, struct control_client **out_client)
{
	char path[REGISTRY_PATH_BYTES], error[REGISTRY_ERROR_BYTES];
	int err = registry_find(name, path, error);

	if (err) {
		complain("%s", error);
		return err;
	}
	err = control_client_open(path, MANAGE_TIMEOUT_MS, out_client, error);
	if (err)
		complain("%s: %s", name, error);
	return err;
}

int manage_call(const char *name, const char *command, struct json_object *arguments,
		int timeout_ms, struct json_object **out_result)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct control_client *client;
	int err;

	if (manage_open(name, &client)) {
		json_object_put(arguments);
		return LIS_EXIT_ERROR;
	}
	err = control_client_call(client, command, arguments, timeout_ms, out_result, error);
	control_client_close(client);
	return err ? complain("%s: %s: %s", name, command, error) : LIS_EXIT_OK;
}

/* ---- commands without options ---- */

static int only_name(const struct command *command, int argc, char **argv, int *out_status)
{
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		*out_status = show_help(command);
		return -1;
	}
	if (argc == 2 && argv[1][0] != '-')
		return 0;
	*out_status = complain_usage(command, argc < 2 ? "which VM?" : "one name, and nothing else");
	return -1;
}

int command_simple(const struct command *command, int argc, char **argv)
{
	int status;

	if (only_name(command, argc, argv, &status))
		return status;
	return manage_call(argv[1], command->name, NULL, MANAGE_TIMEOUT_MS, NULL);
}

int command_service(const struct command *command, int argc, char **argv)
{
	struct json_object *arguments;
	bool enable;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return show_help(command);
	if (argc != 4)
		return complain_usage(command, "a name, 'enable' or 'disable', and a service");
	enable = strcmp(argv[2], "enable") == 0;
	if (!enable && strcmp(argv[2], "disable"))
		return complain_usage(command, "'%s': there are enable and disable", argv[2]);
	arguments = json_object_new_object();
	json_object_object_add(arguments, "service", json_object_new_string(argv[3]));
	json_object_object_add(arguments, "enabled", json_object_new_boolean(enable));
	return manage_call(argv[1], "service", arguments, MANAGE_TIMEOUT_MS, NULL);
}

/* ---- network cards ---- */

/* [policy] The guest has its time to stop using a card. */
#define REMOVAL_TIMEOUT_MS (MANAGE_TIMEOUT_MS + 15000)

/* It begins with the option's name, as all that this command says begins with its own. */
static int complain_of_spec(const struct command *command, const char *error)
{
	return complain_usage(command, "%s", strncmp(error, "nic: ", 5) ? error : error + 5);
}

static int nic_add(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments, *result;
	char error[OPTIONS_ERROR_BYTES];
	struct vm_nic nic;
	int status;

	if (argc != 1)
		return complain_usage(command, "add: what --nic of `lis run` takes, and nothing else");
	/* The VM takes it apart itself; what is wrong with it as such is better said here. */
	if (options_parse_nic(argv[0], &nic, error))
		return complain_of_spec(command, error);
	free(nic.target);
	arguments = json_object_new_object();
	json_object_object_add(arguments, "nic", json_object_new_string(argv[0]));
	status = manage_call(name, "nic-add", arguments, MANAGE_TIMEOUT_MS, &result);
	if (status)
		return status;
	printf("%s\n", json_text(result, "name", "?"));
	json_object_put(result);
	return LIS_EXIT_OK;
}

static int nic_remove(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments;

	if (argc != 1)
		return complain_usage(command, "remove: which card, and nothing else");
	arguments = json_object_new_object();
	json_object_object_add(arguments, "card", json_object_new_string(argv[0]));
	return manage_call(name, "nic-remove", arguments, REMOVAL_TIMEOUT_MS, NULL);
}

static int nic_set(const struct command *command, const char *name, int argc, char **argv)
{
	struct json_object *arguments;
	char change[OPTIONS_ERROR_BYTES] = "", error[OPTIONS_ERROR_BYTES];
	struct vm_nic nic;

	if (argc < 2)
		return complain_usage(command, "set: a card, and what is to be different");
	for (int i = 1; i < argc; i++) {
		if (strlen(change) + strlen(argv[i]) + 2 > sizeof(change))
			return complain_usage(command, "set: that is too much");
		strcat(strcat(change, i > 1 ? "," : ""), argv[i]);
	}
	if (options_parse_nic_change(change, &nic, error))
		return complain_of_spec(command, error);
	arguments = json_object_new_object();
	json_object_object_add(arguments, "card", json_object_new_string(argv[0]));
	json_object_object_add(arguments, "change", json_object_new_string(change));
	return manage_call(name, "nic-set", arguments, REMOVAL_TIMEOUT_MS, NULL);
}

int command_nic(const struct command *command, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct command *command, const char *name, int argc, char **argv);
	} actions[] = { { "add", nic_add }, { "remove", nic_remove }, { "set", nic_set } };

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return show_help(command);
	if (argc < 3)
		return complain_usage(command, "a name, and add, remove or set");
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(argv[2], actions[i].name) == 0)
			return actions[i].run(command, argv[1], argc - 3, argv + 3);
	}
	return complain_usage(command, "'%s': there are add, remove and set", argv[2]);
}

/* ---- waiting and shutdown ---- */

struct wait_options {
	const char *name;
	bool wait, force, button, help;
	uint32_t timeout_seconds; /* 0: none given */
};

static int parse_wait(const struct command *command, int argc, char **argv,
		      struct wait_options *options)
{
	static const struct option long_options[] = {
		{ "wait", no_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 't' },
		{ "force", no_argument, NULL, 'f' },
		{ "button", no_argument, NULL, 'b' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char error[OPTIONS_ERROR_BYTES];
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
		if (option == 'w') {
			options->wait = true;
		} else if (option == 'f') {
			options->force = true;
		} else if (option == 'b') {
			options->button = true;
		} else if (option == 'h') {
			options->help = true;
		} else if (option == 't') {
			if (options_parse_number("--timeout", optarg, 1, 86400,
						 &options->timeout_seconds, error))
				return complain_usage(command, "%s", error);
		} else {
			return complain_usage(command, option == ':' ? "option '%s' needs a value" :
								       "unknown option '%s'",
					      argv[optind - 1]);
		}
	}
	if (options->help)
		return LIS_EXIT_OK;
	if (optind != argc - 1)
		return complain_usage(command, optind == argc ? "which VM?" : "one name is enough");
	options->name = argv[optind];
	return LIS_EXIT_OK;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for the end. A VM that hangs up has ended before it could say how. */
static int wait_for_end(struct control_client *client, const char *name, int timeout_ms,
			bool own_status)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct json_object *result;
	int err, status;

	err = control_client_call(client, "wait", NULL, timeout_ms, &result, error);
	if (err == -LIS_GONE)
		return LIS_EXIT_OK;
	if (err == -LIS_TIMEOUT)
		return complain("%s: still running", name);
	if (err)
		return complain("%s: %s", name, error);
	status = (int)json_number(result, "exit_status");
	json_object_put(result);
	return own_status ? status : LIS_EXIT_OK;
}

static struct json_object *shutdown_arguments(const char *kind, const struct wait_options *options)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "kind", json_object_new_string(kind));
	json_object_object_add(arguments, "force", json_object_new_boolean(options->force));
	if (options->timeout_seconds)
		json_object_object_add(arguments, "timeout_ms",
				       json_object_new_int64(options->timeout_seconds * 1000ll));
	return arguments;
}

int command_shutdown(const struct command *command, int argc, char **argv)
{
	const char *kind = strcmp(command->name, "shutdown") == 0 ? "off" : command->name;
	struct wait_options options = { 0 };
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct control_client *client;
	int err, status, left_ms = -1;
	int64_t deadline_ms;

	status = parse_wait(command, argc, argv, &options);
	if (options.help)
		return show_help(command);
	if (status)
		return status;
	if (strcmp(command->name, "shutdown") && options.button)
		return complain_usage(command, "--button only powers off");
	if (manage_open(options.name, &client))
		return LIS_EXIT_ERROR;
	deadline_ms = now_ms() + options.timeout_seconds * 1000ll;
	/* The VM minds the time for the answer; a little more for the way. */
	err = control_client_call(client, options.button ? "power-button" : "shutdown",
				  shutdown_arguments(kind, &options),
				  (int)options.timeout_seconds * 1000 + 2 * MANAGE_TIMEOUT_MS, NULL,
				  error);
	if (options.timeout_seconds)
		left_ms = deadline_ms > now_ms() ? (int)(deadline_ms - now_ms()) : 0;
	if (err)
		status = complain("%s: %s: %s", options.name, command->name, error);
	else if (options.wait)
		status = wait_for_end(client, options.name, left_ms, false);
	control_client_close(client);
	return status;
}

int command_wait(const struct command *command, int argc, char **argv)
{
	struct wait_options options = { 0 };
	struct control_client *client;
	int status = parse_wait(command, argc, argv, &options);

	if (options.help)
		return show_help(command);
	if (status)
		return status;
	if (manage_open(options.name, &client))
		return LIS_EXIT_ERROR;
	status = wait_for_end(client, options.name,
			      options.timeout_seconds ? (int)options.timeout_seconds * 1000 : -1,
			      true);
	control_client_close(client);
	return status;
}
