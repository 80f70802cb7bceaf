/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the parts of the NAT port: nat_setup.c reads the config, nat.c runs, nat_queue.c is what waits for the
 * guest, nat_large.c what is longer than its MTU. Nobody else includes this.
 */
#ifndef OPENLIS_NETWORK_BACKENDS_NAT_PRIVATE_H
#define OPENLIS_NETWORK_BACKENDS_NAT_PRIVATE_H

#include <slirp/libslirp.h>

#include "network/backends/nat.h"
#include "network/offload.h"

#define NAT_MTU_DEFAULT 1500u
/* Room is left for forwards. */
#define NAT_LINE_BYTES (NET_PORT_LINE_BYTES - 24)
#define NAT_ETHERTYPE_IPV4 0x0800u

/**
 * nat_setup() - What libslirp is told.
 * @out_setup: holds on to @config's strings
 * @out_line: NAT_LINE_BYTES, for people; of forwards it says nothing
 * @error: as nat_create()
 *
 * Return: 0, -LIS_INVALID.
 */
int nat_setup(const struct nat_config *config, SlirpConfig *out_setup, char *out_line,
	      char *error) LIS_MUST_USE;

/** nat_open_forward(), nat_close_forward() - See nat.h; under the lock. @setup: which networks there are. */
int nat_open_forward(Slirp *slirp, const SlirpConfig *setup, const struct nat_forward *forward,
		     char *error) LIS_MUST_USE;
int nat_close_forward(Slirp *slirp, const struct nat_forward *forward, char *error) LIS_MUST_USE;

/* ---- nat_queue.c ---- */

struct nat_queue {
	uint8_t *memory;
	uint32_t put, take;
	uint32_t frames;
};

/** nat_queue_init() - Return: 0, -LIS_NOMEM. */
int nat_queue_init(struct nat_queue *queue) LIS_MUST_USE;
void nat_queue_fini(struct nat_queue *queue);

/** nat_queue_put() - A frame of @bytes in pieces. Return: false if there is no room. */
bool nat_queue_put(struct nat_queue *queue, const struct iovec *iov, size_t iov_count,
		   uint32_t bytes) LIS_MUST_USE;

/** nat_queue_take() - The memory stays as it is until the next put. Return: NULL if there is none. */
const uint8_t *nat_queue_take(struct nat_queue *queue, uint32_t *out_bytes);

/** nat_queue_is_above() - Is it more than one @part full? */
bool nat_queue_is_above(const struct nat_queue *queue, uint32_t part);

/* ---- nat_large.c ---- */

/** nat_can_of() - NET_CAN_* of a large segment. */
static inline uint32_t nat_can_of(const struct net_offload *offload)
{
	return offload->gso == NET_GSO_TCP_IPV4 ? NET_CAN_TCP_IPV4 : NET_CAN_TCP_IPV6;
}

/**
 * nat_raise_mss() - Tell libslirp that the guest takes the largest TCP segments.
 * @frame: of the guest, private; its checksums are complete, and stay as right or wrong as they are
 * @mtu: an MSS for less than that is left alone, as is all else
 */
void nat_raise_mss(uint8_t *frame, uint32_t bytes, uint32_t mtu);

/**
 * nat_large_segment() - How a frame that is longer than @mtu is to be cut, if it is of TCP.
 * @out_head: NET_HEADERS_BYTES_MAX; its headers as NET_CHECKSUM_PARTIAL wants them, out_offload->header_bytes long
 *
 * Return: false if it is not of TCP; nothing is set then.
 */
bool nat_large_segment(const uint8_t *frame, uint32_t bytes, uint32_t mtu, uint8_t *out_head,
		       struct net_offload *out_offload);

/**
 * nat_put_large() - Put a frame that is longer than @mtu: as one segment where the guest @can take it (NET_CAN_*),
 * else in several of TCP, or in fragments of IPv4. Return: false if not all of it could be put.
 */
bool nat_put_large(struct nat_queue *queue, const uint8_t *frame, uint32_t bytes, uint32_t mtu,
		   uint32_t can) LIS_MUST_USE;

#endif
