// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A ring with a hostile peer: the control page and the data change as the input says, between any
 * two calls. Beside each end goes a model that reckons with positions that never wrap, and with a
 * copy of all the memory: results, every byte of the ring and every index must be as it says.
 *
 * A third kind of input drives both ends, neither hostile: what comes out is what went in, and
 * nobody who waits is forgotten.
 */
#include "fuzz/fuzz.h"
#include "tests/unit/vmbus/ring_memory.h"

#define SIZE 4096u
#define PACKET_MAX 4080u

static struct ring_memory ring;
/* What the memory must be. */
static struct vmbus_ring_control control;
static uint8_t data[SIZE];

static void begin(struct input *input)
{
	if (!ring.control)
		ring = ring_memory_create(SIZE);
	memset(&control, 0, sizeof(control));
	memset(data, 0, sizeof(data));
	control.in = input_u16(input);
	control.out = input_u16(input);
	if (control.in < SIZE || control.out < SIZE) {
		control.in &= 0xff8;
		control.out &= 0xff8;
	}
	memcpy(ring.control, &control, sizeof(control));
	memcpy(ring.data, data, SIZE);
}

static void check_memory(void)
{
	FUZZ_CHECK(!memcmp(ring.control, &control, sizeof(control)));
	FUZZ_CHECK(!memcmp(ring.data, data, SIZE));
}

static bool possible(uint32_t index)
{
	return index < SIZE && index % 8 == 0;
}

static void put(uint64_t position, const void *from, size_t bytes)
{
	const uint8_t *at = from;

	for (size_t i = 0; i < bytes; i++)
		data[(position + i) % SIZE] = at[i];
}

static void get(uint64_t position, void *to, size_t bytes)
{
	uint8_t *at = to;

	for (size_t i = 0; i < bytes; i++)
		at[i] = data[(position + i) % SIZE];
}

/* The peer writes to what is shared, as it likes. */
static void peer_writes(struct input *input)
{
	uint8_t what = input_u8(input), bytes[256];
	uint32_t value, at, length;

	switch (what % 6) {
	case 0: /* a little forward, or anything */
		value = what & 0x80 ? input_u32(input) : (control.in + 8u * input_u8(input)) % SIZE;
		control.in = value;
		break;
	case 1:
		value = what & 0x80 ? input_u32(input) :
				      (control.out + 8u * input_u8(input)) % SIZE;
		control.out = value;
		break;
	case 2:
		control.pending_send_bytes = what & 0x80 ? input_u32(input) : input_u16(input);
		break;
	case 3:
		control.features = what >> 7;
		break;
	case 4:
		control.interrupt_mask = what >> 7;
		break;
	default:
		at = input_u16(input) % SIZE;
		length = input_u8(input);
		input_copy(input, bytes, length);
		put(at, bytes, length);
		memcpy(ring.data, data, SIZE);
	}
	memcpy(ring.control, &control, sizeof(control));
}

/* The peer writes a packet where its index is, its descriptor perhaps wrong. */
static void peer_sends(struct input *input)
{
	uint8_t words = input_u8(input), how = input_u8(input);
	struct vmbus_packet_descriptor descriptor = {
		.type = VMBUS_PACKET_IN_BAND, .data_offset8 = 2, .length8 = (uint16_t)(2 + words),
		.id = how,
	};
	uint32_t bytes = descriptor.length8 * 8u + 8;

	if (how & 1)
		descriptor.length8 = input_u16(input);
	if (how & 2)
		descriptor.data_offset8 = input_u8(input);
	if (how & 4)
		bytes -= 8;
	put(control.in, &descriptor, sizeof(descriptor));
	memcpy(ring.data, data, SIZE);
	control.in = (control.in + bytes) % SIZE;
	memcpy(ring.control, &control, sizeof(control));
}

/* ---- the reader ---- */

static struct {
	uint64_t out, published, in; /* positions */
	bool broken;
} model_r;

static void reader_learns(void)
{
	uint64_t in = model_r.published + (control.in - model_r.published) % SIZE;

	if (!possible(control.in) || in < model_r.in)
		model_r.broken = true;
	else
		model_r.in = in;
}

static bool reader_has(void)
{
	if (!model_r.broken && model_r.out == model_r.in)
		reader_learns();
	return model_r.broken || model_r.out != model_r.in;
}

/* The same, but nothing is learned. */
static bool reader_would_have(void)
{
	return model_r.broken || model_r.out != model_r.in ||
	       control.in != model_r.out % SIZE;
}

static int model_read(uint8_t *expected, size_t buffer_bytes, uint32_t *out_bytes)
{
	struct vmbus_packet_descriptor descriptor;
	uint32_t bytes;

	if (!reader_has())
		return -LIS_EMPTY;
	if (model_r.broken)
		return -LIS_CORRUPT;
	get(model_r.out, &descriptor, sizeof(descriptor));
	bytes = descriptor.length8 * 8u;
	if (descriptor.data_offset8 < 2 || descriptor.length8 < descriptor.data_offset8 ||
	    bytes + 8 > model_r.in - model_r.out || bytes > buffer_bytes) {
		model_r.broken = true;
		return -LIS_CORRUPT;
	}
	get(model_r.out, expected, bytes);
	model_r.out += bytes + 8;
	*out_bytes = bytes;
	return 0;
}

static void reads(struct vmbus_ring_reader *reader, struct input *input)
{
	uint8_t small = input_u8(input), expected[SIZE];
	size_t buffer_bytes = small & 0x80 ? 16 + (small & 0x7fu) : SIZE;
	uint8_t *buffer = malloc(buffer_bytes);
	uint32_t bytes = 0, expected_bytes = 0;
	int error = vmbus_ring_read(reader, buffer, buffer_bytes, &bytes);

	FUZZ_CHECK(error == model_read(expected, buffer_bytes, &expected_bytes));
	FUZZ_CHECK(bytes == expected_bytes);
	FUZZ_CHECK(error || !memcmp(buffer, expected, bytes));
	free(buffer);
}

static uint32_t free_between(uint64_t in, uint64_t out)
{
	return SIZE - 8 - (uint32_t)((in - out) % SIZE);
}

static bool model_reader_publish(void)
{
	uint32_t wanted = control.pending_send_bytes;
	uint64_t before = model_r.published;

	if (model_r.broken || model_r.out == before)
		return false;
	control.out = (uint32_t)(model_r.out % SIZE);
	model_r.published = model_r.out;
	if (!wanted)
		return !(control.features & VMBUS_RING_FEATURE_PENDING_SEND);
	reader_learns();
	if (model_r.broken)
		return false;
	wanted = wanted > SIZE - 8 ? SIZE - 8 : wanted < 8 ? 8 : wanted / 8 * 8;
	return free_between(model_r.in, before) < wanted &&
	       free_between(model_r.in, model_r.out) >= wanted;
}

static void fuzz_reader(struct input *input)
{
	struct vmbus_ring_reader reader;
	int error = vmbus_ring_reader_init(&reader, ring.control, ring.data, SIZE);

	FUZZ_CHECK(error == (possible(control.in) && possible(control.out) ? 0 : -LIS_CORRUPT));
	if (error)
		return;
	model_r.out = model_r.published = model_r.in = control.out;
	model_r.broken = false;
	while (input->bytes) {
		switch (input_u8(input) % 8) {
		case 0:
			peer_writes(input);
			break;
		case 1: case 2:
			peer_sends(input);
			break;
		case 3: case 4:
			reads(&reader, input);
			break;
		case 5:
			FUZZ_CHECK(vmbus_ring_reader_publish(&reader) == model_reader_publish());
			break;
		case 6:
			control.interrupt_mask = 0;
			FUZZ_CHECK(vmbus_ring_reader_unmask(&reader) == reader_would_have());
			break;
		default:
			control.interrupt_mask = 1;
			vmbus_ring_reader_mask(&reader);
			FUZZ_CHECK(vmbus_ring_reader_unpublished(&reader) ==
				   model_r.out - model_r.published);
		}
		FUZZ_CHECK(!memcmp(ring.control, &control, 128));
	}
	check_memory();
}

/* ---- the writer ---- */

static struct {
	uint64_t in, exposed, out; /* positions */
	uint32_t unsettled;
	bool broken;
} model_w;

static void writer_learns(void)
{
	uint64_t out = model_w.out + (control.out - model_w.out) % SIZE;

	if (!possible(control.out) || out > model_w.exposed)
		model_w.broken = true;
	else
		model_w.out = out;
}

static void model_expose(void)
{
	if (model_w.broken)
		return;
	if (model_w.exposed != model_w.in)
		control.in = (uint32_t)(model_w.in % SIZE);
	model_w.exposed = model_w.in;
}

static uint32_t writer_room(void)
{
	return SIZE - 8 - (uint32_t)(model_w.in - model_w.out);
}

/* @asked: what stands in the control page by our own hand, whatever the peer made of it */
static int model_make_room(uint32_t bytes, uint32_t *asked)
{
	if (model_w.broken)
		return -LIS_CORRUPT;
	if (writer_room() < bytes) {
		writer_learns();
		if (model_w.broken)
			return -LIS_CORRUPT;
	}
	if (writer_room() < bytes) {
		model_expose();
		if (*asked != bytes)
			control.pending_send_bytes = *asked = bytes;
		writer_learns();
		return model_w.broken ? -LIS_CORRUPT : -LIS_FULL;
	}
	if (*asked)
		control.pending_send_bytes = *asked = 0;
	return 0;
}

static void writes(struct vmbus_ring_writer *writer, struct input *input, uint32_t *asked)
{
	uint8_t how = input_u8(input), body[SIZE];
	uint32_t head_bytes = how & 1 ? 8u * input_u8(input) : 0;
	uint32_t payload_bytes = how & 2 ? input_u16(input) : input_u8(input);
	uint32_t body_bytes = head_bytes + (payload_bytes + 7) / 8 * 8;
	struct vmbus_piece pieces[2] = { { body + head_bytes, payload_bytes / 2 },
					 { body + head_bytes + payload_bytes / 2,
					   payload_bytes - payload_bytes / 2 } };
	struct vmbus_packet_out packet = {
		.type = how, .flags = how >> 4, .id = payload_bytes, .head = body,
		.head_bytes = head_bytes, .payload = pieces, .payload_count = 2,
	};
	struct vmbus_packet_descriptor descriptor = {
		.type = packet.type, .flags = packet.flags, .id = packet.id,
		.data_offset8 = (uint16_t)(2 + head_bytes / 8),
		.length8 = (uint16_t)(2 + body_bytes / 8),
	};
	struct vmbus_packet_trailer trailer = { .start = (uint32_t)(model_w.in % SIZE) };
	int expected = body_bytes + 24 > SIZE - 8 ? -LIS_INVALID :
						    model_make_room(body_bytes + 24, asked);
	void *place;

	memset(body, how, sizeof(body));
	if (how & 4) { /* taken, and not used: the body is not written, but for its padding */
		FUZZ_CHECK(vmbus_ring_reserve(writer, packet.type, packet.flags, packet.id,
					      head_bytes, payload_bytes, &place) == expected);
	} else {
		FUZZ_CHECK(vmbus_ring_write(writer, &packet) == expected);
	}
	if (expected)
		return;
	put(model_w.in, &descriptor, 16);
	if (payload_bytes % 8)
		put(model_w.in + 8 + body_bytes, &(uint64_t){ 0 }, 8);
	if (!(how & 4))
		put(model_w.in + 16, body, head_bytes + payload_bytes);
	put(model_w.in + 16 + body_bytes, &trailer, 8);
	if (how & 4)
		return;
	model_w.in += 24 + body_bytes;
	model_w.unsettled += 24 + body_bytes;
	if (model_w.unsettled > SIZE)
		model_w.unsettled = SIZE;
}

static bool model_writer_publish(void)
{
	uint32_t unsettled = model_w.unsettled;

	if (!unsettled || model_w.broken)
		return false;
	model_expose();
	model_w.unsettled = 0;
	if (control.interrupt_mask)
		return false;
	writer_learns();
	return !model_w.broken && model_w.in != model_w.out &&
	       model_w.in - model_w.out <= unsettled;
}

static void check_free_bytes(struct vmbus_ring_writer *writer)
{
	uint32_t bytes = vmbus_ring_writer_free_bytes(writer);

	if (!model_w.broken)
		writer_learns();
	FUZZ_CHECK(bytes == (model_w.broken ? 0 : writer_room()));
}

static void fuzz_writer(struct input *input)
{
	struct vmbus_ring_writer writer;
	int error = vmbus_ring_writer_init(&writer, ring.control, ring.data, SIZE);
	uint32_t asked = 0;

	FUZZ_CHECK(error == (possible(control.in) && possible(control.out) ? 0 : -LIS_CORRUPT));
	if (error)
		return;
	model_w.out = control.out;
	model_w.in = model_w.exposed = control.out + (control.in - control.out) % SIZE;
	model_w.unsettled = (uint32_t)(model_w.in - model_w.out);
	model_w.broken = false;
	control.pending_send_bytes = 0;
	control.features = VMBUS_RING_FEATURE_PENDING_SEND;
	while (input->bytes) {
		switch (input_u8(input) % 8) {
		case 0: case 1:
			peer_writes(input);
			break;
		case 2: case 3: case 4:
			writes(&writer, input, &asked);
			break;
		case 5:
			FUZZ_CHECK(vmbus_ring_writer_publish(&writer) == model_writer_publish());
			break;
		case 6:
			vmbus_ring_writer_expose(&writer);
			model_expose();
			break;
		default:
			check_free_bytes(&writer);
		}
		FUZZ_CHECK(!memcmp(ring.control, &control, 128));
	}
	check_memory();
}

/* ---- both, honest ---- */

#define QUEUE 256u

static void fuzz_both(struct input *input)
{
	struct vmbus_ring_writer writer;
	struct vmbus_ring_reader reader;
	uint32_t lengths[QUEUE], head = 0, tail = 0, wanted = 0, bytes;
	_Alignas(8) uint8_t buffer[SIZE];
	bool reader_sleeps = false, writer_waits = false;
	struct vmbus_piece piece = { buffer, 0 };
	struct vmbus_packet_out packet = { .payload = &piece, .payload_count = 1 };
	int error;

	control.out = control.in;
	memcpy(ring.control, &control, sizeof(control));
	if (vmbus_ring_writer_init(&writer, ring.control, ring.data, SIZE) ||
	    vmbus_ring_reader_init(&reader, ring.control, ring.data, SIZE))
		return;
	while (input->bytes) {
		switch (input_u8(input) % 5) {
		case 0: case 1:
			piece.bytes = input_u16(input) % (writer_waits ? 64 : SIZE);
			memset(buffer, (int)tail, piece.bytes);
			packet.id = tail;
			error = vmbus_ring_write(&writer, &packet);
			if (error == -LIS_FULL)
				wanted = (uint32_t)vmbus_packet_ring_bytes(0, piece.bytes);
			else if (!error)
				lengths[tail++ % QUEUE] = (uint32_t)(piece.bytes + 7) / 8 * 8;
			FUZZ_CHECK(!error || error == -LIS_FULL || piece.bytes > SIZE - 32);
			writer_waits = error == -LIS_FULL;
			break;
		case 2:
			if (vmbus_ring_writer_publish(&writer))
				reader_sleeps = false;
			FUZZ_CHECK(!reader_sleeps || head == tail);
			break;
		case 3:
			error = vmbus_ring_read(&reader, buffer, sizeof(buffer), &bytes);
			FUZZ_CHECK(!error || error == -LIS_EMPTY);
			if (error)
				break;
			FUZZ_CHECK(head != tail && bytes == 16 + lengths[head % QUEUE]);
			FUZZ_CHECK(bytes == 16 || buffer[16] == (uint8_t)head);
			head++;
			break;
		default: /* done for now */
			if (vmbus_ring_reader_publish(&reader))
				writer_waits = false;
			FUZZ_CHECK(!writer_waits ||
				   vmbus_ring_writer_free_bytes(&writer) < wanted);
			reader_sleeps = !vmbus_ring_reader_unmask(&reader);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input input = { bytes, count };
	uint8_t kind = input_u8(&input) % 3;

	begin(&input);
	if (kind == 0)
		fuzz_reader(&input);
	else if (kind == 1)
		fuzz_writer(&input);
	else
		fuzz_both(&input);
	return 0;
}
