/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the two ends of the loopback partition: what lies in shared memory and on the socket. */
#ifndef OPENLIS_VMBUS_LOOPBACK_PRIVATE_H
#define OPENLIS_VMBUS_LOOPBACK_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmbus/loopback.h"

#define LOOPBACK_SLOTS 2u

struct loopback_message {
	uint32_t bytes;
	uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];
};

struct loopback_vp {
	_Atomic uint32_t head; /* messages ever posted, by the host */
	_Atomic uint32_t tail; /* messages ever taken, by the guest */
	_Atomic uint64_t flags[LOOPBACK_FLAG_WORDS];
	struct loopback_message messages[LOOPBACK_MESSAGES_MAX];
};

/* @generation changes whenever the binding does. */
struct loopback_binding {
	_Atomic uint32_t connection_id; /* 0: free */
	_Atomic uint32_t generation;
};

struct loopback_shared {
	struct loopback_binding bindings[LOOPBACK_BINDINGS_MAX];
	struct loopback_vp vps[];
};

/* The host's own side of a binding. */
struct loopback_bound {
	pthread_mutex_t lock; /* a signal holds it, so that none comes after unbind */
	int fd;
};

struct loopback {
	struct partition partition; /* first */
	struct loopback_shared *shared;
	size_t shared_bytes;
	int memory_fd, shared_fd;
	int interrupt_fds[LOOPBACK_VPS_MAX];
	uint32_t heads[LOOPBACK_VPS_MAX]; /* never read back from shared memory */
	pthread_mutex_t bind_lock;
	struct loopback_bound bound[LOOPBACK_BINDINGS_MAX];
	int serve_fd; /* -1: not served */
	pthread_t server;
};

/* Guest to host, each answered. */
enum loopback_request_type {
	LOOPBACK_HELLO,        /* answered by struct loopback_welcome and all descriptors */
	LOOPBACK_POST_MESSAGE, /* @payload */
	LOOPBACK_GET_SIGNAL,   /* answered with the eventfd of binding @number */
};

struct loopback_request {
	uint32_t type;
	uint32_t number; /* connection id, index of a binding */
	uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];
};

struct loopback_reply {
	int32_t result;
	uint32_t generation;
};

struct loopback_welcome {
	uint32_t vp_count;
	uint32_t slot_count;
	struct {
		uint64_t gpa, bytes, fd_offset_bytes;
	} slots[LOOPBACK_SLOTS];
};

/* Descriptors of a welcome: guest memory, shared memory, one interrupt for each VP. */
#define LOOPBACK_WELCOME_FDS(vp_count) (2u + (vp_count))

/* loopback_socket.c */
int loopback_send(int fd, const void *bytes, size_t byte_count, const int *fds, size_t fd_count);
/* @fd_count: room in @fds, then how many came. Return: bytes received, 0 at the end, an error. */
int loopback_receive(int fd, void *bytes, size_t bytes_max, int *fds, size_t *fd_count);

/* loopback.c: index of the binding of @connection_id, or LOOPBACK_BINDINGS_MAX. */
uint32_t loopback_find_binding(const struct loopback_shared *shared, uint32_t connection_id);
size_t loopback_shared_size(uint32_t vp_count);

#endif
