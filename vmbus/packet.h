/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Packets of a channel's ring: descriptor, an optional head (ranges of memory), payload. Parsing
 * works on a private copy, as vmbus_ring_read() makes it, never on the ring itself.
 *
 * Sources: [linux 6.1 include/linux/hyperv.h struct vmpacket_descriptor and what follows],
 * [openvmm vmbus_ring/src/lib.rs mod protocol, gparange.rs].
 */
#ifndef OPENLIS_VMBUS_PACKET_H
#define OPENLIS_VMBUS_PACKET_H

#include "vmbus/os.h"
#include "vmbus/protocol.h"

#define VMBUS_PACKET_IN_BAND 6u
#define VMBUS_PACKET_TRANSFER_PAGES 7u
#define VMBUS_PACKET_GPA_DIRECT 9u
#define VMBUS_PACKET_COMPLETION 11u

/* The sender wants a completion with the same id. */
#define VMBUS_PACKET_FLAG_COMPLETION 1u

/* What the 16-bit lengths can express. */
#define VMBUS_PACKET_BYTES_LIMIT (UINT16_MAX * 8u)
/* [policy] The longest packet we take, without its trailer: page numbers of 32 MiB of data. */
#define VMBUS_PACKET_BYTES_MAX 65536u

struct vmbus_packet_descriptor {
	uint16_t type;         /* VMBUS_PACKET_* */
	uint16_t data_offset8; /* payload, in units of 8 bytes from the start of this */
	uint16_t length8;      /* all but the trailer, likewise */
	uint16_t flags;        /* VMBUS_PACKET_FLAG_* */
	uint64_t id;           /* transaction id */
};
VMBUS_ASSERT_SIZE(vmbus_packet_descriptor, 16);

/* Behind each packet: where it began. Readers do not need it and do not trust it. */
struct vmbus_packet_trailer {
	uint32_t reserved;
	uint32_t start;
};
VMBUS_ASSERT_SIZE(vmbus_packet_trailer, 8);

/* Head of a GPA-direct packet; struct vmbus_gpa_range, each with its page numbers, follow. */
struct vmbus_gpa_direct_head {
	uint32_t reserved;
	uint32_t range_count;
};
VMBUS_ASSERT_SIZE(vmbus_gpa_direct_head, 8);

/* Head of a transfer-page packet; struct vmbus_transfer_range follow. */
struct vmbus_transfer_head {
	uint16_t set_id;
	uint16_t reserved;
	uint32_t range_count;
};
VMBUS_ASSERT_SIZE(vmbus_transfer_head, 8);

struct vmbus_transfer_range {
	uint32_t byte_count;
	uint32_t byte_offset; /* within the set, a buffer the peers agreed on */
};
VMBUS_ASSERT_SIZE(vmbus_transfer_range, 8);

/**
 * struct vmbus_packet - A packet that was taken apart and found sound; points into the copy.
 * @type: VMBUS_PACKET_*, one of the four
 * @flags: as sent
 * @id: transaction id
 * @payload: 8-byte aligned
 * @payload_bytes: a multiple of 8, so up to 7 bytes longer than what the sender had
 * @transfer_set_id: transfer pages only
 * @range_count: GPA-direct (at least 1) and transfer pages, else 0
 * @ranges: first range, 8-byte aligned
 * @ranges_bytes: length of all ranges; for GPA-direct exactly what @range_count ranges take
 */
struct vmbus_packet {
	uint16_t type;
	uint16_t flags;
	uint64_t id;
	const uint8_t *payload;
	uint32_t payload_bytes;
	uint16_t transfer_set_id;
	uint32_t range_count;
	const uint8_t *ranges;
	uint32_t ranges_bytes;
};

static inline bool vmbus_packet_wants_completion(const struct vmbus_packet *packet)
{
	return packet->flags & VMBUS_PACKET_FLAG_COMPLETION;
}

/**
 * vmbus_packet_parse() - Take a packet apart, with all its ranges checked.
 * @copy: private copy, 8-byte aligned; @out_packet points into it
 * @bytes: its length
 * @out_packet: set on success only
 *
 * Context: any.
 * Return: 0, -LIS_CORRUPT, -LIS_INVALID (@copy is not aligned).
 */
int vmbus_packet_parse(const void *copy, size_t bytes,
		       struct vmbus_packet *out_packet) LIS_MUST_USE;

/* One range of guest memory: @byte_count bytes from @byte_offset within the first of @pfns on. */
struct vmbus_gpa_run {
	uint32_t byte_count;  /* at least 1 */
	uint32_t byte_offset; /* below 4096 */
	uint32_t pfn_count;
	const uint64_t *pfns; /* in the caller's copy; not checked against guest memory */
};

/**
 * vmbus_gpa_pfn_count() - How many page numbers a range has.
 * @byte_count: its length
 * @byte_offset: its start within the first page
 *
 * Context: any.
 * Return: the number; exact for any two 32-bit values.
 */
static inline uint32_t vmbus_gpa_pfn_count(uint32_t byte_count, uint32_t byte_offset)
{
	uint64_t end = (uint64_t)byte_count + byte_offset;

	return (uint32_t)((end + HV_PAGE_BYTES - 1) >> HV_PAGE_SHIFT);
}

/**
 * vmbus_gpa_run_next() - Take the next range off a list of {count, offset, page numbers}.
 * @cursor: start of the list, 8-byte aligned, moved on on success
 * @bytes: bytes left in the list, likewise
 * @out_run: set on success only
 *
 * The same list stands in GPA-direct packets and in GPADL messages. Always give it a private copy.
 *
 * Context: any.
 * Return: 0, -LIS_CORRUPT (no bytes, cut short, offset beyond the first page, empty range).
 */
int vmbus_gpa_run_next(const uint8_t **cursor, size_t *bytes,
		       struct vmbus_gpa_run *out_run) LIS_MUST_USE;

/**
 * struct vmbus_packet_ranges - Walks the ranges of a parsed packet.
 *
 *	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(&packet);
 *	struct vmbus_gpa_run run;
 *	while (vmbus_packet_next_gpa_run(&ranges, &run))
 *		...
 */
struct vmbus_packet_ranges {
	const uint8_t *cursor;
	size_t bytes;
	uint32_t left;
};

static inline struct vmbus_packet_ranges vmbus_packet_ranges(const struct vmbus_packet *packet)
{
	return (struct vmbus_packet_ranges){ packet->ranges, packet->ranges_bytes,
					     packet->range_count };
}

/** vmbus_packet_next_gpa_run() - Next range of a GPA-direct packet; false at the end. */
bool vmbus_packet_next_gpa_run(struct vmbus_packet_ranges *ranges, struct vmbus_gpa_run *out_run);

/** vmbus_packet_next_transfer() - Next range of a transfer-page packet; false at the end. */
bool vmbus_packet_next_transfer(struct vmbus_packet_ranges *ranges,
				struct vmbus_transfer_range *out_range);

/* One piece of a payload; what struct iovec is to a system that has it. */
struct vmbus_piece {
	const void *base;
	size_t bytes;
};

/**
 * struct vmbus_packet_out - A packet to be written, made by the builders below.
 * @type: VMBUS_PACKET_*
 * @flags: VMBUS_PACKET_FLAG_*
 * @id: transaction id
 * @head: ranges, or NULL
 * @head_bytes: a multiple of 8
 * @payload: pieces, copied one after the other
 * @payload_count: number of pieces
 */
struct vmbus_packet_out {
	uint16_t type;
	uint16_t flags;
	uint64_t id;
	const void *head;
	size_t head_bytes;
	const struct vmbus_piece *payload;
	size_t payload_count;
};

/**
 * vmbus_packet_ring_bytes() - What a packet takes up in the ring, trailer included.
 * @head_bytes: ranges, a multiple of 8
 * @payload_bytes: payload
 *
 * Context: any.
 */
static inline size_t vmbus_packet_ring_bytes(size_t head_bytes, size_t payload_bytes)
{
	return sizeof(struct vmbus_packet_descriptor) + head_bytes +
	       ((payload_bytes + 7) & ~(size_t)7) + sizeof(struct vmbus_packet_trailer);
}

/** vmbus_packet_in_band() - Payload only; with @completion the peer answers. */
static inline struct vmbus_packet_out vmbus_packet_in_band(uint64_t id, bool completion,
							   const struct vmbus_piece *payload,
							   size_t payload_count)
{
	return (struct vmbus_packet_out){
		.type = VMBUS_PACKET_IN_BAND,
		.flags = completion ? VMBUS_PACKET_FLAG_COMPLETION : 0,
		.id = id, .payload = payload, .payload_count = payload_count,
	};
}

/** vmbus_packet_completion() - Answer to the packet that came with @id. */
static inline struct vmbus_packet_out vmbus_packet_completion(uint64_t id,
							      const struct vmbus_piece *payload,
							      size_t payload_count)
{
	return (struct vmbus_packet_out){
		.type = VMBUS_PACKET_COMPLETION,
		.id = id, .payload = payload, .payload_count = payload_count,
	};
}

/* A head of ranges under construction, in memory of the caller, 8-byte aligned. */
struct vmbus_head_builder {
	uint8_t *buffer;
	size_t bytes_max;
	size_t bytes;
};

/**
 * vmbus_gpa_head_begin() - Begin the ranges of a GPA-direct packet.
 * @builder: set
 * @buffer: 8-byte aligned, lives until the packet is written
 * @bytes_max: its size; 8, and for each range 8 and 8 for each page number
 *
 * Context: any.
 * Return: 0, -LIS_FULL (no room for the head itself).
 */
int vmbus_gpa_head_begin(struct vmbus_head_builder *builder, void *buffer,
			 size_t bytes_max) LIS_MUST_USE;

/**
 * vmbus_gpa_head_add() - Add a range.
 * @builder: begun with vmbus_gpa_head_begin()
 * @byte_count: at least 1
 * @byte_offset: below 4096
 * @pfns: vmbus_gpa_pfn_count(@byte_count, @byte_offset) page numbers
 *
 * Context: any.
 * Return: 0, -LIS_FULL, -LIS_INVALID.
 */
int vmbus_gpa_head_add(struct vmbus_head_builder *builder, uint32_t byte_count,
		       uint32_t byte_offset, const uint64_t *pfns) LIS_MUST_USE;

/** vmbus_transfer_head_begin() - Begin the ranges of a transfer-page packet, in set @set_id. */
int vmbus_transfer_head_begin(struct vmbus_head_builder *builder, void *buffer, size_t bytes_max,
			      uint16_t set_id) LIS_MUST_USE;

/** vmbus_transfer_head_add() - Add a range. Return: 0, -LIS_FULL. */
int vmbus_transfer_head_add(struct vmbus_head_builder *builder, uint32_t byte_count,
			    uint32_t byte_offset) LIS_MUST_USE;

/** vmbus_packet_gpa_direct() - Payload and ranges of the sender's memory; wants a completion. */
static inline struct vmbus_packet_out vmbus_packet_gpa_direct(uint64_t id,
							      const struct vmbus_head_builder *head,
							      const struct vmbus_piece *payload,
							      size_t payload_count)
{
	return (struct vmbus_packet_out){
		.type = VMBUS_PACKET_GPA_DIRECT, .flags = VMBUS_PACKET_FLAG_COMPLETION,
		.id = id, .head = head->buffer, .head_bytes = head->bytes,
		.payload = payload, .payload_count = payload_count,
	};
}

/** vmbus_packet_transfer_pages() - Payload and ranges within a shared buffer; completion wanted. */
static inline struct vmbus_packet_out
vmbus_packet_transfer_pages(uint64_t id, const struct vmbus_head_builder *head,
			    const struct vmbus_piece *payload, size_t payload_count)
{
	return (struct vmbus_packet_out){
		.type = VMBUS_PACKET_TRANSFER_PAGES, .flags = VMBUS_PACKET_FLAG_COMPLETION,
		.id = id, .head = head->buffer, .head_bytes = head->bytes,
		.payload = payload, .payload_count = payload_count,
	};
}

#endif
