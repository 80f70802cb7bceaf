// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Checkpoints of a running VM's drives, and merging what they put in between. */
#include "tests/loopback/drive_rig.h"

/* ---- checkpoints ---- */

/* The guest knows it by @lun. */
static void add_vhdx(struct rig *rig, const char *name, const char *options, uint8_t lun)
{
	rig_make_image(rig, name);
	rig_add(rig, name, options);
	rig_guest_works(rig, lun, 200);
}

/* A checkpoint with a child of that name. */
static void checkpoint(struct rig *rig, const char *drive, const char *child)
{
	char path[128];

	rig_path_of(rig, child, path);
	json_object_put(rig_call(rig, "drive-checkpoint", drive, "child", path));
}

static void a_checkpoint_keeps_what_was_and_what_comes(void **state)
{
	struct rig *rig = *state;
	static uint64_t before[BLOCKS];
	const struct vm_unit *unit = &rig->base.vm->units[1];

	add_vhdx(rig, "c.vhdx", "", 1);
	rig_guest_rests(rig);
	memcpy(before, rig->seeds[1], sizeof(before));
	checkpoint(rig, "drive1", "c1.avhdx");
	assert_non_null(strstr(unit->drive.path, "c1.avhdx"));
	assert_non_null(live_behind(unit->live)->parent);
	/* More of them, and under load. */
	for (int i = 2; i < 5; i++) {
		char child[16];

		rig_guest_works(rig, 1, 300);
		snprintf(child, sizeof(child), "c%d.avhdx", i);
		checkpoint(rig, "drive1", child);
	}
	rig_guest_works(rig, 1, 300);
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c4.avhdx", 1);
	memcpy(rig->seeds[1], before, sizeof(before));
	for (int i = 1; i < 5; i++) {
		char child[16];

		snprintf(child, sizeof(child), "c%d.avhdx", i);
		rig_drop_image(rig, child);
	}
	rig_image_holds(rig, "c.vhdx", 1);
	rig_drop_image(rig, "c.vhdx");
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
	rig_path_of(rig, "c1.avhdx", path);
	vm_rig_begin(&rig->base, &call, "drive-checkpoint", "drive", "drive1", "child", path);
	/* All that it had under way is stuck by now, and the drive is on its child. */
	while (live_behind(unit->live) == slow.device || !slow.stuck)
		rig_pump(&rig->base);
	assert_false(atomic_load(&call.done));
	slow_goes_on();
	assert_int_equal(vm_rig_finish(&rig->base, &call), 0);
	json_object_put(call.result);
	rig_guest_works(rig, 1, 100);
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c1.avhdx", 1);
	rig_drop_image(rig, "c1.avhdx");
	rig_drop_image(rig, "c.vhdx");
}

static void all_drives_are_kept_at_one_instant(void **state)
{
	struct rig *rig = *state;
	static uint64_t before[2][BLOCKS];
	struct json_object *result;

	rig_remove(rig, "drive0");
	add_vhdx(rig, "c.vhdx", ",lun=1", 1);
	add_vhdx(rig, "d.vhdx", ",lun=2", 2);
	assert_int_equal(rig_add(rig, "a.raw", ",lun=3,ro"), 2);
	rig_guest_rests(rig);
	memcpy(before, rig->seeds[1], sizeof(before));
	result = rig_call(rig, "drive-checkpoint", "", NULL, NULL);
	assert_int_equal(json_count(result, "checkpoints"), 2);
	rig_guest_works(rig, 1, 200);
	rig_guest_works(rig, 2, 200);
	rig_guest_rests(rig);
	rig_remove(rig, "drive0");
	rig_remove(rig, "drive1");
	for (uint8_t i = 0; i < 2; i++) {
		const char *path = json_text(json_item(result, "checkpoints", i), "path", "");
		const char *name = strrchr(path, '/') + 1;

		assert_int_equal(strlen(name), strlen("c_20260101-000000.avhdx"));
		rig_image_holds(rig, name, 1 + i);
		rig_drop_image(rig, name);
		memcpy(rig->seeds[1 + i], before[i], sizeof(before[i]));
		rig_image_holds(rig, i ? "d.vhdx" : "c.vhdx", 1 + i);
		rig_drop_image(rig, i ? "d.vhdx" : "c.vhdx");
	}
	json_object_put(result);
}

static void a_checkpoint_that_cannot_be_leaves_all_as_it_was(void **state)
{
	struct rig *rig = *state;
	char path[128];

	rig_refuses(rig, "drive-checkpoint", "drive0", -LIS_UNSUPPORTED,
		    "drive0 is raw, which has no checkpoints");
	rig_refuses(rig, "drive-checkpoint", "drive9", -LIS_NOTFOUND, "no drive 'drive9'");
	add_vhdx(rig, "c.vhdx", "", 1);
	/* All or none. */
	rig_refuses(rig, "drive-checkpoint", "", -LIS_UNSUPPORTED, "drive0 is raw");
	assert_null(rig->base.vm->units[0].doing);
	rig_path_of(rig, "a.raw", path);
	rig_refuses_with(rig, "drive-checkpoint", "drive1", "child", path, -LIS_REFUSED, "a.raw: ");
	rig_path_of(rig, "none/c1.avhdx", path);
	rig_refuses_with(rig, "drive-checkpoint", "drive1", "child", path, -LIS_NOTFOUND,
			 "none/c1.avhdx: ");
	assert_int_equal(rig_add(rig, "b.raw", ",ro"), 2);
	rig_refuses(rig, "drive-checkpoint", "drive2", -LIS_READONLY, "drive2 is read-only");
	rig_guest_works(rig, 1, 100);
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c.vhdx", 1);
	rig_drop_image(rig, "c.vhdx");
}

/* ---- merging ---- */

static void merge(struct rig *rig, const char *drive, const char *into)
{
	struct json_object *result = rig_call(rig, "drive-merge", drive, NULL, NULL);
	char path[128];

	rig_path_of(rig, into, path);
	assert_string_equal(json_text(result, "path", ""), path);
	json_object_put(result);
}

/* With nothing in the way drive1 becomes c.vhdx again, and that holds all. */
static void merges_in_the_end(struct rig *rig)
{
	merge(rig, "drive1", "c.vhdx");
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c.vhdx", 1);
	rig_drop_image(rig, "c.vhdx");
}

static bool is_there(const struct rig *rig, const char *name)
{
	char path[128];

	rig_path_of(rig, name, path);
	return access(path, F_OK) == 0;
}

static void what_checkpoints_put_in_between_goes_again_under_load(void **state)
{
	struct rig *rig = *state;
	const struct vm_unit *unit = &rig->base.vm->units[1];

	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	rig_guest_works(rig, 1, 200);
	checkpoint(rig, "drive1", "c2.avhdx");
	rig_guest_works(rig, 1, 200);
	/* What the VM has made itself. */
	merge(rig, "drive1", "c1.avhdx");
	assert_false(is_there(rig, "c2.avhdx"));
	rig_guest_works(rig, 1, 200);
	assert_null(unit->doing);
	/* What it got so: the parent is open for reading only. */
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c1.avhdx", 1);
	assert_int_equal(rig_add(rig, "c1.avhdx", ""), 1);
	assert_true(live_behind(unit->live)->parent->geometry.read_only);
	rig_guest_works(rig, 1, 200);
	merge(rig, "drive1", "c.vhdx");
	assert_false(is_there(rig, "c1.avhdx"));
	assert_null(live_behind(unit->live)->parent);
	assert_non_null(strstr(unit->drive.path, "c.vhdx"));
	rig_guest_works(rig, 1, 200);
	rig_refuses(rig, "drive-merge", "drive1", -LIS_INVALID, "it has no parent");
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c.vhdx", 1);
	rig_drop_image(rig, "c.vhdx");
}

static void a_merge_that_cannot_be_leaves_all_as_it_was(void **state)
{
	const struct block_open_options read_only = { .read_only = true };
	struct rig *rig = *state;
	struct block_device *other;
	char path[128], error[BLOCK_ERROR_BYTES];

	rig_refuses(rig, "drive-merge", "drive0", -LIS_INVALID,
		    "first.raw is not a differencing image");
	rig_refuses(rig, "drive-merge", "drive7", -LIS_NOTFOUND, "no drive 'drive7'");
	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	rig_guest_works(rig, 1, 100);
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	assert_int_equal(rig_add(rig, "c1.avhdx", ""), 1);
	rig_guest_works(rig, 1, 100);
	/* Another child of the same parent is in use. */
	rig_path_of(rig, "c.vhdx", path);
	assert_int_equal(block_open(path, &read_only, &other, error), 0);
	rig_refuses(rig, "drive-merge", "drive1", -LIS_BUSY, "c.vhdx: is in use");
	rig_guest_works(rig, 1, 100);
	/* And this one keeps others from writing to it still. */
	assert_int_equal(block_close(other), 0);
	assert_int_equal(block_open(path, NULL, &other, error), -LIS_BUSY);
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c1.avhdx", 1);
	rig_drop_image(rig, "c1.avhdx");
	rig_drop_image(rig, "c.vhdx");
}

/* Begins one and cancels it, by @cancel, before anything is copied. */
static void cancel_merge(struct rig *rig, struct vm_rig_call *call, void (*cancel)(struct rig *rig))
{
	struct vm_unit *unit = &rig->base.vm->units[1];

	add_vhdx(rig, "c.vhdx", "", 1);
	checkpoint(rig, "drive1", "c1.avhdx");
	rig_guest_works(rig, 1, 200);
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
	rig_guest_works(rig, 1, 100);
	rig_guest_rests(rig);
	rig_remove(rig, "drive1");
	rig_image_holds(rig, "c1.avhdx", 1);
	assert_int_equal(rig_add(rig, "c1.avhdx", ""), 1);
	rig_guest_works(rig, 1, 100);
	merges_in_the_end(rig);
}

static _Atomic bool asked;

/* Asks for a merge and goes away before it is answered, as by Ctrl-C. Returns NULL where that did
 * not work. */
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
	} else if (control_client_call(client, "drive-merge", arguments, 100, NULL, error) ==
		   -LIS_TIMEOUT) {
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
	rig_guest_works(rig, 1, 200);
	rig_guest_rests(rig);
	/* It does not get beyond the parent's first flush. */
	slow.device = live_behind(unit->live)->parent;
	slow.real = slow.device->driver;
	slow.flushes = 1;
	driver.name = slow.real->name;
	slow.device->driver = &driver;
	atomic_store(&asked, false);
	assert_int_equal(pthread_create(&thread, NULL, ask_and_leave, rig), 0);
	while (!atomic_load(&asked))
		rig_pump(&rig->base);
	pthread_join(thread, &left);
	assert_non_null(left);
	/* It looks five times in a second. */
	then_ns = io_loop_now_ns(loop) + 1000000000;
	while (io_loop_now_ns(loop) < then_ns)
		rig_pump(&rig->base);
	assert_non_null(unit->merge);
	slow_goes_on();
	while (unit->merge)
		rig_pump(&rig->base);
	assert_null(unit->doing);
	assert_non_null(live_behind(unit->live)->parent);
	rig_guest_works(rig, 1, 100);
	merges_in_the_end(rig);
}

static void end_with_images(struct rig *rig)
{
	rig_drop_image(rig, "c.vhdx");
	rig_drop_image(rig, "c1.avhdx");
	rig_end(rig);
}

static void the_vm_may_end_during_a_merge(void **state)
{
	struct vm_rig_call call;

	cancel_merge(*state, &call, end_with_images);
	pthread_join(call.thread, NULL);
	assert_true(call.err == -LIS_CANCELED || call.err == -LIS_GONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_checkpoint_keeps_what_was_and_what_comes),
		TEST(a_checkpoint_waits_for_nothing_of_the_disk),
		TEST(all_drives_are_kept_at_one_instant),
		TEST(a_checkpoint_that_cannot_be_leaves_all_as_it_was),
		TEST(what_checkpoints_put_in_between_goes_again_under_load),
		TEST(a_merge_that_cannot_be_leaves_all_as_it_was),
		TEST(a_canceled_merge_can_be_run_again),
		TEST(a_merge_that_nobody_waits_for_is_canceled),
		TEST(the_vm_may_end_during_a_merge),
	};

	return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
