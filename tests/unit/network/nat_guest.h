/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A guest made by hand, for tests of the NAT port: it speaks ARP, ICMP, UDP and just enough TCP.
 * Host ends are sockets on this machine's loopback. What comes must be right to the last checksum,
 * else the test fails.
 */
#ifndef OPENLIS_TESTS_NAT_GUEST_H
#define OPENLIS_TESTS_NAT_GUEST_H

#include "network/backends/nat.h"
#include "tests/unit/network/port_world.h"

#define TCP_FIN 0x01u
#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define TCP_PSH 0x08u
#define TCP_ACK 0x10u

#define PROTOCOL_ICMP 1u
#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define PROTOCOL_ICMPV6 58u

#define BULK_BYTES (1u << 20)

struct address {
	bool ipv6;
	uint8_t bytes[16];
};

extern const struct address guest4, router4, guest6, router6;
extern const uint8_t guest_mac[6], broadcast_mac[6];

struct nat_world {
	struct io_loop *loop;
	struct net_port *port;
	struct port_user user;
	uint8_t router_mac[6];
};

extern struct nat_world nat_world;
/* The next frame to be sent is made here. */
extern uint8_t guest_frame[NET_FRAME_BYTES_MAX];

/* ---- the world ---- */

/** nat_open_loop() - One loop for all tests of a program. */
int nat_open_loop(void **state);
int nat_close_loop(void **state);

/** nat_begin() - A port of this config, started, and the router known. NULL for defaults. */
void nat_begin(const struct nat_config *config);
void nat_end(void);

/** begin_simulated() - The same on a loop whose time is nat_now_ns: nothing comes of itself. */
void begin_simulated(void);
void end_simulated(void);
extern uint64_t nat_now_ns;

/** learn_router() - Ask for the router's address by ARP, which tells it ours as well. */
void learn_router(void);

uint64_t dropped_received(void);

/* ---- frames ---- */

uint32_t get16(const uint8_t *at);
uint32_t get32(const uint8_t *at);
void put16(uint8_t *at, uint32_t value);
void put32(uint8_t *at, uint32_t value);

void put_ethernet(const uint8_t to[6], uint32_t type);

/** transport_at() - Where TCP, UDP and ICMP are in a frame. */
uint32_t transport_at(bool ipv6);

/**
 * put_ip() - Headers of Ethernet and IP around a transport that is there already.
 * @bytes: of it
 * @partial: its checksum is the pseudo header's sum only
 *
 * Return: the frame's length.
 */
uint32_t put_ip(const struct address *from, const struct address *to, uint8_t protocol,
		uint32_t bytes, bool partial);

/** send_frame() - It must be taken. */
void send_frame(uint32_t bytes, const struct net_offload *offload);

void send_arp(uint32_t operation, const uint8_t to_mac[6], const struct address *to);

/** got() - The frame received last. */
const uint8_t *got(void);

/** wait_ip() - The next packet of a protocol. Return: its transport. */
const uint8_t *wait_ip(bool ipv6, uint8_t protocol);

/** dhcp_request() - Of a type, in guest_frame. Return: its length. */
uint32_t dhcp_request(uint8_t type);

/** send_ping() - To the router; @bytes with ICMP's header. wait_pong() - Its answer. */
void send_ping(uint32_t bytes, uint32_t number);
void wait_pong(uint32_t bytes, uint32_t number);

/* ---- sockets of the host ---- */

/** host_socket() - On loopback, any port; -1 where there is no IPv6. */
int host_socket(int type, bool ipv6, uint16_t *out_port);

/** accept_host() - Wait for a connection. */
int accept_host(int listener);

/** read_host() - Wait for data. Return: how much; 0 at the end of the stream. */
uint32_t read_host(int fd, void *to, uint32_t bytes);

/* ---- TCP ---- */

struct tcp {
	struct address guest, host;
	uint16_t guest_port, host_port;
	uint32_t sequence, acknowledged; /* next to send, next to come */
	uint32_t window;		 /* of the other side */
	/* Of the last segment received. */
	uint8_t flags;
	const uint8_t *data;
	uint32_t bytes, answered;
};

/** tcp_send() - @mss: not 0: a large segment, with a partial checksum. */
void tcp_send(struct tcp *tcp, uint8_t flags, const void *data, uint32_t bytes, uint16_t mss);

/** tcp_wait() - The next segment of the connection; in sequence. */
void tcp_wait(struct tcp *tcp);

/** tcp_take() - Acknowledge it. */
void tcp_take(struct tcp *tcp);

/** tcp_connect() - From the guest to a listener. */
struct tcp tcp_connect(const struct address *guest, const struct address *host, uint16_t host_port);

/** bulk() - BULK_BYTES of data, no two stretches alike. */
const uint8_t *bulk(void);

/**
 * tcp_push() - Bulk data to the host, in segments of up to @segment bytes, within the window, until
 * all of it is acknowledged and has come out of @fd.
 */
void tcp_push(struct tcp *tcp, int fd, uint32_t bytes, uint32_t segment, uint16_t mss);

#endif
