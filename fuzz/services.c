// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile host and the guest ends of heartbeat, shutdown and time synchronization. Each answer is
 * sound and answers the oldest request that has none; what the port is told lies within the bounds
 * that the headers promise.
 */
#include "fuzz/fuzz.h"

#include "services/heartbeat_guest.h"
#include "services/shutdown_guest.h"
#include "services/timesync_guest.h"
#include "tests/unit/vmbus/ring_memory.h"

#define RING_BYTES 8192u
#define SENT_MAX 512u

static struct ring_memory to_host_memory, to_guest_memory;
static struct vmbus_ring_writer to_host, to_guest;
static struct vmbus_ring_reader from_guest, from_host;

static union {
	struct ic_guest ic; /* first in each */
	struct heartbeat_guest heartbeat;
	struct shutdown_guest shutdown;
	struct timesync_guest timesync;
} service;
static enum { HEARTBEAT, SHUTDOWN, TIMESYNC } kind;
static struct timesync_guest_now now;

/* What may be answered. */
static struct {
	uint64_t id;
	uint8_t transaction_id;
	uint16_t type, bytes;
	bool whole; /* what its headers name is there */
} sent[SENT_MAX];
static uint32_t sent_count, answered_count;
static bool scribbled; /* nothing can be said of what the guest reads */
static bool lied;      /* nor, with an index that is not the host's own, of what it writes */

static void begin(struct input *input)
{
	struct ring_memory *out = &to_host_memory, *in = &to_guest_memory;
	struct timesync_guest_config config = { .step_100ns = 0 };
	uint8_t how = input_u8(input);

	if (!out->control) {
		*out = ring_memory_create(RING_BYTES);
		*in = ring_memory_create(RING_BYTES);
	}
	memset(out->control, 0, sizeof(*out->control));
	memset(in->control, 0, sizeof(*in->control));
	if (vmbus_ring_writer_init(&to_host, out->control, out->data, RING_BYTES) ||
	    vmbus_ring_reader_init(&from_guest, out->control, out->data, RING_BYTES) ||
	    vmbus_ring_writer_init(&to_guest, in->control, in->data, RING_BYTES) ||
	    vmbus_ring_reader_init(&from_host, in->control, in->data, RING_BYTES))
		abort();
	memset(&service, 0xee, sizeof(service));
	sent_count = answered_count = 0;
	scribbled = lied = false;
	kind = how % 3;
	now = (struct timesync_guest_now){ 17000000000000000ull, 5000000000ull };
	config.follow_samples = how & 0x80;
	if (kind == HEARTBEAT)
		heartbeat_guest_init(&service.heartbeat, &to_host, &from_host);
	else if (kind == SHUTDOWN)
		shutdown_guest_init(&service.shutdown, &to_host, &from_host, how & 0x80);
	else
		timesync_guest_init(&service.timesync, &config, &to_host, &from_host);
}

/* ---- the host ---- */

static void host_sends(uint16_t type, const struct ic_pipe_header *pipe,
		       const struct ic_header *header, const void *message, size_t bytes)
{
	bool whole = header->bytes <= bytes && pipe->bytes >= sizeof(*header) + header->bytes;
	struct vmbus_piece pieces[] = { { pipe, sizeof(*pipe) }, { header, sizeof(*header) },
					{ message, bytes } };
	struct vmbus_packet_out packet = { .type = type, .id = sent_count + 7000,
					   .payload = pieces, .payload_count = 3 };

	if (sent_count == SENT_MAX || vmbus_ring_write(&to_guest, &packet))
		return;
	(void)!vmbus_ring_writer_publish(&to_guest);
	sent[sent_count].id = packet.id;
	sent[sent_count].transaction_id = header->transaction_id;
	sent[sent_count].type = header->type;
	sent[sent_count].bytes = header->bytes;
	sent[sent_count].whole = whole;
	sent_count++;
}

/* A request whose headers are right, but for what the input changes. */
static void host_requests(struct input *input)
{
	static const uint16_t types[] = { IC_HEARTBEAT, IC_SHUTDOWN, IC_TIMESYNC };
	uint8_t how = input_u8(input), bytes = input_u8(input), message[256];
	struct ic_header header = {
		.framework = { 3, 0 }, .type = types[kind], .bytes = bytes,
		.transaction_id = (uint8_t)sent_count,
		.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
	};
	struct ic_pipe_header pipe = { IC_PIPE_DATA, (uint32_t)sizeof(header) + bytes };
	uint16_t type = VMBUS_PACKET_IN_BAND;

	if (how & 1)
		header.type = input_u8(input);
	if (how & 2)
		header.bytes = input_u16(input);
	if (how & 4)
		header.flags = input_u8(input);
	if (how & 8)
		pipe.bytes = input_u32(input);
	if (how & 16)
		pipe.type = input_u8(input);
	if (how & 32)
		type = input_u8(input) & 15;
	input_copy(input, message, bytes);
	host_sends(type, &pipe, &header, message, bytes);
}

/* A version offer; the lists are made of small numbers. */
static void host_offers(struct input *input)
{
	uint8_t how = input_u8(input), counts = input_u8(input);
	struct {
		struct ic_negotiate head;
		struct ic_version list[32];
	} offer = { .head = { counts & 15, counts >> 4, 0 } };
	uint32_t count = offer.head.framework_count + offer.head.message_count;
	struct ic_header header = {
		.type = IC_NEGOTIATE, .transaction_id = (uint8_t)sent_count,
		.bytes = (uint16_t)(sizeof(offer.head) + count * sizeof(offer.list[0])),
		.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
	};
	struct ic_pipe_header pipe = { IC_PIPE_DATA, (uint32_t)sizeof(header) + header.bytes };
	uint32_t bytes = header.bytes;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t version = input_u8(input);

		offer.list[i] = IC_VERSION(version & 15, version >> 4);
	}
	if (how & 0x80)
		offer.head.message_count = input_u16(input);
	if (how & 0x40)
		header.bytes = input_u8(input);
	host_sends(VMBUS_PACKET_IN_BAND, &pipe, &header, &offer, bytes);
}

static void host_scribbles(struct input *input)
{
	uint8_t what = input_u8(input), bytes = input_u8(input), data[256];
	uint32_t at;

	scribbled = true;
	switch (what % 3) {
	case 0:
		to_guest_memory.control->in = what & 0x80 ? input_u32(input) : 8 * bytes;
		break;
	case 1:
		lied = true;
		to_host_memory.control->out = what & 0x80 ? input_u32(input) : 8 * bytes;
		break;
	default:
		at = to_guest_memory.control->in + 8u * input_u8(input);
		input_copy(input, data, bytes);
		for (uint32_t i = 0; i < bytes; i++)
			to_guest_memory.data[(at + i) % RING_BYTES] = data[i];
	}
}

/* Each answer is whole, and to a request that has none. */
static void host_takes_answer(void)
{
	_Alignas(8) uint8_t buffer[RING_BYTES];
	struct vmbus_packet packet;
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint32_t bytes;
	int error;

	if (lied)
		return;
	error = vmbus_ring_read(&from_guest, buffer, sizeof(buffer), &bytes);
	FUZZ_CHECK(!error || error == -LIS_EMPTY);
	if (error)
		return;
	(void)!vmbus_ring_reader_publish(&from_guest);
	FUZZ_CHECK(!vmbus_packet_parse(buffer, bytes, &packet));
	FUZZ_CHECK(packet.type == VMBUS_PACKET_IN_BAND && !packet.flags);
	FUZZ_CHECK(packet.payload_bytes >= IC_HEADERS_BYTES);
	memcpy(&pipe, packet.payload, sizeof(pipe));
	memcpy(&header, packet.payload + sizeof(pipe), sizeof(header));
	FUZZ_CHECK(pipe.type == IC_PIPE_DATA && pipe.bytes == sizeof(header) + header.bytes);
	FUZZ_CHECK((pipe.bytes + sizeof(pipe) + 7) / 8 * 8 == packet.payload_bytes);
	FUZZ_CHECK(header.flags == (IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE));
	if (scribbled)
		return;
	while (answered_count < sent_count && sent[answered_count].id != packet.id)
		answered_count++; /* these were too wrong to be answered */
	FUZZ_CHECK(answered_count < sent_count);
	FUZZ_CHECK(header.transaction_id == sent[answered_count].transaction_id);
	FUZZ_CHECK(header.type == sent[answered_count].type);
	FUZZ_CHECK(header.bytes <= sent[answered_count].bytes);
	FUZZ_CHECK(sent[answered_count].whole);
	answered_count++;
}

/* ---- the guest ---- */

static void check_time(void)
{
	const struct timesync_guest_time *told = &service.timesync.told;
	uint64_t utc_100ns;

	FUZZ_CHECK(told->utc_100ns <= TIMESYNC_GUEST_UTC_MAX_100NS);
	FUZZ_CHECK(told->offset_100ns <= (int64_t)TIMESYNC_GUEST_UTC_MAX_100NS &&
		   told->offset_100ns >= -(int64_t)TIMESYNC_GUEST_UTC_MAX_100NS);
	FUZZ_CHECK(told->action != TIMESYNC_GUEST_LEAVE || !told->ordered);
	FUZZ_CHECK((int64_t)now.utc_100ns + told->offset_100ns == (int64_t)told->utc_100ns);
	if (!timesync_guest_host_time(&service.timesync, now.reference_100ns, &utc_100ns))
		FUZZ_CHECK(utc_100ns == told->utc_100ns);
}

static void guest_receives(uint8_t how)
{
	uint32_t events;

	if (kind == HEARTBEAT) {
		heartbeat_guest_set_application(&service.heartbeat, how & 1);
		events = heartbeat_guest_receive(&service.heartbeat);
	} else if (kind == SHUTDOWN) {
		bool before = service.shutdown.under_way;

		events = shutdown_guest_receive(&service.shutdown);
		FUZZ_CHECK(!(events & SHUTDOWN_GUEST_EVENT_REQUEST) ||
			   (!before && service.shutdown.under_way));
		FUZZ_CHECK(before == service.shutdown.under_way ||
			   (events & SHUTDOWN_GUEST_EVENT_REQUEST));
		if (how & 1)
			shutdown_guest_over(&service.shutdown);
	} else {
		now.utc_100ns += how;
		now.reference_100ns += how;
		events = timesync_guest_receive(&service.timesync, &now);
		if (events & TIMESYNC_GUEST_EVENT_TIME)
			check_time();
	}
	FUZZ_CHECK(!(events & IC_GUEST_EVENT_MESSAGE));
	FUZZ_CHECK(!!(events & IC_GUEST_EVENT_BROKEN) == service.ic.broken);
	FUZZ_CHECK(!service.ic.at_hand);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };

	begin(&input);
	while (input.bytes) {
		switch (input_u8(&input) % 8) {
		case 0: case 1: case 2:
			host_requests(&input);
			break;
		case 3:
			host_offers(&input);
			break;
		case 4:
			host_scribbles(&input);
			break;
		case 5:
			host_takes_answer();
			break;
		default:
			guest_receives(input_u8(&input));
		}
	}
	for (uint32_t i = 0; i < 8; i++) {
		guest_receives(0);
		host_takes_answer();
	}
	return 0;
}
