/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a port supplies to the portable core, once for each binary: memory that can be shared with the
 * host, a log line. Everything that reaches the other side goes through an ops struct for each
 * connection instead. Barriers and single reads of shared memory are here too, since every compiler the
 * core is built with has them.
 *
 * The core includes what a freestanding C11 compiler has (stdbool.h, stddef.h, stdint.h), and string.h for
 * memcpy, memset and memcmp. A kernel without these headers puts a folder with its own before them.
 */
#ifndef OPENLIS_VMBUS_OS_H
#define OPENLIS_VMBUS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"

enum os_log_level {
	OS_LOG_ERROR,   /* something is lost or refused that somebody will miss */
	OS_LOG_WARNING, /* the other side misbehaved, or we had to give something up */
	OS_LOG_INFO,    /* one line for each thing that came or went */
	OS_LOG_DEBUG,
};

/**
 * os_log() - One line for the log, without its newline.
 * @level: enum os_log_level
 * @format: as printf; no floating point
 *
 * Context: any, also under the caller's locks; does not sleep.
 */
void os_log(enum os_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifndef likely /* some systems have them */
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#endif

/* Shared memory: read or write a field exactly once. */
#define os_read_once(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define os_write_once(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define os_load_acquire(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define os_store_release(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
/* Orders everything before it against everything after it, stores against later loads too. */
#define os_full_barrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)

#endif
