// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A virtual machine with everything in it.
 *
 * Made in one order and taken apart in the reverse: name, disks, network, loops, machine, bus,
 * controllers, cards, services, control socket. A reset takes the processors out, has the bus forget the guest (VSPs
 * let go of its memory), resets the machine and starts it again.
 *
 * An end is decided once, by end_vm(); it stops the loop, and cli_vm_destroy() does the rest.
 */
#include "cli/vm.h"

#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/vm_private.h"
#include "io/error.h"
#include "vmbus/os.h"

#ifndef LIS_VERSION
#error "the build gives LIS_VERSION"
#endif

/* [policy] Between the crash registers and the reaction: the guest's text may come in a second write. */
#define CRASH_SETTLE_NS 300000000ull

static int fail(int code, char *error, const char *what, const char *why)
{
	snprintf(error, VM_ERROR_BYTES, "%s: %s", what, why);
	return code;
}

struct io_loop *cli_vm_loop(struct vm *vm)
{
	return vm->loop;
}

struct machine *cli_vm_machine(struct vm *vm)
{
	return vm->machine;
}

bool cli_vm_is_paused(const struct vm *vm)
{
	return vm->phase == VM_PAUSED;
}

const char *cli_vm_end_text(enum vm_end end)
{
	switch (end) {
	case VM_END_POWERED_OFF:
		return "the guest powered off";
	case VM_END_REBOOTED:
		return "the guest asked for a reboot";
	case VM_END_CRASHED:
		return "the guest crashed";
	case VM_END_KILLED:
		return "killed";
	case VM_END_FAILED:
		return "the virtual machine failed";
	}
	return "ended";
}

/* ---- what the guest does ---- */

static void end_vm(struct vm *vm, enum vm_end end)
{
	if (vm->phase == VM_ENDED)
		return;
	vm->phase = VM_ENDED;
	vm->end = end;
	io_timer_cancel(&vm->crash_settled);
	machine_stop(vm->machine);
	cli_vm_control_ended(vm);
	io_loop_stop(vm->loop);
}

static void reset_finished(struct io_call *call)
{
	struct vm *vm = (struct vm *)((char *)call - offsetof(struct vm, reset_done));
	char error[MACHINE_ERROR_BYTES] = "cannot start the processors";
	int err;

	if (vm->phase != VM_RESETTING)
		return;
	err = machine_reset(vm->machine, error);
	if (!err)
		err = machine_start(vm->machine);
	if (err) {
		os_log(OS_LOG_ERROR, "reset: %s", error);
		end_vm(vm, VM_END_FAILED);
		return;
	}
	vm->phase = VM_RUNNING;
	cli_vm_services_resume(vm);
}

static void begin_reset(struct vm *vm)
{
	if (vm->phase == VM_RESETTING || vm->phase == VM_ENDED)
		return;
	vm->phase = VM_RESETTING;
	vm->crash_pending = false;
	vm->hold = false;
	io_timer_cancel(&vm->crash_settled);
	machine_stop(vm->machine);
	vm->reset_done.fn = reset_finished;
	vmbus_host_reset(vm->host, &vm->reset_done);
}

/* The guest's text is any bytes; ours goes to terminals and into JSON. */
static void copy_printable(char *to, size_t to_bytes, const char *from, size_t from_bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < from_bytes && n + 1 < to_bytes; i++) {
		char c = from[i];

		if (c == '\r' || c == 0)
			continue;
		to[n++] = (c >= ' ' && c <= '~') || c == '\n' ? c : c == '\t' ? ' ' : '?';
	}
	to[n] = 0;
}

static void log_crash(const struct vm_crash *crash)
{
	const char *line = crash->message;

	os_log(OS_LOG_ERROR, "the guest crashed on CPU %u: %llx %llx %llx %llx %llx", crash->vp,
	       (unsigned long long)crash->parameters[0], (unsigned long long)crash->parameters[1],
	       (unsigned long long)crash->parameters[2], (unsigned long long)crash->parameters[3],
	       (unsigned long long)crash->parameters[4]);
	while (*line) {
		size_t bytes = strcspn(line, "\n");

		if (bytes)
			os_log(OS_LOG_ERROR, "guest: %.*s", (int)bytes, line);
		line += bytes + (line[bytes] == '\n');
	}
}

static void react_to_crash(struct vm *vm)
{
	vm->crash_pending = false;
	switch (vm->config->on_crash) {
	case VM_STOP:
		end_vm(vm, VM_END_CRASHED);
		break;
	case VM_RESET:
		begin_reset(vm);
		break;
	case VM_PAUSE:
		vm->hold = true;
		if (cli_vm_pause(vm) == 0)
			os_log(OS_LOG_WARNING, "paused, because the guest crashed");
		break;
	case VM_CONTINUE:
		break;
	}
}

static void crash_settled(struct io_timer *timer)
{
	react_to_crash((struct vm *)((char *)timer - offsetof(struct vm, crash_settled)));
}

static void crashed(struct vm *vm, const struct machine_crash *crash)
{
	struct vm_crash *record = &vm->crash;

	record->any = true;
	record->at_ns = io_loop_now_ns(vm->loop);
	record->vp = crash->vp;
	memcpy(record->parameters, crash->parameters, sizeof(record->parameters));
	copy_printable(record->message, sizeof(record->message), crash->message,
		       crash->message_bytes);
	log_crash(record);
	if (crash->message_bytes) {
		react_to_crash(vm);
		return;
	}
	vm->crash_pending = true;
	vm->crash_settled.expired = crash_settled;
	io_timer_set(&vm->crash_settled, vm->loop, record->at_ns + CRASH_SETTLE_NS);
}

/* The guest wants a reset. After a crash that is to be looked at, the reset waits for a resume. */
static void asked_for_reset(struct vm *vm, bool triple_fault)
{
	if (triple_fault)
		os_log(OS_LOG_WARNING, "the guest reset itself by a triple fault");
	if (vm->config->on_crash == VM_PAUSE && (vm->hold || vm->crash_pending)) {
		io_timer_cancel(&vm->crash_settled);
		vm->crash_pending = false;
		vm->hold = true;
		vm->phase = VM_PAUSED;
		cli_vm_services_pause(vm);
		os_log(OS_LOG_WARNING, "stopped, because the guest crashed; to resume resets it");
	} else if (vm->config->on_reboot == VM_STOP) {
		end_vm(vm, VM_END_REBOOTED);
	} else {
		begin_reset(vm);
	}
}

static void machine_event(void *owner, const struct machine_event *event)
{
	struct vm *vm = owner;

	if (vm->phase == VM_ENDED)
		return;
	/* What follows a crash is the crash's end, unless the guest was left to itself. */
	if (vm->crash_pending && event->type != MACHINE_EVENT_CRASHED &&
	    vm->config->on_crash == VM_STOP) {
		end_vm(vm, VM_END_CRASHED);
		return;
	}
	switch (event->type) {
	case MACHINE_EVENT_POWERED_OFF:
		end_vm(vm, VM_END_POWERED_OFF);
		break;
	case MACHINE_EVENT_RESET:
		asked_for_reset(vm, event->triple_fault);
		break;
	case MACHINE_EVENT_CRASHED:
		crashed(vm, &event->crash);
		break;
	case MACHINE_EVENT_FAILED:
		os_log(OS_LOG_ERROR, "%s", event->error);
		end_vm(vm, VM_END_FAILED);
		break;
	}
}

/* ---- what users do ---- */

int cli_vm_pause(struct vm *vm)
{
	int err;

	if (vm->phase == VM_PAUSED)
		return 0;
	if (vm->phase != VM_RUNNING)
		return -LIS_INVALID;
	err = machine_pause(vm->machine);
	if (err)
		return err;
	vm->phase = VM_PAUSED;
	cli_vm_services_pause(vm);
	return 0;
}

int cli_vm_resume(struct vm *vm)
{
	int err;

	if (vm->phase == VM_RUNNING)
		return 0;
	if (vm->phase != VM_PAUSED)
		return -LIS_INVALID;
	if (vm->hold && machine_state(vm->machine) == MACHINE_STOPPED) {
		begin_reset(vm);
		return 0;
	}
	vm->hold = false;
	if (machine_state(vm->machine) == MACHINE_STOPPED)
		err = machine_start(vm->machine); /* --paused: it has not run yet */
	else
		err = machine_resume(vm->machine);
	if (err)
		return err;
	vm->phase = VM_RUNNING;
	cli_vm_services_resume(vm);
	return 0;
}

int cli_vm_reset(struct vm *vm)
{
	if (vm->phase != VM_RUNNING && vm->phase != VM_PAUSED)
		return -LIS_BUSY;
	begin_reset(vm);
	return 0;
}

void cli_vm_kill(struct vm *vm)
{
	end_vm(vm, VM_END_KILLED);
}

static void ask_answered(struct shutdown_request *request, enum shutdown_result result,
			 uint32_t status)
{
	struct vm *vm = (struct vm *)((char *)request - offsetof(struct vm, ask));

	vm->asking = false;
	if (result != SHUTDOWN_ACCEPTED)
		os_log(OS_LOG_WARNING, "shutdown: %s", shutdown_result_text(result));
}

void cli_vm_ask_shutdown(struct vm *vm)
{
	if (vm->asking)
		return;
	if (vm->phase == VM_PAUSED && cli_vm_resume(vm))
		return;
	vm->ask = (struct shutdown_request){ .kind = SHUTDOWN_POWER_OFF, .done = ask_answered };
	if (vm->shutdown && shutdown_host_request(vm->shutdown, &vm->ask) == 0) {
		vm->asking = true;
		return;
	}
	os_log(OS_LOG_INFO, "the guest has no shutdown driver: pressing its power button");
	machine_power_button(vm->machine);
}

/* ---- life ---- */

/*
 * A controller has as many channels as there are virtual CPUs, and each may have a loop of its own. More
 * loops than host CPUs would only take turns, and one of these is for the guest.
 */
static size_t wanted_io_loops(const struct vm_config *config)
{
	cpu_set_t set;
	size_t cpus = sched_getaffinity(0, sizeof(set), &set) ? 1 : (size_t)CPU_COUNT(&set);
	size_t count = cpus > 1 ? cpus - 1 : 1;

	if (config->io_threads)
		count = config->io_threads;
	return count < config->cpus ? count : config->cpus;
}

static const char *const loop_errors =
	"io_uring is not to be had here (see kernel.io_uring_disabled)";

static int start_loops(struct vm *vm, char *error)
{
	size_t count = wanted_io_loops(vm->config);

	for (size_t i = 0; i < count; i++) {
		char name[32];
		struct io_loop_config config = { .name = name, .poll_max_ns = IO_LOOP_POLL_NS };
		int err;

		snprintf(name, sizeof(name), "lis-io%zu", i);
		err = io_loop_create(&config, &vm->io_loops[i]);
		if (!err) {
			vm->io_loop_count = i + 1;
			err = io_loop_start(vm->io_loops[i]);
		}
		if (err)
			return fail(err, error, "I/O thread",
				    err == -LIS_DENIED ? loop_errors : lis_error_text(err));
	}
	return 0;
}

static int make_machine(struct vm *vm, char *error)
{
	const struct vm_config *config = vm->config;
	struct machine_config machine = {
		.loop = vm->loop,
		.memory_bytes = config->memory_bytes,
		.huge_pages = config->huge_pages,
		.cpus = config->cpus,
		.topology = config->topology,
		.kernel_path = config->kernel_path,
		.initrd_path = config->initrd_path,
		.cmdline = config->cmdline,
		.console = config->console,
		.knows_sleep = io_loop_has_one_cpu(vm->loop),
		.event = machine_event,
		.owner = vm,
	};
	char why[MACHINE_ERROR_BYTES];
	int err = machine_create(&machine, &vm->machine, why);

	if (err)
		snprintf(error, VM_ERROR_BYTES, "%s", why);
	return err;
}

static void leaver_gone(struct io_call *call)
{
	((struct vm_leaver *)call)->vm->leaving--;
}

struct io_call *cli_vm_leave(struct vm *vm, struct vm_leaver *leaver)
{
	leaver->vm = vm;
	leaver->gone.fn = leaver_gone;
	vm->leaving++;
	return &leaver->gone;
}

static int make_bus(struct vm *vm, char *error)
{
	struct vmbus_host_config config = {
		.partition = machine_partition(vm->machine),
		.loop = vm->loop,
		.version_max = vm->config->vmbus_version_max,
	};
	int err = vmbus_host_create(&config, &vm->host);

	if (err)
		return fail(err, error, "VMBus", lis_error_text(err));
	err = cli_vm_drives_start(vm, error);
	err = err ? err : cli_vm_nics_start(vm, error);
	return err ? err : cli_vm_services_start(vm, error);
}

static int make_control(struct vm *vm, char *error)
{
	struct control_server_config config = {
		.loop = vm->loop,
		.socket_path = vm->claim.socket_path,
		.vm_name = vm->config->name,
		.version = LIS_VERSION,
		.handle = cli_vm_control_handle,
		.owner = vm,
	};
	char why[CONTROL_ERROR_BYTES];
	int err = control_server_create(&config, &vm->control, why);

	if (err)
		snprintf(error, VM_ERROR_BYTES, "%s", why);
	return err;
}

static int take_name(struct vm *vm, char *error)
{
	char why[REGISTRY_ERROR_BYTES];
	int err = registry_claim(vm->config->name, &vm->claim, why);

	if (err)
		snprintf(error, VM_ERROR_BYTES, "%s", why);
	return err;
}

int cli_vm_create(const struct vm_config *config, struct vm **out_vm, char *error)
{
	struct io_loop_config loop = { .name = "lis" };
	struct vm *vm = calloc(1, sizeof(*vm));
	int err;

	if (!vm)
		return fail(-LIS_NOMEM, error, config->name, "out of memory");
	vm->config = config;
	vm->claim.lock_fd = -1;
	err = io_loop_create(&loop, &vm->loop);
	if (err)
		fail(err, error, "event loop",
		     err == -LIS_DENIED ? loop_errors : lis_error_text(err));
	if (!err) {
		err = io_workers_create("lis-worker", VM_WORKERS_MAX, &vm->workers);
		if (err)
			fail(err, error, "threads", lis_error_text(err));
	}
	err = err ? err : take_name(vm, error);
	err = err ? err : cli_vm_drives_open(vm, error);
	err = err ? err : cli_vm_nics_open(vm, error);
	err = err ? err : make_machine(vm, error);
	err = err ? err : start_loops(vm, error);
	err = err ? err : make_bus(vm, error);
	err = err ? err : make_control(vm, error);
	if (err) {
		cli_vm_destroy(vm);
		return err;
	}
	*out_vm = vm;
	return 0;
}

enum vm_end cli_vm_run(struct vm *vm)
{
	vm->started_ns = io_loop_now_ns(vm->loop);
	if (vm->config->start_paused) {
		vm->phase = VM_PAUSED;
		cli_vm_services_pause(vm);
	} else if (machine_start(vm->machine) == 0) {
		vm->phase = VM_RUNNING;
	} else {
		os_log(OS_LOG_ERROR, "cannot start the processors");
		return VM_END_FAILED;
	}
	io_loop_run(vm->loop);
	return vm->end;
}

/* Every device off the bus, with the loops still turning. */
static void leave_bus(struct vm *vm)
{
	cli_vm_services_stop(vm);
	cli_vm_drives_stop(vm);
	cli_vm_nics_stop(vm);
	control_server_destroy(vm->control, cli_vm_leave(vm, &vm->control_leaver));
	while (vm->leaving)
		io_loop_turn(vm->loop, true);
}

void cli_vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm->phase = VM_ENDED;
	if (vm->machine)
		machine_stop(vm->machine);
	if (vm->loop)
		leave_bus(vm);
	for (size_t i = 0; i < vm->io_loop_count; i++)
		io_loop_join(vm->io_loops[i]);
	vmbus_host_destroy(vm->host);
	machine_destroy(vm->machine);
	cli_vm_drives_close(vm);
	cli_vm_nics_close(vm);
	io_workers_destroy(vm->workers);
	for (size_t i = 0; i < vm->io_loop_count; i++)
		io_loop_destroy(vm->io_loops[i]);
	io_loop_destroy(vm->loop);
	registry_release(&vm->claim);
	free(vm);
}
