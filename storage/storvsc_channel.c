// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of storage, one channel: commands out, answers in, what is late.
 *
 * Invariants. A slot of the table is taken from the moment a packet is in the ring until its
 * answer, or the channel's end; its owner is the request, or the address of given_up where the
 * request has ended and the host may still use its memory. A request is in the table or in the list
 * of ended ones, never in both: whoever takes it out of the table puts it into the list, once.
 */
#include "storage/storvsc_private.h"

/*
 * What every driver says of a command. Source: [linux 6.1 storvsc_drv.c storvsc_queuecommand]
 * SRB_FLAGS_DISABLE_SYNCH_TRANSFER, SP_UNTAGGED, SRB_SIMPLE_TAG_REQUEST.
 */
#define SRB_FLAG_DISABLE_SYNCH_TRANSFER 0x8u
#define QUEUE_TAG_NONE 0xffu
#define QUEUE_ACTION_SIMPLE 0x20u
#define HOST_TIMEOUT_S 60u

/* Source: [spc-4 tables 27 and 47] */
#define SCSI_STATUS_CHECK_CONDITION 0x02u
#define SCSI_CDB_TEST_UNIT_READY 0x00u
#define SCSI_CDB_INQUIRY 0x12u
#define SCSI_CDB_MODE_SENSE_6 0x1au
#define SCSI_CDB_MODE_SENSE_10 0x5au
#define SCSI_CDB_MAINTENANCE_IN 0xa3u

void storvsc_violation(struct storvsc_channel *channel, const char *what)
{
	uint64_t count = ++channel->counters.violations;

	if (count <= 16 || !(count & (count - 1)))
		os_log(OS_LOG_WARNING, "storvsc: %s: the host broke the protocol, time %llu: %s",
		       channel->storvsc->config.name, (unsigned long long)count, what);
}

static uint32_t channel_is_broken(struct storvsc_channel *channel, const char *why)
{
	if (!channel->broken)
		storvsc_violation(channel, why);
	channel->broken = true;
	return STORVSC_EVENT_BROKEN;
}

/* ---- to the host ---- */

/* Are all slots taken that are not the driver's own? */
static inline bool table_full(const struct storvsc_channel *channel)
{
	return channel->requests.used_count >= channel->requests.slot_count - STORVSC_OWN_SLOTS;
}

/* Takes a slot and room for the packet. Returns 0 with *out_body set, or as storvsc_send(). */
static inline int begin_packet(struct storvsc_channel *channel, struct storvsc_request *request,
			       uint16_t type, size_t head_bytes, void **out_body)
{
	uint32_t payload_bytes = channel->storvsc->packet_bytes;
	uint64_t id = vmbus_requests_add(&channel->requests, request);
	int error;

	if (unlikely(!id))
		return -LIS_FULL;
	error = vmbus_ring_reserve(channel->to_host, type, VMBUS_PACKET_FLAG_COMPLETION, id,
				   head_bytes, payload_bytes, out_body);
	if (unlikely(error)) {
		vmbus_requests_remove(&channel->requests, id);
		if (error == -LIS_CORRUPT)
			channel_is_broken(channel, "the ring is broken");
		channel->room_bytes = (uint32_t)vmbus_packet_ring_bytes(head_bytes, payload_bytes);
		return error;
	}
	request->id = id;
	return 0;
}

int storvsc_send(struct storvsc_channel *channel, struct storvsc_request *request,
		 struct storvsc_packet *packet)
{
	void *body;
	int error = begin_packet(channel, request, VMBUS_PACKET_IN_BAND, 0, &body);

	if (error)
		return error;
	packet->flags = STORVSC_FLAG_REQUEST_COMPLETION;
	memcpy(body, packet, channel->storvsc->packet_bytes);
	vmbus_ring_commit(channel->to_host);
	return 0;
}

static void fill_command(const struct storvsc *storvsc, const struct storvsc_request *request,
			 struct storvsc_packet *out_packet)
{
	static const struct {
		uint8_t data_in;
		uint32_t flags;
	} directions[] = {
		[STORVSC_NO_DATA] = { STORVSC_DATA_UNSPECIFIED, 0 },
		[STORVSC_FROM_DEVICE] = { STORVSC_DATA_IN, STORVSC_SRB_FLAG_DATA_IN },
		[STORVSC_TO_DEVICE] = { STORVSC_DATA_OUT, STORVSC_SRB_FLAG_DATA_OUT },
	};
	bool is_long = storvsc->packet_bytes == STORVSC_PACKET_BYTES_LONG;

	*out_packet = (struct storvsc_packet){
		.operation = STORVSC_EXECUTE_SRB,
		.flags = STORVSC_FLAG_REQUEST_COMPLETION,
		.request = {
			.length = is_long ? STORVSC_REQUEST_BYTES_LONG : STORVSC_REQUEST_BYTES_SHORT,
			.path_id = request->path,
			.target_id = request->target,
			.lun = request->lun,
			.cdb_length = request->cdb_bytes,
			.sense_bytes = storvsc->sense_bytes_max,
			.data_in = directions[request->direction].data_in,
			.data_transfer_length = request->data_bytes,
			.queue_tag = QUEUE_TAG_NONE,
			.queue_action = QUEUE_ACTION_SIMPLE,
			.srb_flags = SRB_FLAG_DISABLE_SYNCH_TRANSFER |
				     STORVSC_SRB_FLAG_QUEUE_ACTION_ENABLE |
				     directions[request->direction].flags,
			.timeout_s = HOST_TIMEOUT_S,
		},
	};
	memcpy(out_packet->request.cdb, request->cdb, request->cdb_bytes);
}

static int send_command(struct storvsc_channel *channel, struct storvsc_request *request)
{
	struct {
		struct vmbus_gpa_direct_head head;
		struct vmbus_gpa_range range;
	} fixed = {
		.head.range_count = 1,
		.range = { request->data_bytes, request->data_offset },
	};
	uint16_t type = VMBUS_PACKET_IN_BAND;
	struct storvsc_packet packet;
	uint32_t pfn_count = 0;
	size_t head_bytes = 0;
	void *body;
	int error;

	if (request->data_bytes) {
		type = VMBUS_PACKET_GPA_DIRECT;
		pfn_count = vmbus_gpa_pfn_count(request->data_bytes, request->data_offset);
		head_bytes = sizeof(fixed) + pfn_count * sizeof(uint64_t);
	}
	error = begin_packet(channel, request, type, head_bytes, &body);
	if (unlikely(error))
		return error;
	if (pfn_count) {
		uint64_t *pfns = (uint64_t *)(void *)((uint8_t *)body + sizeof(fixed));

		memcpy(body, &fixed, sizeof(fixed));
		if (request->fill_pfns)
			request->fill_pfns(request, pfns, pfn_count);
		else
			memcpy(pfns, request->pfns, pfn_count * sizeof(uint64_t));
	}
	fill_command(channel->storvsc, request, &packet);
	memcpy((uint8_t *)body + head_bytes, &packet, channel->storvsc->packet_bytes);
	vmbus_ring_commit(channel->to_host);
	return 0;
}

static int send_reset(struct storvsc_channel *channel, struct storvsc_request *request)
{
	struct storvsc_packet packet = { .operation = STORVSC_RESET_LUN };

	if (request->kind == STORVSC_BUS_RESET)
		packet.operation = STORVSC_RESET_BUS;
	else if (request->kind == STORVSC_ADAPTER_RESET)
		packet.operation = STORVSC_RESET_ADAPTER;
	packet.request.length = channel->storvsc->packet_bytes - STORVSC_HEADER_BYTES;
	if (request->kind == STORVSC_LUN_RESET) {
		packet.request.path_id = request->path;
		packet.request.target_id = request->target;
		packet.request.lun = request->lun;
	}
	return storvsc_send(channel, request, &packet);
}

static bool command_possible(const struct storvsc *storvsc, const struct storvsc_request *request)
{
	if (!request->cdb_bytes || request->cdb_bytes > STORVSC_CDB_BYTES ||
	    request->direction > STORVSC_TO_DEVICE ||
	    request->data_bytes > storvsc->transfer_bytes_max ||
	    request->data_offset >= HV_PAGE_BYTES)
		return false;
	if (request->direction == STORVSC_NO_DATA)
		return !request->data_bytes;
	return request->data_bytes && (request->pfns || request->fill_pfns);
}

static int no_room(struct storvsc_channel *channel)
{
	channel->room_wanted = true;
	channel->counters.full++;
	return -LIS_AGAIN;
}

int storvsc_submit(struct storvsc_channel *channel, struct storvsc_request *request)
{
	int error;

	if (unlikely(!channel->accepting || os_read_once(channel->storvsc->state) != STORVSC_READY))
		return -LIS_GONE;
	if (unlikely(channel->broken))
		return -LIS_CORRUPT;
	if (unlikely(table_full(channel))) {
		channel->room_bytes = 0;
		return no_room(channel);
	}
	if (likely(request->kind == STORVSC_COMMAND)) {
		if (unlikely(!command_possible(channel->storvsc, request)))
			return -LIS_INVALID;
		error = send_command(channel, request);
	} else if (request->kind <= STORVSC_ADAPTER_RESET) {
		request->data_bytes = 0;
		error = send_reset(channel, request);
	} else {
		return -LIS_INVALID;
	}
	if (unlikely(error))
		return error == -LIS_FULL ? no_room(channel) : error;
	request->reset_tried = false;
	channel->counters.submitted++;
	return 0;
}

bool storvsc_channel_flush(struct storvsc_channel *channel)
{
	return channel->open && vmbus_ring_writer_publish(channel->to_host);
}

/* ---- the end of a request ---- */

/* Its slot is free, or marked as given up. */
static uint32_t end_request(struct storvsc_channel *channel, struct storvsc_request *request,
			    enum storvsc_result result)
{
	request->result = (uint8_t)result;
	request->next = NULL;
	*channel->ended_end = request;
	channel->ended_end = &request->next;
	channel->counters.ended++;
	return STORVSC_EVENT_ENDED;
}

static void clear_outcome(struct storvsc_request *request)
{
	request->srb_status = 0;
	request->scsi_status = 0;
	request->sense_bytes = 0;
	request->still_shared = false;
	request->transferred_bytes = 0;
	request->host_status = 0;
}

/*
 * Does sense say that what is known of the LUN is out of date? 2a/09: its size; 3f: its operating
 * conditions, but for 03 (INQUIRY data) and 0e (LUNs), which concern others.
 * Source: [linux 6.1 storvsc_drv.c storvsc_handle_error]
 */
static bool sense_says_changed(const uint8_t *sense, uint32_t bytes)
{
	uint8_t asc, ascq;

	if (bytes < 4)
		return false;
	switch (sense[0] & 0x7f) {
	case 0x70:
	case 0x71:
		if (bytes < 14)
			return false;
		asc = sense[12];
		ascq = sense[13];
		break;
	case 0x72:
	case 0x73:
		asc = sense[2];
		ascq = sense[3];
		break;
	default:
		return false;
	}
	return (asc == 0x2a && ascq == 0x09) || (asc == 0x3f && ascq != 0x03 && ascq != 0x0e);
}

/*
 * Hosts fail these with nothing but an error where they do not know the page asked for; without
 * sense a system would take the LUN for dead. Source: [linux 6.1 storvsc_drv.c
 * storvsc_on_io_completion]
 */
static bool is_question(uint8_t opcode)
{
	return opcode == SCSI_CDB_INQUIRY || opcode == SCSI_CDB_MODE_SENSE_6 ||
	       opcode == SCSI_CDB_MODE_SENSE_10 || opcode == SCSI_CDB_MAINTENANCE_IN;
}

/* ILLEGAL REQUEST, INVALID FIELD IN CDB */
static void make_sense(struct storvsc_request *request)
{
	static const uint8_t sense[18] = { 0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24 };

	memcpy(request->sense, sense, sizeof(sense));
	request->sense_bytes = sizeof(sense);
	request->scsi_status = SCSI_STATUS_CHECK_CONDITION;
}

static enum storvsc_result result_of_failure(struct storvsc_request *request)
{
	uint8_t opcode = request->cdb[0];

	switch (request->srb_status & STORVSC_SRB_CODE_MASK) {
	case STORVSC_SRB_INVALID_LUN:
		return STORVSC_RESULT_NO_LUN;
	case STORVSC_SRB_BUSY:
		return STORVSC_RESULT_BUSY;
	}
	if (request->sense_bytes)
		return STORVSC_RESULT_SCSI_STATUS;
	if ((request->srb_status & STORVSC_SRB_CODE_MASK) == STORVSC_SRB_ABORTED)
		return STORVSC_RESULT_ABORTED;
	if (is_question(opcode)) {
		make_sense(request);
		return STORVSC_RESULT_SCSI_STATUS;
	}
	if (opcode == SCSI_CDB_TEST_UNIT_READY && request->scsi_status)
		return STORVSC_RESULT_SCSI_STATUS;
	return STORVSC_RESULT_FAILED;
}

/* What an answer means; all of it is checked here. @answer is a private copy. */
static enum storvsc_result judge(struct storvsc_channel *channel, struct storvsc_request *request,
				 const struct storvsc_packet *answer)
{
	const struct storvsc_scsi_request *srb = &answer->request;
	uint8_t code = srb->srb_status & STORVSC_SRB_CODE_MASK;
	bool done = code == STORVSC_SRB_SUCCESS || code == STORVSC_SRB_DATA_OVERRUN;

	request->host_status = answer->status;
	request->srb_status = srb->srb_status;
	request->scsi_status = srb->scsi_status;
	if (unlikely((srb->srb_status & STORVSC_SRB_AUTOSENSE_VALID) &&
		     srb->scsi_status == SCSI_STATUS_CHECK_CONDITION)) {
		if (srb->sense_bytes > channel->storvsc->sense_bytes_max) {
			storvsc_violation(channel, "more sense than there is room for");
			return STORVSC_RESULT_CORRUPT;
		}
		memcpy(request->sense, srb->sense, srb->sense_bytes);
		request->sense_bytes = srb->sense_bytes;
		if (sense_says_changed(request->sense, request->sense_bytes))
			return STORVSC_RESULT_CHANGED;
	}
	if (unlikely(!done))
		return result_of_failure(request);
	if (request->data_bytes) {
		if (unlikely(srb->data_transfer_length > request->data_bytes)) {
			storvsc_violation(channel, "more data than was asked for");
			return STORVSC_RESULT_CORRUPT;
		}
		request->transferred_bytes = srb->data_transfer_length;
	}
	return srb->scsi_status ? STORVSC_RESULT_SCSI_STATUS : STORVSC_RESULT_GOOD;
}

/* ---- from the host ---- */

/* The answer to a request that was in flight; its slot is free. @packet: NULL if it is no use. */
static uint32_t request_answered(struct storvsc_channel *channel, struct storvsc_request *request,
				 const struct storvsc_packet *packet, uint32_t bytes)
{
	clear_outcome(request);
	if (likely(request->kind == STORVSC_COMMAND)) {
		if (packet && unlikely(bytes < channel->storvsc->packet_bytes)) {
			storvsc_violation(channel, "an answer that is too short");
			packet = NULL;
		}
		if (unlikely(!packet))
			return end_request(channel, request, STORVSC_RESULT_CORRUPT);
		return end_request(channel, request, judge(channel, request, packet));
	}
	if (request->kind == STORVSC_SETUP_STEP)
		return storvsc_setup_answer(channel->storvsc, packet, bytes);
	if (request == &channel->own_reset)
		return 0; /* the late command has its time of grace, whatever the host says here */
	if (!packet)
		return end_request(channel, request, STORVSC_RESULT_CORRUPT);
	request->host_status = packet->status;
	return end_request(channel, request, packet->status == STORVSC_STATUS_SUCCESS ?
						     STORVSC_RESULT_GOOD : STORVSC_RESULT_FAILED);
}

static uint32_t take_answer(struct storvsc_channel *channel, const struct vmbus_packet *packet)
{
	const struct storvsc_packet *answer = (const void *)packet->payload;
	void *owner = vmbus_requests_remove(&channel->requests, packet->id);

	if (unlikely(!owner)) {
		storvsc_violation(channel, "an answer to nothing");
		return 0;
	}
	if (unlikely(owner == &channel->given_up)) {
		channel->given_up--;
		channel->counters.late++;
		return STORVSC_EVENT_RELEASED;
	}
	if (unlikely(packet->payload_bytes < STORVSC_HEADER_BYTES)) {
		storvsc_violation(channel, "an answer without a header");
		answer = NULL;
	} else if (unlikely(answer->operation != STORVSC_COMPLETE_IO)) {
		storvsc_violation(channel, "an answer that is none");
		answer = NULL;
	}
	return request_answered(channel, owner, answer, packet->payload_bytes);
}

/* Something the host says by itself. Answers are none of it: they name what they answer. */
static uint32_t take_news(struct storvsc_channel *channel, const struct vmbus_packet *packet)
{
	uint32_t operation;

	if (packet->id || packet->payload_bytes < sizeof(operation)) {
		storvsc_violation(channel, "a packet that is neither answer nor news");
		return 0;
	}
	memcpy(&operation, packet->payload, sizeof(operation));
	switch (operation) {
	case STORVSC_ENUMERATE_BUS:
	case STORVSC_REMOVE_DEVICE:
		return STORVSC_EVENT_RESCAN;
	case STORVSC_EVENT_NOTIFICATION:
		return 0; /* of no use to us */
	default:
		storvsc_violation(channel, "unknown news");
		return 0;
	}
}

static uint32_t take_packet(struct storvsc_channel *channel, uint32_t bytes)
{
	struct vmbus_packet packet;

	if (unlikely(vmbus_packet_parse(channel->buffer, bytes, &packet))) {
		storvsc_violation(channel, "a packet out of form");
		return 0;
	}
	if (likely(packet.type == VMBUS_PACKET_COMPLETION))
		return take_answer(channel, &packet);
	if (packet.type == VMBUS_PACKET_IN_BAND)
		return take_news(channel, &packet);
	storvsc_violation(channel, "a packet of a type that no host sends");
	return 0;
}

/* Is a submit that was refused worth a new try? */
static uint32_t look_for_room(struct storvsc_channel *channel)
{
	if (likely(!channel->room_wanted) || table_full(channel) ||
	    !vmbus_ring_writer_has_room(channel->to_host, channel->room_bytes))
		return 0;
	channel->room_wanted = false;
	return STORVSC_EVENT_ROOM;
}

uint32_t storvsc_channel_receive(struct storvsc_channel *channel, uint32_t budget)
{
	uint32_t events = 0;
	uint32_t bytes;

	if (!channel->open)
		return 0;
	vmbus_ring_reader_mask(channel->from_host);
	for (; budget; budget--) {
		int error = vmbus_ring_read(channel->from_host, channel->buffer,
					    sizeof(channel->buffer), &bytes);

		if (error == -LIS_EMPTY)
			break;
		if (unlikely(error)) {
			events |= channel_is_broken(channel, "the ring is broken");
			break;
		}
		events |= take_packet(channel, bytes);
	}
	if (!budget)
		events |= STORVSC_EVENT_MORE;
	events |= look_for_room(channel);
	if (vmbus_ring_reader_publish(channel->from_host))
		events |= STORVSC_EVENT_SIGNAL;
	/* What the set-up sent. */
	if (vmbus_ring_writer_publish(channel->to_host))
		events |= STORVSC_EVENT_SIGNAL;
	return events;
}

bool storvsc_channel_unmask(struct storvsc_channel *channel)
{
	/* A ring that is broken is always ready; nothing more comes out of it. */
	return channel->open && !channel->broken && vmbus_ring_reader_unmask(channel->from_host);
}

/* ---- what is late ---- */

static bool same_lun(const struct storvsc_request *a, const struct storvsc_request *b)
{
	return a->path == b->path && a->target == b->target && a->lun == b->lun;
}

/*
 * Reset the LUN of a late command and give it more time. One such reset is in flight at a time; a
 * command on another LUN waits for its turn. Returns false where there is nothing more to try.
 */
static bool try_reset(struct storvsc_channel *channel, struct storvsc_request *late,
		      uint64_t now_ns)
{
	struct storvsc_request *reset = &channel->own_reset;
	uint64_t grace_ns = channel->storvsc->config.reset_grace_ns;

	if (!grace_ns || late->kind != STORVSC_COMMAND || late->reset_tried || channel->broken)
		return false;
	if (vmbus_requests_find(&channel->requests, reset->id) == reset) {
		if (!same_lun(reset, late))
			return true;
	} else {
		*reset = (struct storvsc_request){
			.kind = STORVSC_LUN_RESET, .path = late->path, .target = late->target,
			.lun = late->lun, .deadline_ns = now_ns + grace_ns,
		};
		if (send_reset(channel, reset))
			return false;
		channel->counters.resets++;
		os_log(OS_LOG_WARNING, "storvsc: %s: no answer from %u:%u:%u, resetting it",
		       channel->storvsc->config.name, late->path, late->target, late->lun);
	}
	late->reset_tried = true;
	late->deadline_ns = now_ns + grace_ns;
	return true;
}

/* The slot stays until the answer comes: no other request may be taken for this one. */
static uint32_t give_up(struct storvsc_channel *channel, struct storvsc_request *request,
			uint64_t id)
{
	vmbus_requests_replace(&channel->requests, id, &channel->given_up);
	channel->given_up++;
	if (request->kind == STORVSC_SETUP_STEP)
		return storvsc_setup_late(channel->storvsc);
	if (request == &channel->own_reset)
		return 0;
	clear_outcome(request);
	channel->counters.timed_out++;
	request->still_shared = request->data_bytes != 0;
	return end_request(channel, request, STORVSC_RESULT_TIMED_OUT);
}

uint32_t storvsc_channel_on_timer(struct storvsc_channel *channel, uint64_t now_ns)
{
	uint32_t cursor = 0, events = 0;
	uint64_t id;

	if (!channel->open)
		return 0;
	while ((id = vmbus_requests_next(&channel->requests, &cursor))) {
		void *owner = vmbus_requests_find(&channel->requests, id);
		struct storvsc_request *request = owner;

		if (owner == &channel->given_up || !request->deadline_ns ||
		    now_ns < request->deadline_ns || try_reset(channel, request, now_ns))
			continue;
		events |= give_up(channel, request, id);
	}
	if (channel->given_up >= channel->requests.slot_count - STORVSC_OWN_SLOTS)
		events |= channel_is_broken(channel, "it answers nothing any more");
	events |= look_for_room(channel);
	if (vmbus_ring_writer_publish(channel->to_host))
		events |= STORVSC_EVENT_SIGNAL;
	return events;
}

/* ---- the caller's side ---- */

struct storvsc_request *storvsc_take_ended(struct storvsc_channel *channel)
{
	struct storvsc_request *list = channel->ended;

	channel->ended = NULL;
	channel->ended_end = &channel->ended;
	return list;
}

bool storvsc_still_shared(const struct storvsc_channel *channel, uint64_t id)
{
	return channel->lost ||
	       vmbus_requests_find(&channel->requests, id) == &channel->given_up;
}

uint32_t storvsc_in_flight(const struct storvsc_channel *channel)
{
	return channel->requests.used_count - channel->given_up;
}

const char *storvsc_result_text(uint8_t result)
{
	static const char *const texts[] = {
		[STORVSC_RESULT_GOOD] = "good",
		[STORVSC_RESULT_SCSI_STATUS] = "the device's own status",
		[STORVSC_RESULT_CHANGED] = "the device has changed",
		[STORVSC_RESULT_NO_LUN] = "no such LUN",
		[STORVSC_RESULT_BUSY] = "the host is busy",
		[STORVSC_RESULT_ABORTED] = "aborted",
		[STORVSC_RESULT_FAILED] = "failed",
		[STORVSC_RESULT_CORRUPT] = "a corrupt answer",
		[STORVSC_RESULT_TIMED_OUT] = "timed out",
		[STORVSC_RESULT_GONE] = "the device is gone",
	};

	return result < sizeof(texts) / sizeof(texts[0]) ? texts[result] : "unknown";
}
