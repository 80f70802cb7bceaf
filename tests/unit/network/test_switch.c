// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Ports of a switch among themselves, and with sockets in its folder that do what no port would:
 * die without a word, never read, send nonsense.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "network/backends/switch.h"
#include "network/backends/switch_format.h"
#include "tests/unit/network/port_world.h"
#include "tests/unit/network/slow_frame.h"

#define PORTS 3
#define STRANGER_ID 0x0123456789abcdefull

static struct {
	struct io_loop *loop;
	char directory[32], folder[48];
	struct net_port *ports[PORTS];
	struct port_user users[PORTS];
} world;

static struct port_user *const a = &world.users[0], *const b = &world.users[1],
			       *const c = &world.users[2];
static uint8_t frame[SLOW_FRAME_BYTES_MAX], datagram[SWITCH_DATAGRAM_BYTES_MAX + 1000];
static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* ---- the world ---- */

static int make_directory(void **state)
{
	strcpy(world.directory, "/tmp/lis-switch-XXXXXX");
	assert_non_null(mkdtemp(world.directory));
	snprintf(world.folder, sizeof(world.folder), "%s/switch-lan", world.directory);
	assert_int_equal(io_loop_create(NULL, &world.loop), 0);
	return 0;
}

static int remove_directory(void **state)
{
	io_loop_destroy(world.loop);
	return rmdir(world.directory);
}

static struct net_port *new_port(void)
{
	struct switch_config config = { .directory = world.directory, .name = "lan" };
	char error[NET_PORT_ERROR_BYTES] = "";
	struct net_port *port;

	if (switch_create(&config, &port, error))
		fail_msg("%s", error);
	return port;
}

static void begin(void)
{
	for (int i = 0; i < PORTS; i++) {
		world.ports[i] = new_port();
		user_start(&world.users[i], world.ports[i], world.loop);
	}
}

static void end(void)
{
	for (int i = 0; i < PORTS; i++) {
		user_stop(&world.users[i]);
		net_port_destroy(world.ports[i]);
	}
	/* Nobody is left, so nothing is. */
	assert_int_equal(access(world.folder, F_OK), -1);
}

static uint64_t received_drops(const struct port_user *user)
{
	return atomic_load(&user->port->counters.receive_dropped);
}

static uint64_t sent_drops(const struct port_user *user)
{
	return atomic_load(&user->port->counters.send_dropped);
}

/* ---- frames ---- */

static const uint8_t *mac_of(const struct port_user *user)
{
	static uint8_t macs[PORTS + 1][6] = { { 2, 0, 0, 0, 0, 0xa },
					      { 2, 0, 0, 0, 0, 0xb },
					      { 2, 0, 0, 0, 0, 0xc },
					      { 2, 0, 0, 0, 0, 0xd } };

	return macs[user ? user - world.users : PORTS];
}

static void make_plain(const uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	for (uint32_t i = 12; i < bytes; i++)
		frame[i] = (uint8_t)(i * 11 + (i >> 8) + bytes);
}

static void send_plain(struct port_user *from, const uint8_t *to, uint32_t bytes)
{
	make_plain(to, mac_of(from), bytes);
	assert_int_equal(user_send(from, frame, bytes, bytes / 5 + 1, NULL), 0);
}

static void expect_frame(struct port_user *user, uint32_t bytes)
{
	user_wait(user);
	assert_int_equal(user->bytes, bytes);
	assert_memory_equal(user->memory, frame, bytes);
}

static void expect_nothing(struct port_user *user)
{
	settle(world.loop);
	assert_int_equal(user_take(user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
}

/* Each has heard of all others. */
static void introduce(void)
{
	for (int i = 0; i < PORTS; i++) {
		send_plain(&world.users[i], broadcast, 60);
		for (int j = 0; j < PORTS; j++) {
			if (j != i)
				expect_frame(&world.users[j], 60);
		}
	}
}

/* ---- strangers ---- */

static struct sockaddr_un address_of(uint64_t id)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%016llx", world.folder,
		 (unsigned long long)id);
	return address;
}

/* A socket in the folder that is no port of ours. */
static int stranger(uint64_t id)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = address_of(id);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void bury(uint64_t id)
{
	unlink(address_of(id).sun_path);
}

static bool is_in_folder(uint64_t id)
{
	return access(address_of(id).sun_path, F_OK) == 0;
}

/* The name of a port's socket: the @number-th in the folder, but for the stranger's. */
static uint64_t port_id(int number)
{
	DIR *folder = opendir(world.folder);
	struct dirent *entry;
	uint64_t id = 0;

	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.' || strtoull(entry->d_name, NULL, 16) == STRANGER_ID)
			continue;
		id = strtoull(entry->d_name, NULL, 16);
		if (!number--)
			break;
	}
	closedir(folder);
	return id;
}

/* A datagram of one frame, to all ports. */
static void say_to_all(int fd, uint64_t from, const struct switch_frame_head *frame_head,
		       uint32_t bytes)
{
	struct switch_head head = { SWITCH_MAGIC, SWITCH_VERSION, 0, from };

	memcpy(datagram, &head, sizeof(head));
	memcpy(datagram + sizeof(head), frame_head, sizeof(*frame_head));
	memcpy(datagram + sizeof(head) + sizeof(*frame_head), frame, bytes);
	for (int i = 0; i < PORTS; i++) {
		struct sockaddr_un address = address_of(port_id(i));

		assert_true(sendto(fd, datagram, sizeof(head) + sizeof(*frame_head) + bytes, 0,
				   (struct sockaddr *)&address, sizeof(address)) > 0);
	}
}

/* ---- who gets what ---- */

static void frames_for_nobody_known_go_to_all_and_answers_to_one(void **state)
{
	char line[NET_PORT_LINE_BYTES];

	begin();
	send_plain(a, mac_of(b), 100); /* not known yet */
	expect_frame(b, 100);
	expect_frame(c, 100);
	send_plain(b, mac_of(a), 101);
	expect_frame(a, 101);
	expect_nothing(c);
	send_plain(a, mac_of(b), 102);
	expect_frame(b, 102);
	expect_nothing(c);
	send_plain(c, broadcast, 103);
	expect_frame(a, 103);
	expect_frame(b, 103);
	expect_nothing(c); /* not to oneself */
	make_plain((const uint8_t[]){ 0x01, 0, 0x5e, 0, 0, 1 }, mac_of(a), 104);
	assert_int_equal(user_send(a, frame, 104, 50, NULL), 0);
	expect_frame(b, 104);
	expect_frame(c, 104);
	a->port->ops->describe(a->port, line);
	assert_string_equal(line, "switch lan");
	end();
}

static void an_address_that_moves_is_followed(void **state)
{
	begin();
	introduce();
	make_plain(broadcast, mac_of(b), 60);
	assert_int_equal(user_send(c, frame, 60, 60, NULL), 0); /* b's address behind c */
	expect_frame(a, 60);
	expect_frame(b, 60);
	send_plain(a, mac_of(b), 99);
	expect_frame(c, 99);
	expect_nothing(b);
	end();
}

static void more_addresses_than_there_are_places_are_only_flooded(void **state)
{
	uint8_t mac[6] = { 2, 9 };

	begin();
	introduce();
	for (uint32_t i = 0; i < 5000; i++) {
		memcpy(mac + 2, &i, 4);
		make_plain(mac_of(a), mac, 60);
		assert_int_equal(user_send(b, frame, 60, 60, NULL), 0);
		expect_frame(a, 60);
	}
	/* The last one has a place. */
	send_plain(a, mac, 70);
	expect_frame(b, 70);
	expect_nothing(c);
	end();
}

static void an_address_long_not_seen_is_looked_for_everywhere(void **state)
{
	struct io_loop *real = world.loop;
	uint64_t now_ns;

	world.loop = simulated_loop(&now_ns);
	begin();
	introduce();
	now_ns += 299 * 1000000000ull;
	send_plain(a, mac_of(b), 80);
	expect_frame(b, 80);
	expect_nothing(c);
	now_ns += 2 * 1000000000ull;
	send_plain(a, mac_of(b), 81);
	expect_frame(b, 81);
	expect_frame(c, 81);
	end();
	io_loop_destroy(world.loop);
	world.loop = real;
}

static void frames_of_all_sizes_arrive_unchanged(void **state)
{
	static const uint32_t large[] = { 9014, 16384, 16385, 65535, NET_FRAME_BYTES_MAX };

	begin();
	introduce();
	for (uint32_t bytes = 14; bytes < 1600; bytes++) {
		send_plain(a, mac_of(b), bytes);
		expect_frame(b, bytes);
		assert_int_equal(b->offload.flags, 0);
	}
	for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++) {
		send_plain(b, mac_of(a), large[i]);
		expect_frame(a, large[i]);
	}
	assert_int_equal(user_send(a, frame, 13, 13, NULL), -LIS_INVALID);
	end();
}

static void a_frame_longer_than_the_room_is_dropped_and_counted(void **state)
{
	begin();
	introduce();
	send_plain(a, mac_of(b), 501);
	send_plain(a, mac_of(b), 500);
	settle(world.loop);
	assert_int_equal(user_take(b, 500), 0);
	assert_int_equal(b->bytes, 500);
	assert_int_equal(received_drops(b), 1);
	end();
}

static void small_frames_go_together_and_in_order(void **state)
{
	struct iovec iov = { frame, 100 };
	struct net_frame net_frame = { .iov = &iov, .iov_count = 1, .bytes = 100 };
	int fd, datagrams = 0;
	ssize_t bytes;

	begin();
	fd = stranger(STRANGER_ID);
	introduce();
	while (recv(fd, datagram, sizeof(datagram), 0) > 0)
		;
	make_plain(broadcast, mac_of(a), 20000);
	for (uint32_t i = 0; i < 1000; i++) {
		memcpy(frame + 12, &i, 4);
		/* A long one is between them. */
		net_frame.bytes = i == 500 ? 20000 : 100;
		iov.iov_len = net_frame.bytes;
		assert_int_equal(net_port_send(a->port, &net_frame), 0);
	}
	net_port_flush(a->port);
	for (uint32_t i = 0; i < 1000; i++) {
		user_wait(b);
		assert_int_equal(b->bytes, i == 500 ? 20000 : 100);
		assert_memory_equal(b->memory + 12, &i, 4);
	}
	while ((bytes = recv(fd, datagram, sizeof(datagram), 0)) > 0) {
		assert_true(bytes <= (ssize_t)SWITCH_DATAGRAM_BYTES_MAX);
		datagrams++;
	}
	assert_int_equal(datagrams, 3); /* 500 short ones, the long one, 499 short ones */
	assert_int_equal(sent_drops(a), 0);
	close(fd);
	bury(STRANGER_ID);
	end();
}

/* ---- offloads ---- */

static uint32_t make_flow(const struct slow_plan *plan, uint16_t segment_bytes,
			  struct net_offload *offload)
{
	uint32_t bytes = slow_build(plan, frame, segment_bytes, offload);

	memcpy(frame, mac_of(b), 6);
	memcpy(frame + 6, mac_of(a), 6);
	return bytes;
}

static void expect_same_offload(const struct port_user *user, const struct net_offload *offload)
{
	assert_int_equal(user->offload.flags, offload->flags);
	assert_int_equal(user->offload.gso, offload->gso);
	assert_int_equal(user->offload.segment_bytes, offload->segment_bytes);
	assert_int_equal(user->offload.header_bytes, offload->header_bytes);
	assert_int_equal(user->offload.checksum_start, offload->checksum_start);
	assert_int_equal(user->offload.checksum_offset, offload->checksum_offset);
}

static void expect_segments(uint32_t bytes, const struct net_offload *offload, bool partial)
{
	struct slow_join join = { .frame = frame, .bytes = bytes, .offload = *offload };

	join.at = offload->header_bytes;
	while (join.at < bytes) {
		const char *wrong;

		user_wait(b);
		assert_int_equal(b->offload.gso, NET_GSO_NONE);
		assert_int_equal(b->offload.flags, partial ? NET_CHECKSUM_PARTIAL : 0);
		wrong = slow_join_wrong(&join, b->memory, b->bytes, partial);
		if (wrong)
			fail_msg("segment %u: %s", join.index, wrong);
	}
	assert_int_equal(join.at, bytes);
	expect_nothing(b);
}

static void large_segments_pass_whole_or_are_cut_for_who_cannot(void **state)
{
	static const uint32_t own_can[] = { NET_CAN_TCP_IPV4, NET_CAN_TCP_IPV6, NET_CAN_UDP,
					    NET_CAN_UDP };
	struct slow_plan plan = { .payload_bytes = 60000, .tcp_flags = 0x99, .ip_id = 0xfff8 };

	begin();
	introduce();
	assert_int_equal(a->port->can_send, NET_CAN_ALL);
	assert_int_equal(a->port->can_receive, NET_CAN_ALL);
	for (uint32_t kind = 0; kind < 8; kind++) {
		struct net_offload offload;
		uint32_t bytes;

		plan.ipv6 = kind & 1;
		plan.udp = kind & 2;
		plan.vlan_tags = (uint8_t)(kind >> 2);
		bytes = make_flow(&plan, 1448, &offload);
		for (int can = 0; can < 4; can++) {
			uint32_t cans[] = { NET_CAN_ALL, NET_CAN_ALL & ~own_can[kind & 3],
					    NET_CAN_ALL & ~NET_CAN_CHECKSUM, 0 };

			net_port_set_receive(b->port, cans[can]);
			assert_int_equal(user_send(a, frame, bytes, 4096, &offload), 0);
			if (can) {
				expect_segments(bytes, &offload, can == 1);
				continue;
			}
			expect_frame(b, bytes);
			expect_same_offload(b, &offload);
		}
	}
	end();
}

static void checksums_pass_open_or_are_completed_for_who_cannot(void **state)
{
	struct slow_plan plan = { .payload_bytes = 333 };

	begin();
	introduce();
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct net_offload offload;
		uint32_t bytes;

		plan.ipv6 = kind & 1;
		plan.udp = kind & 2;
		bytes = make_flow(&plan, 0, &offload);
		net_port_set_receive(b->port, NET_CAN_CHECKSUM);
		assert_int_equal(user_send(a, frame, bytes, 100, &offload), 0);
		expect_frame(b, bytes);
		expect_same_offload(b, &offload);
		net_port_set_receive(b->port, 0);
		assert_int_equal(user_send(a, frame, bytes, 100, &offload), 0);
		user_wait(b);
		assert_int_equal(b->offload.flags, 0);
		assert_null(slow_frame_wrong(b->memory, b->bytes, false));
	}
	end();
}

static void segments_longer_than_the_room_are_dropped_and_counted(void **state)
{
	struct slow_plan plan = { .payload_bytes = 10000 };
	struct net_offload offload;
	uint32_t bytes;

	begin();
	introduce();
	bytes = make_flow(&plan, 1000, &offload);
	assert_int_equal(user_send(a, frame, bytes, 4096, &offload), 0);
	send_plain(a, mac_of(b), 77);
	settle(world.loop);
	assert_int_equal(user_take(b, 1000), 0);
	assert_int_equal(b->bytes, 77);
	assert_int_equal(received_drops(b), 10);
	end();
}

/* ---- peers that fail ---- */

static void a_dead_port_is_cleared_away(void **state)
{
	struct switch_frame_head head = { .bytes = 60 };
	int fd;

	begin();
	introduce();
	fd = stranger(STRANGER_ID);
	make_plain(broadcast, mac_of(NULL), 60);
	say_to_all(fd, STRANGER_ID, &head, 60);
	for (int i = 0; i < PORTS; i++)
		expect_frame(&world.users[i], 60);
	send_plain(a, mac_of(NULL), 61);
	expect_nothing(b); /* it is known where that goes */
	assert_true(recv(fd, datagram, sizeof(datagram), 0) > 0);
	close(fd);
	/* That is noticed by a frame to it, and then it is as if it had never been. */
	send_plain(a, mac_of(NULL), 60);
	assert_int_equal(sent_drops(a), 1);
	send_plain(a, mac_of(NULL), 62);
	expect_frame(b, 62);
	expect_frame(c, 62);
	assert_false(is_in_folder(STRANGER_ID));
	send_plain(b, mac_of(NULL), 60); /* each learns it for itself */
	send_plain(b, mac_of(NULL), 63);
	expect_frame(a, 63);
	end();
}

static void what_died_before_is_cleared_away_too(void **state)
{
	FILE *file;

	begin();
	close(stranger(STRANGER_ID));
	/* What is no socket is none of ours. */
	file = fopen(address_of(STRANGER_ID + 1).sun_path, "w");
	fclose(file);
	introduce();
	assert_false(is_in_folder(STRANGER_ID));
	assert_true(is_in_folder(STRANGER_ID + 1));
	bury(STRANGER_ID + 1);
	end();
}

static void a_port_that_left_is_no_longer_sent_to(void **state)
{
	begin();
	introduce();
	user_stop(c);
	net_port_destroy(c->port);
	send_plain(a, mac_of(c), 89);
	assert_int_equal(sent_drops(a), 1);
	send_plain(a, mac_of(c), 90); /* where it was, nobody is: perhaps it moved */
	expect_frame(b, 90);
	send_plain(b, broadcast, 91);
	expect_frame(a, 91);
	/* A long one finds out at once. */
	send_plain(b, mac_of(c), 30000);
	expect_frame(a, 30000);
	assert_int_equal(sent_drops(b), 0);
	world.ports[2] = new_port();
	user_start(c, world.ports[2], world.loop);
	send_plain(b, broadcast, 92);
	expect_frame(a, 92);
	expect_frame(c, 92);
	end();
}

/* Frames of the stranger's datagrams, which must be numbered from @next on. Returns the next
 * number. */
static uint32_t read_numbers(int fd, uint32_t next, uint32_t bytes)
{
	struct switch_frame_head head;
	ssize_t length;

	while ((length = recv(fd, datagram, sizeof(datagram), 0)) > 0) {
		size_t at = sizeof(struct switch_head);

		while (at < (size_t)length) {
			uint32_t number;

			memcpy(&head, datagram + at, sizeof(head));
			assert_int_equal(head.bytes, bytes);
			memcpy(&number, datagram + at + sizeof(head) + 12, sizeof(number));
			assert_int_equal(number, next);
			next++;
			at += sizeof(head) + bytes;
		}
		settle(world.loop); /* there is room now */
	}
	return next;
}

static void a_port_that_does_not_read_loses_only_its_own(void **state)
{
	for (uint32_t bytes = 1000; bytes <= 60000; bytes += 59000) {
		uint32_t got = 0;
		int fd;

		begin();
		fd = stranger(STRANGER_ID);
		for (uint32_t i = 0; i < 300; i++) {
			make_plain(broadcast, mac_of(a), bytes);
			memcpy(frame + 12, &i, sizeof(i));
			assert_int_equal(user_send(a, frame, bytes, 7000, NULL), 0);
			expect_frame(b, bytes);
			expect_frame(c, bytes);
		}
		assert_true(sent_drops(a) > 0);
		/* Nothing in the middle is missing of what there is, and what waited comes, too. */
		got = read_numbers(fd, 0, bytes);
		assert_int_equal(got + sent_drops(a), 300);
		/* It reads again, and is sent to again. */
		make_plain(broadcast, mac_of(a), bytes);
		memcpy(frame + 12, &got, sizeof(got));
		assert_int_equal(user_send(a, frame, bytes, 7000, NULL), 0);
		assert_int_equal(read_numbers(fd, got, bytes), got + 1);
		close(fd);
		bury(STRANGER_ID);
		end();
	}
}

static void a_port_that_dies_full_does_no_harm(void **state)
{
	int fd;

	begin();
	fd = stranger(STRANGER_ID);
	for (uint32_t i = 0; i < 100; i++) {
		send_plain(a, broadcast, 1000);
		expect_frame(b, 1000);
		expect_frame(c, 1000);
	}
	close(fd); /* wakes who waits for room */
	settle(world.loop);
	assert_false(is_in_folder(STRANGER_ID));
	send_plain(a, broadcast, 99);
	expect_frame(b, 99);
	end();
}

static void more_ports_than_there_may_be_are_left_alone(void **state)
{
	static int fds[SWITCH_PORTS_MAX + 2];

	begin();
	for (uint32_t i = 0; i < SWITCH_PORTS_MAX + 2; i++)
		fds[i] = stranger(STRANGER_ID + i);
	send_plain(a, broadcast, 60);
	settle(world.loop);
	for (uint32_t i = 0; i < SWITCH_PORTS_MAX + 2; i++) {
		close(fds[i]);
		bury(STRANGER_ID + i);
	}
	user_drain(b); /* they may have been among the first */
	user_drain(c);
	introduce();
	end();
}

/* ---- nonsense ---- */

struct nonsense {
	uint32_t frame_bytes; /* really there */
	struct switch_frame_head head;
};

static void expect_dropped(struct port_user *user, uint64_t drops)
{
	expect_nothing(user);
	assert_int_equal(received_drops(user), drops);
}

static void nonsense_in_a_frame_is_dropped_and_counted(void **state)
{
	/* Of an Ethernet, an IPv4 and a TCP header: 54 bytes, checksum from 34 on, at 50. */
	static const struct nonsense cases[] = {
		{ 60, { .bytes = 61 } },
		{ 60, { .bytes = 13 } },
		{ 60, { .bytes = 0 } },
		{ 60, { .bytes = UINT32_MAX } },
		{ 60, { .bytes = 59 } }, /* and a byte behind it */
		{ 60, { .bytes = 60, .flags = 1, .checksum_start = 59 } },
		{ 60,
		  { .bytes = 60,
		    .flags = 1,
		    .checksum_start = 0xffff,
		    .checksum_offset = 0xffff } },
		{ 3000, { 3000, 0, NET_GSO_TCP_IPV4, 1000, 54, 34, 16 } },
		{ 3000, { 3000, 2, NET_GSO_TCP_IPV4, 1000, 54, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_UDP + 1, 1000, 54, 34, 16 } },
		{ 3000, { 3000, 1, 0xff, 1000, 54, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 0, 54, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 47, 54, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 1000, 3000, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 1000, 51, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 1000, 58, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 1000, 54, 34, 6 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV4, 1000, 54, 30, 16 } },
		{ 3000, { 3000, 1, NET_GSO_TCP_IPV6, 1000, 54, 34, 16 } },
		{ 3000, { 3000, 1, NET_GSO_UDP, 1000, 54, 34, 16 } },
	};
	struct slow_plan plan = { .payload_bytes = 3000 - 54 };
	struct net_offload offload;
	uint64_t drops = 0;
	int fd;

	begin();
	fd = stranger(STRANGER_ID);
	assert_int_equal(make_flow(&plan, 1000, &offload), 3000);
	net_port_set_receive(a->port, NET_CAN_ALL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		say_to_all(fd, STRANGER_ID, &cases[i].head, cases[i].frame_bytes);
		drops++;
		if (cases[i].head.bytes == 59) { /* that frame is one */
			for (int j = 0; j < PORTS; j++)
				user_wait(&world.users[j]);
		}
		for (int j = 0; j < PORTS; j++)
			expect_dropped(&world.users[j], drops);
	}
	/* Where it fits it goes through. */
	say_to_all(fd, STRANGER_ID,
		   &(struct switch_frame_head){ 3000, 1, NET_GSO_TCP_IPV4, 1000, 54, 34, 16 },
		   3000);
	expect_frame(a, 3000);
	/* Many addresses at once are nobody's; and who says a checksum is right is not believed. */
	frame[6] |= 1;
	say_to_all(fd, STRANGER_ID, &(struct switch_frame_head){ .bytes = 60 }, 60);
	expect_dropped(a, drops + 1);
	frame[6] &= 0xfe;
	say_to_all(fd, STRANGER_ID,
		   &(struct switch_frame_head){ .bytes = 60, .flags = NET_CHECKSUM_VALID }, 60);
	expect_frame(a, 60);
	assert_int_equal(a->offload.flags, 0);
	close(fd);
	bury(STRANGER_ID);
	for (int i = 0; i < PORTS; i++)
		user_drain(&world.users[i]);
	end();
}

static void send_raw(int fd, const void *bytes, size_t length)
{
	for (int i = 0; i < PORTS; i++) {
		struct sockaddr_un address = address_of(port_id(i));

		assert_int_equal(
			sendto(fd, bytes, length, 0, (struct sockaddr *)&address, sizeof(address)),
			length);
	}
}

static void nonsense_in_a_head_is_dropped_and_counted(void **state)
{
	struct switch_head heads[] = { { SWITCH_MAGIC + 1, SWITCH_VERSION, 0, STRANGER_ID },
				       { SWITCH_MAGIC, SWITCH_VERSION + 1, 0, STRANGER_ID } };
	static const size_t lengths[] = { 0, sizeof(struct switch_head) - 1,
					  SWITCH_DATAGRAM_BYTES_MAX + 1,
					  SWITCH_DATAGRAM_BYTES_MAX + 900 };
	static const uint8_t nobody[6] = { 2, 0, 0, 0, 0, 0xe };
	struct switch_frame_head frame_head = { .bytes = 60 };
	int fd;

	begin();
	fd = stranger(STRANGER_ID);
	make_plain(broadcast, mac_of(NULL), 60);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		send_raw(fd, datagram, lengths[i]);
		for (int j = 0; j < PORTS; j++)
			expect_dropped(&world.users[j], i + 1);
	}
	for (size_t i = 0; i < 2; i++) {
		memcpy(datagram, &heads[i], sizeof(heads[i]));
		send_raw(fd, datagram, 92);
	}
	for (int i = 0; i < PORTS; i++)
		expect_dropped(&world.users[i], 6);
	/* A head and no frame is nothing at all. */
	memcpy(datagram, &(struct switch_head){ SWITCH_MAGIC, SWITCH_VERSION, 0, STRANGER_ID },
	       sizeof(struct switch_head));
	send_raw(fd, datagram, sizeof(struct switch_head));
	expect_dropped(a, 6);
	/* In the name of each port: it itself drops it. */
	for (int i = 0; i < PORTS; i++)
		say_to_all(fd, port_id(i), &frame_head, 60);
	for (int i = 0; i < PORTS; i++) {
		user_wait(&world.users[i]);
		user_wait(&world.users[i]);
		expect_dropped(&world.users[i], 7);
	}
	/* From a name that is nobody's: a frame like any, but no place to send to. */
	make_plain(broadcast, nobody, 60);
	say_to_all(fd, 0xdead, &frame_head, 60);
	for (int i = 0; i < PORTS; i++)
		expect_frame(&world.users[i], 60);
	send_plain(a, nobody, 61);
	expect_frame(b, 61);
	expect_frame(c, 61);
	close(fd);
	bury(STRANGER_ID);
	for (int i = 0; i < PORTS; i++)
		user_drain(&world.users[i]);
	end();
}

static void any_datagram_is_survived(void **state)
{
	struct slow_plan plan = { .payload_bytes = 2000 };
	uint64_t random = 88172645463325252u;
	struct net_offload offload;
	struct sockaddr_un address;
	uint32_t bytes, taken = 0;
	int fd;

	begin();
	fd = stranger(STRANGER_ID);
	address = address_of(port_id(0));
	for (uint32_t i = 0; i < 20000; i++) {
		struct switch_head head = { SWITCH_MAGIC, SWITCH_VERSION, 0, STRANGER_ID };
		size_t at = sizeof(head);

		memcpy(datagram, &head, at);
		for (int frames = 0; frames < 2; frames++) {
			struct switch_frame_head frame_head;

			plan.ipv6 = random & 1;
			plan.udp = random & 2;
			plan.payload_bytes = (uint32_t)(random >> 8) % 3000;
			bytes = make_flow(&plan, random & 4 ? 500 : 0, &offload);
			frame_head = (struct switch_frame_head){ bytes,
								 offload.flags,
								 offload.gso,
								 offload.segment_bytes,
								 offload.header_bytes,
								 offload.checksum_start,
								 offload.checksum_offset };
			memcpy(datagram + at, &frame_head, sizeof(frame_head));
			memcpy(datagram + at + sizeof(frame_head), frame, bytes);
			at += sizeof(frame_head) + bytes;
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
		}
		for (uint32_t j = 0; j < random % 4; j++)
			datagram[sizeof(head) + (random >> (j * 9 + 5)) % 90] ^= (uint8_t)(random >>
											   (j * 8));
		/* Whichever port that is. */
		for (int j = 0; j < PORTS; j++)
			net_port_set_receive(world.ports[j], (random >> 40) & NET_CAN_ALL);
		sendto(fd, datagram, random & 0x700000 ? at : at - (random >> 50) % at, 0,
		       (struct sockaddr *)&address, sizeof(address));
		settle(world.loop);
		for (int j = 0; j < PORTS; j++)
			taken += user_drain(&world.users[j]);
	}
	assert_true(taken > 20000);
	close(fd);
	bury(STRANGER_ID);
	introduce();
	end();
}

/* ---- life ---- */

static void a_stopped_port_starts_again(void **state)
{
	begin();
	introduce();
	send_plain(a, mac_of(b), 100);
	user_stop(b);
	user_start(b, world.ports[1], world.loop);
	expect_frame(b, 100);
	introduce();
	send_plain(b, mac_of(a), 101);
	expect_frame(a, 101);
	expect_nothing(c);
	end();
}

static void expect_error(const char *directory, const char *name, int err, const char *words)
{
	struct switch_config config = { .directory = directory, .name = name };
	char error[NET_PORT_ERROR_BYTES] = "";
	struct net_port *port = NULL;

	assert_int_equal(switch_create(&config, &port, error), err);
	assert_null(port);
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
}

static void what_cannot_be_joined_is_an_error_in_words(void **state)
{
	char longest[160] = "/tmp/";

	expect_error(world.directory, NULL, -LIS_INVALID, "a name is");
	expect_error(world.directory, "", -LIS_INVALID, "a name is");
	expect_error(world.directory, "a/b", -LIS_INVALID, "a/b");
	expect_error(world.directory, "a b", -LIS_INVALID, "a name is");
	expect_error(world.directory, "a-name-of-thirty-three-characters", -LIS_INVALID,
		     "a name is");
	expect_error("/tmp/there-is-no-such-directory", "lan", -LIS_NOTFOUND,
		     "/tmp/there-is-no-such");
	for (int i = 0; i < 8; i++) /* a path for the same that is longer */
		strcat(longest, "../tmp/././");
	expect_error(longest, "lan", -LIS_INVALID, "too long for a socket");
	assert_int_equal(access("/tmp/switch-lan", F_OK), -1);
	assert_int_equal(mkdir(world.folder, 0700), 0);
	assert_int_equal(chmod(world.folder, 0770), 0);
	expect_error(world.directory, "lan", -LIS_DENIED, "others");
	assert_int_equal(rmdir(world.folder), 0);
	assert_int_equal(symlink("/tmp", world.folder), 0);
	expect_error(world.directory, "lan", -LIS_IO, world.folder);
	assert_int_equal(unlink(world.folder), 0);
}

static void ports_come_and_go_at_once(void **state)
{
	pid_t children[4];
	int status;

	/* The folder goes under the hands of those who make it. */
	for (int i = 0; i < 4; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			struct switch_config config = { .directory = world.directory,
							.name = "lan" };
			char error[NET_PORT_ERROR_BYTES];
			struct net_port *port;

			for (int j = 0; j < 500; j++) {
				if (switch_create(&config, &port, error)) {
					fprintf(stderr, "%s\n", error);
					_exit(1);
				}
				net_port_destroy(port);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(access(world.folder, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_for_nobody_known_go_to_all_and_answers_to_one),
		cmocka_unit_test(an_address_that_moves_is_followed),
		cmocka_unit_test(more_addresses_than_there_are_places_are_only_flooded),
		cmocka_unit_test(an_address_long_not_seen_is_looked_for_everywhere),
		cmocka_unit_test(frames_of_all_sizes_arrive_unchanged),
		cmocka_unit_test(a_frame_longer_than_the_room_is_dropped_and_counted),
		cmocka_unit_test(small_frames_go_together_and_in_order),
		cmocka_unit_test(large_segments_pass_whole_or_are_cut_for_who_cannot),
		cmocka_unit_test(checksums_pass_open_or_are_completed_for_who_cannot),
		cmocka_unit_test(segments_longer_than_the_room_are_dropped_and_counted),
		cmocka_unit_test(a_dead_port_is_cleared_away),
		cmocka_unit_test(what_died_before_is_cleared_away_too),
		cmocka_unit_test(a_port_that_left_is_no_longer_sent_to),
		cmocka_unit_test(a_port_that_does_not_read_loses_only_its_own),
		cmocka_unit_test(a_port_that_dies_full_does_no_harm),
		cmocka_unit_test(more_ports_than_there_may_be_are_left_alone),
		cmocka_unit_test(nonsense_in_a_frame_is_dropped_and_counted),
		cmocka_unit_test(nonsense_in_a_head_is_dropped_and_counted),
		cmocka_unit_test(any_datagram_is_survived),
		cmocka_unit_test(a_stopped_port_starts_again),
		cmocka_unit_test(what_cannot_be_joined_is_an_error_in_words),
		cmocka_unit_test(ports_come_and_go_at_once),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
