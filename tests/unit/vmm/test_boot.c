// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Kernels made up by the test, loaded, and looked at as the kernel would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <asm/bootparam.h>
#include <elf.h>

#include "vmm/acpi.h"
#include "vmm/boot.h"

#define MIB (1u << 20)
#define SETUP_SECTORS 3u
#define PAYLOAD_OFFSET ((SETUP_SECTORS + 1) * 512u)
#define PAYLOAD_BYTES 5000u
#define FILE_BYTES (PAYLOAD_OFFSET + PAYLOAD_BYTES)

static struct partition partition;
static struct memory_map map;
static uint8_t image[FILE_BYTES];
static struct setup_header *header = (struct setup_header *)(void *)(image + 0x1f1);
static char folder[] = "/tmp/test_boot.XXXXXX";
static char kernel_path[64], initrd_path[64];
static char error[512];
static struct boot_entry entry;
static struct boot_config config;

static void write_file(const char *path, const void *data, size_t bytes)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
}

static void make_map(uint64_t bytes)
{
	memory_destroy(&partition);
	assert_int_equal(memory_map_init(&map, bytes, 40, error, sizeof(error)), 0);
	assert_int_equal(memory_create(&partition, &map, error, sizeof(error)), 0);
}

static int setup(void **state)
{
	make_map(64 * MIB);
	memset(image, 0, sizeof(image));
	memset(image + PAYLOAD_OFFSET, 'k', PAYLOAD_BYTES);
	image[FILE_BYTES - 1] = 'e';
	header->setup_sects = SETUP_SECTORS;
	header->boot_flag = 0xaa55;
	header->jump = 0x6eeb;
	header->header = 0x53726448;
	header->version = 0x020f;
	header->loadflags = LOADED_HIGH;
	header->xloadflags = XLF_KERNEL_64;
	header->pref_address = 16 * MIB;
	header->init_size = 8 * MIB;
	header->kernel_alignment = 2 * MIB;
	header->relocatable_kernel = 1;
	header->initrd_addr_max = 0x7fffffff;
	header->cmdline_size = 2047;
	write_file(kernel_path, image, sizeof(image));
	config = (struct boot_config){ .kernel_path = kernel_path, .map = &map };
	return 0;
}

static int teardown(void **state)
{
	memory_destroy(&partition);
	unlink(kernel_path);
	unlink(initrd_path);
	return 0;
}

static int load(void)
{
	write_file(kernel_path, image, sizeof(image));
	error[0] = 0;
	return boot_load(&partition, &config, &entry, error, sizeof(error));
}

static const struct boot_params *params(void)
{
	return partition_hva(&partition, GPA(BOOT_PARAMS_GPA), sizeof(struct boot_params));
}

static void a_kernel_lies_where_it_prefers_with_its_entry_behind(void **state)
{
	const uint8_t *kernel;

	assert_int_equal(load(), 0);
	assert_int_equal(entry.rip, 16 * MIB + 0x200);
	assert_int_equal(entry.rsi, BOOT_PARAMS_GPA);
	kernel = partition_hva(&partition, GPA(16 * MIB), PAYLOAD_BYTES);
	assert_int_equal(kernel[0], 'k');
	assert_int_equal(kernel[PAYLOAD_BYTES - 1], 'e');
	assert_int_equal(params()->hdr.type_of_loader, 0xff);
	assert_int_equal(params()->acpi_rsdp_addr, ACPI_RSDP_GPA);
	assert_int_equal(params()->hdr.header, 0x53726448);
}

static void nothing_behind_the_header_is_taken_for_header(void **state)
{
	header->jump = 0x62eb; /* ends before the field below */
	header->kernel_info_offset = 0xdeadbeef;
	assert_int_equal(load(), 0);
	assert_int_equal(params()->hdr.kernel_info_offset, 0);
	assert_int_equal(params()->hdr.kernel_alignment, 2 * MIB);
}

static void ranges_are_ram_around_the_hole(void **state)
{
	const struct boot_params *p;

	make_map(64ull * MIB);
	assert_int_equal(load(), 0);
	p = params();
	assert_int_equal(p->e820_entries, 3);
	assert_int_equal(p->e820_table[0].addr, 0);
	assert_int_equal(p->e820_table[0].size, 0x9fc00);
	assert_int_equal(p->e820_table[1].addr, 0xe0000);
	assert_int_equal(p->e820_table[1].type, 2);
	assert_int_equal(p->e820_table[2].addr, MIB);
	assert_int_equal(p->e820_table[2].size, 63 * MIB);
	make_map(4096ull * MIB);
	assert_int_equal(load(), 0);
	p = params();
	assert_int_equal(p->e820_entries, 4);
	assert_int_equal(p->e820_table[2].size, 3071ull * MIB);
	assert_int_equal(p->e820_table[3].addr, 1ull << 32);
	assert_int_equal(p->e820_table[3].size, 1024ull * MIB);
	assert_int_equal(p->e820_table[3].type, 1);
}

static void an_initrd_is_as_high_as_allowed_on_a_page(void **state)
{
	uint32_t at;

	write_file(initrd_path, "initrd!", 7);
	config.initrd_path = initrd_path;
	assert_int_equal(load(), 0);
	assert_int_equal(params()->hdr.ramdisk_size, 7);
	at = params()->hdr.ramdisk_image;
	assert_int_equal(at, 64 * MIB - 4096);
	assert_memory_equal(partition_hva(&partition, GPA(at), 7), "initrd!", 7);
	memory_clear(&partition);
	header->initrd_addr_max = 32 * MIB - 1;
	assert_int_equal(load(), 0);
	assert_int_equal(params()->hdr.ramdisk_image, 32 * MIB - 4096);
	memory_clear(&partition);
	header->initrd_addr_max = 24 * MIB - 1; /* where the kernel unpacks */
	assert_int_equal(load(), -LIS_NOSPACE);
	assert_non_null(strstr(error, initrd_path));
}

static void the_command_line_is_where_the_header_says(void **state)
{
	static char line[3000];

	config.cmdline = "console=ttyS0";
	assert_int_equal(load(), 0);
	assert_string_equal(partition_hva(&partition, GPA(params()->hdr.cmd_line_ptr), 100),
			    config.cmdline);
	memset(line, 'x', 2047);
	config.cmdline = line;
	assert_int_equal(load(), 0);
	line[2047] = 'x';
	assert_int_equal(load(), -LIS_INVALID);
	assert_non_null(strstr(error, "2047"));
}

static void page_tables_map_four_gib_to_themselves(void **state)
{
	const uint64_t *pml4, *pdpt;

	assert_int_equal(load(), 0);
	pml4 = partition_hva(&partition, GPA(entry.cr3), 4096);
	pdpt = partition_hva(&partition, GPA(pml4[0] & ~0xfffull), 4096);
	for (uint64_t gpa = 0; gpa < 1ull << 32; gpa += 2 * MIB) {
		const uint64_t *directory =
			partition_hva(&partition, GPA(pdpt[gpa >> 30] & ~0xfffull), 4096);

		assert_int_equal(directory[gpa >> 21 & 511], gpa | 0x83);
	}
	assert_int_equal(pdpt[4], 0);
}

static void a_relocatable_kernel_moves_down_in_little_memory(void **state)
{
	make_map(16 * MIB);
	assert_int_equal(load(), 0);
	assert_int_equal(entry.rip, 2 * MIB + 0x200);
	memory_clear(&partition);
	header->relocatable_kernel = 0;
	assert_int_equal(load(), -LIS_NOSPACE);
	header->relocatable_kernel = 1;
	header->init_size = 15 * MIB;
	assert_int_equal(load(), -LIS_NOSPACE);
}

static void bad_files_are_refused_by_name_and_reason(void **state)
{
	static const struct {
		uint32_t offset;
		uint16_t value;
		const char *reason;
	} cases[] = {
		{ 0x1fe, 0x0000, "not a Linux kernel" },
		{ 0x202, 0x0000, "not a Linux kernel" },
		{ 0x206, 0x020b, "too old" },
		{ 0x236, 0x0000, "64-bit" },
		{ 0x25a, 0xffff, "impossible" },
		{ 0x1f1, 0x00ff, "cut off" },
		{ 0x1f1, 0x000c, "cut off" }, /* before its 64-bit entry */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint16_t saved;

		memcpy(&saved, image + cases[i].offset, 2);
		memcpy(image + cases[i].offset, &cases[i].value, 2);
		assert_int_equal(load(), -LIS_FORMAT);
		assert_non_null(strstr(error, kernel_path));
		assert_non_null(strstr(error, cases[i].reason));
		memcpy(image + cases[i].offset, &saved, 2);
	}
	write_file(kernel_path, "MZ", 2);
	assert_int_equal(boot_load(&partition, &config, &entry, error, sizeof(error)), -LIS_FORMAT);
	unlink(kernel_path);
	assert_int_equal(boot_load(&partition, &config, &entry, error, sizeof(error)),
			 -LIS_NOTFOUND);
	assert_non_null(strstr(error, kernel_path));
	config.kernel_path = folder;
	assert_int_equal(boot_load(&partition, &config, &entry, error, sizeof(error)), -LIS_FORMAT);
	config.kernel_path = kernel_path;
	config.initrd_path = initrd_path;
	assert_int_equal(load(), -LIS_NOTFOUND);
	assert_non_null(strstr(error, initrd_path));
}

/* ELF */

static struct {
	Elf64_Ehdr head;
	Elf64_Phdr segments[2];
	uint8_t text[100];
} elf;

static int load_elf(void)
{
	write_file(kernel_path, &elf, sizeof(elf));
	error[0] = 0;
	return boot_load(&partition, &config, &entry, error, sizeof(error));
}

static void make_elf(void)
{
	memset(&elf, 0, sizeof(elf));
	memcpy(elf.head.e_ident, ELFMAG, SELFMAG);
	elf.head.e_ident[EI_CLASS] = ELFCLASS64;
	elf.head.e_type = ET_EXEC;
	elf.head.e_machine = EM_X86_64;
	elf.head.e_entry = 16 * MIB + 4;
	elf.head.e_phoff = offsetof(__typeof__(elf), segments);
	elf.head.e_phentsize = sizeof(elf.segments[0]);
	elf.head.e_phnum = 2;
	elf.segments[0] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_paddr = UINT64_MAX, .p_memsz = 1 };
	elf.segments[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
					.p_paddr = 16 * MIB,
					.p_filesz = 100,
					.p_memsz = MIB,
					.p_offset = offsetof(__typeof__(elf), text) };
	memset(elf.text, 't', sizeof(elf.text));
}

static void an_elf_kernel_starts_at_its_entry_with_a_header_made_up(void **state)
{
	const uint8_t *text;

	make_elf();
	config.cmdline = "quiet";
	assert_int_equal(load_elf(), 0);
	assert_int_equal(entry.rip, 16 * MIB + 4);
	text = partition_hva(&partition, GPA(16 * MIB), MIB);
	assert_int_equal(text[99], 't');
	assert_int_equal(text[100], 0);
	assert_int_equal(params()->hdr.header, 0x53726448);
	assert_int_equal(params()->hdr.boot_flag, 0xaa55);
	assert_string_equal(partition_hva(&partition, GPA(params()->hdr.cmd_line_ptr), 8), "quiet");
}

static void an_elf_file_cannot_write_where_it_should_not(void **state)
{
	static const uint64_t addresses[] = { 0, 0xf0000, 64ull * MIB - 10, 1ull << 32,
					      UINT64_MAX - 10 };

	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		make_elf();
		elf.segments[1].p_paddr = addresses[i];
		assert_true(load_elf() < 0);
		assert_non_null(strstr(error, addresses[i] < MIB ? "impossible" : "fit"));
	}
	make_elf();
	elf.segments[1].p_filesz = UINT64_MAX;
	assert_int_equal(load_elf(), -LIS_FORMAT);
	make_elf();
	elf.segments[1].p_memsz = elf.segments[1].p_filesz = 65536;
	assert_int_equal(load_elf(), -LIS_FORMAT);
	make_elf();
	elf.segments[1].p_offset = UINT64_MAX - 50;
	assert_int_equal(load_elf(), -LIS_FORMAT);
	make_elf();
	elf.head.e_phoff = UINT64_MAX - 50;
	assert_int_equal(load_elf(), -LIS_FORMAT);
	make_elf();
	elf.head.e_phnum = 0xffff;
	assert_int_equal(load_elf(), -LIS_FORMAT);
	make_elf();
	elf.head.e_entry = 0x1000;
	assert_int_equal(load_elf(), -LIS_FORMAT);
	make_elf();
	elf.head.e_machine = EM_386;
	assert_int_equal(load_elf(), -LIS_FORMAT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_kernel_lies_where_it_prefers_with_its_entry_behind),
		T(nothing_behind_the_header_is_taken_for_header),
		T(ranges_are_ram_around_the_hole),
		T(an_initrd_is_as_high_as_allowed_on_a_page),
		T(the_command_line_is_where_the_header_says),
		T(page_tables_map_four_gib_to_themselves),
		T(a_relocatable_kernel_moves_down_in_little_memory),
		T(bad_files_are_refused_by_name_and_reason),
		T(an_elf_kernel_starts_at_its_entry_with_a_header_made_up),
		T(an_elf_file_cannot_write_where_it_should_not),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	snprintf(kernel_path, sizeof(kernel_path), "%s/kernel", folder);
	snprintf(initrd_path, sizeof(initrd_path), "%s/initrd", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
