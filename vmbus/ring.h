/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One direction of a channel: a ring of packets in memory shared by a writer and a reader. Both
 * ends are here. The host reads its to_host ring and writes to_guest, the guest the other way
 * round.
 *
 * A ring is a control page followed by data pages. The data must be mapped twice, back to back, so
 * that a packet which wraps is contiguous: byte @data_bytes of the mapping is byte 0 again. There
 * is no other way to use this code; a port that cannot map memory twice cannot use it.
 *
 * Neither end trusts the other. Each keeps its own index in private memory and never reads it back
 * from the ring, reads the peer's index once and checks it, and takes packets by copying them out
 * once. A peer that breaks a rule breaks this end of the ring for good: every later call gives
 * -LIS_CORRUPT, which is never mixed up with empty (-LIS_EMPTY) or full (-LIS_FULL).
 *
 * Index updates, and what each costs. A writer's packets become visible by expose (one store) or by
 * publish (expose, a full barrier and the decision whether the reader must be woken). A reader
 * gives room back by publish. Both can be held back over many packets, under two rules:
 * - whoever exposed must publish before it waits for anything: only publish wakes the peer;
 * - a reader must publish before it stops reading: a writer may be waiting for that room.
 *
 * Sources: [linux 6.1 drivers/hv/ring_buffer.c], [openvmm vmbus_ring/src/lib.rs],
 * [linux 6.1 include/linux/hyperv.h struct hv_ring_buffer].
 */
#ifndef OPENLIS_VMBUS_RING_H
#define OPENLIS_VMBUS_RING_H

#include "vmbus/os.h"
#include "vmbus/packet.h"
#include "vmbus/protocol.h"

/* The data area lies this far behind the start of the control page. */
#define VMBUS_RING_CONTROL_BYTES HV_PAGE_BYTES
/* [policy] Far above what any driver asks for; keeps sums of indexes within 32 bits. */
#define VMBUS_RING_DATA_BYTES_MAX (1u << 30)
/* Never filled: the writer's index equal to the reader's means empty. */
#define VMBUS_RING_GAP_BYTES 8u

/* In vmbus_ring_control.features: the writer understands and sets pending_send_bytes. */
#define VMBUS_RING_FEATURE_PENDING_SEND 1u

/**
 * struct vmbus_ring_control - The control page; all fields may change at any time.
 * @in: the writer's index, bytes from the start of the data; write_index in Linux
 * @out: the reader's index
 * @interrupt_mask: not 0: the reader is awake and wants no signal
 * @pending_send_bytes: not 0: the writer waits for this much room; pending_send_sz in Linux
 * @features: VMBUS_RING_FEATURE_*, set by the writer
 */
struct vmbus_ring_control {
	uint32_t in;
	uint32_t out;
	uint32_t interrupt_mask;
	uint32_t pending_send_bytes;
	uint32_t reserved[12];
	uint32_t features;
	uint32_t reserved2[1007];
};
VMBUS_ASSERT_SIZE(vmbus_ring_control, VMBUS_RING_CONTROL_BYTES);

/* The reading end; fields are private. Owned by one thread at a time. */
struct vmbus_ring_reader {
	struct vmbus_ring_control *control;
	const uint8_t *data;
	uint32_t data_bytes;
	uint32_t out;           /* next packet */
	uint32_t published_out; /* what the writer knows */
	uint32_t cached_in;     /* packets up to here are known to be there */
	bool broken;
};

/* The writing end; fields are private. Owned by one thread at a time. */
struct vmbus_ring_writer {
	struct vmbus_ring_control *control;
	uint8_t *data;
	uint32_t data_bytes;
	uint32_t in;          /* end of the last packet written */
	uint32_t exposed_in;  /* what the reader can see */
	uint32_t unsettled_bytes; /* written since the last publish; stops at data_bytes */
	uint32_t cached_out;  /* the reader is known to be this far */
	uint32_t pending_send_bytes; /* as it stands in the control page */
	uint32_t reserved_bytes; /* taken by vmbus_ring_reserve(), 0 if none */
	bool broken;
};

/**
 * vmbus_ring_reader_init() - Become the reader of a ring.
 * @reader: set on success only
 * @control: the control page, 8-byte aligned
 * @data: the data pages, mapped twice
 * @data_bytes: size of the data, once; a multiple of 4096, at most VMBUS_RING_DATA_BYTES_MAX
 *
 * Continues where the control page says the reader was, with signals unmasked. What the writer had
 * written before is not signalled again: look once.
 *
 * Context: any; does not sleep.
 * Return: 0, -LIS_INVALID (size), -LIS_CORRUPT (an index in the control page is impossible).
 */
int vmbus_ring_reader_init(struct vmbus_ring_reader *reader, void *control, const void *data,
			   size_t data_bytes) LIS_MUST_USE;

/**
 * vmbus_ring_read() - Copy the next packet out of the ring.
 * @reader: the ring
 * @buffer: private memory, 8-byte aligned; holds the packet from its descriptor on, descriptor
 * checked
 * @buffer_bytes: at least 16; a longer packet breaks the ring
 * @out_bytes: set on success: length of the packet in @buffer, a multiple of 8
 *
 * The descriptor is read from shared memory once. Of the copy, its data_offset8 and length8 are
 * known to fit (2 <= data_offset8 <= length8, length8 * 8 == *out_bytes); all else is for
 * vmbus_packet_parse().
 *
 * Context: owner of @reader.
 * Return: 0, -LIS_EMPTY, -LIS_CORRUPT.
 */
int vmbus_ring_read(struct vmbus_ring_reader *reader, void *buffer, size_t buffer_bytes,
		    uint32_t *out_bytes) LIS_MUST_USE;

/**
 * vmbus_ring_reader_publish() - Give the room of packets read back to the writer.
 * @reader: the ring
 *
 * Call it after each batch, in any case before waiting. Full barrier if there is anything to give.
 * The signal is due where the writer waits for room and just got enough. A writer that does not
 * know how to ask (feature bit absent) is signalled each time.
 *
 * Context: owner of @reader.
 * Return: true if the writer must be signalled.
 */
bool vmbus_ring_reader_publish(struct vmbus_ring_reader *reader) LIS_MUST_USE;

/**
 * vmbus_ring_reader_unpublished() - Bytes read that the writer does not know of yet.
 * @reader: the ring
 */
static inline uint32_t vmbus_ring_reader_unpublished(const struct vmbus_ring_reader *reader)
{
	return reader->out >= reader->published_out ?
	       reader->out - reader->published_out :
	       reader->out + reader->data_bytes - reader->published_out;
}

/**
 * vmbus_ring_reader_mask() - Tell the writer not to signal: this end is awake and looks by itself.
 * @reader: the ring
 *
 * Context: owner of @reader.
 */
void vmbus_ring_reader_mask(struct vmbus_ring_reader *reader);

/**
 * vmbus_ring_reader_unmask() - Ask for signals again.
 * @reader: the ring, published
 *
 * A packet that came in between is not signalled: where this returns true, read on (and mask again,
 * if wanted) instead of waiting.
 *
 * It may make somebody else the owner, who reads while this has not returned: all it changes is the
 * mask. What it returns is then of no use, and does no harm.
 *
 * Context: owner of @reader, or who just gave it up. Full barrier; pairs with the one in
 * vmbus_ring_writer_publish().
 * Return: true if there is something to read, or the ring is broken; false if waiting is safe.
 */
bool vmbus_ring_reader_unmask(struct vmbus_ring_reader *reader) LIS_MUST_USE;

/**
 * vmbus_ring_reader_ready() - Is there anything to read? Cheap enough to poll.
 * @reader: the ring
 *
 * Context: owner of @reader.
 * Return: true if vmbus_ring_read() would not give -LIS_EMPTY.
 */
bool vmbus_ring_reader_ready(struct vmbus_ring_reader *reader);

/**
 * vmbus_ring_writer_init() - Become the writer of a ring.
 * @writer: set on success only
 * @control: the control page, 8-byte aligned
 * @data: the data pages, mapped twice
 * @data_bytes: size of the data, once; a multiple of 4096, at most VMBUS_RING_DATA_BYTES_MAX
 *
 * Continues where the control page says the writer was; waits for no room.
 *
 * Context: any; does not sleep.
 * Return: 0, -LIS_INVALID (size), -LIS_CORRUPT (an index in the control page is impossible).
 */
int vmbus_ring_writer_init(struct vmbus_ring_writer *writer, void *control, void *data,
			   size_t data_bytes) LIS_MUST_USE;

/**
 * vmbus_ring_writer_packet_bytes_max() - The longest packet that can ever fit, trailer included.
 * @writer: the ring
 */
static inline uint32_t vmbus_ring_writer_packet_bytes_max(const struct vmbus_ring_writer *writer)
{
	return writer->data_bytes - VMBUS_RING_GAP_BYTES;
}

/**
 * vmbus_ring_reserve() - Take room for one packet and write its descriptor.
 * @writer: the ring
 * @type: VMBUS_PACKET_*
 * @flags: VMBUS_PACKET_FLAG_*
 * @id: transaction id
 * @head_bytes: what stands between descriptor and payload (ranges); a multiple of 8
 * @payload_bytes: length of the payload; the padding up to a multiple of 8 is zeroed here
 * @out_body: set on success: fill head_bytes + payload_bytes here, then vmbus_ring_commit()
 *
 * Writing to *out_body is writing to shared memory; do not read it back. Dropping a reservation is
 * done by not committing it: the next reserve takes the same room.
 *
 * On -LIS_FULL everything written so far has been exposed and the reader was told how much room is
 * wanted: it signals when there is. Call vmbus_ring_writer_publish() as after any write.
 *
 * Context: owner of @writer.
 * Return: 0, -LIS_FULL, -LIS_INVALID (longer than the ring or the format can ever take),
 * -LIS_CORRUPT.
 */
int vmbus_ring_reserve(struct vmbus_ring_writer *writer, uint16_t type, uint16_t flags, uint64_t id,
		       size_t head_bytes, size_t payload_bytes, void **out_body) LIS_MUST_USE;

/**
 * vmbus_ring_commit() - End the packet begun by vmbus_ring_reserve(). Not yet visible to the
 * reader.
 * @writer: the ring
 *
 * Context: owner of @writer, after a vmbus_ring_reserve() that returned 0.
 */
void vmbus_ring_commit(struct vmbus_ring_writer *writer);

/**
 * vmbus_ring_write() - Write one packet; reserve, copy and commit in one.
 * @writer: the ring
 * @packet: what to write, made by one of the builders in packet.h
 *
 * Context: owner of @writer.
 * Return: as vmbus_ring_reserve().
 */
int vmbus_ring_write(struct vmbus_ring_writer *writer,
		     const struct vmbus_packet_out *packet) LIS_MUST_USE;

/**
 * vmbus_ring_writer_expose() - Let the reader see what was written; no barrier, no signal.
 * @writer: the ring
 *
 * For a writer with more to come: a reader that is awake starts at once.
 * vmbus_ring_writer_publish() is still owed.
 *
 * Context: owner of @writer.
 */
void vmbus_ring_writer_expose(struct vmbus_ring_writer *writer);

/**
 * vmbus_ring_writer_publish() - Expose what was written and decide about the signal.
 * @writer: the ring
 *
 * Full barrier if anything was written since the last call. A signal is due where the reader does
 * not mask signals and had read all that was there before: only then may it have gone to sleep.
 *
 * Context: owner of @writer. Pairs with the barrier in vmbus_ring_reader_unmask().
 * Return: true if the reader must be signalled.
 */
bool vmbus_ring_writer_publish(struct vmbus_ring_writer *writer) LIS_MUST_USE;

/**
 * vmbus_ring_writer_unpublished_bytes() - What was written since the last vmbus_ring_writer_publish(), exposed
 * or not.
 * @writer: the ring
 *
 * Context: owner of @writer.
 * Return: ring bytes of its packets, see vmbus_packet_ring_bytes(); at most the ring's size.
 */
static inline uint32_t vmbus_ring_writer_unpublished_bytes(const struct vmbus_ring_writer *writer)
{
	return writer->unsettled_bytes;
}

/**
 * vmbus_ring_writer_has_room() - Would a packet fit now? Does not ask the reader for a signal.
 * @writer: the ring
 * @packet_bytes: from vmbus_packet_ring_bytes()
 *
 * Context: owner of @writer.
 * Return: true if it fits; also true when the ring is broken, so that the write tells.
 */
bool vmbus_ring_writer_has_room(struct vmbus_ring_writer *writer, size_t packet_bytes);

/**
 * vmbus_ring_writer_free_bytes() - Room for packets, trailers included, as the reader has it now.
 * @writer: the ring
 *
 * Context: owner of @writer.
 * Return: bytes; 0 when broken.
 */
uint32_t vmbus_ring_writer_free_bytes(struct vmbus_ring_writer *writer);

/* What a control page says at one moment, for status reports; nothing in it is to be relied on. */
struct vmbus_ring_status {
	uint32_t in, out;
	uint32_t used_bytes; /* 0 where an index is impossible */
	uint32_t data_bytes;
	uint32_t interrupt_mask;
	uint32_t pending_send_bytes;
	bool sane; /* both indexes are possible */
};

/**
 * vmbus_ring_status() - Look at a ring without owning either end.
 * @control: its control page
 * @data_bytes: size of its data
 * @out_status: always set
 *
 * Context: any thread while the control page is mapped.
 */
void vmbus_ring_status(const void *control, size_t data_bytes,
		       struct vmbus_ring_status *out_status);

#endif
