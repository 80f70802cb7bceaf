// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The control socket against clients of every kind: honest, slow, silent, rude. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/client.h"
#include "control/protocol.h"
#include "control/server.h"

#define ANSWER_BYTES 4096

struct server_world {
	struct io_loop *loop;
	struct control_server *server;
	char path[64];
	struct control_request *held; /* by the command "hold" */
	unsigned handled;
	bool closed;
};

static struct server_world world;

/* A pipe with a text in it: what can be read shows whose descriptor it is, and that it is open. */
static void pipe_with(const char *text, int fds[2])
{
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], text, strlen(text)), (int)strlen(text));
}

/* "fds" answers with a pipe's two ends; "echo" answers its arguments, "hold" later, "fail" with an error, "large" with a lot. */
static void handle(void *owner, struct control_request *request, const char *command,
		   struct json_object *arguments)
{
	struct json_object *result;

	world.handled++;
	if (strcmp(command, "fds") == 0) {
		int fds[2];

		pipe_with("from the VM", fds);
		control_reply_fds(request, NULL, fds, 2);
	} else if (strcmp(command, "hold") == 0) {
		world.held = request;
	} else if (strcmp(command, "fail") == 0) {
		control_reply_error(request, -LIS_BUSY, "busy with %s", "something");
	} else if (strcmp(command, "large") == 0) {
		char *text = malloc(4u << 20);

		memset(text, 'x', (4u << 20) - 1);
		text[(4u << 20) - 1] = 0;
		result = json_object_new_object();
		json_object_object_add(result, "text", json_object_new_string(text));
		free(text);
		control_reply(request, result);
	} else {
		control_reply(request, json_object_get(arguments));
	}
}

static int setup(void **state)
{
	struct control_server_config config = {
		.socket_path = world.path,
		.vm_name = "web",
		.version = "1.2.3",
		.handle = handle,
	};
	char error[CONTROL_ERROR_BYTES];

	memset(&world, 0, sizeof(world));
	snprintf(world.path, sizeof(world.path), "/tmp/lis-test-%d.sock", (int)getpid());
	unlink(world.path);
	if (io_loop_create(NULL, &world.loop))
		return -1;
	config.loop = world.loop;
	return control_server_create(&config, &world.server, error);
}

static void server_closed(struct io_call *call)
{
	world.closed = true;
}

static void settle(void)
{
	for (int idle = 0; idle < 5;)
		idle = io_loop_turn(world.loop, false) ? 0 : idle + 1;
}

static int teardown(void **state)
{
	struct io_call call = { .fn = server_closed };

	control_server_destroy(world.server, &call);
	while (!world.closed)
		io_loop_turn(world.loop, true);
	io_loop_destroy(world.loop);
	return unlink(world.path);
}

/* ---- a client by hand ---- */

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, world.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	settle();
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
	settle();
}

/* One line from the server; "" if there is none, "(end)" at the end. */
static const char *hear(int fd)
{
	static char line[ANSWER_BYTES];
	size_t n = 0;
	ssize_t got;

	settle();
	while ((got = recv(fd, line + n, 1, 0)) == 1 && line[n] != '\n' && n + 2 < sizeof(line))
		n++;
	line[n] = 0;
	return n == 0 && got == 0 ? "(end)" : line;
}

static int dial_and_skip_greeting(void)
{
	int fd = dial();

	assert_non_null(strstr(hear(fd), "\"lis\":1"));
	return fd;
}

static void the_vm_greets_with_version_and_name(void **state)
{
	int fd = dial();
	char expected[128];

	snprintf(expected, sizeof(expected), "{\"lis\":1,\"version\":\"1.2.3\",\"name\":\"web\",\"pid\":%d}",
		 (int)getpid());
	assert_string_equal(hear(fd), expected);
	close(fd);
}

static void the_socket_is_for_its_user_only(void **state)
{
	struct stat st;

	assert_int_equal(stat(world.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_command_is_answered_with_its_id(void **state)
{
	int fd = dial_and_skip_greeting();

	say(fd, "{\"id\": {\"any\": [1]}, \"command\": \"echo\", \"arguments\": {\"a\": 1}}\n");
	assert_string_equal(hear(fd), "{\"id\":{\"any\":[1]},\"result\":{\"a\":1}}");
	say(fd, "{\"command\": \"echo\"}\n");
	assert_string_equal(hear(fd), "{\"id\":null,\"result\":{}}");
	say(fd, "{\"id\": 1, \"command\": \"fail\", \"unknown\": true}\n");
	assert_string_equal(hear(fd), "{\"id\":1,\"error\":{\"code\":\"busy\","
				      "\"message\":\"busy with something\"}}");
	close(fd);
}

static void a_line_may_come_in_pieces_and_lines_together(void **state)
{
	int fd = dial_and_skip_greeting();

	say(fd, "{\"command\": \"ec");
	assert_string_equal(hear(fd), "");
	say(fd, "ho\"}\n{\"id\":2,\"command\":\"echo\"}\n{\"id\":3,\"comm");
	assert_string_equal(hear(fd), "{\"id\":null,\"result\":{}}");
	assert_string_equal(hear(fd), "{\"id\":2,\"result\":{}}");
	say(fd, "and\":\"echo\"}\n");
	assert_string_equal(hear(fd), "{\"id\":3,\"result\":{}}");
	close(fd);
}

/* One level more than CONTROL_JSON_DEPTH_MAX. */
#define LEVELS_4 "{\"a\":{\"a\":{\"a\":{\"a\":"
#define DEEP LEVELS_4 LEVELS_4 LEVELS_4 LEVELS_4 "{}}}}}}}}}}}}}}}}}\n"

static void garbage_is_answered_and_the_next_line_works(void **state)
{
	static const char *const garbage[] = {
		"\n", "x\n", "{\n", "[]\n", "1\n", "null\n", "\"text\"\n", "{\"command\": 1}\n",
		"{\"command\": \"echo\"} trailing\n", "{\"command\": \"echo\", \"arguments\": []}\n",
		"{\"command\": null}\n", "\x01\xff\xfe\n", "{'command': 'echo'}\n", "{\"a\":}\n",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
		DEEP,
	};
	int fd = dial_and_skip_greeting();

	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		say(fd, garbage[i]);
		assert_non_null(strstr(hear(fd), "\"error\":"));
	}
	assert_int_equal(world.handled, 0);
	say(fd, "{\"id\":1,\"command\":\"echo\"}\n");
	assert_string_equal(hear(fd), "{\"id\":1,\"result\":{}}");
	close(fd);
}

static void a_line_with_a_zero_in_it_is_no_command(void **state)
{
	int fd = dial_and_skip_greeting();

	assert_int_equal(send(fd, "{\"command\":\0\"echo\"}\n", 20, 0), 20);
	assert_non_null(strstr(hear(fd), "\"error\":"));
	assert_int_equal(world.handled, 0);
	close(fd);
}

static void a_line_without_end_is_cut_off(void **state)
{
	int fd = dial_and_skip_greeting();
	char *text = malloc(CONTROL_LINE_BYTES_MAX);
	const char *answer;

	memset(text, ' ', CONTROL_LINE_BYTES_MAX);
	for (int i = 0; i < 2; i++) {
		send(fd, text, CONTROL_LINE_BYTES_MAX, MSG_NOSIGNAL);
		settle();
	}
	answer = hear(fd);
	assert_non_null(strstr(answer, "longer than"));
	assert_string_equal(hear(fd), "(end)");
	free(text);
	close(fd);
}

static void the_longest_line_is_taken(void **state)
{
	int fd = dial_and_skip_greeting();
	static const char command[] = "{\"id\":1,\"command\":\"echo\"}\n";
	char *text = malloc(CONTROL_LINE_BYTES_MAX);
	size_t padding = CONTROL_LINE_BYTES_MAX - strlen(command), sent = 0;

	memset(text, ' ', padding);
	memcpy(text + padding, command, strlen(command));
	while (sent < CONTROL_LINE_BYTES_MAX) {
		ssize_t n = send(fd, text + sent, CONTROL_LINE_BYTES_MAX - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		settle();
	}
	assert_string_equal(hear(fd), "{\"id\":1,\"result\":{}}");
	free(text);
	close(fd);
}

static void commands_wait_for_the_answer_before_them(void **state)
{
	int fd = dial_and_skip_greeting(), other;

	say(fd, "{\"id\":1,\"command\":\"hold\"}\n{\"id\":2,\"command\":\"echo\"}\n");
	assert_string_equal(hear(fd), "");
	assert_non_null(world.held);
	/* Other clients do not wait. */
	other = dial_and_skip_greeting();
	say(other, "{\"id\":3,\"command\":\"echo\"}\n");
	assert_string_equal(hear(other), "{\"id\":3,\"result\":{}}");
	control_reply(world.held, NULL);
	assert_string_equal(hear(fd), "{\"id\":1,\"result\":{}}");
	assert_string_equal(hear(fd), "{\"id\":2,\"result\":{}}");
	close(other);
	close(fd);
}

static void a_request_outlives_its_client(void **state)
{
	int fd = dial_and_skip_greeting();

	say(fd, "{\"command\":\"hold\"}\n");
	assert_false(control_request_abandoned(world.held));
	close(fd);
	settle();
	assert_true(control_request_abandoned(world.held));
	control_reply(world.held, NULL);
	settle();
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void descriptors_come_with_their_answer_and_stay_nowhere(void **state)
{
	int fd = dial_and_skip_greeting(), got[2], pipe_fds[2];
	unsigned before = open_descriptors();
	char line[64], extra[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = { line, sizeof(line) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = extra,
				  .msg_controllen = sizeof(extra) };

	say(fd, "{\"id\":1,\"command\":\"fds\"}\n{\"id\":2,\"command\":\"echo\"}\n");
	assert_int_equal(recvmsg(fd, &message, 0), 21);
	assert_memory_equal(line, "{\"id\":1,\"result\":{}}\n", 21);
	assert_int_equal(CMSG_FIRSTHDR(&message)->cmsg_len, CMSG_LEN(sizeof(got)));
	memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(got));
	/* The only ones. */
	assert_int_equal(close(got[1]), 0);
	assert_int_equal(read(got[0], line, sizeof(line)), 11);
	assert_int_equal(read(got[0], line, sizeof(line)), 0);
	close(got[0]);
	/* The next answer has none. */
	message.msg_controllen = sizeof(extra);
	assert_int_equal(recvmsg(fd, &message, 0), 21);
	assert_int_equal(message.msg_controllen, 0);
	assert_int_equal(open_descriptors(), before);

	/* Nor does anything stay of those for a client that has gone. */
	say(fd, "{\"command\":\"hold\"}\n");
	close(fd);
	settle();
	pipe_with("", pipe_fds);
	control_reply_fds(world.held, NULL, pipe_fds, 2);
	settle();
	assert_int_equal(open_descriptors(), before - 2);
}

static void a_client_that_writes_and_leaves_is_still_obeyed(void **state)
{
	int fd = dial();

	say(fd, "{\"command\":\"echo\"}\n{\"command\":\"echo\"}\n");
	close(fd);
	settle();
	assert_int_equal(world.handled, 2);
	/* Also if nothing of it was read when it left. */
	fd = dial();
	assert_true(send(fd, "{\"command\":\"echo\"}\n", 19, 0) == 19);
	close(fd);
	settle();
	assert_int_equal(world.handled, 3);
}

static void a_client_that_only_stops_sending_gets_its_answers(void **state)
{
	int fd = dial_and_skip_greeting();

	say(fd, "{\"id\":1,\"command\":\"hold\"}\n{\"id\":2,\"command\":\"echo\"}\n");
	shutdown(fd, SHUT_WR);
	settle();
	control_reply(world.held, NULL);
	assert_string_equal(hear(fd), "{\"id\":1,\"result\":{}}");
	assert_string_equal(hear(fd), "{\"id\":2,\"result\":{}}");
	assert_string_equal(hear(fd), "(end)");
	close(fd);
}

static void a_client_that_does_not_read_holds_up_nobody(void **state)
{
	int slow = dial(), other;
	size_t got = 0;
	char buffer[65536];
	ssize_t n;

	say(slow, "{\"id\":1,\"command\":\"large\"}\n{\"id\":2,\"command\":\"echo\"}\n");
	other = dial_and_skip_greeting();
	say(other, "{\"id\":3,\"command\":\"echo\"}\n");
	assert_string_equal(hear(other), "{\"id\":3,\"result\":{}}");
	/* Its second command is not looked at before the first answer is out. */
	assert_int_equal(world.handled, 2);
	for (int quiet = 0; quiet < 20;) {
		n = recv(slow, buffer, sizeof(buffer), 0);
		got += n > 0 ? (size_t)n : 0;
		quiet = n > 0 ? 0 : quiet + 1;
		settle();
	}
	assert_true(got > 4u << 20);
	assert_int_equal(world.handled, 3);
	close(other);
	close(slow);
}

static void there_is_a_limit_to_clients_and_it_says_so(void **state)
{
	int fds[CONTROL_CLIENTS_MAX], one_more;

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = dial_and_skip_greeting();
	one_more = dial();
	assert_string_equal(hear(one_more),
			    "{\"error\":{\"code\":\"full\",\"message\":\"too many clients\"}}");
	assert_string_equal(hear(one_more), "(end)");
	close(one_more);
	close(fds[0]);
	settle();
	fds[0] = dial_and_skip_greeting();
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	settle();
}

static void a_server_that_goes_closes_all_and_answers_may_still_come(void **state)
{
	struct control_server_config config = { .loop = world.loop, .vm_name = "b", .version = "1",
						.handle = handle };
	struct io_call call = { .fn = server_closed };
	char error[CONTROL_ERROR_BYTES];
	int idle = dial_and_skip_greeting(), waiting = dial_and_skip_greeting();

	say(waiting, "{\"command\":\"hold\"}\n");
	control_server_destroy(world.server, &call);
	settle();
	assert_true(world.closed);
	assert_string_equal(hear(idle), "(end)");
	assert_string_equal(hear(waiting), "(end)");
	control_reply(world.held, NULL);
	close(idle);
	close(waiting);
	/* The path is still there: it belongs to who owns the name. */
	world.closed = false;
	config.socket_path = world.path;
	assert_int_equal(control_server_create(&config, &world.server, error), -LIS_BUSY);
	assert_non_null(strstr(error, world.path));
	unlink(world.path);
	assert_int_equal(control_server_create(&config, &world.server, error), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_vm_greets_with_version_and_name),
		TEST(the_socket_is_for_its_user_only),
		TEST(a_command_is_answered_with_its_id),
		TEST(a_line_may_come_in_pieces_and_lines_together),
		TEST(garbage_is_answered_and_the_next_line_works),
		TEST(a_line_with_a_zero_in_it_is_no_command),
		TEST(a_line_without_end_is_cut_off),
		TEST(the_longest_line_is_taken),
		TEST(commands_wait_for_the_answer_before_them),
		TEST(a_request_outlives_its_client),
		TEST(descriptors_come_with_their_answer_and_stay_nowhere),
		TEST(a_client_that_writes_and_leaves_is_still_obeyed),
		TEST(a_client_that_only_stops_sending_gets_its_answers),
		TEST(a_client_that_does_not_read_holds_up_nobody),
		TEST(there_is_a_limit_to_clients_and_it_says_so),
		TEST(a_server_that_goes_closes_all_and_answers_may_still_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
