// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The NAT port where there is too much of something, or too long a time; and its contract. */
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/network/nat_guest.h"

/* ---- room ---- */

static void frames_that_nobody_takes_are_dropped_at_last(void **state)
{
	unsigned taken;

	nat_begin(NULL);
	user_drain(&nat_world.user);
	for (int i = 0; i < 1500; i++)
		send_ping(100, (uint32_t)i);
	assert_int_equal(dropped_received(), 1500 - 1024);
	for (uint32_t i = 0; i < 1024; i++)
		wait_pong(100, i);
	taken = user_drain(&nat_world.user);
	assert_int_equal(taken, 0);
	/* And there is room again. */
	send_ping(100, 3);
	wait_pong(100, 3);
	nat_end();
}

static void bytes_that_nobody_takes_are_bounded_too(void **state)
{
	struct nat_config config = { .mtu = 65521 };
	uint32_t kept;

	nat_begin(&config);
	for (uint32_t round = 0; round < 6; round++) {
		uint64_t dropped = dropped_received();
		uint32_t bytes = 59000 + round * 777;

		user_drain(&nat_world.user);
		for (uint32_t i = 0; i < 60; i++)
			send_ping(bytes, i);
		kept = 60 - (uint32_t)(dropped_received() - dropped);
		assert_in_range(kept, (2 << 20) / 65536 - 1, (2 << 20) / bytes);
		for (uint32_t i = 0; i < kept; i++)
			wait_pong(bytes, i);
	}
	nat_end();
}

static void a_frame_longer_than_the_room_is_dropped_and_counted(void **state)
{
	nat_begin(NULL);
	user_drain(&nat_world.user);
	send_ping(1000, 1);
	send_ping(500, 2);
	assert_int_equal(user_take(&nat_world.user, 1000), 0);
	assert_int_equal(nat_world.user.bytes, 534);
	assert_int_equal(dropped_received(), 1);
	nat_end();
}

static void the_host_is_not_read_while_frames_wait(void **state)
{
	struct sockaddr_in sender;
	socklen_t sender_bytes = sizeof(sender);
	uint8_t *udp = guest_frame + transport_at(false), buffer[100] = { 0 };
	uint32_t sent = 0, taken = 0;
	uint16_t port;
	int fd = host_socket(SOCK_DGRAM, false, &port);

	begin_simulated();
	put16(udp, 5000);
	put16(udp + 2, port);
	put16(udp + 4, 8 + 1);
	send_frame(put_ip(&guest4, &router4, PROTOCOL_UDP, 8 + 1, false), NULL);
	turn_until(nat_world.loop, readable, &fd);
	assert_true(recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&sender,
			     &sender_bytes) > 0);
	/* More than the queue takes; what the kernel has no room for is lost at its end. */
	for (int round = 0; round < 60; round++) {
		for (int i = 0; i < 30; i++) {
			put32(buffer, sent);
			sent += sendto(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&sender,
				       sender_bytes) > 0;
		}
		settle(nat_world.loop);
	}
	assert_true(sent > 1500);
	assert_int_equal(dropped_received(), 0);
	while (taken < 700) {
		assert_int_equal(get32(wait_ip(false, PROTOCOL_UDP) + 8), taken);
		taken++;
	}
	close(fd);
	end_simulated();
}

static void data_that_the_guest_does_not_take_waits_at_its_sender(void **state)
{
	uint32_t sent = 0, taken = 0, held;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, false, &port), fd;
	struct tcp tcp;

	begin_simulated();
	tcp = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	for (ssize_t now = 1; now > 0; sent += now > 0 ? (uint32_t)now : 0) {
		now = send(fd, bulk(), BULK_BYTES, 0);
		settle(nat_world.loop); /* ends: what nobody wants is not looked at */
	}
	held = sent;
	while (taken < held) {
		tcp_wait(&tcp);
		taken += tcp.bytes;
		tcp_take(&tcp);
	}
	assert_int_equal(dropped_received(), 0);
	close(fd);
	close(listener);
	end_simulated();
}

static void a_guest_cannot_use_up_the_descriptors(void **state)
{
	struct rlimit before, little;
	struct tcp first;
	int listener, fd, full = 0;
	uint16_t port;
	uint8_t byte;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	little = before;
	little.rlim_cur = 400;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &little), 0);
	listener = host_socket(SOCK_STREAM, false, &port);
	nat_begin(NULL);
	first = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	for (uint16_t i = 0; i < 500; i++) {
		uint8_t *transport = guest_frame + transport_at(false);

		memset(transport, 0, 20);
		put16(transport, 2000u + i);
		put16(transport + 2, port);
		transport[12] = 0x50;
		transport[13] = TCP_SYN;
		full += user_send(&nat_world.user, guest_frame,
				  put_ip(&guest4, &router4, PROTOCOL_TCP, 20, false), 100,
				  NULL) == -LIS_FULL;
	}
	assert_int_equal(full, 500 - (400 / 2 - 1));
	assert_int_equal(atomic_load(&nat_world.port->counters.send_dropped), full);
	/* Who is connected is served. */
	tcp_send(&first, TCP_ACK | TCP_PSH, "x", 1, 0);
	assert_int_equal(read_host(fd, &byte, 1), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	close(fd);
	close(listener);
	nat_end();
}

/* ---- time ---- */

static void what_is_not_acknowledged_is_sent_again_in_time(void **state)
{
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, false, &port), fd;
	struct tcp tcp;

	begin_simulated();
	tcp = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	assert_int_equal(send(fd, "again", 5, 0), 5);
	for (int i = 0; i < 3; i++) {
		do
			tcp_wait(&tcp);
		while (!tcp.bytes);
		assert_memory_equal(tcp.data, "again", 5);
		user_drain(&nat_world.user);
		settle(nat_world.loop);
		assert_int_equal(user_drain(&nat_world.user), 0); /* it takes time */
		pass_time(nat_world.loop, &nat_now_ns, 20000, 100);
	}
	close(fd);
	close(listener);
	end_simulated();
}

static void a_router_advertises_itself_from_time_to_time(void **state)
{
	begin_simulated();
	for (int i = 0; i < 3; i++) {
		pass_time(nat_world.loop, &nat_now_ns, 700000, 1000);
		do
			user_wait(&nat_world.user);
		while (get16(got() + 12) != 0x86dd || got()[54] != 134);
		user_drain(&nat_world.user);
	}
	/* Also where the time came while the port was stopped. */
	user_drain(&nat_world.user);
	user_stop(&nat_world.user);
	pass_time(nat_world.loop, &nat_now_ns, 700000, 100000);
	user_start(&nat_world.user, nat_world.port, nat_world.loop);
	do
		user_wait(&nat_world.user);
	while (get16(got() + 12) != 0x86dd || got()[54] != 134);
	end_simulated();
}

/* A question from a port of the guest's to a socket of the host, and its answer. */
static void ask_by_udp(int fd, uint16_t host_port, uint16_t guest_port)
{
	uint8_t *udp = guest_frame + transport_at(false), buffer[4];
	struct sockaddr_in sender;
	socklen_t sender_bytes = sizeof(sender);
	const uint8_t *answer;

	put16(udp, guest_port);
	put16(udp + 2, host_port);
	put16(udp + 4, 8);
	send_frame(put_ip(&guest4, &router4, PROTOCOL_UDP, 8, false), NULL);
	turn_until(nat_world.loop, readable, &fd);
	assert_int_equal(
		recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&sender, &sender_bytes),
		0);
	settle(nat_world.loop);
	assert_int_equal(sendto(fd, "yes", 3, 0, (struct sockaddr *)&sender, sender_bytes), 3);
	answer = wait_ip(false, PROTOCOL_UDP);
	assert_int_equal(get16(answer + 2), guest_port);
	assert_memory_equal(answer + 8, "yes", 3);
}

static void after_a_long_silence_an_answer_still_comes(void **state)
{
	uint16_t port;
	int fd = host_socket(SOCK_DGRAM, false, &port);

	begin_simulated();
	nat_now_ns += 1000 * 1000000000ull;
	ask_by_udp(fd, port, 5000);
	/* That connection ends by itself, and another gets its descriptor. */
	for (uint16_t i = 0; i < 3; i++) {
		pass_time(nat_world.loop, &nat_now_ns, 300000, 1000);
		ask_by_udp(fd, port, 6000 + i);
	}
	close(fd);
	end_simulated();
}

/* ---- the contract ---- */

static void frames_that_make_no_sense_are_refused_or_go_by(void **state)
{
	struct net_offload offload = { .flags = NET_CHECKSUM_PARTIAL,
				       .checksum_start = 40,
				       .checksum_offset = 16 };

	nat_begin(NULL);
	user_drain(&nat_world.user);
	memset(guest_frame, 0, 100);
	put_ethernet(nat_world.router_mac, 0x0800);
	assert_int_equal(user_send(&nat_world.user, guest_frame, 13, 13, NULL), -LIS_INVALID);
	assert_int_equal(user_send(&nat_world.user, guest_frame, 57, 57, &offload), -LIS_INVALID);
	offload.checksum_start = 65535;
	offload.checksum_offset = 65535;
	assert_int_equal(user_send(&nat_world.user, guest_frame, 57, 57, &offload), -LIS_INVALID);
	put16(guest_frame + 12, 0x88f8); /* what libslirp would answer, and nobody asked for */
	assert_int_equal(user_send(&nat_world.user, guest_frame, 60, 60, NULL), 0);
	put16(guest_frame + 12, 0x8100);
	assert_int_equal(user_send(&nat_world.user, guest_frame, 60, 60, NULL), 0);
	settle(nat_world.loop);
	assert_int_equal(user_take(&nat_world.user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
	nat_end();
}

static void any_frame_is_survived(void **state)
{
	struct nat_config config = { .restricted = true };
	uint64_t random = 88172645463325252u;

	nat_begin(&config);
	for (uint32_t i = 0; i < 20000; i++) {
		struct net_offload offload = { 0 };
		uint32_t bytes, changes;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		bytes = random & 1 ? dhcp_request(1)
				   : put_ip(&guest4, &router4, random & 2 ? 6 : 17, 60, false);
		if (random & 4) {
			bytes = put_ip(&guest6, &router6, random & 8 ? 58 : 6, 64, false);
			guest_frame[54] = (uint8_t)(130 + (random >> 20) % 8);
		}
		changes = (uint32_t)(random >> 8) % 5;
		for (uint32_t j = 0; j < changes; j++)
			guest_frame[12 + (random >> (j * 8)) % (bytes - 12)] ^=
				(uint8_t)(random >> (j * 7 + 5));
		if (random & 16) {
			offload.flags = NET_CHECKSUM_PARTIAL;
			offload.checksum_start = (uint16_t)(random >> 30) % 128;
			offload.checksum_offset = (uint16_t)(random >> 40) % 32;
		}
		user_send(&nat_world.user, guest_frame,
			  random & 32 ? bytes : bytes - (uint32_t)(random >> 50) % 40, 90,
			  &offload);
		if (i % 64 == 0) {
			settle(nat_world.loop);
			user_drain(&nat_world.user);
		}
	}
	user_drain(&nat_world.user);
	send_ping(64, 9);
	wait_pong(64, 9);
	nat_end();
}

static void a_stopped_port_starts_again_where_it_was(void **state)
{
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, false, &port), fd;
	struct tcp tcp;
	uint8_t byte;

	nat_begin(NULL);
	tcp = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	assert_int_equal(send(fd, "a", 1, 0), 1);
	send_ping(64, 1); /* a call is on its way, and an answer waits */
	user_stop(&nat_world.user);
	assert_int_equal(send(fd, "b", 1, 0), 1);
	settle(nat_world.loop);
	user_start(&nat_world.user, nat_world.port, nat_world.loop);
	wait_pong(64, 1);
	do
		tcp_wait(&tcp);
	while (!tcp.bytes);
	assert_int_equal(tcp.data[0], 'a');
	tcp_take(&tcp);
	tcp_send(&tcp, TCP_ACK | TCP_PSH, "c", 1, 0);
	assert_int_equal(read_host(fd, &byte, 1), 1);
	assert_int_equal(byte, 'c');
	close(fd);
	close(listener);
	nat_end();
	/* Never started at all. */
	assert_int_equal(nat_create(NULL, &nat_world.port, NULL), 0);
	net_port_destroy(nat_world.port);
	net_port_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_that_nobody_takes_are_dropped_at_last),
		cmocka_unit_test(bytes_that_nobody_takes_are_bounded_too),
		cmocka_unit_test(a_frame_longer_than_the_room_is_dropped_and_counted),
		cmocka_unit_test(the_host_is_not_read_while_frames_wait),
		cmocka_unit_test(data_that_the_guest_does_not_take_waits_at_its_sender),
		cmocka_unit_test(a_guest_cannot_use_up_the_descriptors),
		cmocka_unit_test(what_is_not_acknowledged_is_sent_again_in_time),
		cmocka_unit_test(a_router_advertises_itself_from_time_to_time),
		cmocka_unit_test(after_a_long_silence_an_answer_still_comes),
		cmocka_unit_test(frames_that_make_no_sense_are_refused_or_go_by),
		cmocka_unit_test(any_frame_is_survived),
		cmocka_unit_test(a_stopped_port_starts_again_where_it_was),
	};

	return cmocka_run_group_tests(tests, nat_open_loop, nat_close_loop);
}
