/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A VM without a machine: bus, loops and control socket, for the commands that change a running VM. The
 * bus's loop and the one I/O loop are turned by the test, until the VM ends.
 */
#ifndef OPENLIS_TESTS_VM_RIG_H
#define OPENLIS_TESTS_VM_RIG_H

#include <pthread.h>

#include "cli/json.h"
#include "cli/vm_private.h"
#include "control/client.h"
#include "vmbus/loopback.h"

struct vm_rig {
	char folder[32];
	struct vm_config config;
	struct vm *vm;
	struct partition *partition;
	/* What goes on while a command is waited for; turns the loops. */
	void (*pump)(struct vm_rig *rig);
};

/* One command, on a thread of its own. */
struct vm_rig_call {
	const struct vm_rig *rig;
	const char *command;
	struct json_object *arguments, *result;
	char error[CONTROL_CLIENT_ERROR_BYTES];
	int err;
	pthread_t thread;
	_Atomic bool done;
};

/** vm_rig_init() - All but the devices. @rig has its config; @io: of the I/O loop, NULL for defaults. */
void vm_rig_init(struct vm_rig *rig, const struct io_loop_config *io);

/** vm_rig_listen() - The control socket, when the devices are there. */
void vm_rig_listen(struct vm_rig *rig);

/** vm_rig_turn() - A few turns of both loops. */
void vm_rig_turn(struct vm_rig *rig);

/** vm_rig_begin() - A command with one argument, or two: @name2 may be NULL. */
void vm_rig_begin(struct vm_rig *rig, struct vm_rig_call *call, const char *command, const char *name,
		  const char *value, const char *name2, const char *value2);

/** vm_rig_finish() - Pump until it is answered. Return: as control_client_call(); the result is the caller's. */
int vm_rig_finish(struct vm_rig *rig, struct vm_rig_call *call);

/** vm_rig_end() - The VM ends; from here on the I/O loop is on a thread, as in a VM that is run. */
void vm_rig_end(struct vm_rig *rig);

#endif
