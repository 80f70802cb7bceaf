/* SPDX-License-Identifier: GPL-2.0-only */
/* For the portable core, which asks for C's own header. */
#include <linux/types.h>
