/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Keeps an image from being open for writing twice, also against QEMU and its tools.
 */
#ifndef OPENLIS_STORAGE_IMAGES_LOCK_H
#define OPENLIS_STORAGE_IMAGES_LOCK_H

#include <stdbool.h>

#include "vmbus/error.h"

/* Room for "qemu-img (process 4194304)". */
#define LOCK_HOLDER_BYTES 64

/**
 * lock_take() - Lock a file until lock_drop(), or until its descriptor is closed.
 * @fd: open for reading, for writing too if @write
 * @from: another descriptor of the same file, whose lock for reading this one takes the place of, with no
 * moment between; on failure it has it still. -1: none
 * @write: alone; otherwise with other readers
 * @holder: LOCK_HOLDER_BYTES; on -LIS_BUSY who has it, empty if that cannot be told
 *
 * The lock belongs to the open file, not to the process: a second open by the same process is
 * refused like any other.
 *
 * Context: may sleep, for some milliseconds.
 * Return: 0 (also where the file system knows no locks, with a line in the log), -LIS_BUSY, -LIS_IO.
 */
int lock_take(int fd, int from, const char *path, bool write, char *holder) LIS_MUST_USE;

/**
 * lock_drop() - Unlock, before closing. Closing alone may be late: io_uring lets go of a file some time
 * after the last request on it was done.
 */
void lock_drop(int fd);

#endif
