/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the NBD files: nbd.c is the block device, nbd_link.c a connection, nbd_command.c turns requests
 * into the protocol's commands.
 *
 * A link belongs to one loop, and all its fields do, but for those under nbd.lock. Where the server has all
 * connections see the same (multi-conn), each loop that submits has a link of its own. While no request is
 * with such a link nothing of it is with the loop either: no poll, no timer, no thread; so the loop may go
 * away before the device, or stop to be turned. Else there is one link, on a loop of the device's own, to
 * which requests are handed over: no other loop is sure to be turned when somebody else's request needs it.
 */
#ifndef OPENLIS_STORAGE_IMAGES_NBD_INTERNAL_H
#define OPENLIS_STORAGE_IMAGES_NBD_INTERNAL_H

#include <libnbd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "storage/images/image.h"

#define NBD_TIMEOUT_MS 15000u /* [policy] without any answer, and for connecting */

/* What the server can do. */
struct nbd_abilities {
	uint64_t size_bytes;
	uint32_t sector_bytes;
	uint32_t data_bytes_max; /* of one command */
	uint32_t trim_bytes;     /* it trims units of this best */
	bool read_only, flush, fua, trim, zero, multi_conn;
};

struct nbd_queue {
	struct block_request *first, **tail;
};

struct nbd_link {
	struct nbd_link *next;
	struct nbd *nbd;

	/* Under nbd.lock. */
	struct io_loop *loop;
	uint64_t users;              /* requests that are with this link */

	struct nbd_handle *handle;   /* NULL: not connected */
	uint32_t commands;           /* with the server */
	struct nbd_queue waiting;    /* for a connection */
	struct nbd_queue attention;  /* some command of theirs has ended */
	struct nbd_queue over;       /* to be told so */
	struct io_fd in, out;
	struct io_call in_stopped, out_stopped;
	struct io_timer timer;       /* of the server's silence; while not connected, of the next try */
	uint64_t heard_ns;           /* when the server last answered */
	uint32_t retry_ms;           /* wait before the next try; 0: none was needed */
	bool heard;                  /* since it was last looked at */
	bool connecting;
	bool woken;                  /* @wake is on its way */
	struct io_call wake, connected;
	struct nbd_handle *fresh;    /* what the connecting thread got */
	char why[BLOCK_ERROR_BYTES]; /* the last failure */
};

struct nbd {
	struct block_device device;
	struct nbd_abilities abilities;
	uint32_t timeout_ms;
	struct image_told told;
	atomic_bool down;              /* the user was told that the server is gone */
	atomic_bool written;
	struct io_loop *loop;          /* of the one link; NULL: each has its own */
	pthread_mutex_t lock;
	struct nbd_link *links;
};

/* Lives in block_request.driver_data. */
struct nbd_work {
	struct io_call call;     /* to the link's loop, and back */
	uint64_t begun_bytes;
	uint64_t skip_bytes;     /* begun of iov[iov_index] */
	uint32_t iov_index;
	int16_t error;
	uint8_t commands;        /* under way */
	bool queued;             /* for attention */
	bool flushing;           /* a FUA request, for a server that knows no FUA */
};

_Static_assert(sizeof(struct nbd_work) <= sizeof(((struct block_request *)0)->driver_data),
	       "the work fits into the request");

static inline struct nbd_work *nbd_work_of(struct block_request *request)
{
	return (struct nbd_work *)request->driver_data;
}

/* ---- nbd_link.c ---- */

/**
 * nbd_connect() - Connect, bounded by nbd.timeout_ms but for finding the server's address.
 * @why: BLOCK_ERROR_BYTES; on failure the reason
 * Context: sleeps. Return: a handle, or NULL.
 */
struct nbd_handle *nbd_connect(const struct nbd *nbd, char *why);

/** nbd_learn() - Ask a connected handle what the server can do. Return: 0, or -LIS_UNSUPPORTED with @why. */
int nbd_learn(struct nbd_handle *handle, struct nbd_abilities *out, char *why) LIS_MUST_USE;

/**
 * nbd_wait_until() - Turn the handle until *@done, which a command's end sets. Sleeps, at most
 * nbd.timeout_ms; then the connection is given up, and *@done anyway. Return: 0, -LIS_GONE.
 */
int nbd_wait_until(const struct nbd *nbd, struct nbd_handle *handle, const bool *done) LIS_MUST_USE;

/** nbd_link_create() - A link that is not connected. Return: NULL: out of memory. */
struct nbd_link *nbd_link_create(struct nbd *nbd);

/** nbd_link_destroy() - Nothing is with it. */
void nbd_link_destroy(struct nbd_link *link);

/** nbd_link_take() - A request for the link, on its loop; it counts as a user already. */
void nbd_link_take(struct nbd_link *link, struct block_request *request);

/** nbd_link_attend() - A command of the request has ended. Context: whoever turns the handle; takes note only. */
void nbd_link_attend(struct nbd_link *link, struct block_request *request);

/** nbd_link_wake() - Somebody else than its loop has turned the handle. Context: as nbd_link_attend(). */
void nbd_link_wake(struct nbd_link *link);

/* ---- nbd_command.c ---- */

/**
 * nbd_command_go() - Give the server as many commands of a request as it may have at a time.
 * Context: the link's loop; the link is connected, or the request has an error.
 * Return: true if the request is over.
 */
bool nbd_command_go(struct nbd_link *link, struct block_request *request) LIS_MUST_USE;

#endif
