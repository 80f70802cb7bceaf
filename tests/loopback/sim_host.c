// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The host of the simulated world: controllers that are offered and rescinded, each with a disk in
 * memory. A controller's fields belong to the bus loop, but for @state, which others may look at.
 */
#include <string.h>

#include "storage/scsi_disk.h"
#include "tests/loopback/sim.h"

uint32_t sim_word(uint32_t disk, uint32_t unit, uint32_t version)
{
	return (disk << 24 | unit << 16) ^ version * 2654435761u;
}

/* ---- disks ---- */

struct deferred {
	struct io_call call;
	struct block_request *request;
};
_Static_assert(sizeof(struct deferred) <= sizeof(((struct block_request *)0)->driver_data),
	       "a call fits into what a request has for its driver");

static void finish(struct sim_block *block, struct block_request *request)
{
	uint8_t *at = block->bytes + request->offset_bytes;
	int failing = atomic_load(&block->fail_in);

	if (failing > 0 && atomic_compare_exchange_strong(&block->fail_in, &failing, failing - 1) &&
	    failing == 1) {
		request->done(request, -LIS_IO);
		return;
	}
	pthread_mutex_lock(&block->lock);
	for (uint32_t i = 0; i < request->iov_count && request->op <= BLOCK_WRITE; i++) {
		const struct iovec *piece = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(piece->iov_base, at, piece->iov_len);
		else
			memcpy(at, piece->iov_base, piece->iov_len);
		at += piece->iov_len;
	}
	pthread_mutex_unlock(&block->lock);
	request->done(request, 0);
}

static void finish_deferred(struct io_call *call)
{
	struct block_request *request = ((struct deferred *)call)->request;

	finish(request->driver, request);
}

static void submit(struct block_device *device, struct block_request *request)
{
	struct sim_block *block = (struct sim_block *)device;
	struct deferred *deferred = (struct deferred *)request->driver_data;
	struct block_request **at = &block->held;

	if (atomic_load(&block->defer)) {
		request->driver = block;
		*deferred = (struct deferred){ { .fn = finish_deferred }, request };
		io_loop_call(request->loop, &deferred->call);
		return;
	}
	if (!block->hold) {
		finish(block, request);
		return;
	}
	while (*at)
		at = &(*at)->next;
	request->next = NULL;
	*at = request;
}

uint32_t sim_block_release(struct sim_block *block, uint32_t count)
{
	uint32_t released = 0;

	for (; released < count && block->held; released++) {
		struct block_request *request = block->held;

		block->held = request->next;
		finish(block, request);
	}
	return released;
}

static const struct block_driver sim_driver = { .name = "sim", .submit = submit };

static void block_init(struct sim_block *block, uint32_t disk)
{
	uint32_t *words = (uint32_t *)(void *)block->bytes;

	block->base.driver = &sim_driver;
	block->base.geometry = (struct block_geometry){
		.size_bytes = SIM_DISK_BYTES, .logical_sector_bytes = 512,
		.physical_sector_bytes = 4096, .buffer_align_bytes = 1,
	};
	pthread_mutex_init(&block->lock, NULL);
	for (uint32_t i = 0; i < SIM_DISK_BYTES / 4; i++)
		words[i] = sim_word(disk, i / (SIM_UNIT_BYTES / 4), 0);
}

/* ---- controllers ---- */

static void destroyed(struct io_call *call)
{
	struct sim_controller *controller = (struct sim_controller *)((char *)call -
					    offsetof(struct sim_controller, destroyed));

	atomic_store(&controller->state, SIM_ABSENT);
}

static void rescind(struct sim_controller *controller)
{
	atomic_store(&controller->state, SIM_GOING);
	storvsp_destroy(controller->storvsp, &controller->destroyed);
	controller->storvsp = NULL;
}

static void offer(struct sim_controller *controller)
{
	struct sim_host *world = controller->world;
	const struct storvsp_config config = {
		.name = "sim", .instance_id = storvsp_instance_id(controller->index),
		.sub_channels_max = SIM_SUBS, .bus_loop = world->loops[0],
		.loops = world->loops + 1, .loop_count = 2, .queue_depth = 8,
	};
	int error = storvsp_create(world->host, &config, &controller->storvsp);

	if (error) {
		SIM_CHECK(error == -LIS_NOMEM || error == -LIS_BUSY);
		return;
	}
	atomic_store(&controller->state, SIM_PRESENT);
	error = storvsp_lun_add(controller->storvsp, (struct storvsp_address){ 0, 0, 0 },
				controller->disk);
	if (error) {
		SIM_CHECK(error == -LIS_NOMEM);
		rescind(controller);
		return;
	}
	sim_count(controller->offered_before ? &sim_counters.re_offers : &sim_counters.offers);
	controller->offered_before = true;
}

void sim_controller_act(struct sim_controller *controller)
{
	switch (atomic_load(&controller->state)) {
	case SIM_ABSENT:
		offer(controller);
		break;
	case SIM_PRESENT:
		sim_count(&sim_counters.rescinds);
		rescind(controller);
		break;
	case SIM_GOING:
		break;
	}
}

static void act(struct io_call *call)
{
	struct sim_controller *controller = (struct sim_controller *)((char *)call -
					    offsetof(struct sim_controller, act));

	atomic_store(&controller->acting, false);
	sim_controller_act(controller);
}

void sim_host_act(struct sim_controller *controller)
{
	if (!atomic_exchange(&controller->acting, true))
		io_loop_call(controller->world->loops[0], &controller->act);
}

/* ---- life ---- */

void sim_host_create(struct sim_host *host, uint64_t (*now_ns)(void *clock), void *clock)
{
	const struct loopback_config loopback = { SIM_VPS, 16u << 20 };
	const struct io_loop_config loop = { .now_ns = now_ns, .clock = clock };
	struct vmbus_host_config config = { 0 };

	memset(host, 0, sizeof(*host));
	for (int i = 0; i < 3; i++)
		SIM_CHECK(!io_loop_create(&loop, &host->loops[i]));
	SIM_CHECK(!loopback_create(&loopback, &host->partition));
	config.partition = host->partition;
	config.loop = host->loops[0];
	SIM_CHECK(!vmbus_host_create(&config, &host->host));
	for (uint32_t i = 0; i < SIM_DISKS; i++) {
		struct sim_controller *controller = &host->controllers[i];
		const struct scsi_disk_config disk = { .device = &controller->block.base };

		controller->world = host;
		controller->index = i;
		controller->destroyed.fn = destroyed;
		controller->act.fn = act;
		block_init(&controller->block, i);
		SIM_CHECK(!scsi_disk_create(&disk, &controller->disk));
	}
}

void sim_host_destroy(struct sim_host *host)
{
	struct vmbus_host_status status;

	vmbus_host_status(host->host, &status);
	SIM_CHECK(status.violations == 0);
	vmbus_host_destroy(host->host);
	loopback_destroy(host->partition);
	for (uint32_t i = 0; i < SIM_DISKS; i++) {
		SIM_CHECK(atomic_load(&host->controllers[i].state) == SIM_ABSENT);
		scsi_unit_destroy(host->controllers[i].disk);
		pthread_mutex_destroy(&host->controllers[i].block.lock);
	}
	for (int i = 0; i < 3; i++)
		io_loop_destroy(host->loops[i]);
}
