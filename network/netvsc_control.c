// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of the network: requests of control, which are RNDIS messages in a page of the port's
 * and a few messages of NVSP; and what the host says by itself of the card.
 *
 * Invariants. One request is under way at a time (control.busy). One in RNDIS is over when its answer
 * is there and the host has let go of the page, in whatever order. One that is late is over, too, but
 * the page stays in use until the host lets go of it, and nothing is written to it before. Each
 * request has an id of its own, so a late answer finds nothing.
 *
 * All of it belongs to the sending unit of the primary channel.
 */
#include "network/netvsc_private.h"

/* What the guest says it takes in one go; hosts do not care. Source: [linux 7.3 rndis_filter.c] */
#define TRANSFER_BYTES 0x4000u

static uint32_t over(struct netvsc *netvsc, int error, uint64_t now_ns)
{
	struct netvsc_control *control = &netvsc->control;

	control->busy = false;
	control->error = error;
	if (control->sets_coalescing && !error)
		netvsc->coalescing = control->coalesce;
	if (!control->kind && error)
		netvsc->sub_channels = 0;
	if (netvsc->state != NETVSC_READY && netvsc->state != NETVSC_HALTED)
		return netvsc_setup_control_over(netvsc, now_ns);
	return NETVSC_EVENT_CONTROL;
}

/* ---- requests ---- */

static int may_begin(const struct netvsc *netvsc)
{
	if (netvsc->state != NETVSC_READY)
		return -LIS_GONE;
	return 0;
}

static void begun(struct netvsc *netvsc, uint32_t kind, bool wants_answer, uint64_t now_ns)
{
	struct netvsc_control *control = &netvsc->control;
	uint64_t timeout_ns = netvsc->config.control_timeout_ns;

	control->busy = true;
	control->answered = false;
	control->sets_coalescing = false;
	control->wants_answer = wants_answer;
	control->kind = (uint8_t)kind;
	control->error = 0;
	control->status = 0;
	control->bytes = 0;
	control->nvsp_id = 0;
	control->deadline_ns = timeout_ns ? now_ns + timeout_ns : 0;
}

/* Takes a slot and room on the primary. Returns 0, -LIS_AGAIN, -LIS_CORRUPT. */
static int begin_packet(struct netvsc *netvsc, enum netvsc_flight_kind kind, size_t head_bytes,
			void **out_body, uint64_t *out_id)
{
	struct netvsc_flight flight = {
		.kind = (uint8_t)kind, .section = NVSP_SECTION_NONE, .head = NETVSC_HEAD_NONE,
	};
	struct netvsc_channel *primary = netvsc->channels[0];
	uint16_t type = head_bytes ? VMBUS_PACKET_GPA_DIRECT : VMBUS_PACKET_IN_BAND;
	int error = netvsc_begin_packet(primary, &flight, type, head_bytes, out_body, out_id);

	if (error == -LIS_FULL)
		return netvsc_no_room(primary);
	return error ? -LIS_CORRUPT : 0;
}

int netvsc_control_nvsp(struct netvsc *netvsc, const struct nvsp_message *message, uint64_t now_ns)
{
	uint64_t id;
	void *body;
	int error;

	if (netvsc->control.busy)
		return -LIS_BUSY;
	error = begin_packet(netvsc, NETVSC_FLIGHT_NVSP, 0, &body, &id);
	if (error)
		return error;
	memcpy(body, message, netvsc->nvsp_bytes);
	vmbus_ring_commit(netvsc->channels[0]->to_host);
	begun(netvsc, 0, true, now_ns);
	netvsc->control.nvsp_id = id;
	return 0;
}

/* Pieces of a message behind RNDIS' header. */
struct part {
	const void *data;
	uint32_t bytes;
};

/* The page is the host's to read: it is written, never read. */
static void write_page(struct netvsc *netvsc, const struct rndis_header *header,
		       const struct part *parts, uint32_t part_count)
{
	uint8_t *at = netvsc->config.control_page;

	memcpy(at, header, sizeof(*header));
	at += sizeof(*header);
	for (uint32_t i = 0; i < part_count; i++) {
		if (parts[i].bytes)
			memcpy(at, parts[i].data, parts[i].bytes);
		at += parts[i].bytes;
	}
}

/* The first part begins with the request's id. */
static int send_rndis(struct netvsc *netvsc, uint32_t type, const struct part *parts,
		      uint32_t part_count, uint64_t now_ns)
{
	struct rndis_header header = { type, sizeof(header) };
	struct {
		struct vmbus_gpa_direct_head head;
		struct vmbus_gpa_range range;
		uint64_t pfn;
	} ranges = { .head.range_count = 1, .pfn = netvsc->config.control_pfn };
	const struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_CONTROL, NVSP_SECTION_NONE, 0 },
	};
	uint64_t id;
	void *body;
	int error;

	for (uint32_t i = 0; i < part_count; i++)
		header.bytes += parts[i].bytes;
	if (header.bytes > HV_PAGE_BYTES)
		return -LIS_INVALID;
	error = begin_packet(netvsc, NETVSC_FLIGHT_CONTROL, sizeof(ranges), &body, &id);
	if (error)
		return error;
	write_page(netvsc, &header, parts, part_count);
	ranges.range = (struct vmbus_gpa_range){ header.bytes, 0 };
	memcpy(body, &ranges, sizeof(ranges));
	memcpy((uint8_t *)body + sizeof(ranges), &message, netvsc->nvsp_bytes);
	vmbus_ring_commit(netvsc->channels[0]->to_host);
	begun(netvsc, type, type != RNDIS_HALT, now_ns);
	netvsc->control.page_in_use = true;
	netvsc->control.request_id = netvsc->last_request_id;
	return 0;
}

/* An id that no answer can name yet. */
static uint32_t next_id(struct netvsc *netvsc)
{
	if (!++netvsc->last_request_id)
		netvsc->last_request_id = 1;
	return netvsc->last_request_id;
}

static bool busy(const struct netvsc *netvsc)
{
	return netvsc->control.busy || netvsc->control.page_in_use;
}

int netvsc_control_initialize(struct netvsc *netvsc, uint64_t now_ns)
{
	struct rndis_initialize wish = {
		.major = RNDIS_MAJOR_VERSION,
		.minor = RNDIS_MINOR_VERSION,
		.transfer_bytes_max = TRANSFER_BYTES,
	};
	struct part part = { &wish, sizeof(wish) };

	if (busy(netvsc))
		return -LIS_BUSY;
	wish.request_id = next_id(netvsc);
	return send_rndis(netvsc, RNDIS_INITIALIZE, &part, 1, now_ns);
}

/* QUERY or SET, with up to 3 pieces of what goes with it. */
static int send_request(struct netvsc *netvsc, uint32_t type, uint32_t oid,
			const struct part *info, uint32_t info_count, uint64_t now_ns)
{
	struct rndis_request request = { .oid = oid, .info_offset = sizeof(request) };
	struct part parts[4] = { { &request, sizeof(request) } };

	if (busy(netvsc))
		return -LIS_BUSY;
	for (uint32_t i = 0; i < info_count; i++) {
		parts[1 + i] = info[i];
		request.info_bytes += info[i].bytes;
	}
	request.request_id = next_id(netvsc);
	return send_rndis(netvsc, type, parts, 1 + info_count, now_ns);
}

/*
 * Some questions go with the object that is to be filled in. Source: [linux 7.3 rndis_filter.c
 * rndis_filter_query_device] which, and how long these are.
 */
int netvsc_control_query(struct netvsc *netvsc, uint32_t oid, uint64_t now_ns)
{
	struct ndis_offload offload = {
		.object = { NDIS_OBJECT_OFFLOAD, 3, NDIS_OFFLOAD_BYTES_3 },
	};
	struct ndis_rss_capabilities rss = {
		.object = { NDIS_OBJECT_RSS_CAPABILITIES, 2, NDIS_RSS_CAPABILITIES_BYTES },
	};
	struct part info = { NULL, 0 };

	if (netvsc->version < NVSP_VERSION_4) {
		offload.object.revision = 1;
		offload.object.bytes = NDIS_OFFLOAD_BYTES_1;
	} else if (netvsc->version < NVSP_VERSION_5) {
		offload.object.revision = 2;
		offload.object.bytes = NDIS_OFFLOAD_BYTES_2;
	}
	if (oid == OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES)
		info = (struct part){ &offload, offload.object.bytes };
	else if (oid == OID_GEN_RECEIVE_SCALE_CAPABILITIES)
		info = (struct part){ &rss, NDIS_RSS_CAPABILITIES_BYTES };
	return send_request(netvsc, RNDIS_QUERY, oid, &info, info.bytes ? 1 : 0, now_ns);
}

static uint8_t checksum_wish(bool wanted)
{
	return wanted ? NDIS_OFFLOAD_TX_RX : NDIS_OFFLOAD_DISABLED;
}

static uint8_t switch_wish(bool wanted)
{
	return wanted ? NDIS_OFFLOAD_ENABLED : NDIS_OFFLOAD_DISABLED;
}

int netvsc_control_offloads(struct netvsc *netvsc, bool all, bool coalesce, uint64_t now_ns)
{
	const struct netvsc_offloads *can = &netvsc->offloads;
	struct ndis_offload_parameters wish = {
		.object = { NDIS_OBJECT_DEFAULT, 3, sizeof(wish) },
	};
	struct part info = { &wish, sizeof(wish) };

	if (all) {
		/* A system checks IP headers itself, and is quicker with it. */
		wish.ipv4_checksum = NDIS_OFFLOAD_DISABLED;
		wish.tcp_ipv4_checksum = checksum_wish(can->tcp_ipv4);
		wish.udp_ipv4_checksum = checksum_wish(can->udp_ipv4);
		wish.tcp_ipv6_checksum = checksum_wish(can->tcp_ipv6);
		wish.udp_ipv6_checksum = checksum_wish(can->udp_ipv6);
		wish.lso_v2_ipv4 = switch_wish(can->segments_ipv4_bytes);
		wish.lso_v2_ipv6 = switch_wish(can->segments_ipv6_bytes);
	}
	if (can->coalesce_ipv4)
		wish.rsc_ipv4 = switch_wish(coalesce);
	if (can->coalesce_ipv6)
		wish.rsc_ipv6 = switch_wish(coalesce);
	if (netvsc->version < NVSP_VERSION_5) {
		wish.object.bytes = NDIS_OFFLOAD_PARAMETERS_BYTES_MIN;
		info.bytes = NDIS_OFFLOAD_PARAMETERS_BYTES_MIN;
		wish.udp_ipv4_checksum = NDIS_OFFLOAD_NO_CHANGE;
		wish.udp_ipv6_checksum = NDIS_OFFLOAD_NO_CHANGE;
	}
	return send_request(netvsc, RNDIS_SET, OID_TCP_OFFLOAD_PARAMETERS, &info, 1, now_ns);
}

int netvsc_query(struct netvsc *netvsc, uint32_t oid, uint64_t now_ns)
{
	int error = may_begin(netvsc);

	return error ? error : netvsc_control_query(netvsc, oid, now_ns);
}

int netvsc_set_filter(struct netvsc *netvsc, uint32_t filter, uint64_t now_ns)
{
	struct part info = { &filter, sizeof(filter) };
	int error = may_begin(netvsc);

	if (error)
		return error;
	return send_request(netvsc, RNDIS_SET, OID_GEN_CURRENT_PACKET_FILTER, &info, 1, now_ns);
}

int netvsc_set_coalescing(struct netvsc *netvsc, bool coalesce, uint64_t now_ns)
{
	int error = may_begin(netvsc);

	if (error)
		return error;
	if (!netvsc->offloads.coalesce_ipv4 && !netvsc->offloads.coalesce_ipv6)
		return -LIS_INVALID;
	error = netvsc_control_offloads(netvsc, false, coalesce, now_ns);
	if (!error) {
		netvsc->control.sets_coalescing = true;
		netvsc->control.coalesce = coalesce;
	}
	return error;
}

#define ADDRESS_NAME "NetworkAddress"
#define ADDRESS_NAME_CHARS (sizeof(ADDRESS_NAME) - 1)

/* ASCII to UTF-16. */
static void widen(const char *text, uint32_t chars, uint8_t *out)
{
	for (uint32_t i = 0; i < chars; i++) {
		out[2 * i] = (uint8_t)text[i];
		out[2 * i + 1] = 0;
	}
}

int netvsc_set_mac(struct netvsc *netvsc, const uint8_t mac[NETVSC_MAC_BYTES], uint64_t now_ns)
{
	static const char digits[] = "0123456789abcdef";
	struct {
		struct rndis_config_parameter parameter;
		uint8_t name[2 * ADDRESS_NAME_CHARS];
		uint8_t value[4 * NETVSC_MAC_BYTES];
	} wish = {
		.parameter = {
			.name_offset = offsetof(__typeof__(wish), name),
			.name_bytes = sizeof(wish.name),
			.type = RNDIS_CONFIG_STRING,
			.value_offset = offsetof(__typeof__(wish), value),
			.value_bytes = sizeof(wish.value),
		},
	};
	struct part info = { &wish, sizeof(wish) };
	char text[2 * NETVSC_MAC_BYTES];
	int error = may_begin(netvsc);

	if (error)
		return error;
	for (uint32_t i = 0; i < NETVSC_MAC_BYTES; i++) {
		text[2 * i] = digits[mac[i] >> 4];
		text[2 * i + 1] = digits[mac[i] & 15];
	}
	widen(ADDRESS_NAME, ADDRESS_NAME_CHARS, wish.name);
	widen(text, sizeof(text), wish.value);
	return send_request(netvsc, RNDIS_SET, OID_GEN_RNDIS_CONFIG_PARAMETER, &info, 1, now_ns);
}

static bool rss_possible(const struct netvsc *netvsc, const struct netvsc_rss *rss)
{
	if (!rss->table_count || rss->table_count > NDIS_RSS_TABLE_COUNT)
		return false;
	for (uint32_t i = 0; i < rss->table_count; i++)
		if (rss->table[i] >= NETVSC_CHANNELS_MAX || !netvsc->channels[rss->table[i]])
			return false;
	return true;
}

int netvsc_set_rss(struct netvsc *netvsc, const struct netvsc_rss *rss, uint64_t now_ns)
{
	struct ndis_rss_parameters wish = {
		.object = { NDIS_OBJECT_RSS_PARAMETERS, 2, sizeof(wish) },
		.flags = rss->enabled ? 0 : NDIS_RSS_DISABLE,
		.hash_info = NDIS_HASH_TOEPLITZ | rss->hash_types,
		.table_bytes = (uint16_t)(4 * rss->table_count),
		.table_offset = sizeof(wish),
		.key_bytes = NDIS_RSS_KEY_BYTES,
		.key_offset = (uint32_t)sizeof(wish) + 4u * rss->table_count,
	};
	uint32_t table[NDIS_RSS_TABLE_COUNT];
	struct part info[] = {
		{ &wish, sizeof(wish) },
		{ table, wish.table_bytes },
		{ rss->key, NDIS_RSS_KEY_BYTES },
	};
	int error = may_begin(netvsc);

	if (error)
		return error;
	if (!rss_possible(netvsc, rss))
		return -LIS_INVALID;
	for (uint32_t i = 0; i < rss->table_count; i++)
		table[i] = rss->table[i];
	return send_request(netvsc, RNDIS_SET, OID_GEN_RECEIVE_SCALE_PARAMETERS, info, 3, now_ns);
}

int netvsc_keep_alive(struct netvsc *netvsc, uint64_t now_ns)
{
	struct rndis_keep_alive question;
	struct part part = { &question, sizeof(question) };
	int error = may_begin(netvsc);

	if (error)
		return error;
	if (busy(netvsc))
		return -LIS_BUSY;
	question.request_id = next_id(netvsc);
	return send_rndis(netvsc, RNDIS_KEEP_ALIVE, &part, 1, now_ns);
}

int netvsc_halt(struct netvsc *netvsc, uint64_t now_ns)
{
	struct rndis_halt halt;
	struct part part = { &halt, sizeof(halt) };
	int error = may_begin(netvsc);

	if (error)
		return error;
	if (busy(netvsc))
		return -LIS_BUSY;
	halt.request_id = next_id(netvsc);
	error = send_rndis(netvsc, RNDIS_HALT, &part, 1, now_ns);
	if (!error)
		os_write_once(netvsc->state, NETVSC_HALTED);
	return error;
}

int netvsc_ask_sub_channels(struct netvsc *netvsc, uint32_t count, uint64_t now_ns)
{
	const struct nvsp_message message = {
		.type = NVSP_SUB_CHANNEL,
		.sub_channel_request = { NVSP_SUB_CHANNEL_ALLOCATE, count },
	};
	int error = may_begin(netvsc);

	if (error)
		return error;
	if (netvsc->version < NVSP_VERSION_5 || !count || count >= NETVSC_CHANNELS_MAX)
		return -LIS_INVALID;
	error = netvsc_control_nvsp(netvsc, &message, now_ns);
	if (!error)
		netvsc->sub_channels = count; /* at most */
	return error;
}

void netvsc_revoke(struct netvsc *netvsc)
{
	struct nvsp_message receive = {
		.type = NVSP_REVOKE_RECEIVE_BUFFER, .revoke = { NVSP_RECEIVE_BUFFER_ID, 0 },
	};
	struct nvsp_message send = {
		.type = NVSP_REVOKE_SEND_BUFFER, .revoke = { NVSP_SEND_BUFFER_ID, 0 },
	};

	if (!netvsc->channels[0] || !netvsc->receive_buffer.memory)
		return;
	if (netvsc->state == NETVSC_READY)
		os_write_once(netvsc->state, NETVSC_HALTED);
	(void)!netvsc_tell(netvsc, &receive);
	(void)!netvsc_tell(netvsc, &send);
}

/* ---- answers ---- */

static void violation(struct netvsc *netvsc, const char *what)
{
	netvsc_violation(netvsc, &netvsc->channels[0]->send_counters.violations, what);
}

static uint32_t sub_channels_answered(struct netvsc *netvsc, const struct nvsp_message *message,
				      uint32_t bytes, uint64_t now_ns)
{
	const struct nvsp_sub_channel_complete *answer = &message->sub_channel_complete;
	int error = 0;

	if (message->type != NVSP_SUB_CHANNEL || bytes < sizeof(message->type) + sizeof(*answer) ||
	    (answer->status == NVSP_STATUS_SUCCESS && answer->count > netvsc->sub_channels)) {
		violation(netvsc, "sub-channels that cannot be");
		error = -LIS_CORRUPT;
	} else if (answer->status != NVSP_STATUS_SUCCESS) {
		netvsc->control.status = answer->status;
		error = -LIS_REFUSED;
	} else {
		netvsc->sub_channels = answer->count;
	}
	return over(netvsc, error, now_ns);
}

uint32_t netvsc_control_answered(struct netvsc *netvsc, uint64_t id,
				 const struct nvsp_message *message, uint32_t bytes,
				 uint64_t now_ns)
{
	if (!netvsc->control.busy || netvsc->control.nvsp_id != id) {
		netvsc->channels[0]->send_counters.late++;
		return 0;
	}
	if (!message)
		return over(netvsc, -LIS_CORRUPT, now_ns);
	if (netvsc->state == NETVSC_READY || netvsc->state == NETVSC_HALTED)
		return sub_channels_answered(netvsc, message, bytes, now_ns);
	netvsc->control.busy = false;
	return netvsc_setup_answer(netvsc, message, bytes, now_ns);
}

uint32_t netvsc_control_returned(struct netvsc *netvsc, uint32_t status, uint64_t now_ns)
{
	struct netvsc_control *control = &netvsc->control;

	control->page_in_use = false;
	if (!control->busy)
		return 0; /* given up */
	if (status != NVSP_STATUS_SUCCESS) {
		control->status = status;
		return over(netvsc, -LIS_REFUSED, now_ns);
	}
	if (control->wants_answer && !control->answered)
		return 0;
	return over(netvsc, control->error, now_ns);
}

/* What a question was answered with goes to control_info. @body: behind the header. */
static int take_query(struct netvsc *netvsc, const uint8_t *body, uint32_t bytes)
{
	struct rndis_query_complete answer;

	if (bytes < sizeof(answer))
		return -LIS_CORRUPT;
	memcpy(&answer, body, sizeof(answer));
	netvsc->control.status = answer.status;
	if (answer.status != RNDIS_STATUS_SUCCESS)
		return -LIS_REFUSED;
	if (!answer.info_bytes)
		return 0;
	if (answer.info_offset < sizeof(answer) || answer.info_offset > bytes ||
	    answer.info_bytes > bytes - answer.info_offset)
		return -LIS_CORRUPT;
	memcpy(netvsc->control_info, body + answer.info_offset, answer.info_bytes);
	netvsc->control.bytes = answer.info_bytes;
	return 0;
}

static int take_answer(struct netvsc *netvsc, const uint8_t *body, uint32_t bytes)
{
	struct rndis_status_complete answer;

	if (netvsc->control.kind == RNDIS_QUERY)
		return take_query(netvsc, body, bytes);
	memcpy(&answer, body, sizeof(answer));
	netvsc->control.status = answer.status;
	if (answer.status != RNDIS_STATUS_SUCCESS)
		return -LIS_REFUSED;
	if (netvsc->control.kind == RNDIS_INITIALIZE) {
		memcpy(netvsc->control_info, body, bytes);
		netvsc->control.bytes = bytes;
	}
	return 0;
}

static uint32_t answered(struct netvsc *netvsc, uint32_t type, const uint8_t *body, uint32_t bytes,
			 uint64_t now_ns)
{
	struct netvsc_control *control = &netvsc->control;
	struct rndis_status_complete answer;

	if (bytes < sizeof(answer)) {
		violation(netvsc, "an answer that is cut short");
		return 0;
	}
	memcpy(&answer, body, sizeof(answer));
	if (!control->busy || !control->wants_answer || !control->kind || control->answered ||
	    type != (control->kind | RNDIS_COMPLETION) ||
	    answer.request_id != control->request_id) {
		netvsc->channels[0]->send_counters.late++;
		return 0;
	}
	control->error = take_answer(netvsc, body, bytes);
	control->answered = true;
	if (control->error == -LIS_CORRUPT)
		violation(netvsc, "an answer that makes no sense");
	return control->page_in_use ? 0 : over(netvsc, control->error, now_ns);
}

/* ---- what the host says by itself ---- */

static uint32_t take_link_speed(struct netvsc *netvsc, const uint8_t *body, uint32_t bytes,
				const struct rndis_indicate_status *news)
{
	uint32_t speed_100;

	if (news->info_offset < sizeof(*news) || news->info_offset > bytes ||
	    news->info_bytes < sizeof(speed_100) || news->info_bytes > bytes - news->info_offset) {
		violation(netvsc, "a link speed without a number");
		return 0;
	}
	memcpy(&speed_100, body + news->info_offset, sizeof(speed_100));
	netvsc->bits_per_second = speed_100 * 100ull;
	return NETVSC_EVENT_SPEED;
}

static uint32_t take_news(struct netvsc *netvsc, const uint8_t *body, uint32_t bytes)
{
	struct rndis_indicate_status news;
	bool up;

	if (bytes < sizeof(news)) {
		violation(netvsc, "news that are cut short");
		return 0;
	}
	memcpy(&news, body, sizeof(news));
	switch (news.status) {
	case RNDIS_STATUS_MEDIA_CONNECT:
	case RNDIS_STATUS_MEDIA_DISCONNECT:
		up = news.status == RNDIS_STATUS_MEDIA_CONNECT;
		netvsc->link_up = up;
		return NETVSC_EVENT_LINK;
	case RNDIS_STATUS_NETWORK_CHANGE:
		return NETVSC_EVENT_MOVED;
	case RNDIS_STATUS_LINK_SPEED_CHANGE:
		return take_link_speed(netvsc, body, bytes, &news);
	default:
		return 0; /* of no use to us */
	}
}

uint32_t netvsc_control_message(struct netvsc *netvsc, uint64_t now_ns)
{
	const uint8_t *body = netvsc->message + sizeof(struct rndis_header);
	uint32_t bytes = netvsc->message_bytes - (uint32_t)sizeof(struct rndis_header);
	struct rndis_header header;

	memcpy(&header, netvsc->message, sizeof(header));
	switch (header.type) {
	case RNDIS_INITIALIZE | RNDIS_COMPLETION:
	case RNDIS_QUERY | RNDIS_COMPLETION:
	case RNDIS_SET | RNDIS_COMPLETION:
	case RNDIS_KEEP_ALIVE | RNDIS_COMPLETION:
		return answered(netvsc, header.type, body, bytes, now_ns);
	case RNDIS_INDICATE_STATUS:
		return take_news(netvsc, body, bytes);
	default:
		violation(netvsc, "a message that no host sends");
		return 0;
	}
}

uint32_t netvsc_on_timer(struct netvsc *netvsc, uint64_t now_ns)
{
	struct netvsc_control *control = &netvsc->control;

	if (!control->busy || !control->deadline_ns || now_ns < control->deadline_ns)
		return 0;
	return over(netvsc, -LIS_TIMEOUT, now_ns);
}
