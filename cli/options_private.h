/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What the parsers of the command line share: options.c, options_nic.c. */
#ifndef OPENLIS_CLI_OPTIONS_PRIVATE_H
#define OPENLIS_CLI_OPTIONS_PRIVATE_H

#include "cli/options.h"

/** options_fail() - Say what is wrong. Return: -LIS_INVALID. */
int options_fail(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** options_next_item() - Cut the next item off a comma-separated list; ",," stands for a comma. NULL at the end. */
char *options_next_item(char **list);

#endif
