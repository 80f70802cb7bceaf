/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A VM without a machine that has drives, the commands as a client gives them, and a scripted guest
 * that reads and writes and knows what it wrote.
 */
#ifndef OPENLIS_TESTS_DRIVE_RIG_H
#define OPENLIS_TESTS_DRIVE_RIG_H

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
#define LUNS 4u /* that the guest uses, of controller 0 */
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
	bool uses[LUNS]; /* reads and writes there */
	uint32_t done[LUNS], absent[LUNS], in_flight;
	uint32_t rescans, attentions;
	uint32_t sense; /* key and codes of the last attention */
	uint64_t random;
};

/** rig_setup() - As cmocka wants it: drive0 is first.raw; a.raw and b.raw are there. */
int rig_setup(void **state);

/** rig_end() - Its images go, too. */
void rig_end(struct rig *rig);

int rig_teardown(void **state);

/** rig_path_of() - Where image @name is; @path has 128 bytes. */
void rig_path_of(const struct rig *rig, const char *name, char *path);

/** rig_make_image() - An empty image of DISK_BYTES, of the format that its name ends with. */
void rig_make_image(const struct rig *rig, const char *name);

void rig_drop_image(const struct rig *rig, const char *name);

/** rig_guest_runs() - The guest alone does what it can. */
void rig_guest_runs(struct rig *rig);

/** rig_guest_works() - Until the guest has done @count commands more on @lun. */
void rig_guest_works(struct rig *rig, uint8_t lun, uint32_t count);

/** rig_guest_rests() - Nothing is under way any more. */
void rig_guest_rests(struct rig *rig);

/** rig_guest_counts() - How many drives REPORT LUNS names. */
uint32_t rig_guest_counts(struct rig *rig);

/** rig_call() - A command that succeeds, with up to two arguments; its answer is the caller's. */
struct json_object *rig_call(struct rig *rig, const char *command, const char *drive,
			     const char *name, const char *value);

/** rig_add() - Add an image. Returns the drive's number. */
int rig_add(struct rig *rig, const char *name, const char *options);

void rig_remove(struct rig *rig, const char *drive);

/** rig_image_holds() - Nobody has the image open, and it holds what the guest knows was written to @lun. */
void rig_image_holds(struct rig *rig, const char *name, uint8_t lun);

/** rig_pump() - The guest does what it can, loops are turned. */
void rig_pump(struct vm_rig *base);

/** rig_refuses() - A command fails with @err and a line that has @says. */
void rig_refuses(struct rig *rig, const char *command, const char *value, int err,
		 const char *says);

void rig_refuses_with(struct rig *rig, const char *command, const char *drive, const char *name,
		      const char *value, int err, const char *says);
void rig_refuses_file(struct rig *rig, const char *name, const char *options, int err,
		      const char *says);

#endif
