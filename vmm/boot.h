/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Direct boot of a Linux kernel: puts kernel, initrd, command line and boot parameters into guest
 * memory and says how processor 0 starts (64-bit entry, identity-mapped).
 */
#ifndef OPENLIS_VMM_BOOT_H
#define OPENLIS_VMM_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"
#include "vmbus/partition.h"
#include "vmm/memory.h"

/* Where things lie below 1 MiB; the kernel takes them before it uses the memory. [policy] */
#define BOOT_GDT_GPA 0x1000u
#define BOOT_PAGE_TABLES_GPA 0x9000u /* six pages: PML4, PDPT, four page directories */
#define BOOT_PARAMS_GPA 0x10000u
#define BOOT_CMDLINE_GPA 0x20000u
#define BOOT_CMDLINE_BYTES_MAX 0x10000u
#define BOOT_LOW_RAM_END 0x9fc00u    /* what is above, up to 1 MiB, is no RAM to the guest */

#define BOOT_CODE_SELECTOR 0x10u     /* as the boot protocol wants them */
#define BOOT_DATA_SELECTOR 0x18u

struct boot_config {
	const char *kernel_path;
	const char *initrd_path; /* NULL: none */
	const char *cmdline;     /* NULL: none */
	const struct memory_map *map;
};

struct boot_entry {
	uint64_t rip;
	uint64_t rsi; /* boot parameters */
	uint64_t cr3;
};

/**
 * boot_load() - Load a kernel into zeroed guest memory.
 * @error: on failure one line that names the file and the reason
 * Return: 0, -LIS_NOTFOUND, -LIS_DENIED, -LIS_FORMAT (no kernel, too old), -LIS_NOSPACE (does not
 * fit), -LIS_INVALID (command line too long), -LIS_IO.
 */
int boot_load(const struct partition *partition, const struct boot_config *config,
	      struct boot_entry *out_entry, char *error, size_t error_bytes) LIS_MUST_USE;

#endif
