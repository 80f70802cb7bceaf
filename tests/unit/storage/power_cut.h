/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Power cuts. Records every write, hole, change of length and flush of the files in a folder (by
 * sim_io.h), and replays what a power cut may leave of them: what was flushed, and of the rest any part
 * in any combination, writes of more than a sector torn between its sectors. Of a file's changes of
 * length the earlier ones last if a later one does, as in every file system with a journal.
 *
 * Before each flush, and wherever else it is asked for, the crash states of that instant are made, one
 * after the other, in a second folder, and checked by the test: every combination where few changes lack
 * a flush, else a sample that depends on sim_seed() only. What may be left at an earlier instant is
 * among it: it only lacks more.
 *
 * New names, new places of names and removed files last at once. One thread, one recording at a time.
 */
#ifndef OPENLIS_TESTS_POWER_CUT_H
#define OPENLIS_TESTS_POWER_CUT_H

#include <stdint.h>

struct power_cut {
	/** @check: @folder has what was left, to be opened, repaired, written; fails the test if it is bad */
	void (*check)(const char *folder, void *context);
	void *context;
	uint32_t combine; /* up to so many changes without a flush: all combinations; at most 16 */
	uint32_t samples; /* else so many states; three at least */
};

/** power_cut_setup() - Make an empty folder for the files; power_cut_folder() says where. */
void power_cut_setup(void);
const char *power_cut_folder(void);

/** power_cut_begin() - From here on; what is in the folder is durable. */
void power_cut_begin(const struct power_cut *cut);

/** power_cut_now() - Make and check the states of this instant. */
void power_cut_now(void);

/** power_cut_end() - No more recording. Return: states checked since power_cut_begin(). */
uint64_t power_cut_end(void);

/** power_cut_state() - Number of the state under check, for messages. */
uint64_t power_cut_state(void);

/** power_cut_teardown() - Remove the folders, also in the middle of a recording that failed. */
void power_cut_teardown(void);

#endif
