// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.9: hv_get_msr and hv_set_msr; before, the same are hv_get_register and hv_set_register. */
#include <linux/module.h>
#include <asm/mshyperv.h>

static void __used probe(void)
{
	hv_set_msr(HV_X64_MSR_SCONTROL, hv_get_msr(HV_X64_MSR_SCONTROL));
}
