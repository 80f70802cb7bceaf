/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A Linux kernel in a file: bzImage, which unpacks itself, or the ELF image inside (vmlinux), which
 * starts at once.
 */
#ifndef OPENLIS_VMM_KERNEL_H
#define OPENLIS_VMM_KERNEL_H

#include <asm/bootparam.h>

#include "vmbus/partition.h"
#include "vmm/boot_file.h"
#include "vmm/memory.h"

struct kernel {
	struct setup_header header; /* for the boot parameters; made up for an ELF image */
	uint64_t entry;             /* 64-bit */
	uint64_t end_gpa;           /* first byte after all it needs to start */
};

/**
 * kernel_load() - Load a kernel into low RAM.
 * Return: 0, -LIS_FORMAT (no kernel that can be started), -LIS_NOSPACE, -LIS_IO.
 */
int kernel_load(const struct partition *partition, const struct memory_map *map,
		const struct boot_file *file, struct kernel *out_kernel) LIS_MUST_USE;

#endif
