// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Message slots and event flags. A slot is the guest's as soon as its type is not zero; until then
 * it is ours. Whatever the guest writes there at other times costs it a message, nothing else.
 */
#include "vmm/synic.h"

#include <stdlib.h>
#include <string.h>

#include "vmbus/os.h"

struct synic_waiting {
	struct synic_waiting *next;
	size_t payload_bytes;
	uint8_t payload[];
};

#define EVENT_FLAGS_BYTES (VMBUS_EVENT_FLAGS / 8)

void synic_init(struct synic *synic)
{
	memset(synic, 0, sizeof(*synic));
	pthread_mutex_init(&synic->lock, NULL);
	synic->last = &synic->first;
	synic->control = SYNIC_CONTROL_ENABLE;
}

static void drop_waiting(struct synic *synic)
{
	while (synic->first) {
		struct synic_waiting *waiting = synic->first;

		synic->first = waiting->next;
		free(waiting);
		synic->dropped++;
	}
	synic->last = &synic->first;
	synic->waiting = 0;
}

void synic_fini(struct synic *synic)
{
	drop_waiting(synic);
	pthread_mutex_destroy(&synic->lock);
}

void synic_reset(struct synic *synic)
{
	pthread_mutex_lock(&synic->lock);
	drop_waiting(synic);
	/* On from the start, as with KVM and Hyper-V. Source: [openvmm virt_kvm] */
	synic->control = SYNIC_CONTROL_ENABLE;
	synic->event_page = synic->message_page = 0;
	synic->message_slot = NULL;
	synic->event_flags = NULL;
	pthread_mutex_unlock(&synic->lock);
}

static void *page_hva(const struct partition *partition, uint64_t page)
{
	if (!(page & SYNIC_PAGE_ENABLE))
		return NULL;
	return partition_hva(partition, GPA(page & SYNIC_PAGE_ADDRESS), HV_PAGE_BYTES);
}

/* The page as it is now; zeroed if that is news. */
static void *page_set(const struct partition *partition, uint64_t old_page, uint64_t page)
{
	void *hva = page_hva(partition, page);

	if (hva && page != old_page)
		memset(hva, 0, HV_PAGE_BYTES);
	return hva;
}

bool synic_set_registers(struct synic *synic, const struct partition *partition, uint64_t control,
			 uint64_t event_page, uint64_t message_page)
{
	uint8_t *events, *messages;
	bool deliverable;

	pthread_mutex_lock(&synic->lock);
	events = page_set(partition, synic->event_page, event_page);
	messages = page_set(partition, synic->message_page, message_page);
	synic->control = control;
	synic->event_page = event_page;
	synic->message_page = message_page;
	if (!(control & SYNIC_CONTROL_ENABLE))
		events = messages = NULL;
	synic->event_flags =
		events ? (uint64_t *)(void *)(events + VMBUS_MESSAGE_SINT * EVENT_FLAGS_BYTES)
		       : NULL;
	synic->message_slot =
		messages ? (struct synic_message *)(void *)messages + VMBUS_MESSAGE_SINT : NULL;
	if (!messages)
		drop_waiting(synic);
	deliverable = synic->first != NULL;
	pthread_mutex_unlock(&synic->lock);
	return deliverable;
}

static int enqueue(struct synic *synic, const void *payload, size_t payload_bytes)
{
	struct synic_waiting *waiting;

	if (synic->waiting >= SYNIC_QUEUE_MAX)
		return -LIS_NOMEM;
	waiting = malloc(sizeof(*waiting) + payload_bytes);
	if (!waiting)
		return -LIS_NOMEM;
	waiting->next = NULL;
	waiting->payload_bytes = payload_bytes;
	memcpy(waiting->payload, payload, payload_bytes);
	*synic->last = waiting;
	synic->last = &waiting->next;
	synic->waiting++;
	return 0;
}

int synic_post(struct synic *synic, const void *payload, size_t payload_bytes)
{
	int err = 0;

	if (payload_bytes > VMBUS_MESSAGE_BYTES_MAX)
		return -LIS_INVALID;
	pthread_mutex_lock(&synic->lock);
	if (synic->message_slot)
		err = enqueue(synic, payload, payload_bytes);
	else
		synic->dropped++;
	pthread_mutex_unlock(&synic->lock);
	return err;
}

/*
 * Is the slot ours? If not, leave the pending flag, and look again: the guest clears the type first
 * and looks for the flag then, so one of us sees the other. The barrier pairs with the guest's
 * between the two (Linux: vmbus_signal_eom()).
 */
static bool slot_free(struct synic_message *slot)
{
	if (os_load_acquire(slot->type) == 0)
		return true;
	__atomic_fetch_or(&slot->flags, SYNIC_MESSAGE_PENDING, __ATOMIC_SEQ_CST);
	os_full_barrier();
	return os_load_acquire(slot->type) == 0;
}

static void slot_write(struct synic_message *slot, const struct synic_waiting *waiting, bool more)
{
	memcpy(slot->payload, waiting->payload, waiting->payload_bytes);
	slot->sender = 0;
	slot->reserved = 0;
	slot->payload_bytes = (uint8_t)waiting->payload_bytes;
	os_write_once(slot->flags, more ? SYNIC_MESSAGE_PENDING : 0);
	/* The guest reads the rest after it saw the type. */
	os_store_release(slot->type, VMBUS_MESSAGE_TYPE);
}

enum synic_delivery synic_deliver(struct synic *synic, bool *out_written)
{
	enum synic_delivery left;

	*out_written = false;
	pthread_mutex_lock(&synic->lock);
	if (synic->first && synic->message_slot && slot_free(synic->message_slot)) {
		struct synic_waiting *waiting = synic->first;

		synic->first = waiting->next;
		if (!synic->first)
			synic->last = &synic->first;
		synic->waiting--;
		synic->delivered++;
		slot_write(synic->message_slot, waiting, synic->first != NULL);
		free(waiting);
		*out_written = true;
	}
	left = synic->first ? SYNIC_BLOCKED : SYNIC_IDLE;
	pthread_mutex_unlock(&synic->lock);
	return left;
}

bool synic_set_event_flag(struct synic *synic, uint32_t flag)
{
	uint64_t bit = 1ull << (flag % 64);
	uint64_t before = bit;

	if (flag >= VMBUS_EVENT_FLAGS)
		return false;
	pthread_mutex_lock(&synic->lock);
	if (synic->event_flags)
		before = __atomic_fetch_or(&synic->event_flags[flag / 64], bit, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&synic->lock);
	return !(before & bit);
}

size_t synic_waiting(struct synic *synic)
{
	size_t waiting;

	pthread_mutex_lock(&synic->lock);
	waiting = synic->waiting;
	pthread_mutex_unlock(&synic->lock);
	return waiting;
}
