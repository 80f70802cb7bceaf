/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The storage VSP's controller: its life, its LUNs, and resets.
 *
 * A command becomes a user of its LUN by one atomic addition and leaves by another; the lock is for
 * those who add or remove units and for resets, which are rare. Each of them publishes what it
 * waits for before it looks at the users, and each user leaves before it looks whether someone
 * waits (sequentially consistent on both sides), so one of the two always sees the other.
 */
#include "storage/storvsp_private.h"

#include <stdlib.h>
#include <string.h>

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* ---- LUNs ---- */

static bool address_valid(struct storvsp_address address)
{
	return address.path < STORVSP_PATHS && address.target < STORVSP_TARGETS;
}

static uint32_t address_index(struct storvsp_address address)
{
	return (address.path * STORVSP_TARGETS + address.target) * STORVSP_LUNS + address.lun;
}

static struct storvsp_address index_address(uint32_t index)
{
	return (struct storvsp_address){ (uint8_t)(index / STORVSP_LUNS / STORVSP_TARGETS),
					 (uint8_t)(index / STORVSP_LUNS % STORVSP_TARGETS),
					 (uint8_t)(index % STORVSP_LUNS) };
}

static struct storvsp_lun *lun_at(struct storvsp *storvsp, uint32_t index)
{
	return atomic_load_explicit(&storvsp->luns[index], memory_order_acquire);
}

/* Any number of callers may come here; the one that takes @removed makes the call. */
static void lun_is_unused(struct storvsp *storvsp, struct storvsp_lun *lun)
{
	struct io_call *removed = atomic_exchange(&lun->removed, NULL);

	if (removed)
		io_loop_call(storvsp->bus_loop, removed);
}

static struct storvsp_lun *get_index(struct storvsp *storvsp, uint32_t index)
{
	struct storvsp_lun *lun = lun_at(storvsp, index);

	if (!lun)
		return NULL;
	if (atomic_fetch_add(&lun->users, 1) & STORVSP_LUN_PRESENT)
		return lun;
	storvsp_lun_put(storvsp, lun);
	return NULL;
}

struct storvsp_lun *storvsp_lun_get(struct storvsp *storvsp, struct storvsp_address address)
{
	return address_valid(address) ? get_index(storvsp, address_index(address)) : NULL;
}

static bool lun_in_use(struct storvsp_lun *lun)
{
	return lun && (atomic_load(&lun->users) & ~STORVSP_LUN_PRESENT);
}

/* Has every LUN that the reset waits for been without users? */
static bool reset_is_done(struct storvsp *storvsp, struct storvsp_reset *reset)
{
	for (uint32_t word = 0; reset->waiting_count && word < STORVSP_ADDRESSES / 64; word++) {
		uint64_t bits = reset->waiting[word];

		while (bits) {
			uint32_t bit = (uint32_t)__builtin_ctzll(bits);

			bits &= bits - 1;
			if (lun_in_use(lun_at(storvsp, word * 64 + bit)))
				continue;
			reset->waiting[word] &= ~(1ull << bit);
			reset->waiting_count--;
		}
	}
	return !reset->waiting_count;
}

static void check_resets(struct storvsp *storvsp)
{
	struct storvsp_reset **at;

	pthread_mutex_lock(&storvsp->lock);
	for (at = &storvsp->resets; *at;) {
		struct storvsp_reset *reset = *at;

		if (!reset_is_done(storvsp, reset)) {
			at = &reset->next;
			continue;
		}
		*at = reset->next;
		reset->listed = false;
		atomic_fetch_sub(&storvsp->resets_waiting, 1);
		io_loop_call(reset->loop, &reset->done_call);
	}
	pthread_mutex_unlock(&storvsp->lock);
}

void storvsp_lun_put(struct storvsp *storvsp, struct storvsp_lun *lun)
{
	uint32_t users = atomic_fetch_sub(&lun->users, 1) - 1;

	if (users & ~STORVSP_LUN_PRESENT)
		return;
	if (!users)
		lun_is_unused(storvsp, lun);
	if (atomic_load(&storvsp->resets_waiting))
		check_resets(storvsp);
}

uint32_t storvsp_luns_of_target(struct storvsp *storvsp, uint8_t path, uint8_t target,
				uint8_t out_luns[STORVSP_LUNS])
{
	struct storvsp_address address = { path, target, 0 };
	uint32_t first, count = 0;

	if (!address_valid(address))
		return 0;
	first = address_index(address);
	for (uint32_t i = 0; i < STORVSP_LUNS; i++) {
		struct storvsp_lun *lun = lun_at(storvsp, first + i);

		if (lun && (atomic_load(&lun->users) & STORVSP_LUN_PRESENT))
			out_luns[count++] = (uint8_t)i;
	}
	return count;
}

void storvsp_rescan(struct storvsp *storvsp)
{
	if (!atomic_exchange(&storvsp->rescan_queued, true))
		io_loop_call(storvsp->primary_loop, &storvsp->rescan_call);
}

static void rescan(struct io_call *call)
{
	struct storvsp *storvsp = container_of(call, struct storvsp, rescan_call);

	/* First, so that a change from now on makes another call. */
	atomic_store(&storvsp->rescan_queued, false);
	if (storvsp->primary)
		storvsp_channel_rescan(storvsp->primary);
}

static int lun_add_locked(struct storvsp *storvsp, uint32_t index, struct scsi_unit *unit)
{
	struct storvsp_lun *lun = lun_at(storvsp, index);

	if (!lun) {
		lun = calloc(1, sizeof(*lun));
		if (!lun)
			return -LIS_NOMEM;
		lun->index = index;
		atomic_store_explicit(&storvsp->luns[index], lun, memory_order_release);
	} else if ((atomic_load(&lun->users) & STORVSP_LUN_PRESENT) || atomic_load(&lun->removed)) {
		return -LIS_BUSY;
	}
	lun->unit = unit;
	atomic_fetch_or(&lun->users, STORVSP_LUN_PRESENT);
	return 0;
}

int storvsp_lun_add(struct storvsp *storvsp, struct storvsp_address address, struct scsi_unit *unit)
{
	int err;

	if (!address_valid(address) || !unit)
		return -LIS_INVALID;
	pthread_mutex_lock(&storvsp->lock);
	err = lun_add_locked(storvsp, address_index(address), unit);
	pthread_mutex_unlock(&storvsp->lock);
	if (!err)
		storvsp_rescan(storvsp);
	return err;
}

int storvsp_lun_remove(struct storvsp *storvsp, struct storvsp_address address,
		       struct io_call *removed)
{
	struct storvsp_lun *lun;

	if (!address_valid(address))
		return -LIS_NOTFOUND;
	pthread_mutex_lock(&storvsp->lock);
	lun = lun_at(storvsp, address_index(address));
	if (!lun || !(atomic_load(&lun->users) & STORVSP_LUN_PRESENT)) {
		pthread_mutex_unlock(&storvsp->lock);
		return -LIS_NOTFOUND;
	}
	atomic_store(&lun->removed, removed);
	if (atomic_fetch_and(&lun->users, ~STORVSP_LUN_PRESENT) == STORVSP_LUN_PRESENT)
		lun_is_unused(storvsp, lun);
	pthread_mutex_unlock(&storvsp->lock);
	storvsp_rescan(storvsp);
	return 0;
}

void storvsp_each_lun(struct storvsp *storvsp,
		      void (*each)(void *arg, struct storvsp_address address,
				   struct scsi_unit *unit),
		      void *arg)
{
	for (uint32_t i = 0; i < STORVSP_ADDRESSES; i++) {
		struct storvsp_lun *lun = get_index(storvsp, i);

		if (!lun)
			continue;
		each(arg, index_address(i), lun->unit);
		storvsp_lun_put(storvsp, lun);
	}
}

/* ---- resets ---- */

static void reset_wait_for(struct storvsp *storvsp, struct storvsp_reset *reset, uint32_t index)
{
	if (!lun_in_use(lun_at(storvsp, index)))
		return;
	reset->waiting[index / 64] |= 1ull << index % 64;
	reset->waiting_count++;
}

static void reset_unit(struct storvsp *storvsp, struct storvsp_address address)
{
	struct storvsp_lun *lun = storvsp_lun_get(storvsp, address);

	if (!lun)
		return;
	scsi_unit_reset(lun->unit);
	storvsp_lun_put(storvsp, lun);
}

bool storvsp_reset_start(struct storvsp *storvsp, struct storvsp_reset *reset,
			 const struct storvsp_address *address)
{
	bool done;

	if (address)
		reset_unit(storvsp, *address);
	else
		for (uint32_t i = 0; i < STORVSP_ADDRESSES; i++)
			reset_unit(storvsp, index_address(i));
	reset->waiting_count = 0;
	memset(reset->waiting, 0, sizeof(reset->waiting));
	pthread_mutex_lock(&storvsp->lock);
	/* Before the users are looked at: see the top of this file. */
	atomic_fetch_add(&storvsp->resets_waiting, 1);
	if (!address) {
		for (uint32_t i = 0; i < STORVSP_ADDRESSES; i++)
			reset_wait_for(storvsp, reset, i);
	} else if (address_valid(*address)) {
		reset_wait_for(storvsp, reset, address_index(*address));
	}
	done = !reset->waiting_count;
	if (done) {
		atomic_fetch_sub(&storvsp->resets_waiting, 1);
	} else {
		reset->listed = true;
		reset->next = storvsp->resets;
		storvsp->resets = reset;
	}
	pthread_mutex_unlock(&storvsp->lock);
	atomic_fetch_add_explicit(&storvsp->resets_done, 1, memory_order_relaxed);
	return done;
}

bool storvsp_reset_abandon(struct storvsp *storvsp, struct storvsp_reset *reset)
{
	struct storvsp_reset **at;
	bool listed;

	pthread_mutex_lock(&storvsp->lock);
	listed = reset->listed;
	if (listed) {
		for (at = &storvsp->resets; *at != reset; at = &(*at)->next)
			;
		*at = reset->next;
		reset->listed = false;
		atomic_fetch_sub(&storvsp->resets_waiting, 1);
	}
	pthread_mutex_unlock(&storvsp->lock);
	return listed;
}

/* ---- life ---- */

struct guid storvsp_instance_id(uint32_t index)
{
	return GUID(0xf8b3781au + index, 0x1e82, 0x4818, 0xa1c3, 0x63d806ec15bb);
}

static void free_storvsp(struct storvsp *storvsp)
{
	for (uint32_t i = 0; i < STORVSP_ADDRESSES; i++)
		free(atomic_load(&storvsp->luns[i]));
	pthread_mutex_destroy(&storvsp->lock);
	free(storvsp->name);
	free(storvsp);
}

/* Bus loop, last of all. */
static void gone(struct io_call *call)
{
	struct storvsp *storvsp = container_of(call, struct storvsp, gone_call);
	struct io_call *destroyed = storvsp->destroyed;

	free_storvsp(storvsp);
	destroyed->fn(destroyed);
}

/* Primary channel's loop: calls run in order, so no rescan is on its way any more. */
static void last(struct io_call *call)
{
	struct storvsp *storvsp = container_of(call, struct storvsp, last_call);

	io_loop_call(storvsp->bus_loop, &storvsp->gone_call);
}

/* Bus loop: all channels are closed. */
static void retired(struct io_call *call)
{
	struct storvsp *storvsp = container_of(call, struct storvsp, retired_call);

	io_loop_call(storvsp->primary_loop, &storvsp->last_call);
}

int storvsp_create(struct vmbus_host *host, const struct storvsp_config *config,
		   struct storvsp **out_storvsp)
{
	struct vmbus_device_config device = {
		.name = config->name,
		.interface_id = STORVSC_SCSI_INTERFACE_ID,
		.instance_id = config->instance_id,
		.offer_flags = VMBUS_OFFER_DEVICE_INTERFACE,
		.sub_channels_max = config->sub_channels_max,
		.loops = config->loops,
		.loop_count = config->loop_count,
		.ops = &storvsp_device_ops,
	};
	struct storvsp *storvsp;
	int err;

	if (!config->loops || !config->loop_count || !config->bus_loop)
		return -LIS_INVALID;
	storvsp = calloc(1, sizeof(*storvsp));
	if (!storvsp)
		return -LIS_NOMEM;
	storvsp->name = strdup(config->name);
	if (!storvsp->name) {
		free(storvsp);
		return -LIS_NOMEM;
	}
	pthread_mutex_init(&storvsp->lock, NULL);
	storvsp->partition = vmbus_host_partition(host);
	storvsp->bus_loop = config->bus_loop;
	storvsp->primary_loop = config->loops[0];
	storvsp->queue_depth = config->queue_depth ? config->queue_depth : STORVSP_QUEUE_DEPTH;
	storvsp->sub_channels_max = config->sub_channels_max;
	storvsp->version_max = config->version_max ? config->version_max : UINT16_MAX;
	storvsp->rescan_call.fn = rescan;
	storvsp->retired_call.fn = retired;
	storvsp->last_call.fn = last;
	storvsp->gone_call.fn = gone;
	device.owner = storvsp;
	err = vmbus_host_offer(host, &device, &storvsp->device);
	if (err) {
		free_storvsp(storvsp);
		return err;
	}
	*out_storvsp = storvsp;
	return 0;
}

void storvsp_destroy(struct storvsp *storvsp, struct io_call *destroyed)
{
	storvsp->destroyed = destroyed;
	vmbus_host_rescind(storvsp->device, &storvsp->retired_call);
}

struct storvsp_status storvsp_status(const struct storvsp *storvsp)
{
	return (struct storvsp_status){
		.version = atomic_load_explicit(&storvsp->version, memory_order_relaxed),
		.ready = atomic_load_explicit(&storvsp->ready, memory_order_relaxed),
		.channels_open = atomic_load_explicit(&storvsp->channels_open,
						      memory_order_relaxed),
		.commands = atomic_load_explicit(&storvsp->commands, memory_order_relaxed),
		.resets = atomic_load_explicit(&storvsp->resets_done, memory_order_relaxed),
		.starved = atomic_load_explicit(&storvsp->starved, memory_order_relaxed),
	};
}
