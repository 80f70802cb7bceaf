// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The storage VSP over the loopback partition, on a raw image, beside fio's io_uring engine on the
 * same file. The guest end is a thread on CPU 0 that keeps a number of commands under way, the host
 * end a loop on CPU 1; fio runs on CPU 1. Ours and fio take turns, medians are printed:
 *
 *	storage_<cache>_<operation>_<size>_<depth> value unit fio value unit ratio
 *
 * and for each case at depth 32 the CPU time of the host's thread, which spins between commands.
 *
 * usage: bench_storage [PATTERN]   only the cases whose name contains it
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/storvsp.h"
#include "tests/loopback/storvsp_guest.h"

#define IMAGE "bench-storage.raw"
#define IMAGE_BYTES (512ull << 20)
#define RUNS 3
#define RUN_MS 1000
#define WARM_UP_MS 150
#define DATA_BYTES (8u << 20)
#define RING_PAGES 33u /* 128 KiB of data, as Linux has */
#define CPU_LIMIT_US 3.0

struct bench_case {
	const char *name;
	bool direct, write, sequential;
	uint32_t bytes, depth;
};

static const struct bench_case cases[] = {
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

struct host {
	struct io_loop *loop;
	struct partition *partition;
	struct vmbus_host *bus;
	struct block_device *device;
	struct scsi_disk *disk;
	struct storvsp *storvsp;
	struct mini_guest guest;
	struct mini_channel channel;
	struct gpa data;
	struct io_call call;
	atomic_bool called;
	uint64_t host_cpu_ns; /* result of read_cpu() */
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "storage: %s: %s\n", what, lis_error_text(err));
	exit(1);
}

static void must(const char *what, int err)
{
	if (err)
		die(what, err);
}

/* ---- the host end ---- */

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fprintf(stderr, "storage: cannot pin to CPU %d, figures will vary\n", cpu);
}

static void unpin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	CPU_SET(1, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void pin_host(void *arg)
{
	pin(1);
}

static void read_cpu(void *arg)
{
	struct host *host = arg;

	host->host_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void on_call(struct io_call *call)
{
	struct host *host = (struct host *)((char *)call - offsetof(struct host, call));

	atomic_store(&host->called, true);
}

static void offer(void *arg)
{
	struct host *host = arg;
	struct storvsp_config config = { .name = "scsi0", .instance_id = storvsp_instance_id(0),
					 .bus_loop = host->loop, .loops = &host->loop,
					 .loop_count = 1 };

	must("controller", storvsp_create(host->bus, &config, &host->storvsp));
	must("disk",
	     storvsp_lun_add(host->storvsp, (struct storvsp_address){ 0, 0, 0 }, host->disk));
}

static void open_channel(struct host *host)
{
	const struct guid id = storvsp_instance_id(0);
	uint8_t *data;

	must("guest", loopback_guest_attach(host->partition, &host->guest.lo));
	must("contact", mini_connect(&host->guest, VMBUS_VERSION_IRON));
	must("offers", mini_request_offers(&host->guest));
	must("open", mini_open(&host->guest, mini_find_offer(&host->guest, &id, 0), RING_PAGES,
			       &host->channel));
	must("set-up", storvsp_guest_init(&host->channel, STORVSC_VERSION_THRESHOLD));
	/* The guest is awake all the time. */
	vmbus_ring_reader_mask(&host->channel.from_host);
	data = loopback_guest_alloc_pages(host->guest.lo, DATA_BYTES >> HV_PAGE_SHIFT, false,
					  &host->data);
	if (!data)
		die("memory", -LIS_NOMEM);
	/* Nothing below us shall find zeroes and take a short cut. */
	for (uint32_t i = 0; i < DATA_BYTES; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
}

static void begin(struct host *host, bool direct)
{
	struct io_loop_config loop = { .name = "storage", .poll_max_ns = IO_LOOP_POLL_NS };
	struct block_open_options options = { .format = "raw", .direct = direct };
	struct loopback_config memory = { .vp_count = 1, .memory_bytes = 64u << 20 };
	struct vmbus_host_config bus = { 0 };
	struct scsi_disk_config disk = { .transfer_bytes_max = STORVSP_TRANSFER_BYTES_MAX };
	char error[BLOCK_ERROR_BYTES];

	memset(host, 0, sizeof(*host));
	host->call.fn = on_call;
	if (block_open(IMAGE, &options, &host->device, error)) {
		fprintf(stderr, "storage: %s\n", error);
		exit(1);
	}
	must("loop", io_loop_create(&loop, &host->loop));
	must("partition", loopback_create(&memory, &host->partition));
	bus.partition = host->partition;
	bus.loop = host->loop;
	must("bus", vmbus_host_create(&bus, &host->bus));
	disk.device = host->device;
	must("disk", scsi_disk_create(&disk, &host->disk));
	must("thread", io_loop_start(host->loop));
	io_loop_call_wait(host->loop, pin_host, NULL);
	io_loop_call_wait(host->loop, offer, host);
	pin(0);
	open_channel(host);
}

static void destroy(void *arg)
{
	struct host *host = arg;

	storvsp_destroy(host->storvsp, &host->call);
}

static void end(struct host *host)
{
	must("close", mini_close(&host->channel));
	io_loop_call_wait(host->loop, destroy, host);
	while (!atomic_load(&host->called))
		usleep(1000);
	io_loop_join(host->loop);
	loopback_guest_detach(host->guest.lo);
	vmbus_host_destroy(host->bus);
	loopback_destroy(host->partition);
	scsi_disk_destroy(host->disk);
	must("close image", block_close(host->device));
	io_loop_destroy(host->loop);
	unpin();
}

/* ---- the guest end ---- */

struct load {
	const struct bench_case *bench;
	uint64_t random, next;
	uint64_t done, sent;
};

static uint32_t next_lba(struct load *load)
{
	uint64_t blocks = IMAGE_BYTES / load->bench->bytes;

	if (load->bench->sequential)
		return (uint32_t)(load->next++ % blocks * (load->bench->bytes / 512));
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return (uint32_t)(load->random % blocks * (load->bench->bytes / 512));
}

/* One command on the memory of its slot; slot + 1 is its id. Exposed, not yet signalled. */
static void send_command(struct host *host, struct load *load, uint32_t slot)
{
	const struct bench_case *bench = load->bench;
	uint32_t lba = next_lba(load), blocks = bench->bytes / 512;
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.flags = STORVSC_FLAG_REQUEST_COMPLETION,
		.request = { .length = STORVSC_REQUEST_BYTES_LONG, .cdb_length = 10,
			     .data_in = bench->write ? STORVSC_DATA_OUT : STORVSC_DATA_IN,
			     .data_transfer_length = bench->bytes,
			     .cdb = { bench->write ? SCSI_WRITE_10 : SCSI_READ_10, 0,
				      (uint8_t)(lba >> 24), (uint8_t)(lba >> 16),
				      (uint8_t)(lba >> 8), (uint8_t)lba, 0, (uint8_t)(blocks >> 8),
				      (uint8_t)blocks } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	uint64_t head[2 + 256], pfns[256];
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;

	for (uint32_t i = 0; i < bench->bytes / HV_PAGE_BYTES; i++)
		pfns[i] = (host->data.value >> HV_PAGE_SHIFT) +
			  slot * (bench->bytes / HV_PAGE_BYTES) + i;
	must("ranges", vmbus_gpa_head_begin(&builder, head, sizeof(head)));
	must("ranges", vmbus_gpa_head_add(&builder, bench->bytes, 0, pfns));
	out = vmbus_packet_gpa_direct(slot + 1, &builder, &piece, 1);
	must("send", vmbus_ring_write(&host->channel.to_host, &out));
	load->sent++;
}

static void signal_host(struct host *host)
{
	bool wanted = vmbus_ring_reader_publish(&host->channel.from_host);

	wanted |= vmbus_ring_writer_publish(&host->channel.to_host);
	if (wanted)
		mini_signal(&host->channel);
}

/* Takes what is there; each answer makes room for the next command until the end. */
static void take(struct host *host, struct load *load, bool more)
{
	uint64_t buffer[64];
	struct vmbus_packet packet;
	struct storvsc_packet answer;
	uint32_t bytes;
	int err;

	while (!(err = vmbus_ring_read(&host->channel.from_host, buffer, sizeof(buffer), &bytes))) {
		must("answer", vmbus_packet_parse(buffer, bytes, &packet));
		memcpy(&answer, packet.payload, sizeof(answer));
		if (answer.request.srb_status != STORVSC_SRB_SUCCESS)
			die("command", -LIS_IO);
		load->done++;
		if (more)
			send_command(host, load, (uint32_t)packet.id - 1);
	}
	if (err != -LIS_EMPTY)
		die("ring", err);
	signal_host(host);
}

static void run_until(struct host *host, struct load *load, uint64_t end_ns)
{
	while (clock_ns(CLOCK_MONOTONIC) < end_ns)
		take(host, load, true);
}

/* Returns commands a second; *@out_cpu_us is the host thread's time for each. */
static double run_ours(const struct bench_case *bench, double *out_cpu_us)
{
	struct host host;
	struct load load = { .bench = bench, .random = 88172645463325252ull };
	uint64_t start_ns, end_ns, done, cpu_ns;

	begin(&host, bench->direct);
	for (uint32_t slot = 0; slot < bench->depth; slot++)
		send_command(&host, &load, slot);
	signal_host(&host);
	run_until(&host, &load, clock_ns(CLOCK_MONOTONIC) + WARM_UP_MS * 1000000ull);
	io_loop_call_wait(host.loop, read_cpu, &host);
	cpu_ns = host.host_cpu_ns;
	done = load.done;
	start_ns = clock_ns(CLOCK_MONOTONIC);
	run_until(&host, &load, start_ns + RUN_MS * 1000000ull);
	end_ns = clock_ns(CLOCK_MONOTONIC);
	done = load.done - done;
	io_loop_call_wait(host.loop, read_cpu, &host);
	cpu_ns = host.host_cpu_ns - cpu_ns;
	while (load.done < load.sent)
		take(&host, &load, false);
	end(&host);
	*out_cpu_us = done ? (double)cpu_ns / (double)done / 1000 : 0;
	return (double)done * 1e9 / (double)(end_ns - start_ns);
}

/* ---- fio ---- */

/* The n-th field of a terse line, from 1. */
static double field(const char *line, int n)
{
	while (--n && line)
		line = (line = strchr(line, ';')) ? line + 1 : NULL;
	return line ? atof(line) : 0;
}

static double run_fio(const struct bench_case *bench)
{
	char command[512], line[8192];
	double iops = 0;
	FILE *pipe;

	snprintf(
		command, sizeof(command),
		"fio --name=x --filename=" IMAGE
		" --ioengine=io_uring --direct=%d --rw=%s%s --bs=%u "
		"--iodepth=%u --runtime=%dms --ramp_time=%dms --time_based --cpus_allowed=1 "
		"--size=%llu "
		"--invalidate=0 --output-format=terse --terse-version=3 2>&1",
		bench->direct, bench->sequential ? "" : "rand", bench->write ? "write" : "read",
		bench->bytes, bench->depth, RUN_MS, WARM_UP_MS, IMAGE_BYTES);
	pipe = popen(command, "r");
	while (pipe && fgets(line, sizeof(line), pipe))
		if (!strncmp(line, "3;", 2))
			iops = field(line, bench->write ? 49 : 8);
	if (!pipe || pclose(pipe) || iops <= 0) {
		fprintf(stderr, "storage: fio does not run (is it installed?)\n");
		exit(1);
	}
	return iops;
}

/* ---- the figures ---- */

/*
 * Both begin with the file in the page cache, or without a page of it there: a direct write that
 * finds one has to take the kernel's slow way.
 */
static void prepare(const struct bench_case *bench)
{
	static char chunk[1u << 20];
	int fd = open(IMAGE, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("open image", lis_error_from_errno(errno));
	if (fdatasync(fd) || (bench->direct && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)))
		die("prepare image", -LIS_IO);
	while (!bench->direct && read(fd, chunk, sizeof(chunk)) > 0)
		;
	close(fd);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values)
{
	qsort(values, RUNS, sizeof(*values), compare);
	return values[RUNS / 2];
}

static void run_case(const struct bench_case *bench)
{
	double ours[RUNS], cpu_us[RUNS], peer[RUNS], value, reference;
	double scale = bench->bytes == 4096 ? 1000 : 1e6 / bench->bytes;
	const char *unit = bench->bytes == 4096 ? "kIOPS" : "MB/s";

	for (int i = 0; i < RUNS; i++) {
		prepare(bench);
		ours[i] = run_ours(bench, &cpu_us[i]);
		prepare(bench);
		peer[i] = run_fio(bench);
	}
	value = median(ours) / scale;
	reference = median(peer) / scale;
	printf("storage_%s %.1f %s fio %.1f %s %.2f\n", bench->name, value, unit, reference, unit,
	       value / reference);
	if (bench->depth == 32)
		printf("storage_%s_cpu %.2f us/IO limit %.2f us/IO %.2f\n", bench->name,
		       median(cpu_us), CPU_LIMIT_US, median(cpu_us) / CPU_LIMIT_US);
	fflush(stdout);
}

static bool make_image(void)
{
	static char chunk[1u << 20];
	int fd = open(IMAGE, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	bool fine = fd >= 0;

	for (uint64_t at = 0; fine && at < IMAGE_BYTES; at += sizeof(chunk)) {
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
