/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Requests in flight on a channel, and the transaction ids they travel under.
 *
 * An id is a slot's number and how often that slot was used before, so it tells nothing about
 * memory, is never 0 (which VMBus keeps for what nobody asked for), and is not given twice within
 * 2^32 uses of its slot: an answer that comes late, twice or out of the blue finds nothing.
 *
 * The caller owns the slots, and serializes. Everything here takes constant time and stands in the
 * header, since it is on the way of every request.
 */
#ifndef OPENLIS_VMBUS_REQUESTS_H
#define OPENLIS_VMBUS_REQUESTS_H

#include "vmbus/os.h"

/* [policy] What one channel can have in flight. */
#define VMBUS_REQUESTS_MAX 65536u

#define VMBUS_REQUESTS_END 0xffffffffu

/* One slot; fields are private. */
struct vmbus_request_slot {
	void *owner;         /* NULL: free */
	uint32_t generation; /* counts the uses */
	uint32_t next_free;  /* VMBUS_REQUESTS_END: none */
};

struct vmbus_requests {
	struct vmbus_request_slot *slots;
	uint32_t slot_count;
	uint32_t used_count;
	uint32_t free; /* the slot used last comes first: it is in the cache */
};

/**
 * vmbus_requests_init() - Begin with an empty table.
 * @requests: set
 * @slots: @slot_count of them, the caller's; need not be initialized
 * @slot_count: 1..VMBUS_REQUESTS_MAX
 *
 * Context: any.
 */
static inline void vmbus_requests_init(struct vmbus_requests *requests,
				       struct vmbus_request_slot *slots, uint32_t slot_count)
{
	*requests = (struct vmbus_requests){ .slots = slots, .slot_count = slot_count };
	for (uint32_t i = 0; i < slot_count; i++)
		slots[i] = (struct vmbus_request_slot){
			.next_free = i + 1 < slot_count ? i + 1 : VMBUS_REQUESTS_END,
		};
}

/**
 * vmbus_requests_full() - Would vmbus_requests_add() fail?
 * @requests: the table
 */
static inline bool vmbus_requests_full(const struct vmbus_requests *requests)
{
	return requests->free == VMBUS_REQUESTS_END;
}

/**
 * vmbus_requests_add() - Take a slot.
 * @requests: the table
 * @owner: what vmbus_requests_find() shall give; not NULL
 *
 * Context: caller serializes.
 * Return: its id, or 0 where all slots are taken.
 */
static inline uint64_t vmbus_requests_add(struct vmbus_requests *requests, void *owner)
{
	uint32_t index = requests->free;
	struct vmbus_request_slot *slot;

	if (index == VMBUS_REQUESTS_END)
		return 0;
	slot = &requests->slots[index];
	requests->free = slot->next_free;
	requests->used_count++;
	slot->owner = owner;
	return (uint64_t)slot->generation << 32 | (index + 1);
}

/* The slot that an id names now, or NULL. @id may be anything. */
static inline struct vmbus_request_slot *
vmbus_requests_slot(const struct vmbus_requests *requests, uint64_t id)
{
	uint32_t number = (uint32_t)id;
	struct vmbus_request_slot *slot;

	if (!number || number > requests->slot_count)
		return NULL;
	slot = &requests->slots[number - 1];
	return slot->owner && slot->generation == (uint32_t)(id >> 32) ? slot : NULL;
}

/**
 * vmbus_requests_find() - Whose is this id?
 * @requests: the table
 * @id: anything, for example what the peer sent
 *
 * Context: caller serializes.
 * Return: the owner, or NULL where the id names no request in flight.
 */
static inline void *vmbus_requests_find(const struct vmbus_requests *requests, uint64_t id)
{
	struct vmbus_request_slot *slot = vmbus_requests_slot(requests, id);

	return slot ? slot->owner : NULL;
}

/**
 * vmbus_requests_remove() - Give a slot back; its id names nothing from now on.
 * @requests: the table
 * @id: anything
 *
 * Context: caller serializes.
 * Return: the owner, or NULL where the id names no request in flight.
 */
static inline void *vmbus_requests_remove(struct vmbus_requests *requests, uint64_t id)
{
	struct vmbus_request_slot *slot = vmbus_requests_slot(requests, id);
	void *owner;

	if (!slot)
		return NULL;
	owner = slot->owner;
	slot->owner = NULL;
	slot->generation++;
	slot->next_free = requests->free;
	requests->free = (uint32_t)(slot - requests->slots);
	requests->used_count--;
	return owner;
}

/**
 * vmbus_requests_replace() - Have an id found with another owner.
 * @requests: the table
 * @id: anything
 * @owner: not NULL
 *
 * Context: caller serializes.
 * Return: the owner before, or NULL where the id names no request in flight.
 */
static inline void *vmbus_requests_replace(struct vmbus_requests *requests, uint64_t id,
					   void *owner)
{
	struct vmbus_request_slot *slot = vmbus_requests_slot(requests, id);
	void *before;

	if (!slot)
		return NULL;
	before = slot->owner;
	slot->owner = owner;
	return before;
}

/**
 * vmbus_requests_next() - Walk over what is in flight, slot by slot.
 * @requests: the table; those found may be removed on the way
 * @cursor: 0 at first
 *
 * Context: caller serializes.
 * Return: the next id, or 0 at the end.
 */
static inline uint64_t vmbus_requests_next(const struct vmbus_requests *requests, uint32_t *cursor)
{
	while (*cursor < requests->slot_count) {
		const struct vmbus_request_slot *slot = &requests->slots[(*cursor)++];

		if (slot->owner)
			return (uint64_t)slot->generation << 32 | *cursor;
	}
	return 0;
}

#endif
