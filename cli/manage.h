/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What commands that talk to a running VM share. */
#ifndef OPENLIS_CLI_MANAGE_H
#define OPENLIS_CLI_MANAGE_H

#include <json-c/json.h>

#include "cli/commands.h"
#include "control/client.h"

#define MANAGE_TIMEOUT_MS 10000 /* [policy] a VM that does not answer in this time hangs */

/**
 * manage_open() - Connect to a running VM; complains itself.
 * Return: 0 or a negative code of vmbus/error.h.
 */
int manage_open(const char *name, struct control_client **out_client) LIS_MUST_USE;

/**
 * manage_call() - Connect, ask, hang up; complains itself.
 * @arguments: reference is taken; NULL for none
 * @out_result: the caller's; may be NULL
 *
 * Return: LIS_EXIT_OK or LIS_EXIT_ERROR.
 */
int manage_call(const char *name, const char *command, struct json_object *arguments,
		int timeout_ms, struct json_object **out_result);

#endif
