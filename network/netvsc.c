// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of the network, its card: life, and set-up.
 *
 * Set-up is a row of steps over the primary channel, one request of control under way at a time: a
 * version, the newest first, until the host takes one; the two buffers; RNDIS; and then questions
 * about the card, of which most may fail without harm.
 *
 * Everything here belongs to the sending unit of the primary channel but opening and closing, which
 * are the device's. Sub-channels look at what the set-up found only once it is READY.
 */
#include "network/netvsc_private.h"

/* [linux 7.3 netvsc.c netvsc_connect_vsp] */
#define NDIS_MAJOR 6u
#define NDIS_MINOR_BEFORE_5 1u
#define NDIS_MINOR 30u
#define RECEIVE_BYTES_MAX_BEFORE_4 (15u << 20)
#define RECEIVE_BYTES_MAX (31u << 20)
/* [policy] Messages begin at multiples of this at most; every host says 8. */
#define ALIGN_SHIFT_MAX 7u
/* [rfc 791] What every IPv4 host must be able to forward. */
#define MTU_MIN 68u
#define SECTIONS_PER_WORD 64u

void netvsc_violation(const struct netvsc *netvsc, uint64_t *counter, const char *what)
{
	uint64_t count = ++*counter;

	if (count <= 16 || !(count & (count - 1)))
		os_log(OS_LOG_WARNING, "netvsc: %s: the host broke the protocol, time %llu: %s",
		       netvsc->config.name, (unsigned long long)count, what);
}

/* ---- life ---- */

static bool version_known(uint32_t version)
{
#define NETVSC_IS(known) || version == (known)
	return version == 0 NVSP_VERSIONS(NETVSC_IS);
#undef NETVSC_IS
}

static void *alloc(const struct netvsc *netvsc, size_t count, size_t bytes)
{
	return netvsc->config.alloc(netvsc->config.port, count * bytes);
}

static void release(const struct netvsc *netvsc, void *memory)
{
	if (memory)
		netvsc->config.release(netvsc->config.port, memory);
}

int netvsc_init(struct netvsc *netvsc, const struct netvsc_config *config)
{
	memset(netvsc, 0, sizeof(*netvsc));
	netvsc->config = *config;
	if (!netvsc->config.version_max)
		netvsc->config.version_max = NVSP_VERSION_6_1;
	if (!netvsc->config.mtu)
		netvsc->config.mtu = NETVSC_MTU_DEFAULT;
	if (!netvsc->config.send_bytes_max)
		netvsc->config.send_bytes_max = NETVSC_SEND_BYTES_MAX;
	if (!version_known(config->version_max) || !config->control_page ||
	    netvsc->config.mtu > NETVSC_MTU_MAX || config->send_bytes_max > NETVSC_SEND_BYTES_MAX)
		return -LIS_INVALID;
	netvsc->section_words =
		netvsc->config.send_bytes_max / NETVSC_SECTION_BYTES_MIN / SECTIONS_PER_WORD + 1;
	netvsc->section_bits = alloc(netvsc, netvsc->section_words, sizeof(uint64_t));
	return netvsc->section_bits ? 0 : -LIS_NOMEM;
}

void netvsc_fini(struct netvsc *netvsc)
{
	release(netvsc, netvsc->section_bits);
	netvsc->section_bits = NULL;
}

static void channel_free(struct netvsc_channel *channel)
{
	release(channel->netvsc, channel->requests.slots);
	release(channel->netvsc, channel->flights);
	release(channel->netvsc, channel->head_next);
	release(channel->netvsc, channel->parts);
	channel->requests = (struct vmbus_requests){ .free = VMBUS_REQUESTS_END };
	channel->flights = NULL;
	channel->head_next = NULL;
	channel->parts = NULL;
}

static int channel_alloc(struct netvsc_channel *channel, uint32_t slot_count, uint32_t head_count)
{
	const struct netvsc *netvsc = channel->netvsc;

	channel->requests.slots = alloc(netvsc, slot_count, sizeof(struct vmbus_request_slot));
	channel->flights = alloc(netvsc, slot_count, sizeof(struct netvsc_flight));
	channel->head_next = alloc(netvsc, head_count, sizeof(uint16_t));
	channel->parts = alloc(netvsc, NETVSC_PARTS_MAX, sizeof(struct netvsc_part));
	if (!channel->requests.slots || !channel->flights || !channel->head_next ||
	    !channel->parts) {
		channel_free(channel);
		return -LIS_NOMEM;
	}
	vmbus_requests_init(&channel->requests, channel->requests.slots, slot_count);
	for (uint32_t i = 0; i < head_count; i++)
		channel->head_next[i] = (uint16_t)(i + 1 < head_count ? i + 1 : NETVSC_HEAD_NONE);
	channel->head_free = 0;
	return 0;
}

int netvsc_channel_open(struct netvsc *netvsc, struct netvsc_channel *channel,
			const struct netvsc_channel_config *config)
{
	int error;

	memset(channel, 0, sizeof(*channel));
	channel->netvsc = netvsc;
	channel->ended_end = &channel->ended.requests;
	if (!config->queue_depth || config->queue_depth > NETVSC_QUEUE_DEPTH_MAX ||
	    config->index >= NETVSC_CHANNELS_MAX || netvsc->channels[config->index] ||
	    !config->head_pages || config->head_pages > 1024)
		return -LIS_INVALID;
	if (config->index && os_read_once(netvsc->state) != NETVSC_READY)
		return -LIS_GONE;
	error = channel_alloc(channel, config->queue_depth + NETVSC_OWN_SLOTS,
			      config->head_pages * NETVSC_HEADS_PER_PAGE);
	if (error)
		return error;
	channel->index = config->index;
	channel->to_host = config->to_host;
	channel->from_host = config->from_host;
	channel->heads = config->heads;
	channel->head_pfns = config->head_pfns;
	channel->late_max = config->late_max;
	channel->batch.section = NVSP_SECTION_NONE;
	channel->section_hint = config->index;
	channel->open = true;
	channel->accepting = config->index != 0; /* the primary once READY */
	os_write_once(netvsc->channels[config->index], channel);
	netvsc->channel_count++;
	return 0;
}

void netvsc_channel_stop(struct netvsc_channel *channel)
{
	channel->accepting = false;
}

static void forget_buffers(struct netvsc *netvsc)
{
	netvsc->receive_buffer = (struct netvsc_buffer){ 0 };
	netvsc->send_buffer = (struct netvsc_buffer){ 0 };
	netvsc->sub_bytes = 0;
	netvsc->sub_count = 0;
	netvsc->section_bytes = 0;
	netvsc->section_count = 0;
}

struct netvsc_request *netvsc_channel_close(struct netvsc_channel *channel)
{
	struct netvsc *netvsc = channel->netvsc;

	if (!channel->open)
		return NULL;
	channel->accepting = false;
	channel->open = false;
	os_write_once(netvsc->channels[channel->index], NULL);
	netvsc->channel_count--;
	if (!channel->index) {
		netvsc->state = NETVSC_CLOSED;
		netvsc->control = (struct netvsc_control){ 0 };
		netvsc->message_bytes = 0;
		netvsc->nvsp_answer_bytes = 0;
	}
	netvsc_end_all(channel);
	channel_free(channel);
	if (!channel->index) /* the caller takes the memory back */
		forget_buffers(netvsc);
	return netvsc_take_ended(channel).requests;
}

/* ---- set-up: a version ---- */

static uint32_t fail(struct netvsc *netvsc, int error, const char *why)
{
	netvsc->state = NETVSC_FAILED;
	netvsc->error = error;
	os_log(OS_LOG_ERROR, "netvsc: %s: set-up failed: %s", netvsc->config.name, why);
	return NETVSC_EVENT_FAILED;
}

/* A ring of which only the set-up makes use has room for one packet. */
static uint32_t next_step(struct netvsc *netvsc, enum netvsc_state state, int error)
{
	if (error)
		return fail(netvsc, -LIS_CORRUPT, "the ring takes no packet");
	netvsc->state = (uint8_t)state;
	return 0;
}

static uint32_t ask_version(struct netvsc *netvsc, uint32_t version, uint64_t now_ns)
{
	struct nvsp_message message = {
		.type = NVSP_INIT,
		.init = { .version_min = version, .version_max = version },
	};

	netvsc->version = version;
	/* The host does not know yet which form we speak; every one takes the long one. */
	netvsc->nvsp_bytes = NVSP_MESSAGE_BYTES_6_1;
	return next_step(netvsc, NETVSC_AGREEING, netvsc_control_nvsp(netvsc, &message, now_ns));
}

/* The newest version below another one that may be used; 0: there is none. */
static uint32_t version_below(const struct netvsc *netvsc, uint32_t version)
{
	uint32_t least = netvsc->config.isolated ? NVSP_VERSION_6_1 : 0;

#define NETVSC_TRY(known) \
	if ((known) < version && (known) >= least) \
		return known;
	NVSP_VERSIONS(NETVSC_TRY)
#undef NETVSC_TRY
	return 0;
}

int netvsc_start(struct netvsc *netvsc, uint64_t now_ns)
{
	uint32_t version = netvsc->config.version_max;

	if (netvsc->state != NETVSC_CLOSED || netvsc->channel_count != 1 || !netvsc->channels[0])
		return -LIS_GONE;
	if (netvsc->config.isolated)
		version = NVSP_VERSION_6_1;
	netvsc->error = 0;
	netvsc->sub_channels = 0;
	netvsc->mtu = netvsc->config.mtu;
	netvsc->bits_per_second = 0;
	netvsc->link_up = true;
	netvsc->coalescing = false;
	netvsc->name_bytes = 0;
	memset(&netvsc->offloads, 0, sizeof(netvsc->offloads));
	memset(&netvsc->rss, 0, sizeof(netvsc->rss));
	memset(netvsc->send_table, 0, sizeof(netvsc->send_table));
	return ask_version(netvsc, version, now_ns) ? -LIS_CORRUPT : 0;
}

/* Source: [linux 7.3 netvsc.c negotiate_nvsp_ver]: versions and what they let a guest ask for. */
static uint32_t wanted_capabilities(const struct netvsc *netvsc)
{
	uint32_t wanted = NVSP_CAPABILITY_VLAN;

	if (netvsc->version >= NVSP_VERSION_5)
		wanted |= NVSP_CAPABILITY_TEAMING;
	if (netvsc->version >= NVSP_VERSION_6_1)
		wanted |= NVSP_CAPABILITY_RSC;
	return wanted;
}

static int tell_configuration(struct netvsc *netvsc)
{
	struct nvsp_message config = {
		.type = NVSP_SEND_NDIS_CONFIG,
		.ndis_config = {
			.mtu_bytes = netvsc->config.mtu + NETVSC_ETHERNET_BYTES,
			.capabilities = wanted_capabilities(netvsc),
		},
	};
	struct nvsp_message version = {
		.type = NVSP_SEND_NDIS_VERSION,
		.ndis_version = {
			.major = NDIS_MAJOR,
			.minor = netvsc->version >= NVSP_VERSION_5 ? NDIS_MINOR :
								     NDIS_MINOR_BEFORE_5,
		},
	};
	int error = 0;

	if (netvsc->version >= NVSP_VERSION_2)
		error = netvsc_tell(netvsc, &config);
	else if (netvsc->mtu > NETVSC_MTU_DEFAULT)
		netvsc->mtu = NETVSC_MTU_DEFAULT;
	return error ? error : netvsc_tell(netvsc, &version);
}

static uint32_t version_answered(struct netvsc *netvsc, const struct nvsp_init_complete *answer,
				 uint64_t now_ns)
{
	uint32_t older;

	if (answer->status != NVSP_STATUS_SUCCESS) {
		older = version_below(netvsc, netvsc->version);
		if (older)
			return ask_version(netvsc, older, now_ns);
		return fail(netvsc, -LIS_UNSUPPORTED, "the host takes no version we know");
	}
	if (netvsc->version < NVSP_VERSION_6_1)
		netvsc->nvsp_bytes = NVSP_MESSAGE_BYTES;
	netvsc->pieces_max = NETVSC_PIECES_MAX;
	if (answer->mdl_chain_length_max && answer->mdl_chain_length_max < NETVSC_PIECES_MAX)
		netvsc->pieces_max = answer->mdl_chain_length_max;
	if (next_step(netvsc, NETVSC_WANTS_BUFFERS, tell_configuration(netvsc)))
		return NETVSC_EVENT_FAILED;
	return NETVSC_EVENT_BUFFERS;
}

/* ---- set-up: buffers ---- */

uint32_t netvsc_receive_bytes_max(const struct netvsc *netvsc)
{
	return netvsc->version < NVSP_VERSION_4 ? RECEIVE_BYTES_MAX_BEFORE_4 : RECEIVE_BYTES_MAX;
}

static uint32_t show_buffer(struct netvsc *netvsc, enum netvsc_state state, uint64_t now_ns)
{
	struct nvsp_message message = {
		.type = NVSP_SEND_RECEIVE_BUFFER,
		.buffer = { netvsc->receive_buffer.gpadl_id, NVSP_RECEIVE_BUFFER_ID, 0 },
	};

	if (state == NETVSC_SEND_BUFFER) {
		message.type = NVSP_SEND_SEND_BUFFER;
		message.buffer.gpadl_id = netvsc->send_buffer.gpadl_id;
		message.buffer.id = NVSP_SEND_BUFFER_ID;
	}
	return next_step(netvsc, state, netvsc_control_nvsp(netvsc, &message, now_ns));
}

int netvsc_set_buffers(struct netvsc *netvsc, const struct netvsc_buffer *receive,
		       const struct netvsc_buffer *send, uint64_t now_ns)
{
	if (netvsc->state != NETVSC_WANTS_BUFFERS)
		return -LIS_GONE;
	if (receive->bytes < NETVSC_SUB_BYTES_MIN ||
	    receive->bytes > netvsc_receive_bytes_max(netvsc) ||
	    send->bytes < NETVSC_SECTION_BYTES_MIN ||
	    send->bytes > netvsc->config.send_bytes_max)
		return -LIS_INVALID;
	netvsc->receive_buffer = *receive;
	netvsc->send_buffer = *send;
	return show_buffer(netvsc, NETVSC_RECEIVE_BUFFER, now_ns) ? -LIS_CORRUPT : 0;
}

static uint32_t receive_buffer_answered(struct netvsc *netvsc,
					const struct nvsp_receive_buffer_complete *answer,
					uint64_t now_ns)
{
	const struct nvsp_receive_section *section = &answer->section;

	if (answer->status != NVSP_STATUS_SUCCESS)
		return fail(netvsc, -LIS_REFUSED, "the host does not take the receive buffer");
	if (answer->section_count != 1 || section->offset ||
	    section->sub_allocation_bytes < NETVSC_SUB_BYTES_MIN ||
	    !section->sub_allocation_count ||
	    (uint64_t)section->sub_allocation_bytes * section->sub_allocation_count >
		    netvsc->receive_buffer.bytes)
		return fail(netvsc, -LIS_CORRUPT, "sections of the receive buffer that cannot be");
	netvsc->sub_bytes = section->sub_allocation_bytes;
	netvsc->sub_count = section->sub_allocation_count;
	return show_buffer(netvsc, NETVSC_SEND_BUFFER, now_ns);
}

static uint32_t send_buffer_answered(struct netvsc *netvsc,
				     const struct nvsp_send_buffer_complete *answer,
				     uint64_t now_ns)
{
	if (answer->status != NVSP_STATUS_SUCCESS)
		return fail(netvsc, -LIS_REFUSED, "the host does not take the send buffer");
	if (answer->section_bytes < NETVSC_SECTION_BYTES_MIN ||
	    answer->section_bytes > netvsc->send_buffer.bytes)
		return fail(netvsc, -LIS_CORRUPT, "sections of the send buffer that cannot be");
	netvsc->section_bytes = answer->section_bytes;
	netvsc->section_count = netvsc->send_buffer.bytes / answer->section_bytes;
	/* What is behind the last section is taken for good. */
	for (uint32_t i = 0; i < netvsc->section_words; i++) {
		uint32_t first = SECTIONS_PER_WORD * i;
		uint32_t there = netvsc->section_count > first ? netvsc->section_count - first : 0;

		netvsc->section_bits[i] = there >= SECTIONS_PER_WORD ? 0 : ~0ull << there;
	}
	return next_step(netvsc, NETVSC_INITIALIZING, netvsc_control_initialize(netvsc, now_ns));
}

/* ---- set-up: questions ---- */

/* What an answer must have at least; a shorter one is as good as none. */
static bool take_mtu(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	uint32_t mtu;

	if (bytes < sizeof(mtu))
		return false;
	memcpy(&mtu, info, sizeof(mtu));
	if (mtu < MTU_MIN)
		return false;
	if (mtu < netvsc->mtu)
		netvsc->mtu = mtu;
	return true;
}

static bool take_mac(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	static const uint8_t none[NETVSC_MAC_BYTES];

	if (bytes < sizeof(netvsc->mac) || (info[0] & 1) || !memcmp(info, none, sizeof(none)))
		return false;
	memcpy(netvsc->mac, info, sizeof(netvsc->mac));
	return true;
}

static bool take_name(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	if (bytes > sizeof(netvsc->name))
		return false;
	memcpy(netvsc->name, info, bytes);
	netvsc->name_bytes = bytes;
	return true;
}

static bool take_link(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	uint32_t status;

	if (bytes < sizeof(status))
		return false;
	memcpy(&status, info, sizeof(status));
	netvsc->link_up = status == RNDIS_MEDIA_CONNECTED;
	return true;
}

static bool take_speed(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	uint32_t speed_100;

	if (bytes < sizeof(speed_100))
		return false;
	memcpy(&speed_100, info, sizeof(speed_100));
	netvsc->bits_per_second = speed_100 * 100ull;
	return true;
}

static bool take_rss(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	struct ndis_rss_capabilities rss = { .flags = 0 };

	if (bytes < NDIS_RSS_CAPABILITIES_BYTES)
		return false;
	memcpy(&rss, info, bytes < sizeof(rss) ? bytes : sizeof(rss));
	if (rss.object.type != NDIS_OBJECT_RSS_CAPABILITIES)
		return false;
	netvsc->rss = (struct netvsc_rss_capabilities){
		.queues_max = rss.receive_queue_count,
		.table_count = rss.table_count,
		.udp_ipv4 = rss.flags & NDIS_RSS_CAPABILITY_UDP_IPV4,
		.udp_ipv6 = rss.flags & NDIS_RSS_CAPABILITY_UDP_IPV6,
	};
	/* [linux 7.3 rndis_filter.c rndis_filter_device_add] what does not say is the usual. */
	if (!rss.table_count || rss.table_count > NDIS_RSS_TABLE_COUNT)
		netvsc->rss.table_count = NDIS_RSS_TABLE_COUNT;
	return true;
}

/* How long a frame to be cut may be; 0 where it is not worth it. */
static uint32_t segments_bytes(const struct netvsc *netvsc, uint32_t bytes_max)
{
	uint32_t most = netvsc->transfer_bytes_max - NETVSC_HEAD_BYTES;

	if (most > UINT16_MAX + NETVSC_ETHERNET_BYTES)
		most = UINT16_MAX + NETVSC_ETHERNET_BYTES;
	if (bytes_max > most)
		bytes_max = most;
	return bytes_max > netvsc->mtu + NETVSC_ETHERNET_BYTES ? bytes_max : 0;
}

static bool has_all(uint32_t flags, uint32_t wanted)
{
	return (flags & wanted) == wanted;
}

/*
 * Offloads, where the host has all that a system asks for who knows nothing of a frame's options.
 * Source: [linux 7.3 rndis_filter.c rndis_netdev_set_hwcaps] which bits these are.
 */
static bool take_offloads(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes)
{
	struct netvsc_offloads *offloads = &netvsc->offloads;
	struct ndis_offload can = { .flags = 0 };
	uint32_t tcp_ipv4 = NDIS_CHECKSUM_TCP | NDIS_CHECKSUM_TCP_OPTIONS;
	uint32_t tcp_ipv6 = tcp_ipv4 | NDIS_CHECKSUM_IP_OPTIONS;

	if (bytes < NDIS_OFFLOAD_BYTES_1)
		return false;
	memcpy(&can, info, bytes < sizeof(can) ? bytes : sizeof(can));
	if (can.object.type != NDIS_OBJECT_OFFLOAD || !can.object.revision ||
	    can.object.bytes < NDIS_OFFLOAD_BYTES_1 || can.object.bytes > bytes)
		return false;
	offloads->tcp_ipv4 = has_all(can.checksum.ipv4_tx, tcp_ipv4);
	offloads->tcp_ipv6 = has_all(can.checksum.ipv6_tx, tcp_ipv6);
	/* Before version 5 there is no way to switch these on. */
	if (netvsc->version >= NVSP_VERSION_5) {
		offloads->udp_ipv4 = has_all(can.checksum.ipv4_tx, NDIS_CHECKSUM_UDP);
		offloads->udp_ipv6 = has_all(can.checksum.ipv6_tx, NDIS_CHECKSUM_UDP);
	}
	if (offloads->tcp_ipv4 && (can.lso_v2.ipv4_encapsulation & NDIS_ENCAPSULATION_802_3))
		offloads->segments_ipv4_bytes = segments_bytes(netvsc, can.lso_v2.ipv4_bytes_max);
	if (offloads->tcp_ipv6 && (can.lso_v2.ipv6_encapsulation & NDIS_ENCAPSULATION_802_3) &&
	    has_all(can.lso_v2.ipv6_options, NDIS_CHECKSUM_IP_OPTIONS | NDIS_CHECKSUM_TCP_OPTIONS))
		offloads->segments_ipv6_bytes = segments_bytes(netvsc, can.lso_v2.ipv6_bytes_max);
	if (netvsc->version >= NVSP_VERSION_6_1) {
		offloads->coalesce_ipv4 = can.rsc_ipv4;
		offloads->coalesce_ipv6 = can.rsc_ipv6;
	}
	return true;
}

#define SET_OFFLOADS 0u

/* The questions in their order; one that says SET_OFFLOADS is none, but comes in its turn. */
static const struct {
	uint32_t oid;
	uint32_t version;
	bool (*take)(struct netvsc *netvsc, const uint8_t *info, uint32_t bytes);
} questions[] = {
	{ OID_GEN_MAXIMUM_FRAME_SIZE, NVSP_VERSION_1, take_mtu },
	{ OID_802_3_PERMANENT_ADDRESS, NVSP_VERSION_1, take_mac },
	{ OID_GEN_FRIENDLY_NAME, NVSP_VERSION_1, take_name },
	{ OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, NVSP_VERSION_1, take_offloads },
	{ SET_OFFLOADS, NVSP_VERSION_1, NULL },
	{ OID_GEN_MEDIA_CONNECT_STATUS, NVSP_VERSION_1, take_link },
	{ OID_GEN_LINK_SPEED, NVSP_VERSION_5, take_speed },
	{ OID_GEN_RECEIVE_SCALE_CAPABILITIES, NVSP_VERSION_5, take_rss },
};

#define QUESTION_COUNT (sizeof(questions) / sizeof(questions[0]))

static uint32_t ready(struct netvsc *netvsc)
{
	netvsc->state = NETVSC_READY;
	netvsc->channels[0]->accepting = true;
	os_log(netvsc->config.again ? OS_LOG_DEBUG : OS_LOG_INFO,
	       "netvsc: %s: protocol %x.%x, MTU %u, %u receive and %u send buffers of %u and %u bytes",
	       netvsc->config.name, netvsc->version >> 16, netvsc->version & 0xffff, netvsc->mtu,
	       netvsc->sub_count, netvsc->section_count, netvsc->sub_bytes, netvsc->section_bytes);
	return NETVSC_EVENT_READY;
}

static uint32_t ask(struct netvsc *netvsc, uint64_t now_ns)
{
	uint32_t i = netvsc->asking;
	int error;

	while (i < QUESTION_COUNT && netvsc->version < questions[i].version)
		i++;
	netvsc->asking = i;
	if (i == QUESTION_COUNT)
		return ready(netvsc);
	if (questions[i].oid == SET_OFFLOADS)
		error = netvsc_control_offloads(netvsc, true, netvsc->config.coalesce, now_ns);
	else
		error = netvsc_control_query(netvsc, questions[i].oid, now_ns);
	return next_step(netvsc, NETVSC_ASKING, error);
}

/* What cannot be switched on is not there. */
static void offloads_set(struct netvsc *netvsc, bool good)
{
	const struct netvsc_offloads *can = &netvsc->offloads;

	if (!good) {
		os_log(OS_LOG_WARNING, "netvsc: %s: no offloads: the host refused, status 0x%x",
		       netvsc->config.name, netvsc->control.status);
		memset(&netvsc->offloads, 0, sizeof(netvsc->offloads));
	}
	netvsc->coalescing = netvsc->config.coalesce && (can->coalesce_ipv4 || can->coalesce_ipv6);
}

static uint32_t question_answered(struct netvsc *netvsc, uint64_t now_ns)
{
	const struct netvsc_control *control = &netvsc->control;
	uint32_t oid = questions[netvsc->asking].oid;
	bool good = !control->error;

	if (control->error == -LIS_TIMEOUT)
		return fail(netvsc, -LIS_TIMEOUT, "the host does not answer");
	if (oid == SET_OFFLOADS)
		offloads_set(netvsc, good);
	else
		good = good && questions[netvsc->asking].take(netvsc, netvsc->control_info,
							      control->bytes);
	if (oid == OID_802_3_PERMANENT_ADDRESS && !good)
		return fail(netvsc, -LIS_CORRUPT, "the card has no address");
	netvsc->asking++;
	return ask(netvsc, now_ns);
}

/* ---- set-up: RNDIS ---- */

/* Its answer, behind RNDIS' header, is in control_info. */
static uint32_t initialized(struct netvsc *netvsc, uint64_t now_ns)
{
	struct rndis_initialize_complete answer;

	if (netvsc->control.error)
		return fail(netvsc, netvsc->control.error, "RNDIS cannot be initialized");
	if (netvsc->control.bytes < offsetof(struct rndis_initialize_complete, af_list_offset))
		return fail(netvsc, -LIS_CORRUPT, "RNDIS' first answer is cut short");
	memcpy(&answer, netvsc->control_info,
	       offsetof(struct rndis_initialize_complete, af_list_offset));
	if (answer.packet_alignment_shift > ALIGN_SHIFT_MAX ||
	    answer.transfer_bytes_max < netvsc->mtu + NETVSC_ETHERNET_BYTES + NETVSC_HEAD_BYTES)
		return fail(netvsc, -LIS_CORRUPT, "RNDIS' limits make no sense");
	netvsc->messages_max = answer.packets_per_message_max ? answer.packets_per_message_max : 1;
	netvsc->align_bytes = 1u << answer.packet_alignment_shift;
	netvsc->transfer_bytes_max = answer.transfer_bytes_max;
	netvsc->asking = 0;
	return ask(netvsc, now_ns);
}

uint32_t netvsc_setup_control_over(struct netvsc *netvsc, uint64_t now_ns)
{
	switch (netvsc->state) {
	case NETVSC_INITIALIZING:
		return initialized(netvsc, now_ns);
	case NETVSC_ASKING:
		return question_answered(netvsc, now_ns);
	case NETVSC_AGREEING:
	case NETVSC_RECEIVE_BUFFER:
	case NETVSC_SEND_BUFFER:
		return netvsc->control.error == -LIS_TIMEOUT ?
			       fail(netvsc, -LIS_TIMEOUT, "the host does not answer") :
			       fail(netvsc, -LIS_CORRUPT, "an answer that makes no sense");
	default:
		return 0; /* failed meanwhile */
	}
}

/* Has the answer its length, and is it one to what was asked? */
static bool answer_is(const struct nvsp_message *message, uint32_t bytes, uint32_t type,
		      uint32_t body_bytes)
{
	return message->type == type && bytes >= sizeof(message->type) + body_bytes;
}

uint32_t netvsc_setup_answer(struct netvsc *netvsc, const struct nvsp_message *message,
			     uint32_t bytes, uint64_t now_ns)
{
	switch (netvsc->state) {
	case NETVSC_AGREEING:
		if (!answer_is(message, bytes, NVSP_INIT_COMPLETE, sizeof(message->init_complete)))
			break;
		return version_answered(netvsc, &message->init_complete, now_ns);
	case NETVSC_RECEIVE_BUFFER:
		if (!answer_is(message, bytes, NVSP_SEND_RECEIVE_BUFFER_COMPLETE,
			       sizeof(message->receive_buffer_complete)))
			break;
		return receive_buffer_answered(netvsc, &message->receive_buffer_complete, now_ns);
	case NETVSC_SEND_BUFFER:
		if (!answer_is(message, bytes, NVSP_SEND_SEND_BUFFER_COMPLETE,
			       sizeof(message->send_buffer_complete)))
			break;
		return send_buffer_answered(netvsc, &message->send_buffer_complete, now_ns);
	default:
		return 0; /* failed meanwhile */
	}
	return fail(netvsc, -LIS_CORRUPT, "an answer that makes no sense");
}
