// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A port of a switch between VMs: see switch.h. Here are its life and what it receives.
 *
 * A datagram is received into memory of our own, checked there, and only then given to the user,
 * frame by frame, segment by segment. One that is not as it should be is dropped from there on.
 *
 * A port's socket is bound under a name that is no port's, and renamed: who finds it can connect to
 * it. The folder comes with the first port and goes with the last, under a lock on the directory
 * around it.
 */
#include "network/backends/switch_private.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmbus/os.h"

/* [policy] Datagrams in a row that are of no use, before others have their turn. */
#define DATAGRAMS_AT_ONCE 64
/* [policy] Of a large frame: Linux sends no less. A frame cannot be made very many. */
#define SEGMENT_BYTES_MIN 48u
#define BITS_PER_SECOND 10000000000u /* [policy] for show */

/* ---- what is received ---- */

static void dropped(struct switch_port *port)
{
	net_count_drop(&port->port.counters.receive_dropped);
}

/* The rest of the datagram makes no sense. */
static void nonsense(struct switch_port *port, const char *what)
{
	dropped(port);
	port->datagram_at = port->datagram_bytes;
	if (port->nonsense_told)
		return;
	port->nonsense_told = true;
	os_log(OS_LOG_WARNING, "switch %s: a datagram with %s was dropped; more are only counted",
	       port->name, what);
}

/* Returns false if there is none. */
static bool next_datagram(struct switch_port *port)
{
	ssize_t bytes = recv(port->fd, port->datagram, sizeof(port->datagram),
			     MSG_DONTWAIT | MSG_TRUNC);
	struct switch_head head;

	if (bytes < 0)
		return false;
	port->datagram_bytes = port->datagram_at = 0;
	port->datagram_from = NULL;
	if ((size_t)bytes < sizeof(head) || (size_t)bytes > SWITCH_DATAGRAM_BYTES_MAX) {
		nonsense(port, "a length that none has");
		return true;
	}
	memcpy(&head, port->datagram, sizeof(head));
	if (head.magic != SWITCH_MAGIC || head.version != SWITCH_VERSION) {
		nonsense(port, head.magic == SWITCH_MAGIC ? "another version" : "no head");
		return true;
	}
	if (head.from == port->id) {
		nonsense(port, "our own id");
		return true;
	}
	port->datagram_from = switch_peer_find(port, head.from);
	port->datagram_bytes = (uint32_t)bytes;
	port->datagram_at = sizeof(head);
	return true;
}

/* What it says of itself must fit it, whatever it is. */
static bool offload_is_sound(const struct net_offload *offload, uint32_t bytes)
{
	uint32_t checksum_end = (uint32_t)offload->checksum_start + offload->checksum_offset + 2;

	if (!(offload->flags & NET_CHECKSUM_PARTIAL))
		return offload->gso == NET_GSO_NONE;
	return offload->gso <= NET_GSO_UDP && checksum_end <= bytes &&
	       (offload->gso == NET_GSO_NONE ||
		(offload->segment_bytes >= SEGMENT_BYTES_MIN && offload->header_bytes < bytes &&
		 checksum_end <= offload->header_bytes));
}

/* The next frame of the datagram is port->frame. Returns false if it is none to be used. */
static bool next_frame(struct switch_port *port)
{
	uint32_t left = port->datagram_bytes - port->datagram_at;
	struct switch_frame_head head;
	uint8_t *at = port->datagram + port->datagram_at;

	if (left < sizeof(head)) {
		nonsense(port, "a part of a frame");
		return false;
	}
	memcpy(&head, at, sizeof(head));
	left -= (uint32_t)sizeof(head);
	at += sizeof(head);
	if (head.bytes < NET_FRAME_BYTES_MIN || head.bytes > NET_FRAME_BYTES_MAX ||
	    head.bytes > left) {
		nonsense(port, "a frame's wrong length");
		return false;
	}
	port->frame_iov = (struct iovec){ at, head.bytes };
	port->frame = (struct net_frame){
		.iov = &port->frame_iov,
		.iov_count = 1,
		.bytes = head.bytes,
		.offload = {
			/* That a checksum is right is not for others to say. */
			.flags = head.flags & NET_CHECKSUM_PARTIAL,
			.gso = head.gso,
			.segment_bytes = head.segment_bytes,
			.header_bytes = head.header_bytes,
			.checksum_start = head.checksum_start,
			.checksum_offset = head.checksum_offset,
		},
	};
	port->datagram_at += (uint32_t)sizeof(head) + head.bytes;
	/* An address of many is nobody's. */
	if (!offload_is_sound(&port->frame.offload, head.bytes) || (at[NET_MAC_BYTES] & 1)) {
		nonsense(port, "a frame that cannot be");
		return false;
	}
	if (port->datagram_from)
		switch_learn(port, at + NET_MAC_BYTES, port->datagram_from);
	return true;
}

static bool user_can(const struct switch_port *port, uint8_t gso)
{
	static const uint32_t can[] = {
		[NET_GSO_NONE] = 0,
		[NET_GSO_TCP_IPV4] = NET_CAN_TCP_IPV4,
		[NET_GSO_TCP_IPV6] = NET_CAN_TCP_IPV6,
		[NET_GSO_UDP] = NET_CAN_UDP,
	};

	return (port->can & can[gso]) == can[gso];
}

/* Makes port->frame what the user can take, or begins to cut it. Returns false if that cannot be.
 */
static bool adapt_frame(struct switch_port *port)
{
	struct net_offload *offload = &port->frame.offload;

	if (offload->gso != NET_GSO_NONE) {
		if (net_segmenter_init(&port->segmenter, &port->frame, port->segment_iov, 2)) {
			nonsense(port, "headers that do not fit their segments");
			return false;
		}
		port->cutting = !(port->can & NET_CAN_CHECKSUM) || !user_can(port, offload->gso);
		return true;
	}
	if (!(offload->flags & NET_CHECKSUM_PARTIAL) || (port->can & NET_CAN_CHECKSUM))
		return true;
	return !net_complete_checksum(&port->frame_iov, 1, port->frame.bytes, offload);
}

/* Returns false at the end of it, or if none of what is left of it is for the user. */
static bool next_segment(struct switch_port *port, uint32_t room, struct net_frame *out_frame)
{
	while (net_segmenter_next(&port->segmenter, port->can & NET_CAN_CHECKSUM, out_frame)) {
		if (out_frame->bytes <= room)
			return true;
		dropped(port);
	}
	port->cutting = false;
	return false;
}

/* The next frame or segment for the user. Returns false if there is nothing. */
static bool next_for_user(struct switch_port *port, uint32_t room, struct net_frame *out_frame)
{
	int datagrams = 0;

	for (;;) {
		if (port->cutting) {
			if (next_segment(port, room, out_frame))
				return true;
		} else if (port->datagram_at == port->datagram_bytes) {
			/* In between, so that the socket tells if there is more. */
			if (datagrams++ == DATAGRAMS_AT_ONCE || !next_datagram(port))
				return false;
		} else if (next_frame(port) && adapt_frame(port) && !port->cutting) {
			if (port->frame.bytes <= room) {
				*out_frame = port->frame;
				return true;
			}
			dropped(port);
		}
	}
}

static int port_receive(struct net_port *net_port, const struct iovec *iov, uint32_t iov_count,
			uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct switch_port *port = (struct switch_port *)net_port;
	struct net_frame frame;
	size_t at = 0;

	if (!next_for_user(port, bytes, &frame)) {
		port->user_waits = true;
		io_fd_poll(&port->data, POLLIN);
		return -LIS_EMPTY;
	}
	for (uint32_t i = 0; i < frame.iov_count; i++) {
		net_iov_write(iov, iov_count, at, frame.iov[i].iov_base, frame.iov[i].iov_len);
		at += frame.iov[i].iov_len;
	}
	*out_bytes = frame.bytes;
	*out_offload = frame.offload;
	return 0;
}

static void on_data(struct io_fd *fd, uint32_t poll_events)
{
	struct switch_port *port = container_of(fd, struct switch_port, data);

	if (!port->user_waits || port->stopping)
		return;
	port->user_waits = false;
	port->user->ready(port->user);
}

/* ---- the port ---- */

static int port_start(struct net_port *net_port, struct io_loop *loop, struct net_port_user *user)
{
	struct switch_port *port = (struct switch_port *)net_port;

	port->loop = loop;
	port->user = user;
	port->user_waits = true;
	port->stopping = false;
	port->scanned_once = false;
	port->watches = 1;
	io_fd_start(&port->data, loop, port->fd);
	io_fd_poll(&port->data, POLLIN);
	return 0;
}

static void last(struct io_call *call)
{
	struct switch_port *port = container_of(call, struct switch_port, last_call);

	port->user = NULL;
	port->stopped->fn(port->stopped);
}

void switch_let_go(struct switch_port *port)
{
	if (--port->watches == 0)
		io_loop_call(port->loop, &port->last_call);
}

static void data_let_go(struct io_call *call)
{
	switch_let_go(container_of(call, struct switch_port, data_stopped));
}

static void port_stop(struct net_port *net_port, struct io_call *stopped)
{
	struct switch_port *port = (struct switch_port *)net_port;

	port->stopping = true;
	port->stopped = stopped;
	port->can = 0;
	switch_flush(port);
	switch_forget_peers(port);
	io_fd_stop(&port->data, &port->data_stopped);
}

static int port_send(struct net_port *net_port, const struct net_frame *frame)
{
	return switch_send((struct switch_port *)net_port, frame);
}

static void port_flush(struct net_port *net_port)
{
	struct switch_port *port = (struct switch_port *)net_port;

	if (port->batches)
		switch_flush(port);
}

static void port_set_receive(struct net_port *net_port, uint32_t can)
{
	struct switch_port *port = (struct switch_port *)net_port;

	port->can = can & net_port->can_receive;
}

static void port_describe(const struct net_port *net_port, char *line)
{
	const struct switch_port *port = (const struct switch_port *)net_port;

	snprintf(line, NET_PORT_LINE_BYTES, "switch %s", port->name);
}

static void lock_directory(const struct switch_port *port, bool lock)
{
	while (flock(port->directory_fd, lock ? LOCK_EX : LOCK_UN) && errno == EINTR)
		;
}

static const char *folder_name(const struct switch_port *port)
{
	return strrchr(port->path, '/') + 1;
}

static void leave(struct switch_port *port)
{
	char name[SWITCH_SOCKET_BYTES];

	lock_directory(port, true);
	if (port->bound) {
		switch_socket_name(port->id, name);
		unlinkat(port->folder_fd, name, 0);
	}
	/* Fails while there are others. */
	if (port->folder_fd >= 0)
		unlinkat(port->directory_fd, folder_name(port), AT_REMOVEDIR);
	lock_directory(port, false);
}

static void port_destroy(struct net_port *net_port)
{
	struct switch_port *port = (struct switch_port *)net_port;

	if (port->directory_fd >= 0) {
		leave(port);
		close(port->directory_fd);
	}
	if (port->fd >= 0)
		close(port->fd);
	if (port->folder_fd >= 0)
		close(port->folder_fd);
	free(port->name);
	free(port->path);
	free(port);
}

static const struct net_port_ops switch_ops = {
	.start = port_start,
	.stop = port_stop,
	.send = port_send,
	.flush = port_flush,
	.receive = port_receive,
	.set_receive = port_set_receive,
	.describe = port_describe,
	.destroy = port_destroy,
};

/* ---- creation ---- */

static int open_folder(struct switch_port *port, char *error)
{
	struct stat st;

	if (mkdirat(port->directory_fd, folder_name(port), 0700) && errno != EEXIST)
		return net_port_errno(error, errno, port->path);
	port->folder_fd = openat(port->directory_fd, folder_name(port),
				 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (port->folder_fd < 0)
		return net_port_errno(error, errno, port->path);
	if (fstat(port->folder_fd, &st) || st.st_uid != geteuid() || (st.st_mode & 022)) {
		close(port->folder_fd);
		port->folder_fd = -1; /* it is not for us to clear away */
		return net_port_error(error, -LIS_DENIED,
				      "%s: it belongs to others, or they may write to it",
				      port->path);
	}
	return 0;
}

static int bind_socket(struct switch_port *port, char *error)
{
	char name[SWITCH_SOCKET_BYTES], hidden[SWITCH_SOCKET_BYTES + 1];
	struct sockaddr_un address;
	int err;

	if (getrandom(&port->id, sizeof(port->id), 0) != sizeof(port->id))
		return net_port_error(error, -LIS_IO, "switch %s: no random numbers", port->name);
	switch_socket_name(port->id, name);
	snprintf(hidden, sizeof(hidden), ".%s", name);
	if (!switch_address(port, hidden, &address))
		return net_port_error(error, -LIS_INVALID, "%s: too long for a socket", port->path);
	port->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (port->fd < 0)
		return net_port_errno(error, errno, "socket");
	if (bind(port->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return net_port_errno(error, errno, port->path);
	if (renameat(port->folder_fd, hidden, port->folder_fd, name) < 0) {
		err = net_port_errno(error, errno, port->path);
		unlinkat(port->folder_fd, hidden, 0);
		return err;
	}
	port->bound = true;
	return 0;
}

static int join(struct switch_port *port, const char *directory, char *error)
{
	int err;

	port->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (port->directory_fd < 0)
		return net_port_errno(error, errno, directory);
	lock_directory(port, true);
	err = open_folder(port, error);
	err = err ? err : bind_socket(port, error);
	lock_directory(port, false);
	return err;
}

static struct switch_port *port_alloc(const struct switch_config *config)
{
	struct switch_port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	port->fd = port->folder_fd = port->directory_fd = -1;
	port->name = strdup(config->name);
	if (asprintf(&port->path, "%s/switch-%s", config->directory, config->name) < 0)
		port->path = NULL;
	if (!port->name || !port->path) {
		port_destroy(&port->port);
		return NULL;
	}
	port->port.ops = &switch_ops;
	port->port.can_send = port->port.can_receive = NET_CAN_ALL;
	port->port.mtu_max = 65521;
	port->port.bits_per_second = BITS_PER_SECOND;
	atomic_init(&port->port.link_up, true);
	port->data.ready = on_data;
	port->data_stopped.fn = data_let_go;
	port->last_call.fn = last;
	return port;
}

static bool is_name(const char *name)
{
	size_t bytes = 0;

	if (!name)
		return false;
	while (isalnum((unsigned char)name[bytes]) || (name[bytes] && strchr("._-", name[bytes])))
		bytes++;
	return bytes && !name[bytes] && bytes <= SWITCH_NAME_BYTES_MAX;
}

int switch_create(const struct switch_config *config, struct net_port **out_port, char *error)
{
	struct switch_port *port;
	int err;

	if (!is_name(config->name))
		return net_port_error(
			error, -LIS_INVALID,
			"switch '%.40s': a name is 1 to %u letters, digits, '.', '_' or '-'",
			config->name ? config->name : "", SWITCH_NAME_BYTES_MAX);
	port = port_alloc(config);
	if (!port)
		return net_port_error(error, -LIS_NOMEM, "switch %s: out of memory", config->name);
	err = join(port, config->directory, error);
	if (err) {
		port_destroy(&port->port);
		return err;
	}
	*out_port = &port->port;
	return 0;
}
