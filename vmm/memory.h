/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Guest memory: where what lies in the guest-physical address space, and the memory file behind it.
 *
 *	0 ...              RAM, up to MEMORY_LOW_END
 *	F8000000-FEBFFFFF  window for VMBus devices
 *	FEC00000, FEE00000 interrupt controllers
 *	1 0000 0000 ...    the rest of the RAM
 *	top                window for VMBus devices, below the end of the processor's address space
 */
#ifndef OPENLIS_VMM_MEMORY_H
#define OPENLIS_VMM_MEMORY_H

#include <stdint.h>

#include "vmbus/error.h"
#include "vmbus/partition.h"

#define MEMORY_LOW_END 0xC0000000u          /* [policy] */
#define MEMORY_HIGH_START 0x100000000u
#define MEMORY_MMIO_LOW_START 0xF8000000u   /* Source: [openvmm] where Hyper-V has it */
#define MEMORY_MMIO_LOW_END 0xFEC00000u     /* exclusive: the I/O APIC */
#define MEMORY_BYTES_MIN (16u << 20)        /* [policy] no kernel starts in less */

struct memory_map {
	uint64_t low_bytes;       /* RAM from 0 */
	uint64_t high_bytes;      /* RAM from MEMORY_HIGH_START */
	uint64_t mmio_high_start; /* window, end exclusive */
	uint64_t mmio_high_end;
};

/**
 * memory_map_init() - Lay out an address space.
 * @bytes: RAM, whole MiB
 * @physical_bits: of the processor, 32 to 52
 * Return: 0, -LIS_INVALID (too little, too much for the processor, no whole MiB; @error says
 * which).
 */
int memory_map_init(struct memory_map *out_map, uint64_t bytes, uint32_t physical_bits, char *error,
		    size_t error_bytes) LIS_MUST_USE;

/**
 * memory_create() - Make the RAM of a map: fills the partition's slots.
 * Return: 0, -LIS_NOMEM (@error says how much there is).
 */
int memory_create(struct partition *partition, const struct memory_map *map, char *error,
		  size_t error_bytes) LIS_MUST_USE;

/**
 * memory_make_huge() - Have the RAM in huge pages, as far as they can be had. What is in it stays.
 *
 * What is in them is taken from the host, until memory_clear(). Context: takes as long as writing all of it.
 * Return: bytes that are in huge pages.
 */
uint64_t memory_make_huge(struct partition *partition);

/** memory_clear() - Give all of it back to the host; the guest reads zeros after. */
void memory_clear(struct partition *partition);

/** memory_destroy() - Undo memory_create(). */
void memory_destroy(struct partition *partition);

#endif
