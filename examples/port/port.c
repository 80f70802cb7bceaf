// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A port of the guest half to another operating system, whole and as small as that can be.
 * docs/porting.md walks through it.
 *
 * The operating system is this program: one thread, a heap, one CPU. The machine it runs on is
 * another process (machine.c), which it reaches by the guest end of the loopback partition: what is
 * a loopback_guest_*() here is a hypercall, a page of the hypervisor's or an interrupt on Hyper-V.
 *
 * It looks for its devices, answers heartbeats, reads a sector of a disk, writes another one, loses
 * the disk, lets go of everything and ends. All calls of the core come from one thread, so none of
 * the locks that a larger system needs is to be seen.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "services/heartbeat_guest.h"
#include "storage/storvsc.h"
#include "vmbus/client.h"
#include "vmbus/loopback.h"
#include "vmbus/ring.h"

#define VP 0u              /* the virtual processor that takes messages and interrupts */
#define RING_PAGES 5u      /* of each direction: a control page, four of data */
#define RING_DATA_BYTES ((RING_PAGES - 1) * HV_PAGE_BYTES)
#define SECOND_NS 1000000000ull
#define WAIT_NS (30 * SECOND_NS) /* for anything; a command of the disk gives up before */
#define PACKETS_AT_ONCE 16u
#define SECTOR_BYTES 512u

/* A channel: the client's part first, so that the one can be found from the other. */
struct channel {
	struct vmbus_client_channel core;
	struct channel *next;
	void (*on_signal)(struct channel *channel);

	/* The memory of both rings: this end's view of it, and what the host is told. */
	uint8_t *ring_memory;
	struct gpa ring_gpa;
	uint64_t ring_pfns[2 * RING_PAGES];
	void *to_host_data, *from_host_data;
	struct vmbus_client_gpadl ring_gpadl;
	struct vmbus_ring_writer to_host;
	struct vmbus_ring_reader from_host;
};

static struct {
	struct loopback_guest *machine;
	struct vmbus_client client;
	struct channel *channels; /* all that were offered */
	bool retry;
	bool answered; /* what was asked last, by @error */
	int error;
} os;

static struct disk {
	struct channel *bus; /* NULL: there is none */
	struct storvsc storvsc;
	struct storvsc_channel channel;
	bool ready, failed;
} disk;

static struct heartbeat {
	struct channel *bus;
	struct heartbeat_guest guest;
	bool beats;
} heartbeat;

/* ---- what vmbus/os.h asks for ---- */

void os_log(enum os_log_level level, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "guest: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
}

/* ---- the client's ops: what reaches the host ---- */

static int post_message(void *port, uint32_t connection_id, const void *payload, size_t bytes)
{
	return loopback_guest_post_message(os.machine, connection_id, payload, bytes);
}

static void signal_host(void *port, uint32_t connection_id)
{
	(void)loopback_guest_signal(os.machine, connection_id);
}

static void set_interrupt_page_bit(void *port, uint32_t channel_id)
{
	/* Hosts below 2.4 look there; boot() takes none of them. */
}

static void retry_later(void *port)
{
	os.retry = true;
}

/* ---- the client's ops: what the host said. They note it; none of them calls the client. ---- */

static void answer(int error)
{
	os.answered = true;
	os.error = error;
}

static void connected(void *port, int error)
{
	answer(error);
}

static void unloaded(void *port)
{
	answer(0);
}

static void offers_delivered(void *port)
{
	answer(0);
}

static void opened(void *port, struct vmbus_client_channel *channel, int error)
{
	answer(error);
}

static void modified(void *port, struct vmbus_client_channel *channel, int error)
{
	answer(error);
}

static void gpadl_created(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	answer(error);
}

static void gpadl_torn_down(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	answer(error);
}

static struct vmbus_client_channel *channel_alloc(void *port,
						  const struct vmbus_client_offer *offer)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	return channel ? &channel->core : NULL;
}

/* Takes a channel off the list of those that were offered, and frees it. */
static void channel_forgotten(void *port, struct vmbus_client_channel *core)
{
	struct channel **at = &os.channels;

	while (&(*at)->core != core)
		at = &(*at)->next;
	*at = (*at)->next;
	free(core);
}

static void offered(void *port, struct vmbus_client_channel *core)
{
	struct channel *channel = (struct channel *)core;

	channel->next = os.channels;
	os.channels = channel;
}

static void rescinded(void *port, struct vmbus_client_channel *core)
{
	os_log(OS_LOG_INFO, "channel %u is going away", core->offer.channel_id);
}

static const struct vmbus_client_ops client_ops = {
	.post_message = post_message, .signal = signal_host,
	.set_interrupt_page_bit = set_interrupt_page_bit, .retry_later = retry_later,
	.connected = connected, .unloaded = unloaded,
	.channel_alloc = channel_alloc, .channel_forgotten = channel_forgotten,
	.offered = offered, .offers_delivered = offers_delivered, .rescinded = rescinded,
	.opened = opened, .modified = modified,
	.gpadl_created = gpadl_created, .gpadl_torn_down = gpadl_torn_down,
};

/* ---- interrupts and time ---- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The host set bit @id in the event flags of this processor. */
static void on_event_flag(uint32_t id)
{
	struct channel *channel = (struct channel *)vmbus_client_channel(&os.client, id);

	if (channel && channel->on_signal)
		channel->on_signal(channel);
}

static void on_interrupt(void)
{
	uint64_t message[VMBUS_MESSAGE_BYTES_MAX / 8], flags[LOOPBACK_FLAG_WORDS];
	size_t bytes;

	/* Each is a private copy by now, and its slot is the hypervisor's again. */
	while (!loopback_guest_next_message(os.machine, VP, message, &bytes))
		vmbus_client_on_message(&os.client, message, bytes);
	if (!loopback_guest_take_flags(os.machine, VP, flags))
		return;
	for (uint32_t id = 1; id <= VMBUS_CHANNEL_ID_MAX; id++)
		if (flags[id / 64] >> id % 64 & 1)
			on_event_flag(id);
}

static void disk_on_events(uint32_t events);

/* Runs the system until @done. Returns 0 or -LIS_TIMEOUT. */
static int wait_until(const bool *done)
{
	uint64_t end_ns = now_ns() + WAIT_NS;

	while (!*done && now_ns() < end_ns) {
		if (!loopback_guest_wait(os.machine, VP, os.retry ? 1 : 1000))
			on_interrupt();
		if (os.retry) {
			os.retry = false;
			vmbus_client_retry(&os.client);
		}
		disk_on_events(storvsc_channel_on_timer(&disk.channel, now_ns()));
	}
	return *done ? 0 : -LIS_TIMEOUT;
}

/* @error: of the call that asked. Returns it, or what the host answered. */
static int wait_for_answer(int error)
{
	if (!error)
		error = wait_until(&os.answered);
	if (!error)
		error = os.error;
	os.answered = false;
	return error;
}

/* ---- channels ---- */

/* Zeroed pages; the data of each ring is mapped twice, back to back, behind its control page. */
static int rings_create(struct channel *channel)
{
	const struct partition *memory = loopback_guest_memory(os.machine);
	int error;

	channel->ring_memory = loopback_guest_alloc_pages(os.machine, 2 * RING_PAGES, false,
							  &channel->ring_gpa);
	if (!channel->ring_memory)
		return -LIS_NOMEM;
	for (uint32_t i = 0; i < 2 * RING_PAGES; i++)
		channel->ring_pfns[i] = (channel->ring_gpa.value >> HV_PAGE_SHIFT) + i;
	error = partition_map_pages(memory, channel->ring_pfns + 1, RING_PAGES - 1, true,
				    &channel->to_host_data);
	if (!error)
		error = partition_map_pages(memory, channel->ring_pfns + RING_PAGES + 1,
					    RING_PAGES - 1, true, &channel->from_host_data);
	if (!error)
		error = vmbus_ring_writer_init(&channel->to_host, channel->ring_memory,
					       channel->to_host_data, RING_DATA_BYTES);
	if (!error)
		error = vmbus_ring_reader_init(&channel->from_host,
					       channel->ring_memory + RING_PAGES * HV_PAGE_BYTES,
					       channel->from_host_data, RING_DATA_BYTES);
	return error;
}

static void rings_destroy(struct channel *channel)
{
	partition_unmap_pages(channel->to_host_data, RING_PAGES - 1, true);
	partition_unmap_pages(channel->from_host_data, RING_PAGES - 1, true);
	channel->to_host_data = channel->from_host_data = NULL;
	if (channel->ring_memory)
		loopback_guest_free_pages(os.machine, channel->ring_gpa, 2 * RING_PAGES);
	channel->ring_memory = NULL;
}

/* Closes a channel as far as it is open. Returns false where the host still sees the rings. */
static bool channel_close(struct channel *channel)
{
	int error;

	channel->on_signal = NULL;
	(void)!vmbus_client_close(&os.client, &channel->core); /* -LIS_INVALID: it was not open */
	error = wait_for_answer(vmbus_client_gpadl_teardown(&os.client, &channel->ring_gpadl));
	if (!error) {
		rings_destroy(channel);
		return true;
	}
	os_log(OS_LOG_ERROR, "channel %u: the host keeps the rings (%d), they are lost",
	       channel->core.offer.channel_id, error);
	vmbus_client_gpadl_abandon(&os.client, &channel->ring_gpadl);
	return false;
}

static int channel_open(struct channel *channel)
{
	struct vmbus_client_open how = {
		.host_to_guest_page_offset = RING_PAGES, .target_vp = VP,
	};
	int error = rings_create(channel);

	if (!error)
		error = wait_for_answer(vmbus_client_gpadl_create(
			&os.client, &channel->core, &channel->ring_gpadl, channel->ring_pfns,
			2 * RING_PAGES * HV_PAGE_BYTES, 0));
	if (error == -LIS_TIMEOUT)
		vmbus_client_gpadl_abandon(&os.client, &channel->ring_gpadl);
	if (error) {
		/* In these two cases the host may see the rings: they are lost. */
		if (error != -LIS_TIMEOUT && error != -LIS_STILL_SHARED)
			rings_destroy(channel);
		return error;
	}
	how.ring_gpadl_id = channel->ring_gpadl.id;
	error = wait_for_answer(vmbus_client_open(&os.client, &channel->core, &how));
	if (error)
		channel_close(channel);
	return error;
}

static struct channel *channel_find(struct guid interface_id)
{
	struct channel *channel = os.channels;

	while (channel && guid_compare(&channel->core.offer.interface_id, &interface_id))
		channel = channel->next;
	return channel;
}

/* ---- heartbeat ---- */

static void heartbeat_on_signal(struct channel *channel)
{
	uint32_t events;

	do {
		events = heartbeat_guest_receive(&heartbeat.guest);
		if (events & IC_GUEST_EVENT_SIGNAL)
			vmbus_client_signal(&os.client, &channel->core);
		if (events & IC_GUEST_EVENT_BROKEN)
			channel->on_signal = NULL; /* of no use any more; shut_down() closes it */
	} while (events & IC_GUEST_EVENT_MORE);
	heartbeat.beats = heartbeat.guest.sequence != 0;
}

static int heartbeat_start(void)
{
	struct channel *bus = channel_find(HEARTBEAT_INTERFACE_ID);
	int error = bus ? channel_open(bus) : -LIS_NOTFOUND;

	if (error)
		return error;
	heartbeat.bus = bus;
	heartbeat_guest_init(&heartbeat.guest, &bus->to_host, &bus->from_host);
	bus->on_signal = heartbeat_on_signal;
	heartbeat_on_signal(bus); /* the host may have been quicker */
	return 0;
}

/* ---- the disk ---- */

struct io {
	struct storvsc_request request; /* first */
	bool done;
};

static void *disk_alloc(void *port, size_t bytes)
{
	return malloc(bytes);
}

static void disk_release(void *port, void *memory)
{
	free(memory);
}

static void disk_ended(struct storvsc_request *list)
{
	while (list) {
		struct io *io = (struct io *)list;

		list = list->next;
		io->done = true;
	}
}

static void disk_on_events(uint32_t events)
{
	if (events & STORVSC_EVENT_SIGNAL)
		vmbus_client_signal(&os.client, &disk.bus->core);
	if (events & STORVSC_EVENT_READY)
		disk.ready = true;
	if (events & (STORVSC_EVENT_FAILED | STORVSC_EVENT_BROKEN))
		disk.ready = disk.failed = true;
	if (events & STORVSC_EVENT_ENDED)
		disk_ended(storvsc_take_ended(&disk.channel));
}

static void disk_on_signal(struct channel *channel)
{
	uint32_t events;

	do {
		events = storvsc_channel_receive(&disk.channel, PACKETS_AT_ONCE);
		disk_on_events(events);
	} while ((events & STORVSC_EVENT_MORE) || storvsc_channel_unmask(&disk.channel));
}

/* Leaves everything as it was before disk_start(). */
static void disk_stop(void)
{
	bool consent;

	storvsc_channel_stop(&disk.channel);
	consent = channel_close(disk.bus);
	disk_ended(storvsc_channel_close(&disk.channel, !consent));
	storvsc_fini(&disk.storvsc);
	disk.bus = NULL;
}

static int disk_start(void)
{
	const struct storvsc_config config = {
		.name = "disk", .alloc = disk_alloc, .release = disk_release, .cpu_count = 1,
		.setup_timeout_ns = 10 * SECOND_NS, .reset_grace_ns = 5 * SECOND_NS,
	};
	struct storvsc_channel_config how = { .queue_depth = 8 };
	struct channel *bus = channel_find(STORVSC_SCSI_INTERFACE_ID);
	int error = bus ? channel_open(bus) : -LIS_NOTFOUND;

	if (error)
		return error;
	disk.bus = bus;
	how.to_host = &bus->to_host;
	how.from_host = &bus->from_host;
	error = storvsc_init(&disk.storvsc, &config);
	if (!error)
		error = storvsc_channel_open(&disk.storvsc, &disk.channel, &how);
	if (!error)
		error = storvsc_start(&disk.storvsc, now_ns());
	if (!error) {
		bus->on_signal = disk_on_signal;
		if (storvsc_channel_flush(&disk.channel))
			vmbus_client_signal(&os.client, &bus->core);
		error = wait_until(&disk.ready);
	}
	if (!error && disk.failed)
		error = disk.storvsc.error;
	if (error)
		disk_stop();
	return error;
}

/* Sends one SCSI command about one sector and waits. @page: where its data is or goes. */
static int disk_command(uint8_t operation, uint32_t lba, enum storvsc_direction direction,
			uint64_t page)
{
	bool data = direction != STORVSC_NO_DATA;
	struct io io = { .request = {
		.kind = STORVSC_COMMAND, .direction = (uint8_t)direction, .pfns = &page,
		.data_bytes = data ? SECTOR_BYTES : 0,
		.cdb_bytes = 10,
		.cdb = { operation, 0, (uint8_t)(lba >> 24), (uint8_t)(lba >> 16),
			 (uint8_t)(lba >> 8), (uint8_t)lba, 0, 0, data },
		.deadline_ns = now_ns() + 10 * SECOND_NS,
	} };
	int error = storvsc_submit(&disk.channel, &io.request);

	if (storvsc_channel_flush(&disk.channel))
		vmbus_client_signal(&os.client, &disk.bus->core);
	if (error)
		return error;
	if (wait_until(&io.done))
		disk_stop(); /* ends all that is in flight */
	if (io.request.result == STORVSC_RESULT_GOOD)
		return 0;
	os_log(OS_LOG_ERROR, "disk: %s", storvsc_result_text(io.request.result));
	return io.request.still_shared ? -LIS_STILL_SHARED : -LIS_IO;
}

static int disk_use(void)
{
	struct gpa gpa;
	char *sector = loopback_guest_alloc_pages(os.machine, 1, false, &gpa);
	uint64_t page = gpa.value >> HV_PAGE_SHIFT;
	int error;

	if (!sector)
		return -LIS_NOMEM;
	error = disk_command(0x28, 0, STORVSC_FROM_DEVICE, page); /* READ (10) */
	if (!error) {
		os_log(OS_LOG_INFO, "disk: sector 0 says: %.*s", (int)SECTOR_BYTES, sector);
		memset(sector, 0, SECTOR_BYTES);
		snprintf(sector, SECTOR_BYTES, "Written by a port.");
		error = disk_command(0x2a, 1, STORVSC_TO_DEVICE, page); /* WRITE (10) */
	}
	if (!error)
		error = disk_command(0x35, 0, STORVSC_NO_DATA, 0); /* SYNCHRONIZE CACHE (10) */
	/* Memory that the host may still write to is nobody's any more. */
	if (error != -LIS_STILL_SHARED)
		loopback_guest_free_pages(os.machine, gpa, 1);
	return error;
}

/* ---- the system ---- */

static int boot(void)
{
	const struct vmbus_client_config config = {
		.version_min = VMBUS_VERSION_WIN8_1, .target_vp = VP,
	};
	int error;

	vmbus_client_init(&os.client, &client_ops, NULL);
	error = wait_for_answer(vmbus_client_connect(&os.client, &config));
	if (!error)
		error = wait_for_answer(vmbus_client_request_offers(&os.client));
	return error;
}

/* The host takes the disk away once it was flushed: so machine.c is made. */
static int lose_disk(void)
{
	struct vmbus_client_channel *core = &disk.bus->core;
	int error = wait_until(&core->rescinded);

	disk_stop();
	if (!error)
		error = vmbus_client_release(&os.client, core);
	if (!error)
		channel_forgotten(NULL, core);
	return error;
}

/* As a system that goes down in peace. One that crashes begins with the unload. */
static int shut_down(void)
{
	if (disk.bus)
		disk_stop();
	if (heartbeat.bus)
		channel_close(heartbeat.bus);
	vmbus_client_unload(&os.client);
	return wait_for_answer(0);
}

int main(int argc, char **argv)
{
	int error, last_error;

	if (argc != 2 || loopback_guest_connect(atoi(argv[1]), &os.machine))
		return 2;
	error = boot();
	if (!error)
		error = heartbeat_start();
	if (!error)
		error = disk_start();
	if (!error)
		error = disk_use();
	if (!error)
		error = lose_disk();
	if (!error)
		error = wait_until(&heartbeat.beats);
	last_error = shut_down();
	loopback_guest_detach(os.machine);
	return error || last_error;
}
