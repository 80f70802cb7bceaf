/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* ACPI tables for one machine, written into guest memory below 1 MiB, as a BIOS would. */
#ifndef OPENLIS_VMM_ACPI_H
#define OPENLIS_VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"
#include "vmm/machine.h"
#include "vmm/memory.h"

#define ACPI_AREA_GPA 0xe0000u      /* where guests look for the root pointer, too */
#define ACPI_AREA_BYTES 0x20000u
#define ACPI_RSDP_GPA ACPI_AREA_GPA
#define ACPI_FACTS_GPA 0xe0100u     /* as dsdt.asl has it */
#define ACPI_TABLES_GPA 0xe1000u

#define ACPI_IOAPIC_GPA 0xfec00000u
#define ACPI_LAPIC_GPA 0xfee00000u

/* What dsdt.asl reads. */
struct acpi_facts {
	uint64_t window_low_start, window_low_end;
	uint64_t window_high_start, window_high_end;
};

struct acpi_config {
	const struct memory_map *map;
	const struct machine_topology *topology; /* complete */
	uint32_t cpus;
};

/**
 * acpi_write() - Write all tables.
 * @area: ACPI_AREA_BYTES at ACPI_AREA_GPA, zeroed
 * Return: 0, -LIS_NOSPACE (too many processors for the area).
 */
int acpi_write(const struct acpi_config *config, void *area) LIS_MUST_USE;

#endif
