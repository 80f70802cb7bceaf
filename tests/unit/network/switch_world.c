// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Ports of one switch in one process, and strangers among them: see switch_world.h. */
#include "tests/unit/network/switch_world.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct switch_world switch_world;
uint8_t switch_frame[SLOW_FRAME_BYTES_MAX], datagram[SWITCH_DATAGRAM_BYTES_MAX + 1000];
const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* ---- the world ---- */

int switch_make_directory(void **state)
{
	strcpy(switch_world.directory, "/tmp/lis-switch-XXXXXX");
	assert_non_null(mkdtemp(switch_world.directory));
	snprintf(switch_world.folder, sizeof(switch_world.folder), "%s/switch-lan",
		 switch_world.directory);
	assert_int_equal(io_loop_create(NULL, &switch_world.loop), 0);
	return 0;
}

int switch_remove_directory(void **state)
{
	io_loop_destroy(switch_world.loop);
	return rmdir(switch_world.directory);
}

struct net_port *new_port(void)
{
	struct switch_config config = { .directory = switch_world.directory, .name = "lan" };
	char error[NET_PORT_ERROR_BYTES] = "";
	struct net_port *port;

	if (switch_create(&config, &port, error))
		fail_msg("%s", error);
	return port;
}

void switch_begin(void)
{
	for (int i = 0; i < PORTS; i++) {
		switch_world.ports[i] = new_port();
		user_start(&switch_world.users[i], switch_world.ports[i], switch_world.loop);
	}
}

void switch_end(void)
{
	for (int i = 0; i < PORTS; i++) {
		user_stop(&switch_world.users[i]);
		net_port_destroy(switch_world.ports[i]);
	}
	/* Nobody is left, so nothing is. */
	assert_int_equal(access(switch_world.folder, F_OK), -1);
}

uint64_t received_drops(const struct port_user *user)
{
	return atomic_load(&user->port->counters.receive_dropped);
}

uint64_t sent_drops(const struct port_user *user)
{
	return atomic_load(&user->port->counters.send_dropped);
}

/* ---- frames ---- */

const uint8_t *mac_of(const struct port_user *user)
{
	static uint8_t macs[PORTS + 1][6] = { { 2, 0, 0, 0, 0, 0xa },
					      { 2, 0, 0, 0, 0, 0xb },
					      { 2, 0, 0, 0, 0, 0xc },
					      { 2, 0, 0, 0, 0, 0xd } };

	return macs[user ? user - switch_world.users : PORTS];
}

void make_plain(const uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	memcpy(switch_frame, to, 6);
	memcpy(switch_frame + 6, from, 6);
	for (uint32_t i = 12; i < bytes; i++)
		switch_frame[i] = (uint8_t)(i * 11 + (i >> 8) + bytes);
}

void send_plain(struct port_user *from, const uint8_t *to, uint32_t bytes)
{
	make_plain(to, mac_of(from), bytes);
	assert_int_equal(user_send(from, switch_frame, bytes, bytes / 5 + 1, NULL), 0);
}

void expect_frame(struct port_user *user, uint32_t bytes)
{
	user_wait(user);
	assert_int_equal(user->bytes, bytes);
	assert_memory_equal(user->memory, switch_frame, bytes);
}

void expect_nothing(struct port_user *user)
{
	settle(switch_world.loop);
	assert_int_equal(user_take(user, NET_FRAME_BYTES_MAX), -LIS_EMPTY);
}

/* Each has heard of all others. */
void introduce(void)
{
	for (int i = 0; i < PORTS; i++) {
		send_plain(&switch_world.users[i], broadcast, 60);
		for (int j = 0; j < PORTS; j++) {
			if (j != i)
				expect_frame(&switch_world.users[j], 60);
		}
	}
}

/* ---- strangers ---- */

struct sockaddr_un address_of(uint64_t id)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%016llx", switch_world.folder,
		 (unsigned long long)id);
	return address;
}

/* A socket in the folder that is no port of ours. */
int stranger(uint64_t id)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = address_of(id);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void bury(uint64_t id)
{
	unlink(address_of(id).sun_path);
}

bool is_in_folder(uint64_t id)
{
	return access(address_of(id).sun_path, F_OK) == 0;
}

/* The name of a port's socket: the @number-th in the folder, but for the stranger's. */
uint64_t port_id(int number)
{
	DIR *folder = opendir(switch_world.folder);
	struct dirent *entry;
	uint64_t id = 0;

	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.' || strtoull(entry->d_name, NULL, 16) == STRANGER_ID)
			continue;
		id = strtoull(entry->d_name, NULL, 16);
		if (!number--)
			break;
	}
	closedir(folder);
	return id;
}

/* A datagram of one switch_frame, to all ports. */
void say_to_all(int fd, uint64_t from, const struct switch_frame_head *frame_head, uint32_t bytes)
{
	struct switch_head head = { SWITCH_MAGIC, SWITCH_VERSION, 0, from };

	memcpy(datagram, &head, sizeof(head));
	memcpy(datagram + sizeof(head), frame_head, sizeof(*frame_head));
	memcpy(datagram + sizeof(head) + sizeof(*frame_head), switch_frame, bytes);
	for (int i = 0; i < PORTS; i++) {
		struct sockaddr_un address = address_of(port_id(i));

		assert_true(sendto(fd, datagram, sizeof(head) + sizeof(*frame_head) + bytes, 0,
				   (struct sockaddr *)&address, sizeof(address)) > 0);
	}
}

void send_raw(int fd, const void *bytes, size_t length)
{
	for (int i = 0; i < PORTS; i++) {
		struct sockaddr_un address = address_of(port_id(i));

		assert_int_equal(
			sendto(fd, bytes, length, 0, (struct sockaddr *)&address, sizeof(address)),
			length);
	}
}

uint32_t make_flow(const struct slow_plan *plan, uint16_t segment_bytes,
		   struct net_offload *offload)
{
	uint32_t bytes = slow_build(plan, switch_frame, segment_bytes, offload);

	memcpy(switch_frame, mac_of(b), 6);
	memcpy(switch_frame + 6, mac_of(a), 6);
	return bytes;
}
