/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a network card does, done in software: headers found in sound, cut and lying frames, sums,
 * checksums and hashes, beside slow_frame.c, which finds them out byte by byte.
 */
#include "tests/unit/network/any_frame.h"

/* ---- headers ---- */

static void assert_headers(const uint8_t *memory, size_t bytes, const struct net_headers *expected)
{
	struct net_headers headers;
	uint8_t *copy = copy_of(memory, bytes);

	memset(&headers, 0xa5, sizeof(headers));
	net_parse_headers(copy, bytes, &headers);
	free(copy);
	assert_int_equal(headers.ip_offset, expected->ip_offset);
	assert_int_equal(headers.transport_offset, expected->transport_offset);
	assert_int_equal(headers.bytes, expected->bytes);
	assert_int_equal(headers.ip_version, expected->ip_version);
	assert_int_equal(headers.transport, expected->transport);
	assert_int_equal(headers.fragment, expected->fragment);
}

static void parse_finds_the_headers_of_plain_frames(void **state)
{
	static const struct {
		struct slow_plan plan;
		struct net_headers headers;
	} cases[] = {
		{ { 0 }, { 14, 34, 54, 4, NET_TRANSPORT_TCP } },
		{ { .udp = true }, { 14, 34, 42, 4, NET_TRANSPORT_UDP } },
		{ { .ipv6 = true }, { 14, 54, 74, 6, NET_TRANSPORT_TCP } },
		{ { .ipv6 = true, .udp = true }, { 14, 54, 62, 6, NET_TRANSPORT_UDP } },
		{ { .vlan_tags = 1 }, { 18, 38, 58, 4, NET_TRANSPORT_TCP } },
		{ { .vlan_tags = 2 }, { 22, 42, 62, 4, NET_TRANSPORT_TCP } },
		{ { .vlan_tags = 3 }, { 22 } },
		{ { .ip_option_words = 10, .tcp_option_words = 10 },
		  { 14, 74, 134, 4, NET_TRANSPORT_TCP } },
		{ { .ipv6 = true,
		    .extension_count = 3,
		    .extensions = { { 0, 1 }, { 43, 0 }, { 60, 2 } } },
		  { 14, 54 + 16 + 8 + 24, 54 + 48 + 20, 6, NET_TRANSPORT_TCP } },
		/* One fragment that is all of it. */
		{ { .ipv6 = true, .extension_count = 1, .extensions = { { 44, 0 } } },
		  { 14, 62, 82, 6, NET_TRANSPORT_TCP } },
	};

	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slow_plan plan = cases[i].plan;

		plan.payload_bytes = 5;
		assert_headers(frame, slow_build(&plan, frame, 0, &offload), &cases[i].headers);
		plan.payload_bytes = 1000;
		assert_headers(frame, slow_build(&plan, frame, 0, &offload), &cases[i].headers);
	}
}

static void parse_knows_what_is_neither_tcp_nor_udp(void **state)
{
	struct slow_plan plan = { .payload_bytes = 8 };
	uint32_t bytes = slow_build(&plan, frame, 0, &offload);

	frame[23] = 1; /* ICMP */
	assert_headers(frame, bytes, &(struct net_headers){ 14, 34, 0, 4 });
	frame[13] = 0x06; /* ARP */
	assert_headers(frame, bytes, &(struct net_headers){ 14 });
	plan.ipv6 = true;
	bytes = slow_build(&plan, frame, 0, &offload);
	frame[20] = 51; /* IPsec's authentication header */
	assert_headers(frame, bytes, &(struct net_headers){ 14, 54, 0, 6 });
	frame[20] = 59;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 54, 0, 6 });
}

static void parse_finds_no_transport_in_fragments(void **state)
{
	static const uint16_t words[] = { 0x2000, 0x0001, 0x1fff, 0x3fff, 0x6000 };
	struct slow_plan plan = { .payload_bytes = 8 };
	uint32_t bytes = slow_build(&plan, frame, 0, &offload);

	for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		frame[20] = (uint8_t)(words[i] >> 8);
		frame[21] = (uint8_t)words[i];
		assert_headers(frame, bytes, &(struct net_headers){ 14, 0, 0, 4, 0, true });
	}
	frame[20] = 0xc0; /* don't fragment, and a bit that means nothing */
	frame[21] = 0;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 34, 54, 4, NET_TRANSPORT_TCP });
	plan = (struct slow_plan){ .ipv6 = true,
				   .payload_bytes = 8,
				   .extension_count = 2,
				   .extensions = { { 60, 0 }, { 44, 0 } } };
	bytes = slow_build(&plan, frame, 0, &offload);
	frame[65] = 1; /* more to come */
	assert_headers(frame, bytes, &(struct net_headers){ 14, 0, 0, 6, 0, true });
	frame[65] = 8; /* the second eight bytes */
	assert_headers(frame, bytes, &(struct net_headers){ 14, 0, 0, 6, 0, true });
	frame[65] = 6; /* bits that mean nothing */
	assert_headers(frame, bytes, &(struct net_headers){ 14, 70, 90, 6, NET_TRANSPORT_TCP });
}

static void parse_disbelieves_lengths_that_lie(void **state)
{
	struct slow_plan plan = { .payload_bytes = 40 };
	const struct net_headers whole = { 14, 34, 54, 4, NET_TRANSPORT_TCP };
	uint32_t bytes = slow_build(&plan, frame, 0, &offload);

	frame[14] = 0x44;
	assert_headers(frame, bytes, &(struct net_headers){ 14 });
	frame[14] = 0x65;
	assert_headers(frame, bytes, &(struct net_headers){ 14 });
	frame[14] = 0x45;
	frame[17] = 19; /* less than the header itself */
	assert_headers(frame, bytes, &(struct net_headers){ 14 });
	frame[17] = 39; /* the packet ends within TCP's header, and the rest is padding */
	assert_headers(frame, bytes, &(struct net_headers){ 14, 34, 0, 4 });
	frame[17] = 40;
	assert_headers(frame, bytes, &whole);
	frame[17] = 0; /* left to the card */
	assert_headers(frame, bytes, &whole);
	frame[16] = 0xff;
	assert_headers(frame, bytes, &whole);
	frame[46] = 0x40;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 34, 0, 4 });
	frame[46] = 0xf0;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 34, 94, 4, NET_TRANSPORT_TCP });
	assert_headers(frame, 93, &(struct net_headers){ 14, 34, 0, 4 });
	plan.ipv6 = true;
	bytes = slow_build(&plan, frame, 0, &offload);
	frame[19] = 19;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 54, 0, 6 });
	frame[19] = 0;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 54, 74, 6, NET_TRANSPORT_TCP });
	frame[20] = 60; /* an extension header that would be longer than all there is */
	frame[55] = 200;
	assert_headers(frame, bytes, &(struct net_headers){ 14, 0, 0, 6 });
}

static void parse_stops_where_headers_grow_too_long(void **state)
{
	uint8_t *ip = frame + 14;

	memset(frame, 0, sizeof(frame));
	memcpy(frame + 12, "\x86\xdd\x60", 3);
	/* Extension headers without end: each says that another one comes. */
	assert_headers(frame, 2000, &(struct net_headers){ 14, 0, 0, 6 });
	ip[40 + 1] = 22; /* up to 8 bytes from the end of what is looked at, less a bit */
	ip[40] = 17;
	assert_headers(frame, 2000, &(struct net_headers){ 14, 238, 246, 6, NET_TRANSPORT_UDP });
	ip[40 + 1] = 23;
	assert_headers(frame, 2000, &(struct net_headers){ 14, 246, 254, 6, NET_TRANSPORT_UDP });
	ip[40 + 1] = 24;
	assert_headers(frame, 2000, &(struct net_headers){ 14, 254, 0, 6 });
	ip[40 + 1] = 25;
	assert_headers(frame, 2000, &(struct net_headers){ 14, 0, 0, 6 });
}

static void parse_reads_nothing_beyond_a_cut_frame(void **state)
{
	for (uint32_t i = 0; i < 300; i++) {
		struct slow_plan plan = any_plan(30);
		uint32_t bytes = slow_build(&plan, frame, 0, &offload);

		for (uint32_t cut = 0; cut <= bytes; cut++) {
			struct net_headers expected;

			slow_parse(frame, cut, &expected);
			assert_true(expected.bytes <= cut);
			assert_headers(frame, cut, &expected);
		}
	}
}

static void parse_agrees_with_the_slow_one_on_broken_frames(void **state)
{
	uint32_t found[3] = { 0 }, fragments = 0;

	for (uint32_t i = 0; i < 60000; i++) {
		struct slow_plan plan = any_plan(100);
		uint32_t bytes = slow_build(&plan, frame, 0, &offload);
		struct net_headers expected;

		for (uint32_t breaks = any(5); breaks; breaks--) {
			uint32_t at = any(2) ? 12 + any(16) : any(bytes);

			frame[at] = any(2) ? (uint8_t)any(256)
					   : frame[at] ^ (uint8_t)(1u << any(8));
		}
		if (!any(3))
			bytes = any(bytes + 1);
		slow_parse(frame, bytes, &expected);
		assert_headers(frame, bytes, &expected);
		found[expected.transport]++;
		fragments += expected.fragment;
	}
	assert_true(found[0] > 1000 && found[1] > 1000 && found[2] > 1000 && fragments > 100);
}

/* ---- sums ---- */

/* A sum is right if it is the same number modulo 65535, and 0 for nothing but zeroes. */
static void assert_sum(uint32_t sum, uint32_t slow, bool all_zero)
{
	assert_int_equal(slow_word(net_sum_fold(sum)) % 65535, slow % 65535);
	assert_int_equal(!net_sum_fold(sum), all_zero);
}

static bool is_zero(const uint8_t *memory, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (memory[i])
			return false;
	}
	return true;
}

static void sum_is_that_of_rfc_1071(void **state)
{
	static const uint8_t example[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

	assert_int_equal(slow_word(net_sum_fold(net_sum(example, 8, 0, false))), 0xddf2);
	assert_int_equal(net_sum(NULL, 0, 0, false), 0);
	assert_int_equal(net_sum(NULL, 0, 0x12345678, true), 0x12345678);
}

static void sum_is_right_for_every_length_and_place(void **state)
{
	uint8_t memory[200];

	for (uint32_t bytes = 0; bytes <= 130; bytes++) {
		for (uint32_t i = 0; i < 40; i++) {
			uint32_t from = any(2) ? any(UINT32_MAX) : 0u - any(3);
			uint8_t *copy;

			for (uint32_t j = 0; j < sizeof(memory); j++)
				memory[j] = (uint8_t)(i % 3 ? any(256) : i % 2 ? 0xff : 0);
			copy = copy_of(memory + any(60), bytes);
			assert_sum(net_sum(copy, bytes, 0, false), slow_sum(copy, bytes),
				   is_zero(copy, bytes));
			assert_sum(net_sum(copy, bytes, from, false),
				   slow_sum(copy, bytes) + slow_word(net_sum_fold(from)),
				   !from && is_zero(copy, bytes));
			/* Behind an odd number of bytes, each is the other half of a word. */
			assert_sum(net_sum(copy, bytes, 0, true), slow_sum(copy, bytes) * 256,
				   is_zero(copy, bytes));
			free(copy);
		}
	}
}

static void sum_loses_no_carry(void **state)
{
	const size_t bytes = (1u << 20) + 3;
	uint8_t *memory = malloc(bytes);

	assert_non_null(memory);
	memset(memory, 0xff, bytes);
	assert_sum(net_sum(memory, bytes, UINT32_MAX, false), slow_sum(memory, bytes), false);
	for (uint32_t i = 0; i < 2000; i++) {
		memset(memory, 0xff, 64);
		memory[any(64)] = (uint8_t)any(256);
		memory[any(64)] = (uint8_t)any(256);
		assert_sum(net_sum(memory, 64, 0, false), slow_sum(memory, 64), false);
	}
	free(memory);
}

static void fold_keeps_the_sum(void **state)
{
	static const uint32_t sums[] = { 0,	  1,	      0xffff,	  0x10000,   0x1fffe,
					 0x1ffff, 0xffff0000, 0xfffeffff, 0xffffffff };

	for (uint32_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
		assert_int_equal(net_sum_fold(sums[i]) % 65535, sums[i] % 65535);
		assert_int_equal(!net_sum_fold(sums[i]), !sums[i]);
	}
}

static void sum_of_pieces_is_that_of_the_whole(void **state)
{
	for (uint32_t i = 0; i < 6000; i++) {
		uint32_t bytes = any(i % 10 ? 300 : 9000), offset, length,
			 from = any(2) * any(UINT32_MAX);
		struct pieces pieces;
		uint32_t sum = 77;

		for (uint32_t j = 0; j < bytes; j++)
			frame[j] = (uint8_t)any(256);
		pieces = scatter(frame, bytes);
		offset = any(bytes + 1);
		length = any(bytes - offset + 1);
		assert_true(net_sum_iov(pieces.iov, pieces.count, offset, length, from, &sum));
		assert_sum(sum, slow_sum(frame + offset, length) + slow_word(net_sum_fold(from)),
			   !from && is_zero(frame + offset, length));
		sum = 77;
		assert_false(net_sum_iov(pieces.iov, pieces.count, offset,
					 bytes - offset + 1 + any(9), from, &sum));
		assert_false(net_sum_iov(pieces.iov, pieces.count, SIZE_MAX - any(9), SIZE_MAX,
					 from, &sum));
		assert_int_equal(sum, 77);
		pieces_free(&pieces);
	}
}

/* ---- headers made right ---- */

static void ipv4_checksum_is_that_of_a_known_header(void **state)
{
	/* 192.168.0.1 to 192.168.0.199, as read off a wire. */
	static const uint8_t header[] = { 0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
					  0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
					  0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7 };
	uint8_t *copy = copy_of(header, sizeof(header));
	struct net_headers headers = { .ip_version = 4 };

	copy[10] = 0x12;
	copy[11] = 0x34;
	net_set_ipv4_checksum(copy, &headers);
	assert_memory_equal(copy, header, sizeof(header));
	headers.ip_version = 6;
	copy[10] = 0x12;
	net_set_ipv4_checksum(copy, &headers);
	assert_int_equal(copy[10], 0x12);
	headers.ip_version = 0;
	net_set_ipv4_checksum(copy, &headers);
	assert_int_equal(copy[10], 0x12);
	free(copy);
}

static void lengths_are_set_in_all_headers(void **state)
{
	for (uint32_t i = 0; i < 6000; i++) {
		struct slow_plan plan = any_plan(3000);
		uint32_t bytes = slow_build(&plan, frame, 0, &offload), header_bytes;
		struct net_headers headers;
		uint8_t *copy;

		slow_parse(frame, bytes, &headers);
		header_bytes = headers.bytes;
		memcpy(gathered, frame, bytes);
		/* As LSO has them, or whatever they were. */
		if (headers.ip_version == 4) {
			memset(gathered + headers.ip_offset + 2, any(2) * any(256), 2);
			memset(gathered + headers.ip_offset + 10, any(256), 2);
		} else {
			memset(gathered + headers.ip_offset + 4, any(2) * any(256), 2);
		}
		if (plan.udp)
			memset(gathered + headers.transport_offset + 4, any(256), 2);
		memset(gathered + offload.checksum_start + offload.checksum_offset, any(256), 2);
		copy = copy_of(gathered, header_bytes);
		assert_int_equal(net_set_lengths(copy, &headers, plan.payload_bytes), 0);
		memcpy(gathered, copy, header_bytes);
		free(copy);
		NO_WRONG(slow_frame_wrong(gathered, bytes, true));
		/* And nothing else has changed. */
		memset(gathered + offload.checksum_start + offload.checksum_offset, 0, 2);
		memset(frame + offload.checksum_start + offload.checksum_offset, 0, 2);
		assert_memory_equal(gathered, frame, bytes);
	}
}

static void lengths_end_where_ip_does(void **state)
{
	for (uint32_t i = 0; i < 200; i++) {
		struct slow_plan plan = any_plan(0);
		uint32_t bytes = slow_build(&plan, frame, 0, &offload), most;
		struct net_headers headers;

		slow_parse(frame, bytes, &headers);
		most = 65535 - (headers.bytes - headers.ip_offset);
		memcpy(gathered, frame, bytes);
		assert_int_equal(net_set_lengths(frame, &headers, most + 1), -LIS_INVALID);
		assert_int_equal(net_set_lengths(frame, &headers, SIZE_MAX), -LIS_INVALID);
		assert_int_equal(net_set_lengths(frame, &headers, (size_t)1 << 32), -LIS_INVALID);
		assert_memory_equal(gathered, frame, bytes);
		assert_int_equal(net_set_lengths(frame, &headers, most), 0);
		NO_WRONG(slow_frame_wrong(frame, headers.bytes + most, true));
		headers.transport = NET_TRANSPORT_OTHER;
		headers.bytes = 0;
		assert_int_equal(net_set_lengths(frame, &headers, 0), -LIS_INVALID);
	}
}

static void checksums_are_completed_in_pieces(void **state)
{
	for (uint32_t i = 0; i < 8000; i++) {
		struct slow_plan plan = any_plan(i % 50 ? 200 : 60000);
		uint32_t bytes = slow_build(&plan, frame, 0, &offload), at;
		struct pieces pieces = scatter(frame, bytes);

		at = offload.checksum_start + offload.checksum_offset;
		assert_int_equal(net_complete_checksum(pieces.iov, pieces.count, bytes, &offload),
				 0);
		assert_int_equal(offload.flags, 0);
		gather(pieces.iov, pieces.count, gathered);
		NO_WRONG(slow_frame_wrong(gathered, bytes, false));
		memcpy(gathered + at, frame + at, 2);
		assert_memory_equal(gathered, frame, bytes);
		pieces_free(&pieces);
	}
}

static void a_udp_checksum_of_zero_is_sent_as_its_other_zero(void **state)
{
	for (uint32_t i = 0; i < 400; i++) {
		struct slow_plan plan = any_plan(0);
		uint32_t bytes, sum, at;

		plan.payload_bytes = 2 + 2 * any(20);
		bytes = slow_build(&plan, frame, 0, &offload);
		/* The payload's last word makes the sum all ones. */
		memset(frame + bytes - 2, 0, 2);
		sum = 65535 -
		      slow_sum(frame + offload.checksum_start, bytes - offload.checksum_start);
		frame[bytes - 2] = (uint8_t)(sum >> 8);
		frame[bytes - 1] = (uint8_t)sum;
		at = offload.checksum_start + offload.checksum_offset;
		assert_int_equal(
			net_complete_checksum(&(struct iovec){ frame, bytes }, 1, bytes, &offload),
			0);
		assert_int_equal(frame[at], plan.udp ? 0xff : 0);
		assert_int_equal(frame[at + 1], plan.udp ? 0xff : 0);
		NO_WRONG(slow_frame_wrong(frame, bytes, false));
	}
}

static void a_checksum_outside_of_the_frame_is_refused(void **state)
{
	for (uint32_t i = 0; i < 5000; i++) {
		uint32_t bytes = any(80), there = any(3) ? bytes : any(bytes + 1);
		struct pieces pieces;
		bool fits;

		memset(frame, 0x5a, bytes);
		pieces = scatter(frame, there);
		offload = (struct net_offload){
			.flags = NET_CHECKSUM_PARTIAL | NET_CHECKSUM_VALID,
			.checksum_start = (uint16_t)any(i % 4 ? 90 : 65536),
			.checksum_offset = (uint16_t)any(i % 4 ? 30 : 65536),
		};
		fits = offload.checksum_start + offload.checksum_offset + 2u <= bytes &&
		       bytes == there;
		assert_int_equal(net_complete_checksum(pieces.iov, pieces.count, bytes, &offload),
				 fits ? 0 : -LIS_INVALID);
		gather(pieces.iov, pieces.count, gathered);
		if (!fits)
			assert_memory_equal(gathered, frame, there);
		assert_int_equal(offload.flags,
				 NET_CHECKSUM_VALID | (fits ? 0 : NET_CHECKSUM_PARTIAL));
		pieces_free(&pieces);
	}
}

static void no_checksum_is_written_that_nobody_asked_for(void **state)
{
	struct slow_plan plan = { .payload_bytes = 100 };
	uint32_t bytes = slow_build(&plan, frame, 0, &offload);

	offload.flags = NET_CHECKSUM_VALID;
	memcpy(gathered, frame, bytes);
	assert_int_equal(net_complete_checksum(&(struct iovec){ frame, bytes }, 1, bytes, &offload),
			 0);
	assert_memory_equal(gathered, frame, bytes);
	assert_int_equal(offload.flags, NET_CHECKSUM_VALID);
}

/* ---- the hash ---- */

static const uint8_t key_bytes[NDIS_RSS_KEY_BYTES] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static struct net_hash_key key;

#define ALL_TYPES                                                                                  \
	(NDIS_HASH_IPV4 | NDIS_HASH_TCP_IPV4 | NDIS_HASH_UDP_IPV4 | NDIS_HASH_IPV6 |               \
	 NDIS_HASH_TCP_IPV6 | NDIS_HASH_UDP_IPV6)

static uint32_t hash_of(uint32_t bytes, uint32_t types, uint32_t *out_type)
{
	struct net_headers headers;
	uint8_t *copy;
	uint32_t hash;

	net_parse_headers(frame, bytes, &headers);
	/* Of the headers, no more is read than is there. */
	if (headers.bytes)
		bytes = headers.bytes;
	copy = copy_of(frame, bytes);
	*out_type = 0xa5a5a5a5;
	hash = net_hash(&key, copy, &headers, types, out_type);
	free(copy);
	return hash;
}

struct vector {
	uint8_t source[16], destination[16];
	uint16_t source_port, destination_port;
	uint32_t addresses, with_ports;
};

static void assert_vector(const struct vector *vector, bool ipv6)
{
	uint32_t bytes, type;

	for (uint32_t i = 0; i < 6; i++) {
		struct slow_plan plan = { .ipv6 = ipv6,
					  .udp = i & 1,
					  .vlan_tags = (uint8_t)(i / 2),
					  .ip_option_words = (uint8_t)i,
					  .extension_count = i / 2,
					  .extensions = { { 60, 0 }, { 0, 1 } } };
		uint32_t with_ports = ipv6 ? (plan.udp ? NDIS_HASH_UDP_IPV6 : NDIS_HASH_TCP_IPV6)
					   : (plan.udp ? NDIS_HASH_UDP_IPV4 : NDIS_HASH_TCP_IPV4);
		uint32_t addresses = ipv6 ? NDIS_HASH_IPV6 : NDIS_HASH_IPV4;
		uint8_t *at;

		bytes = slow_build(&plan, frame, 0, &offload);
		at = frame + 14 + plan.vlan_tags * 4 + (ipv6 ? 8 : 12);
		memcpy(at, vector->source, ipv6 ? 16 : 4);
		memcpy(at + (ipv6 ? 16 : 4), vector->destination, ipv6 ? 16 : 4);
		at = frame + offload.checksum_start;
		at[0] = (uint8_t)(vector->source_port >> 8);
		at[1] = (uint8_t)vector->source_port;
		at[2] = (uint8_t)(vector->destination_port >> 8);
		at[3] = (uint8_t)vector->destination_port;
		assert_int_equal(hash_of(bytes, ALL_TYPES, &type), vector->with_ports);
		assert_int_equal(type, with_ports);
		assert_int_equal(hash_of(bytes, with_ports, &type), vector->with_ports);
		assert_int_equal(type, with_ports);
		assert_int_equal(hash_of(bytes, ALL_TYPES & ~with_ports, &type), vector->addresses);
		assert_int_equal(type, addresses);
		assert_int_equal(hash_of(bytes, ALL_TYPES & ~with_ports & ~addresses, &type), 0);
		assert_int_equal(type, 0);
	}
}

/* Source: [Microsoft "Verifying the RSS Hash Calculation"]. */
static void the_hash_is_microsofts_for_ipv4(void **state)
{
	static const struct vector vectors[] = {
		{ { 66, 9, 149, 187 }, { 161, 142, 100, 80 }, 2794, 1766, 0x323e8fc2, 0x51ccc178 },
		{ { 199, 92, 111, 2 }, { 65, 69, 140, 83 }, 14230, 4739, 0xd718262a, 0xc626b0ea },
		{ { 24, 19, 198, 95 }, { 12, 22, 207, 184 }, 12898, 38024, 0xd2d0a5de, 0x5c2b394a },
		{ { 38, 27, 205, 30 }, { 209, 142, 163, 6 }, 48228, 2217, 0x82989176, 0xafc7327f },
		{ { 153, 39, 163, 191 },
		  { 202, 188, 127, 2 },
		  44251,
		  1303,
		  0x5d1809c5,
		  0x10e828a2 },
	};

	net_hash_key_set(&key, key_bytes);
	assert_memory_equal(key.key, key_bytes, sizeof(key_bytes));
	for (uint32_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_vector(&vectors[i], false);
}

static void the_hash_is_microsofts_for_ipv6(void **state)
{
	static const struct vector vectors[] = {
		/* 3ffe:2501:200:1fff::7 to 3ffe:2501:200:3::1 */
		{ { 0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x1f, 0xff, [15] = 7 },
		  { 0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x00, 0x03, [15] = 1 },
		  2794,
		  1766,
		  0x2cc18cd5,
		  0x40207d3d },
		/* 3ffe:501:8::260:97ff:fe40:efab to ff02::1 */
		{ { 0x3f, 0xfe, 0x05, 0x01, 0x00, 0x08, 0x00, 0x00, 0x02, 0x60, 0x97, 0xff, 0xfe,
		    0x40, 0xef, 0xab },
		  { 0xff, 0x02, [15] = 1 },
		  14230,
		  4739,
		  0x0f0c461c,
		  0xdde51bbf },
		/* 3ffe:1900:4545:3:200:f8ff:fe21:67cf to fe80::200:f8ff:fe21:67cf */
		{ { 0x3f, 0xfe, 0x19, 0x00, 0x45, 0x45, 0x00, 0x03, 0x02, 0x00, 0xf8, 0xff, 0xfe,
		    0x21, 0x67, 0xcf },
		  { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x00, 0xf8, 0xff, 0xfe, 0x21, 0x67, 0xcf },
		  44251,
		  38024,
		  0x4b61e985,
		  0x02d1feef },
	};

	net_hash_key_set(&key, key_bytes);
	for (uint32_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_vector(&vectors[i], true);
}

static void hashes_are_the_slow_ones_for_any_key_and_frame(void **state)
{
	for (uint32_t i = 0; i < 200; i++) {
		uint8_t bytes[NDIS_RSS_KEY_BYTES];

		for (uint32_t j = 0; j < sizeof(bytes); j++)
			bytes[j] = (uint8_t)any(256);
		net_hash_key_set(&key, bytes);
		for (uint32_t j = 0; j < 20; j++) {
			struct slow_plan plan = any_plan(20);
			uint32_t there = slow_build(&plan, frame, 0, &offload), types, type,
				 slow_type;
			struct net_headers headers;

			if (!any(3))
				frame[any(there)] ^= (uint8_t)any(256);
			if (!any(3))
				there = any(there + 1);
			types = any(2) ? ALL_TYPES : any(UINT32_MAX);
			slow_parse(frame, there, &headers);
			assert_int_equal(hash_of(there, types, &type),
					 slow_flow_hash(bytes, frame, &headers, types, &slow_type));
			assert_int_equal(type, slow_type);
		}
	}
}

static void only_addresses_are_hashed_of_fragments_and_other_protocols(void **state)
{
	struct slow_plan plan = { .payload_bytes = 8 };
	uint32_t bytes = slow_build(&plan, frame, 0, &offload), type, whole;

	net_hash_key_set(&key, key_bytes);
	whole = hash_of(bytes, NDIS_HASH_IPV4, &type);
	assert_int_equal(type, NDIS_HASH_IPV4);
	frame[20] = 0x20; /* the first of several: its ports are there */
	assert_int_equal(hash_of(bytes, ALL_TYPES, &type), whole);
	assert_int_equal(type, NDIS_HASH_IPV4);
	assert_int_equal(hash_of(bytes, NDIS_HASH_TCP_IPV4 | NDIS_HASH_IPV6, &type), 0);
	assert_int_equal(type, 0);
	frame[20] = 0;
	frame[23] = 1;
	assert_int_equal(hash_of(bytes, ALL_TYPES, &type), whole);
	assert_int_equal(type, NDIS_HASH_IPV4);
	frame[13] = 0x06; /* ARP */
	assert_int_equal(hash_of(bytes, ALL_TYPES, &type), 0);
	assert_int_equal(type, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(parse_finds_the_headers_of_plain_frames, setup),
		cmocka_unit_test_setup(parse_knows_what_is_neither_tcp_nor_udp, setup),
		cmocka_unit_test_setup(parse_finds_no_transport_in_fragments, setup),
		cmocka_unit_test_setup(parse_disbelieves_lengths_that_lie, setup),
		cmocka_unit_test_setup(parse_stops_where_headers_grow_too_long, setup),
		cmocka_unit_test_setup(parse_reads_nothing_beyond_a_cut_frame, setup),
		cmocka_unit_test_setup(parse_agrees_with_the_slow_one_on_broken_frames, setup),
		cmocka_unit_test_setup(sum_is_that_of_rfc_1071, setup),
		cmocka_unit_test_setup(sum_is_right_for_every_length_and_place, setup),
		cmocka_unit_test_setup(sum_loses_no_carry, setup),
		cmocka_unit_test_setup(fold_keeps_the_sum, setup),
		cmocka_unit_test_setup(sum_of_pieces_is_that_of_the_whole, setup),
		cmocka_unit_test_setup(ipv4_checksum_is_that_of_a_known_header, setup),
		cmocka_unit_test_setup(lengths_are_set_in_all_headers, setup),
		cmocka_unit_test_setup(lengths_end_where_ip_does, setup),
		cmocka_unit_test_setup(checksums_are_completed_in_pieces, setup),
		cmocka_unit_test_setup(a_udp_checksum_of_zero_is_sent_as_its_other_zero, setup),
		cmocka_unit_test_setup(a_checksum_outside_of_the_frame_is_refused, setup),
		cmocka_unit_test_setup(no_checksum_is_written_that_nobody_asked_for, setup),
		cmocka_unit_test_setup(the_hash_is_microsofts_for_ipv4, setup),
		cmocka_unit_test_setup(the_hash_is_microsofts_for_ipv6, setup),
		cmocka_unit_test_setup(hashes_are_the_slow_ones_for_any_key_and_frame, setup),
		cmocka_unit_test_setup(only_addresses_are_hashed_of_fragments_and_other_protocols,
				       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
