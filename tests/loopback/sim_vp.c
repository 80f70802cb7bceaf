// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest of the simulated world, its requests: each VP has units of each disk that only it uses,
 * knows what they may hold, and checks what comes back.
 *
 * A request ends on whatever thread takes it from storvsc, under the lane's lock; its owner finds
 * that by its state. Memory is filled with a pattern while nobody uses it: whoever writes to it
 * after the host has let go is found out.
 */
#include <string.h>

#include "tests/loopback/sim_guest.h"

#define POISON 0xd5d5d5d5u
#define WORDS (SIM_UNIT_BYTES / 4)

static void fill(struct sim_io *io, uint32_t unit, uint32_t word)
{
	uint32_t *at = (uint32_t *)(void *)io->data + unit * WORDS;

	for (uint32_t i = 0; i < WORDS; i++)
		at[i] = word;
}

/* The word that fills one unit of the memory; it must be one. */
static uint32_t word_of(const struct sim_io *io, uint32_t unit)
{
	const uint32_t *at = (const uint32_t *)(const void *)io->data + unit * WORDS;

	for (uint32_t i = 1; i < WORDS; i++)
		SIM_CHECK(at[i] == at[0]);
	return at[0];
}

void sim_model_init(struct sim_disk *disk, uint32_t vp)
{
	struct sim_model *model = &disk->models[vp];

	for (uint32_t i = 0; i < SIM_UNITS; i++)
		model->units[i].count = 1; /* version 0 */
	for (uint32_t i = 0; i < SIM_SLOTS; i++) {
		struct sim_io *io = &model->ios[i];
		struct gpa gpa;

		io->data = loopback_guest_alloc_pages(disk->guest->machine, SIM_UNITS_AT_ONCE,
						      false, &gpa);
		SIM_CHECK(io->data);
		for (uint32_t unit = 0; unit < SIM_UNITS_AT_ONCE; unit++) {
			io->pfns[unit] = (gpa.value >> HV_PAGE_SHIFT) + unit;
			fill(io, unit, POISON);
		}
	}
}

/* ---- under the lane's lock ---- */

void sim_lane_ended(struct sim_lane *lane, struct storvsc_request *list)
{
	while (list) {
		struct sim_io *io = (struct sim_io *)list;
		enum sim_io_state out = SIM_IO_OUT;

		list = list->next;
		SIM_CHECK(io->lane == lane);
		sim_count(&sim_counters.ended);
		/* Exactly once. */
		SIM_CHECK(atomic_compare_exchange_strong(
			&io->state, &out, io->request.still_shared ? SIM_IO_LATE : SIM_IO_DONE));
	}
}

void sim_lane_release_late(struct sim_lane *lane)
{
	for (uint32_t vp = 0; vp < SIM_VPS; vp++) {
		for (uint32_t i = 0; i < SIM_SLOTS; i++) {
			struct sim_io *io = &lane->disk->models[vp].ios[i];

			if (atomic_load(&io->state) != SIM_IO_LATE || io->lane != lane ||
			    storvsc_still_shared(&lane->storvsc, io->request.id))
				continue;
			sim_count(&sim_counters.late_released);
			atomic_store(&io->state, SIM_IO_RELEASED);
		}
	}
}

void sim_lane_events(struct sim_lane *lane, uint32_t events)
{
	struct storvsc_request *list = storvsc_take_ended(&lane->storvsc);

	SIM_CHECK(!!(events & STORVSC_EVENT_ENDED) == (list != NULL));
	sim_lane_ended(lane, list);
	if (events & STORVSC_EVENT_SIGNAL)
		vmbus_client_signal(&lane->guest->client, &lane->core);
	if (events & STORVSC_EVENT_RELEASED)
		sim_lane_release_late(lane);
	if (events & STORVSC_EVENT_ROOM)
		lane->room_wanted = false;
	if (events & (STORVSC_EVENT_FAILED | STORVSC_EVENT_BROKEN))
		atomic_store(&lane->broken, true);
	if (events & STORVSC_EVENT_READY)
		atomic_store(&lane->disk->usable, true);
}

/* ---- a VP's thread ---- */

void sim_vp_take_flags(struct sim_guest *guest, uint32_t vp)
{
	uint64_t flags[LOOPBACK_FLAG_WORDS];

	if (!loopback_guest_take_flags(guest->machine, vp, flags))
		return;
	pthread_rwlock_rdlock(&guest->gate);
	for (uint32_t word = 0; word < LOOPBACK_FLAG_WORDS; word++) {
		for (; flags[word]; flags[word] &= flags[word] - 1) {
			uint32_t id = word * 64 + (uint32_t)__builtin_ctzll(flags[word]);
			struct sim_lane *lane;

			SIM_CHECK(id <= SIM_CHANNEL_ID_MAX);
			lane = atomic_load(&guest->by_id[id]);
			if (lane)
				atomic_store(&lane->pending, true);
		}
	}
	pthread_rwlock_unlock(&guest->gate);
}

/* Returns true if there is more. */
static bool receive(struct sim_lane *lane, uint32_t budget)
{
	struct sim_disk *disk = lane->disk;
	bool setting_up = !lane->index && !atomic_load(&disk->usable);
	uint32_t events;
	bool more = false;

	/* Until READY the primary channel is the device's. */
	if (setting_up)
		pthread_mutex_lock(&disk->device_lock);
	pthread_mutex_lock(&lane->lock);
	if (lane->attached) {
		events = storvsc_channel_receive(&lane->storvsc, budget);
		sim_lane_events(lane, events);
		SIM_CHECK(!(events & STORVSC_EVENT_BROKEN));
		more = (events & STORVSC_EVENT_MORE) || storvsc_channel_unmask(&lane->storvsc);
	}
	pthread_mutex_unlock(&lane->lock);
	if (setting_up)
		pthread_mutex_unlock(&disk->device_lock);
	return more;
}

bool sim_vp_receive(struct sim_guest *guest, uint32_t vp, uint32_t budget)
{
	bool more = false;

	pthread_rwlock_rdlock(&guest->gate);
	for (uint32_t id = 1; id <= SIM_CHANNEL_ID_MAX; id++) {
		struct sim_lane *lane = atomic_load(&guest->by_id[id]);

		/* Whoever comes first takes it: an interrupt may be on its way to the old VP. */
		if (lane && atomic_exchange(&lane->pending, false) && receive(lane, budget)) {
			atomic_store(&lane->pending, true);
			more = true;
		}
	}
	pthread_rwlock_unlock(&guest->gate);
	return more;
}

static bool units_free(const struct sim_model *model, uint32_t unit, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++)
		if (model->units[unit + i].busy)
			return false;
	return true;
}

static void fill_request(struct sim_disk *disk, uint32_t vp, struct sim_io *io,
			 struct sim_random *random)
{
	uint32_t first = vp * SIM_UNITS + io->unit;
	uint32_t lba = first * (SIM_UNIT_BYTES / 512), blocks = io->units * (SIM_UNIT_BYTES / 512);

	memset(&io->request, 0xee, sizeof(io->request));
	io->request.kind = STORVSC_COMMAND;
	io->request.path = io->request.target = io->request.lun = 0;
	io->request.cdb_bytes = 10;
	io->request.direction = io->write ? STORVSC_TO_DEVICE : STORVSC_FROM_DEVICE;
	io->request.data_offset = 0;
	io->request.data_bytes = io->units * SIM_UNIT_BYTES;
	io->request.pfns = io->pfns;
	io->request.fill_pfns = NULL;
	io->request.deadline_ns = 0;
	if (sim_chance(random, 4))
		io->request.deadline_ns = atomic_load(&disk->guest->now_ns) +
					  (1 + sim_chance(random, 8)) * SIM_SECOND_NS;
	memcpy(io->request.cdb,
	       ((uint8_t[STORVSC_CDB_BYTES]){ io->write ? SCSI_WRITE_10 : SCSI_READ_10, 0, 0, 0,
					      (uint8_t)(lba >> 8), (uint8_t)lba, 0, 0,
					      (uint8_t)blocks }), STORVSC_CDB_BYTES);
	if (!sim_chance(random, 40)) {
		io->write = false;
		io->request.kind = (uint8_t)(STORVSC_LUN_RESET + sim_chance(random, 3));
		return;
	}
	for (uint32_t i = 0; io->write && i < io->units; i++)
		fill(io, i, sim_word(disk->index, first + i, io->version));
}

/* Prepares a slot; NULL where there is none free, or its units are in use. */
static struct sim_io *prepare(struct sim_disk *disk, uint32_t vp, struct sim_random *random)
{
	struct sim_model *model = &disk->models[vp];
	struct sim_io *io = &model->ios[sim_chance(random, SIM_SLOTS)];

	if (atomic_load(&io->state) != SIM_IO_FREE)
		return NULL;
	for (uint32_t i = 0; i < SIM_UNITS_AT_ONCE; i++)
		SIM_CHECK(word_of(io, i) == POISON);
	io->units = 1 + sim_chance(random, SIM_UNITS_AT_ONCE);
	io->unit = sim_chance(random, SIM_UNITS - io->units + 1);
	if (!units_free(model, io->unit, io->units))
		return NULL;
	io->write = sim_chance(random, 2);
	io->version = ++model->last_version;
	fill_request(disk, vp, io, random);
	return io;
}

static void give_back(struct sim_model *model, struct sim_io *io)
{
	for (uint32_t i = 0; i < SIM_UNITS_AT_ONCE; i++)
		fill(io, i, POISON);
	for (uint32_t i = 0; i < io->units; i++)
		model->units[io->unit + i].busy = false;
	atomic_store(&io->state, SIM_IO_FREE);
}

/* Returns false where no more are worth to be tried now. */
static bool submit_one(struct sim_lane *lane, struct sim_model *model, struct sim_io *io)
{
	int error;

	for (uint32_t i = 0; i < io->units; i++)
		model->units[io->unit + i].busy = true;
	io->lane = lane;
	atomic_store(&io->state, SIM_IO_OUT);
	error = storvsc_submit(&lane->storvsc, &io->request);
	if (!error) {
		sim_count(&sim_counters.submitted);
		return true;
	}
	SIM_CHECK(error == -LIS_AGAIN || error == -LIS_GONE ||
		  (error == -LIS_CORRUPT && lane->storvsc.broken));
	if (error == -LIS_AGAIN) {
		sim_count(&sim_counters.full);
		lane->room_wanted = true;
	}
	give_back(model, io);
	return false;
}

void sim_vp_submit(struct sim_guest *guest, uint32_t vp, struct sim_random *random)
{
	struct sim_disk *disk = &guest->disks[sim_chance(random, SIM_DISKS)];
	uint32_t cpu = vp + SIM_VPS * sim_chance(random, SIM_CPUS / SIM_VPS);
	uint32_t count = 1 + sim_chance(random, sim_chance(random, 4) ? 6 : 40);
	struct storvsc_channel *channel;
	struct sim_lane *lane;
	struct sim_io *io;

	pthread_rwlock_rdlock(&guest->gate);
	channel = atomic_load(&disk->usable) ? storvsc_channel_for_cpu(&disk->storvsc, cpu) : NULL;
	if (channel) {
		lane = (struct sim_lane *)((char *)channel - offsetof(struct sim_lane, storvsc));
		pthread_mutex_lock(&lane->lock);
		for (bool go_on = true; go_on && count; count--) {
			io = prepare(disk, vp, random);
			if (io)
				go_on = submit_one(lane, &disk->models[vp], io);
		}
		if (storvsc_channel_flush(&lane->storvsc))
			vmbus_client_signal(&guest->client, &lane->core);
		pthread_mutex_unlock(&lane->lock);
	}
	pthread_rwlock_unlock(&guest->gate);
}

/* ---- what came of it ---- */

static void check_read(struct sim_disk *disk, uint32_t vp, const struct sim_io *io)
{
	for (uint32_t i = 0; i < io->units; i++) {
		struct sim_unit *unit = &disk->models[vp].units[io->unit + i];
		uint32_t number = vp * SIM_UNITS + io->unit + i, word = word_of(io, i);
		bool found = unit->count == 0;

		for (uint32_t j = 0; j < unit->count && !found; j++) {
			if (word != sim_word(disk->index, number, unit->versions[j]))
				continue;
			found = true;
			unit->versions[0] = unit->versions[j];
			unit->count = 1;
		}
		SIM_CHECK(found);
	}
}

/* A write that is @certain, or may have come to pass or not. */
static void note_write(struct sim_model *model, const struct sim_io *io, bool certain)
{
	for (uint32_t i = 0; i < io->units; i++) {
		struct sim_unit *unit = &model->units[io->unit + i];

		if (certain)
			unit->count = 0;
		else if (unit->count == 0 || unit->count == SIM_GUESSES) {
			unit->count = 0; /* lost track until the next write */
			continue;
		}
		unit->versions[unit->count++] = io->version;
	}
}

static void check(struct sim_disk *disk, uint32_t vp, const struct sim_io *io)
{
	const struct storvsc_request *request = &io->request;
	bool good = request->result == STORVSC_RESULT_GOOD;

	SIM_CHECK(request->result != STORVSC_RESULT_CORRUPT);
	if (good)
		sim_count(&sim_counters.good);
	else if (request->result == STORVSC_RESULT_GONE)
		sim_count(&sim_counters.gone);
	else if (request->result == STORVSC_RESULT_TIMED_OUT)
		sim_count(&sim_counters.timed_out);
	else
		sim_count(&sim_counters.other_ends);
	if (request->kind != STORVSC_COMMAND)
		return;
	if (good)
		SIM_CHECK(request->transferred_bytes == request->data_bytes);
	if (io->write)
		note_write(&disk->models[vp], io, good);
	else if (good)
		check_read(disk, vp, io);
}

void sim_vp_collect(struct sim_guest *guest, uint32_t vp)
{
	for (uint32_t d = 0; d < SIM_DISKS; d++) {
		struct sim_model *model = &guest->disks[d].models[vp];

		for (uint32_t i = 0; i < SIM_SLOTS; i++) {
			struct sim_io *io = &model->ios[i];
			enum sim_io_state state = atomic_load(&io->state);

			if (state != SIM_IO_DONE && state != SIM_IO_RELEASED)
				continue;
			check(&guest->disks[d], vp, io);
			give_back(model, io);
		}
	}
}

bool sim_vp_idle(const struct sim_guest *guest, uint32_t vp)
{
	for (uint32_t d = 0; d < SIM_DISKS; d++)
		for (uint32_t i = 0; i < SIM_SLOTS; i++)
			if (atomic_load(&guest->disks[d].models[vp].ios[i].state) != SIM_IO_FREE)
				return false;
	return true;
}
