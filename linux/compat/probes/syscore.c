// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.19: register_syscore(), whose operations are given their owner's data. */
#include <linux/syscore_ops.h>

static struct syscore syscore;

void probe(void);
void probe(void)
{
	register_syscore(&syscore);
}
