// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Errors of vmbus/error.h as text and as errno. */
#include "io/error.h"

#include <errno.h>
#include <stddef.h>

static const struct {
	int code;
	int posix;
	const char *text;
} errors[] = {
#define LIS_ERROR_ROW(code, number, text, posix) { number, posix, text },
	LIS_ERRORS(LIS_ERROR_ROW)
#undef LIS_ERROR_ROW
};

#define ERROR_COUNT (sizeof(errors) / sizeof(errors[0]))

const char *lis_error_text(int error)
{
	for (size_t i = 0; i < ERROR_COUNT; i++)
		if (errors[i].code == -error)
			return errors[i].text;
	return "unknown error";
}

int lis_error_errno(int error)
{
	for (size_t i = 0; i < ERROR_COUNT; i++)
		if (errors[i].code == -error)
			return errors[i].posix;
	return EIO;
}

int lis_error_from_errno(int posix)
{
	switch (posix) {
	case EPERM:
		return -LIS_DENIED;
	case EDQUOT:
		return -LIS_NOSPACE;
	case EBUSY:
		return -LIS_BUSY;
	}
	for (size_t i = 0; i < ERROR_COUNT; i++)
		if (errors[i].posix == posix)
			return -errors[i].code;
	return -LIS_IO;
}
