// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Frames of a hostile peer, sound or not, in pieces of any length: headers, sums, checksums,
 * segments and hashes must be those that the slow and simple way has, and nothing is read that is
 * not there. Where the peer writes into its frame under way, each segment must still be right in
 * itself.
 */
#include "fuzz/fuzz.h"
#include "tests/unit/network/slow_frame.h"

#define PIECES_MAX 16u
#define EDITS_MAX 15u

/* The first byte of an input. */
#define HOW_RAW 0x01u /* the frame is in the input as it is */
#define HOW_LONG 0x02u
#define HOW_HOSTILE 0x04u /* its memory changes */
#define HOW_PARTIAL 0x08u /* segments are left without checksums */

static uint8_t frame[SLOW_FRAME_BYTES_MAX], flat[SLOW_FRAME_BYTES_MAX];
static uint32_t frame_bytes;
static struct net_offload offload;
static struct iovec iov[PIECES_MAX];
static uint32_t iov_count;
static uint8_t key_bytes[NDIS_RSS_KEY_BYTES];
static struct net_hash_key key;

static uint8_t *copy_of(const uint8_t *from, size_t bytes)
{
	uint8_t *copy = malloc(bytes ? bytes : 1); /* of its very length */

	memcpy(copy, from, bytes);
	return copy;
}

static void gather(const struct iovec *pieces, uint32_t count)
{
	uint8_t *to = flat;

	for (uint32_t i = 0; i < count; i++) {
		memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
		to += pieces[i].iov_len;
	}
}

static void check(const char *wrong)
{
	if (wrong)
		fprintf(stderr, "fuzz: wrong: %s\n", wrong);
	FUZZ_CHECK(!wrong);
}

/* ---- the frame ---- */

static void build_frame(struct input *input, uint8_t how)
{
	static const uint8_t extensions[] = { 0, 43, 44, 60 };
	uint8_t kind = input_u8(input), more = input_u8(input);
	struct slow_plan plan = {
		.vlan_tags = kind & 3,
		.ipv6 = kind & 4,
		.udp = kind & 8,
		.ip_option_words = (kind >> 4) % 11,
		.tcp_option_words = (more & 15) % 11,
		.extension_count = (more >> 4) % (SLOW_EXTENSIONS_MAX + 1),
	};

	for (uint32_t i = 0; plan.ipv6 && i < plan.extension_count; i++) {
		uint8_t extension = input_u8(input);

		plan.extensions[i].protocol = extensions[extension & 3];
		plan.extensions[i].units = (extension >> 2) % 4;
	}
	plan.tcp_flags = input_u8(input);
	plan.ip_id = input_u16(input);
	plan.sequence = input_u32(input);
	plan.seed = input_u16(input);
	plan.payload_bytes = input_u16(input);
	if (!(how & HOW_LONG))
		plan.payload_bytes %= 2048;
	frame_bytes = slow_build(&plan, frame, input_u16(input), &offload);
}

static void edit(struct input *input)
{
	uint8_t edits = input_u8(input) % (EDITS_MAX + 1);

	while (edits--) {
		uint8_t at = input_u8(input);
		uint16_t value = input_u16(input);

		switch (at) {
		case 248:
			offload.flags = (uint8_t)value;
			break;
		case 249:
			offload.gso = value % 6;
			break;
		case 250:
			offload.segment_bytes = value;
			break;
		case 251:
			offload.header_bytes = value;
			break;
		case 252:
			offload.checksum_start = value;
			break;
		case 253:
			offload.checksum_offset = value;
			break;
		case 254:
			frame_bytes = value % (frame_bytes + 1);
			break;
		default:
			frame[at] ^= (uint8_t)value;
			break;
		}
	}
}

static void make_frame(struct input *input, uint8_t how)
{
	struct net_headers headers;
	uint32_t at, sum;

	if (how & HOW_RAW) {
		offload.flags = NET_CHECKSUM_PARTIAL;
		offload.gso = input_u8(input) % 6;
		offload.segment_bytes = input_u16(input);
		offload.header_bytes = input_u8(input);
		offload.checksum_start = input_u8(input);
		offload.checksum_offset = input_u8(input);
		frame_bytes = (uint32_t)input->bytes / 2;
		input_copy(input, frame, frame_bytes);
	} else {
		build_frame(input, how);
		edit(input);
	}
	if (how & HOW_LONG)
		offload.segment_bytes |= 0x400 * !!offload.segment_bytes;
	/* As every frame with a checksum to be made has it. */
	slow_parse(frame, frame_bytes, &headers);
	if (headers.transport == NET_TRANSPORT_OTHER)
		return;
	sum = slow_pseudo(frame, &headers, frame_bytes - headers.transport_offset);
	at = headers.transport_offset + (headers.transport == NET_TRANSPORT_TCP ? 16 : 6);
	frame[at] = (uint8_t)(sum >> 8);
	frame[at + 1] = (uint8_t)sum;
}

static void scatter(struct input *input)
{
	uint32_t at = 0;

	iov_count = 1 + input_u8(input) % PIECES_MAX;
	for (uint32_t i = 0; i < iov_count; i++) {
		uint8_t length = input_u8(input);
		size_t bytes = length < 192 ? length : (length - 191u) * 100;

		if (bytes > frame_bytes - at || i + 1 == iov_count)
			bytes = frame_bytes - at;
		iov[i] = (struct iovec){ copy_of(frame + at, bytes), bytes };
		at += bytes;
	}
}

static void free_pieces(void)
{
	for (uint32_t i = 0; i < iov_count; i++)
		free(iov[i].iov_base);
}

/* ---- headers ---- */

static void check_lengths(struct input *input, uint8_t *copy, const struct net_headers *headers)
{
	uint32_t payload = input_u16(input), bytes = headers->bytes + payload;
	bool fits = headers->bytes && bytes - headers->ip_offset <= 65535;

	FUZZ_CHECK(!net_set_lengths(copy, headers, payload) == fits);
	FUZZ_CHECK(net_set_lengths(copy, headers, payload + 65536u) == -LIS_INVALID);
	if (!fits) {
		FUZZ_CHECK(!memcmp(copy, frame, frame_bytes));
		return;
	}
	memcpy(flat, copy, headers->bytes);
	check(slow_frame_wrong(flat, bytes, true));
}

static void check_ipv4_checksum(uint8_t *copy, const struct net_headers *headers)
{
	uint8_t *ip = copy + headers->ip_offset;

	memcpy(flat, copy, frame_bytes);
	net_set_ipv4_checksum(copy, headers);
	if (headers->ip_version == 4) {
		FUZZ_CHECK(!slow_sum(ip, (ip[0] & 15) * 4u));
		memcpy(ip + 10, flat + headers->ip_offset + 10, 2);
	}
	FUZZ_CHECK(!memcmp(copy, flat, frame_bytes));
}

static void check_headers(struct input *input)
{
	uint32_t types = (uint32_t)input_u8(input) << 8, type, slow_type, hash;
	uint8_t *copy = copy_of(frame, frame_bytes);
	struct net_headers headers, slow;

	net_parse_headers(copy, frame_bytes, &headers);
	slow_parse(frame, frame_bytes, &slow);
	FUZZ_CHECK(headers.ip_offset == slow.ip_offset && headers.bytes == slow.bytes);
	FUZZ_CHECK(headers.transport_offset == slow.transport_offset);
	FUZZ_CHECK(headers.ip_version == slow.ip_version && headers.transport == slow.transport);
	FUZZ_CHECK(headers.fragment == slow.fragment);
	hash = net_hash(&key, copy, &headers, types, &type);
	FUZZ_CHECK(hash == slow_flow_hash(key_bytes, frame, &slow, types, &slow_type));
	FUZZ_CHECK(type == slow_type);
	check_ipv4_checksum(copy, &headers);
	check_lengths(input, copy, &headers);
	free(copy);
}

/* ---- sums ---- */

static void check_sums(struct input *input)
{
	uint32_t offset = input_u16(input), bytes = input_u16(input), sum = 0x5a5a5a5a;
	bool there = offset + bytes <= frame_bytes;

	if (bytes)
		FUZZ_CHECK(net_sum_iov(iov, iov_count, offset, bytes, 0, &sum) == there);
	if (!there || !bytes)
		FUZZ_CHECK(sum == 0x5a5a5a5a);
	else
		FUZZ_CHECK(slow_word(net_sum_fold(sum)) % 65535 == slow_sum(frame + offset, bytes));
}

/* Makes the checksum that is asked for, or would be, and undoes it. */
static void check_checksum(void)
{
	size_t at = (size_t)offload.checksum_start + offload.checksum_offset;
	bool there = at + 2 <= frame_bytes;
	struct net_offload asked = offload;
	uint32_t found, sum;

	asked.flags &= (uint8_t)~NET_CHECKSUM_PARTIAL;
	FUZZ_CHECK(!net_complete_checksum(iov, iov_count, frame_bytes, &asked));
	asked.flags |= NET_CHECKSUM_PARTIAL;
	if (!there)
		FUZZ_CHECK(net_complete_checksum(iov, iov_count, frame_bytes, &asked));
	gather(iov, iov_count);
	FUZZ_CHECK(!memcmp(flat, frame, frame_bytes));
	if (!there)
		return;
	FUZZ_CHECK(!net_complete_checksum(iov, iov_count, frame_bytes, &asked));
	FUZZ_CHECK(asked.flags == (offload.flags & ~NET_CHECKSUM_PARTIAL));
	gather(iov, iov_count);
	found = flat[at] * 256u + flat[at + 1];
	sum = slow_sum(frame + offload.checksum_start, frame_bytes - offload.checksum_start);
	FUZZ_CHECK((found + sum) % 65535 == 0 && (found || offload.checksum_offset != 6));
	memcpy(flat + at, frame + at, 2);
	FUZZ_CHECK(!memcmp(flat, frame, frame_bytes));
	for (size_t i = 0, from = 0; i < iov_count; from += iov[i++].iov_len)
		memcpy(iov[i].iov_base, frame + from, iov[i].iov_len);
}

/* ---- segments ---- */

static bool can_be_cut(void)
{
	struct net_headers headers;
	uint32_t most = offload.segment_bytes;
	bool tcp, fits;

	if (offload.header_bytes > frame_bytes || offload.header_bytes > NET_HEADERS_BYTES_MAX)
		return false;
	slow_parse(frame, offload.header_bytes, &headers);
	tcp = headers.transport == NET_TRANSPORT_TCP;
	if (!headers.bytes || headers.bytes != offload.header_bytes)
		return false;
	if (most > frame_bytes - headers.bytes)
		most = frame_bytes - headers.bytes;
	fits = tcp ? offload.gso == (headers.ip_version == 4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6)
		   : offload.gso == NET_GSO_UDP;
	return fits && (offload.flags & NET_CHECKSUM_PARTIAL) && most &&
	       offload.checksum_start == headers.transport_offset &&
	       offload.checksum_offset == (tcp ? 16 : 6) &&
	       headers.bytes - headers.ip_offset + most <= 65535 &&
	       frame_bytes - headers.transport_offset <= 65535;
}

static bool is_in_frame(const struct iovec *piece)
{
	for (uint32_t i = 0; i < iov_count; i++) {
		uintptr_t base = (uintptr_t)iov[i].iov_base, at = (uintptr_t)piece->iov_base;

		if (at >= base && at - base <= iov[i].iov_len &&
		    piece->iov_len <= iov[i].iov_len - (at - base))
			return true;
	}
	return false;
}

/* What holds of a segment whatever is in it. */
static void check_shape(const struct net_frame *segment)
{
	size_t bytes = 0;

	FUZZ_CHECK(segment->iov_count >= 2 && segment->iov_count <= iov_count + 1);
	for (uint32_t i = 0; i < segment->iov_count; i++) {
		bytes += segment->iov[i].iov_len;
		FUZZ_CHECK(!i || is_in_frame(&segment->iov[i]));
	}
	FUZZ_CHECK(bytes == segment->bytes && segment->offload.gso == NET_GSO_NONE);
	FUZZ_CHECK(segment->iov[0].iov_len == offload.header_bytes);
}

static void check_segments(uint8_t how)
{
	struct net_frame whole = { iov, iov_count, frame_bytes, offload }, segment;
	struct slow_join join = { .frame = frame, .bytes = frame_bytes, .offload = offload };
	uint32_t out_count = iov_count + 1, payload = 0;
	struct iovec *out = malloc(out_count * sizeof(*out));
	struct net_segmenter segmenter;
	int err = net_segmenter_init(&segmenter, &whole, out, out_count);

	FUZZ_CHECK(err == (can_be_cut() ? 0 : -LIS_INVALID));
	while (!err && net_segmenter_next(&segmenter, how & HOW_PARTIAL, &segment)) {
		check_shape(&segment);
		gather(segment.iov, segment.iov_count);
		payload += segment.bytes - offload.header_bytes;
		FUZZ_CHECK(segment.offload.flags == (how & HOW_PARTIAL ? NET_CHECKSUM_PARTIAL : 0));
		if (!(how & HOW_HOSTILE)) {
			check(slow_join_wrong(&join, flat, segment.bytes, how & HOW_PARTIAL));
			continue;
		}
		/* It is another frame's by now, but no less right. */
		check(slow_frame_wrong(flat, segment.bytes, how & HOW_PARTIAL));
		for (uint32_t i = 0; i < iov_count; i++)
			memset(iov[i].iov_base, (int)payload, iov[i].iov_len);
	}
	FUZZ_CHECK(err || payload == frame_bytes - offload.header_bytes);
	free(out);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	for (uint32_t i = 0; i < sizeof(key_bytes); i++)
		key_bytes[i] = (uint8_t)(i * 37 + 11);
	net_hash_key_set(&key, key_bytes);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t how = input_u8(&input);

	make_frame(&input, how);
	scatter(&input);
	check_headers(&input);
	check_sums(&input);
	check_checksum();
	check_segments(how);
	free_pieces();
	return 0;
}
