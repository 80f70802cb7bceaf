// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Any CDB with any data on a SCSI disk of two guests, on a CD drive, or on a device of the host, one at a time, on a block device that fails or answers late
 * where the input says so, while the guest changes the data under way. Each command ends once, with
 * sound status and sense; nothing reaches beyond the disk or the data; and a model that reads the
 * CDB for itself says what the disk must hold after it, and what reading it must have brought.
 */
#include <errno.h>
#include <scsi/sg.h>

#include "fuzz/fuzz.h"
#include "storage/scsi_cd.h"
#include "storage/scsi_disk.h"
#include "storage/scsi_passthrough.h"

#define SMALL_BYTES 65536u /* a small disk, that has contents */
#define HUGE_BYTES (UINT64_C(1) << 43)
#define DATA_MAX 65536u
#define PIECES_MAX 8u
#define STEPS_MAX 64u

static struct block_device device;
static uint8_t pattern[SMALL_BYTES], disk[SMALL_BYTES], model[SMALL_BYTES];
static struct scsi_unit *scsi, *second; /* the second is another guest's way to the same disk */
static struct scsi_reservations *reservations;
static enum { DISK, CD, PASSTHROUGH } kind;
static uint32_t sector_bytes;
static bool huge;

/* The command at hand. */
static struct scsi_request request;
static struct iovec iov[PIECES_MAX], whole_iov[PIECES_MAX];
static uint32_t done_count, steps, fail_at;
static int fail_with;
static bool late, hostile, failed, canceled;
static struct block_request *pending;

/* ---- the block device ---- */

static void move(struct block_request *block, uint8_t *at)
{
	for (uint32_t i = 0; i < block->iov_count; i++) {
		struct iovec piece = block->iov[i];

		if (piece.iov_len && block->op == BLOCK_READ)
			memcpy(piece.iov_base, at, piece.iov_len);
		else if (piece.iov_len)
			memcpy(at, piece.iov_base, piece.iov_len);
		at += piece.iov_len;
	}
}

static void finish(struct block_request *block)
{
	if (fail_at && steps >= fail_at) {
		failed = true;
		block->done(block, fail_with);
		return;
	}
	if (!huge && (block->op == BLOCK_READ || block->op == BLOCK_WRITE))
		move(block, disk + block->offset_bytes);
	else if (!huge && block->op != BLOCK_FLUSH)
		memset(disk + block->offset_bytes, 0, block->length_bytes);
	block->done(block, 0);
}

/* In place of storage/block.c, which would forgive what must not come. */
void block_submit(struct block_device *which, struct io_loop *loop, struct block_request *block)
{
	const struct block_geometry *geometry = &device.geometry;
	uint64_t bytes = 0;

	FUZZ_CHECK(which == &device && !pending);
	FUZZ_CHECK(block->offset_bytes <= geometry->size_bytes);
	FUZZ_CHECK(block->length_bytes <= geometry->size_bytes - block->offset_bytes);
	FUZZ_CHECK(block->offset_bytes % sector_bytes == 0 &&
		   block->length_bytes % sector_bytes == 0);
	FUZZ_CHECK(!geometry->read_only || block->op == BLOCK_READ || block->op == BLOCK_FLUSH);
	if (block->op == BLOCK_READ || block->op == BLOCK_WRITE) {
		for (uint32_t i = 0; i < block->iov_count; i++)
			bytes += block->iov[i].iov_len;
		FUZZ_CHECK(bytes == block->length_bytes);
	}
	if (++steps == STEPS_MAX) { /* a long one */
		canceled = true;
		scsi_request_cancel(&request);
	}
	if (hostile && whole_iov[0].iov_len) /* in the middle of it */
		((uint8_t *)whole_iov[0].iov_base)[steps * 7 % whole_iov[0].iov_len] ^= 0xff;
	if (late)
		pending = block;
	else
		finish(block);
}

/* Extents of changing kind and length, from the address alone. */
static int map(struct block_device *which, uint64_t offset_bytes, struct block_extent *out_extent)
{
	uint64_t sector = offset_bytes / sector_bytes;

	if (fail_at && sector % 8 == fail_at) {
		failed = true;
		return fail_with;
	}
	if (sector * 7 % 13 < 6)
		out_extent->length_bytes = (1 + sector % 5) * sector_bytes;
	out_extent->data = sector * 5 % 11 < 6;
	return 0;
}

static void medium_left(struct io_call *call)
{
	/* Taken when the command has ended. */
}

/* A device of the host: what reaches it is sound, and it answers as the command's address says. */
static int sg_io(void *owner, struct sg_io_hdr *io)
{
	static const uint8_t lengths[] = { 6, 10, 10, 0, 16, 12, 0, 0 };
	const uint8_t *cdb = io->cmdp;
	const struct iovec *pieces = io->iovec_count ? io->dxferp : &(struct iovec){ io->dxferp, io->dxfer_len };
	uint32_t count = io->iovec_count ? io->iovec_count : 1;
	uint64_t total = 0;

	FUZZ_CHECK(io->cmd_len == lengths[cdb[0] >> 5] && io->cmd_len);
	FUZZ_CHECK(cdb[0] != 0x3b && cdb[0] != 0x83 && cdb[0] != 0x84 && cdb[0] < 0xc0);
	FUZZ_CHECK(cdb[0] != 0x85 && cdb[0] != 0xa1 && cdb[0] != 0xa4 && cdb[0] != 0xb5);
	FUZZ_CHECK(!device.geometry.read_only ||
		   !memchr("\x04\x0a\x15\x2a\x2e\x41\x42\x55\x5f\x8a\x8e\x93\xaa\xae", cdb[0], 14));
	for (uint32_t i = 0; i < count; i++) {
		total += pieces[i].iov_len;
		if (io->dxfer_direction != SG_DXFER_TO_DEV && pieces[i].iov_len)
			memset(pieces[i].iov_base, cdb[2], pieces[i].iov_len);
	}
	FUZZ_CHECK(total == io->dxfer_len);
	io->status = cdb[3] & 1 ? 2 : 0;
	io->host_status = cdb[3] & 2 ? cdb[3] >> 4 : 0;
	io->sb_len_wr = cdb[3] & 4 ? io->mx_sb_len : 0;
	memset(io->sbp, 0x72, io->sb_len_wr);
	io->resid = (int8_t)cdb[4] * 16;
	return cdb[3] & 8 ? -(int)cdb[5] : 0;
}

static int reset_device(void *owner)
{
	return 0;
}

static void close_device(void *owner)
{
}

static void make_units(uint8_t how)
{
	static struct io_call left = { .fn = medium_left };
	struct scsi_disk_config disk_config = { .device = &device, .write_through = how & 16 };
	const struct scsi_cd_config cd_config = { .device = &device, .ejected = &left };
	const struct scsi_passthrough_config passthrough_config = {
		.read_only = how & 4, .block_bytes = 512, .transfer_bytes_max = 65536, .sg_io = sg_io,
		.reset = reset_device, .close = close_device,
	};
	char error[SCSI_RESERVATIONS_ERROR_BYTES];

	second = NULL;
	switch (kind) {
	case DISK:
		FUZZ_CHECK(!scsi_reservations_create(NULL, &reservations, error));
		disk_config.reservations = reservations;
		FUZZ_CHECK(!scsi_disk_create(&disk_config, &scsi));
		disk_config.initiator = 2;
		FUZZ_CHECK(!scsi_disk_create(&disk_config, &second));
		break;
	case CD:
		FUZZ_CHECK(!scsi_cd_create(&cd_config, &scsi));
		break;
	default:
		FUZZ_CHECK(!scsi_passthrough_create(&passthrough_config, &scsi));
		break;
	}
}

static void drop_units(void)
{
	scsi_unit_destroy(scsi);
	scsi_unit_destroy(second);
	scsi_reservations_destroy(reservations);
	reservations = NULL;
}

/* What happens beside the guest, before a command. */
static void host_event(uint8_t what)
{
	struct scsi_unit *unit = scsi;

	if (what & 1)
		scsi_unit_reset(scsi);
	if (what & 2 && second) {
		scsi = second;
		second = unit;
	}
	if (what & 4 && kind == CD && scsi_cd_eject(scsi, what & 8) == -LIS_NOTFOUND)
		FUZZ_CHECK(!scsi_cd_insert(scsi, &device));
}

static void begin(uint8_t how)
{
	static const struct block_driver driver = { .name = "fuzz", .map = map };

	kind = how & 128 ? PASSTHROUGH : how & 64 ? CD : DISK;
	sector_bytes = kind == CD ? 2048 : how & 1 ? 4096 : 512;
	huge = how & 2;
	device.geometry = (struct block_geometry){
		.size_bytes = !huge ? SMALL_BYTES : kind == CD ? HUGE_BYTES / 2 : HUGE_BYTES + sector_bytes,
		.logical_sector_bytes = kind == CD ? 512 : sector_bytes, .physical_sector_bytes = 4096,
		.buffer_align_bytes = 1, .discard_granularity_bytes = how & 8 ? 0 : 4096,
		.discard_zeroes = true, .read_only = how & 4,
	};
	device.driver = &driver;
	memcpy(disk, pattern, sizeof(disk));
	memcpy(model, pattern, sizeof(model));
	pending = NULL;
	make_units(how);
}

/* ---- the model ---- */

static uint64_t number(const uint8_t *at, uint32_t bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

/* What of a READ or WRITE @cdb names; false where it is another command. */
static bool names_blocks(const uint8_t *cdb, bool writing, uint64_t *out_lba, uint64_t *out_count)
{
	switch (cdb[0]) {
	case SCSI_READ_6: case SCSI_WRITE_6:
		*out_lba = number(cdb + 1, 3) & 0x1fffff;
		*out_count = cdb[4] ? cdb[4] : 256;
		break;
	case SCSI_READ_10: case SCSI_WRITE_10:
		*out_lba = number(cdb + 2, 4);
		*out_count = number(cdb + 7, 2);
		break;
	case SCSI_READ_12: case SCSI_WRITE_12:
		*out_lba = number(cdb + 2, 4);
		*out_count = number(cdb + 6, 4);
		break;
	case SCSI_READ_16: case SCSI_WRITE_16:
		*out_lba = number(cdb + 2, 8);
		*out_count = number(cdb + 10, 4);
		break;
	default:
		return false;
	}
	return writing == ((cdb[0] & 0x1f) == (SCSI_WRITE_6 & 0x1f));
}

static void get_data(uint64_t offset, uint8_t *to, uint64_t bytes)
{
	for (uint32_t i = 0; i < PIECES_MAX && bytes; i++) {
		uint64_t now = whole_iov[i].iov_len;

		if (offset >= now) {
			offset -= now;
			continue;
		}
		now = now - offset < bytes ? now - offset : bytes;
		memcpy(to, (const uint8_t *)whole_iov[i].iov_base + offset, now);
		to += now;
		bytes -= now;
		offset = 0;
	}
}

/* The disk as it must be after a command that succeeded. */
static void model_executes(const uint8_t *cdb)
{
	uint8_t list[8 + 16 * 256] = { 0 }, block[4096];
	uint64_t lba, count;

	if (names_blocks(cdb, true, &lba, &count)) {
		get_data(0, model + lba * sector_bytes, count * sector_bytes);
		return;
	}
	switch (cdb[0]) {
	case SCSI_WRITE_AND_VERIFY_10:
		get_data(0, model + number(cdb + 2, 4) * sector_bytes,
			 number(cdb + 7, 2) * sector_bytes);
		break;
	case SCSI_WRITE_AND_VERIFY_12:
		get_data(0, model + number(cdb + 2, 4) * sector_bytes,
			 number(cdb + 6, 4) * sector_bytes);
		break;
	case SCSI_WRITE_AND_VERIFY_16:
		get_data(0, model + number(cdb + 2, 8) * sector_bytes,
			 number(cdb + 10, 4) * sector_bytes);
		break;
	case SCSI_WRITE_SAME_10: case SCSI_WRITE_SAME_16:
		lba = cdb[0] == SCSI_WRITE_SAME_10 ? number(cdb + 2, 4) : number(cdb + 2, 8);
		count = cdb[0] == SCSI_WRITE_SAME_10 ? number(cdb + 7, 2) : number(cdb + 10, 4);
		memset(block, 0, sizeof(block));
		if (cdb[0] == SCSI_WRITE_SAME_10 || !(cdb[1] & 1))
			get_data(0, block, sector_bytes);
		for (; count; count--, lba++)
			memcpy(model + lba * sector_bytes, block, sector_bytes);
		break;
	case SCSI_UNMAP:
		if (!number(cdb + 7, 2))
			break;
		get_data(0, list, request.data_bytes < sizeof(list) ? request.data_bytes :
								     sizeof(list));
		for (uint64_t i = 0; i < number(list + 2, 2) / 16; i++)
			memset(model + number(list + 8 + 16 * i, 8) * sector_bytes, 0,
			       number(list + 16 + 16 * i, 4) * sector_bytes);
		break;
	}
}

static void check_read(const uint8_t *cdb)
{
	static uint8_t data[DATA_MAX];
	uint64_t lba, count;

	if (!names_blocks(cdb, false, &lba, &count))
		return;
	FUZZ_CHECK(request.transferred_bytes == count * sector_bytes);
	FUZZ_CHECK(request.transferred_bytes <= DATA_MAX);
	get_data(0, data, request.transferred_bytes);
	FUZZ_CHECK(!memcmp(data, disk + lba * sector_bytes, request.transferred_bytes));
}

/* Descriptors follow each other without a gap, from the address asked for to the end at most. */
static void check_lba_status(const uint8_t *cdb)
{
	static uint8_t data[DATA_MAX];
	uint64_t lba = number(cdb + 2, 8), end = device.geometry.size_bytes / sector_bytes;

	if (cdb[0] != SCSI_SERVICE_ACTION_IN_16 || (cdb[1] & 0x1f) != SCSI_GET_LBA_STATUS)
		return;
	get_data(0, data, request.transferred_bytes);
	for (uint32_t at = 8; at + 16 <= request.transferred_bytes; at += 16) {
		FUZZ_CHECK(number(data + at, 8) == lba && data[at + 12] <= 1);
		lba += number(data + at + 8, 4);
		FUZZ_CHECK(number(data + at + 8, 4) && lba <= end);
	}
}

/* A plain READ or WRITE that could succeed must. */
static void check_refusal(const uint8_t *cdb, uint32_t direction, uint64_t data_bytes)
{
	bool writing = names_blocks(cdb, true, &(uint64_t){ 0 }, &(uint64_t){ 0 });
	uint64_t lba, count;

	if (!names_blocks(cdb, writing, &lba, &count) || (cdb[0] >> 5 && cdb[1] & 0xe0))
		return;
	/* Other things may be in the way, which are told once, or another's reservation. */
	if (kind != DISK || request.status == SCSI_RESERVATION_CONFLICT ||
	    (request.status == SCSI_CHECK_CONDITION && request.sense[2] == 6))
		return;
	if (lba > device.geometry.size_bytes / sector_bytes ||
	    count > device.geometry.size_bytes / sector_bytes - lba) {
		FUZZ_CHECK(request.status == SCSI_CHECK_CONDITION && request.sense[12] == 0x21);
		return;
	}
	if ((writing && device.geometry.read_only) || count * sector_bytes > data_bytes ||
	    !(direction & (writing ? SCSI_DATA_OUT : SCSI_DATA_IN)))
		return;
	FUZZ_CHECK(request.status == SCSI_GOOD);
}

static void check_result(void)
{
	uint8_t key = request.sense[2];

	if (kind == PASSTHROUGH) { /* as the device has it, within bounds */
		FUZZ_CHECK(request.sense_bytes <= SCSI_SENSE_BYTES);
		FUZZ_CHECK(request.transferred_bytes <= request.data_bytes);
		return;
	}
	switch (request.status) {
	case SCSI_GOOD:
		FUZZ_CHECK(!request.sense_bytes && request.transferred_bytes <= request.data_bytes);
		break;
	case SCSI_CHECK_CONDITION:
		FUZZ_CHECK(request.sense_bytes == SCSI_SENSE_BYTES && request.sense[0] == 0x70);
		FUZZ_CHECK(request.sense[7] == SCSI_SENSE_BYTES - 8 && !request.transferred_bytes);
		FUZZ_CHECK(key == 2 || key == 3 || key == 4 || key == 5 || key == 6 || key == 7 ||
			   key == 0xb || key == 0xe);
		/* What was written is there, unless the guest changed it meanwhile. */
		FUZZ_CHECK(key != 0xe || hostile || huge ||
			   (request.cdb[0] & 0x1f) == (SCSI_VERIFY_10 & 0x1f));
		FUZZ_CHECK(failed || (key != 2 && key != 3 && key != 4) ||
			   (kind == CD && request.sense[12] == 0x3a));
		FUZZ_CHECK(canceled || key != 0xb || failed);
		break;
	case SCSI_RESERVATION_CONFLICT:
		FUZZ_CHECK(kind == DISK && !request.sense_bytes && !request.transferred_bytes);
		break;
	default:
		FUZZ_CHECK(request.status == SCSI_BUSY && failed && !request.transferred_bytes);
	}
}

/* ---- commands ---- */

static void done(struct scsi_request *which)
{
	FUZZ_CHECK(which == &request);
	done_count++;
}

static uint64_t make_data(struct input *input, uint8_t how)
{
	uint32_t pieces = 1 + (how >> 5) % PIECES_MAX;
	uint64_t bytes = how & 16 ? input_u16(input) : (uint64_t)sector_bytes * input_u8(input);
	uint64_t left;

	if (bytes > DATA_MAX)
		bytes = DATA_MAX;
	if (!bytes)
		pieces = 0;
	left = bytes;
	memset(whole_iov, 0, sizeof(whole_iov));
	for (uint32_t i = 0; i < pieces; i++) {
		size_t now = i + 1 < pieces ? left / 3 : left;
		uint8_t *memory = malloc(now ? now : 1); /* of its very length */

		memset(memory, how, now);
		if (!i) /* what is not zeroes comes first, as parameters do */
			input_copy(input, memory, now < 24 ? now : 24);
		whole_iov[i] = (struct iovec){ memory, now };
		left -= now;
	}
	memcpy(iov, whole_iov, sizeof(iov));
	request.iov = iov;
	request.iov_count = pieces;
	return bytes;
}

/* Puts an address near the disk's end into a CDB. */
static void name_the_end(uint8_t *cdb, uint8_t before)
{
	uint64_t lba = device.geometry.size_bytes / sector_bytes - before % 16;
	uint32_t bytes = cdb[0] >> 5 == 0 ? 3 : cdb[0] >> 5 == 4 ? 8 : 4;
	uint8_t *at = cdb + (bytes == 3 ? 1 : 2);

	for (uint32_t i = bytes; i-- > 0; lba >>= 8)
		at[i] = (uint8_t)lba;
}

static void command(struct input *input)
{
	static const uint8_t operations[] = {
		0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35,
		0x41, 0x42, 0x55, 0x5a, 0x88, 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa,
		0x16, 0x17, 0x1e, 0x5e, 0x5f, 0x2b, 0x43, 0x46, 0x4a, 0x51, 0xad, 0xbd, 0xbb,
	};
	static const int errors[] = { -LIS_IO, -LIS_NOSPACE, -LIS_READONLY, -LIS_INVALID,
				      -LIS_NOMEM, -LIS_CORRUPT, -LIS_GONE, -LIS_CANCELED };
	uint8_t which = input_u8(input), how = input_u8(input), extra = 0, cdb[SCSI_CDB_BYTES];
	uint64_t bytes;

	memset(&request, 0xa5, sizeof(request));
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = which & 0x80 ? input_u8(input) : operations[(which & 63) % sizeof(operations)];
	input_copy(input, cdb + 1,
		   which & 0x80 ? 15 : cdb[0] >> 5 < 1 ? 5 : cdb[0] >> 5 < 3 ? 9 : 13);
	if (which & 0x40)
		name_the_end(cdb, input_u8(input));
	if (how & 8)
		extra = input_u8(input);
	if (how & 4)
		host_event(input_u8(input));
	late = extra & 1;
	hostile = extra & 2;
	fail_at = extra >> 5;
	fail_with = errors[extra >> 2 & 7];
	done_count = steps = 0;
	failed = canceled = false;
	memcpy(request.cdb, cdb, sizeof(cdb));
	request.direction = how & 3 ? how & 3 : SCSI_DATA_IN | SCSI_DATA_OUT;
	request.done = done;
	bytes = request.data_bytes = make_data(input, how);
	scsi_unit_submit(scsi, NULL, &request);
	while (pending) {
		struct block_request *block = pending;

		FUZZ_CHECK(!done_count);
		pending = NULL;
		finish(block);
	}
	FUZZ_CHECK(done_count == 1);
	if (kind == CD)
		(void)scsi_cd_take(scsi);
	check_result();
	if (kind != PASSTHROUGH && !failed && !canceled && !hostile && !huge &&
	    request.status == SCSI_GOOD) {
		model_executes(cdb);
		check_read(cdb);
	}
	if (kind == DISK && request.status == SCSI_GOOD)
		check_lba_status(cdb);
	if (!failed && !canceled)
		check_refusal(cdb, how & 3 ? how & 3 : 3, bytes);
	/* A command that failed on its way may have done a part. */
	if (hostile || (request.status != SCSI_GOOD && steps))
		memcpy(model, disk, sizeof(model));
	FUZZ_CHECK(!memcmp(model, disk, sizeof(model)));
	for (uint32_t i = 0; i < PIECES_MAX; i++)
		free(whole_iov[i].iov_base);
}

static void no_lun(struct input *input)
{
	uint8_t how = input_u8(input), luns[256];
	uint32_t count = input_u8(input);

	memset(&request, 0, sizeof(request));
	for (uint32_t i = 0; i < count; i++)
		luns[i] = (uint8_t)i;
	request.direction = SCSI_DATA_IN;
	input_copy(input, request.cdb, 12);
	request.data_bytes = make_data(input, how);
	failed = canceled = false;
	if (how & 1) {
		scsi_no_lun_execute(&request);
	} else {
		request.cdb[0] = SCSI_REPORT_LUNS;
		scsi_report_luns(&request, luns, count);
	}
	check_result();
	for (uint32_t i = 0; i < PIECES_MAX; i++)
		free(whole_iov[i].iov_base);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	for (uint32_t i = 0; i < SMALL_BYTES; i++)
		pattern[i] = (uint8_t)(i * 7 + i / 512);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t how = input_u8(&input);

	begin(how);
	while (input.bytes) {
		if (how & 32)
			no_lun(&input);
		else
			command(&input);
	}
	drop_units();
	return 0;
}
