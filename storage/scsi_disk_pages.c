/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The part of a SCSI disk that describes it: INQUIRY, vital product data, capacity, mode pages. No
 * I/O; everything is decided from the block device's geometry.
 *
 * Layouts: [spc-4 6.4, 7.5, 7.8], [sbc-3 5.16, 6.4, 6.5].
 */
#include <stdio.h>
#include <string.h>

#include "storage/scsi_disk_internal.h"

/* ---- INQUIRY ---- */

/* Returns the length of the page's body, written to @body. */
typedef uint32_t vpd_fill(const struct scsi_disk *disk, uint8_t *body);

#define VPD_BYTES_MAX 128u

static uint32_t fill_supported(const struct scsi_disk *disk, uint8_t *body);

static uint32_t fill_serial(const struct scsi_disk *disk, uint8_t *body)
{
	return scsi_fill_serial(&disk->medium.device->geometry.unique_id, body);
}

static uint32_t fill_identifiers(const struct scsi_disk *disk, uint8_t *body)
{
	return scsi_fill_identifiers(&disk->medium.device->geometry.unique_id, disk->vendor, body);
}

static uint32_t fill_limits(const struct scsi_disk *disk, uint8_t *body)
{
	const struct block_geometry *geometry = &disk->medium.device->geometry;
	uint32_t granularity = geometry->discard_granularity_bytes >> disk->medium.sector_shift;

	body[0] = 0x01; /* WSNZ: a WRITE SAME of zero blocks is refused */
	scsi_put_u16(body + 2, (uint16_t)(geometry->physical_sector_bytes >> disk->medium.sector_shift));
	scsi_put_u32(body + 4, disk->transfer_bytes_max >> disk->medium.sector_shift);
	if (geometry->discard_granularity_bytes) {
		scsi_put_u32(body + 16, UINT32_MAX);
		scsi_put_u32(body + 20, SCSI_UNMAP_DESCRIPTORS_MAX);
		scsi_put_u32(body + 24, granularity ? granularity : 1);
		scsi_put_u32(body + 28, 0x80000000u); /* UGAVALID, aligned to 0 */
	}
	scsi_put_u64(body + 32, SCSI_WRITE_SAME_BYTES_MAX >> disk->medium.sector_shift);
	return 60;
}

static uint32_t fill_characteristics(const struct scsi_disk *disk, uint8_t *body)
{
	scsi_put_u16(body, 1); /* does not rotate */
	return 60;
}

static uint32_t fill_provisioning(const struct scsi_disk *disk, uint8_t *body)
{
	const struct block_geometry *geometry = &disk->medium.device->geometry;

	/* The exponent in the first byte stays 0: there are no thresholds. */
	if (geometry->discard_granularity_bytes) {
		body[1] = 0xe0; /* LBPU, LBPWS, LBPWS10 */
		body[1] |= geometry->discard_zeroes ? 0x04 : 0; /* LBPRZ */
		body[2] = 0x02; /* thin */
	}
	return 4;
}

static const struct {
	uint8_t code;
	vpd_fill *fill;
} vpd_pages[] = {
	{ 0x00, fill_supported },
	{ 0x80, fill_serial },
	{ 0x83, fill_identifiers },
	{ 0xb0, fill_limits },
	{ 0xb1, fill_characteristics },
	{ 0xb2, fill_provisioning },
};

#define VPD_PAGE_COUNT (sizeof(vpd_pages) / sizeof(vpd_pages[0]))

static uint32_t fill_supported(const struct scsi_disk *disk, uint8_t *body)
{
	for (size_t i = 0; i < VPD_PAGE_COUNT; i++)
		body[i] = vpd_pages[i].code;
	return VPD_PAGE_COUNT;
}

static void inquiry_vpd(struct scsi_disk *disk, struct scsi_request *request)
{
	uint8_t data[VPD_BYTES_MAX] = { 0 };
	uint32_t body_bytes;

	for (size_t i = 0; i < VPD_PAGE_COUNT; i++) {
		if (vpd_pages[i].code != request->cdb[2])
			continue;
		body_bytes = vpd_pages[i].fill(disk, data + 4);
		data[1] = vpd_pages[i].code;
		scsi_put_u16(data + 2, (uint16_t)body_bytes);
		scsi_reply(request, data, 4 + body_bytes, scsi_get_u16(request->cdb + 3));
		return;
	}
	scsi_set_invalid_field(request, 2);
}

void scsi_inquiry(struct scsi_disk *disk, struct scsi_request *request)
{
	uint8_t data[SCSI_INQUIRY_BYTES];

	if (request->cdb[1] & 0x02) { /* CMDDT is obsolete */
		scsi_set_invalid_field(request, 1);
		return;
	}
	if (request->cdb[1] & 0x01) {
		inquiry_vpd(disk, request);
		return;
	}
	if (request->cdb[2]) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	scsi_fill_inquiry(data, 0x00, disk->vendor, disk->product, disk->revision);
	scsi_put_u16(data + 60, 0x04c0); /* SBC-3 */
	scsi_reply(request, data, sizeof(data), scsi_get_u16(request->cdb + 3));
}

/* ---- capacity ---- */

void scsi_read_capacity_10(struct scsi_disk *disk, struct scsi_request *request)
{
	uint64_t sectors = scsi_medium_sectors(&disk->medium), last = sectors ? sectors - 1 : 0;
	uint8_t data[8];

	if (!(request->cdb[8] & 0x01) && scsi_get_u32(request->cdb + 2)) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	scsi_put_u32(data, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
	scsi_put_u32(data + 4, 1u << disk->medium.sector_shift);
	scsi_reply(request, data, sizeof(data), sizeof(data));
}

void scsi_read_capacity_16(struct scsi_disk *disk, struct scsi_request *request)
{
	const struct block_geometry *geometry = &disk->medium.device->geometry;
	uint64_t sectors = scsi_medium_sectors(&disk->medium);
	uint8_t data[32] = { 0 };
	uint8_t exponent = 0;

	if (!(request->cdb[14] & 0x01) && scsi_get_u64(request->cdb + 2)) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	while (exponent < 15 &&
	       (1u << (disk->medium.sector_shift + exponent)) < geometry->physical_sector_bytes)
		exponent++;
	scsi_put_u64(data, sectors ? sectors - 1 : 0);
	scsi_put_u32(data + 8, 1u << disk->medium.sector_shift);
	data[13] = exponent;
	if (geometry->discard_granularity_bytes)
		data[14] = geometry->discard_zeroes ? 0xc0 : 0x80; /* LBPME, LBPRZ */
	scsi_reply(request, data, sizeof(data), scsi_get_u32(request->cdb + 10));
}

/* ---- mode pages ---- */

#define CACHING_PAGE 0x08u
#define CACHING_WCE 0x04u
#define ALL_PAGES 0x3fu

enum page_control {
	PAGE_CURRENT = 0,
	PAGE_CHANGEABLE = 1,
	PAGE_DEFAULT = 2,
	PAGE_SAVED = 3,
};

static const struct mode_page {
	uint8_t bytes; /* of the whole page */
	uint8_t fixed[20];
} mode_pages[] = {
	{ 12, { 0x01, 10, 0xc0 } },             /* read-write error recovery: AWRE, ARRE */
	{ 20, { CACHING_PAGE, 18 } },
	{ 12, { 0x0a, 10, 0x00, 0x10 } },       /* control: commands may be reordered freely */
	{ 12, { 0x1c, 10, 0x08 } },             /* informational exceptions: none are reported */
};

#define MODE_PAGE_COUNT (sizeof(mode_pages) / sizeof(mode_pages[0]))

static void fill_mode_page(const struct scsi_disk *disk, const struct mode_page *page,
			   enum page_control control, uint8_t *out)
{
	memcpy(out, page->fixed, page->bytes);
	if (control == PAGE_CHANGEABLE)
		memset(out + 2, 0, page->bytes - 2u);
	if (page->fixed[0] != CACHING_PAGE)
		return;
	if (control != PAGE_CURRENT || atomic_load(&disk->write_cache))
		out[2] |= CACHING_WCE;
}

/* Appends the pages asked for; returns their length, 0 if there is no such page. */
static uint32_t fill_mode_pages(const struct scsi_disk *disk, const uint8_t *cdb, uint8_t *out)
{
	uint8_t code = cdb[2] & 0x3f;
	uint32_t bytes = 0;

	/* No page of ours has subpages. */
	if (cdb[3] && !(code == ALL_PAGES && cdb[3] == 0xff))
		return 0;
	for (size_t i = 0; i < MODE_PAGE_COUNT; i++) {
		if (code != ALL_PAGES && code != mode_pages[i].fixed[0])
			continue;
		fill_mode_page(disk, &mode_pages[i], (enum page_control)(cdb[2] >> 6), out + bytes);
		bytes += mode_pages[i].bytes;
	}
	return bytes;
}

static uint32_t fill_block_descriptor(const struct scsi_disk *disk, bool long_form, uint8_t *out)
{
	uint64_t sectors = scsi_medium_sectors(&disk->medium);

	if (long_form) {
		scsi_put_u64(out, sectors);
		scsi_put_u32(out + 12, 1u << disk->medium.sector_shift);
		return 16;
	}
	scsi_put_u32(out, sectors < UINT32_MAX ? (uint32_t)sectors : UINT32_MAX);
	scsi_put_u32(out + 4, 1u << disk->medium.sector_shift); /* three bytes; the fourth is 0 */
	return 8;
}

void scsi_mode_sense(struct scsi_disk *disk, struct scsi_request *request)
{
	const uint8_t *cdb = request->cdb;
	bool long_lba = cdb[0] == SCSI_MODE_SENSE_10 && (cdb[1] & 0x10);
	uint8_t data[SCSI_MODE_BYTES_MAX] = { 0 };
	/* WP, and DPOFUA: the FUA bit is obeyed */
	uint8_t specific = (uint8_t)((disk->medium.device->geometry.read_only ? 0x80 : 0) | 0x10);
	uint32_t header_bytes = scsi_mode_header_bytes(cdb), descriptor_bytes = 0, page_bytes;

	if (cdb[2] >> 6 == PAGE_SAVED) {
		scsi_set_sense(request, SCSI_SENSE_SAVING_NOT_SUPPORTED);
		return;
	}
	if (!(cdb[1] & 0x08)) /* DBD */
		descriptor_bytes = fill_block_descriptor(disk, long_lba, data + header_bytes);
	page_bytes = fill_mode_pages(disk, cdb, data + header_bytes + descriptor_bytes);
	if (!page_bytes) {
		scsi_set_invalid_field(request, 2);
		return;
	}
	scsi_reply_mode(request, data, specific, descriptor_bytes, page_bytes);
}

/* May @wanted replace what the page says now? WCE is all that can be changed. */
static bool mode_page_acceptable(const struct scsi_disk *disk, const uint8_t *wanted,
				 uint32_t bytes)
{
	uint8_t current[20], changeable[20];

	for (size_t i = 0; i < MODE_PAGE_COUNT; i++) {
		const struct mode_page *page = &mode_pages[i];

		/* Bit 7 (PS) means nothing here; bit 6 would announce a subpage. */
		if ((wanted[0] & 0x7f) != page->fixed[0])
			continue;
		if (bytes < page->bytes || wanted[1] != page->fixed[1])
			return false;
		fill_mode_page(disk, page, PAGE_CURRENT, current);
		fill_mode_page(disk, page, PAGE_CHANGEABLE, changeable);
		for (uint32_t b = 2; b < page->bytes; b++)
			if ((wanted[b] ^ current[b]) & ~changeable[b])
				return false;
		return true;
	}
	return false;
}

/* Checks all pages; *@write_cache is what the list wants, or stays. Returns false on a bad list. */
static bool parse_mode_pages(const struct scsi_disk *disk, const uint8_t *list, uint32_t bytes,
			     bool *write_cache)
{
	while (bytes) {
		if (bytes < 2 || !mode_page_acceptable(disk, list, bytes))
			return false;
		if ((list[0] & 0x3f) == CACHING_PAGE)
			*write_cache = list[2] & CACHING_WCE;
		bytes -= 2u + list[1];
		list += 2u + list[1];
	}
	return true;
}

bool scsi_mode_select(struct scsi_disk *disk, struct scsi_request *request)
{
	const uint8_t *cdb = request->cdb;
	bool ten = cdb[0] == SCSI_MODE_SELECT_10;
	uint32_t list_bytes = ten ? scsi_get_u16(cdb + 7) : cdb[4];
	uint32_t header_bytes = scsi_mode_header_bytes(cdb), descriptor_bytes;
	bool had_cache = atomic_load(&disk->write_cache), write_cache = had_cache;
	uint8_t list[SCSI_MODE_BYTES_MAX];

	if ((cdb[1] & 0x11) != 0x10) { /* PF: the standard's format; SP: to be saved */
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (!list_bytes) {
		scsi_set_good(request, 0);
		return false;
	}
	if (list_bytes < header_bytes || list_bytes > sizeof(list)) {
		scsi_set_sense(request, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return false;
	}
	if (!scsi_copy_out(request, 0, list, list_bytes))
		return false;
	descriptor_bytes = ten ? scsi_get_u16(list + 6) : list[3];
	if (descriptor_bytes > list_bytes - header_bytes) {
		scsi_set_sense(request, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return false;
	}
	/* Of the block descriptor nothing can be changed: it is not looked at. */
	if (!parse_mode_pages(disk, list + header_bytes + descriptor_bytes,
			      list_bytes - header_bytes - descriptor_bytes, &write_cache)) {
		scsi_set_sense(request, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
		return false;
	}
	atomic_store(&disk->write_cache, write_cache);
	scsi_set_good(request, list_bytes);
	return had_cache && !write_cache;
}
