/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The commands of `lis`. Each gets its own name as argv[0] and returns an exit status. */
#ifndef OPENLIS_CLI_COMMANDS_H
#define OPENLIS_CLI_COMMANDS_H

/* A command's row in the table of main.c. */
struct command {
	const char *name;
	int (*run)(const struct command *command, int argc, char **argv);
	const char *summary; /* for `lis --help` */
	const char *help;    /* for `lis COMMAND --help` */
};

int command_run(const struct command *command, int argc, char **argv);
int command_list(const struct command *command, int argc, char **argv);
int command_status(const struct command *command, int argc, char **argv);
int command_shutdown(const struct command *command, int argc, char **argv); /* shutdown, reboot, hibernate */
int command_simple(const struct command *command, int argc, char **argv);   /* those without options */
int command_service(const struct command *command, int argc, char **argv);
int command_drive(const struct command *command, int argc, char **argv);
int command_nic(const struct command *command, int argc, char **argv);
int command_capture(const struct command *command, int argc, char **argv);
int command_disk(const struct command *command, int argc, char **argv);
int command_wait(const struct command *command, int argc, char **argv);

/** complain() - "lis: ..." on standard error. Return: LIS_EXIT_ERROR. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** complain_usage() - As complain(), with a pointer to --help. Return: LIS_EXIT_USAGE. */
int complain_usage(const struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** show_help() - Return: LIS_EXIT_OK. */
int show_help(const struct command *command);

#endif
