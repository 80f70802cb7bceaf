// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Ports of a switch among themselves: who gets what, and in which form. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/network/switch_world.h"

/* ---- who gets what ---- */

static void frames_for_nobody_known_go_to_all_and_answers_to_one(void **state)
{
	char line[NET_PORT_LINE_BYTES];

	switch_begin();
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
	assert_int_equal(user_send(a, switch_frame, 104, 50, NULL), 0);
	expect_frame(b, 104);
	expect_frame(c, 104);
	a->port->ops->describe(a->port, line);
	assert_string_equal(line, "switch lan");
	switch_end();
}

static void an_address_that_moves_is_followed(void **state)
{
	switch_begin();
	introduce();
	make_plain(broadcast, mac_of(b), 60);
	assert_int_equal(user_send(c, switch_frame, 60, 60, NULL), 0); /* b's address behind c */
	expect_frame(a, 60);
	expect_frame(b, 60);
	send_plain(a, mac_of(b), 99);
	expect_frame(c, 99);
	expect_nothing(b);
	switch_end();
}

static void more_addresses_than_there_are_places_are_only_flooded(void **state)
{
	uint8_t mac[6] = { 2, 9 };

	switch_begin();
	introduce();
	for (uint32_t i = 0; i < 5000; i++) {
		memcpy(mac + 2, &i, 4);
		make_plain(mac_of(a), mac, 60);
		assert_int_equal(user_send(b, switch_frame, 60, 60, NULL), 0);
		expect_frame(a, 60);
	}
	/* The last one has a place. */
	send_plain(a, mac, 70);
	expect_frame(b, 70);
	expect_nothing(c);
	switch_end();
}

static void an_address_long_not_seen_is_looked_for_everywhere(void **state)
{
	struct io_loop *real = switch_world.loop;
	uint64_t now_ns;

	switch_world.loop = simulated_loop(&now_ns);
	switch_begin();
	introduce();
	now_ns += 299 * 1000000000ull;
	send_plain(a, mac_of(b), 80);
	expect_frame(b, 80);
	expect_nothing(c);
	now_ns += 2 * 1000000000ull;
	send_plain(a, mac_of(b), 81);
	expect_frame(b, 81);
	expect_frame(c, 81);
	switch_end();
	io_loop_destroy(switch_world.loop);
	switch_world.loop = real;
}

static void frames_of_all_sizes_arrive_unchanged(void **state)
{
	static const uint32_t large[] = { 9014, 16384, 16385, 65535, NET_FRAME_BYTES_MAX };

	switch_begin();
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
	assert_int_equal(user_send(a, switch_frame, 13, 13, NULL), -LIS_INVALID);
	switch_end();
}

static void a_frame_longer_than_the_room_is_dropped_and_counted(void **state)
{
	switch_begin();
	introduce();
	send_plain(a, mac_of(b), 501);
	send_plain(a, mac_of(b), 500);
	settle(switch_world.loop);
	assert_int_equal(user_take(b, 500), 0);
	assert_int_equal(b->bytes, 500);
	assert_int_equal(received_drops(b), 1);
	switch_end();
}

static void small_frames_go_together_and_in_order(void **state)
{
	struct iovec iov = { switch_frame, 100 };
	struct net_frame net_frame = { .iov = &iov, .iov_count = 1, .bytes = 100 };
	int fd, datagrams = 0;
	ssize_t bytes;

	switch_begin();
	fd = stranger(STRANGER_ID);
	introduce();
	while (recv(fd, datagram, sizeof(datagram), 0) > 0)
		;
	make_plain(broadcast, mac_of(a), 20000);
	for (uint32_t i = 0; i < 1000; i++) {
		memcpy(switch_frame + 12, &i, 4);
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
	switch_end();
}

/* ---- offloads ---- */

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
	struct slow_join join = { .frame = switch_frame, .bytes = bytes, .offload = *offload };

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

	switch_begin();
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
			assert_int_equal(user_send(a, switch_frame, bytes, 4096, &offload), 0);
			if (can) {
				expect_segments(bytes, &offload, can == 1);
				continue;
			}
			expect_frame(b, bytes);
			expect_same_offload(b, &offload);
		}
	}
	switch_end();
}

static void checksums_pass_open_or_are_completed_for_who_cannot(void **state)
{
	struct slow_plan plan = { .payload_bytes = 333 };

	switch_begin();
	introduce();
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct net_offload offload;
		uint32_t bytes;

		plan.ipv6 = kind & 1;
		plan.udp = kind & 2;
		bytes = make_flow(&plan, 0, &offload);
		net_port_set_receive(b->port, NET_CAN_CHECKSUM);
		assert_int_equal(user_send(a, switch_frame, bytes, 100, &offload), 0);
		expect_frame(b, bytes);
		expect_same_offload(b, &offload);
		net_port_set_receive(b->port, 0);
		assert_int_equal(user_send(a, switch_frame, bytes, 100, &offload), 0);
		user_wait(b);
		assert_int_equal(b->offload.flags, 0);
		assert_null(slow_frame_wrong(b->memory, b->bytes, false));
	}
	switch_end();
}

static void segments_longer_than_the_room_are_dropped_and_counted(void **state)
{
	struct slow_plan plan = { .payload_bytes = 10000 };
	struct net_offload offload;
	uint32_t bytes;

	switch_begin();
	introduce();
	bytes = make_flow(&plan, 1000, &offload);
	assert_int_equal(user_send(a, switch_frame, bytes, 4096, &offload), 0);
	send_plain(a, mac_of(b), 77);
	settle(switch_world.loop);
	assert_int_equal(user_take(b, 1000), 0);
	assert_int_equal(b->bytes, 77);
	assert_int_equal(received_drops(b), 10);
	switch_end();
}

/* ---- life ---- */

static void a_stopped_port_starts_again(void **state)
{
	switch_begin();
	introduce();
	send_plain(a, mac_of(b), 100);
	user_stop(b);
	user_start(b, switch_world.ports[1], switch_world.loop);
	expect_frame(b, 100);
	introduce();
	send_plain(b, mac_of(a), 101);
	expect_frame(a, 101);
	expect_nothing(c);
	switch_end();
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

	expect_error(switch_world.directory, NULL, -LIS_INVALID, "a name is");
	expect_error(switch_world.directory, "", -LIS_INVALID, "a name is");
	expect_error(switch_world.directory, "a/b", -LIS_INVALID, "a/b");
	expect_error(switch_world.directory, "a b", -LIS_INVALID, "a name is");
	expect_error(switch_world.directory, "a-name-of-thirty-three-characters", -LIS_INVALID,
		     "a name is");
	expect_error("/tmp/there-is-no-such-directory", "lan", -LIS_NOTFOUND,
		     "/tmp/there-is-no-such");
	for (int i = 0; i < 8; i++) /* a path for the same that is longer */
		strcat(longest, "../tmp/././");
	expect_error(longest, "lan", -LIS_INVALID, "too long for a socket");
	assert_int_equal(access("/tmp/switch-lan", F_OK), -1);
	assert_int_equal(mkdir(switch_world.folder, 0700), 0);
	assert_int_equal(chmod(switch_world.folder, 0770), 0);
	expect_error(switch_world.directory, "lan", -LIS_DENIED, "others");
	assert_int_equal(rmdir(switch_world.folder), 0);
	assert_int_equal(symlink("/tmp", switch_world.folder), 0);
	expect_error(switch_world.directory, "lan", -LIS_IO, switch_world.folder);
	assert_int_equal(unlink(switch_world.folder), 0);
}

static void ports_come_and_go_at_once(void **state)
{
	pid_t children[4];
	int status;

	/* The folder goes under the hands of those who make it. */
	for (int i = 0; i < 4; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			struct switch_config config = { .directory = switch_world.directory,
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
	assert_int_equal(access(switch_world.folder, F_OK), -1);
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
		cmocka_unit_test(a_stopped_port_starts_again),
		cmocka_unit_test(what_cannot_be_joined_is_an_error_in_words),
		cmocka_unit_test(ports_come_and_go_at_once),
	};

	return cmocka_run_group_tests(tests, switch_make_directory, switch_remove_directory);
}
