// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What addresses a guest is found to have, by what it says and what it only passes on. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "network/addresses.h"

#define MINUTE_NS 60000000000ull

static const uint8_t mac[6] = { 0, 0x15, 0x5d, 1, 2, 3 }, other_mac[6] = { 0, 0x15, 0x5d, 9, 9, 9 };
static struct net_addresses addresses;
static uint64_t now_ns;

static int setup(void **state)
{
	net_addresses_init(&addresses);
	now_ns = 1000 * MINUTE_NS;
	return 0;
}

static int teardown(void **state)
{
	net_addresses_fini(&addresses);
	return 0;
}

/* As the card does: news, or all the same. In two pieces of their very length. */
static void see(const uint8_t *frame, uint32_t bytes, bool news)
{
	uint32_t first = bytes < 30 ? bytes : 30;
	struct iovec iov[] = { { malloc(first), first }, { malloc(bytes - first + 1), bytes - first } };
	struct net_frame net_frame = { .iov = iov, .iov_count = 2, .bytes = bytes };

	memcpy(iov[0].iov_base, frame, first);
	memcpy(iov[1].iov_base, frame + first, bytes - first);
	assert_int_equal(net_addresses_is_news(&net_frame), news);
	net_addresses_see(&addresses, mac, &net_frame, now_ns);
	free(iov[0].iov_base);
	free(iov[1].iov_base);
}

/* Those that are in use now, one behind the other. */
static void they_are(const char *expected)
{
	struct net_address found[NET_ADDRESSES_MAX];
	uint32_t count = net_addresses_get(&addresses, now_ns, found);
	char text[NET_ADDRESSES_MAX * 48] = "";

	for (uint32_t i = 0; i < count; i++) {
		char one[INET6_ADDRSTRLEN];

		assert_non_null(inet_ntop(found[i].version == 4 ? AF_INET : AF_INET6, found[i].bytes, one,
					  sizeof(one)));
		strcat(strcat(text, i ? " " : ""), one);
	}
	assert_string_equal(text, expected);
}

static uint8_t *head(uint8_t *frame, const uint8_t *from, bool tagged, uint32_t type)
{
	memset(frame, 0, 200);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, from, 6);
	if (tagged) {
		frame[12] = 0x81;
		frame[15] = 7;
		frame += 4;
	}
	frame[12] = (uint8_t)(type >> 8);
	frame[13] = (uint8_t)type;
	return frame + 14;
}

/* @cut: so many bytes less. */
static void arp(const uint8_t *from, const uint8_t *hardware, const char *sender, bool tagged,
		uint32_t cut)
{
	uint8_t frame[200], *at = head(frame, from, tagged, 0x0806);

	memcpy(at, (const uint8_t[]){ 0, 1, 8, 0, 6, 4, 0, 1 }, 8);
	memcpy(at + 8, hardware, 6);
	inet_pton(AF_INET, sender, at + 14);
	inet_pton(AF_INET, "10.0.2.2", at + 24);
	see(frame, (uint32_t)(at - frame) + 28 - cut, true);
}

static void ipv4(const char *source)
{
	uint8_t frame[200], *at = head(frame, mac, false, 0x0800);

	at[0] = 0x45;
	inet_pton(AF_INET, source, at + 12);
	see(frame, 60, false);
}

static void ipv6(const char *source, uint8_t protocol, uint8_t hops, uint8_t type, const char *target,
		 uint32_t bytes)
{
	uint8_t frame[200], *at = head(frame, mac, false, 0x86dd);

	at[0] = 0x60;
	at[6] = protocol;
	at[7] = hops;
	inet_pton(AF_INET6, source, at + 8);
	at[40] = type;
	inet_pton(AF_INET6, target, at + 48);
	see(frame, 14 + bytes, protocol == 58);
}

#define ND_BYTES (40u + 24u)

static void solicit(const char *source, const char *target)
{
	ipv6(source, 58, 255, 135, target, ND_BYTES);
}

static void what_it_says_in_arp_is_its_address(void **state)
{
	they_are("");
	arp(mac, mac, "10.0.2.15", false, 0);
	they_are("10.0.2.15");
	arp(mac, mac, "10.0.2.15", false, 0);
	arp(mac, mac, "192.168.7.1", true, 0);
	now_ns++;
	arp(mac, mac, "10.0.2.15", false, 0);
	they_are("10.0.2.15 192.168.7.1");
}

static void what_is_not_its_own_is_not_believed(void **state)
{
	arp(other_mac, mac, "10.0.2.15", false, 0);
	arp(mac, other_mac, "10.0.2.15", false, 0);
	arp(mac, mac, "0.0.0.0", false, 0); /* it only asks whether one is free */
	arp(mac, mac, "127.0.0.1", false, 0);
	arp(mac, mac, "224.0.0.1", false, 0);
	arp(mac, mac, "255.255.255.255", false, 0);
	arp(mac, mac, "10.0.2.15", false, 1);
	solicit("ff02::1", "ff02::1");
	solicit("::1", "::1");
	solicit("::", "::");
	they_are("");
}

static void what_it_says_of_neighbours_is_its_address(void **state)
{
	solicit("::", "fe80::1"); /* it is about to take it */
	they_are("fe80::1");
	now_ns++;
	solicit("fec0::15", "fec0::2");
	they_are("fec0::15 fe80::1");
	now_ns++;
	ipv6("fe80::1", 58, 255, 136, "fec0::77", ND_BYTES);
	they_are("fe80::1 fec0::77 fec0::15");
	arp(mac, mac, "10.0.2.15", false, 0);
	they_are("10.0.2.15 fe80::1 fec0::77 fec0::15");
}

static void what_may_have_come_from_afar_tells_nothing(void **state)
{
	ipv6("fec0::15", 58, 64, 135, "fec0::2", ND_BYTES);     /* through a router */
	ipv6("fec0::15", 58, 255, 128, "fec0::2", ND_BYTES);    /* a ping */
	ipv6("fec0::15", 58, 255, 135, "fec0::2", ND_BYTES - 1);
	ipv6("fec0::15", 17, 255, 135, "fec0::2", ND_BYTES);
	ipv6("fec0::15", 6, 64, 0, "::", 60);
	ipv4("10.0.2.15");
	they_are("");
}

static void an_address_lasts_while_it_is_used(void **state)
{
	arp(mac, mac, "10.0.2.15", false, 0);
	solicit("fec0::15", "fec0::2");
	for (uint32_t hours = 0; hours < 5; hours++) {
		now_ns += 59 * MINUTE_NS;
		they_are("10.0.2.15 fec0::15");
		ipv4("10.0.2.15");
		ipv6("fec0::15", 6, 64, 0, "::", 60);
	}
	now_ns += 59 * MINUTE_NS;
	ipv4("10.0.2.15");
	now_ns += 2 * MINUTE_NS;
	they_are("10.0.2.15");
	now_ns += 61 * MINUTE_NS;
	they_are("");
	arp(mac, mac, "10.0.2.15", false, 0);
	they_are("10.0.2.15");
	net_addresses_forget(&addresses);
	they_are("");
}

static void no_guest_makes_it_grow(void **state)
{
	struct net_address found[NET_ADDRESSES_MAX];
	char text[INET6_ADDRSTRLEN];

	for (uint32_t i = 0; i < 100000; i++) {
		now_ns++;
		snprintf(text, sizeof(text), "10.%u.%u.%u", 1 + i / 65536, i / 256 % 256, i % 256);
		arp(mac, mac, text, false, 0);
		snprintf(text, sizeof(text), "fec0::%x:%x", i / 65536, i % 65536 + 1);
		solicit("::", text);
	}
	assert_int_equal(addresses.count, NET_ADDRESSES_MAX);
	assert_int_equal(net_addresses_get(&addresses, now_ns, found), NET_ADDRESSES_MAX);
	/* The last ones of each. */
	assert_memory_equal(found[0].bytes, ((const uint8_t[]){ 10, 2, 0x86, 0x9f }), 4);
	assert_int_equal(found[15].version, 6);
	/* One that is used on stays, whatever else it makes up. */
	net_addresses_forget(&addresses);
	arp(mac, mac, "10.0.2.15", false, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		now_ns++;
		snprintf(text, sizeof(text), "fec0::%x", i + 1);
		solicit("::", text);
		now_ns++;
		ipv4("10.0.2.15");
	}
	assert_true(net_addresses_get(&addresses, now_ns, found) && found[0].version == 4);
}

static void frames_of_any_bytes_and_lengths_are_harmless(void **state)
{
	uint8_t frame[200];
	uint64_t random = 88172645463325252ull;

	for (uint32_t i = 0; i < 200000; i++) {
		static const uint8_t types[][2] = { { 8, 6 }, { 8, 0 }, { 0x86, 0xdd }, { 0x81, 0 } };
		uint32_t bytes;
		uint8_t *copy;

		for (uint32_t j = 0; j < sizeof(frame); j += 8) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			memcpy(frame + j, &random, 8);
		}
		memcpy(frame + 6, mac, 6);
		memcpy(frame + 12, types[random % 4], 2);
		memcpy(frame + 16, types[random / 4 % 4], 2);
		bytes = 14 + (uint32_t)(random >> 8) % 100;
		copy = malloc(bytes);
		memcpy(copy, frame, bytes);
		{
			struct iovec iov = { copy, bytes };
			struct net_frame net_frame = { .iov = &iov, .iov_count = 1, .bytes = bytes };

			(void)net_addresses_is_news(&net_frame);
			net_addresses_see(&addresses, mac, &net_frame, i);
		}
		free(copy);
	}
	assert_true(addresses.count <= NET_ADDRESSES_MAX);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_it_says_in_arp_is_its_address),
		TEST(what_is_not_its_own_is_not_believed),
		TEST(what_it_says_of_neighbours_is_its_address),
		TEST(what_may_have_come_from_afar_tells_nothing),
		TEST(an_address_lasts_while_it_is_used),
		TEST(no_guest_makes_it_grow),
		TEST(frames_of_any_bytes_and_lengths_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
