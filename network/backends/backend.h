/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the back ends of network ports share: the line for the user when one cannot be had.
 */
#ifndef OPENLIS_NETWORK_BACKENDS_BACKEND_H
#define OPENLIS_NETWORK_BACKENDS_BACKEND_H

#include <stddef.h>

#include "network/port.h"

/* Enough for a name or a path, and a reason. */
#define NET_PORT_ERROR_BYTES 256

/**
 * net_port_error() - Write the line for the user.
 * @error: NET_PORT_ERROR_BYTES, or NULL
 * @code: negative, handed back
 * @format: what the line is about and the reason, as printf
 *
 * Context: any.
 * Return: @code.
 */
int net_port_error(char *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** net_port_errno() - net_port_error() with the errno's own words behind it. Return: its code. */
int net_port_errno(char *error, int posix, const char *what);

/** net_count_drop() - One more; on the port's loop. */
static inline void net_count_drop(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

#endif
