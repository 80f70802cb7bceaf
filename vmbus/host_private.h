/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the two halves of the bus on the host: host.c runs on the bus loop and has the server,
 * host_channel.c runs on the channels' loops and has the rings. Calls between loops are embedded in
 * struct vmbus_channel_host; each is queued at most once at a time because open, modify and close
 * of one channel follow each other (server.h).
 */
#ifndef OPENLIS_VMBUS_HOST_PRIVATE_H
#define OPENLIS_VMBUS_HOST_PRIVATE_H

#include <pthread.h>

#include "vmbus/host.h"
#include "vmbus/server.h"

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* One ring of an open channel, mapped. */
struct host_ring {
	void *control;
	void *data; /* twice, back to back */
	size_t data_pages;
};

struct vmbus_channel_host {
	struct vmbus_server_channel server; /* under host->lock */
	struct vmbus_channel channel;       /* what the VSP sees */

	/* Set by the bus before open_call, taken down after closed_call. */
	struct host_ring ring_to_host, ring_to_guest;
	int signal_fd;
	uint32_t bound_connection_id; /* 0: none */
	uint16_t channel_id, event_flag;
	void *interrupt_page;         /* below 2.4, else NULL */
	uint32_t modify_vp;           /* before modify_call */
	bool offered;                 /* the server has it */
	bool offer_again;             /* asked for while the server was still letting go of it */

	_Atomic uint32_t target_vp;   /* the channel's loop; read by status */

	/* The channel's loop. */
	struct io_poller poller;
	struct io_event signal;
	bool running;    /* poller is there; receive may be called */
	bool broken;     /* the guest broke it; the bus knows */
	uint32_t breaks; /* so many times since it was offered */
	bool stalled;    /* a send found no room for @stalled_bytes */
	bool saw_empty;  /* the device took all there was */
	bool throttled;  /* the device could not take what there was */
	bool held;       /* what was sent waits for a flush to come */
	size_t stalled_bytes;
	int closing;     /* answers due before the bus hears: VSP, event */

	struct io_call open_call, close_call, modify_call, stopped_call; /* to the channel's loop */
	struct io_call opened_call, closed_call, modified_call, break_call;     /* to the bus */
	int open_error;      /* before opened_call, as the next */
	bool broken_in_open;
};

struct vmbus_device {
	struct vmbus_host *host;
	struct vmbus_device *next;
	struct vmbus_device_config config;
	char *name;
	struct io_loop **loops;
	uint32_t channel_count;      /* 1 + sub_channels_max */
	struct io_call *retired;     /* set: being rescinded */
	bool rescinding;
	_Atomic uint32_t sub_channels_asked; /* any loop of the device */
	atomic_bool sub_call_queued;
	struct io_call sub_call;
	struct vmbus_channel_host channels[];
};

#define HOST_QUEUE_SLOTS 64u /* [policy] Messages of the guest on their way; the TLFS asks for 16 */
/* [policy] A guest that does not read what it is told is not listened to. */
#define HOST_MESSAGES_PENDING_MAX 64u

struct host_message {
	uint32_t connection_id;
	uint32_t bytes;
	uint64_t payload[VMBUS_MESSAGE_BYTES_MAX / 8];
};

struct vmbus_host {
	struct partition *partition;
	struct io_loop *loop;
	struct vmbus_device *devices; /* in the order of offers */

	/* VPs post, the bus takes. */
	pthread_mutex_t queue_lock;
	struct host_message queue[HOST_QUEUE_SLOTS];
	uint32_t queue_head, queue_count;
	bool drain_queued;
	struct io_call drain_call;
	struct io_timer drain_timer;
	uint64_t drain_wait_ns;
	atomic_bool first_contact_port; /* connection 4 is there */

	/* The bus changes the server; loops of devices look up GPADLs. Nothing waits under it. */
	pthread_mutex_t lock;
	struct vmbus_server server;
	struct io_call *reset_done;
	atomic_bool teardown_queued;
	struct io_call teardown_call;

	/* Guests below 2.4. */
	void *interrupt_page;
	struct io_event shared_signal;
	int shared_signal_fd;
	bool shared_signal_started, shared_signal_bound;
};

static inline struct vmbus_channel_host *channel_host_of(struct vmbus_server_channel *channel)
{
	return container_of(channel, struct vmbus_channel_host, server);
}

/* host_channel.c */
void host_channel_init(struct vmbus_channel_host *ch, struct vmbus_device *device, uint16_t index);
/* Map rings, bind the signal, have the channel's loop open it. */
int host_channel_open(struct vmbus_channel_host *ch, const struct vmbus_server_open *open,
		      const struct vmbus_server_range *ring);
void host_channel_close(struct vmbus_channel_host *ch);
void host_channel_modify(struct vmbus_channel_host *ch, uint32_t target_vp);
/* What host_channel_open() made; the VSP has closed or never opened. */
void host_channel_unmap(struct vmbus_channel_host *ch);

/* host.c, on the bus loop, called by calls of the channel. */
void host_on_opened(struct vmbus_channel_host *ch, int error);
void host_on_closed(struct vmbus_channel_host *ch);
void host_on_modified(struct vmbus_channel_host *ch);
void host_on_break(struct vmbus_channel_host *ch);

#endif
