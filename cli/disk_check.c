// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * `lis disk check`: all the damage that an image and its parents have, for people or for programs.
 *
 * Opening tells what is wrong with tables of blocks and goes on; of each image a bounded number of such
 * findings is kept, and the others counted. What nothing can be read behind ends it.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/disk.h"
#include "cli/exit.h"
#include "io/error.h"

#define FINDINGS_MAX 20u /* [policy] of one image; a table can have millions */
#define REASON_BYTES 256

/* What opening found in one image. */
struct findings {
	char *path;
	char reasons[FINDINGS_MAX][REASON_BYTES];
	uint64_t count; /* more than are kept, maybe */
	struct findings *next;
};

struct report {
	struct findings *findings;
	struct block_device *device;   /* NULL: could not be opened */
	char error[BLOCK_ERROR_BYTES]; /* why */
	int result;                    /* of opening */
	int own_count;                 /* of what the image tells of itself, apart from findings */
	bool damaged;
	bool repaired;
};

/* ---- findings ---- */

static struct findings *findings_of(const struct report *report, const char *path)
{
	struct findings *findings = report->findings;

	while (findings && strcmp(findings->path, path))
		findings = findings->next;
	return findings;
}

static struct findings *findings_add(struct report *report, const char *path)
{
	struct findings **end = &report->findings, *findings = calloc(1, sizeof(*findings));

	if (!findings)
		return NULL;
	findings->path = strdup(path);
	if (!findings->path) {
		free(findings);
		return NULL;
	}
	while (*end)
		end = &(*end)->next;
	*end = findings;
	return findings;
}

static bool found(void *context, const char *path, const char *reason)
{
	struct report *report = context;
	struct findings *findings = findings_of(report, path);

	report->damaged = true;
	if (!findings)
		findings = findings_add(report, path);
	if (!findings)
		return false;
	if (findings->count < FINDINGS_MAX)
		snprintf(findings->reasons[findings->count], REASON_BYTES, "%s", reason);
	findings->count++;
	return true;
}

static void report_fini(struct report *report)
{
	while (report->findings) {
		struct findings *findings = report->findings;

		report->findings = findings->next;
		free(findings->path);
		free(findings);
	}
	(void)block_close(report->device);
}

static uint32_t kept(const struct findings *findings)
{
	return findings->count < FINDINGS_MAX ? (uint32_t)findings->count : FINDINGS_MAX;
}

/* ---- looking ---- */

static int count_lines(const struct block_details *details)
{
	int count = 0;

	for (int i = 0; i < BLOCK_DETAILS_LINES; i++)
		count += !!details->notes[i] + !!details->problems[i];
	return count;
}

/* @before: own_count before it was repaired; 0: it was not */
static void look(const struct disk_options *options, int before, struct report *report)
{
	const struct block_check check = { .found = found, .context = report };
	const struct block_open_options open_options = {
		.format = options->format, .read_only = true, .check = &check,
	};
	struct block_details details;

	*report = (struct report){ .findings = NULL };
	report->result = block_open(options->paths[0], &open_options, &report->device, report->error);
	if (report->result) {
		report->damaged |= report->result == -LIS_FORMAT;
		return;
	}
	block_describe(report->device, &details);
	report->own_count = count_lines(&details);
	report->repaired = report->own_count < before && !details.problems[0];
	for (struct block_device *image = report->device; image; image = image->parent) {
		block_describe(image, &details);
		report->damaged |= !!details.problems[0];
	}
}

/* ---- for people ---- */

/* @format: NULL: was not found out */
static void print_damage(const char *path, const char *format, const char *reason)
{
	printf("%s: is %s: %s\n", path,
	       !format ? "damaged" : strcmp(format, "vhd") ? "a damaged VHDX file" : "a damaged VHD file", reason);
}

static void print_findings(const struct findings *findings, const char *format)
{
	for (uint32_t i = 0; i < kept(findings); i++)
		print_damage(findings->path, format, findings->reasons[i]);
	if (findings->count > FINDINGS_MAX)
		printf("%s: and %" PRIu64 " more like these\n", findings->path, findings->count - FINDINGS_MAX);
}

static void print_image(const struct report *report, struct block_device *image)
{
	const struct findings *findings = findings_of(report, image->path);
	const char *format = image->driver->name;
	struct block_details details;

	block_describe(image, &details);
	for (int i = 0; i < BLOCK_DETAILS_LINES && details.notes[i]; i++)
		printf("%s: note: %s\n", image->path, details.notes[i]);
	for (int i = 0; i < BLOCK_DETAILS_LINES && details.problems[i]; i++)
		print_damage(image->path, format, details.problems[i]);
	if (findings)
		print_findings(findings, format);
	if (findings || details.problems[0])
		return;
	if (details.kind)
		printf("%s: %s (%s, %s)\n", image->path,
		       report->repaired && image == report->device ? "repaired" : "no damage", format, details.kind);
	else
		printf("%s: is raw: there is nothing but contents, and these are not checked\n", image->path);
}

static void print_report(const struct report *report)
{
	for (struct block_device *image = report->device; image; image = image->parent)
		print_image(report, image);
	for (const struct findings *findings = report->findings; findings && !report->device; findings = findings->next)
		print_findings(findings, NULL);
	if (report->result)
		printf("%s\n", report->error);
}

/* ---- for programs ---- */

static struct json_object *image_json(const struct report *report, const char *path, struct block_device *image)
{
	struct json_object *object = json_object_new_object(), *problems;
	const struct findings *findings = findings_of(report, path);
	struct block_details details = { .kind = NULL };
	uint64_t count;

	if (image)
		block_describe(image, &details);
	problems = disk_lines_json(details.problems);
	count = json_object_array_length(problems) + (findings ? findings->count : 0);
	for (uint32_t i = 0; findings && i < kept(findings); i++)
		json_object_array_add(problems, json_object_new_string(findings->reasons[i]));
	json_object_object_add(object, "path", json_object_new_string(path));
	json_object_object_add(object, "format", image ? json_object_new_string(image->driver->name) : NULL);
	json_object_object_add(object, "kind", details.kind ? json_object_new_string(details.kind) : NULL);
	json_object_object_add(object, "problem_count", json_object_new_uint64(count));
	json_object_object_add(object, "problems", problems);
	json_object_object_add(object, "notes", disk_lines_json(details.notes));
	return object;
}

static void print_json(const struct report *report, const char *path)
{
	struct json_object *object = json_object_new_object(), *images = json_object_new_array();

	for (struct block_device *image = report->device; image; image = image->parent)
		json_object_array_add(images, image_json(report, image->path, image));
	for (const struct findings *findings = report->findings; findings && !report->device; findings = findings->next)
		json_object_array_add(images, image_json(report, findings->path, NULL));
	json_object_object_add(object, "path", json_object_new_string(path));
	json_object_object_add(object, "damaged", json_object_new_boolean(report->damaged));
	json_object_object_add(object, "repaired", json_object_new_boolean(report->repaired));
	json_object_object_add(object, "error", report->result ? json_object_new_string(report->error) : NULL);
	json_object_object_add(object, "images", images);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
	json_object_put(object);
}

/* ---- the whole ---- */

/* Tells what was found. Return: exit status. */
static int tell(const struct report *report, const struct disk_options *options)
{
	if (report->result && !report->damaged)
		return complain("%s", report->error);
	if (options->json)
		print_json(report, options->paths[0]);
	else
		print_report(report);
	return report->damaged ? LIS_EXIT_DAMAGED : LIS_EXIT_OK;
}

/* Opening for writing puts right what it can, and repairing the rest. */
static int repair(const struct disk_options *options)
{
	const struct block_open_options open_options = { .format = options->format };
	char error[BLOCK_ERROR_BYTES];
	struct block_device *device;
	int result, closed;

	if (block_open(options->paths[0], &open_options, &device, error))
		return complain("%s", error);
	result = block_repair(device);
	closed = block_close(device);
	if (result || closed)
		return complain("%s: cannot be repaired: %s", options->paths[0],
				lis_error_text(result ? result : closed));
	return LIS_EXIT_OK;
}

int disk_check(const struct disk_options *options)
{
	struct report report;
	int status, before;
	bool mend;

	look(options, 0, &report);
	before = report.own_count;
	/* Blocks that are lost, of the image or of a parent, are beyond mending. */
	mend = options->repair && before && !report.findings;
	status = mend && options->json ? LIS_EXIT_OK : tell(&report, options);
	report_fini(&report);
	if (!mend)
		return status;
	status = repair(options);
	if (status)
		return status;
	look(options, before, &report);
	status = tell(&report, options);
	report_fini(&report);
	return status;
}
