/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Both ends of storage, joined by the loopback partition: the guest end with the real VSP and a
 * block device in memory. All loops are turned by the test's own thread, and the guest's time is a
 * number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/storvsc.h"
#include "storage/scsi_disk.h"
#include "storage/storvsp.h"
#include "tests/loopback/mini_guest.h"
#include "tests/unit/storage/memory_block.h"

#define DISK_BYTES (4u << 20)
#define RING_PAGES 9u
#define DATA_PAGES 300u
#define SUBS 3u
#define SECOND_NS 1000000000ull

/* One channel of the driver, with the rings it works on. */
struct lane {
	struct mini_channel mini;
	struct storvsc_channel storvsc;
};

struct fixture {
	struct io_loop *loops[2];
	struct partition *partition;
	struct vmbus_host *host;
	struct storvsp *storvsp;
	struct memory_block memory;
	struct scsi_unit *disk;
	struct mini_guest guest;
	struct gpa data_gpa;
	uint8_t *data;
	struct io_call call;
	unsigned called;

	struct storvsc storvsc;
	struct lane lanes[1 + SUBS];
	size_t lane_count;
	uint32_t events; /* since the test looked last */
	uint64_t now_ns;
	uint32_t signals;
	unsigned allocations;
};

/* ---- frame: the host ---- */

static void on_call(struct io_call *call)
{
	struct fixture *f = (struct fixture *)((char *)call - offsetof(struct fixture, call));

	f->called++;
}

static void turn(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 4; i++) {
		io_loop_turn(f->loops[0], false);
		io_loop_turn(f->loops[1], false);
	}
}

static void create_host(struct fixture *f, uint16_t version_max)
{
	struct vmbus_host_config host_config = { .loop = f->loops[0] };
	struct storvsp_config config = {
		.name = "scsi0", .instance_id = storvsp_instance_id(0), .sub_channels_max = SUBS,
		.bus_loop = f->loops[0], .loops = f->loops, .loop_count = 2, .queue_depth = 32,
		.version_max = version_max,
	};

	assert_int_equal(loopback_create(&(struct loopback_config){ 2, 32u << 20 }, &f->partition),
			 0);
	host_config.partition = f->partition;
	assert_int_equal(vmbus_host_create(&host_config, &f->host), 0);
	memory_block_init(&f->memory, DISK_BYTES, 512);
	assert_int_equal(scsi_disk_create(&(struct scsi_disk_config){ .device = &f->memory.base },
					  &f->disk), 0);
	assert_int_equal(storvsp_create(f->host, &config, &f->storvsp), 0);
	assert_int_equal(storvsp_lun_add(f->storvsp, (struct storvsp_address){ 0, 0, 0 }, f->disk),
			 0);
}

/* ---- frame: the guest's port ---- */

static void *port_alloc(void *port, size_t bytes)
{
	struct fixture *f = port;

	f->allocations++;
	return malloc(bytes);
}

static void port_release(void *port, void *memory)
{
	struct fixture *f = port;

	f->allocations--;
	free(memory);
}

static void signal_host(struct fixture *f, struct lane *lane)
{
	f->signals++;
	mini_signal(&lane->mini);
}

/* What a port does on an interrupt and after it. */
static void turn_guest(struct fixture *f)
{
	for (size_t i = 0; i < f->lane_count; i++) {
		struct lane *lane = &f->lanes[i];

		loopback_guest_take_flag(f->guest.lo, f->guest.vp, lane->mini.offer.channel_id);
		do {
			uint32_t events = storvsc_channel_receive(&lane->storvsc, 4);

			if (events & STORVSC_EVENT_SIGNAL)
				signal_host(f, lane);
			f->events |= events & ~(STORVSC_EVENT_SIGNAL | STORVSC_EVENT_MORE);
		} while (storvsc_channel_unmask(&lane->storvsc));
		if (storvsc_channel_flush(&lane->storvsc))
			signal_host(f, lane);
	}
}

static void settle(struct fixture *f)
{
	for (int i = 0; i < 20; i++) {
		turn(f);
		turn_guest(f);
	}
}

/* All that happened up to now. */
static uint32_t events(struct fixture *f)
{
	uint32_t all;

	settle(f);
	all = f->events;
	f->events = 0;
	return all;
}

static struct lane *open_lane(struct fixture *f, uint16_t index)
{
	const struct guid id = storvsp_instance_id(0);
	const struct vmbus_msg_offer_channel *offer = mini_find_offer(&f->guest, &id, index);
	struct lane *lane = &f->lanes[f->lane_count];
	struct storvsc_channel_config config = {
		.to_host = &lane->mini.to_host, .from_host = &lane->mini.from_host,
		.queue_depth = 16, .cpu = index,
	};

	assert_non_null(offer);
	assert_int_equal(mini_open(&f->guest, offer, RING_PAGES, &lane->mini), 0);
	assert_int_equal(storvsc_channel_open(&f->storvsc, &lane->storvsc, &config), 0);
	f->lane_count++;
	return lane;
}

/* Close as a port does: first the bus, then, with the host's consent, the driver. */
static struct storvsc_request *close_lane(struct fixture *f)
{
	struct lane *lane = &f->lanes[--f->lane_count];

	storvsc_channel_stop(&lane->storvsc);
	assert_int_equal(mini_close(&lane->mini), 0);
	return storvsc_channel_close(&lane->storvsc, false);
}

static int setup_version(void **state, uint16_t version_max)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	f->call.fn = on_call;
	f->now_ns = 1;
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &f->loops[i]), 0);
	create_host(f, version_max);
	assert_int_equal(loopback_guest_attach(f->partition, &f->guest.lo), 0);
	f->guest.pump = turn;
	f->guest.pump_arg = f;
	f->data = loopback_guest_alloc_pages(f->guest.lo, DATA_PAGES, false, &f->data_gpa);
	assert_non_null(f->data);
	assert_int_equal(mini_connect(&f->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&f->guest), 0);
	return 0;
}

static int setup(void **state)
{
	return setup_version(state, 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->memory.hold = false;
	memory_block_release(&f->memory, UINT32_MAX);
	while (f->lane_count)
		(void)!close_lane(f);
	storvsc_fini(&f->storvsc);
	assert_int_equal(f->allocations, 0);
	if (f->storvsp) {
		storvsp_destroy(f->storvsp, &f->call);
		for (int i = 0; i < 1000 && !f->called; i++)
			turn(f);
	}
	loopback_guest_detach(f->guest.lo);
	vmbus_host_destroy(f->host);
	loopback_destroy(f->partition);
	scsi_unit_destroy(f->disk);
	memory_block_fini(&f->memory);
	for (int i = 0; i < 2; i++)
		io_loop_destroy(f->loops[i]);
	free(f);
	return 0;
}

static void open_ready(struct fixture *f, uint16_t version_max, uint16_t subs)
{
	struct storvsc_config config = {
		.name = "test", .alloc = port_alloc, .release = port_release, .port = f,
		.cpu_count = 4, .sub_channels_wanted = subs, .version_max = version_max,
		.setup_timeout_ns = 10 * SECOND_NS, .reset_grace_ns = 5 * SECOND_NS,
	};
	uint32_t expect = STORVSC_EVENT_READY | (subs ? STORVSC_EVENT_SUB_CHANNELS : 0);

	f->events = 0;
	assert_int_equal(storvsc_init(&f->storvsc, &config), 0);
	open_lane(f, 0);
	assert_int_equal(storvsc_start(&f->storvsc, f->now_ns), 0);
	assert_int_equal(events(f), expect);
	mini_drain(&f->guest);
	for (uint16_t i = 1; i <= subs; i++)
		open_lane(f, i);
}

/* ---- commands ---- */

/* Page numbers of the test's data; which page is first stands behind the request. */
struct io {
	struct storvsc_request request; /* first */
	struct fixture *f;
	uint32_t first_page;
	bool ended;
};

static void fill_pfns(const struct storvsc_request *request, uint64_t *out_pfns, uint32_t count)
{
	const struct io *io = (const struct io *)request;

	for (uint32_t i = 0; i < count; i++)
		out_pfns[i] = (io->f->data_gpa.value >> HV_PAGE_SHIFT) + io->first_page + i;
}

static struct io command(struct fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t bytes)
{
	struct io io = {
		.request = {
			.cdb_bytes = (uint8_t)cdb_bytes, .data_bytes = bytes,
			.direction = bytes ? STORVSC_FROM_DEVICE : STORVSC_NO_DATA,
			.fill_pfns = fill_pfns,
		},
		.f = f,
	};

	memcpy(io.request.cdb, cdb, cdb_bytes);
	return io;
}

#define CDB(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static struct io transfer(struct fixture *f, bool write, uint32_t lba, uint16_t blocks,
			  uint32_t page, uint32_t offset)
{
	struct io io = command(f, CDB(write ? SCSI_WRITE_10 : SCSI_READ_10, 0, (uint8_t)(lba >> 24),
				      (uint8_t)(lba >> 16), (uint8_t)(lba >> 8), (uint8_t)lba, 0,
				      (uint8_t)(blocks >> 8), (uint8_t)blocks, 0),
			       blocks * 512u);

	io.request.direction = write ? STORVSC_TO_DEVICE : STORVSC_FROM_DEVICE;
	io.request.data_offset = offset;
	io.first_page = page;
	return io;
}

static void collect(struct fixture *f)
{
	for (size_t i = 0; i < f->lane_count; i++) {
		struct storvsc_request *list = storvsc_take_ended(&f->lanes[i].storvsc);

		for (; list; list = list->next) {
			struct io *io = (struct io *)list;

			assert_false(io->ended);
			io->ended = true;
		}
	}
}

static void submit(struct fixture *f, size_t lane, struct io *io)
{
	assert_int_equal(storvsc_submit(&f->lanes[lane].storvsc, &io->request), 0);
}

/* Submit and wait. Returns the result. */
static uint8_t run(struct fixture *f, size_t lane, struct io *io)
{
	submit(f, lane, io);
	turn_guest(f);
	for (int i = 0; i < 1000 && !io->ended; i++) {
		settle(f);
		collect(f);
	}
	assert_true(io->ended);
	return io->request.result;
}

static void assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (data[i] != memory_block_pattern(offset_bytes + i))
			fail_msg("byte %lu differs", (unsigned long)i);
}

/* ---- tests ---- */

static void both_ends_agree_on_every_version_and_move_data(void **state)
{
	static const uint16_t versions[] = {
#define LIST(version) version,
		STORVSC_VERSIONS(LIST)
#undef LIST
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct io inquiry, io;

		open_ready(f, versions[i], 0);
		assert_int_equal(f->storvsc.version, versions[i]);
		assert_int_equal(storvsp_status(f->storvsp).version, versions[i]);
		assert_int_equal(f->storvsc.transfer_bytes_max, STORVSP_TRANSFER_BYTES_MAX);
		inquiry = command(f, CDB(SCSI_INQUIRY, 0, 0, 0, 96, 0), 96);
		assert_int_equal(run(f, 0, &inquiry), STORVSC_RESULT_GOOD);
		assert_memory_equal(f->data + 8, "Msft    ", 8);
		memset(f->data, 0, 8 * 4096);
		io = transfer(f, false, 3, 16, 1, 1000);
		assert_int_equal(run(f, 0, &io), STORVSC_RESULT_GOOD);
		assert_int_equal(io.request.transferred_bytes, 8192);
		assert_disk_pattern(f->data + 4096 + 1000, 3 * 512, 8192);
		/* Sense comes as well in the short form. */
		io = transfer(f, false, 0xffffff, 1, 1, 0);
		assert_int_equal(run(f, 0, &io), STORVSC_RESULT_SCSI_STATUS);
		assert_int_equal(io.request.sense[2] & 0xf, 5);
		assert_null(close_lane(f));
		storvsc_fini(&f->storvsc);
	}
}

static int setup_old(void **state)
{
	return setup_version(state, STORVSC_VERSION_WIN7);
}

static void an_older_host_is_met_at_its_version(void **state)
{
	struct fixture *f = *state;
	struct io io;

	open_ready(f, 0, 0);
	assert_int_equal(f->storvsc.version, STORVSC_VERSION_WIN7);
	io = transfer(f, false, 0, 8, 0, 0);
	assert_int_equal(run(f, 0, &io), STORVSC_RESULT_GOOD);
}

static void the_largest_transfer_goes_through(void **state)
{
	struct fixture *f = *state;
	struct io io;

	open_ready(f, 0, 0);
	io = transfer(f, false, 0, 2048, 0, 100);
	assert_int_equal(run(f, 0, &io), STORVSC_RESULT_GOOD);
	assert_disk_pattern(f->data + 100, 0, 1u << 20);
	io.request.data_bytes += 512;
	assert_int_equal(storvsc_submit(&f->lanes[0].storvsc, &io.request), -LIS_INVALID);
}

static void each_sub_channel_carries_commands(void **state)
{
	struct fixture *f = *state;

	open_ready(f, 0, SUBS);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1 + SUBS);
	for (uint32_t cpu = 0; cpu <= SUBS; cpu++) {
		struct io io = transfer(f, false, cpu * 8, 8, cpu, 0);

		assert_ptr_equal(storvsc_channel_for_cpu(&f->storvsc, cpu), &f->lanes[cpu].storvsc);
		assert_int_equal(run(f, cpu, &io), STORVSC_RESULT_GOOD);
		assert_disk_pattern(f->data + cpu * 4096, cpu * 4096, 4096);
		assert_int_equal(f->lanes[cpu].storvsc.counters.ended, 1);
	}
	while (f->lane_count)
		assert_null(close_lane(f));
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 0);
}

static void a_batch_costs_one_signal(void **state)
{
	struct fixture *f = *state;
	struct io ios[16];

	open_ready(f, 0, 0);
	settle(f);
	f->signals = 0;
	for (int i = 0; i < 16; i++) {
		ios[i] = transfer(f, false, (uint32_t)i, 1, (uint32_t)i, 0);
		submit(f, 0, &ios[i]);
	}
	settle(f);
	collect(f);
	for (int i = 0; i < 16; i++)
		assert_true(ios[i].ended);
	assert_in_range(f->signals, 0, 2);
}

static void luns_that_come_and_go_are_told(void **state)
{
	struct fixture *f = *state;
	struct memory_block other;
	struct scsi_unit *disk;
	struct io inquiry, io;

	open_ready(f, 0, 0);
	memory_block_init(&other, DISK_BYTES, 512);
	assert_int_equal(
		scsi_disk_create(&(struct scsi_disk_config){ .device = &other.base }, &disk), 0);
	inquiry = command(f, CDB(SCSI_INQUIRY, 0, 0, 0, 96, 0), 96);
	inquiry.request.lun = 7;
	assert_int_equal(run(f, 0, &inquiry), STORVSC_RESULT_GOOD);
	assert_int_equal(f->data[0], 0x7f); /* nothing here */

	assert_int_equal(storvsp_lun_add(f->storvsp, (struct storvsp_address){ 0, 0, 7 }, disk), 0);
	assert_int_equal(events(f) & STORVSC_EVENT_RESCAN, STORVSC_EVENT_RESCAN);
	inquiry.ended = false;
	assert_int_equal(run(f, 0, &inquiry), STORVSC_RESULT_GOOD);
	assert_int_equal(f->data[0], 0);
	io = transfer(f, false, 0, 1, 0, 0);
	io.request.lun = 7;
	assert_in_range(run(f, 0, &io), STORVSC_RESULT_GOOD, STORVSC_RESULT_CHANGED);

	f->events = 0;
	assert_int_equal(
		storvsp_lun_remove(f->storvsp, (struct storvsp_address){ 0, 0, 7 }, &f->call), 0);
	assert_int_equal(events(f) & STORVSC_EVENT_RESCAN, STORVSC_EVENT_RESCAN);
	assert_int_equal(f->called, 1);
	f->called = 0;
	io.ended = false;
	assert_int_equal(run(f, 0, &io), STORVSC_RESULT_NO_LUN);
	scsi_unit_destroy(disk);
	memory_block_fini(&other);
}

static void assert_tells_of_a_reset(struct fixture *f)
{
	struct io tur = command(f, CDB(0), 0);

	assert_int_equal(run(f, 0, &tur), STORVSC_RESULT_SCSI_STATUS);
	assert_int_equal(tur.request.scsi_status, SCSI_CHECK_CONDITION);
	assert_int_equal(tur.request.sense[2], 0x06);
	assert_int_equal(tur.request.sense[12], 0x29);
	tur = command(f, CDB(0), 0);
	assert_int_equal(run(f, 0, &tur), STORVSC_RESULT_GOOD);
}

static void resets_wait_for_the_commands_under_way(void **state)
{
	struct fixture *f = *state;
	struct io read, reset;

	open_ready(f, 0, 0);
	for (uint8_t kind = STORVSC_LUN_RESET; kind <= STORVSC_ADAPTER_RESET; kind++) {
		f->memory.hold = true;
		read = transfer(f, false, 0, 8, 0, 0);
		submit(f, 0, &read);
		reset = command(f, CDB(0), 0);
		reset.request.kind = kind;
		submit(f, 0, &reset);
		settle(f);
		collect(f);
		assert_false(reset.ended);
		f->memory.hold = false;
		memory_block_release(&f->memory, 1);
		settle(f);
		collect(f);
		assert_true(read.ended);
		assert_true(reset.ended);
		assert_int_equal(reset.request.result, STORVSC_RESULT_GOOD);
		assert_tells_of_a_reset(f);
	}
	assert_int_equal(storvsp_status(f->storvsp).resets, 3);
}

static uint32_t tick(struct fixture *f, uint64_t seconds)
{
	uint32_t all;

	f->now_ns += seconds * SECOND_NS;
	all = storvsc_channel_on_timer(&f->lanes[0].storvsc, f->now_ns);
	if (all & STORVSC_EVENT_SIGNAL)
		signal_host(f, &f->lanes[0]);
	return all & ~STORVSC_EVENT_SIGNAL;
}

static void a_disk_that_hangs_costs_its_command_and_late_data_is_known_of(void **state)
{
	struct fixture *f = *state;
	struct storvsc_channel *channel;
	struct io io;

	open_ready(f, 0, 0);
	channel = &f->lanes[0].storvsc;
	f->memory.hold = true;
	io = transfer(f, false, 0, 8, 0, 0);
	io.request.deadline_ns = f->now_ns + 3 * SECOND_NS;
	submit(f, 0, &io);
	settle(f);
	assert_int_equal(tick(f, 2), 0);
	assert_int_equal(tick(f, 2), 0); /* a reset goes out */
	settle(f);
	assert_int_equal(channel->counters.resets, 1);
	assert_int_equal(tick(f, 6), STORVSC_EVENT_ENDED);
	collect(f);
	assert_true(io.ended);
	assert_int_equal(io.request.result, STORVSC_RESULT_TIMED_OUT);
	assert_true(io.request.still_shared);
	assert_true(storvsc_still_shared(channel, io.request.id));
	/* The disk wakes up. */
	f->memory.hold = false;
	memory_block_release(&f->memory, UINT32_MAX);
	assert_int_equal(events(f), STORVSC_EVENT_RELEASED);
	assert_false(storvsc_still_shared(channel, io.request.id));
	assert_tells_of_a_reset(f);
	io = transfer(f, false, 0, 8, 0, 0);
	assert_int_equal(run(f, 0, &io), STORVSC_RESULT_GOOD);
}

static void a_controller_taken_away_ends_its_commands(void **state)
{
	struct fixture *f = *state;
	struct storvsc_request *list;
	struct io ios[4];
	int ended = 0;

	open_ready(f, 0, 0);
	f->memory.hold = true;
	for (int i = 0; i < 4; i++) {
		ios[i] = transfer(f, false, 0, 8, (uint32_t)i, 0);
		submit(f, 0, &ios[i]);
	}
	settle(f);
	storvsp_destroy(f->storvsp, &f->call);
	f->storvsp = NULL;
	settle(f);
	mini_drain(&f->guest);
	assert_int_equal(f->guest.rescinded_count, 1);
	f->memory.hold = false;
	memory_block_release(&f->memory, UINT32_MAX);
	settle(f);
	collect(f);
	for (list = close_lane(f); list; list = list->next) {
		((struct io *)list)->ended = true;
		assert_int_equal(list->result, STORVSC_RESULT_GONE);
		assert_false(list->still_shared);
		ended++;
	}
	for (int i = 0; i < 4; i++)
		assert_true(ios[i].ended);
	assert_in_range(ended, 1, 4);
	assert_int_equal(mini_release(&f->guest, f->lanes[0].mini.offer.channel_id), 0);
	for (int i = 0; i < 1000 && !f->called; i++)
		turn(f);
	assert_int_equal(f->called, 1);
}

/* ---- chance ---- */

#define IOS 24u
#define PAGES_EACH 12u

static uint32_t chance(uint64_t *seed, uint32_t below)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % below;
}

struct model {
	uint8_t disk[DISK_BYTES];
	struct io ios[IOS];
	bool busy[IOS];
	uint64_t lba[IOS];
};

/* Two commands under way may not touch the same sectors, or nobody knows what is right. */
static bool overlaps(const struct model *m, uint32_t lba, uint32_t blocks)
{
	for (uint32_t i = 0; i < IOS; i++)
		if (m->busy[i] && m->lba[i] < lba + blocks &&
		    lba < m->lba[i] + m->ios[i].request.data_bytes / 512)
			return true;
	return false;
}

static void random_submit(struct fixture *f, struct model *m, uint64_t *seed)
{
	uint32_t i = chance(seed, IOS), blocks = 1 + chance(seed, 80);
	uint32_t lba = chance(seed, DISK_BYTES / 512 - 80), offset = chance(seed, 8) * 512;
	bool write = chance(seed, 2);
	uint8_t *data = f->data + (size_t)i * PAGES_EACH * 4096 + offset;
	int err;

	if (m->busy[i] || overlaps(m, lba, blocks))
		return;
	m->ios[i] = transfer(f, write, lba, (uint16_t)blocks, i * PAGES_EACH, offset);
	if (write) {
		for (uint32_t b = 0; b < blocks * 512; b++)
			data[b] = (uint8_t)(chance(seed, 256));
	} else {
		memset(data, 0xcc, blocks * 512);
	}
	err = storvsc_submit(&f->lanes[chance(seed, (uint32_t)f->lane_count)].storvsc,
			     &m->ios[i].request);
	if (err == -LIS_AGAIN)
		return;
	assert_int_equal(err, 0);
	m->busy[i] = true;
	m->lba[i] = lba;
	if (write)
		memcpy(m->disk + (size_t)lba * 512, data, blocks * 512);
}

static uint32_t random_collect(struct fixture *f, struct model *m)
{
	uint32_t done = 0;

	collect(f);
	for (uint32_t i = 0; i < IOS; i++) {
		const struct storvsc_request *request = &m->ios[i].request;

		if (!m->busy[i] || !m->ios[i].ended)
			continue;
		m->busy[i] = false;
		done++;
		assert_int_equal(request->result, STORVSC_RESULT_GOOD);
		assert_int_equal(request->transferred_bytes, request->data_bytes);
		assert_memory_equal(f->data + (size_t)i * PAGES_EACH * 4096 + request->data_offset,
				    m->disk + m->lba[i] * 512, request->data_bytes);
	}
	return done;
}

static void data_is_right_over_four_channels(void **state)
{
	struct fixture *f = *state;
	struct model *m = malloc(sizeof(*m));
	uint64_t seed = 11;
	uint32_t done = 0;

	assert_non_null(m);
	memset(m->busy, 0, sizeof(m->busy));
	open_ready(f, 0, SUBS);
	memcpy(m->disk, f->memory.bytes, DISK_BYTES);
	for (uint32_t step = 0; step < 12000; step++) {
		switch (chance(&seed, 8)) {
		case 0: case 1: case 2: case 3:
			random_submit(f, m, &seed);
			break;
		case 4:
			turn(f);
			break;
		case 5:
			turn_guest(f);
			done += random_collect(f, m);
			break;
		case 6:
			f->memory.hold = chance(&seed, 2);
			break;
		default:
			memory_block_release(&f->memory, chance(&seed, 6));
		}
	}
	f->memory.hold = false;
	memory_block_release(&f->memory, UINT32_MAX);
	settle(f);
	done += random_collect(f, m);
	for (uint32_t i = 0; i < IOS; i++)
		assert_false(m->busy[i]);
	assert_in_range(done, 2000, UINT32_MAX);
	assert_memory_equal(m->disk, f->memory.bytes, DISK_BYTES);
	free(m);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(both_ends_agree_on_every_version_and_move_data),
		cmocka_unit_test_setup_teardown(an_older_host_is_met_at_its_version, setup_old,
						teardown),
		TEST(the_largest_transfer_goes_through),
		TEST(each_sub_channel_carries_commands),
		TEST(a_batch_costs_one_signal),
		TEST(luns_that_come_and_go_are_told),
		TEST(resets_wait_for_the_commands_under_way),
		TEST(a_disk_that_hangs_costs_its_command_and_late_data_is_known_of),
		TEST(a_controller_taken_away_ends_its_commands),
		TEST(data_is_right_over_four_channels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
