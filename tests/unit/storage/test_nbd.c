// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Disks behind NBD servers, against real ones: nbdkit, whose filters take away one ability or another, and
 * qemu-nbd with a qcow2 image. They listen on Unix sockets in a folder of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storage/block.h"
#include "tests/unit/storage/image_model.h"
#include "vmbus/os.h"

#define MIB (UINT64_C(1) << 20)
#define DISK_BYTES (16 * MIB)

static char folder[64], socket_path[96], file_path[96], uri[160], error[BLOCK_ERROR_BYTES];
static pid_t server;
static struct io_loop *loop;
static char log_text[16384];

/* ---- servers ---- */

static bool answers(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool connected;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	connected = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return connected;
}

static void start_server(const char *const *arguments)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	unlink(socket_path);
	server = fork();
	assert_true(server >= 0);
	if (!server) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(null, 2);
		execvp(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	while (!answers()) {
		int status;

		if (waitpid(server, &status, WNOHANG) == server) {
			server = 0;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
				print_message("no %s here\n", arguments[0]);
				skip();
			}
			fail_msg("%s ended", arguments[0]);
		}
		nanosleep(&pause, NULL);
	}
}

/* nbdkit with a file, and up to eight more words. */
#define start_nbdkit(...) start_server((const char *const[]){ "nbdkit", "-f", "-U", socket_path, __VA_ARGS__, NULL })

static void kill_server(void)
{
	if (!server)
		return;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
}

/* From its return on it does nothing. */
static void stop_server(void)
{
	kill(server, SIGSTOP);
	assert_int_equal(waitpid(server, NULL, WUNTRACED), server);
}

static void make_file(uint64_t bytes)
{
	int fd = open(file_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

/* @timeout_ms: 0: the usual one, where nothing is to wait for it */
static struct block_device *open_disk(uint32_t timeout_ms)
{
	const struct block_open_options options = { .timeout_ms = timeout_ms };
	struct block_device *device;

	if (block_open(uri, &options, &device, error))
		fail_msg("%s", error);
	return device;
}

/* ---- the log ---- */

/* In place of io/log.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
	size_t used = strlen(log_text);
	va_list arguments;

	if (level > OS_LOG_WARNING)
		return;
	va_start(arguments, format);
	vsnprintf(log_text + used, sizeof(log_text) - used, format, arguments);
	va_end(arguments);
	strncat(log_text, "\n", sizeof(log_text) - strlen(log_text) - 1);
}

static uint32_t log_lines(const char *with)
{
	uint32_t count = 0;

	for (const char *at = log_text; (at = strstr(at, with)); at++)
		count++;
	return count;
}

/* ---- fixture ---- */

static int setup(void **state)
{
	log_text[0] = 0;
	snprintf(folder, sizeof(folder), "/tmp/lis-nbd.XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	snprintf(file_path, sizeof(file_path), "%s/disk", folder);
	snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", socket_path);
	assert_int_equal(io_loop_create(NULL, &loop), 0);
	return 0;
}

static int teardown(void **state)
{
	kill_server();
	io_loop_destroy(loop);
	unlink(socket_path);
	unlink(file_path);
	rmdir(folder);
	return 0;
}

/* ---- data ---- */

/* Random requests from three loops, then everything as it must be, also when opened again. */
static void model_is_right(uint64_t seed)
{
	struct model model = { .threads = 3, .requests = 150, .seed = seed, .flushes = true, .clears = true };

	model.device = open_disk(0);
	model.bytes = calloc(1, DISK_BYTES);
	assert_non_null(model.bytes);
	assert_int_equal(model.device->geometry.size_bytes, DISK_BYTES);
	assert_int_equal(model_run(&model), 0);
	assert_int_equal(model_compare(&model, model.device, loop), 0);
	assert_int_equal(block_close(model.device), 0);
	model.device = open_disk(0);
	assert_int_equal(model_compare(&model, model.device, loop), 0);
	assert_int_equal(block_close(model.device), 0);
	free(model.bytes);
}

static void many_loops_share_a_server_that_takes_many_connections(void **state)
{
	make_file(DISK_BYTES);
	start_nbdkit("file", file_path);
	model_is_right(1);
}

static void many_loops_share_the_one_connection_of_a_server_that_takes_one(void **state)
{
	make_file(DISK_BYTES);
	start_nbdkit("--filter=multi-conn", "file", file_path, "multi-conn-mode=disable");
	model_is_right(2);
}

static void a_qcow2_image_is_a_disk_through_qemu_nbd(void **state)
{
	char command[300];

	snprintf(command, sizeof(command), "qemu-img create -q -f qcow2 %s 16M 2>/dev/null", file_path);
	if (system(command)) {
		print_message("no qemu-img here\n");
		skip();
	}
	start_server((const char *const[]){ "qemu-nbd", "-t", "-k", socket_path, "-f", "qcow2", "--discard=unmap",
					    file_path, NULL });
	model_is_right(3);
	snprintf(command, sizeof(command), "qemu-img check -q %s", file_path);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	server = 0;
	assert_int_equal(system(command), 0);
}

static void what_a_server_cannot_do_is_made_up_for(void **state)
{
	make_file(DISK_BYTES);
	start_nbdkit("--filter=fua", "--filter=nozero", "file", file_path);
	model_is_right(4);
}

static void requests_are_cut_to_what_the_server_takes(void **state)
{
	struct block_device *device;

	make_file(DISK_BYTES);
	start_nbdkit("--filter=blocksize-policy", "file", file_path, "blocksize-minimum=4096",
		     "blocksize-maximum=65536", "blocksize-error-policy=error");
	device = open_disk(0);
	assert_int_equal(device->geometry.logical_sector_bytes, 4096);
	assert_int_equal(block_close(device), 0);
	model_is_right(5);
}

static void where_data_is_the_server_knows(void **state)
{
	static uint8_t data[65536] = { 1 };
	struct block_device *device;
	struct block_extent extent;

	make_file(DISK_BYTES);
	start_nbdkit("file", file_path);
	device = open_disk(0);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, BLOCK_WRITE_FUA, 4 * MIB, data, sizeof(data)), 0);
	assert_int_equal(block_map(device, 0, &extent), 0);
	assert_false(extent.data);
	assert_int_equal(extent.length_bytes, 4 * MIB);
	assert_int_equal(block_map(device, 4 * MIB, &extent), 0);
	assert_true(extent.data);
	assert_int_equal(extent.length_bytes, sizeof(data));
	assert_int_equal(block_close(device), 0);
}

/* ---- faults ---- */

static void errors_of_the_server_are_told_apart(void **state)
{
	static uint8_t data[4096];
	struct block_device *device;

	make_file(DISK_BYTES);
	start_nbdkit("--filter=error", "file", file_path, "error-pread=EIO", "error-pread-rate=100%",
		     "error-pwrite=ENOSPC", "error-pwrite-rate=100%");
	device = open_disk(0);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, sizeof(data)), -LIS_IO);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), -LIS_NOSPACE);
	assert_int_equal(block_close(device), 0);
}

/* As many requests as the disk is given at once. */
#define BURST 32

static void start_burst(struct block_io *ios, struct block_device *device, enum block_op op, uint8_t *data)
{
	for (uint32_t i = 0; i < BURST; i++)
		block_io_start(&ios[i], device, loop, op, 0, i * 65536, data + i * 65536, 65536);
}

static void start_file_server(void)
{
	start_nbdkit("file", file_path);
}

static void a_vanished_server_costs_what_is_under_way_and_comes_back(void **state)
{
	static uint8_t data[BURST * 65536], got[BURST * 65536];
	static struct block_io ios[BURST];
	struct block_device *device;

	make_file(DISK_BYTES);
	start_file_server();
	device = open_disk(0);
	block_pattern(data, sizeof(data), 0, 7);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	assert_int_equal(block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0), 0);

	/* Stopped, it takes requests and does not answer; then it is gone. */
	stop_server();
	start_burst(ios, device, BLOCK_READ, got);
	io_loop_turn(loop, false);
	kill_server();
	for (int i = 0; i < BURST; i++)
		assert_int_equal(block_io_wait(&ios[i], loop), -LIS_GONE);

	/* Nobody there: they wait for a try, then fail. */
	start_burst(ios, device, BLOCK_READ, got);
	for (int i = 0; i < BURST; i++)
		assert_int_equal(block_io_wait(&ios[i], loop), -LIS_GONE);
	assert_int_equal(log_lines("the server is gone"), 1);
	assert_int_equal(log_lines("\n"), 1);

	start_file_server();
	start_burst(ios, device, BLOCK_READ, got);
	for (int i = 0; i < BURST; i++)
		assert_int_equal(block_io_wait(&ios[i], loop), 0);
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(log_lines("the server is back"), 1);
	assert_int_equal(log_lines("\n"), 2);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, BLOCK_WRITE_FUA, 0, data, 4096), 0);
	assert_int_equal(block_close(device), 0);
}

static void a_server_that_hangs_is_given_up_and_taken_back(void **state)
{
	static uint8_t data[4096];
	struct block_device *device;

	make_file(DISK_BYTES);
	start_file_server();
	device = open_disk(2000);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, sizeof(data)), 0);
	stop_server();
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), -LIS_GONE);
	assert_int_equal(log_lines("the server is gone (it does not answer)"), 1);
	/* The kernel takes the connection for it; the greeting never comes. */
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), -LIS_GONE);
	kill(server, SIGCONT);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	assert_int_equal(log_lines("\n"), 2);
	assert_int_equal(block_close(device), 0);
}

static void a_server_that_comes_back_with_another_disk_is_not_used(void **state)
{
	static uint8_t data[4096];
	struct block_device *device;

	make_file(DISK_BYTES);
	start_file_server();
	device = open_disk(0);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	kill_server();
	make_file(DISK_BYTES / 2);
	start_file_server();
	for (int i = 0; i < 2; i++)
		assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, sizeof(data)), -LIS_GONE);
	kill_server();
	make_file(DISK_BYTES);
	start_file_server();
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, sizeof(data)), 0);
	assert_int_equal(block_close(device), 0);
}

static void closing_tells_that_the_last_writes_may_be_lost(void **state)
{
	static uint8_t data[4096];
	struct block_device *device;

	make_file(DISK_BYTES);
	start_file_server();
	device = open_disk(0);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	kill_server();
	assert_int_equal(block_close(device), -LIS_GONE);
}

static void what_cannot_be_opened_says_why(void **state)
{
	const struct block_open_options vhdx = { .format = "vhdx" }, read_only = { .read_only = true };
	struct block_device *device;

	assert_int_equal(block_open(uri, NULL, &device, error), -LIS_GONE);
	assert_non_null(strstr(error, "cannot be reached"));
	assert_int_equal(block_open("nbd+nothing://x", NULL, &device, error), -LIS_GONE);
	assert_int_equal(block_open(uri, &vhdx, &device, error), -LIS_UNSUPPORTED);
	make_file(DISK_BYTES);
	start_nbdkit("-r", "file", file_path);
	assert_int_equal(block_open(uri, NULL, &device, error), -LIS_READONLY);
	assert_int_equal(block_open(uri, &read_only, &device, error), 0);
	assert_int_equal(block_close(device), 0);
}

#define nbd_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		nbd_test(many_loops_share_a_server_that_takes_many_connections),
		nbd_test(many_loops_share_the_one_connection_of_a_server_that_takes_one),
		nbd_test(a_qcow2_image_is_a_disk_through_qemu_nbd),
		nbd_test(what_a_server_cannot_do_is_made_up_for),
		nbd_test(requests_are_cut_to_what_the_server_takes),
		nbd_test(where_data_is_the_server_knows),
		nbd_test(errors_of_the_server_are_told_apart),
		nbd_test(a_vanished_server_costs_what_is_under_way_and_comes_back),
		nbd_test(a_server_that_hangs_is_given_up_and_taken_back),
		nbd_test(a_server_that_comes_back_with_another_disk_is_not_used),
		nbd_test(closing_tells_that_the_last_writes_may_be_lost),
		nbd_test(what_cannot_be_opened_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
