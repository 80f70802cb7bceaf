// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Finds and opens the parents of differencing images: see parent.h.
 *
 * What a child says of its parent is only a hint where to look. Whatever is found there counts if it is
 * a sound image with the identity that the child names, and is opened for reading only.
 */
#include "storage/images/parent.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- text ---- */

static uint32_t unit_at(const uint8_t *utf16, size_t at, bool big_endian)
{
	return big_endian ? (uint32_t)utf16[at] << 8 | utf16[at + 1] : (uint32_t)utf16[at + 1] << 8 | utf16[at];
}

static char *put_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = (char)code;
	} else if (code < 0x800) {
		*out++ = (char)(0xc0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*out++ = (char)(0xe0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	} else {
		*out++ = (char)(0xf0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	}
	return out;
}

/* @out has room for three bytes for each unit and a zero. Control characters are nobody's file name. */
static bool from_utf16(const uint8_t *utf16, size_t bytes, bool big_endian, char *out)
{
	for (size_t at = 0; at + 1 < bytes; at += 2) {
		uint32_t code = unit_at(utf16, at, big_endian), low;

		if (!code)
			break;
		if (code >= 0xd800 && code < 0xe000) {
			low = at + 3 < bytes ? unit_at(utf16, at + 2, big_endian) : 0;
			if (code >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
				return false;
			code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
			at += 2;
		}
		if (code < 0x20 || code == 0x7f)
			return false;
		out = put_utf8(out, code);
	}
	*out = 0;
	return true;
}

/* One character of UTF-8; 0: not valid. */
static uint32_t next_utf8(const char **at)
{
	const uint8_t *text = (const uint8_t *)*at;
	uint32_t count = *text < 0x80 ? 0 : *text < 0xc2 ? 4 : *text < 0xe0 ? 1 : *text < 0xf0 ? 2 :
			 *text < 0xf5 ? 3 : 4;
	uint32_t code = count == 0 ? *text : *text & (0x3fu >> count);

	if (count == 4)
		return 0;
	for (uint32_t i = 1; i <= count; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	*at += count + 1;
	return code;
}

/* NULL: not UTF-8, or no memory. */
static uint8_t *to_utf16(const char *text, uint16_t *out_bytes)
{
	uint8_t *utf16 = malloc(2 * strlen(text) + 2), *out = utf16;

	while (utf16 && *text) {
		uint32_t code = next_utf8(&text);
		uint32_t units[2] = { code, 0 };

		if (!code || out - utf16 > UINT16_MAX - 4) {
			free(utf16);
			return NULL;
		}
		if (code >= 0x10000) {
			units[0] = 0xd800 + ((code - 0x10000) >> 10);
			units[1] = 0xdc00 + ((code - 0x10000) & 0x3ff);
		}
		for (int i = 0; i < (units[1] ? 2 : 1); i++) {
			*out++ = (uint8_t)units[i];
			*out++ = (uint8_t)(units[i] >> 8);
		}
	}
	*out_bytes = (uint16_t)(out - utf16);
	return utf16;
}

int parent_add_path(struct parent_search *search, const uint8_t *utf16, size_t bytes, bool big_endian)
{
	char *path;

	if (search->path_count == PARENT_PATHS_MAX || bytes < 2)
		return 0;
	if (bytes > PARENT_PATH_BYTES_MAX)
		return -LIS_FORMAT;
	path = malloc(bytes / 2 * 3 + 1);
	if (!path)
		return -LIS_NOMEM;
	if (!from_utf16(utf16, bytes, big_endian, path)) {
		free(path);
		return -LIS_FORMAT;
	}
	if (*path)
		search->paths[search->path_count++] = path;
	else
		free(path);
	return 0;
}

void parent_search_fini(struct parent_search *search)
{
	for (uint32_t i = 0; i < search->path_count; i++)
		free(search->paths[i]);
	search->path_count = 0;
}

/* ---- paths ---- */

static bool is_separator(char c)
{
	return c == '\\' || c == '/';
}

/* Behind "\\?\", "C:" and "Volume{...}"; NULL: on another machine. @out_absolute: does it start at a root? */
static const char *without_drive(const char *path, bool *out_absolute)
{
	const char *at = path;

	if (!strncmp(at, "\\\\?\\", 4) || !strncmp(at, "\\??\\", 4))
		at += 4;
	else if (is_separator(at[0]) && is_separator(at[1]))
		return NULL;
	if (!strncasecmp(at, "UNC\\", 4))
		return NULL;
	if (!strncasecmp(at, "Volume{", 7))
		at += strcspn(at, "\\/");
	if (((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z') && at[1] == ':')
		at += 2;
	*out_absolute = at != path || is_separator(*at);
	return at;
}

static const char *last_name(const char *path)
{
	const char *name = path;

	for (const char *at = path; *at; at++)
		if (is_separator(*at))
			name = at + 1;
	return name;
}

/* Appends a name that is in the folder @path: as it is, or else the first one that differs in case only. */
static bool append_name(char path[PATH_MAX], const char *name, size_t name_bytes)
{
	size_t used = strlen(path);
	char wanted[NAME_MAX + 1], best[NAME_MAX + 1] = "";
	struct dirent *entry;
	DIR *folder;

	if (name_bytes > NAME_MAX || used + 1 + NAME_MAX >= PATH_MAX)
		return false;
	memcpy(wanted, name, name_bytes);
	wanted[name_bytes] = 0;
	snprintf(path + used, PATH_MAX - used, "%s%s", used && path[used - 1] == '/' ? "" : "/", wanted);
	if (access(path, F_OK) == 0)
		return true;
	path[used] = 0;
	folder = opendir(used ? path : "/");
	if (!folder)
		return false;
	while ((entry = readdir(folder)))
		if (!strcasecmp(entry->d_name, wanted) && (!*best || strcmp(entry->d_name, best) < 0))
			snprintf(best, sizeof(best), "%s", entry->d_name);
	closedir(folder);
	snprintf(path + used, PATH_MAX - used, "%s%s", used && path[used - 1] == '/' ? "" : "/", best);
	return *best;
}

/* Follows a Windows path from the folder @path on. */
static bool follow(char path[PATH_MAX], const char *windows)
{
	while (*windows) {
		size_t bytes = strcspn(windows, "\\/");

		if (bytes && !(bytes == 1 && *windows == '.') && !append_name(path, windows, bytes))
			return false;
		windows += bytes;
		windows += *windows != 0;
	}
	return true;
}

/* ---- opening ---- */

static int complain(const struct image_file *file, char *error, int code, const char *path, const char *reason)
{
	return image_error(error, code, file->path, "%s is not the parent it was made over: it %s", path, reason);
}

static int check_parent(const struct image_file *file, const struct parent_search *search,
			struct block_device *parent, char *error)
{
	const struct block_geometry *geometry = &parent->geometry;
	char reason[PARENT_REASON_BYTES];

	if (strcmp(parent->driver->name, search->format)) {
		snprintf(reason, sizeof(reason), "is %s, not %s", parent->driver->name, search->format);
		return complain(file, error, -LIS_FORMAT, parent->path, reason);
	}
	if (!search->is_it(search->child, parent, reason))
		return complain(file, error, -LIS_FORMAT, parent->path, reason);
	if (geometry->size_bytes != search->size_bytes)
		return image_error(error, -LIS_FORMAT, file->path,
				   "is of %llu bytes, its parent %s of %llu: they must be equal",
				   (unsigned long long)search->size_bytes, parent->path,
				   (unsigned long long)geometry->size_bytes);
	if (geometry->logical_sector_bytes != search->sector_bytes)
		return image_error(error, -LIS_FORMAT, file->path,
				   "has sectors of %u bytes, its parent %s of %u: they must be equal",
				   search->sector_bytes, parent->path, geometry->logical_sector_bytes);
	return 0;
}

/* A search under way: what was tried, and what was wrong with the first file that was there. */
struct hunt {
	const struct image_file *file;
	const struct parent_search *search;
	struct stat tried[2 * PARENT_PATHS_MAX + 2];
	uint32_t tried_count;
	int result; /* 0: nothing was there */
	char *error;
};

/* Tries one file. Returns it if it is the one. */
static struct block_device *try_file(struct hunt *hunt, const char *path)
{
	struct image_file file = { .path = path, .fd = -1, .read_only = true,
				   .direct = hunt->file->direct, .child = hunt->file,
				   .check = hunt->file->check };
	char own_error[BLOCK_ERROR_BYTES] = "", *reason;
	struct block_device *device;
	struct stat status;
	int result;

	if (stat(path, &status) < 0 || hunt->tried_count == sizeof(hunt->tried) / sizeof(hunt->tried[0]))
		return NULL;
	for (uint32_t i = 0; i < hunt->tried_count; i++)
		if (hunt->tried[i].st_dev == status.st_dev && hunt->tried[i].st_ino == status.st_ino)
			return NULL;
	hunt->tried[hunt->tried_count++] = status;
	result = image_open(&file, hunt->search->format, &device, own_error);
	if (!result) {
		result = check_parent(hunt->file, hunt->search, device, own_error);
		if (!result)
			return device;
		(void)block_close(device);
		reason = own_error;
		if (!hunt->result && hunt->error)
			snprintf(hunt->error, BLOCK_ERROR_BYTES, "%s", reason);
	} else if (!hunt->result) {
		image_error(hunt->error, result, hunt->file->path, "its parent cannot be used: %s", own_error);
	}
	if (!hunt->result)
		hunt->result = result;
	return NULL;
}

static struct block_device *try_from(struct hunt *hunt, const char *folder, const char *windows)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s", folder) >= sizeof(path) || !follow(path, windows))
		return NULL;
	return try_file(hunt, path);
}

static struct block_device *search_folder(struct hunt *hunt, const char *folder)
{
	const struct parent_search *search = hunt->search;
	struct block_device *device = NULL;
	bool absolute = false;

	for (uint32_t i = 0; i < search->path_count && !device; i++) {
		const char *path = without_drive(search->paths[i], &absolute);

		if (path && !absolute)
			device = try_from(hunt, folder, path);
	}
	for (uint32_t i = 0; i < search->path_count && !device; i++)
		device = try_from(hunt, folder, last_name(search->paths[i]));
	return device;
}

static struct block_device *search_root(struct hunt *hunt)
{
	struct block_device *device = NULL;
	bool absolute = false;

	for (uint32_t i = 0; i < hunt->search->path_count && !device; i++) {
		const char *path = without_drive(hunt->search->paths[i], &absolute);

		if (path && absolute)
			device = try_from(hunt, "/", path);
	}
	return device;
}

/* The folder a path is in, as given, or with links followed. */
static char *folder_of(const char *path, bool real)
{
	char *copy = real ? realpath(path, NULL) : strdup(path), *folder = NULL;

	if (copy)
		folder = strdup(dirname(copy));
	free(copy);
	return folder;
}

int parent_open(const struct image_file *file, const struct parent_search *search,
		struct block_device **out_parent, char *error)
{
	struct hunt hunt = { .file = file, .search = search, .error = error };
	struct block_device *device = NULL;

	if (file->parent) {
		int result = check_parent(file, search, file->parent, error);

		if (!result)
			*out_parent = file->parent;
		return result;
	}
	if (!search->path_count)
		return image_error(error, -LIS_FORMAT, file->path, "does not say where its parent is");
	for (int real = 0; real < 2 && !device; real++) {
		char *folder = folder_of(file->path, real);

		if (folder)
			device = search_folder(&hunt, folder);
		free(folder);
	}
	if (!device)
		device = search_root(&hunt);
	if (device) {
		*out_parent = device;
		return 0;
	}
	if (hunt.result)
		return hunt.result;
	return image_error(error, -LIS_NOTFOUND, file->path,
			   "its parent '%s' is neither there nor beside it", search->paths[0]);
}

int parent_check_circle(const struct image_file *file, char *error)
{
	uint32_t depth = 1;

	for (const struct image_file *child = file->child; child; child = child->child, depth++)
		if (child->stat.st_dev == file->stat.st_dev && child->stat.st_ino == file->stat.st_ino)
			return image_error(error, -LIS_FORMAT, file->path,
					   "is its own parent: the chain goes in a circle");
	if (depth > PARENT_DEPTH_MAX)
		return image_error(error, -LIS_FORMAT, file->path,
				   "is more than %d images below the first: the chain is too long",
				   PARENT_DEPTH_MAX);
	return 0;
}

/* ---- for new children ---- */

/* From the folder @from to the file @to, both absolute and without links. */
static char *relative_path(const char *from, const char *to)
{
	size_t same = 0, ups = 0, at;
	char *path, *out;

	for (at = 0; from[at] && from[at] == to[at]; at++)
		if (from[at] == '/')
			same = at + 1;
	if (!from[at] && to[at] == '/')
		same = at + 1;
	for (const char *c = from + (same <= strlen(from) ? same : strlen(from)); *c; c++)
		ups += *c == '/';
	ups += same < strlen(from);
	path = malloc(2 + 3 * ups + strlen(to + same) + 1);
	if (!path)
		return NULL;
	out = path;
	if (!ups)
		out = stpcpy(out, ".\\");
	while (ups--)
		out = stpcpy(out, "..\\");
	strcpy(out, to + same);
	return path;
}

static void turn_slashes(char *path)
{
	for (; *path; path++)
		if (*path == '/')
			*path = '\\';
}

int parent_name(const char *child_path, const char *parent_path, struct parent_names *out_names, char *error)
{
	struct parent_names names = { .relative = NULL };
	char *parent = realpath(parent_path, NULL), *folder = folder_of(child_path, true);
	char *relative = parent && folder ? relative_path(folder, parent) : NULL, *absolute = NULL;
	int result = 0;

	if (!parent || !folder || !relative || asprintf(&absolute, "C:%s", parent) < 0) {
		absolute = NULL;
		result = image_error(error, -LIS_NOTFOUND, child_path, "where its parent %s is cannot be found out",
				     parent_path);
	} else if (strchr(parent, '\\')) {
		result = image_error(error, -LIS_INVALID, child_path,
				     "the path of its parent %s has a backslash, which a child cannot name", parent);
	} else {
		turn_slashes(relative);
		turn_slashes(absolute);
		names.relative = to_utf16(relative, &names.relative_bytes);
		names.absolute = to_utf16(absolute, &names.absolute_bytes);
		if (!names.relative || !names.absolute)
			result = image_error(error, -LIS_INVALID, child_path,
					     "the path of its parent %s is not UTF-8, or too long", parent);
	}
	free(parent);
	free(folder);
	free(relative);
	free(absolute);
	if (result)
		parent_names_fini(&names);
	else
		*out_names = names;
	return result;
}

void parent_names_fini(struct parent_names *names)
{
	free(names->relative);
	free(names->absolute);
	*names = (struct parent_names){ .relative = NULL };
}
