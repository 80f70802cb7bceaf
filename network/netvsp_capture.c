/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Captures of the network VSP's card: who listens, and until when.
 *
 * A capture is made on the bus loop and lives on the card's. It ends when its reader closes its end of
 * the session, a pair of sockets that carries nothing, and with the card; either end thus hears of the
 * other's, whatever way it went.
 */
#include "network/netvsp_private.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "network/capture.h"

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

struct netvsp_capture {
	struct netvsp *netvsp;
	struct netvsp_capture *next;
	struct net_capture *capture;
	int session;
	struct io_fd hangup;
	struct io_call start_call, stopped_call;
};

static void free_capture(struct netvsp_capture *capture)
{
	net_capture_destroy(capture->capture);
	if (capture->session >= 0)
		close(capture->session);
	free(capture);
}

void netvsp_capture_frame(struct netvsp *netvsp, const struct net_frame *frame)
{
	for (struct netvsp_capture *at = netvsp->captures; at; at = at->next)
		net_capture_frame(at->capture, frame);
}

/* ---- end ---- */

static void watch_stopped(struct io_call *call)
{
	struct netvsp_capture *capture = container_of(call, struct netvsp_capture, stopped_call);
	struct netvsp *netvsp = capture->netvsp;

	free_capture(capture);
	atomic_fetch_sub(&netvsp->capture_count, 1);
	netvsp_gone_if_done(netvsp);
}

static void end_capture(struct netvsp_capture *capture)
{
	struct netvsp_capture **at = &capture->netvsp->captures;

	while (*at != capture)
		at = &(*at)->next;
	*at = capture->next;
	io_fd_stop(&capture->hangup, &capture->stopped_call);
}

void netvsp_captures_end(struct netvsp *netvsp)
{
	while (netvsp->captures)
		end_capture(netvsp->captures);
}

static void hung_up(struct io_fd *fd, uint32_t poll_events)
{
	end_capture(container_of(fd, struct netvsp_capture, hangup));
}

/* ---- begin ---- */

static void start(struct io_call *call)
{
	struct netvsp_capture *capture = container_of(call, struct netvsp_capture, start_call);
	struct netvsp *netvsp = capture->netvsp;

	capture->next = netvsp->captures;
	netvsp->captures = capture;
	io_fd_start(&capture->hangup, netvsp->loop, capture->session);
	io_fd_poll(&capture->hangup, 0);
}

int netvsp_capture(struct netvsp *netvsp, uint32_t snap_bytes, int out_fds[NETVSP_CAPTURE_FDS])
{
	struct netvsp_capture *capture;
	int sessions[2], err;

	if (atomic_load(&netvsp->capture_count) >= NETVSP_CAPTURES_MAX)
		return -LIS_FULL;
	capture = calloc(1, sizeof(*capture));
	if (!capture)
		return -LIS_NOMEM;
	capture->session = -1;
	err = net_capture_create(snap_bytes, &capture->capture, &out_fds[0]);
	if (err) {
		free_capture(capture);
		return err;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sessions)) {
		close(out_fds[0]);
		free_capture(capture);
		return -LIS_IO;
	}
	out_fds[1] = sessions[1];
	capture->session = sessions[0];
	capture->netvsp = netvsp;
	capture->hangup.ready = hung_up;
	capture->start_call.fn = start;
	capture->stopped_call.fn = watch_stopped;
	atomic_fetch_add(&netvsp->capture_count, 1);
	io_loop_call(netvsp->loop, &capture->start_call);
	return 0;
}
