/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A block device that can be changed under whoever uses it: it hands requests on to the device behind
 * it, and can be drained or stopped, be given another one, and go on. Requests that come meanwhile wait;
 * none fails by it.
 *
 * Threads: requests come on any of the loops it was made with. All functions are for the loop of its
 * owner, which may be one of them.
 */
#ifndef OPENLIS_STORAGE_LIVE_H
#define OPENLIS_STORAGE_LIVE_H

#include "storage/block.h"
#include "storage/regions.h"

struct live;

/**
 * live_create() - Put it in front of a device.
 * @behind: open; belongs to the live device from here on
 * @loops: all that will submit to it; copied
 * @loop_count: at least one
 * @owner: where everything but requests is done
 * @out_live: set on success only
 *
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (no loop).
 */
int live_create(struct block_device *behind, struct io_loop *const *loops, size_t loop_count,
		struct io_loop *owner, struct live **out_live) LIS_MUST_USE;

/**
 * live_device() - It as a block device. block_close() closes what is behind it, too; nothing may be in
 * flight, drained or not.
 *
 * Its geometry is that of the first device behind it and stays, but for the size. What discarding was
 * said to do it does with every other.
 */
struct block_device *live_device(struct live *live);

/** live_behind() - The device behind it now. */
struct block_device *live_behind(const struct live *live);

/**
 * live_drain() - Have requests wait, and those under way end.
 * @live: not drained, nor on the way there or back
 * @drained: called on the owner's loop; from then on nothing uses the device behind it, so that this may
 * be changed or replaced
 */
void live_drain(struct live *live, struct io_call *drained);

/**
 * live_stop() - Have requests wait, and let those under way go on, on the device they are on.
 * @live: as for live_drain(), and with nothing left to live_settle()
 * @stopped: called on the owner's loop, as soon as every loop has heard of it
 *
 * Nothing waits for the disk here, so that another device, whose contents follow from this one's as those of a
 * differencing image do from its parent's, comes in its place in no more time than loops take for a
 * turn. For several live devices that are stopped before the first of them is resumed it is one instant:
 * whatever a user does because something ended does not come before it.
 */
void live_stop(struct live *live, struct io_call *stopped);

/**
 * live_resume() - Go on, with what waited first.
 * @live: drained or stopped
 * @behind: the device from here on, the same or another, which is the live device's now; of the same
 * sectors, writable if the first was. After draining the one before is the caller's again. After a stop it
 * must stay open, as the parent of the new one does, and flushes go to both, until live_settle().
 * @hold: whoever wants something durable (flushes, writes with FUA) waits for live_release(), or for
 * another resuming without it
 * @resumed: called on the owner's loop when all loops go on
 */
void live_resume(struct live *live, struct block_device *behind, bool hold, struct io_call *resumed);

/**
 * live_release() - What live_resume() has held goes on.
 * @live: resumed, and not being drained
 * @released: called on the owner's loop when nothing is held any more
 */
void live_release(struct live *live, struct io_call *released);

/**
 * live_settle() - Have all that is on the device that was behind before a stop become durable.
 * @live: resumed; nothing else is asked of it meanwhile
 * @settled: called on the owner's loop when what was under way there has ended and was flushed, at once
 * where there is nothing to settle
 *
 * From then on nobody uses that device for anything but what the new one needs of it. Where it fails
 * flushes go on going to both, and it can be called again.
 */
void live_settle(struct live *live, struct io_call *settled);

/** live_settle_result() - Valid when settled. Return: as block_done. */
int live_settle_result(const struct live *live);

/**
 * live_track() - Mark what is written and discarded from here on, when it ends, also when that is a failure.
 * @regions: of the size of the disk; NULL: no more
 * @tracked: called on the owner's loop when every loop does so
 */
void live_track(struct live *live, struct regions *regions, struct io_call *tracked);

/**
 * live_throttle() - Have changes wait for live_allow(); all else goes on as it did.
 * @live: tracked, not drained; resuming after that, and the end of tracking, end it
 * @throttled: called on the owner's loop when every loop does so
 */
void live_throttle(struct live *live, struct io_call *throttled);

/**
 * live_allow() - Let so much more be changed, in whole regions of what is tracked, by loops where changes wait.
 *
 * Nothing is saved up for those where none wait. The last change that begins may be longer than what is left; then
 * its loop owes that.
 *
 * Context: any thread, one at a time; while throttled.
 */
void live_allow(struct live *live, uint64_t bytes);

/** live_pause_ns() - How long requests had to wait at most, the last time. Valid when resumed. */
uint64_t live_pause_ns(const struct live *live);

#endif
