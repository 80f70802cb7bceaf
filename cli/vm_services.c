// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The services of a VM, switched on and off while it runs. Each has a wanted and an actual state;
 * step() brings the second nearer to the first and is called whenever something changed.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cli/vm_private.h"
#include "io/error.h"
#include "vmbus/os.h"

#define RETRY_NS 100000000ull /* [policy] how often to look whether the guest let go of an old instance */

static const char *const names[VM_SERVICE_COUNT] = {
	[VM_SERVICE_HEARTBEAT] = "heartbeat",
	[VM_SERVICE_SHUTDOWN] = "shutdown",
	[VM_SERVICE_TIMESYNC] = "timesync",
};

const char *cli_vm_service_name(enum vm_service_id id)
{
	return names[id];
}

enum vm_service_id cli_vm_service_find(const char *name)
{
	for (unsigned id = 0; id < VM_SERVICE_COUNT; id++)
		if (strcmp(names[id], name) == 0)
			return (enum vm_service_id)id;
	return VM_SERVICE_COUNT;
}

static uint64_t reference_time(void *clock)
{
	struct vm *vm = clock;

	return machine_reference_time_100ns(vm->machine);
}

static int offer(struct vm *vm, enum vm_service_id id)
{
	struct timesync_config timesync = {
		.reference_time_100ns = reference_time,
		.clock = vm,
	};

	switch (id) {
	case VM_SERVICE_HEARTBEAT:
		return heartbeat_host_create(vm->host, vm->loop, &vm->heartbeat);
	case VM_SERVICE_SHUTDOWN:
		return shutdown_host_create(vm->host, vm->loop, &vm->shutdown);
	case VM_SERVICE_TIMESYNC:
		return timesync_host_create(vm->host, vm->loop, &timesync, &vm->timesync);
	case VM_SERVICE_COUNT:
		break;
	}
	return -LIS_INVALID;
}

static void rescind(struct vm *vm, enum vm_service_id id, struct io_call *gone)
{
	switch (id) {
	case VM_SERVICE_HEARTBEAT:
		heartbeat_host_destroy(vm->heartbeat, gone);
		vm->heartbeat = NULL;
		break;
	case VM_SERVICE_SHUTDOWN:
		shutdown_host_destroy(vm->shutdown, gone);
		vm->shutdown = NULL;
		break;
	case VM_SERVICE_TIMESYNC:
		timesync_host_destroy(vm->timesync, gone);
		vm->timesync = NULL;
		break;
	case VM_SERVICE_COUNT:
		break;
	}
}

static int step(struct vm_service *service)
{
	struct vm *vm = service->vm;
	int err = 0;

	if (service->wanted && service->state == VM_SERVICE_OFF) {
		err = offer(vm, service->id);
		if (err == -LIS_BUSY) {
			io_timer_set(&service->retry, vm->loop, io_loop_now_ns(vm->loop) + RETRY_NS);
			return 0;
		}
		if (err) {
			service->wanted = false;
			os_log(OS_LOG_ERROR, "%s: cannot be offered: %s", names[service->id],
			       lis_error_text(err));
			return err;
		}
		service->state = VM_SERVICE_ON;
		if (vm->phase == VM_PAUSED)
			cli_vm_services_pause(vm);
	} else if (!service->wanted && service->state == VM_SERVICE_ON) {
		service->state = VM_SERVICE_LEAVING;
		vm->leaving++;
		rescind(vm, service->id, &service->gone);
	}
	return 0;
}

static void gone(struct io_call *call)
{
	struct vm_service *service =
		(struct vm_service *)((char *)call - offsetof(struct vm_service, gone));

	service->state = VM_SERVICE_OFF;
	service->vm->leaving--;
	/* An error is in the log and in the status. */
	(void)!step(service);
}

static void retry(struct io_timer *timer)
{
	struct vm_service *service =
		(struct vm_service *)((char *)timer - offsetof(struct vm_service, retry));

	(void)!step(service);
}

void cli_vm_service_want(struct vm *vm, enum vm_service_id id, bool wanted)
{
	struct vm_service *service = &vm->services[id];

	service->wanted = wanted;
	io_timer_cancel(&service->retry);
	(void)!step(service);
}

int cli_vm_services_start(struct vm *vm, char *error)
{
	for (unsigned id = 0; id < VM_SERVICE_COUNT; id++) {
		struct vm_service *service = &vm->services[id];
		int err;

		service->vm = vm;
		service->id = (enum vm_service_id)id;
		service->gone.fn = gone;
		service->retry.expired = retry;
		service->wanted = !vm->config->service_off[id];
		err = step(service);
		if (err) {
			snprintf(error, VM_ERROR_BYTES, "service %s: %s", names[id],
				 lis_error_text(err));
			return err;
		}
	}
	return 0;
}

void cli_vm_services_stop(struct vm *vm)
{
	for (unsigned id = 0; id < VM_SERVICE_COUNT; id++)
		if (vm->services[id].vm)
			cli_vm_service_want(vm, (enum vm_service_id)id, false);
}

void cli_vm_services_pause(struct vm *vm)
{
	if (vm->heartbeat)
		heartbeat_host_pause(vm->heartbeat);
	if (vm->timesync)
		timesync_host_pause(vm->timesync);
}

void cli_vm_services_resume(struct vm *vm)
{
	if (vm->heartbeat)
		heartbeat_host_resume(vm->heartbeat);
	if (vm->timesync)
		timesync_host_resume(vm->timesync);
}
