// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Both ends of the network over the loopback partition, beside a bare copy through the host's kernel: one
 * thread writes frames to a TAP, a bridge forwards them, another thread reads them from a second TAP.
 * The guest end is a thread on CPU 0, the host end a loop on CPU 1, with a port in memory that copies what
 * it is sent and has always something to receive; the bare copy has its threads on the same CPUs. Ours and
 * the bare copy take turns, medians are printed:
 *
 *	network_<direction>_<size> value unit tap_bridge_tap value unit ratio
 *
 * and the host thread's CPU time for each frame. Needs root, for the interfaces.
 *
 * usage: bench_network [PATTERN]   only the cases whose name contains it
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench/pair.h"
#include "io/error.h"
#include "network/netvsc.h"
#include "network/netvsp.h"
#include "network/offload.h"

#define RUNS 5
#define RUN_MS 700
#define WARM_UP_MS 150
#define RECEIVE_PAGES 4096u
#define SEND_PAGES 256u
#define DEPTH 128u
#define HEAD_PAGES (DEPTH / 8)
#define FRAME_PAGES 16u
#define SEGMENT_BYTES 1448u

struct bench_case {
	const char *name;
	bool to_host;
	uint32_t bytes;   /* of the frame as it is handed over */
	const char *unit; /* "Mframes/s" or "Gbit/s" */
};

static const struct bench_case cases[] = {
	{ "from_guest_64", true, 60, "Mframes/s" },
	{ "from_guest_1500", true, 1514, "Gbit/s" },
	{ "from_guest_64k", true, 54 + 42 * SEGMENT_BYTES, "Gbit/s" },
	{ "to_guest_64", false, 60, "Mframes/s" },
	{ "to_guest_1500", false, 1514, "Gbit/s" },
	{ "to_guest_64k", false, 54 + 42 * SEGMENT_BYTES, "Gbit/s" },
};

static bool is_long(uint32_t bytes)
{
	return bytes > 1514;
}

/* A TCP segment over IPv4, from one made-up address to another; or, if @bytes is large, many in one. */
static void make_frame(uint8_t *at, uint32_t bytes)
{
	static const uint8_t head[] = {
		0x02, 0, 0, 0, 0, 0x0b, 0x02, 0, 0, 0, 0, 0x0a, 0x08, 0x00,
		0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 99, 0, 1, 10, 99, 0, 2,
		0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
	};
	uint32_t ip_bytes = bytes - 14, sum = 0;

	for (uint32_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(i * 2654435761u >> 13);
	memcpy(at, head, sizeof(head));
	at[16] = (uint8_t)(ip_bytes >> 8);
	at[17] = (uint8_t)ip_bytes;
	for (uint32_t i = 14; i < 34; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	at[24] = (uint8_t)(~sum >> 8);
	at[25] = (uint8_t)~sum;
	/* The pseudo header's sum, for whoever completes the checksum. */
	sum = 6 + ip_bytes - 20;
	for (uint32_t i = 26; i < 34; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	at[50] = (uint8_t)(sum >> 8);
	at[51] = (uint8_t)sum;
}

/* ---- the host end's port ---- */

/* Copies what comes in as a system call would, and what goes out. */
struct copy_port {
	struct net_port base;
	struct net_port_user *user;
	const struct bench_case *bench;
	_Atomic uint64_t frames;
	bool give;
	uint8_t frame[NET_FRAME_BYTES_MAX], sink[NET_FRAME_BYTES_MAX];
	struct io_loop *loop;
	struct io_poller poller;
};

static struct copy_port *as_copy(struct net_port *port)
{
	return (struct copy_port *)port;
}

static uint32_t copy_poll(struct io_poller *poller)
{
	struct copy_port *port = (struct copy_port *)((char *)poller - offsetof(struct copy_port, poller));

	/* There is always more: told once for each time that the VSP saw the end. */
	if (!port->give)
		return 0;
	port->give = false;
	port->user->ready(port->user);
	return 1;
}

static uint32_t copy_sleep(struct io_poller *poller)
{
	return 0;
}

static void copy_wake(struct io_poller *poller)
{
}

static int copy_start(struct net_port *base, struct io_loop *loop, struct net_port_user *user)
{
	struct copy_port *port = as_copy(base);

	port->user = user;
	port->loop = loop;
	port->give = !port->bench->to_host;
	port->poller = (struct io_poller){ .poll = copy_poll, .sleep = copy_sleep, .wake = copy_wake };
	io_poller_add(loop, &port->poller);
	return 0;
}

static void copy_stop(struct net_port *base, struct io_call *stopped)
{
	struct copy_port *port = as_copy(base);

	io_poller_remove(port->loop, &port->poller);
	io_loop_call(port->loop, stopped);
}

static int copy_send(struct net_port *base, const struct net_frame *frame)
{
	struct copy_port *port = as_copy(base);
	uint8_t *at = port->sink;

	for (uint32_t i = 0; i < frame->iov_count; i++) {
		memcpy(at, frame->iov[i].iov_base, frame->iov[i].iov_len);
		at += frame->iov[i].iov_len;
	}
	atomic_store_explicit(&port->frames, atomic_load_explicit(&port->frames, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return 0;
}

static int copy_receive(struct net_port *base, const struct iovec *iov, uint32_t iov_count,
			uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct copy_port *port = as_copy(base);
	uint32_t left = port->bench->bytes;
	const uint8_t *at = port->frame;

	if (port->bench->to_host)
		return -LIS_EMPTY;
	for (uint32_t i = 0; i < iov_count && left; i++) {
		uint32_t piece = iov[i].iov_len < left ? (uint32_t)iov[i].iov_len : left;

		memcpy(iov[i].iov_base, at, piece);
		at += piece;
		left -= piece;
	}
	*out_bytes = port->bench->bytes;
	out_offload->flags = NET_CHECKSUM_VALID;
	if (is_long(port->bench->bytes))
		*out_offload = (struct net_offload){ NET_CHECKSUM_PARTIAL, NET_GSO_TCP_IPV4,
						     SEGMENT_BYTES, 54, 34, 16 };
	return 0;
}

static void copy_set_receive(struct net_port *port, uint32_t can)
{
}

static void copy_describe(const struct net_port *port, char *line)
{
	snprintf(line, NET_PORT_LINE_BYTES, "memory");
}

static void copy_destroy(struct net_port *port)
{
}

static const struct net_port_ops copy_ops = {
	.start = copy_start, .stop = copy_stop, .send = copy_send, .receive = copy_receive,
	.set_receive = copy_set_receive, .describe = copy_describe, .destroy = copy_destroy,
};

/* ---- both ends ---- */

struct world {
	struct bench_pair pair; /* first: it is how the world is found from it */
	const struct bench_case *bench;
	struct netvsp *netvsp;
	struct copy_port port;

	struct mini_channel mini;
	struct netvsc netvsc;
	struct netvsc_channel channel;
	uint64_t head_pfns[HEAD_PAGES];
	struct gpa frame_gpa;
	uint8_t *frame;
	struct netvsc_request requests[DEPTH], *free;
	uint64_t received, ended;
	uint32_t events;
};

static const uint8_t mac[NET_MAC_BYTES] = { 0x02, 0, 0, 0, 0, 0x0b };

static void offer(void *arg)
{
	struct world *w = arg;
	struct netvsp_config config = { .name = "nic0", .instance_id = netvsp_instance_id(mac),
					.channels_max = 1, .bus_loop = w->pair.loop, .loop = w->pair.loop,
					.port = &w->port.base };

	memcpy(config.mac, mac, sizeof(mac));
	bench_must("card", netvsp_create(w->pair.bus, &config, &w->netvsp));
}

static void *guest_alloc(void *port, size_t bytes)
{
	return malloc(bytes);
}

static void guest_release(void *port, void *memory)
{
	free(memory);
}

static void *pages(struct world *w, uint32_t count, struct gpa *out_gpa)
{
	void *memory = loopback_guest_alloc_pages(w->pair.guest.lo, count, false, out_gpa);

	bench_must("memory", memory ? 0 : -LIS_NOMEM);
	return memory;
}

static void signal_if(struct world *w, bool wanted)
{
	if (wanted)
		mini_signal(&w->mini);
}

/* Takes what is there. */
static void take(struct world *w)
{
	struct netvsc_frame frame;
	struct netvsc_ended ended;
	uint32_t budget = 64, events;

	while (budget-- && netvsc_channel_next(&w->channel, &frame))
		w->received++;
	events = netvsc_channel_settle(&w->channel, bench_now_ns());
	signal_if(w, events & NETVSC_EVENT_SIGNAL);
	w->events |= events;
	ended = netvsc_take_ended(&w->channel);
	w->ended += ended.frames;
	while (ended.requests) {
		struct netvsc_request *next = ended.requests->next;

		ended.requests->next = w->free;
		w->free = ended.requests;
		ended.requests = next;
	}
}

static void await(struct world *w, const char *what, uint32_t event)
{
	uint64_t end_ns = bench_now_ns() + 5000000000ull;

	signal_if(w, netvsc_channel_flush(&w->channel));
	while (!(w->events & event)) {
		take(w);
		if (bench_now_ns() > end_ns)
			bench_must(what, -LIS_TIMEOUT);
	}
	w->events &= ~event;
}

static struct netvsc_buffer share(struct world *w, uint32_t count)
{
	struct netvsc_buffer buffer = { .bytes = count * HV_PAGE_BYTES };
	struct gpa gpa;

	buffer.memory = pages(w, count, &gpa);
	bench_must("buffer", mini_gpadl(&w->pair.guest, w->mini.offer.channel_id, gpa, count, &buffer.gpadl_id));
	return buffer;
}

static void open_channel(struct world *w)
{
	const struct guid id = netvsp_instance_id(mac);
	struct netvsc_channel_config config = {
		.to_host = &w->mini.to_host, .from_host = &w->mini.from_host,
		.queue_depth = DEPTH, .head_pages = HEAD_PAGES, .head_pfns = w->head_pfns,
	};
	struct gpa gpa;

	bench_must("open", mini_open(&w->pair.guest, mini_find_offer(&w->pair.guest, &id, 0), BENCH_RING_PAGES, &w->mini));
	config.heads = pages(w, HEAD_PAGES, &gpa);
	for (uint32_t i = 0; i < HEAD_PAGES; i++)
		w->head_pfns[i] = (gpa.value >> HV_PAGE_SHIFT) + i;
	bench_must("channel", netvsc_channel_open(&w->netvsc, &w->channel, &config));
	/* The guest is awake all the time. */
	netvsc_channel_mask(&w->channel);
}

static void set_up(struct world *w)
{
	struct netvsc_config config = { .name = "bench", .alloc = guest_alloc, .release = guest_release,
					.coalesce = true };
	struct netvsc_buffer receive, send;
	struct gpa gpa;

	bench_pair_connect(&w->pair);
	config.control_page = pages(w, 1, &gpa);
	config.control_pfn = gpa.value >> HV_PAGE_SHIFT;
	bench_must("driver", netvsc_init(&w->netvsc, &config));
	open_channel(w);
	receive = share(w, RECEIVE_PAGES);
	send = share(w, SEND_PAGES);
	bench_must("set-up", netvsc_start(&w->netvsc, 0));
	await(w, "version", NETVSC_EVENT_BUFFERS);
	bench_must("buffers", netvsc_set_buffers(&w->netvsc, &receive, &send, 0));
	await(w, "set-up", NETVSC_EVENT_READY);
	bench_must("filter", netvsc_set_filter(&w->netvsc, NDIS_FILTER_PROMISCUOUS, 0));
	await(w, "filter", NETVSC_EVENT_CONTROL);
	w->frame = pages(w, FRAME_PAGES, &w->frame_gpa);
	make_frame(w->frame, w->bench->bytes);
	for (uint32_t i = 0; i < DEPTH; i++) {
		w->requests[i].next = w->free;
		w->free = &w->requests[i];
	}
}

static void begin(struct world *w, const struct bench_case *bench)
{
	memset(w, 0, sizeof(*w));
	w->bench = bench;
	w->port.base = (struct net_port){ .ops = &copy_ops, .can_send = NET_CAN_ALL,
					  .can_receive = NET_CAN_ALL, .mtu_max = 65521, .link_up = true };
	w->port.bench = bench;
	make_frame(w->port.frame, bench->bytes);
	bench_pair_begin(&w->pair, "network");
	io_loop_call_wait(w->pair.loop, offer, w);
	set_up(w);
}

static void destroy(struct bench_pair *pair, struct io_call *destroyed)
{
	netvsp_destroy(((struct world *)pair)->netvsp, destroyed);
}

static void end(struct world *w)
{
	netvsc_channel_stop(&w->channel);
	bench_must("close", mini_close(&w->mini));
	/* The requests are in @w, ended or not. */
	if (netvsc_channel_close(&w->channel))
		w->free = NULL;
	netvsc_fini(&w->netvsc);
	bench_pair_end(&w->pair, destroy);
}

/* As many as go in one go; then the host is told. */
static void send_some(struct world *w)
{
	uint32_t bytes = w->bench->bytes;
	struct netvsc_piece piece = { w->frame, w->frame_gpa.value >> HV_PAGE_SHIFT, bytes };
	struct netvsc_packet packet = { .pieces = &piece, .piece_count = 1, .bytes = bytes };

	if (is_long(bytes)) {
		packet.wishes = NETVSC_WISH_IPV4 | NETVSC_WISH_TCP_CHECKSUM | NETVSC_WISH_SEGMENTS;
		packet.network_offset = 14;
		packet.transport_offset = 34;
		packet.segment_bytes = SEGMENT_BYTES;
	}
	for (uint32_t i = 0; i < 32 && w->free; i++) {
		struct netvsc_request *request = w->free;
		bool done;
		int err;

		w->free = request->next;
		err = netvsc_send(&w->channel, &packet, request, &done);
		if (err || done) {
			request->next = w->free;
			w->free = request;
		}
		if (err == -LIS_AGAIN)
			break;
		bench_must("send", err);
	}
	signal_if(w, netvsc_channel_flush(&w->channel));
}

static void run_until(struct world *w, uint64_t end_ns)
{
	while (bench_now_ns() < end_ns) {
		if (w->bench->to_host)
			send_some(w);
		take(w);
	}
}

static uint64_t frames_of(struct world *w)
{
	return w->bench->to_host ? atomic_load_explicit(&w->port.frames, memory_order_relaxed) : w->received;
}

/* Returns frames a second; *@out_cpu_us is the host thread's time for each. */
static double run_ours(const struct bench_case *bench, double *out_cpu_us)
{
	static struct world world;
	struct world *w = &world;
	uint64_t start_ns, end_ns, frames, cpu_ns;

	begin(w, bench);
	run_until(w, bench_now_ns() + WARM_UP_MS * 1000000ull);
	cpu_ns = bench_pair_cpu_ns(&w->pair);
	frames = frames_of(w);
	start_ns = bench_now_ns();
	run_until(w, start_ns + RUN_MS * 1000000ull);
	end_ns = bench_now_ns();
	frames = frames_of(w) - frames;
	cpu_ns = bench_pair_cpu_ns(&w->pair) - cpu_ns;
	end(w);
	*out_cpu_us = frames ? (double)cpu_ns / (double)frames / 1000 : 0;
	return (double)frames * 1e9 / (double)(end_ns - start_ns);
}

/* ---- the bare copy ---- */

struct bare {
	int in, out;
	const struct bench_case *bench;
	_Atomic uint64_t frames;
	atomic_bool stop;
};

static int open_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	strcpy(request.ifr_name, name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) ||
	    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) {
		fprintf(stderr, "network: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	return fd;
}

static void shell(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "network: failed: %s\n", command);
		exit(1);
	}
}

static void *bare_read(void *arg)
{
	struct bare *bare = arg;
	static uint8_t buffer[NET_FRAME_BYTES_MAX + 64];

	bench_pin(1);
	while (!atomic_load_explicit(&bare->stop, memory_order_relaxed)) {
		ssize_t bytes = read(bare->out, buffer, sizeof(buffer));

		/* The kernel has frames of its own to tell: neighbours and such. */
		if (bytes == (ssize_t)(sizeof(struct virtio_net_hdr) + bare->bench->bytes))
			atomic_store_explicit(&bare->frames, bare->frames + 1, memory_order_relaxed);
	}
	return NULL;
}

static void bare_write_until(struct bare *bare, uint64_t end_ns)
{
	static uint8_t buffer[sizeof(struct virtio_net_hdr) + NET_FRAME_BYTES_MAX];
	struct virtio_net_hdr header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .csum_start = 34, .csum_offset = 16, .hdr_len = 54 };

	if (is_long(bare->bench->bytes)) {
		header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		header.gso_size = SEGMENT_BYTES;
	}
	memcpy(buffer, &header, sizeof(header));
	make_frame(buffer + sizeof(header), bare->bench->bytes);
	while (bench_now_ns() < end_ns)
		for (uint32_t i = 0; i < 32; i++)
			if (write(bare->in, buffer, sizeof(header) + bare->bench->bytes) < 0 &&
			    errno != EAGAIN)
				bench_must("write to the TAP", lis_error_from_errno(errno));
}

static double run_bare(const struct bench_case *bench)
{
	static struct bare bare;
	uint64_t start_ns, end_ns, frames;
	pthread_t reader;

	bare = (struct bare){ .in = open_tap("lisbench0"), .out = open_tap("lisbench1"), .bench = bench };
	shell("ip link add lisbench type bridge forward_delay 0 mcast_snooping 0 &&"
	      "for n in 0 1; do ip link set lisbench$n txqueuelen 1000 master lisbench up || exit 1; done;"
	      "ip link set lisbench up");
	bench_must("thread", pthread_create(&reader, NULL, bare_read, &bare) ? -LIS_NOMEM : 0);
	bench_pin(0);
	bare_write_until(&bare, bench_now_ns() + WARM_UP_MS * 1000000ull);
	start_ns = bench_now_ns();
	frames = atomic_load(&bare.frames);
	bare_write_until(&bare, start_ns + RUN_MS * 1000000ull);
	frames = atomic_load(&bare.frames) - frames;
	end_ns = bench_now_ns();
	bench_unpin();
	atomic_store(&bare.stop, true);
	pthread_join(reader, NULL);
	shell("ip link del lisbench");
	close(bare.in);
	close(bare.out);
	return (double)frames * 1e9 / (double)(end_ns - start_ns);
}

/* ---- the figures ---- */

static double in_unit(const struct bench_case *bench, double frames)
{
	return *bench->unit == 'M' ? frames / 1e6 : frames * bench->bytes * 8 / 1e9;
}

static void run_case(const struct bench_case *bench)
{
	double ours[RUNS], bare[RUNS], cpu[RUNS];

	for (int i = 0; i < RUNS; i++) {
		ours[i] = in_unit(bench, run_ours(bench, &cpu[i]));
		bare[i] = in_unit(bench, run_bare(bench));
	}
	printf("network_%s %.2f %s tap_bridge_tap %.2f %s %.2f\n", bench->name, bench_median(ours, RUNS), bench->unit,
	       bench_median(bare, RUNS), bench->unit, bench_median(ours, RUNS) / bench_median(bare, RUNS));
	printf("network_%s_host_cpu %.2f us/frame - - - -\n", bench->name, bench_median(cpu, RUNS));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (geteuid()) {
		fprintf(stderr, "network: needs root, to make interfaces\n");
		return 1;
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (argc < 2 || strstr(cases[i].name, argv[1]))
			run_case(&cases[i]);
	return 0;
}
