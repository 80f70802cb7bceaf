/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What users write on the command line, taken apart: sizes, versions, drives, the options of `lis
 * run`. Parsers return values and words about what is wrong; they print and open nothing.
 */
#ifndef OPENLIS_CLI_OPTIONS_H
#define OPENLIS_CLI_OPTIONS_H

#include "cli/vm.h"

#define OPTIONS_ERROR_BYTES 512 /* one line for the user, without its newline */

/**
 * options_parse_size() - "512M", "2G", "1536MiB": bytes. A bare number counts MiB.
 * @text: as written; K, M, G and T are powers of 1024
 * @out_bytes: set on success only
 * @error: OPTIONS_ERROR_BYTES
 *
 * Return: 0, -LIS_INVALID.
 */
int options_parse_size(const char *text, uint64_t *out_bytes, char *error) LIS_MUST_USE;

/** options_parse_number() - A decimal number from @min to @max. Return: 0, -LIS_INVALID. */
int options_parse_number(const char *what, const char *text, uint32_t min, uint32_t max,
			 uint32_t *out_number, char *error) LIS_MUST_USE;

/** options_parse_version() - "4.0", one of the VMBus versions. Return: 0, -LIS_INVALID. */
int options_parse_version(const char *text, uint32_t *out_version, char *error) LIS_MUST_USE;

/**
 * options_parse_drive() - "PATH[,type=disk|cd|passthrough][,format=raw|vhd|vhdx][,ro][,direct][,controller=N]
 * [,lun=N]"; ",," is a comma. A path that ends in ".iso" is a CD where no type is given.
 * @text: as written
 * @out_drive: filled on success only; path is allocated; lun is VM_LUN_ANY where none was given
 * @error: OPTIONS_ERROR_BYTES
 *
 * Return: 0, -LIS_INVALID, -LIS_NOMEM.
 */
int options_parse_drive(const char *text, struct vm_drive *out_drive, char *error) LIS_MUST_USE;

/**
 * options_parse_nic() - "user|tap:NAME|switch:NAME[,channels=N]" with what options_parse_nic_change()
 * knows, for tap "[,queues=N]", and for user "[,restrict]" and
 * "[,hostfwd=tcp|udp:[ADDRESS:]PORT:[ADDRESS:]PORT]...".
 * @text: as written
 * @out_nic: filled on success only; target is allocated
 * @error: OPTIONS_ERROR_BYTES
 *
 * Return: 0, -LIS_INVALID, -LIS_NOMEM.
 */
int options_parse_nic(const char *text, struct vm_nic *out_nic, char *error) LIS_MUST_USE;

/**
 * options_parse_nic_change() - "[mac=M][,link=up|down][,speed=N][,mtu=N]", one of them at least.
 * @out_nic: filled on success only; what is not said is 0
 *
 * Return: as options_parse_nic().
 */
int options_parse_nic_change(const char *text, struct vm_nic *out_nic, char *error) LIS_MUST_USE;

enum console_kind {
	CONSOLE_STDIO,
	CONSOLE_NONE,
	CONSOLE_LOG, /* to a file, no input */
};

/* What `lis run` was asked to do. */
struct run_options {
	struct vm_config vm;
	enum console_kind console;
	const char *console_path; /* CONSOLE_LOG */
	bool verbose;
	bool help;
	char *default_name;       /* owned, where none was given */
};

/**
 * options_parse_run() - The arguments of `lis run`.
 * @argc: number of arguments, from "run" on
 * @argv: may be reordered; strings must live as long as @out_options
 * @out_options: filled on success; free with options_free_run() in any case
 * @error: OPTIONS_ERROR_BYTES
 *
 * Return: 0, -LIS_INVALID, -LIS_NOMEM.
 */
int options_parse_run(int argc, char **argv, struct run_options *out_options,
		      char *error) LIS_MUST_USE;

/** options_free_run() - Free what parsing allocated. */
void options_free_run(struct run_options *options);

#endif
