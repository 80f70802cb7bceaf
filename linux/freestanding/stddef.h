/* SPDX-License-Identifier: GPL-2.0-only */
/* For the portable core, which asks for C's own header. */
#include <linux/stddef.h>
#include <linux/types.h>
