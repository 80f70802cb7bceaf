/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest's serial console on our terminal, pipe or file. Interactive (raw mode, Ctrl-] is the
 * escape key) if standard input and output are terminals and we are in the foreground; the terminal
 * gets its mode back on every way out of the process but SIGKILL. Otherwise bytes pass as they are,
 * and the end of standard input means nothing.
 */
#ifndef OPENLIS_CLI_CONSOLE_H
#define OPENLIS_CLI_CONSOLE_H

#include "cli/options.h"

struct console;

#define CONSOLE_ESCAPE 0x1d /* Ctrl-] */

/* What a key behind the escape key means. */
enum console_key {
	CONSOLE_KEY_HELP,     /* h, ? and all that mean nothing */
	CONSOLE_KEY_KILL,     /* q */
	CONSOLE_KEY_SHUTDOWN, /* s */
	CONSOLE_KEY_BUTTON,   /* b */
	CONSOLE_KEY_RESET,    /* r */
	CONSOLE_KEY_PAUSE,    /* p: pause or resume */
	CONSOLE_KEY_NMI,      /* n */
	CONSOLE_KEY_SEND,     /* the escape key itself: goes to the guest */
};

/** console_key() - Meaning of a byte typed after the escape key. */
enum console_key console_key(char typed);

/**
 * console_create() - Open what the console is to be connected to; nothing is changed yet.
 * @kind: where to
 * @path: CONSOLE_LOG: the file
 * @out_console: set on success only
 * @error: OPTIONS_ERROR_BYTES
 *
 * Return: 0, -LIS_NOMEM, or the code of why the file cannot be opened.
 */
int console_create(enum console_kind kind, const char *path, struct console **out_console,
		   char *error) LIS_MUST_USE;

/** console_machine() - The console as the machine wants it. */
struct machine_console console_machine(struct console *console);

/** console_is_interactive() - Will it take the terminal over? */
bool console_is_interactive(const struct console *console);

/** console_start() - Connect to a VM that is about to run; takes the terminal over. */
void console_start(struct console *console, struct vm *vm);

/** console_continued() - The process was stopped and goes on (SIGCONT): take the terminal over again. */
void console_continued(struct console *console);

/**
 * console_stop() - Write out what is left (for a bounded time), give the terminal back. The VM must not
 * run any more, its loop must still be there. Fine if never started.
 */
void console_stop(struct console *console);

/** console_destroy() - NULL is fine. */
void console_destroy(struct console *console);

#endif
