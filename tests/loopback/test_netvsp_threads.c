/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network VSP with its loops on threads of their own, and a port that sends back what it gets. The
 * guest sends on all its channels and waits for interrupts; the rings and the receive buffer are small,
 * so that all wait for each other again and again. Nobody is woken by luck: whoever sleeps when it should
 * not sleeps for good, and the test ends. Meant for TSan, too.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "network/capture.h"
#include "tests/loopback/netvsp_world.h"

#define FRAMES 30000u
#define WINDOW 200u
#define FRAME_MAX 1514u

struct traffic {
	struct world *world;
	uint32_t channels;
	uint32_t sent, answered, came;
	bool busy[NETVSP_GUEST_SLOTS]; /* a frame lies there, and is not answered */
	uint32_t seed;
	bool go_on;              /* until told to stop */
	_Atomic bool stop;
	const char *problem;
};

static void yield(void *arg)
{
	sched_yield();
}

/* ---- the guest ---- */

static int send_next(struct traffic *t)
{
	struct net_test_frame frame = {
		.ip_version = 4, .protocol = NET_TEST_UDP, .host = t->sent, .seed = t->sent,
		.source_port = (uint16_t)t->sent, .payload_bytes = 20 + world_random(&t->seed) % 1400,
	};
	uint8_t data[FRAME_MAX + 100], message[FRAME_MAX + 300];
	struct net_test_layout layout = net_test_build(&frame, data);
	struct netvsp_guest_out out = { .data = data, .bytes = layout.bytes };
	uint32_t bytes = netvsp_guest_message(&out, message), slot = t->sent % NETVSP_GUEST_SLOTS;
	struct netvsp_guest_way way = { .section = slot, .section_bytes = bytes };

	if (t->sent & 1)
		way = (struct netvsp_guest_way){ .section = NVSP_SECTION_NONE, .ranges = 2,
						 .seed = t->sent };
	return netvsp_guest_send(&t->world->guest, t->sent % t->channels, slot, message, bytes, &way);
}

static void note(struct traffic *t, bool holds, const char *problem)
{
	if (!holds && !t->problem)
		t->problem = problem;
}

static void take_all(struct traffic *t)
{
	struct netvsp_guest *guest = &t->world->guest;

	while (guest->completions) {
		struct netvsp_guest_completion *completion = guest->completions;

		note(t, completion->message.rndis_packet_complete.status == NVSP_STATUS_SUCCESS,
		     "a frame was refused");
		guest->completions = completion->next;
		t->busy[completion->id % NETVSP_GUEST_SLOTS] = false;
		free(completion);
		t->answered++;
	}
	while (guest->frames) {
		struct netvsp_guest_frame *frame = netvsp_guest_take_frame(guest);

		note(t, !net_test_check(frame->data, frame->bytes), "a frame is not as it was");
		free(frame);
		t->came++;
	}
}

static bool may_send(const struct traffic *t)
{
	bool more = t->go_on ? !atomic_load(&t->stop) : t->sent < FRAMES;

	return more && !t->busy[t->sent % NETVSP_GUEST_SLOTS] && t->sent - t->came < WINDOW;
}

static void *run_guest(void *arg)
{
	struct traffic *t = arg;
	struct netvsp_guest *guest = &t->world->guest;

	while (!t->problem && (t->go_on ? !atomic_load(&t->stop) : t->came < FRAMES)) {
		bool any = false;

		while (may_send(t) && send_next(t) == 0) {
			t->busy[t->sent++ % NETVSP_GUEST_SLOTS] = true;
			any = true;
			if (world_random(&t->seed) % 16 == 0)
				break;
		}
		guest->keep = world_random(&t->seed) % 4 == 0;
		any |= netvsp_guest_poll(guest) > 0;
		if (world_random(&t->seed) % 4 == 0 || !any)
			netvsp_guest_give_back(guest, UINT32_MAX);
		take_all(t);
		note(t, !guest->problem, guest->problem);
		if (world_random(&t->seed) % 512 == 0)
			usleep(200);
		if (any || t->go_on || guest->unsent)
			continue;
		/* Whatever comes now comes with an interrupt. */
		if (t->came < FRAMES && loopback_guest_wait(guest->mini.lo, 0, MINI_WAIT_MS))
			note(t, netvsp_guest_poll(guest) == 0, "something came without an interrupt"),
			note(t, false, "the host sleeps, and there is work");
		loopback_guest_take_flags(guest->mini.lo, 0, (uint64_t[LOOPBACK_FLAG_WORDS]){ 0 });
	}
	return NULL;
}

/* ---- frame ---- */

static void begin(void **state, struct traffic *t, const struct world_config *config)
{
	struct world *world;

	world_begin(state, config);
	world = *state;
	world->port.echo = true;
	t->world = world;
	t->channels = config->channels_max;
	t->seed = config->receive_pages;
	world->guest.mini.pump = yield;
	assert_int_equal(io_loop_start(world->bus_loop), 0);
	assert_int_equal(io_loop_start(world->loop), 0);
	world_ready(world, NDIS_FILTER_PROMISCUOUS);
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, t->channels - 1), t->channels - 1);
	for (uint32_t i = 1; i < t->channels; i++) {
		int err = -LIS_NOTFOUND;

		for (uint32_t tries = 0; tries < 5000 && err == -LIS_NOTFOUND; tries++) {
			err = netvsp_guest_open(&world->guest, i);
			if (err)
				usleep(1000);
		}
		assert_int_equal(err, 0);
	}
	assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, 0, 0, t->channels), 0);
}

static void destroy(void *arg)
{
	struct world *world = arg;

	netvsp_destroy(world->netvsp, &world->call);
}

/* The card goes; then all else. */
static void end(void **state, struct traffic *traffic, pthread_t *thread)
{
	struct world *world = *state;

	io_loop_call_wait(world->bus_loop, destroy, world);
	for (uint32_t i = 0; i < 10000 && !atomic_load(&world->called); i++)
		usleep(500);
	assert_int_equal(atomic_load(&world->called), 1);
	world->netvsp = NULL;
	if (thread) {
		atomic_store(&traffic->stop, true);
		assert_int_equal(pthread_join(*thread, NULL), 0);
	}
	if (traffic->problem)
		fail_msg("%s; %u sent, %u answered, %u came", traffic->problem, traffic->sent,
			 traffic->answered, traffic->came);
	for (uint32_t i = NETVSP_GUEST_CHANNELS; i-- > 0;)
		netvsp_guest_close(&world->guest, i);
	io_loop_join(world->loop);
	io_loop_join(world->bus_loop);
	if (world->port.problem)
		fail_msg("the port saw %s", world->port.problem);
	world_teardown(state);
}

static void whoever_waits_is_woken(void **state)
{
	static const struct world_config configs[] = {
		{ .ring_pages = 2, .receive_pages = 4, .channels_max = 1 },
		{ .ring_pages = 2, .receive_pages = 64, .channels_max = 1 },
		{ .ring_pages = 2, .receive_pages = 8, .channels_max = 3 },
		{ .ring_pages = 9, .receive_pages = 16, .channels_max = 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
		struct traffic traffic = { 0 };
		pthread_t thread;

		begin(state, &traffic, &configs[i]);
		assert_int_equal(pthread_create(&thread, NULL, run_guest, &traffic), 0);
		for (uint32_t n = 0; n < 200; n++) {
			struct netvsp_status status;

			netvsp_set_speed(traffic.world->netvsp, n & 1 ? 1000000000 : 2500000000);
			usleep(300);
			status = netvsp_status(traffic.world->netvsp);
			assert_true(status.packets_received <= status.packets_sent);
		}
		assert_int_equal(pthread_join(thread, NULL), 0);
		end(state, &traffic, NULL);
		assert_int_equal(traffic.came, FRAMES);
	}
}

static void a_card_goes_under_load(void **state)
{
	const struct world_config config = { .ring_pages = 3, .receive_pages = 8, .channels_max = 3 };

	for (uint32_t i = 0; i < 20; i++) {
		struct traffic traffic = { .go_on = true };
		pthread_t thread;

		begin(state, &traffic, &config);
		assert_int_equal(pthread_create(&thread, NULL, run_guest, &traffic), 0);
		usleep(2000 + i * 500);
		end(state, &traffic, &thread);
	}
}

/* ---- captures ---- */

struct begun {
	struct world *world;
	struct net_capture_reader *reader;
	int fds[NETVSP_CAPTURE_FDS], err;
};

static void begin_capture(void *arg)
{
	struct begun *begun = arg;

	begun->err = netvsp_capture(begun->world->netvsp, NET_FRAME_BYTES_MAX, begun->fds);
}

static void listen_to(struct world *world, struct begun *begun)
{
	begun->world = world;
	/* Those that left are not quite gone yet. */
	for (uint32_t tries = 0; tries < 10000; tries++) {
		io_loop_call_wait(world->bus_loop, begin_capture, begun);
		if (begun->err != -LIS_FULL)
			break;
		usleep(500);
	}
	assert_int_equal(begun->err, 0);
	assert_int_equal(net_capture_reader_open(begun->fds[0], &begun->reader), 0);
}

static void hear(struct begun *begun, uint32_t frames)
{
	for (uint32_t idle = 0; frames && idle < 20000;) {
		struct net_capture_record record;
		const uint8_t *data;
		int err = net_capture_next(begun->reader, &record, &data);

		if (err == -LIS_EMPTY) {
			usleep(500);
			idle++;
			continue;
		}
		assert_int_equal(err, 0);
		assert_null(net_test_check(data, record.bytes));
		frames--;
	}
	assert_int_equal(frames, 0);
}

static void leave(struct begun *begun)
{
	close(begun->fds[1]);
	net_capture_reader_close(begun->reader);
}

static void captures_come_and_go_under_load(void **state)
{
	const struct world_config config = { .ring_pages = 3, .receive_pages = 8, .channels_max = 3 };
	struct traffic traffic = { .go_on = true };
	struct begun some[4], last;
	struct pollfd pollfd;
	uint32_t seed = 1;
	pthread_t thread;

	begin(state, &traffic, &config);
	assert_int_equal(pthread_create(&thread, NULL, run_guest, &traffic), 0);
	for (uint32_t i = 0; i < 40; i++) {
		struct net_address found[NET_ADDRESSES_MAX];

		if (i >= ARRAY_SIZE(some))
			leave(&some[i % ARRAY_SIZE(some)]);
		listen_to(traffic.world, &some[i % ARRAY_SIZE(some)]);
		hear(&some[world_random(&seed) % (i < 3 ? i + 1 : 4)], i);
		assert_true(netvsp_addresses(traffic.world->netvsp, found) <= NET_ADDRESSES_MAX);
	}
	/* One leaves, one stays, and the card goes. */
	listen_to(traffic.world, &last);
	for (uint32_t i = 0; i < ARRAY_SIZE(some); i++)
		leave(&some[i]);
	end(state, &traffic, &thread);
	pollfd = (struct pollfd){ .fd = last.fds[1], .events = POLLIN };
	assert_int_equal(poll(&pollfd, 1, 20000), 1);
	leave(&last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_waits_is_woken),
		cmocka_unit_test(a_card_goes_under_load),
		cmocka_unit_test(captures_come_and_go_under_load),
	};

	return cmocka_run_group_tests_name("netvsp threads", tests, NULL, NULL);
}
