// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Hostile kernels: files of any bytes, and a bzImage and a vmlinux with some bytes bent, loaded
 * into guest memory. One is refused with a line that says why, or lies with its entry in RAM above
 * 1 MiB; in the first MiB a kernel file writes nothing.
 */
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "vmm/boot.h"
#include "vmm/kernel.h"

#define MIB 0x100000u
#define RAM_BYTES (16u * MIB)
#define FILE_BYTES 4096u
#define HEADER_OFFSET 0x1f1u

static struct partition without_low, whole; /* the same RAM; the first has no first MiB */
static struct memory_map map;
static char kernel_path[32], initrd_path[32];
static int kernel_fd, initrd_fd;
static uint8_t bzimage[FILE_BYTES], vmlinux[FILE_BYTES];

static void map_ram(struct partition *partition, int fd)
{
	void *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (ram == MAP_FAILED)
		abort();
	*partition = (struct partition){ .vp_count = 1, .slot_count = 1 };
	partition->slots[0] = (struct partition_slot){ GPA(0), RAM_BYTES, ram, fd, 0 };
}

static void make_bzimage(void)
{
	struct setup_header header = {
		.setup_sects = 3, .boot_flag = 0xaa55, .jump = 0x6eeb, .header = 0x53726448,
		.version = 0x020f, .loadflags = LOADED_HIGH, .xloadflags = XLF_KERNEL_64,
		.pref_address = 4 * MIB, .init_size = 2 * MIB, .kernel_alignment = 2 * MIB,
		.relocatable_kernel = 1, .initrd_addr_max = 0x7fffffff, .cmdline_size = 2047,
	};

	memcpy(bzimage + HEADER_OFFSET, &header, sizeof(header));
}

static void make_vmlinux(void)
{
	Elf64_Ehdr head = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 }, .e_type = ET_EXEC,
		.e_machine = EM_X86_64, .e_entry = 2 * MIB, .e_phoff = sizeof(head),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
	};
	Elf64_Phdr segments[2] = {
		{ .p_type = PT_LOAD, .p_paddr = 2 * MIB, .p_filesz = 100, .p_memsz = MIB,
		  .p_offset = 512 },
		{ .p_type = PT_LOAD, .p_paddr = 4 * MIB, .p_filesz = 8, .p_memsz = 16,
		  .p_offset = 9 },
	};

	memcpy(vmlinux, &head, sizeof(head));
	memcpy(vmlinux + sizeof(head), segments, sizeof(segments));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int ram = memfd_create("ram", 0);

	kernel_fd = memfd_create("kernel", 0);
	initrd_fd = memfd_create("initrd", 0);
	if (ram < 0 || kernel_fd < 0 || initrd_fd < 0 || ftruncate(ram, RAM_BYTES))
		abort();
	map_ram(&whole, ram);
	map_ram(&without_low, ram);
	if (mprotect(without_low.slots[0].hva, MIB, PROT_NONE))
		abort();
	map = (struct memory_map){ .low_bytes = RAM_BYTES };
	snprintf(kernel_path, sizeof(kernel_path), "/proc/self/fd/%d", kernel_fd);
	snprintf(initrd_path, sizeof(initrd_path), "/proc/self/fd/%d", initrd_fd);
	make_bzimage();
	make_vmlinux();
	return 0;
}

/* The file, and its length. */
static size_t make_file(struct input *input, uint8_t how, uint8_t *file)
{
	size_t bytes = FILE_BYTES;

	if (how & 1) { /* as it comes */
		bytes = input->bytes < FILE_BYTES ? input->bytes : FILE_BYTES;
		input_copy(input, file, bytes);
		return bytes;
	}
	memcpy(file, how & 2 ? vmlinux : bzimage, FILE_BYTES);
	if (how & 4)
		bytes = input_u16(input) % (FILE_BYTES + 1);
	while (input->bytes) {
		uint8_t at = input_u8(input), count = input_u8(input);
		size_t offset = (how & 2 ? 0 : HEADER_OFFSET) + at;

		input_copy(input, file + offset, count % 9);
	}
	return bytes;
}

static int load(struct kernel *kernel, char *error, size_t error_bytes)
{
	struct boot_file file;
	int result = boot_file_open(&file, kernel_path, error, error_bytes);

	FUZZ_CHECK(!result);
	result = kernel_load(&without_low, &map, &file, kernel);
	boot_file_close(&file);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t how = input_u8(&input), file[FILE_BYTES + 16];
	struct boot_config config = { .kernel_path = kernel_path, .map = &map };
	char error[256] = "";
	struct boot_entry entry;
	struct kernel kernel;
	size_t file_bytes;
	int result, boot_result;

	if (how & 0x10)
		config.cmdline = "console=ttyS0 quiet";
	if (how & 0x20)
		config.initrd_path = initrd_path;
	if (how & 0x20 && ftruncate(initrd_fd, input_u8(&input) * 4097))
		abort();
	file_bytes = make_file(&input, how, file);
	if (ftruncate(kernel_fd, 0) ||
	    pwrite(kernel_fd, file, file_bytes, 0) != (ssize_t)file_bytes)
		abort();

	result = load(&kernel, error, sizeof(error));
	FUZZ_CHECK(!strstr(error, "Bad address")); /* the first MiB */
	if (result) {
		FUZZ_CHECK(result == -LIS_FORMAT || result == -LIS_NOSPACE);
		FUZZ_CHECK(!strncmp(error, kernel_path, strlen(kernel_path)));
	} else {
		FUZZ_CHECK(kernel.entry >= MIB && kernel.entry < kernel.end_gpa);
		FUZZ_CHECK(kernel.end_gpa <= RAM_BYTES);
	}
	/* Zeroed, as it is promised; nothing else in it makes a difference. */
	memset((char *)whole.slots[0].hva + BOOT_PARAMS_GPA, 0, HV_PAGE_BYTES);
	boot_result = boot_load(&whole, &config, &entry, error, sizeof(error));
	FUZZ_CHECK(!result || boot_result == result);
	FUZZ_CHECK(boot_result || entry.rip == kernel.entry);
	FUZZ_CHECK(!boot_result || error[0]);
	return 0;
}
