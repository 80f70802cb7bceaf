// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.2: eh_timed_out returns an enum of SCSI; before, the block layer's. */
#include <scsi/scsi_host.h>

static enum scsi_timeout_action timed_out(struct scsi_cmnd *command)
{
	return SCSI_EH_RESET_TIMER;
}

struct scsi_host_template probe = { .eh_timed_out = timed_out };
