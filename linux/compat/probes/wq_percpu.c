// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.17: WQ_PERCPU; before, a workqueue without WQ_UNBOUND is so. */
#include <linux/workqueue.h>

int probe = WQ_PERCPU;
