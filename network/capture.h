/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A capture: what passes a network card, from the VM's process, which writes it, to another, which
 * makes a file of it. Between them is memory that both have: the writer makes no system call for a
 * frame, waits for nobody, and counts what there was no room for. What is in the memory stays there
 * when the writer ends, however it ends.
 *
 * Neither end trusts the other. The writer makes the memory, so that it cannot be made shorter.
 */
#ifndef OPENLIS_NETWORK_CAPTURE_H
#define OPENLIS_NETWORK_CAPTURE_H

#include "network/port.h"

/* [policy] What may wait for the reader: 60 ms of 1 Gbit/s. A power of two. */
#define NET_CAPTURE_BYTES (8u << 20)

/* One frame, as far as it was recorded. */
struct net_capture_record {
	uint64_t time_ns;     /* since 1970, UTC */
	uint32_t frame_bytes; /* of the whole frame */
	uint32_t bytes;       /* recorded, from its beginning */
};

struct net_capture;
struct net_capture_reader;

/**
 * net_capture_create() - Make the memory, and be its writer.
 * @snap_bytes: the most to record of each frame, at least 1
 * @out_capture: set on success only
 * @out_memory: a descriptor for the reader, the caller's; set on success only
 *
 * Context: may sleep.
 * Return: 0, -LIS_NOMEM, -LIS_IO.
 */
int net_capture_create(uint32_t snap_bytes, struct net_capture **out_capture,
		       int *out_memory) LIS_MUST_USE;

/** net_capture_destroy() - What the reader has not read stays in the memory. NULL is fine. */
void net_capture_destroy(struct net_capture *capture);

/**
 * net_capture_frame() - Record a frame, or count that there is no room.
 * @frame: what an offload left undone in it is done in the record, but for its being cut
 *
 * Context: one thread at a time; never sleeps.
 */
void net_capture_frame(struct net_capture *capture, const struct net_frame *frame);

/**
 * net_capture_reader_open() - Be the reader.
 * @memory: taken over, also on failure
 *
 * Return: 0, -LIS_UNSUPPORTED (a writer of another version), -LIS_FORMAT (no such memory), -LIS_NOMEM.
 */
int net_capture_reader_open(int memory, struct net_capture_reader **out_reader) LIS_MUST_USE;

/** net_capture_reader_close() - NULL is fine. */
void net_capture_reader_close(struct net_capture_reader *reader);

/**
 * net_capture_next() - The next record.
 * @out_data: out_record->bytes bytes, until the next call
 *
 * Return: 0, -LIS_EMPTY (none yet), -LIS_CORRUPT (what is there is no record; there are no more).
 */
int net_capture_next(struct net_capture_reader *reader, struct net_capture_record *out_record,
		     const uint8_t **out_data) LIS_MUST_USE;

/** net_capture_dropped() - Frames there was no room for. */
uint64_t net_capture_dropped(const struct net_capture_reader *reader);

#endif
