// SPDX-License-Identifier: GPL-2.0-only
/* Since 6.3: bus_type.uevent takes a const device. */
#include <linux/device.h>

static int uevent(const struct device *device, struct kobj_uevent_env *env)
{
	return 0;
}

struct bus_type probe = { .uevent = uevent };
