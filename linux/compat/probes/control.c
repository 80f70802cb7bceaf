// SPDX-License-Identifier: GPL-2.0-only
/* Compiles everywhere. */
#include <linux/module.h>
