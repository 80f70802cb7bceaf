// SPDX-License-Identifier: GPL-2.0-only
/* Until 7.2: timers that send messages to a SINT of the bus, for hosts that cannot interrupt directly. */
#include <linux/module.h>
#include <clocksource/hyperv_timer.h>

static void __used probe(void)
{
	hv_stimer_legacy_init(0, 2);
	hv_stimer0_isr();
	hv_stimer_legacy_cleanup(0);
}
