/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The protocol of the control socket: JSON, one object for each line, UTF-8.
 *
 * The VM greets:   {"lis": 1, "version": "0.1.0", "name": "web", "pid": 4711}
 * Client asks:     {"id": 7, "command": "status", "arguments": {}}
 * VM answers:      {"id": 7, "result": {...}}
 *             or   {"id": 7, "error": {"code": "busy", "message": "..."}}
 *
 * "id" may be any JSON value and comes back as it was; it and "arguments" may be left out. Commands of
 * one connection are answered one after the other. Unknown members are ignored by both sides. "lis"
 * counts up when something changes its meaning; additions do not count. The answers of some commands
 * have descriptors with them (SCM_RIGHTS), with their first byte.
 *
 * Error codes are the names of vmbus/error.h in lower case, without their prefix.
 */
#ifndef OPENLIS_CONTROL_PROTOCOL_H
#define OPENLIS_CONTROL_PROTOCOL_H

#define CONTROL_PROTOCOL_VERSION 1
#define CONTROL_LINE_BYTES_MAX 65536u /* [policy] of a command, with its newline */
#define CONTROL_JSON_DEPTH_MAX 16     /* [policy] of a command */
#define CONTROL_FDS_MAX 4             /* [policy] with one answer */

/**
 * control_error_name() - Code of an error in the protocol, "busy" for -LIS_BUSY.
 * Return: a static string; "io" for a number that is not in the table.
 */
const char *control_error_name(int error);

/** control_error_number() - The reverse. Return: a negative code, -LIS_IO for an unknown name. */
int control_error_number(const char *name);

#endif
