/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The user's end of the control socket: connect, ask, wait for the answer. Blocks. */
#ifndef OPENLIS_CONTROL_CLIENT_H
#define OPENLIS_CONTROL_CLIENT_H

#include <json-c/json.h>

#include "control/protocol.h"
#include "vmbus/error.h"

struct control_client;

#define CONTROL_CLIENT_ERROR_BYTES 512 /* one line for the user, without its newline */

/**
 * control_client_open() - Connect to a running VM and read its greeting.
 * @socket_path: from registry_find()
 * @timeout_ms: for the greeting; negative: wait for ever
 * @out_client: set on success only
 * @error: CONTROL_CLIENT_ERROR_BYTES
 *
 * Return: 0, -LIS_NOTFOUND (nobody listens), -LIS_DENIED, -LIS_TIMEOUT, -LIS_GONE (it hung up),
 * -LIS_UNSUPPORTED (another version of the protocol), -LIS_FORMAT (not a VM), -LIS_FULL (too many
 * clients), -LIS_NOMEM, -LIS_IO.
 */
int control_client_open(const char *socket_path, int timeout_ms, struct control_client **out_client,
			char *error) LIS_MUST_USE;

/** control_client_close() - Hang up. NULL is fine. */
void control_client_close(struct control_client *client);

/**
 * control_client_call() - Ask and wait for the answer.
 * @client: an open connection; of no use after an error of its own (see below)
 * @command: name of the command
 * @arguments: an object, whose reference is taken; NULL for none
 * @timeout_ms: negative: wait for ever
 * @out_result: an object, the caller's; set on success only. NULL if it is of no interest
 * @error: CONTROL_CLIENT_ERROR_BYTES; the VM's own words where it answered with an error
 *
 * Return: 0; the code of the VM's answer; or an error of the connection: -LIS_TIMEOUT, -LIS_GONE,
 * -LIS_FORMAT, -LIS_NOMEM, -LIS_IO.
 */
int control_client_call(struct control_client *client, const char *command,
			struct json_object *arguments, int timeout_ms,
			struct json_object **out_result, char *error) LIS_MUST_USE;

/**
 * control_client_take_fds() - What came with the last answer; the caller's from now on.
 * Return: how many.
 */
unsigned control_client_take_fds(struct control_client *client, int out_fds[CONTROL_FDS_MAX]);

#endif
