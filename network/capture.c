// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A capture's memory: see capture.h.
 *
 * A page with both ends' places, then the records, one behind the other, each padded to 8 bytes. The
 * records are mapped twice, side by side, so that each is in one piece. Places count on and on; the
 * writer's is its own and only shown to the reader, and what the reader says of its own decides about
 * room alone.
 */
#include "network/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "network/offload.h"

#define MAGIC 0x4c495343u
#define VERSION 1u
#define PLACES_BYTES 4096u
#define MEMORY_BYTES (PLACES_BYTES + NET_CAPTURE_BYTES)
#define FILL_BYTES (64u << 10)
#define RECORD_ALIGN 8u

/* At the memory's beginning. Each side writes its own cache line. */
struct places {
	uint32_t magic, version;
	_Atomic uint64_t put, dropped;                /* the writer's */
	_Alignas(64) _Atomic uint64_t taken;          /* the reader's */
};

struct mapping {
	struct places *places;
	uint8_t *records; /* twice NET_CAPTURE_BYTES */
};

struct net_capture {
	struct mapping mapping;
	uint64_t put, dropped;
	uint32_t snap_bytes;
};

struct net_capture_reader {
	struct mapping mapping;
	uint64_t taken, next; /* @next is behind the record that the user looks at */
};

static uint32_t room_for(uint32_t bytes)
{
	return ((uint32_t)sizeof(struct net_capture_record) + bytes + RECORD_ALIGN - 1) &
	       ~(RECORD_ALIGN - 1);
}

static uint8_t *record_at(const struct mapping *mapping, uint64_t place)
{
	return mapping->records + place % NET_CAPTURE_BYTES;
}

/* ---- memory ---- */

static void unmap(struct mapping *mapping)
{
	if (mapping->places)
		munmap(mapping->places, PLACES_BYTES);
	if (mapping->records)
		munmap(mapping->records, 2 * NET_CAPTURE_BYTES);
}

/* Both maps are undone by unmap(), on failure as well. */
static int map(int fd, struct mapping *out_mapping)
{
	const int protection = PROT_READ | PROT_WRITE;
	void *at = mmap(NULL, PLACES_BYTES, protection, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return -LIS_NOMEM;
	out_mapping->places = at;
	at = mmap(NULL, 2 * NET_CAPTURE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -LIS_NOMEM;
	out_mapping->records = at;
	for (unsigned i = 0; i < 2; i++) {
		if (mmap(out_mapping->records + i * NET_CAPTURE_BYTES, NET_CAPTURE_BYTES, protection,
			 MAP_SHARED | MAP_FIXED, fd, PLACES_BYTES) == MAP_FAILED)
			return -LIS_NOMEM;
	}
	return 0;
}

/*
 * All of it is there, so that no access fails for want of memory. In steps: what io_uring has to tell
 * interrupts a call, and whatever it had got by then is lost.
 */
static bool fill_with_memory(int fd)
{
	for (uint32_t at = 0; at < MEMORY_BYTES; at += FILL_BYTES) {
		uint32_t left = MEMORY_BYTES - at;

		while (fallocate(fd, 0, at, left < FILL_BYTES ? left : FILL_BYTES)) {
			if (errno != EINTR)
				return false;
		}
	}
	return true;
}

/* Sealed: nobody makes it shorter. */
static int make_memory(void)
{
	int fd = memfd_create("lis-capture", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -LIS_IO;
	if (ftruncate(fd, MEMORY_BYTES) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 &&
	    fill_with_memory(fd))
		return fd;
	close(fd);
	return -LIS_NOMEM;
}

/* ---- writer ---- */

int net_capture_create(uint32_t snap_bytes, struct net_capture **out_capture, int *out_memory)
{
	struct net_capture *capture = calloc(1, sizeof(*capture));
	int fd = capture ? make_memory() : -LIS_NOMEM, err;

	if (fd < 0) {
		free(capture);
		return fd;
	}
	err = map(fd, &capture->mapping);
	if (err) {
		net_capture_destroy(capture);
		close(fd);
		return err;
	}
	capture->snap_bytes = snap_bytes;
	capture->mapping.places->magic = MAGIC;
	capture->mapping.places->version = VERSION;
	*out_capture = capture;
	*out_memory = fd;
	return 0;
}

void net_capture_destroy(struct net_capture *capture)
{
	if (!capture)
		return;
	unmap(&capture->mapping);
	free(capture);
}

/* The frame's own sum, though the reader may do to the copy what it likes. */
static void fill_checksum_in(const struct net_frame *frame, uint8_t *copy, uint32_t bytes)
{
	const struct net_offload *offload = &frame->offload;
	uint32_t at = (uint32_t)offload->checksum_start + offload->checksum_offset;
	uint16_t checksum;

	if ((offload->flags & NET_CHECKSUM_PARTIAL) && at + sizeof(checksum) <= bytes &&
	    !net_checksum(frame->iov, frame->iov_count, frame->bytes, offload, &checksum))
		memcpy(copy + at, &checksum, sizeof(checksum));
}

void net_capture_frame(struct net_capture *capture, const struct net_frame *frame)
{
	struct places *places = capture->mapping.places;
	struct net_capture_record record = {
		.frame_bytes = frame->bytes,
		.bytes = frame->bytes < capture->snap_bytes ? frame->bytes : capture->snap_bytes,
	};
	/* Pairs with the release in net_capture_next(): it has read what it gives back. */
	uint64_t used = capture->put - atomic_load_explicit(&places->taken, memory_order_acquire);
	uint8_t *to = record_at(&capture->mapping, capture->put);
	struct timespec now;

	if (used > NET_CAPTURE_BYTES || NET_CAPTURE_BYTES - used < room_for(record.bytes)) {
		atomic_store_explicit(&places->dropped, ++capture->dropped, memory_order_relaxed);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	record.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	memcpy(to, &record, sizeof(record));
	net_frame_copy(frame, 0, to + sizeof(record), record.bytes);
	fill_checksum_in(frame, to + sizeof(record), record.bytes);
	capture->put += room_for(record.bytes);
	/* Pairs with the acquire in net_capture_next(). */
	atomic_store_explicit(&places->put, capture->put, memory_order_release);
}

/* ---- reader ---- */

int net_capture_reader_open(int memory, struct net_capture_reader **out_reader)
{
	struct net_capture_reader *reader = calloc(1, sizeof(*reader));
	struct stat stat;
	int err = reader ? 0 : -LIS_NOMEM;

	if (!err && (fstat(memory, &stat) || stat.st_size != MEMORY_BYTES))
		err = -LIS_FORMAT;
	err = err ? err : map(memory, &reader->mapping);
	close(memory);
	if (!err && reader->mapping.places->magic != MAGIC)
		err = -LIS_FORMAT;
	if (!err && reader->mapping.places->version != VERSION)
		err = -LIS_UNSUPPORTED;
	if (err) {
		net_capture_reader_close(reader);
		return err;
	}
	*out_reader = reader;
	return 0;
}

void net_capture_reader_close(struct net_capture_reader *reader)
{
	if (!reader)
		return;
	unmap(&reader->mapping);
	free(reader);
}

int net_capture_next(struct net_capture_reader *reader, struct net_capture_record *out_record,
		     const uint8_t **out_data)
{
	struct places *places = reader->mapping.places;
	uint64_t there;

	/* Pairs with the acquire in net_capture_frame(). */
	reader->taken = reader->next;
	atomic_store_explicit(&places->taken, reader->taken, memory_order_release);
	/* Pairs with the release in net_capture_frame(). */
	there = atomic_load_explicit(&places->put, memory_order_acquire) - reader->taken;
	if (!there)
		return -LIS_EMPTY;
	memcpy(out_record, record_at(&reader->mapping, reader->taken), sizeof(*out_record));
	if (there > NET_CAPTURE_BYTES || there < sizeof(*out_record) ||
	    out_record->bytes > NET_FRAME_BYTES_MAX || out_record->bytes > out_record->frame_bytes ||
	    room_for(out_record->bytes) > there)
		return -LIS_CORRUPT;
	*out_data = record_at(&reader->mapping, reader->taken) + sizeof(*out_record);
	reader->next = reader->taken + room_for(out_record->bytes);
	return 0;
}

uint64_t net_capture_dropped(const struct net_capture_reader *reader)
{
	return atomic_load_explicit(&reader->mapping.places->dropped, memory_order_relaxed);
}
