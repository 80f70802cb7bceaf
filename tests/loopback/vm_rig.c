/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A VM without a machine. */
#include "tests/loopback/vm_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void vm_rig_init(struct vm_rig *rig, const struct io_loop_config *io)
{
	struct loopback_config loopback = { 2, 64u << 20 };
	struct vm *vm = calloc(1, sizeof(*vm));
	struct vmbus_host_config host = { 0 };

	assert_non_null(vm);
	rig->vm = vm;
	strcpy(rig->folder, "/tmp/lis-rig-XXXXXX");
	assert_non_null(mkdtemp(rig->folder));
	vm->config = &rig->config;
	vm->phase = VM_RUNNING;
	vm->claim.lock_fd = -1;
	snprintf(vm->claim.socket_path, sizeof(vm->claim.socket_path), "%s/vm.sock", rig->folder);
	assert_int_equal(io_loop_create(NULL, &vm->loop), 0);
	assert_int_equal(io_loop_create(io, &vm->io_loops[0]), 0);
	vm->io_loop_count = 1;
	assert_int_equal(io_workers_create("worker", 2, &vm->workers), 0);
	assert_int_equal(loopback_create(&loopback, &rig->partition), 0);
	host.partition = rig->partition;
	host.loop = vm->loop;
	assert_int_equal(vmbus_host_create(&host, &vm->host), 0);
}

void vm_rig_listen(struct vm_rig *rig)
{
	struct control_server_config control = {
		.loop = rig->vm->loop, .socket_path = rig->vm->claim.socket_path, .vm_name = "vm",
		.version = "0", .handle = cli_vm_control_handle, .owner = rig->vm,
	};
	char error[CONTROL_ERROR_BYTES];

	assert_int_equal(control_server_create(&control, &rig->vm->control, error), 0);
}

void vm_rig_turn(struct vm_rig *rig)
{
	for (int i = 0; i < 4; i++) {
		io_loop_turn(rig->vm->loop, false);
		io_loop_turn(rig->vm->io_loops[0], false);
	}
}

/* ---- commands ---- */

static void *run_call(void *arg)
{
	struct vm_rig_call *call = arg;
	struct control_client *client;

	call->err = control_client_open(call->rig->vm->claim.socket_path, 10000, &client, call->error);
	if (!call->err) {
		call->err = control_client_call(client, call->command, call->arguments, 60000,
						&call->result, call->error);
		control_client_close(client);
	}
	atomic_store(&call->done, true);
	return NULL;
}

void vm_rig_begin(struct vm_rig *rig, struct vm_rig_call *call, const char *command, const char *name,
		  const char *value, const char *name2, const char *value2)
{
	*call = (struct vm_rig_call){ .rig = rig, .command = command,
				      .arguments = json_object_new_object() };
	json_object_object_add(call->arguments, name, json_object_new_string(value));
	if (name2)
		json_object_object_add(call->arguments, name2, json_object_new_string(value2));
	assert_int_equal(pthread_create(&call->thread, NULL, run_call, call), 0);
}

int vm_rig_finish(struct vm_rig *rig, struct vm_rig_call *call)
{
	while (!atomic_load(&call->done))
		rig->pump(rig);
	pthread_join(call->thread, NULL);
	return call->err;
}

/* ---- the end ---- */

void vm_rig_end(struct vm_rig *rig)
{
	char path[sizeof(rig->folder) + 16];

	assert_int_equal(io_loop_start(rig->vm->io_loops[0]), 0);
	cli_vm_destroy(rig->vm);
	rig->vm = NULL;
	snprintf(path, sizeof(path), "%s/vm.sock", rig->folder);
	unlink(path);
	assert_int_equal(rmdir(rig->folder), 0);
}
