// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* An event loop and system calls that tests see through and can make fail: see sim_io.h. */
#include "tests/unit/storage/sim_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/loop.h"
#include "tests/unit/storage/block_io.h"

#define PENDING_MAX 256u
#define SECTOR 512u

static struct {
	uint64_t random;
	const struct sim_watch *watch;
	bool inside; /* the watch is running */
	struct sim_fault fault;
	uint64_t seen;
	uint64_t now_ns;
} sim;

void sim_watch(const struct sim_watch *watch)
{
	sim.watch = watch;
	sim.inside = false;
}

void sim_seed(uint64_t seed)
{
	sim.random = seed;
}

uint64_t sim_pick(uint64_t below)
{
	return block_random(&sim.random) % below;
}

void sim_fault(const struct sim_fault *fault)
{
	sim.fault = fault ? *fault : (struct sim_fault){ .kinds = 0 };
	sim.seen = 0;
}

uint64_t sim_faults_seen(void)
{
	return sim.seen;
}

/* Does the fault meet this one? Shortens *@bytes, or sets errno and returns true. */
static bool meets_fault(enum sim_kind kind, uint64_t at, size_t *bytes)
{
	struct sim_fault *fault = &sim.fault;

	if (sim.inside || !(fault->kinds & kind) ||
	    (fault->to_bytes && (at < fault->from_bytes || at >= fault->to_bytes)))
		return false;
	if (fault->skip) {
		fault->skip--;
		return false;
	}
	if (!fault->posix) {
		if (!bytes || *bytes <= SECTOR)
			return false;
		*bytes = SECTOR * (1 + sim_pick(*bytes / SECTOR - (*bytes % SECTOR == 0)));
	}
	sim.seen++;
	if (fault->count && !--fault->count)
		fault->kinds = 0;
	errno = fault->posix;
	return fault->posix;
}

/* ---- system calls ---- */

static void tell_written(int fd, const void *data, uint64_t bytes, uint64_t at, bool durable)
{
	if (!sim.watch || sim.inside)
		return;
	sim.inside = true;
	sim.watch->written(fd, data, bytes, at, durable);
	sim.inside = false;
}

static ssize_t write_some(int fd, const void *data, size_t bytes, off_t at, bool durable)
{
	ssize_t done;

	if (meets_fault(SIM_WRITE, (uint64_t)at, &bytes))
		return -1;
	done = syscall(SYS_pwrite64, fd, data, bytes, at);
	if (done > 0)
		tell_written(fd, data, (uint64_t)done, (uint64_t)at, durable);
	return done;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
	return write_some(fd, data, bytes, at, false);
}

ssize_t pread(int fd, void *data, size_t bytes, off_t at)
{
	if (meets_fault(SIM_READ, (uint64_t)at, &bytes))
		return -1;
	return syscall(SYS_pread64, fd, data, bytes, at);
}

/* Faults are the disk's: what they may hit is not in the page cache. */
ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
	if (sim.fault.kinds & SIM_READ) {
		errno = EAGAIN;
		return -1;
	}
	return syscall(SYS_preadv2, fd, iov, count, at, 0, flags);
}

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t bytes, unsigned flags)
{
	static char data[1 << 16];
	ssize_t done;

	if (!from_at || !to_at) {
		errno = EINVAL;
		return -1;
	}
	done = pread(from, data, bytes < sizeof(data) ? bytes : sizeof(data), *from_at);
	if (done > 0)
		done = pwrite(to, data, (size_t)done, *to_at);
	if (done > 0) {
		*from_at += done;
		*to_at += done;
	}
	return done;
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
	off_t end = lseek(fd, 0, SEEK_END);
	int result;

	if (meets_fault(SIM_SPACE, (uint64_t)at, NULL))
		return -1;
	result = (int)syscall(SYS_fallocate, fd, mode, at, bytes);
	if (result)
		return result;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		if (at < end)
			tell_written(fd, NULL, (uint64_t)(at + bytes < end ? bytes : end - at), (uint64_t)at, false);
	} else if (sim.watch && !sim.inside && lseek(fd, 0, SEEK_END) > end) {
		sim.inside = true;
		sim.watch->resized(fd, (uint64_t)lseek(fd, 0, SEEK_END));
		sim.inside = false;
	}
	return 0;
}

int ftruncate(int fd, off_t bytes)
{
	int result;

	if (meets_fault(SIM_SPACE, (uint64_t)bytes, NULL))
		return -1;
	result = (int)syscall(SYS_ftruncate, fd, bytes);
	if (!result && sim.watch && !sim.inside) {
		sim.inside = true;
		sim.watch->resized(fd, (uint64_t)bytes);
		sim.inside = false;
	}
	return result;
}

static int flush(int fd)
{
	if (meets_fault(SIM_FLUSH, 0, NULL))
		return -1;
	if (sim.watch && !sim.inside) {
		sim.inside = true;
		sim.watch->flushing(fd);
		sim.inside = false;
	}
	return 0; /* what lasts is the test's business, not that of the disk below it */
}

int fdatasync(int fd)
{
	return flush(fd);
}

int fsync(int fd)
{
	return flush(fd);
}

/* ---- the loop ---- */

struct io_loop {
	struct io_uring_sqe pending[PENDING_MAX];
	uint32_t count;
	struct io_timer *timers;
};

static int32_t do_rw(const struct io_uring_sqe *sqe, const struct iovec *iov, uint32_t count, bool write)
{
	uint64_t at = sqe->off;
	int32_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		ssize_t done = write ? write_some(sqe->fd, iov[i].iov_base, iov[i].iov_len, (off_t)at,
						  sqe->rw_flags & RWF_DSYNC) :
				       pread(sqe->fd, iov[i].iov_base, iov[i].iov_len, (off_t)at);

		if (done < 0)
			return sum ? sum : -errno;
		at += (uint64_t)done;
		sum += (int32_t)done;
		if ((size_t)done < iov[i].iov_len)
			break;
	}
	return sum;
}

static int32_t perform(const struct io_uring_sqe *sqe)
{
	struct iovec one = { (void *)(uintptr_t)sqe->addr, sqe->len };
	int result;

	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
		return do_rw(sqe, &one, 1, sqe->opcode == IORING_OP_WRITE);
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
		return do_rw(sqe, one.iov_base, sqe->len, sqe->opcode == IORING_OP_WRITEV);
	case IORING_OP_FSYNC:
		result = flush(sqe->fd);
		break;
	case IORING_OP_FALLOCATE:
		result = fallocate(sqe->fd, (int)sqe->len, (off_t)sqe->off, (off_t)sqe->addr);
		break;
	case IORING_OP_NOP:
		return 0;
	default:
		abort();
	}
	return result < 0 ? -errno : 0;
}

int io_loop_create(const struct io_loop_config *config, struct io_loop **out_loop)
{
	*out_loop = calloc(1, sizeof(**out_loop));
	return *out_loop ? 0 : -LIS_NOMEM;
}

void io_loop_destroy(struct io_loop *loop)
{
	free(loop);
}

struct io_uring_sqe *io_loop_sqe(struct io_loop *loop, struct io_op *op)
{
	struct io_uring_sqe *sqe;

	if (loop->count == PENDING_MAX)
		abort();
	sqe = &loop->pending[loop->count++];
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t)op;
	return sqe;
}

void io_loop_call(struct io_loop *loop, struct io_call *call)
{
	call->fn(call);
}

void io_loop_call_wait(struct io_loop *loop, void (*fn)(void *arg), void *arg)
{
	fn(arg);
}

bool io_loop_is_current(const struct io_loop *loop)
{
	return true;
}

uint64_t io_loop_now_ns(const struct io_loop *loop)
{
	return sim.now_ns;
}

void io_timer_cancel(struct io_timer *timer)
{
	struct io_timer **at;

	if (!timer->due_ns)
		return;
	for (at = &timer->loop->timers; *at != timer; at = &(*at)->next)
		;
	*at = timer->next;
	timer->due_ns = 0;
}

void io_timer_set(struct io_timer *timer, struct io_loop *loop, uint64_t due_ns)
{
	struct io_timer **at;

	io_timer_cancel(timer);
	timer->loop = loop;
	timer->due_ns = due_ns ? due_ns : 1;
	for (at = &loop->timers; *at && (*at)->due_ns <= timer->due_ns; at = &(*at)->next)
		;
	timer->next = *at;
	*at = timer;
}

/* Time passes only where there is nothing else to do. */
static bool expire_one(struct io_loop *loop)
{
	struct io_timer *timer = loop->timers;

	if (!timer)
		return false;
	if (sim.now_ns < timer->due_ns)
		sim.now_ns = timer->due_ns;
	loop->timers = timer->next;
	timer->due_ns = 0;
	timer->expired(timer);
	return true;
}

bool io_loop_turn(struct io_loop *loop, bool wait)
{
	struct io_uring_sqe sqe;
	struct io_op *op;
	uint64_t index;

	if (!loop->count)
		return expire_one(loop);
	index = sim_pick(loop->count);
	sqe = loop->pending[index];
	loop->pending[index] = loop->pending[--loop->count];
	op = (struct io_op *)(uintptr_t)sqe.user_data;
	op->done(op, perform(&sqe));
	return true;
}

/* Threads and sockets have no place here: what needs them is not tested on this loop. */
int io_loop_start(struct io_loop *loop)
{
	return -LIS_UNSUPPORTED;
}

void io_loop_join(struct io_loop *loop)
{
}

void io_fd_start(struct io_fd *fd, struct io_loop *loop, int descriptor)
{
	abort();
}

void io_fd_poll(struct io_fd *fd, uint32_t poll_events)
{
	abort();
}

void io_fd_stop(struct io_fd *fd, struct io_call *stopped)
{
	abort();
}
