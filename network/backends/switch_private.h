/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the parts of a switch's port: switch.c has the port's life and what it receives,
 * switch_peers.c the other ports and what goes to them. Nobody else includes this. But for creation
 * and the end all of it runs on the port's loop.
 */
#ifndef OPENLIS_NETWORK_BACKENDS_SWITCH_PRIVATE_H
#define OPENLIS_NETWORK_BACKENDS_SWITCH_PRIVATE_H

#include <sys/un.h>
#include <time.h>

#include "network/backends/switch.h"
#include "network/backends/switch_format.h"
#include "network/offload.h"

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Of a socket's name, with its NUL. */
#define SWITCH_SOCKET_BYTES 17u

struct switch_port;

/* Another port. It is freed when the loop has let go of @room. */
struct switch_peer {
	struct switch_port *port;
	uint64_t id;
	int fd;            /* connected to it */
	struct io_fd room; /* waited for where it had none */
	struct io_call let_go;
	bool seen;      /* in this scan */
	uint8_t *batch; /* SWITCH_DATAGRAM_BYTES_MAX: frames that go with the next flush */
	uint32_t batch_bytes, batch_frames;
};

/* Who is behind an address. A bucket's places are searched all. */
#define SWITCH_BUCKETS 256u
#define SWITCH_PLACES 4u

struct switch_place {
	uint8_t mac[NET_MAC_BYTES];
	struct switch_peer *peer; /* NULL: free */
	uint64_t seen_ns;
};

struct switch_port {
	struct net_port port;
	struct io_loop *loop;
	struct net_port_user *user;
	uint64_t id;
	char *name, *path; /* of the switch, of its folder */
	int directory_fd;  /* where the folder is */
	int folder_fd, fd; /* @fd: our own socket */
	bool bound;        /* under its name, which goes with the port */
	struct io_fd data;
	bool user_waits, stopping;
	uint32_t can;     /* NET_CAN_* of the user */
	unsigned watches; /* descriptors that the loop has not let go of */
	struct io_call data_stopped, last_call;
	struct io_call *stopped;

	struct switch_peer *peers[SWITCH_PORTS_MAX];
	uint32_t peer_count, batches; /* @batches: peers with frames to be flushed */
	struct timespec folder_changed, scanned;
	bool scanned_once, full_told, nonsense_told;
	struct switch_place places[SWITCH_BUCKETS][SWITCH_PLACES];

	/* The datagram that was received last, from @datagram_at on not looked at. */
	uint32_t datagram_bytes, datagram_at;
	struct switch_peer *datagram_from; /* NULL: unknown, or gone since */
	bool cutting;                      /* @frame, by @segmenter */
	struct net_frame frame;
	struct iovec frame_iov, segment_iov[2];
	struct net_segmenter segmenter;
	uint8_t datagram[SWITCH_DATAGRAM_BYTES_MAX];
};

/* ---- switch_peers.c ---- */

/** switch_socket_name() - The name of a port's socket in the folder. */
void switch_socket_name(uint64_t id, char name[SWITCH_SOCKET_BYTES]);

/** switch_address() - Of @name in the folder. Return: false if the path is too long. */
bool switch_address(const struct switch_port *port, const char *name,
		    struct sockaddr_un *out_address);

/** switch_peer_find() - By its id, in the folder if need be. Return: NULL if there is none. */
struct switch_peer *switch_peer_find(struct switch_port *port, uint64_t id);

/** switch_learn() - This address is behind this peer. */
void switch_learn(struct switch_port *port, const uint8_t mac[NET_MAC_BYTES],
		  struct switch_peer *peer);

/** switch_send() - As net_port_send(). */
int switch_send(struct switch_port *port, const struct net_frame *frame);

/** switch_flush() - Send what waits for it. */
void switch_flush(struct switch_port *port);

/** switch_forget_peers() - All of them; each counts in port->watches until it is freed. */
void switch_forget_peers(struct switch_port *port);

/* ---- switch.c ---- */

/** switch_let_go() - One of port->watches less. */
void switch_let_go(struct switch_port *port);

#endif
