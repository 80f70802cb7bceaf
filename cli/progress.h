/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A bar on standard error that shows how far a long command is; only where that is a terminal. */
#ifndef OPENLIS_CLI_PROGRESS_H
#define OPENLIS_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool visible;
	int64_t shown_ns;
};

/** progress_begin() - @quiet: show nothing, also on a terminal. */
void progress_begin(struct progress *progress, bool quiet);

/** progress_show() - @done_bytes of @all_bytes are through. Cheap: draws ten times a second at most. */
void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t all_bytes);

/** progress_end() - Take the bar away; before anything else is said. May be repeated. */
void progress_end(struct progress *progress);

#endif
