/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The one table of errors. Functions return 0 or a negative code; a result must be used. The glue of
 * a port (kernel, VMM) translates to its own numbers at its own border, with lis_error_errno().
 */
#ifndef OPENLIS_VMBUS_ERROR_H
#define OPENLIS_VMBUS_ERROR_H

#define LIS_MUST_USE __attribute__((warn_unused_result))

/* code, number, text, errno a POSIX caller would expect */
#define LIS_ERRORS(X) \
	X(LIS_NOMEM, 1, "out of memory", ENOMEM) \
	X(LIS_AGAIN, 2, "try again later", EAGAIN) \
	X(LIS_FULL, 3, "no room", ENOBUFS) \
	X(LIS_EMPTY, 4, "nothing there", ENODATA) \
	X(LIS_CORRUPT, 5, "the other side broke the protocol", EPROTO) \
	X(LIS_REFUSED, 6, "the other side refused", ECONNREFUSED) \
	X(LIS_GONE, 7, "the other side is gone", EPIPE) \
	X(LIS_STILL_SHARED, 8, "memory is still shared with the other side", EBUSY) \
	X(LIS_INVALID, 9, "invalid argument", EINVAL) \
	X(LIS_UNSUPPORTED, 10, "not supported", EOPNOTSUPP) \
	X(LIS_IO, 11, "input/output error", EIO) \
	X(LIS_NOSPACE, 12, "no space left", ENOSPC) \
	X(LIS_NOTFOUND, 13, "not found", ENOENT) \
	X(LIS_BUSY, 14, "in use", EBUSY) \
	X(LIS_DENIED, 15, "permission denied", EACCES) \
	X(LIS_READONLY, 16, "read-only", EROFS) \
	X(LIS_FORMAT, 17, "not in the expected format", EILSEQ) \
	X(LIS_CANCELED, 18, "canceled", ECANCELED) \
	X(LIS_TIMEOUT, 19, "timed out", ETIMEDOUT)

enum lis_error {
#define LIS_ERROR_ENUM(code, number, text, posix) code = number,
	LIS_ERRORS(LIS_ERROR_ENUM)
#undef LIS_ERROR_ENUM
};

#endif
