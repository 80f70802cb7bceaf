// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* See bus.h. One thread, one loop. */
#include "fuzz/bus.h"

#include <sanitizer/asan_interface.h>

#include "fuzz/fuzz.h"

#define PACKETS_MAX 64u
#define TURNS_MAX 10000u

struct vmbus_device {
	struct vmbus_device_config config;
	struct io_call *retired;
	bool offered, rescinded;
	uint16_t sub_channels;
};

struct packet {
	size_t bytes;
	uint8_t *data;
};

/* A channel the device sees, and what the guest has sent on it. */
static struct bus_channel {
	struct vmbus_channel channel;
	enum { CLOSED, OPEN, CLOSING } state;
	bool broken;
	struct packet packets[PACKETS_MAX];
	uint32_t packet_count;
} channels[BUS_CHANNELS];

static struct vmbus_device device;
static struct io_call *calls, **calls_end;
static struct io_timer *timers;
static struct io_poller *pollers;
static uint64_t now_ns;
static bool full;
static void (*on_sent)(struct vmbus_channel *channel, uint16_t type, uint64_t id,
		       const uint8_t *payload, size_t payload_bytes);

static struct bus_channel *bus_channel(struct vmbus_channel *channel)
{
	return (struct bus_channel *)(void *)channel; /* first */
}

void bus_begin(void (*sent)(struct vmbus_channel *channel, uint16_t type, uint64_t id,
			    const uint8_t *payload, size_t payload_bytes))
{
	memset(channels, 0, sizeof(channels));
	memset(&device, 0, sizeof(device));
	calls = NULL;
	calls_end = &calls;
	timers = NULL;
	pollers = NULL;
	now_ns = 1000000000;
	full = false;
	on_sent = sent;
}

static void drop_packets(struct bus_channel *ch)
{
	for (uint32_t i = 0; i < ch->packet_count; i++)
		free(ch->packets[i].data);
	ch->packet_count = 0;
}

void bus_end(void)
{
	for (uint32_t i = 0; i < BUS_CHANNELS; i++)
		FUZZ_CHECK(channels[i].state == CLOSED);
	FUZZ_CHECK(!device.offered && !calls && !timers && !pollers);
}

struct vmbus_host *bus_host(void)
{
	return (struct vmbus_host *)(void *)&device;
}

struct io_loop *bus_loop(void)
{
	return (struct io_loop *)(void *)&calls;
}

/* ---- the guest ---- */

bool bus_is_open(uint32_t index)
{
	return channels[index].state == OPEN && !channels[index].broken;
}

bool bus_open(uint32_t index)
{
	struct bus_channel *ch = &channels[index];

	if (ch->state != CLOSED || !device.offered || device.rescinded)
		return false;
	if (index && (channels[0].state != OPEN || index > device.sub_channels))
		return false;
	memset(&ch->channel, 0, sizeof(ch->channel));
	ch->channel.device = &device;
	ch->channel.index = (uint16_t)index;
	ch->channel.loop = bus_loop();
	ch->broken = false;
	if (device.config.ops->open(&ch->channel))
		return false;
	ch->state = OPEN;
	return true;
}

void bus_close(uint32_t index)
{
	struct bus_channel *ch = &channels[index];

	if (!index) {
		for (uint32_t i = 1; i < BUS_CHANNELS; i++)
			bus_close(i);
		device.sub_channels = 0;
	}
	if (ch->state != OPEN)
		return;
	drop_packets(ch);
	ch->state = CLOSING;
	device.config.ops->close(&ch->channel);
}

bool bus_guest_sends(uint32_t index, const void *packet, size_t bytes)
{
	struct bus_channel *ch = &channels[index];

	if (!bus_is_open(index) || ch->packet_count == PACKETS_MAX || bytes < 16)
		return false;
	ch->packets[ch->packet_count].bytes = bytes;
	ch->packets[ch->packet_count].data = malloc(bytes);
	memcpy(ch->packets[ch->packet_count].data, packet, bytes);
	ch->packet_count++;
	return true;
}

void bus_fill(bool is_full)
{
	full = is_full;
}

/* ---- turns ---- */

static bool run_calls(void)
{
	bool any = false;

	while (calls) {
		struct io_call *call = calls;

		calls = call->next;
		if (!calls)
			calls_end = &calls;
		call->fn(call);
		any = true;
	}
	return any;
}

static bool run_pollers(void)
{
	bool any = false;

	for (struct io_poller *poller = pollers, *next; poller; poller = next) {
		next = poller->next;
		any |= poller->poll(poller);
	}
	return any;
}

static bool run_timers(void)
{
	for (struct io_timer *timer = timers; timer; timer = timer->next)
		if (timer->due_ns <= now_ns) {
			io_timer_cancel(timer);
			timer->expired(timer);
			return true;
		}
	return false;
}

static bool run_channels(void)
{
	bool any = false;

	for (uint32_t i = 0; i < BUS_CHANNELS; i++) {
		if (channels[i].state == OPEN && channels[i].broken) {
			bus_close(i);
			any = true;
		} else if (channels[i].state == OPEN) {
			any |= device.config.ops->receive(&channels[i].channel);
		}
	}
	return any;
}

static bool run_rescind(void)
{
	struct io_call *retired = device.retired;

	if (!device.rescinded || !device.offered)
		return false;
	bus_close(0);
	for (uint32_t i = 0; i < BUS_CHANNELS; i++)
		if (channels[i].state != CLOSED)
			return false;
	device.offered = false;
	if (retired)
		io_loop_call(bus_loop(), retired);
	return true;
}

void bus_turn(void)
{
	bool any = true;

	for (uint32_t turns = 0; any; turns++) {
		FUZZ_CHECK(turns < TURNS_MAX);
		any = run_calls();
		any |= run_channels();
		any |= run_pollers();
		any |= run_timers();
		any |= run_rescind();
	}
}

void bus_pass_ms(uint64_t ms)
{
	now_ns += ms * 1000000;
	bus_turn();
}

/* ---- vmbus/host.h ---- */

int vmbus_host_offer(struct vmbus_host *host, const struct vmbus_device_config *config,
		     struct vmbus_device **out_device)
{
	FUZZ_CHECK(!device.offered);
	device = (struct vmbus_device){ .config = *config, .offered = true };
	*out_device = &device;
	return 0;
}

void vmbus_host_rescind(struct vmbus_device *which, struct io_call *retired)
{
	FUZZ_CHECK(which == &device && !device.rescinded);
	device.rescinded = true;
	device.retired = retired;
}

void vmbus_device_offer_sub_channels(struct vmbus_device *which, uint16_t count)
{
	FUZZ_CHECK(count <= device.config.sub_channels_max);
	if (count > device.sub_channels)
		device.sub_channels = count;
}

void *vmbus_device_owner(const struct vmbus_device *which)
{
	return which->config.owner;
}

int bus_send(struct vmbus_channel *channel)
{
	struct bus_channel *ch = bus_channel(channel);

	FUZZ_CHECK(ch->state != CLOSED);
	if (ch->broken)
		return -LIS_CORRUPT;
	return full ? -LIS_FULL : 0;
}

int vmbus_channel_send(struct vmbus_channel *channel, uint16_t type, uint64_t id, bool completion,
		       const struct iovec *iov, size_t iov_count)
{
	uint8_t payload[16384];
	size_t bytes = 0;
	int err = bus_send(channel);

	if (err)
		return err;
	for (size_t i = 0; i < iov_count; i++) {
		FUZZ_CHECK(iov[i].iov_len <= sizeof(payload) - bytes);
		if (iov[i].iov_len)
			memcpy(payload + bytes, iov[i].iov_base, iov[i].iov_len);
		bytes += iov[i].iov_len;
	}
	on_sent(channel, type, id, payload, bytes);
	return 0;
}

void vmbus_channel_flush(struct vmbus_channel *channel)
{
	FUZZ_CHECK(bus_channel(channel)->state != CLOSED);
}

void vmbus_channel_hold(struct vmbus_channel *channel)
{
	FUZZ_CHECK(bus_channel(channel)->state != CLOSED);
}

int vmbus_channel_receive(struct vmbus_channel *channel, void *buffer, size_t buffer_bytes,
			  struct vmbus_packet *out_packet)
{
	struct bus_channel *ch = bus_channel(channel);
	struct packet packet;

	FUZZ_CHECK(ch->state == OPEN);
	if (ch->broken)
		return -LIS_CORRUPT;
	if (!ch->packet_count)
		return -LIS_EMPTY;
	packet = ch->packets[0];
	memmove(ch->packets, ch->packets + 1, --ch->packet_count * sizeof(packet));
	ASAN_UNPOISON_MEMORY_REGION(buffer, buffer_bytes);
	if (packet.bytes <= buffer_bytes) {
		memcpy(buffer, packet.data, packet.bytes);
		/* What is behind the packet is not the device's to read. */
		ASAN_POISON_MEMORY_REGION((char *)buffer + packet.bytes,
					  buffer_bytes - packet.bytes);
	}
	free(packet.data);
	if (packet.bytes <= buffer_bytes && !vmbus_packet_parse(buffer, packet.bytes, out_packet))
		return 0;
	ch->broken = true;
	return -LIS_CORRUPT;
}

void vmbus_channel_break(struct vmbus_channel *channel, const char *why)
{
	FUZZ_CHECK(bus_channel(channel)->state != CLOSED);
	bus_channel(channel)->broken = true;
}

void vmbus_channel_closed(struct vmbus_channel *channel)
{
	FUZZ_CHECK(bus_channel(channel)->state == CLOSING);
	bus_channel(channel)->state = CLOSED;
}

/* ---- io/loop.h ---- */

uint64_t io_loop_now_ns(const struct io_loop *loop)
{
	return now_ns;
}

void io_loop_call(struct io_loop *loop, struct io_call *call)
{
	for (const struct io_call *other = calls; other; other = other->next)
		FUZZ_CHECK(other != call);
	call->next = NULL;
	*calls_end = call;
	calls_end = &call->next;
}

void io_timer_set(struct io_timer *timer, struct io_loop *loop, uint64_t due_ns)
{
	io_timer_cancel(timer);
	timer->due_ns = due_ns ? due_ns : 1;
	timer->next = timers;
	timers = timer;
}

void io_timer_cancel(struct io_timer *timer)
{
	struct io_timer **at = &timers;

	while (*at && *at != timer)
		at = &(*at)->next;
	if (*at)
		*at = timer->next;
	timer->due_ns = 0;
}

void io_poller_add(struct io_loop *loop, struct io_poller *poller)
{
	poller->next = pollers;
	pollers = poller;
}

void io_poller_remove(struct io_loop *loop, struct io_poller *poller)
{
	struct io_poller **at = &pollers;

	while (*at && *at != poller)
		at = &(*at)->next;
	FUZZ_CHECK(*at);
	*at = poller->next;
}

/* There are no descriptors here; those who watch one have been asked to by nobody. */
void io_fd_start(struct io_fd *fd, struct io_loop *loop, int descriptor)
{
	FUZZ_CHECK(false);
}

void io_fd_poll(struct io_fd *fd, uint32_t poll_events)
{
	FUZZ_CHECK(false);
}

void io_fd_stop(struct io_fd *fd, struct io_call *stopped)
{
	FUZZ_CHECK(false);
}
