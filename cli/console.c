// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest's serial console on our side.
 *
 * Output: the machine's bytes go into one buffer, from which one write at a time is under way in
 * the ring: a pipe nobody reads or a stopped terminal holds up the guest's console and nothing
 * else. Input: read when there is some and the last of it has been taken.
 */
#include "cli/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "io/error.h"
#include "io/log.h"
#include "io/loop.h"

#define OUTPUT_BYTES 65536u
#define INPUT_BYTES 1024u
#define DRAIN_NS 2000000000ull /* [policy] how long output may take to leave at the end */

struct console {
	enum console_kind kind;
	struct vm *vm;
	struct io_loop *loop; /* NULL: not started */
	bool interactive;
	bool escaped;         /* the escape key was the last one */

	int out_fd;           /* -1: output is dropped */
	struct io_op out_op;
	bool out_busy;        /* out_op is under way */
	bool out_polling;     /* ... and only waits for room */
	bool out_refused;     /* the machine waits for room in the buffer */
	size_t out_sent, out_filled;
	char output[OUTPUT_BYTES];

	struct io_fd in;
	struct io_call in_stopped;
	bool in_open;
	size_t in_sent, in_filled;
	char input[INPUT_BYTES];

	struct io_timer deadline;
	bool expired;
};

/* ---- the terminal's mode, one for the process ---- */

static struct termios saved_mode;
static volatile sig_atomic_t mode_is_saved;

static void restore_terminal(void)
{
	if (!mode_is_saved)
		return;
	mode_is_saved = 0;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_mode);
}

static void die_restored(int number)
{
	if (mode_is_saved)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved_mode);
	raise(number); /* SA_RESETHAND: now it kills */
}

static void restore_on_death(void)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGQUIT };
	struct sigaction action = { .sa_handler = die_restored, .sa_flags = SA_RESETHAND | SA_NODEFER };
	struct sigaction before;

	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		if (sigaction(deadly[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
			sigaction(deadly[i], &action, NULL);
	atexit(restore_terminal);
}

static void take_terminal(void)
{
	static bool prepared;
	struct termios mode;

	if (tcgetattr(STDIN_FILENO, &mode))
		return;
	if (!prepared) {
		prepared = true;
		restore_on_death();
	}
	if (!mode_is_saved)
		saved_mode = mode;
	mode_is_saved = 1;
	cfmakeraw(&mode);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

static bool in_foreground(void)
{
	return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/* ---- output ---- */

static void continue_output(struct console *console);

static void drop_output(struct console *console, int error)
{
	os_log(OS_LOG_WARNING, "console: output is dropped from now on: %s", strerror(error));
	if (console->out_fd != STDOUT_FILENO)
		close(console->out_fd);
	console->out_fd = -1;
	console->out_sent = console->out_filled = 0;
}

static void output_done(struct io_op *op, int32_t result)
{
	struct console *console = (struct console *)((char *)op - offsetof(struct console, out_op));
	bool polled = console->out_polling;

	console->out_busy = console->out_polling = false;
	if (polled || result == -EINTR || result == -EAGAIN) {
		if (!polled && result == -EAGAIN && console->out_sent < console->out_filled) {
			console->out_busy = console->out_polling = true;
			io_uring_prep_poll_add(io_loop_sqe(console->loop, op), console->out_fd,
					       POLLOUT);
			return;
		}
	} else if (result < 0) {
		drop_output(console, -result);
	} else {
		console->out_sent += (size_t)result;
	}
	if (console->out_sent == console->out_filled)
		console->out_sent = console->out_filled = 0;
	continue_output(console);
	if (console->out_refused && console->out_filled < OUTPUT_BYTES) {
		console->out_refused = false;
		machine_console_output_ready(cli_vm_machine(console->vm));
	}
}

static void continue_output(struct console *console)
{
	if (console->out_busy || console->expired || console->out_sent == console->out_filled)
		return;
	console->out_busy = true;
	console->out_op.done = output_done;
	io_uring_prep_write(io_loop_sqe(console->loop, &console->out_op), console->out_fd,
			    console->output + console->out_sent,
			    (unsigned)(console->out_filled - console->out_sent), (uint64_t)-1);
}

static size_t take_output(void *owner, const void *data, size_t bytes)
{
	struct console *console = owner;
	size_t taken = OUTPUT_BYTES - console->out_filled;

	if (console->out_fd < 0 || !console->loop)
		return bytes;
	if (taken > bytes)
		taken = bytes;
	memcpy(console->output + console->out_filled, data, taken);
	console->out_filled += taken;
	console->out_refused = taken < bytes;
	continue_output(console);
	return taken;
}

/* ---- input ---- */

static void say_keys(void)
{
	static const char text[] =
		"\r\nlis: after Ctrl-]:  q kill  s shut down  b power button  r reset  p pause, resume\r\n"
		"                    n NMI  Ctrl-] send Ctrl-]  h this help\r\n";

	/* A person's help, nothing depends on it. */
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
}

enum console_key console_key(char typed)
{
	switch (typed) {
	case 'q':
		return CONSOLE_KEY_KILL;
	case 's':
		return CONSOLE_KEY_SHUTDOWN;
	case 'b':
		return CONSOLE_KEY_BUTTON;
	case 'r':
		return CONSOLE_KEY_RESET;
	case 'p':
		return CONSOLE_KEY_PAUSE;
	case 'n':
		return CONSOLE_KEY_NMI;
	case CONSOLE_ESCAPE:
		return CONSOLE_KEY_SEND;
	}
	return CONSOLE_KEY_HELP;
}

static void toggle_pause(struct vm *vm)
{
	bool paused = cli_vm_is_paused(vm);

	if (paused ? cli_vm_resume(vm) : cli_vm_pause(vm))
		os_log(OS_LOG_WARNING, "not possible now");
	else
		os_log(OS_LOG_WARNING, paused ? "resumed" : "paused (Ctrl-] p resumes)");
}

/* Carries out a key behind the escape key. True if the byte is for the guest. */
static bool press(struct console *console, char typed)
{
	struct vm *vm = console->vm;
	int err = 0;

	switch (console_key(typed)) {
	case CONSOLE_KEY_KILL:
		cli_vm_kill(vm);
		break;
	case CONSOLE_KEY_SHUTDOWN:
		cli_vm_ask_shutdown(vm);
		break;
	case CONSOLE_KEY_BUTTON:
		machine_power_button(cli_vm_machine(vm));
		break;
	case CONSOLE_KEY_RESET:
		err = cli_vm_reset(vm);
		break;
	case CONSOLE_KEY_PAUSE:
		toggle_pause(vm);
		break;
	case CONSOLE_KEY_NMI:
		err = machine_nmi(cli_vm_machine(vm));
		break;
	case CONSOLE_KEY_SEND:
		return true;
	case CONSOLE_KEY_HELP:
		say_keys();
		break;
	}
	if (err)
		os_log(OS_LOG_WARNING, "not possible now");
	return false;
}

/* Takes our keys out of what was typed; the rest stays in the buffer for the guest. */
static void filter_keys(struct console *console)
{
	size_t kept = 0;

	for (size_t i = 0; i < console->in_filled; i++) {
		char typed = console->input[i];

		if (console->escaped) {
			console->escaped = false;
			if (!press(console, typed))
				continue;
		} else if (typed == CONSOLE_ESCAPE) {
			console->escaped = true;
			continue;
		}
		console->input[kept++] = typed;
	}
	console->in_filled = kept;
}

static void pass_input(void *owner)
{
	struct console *console = owner;

	if (!console->in_open)
		return;
	if (console->in_sent < console->in_filled)
		console->in_sent += machine_console_input(cli_vm_machine(console->vm),
							  console->input + console->in_sent,
							  console->in_filled - console->in_sent);
	if (console->in_sent == console->in_filled)
		io_fd_poll(&console->in, POLLIN);
	/* Else the machine calls again when there is room. */
}

static void input_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct console *console = (struct console *)((char *)fd - offsetof(struct console, in));
	ssize_t n = read(STDIN_FILENO, console->input, sizeof(console->input));

	if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
		io_fd_poll(&console->in, POLLIN);
		return;
	}
	if (n <= 0)
		return; /* end of input: the VM goes on without */
	console->in_sent = 0;
	console->in_filled = (size_t)n;
	if (console->interactive)
		filter_keys(console);
	pass_input(console);
}

/* ---- life ---- */

int console_create(enum console_kind kind, const char *path, struct console **out_console,
		   char *error)
{
	struct console *console = calloc(1, sizeof(*console));

	if (!console) {
		snprintf(error, OPTIONS_ERROR_BYTES, "console: out of memory");
		return -LIS_NOMEM;
	}
	console->kind = kind;
	console->out_fd = kind == CONSOLE_STDIO ? STDOUT_FILENO : -1;
	if (kind == CONSOLE_LOG) {
		console->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
		if (console->out_fd < 0) {
			snprintf(error, OPTIONS_ERROR_BYTES, "%s: %s", path, strerror(errno));
			free(console);
			return lis_error_from_errno(errno);
		}
	}
	console->interactive = kind == CONSOLE_STDIO && isatty(STDIN_FILENO) &&
			       isatty(STDOUT_FILENO) && in_foreground();
	*out_console = console;
	return 0;
}

struct machine_console console_machine(struct console *console)
{
	return (struct machine_console){
		.output = console->kind == CONSOLE_NONE ? NULL : take_output,
		.input_ready = pass_input,
		.owner = console,
	};
}

bool console_is_interactive(const struct console *console)
{
	return console->interactive;
}

void console_start(struct console *console, struct vm *vm)
{
	console->vm = vm;
	console->loop = cli_vm_loop(vm);
	if (console->interactive)
		take_terminal();
	if (console->kind != CONSOLE_STDIO || (isatty(STDIN_FILENO) && !in_foreground()))
		return;
	console->in_open = true;
	console->in.ready = input_ready;
	io_fd_start(&console->in, console->loop, STDIN_FILENO);
	io_fd_poll(&console->in, POLLIN);
}

void console_continued(struct console *console)
{
	if (console->interactive && console->loop && in_foreground())
		take_terminal();
}

static void in_stopped(struct io_call *call)
{
	((struct console *)((char *)call - offsetof(struct console, in_stopped)))->in_open = false;
}

static void deadline_expired(struct io_timer *timer)
{
	((struct console *)((char *)timer - offsetof(struct console, deadline)))->expired = true;
}

/* Turns the loop until the output is out, or for as long as @console->deadline says. */
static void drain(struct console *console)
{
	console->expired = false;
	console->deadline.expired = deadline_expired;
	io_timer_set(&console->deadline, console->loop, io_loop_now_ns(console->loop) + DRAIN_NS);
	/* What the machine has yet to hand over comes by calls that are there already. */
	for (int i = 0; i < 4; i++)
		io_loop_turn(console->loop, false);
	while (console->out_busy && !console->expired)
		io_loop_turn(console->loop, true);
	io_timer_cancel(&console->deadline);
	console->expired = true;
}

void console_stop(struct console *console)
{
	if (!console->loop)
		return;
	if (console->in_open) {
		console->in_stopped.fn = in_stopped;
		io_fd_stop(&console->in, &console->in_stopped);
	}
	drain(console);
	while (console->in_open)
		io_loop_turn(console->loop, true);
	if (console->out_busy) {
		io_uring_prep_cancel(io_loop_sqe(console->loop, NULL), &console->out_op, 0);
		while (console->out_busy)
			io_loop_turn(console->loop, true);
	}
	restore_terminal();
	console->loop = NULL;
}

void console_destroy(struct console *console)
{
	if (!console)
		return;
	if (console->out_fd >= 0 && console->out_fd != STDOUT_FILENO)
		close(console->out_fd);
	free(console);
}
