// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Packets of a hostile peer. What is found sound must lie within the packet, add up, and, taken
 * apart and built anew by the builders, be the same bytes.
 */
#include "fuzz/fuzz.h"
#include "vmbus/packet.h"

static uint64_t sum; /* so that nothing read is thought of as useless */

static void check_gpa_ranges(const struct vmbus_packet *packet)
{
	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(packet);
	uint8_t *built = malloc(packet->ranges_bytes + 8);
	struct vmbus_head_builder builder;
	struct vmbus_gpa_run run;
	uint32_t runs = 0;

	FUZZ_CHECK(!vmbus_gpa_head_begin(&builder, built, packet->ranges_bytes + 8));
	while (vmbus_packet_next_gpa_run(&ranges, &run)) {
		uint64_t pages = ((uint64_t)run.byte_offset + run.byte_count + 4095) / 4096;

		runs++;
		FUZZ_CHECK(run.byte_count && run.byte_offset < 4096 && run.pfn_count == pages);
		for (uint32_t i = 0; i < run.pfn_count; i++)
			sum += run.pfns[i];
		FUZZ_CHECK(!vmbus_gpa_head_add(&builder, run.byte_count, run.byte_offset,
					       run.pfns));
	}
	FUZZ_CHECK(runs == packet->range_count && runs);
	FUZZ_CHECK(builder.bytes == packet->ranges_bytes + 8);
	FUZZ_CHECK(!memcmp(built + 8, packet->ranges, packet->ranges_bytes));
	FUZZ_CHECK(vmbus_gpa_head_add(&builder, 1, 0, &(uint64_t){ 0 }) == -LIS_FULL);
	free(built);
}

static void check_transfer_ranges(const struct vmbus_packet *packet)
{
	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(packet);
	uint8_t *built = malloc(packet->ranges_bytes + 8);
	struct vmbus_head_builder builder;
	struct vmbus_transfer_range range;
	uint32_t count = 0;

	FUZZ_CHECK(!vmbus_transfer_head_begin(&builder, built, packet->ranges_bytes + 8,
					      packet->transfer_set_id));
	while (vmbus_packet_next_transfer(&ranges, &range)) {
		count++;
		FUZZ_CHECK(!vmbus_transfer_head_add(&builder, range.byte_count, range.byte_offset));
	}
	FUZZ_CHECK(count == packet->range_count);
	FUZZ_CHECK(packet->ranges_bytes == 8 * count);
	FUZZ_CHECK(!memcmp(built + 8, packet->ranges, packet->ranges_bytes));
	free(built);
}

static void check_packet(const uint8_t *copy, size_t bytes, const struct vmbus_packet *packet)
{
	uint16_t words[4];

	memcpy(words, copy, sizeof(words));
	FUZZ_CHECK(packet->type == words[0] && packet->flags == words[3]);
	FUZZ_CHECK(packet->payload == copy + words[1] * 8u && words[1] >= 2);
	FUZZ_CHECK(packet->payload_bytes == (words[2] - words[1]) * 8u);
	FUZZ_CHECK(words[2] >= words[1] && words[2] * 8u <= bytes);
	for (uint32_t i = 0; i < packet->payload_bytes; i++)
		sum += packet->payload[i];
	if (!packet->range_count)
		return;
	FUZZ_CHECK(packet->ranges == copy + 24);
	FUZZ_CHECK(packet->ranges + packet->ranges_bytes <= packet->payload);
}

/* A list without a packet around it, as GPADL messages have it. */
static void walk_list(const uint8_t *copy, size_t bytes)
{
	const uint8_t *cursor = copy;
	size_t left = bytes;
	struct vmbus_gpa_run run;

	while (!vmbus_gpa_run_next(&cursor, &left, &run)) {
		FUZZ_CHECK(cursor + left == copy + bytes);
		FUZZ_CHECK((const uint8_t *)(run.pfns + run.pfn_count) == cursor);
		sum += run.pfns[run.pfn_count - 1];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct vmbus_packet packet;
	uint8_t *copy = malloc(bytes ? bytes : 1); /* of its very length */

	if (bytes)
		memcpy(copy, data, bytes);
	if (!vmbus_packet_parse(copy, bytes, &packet)) {
		check_packet(copy, bytes, &packet);
		switch (packet.type) {
		case VMBUS_PACKET_GPA_DIRECT:
			check_gpa_ranges(&packet);
			break;
		case VMBUS_PACKET_TRANSFER_PAGES:
			check_transfer_ranges(&packet);
			break;
		default:
			FUZZ_CHECK(packet.type == VMBUS_PACKET_IN_BAND ||
				   packet.type == VMBUS_PACKET_COMPLETION);
			FUZZ_CHECK(!packet.range_count);
		}
	}
	walk_list(copy, bytes);
	free(copy);
	return 0;
}
