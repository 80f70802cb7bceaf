// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that the host sees: rings of a channel, and buffers of drivers. It is zeroed before it is
 * shown, and what the host did not give back is leaked, never used again.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "linux/vmbus/private.h"

static_assert(PAGE_SIZE == HV_PAGE_BYTES);

bool lis_wait_for_answer(struct lis_channel *channel, struct completion *answer)
{
	unsigned long end = jiffies + LIS_ANSWER_SECONDS * HZ;
	bool rescinded = false;

	while (!wait_for_completion_timeout(answer, HZ / 10)) {
		if (!rescinded && lis_channel_rescinded(channel)) {
			rescinded = true;
			end = jiffies + LIS_RESCINDED_SECONDS * HZ;
		}
		if (time_after(jiffies, end))
			return false;
	}
	return true;
}

static void gpadl_answered(struct vmbus_client_gpadl *gpadl, int error)
{
	struct lis_memory *memory = container_of(gpadl, struct lis_memory, gpadl);

	memory->error = error;
	complete(&memory->answer);
}

void lis_memory_on_gpadl_created(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	gpadl_answered(gpadl, error);
}

void lis_memory_on_gpadl_torn_down(void *port, struct vmbus_client_gpadl *gpadl, int error)
{
	gpadl_answered(gpadl, error);
}

void lis_memory_free(struct lis_memory *memory)
{
	if (!memory)
		return;
	vunmap(memory->map);
	for (u32 i = 0; memory->pages && i < memory->page_count; i++)
		if (memory->pages[i])
			__free_page(memory->pages[i]);
	kvfree(memory->pages);
	kvfree(memory->pfns);
	kfree(memory);
}

struct lis_memory *lis_memory_alloc(u32 page_count)
{
	struct lis_memory *memory = kzalloc(sizeof(*memory), GFP_KERNEL);

	if (!memory)
		return NULL;
	init_completion(&memory->answer);
	memory->page_count = page_count;
	memory->pages = kvcalloc(page_count, sizeof(*memory->pages), GFP_KERNEL);
	memory->pfns = kvcalloc(page_count, sizeof(*memory->pfns), GFP_KERNEL);
	if (!memory->pages || !memory->pfns)
		goto free;
	for (u32 i = 0; i < page_count; i++) {
		memory->pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!memory->pages[i])
			goto free;
		memory->pfns[i] = page_to_pfn(memory->pages[i]);
	}
	return memory;
free:
	lis_memory_free(memory);
	return NULL;
}

/* The host may keep the memory: whatever happens to it there, it is nobody else's here. */
static void leak(struct lis_channel *channel, struct lis_memory *memory)
{
	unsigned long flags;

	spin_lock_irqsave(&lis_bus.lock, flags);
	vmbus_client_gpadl_abandon(&lis_bus.client, &memory->gpadl);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	pr_warn("hv_vmbus: %s: the host keeps %u pages of channel %u, which are lost\n",
		dev_name(&channel->device->dev), memory->page_count,
		channel->core.offer.channel_id);
}

int lis_memory_share(struct lis_channel *channel, struct lis_memory *memory)
{
	unsigned long flags;
	int error;

	spin_lock_irqsave(&lis_bus.lock, flags);
	error = vmbus_client_gpadl_create(&lis_bus.client, &channel->core, &memory->gpadl,
					  memory->pfns, memory->page_count * HV_PAGE_BYTES, 0);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	if (error) {
		lis_memory_free(memory);
		return lis_errno(error);
	}
	if (!lis_wait_for_answer(channel, &memory->answer)) {
		leak(channel, memory);
		return -ETIMEDOUT;
	}
	error = memory->error;
	if (error == -LIS_STILL_SHARED)
		leak(channel, memory);
	else if (error)
		lis_memory_free(memory);
	return lis_errno(error);
}

bool lis_memory_unshare(struct lis_channel *channel, struct lis_memory *memory)
{
	unsigned long flags;
	int error;

	reinit_completion(&memory->answer);
	spin_lock_irqsave(&lis_bus.lock, flags);
	error = vmbus_client_gpadl_teardown(&lis_bus.client, &memory->gpadl);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	if (!error) {
		error = -LIS_TIMEOUT;
		if (lis_wait_for_answer(channel, &memory->answer))
			error = memory->error;
	}
	if (error) {
		leak(channel, memory);
		return true;
	}
	lis_memory_free(memory);
	return false;
}

/* Buffers of drivers */

struct lis_buffer *lis_buffer_create(struct lis_channel *channel, u32 bytes)
{
	struct lis_buffer *buffer;
	struct lis_memory *memory;
	int error = -ENOMEM;

	if (!bytes || bytes > VMBUS_CLIENT_GPADL_PAGES_MAX * HV_PAGE_BYTES)
		return ERR_PTR(-EINVAL);
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	memory = lis_memory_alloc(DIV_ROUND_UP(bytes, HV_PAGE_BYTES));
	if (!buffer || !memory)
		goto free;
	memory->map = vmap(memory->pages, memory->page_count, VM_MAP, PAGE_KERNEL);
	if (!memory->map)
		goto free;
	error = lis_memory_share(channel, memory);
	if (error) {
		memory = NULL;
		goto free;
	}
	*buffer = (struct lis_buffer){
		.memory = memory->map,
		.bytes = memory->page_count * HV_PAGE_BYTES,
		.gpadl_id = memory->gpadl.id,
		.channel = channel,
		.shared = memory,
	};
	return buffer;
free:
	lis_memory_free(memory);
	kfree(buffer);
	return ERR_PTR(error == -EPIPE ? -ENODEV : error);
}
EXPORT_SYMBOL_GPL(lis_buffer_create);

bool lis_buffer_destroy(struct lis_buffer *buffer)
{
	bool lost;

	if (IS_ERR_OR_NULL(buffer))
		return false;
	lost = lis_memory_unshare(buffer->channel, buffer->shared);
	kfree(buffer);
	return lost;
}
EXPORT_SYMBOL_GPL(lis_buffer_destroy);
