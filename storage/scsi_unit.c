/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What all kinds of SCSI units have in common: the way of a command to its unit, results, the
 * memory of a request, conditions that are told once, and what is answered where there is no unit.
 *
 * Any thread may raise a condition; the command that takes it out is the one that tells it.
 */
#include "storage/scsi_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- results ---- */

void scsi_set_good(struct scsi_request *request, uint64_t transferred_bytes)
{
	request->status = SCSI_GOOD;
	request->sense_bytes = 0;
	request->transferred_bytes = transferred_bytes;
}

void scsi_set_sense(struct scsi_request *request, enum scsi_sense sense)
{
	request->status = SCSI_CHECK_CONDITION;
	request->transferred_bytes = 0;
	request->sense_bytes = SCSI_SENSE_BYTES;
	memset(request->sense, 0, sizeof(request->sense));
	request->sense[0] = 0x70; /* current, fixed format */
	request->sense[2] = (uint8_t)(sense >> 16);
	request->sense[7] = SCSI_SENSE_BYTES - 8;
	request->sense[12] = (uint8_t)(sense >> 8);
	request->sense[13] = (uint8_t)sense;
}

void scsi_set_invalid_field(struct scsi_request *request, uint32_t cdb_byte)
{
	scsi_set_sense(request, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	request->sense[15] = 0xc0; /* SKSV, C/D: the field pointer counts bytes of the CDB */
	scsi_put_u16(request->sense + 16, (uint16_t)cdb_byte);
}

void scsi_set_busy(struct scsi_request *request)
{
	request->status = SCSI_BUSY;
	request->sense_bytes = 0;
	request->transferred_bytes = 0;
}

void scsi_set_conflict(struct scsi_request *request)
{
	request->status = SCSI_RESERVATION_CONFLICT;
	request->sense_bytes = 0;
	request->transferred_bytes = 0;
}

void scsi_finish(struct scsi_request *request)
{
	free(request->scratch);
	request->scratch = NULL;
	if (request->unit->ops->ended)
		request->unit->ops->ended(request->unit, request);
	request->done(request);
}

void scsi_set_text(char *field, size_t bytes, const char *text)
{
	size_t length = strnlen(text, bytes);

	memset(field, ' ', bytes);
	memcpy(field, text, length);
}

/* ---- memory of the request ---- */

void scsi_reply(struct scsi_request *request, const void *data, uint32_t data_bytes,
		uint32_t allocation_bytes)
{
	const uint8_t *from = data;
	uint64_t left = data_bytes < allocation_bytes ? data_bytes : allocation_bytes;

	if (left && request->data_bytes && !(request->direction & SCSI_DATA_IN)) {
		scsi_set_invalid_field(request, 0);
		return;
	}
	if (left > request->data_bytes)
		left = request->data_bytes;
	scsi_set_good(request, left);
	for (uint32_t i = 0; left && i < request->iov_count; i++) {
		size_t bytes = request->iov[i].iov_len < left ? request->iov[i].iov_len : left;

		memcpy(request->iov[i].iov_base, from, bytes);
		from += bytes;
		left -= bytes;
	}
}

bool scsi_copy_out(struct scsi_request *request, uint64_t offset_bytes, void *to, uint32_t bytes)
{
	uint8_t *at = to;

	if (!(request->direction & SCSI_DATA_OUT) || offset_bytes > request->data_bytes ||
	    bytes > request->data_bytes - offset_bytes) {
		scsi_set_invalid_field(request, 0);
		return false;
	}
	for (uint32_t i = 0; bytes && i < request->iov_count; i++) {
		size_t piece = request->iov[i].iov_len;

		if (offset_bytes >= piece) {
			offset_bytes -= piece;
			continue;
		}
		piece -= offset_bytes;
		if (piece > bytes)
			piece = bytes;
		memcpy(at, (const uint8_t *)request->iov[i].iov_base + offset_bytes, piece);
		offset_bytes = 0;
		at += piece;
		bytes -= (uint32_t)piece;
	}
	return true;
}

bool scsi_matches(const struct scsi_request *request, uint64_t offset_bytes, const void *with, uint64_t bytes)
{
	const uint8_t *at = with;

	for (uint32_t i = 0; bytes && i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];
		uint64_t piece;

		if (offset_bytes >= iov->iov_len) {
			offset_bytes -= iov->iov_len;
			continue;
		}
		piece = iov->iov_len - offset_bytes < bytes ? iov->iov_len - offset_bytes : bytes;
		if (memcmp((const uint8_t *)iov->iov_base + offset_bytes, at, piece) != 0)
			return false;
		offset_bytes = 0;
		at += piece;
		bytes -= piece;
	}
	return !bytes;
}

/* ---- INQUIRY, REQUEST SENSE, REPORT LUNS ---- */

#define VERSION_SPC3 5u

void scsi_fill_inquiry(uint8_t data[SCSI_INQUIRY_BYTES], uint8_t peripheral, const char *vendor,
			 const char *product, const char *revision)
{
	memset(data, 0, SCSI_INQUIRY_BYTES);
	data[0] = peripheral;
	data[2] = VERSION_SPC3;
	data[3] = 2; /* response data format */
	data[4] = SCSI_INQUIRY_BYTES - 5;
	data[7] = 0x02; /* CMDQUE: many commands at once */
	memcpy(data + 8, vendor, 8);
	memcpy(data + 16, product, 16);
	memcpy(data + 32, revision, 4);
	scsi_put_u16(data + 58, 0x0300); /* SPC-3 */
}

uint32_t scsi_fill_serial(const struct guid *id, uint8_t *body)
{
	char text[GUID_TEXT_BYTES];
	uint32_t bytes = 0;

	guid_format(id, text);
	for (const char *c = text; *c; c++)
		if (*c != '-')
			body[bytes++] = (uint8_t)*c;
	return bytes;
}

/*
 * Two designators: vendor and GUID, and a 16-byte NAA under Microsoft's company id made of the
 * GUID's most random bytes, so that an image keeps the name it has on Hyper-V.
 * Source: [openvmm scsidisk/src/inquiry.rs handle_vpd_device_identifiers]
 */
uint32_t scsi_fill_identifiers(const struct guid *id, const char *vendor, uint8_t *body)
{
	static const uint8_t naa_microsoft[4] = { 0x60, 0x02, 0x24, 0x80 };

	body[0] = 0x01; /* binary */
	body[1] = 0x01; /* T10 vendor id */
	body[3] = 24;
	memcpy(body + 4, vendor, 8);
	memcpy(body + 12, id->bytes, 16);

	body[28] = 0x01;
	body[29] = 0x03; /* NAA */
	body[31] = 16;
	memcpy(body + 32, naa_microsoft, 4);
	memcpy(body + 36, id->bytes, 6);
	memcpy(body + 42, id->bytes + 10, 6);
	return SCSI_IDENTIFIERS_BYTES;
}

void scsi_request_sense(struct scsi_request *request, enum scsi_sense sense)
{
	uint8_t data[SCSI_SENSE_BYTES] = { 0 };

	if (request->cdb[1] & 0x01) { /* descriptor format, no descriptors */
		data[0] = 0x72;
		data[1] = (uint8_t)(sense >> 16);
		data[2] = (uint8_t)(sense >> 8);
		data[3] = (uint8_t)sense;
		scsi_reply(request, data, 8, request->cdb[4]);
		return;
	}
	data[0] = 0x70;
	data[2] = (uint8_t)(sense >> 16);
	data[7] = SCSI_SENSE_BYTES - 8;
	data[12] = (uint8_t)(sense >> 8);
	data[13] = (uint8_t)sense;
	scsi_reply(request, data, sizeof(data), request->cdb[4]);
}

/* ---- MODE SENSE ---- */

void scsi_reply_mode(struct scsi_request *request, uint8_t *data, uint8_t specific,
		     uint32_t descriptor_bytes, uint32_t page_bytes)
{
	const uint8_t *cdb = request->cdb;
	uint32_t bytes = scsi_mode_header_bytes(cdb) + descriptor_bytes + page_bytes;

	if (cdb[0] == SCSI_MODE_SENSE_10) {
		scsi_put_u16(data, (uint16_t)(bytes - 2));
		data[3] = specific;
		data[4] = descriptor_bytes == 16; /* LONGLBA */
		scsi_put_u16(data + 6, (uint16_t)descriptor_bytes);
		scsi_reply(request, data, bytes, scsi_get_u16(cdb + 7));
	} else {
		data[0] = (uint8_t)(bytes - 1);
		data[2] = specific;
		data[3] = (uint8_t)descriptor_bytes;
		scsi_reply(request, data, bytes, cdb[4]);
	}
}

void scsi_no_lun_execute(struct scsi_request *request)
{
	uint8_t data[SCSI_INQUIRY_BYTES];

	switch (request->cdb[0]) {
	case SCSI_INQUIRY:
		if ((request->cdb[1] & 0x03) || request->cdb[2]) {
			scsi_set_invalid_field(request, 2);
			return;
		}
		/* Qualifier 3, type 1Fh: no device can be here, or none is. */
		scsi_fill_inquiry(data, 0x7f, "Msft    ", "Virtual Disk    ", "1.0 ");
		scsi_reply(request, data, sizeof(data), scsi_get_u16(request->cdb + 3));
		return;
	case SCSI_REQUEST_SENSE:
		scsi_request_sense(request, SCSI_SENSE_LUN_NOT_SUPPORTED);
		return;
	default:
		scsi_set_sense(request, SCSI_SENSE_LUN_NOT_SUPPORTED);
		return;
	}
}

void scsi_report_luns(struct scsi_request *request, const uint8_t *luns, uint32_t lun_count)
{
	uint8_t data[8 + 256 * 8] = { 0 };
	uint32_t allocation_bytes = scsi_get_u32(request->cdb + 6);

	if (request->cdb[2] > 0x02) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	if (allocation_bytes < 16) {
		scsi_set_invalid_field(request, 6);
		return;
	}
	if (request->cdb[2] == 0x01) /* well-known logical units only: none */
		lun_count = 0;
	scsi_put_u32(data, lun_count * 8);
	for (uint32_t i = 0; i < lun_count; i++)
		data[8 + i * 8 + 1] = luns[i]; /* peripheral device addressing */
	scsi_reply(request, data, 8 + lun_count * 8, allocation_bytes);
}

/* ---- the way of a command ---- */

/* By urgency, as enum scsi_attention has it. */
static enum scsi_sense take_attention(struct scsi_unit *unit)
{
	static const enum scsi_sense senses[] = {
		SCSI_SENSE_DEVICE_RESET,
		SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED,
		SCSI_SENSE_RESERVATIONS_PREEMPTED,
		SCSI_SENSE_RESERVATIONS_RELEASED,
		SCSI_SENSE_REGISTRATIONS_PREEMPTED,
		SCSI_SENSE_CAPACITY_CHANGED,
		SCSI_SENSE_LUNS_CHANGED,
	};

	for (uint32_t i = 0; i < sizeof(senses) / sizeof(senses[0]); i++)
		if (atomic_fetch_and(&unit->attentions, ~(1u << i)) & 1u << i)
			return senses[i];
	return SCSI_SENSE_NONE;
}

/* True: the command ended, to tell what it did not ask for. */
static bool tell_attention(struct scsi_unit *unit, struct scsi_request *request)
{
	enum scsi_sense sense;

	if (request->cdb[0] == SCSI_INQUIRY ||
	    (unit->ops->tells_attention && !unit->ops->tells_attention(request)))
		return false;
	sense = take_attention(unit);
	if (sense == SCSI_SENSE_NONE)
		return false;
	scsi_set_sense(request, sense);
	scsi_finish(request);
	return true;
}

void scsi_unit_submit(struct scsi_unit *unit, struct io_loop *loop, struct scsi_request *request)
{
	static const uint8_t lun_zero[1] = { 0 };

	request->unit = unit;
	request->loop = loop;
	request->medium = NULL;
	request->scratch = NULL;
	request->stepping = false;
	request->item = 0;
	request->item_count = 0;
	request->aborts = atomic_load_explicit(&unit->aborts, memory_order_relaxed);
	atomic_store_explicit(&request->canceled, false, memory_order_relaxed);

	switch (request->cdb[0]) {
	case SCSI_REQUEST_SENSE: /* what went wrong was told with the command that did */
		if (unit->ops->has_own_sense && !atomic_load(&unit->attentions))
			break;
		scsi_request_sense(request, take_attention(unit));
		scsi_finish(request);
		return;
	case SCSI_REPORT_LUNS: /* a transport with several to a target answers itself */
		atomic_fetch_and(&unit->attentions, ~(uint32_t)SCSI_ATTENTION_LUNS);
		scsi_report_luns(request, lun_zero, 1);
		scsi_finish(request);
		return;
	default:
		if (atomic_load_explicit(&unit->attentions, memory_order_relaxed) &&
		    tell_attention(unit, request))
			return;
		break;
	}
	unit->ops->execute(unit, request);
}

bool scsi_aborted(struct scsi_request *request)
{
	if (request->aborts != atomic_load_explicit(&request->unit->aborts, memory_order_relaxed)) {
		request->status = SCSI_TASK_ABORTED;
		request->sense_bytes = 0;
		request->transferred_bytes = 0;
		return true;
	}
	if (atomic_load_explicit(&request->canceled, memory_order_relaxed)) {
		scsi_set_sense(request, SCSI_SENSE_ABORTED);
		return true;
	}
	return false;
}

void scsi_unit_attend(struct scsi_unit *unit, enum scsi_attention attention)
{
	atomic_fetch_or(&unit->attentions, attention);
}

void scsi_unit_abort(struct scsi_unit *unit)
{
	atomic_fetch_add(&unit->aborts, 1);
}

void scsi_unit_reset(struct scsi_unit *unit)
{
	/* First, so that no command from before it takes the news with it to its end. */
	scsi_unit_abort(unit);
	scsi_unit_attend(unit, SCSI_ATTENTION_RESET);
	if (unit->ops->reset)
		unit->ops->reset(unit);
}

void scsi_request_cancel(struct scsi_request *request)
{
	atomic_store_explicit(&request->canceled, true, memory_order_relaxed);
}

void scsi_unit_destroy(struct scsi_unit *unit)
{
	if (unit)
		unit->ops->destroy(unit);
}
