// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Datagrams of other VMs to a port of a switch: whatever is in them, what the user gets is a frame with
 * nothing beside it that it does not know or that lies outside of it; and what the port sends on it sends to
 * others, or nobody.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "network/backends/switch.h"
#include "network/backends/switch_format.h"

#define DATAGRAMS_MAX 8u
#define FRAMES_MAX 4u
#define TURNS_MAX 10000

/* What begins a datagram. */
#define AS_IT_IS 0x01u    /* all of it is in the input */
#define FROM_A_PORT 0x02u /* that there is; else by the number in the input */
#define CUT_OFF 0x04u
#define ANSWER 0x08u      /* the user sends what it got back to where it came from */

static char directory[] = "/tmp/fuzz-switch.XXXXXX";
static struct io_loop *loop;
static struct net_port *port, *other;
static int stranger = -1;
static uint64_t other_id;
static uint8_t datagram[SWITCH_DATAGRAM_BYTES_MAX + 64];
static unsigned stopped;

static void ready(struct net_port_user *user)
{
}

static struct net_port_user user = { ready, ready }, other_user = { ready, ready };

static void on_stopped(struct io_call *call)
{
	stopped++;
}

/* ---- the switch ---- */

/* A socket in the folder that is not @but; its name is its number. */
static uint64_t socket_there(uint64_t but, struct sockaddr_un *address)
{
	char folder[64];
	struct dirent *entry;
	uint64_t id = 0;
	DIR *dir;

	snprintf(folder, sizeof(folder), "%s/switch-fuzz", directory);
	dir = opendir(folder);
	FUZZ_CHECK(dir);
	while (!id && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strtoull(entry->d_name, NULL, 16) == but)
			continue;
		id = strtoull(entry->d_name, NULL, 16);
		address->sun_family = AF_UNIX;
		snprintf(address->sun_path, sizeof(address->sun_path), "%s/%.16s", folder, entry->d_name);
	}
	closedir(dir);
	FUZZ_CHECK(id);
	return id;
}

static void begin(uint32_t can)
{
	const struct switch_config config = { directory, "fuzz" };
	struct sockaddr_un address, unused;
	uint64_t id;

	FUZZ_CHECK(!switch_create(&config, &port, NULL));
	id = socket_there(0, &address);
	FUZZ_CHECK(!switch_create(&config, &other, NULL));
	other_id = socket_there(id, &unused);
	FUZZ_CHECK(!net_port_start(port, loop, &user) && !net_port_start(other, loop, &other_user));
	net_port_set_receive(port, can);
	stranger = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(stranger >= 0 && !connect(stranger, (struct sockaddr *)&address, sizeof(address)));
}

static void end(void)
{
	struct io_call calls[2] = { { .fn = on_stopped }, { .fn = on_stopped } };

	stopped = 0;
	net_port_stop(port, &calls[0]);
	net_port_stop(other, &calls[1]);
	for (int i = 0; i < TURNS_MAX && stopped < 2; i++)
		io_loop_turn(loop, false);
	FUZZ_CHECK(stopped == 2);
	net_port_destroy(port);
	net_port_destroy(other);
	close(stranger);
}

/* ---- what the user gets ---- */

static void check_offload(const struct net_offload *offload, uint32_t bytes, uint32_t can)
{
	static const uint32_t can_gso[] = {
		[NET_GSO_NONE] = 0,
		[NET_GSO_TCP_IPV4] = NET_CAN_TCP_IPV4,
		[NET_GSO_TCP_IPV6] = NET_CAN_TCP_IPV6,
		[NET_GSO_UDP] = NET_CAN_UDP,
	};

	FUZZ_CHECK(offload->gso <= NET_GSO_UDP);
	FUZZ_CHECK((can & can_gso[offload->gso]) == can_gso[offload->gso]);
	FUZZ_CHECK(!(offload->flags & ~(NET_CHECKSUM_PARTIAL | NET_CHECKSUM_VALID)));
	if (offload->flags & NET_CHECKSUM_PARTIAL) {
		FUZZ_CHECK(can & NET_CAN_CHECKSUM);
		FUZZ_CHECK(offload->checksum_start + offload->checksum_offset + 2u <= bytes);
	}
	if (offload->gso != NET_GSO_NONE) {
		FUZZ_CHECK(offload->flags & NET_CHECKSUM_PARTIAL);
		FUZZ_CHECK(offload->segment_bytes);
		FUZZ_CHECK(offload->header_bytes > offload->checksum_start && offload->header_bytes <= bytes);
	}
}

static void send_back(uint8_t *data, uint32_t bytes, const struct net_offload *offload)
{
	struct iovec iov = { data, bytes };
	struct net_frame frame = { &iov, 1, bytes, *offload, 0 };
	int err;

	memcpy(data, data + NET_MAC_BYTES, NET_MAC_BYTES);
	err = net_port_send(port, &frame);
	FUZZ_CHECK(!err || err == -LIS_FULL || err == -LIS_INVALID || err == -LIS_IO);
	net_port_flush(port);
}

/* All that is there. @room: of the user. */
static void receive(struct net_port *from, uint32_t room, uint32_t can, bool answer)
{
	uint8_t *data = malloc(room); /* of its very length */
	struct iovec iov[] = { { data, 9 }, { data + 9, room - 9 } };
	struct net_offload offload;
	uint32_t bytes;

	while (!net_port_receive(from, iov, 2, room, &bytes, &offload)) {
		FUZZ_CHECK(bytes >= NET_FRAME_BYTES_MIN && bytes <= room);
		check_offload(&offload, bytes, can);
		if (answer)
			send_back(data, bytes, &offload);
	}
	free(data);
	io_loop_turn(loop, false);
}

/* ---- datagrams ---- */

/* Returns its length. */
static uint32_t build(struct input *input, uint8_t how)
{
	struct switch_head head = { SWITCH_MAGIC, SWITCH_VERSION, 0,
				    how & FROM_A_PORT ? other_id : input_u64(input) };
	uint32_t at = sizeof(head), frames = 1 + input_u8(input) % FRAMES_MAX;

	memcpy(datagram, &head, sizeof(head));
	for (uint32_t i = 0; i < frames; i++) {
		struct switch_frame_head frame;
		uint32_t bytes, given = input_u8(input);

		input_copy(input, &frame, sizeof(frame));
		if (sizeof(datagram) - at <= sizeof(frame))
			break;
		bytes = frame.bytes % (uint32_t)(sizeof(datagram) - at - sizeof(frame));
		frame.bytes = bytes;
		frame.flags &= NET_CHECKSUM_PARTIAL;
		frame.gso %= NET_GSO_UDP + 1;
		frame.zero = 0;
		memcpy(datagram + at, &frame, sizeof(frame));
		at += (uint32_t)sizeof(frame);
		memset(datagram + at, 0, bytes);
		/* Its headers; the rest says nothing. */
		input_copy(input, datagram + at, given < bytes ? given : bytes);
		at += bytes;
	}
	if (how & CUT_OFF)
		at -= input_u8(input) % at;
	return at;
}

static void one_datagram(struct input *input, uint32_t can)
{
	uint8_t how = input_u8(input);
	uint32_t room = 64u + input_u16(input), bytes;

	if (how & AS_IT_IS) {
		bytes = input_u16(input) % 256;
		input_copy(input, datagram, bytes);
	} else {
		bytes = build(input, how);
	}
	FUZZ_CHECK(send(stranger, datagram, bytes, 0) == (ssize_t)bytes || errno == EMSGSIZE);
	receive(port, room, can, how & ANSWER);
	receive(other, room, 0, false);
}

static void remove_directory(void)
{
	rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	FUZZ_CHECK(mkdtemp(directory) && !atexit(remove_directory));
	FUZZ_CHECK(!io_loop_create(NULL, &loop));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint32_t can = input_u8(&input) & NET_CAN_ALL;

	/* The others are nothing without it. */
	if (!(can & NET_CAN_CHECKSUM))
		can = 0;
	begin(can);
	for (uint32_t i = 0; i < DATAGRAMS_MAX && input.bytes; i++)
		one_datagram(&input, can);
	end();
	return 0;
}
