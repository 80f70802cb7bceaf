// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Guest memory of a partition: look-ups and extra mappings. The slots are fixed while VPs run. */
#include "vmbus/partition.h"

#include <sys/mman.h>

void *partition_map_file(uint64_t bytes, int fd, uint64_t fd_offset_bytes)
{
	/* A place with room to choose from; what was not chosen goes back. */
	char *place = mmap(NULL, bytes + PARTITION_HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0);
	uint64_t before;
	void *hva;

	if (place == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)place % PARTITION_HUGE_BYTES;
	hva = mmap(place + before, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
		   (off_t)fd_offset_bytes);
	if (hva == MAP_FAILED) {
		munmap(place, bytes + PARTITION_HUGE_BYTES);
		return NULL;
	}
	if (before)
		munmap(place, before);
	munmap(place + before + bytes, PARTITION_HUGE_BYTES - before);
	return hva;
}

static const struct partition_slot *slot_of(const struct partition *partition, uint64_t gpa)
{
	for (uint32_t i = 0; i < partition->slot_count; i++) {
		const struct partition_slot *slot = &partition->slots[i];

		if (gpa >= slot->gpa.value && gpa - slot->gpa.value < slot->bytes)
			return slot;
	}
	return NULL;
}

void *partition_hva(const struct partition *partition, struct gpa gpa, uint64_t bytes)
{
	const struct partition_slot *slot = slot_of(partition, gpa.value);

	if (!slot || bytes == 0 || bytes > slot->bytes - (gpa.value - slot->gpa.value))
		return NULL;
	return (char *)slot->hva + (gpa.value - slot->gpa.value);
}

/* Pages from @pfns[0] on that are neighbours in one slot's file. */
static size_t run_pages(const struct partition_slot *slot, const uint64_t *pfns, size_t pfn_count)
{
	uint64_t slot_end_pfn = (slot->gpa.value + slot->bytes) >> HV_PAGE_SHIFT;
	size_t n = 1;

	while (n < pfn_count && pfns[n] == pfns[0] + n && pfns[n] < slot_end_pfn)
		n++;
	return n;
}

static int map_once(const struct partition *partition, const uint64_t *pfns, size_t pfn_count,
		    char *at)
{
	for (size_t i = 0; i < pfn_count;) {
		const struct partition_slot *slot;
		size_t pages;
		uint64_t offset;

		slot = pfns[i] <= UINT64_MAX >> HV_PAGE_SHIFT ?
			       slot_of(partition, pfns[i] << HV_PAGE_SHIFT) : NULL;
		if (!slot)
			return -LIS_INVALID;
		pages = run_pages(slot, pfns + i, pfn_count - i);
		offset = slot->fd_offset_bytes + (pfns[i] << HV_PAGE_SHIFT) - slot->gpa.value;
		if (mmap(at + i * HV_PAGE_BYTES, pages * HV_PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, slot->fd, (off_t)offset) == MAP_FAILED)
			return -LIS_NOMEM;
		i += pages;
	}
	return 0;
}

int partition_map_pages(const struct partition *partition, const uint64_t *pfns, size_t pfn_count,
			bool twice, void **out_hva)
{
	size_t bytes = pfn_count * HV_PAGE_BYTES;
	size_t total = twice ? 2 * bytes : bytes;
	char *at;
	int err;

	if (pfn_count == 0 || pfn_count > SIZE_MAX / HV_PAGE_BYTES / 2)
		return -LIS_INVALID;
	/* Hold the whole range first, so that the pieces cannot land on somebody else's mapping. */
	at = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return -LIS_NOMEM;
	err = map_once(partition, pfns, pfn_count, at);
	if (!err && twice)
		err = map_once(partition, pfns, pfn_count, at + bytes);
	if (err) {
		munmap(at, total);
		return err;
	}
	*out_hva = at;
	return 0;
}

void partition_unmap_pages(void *hva, size_t pfn_count, bool twice)
{
	if (hva)
		munmap(hva, (twice ? 2 : 1) * pfn_count * HV_PAGE_BYTES);
}
