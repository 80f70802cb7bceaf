// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Both ends of a ring, see ring.h.
 *
 * Invariants: all indexes kept here are multiples of 8 below data_bytes. Walking forward around the
 * ring one meets published_out, out, cached_in (reader) and cached_out, exposed_in, in (writer), in
 * that order and within one turn; an index from the peer that would change that order is
 * corruption. Each end is owned by one thread at a time; nothing here locks.
 */
#include <string.h>

#include "vmbus/ring.h"

#define DESCRIPTOR_BYTES ((uint32_t)sizeof(struct vmbus_packet_descriptor))
#define TRAILER_BYTES ((uint32_t)sizeof(struct vmbus_packet_trailer))

/* Bytes from one index forward to another, less than a full turn. */
static inline uint32_t distance(uint32_t from, uint32_t to, uint32_t data_bytes)
{
	return to >= from ? to - from : to + data_bytes - from;
}

static inline uint32_t advance(uint32_t index, uint32_t bytes, uint32_t data_bytes)
{
	index += bytes;
	return index >= data_bytes ? index - data_bytes : index;
}

static inline bool index_possible(uint32_t index, uint32_t data_bytes)
{
	return index < data_bytes && !(index & 7);
}

static bool size_possible(size_t data_bytes)
{
	return data_bytes && data_bytes % HV_PAGE_BYTES == 0 &&
	       data_bytes <= VMBUS_RING_DATA_BYTES_MAX;
}

/* The reading end */

/* Learn how far the writer is. False, and broken, where it says something impossible. */
static inline bool reader_refresh(struct vmbus_ring_reader *reader)
{
	/* Pairs with the release in vmbus_ring_writer_expose(): packets up to here are complete. */
	uint32_t in = os_load_acquire(reader->control->in);
	uint32_t known = distance(reader->published_out, reader->cached_in, reader->data_bytes);

	if (unlikely(!index_possible(in, reader->data_bytes) ||
		     distance(reader->published_out, in, reader->data_bytes) < known)) {
		reader->broken = true;
		return false;
	}
	reader->cached_in = in;
	return true;
}

int vmbus_ring_reader_init(struct vmbus_ring_reader *reader, void *control, const void *data,
			   size_t data_bytes)
{
	struct vmbus_ring_control *page = control;
	uint32_t out;

	if (!size_possible(data_bytes))
		return -LIS_INVALID;
	out = os_read_once(page->out);
	if (!index_possible(out, (uint32_t)data_bytes) ||
	    !index_possible(os_read_once(page->in), (uint32_t)data_bytes))
		return -LIS_CORRUPT;
	*reader = (struct vmbus_ring_reader){
		.control = page,
		.data = data,
		.data_bytes = (uint32_t)data_bytes,
		.out = out,
		.published_out = out,
		.cached_in = out,
	};
	os_write_once(page->interrupt_mask, 0);
	return 0;
}

int vmbus_ring_read(struct vmbus_ring_reader *reader, void *buffer, size_t buffer_bytes,
		    uint32_t *out_bytes)
{
	union {
		struct vmbus_packet_descriptor fields;
		uint64_t words[2];
	} descriptor;
	const uint8_t *packet = reader->data + reader->out;
	uint32_t available, bytes;

	if (unlikely(reader->broken))
		return -LIS_CORRUPT;
	if (reader->out == reader->cached_in) {
		if (!reader_refresh(reader))
			return -LIS_CORRUPT;
		if (reader->out == reader->cached_in)
			return -LIS_EMPTY;
	}
	available = distance(reader->out, reader->cached_in, reader->data_bytes);
	if (unlikely(available < DESCRIPTOR_BYTES + TRAILER_BYTES))
		goto corrupt;

	/* The only time the descriptor is read. */
	descriptor.words[0] = os_read_once(((const uint64_t *)packet)[0]);
	descriptor.words[1] = os_read_once(((const uint64_t *)packet)[1]);
	bytes = descriptor.fields.length8 * 8u;
	if (unlikely(descriptor.fields.data_offset8 < DESCRIPTOR_BYTES / 8 ||
		     descriptor.fields.length8 < descriptor.fields.data_offset8 ||
		     bytes > available - TRAILER_BYTES || bytes > buffer_bytes))
		goto corrupt;

	memcpy(buffer, &descriptor, DESCRIPTOR_BYTES);
	memcpy((uint8_t *)buffer + DESCRIPTOR_BYTES, packet + DESCRIPTOR_BYTES,
	       bytes - DESCRIPTOR_BYTES);
	reader->out = advance(reader->out, bytes + TRAILER_BYTES, reader->data_bytes);
	*out_bytes = bytes;
	return 0;

corrupt:
	reader->broken = true;
	return -LIS_CORRUPT;
}

/* Free room as the writer counts it: the gap is never used. */
static inline uint32_t free_bytes(uint32_t in, uint32_t out, uint32_t data_bytes)
{
	return data_bytes - VMBUS_RING_GAP_BYTES - distance(out, in, data_bytes);
}

/*
 * How much room a waiting writer wants. Some writers ask for the whole ring less
 * one byte, or more than a ring ever has free, and mean an empty one; less than 8 means any room at
 * all. Source: [openvmm vmbus_ring/src/lib.rs commit_read] low bits are dropped.
 */
static uint32_t wanted_bytes(uint32_t pending_send_bytes, uint32_t data_bytes)
{
	if (pending_send_bytes > data_bytes - VMBUS_RING_GAP_BYTES)
		return data_bytes - VMBUS_RING_GAP_BYTES;
	return pending_send_bytes < 8 ? 8 : pending_send_bytes & ~7u;
}

bool vmbus_ring_reader_publish(struct vmbus_ring_reader *reader)
{
	uint32_t old_out = reader->published_out;
	uint32_t wanted;

	if (reader->out == old_out || unlikely(reader->broken))
		return false;
	/* The copies above are done before the writer may overwrite what was copied. */
	os_store_release(reader->control->out, reader->out);
	reader->published_out = reader->out;
	/*
	 * Pairs with the barrier in writer_ask_for_room(): either we see what the writer asks for,
	 * or it sees the room we just gave.
	 */
	os_full_barrier();
	wanted = os_load_acquire(reader->control->pending_send_bytes);
	if (unlikely(wanted)) {
		wanted = wanted_bytes(wanted, reader->data_bytes);
		/* A writer that waits had exposed all it has by then, and adds nothing. */
		if (!reader_refresh(reader))
			return false;
		return free_bytes(reader->cached_in, old_out, reader->data_bytes) < wanted &&
		       free_bytes(reader->cached_in, reader->out, reader->data_bytes) >= wanted;
	}
	return !(os_read_once(reader->control->features) & VMBUS_RING_FEATURE_PENDING_SEND);
}

void vmbus_ring_reader_mask(struct vmbus_ring_reader *reader)
{
	/* A signal sent before this is seen costs one look at the ring; no barrier needed. */
	os_write_once(reader->control->interrupt_mask, 1);
}

bool vmbus_ring_reader_unmask(struct vmbus_ring_reader *reader)
{
	os_write_once(reader->control->interrupt_mask, 0);
	/* Pairs with vmbus_ring_writer_publish(): we see the packet, or it the mask cleared. */
	os_full_barrier();
	/* Only looked at: a signal may have given the ring to another owner by now. */
	return os_read_once(reader->broken) ||
	       os_read_once(reader->out) != os_read_once(reader->cached_in) ||
	       os_read_once(reader->out) != os_read_once(reader->control->in);
}

bool vmbus_ring_reader_ready(struct vmbus_ring_reader *reader)
{
	if (reader->broken || reader->out != reader->cached_in)
		return true;
	return !reader_refresh(reader) || reader->out != reader->cached_in;
}

/* The writing end */

/* Learn how far the reader is. False, and broken, where it says something impossible. */
static inline bool writer_refresh(struct vmbus_ring_writer *writer)
{
	/* Pairs with the release in vmbus_ring_reader_publish(): the reader has its copies. */
	uint32_t out = os_load_acquire(writer->control->out);
	uint32_t exposed = distance(writer->cached_out, writer->exposed_in, writer->data_bytes);

	if (unlikely(!index_possible(out, writer->data_bytes) ||
		     distance(writer->cached_out, out, writer->data_bytes) > exposed)) {
		writer->broken = true;
		return false;
	}
	writer->cached_out = out;
	return true;
}

int vmbus_ring_writer_init(struct vmbus_ring_writer *writer, void *control, void *data,
			   size_t data_bytes)
{
	struct vmbus_ring_control *page = control;
	uint32_t in, out;

	if (!size_possible(data_bytes))
		return -LIS_INVALID;
	in = os_read_once(page->in);
	out = os_load_acquire(page->out);
	if (!index_possible(in, (uint32_t)data_bytes) || !index_possible(out, (uint32_t)data_bytes))
		return -LIS_CORRUPT;
	*writer = (struct vmbus_ring_writer){
		.control = page,
		.data = data,
		.data_bytes = (uint32_t)data_bytes,
		.in = in,
		.exposed_in = in,
		.cached_out = out,
		/* Nobody knows whether the reader was woken for what is there already. */
		.unsettled_bytes = distance(out, in, (uint32_t)data_bytes),
	};
	os_write_once(page->pending_send_bytes, 0);
	os_write_once(page->features, VMBUS_RING_FEATURE_PENDING_SEND);
	return 0;
}

static inline uint32_t writer_free(const struct vmbus_ring_writer *writer)
{
	return free_bytes(writer->in, writer->cached_out, writer->data_bytes);
}

static void set_pending_send(struct vmbus_ring_writer *writer, uint32_t bytes)
{
	if (writer->pending_send_bytes == bytes)
		return;
	writer->pending_send_bytes = bytes;
	os_write_once(writer->control->pending_send_bytes, bytes);
}

/*
 * There was no room for @bytes: ask to be signalled when there is. The reader reckons with the
 * index it sees, so everything must be exposed first. Returns 0 where the room has come meanwhile.
 */
static int writer_ask_for_room(struct vmbus_ring_writer *writer, uint32_t bytes)
{
	vmbus_ring_writer_expose(writer);
	if (writer->pending_send_bytes != bytes) {
		set_pending_send(writer, bytes);
		/* Pairs with vmbus_ring_reader_publish(): it sees the wish, or we see the room. */
		os_full_barrier();
	}
	if (!writer_refresh(writer))
		return -LIS_CORRUPT;
	return writer_free(writer) < bytes ? -LIS_FULL : 0;
}

/* Make sure of room for @bytes, asking the reader only where what is known does not suffice. */
static inline int writer_make_room(struct vmbus_ring_writer *writer, uint32_t bytes)
{
	int error;

	if (unlikely(writer->broken))
		return -LIS_CORRUPT;
	if (unlikely(writer_free(writer) < bytes)) {
		if (!writer_refresh(writer))
			return -LIS_CORRUPT;
		if (writer_free(writer) < bytes) {
			error = writer_ask_for_room(writer, bytes);
			if (error)
				return error;
		}
	}
	if (unlikely(writer->pending_send_bytes))
		set_pending_send(writer, 0);
	return 0;
}

static inline void store_word(uint8_t *at, uint64_t word)
{
	os_write_once(*(uint64_t *)at, word);
}

static inline int reserve(struct vmbus_ring_writer *writer, uint16_t type, uint16_t flags,
			  uint64_t id, size_t head_bytes, size_t payload_bytes, uint8_t **out_body)
{
	uint32_t offset, bytes;
	uint8_t *packet;
	int error;

	if (unlikely(head_bytes > VMBUS_PACKET_BYTES_LIMIT ||
		     payload_bytes > VMBUS_PACKET_BYTES_LIMIT || (head_bytes & 7)))
		return -LIS_INVALID;
	offset = DESCRIPTOR_BYTES + (uint32_t)head_bytes;
	bytes = offset + (((uint32_t)payload_bytes + 7) & ~7u);
	if (unlikely(bytes > VMBUS_PACKET_BYTES_LIMIT ||
		     bytes + TRAILER_BYTES > vmbus_ring_writer_packet_bytes_max(writer)))
		return -LIS_INVALID;
	error = writer_make_room(writer, bytes + TRAILER_BYTES);
	if (unlikely(error))
		return error;

	packet = writer->data + writer->in;
	store_word(packet, (uint64_t)type | (uint64_t)(offset / 8) << 16 |
				   (uint64_t)(bytes / 8) << 32 | (uint64_t)flags << 48);
	store_word(packet + 8, id);
	if (payload_bytes & 7)
		store_word(packet + bytes - 8, 0);
	store_word(packet + bytes, (uint64_t)writer->in << 32);
	writer->reserved_bytes = bytes + TRAILER_BYTES;
	*out_body = packet + DESCRIPTOR_BYTES;
	return 0;
}

int vmbus_ring_reserve(struct vmbus_ring_writer *writer, uint16_t type, uint16_t flags, uint64_t id,
		       size_t head_bytes, size_t payload_bytes, void **out_body)
{
	uint8_t *body;
	int error = reserve(writer, type, flags, id, head_bytes, payload_bytes, &body);

	if (!error)
		*out_body = body;
	return error;
}

static inline void commit(struct vmbus_ring_writer *writer)
{
	writer->in = advance(writer->in, writer->reserved_bytes, writer->data_bytes);
	/* Grows past a turn only while nobody publishes; one turn says "anywhere" already. */
	writer->unsettled_bytes += writer->reserved_bytes;
	if (unlikely(writer->unsettled_bytes > writer->data_bytes))
		writer->unsettled_bytes = writer->data_bytes;
	writer->reserved_bytes = 0;
}

void vmbus_ring_commit(struct vmbus_ring_writer *writer)
{
	commit(writer);
}

int vmbus_ring_write(struct vmbus_ring_writer *writer, const struct vmbus_packet_out *packet)
{
	size_t payload_bytes = 0;
	uint8_t *body;
	int error;

	for (size_t i = 0; i < packet->payload_count; i++) {
		if (packet->payload[i].bytes > VMBUS_PACKET_BYTES_LIMIT - payload_bytes)
			return -LIS_INVALID;
		payload_bytes += packet->payload[i].bytes;
	}
	error = reserve(writer, packet->type, packet->flags, packet->id, packet->head_bytes,
			payload_bytes, &body);
	if (unlikely(error))
		return error;
	if (packet->head_bytes) {
		memcpy(body, packet->head, packet->head_bytes);
		body += packet->head_bytes;
	}
	for (size_t i = 0; i < packet->payload_count; i++) {
		if (!packet->payload[i].bytes)
			continue;
		memcpy(body, packet->payload[i].base, packet->payload[i].bytes);
		body += packet->payload[i].bytes;
	}
	commit(writer);
	return 0;
}

void vmbus_ring_writer_expose(struct vmbus_ring_writer *writer)
{
	if (writer->exposed_in == writer->in || writer->broken)
		return;
	writer->exposed_in = writer->in;
	os_store_release(writer->control->in, writer->in);
}

bool vmbus_ring_writer_publish(struct vmbus_ring_writer *writer)
{
	uint32_t unsettled = writer->unsettled_bytes;
	uint32_t unread;

	if (!unsettled || unlikely(writer->broken))
		return false;
	vmbus_ring_writer_expose(writer);
	writer->unsettled_bytes = 0;
	/* Pairs with vmbus_ring_reader_unmask(): we see the mask cleared, or it the packets. */
	os_full_barrier();
	if (os_read_once(writer->control->interrupt_mask))
		return false;
	if (!writer_refresh(writer))
		return false;
	/*
	 * The reader may sleep if it had read everything that was exposed at some moment since the
	 * last publish. One that has not got so far is awake and will find the rest itself.
	 */
	unread = distance(writer->cached_out, writer->in, writer->data_bytes);
	return unread && unread <= unsettled;
}

bool vmbus_ring_writer_has_room(struct vmbus_ring_writer *writer, size_t packet_bytes)
{
	if (writer->broken)
		return true;
	return writer_free(writer) >= packet_bytes || !writer_refresh(writer) ||
	       writer_free(writer) >= packet_bytes;
}

uint32_t vmbus_ring_writer_free_bytes(struct vmbus_ring_writer *writer)
{
	if (writer->broken || !writer_refresh(writer))
		return 0;
	return writer_free(writer);
}

void vmbus_ring_status(const void *control, size_t data_bytes, struct vmbus_ring_status *out_status)
{
	const struct vmbus_ring_control *page = control;
	struct vmbus_ring_status status = {
		.in = os_read_once(page->in),
		.out = os_read_once(page->out),
		.data_bytes = (uint32_t)data_bytes,
		.interrupt_mask = os_read_once(page->interrupt_mask),
		.pending_send_bytes = os_read_once(page->pending_send_bytes),
	};

	status.sane = size_possible(data_bytes) && index_possible(status.in, status.data_bytes) &&
		      index_possible(status.out, status.data_bytes);
	if (status.sane)
		status.used_bytes = distance(status.out, status.in, status.data_bytes);
	*out_status = status;
}
