// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The user's end of the control socket, against our server and against things that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/client.h"
#include "control/protocol.h"
#include "control/server.h"

static char path[64];

static void remove_socket(void)
{
	snprintf(path, sizeof(path), "/tmp/lis-test-%d.sock", (int)getpid());
	unlink(path);
}

/* ---- a server on a thread ---- */

static void reply_with_pipe(struct control_request *request)
{
	int fds[2];

	if (pipe(fds) == 0)
		control_reply_fds(request, NULL, fds, 2);
	else
		control_reply_error(request, -LIS_IO, "no pipe");
}

static void handle(void *owner, struct control_request *request, const char *command,
		   struct json_object *arguments)
{
	if (strcmp(command, "fds") == 0)
		reply_with_pipe(request);
	else if (strcmp(command, "fail") == 0)
		control_reply_error(request, -LIS_NOTFOUND, "not here");
	else if (strcmp(command, "never") == 0)
		*(struct control_request **)owner = request;
	else
		control_reply(request, json_object_get(arguments));
}

struct served {
	struct io_loop *loop;
	struct control_server *server;
	struct control_request *held;
	bool closed;
};

static void serve(struct served *served)
{
	struct control_server_config config = { .socket_path = path, .vm_name = "web", .version = "1",
						.handle = handle, .owner = &served->held };
	char error[CONTROL_ERROR_BYTES];

	remove_socket();
	memset(served, 0, sizeof(*served));
	assert_int_equal(io_loop_create(NULL, &served->loop), 0);
	config.loop = served->loop;
	assert_int_equal(control_server_create(&config, &served->server, error), 0);
	assert_int_equal(io_loop_start(served->loop), 0);
}

struct closing {
	struct io_call call;
	bool done;
};

static void closed(struct io_call *call)
{
	((struct closing *)call)->done = true;
}

static void unserve(struct served *served)
{
	struct closing closing = { .call.fn = closed };

	io_loop_join(served->loop);
	control_server_destroy(served->server, &closing.call);
	while (!closing.done)
		io_loop_turn(served->loop, true);
	if (served->held)
		control_reply(served->held, NULL);
	io_loop_destroy(served->loop);
	unlink(path);
}

static void a_call_brings_the_result(void **state)
{
	struct json_object *arguments = json_object_new_object(), *result;
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct control_client *client;
	struct served served;

	serve(&served);
	assert_int_equal(control_client_open(path, 5000, &client, error), 0);
	json_object_object_add(arguments, "x", json_object_new_int(7));
	assert_int_equal(control_client_call(client, "echo", arguments, 5000, &result, error), 0);
	assert_string_equal(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN),
			    "{\"x\":7}");
	json_object_put(result);
	assert_int_equal(control_client_call(client, "echo", NULL, 5000, NULL, error), 0);
	control_client_close(client);
	unserve(&served);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void descriptors_are_the_callers_or_nobodys(void **state)
{
	int fds[CONTROL_FDS_MAX], again[CONTROL_FDS_MAX];
	char error[CONTROL_CLIENT_ERROR_BYTES], text[8];
	unsigned before = open_descriptors();
	struct control_client *client;
	struct served served;

	serve(&served);
	assert_int_equal(control_client_open(path, 5000, &client, error), 0);
	assert_int_equal(control_client_take_fds(client, fds), 0);
	assert_int_equal(control_client_call(client, "fds", NULL, 5000, NULL, error), 0);
	assert_int_equal(control_client_take_fds(client, fds), 2);
	assert_int_equal(control_client_take_fds(client, again), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	close(fds[1]);
	assert_int_equal(read(fds[0], text, sizeof(text)), 1);
	assert_int_equal(read(fds[0], text, sizeof(text)), 0);
	assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	/* Those nobody takes are closed with the next call, or with the client. */
	assert_int_equal(control_client_call(client, "fds", NULL, 5000, NULL, error), 0);
	assert_int_equal(control_client_call(client, "echo", NULL, 5000, NULL, error), 0);
	assert_int_equal(control_client_take_fds(client, again), 0);
	assert_int_equal(control_client_call(client, "fds", NULL, 5000, NULL, error), 0);
	control_client_close(client);
	unserve(&served);
	close(fds[0]);
	assert_int_equal(open_descriptors(), before);
}

static void an_error_of_the_vm_keeps_its_code_and_words(void **state)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct control_client *client;
	struct served served;

	serve(&served);
	assert_int_equal(control_client_open(path, 5000, &client, error), 0);
	assert_int_equal(control_client_call(client, "fail", NULL, 5000, NULL, error),
			 -LIS_NOTFOUND);
	assert_string_equal(error, "not here");
	assert_int_equal(control_client_call(client, "echo", NULL, 5000, NULL, error), 0);
	control_client_close(client);
	unserve(&served);
}

static void a_vm_that_does_not_answer_is_given_up(void **state)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct control_client *client;
	struct served served;

	serve(&served);
	assert_int_equal(control_client_open(path, 5000, &client, error), 0);
	assert_int_equal(control_client_call(client, "never", NULL, 50, NULL, error),
			 -LIS_TIMEOUT);
	control_client_close(client);
	unserve(&served);
}

static void where_nobody_listens_is_said_so(void **state)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];
	struct control_client *client;
	struct served served;

	remove_socket();
	assert_int_equal(control_client_open(path, 50, &client, error), -LIS_NOTFOUND);
	assert_non_null(strstr(error, path));
	/* A socket file without a process behind it. */
	serve(&served);
	io_loop_join(served.loop);
	link(path, "/tmp/lis-test-stale.sock");
	unserve(&served);
	assert_int_equal(control_client_open("/tmp/lis-test-stale.sock", 50, &client, error),
			 -LIS_NOTFOUND);
	unlink("/tmp/lis-test-stale.sock");
}

/* ---- things that are no VM: say a text, then hang up or hang ---- */

struct impostor {
	int listener;
	const char *greeting, *answer;
	bool hang;
	pthread_t thread;
};

static void *pretend(void *arg)
{
	struct impostor *impostor = arg;
	int fd = accept(impostor->listener, NULL, NULL);
	char line[512];

	send(fd, impostor->greeting, strlen(impostor->greeting), MSG_NOSIGNAL);
	if (impostor->answer) {
		if (recv(fd, line, sizeof(line), 0) > 0)
			send(fd, impostor->answer, strlen(impostor->answer), MSG_NOSIGNAL);
	}
	if (impostor->hang)
		(void)!recv(fd, line, sizeof(line), MSG_WAITALL);
	close(fd);
	return NULL;
}

static int try(const char *greeting, const char *answer, bool hang, char *error)
{
	struct impostor impostor = { .greeting = greeting, .answer = answer, .hang = hang };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct control_client *client = NULL;
	int err;

	remove_socket();
	strcpy(address.sun_path, path);
	impostor.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(impostor.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(impostor.listener, 1), 0);
	assert_int_equal(pthread_create(&impostor.thread, NULL, pretend, &impostor), 0);
	err = control_client_open(path, 300, &client, error);
	if (!err)
		err = control_client_call(client, "status", NULL, 300, NULL, error);
	control_client_close(client);
	pthread_join(impostor.thread, NULL);
	close(impostor.listener);
	unlink(path);
	return err;
}

#define GREETING "{\"lis\":1}\n"

static void what_is_no_vm_is_found_out(void **state)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];

	assert_int_equal(try("", NULL, false, error), -LIS_GONE);
	assert_int_equal(try("", NULL, true, error), -LIS_TIMEOUT);
	assert_int_equal(try("SSH-2.0\n", NULL, false, error), -LIS_FORMAT);
	assert_int_equal(try("{}\n", NULL, false, error), -LIS_FORMAT);
	assert_int_equal(try("[1]\n", NULL, false, error), -LIS_FORMAT);
	assert_int_equal(try("{\"lis\":2}\n", NULL, false, error), -LIS_UNSUPPORTED);
	assert_non_null(strstr(error, "version 2"));
	assert_int_equal(try("{\"error\":{\"code\":\"full\",\"message\":\"too many\"}}\n", NULL, false,
			     error), -LIS_FULL);
	assert_string_equal(error, "too many");
}

static void answers_that_are_none_are_errors(void **state)
{
	char error[CONTROL_CLIENT_ERROR_BYTES];

	assert_int_equal(try(GREETING, "", false, error), -LIS_GONE);
	assert_int_equal(try(GREETING, "\n", false, error), -LIS_FORMAT);
	assert_int_equal(try(GREETING, "{}\n", false, error), -LIS_FORMAT);
	assert_int_equal(try(GREETING, "{\"error\":1}\n", false, error), -LIS_IO);
	assert_int_equal(try(GREETING, "{\"error\":{\"code\":\"no such\"}}\n", false, error), -LIS_IO);
	assert_int_equal(try(GREETING, "{\"result\":", true, error), -LIS_TIMEOUT);
	assert_int_equal(try(GREETING, "{\"result\":{}}\n", false, error), 0);
}

static void every_error_has_a_name_and_back(void **state)
{
#define CHECK_ERROR(code, number, text, posix) \
	assert_int_equal(control_error_number(control_error_name(-(code))), -(code));
	LIS_ERRORS(CHECK_ERROR)
#undef CHECK_ERROR
	assert_string_equal(control_error_name(-LIS_STILL_SHARED), "still_shared");
	assert_string_equal(control_error_name(-12345), "io");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_brings_the_result),
		cmocka_unit_test(descriptors_are_the_callers_or_nobodys),
		cmocka_unit_test(an_error_of_the_vm_keeps_its_code_and_words),
		cmocka_unit_test(a_vm_that_does_not_answer_is_given_up),
		cmocka_unit_test(where_nobody_listens_is_said_so),
		cmocka_unit_test(what_is_no_vm_is_found_out),
		cmocka_unit_test(answers_that_are_none_are_errors),
		cmocka_unit_test(every_error_has_a_name_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
