// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Locks on single bytes of the image, in the convention of QEMU's file driver, so that both sides
 * see each other: byte 100 + n is read-locked by whoever uses permission n, byte 200 + n by whoever
 * does not let others use it. Each side first locks its own bytes, then looks at the others'.
 *
 * Two that come at once would both see the other and both give up; a byte of ours decides the order.
 *
 * Source: [qemu 7.2 block/file-posix.c raw_apply_lock_bytes, raw_check_lock_bytes] byte numbers.
 */
#include "storage/images/lock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmbus/os.h"

/* QEMU's permissions, as bit numbers. */
enum permission { CONSISTENT_READ = 0, WRITE = 1, RESIZE = 3 };

#define USED_BYTE(permission) (100 + (permission))
#define UNSHARED_BYTE(permission) (200 + (permission))
#define ORDER_BYTE 300

#define ORDER_TRIES 100          /* [policy] */
#define ORDER_WAIT_NS 2000000    /* [policy] */

static int lock_byte(int fd, int command, short type, off_t byte)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	if (fcntl(fd, command, &lock) < 0)
		return -errno;
	return command == F_OFD_GETLK && lock.l_type != F_UNLCK ? -EAGAIN : 0;
}

/* Waits for others that are at this very moment; goes on without order if that takes too long. */
static void take_order(int fd, bool write)
{
	const struct timespec pause = { .tv_nsec = ORDER_WAIT_NS };

	for (int i = 0; i < ORDER_TRIES; i++) {
		int result = lock_byte(fd, F_OFD_SETLK, write ? F_WRLCK : F_RDLCK, ORDER_BYTE);

		if (result != -EAGAIN && result != -EACCES)
			return;
		nanosleep(&pause, NULL);
	}
}

/* Readers tolerate nobody who writes, writers neither. */
static const off_t own_bytes[] = { USED_BYTE(CONSISTENT_READ), UNSHARED_BYTE(WRITE),
				   UNSHARED_BYTE(RESIZE), USED_BYTE(WRITE), USED_BYTE(RESIZE) };

static int set_bytes(int fd, bool write)
{
	int count = write ? 5 : 3, result = 0;

	for (int i = 0; i < count && !result; i++)
		result = lock_byte(fd, F_OFD_SETLK, F_RDLCK, own_bytes[i]);
	return result;
}

static int take_bytes(int fd, int from, bool write)
{
	static const off_t others[] = { UNSHARED_BYTE(CONSISTENT_READ), USED_BYTE(WRITE),
					USED_BYTE(RESIZE), UNSHARED_BYTE(WRITE),
					UNSHARED_BYTE(RESIZE) };
	int count = write ? 5 : 3;
	int result = set_bytes(fd, write);

	if (from >= 0)
		lock_drop(from);
	for (int i = 0; i < count && !result; i++)
		result = lock_byte(fd, F_OFD_GETLK, F_WRLCK, others[i]);
	/* While this one has its bytes nobody else could come to write. */
	if (result && from >= 0)
		(void)set_bytes(from, false);
	return result;
}

/* ---- who has it ---- */

/* Does /proc/PID/fdinfo/FD tell of a lock by an open file? */
static bool has_lock(const char *pid, const char *fd)
{
	char path[300], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, fd);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = !strncmp(line, "lock:", 5) && strstr(line, "OFDLCK");
	fclose(file);
	return found;
}

static bool process_has_it(const char *pid, const struct stat *image, int own_fd)
{
	bool own = atoi(pid) == (int)getpid(), found = false;
	char path[300];
	struct dirent *entry;
	struct stat stat_fd;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	directory = opendir(path);
	if (!directory)
		return false;
	while (!found && (entry = readdir(directory))) {
		snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) || stat(path, &stat_fd))
			continue;
		if (stat_fd.st_ino != image->st_ino || stat_fd.st_dev != image->st_dev)
			continue;
		found = !(own && atoi(entry->d_name) == own_fd) && has_lock(pid, entry->d_name);
	}
	closedir(directory);
	return found;
}

static void name_holder(int fd, char *holder)
{
	struct dirent *entry;
	struct stat image;
	char path[300], name[17] = "";
	FILE *file;
	DIR *proc;

	holder[0] = 0;
	proc = fstat(fd, &image) ? NULL : opendir("/proc");
	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    process_has_it(entry->d_name, &image, fd))
			break;
	}
	if (entry && atoi(entry->d_name) == (int)getpid()) {
		snprintf(holder, LOCK_HOLDER_BYTES, "this process");
	} else if (entry) {
		snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file && fgets(name, sizeof(name), file))
			name[strcspn(name, "\n")] = 0;
		if (file)
			fclose(file);
		snprintf(holder, LOCK_HOLDER_BYTES, "%s (process %.10s)", name[0] ? name : "a program",
			 entry->d_name);
	}
	closedir(proc);
}

int lock_take(int fd, int from, const char *path, bool write, char *holder)
{
	int result;

	take_order(fd, write);
	result = take_bytes(fd, from, write);
	lock_byte(fd, F_OFD_SETLK, F_UNLCK, ORDER_BYTE);
	if (result == -EAGAIN || result == -EACCES) {
		name_holder(fd, holder);
		return -LIS_BUSY;
	}
	if (result)
		os_log(OS_LOG_WARNING, "%s: cannot be locked here (%s); nothing keeps others from using it",
		       path, strerror(-result));
	return 0;
}

void lock_drop(int fd)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(fd, F_OFD_SETLK, &all);
}
