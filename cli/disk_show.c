// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis disk info` and `map`: what an image is like, and how full. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/disk.h"
#include "cli/exit.h"
#include "cli/json.h"
#include "io/error.h"

#define MAP_ROWS 16u
#define MAP_COLUMNS_DEFAULT 64u
#define MAP_COLUMNS_MAX 128u

const char *disk_size_text(uint64_t bytes, char out[DISK_TEXT_BYTES])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	unsigned unit = 0;
	double value = (double)bytes;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(out, DISK_TEXT_BYTES, value == (double)(uint64_t)value ? "%.0f %s" : "%.1f %s", value,
		 units[unit]);
	return out;
}

static int open_image(const struct disk_options *options, struct block_device **out_device, char *error)
{
	const struct block_open_options open_options = { .format = options->format, .read_only = true };

	return block_open(options->paths[0], &open_options, out_device, error);
}

/* ---- info ---- */

struct info {
	const struct block_geometry *geometry;
	struct block_details details;
	struct stat stat;
};

struct json_object *disk_lines_json(const char *const *lines)
{
	struct json_object *array = json_object_new_array();

	for (int i = 0; i < BLOCK_DETAILS_LINES && lines[i]; i++)
		json_object_array_add(array, json_object_new_string(lines[i]));
	return array;
}

/* The chain below, nearest first. */
static struct json_object *parents_json(const struct block_device *device)
{
	struct json_object *array = json_object_new_array();

	while ((device = device->parent))
		json_object_array_add(array, json_object_new_string(device->path));
	return array;
}

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void print_json(const struct block_device *device, const struct info *info)
{
	struct json_object *object = json_object_new_object();
	const struct block_details *details = &info->details;
	char id[GUID_TEXT_BYTES];

	guid_format(&info->geometry->unique_id, id);
	json_object_object_add(object, "path", json_object_new_string(device->path));
	json_object_object_add(object, "format", json_object_new_string(device->driver->name));
	json_object_object_add(object, "kind", details->kind ? json_object_new_string(details->kind) : NULL);
	add_number(object, "size_bytes", info->geometry->size_bytes);
	add_number(object, "file_bytes", (uint64_t)info->stat.st_size);
	add_number(object, "allocated_bytes", (uint64_t)info->stat.st_blocks * 512);
	add_number(object, "logical_sector_bytes", info->geometry->logical_sector_bytes);
	add_number(object, "physical_sector_bytes", info->geometry->physical_sector_bytes);
	if (details->block_bytes) {
		add_number(object, "block_bytes", details->block_bytes);
		add_number(object, "blocks", details->blocks);
		add_number(object, "blocks_present", details->blocks_present);
	}
	json_object_object_add(object, "id", json_object_new_string(id));
	json_object_object_add(object, "creator",
			       *details->creator ? json_object_new_string(details->creator) : NULL);
	json_object_object_add(object, "parents", parents_json(device));
	json_object_object_add(object, "problems", disk_lines_json(details->problems));
	json_object_object_add(object, "notes", disk_lines_json(details->notes));
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
	json_object_put(object);
}

static void print_lines(const char *name, const char *const *lines)
{
	for (int i = 0; i < BLOCK_DETAILS_LINES && lines[i]; i++)
		printf("%-14s %s\n", name, lines[i]);
}

static void print_info(const struct block_device *device, const struct info *info)
{
	const struct block_details *details = &info->details;
	char text[DISK_TEXT_BYTES], id[GUID_TEXT_BYTES];

	guid_format(&info->geometry->unique_id, id);
	printf("%-14s %s\n", "image", device->path);
	printf("%-14s %s%s%s\n", "format", device->driver->name, details->kind ? ", " : "",
	       details->kind ? details->kind : "");
	printf("%-14s %s (%" PRIu64 " bytes)\n", "disk size",
	       disk_size_text(info->geometry->size_bytes, text), info->geometry->size_bytes);
	if (S_ISREG(info->stat.st_mode)) {
		printf("%-14s %s", "file size", disk_size_text((uint64_t)info->stat.st_size, text));
		printf(", %s on the disk\n", disk_size_text((uint64_t)info->stat.st_blocks * 512, text));
	}
	printf("%-14s %u bytes logical, %u physical\n", "sectors", info->geometry->logical_sector_bytes,
	       info->geometry->physical_sector_bytes);
	if (details->block_bytes)
		printf("%-14s %" PRIu64 " of %" PRIu64 " in use, %s each\n", "blocks",
		       details->blocks_present, details->blocks, disk_size_text(details->block_bytes, text));
	printf("%-14s %s\n", "identity", id);
	for (const struct block_device *parent = device->parent; parent; parent = parent->parent)
		printf("%-14s %s\n", "parent", parent->path);
	print_lines("problem", details->problems);
	print_lines("note", details->notes);
}

int disk_info(const struct disk_options *options)
{
	char error[BLOCK_ERROR_BYTES];
	struct block_device *device;
	struct info info;

	if (open_image(options, &device, error))
		return complain("%s", error);
	info.geometry = &device->geometry;
	block_describe(device, &info.details);
	/* Creators are text by custom only. */
	for (char *c = info.details.creator; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (stat(device->path, &info.stat) < 0)
		memset(&info.stat, 0, sizeof(info.stat));
	if (options->json)
		print_json(device, &info);
	else
		print_info(device, &info);
	return block_close(device) ? LIS_EXIT_ERROR : LIS_EXIT_OK;
}

/* ---- map ---- */

static unsigned columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 30)
		return MAP_COLUMNS_DEFAULT;
	return size.ws_col - 14u < MAP_COLUMNS_MAX ? size.ws_col - 14u : MAP_COLUMNS_MAX;
}

/* Adds an extent to the cells it touches. */
static void add_extent(uint64_t *cells, uint64_t cell_bytes, uint64_t at, uint64_t bytes)
{
	while (bytes) {
		uint64_t now = cell_bytes - at % cell_bytes;

		if (now > bytes)
			now = bytes;
		cells[at / cell_bytes] += now;
		at += now;
		bytes -= now;
	}
}

static void print_map(const uint64_t *cells, uint64_t cell_bytes, uint64_t size_bytes, unsigned width)
{
	char text[DISK_TEXT_BYTES];

	for (uint64_t at = 0; at < size_bytes; at += cell_bytes * width) {
		printf("%11s  ", disk_size_text(at, text));
		for (uint64_t i = 0; i < width && at + i * cell_bytes < size_bytes; i++) {
			uint64_t cell_at = at + i * cell_bytes, there = size_bytes - cell_at;
			uint64_t data = cells[cell_at / cell_bytes];

			if (there > cell_bytes)
				there = cell_bytes;
			putchar(!data ? '.' : data >= there ? '#' : data > there / 2 ? '+' : '-');
		}
		putchar('\n');
	}
}

int disk_map(const struct disk_options *options)
{
	char error[BLOCK_ERROR_BYTES], text[DISK_TEXT_BYTES];
	uint64_t cell_bytes, size_bytes, data_bytes = 0;
	uint64_t cells[MAP_ROWS * MAP_COLUMNS_MAX] = { 0 };
	unsigned width = columns();
	struct block_device *device;
	int result = 0;

	if (open_image(options, &device, error))
		return complain("%s", error);
	size_bytes = device->geometry.size_bytes;
	for (cell_bytes = 65536; cell_bytes * width * MAP_ROWS < size_bytes;)
		cell_bytes *= 2;
	for (uint64_t at = 0; at < size_bytes && !result;) {
		struct block_extent extent;

		result = block_map(device, at, &extent);
		if (result)
			break;
		if (extent.data) {
			add_extent(cells, cell_bytes, at, extent.length_bytes);
			data_bytes += extent.length_bytes;
		}
		at += extent.length_bytes;
	}
	if (result) {
		(void)block_close(device);
		return complain("%s: where its data is cannot be read", options->paths[0]);
	}
	print_map(cells, cell_bytes, size_bytes, width);
	printf("\n%s of data", disk_size_text(data_bytes, text));
	printf(" in a disk of %s;", disk_size_text(size_bytes, text));
	printf(" one character is %s: # data, + and - some, . none\n", disk_size_text(cell_bytes, text));
	(void)block_close(device);
	return LIS_EXIT_OK;
}
