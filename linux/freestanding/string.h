/* SPDX-License-Identifier: GPL-2.0-only */
/* For the portable core, which asks for memcpy, memset and memcmp. */
#include <linux/string.h>
