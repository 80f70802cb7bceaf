// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The user's end of the control socket. */
#include "control/client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control/protocol.h"
#include "io/error.h"

#define ANSWER_BYTES_MAX (16u << 20) /* [policy] a VM that says more is none */

struct control_client {
	int fd;
	char *buffer;
	size_t buffer_bytes, buffer_bytes_max;
	uint64_t last_id;
	int fds[CONTROL_FDS_MAX]; /* that came and nobody has taken */
	unsigned fd_count;
};

static int fail(int code, char *error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(int code, char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, CONTROL_CLIENT_ERROR_BYTES, format, args);
	va_end(args);
	return code;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for @events; @deadline_ms negative: for ever. */
static int wait_for(struct control_client *client, short events, int64_t deadline_ms, char *error)
{
	for (;;) {
		struct pollfd pollfd = { .fd = client->fd, .events = events };
		int64_t left_ms = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
		int n;

		if (deadline_ms >= 0 && left_ms <= 0)
			return fail(-LIS_TIMEOUT, error, "the VM did not answer in time");
		n = poll(&pollfd, 1, (int)left_ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return fail(-LIS_IO, error, "poll: %s", strerror(errno));
	}
}

static int grow(struct control_client *client, char *error)
{
	size_t bytes = client->buffer_bytes_max ? client->buffer_bytes_max * 2 : 4096;
	char *buffer;

	if (bytes > ANSWER_BYTES_MAX)
		return fail(-LIS_FORMAT, error, "the answer is too long");
	buffer = realloc(client->buffer, bytes);
	if (!buffer)
		return fail(-LIS_NOMEM, error, "out of memory");
	client->buffer = buffer;
	client->buffer_bytes_max = bytes;
	return 0;
}

static void forget_fds(struct control_client *client)
{
	while (client->fd_count)
		close(client->fds[--client->fd_count]);
}

/* Those that are too many are not for us. */
static void keep_fds(struct control_client *client, struct msghdr *message)
{
	struct cmsghdr *at;

	for (at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
		size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(at) + i * sizeof(fd), sizeof(fd));
			if (client->fd_count < CONTROL_FDS_MAX)
				client->fds[client->fd_count++] = fd;
			else
				close(fd);
		}
	}
}

static ssize_t receive_some(struct control_client *client)
{
	struct iovec iov = { client->buffer + client->buffer_bytes,
			     client->buffer_bytes_max - client->buffer_bytes };
	union {
		char bytes[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} extra;
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &extra,
		.msg_controllen = sizeof(extra),
	};
	ssize_t n = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0)
		keep_fds(client, &message);
	return n;
}

/* Reads one line and parses it. */
static int read_object(struct control_client *client, int64_t deadline_ms,
		       struct json_object **out_object, char *error)
{
	struct json_object *object;
	char *end;
	int err;

	while (!(end = client->buffer ? memchr(client->buffer, '\n', client->buffer_bytes) : NULL)) {
		ssize_t n;

		if (client->buffer_bytes == client->buffer_bytes_max) {
			err = grow(client, error);
			if (err)
				return err;
		}
		err = wait_for(client, POLLIN, deadline_ms, error);
		if (err)
			return err;
		n = receive_some(client);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return fail(-LIS_GONE, error, "the VM hung up");
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return fail(-LIS_IO, error, "%s", strerror(errno));
		client->buffer_bytes += n > 0 ? (size_t)n : 0;
	}
	*end = 0;
	object = json_tokener_parse(client->buffer);
	client->buffer_bytes -= (size_t)(end + 1 - client->buffer);
	memmove(client->buffer, end + 1, client->buffer_bytes);
	if (!json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		return fail(-LIS_FORMAT, error, "the answer is not what a VM says");
	}
	*out_object = object;
	return 0;
}

/* If @object is an answer with an error, takes it over. */
static int check_error(struct json_object *object, char *error)
{
	struct json_object *member, *code = NULL, *message = NULL;
	const char *text;

	if (!json_object_object_get_ex(object, "error", &member))
		return 0;
	json_object_object_get_ex(member, "code", &code);
	json_object_object_get_ex(member, "message", &message);
	text = json_object_get_string(message);
	return fail(control_error_number(code ? json_object_get_string(code) : ""), error, "%s",
		    text ? text : "the VM gave no reason");
}

static int check_greeting(struct control_client *client, int64_t deadline_ms, char *error)
{
	struct json_object *object, *version;
	int err = read_object(client, deadline_ms, &object, error);

	if (err)
		return err;
	err = check_error(object, error);
	if (!err && !json_object_object_get_ex(object, "lis", &version))
		err = fail(-LIS_FORMAT, error, "what listens there is no VM");
	else if (!err && json_object_get_int(version) != CONTROL_PROTOCOL_VERSION)
		err = fail(-LIS_UNSUPPORTED, error,
			   "the VM speaks version %d of the control protocol, this program %d",
			   json_object_get_int(version), CONTROL_PROTOCOL_VERSION);
	json_object_put(object);
	return err;
}

int control_client_open(const char *socket_path, int timeout_ms, struct control_client **out_client,
			char *error)
{
	struct control_client *client = calloc(1, sizeof(*client));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err;

	if (!client)
		return fail(-LIS_NOMEM, error, "out of memory");
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(socket_path) >= sizeof(address.sun_path)) {
		err = fail(-LIS_INVALID, error, "%s: too long for a socket", socket_path);
		goto close_client;
	}
	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof(address))) {
		err = errno == ECONNREFUSED ? -LIS_NOTFOUND : lis_error_from_errno(errno);
		fail(err, error, "%s: %s", socket_path, strerror(errno));
		goto close_client;
	}
	err = check_greeting(client, timeout_ms < 0 ? -1 : now_ms() + timeout_ms, error);
	if (err)
		goto close_client;
	*out_client = client;
	return 0;

close_client:
	control_client_close(client);
	return err;
}

void control_client_close(struct control_client *client)
{
	if (!client)
		return;
	forget_fds(client);
	if (client->fd >= 0)
		close(client->fd);
	free(client->buffer);
	free(client);
}

unsigned control_client_take_fds(struct control_client *client, int out_fds[CONTROL_FDS_MAX])
{
	unsigned count = client->fd_count;

	memcpy(out_fds, client->fds, count * sizeof(*out_fds));
	client->fd_count = 0;
	return count;
}

static int write_object(struct control_client *client, struct json_object *object,
			int64_t deadline_ms, char *error)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	char *line = NULL;
	int bytes = text ? asprintf(&line, "%s\n", text) : -1, sent = 0, err = 0;

	if (bytes < 0)
		return fail(-LIS_NOMEM, error, "out of memory");
	while (!err && sent < bytes) {
		ssize_t n;

		err = wait_for(client, POLLOUT, deadline_ms, error);
		if (err)
			break;
		n = send(client->fd, line + sent, (size_t)(bytes - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			err = fail(-LIS_GONE, error, "the VM hung up");
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			err = fail(-LIS_IO, error, "%s", strerror(errno));
		sent += n > 0 ? (int)n : 0;
	}
	free(line);
	return err;
}

int control_client_call(struct control_client *client, const char *command,
			struct json_object *arguments, int timeout_ms,
			struct json_object **out_result, char *error)
{
	int64_t deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	struct json_object *object = json_object_new_object(), *result = NULL;
	int err;

	forget_fds(client);
	json_object_object_add(object, "id", json_object_new_uint64(++client->last_id));
	json_object_object_add(object, "command", json_object_new_string(command));
	json_object_object_add(object, "arguments", arguments ? arguments : json_object_new_object());
	err = write_object(client, object, deadline_ms, error);
	json_object_put(object);
	if (err)
		return err;
	err = read_object(client, deadline_ms, &object, error);
	if (err)
		return err;
	err = check_error(object, error);
	if (!err && !json_object_object_get_ex(object, "result", &result))
		err = fail(-LIS_FORMAT, error, "the answer has neither result nor error");
	if (!err && out_result)
		*out_result = json_object_get(result);
	json_object_put(object);
	return err;
}
