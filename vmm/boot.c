// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Direct boot of a Linux kernel. Source: [linux 6.1 Documentation/x86/boot.rst], 64-bit boot protocol.
 *
 * Memory is low RAM only: the kernel where it prefers to be, the initrd as high as the kernel allows.
 */
#include "vmm/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/error.h"
#include "vmm/acpi.h"

#define SECTOR_BYTES 512u
#define SETUP_SECTORS_DEFAULT 4u
#define HEADER_OFFSET 0x1f1u
#define JUMP_OFFSET 0x202u       /* the jump over the header starts two bytes before */
#define HEADER_MAGIC 0x53726448u /* "HdrS" */
#define BOOT_FLAG 0xaa55u
#define PROTOCOL_MIN 0x020cu     /* first with a 64-bit entry (Linux 3.8) */
#define ENTRY_64_OFFSET 0x200u
#define LOADER_UNKNOWN 0xffu
#define MIB 0x100000u

#define PAGE_PRESENT_WRITABLE 0x03u
#define PAGE_LARGE 0x80u
#define LARGE_PAGE_BYTES (2ull * MIB)

struct file {
	const char *path;
	int fd;
	uint64_t bytes;
};

struct loader {
	const struct partition *partition;
	const struct boot_config *config;
	char *error;
	size_t error_bytes;
	struct boot_params *params;
	uint64_t kernel_gpa;
	uint64_t kernel_end_gpa; /* with what it unpacks into */
};

static int fail(struct loader *loader, int err, const char *path, const char *why)
{
	snprintf(loader->error, loader->error_bytes, "%s: %s", path, why);
	return err;
}

static int open_file(struct loader *loader, const char *path, struct file *out_file)
{
	struct file file = { .path = path };
	struct stat info;

	file.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file.fd < 0)
		return fail(loader, lis_error_from_errno(errno), path, strerror(errno));
	if (fstat(file.fd, &info) < 0 || !S_ISREG(info.st_mode)) {
		close(file.fd);
		return fail(loader, -LIS_FORMAT, path, "not a regular file");
	}
	file.bytes = (uint64_t)info.st_size;
	*out_file = file;
	return 0;
}

static int read_file(struct loader *loader, const struct file *file, uint64_t offset, void *to, uint64_t bytes)
{
	char *at = to;

	while (bytes) {
		ssize_t got = pread(file->fd, at, bytes, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(loader, lis_error_from_errno(errno), file->path, strerror(errno));
		if (got == 0)
			return fail(loader, -LIS_FORMAT, file->path, "is cut off");
		at += got;
		offset += (uint64_t)got;
		bytes -= (uint64_t)got;
	}
	return 0;
}

/* The setup header, checked, in the boot parameters. */
static int read_header(struct loader *loader, const struct file *file)
{
	struct setup_header *header = &loader->params->hdr;
	size_t header_bytes;
	int err;

	if (file->bytes < HEADER_OFFSET + sizeof(*header))
		return fail(loader, -LIS_FORMAT, file->path, "not a Linux kernel (bzImage)");
	err = read_file(loader, file, HEADER_OFFSET, header, sizeof(*header));
	if (err)
		return err;
	if (header->boot_flag != BOOT_FLAG || header->header != HEADER_MAGIC)
		return fail(loader, -LIS_FORMAT, file->path, "not a Linux kernel (bzImage)");
	if (header->version < PROTOCOL_MIN)
		return fail(loader, -LIS_FORMAT, file->path, "too old a kernel: needs Linux 3.8 or newer");
	if (!(header->xloadflags & XLF_KERNEL_64))
		return fail(loader, -LIS_FORMAT, file->path, "not a 64-bit kernel");
	if (!(header->loadflags & LOADED_HIGH))
		return fail(loader, -LIS_FORMAT, file->path, "not a bzImage");
	/* The header says where it ends: what follows is code, not for us. */
	header_bytes = JUMP_OFFSET + (header->jump >> 8) - HEADER_OFFSET;
	if (header_bytes < sizeof(*header))
		memset((char *)header + header_bytes, 0, sizeof(*header) - header_bytes);
	return 0;
}

static int load_kernel(struct loader *loader, const struct file *file)
{
	struct setup_header *header = &loader->params->hdr;
	uint32_t setup_sectors = header->setup_sects ? header->setup_sects : SETUP_SECTORS_DEFAULT;
	uint64_t offset = (uint64_t)(setup_sectors + 1) * SECTOR_BYTES;
	uint64_t bytes, memory_bytes;
	void *to;

	if (offset >= file->bytes)
		return fail(loader, -LIS_FORMAT, file->path, "is cut off");
	bytes = file->bytes - offset;
	memory_bytes = bytes > header->init_size ? bytes : header->init_size;
	loader->kernel_gpa = header->pref_address;
	if (loader->kernel_gpa < MIB || loader->kernel_gpa > MEMORY_LOW_END ||
	    loader->kernel_gpa % HV_PAGE_BYTES)
		return fail(loader, -LIS_FORMAT, file->path, "wants an impossible address");
	/* There may not be that much memory; a relocatable kernel is content with any start above 1 MiB. */
	if (loader->kernel_gpa + memory_bytes > loader->config->map->low_bytes && header->relocatable_kernel)
		loader->kernel_gpa = header->kernel_alignment > MIB ? header->kernel_alignment : MIB;
	loader->kernel_end_gpa = loader->kernel_gpa + memory_bytes;
	if (loader->kernel_end_gpa > loader->config->map->low_bytes)
		return fail(loader, -LIS_NOSPACE, file->path, "does not fit into the guest's memory");
	to = partition_hva(loader->partition, GPA(loader->kernel_gpa), bytes);
	if (!to)
		return fail(loader, -LIS_NOSPACE, file->path, "does not fit into the guest's memory");
	return read_file(loader, file, offset, to, bytes);
}

static int load_initrd(struct loader *loader, const struct file *file)
{
	struct setup_header *header = &loader->params->hdr;
	uint64_t end = (uint64_t)header->initrd_addr_max + 1;
	uint64_t start;
	void *to;

	if (!file->bytes)
		return 0;
	if (end > loader->config->map->low_bytes)
		end = loader->config->map->low_bytes;
	if (end < loader->kernel_end_gpa || file->bytes > end - loader->kernel_end_gpa)
		return fail(loader, -LIS_NOSPACE, file->path, "does not fit into the guest's memory");
	start = (end - file->bytes) & ~(uint64_t)(HV_PAGE_BYTES - 1);
	to = partition_hva(loader->partition, GPA(start), file->bytes);
	if (start < loader->kernel_end_gpa || !to)
		return fail(loader, -LIS_NOSPACE, file->path, "does not fit into the guest's memory");
	header->ramdisk_image = (uint32_t)start;
	header->ramdisk_size = (uint32_t)file->bytes;
	return read_file(loader, file, 0, to, file->bytes);
}

static int write_cmdline(struct loader *loader)
{
	const char *cmdline = loader->config->cmdline ? loader->config->cmdline : "";
	size_t bytes = strlen(cmdline) + 1;
	uint32_t limit = loader->params->hdr.cmdline_size;

	if (limit >= BOOT_CMDLINE_BYTES_MAX)
		limit = BOOT_CMDLINE_BYTES_MAX - 1;
	if (bytes - 1 > limit) {
		snprintf(loader->error, loader->error_bytes,
			 "command line: %zu characters are too many, this kernel takes %u", bytes - 1, limit);
		return -LIS_INVALID;
	}
	memcpy(partition_hva(loader->partition, GPA(BOOT_CMDLINE_GPA), bytes), cmdline, bytes);
	loader->params->hdr.cmd_line_ptr = BOOT_CMDLINE_GPA;
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

static int load_files(struct loader *loader)
{
	struct file file;
	int err;

	err = open_file(loader, loader->config->kernel_path, &file);
	if (err)
		return err;
	err = read_header(loader, &file);
	if (!err)
		err = load_kernel(loader, &file);
	close(file.fd);
	if (err || !loader->config->initrd_path)
		return err;
	err = open_file(loader, loader->config->initrd_path, &file);
	if (err)
		return err;
	err = load_initrd(loader, &file);
	close(file.fd);
	return err;
}

int boot_load(const struct partition *partition, const struct boot_config *config,
	      struct boot_entry *out_entry, char *error, size_t error_bytes)
{
	struct loader loader = {
		.partition = partition, .config = config, .error = error, .error_bytes = error_bytes,
	};
	int err;

	/* The map has at least MEMORY_BYTES_MIN, so everything below 1 MiB is there. */
	loader.params = partition_hva(partition, GPA(BOOT_PARAMS_GPA), sizeof(*loader.params));
	err = load_files(&loader);
	if (!err)
		err = write_cmdline(&loader);
	if (err)
		return err;
	loader.params->hdr.type_of_loader = LOADER_UNKNOWN;
	loader.params->acpi_rsdp_addr = ACPI_RSDP_GPA;
	write_ranges(loader.params, config->map);
	write_page_tables(partition);
	write_gdt(partition);
	*out_entry = (struct boot_entry){
		.rip = loader.kernel_gpa + ENTRY_64_OFFSET,
		.rsi = BOOT_PARAMS_GPA,
		.cr3 = BOOT_PAGE_TABLES_GPA,
	};
	return 0;
}
