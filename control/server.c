// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The control socket of a running VM.
 *
 * A client is half-duplex: while a command is unanswered, or its answer not wholly written, nothing
 * more is read. So it costs at most one line of input and one answer of memory, and a client that
 * does not read its answers stops being served without anybody waiting for it.
 *
 * Each client has three watched copies of its descriptor: for input, for output and for the
 * hang-up, which must be heard whatever else is waited for. It is freed when the loop has let go of
 * all three. An unanswered request outlives its client: request->client is NULL then.
 */
#include "control/server.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/protocol.h"
#include "io/error.h"

#define ACCEPTS_AT_ONCE 8 /* [policy] bounds a turn */
#define WATCHES 3

struct client;

struct watch {
	struct io_fd fd; /* first: callbacks get a pointer to it */
	struct io_call stopped;
	struct client *client;
};

struct client {
	struct control_server *server;
	struct client *next;
	int fd;
	struct watch input, output, hangup;
	unsigned watching;  /* of the three */
	bool closing;
	bool advancing;     /* advance() is running: do not enter it again */
	bool end_of_input;
	bool hung_up;       /* nobody is there to read answers */
	char *line;         /* CONTROL_LINE_BYTES_MAX */
	size_t line_bytes;
	char *answer;
	size_t answer_bytes, answer_sent;
	int fds[CONTROL_FDS_MAX]; /* to go with the answer's first byte */
	unsigned fd_count;
	struct control_request *request;
};

struct control_request {
	struct client *client; /* NULL: gone */
	struct json_object *id;
};

struct control_server {
	struct control_server_config config;
	char *vm_name, *version;
	int fd;
	struct io_fd listener;
	struct io_call listener_stopped;
	bool listening;
	struct client *clients;
	unsigned client_count;
	struct io_call *destroyed;
	bool destroying;
};

static void advance(struct client *client);

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

/* ---- end of clients and server ---- */

static void free_server_when_quiet(struct control_server *server)
{
	struct io_call *destroyed = server->destroyed;

	if (!server->destroying || server->listening || server->clients)
		return;
	free(server->vm_name);
	free(server->version);
	free(server);
	if (destroyed)
		destroyed->fn(destroyed);
}

static void free_client(struct client *client)
{
	struct control_server *server = client->server;
	struct client **at;

	for (at = &server->clients; *at != client; at = &(*at)->next)
		;
	*at = client->next;
	server->client_count--;
	close(client->fd);
	close_all(client->fds, client->fd_count);
	free(client->line);
	free(client->answer);
	free(client);
	free_server_when_quiet(server);
}

static void watch_stopped(struct io_call *call)
{
	struct watch *watch = (struct watch *)((char *)call - offsetof(struct watch, stopped));

	if (--watch->client->watching == 0)
		free_client(watch->client);
}

/* The client must not be touched by the caller's caller after this returns to the loop. */
static void close_client(struct client *client)
{
	if (client->closing)
		return;
	client->closing = true;
	if (client->request)
		client->request->client = NULL;
	client->request = NULL;
	io_fd_stop(&client->input.fd, &client->input.stopped);
	io_fd_stop(&client->output.fd, &client->output.stopped);
	io_fd_stop(&client->hangup.fd, &client->hangup.stopped);
}

/* ---- answers ---- */

static void set_answer(struct client *client, struct json_object *object)
{
	size_t bytes;
	const char *text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &bytes);
	char *answer = text ? malloc(bytes + 1) : NULL;

	if (!answer) {
		close_client(client);
		return;
	}
	memcpy(answer, text, bytes);
	answer[bytes] = '\n';
	free(client->answer);
	client->answer = answer;
	client->answer_bytes = bytes + 1;
	client->answer_sent = 0;
}

static void finish_request(struct control_request *request, const char *member,
			   struct json_object *value)
{
	struct client *client = request->client;
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "id", request->id);
	json_object_object_add(object, member, value);
	free(request);
	if (client) {
		client->request = NULL;
		set_answer(client, object);
		advance(client);
	}
	json_object_put(object);
}

void control_reply(struct control_request *request, struct json_object *result)
{
	finish_request(request, "result", result ? result : json_object_new_object());
}

void control_reply_fds(struct control_request *request, struct json_object *result, const int *fds,
		       unsigned count)
{
	struct client *client = request->client;

	if (client) {
		memcpy(client->fds, fds, count * sizeof(*fds));
		client->fd_count = count;
	} else {
		close_all(fds, count);
	}
	control_reply(request, result);
}

void control_reply_error(struct control_request *request, int error, const char *format, ...)
{
	struct json_object *object = json_object_new_object();
	char text[CONTROL_ERROR_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_object_object_add(object, "code", json_object_new_string(control_error_name(error)));
	json_object_object_add(object, "message", json_object_new_string(text));
	finish_request(request, "error", object);
}

bool control_request_abandoned(const struct control_request *request)
{
	return !request->client;
}

/* Descriptors go with what is sent first. */
static ssize_t send_some(struct client *client)
{
	struct iovec iov = { client->answer + client->answer_sent,
			     client->answer_bytes - client->answer_sent };
	union {
		char bytes[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} extra = { 0 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t fds_bytes = client->fd_count * sizeof(int);
	ssize_t n;

	if (client->fd_count) {
		message.msg_control = &extra;
		message.msg_controllen = CMSG_SPACE(fds_bytes);
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(fds_bytes),
							     .cmsg_level = SOL_SOCKET,
							     .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), client->fds, fds_bytes);
	}
	n = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0) {
		close_all(client->fds, client->fd_count);
		client->fd_count = 0;
	}
	return n;
}

/* Writes what the socket takes. True if all is written. */
static bool write_answer(struct client *client)
{
	while (client->answer_sent < client->answer_bytes) {
		ssize_t n = send_some(client);

		if (n > 0) {
			client->answer_sent += (size_t)n;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN) {
			io_fd_poll(&client->output.fd, POLLOUT);
			return false;
		} else {
			close_client(client);
			return false;
		}
	}
	free(client->answer);
	client->answer = NULL;
	client->answer_bytes = 0;
	return true;
}

/* ---- commands ---- */

static void dispatch(struct client *client, const char *line, size_t bytes)
{
	struct control_server *server = client->server;
	struct control_request *request = calloc(1, sizeof(*request));
	struct json_tokener *tokener = json_tokener_new_ex(CONTROL_JSON_DEPTH_MAX);
	struct json_object *object = NULL, *command = NULL, *arguments = NULL, *id = NULL;

	if (!request || !tokener) {
		free(request);
		close_client(client);
		goto free_tokener;
	}
	request->client = client;
	client->request = request;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, line, (int)bytes);
	if (!object && json_tokener_get_error(tokener) == json_tokener_continue)
		object = json_tokener_parse_ex(tokener, "", 1); /* a final NUL ends numbers */
	if (!json_object_is_type(object, json_type_object)) {
		control_reply_error(request, -LIS_FORMAT, "not a JSON object");
		goto put_object;
	}
	if (json_object_object_get_ex(object, "id", &id))
		request->id = json_object_get(id);
	if (!json_object_object_get_ex(object, "command", &command) ||
	    !json_object_is_type(command, json_type_string)) {
		control_reply_error(request, -LIS_INVALID, "no \"command\"");
		goto put_object;
	}
	if (json_object_object_get_ex(object, "arguments", &arguments) && arguments &&
	    !json_object_is_type(arguments, json_type_object)) {
		control_reply_error(request, -LIS_INVALID, "\"arguments\" is no object");
		goto put_object;
	}
	arguments = arguments ? json_object_get(arguments) : json_object_new_object();
	server->config.handle(server->config.owner, request, json_object_get_string(command),
			      arguments);
	json_object_put(arguments);
put_object:
	json_object_put(object);
free_tokener:
	if (tokener)
		json_tokener_free(tokener);
}

/* Handles the first line in the buffer. False if there is no whole one. */
static bool take_line(struct client *client)
{
	char *end = memchr(client->line, '\n', client->line_bytes);
	size_t bytes;

	if (!end)
		return false;
	bytes = (size_t)(end - client->line);
	dispatch(client, client->line, bytes);
	client->line_bytes -= bytes + 1;
	memmove(client->line, end + 1, client->line_bytes);
	return true;
}

/* Answers without a request behind them: greeting, and why a client is sent away. */
static void say_too_long(struct client *client)
{
	struct control_request *request = calloc(1, sizeof(*request));

	if (!request) {
		close_client(client);
		return;
	}
	request->client = client;
	client->request = request;
	client->line_bytes = 0;
	client->end_of_input = true; /* where the next line begins is not known */
	control_reply_error(request, -LIS_INVALID, "line longer than %u bytes",
			    CONTROL_LINE_BYTES_MAX);
}

/* Does whatever the client waits for, until that is something from outside. */
static void advance(struct client *client)
{
	if (client->advancing)
		return;
	client->advancing = true;
	while (!client->closing) {
		if (client->answer && !write_answer(client))
			break;
		if (client->request && client->hung_up)
			close_client(client);
		if (client->request || client->closing)
			break;
		if (take_line(client))
			continue;
		if (client->end_of_input) {
			close_client(client);
		} else if (client->line_bytes == CONTROL_LINE_BYTES_MAX) {
			say_too_long(client);
		} else {
			io_fd_poll(&client->input.fd, POLLIN);
			break;
		}
	}
	client->advancing = false;
}

/* ---- events ---- */

static void input_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct client *client = ((struct watch *)fd)->client;
	ssize_t n = recv(client->fd, client->line + client->line_bytes,
			 CONTROL_LINE_BYTES_MAX - client->line_bytes, MSG_DONTWAIT);

	if (n > 0)
		client->line_bytes += (size_t)n;
	else if (n == 0)
		client->end_of_input = true;
	else if (errno != EAGAIN && errno != EINTR)
		close_client(client);
	advance(client);
}

static void output_ready(struct io_fd *fd, uint32_t poll_events)
{
	advance(((struct watch *)fd)->client);
}

static void hung_up(struct io_fd *fd, uint32_t poll_events)
{
	struct client *client = ((struct watch *)fd)->client;

	/* io_uring also tells that the other side stopped sending: it may well still listen. */
	if (!(poll_events & (POLLHUP | POLLERR)))
		return;
	/* What it asked and did not wait for is still begun: advance() reads on to the end of input. */
	client->hung_up = true;
	if (client->request || client->answer)
		close_client(client);
}

static void start_watch(struct client *client, struct watch *watch,
			void (*ready)(struct io_fd *fd, uint32_t poll_events))
{
	watch->client = client;
	watch->stopped.fn = watch_stopped;
	watch->fd.ready = ready;
	io_fd_start(&watch->fd, client->server->config.loop, client->fd);
	client->watching++;
}

static void greet(struct client *client)
{
	struct control_server *server = client->server;
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "lis", json_object_new_int(CONTROL_PROTOCOL_VERSION));
	json_object_object_add(object, "version", json_object_new_string(server->version));
	json_object_object_add(object, "name", json_object_new_string(server->vm_name));
	json_object_object_add(object, "pid", json_object_new_int(getpid()));
	set_answer(client, object);
	json_object_put(object);
}

static void add_client(struct control_server *server, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	char *line = malloc(CONTROL_LINE_BYTES_MAX);

	if (!client || !line) {
		free(client);
		free(line);
		close(fd);
		return;
	}
	client->server = server;
	client->fd = fd;
	client->line = line;
	client->next = server->clients;
	server->clients = client;
	server->client_count++;
	start_watch(client, &client->input, input_ready);
	start_watch(client, &client->output, output_ready);
	start_watch(client, &client->hangup, hung_up);
	io_fd_poll(&client->hangup.fd, 0);
	greet(client);
	advance(client);
}

static void send_away(int fd)
{
	static const char text[] =
		"{\"error\":{\"code\":\"full\",\"message\":\"too many clients\"}}\n";

	/* Nothing depends on whether it arrives. */
	(void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void connection_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct control_server *server =
		(struct control_server *)((char *)fd - offsetof(struct control_server, listener));

	for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		int client_fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (client_fd < 0)
			break;
		if (server->client_count >= CONTROL_CLIENTS_MAX)
			send_away(client_fd);
		else
			add_client(server, client_fd);
	}
	io_fd_poll(&server->listener, POLLIN);
}

/* ---- life ---- */

static int listen_at(const char *path, char *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(error, CONTROL_ERROR_BYTES, "%s: too long for a socket", path);
		return -LIS_INVALID;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto failed;
	/* Nobody can connect before listen(), so the mode is right in time. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || chmod(path, 0600) ||
	    listen(fd, 16))
		goto failed;
	return fd;

failed:
	err = errno;
	snprintf(error, CONTROL_ERROR_BYTES, "%s: %s", path, strerror(err));
	if (fd >= 0)
		close(fd);
	return err == EADDRINUSE ? -LIS_BUSY : lis_error_from_errno(err);
}

int control_server_create(const struct control_server_config *config,
			  struct control_server **out_server, char *error)
{
	struct control_server *server = calloc(1, sizeof(*server));
	int fd = -LIS_NOMEM;

	if (!server)
		goto no_memory;
	server->config = *config;
	server->vm_name = strdup(config->vm_name);
	server->version = strdup(config->version);
	if (!server->vm_name || !server->version)
		goto no_memory;
	fd = listen_at(config->socket_path, error);
	if (fd < 0)
		goto free_server;
	server->fd = fd;
	server->listening = true;
	server->listener.ready = connection_ready;
	io_fd_start(&server->listener, config->loop, fd);
	io_fd_poll(&server->listener, POLLIN);
	*out_server = server;
	return 0;

no_memory:
	snprintf(error, CONTROL_ERROR_BYTES, "control socket: out of memory");
free_server:
	if (server) {
		free(server->vm_name);
		free(server->version);
	}
	free(server);
	return fd;
}

static void listener_stopped(struct io_call *call)
{
	struct control_server *server =
		(struct control_server *)((char *)call - offsetof(struct control_server, listener_stopped));

	close(server->fd);
	server->listening = false;
	free_server_when_quiet(server);
}

void control_server_destroy(struct control_server *server, struct io_call *done)
{
	if (!server) {
		if (done)
			done->fn(done);
		return;
	}
	server->destroying = true;
	server->destroyed = done;
	for (struct client *client = server->clients; client; client = client->next)
		close_client(client);
	server->listener_stopped.fn = listener_stopped;
	io_fd_stop(&server->listener, &server->listener_stopped);
}
