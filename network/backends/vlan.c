// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * An access port of a VLAN, in front of another port: see vlan.h.
 *
 * To the port behind go the addresses, tag and type from a copy of our own, so that what was looked at
 * is what is sent; the rest from where it lies. A frame from there is read with four bytes of our own
 * where its tag is, so that it lies in the user's memory without one, and the user cannot change what is
 * decided by it.
 *
 * The port behind has the counters and the link; all of it runs on the port's loop.
 */
#include "network/backends/vlan.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_SERVICE_VLAN 0x88a8u
#define ADDRESSES_BYTES (2 * NET_MAC_BYTES)
#define ID_MASK 0x0fffu

/* Two more than a port's user has: a frame is cut where its tag is. */
#define PIECES_MAX (IOV_MAX - 4u)
/* [policy] Frames of other VLANs in a row, before others have their turn. */
#define DROPS_AT_ONCE 64

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

struct vlan {
	struct net_port port;
	struct net_port_user user_behind; /* we are the user of the port behind */
	struct net_port_user *user;
	struct io_loop *loop;
	uint32_t id;
	bool again_queued, stopping;
	struct io_call again_call, behind_stopped;
	struct io_call *stopped;
	struct iovec iov[IOV_MAX];
};

static uint32_t get_be16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void put_be16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static bool is_tag(uint32_t type)
{
	return type == ETHERTYPE_VLAN || type == ETHERTYPE_SERVICE_VLAN;
}

/* The pieces from @offset on. Returns their number. */
static uint32_t slice(const struct iovec *iov, uint32_t iov_count, size_t offset, struct iovec *out)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < iov_count; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		out[count++] = (struct iovec){ (uint8_t *)iov[i].iov_base + offset,
					       iov[i].iov_len - offset };
		offset = 0;
	}
	return count;
}

/* ---- to the port behind ---- */

/*
 * The head of a frame in our VLAN, of addresses, tag and type; *used is how much of the frame it stands
 * for. Returns false where the frame may not pass.
 */
static bool make_head(const struct vlan *vlan, const struct net_frame *frame, uint8_t *head,
		      uint32_t *used)
{
	uint8_t own[NET_ETHERNET_BYTES + NET_VLAN_BYTES];
	size_t there = net_frame_copy(frame, 0, own, sizeof(own));
	uint32_t type, tci = 0;

	if (there < NET_ETHERNET_BYTES)
		return false;
	*used = NET_ETHERNET_BYTES;
	type = get_be16(own + ADDRESSES_BYTES);
	if (type == ETHERTYPE_VLAN && there == sizeof(own)) {
		tci = get_be16(own + NET_ETHERNET_BYTES);
		type = get_be16(own + NET_ETHERNET_BYTES + 2);
		*used = sizeof(own);
	}
	if (is_tag(type) || (tci & ID_MASK))
		return false;
	memcpy(head, own, ADDRESSES_BYTES);
	put_be16(head + ADDRESSES_BYTES, ETHERTYPE_VLAN);
	put_be16(head + ADDRESSES_BYTES + 2, tci | vlan->id);
	put_be16(head + ADDRESSES_BYTES + NET_VLAN_BYTES, type);
	return true;
}

static void move_offload(struct net_offload *offload, int by)
{
	if (offload->flags & NET_CHECKSUM_PARTIAL)
		offload->checksum_start = (uint16_t)(offload->checksum_start + by);
	if (offload->gso != NET_GSO_NONE)
		offload->header_bytes = (uint16_t)(offload->header_bytes + by);
}

static int vlan_send(struct net_port *port, const struct net_frame *frame)
{
	struct vlan *vlan = (struct vlan *)port;
	uint8_t head[NET_ETHERNET_BYTES + NET_VLAN_BYTES];
	struct net_frame tagged = *frame;
	uint32_t used;

	if (frame->iov_count > PIECES_MAX || !make_head(vlan, frame, head, &used)) {
		net_count_drop(&port->counters.send_dropped);
		return -LIS_INVALID;
	}
	tagged.bytes = frame->bytes + (uint32_t)sizeof(head) - used;
	if (tagged.bytes > NET_FRAME_BYTES_MAX) {
		net_count_drop(&port->counters.send_dropped);
		return -LIS_INVALID;
	}
	if (used == NET_ETHERNET_BYTES)
		move_offload(&tagged.offload, NET_VLAN_BYTES);
	vlan->iov[0] = (struct iovec){ head, sizeof(head) };
	tagged.iov = vlan->iov;
	tagged.iov_count = 1 + slice(frame->iov, frame->iov_count, used, vlan->iov + 1);
	return net_port_send(port->behind, &tagged);
}

static void vlan_flush(struct net_port *port)
{
	net_port_flush(port->behind);
}

/* ---- from the port behind ---- */

/* Pieces that leave the tag out. Returns their number. */
static uint32_t cut(struct vlan *vlan, const struct iovec *iov, uint32_t iov_count, uint8_t *tag)
{
	size_t addresses = ADDRESSES_BYTES;
	uint32_t count = 0;

	for (uint32_t i = 0; i < iov_count && addresses; i++) {
		size_t length = iov[i].iov_len < addresses ? iov[i].iov_len : addresses;

		vlan->iov[count++] = (struct iovec){ iov[i].iov_base, length };
		addresses -= length;
	}
	vlan->iov[count++] = (struct iovec){ tag, NET_VLAN_BYTES };
	return count + slice(iov, iov_count, ADDRESSES_BYTES, vlan->iov + count);
}

/* Without its tag the frame still is one, and the places in it are behind its header. */
static bool is_sound(const struct net_offload *offload, uint32_t bytes)
{
	const uint32_t least = NET_ETHERNET_BYTES + NET_VLAN_BYTES;

	return bytes >= NET_FRAME_BYTES_MIN + NET_VLAN_BYTES &&
	       (!(offload->flags & NET_CHECKSUM_PARTIAL) || offload->checksum_start >= least) &&
	       (offload->gso == NET_GSO_NONE || offload->header_bytes >= least);
}

/* There may be more, and the port behind does not say so by itself. */
static int come_again(struct vlan *vlan)
{
	if (!vlan->again_queued && !vlan->stopping) {
		vlan->again_queued = true;
		io_loop_call(vlan->loop, &vlan->again_call);
	}
	return -LIS_EMPTY;
}

static int vlan_receive(struct net_port *port, const struct iovec *iov, uint32_t iov_count,
			uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct vlan *vlan = (struct vlan *)port;
	uint8_t tag[NET_VLAN_BYTES];
	uint32_t count, tagged_bytes;

	if (iov_count > PIECES_MAX)
		return -LIS_IO;
	count = cut(vlan, iov, iov_count, tag);
	for (int drops = 0; drops < DROPS_AT_ONCE; drops++) {
		struct net_offload offload = { 0 };
		int err = net_port_receive(port->behind, vlan->iov, count, bytes + NET_VLAN_BYTES,
					   &tagged_bytes, &offload);

		if (err)
			return err;
		if (!is_sound(&offload, tagged_bytes) || get_be16(tag) != ETHERTYPE_VLAN ||
		    (get_be16(tag + 2) & ID_MASK) != vlan->id)
			continue;
		move_offload(&offload, -(int)NET_VLAN_BYTES);
		*out_bytes = tagged_bytes - NET_VLAN_BYTES;
		*out_offload = offload;
		return 0;
	}
	return come_again(vlan);
}

static void again(struct io_call *call)
{
	struct vlan *vlan = container_of(call, struct vlan, again_call);

	vlan->again_queued = false;
	if (!vlan->stopping)
		vlan->user->ready(vlan->user);
}

static void behind_is_ready(struct net_port_user *user)
{
	struct vlan *vlan = container_of(user, struct vlan, user_behind);

	vlan->user->ready(vlan->user);
}

static void vlan_set_receive(struct net_port *port, uint32_t can)
{
	net_port_set_receive(port->behind, can);
}

/* ---- the port ---- */

static void behind_link_changed(struct net_port_user *user)
{
	struct vlan *vlan = container_of(user, struct vlan, user_behind);

	atomic_store(&vlan->port.link_up, atomic_load(&vlan->port.behind->link_up));
	vlan->user->link_changed(vlan->user);
}

static int vlan_start(struct net_port *port, struct io_loop *loop, struct net_port_user *user)
{
	struct vlan *vlan = (struct vlan *)port;
	int err;

	vlan->loop = loop;
	vlan->user = user;
	vlan->stopping = false;
	err = net_port_start(port->behind, loop, &vlan->user_behind);
	if (!err)
		atomic_store(&port->link_up, atomic_load(&port->behind->link_up));
	return err;
}

/* A call that is still on its way comes before this one. */
static void behind_stopped(struct io_call *call)
{
	struct vlan *vlan = container_of(call, struct vlan, behind_stopped);

	io_loop_call(vlan->loop, vlan->stopped);
}

static void vlan_stop(struct net_port *port, struct io_call *stopped)
{
	struct vlan *vlan = (struct vlan *)port;

	vlan->stopping = true;
	vlan->stopped = stopped;
	net_port_stop(port->behind, &vlan->behind_stopped);
}

static void vlan_describe(const struct net_port *port, char *line)
{
	const struct vlan *vlan = (const struct vlan *)port;
	size_t used;

	port->behind->ops->describe(port->behind, line);
	used = strlen(line);
	snprintf(line + used, NET_PORT_LINE_BYTES - used, ", VLAN %u", vlan->id);
}

static void vlan_destroy(struct net_port *port)
{
	net_port_destroy(port->behind);
	free(port);
}

static const struct net_port_ops vlan_ops = {
	.start = vlan_start,
	.stop = vlan_stop,
	.send = vlan_send,
	.flush = vlan_flush,
	.receive = vlan_receive,
	.set_receive = vlan_set_receive,
	.describe = vlan_describe,
	.destroy = vlan_destroy,
};

int vlan_create(struct net_port *behind, uint32_t id, struct net_port **out_port, char *error)
{
	struct vlan *vlan;

	if (id < VLAN_ID_MIN || id > VLAN_ID_MAX)
		return net_port_error(error, -LIS_INVALID, "VLAN %u: there are %u to %u", id,
				      VLAN_ID_MIN, VLAN_ID_MAX);
	vlan = calloc(1, sizeof(*vlan));
	if (!vlan)
		return net_port_error(error, -LIS_NOMEM, "VLAN %u: out of memory", id);
	vlan->id = id;
	vlan->user_behind = (struct net_port_user){ behind_is_ready, behind_link_changed };
	vlan->again_call.fn = again;
	vlan->behind_stopped.fn = behind_stopped;
	vlan->port.ops = &vlan_ops;
	vlan->port.behind = behind;
	vlan->port.can_send = behind->can_send;
	vlan->port.can_receive = behind->can_receive;
	vlan->port.mtu_max = behind->mtu_max;
	vlan->port.bits_per_second = behind->bits_per_second;
	atomic_init(&vlan->port.link_up, atomic_load(&behind->link_up));
	*out_port = &vlan->port;
	return 0;
}
