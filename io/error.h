/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Errors of vmbus/error.h as text and as errno, for hosted code (the portable core has no errno).
 */
#ifndef OPENLIS_IO_ERROR_H
#define OPENLIS_IO_ERROR_H

#include "vmbus/error.h"

/**
 * lis_error_text() - Words for an error.
 * @error: a negative code from vmbus/error.h
 *
 * Context: any.
 * Return: a static string, never NULL; "unknown error" for a number that is not in the table.
 */
const char *lis_error_text(int error);

/**
 * lis_error_errno() - The errno a POSIX caller expects for an error.
 * @error: a negative code from vmbus/error.h
 *
 * Context: any.
 * Return: a positive errno; EIO for a number that is not in the table.
 */
int lis_error_errno(int error);

/**
 * lis_error_from_errno() - The nearest code for an errno.
 * @posix: a positive errno
 *
 * Context: any.
 * Return: a negative code; -LIS_IO where nothing in the table is nearer.
 */
int lis_error_from_errno(int posix);

#endif
