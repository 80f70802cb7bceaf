// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.14: scsi_host_template's slave_* are called sdev_*. */
#include <scsi/scsi_host.h>

static int init(struct scsi_device *device)
{
	return 0;
}

static int configure(struct scsi_device *device, struct queue_limits *limits)
{
	return 0;
}

struct scsi_host_template probe = { .sdev_init = init, .sdev_configure = configure };
