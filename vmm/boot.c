// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Direct boot of Linux. Source: [linux 6.1 Documentation/x86/boot.rst], 64-bit boot protocol.
 *
 * Everything is low RAM: the kernel where it prefers to be, the initrd as high as the kernel
 * allows.
 */
#include "vmm/boot.h"

#include <asm/bootparam.h>
#include <stdio.h>
#include <string.h>

#include "vmm/acpi.h"
#include "vmm/boot_file.h"
#include "vmm/kernel.h"

#define LOADER_UNKNOWN 0xffu
#define MIB 0x100000u
#define PAGE_PRESENT_WRITABLE 0x03u
#define PAGE_LARGE 0x80u
#define LARGE_PAGE_BYTES (2ull * MIB)

static int load_initrd(const struct partition *partition, const struct memory_map *map,
		       const struct boot_file *file, struct kernel *kernel)
{
	uint64_t end = (uint64_t)kernel->header.initrd_addr_max + 1;
	uint64_t start;
	void *to;

	if (!file->bytes)
		return 0;
	if (end > map->low_bytes)
		end = map->low_bytes;
	start = file->bytes < end ? (end - file->bytes) & ~(uint64_t)(HV_PAGE_BYTES - 1) : 0;
	to = start >= kernel->end_gpa ? partition_hva(partition, GPA(start), file->bytes) : NULL;
	if (!to)
		return boot_file_fail(file, -LIS_NOSPACE, "does not fit into the guest's memory");
	kernel->header.ramdisk_image = (uint32_t)start;
	kernel->header.ramdisk_size = (uint32_t)file->bytes;
	return boot_file_read(file, 0, to, file->bytes);
}

static int load_files(const struct partition *partition, const struct boot_config *config,
		      struct kernel *kernel, char *error, size_t error_bytes)
{
	struct boot_file file;
	int err;

	err = boot_file_open(&file, config->kernel_path, error, error_bytes);
	if (err)
		return err;
	err = kernel_load(partition, config->map, &file, kernel);
	boot_file_close(&file);
	if (err || !config->initrd_path)
		return err;
	err = boot_file_open(&file, config->initrd_path, error, error_bytes);
	if (err)
		return err;
	err = load_initrd(partition, config->map, &file, kernel);
	boot_file_close(&file);
	return err;
}

static int write_cmdline(const struct partition *partition, const char *cmdline,
			 struct setup_header *header, char *error, size_t error_bytes)
{
	size_t bytes = (cmdline ? strlen(cmdline) : 0) + 1;
	uint32_t limit = header->cmdline_size;

	if (limit >= BOOT_CMDLINE_BYTES_MAX)
		limit = BOOT_CMDLINE_BYTES_MAX - 1;
	if (bytes - 1 > limit) {
		snprintf(error, error_bytes,
			 "command line: %zu characters are too many, this kernel takes %u",
			 bytes - 1, limit);
		return -LIS_INVALID;
	}
	memcpy(partition_hva(partition, GPA(BOOT_CMDLINE_GPA), bytes), cmdline ? cmdline : "",
	       bytes);
	header->cmd_line_ptr = BOOT_CMDLINE_GPA;
	return 0;
}

static void add_range(struct boot_params *params, uint64_t start, uint64_t end, uint32_t type)
{
	params->e820_table[params->e820_entries++] = (struct boot_e820_entry){
		.addr = start, .size = end - start, .type = type,
	};
}

static void write_ranges(struct boot_params *params, const struct memory_map *map)
{
	enum { RAM = 1, RESERVED = 2 };

	add_range(params, 0, BOOT_LOW_RAM_END, RAM);
	add_range(params, ACPI_AREA_GPA, MIB, RESERVED);
	add_range(params, MIB, map->low_bytes, RAM);
	if (map->high_bytes)
		add_range(params, MEMORY_HIGH_START, MEMORY_HIGH_START + map->high_bytes, RAM);
}

/* The first 4 GiB, mapped to themselves by pages of 2 MiB. */
static void write_page_tables(const struct partition *partition)
{
	uint64_t *tables = partition_hva(partition, GPA(BOOT_PAGE_TABLES_GPA), 6 * HV_PAGE_BYTES);
	uint64_t *pdpt = tables + 512, *directories = tables + 2 * 512;

	tables[0] = (BOOT_PAGE_TABLES_GPA + HV_PAGE_BYTES) | PAGE_PRESENT_WRITABLE;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (BOOT_PAGE_TABLES_GPA + (2 + i) * HV_PAGE_BYTES) | PAGE_PRESENT_WRITABLE;
	for (uint64_t i = 0; i < 4 * 512ull; i++)
		directories[i] = i * LARGE_PAGE_BYTES | PAGE_PRESENT_WRITABLE | PAGE_LARGE;
}

static void write_gdt(const struct partition *partition)
{
	uint64_t *gdt = partition_hva(partition, GPA(BOOT_GDT_GPA), 4 * sizeof(*gdt));

	gdt[BOOT_CODE_SELECTOR / 8] = 0x00af9b000000ffffull; /* 64-bit code */
	gdt[BOOT_DATA_SELECTOR / 8] = 0x00cf93000000ffffull; /* data */
}

int boot_load(const struct partition *partition, const struct boot_config *config,
	      struct boot_entry *out_entry, char *error, size_t error_bytes)
{
	/* The map has at least MEMORY_BYTES_MIN, so everything below 1 MiB is there. */
	struct boot_params *params = partition_hva(partition, GPA(BOOT_PARAMS_GPA),
						   sizeof(*params));
	struct kernel kernel;
	int err;

	err = load_files(partition, config, &kernel, error, error_bytes);
	if (err)
		return err;
	err = write_cmdline(partition, config->cmdline, &kernel.header, error, error_bytes);
	if (err)
		return err;
	kernel.header.type_of_loader = LOADER_UNKNOWN;
	params->hdr = kernel.header;
	params->acpi_rsdp_addr = ACPI_RSDP_GPA;
	write_ranges(params, config->map);
	write_page_tables(partition);
	write_gdt(partition);
	*out_entry = (struct boot_entry){
		.rip = kernel.entry, .rsi = BOOT_PARAMS_GPA, .cr3 = BOOT_PAGE_TABLES_GPA,
	};
	return 0;
}
