// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile guest and the network VSP, on the bus of bus.c: any packets in any order on up to three
 * channels, buffers that come and go, guest memory that changes, a port with any abilities. Each packet is
 * answered once, each sub-allocation has one owner, each frame comes once and in order, and a port gets
 * only frames whose offloads it can do and that make sense. At the end everything is given back.
 */
#include "fuzz/bus.h"
#include "fuzz/fuzz.h"
#include "fuzz/net_port.h"
#include "network/netvsp.h"
#include "network/rndis.h"

#define GUEST_PAGES 96u
#define RECEIVE_PAGE 0u
#define SEND_PAGE 64u   /* six sections */
#define DATA_PAGE 73u   /* GPA ranges and messages of control */
#define SUBS_MAX 128u
#define IDS_MAX 256u
#define GPADLS 4u

static struct netvsp *netvsp;
static struct partition partition;
static _Alignas(4096) uint8_t memory[GUEST_PAGES * HV_PAGE_BYTES];
static bool gone;
static bool dirty; /* the guest has written where the host may have: contents say nothing */

/* Transaction ids that are to be answered, by channel. */
static uint32_t unanswered[BUS_CHANNELS][IDS_MAX];

/* Number of the last frame that came on each channel. */
static uint32_t last_number[BUS_CHANNELS];

/* Sub-allocations as the guest knows them: by channel + 1 of who holds it, in which packet. */
static struct {
	uint8_t holder;
	uint64_t id;
} subs[SUBS_MAX];
static uint32_t sub_bytes, sub_count;

/*
 * Completions that may mean another packet than the guest has: one that comes yet, or, where they wait
 * behind a buffer that comes in place of another, one of that.
 */
static bool guessed[BUS_CHANNELS][IDS_MAX], guessed_any, ring_full;

static struct gpadl {
	uint32_t refs, offset, bytes;
	uint64_t pfns[64];
} gpadls[GPADLS];

/* ---- what the host sends ---- */

static uint8_t *hva_of(const struct gpadl *gpadl, uint32_t at)
{
	at += gpadl->offset;
	return memory + gpadl->pfns[at / HV_PAGE_BYTES] * HV_PAGE_BYTES + at % HV_PAGE_BYTES;
}

static void read_buffer(uint32_t at, void *to, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		((uint8_t *)to)[i] = *hva_of(&gpadls[0], at + i);
}

/* Of a frame or its first piece. */
static void check_message(uint32_t channel, uint32_t at, uint32_t bytes, uint32_t channel_type)
{
	struct rndis_header header;
	struct rndis_packet packet;
	uint32_t number;

	read_buffer(at, &header, sizeof(header));
	FUZZ_CHECK(header.bytes == bytes);
	if (channel_type == NVSP_RNDIS_CONTROL) {
		FUZZ_CHECK(header.type == RNDIS_INDICATE_STATUS || header.type & RNDIS_COMPLETION);
		return;
	}
	FUZZ_CHECK(header.type == RNDIS_PACKET && bytes >= sizeof(header) + sizeof(packet));
	read_buffer(at + sizeof(header), &packet, sizeof(packet));
	bytes -= (uint32_t)sizeof(header);
	FUZZ_CHECK(packet.data_bytes && packet.data_offset <= bytes &&
		   packet.data_bytes == bytes - packet.data_offset);
	FUZZ_CHECK(packet.info_offset + packet.info_bytes <= packet.data_offset);
	if (packet.info_bytes >= 16) {
		struct rndis_packet_info info;
		uint32_t value;

		/* Further pieces have their id and nothing else. */
		read_buffer(at + sizeof(header) + packet.info_offset, &info, sizeof(info));
		read_buffer(at + sizeof(header) + packet.info_offset + 12, &value, sizeof(value));
		if (info.type == (uint32_t)RNDIS_INFO_PACKET_ID &&
		    !(value >> 8 & RNDIS_PACKET_ID_FIRST))
			return;
	}
	read_buffer(at + sizeof(header) + packet.data_offset + FUZZ_PORT_NUMBER_OFFSET, &number,
		    sizeof(number));
	FUZZ_CHECK(number > last_number[channel] && number <= fuzz_port_count());
	last_number[channel] = number;
}

/* By the sub-allocation that it begins with. */
static bool *guess(uint32_t channel, uint64_t id)
{
	return &guessed[channel][(uint32_t)id % IDS_MAX];
}

/* A closed channel holds nothing. */
static bool is_held(uint32_t sub)
{
	return subs[sub].holder && bus_is_open(subs[sub].holder - 1u);
}

int vmbus_channel_send_ranges(struct vmbus_channel *channel, uint16_t type, uint64_t id,
			      bool completion, const struct iovec *head, size_t head_count,
			      const struct iovec *iov, size_t iov_count)
{
	struct vmbus_transfer_head first;
	const struct vmbus_transfer_range *ranges;
	struct nvsp_message message = { 0 };
	int err = bus_send(channel);

	if (err)
		return err;
	FUZZ_CHECK(type == VMBUS_PACKET_TRANSFER_PAGES && completion && head_count == 2 && iov_count == 1);
	FUZZ_CHECK(head[0].iov_len == sizeof(first));
	memcpy(&first, head[0].iov_base, sizeof(first));
	FUZZ_CHECK(first.set_id == NVSP_RECEIVE_BUFFER_ID && first.range_count);
	FUZZ_CHECK(head[1].iov_len == first.range_count * sizeof(*ranges));
	FUZZ_CHECK(first.range_count <= NVSP_RECEIVE_RANGES_MAX && gpadls[0].refs);
	ranges = head[1].iov_base;
	FUZZ_CHECK(iov[0].iov_len == 28 || iov[0].iov_len == 40);
	memcpy(&message, iov[0].iov_base, iov[0].iov_len);
	FUZZ_CHECK(message.type == NVSP_SEND_RNDIS_PACKET && id);
	for (uint32_t i = 0; i < first.range_count; i++) {
		uint32_t sub = ranges[i].byte_offset / sub_bytes;

		FUZZ_CHECK(ranges[i].byte_offset % sub_bytes == 0 && sub < sub_count);
		FUZZ_CHECK(ranges[i].byte_count && ranges[i].byte_count <= sub_bytes);
		FUZZ_CHECK(!is_held(sub));
		if (!*guess(channel->index, id))
			subs[sub].holder = (uint8_t)(channel->index + 1);
		subs[sub].id = id;
		if (!dirty)
			check_message(channel->index, ranges[i].byte_offset, ranges[i].byte_count,
				      message.rndis_packet.channel_type);
	}
	return 0;
}

static void sent(struct vmbus_channel *channel, uint16_t type, uint64_t id, const uint8_t *payload,
		 size_t bytes)
{
	struct nvsp_message message = { 0 };

	if (type == VMBUS_PACKET_IN_BAND) {
		FUZZ_CHECK(id == 0 && channel->index == 0 && bytes == 40 + 4 * NVSP_SEND_TABLE_COUNT);
		return;
	}
	FUZZ_CHECK(type == VMBUS_PACKET_COMPLETION && (!bytes || bytes == 28 || bytes == 40));
	FUZZ_CHECK(id < IDS_MAX && unanswered[channel->index][id]);
	unanswered[channel->index][id]--;
	memcpy(&message, payload, bytes);
	if (message.type != NVSP_SEND_RECEIVE_BUFFER_COMPLETE ||
	    message.receive_buffer_complete.status != NVSP_STATUS_SUCCESS)
		return;
	sub_bytes = message.receive_buffer_complete.section.sub_allocation_bytes;
	sub_count = message.receive_buffer_complete.section.sub_allocation_count;
	FUZZ_CHECK(sub_bytes >= 2048 && sub_count && sub_count <= SUBS_MAX);
	FUZZ_CHECK((uint64_t)sub_bytes * sub_count <= gpadls[0].bytes);
}

/* ---- vmbus/host.h, what bus.c has not ---- */

struct partition *vmbus_host_partition(const struct vmbus_host *host)
{
	return &partition;
}

/* Id 1 is the receive buffer, 2 the send buffer, 3 is small, 4 is no guest memory. */
int vmbus_channel_gpadl(struct vmbus_channel *channel, uint32_t gpadl_id, const uint64_t **out_pfns,
			size_t *out_pfn_count, uint32_t *out_byte_offset, uint32_t *out_bytes)
{
	struct gpadl *gpadl;

	FUZZ_CHECK(bus_is_open(channel->index));
	if (!gpadl_id || gpadl_id > GPADLS)
		return -LIS_NOTFOUND;
	gpadl = &gpadls[gpadl_id - 1];
	gpadl->refs++;
	*out_pfns = gpadl->pfns;
	*out_pfn_count = (gpadl->bytes + gpadl->offset + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
	*out_byte_offset = gpadl->offset;
	*out_bytes = gpadl->bytes;
	return 0;
}

void vmbus_channel_gpadl_release(struct vmbus_channel *channel, uint32_t gpadl_id)
{
	FUZZ_CHECK(gpadl_id && gpadl_id <= GPADLS && gpadls[gpadl_id - 1].refs);
	FUZZ_CHECK(!channel->index);
	gpadls[gpadl_id - 1].refs--;
	/* What the guest holds of a buffer that was given back is nobody's. */
	if (gpadl_id == 1)
		memset(subs, 0, sizeof(subs));
}

/* ---- the guest ---- */

struct guest_packet {
	struct vmbus_packet_descriptor descriptor;
	uint64_t words[160];
};

static void guest_sends(struct input *input, uint32_t channel, uint32_t head_words,
			struct guest_packet *packet, const struct nvsp_message *message, uint8_t how)
{
	uint32_t payload_words = how & 1 ? input_u8(input) % 6 : sizeof(*message) / 8;
	uint8_t id = how & 2 ? input_u8(input) : 7;
	bool wants = !(how & 4);

	packet->descriptor = (struct vmbus_packet_descriptor){
		.type = head_words ? VMBUS_PACKET_GPA_DIRECT : VMBUS_PACKET_IN_BAND,
		.data_offset8 = (uint16_t)(2 + head_words),
		.length8 = (uint16_t)(2 + head_words + payload_words),
		.flags = wants, .id = id,
	};
	memcpy(packet->words + head_words, message, sizeof(*message));
	if (bus_guest_sends(channel, packet, 8 * packet->descriptor.length8) && wants)
		unanswered[channel][id]++;
}

static void guest_says(struct input *input, uint32_t channel, uint32_t type, uint8_t how)
{
	struct nvsp_message message = { .type = type };
	struct guest_packet packet;

	if (type == NVSP_INIT) {
		static const uint32_t versions[] = {
#define LIST(version) version,
			NVSP_VERSIONS(LIST)
#undef LIST
			0, 7,
		};

		message.init.version_min = message.init.version_max = versions[how >> 5];
	} else if (type == NVSP_SEND_NDIS_CONFIG) {
		message.ndis_config.mtu_bytes = input_u16(input);
		message.ndis_config.capabilities = how & 8 ? 0 : 0xff;
	} else if (type == NVSP_SEND_RECEIVE_BUFFER) {
		message.buffer.gpadl_id = 1;
	} else if (type == NVSP_SEND_SEND_BUFFER) {
		message.buffer.gpadl_id = 2 + (how >> 5) % 4;
	} else if (type == NVSP_SUB_CHANNEL) {
		message.sub_channel_request =
			(struct nvsp_sub_channel_request){ NVSP_SUB_CHANNEL_ALLOCATE, how >> 4 };
	} else if (type == NVSP_SEND_NDIS_VERSION) {
		message.ndis_version = (struct nvsp_ndis_version){ 6, how };
	}
	if (how & 16 && how & 1)
		input_copy(input, message.payload, 12);
	/* The oracle looks after one receive buffer, and has to hear how it is cut up. */
	if (message.type == NVSP_SEND_RECEIVE_BUFFER) {
		message.buffer.gpadl_id = message.buffer.gpadl_id % 8 < 7 ? 1 : 4;
		how &= (uint8_t)~4;
	} else if (message.type == NVSP_SEND_SEND_BUFFER && message.buffer.gpadl_id == 1) {
		message.buffer.gpadl_id = 2;
	}
	guest_sends(input, channel, 0, &packet, &message, how & 7);
}

static void guest_sets_up(struct input *input, uint32_t channel)
{
	static const uint8_t types[] = {
		NVSP_INIT, NVSP_SEND_NDIS_CONFIG, NVSP_SEND_NDIS_VERSION, NVSP_SEND_RECEIVE_BUFFER,
		NVSP_SEND_SEND_BUFFER, NVSP_REVOKE_RECEIVE_BUFFER, NVSP_REVOKE_SEND_BUFFER,
		NVSP_SUB_CHANNEL, NVSP_SWITCH_DATA_PATH, NVSP_OID_QUERY_EX,
	};
	uint8_t what = input_u8(input);

	guest_says(input, channel, what < 0xf0 ? types[what % sizeof(types)] : input_u8(input),
		   input_u8(input));
}

/* A message of control in a page of its own. */
static void guest_asks(struct input *input, uint32_t channel, uint32_t type, uint32_t oid,
		       const void *info, uint32_t info_bytes, uint8_t how)
{
	uint8_t *page = memory + DATA_PAGE * HV_PAGE_BYTES;
	struct rndis_header header = { type, 28 + info_bytes };
	struct rndis_request body = { 5, oid, info_bytes, 20, 0 };
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_CONTROL, NVSP_SECTION_NONE, 0 },
	};
	struct guest_packet packet;

	if (how & 8)
		header.bytes = input_u8(input);
	if (how & 16) {
		body.info_bytes = input_u32(input);
		body.info_offset = input_u8(input);
	}
	if (type == RNDIS_INITIALIZE)
		body.oid = RNDIS_MAJOR_VERSION;
	memcpy(page, &header, sizeof(header));
	memcpy(page + sizeof(header), &body, sizeof(body));
	if (info_bytes)
		memcpy(page + sizeof(header) + sizeof(body), info, info_bytes);
	packet.words[0] = 1ull << 32;
	packet.words[1] = how & 32 ? input_u16(input) : 28 + info_bytes;
	packet.words[2] = DATA_PAGE;
	if (!(packet.words[1] & UINT32_MAX) || packet.words[1] > HV_PAGE_BYTES)
		packet.words[1] = 28;
	guest_sends(input, channel, 3, &packet, &message, how & 7);
	/* It is read in the next turn: before another takes the page. */
	bus_turn();
}

static void guest_sets_rss(struct input *input, uint8_t how)
{
	struct {
		struct ndis_rss_parameters head;
		uint32_t table[8];
		uint8_t key[40];
	} rss = { .head = {
		.flags = how & 64 ? input_u8(input) : 0,
		.hash_info = NDIS_HASH_TOEPLITZ | input_u16(input) << 8,
		.table_bytes = sizeof(rss.table), .table_offset = offsetof(__typeof__(rss), table),
		.key_bytes = sizeof(rss.key), .key_offset = offsetof(__typeof__(rss), key),
	} };

	for (uint32_t i = 0; i < 8; i++)
		rss.table[i] = input_u8(input) % (how & 32 ? 256 : BUS_CHANNELS);
	memset(rss.key, 0x5c, sizeof(rss.key));
	if (how & 128) {
		rss.head.table_offset = input_u16(input);
		rss.head.key_offset = input_u32(input);
		rss.head.table_bytes = input_u16(input);
	}
	guest_asks(input, 0, RNDIS_SET, OID_GEN_RECEIVE_SCALE_PARAMETERS, &rss, sizeof(rss), how & 31);
}

/* "NetworkAddress", and what the input has for one. */
static void guest_sets_address(struct input *input, uint8_t how)
{
	static const char name[] = "NetworkAddress";
	struct {
		uint32_t name_offset, name_bytes, type, value_offset, value_bytes;
		uint8_t name[28], value[24];
	} parameter = { 20, 28, how & 64 ? 0 : 2, 48, 24, { 0 }, { 0 } };

	for (uint32_t i = 0; i < 14; i++)
		parameter.name[2 * i] = (uint8_t)name[i];
	for (uint32_t i = 0; i < 12; i++)
		parameter.value[2 * i] = how & 128 ? input_u8(input) : '0' + (how + i) % 10;
	guest_asks(input, 0, RNDIS_SET, OID_GEN_RNDIS_CONFIG_PARAMETER, &parameter, sizeof(parameter),
		   how & 31);
}

static void guest_controls(struct input *input, uint32_t channel)
{
	static const uint8_t types[] = { RNDIS_QUERY, RNDIS_SET, RNDIS_INITIALIZE, RNDIS_KEEP_ALIVE,
					 RNDIS_RESET, RNDIS_HALT, RNDIS_PACKET, RNDIS_SET };
	static const uint32_t oids[] = {
		OID_GEN_CURRENT_PACKET_FILTER, OID_TCP_OFFLOAD_PARAMETERS,
		OID_GEN_RECEIVE_SCALE_PARAMETERS, OID_GEN_RNDIS_CONFIG_PARAMETER,
		OID_GEN_SUPPORTED_LIST, OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, OID_GEN_LINK_STATE,
		OID_GEN_MEDIA_CONNECT_STATUS, OID_GEN_FRIENDLY_NAME, OID_GEN_RECEIVE_SCALE_CAPABILITIES,
		OID_OFFLOAD_ENCAPSULATION, OID_TCP_OFFLOAD_CURRENT_CONFIG, OID_802_3_MULTICAST_LIST,
		OID_802_3_CURRENT_ADDRESS, OID_GEN_XMIT_OK, OID_GEN_BYTES_RCV,
	};
	uint8_t what = input_u8(input), how = input_u8(input), info[256];
	uint32_t bytes = input_u8(input) % 64;

	if (what >= 0xfe) {
		what & 1 ? guest_sets_rss(input, how) : guest_sets_address(input, how);
		return;
	}
	input_copy(input, info, bytes);
	guest_asks(input, channel, types[what & 7], how & 64 ? input_u32(input) : oids[what >> 4], info,
		   bytes, how & 63);
}

static void guest_opens(uint32_t channel)
{
	if (!bus_open(channel))
		return;
	memset(unanswered[channel], 0, sizeof(unanswered[channel]));
	memset(guessed[channel], 0, sizeof(guessed[channel]));
	for (uint32_t i = 0; i < SUBS_MAX; i++) {
		if (subs[i].holder == channel + 1)
			subs[i].holder = 0;
	}
}

static void guest_is_set_up(struct input *input, uint8_t how)
{
	struct ndis_offload_parameters offloads = {
		.ipv4_checksum = 4, .tcp_ipv4_checksum = 4, .udp_ipv4_checksum = 4,
		.tcp_ipv6_checksum = 4, .udp_ipv6_checksum = 4, .lso_v2_ipv4 = 2, .lso_v2_ipv6 = 2,
		.rsc_ipv4 = 2, .rsc_ipv6 = 2,
	};
	uint32_t filter = NDIS_FILTER_PROMISCUOUS;
	struct input none = { NULL, 0 };

	guest_says(&none, 0, NVSP_INIT, how & 0x60);
	guest_says(&none, 0, NVSP_SEND_NDIS_VERSION, 30 & ~7);
	guest_says(input, 0, NVSP_SEND_NDIS_CONFIG, 0);
	guest_says(&none, 0, NVSP_SEND_RECEIVE_BUFFER, 0);
	guest_says(&none, 0, NVSP_SEND_SEND_BUFFER, 0);
	bus_turn();
	guest_asks(&none, 0, RNDIS_INITIALIZE, 0, NULL, 0, 0);
	guest_asks(&none, 0, RNDIS_SET, OID_TCP_OFFLOAD_PARAMETERS, &offloads, sizeof(offloads), 0);
	guest_asks(&none, 0, RNDIS_SET, OID_GEN_CURRENT_PACKET_FILTER, &filter, sizeof(filter), 0);
	if (how & 0x80) {
		guest_says(&none, 0, NVSP_SUB_CHANNEL, 2 << 4);
		bus_turn();
		for (uint32_t i = 1; i < BUS_CHANNELS; i++)
			guest_opens(i);
	}
}

/* One frame's message. */
static uint32_t put_message(struct input *input, uint8_t *to)
{
	uint8_t how = input_u8(input), kind = input_u8(input);
	uint32_t data_bytes = how & 1 ? input_u16(input) % 16000 : 60u + (how >> 1 & 63), at = 44;
	struct rndis_header header = { RNDIS_PACKET, 0 };
	struct rndis_packet packet = { .data_bytes = data_bytes, .info_offset = 36 };

	for (uint32_t i = kind & 3; i; i--) {
		uint8_t which = input_u8(input);
		struct rndis_packet_info info = { 16, which & 15, 12 };
		uint32_t value = input_u32(input);

		if (which & 0x40)
			info = (struct rndis_packet_info){ input_u8(input), which & 15, input_u8(input) };
		if (which & 0x20) /* TCP's place is near the frame's end */
			value &= ~(0x380u << RNDIS_TX_HEADER_OFFSET_SHIFT);
		memcpy(to + at, &info, sizeof(info));
		memcpy(to + at + sizeof(info), &value, sizeof(value));
		at += 16;
	}
	packet.info_bytes = at - 44;
	packet.data_offset = at - 8;
	header.bytes = (at + data_bytes + 7) & ~7u;
	if (how & 0x80) {
		uint8_t lie = input_u8(input);
		uint32_t *fields[] = { &header.bytes, &packet.data_offset, &packet.data_bytes,
				       &packet.info_offset, &packet.info_bytes, &header.type };

		if (lie & 0x80)
			*fields[lie % 6] += (uint32_t)(int8_t)input_u8(input);
		else
			*fields[lie % 6] = input_u32(input);
	}
	memset(to + at, 0, data_bytes + 8);
	memcpy(to + at, (const uint8_t[]){ 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45 }, 15);
	if (kind & 4) { /* IPv6 */
		memcpy(to + at + 12, (const uint8_t[]){ 0x86, 0xdd, 0x60 }, 3);
		to[at + 20] = kind & 8 ? 17 : 6;
		to[at + 66] = 0x50;
	} else {
		to[at + 23] = kind & 8 ? 17 : 6;
		to[at + 46] = 0x50;
	}
	if (kind & 16)
		input_copy(input, to + at + (kind >> 5) * 8, 16);
	memcpy(to, &header, sizeof(header));
	memcpy(to + sizeof(header), &packet, sizeof(packet));
	return (at + data_bytes + 7) & ~7u;
}

/* Messages in a section, in ranges, or in both. */
static void guest_transmits(struct input *input, uint32_t channel)
{
	static uint8_t message[8 * 16384];
	uint8_t how = input_u8(input), place = input_u8(input);
	uint32_t bytes = 0, section = place & 7, in_section, head_words = 0;
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_DATA, section, 0 },
	};
	struct guest_packet packet;

	for (uint32_t count = 1 + (how >> 6); count; count--)
		bytes += put_message(input, message + bytes);
	in_section = place & 8 ? 0 : place & 16 ? 1 + (place >> 5) * 37u : bytes;
	in_section = in_section > 6144 ? 6144 : in_section > bytes ? bytes : in_section;
	nvsp.rndis_packet.send_section_bytes = in_section;
	if (!in_section)
		nvsp.rndis_packet.send_section_index = NVSP_SECTION_NONE;
	else if (section * 6144 + in_section <= gpadls[1].bytes)
		memcpy(hva_of(&gpadls[1], section * 6144), message, in_section);
	if (bytes > in_section) {
		uint32_t left = bytes - in_section, offset = how & 32 ? place : 0, pages;

		left = left > 19 * HV_PAGE_BYTES ? 19 * HV_PAGE_BYTES : left;
		memcpy(memory + (DATA_PAGE + 1) * HV_PAGE_BYTES + offset, message + in_section, left);
		pages = (offset + left + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
		packet.words[head_words++] = 1ull << 32;
		packet.words[head_words++] = (uint64_t)offset << 32 | left;
		for (uint32_t i = 0; i < pages; i++)
			packet.words[head_words++] = DATA_PAGE + 1 + i;
		if (how & 16)
			packet.words[head_words - 1] = input_u64(input);
	}
	if (how & 8) {
		nvsp.rndis_packet.send_section_index = input_u32(input);
		nvsp.rndis_packet.send_section_bytes = input_u32(input);
	}
	guest_sends(input, channel, head_words, &packet, &nvsp, how & 7);
	bus_turn();
}

static void guest_completes(struct input *input, uint32_t channel)
{
	uint8_t which = input_u8(input);
	struct vmbus_packet_descriptor packet = { VMBUS_PACKET_COMPLETION, 2, 2, 0, 0 };

	bus_turn();
	if (which >= 0xf8) {
		/* Of the first two buffers, or of none. */
		packet.id = input_u8(input) | (uint64_t)(which % 3) << 32;
	} else {
		for (uint32_t i = 0; i < sub_count && !packet.id; i++) {
			uint32_t sub = (i + which) % sub_count;

			if (subs[sub].holder == channel + 1)
				packet.id = subs[sub].id;
		}
	}
	if (!packet.id && which < 0xf8)
		return;
	if (!bus_guest_sends(channel, &packet, sizeof(packet)))
		return;
	*guess(channel, packet.id) = true;
	for (uint32_t i = 0; i < SUBS_MAX; i++) {
		if (subs[i].holder == channel + 1 && subs[i].id == packet.id) {
			subs[i].holder = 0;
			*guess(channel, packet.id) = ring_full;
		}
	}
	guessed_any |= *guess(channel, packet.id);
	bus_turn();
}

static void guest_writes(struct input *input)
{
	uint32_t at = input_u16(input) * 6u % (sizeof(memory) - 16);

	input_copy(input, memory + at, 16);
	dirty = true;
}

static void guest_sends_anything(struct input *input, uint32_t channel)
{
	struct guest_packet packet;
	uint32_t words = input_u8(input) % 20, type;

	input_copy(input, &packet, 16 + 8 * words);
	packet.descriptor.length8 = (uint16_t)(2 + words);
	packet.descriptor.id %= IDS_MAX;
	if (packet.descriptor.type == VMBUS_PACKET_COMPLETION || packet.descriptor.data_offset8 < 2 ||
	    packet.descriptor.data_offset8 > words + 1)
		return;
	memcpy(&type, packet.words + packet.descriptor.data_offset8 - 2, sizeof(type));
	if (type == NVSP_SEND_RECEIVE_BUFFER || type == NVSP_SEND_SEND_BUFFER)
		return;
	if (bus_guest_sends(channel, &packet, 16 + 8 * words) &&
	    packet.descriptor.flags & VMBUS_PACKET_FLAG_COMPLETION)
		unanswered[channel][packet.descriptor.id]++;
}

static void host_does(uint8_t what)
{
	static const int errors[] = { 0, -LIS_FULL, -LIS_IO, -LIS_INVALID };

	switch (what % 4) {
	case 0:
		ring_full = what >> 3 & 1;
		bus_fill(ring_full);
		break;
	case 1:
		netvsp_set_link(netvsp, what >> 3 & 1);
		break;
	case 2:
		fuzz_port_fails(errors[what >> 3 & 3], what >> 5 & 1 ? -LIS_IO : 0);
		break;
	default:
		fuzz_port_link(what >> 3 & 1);
	}
}

/* ---- life ---- */

static void is_gone(struct io_call *call)
{
	gone = true;
}

static void begin(uint8_t abilities, uint8_t shape)
{
	struct netvsp_config config = {
		.name = "fuzz", .mac = { 2, 0, 0, 0, 0, 1 }, .channels_max = BUS_CHANNELS,
		.bus_loop = bus_loop(), .loop = bus_loop(),
		.port = fuzz_port_begin(abilities, shape & 1 ? 65521 : 1500),
	};

	bus_begin(sent);
	partition = (struct partition){ .vp_count = 1, .slot_count = 1 };
	partition.slots[0] = (struct partition_slot){ GPA(0), sizeof(memory), memory, -1, 0 };
	memset(unanswered, 0, sizeof(unanswered));
	memset(subs, 0, sizeof(subs));
	memset(guessed, 0, sizeof(guessed));
	memset(gpadls, 0, sizeof(gpadls));
	memset(last_number, 0, sizeof(last_number));
	sub_bytes = sub_count = 0;
	gone = dirty = guessed_any = ring_full = false;
	gpadls[0].bytes = (shape & 2 ? 50u : 6u) * HV_PAGE_BYTES;
	gpadls[1].bytes = 8 * HV_PAGE_BYTES;
	gpadls[2].bytes = 2047;
	gpadls[3].bytes = 2 * HV_PAGE_BYTES;
	for (uint32_t i = 0; i < 4; i++)
		gpadls[i].offset = shape & 4 ? shape : 0;
	for (uint32_t i = 0; i < 52; i++)
		gpadls[0].pfns[i] = RECEIVE_PAGE + (shape & 8 ? i ^ 1 : i);
	for (uint32_t i = 0; i < 9; i++)
		gpadls[1].pfns[i] = SEND_PAGE + i;
	gpadls[3].pfns[1] = GUEST_PAGES;
	FUZZ_CHECK(!netvsp_create(bus_host(), &config, &netvsp));
}

/* When all has settled and there is room, everybody who asked has an answer. */
static void check_answers(void)
{
	ring_full = false;
	bus_fill(false);
	bus_turn();
	for (uint32_t channel = 0; channel < BUS_CHANNELS; channel++) {
		for (uint32_t id = 0; id < IDS_MAX && bus_is_open(channel); id++)
			FUZZ_CHECK(!unanswered[channel][id]);
	}
}

static uint32_t held_count(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sub_count; i++)
		count += is_held(i);
	return count;
}

static void give_all_back(void)
{
	for (uint32_t rounds = 0; rounds < 2 * SUBS_MAX && held_count(); rounds++) {
		static const uint8_t first[] = { 0 };

		for (uint32_t channel = 0; channel < BUS_CHANNELS; channel++) {
			struct input any = { first, sizeof(first) };

			guest_completes(&any, channel);
		}
	}
}

/* No channel gets more sub-allocations than this. */
static uint32_t share_of_channel(void)
{
	uint32_t open = 0;

	for (uint32_t channel = 0; channel < BUS_CHANNELS; channel++)
		open += bus_is_open(channel);
	return open ? sub_count / open : sub_count;
}

/* No sub-allocation is lost: when the guest has given all back, as many frames come as there is room for. */
static void check_subs(void)
{
	uint32_t filter = NDIS_FILTER_PROMISCUOUS, frames = 0, room;
	static const uint8_t nothing[1];
	struct input none = { nothing, 0 };

	if (!bus_is_open(0) || !gpadls[0].refs || sub_count < 3 || guessed_any)
		return;
	fuzz_port_fails(0, 0);
	/* With the cable out nothing comes. */
	netvsp_set_link(netvsp, true);
	give_all_back();
	guest_asks(&none, 0, RNDIS_INITIALIZE, 0, NULL, 0, 0);
	guest_asks(&none, 0, RNDIS_SET, OID_GEN_CURRENT_PACKET_FILTER, &filter, sizeof(filter), 0);
	give_all_back();
	FUZZ_CHECK(!held_count() || !bus_is_open(0));
	room = sub_count - 1;
	if (sub_count >= NET_FRAME_BYTES_MAX / (sub_bytes - 112) + 1)
		room = sub_count - NET_FRAME_BYTES_MAX / (sub_bytes - 112) - 1;
	if (room > share_of_channel())
		room = share_of_channel();
	for (; frames < 60; frames++)
		fuzz_port_comes(&none);
	bus_turn();
	FUZZ_CHECK(held_count() >= (room < frames ? room : frames) || !bus_is_open(0));
}

static void end(void)
{
	struct io_call call = { .fn = is_gone };

	check_answers();
	check_subs();
	netvsp_destroy(netvsp, &call);
	for (uint32_t i = 0; i < 100 && !gone; i++)
		bus_turn();
	FUZZ_CHECK(gone);
	fuzz_port_end();
	bus_end();
	for (uint32_t i = 0; i < GPADLS; i++)
		FUZZ_CHECK(!gpadls[i].refs);
}

static void step(struct input *input)
{
	uint8_t what = input_u8(input);
	uint32_t channel = (what >> 4) % BUS_CHANNELS;

	switch (what & 15) {
	case 0:
		guest_sets_up(input, channel);
		break;
	case 1: case 2:
		guest_controls(input, channel);
		break;
	case 3: case 4: case 5:
		guest_transmits(input, channel);
		break;
	case 6: case 7:
		guest_completes(input, channel);
		break;
	case 8: case 9: case 10:
		fuzz_port_comes(input);
		break;
	case 11:
		guest_opens(channel);
		break;
	case 12:
		if (what >= 0xe0)
			guest_writes(input);
		else if (what >= 0xc0)
			bus_close(channel);
		else if (what >= 0xa0)
			guest_sends_anything(input, channel);
		break;
	case 13:
		guest_is_set_up(input, what & 0xe0);
		break;
	case 14:
		bus_turn();
		break;
	default:
		host_does(input_u8(input));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t abilities = input_u8(&input), shape = input_u8(&input);

	begin(abilities, shape);
	bus_open(0);
	if (shape & 0x10)
		guest_is_set_up(&input, shape & 0xe0);
	while (input.bytes)
		step(&input);
	end();
	return 0;
}
