/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The running VM's end of the control socket, on an event loop. Clients are independent: one that
 * is slow, silent or talks garbage costs itself only. All functions belong to the loop's thread.
 */
#ifndef OPENLIS_CONTROL_SERVER_H
#define OPENLIS_CONTROL_SERVER_H

#include <json-c/json.h>
#include <stdbool.h>

#include "control/protocol.h"
#include "io/loop.h"

struct control_server;

/* One command, from handle() until its answer. */
struct control_request;

#define CONTROL_CLIENTS_MAX 32u   /* [policy] */
#define CONTROL_ERROR_BYTES 512   /* one line for the user, without its newline */

struct control_server_config {
	struct io_loop *loop;
	const char *socket_path;  /* made, mode 0600; who owns the name has removed a stale one */
	const char *vm_name;      /* for the greeting; copied */
	const char *version;      /* of the program, for the greeting; copied */
	/**
	 * @handle: a client's command. Ends in exactly one control_reply() or control_reply_error(),
	 * from inside or later. @command and @arguments (an object, never NULL) are valid during
	 * the call only; take a reference of what must stay.
	 */
	void (*handle)(void *owner, struct control_request *request, const char *command,
		       struct json_object *arguments);
	void *owner;
};

/**
 * control_server_create() - Listen.
 * @config: copied
 * @out_server: set on success only
 * @error: CONTROL_ERROR_BYTES; on failure what is wrong, for the user
 *
 * Return: 0, -LIS_NOMEM, -LIS_BUSY (the path is in use), -LIS_DENIED, -LIS_INVALID (path too long),
 * -LIS_IO.
 */
int control_server_create(const struct control_server_config *config,
			  struct control_server **out_server, char *error) LIS_MUST_USE;

/**
 * control_server_destroy() - Close the socket and all clients.
 * @server: unanswered requests stay valid and still have to be answered; NULL is fine
 * @done: called on the loop when everything is closed; may be NULL
 *
 * Does not remove the socket's name.
 */
void control_server_destroy(struct control_server *server, struct io_call *done);

/**
 * control_reply() - Answer a command.
 * @request: gone after the call
 * @result: an object, whose reference is taken; NULL for an empty one
 */
void control_reply(struct control_request *request, struct json_object *result);

/**
 * control_reply_fds() - As control_reply(), and descriptors with it.
 * @fds: taken over
 * @count: 1 to CONTROL_FDS_MAX
 */
void control_reply_fds(struct control_request *request, struct json_object *result, const int *fds,
		       unsigned count);

/**
 * control_reply_error() - Answer that it failed.
 * @request: gone after the call
 * @error: a negative code of vmbus/error.h
 * @format: for the user: what failed and why
 */
void control_reply_error(struct control_request *request, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** control_request_abandoned() - Has the client gone away meanwhile? It still has to be answered. */
bool control_request_abandoned(const struct control_request *request);

#endif
