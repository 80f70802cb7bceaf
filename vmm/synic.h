/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Hyper-V's synthetic interrupt controller as the host sees it: where a VP has its message and
 * event pages, messages that wait for a free slot, event flags. Knows memory, not KVM.
 *
 * The registers are written by the VP's thread, messages by the bus' thread, event flags by any:
 * all under the VP's lock, so that no page is touched after the guest took it back.
 */
#ifndef OPENLIS_VMM_SYNIC_H
#define OPENLIS_VMM_SYNIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"
#include "vmbus/partition.h"

/* Source: [tlfs 11.8] HV_MESSAGE */
struct synic_message {
	uint32_t type;
	uint8_t payload_bytes;
	uint8_t flags;
	uint16_t reserved;
	uint64_t sender;
	uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];
};
_Static_assert(sizeof(struct synic_message) == 256, "HV_MESSAGE_SIZE");

#define SYNIC_MESSAGE_PENDING 0x01u /* in flags: tell the host when the slot is free */

#define SYNIC_CONTROL_ENABLE 0x1ull
#define SYNIC_PAGE_ENABLE 0x1ull
#define SYNIC_PAGE_ADDRESS 0xfffffffffffff000ull

/* Bound of the queue of one VP: every channel offered and rescinded at once. [policy] */
#define SYNIC_QUEUE_MAX 8192u

struct synic_waiting;

struct synic {
	pthread_mutex_t lock;
	uint64_t control, event_page, message_page; /* the registers */
	struct synic_message *message_slot; /* SINT 2's; NULL: off */
	uint64_t *event_flags;              /* SINT 2's 256 bytes; NULL: off */
	struct synic_waiting *first, **last;
	size_t waiting;
	uint64_t delivered, dropped;
};

void synic_init(struct synic *synic);
void synic_fini(struct synic *synic);

/** synic_reset() - Power-on state: nothing enabled, nothing waits. */
void synic_reset(struct synic *synic);

/**
 * synic_set_registers() - The guest wrote SCONTROL, SIEFP or SIMP.
 * @partition: whose memory the pages are in
 *
 * A page is zeroed when it is first enabled or moves (KVM with SYNIC2 leaves that to us). Messages
 * that wait while the guest takes its message page away are lost, as on Hyper-V.
 *
 * Context: VP's thread, before the guest runs on.
 * Return: true if messages wait that may now be delivered.
 */
bool synic_set_registers(struct synic *synic, const struct partition *partition, uint64_t control,
			 uint64_t event_page, uint64_t message_page);

/**
 * synic_post() - Queue a message. Dropped at once (and 0) while the guest has its message page off.
 * Return: 0, -LIS_NOMEM (also: SYNIC_QUEUE_MAX wait), -LIS_INVALID (too long).
 */
int synic_post(struct synic *synic, const void *payload, size_t payload_bytes) LIS_MUST_USE;

enum synic_delivery {
	SYNIC_IDLE,    /* nothing waits */
	SYNIC_BLOCKED, /* messages wait for the guest, which tells by an end of message or interrupt
			*/
};

/**
 * synic_deliver() - Put the first waiting message into the slot, if that is free.
 * @out_written: a message was written: raise the interrupt
 * Context: one thread only. Return: whether any are left.
 */
enum synic_delivery synic_deliver(struct synic *synic, bool *out_written);

/**
 * synic_set_event_flag() - Set a bit in the event page.
 * Context: any thread. Return: true if it was clear: raise the interrupt.
 */
bool synic_set_event_flag(struct synic *synic, uint32_t flag);

/** synic_waiting() - Messages in the queue. Any thread. */
size_t synic_waiting(struct synic *synic);

#endif
