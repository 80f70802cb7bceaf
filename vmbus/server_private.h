/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the files of the server: server.c (connection, offers, dispatch), server_channel.c (open,
 * close, modify, rescind), server_gpadl.c. Handlers get a message whose length and version are
 * checked.
 */
#ifndef OPENLIS_VMBUS_SERVER_PRIVATE_H
#define OPENLIS_VMBUS_SERVER_PRIVATE_H

#include "vmbus/server.h"

enum vmbus_gpadl_state {
	VMBUS_GPADL_RECEIVING,    /* more bodies are to come */
	VMBUS_GPADL_READY,
	VMBUS_GPADL_TEARING_DOWN, /* the guest wants it back, a device holds it */
	VMBUS_GPADL_ORPHAN,       /* the guest let go of its channel, a device holds it */
};

struct vmbus_server_gpadl {
	struct vmbus_server_gpadl *next;
	struct vmbus_server_channel *owner; /* NULL: made on a dead id, or it was released */
	uint32_t id;
	uint16_t channel_id;
	enum vmbus_gpadl_state state;
	uint32_t refs;           /* held by the device of @owner */
	uint32_t range_count;
	uint32_t words_expected; /* fixed size of @words */
	uint32_t words_received;
	uint64_t words[];        /* ranges as the guest sent them */
};

struct server_message {
	const void *payload; /* at least what the handler's struct has */
	size_t bytes;
	uint32_t connection_id;
};

/* server.c */
void server_violation(struct vmbus_server *server, const char *what, uint32_t number);
void server_no_memory(struct vmbus_server *server, uint32_t gpadl_words);
void server_post(struct vmbus_server *server, uint32_t vp, const void *message, size_t bytes);
/* To the VP that the guest chose for messages. */
void server_send(struct vmbus_server *server, const void *message, size_t bytes);
/* Offer what waited for @id to be free. */
void server_offer_waiting(struct vmbus_server *server);
/* Whatever has become possible by what just happened; last in every public function. */
void server_settle(struct vmbus_server *server);

/* server_channel.c */
/* A known id's entry, or NULL. */
struct vmbus_server_id *server_id(struct vmbus_server *server, uint32_t channel_id);
bool server_same_device(const struct vmbus_server_channel *a, const struct vmbus_server_channel *b);
void server_channel_forget(struct vmbus_server *server, struct vmbus_server_channel *channel);
void server_channel_start_queued(struct vmbus_server *server, struct vmbus_server_channel *channel);
void server_handle_open(struct vmbus_server *server, const struct server_message *message);
void server_handle_close(struct vmbus_server *server, const struct server_message *message);
void server_handle_modify(struct vmbus_server *server, const struct server_message *message);
void server_handle_relid_released(struct vmbus_server *server,
				  const struct server_message *message);
void server_handle_open_reserved(struct vmbus_server *server, const struct server_message *message);

/* server_gpadl.c */
void server_handle_gpadl_header(struct vmbus_server *server, const struct server_message *message);
void server_handle_gpadl_body(struct vmbus_server *server, const struct server_message *message);
void server_handle_gpadl_teardown(struct vmbus_server *server,
				  const struct server_message *message);
/* The guest let go of a channel id, or of all (0): free its GPADLs, orphan what a device holds. */
void server_gpadls_forget(struct vmbus_server *server, uint16_t channel_id);
/* The device of @channel holds none any more; what waited for that is answered or freed. */
void server_gpadls_drop(struct vmbus_server *server, const struct vmbus_server_channel *channel);
/* @channel is about to be released by the server. */
void server_gpadls_disown(struct vmbus_server *server, const struct vmbus_server_channel *channel);
void server_gpadls_free_all(struct vmbus_server *server);
const char *server_gpadls_check(const struct vmbus_server *server);

#endif
