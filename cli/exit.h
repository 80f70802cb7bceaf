/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Exit statuses of `lis`, a promise to scripts. */
#ifndef OPENLIS_CLI_EXIT_H
#define OPENLIS_CLI_EXIT_H

#include "cli/vm.h"

enum lis_exit {
	LIS_EXIT_OK = 0,       /* done; `lis run`: the guest powered off */
	LIS_EXIT_ERROR = 1,    /* it could not be done, standard error says why */
	LIS_EXIT_USAGE = 2,    /* the command line is wrong */
	LIS_EXIT_DAMAGED = 3,  /* `lis disk check`: the image is damaged */
	LIS_EXIT_CRASHED = 3,  /* `lis run`: the guest crashed, and --on-crash is stop */
	LIS_EXIT_KILLED = 4,   /* by `lis kill`, a second signal or the console's Ctrl-] q */
	LIS_EXIT_REBOOTED = 5, /* the guest asked for a reboot, and --on-reboot is stop */
};

static inline int lis_exit_status(enum vm_end end)
{
	switch (end) {
	case VM_END_POWERED_OFF:
		return LIS_EXIT_OK;
	case VM_END_REBOOTED:
		return LIS_EXIT_REBOOTED;
	case VM_END_CRASHED:
		return LIS_EXIT_CRASHED;
	case VM_END_KILLED:
		return LIS_EXIT_KILLED;
	case VM_END_FAILED:
		break;
	}
	return LIS_EXIT_ERROR;
}

#endif
