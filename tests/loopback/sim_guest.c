// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest of the simulated world, its bus: a port of client and storvsc that never waits. What
 * an op is told is noted; sim_guest_step() goes on from there. sim_vp.c has what is done with
 * requests.
 *
 * Locking. The client, lanes' states and all memory belong to the bus' thread. A disk's device_lock
 * is taken for what storvsc calls the device's unit, then a lane's lock for the channel's. Whoever
 * finds a lane by itself holds the gate for reading: a lane is freed, and storvsc's map of CPUs,
 * only after the gate was held for writing.
 */
#include <string.h>

#include "tests/loopback/sim_guest.h"

/* ---- memory ---- */

static void *port_alloc(void *port, size_t bytes)
{
	struct sim_guest *guest = port;
	void *memory = malloc(bytes);

	guest->allocations += memory != NULL;
	return memory;
}

static void port_release(void *port, void *memory)
{
	struct sim_guest *guest = port;

	guest->allocations--;
	free(memory);
}

static void rings_destroy(struct sim_lane *lane)
{
	partition_unmap_pages(lane->data_out, lane->pages - 1, true);
	partition_unmap_pages(lane->data_in, lane->pages - 1, true);
	lane->data_out = lane->data_in = NULL;
	if (lane->ring_memory) {
		loopback_guest_free_pages(lane->guest->machine, lane->ring_gpa, 2 * lane->pages);
		lane->guest->pages -= (int)(2 * lane->pages);
	}
	lane->ring_memory = NULL;
}

/* Small ones, so that they are full now and then. */
static int rings_create(struct sim_lane *lane)
{
	struct loopback_guest *machine = lane->guest->machine;
	const struct partition *memory = loopback_guest_memory(machine);
	uint32_t data_pages = 1 + sim_chance(lane->guest->random, 4);
	size_t data_bytes = data_pages * HV_PAGE_BYTES;

	lane->pages = 1 + data_pages;
	if (sim_allocation_fails())
		return -LIS_NOMEM;
	lane->ring_memory = loopback_guest_alloc_pages(machine, 2 * lane->pages, true,
						       &lane->ring_gpa);
	SIM_CHECK(lane->ring_memory);
	lane->guest->pages += (int)(2 * lane->pages);
	for (uint32_t i = 0; i < 2 * lane->pages; i++)
		lane->pfns[i] = (lane->ring_gpa.value >> HV_PAGE_SHIFT) + i;
	SIM_CHECK(!partition_map_pages(memory, lane->pfns + 1, data_pages, true, &lane->data_out));
	SIM_CHECK(!partition_map_pages(memory, lane->pfns + lane->pages + 1, data_pages, true,
				       &lane->data_in));
	SIM_CHECK(!vmbus_ring_writer_init(&lane->to_host, lane->ring_memory, lane->data_out,
					  data_bytes));
	SIM_CHECK(!vmbus_ring_reader_init(&lane->from_host,
					  lane->ring_memory + lane->pages * HV_PAGE_BYTES,
					  lane->data_in, data_bytes));
	return 0;
}

/* ---- ops of the client ---- */

static struct sim_lane *lane_of(struct vmbus_client_channel *core)
{
	return (struct sim_lane *)core;
}

static int op_post_message(void *port, uint32_t connection_id, const void *payload, size_t bytes)
{
	struct sim_guest *guest = port;

	if (guest->busy_hypervisor)
		return sim_chance(guest->random, 2) ? -LIS_AGAIN : -LIS_FULL;
	return loopback_guest_post_message(guest->machine, connection_id, payload, bytes);
}

static void op_signal(void *port, uint32_t connection_id)
{
	struct sim_guest *guest = port;

	(void)loopback_guest_signal(guest->machine, connection_id);
}

static void op_set_interrupt_page_bit(void *port, uint32_t channel_id)
{
	SIM_CHECK(false); /* our host has a signal for each channel */
}

static void op_retry_later(void *port)
{
	((struct sim_guest *)port)->retry = true;
}

static void op_connected(void *port, int error)
{
	struct sim_guest *guest = port;

	SIM_CHECK(!error);
	guest->connected = true;
}

static void op_unloaded(void *port)
{
	((struct sim_guest *)port)->unloaded = true;
}

static struct sim_disk *disk_of(struct sim_guest *guest, const struct vmbus_client_offer *offer)
{
	for (uint32_t i = 0; i < SIM_DISKS; i++) {
		const struct guid id = storvsp_instance_id(i);

		if (!guid_compare(&id, &offer->instance_id))
			return &guest->disks[i];
	}
	SIM_CHECK(false);
	return NULL;
}

/* A failure here costs the guest the device for as long as it is offered: that is the contract. */
static struct vmbus_client_channel *op_channel_alloc(void *port,
						     const struct vmbus_client_offer *offer)
{
	struct sim_guest *guest = port;
	struct sim_lane *lane = calloc(1, sizeof(*lane));

	SIM_CHECK(offer->sub_channel_index <= SIM_SUBS);
	if (!lane)
		return NULL;
	guest->lanes++;
	lane->guest = guest;
	lane->disk = disk_of(guest, offer);
	lane->index = offer->sub_channel_index;
	lane->cpu = lane->index % SIM_CPUS;
	pthread_mutex_init(&lane->lock, NULL);
	return &lane->core;
}

static void op_channel_forgotten(void *port, struct vmbus_client_channel *core)
{
	lane_of(core)->forgotten = true;
}

static void op_offered(void *port, struct vmbus_client_channel *core)
{
	struct sim_lane *lane = lane_of(core);

	/* The host offers a device anew when the guest has let go of the old one. */
	SIM_CHECK(!lane->disk->lanes[lane->index]);
	SIM_CHECK(core->offer.channel_id <= SIM_CHANNEL_ID_MAX);
	lane->disk->lanes[lane->index] = lane;
	atomic_store(&lane->guest->by_id[core->offer.channel_id], lane);
}

static void op_offers_delivered(void *port)
{
}

static void op_rescinded(void *port, struct vmbus_client_channel *core)
{
}

static void answer(struct sim_lane *lane, int error)
{
	SIM_CHECK(!lane->answered);
	lane->answered = true;
	lane->error = error;
}

static void op_opened(void *port, struct vmbus_client_channel *core, int error)
{
	SIM_CHECK(lane_of(core)->state == SIM_LANE_OPENING);
	answer(lane_of(core), error);
}

static void op_modified(void *port, struct vmbus_client_channel *core, int error)
{
	struct sim_lane *lane = lane_of(core);

	SIM_CHECK(lane->moving);
	lane->moving = false;
	if (error || lane->state != SIM_LANE_OPEN)
		return;
	sim_count(&sim_counters.moves);
	pthread_mutex_lock(&lane->disk->device_lock);
	lane->cpu = lane->next_cpu;
	storvsc_channel_set_cpu(&lane->storvsc, lane->cpu);
	pthread_mutex_unlock(&lane->disk->device_lock);
}

static struct sim_lane *lane_of_gpadl(struct vmbus_client_gpadl *gpadl)
{
	return (struct sim_lane *)((char *)gpadl - offsetof(struct sim_lane, gpadl));
}

static void op_gpadl_created(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	SIM_CHECK(lane_of_gpadl(gpadl)->state == SIM_LANE_CREATING);
	answer(lane_of_gpadl(gpadl), error);
}

static void op_gpadl_torn_down(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	SIM_CHECK(lane_of_gpadl(gpadl)->state == SIM_LANE_CLOSING);
	answer(lane_of_gpadl(gpadl), error);
}

static const struct vmbus_client_ops client_ops = {
	.post_message = op_post_message, .signal = op_signal,
	.set_interrupt_page_bit = op_set_interrupt_page_bit, .retry_later = op_retry_later,
	.connected = op_connected, .unloaded = op_unloaded,
	.channel_alloc = op_channel_alloc, .channel_forgotten = op_channel_forgotten,
	.offered = op_offered, .offers_delivered = op_offers_delivered,
	.rescinded = op_rescinded, .opened = op_opened, .modified = op_modified,
	.gpadl_created = op_gpadl_created, .gpadl_torn_down = op_gpadl_torn_down,
};

/* ---- storvsc on a lane ---- */

static int init_disk(struct sim_disk *disk)
{
	static const uint16_t versions[] = { 0, STORVSC_VERSION_WIN8, STORVSC_VERSION_WIN7 };
	const struct storvsc_config config = {
		.name = "sim", .alloc = port_alloc, .release = port_release, .port = disk->guest,
		.cpu_count = SIM_CPUS,
		.sub_channels_wanted = (uint16_t)sim_chance(disk->guest->random, 1 + SIM_SUBS),
		.version_max = sim_chance(disk->guest->random, 4) ? 0 :
			       versions[sim_chance(disk->guest->random, 3)],
		.setup_timeout_ns = 60 * SIM_SECOND_NS, .reset_grace_ns = 4 * SIM_SECOND_NS,
	};
	int error = storvsc_init(&disk->storvsc, &config);

	disk->initialized = !error;
	return error;
}

static void fini_disk(struct sim_disk *disk)
{
	if (disk->initialized)
		storvsc_fini(&disk->storvsc);
	disk->initialized = false;
}

/* The bus has opened the lane. */
static int attach(struct sim_lane *lane)
{
	struct sim_disk *disk = lane->disk;
	const struct storvsc_channel_config config = {
		.to_host = &lane->to_host, .from_host = &lane->from_host,
		.queue_depth = 1 + sim_chance(lane->guest->random, SIM_VPS * SIM_SLOTS),
		.cpu = lane->cpu,
	};
	int error = 0;

	pthread_mutex_lock(&disk->device_lock);
	pthread_mutex_lock(&lane->lock);
	if (!lane->index)
		error = init_disk(disk);
	if (!error)
		error = storvsc_channel_open(&disk->storvsc, &lane->storvsc, &config);
	lane->attached = !error;
	lane->room_wanted = false;
	atomic_store(&lane->broken, false);
	if (!error && !lane->index) {
		error = storvsc_start(&disk->storvsc, atomic_load(&lane->guest->now_ns));
		SIM_CHECK(!error);
		if (storvsc_channel_flush(&lane->storvsc))
			vmbus_client_signal(&lane->guest->client, &lane->core);
	}
	if (error && !lane->index)
		fini_disk(disk);
	pthread_mutex_unlock(&lane->lock);
	pthread_mutex_unlock(&disk->device_lock);
	SIM_CHECK(!error || error == -LIS_NOMEM || error == -LIS_GONE);
	return error;
}

/* The host has let go of the lane, or the bus is gone. All that was in flight ends here. */
static void detach(struct sim_lane *lane)
{
	struct sim_disk *disk = lane->disk;

	if (!lane->attached)
		return;
	/* With the primary goes the disk: nobody may be about to look for a channel of it. */
	if (!lane->index)
		pthread_rwlock_wrlock(&lane->guest->gate);
	pthread_mutex_lock(&disk->device_lock);
	pthread_mutex_lock(&lane->lock);
	/* But for a disk that hung until all its slots were given up. */
	SIM_CHECK(lane->storvsc.counters.violations == (lane->storvsc.broken ? 1 : 0));
	sim_lane_ended(lane, storvsc_channel_close(&lane->storvsc, false));
	lane->attached = false;
	SIM_CHECK(lane->storvsc.counters.ended == lane->storvsc.counters.submitted);
	sim_lane_release_late(lane);
	pthread_mutex_unlock(&lane->lock);
	if (!lane->index) {
		atomic_store(&disk->usable, false);
		fini_disk(disk);
	}
	pthread_mutex_unlock(&disk->device_lock);
	if (!lane->index)
		pthread_rwlock_unlock(&lane->guest->gate);
}

/* ---- what a lane does next ---- */

static bool subs_idle(const struct sim_disk *disk)
{
	for (uint32_t i = 1; i <= SIM_SUBS; i++)
		if (disk->lanes[i] && disk->lanes[i]->state != SIM_LANE_IDLE)
			return false;
	return true;
}

/* Shall it be closed, or stay so? */
static bool is_leaving(const struct sim_lane *lane)
{
	const struct sim_disk *disk = lane->disk;
	const struct sim_lane *primary = disk->lanes[0];

	if (lane->core.rescinded || atomic_load(&lane->broken) || !disk->wanted)
		return true;
	/* The primary may be the guest's no more: it had no memory for it. */
	return lane->index && (!primary || is_leaving(primary));
}

static void free_lane(struct sim_lane *lane)
{
	struct sim_guest *guest = lane->guest;

	SIM_CHECK(lane->state == SIM_LANE_IDLE && !lane->attached && !lane->ring_memory);
	lane->disk->lanes[lane->index] = NULL;
	atomic_store(&guest->by_id[lane->core.offer.channel_id], NULL);
	pthread_rwlock_wrlock(&guest->gate);
	pthread_rwlock_unlock(&guest->gate);
	pthread_mutex_destroy(&lane->lock);
	free(lane);
	guest->lanes--;
}

static bool lane_idle(struct sim_lane *lane)
{
	struct sim_guest *guest = lane->guest;
	int error;

	if (lane->core.rescinded) {
		error = vmbus_client_release(&guest->client, &lane->core);
		SIM_CHECK(!error || error == -LIS_BUSY);
		if (!error)
			free_lane(lane);
		return !error;
	}
	if (lane->core.state != VMBUS_CLIENT_CHANNEL_CLOSED)
		return false;
	if (!is_leaving(lane) && (!lane->index || atomic_load(&lane->disk->usable))) {
		if (rings_create(lane))
			return true;
		lane->state = SIM_LANE_CREATING;
		SIM_CHECK(!vmbus_client_gpadl_create(&guest->client, &lane->core, &lane->gpadl,
						     lane->pfns, 2 * lane->pages * HV_PAGE_BYTES,
						     0));
		return true;
	}
	/* What broke is closed by now, and may be opened again. */
	atomic_store(&lane->broken, false);
	return false;
}

static void tear_down(struct sim_lane *lane)
{
	lane->state = SIM_LANE_CLOSING;
	SIM_CHECK(!vmbus_client_gpadl_teardown(&lane->guest->client, &lane->gpadl));
}

static void lane_created(struct sim_lane *lane)
{
	struct vmbus_client_open open = {
		.ring_gpadl_id = lane->gpadl.id, .host_to_guest_page_offset = lane->pages,
		.target_vp = lane->cpu % SIM_VPS,
	};

	if (lane->error) {
		SIM_CHECK(lane->error == -LIS_REFUSED); /* the host had no memory */
		sim_count(&sim_counters.failed_opens);
		rings_destroy(lane);
		lane->state = SIM_LANE_IDLE;
		return;
	}
	if (is_leaving(lane)) {
		tear_down(lane);
		return;
	}
	lane->state = SIM_LANE_OPENING;
	SIM_CHECK(!vmbus_client_open(&lane->guest->client, &lane->core, &open));
}

static void lane_close(struct sim_lane *lane)
{
	pthread_mutex_lock(&lane->lock);
	storvsc_channel_stop(&lane->storvsc);
	pthread_mutex_unlock(&lane->lock);
	SIM_CHECK(!vmbus_client_close(&lane->guest->client, &lane->core));
	tear_down(lane);
}

static void lane_opened(struct sim_lane *lane)
{
	if (lane->error) {
		SIM_CHECK(lane->error == -LIS_REFUSED || lane->error == -LIS_GONE);
		sim_count(&sim_counters.failed_opens);
		tear_down(lane);
		return;
	}
	sim_count(lane->index ? &sim_counters.sub_opens : &sim_counters.opens);
	lane->state = SIM_LANE_OPEN;
	if (!lane->core.rescinded && !attach(lane))
		atomic_store(&lane->pending, true); /* look once */
	else
		lane_close(lane);
}

static void lane_closed(struct sim_lane *lane)
{
	SIM_CHECK(!lane->error);
	sim_count(&sim_counters.closes);
	detach(lane);
	rings_destroy(lane);
	lane->state = SIM_LANE_IDLE;
}

/* Returns true if anything was done. */
static bool lane_step(struct sim_lane *lane)
{
	bool answered = lane->answered;

	lane->answered = false;
	switch (lane->state) {
	case SIM_LANE_IDLE:
		return lane_idle(lane);
	case SIM_LANE_OPEN:
		if (!is_leaving(lane) || (!lane->index && !subs_idle(lane->disk)))
			return false;
		lane_close(lane);
		return true;
	case SIM_LANE_CREATING:
		if (answered)
			lane_created(lane);
		return answered;
	case SIM_LANE_OPENING:
		if (answered)
			lane_opened(lane);
		return answered;
	case SIM_LANE_CLOSING:
		if (answered)
			lane_closed(lane);
		return answered;
	}
	return false;
}

/* The host has forgotten this guest, and whatever it had open. */
static void reap(struct sim_guest *guest)
{
	for (uint32_t i = SIM_SUBS + 1; i-- > 0;) { /* sub-channels first */
		for (uint32_t d = 0; d < SIM_DISKS; d++) {
			struct sim_lane *lane = guest->disks[d].lanes[i];

			if (!lane)
				continue;
			SIM_CHECK(lane->forgotten);
			detach(lane);
			rings_destroy(lane);
			lane->state = SIM_LANE_IDLE;
			free_lane(lane);
		}
	}
	SIM_CHECK(guest->lanes == 0);
}

/* ---- the bus' thread ---- */

bool sim_guest_take_message(struct sim_guest *guest)
{
	uint64_t message[VMBUS_MESSAGE_BYTES_MAX / 8];
	size_t bytes;

	if (loopback_guest_next_message(guest->machine, 0, message, &bytes))
		return false;
	vmbus_client_on_message(&guest->client, message, bytes);
	return true;
}

void sim_guest_connect(struct sim_guest *guest)
{
	static const uint32_t versions[] = { 0, VMBUS_VERSION_IRON, VMBUS_VERSION_WIN10_V4_1,
					     VMBUS_VERSION_WIN8_1 };
	struct vmbus_client_config config = {
		.version_max = versions[sim_chance(guest->random, 4)],
		.features = VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS,
		.isolated = sim_chance(guest->random, 2),
	};

	if (guest->client.state != VMBUS_CLIENT_IDLE)
		return;
	if (config.isolated)
		config.version_max = 0;
	guest->unloaded = false;
	sim_count(&sim_counters.connections);
	SIM_CHECK(!vmbus_client_connect(&guest->client, &config));
}

void sim_guest_unload(struct sim_guest *guest)
{
	if (guest->client.state != VMBUS_CLIENT_CONNECTED)
		return;
	sim_count(&sim_counters.unloads);
	vmbus_client_unload(&guest->client);
}

bool sim_guest_step(struct sim_guest *guest)
{
	bool moved = guest->retry;

	if (guest->retry) {
		guest->retry = false;
		vmbus_client_retry(&guest->client);
	}
	if (guest->connected && guest->client.state == VMBUS_CLIENT_CONNECTED)
		SIM_CHECK(!vmbus_client_request_offers(&guest->client));
	guest->connected = false;
	if (guest->unloaded) {
		guest->unloaded = false;
		reap(guest);
		return true;
	}
	if (guest->client.state != VMBUS_CLIENT_CONNECTED)
		return moved;
	for (uint32_t d = 0; d < SIM_DISKS; d++)
		for (uint32_t i = 0; i <= SIM_SUBS; i++)
			if (guest->disks[d].lanes[i])
				moved |= lane_step(guest->disks[d].lanes[i]);
	SIM_CHECK(guest->client.counters.violations == 0);
	return moved;
}

/* Once for each second of the guest's clock. */
void sim_guest_tick(struct sim_guest *guest)
{
	for (uint32_t d = 0; d < SIM_DISKS; d++) {
		struct sim_disk *disk = &guest->disks[d];

		for (uint32_t i = 0; i <= SIM_SUBS; i++) {
			struct sim_lane *lane = disk->lanes[i];

			if (!lane)
				continue;
			pthread_mutex_lock(&disk->device_lock);
			pthread_mutex_lock(&lane->lock);
			if (lane->attached)
				sim_lane_events(lane, storvsc_channel_on_timer(
							      &lane->storvsc,
							      atomic_load(&guest->now_ns)));
			pthread_mutex_unlock(&lane->lock);
			pthread_mutex_unlock(&disk->device_lock);
		}
	}
}

/* Has the interrupts of some lane go elsewhere. */
void sim_guest_move(struct sim_guest *guest, struct sim_random *random)
{
	struct sim_lane *lane =
		guest->disks[sim_chance(random, SIM_DISKS)].lanes[sim_chance(random, 1 + SIM_SUBS)];
	int error;

	if (!lane || lane->state != SIM_LANE_OPEN || lane->moving)
		return;
	lane->next_cpu = sim_chance(random, SIM_CPUS);
	lane->moving = true;
	error = vmbus_client_modify(&guest->client, &lane->core, lane->next_cpu % SIM_VPS);
	if (error) {
		SIM_CHECK(error == -LIS_GONE || error == -LIS_UNSUPPORTED || error == -LIS_BUSY);
		lane->moving = false;
	}
}

bool sim_guest_settled(const struct sim_guest *guest)
{
	if (guest->client.state != VMBUS_CLIENT_CONNECTED)
		return guest->client.state == VMBUS_CLIENT_IDLE && guest->lanes == 0;
	if (guest->retry || guest->client.queue)
		return false;
	for (uint32_t d = 0; d < SIM_DISKS; d++) {
		const struct sim_disk *disk = &guest->disks[d];

		for (uint32_t i = 0; i <= SIM_SUBS; i++) {
			const struct sim_lane *lane = disk->lanes[i];

			if (lane && (lane->moving || lane->core.rescinded ||
				     lane->state != (disk->wanted ? SIM_LANE_OPEN : SIM_LANE_IDLE)))
				return false;
		}
		if (disk->wanted && disk->lanes[0] && !atomic_load(&disk->usable))
			return false;
	}
	return true;
}

void sim_guest_create(struct sim_guest *guest, struct partition *partition,
		      struct sim_random *random)
{
	memset(guest, 0, sizeof(*guest));
	guest->random = random;
	guest->now_ns = 1;
	pthread_rwlock_init(&guest->gate, NULL);
	SIM_CHECK(!loopback_guest_attach(partition, &guest->machine));
	vmbus_client_init(&guest->client, &client_ops, guest);
	for (uint32_t d = 0; d < SIM_DISKS; d++) {
		guest->disks[d].guest = guest;
		guest->disks[d].index = d;
		pthread_mutex_init(&guest->disks[d].device_lock, NULL);
		for (uint32_t vp = 0; vp < SIM_VPS; vp++)
			sim_model_init(&guest->disks[d], vp);
	}
}

void sim_guest_destroy(struct sim_guest *guest)
{
	SIM_CHECK(guest->client.state == VMBUS_CLIENT_IDLE);
	SIM_CHECK(!vmbus_client_check(&guest->client));
	SIM_CHECK(guest->lanes == 0 && guest->allocations == 0 && guest->pages == 0);
	for (uint32_t d = 0; d < SIM_DISKS; d++)
		pthread_mutex_destroy(&guest->disks[d].device_lock);
	pthread_rwlock_destroy(&guest->gate);
	loopback_guest_detach(guest->machine);
}
