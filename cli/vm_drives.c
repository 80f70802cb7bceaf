// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The drives of a VM: their images, and their places on the SCSI controllers, from the start or while it
 * runs. What may sleep (opening, closing) is done by the workers; a drive that is opened or closed keeps
 * its number and its place, and is busy.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/vm_private.h"
#include "io/error.h"
#include "storage/images/image.h"
#include "storage/scsi_cd.h"
#include "storage/scsi_disk.h"
#include "storage/scsi_passthrough.h"

/* ---- images ---- */

/* Which drive keeps the file from being opened? NULL: none; the file's lock may still be another's. */
static const struct vm_unit *unit_with_file(const struct vm *vm, const char *path, bool read_only)
{
	struct stat file, other;

	if (stat(path, &file) < 0)
		return NULL;
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		const struct vm_unit *unit = &vm->units[i];

		if (unit->state == VM_UNIT_ON && !(read_only && unit->drive.read_only) &&
		    stat(unit->drive.path, &other) == 0 && file.st_dev == other.st_dev &&
		    file.st_ino == other.st_ino)
			return unit;
	}
	return NULL;
}

static int open_device(struct vm_unit *unit)
{
	char why[SCSI_PASSTHROUGH_ERROR_BYTES];
	int err = scsi_passthrough_open(unit->drive.path, unit->drive.read_only, &unit->scsi, why);

	if (err)
		snprintf(unit->error, sizeof(unit->error), "%s", why);
	return err;
}

/* Where a guest's persistent reservations are kept: beside files that may be written. May sleep. */
static int open_reservations(struct vm_unit *unit)
{
	char why[SCSI_RESERVATIONS_ERROR_BYTES], *path = NULL;
	struct stat stat_of_image;
	bool beside = !unit->image->geometry.read_only && stat(unit->drive.path, &stat_of_image) == 0 &&
		      S_ISREG(stat_of_image.st_mode);
	int err = -LIS_NOMEM;

	if (beside && asprintf(&path, "%s" SCSI_RESERVATIONS_SUFFIX, unit->drive.path) < 0)
		snprintf(why, sizeof(why), "%s: out of memory", unit->drive.path);
	else
		err = scsi_reservations_create(path, &unit->reservations, why);
	free(path);
	if (err)
		snprintf(unit->error, sizeof(unit->error), "%s", why);
	return err;
}

/* May sleep. */
static int open_image(struct vm_unit *unit)
{
	struct block_open_options options = {
		.format = unit->drive.format,
		.read_only = unit->drive.read_only,
		.direct = unit->drive.direct,
	};
	char why[BLOCK_ERROR_BYTES];
	int err;

	if (unit->drive.kind == VM_DRIVE_PASSTHROUGH)
		return open_device(unit);
	if (unit->drive.kind == VM_DRIVE_CD) {
		options.format = "raw";
		options.read_only = true;
		if (!*unit->drive.path)
			return 0;
	}
	err = block_open(unit->drive.path, &options, &unit->image, why);
	if (err) {
		snprintf(unit->error, sizeof(unit->error), "%s", why);
		return err;
	}
	return unit->drive.kind == VM_DRIVE_DISK ? open_reservations(unit) : 0;
}

/* With nothing under way. May sleep. */
static int close_image(struct vm_unit *unit, char *error)
{
	int err;

	scsi_unit_destroy(unit->scsi); /* first: it uses all the rest */
	unit->scsi = NULL;
	err = block_close(unit->live ? live_device(unit->live) : unit->image);
	unit->live = NULL;
	unit->image = NULL;
	scsi_reservations_destroy(unit->reservations);
	unit->reservations = NULL;
	if (err)
		snprintf(error, VM_ERROR_BYTES, "%s: closing failed: %s", unit->drive.path,
			 lis_error_text(err));
	return err;
}

/* ---- drives ---- */

static struct storvsp_address place_of(const struct vm_unit *unit)
{
	return (struct storvsp_address){ .lun = (uint8_t)unit->drive.lun };
}

static int make_disk(struct vm_unit *unit)
{
	struct vm *vm = unit->vm;
	struct scsi_disk_config config = {
		.workers = vm->workers,
		.transfer_bytes_max = STORVSP_TRANSFER_BYTES_MAX,
		.reservations = unit->reservations,
	};
	int err = live_create(unit->image, vm->io_loops, vm->io_loop_count, vm->loop, &unit->live);

	if (err)
		return err;
	config.device = live_device(unit->live);
	return scsi_disk_create(&config, &unit->scsi);
}

static void medium_has_left(struct io_call *call);

static int make_cd(struct vm_unit *unit)
{
	struct scsi_cd_config config = {
		.device = unit->image, .loop = unit->vm->loop, .ejected = &unit->ejected,
	};
	char place[128];

	/* Drives have no identity of their own: the same place in a VM of the same name is the same drive. */
	snprintf(place, sizeof(place), "lis CD drive: %s:%u:%u", unit->vm->config->name, unit->drive.controller,
		 unit->drive.lun);
	image_place_id(place, &config.id);
	unit->ejected.fn = medium_has_left;
	return scsi_cd_create(&config, &unit->scsi);
}

static int unit_attach(struct vm_unit *unit)
{
	struct vm *vm = unit->vm;
	int err = 0;

	if (unit->drive.kind == VM_DRIVE_DISK)
		err = make_disk(unit);
	else if (unit->drive.kind == VM_DRIVE_CD)
		err = make_cd(unit);
	err = err ? err : storvsp_lun_add(vm->controllers[unit->drive.controller], place_of(unit), unit->scsi);
	if (err)
		snprintf(unit->error, sizeof(unit->error), "%s: %s", unit->drive.path,
			 unit->drive.kind == VM_DRIVE_CD && err == -LIS_INVALID ? "is no ISO image"
										: lis_error_text(err));
	else
		unit->state = VM_UNIT_ON;
	return err;
}

static int unit_init(struct vm_unit *unit, const struct vm_drive *drive)
{
	unit->drive = *drive;
	unit->drive.path = strdup(drive->path);
	if (unit->drive.path)
		return 0;
	snprintf(unit->error, sizeof(unit->error), "%s: out of memory", drive->path);
	return -LIS_NOMEM;
}

/* With its image closed. */
static void unit_free(struct vm_unit *unit)
{
	free(unit->drive.path);
	unit->drive.path = NULL;
	unit->state = VM_UNIT_FREE;
}

/* ---- all of them ---- */

int cli_vm_drives_open(struct vm *vm, char *error)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		vm->units[i].vm = vm;
		snprintf(vm->units[i].name, sizeof(vm->units[i].name), "drive%u", (unsigned)i);
	}
	for (size_t i = 0; i < vm->config->drive_count; i++) {
		struct vm_unit *unit = &vm->units[i];
		int err = unit_init(unit, &vm->config->drives[i]);

		err = err ? err : open_image(unit);
		if (err) {
			snprintf(error, VM_ERROR_BYTES, "%s", unit->error);
			return err;
		}
		unit->state = VM_UNIT_OPEN;
	}
	return 0;
}

int cli_vm_drives_start(struct vm *vm, char *error)
{
	for (uint32_t i = 0; i < vm->config->controller_count; i++) {
		char name[16];
		struct storvsp_config config = {
			.name = name,
			.instance_id = storvsp_instance_id(i),
			/* Guests ask for as many as their driver finds useful. */
			.sub_channels_max = (uint16_t)(vm->config->cpus - 1),
			.bus_loop = vm->loop,
			.loops = vm->io_loops,
			.loop_count = vm->io_loop_count,
		};
		int err;

		snprintf(name, sizeof(name), "scsi%u", i);
		err = storvsp_create(vm->host, &config, &vm->controllers[i]);
		if (err) {
			snprintf(error, VM_ERROR_BYTES, "%s: %s", name, lis_error_text(err));
			return err;
		}
	}
	for (size_t i = 0; i < vm->config->drive_count; i++) {
		int err = unit_attach(&vm->units[i]);

		if (err) {
			snprintf(error, VM_ERROR_BYTES, "%s", vm->units[i].error);
			return err;
		}
	}
	return 0;
}

void cli_vm_drives_stop(struct vm *vm)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++)
		if (vm->units[i].merge)
			live_merge_cancel(vm->units[i].merge);
	for (uint32_t i = 0; i < vm->config->controller_count; i++)
		if (vm->controllers[i])
			storvsp_destroy(vm->controllers[i], cli_vm_leave(vm, &vm->controllers_leaver[i]));
}

void cli_vm_drives_close(struct vm *vm)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		struct vm_unit *unit = &vm->units[i];

		if (close_image(unit, unit->error))
			os_log(OS_LOG_ERROR, "%s", unit->error);
		unit_free(unit);
	}
}

/* ---- commands ---- */

/* The end of a command that took its time; what it has to say is in @unit. */
static void answer(struct vm_unit *unit, struct json_object *result)
{
	struct control_request *request = unit->request;

	unit->request = NULL;
	if (unit->result)
		control_reply_error(request, unit->result, "%s", unit->error);
	else
		control_reply(request, result);
}

static bool place_is_free(const struct vm *vm, uint32_t controller, uint32_t lun)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		const struct vm_unit *unit = &vm->units[i];

		if (unit->state != VM_UNIT_FREE && unit->drive.controller == controller &&
		    unit->drive.lun == lun)
			return false;
	}
	return true;
}

/* Also the lowest free place, if any will do. */
static int check_place(const struct vm *vm, struct vm_drive *drive, char *error)
{
	if (drive->controller >= vm->config->controller_count) {
		snprintf(error, VM_ERROR_BYTES, "%s: there is no controller %u, only %u of them (--controllers)",
			 drive->path, drive->controller, vm->config->controller_count);
		return -LIS_NOTFOUND;
	}
	if (drive->lun != VM_LUN_ANY) {
		if (place_is_free(vm, drive->controller, drive->lun))
			return 0;
		snprintf(error, VM_ERROR_BYTES, "%s: lun %u of controller %u is taken", drive->path, drive->lun,
			 drive->controller);
		return -LIS_BUSY;
	}
	for (uint32_t lun = 0; lun < VM_LUNS_MAX; lun++) {
		if (place_is_free(vm, drive->controller, lun)) {
			drive->lun = lun;
			return 0;
		}
	}
	snprintf(error, VM_ERROR_BYTES, "%s: controller %u has %u drives already", drive->path,
		 drive->controller, VM_LUNS_MAX);
	return -LIS_FULL;
}

static struct vm_unit *free_unit(struct vm *vm)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		if (vm->units[i].state == VM_UNIT_FREE)
			return &vm->units[i];
	}
	return NULL;
}

static void add_run(struct io_work *work)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)work - offsetof(struct vm_unit, work));

	unit->result = open_image(unit);
}

/* After a failure; nobody saw the drive. */
static void give_up(struct vm_unit *unit)
{
	char error[VM_ERROR_BYTES];

	if (close_image(unit, error))
		os_log(OS_LOG_ERROR, "%s", error);
	unit_free(unit);
	answer(unit, NULL);
}

static void add_done(struct io_work *work)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)work - offsetof(struct vm_unit, work));
	struct json_object *result;

	unit->vm->leaving--;
	if (!unit->result && unit->vm->phase == VM_ENDED) {
		unit->result = -LIS_GONE;
		snprintf(unit->error, sizeof(unit->error), "the VM has ended");
	}
	if (!unit->result)
		unit->result = unit_attach(unit);
	if (unit->result) {
		give_up(unit);
		return;
	}
	result = json_object_new_object();
	json_object_object_add(result, "name", json_object_new_string(unit->name));
	json_object_object_add(result, "controller", json_object_new_int64(unit->drive.controller));
	json_object_object_add(result, "lun", json_object_new_int64(unit->drive.lun));
	answer(unit, result);
}

void cli_vm_drive_add(struct vm *vm, const struct vm_drive *drive, struct control_request *request)
{
	struct vm_unit *unit = free_unit(vm);
	struct vm_drive placed = *drive;
	const struct vm_unit *other;
	char error[VM_ERROR_BYTES];
	int err;

	if (!unit) {
		control_reply_error(request, -LIS_FULL, "there are %u drives, and no room for more",
				    VM_DRIVES_MAX);
		return;
	}
	err = check_place(vm, &placed, error);
	if (err) {
		control_reply_error(request, err, "%s", error);
		return;
	}
	other = unit_with_file(vm, drive->path, drive->read_only);
	if (other) {
		control_reply_error(request, -LIS_BUSY, "%s: is the image of %s", drive->path, other->name);
		return;
	}
	unit->request = request;
	unit->work = (struct io_work){ .run = add_run, .done = add_done };
	unit->state = VM_UNIT_OPENING;
	unit->result = unit_init(unit, &placed);
	if (unit->result) {
		give_up(unit);
		return;
	}
	vm->leaving++;
	io_work_start(vm->workers, vm->loop, &unit->work);
}

struct vm_unit *cli_vm_drive_find(struct vm *vm, const char *name, struct control_request *request)
{
	for (size_t i = 0; i < VM_DRIVES_MAX; i++) {
		struct vm_unit *unit = &vm->units[i];

		if (strcmp(unit->name, name) || unit->state == VM_UNIT_FREE)
			continue;
		if (unit->state == VM_UNIT_ON && !unit->doing)
			return unit;
		control_reply_error(request, -LIS_BUSY, "%s is being %s", name,
				    unit->state == VM_UNIT_ON ? unit->doing :
				    unit->state == VM_UNIT_OPENING ? "added" : "removed");
		return NULL;
	}
	control_reply_error(request, -LIS_NOTFOUND, "there is no drive '%.32s' (lis status shows them)", name);
	return NULL;
}

bool cli_vm_drive_is_disk(const struct vm_unit *unit, struct control_request *request)
{
	if (unit->drive.kind == VM_DRIVE_DISK)
		return true;
	control_reply_error(request, -LIS_UNSUPPORTED, "%s is %s, and no disk with an image", unit->name,
			    unit->drive.kind == VM_DRIVE_CD ? "a CD drive" : "a device of this host");
	return false;
}

static void remove_run(struct io_work *work)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)work - offsetof(struct vm_unit, work));

	unit->result = close_image(unit, unit->error);
}

static void remove_done(struct io_work *work)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)work - offsetof(struct vm_unit, work));

	unit->vm->leaving--;
	if (unit->result)
		os_log(OS_LOG_ERROR, "%s", unit->error);
	unit_free(unit);
	answer(unit, NULL);
}

/* No command uses the drive any more. */
static void unit_unused(struct io_call *call)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)call - offsetof(struct vm_unit, removed));

	unit->work = (struct io_work){ .run = remove_run, .done = remove_done };
	io_work_start(unit->vm->workers, unit->vm->loop, &unit->work);
}

void cli_vm_drive_remove(struct vm *vm, const char *name, struct control_request *request)
{
	struct vm_unit *unit = cli_vm_drive_find(vm, name, request);
	int err;

	if (!unit)
		return;
	unit->removed.fn = unit_unused;
	err = storvsp_lun_remove(vm->controllers[unit->drive.controller], place_of(unit), &unit->removed);
	if (err) {
		control_reply_error(request, err, "%s: %s", name, lis_error_text(err));
		return;
	}
	unit->state = VM_UNIT_LEAVING;
	unit->request = request;
	vm->leaving++;
}

/* ---- media ---- */

/* The guest or the host took the medium out, and nothing uses it any more. */
static void medium_has_left(struct io_call *call)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)call - offsetof(struct vm_unit, ejected));
	struct block_device *medium;

	/* With a drive that is being removed goes its medium, and the request is the removal's. */
	if (unit->state != VM_UNIT_ON)
		return;
	medium = scsi_cd_take(unit->scsi);
	if (!medium)
		return;
	(void)block_close(medium); /* read-only: nothing can be lost */
	unit->image = NULL;
	os_log(OS_LOG_INFO, "%s: %s is ejected", unit->name, unit->drive.path);
	*unit->drive.path = 0;
	if (!unit->request)
		return;
	unit->vm->leaving--;
	unit->result = 0;
	answer(unit, NULL);
}

/* A CD drive that is there and not busy; else the request is answered. */
static struct vm_unit *find_cd(struct vm *vm, const char *name, struct control_request *request)
{
	struct vm_unit *unit = cli_vm_drive_find(vm, name, request);

	if (!unit)
		return NULL;
	if (unit->drive.kind != VM_DRIVE_CD)
		control_reply_error(request, -LIS_INVALID, "%s is no CD drive", name);
	else if (unit->request)
		control_reply_error(request, -LIS_BUSY, "%s: its medium is just leaving", name);
	else
		return unit;
	return NULL;
}

static void insert_run(struct io_work *work)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)work - offsetof(struct vm_unit, work));

	unit->result = open_image(unit);
}

static void insert_done(struct io_work *work)
{
	struct vm_unit *unit = (struct vm_unit *)((char *)work - offsetof(struct vm_unit, work));

	unit->vm->leaving--;
	unit->state = VM_UNIT_ON;
	if (!unit->result) {
		unit->result = scsi_cd_insert(unit->scsi, unit->image);
		if (unit->result)
			snprintf(unit->error, sizeof(unit->error), "%s: %s", unit->drive.path,
				 unit->result == -LIS_INVALID ? "is no ISO image" : lis_error_text(unit->result));
	}
	if (unit->result) {
		(void)block_close(unit->image);
		unit->image = NULL;
		*unit->drive.path = 0;
	}
	answer(unit, NULL);
}

void cli_vm_drive_insert(struct vm *vm, const char *name, const char *path, struct control_request *request)
{
	struct vm_unit *unit = find_cd(vm, name, request);
	char *copy;

	if (!unit)
		return;
	if (unit->image) {
		control_reply_error(request, -LIS_BUSY, "%s has %s in it", name, unit->drive.path);
		return;
	}
	copy = *path ? strdup(path) : NULL;
	if (!copy) {
		control_reply_error(request, *path ? -LIS_NOMEM : -LIS_INVALID, "no path");
		return;
	}
	free(unit->drive.path);
	unit->drive.path = copy;
	unit->request = request;
	unit->state = VM_UNIT_OPENING;
	unit->work = (struct io_work){ .run = insert_run, .done = insert_done };
	vm->leaving++;
	io_work_start(vm->workers, vm->loop, &unit->work);
}

void cli_vm_drive_eject(struct vm *vm, const char *name, bool force, struct control_request *request)
{
	struct vm_unit *unit = find_cd(vm, name, request);

	if (!unit)
		return;
	switch (scsi_cd_eject(unit->scsi, force)) {
	case 0:
		unit->request = request; /* answered by medium_has_left() */
		vm->leaving++;
		return;
	case -LIS_BUSY:
		control_reply_error(request, -LIS_BUSY, "%s: the guest holds its medium (mounted?), and was asked to "
				    "eject it; --force takes it away", name);
		return;
	default:
		control_reply_error(request, -LIS_NOTFOUND, "%s is empty", name);
		return;
	}
}
