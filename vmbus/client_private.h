/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the files of the client: client.c (connection, queue, dispatch), client_channel.c
 * (offers, open, close, modify, rescind), client_gpadl.c. Handlers get messages whose length is
 * checked.
 */
#ifndef OPENLIS_VMBUS_CLIENT_PRIVATE_H
#define OPENLIS_VMBUS_CLIENT_PRIVATE_H

#include <string.h>

#include "vmbus/client.h"

/* What an item of the queue sends. */
enum client_item_kind {
	CLIENT_CONTACT,
	CLIENT_REQUEST_OFFERS,
	CLIENT_RELEASES,
	CLIENT_UNLOAD,
	CLIENT_OPEN,
	CLIENT_CLOSE,
	CLIENT_MODIFY,
	CLIENT_GPADL_CREATE,
	CLIENT_GPADL_TEARDOWN,
};

#define client_container(pointer, type, member) \
	((type *)(void *)((uint8_t *)(pointer) - offsetof(type, member)))

/* client.c */
void client_violation(struct vmbus_client *client, const char *what, uint32_t number);
/* Is the n-th of its kind to be logged? The host can make as many as it likes. */
bool client_to_be_logged(uint64_t count);
/* Append to what is to be sent. Nothing is sent before client_pump(). */
void client_queue(struct vmbus_client *client, struct vmbus_client_item *item,
		  enum client_item_kind kind);
void client_unqueue(struct vmbus_client *client, struct vmbus_client_item *item);
/* Send what can be sent; last in every public function and handler. */
void client_pump(struct vmbus_client *client);
/* Post one message. -LIS_AGAIN: keep it; any other error: it is lost. */
int client_post(struct vmbus_client *client, const void *message, size_t bytes);

/*
 * Each sends what its item stands for. Returns -LIS_AGAIN to stay at the head of the queue, else 0:
 * failures are told to whoever waits.
 */
int client_send_releases(struct vmbus_client *client);
int client_send_open(struct vmbus_client *client, struct vmbus_client_channel *channel);
int client_send_close(struct vmbus_client *client, struct vmbus_client_channel *channel);
int client_send_modify(struct vmbus_client *client, struct vmbus_client_channel *channel);
int client_send_gpadl(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl);
int client_send_gpadl_teardown(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl);

/* client_channel.c */
void client_handle_offer(struct vmbus_client *client, const void *message, size_t bytes);
void client_handle_rescind(struct vmbus_client *client, const void *message, size_t bytes);
void client_handle_delivered(struct vmbus_client *client, const void *message, size_t bytes);
void client_handle_open_result(struct vmbus_client *client, const void *message, size_t bytes);
void client_handle_modify_response(struct vmbus_client *client, const void *message, size_t bytes);
void client_forget_channels(struct vmbus_client *client);

/* client_gpadl.c */
void client_handle_gpadl_created(struct vmbus_client *client, const void *message, size_t bytes);
void client_handle_gpadl_torndown(struct vmbus_client *client, const void *message, size_t bytes);
bool client_channel_has_gpadls(const struct vmbus_client *client,
			       const struct vmbus_client_channel *channel);

#endif
