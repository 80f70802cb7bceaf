/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Devices of the host for pass-through: what is one, who else has it, how much it takes at once.
 *
 * A device has up to two nodes, its own (sd, sr) and the generic one (sg). Holding the first
 * exclusively keeps the host from mounting it, whichever of the two commands go through.
 */
#include "storage/scsi_passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/scsi_internal.h"

#define SG_MAJOR 21u
#define COMMANDS_AT_ONCE 16u /* [policy] */
#define PROBE_TIMEOUT_MS 10000u

/* Beside SG_SCSI_RESET_DEVICE: do not go on to what others use, too. Source: [linux 6.1 include/scsi/sg.h] */
#ifndef SG_SCSI_RESET_NO_ESCALATE
#define SG_SCSI_RESET_NO_ESCALATE 0x100
#endif

struct device {
	char *path;
	int fd;
	int block_fd; /* the block node beside a generic one; -1: there is none */
};

static int fail(int code, char *error, const char *path, const char *why)
{
	snprintf(error, SCSI_PASSTHROUGH_ERROR_BYTES, "%s: %s", path, why);
	return code;
}

static int fail_errno(char *error, const char *path)
{
	int code = errno;

	if (code == EBUSY)
		return fail(-LIS_BUSY, error, path, "is in use by this host (mounted?)");
	return fail(lis_error_from_errno(code), error, path, strerror(code));
}

static int device_sg_io(void *owner, struct sg_io_hdr *io)
{
	const struct device *device = owner;

	return ioctl(device->fd, SG_IO, io) < 0 ? -errno : 0;
}

/* Source: [linux 6.1 drivers/scsi/scsi_error.c scsi_ioctl_reset] */
static int device_reset(void *owner)
{
	const struct device *device = owner;
	int what = SG_SCSI_RESET_DEVICE | SG_SCSI_RESET_NO_ESCALATE;

	return ioctl(device->fd, SG_SCSI_RESET, &what) < 0 ? -errno : 0;
}

static void device_close(void *owner)
{
	struct device *device = owner;

	if (device->fd >= 0)
		close(device->fd);
	if (device->block_fd >= 0)
		close(device->block_fd);
	free(device->path);
	free(device);
}

/* ---- what it is ---- */

/* A command of our own that reads; true if it brought @bytes. */
static bool probe(struct device *device, const uint8_t *cdb, uint8_t cdb_bytes, void *data, uint32_t bytes)
{
	uint8_t sense[SCSI_SENSE_BYTES];
	struct sg_io_hdr io = {
		.interface_id = 'S',
		.dxfer_direction = SG_DXFER_FROM_DEV,
		.cmd_len = cdb_bytes,
		.cmdp = (unsigned char *)cdb,
		.mx_sb_len = sizeof(sense),
		.sbp = sense,
		.dxfer_len = bytes,
		.dxferp = data,
		.timeout = PROBE_TIMEOUT_MS,
	};

	return device_sg_io(device, &io) == 0 && !io.status && !io.host_status && (uint32_t)io.resid < bytes;
}

static int probe_type(struct device *device, uint8_t *out_type)
{
	static const uint8_t inquiry[6] = { SCSI_INQUIRY, 0, 0, 0, 36 };
	uint8_t data[36];

	if (!probe(device, inquiry, sizeof(inquiry), data, sizeof(data)))
		return -LIS_IO;
	*out_type = data[0] & 0x1f;
	return 0;
}

/* A new device may have a condition to tell before it answers. */
static uint32_t probe_block_bytes(struct device *device)
{
	static const uint8_t read_capacity[10] = { SCSI_READ_CAPACITY_10 };
	uint8_t data[8];

	for (int i = 0; i < 3; i++)
		if (probe(device, read_capacity, sizeof(read_capacity), data, sizeof(data)))
			return scsi_get_u32(data + 4);
	return 0;
}

/* Source: [linux 6.1 drivers/scsi/sg.c, block/ioctl.c BLKSECTGET] bytes of the one, sectors of the other. */
static uint32_t transfer_limit(const struct device *device, bool generic)
{
	unsigned short sectors = 0;
	int bytes = 0;

	if (generic)
		return ioctl(device->fd, BLKSECTGET, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
	return ioctl(device->fd, BLKSECTGET, &sectors) == 0 ? sectors * 512u : 0;
}

/* ---- whose it is ---- */

/* Takes the block node of a generic device. Return: 0, also where there is none. */
static int hold_block_node(struct device *device, const struct stat *stat)
{
	char pattern[96], path[64];
	const char *name;
	glob_t found;
	int err = 0;

	snprintf(pattern, sizeof(pattern), "/sys/dev/char/%u:%u/device/block/*", major(stat->st_rdev),
		 minor(stat->st_rdev));
	if (glob(pattern, 0, NULL, &found))
		return 0;
	name = strrchr(found.gl_pathv[0], '/') + 1;
	snprintf(path, sizeof(path), "/dev/%.48s", name);
	device->block_fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	if (device->block_fd < 0 && errno == EBUSY)
		err = -LIS_BUSY;
	globfree(&found);
	return err;
}

static int open_device(struct device *device, const char *path, bool read_only, bool *out_generic, char *error)
{
	struct stat stat;
	int version = 0;

	device->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	if (device->fd < 0 || fstat(device->fd, &stat) < 0)
		return fail_errno(error, path);
	*out_generic = S_ISCHR(stat.st_mode) && major(stat.st_rdev) == SG_MAJOR;
	if ((!*out_generic && !S_ISBLK(stat.st_mode)) ||
	    ioctl(device->fd, SG_GET_VERSION_NUM, &version) < 0 || version < 30000)
		return fail(-LIS_UNSUPPORTED, error, path, "is no SCSI device (/dev/sgN, /dev/sdX, /dev/srN)");
	if (*out_generic && hold_block_node(device, &stat))
		return fail(-LIS_BUSY, error, path, "is in use by this host (mounted?)");
	return 0;
}

int scsi_passthrough_open(const char *path, bool read_only, struct scsi_unit **out_unit, char *error)
{
	struct scsi_passthrough_config config = {
		.read_only = read_only,
		.sg_io = device_sg_io,
		.reset = device_reset,
		.close = device_close,
		.thread_max = COMMANDS_AT_ONCE,
	};
	struct device *device = malloc(sizeof(*device));
	bool generic = false;
	int err;

	if (!device)
		return fail(-LIS_NOMEM, error, path, "out of memory");
	*device = (struct device){ strdup(path), -1, -1 };
	config.owner = device;
	config.path = device->path;
	err = device->path ? open_device(device, path, read_only, &generic, error) :
			     fail(-LIS_NOMEM, error, path, "out of memory");
	if (!err && probe_type(device, &config.device_type))
		err = fail(-LIS_IO, error, path, "does not answer INQUIRY");
	if (!err) {
		if (config.device_type == 0)
			config.block_bytes = probe_block_bytes(device);
		config.transfer_bytes_max = transfer_limit(device, generic);
		err = scsi_passthrough_create(&config, out_unit);
		if (err)
			fail(err, error, path, "out of memory");
	}
	if (err)
		device_close(device);
	return err;
}
