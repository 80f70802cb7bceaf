/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A network card's work in software: finding headers, sums, segments, and the hash of a flow.
 *
 * Headers are read from private copies only, and never a byte that was not said to be there.
 * Payload may be changing while it is summed up: no length or offset is ever taken from it.
 *
 * Sums are of 16-bit words in this machine's byte order. They come out the same in memory whatever
 * that is (RFC 1071, 2 (B)), so a folded sum is stored as it is.
 */
#include "network/offload.h"

#include <string.h>

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_IPV6 0x86ddu
#define ETHERTYPE_SERVICE_VLAN 0x88a8u
#define VLAN_TAGS_MAX 2u

#define IPV4_BYTES 20u
#define IPV4_FRAGMENT_MASK 0x3fffu /* offset, more fragments */
#define IPV6_BYTES 40u
#define IPV6_EXTENSION_UNIT 8u
#define IPV6_FRAGMENT_MASK 0xfff9u /* offset, more fragments */
#define IP_BYTES_MAX 65535u

#define PROTOCOL_HOP_BY_HOP 0u
#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define PROTOCOL_ROUTING 43u
#define PROTOCOL_FRAGMENT 44u
#define PROTOCOL_NOTHING 59u
#define PROTOCOL_DESTINATION 60u

#define TCP_BYTES 20u
#define TCP_SEQUENCE 4u
#define TCP_DATA_OFFSET 12u
#define TCP_FLAGS 13u
#define TCP_CHECKSUM 16u
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u
#define UDP_BYTES 8u
#define UDP_LENGTH 4u
#define UDP_CHECKSUM 6u

static uint16_t get_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_be16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get_be32(const uint8_t *at)
{
	return (uint32_t)get_be16(at) << 16 | get_be16(at + 2);
}

static void put_be32(uint8_t *at, uint32_t value)
{
	put_be16(at, value >> 16);
	put_be16(at + 2, value);
}

static uint16_t get_word(const uint8_t *at)
{
	uint16_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

static void put_word(uint8_t *at, uint16_t word)
{
	memcpy(at, &word, sizeof(word));
}

/* A number as a word of a sum. */
static uint16_t word_of(uint32_t number)
{
	uint8_t bytes[2];

	put_be16(bytes, number);
	return get_word(bytes);
}

/* ---- headers ---- */

static bool is_vlan_tag(uint32_t type)
{
	return type == ETHERTYPE_VLAN || type == ETHERTYPE_SERVICE_VLAN;
}

/* Returns the type of what is behind Ethernet and tags, 0 where that is not there. */
static uint32_t parse_ethernet(const uint8_t *frame, size_t bytes, struct net_headers *headers)
{
	uint32_t offset = NET_ETHERNET_BYTES, type;

	if (bytes < offset)
		return 0;
	type = get_be16(frame + 2 * NET_MAC_BYTES);
	for (uint32_t tags = 0; tags < VLAN_TAGS_MAX && is_vlan_tag(type); tags++) {
		if (bytes - offset < NET_VLAN_BYTES)
			return 0;
		type = get_be16(frame + offset + 2);
		offset += NET_VLAN_BYTES;
	}
	headers->ip_offset = (uint16_t)offset;
	return type;
}

/*
 * Lengths in IP headers: where one is 0, a large segment's is left to the card; one that is longer
 * than what is there means nothing here, as the rest of a frame may be elsewhere; a shorter one is
 * the end. Both return the protocol of what is behind IP, with *bytes cut to the packet's end.
 */
static uint32_t parse_ipv4(const uint8_t *frame, size_t *bytes, struct net_headers *headers)
{
	const uint8_t *ip = frame + headers->ip_offset;
	size_t there = *bytes - headers->ip_offset;
	uint32_t header_bytes, total;

	if (there < IPV4_BYTES || ip[0] >> 4 != 4)
		return PROTOCOL_NOTHING;
	header_bytes = (ip[0] & 0xfu) * 4;
	total = get_be16(ip + 2);
	if (header_bytes < IPV4_BYTES || header_bytes > there || (total && total < header_bytes))
		return PROTOCOL_NOTHING;
	headers->ip_version = 4;
	if (total && total < there)
		*bytes = headers->ip_offset + total;
	headers->fragment = get_be16(ip + 6) & IPV4_FRAGMENT_MASK;
	if (headers->fragment)
		return PROTOCOL_NOTHING;
	headers->transport_offset = (uint16_t)(headers->ip_offset + header_bytes);
	return ip[9];
}

/* Not those of IPsec: what is behind them cannot be changed. */
static bool is_extension(uint32_t protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_DESTINATION;
}

static uint32_t parse_ipv6(const uint8_t *frame, size_t *bytes, struct net_headers *headers)
{
	const uint8_t *ip = frame + headers->ip_offset;
	size_t offset = headers->ip_offset + IPV6_BYTES;
	uint32_t protocol, payload;

	if (*bytes < offset || ip[0] >> 4 != 6)
		return PROTOCOL_NOTHING;
	headers->ip_version = 6;
	payload = get_be16(ip + 4);
	if (payload && payload < *bytes - offset)
		*bytes = offset + payload;
	for (protocol = ip[6]; is_extension(protocol);) {
		const uint8_t *at = frame + offset;
		size_t length = IPV6_EXTENSION_UNIT;

		if (*bytes - offset < length)
			return PROTOCOL_NOTHING;
		/* One piece that is all of it is a packet like any other, RFC 6946. */
		if (protocol == PROTOCOL_FRAGMENT)
			headers->fragment = get_be16(at + 2) & IPV6_FRAGMENT_MASK;
		else
			length += at[1] * IPV6_EXTENSION_UNIT;
		if (headers->fragment || *bytes - offset < length)
			return PROTOCOL_NOTHING;
		protocol = at[0];
		offset += length;
	}
	headers->transport_offset = (uint16_t)offset;
	return protocol;
}

static void parse_transport(const uint8_t *frame, size_t bytes, uint32_t protocol,
			    struct net_headers *headers)
{
	const uint8_t *at = frame + headers->transport_offset;
	size_t there = bytes - headers->transport_offset, length = UDP_BYTES;

	if (protocol == PROTOCOL_TCP && there >= TCP_BYTES) {
		length = (at[TCP_DATA_OFFSET] >> 4) * 4u;
		if (length < TCP_BYTES || length > there)
			return;
		headers->transport = NET_TRANSPORT_TCP;
	} else if (protocol == PROTOCOL_UDP && there >= length) {
		headers->transport = NET_TRANSPORT_UDP;
	} else {
		return;
	}
	headers->bytes = (uint16_t)(headers->transport_offset + length);
}

void net_parse_headers(const uint8_t *frame, size_t bytes, struct net_headers *out_headers)
{
	uint32_t protocol = PROTOCOL_NOTHING;

	if (bytes > NET_HEADERS_BYTES_MAX)
		bytes = NET_HEADERS_BYTES_MAX;
	memset(out_headers, 0, sizeof(*out_headers));
	switch (parse_ethernet(frame, bytes, out_headers)) {
	case ETHERTYPE_IPV4:
		protocol = parse_ipv4(frame, &bytes, out_headers);
		break;
	case ETHERTYPE_IPV6:
		protocol = parse_ipv6(frame, &bytes, out_headers);
		break;
	}
	parse_transport(frame, bytes, protocol, out_headers);
}

/* ---- sums ---- */

static uint64_t add_with_carry(uint64_t sum, uint64_t word)
{
	bool carry = __builtin_add_overflow(sum, word, &sum);

	return sum + carry;
}

static uint32_t fold_64(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	return (uint32_t)((sum & UINT32_MAX) + (sum >> 32));
}

/* Words of any multiple of 16 bits have the same sum, once it is folded. */
uint32_t net_sum(const void *memory, size_t bytes, uint32_t sum, bool odd)
{
	const uint8_t *at = memory;
	uint64_t a = 0, b = 0, words[4];
	uint16_t part;

	/* Two chains of carries at a time. */
	for (; bytes >= sizeof(words); bytes -= sizeof(words), at += sizeof(words)) {
		memcpy(words, at, sizeof(words));
		a = add_with_carry(add_with_carry(a, words[0]), words[1]);
		b = add_with_carry(add_with_carry(b, words[2]), words[3]);
	}
	for (; bytes >= sizeof(part); bytes -= sizeof(part), at += sizeof(part))
		b = add_with_carry(b, get_word(at));
	if (bytes)
		b = add_with_carry(b, word_of((uint32_t)at[0] << 8));
	part = net_sum_fold(fold_64(add_with_carry(a, b)));
	if (odd)
		part = (uint16_t)(part << 8 | part >> 8);
	return fold_64((uint64_t)sum + part);
}

/* A part of a list of pieces, as far as it is still ahead. */
struct walk {
	const struct iovec *iov;
	size_t iov_count, offset, bytes;
};

/* Returns false at the end, with bytes left where the list is too short. */
static bool walk_next(struct walk *walk, struct iovec *piece)
{
	for (; walk->bytes && walk->iov_count; walk->iov++, walk->iov_count--) {
		size_t length = walk->iov->iov_len;

		if (walk->offset >= length) {
			walk->offset -= length;
			continue;
		}
		length = length - walk->offset < walk->bytes ? length - walk->offset : walk->bytes;
		*piece = (struct iovec){ (uint8_t *)walk->iov->iov_base + walk->offset, length };
		walk->offset += length;
		walk->bytes -= length;
		return true;
	}
	return false;
}

bool net_sum_iov(const struct iovec *iov, size_t iov_count, size_t offset, size_t bytes,
		 uint32_t sum, uint32_t *out_sum)
{
	struct walk walk = { iov, iov_count, offset, bytes };
	struct iovec piece;
	bool odd = false;

	while (walk_next(&walk, &piece)) {
		sum = net_sum(piece.iov_base, piece.iov_len, sum, odd);
		odd ^= piece.iov_len & 1;
	}
	if (walk.bytes)
		return false;
	*out_sum = sum;
	return true;
}

uint16_t net_sum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* ---- headers made right ---- */

static uint32_t checksum_offset_of(const struct net_headers *headers)
{
	return headers->transport == NET_TRANSPORT_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
}

/* Of the pseudo header without a length. */
static uint32_t pseudo_sum(const uint8_t *frame, const struct net_headers *headers)
{
	const uint8_t *ip = frame + headers->ip_offset;
	uint32_t sum = word_of(headers->transport == NET_TRANSPORT_TCP ? PROTOCOL_TCP
								       : PROTOCOL_UDP);

	return headers->ip_version == 4 ? net_sum(ip + 12, 8, sum, false)
					: net_sum(ip + 8, 32, sum, false);
}

/* All that depends on the length but IPv4's checksum; @sum is that of the pseudo header without it.
 */
static void put_lengths(uint8_t *frame, const struct net_headers *headers, uint32_t frame_bytes,
			uint32_t sum)
{
	uint8_t *ip = frame + headers->ip_offset, *transport = frame + headers->transport_offset;
	uint32_t transport_bytes = frame_bytes - headers->transport_offset;

	if (headers->ip_version == 4)
		put_be16(ip + 2, frame_bytes - headers->ip_offset);
	else
		put_be16(ip + 4, frame_bytes - headers->ip_offset - IPV6_BYTES);
	if (headers->transport == NET_TRANSPORT_UDP)
		put_be16(transport + UDP_LENGTH, transport_bytes);
	put_word(transport + checksum_offset_of(headers),
		 net_sum_fold(sum + word_of(transport_bytes)));
}

int net_set_lengths(uint8_t *frame, const struct net_headers *headers, size_t payload_bytes)
{
	if (headers->transport == NET_TRANSPORT_OTHER ||
	    payload_bytes > IP_BYTES_MAX - (headers->bytes - headers->ip_offset))
		return -LIS_INVALID;
	put_lengths(frame, headers, headers->bytes + (uint32_t)payload_bytes,
		    pseudo_sum(frame, headers));
	net_set_ipv4_checksum(frame, headers);
	return 0;
}

void net_set_ipv4_checksum(uint8_t *frame, const struct net_headers *headers)
{
	uint8_t *ip = frame + headers->ip_offset;

	if (headers->ip_version != 4)
		return;
	put_word(ip + 10, 0);
	put_word(ip + 10, (uint16_t)~net_sum_fold(net_sum(ip, (ip[0] & 0xfu) * 4, 0, false)));
}

int net_checksum(const struct iovec *iov, size_t iov_count, size_t frame_bytes,
		 const struct net_offload *offload, uint16_t *out_word)
{
	size_t start = offload->checksum_start;
	uint32_t sum;

	if (start + offload->checksum_offset + sizeof(*out_word) > frame_bytes ||
	    !net_sum_iov(iov, iov_count, start, frame_bytes - start, 0, &sum))
		return -LIS_INVALID;
	*out_word = (uint16_t)~net_sum_fold(sum);
	if (!*out_word && offload->checksum_offset == UDP_CHECKSUM)
		*out_word = UINT16_MAX;
	return 0;
}

int net_complete_checksum(const struct iovec *iov, size_t iov_count, size_t frame_bytes,
			  struct net_offload *offload)
{
	size_t at = (size_t)offload->checksum_start + offload->checksum_offset;
	struct walk walk = { iov, iov_count, at, sizeof(uint16_t) };
	uint16_t checksum;
	const uint8_t *from = (const uint8_t *)&checksum;
	struct iovec piece;

	if (!(offload->flags & NET_CHECKSUM_PARTIAL))
		return 0;
	if (net_checksum(iov, iov_count, frame_bytes, offload, &checksum))
		return -LIS_INVALID;
	for (; walk_next(&walk, &piece); from += piece.iov_len)
		memcpy(piece.iov_base, from, piece.iov_len);
	offload->flags &= (uint8_t)~NET_CHECKSUM_PARTIAL;
	return 0;
}

/* ---- segments ---- */

static uint8_t gso_of(const struct net_headers *headers)
{
	if (headers->transport == NET_TRANSPORT_TCP)
		return headers->ip_version == 4 ? NET_GSO_TCP_IPV4 : NET_GSO_TCP_IPV6;
	return headers->transport == NET_TRANSPORT_UDP ? NET_GSO_UDP : NET_GSO_NONE;
}

static bool headers_fit(const struct net_headers *headers, const struct net_offload *offload)
{
	return offload->gso != NET_GSO_NONE && offload->gso == gso_of(headers) &&
	       offload->header_bytes == headers->bytes && (offload->flags & NET_CHECKSUM_PARTIAL) &&
	       offload->checksum_start == headers->transport_offset &&
	       offload->checksum_offset == checksum_offset_of(headers);
}

/* A transport of up to 65535 bytes makes no more segments than that. */
static bool sizes_fit(const struct net_frame *frame, const struct net_headers *headers)
{
	uint32_t payload = frame->bytes - headers->bytes, most = frame->offload.segment_bytes;

	if (most > payload)
		most = payload;
	return most && most <= IP_BYTES_MAX - (headers->bytes - headers->ip_offset) &&
	       frame->bytes - headers->transport_offset <= UINT16_MAX;
}

/* Returns false where they are not all there. */
static bool copy_headers(const struct net_frame *frame, uint8_t *to)
{
	struct walk walk = { frame->iov, frame->iov_count, 0, frame->offload.header_bytes };
	struct iovec piece;

	if (walk.bytes > NET_HEADERS_BYTES_MAX || walk.bytes > frame->bytes)
		return false;
	for (; walk_next(&walk, &piece); to += piece.iov_len)
		memcpy(to, piece.iov_base, piece.iov_len);
	return !walk.bytes;
}

int net_segmenter_init(struct net_segmenter *segmenter, const struct net_frame *frame,
		       struct iovec *iov, uint32_t iov_max)
{
	const struct net_offload *offload = &frame->offload;
	struct net_headers *headers = &segmenter->headers;
	uint8_t *checksum;
	uint32_t bytes;

	if (iov_max <= frame->iov_count || !copy_headers(frame, segmenter->template))
		return -LIS_INVALID;
	net_parse_headers(segmenter->template, offload->header_bytes, headers);
	if (!headers_fit(headers, offload) || !sizes_fit(frame, headers))
		return -LIS_INVALID;
	segmenter->frame = frame;
	segmenter->offset = headers->bytes;
	segmenter->index = 0;
	segmenter->iov = iov;
	segmenter->iov_max = iov_max;
	/*
	 * The pseudo header's sum is taken from the frame, less the frame's length, RFC 1624: with
	 * some extension headers its addresses are not those of the IP header.
	 */
	checksum = segmenter->template + offload->checksum_start + offload->checksum_offset;
	bytes = frame->bytes - headers->transport_offset;
	put_word(checksum, net_sum_fold(get_word(checksum) + (uint32_t)(uint16_t)~word_of(bytes)));
	return 0;
}

/* The headers of the segment that has @payload_bytes from segmenter->offset on. */
static void make_header(struct net_segmenter *segmenter, uint32_t payload_bytes)
{
	const struct net_headers *headers = &segmenter->headers;
	uint8_t *ip = segmenter->header + headers->ip_offset;
	uint8_t *transport = segmenter->header + headers->transport_offset;

	memcpy(segmenter->header, segmenter->template, headers->bytes);
	if (headers->transport == NET_TRANSPORT_TCP) {
		uint8_t drop = segmenter->index ? TCP_CWR : 0;

		if (segmenter->offset + payload_bytes < segmenter->frame->bytes)
			drop |= TCP_FIN | TCP_PSH;
		transport[TCP_FLAGS] &= (uint8_t)~drop;
		put_be32(transport + TCP_SEQUENCE,
			 get_be32(transport + TCP_SEQUENCE) + segmenter->offset - headers->bytes);
	}
	put_lengths(segmenter->header, headers, headers->bytes + payload_bytes,
		    get_word(transport + checksum_offset_of(headers)));
	if (headers->ip_version == 4)
		put_be16(ip + 4, get_be16(ip + 4) + segmenter->index);
	net_set_ipv4_checksum(segmenter->header, headers);
}

bool net_segmenter_next(struct net_segmenter *segmenter, bool can_checksum,
			struct net_frame *out_segment)
{
	const struct net_frame *frame = segmenter->frame;
	uint32_t left = frame->bytes - segmenter->offset, bytes = frame->offload.segment_bytes;
	struct walk walk = { frame->iov, frame->iov_count, segmenter->offset,
			     bytes < left ? bytes : left };
	uint32_t count = 1;

	if (!left)
		return false;
	bytes = (uint32_t)walk.bytes;
	make_header(segmenter, bytes);
	segmenter->iov[0] = (struct iovec){ segmenter->header, segmenter->headers.bytes };
	while (walk_next(&walk, &segmenter->iov[count]))
		count++;
	segmenter->offset += bytes;
	segmenter->index++;
	*out_segment = (struct net_frame){
		.iov = segmenter->iov,
		.iov_count = count,
		.bytes = segmenter->headers.bytes + bytes,
		.offload = {
			.flags = NET_CHECKSUM_PARTIAL,
			.checksum_start = frame->offload.checksum_start,
			.checksum_offset = frame->offload.checksum_offset,
		},
		.queue = frame->queue,
	};
	return can_checksum || !net_complete_checksum(out_segment->iov, count, out_segment->bytes,
						      &out_segment->offload);
}

/* ---- the hash ---- */

void net_hash_key_set(struct net_hash_key *key, const uint8_t bytes[NDIS_RSS_KEY_BYTES])
{
	memcpy(key->key, bytes, NDIS_RSS_KEY_BYTES);
	for (uint32_t place = 0; place < 36; place++) {
		/* A bit that is set brings in the 32 bits of the key that begin where it is. */
		uint64_t bits = (uint64_t)get_be32(bytes + place) << 8 | bytes[place + 4];

		key->table[place][0] = 0;
		for (uint32_t value = 1; value < 256; value++)
			key->table[place][value] = key->table[place][value & (value - 1)] ^
						   (uint32_t)(bits >> (__builtin_ctz(value) + 1));
	}
}

static uint32_t hash_bytes(const struct net_hash_key *key, uint32_t place, const uint8_t *at,
			   uint32_t bytes)
{
	uint32_t hash = 0;

	for (uint32_t i = 0; i < bytes; i++)
		hash ^= key->table[place + i][at[i]];
	return hash;
}

uint32_t net_hash(const struct net_hash_key *key, const uint8_t *frame,
		  const struct net_headers *headers, uint32_t types, uint32_t *out_type)
{
	static const uint32_t of_transport[][2] = {
		[NET_TRANSPORT_OTHER] = { 0, 0 },
		[NET_TRANSPORT_TCP] = { NDIS_HASH_TCP_IPV4, NDIS_HASH_TCP_IPV6 },
		[NET_TRANSPORT_UDP] = { NDIS_HASH_UDP_IPV4, NDIS_HASH_UDP_IPV6 },
	};
	bool ipv6 = headers->ip_version == 6;
	uint32_t address_bytes = ipv6 ? 32 : 8, hash;

	*out_type = 0;
	if (!headers->ip_version)
		return 0;
	hash = hash_bytes(key, 0, frame + headers->ip_offset + (ipv6 ? 8 : 12), address_bytes);
	*out_type = types & of_transport[headers->transport][ipv6];
	if (*out_type)
		return hash ^ hash_bytes(key, address_bytes, frame + headers->transport_offset, 4);
	*out_type = types & (ipv6 ? NDIS_HASH_IPV6 : NDIS_HASH_IPV4);
	return *out_type ? hash : 0;
}
