/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Load on an image through the storage VSP over the loopback partition, for benchmarks. */
#ifndef OPENLIS_BENCH_STORAGE_LOAD_H
#define OPENLIS_BENCH_STORAGE_LOAD_H

#include "bench/pair.h"

#define STORAGE_LOAD_DISK_BYTES (512ull << 20) /* of each image here */
#define STORAGE_LOAD_MEMORY_BYTES (8u << 20) /* for all commands under way */
#define STORAGE_LOAD_RUN_MS 1000
#define STORAGE_LOAD_WARM_UP_MS 150

struct storage_load_case {
	const char *name;
	bool direct, write, sequential;
	uint32_t bytes, depth; /* of a command; commands under way; @bytes * @depth <= STORAGE_LOAD_MEMORY_BYTES */
	bool once;             /* through the disk from its beginning to its end, no warm-up */
};

/**
 * storage_load_run() - Keep commands under way for STORAGE_LOAD_RUN_MS, or for once through the disk.
 * @path: of the image
 * @format: as block_open()
 * @out_cpu_us: the host thread's CPU time for each command; it spins between them
 *
 * Return: commands a second; ends the program on any error.
 */
double storage_load_run(const struct storage_load_case *load_case, const char *path, const char *format,
			double *out_cpu_us);

/**
 * storage_load_gather() - Have memory in huge pages, if the kernel can (Linux 6.1); it must have been touched.
 *
 * In pages that lie here and there 1 MiB is more pieces than disks take at once (254 with virtio), so that the
 * kernel splits it, or not, as the memory happens to be.
 */
void storage_load_gather(void *at, size_t bytes);

/** storage_load_forget() - Leave no page of a file in the host's page cache. */
void storage_load_forget(const char *path);

/** storage_load_in_unit() - Commands a second as kIOPS (4 KiB) or MB/s. @out_unit: which of the two */
double storage_load_in_unit(const struct storage_load_case *load_case, double rate, const char **out_unit);

#endif
