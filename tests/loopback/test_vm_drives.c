// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Drives of a VM that come, go and grow while it runs. */
#include "tests/loopback/drive_rig.h"

static void a_drive_keeps_its_number_and_its_place(void **state)
{
	struct rig *rig = *state;
	const struct vm_unit *units = rig->base.vm->units;

	assert_int_equal(rig_add(rig, "a.raw", ""), 1);
	assert_int_equal(units[1].drive.lun, 1);
	assert_int_equal(rig_add(rig, "b.raw", ",controller=1"), 2);
	assert_int_equal(units[2].drive.controller, 1);
	assert_int_equal(units[2].drive.lun, 0);
	rig_remove(rig, "drive1");
	assert_int_equal(units[1].state, VM_UNIT_FREE);
	assert_int_equal(rig_add(rig, "a.raw", ",lun=63,ro"), 1);
	assert_int_equal(units[1].drive.lun, 63);
	rig_remove(rig, "drive0");
	assert_int_equal(rig_guest_counts(rig), 1);
	assert_int_equal(rig_add(rig, "first.raw", ""), 0);
	assert_int_equal(units[0].drive.lun, 0);
	assert_int_equal(rig_guest_counts(rig), 2);
	assert_true(rig->rescans >= 1);
}

static void what_cannot_be_is_refused_in_words(void **state)
{
	struct rig *rig = *state;

	rig_refuses(rig, "drive-add", "", -LIS_INVALID, "it begins with the path");
	rig_refuses(rig, "drive-add", "/x,lum=1", -LIS_INVALID, "there are type=, format=");
	rig_refuses_file(rig, "none.raw", "", -LIS_NOTFOUND, "none.raw: cannot be opened: No such file");
	rig_refuses_file(rig, "a.raw", ",format=vhdx", -LIS_FORMAT, "a.raw: ");
	rig_refuses_file(rig, "first.raw", "", -LIS_BUSY, "first.raw: is the image of drive0");
	rig_refuses_file(rig, "first.raw", ",ro", -LIS_BUSY, "first.raw: is the image of drive0");
	rig_refuses_file(rig, "a.raw", ",controller=2", -LIS_NOTFOUND, "there is no controller 2, only 2 of them");
	rig_refuses_file(rig, "a.raw", ",lun=0", -LIS_BUSY, "lun 0 of controller 0 is taken");
	rig_refuses(rig, "drive-remove", "drive1", -LIS_NOTFOUND, "no drive 'drive1'");
	rig_refuses(rig, "drive-remove", "", -LIS_NOTFOUND, "no drive ''");
	/* What failed left nothing behind. */
	assert_int_equal(rig_add(rig, "a.raw", ""), 1);
	assert_int_equal(rig->base.vm->units[1].drive.lun, 1);
}

/* A medium goes in and out, by the host's wish. */
static void media_come_and_go(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[1];
	struct vm_rig_call call;
	char path[128];

	rig_path_of(rig, "a.raw", path);
	assert_int_equal(rig_add(rig, "a.raw", ",type=cd"), 1);
	assert_int_equal(rig_guest_counts(rig), 2);
	vm_rig_begin(&rig->base, &call, "drive-insert", "drive", "drive1", "path", path);
	assert_int_equal(vm_rig_finish(&rig->base, &call), -LIS_BUSY);
	assert_non_null(strstr(call.error, "a.raw in it"));
	rig_refuses(rig, "drive-eject", "drive0", -LIS_INVALID, "drive0 is no CD drive");
	vm_rig_begin(&rig->base, &call, "drive-eject", "drive", "drive1", NULL, NULL);
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	assert_null(unit->image);
	rig_refuses(rig, "drive-eject", "drive1", -LIS_NOTFOUND, "drive1 is empty");
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
	rig_remove(rig, "drive1");
	assert_int_equal(rig_guest_counts(rig), 1);
}

static void a_controller_is_full_with_64(void **state)
{
	struct rig *rig = *state;

	for (int i = 1; i < 64; i++)
		assert_int_equal(rig_add(rig, "a.raw", ",ro"), i);
	assert_int_equal(rig_guest_counts(rig), 64);
	rig_refuses_file(rig, "a.raw", ",ro", -LIS_FULL, "controller 0 has 64 drives already");
	assert_int_equal(rig_add(rig, "a.raw", ",ro,controller=1"), 64);
	rig_remove(rig, "drive40");
	assert_int_equal(rig_add(rig, "a.raw", ",ro"), 40);
	assert_int_equal(rig->base.vm->units[40].drive.lun, 40);
}

static void drives_come_and_go_under_load(void **state)
{
	struct rig *rig = *state;
	char name[16];

	rig_guest_works(rig, 0, 100);
	for (int i = 0; i < 20; i++) {
		uint8_t lun = (uint8_t)(1 + i % 3);
		const char *image = i % 2 ? "a.raw" : "b.raw";

		memset(rig->seeds[lun], 0, sizeof(rig->seeds[lun]));
		snprintf(name, sizeof(name), ",lun=%u", lun);
		assert_int_equal(rig_add(rig, image, name), 1);
		rig_guest_works(rig, lun, 200);
		/* Commands are on their way, and keep coming. */
		rig_remove(rig, "drive1");
		rig_image_holds(rig, image, lun);
		while (!rig->absent[lun])
			rig_pump(&rig->base);
		rig_guest_rests(rig);
		rig->absent[lun] = 0;
		rig_drop_image(rig, image);
		rig_make_image(rig, image);
		rig_guest_works(rig, 0, 1);
	}
	rig_guest_rests(rig);
	assert_int_equal(rig->absent[0], 0);
	rig_remove(rig, "drive0");
	rig_image_holds(rig, "first.raw", 0);
}

static void a_drive_on_its_way_is_busy(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[0];
	struct vm_rig_call call;

	/* Its command is with the I/O loop, which does not come to it. */
	rig->uses[0] = true;
	rig_guest_runs(rig);
	io_loop_turn(rig->base.vm->io_loops[0], false);
	vm_rig_begin(&rig->base, &call, "drive-remove", "drive", "drive0", NULL, NULL);
	while (unit->state == VM_UNIT_ON)
		io_loop_turn(rig->base.vm->loop, false);
	assert_int_equal(unit->state, VM_UNIT_LEAVING);
	assert_non_null(unit->image);
	assert_false(atomic_load(&call.done));
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	rig_guest_rests(rig);
	rig_image_holds(rig, "first.raw", 0);
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
			rig_make_image(rig, images[i]);
		assert_int_equal(rig_add(rig, images[i], i ? ",lun=2" : ",lun=1"), 1);
		rig_guest_works(rig, lun, 200);
		rescans = rig->rescans;
		rig->attentions = 0;
		json_object_put(rig_call(rig, "drive-resize", "drive1", "size", "+3M"));
		rig_guest_works(rig, lun, 100);
		assert_true(live_device(unit->live)->geometry.size_bytes == DISK_BYTES + (3u << 20));
		/* It is told, once, and asked to look. */
		assert_int_equal(rig->attentions, 1);
		assert_int_equal(rig->sense, SCSI_SENSE_CAPACITY_CHANGED);
		assert_true(rig->rescans > rescans);
		json_object_put(rig_call(rig, "drive-resize", "drive1", "size", "4M")); /* it is */
		rig_guest_rests(rig);
		rig_remove(rig, "drive1");
		rig_image_holds(rig, images[i], lun);
	}
	rig_drop_image(rig, "c.vhdx");
}

static void a_size_that_cannot_be_leaves_all_as_it_was(void **state)
{
	struct rig *rig = *state;

	rig_guest_works(rig, 0, 50);
	rig_refuses_with(rig, "drive-resize", "drive0", "size", "100K", -LIS_REFUSED, "--shrink");
	rig_refuses_with(rig, "drive-resize", "drive0", "size", "much", -LIS_INVALID, "size 'much'");
	rig_refuses_with(rig, "drive-resize", "drive1", "size", "2M", -LIS_NOTFOUND, "no drive 'drive1'");
	assert_int_equal(rig_add(rig, "a.raw", ",ro"), 1);
	rig_refuses_with(rig, "drive-resize", "drive1", "size", "2M", -LIS_READONLY, "for reading only");
	rig_guest_works(rig, 0, 50);
	rig_guest_rests(rig);
	assert_int_equal(rig->attentions, 0);
	rig_remove(rig, "drive0");
	rig_image_holds(rig, "first.raw", 0);
}

/* ---- what happens at the same time ---- */

static void a_drive_that_is_changed_is_busy(void **state)
{
	struct rig *rig = *state;
	struct vm_unit *unit = &rig->base.vm->units[0];
	struct vm_rig_call change, other;

	rig_guest_works(rig, 0, 50);
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
	rig_guest_rests(rig);
}

/* @command is under way; its client hears of it or of the end, and nobody waits for ever. */
static void ends_during(struct rig *rig, const char *command, const char *drive, uint32_t number,
			enum vm_unit_state before)
{
	struct vm_rig_call call;

	rig_guest_works(rig, 0, 50);
	vm_rig_begin(&rig->base, &call, command, "drive", drive, NULL, NULL);
	while (rig->base.vm->units[number].state == before)
		io_loop_turn(rig->base.vm->loop, false);
	rig_end(rig);
	pthread_join(call.thread, NULL);
	assert_true(call.err == 0 || call.err == -LIS_GONE);
	if (!call.err)
		json_object_put(call.result);
}

static void the_vm_may_end_during_an_addition(void **state)
{
	char path[128];

	rig_path_of(*state, "a.raw", path);
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

	rig_guest_works(rig, 0, 50);
	vm_rig_begin(&rig->base, &change, "drive-resize", "drive", "drive0", "size", "2M");
	while (!rig->base.vm->units[0].doing)
		io_loop_turn(rig->base.vm->loop, false);
	rig_end(rig);
	pthread_join(change.thread, NULL);
	assert_true(change.err == 0 || change.err == -LIS_GONE);
	if (!change.err)
		json_object_put(change.result);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_drive_keeps_its_number_and_its_place),
		TEST(what_cannot_be_is_refused_in_words),
		TEST(media_come_and_go),
		TEST(a_controller_is_full_with_64),
		TEST(drives_come_and_go_under_load),
		TEST(a_drive_on_its_way_is_busy),
		TEST(a_disk_grows_under_load),
		TEST(a_size_that_cannot_be_leaves_all_as_it_was),
		TEST(a_drive_that_is_changed_is_busy),
		TEST(the_vm_may_end_during_an_addition),
		TEST(the_vm_may_end_during_a_removal),
		TEST(the_vm_may_end_during_a_change),
	};

	return cmocka_run_group_tests_name("drives", tests, NULL, NULL);
}
