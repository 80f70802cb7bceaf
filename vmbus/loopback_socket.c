// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Messages with file descriptors over the socket between two ends of a loopback partition. */
#include "vmbus/loopback_private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX LOOPBACK_WELCOME_FDS(LOOPBACK_VPS_MAX)

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

int loopback_send(int fd, const void *bytes, size_t byte_count, const int *fds, size_t fd_count)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = byte_count };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control = { 0 };
	ssize_t sent;

	if (fd_count > 0) {
		struct cmsghdr *head;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, fd_count * sizeof(int));
	}
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)byte_count ? 0 : -LIS_GONE;
}

/* Keep the descriptors there is room for and close the others. */
static void take_fds(const struct cmsghdr *head, int *fds, size_t room, size_t *count)
{
	size_t came = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < came; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
		if (*count < room)
			fds[(*count)++] = fd;
		else
			close(fd);
	}
}

int loopback_receive(int fd, void *bytes, size_t bytes_max, int *fds, size_t *fd_count)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = bytes_max };
	union control control;
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	size_t room = *fd_count;
	ssize_t received;

	*fd_count = 0;
	do {
		received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	} while (received < 0 && errno == EINTR);
	if (received < 0)
		return -LIS_GONE;
	for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head;
	     head = CMSG_NXTHDR(&message, head))
		if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
			take_fds(head, fds, room, fd_count);
	return (int)received;
}
