// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Taking packets apart and building their heads, see packet.h. Works on private memory only, keeps
 * no state, does not lock.
 */
#include <string.h>

#include "vmbus/packet.h"

int vmbus_gpa_run_next(const uint8_t **cursor, size_t *bytes, struct vmbus_gpa_run *out_run)
{
	struct vmbus_gpa_range range;
	uint32_t pfn_count;

	if (*bytes < sizeof(range))
		return -LIS_CORRUPT;
	memcpy(&range, *cursor, sizeof(range));
	if (!range.byte_count || range.byte_offset >= HV_PAGE_BYTES)
		return -LIS_CORRUPT;
	pfn_count = vmbus_gpa_pfn_count(range.byte_count, range.byte_offset);
	if (pfn_count > (*bytes - sizeof(range)) / sizeof(uint64_t))
		return -LIS_CORRUPT;
	*out_run = (struct vmbus_gpa_run){
		.byte_count = range.byte_count,
		.byte_offset = range.byte_offset,
		.pfn_count = pfn_count,
		.pfns = (const uint64_t *)(const void *)(*cursor + sizeof(range)),
	};
	*cursor += sizeof(range) + pfn_count * sizeof(uint64_t);
	*bytes -= sizeof(range) + pfn_count * sizeof(uint64_t);
	return 0;
}

/* Check that @count ranges stand in @bytes bytes; give the bytes they really take. */
static int check_gpa_ranges(const uint8_t *ranges, size_t bytes, uint32_t count,
			    uint32_t *out_bytes)
{
	size_t left = bytes;
	struct vmbus_gpa_run run;

	if (!count)
		return -LIS_CORRUPT;
	/* Bounded by @bytes, whatever @count is: each range takes 16 bytes at least. */
	for (uint32_t i = 0; i < count; i++) {
		int error = vmbus_gpa_run_next(&ranges, &left, &run);

		if (error)
			return error;
	}
	*out_bytes = (uint32_t)(bytes - left);
	return 0;
}

static int parse_gpa_direct(const uint8_t *head, size_t head_bytes, struct vmbus_packet *packet)
{
	struct vmbus_gpa_direct_head fields;

	if (head_bytes < sizeof(fields))
		return -LIS_CORRUPT;
	memcpy(&fields, head, sizeof(fields));
	packet->range_count = fields.range_count;
	packet->ranges = head + sizeof(fields);
	return check_gpa_ranges(packet->ranges, head_bytes - sizeof(fields), fields.range_count,
				&packet->ranges_bytes);
}

static int parse_transfer_pages(const uint8_t *head, size_t head_bytes, struct vmbus_packet *packet)
{
	struct vmbus_transfer_head fields;

	if (head_bytes < sizeof(fields))
		return -LIS_CORRUPT;
	memcpy(&fields, head, sizeof(fields));
	head_bytes -= sizeof(fields);
	if (fields.range_count > head_bytes / sizeof(struct vmbus_transfer_range))
		return -LIS_CORRUPT;
	packet->transfer_set_id = fields.set_id;
	packet->range_count = fields.range_count;
	packet->ranges = head + sizeof(fields);
	packet->ranges_bytes = fields.range_count * (uint32_t)sizeof(struct vmbus_transfer_range);
	return 0;
}

int vmbus_packet_parse(const void *copy, size_t bytes, struct vmbus_packet *out_packet)
{
	const uint8_t *start = copy;
	struct vmbus_packet_descriptor descriptor;
	struct vmbus_packet packet;
	size_t offset, length, head_bytes;
	int error = 0;

	if ((uintptr_t)copy & 7)
		return -LIS_INVALID;
	if (bytes < sizeof(descriptor))
		return -LIS_CORRUPT;
	memcpy(&descriptor, copy, sizeof(descriptor));
	offset = descriptor.data_offset8 * (size_t)8;
	length = descriptor.length8 * (size_t)8;
	if (offset < sizeof(descriptor) || length < offset || length > bytes)
		return -LIS_CORRUPT;
	packet = (struct vmbus_packet){
		.type = descriptor.type,
		.flags = descriptor.flags,
		.id = descriptor.id,
		.payload = start + offset,
		.payload_bytes = (uint32_t)(length - offset),
	};
	head_bytes = offset - sizeof(descriptor);

	switch (descriptor.type) {
	case VMBUS_PACKET_IN_BAND:
	case VMBUS_PACKET_COMPLETION:
		break;
	case VMBUS_PACKET_GPA_DIRECT:
		error = parse_gpa_direct(start + sizeof(descriptor), head_bytes, &packet);
		break;
	case VMBUS_PACKET_TRANSFER_PAGES:
		error = parse_transfer_pages(start + sizeof(descriptor), head_bytes, &packet);
		break;
	default:
		error = -LIS_CORRUPT;
	}
	if (!error)
		*out_packet = packet;
	return error;
}

bool vmbus_packet_next_gpa_run(struct vmbus_packet_ranges *ranges, struct vmbus_gpa_run *out_run)
{
	if (!ranges->left || vmbus_gpa_run_next(&ranges->cursor, &ranges->bytes, out_run))
		return false;
	ranges->left--;
	return true;
}

bool vmbus_packet_next_transfer(struct vmbus_packet_ranges *ranges,
				struct vmbus_transfer_range *out_range)
{
	if (!ranges->left || ranges->bytes < sizeof(*out_range))
		return false;
	memcpy(out_range, ranges->cursor, sizeof(*out_range));
	ranges->cursor += sizeof(*out_range);
	ranges->bytes -= sizeof(*out_range);
	ranges->left--;
	return true;
}

/* Append to the head; the range count stands in its second word. */
static int head_append(struct vmbus_head_builder *builder, const void *first, size_t first_bytes,
		       const void *second, size_t second_bytes)
{
	struct vmbus_gpa_direct_head *head = (void *)builder->buffer;
	size_t room = builder->bytes_max - builder->bytes;

	if (room < first_bytes || room - first_bytes < second_bytes)
		return -LIS_FULL;
	memcpy(builder->buffer + builder->bytes, first, first_bytes);
	if (second_bytes)
		memcpy(builder->buffer + builder->bytes + first_bytes, second, second_bytes);
	builder->bytes += first_bytes + second_bytes;
	head->range_count++;
	return 0;
}

static int head_begin(struct vmbus_head_builder *builder, void *buffer, size_t bytes_max,
		      uint16_t set_id)
{
	struct vmbus_transfer_head head = { .set_id = set_id };

	if (bytes_max < sizeof(head))
		return -LIS_FULL;
	memcpy(buffer, &head, sizeof(head));
	*builder = (struct vmbus_head_builder){ buffer, bytes_max, sizeof(head) };
	return 0;
}

int vmbus_gpa_head_begin(struct vmbus_head_builder *builder, void *buffer, size_t bytes_max)
{
	return head_begin(builder, buffer, bytes_max, 0);
}

int vmbus_gpa_head_add(struct vmbus_head_builder *builder, uint32_t byte_count,
		       uint32_t byte_offset, const uint64_t *pfns)
{
	struct vmbus_gpa_range range = { byte_count, byte_offset };

	if (!byte_count || byte_offset >= HV_PAGE_BYTES)
		return -LIS_INVALID;
	return head_append(builder, &range, sizeof(range), pfns,
			   vmbus_gpa_pfn_count(byte_count, byte_offset) * sizeof(uint64_t));
}

int vmbus_transfer_head_begin(struct vmbus_head_builder *builder, void *buffer, size_t bytes_max,
			      uint16_t set_id)
{
	return head_begin(builder, buffer, bytes_max, set_id);
}

int vmbus_transfer_head_add(struct vmbus_head_builder *builder, uint32_t byte_count,
			    uint32_t byte_offset)
{
	struct vmbus_transfer_range range = { byte_count, byte_offset };

	return head_append(builder, &range, sizeof(range), NULL, 0);
}
