/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a CD drive and its medium say of themselves: INQUIRY, features, events, mode pages, table of
 * contents. No I/O and no state: everything is decided from a view of the drive.
 *
 * A medium is one data track of one session. Layouts: [mmc-5 5, 6, 7].
 */
#include "storage/scsi_cd_internal.h"

#include <string.h>

/* ---- INQUIRY ---- */

#define VENDOR "Msft    "

static void inquiry_vital(struct scsi_request *request, const struct guid *id)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83 };
	uint8_t data[4 + SCSI_IDENTIFIERS_BYTES] = { 0x05, request->cdb[2] };
	uint32_t bytes;

	switch (request->cdb[2]) {
	case 0x00:
		memcpy(data + 4, pages, sizeof(pages));
		bytes = sizeof(pages);
		break;
	case 0x80:
		bytes = scsi_fill_serial(id, data + 4);
		break;
	case 0x83:
		bytes = scsi_fill_identifiers(id, VENDOR, data + 4);
		break;
	default:
		scsi_set_invalid_field(request, 2);
		return;
	}
	scsi_put_u16(data + 2, (uint16_t)bytes);
	scsi_reply(request, data, 4 + bytes, scsi_get_u16(request->cdb + 3));
}

void scsi_cd_inquiry(struct scsi_request *request, const struct guid *id)
{
	uint8_t data[SCSI_INQUIRY_BYTES];

	if (request->cdb[1] & 0x02) { /* CMDDT is obsolete */
		scsi_set_invalid_field(request, 1);
		return;
	}
	if (request->cdb[1] & 0x01) {
		inquiry_vital(request, id);
		return;
	}
	if (request->cdb[2]) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	scsi_fill_inquiry(data, 0x05, VENDOR, "Virtual DVD-ROM ", "1.0 ");
	data[1] = 0x80; /* removable */
	scsi_put_u16(data + 60, 0x0420); /* MMC-5 */
	scsi_reply(request, data, sizeof(data), scsi_get_u16(request->cdb + 3));
}

/* ---- GET CONFIGURATION ---- */

#define PROFILE_CD_ROM 0x0008u
#define PROFILE_DVD_ROM 0x0010u

/* When a feature is current. */
enum feature_when { ALWAYS, WITH_MEDIUM, WITH_CD, WITH_DVD };

/* @body: without the four bytes of its header; those of the profile list are made. */
static const struct feature {
	uint16_t code;
	uint8_t version, when, bytes;
	uint8_t body[8];
} features[] = {
	{ 0x0000, 0, ALWAYS, 8, { 0 } },                         /* profile list */
	{ 0x0001, 2, ALWAYS, 8, { 0, 0, 0, 1, 0x01 } },          /* core: SCSI, device busy events */
	{ 0x0002, 1, ALWAYS, 4, { 0 } },                         /* morphing */
	{ 0x0003, 0, ALWAYS, 4, { 0x29 } },                      /* removable: tray, ejects, locks */
	{ 0x0010, 0, WITH_MEDIUM, 8, { 0, 0, 8, 0, 0, 16 } },    /* random readable, by 16 blocks */
	{ 0x001d, 0, WITH_CD, 0, { 0 } },                        /* multi-read */
	{ 0x001e, 2, WITH_CD, 4, { 0 } },                        /* CD read */
	{ 0x001f, 0, WITH_DVD, 0, { 0 } },                       /* DVD read */
	{ 0x0100, 0, ALWAYS, 0, { 0 } },                         /* power management */
};

#define FEATURE_COUNT (sizeof(features) / sizeof(features[0]))
#define CONFIGURATION_BYTES_MAX (8 + FEATURE_COUNT * 12)

static uint16_t profile_of(const struct scsi_cd_view *view)
{
	if (!view->present)
		return 0;
	return view->dvd ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static bool feature_is_current(const struct feature *feature, const struct scsi_cd_view *view)
{
	switch (feature->when) {
	case WITH_MEDIUM:
		return view->present;
	case WITH_CD:
		return view->present && !view->dvd;
	case WITH_DVD:
		return view->present && view->dvd;
	default:
		return true;
	}
}

static void fill_profiles(uint8_t *body, uint16_t current)
{
	scsi_put_u16(body, PROFILE_DVD_ROM);
	body[2] = current == PROFILE_DVD_ROM;
	scsi_put_u16(body + 4, PROFILE_CD_ROM);
	body[6] = current == PROFILE_CD_ROM;
}

void scsi_cd_get_configuration(struct scsi_request *request, const struct scsi_cd_view *view)
{
	uint16_t from = scsi_get_u16(request->cdb + 2), profile = profile_of(view);
	uint8_t data[CONFIGURATION_BYTES_MAX] = { 0 };
	uint8_t which = request->cdb[1] & 3; /* all, those that are current, one */
	uint32_t bytes = 8;

	if (which == 3) {
		scsi_set_invalid_field(request, 1);
		return;
	}
	for (size_t i = 0; i < FEATURE_COUNT; i++) {
		const struct feature *feature = &features[i];
		bool current = feature_is_current(feature, view);
		uint8_t *at = data + bytes;

		if (which == 2 ? feature->code != from
			       : feature->code < from || (which == 1 && !current))
			continue;
		scsi_put_u16(at, feature->code);
		at[2] = (uint8_t)(feature->version << 2 | (feature->when == ALWAYS) << 1 | current);
		at[3] = feature->bytes;
		memcpy(at + 4, feature->body, feature->bytes);
		if (!feature->code)
			fill_profiles(at + 4, profile);
		bytes += 4u + feature->bytes;
	}
	scsi_put_u32(data, bytes - 4);
	scsi_put_u16(data + 6, profile);
	scsi_reply(request, data, bytes, scsi_get_u16(request->cdb + 7));
}

/* ---- GET EVENT STATUS NOTIFICATION ---- */

#define MEDIA_CLASS 4u

bool scsi_cd_takes_event(const struct scsi_request *request)
{
	/* An allocation that has no room for the event leaves it where it is. */
	return request->cdb[1] & 0x01 && request->cdb[4] & 1u << MEDIA_CLASS &&
	       scsi_get_u16(request->cdb + 7) > 4;
}

void scsi_cd_event_status(struct scsi_request *request, const struct scsi_cd_view *view,
			  enum scsi_cd_event event)
{
	uint8_t data[8] = { 0 };
	uint32_t bytes = 4;

	if (!(request->cdb[1] & 0x01)) { /* only polling: nothing is told later */
		scsi_set_invalid_field(request, 1);
		return;
	}
	data[3] = 1u << MEDIA_CLASS; /* of all classes there is this one */
	if (request->cdb[4] & 1u << MEDIA_CLASS) {
		data[2] = MEDIA_CLASS;
		data[4] = (uint8_t)event;
		data[5] = view->present ? 0x02 : 0; /* the tray is never open */
		bytes = 8;
	} else {
		data[2] = 0x80; /* no such event */
	}
	scsi_put_u16(data, (uint16_t)(bytes - 2));
	scsi_reply(request, data, bytes, scsi_get_u16(request->cdb + 7));
}

/* ---- MODE SENSE ---- */

#define ERROR_RECOVERY_PAGE 0x01u
#define CAPABILITIES_PAGE 0x2au
#define ALL_PAGES 0x3fu

static uint32_t fill_error_recovery(uint8_t *out)
{
	out[0] = ERROR_RECOVERY_PAGE;
	out[1] = 10;
	out[3] = 5; /* retries */
	return 12;
}

static uint32_t fill_capabilities(uint8_t *out, bool held)
{
	out[0] = CAPABILITIES_PAGE;
	out[1] = 20;
	out[2] = 0x3b;                                /* reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM */
	out[4] = 0x70;                                /* multi-session, mode 2 forms 1 and 2 */
	out[6] = (uint8_t)(0x29 | (held ? 0x02 : 0)); /* tray, ejects, locks; is locked */
	scsi_put_u16(out + 8, 11080);                 /* kB/s at most: DVD at eight times its speed */
	scsi_put_u16(out + 12, 512);                  /* KiB of buffer */
	scsi_put_u16(out + 14, 11080);                /* now */
	return 22;
}

void scsi_cd_mode_sense(struct scsi_request *request, const struct scsi_cd_view *view)
{
	uint8_t data[SCSI_MODE_BYTES_MAX] = { 0 };
	uint8_t code = request->cdb[2] & 0x3f, *pages = data + scsi_mode_header_bytes(request->cdb);
	uint32_t bytes = 0;

	if (request->cdb[2] >> 6 == 3) {
		scsi_set_sense(request, SCSI_SENSE_SAVING_NOT_SUPPORTED);
		return;
	}
	if (request->cdb[3] == 0 || (code == ALL_PAGES && request->cdb[3] == 0xff)) {
		if (code == ERROR_RECOVERY_PAGE || code == ALL_PAGES)
			bytes += fill_error_recovery(pages);
		if (code == CAPABILITIES_PAGE || code == ALL_PAGES)
			bytes += fill_capabilities(pages + bytes, view->held);
	}
	if (!bytes) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	if (request->cdb[2] >> 6 == 1) /* nothing is changeable */
		for (uint32_t at = 0; at < bytes; at += 2u + pages[at + 1])
			memset(pages + at + 2, 0, pages[at + 1]);
	scsi_reply_mode(request, data, 0, 0, bytes);
}

/* ---- MECHANISM STATUS ---- */

void scsi_cd_mechanism_status(struct scsi_request *request)
{
	/* Idle; one slot, and no table of more. */
	static const uint8_t data[8] = { [5] = 1 };

	scsi_reply(request, data, sizeof(data), scsi_get_u16(request->cdb + 8));
}

/* ---- the medium ---- */

void scsi_cd_read_capacity(struct scsi_request *request, const struct scsi_cd_view *view)
{
	uint8_t data[8];

	scsi_put_u32(data, view->block_count - 1);
	scsi_put_u32(data + 4, 1u << SCSI_CD_BLOCK_SHIFT);
	scsi_reply(request, data, sizeof(data), sizeof(data));
}

#define DATA_TRACK 0x14u /* ADR 1, copying permitted or not is nobody's business here */
#define LEAD_OUT 0xaau

/* An address as minutes, seconds and 75ths, which have no room for all of a DVD. */
static void put_msf(uint8_t *out, uint32_t lba)
{
	uint64_t at = (uint64_t)lba + 150;

	if (at > (256u * 60 * 75) - 1)
		at = (256u * 60 * 75) - 1;
	out[0] = (uint8_t)(at / (60 * 75));
	out[1] = (uint8_t)(at / 75 % 60);
	out[2] = (uint8_t)(at % 75);
}

static void put_address(uint8_t out[4], uint32_t lba, bool msf)
{
	if (msf)
		put_msf(out + 1, lba);
	else
		scsi_put_u32(out, lba);
}

static uint32_t fill_track(uint8_t *out, uint8_t track, uint32_t lba, bool msf)
{
	out[1] = DATA_TRACK;
	out[2] = track;
	put_address(out + 4, lba, msf);
	return 8;
}

/* Tracks from @first on. Returns the length, 0 if there is no such track. */
static uint32_t fill_toc(uint8_t *data, uint8_t first, bool msf, uint32_t block_count)
{
	uint32_t bytes = 4;

	if (first > 1 && first != LEAD_OUT)
		return 0;
	if (first <= 1)
		bytes += fill_track(data + bytes, 1, 0, msf);
	return bytes + fill_track(data + bytes, LEAD_OUT, block_count, msf);
}

/* The same as a disc has it in its lead-in. */
static uint32_t fill_raw_toc(uint8_t *data, uint32_t block_count)
{
	static const uint8_t points[] = { 0xa0, 0xa1, 0xa2, 1 };

	for (uint32_t i = 0; i < sizeof(points); i++) {
		uint8_t *at = data + 4 + 11 * i;

		at[0] = 1; /* session */
		at[1] = DATA_TRACK;
		at[3] = points[i];
		if (points[i] == 0xa0 || points[i] == 0xa1)
			at[8] = 1; /* first and last track */
		else
			put_msf(at + 8, points[i] == 0xa2 ? block_count : 0);
	}
	return 4 + 11 * sizeof(points);
}

void scsi_cd_read_toc(struct scsi_request *request, const struct scsi_cd_view *view)
{
	const uint8_t *cdb = request->cdb;
	bool msf = cdb[1] & 0x02;
	/* Where ATAPI had it, if it is not where it belongs. */
	uint8_t format = cdb[2] & 0x0f ? cdb[2] & 0x0f : cdb[9] >> 6;
	uint8_t data[4 + 11 * 4] = { 0 };
	uint32_t bytes;

	switch (format) {
	case 0:
		bytes = fill_toc(data, cdb[6], msf, view->block_count);
		if (!bytes) {
			scsi_set_invalid_field(request, 6);
			return;
		}
		break;
	case 1: /* where the last session's first track begins */
		bytes = 4 + fill_track(data + 4, 1, 0, msf);
		break;
	case 2:
		bytes = fill_raw_toc(data, view->block_count);
		break;
	default:
		scsi_set_invalid_field(request, 2);
		return;
	}
	scsi_put_u16(data, (uint16_t)(bytes - 2));
	data[2] = data[3] = 1; /* first and last track, or session */
	scsi_reply(request, data, bytes, scsi_get_u16(cdb + 7));
}

void scsi_cd_read_disc_information(struct scsi_request *request)
{
	uint8_t data[34] = { 0 };

	if (request->cdb[1] & 0x07) { /* of a disc's tracks, or POW: for those that can be written */
		scsi_set_invalid_field(request, 1);
		return;
	}
	scsi_put_u16(data, sizeof(data) - 2);
	data[2] = 0x0e; /* session and disc are complete */
	data[3] = data[4] = data[5] = data[6] = 1;
	data[7] = 0x20; /* use is unrestricted */
	scsi_put_u32(data + 16, UINT32_MAX); /* no lead-in or lead-out to come */
	scsi_put_u32(data + 20, UINT32_MAX);
	scsi_reply(request, data, sizeof(data), scsi_get_u16(request->cdb + 7));
}

#define DVD_DATA_START 0x30000u

/* One layer, read from inside out. */
static void fill_physical_format(uint8_t *body, uint32_t block_count)
{
	body[0] = 0x01; /* DVD-ROM, version 1 */
	body[1] = 0x0f; /* 120 mm, no rate */
	body[2] = 0x01; /* one layer with an embossed area */
	scsi_put_u32(body + 4, DVD_DATA_START);
	scsi_put_u32(body + 8, DVD_DATA_START + block_count - 1);
}

void scsi_cd_read_dvd_structure(struct scsi_request *request, const struct scsi_cd_view *view)
{
	/* READ DVD STRUCTURE can read it (bit 6); code and length of each. */
	static const uint8_t list[] = { 0x00, 0x40, 2052 >> 8, 2052 & 0xff, 0x01, 0x40, 0, 8,
					0x04, 0x40, 2052 >> 8, 2052 & 0xff };
	uint8_t format = request->cdb[7];
	uint32_t bytes;
	uint8_t *data;

	if (format != 0xff && !view->dvd) {
		scsi_set_sense(request, SCSI_SENSE_INCOMPATIBLE_MEDIUM);
		return;
	}
	if (!scsi_take_scratch(request))
		return;
	data = request->scratch;
	memset(data, 0, 2052);
	switch (request->cdb[1] & 0x0f ? 0xfe : format) { /* DVD, not Blu-ray */
	case 0x00:
		fill_physical_format(data + 4, view->block_count);
		bytes = 2052;
		break;
	case 0x01: /* copyright: none */
		bytes = 8;
		break;
	case 0x04: /* the manufacturer's: nothing */
		bytes = 2052;
		break;
	case 0xff:
		memcpy(data + 4, list, sizeof(list));
		bytes = 4 + sizeof(list);
		break;
	default:
		scsi_set_invalid_field(request, 7);
		return;
	}
	scsi_put_u16(data, (uint16_t)(bytes - 2));
	scsi_reply(request, data, bytes, scsi_get_u16(request->cdb + 8));
}
