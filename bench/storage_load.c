// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end keeps a number of commands under way on a controller with one disk: see storage_load.h.
 * Each answer makes room for the next command; the guest never sleeps.
 */
#include "bench/storage_load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/scsi_disk.h"
#include "storage/storvsp.h"
#include "tests/loopback/storvsp_guest.h"

struct host {
	struct bench_pair pair; /* first: it is how the host is found from it */
	struct block_device *device;
	struct scsi_unit *disk;
	struct storvsp *storvsp;
	struct mini_channel channel;
	struct gpa data;
};

/* ---- the host end ---- */

static void offer(void *arg)
{
	struct host *host = arg;
	struct storvsp_config config = { .name = "scsi0", .instance_id = storvsp_instance_id(0),
					 .bus_loop = host->pair.loop, .loops = &host->pair.loop,
					 .loop_count = 1 };

	bench_must("controller", storvsp_create(host->pair.bus, &config, &host->storvsp));
	bench_must("disk",
	     storvsp_lun_add(host->storvsp, (struct storvsp_address){ 0, 0, 0 }, host->disk));
}

static void open_channel(struct host *host)
{
	const struct guid id = storvsp_instance_id(0);
	uint64_t skip;
	uint8_t *data;

	bench_pair_connect(&host->pair);
	bench_must("open", mini_open(&host->pair.guest, mini_find_offer(&host->pair.guest, &id, 0),
			       BENCH_RING_PAGES, &host->channel));
	bench_must("set-up", storvsp_guest_init(&host->channel, STORVSC_VERSION_THRESHOLD));
	/* The guest is awake all the time. */
	vmbus_ring_reader_mask(&host->channel.from_host);
	/* With room to begin where a huge page does. */
	data = loopback_guest_alloc_pages(host->pair.guest.lo, (STORAGE_LOAD_MEMORY_BYTES + PARTITION_HUGE_BYTES) >>
					  HV_PAGE_SHIFT, false, &host->data);
	bench_must("memory", data ? 0 : -LIS_NOMEM);
	skip = -(uintptr_t)data % PARTITION_HUGE_BYTES;
	data += skip;
	host->data.value += skip;
	/* Nothing below us shall find zeroes and take a short cut. */
	for (uint32_t i = 0; i < STORAGE_LOAD_MEMORY_BYTES; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	storage_load_gather(data, STORAGE_LOAD_MEMORY_BYTES);
}

static void begin(struct host *host, const char *path, const char *format, bool direct)
{
	struct block_open_options options = { .format = format, .direct = direct };
	struct scsi_disk_config disk = { .transfer_bytes_max = STORVSP_TRANSFER_BYTES_MAX };
	char error[BLOCK_ERROR_BYTES];

	bench_pair_begin(&host->pair, "storage");
	if (block_open(path, &options, &host->device, error)) {
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, error);
		exit(1);
	}
	disk.device = host->device;
	bench_must("disk", scsi_disk_create(&disk, &host->disk));
	io_loop_call_wait(host->pair.loop, offer, host);
	open_channel(host);
}

static void destroy(struct bench_pair *pair, struct io_call *destroyed)
{
	storvsp_destroy(((struct host *)pair)->storvsp, destroyed);
}

static void end(struct host *host)
{
	bench_must("close", mini_close(&host->channel));
	bench_pair_end(&host->pair, destroy);
	scsi_unit_destroy(host->disk);
	bench_must("close image", block_close(host->device));
}

/* ---- the guest end ---- */

struct load {
	const struct storage_load_case *is;
	uint64_t random, next;
	uint64_t done, sent;
	uint64_t last; /* so many commands, if only once */
};

static uint32_t next_lba(struct load *load)
{
	uint64_t blocks = STORAGE_LOAD_DISK_BYTES / load->is->bytes;

	if (load->is->sequential)
		return (uint32_t)(load->next++ % blocks * (load->is->bytes / 512));
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return (uint32_t)(load->random % blocks * (load->is->bytes / 512));
}

/* One command on the memory of its slot; slot + 1 is its id. Exposed, not yet signalled. */
static void send_command(struct host *host, struct load *load, uint32_t slot)
{
	const struct storage_load_case *is = load->is;
	uint32_t lba = next_lba(load), blocks = is->bytes / 512;
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.flags = STORVSC_FLAG_REQUEST_COMPLETION,
		.request = { .length = STORVSC_REQUEST_BYTES_LONG, .cdb_length = 10,
			     .data_in = is->write ? STORVSC_DATA_OUT : STORVSC_DATA_IN,
			     .data_transfer_length = is->bytes,
			     .cdb = { is->write ? SCSI_WRITE_10 : SCSI_READ_10, 0,
				      (uint8_t)(lba >> 24), (uint8_t)(lba >> 16),
				      (uint8_t)(lba >> 8), (uint8_t)lba, 0, (uint8_t)(blocks >> 8),
				      (uint8_t)blocks } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	uint64_t head[2 + 256], pfns[256];
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;

	for (uint32_t i = 0; i < is->bytes / HV_PAGE_BYTES; i++)
		pfns[i] = (host->data.value >> HV_PAGE_SHIFT) +
			  slot * (is->bytes / HV_PAGE_BYTES) + i;
	bench_must("ranges", vmbus_gpa_head_begin(&builder, head, sizeof(head)));
	bench_must("ranges", vmbus_gpa_head_add(&builder, is->bytes, 0, pfns));
	out = vmbus_packet_gpa_direct(slot + 1, &builder, &piece, 1);
	bench_must("send", vmbus_ring_write(&host->channel.to_host, &out));
	load->sent++;
}

static void signal_host(struct host *host)
{
	bool wanted = vmbus_ring_reader_publish(&host->channel.from_host);

	wanted |= vmbus_ring_writer_publish(&host->channel.to_host);
	if (wanted)
		mini_signal(&host->channel);
}

static bool may_send(const struct load *load)
{
	return !load->last || load->sent < load->last;
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
		bench_must("answer", vmbus_packet_parse(buffer, bytes, &packet));
		memcpy(&answer, packet.payload, sizeof(answer));
		if (answer.request.srb_status != STORVSC_SRB_SUCCESS)
			bench_must("command", -LIS_IO);
		load->done++;
		if (more && may_send(load))
			send_command(host, load, (uint32_t)packet.id - 1);
	}
	if (err != -LIS_EMPTY)
		bench_must("ring", err);
	signal_host(host);
}

static void run_until(struct host *host, struct load *load, uint64_t end_ns)
{
	while (bench_now_ns() < end_ns)
		take(host, load, true);
}

static void run(struct host *host, struct load *load)
{
	if (!load->last) {
		run_until(host, load, bench_now_ns() + STORAGE_LOAD_RUN_MS * 1000000ull);
		return;
	}
	while (load->done < load->last)
		take(host, load, true);
}

double storage_load_run(const struct storage_load_case *load_case, const char *path, const char *format,
			double *out_cpu_us)
{
	static struct host host;
	struct load load = { .is = load_case, .random = 88172645463325252ull };
	uint64_t start_ns, done, cpu_ns;
	double seconds;

	if (load_case->once)
		load.last = STORAGE_LOAD_DISK_BYTES / load_case->bytes;
	begin(&host, path, format, load_case->direct);
	cpu_ns = bench_pair_cpu_ns(&host.pair);
	start_ns = bench_now_ns();
	for (uint32_t slot = 0; slot < load_case->depth; slot++)
		send_command(&host, &load, slot);
	signal_host(&host);
	if (!load_case->once) {
		run_until(&host, &load, bench_now_ns() + STORAGE_LOAD_WARM_UP_MS * 1000000ull);
		cpu_ns = bench_pair_cpu_ns(&host.pair);
		start_ns = bench_now_ns();
	}
	done = load.done;
	run(&host, &load);
	seconds = (double)(bench_now_ns() - start_ns) / 1e9;
	done = load.done - done;
	cpu_ns = bench_pair_cpu_ns(&host.pair) - cpu_ns;
	while (load.done < load.sent)
		take(&host, &load, false);
	end(&host);
	*out_cpu_us = done ? (double)cpu_ns / (double)done / 1000 : 0;
	return (double)done / seconds;
}

void storage_load_gather(void *at, size_t bytes)
{
	if (madvise(at, bytes, MADV_COLLAPSE))
		fprintf(stderr, "%s: no huge pages: 1 MiB may be split: %s\n", program_invocation_short_name,
			strerror(errno));
}

void storage_load_forget(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	bench_must(path, fd < 0 ? lis_error_from_errno(errno) : 0);
	if (fdatasync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		bench_must(path, -LIS_IO);
	close(fd);
}

double storage_load_in_unit(const struct storage_load_case *load_case, double rate, const char **out_unit)
{
	bool small = load_case->bytes == 4096;

	*out_unit = small ? "kIOPS" : "MB/s";
	return small ? rate / 1000 : rate * load_case->bytes / 1e6;
}
