/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What fuzzers of image formats share: a memory file that is bent, and what a format must do with it. It is
 * refused with a line that says why, in 64 MiB of memory at most, or it is opened, and then behaves: what was
 * written reads back, also after it was closed and opened again.
 */
#ifndef OPENLIS_FUZZ_IMAGE_H
#define OPENLIS_FUZZ_IMAGE_H

#include "fuzz/fuzz.h"
#include "storage/images/image.h"

#define FUZZ_MIB (UINT64_C(1) << 20)

/* Of the file that is bent. */
extern char fuzz_image_path[32];

typedef int fuzz_image_open(const struct image_file *file, struct block_device **out_device, char *error);

/** fuzz_image_start() - Make the file; to be called once. */
void fuzz_image_start(void);

/** fuzz_image_file() - Make one more memory file. Return: its descriptor, which stays open. */
int fuzz_image_file(const char *name, char path[32]);

/**
 * fuzz_image_use() - Open it, do what the input says, close it, open it again, compare.
 * @fd: of fuzz_image_path, handed over
 */
void fuzz_image_use(struct input *input, int fd, fuzz_image_open *open_format, bool read_only,
		    bool read_only_again);

#endif
