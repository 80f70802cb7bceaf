// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Changes of drives that the guest uses: another size, a checkpoint. No command of the guest fails by it.
 *
 * For another size the drive is drained (storage/live.h), workers do what may sleep, and it goes on. For a
 * checkpoint workers make and open the children first. Then all drives are stopped and go on on their
 * children, at one instant for the guest; between that nothing waits for a disk, so that the pause is
 * no longer than the loops need for it. At the end what the parents were still given becomes durable.
 *
 * A change is a sequence of steps for all of its drives. The last drive that is through a step begins the
 * next one. All of it is the VM's loop's but what workers do, who touch the images and the change only.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/vm_private.h"
#include "io/error.h"
#include "storage/scsi_disk.h"

#define PAUSE_NS_MAX 100000000u /* [policy] longer than that a guest should not wait; it is told of */

struct part {
	struct vm_change *change;
	struct vm_unit *unit;
	struct io_call call;
	struct block_request flush;
	struct block_device *child; /* of a checkpoint */
	char *path;                 /* the child's */
};

struct vm_change {
	struct vm *vm;
	struct control_request *request;
	void (*then)(struct vm_change *change); /* after this step */
	size_t waiting;                         /* for so many parts */
	struct io_work work;
	uint64_t size_bytes;
	int result;
	char error[VM_ERROR_BYTES];
	size_t count;
	struct part parts[];
};

/* ---- steps ---- */

static void arrive(struct vm_change *change)
{
	if (!--change->waiting)
		change->then(change);
}

static void begin_step(struct vm_change *change, void (*then)(struct vm_change *change))
{
	change->then = then;
	change->waiting = change->count + 1; /* and whoever begins it */
}

static void part_called(struct io_call *call)
{
	arrive(((struct part *)((char *)call - offsetof(struct part, call)))->change);
}

static void drain(struct vm_change *change, void (*then)(struct vm_change *change))
{
	begin_step(change, then);
	for (size_t i = 0; i < change->count; i++)
		live_drain(change->parts[i].unit->live, &change->parts[i].call);
	arrive(change);
}

static void stop(struct vm_change *change, void (*then)(struct vm_change *change))
{
	begin_step(change, then);
	for (size_t i = 0; i < change->count; i++)
		live_stop(change->parts[i].unit->live, &change->parts[i].call);
	arrive(change);
}

/* What the images before these still hold becomes durable; check_settled() says whether it did. */
static void settle(struct vm_change *change, void (*then)(struct vm_change *change))
{
	begin_step(change, then);
	for (size_t i = 0; i < change->count; i++)
		live_settle(change->parts[i].unit->live, &change->parts[i].call);
	arrive(change);
}

static void writing_failed(struct vm_change *change, int result, const char *path)
{
	if (!result || change->result)
		return;
	change->result = result;
	snprintf(change->error, sizeof(change->error), "%s: writing failed: %s", path, lis_error_text(result));
}

static void check_settled(struct vm_change *change)
{
	for (size_t i = 0; i < change->count; i++) {
		struct live *live = change->parts[i].unit->live;

		if (live_settle_result(live))
			writing_failed(change, live_settle_result(live), live_behind(live)->parent->path);
	}
}

static void part_flushed(struct block_request *request, int result)
{
	struct part *part = (struct part *)((char *)request - offsetof(struct part, flush));

	writing_failed(part->change, result, part->unit->drive.path);
	arrive(part->change);
}

/* What the images hold becomes durable, and they keep their identity from here on. */
static void flush(struct vm_change *change, void (*then)(struct vm_change *change))
{
	begin_step(change, then);
	for (size_t i = 0; i < change->count; i++) {
		struct part *part = &change->parts[i];

		part->flush = (struct block_request){ .op = BLOCK_FLUSH, .flags = BLOCK_FLUSH_IDENTITY,
						      .done = part_flushed };
		block_submit(live_behind(part->unit->live), change->vm->loop, &part->flush);
	}
	arrive(change);
}

static void work_done(struct io_work *work)
{
	struct vm_change *change = (struct vm_change *)((char *)work - offsetof(struct vm_change, work));

	change->then(change);
}

static void work(struct vm_change *change, void (*run)(struct io_work *work),
		 void (*then)(struct vm_change *change))
{
	change->then = then;
	change->work = (struct io_work){ .run = run, .done = work_done };
	io_work_start(change->vm->workers, change->vm->loop, &change->work);
}

static void resume(struct vm_change *change, void (*then)(struct vm_change *change))
{
	begin_step(change, then);
	for (size_t i = 0; i < change->count; i++) {
		struct part *part = &change->parts[i];
		struct block_device *behind = part->child ? part->child : live_behind(part->unit->live);

		live_resume(part->unit->live, behind, false, &part->call);
	}
	arrive(change);
}

/* ---- the whole of a change ---- */

/* The units that are to be changed follow. NULL: the request is answered. */
static struct vm_change *change_begin(struct vm *vm, struct control_request *request)
{
	struct vm_change *change = calloc(1, sizeof(*change) + VM_DRIVES_MAX * sizeof(change->parts[0]));

	if (!change) {
		control_reply_error(request, -LIS_NOMEM, "out of memory");
		return NULL;
	}
	change->vm = vm;
	change->request = request;
	vm->leaving++;
	return change;
}

static void change_add(struct vm_change *change, struct vm_unit *unit, const char *doing)
{
	struct part *part = &change->parts[change->count++];

	part->change = change;
	part->unit = unit;
	part->call.fn = part_called;
	unit->doing = doing;
}

static uint64_t pause_of(const struct vm_change *change)
{
	uint64_t longest_ns = 0;

	for (size_t i = 0; i < change->count; i++) {
		uint64_t pause_ns = live_pause_ns(change->parts[i].unit->live);

		if (pause_ns > longest_ns)
			longest_ns = pause_ns;
	}
	return longest_ns;
}

static void log_pause(const struct vm_change *change)
{
	uint64_t pause_ns = pause_of(change);

	for (size_t i = 0; i < change->count; i++)
		os_log(pause_ns > PAUSE_NS_MAX ? OS_LOG_WARNING : OS_LOG_INFO,
		       "%s was %s: the guest's commands waited for up to %u.%03u ms",
		       change->parts[i].unit->name, change->parts[i].unit->doing,
		       (unsigned)(pause_ns / 1000000), (unsigned)(pause_ns / 1000 % 1000));
}

/* @result: reference is taken; NULL where it failed. */
static void change_end(struct vm_change *change, struct json_object *result)
{
	for (size_t i = 0; i < change->count; i++) {
		change->parts[i].unit->doing = NULL;
		free(change->parts[i].path);
	}
	if (change->result)
		control_reply_error(change->request, change->result, "%s", change->error);
	else
		control_reply(change->request, result);
	change->vm->leaving--;
	free(change);
}

/* ---- size ---- */

static void resize_resumed(struct vm_change *change)
{
	struct json_object *result = NULL;

	log_pause(change);
	if (!change->result) {
		result = json_object_new_object();
		json_object_object_add(result, "size_bytes", json_object_new_uint64(change->size_bytes));
		json_object_object_add(result, "pause_us", json_object_new_uint64(pause_of(change) / 1000));
	}
	change_end(change, result);
}

static void resize_done(struct vm_change *change)
{
	struct vm_unit *unit = change->parts[0].unit;

	resume(change, resize_resumed);
	if (change->result)
		return;
	scsi_disk_resized(unit->scsi);
	/* At the end the controller may be gone already. */
	if (change->vm->phase != VM_ENDED)
		storvsp_rescan(change->vm->controllers[unit->drive.controller]);
}

static void resize_run(struct io_work *work)
{
	struct vm_change *change = (struct vm_change *)((char *)work - offsetof(struct vm_change, work));
	char error[BLOCK_ERROR_BYTES];

	change->result = block_resize(live_behind(change->parts[0].unit->live), change->size_bytes, error);
	if (change->result)
		snprintf(change->error, sizeof(change->error), "%s", error);
}

static void resize_drained(struct vm_change *change)
{
	work(change, resize_run, resize_done);
}

/* "20G", or "+1G" for as much more. */
static int parse_size(const struct block_geometry *geometry, const char *text, uint64_t *out_bytes,
		      char *error)
{
	uint64_t bytes;
	int err = options_parse_size(text + (*text == '+'), &bytes, error);

	if (!err && *text == '+' && __builtin_add_overflow(bytes, geometry->size_bytes, &bytes)) {
		snprintf(error, OPTIONS_ERROR_BYTES, "size '%s': too large", text);
		err = -LIS_INVALID;
	}
	if (!err)
		*out_bytes = bytes;
	return err;
}

void cli_vm_drive_resize(struct vm *vm, const char *name, const char *size, bool shrink,
			 struct control_request *request)
{
	struct vm_unit *unit = cli_vm_drive_find(vm, name, request);
	char error[OPTIONS_ERROR_BYTES];
	struct vm_change *change;
	uint64_t size_bytes;
	int err;

	if (!unit || !cli_vm_drive_is_disk(unit, request))
		return;
	err = parse_size(&live_behind(unit->live)->geometry, size, &size_bytes, error);
	if (err) {
		control_reply_error(request, err, "%s", error);
		return;
	}
	if (size_bytes < live_behind(unit->live)->geometry.size_bytes && !shrink) {
		control_reply_error(request, -LIS_REFUSED,
				    "%s: that is less than it has, and what is behind would be lost (--shrink)",
				    name);
		return;
	}
	change = change_begin(vm, request);
	if (!change)
		return;
	change->size_bytes = size_bytes;
	change_add(change, unit, "resized");
	drain(change, resize_drained);
}

/* ---- checkpoints ---- */

#define STAMP_BYTES sizeof("_20260101-000000")

static bool is_stamp(const char *text)
{
	static const char like[] = "_########-######";

	for (size_t i = 0; i + 1 < sizeof(like); i++)
		if (like[i] == '#' ? text[i] < '0' || text[i] > '9' : text[i] != like[i])
			return false;
	return !text[sizeof(like) - 1];
}

/*
 * Beside its parent, as Hyper-V names them but for the time in place of a number: disk.vhdx,
 * disk_20260102-030405.avhdx. NULL: out of memory.
 */
static char *child_path(const struct block_device *parent)
{
	char *stem = realpath(parent->path, NULL), *path = NULL, *dot, stamp[STAMP_BYTES], number[8] = "";
	time_t seconds = time(NULL);
	struct tm now;

	if (!stem)
		return NULL;
	gmtime_r(&seconds, &now);
	strftime(stamp, sizeof(stamp), "_%Y%m%d-%H%M%S", &now);
	dot = strrchr(stem, '.');
	if (dot && dot > strrchr(stem, '/') + 1)
		*dot = 0;
	/* Of a parent that is a child itself. */
	if (strlen(stem) >= STAMP_BYTES && is_stamp(stem + strlen(stem) - (STAMP_BYTES - 1)))
		stem[strlen(stem) - (STAMP_BYTES - 1)] = 0;
	for (unsigned n = 2; n < 100; n++) {
		if (asprintf(&path, "%s%s%s.a%s", stem, stamp, number, parent->driver->name) < 0)
			path = NULL;
		if (!path || access(path, F_OK) < 0)
			break;
		snprintf(number, sizeof(number), "-%u", n);
		free(path);
		path = NULL;
	}
	free(stem);
	return path;
}

static int make_child(struct part *part, char *error)
{
	struct block_device *parent = live_behind(part->unit->live);
	struct block_create_options create = { .parent = parent };
	struct block_open_options open = { .parent = parent, .direct = part->unit->drive.direct };
	int err = block_create(part->path, &create, error);

	if (err)
		return err;
	block_sync_name(part->path);
	err = block_open(part->path, &open, &part->child, error);
	if (err)
		unlink(part->path);
	return err;
}

static void drop_child(struct part *part)
{
	if (!part->child)
		return;
	(void)block_detach(part->child);
	if (block_close(part->child))
		os_log(OS_LOG_WARNING, "%s: closing failed", part->path);
	part->child = NULL;
	unlink(part->path);
}

static void checkpoint_run(struct io_work *work)
{
	struct vm_change *change = (struct vm_change *)((char *)work - offsetof(struct vm_change, work));
	char error[BLOCK_ERROR_BYTES];

	for (size_t i = 0; i < change->count && !change->result; i++)
		change->result = make_child(&change->parts[i], error);
	if (!change->result)
		return;
	snprintf(change->error, sizeof(change->error), "%s", error);
	for (size_t i = 0; i < change->count; i++)
		drop_child(&change->parts[i]);
}

/* They are on their children, whatever becomes of their parents. */
static void checkpoint_settled(struct vm_change *change)
{
	struct json_object *result, *list;

	check_settled(change);
	if (change->result) {
		size_t used = strlen(change->error);

		snprintf(change->error + used, sizeof(change->error) - used, "; the VM goes on on %s, but what "
			 "the guest wrote before may be lost", change->parts[0].unit->drive.path);
		change_end(change, NULL);
		return;
	}
	result = json_object_new_object();
	list = json_object_new_array();
	for (size_t i = 0; i < change->count; i++) {
		struct vm_unit *unit = change->parts[i].unit;
		struct json_object *item = json_object_new_object();

		json_object_object_add(item, "drive", json_object_new_string(unit->name));
		json_object_object_add(item, "path", json_object_new_string(unit->drive.path));
		json_object_array_add(list, item);
	}
	json_object_object_add(result, "checkpoints", list);
	json_object_object_add(result, "pause_us", json_object_new_uint64(pause_of(change) / 1000));
	change_end(change, result);
}

static void checkpoint_resumed(struct vm_change *change)
{
	log_pause(change);
	for (size_t i = 0; i < change->count; i++) {
		struct part *part = &change->parts[i];

		/* The drive is known by it from here on. */
		free(part->unit->drive.path);
		part->unit->drive.path = part->path;
		part->path = NULL;
	}
	settle(change, checkpoint_settled);
}

static void checkpoint_stopped(struct vm_change *change)
{
	resume(change, checkpoint_resumed);
}

static void checkpoint_made(struct vm_change *change)
{
	if (change->result)
		change_end(change, NULL);
	else
		stop(change, checkpoint_stopped);
}

static void checkpoint_flushed(struct vm_change *change)
{
	if (change->result)
		change_end(change, NULL);
	else
		work(change, checkpoint_run, checkpoint_made);
}

/* Nothing is left of the last checkpoint but where its parents could not be written. */
static void checkpoint_begun(struct vm_change *change)
{
	check_settled(change);
	if (change->result)
		change_end(change, NULL);
	else
		flush(change, checkpoint_flushed);
}

/* Can it have a child at all? Else the request is answered. */
static bool may_have_child(const struct vm_unit *unit, struct control_request *request)
{
	const struct block_device *image;

	if (!cli_vm_drive_is_disk(unit, request))
		return false;
	image = live_behind(unit->live);
	if (image->geometry.read_only) {
		control_reply_error(request, -LIS_READONLY, "%s is read-only: there is nothing to keep",
				    unit->name);
		return false;
	}
	if (strcmp(image->driver->name, "vhd") && strcmp(image->driver->name, "vhdx")) {
		control_reply_error(request, -LIS_UNSUPPORTED,
				    "%s is %s, which has no checkpoints; a VHDX has (lis disk convert)",
				    unit->name, image->driver->name);
		return false;
	}
	return true;
}

/* All that the guest can write to. False: the request is answered. */
static bool add_all(struct vm_change *change)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		struct vm_unit *unit = &change->vm->units[i];

		if (unit->state != VM_UNIT_ON ||
		    (unit->live ? live_behind(unit->live)->geometry.read_only : unit->drive.read_only))
			continue;
		if (!cli_vm_drive_find(change->vm, unit->name, change->request) ||
		    !may_have_child(unit, change->request))
			return false;
		change_add(change, unit, "checkpointed");
	}
	if (!change->count)
		control_reply_error(change->request, -LIS_NOTFOUND, "there is no drive that can be written");
	return change->count;
}

static bool add_one(struct vm_change *change, const char *name)
{
	struct vm_unit *unit = cli_vm_drive_find(change->vm, name, change->request);

	if (!unit || !may_have_child(unit, change->request))
		return false;
	change_add(change, unit, "checkpointed");
	return true;
}

/* The request is answered already. */
static void change_drop(struct vm_change *change)
{
	for (size_t i = 0; i < change->count; i++) {
		change->parts[i].unit->doing = NULL;
		free(change->parts[i].path);
	}
	change->vm->leaving--;
	free(change);
}

void cli_vm_drive_checkpoint(struct vm *vm, const char *name, const char *child,
			     struct control_request *request)
{
	struct vm_change *change = change_begin(vm, request);

	if (!change)
		return;
	if (!(*name ? add_one(change, name) : add_all(change))) {
		change_drop(change);
		return;
	}
	for (size_t i = 0; i < change->count; i++) {
		struct part *part = &change->parts[i];

		part->path = *child ? strdup(child) : child_path(live_behind(part->unit->live));
		if (!part->path) {
			control_reply_error(request, -LIS_NOTFOUND, "%s: no name for a child can be found",
					    part->unit->drive.path);
			change_drop(change);
			return;
		}
	}
	settle(change, checkpoint_begun);
}
