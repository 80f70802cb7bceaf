/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The CD drive: its medium, and the commands that read it or move it.
 *
 * A command that needs the medium is its user from before it looks at it until it ends. A medium
 * leaves in two steps: no command can become a user any more; then, without users, its owner is
 * called and takes it. The lock covers all of that, and is never held while anybody is called.
 */
#include "storage/scsi_cd_internal.h"

#include <stdlib.h>

/* [mmc-5 4.2.3] 80 minutes of 75 blocks a second. */
#define CD_BLOCKS_MAX (80u * 60 * 75)

/* ---- the medium ---- */

static void tell_ejected(struct scsi_cd *cd)
{
	if (cd->loop)
		io_loop_call(cd->loop, cd->ejected);
	else
		cd->ejected->fn(cd->ejected);
}

/* Called with the lock. True: nobody uses it, so that the caller, without the lock, must tell. */
static bool remove_medium(struct scsi_cd *cd)
{
	cd->present = false;
	cd->held = false;
	cd->event = SCSI_CD_MEDIUM_REMOVAL;
	atomic_fetch_and(&cd->unit.attentions, ~(uint32_t)SCSI_ATTENTION_MEDIUM);
	return !cd->users;
}

static bool use_medium(struct scsi_cd *cd, struct scsi_request *request)
{
	pthread_mutex_lock(&cd->lock);
	if (cd->present) {
		cd->users++;
		request->medium = &cd->medium;
	}
	pthread_mutex_unlock(&cd->lock);
	return request->medium;
}

static void ended(struct scsi_unit *unit, struct scsi_request *request)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;
	bool tell;

	if (!request->medium)
		return;
	pthread_mutex_lock(&cd->lock);
	tell = !--cd->users && !cd->present;
	pthread_mutex_unlock(&cd->lock);
	if (tell)
		tell_ejected(cd);
}

static bool medium_acceptable(const struct block_device *device)
{
	return device->geometry.size_bytes >> SCSI_CD_BLOCK_SHIFT &&
	       device->geometry.size_bytes >> SCSI_CD_BLOCK_SHIFT <= UINT32_MAX &&
	       device->geometry.logical_sector_bytes <= 1u << SCSI_CD_BLOCK_SHIFT;
}

int scsi_cd_insert(struct scsi_unit *unit, struct block_device *device)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;
	int err = 0;

	if (!medium_acceptable(device))
		return -LIS_INVALID;
	pthread_mutex_lock(&cd->lock);
	if (cd->medium.device) {
		err = -LIS_BUSY;
	} else {
		scsi_medium_set(&cd->medium, device, SCSI_CD_BLOCK_SHIFT);
		cd->present = true;
		cd->event = SCSI_CD_NEW_MEDIUM;
		scsi_unit_attend(unit, SCSI_ATTENTION_MEDIUM);
	}
	pthread_mutex_unlock(&cd->lock);
	return err;
}

int scsi_cd_eject(struct scsi_unit *unit, bool force)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;
	bool tell = false;
	int err = 0;

	pthread_mutex_lock(&cd->lock);
	if (!cd->present) {
		err = -LIS_NOTFOUND;
	} else if (cd->held && !force) {
		cd->event = SCSI_CD_EJECT_REQUEST;
		err = -LIS_BUSY;
	} else {
		tell = remove_medium(cd);
	}
	pthread_mutex_unlock(&cd->lock);
	if (tell)
		tell_ejected(cd);
	return err;
}

struct block_device *scsi_cd_take(struct scsi_unit *unit)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;
	struct block_device *device = NULL;

	pthread_mutex_lock(&cd->lock);
	if (!cd->present && !cd->users) {
		device = cd->medium.device;
		cd->medium.device = NULL;
	}
	pthread_mutex_unlock(&cd->lock);
	return device;
}

struct scsi_cd_status scsi_cd_status(struct scsi_unit *unit)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;
	struct scsi_cd_status status;

	pthread_mutex_lock(&cd->lock);
	status = (struct scsi_cd_status){ cd->present ? cd->medium.device : NULL, cd->held };
	pthread_mutex_unlock(&cd->lock);
	return status;
}

/* ---- commands ---- */

static struct scsi_cd_view view_of(struct scsi_cd *cd)
{
	struct scsi_cd_view view = { 0 };

	pthread_mutex_lock(&cd->lock);
	view.present = cd->present;
	view.held = cd->held;
	if (view.present)
		view.block_count = (uint32_t)scsi_medium_sectors(&cd->medium);
	pthread_mutex_unlock(&cd->lock);
	view.dvd = view.block_count > CD_BLOCKS_MAX;
	return view;
}

static enum scsi_cd_event take_event(struct scsi_cd *cd)
{
	enum scsi_cd_event event;

	pthread_mutex_lock(&cd->lock);
	event = cd->event;
	cd->event = SCSI_CD_NO_EVENT;
	pthread_mutex_unlock(&cd->lock);
	return event;
}

static void prevent_removal(struct scsi_cd *cd, struct scsi_request *request)
{
	if (request->cdb[4] & 0x02) { /* persistent prevention is for drives with several hosts */
		scsi_set_invalid_field(request, 4);
		return;
	}
	pthread_mutex_lock(&cd->lock);
	cd->held = request->cdb[4] & 0x01;
	pthread_mutex_unlock(&cd->lock);
	scsi_set_good(request, 0);
}

/* LOEJ without START opens the tray; there is nothing that closing it would bring. */
static void start_stop(struct scsi_cd *cd, struct scsi_request *request)
{
	bool tell = false;

	scsi_set_good(request, 0);
	if ((request->cdb[4] & 0xf3) != 0x02)
		return;
	pthread_mutex_lock(&cd->lock);
	if (cd->held)
		scsi_set_sense(request, SCSI_SENSE_REMOVAL_PREVENTED);
	else if (cd->present)
		tell = remove_medium(cd);
	pthread_mutex_unlock(&cd->lock);
	if (tell)
		tell_ejected(cd);
}

static void seek(struct scsi_request *request)
{
	const struct scsi_extent extent = { scsi_get_u32(request->cdb + 2), 1 };

	if (scsi_extent_exists(request->medium, &extent))
		scsi_set_good(request, 0);
	else
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
}

static void read_blocks(struct scsi_request *request)
{
	if (scsi_begin_transfer(request, BLOCK_READ) && scsi_set_block_memory(request, SCSI_DATA_IN))
		scsi_submit_single(request);
	else
		scsi_finish(request);
}

/* Commands about the medium; @request is its user. */
static void execute_with_medium(struct scsi_cd *cd, struct scsi_request *request)
{
	struct scsi_cd_view view = view_of(cd);

	/* It may be on its way out: what is said of it is as true as before. */
	view.block_count = (uint32_t)scsi_medium_sectors(&cd->medium);
	view.dvd = view.block_count > CD_BLOCKS_MAX;
	switch (request->cdb[0]) {
	case SCSI_READ_10:
	case SCSI_READ_12:
		read_blocks(request);
		return;
	case SCSI_TEST_UNIT_READY:
	case SCSI_CD_SET_SPEED:
		scsi_set_good(request, 0);
		break;
	case SCSI_READ_CAPACITY_10:
		scsi_cd_read_capacity(request, &view);
		break;
	case SCSI_CD_SEEK_10:
		seek(request);
		break;
	case SCSI_CD_READ_TOC:
		scsi_cd_read_toc(request, &view);
		break;
	case SCSI_CD_READ_DISC_INFORMATION:
		scsi_cd_read_disc_information(request);
		break;
	default:
		scsi_cd_read_dvd_structure(request, &view);
		break;
	}
	scsi_finish(request);
}

/* Commands about the drive. */
static void execute_without_medium(struct scsi_cd *cd, struct scsi_request *request)
{
	const struct scsi_cd_view view = view_of(cd);

	switch (request->cdb[0]) {
	case SCSI_INQUIRY:
		scsi_cd_inquiry(request, &cd->id);
		break;
	case SCSI_CD_GET_CONFIGURATION:
		scsi_cd_get_configuration(request, &view);
		break;
	case SCSI_CD_GET_EVENT_STATUS:
		scsi_cd_event_status(request, &view,
				     scsi_cd_takes_event(request) ? take_event(cd) : SCSI_CD_NO_EVENT);
		break;
	case SCSI_MODE_SENSE_6:
	case SCSI_MODE_SENSE_10:
		scsi_cd_mode_sense(request, &view);
		break;
	case SCSI_CD_MECHANISM_STATUS:
		scsi_cd_mechanism_status(request);
		break;
	case SCSI_PREVENT_ALLOW_REMOVAL:
		prevent_removal(cd, request);
		break;
	case SCSI_START_STOP_UNIT:
		start_stop(cd, request);
		break;
	default:
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		break;
	}
	scsi_finish(request);
}

static void execute(struct scsi_unit *unit, struct scsi_request *request)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;

	switch (request->cdb[0]) {
	case SCSI_TEST_UNIT_READY:
	case SCSI_READ_CAPACITY_10:
	case SCSI_READ_10:
	case SCSI_READ_12:
	case SCSI_CD_SEEK_10:
	case SCSI_CD_READ_TOC:
	case SCSI_CD_READ_DISC_INFORMATION:
	case SCSI_CD_READ_DVD_STRUCTURE:
	case SCSI_CD_SET_SPEED:
		if (use_medium(cd, request)) {
			execute_with_medium(cd, request);
			return;
		}
		scsi_set_sense(request, SCSI_SENSE_MEDIUM_NOT_PRESENT);
		scsi_finish(request);
		return;
	default:
		execute_without_medium(cd, request);
		return;
	}
}

static void reset(struct scsi_unit *unit)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;

	pthread_mutex_lock(&cd->lock);
	cd->held = false;
	pthread_mutex_unlock(&cd->lock);
}

/* ---- life ---- */

static void destroy(struct scsi_unit *unit)
{
	struct scsi_cd *cd = (struct scsi_cd *)unit;

	pthread_mutex_destroy(&cd->lock);
	free(cd);
}

static bool tells_attention(const struct scsi_request *request)
{
	/* [mmc-5 6.6, 6.7] These two are asked all the time, and go on regardless. */
	return request->cdb[0] != SCSI_CD_GET_CONFIGURATION &&
	       request->cdb[0] != SCSI_CD_GET_EVENT_STATUS;
}

static const struct scsi_unit_ops cd_ops = {
	.execute = execute,
	.tells_attention = tells_attention,
	.ended = ended,
	.reset = reset,
	.destroy = destroy,
};

int scsi_cd_create(const struct scsi_cd_config *config, struct scsi_unit **out_unit)
{
	struct scsi_cd *cd;

	if (config->device && !medium_acceptable(config->device))
		return -LIS_INVALID;
	cd = calloc(1, sizeof(*cd));
	if (!cd)
		return -LIS_NOMEM;
	pthread_mutex_init(&cd->lock, NULL);
	cd->unit.ops = &cd_ops;
	cd->id = config->id;
	cd->loop = config->loop;
	cd->ejected = config->ejected;
	if (config->device) {
		scsi_medium_set(&cd->medium, config->device, SCSI_CD_BLOCK_SHIFT);
		cd->present = true;
	}
	*out_unit = &cd->unit;
	return 0;
}
