/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#include "tests/loopback/netvsc_pair.h"

const uint8_t pair_mac[NET_MAC_BYTES] = { 0x00, 0x15, 0x5d, 0x01, 0x02, 0x03 };

/* ---- the host ---- */

static void on_call(struct io_call *call)
{
	struct pair *pair = (struct pair *)((char *)call - offsetof(struct pair, call));

	pair->called++;
}

void pair_turn_host(struct pair *pair)
{
	for (int i = 0; i < 4; i++) {
		io_loop_turn(pair->loops[0], false);
		io_loop_turn(pair->loops[1], false);
	}
}

static void turn(void *arg)
{
	pair_turn_host(arg);
}

static void create_host(struct pair *pair)
{
	const struct pair_config *config = &pair->config;
	struct vmbus_host_config host_config = { .loop = pair->loops[0] };
	struct netvsp_config card = {
		.name = "nic0", .instance_id = netvsp_instance_id(pair_mac),
		.channels_max = config->channels_max ? config->channels_max : PAIR_LANES,
		.bus_loop = pair->loops[0], .loop = pair->loops[1], .port = &pair->port.base,
		.version_max = config->host_version,
	};

	assert_int_equal(loopback_create(&(struct loopback_config){ 2, 48u << 20 },
					 &pair->partition), 0);
	host_config.partition = pair->partition;
	assert_int_equal(vmbus_host_create(&host_config, &pair->host), 0);
	memory_port_init(&pair->port, config->can_send, config->can_receive,
			 config->mtu_max ? config->mtu_max : 65521);
	memcpy(card.mac, pair_mac, sizeof(card.mac));
	assert_int_equal(netvsp_create(pair->host, &card, &pair->netvsp), 0);
}

/* ---- the guest's port ---- */

static void *port_alloc(void *port, size_t bytes)
{
	struct pair *pair = port;

	pair->allocations++;
	return malloc(bytes);
}

static void port_release(void *port, void *memory)
{
	struct pair *pair = port;

	pair->allocations--;
	free(memory);
}

static void *pages(struct pair *pair, uint32_t count, struct gpa *out_gpa)
{
	void *memory = loopback_guest_alloc_pages(pair->guest.lo, count, false, out_gpa);

	assert_non_null(memory);
	return memory;
}

static void keep_frame(struct pair *pair, uint32_t lane, const struct netvsc_frame *frame)
{
	struct pair_frame *copy = malloc(sizeof(*copy) + frame->bytes);
	uint32_t bytes = 0;

	assert_non_null(copy);
	assert_in_range(frame->bytes, NETVSC_ETHERNET_BYTES, NETVSC_FRAME_BYTES_MAX);
	for (uint32_t i = 0; i < frame->part_count; i++) {
		assert_in_range(bytes + frame->parts[i].bytes, 1, frame->bytes);
		memcpy(copy->data + bytes, frame->parts[i].data, frame->parts[i].bytes);
		bytes += frame->parts[i].bytes;
	}
	assert_int_equal(bytes, frame->bytes);
	copy->next = NULL;
	copy->lane = lane;
	copy->info = *frame;
	copy->info.parts = NULL;
	*pair->received_end = copy;
	pair->received_end = &copy->next;
	pair->received_count++;
}

struct pair_frame *pair_received(struct pair *pair)
{
	struct pair_frame *frame = pair->received;

	if (!frame)
		return NULL;
	pair->received = frame->next;
	if (!pair->received)
		pair->received_end = &pair->received;
	pair->received_count--;
	return frame;
}

static void count_ended(struct pair *pair, const struct netvsc_ended *ended)
{
	pair->ended.frames += ended->frames;
	pair->ended.bytes += ended->bytes;
	pair->ended.failed += ended->failed;
	for (struct netvsc_request *request = ended->requests; request;) {
		struct netvsc_request *next = request->next;

		pair->ended_requests++;
		free(request);
		request = next;
	}
}

static void signal_host(struct pair *pair, struct lane *lane)
{
	pair->signals++;
	mini_signal(&lane->mini);
}

static void turn_lane(struct pair *pair, uint32_t index)
{
	struct lane *lane = &pair->lanes[index];
	struct netvsc_frame frame;
	struct netvsc_ended ended;
	uint32_t events;

	loopback_guest_take_flag(pair->guest.lo, pair->guest.vp, lane->mini.offer.channel_id);
	do {
		netvsc_channel_mask(&lane->netvsc);
		do {
			for (int i = 0; i < 5 && netvsc_channel_next(&lane->netvsc, &frame); i++)
				keep_frame(pair, index, &frame);
			events = netvsc_channel_settle(&lane->netvsc, pair->now_ns);
			ended = netvsc_take_ended(&lane->netvsc);
			assert_true(!(events & NETVSC_EVENT_ENDED) == !ended.frames);
			count_ended(pair, &ended);
			if (events & NETVSC_EVENT_SIGNAL)
				signal_host(pair, lane);
			pair->events |= events & ~(NETVSC_EVENT_SIGNAL | NETVSC_EVENT_MORE |
						   NETVSC_EVENT_ENDED | NETVSC_EVENT_LATE);
		} while (events & NETVSC_EVENT_MORE);
	} while (netvsc_channel_unmask(&lane->netvsc));
}

void pair_turn_guest(struct pair *pair)
{
	for (uint32_t i = 0; i < PAIR_LANES && !pair->hold; i++) {
		struct lane *lane = &pair->lanes[i];

		if (!lane->open)
			continue;
		if (netvsc_channel_flush(&lane->netvsc))
			signal_host(pair, lane);
		turn_lane(pair, i);
	}
}

void pair_settle(struct pair *pair)
{
	for (int i = 0; i < 20; i++) {
		pair_turn_host(pair);
		pair_turn_guest(pair);
	}
	if (pair->port.problem)
		fail_msg("the VSP breaks a rule of its port: %s", pair->port.problem);
}

uint32_t pair_events(struct pair *pair)
{
	uint32_t events;

	pair_settle(pair);
	events = pair->events;
	pair->events = 0;
	return events;
}

int pair_control(struct pair *pair, int begun)
{
	assert_int_equal(begun, 0);
	for (int i = 0; i < 100 && !(pair->events & NETVSC_EVENT_CONTROL); i++)
		pair_settle(pair);
	assert_true(pair->events & NETVSC_EVENT_CONTROL);
	pair->events &= ~NETVSC_EVENT_CONTROL;
	return pair->netvsc.control.error;
}

/* ---- channels ---- */

struct lane *pair_open_lane(struct pair *pair, uint32_t index)
{
	const struct pair_config *config = &pair->config;
	const struct guid id = netvsp_instance_id(pair_mac);
	const struct vmbus_msg_offer_channel *offer;
	struct lane *lane = &pair->lanes[index];
	struct netvsc_channel_config channel = {
		.to_host = &lane->mini.to_host, .from_host = &lane->mini.from_host,
		.index = index, .queue_depth = config->queue_depth ? config->queue_depth : 64,
		.head_pages = config->head_pages ? config->head_pages : 2,
		.late_max = 4,
	};

	offer = mini_find_offer(&pair->guest, &id, (uint16_t)index);
	assert_non_null(offer);
	assert_false(lane->open);
	lane->heads = pages(pair, channel.head_pages, &lane->heads_gpa);
	lane->head_pfns = malloc(channel.head_pages * sizeof(uint64_t));
	assert_non_null(lane->head_pfns);
	for (uint32_t i = 0; i < channel.head_pages; i++)
		lane->head_pfns[i] = (lane->heads_gpa.value >> HV_PAGE_SHIFT) + i;
	channel.heads = lane->heads;
	channel.head_pfns = lane->head_pfns;
	assert_int_equal(mini_open(&pair->guest, offer,
				   config->ring_pages ? config->ring_pages : 17, &lane->mini), 0);
	assert_int_equal(netvsc_channel_open(&pair->netvsc, &lane->netvsc, &channel), 0);
	lane->open = true;
	return lane;
}

void pair_close_lane(struct pair *pair, uint32_t index)
{
	struct lane *lane = &pair->lanes[index];
	struct netvsc_ended ended = { 0 };

	if (!lane->open)
		return;
	lane->open = false;
	netvsc_channel_stop(&lane->netvsc);
	assert_int_equal(mini_close(&lane->mini), 0);
	ended.requests = netvsc_channel_close(&lane->netvsc);
	count_ended(pair, &ended);
	loopback_guest_free_pages(pair->guest.lo, lane->heads_gpa,
				  pair->config.head_pages ? pair->config.head_pages : 2);
	free(lane->head_pfns);
}

void pair_open(struct pair *pair)
{
	struct netvsc_config *config = &pair->config.guest;

	config->name = "test";
	config->alloc = port_alloc;
	config->release = port_release;
	config->port = pair;
	config->control_page = pair->control;
	config->control_pfn = pair->control_gpa.value >> HV_PAGE_SHIFT;
	if (!config->control_timeout_ns)
		config->control_timeout_ns = PAIR_TIMEOUT_NS;
	pair->events = 0;
	assert_int_equal(netvsc_init(&pair->netvsc, config), 0);
	pair_open_lane(pair, 0);
	assert_int_equal(netvsc_start(&pair->netvsc, pair->now_ns), 0);
}

static uint32_t share(struct pair *pair, struct gpa gpa, uint32_t bytes)
{
	uint32_t id;

	assert_int_equal(mini_gpadl(&pair->guest, pair->lanes[0].mini.offer.channel_id, gpa,
				    bytes / HV_PAGE_BYTES, &id), 0);
	return id;
}

void pair_share(struct pair *pair)
{
	pair->receive.gpadl_id = share(pair, pair->receive_gpa, pair->receive.bytes);
	pair->send.gpadl_id = share(pair, pair->send_gpa, pair->send.bytes);
	assert_int_equal(netvsc_set_buffers(&pair->netvsc, &pair->receive, &pair->send,
					    pair->now_ns), 0);
}

static void set_rss(struct pair *pair, uint32_t channels)
{
	struct netvsc_rss rss = {
		.enabled = true, .table_count = NDIS_RSS_TABLE_COUNT,
		.hash_types = NDIS_HASH_IPV4 | NDIS_HASH_TCP_IPV4 | NDIS_HASH_IPV6 | NDIS_HASH_TCP_IPV6,
	};

	for (uint32_t i = 0; i < NDIS_RSS_TABLE_COUNT; i++)
		rss.table[i] = (uint8_t)(i % channels);
	for (uint32_t i = 0; i < NDIS_RSS_KEY_BYTES; i++)
		rss.key[i] = (uint8_t)(i * 7 + 1);
	assert_int_equal(pair_control(pair, netvsc_set_rss(&pair->netvsc, &rss, pair->now_ns)), 0);
}

void pair_ready(struct pair *pair, uint32_t subs)
{
	pair_open(pair);
	assert_int_equal(pair_events(pair), NETVSC_EVENT_BUFFERS);
	pair_share(pair);
	assert_int_equal(pair_events(pair) & ~NETVSC_EVENT_LINK, NETVSC_EVENT_READY);
	assert_int_equal(pair_control(pair, netvsc_set_filter(&pair->netvsc, PAIR_FILTER,
							      pair->now_ns)), 0);
	if (!subs)
		return;
	assert_int_equal(pair_control(pair, netvsc_ask_sub_channels(&pair->netvsc, subs,
								    pair->now_ns)), 0);
	assert_int_equal(pair->netvsc.sub_channels, subs);
	pair_settle(pair);
	mini_drain(&pair->guest);
	for (uint32_t i = 1; i <= subs; i++)
		pair_open_lane(pair, i);
	set_rss(pair, 1 + subs);
	pair->events = 0;
}

void pair_leave(struct pair *pair)
{
	uint32_t primary = pair->lanes[0].mini.offer.channel_id;

	if (pair->netvsc.state == NETVSC_READY && !pair->netvsc.control.busy) {
		pair_control(pair, netvsc_set_filter(&pair->netvsc, 0, pair->now_ns));
		pair_control(pair, netvsc_halt(&pair->netvsc, pair->now_ns));
	}
	netvsc_revoke(&pair->netvsc);
	pair_settle(pair);
	for (uint32_t i = PAIR_LANES; i-- > 0;)
		pair_close_lane(pair, i);
	if (pair->receive.gpadl_id) {
		assert_int_equal(mini_gpadl_teardown(&pair->guest, primary,
						     pair->receive.gpadl_id), 0);
		assert_int_equal(mini_gpadl_teardown(&pair->guest, primary, pair->send.gpadl_id), 0);
	}
	pair->receive.gpadl_id = 0;
	pair_turn_host(pair);
	mini_release_rescinded(&pair->guest);
	netvsc_fini(&pair->netvsc);
	assert_int_equal(pair->allocations, 0);
}

/* ---- begin and end ---- */

struct pair *pair_begin(const struct pair_config *config)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	pair->config = *config;
	pair->call.fn = on_call;
	pair->now_ns = 1;
	pair->received_end = &pair->received;
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &pair->loops[i]), 0);
	create_host(pair);
	assert_int_equal(loopback_guest_attach(pair->partition, &pair->guest.lo), 0);
	pair->guest.pump = turn;
	pair->guest.pump_arg = pair;
	pair->receive.bytes = (config->receive_pages ? config->receive_pages : 1024) * HV_PAGE_BYTES;
	pair->send.bytes = (config->send_pages ? config->send_pages : 64) * HV_PAGE_BYTES;
	pair->control = pages(pair, 1, &pair->control_gpa);
	pair->data = pages(pair, PAIR_DATA_PAGES, &pair->data_gpa);
	pair->receive.memory = pages(pair, pair->receive.bytes / HV_PAGE_BYTES, &pair->receive_gpa);
	pair->send.memory = pages(pair, pair->send.bytes / HV_PAGE_BYTES, &pair->send_gpa);
	assert_int_equal(mini_connect(&pair->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&pair->guest), 0);
	return pair;
}

void pair_end(struct pair *pair)
{
	pair->hold = false;
	if (pair->lanes[0].open)
		pair_leave(pair);
	netvsc_fini(&pair->netvsc);
	while (pair->received)
		free(pair_received(pair));
	if (pair->netvsp)
		netvsp_destroy(pair->netvsp, &pair->call);
	for (int i = 0; i < 1000 && !pair->called; i++)
		pair_turn_host(pair);
	assert_int_equal(pair->called, 1);
	loopback_guest_detach(pair->guest.lo);
	vmbus_host_destroy(pair->host);
	loopback_destroy(pair->partition);
	memory_port_fini(&pair->port);
	for (int i = 0; i < 2; i++)
		io_loop_destroy(pair->loops[i]);
	free(pair);
}

int pair_setup(void **state)
{
	*state = pair_begin(&(struct pair_config){ .can_receive = NET_CAN_CHECKSUM });
	return 0;
}

int pair_teardown(void **state)
{
	pair_end(*state);
	return 0;
}

struct pair *pair_again(void **state, const struct pair_config *config)
{
	pair_end(*state);
	*state = pair_begin(config);
	return *state;
}

/* ---- frames ---- */

struct netvsc_packet pair_describe(struct pair *pair, struct netvsc_piece *pieces, uint32_t offset,
				   uint32_t bytes, uint32_t piece_bytes)
{
	struct netvsc_packet packet = { .pieces = pieces, .bytes = bytes };

	while (bytes) {
		struct netvsc_piece *piece = &pieces[packet.piece_count++];

		assert_in_range(packet.piece_count, 1, NETVSC_PIECES_MAX);
		piece->data = pair->data + offset;
		piece->pfn = (pair->data_gpa.value + offset) >> HV_PAGE_SHIFT;
		piece->bytes = bytes < piece_bytes ? bytes : piece_bytes;
		offset += piece->bytes;
		bytes -= piece->bytes;
	}
	return packet;
}

void pair_fill(uint8_t *data, uint32_t bytes, uint32_t seed)
{
	static uint8_t pattern[NETVSC_FRAME_BYTES_MAX + 4096];
	static const uint8_t head[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 8, 0x88, 0xb5 };

	if (!pattern[1])
		for (uint32_t i = 0; i < sizeof(pattern); i++)
			pattern[i] = (uint8_t)(net_test_pattern(1, i) | (i == 1));
	memcpy(data, pattern + seed % 4096, bytes);
	memcpy(data, head, bytes < sizeof(head) ? bytes : sizeof(head));
}

void pair_send(struct pair *pair, uint32_t lane, const struct netvsc_packet *packet)
{
	struct netvsc_request *request = malloc(sizeof(*request));
	uint32_t frames = pair->ended.frames, requests = pair->ended_requests;
	bool done;

	assert_non_null(request);
	assert_int_equal(netvsc_send(&pair->lanes[lane].netvsc, packet, request, &done), 0);
	if (done)
		free(request);
	for (int i = 0; i < 100 && pair->ended.frames == frames; i++)
		pair_settle(pair);
	assert_int_equal(pair->ended.frames, frames + 1);
	assert_int_equal(pair->ended_requests, requests + !done);
}

struct memory_frame *pair_took(struct pair *pair)
{
	struct memory_frame *frame = memory_port_take(&pair->port);

	assert_non_null(frame);
	return frame;
}
