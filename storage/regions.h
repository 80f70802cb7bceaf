/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which regions of a disk something was done to: marked by any number of threads, taken by one.
 */
#ifndef OPENLIS_STORAGE_REGIONS_H
#define OPENLIS_STORAGE_REGIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmbus/error.h"

struct regions;

/**
 * regions_create() - None is marked.
 * @size_bytes: of the disk, more than 0
 * @out_regions: set on success only
 *
 * A region has 64 KiB, or as much more as it takes for their bits to fit into 1 MiB.
 *
 * Return: 0, -LIS_NOMEM.
 */
int regions_create(uint64_t size_bytes, struct regions **out_regions) LIS_MUST_USE;

/** regions_destroy() - NULL is fine. */
void regions_destroy(struct regions *regions);

/** regions_mark() - All that have a part in the range, which is on the disk. Context: any thread. */
void regions_mark(struct regions *regions, uint64_t offset_bytes, uint64_t bytes);

/** regions_span_bytes() - How much of the disk that marks at most: whole regions. Context: any thread. */
uint64_t regions_span_bytes(const struct regions *regions, uint64_t offset_bytes, uint64_t bytes);

/**
 * regions_take() - The next one that is marked, from *@at_bytes on; it is not marked any more.
 * @at_bytes: 0 to begin with; moves behind what was taken
 * @out_bytes: length of what was taken, which begins at *@out_offset_bytes
 *
 * What was done before it was marked is seen after this.
 *
 * Return: false: there is none from there on.
 */
bool regions_take(struct regions *regions, uint64_t *at_bytes, uint64_t *out_offset_bytes, uint64_t *out_bytes);

/** regions_marked_bytes() - How much is marked, in whole regions. Context: any thread. */
uint64_t regions_marked_bytes(const struct regions *regions);

#endif
