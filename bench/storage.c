// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The storage VSP over the loopback partition, on a raw image, beside fio's io_uring engine on the
 * same file and the CPU of our host end. Ours and fio take turns, medians are printed:
 *
 *	storage_<cache>_<operation>_<size>_<depth> value unit fio value unit ratio
 *
 * and for each case at depth 32 the CPU time of the host's thread, which spins between commands, beside
 * the limit, beside fio's own, and with direct I/O beside fio's where it costs the kernel least: commands
 * in batches, file and memory registered (what a VMM cannot do that gives memory back to its host).
 *
 * usage: bench_storage [PATTERN]   only the cases whose name contains it
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/storage_load.h"
#include "io/error.h"

#define IMAGE "bench-storage.raw"
#define RUNS 5
#define CPU_LIMIT_US 3.0

static const struct storage_load_case cases[] = {
	{ "direct_read_4k_1", true, false, false, 4096, 1 },
	{ "direct_read_4k_32", true, false, false, 4096, 32 },
	{ "direct_write_4k_1", true, true, false, 4096, 1 },
	{ "direct_write_4k_32", true, true, false, 4096, 32 },
	{ "direct_read_1m_8", true, false, true, 1u << 20, 8 },
	{ "direct_write_1m_8", true, true, true, 1u << 20, 8 },
	{ "cached_read_4k_1", false, false, false, 4096, 1 },
	{ "cached_read_4k_32", false, false, false, 4096, 32 },
	{ "cached_write_4k_1", false, true, false, 4096, 1 },
	{ "cached_write_4k_32", false, true, false, 4096, 32 },
};

/* ---- fio ---- */

/* The n-th field of a terse line, from 1. */
static double field(const char *line, int n)
{
	while (--n && line)
		line = (line = strchr(line, ';')) ? line + 1 : NULL;
	return line ? atof(line) : 0;
}

/* For fio, as ours has it. */
static int make_memory(void)
{
	int fd = memfd_create("fio", MFD_CLOEXEC);
	void *at = NULL;

	if (fd >= 0 && !ftruncate(fd, STORAGE_LOAD_MEMORY_BYTES))
		at = partition_map_file(STORAGE_LOAD_MEMORY_BYTES, fd, 0);
	bench_must("memory for fio", at ? 0 : -LIS_NOMEM);
	memset(at, 1, STORAGE_LOAD_MEMORY_BYTES);
	storage_load_gather(at, STORAGE_LOAD_MEMORY_BYTES);
	munmap(at, STORAGE_LOAD_MEMORY_BYTES);
	return fd;
}

/* Commands in batches, and the kernel told beforehand of all it would have to look up for each. */
#define FIO_LEAST_CPU \
	"--iodepth_batch=16 --iodepth_batch_complete_min=8 --iodepth_batch_complete_max=32 --registerfiles=1 --fixedbufs=1"

/* Commands a second; *@out_cpu_us is the CPU time of each. */
static double run_fio(const struct storage_load_case *is, const char *options, double *out_cpu_us)
{
	char command[768], line[8192];
	double iops = 0, percent = 0;
	int memory = make_memory();
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "fio --name=x --filename=" IMAGE " --ioengine=io_uring --direct=%d --rw=%s%s --bs=%u "
		 "--iodepth=%u --runtime=%dms --ramp_time=%dms --time_based --cpus_allowed=1 --size=%llu "
		 "--invalidate=0 --mem=mmapshared:/proc/%d/fd/%d %s --output-format=terse --terse-version=3 2>&1",
		 is->direct, is->sequential ? "" : "rand", is->write ? "write" : "read", is->bytes, is->depth,
		 STORAGE_LOAD_RUN_MS, STORAGE_LOAD_WARM_UP_MS, STORAGE_LOAD_DISK_BYTES, getpid(), memory, options);
	pipe = popen(command, "r");
	while (pipe && fgets(line, sizeof(line), pipe))
		if (!strncmp(line, "3;", 2)) {
			iops = field(line, is->write ? 49 : 8);
			percent = field(line, 88) + field(line, 89); /* of a CPU, user and system */
		}
	if (!pipe || pclose(pipe) || iops <= 0) {
		fprintf(stderr, "storage: fio does not run (is it installed?)\n");
		exit(1);
	}
	close(memory);
	*out_cpu_us = percent * 1e4 / iops;
	return iops;
}

/* ---- the figures ---- */

/*
 * Both begin with the file in the page cache, or without a page of it there: a direct write that
 * finds one has to take the kernel's slow way.
 */
static void prepare(const struct storage_load_case *is)
{
	static char chunk[1u << 20];
	int fd;

	if (is->direct) {
		storage_load_forget(IMAGE);
		return;
	}
	fd = open(IMAGE, O_RDONLY | O_CLOEXEC);
	bench_must(IMAGE, fd < 0 || fdatasync(fd) ? -LIS_IO : 0);
	while (read(fd, chunk, sizeof(chunk)) > 0)
		;
	close(fd);
}

static void print_cpu(const struct storage_load_case *is, const char *peer, double value, double reference)
{
	printf("storage_%s_cpu %.2f us/IO %s %.2f us/IO %.2f\n", is->name, value, peer, reference, value / reference);
}

static void run_case(const struct storage_load_case *is)
{
	double ours[RUNS], cpu_us[RUNS], fio[RUNS], fio_cpu_us[RUNS], least_cpu_us[RUNS], value, reference;
	const bool has_least = is->direct && is->depth == 32;
	const char *unit;

	for (int i = 0; i < RUNS; i++) {
		prepare(is);
		ours[i] = storage_load_run(is, IMAGE, "raw", &cpu_us[i]);
		prepare(is);
		fio[i] = run_fio(is, "", &fio_cpu_us[i]);
		if (has_least) {
			prepare(is);
			run_fio(is, FIO_LEAST_CPU, &least_cpu_us[i]);
		}
	}
	value = storage_load_in_unit(is, bench_median(ours, RUNS), &unit);
	reference = storage_load_in_unit(is, bench_median(fio, RUNS), &unit);
	printf("storage_%s %.1f %s fio %.1f %s %.2f\n", is->name, value, unit, reference, unit,
	       value / reference);
	if (is->depth == 32) {
		value = bench_median(cpu_us, RUNS);
		print_cpu(is, "limit", value, CPU_LIMIT_US);
		print_cpu(is, "fio", value, bench_median(fio_cpu_us, RUNS));
		if (has_least)
			print_cpu(is, "fio-batches", value, bench_median(least_cpu_us, RUNS));
	}
	fflush(stdout);
}

static bool make_image(void)
{
	static char chunk[1u << 20];
	int fd = open(IMAGE, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	bool fine = fd >= 0;

	for (uint64_t at = 0; fine && at < STORAGE_LOAD_DISK_BYTES; at += sizeof(chunk)) {
		memset(chunk, (int)(at >> 20) + 1, sizeof(chunk));
		fine = pwrite(fd, chunk, sizeof(chunk), (off_t)at) == (ssize_t)sizeof(chunk);
	}
	fine = fine && !fsync(fd);
	if (!fine)
		fprintf(stderr, "storage: %s: %s\n", IMAGE, strerror(errno));
	if (fd >= 0)
		close(fd);
	return fine;
}

int main(int argc, char **argv)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		fprintf(stderr, "storage: needs two CPUs\n");
		return 1;
	}
	if (!make_image())
		return 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (argc < 2 || strstr(cases[i].name, argv[1]))
			run_case(&cases[i]);
	unlink(IMAGE);
	return 0;
}
