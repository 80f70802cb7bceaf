/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading JSON of a VM that may be older or newer than we are: what is not there has a default. */
#ifndef OPENLIS_CLI_JSON_H
#define OPENLIS_CLI_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/** json_at() - The value at a dotted path ("vmbus.version"), or NULL. */
struct json_object *json_at(struct json_object *from, const char *path);

/** json_text() - The string there, or @otherwise. Lives as long as @from. */
const char *json_text(struct json_object *from, const char *path, const char *otherwise);

/** json_number() - The number there, or 0. */
uint64_t json_number(struct json_object *from, const char *path);

/** json_flag() - The boolean there, or false. */
bool json_flag(struct json_object *from, const char *path);

/** json_count() - Length of the array there, or 0. */
size_t json_count(struct json_object *from, const char *path);

/** json_item() - An item of the array there, or NULL. */
struct json_object *json_item(struct json_object *from, const char *path, size_t index);

#endif
