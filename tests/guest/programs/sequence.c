// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Numbered writes to a disk, each acknowledged once it was flushed, and the check that none of those is lost.
 *
 * usage: sequence write DISK FIRST     writes and flushes for ever; "@@f N": everything up to N is flushed
 *        sequence check FILE FIRST-LAST...   what was acknowledged, run by run
 *
 * A write goes to a few slots of the disk, far apart, which follow from its number; a slot holds the number
 * of the last one, all through.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 1000u
#define SLOT_BYTES 4096u
#define STRIDE_BYTES (UINT64_C(4) << 20)
#define SLOTS_AT_ONCE 6u

static uint8_t data[SLOT_BYTES] __attribute__((aligned(4096)));
static uint64_t newest[SLOTS];

static uint64_t hash(uint64_t value)
{
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

static uint32_t slot_of(uint64_t number, uint32_t which)
{
	return (uint32_t)(hash(number * SLOTS_AT_ONCE + which + 1) % SLOTS);
}

static void fill(uint64_t number, uint32_t slot)
{
	uint64_t *words = (uint64_t *)data;

	for (uint32_t i = 0; i < SLOT_BYTES / 8; i++)
		words[i] = i % 2 ? slot : number;
}

static int write_all(int fd, uint64_t number)
{
	for (;; number++) {
		for (uint32_t i = 0; i < SLOTS_AT_ONCE; i++) {
			uint32_t slot = slot_of(number, i);

			fill(number, slot);
			if (pwrite(fd, data, SLOT_BYTES, (off_t)(slot * STRIDE_BYTES)) != SLOT_BYTES)
				return 1;
		}
		if (fdatasync(fd))
			return 1;
		printf("@@f %llu\n", (unsigned long long)number);
		fflush(stdout);
	}
}

/* A slot has what was acknowledged last, or something that was written to it later. */
static int check_slot(int fd, uint32_t slot)
{
	static uint8_t got[SLOT_BYTES];
	uint64_t number;
	int known = 0;

	if (pread(fd, got, SLOT_BYTES, (off_t)(slot * STRIDE_BYTES)) != SLOT_BYTES) {
		printf("slot %u cannot be read\n", slot);
		return 1;
	}
	memcpy(&number, got, 8);
	fill(number, slot);
	if (!number)
		memset(data, 0, sizeof(data));
	for (uint32_t i = 0; i < SLOTS_AT_ONCE; i++)
		known |= slot_of(number, i) == slot;
	if (memcmp(got, data, SLOT_BYTES) || (number && !known)) {
		printf("slot %u has what was never written to it\n", slot);
		return 1;
	}
	if (number >= newest[slot])
		return 0;
	printf("slot %u has write %llu, but %llu was flushed\n", slot, (unsigned long long)number,
	       (unsigned long long)newest[slot]);
	return 1;
}

static int check(int fd, char **runs)
{
	int bad = 0;

	for (; *runs; runs++) {
		char *end;
		uint64_t number = strtoull(*runs, &end, 10), last = strtoull(end + 1, NULL, 10);

		for (; number <= last; number++)
			for (uint32_t i = 0; i < SLOTS_AT_ONCE; i++)
				newest[slot_of(number, i)] = number;
	}
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		bad |= check_slot(fd, slot);
	return bad;
}

int main(int argc, char **argv)
{
	int writing = argc == 4 && !strcmp(argv[1], "write");
	int fd;

	if (!writing && (argc < 3 || strcmp(argv[1], "check")))
		return 2;
	fd = open(argv[2], writing ? O_RDWR | O_DIRECT | O_CLOEXEC : O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[2]);
		return 1;
	}
	return writing ? write_all(fd, strtoull(argv[3], NULL, 10)) : check(fd, argv + 3);
}
