// SPDX-License-Identifier: GPL-2.0-only
/* 6.10 to 6.13: what is sdev_configure later; before, there is slave_configure, without limits. */
#include <scsi/scsi_host.h>

static int configure(struct scsi_device *device, struct queue_limits *limits)
{
	return 0;
}

struct scsi_host_template probe = { .device_configure = configure };
