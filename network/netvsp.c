/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network VSP's card: its life, its link, its status. The card's loop owns everything that changes;
 * other threads ask it by a call.
 */
#include "network/netvsp_private.h"

#include <stdlib.h>
#include <string.h>

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* [policy] As many as Linux asks for at first, on a machine of that many CPUs. */
#define CHANNELS_DEFAULT 8u
/* [policy] What link speed is said to be where nobody knows. */
#define BITS_PER_SECOND_DEFAULT 10000000000u
/*
 * [policy] A guest that has sent nothing for so long after it was told that the link is down has stopped
 * sending: Linux does so at once, or up to 2 s later where the link has just changed. One that has not
 * opened the card may be about to.
 */
#define QUIET_NS 500000000ull
#define QUIET_LOOK_NS 50000000ull

/* ---- addresses ---- */

static uint64_t mac_number(const uint8_t mac[NET_MAC_BYTES])
{
	uint64_t number = 0;

	memcpy(&number, mac, NET_MAC_BYTES);
	return number;
}

void netvsp_mac_get(const struct netvsp *netvsp, uint8_t out_mac[NET_MAC_BYTES])
{
	uint64_t number = atomic_load_explicit(&netvsp->mac, memory_order_relaxed);

	memcpy(out_mac, &number, NET_MAC_BYTES);
}

void netvsp_mac_set(struct netvsp *netvsp, const uint8_t mac[NET_MAC_BYTES])
{
	atomic_store_explicit(&netvsp->mac, mac_number(mac), memory_order_relaxed);
}

struct guid netvsp_instance_id(const uint8_t mac[NET_MAC_BYTES])
{
	return GUID(0x6f6c6973, 0x6e69, 0x4363, 0x8000, mac_number(mac));
}

/* ---- the guest ---- */

/* Until the guest says what it wants. */
static void forget_mtu(struct netvsp *netvsp)
{
	uint32_t mtu = NVSP_MTU_BYTES_DEFAULT - NET_ETHERNET_BYTES;

	if (mtu > netvsp->mtu_max)
		mtu = netvsp->mtu_max;
	netvsp->mtu_bytes = mtu + NET_ETHERNET_BYTES;
	atomic_store_explicit(&netvsp->mtu, mtu, memory_order_relaxed);
}

void netvsp_forget_guest(struct netvsp *netvsp)
{
	netvsp_receive_stop(netvsp);
	netvsp_buffer_unmap(netvsp, &netvsp->receive_buffer);
	netvsp_buffer_unmap(netvsp, &netvsp->send_buffer);
	netvsp->section_bytes = 0;
	netvsp->capabilities = 0;
	memset(&netvsp->ndis, 0, sizeof(netvsp->ndis));
	netvsp->initialized = false;
	netvsp->control_bytes = 0;
	forget_mtu(netvsp);
	memset(&netvsp->offloads, 0, sizeof(netvsp->offloads));
	memset(&netvsp->rss, 0, sizeof(netvsp->rss));
	netvsp->told_link_up = true;
	netvsp_rndis_set_receive(netvsp);
	netvsp_mac_set(netvsp, netvsp->permanent_mac);
	net_addresses_forget(&netvsp->addresses);
	atomic_store_explicit(&netvsp->version, 0, memory_order_relaxed);
	atomic_store_explicit(&netvsp->filter, 0, memory_order_relaxed);
}

/* ---- turns of the loop ---- */

static bool flush_channels(struct netvsp *netvsp)
{
	struct netvsp_channel *ch = netvsp->to_flush;

	if (!ch)
		return false;
	netvsp->to_flush = NULL;
	while (ch) {
		struct netvsp_channel *next = ch->next_to_flush;

		ch->flush_due = false;
		ch->held_count = 0;
		io_timer_cancel(&ch->held_timer);
		if (!ch->broken)
			vmbus_channel_flush(ch->channel);
		ch = next;
	}
	return true;
}

static uint32_t turn(struct io_poller *poller)
{
	struct netvsp *netvsp = container_of(poller, struct netvsp, poller);
	uint32_t frames;
	bool flushed;

	netvsp_rndis_indicate(netvsp);
	frames = netvsp_receive_pump(netvsp);
	flushed = flush_channels(netvsp);
	return frames ? frames : flushed;
}

static void awake(struct io_poller *poller)
{
	/* The port tells by itself when there is something. */
}

/* The turn of the loop that follows looks for itself. */
static void patience_ends(struct io_timer *timer)
{
}

static void port_is_ready(struct net_port_user *user)
{
	struct netvsp *netvsp = container_of(user, struct netvsp, user);

	netvsp->port_ready = true;
}

static void port_link_changed(struct net_port_user *user)
{
	netvsp_rndis_indicate(container_of(user, struct netvsp, user));
}

/* ---- link ---- */

bool netvsp_link_up(const struct netvsp *netvsp)
{
	return netvsp_is_plugged(netvsp) &&
	       atomic_load_explicit(&netvsp->port->link_up, memory_order_relaxed);
}

uint64_t netvsp_bits_per_second(const struct netvsp *netvsp)
{
	uint64_t wanted = atomic_load_explicit(&netvsp->speed_wanted, memory_order_relaxed);

	if (wanted)
		return wanted;
	return netvsp->port->bits_per_second ? netvsp->port->bits_per_second : BITS_PER_SECOND_DEFAULT;
}

static void update(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, update_call);

	/* First, so that a change from now on makes another call. */
	atomic_store(&netvsp->update_queued, false);
	netvsp_rndis_indicate(netvsp);
}

static void ask_for_update(struct netvsp *netvsp)
{
	if (!atomic_exchange(&netvsp->update_queued, true))
		io_loop_call(netvsp->loop, &netvsp->update_call);
}

void netvsp_set_link(struct netvsp *netvsp, bool up)
{
	atomic_store(&netvsp->link_wanted, up);
	ask_for_update(netvsp);
}

void netvsp_set_speed(struct netvsp *netvsp, uint64_t bits_per_second)
{
	atomic_store(&netvsp->speed_wanted, bits_per_second);
	ask_for_update(netvsp);
}

/* ---- removal ---- */

/* Bus loop, at the end of netvsp_remove(). */
static void rescind(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, rescind_call);

	netvsp_destroy(netvsp, netvsp->destroyed);
}

/* Card's loop. Has the guest taken all there is, also the news of the link? And how much has it sent? */
static bool guest_has_taken_all(const struct netvsp *netvsp, uint64_t *out_packets)
{
	bool all = netvsp->subs.free_count == netvsp->subs.count && !netvsp->waiting &&
		   (!netvsp->initialized || netvsp->told_link_up == netvsp_link_up(netvsp));

	*out_packets = 0;
	for (uint32_t i = 0; i < netvsp->channels_max; i++) {
		struct vmbus_channel *channel;
		struct vmbus_ring_writer *writer;

		if (!netvsp->channels[i])
			continue;
		channel = netvsp->channels[i]->channel;
		writer = &channel->to_guest;
		all &= vmbus_ring_writer_free_bytes(writer) == vmbus_ring_writer_packet_bytes_max(writer);
		*out_packets += atomic_load_explicit(&channel->counters.packets_in, memory_order_relaxed);
	}
	return all;
}

static void look_for_quiet(struct netvsp *netvsp)
{
	uint64_t now_ns = io_loop_now_ns(netvsp->loop), packets;

	if (!guest_has_taken_all(netvsp, &packets) || packets != netvsp->quiet_packets)
		netvsp->quiet_since_ns = now_ns;
	netvsp->quiet_packets = packets;
	if (now_ns >= netvsp->quiet_since_ns + QUIET_NS || now_ns >= netvsp->quiet_until_ns)
		io_loop_call(netvsp->bus_loop, &netvsp->rescind_call);
	else
		io_timer_set(&netvsp->quiet_timer, netvsp->loop, now_ns + QUIET_LOOK_NS);
}

static void quiet_timer_expired(struct io_timer *timer)
{
	look_for_quiet(container_of(timer, struct netvsp, quiet_timer));
}

static void begin_quiet(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, quiet_call);

	netvsp->quiet_since_ns = io_loop_now_ns(netvsp->loop);
	netvsp->quiet_until_ns = netvsp->quiet_since_ns + NETVSP_QUIET_NS_MAX;
	look_for_quiet(netvsp);
}

/* ---- life ---- */

int netvsp_start(struct netvsp *netvsp)
{
	int err;

	if (netvsp->started)
		return 0;
	err = net_port_start(netvsp->port, netvsp->loop, &netvsp->user);
	if (err)
		return err;
	io_poller_add(netvsp->loop, &netvsp->poller);
	netvsp->started = true;
	netvsp->port_ready = true;
	return 0;
}

static void free_netvsp(struct netvsp *netvsp)
{
	net_addresses_fini(&netvsp->addresses);
	free(netvsp->name);
	free(netvsp);
}

/* Bus loop, last of all. */
static void gone(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, gone_call);
	struct io_call *destroyed = netvsp->destroyed;

	free_netvsp(netvsp);
	destroyed->fn(destroyed);
}

void netvsp_gone_if_done(struct netvsp *netvsp)
{
	if (netvsp->port_stopped && !atomic_load(&netvsp->capture_count))
		io_loop_call(netvsp->bus_loop, &netvsp->gone_call);
}

/* Card's loop: the port makes no more calls. */
static void stopped(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, stopped_call);

	netvsp->port_stopped = true;
	netvsp_gone_if_done(netvsp);
}

/* Card's loop: calls run in order, so no update and no capture is on its way any more. */
static void last(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, last_call);

	io_timer_cancel(&netvsp->quiet_timer);
	io_timer_cancel(&netvsp->patience_timer);
	netvsp_captures_end(netvsp);
	if (!netvsp->started) {
		stopped(&netvsp->stopped_call);
		return;
	}
	io_poller_remove(netvsp->loop, &netvsp->poller);
	net_port_stop(netvsp->port, &netvsp->stopped_call);
}

/* Bus loop: all channels are closed. */
static void retired(struct io_call *call)
{
	struct netvsp *netvsp = container_of(call, struct netvsp, retired_call);

	io_loop_call(netvsp->loop, &netvsp->last_call);
}

static struct netvsp *netvsp_alloc(const struct netvsp_config *config)
{
	struct netvsp *netvsp = calloc(1, sizeof(*netvsp));

	if (!netvsp)
		return NULL;
	netvsp->name = strdup(config->name);
	if (!netvsp->name) {
		free(netvsp);
		return NULL;
	}
	net_addresses_init(&netvsp->addresses);
	netvsp->bus_loop = config->bus_loop;
	netvsp->loop = config->loop;
	netvsp->port = config->port;
	netvsp->channels_max = config->channels_max ? config->channels_max : CHANNELS_DEFAULT;
	netvsp->version_max = config->version_max ? config->version_max : UINT32_MAX;
	memcpy(netvsp->permanent_mac, config->mac, NET_MAC_BYTES);
	netvsp_mac_set(netvsp, config->mac);
	netvsp->mtu_max = config->port->mtu_max;
	if (config->mtu_max && config->mtu_max < netvsp->mtu_max)
		netvsp->mtu_max = config->mtu_max;
	netvsp->guest_shares_cpu = config->guest_shares_cpu;
	forget_mtu(netvsp);
	atomic_store(&netvsp->link_wanted, !config->link_down);
	atomic_store(&netvsp->speed_wanted, config->bits_per_second);
	netvsp->told_link_up = true;
	netvsp->subs.free_first = NETVSP_SUB_NONE;
	netvsp->receive_generation = 1;
	netvsp->user = (struct net_port_user){ port_is_ready, port_link_changed };
	netvsp->poller = (struct io_poller){ .poll = turn, .sleep = turn, .wake = awake };
	netvsp->update_call.fn = update;
	netvsp->retired_call.fn = retired;
	netvsp->quiet_timer.expired = quiet_timer_expired;
	netvsp->patience_timer.expired = patience_ends;
	netvsp->quiet_call.fn = begin_quiet;
	netvsp->rescind_call.fn = rescind;
	netvsp->last_call.fn = last;
	netvsp->stopped_call.fn = stopped;
	netvsp->gone_call.fn = gone;
	return netvsp;
}

int netvsp_create(struct vmbus_host *host, const struct netvsp_config *config,
		  struct netvsp **out_netvsp)
{
	struct vmbus_device_config device = {
		.name = config->name,
		.interface_id = NETVSC_INTERFACE_ID,
		.instance_id = config->instance_id,
		.offer_flags = VMBUS_OFFER_DEVICE_INTERFACE,
		.loops = &config->loop,
		.loop_count = 1,
		.ops = &netvsp_device_ops,
	};
	struct netvsp *netvsp;
	int err;

	if (!config->loop || !config->bus_loop || !config->port || (config->mac[0] & 1) ||
	    !mac_number(config->mac) || config->channels_max > NETVSP_CHANNELS_MAX)
		return -LIS_INVALID;
	netvsp = netvsp_alloc(config);
	if (!netvsp)
		return -LIS_NOMEM;
	netvsp->partition = vmbus_host_partition(host);
	device.sub_channels_max = (uint16_t)(netvsp->channels_max - 1);
	device.owner = netvsp;
	err = vmbus_host_offer(host, &device, &netvsp->device);
	if (err) {
		free_netvsp(netvsp);
		return err;
	}
	netvsp_rates_start(netvsp);
	*out_netvsp = netvsp;
	return 0;
}

void netvsp_remove(struct netvsp *netvsp, struct io_call *destroyed)
{
	netvsp->destroyed = destroyed;
	netvsp_set_link(netvsp, false);
	io_loop_call(netvsp->loop, &netvsp->quiet_call);
}

void netvsp_destroy(struct netvsp *netvsp, struct io_call *destroyed)
{
	netvsp->destroyed = destroyed;
	if (netvsp->rescinded)
		return;
	netvsp->rescinded = true;
	netvsp_rates_stop(netvsp);
	/* Sub-channels are closed first, from now on without the guest's knowledge. */
	atomic_store(&netvsp->leaving, true);
	vmbus_host_rescind(netvsp->device, &netvsp->retired_call);
}

uint32_t netvsp_addresses(struct netvsp *netvsp, struct net_address *out)
{
	return net_addresses_get(&netvsp->addresses, io_loop_now_ns(netvsp->loop), out);
}

static uint64_t read64(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

struct netvsp_status netvsp_status(const struct netvsp *netvsp)
{
	struct netvsp_status status = {
		.version = netvsp_version(netvsp),
		.link_up = netvsp_link_up(netvsp),
		.mtu = atomic_load_explicit(&netvsp->mtu, memory_order_relaxed),
		.mtu_max = netvsp->mtu_max,
		.bits_per_second = netvsp_bits_per_second(netvsp),
		.filter = atomic_load_explicit(&netvsp->filter, memory_order_relaxed),
		.channels_open = atomic_load_explicit(&netvsp->channels_open, memory_order_relaxed),
		.captures = atomic_load_explicit(&netvsp->capture_count, memory_order_relaxed),
		.packets_received = read64(&netvsp->packets_received),
		.bytes_received = read64(&netvsp->bytes_received),
		.packets_sent = read64(&netvsp->packets_sent),
		.bytes_sent = read64(&netvsp->bytes_sent),
		.packets_received_per_second = read64(&netvsp->rates.packets_received.per_second),
		.bytes_received_per_second = read64(&netvsp->rates.bytes_received.per_second),
		.packets_sent_per_second = read64(&netvsp->rates.packets_sent.per_second),
		.bytes_sent_per_second = read64(&netvsp->rates.bytes_sent.per_second),
		.send_invalid = read64(&netvsp->send_invalid),
		.starved = read64(&netvsp->starved),
		.unread_dropped = read64(&netvsp->unread_dropped),
	};

	net_port_counts(netvsp->port, &status.send_dropped, &status.receive_dropped);
	status.ready = status.filter != 0;
	netvsp_mac_get(netvsp, status.mac);
	return status;
}
