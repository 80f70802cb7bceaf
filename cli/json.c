// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Reading JSON with defaults: see json.h. */
#include "cli/json.h"

#include <string.h>

#define MEMBER_BYTES 64

struct json_object *json_at(struct json_object *from, const char *path)
{
	while (from && *path) {
		size_t bytes = strcspn(path, ".");
		struct json_object *next = NULL;
		char member[MEMBER_BYTES];

		if (bytes >= sizeof(member) || !json_object_is_type(from, json_type_object))
			return NULL;
		memcpy(member, path, bytes);
		member[bytes] = 0;
		if (!json_object_object_get_ex(from, member, &next))
			return NULL;
		from = next;
		path += bytes + (path[bytes] == '.');
	}
	return from;
}

const char *json_text(struct json_object *from, const char *path, const char *otherwise)
{
	struct json_object *value = json_at(from, path);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) :
							      otherwise;
}

uint64_t json_number(struct json_object *from, const char *path)
{
	struct json_object *value = json_at(from, path);

	return json_object_is_type(value, json_type_int) ? json_object_get_uint64(value) : 0;
}

bool json_flag(struct json_object *from, const char *path)
{
	return json_object_get_boolean(json_at(from, path));
}

size_t json_count(struct json_object *from, const char *path)
{
	struct json_object *value = json_at(from, path);

	return json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
}

struct json_object *json_item(struct json_object *from, const char *path, size_t index)
{
	return index < json_count(from, path) ? json_object_array_get_idx(json_at(from, path), index) :
						NULL;
}
