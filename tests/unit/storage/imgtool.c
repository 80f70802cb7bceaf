// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Works on an image with our own driver, for scripts that compare with QEMU's:
 *
 *   imgtool [-r] [-d] [-f FORMAT] IMAGE COMMAND...
 *
 *   -r read-only, -d direct
 *   info              format, size, sectors
 *   w:OFF:LEN:BYTE    write LEN times BYTE (numbers as strtoull, with K, M, G, T)
 *   v:OFF:LEN:BYTE    read and compare
 *   z:OFF:LEN         write zeroes
 *   d:OFF:LEN         discard
 *   f                 flush
 *   random:SEED:COUNT COUNT requests, the same for each disk of this size
 *   sleep             until a signal comes (to hold the lock)
 *   die               end at once, as if killed: no close
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/storage/block_io.h"

#define PIECE_BYTES (4u << 20)
#define RANDOM_BYTES_MAX (3u << 20)

static struct io_loop *loop;
static struct block_device *device;

static uint64_t number(char **at)
{
	uint64_t value = strtoull(*at, at, 0);
	const char *units = "KMGT", *unit = **at ? strchr(units, **at) : NULL;

	if (unit) {
		value <<= 10 * (unit - units + 1);
		++*at;
	}
	if (**at == ':')
		++*at;
	return value;
}

static int fail(const char *command, int result)
{
	fprintf(stderr, "%s: result %d\n", command, result);
	return 1;
}

static int move(const char *command, enum block_op op, uint64_t at, uint64_t bytes, int byte)
{
	static uint8_t data[PIECE_BYTES] __attribute__((aligned(4096)));

	while (bytes) {
		uint64_t now = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
		int result;

		memset(data, op == BLOCK_WRITE ? byte : ~byte, now);
		result = block_io(device, loop, op, 0, at, data, now);
		if (result)
			return fail(command, result);
		for (uint64_t i = 0; op == BLOCK_READ && i < now; i++) {
			if (data[i] != (uint8_t)byte) {
				fprintf(stderr, "%s: byte %" PRIu64 " is 0x%02x\n", command, at + i, data[i]);
				return 1;
			}
		}
		at += now;
		bytes -= now;
	}
	return 0;
}

static int random_requests(const char *command, uint64_t seed, uint64_t count)
{
	static uint8_t data[RANDOM_BYTES_MAX] __attribute__((aligned(4096)));
	uint64_t sectors = device->geometry.size_bytes / 512, state = seed;

	while (count--) {
		uint64_t at = block_random(&state) % sectors * 512;
		uint64_t bytes = (block_random(&state) % (RANDOM_BYTES_MAX / 512) + 1) * 512;
		uint64_t kind = block_random(&state) % 16;
		int result;

		if (kind < 12)
			bytes = bytes % 65536 + 512;
		if (bytes > device->geometry.size_bytes - at)
			bytes = device->geometry.size_bytes - at;
		block_pattern(data, bytes, at, block_random(&state));
		if (kind == 15)
			result = block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0);
		else if (kind == 14)
			result = block_io(device, loop, BLOCK_WRITE_ZEROES, 0, at, NULL, bytes);
		else
			result = block_io(device, loop, BLOCK_WRITE, kind == 13 ? BLOCK_WRITE_FUA : 0, at,
					  data, bytes);
		if (result)
			return fail(command, result);
	}
	return 0;
}

static int info(void)
{
	const struct block_geometry *geometry = &device->geometry;
	char id[GUID_TEXT_BYTES];

	guid_format(&geometry->unique_id, id);
	printf("%s size %" PRIu64 " logical %u physical %u align %u discard %u%s%s id %s\n",
	       device->driver->name, geometry->size_bytes, geometry->logical_sector_bytes,
	       geometry->physical_sector_bytes, geometry->buffer_align_bytes,
	       geometry->discard_granularity_bytes, geometry->discard_zeroes ? " zeroes" : "",
	       geometry->read_only ? " read-only" : "", id);
	return 0;
}

static int run(char *command)
{
	char *at = strchr(command, ':');
	uint64_t first = 0, second = 0, third = 0;

	if (at) {
		at++;
		first = number(&at);
		second = number(&at);
		third = number(&at);
	}
	if (!strcmp(command, "info"))
		return info();
	if (!strcmp(command, "f"))
		return block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0) ? fail(command, -1) : 0;
	if (!strcmp(command, "die"))
		kill(getpid(), SIGKILL);
	if (!strcmp(command, "sleep"))
		return puts("ready"), fflush(stdout), pause(), 0;
	if (!strncmp(command, "w:", 2))
		return move(command, BLOCK_WRITE, first, second, (int)third);
	if (!strncmp(command, "v:", 2))
		return move(command, BLOCK_READ, first, second, (int)third);
	if (!strncmp(command, "random:", 7))
		return random_requests(command, first, second);
	if (!strncmp(command, "z:", 2) || !strncmp(command, "d:", 2)) {
		int result = block_io(device, loop, command[0] == 'z' ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, 0,
				      first, NULL, second);

		return result ? fail(command, result) : 0;
	}
	return fail(command, -1);
}

int main(int argc, char **argv)
{
	struct block_open_options options = { 0 };
	char error[BLOCK_ERROR_BYTES];
	int option, status = 0, result;

	while ((option = getopt(argc, argv, "rdf:")) != -1) {
		if (option == 'r')
			options.read_only = true;
		else if (option == 'd')
			options.direct = true;
		else if (option == 'f')
			options.format = optarg;
		else
			return 2;
	}
	if (optind >= argc || io_loop_create(NULL, &loop))
		return 2;
	result = block_open(argv[optind], &options, &device, error);
	if (result) {
		fprintf(stderr, "%s (%d)\n", error, result);
		io_loop_destroy(loop);
		return 3;
	}
	for (int i = optind + 1; i < argc && !status; i++)
		status = run(argv[i]);
	result = block_close(device);
	if (result)
		status = fail("close", result);
	io_loop_destroy(loop);
	return status;
}
