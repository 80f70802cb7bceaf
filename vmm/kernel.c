// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Kernel images. Source: [linux 6.1 Documentation/x86/boot.rst], 64-bit boot protocol; System V ABI
 * for ELF, whose entry in a vmlinux takes the same registers and boot parameters.
 */
#include "vmm/kernel.h"

#include <elf.h>
#include <string.h>

#define SECTOR_BYTES 512u
#define SETUP_SECTORS_DEFAULT 4u
#define HEADER_OFFSET 0x1f1u
#define JUMP_OFFSET 0x202u       /* the jump over the header starts two bytes before */
#define HEADER_MAGIC 0x53726448u /* "HdrS" */
#define BOOT_FLAG 0xaa55u
#define PROTOCOL_MIN 0x020cu     /* first with a 64-bit entry (Linux 3.8) */
#define ENTRY_64_OFFSET 0x200u
#define MIB 0x100000u

/* For an ELF image, which has no header to tell. */
#define ELF_SEGMENTS_MAX 16u
#define ELF_PROTOCOL 0x020fu
#define ELF_CMDLINE_BYTES 2047u
#define ELF_INITRD_END 0x7fffffffu

static int no_kernel(const struct boot_file *file)
{
	return boot_file_fail(file, -LIS_FORMAT, "not a Linux kernel (bzImage or vmlinux)");
}

static int no_room(const struct boot_file *file)
{
	return boot_file_fail(file, -LIS_NOSPACE, "does not fit into the guest's memory");
}

static int read_header(const struct boot_file *file, struct setup_header *header)
{
	size_t header_bytes;
	int err;

	if (file->bytes < HEADER_OFFSET + sizeof(*header))
		return no_kernel(file);
	err = boot_file_read(file, HEADER_OFFSET, header, sizeof(*header));
	if (err)
		return err;
	if (header->boot_flag != BOOT_FLAG || header->header != HEADER_MAGIC)
		return no_kernel(file);
	if (header->version < PROTOCOL_MIN)
		return boot_file_fail(file, -LIS_FORMAT,
				      "too old a kernel: needs Linux 3.8 or newer");
	if (!(header->xloadflags & XLF_KERNEL_64))
		return boot_file_fail(file, -LIS_FORMAT, "not a 64-bit kernel");
	if (!(header->loadflags & LOADED_HIGH))
		return boot_file_fail(file, -LIS_FORMAT, "not a bzImage");
	/* The header says where it ends: what follows is code, not for us. */
	header_bytes = JUMP_OFFSET + (header->jump >> 8) - HEADER_OFFSET;
	if (header_bytes < sizeof(*header))
		memset((char *)header + header_bytes, 0, sizeof(*header) - header_bytes);
	return 0;
}

static int load_bzimage(const struct partition *partition, const struct memory_map *map,
			const struct boot_file *file, struct kernel *kernel)
{
	struct setup_header *header = &kernel->header;
	uint64_t setup_sectors, offset, bytes, memory_bytes, gpa;
	void *to;
	int err = read_header(file, header);

	if (err)
		return err;
	setup_sectors = header->setup_sects ? header->setup_sects : SETUP_SECTORS_DEFAULT;
	offset = (setup_sectors + 1) * SECTOR_BYTES;
	if (offset + ENTRY_64_OFFSET >= file->bytes)
		return boot_file_fail(file, -LIS_FORMAT, "is cut off");
	bytes = file->bytes - offset;
	memory_bytes = bytes > header->init_size ? bytes : header->init_size;
	gpa = header->pref_address;
	if (gpa < MIB || gpa > MEMORY_LOW_END || gpa % HV_PAGE_BYTES)
		return boot_file_fail(file, -LIS_FORMAT, "wants an impossible address");
	/* In little memory: a relocatable kernel is content with any start above 1 MiB. */
	if (gpa + memory_bytes > map->low_bytes && header->relocatable_kernel)
		gpa = header->kernel_alignment > MIB ? header->kernel_alignment : MIB;
	to = partition_hva(partition, GPA(gpa), bytes);
	if (!to || gpa + memory_bytes > map->low_bytes)
		return no_room(file);
	kernel->entry = gpa + ENTRY_64_OFFSET;
	kernel->end_gpa = gpa + memory_bytes;
	return boot_file_read(file, offset, to, bytes);
}

static int load_segment(const struct partition *partition, const struct boot_file *file,
			const Elf64_Phdr *segment, struct kernel *kernel)
{
	void *to;

	if (segment->p_paddr < MIB || segment->p_filesz > segment->p_memsz)
		return boot_file_fail(file, -LIS_FORMAT, "wants an impossible address");
	to = partition_hva(partition, GPA(segment->p_paddr), segment->p_memsz);
	if (!to || segment->p_paddr >= MEMORY_LOW_END)
		return no_room(file);
	if (segment->p_paddr + segment->p_memsz > kernel->end_gpa)
		kernel->end_gpa = segment->p_paddr + segment->p_memsz;
	/* What is not in the file is zero, as fresh memory is. */
	return boot_file_read(file, segment->p_offset, to, segment->p_filesz);
}

static int load_elf(const struct partition *partition, const struct boot_file *file,
		    const Elf64_Ehdr *elf, struct kernel *kernel)
{
	Elf64_Phdr segments[ELF_SEGMENTS_MAX];
	int err;

	if (elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_machine != EM_X86_64 ||
	    elf->e_type != ET_EXEC || elf->e_phentsize != sizeof(segments[0]) ||
	    elf->e_phnum == 0 || elf->e_phnum > ELF_SEGMENTS_MAX)
		return no_kernel(file);
	err = boot_file_read(file, elf->e_phoff, segments, elf->e_phnum * sizeof(segments[0]));
	for (uint32_t i = 0; i < elf->e_phnum && !err; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_memsz)
			err = load_segment(partition, file, &segments[i], kernel);
	if (err)
		return err;
	if (elf->e_entry < MIB || elf->e_entry >= kernel->end_gpa)
		return no_kernel(file);
	kernel->entry = elf->e_entry;
	kernel->header = (struct setup_header){
		.boot_flag = BOOT_FLAG, .header = HEADER_MAGIC, .version = ELF_PROTOCOL,
		.loadflags = LOADED_HIGH, .cmdline_size = ELF_CMDLINE_BYTES,
		.initrd_addr_max = ELF_INITRD_END,
	};
	return 0;
}

int kernel_load(const struct partition *partition, const struct memory_map *map,
		const struct boot_file *file, struct kernel *out_kernel)
{
	struct kernel kernel = { 0 };
	Elf64_Ehdr elf;
	int err;

	if (file->bytes < sizeof(elf))
		return no_kernel(file);
	err = boot_file_read(file, 0, &elf, sizeof(elf));
	if (err)
		return err;
	if (memcmp(elf.e_ident, ELFMAG, SELFMAG) == 0)
		err = load_elf(partition, file, &elf, &kernel);
	else
		err = load_bzimage(partition, map, file, &kernel);
	if (!err)
		*out_kernel = kernel;
	return err;
}
