// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The commands of the control socket. Each has a row in a table and one function, which answers its
 * request, now or later.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/exit.h"
#include "cli/options.h"
#include "cli/vm_private.h"
#include "io/error.h"

typedef void command_fn(struct vm *vm, struct control_request *request,
			struct json_object *arguments);

/* ---- arguments: absent or of the wrong type is the default ---- */

static const char *string_argument(struct json_object *arguments, const char *name,
				   const char *otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(arguments, name, &value) ||
	    !json_object_is_type(value, json_type_string))
		return otherwise;
	return json_object_get_string(value);
}

static bool bool_argument(struct json_object *arguments, const char *name, bool otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(arguments, name, &value) ||
	    !json_object_is_type(value, json_type_boolean))
		return otherwise;
	return json_object_get_boolean(value);
}

static uint32_t number_argument(struct json_object *arguments, const char *name, uint32_t max,
				uint32_t otherwise)
{
	struct json_object *value;
	int64_t number;

	if (!json_object_object_get_ex(arguments, name, &value) ||
	    !json_object_is_type(value, json_type_int))
		return otherwise;
	number = json_object_get_int64(value);
	return number < 0 ? 0 : number > max ? max : (uint32_t)number;
}

/* Answers with nothing, or with what went wrong. */
static void reply_result(struct vm *vm, struct control_request *request, int err)
{
	if (err == -LIS_INVALID || err == -LIS_BUSY)
		control_reply_error(request, err, "not possible: the VM is %s",
				    cli_vm_phase_text(vm->phase));
	else if (err)
		control_reply_error(request, err, "%s", lis_error_text(err));
	else
		control_reply(request, NULL);
}

/* ---- commands ---- */

static void do_status(struct vm *vm, struct control_request *request,
		      struct json_object *arguments)
{
	control_reply(request, cli_vm_status_json(vm));
}

static void do_pause(struct vm *vm, struct control_request *request, struct json_object *arguments)
{
	reply_result(vm, request, cli_vm_pause(vm));
}

static void do_resume(struct vm *vm, struct control_request *request,
		      struct json_object *arguments)
{
	reply_result(vm, request, cli_vm_resume(vm));
}

static void do_reset(struct vm *vm, struct control_request *request, struct json_object *arguments)
{
	reply_result(vm, request, cli_vm_reset(vm));
}

static void do_kill(struct vm *vm, struct control_request *request, struct json_object *arguments)
{
	control_reply(request, NULL);
	cli_vm_kill(vm);
}

static void do_nmi(struct vm *vm, struct control_request *request, struct json_object *arguments)
{
	reply_result(vm, request, machine_nmi(vm->machine));
}

static void do_sync(struct vm *vm, struct control_request *request, struct json_object *arguments)
{
	if (!vm->timesync) {
		control_reply_error(request, -LIS_GONE, "the timesync service is disabled");
		return;
	}
	timesync_host_sync(vm->timesync);
	control_reply(request, NULL);
}

static void do_service(struct vm *vm, struct control_request *request,
		       struct json_object *arguments)
{
	const char *name = string_argument(arguments, "service", "");
	enum vm_service_id id = cli_vm_service_find(name);

	if (id == VM_SERVICE_COUNT) {
		control_reply_error(request, -LIS_NOTFOUND,
				    "no service '%s': there are heartbeat, shutdown and timesync",
				    name);
		return;
	}
	cli_vm_service_want(vm, id, bool_argument(arguments, "enabled", true));
	control_reply(request, NULL);
}

static void do_drive_add(struct vm *vm, struct control_request *request,
			 struct json_object *arguments)
{
	char error[OPTIONS_ERROR_BYTES];
	struct vm_drive drive;
	int err = options_parse_drive(string_argument(arguments, "drive", ""), &drive, error);

	if (err) {
		control_reply_error(request, err, "%s", error);
		return;
	}
	cli_vm_drive_add(vm, &drive, request);
	free(drive.path);
}

static void do_drive_insert(struct vm *vm, struct control_request *request,
			    struct json_object *arguments)
{
	cli_vm_drive_insert(vm, string_argument(arguments, "drive", ""), string_argument(arguments, "path", ""),
			    request);
}

static void do_drive_eject(struct vm *vm, struct control_request *request,
			   struct json_object *arguments)
{
	struct json_object *force = NULL;

	json_object_object_get_ex(arguments, "force", &force);
	cli_vm_drive_eject(vm, string_argument(arguments, "drive", ""), json_object_get_boolean(force), request);
}

static void do_drive_remove(struct vm *vm, struct control_request *request,
			    struct json_object *arguments)
{
	cli_vm_drive_remove(vm, string_argument(arguments, "drive", ""), request);
}

static void do_drive_resize(struct vm *vm, struct control_request *request,
			    struct json_object *arguments)
{
	cli_vm_drive_resize(vm, string_argument(arguments, "drive", ""),
			    string_argument(arguments, "size", ""), bool_argument(arguments, "shrink", false),
			    request);
}

static void do_drive_checkpoint(struct vm *vm, struct control_request *request,
				struct json_object *arguments)
{
	cli_vm_drive_checkpoint(vm, string_argument(arguments, "drive", ""),
				string_argument(arguments, "child", ""), request);
}

static void do_drive_merge(struct vm *vm, struct control_request *request,
			   struct json_object *arguments)
{
	cli_vm_drive_merge(vm, string_argument(arguments, "drive", ""), request);
}

static void do_nic_add(struct vm *vm, struct control_request *request,
		       struct json_object *arguments)
{
	char error[OPTIONS_ERROR_BYTES];
	struct vm_nic nic;
	int err = options_parse_nic(string_argument(arguments, "nic", ""), &nic, error);

	if (err) {
		control_reply_error(request, err, "%s", error);
		return;
	}
	cli_vm_nic_add(vm, &nic, request);
	free(nic.target);
}

static void do_nic_remove(struct vm *vm, struct control_request *request,
			  struct json_object *arguments)
{
	cli_vm_nic_remove(vm, string_argument(arguments, "card", ""), request);
}

static void do_nic_set(struct vm *vm, struct control_request *request,
		       struct json_object *arguments)
{
	char error[OPTIONS_ERROR_BYTES];
	struct vm_nic change;
	int err = options_parse_nic_change(string_argument(arguments, "change", ""), &change, error);

	if (err)
		control_reply_error(request, err, "%s", error);
	else
		cli_vm_nic_change(vm, string_argument(arguments, "card", ""), &change, request);
}

static void do_capture(struct vm *vm, struct control_request *request,
		       struct json_object *arguments)
{
	cli_vm_nic_capture(vm, string_argument(arguments, "card", ""),
			   number_argument(arguments, "snap_bytes", NET_FRAME_BYTES_MAX,
					   NET_FRAME_BYTES_MAX),
			   request);
}

static void do_wait(struct vm *vm, struct control_request *request, struct json_object *arguments)
{
	struct vm_waiter **at = &vm->waiters, *waiter;

	/* Those who did not wait are of no use any more. */
	while (*at) {
		waiter = *at;
		if (!control_request_abandoned(waiter->request)) {
			at = &waiter->next;
			continue;
		}
		*at = waiter->next;
		control_reply(waiter->request, NULL);
		free(waiter);
	}
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		control_reply_error(request, -LIS_NOMEM, "out of memory");
		return;
	}
	waiter->request = request;
	*at = waiter;
}

void cli_vm_control_ended(struct vm *vm)
{
	while (vm->waiters) {
		struct vm_waiter *waiter = vm->waiters;
		struct json_object *result = json_object_new_object();

		vm->waiters = waiter->next;
		json_object_object_add(result, "end", json_object_new_string(cli_vm_end_text(vm->end)));
		json_object_object_add(result, "exit_status",
				       json_object_new_int(lis_exit_status(vm->end)));
		control_reply(waiter->request, result);
		free(waiter);
	}
}

/* ---- shutdown, reboot, hibernate ---- */

struct shutdown_command {
	struct shutdown_request shutdown; /* first */
	struct control_request *request;
};

static void shutdown_answered(struct shutdown_request *shutdown, enum shutdown_result result,
			      uint32_t status)
{
	struct shutdown_command *command = (struct shutdown_command *)shutdown;
	struct control_request *request = command->request;

	free(command);
	switch (result) {
	case SHUTDOWN_ACCEPTED:
		control_reply(request, NULL);
		break;
	case SHUTDOWN_REFUSED:
		control_reply_error(request, -LIS_REFUSED, "%s (0x%08x)",
				    shutdown_result_text(result), status);
		break;
	case SHUTDOWN_UNSUPPORTED:
		control_reply_error(request, -LIS_UNSUPPORTED, "%s", shutdown_result_text(result));
		break;
	case SHUTDOWN_TIMED_OUT:
		control_reply_error(request, -LIS_TIMEOUT, "%s", shutdown_result_text(result));
		break;
	case SHUTDOWN_NO_ANSWER:
		control_reply_error(request, -LIS_GONE, "%s", shutdown_result_text(result));
		break;
	}
}

static bool shutdown_kind(const char *name, enum shutdown_kind *out_kind)
{
	if (strcmp(name, "off") == 0)
		*out_kind = SHUTDOWN_POWER_OFF;
	else if (strcmp(name, "reboot") == 0)
		*out_kind = SHUTDOWN_REBOOT;
	else if (strcmp(name, "hibernate") == 0)
		*out_kind = SHUTDOWN_HIBERNATE_GUEST;
	else
		return false;
	return true;
}

static void reply_not_asked(struct vm *vm, struct control_request *request, int err)
{
	if (err == -LIS_GONE && !vm->shutdown)
		control_reply_error(request, err, "the shutdown service is disabled");
	else if (err == -LIS_GONE)
		control_reply_error(request, err,
				    "no driver in the guest serves shutdown requests (hv_utils on Linux)");
	else if (err == -LIS_BUSY)
		control_reply_error(request, err, "another request is waiting for the guest's answer");
	else if (err == -LIS_UNSUPPORTED)
		control_reply_error(request, err, "the guest's driver is too old for that");
	else
		control_reply_error(request, err, "%s", lis_error_text(err));
}

static void do_shutdown(struct vm *vm, struct control_request *request,
			struct json_object *arguments)
{
	struct shutdown_command *command;
	enum shutdown_kind kind;
	int err;

	if (!shutdown_kind(string_argument(arguments, "kind", "off"), &kind)) {
		control_reply_error(request, -LIS_INVALID, "\"kind\" is off, reboot or hibernate");
		return;
	}
	if (vm->phase != VM_RUNNING) {
		reply_result(vm, request, -LIS_INVALID);
		return;
	}
	command = calloc(1, sizeof(*command));
	if (!command) {
		control_reply_error(request, -LIS_NOMEM, "out of memory");
		return;
	}
	command->request = request;
	command->shutdown.kind = kind;
	command->shutdown.force = bool_argument(arguments, "force", false);
	command->shutdown.timeout_ms = number_argument(arguments, "timeout_ms", 3600000, 0);
	command->shutdown.done = shutdown_answered;
	err = vm->shutdown ? shutdown_host_request(vm->shutdown, &command->shutdown) : -LIS_GONE;
	if (err) {
		free(command);
		reply_not_asked(vm, request, err);
	}
}

static void do_power_button(struct vm *vm, struct control_request *request,
			    struct json_object *arguments)
{
	if (vm->phase != VM_RUNNING) {
		reply_result(vm, request, -LIS_INVALID);
		return;
	}
	machine_power_button(vm->machine);
	control_reply(request, NULL);
}

static const struct {
	const char *name;
	command_fn *run;
} commands[] = {
	{ "status", do_status },
	{ "pause", do_pause },
	{ "resume", do_resume },
	{ "reset", do_reset },
	{ "kill", do_kill },
	{ "nmi", do_nmi },
	{ "shutdown", do_shutdown },
	{ "power-button", do_power_button },
	{ "service", do_service },
	{ "sync", do_sync },
	{ "drive-add", do_drive_add },
	{ "drive-remove", do_drive_remove },
	{ "drive-insert", do_drive_insert },
	{ "drive-eject", do_drive_eject },
	{ "drive-resize", do_drive_resize },
	{ "drive-checkpoint", do_drive_checkpoint },
	{ "drive-merge", do_drive_merge },
	{ "nic-add", do_nic_add },
	{ "nic-remove", do_nic_remove },
	{ "nic-set", do_nic_set },
	{ "capture", do_capture },
	{ "wait", do_wait },
};

void cli_vm_control_handle(void *owner, struct control_request *request, const char *command,
		       struct json_object *arguments)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, command) == 0) {
			commands[i].run(owner, request, arguments);
			return;
		}
	}
	control_reply_error(request, -LIS_INVALID, "unknown command '%.64s'", command);
}
