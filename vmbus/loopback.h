/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The loopback partition: a guest end and a host end joined by shared memory and eventfds, without
 * KVM, at native speed. The host end is a struct partition like any other. The guest end lives in
 * the same process (loopback_guest_attach()) or in another one, joined by a Unix socket that
 * carries the file descriptors (loopback_serve() and loopback_guest_connect()).
 *
 * What each costs: a signal or an interrupt is one write to an eventfd; an interrupt is only sent
 * where the event flag was clear. Posting a message is a call of the listener on the caller's
 * thread, as a VP's would be; from another process it is one round trip over the socket, to a
 * thread of the host end that stands for the VP.
 *
 * The host end does not trust the guest end: nothing in the shared memory is relied on.
 */
#ifndef OPENLIS_VMBUS_LOOPBACK_H
#define OPENLIS_VMBUS_LOOPBACK_H

#include "vmbus/partition.h"

/* Guest memory is in two slots, half each: from 1 MiB on, and from 4 GiB on. */
#define LOOPBACK_LOW_GPA 0x100000u
#define LOOPBACK_HIGH_GPA 0x100000000u

#define LOOPBACK_VPS_MAX 64u
/* [policy] Messages one VP may have waiting: all offers of a full bus, twice. */
#define LOOPBACK_MESSAGES_MAX 4096u
/* [policy] Connection ids bound at once: all channels, with some to spare. */
#define LOOPBACK_BINDINGS_MAX 4096u

#define LOOPBACK_FLAG_WORDS (VMBUS_EVENT_FLAGS / 64u)

struct loopback_guest;

struct loopback_config {
	uint32_t vp_count;     /* 1..LOOPBACK_VPS_MAX */
	uint64_t memory_bytes; /* rounded up to 8 KiB; at least that, at most 2 GiB */
};

/**
 * loopback_create() - A partition with zeroed memory and no guest end yet.
 * @config: copied
 * @out_partition: set on success only
 *
 * Context: any thread.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID.
 */
int loopback_create(const struct loopback_config *config,
		    struct partition **out_partition) LIS_MUST_USE;

/** loopback_destroy() - After guest ends in this process are detached. NULL is fine. */
void loopback_destroy(struct partition *partition);

/**
 * loopback_serve() - Open the partition to a guest end in another process.
 * @partition: from loopback_create(); not served now, with the listener set
 * @out_fd: the guest's end of a socket; hand it over by fork() or SCM_RIGHTS, then close it here
 *
 * A thread answers until the other end is closed, loopback_unserve() or loopback_destroy().
 *
 * Return: 0, -LIS_NOMEM, -LIS_BUSY (served already).
 */
int loopback_serve(struct partition *partition, int *out_fd) LIS_MUST_USE;

/**
 * loopback_unserve() - Part from the guest end in another process; no call of the listener follows.
 * @partition: served or not; it may be served again
 *
 * Due before the bus is destroyed: the thread stands for the guest's VPs.
 */
void loopback_unserve(struct partition *partition);

/* The guest's end. Calls from several threads at once are fine, but for pages. */

/** loopback_guest_attach() - A guest end in the host's own process. Return: 0, -LIS_NOMEM. */
int loopback_guest_attach(struct partition *partition,
			  struct loopback_guest **out_guest) LIS_MUST_USE;

/**
 * loopback_guest_connect() - A guest end in a process of its own.
 * @fd: from loopback_serve(); owned by the guest end from now on, also on failure
 * Return: 0, -LIS_NOMEM, -LIS_GONE (the host is not there), -LIS_CORRUPT.
 */
int loopback_guest_connect(int fd, struct loopback_guest **out_guest) LIS_MUST_USE;

/** loopback_guest_detach() - Leave; the host end is not told. NULL is fine. */
void loopback_guest_detach(struct loopback_guest *guest);

/**
 * loopback_guest_post_message() - As HvPostMessage.
 * Return: what partition_listener.on_message gave, -LIS_NOTFOUND (no listener), -LIS_GONE.
 */
int loopback_guest_post_message(struct loopback_guest *guest, uint32_t connection_id,
				const void *payload, size_t payload_bytes) LIS_MUST_USE;

/**
 * loopback_guest_signal() - As HvSignalEvent.
 * Return: 0, -LIS_NOTFOUND (nothing is bound to @connection_id), -LIS_GONE.
 */
int loopback_guest_signal(struct loopback_guest *guest, uint32_t connection_id);

/** loopback_guest_vp_count() - How many VPs there are. */
uint32_t loopback_guest_vp_count(const struct loopback_guest *guest);

/** loopback_guest_interrupt_fd() - The eventfd that interrupts a VP; read it, then look. */
int loopback_guest_interrupt_fd(const struct loopback_guest *guest, uint32_t vp);

/**
 * loopback_guest_wait() - Wait for an interrupt of a VP and take it.
 * @timeout_ms: -1: for ever
 * Return: 0, -LIS_TIMEOUT.
 */
int loopback_guest_wait(const struct loopback_guest *guest, uint32_t vp,
			int timeout_ms) LIS_MUST_USE;

/**
 * loopback_guest_next_message() - Take the oldest message of a VP. One thread for each VP.
 * @out_payload: VMBUS_MESSAGE_BYTES_MAX bytes
 * Return: 0, -LIS_EMPTY.
 */
int loopback_guest_next_message(struct loopback_guest *guest, uint32_t vp, void *out_payload,
				size_t *out_bytes) LIS_MUST_USE;

/** loopback_guest_take_flags() - Read and clear all flags of a VP. Return: true if any was set. */
bool loopback_guest_take_flags(struct loopback_guest *guest, uint32_t vp,
			       uint64_t out_flags[LOOPBACK_FLAG_WORDS]);

/** loopback_guest_take_flag() - Read and clear one event flag. Return: true if it was set. */
bool loopback_guest_take_flag(struct loopback_guest *guest, uint32_t vp, uint32_t flag);

/** loopback_guest_memory() - For partition_hva() and partition_map_pages(); it has no ops. */
const struct partition *loopback_guest_memory(const struct loopback_guest *guest);

/**
 * loopback_guest_alloc_pages() - Pages side by side, zeroed.
 * @high: above 4 GiB
 * Context: one thread at a time; so too for free.
 * Return: the host pointer, or NULL.
 */
void *loopback_guest_alloc_pages(struct loopback_guest *guest, size_t page_count, bool high,
				 struct gpa *out_gpa);

/** loopback_guest_free_pages() - Give back what was allocated in one piece. */
void loopback_guest_free_pages(struct loopback_guest *guest, struct gpa gpa, size_t page_count);

#endif
