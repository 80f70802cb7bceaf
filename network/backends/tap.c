// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A port to a TAP interface: see tap.h.
 *
 * Each read and write is one frame behind the kernel's struct virtio_net_hdr, which lies in an
 * iovec of its own. The kernel's hint of the length of headers is no more than that, so it is found
 * out from the frame, which may be changing: nothing but the offload's own fields depends on it.
 *
 * A queue is a descriptor. Those that may have frames are in a set; they have their turns, some frames
 * each, and one that turns out empty leaves the set until it can be read again.
 *
 * One more descriptor hears of any interface's changes; what they are is not read, but our
 * interface is looked at again. Where the interface was deleted there is nothing to come any more.
 */
#include <endian.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "network/backends/tap_private.h"
#include "network/offload.h"
#include "vmbus/os.h"

/* Newer than the headers of Debian 12. */
#define OFFLOAD_USO4 0x20u /* TUN_F_USO4 */
#define OFFLOAD_USO6 0x40u /* TUN_F_USO6 */
#define GSO_UDP_L4 5u      /* VIRTIO_NET_HDR_GSO_UDP_L4 */

/* The header, the frame's pieces, and a byte that must stay unused. */
#define PIECES_MAX (IOV_MAX - 2u)
/* [policy] Frames in a row that are too long for the user, before others have their turn. */
#define DROPS_AT_ONCE 64
/* [policy] Frames of one queue before the next has its turn. */
#define TURN_FRAMES 16u
#define BITS_PER_SECOND 10000000000u /* [policy] for show */

#define TCP_DATA_OFFSET 12u
#define TCP_FLAGS 13u
#define TCP_CWR 0x80u
#define UDP_BYTES 8u

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* ---- offloads ---- */

static const struct {
	uint8_t gso, kernel;
	uint32_t can;
} gso_kinds[] = {
	{ NET_GSO_TCP_IPV4, VIRTIO_NET_HDR_GSO_TCPV4, NET_CAN_TCP_IPV4 },
	{ NET_GSO_TCP_IPV6, VIRTIO_NET_HDR_GSO_TCPV6, NET_CAN_TCP_IPV6 },
	{ NET_GSO_UDP, GSO_UDP_L4, NET_CAN_UDP },
};

#define GSO_KINDS (sizeof(gso_kinds) / sizeof(gso_kinds[0]))

static bool has_cwr(const struct net_frame *frame)
{
	uint8_t flags = 0;

	net_frame_copy(frame, frame->offload.checksum_start + TCP_FLAGS, &flags, 1);
	return flags & TCP_CWR;
}

static bool header_of(const struct net_frame *frame, struct virtio_net_hdr *header)
{
	const struct net_offload *offload = &frame->offload;
	size_t kind;

	memset(header, 0, sizeof(*header));
	if (offload->flags & NET_CHECKSUM_PARTIAL) {
		header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header->csum_start = htole16(offload->checksum_start);
		header->csum_offset = htole16(offload->checksum_offset);
	}
	if (offload->gso == NET_GSO_NONE)
		return true;
	for (kind = 0; kind < GSO_KINDS && gso_kinds[kind].gso != offload->gso;)
		kind++;
	if (kind == GSO_KINDS || !(offload->flags & NET_CHECKSUM_PARTIAL))
		return false;
	header->gso_type = gso_kinds[kind].kernel;
	/* Cards have to be told that the flag is for the first segment only. */
	if (offload->gso != NET_GSO_UDP && has_cwr(frame))
		header->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	header->gso_size = htole16(offload->segment_bytes);
	header->hdr_len = htole16(offload->header_bytes);
	return true;
}

/*
 * Of a frame that is in @frame already; it may have waited there since before the user changed its
 * mind. Returns false where it is nothing for the user.
 */
static bool offload_of(const struct tap *tap, const struct virtio_net_hdr *header,
		       const struct net_frame *frame, struct net_offload *out_offload)
{
	struct net_offload offload = { 0 };
	uint8_t words = 0;
	size_t kind;

	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		offload.flags = NET_CHECKSUM_PARTIAL;
		offload.checksum_start = le16toh(header->csum_start);
		offload.checksum_offset = le16toh(header->csum_offset);
	} else if ((header->flags & VIRTIO_NET_HDR_F_DATA_VALID) && (tap->can & NET_CAN_CHECKSUM)) {
		offload.flags = NET_CHECKSUM_VALID;
	}
	if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		for (kind = 0;
		     kind < GSO_KINDS &&
		     gso_kinds[kind].kernel != (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN);)
			kind++;
		if (kind == GSO_KINDS || !(tap->can & gso_kinds[kind].can))
			return false;
		offload.gso = gso_kinds[kind].gso;
		offload.segment_bytes = le16toh(header->gso_size);
		net_frame_copy(frame, offload.checksum_start + TCP_DATA_OFFSET, &words, 1);
		offload.header_bytes =
			(uint16_t)(offload.checksum_start +
				   (offload.gso == NET_GSO_UDP ? UDP_BYTES : (words >> 4) * 4u));
		if (offload.header_bytes > frame->bytes)
			return false;
	} else if ((offload.flags & NET_CHECKSUM_PARTIAL) && !(tap->can & NET_CAN_CHECKSUM) &&
		   net_complete_checksum(frame->iov, frame->iov_count, frame->bytes, &offload)) {
		return false;
	}
	*out_offload = offload;
	return true;
}

unsigned tap_kernel_offloads(uint32_t can)
{
	unsigned offloads = 0;

	if (!(can & NET_CAN_CHECKSUM))
		return 0; /* nothing goes without it */
	offloads |= TUN_F_CSUM;
	if (can & NET_CAN_TCP_IPV4)
		offloads |= TUN_F_TSO4 | TUN_F_TSO_ECN;
	if (can & NET_CAN_TCP_IPV6)
		offloads |= TUN_F_TSO6 | TUN_F_TSO_ECN;
	if (can & NET_CAN_UDP)
		offloads |= OFFLOAD_USO4 | OFFLOAD_USO6;
	return offloads;
}

static void tap_set_receive(struct net_port *port, uint32_t can)
{
	struct tap *tap = (struct tap *)port;

	can &= port->can_receive;
	if (!(can & NET_CAN_CHECKSUM))
		can = 0;
	/* It is the interface's, whichever queue is asked. */
	if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, tap_kernel_offloads(can)) == 0)
		tap->can = can;
	else if (!tap->gone)
		os_log(OS_LOG_WARNING, "%s: offloads stay as they were: %s", tap->name,
		       strerror(errno));
}

/* ---- the link ---- */

bool tap_interface_is_up(struct tap *tap)
{
	struct ifreq request = { 0 };

	if (tap->changes_fd < 0)
		return true;
	/* It may have been renamed, or moved to where it is not for us to see. */
	if (ioctl(tap->queues[0].fd, TUNGETIFF, &request) == 0)
		memcpy(tap->name, request.ifr_name, sizeof(tap->name));
	memcpy(request.ifr_name, tap->name, sizeof(request.ifr_name));
	return ioctl(tap->changes_fd, SIOCGIFFLAGS, &request) < 0 || (request.ifr_flags & IFF_UP);
}

/* May call the user: last in whatever the loop called. */
static void look_at_link(struct tap *tap)
{
	bool up = !tap->gone && tap_interface_is_up(tap);

	if (atomic_exchange(&tap->port.link_up, up) != up && tap->user && !tap->stopping)
		tap->user->link_changed(tap->user);
}

static void on_changes(struct io_fd *fd, uint32_t poll_events)
{
	struct tap *tap = container_of(fd, struct tap, changes);
	char ignored[4096];

	/* Also where some were lost. */
	while (recv(tap->changes_fd, ignored, sizeof(ignored), MSG_DONTWAIT) >= 0 ||
	       errno == ENOBUFS || errno == EINTR)
		;
	io_fd_poll(&tap->changes, POLLIN);
	look_at_link(tap);
}

static void interface_is_gone(struct tap *tap)
{
	if (tap->gone)
		return;
	tap->gone = true;
	os_log(OS_LOG_WARNING, "%s: the interface is gone", tap->name);
}

/* ---- frames ---- */

static int send_error(struct tap *tap)
{
	switch (errno) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
	case EINTR:
		net_count_drop(&tap->port.counters.send_dropped);
		return -LIS_FULL;
	case EINVAL:
	case EMSGSIZE:
		return -LIS_INVALID;
	}
	net_count_drop(&tap->port.counters.send_dropped);
	return -LIS_IO; /* down, or gone */
}

static int tap_send(struct net_port *port, const struct net_frame *frame)
{
	struct tap *tap = (struct tap *)port;
	int fd = tap->queues[frame->queue % tap->queue_count].fd;
	struct virtio_net_hdr header;

	if (frame->iov_count > PIECES_MAX || frame->bytes < NET_FRAME_BYTES_MIN ||
	    !header_of(frame, &header))
		return -LIS_INVALID;
	tap->iov[0] = (struct iovec){ &header, sizeof(header) };
	memcpy(&tap->iov[1], frame->iov, frame->iov_count * sizeof(*frame->iov));
	return writev(fd, tap->iov, (int)frame->iov_count + 1) < 0 ? send_error(tap) : 0;
}

/* Returns the number of tap->iov's entries; 0: too many pieces. */
static uint32_t prepare_read(struct tap *tap, struct virtio_net_hdr *header,
			     const struct iovec *iov, uint32_t iov_count, uint32_t bytes,
			     uint8_t *spare)
{
	struct iovec *at = tap->iov;

	*at++ = (struct iovec){ header, sizeof(*header) };
	for (uint32_t i = 0; bytes && i < iov_count; i++) {
		size_t length = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;

		if (i == PIECES_MAX)
			return 0;
		*at++ = (struct iovec){ iov[i].iov_base, length };
		bytes -= (uint32_t)length;
	}
	*at++ = (struct iovec){ spare, 1 };
	return (uint32_t)(at - tap->iov);
}

static uint32_t all_queues(const struct tap *tap)
{
	return (1u << tap->queue_count) - 1;
}

/* Poll tells when there is something, and whatever else there is to tell. */
static void turned_out_empty(struct tap *tap, struct tap_queue *queue)
{
	tap->filled &= ~(1u << (queue - tap->queues));
	if (!tap->gone)
		io_fd_poll(&queue->data, POLLIN);
}

/* The queue whose turn it is; NULL: no queue has frames. */
static struct tap_queue *filled_queue(struct tap *tap)
{
	if (!tap->filled)
		return NULL;
	if (tap->turn_frames >= TURN_FRAMES || !(tap->filled & 1u << tap->turn)) {
		tap->turn_frames = 0;
		do
			tap->turn = (tap->turn + 1) % tap->queue_count;
		while (!(tap->filled & 1u << tap->turn));
	}
	tap->turn_frames++;
	return &tap->queues[tap->turn];
}

/* A frame of one queue. Returns 0, -LIS_EMPTY (the queue has left the set). */
static int read_queue(struct tap *tap, struct tap_queue *queue, struct net_frame *frame,
		      uint32_t room, struct net_offload *out_offload)
{
	struct virtio_net_hdr header;
	uint8_t spare;
	uint32_t count = prepare_read(tap, &header, frame->iov, frame->iov_count, room, &spare);

	if (!count)
		return -LIS_IO;
	for (int drops = 0; drops < DROPS_AT_ONCE; drops++) {
		ssize_t got = tap->gone ? 0 : readv(queue->fd, tap->iov, (int)count);

		/* A byte more than there may be, and it is longer still. */
		if (got >= (ssize_t)(sizeof(header) + NET_FRAME_BYTES_MIN) &&
		    got <= (ssize_t)(sizeof(header) + room)) {
			frame->bytes = (uint32_t)got - (uint32_t)sizeof(header);
			if (offload_of(tap, &header, frame, out_offload))
				return 0;
		} else if (got <= 0) {
			break;
		}
		net_count_drop(&tap->port.counters.receive_dropped);
	}
	turned_out_empty(tap, queue);
	return -LIS_EMPTY;
}

static int tap_receive(struct net_port *port, const struct iovec *iov, uint32_t iov_count,
		       uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct tap *tap = (struct tap *)port;
	struct net_frame frame = { .iov = iov, .iov_count = iov_count };
	struct tap_queue *queue;

	/* Whoever asks before it is told gets what is there. */
	if (!tap->filled)
		tap->filled = all_queues(tap);
	while ((queue = filled_queue(tap))) {
		int err = read_queue(tap, queue, &frame, bytes, out_offload);

		if (err == -LIS_EMPTY)
			continue;
		*out_bytes = frame.bytes;
		return err;
	}
	tap->user_waits = true;
	return -LIS_EMPTY;
}

static void on_data(struct io_fd *fd, uint32_t poll_events)
{
	struct tap_queue *queue = container_of(fd, struct tap_queue, data);
	struct tap *tap = queue->tap;

	if (tap->stopping)
		return;
	/* Deleted; a descriptor of an interface that is merely down stays quiet. */
	if ((poll_events & POLLERR) && !(poll_events & POLLIN)) {
		interface_is_gone(tap);
		look_at_link(tap);
		return;
	}
	tap->filled |= 1u << (queue - tap->queues);
	if (tap->user_waits) {
		tap->user_waits = false;
		tap->user->ready(tap->user);
	}
}

/* ---- the port ---- */

static int tap_start(struct net_port *port, struct io_loop *loop, struct net_port_user *user)
{
	struct tap *tap = (struct tap *)port;

	tap->loop = loop;
	tap->user = user;
	tap->stopping = false;
	tap->user_waits = true;
	atomic_store(&port->link_up, !tap->gone && tap_interface_is_up(tap));
	tap->watches = tap->queue_count;
	tap->filled = all_queues(tap);
	for (uint32_t i = 0; i < tap->queue_count; i++) {
		io_fd_start(&tap->queues[i].data, loop, tap->queues[i].fd);
		io_fd_poll(&tap->queues[i].data, POLLIN);
	}
	if (tap->changes_fd >= 0) {
		tap->watches++;
		io_fd_start(&tap->changes, loop, tap->changes_fd);
		io_fd_poll(&tap->changes, POLLIN);
	}
	return 0;
}

static void last(struct io_call *call)
{
	struct tap *tap = container_of(call, struct tap, last_call);

	tap->user = NULL;
	tap->stopped->fn(tap->stopped);
}

static void let_go(struct tap *tap)
{
	if (--tap->watches == 0)
		io_loop_call(tap->loop, &tap->last_call);
}

static void queue_let_go(struct io_call *call)
{
	let_go(container_of(call, struct tap_queue, stopped)->tap);
}

static void changes_let_go(struct io_call *call)
{
	let_go(container_of(call, struct tap, changes_stopped));
}

static void tap_stop(struct net_port *port, struct io_call *stopped)
{
	struct tap *tap = (struct tap *)port;

	tap->stopping = true;
	tap->stopped = stopped;
	tap_set_receive(port, 0);
	for (uint32_t i = 0; i < tap->queue_count; i++)
		io_fd_stop(&tap->queues[i].data, &tap->queues[i].stopped);
	if (tap->changes_fd >= 0)
		io_fd_stop(&tap->changes, &tap->changes_stopped);
}

static void tap_describe(const struct net_port *port, char *line)
{
	const struct tap *tap = (const struct tap *)port;

	char queues[24] = "";

	if (tap->queue_count > 1)
		snprintf(queues, sizeof(queues), ", %u queues", tap->queue_count);
	snprintf(line, NET_PORT_LINE_BYTES, "tap, %s%s%s", tap->name,
		 tap->made ? ", made for it" : "", queues);
}

static void tap_destroy(struct net_port *port)
{
	struct tap *tap = (struct tap *)port;

	if (tap->changes_fd >= 0)
		close(tap->changes_fd);
	for (uint32_t i = 0; i < tap->queue_count; i++)
		close(tap->queues[i].fd);
	free(tap);
}

static const struct net_port_ops tap_ops = {
	.start = tap_start,
	.stop = tap_stop,
	.send = tap_send,
	.receive = tap_receive,
	.set_receive = tap_set_receive,
	.describe = tap_describe,
	.destroy = tap_destroy,
};

struct tap *tap_alloc(const char *name)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	if (!tap)
		return NULL;
	memcpy(tap->name, name, strlen(name));
	tap->changes_fd = -1;
	tap->port.ops = &tap_ops;
	tap->port.mtu_max = 65521;
	tap->port.bits_per_second = BITS_PER_SECOND;
	for (uint32_t i = 0; i < TAP_QUEUES_MAX; i++) {
		tap->queues[i].tap = tap;
		tap->queues[i].data.ready = on_data;
		tap->queues[i].stopped.fn = queue_let_go;
	}
	tap->changes.ready = on_changes;
	tap->changes_stopped.fn = changes_let_go;
	tap->last_call.fn = last;
	return tap;
}
