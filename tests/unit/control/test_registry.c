// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The directory of running VMs: who owns a name, and what dead ones leave. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/registry.h"

static char directory[64];

static int setup(void **state)
{
	snprintf(directory, sizeof(directory), "/tmp/lis-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	return setenv("LIS_RUNTIME_DIR", directory, 1);
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static char *in_directory(const char *file)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	return path;
}

static void touch(const char *file)
{
	int fd = open(in_directory(file), O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static bool exists(const char *file)
{
	return access(in_directory(file), F_OK) == 0;
}

/* A VM that was killed: its files stay, its lock is gone. */
static void leave_dead_vm(const char *name)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct registry_claim claim;
		char error[REGISTRY_ERROR_BYTES];

		_exit(registry_claim(name, &claim, error) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void names_are_letters_digits_and_little_else(void **state)
{
	static const char *const good[] = { "a", "web-1", "A.b_c", "_x", "0", "vm.lock" };
	static const char *const bad[] = { "", ".", "..", ".hidden", "-x", "a/b", "a b", "ä", "a\n",
					   "../x" };
	char longest[REGISTRY_NAME_BYTES + 1];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(registry_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(registry_name_valid(bad[i]));
	memset(longest, 'x', sizeof(longest));
	longest[64] = 0;
	assert_true(registry_name_valid(longest));
	longest[64] = 'x';
	longest[65] = 0;
	assert_false(registry_name_valid(longest));
}

static void a_name_is_taken_once_and_free_after_release(void **state)
{
	struct registry_claim claim, second;
	char error[REGISTRY_ERROR_BYTES], pid[24];

	assert_int_equal(registry_claim("web", &claim, error), 0);
	assert_string_equal(claim.socket_path, in_directory("web.sock"));
	assert_int_equal(registry_claim("web", &second, error), -LIS_BUSY);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_non_null(strstr(error, "'web'"));
	assert_non_null(strstr(error, pid));
	/* Another name is no matter. */
	assert_int_equal(registry_claim("web2", &second, error), 0);
	registry_release(&second);
	registry_release(&claim);
	assert_false(exists("web.lock"));
	assert_int_equal(registry_claim("web", &claim, error), 0);
	registry_release(&claim);
	registry_release(&claim);
}

static void a_bad_name_is_refused_with_the_rule(void **state)
{
	struct registry_claim claim;
	char error[REGISTRY_ERROR_BYTES], path[REGISTRY_PATH_BYTES];

	assert_int_equal(registry_claim("../etc", &claim, error), -LIS_INVALID);
	assert_non_null(strstr(error, "1 to 64"));
	assert_int_equal(registry_find("a b", path, error), -LIS_INVALID);
}

static void what_a_dead_vm_left_is_cleaned_up_by_the_next_of_its_name(void **state)
{
	struct registry_claim claim;
	char error[REGISTRY_ERROR_BYTES];

	leave_dead_vm("web");
	touch("web.sock");
	assert_true(exists("web.lock"));
	assert_int_equal(registry_claim("web", &claim, error), 0);
	assert_false(exists("web.sock"));
	registry_release(&claim);
}

static void what_a_dead_vm_left_is_not_found(void **state)
{
	char error[REGISTRY_ERROR_BYTES], path[REGISTRY_PATH_BYTES];

	leave_dead_vm("web");
	touch("web.sock");
	assert_int_equal(registry_find("web", path, error), -LIS_NOTFOUND);
	assert_non_null(strstr(error, "'web'"));
	assert_false(exists("web.sock"));
	assert_false(exists("web.lock"));
}

static char seen[256];
static pid_t seen_pid;

static void note(void *arg, const char *name, pid_t pid)
{
	strncat(seen, name, sizeof(seen) - strlen(seen) - 2);
	strcat(seen, " ");
	seen_pid = pid;
}

static void only_living_vms_are_listed_by_name(void **state)
{
	struct registry_claim b, a;
	char error[REGISTRY_ERROR_BYTES];

	leave_dead_vm("dead");
	assert_int_equal(registry_claim("b", &b, error), 0);
	assert_int_equal(registry_claim("a", &a, error), 0);
	touch("README");
	touch(".lock");
	touch("bad name.lock");
	seen[0] = 0;
	assert_int_equal(registry_each(note, NULL, error), 0);
	assert_string_equal(seen, "a b ");
	assert_int_equal(seen_pid, getpid());
	assert_false(exists("dead.lock"));
	assert_true(exists("README"));
	registry_release(&a);
	registry_release(&b);
}

static void without_the_directory_nothing_runs(void **state)
{
	char error[REGISTRY_ERROR_BYTES], path[REGISTRY_PATH_BYTES];

	assert_int_equal(rmdir(directory), 0);
	seen[0] = 0;
	assert_int_equal(registry_each(note, NULL, error), 0);
	assert_string_equal(seen, "");
	assert_int_equal(registry_find("web", path, error), -LIS_NOTFOUND);
	assert_non_null(strstr(error, "no VM named 'web'"));
}

static void the_directory_is_made_for_its_user_only(void **state)
{
	struct registry_claim claim;
	char error[REGISTRY_ERROR_BYTES];
	struct stat st;

	assert_int_equal(rmdir(directory), 0);
	assert_int_equal(registry_claim("web", &claim, error), 0);
	assert_int_equal(stat(directory, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	registry_release(&claim);
}

static void a_directory_others_may_write_to_is_not_used(void **state)
{
	struct registry_claim claim;
	char error[REGISTRY_ERROR_BYTES], path[REGISTRY_PATH_BYTES];

	assert_int_equal(chmod(directory, 0777), 0);
	assert_int_equal(registry_claim("web", &claim, error), -LIS_DENIED);
	assert_non_null(strstr(error, directory));
	assert_int_equal(registry_find("web", path, error), -LIS_DENIED);
}

static void a_directory_behind_a_link_is_not_used(void **state)
{
	struct registry_claim claim;
	char error[REGISTRY_ERROR_BYTES], link[80], target[80];

	snprintf(link, sizeof(link), "%s/link", directory);
	snprintf(target, sizeof(target), "%s/target", directory);
	assert_int_equal(mkdir(target, 0700), 0);
	assert_int_equal(symlink(target, link), 0);
	setenv("LIS_RUNTIME_DIR", link, 1);
	assert_int_not_equal(registry_claim("web", &claim, error), 0);
}

static void a_path_too_long_for_a_socket_is_refused(void **state)
{
	char longer[200], name[65], error[REGISTRY_ERROR_BYTES];
	struct registry_claim claim;

	memset(longer, 'd', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = 0;
	setenv("LIS_RUNTIME_DIR", longer, 1);
	assert_int_equal(registry_claim("web", &claim, error), -LIS_INVALID);
	snprintf(longer, sizeof(longer), "%s/%s", directory, "dddddddddddddddddddddddddddd");
	assert_int_equal(mkdir(longer, 0700), 0);
	setenv("LIS_RUNTIME_DIR", longer, 1);
	memset(name, 'n', 64);
	name[64] = 0;
	assert_int_equal(registry_claim(name, &claim, error), -LIS_INVALID);
	assert_non_null(strstr(error, "shorter name"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_letters_digits_and_little_else),
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_name_is_taken_once_and_free_after_release),
		TEST(a_bad_name_is_refused_with_the_rule),
		TEST(what_a_dead_vm_left_is_cleaned_up_by_the_next_of_its_name),
		TEST(what_a_dead_vm_left_is_not_found),
		TEST(only_living_vms_are_listed_by_name),
		TEST(without_the_directory_nothing_runs),
		TEST(the_directory_is_made_for_its_user_only),
		TEST(a_directory_others_may_write_to_is_not_used),
		TEST(a_directory_behind_a_link_is_not_used),
		TEST(a_path_too_long_for_a_socket_is_refused),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
