/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Drives of a VM that come and go while it runs: the commands as a client gives them, on a VM without a
 * machine, whose guest is a scripted one that reads and writes and knows what it wrote.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/loopback/storvsp_guest.h"
#include "tests/loopback/vm_rig.h"
#include "tests/unit/storage/block_io.h"

#define DISK_BYTES (1u << 20)
#define BLOCK_BYTES 4096u
#define BLOCKS (DISK_BYTES / BLOCK_BYTES)
#define LUNS 4u   /* that the guest uses, of controller 0 */
#define DEPTH 16u

/* A command of the guest, in flight or not. */
struct slot {
	bool busy, write;
	uint8_t lun;
	uint32_t block;
	uint64_t seed; /* of what it writes */
	uint8_t *page;
	uint64_t pfn;
};

struct rig {
	struct vm_rig base; /* first */
	struct mini_guest guest;
	struct mini_channel channel;
	struct slot slots[DEPTH];
	/* What each block holds: 0: zeroes, else a pattern of this seed. */
	uint64_t seeds[LUNS][BLOCKS];
	bool busy[LUNS][BLOCKS];
	bool uses[LUNS];     /* reads and writes there */
	uint32_t done[LUNS], absent[LUNS], in_flight;
	uint32_t rescans, attentions;
	uint32_t sense;      /* key and codes of the last attention */
	uint64_t random;
};

static void path_of(const struct rig *rig, const char *name, char *path)
{
	snprintf(path, 128, "%s/%s", rig->base.folder, name);
}

static void make_image(const struct rig *rig, const char *name)
{
	struct block_create_options options = { .format = strrchr(name, '.') + 1, .size_bytes = DISK_BYTES };
	char path[128], error[BLOCK_ERROR_BYTES];

	path_of(rig, name, path);
	assert_int_equal(block_create(path, &options, error), 0);
}

static void drop_image(const struct rig *rig, const char *name)
{
	char path[128];

	path_of(rig, name, path);
	assert_int_equal(unlink(path), 0);
}

/* ---- the guest ---- */

static void fill(uint8_t *page, uint64_t seed, uint32_t block)
{
	memset(page, 0, BLOCK_BYTES);
	if (seed)
		block_pattern(page, BLOCK_BYTES, block * BLOCK_BYTES, seed);
}

static void send_io(struct rig *rig, uint32_t index)
{
	struct slot *slot = &rig->slots[index];
	uint32_t lba = slot->block * (BLOCK_BYTES / 512);
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.request = { .cdb_length = 10, .lun = slot->lun, .data_transfer_length = BLOCK_BYTES,
			     .data_in = slot->write ? STORVSC_DATA_OUT : STORVSC_DATA_IN,
			     .cdb = { slot->write ? SCSI_WRITE_10 : SCSI_READ_10, 0, 0, 0,
				      (uint8_t)(lba >> 8), (uint8_t)lba, 0, 0, BLOCK_BYTES / 512 } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[4];

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, BLOCK_BYTES, 0, &slot->pfn), 0);
	out = vmbus_packet_gpa_direct(index + 1, &builder, &piece, 1);
	assert_int_equal(storvsp_guest_write(&rig->channel, &out), 0);
	slot->busy = rig->busy[slot->lun][slot->block] = true;
	rig->in_flight++;
}

static void start_io(struct rig *rig, uint32_t index)
{
	struct slot *slot = &rig->slots[index];
	uint64_t dice = block_random(&rig->random);

	slot->lun = (uint8_t)(dice % LUNS);
	slot->block = (uint32_t)(dice >> 8) % BLOCKS;
	slot->write = dice >> 40 & 1;
	slot->seed = dice | 1;
	if (!rig->uses[slot->lun] || rig->busy[slot->lun][slot->block])
		return;
	if (slot->write)
		fill(slot->page, slot->seed, slot->block);
	else
		memset(slot->page, 0xee, BLOCK_BYTES);
	send_io(rig, index);
}

static void finish_io(struct rig *rig, const struct storvsp_reply *reply)
{
	struct slot *slot = &rig->slots[reply->id - 1];
	uint64_t *seed = &rig->seeds[slot->lun][slot->block];
	uint8_t expected[BLOCK_BYTES];

	assert_true(reply->id >= 1 && reply->id <= DEPTH && slot->busy);
	slot->busy = rig->busy[slot->lun][slot->block] = false;
	rig->in_flight--;
	if ((reply->packet.request.srb_status & STORVSC_SRB_CODE_MASK) == STORVSC_SRB_INVALID_LUN) {
		rig->absent[slot->lun]++;
		return;
	}
	if (reply->packet.request.scsi_status == SCSI_CHECK_CONDITION && reply->packet.request.sense[2] == 6) {
		rig->sense = SCSI_SENSE(6, reply->packet.request.sense[12], reply->packet.request.sense[13]);
		rig->attentions++;
		return;
	}
	assert_int_equal(reply->packet.request.srb_status, STORVSC_SRB_SUCCESS);
	rig->done[slot->lun]++;
	if (slot->write) {
		*seed = slot->seed;
		return;
	}
	fill(expected, *seed, slot->block);
	assert_memory_equal(slot->page, expected, BLOCK_BYTES);
}

static void guest_runs(struct rig *rig)
{
	struct storvsp_reply reply;

	while (storvsp_guest_receive(&rig->channel, &reply) == 0) {
		if (reply.packet.operation == STORVSC_ENUMERATE_BUS)
			rig->rescans++;
		else
			finish_io(rig, &reply);
	}
	for (uint32_t i = 0; i < DEPTH; i++)
		if (!rig->slots[i].busy)
			start_io(rig, i);
}

static void pump(void *arg)
{
	vm_rig_turn(&((struct rig *)arg)->base);
}

static void pump_guest(struct vm_rig *base)
{
	pump(base);
	guest_runs((struct rig *)base);
}

/* Until it has done @count commands more on @lun. */
static void guest_works(struct rig *rig, uint8_t lun, uint32_t count)
{
	uint32_t end = rig->done[lun] + count;

	rig->uses[lun] = true;
	while (rig->done[lun] < end)
		pump_guest(&rig->base);
}

static void guest_rests(struct rig *rig)
{
	memset(rig->uses, 0, sizeof(rig->uses));
	while (rig->in_flight)
		pump_guest(&rig->base);
}

/* How many drives REPORT LUNS names. */
static uint32_t guest_counts(struct rig *rig)
{
	struct slot *slot = &rig->slots[0];
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.request = { .cdb_length = 12, .data_in = STORVSC_DATA_IN, .data_transfer_length = BLOCK_BYTES,
			     .cdb = { SCSI_REPORT_LUNS, [8] = BLOCK_BYTES >> 8 } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct storvsp_reply reply;
	struct vmbus_packet_out out;
	uint64_t head[4];

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, BLOCK_BYTES, 0, &slot->pfn), 0);
	out = vmbus_packet_gpa_direct(99, &builder, &piece, 1);
	assert_int_equal(storvsp_guest_write(&rig->channel, &out), 0);
	do {
		assert_int_equal(storvsp_guest_wait(&rig->channel, &reply), 0);
		rig->rescans += reply.packet.operation == STORVSC_ENUMERATE_BUS;
	} while (reply.id != 99);
	return (uint32_t)(slot->page[2] << 8 | slot->page[3]) / 8;
}

/* ---- commands ---- */

/* A command that succeeds, with up to two arguments; its answer is the caller's. */
static struct json_object *call(struct rig *rig, const char *command, const char *drive, const char *name,
				const char *value)
{
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, command, "drive", drive, name, value);
	if (vm_rig_finish(&rig->base, &call))
		fail_msg("%s %s: %s", command, drive, call.error);
	return call.result;
}

/* Returns the drive's number. */
static int add(struct rig *rig, const char *name, const char *options)
{
	char path[128], spec[160];
	struct json_object *result;
	int number = -1;

	path_of(rig, name, path);
	snprintf(spec, sizeof(spec), "%s%s", path, options);
	result = call(rig, "drive-add", spec, NULL, NULL);
	assert_int_equal(sscanf(json_text(result, "name", ""), "drive%d", &number), 1);
	json_object_put(result);
	return number;
}

static void remove_drive(struct rig *rig, const char *drive)
{
	json_object_put(call(rig, "drive-remove", drive, NULL, NULL));
}

static void refuses_with(struct rig *rig, const char *command, const char *drive, const char *name,
			 const char *value, int err, const char *says)
{
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, command, "drive", drive, name, value);
	assert_int_equal(vm_rig_finish(&rig->base, &call), err);
	if (!strstr(call.error, says))
		fail_msg("%s %s: %s", command, drive, call.error);
}

static void refuses(struct rig *rig, const char *command, const char *value, int err, const char *says)
{
	refuses_with(rig, command, value, NULL, NULL, err, says);
}

static void refuses_file(struct rig *rig, const char *name, const char *options, int err, const char *says)
{
	char path[128], spec[160];

	path_of(rig, name, path);
	snprintf(spec, sizeof(spec), "%s%s", path, options);
	refuses(rig, "drive-add", spec, err, says);
}

/* Nobody has the image open, and it holds what the guest knows was written to @lun. */
static void image_holds(struct rig *rig, const char *name, uint8_t lun)
{
	char path[128], error[BLOCK_ERROR_BYTES];
	uint8_t *data = malloc(DISK_BYTES), expected[BLOCK_BYTES];
	struct block_device *device;
	struct io_loop *loop;

	path_of(rig, name, path);
	if (block_open(path, NULL, &device, error))
		fail_msg("%s", error);
	assert_int_equal(io_loop_create(NULL, &loop), 0);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, DISK_BYTES), 0);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		fill(expected, rig->seeds[lun][i], i);
		assert_memory_equal(data + i * BLOCK_BYTES, expected, BLOCK_BYTES);
	}
	io_loop_destroy(loop);
	assert_int_equal(block_close(device), 0);
	free(data);
}

/* ---- life ---- */

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct guid scsi0 = storvsp_instance_id(0);
	char error[VM_ERROR_BYTES], path[128];

	assert_non_null(rig);
	*state = rig;
	rig->base.config = (struct vm_config){ .name = "vm", .cpus = 1, .controller_count = 2,
					       .drive_count = 1 };
	rig->base.pump = pump_guest;
	vm_rig_init(&rig->base, NULL);
	make_image(rig, "first.raw");
	make_image(rig, "a.raw");
	make_image(rig, "b.raw");
	path_of(rig, "first.raw", path);
	rig->base.config.drives[0].path = path;
	assert_int_equal(cli_vm_drives_open(rig->base.vm, error), 0);
	assert_int_equal(cli_vm_drives_start(rig->base.vm, error), 0);
	vm_rig_listen(&rig->base);
	assert_int_equal(loopback_guest_attach(rig->base.partition, &rig->guest.lo), 0);
	rig->guest.pump = pump;
	rig->guest.pump_arg = rig;
	assert_int_equal(mini_connect(&rig->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&rig->guest), 0);
	assert_int_equal(mini_open(&rig->guest, mini_find_offer(&rig->guest, &scsi0, 0), 9, &rig->channel), 0);
	assert_int_equal(storvsp_guest_init(&rig->channel, STORVSC_VERSION_THRESHOLD), 0);
	for (uint32_t i = 0; i < DEPTH; i++) {
		struct gpa gpa;

		rig->slots[i].page = loopback_guest_alloc_pages(rig->guest.lo, 1, false, &gpa);
		assert_non_null(rig->slots[i].page);
		rig->slots[i].pfn = gpa.value >> HV_PAGE_SHIFT;
	}
	return 0;
}

static void end_vm(struct rig *rig)
{
	drop_image(rig, "first.raw");
	drop_image(rig, "a.raw");
	drop_image(rig, "b.raw");
	vm_rig_end(&rig->base);
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	if (rig->base.vm)
		end_vm(rig);
	loopback_guest_detach(rig->guest.lo);
	loopback_destroy(rig->base.partition);
	free(rig);
	return 0;
}

/* ---- tests ---- */

static void a_drive_keeps_its_number_and_its_place(void **state)
{
	struct rig *rig = *state;
	const struct vm_unit *units = rig->base.vm->units;

	assert_int_equal(add(rig, "a.raw", ""), 1);
	assert_int_equal(units[1].drive.lun, 1);
	assert_int_equal(add(rig, "b.raw", ",controller=1"), 2);
	assert_int_equal(units[2].drive.controller, 1);
	assert_int_equal(units[2].drive.lun, 0);
	remove_drive(rig, "drive1");
	assert_int_equal(units[1].state, VM_UNIT_FREE);
	assert_int_equal(add(rig, "a.raw", ",lun=63,ro"), 1);
	assert_int_equal(units[1].drive.lun, 63);
	remove_drive(rig, "drive0");
	assert_int_equal(guest_counts(rig), 1);
	assert_int_equal(add(rig, "first.raw", ""), 0);
	assert_int_equal(units[0].drive.lun, 0);
	assert_int_equal(guest_counts(rig), 2);
	assert_true(rig->rescans >= 1);
}

static void what_cannot_be_is_refused_in_words(void **state)
{
	struct rig *rig = *state;

	refuses(rig, "drive-add", "", -LIS_INVALID, "it begins with the path");
	refuses(rig, "drive-add", "/x,lum=1", -LIS_INVALID, "there are type=, format=");
	refuses_file(rig, "none.raw", "", -LIS_NOTFOUND, "none.raw: cannot be opened: No such file");
	refuses_file(rig, "a.raw", ",format=vhdx", -LIS_FORMAT, "a.raw: ");
	refuses_file(rig, "first.raw", "", -LIS_BUSY, "first.raw: is the image of drive0");
	refuses_file(rig, "first.raw", ",ro", -LIS_BUSY, "first.raw: is the image of drive0");
	refuses_file(rig, "a.raw", ",controller=2", -LIS_NOTFOUND, "there is no controller 2, only 2 of them");
	refuses_file(rig, "a.raw", ",lun=0", -LIS_BUSY, "lun 0 of controller 0 is taken");
	refuses(rig, "drive-remove", "drive1", -LIS_NOTFOUND, "no drive 'drive1'");
	refuses(rig, "drive-remove", "", -LIS_NOTFOUND, "no drive ''");
	/* What failed left nothing behind. */
	assert_int_equal(add(rig, "a.raw", ""), 1);
	assert_int_equal(rig->base.vm->units[1].drive.lun, 1);
}

/* A medium goes in and out, by the host's wish. */
static void media_come_and_go(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[1];
	struct vm_rig_call call;
	char path[128];

	path_of(rig, "a.raw", path);
	assert_int_equal(add(rig, "a.raw", ",type=cd"), 1);
	assert_int_equal(guest_counts(rig), 2);
	vm_rig_begin(&rig->base, &call, "drive-insert", "drive", "drive1", "path", path);
	assert_int_equal(vm_rig_finish(&rig->base, &call), -LIS_BUSY);
	assert_non_null(strstr(call.error, "a.raw in it"));
	refuses(rig, "drive-eject", "drive0", -LIS_INVALID, "drive0 is no CD drive");
	vm_rig_begin(&rig->base, &call, "drive-eject", "drive", "drive1", NULL, NULL);
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	assert_null(unit->image);
	refuses(rig, "drive-eject", "drive1", -LIS_NOTFOUND, "drive1 is empty");
	vm_rig_begin(&rig->base, &call, "drive-insert", "drive", "drive1", "path", "/nowhere.iso");
	assert_int_equal(vm_rig_finish(&rig->base, &call), -LIS_NOTFOUND);
	assert_non_null(strstr(call.error, "/nowhere.iso"));
	for (int i = 0; i < 3; i++) {
		vm_rig_begin(&rig->base, &call, "drive-insert", "drive", "drive1", "path", path);
		assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
		json_object_put(call.result);
		assert_non_null(unit->image);
		vm_rig_begin(&rig->base, &call, "drive-eject", "drive", "drive1", NULL, NULL);
		assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
		json_object_put(call.result);
	}
	remove_drive(rig, "drive1");
	assert_int_equal(guest_counts(rig), 1);
}

static void a_controller_is_full_with_64(void **state)
{
	struct rig *rig = *state;

	for (int i = 1; i < 64; i++)
		assert_int_equal(add(rig, "a.raw", ",ro"), i);
	assert_int_equal(guest_counts(rig), 64);
	refuses_file(rig, "a.raw", ",ro", -LIS_FULL, "controller 0 has 64 drives already");
	assert_int_equal(add(rig, "a.raw", ",ro,controller=1"), 64);
	remove_drive(rig, "drive40");
	assert_int_equal(add(rig, "a.raw", ",ro"), 40);
	assert_int_equal(rig->base.vm->units[40].drive.lun, 40);
}

static void drives_come_and_go_under_load(void **state)
{
	struct rig *rig = *state;
	char name[16];

	guest_works(rig, 0, 100);
	for (int i = 0; i < 20; i++) {
		uint8_t lun = (uint8_t)(1 + i % 3);
		const char *image = i % 2 ? "a.raw" : "b.raw";

		memset(rig->seeds[lun], 0, sizeof(rig->seeds[lun]));
		snprintf(name, sizeof(name), ",lun=%u", lun);
		assert_int_equal(add(rig, image, name), 1);
		guest_works(rig, lun, 200);
		/* Commands are on their way, and keep coming. */
		remove_drive(rig, "drive1");
		image_holds(rig, image, lun);
		while (!rig->absent[lun])
			pump_guest(&rig->base);
		guest_rests(rig);
		rig->absent[lun] = 0;
		drop_image(rig, image);
		make_image(rig, image);
		guest_works(rig, 0, 1);
	}
	guest_rests(rig);
	assert_int_equal(rig->absent[0], 0);
	remove_drive(rig, "drive0");
	image_holds(rig, "first.raw", 0);
}

static void a_drive_on_its_way_is_busy(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[0];
	struct vm_rig_call call;

	/* Its command is with the I/O loop, which does not come to it. */
	rig->uses[0] = true;
	guest_runs(rig);
	io_loop_turn(rig->base.vm->io_loops[0], false);
	vm_rig_begin(&rig->base, &call, "drive-remove", "drive", "drive0", NULL, NULL);
	while (unit->state == VM_UNIT_ON)
		io_loop_turn(rig->base.vm->loop, false);
	assert_int_equal(unit->state, VM_UNIT_LEAVING);
	assert_non_null(unit->image);
	assert_false(atomic_load(&call.done));
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	guest_rests(rig);
	image_holds(rig, "first.raw", 0);
}

/* ---- size ---- */

static void a_disk_grows_under_load(void **state)
{
	struct rig *rig = *state;
	static const char *const images[] = { "a.raw", "c.vhdx" };

	for (uint32_t i = 0; i < 2; i++) {
		const struct vm_unit *unit = &rig->base.vm->units[1];
		uint8_t lun = (uint8_t)(1 + i);
		uint32_t rescans;

		if (i)
			make_image(rig, images[i]);
		assert_int_equal(add(rig, images[i], i ? ",lun=2" : ",lun=1"), 1);
		guest_works(rig, lun, 200);
		rescans = rig->rescans;
		rig->attentions = 0;
		json_object_put(call(rig, "drive-resize", "drive1", "size", "+3M"));
		guest_works(rig, lun, 100);
		assert_true(live_device(unit->live)->geometry.size_bytes == DISK_BYTES + (3u << 20));
		/* It is told, once, and asked to look. */
		assert_int_equal(rig->attentions, 1);
		assert_int_equal(rig->sense, SCSI_SENSE_CAPACITY_CHANGED);
		assert_true(rig->rescans > rescans);
		json_object_put(call(rig, "drive-resize", "drive1", "size", "4M")); /* it is */
		guest_rests(rig);
		remove_drive(rig, "drive1");
		image_holds(rig, images[i], lun);
	}
	drop_image(rig, "c.vhdx");
}

static void a_size_that_cannot_be_leaves_all_as_it_was(void **state)
{
	struct rig *rig = *state;

	guest_works(rig, 0, 50);
	refuses_with(rig, "drive-resize", "drive0", "size", "100K", -LIS_REFUSED, "--shrink");
	refuses_with(rig, "drive-resize", "drive0", "size", "much", -LIS_INVALID, "size 'much'");
	refuses_with(rig, "drive-resize", "drive1", "size", "2M", -LIS_NOTFOUND, "no drive 'drive1'");
	assert_int_equal(add(rig, "a.raw", ",ro"), 1);
	refuses_with(rig, "drive-resize", "drive1", "size", "2M", -LIS_READONLY, "for reading only");
	guest_works(rig, 0, 50);
	guest_rests(rig);
	assert_int_equal(rig->attentions, 0);
	remove_drive(rig, "drive0");
	image_holds(rig, "first.raw", 0);
}

/* ---- checkpoints ---- */

/* The guest knows it by @lun. */
static void add_vhdx(struct rig *rig, const char *name, const char *options, uint8_t lun)
{
	make_image(rig, name);
	add(rig, name, options);
	guest_works(rig, lun, 200);
}

/* A checkpoint with a child of that name. */
static void checkpoint(struct rig *rig, const char *drive, const char *child)
{
	char path[128];

	path_of(rig, child, path);
	json_object_put(call(rig, "drive-checkpoint", drive, "child", path));
}

static void a_checkpoint_keeps_what_was_and_what_comes(void **state)
{
	struct rig *rig = *state;
	static uint64_t before[BLOCKS];
	const struct vm_unit *unit = &rig->base.vm->units[1];

	add_vhdx(rig, "c.vhdx", "", 1);
	guest_rests(rig);
	memcpy(before, rig->seeds[1], sizeof(before));
	checkpoint(rig, "drive1", "c1.avhdx");
	assert_non_null(strstr(unit->drive.path, "c1.avhdx"));
	assert_non_null(live_behind(unit->live)->parent);
	/* More of them, and under load. */
	for (int i = 2; i < 5; i++) {
		char child[16];

		guest_works(rig, 1, 300);
		snprintf(child, sizeof(child), "c%d.avhdx", i);
		checkpoint(rig, "drive1", child);
	}
	guest_works(rig, 1, 300);
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c4.avhdx", 1);
	memcpy(rig->seeds[1], before, sizeof(before));
	for (int i = 1; i < 5; i++) {
		char child[16];

		snprintf(child, sizeof(child), "c%d.avhdx", i);
		drop_image(rig, child);
	}
	image_holds(rig, "c.vhdx", 1);
	drop_image(rig, "c.vhdx");
}

/* A parent whose requests get stuck when it has been flushed once, which is before the pause. */
static struct {
	const struct block_driver *real;
	struct block_device *device;
	struct block_request *stuck;
	uint32_t flushes;
} slow;

static void slow_submit(struct block_device *device, struct block_request *request)
{
	if (slow.flushes) {
		request->next = slow.stuck;
		slow.stuck = request;
		return;
	}
	slow.flushes += request->op == BLOCK_FLUSH;
	slow.real->submit(device, request);
}

static int slow_close(struct block_device *device)
{
	return slow.real->close(device);
}

static void slow_goes_on(void)
{
	slow.device->driver = slow.real;
	while (slow.stuck) {
		struct block_request *request = slow.stuck;

		slow.stuck = request->next;
		slow.real->submit(slow.device, request);
	}
}

/* Its pause is bounded because it is none of the disk's. */
static void a_checkpoint_waits_for_nothing_of_the_disk(void **state)
{
	struct rig *rig = *state;
	const struct vm_unit *unit = &rig->base.vm->units[1];
	struct block_driver driver = { .submit = slow_submit, .close = slow_close };
	struct vm_rig_call call;
	char path[128];

	add_vhdx(rig, "c.vhdx", "", 1);
	rig->uses[1] = true;
	slow.real = live_behind(unit->live)->driver;
	slow.device = live_behind(unit->live);
	slow.flushes = 0;
	driver.name = slow.real->name;
	slow.device->driver = &driver;
	path_of(rig, "c1.avhdx", path);
	vm_rig_begin(&rig->base, &call, "drive-checkpoint", "drive", "drive1", "child", path);
	/* All that it had under way is stuck by now, and the drive is on its child. */
	while (live_behind(unit->live) == slow.device || !slow.stuck)
		pump_guest(&rig->base);
	assert_false(atomic_load(&call.done));
	slow_goes_on();
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	guest_works(rig, 1, 100);
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c1.avhdx", 1);
	drop_image(rig, "c1.avhdx");
	drop_image(rig, "c.vhdx");
}

static void all_drives_are_kept_at_one_instant(void **state)
{
	struct rig *rig = *state;
	static uint64_t before[2][BLOCKS];
	struct json_object *result;

	remove_drive(rig, "drive0");
	add_vhdx(rig, "c.vhdx", ",lun=1", 1);
	add_vhdx(rig, "d.vhdx", ",lun=2", 2);
	assert_int_equal(add(rig, "a.raw", ",lun=3,ro"), 2);
	guest_rests(rig);
	memcpy(before, rig->seeds[1], sizeof(before));
	result = call(rig, "drive-checkpoint", "", NULL, NULL);
	assert_int_equal(json_count(result, "checkpoints"), 2);
	guest_works(rig, 1, 200);
	guest_works(rig, 2, 200);
	guest_rests(rig);
	remove_drive(rig, "drive0");
	remove_drive(rig, "drive1");
	for (uint8_t i = 0; i < 2; i++) {
		const char *path = json_text(json_item(result, "checkpoints", i), "path", "");
		const char *name = strrchr(path, '/') + 1;

		assert_int_equal(strlen(name), strlen("c_20260101-000000.avhdx"));
		image_holds(rig, name, 1 + i);
		drop_image(rig, name);
		memcpy(rig->seeds[1 + i], before[i], sizeof(before[i]));
		image_holds(rig, i ? "d.vhdx" : "c.vhdx", 1 + i);
		drop_image(rig, i ? "d.vhdx" : "c.vhdx");
	}
	json_object_put(result);
}

static void a_checkpoint_that_cannot_be_leaves_all_as_it_was(void **state)
{
	struct rig *rig = *state;
	char path[128];

	refuses(rig, "drive-checkpoint", "drive0", -LIS_UNSUPPORTED, "drive0 is raw, which has no checkpoints");
	refuses(rig, "drive-checkpoint", "drive9", -LIS_NOTFOUND, "no drive 'drive9'");
	add_vhdx(rig, "c.vhdx", "", 1);
	/* All or none. */
	refuses(rig, "drive-checkpoint", "", -LIS_UNSUPPORTED, "drive0 is raw");
	assert_null(rig->base.vm->units[0].doing);
	path_of(rig, "a.raw", path);
	refuses_with(rig, "drive-checkpoint", "drive1", "child", path, -LIS_REFUSED, "a.raw: ");
	path_of(rig, "none/c1.avhdx", path);
	refuses_with(rig, "drive-checkpoint", "drive1", "child", path, -LIS_NOTFOUND, "none/c1.avhdx: ");
	assert_int_equal(add(rig, "b.raw", ",ro"), 2);
	refuses(rig, "drive-checkpoint", "drive2", -LIS_READONLY, "drive2 is read-only");
	guest_works(rig, 1, 100);
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c.vhdx", 1);
	drop_image(rig, "c.vhdx");
}

/* ---- merging ---- */

static void merge(struct rig *rig, const char *drive, const char *into)
{
	struct json_object *result = call(rig, "drive-merge", drive, NULL, NULL);
	char path[128];

	path_of(rig, into, path);
	assert_string_equal(json_text(result, "path", ""), path);
	json_object_put(result);
}

static bool is_there(const struct rig *rig, const char *name)
{
	char path[128];

	path_of(rig, name, path);
	return access(path, F_OK) == 0;
}

static void what_checkpoints_put_in_between_goes_again_under_load(void **state)
{
	struct rig *rig = *state;
	const struct vm_unit *unit = &rig->base.vm->units[1];

	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	guest_works(rig, 1, 200);
	checkpoint(rig, "drive1", "c2.avhdx");
	guest_works(rig, 1, 200);
	/* What the VM has made itself. */
	merge(rig, "drive1", "c1.avhdx");
	assert_false(is_there(rig, "c2.avhdx"));
	guest_works(rig, 1, 200);
	assert_null(unit->doing);
	/* What it got so: the parent is open for reading only. */
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c1.avhdx", 1);
	assert_int_equal(add(rig, "c1.avhdx", ""), 1);
	assert_true(live_behind(unit->live)->parent->geometry.read_only);
	guest_works(rig, 1, 200);
	merge(rig, "drive1", "c.vhdx");
	assert_false(is_there(rig, "c1.avhdx"));
	assert_null(live_behind(unit->live)->parent);
	assert_non_null(strstr(unit->drive.path, "c.vhdx"));
	guest_works(rig, 1, 200);
	refuses(rig, "drive-merge", "drive1", -LIS_INVALID, "it has no parent");
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c.vhdx", 1);
	drop_image(rig, "c.vhdx");
}

static void a_merge_that_cannot_be_leaves_all_as_it_was(void **state)
{
	const struct block_open_options read_only = { .read_only = true };
	struct rig *rig = *state;
	struct block_device *other;
	char path[128], error[BLOCK_ERROR_BYTES];

	refuses(rig, "drive-merge", "drive0", -LIS_INVALID, "first.raw is not a differencing image");
	refuses(rig, "drive-merge", "drive7", -LIS_NOTFOUND, "no drive 'drive7'");
	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	guest_works(rig, 1, 100);
	guest_rests(rig);
	remove_drive(rig, "drive1");
	assert_int_equal(add(rig, "c1.avhdx", ""), 1);
	guest_works(rig, 1, 100);
	/* Another child of the same parent is in use. */
	path_of(rig, "c.vhdx", path);
	assert_int_equal(block_open(path, &read_only, &other, error), 0);
	refuses(rig, "drive-merge", "drive1", -LIS_BUSY, "c.vhdx: is in use");
	guest_works(rig, 1, 100);
	/* And this one keeps others from writing to it still. */
	assert_int_equal(block_close(other), 0);
	assert_int_equal(block_open(path, NULL, &other, error), -LIS_BUSY);
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c1.avhdx", 1);
	drop_image(rig, "c1.avhdx");
	drop_image(rig, "c.vhdx");
}

/* Begins one and cancels it, by @cancel, before anything is copied. */
static void cancel_merge(struct rig *rig, struct vm_rig_call *call, void (*cancel)(struct rig *rig))
{
	struct vm_unit *unit = &rig->base.vm->units[1];

	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	guest_works(rig, 1, 200);
	vm_rig_begin(&rig->base, call, "drive-merge", "drive", "drive1", NULL, NULL);
	while (!unit->merge)
		io_loop_turn(rig->base.vm->loop, false);
	cancel(rig);
}

static void live_cancel(struct rig *rig)
{
	live_merge_cancel(rig->base.vm->units[1].merge);
}

static void a_canceled_merge_can_be_run_again(void **state)
{
	struct rig *rig = *state;
	struct vm_rig_call call;

	cancel_merge(rig, &call, live_cancel);
	assert_int_equal(vm_rig_finish(&rig->base, &call), -LIS_CANCELED);
	assert_non_null(strstr(call.error, "can be run again"));
	guest_works(rig, 1, 100);
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c1.avhdx", 1);
	assert_int_equal(add(rig, "c1.avhdx", ""), 1);
	guest_works(rig, 1, 100);
	merge(rig, "drive1", "c.vhdx");
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c.vhdx", 1);
	drop_image(rig, "c.vhdx");
}

static _Atomic bool asked;

/* Asks for a merge and goes away before it is answered, as by Ctrl-C. Returns NULL where that did not work. */
static void *ask_and_leave(void *arg)
{
	struct rig *rig = arg;
	char path[64], error[CONTROL_CLIENT_ERROR_BYTES];
	struct json_object *arguments = json_object_new_object();
	struct control_client *client;

	snprintf(path, sizeof(path), "%s/vm.sock", rig->base.folder);
	json_object_object_add(arguments, "drive", json_object_new_string("drive1"));
	if (control_client_open(path, 60000, &client, error)) {
		json_object_put(arguments);
		arg = NULL;
	} else if (control_client_call(client, "drive-merge", arguments, 100, NULL, error) == -LIS_TIMEOUT) {
		control_client_close(client);
	} else {
		arg = NULL;
	}
	atomic_store(&asked, true);
	return arg;
}

static void a_merge_that_nobody_waits_for_is_canceled(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[1];
	struct block_driver driver = { .submit = slow_submit, .close = slow_close };
	struct io_loop *loop = rig->base.vm->loop;
	pthread_t thread;
	uint64_t then_ns;
	void *left;

	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	guest_works(rig, 1, 200);
	guest_rests(rig);
	/* It does not get beyond the parent's first flush. */
	slow.device = live_behind(unit->live)->parent;
	slow.real = slow.device->driver;
	slow.flushes = 1;
	driver.name = slow.real->name;
	slow.device->driver = &driver;
	atomic_store(&asked, false);
	assert_int_equal(pthread_create(&thread, NULL, ask_and_leave, rig), 0);
	while (!atomic_load(&asked))
		pump_guest(&rig->base);
	pthread_join(thread, &left);
	assert_non_null(left);
	/* It looks five times in a second. */
	then_ns = io_loop_now_ns(loop) + 1000000000;
	while (io_loop_now_ns(loop) < then_ns)
		pump_guest(&rig->base);
	assert_non_null(unit->merge);
	slow_goes_on();
	while (unit->merge)
		pump_guest(&rig->base);
	assert_null(unit->doing);
	assert_non_null(live_behind(unit->live)->parent);
	guest_works(rig, 1, 100);
	merge(rig, "drive1", "c.vhdx");
	guest_rests(rig);
	remove_drive(rig, "drive1");
	image_holds(rig, "c.vhdx", 1);
	drop_image(rig, "c.vhdx");
}

static void end_with_images(struct rig *rig)
{
	drop_image(rig, "c.vhdx");
	drop_image(rig, "c1.avhdx");
	end_vm(rig);
}

static void the_vm_may_end_during_a_merge(void **state)
{
	struct vm_rig_call call;

	cancel_merge(*state, &call, end_with_images);
	pthread_join(call.thread, NULL);
	assert_true(call.err == -LIS_CANCELED || call.err == -LIS_GONE);
}

/* ---- what happens at the same time ---- */

static void a_drive_that_is_changed_is_busy(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[0];
	struct vm_rig_call change, other;

	guest_works(rig, 0, 50);
	vm_rig_begin(&rig->base, &change, "drive-resize", "drive", "drive0", "size", "2M");
	while (!unit->doing)
		io_loop_turn(rig->base.vm->loop, false);
	/* The I/O loop does not come to its gate. */
	vm_rig_begin(&rig->base, &other, "drive-remove", "drive", "drive0", NULL, NULL);
	while (!atomic_load(&other.done))
		io_loop_turn(rig->base.vm->loop, false);
	assert_int_equal(vm_rig_finish(&rig->base, &other), -LIS_BUSY);
	assert_string_equal(other.error, "drive0 is being resized");
	assert_int_equal(vm_rig_finish(&rig->base, &change), 0);
	json_object_put(change.result);
	guest_rests(rig);
}

/* @command is under way; its client hears of it or of the end, and nobody waits for ever. */
static void ends_during(struct rig *rig, const char *command, const char *drive, uint32_t number,
			enum vm_unit_state before)
{
	struct vm_rig_call call;

	guest_works(rig, 0, 50);
	vm_rig_begin(&rig->base, &call, command, "drive", drive, NULL, NULL);
	while (rig->base.vm->units[number].state == before)
		io_loop_turn(rig->base.vm->loop, false);
	end_vm(rig);
	pthread_join(call.thread, NULL);
	assert_true(call.err == 0 || call.err == -LIS_GONE);
	if (!call.err)
		json_object_put(call.result);
}

static void the_vm_may_end_during_an_addition(void **state)
{
	char path[128];

	path_of(*state, "a.raw", path);
	ends_during(*state, "drive-add", path, 1, VM_UNIT_FREE);
}

static void the_vm_may_end_during_a_removal(void **state)
{
	ends_during(*state, "drive-remove", "drive0", 0, VM_UNIT_ON);
}

static void the_vm_may_end_during_a_change(void **state)
{
	struct rig *rig = *state;
	struct vm_rig_call change;

	guest_works(rig, 0, 50);
	vm_rig_begin(&rig->base, &change, "drive-resize", "drive", "drive0", "size", "2M");
	while (!rig->base.vm->units[0].doing)
		io_loop_turn(rig->base.vm->loop, false);
	end_vm(rig);
	pthread_join(change.thread, NULL);
	assert_true(change.err == 0 || change.err == -LIS_GONE);
	if (!change.err)
		json_object_put(change.result);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_drive_keeps_its_number_and_its_place),
		TEST(what_cannot_be_is_refused_in_words),
		TEST(media_come_and_go),
		TEST(a_controller_is_full_with_64),
		TEST(drives_come_and_go_under_load),
		TEST(a_drive_on_its_way_is_busy),
		TEST(a_disk_grows_under_load),
		TEST(a_size_that_cannot_be_leaves_all_as_it_was),
		TEST(a_checkpoint_keeps_what_was_and_what_comes),
		TEST(a_checkpoint_waits_for_nothing_of_the_disk),
		TEST(all_drives_are_kept_at_one_instant),
		TEST(a_checkpoint_that_cannot_be_leaves_all_as_it_was),
		TEST(what_checkpoints_put_in_between_goes_again_under_load),
		TEST(a_merge_that_cannot_be_leaves_all_as_it_was),
		TEST(a_canceled_merge_can_be_run_again),
		TEST(a_merge_that_nobody_waits_for_is_canceled),
		TEST(the_vm_may_end_during_a_merge),
		TEST(a_drive_that_is_changed_is_busy),
		TEST(the_vm_may_end_during_an_addition),
		TEST(the_vm_may_end_during_a_removal),
		TEST(the_vm_may_end_during_a_change),
	};

	return cmocka_run_group_tests_name("drives", tests, NULL, NULL);
}
