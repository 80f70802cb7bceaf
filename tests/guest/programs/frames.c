// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Ethernet frames by packet sockets, for both ends of the guest tests of network cards.
 *
 * Frames of our own have an EtherType for experiments and begin with their size, behind which
 * stands a part of a pattern that depends on the size: whoever gets one can tell whether it is as
 * it was sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ETHERTYPE_OURS 0x88b5u /* IEEE 802: for experiments */
#define HEAD_BYTES (ETH_HLEN + sizeof(uint32_t))
#define BYTES_MIN 60u
#define BYTES_MAX 65535u
#define BUFFER_BYTES (1u << 17)
#define SOCKET_BYTES (64 << 20)
/* On their way at a time. */
#define AHEAD_FRAMES 32u
#define AHEAD_BYTES (256u << 10)
#define ANSWER_MS 15000

static uint8_t buffer[BUFFER_BYTES], pattern[2 * BUFFER_BYTES];
static uint8_t own_mac[ETH_ALEN];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		fail("setsockopt");
}

static int open_interface(const char *name)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || !address.sll_ifindex)
		fail(name);
	set(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES);
	set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES);
	set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockname(fd, (struct sockaddr *)&address, &bytes))
		fail("bind");
	memcpy(own_mac, address.sll_addr, ETH_ALEN);
	return fd;
}

static void parse_mac(const char *text, uint8_t mac[ETH_ALEN])
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != ETH_ALEN) {
		fprintf(stderr, "%s: no address\n", text);
		exit(2);
	}
}

/* ---- frames of our own ---- */

static void make_pattern(void)
{
	uint32_t state = 1;

	for (size_t i = 0; i < sizeof(pattern); i++) {
		state = state * 1664525 + 1013904223;
		pattern[i] = (uint8_t)(state >> 24);
	}
}

static const uint8_t *pattern_of(uint32_t size)
{
	return pattern + size * 7919u % BUFFER_BYTES;
}

static void send_frame(int fd, const uint8_t *to, uint32_t size)
{
	uint16_t type = htons(ETHERTYPE_OURS);

	memcpy(buffer, to, ETH_ALEN);
	memcpy(buffer + ETH_ALEN, own_mac, ETH_ALEN);
	memcpy(buffer + 2 * ETH_ALEN, &type, sizeof(type));
	memcpy(buffer + ETH_HLEN, &size, sizeof(size));
	memcpy(buffer + HEAD_BYTES, pattern_of(size), size - HEAD_BYTES);
	if (send(fd, buffer, size, 0) != (ssize_t)size)
		fail("send");
}

static bool is_ours(ssize_t bytes)
{
	uint16_t type;

	memcpy(&type, buffer + 2 * ETH_ALEN, sizeof(type));
	return bytes >= (ssize_t)HEAD_BYTES && type == htons(ETHERTYPE_OURS);
}

/*
 * Returns the size of the next one that came back; 0: none did in time. Wrong ones end it all. All
 * types of frames come to the socket, as on a port of a bridge those of a single one would not.
 */
static uint32_t receive_frame(int fd)
{
	struct pollfd wait = { fd, POLLIN, 0 };
	uint32_t size;
	ssize_t got;

	do {
		if (poll(&wait, 1, ANSWER_MS) != 1)
			return 0;
		got = recv(fd, buffer, sizeof(buffer), 0);
	} while (!is_ours(got));
	memcpy(&size, buffer + ETH_HLEN, sizeof(size));
	if (got < (ssize_t)BYTES_MIN || (uint32_t)got != size ||
	    memcmp(buffer + HEAD_BYTES, pattern_of(size), size - HEAD_BYTES)) {
		fprintf(stderr, "a frame of %u bytes came back as %zd, or others\n", size, got);
		exit(1);
	}
	return size;
}

/* Sends the frames from one size to another to somebody who sends them back. */
static void try_sizes(int fd, const uint8_t *to, uint32_t from, uint32_t until)
{
	static bool seen[BYTES_MAX + 1];
	uint32_t next = from, ahead = 0, ahead_bytes = 0;

	memset(seen, 0, sizeof(seen));
	while (next <= until || ahead) {
		while (next <= until &&
		       (!ahead || (ahead < AHEAD_FRAMES && ahead_bytes + next <= AHEAD_BYTES))) {
			send_frame(fd, to, next);
			ahead_bytes += next++;
			ahead++;
		}
		uint32_t size = receive_frame(fd);

		if (!size || size < from || size >= next || seen[size]) {
			for (size = from; size < next && seen[size];)
				size++;
			fprintf(stderr, "the frame of %u bytes did not come back\n", size);
			exit(1);
		}
		seen[size] = true;
		ahead_bytes -= size;
		ahead--;
	}
}

static int run_sizes(int argc, char **argv)
{
	int fd = open_interface(argv[0]);
	uint8_t to[ETH_ALEN];

	parse_mac(argv[1], to);
	for (int i = 2; i < argc; i++) {
		uint32_t from, until;

		if (sscanf(argv[i], "%u-%u", &from, &until) != 2 || from < BYTES_MIN ||
		    from > until || until > BYTES_MAX)
			return 2;
		try_sizes(fd, to, from, until);
	}
	return 0;
}

/* The one that may be lost goes first, and both take the same way. Returns 0 where it came back. */
static int run_first(int argc, char **argv)
{
	int fd = open_interface(argv[0]);
	uint8_t first[ETH_ALEN], second[ETH_ALEN];
	uint32_t size;

	parse_mac(argv[1], first);
	parse_mac(argv[2], second);
	send_frame(fd, first, BYTES_MIN);
	send_frame(fd, second, BYTES_MIN + 1);
	size = receive_frame(fd);
	if (!size)
		fprintf(stderr, "nothing came back, to %s, either\n", argv[2]);
	return size == BYTES_MIN ? 0 : size ? 3 : 1;
}

_Noreturn static int run_echo(int argc, char **argv)
{
	int fd = open_interface(argv[0]);
	struct packet_mreq group = {
		.mr_ifindex = (int)if_nametoindex(argv[0]),
		.mr_type = PACKET_MR_MULTICAST,
		.mr_alen = ETH_ALEN,
	};

	if (argc > 1) {
		parse_mac(argv[1], group.mr_address);
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group, sizeof(group)))
			fail(argv[1]);
	}
	puts("echoing");
	fflush(stdout);
	for (;;) {
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

		if (!is_ours(got))
			continue;
		memcpy(buffer, buffer + ETH_ALEN, ETH_ALEN);
		memcpy(buffer + ETH_ALEN, own_mac, ETH_ALEN);
		if (send(fd, buffer, (size_t)got, 0) != got && errno != ENOBUFS)
			perror("send");
	}
}

/* ---- other people's frames ---- */

enum count {
	FRAMES,
	TCP4,
	TCP6,
	UDP4,
	UDP6,
	OTHER,
	TAGGED,
	LONG,
	PARTIAL,
	WRONG,
	COUNTS,
};

static const char *const count_names[] = {
	"frames", "tcp4", "tcp6", "udp4", "udp6", "other", "tagged", "long", "partial", "wrong",
};

static unsigned long counts[COUNTS];
static volatile sig_atomic_t ended;

static void on_end(int signal)
{
	ended = 1;
}

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t sum_of(const uint8_t *at, size_t bytes, uint32_t sum)
{
	for (; bytes > 1; bytes -= 2, at += 2)
		sum += be16(at);
	if (bytes)
		sum += (uint32_t)at[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * The sum of the transport's part and of its pseudo header, whose own is @sum. Where the checksum
 * is left to be completed, the pseudo header's sum must stand in its place.
 */
static bool transport_is_right(const uint8_t *at, size_t bytes, uint32_t sum, uint8_t protocol,
			       bool partial)
{
	size_t checksum = protocol == IPPROTO_TCP ? 16 : protocol == IPPROTO_UDP ? 6 : 2;

	if (bytes < checksum + 2)
		return false;
	if (partial)
		return be16(at + checksum) == sum;
	if (protocol == IPPROTO_UDP && !be16(at + checksum))
		return false;
	return sum_of(at, bytes, sum) == 0xffff;
}

static bool packet_is_right(const uint8_t *ip, size_t bytes, bool partial)
{
	bool ipv6 = ip[0] >> 4 == 6;
	size_t head = ipv6 ? 40 : (ip[0] & 0xfu) * 4, total;
	uint8_t protocol = ipv6 ? ip[6] : ip[9], pseudo[4] = { 0, ipv6 ? ip[6] : ip[9] };
	uint32_t sum;

	if (bytes < head)
		return false;
	total = ipv6 ? be16(ip + 4) + 40u : be16(ip + 2);
	/* Short frames are padded; of a long one all must be there, and no more. */
	if (total > bytes || total < head || (bytes > 60 && total != bytes))
		return false;
	if (!ipv6 && sum_of(ip, head, 0) != 0xffff)
		return false;
	counts[protocol == IPPROTO_TCP	 ? (ipv6 ? TCP6 : TCP4)
	       : protocol == IPPROTO_UDP ? (ipv6 ? UDP6 : UDP4)
					 : OTHER]++;
	if (!ipv6 && (be16(ip + 6) & 0x3fff))
		return true; /* a fragment */
	if (protocol == IPPROTO_ICMP && !ipv6)
		return transport_is_right(ip + head, total - head, 0, protocol, partial);
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_ICMPV6)
		return true;
	pseudo[2] = (uint8_t)((total - head) >> 8);
	pseudo[3] = (uint8_t)(total - head);
	sum = sum_of(pseudo, sizeof(pseudo), ipv6 ? sum_of(ip + 8, 32, 0) : sum_of(ip + 12, 8, 0));
	return transport_is_right(ip + head, total - head, sum, protocol, partial);
}

static void check_frame(const uint8_t *frame, size_t bytes, const struct virtio_net_hdr *header,
			bool tagged)
{
	bool partial = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	size_t at = 2 * ETH_ALEN;

	if (be16(frame + at) == ETH_P_8021Q) {
		tagged = true;
		at += 4;
	}
	counts[FRAMES]++;
	counts[TAGGED] += tagged;
	counts[PARTIAL] += partial;
	counts[LONG] += header->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	if ((be16(frame + at) == ETH_P_IP || be16(frame + at) == ETH_P_IPV6) &&
	    !packet_is_right(frame + at + 2, bytes - at - 2, partial)) {
		counts[WRONG]++;
		fprintf(stderr, "wrong, %zu bytes%s:", bytes, partial ? " to be completed" : "");
		for (size_t i = 0; i < bytes && i < 96; i++)
			fprintf(stderr, " %02x", frame[i]);
		fputs("\n", stderr);
	}
}

static bool has_tag(struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
	     part = CMSG_NXTHDR(message, part)) {
		struct tpacket_auxdata data;

		if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&data, CMSG_DATA(part), sizeof(data));
		return data.tp_status & TP_STATUS_VLAN_VALID;
	}
	return false;
}

static void check_all(int fd, const uint8_t *from)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct virtio_net_hdr header;
	struct iovec iov[] = { { &header, sizeof(header) }, { buffer, sizeof(buffer) } };

	for (;;) {
		struct msghdr message = {
			.msg_iov = iov,
			.msg_iovlen = 2,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		/* Told to end, it takes what is there yet. */
		ssize_t got = recvmsg(fd, &message, ended ? MSG_DONTWAIT : 0);

		if (got < 0 && ended && errno != EINTR)
			return;
		if (got >= (ssize_t)(sizeof(header) + BYTES_MIN - 18) &&
		    !memcmp(buffer + ETH_ALEN, from, ETH_ALEN))
			check_frame(buffer, (size_t)got - sizeof(header), &header,
				    has_tag(&message));
	}
}

static int run_check(int argc, char **argv)
{
	int fd = open_interface(argv[0]);
	struct sigaction action = { .sa_handler = on_end };
	struct tpacket_stats stats;
	socklen_t bytes = sizeof(stats);
	uint8_t from[ETH_ALEN];

	parse_mac(argv[1], from);
	set(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	set(fd, SOL_PACKET, PACKET_AUXDATA, 1);
	sigaction(SIGTERM, &action, NULL);
	puts("checking");
	fflush(stdout);
	check_all(fd, from);
	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &bytes))
		fail("statistics");
	for (int i = 0; i < COUNTS; i++)
		printf("%s=%lu ", count_names[i], counts[i]);
	printf("missed=%u\n", stats.tp_drops);
	return counts[WRONG] || stats.tp_drops;
}

static const struct {
	const char *name, *arguments;
	int count;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "echo", "INTERFACE [GROUP]: send our frames back, those to the address GROUP, too", 1,
	  run_echo },
	{ "sizes", "INTERFACE ADDRESS FROM-TO...: send frames of each size to who sends them back",
	  3, run_sizes },
	{ "first",
	  "INTERFACE ADDRESS OTHER: send a frame to each; ends with 0 where the first came back, "
	  "with 3 where only the second did",
	  3, run_first },
	{ "check",
	  "INTERFACE ADDRESS: compute all checksums in what comes from ADDRESS, until SIGTERM", 2,
	  run_check },
};

int main(int argc, char **argv)
{
	const size_t count = sizeof(commands) / sizeof(commands[0]);

	make_pattern();
	for (size_t i = 0; i < count && argc > 1; i++) {
		if (!strcmp(argv[1], commands[i].name) && argc - 2 >= commands[i].count)
			return commands[i].run(argc - 2, argv + 2);
	}
	for (size_t i = 0; i < count; i++)
		fprintf(stderr, "usage: frames %s %s\n", commands[i].name, commands[i].arguments);
	return 2;
}
