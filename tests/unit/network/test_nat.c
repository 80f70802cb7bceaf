// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The NAT port, between a guest made by hand and sockets on this machine's loopback. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "network/backends/nat_private.h"
#include "tests/unit/network/nat_guest.h"
#include "tests/unit/network/slow_frame.h"

/* Of a segment's payload; the largest that an IPv4 packet has room for. */
#define LARGE_BYTES (65535u - 40u)

/* ---- what a guest does first ---- */

static void arp_finds_the_router_and_the_name_server_and_nobody_else(void **state)
{
	const struct address dns = { .bytes = { 10, 0, 2, 3 } },
			     other = { .bytes = { 10, 0, 2, 9 } };

	nat_begin(NULL);
	user_drain(&nat_world.user);
	send_arp(1, broadcast_mac, &other);
	send_arp(1, broadcast_mac, &dns);
	user_wait(&nat_world.user);
	assert_memory_equal(got() + 28, dns.bytes, 4);
	assert_int_equal(user_take(&nat_world.user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
	nat_end();
}

static const uint8_t *dhcp_option(const uint8_t *dhcp, uint8_t option)
{
	for (const uint8_t *at = dhcp + 240; *at != 255; at += *at ? 2 + at[1] : 1) {
		if (*at == option)
			return at;
	}
	fail_msg("option %u is not there", option);
	return NULL;
}

static void dhcp_gives_address_router_name_server_and_names(void **state)
{
	static const char *const search[] = { "example.org", "lan", NULL };
	struct nat_config config = { .hostname = "guest-one",
				     .domain = "example.net",
				     .search = search };
	const uint8_t *dhcp;

	nat_begin(&config);
	for (uint8_t type = 1; type <= 3; type += 2) { /* discover, request */
		send_frame(dhcp_request(type), NULL);
		dhcp = wait_ip(false, PROTOCOL_UDP) + 8;
		assert_int_equal(get32(dhcp + 4), 0x12345678);
		assert_int_equal(dhcp_option(dhcp, 53)[2], type == 1 ? 2 : 5);
		assert_memory_equal(dhcp + 16, guest4.bytes, 4);
		assert_memory_equal(dhcp_option(dhcp, 1),
				    ((const uint8_t[]){ 1, 4, 255, 255, 255, 0 }), 6);
		assert_memory_equal(dhcp_option(dhcp, 3), ((const uint8_t[]){ 3, 4, 10, 0, 2, 2 }),
				    6);
		assert_memory_equal(dhcp_option(dhcp, 6), ((const uint8_t[]){ 6, 4, 10, 0, 2, 3 }),
				    6);
		assert_memory_equal(dhcp_option(dhcp, 12), "\14\11guest-one", 11);
		assert_memory_equal(dhcp_option(dhcp, 15), "\17\13example.net", 13);
		assert_memory_equal(dhcp_option(dhcp, 119) + 2, "\7example\3org", 12);
	}
	nat_end();
}

static void another_network_is_what_dhcp_tells(void **state)
{
	struct nat_config config = { .ipv4 = "192.168.77.9/26" };
	char error[NET_PORT_ERROR_BYTES], line[NET_PORT_LINE_BYTES];
	const uint8_t *dhcp;

	assert_int_equal(nat_create(&config, &nat_world.port, error), 0);
	user_start(&nat_world.user, nat_world.port, nat_world.loop);
	send_frame(dhcp_request(1), NULL);
	dhcp = wait_ip(false, PROTOCOL_UDP) + 8;
	assert_memory_equal(dhcp + 16, ((const uint8_t[]){ 192, 168, 77, 15 }), 4);
	assert_memory_equal(dhcp_option(dhcp, 1), ((const uint8_t[]){ 1, 4, 255, 255, 255, 192 }),
			    6);
	assert_memory_equal(dhcp_option(dhcp, 3), ((const uint8_t[]){ 3, 4, 192, 168, 77, 2 }), 6);
	nat_world.port->ops->describe(nat_world.port, line);
	assert_string_equal(line, "user, 192.168.77.0/26, fec0::/64");
	nat_end();
}

static void the_router_answers_a_ping(void **state)
{
	nat_begin(NULL);
	send_ping(64, 1);
	wait_pong(64, 1);
	nat_end();
}

static void a_router_advertises_the_ipv6_network(void **state)
{
	const struct address self = { true, { 0xfe, 0x80, [15] = 0x77 } };
	const struct address routers = { true, { 0xff, 2, [15] = 2 } };
	uint8_t *icmp = guest_frame + transport_at(true);
	const uint8_t *advert;

	nat_begin(NULL);
	memset(icmp, 0, 16);
	icmp[0] = 133;
	icmp[8] = 1;
	icmp[9] = 1;
	memcpy(icmp + 10, guest_mac, 6);
	send_frame(put_ip(&self, &routers, PROTOCOL_ICMPV6, 16, false), NULL);
	do
		advert = wait_ip(true, PROTOCOL_ICMPV6);
	while (advert[0] != 134);
	/* Behind 16 bytes and the router's own address: the prefix, which hosts may make addresses
	 * of. */
	assert_memory_equal(advert + 24, ((const uint8_t[]){ 3, 4, 64, 0xc0 }), 4);
	assert_memory_equal(advert + 40, router6.bytes, 8);
	nat_end();
}

/* ---- TCP ---- */

static void tcp_reaches_the_hosts_loopback_and_ends_well(bool ipv6)
{
	const struct address *guest = ipv6 ? &guest6 : &guest4, *host = ipv6 ? &router6 : &router4;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, ipv6, &port), fd;
	uint8_t buffer[16];
	struct tcp tcp;

	if (listener < 0)
		return; /* a machine without IPv6 */
	nat_begin(NULL);
	tcp = tcp_connect(guest, host, port);
	fd = accept_host(listener);
	tcp_send(&tcp, TCP_ACK | TCP_PSH, "to host", 7, 0);
	assert_int_equal(read_host(fd, buffer, sizeof(buffer)), 7);
	assert_memory_equal(buffer, "to host", 7);
	assert_int_equal(send(fd, "to the guest", 12, 0), 12);
	do
		tcp_wait(&tcp);
	while (!tcp.bytes);
	assert_int_equal(tcp.bytes, 12);
	assert_memory_equal(tcp.data, "to the guest", 12);
	tcp_take(&tcp);
	/* The host is done first, then the guest. */
	shutdown(fd, SHUT_WR);
	do
		tcp_wait(&tcp);
	while (!(tcp.flags & TCP_FIN));
	tcp_take(&tcp);
	tcp_send(&tcp, TCP_FIN | TCP_ACK, NULL, 0, 0);
	assert_int_equal(read_host(fd, buffer, sizeof(buffer)), 0);
	close(fd);
	close(listener);
	nat_end();
}

static void ipv4_tcp_reaches_the_hosts_loopback_and_ends_well(void **state)
{
	tcp_reaches_the_hosts_loopback_and_ends_well(false);
}

static void ipv6_tcp_reaches_the_hosts_loopback_and_ends_well(void **state)
{
	tcp_reaches_the_hosts_loopback_and_ends_well(true);
}

static void a_connection_takes_the_place_of_one_that_just_ended(void **state)
{
	struct tcp first, second;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, false, &port), fd, first_fd;
	uint8_t byte;

	begin_simulated();
	first = tcp_connect(&guest4, &router4, port);
	first_fd = accept_host(listener);
	settle(nat_world.loop);
	user_drain(&nat_world.user);
	/* Before anything else: the second gets the first one's descriptor. */
	tcp_send(&first, TCP_RST, NULL, 0, 0);
	second = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	tcp_send(&second, TCP_ACK | TCP_PSH, "x", 1, 0);
	assert_int_equal(read_host(fd, &byte, 1), 1);
	close(fd);
	close(first_fd);
	close(listener);
	end_simulated();
}

/* Much data both ways, unchanged. Returns the longest segment that came. */
static uint32_t exchange(bool ipv6, uint32_t can)
{
	uint32_t sent = 0, taken = 0, longest = 0;
	struct tcp tcp;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, ipv6, &port), fd;

	if (listener < 0)
		return 0; /* a machine without IPv6 */
	nat_begin(NULL);
	net_port_set_receive(nat_world.port, can);
	tcp = tcp_connect(ipv6 ? &guest6 : &guest4, ipv6 ? &router6 : &router4, port);
	fd = accept_host(listener);
	tcp_push(&tcp, fd, BULK_BYTES, 1440, 0);
	while (taken < BULK_BYTES) {
		ssize_t now = send(fd, bulk() + sent, BULK_BYTES - sent, 0);
		const struct net_offload *offload = &nat_world.user.offload;

		sent += now > 0 ? (uint32_t)now : 0;
		tcp_wait(&tcp);
		assert_memory_equal(tcp.data, bulk() + taken, tcp.bytes);
		if (tcp.bytes > 1460) {
			assert_int_equal(offload->gso, ipv6 ? NET_GSO_TCP_IPV6 : NET_GSO_TCP_IPV4);
			assert_int_equal(offload->segment_bytes, ipv6 ? 1440 : 1460);
			assert_int_equal(offload->header_bytes, transport_at(ipv6) + 20);
		} else {
			assert_int_equal(offload->gso, NET_GSO_NONE);
		}
		if (tcp.bytes > longest)
			longest = tcp.bytes;
		taken += tcp.bytes;
		tcp_take(&tcp);
	}
	assert_int_equal(dropped_received(), 0);
	close(fd);
	close(listener);
	nat_end();
	return longest;
}

static void much_data_goes_both_ways_unchanged(void **state)
{
	uint32_t ipv6;

	assert_int_equal(exchange(false, 0), 1460);
	assert_int_equal(exchange(false, NET_CAN_CHECKSUM | NET_CAN_TCP_IPV6), 1460);
	ipv6 = exchange(true, NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4);
	assert_true(ipv6 == 1440 || !ipv6);
}

static void what_takes_large_segments_gets_them(void **state)
{
	uint32_t ipv6;

	assert_in_range(exchange(false, NET_CAN_ALL), 16384, 65535);
	ipv6 = exchange(true, NET_CAN_ALL);
	assert_true(ipv6 > 16384 || !ipv6);
}

/* What libslirp is told where the guest says @mss, behind @before bytes of other options. */
static uint32_t raised(bool ipv6, uint32_t flags, uint32_t mss, uint32_t before, bool partial)
{
	uint8_t *tcp = guest_frame + transport_at(ipv6);
	uint32_t bytes;

	memset(tcp, 1, 20 + 12);
	put16(tcp, 1000 + mss);
	tcp[12] = (20 + 12) / 4 << 4;
	tcp[13] = (uint8_t)flags;
	put16(tcp + 20 + before, 0x0204);
	put16(tcp + 20 + before + 2, mss);
	bytes = put_ip(ipv6 ? &guest6 : &guest4, ipv6 ? &router6 : &router4, PROTOCOL_TCP, 20 + 12, partial);
	nat_raise_mss(guest_frame, bytes, 1500);
	/* A wrong checksum stays wrong. */
	assert_int_equal(slow_frame_wrong(guest_frame, bytes, false) != NULL, partial);
	return get16(tcp + 20 + before + 2);
}

static void a_guest_of_our_mtu_is_said_to_take_any_segment(void **state)
{
	for (uint32_t before = 0; before <= 8; before++) {
		for (uint32_t mss = 1400; mss < 65536; mss += mss < 1500 ? 1 : 613) {
			assert_int_equal(raised(false, TCP_SYN, mss, before, false), mss < 1460 ? mss : 65535);
			assert_int_equal(raised(true, TCP_SYN | TCP_ACK, mss, before, false),
					 mss < 1440 ? mss : 65535);
		}
	}
	assert_int_equal(raised(false, TCP_SYN, 1460, 0, true), 65535);
	assert_int_equal(raised(false, TCP_ACK, 1460, 0, false), 1460);
}

static void broken_options_are_left_alone(void **state)
{
	static const uint8_t options[][12] = {
		{ 2 }, { 2, 4, 5 }, { 2, 3, 5, 180 }, { 2, 5, 5, 180 }, { 0, 2, 4, 5, 180 }, { 3, 0, 2, 4, 5, 180 },
		{ 3, 200, 2, 4, 5, 180 }, { 3, 1, 2, 4, 5, 180 }, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5 },
		{ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 }, { 3, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4 },
	};
	uint8_t *tcp = guest_frame + transport_at(false), before[200];

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		uint32_t bytes;

		memset(tcp, 0, 20);
		tcp[12] = (20 + 12) / 4 << 4;
		tcp[13] = TCP_SYN;
		memcpy(tcp + 20, options[i], 12);
		bytes = put_ip(&guest4, &router4, PROTOCOL_TCP, 20 + 12, false);
		memcpy(before, guest_frame, bytes);
		nat_raise_mss(guest_frame, bytes, 1500);
		assert_memory_equal(guest_frame, before, bytes);
	}
}

/* One that was put when the user took it: it is dropped, and comes again. */
static void a_user_that_changes_its_mind_gets_nothing_it_does_not_take(void **state)
{
	uint16_t port;
	struct tcp tcp;
	int listener = host_socket(SOCK_STREAM, false, &port), fd;

	begin_simulated();
	tcp = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	user_drain(&nat_world.user);
	assert_int_equal(send(fd, bulk(), 20000, 0), 20000);
	settle(nat_world.loop);
	net_port_set_receive(nat_world.port, NET_CAN_CHECKSUM);
	assert_int_equal(user_take(&nat_world.user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
	assert_int_equal(dropped_received(), 1);
	pass_time(nat_world.loop, &nat_now_ns, 3000, 500);
	tcp_wait(&tcp);
	assert_int_equal(tcp.bytes, 1460);
	assert_memory_equal(tcp.data, bulk(), 1460);
	close(fd);
	close(listener);
	end_simulated();
}

static void what_is_longer_than_the_mtu_comes_in_fragments(void **state)
{
	enum { BYTES = 4001 };
	uint8_t whole[BYTES];
	uint32_t at = 0;
	bool more = true;

	nat_begin(NULL);
	user_drain(&nat_world.user);
	send_ping(BYTES, 5);
	while (more) {
		const uint8_t *ip;
		uint32_t bytes;

		user_wait(&nat_world.user);
		ip = got() + NET_ETHERNET_BYTES;
		bytes = nat_world.user.bytes - transport_at(false);
		assert_true(nat_world.user.bytes <= NET_ETHERNET_BYTES + 1500);
		assert_int_equal(ip[9], PROTOCOL_ICMP);
		assert_int_equal(slow_sum(ip, 20), 0);
		assert_int_equal(get16(ip + 2), 20 + bytes);
		assert_int_equal((get16(ip + 6) & 0x1fff) * 8, at);
		more = get16(ip + 6) & 0x2000;
		assert_true(at + bytes <= BYTES);
		memcpy(whole + at, ip + 20, bytes);
		at += bytes;
	}
	assert_int_equal(at, BYTES);
	assert_int_equal(slow_sum(whole, BYTES), 0);
	assert_memory_equal(whole + 8, bulk() + 5, BYTES - 8);
	assert_int_equal(dropped_received(), 0);
	nat_end();
}

static void a_large_segment_is_taken_in_one_piece(void **state)
{
	static uint8_t ones[LARGE_BYTES], buffer[LARGE_BYTES];
	const uint32_t sizes[] = { 1461, 9000, 62780 - 54, LARGE_BYTES };
	struct tcp tcp;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, false, &port), fd;

	nat_begin(NULL);
	assert_int_equal(nat_world.port->can_send,
			 NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6);
	tcp = tcp_connect(&guest4, &router4, port);
	fd = accept_host(listener);
	memset(ones, 0xff, sizeof(ones)); /* the largest sum */
	for (size_t i = 0; i < 4; i++) {
		uint32_t read_bytes = 0;

		/* One acknowledgement, of all of it: nothing was lost, nothing cut off. */
		user_drain(&nat_world.user);
		tcp_send(&tcp, TCP_ACK | TCP_PSH, ones, sizes[i], 1460);
		tcp_wait(&tcp);
		assert_int_equal(tcp.answered, tcp.sequence);
		while (read_bytes < sizes[i])
			read_bytes += read_host(fd, buffer + read_bytes, sizes[i] - read_bytes);
		assert_memory_equal(buffer, ones, sizes[i]);
	}
	tcp_push(&tcp, fd, BULK_BYTES, 40000, 1460);
	close(fd);
	close(listener);
	nat_end();
}

static void a_partial_checksum_is_completed(void **state)
{
	uint16_t port;
	int fd = host_socket(SOCK_DGRAM, false, &port);
	struct net_offload offload = { .flags = NET_CHECKSUM_PARTIAL,
				       .checksum_start = (uint16_t)transport_at(false),
				       .checksum_offset = 6 };
	uint8_t *udp = guest_frame + transport_at(false), buffer[100];
	uint32_t bytes;

	nat_begin(NULL);
	put16(udp, 5000);
	put16(udp + 2, port);
	put16(udp + 4, 8 + 51);
	memcpy(udp + 8, bulk(), 51);
	bytes = put_ip(&guest4, &router4, PROTOCOL_UDP, 8 + 51, true);
	/* As it is, it would be dropped for its checksum. */
	send_frame(bytes, NULL);
	settle(nat_world.loop);
	assert_false(readable(&fd));
	send_frame(bytes, &offload);
	assert_int_equal(read_host(fd, buffer, sizeof(buffer)), 51);
	assert_memory_equal(buffer, bulk(), 51);
	close(fd);
	nat_end();
}

static void what_the_guest_receives_is_said_to_be_right_if_it_listens(void **state)
{
	nat_begin(NULL);
	send_ping(64, 1);
	wait_pong(64, 1);
	assert_int_equal(nat_world.user.offload.flags, NET_CHECKSUM_VALID);
	assert_int_equal(nat_world.user.offload.gso, NET_GSO_NONE);
	net_port_set_receive(nat_world.port, 0);
	send_ping(64, 2);
	wait_pong(64, 2);
	assert_int_equal(nat_world.user.offload.flags, 0);
	nat_end();
}

/* ---- forwards ---- */

/* A port of the host that was free a moment ago. */
static uint16_t free_port(int type)
{
	uint16_t port;
	int fd = host_socket(type, false, &port);

	close(fd);
	return port;
}

static uint16_t begin_forward(bool udp)
{
	struct nat_forward forward = { .udp = udp, .guest_port = 22 };
	struct nat_config config = { .forwards = &forward, .forward_count = 1 };
	struct net_port *port;

	for (;;) {
		forward.host_port = free_port(udp ? SOCK_DGRAM : SOCK_STREAM);
		if (nat_create(&config, &port, NULL) == 0)
			break;
	}
	nat_world.port = port;
	user_start(&nat_world.user, port, nat_world.loop);
	learn_router();
	return forward.host_port;
}

static int connect_host(int type, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void a_forward_brings_a_connection_to_the_guest(void **state)
{
	uint16_t host_port = begin_forward(false);
	int fd = connect_host(SOCK_STREAM, host_port);
	struct tcp tcp = { .guest = guest4, .host = router4, .guest_port = 22, .sequence = 77 };
	const uint8_t *syn = wait_ip(false, PROTOCOL_TCP);
	char line[NET_PORT_LINE_BYTES];
	uint8_t buffer[16];

	assert_int_equal(syn[13], TCP_SYN);
	assert_int_equal(get16(syn + 2), 22);
	assert_memory_equal(got() + 26, router4.bytes, 4);
	assert_memory_equal(got() + 30, guest4.bytes, 4);
	tcp.host_port = (uint16_t)get16(syn);
	tcp.acknowledged = get32(syn + 4) + 1;
	tcp_send(&tcp, TCP_SYN | TCP_ACK, NULL, 0, 0);
	tcp_wait(&tcp);
	assert_int_equal(tcp.flags, TCP_ACK);
	tcp_send(&tcp, TCP_ACK | TCP_PSH, "SSH-2.0", 7, 0);
	assert_int_equal(read_host(fd, buffer, sizeof(buffer)), 7);
	assert_memory_equal(buffer, "SSH-2.0", 7);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	do
		tcp_wait(&tcp);
	while (!tcp.bytes);
	assert_memory_equal(tcp.data, "hello", 5);
	tcp_take(&tcp);
	nat_world.port->ops->describe(nat_world.port, line);
	assert_string_equal(line, "user, 10.0.2.0/24, fec0::/64, 1 forward");
	close(fd);
	nat_end();
}

static void a_forward_brings_datagrams_to_the_guest_and_back(void **state)
{
	uint16_t host_port = begin_forward(true);
	int fd = connect_host(SOCK_DGRAM, host_port);
	uint8_t *udp = guest_frame + transport_at(false), buffer[16];
	const uint8_t *came;

	assert_int_equal(send(fd, "question", 8, 0), 8);
	came = wait_ip(false, PROTOCOL_UDP);
	assert_int_equal(get16(came + 2), 22);
	assert_memory_equal(came + 8, "question", 8);
	put16(udp, 22);
	put16(udp + 2, get16(came));
	put16(udp + 4, 8 + 6);
	memcpy(udp + 8, "answer", 6);
	send_frame(put_ip(&guest4, &router4, PROTOCOL_UDP, 8 + 6, false), NULL);
	assert_int_equal(read_host(fd, buffer, sizeof(buffer)), 6);
	assert_memory_equal(buffer, "answer", 6);
	close(fd);
	nat_end();
}

static void describes(const char *words)
{
	char line[NET_PORT_LINE_BYTES];

	nat_world.port->ops->describe(nat_world.port, line);
	assert_string_equal(line, words);
}

/* A new port is listened on at once; one that is taken away is free, and what came through it goes on. */
static void forwards_come_and_go_while_the_port_runs(void **state)
{
	struct nat_forward forward = { .guest_port = 22 };
	struct tcp tcp = { .guest = guest4, .host = router4, .guest_port = 22, .sequence = 77 };
	char error[NET_PORT_ERROR_BYTES];
	uint8_t buffer[16];
	const uint8_t *syn;
	int fd, other;

	nat_begin(NULL);
	settle(nat_world.loop);
	for (;;) {
		forward.host_port = free_port(SOCK_STREAM);
		if (nat_add_forward(nat_world.port, &forward, error) == 0)
			break;
	}
	describes("user, 10.0.2.0/24, fec0::/64, 1 forward");
	assert_int_equal(nat_add_forward(nat_world.port, &forward, error), -LIS_BUSY);
	fd = connect_host(SOCK_STREAM, forward.host_port);
	syn = wait_ip(false, PROTOCOL_TCP);
	tcp.host_port = (uint16_t)get16(syn);
	tcp.acknowledged = get32(syn + 4) + 1;
	tcp_send(&tcp, TCP_SYN | TCP_ACK, NULL, 0, 0);
	tcp_wait(&tcp);

	assert_int_equal(nat_remove_forward(nat_world.port, &forward, error), 0);
	assert_int_equal(nat_remove_forward(nat_world.port, &forward, error), -LIS_NOTFOUND);
	forward.udp = true;
	assert_int_equal(nat_remove_forward(nat_world.port, &forward, error), -LIS_NOTFOUND);
	describes("user, 10.0.2.0/24, fec0::/64");
	settle(nat_world.loop);
	other = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(other,
				 (struct sockaddr *)&(struct sockaddr_in){
					 .sin_family = AF_INET,
					 .sin_port = htons(forward.host_port),
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
				 sizeof(struct sockaddr_in)),
			 -1);
	close(other);
	tcp_send(&tcp, TCP_ACK | TCP_PSH, "SSH-2.0", 7, 0);
	assert_int_equal(read_host(fd, buffer, sizeof(buffer)), 7);
	close(fd);
	nat_end();
}

static void expect_error(const struct nat_config *config, int err, const char *words)
{
	char error[NET_PORT_ERROR_BYTES] = "";
	struct net_port *port = NULL;

	assert_int_equal(nat_create(config, &port, error), err);
	assert_null(port);
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
}

static void a_taken_port_is_an_error_in_words(void **state)
{
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		uint16_t port;
		int fd = host_socket(type, false, &port);
		struct nat_forward forward = { .udp = type == SOCK_DGRAM,
					       .host_port = port,
					       .guest_port = 80 };
		struct nat_config config = { .forwards = &forward, .forward_count = 1 };
		char words[64];

		snprintf(words, sizeof(words), "forward %s:127.0.0.1:%u: that port is taken",
			 forward.udp ? "udp" : "tcp", port);
		expect_error(&config, -LIS_BUSY, words);
		close(fd);
	}
}

static void expect_bad_forward(struct nat_forward forward, const char *words)
{
	struct nat_config config = { .forwards = &forward, .forward_count = 1 };

	expect_error(&config, -LIS_INVALID, words);
	config.forwards = NULL; /* not looked at where there is none */
	config.forward_count = 0;
}

static void configs_that_cannot_be_are_errors_in_words(void **state)
{
	static const char *const bad_ipv4[] = { "10.0.2.0",  "10.0.2.0/28", "10.0.2.0/7",
						"10.0.2/24", "127.0.0.0/8", "224.0.0.0/24",
						"0.0.0.0/8", "x/24",	    "10.0.2.0/24x",
						"fec0::/64", "10.0.2.0/" };
	static const char *const bad_ipv6[] = { "fec0::",    "fec0::/63", "fe80::/64",
						"ff00::/64", "::/64",	  "10.0.2.0/24" };

	for (size_t i = 0; i < sizeof(bad_ipv4) / sizeof(*bad_ipv4); i++)
		expect_error(&(struct nat_config){ .ipv4 = bad_ipv4[i] }, -LIS_INVALID,
			     bad_ipv4[i]);
	for (size_t i = 0; i < sizeof(bad_ipv6) / sizeof(*bad_ipv6); i++)
		expect_error(&(struct nat_config){ .ipv6 = bad_ipv6[i] }, -LIS_INVALID,
			     bad_ipv6[i]);
	expect_error(&(struct nat_config){ .no_ipv4 = true, .no_ipv6 = true }, -LIS_INVALID,
		     "without");
	expect_error(&(struct nat_config){ .mtu = 1279 }, -LIS_INVALID, "MTU 1279");
	expect_error(&(struct nat_config){ .mtu = 65522 }, -LIS_INVALID, "MTU 65522");
	expect_error(&(struct nat_config){ .hostname = "a-name-of-thirty-three-characters" },
		     -LIS_INVALID, "host name");
	expect_bad_forward((struct nat_forward){ .guest_port = 1 }, "port 0");
	expect_bad_forward((struct nat_forward){ .host_port = 1 }, "port 0");
	expect_bad_forward((struct nat_forward){ false, "localhost", 1, NULL, 1 }, "'localhost'");
	expect_bad_forward((struct nat_forward){ false, NULL, 1, "guest", 1 }, "'guest'");
	expect_bad_forward((struct nat_forward){ false, "::1", 1, "10.0.2.15", 1 }, "IPv6");
	expect_bad_forward((struct nat_forward){ false, "203.0.113.7", 1024, NULL, 1 },
			   "no such address");
	expect_error(&(struct nat_config){ .no_ipv4 = true,
					   .forward_count = 1,
					   .forwards = &(struct nat_forward){ .host_port = 1024,
									      .guest_port = 1 } },
		     -LIS_INVALID, "no IPv4");
}

static void a_restricted_guest_reaches_nobody(void **state)
{
	struct nat_config config = { .restricted = true };
	struct tcp tcp = { .guest = guest4, .host = router4, .guest_port = 1000 };
	int listener;

	nat_begin(&config);
	listener = host_socket(SOCK_STREAM, false, &tcp.host_port);
	tcp_send(&tcp, TCP_SYN, NULL, 0, 0);
	tcp_wait(&tcp);
	assert_true(tcp.flags & TCP_RST);
	assert_false(readable(&listener));
	close(listener);
	nat_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arp_finds_the_router_and_the_name_server_and_nobody_else),
		cmocka_unit_test(dhcp_gives_address_router_name_server_and_names),
		cmocka_unit_test(another_network_is_what_dhcp_tells),
		cmocka_unit_test(the_router_answers_a_ping),
		cmocka_unit_test(a_router_advertises_the_ipv6_network),
		cmocka_unit_test(ipv4_tcp_reaches_the_hosts_loopback_and_ends_well),
		cmocka_unit_test(ipv6_tcp_reaches_the_hosts_loopback_and_ends_well),
		cmocka_unit_test(a_connection_takes_the_place_of_one_that_just_ended),
		cmocka_unit_test(much_data_goes_both_ways_unchanged),
		cmocka_unit_test(what_takes_large_segments_gets_them),
		cmocka_unit_test(a_guest_of_our_mtu_is_said_to_take_any_segment),
		cmocka_unit_test(broken_options_are_left_alone),
		cmocka_unit_test(a_user_that_changes_its_mind_gets_nothing_it_does_not_take),
		cmocka_unit_test(what_is_longer_than_the_mtu_comes_in_fragments),
		cmocka_unit_test(a_large_segment_is_taken_in_one_piece),
		cmocka_unit_test(a_partial_checksum_is_completed),
		cmocka_unit_test(what_the_guest_receives_is_said_to_be_right_if_it_listens),
		cmocka_unit_test(a_forward_brings_a_connection_to_the_guest),
		cmocka_unit_test(forwards_come_and_go_while_the_port_runs),
		cmocka_unit_test(a_forward_brings_datagrams_to_the_guest_and_back),
		cmocka_unit_test(a_taken_port_is_an_error_in_words),
		cmocka_unit_test(configs_that_cannot_be_are_errors_in_words),
		cmocka_unit_test(a_restricted_guest_reaches_nobody),
	};

	return cmocka_run_group_tests(tests, nat_open_loop, nat_close_loop);
}
