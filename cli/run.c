// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis run`: a VM from the command line, its console, and the signals that end it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/exit.h"
#include "io/log.h"

struct run {
	struct run_options options;
	struct vm *vm;
	struct console *console;
	struct io_fd signals;
	struct io_call signals_stopped;
	bool signals_open;
	bool asked; /* to shut down, by a signal */
};

/* Before there are threads, so that all of them leave these signals alone. */
static int open_signals(struct run *run)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	run->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signals.fd;
}

static void told_to_end(struct run *run)
{
	if (run->asked) {
		cli_vm_kill(run->vm);
		return;
	}
	run->asked = true;
	os_log(OS_LOG_WARNING, "%s: asking the guest to shut down; a second signal kills it",
	       run->options.vm.name);
	cli_vm_ask_shutdown(run->vm);
}

static void signal_ready(struct io_fd *fd, uint32_t poll_events)
{
	struct run *run = (struct run *)((char *)fd - offsetof(struct run, signals));
	struct signalfd_siginfo info;

	while (read(fd->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCONT)
			console_continued(run->console);
		else
			told_to_end(run);
	}
	io_fd_poll(fd, POLLIN);
}

static void watch_signals(struct run *run)
{
	int fd = run->signals.fd;

	run->signals.ready = signal_ready;
	io_fd_start(&run->signals, cli_vm_loop(run->vm), fd);
	io_fd_poll(&run->signals, POLLIN);
	run->signals_open = true;
}

static void signals_stopped(struct io_call *call)
{
	((struct run *)((char *)call - offsetof(struct run, signals_stopped)))->signals_open = false;
}

static void unwatch_signals(struct run *run)
{
	run->signals_stopped.fn = signals_stopped;
	io_fd_stop(&run->signals, &run->signals_stopped);
	while (run->signals_open)
		io_loop_turn(cli_vm_loop(run->vm), true);
}

static void set_log(const struct run *run, bool raw)
{
	log_init(run->options.verbose ? OS_LOG_INFO : OS_LOG_WARNING, "lis: ",
		 raw && isatty(STDERR_FILENO));
}

static int run_vm(struct run *run)
{
	bool interactive = console_is_interactive(run->console);
	char error[VM_ERROR_BYTES];
	enum vm_end end;

	run->options.vm.console = console_machine(run->console);
	if (cli_vm_create(&run->options.vm, &run->vm, error))
		return complain("%s", error);
	if (interactive)
		fprintf(stderr, "lis: %s: Ctrl-] is the escape key, Ctrl-] h lists what may follow\n",
			run->options.vm.name);
	set_log(run, interactive);
	watch_signals(run);
	console_start(run->console, run->vm);
	end = cli_vm_run(run->vm);
	console_stop(run->console);
	set_log(run, false);
	if (end != VM_END_POWERED_OFF || interactive)
		complain("%s: %s", run->options.vm.name, cli_vm_end_text(end));
	unwatch_signals(run);
	cli_vm_destroy(run->vm);
	return lis_exit_status(end);
}

int command_run(const struct command *command, int argc, char **argv)
{
	static struct run run; /* large, and there is one */
	char error[OPTIONS_ERROR_BYTES];
	int status;

	if (options_parse_run(argc, argv, &run.options, error)) {
		complain("run: %s", error);
		status = LIS_EXIT_USAGE;
		goto free_options;
	}
	if (run.options.help) {
		status = show_help(command);
		goto free_options;
	}
	set_log(&run, false);
	if (open_signals(&run) < 0) {
		status = complain("signalfd: %s", strerror(errno));
		goto free_options;
	}
	if (console_create(run.options.console, run.options.console_path, &run.console, error)) {
		status = complain("console: %s", error);
		goto close_signals;
	}
	status = run_vm(&run);
	console_destroy(run.console);
close_signals:
	close(run.signals.fd);
free_options:
	options_free_run(&run.options);
	return status;
}
