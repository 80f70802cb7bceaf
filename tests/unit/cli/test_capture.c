// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * `lis capture` against a VM that the test plays: the command itself, its file read back by libpcap.
 * usage: test_cli_capture LIS
 */
#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/registry.h"
#include "control/server.h"
#include "network/capture.h"

static const char *lis;
static char folder[] = "/tmp/lis-capture-XXXXXX", file[64], said[64];
static uint8_t frame[2000];

static struct {
	struct io_loop *loop;
	struct control_server *server;
	struct registry_claim claim;
	struct net_capture *capture;
	int session, memory;
	char card[32];
	pid_t pid;
	bool closed;
} vm;

/* ---- the VM ---- */

static const char *text_of(struct json_object *arguments, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(arguments, name, &value) ? json_object_get_string(value) : "";
}

static void handle(void *owner, struct control_request *request, const char *command,
		   struct json_object *arguments)
{
	int fds[2], sessions[2];

	assert_string_equal(command, "capture");
	if (strcmp(text_of(arguments, "card"), "nic0")) {
		control_reply_error(request, -LIS_NOTFOUND, "no network card '%s'",
				    text_of(arguments, "card"));
		return;
	}
	assert_int_equal(net_capture_create((uint32_t)atoi(text_of(arguments, "snap_bytes")),
					    &vm.capture, &fds[0]), 0);
	vm.memory = dup(fds[0]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sessions), 0);
	vm.session = sessions[0];
	fds[1] = sessions[1];
	control_reply_fds(request, NULL, fds, 2);
}

static int setup(void **state)
{
	struct control_server_config config = { .vm_name = "web", .version = "1", .handle = handle };
	char error[REGISTRY_ERROR_BYTES];

	memset(&vm, 0, sizeof(vm));
	vm.session = vm.memory = -1;
	unlink(file);
	assert_int_equal(io_loop_create(NULL, &vm.loop), 0);
	assert_int_equal(registry_claim("web", &vm.claim, error), 0);
	config.loop = vm.loop;
	config.socket_path = vm.claim.socket_path;
	assert_int_equal(control_server_create(&config, &vm.server, error), 0);
	return 0;
}

static void server_closed(struct io_call *call)
{
	vm.closed = true;
}

static int teardown(void **state)
{
	struct io_call call = { .fn = server_closed };

	control_server_destroy(vm.server, &call);
	while (!vm.closed)
		io_loop_turn(vm.loop, true);
	io_loop_destroy(vm.loop);
	registry_release(&vm.claim);
	net_capture_destroy(vm.capture);
	close(vm.session);
	close(vm.memory);
	return 0;
}

/* ---- the command ---- */

static bool has_ended(void)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)vm.pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/* Runs `lis capture web nic0 TO ARGUMENT...`, its output into @out_fd; and until the VM has answered it. */
static void begin_to(const char *card, const char *to, int out_fd, const char *arguments)
{
	char line[256];

	snprintf(line, sizeof(line), "exec %s capture web %s %s %s 2>%s", lis, card, to, arguments, said);
	vm.pid = fork();
	if (vm.pid == 0) {
		dup2(out_fd, STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	while (!vm.capture && !has_ended())
		if (!io_loop_turn(vm.loop, false))
			usleep(1000);
}

static void begin(const char *arguments)
{
	begin_to("nic0", file, STDERR_FILENO, arguments);
}

/* Its exit status, with the VM's loop turning meanwhile. */
static int ends(void)
{
	int status;

	while (waitpid(vm.pid, &status, WNOHANG) == 0)
		if (!io_loop_turn(vm.loop, false))
			usleep(1000);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void it_said(const char *text)
{
	static char line[4096];
	FILE *from = fopen(said, "r");
	size_t bytes = fread(line, 1, sizeof(line) - 1, from);

	line[bytes] = 0;
	fclose(from);
	if (!strstr(line, text))
		fail_msg("'%s' is not in: %s", text, line);
}

/* The VM hears that nobody listens any more. */
static void vm_hears(void)
{
	struct pollfd pollfd = { .fd = vm.session };

	assert_int_equal(poll(&pollfd, 1, 20000), 1);
	assert_true(pollfd.revents & POLLHUP);
}

static void record(uint32_t number, uint32_t bytes)
{
	struct iovec iov = { frame, bytes };
	struct net_frame to_record = { .iov = &iov, .iov_count = 1, .bytes = bytes };

	memcpy(frame, &number, sizeof(number));
	net_capture_frame(vm.capture, &to_record);
}

/* The frames in the file: 0, 1, 2, ..., of @bytes each, as far as @snap_bytes. Returns how many. */
static uint32_t read_back(const char *path, uint32_t bytes, uint32_t snap_bytes)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, error);
	struct pcap_pkthdr *header;
	const u_char *data;
	uint64_t last = 0, odd = 0;
	uint32_t count = 0;

	if (!pcap)
		fail_msg("%s", error);
	assert_int_equal(pcap_datalink(pcap), DLT_EN10MB);
	while (pcap_next_ex(pcap, &header, &data) == 1) {
		uint64_t ns = (uint64_t)header->ts.tv_sec * 1000000000 + (uint64_t)header->ts.tv_usec;

		assert_int_equal(header->len, bytes);
		assert_int_equal(header->caplen, snap_bytes);
		assert_memory_equal(data, &count, sizeof(count));
		assert_true(ns >= last && ns / 1000000000 >= 1700000000);
		odd |= ns % 1000;
		last = ns;
		count++;
	}
	/* Nanoseconds: not all of a hundred end in three zeros. */
	assert_true(count < 100 || odd);
	pcap_close(pcap);
	return count;
}

/* ---- tests ---- */

static void a_count_ends_it_and_is_kept_exactly(void **state)
{
	begin("--count 5");
	for (uint32_t i = 0; i < 8; i++)
		record(i, 1000);
	assert_int_equal(ends(), 0);
	vm_hears();
	assert_int_equal(read_back(file, 1000, 1000), 5);
	it_said("lis: capturing nic0 of web");
	it_said("5 frames captured\n0 dropped");
}

static void a_vm_that_ends_leaves_all_it_said(void **state)
{
	begin("");
	for (uint32_t i = 0; i < 3000; i++)
		record(i, 1514);
	/* As if killed: nothing is undone. */
	close(vm.session);
	vm.session = -1;
	assert_int_equal(ends(), 0);
	assert_int_equal(read_back(file, 1514, 1514), 3000);
	it_said("lis: web: nic0 is gone");
	it_said("3000 frames captured");
}

static void a_signal_ends_it_and_nothing_is_lost(void **state)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < 3; i++) {
		setup(state);
		begin("");
		record(0, 60);
		/* Not before it is in the file: it listens to signals then. */
		while (access(file, F_OK))
			usleep(1000);
		for (struct stat stat = { 0 }; stat.st_size < 100; usleep(1000))
			assert_int_equal(lstat(file, &stat), 0);
		record(1, 60);
		assert_int_equal(kill(vm.pid, signals[i]), 0);
		assert_int_equal(ends(), 0);
		vm_hears();
		assert_int_equal(read_back(file, 60, 60), 2);
		it_said("2 frames captured");
		teardown(state);
	}
}

static void time_ends_it(void **state)
{
	begin("--seconds 1");
	record(0, 60);
	assert_int_equal(ends(), 0);
	assert_int_equal(read_back(file, 60, 60), 1);
}

static void no_more_than_the_snaplen_is_kept(void **state)
{
	begin("--count 100 --snaplen 64");
	for (uint32_t i = 0; i < 100; i++)
		record(i, 1500);
	assert_int_equal(ends(), 0);
	assert_int_equal(read_back(file, 1500, 64), 100);
}

static void what_came_too_fast_is_counted(void **state)
{
	const volatile uint64_t *places;

	begin("--count 6000");
	places = mmap(NULL, 4096, PROT_READ, MAP_SHARED, vm.memory, 0);
	assert_true(places != MAP_FAILED);
	/* It has stopped for a while. */
	kill(vm.pid, SIGSTOP);
	waitpid(vm.pid, NULL, WUNTRACED);
	for (uint32_t i = 0; i < 6000; i++)
		record(i, 2000);
	kill(vm.pid, SIGCONT);
	/* Until all of it is taken. */
	while (places[8] != places[1])
		usleep(1000);
	for (uint32_t i = 0; i < 6000; i++)
		record(i, 60);
	assert_int_equal(ends(), 0);
	it_said("6000 frames captured");
	it_said("1839 dropped, as they came too fast");
	munmap((void *)places, 4096);
}

static void standard_output_is_for_other_programs(void **state)
{
	char bytes[24 + 16 + 60];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	begin_to("nic0", "-", fds[1], "");
	close(fds[1]);
	record(0, 60);
	/* It comes at once, not when a buffer is full. */
	for (size_t at = 0; at < sizeof(bytes);) {
		ssize_t n = read(fds[0], bytes + at, sizeof(bytes) - at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	assert_memory_equal(bytes, "\x4d\x3c\xb2\xa1", 4);
	/* Who has had enough ends it. */
	close(fds[0]);
	record(1, 60);
	assert_int_equal(ends(), 0);
	vm_hears();
}

static void errors_of_the_file_are_told_and_end_it(void **state)
{
	begin_to("nic0", "/dev/full", STDERR_FILENO, "");
	record(0, 60);
	assert_int_equal(ends(), 1);
	it_said("lis: /dev/full: No space left on device");
	vm_hears();
	teardown(state);
	setup(state);
	begin_to("nic0", "/nowhere/x.pcap", STDERR_FILENO, "");
	assert_int_equal(ends(), 1);
	it_said("lis: /nowhere/x.pcap: No such file or directory");
	vm_hears();
}

static void what_the_vm_refuses_is_said_and_no_file_is_made(void **state)
{
	begin_to("nic7", file, STDERR_FILENO, "");
	assert_int_equal(ends(), 1);
	it_said("lis: web: capture: no network card 'nic7'");
	assert_int_equal(access(file, F_OK), -1);
}

static void a_vm_that_makes_no_sense_is_left(void **state)
{
	uint32_t *memory;

	begin("");
	memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, vm.memory, 0);
	assert_true(memory != MAP_FAILED);
	memory[1024 + 3] = UINT32_MAX;
	memory[2] = 64; /* so much was put */
	assert_int_equal(ends(), 1);
	it_said("makes no sense");
	munmap(memory, 8192);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_count_ends_it_and_is_kept_exactly),
		TEST(a_vm_that_ends_leaves_all_it_said),
		cmocka_unit_test(a_signal_ends_it_and_nothing_is_lost),
		TEST(time_ends_it),
		TEST(no_more_than_the_snaplen_is_kept),
		TEST(what_came_too_fast_is_counted),
		TEST(standard_output_is_for_other_programs),
		TEST(errors_of_the_file_are_told_and_end_it),
		TEST(what_the_vm_refuses_is_said_and_no_file_is_made),
		TEST(a_vm_that_makes_no_sense_is_left),
	};
	char line[64];
	int failed;

	lis = argv[1];
	if (!mkdtemp(folder))
		return 1;
	setenv("LIS_RUNTIME_DIR", folder, 1);
	snprintf(file, sizeof(file), "%s/x.pcap", folder);
	snprintf(said, sizeof(said), "%s/said", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(line, sizeof(line), "rm -r %s", folder);
	return system(line) ? 1 : failed;
}
