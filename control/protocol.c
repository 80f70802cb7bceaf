// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Names of errors on the control socket. */
#include "control/protocol.h"

#include <stddef.h>
#include <string.h>

#include "vmbus/error.h"

#define NAME_BYTES 24

static const struct {
	int number;
	char name[NAME_BYTES];
} errors[] = {
	{ LIS_NOMEM, "nomem" },
	{ LIS_AGAIN, "again" },
	{ LIS_FULL, "full" },
	{ LIS_EMPTY, "empty" },
	{ LIS_CORRUPT, "corrupt" },
	{ LIS_REFUSED, "refused" },
	{ LIS_GONE, "gone" },
	{ LIS_STILL_SHARED, "still_shared" },
	{ LIS_INVALID, "invalid" },
	{ LIS_UNSUPPORTED, "unsupported" },
	{ LIS_IO, "io" },
	{ LIS_NOSPACE, "nospace" },
	{ LIS_NOTFOUND, "notfound" },
	{ LIS_BUSY, "busy" },
	{ LIS_DENIED, "denied" },
	{ LIS_READONLY, "readonly" },
	{ LIS_FORMAT, "format" },
	{ LIS_CANCELED, "canceled" },
	{ LIS_TIMEOUT, "timeout" },
};

#define ERROR_COUNT (sizeof(errors) / sizeof(errors[0]))

#define COUNT_ERROR(code, number, text, posix) +1
_Static_assert(ERROR_COUNT == 0 LIS_ERRORS(COUNT_ERROR), "every error has a name");
#undef COUNT_ERROR

const char *control_error_name(int error)
{
	for (size_t i = 0; i < ERROR_COUNT; i++)
		if (errors[i].number == -error)
			return errors[i].name;
	return "io";
}

int control_error_number(const char *name)
{
	for (size_t i = 0; i < ERROR_COUNT; i++)
		if (strcmp(errors[i].name, name) == 0)
			return -errors[i].number;
	return -LIS_IO;
}
