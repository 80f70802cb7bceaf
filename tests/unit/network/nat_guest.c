// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* A guest made by hand, for tests of the NAT port: see nat_guest.h. */
#include "tests/unit/network/nat_guest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/network/slow_frame.h"

const struct address guest4 = { .bytes = { 10, 0, 2, 15 } };
const struct address router4 = { .bytes = { 10, 0, 2, 2 } };
const struct address guest6 = { true, { 0xfe, 0xc0, [15] = 0x77 } };
const struct address router6 = { true, { 0xfe, 0xc0, [15] = 2 } };
const uint8_t guest_mac[6] = { 0x00, 0x15, 0x5d, 1, 2, 3 };
const uint8_t broadcast_mac[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

struct nat_world nat_world;
uint8_t guest_frame[NET_FRAME_BYTES_MAX];

/* ---- frames ---- */

uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

void put_ethernet(const uint8_t to[6], uint32_t type)
{
	memcpy(guest_frame, to, 6);
	memcpy(guest_frame + 6, guest_mac, 6);
	put16(guest_frame + 12, type);
}

uint32_t transport_at(bool ipv6)
{
	return NET_ETHERNET_BYTES + (ipv6 ? 40 : 20);
}

/* Where the checksum of a protocol is. */
static uint32_t checksum_at(uint8_t protocol)
{
	return protocol == PROTOCOL_TCP ? 16 : protocol == PROTOCOL_UDP ? 6 : 2;
}

/* The pseudo header's sum. */
static uint32_t pseudo_sum(const struct address *from, const struct address *to, uint8_t protocol,
			   uint32_t bytes)
{
	uint32_t length = from->ipv6 ? 16 : 4;
	uint8_t pseudo[40] = { 0 };

	memcpy(pseudo, from->bytes, length);
	memcpy(pseudo + length, to->bytes, length);
	put32(pseudo + 2 * length, bytes);
	put32(pseudo + 2 * length + 4, protocol);
	return slow_sum(pseudo, 2 * length + 8);
}

/*
 * Headers of Ethernet and IP around a transport's @bytes bytes, which are at transport_at()
 * already. Returns the frame's length. The checksum is there, or with @partial the pseudo header's
 * sum.
 */
uint32_t put_ip(const struct address *from, const struct address *to, uint8_t protocol,
		uint32_t bytes, bool partial)
{
	uint8_t *ip = guest_frame + NET_ETHERNET_BYTES,
		*transport = guest_frame + transport_at(from->ipv6);
	uint8_t *checksum = transport + checksum_at(protocol);
	uint32_t sum = protocol == PROTOCOL_ICMP ? 0 : pseudo_sum(from, to, protocol, bytes);

	put_ethernet(nat_world.router_mac, from->ipv6 ? 0x86dd : 0x0800);
	if (from->ipv6) {
		memset(ip, 0, 40);
		ip[0] = 0x60;
		put16(ip + 4, bytes);
		ip[6] = protocol;
		ip[7] = 255;
		memcpy(ip + 8, from->bytes, 16);
		memcpy(ip + 24, to->bytes, 16);
	} else {
		memset(ip, 0, 20);
		ip[0] = 0x45;
		put16(ip + 2, 20 + bytes);
		ip[8] = 64;
		ip[9] = protocol;
		memcpy(ip + 12, from->bytes, 4);
		memcpy(ip + 16, to->bytes, 4);
		put16(ip + 10, 65535 - slow_sum(ip, 20));
	}
	put16(checksum, 0);
	put16(checksum, partial ? sum : 65535 - (sum + slow_sum(transport, bytes)) % 65535);
	return transport_at(from->ipv6) + bytes;
}

void send_frame(uint32_t bytes, const struct net_offload *offload)
{
	assert_int_equal(user_send(&nat_world.user, guest_frame, bytes, bytes / 7 + 1, offload), 0);
}

void send_arp(uint32_t operation, const uint8_t to_mac[6], const struct address *to)
{
	uint8_t *arp = guest_frame + NET_ETHERNET_BYTES;

	put_ethernet(to_mac, 0x0806);
	memset(arp, 0, 28);
	put16(arp, 1);
	put16(arp + 2, 0x0800);
	arp[4] = 6;
	arp[5] = 4;
	put16(arp + 6, operation);
	memcpy(arp + 8, guest_mac, 6);
	memcpy(arp + 14, guest4.bytes, 4);
	memcpy(arp + 18, operation == 2 ? to_mac : (const uint8_t[6]){ 0 }, 6);
	memcpy(arp + 24, to->bytes, 4);
	send_frame(42, NULL);
}

const uint8_t *got(void)
{
	return nat_world.user.memory;
}

/* A neighbour solicitation for us, or an ARP request, answered as a guest's kernel would. */
static bool answer_neighbours(void)
{
	uint8_t *icmp = guest_frame + transport_at(true);
	struct address sender;

	if (get16(got() + 12) == 0x0806 && get16(got() + 20) == 1) {
		memcpy(sender.bytes, got() + 28, 4);
		send_arp(2, got() + 6, &sender);
		return true;
	}
	if (get16(got() + 12) != 0x86dd || got()[20] != PROTOCOL_ICMPV6 || got()[54] != 135)
		return false;
	sender.ipv6 = true;
	memcpy(sender.bytes, got() + 22, 16);
	memset(icmp, 0, 32);
	icmp[0] = 136;
	icmp[4] = 0x60;
	memcpy(icmp + 8, guest6.bytes, 16);
	icmp[24] = 2;
	icmp[25] = 1;
	memcpy(icmp + 26, guest_mac, 6);
	send_frame(put_ip(&guest6, &sender, PROTOCOL_ICMPV6, 32, false), NULL);
	return true;
}

/* The next frame of an IP protocol; all on the way must be right. */
const uint8_t *wait_ip(bool ipv6, uint8_t protocol)
{
	for (;;) {
		uint32_t type;

		user_wait(&nat_world.user);
		type = get16(got() + 12);
		if (answer_neighbours() || type != (ipv6 ? 0x86ddu : 0x0800u) ||
		    got()[ipv6 ? 20 : 23] != protocol)
			continue;
		if (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP)
			assert_null(slow_frame_wrong(got(), nat_world.user.bytes,
						     nat_world.user.offload.flags & NET_CHECKSUM_PARTIAL));
		return got() + transport_at(ipv6);
	}
}

/* ---- the world ---- */

int nat_open_loop(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(io_loop_create(NULL, &nat_world.loop), 0);
	return 0;
}

int nat_close_loop(void **state)
{
	io_loop_destroy(nat_world.loop);
	return 0;
}

void learn_router(void)
{
	send_arp(1, broadcast_mac, &router4);
	do
		user_wait(&nat_world.user);
	while (get16(got() + 12) != 0x0806 || get16(got() + 20) != 2);
	assert_memory_equal(got() + 28, router4.bytes, 4);
	memcpy(nat_world.router_mac, got() + 22, 6);
}

void nat_begin(const struct nat_config *config)
{
	char error[NET_PORT_ERROR_BYTES] = "";
	int err = nat_create(config, &nat_world.port, error);

	if (err)
		fail_msg("%s", error);
	user_start(&nat_world.user, nat_world.port, nat_world.loop);
	net_port_set_receive(nat_world.port, NET_CAN_ALL);
	if (!config || !config->no_ipv4)
		learn_router();
}

void nat_end(void)
{
	user_stop(&nat_world.user);
	net_port_destroy(nat_world.port);
}

uint64_t dropped_received(void)
{
	return atomic_load(&nat_world.port->counters.receive_dropped);
}

/* ---- simulated time: nothing comes of itself ---- */

uint64_t nat_now_ns;
static struct io_loop *real_loop;

void begin_simulated(void)
{
	real_loop = nat_world.loop;
	nat_world.loop = simulated_loop(&nat_now_ns);
	nat_begin(NULL);
	settle(nat_world.loop);
	user_drain(&nat_world.user);
}

void end_simulated(void)
{
	nat_end();
	io_loop_destroy(nat_world.loop);
	nat_world.loop = real_loop;
}

void send_ping(uint32_t bytes, uint32_t number)
{
	uint8_t *icmp = guest_frame + transport_at(false);

	memset(icmp, 0, 8);
	icmp[0] = 8;
	put16(icmp + 6, number);
	memcpy(icmp + 8, bulk() + number, bytes - 8);
	send_frame(put_ip(&guest4, &router4, PROTOCOL_ICMP, bytes, false), NULL);
}

void wait_pong(uint32_t bytes, uint32_t number)
{
	const uint8_t *icmp = wait_ip(false, PROTOCOL_ICMP);

	assert_int_equal(nat_world.user.bytes, transport_at(false) + bytes);
	assert_int_equal(icmp[0], 0);
	assert_int_equal(get16(icmp + 6), number);
	assert_int_equal(slow_sum(icmp, bytes), 0);
	assert_memory_equal(icmp + 8, bulk() + number, bytes - 8);
}

uint32_t dhcp_request(uint8_t type)
{
	const struct address nobody = { .ipv6 = false }, all = { .bytes = { 255, 255, 255, 255 } };
	uint8_t *udp = guest_frame + transport_at(false), *dhcp = udp + 8;

	memset(udp, 0, 8 + 300);
	put16(udp, 68);
	put16(udp + 2, 67);
	put16(udp + 4, 308);
	dhcp[0] = 1;
	dhcp[1] = 1;
	dhcp[2] = 6;
	put32(dhcp + 4, 0x12345678);
	memcpy(dhcp + 28, guest_mac, 6);
	put32(dhcp + 236, 0x63825363);
	memcpy(dhcp + 240, (const uint8_t[]){ 53, 1, type, 50, 4, 10, 0, 2, 15, 255 }, 10);
	memcpy(nat_world.router_mac, broadcast_mac, 6);
	return put_ip(&nobody, &all, PROTOCOL_UDP, 308, false);
}

/* ---- sockets of the host ---- */

int host_socket(int type, bool ipv6, uint16_t *out_port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct sockaddr_in *address4 = (struct sockaddr_in *)&address;
	socklen_t bytes = ipv6 ? sizeof(address) : sizeof(*address4);
	int fd = socket(ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK, 0);

	if (!ipv6)
		*address4 = (struct sockaddr_in){ .sin_family = AF_INET,
						  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, bytes)) {
		assert_true(ipv6);
		close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	*out_port = ntohs(address4->sin_port);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

int accept_host(int listener)
{
	int fd;

	turn_until(nat_world.loop, readable, &listener);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	return fd;
}

/* Returns 0 at the end of the stream. */
uint32_t read_host(int fd, void *to, uint32_t bytes)
{
	ssize_t got_bytes;

	turn_until(nat_world.loop, readable, &fd);
	got_bytes = recv(fd, to, bytes, 0);
	assert_true(got_bytes >= 0);
	return (uint32_t)got_bytes;
}

/* ---- TCP ---- */

void tcp_send(struct tcp *tcp, uint8_t flags, const void *data, uint32_t bytes, uint16_t mss)
{
	uint8_t *transport = guest_frame + transport_at(tcp->guest.ipv6);
	uint32_t header = flags & TCP_SYN ? 24 : 20, length;
	struct net_offload offload = {
		.flags = NET_CHECKSUM_PARTIAL,
		.gso = tcp->guest.ipv6 ? NET_GSO_TCP_IPV6 : NET_GSO_TCP_IPV4,
		.segment_bytes = mss,
		.header_bytes = (uint16_t)(transport_at(tcp->guest.ipv6) + header),
		.checksum_start = (uint16_t)transport_at(tcp->guest.ipv6),
		.checksum_offset = 16,
	};

	memset(transport, 0, header);
	put16(transport, tcp->guest_port);
	put16(transport + 2, tcp->host_port);
	put32(transport + 4, tcp->sequence);
	put32(transport + 8, flags & TCP_ACK ? tcp->acknowledged : 0);
	transport[12] = (uint8_t)(header / 4 << 4);
	transport[13] = flags;
	put16(transport + 14, 65535);
	if (flags & TCP_SYN)
		put32(transport + 20, 0x02040000 | (tcp->guest.ipv6 ? 1440 : 1460));
	if (bytes)
		memcpy(transport + header, data, bytes);
	length = put_ip(&tcp->guest, &tcp->host, PROTOCOL_TCP, header + bytes, mss != 0);
	tcp->sequence += bytes + !!(flags & (TCP_SYN | TCP_FIN));
	send_frame(length, mss ? &offload : NULL);
}

/* The next segment of the connection. */
void tcp_wait(struct tcp *tcp)
{
	const uint8_t *segment;
	uint32_t header;

	do
		segment = wait_ip(tcp->guest.ipv6, PROTOCOL_TCP);
	while (get16(segment) != tcp->host_port || get16(segment + 2) != tcp->guest_port);
	header = (uint32_t)(segment[12] >> 4) * 4;
	tcp->flags = segment[13];
	tcp->window = get16(segment + 14);
	tcp->answered = get32(segment + 8);
	tcp->data = segment + header;
	tcp->bytes = nat_world.user.bytes - transport_at(tcp->guest.ipv6) - header;
	if (tcp->flags & TCP_SYN)
		tcp->acknowledged = get32(segment + 4) + 1;
	else if (!(tcp->flags & TCP_RST) && (tcp->bytes || (tcp->flags & TCP_FIN)))
		assert_int_equal(get32(segment + 4), tcp->acknowledged);
}

void tcp_take(struct tcp *tcp)
{
	tcp->acknowledged += tcp->bytes + !!(tcp->flags & TCP_FIN);
	tcp_send(tcp, TCP_ACK, NULL, 0, 0);
}

/* From the guest to a listener of the host's. */
struct tcp tcp_connect(const struct address *guest, const struct address *host, uint16_t host_port)
{
	static uint16_t next_port = 40000;
	struct tcp tcp = { .guest = *guest,
			   .host = *host,
			   .guest_port = ++next_port,
			   .host_port = host_port,
			   .sequence = 0xfffff000 };

	tcp_send(&tcp, TCP_SYN, NULL, 0, 0);
	tcp_wait(&tcp);
	assert_int_equal(tcp.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(tcp.answered, tcp.sequence);
	tcp_send(&tcp, TCP_ACK, NULL, 0, 0);
	return tcp;
}

static uint8_t pattern(uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + (at >> 16));
}

const uint8_t *bulk(void)
{
	static uint8_t bytes[BULK_BYTES];

	for (uint32_t i = 0; !bytes[1] && i < BULK_BYTES; i++)
		bytes[i] = pattern(i);
	return bytes;
}

/* @bytes bytes at most @segment bytes at a time, in the window, until all is acknowledged. */
void tcp_push(struct tcp *tcp, int fd, uint32_t bytes, uint32_t segment, uint16_t mss)
{
	uint32_t first = tcp->sequence, read_bytes = 0, acked = 0;
	static uint8_t buffer[BULK_BYTES];

	while (read_bytes < bytes || acked < bytes) {
		uint32_t at = tcp->sequence - first, left = bytes - at;
		uint32_t now = left < segment ? left : segment;
		ssize_t got_bytes;

		if (now && at + now - acked <= tcp->window) {
			tcp_send(tcp, TCP_ACK | TCP_PSH, bulk() + at, now, mss);
		} else if (acked < at) {
			tcp_wait(tcp);
			acked = tcp->answered - first;
			assert_true(acked <= at);
		} else {
			turn_until(nat_world.loop, readable, &fd);
		}
		got_bytes = recv(fd, buffer + read_bytes, bytes - read_bytes, 0);
		read_bytes += got_bytes > 0 ? (uint32_t)got_bytes : 0;
	}
	assert_memory_equal(buffer, bulk(), bytes);
}
