// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile host and the client: any messages in any order, while the port connects, opens, closes,
 * shares memory and takes it back, and the hypervisor has no buffers. The world
 * (tests/unit/vmbus/client_world.c) judges each call of the client, vmbus_client_check() its books;
 * beside them stands what the port waits for: each thing it asked for is answered once, and nothing
 * else is. An isolated port hears of no device that is not safe, and of no old host.
 */
#include "fuzz/fuzz.h"
#include "tests/unit/vmbus/client_world.h"
#include "vmbus/interfaces.h"

#define GPADLS 4u
#define PAGES 64u

static struct port port;
static struct vmbus_client_ops ops;
static const struct vmbus_client_ops *world_ops;
static struct vmbus_client_gpadl gpadls[GPADLS];
static uint64_t pfns[PAGES];

/* What hosts offer. */
static const struct guid interfaces[] = {
#define ONE(id, name, safe) id,
	VMBUS_INTERFACES(ONE)
#undef ONE
	GUID(1, 2, 3, 4, 5), /* a socket's, or nobody's */
};

#define INTERFACE_COUNT (sizeof(interfaces) / sizeof(interfaces[0]))

static bool isolated; /* the connection, or the one that is being asked for */

/* What the port waits for. */
static struct {
	bool connect, unload, offers;
	bool open[VMBUS_CHANNEL_ID_MAX + 1], modify[VMBUS_CHANNEL_ID_MAX + 1];
	enum { FREE, CREATING, READY, TEARING_DOWN } gpadls[GPADLS];
} waits;

/* Channels there are, by id. */
static struct vmbus_client_channel *channels[VMBUS_CHANNEL_ID_MAX + 1];

static uint32_t gpadl_index(const struct vmbus_client_gpadl *gpadl)
{
	FUZZ_CHECK(gpadl >= gpadls && gpadl < gpadls + GPADLS);
	return (uint32_t)(gpadl - gpadls);
}

static void connected(void *argument, int error)
{
	FUZZ_CHECK(waits.connect);
	waits.connect = false;
	FUZZ_CHECK(error || !isolated || port.client.version >= VMBUS_VERSION_WIN10_V5_2);
	world_ops->connected(argument, error);
}

static void unloaded(void *argument)
{
	FUZZ_CHECK(waits.unload);
	memset(&waits, 0, sizeof(waits));
	for (uint32_t id = 0; id <= VMBUS_CHANNEL_ID_MAX; id++)
		FUZZ_CHECK(!channels[id]);
	world_ops->unloaded(argument);
}

/* Written down anew: it judges what the client makes of its table. */
static bool is_safe(const struct guid *interface_id)
{
	static const struct guid safe[] = {
		VMBUS_INTERFACE_SCSI, VMBUS_INTERFACE_NETWORK, VMBUS_INTERFACE_PCI,
		VMBUS_INTERFACE_TIMESYNC, VMBUS_INTERFACE_HEARTBEAT, VMBUS_INTERFACE_SHUTDOWN,
	};

	for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
		if (!memcmp(interface_id, &safe[i], sizeof(safe[i])))
			return true;
	return false;
}

/* The first that the port hears of an offer. */
static struct vmbus_client_channel *channel_alloc(void *argument,
						  const struct vmbus_client_offer *offer)
{
	FUZZ_CHECK(!(offer->flags &
		     (VMBUS_OFFER_CONFIDENTIAL_RING | VMBUS_OFFER_CONFIDENTIAL_MEMORY)));
	FUZZ_CHECK(!isolated || (offer->flags & VMBUS_OFFER_TLNPI_PROVIDER) ||
		   is_safe(&offer->interface_id));
	FUZZ_CHECK(offer->monitor_id < 128 || offer->monitor_id == 0xff);
	return world_ops->channel_alloc(argument, offer);
}

static void offered(void *argument, struct vmbus_client_channel *channel)
{
	uint16_t id = channel->offer.channel_id;

	FUZZ_CHECK(id >= 1 && id <= VMBUS_CHANNEL_ID_MAX && !channels[id]);
	channels[id] = channel;
	world_ops->offered(argument, channel);
}

static void forgotten(void *argument, struct vmbus_client_channel *channel)
{
	uint16_t id = channel->offer.channel_id;

	FUZZ_CHECK(channels[id] == channel);
	channels[id] = NULL;
	waits.open[id] = waits.modify[id] = false;
	world_ops->channel_forgotten(argument, channel);
}

static void offers_delivered(void *argument)
{
	FUZZ_CHECK(waits.offers);
	waits.offers = false;
	world_ops->offers_delivered(argument);
}

static void opened(void *argument, struct vmbus_client_channel *channel, int error)
{
	FUZZ_CHECK(waits.open[channel->offer.channel_id]);
	waits.open[channel->offer.channel_id] = false;
	world_ops->opened(argument, channel, error);
}

static void modified(void *argument, struct vmbus_client_channel *channel, int error)
{
	FUZZ_CHECK(waits.modify[channel->offer.channel_id]);
	waits.modify[channel->offer.channel_id] = false;
	world_ops->modified(argument, channel, error);
}

static void gpadl_created(void *argument, struct vmbus_client_gpadl *gpadl, int error)
{
	uint32_t at = gpadl_index(gpadl);

	FUZZ_CHECK(waits.gpadls[at] == CREATING);
	waits.gpadls[at] = error ? FREE : READY;
	if (error)
		memset(gpadl, 0xee, sizeof(*gpadl)); /* it is the port's again */
	world_ops->gpadl_created(argument, gpadl, error);
}

static void gpadl_torn_down(void *argument, struct vmbus_client_gpadl *gpadl, int error)
{
	uint32_t at = gpadl_index(gpadl);

	FUZZ_CHECK(waits.gpadls[at] == TEARING_DOWN);
	waits.gpadls[at] = FREE;
	memset(gpadl, 0xee, sizeof(*gpadl));
	world_ops->gpadl_torn_down(argument, gpadl, error);
}

static void begin(void)
{
	port_init(&port);
	world_ops = port.client.ops;
	ops = *world_ops;
	ops.connected = connected;
	ops.unloaded = unloaded;
	ops.channel_alloc = channel_alloc;
	ops.offered = offered;
	ops.channel_forgotten = forgotten;
	ops.offers_delivered = offers_delivered;
	ops.opened = opened;
	ops.modified = modified;
	ops.gpadl_created = gpadl_created;
	ops.gpadl_torn_down = gpadl_torn_down;
	port.client.ops = &ops;
	isolated = false;
	memset(&waits, 0, sizeof(waits));
	memset(channels, 0, sizeof(channels));
}

/* ---- the host ---- */

static void host_sends_offer(struct input *input)
{
	uint8_t id = input_u8(input), which = input_u8(input);
	struct vmbus_msg_offer_channel offer = make_offer(id, which & 3, which >> 2 & 3);

	if (which & 0x80)
		offer.channel_id = input_u32(input);
	if (which & 0x40)
		offer.is_dedicated = 0;
	if (which & 0x20) {
		offer.interface_id = interfaces[input_u8(input) % INTERFACE_COUNT];
		offer.flags = (uint16_t)input_u32(input);
		offer.monitor_id = input_u8(input);
		offer.monitor_allocated = offer.flags >> 15;
	}
	host_sends(&port, &offer, sizeof(offer));
}

/* The answer to something; most often right but for what the input says. */
static void host_sends_answer(struct input *input)
{
	uint8_t what = input_u8(input), which = input_u8(input);
	uint32_t status = what & 0x80 ? input_u32(input) : 0;
	const struct vmbus_client_channel *channel = channels[which];
	const struct vmbus_client_gpadl *gpadl = &gpadls[which % GPADLS];
	bool known = waits.gpadls[which % GPADLS] != FREE;

	switch (what & 3) {
	case 0:
		if (channel)
			host_answers_open(&port, (struct vmbus_client_channel *)channel, status);
		break;
	case 1:
		if (known)
			host_creates_gpadl(&port, gpadl, status);
		break;
	case 2:
		if (known)
			host_tears_gpadl_down(&port, gpadl->id);
		break;
	default:
		host_accepts(&port, which);
	}
}

/* Any message, its first fields perhaps made of single bytes. */
static void host_sends_anything(struct input *input)
{
	uint32_t words[64] = { 0 };
	uint8_t type = input_u8(input), count = input_u8(input);
	size_t bytes = count & 0x80 ? 4 * (count & 0x3fu) : 240 - (count & 0x7f);

	if (count & 0x80)
		input_copy(input, words, bytes);
	else
		for (uint32_t i = 2; i < 6; i++)
			words[i] = input_u8(input);
	words[0] = type & 31;
	host_sends(&port, words, bytes);
}

/* ---- the port ---- */

static void port_shares(struct vmbus_client_channel *channel, uint32_t at, uint8_t pages)
{
	int error;

	if (waits.gpadls[at] == FREE) {
		waits.gpadls[at] = CREATING;
		error = vmbus_client_gpadl_create(&port.client, channel, &gpadls[at], pfns,
						  1 + (pages % PAGES) * HV_PAGE_BYTES, 0);
		FUZZ_CHECK(!error || error == -LIS_GONE);
		if (error)
			waits.gpadls[at] = FREE;
	} else if (pages >= 0xf0) {
		vmbus_client_gpadl_abandon(&port.client, &gpadls[at]);
		waits.gpadls[at] = FREE;
		memset(&gpadls[at], 0xee, sizeof(gpadls[at]));
	} else {
		bool ready = waits.gpadls[at] == READY;

		if (ready)
			waits.gpadls[at] = TEARING_DOWN;
		error = vmbus_client_gpadl_teardown(&port.client, &gpadls[at]);
		FUZZ_CHECK(ready ? !error || error == -LIS_GONE :
				   error == -LIS_BUSY || error == -LIS_GONE);
		if (ready && error)
			waits.gpadls[at] = READY;
	}
}

static void port_opens_it(struct vmbus_client_channel *channel, uint8_t vp)
{
	struct vmbus_client_open open = { .ring_gpadl_id = 1, .target_vp = vp };
	bool before = waits.open[channel->offer.channel_id];
	int error;

	waits.open[channel->offer.channel_id] = true;
	error = vmbus_client_open(&port.client, channel, &open);
	FUZZ_CHECK(!error || error == -LIS_BUSY || error == -LIS_GONE);
	if (error)
		waits.open[channel->offer.channel_id] = before;
}

static void port_modifies(struct vmbus_client_channel *channel, uint8_t vp)
{
	bool before = waits.modify[channel->offer.channel_id];
	int error;

	waits.modify[channel->offer.channel_id] = true;
	error = vmbus_client_modify(&port.client, channel, vp);
	if (error)
		waits.modify[channel->offer.channel_id] = before;
}

static void port_releases(struct vmbus_client_channel *channel)
{
	uint16_t id = channel->offer.channel_id;

	if (vmbus_client_release(&port.client, channel))
		return;
	FUZZ_CHECK(!waits.open[id]);
	channels[id] = NULL;
	waits.modify[id] = false;
	port.live_channels--;
	free(channel);
}

static void port_uses_channel(struct input *input)
{
	uint8_t what = input_u8(input), argument = input_u8(input);
	struct vmbus_client_channel *channel = channels[1 + (what >> 4)];

	if (!channel)
		return;
	switch (what & 7) {
	case 0: case 1:
		port_opens_it(channel, argument);
		break;
	case 2:
		if (!vmbus_client_close(&port.client, channel))
			FUZZ_CHECK(!waits.modify[channel->offer.channel_id]);
		break;
	case 3:
		port_modifies(channel, argument);
		break;
	case 4:
		if (channel->state == VMBUS_CLIENT_CHANNEL_OPEN)
			vmbus_client_signal(&port.client, channel);
		break;
	case 5: case 6:
		port_shares(channel, what >> 3 & 1 ? 0 : argument % GPADLS, argument);
		break;
	default:
		port_releases(channel);
	}
}

static void port_connects_by(uint8_t how)
{
	static const uint32_t versions[] = {
#define ONE(version) version,
		VMBUS_VERSIONS(ONE)
#undef ONE
	};
	struct vmbus_client_config config = {
		.version_max = versions[how % (sizeof(versions) / sizeof(versions[0]))],
		.version_min = how & 0x80 ? VMBUS_VERSION_WIN10_V5 : 0,
		.features = how & 0x40 ? VMBUS_CLIENT_FEATURES : 0,
		.isolated = how & 0x20,
		.interrupt_page_gpa = 0x5000,
	};
	bool before = waits.connect, isolated_before = isolated;
	int error;

	waits.connect = true;
	isolated = config.isolated;
	error = vmbus_client_connect(&port.client, &config);
	FUZZ_CHECK(!error || error == -LIS_BUSY || error == -LIS_INVALID);
	if (error) {
		waits.connect = before;
		isolated = isolated_before;
	}
}

static void port_asks_for_offers(void)
{
	bool before = waits.offers;

	waits.offers = true;
	if (vmbus_client_request_offers(&port.client))
		waits.offers = before;
}

static void port_does(struct input *input)
{
	uint8_t what = input_u8(input);

	switch (what & 7) {
	case 0:
		port_connects_by(input_u8(input));
		break;
	case 1:
		port_asks_for_offers();
		break;
	case 2:
		if (what < 0x20) {
			waits.unload = true;
			waits.connect = false;
			vmbus_client_unload(&port.client);
		}
		break;
	case 3:
		port.refuse_offers = what & 0x80;
		break;
	case 4: case 5:
		port.post_error = what & 0x80 ? -LIS_AGAIN : what & 0x40 ? -LIS_IO : 0;
		if (what & 0x20)
			port.post_error = -LIS_NOTFOUND;
		port.posts_until_error = what >> 3 & 3;
		break;
	default:
		vmbus_client_retry(&port.client);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };

	begin();
	while (input.bytes) {
		port.posted_count = port.read_count = 0;
		switch (input_u8(&input) % 8) {
		case 0:
			host_sends_offer(&input);
			break;
		case 1: case 2:
			host_sends_answer(&input);
			break;
		case 3:
			host_sends_anything(&input);
			break;
		case 4: case 5: case 6:
			port_uses_channel(&input);
			break;
		default:
			port_does(&input);
		}
		FUZZ_CHECK(!vmbus_client_check(&port.client));
	}
	port.posted_count = port.read_count = 0;
	port.post_error = 0;
	vmbus_client_retry(&port.client); /* an unload may wait */
	waits.unload = true;
	port_fini(&port);
	return 0;
}
