// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Ports of a switch with sockets in its folder that do what no port would: die without a word,
 * never read, send nonsense.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/network/switch_world.h"

/* ---- peers that fail ---- */

static void a_dead_port_is_cleared_away(void **state)
{
	struct switch_frame_head head = { .bytes = 60 };
	int fd;

	switch_begin();
	introduce();
	fd = stranger(STRANGER_ID);
	make_plain(broadcast, mac_of(NULL), 60);
	say_to_all(fd, STRANGER_ID, &head, 60);
	for (int i = 0; i < PORTS; i++)
		expect_frame(&switch_world.users[i], 60);
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
	switch_end();
}

static void what_died_before_is_cleared_away_too(void **state)
{
	FILE *file;

	switch_begin();
	close(stranger(STRANGER_ID));
	/* What is no socket is none of ours. */
	file = fopen(address_of(STRANGER_ID + 1).sun_path, "w");
	fclose(file);
	introduce();
	assert_false(is_in_folder(STRANGER_ID));
	assert_true(is_in_folder(STRANGER_ID + 1));
	bury(STRANGER_ID + 1);
	switch_end();
}

static void a_port_that_left_is_no_longer_sent_to(void **state)
{
	switch_begin();
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
	switch_world.ports[2] = new_port();
	user_start(c, switch_world.ports[2], switch_world.loop);
	send_plain(b, broadcast, 92);
	expect_frame(a, 92);
	expect_frame(c, 92);
	switch_end();
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
		settle(switch_world.loop); /* there is room now */
	}
	return next;
}

static void a_port_that_does_not_read_loses_only_its_own(void **state)
{
	for (uint32_t bytes = 1000; bytes <= 60000; bytes += 59000) {
		uint32_t got = 0;
		int fd;

		switch_begin();
		fd = stranger(STRANGER_ID);
		for (uint32_t i = 0; i < 300; i++) {
			make_plain(broadcast, mac_of(a), bytes);
			memcpy(switch_frame + 12, &i, sizeof(i));
			assert_int_equal(user_send(a, switch_frame, bytes, 7000, NULL), 0);
			expect_frame(b, bytes);
			expect_frame(c, bytes);
		}
		assert_true(sent_drops(a) > 0);
		/* Nothing in the middle is missing of what there is, and what waited comes, too. */
		got = read_numbers(fd, 0, bytes);
		assert_int_equal(got + sent_drops(a), 300);
		/* It reads again, and is sent to again. */
		make_plain(broadcast, mac_of(a), bytes);
		memcpy(switch_frame + 12, &got, sizeof(got));
		assert_int_equal(user_send(a, switch_frame, bytes, 7000, NULL), 0);
		assert_int_equal(read_numbers(fd, got, bytes), got + 1);
		close(fd);
		bury(STRANGER_ID);
		switch_end();
	}
}

static void a_port_that_dies_full_does_no_harm(void **state)
{
	int fd;

	switch_begin();
	fd = stranger(STRANGER_ID);
	for (uint32_t i = 0; i < 100; i++) {
		send_plain(a, broadcast, 1000);
		expect_frame(b, 1000);
		expect_frame(c, 1000);
	}
	close(fd); /* wakes who waits for room */
	settle(switch_world.loop);
	assert_false(is_in_folder(STRANGER_ID));
	send_plain(a, broadcast, 99);
	expect_frame(b, 99);
	switch_end();
}

static void a_port_that_dies_before_its_frames_are_taken_is_not_learnt_of(void **state)
{
	struct switch_head head = { SWITCH_MAGIC, SWITCH_VERSION, 0, STRANGER_ID };
	struct switch_frame_head frame_head = { .bytes = 60 };
	uint8_t *at = datagram;
	int fd;

	switch_begin();
	introduce();
	fd = stranger(STRANGER_ID);
	make_plain(broadcast, mac_of(NULL), 60);
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	for (int i = 0; i < 2; i++) {
		memcpy(at, &frame_head, sizeof(frame_head));
		memcpy(at + sizeof(frame_head), switch_frame, 60);
		at += sizeof(frame_head) + 60;
	}
	send_raw(fd, datagram, (size_t)(at - datagram));
	expect_frame(a, 60);
	close(fd);
	send_plain(a, mac_of(NULL), 61);
	settle(switch_world.loop);
	assert_false(is_in_folder(STRANGER_ID));
	user_wait(a); /* the second */
	for (uint32_t i = 62; i < 65; i++) {
		send_plain(a, mac_of(NULL), i);
		settle(switch_world.loop);
	}
	for (int i = 0; i < PORTS; i++)
		user_drain(&switch_world.users[i]);
	assert_int_equal(sent_drops(a), 1);
	switch_end();
}

static void a_port_is_seen_that_came_within_the_clocks_grain(void **state)
{
	struct timespec times[2];
	struct stat st;
	int fd;

	switch_begin();
	introduce();
	assert_int_equal(stat(switch_world.folder, &st), 0);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	fd = stranger(STRANGER_ID);
	/* As if the clock had not gone on meanwhile. */
	assert_int_equal(utimensat(AT_FDCWD, switch_world.folder, times, 0), 0);
	send_plain(a, broadcast, 60);
	assert_true(recv(fd, datagram, sizeof(datagram), 0) > 0);
	close(fd);
	bury(STRANGER_ID);
	user_drain(b);
	user_drain(c);
	switch_end();
}

static void more_ports_than_there_may_be_are_left_alone(void **state)
{
	static int fds[SWITCH_PORTS_MAX + 2];

	switch_begin();
	for (uint32_t i = 0; i < SWITCH_PORTS_MAX + 2; i++)
		fds[i] = stranger(STRANGER_ID + i);
	send_plain(a, broadcast, 60);
	settle(switch_world.loop);
	for (uint32_t i = 0; i < SWITCH_PORTS_MAX + 2; i++) {
		close(fds[i]);
		bury(STRANGER_ID + i);
	}
	user_drain(b); /* they may have been among the first */
	user_drain(c);
	introduce();
	switch_end();
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

	switch_begin();
	fd = stranger(STRANGER_ID);
	assert_int_equal(make_flow(&plan, 1000, &offload), 3000);
	net_port_set_receive(a->port, NET_CAN_ALL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		say_to_all(fd, STRANGER_ID, &cases[i].head, cases[i].frame_bytes);
		drops++;
		if (cases[i].head.bytes == 59) { /* that frame is one */
			for (int j = 0; j < PORTS; j++)
				user_wait(&switch_world.users[j]);
		}
		for (int j = 0; j < PORTS; j++)
			expect_dropped(&switch_world.users[j], drops);
	}
	/* Where it fits it goes through. */
	say_to_all(fd, STRANGER_ID,
		   &(struct switch_frame_head){ 3000, 1, NET_GSO_TCP_IPV4, 1000, 54, 34, 16 },
		   3000);
	expect_frame(a, 3000);
	/* Many addresses at once are nobody's; and who says a checksum is right is not believed. */
	switch_frame[6] |= 1;
	say_to_all(fd, STRANGER_ID, &(struct switch_frame_head){ .bytes = 60 }, 60);
	expect_dropped(a, drops + 1);
	switch_frame[6] &= 0xfe;
	say_to_all(fd, STRANGER_ID,
		   &(struct switch_frame_head){ .bytes = 60, .flags = NET_CHECKSUM_VALID }, 60);
	expect_frame(a, 60);
	assert_int_equal(a->offload.flags, 0);
	close(fd);
	bury(STRANGER_ID);
	for (int i = 0; i < PORTS; i++)
		user_drain(&switch_world.users[i]);
	switch_end();
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

	switch_begin();
	fd = stranger(STRANGER_ID);
	make_plain(broadcast, mac_of(NULL), 60);
	/* So that there is something right in all memory. */
	say_to_all(fd, STRANGER_ID, &frame_head, 60);
	for (int i = 0; i < PORTS; i++)
		expect_frame(&switch_world.users[i], 60);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		send_raw(fd, datagram, lengths[i]);
		for (int j = 0; j < PORTS; j++)
			expect_dropped(&switch_world.users[j], i + 1);
	}
	for (size_t i = 0; i < 2; i++) {
		memcpy(datagram, &heads[i], sizeof(heads[i]));
		send_raw(fd, datagram, 92);
	}
	for (int i = 0; i < PORTS; i++)
		expect_dropped(&switch_world.users[i], 6);
	/* A head and no frame is nothing at all. */
	memcpy(datagram, &(struct switch_head){ SWITCH_MAGIC, SWITCH_VERSION, 0, STRANGER_ID },
	       sizeof(struct switch_head));
	send_raw(fd, datagram, sizeof(struct switch_head));
	expect_dropped(a, 6);
	/* In the name of each port: it itself drops it. */
	for (int i = 0; i < PORTS; i++)
		say_to_all(fd, port_id(i), &frame_head, 60);
	for (int i = 0; i < PORTS; i++) {
		user_wait(&switch_world.users[i]);
		user_wait(&switch_world.users[i]);
		expect_dropped(&switch_world.users[i], 7);
	}
	/* From a name that is nobody's: a frame like any, but no place to send to. */
	make_plain(broadcast, nobody, 60);
	say_to_all(fd, 0xdead, &frame_head, 60);
	for (int i = 0; i < PORTS; i++)
		expect_frame(&switch_world.users[i], 60);
	send_plain(a, nobody, 61);
	expect_frame(b, 61);
	expect_frame(c, 61);
	close(fd);
	bury(STRANGER_ID);
	for (int i = 0; i < PORTS; i++)
		user_drain(&switch_world.users[i]);
	switch_end();
}

static void any_datagram_is_survived(void **state)
{
	struct slow_plan plan = { .payload_bytes = 2000 };
	uint64_t random = 88172645463325252u;
	struct net_offload offload;
	struct sockaddr_un address;
	uint32_t bytes, taken = 0;
	int fd;

	switch_begin();
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
			memcpy(datagram + at + sizeof(frame_head), switch_frame, bytes);
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
			net_port_set_receive(switch_world.ports[j], (random >> 40) & NET_CAN_ALL);
		sendto(fd, datagram, random & 0x700000 ? at : at - (random >> 50) % at, 0,
		       (struct sockaddr *)&address, sizeof(address));
		settle(switch_world.loop);
		for (int j = 0; j < PORTS; j++)
			taken += user_drain(&switch_world.users[j]);
	}
	assert_true(taken > 20000);
	close(fd);
	bury(STRANGER_ID);
	introduce();
	switch_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_port_is_cleared_away),
		cmocka_unit_test(what_died_before_is_cleared_away_too),
		cmocka_unit_test(a_port_that_left_is_no_longer_sent_to),
		cmocka_unit_test(a_port_that_does_not_read_loses_only_its_own),
		cmocka_unit_test(a_port_that_dies_full_does_no_harm),
		cmocka_unit_test(a_port_that_dies_before_its_frames_are_taken_is_not_learnt_of),
		cmocka_unit_test(a_port_is_seen_that_came_within_the_clocks_grain),
		cmocka_unit_test(more_ports_than_there_may_be_are_left_alone),
		cmocka_unit_test(nonsense_in_a_frame_is_dropped_and_counted),
		cmocka_unit_test(nonsense_in_a_head_is_dropped_and_counted),
		cmocka_unit_test(any_datagram_is_survived),
	};

	return cmocka_run_group_tests(tests, switch_make_directory, switch_remove_directory);
}
