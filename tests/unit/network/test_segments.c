/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Large frames cut into segments: put together again they are the frame, and each by itself is
 * right to the last checksum, as slow_frame.c judges it.
 */
#include "tests/unit/network/any_frame.h"

/* A frame in pieces, and what is needed to cut it. */
struct cut {
	uint32_t bytes;
	struct pieces pieces;
	struct net_frame frame;
	struct net_segmenter segmenter;
	struct iovec iov[PIECES_MAX + 1];
};

static int cut_begin(struct cut *cut, const struct slow_plan *plan, uint16_t segment_bytes)
{
	cut->bytes = slow_build(plan, frame, segment_bytes, &offload);
	cut->pieces = scatter(frame, cut->bytes);
	cut->frame = (struct net_frame){ cut->pieces.iov, cut->pieces.count, cut->bytes, offload };
	memset(&cut->segmenter, 0xa5, sizeof(cut->segmenter));
	return net_segmenter_init(&cut->segmenter, &cut->frame, cut->iov, cut->pieces.count + 1);
}

static bool is_within(const struct iovec *piece, const struct pieces *pieces)
{
	const uint8_t *from = piece->iov_base;

	for (uint32_t i = 0; i < pieces->count; i++) {
		const uint8_t *base = pieces->iov[i].iov_base;

		if (pieces->iov[i].iov_len && from >= base &&
		    from + piece->iov_len <= base + pieces->iov[i].iov_len)
			return true;
	}
	return false;
}

/* Returns the segment, gathered, with all that can be said of it without looking at its bytes. */
static const uint8_t *one_segment(struct cut *cut, const struct net_frame *segment,
				  bool can_checksum)
{
	size_t bytes = 0;

	assert_true(segment->iov_count >= 2 && segment->iov_count <= cut->pieces.count + 1);
	for (uint32_t i = 0; i < segment->iov_count; i++)
		bytes += segment->iov[i].iov_len;
	assert_int_equal(bytes, segment->bytes);
	assert_int_equal(segment->iov[0].iov_len, offload.header_bytes);
	/* The payload is where it was. */
	for (uint32_t i = 1; i < segment->iov_count; i++)
		assert_true(is_within(&segment->iov[i], &cut->pieces));
	assert_int_equal(segment->offload.gso, NET_GSO_NONE);
	assert_int_equal(segment->offload.flags, can_checksum ? NET_CHECKSUM_PARTIAL : 0);
	assert_int_equal(segment->offload.checksum_start, offload.checksum_start);
	assert_int_equal(segment->offload.checksum_offset, offload.checksum_offset);
	gather(segment->iov, segment->iov_count, gathered);
	return gathered;
}

static void cut_and_join(const struct slow_plan *plan, uint16_t segment_bytes)
{
	bool can_checksum = any(2);
	struct slow_join join;
	struct net_frame segment;
	struct cut cut;
	uint32_t count;

	assert_int_equal(cut_begin(&cut, plan, segment_bytes), 0);
	join = (struct slow_join){ .frame = frame, .bytes = cut.bytes, .offload = offload };
	while (net_segmenter_next(&cut.segmenter, can_checksum, &segment))
		NO_WRONG(slow_join_wrong(&join, one_segment(&cut, &segment, can_checksum),
					 segment.bytes, can_checksum));
	count = (plan->payload_bytes + segment_bytes - 1) / segment_bytes;
	assert_int_equal(join.index, count);
	assert_int_equal(join.at, cut.bytes);
	assert_false(net_segmenter_next(&cut.segmenter, can_checksum, &segment));
	gather(cut.pieces.iov, cut.pieces.count, gathered);
	assert_memory_equal(gathered, frame, cut.bytes);
	pieces_free(&cut.pieces);
}

static void segments_make_up_the_frame(void **state)
{
	for (uint32_t i = 0; i < 6000; i++) {
		struct slow_plan plan = any_plan(i % 20 ? 4000 : 60000);

		plan.payload_bytes += !plan.payload_bytes;
		cut_and_join(&plan, (uint16_t)(1 + any(i % 3 ? 1500 : 65535)));
	}
}

static void segments_may_be_tiny_or_all(void **state)
{
	for (uint32_t i = 0; i < 16; i++) {
		struct slow_plan plan = { .ipv6 = i & 1,
					  .udp = i & 2,
					  .vlan_tags = i & 1,
					  .payload_bytes = 3000,
					  .tcp_flags = 0xff,
					  .ip_id = 0xff00,
					  .sequence = 0xfffffff0,
					  .seed = i };

		cut_and_join(&plan, 1);
		cut_and_join(&plan, 2999);
		cut_and_join(&plan, 3000);
		cut_and_join(&plan, 65535);
		/* The longest frame, in segments of a byte; as large as IP can be. */
		if (i >= 4)
			continue;
		plan.payload_bytes = 65535 - (plan.ipv6 ? 40 : 20) - (plan.udp ? 8 : 20);
		cut_and_join(&plan, 1);
		cut_and_join(&plan, 1460);
	}
}

/* By hand, so that what judges segments is judged as well. */
static void a_tcp_frame_is_cut_as_the_rfc_says(void **state)
{
	struct slow_plan plan = { .payload_bytes = 25,
				  .tcp_flags = 0x80 | 0x10 | 0x08 | 0x01,
				  .ip_id = 0xffff,
				  .sequence = 0xfffffffa };
	static const struct {
		uint8_t total, id[2], sequence[4], flags, payload;
	} expected[] = {
		{ 50, { 0xff, 0xff }, { 0xff, 0xff, 0xff, 0xfa }, 0x90, 10 },
		{ 50, { 0x00, 0x00 }, { 0x00, 0x00, 0x00, 0x04 }, 0x10, 10 },
		{ 45, { 0x00, 0x01 }, { 0x00, 0x00, 0x00, 0x0e }, 0x19, 5 },
	};
	struct net_frame segment;
	struct cut cut;

	assert_int_equal(cut_begin(&cut, &plan, 10), 0);
	for (uint32_t i = 0; i < 3; i++) {
		const uint8_t *found;

		assert_true(net_segmenter_next(&cut.segmenter, false, &segment));
		found = one_segment(&cut, &segment, false);
		assert_int_equal(segment.bytes, 54 + expected[i].payload);
		assert_int_equal(found[16] * 256 + found[17], expected[i].total);
		assert_memory_equal(found + 18, expected[i].id, 2);
		assert_memory_equal(found + 38, expected[i].sequence, 4);
		assert_int_equal(found[47], expected[i].flags);
		assert_memory_equal(found + 54, frame + 54 + i * 10, expected[i].payload);
		NO_WRONG(slow_frame_wrong(found, segment.bytes, false));
	}
	assert_false(net_segmenter_next(&cut.segmenter, false, &segment));
	pieces_free(&cut.pieces);
}

static void headers_are_read_once(void **state)
{
	for (uint32_t i = 0; i < 500; i++) {
		struct slow_plan plan = any_plan(2000);
		struct slow_join join;
		struct net_frame segment;
		struct cut cut;

		plan.payload_bytes += !plan.payload_bytes;
		assert_int_equal(cut_begin(&cut, &plan, 500), 0);
		join = (struct slow_join){ .frame = frame, .bytes = cut.bytes, .offload = offload };
		for (uint32_t at = 0, piece = 0; at < offload.header_bytes; at++) {
			uint32_t before = at;

			for (piece = 0; before >= cut.pieces.iov[piece].iov_len; piece++)
				before -= (uint32_t)cut.pieces.iov[piece].iov_len;
			((uint8_t *)cut.pieces.iov[piece].iov_base)[before] ^= (uint8_t)any(256);
		}
		while (net_segmenter_next(&cut.segmenter, false, &segment))
			NO_WRONG(slow_join_wrong(&join, one_segment(&cut, &segment, false),
						 segment.bytes, false));
		assert_int_equal(join.at, cut.bytes);
		pieces_free(&cut.pieces);
	}
}

/* A guest that writes into its frame all the while gets wrong sums, and nothing else. */
static void payload_may_change_under_way(void **state)
{
	for (uint32_t i = 0; i < 300; i++) {
		struct slow_plan plan = any_plan(3000);
		uint32_t count = 0, bytes = 0;
		struct net_frame segment;
		struct cut cut;

		plan.payload_bytes += 100;
		assert_int_equal(cut_begin(&cut, &plan, 100), 0);
		while (net_segmenter_next(&cut.segmenter, false, &segment)) {
			one_segment(&cut, &segment, false);
			bytes += segment.bytes - offload.header_bytes;
			count++;
			for (uint32_t j = 0; j < cut.pieces.count; j++) {
				if (cut.pieces.iov[j].iov_len)
					memset(cut.pieces.iov[j].iov_base, (int)any(256),
					       cut.pieces.iov[j].iov_len);
			}
		}
		assert_int_equal(bytes, plan.payload_bytes);
		assert_int_equal(count, (plan.payload_bytes + 99) / 100);
		pieces_free(&cut.pieces);
	}
}

/* With a routing header, the last address that it names is in the pseudo header. */
static void the_pseudo_header_is_the_frames_own(void **state)
{
	struct slow_plan plan = { .ipv6 = true,
				  .payload_bytes = 999,
				  .extension_count = 1,
				  .extensions = { { 43, 2 } } };
	uint32_t bytes = slow_build(&plan, frame, 100, &offload), at;
	struct net_segmenter segmenter;
	struct iovec iov = { frame, bytes }, out[2];
	struct net_frame whole = { &iov, 1, bytes, offload }, segment;
	uint8_t destination[16];

	at = offload.checksum_start + offload.checksum_offset;
	/* The checksum is of another destination than the IPv6 header's. */
	memcpy(destination, frame + 38, 16);
	slow_build(&plan, gathered, 100, &offload);
	memcpy(frame + at, gathered + at, 2);
	memset(frame + 38, 0x77, 16);
	assert_int_equal(net_segmenter_init(&segmenter, &whole, out, 2), 0);
	for (uint32_t i = 0; i < 10; i++) {
		assert_true(net_segmenter_next(&segmenter, i & 1, &segment));
		gather(segment.iov, segment.iov_count, gathered);
		assert_memory_equal(gathered + 38, frame + 38, 16);
		memcpy(gathered + 38, destination, 16);
		NO_WRONG(slow_frame_wrong(gathered, segment.bytes, i & 1));
	}
}

static void assert_refused(struct cut *cut)
{
	assert_int_equal(
		net_segmenter_init(&cut->segmenter, &cut->frame, cut->iov, cut->pieces.count + 1),
		-LIS_INVALID);
}

/* Spoils one thing at a time of a frame that can be cut. */
static void what_does_not_fit_the_headers_is_not_cut(void **state)
{
	static const uint8_t kinds[] = { NET_GSO_NONE, NET_GSO_TCP_IPV4, NET_GSO_TCP_IPV6,
					 NET_GSO_UDP,  NET_GSO_UDP + 1,	 255 };

	for (uint32_t i = 0; i < 2000; i++) {
		struct slow_plan plan = any_plan(2000);
		struct net_offload *spoilt;
		struct cut cut;

		plan.payload_bytes += !plan.payload_bytes;
		assert_int_equal(cut_begin(&cut, &plan, (uint16_t)(1 + any(3000))), 0);
		spoilt = &cut.frame.offload;
		for (uint32_t j = 0; j < sizeof(kinds); j++) {
			spoilt->gso = kinds[j];
			if (kinds[j] != offload.gso)
				assert_refused(&cut);
		}
		*spoilt = offload;
		spoilt->flags = any(2) ? 0 : NET_CHECKSUM_VALID;
		assert_refused(&cut);
		*spoilt = offload;
		spoilt->segment_bytes = 0;
		assert_refused(&cut);
		*spoilt = offload;
		spoilt->header_bytes += (uint16_t)(1 + any(65535));
		assert_refused(&cut);
		*spoilt = offload;
		spoilt->checksum_start += (uint16_t)(1 + any(65535));
		assert_refused(&cut);
		*spoilt = offload;
		spoilt->checksum_offset += (uint16_t)(1 + any(65535));
		assert_refused(&cut);
		*spoilt = offload;
		assert_int_equal(net_segmenter_init(&cut.segmenter, &cut.frame, cut.iov,
						    any(cut.pieces.count + 1)),
				 -LIS_INVALID);
		/* No payload, and not even all the headers. */
		cut.frame.bytes = any(offload.header_bytes + 1u);
		assert_refused(&cut);
		/* Less there than is said. */
		cut.frame.bytes = cut.bytes;
		cut.frame.iov_count = 0;
		assert_refused(&cut);
		pieces_free(&cut.pieces);
	}
}

/* One that does not say how long it is, in one piece. */
static int cut_unsaid(const struct slow_plan *plan, uint16_t segment_bytes)
{
	struct net_segmenter segmenter;
	struct iovec iov = { frame, slow_build(plan, frame, segment_bytes, &offload) }, out[2];
	struct net_frame whole = { &iov, 1, (uint32_t)iov.iov_len, offload };

	memset(frame + 16, 0, 2);
	return net_segmenter_init(&segmenter, &whole, out, 2);
}

static void segments_longer_or_more_than_ip_allows_are_not_made(void **state)
{
	struct slow_plan plan = { .payload_bytes = 65535 - 40 };

	assert_int_equal(cut_unsaid(&plan, 65535 - 40), 0);
	assert_int_equal(cut_unsaid(&plan, 65535), 0);
	plan.payload_bytes++;
	assert_int_equal(cut_unsaid(&plan, 65535), -LIS_INVALID);
	assert_int_equal(cut_unsaid(&plan, 65535 - 39), -LIS_INVALID);
	assert_int_equal(cut_unsaid(&plan, 65535 - 40), 0);
	/* TCP with it has 65535 bytes, which is what a pseudo header can say. */
	plan.payload_bytes = 65515;
	assert_int_equal(cut_unsaid(&plan, 1), 0);
	plan.payload_bytes++;
	assert_int_equal(cut_unsaid(&plan, 1000), -LIS_INVALID);
}

static void a_frame_that_asks_for_no_segments_is_not_cut(void **state)
{
	struct net_segmenter segmenter;
	struct iovec iov = { frame, 1000 }, out[2];
	struct net_frame whole = {
		&iov,
		1,
		1000,
		{ .flags = NET_CHECKSUM_PARTIAL, .segment_bytes = 10, .checksum_offset = 6 }
	};

	assert_int_equal(net_segmenter_init(&segmenter, &whole, out, 2), -LIS_INVALID);
}

static void fragments_are_not_cut(void **state)
{
	struct slow_plan plan = { .payload_bytes = 1000 };
	struct net_segmenter segmenter;
	struct iovec iov = { frame, slow_build(&plan, frame, 100, &offload) }, out[2];
	struct net_frame whole = { &iov, 1, (uint32_t)iov.iov_len, offload };

	assert_int_equal(net_segmenter_init(&segmenter, &whole, out, 2), 0);
	frame[20] = 0x20;
	assert_int_equal(net_segmenter_init(&segmenter, &whole, out, 2), -LIS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(segments_make_up_the_frame, setup),
		cmocka_unit_test_setup(segments_may_be_tiny_or_all, setup),
		cmocka_unit_test_setup(a_tcp_frame_is_cut_as_the_rfc_says, setup),
		cmocka_unit_test_setup(headers_are_read_once, setup),
		cmocka_unit_test_setup(payload_may_change_under_way, setup),
		cmocka_unit_test_setup(the_pseudo_header_is_the_frames_own, setup),
		cmocka_unit_test_setup(what_does_not_fit_the_headers_is_not_cut, setup),
		cmocka_unit_test_setup(segments_longer_or_more_than_ip_allows_are_not_made, setup),
		cmocka_unit_test_setup(a_frame_that_asks_for_no_segments_is_not_cut, setup),
		cmocka_unit_test_setup(fragments_are_not_cut, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
