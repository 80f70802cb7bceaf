// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile guest and the host ends of heartbeat, shutdown and time synchronization, on the bus of
 * bus.c. Each request of the host is whole, its counters add up, and a shutdown that was asked for is
 * over exactly once.
 */
#include "fuzz/bus.h"
#include "fuzz/fuzz.h"
#include "services/heartbeat_host.h"
#include "services/shutdown_host.h"
#include "services/timesync_host.h"

static enum { HEARTBEAT, SHUTDOWN, TIMESYNC } kind;
static struct heartbeat_host *heartbeat;
static struct shutdown_host *shutdown_;
static struct timesync_host *timesync;

static struct ic_header asked; /* last request of the host */
static struct shutdown_request shutdown_request;
static bool shutdown_pending, gone;

/* ---- what the host says ---- */

static void sent(struct vmbus_channel *channel, uint16_t type, uint64_t id, const uint8_t *payload,
		 size_t bytes)
{
	struct ic_pipe_header pipe;

	FUZZ_CHECK(type == VMBUS_PACKET_IN_BAND && bytes >= IC_HEADERS_BYTES);
	memcpy(&pipe, payload, sizeof(pipe));
	memcpy(&asked, payload + sizeof(pipe), sizeof(asked));
	FUZZ_CHECK(pipe.type == IC_PIPE_DATA && pipe.bytes + sizeof(pipe) == bytes);
	FUZZ_CHECK(asked.bytes + IC_HEADERS_BYTES == bytes);
	FUZZ_CHECK(asked.flags == (IC_FLAG_TRANSACTION | IC_FLAG_REQUEST));
}

static void shutdown_over(struct shutdown_request *request, enum shutdown_result result,
			  uint32_t status)
{
	FUZZ_CHECK(shutdown_pending && request == &shutdown_request);
	FUZZ_CHECK(result <= SHUTDOWN_NO_ANSWER);
	shutdown_pending = false;
}

static uint64_t reference_100ns(void *clock)
{
	return io_loop_now_ns(bus_loop()) / 100;
}

static uint64_t utc_100ns(void *clock)
{
	return 17000000000000000ull + io_loop_now_ns(bus_loop()) / 100;
}

static void begin(uint8_t how)
{
	struct timesync_config config = { reference_100ns, utc_100ns, NULL };
	int error;

	bus_begin(sent);
	memset(&asked, 0, sizeof(asked));
	shutdown_pending = gone = false;
	kind = how % 3;
	if (kind == HEARTBEAT)
		error = heartbeat_host_create(bus_host(), bus_loop(), &heartbeat);
	else if (kind == SHUTDOWN)
		error = shutdown_host_create(bus_host(), bus_loop(), &shutdown_);
	else
		error = timesync_host_create(bus_host(), bus_loop(), &config, &timesync);
	FUZZ_CHECK(!error);
}

static void is_gone(struct io_call *call)
{
	gone = true;
}

static void end(void)
{
	struct io_call call = { .fn = is_gone };

	if (kind == HEARTBEAT)
		heartbeat_host_destroy(heartbeat, &call);
	else if (kind == SHUTDOWN)
		shutdown_host_destroy(shutdown_, &call);
	else
		timesync_host_destroy(timesync, &call);
	bus_turn();
	FUZZ_CHECK(gone && !shutdown_pending);
	bus_end();
}

/* ---- what its owner wants ---- */

static void check_status(void)
{
	union {
		struct heartbeat_status heartbeat;
		struct shutdown_status shutdown;
		struct timesync_status timesync;
		struct ic_host_status ic; /* first in each */
	} status;

	if (kind == HEARTBEAT)
		heartbeat_host_status(heartbeat, &status.heartbeat);
	else if (kind == SHUTDOWN)
		shutdown_host_status(shutdown_, &status.shutdown);
	else
		timesync_host_status(timesync, &status.timesync);
	FUZZ_CHECK(status.ic.counters.answers <= status.ic.counters.requests);
	FUZZ_CHECK(status.ic.state != IC_HOST_READY || status.ic.version.major);
	FUZZ_CHECK(kind != SHUTDOWN || status.shutdown.pending == shutdown_pending);
}

static void owner_wants(uint8_t what)
{
	int error;

	if (kind == SHUTDOWN) {
		if (shutdown_pending)
			return;
		shutdown_request = (struct shutdown_request){
			.kind = what % 3, .force = what & 4, .done = shutdown_over,
		};
		error = shutdown_host_request(shutdown_, &shutdown_request);
		shutdown_pending = !error;
	} else if (kind == HEARTBEAT) {
		if (what & 1)
			heartbeat_host_pause(heartbeat);
		else
			heartbeat_host_resume(heartbeat);
	} else if (what & 2) {
		timesync_host_sync(timesync);
	} else if (what & 1) {
		timesync_host_pause(timesync);
	} else {
		timesync_host_resume(timesync);
	}
}

/* ---- the guest ---- */

/* An answer to the last request, right but for what the input changes. */
static void guest_answers(struct input *input)
{
	struct {
		struct vmbus_packet_descriptor descriptor;
		struct ic_pipe_header pipe;
		struct ic_header header;
		uint8_t message[260];
	} packet;
	uint8_t how = input_u8(input), bytes = input_u8(input);
	uint32_t payload_bytes = (IC_HEADERS_BYTES + bytes + 7u) / 8 * 8;

	memset(&packet, 0, sizeof(packet));
	packet.descriptor = (struct vmbus_packet_descriptor){
		.type = VMBUS_PACKET_IN_BAND, .data_offset8 = 2,
		.length8 = (uint16_t)(2 + payload_bytes / 8), .id = 1,
	};
	packet.pipe = (struct ic_pipe_header){ IC_PIPE_DATA,
					       (uint32_t)sizeof(packet.header) + bytes };
	packet.header = asked;
	packet.header.bytes = bytes;
	packet.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	if (how & 1)
		packet.descriptor.type = input_u8(input);
	if (how & 2)
		packet.header.bytes = input_u16(input);
	if (how & 4)
		packet.header.flags = input_u8(input);
	if (how & 8)
		packet.pipe.bytes = input_u32(input);
	if (how & 16)
		packet.header.transaction_id = input_u8(input);
	if (how & 32)
		packet.header.type = input_u8(input);
	if (how & 64)
		packet.header.status = input_u32(input);
	if (how & 128)
		packet.descriptor.length8 = input_u8(input);
	input_copy(input, packet.message, bytes);
	bus_guest_sends(0, &packet, 16 + payload_bytes);
}

/* The answer to a version offer. */
static void guest_agrees(uint8_t framework, uint8_t version)
{
	struct {
		struct vmbus_packet_descriptor descriptor;
		struct ic_pipe_header pipe;
		struct ic_header header;
		struct ic_negotiate head;
		struct ic_version versions[2];
		uint32_t padding;
	} packet = {
		.descriptor = { VMBUS_PACKET_IN_BAND, 2, 2 + 6, 0, 1 },
		.pipe = { IC_PIPE_DATA, 20 + 16 }, .header = asked, .head = { 1, 1, 0 },
		.versions = { { framework & 15, framework >> 4 }, { version & 15, version >> 4 } },
	};

	packet.header.bytes = 16;
	packet.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	bus_guest_sends(0, &packet, 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t what, argument;

	begin(input_u8(&input));
	while (input.bytes) {
		what = input_u8(&input);
		argument = what >> 3;
		switch (what % 8) {
		case 0:
			bus_open(0);
			break;
		case 1: case 2:
			guest_answers(&input);
			break;
		case 3:
			argument = input_u8(&input);
			guest_agrees(argument, input_u8(&input));
			break;
		case 4:
			owner_wants(argument);
			break;
		case 5:
			bus_pass_ms(argument * 500);
			break;
		case 6:
			bus_turn();
			break;
		default:
			if (argument > 28)
				bus_close(0);
			else
				bus_fill(argument & 1);
		}
		check_status();
	}
	end();
	return 0;
}
