/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Reservations in a file beside the image, as JSON:
 *
 *	{ "version": 1,
 *	  "registrations": [ { "initiator": "5002248000000001", "key": "00000000deadbeef" } ],
 *	  "reservation": { "type": 5, "holder": "5002248000000001" } }
 *
 * A new file takes the old one's place when it is durable, so that there is one of them after any
 * crash.
 */
#include "storage/scsi_reservations_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"

/* ---- reading ---- */

static bool parse_hex(struct json_object *object, const char *member, uint64_t *out_value)
{
	struct json_object *value;
	const char *text;
	char *end;

	if (!json_object_object_get_ex(object, member, &value) ||
	    !json_object_is_type(value, json_type_string))
		return false;
	text = json_object_get_string(value);
	errno = 0;
	*out_value = strtoull(text, &end, 16);
	return *text && !*end && !errno;
}

static bool parse_registrations(struct json_object *root, struct scsi_reservation_state *state)
{
	struct json_object *list;

	if (!json_object_object_get_ex(root, "registrations", &list) ||
	    !json_object_is_type(list, json_type_array) ||
	    json_object_array_length(list) > SCSI_REGISTRANTS_MAX)
		return false;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		struct scsi_registrant *registrant = &state->registrants[state->registrant_count];

		if (!parse_hex(item, "initiator", &registrant->initiator) || !registrant->initiator ||
		    !parse_hex(item, "key", &registrant->key) || !registrant->key ||
		    scsi_registrant_find(state, registrant->initiator))
			return false;
		state->registrant_count++;
	}
	return true;
}

static bool parse_reservation(struct json_object *root, struct scsi_reservation_state *state)
{
	struct json_object *reservation, *type;
	int64_t number;

	if (!json_object_object_get_ex(root, "reservation", &reservation))
		return true;
	if (!json_object_object_get_ex(reservation, "type", &type))
		return false;
	number = json_object_get_int64(type);
	if (number < 1 || number > 8 || !scsi_type_is_known((uint8_t)number) || !state->registrant_count)
		return false;
	state->type = (enum scsi_reservation_type)number;
	if (scsi_type_is_all_registrants(state->type))
		return true;
	return parse_hex(reservation, "holder", &state->holder) &&
	       scsi_registrant_find(state, state->holder);
}

int scsi_reservations_load(const char *path, struct scsi_reservation_state *out_state, char *error)
{
	struct scsi_reservation_state state = { .keep = true };
	struct json_object *root, *version;
	int err = 0;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	errno = 0;
	root = json_object_from_file(path);
	if (!root) {
		err = errno ? lis_error_from_errno(errno) : -LIS_FORMAT;
		snprintf(error, SCSI_RESERVATIONS_ERROR_BYTES, "%s: cannot be read: %s", path,
			 errno ? strerror(errno) : "it is no JSON");
		return err;
	}
	if (json_object_object_get_ex(root, "version", &version) && json_object_get_int(version) == 1 &&
	    parse_registrations(root, &state) && parse_reservation(root, &state)) {
		*out_state = state;
	} else {
		snprintf(error, SCSI_RESERVATIONS_ERROR_BYTES,
			 "%s: is not a file of SCSI reservations (remove it to have none)", path);
		err = -LIS_FORMAT;
	}
	json_object_put(root);
	return err;
}

/* ---- writing ---- */

static struct json_object *hex(uint64_t value)
{
	char text[17];

	snprintf(text, sizeof(text), "%016" PRIx64, value);
	return json_object_new_string(text);
}

/* NULL: out of memory. */
static char *format_state(const struct scsi_reservation_state *state)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	struct json_object *reservation;
	const char *text;
	char *copy;

	json_object_object_add(root, "version", json_object_new_int(1));
	for (uint32_t i = 0; i < state->registrant_count; i++) {
		struct json_object *item = json_object_new_object();

		json_object_object_add(item, "initiator", hex(state->registrants[i].initiator));
		json_object_object_add(item, "key", hex(state->registrants[i].key));
		json_object_array_add(list, item);
	}
	json_object_object_add(root, "registrations", list);
	if (state->type) {
		reservation = json_object_new_object();
		json_object_object_add(reservation, "type", json_object_new_int((int)state->type));
		if (!scsi_type_is_all_registrants(state->type))
			json_object_object_add(reservation, "holder", hex(state->holder));
		json_object_object_add(root, "reservation", reservation);
	}
	text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY);
	copy = text ? strdup(text) : NULL;
	json_object_put(root);
	return copy;
}

/* A name is durable when its folder is. */
static int sync_folder(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int result = fd >= 0 ? fsync(fd) : -1;

	if (fd >= 0)
		close(fd);
	free(copy);
	return result;
}

static int write_file(const char *path, const char *text)
{
	size_t bytes = strlen(text);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int result = fd < 0 ? -1 : 0;

	if (!result && write(fd, text, bytes) != (ssize_t)bytes) {
		errno = errno ? errno : ENOSPC;
		result = -1;
	}
	if (!result)
		result = fsync(fd);
	if (fd >= 0 && close(fd) < 0)
		result = -1;
	return result;
}

static int replace_file(const char *path, const char *text)
{
	char *temporary;
	int result;

	if (asprintf(&temporary, "%s.new", path) < 0)
		return -LIS_NOMEM;
	errno = 0;
	result = write_file(temporary, text);
	if (!result)
		result = rename(temporary, path);
	if (!result)
		result = sync_folder(path);
	result = result ? lis_error_from_errno(errno) : 0;
	if (result)
		(void)unlink(temporary);
	free(temporary);
	return result;
}

int scsi_reservations_keep(const char *path, const struct scsi_reservation_state *state)
{
	char *text;
	int err;

	if (!state->keep || !state->registrant_count) {
		if (unlink(path) < 0 && errno != ENOENT)
			return lis_error_from_errno(errno);
		return sync_folder(path) ? -LIS_IO : 0;
	}
	text = format_state(state);
	if (!text)
		return -LIS_NOMEM;
	err = replace_file(path, text);
	free(text);
	return err;
}
