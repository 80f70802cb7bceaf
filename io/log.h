/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Where os_log() lines of hosted programs go: stderr, with a level prefix, thread-safe. */
#ifndef OPENLIS_IO_LOG_H
#define OPENLIS_IO_LOG_H

#include "vmbus/os.h"

/**
 * log_init() - Set what is shown. Without it warnings and errors are.
 * @level: the least important level that is shown
 * @prefix: before each line ("lis: "), not copied; NULL for none
 * @crlf: end lines with CR LF, for a terminal in raw mode
 */
void log_init(enum os_log_level level, const char *prefix, bool crlf);

#endif
