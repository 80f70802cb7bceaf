// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile guest and the storage VSP with two SCSI disks, on the bus of bus.c: any packets in any
 * order on up to three channels, guest memory of a few pages, a block device that answers late, out
 * of order and with errors, disks that come and go. Each packet is answered once at most, each disk
 * request stays within disk and guest memory, and at the end everything is given back.
 */
#include "fuzz/bus.h"
#include "fuzz/fuzz.h"
#include "storage/scsi_disk.h"
#include "storage/storvsp.h"

#define DISKS 2u
#define DISK_BYTES 65536u
#define GUEST_PAGES 16u
#define REQUESTS_MAX 256u

static struct storvsp *storvsp;
static struct scsi_unit *disks[DISKS];
static struct block_device devices[DISKS];
static bool attached[DISKS], removing[DISKS], gone;
static struct io_call removed_calls[DISKS];
static struct partition partition;
static _Alignas(4096) uint8_t memory[GUEST_PAGES * HV_PAGE_BYTES];

/* Block requests under way; hold: the input says when they end. */
static struct block_request *requests[REQUESTS_MAX];
static uint32_t request_count;
static bool hold;

/* Transaction ids in use, by channel. */
static uint32_t unanswered[BUS_CHANNELS][256];

/* ---- the block device ---- */

static void finish(uint32_t at, int result)
{
	struct block_request *request = requests[at];

	requests[at] = requests[--request_count];
	request->done(request, result);
}

/* In place of storage/block.c, which would forgive what must not come. */
void block_submit(struct block_device *device, struct io_loop *loop, struct block_request *request)
{
	uint64_t bytes = 0;

	FUZZ_CHECK(device >= devices && device < devices + DISKS);
	FUZZ_CHECK(request->offset_bytes <= DISK_BYTES);
	FUZZ_CHECK(request->length_bytes <= DISK_BYTES - request->offset_bytes);
	FUZZ_CHECK(request->offset_bytes % 512 == 0 && request->length_bytes % 512 == 0);
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
		for (uint32_t i = 0; i < request->iov_count; i++) {
			volatile uint8_t *at = request->iov[i].iov_base;

			bytes += request->iov[i].iov_len;
			if (request->iov[i].iov_len) { /* a sanitizer sees where it is not there */
				(void)at[0];
				(void)at[request->iov[i].iov_len - 1];
			}
		}
		FUZZ_CHECK(bytes == request->length_bytes);
	}
	FUZZ_CHECK(request_count < REQUESTS_MAX);
	request->loop = loop;
	requests[request_count++] = request;
	if (!hold)
		finish(request_count - 1, 0);
}

struct partition *vmbus_host_partition(const struct vmbus_host *host)
{
	return &partition;
}

/* ---- life ---- */

static void sent(struct vmbus_channel *channel, uint16_t type, uint64_t id, const uint8_t *payload,
		 size_t bytes)
{
	uint32_t operation;

	FUZZ_CHECK(bytes >= STORVSC_HEADER_BYTES && bytes <= STORVSC_PACKET_BYTES_LONG);
	memcpy(&operation, payload, sizeof(operation));
	if (type == VMBUS_PACKET_IN_BAND) {
		FUZZ_CHECK(id == 0 && operation == STORVSC_ENUMERATE_BUS);
		return;
	}
	FUZZ_CHECK(type == VMBUS_PACKET_COMPLETION && operation == STORVSC_COMPLETE_IO);
	FUZZ_CHECK(id < 256 && unanswered[channel->index][id]);
	unanswered[channel->index][id]--;
}

static void removed(struct io_call *call)
{
	uint32_t at = (uint32_t)(call - removed_calls);

	FUZZ_CHECK(removing[at]);
	removing[at] = false;
}

static void is_gone(struct io_call *call)
{
	gone = true;
}

static void attach(uint32_t at)
{
	if (!attached[at] &&
	    !storvsp_lun_add(storvsp, (struct storvsp_address){ 0, 0, (uint8_t)at }, disks[at]))
		attached[at] = true;
}

static void detach(uint32_t at)
{
	if (!attached[at] || removing[at])
		return;
	removing[at] = true;
	attached[at] = false;
	removed_calls[at].fn = removed;
	FUZZ_CHECK(!storvsp_lun_remove(storvsp, (struct storvsp_address){ 0, 0, (uint8_t)at },
				       &removed_calls[at]));
}

static void begin(void)
{
	struct io_loop *loop = bus_loop();
	struct storvsp_config config = {
		.name = "fuzz", .sub_channels_max = BUS_CHANNELS - 1, .bus_loop = loop,
		.loops = &loop, .loop_count = 1, .queue_depth = 5,
	};

	bus_begin(sent);
	partition = (struct partition){ .vp_count = 1, .slot_count = 1 };
	partition.slots[0] = (struct partition_slot){ GPA(0), sizeof(memory), memory, -1, 0 };
	memset(unanswered, 0, sizeof(unanswered));
	memset(attached, 0, sizeof(attached));
	memset(removing, 0, sizeof(removing));
	request_count = 0;
	gone = hold = false;
	FUZZ_CHECK(!storvsp_create(bus_host(), &config, &storvsp));
	for (uint32_t i = 0; i < DISKS; i++) {
		struct scsi_disk_config disk = { .device = &devices[i] };

		devices[i].geometry = (struct block_geometry){
			.size_bytes = DISK_BYTES, .logical_sector_bytes = 512,
			.physical_sector_bytes = 4096, .buffer_align_bytes = 1,
			.discard_granularity_bytes = 4096, .discard_zeroes = true, .read_only = i,
		};
		FUZZ_CHECK(!scsi_disk_create(&disk, &disks[i]));
		attach(i);
	}
}

static void end(void)
{
	struct io_call call = { .fn = is_gone };

	storvsp_destroy(storvsp, &call);
	for (uint32_t i = 0; i < 100 && (request_count || !gone); i++) {
		bus_turn();
		hold = false;
		while (request_count)
			finish(0, 0);
	}
	FUZZ_CHECK(gone && !request_count);
	bus_end();
	for (uint32_t i = 0; i < DISKS; i++) {
		FUZZ_CHECK(!removing[i]);
		scsi_unit_destroy(disks[i]);
	}
}

/* ---- the guest ---- */

struct guest_packet {
	struct vmbus_packet_descriptor descriptor;
	uint64_t words[64];
};

static void guest_sends(struct input *input, uint32_t channel, struct guest_packet *packet,
			uint32_t head_words, const struct storvsc_packet *storvsc, uint8_t how)
{
	uint32_t payload_words = how & 2 ? input_u8(input) % 10 : sizeof(*storvsc) / 8;
	uint8_t id = how & 4 ? input_u8(input) : 7;

	packet->descriptor = (struct vmbus_packet_descriptor){
		.type = head_words ? VMBUS_PACKET_GPA_DIRECT : VMBUS_PACKET_IN_BAND,
		.data_offset8 = (uint16_t)(2 + head_words),
		.length8 = (uint16_t)(2 + head_words + payload_words),
		.flags = !(how & 8), .id = id,
	};
	if (how & 16)
		packet->descriptor.type = input_u8(input) & 15;
	memcpy(packet->words + head_words, storvsc, sizeof(*storvsc));
	if (bus_guest_sends(channel, packet, 8 * packet->descriptor.length8))
		unanswered[channel][id]++;
}

/* A step of the set-up, or any operation. */
static void guest_sets_up(struct input *input, uint32_t channel)
{
	static const uint8_t operations[] = {
		STORVSC_BEGIN_INITIALIZATION, STORVSC_QUERY_PROTOCOL_VERSION,
		STORVSC_QUERY_PROPERTIES, STORVSC_END_INITIALIZATION, STORVSC_CREATE_SUB_CHANNELS,
		STORVSC_RESET_LUN, STORVSC_RESET_BUS,
	};
	static const uint16_t versions[] = {
#define LIST(version) version,
		STORVSC_VERSIONS(LIST)
#undef LIST
	};
	uint8_t what = input_u8(input), how = input_u8(input);
	struct guest_packet packet;
	struct storvsc_packet storvsc = {
		.operation = what < 0xf0 ? operations[what % sizeof(operations)] : what & 15,
		.flags = STORVSC_FLAG_REQUEST_COMPLETION,
	};

	if (storvsc.operation == STORVSC_QUERY_PROTOCOL_VERSION)
		storvsc.version.major_minor = versions[(how >> 5) % 5];
	else if (storvsc.operation == STORVSC_CREATE_SUB_CHANNELS)
		storvsc.sub_channel_count = how >> 5;
	else
		storvsc.request.lun = how >> 5;
	guest_sends(input, channel, &packet, 0, &storvsc, how);
}

static void guest_is_set_up(uint32_t version)
{
	struct input none = { NULL, 0 };
	struct guest_packet packet;
	struct storvsc_packet storvsc = { .flags = STORVSC_FLAG_REQUEST_COMPLETION };

	for (uint32_t operation = STORVSC_BEGIN_INITIALIZATION, i = 0; i < 4; i++) {
		static const uint8_t order[] = { 7, 9, 10, 8 };

		operation = order[i];
		storvsc.operation = operation;
		storvsc.version.major_minor = (uint16_t)version;
		guest_sends(&none, 0, &packet, 0, &storvsc, 0);
	}
	bus_turn();
}

/* A command, its CDB and its memory as the input says. */
static void guest_commands(struct input *input, uint32_t channel)
{
	uint8_t how = input_u8(input), cdb_bytes = input_u8(input);
	uint32_t bytes = 512u * input_u8(input), head_words = 0, ranges;
	struct guest_packet packet;
	struct storvsc_packet storvsc = {
		.operation = STORVSC_EXECUTE_SRB, .flags = STORVSC_FLAG_REQUEST_COMPLETION,
		.request = { .length = STORVSC_REQUEST_BYTES_LONG, .lun = how >> 6,
			     .cdb_length = cdb_bytes >> 4 ? cdb_bytes >> 4 : 16,
			     .data_in = how >> 5 & 1, .data_transfer_length = bytes },
	};

	input_copy(input, storvsc.request.cdb, cdb_bytes & 15);
	if (cdb_bytes == 0xff) {
		storvsc.request.cdb_length = input_u8(input);
		storvsc.request.data_transfer_length = input_u32(input);
		storvsc.request.path_id = input_u8(input);
		storvsc.request.target_id = input_u8(input);
		storvsc.request.data_in = input_u8(input);
	}
	if (bytes) {
		ranges = 1 + (how & 1);
		packet.words[head_words++] = (uint64_t)ranges << 32;
		for (uint32_t i = 0; i < ranges; i++) {
			uint32_t offset = how & 1 ? input_u16(input) & 0xfff : 0;
			uint32_t range_bytes = bytes / ranges, pages;

			pages = (offset + range_bytes + 4095) / 4096;
			if (head_words + 1 + pages > 50)
				pages = 49 - head_words;
			packet.words[head_words++] = (uint64_t)offset << 32 | range_bytes;
			for (uint32_t page = 0; page < pages; page++)
				packet.words[head_words++] =
					how & 1 ? input_u8(input) & 0x1f : page % GUEST_PAGES;
			if (how & 16 && pages)
				packet.words[head_words - 1] = input_u64(input);
		}
	}
	guest_sends(input, channel, &packet, head_words, &storvsc, how & 14);
}

static void host_does(uint8_t what)
{
	static const int results[] = { 0, 0, -LIS_IO, -LIS_NOSPACE, -LIS_NOMEM, -LIS_CORRUPT, 0,
				       0 };
	uint8_t argument = what >> 3;

	switch (what % 8) {
	case 0:
		hold = argument & 1;
		break;
	case 1: case 2: case 3:
		if (request_count)
			finish((argument >> 3) % request_count, results[argument & 7]);
		break;
	case 4:
		attach(argument & 1);
		break;
	case 5:
		detach(argument & 1);
		break;
	case 6:
		bus_fill(argument & 1);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t what = input_u8(&input);

	begin();
	bus_open(0);
	if (what & 1)
		guest_is_set_up(what & 2 ? STORVSC_VERSION_THRESHOLD : STORVSC_VERSION_WIN7);
	while (input.bytes) {
		uint32_t channel;

		what = input_u8(&input);
		channel = (what >> 4) % BUS_CHANNELS;
		switch (what % 10) {
		case 0:
			guest_sets_up(&input, channel);
			break;
		case 1: case 2: case 3: case 4:
			guest_commands(&input, channel);
			break;
		case 5:
			if (bus_open(channel))
				memset(unanswered[channel], 0, sizeof(unanswered[channel]));
			break;
		case 6:
			if (what >= 0xe0)
				bus_close(channel);
			break;
		case 7: case 8:
			bus_turn();
			break;
		default:
			host_does(input_u8(&input));
		}
	}
	bus_turn();
	end();
	return 0;
}
