// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile guest and the server: any messages in any order, while devices answer in any order,
 * come and go, and memory runs out. The world (tests/unit/vmbus/server_world.c) judges each call of
 * the server, vmbus_server_check() its books; beside them stands what a guest knows: each answer
 * must be to a question of this connection, and ids of channels come and go in order.
 */
#include "fuzz/fuzz.h"
#include "tests/unit/vmbus/server_world.h"

#define ASKED_MAX 1024u
#define HELD_MAX 64u

static struct world world;

/* Questions that are not answered. */
static struct asked {
	uint32_t type, first, second;
} asked[ASKED_MAX];
static uint32_t asked_count;

/* What the guest knows of an id; UNSURE where it broke the rules itself. */
static enum { UNKNOWN, OFFERED, RESCINDED, UNSURE } ids[VMBUS_CHANNEL_ID_MAX + 1];

/* GPADLs that devices have. */
static struct {
	struct world_channel *channel;
	uint32_t id;
	struct vmbus_server_range range;
} held[HELD_MAX];
static uint32_t held_count;

/* ---- the guest ---- */

static void ask(uint32_t type, uint32_t first, uint32_t second)
{
	if (asked_count < ASKED_MAX)
		asked[asked_count++] = (struct asked){ type, first, second };
}

static void must_be_asked(uint32_t type, uint32_t first, uint32_t second)
{
	uint32_t i = 0;

	while (i < asked_count && (asked[i].type != type || asked[i].first != first ||
				   asked[i].second != second))
		i++;
	FUZZ_CHECK(i < asked_count);
	asked[i] = asked[--asked_count];
}

static void forget_connection(void)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < asked_count; i++)
		if (asked[i].type == VMBUS_MSG_INITIATE_CONTACT)
			asked[kept++] = asked[i];
	asked_count = kept;
	memset(ids, 0, sizeof(ids));
}

static void note_question(const uint32_t *words, size_t bytes)
{
	if (bytes < 8)
		return;
	switch (words[0]) {
	case VMBUS_MSG_OPEN_CHANNEL:
	case VMBUS_MSG_GPADL_HEADER:
		ask(words[0], words[2], words[3]);
		break;
	case VMBUS_MSG_GPADL_TEARDOWN:
		ask(words[0], words[3], 0);
		break;
	case VMBUS_MSG_MODIFY_CHANNEL:
		ask(words[0], words[2], 0);
		break;
	case VMBUS_MSG_RELID_RELEASED:
		if (bytes >= 12 && words[2] <= VMBUS_CHANNEL_ID_MAX)
			ids[words[2]] = ids[words[2]] == RESCINDED ? UNKNOWN : UNSURE;
		break;
	case VMBUS_MSG_INITIATE_CONTACT:
	case VMBUS_MSG_REQUEST_OFFERS:
	case VMBUS_MSG_UNLOAD:
	case VMBUS_MSG_TL_CONNECT_REQUEST:
		ask(words[0], 0, 0);
		break;
	}
}

static void take_offer(uint32_t id)
{
	FUZZ_CHECK(id >= 1 && id <= VMBUS_CHANNEL_ID_MAX);
	FUZZ_CHECK(ids[id] == UNKNOWN || ids[id] == UNSURE);
	ids[id] = OFFERED;
}

static void take_rescind(uint32_t id)
{
	FUZZ_CHECK(id >= 1 && id <= VMBUS_CHANNEL_ID_MAX);
	FUZZ_CHECK(ids[id] == OFFERED || ids[id] == UNSURE);
	ids[id] = RESCINDED;
}

static void listen_to_the_host(void)
{
	const uint32_t *words;

	while ((words = guest_reads(&world, 0, 0))) {
		switch (words[0]) {
		case VMBUS_MSG_OFFER_CHANNEL:
			take_offer(((const struct vmbus_msg_offer_channel *)words)->channel_id);
			break;
		case VMBUS_MSG_RESCIND_OFFER:
			take_rescind(words[2]);
			break;
		case VMBUS_MSG_ALL_OFFERS_DELIVERED:
			must_be_asked(VMBUS_MSG_REQUEST_OFFERS, 0, 0);
			break;
		case VMBUS_MSG_OPEN_RESULT:
			must_be_asked(VMBUS_MSG_OPEN_CHANNEL, words[2], words[3]);
			break;
		case VMBUS_MSG_GPADL_CREATED:
			must_be_asked(VMBUS_MSG_GPADL_HEADER, words[2], words[3]);
			break;
		case VMBUS_MSG_GPADL_TORNDOWN:
			must_be_asked(VMBUS_MSG_GPADL_TEARDOWN, words[2], 0);
			break;
		case VMBUS_MSG_MODIFY_CHANNEL_RESPONSE:
			must_be_asked(VMBUS_MSG_MODIFY_CHANNEL, words[2], 0);
			break;
		case VMBUS_MSG_UNLOAD_COMPLETE:
			must_be_asked(VMBUS_MSG_UNLOAD, 0, 0);
			forget_connection();
			break;
		case VMBUS_MSG_VERSION_RESPONSE:
			must_be_asked(VMBUS_MSG_INITIATE_CONTACT, 0, 0);
			forget_connection();
			break;
		case VMBUS_MSG_TL_CONNECT_RESULT:
			must_be_asked(VMBUS_MSG_TL_CONNECT_REQUEST, 0, 0);
			break;
		default:
			FUZZ_CHECK(!"a message that no host sends");
		}
	}
	guest_reads_nothing(&world);
}

static void posts(uint32_t connection_id, const void *message, size_t bytes)
{
	uint32_t words[VMBUS_MESSAGE_BYTES_MAX / 4] = { 0 };

	memcpy(words, message, bytes < sizeof(words) ? bytes : sizeof(words));
	note_question(words, bytes);
	guest_posts_on(&world, connection_id, message, bytes);
}

/* A message as long as the input says; most often the first fields are made of single bytes. */
static void guest_sends(struct input *input)
{
	uint32_t words[66] = { 0 };
	uint8_t type = input_u8(input), count = input_u8(input);
	uint32_t connection = type & 0x80 ? type >> 5 & 3 : 1;
	size_t bytes = count & 0x80 ? 8 + 4 * (count & 0x3fu) : 241 - (count & 0x7f);

	if (count & 0x80)
		input_copy(input, words, bytes);
	else
		for (uint32_t i = 2; i < 8; i++)
			words[i] = input_u8(input);
	words[0] = type & 31;
	posts(connection, words, bytes);
}

static void guest_contacts_by(struct input *input)
{
	static const uint32_t versions[] = {
#define ONE(version) version,
		VMBUS_VERSIONS(ONE)
#undef ONE
	};
	uint8_t how = input_u8(input);
	struct vmbus_msg_initiate_contact2 message = {
		.contact = { .header.type = VMBUS_MSG_INITIATE_CONTACT,
			     .version = versions[how % (sizeof(versions) / sizeof(versions[0]))],
			     .target_vp = how >> 5 },
	};

	if (message.contact.version >= VMBUS_VERSION_WIN10_V5) {
		message.contact.sint = VMBUS_MESSAGE_SINT;
		message.contact.features = input_u8(input);
		posts(VMBUS_CONNECTION_MESSAGE_4, &message, sizeof(message));
		return;
	}
	message.contact.interrupt_page_gpa = how & 0x10 ? 0x5000 : 0;
	posts(VMBUS_CONNECTION_MESSAGE, &message, sizeof(message.contact));
}

/* The beginning of a GPADL, its sizes right or not, with as many page numbers as there are. */
static void guest_begins_gpadl(struct input *input)
{
	struct {
		struct vmbus_msg_gpadl_header header;
		uint8_t ranges[VMBUS_MESSAGE_BYTES_MAX - 20];
	} message = { .header = { .header.type = VMBUS_MSG_GPADL_HEADER } };
	struct vmbus_gpa_range range;
	uint8_t how, pages, sent;
	uint64_t pfn;

	message.header.channel_id = input_u8(input);
	message.header.gpadl_id = input_u8(input);
	how = input_u8(input);
	pages = input_u8(input);
	message.header.range_bytes = how & 1 ? input_u16(input) : 8 + 8 * pages;
	message.header.range_count = how & 2 ? input_u8(input) : 1;
	range.byte_count = how & 4 ? input_u32(input) : pages * HV_PAGE_BYTES;
	range.byte_offset = how & 8 ? input_u16(input) : 0;
	pfn = how & 16 ? WORLD_PAGES - 3 : input_u8(input);
	sent = pages < 26 ? pages : 26;
	if (how & 32)
		sent = input_u8(input) % 27;
	memcpy(message.ranges, &range, sizeof(range));
	for (uint64_t i = 0; i < sent; i++, pfn++)
		memcpy(message.ranges + 8 + 8 * i, &pfn, 8);
	posts(VMBUS_CONNECTION_MESSAGE, &message, 28 + 8u * sent);
}

static void guest_goes_on_with_gpadl(struct input *input)
{
	struct {
		struct vmbus_msg_gpadl_body body;
		uint64_t pfns[29]; /* one more than there is room for */
	} message = { .body = { .header.type = VMBUS_MSG_GPADL_BODY } };
	uint8_t count;

	message.body.gpadl_id = input_u8(input);
	count = input_u8(input);
	for (uint32_t i = 0; i < 28; i++)
		message.pfns[i] = count & 0x20 ? HV_PAGE_BYTES : i + 1;
	posts(VMBUS_CONNECTION_MESSAGE, &message, 16 + 8 * ((count & 31u) % 29) + (count >> 6));
}

static void guest_opens_by(struct input *input)
{
	struct vmbus_msg_open_channel2 message = {
		.open = { .header.type = VMBUS_MSG_OPEN_CHANNEL },
	};
	uint8_t how;

	message.open.channel_id = input_u8(input);
	message.open.ring_gpadl_id = input_u8(input);
	how = input_u8(input);
	message.open.open_id = how >> 6;
	message.open.target_vp = how & 0x10 ? VMBUS_VP_NONE : how >> 5 & 1;
	message.open.host_to_guest_page_offset = how & 15;
	message.event_flag = how & 0x20 ? input_u16(input) : 1;
	message.connection_id = how & 0x20 ? input_u32(input) : 0x2001;
	posts(VMBUS_CONNECTION_MESSAGE, &message, sizeof(message));
}

/* ---- the host's devices ---- */

static void drop_held(const struct world_channel *channel)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < held_count; i++)
		if (held[i].channel != channel)
			held[kept++] = held[i];
	held_count = kept;
}

static void device_answers(struct world_channel *channel)
{
	if (!channel->modifying && channel->device == DEVICE_CLOSING)
		drop_held(channel);
	world_answer(&world, channel);
}

static void device_takes_gpadl(struct world_channel *channel, uint8_t id)
{
	if (channel->device == DEVICE_IDLE || held_count == HELD_MAX)
		return;
	held[held_count].channel = channel;
	held[held_count].id = id & 15;
	if (!vmbus_server_gpadl_get(&world.server, &channel->server, id & 15, id >> 4 & 1,
				    &held[held_count].range))
		held_count++;
}

static void device_gives_gpadl(uint8_t at)
{
	if (!held_count)
		return;
	at %= held_count;
	if (vmbus_server_gpadl_put(&world.server, &held[at].channel->server, held[at].id))
		vmbus_server_answer_teardowns(&world.server);
	held[at] = held[--held_count];
}

/* What devices hold stays theirs. */
static void check_held(void)
{
	for (uint32_t i = 0; i < held_count; i++)
		for (uint32_t page = 0; page < held[i].range.pfn_count; page++)
			FUZZ_CHECK(held[i].range.pfns[page] < WORLD_PAGES);
}

static void host_offers_by(uint32_t at)
{
	if (world.channels[at].offered)
		return;
	if (at < 4)
		(void)world_offer(&world, at);
	else
		(void)world_offer_sub(&world, at, at % 4, (uint16_t)(at / 4));
}

static void host_does(struct input *input)
{
	uint8_t what = input_u8(input);
	uint32_t at = (what >> 4) % WORLD_CHANNELS;
	struct world_channel *channel = &world.channels[at];

	switch (what & 15) {
	case 0: case 1:
		host_offers_by(at);
		break;
	case 2:
		if (channel->offered && !channel->rescinding)
			world_rescind(&world, at);
		break;
	case 3:
		if (channel->device == DEVICE_OPEN)
			vmbus_server_break(&world.server, &channel->server);
		break;
	case 4:
		device_takes_gpadl(channel, input_u8(input));
		break;
	case 5:
		device_gives_gpadl(what >> 4);
		break;
	case 6:
		if (channel->device == DEVICE_OPENING) {
			channel->device = DEVICE_IDLE;
			vmbus_server_open_done(&world.server, &channel->server, -LIS_NOMEM);
		}
		break;
	case 7:
		if (at == 0) {
			forget_connection();
			asked_count = 0;
			vmbus_server_reset(&world.server);
		} else if (at == 1) {
			world.open_error = -LIS_BUSY;
		} else if (at == 2) {
			world.connect_error = -LIS_NOMEM;
		} else {
			world.allocs_until_failure = at < 8 ? (int)at - 3 : -1;
		}
		break;
	default:
		device_answers(channel);
	}
	world_check(&world);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };

	world_init(&world, NULL);
	asked_count = held_count = 0;
	memset(ids, 0, sizeof(ids));
	world_offer(&world, 0);
	while (input.bytes) {
		switch (input_u8(&input) % 8) {
		case 0:
			guest_contacts_by(&input);
			break;
		case 1:
			guest_begins_gpadl(&input);
			break;
		case 2:
			guest_goes_on_with_gpadl(&input);
			break;
		case 3:
			guest_opens_by(&input);
			break;
		case 4: case 5:
			guest_sends(&input);
			break;
		default:
			host_does(&input);
		}
		listen_to_the_host();
		check_held();
		FUZZ_CHECK(world.server.gpadl_count <= VMBUS_SERVER_GPADLS_MAX);
		FUZZ_CHECK(world.server.gpadl_words <= VMBUS_SERVER_GPADL_WORDS_MAX);
	}
	forget_connection();
	asked_count = 0;
	world_fini(&world);
	return 0;
}
