/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A partition as host ends see it: guest memory, messages, event flags and signals. The KVM machine
 * (vmm/) and the loopback partition (vmbus/loopback.h) implement it; VSPs know neither.
 */
#ifndef OPENLIS_VMBUS_PARTITION_H
#define OPENLIS_VMBUS_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"
#include "vmbus/protocol.h"

/* A guest-physical address; a struct, so that nobody takes it for a pointer or a length. */
struct gpa {
	uint64_t value;
};

#define GPA(address) ((struct gpa){ (address) })

/* One range of guest memory, mapped in this process and backed by a file that can be mapped again. */
struct partition_slot {
	struct gpa gpa;          /* page aligned */
	uint64_t bytes;          /* whole pages */
	void *hva;
	int fd;                  /* memfd */
	uint64_t fd_offset_bytes;
};

#define PARTITION_SLOTS_MAX 16
/* Of the processor's huge pages. */
#define PARTITION_HUGE_BYTES (2u << 20)

struct partition;

struct partition_ops {
	/**
	 * @post_message: queue a VMBus message for SINT 2 of a VP. Delivered in order, when the
	 * guest has the slot free. Never blocks. Called by the thread that owns the bus only.
	 * Returns 0, -LIS_NOMEM, -LIS_INVALID (no such VP, more than VMBUS_MESSAGE_BYTES_MAX).
	 */
	int (*post_message)(struct partition *partition, uint32_t vp, const void *payload,
			    size_t payload_bytes);

	/**
	 * @messages_pending: how many posted messages the guest has not taken yet, all VPs.
	 */
	size_t (*messages_pending)(struct partition *partition);

	/**
	 * @set_event_flag: set bit @flag (0..VMBUS_EVENT_FLAGS-1) in the event page of SINT 2 of a
	 * VP, and interrupt it if the bit was clear. Any thread; never blocks. Ignored where the VP
	 * does not exist or has its event page off.
	 */
	void (*set_event_flag)(struct partition *partition, uint32_t vp, uint32_t flag);

	/**
	 * @bind_signal: have @eventfd written each time the guest signals @connection_id.
	 * Returns 0, -LIS_BUSY (id is bound already), -LIS_NOMEM, -LIS_INVALID.
	 */
	int (*bind_signal)(struct partition *partition, uint32_t connection_id, int eventfd);

	/** @unbind_signal: undo bind_signal; no write to the eventfd happens after it returns. */
	void (*unbind_signal)(struct partition *partition, uint32_t connection_id);

	/**
	 * @is_asleep: do all VPs wait for an interrupt? Also true where the partition cannot know. Any thread; never
	 * blocks. Optional.
	 */
	bool (*is_asleep)(struct partition *partition);
};

/* What the bus wants to hear from the partition; set by vmbus_host_create(). */
struct partition_listener {
	/**
	 * @on_message: the guest posted a message. Called from any thread (a VP's); copies the
	 * payload. Returns 0, -LIS_NOTFOUND (nothing listens at @connection_id:
	 * HV_STATUS_INVALID_CONNECTION_ID), -LIS_FULL (HV_STATUS_INSUFFICIENT_BUFFERS, the guest
	 * tries again), -LIS_INVALID.
	 */
	int (*on_message)(void *owner, uint32_t connection_id, const void *payload,
			  size_t payload_bytes);
	void *owner;
};

struct partition {
	const struct partition_ops *ops;
	struct partition_listener listener;
	uint32_t vp_count;
	uint32_t slot_count;
	struct partition_slot slots[PARTITION_SLOTS_MAX]; /* ascending, no overlap, fixed while running */
};

/**
 * partition_map_file() - Map the memory of a slot where huge pages fit.
 * @bytes: whole pages
 * @fd_offset_bytes: a multiple of PARTITION_HUGE_BYTES, else they do not
 * Return: where it is, good for munmap(); NULL (errno).
 */
void *partition_map_file(uint64_t bytes, int fd, uint64_t fd_offset_bytes) LIS_MUST_USE;

/**
 * partition_hva() - The host's pointer to a guest-physical range.
 * @partition: whose memory
 * @gpa: first byte
 * @bytes: length, at least 1
 *
 * Whatever lies behind the pointer may change at any time: read each field once.
 *
 * Context: any thread.
 * Return: the pointer, or NULL where not all of the range is guest memory in one slot.
 */
void *partition_hva(const struct partition *partition, struct gpa gpa, uint64_t bytes);

/**
 * partition_map_pages() - Map guest pages side by side.
 * @partition: whose memory
 * @pfns: guest page numbers, in the order wanted
 * @pfn_count: at least 1
 * @twice: map the whole a second time right behind itself, as a ring wants it
 * @out_hva: set on success only; pfn_count (or twice that) pages, readable and writable
 *
 * Neighbouring pages that are neighbours in the file cost one mapping together.
 *
 * Context: any thread; sleeps.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (a page is no guest memory).
 */
int partition_map_pages(const struct partition *partition, const uint64_t *pfns, size_t pfn_count,
			bool twice, void **out_hva) LIS_MUST_USE;

/**
 * partition_unmap_pages() - Undo partition_map_pages().
 * @hva: what it gave, or NULL
 * @pfn_count: as given to it
 * @twice: as given to it
 */
void partition_unmap_pages(void *hva, size_t pfn_count, bool twice);

#endif
