// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Records changes of files and makes what a power cut may leave: see power_cut.h.
 *
 * For each file there is a copy with what is durable, and for all together one list of the changes that
 * are not, in order. A flush moves a file's changes from the list into its copy.
 */
#include "tests/unit/storage/power_cut.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/storage/sim_io.h"

#define SECTOR 512u
#define PAGE 4096u
#define FILES_MAX 32
#define PATH_BYTES 320

struct file {
	dev_t device;
	ino_t inode;
	int durable; /* a copy */
};

enum fate { LOST, KEPT, TORN };

struct change {
	struct file *file;
	bool resize;        /* to @bytes */
	bool certain;       /* lasts in any case */
	uint64_t at, bytes;
	uint8_t *data;      /* NULL: zeroes */
	enum fate fate;     /* in the state that is being made */
};

static struct {
	char folder[64], live[80], left[80];
	struct power_cut cut;
	bool on, busy;
	struct file files[FILES_MAX];
	uint32_t file_count;
	struct change *changes;
	uint32_t count, room;
	uint64_t states;
} all;

static void die(const char *what)
{
	perror(what);
	abort();
}

/* ---- files ---- */

static void copy_data(int from, int to)
{
	static uint8_t data[1 << 16];
	off_t at = 0, length = lseek(from, 0, SEEK_END);

	if (ftruncate(to, 0) || ftruncate(to, length))
		die("ftruncate");
	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(from, at, SEEK_HOLE);

		while (at < end) {
			size_t bytes = end - at < (off_t)sizeof(data) ? (size_t)(end - at) : sizeof(data);

			if (pread(from, data, bytes, at) != (ssize_t)bytes ||
			    pwrite(to, data, bytes, at) != (ssize_t)bytes)
				die("copying");
			at += (off_t)bytes;
		}
	}
}

static struct file *find_file(const struct stat *status)
{
	for (uint32_t i = 0; i < all.file_count; i++)
		if (all.files[i].inode == status->st_ino && all.files[i].device == status->st_dev)
			return &all.files[i];
	return NULL;
}

static struct file *add_file(const struct stat *status)
{
	struct file *file = &all.files[all.file_count++];

	if (all.file_count > FILES_MAX)
		abort();
	*file = (struct file){ .device = status->st_dev, .inode = status->st_ino };
	file->durable = memfd_create("durable", MFD_CLOEXEC);
	if (file->durable < 0)
		die("memfd_create");
	return file;
}

/* The file behind a descriptor, if it is in the folder. */
static struct file *file_of(int fd)
{
	char link[64], path[PATH_BYTES];
	struct file *file;
	struct stat status;
	ssize_t bytes;

	if (all.busy || fstat(fd, &status))
		return NULL;
	file = find_file(&status);
	if (file)
		return file;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	bytes = readlink(link, path, sizeof(path) - 1);
	if (bytes <= 0)
		return NULL;
	path[bytes] = 0;
	return strncmp(path, all.live, strlen(all.live)) ? NULL : add_file(&status);
}

/* ---- what happens ---- */

static struct change *add_change(struct file *file)
{
	if (all.count == all.room) {
		all.room = all.room ? 2 * all.room : 256;
		all.changes = realloc(all.changes, all.room * sizeof(*all.changes));
		if (!all.changes)
			die("realloc");
	}
	all.changes[all.count] = (struct change){ .file = file };
	return &all.changes[all.count++];
}

static void apply(int fd, const struct change *change, uint64_t from, uint64_t bytes)
{
	off_t at = (off_t)(change->at + from);

	if (change->data) {
		if (pwrite(fd, change->data + from, bytes, at) != (ssize_t)bytes)
			die("pwrite");
	} else if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)bytes)) {
		die("fallocate"); /* holes may be long: written, they would fill the memory */
	}
}

static void apply_whole(int fd, const struct change *change)
{
	if (!change->resize)
		apply(fd, change, 0, change->bytes);
	else if (ftruncate(fd, (off_t)change->bytes))
		die("ftruncate");
}

static void on_written(int fd, const void *data, uint64_t bytes, uint64_t at, bool durable)
{
	struct file *file = file_of(fd);
	struct change *change;

	if (!file)
		return;
	change = add_change(file);
	change->at = at;
	change->bytes = bytes;
	if (data) {
		change->data = malloc(bytes);
		if (!change->data)
			die("malloc");
		memcpy(change->data, data, bytes);
	}
	if (durable) {
		power_cut_now();
		all.changes[all.count - 1].certain = true;
	}
}

static void on_resized(int fd, uint64_t bytes)
{
	struct file *file = file_of(fd);
	struct change *change;

	if (!file)
		return;
	change = add_change(file);
	change->resize = true;
	change->bytes = bytes;
}

static void on_flushing(int fd)
{
	struct file *file = file_of(fd);
	uint32_t kept = 0;

	if (!file)
		return;
	power_cut_now();
	for (uint32_t i = 0; i < all.count; i++) {
		struct change *change = &all.changes[i];

		if (change->file != file) {
			all.changes[kept++] = *change;
			continue;
		}
		apply_whole(file->durable, change);
		free(change->data);
	}
	all.count = kept;
}

/* ---- states ---- */

static void apply_torn(int fd, const struct change *change)
{
	/* A long hole in a hundred pieces. */
	uint64_t unit = change->data || change->bytes < 100 * PAGE ? SECTOR : change->bytes / 100 / PAGE * PAGE;
	uint64_t page = UINT64_MAX;
	bool page_kept = false;

	for (uint64_t from = 0; from < change->bytes;) {
		uint64_t at = change->at + from, bytes = unit - at % unit;

		if (bytes > change->bytes - from)
			bytes = change->bytes - from;
		/* Sectors of one page mostly share their fate. */
		if (at / PAGE != page) {
			page = at / PAGE;
			page_kept = sim_pick(2);
		}
		if (sim_pick(8) ? page_kept : sim_pick(2))
			apply(fd, change, from, bytes);
		from += bytes;
	}
}

/* The length a file has if what was written behind its end left no trace. */
static uint64_t length_without(const struct file *file)
{
	uint64_t length = (uint64_t)lseek(file->durable, 0, SEEK_END);

	for (uint32_t i = 0; i < all.count; i++) {
		const struct change *change = &all.changes[i];

		if (change->file != file || (change->fate == LOST && !change->certain))
			continue;
		if (change->resize)
			length = change->bytes;
		else if (change->certain && length < change->at + change->bytes)
			length = change->at + change->bytes;
	}
	return length;
}

static void make_file(const char *name, const struct file *file, bool end_lost)
{
	char path[PATH_BYTES + 80];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", all.left, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	copy_data(file->durable, fd);
	for (uint32_t i = 0; i < all.count; i++) {
		const struct change *change = &all.changes[i];

		if (change->file != file)
			continue;
		if (change->fate == TORN && !change->certain && !change->resize)
			apply_torn(fd, change);
		else if (change->fate != LOST || change->certain)
			apply_whole(fd, change);
	}
	if (end_lost && lseek(fd, 0, SEEK_END) > (off_t)length_without(file) &&
	    ftruncate(fd, (off_t)length_without(file)))
		die("ftruncate");
	close(fd);
}

static void for_each_name(const char *folder, void (*fn)(const char *path, const char *name, void *arg), void *arg)
{
	char path[PATH_BYTES + 80];
	DIR *directory = opendir(folder);
	struct dirent *entry;

	if (!directory)
		die(folder);
	while ((entry = readdir(directory))) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] != '.')
			fn(path, entry->d_name, arg);
	}
	closedir(directory);
}

static void remove_name(const char *path, const char *name, void *arg)
{
	unlink(path);
}

static void leave_name(const char *path, const char *name, void *arg)
{
	struct file *file;
	struct stat status;

	if (stat(path, &status))
		die(path);
	file = find_file(&status);
	/* New, and nothing was ever written to it. */
	if (!file)
		file = add_file(&status);
	make_file(name, file, *(bool *)arg);
}

/* A change of length lasts only if those of the same file before it do. */
static void order_lengths(void)
{
	for (uint32_t i = 0; i < all.count; i++) {
		if (!all.changes[i].resize || all.changes[i].fate != LOST)
			continue;
		for (uint32_t k = i + 1; k < all.count; k++)
			if (all.changes[k].resize && all.changes[k].file == all.changes[i].file)
				all.changes[k].fate = LOST;
	}
}

static void make_state(void)
{
	bool end_lost = sim_pick(3) == 0;

	order_lengths();
	for_each_name(all.left, remove_name, NULL);
	for_each_name(all.live, leave_name, &end_lost);
	all.states++;
	all.cut.check(all.left, all.cut.context);
}

static void all_fates(enum fate fate)
{
	for (uint32_t i = 0; i < all.count; i++)
		all.changes[i].fate = fate;
}

/* One state of many; the first are the plain ones. */
static void sample(uint32_t number)
{
	uint64_t one = sim_pick(all.count), part = sim_pick(5);

	switch (number < 3 ? number : 3 + sim_pick(4)) {
	case 0:
		all_fates(LOST);
		break;
	case 1:
		all_fates(KEPT);
		break;
	case 2: /* as if it had been written in order, up to the middle of one */
	case 3:
		for (uint32_t i = 0; i < all.count; i++)
			all.changes[i].fate = i < one ? KEPT : i == one ? TORN : LOST;
		break;
	case 4: /* one came late */
		all_fates(KEPT);
		all.changes[one].fate = sim_pick(2) ? LOST : TORN;
		break;
	case 5: /* one came early */
		all_fates(LOST);
		all.changes[one].fate = sim_pick(2) ? KEPT : TORN;
		break;
	default:
		for (uint32_t i = 0; i < all.count; i++)
			all.changes[i].fate = sim_pick(6) == 0 ? TORN : sim_pick(4) < part ? KEPT : LOST;
	}
	make_state();
}

/* Every combination of what is not certain. */
static void combine(const uint32_t *open, uint32_t count)
{
	for (uint32_t bits = 0; bits < 1u << count; bits++) {
		for (uint32_t i = 0; i < count; i++)
			all.changes[open[i]].fate = bits >> i & 1 ? KEPT : LOST;
		make_state();
	}
}

void power_cut_now(void)
{
	uint32_t open[16], count = 0;

	if (!all.on || all.busy)
		return;
	all.busy = true;
	for (uint32_t i = 0; i < all.count && count <= all.cut.combine; i++) {
		if (!all.changes[i].certain && count < 16)
			open[count] = i;
		count += !all.changes[i].certain;
	}
	if (count <= all.cut.combine && count <= 16)
		combine(open, count);
	for (uint32_t i = 0; count && i < all.cut.samples; i++)
		if (i >= 2 || count > all.cut.combine)
			sample(i);
	all.busy = false;
}

/* ---- life ---- */

uint64_t power_cut_state(void)
{
	return all.states;
}

uint64_t power_cut_end(void)
{
	sim_watch(NULL);
	all.on = false;
	for (uint32_t i = 0; i < all.count; i++)
		free(all.changes[i].data);
	for (uint32_t i = 0; i < all.file_count; i++)
		close(all.files[i].durable);
	free(all.changes);
	all.changes = NULL;
	all.count = all.room = all.file_count = 0;
	return all.states;
}

void power_cut_teardown(void)
{
	if (!all.folder[0])
		return;
	all.busy = false;
	power_cut_end();
	for_each_name(all.live, remove_name, NULL);
	for_each_name(all.left, remove_name, NULL);
	rmdir(all.live);
	rmdir(all.left);
	rmdir(all.folder);
	all.folder[0] = 0;
}

void power_cut_setup(void)
{
	power_cut_teardown();
	snprintf(all.folder, sizeof(all.folder), "%s/lis-cut.XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(all.folder))
		die(all.folder);
	snprintf(all.live, sizeof(all.live), "%s/live", all.folder);
	snprintf(all.left, sizeof(all.left), "%s/left", all.folder);
	if (mkdir(all.live, 0700) || mkdir(all.left, 0700))
		die(all.folder);
}

const char *power_cut_folder(void)
{
	return all.live;
}

static void take_name(const char *path, const char *name, void *arg)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status))
		die(path);
	copy_data(fd, add_file(&status)->durable);
	close(fd);
}

void power_cut_begin(const struct power_cut *cut)
{
	static const struct sim_watch watch = {
		.written = on_written,
		.resized = on_resized,
		.flushing = on_flushing,
	};

	all.cut = *cut;
	all.states = 0;
	for_each_name(all.live, take_name, NULL);
	all.on = true;
	sim_watch(&watch);
}
