/* SPDX-License-Identifier: GPL-2.0-only */
/* For the portable core, which asks for C's own header: the kernel has the types, but not all limits. */
#ifndef OPENLIS_LINUX_STDINT_H
#define OPENLIS_LINUX_STDINT_H

#include <linux/limits.h>
#include <linux/types.h>

#define UINT16_MAX U16_MAX
#define UINT32_MAX U32_MAX

#endif
