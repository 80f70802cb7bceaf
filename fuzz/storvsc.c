// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile host and storvsc: it answers what it was asked, what it was not, twice, late or never,
 * with any fields, and writes what it likes into its ring and its indexes. Each request that was
 * taken ends exactly once, with no more than was asked for; each packet of the driver is sound.
 */
#include <limits.h>

#include "fuzz/fuzz.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/loopback/storvsc_world.h"

#define REQUESTS 12u
#define QUESTIONS 32u

static struct world w;

static struct {
	struct storvsc_request request; /* first */
	bool out;
	uint64_t id;
} requests[REQUESTS];

static struct question questions[QUESTIONS];
static uint32_t question_count;
static bool lied; /* the host told an index that is not its own: its ring is anyhow */
static int allocations;

static void *allocate(void *port, size_t bytes)
{
	allocations++;
	return malloc(bytes);
}

static void release(void *port, void *memory)
{
	allocations--;
	free(memory);
}

static void begin(void)
{
	if (!w.wire.to_host_memory.control) {
		w.wire.to_host_memory = ring_memory_create(RING_BYTES);
		w.wire.to_guest_memory = ring_memory_create(RING_BYTES);
	}
	w.config = (struct storvsc_config){
		.name = "fuzz", .alloc = allocate, .release = release, .port = &w,
		.cpu_count = 4, .sub_channels_wanted = 3, .setup_timeout_ns = TIMEOUT_NS,
		.reset_grace_ns = GRACE_NS,
	};
	w.channel_config = (struct storvsc_channel_config){
		.to_host = &w.wire.to_host, .from_host = &w.wire.from_host, .queue_depth = 6,
	};
	w.properties = (struct storvsc_channel_properties){
		.transfer_bytes_max = HOST_TRANSFER_BYTES,
		.flags = STORVSC_SUPPORTS_MULTI_CHANNEL, .sub_channels_max = 2,
	};
	w.now_ns = 1000;
	memset(requests, 0, sizeof(requests));
	question_count = 0;
	allocations = 0;
	lied = false;
	wire_reset(&w.wire);
}

/* ---- the guest ---- */

static void collect(struct storvsc_request *list)
{
	while (list) {
		uint32_t at = (uint32_t)((__typeof__(&requests[0]))list - requests);
		struct storvsc_request *next = list->next;

		FUZZ_CHECK(at < REQUESTS && requests[at].out);
		FUZZ_CHECK(list->transferred_bytes <= list->data_bytes);
		FUZZ_CHECK(list->sense_bytes <= STORVSC_SENSE_BYTES);
		FUZZ_CHECK(list->result <= STORVSC_RESULT_GONE);
		FUZZ_CHECK(!list->transferred_bytes || list->result == STORVSC_RESULT_GOOD ||
			   list->result == STORVSC_RESULT_SCSI_STATUS);
		requests[at].out = false;
		memset(list, 0xee, sizeof(*list)); /* it is the caller's again */
		list = next;
	}
}

static void all_must_have_ended(void)
{
	for (uint32_t i = 0; i < REQUESTS; i++)
		FUZZ_CHECK(!requests[i].out);
	question_count = 0;
}

static void fill_pfns(const struct storvsc_request *request, uint64_t *out_pfns, uint32_t count)
{
	memcpy(out_pfns, world_pfns, count * sizeof(*out_pfns));
}

static void guest_submits(struct input *input)
{
	uint8_t what = input_u8(input), how = input_u8(input);
	uint32_t at = what % REQUESTS;
	struct storvsc_request *request = &requests[at].request;
	int error;

	if (requests[at].out)
		return;
	*request = how & 1 ? command_with_data(how & 2 ? 0xfff : 0, 1 + input_u16(input)) :
			     command_without_data();
	request->cdb[0] = input_u8(input);
	request->lun = how >> 2 & 1;
	if (how & 8)
		request->deadline_ns = w.now_ns + SECOND_NS;
	if ((how & 0x30) == 0x30)
		request->kind = (uint8_t)(STORVSC_LUN_RESET + (how >> 6) % 3);
	if ((how & 0x31) == 0x11) {
		request->pfns = NULL;
		request->fill_pfns = fill_pfns;
	}
	if ((how & 0x31) == 0x21)
		request->direction = STORVSC_TO_DEVICE;
	requests[at].out = true;
	error = storvsc_submit(&w.channel, request);
	requests[at].id = request->id;
	if (error) {
		requests[at].out = false;
		FUZZ_CHECK(error == -LIS_AGAIN || error == -LIS_GONE || error == -LIS_CORRUPT ||
			   error == -LIS_INVALID);
	}
}

static void guest_receives(uint8_t budget)
{
	uint32_t events = storvsc_channel_receive(&w.channel, 1 + budget % 8);
	struct storvsc_request *list = storvsc_take_ended(&w.channel);

	FUZZ_CHECK(!(events & STORVSC_EVENT_ENDED) == !list);
	collect(list);
	if (budget & 0x80)
		(void)!storvsc_channel_unmask(&w.channel);
	if (events & STORVSC_EVENT_READY) {
		FUZZ_CHECK(w.storvsc.transfer_bytes_max >= HV_PAGE_BYTES);
		FUZZ_CHECK(w.storvsc.transfer_bytes_max % HV_PAGE_BYTES == 0);
		FUZZ_CHECK(w.storvsc.packet_bytes <= sizeof(struct storvsc_packet));
	}
	FUZZ_CHECK(w.storvsc.sub_channels <= 3);
}

static void guest_reopens(uint8_t how)
{
	if (how & 1)
		storvsc_channel_stop(&w.channel);
	collect(storvsc_channel_close(&w.channel, how & 2));
	all_must_have_ended();
	wire_reset(&w.wire);
	lied = false;
	if (storvsc_channel_open(&w.storvsc, &w.channel, &w.channel_config) ||
	    storvsc_start(&w.storvsc, w.now_ns))
		return;
	if (how & 4)
		(void)!host_serve_setup(&w, storvsc_versions[(how >> 4) % STORVSC_VERSION_COUNT]);
}

/* ---- the host ---- */

/* What the driver sent must be what was submitted. */
static void check_question(const struct question *question)
{
	const struct storvsc_request *request = NULL;

	for (uint32_t i = 0; i < REQUESTS; i++)
		if (requests[i].out && requests[i].id == question->id)
			request = &requests[i].request;
	if (!request || question->packet.operation != STORVSC_EXECUTE_SRB)
		return;
	FUZZ_CHECK(question->packet.request.data_transfer_length == request->data_bytes);
	FUZZ_CHECK(question->range_bytes == request->data_bytes);
	FUZZ_CHECK(!request->data_bytes || question->range_offset == request->data_offset);
	FUZZ_CHECK(!memcmp(question->pfns, world_pfns, question->pfn_count * sizeof(uint64_t)));
}

static void host_takes(void)
{
	(void)!storvsc_channel_flush(&w.channel);
	while (!lied && question_count < QUESTIONS &&
	       wire_take(&w.wire, &questions[question_count]))
		check_question(&questions[question_count++]);
}

static void host_answers_by(struct input *input)
{
	uint8_t which = input_u8(input), how = input_u8(input);
	struct question *question = &questions[which % QUESTIONS];
	struct storvsc_packet packet;
	uint32_t bytes;

	if (!question_count)
		return;
	question = &questions[which % question_count];
	packet = host_good_answer(question);
	bytes = question->bytes;
	if (packet.version.major_minor && question->packet.operation == STORVSC_QUERY_PROPERTIES)
		packet.properties = w.properties;
	if (how & 1)
		packet.status = input_u32(input);
	if (how & 2) {
		packet.request.srb_status = input_u8(input);
		packet.request.scsi_status = input_u8(input);
		packet.request.sense_bytes = input_u8(input);
		packet.request.sense[2] = input_u8(input);
		packet.request.sense[12] = input_u8(input);
	}
	if (how & 4) { /* a little off, or anything */
		uint8_t off = input_u8(input);

		packet.request.data_transfer_length +=
			off == 0xff ? input_u32(input) : off - 0x80u;
	}
	if (how & 8)
		packet.operation = input_u8(input);
	if (how & 16)
		bytes = input_u8(input) % (sizeof(packet) + 1);
	if (how & 32)
		input_copy(input, &packet.payload, 24);
	(void)!host_send(&w, VMBUS_PACKET_COMPLETION,
			 how & 64 ? question->id ^ 1ull << (which & 63) : question->id, &packet,
			 bytes);
	if (!(how & 128)) /* else it is answered again */
		*question = questions[--question_count];
}

static void host_sends_anything(struct input *input)
{
	uint8_t type = input_u8(input), bytes = input_u8(input), payload[256];
	uint64_t id = type & 0x80 ? input_u64(input) : type >> 4 & 7;

	input_copy(input, payload, bytes);
	(void)!host_send(&w, type & 15, id, payload, bytes);
}

static void host_scribbles(struct input *input)
{
	uint8_t what = input_u8(input), bytes = input_u8(input), data[256];
	uint32_t value;

	switch (what % 4) {
	case 0:
		w.wire.to_guest_memory.control->in = what & 0x80 ? input_u32(input) : 8 * bytes;
		break;
	case 1:
		lied = true;
		w.wire.to_host_memory.control->out = what & 0x80 ? input_u32(input) : 8 * bytes;
		break;
	case 2:
		value = w.wire.to_guest_memory.control->in + input_u8(input);
		input_copy(input, data, bytes);
		for (uint32_t i = 0; i < bytes; i++)
			w.wire.to_guest_memory.data[(value + i) % RING_BYTES] = data[i];
		break;
	default:
		w.wire.to_host_memory.control->interrupt_mask = what >> 7;
		w.wire.to_guest_memory.control->pending_send_bytes = bytes;
	}
}

static void time_passes(uint8_t how)
{
	w.now_ns += (how & 15) * SECOND_NS;
	(void)!storvsc_channel_on_timer(&w.channel, w.now_ns);
	collect(storvsc_take_ended(&w.channel));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t how = input_u8(&input);

	begin();
	if (how & 8)
		w.config.version_max = storvsc_versions[(how >> 4) % STORVSC_VERSION_COUNT];
	world_open_primary(&w);
	if (how & 4)
		(void)!host_serve_setup(&w, storvsc_versions[(how >> 4) % STORVSC_VERSION_COUNT]);
	while (input.bytes) {
		switch (input_u8(&input) % 12) {
		case 0: case 1: case 2:
			guest_submits(&input);
			break;
		case 3:
			host_takes();
			break;
		case 4: case 5: case 6:
			host_takes();
			host_answers_by(&input);
			break;
		case 7:
			host_sends_anything(&input);
			break;
		case 8:
			host_scribbles(&input);
			break;
		case 9:
			time_passes(input_u8(&input));
			break;
		case 10:
			guest_receives(input_u8(&input));
			break;
		default:
			how = input_u8(&input);
			if (how >= 0xc0)
				guest_reopens(how);
			else
				guest_receives(how);
		}
	}
	collect(storvsc_channel_close(&w.channel, false));
	all_must_have_ended();
	storvsc_fini(&w.storvsc);
	FUZZ_CHECK(!allocations);
	return 0;
}
