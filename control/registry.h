/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Where running VMs are found: a directory with NAME.lock, held locked by the process that runs the
 * VM, and NAME.sock, its control socket. The lock decides; a socket without a locked lock file is
 * stale.
 *
 * The directory is $LIS_RUNTIME_DIR if set, /run/lis for root, else $XDG_RUNTIME_DIR/lis, else
 * /tmp/lis-UID. It belongs to the user alone (mode 0700), and is not used if it does not.
 */
#ifndef OPENLIS_CONTROL_REGISTRY_H
#define OPENLIS_CONTROL_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vmbus/error.h"

#define REGISTRY_NAME_BYTES 65   /* 64 characters and the final NUL */
#define REGISTRY_PATH_BYTES 108  /* what a Unix socket's address holds */
#define REGISTRY_ERROR_BYTES 512 /* one line for the user, without its newline */

/* A name that this process owns. */
struct registry_claim {
	char name[REGISTRY_NAME_BYTES];
	char socket_path[REGISTRY_PATH_BYTES];
	char lock_path[REGISTRY_PATH_BYTES];
	int lock_fd;
};

/** registry_name_valid() - 1 to 64 characters out of A-Z a-z 0-9 . _ -, not starting with . or -. */
bool registry_name_valid(const char *name);

/**
 * registry_claim() - Take a name for a VM that is about to run, and clean up what a dead one left.
 * @name: as the user gave it
 * @out_claim: filled on success only
 * @error: REGISTRY_ERROR_BYTES; on failure what is wrong, for the user
 *
 * Return: 0, -LIS_INVALID (the name), -LIS_BUSY (a VM of that name runs), -LIS_DENIED, -LIS_IO.
 */
int registry_claim(const char *name, struct registry_claim *out_claim, char *error) LIS_MUST_USE;

/** registry_release() - Give the name back: remove socket and lock. Twice is fine. */
void registry_release(struct registry_claim *claim);

/**
 * registry_find() - The control socket of a running VM.
 * @name: as the user gave it
 * @out_path: REGISTRY_PATH_BYTES; filled on success only
 * @error: REGISTRY_ERROR_BYTES
 *
 * Return: 0, -LIS_INVALID (the name), -LIS_NOTFOUND (no VM of that name runs), -LIS_DENIED,
 * -LIS_IO.
 */
int registry_find(const char *name, char *out_path, char *error) LIS_MUST_USE;

/**
 * registry_each() - Call a function for each running VM, by name; cleans up after dead ones.
 * @each: @pid is that of the process that runs it
 * @arg: for @each
 * @error: REGISTRY_ERROR_BYTES
 *
 * Return: 0 (also where none runs), -LIS_DENIED, -LIS_IO, -LIS_NOMEM.
 */
int registry_each(void (*each)(void *arg, const char *name, pid_t pid), void *arg,
		  char *error) LIS_MUST_USE;

#endif
