// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of storage, its controller: life, set-up, and which channel serves which CPU.
 *
 * Set-up is a fixed row of steps over the primary channel, one packet in flight at a time: begin; a
 * version, the newest first, until the host takes one; properties; end; and then, where both ends
 * can, the request for sub-channels, which may fail without harm. The step in flight is the
 * channel's own_step.
 *
 * Up to READY all fields of struct storvsc belong to the device's unit; from then on only the list
 * of channels and the map of CPUs change, and the map is read without a lock.
 */
#include "storage/storvsc_private.h"

/* [guess] What a host takes that does not say; every driver since 2008 has sent as much. */
#define TRANSFER_BYTES_DEFAULT 65536u

/* ---- which channel serves which CPU ---- */

static uint32_t node_of(const struct storvsc *storvsc, uint32_t cpu)
{
	const struct storvsc_config *config = &storvsc->config;

	return config->node_of_cpu ? config->node_of_cpu(config->port, cpu) : 0;
}

/* The n-th channel on a node, counted round; NULL if none is there. */
static struct storvsc_channel *channel_on_node(const struct storvsc *storvsc, uint32_t node,
					       uint32_t n)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < storvsc->channel_count; i++)
		count += node_of(storvsc, storvsc->channels[i]->cpu) == node;
	if (!count)
		return NULL;
	n %= count;
	for (uint32_t i = 0; i < storvsc->channel_count; i++)
		if (node_of(storvsc, storvsc->channels[i]->cpu) == node && !n--)
			return storvsc->channels[i];
	return NULL;
}

static struct storvsc_channel *choose_channel(const struct storvsc *storvsc, uint32_t cpu)
{
	struct storvsc_channel *channel;

	for (uint32_t i = 0; i < storvsc->channel_count; i++)
		if (storvsc->channels[i]->cpu == cpu)
			return storvsc->channels[i];
	channel = channel_on_node(storvsc, node_of(storvsc, cpu), cpu);
	if (channel || !storvsc->channel_count)
		return channel;
	return storvsc->channels[cpu % storvsc->channel_count];
}

static void map_cpus(struct storvsc *storvsc)
{
	for (uint32_t cpu = 0; cpu < storvsc->config.cpu_count; cpu++)
		/* Pairs with the acquire in storvsc_channel_for_cpu(). */
		os_store_release(storvsc->channel_of_cpu[cpu], choose_channel(storvsc, cpu));
}

void storvsc_channel_set_cpu(struct storvsc_channel *channel, uint32_t cpu)
{
	if (!channel->open || cpu >= channel->storvsc->config.cpu_count)
		return;
	channel->cpu = cpu;
	map_cpus(channel->storvsc);
}

/* ---- life ---- */

static bool version_known(uint16_t version)
{
#define STORVSC_IS(known) || version == (known)
	return version == 0 STORVSC_VERSIONS(STORVSC_IS);
#undef STORVSC_IS
}

int storvsc_init(struct storvsc *storvsc, const struct storvsc_config *config)
{
	size_t map_bytes;

	memset(storvsc, 0, sizeof(*storvsc));
	storvsc->config = *config;
	if (!config->cpu_count || !version_known(config->version_max) ||
	    config->transfer_bytes_max % HV_PAGE_BYTES)
		return -LIS_INVALID;
	if (!storvsc->config.version_max)
		storvsc->config.version_max = STORVSC_VERSION_THRESHOLD;
	map_bytes = config->cpu_count * sizeof(storvsc->channel_of_cpu[0]);
	storvsc->channel_of_cpu = config->alloc(config->port, map_bytes);
	if (!storvsc->channel_of_cpu)
		return -LIS_NOMEM;
	map_cpus(storvsc);
	return 0;
}

void storvsc_fini(struct storvsc *storvsc)
{
	if (storvsc->channel_of_cpu)
		storvsc->config.release(storvsc->config.port, storvsc->channel_of_cpu);
	storvsc->channel_of_cpu = NULL;
}

int storvsc_channel_open(struct storvsc *storvsc, struct storvsc_channel *channel,
			 const struct storvsc_channel_config *config)
{
	uint32_t slot_count = config->queue_depth + STORVSC_OWN_SLOTS;
	struct vmbus_request_slot *slots;

	memset(channel, 0, sizeof(*channel));
	channel->storvsc = storvsc;
	channel->ended_end = &channel->ended;
	if (!config->queue_depth || config->queue_depth > STORVSC_QUEUE_DEPTH_MAX)
		return -LIS_INVALID;
	if (storvsc->channel_count == STORVSC_CHANNELS_MAX)
		return -LIS_FULL;
	if (storvsc->channel_count && storvsc->state != STORVSC_READY)
		return -LIS_GONE;
	slots = storvsc->config.alloc(storvsc->config.port, slot_count * sizeof(*slots));
	if (!slots)
		return -LIS_NOMEM;
	vmbus_requests_init(&channel->requests, slots, slot_count);
	channel->to_host = config->to_host;
	channel->from_host = config->from_host;
	channel->cpu = config->cpu % storvsc->config.cpu_count;
	channel->open = true;
	channel->accepting = storvsc->channel_count != 0; /* the primary once READY */
	storvsc->channels[storvsc->channel_count++] = channel;
	map_cpus(storvsc);
	return 0;
}

void storvsc_channel_stop(struct storvsc_channel *channel)
{
	channel->accepting = false;
}

static void forget_channel(struct storvsc *storvsc, const struct storvsc_channel *channel)
{
	uint32_t i;

	for (i = 0; i < storvsc->channel_count && storvsc->channels[i] != channel; i++)
		;
	if (i == storvsc->channel_count)
		return;
	if (!i)
		storvsc->state = STORVSC_CLOSED;
	storvsc->channel_count--;
	for (; i < storvsc->channel_count; i++)
		storvsc->channels[i] = storvsc->channels[i + 1];
	map_cpus(storvsc);
}

/* All that is in flight ends; what had been given up is let go, or lost. */
static void end_all(struct storvsc_channel *channel, bool still_shared)
{
	uint32_t cursor = 0;
	uint64_t id;

	while ((id = vmbus_requests_next(&channel->requests, &cursor))) {
		void *owner = vmbus_requests_remove(&channel->requests, id);
		struct storvsc_request *request = owner;

		if (owner == &channel->given_up || request == &channel->own_step ||
		    request == &channel->own_reset)
			continue;
		request->result = STORVSC_RESULT_GONE;
		request->still_shared = still_shared && request->data_bytes;
		request->srb_status = 0;
		request->scsi_status = 0;
		request->sense_bytes = 0;
		request->transferred_bytes = 0;
		request->host_status = 0;
		request->next = NULL;
		*channel->ended_end = request;
		channel->ended_end = &request->next;
		channel->counters.ended++;
	}
	channel->given_up = 0;
}

struct storvsc_request *storvsc_channel_close(struct storvsc_channel *channel, bool still_shared)
{
	struct storvsc *storvsc = channel->storvsc;

	if (!channel->open)
		return NULL;
	channel->accepting = false;
	channel->open = false;
	channel->lost = still_shared;
	forget_channel(storvsc, channel);
	end_all(channel, still_shared);
	storvsc->config.release(storvsc->config.port, channel->requests.slots);
	channel->requests = (struct vmbus_requests){ .free = VMBUS_REQUESTS_END };
	return storvsc_take_ended(channel);
}

/* ---- set-up ---- */

static uint32_t fail(struct storvsc *storvsc, int error, const char *why)
{
	storvsc->state = STORVSC_FAILED;
	storvsc->error = error;
	os_log(OS_LOG_ERROR, "storvsc: %s: set-up failed: %s", storvsc->config.name, why);
	return STORVSC_EVENT_FAILED;
}

static int send_step(struct storvsc *storvsc, struct storvsc_packet *packet)
{
	struct storvsc_channel *primary = storvsc->channels[0];

	primary->own_step.kind = STORVSC_SETUP_STEP;
	primary->own_step.deadline_ns = storvsc->setup_deadline_ns;
	return storvsc_send(primary, &primary->own_step, packet);
}

/* A ring of which only set-up makes use has room for one packet. */
static uint32_t next_step(struct storvsc *storvsc, enum storvsc_state state,
			  struct storvsc_packet *packet)
{
	storvsc->state = (uint8_t)state;
	if (send_step(storvsc, packet))
		return fail(storvsc, -LIS_CORRUPT, "the ring takes no packet");
	return 0;
}

/*
 * Packets have their short form until a version with the long one is agreed on, which every host
 * understands. Source: [lis-next hv-rhel7.x/hv/storvsc_drv.c vmscsi_size_delta]; Linux from 5.17 on
 * always sends the long form.
 */
static void use_version(struct storvsc *storvsc, uint16_t version)
{
	bool is_long = version >= STORVSC_VERSION_WIN8;

	storvsc->version = version;
	storvsc->packet_bytes = is_long ? STORVSC_PACKET_BYTES_LONG : STORVSC_PACKET_BYTES_SHORT;
	storvsc->sense_bytes_max = is_long ? STORVSC_SENSE_BYTES : STORVSC_SENSE_BYTES_WIN6;
}

/* The newest version below another one; 0: there is none. */
static uint16_t version_below(uint16_t version)
{
#define STORVSC_TRY(known) \
	if ((known) < version) \
		return known;
	STORVSC_VERSIONS(STORVSC_TRY)
#undef STORVSC_TRY
	return 0;
}

static uint32_t ask_version(struct storvsc *storvsc, uint16_t version)
{
	struct storvsc_packet packet = { .operation = STORVSC_QUERY_PROTOCOL_VERSION };

	use_version(storvsc, 0);
	storvsc->version = version;
	packet.version.major_minor = version;
	return next_step(storvsc, STORVSC_AGREEING, &packet);
}

int storvsc_start(struct storvsc *storvsc, uint64_t now_ns)
{
	struct storvsc_packet packet = { .operation = STORVSC_BEGIN_INITIALIZATION };

	if (storvsc->state != STORVSC_CLOSED || storvsc->channel_count != 1)
		return -LIS_GONE;
	storvsc->error = 0;
	storvsc->sub_channels = 0;
	storvsc->sub_channels_max = 0;
	storvsc->setup_deadline_ns = 0;
	if (storvsc->config.setup_timeout_ns)
		storvsc->setup_deadline_ns = now_ns + storvsc->config.setup_timeout_ns;
	use_version(storvsc, 0);
	return next_step(storvsc, STORVSC_STARTING, &packet) ? -LIS_CORRUPT : 0;
}

static uint32_t version_answered(struct storvsc *storvsc, bool taken)
{
	struct storvsc_packet packet = { .operation = STORVSC_QUERY_PROPERTIES };
	uint16_t version = storvsc->version;

	if (taken) {
		use_version(storvsc, version);
		return next_step(storvsc, STORVSC_ASKING, &packet);
	}
	version = version_below(version);
	if (!version)
		return fail(storvsc, -LIS_UNSUPPORTED, "the host takes no version we know");
	return ask_version(storvsc, version);
}

/* [policy] A command's page numbers may take half of the ring, so that two find room together. */
static uint32_t ring_transfer_bytes(const struct storvsc_channel *channel)
{
	uint32_t packet_bytes = vmbus_ring_writer_packet_bytes_max(channel->to_host) / 2;
	uint32_t fixed_bytes = (uint32_t)vmbus_packet_ring_bytes(
		sizeof(struct vmbus_gpa_direct_head) + sizeof(struct vmbus_gpa_range) + 8,
		STORVSC_PACKET_BYTES_LONG);

	if (packet_bytes > VMBUS_PACKET_BYTES_MAX)
		packet_bytes = VMBUS_PACKET_BYTES_MAX;
	return (packet_bytes - fixed_bytes) / 8 * HV_PAGE_BYTES;
}

static uint32_t properties_answered(struct storvsc *storvsc, const struct storvsc_packet *answer,
				    uint32_t bytes)
{
	const struct storvsc_channel_properties *properties = &answer->properties;
	uint32_t ring_bytes = ring_transfer_bytes(storvsc->channels[0]);
	struct storvsc_packet packet = { .operation = STORVSC_END_INITIALIZATION };
	uint32_t most_bytes;

	if (bytes < STORVSC_HEADER_BYTES + sizeof(*properties))
		return fail(storvsc, -LIS_CORRUPT, "properties are cut short");
	most_bytes = properties->transfer_bytes_max;
	if (!most_bytes)
		most_bytes = TRANSFER_BYTES_DEFAULT;
	if (most_bytes < HV_PAGE_BYTES)
		return fail(storvsc, -LIS_CORRUPT, "the host takes less than a page at a time");
	if (storvsc->config.transfer_bytes_max && most_bytes > storvsc->config.transfer_bytes_max)
		most_bytes = storvsc->config.transfer_bytes_max;
	if (most_bytes > ring_bytes)
		most_bytes = ring_bytes;
	storvsc->transfer_bytes_max = most_bytes & ~(HV_PAGE_BYTES - 1);
	if (storvsc->version >= STORVSC_VERSION_WIN8 &&
	    (properties->flags & STORVSC_SUPPORTS_MULTI_CHANNEL))
		storvsc->sub_channels_max = properties->sub_channels_max;
	return next_step(storvsc, STORVSC_ENDING, &packet);
}

static void ask_sub_channels(struct storvsc *storvsc)
{
	struct storvsc_packet packet = { .operation = STORVSC_CREATE_SUB_CHANNELS };
	uint16_t count = storvsc->config.sub_channels_wanted;

	if (count > storvsc->sub_channels_max)
		count = storvsc->sub_channels_max;
	if (count > STORVSC_CHANNELS_MAX - 1)
		count = STORVSC_CHANNELS_MAX - 1;
	if (!count)
		return;
	packet.sub_channel_count = count;
	if (!send_step(storvsc, &packet))
		storvsc->sub_channels = count;
}

static uint32_t end_answered(struct storvsc *storvsc)
{
	storvsc->state = STORVSC_READY;
	storvsc->channels[0]->accepting = true;
	os_log(OS_LOG_INFO, "storvsc: %s: protocol %u.%u, %u KiB for each command",
	       storvsc->config.name, storvsc->version >> 8, storvsc->version & 0xff,
	       storvsc->transfer_bytes_max / 1024);
	ask_sub_channels(storvsc);
	return STORVSC_EVENT_READY;
}

static uint32_t no_sub_channels(struct storvsc *storvsc, const char *why)
{
	os_log(OS_LOG_WARNING, "storvsc: %s: no sub-channels: %s", storvsc->config.name, why);
	storvsc->sub_channels = 0;
	return 0;
}

uint32_t storvsc_setup_answer(struct storvsc *storvsc, const struct storvsc_packet *packet,
			      uint32_t bytes)
{
	bool good = packet && packet->status == STORVSC_STATUS_SUCCESS;

	if (storvsc->state == STORVSC_READY)
		return good ? STORVSC_EVENT_SUB_CHANNELS :
			      no_sub_channels(storvsc, "the host refused");
	if (!packet)
		return fail(storvsc, -LIS_CORRUPT, "an answer that makes no sense");
	if (storvsc->state == STORVSC_AGREEING)
		return version_answered(storvsc, good);
	if (!good)
		return fail(storvsc, -LIS_REFUSED, "the host refused");
	switch (storvsc->state) {
	case STORVSC_STARTING:
		return ask_version(storvsc, storvsc->config.version_max);
	case STORVSC_ASKING:
		return properties_answered(storvsc, packet, bytes);
	case STORVSC_ENDING:
		return end_answered(storvsc);
	default:
		return 0; /* failed meanwhile */
	}
}

uint32_t storvsc_setup_late(struct storvsc *storvsc)
{
	if (storvsc->state == STORVSC_READY)
		return no_sub_channels(storvsc, "the host does not answer");
	return fail(storvsc, -LIS_TIMEOUT, "the host does not answer");
}
