/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reservations: two guests at one medium, who may what, who hears of it, and what is kept. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/scsi_reservations.h"
#include "tests/unit/storage/scsi_fixture.h"

#define KEY_A 0xaaaaull
#define KEY_B 0xbbbbull

enum { WE = 1, EA = 3, WE_RO = 5, EA_RO = 6, WE_AR = 7, EA_AR = 8 };

/* Four ways to one medium; commands go by the one that @f->unit is. One only looks. */
static struct {
	struct scsi_reservations *reservations;
	struct scsi_unit *a, *b, *c, *observer;
	char folder[64], path[96];
} world;

static void open_world(struct scsi_fixture *f, bool kept)
{
	char error[SCSI_RESERVATIONS_ERROR_BYTES];
	struct scsi_disk_config config = { .device = &f->memory.base };

	assert_int_equal(scsi_reservations_create(kept ? world.path : NULL, &world.reservations, error), 0);
	config.reservations = world.reservations;
	assert_int_equal(scsi_disk_create(&config, &world.a), 0);
	config.initiator = 2;
	assert_int_equal(scsi_disk_create(&config, &world.b), 0);
	config.initiator = 3;
	assert_int_equal(scsi_disk_create(&config, &world.c), 0);
	config.initiator = 4;
	assert_int_equal(scsi_disk_create(&config, &world.observer), 0);
	scsi_unit_destroy(f->unit);
	f->unit = NULL;
}

static void close_world(void)
{
	scsi_unit_destroy(world.a);
	scsi_unit_destroy(world.b);
	scsi_unit_destroy(world.c);
	scsi_unit_destroy(world.observer);
	scsi_reservations_destroy(world.reservations);
}

static int setup(void **state)
{
	if (scsi_setup(state))
		return -1;
	strcpy(world.folder, "/tmp/test-reservations-XXXXXX");
	if (!mkdtemp(world.folder))
		return -1;
	snprintf(world.path, sizeof(world.path), "%s/disk.reservations", world.folder);
	open_world(*state, false);
	return 0;
}

static int teardown(void **state)
{
	struct scsi_fixture *f = *state;

	f->unit = NULL;
	close_world();
	(void)unlink(world.path);
	(void)rmdir(world.folder);
	return scsi_teardown(state);
}

/* PERSISTENT RESERVE OUT by @unit. */
static void out_by(struct scsi_fixture *f, struct scsi_unit *unit, uint8_t action, uint8_t type, uint64_t key,
		   uint64_t action_key, uint8_t flags)
{
	f->unit = unit;
	memset(f->data, 0, 24);
	put_be(f->data, key, 8);
	put_be(f->data + 8, action_key, 8);
	f->data[20] = flags;
	start(f, CDB(0x5f, action, type, 0, 0, 0, 0, 0, 24, 0), SCSI_DATA_OUT, 24);
	assert_int_equal(f->done, 1);
}

static void register_ab(struct scsi_fixture *f)
{
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0);
	assert_good(f, 24);
	out_by(f, world.b, SCSI_REGISTER, 0, 0, KEY_B, 0);
	assert_good(f, 24);
}

static void reserve_by_a(struct scsi_fixture *f, uint8_t type)
{
	out_by(f, world.a, SCSI_RESERVE, type, KEY_A, 0, 0);
	assert_good(f, 24);
}

static void assert_conflict(const struct scsi_fixture *f)
{
	assert_int_equal(f->request.status, SCSI_RESERVATION_CONFLICT);
	assert_int_equal(f->request.sense_bytes, 0);
	assert_int_equal(f->request.transferred_bytes, 0);
}

static bool may(struct scsi_fixture *f, struct scsi_unit *unit, const uint8_t *cdb, size_t cdb_bytes)
{
	f->unit = unit;
	run_cdb(f, cdb, cdb_bytes, SCSI_DATA_IN | SCSI_DATA_OUT, 4096);
	return f->request.status != SCSI_RESERVATION_CONFLICT;
}

#define MAY_READ(unit) may(f, unit, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0))
#define MAY_WRITE(unit) may(f, unit, CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0))

static void assert_attention(struct scsi_fixture *f, struct scsi_unit *unit, enum scsi_sense sense)
{
	f->unit = unit;
	run_cdb(f, CDB(0x00), 0, 0);
	if (sense == SCSI_SENSE_NONE)
		assert_good(f, 0);
	else
		assert_sense(f, sense);
}

/* Keys as READ KEYS has them, in order of registration. */
static void assert_keys(struct scsi_fixture *f, uint32_t generation, unsigned count, uint64_t first)
{
	f->unit = world.observer;
	run_cdb(f, CDB(0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, 8 + 8 * count);
	assert_int_equal(get_be(f->data, 4), generation);
	assert_int_equal(get_be(f->data + 4, 4), 8 * count);
	if (count)
		assert_int_equal(get_be(f->data + 8, 8), first);
}

static void assert_reservation(struct scsi_fixture *f, uint8_t type, uint64_t key)
{
	f->unit = world.observer;
	run_cdb(f, CDB(0x5e, 1, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, type ? 24 : 8);
	if (!type)
		return;
	assert_int_equal(get_be(f->data + 8, 8), key);
	assert_int_equal(f->data[21], type);
}

/* ---- registrations ---- */

static void registrations_need_the_right_key(void **state)
{
	struct scsi_fixture *f = *state;

	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, KEY_A, 0); /* it has none yet */
	assert_conflict(f);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, 0, 0); /* nothing to do */
	assert_good(f, 24);
	assert_keys(f, 0, 0, 0);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0);
	assert_good(f, 24);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_B, 0);
	assert_conflict(f);
	assert_keys(f, 1, 1, KEY_A);
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, KEY_B, 0);
	assert_good(f, 24);
	assert_keys(f, 2, 1, KEY_B);
	out_by(f, world.a, SCSI_REGISTER_AND_IGNORE, 0, 0x1234, KEY_A, 0);
	assert_good(f, 24);
	assert_keys(f, 3, 1, KEY_A);
	out_by(f, world.b, SCSI_REGISTER_AND_IGNORE, 0, 0x1234, KEY_B, 0);
	assert_keys(f, 4, 2, KEY_A);
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, 0, 0);
	assert_good(f, 24);
	assert_keys(f, 5, 1, KEY_B);
}

static void what_is_not_understood_is_refused(void **state)
{
	struct scsi_fixture *f = *state;

	out_by(f, world.a, 7, 0, 0, KEY_A, 0); /* REGISTER AND MOVE */
	assert_bad_field(f, 1);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0x08); /* SPEC_I_PT */
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0x01); /* APTPL, and no place for it */
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
	run_cdb(f, CDB(0x5f, 0, 0, 0, 0, 0, 0, 0, 23, 0), SCSI_DATA_OUT, 24);
	assert_sense(f, SCSI_SENSE_PARAMETER_LIST_LENGTH);
	run_cdb(f, CDB(0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0), SCSI_DATA_OUT, 23);
	assert_bad_field(f, 0);
	run_cdb(f, CDB(0x5e, 4, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_bad_field(f, 1);
	register_ab(f);
	for (unsigned type = 0; type < 256; type++) {
		bool known = type == WE || type == EA || (type >= WE_RO && type <= EA_AR);

		out_by(f, world.a, SCSI_RESERVE, (uint8_t)type, KEY_A, 0, 0);
		if (!known) {
			assert_bad_field(f, 2);
			continue;
		}
		assert_good(f, 24);
		out_by(f, world.a, SCSI_RELEASE, (uint8_t)type, KEY_A, 0, 0);
		assert_good(f, 24);
	}
}

static void there_is_room_for_so_many_registrants(void **state)
{
	struct scsi_fixture *f = *state;
	struct scsi_unit *units[65];
	struct scsi_disk_config config = { .device = &f->memory.base, .reservations = world.reservations };

	for (unsigned i = 0; i < 65; i++) {
		config.initiator = 100 + i;
		assert_int_equal(scsi_disk_create(&config, &units[i]), 0);
		out_by(f, units[i], SCSI_REGISTER, 0, 0, 1 + i, 0);
		if (i < 64)
			assert_good(f, 24);
		else
			assert_sense(f, SCSI_SENSE_NO_REGISTRATION_RESOURCES);
	}
	f->unit = world.a;
	run_cdb(f, CDB(0x5e, 3, 0, 0, 0, 0, 0, 16, 0, 0), SCSI_DATA_IN, 4096);
	assert_good(f, 8 + 64 * 48);
	for (unsigned i = 0; i < 65; i++)
		scsi_unit_destroy(units[i]);
}

/* ---- who may what ---- */

static void each_type_keeps_out_whom_it_should(void **state)
{
	static const struct {
		uint8_t type;
		bool registered_may_write, stranger_may_read;
	} types[] = {
		{ WE, false, true }, { EA, false, false }, { WE_RO, true, true },
		{ EA_RO, true, false }, { WE_AR, true, true }, { EA_AR, true, false },
	};
	struct scsi_fixture *f = *state;

	register_ab(f);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		reserve_by_a(f, types[i].type);
		assert_true(MAY_READ(world.a));
		assert_true(MAY_WRITE(world.a));
		assert_int_equal(MAY_READ(world.b), types[i].registered_may_write || types[i].stranger_may_read);
		assert_int_equal(MAY_WRITE(world.b), types[i].registered_may_write);
		assert_int_equal(MAY_READ(world.c), types[i].stranger_may_read);
		assert_false(MAY_WRITE(world.c));
		out_by(f, world.b, SCSI_RESERVE, types[i].type, KEY_B, 0, 0);
		if (types[i].type >= WE_AR)
			assert_good(f, 24); /* it holds it, too */
		else
			assert_conflict(f);
		out_by(f, world.c, SCSI_RESERVE, types[i].type, KEY_A, 0, 0);
		assert_conflict(f); /* not registered */
		out_by(f, world.a, SCSI_RESERVE, types[i].type == WE ? EA : WE, KEY_A, 0, 0);
		assert_conflict(f); /* not with another type */
		out_by(f, world.a, SCSI_RELEASE, types[i].type, KEY_A, 0, 0);
		assert_good(f, 24);
		assert_attention(f, world.b, types[i].registered_may_write ? SCSI_SENSE_RESERVATIONS_RELEASED
									   : SCSI_SENSE_NONE);
		assert_true(MAY_WRITE(world.c));
	}
	assert_keys(f, 2, 2, KEY_A); /* reserving and releasing is no new generation */
}

static void commands_are_classed_as_the_standard_has_them(void **state)
{
	static const uint8_t always[][16] = {
		{ 0x00 }, { 0x03 }, { 0x12 }, { 0xa0 }, { 0x25 }, { 0x5e }, { 0x9e, 0x10 }, { 0x1b, 0, 0, 0, 1 },
		{ 0x1e },
	};
	static const uint8_t reading[][16] = {
		{ 0x08 }, { 0x28 }, { 0xa8 }, { 0x88 }, { 0x2f }, { 0xaf }, { 0x8f }, { 0x9e, 0x12 },
	};
	static const uint8_t holding[][16] = {
		{ 0x0a }, { 0x2a }, { 0xaa }, { 0x8a }, { 0x2e }, { 0x8e }, { 0xae }, { 0x35 }, { 0x91 }, { 0x41 },
		{ 0x93 }, { 0x42 }, { 0x15 }, { 0x55 }, { 0x1a }, { 0x5a }, { 0x1b }, { 0x1e, 0, 0, 0, 1 },
		{ 0x1b, 0, 0, 0, 0x11 },
	};
	struct scsi_fixture *f = *state;

	register_ab(f);
	for (int exclusive = 0; exclusive < 2; exclusive++) {
		reserve_by_a(f, exclusive ? EA : WE);
		for (size_t i = 0; i < sizeof(always) / 16; i++)
			assert_true(may(f, world.c, always[i], 16));
		for (size_t i = 0; i < sizeof(reading) / 16; i++)
			assert_int_equal(may(f, world.c, reading[i], 16), !exclusive);
		for (size_t i = 0; i < sizeof(holding) / 16; i++)
			assert_false(may(f, world.c, holding[i], 16));
		out_by(f, world.a, SCSI_RELEASE, exclusive ? EA : WE, KEY_A, 0, 0);
	}
}

static void only_the_holder_releases_and_rightly(void **state)
{
	struct scsi_fixture *f = *state;

	register_ab(f);
	out_by(f, world.a, SCSI_RELEASE, WE, KEY_A, 0, 0); /* there is none */
	assert_good(f, 24);
	reserve_by_a(f, WE);
	assert_reservation(f, WE, KEY_A);
	out_by(f, world.b, SCSI_RELEASE, WE, KEY_B, 0, 0); /* not his: nothing happens */
	assert_good(f, 24);
	assert_reservation(f, WE, KEY_A);
	out_by(f, world.a, SCSI_RELEASE, EA, KEY_A, 0, 0);
	assert_sense(f, SCSI_SENSE_INVALID_RELEASE);
	out_by(f, world.a, SCSI_RELEASE, WE, KEY_B, 0, 0);
	assert_conflict(f);
	out_by(f, world.a, SCSI_RELEASE, WE, KEY_A, 0, 0);
	assert_reservation(f, 0, 0);
}

static void a_holder_that_unregisters_releases(void **state)
{
	struct scsi_fixture *f = *state;

	register_ab(f);
	reserve_by_a(f, EA_RO);
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, 0, 0);
	assert_reservation(f, 0, 0);
	assert_attention(f, world.b, SCSI_SENSE_RESERVATIONS_RELEASED);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0);
	reserve_by_a(f, EA_AR);
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, 0, 0);
	assert_reservation(f, EA_AR, 0); /* the other one holds it yet */
	assert_false(MAY_READ(world.a));
	out_by(f, world.b, SCSI_REGISTER, 0, KEY_B, 0, 0);
	assert_reservation(f, 0, 0);
}

/* ---- taking it from others ---- */

static void clear_ends_everything(void **state)
{
	struct scsi_fixture *f = *state;

	register_ab(f);
	reserve_by_a(f, EA);
	out_by(f, world.b, SCSI_CLEAR, 0, KEY_A, 0, 0);
	assert_conflict(f);
	out_by(f, world.b, SCSI_CLEAR, 0, KEY_B, 0, 0);
	assert_good(f, 24);
	assert_keys(f, 3, 0, 0);
	assert_reservation(f, 0, 0);
	assert_attention(f, world.a, SCSI_SENSE_RESERVATIONS_PREEMPTED);
	assert_attention(f, world.b, SCSI_SENSE_NONE);
}

static void preempting_takes_the_reservation(void **state)
{
	struct scsi_fixture *f = *state;

	register_ab(f);
	out_by(f, world.c, SCSI_REGISTER, 0, 0, 0xcccc, 0);
	reserve_by_a(f, WE_RO);
	out_by(f, world.b, SCSI_PREEMPT, EA, KEY_B, KEY_A, 0);
	assert_good(f, 24);
	assert_reservation(f, EA, KEY_B);
	assert_attention(f, world.a, SCSI_SENSE_REGISTRATIONS_PREEMPTED);
	assert_attention(f, world.c, SCSI_SENSE_RESERVATIONS_RELEASED); /* it shared the old one */
	assert_attention(f, world.b, SCSI_SENSE_NONE);
	assert_false(MAY_READ(world.a));
	assert_keys(f, 4, 2, 0xcccc);
	/* A registration that is not the holder's goes alone. */
	out_by(f, world.b, SCSI_PREEMPT, WE, KEY_B, 0xcccc, 0);
	assert_good(f, 24);
	assert_reservation(f, EA, KEY_B);
	assert_attention(f, world.c, SCSI_SENSE_REGISTRATIONS_PREEMPTED);
	out_by(f, world.b, SCSI_PREEMPT, WE, KEY_B, 0xcccc, 0); /* nobody has it any more */
	assert_conflict(f);
	out_by(f, world.b, SCSI_PREEMPT, WE, KEY_B, 0, 0);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
	out_by(f, world.b, SCSI_PREEMPT, WE, KEY_B, KEY_B, 0); /* its own, to change the type */
	assert_good(f, 24);
	assert_reservation(f, WE, KEY_B);
}

static void preempting_what_all_share(void **state)
{
	struct scsi_fixture *f = *state;

	register_ab(f);
	reserve_by_a(f, WE_AR);
	out_by(f, world.b, SCSI_PREEMPT, EA, KEY_B, KEY_A, 0); /* takes a registration, not the reservation */
	assert_good(f, 24);
	assert_reservation(f, WE_AR, 0);
	assert_attention(f, world.a, SCSI_SENSE_REGISTRATIONS_PREEMPTED);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0);
	out_by(f, world.b, SCSI_PREEMPT, EA, KEY_B, 0, 0); /* 0: all others */
	assert_good(f, 24);
	assert_reservation(f, EA, KEY_B);
	assert_keys(f, 5, 1, KEY_B);
	out_by(f, world.b, SCSI_REGISTER, 0, KEY_B, 0, 0);
	assert_attention(f, world.a, SCSI_SENSE_REGISTRATIONS_PREEMPTED);
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0);
	reserve_by_a(f, EA_AR);
	out_by(f, world.a, SCSI_PREEMPT, EA, KEY_A, KEY_A, 0); /* the last one removes himself */
	assert_good(f, 24);
	assert_keys(f, 8, 0, 0);
	assert_reservation(f, 0, 0);
}

static void preempting_may_abort(void **state)
{
	struct scsi_fixture *f = *state;
	struct scsi_request out = { 0 };
	struct iovec iov;
	uint8_t list[24] = { 0 };

	register_ab(f);
	f->memory.hold = true;
	f->unit = world.a;
	start(f, CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0), 0, 0); /* long */
	put_be(list, KEY_B, 8);
	put_be(list + 8, KEY_A, 8);
	iov = (struct iovec){ list, sizeof(list) };
	memcpy(out.cdb, CDB(0x5f, SCSI_PREEMPT_AND_ABORT, WE, 0, 0, 0, 0, 0, 24, 0));
	out.direction = SCSI_DATA_OUT;
	out.iov = &iov;
	out.iov_count = 1;
	out.data_bytes = sizeof(list);
	out.done = scsi_on_done;
	/* Its end counts in another fixture than that of the command under way. */
	static struct scsi_fixture other;
	other.request = out;
	scsi_unit_submit(world.b, NULL, &other.request);
	assert_int_equal(other.done, 1);
	assert_int_equal(other.request.status, SCSI_GOOD);
	assert_int_equal(f->done, 0);
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->request.status, SCSI_TASK_ABORTED);
	assert_attention(f, world.a, SCSI_SENSE_REGISTRATIONS_PREEMPTED);
}

/* ---- what is told ---- */

static void full_status_names_initiators(void **state)
{
	struct scsi_fixture *f = *state;

	register_ab(f);
	reserve_by_a(f, WE);
	run_cdb(f, CDB(0x5e, 3, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, 8 + 2 * 48);
	assert_int_equal(get_be(f->data, 4), 2);
	assert_int_equal(get_be(f->data + 4, 4), 2 * 48);
	assert_int_equal(get_be(f->data + 8, 8), KEY_A);
	assert_int_equal(f->data[8 + 12], 0x03); /* all ports; holds it */
	assert_int_equal(f->data[8 + 13], WE);
	assert_int_equal(get_be(f->data + 8 + 20, 4), 24);
	assert_int_equal(f->data[8 + 24], 0x06); /* SAS */
	assert_int_equal(get_be(f->data + 8 + 28, 8), SCSI_INITIATOR_DEFAULT);
	assert_int_equal(f->data[56 + 12], 0x02);
	assert_int_equal(f->data[56 + 13], 0);
	run_cdb(f, CDB(0x5e, 2, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, 8);
	assert_memory_equal(f->data, "\x00\x08\x04\x80\xea\x01\x00\x00", 8);
}

/* ---- RESERVE, RELEASE ---- */

static void reserve_shuts_everybody_else_out(void **state)
{
	struct scsi_fixture *f = *state;

	assert_true(may(f, world.a, CDB(0x16)));
	assert_true(MAY_WRITE(world.a));
	assert_false(MAY_READ(world.b));
	assert_false(may(f, world.b, CDB(0x00)));
	assert_false(may(f, world.b, CDB(0x16)));
	assert_true(may(f, world.b, CDB(0x12, 0, 0, 0, 96)));
	assert_true(may(f, world.b, CDB(0x17))); /* and does nothing */
	assert_false(MAY_READ(world.b));
	out_by(f, world.a, SCSI_REGISTER, 0, 0, KEY_A, 0);
	assert_conflict(f);
	assert_true(may(f, world.a, CDB(0x17)));
	assert_true(MAY_READ(world.b));
	assert_true(may(f, world.a, CDB(0x16)));
	scsi_unit_reset(world.b); /* anyone's reset ends it */
	assert_attention(f, world.b, SCSI_SENSE_DEVICE_RESET);
	assert_true(MAY_WRITE(world.b));
	register_ab(f);
	assert_false(may(f, world.a, CDB(0x16)));
	f->unit = world.a;
	run_cdb(f, CDB(0x16, 0x10), 0, 0); /* for a third party */
	assert_bad_field(f, 1);
}

/* ---- what is kept ---- */

static void reopen(struct scsi_fixture *f)
{
	f->unit = NULL;
	close_world();
	scsi_make_disk(f, NULL);
	open_world(f, true);
}

static void reservations_are_kept_if_the_guest_wants_it(void **state)
{
	struct scsi_fixture *f = *state;

	reopen(f);
	register_ab(f);
	assert_int_equal(access(world.path, F_OK), -1);
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, KEY_A, 1);
	assert_good(f, 24);
	assert_int_equal(access(world.path, F_OK), 0);
	reserve_by_a(f, WE);
	run_cdb(f, CDB(0x5e, 2, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_memory_equal(f->data, "\x00\x08\x05\x81", 4);
	reopen(f);
	assert_keys(f, 0, 2, KEY_A);
	assert_reservation(f, WE, KEY_A);
	assert_false(MAY_WRITE(world.b));
	assert_true(MAY_WRITE(world.a));
	out_by(f, world.a, SCSI_RELEASE, WE, KEY_A, 0, 0);
	reserve_by_a(f, EA_AR);
	reopen(f);
	assert_reservation(f, EA_AR, 0);
	out_by(f, world.b, SCSI_REGISTER, 0, KEY_B, KEY_B, 0); /* not any more */
	assert_int_equal(access(world.path, F_OK), -1);
	assert_int_equal(errno, ENOENT);
	assert_reservation(f, EA_AR, 0);
	reopen(f);
	assert_keys(f, 0, 0, 0);
}

static void what_cannot_be_kept_does_not_happen(void **state)
{
	struct scsi_fixture *f = *state;

	reopen(f);
	register_ab(f);
	assert_int_equal(rmdir(world.folder), 0); /* from under it */
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, 0x77, 1);
	assert_sense(f, SCSI_SENSE_NO_REGISTRATION_RESOURCES);
	assert_keys(f, 2, 2, KEY_A);
	assert_int_equal(mkdir(world.folder, 0700), 0);
	out_by(f, world.a, SCSI_REGISTER, 0, KEY_A, 0x77, 1);
	assert_good(f, 24);
}

static void files_that_are_no_reservations_are_named(void **state)
{
	static const char *const bad[] = {
		"", "{", "[]", "{}", "{ \"version\": 2, \"registrations\": [] }",
		"{ \"version\": 1 }", "{ \"version\": 1, \"registrations\": [ 1 ] }",
		"{ \"version\": 1, \"registrations\": [ { \"initiator\": \"1\", \"key\": \"0\" } ] }",
		"{ \"version\": 1, \"registrations\": [ { \"initiator\": \"1\", \"key\": \"xyz\" } ] }",
		"{ \"version\": 1, \"registrations\": [ { \"initiator\": \"1\", \"key\": \"2\" },"
		" { \"initiator\": \"1\", \"key\": \"2\" } ] }",
		"{ \"version\": 1, \"registrations\": [], \"reservation\": { \"type\": 1, \"holder\": \"1\" } }",
		"{ \"version\": 1, \"registrations\": [ { \"initiator\": \"1\", \"key\": \"2\" } ],"
		" \"reservation\": { \"type\": 4, \"holder\": \"1\" } }",
		"{ \"version\": 1, \"registrations\": [ { \"initiator\": \"1\", \"key\": \"2\" } ],"
		" \"reservation\": { \"type\": 1, \"holder\": \"2\" } }",
	};
	struct scsi_reservations *reservations = NULL;
	char error[SCSI_RESERVATIONS_ERROR_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FILE *file = fopen(world.path, "w");

		assert_non_null(file);
		fputs(bad[i], file);
		fclose(file);
		assert_int_equal(scsi_reservations_create(world.path, &reservations, error), -LIS_FORMAT);
		assert_null(reservations);
		assert_non_null(strstr(error, world.path));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registrations_need_the_right_key),
		T(what_is_not_understood_is_refused),
		T(there_is_room_for_so_many_registrants),
		T(each_type_keeps_out_whom_it_should),
		T(commands_are_classed_as_the_standard_has_them),
		T(only_the_holder_releases_and_rightly),
		T(a_holder_that_unregisters_releases),
		T(clear_ends_everything),
		T(preempting_takes_the_reservation),
		T(preempting_what_all_share),
		T(preempting_may_abort),
		T(full_status_names_initiators),
		T(reserve_shuts_everybody_else_out),
		T(reservations_are_kept_if_the_guest_wants_it),
		T(what_cannot_be_kept_does_not_happen),
		T(files_that_are_no_reservations_are_named),
	};

	return cmocka_run_group_tests_name("storage/scsi_reservations", tests, NULL, NULL);
}
