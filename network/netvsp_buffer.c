/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Buffers that the guest shares; the receive buffer in sub-allocations, and the packets that take those to
 * the guest.
 *
 * Each sub-allocation is free, in a channel's batch, or with the guest; a channel's @subs_out counts those of
 * the last two kinds.
 */
#include "network/netvsp_private.h"

#include <stdlib.h>
#include <string.h>

/* [policy] More than these are of no use, whatever the guest shares. */
#define SUBS_MAX 65536u

/* ---- shared buffers ---- */

int netvsp_buffer_map(struct netvsp_channel *ch, uint32_t gpadl_id, struct netvsp_buffer *buffer)
{
	const uint64_t *pfns;
	size_t pfn_count;
	int err = vmbus_channel_gpadl(ch->channel, gpadl_id, &pfns, &pfn_count, &buffer->offset,
				      &buffer->bytes);

	if (err)
		return err;
	buffer->gpadl_id = gpadl_id;
	buffer->pages = calloc(pfn_count ? pfn_count : 1, sizeof(*buffer->pages));
	if (!buffer->pages) {
		memset(buffer, 0, sizeof(*buffer));
		vmbus_channel_gpadl_release(ch->channel, gpadl_id);
		return -LIS_NOMEM;
	}
	for (size_t i = 0; i < pfn_count; i++) {
		if (pfns[i] <= UINT64_MAX >> HV_PAGE_SHIFT)
			buffer->pages[i] = partition_hva(ch->netvsp->partition,
							 GPA(pfns[i] << HV_PAGE_SHIFT), HV_PAGE_BYTES);
		if (!buffer->pages[i]) {
			netvsp_buffer_unmap(ch->netvsp, buffer);
			return -LIS_INVALID;
		}
	}
	return 0;
}

void netvsp_buffer_unmap(struct netvsp *netvsp, struct netvsp_buffer *buffer)
{
	if (!buffer->pages)
		return;
	free(buffer->pages);
	vmbus_channel_gpadl_release(netvsp->channels[0]->channel, buffer->gpadl_id);
	memset(buffer, 0, sizeof(*buffer));
}

uint32_t netvsp_buffer_iov(const struct netvsp_buffer *buffer, uint64_t offset, uint32_t bytes,
			   struct iovec *iov, uint32_t iov_max)
{
	uint32_t count = 0;

	if (!buffer->pages || offset > buffer->bytes || bytes > buffer->bytes - offset)
		return 0;
	offset += buffer->offset;
	while (bytes) {
		uint32_t in_page = (uint32_t)(offset % HV_PAGE_BYTES);
		uint32_t piece = HV_PAGE_BYTES - in_page < bytes ? HV_PAGE_BYTES - in_page : bytes;
		uint8_t *at = buffer->pages[offset / HV_PAGE_BYTES] + in_page;

		if (count && (uint8_t *)iov[count - 1].iov_base + iov[count - 1].iov_len == at) {
			iov[count - 1].iov_len += piece;
		} else {
			if (count == iov_max)
				return 0;
			iov[count++] = (struct iovec){ at, piece };
		}
		offset += piece;
		bytes -= piece;
	}
	return count;
}

/* ---- sub-allocations ---- */

int netvsp_receive_start(struct netvsp *netvsp)
{
	struct netvsp_subs *subs = &netvsp->subs;

	subs->bytes = netvsp->mtu_bytes + NET_VLAN_BYTES + NETVSP_RECEIVE_HEAD_BYTES;
	subs->bytes = (subs->bytes + 63) & ~63u;
	if (subs->bytes < NETVSP_SUB_BYTES_MIN)
		subs->bytes = NETVSP_SUB_BYTES_MIN;
	subs->count = netvsp->receive_buffer.bytes / subs->bytes;
	if (subs->count > SUBS_MAX)
		subs->count = SUBS_MAX;
	if (!subs->count)
		return -LIS_INVALID;
	subs->next = calloc(subs->count, sizeof(*subs->next));
	subs->owner = calloc(subs->count, sizeof(*subs->owner));
	if (!subs->next || !subs->owner) {
		netvsp_receive_stop(netvsp);
		return -LIS_NOMEM;
	}
	for (uint32_t i = 0; i < subs->count; i++)
		subs->next[i] = i + 1 < subs->count ? i + 1 : NETVSP_SUB_NONE;
	subs->free_first = 0;
	subs->free_count = subs->count;
	return 0;
}

static bool control_in_batch(const struct netvsp_channel *ch)
{
	return ch && ch->batch.count && ch->batch.channel_type == NVSP_RNDIS_CONTROL;
}

void netvsp_receive_stop(struct netvsp *netvsp)
{
	if (netvsp->subs.count)
		netvsp->receive_generation++;
	/* A change of the link may have been among what waits: it is told again with the next buffer. */
	if (netvsp->waiting || control_in_batch(netvsp->channels[0])) {
		netvsp->told_link_up = !netvsp_link_up(netvsp);
		netvsp->told_bits_per_second = 0;
	}
	free(netvsp->subs.next);
	free(netvsp->subs.owner);
	memset(&netvsp->subs, 0, sizeof(netvsp->subs));
	netvsp->subs.free_first = NETVSP_SUB_NONE;
	for (uint32_t i = 0; i < NETVSP_CHANNELS_MAX; i++) {
		if (netvsp->channels[i])
			netvsp->channels[i]->batch.count = netvsp->channels[i]->subs_out = 0;
	}
	while (netvsp->waiting) {
		struct netvsp_control *control = netvsp->waiting;

		netvsp->waiting = control->next;
		free(control);
	}
	netvsp->waiting_count = 0;
}

uint32_t netvsp_sub_take(struct netvsp_subs *subs)
{
	uint32_t sub = subs->free_first;

	subs->free_first = subs->next[sub];
	subs->free_count--;
	subs->next[sub] = NETVSP_SUB_NONE;
	return sub;
}

void netvsp_sub_give(struct netvsp_subs *subs, uint32_t sub)
{
	subs->next[sub] = subs->free_first;
	subs->free_first = sub;
	subs->free_count++;
}

static void chain_give(struct netvsp_channel *ch, uint32_t first)
{
	struct netvsp_subs *subs = &ch->netvsp->subs;

	while (first != NETVSP_SUB_NONE) {
		uint32_t next = subs->next[first];

		netvsp_sub_give(subs, first);
		ch->subs_out--;
		first = next;
	}
}

static uint64_t packet_id(const struct netvsp *netvsp, uint32_t first)
{
	return (uint64_t)netvsp->receive_generation << 32 | (first + 1);
}

bool netvsp_receive_completed(struct netvsp_channel *ch, uint64_t id)
{
	struct netvsp_subs *subs = &ch->netvsp->subs;
	uint32_t generation = (uint32_t)(id >> 32), first = (uint32_t)id - 1;

	/* Of a buffer that was revoked meanwhile: nobody's. */
	if (generation && generation < ch->netvsp->receive_generation)
		return true;
	if (generation != ch->netvsp->receive_generation || first >= subs->count ||
	    subs->owner[first] != ch->channel->index + 1)
		return false;
	subs->owner[first] = 0;
	chain_give(ch, first);
	return true;
}

void netvsp_receive_channel_closed(struct netvsp_channel *ch)
{
	struct netvsp_subs *subs = &ch->netvsp->subs;

	if (ch->batch.count)
		chain_give(ch, ch->batch.first);
	ch->batch.count = 0;
	/* A guest that does not know yet may still look at it; all is free when the primary is closed. */
	if (atomic_load_explicit(&ch->netvsp->leaving, memory_order_relaxed))
		return;
	for (uint32_t i = 0; i < subs->count; i++) {
		if (subs->owner[i] != ch->channel->index + 1)
			continue;
		subs->owner[i] = 0;
		chain_give(ch, i);
	}
}

/* ---- batches ---- */

bool netvsp_batch_send(struct netvsp_channel *ch)
{
	struct netvsp *netvsp = ch->netvsp;
	struct netvsp_batch *batch = &ch->batch;
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { batch->channel_type, NVSP_SECTION_NONE, 0 },
	};
	struct vmbus_transfer_head head = { NVSP_RECEIVE_BUFFER_ID, 0, batch->count };
	struct iovec ranges[] = { { &head, sizeof(head) },
				  { batch->ranges, batch->count * sizeof(batch->ranges[0]) } };
	struct iovec payload = { &message, netvsp_version(netvsp) >= NVSP_VERSION_6_1
						   ? NVSP_MESSAGE_BYTES_6_1
						   : NVSP_MESSAGE_BYTES };
	int err;

	if (!batch->count)
		return true;
	err = vmbus_channel_send_ranges(ch->channel, VMBUS_PACKET_TRANSFER_PAGES,
					packet_id(netvsp, batch->first), true, ranges, 2, &payload, 1);
	if (err == -LIS_FULL)
		return false;
	netvsp_flush_later(ch);
	if (err) {
		ch->broken = true;
		chain_give(ch, batch->first);
	} else {
		netvsp->subs.owner[batch->first] = (uint8_t)(ch->channel->index + 1);
	}
	batch->count = 0;
	return true;
}

void netvsp_batch_add(struct netvsp_channel *ch, uint32_t channel_type, const uint32_t *subs,
		      const uint32_t *bytes, uint32_t count)
{
	struct netvsp_subs *all = &ch->netvsp->subs;
	struct netvsp_batch *batch = &ch->batch;

	for (uint32_t i = 0; i < count; i++) {
		if (batch->count)
			all->next[batch->last] = subs[i];
		else
			batch->first = subs[i];
		batch->last = subs[i];
		batch->ranges[batch->count++] =
			(struct vmbus_transfer_range){ bytes[i], subs[i] * all->bytes };
	}
	all->next[batch->last] = NETVSP_SUB_NONE;
	ch->subs_out += count;
	batch->channel_type = channel_type;
}
