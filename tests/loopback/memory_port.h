/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A network port for tests: frames that are sent are kept, frames to be received are queued by the
 * test, and every promise of network/port.h that the VSP makes is looked after. On the loop, or while
 * nobody runs it.
 */
#ifndef OPENLIS_TESTS_MEMORY_PORT_H
#define OPENLIS_TESTS_MEMORY_PORT_H

#include "network/port.h"

struct memory_frame {
	struct memory_frame *next;
	uint32_t bytes;
	struct net_offload offload;
	uint16_t queue;               /* of one that was sent */
	uint8_t data[];
};

struct memory_frames {
	struct memory_frame *first, **end;
	uint32_t count;
};

struct memory_port {
	struct net_port base;
	struct net_port_user *user;
	struct io_loop *loop;
	bool started;
	bool look_again;              /* -LIS_EMPTY was said: ready is due with the next frame */
	struct io_call ready_call, link_call;
	bool ready_queued, link_queued;
	uint32_t receive_can;         /* what set_receive said last */
	uint32_t set_receives;

	struct memory_frames sent, waiting;
	uint64_t sent_frames;         /* all there ever were */
	int send_error;               /* each send fails with it, if not 0 */
	int receive_error;            /* likewise */
	uint64_t receives;
	uint32_t unflushed, flushes;
	bool forget;                  /* keep no sent frames */
	bool echo;                    /* what is sent waits to be received, without its offloads */
	void (*on_flush)(void *arg);  /* called in flush; NULL: nothing */
	void *on_flush_arg;

	const char *problem;          /* first broken promise; NULL: none */
};

/** memory_port_init() - A port that is up. */
void memory_port_init(struct memory_port *port, uint32_t can_send, uint32_t can_receive,
		      uint32_t mtu_max);
void memory_port_fini(struct memory_port *port);

/** memory_port_queue() - A frame for the VSP; @offload: NULL for none. */
void memory_port_queue(struct memory_port *port, const uint8_t *data, uint32_t bytes,
		       const struct net_offload *offload);

/** memory_port_take() - The oldest frame sent, to be freed; NULL if there is none. */
struct memory_frame *memory_port_take(struct memory_port *port);

/** memory_port_drop() - Forget what was sent. */
void memory_port_drop(struct memory_port *port);

/** memory_port_set_link() - The link comes or goes, and the VSP is told. */
void memory_port_set_link(struct memory_port *port, bool up);

#endif
