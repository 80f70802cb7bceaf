// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Merging the image of a drive into its parent while the guest uses it (storage/live_merge.h). It lasts as
 * long as whoever asked for it waits: who goes away, and the VM's end, cancel it, and the drive stays on the
 * child.
 *
 * All of it is the VM's loop's.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/vm_private.h"
#include "io/error.h"

#define MERGES_MAX (VM_WORKERS_MAX / 2) /* [policy] each keeps a worker busy */
#define LOOK_NS 200000000u              /* [policy] is anybody waiting still? */

struct vm_merge {
	struct vm_unit *unit;
	struct control_request *request;
	struct io_timer look;
};

static void look(struct io_timer *timer)
{
	struct vm_merge *merge = (struct vm_merge *)((char *)timer - offsetof(struct vm_merge, look));
	struct io_loop *loop = merge->unit->vm->loop;

	if (control_request_abandoned(merge->request))
		live_merge_cancel(merge->unit->merge);
	else
		io_timer_set(&merge->look, loop, io_loop_now_ns(loop) + LOOK_NS);
}

/* The drive is known by what it is on. */
static void rename_drive(struct vm_unit *unit)
{
	char *path = strdup(live_behind(unit->live)->path);

	if (!path)
		return;
	os_log(OS_LOG_INFO, "%s: %s is merged into %s", unit->name, unit->drive.path, path);
	free(unit->drive.path);
	unit->drive.path = path;
}

static void answer(struct vm_merge *merge)
{
	struct json_object *result;
	const char *error;
	int err = live_merge_result(merge->unit->merge, &error);

	if (err) {
		control_reply_error(merge->request, err, "%s", error);
		return;
	}
	result = json_object_new_object();
	json_object_object_add(result, "path", json_object_new_string(merge->unit->drive.path));
	control_reply(merge->request, result);
}

static void merged(void *context)
{
	struct vm_merge *merge = context;
	struct vm_unit *unit = merge->unit;

	io_timer_cancel(&merge->look);
	if (strcmp(live_behind(unit->live)->path, unit->drive.path))
		rename_drive(unit);
	answer(merge);
	live_merge_destroy(unit->merge);
	unit->merge = NULL;
	unit->doing = NULL;
	unit->vm->leaving--;
	free(merge);
}

static size_t merges_under_way(const struct vm *vm)
{
	size_t count = 0;

	for (size_t i = 0; i < VM_DRIVES_MAX; i++)
		count += vm->units[i].merge != NULL;
	return count;
}

/* Can it be merged at all? Else the request is answered. */
static bool may_be_merged(struct vm_unit *unit, struct control_request *request)
{
	const struct block_device *image;

	if (!cli_vm_drive_is_disk(unit, request))
		return false;
	image = live_behind(unit->live);
	if (!image->parent)
		control_reply_error(request, -LIS_INVALID, "%s: %s is not a differencing image: it has no parent",
				    unit->name, image->path);
	else if (image->geometry.read_only)
		control_reply_error(request, -LIS_READONLY, "%s is read-only: 'lis disk merge' can merge it when it is "
				    "not in use", unit->name);
	else if (merges_under_way(unit->vm) >= MERGES_MAX)
		control_reply_error(request, -LIS_BUSY, "%u drives are being merged already", MERGES_MAX);
	else
		return true;
	return false;
}

void cli_vm_drive_merge(struct vm *vm, const char *name, struct control_request *request)
{
	struct vm_unit *unit = cli_vm_drive_find(vm, name, request);
	struct live_merge_config config = {
		.loop = vm->loop, .workers = vm->workers, .done = merged,
	};
	struct vm_merge *merge;

	if (!unit || !may_be_merged(unit, request))
		return;
	merge = calloc(1, sizeof(*merge));
	config.live = unit->live;
	config.direct = unit->drive.direct;
	config.context = merge;
	if (!merge || live_merge_start(&config, &unit->merge)) {
		free(merge);
		control_reply_error(request, -LIS_NOMEM, "out of memory");
		return;
	}
	merge->unit = unit;
	merge->request = request;
	merge->look.expired = look;
	io_timer_set(&merge->look, vm->loop, io_loop_now_ns(vm->loop) + LOOK_NS);
	unit->doing = "merged";
	vm->leaving++;
}
