// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Draws a bar over itself: see progress.h. */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/disk.h"

#define CELLS 40
#define EACH_NS 100000000ll /* [policy] a drawing */

void progress_begin(struct progress *progress, bool quiet)
{
	*progress = (struct progress){ .visible = !quiet && isatty(STDERR_FILENO) };
}

void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t all_bytes)
{
	char bar[CELLS + 1], done[DISK_TEXT_BYTES], all[DISK_TEXT_BYTES];
	double part = all_bytes ? (double)done_bytes / (double)all_bytes : 1;
	struct timespec now;
	int64_t now_ns;

	if (!progress->visible)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
	if (now_ns - progress->shown_ns < EACH_NS)
		return;
	progress->shown_ns = now_ns;
	if (part > 1)
		part = 1;
	memset(bar, '-', CELLS);
	memset(bar, '#', (size_t)(part * CELLS));
	bar[CELLS] = 0;
	fprintf(stderr, "\r\033[K%s %3.0f %%  %s of %s", bar, 100 * part, disk_size_text(done_bytes, done),
		disk_size_text(all_bytes, all));
	fflush(stderr);
}

void progress_end(struct progress *progress)
{
	if (!progress->visible || !progress->shown_ns)
		return;
	progress->shown_ns = 0;
	fputs("\r\033[K", stderr);
	fflush(stderr);
}
