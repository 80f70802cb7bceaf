/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A network card with everything around it, for tests. */
#include "tests/loopback/netvsp_world.h"

const uint8_t world_mac[6] = { 0x02, 0x00, 0x00, 0x00, 0x00, 0x01 };

const uint8_t world_key[NDIS_RSS_KEY_BYTES] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static void pump(void *arg)
{
	struct world *world = arg;

	for (int i = 0; i < 4; i++) {
		io_loop_turn(world->bus_loop, false);
		io_loop_turn(world->loop, false);
	}
}

static void on_call(struct io_call *call)
{
	struct world *world = (struct world *)((char *)call - offsetof(struct world, call));

	world->called++;
}

static uint64_t simulated_ns(void *clock)
{
	return *(const uint64_t *)clock;
}

void world_create_card(struct world *world)
{
	struct netvsp_config config = {
		.name = "nic0",
		.instance_id = netvsp_instance_id(world_mac),
		.channels_max = world->config.channels_max,
		.bus_loop = world->bus_loop,
		.loop = world->loop,
		.port = &world->port.base,
		.version_max = world->config.version_max,
		.mtu_max = world->config.card_mtu_max,
		.guest_shares_cpu = world->config.guest_shares_cpu,
	};

	memcpy(config.mac, world_mac, sizeof(world_mac));
	assert_int_equal(netvsp_create(world->host, &config, &world->netvsp), 0);
	world->guest.instance_id = config.instance_id;
}

void world_begin(void **state, const struct world_config *config)
{
	struct world *world = calloc(1, sizeof(*world));
	struct vmbus_host_config host_config = { 0 };
	struct loopback_config loopback = { 2, 160u << 20 };
	struct io_loop_config simulated = { .now_ns = simulated_ns, .clock = &world->now_ns };
	const struct io_loop_config *loops = config->simulated ? &simulated : NULL;

	assert_non_null(world);
	*state = world;
	world->config = *config;
	world->now_ns = 1000000000;
	world->call.fn = on_call;
	assert_int_equal(io_loop_create(loops, &world->bus_loop), 0);
	assert_int_equal(io_loop_create(loops, &world->loop), 0);
	assert_int_equal(loopback_create(&loopback, &world->partition), 0);
	host_config.partition = world->partition;
	host_config.loop = world->bus_loop;
	assert_int_equal(vmbus_host_create(&host_config, &world->host), 0);
	memory_port_init(&world->port, config->can_send, config->can_receive,
			 config->mtu_max ? config->mtu_max : 65521);
	world_create_card(world);
	assert_int_equal(loopback_guest_attach(world->partition, &world->guest.mini.lo), 0);
	world->guest.mini.pump = pump;
	world->guest.mini.pump_arg = world;
	world->guest.ring_pages = config->ring_pages ? config->ring_pages : 17;
	world->guest.message_bytes = NVSP_MESSAGE_BYTES_6_1;
	assert_int_equal(mini_connect(&world->guest.mini, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&world->guest.mini), 0);
}

int world_setup(void **state)
{
	static const struct world_config config = { .can_send = NET_CAN_ALL,
						    .can_receive = NET_CAN_ALL };

	world_begin(state, &config);
	return 0;
}

void world_destroy_card(struct world *world)
{
	if (!world->netvsp)
		return;
	netvsp_destroy(world->netvsp, &world->call);
	for (int i = 0; i < 1000 && !world->called; i++)
		pump(world);
	assert_int_equal(world->called, 1);
	world->called = 0;
	world->netvsp = NULL;
	assert_false(world->port.started);
}

int world_teardown(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_destroy_card(world);
	for (uint32_t i = NETVSP_GUEST_CHANNELS; i-- > 0;)
		netvsp_guest_close(guest, i);
	netvsp_guest_drop(guest);
	free(guest->sub_holder);
	netvsp_guest_free(guest, &guest->receive);
	netvsp_guest_free(guest, &guest->send);
	netvsp_guest_free(guest, &guest->data);
	netvsp_guest_free(guest, &guest->control);
	loopback_guest_detach(guest->mini.lo);
	vmbus_host_destroy(world->host);
	loopback_destroy(world->partition);
	memory_port_fini(&world->port);
	io_loop_destroy(world->loop);
	io_loop_destroy(world->bus_loop);
	free(world);
	return 0;
}

struct world *world_again(void **state, const struct world_config *config)
{
	world_teardown(state);
	world_begin(state, config);
	return *state;
}

/* ---- steps ---- */

void world_check(struct world *world)
{
	if (world->guest.problem)
		fail_msg("the guest saw %s", world->guest.problem);
	if (world->port.problem)
		fail_msg("the port saw %s", world->port.problem);
}

void world_settle(struct world *world)
{
	netvsp_guest_settle(&world->guest);
	world_check(world);
}

void world_open(struct world *world)
{
	const struct world_config *config = &world->config;
	struct netvsp_guest *guest = &world->guest;
	uint32_t version = config->version ? config->version : NVSP_VERSION_6_1;

	assert_int_equal(netvsp_guest_open(guest, 0), 0);
	assert_int_equal(netvsp_guest_version(guest, version), 0);
	if (config->mtu_bytes || config->capabilities)
		assert_int_equal(netvsp_guest_config(guest, config->mtu_bytes,
						     config->capabilities), 0);
}

void world_share(struct world *world)
{
	const struct world_config *config = &world->config;
	struct netvsp_guest *guest = &world->guest;
	uint32_t receive = config->receive_pages ? config->receive_pages : 1024;
	uint32_t send = config->send_pages ? config->send_pages : 64;

	if (!guest->receive.pages) {
		assert_int_equal(netvsp_guest_alloc(guest, receive, &guest->receive), 0);
		assert_int_equal(netvsp_guest_alloc(guest, send, &guest->send), 0);
	}
	assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, receive * HV_PAGE_BYTES), 0);
	assert_int_equal(netvsp_guest_share(guest, &guest->send, 0, send * HV_PAGE_BYTES), 0);
	assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
	assert_int_equal(netvsp_guest_give_send(guest, guest->send.gpadl_id), 0);
}

uint32_t world_set_rss(struct world *world, uint32_t types, uint16_t flags, uint32_t first,
		       uint32_t count)
{
	struct {
		struct ndis_rss_parameters head;
		uint32_t table[NDIS_RSS_TABLE_COUNT];
		uint8_t key[NDIS_RSS_KEY_BYTES];
	} wish = { .head = {
		.object = { NDIS_OBJECT_RSS_PARAMETERS, 2, sizeof(wish.head) },
		.flags = flags, .hash_info = NDIS_HASH_TOEPLITZ | types,
		.table_bytes = sizeof(wish.table), .table_offset = offsetof(__typeof__(wish), table),
		.key_bytes = sizeof(wish.key), .key_offset = offsetof(__typeof__(wish), key),
	} };

	memcpy(wish.key, world_key, sizeof(wish.key));
	for (uint32_t i = 0; i < NDIS_RSS_TABLE_COUNT; i++)
		wish.table[i] = world_channel_of(i, first, count);
	return netvsp_guest_set(&world->guest, OID_GEN_RECEIVE_SCALE_PARAMETERS, &wish, sizeof(wish));
}

uint32_t world_channel_of(uint32_t hash, uint32_t first, uint32_t count)
{
	uint32_t place = hash % NDIS_RSS_TABLE_COUNT;

	return first + (place * 5 + place / 9) % count;
}

void world_set_filter(struct world *world, uint32_t filter)
{
	assert_int_equal(netvsp_guest_set(&world->guest, OID_GEN_CURRENT_PACKET_FILTER, &filter,
					  sizeof(filter)), RNDIS_STATUS_SUCCESS);
}

void world_ready(struct world *world, uint32_t filter)
{
	world_open(world);
	world_share(world);
	assert_int_equal(netvsp_guest_initialize(&world->guest), 0);
	world_set_filter(world, filter);
	world_settle(world);
}

void world_channels(struct world *world, uint32_t count)
{
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, count), count);
	world_settle(world);
	for (uint32_t i = 1; i <= count; i++)
		assert_int_equal(netvsp_guest_open(&world->guest, i), 0);
	world_settle(world);
}

void world_carries(struct world *world)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, 1, 2, 3 };
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
	struct netvsp_guest_frame *came;
	struct memory_frame *sent;

	memory_port_drop(&world->port);
	assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
	sent = memory_port_take(&world->port);
	assert_non_null(sent);
	assert_int_equal(sent->bytes, sizeof(frame));
	assert_memory_equal(sent->data, frame, sizeof(frame));
	free(sent);
	came = world_receives(world, frame, sizeof(frame), NULL);
	assert_int_equal(came->bytes, sizeof(frame));
	assert_memory_equal(came->data, frame, sizeof(frame));
	free(came);
}

void world_is_alive(struct world *world)
{
	uint32_t value = 0, bytes = sizeof(value);

	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_MEDIA_CONNECT_STATUS, &value, &bytes),
			 RNDIS_STATUS_SUCCESS);
	world_settle(world);
}

void world_is_broken(struct world *world)
{
	struct netvsp_guest *guest = &world->guest;

	world_settle(world);
	assert_int_equal(netvsp_status(world->netvsp).channels_open, 0);
	assert_int_equal(netvsp_status(world->netvsp).version, 0);
	for (uint32_t i = NETVSP_GUEST_CHANNELS; i-- > 0;)
		netvsp_guest_close(guest, i);
	netvsp_guest_drop(guest);
	netvsp_guest_forget_held(guest);
}

struct netvsp_guest_frame *world_receives(struct world *world, const uint8_t *data, uint32_t bytes,
					  const struct net_offload *offload)
{
	struct netvsp_guest_frame *frame;

	memory_port_queue(&world->port, data, bytes, offload);
	world_settle(world);
	assert_int_equal(world->guest.frame_count, 1);
	frame = netvsp_guest_take_frame(&world->guest);
	assert_non_null(frame);
	return frame;
}

uint32_t world_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

void world_queue_numbered(struct world *world, uint32_t number, uint32_t bytes)
{
	uint8_t data[1514];

	memset(data, (int)number, bytes);
	memcpy(data, world_mac, sizeof(world_mac));
	memcpy(data + 14, &number, sizeof(number));
	memory_port_queue(&world->port, data, bytes, NULL);
}

void world_take_numbered(struct world *world, uint32_t *next, uint32_t end)
{
	while (world->guest.frames) {
		struct netvsp_guest_frame *came = netvsp_guest_take_frame(&world->guest);
		uint32_t number;

		memcpy(&number, came->data + 14, sizeof(number));
		assert_int_equal(number, *next);
		assert_true(number < end);
		for (uint32_t i = 18; i < came->bytes; i++)
			assert_int_equal(came->data[i], (uint8_t)number);
		++*next;
		free(came);
	}
}

void world_runs(struct world *world)
{
	for (int i = 0; i < 20; i++)
		world->guest.mini.pump(world->guest.mini.pump_arg);
}
