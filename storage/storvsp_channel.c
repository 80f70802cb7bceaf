/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A channel of the storage VSP: packets in, SCSI commands to units, answers out.
 *
 * A channel is owned by its loop; nothing in it needs a lock. Each packet takes one request out of
 * a fixed pool and keeps it until its answer is in the ring; while the pool is empty, or a reset
 * waits, packets stay where they are. Answers for which the guest's ring has no room wait in a
 * list.
 *
 * A packet is copied out of the ring before it is looked at, and its memory is looked up page by
 * page; data moves between that memory and the block device without a copy.
 */
#include "storage/storvsp_private.h"

#include <stdlib.h>
#include <string.h>

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Pieces of memory of one command: each page of the largest transfer, and some for ranges. */
#define PIECES_MAX (STORVSP_TRANSFER_BYTES_MAX / HV_PAGE_BYTES + 4)
/* [policy] Packets taken before the loop looks at completions again. */
#define PACKETS_AT_ONCE 64u

/* One packet of the guest, from the ring until its answer is in the ring. */
struct storvsp_request {
	struct scsi_request scsi;
	struct storvsp_channel *channel;
	struct storvsp_request *next, *previous; /* free; in flight; or waiting for room */
	struct storvsp_lun *lun;                 /* while the unit works on it */
	uint64_t id;
	uint32_t packet_bytes;                   /* the answer is as long as the question */
	struct storvsc_packet packet;            /* the question, then the answer */
	struct iovec iov[PIECES_MAX];
};

struct storvsp_channel {
	struct storvsp *storvsp;
	struct vmbus_channel *channel;
	struct io_poller poller;
	bool unflushed;  /* sent outside of receive */
	bool closing, broken;
	bool rescan_due; /* the guest does not know yet that LUNs changed */
	uint32_t taken;  /* requests not in the pool */
	struct storvsp_request *free;
	struct storvsp_request *working;      /* with a unit */
	struct storvsp_request *backlog, **backlog_end;
	struct storvsp_request *resetting;    /* the reset that is waited for */
	struct storvsp_reset reset;
	bool finish_queued;
	struct io_call finish_call;
	uint8_t *packet_buffer;
	struct storvsp_request requests[];
};

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- the pool ---- */

static struct storvsp_request *take(struct storvsp_channel *ch)
{
	struct storvsp_request *request = ch->free;

	if (!request)
		return NULL;
	ch->free = request->next;
	ch->taken++;
	request->next = NULL;
	request->lun = NULL;
	return request;
}

/* Once closing, what is still on its way ends here, and then the channel. */
static void finish_if_drained(struct storvsp_channel *ch)
{
	if (!ch->closing || ch->taken || ch->finish_queued)
		return;
	ch->finish_queued = true;
	io_loop_call(ch->channel->loop, &ch->finish_call);
}

static void give_back(struct storvsp_request *request)
{
	struct storvsp_channel *ch = request->channel;

	request->next = ch->free;
	ch->free = request;
	ch->taken--;
	finish_if_drained(ch);
}

static void list_working(struct storvsp_request *request)
{
	struct storvsp_channel *ch = request->channel;

	request->previous = NULL;
	request->next = ch->working;
	if (ch->working)
		ch->working->previous = request;
	ch->working = request;
}

static void unlist_working(struct storvsp_request *request)
{
	if (request->previous)
		request->previous->next = request->next;
	else
		request->channel->working = request->next;
	if (request->next)
		request->next->previous = request->previous;
}

/* ---- answers ---- */

static int send_answer(struct storvsp_request *request)
{
	struct iovec iov = { &request->packet, request->packet_bytes };

	return vmbus_channel_send(request->channel->channel, VMBUS_PACKET_COMPLETION, request->id,
				  false, &iov, 1);
}

/* The request's packet is the answer: into the ring with it, in order, as soon as there is room. */
static void answer(struct storvsp_request *request)
{
	struct storvsp_channel *ch = request->channel;
	int err = -LIS_FULL;

	if (ch->closing || ch->broken) {
		give_back(request);
		return;
	}
	if (!ch->backlog)
		err = send_answer(request);
	/* Also where it was full: the guest must hear that we wait for room. */
	ch->unflushed = true;
	if (err == -LIS_FULL) {
		request->next = NULL;
		*ch->backlog_end = request;
		ch->backlog_end = &request->next;
		return;
	}
	if (err)
		ch->broken = true;
	give_back(request);
}

static void send_rescan(struct storvsp_channel *ch)
{
	struct storvsc_packet packet = { .operation = STORVSC_ENUMERATE_BUS };
	uint16_t version = atomic_load_explicit(&ch->storvsp->version, memory_order_relaxed);
	struct iovec iov = { &packet, version >= STORVSC_VERSION_WIN8
					      ? STORVSC_PACKET_BYTES_LONG
					      : STORVSC_PACKET_BYTES_SHORT };
	int err;

	if (ch->closing || ch->broken || ch->backlog)
		return;
	err = vmbus_channel_send(ch->channel, VMBUS_PACKET_IN_BAND, 0, false, &iov, 1);
	ch->unflushed = true;
	if (err == -LIS_FULL)
		return;
	if (err)
		ch->broken = true;
	ch->rescan_due = false;
}

void storvsp_channel_rescan(struct storvsp_channel *ch)
{
	/* A guest that is not that far will look anyway; below 4.2 it cannot be told. */
	if (!atomic_load_explicit(&ch->storvsp->ready, memory_order_relaxed) ||
	    atomic_load_explicit(&ch->storvsp->version, memory_order_relaxed) <
		    STORVSC_VERSION_WIN7)
		return;
	ch->rescan_due = true;
	send_rescan(ch);
}

/* Returns true if anything was sent. */
static bool send_backlog(struct storvsp_channel *ch)
{
	bool any = false;

	while (ch->backlog && !ch->broken) {
		struct storvsp_request *request = ch->backlog, *next = request->next;
		int err = send_answer(request);

		if (err == -LIS_FULL)
			return any;
		if (err)
			ch->broken = true;
		ch->backlog = next;
		if (!next)
			ch->backlog_end = &ch->backlog;
		give_back(request);
		any = true;
	}
	if (ch->rescan_due)
		send_rescan(ch);
	return any;
}

/* Answer without payload, or with the payload that is in the packet already if @keep. */
static void answer_status(struct storvsp_request *request, uint32_t status, bool keep)
{
	struct storvsc_packet *packet = &request->packet;

	packet->operation = STORVSC_COMPLETE_IO;
	packet->flags = 0;
	packet->status = status;
	if (!keep)
		memset(packet->payload, 0, sizeof(packet->payload));
	answer(request);
}

/* ---- SCSI commands ---- */

static uint32_t status_of_srb(uint8_t srb_status)
{
	switch (srb_status & STORVSC_SRB_CODE_MASK) {
	case STORVSC_SRB_SUCCESS:
		return STORVSC_STATUS_SUCCESS;
	case STORVSC_SRB_BUSY:
		return STORVSC_STATUS_DEVICE_BUSY;
	case STORVSC_SRB_INVALID_LUN:
		return STORVSC_STATUS_DEVICE_DOES_NOT_EXIST;
	default:
		return STORVSC_STATUS_IO_DEVICE_ERROR;
	}
}

/*
 * Turn the question into the answer. Of the question the address stays; Linux wants the length done
 * and ignores it on failure, sense goes where the CDB was.
 */
static void answer_srb(struct storvsp_request *request, uint8_t srb_status, uint8_t scsi_status,
		       uint32_t transferred_bytes)
{
	const struct scsi_request *scsi = &request->scsi;
	struct storvsc_scsi_request *srb = &request->packet.request;

	memset(srb->sense, 0, sizeof(srb->sense));
	srb->sense_bytes = 0;
	if (scsi_status == SCSI_CHECK_CONDITION && scsi->sense_bytes) {
		memcpy(srb->sense, scsi->sense, scsi->sense_bytes);
		srb->sense_bytes = (uint8_t)scsi->sense_bytes;
		srb_status |= STORVSC_SRB_AUTOSENSE_VALID;
	}
	srb->srb_status = srb_status;
	srb->scsi_status = scsi_status;
	srb->data_transfer_length = transferred_bytes;
	answer_status(request, status_of_srb(srb_status), true);
}

static void answer_scsi(struct storvsp_request *request)
{
	const struct scsi_request *scsi = &request->scsi;

	switch (scsi->status) {
	case SCSI_GOOD:
		answer_srb(request, STORVSC_SRB_SUCCESS, SCSI_GOOD, (uint32_t)scsi->transferred_bytes);
		return;
	case SCSI_BUSY:
	case SCSI_TASK_SET_FULL:
		answer_srb(request, STORVSC_SRB_BUSY, (uint8_t)scsi->status, 0);
		return;
	case SCSI_TASK_ABORTED:
		answer_srb(request, STORVSC_SRB_ABORTED, SCSI_TASK_ABORTED, 0);
		return;
	default: /* also those that only devices of the host have */
		answer_srb(request, STORVSC_SRB_ERROR, (uint8_t)scsi->status, 0);
		return;
	}
}

static void scsi_is_done(struct scsi_request *scsi)
{
	struct storvsp_request *request = container_of(scsi, struct storvsp_request, scsi);
	struct storvsp *storvsp = request->channel->storvsp;
	struct storvsp_lun *lun = request->lun;

	unlist_working(request);
	/* The answer first: whoever waits for the LUN may count on its being in the ring. */
	answer_scsi(request);
	storvsp_lun_put(storvsp, lun);
}

/*
 * Commands that need no unit. As Hyper-V does it, INQUIRY finds "nothing here" rather than an
 * error, and everything else is told that there is no such LUN, which makes Linux forget the
 * device.
 */
static void execute_without_unit(struct storvsp_request *request)
{
	const struct storvsc_scsi_request *srb = &request->packet.request;
	uint8_t luns[STORVSP_LUNS];
	uint32_t lun_count;

	switch (request->scsi.cdb[0]) {
	case SCSI_REPORT_LUNS:
		lun_count = storvsp_luns_of_target(request->channel->storvsp, srb->path_id,
						   srb->target_id, luns);
		scsi_report_luns(&request->scsi, luns, lun_count);
		answer_scsi(request);
		return;
	case SCSI_INQUIRY:
	case SCSI_REQUEST_SENSE:
		scsi_no_lun_execute(&request->scsi);
		answer_scsi(request);
		return;
	default:
		/* With sense, as Linux else goes by that of an earlier answer, which may say that it shall try again. */
		scsi_no_lun_execute(&request->scsi);
		answer_srb(request, STORVSC_SRB_INVALID_LUN, SCSI_CHECK_CONDITION, 0);
		return;
	}
}

static bool add_piece(struct storvsp_request *request, uint64_t gpa, uint64_t bytes)
{
	struct scsi_request *scsi = &request->scsi;
	void *hva = partition_hva(request->channel->storvsp->partition, GPA(gpa), bytes);
	struct iovec *last = scsi->iov_count ? &request->iov[scsi->iov_count - 1] : NULL;

	if (!hva)
		return false;
	scsi->data_bytes += bytes;
	if (last && (char *)last->iov_base + last->iov_len == hva) {
		last->iov_len += bytes;
		return true;
	}
	if (scsi->iov_count == PIECES_MAX)
		return false;
	request->iov[scsi->iov_count++] = (struct iovec){ hva, bytes };
	return true;
}

/* Adds up to @bytes of a range: pages that are neighbours together, or apart where slots meet. */
static bool add_run(struct storvsp_request *request, const struct vmbus_gpa_run *run,
		    uint64_t bytes)
{
	uint64_t offset = run->byte_offset;

	for (uint32_t i = 0, pages; bytes && i < run->pfn_count; i += pages) {
		uint64_t gpa, piece_bytes;

		for (pages = 1; i + pages < run->pfn_count &&
				run->pfns[i + pages] == run->pfns[i] + pages; pages++)
			;
		if (run->pfns[i] > (UINT64_MAX >> HV_PAGE_SHIFT) - pages)
			return false;
		gpa = (run->pfns[i] << HV_PAGE_SHIFT) + offset;
		piece_bytes = ((uint64_t)pages << HV_PAGE_SHIFT) - offset;
		if (piece_bytes > bytes)
			piece_bytes = bytes;
		if (!add_piece(request, gpa, piece_bytes)) {
			if (pages == 1)
				return false;
			pages = 1;
			piece_bytes = HV_PAGE_BYTES - offset < bytes ? HV_PAGE_BYTES - offset
								     : bytes;
			if (!add_piece(request, gpa, piece_bytes))
				return false;
		}
		bytes -= piece_bytes;
		offset = 0;
	}
	return true;
}

/*
 * The command's memory as iovecs, cut to the length in the command. Returns 0, -LIS_CORRUPT (there
 * is less memory than the command says), -LIS_INVALID (it is not all guest memory, or too much).
 */
static int map_data(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	uint32_t wanted_bytes = request->packet.request.data_transfer_length;
	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(packet);
	struct scsi_request *scsi = &request->scsi;
	uint64_t named_bytes = 0;
	struct vmbus_gpa_run run;

	scsi->iov = request->iov;
	scsi->iov_count = 0;
	scsi->data_bytes = 0;
	if (!wanted_bytes)
		return 0;
	if (packet->type != VMBUS_PACKET_GPA_DIRECT)
		return -LIS_CORRUPT;
	if (wanted_bytes > STORVSP_TRANSFER_BYTES_MAX)
		return -LIS_INVALID;
	while (named_bytes < wanted_bytes && vmbus_packet_next_gpa_run(&ranges, &run)) {
		uint64_t bytes = wanted_bytes - named_bytes;

		if (bytes > run.byte_count)
			bytes = run.byte_count;
		named_bytes += bytes;
		if (!add_run(request, &run, bytes))
			return -LIS_INVALID;
	}
	return named_bytes == wanted_bytes ? 0 : -LIS_CORRUPT;
}

static uint32_t direction_of(uint8_t data_in)
{
	switch (data_in) {
	case STORVSC_DATA_IN:
		return SCSI_DATA_IN;
	case STORVSC_DATA_OUT:
		return SCSI_DATA_OUT;
	default:
		return SCSI_DATA_IN | SCSI_DATA_OUT;
	}
}

/* From 5.1 on the guest says how long it will wait; zeroes stand for what a short packet lacks. */
static uint32_t timeout_ms(const struct storvsc_scsi_request *srb)
{
	return srb->timeout_s <= UINT32_MAX / 1000 ? srb->timeout_s * 1000 : 0;
}

static void break_channel(struct storvsp_request *request, const char *why)
{
	struct storvsp_channel *ch = request->channel;

	ch->broken = true;
	vmbus_channel_break(ch->channel, why);
	give_back(request);
}

static void execute_srb(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	struct storvsp_channel *ch = request->channel;
	const struct storvsc_scsi_request *srb = &request->packet.request;
	struct scsi_request *scsi = &request->scsi;
	int err;

	count(&ch->storvsp->commands);
	err = map_data(request, packet);
	if (err == -LIS_CORRUPT) {
		break_channel(request, "a command names less memory than it wants moved");
		return;
	}
	if (err || srb->cdb_length > STORVSC_CDB_BYTES) {
		answer_srb(request, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
		return;
	}
	memcpy(scsi->cdb, srb->cdb, sizeof(scsi->cdb));
	scsi->direction = direction_of(srb->data_in);
	scsi->timeout_ms = timeout_ms(srb);
	scsi->done = scsi_is_done;
	if (scsi->cdb[0] != SCSI_REPORT_LUNS)
		request->lun = storvsp_lun_get(ch->storvsp, (struct storvsp_address){
						       srb->path_id, srb->target_id, srb->lun });
	if (!request->lun) {
		execute_without_unit(request);
		return;
	}
	list_working(request);
	scsi_unit_submit(request->lun->unit, ch->channel->loop, scsi);
}

/* ---- resets ---- */

static void reset_is_done(struct io_call *call)
{
	struct storvsp_channel *ch = container_of(call, struct storvsp_channel, reset.done_call);
	struct storvsp_request *request = ch->resetting;

	ch->resetting = NULL;
	answer_status(request, STORVSC_STATUS_SUCCESS, false);
}

/*
 * Commands under way are cut short, whatever channel they came on, and waited for as long as a
 * block device still moves their data; the answer follows theirs. Until then nothing more is taken
 * from this channel.
 */
static void execute_reset(struct storvsp_request *request, bool one_lun)
{
	struct storvsp_channel *ch = request->channel;
	const struct storvsc_scsi_request *srb = &request->packet.request;
	struct storvsp_address address = { srb->path_id, srb->target_id, srb->lun };

	if (!atomic_load_explicit(&ch->storvsp->ready, memory_order_relaxed)) {
		answer_status(request, STORVSC_STATUS_INVALID_DEVICE_STATE, false);
		return;
	}
	ch->resetting = request;
	if (storvsp_reset_start(ch->storvsp, &ch->reset, one_lun ? &address : NULL))
		reset_is_done(&ch->reset.done_call);
}

/* ---- setting up ---- */

static void query_version(struct storvsp_request *request)
{
	struct storvsp *storvsp = request->channel->storvsp;
	uint16_t asked = request->packet.version.major_minor;
	bool known = false;

#define STORVSP_IS_KNOWN(version) known |= asked == (version);
	STORVSC_VERSIONS(STORVSP_IS_KNOWN)
#undef STORVSP_IS_KNOWN
	memset(request->packet.payload, 0, sizeof(request->packet.payload));
	request->packet.version.major_minor = asked;
	if (!known || asked > storvsp->version_max) {
		answer_status(request, STORVSC_STATUS_REVISION_MISMATCH, true);
		return;
	}
	os_log(OS_LOG_INFO, "storvsp: %s: guest speaks protocol %u.%u", storvsp->name, asked >> 8,
	       asked & 0xff);
	atomic_store_explicit(&storvsp->version, asked, memory_order_relaxed);
	storvsp->state = STORVSP_QUERY_PROPERTIES;
	answer_status(request, STORVSC_STATUS_SUCCESS, true);
}

static void query_properties(struct storvsp_request *request)
{
	struct storvsp *storvsp = request->channel->storvsp;
	struct storvsc_channel_properties *properties = &request->packet.properties;
	uint16_t version = atomic_load_explicit(&storvsp->version, memory_order_relaxed);

	memset(request->packet.payload, 0, sizeof(request->packet.payload));
	properties->transfer_bytes_max = STORVSP_TRANSFER_BYTES_MAX;
	if (version >= STORVSC_VERSION_WIN8) {
		properties->flags = STORVSC_SUPPORTS_MULTI_CHANNEL;
		properties->sub_channels_max = storvsp->sub_channels_max;
	}
	storvsp->state = STORVSP_END;
	answer_status(request, STORVSC_STATUS_SUCCESS, true);
}

static void create_sub_channels(struct storvsp_request *request)
{
	struct storvsp *storvsp = request->channel->storvsp;
	uint16_t wanted = request->packet.sub_channel_count;
	uint16_t version = atomic_load_explicit(&storvsp->version, memory_order_relaxed);

	if (version < STORVSC_VERSION_WIN8 || wanted > storvsp->sub_channels_max) {
		answer_status(request, STORVSC_STATUS_INVALID_PARAMETER, false);
		return;
	}
	if (wanted)
		vmbus_device_offer_sub_channels(storvsp->device, wanted);
	answer_status(request, STORVSC_STATUS_SUCCESS, false);
}

/* Steps of the set-up, each in its state. Returns false where the operation is no such step. */
static bool set_up(struct storvsp_request *request)
{
	struct storvsp *storvsp = request->channel->storvsp;
	enum storvsp_state state = storvsp->state;
	bool in_order;

	switch (request->packet.operation) {
	case STORVSC_BEGIN_INITIALIZATION:
		in_order = state == STORVSP_BEGIN;
		break;
	case STORVSC_QUERY_PROTOCOL_VERSION:
		in_order = state == STORVSP_QUERY_VERSION;
		break;
	case STORVSC_QUERY_PROPERTIES:
		in_order = state == STORVSP_QUERY_PROPERTIES;
		break;
	case STORVSC_END_INITIALIZATION:
		in_order = state == STORVSP_END;
		break;
	case STORVSC_CREATE_SUB_CHANNELS: /* Linux asks after the end, others before */
		in_order = state == STORVSP_END || state == STORVSP_READY;
		break;
	default:
		return false;
	}
	if (!in_order || request->channel->channel->index) {
		answer_status(request, STORVSC_STATUS_INVALID_DEVICE_STATE, false);
		return true;
	}
	switch (request->packet.operation) {
	case STORVSC_BEGIN_INITIALIZATION:
		storvsp->state = STORVSP_QUERY_VERSION;
		answer_status(request, STORVSC_STATUS_SUCCESS, false);
		break;
	case STORVSC_QUERY_PROTOCOL_VERSION:
		query_version(request);
		break;
	case STORVSC_QUERY_PROPERTIES:
		query_properties(request);
		break;
	case STORVSC_END_INITIALIZATION:
		storvsp->state = STORVSP_READY;
		atomic_store_explicit(&storvsp->ready, true, memory_order_relaxed);
		answer_status(request, STORVSC_STATUS_SUCCESS, false);
		break;
	default:
		create_sub_channels(request);
		break;
	}
	return true;
}

/* ---- packets ---- */

static void handle_operation(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	struct storvsp *storvsp = request->channel->storvsp;

	switch (request->packet.operation) {
	case STORVSC_EXECUTE_SRB:
		if (request->packet_bytes < STORVSC_PACKET_BYTES_SHORT)
			break_channel(request, "a command that is too short");
		else if (!atomic_load_explicit(&storvsp->ready, memory_order_relaxed))
			answer_status(request, STORVSC_STATUS_INVALID_DEVICE_STATE, false);
		else
			execute_srb(request, packet);
		return;
	case STORVSC_RESET_LUN:
		execute_reset(request, true);
		return;
	case STORVSC_RESET_ADAPTER:
	case STORVSC_RESET_BUS:
		execute_reset(request, false);
		return;
	default:
		if (!set_up(request))
			answer_status(request, STORVSC_STATUS_INVALID_DEVICE_REQUEST, false);
		return;
	}
}

static void handle_packet(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	size_t bytes = packet->payload_bytes;

	if (packet->type != VMBUS_PACKET_IN_BAND && packet->type != VMBUS_PACKET_GPA_DIRECT) {
		break_channel(request, "a packet of a type that no guest sends");
		return;
	}
	if (!vmbus_packet_wants_completion(packet)) {
		break_channel(request, "a packet that wants no answer");
		return;
	}
	/* The shortest with a payload field in it. */
	if (bytes < STORVSC_HEADER_BYTES + sizeof(struct storvsc_protocol_version)) {
		break_channel(request, "a packet that is too short");
		return;
	}
	if (bytes > sizeof(request->packet))
		bytes = sizeof(request->packet);
	memcpy(&request->packet, packet->payload, bytes);
	memset((uint8_t *)&request->packet + bytes, 0, sizeof(request->packet) - bytes);
	/*
	 * Windows wants answers of exactly the length its version has, which is what it sends;
	 * Linux from 5.17 on sends the long form from the first packet on and wants it back.
	 * Source: [openvmm storvsp parse_packet], [linux 6.1 storvsc_on_channel_callback].
	 */
	request->packet_bytes = (uint32_t)bytes;
	request->id = packet->id;
	handle_operation(request, packet);
}

static bool on_receive(struct vmbus_channel *channel)
{
	struct storvsp_channel *ch = channel->owner;
	bool any = send_backlog(ch);

	for (uint32_t i = 0; i < PACKETS_AT_ONCE && !ch->broken && !ch->resetting; i++) {
		struct storvsp_request *request = take(ch);
		struct vmbus_packet packet;
		int err;

		if (!request) {
			count(&ch->storvsp->starved);
			break;
		}
		err = vmbus_channel_receive(channel, ch->packet_buffer, VMBUS_PACKET_BYTES_MAX,
					    &packet);
		if (err) {
			ch->broken |= err == -LIS_CORRUPT;
			give_back(request);
			break;
		}
		any = true;
		handle_packet(request, &packet);
	}
	ch->unflushed = false; /* the host flushes after this */
	return any;
}

/* ---- answers between two receives ---- */

/* Answers of one turn go out together; those of the turn's completions are here in the next one. */
static uint32_t flush(struct io_poller *poller)
{
	struct storvsp_channel *ch = container_of(poller, struct storvsp_channel, poller);

	if (!ch->unflushed)
		return 0;
	ch->unflushed = false;
	if (!ch->broken)
		vmbus_channel_flush(ch->channel);
	return 1;
}

static void awake(struct io_poller *poller)
{
	/* Completions wake the loop whether it wants it or not. */
}

/* ---- life ---- */

static void free_channel(struct storvsp_channel *ch)
{
	if (!ch)
		return;
	free(ch->packet_buffer);
	free(ch);
}

static void finish_close(struct io_call *call)
{
	struct storvsp_channel *ch = container_of(call, struct storvsp_channel, finish_call);
	struct vmbus_channel *channel = ch->channel;

	atomic_fetch_sub_explicit(&ch->storvsp->channels_open, 1, memory_order_relaxed);
	free_channel(ch);
	vmbus_channel_closed(channel);
}

static int on_open(struct vmbus_channel *channel)
{
	struct storvsp *storvsp = vmbus_device_owner(channel->device);
	size_t bytes = sizeof(struct storvsp_channel) +
		       storvsp->queue_depth * sizeof(struct storvsp_request);
	/* Untouched pages of the pool cost nothing: it is used from one end. */
	struct storvsp_channel *ch = calloc(1, bytes);

	if (!ch)
		return -LIS_NOMEM;
	ch->packet_buffer = aligned_alloc(HV_PAGE_BYTES, VMBUS_PACKET_BYTES_MAX);
	if (!ch->packet_buffer) {
		free_channel(ch);
		return -LIS_NOMEM;
	}
	ch->storvsp = storvsp;
	ch->channel = channel;
	ch->backlog_end = &ch->backlog;
	ch->finish_call.fn = finish_close;
	ch->reset.loop = channel->loop;
	ch->reset.done_call.fn = reset_is_done;
	for (uint32_t i = storvsp->queue_depth; i-- > 0;) {
		ch->requests[i].channel = ch;
		ch->requests[i].next = ch->free;
		ch->free = &ch->requests[i];
	}
	ch->poller = (struct io_poller){ .poll = flush, .sleep = flush, .wake = awake };
	io_poller_add(channel->loop, &ch->poller);
	if (!channel->index)
		storvsp->primary = ch;
	atomic_fetch_add_explicit(&storvsp->channels_open, 1, memory_order_relaxed);
	channel->owner = ch;
	return 0;
}

static void on_close(struct vmbus_channel *channel)
{
	struct storvsp_channel *ch = channel->owner;
	struct storvsp *storvsp = ch->storvsp;

	ch->closing = true;
	io_poller_remove(channel->loop, &ch->poller);
	if (!channel->index) {
		storvsp->primary = NULL;
		storvsp->state = STORVSP_BEGIN;
		atomic_store_explicit(&storvsp->ready, false, memory_order_relaxed);
		atomic_store_explicit(&storvsp->version, 0, memory_order_relaxed);
	}
	while (ch->backlog) {
		struct storvsp_request *request = ch->backlog;

		ch->backlog = request->next;
		give_back(request);
	}
	for (struct storvsp_request *request = ch->working; request; request = request->next)
		scsi_request_cancel(&request->scsi);
	if (ch->resetting && storvsp_reset_abandon(storvsp, &ch->reset)) {
		give_back(ch->resetting);
		ch->resetting = NULL;
	}
	finish_if_drained(ch);
}

const struct vmbus_device_ops storvsp_device_ops = {
	.open = on_open,
	.receive = on_receive,
	.close = on_close,
};
