// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Bytes by TCP and datagrams by UDP, sent to somebody who sends them back, and compared. A lost
 * datagram is sent again; nothing else may be lost.
 *
 * usage: exchange KIB PORT ADDRESS...    with each address in turn
 *        exchange serve PORT             be the other side, for all addresses
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_BYTES 65536u
#define PATTERN_BYTES (4 * CHUNK_BYTES)
#define SILENCE_MS 30000
#define TRIES 10
#define ANSWER_MS 2000

/* From the shortest to more than a frame takes, whose rest would be hard to get wrong unseen. */
static const uint16_t datagram_sizes[] = { 1, 2, 3, 1000, 1471, 1472, 1473, 8000 };
#define DATAGRAMS (sizeof(datagram_sizes) / sizeof(datagram_sizes[0]))

static uint8_t pattern[PATTERN_BYTES + CHUNK_BYTES], buffer[CHUNK_BYTES];

_Noreturn static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* It repeats after a number of bytes that no power of two divides. */
static void make_pattern(void)
{
	uint32_t state = 1;

	for (size_t i = 0; i < sizeof(pattern); i++) {
		state = state * 1664525 + 1013904223;
		pattern[i] = (uint8_t)(state >> 24);
	}
	memcpy(pattern + PATTERN_BYTES - 1, pattern, CHUNK_BYTES);
}

static const uint8_t *pattern_at(uint64_t place)
{
	return pattern + place % (PATTERN_BYTES - 1);
}

/* ---- the side that asks ---- */

static int connect_to(const char *address, const char *port, int type)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = type }, *to;
	int fd;

	if (getaddrinfo(address, port, &hints, &to)) {
		fprintf(stderr, "%s: no address\n", address);
		exit(2);
	}
	fd = socket(to->ai_family, type, 0);
	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen))
		fail(address);
	freeaddrinfo(to);
	return fd;
}

static void exchange_bytes(const char *address, const char *port, uint64_t bytes)
{
	int fd = connect_to(address, port, SOCK_STREAM);
	uint64_t sent = 0, received = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (received < bytes) {
		struct pollfd wait = { fd, (short)(sent < bytes ? POLLIN | POLLOUT : POLLIN), 0 };
		uint64_t left = bytes - sent;
		ssize_t done;

		if (poll(&wait, 1, SILENCE_MS) != 1) {
			fprintf(stderr, "%s: silence after %llu bytes\n", address,
				(unsigned long long)received);
			exit(1);
		}
		if (left && (wait.revents & POLLOUT)) {
			done = send(fd, pattern_at(sent), left < CHUNK_BYTES ? left : CHUNK_BYTES,
				    MSG_NOSIGNAL);
			if (done < 0 && errno != EAGAIN)
				fail(address);
			sent += done < 0 ? 0 : (uint64_t)done;
		}
		done = recv(fd, buffer, sizeof(buffer), 0);
		if (done < 0 && errno == EAGAIN)
			continue;
		if (done <= 0)
			fail(address);
		if (memcmp(buffer, pattern_at(received), (size_t)done)) {
			fprintf(stderr, "%s: other bytes came back after %llu\n", address,
				(unsigned long long)received);
			exit(1);
		}
		received += (uint64_t)done;
	}
	close(fd);
}

static bool exchange_datagram(int fd, uint16_t size)
{
	struct pollfd wait = { fd, POLLIN, 0 };

	for (int i = 0; i < TRIES; i++) {
		if (send(fd, pattern_at(size), size, 0) != size)
			perror("send");
		while (poll(&wait, 1, ANSWER_MS) == 1) {
			ssize_t bytes = recv(fd, buffer, sizeof(buffer), 0);

			/* The answer to an earlier one may come late. */
			if (bytes == size)
				return !memcmp(buffer, pattern_at(size), size);
		}
	}
	return false;
}

static void exchange_datagrams(const char *address, const char *port)
{
	int fd = connect_to(address, port, SOCK_DGRAM);

	for (size_t i = 0; i < DATAGRAMS; i++) {
		if (!exchange_datagram(fd, datagram_sizes[i])) {
			fprintf(stderr, "%s: a datagram of %u bytes does not come back\n", address,
				datagram_sizes[i]);
			exit(1);
		}
	}
	close(fd);
}

/* ---- the other side ---- */

static int open_port(const char *port, int type)
{
	struct sockaddr_in6 address = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)atoi(port)),
	};
	int fd = socket(AF_INET6, type, 0), off = 0, on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)))
		fail(port);
	return fd;
}

static void return_datagram(int fd)
{
	struct sockaddr_storage from;
	socklen_t from_bytes = sizeof(from);
	ssize_t bytes = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from,
				 &from_bytes);

	if (bytes > 0)
		sendto(fd, buffer, (size_t)bytes, 0, (struct sockaddr *)&from, from_bytes);
}

_Noreturn static void return_bytes(int fd)
{
	for (;;) {
		ssize_t bytes = recv(fd, buffer, sizeof(buffer), 0);

		for (ssize_t done = 0; done < bytes;) {
			ssize_t now = send(fd, buffer + done, (size_t)(bytes - done), 0);

			if (now < 0)
				exit(1);
			done += now;
		}
		if (bytes <= 0)
			exit(0);
	}
}

_Noreturn static void serve(const char *port)
{
	struct pollfd wait[] = { { open_port(port, SOCK_DGRAM), POLLIN, 0 },
				 { open_port(port, SOCK_STREAM), POLLIN, 0 } };

	signal(SIGCHLD, SIG_IGN);
	if (listen(wait[1].fd, 16))
		fail("listen");
	puts("serving");
	fflush(stdout);
	for (;;) {
		int fd;

		poll(wait, 2, -1);
		if (wait[0].revents & POLLIN)
			return_datagram(wait[0].fd);
		if (!(wait[1].revents & POLLIN))
			continue;
		fd = accept(wait[1].fd, NULL, NULL);
		if (fd >= 0 && !fork()) {
			close(wait[1].fd);
			return_bytes(fd);
		}
		close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc < 4) {
		fputs("usage: exchange KIB PORT ADDRESS...\n       exchange serve PORT\n", stderr);
		return 2;
	}
	make_pattern();
	for (int i = 3; i < argc; i++) {
		exchange_bytes(argv[i], argv[2], strtoull(argv[1], NULL, 10) << 10);
		exchange_datagrams(argv[i], argv[2]);
	}
	return 0;
}
