// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The directory of running VMs.
 *
 * Invariant: who holds the lock on the file that NAME.lock names at that moment owns NAME. Files
 * are removed only by who holds that lock; since a file may be removed between open and lock, who
 * gets a lock looks once more whether the name still means the same file.
 */
#include "control/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/error.h"

#define LOCK_TRIES 16
/* [policy] Somebody who lists VMs holds the lock of a dead one for a moment. */
#define CLAIM_TRIES 5
#define CLAIM_WAIT_US 10000

static int fail(int code, char *error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(int code, char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, REGISTRY_ERROR_BYTES, format, args);
	va_end(args);
	return code;
}

bool registry_name_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= REGISTRY_NAME_BYTES || *name == '.' || *name == '-')
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
	       length;
}

static int check_name(const char *name, char *error)
{
	if (registry_name_valid(name))
		return 0;
	return fail(-LIS_INVALID, error,
		    "'%.80s': a VM's name is 1 to 64 letters, digits, '.', '_' or '-', "
		    "and begins with a letter, digit or '_'", name);
}

static int directory_path(char *path, size_t bytes, char *error)
{
	const char *base = getenv("LIS_RUNTIME_DIR");
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (base && *base)
		n = snprintf(path, bytes, "%s", base);
	else if (geteuid() == 0)
		n = snprintf(path, bytes, "/run/lis");
	else if (xdg && *xdg)
		n = snprintf(path, bytes, "%s/lis", xdg);
	else
		n = snprintf(path, bytes, "/tmp/lis-%u", (unsigned)geteuid());
	if (n < 0 || (size_t)n >= bytes)
		return fail(-LIS_INVALID, error,
			    "the path of the runtime directory is too long: "
			    "set LIS_RUNTIME_DIR to a short one");
	return 0;
}

/*
 * Opens the directory, making it if asked. Returns its descriptor, or a negative code; where it
 * does not exist and must not be made that is -LIS_NOTFOUND.
 */
static int open_directory(char *path, bool make, char *error)
{
	struct stat st;
	int fd, err;

	err = directory_path(path, REGISTRY_PATH_BYTES, error);
	if (err)
		return err;
	if (make && mkdir(path, 0700) && errno != EEXIST)
		return fail(lis_error_from_errno(errno), error, "%s: cannot make the directory: %s",
			    path, strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(lis_error_from_errno(errno), error, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 022)) {
		close(fd);
		return fail(-LIS_DENIED, error,
			    "%s: belongs to somebody else or others may write there; "
			    "remove it or set LIS_RUNTIME_DIR",
			    path);
	}
	return fd;
}

static bool same_file(int fd, int directory, const char *file)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 &&
	       fstatat(directory, file, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

static pid_t read_pid(int fd)
{
	char text[24];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = 0;
	return (pid_t)strtol(text, NULL, 10);
}

/* What try_lock() found. */
enum lock_result { LOCK_TAKEN, LOCK_HELD_BY_OTHER, LOCK_NO_FILE, LOCK_FAILED };

/*
 * Locks an existing lock file (or a new one, with O_CREAT in @flags). With LOCK_TAKEN and
 * LOCK_HELD_BY_OTHER @out_fd is open.
 */
static enum lock_result try_lock(int directory, const char *file, int flags, int *out_fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		int fd = openat(directory, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);

		if (fd < 0)
			return errno == ENOENT ? LOCK_NO_FILE : LOCK_FAILED;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			*out_fd = fd;
			if (errno == EWOULDBLOCK)
				return LOCK_HELD_BY_OTHER;
			close(fd);
			return LOCK_FAILED;
		}
		if (same_file(fd, directory, file)) {
			*out_fd = fd;
			return LOCK_TAKEN;
		}
		close(fd); /* its owner removed it meanwhile */
	}
	errno = EAGAIN;
	return LOCK_FAILED;
}

static int set_paths(struct registry_claim *claim, const char *directory, const char *name,
		     char *error)
{
	int n = snprintf(claim->socket_path, sizeof(claim->socket_path), "%s/%s.sock", directory,
			 name);
	int m = snprintf(claim->lock_path, sizeof(claim->lock_path), "%s/%s.lock", directory, name);

	snprintf(claim->name, sizeof(claim->name), "%s", name);
	if (n >= (int)sizeof(claim->socket_path) || m >= (int)sizeof(claim->lock_path))
		return fail(-LIS_INVALID, error,
			    "%s/%s.sock is too long for a socket: take a shorter name", directory, name);
	return 0;
}

static enum lock_result claim_lock(int directory, const char *file, int *out_fd)
{
	enum lock_result result = try_lock(directory, file, O_CREAT, out_fd);

	for (int i = 1; i < CLAIM_TRIES && result == LOCK_HELD_BY_OTHER; i++) {
		close(*out_fd);
		usleep(CLAIM_WAIT_US);
		result = try_lock(directory, file, O_CREAT, out_fd);
	}
	return result;
}

int registry_claim(const char *name, struct registry_claim *out_claim, char *error)
{
	struct registry_claim claim = { .lock_fd = -1 };
	char path[REGISTRY_PATH_BYTES], pid[24];
	int directory, err, fd = -1, n;

	err = check_name(name, error);
	if (err)
		return err;
	directory = open_directory(path, true, error);
	if (directory < 0)
		return directory;
	err = set_paths(&claim, path, name, error);
	if (err)
		goto close_directory;
	switch (claim_lock(directory, strrchr(claim.lock_path, '/') + 1, &fd)) {
	case LOCK_TAKEN:
		break;
	case LOCK_HELD_BY_OTHER:
		err = fail(-LIS_BUSY, error, "a VM named '%s' is running already (process %d)", name,
			   (int)read_pid(fd));
		close(fd);
		goto close_directory;
	default:
		err = fail(lis_error_from_errno(errno), error, "%s: %s", claim.lock_path,
			   strerror(errno));
		goto close_directory;
	}
	unlink(claim.socket_path);
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)n, 0) != n) {
		err = fail(lis_error_from_errno(errno), error, "%s: %s", claim.lock_path,
			   strerror(errno));
		unlink(claim.lock_path);
		close(fd);
		goto close_directory;
	}
	claim.lock_fd = fd;
	*out_claim = claim;
close_directory:
	close(directory);
	return err;
}

void registry_release(struct registry_claim *claim)
{
	if (claim->lock_fd < 0)
		return;
	unlink(claim->socket_path);
	unlink(claim->lock_path);
	close(claim->lock_fd);
	claim->lock_fd = -1;
}

/* Is a VM of that name running? Removes what a dead one left. */
static bool is_running(int directory, const char *name, pid_t *out_pid)
{
	char file[REGISTRY_NAME_BYTES + 8];
	int fd;

	snprintf(file, sizeof(file), "%s.lock", name);
	switch (try_lock(directory, file, 0, &fd)) {
	case LOCK_TAKEN:
		unlinkat(directory, file, 0);
		snprintf(file, sizeof(file), "%s.sock", name);
		unlinkat(directory, file, 0);
		close(fd);
		return false;
	case LOCK_HELD_BY_OTHER:
		*out_pid = read_pid(fd);
		close(fd);
		return true;
	default:
		return false;
	}
}

int registry_find(const char *name, char *out_path, char *error)
{
	struct registry_claim paths = { .lock_fd = -1 };
	char path[REGISTRY_PATH_BYTES];
	int directory, err;
	pid_t pid;

	err = check_name(name, error);
	if (err)
		return err;
	directory = open_directory(path, false, error);
	if (directory == -LIS_NOTFOUND)
		return fail(-LIS_NOTFOUND, error, "no VM named '%s' is running", name);
	if (directory < 0)
		return directory;
	err = set_paths(&paths, path, name, error);
	if (!err && !is_running(directory, name, &pid))
		err = fail(-LIS_NOTFOUND, error, "no VM named '%s' is running", name);
	close(directory);
	if (!err)
		memcpy(out_path, paths.socket_path, REGISTRY_PATH_BYTES);
	return err;
}

/* "NAME.lock" with a valid NAME: copies NAME. */
static bool name_of_lock(const char *file, char name[REGISTRY_NAME_BYTES])
{
	size_t length = strlen(file);

	if (length <= 5 || length - 5 >= REGISTRY_NAME_BYTES || strcmp(file + length - 5, ".lock"))
		return false;
	memcpy(name, file, length - 5);
	name[length - 5] = 0;
	return registry_name_valid(name);
}

int registry_each(void (*each)(void *arg, const char *name, pid_t pid), void *arg, char *error)
{
	char path[REGISTRY_PATH_BYTES];
	struct dirent **entries;
	int directory, count;

	directory = open_directory(path, false, error);
	if (directory == -LIS_NOTFOUND)
		return 0;
	if (directory < 0)
		return directory;
	count = scandirat(directory, ".", &entries, NULL, alphasort);
	if (count < 0) {
		close(directory);
		return fail(lis_error_from_errno(errno), error, "%s: %s", path, strerror(errno));
	}
	for (int i = 0; i < count; i++) {
		char name[REGISTRY_NAME_BYTES];
		pid_t pid;

		if (name_of_lock(entries[i]->d_name, name) && is_running(directory, name, &pid))
			each(arg, name, pid);
		free(entries[i]);
	}
	free(entries);
	close(directory);
	return 0;
}
