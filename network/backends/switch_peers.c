// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The other ports of a switch, and what goes to them.
 *
 * There is a connected socket for each, so that one that does not read blocks nobody else: what the
 * kernel holds for it counts against that socket only. The kernel's queue takes few datagrams, so
 * small frames for the same peer go together in one, at the next flush. Where it has no room they
 * wait for it, up to a datagram; what is more is dropped.
 *
 * The folder is read again when a frame is for everybody and the folder has changed. Its time of
 * change is coarse: within a second of a change it counts as changed.
 */
#include "network/backends/switch_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmbus/os.h"

/* [policy] A frame up to this is copied, to go with others; a longer one goes straight from its
 * memory. */
#define COPY_BYTES_MAX 16384u
/* [policy] For as many datagrams of the longest as the kernel's queue takes; it may give less. */
#define SEND_BUFFER_BYTES (1 << 20)
/* [policy] How long an address stays where it was seen; as switches have it. */
#define PLACE_NS 300000000000ull
/* The heads and a frame's pieces. */
#define PIECES_MAX 1024u

/* ---- places ---- */

static struct switch_place *bucket_of(struct switch_port *port, const uint8_t mac[NET_MAC_BYTES])
{
	uint32_t hash = 0x811c9dc5;

	for (size_t i = 0; i < NET_MAC_BYTES; i++)
		hash = (hash ^ mac[i]) * 0x01000193;
	return port->places[(hash ^ hash >> 16) % SWITCH_BUCKETS];
}

static struct switch_place *place_of(struct switch_port *port, const uint8_t mac[NET_MAC_BYTES])
{
	struct switch_place *bucket = bucket_of(port, mac);

	for (uint32_t i = 0; i < SWITCH_PLACES; i++) {
		if (bucket[i].peer && !memcmp(bucket[i].mac, mac, NET_MAC_BYTES))
			return &bucket[i];
	}
	return NULL;
}

void switch_learn(struct switch_port *port, const uint8_t mac[NET_MAC_BYTES],
		  struct switch_peer *peer)
{
	struct switch_place *place = place_of(port, mac), *bucket = bucket_of(port, mac);

	if (!place) {
		place = bucket;
		for (uint32_t i = 1; i < SWITCH_PLACES && place->peer; i++) {
			if (!bucket[i].peer || bucket[i].seen_ns < place->seen_ns)
				place = &bucket[i];
		}
		memcpy(place->mac, mac, NET_MAC_BYTES);
	}
	place->peer = peer;
	place->seen_ns = io_loop_now_ns(port->loop);
}

static void forget_places(struct switch_port *port, const struct switch_peer *peer)
{
	for (uint32_t i = 0; i < SWITCH_BUCKETS; i++) {
		for (uint32_t j = 0; j < SWITCH_PLACES; j++) {
			if (port->places[i][j].peer == peer)
				port->places[i][j].peer = NULL;
		}
	}
}

/* ---- peers ---- */

void switch_socket_name(uint64_t id, char name[SWITCH_SOCKET_BYTES])
{
	snprintf(name, SWITCH_SOCKET_BYTES, "%016llx", (unsigned long long)id);
}

/* The other way round. Returns false if it is no such name. */
static bool id_of_socket(const char *name, uint64_t *out_id)
{
	char again[SWITCH_SOCKET_BYTES];

	if (strlen(name) != SWITCH_SOCKET_BYTES - 1)
		return false;
	*out_id = strtoull(name, NULL, 16);
	switch_socket_name(*out_id, again);
	return !strcmp(name, again);
}

bool switch_address(const struct switch_port *port, const char *name,
		    struct sockaddr_un *out_address)
{
	int bytes = snprintf(out_address->sun_path, sizeof(out_address->sun_path), "%s/%s",
			     port->path, name);

	out_address->sun_family = AF_UNIX;
	return bytes > 0 && (size_t)bytes < sizeof(out_address->sun_path);
}

static void peer_freed(struct io_call *call)
{
	struct switch_peer *peer = container_of(call, struct switch_peer, let_go);
	struct switch_port *port = peer->port;

	close(peer->fd);
	free(peer->batch);
	free(peer);
	switch_let_go(port);
}

static void drop_batch(struct switch_peer *peer)
{
	struct switch_port *port = peer->port;

	for (uint32_t i = 0; i < peer->batch_frames; i++)
		net_count_drop(&port->port.counters.send_dropped);
	if (peer->batch_bytes)
		port->batches--;
	peer->batch_bytes = peer->batch_frames = 0;
}

/* The last peer takes its number. */
static void peer_remove(struct switch_peer *peer)
{
	struct switch_port *port = peer->port;
	uint32_t number = 0;

	while (port->peers[number] != peer)
		number++;
	port->peers[number] = port->peers[--port->peer_count];
	forget_places(port, peer);
	if (port->datagram_from == peer)
		port->datagram_from = NULL;
	drop_batch(peer);
	io_fd_stop(&peer->room, &peer->let_go);
}

/* Nobody is behind that name any more: a process that died. */
static void remove_stale(struct switch_port *port, uint64_t id)
{
	char name[SWITCH_SOCKET_BYTES];
	struct stat st;

	switch_socket_name(id, name);
	if (fstatat(port->folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
		unlinkat(port->folder_fd, name, 0);
}

static void peer_has_room(struct io_fd *fd, uint32_t poll_events);

static struct switch_peer *peer_add(struct switch_port *port, uint64_t id)
{
	struct switch_peer *peer = calloc(1, sizeof(*peer));
	int buffer_bytes = SEND_BUFFER_BYTES;
	char name[SWITCH_SOCKET_BYTES];
	struct sockaddr_un address;

	if (!peer)
		return NULL;
	peer->port = port;
	peer->id = id;
	peer->room.ready = peer_has_room;
	peer->let_go.fn = peer_freed;
	peer->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (peer->fd < 0)
		goto free_peer;
	switch_socket_name(id, name);
	if (!switch_address(port, name, &address) ||
	    connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == ECONNREFUSED)
			remove_stale(port, id);
		goto close_fd;
	}
	setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
	io_fd_start(&peer->room, port->loop, peer->fd);
	port->watches++;
	port->peers[port->peer_count++] = peer;
	return peer;

close_fd:
	close(peer->fd);
free_peer:
	free(peer);
	return NULL;
}

static struct switch_peer *peer_of(struct switch_port *port, uint64_t id)
{
	for (uint32_t i = 0; i < port->peer_count; i++) {
		if (port->peers[i]->id == id)
			return port->peers[i];
	}
	return NULL;
}

struct switch_peer *switch_peer_find(struct switch_port *port, uint64_t id)
{
	struct switch_peer *peer = peer_of(port, id);

	return peer || port->peer_count == SWITCH_PORTS_MAX || id == port->id ? peer
									      : peer_add(port, id);
}

void switch_forget_peers(struct switch_port *port)
{
	while (port->peer_count)
		peer_remove(port->peers[0]);
}

/* ---- the folder ---- */

/* The next port's id in the folder, but for our own. Returns false at the end. */
static bool next_id(const struct switch_port *port, DIR *folder, uint64_t *out_id)
{
	const struct dirent *entry;

	while ((entry = readdir(folder))) {
		if (id_of_socket(entry->d_name, out_id) && *out_id != port->id)
			return true;
	}
	return false;
}

static void read_folder(struct switch_port *port)
{
	int fd = openat(port->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	uint64_t id;

	if (!folder) {
		if (fd >= 0)
			close(fd);
		return;
	}
	/* Who left makes room for who came. */
	for (uint32_t i = 0; i < port->peer_count; i++)
		port->peers[i]->seen = false;
	while (next_id(port, folder, &id)) {
		struct switch_peer *peer = peer_of(port, id);

		if (peer)
			peer->seen = true;
	}
	for (uint32_t i = port->peer_count; i-- > 0;) {
		if (!port->peers[i]->seen)
			peer_remove(port->peers[i]);
	}
	rewinddir(folder);
	while (next_id(port, folder, &id)) {
		if (switch_peer_find(port, id) || port->peer_count < SWITCH_PORTS_MAX ||
		    port->full_told)
			continue;
		port->full_told = true;
		os_log(OS_LOG_WARNING, "switch %s: more than %u ports", port->name,
		       SWITCH_PORTS_MAX);
	}
	closedir(folder);
}

static void scan_if_changed(struct switch_port *port)
{
	struct stat st;

	if (fstat(port->folder_fd, &st))
		return;
	if (port->scanned_once && st.st_mtim.tv_sec == port->folder_changed.tv_sec &&
	    st.st_mtim.tv_nsec == port->folder_changed.tv_nsec &&
	    port->scanned.tv_sec - st.st_mtim.tv_sec > 1)
		return;
	port->scanned_once = true;
	port->folder_changed = st.st_mtim;
	clock_gettime(CLOCK_REALTIME, &port->scanned);
	read_folder(port);
}

/* ---- sending ---- */

/*
 * Returns 0, -LIS_FULL (there is no room now), -LIS_GONE (the peer is removed), -LIS_INVALID
 * (never).
 */
static int peer_send(struct switch_peer *peer, const struct iovec *iov, size_t iov_count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)iov,
				  .msg_iovlen = iov_count };

	/* To find it full again costs the kernel a copy. */
	if (peer->room.polling)
		return -LIS_FULL;
	if (sendmsg(peer->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	switch (errno) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
	case EINTR:
		io_fd_poll(&peer->room, POLLOUT);
		return -LIS_FULL;
	case EMSGSIZE:
	case EFAULT:
		return -LIS_INVALID;
	}
	if (errno == ECONNREFUSED)
		remove_stale(peer->port, peer->id);
	peer_remove(peer);
	return -LIS_GONE;
}

/* Returns what peer_send() does. */
static int peer_flush(struct switch_peer *peer)
{
	struct iovec iov = { peer->batch, peer->batch_bytes };
	int err = peer->batch_bytes ? peer_send(peer, &iov, 1) : 0;

	if (!err && peer->batch_bytes) {
		peer->batch_bytes = peer->batch_frames = 0;
		peer->port->batches--;
	} else if (err == -LIS_INVALID) {
		drop_batch(peer);
	}
	return err;
}

static void peer_has_room(struct io_fd *fd, uint32_t poll_events)
{
	peer_flush(container_of(fd, struct switch_peer, room));
}

static struct switch_head head_of(const struct switch_port *port)
{
	return (struct switch_head){ SWITCH_MAGIC, SWITCH_VERSION, 0, port->id };
}

static struct switch_frame_head frame_head_of(const struct net_frame *frame)
{
	const struct net_offload *offload = &frame->offload;

	return (struct switch_frame_head){
		.bytes = frame->bytes,
		.flags = offload->flags,
		.gso = offload->gso,
		.segment_bytes = offload->segment_bytes,
		.header_bytes = offload->header_bytes,
		.checksum_start = offload->checksum_start,
		.checksum_offset = offload->checksum_offset,
	};
}

static int send_straight(struct switch_peer *peer, const struct net_frame *frame)
{
	struct switch_head head = head_of(peer->port);
	struct switch_frame_head frame_head = frame_head_of(frame);
	struct iovec iov[PIECES_MAX];

	iov[0] = (struct iovec){ &head, sizeof(head) };
	iov[1] = (struct iovec){ &frame_head, sizeof(frame_head) };
	memcpy(&iov[2], frame->iov, frame->iov_count * sizeof(*iov));
	return peer_send(peer, iov, frame->iov_count + 2);
}

/* There is room for it. */
static int add_to_batch(struct switch_peer *peer, const struct net_frame *frame)
{
	struct switch_frame_head frame_head = frame_head_of(frame);

	if (!peer->batch)
		peer->batch = malloc(SWITCH_DATAGRAM_BYTES_MAX);
	if (!peer->batch)
		return -LIS_FULL;
	if (!peer->batch_bytes) {
		struct switch_head head = head_of(peer->port);

		memcpy(peer->batch, &head, sizeof(head));
		peer->batch_bytes = sizeof(head);
		peer->port->batches++;
	}
	memcpy(peer->batch + peer->batch_bytes, &frame_head, sizeof(frame_head));
	peer->batch_bytes += (uint32_t)sizeof(frame_head);
	net_frame_copy(frame, 0, peer->batch + peer->batch_bytes, frame->bytes);
	peer->batch_bytes += frame->bytes;
	peer->batch_frames++;
	return 0;
}

/* Returns 0, -LIS_FULL (dropped and counted), -LIS_GONE (the peer is removed). */
static int send_to(struct switch_peer *peer, const struct net_frame *frame)
{
	uint32_t bytes = (uint32_t)sizeof(struct switch_frame_head) + frame->bytes;
	int err = 0;

	if (peer->batch_bytes && (frame->bytes > COPY_BYTES_MAX ||
				  peer->batch_bytes + bytes > SWITCH_DATAGRAM_BYTES_MAX))
		err = peer_flush(peer);
	if (err == -LIS_GONE)
		return err;
	if (!peer->batch_bytes && frame->bytes > COPY_BYTES_MAX) {
		err = send_straight(peer, frame);
		if (err != -LIS_FULL)
			goto out;
	}
	err = -LIS_FULL;
	if (!peer->batch_bytes || peer->batch_bytes + bytes <= SWITCH_DATAGRAM_BYTES_MAX)
		err = add_to_batch(peer, frame);
out:
	if (err && err != -LIS_GONE) {
		net_count_drop(&peer->port->port.counters.send_dropped);
		err = -LIS_FULL;
	}
	return err;
}

/* From the end on, as peers may go. */
static void send_to_all(struct switch_port *port, const struct net_frame *frame)
{
	scan_if_changed(port);
	for (uint32_t i = port->peer_count; i-- > 0;)
		send_to(port->peers[i], frame);
}

int switch_send(struct switch_port *port, const struct net_frame *frame)
{
	struct switch_place *place;
	uint8_t to[NET_MAC_BYTES];
	int err;

	if (frame->bytes < NET_FRAME_BYTES_MIN || frame->bytes > NET_FRAME_BYTES_MAX ||
	    frame->iov_count > PIECES_MAX - 2)
		return -LIS_INVALID;
	net_frame_copy(frame, 0, to, sizeof(to));
	place = to[0] & 1 ? NULL : place_of(port, to);
	if (place && io_loop_now_ns(port->loop) - place->seen_ns < PLACE_NS) {
		err = send_to(place->peer, frame);
		if (err != -LIS_GONE)
			return err;
	}
	send_to_all(port, frame);
	return 0;
}

void switch_flush(struct switch_port *port)
{
	for (uint32_t i = port->peer_count; i-- > 0 && port->batches;)
		peer_flush(port->peers[i]);
}
