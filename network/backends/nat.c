// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A port to the host's own network through libslirp: see nat.h.
 *
 * libslirp works when it is called: with a frame of the guest, with what its sockets are ready for,
 * and when a time is up. A cycle tells it what its sockets are ready for and asks what it waits for
 * next. Cycles run when a socket is ready, when a time is up, and once after frames of the guest,
 * on the next turn of the loop. The sockets hang on one epoll descriptor, which is all that the
 * loop watches.
 *
 * What libslirp sends to the guest waits in a queue until the guest's card takes it. While that is
 * more than half full the host's sockets are not read: what comes waits in the kernel, and its
 * sender with it.
 *
 * libslirp has a clock and name servers' addresses in common for all of its instances in a process,
 * without a lock; so there is one here. No call of the port's user is made under it.
 */
#include "network/backends/nat_private.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "network/offload.h"
#include "vmbus/os.h"

/* [policy] Sockets looked at in one cycle. */
#define EVENTS_AT_ONCE 64
/* libslirp asks for no more than this where nothing waits for a time. */
#define IDLE_MS 1000u
/* [policy] libslirp's clock stands between cycles; connections of UDP are given up after 10 s and
 * more. */
#define STALE_NS 100000000u
/* [policy] Messages about the guest and its sockets that are shown. */
#define COMPLAINTS_MAX 3u
#define BITS_PER_SECOND 10000000000u /* [policy] for show */

#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_IPV6 0x86ddu
#define TCP_FLAGS_OFFSET 13u
#define TCP_SYN 0x02u
#define TCP_ACK 0x10u

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* A descriptor of libslirp's, by its number. */
struct watch {
	uint32_t armed;  /* EPOLL*: what epoll looks for; 0: it is not there */
	uint32_t ready;  /* POLL*: what it found, during a cycle */
	uint32_t round;  /* in which libslirp last asked for it */
	bool listed;     /* in nat->armed */
	bool registered; /* counted as a connection */
};

struct nat_timer {
	struct io_timer timer;
	struct nat *nat;
	void *slirp_opaque;
	uint64_t due_ns; /* 0: not set; also while the port is stopped */
};

struct nat {
	struct net_port port;
	struct io_loop *loop; /* NULL: not started */
	struct net_port_user *user;
	Slirp *slirp;
	uint32_t can;    /* NET_CAN_* of the user */
	uint32_t mtu;    /* of packets to the guest */
	bool user_waits; /* wants to hear of a frame */

	struct nat_queue queue;
	bool paused; /* the queue is too full for more from the host */

	int epoll_fd;
	struct io_fd epoll;
	struct watch *watches;
	int *armed; /* descriptors that are in epoll, or were */
	int watch_count, armed_count;
	uint32_t round;
	uint32_t sockets, sockets_max;

	uint64_t cycled_ns;
	struct io_timer cycle_timer;
	struct nat_timer slirp_timers[SLIRP_TIMER_NUM];
	bool soon_queued, stopping;
	struct io_call soon_call, epoll_stopped, last_call;
	struct io_call *stopped;

	uint32_t complaints;
	SlirpConfig setup; /* its strings are gone */
	char line[NAT_LINE_BYTES];
	_Atomic uint32_t forward_count; /* read by anyone */
	uint8_t frame[2 + NET_FRAME_BYTES_MAX]; /* of the guest; IP is aligned to 4 */
};

static pthread_mutex_t slirp_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- descriptors ---- */

static uint32_t to_epoll(int events)
{
	return (events & SLIRP_POLL_IN ? (uint32_t)EPOLLIN : 0) |
	       (events & SLIRP_POLL_OUT ? (uint32_t)EPOLLOUT : 0) |
	       (events & SLIRP_POLL_PRI ? (uint32_t)EPOLLPRI : 0);
}

static int from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Returns NULL where there is no memory for it. */
static struct watch *watch_of(struct nat *nat, int fd)
{
	int count = nat->watch_count ? nat->watch_count : 64;
	struct watch *watches;
	int *armed;

	if (fd < 0)
		return NULL;
	if (fd < nat->watch_count)
		return &nat->watches[fd];
	while (count <= fd)
		count *= 2;
	watches = realloc(nat->watches, (size_t)count * sizeof(*watches));
	if (!watches)
		return NULL;
	nat->watches = watches;
	armed = realloc(nat->armed, (size_t)count * sizeof(*armed));
	if (!armed)
		return NULL;
	nat->armed = armed;
	memset(watches + nat->watch_count, 0,
	       (size_t)(count - nat->watch_count) * sizeof(*watches));
	nat->watch_count = count;
	return &watches[fd];
}

static void watch_arm(struct nat *nat, int fd, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	int op = !watch->armed ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

	if (watch->armed == events)
		return;
	watch->armed = events;
	if (epoll_ctl(nat->epoll_fd, op, fd, &event) && events) {
		if (nat->complaints++ < COMPLAINTS_MAX)
			os_log(OS_LOG_ERROR, "user network: watching a socket failed: %s",
			       strerror(errno));
		watch->armed = 0;
	}
	if (watch->armed && !watch->listed) {
		watch->listed = true;
		nat->armed[nat->armed_count++] = fd;
	}
}

/* What libslirp did not ask for in this round is not looked at. */
static void sweep_watches(struct nat *nat)
{
	int kept = 0;

	for (int i = 0; i < nat->armed_count; i++) {
		int fd = nat->armed[i];
		struct watch *watch = &nat->watches[fd];

		if (watch->round != nat->round)
			watch_arm(nat, fd, watch, 0);
		if (watch->armed)
			nat->armed[kept++] = fd;
		else
			watch->listed = false;
	}
	nat->armed_count = kept;
}

static void on_register(int fd, void *opaque)
{
	struct nat *nat = opaque;
	struct watch *watch = watch_of(nat, fd);

	if (!watch || watch->registered)
		return;
	watch->registered = true;
	nat->sockets++;
}

/* It is closed next, and its number may come back as another's. */
static void on_unregister(int fd, void *opaque)
{
	struct nat *nat = opaque;
	struct watch *watch = fd >= 0 && fd < nat->watch_count ? &nat->watches[fd] : NULL;

	if (!watch)
		return;
	watch_arm(nat, fd, watch, 0);
	watch->ready = 0;
	if (watch->registered)
		nat->sockets--;
	watch->registered = false;
}

static int on_add_poll(int fd, int events, void *opaque)
{
	struct nat *nat = opaque;
	struct watch *watch = watch_of(nat, fd);

	if (!watch)
		return -1;
	watch->round = nat->round;
	watch_arm(nat, fd, watch, to_epoll(nat->paused ? events & SLIRP_POLL_OUT : events));
	return fd;
}

static int on_get_revents(int index, void *opaque)
{
	struct nat *nat = opaque;

	return index < nat->watch_count ? from_epoll(nat->watches[index].ready) : 0;
}

/* ---- cycles ---- */

static uint64_t now_ns(const struct nat *nat)
{
	struct timespec now;

	if (nat->loop)
		return io_loop_now_ns(nat->loop);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* May call the user: last in whatever the loop called. */
static void tell_user(struct nat *nat)
{
	if (!nat->user_waits || !nat->queue.frames || nat->stopping)
		return;
	nat->user_waits = false;
	nat->user->ready(nat->user);
}

static void soon(struct nat *nat)
{
	if (nat->soon_queued || nat->stopping || !nat->loop)
		return;
	nat->soon_queued = true;
	io_loop_call(nat->loop, &nat->soon_call);
}

static void cycle(struct nat *nat, bool look)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int count = look ? epoll_wait(nat->epoll_fd, events, EVENTS_AT_ONCE, 0) : 0;
	uint32_t wait_ms = UINT32_MAX;

	for (int i = 0; i < count; i++)
		nat->watches[events[i].data.fd].ready = events[i].events;
	nat->cycled_ns = now_ns(nat);
	nat->paused = nat_queue_is_above(&nat->queue, 2);
	nat->round++;
	pthread_mutex_lock(&slirp_lock);
	slirp_pollfds_poll(nat->slirp, 0, on_get_revents, nat);
	slirp_pollfds_fill(nat->slirp, &wait_ms, on_add_poll, nat);
	pthread_mutex_unlock(&slirp_lock);
	for (int i = 0; i < count; i++)
		nat->watches[events[i].data.fd].ready = 0;
	sweep_watches(nat);
	io_fd_poll(&nat->epoll, POLLIN);
	io_timer_cancel(&nat->cycle_timer);
	if (wait_ms < IDLE_MS)
		io_timer_set(&nat->cycle_timer, nat->loop, nat->cycled_ns + wait_ms * 1000000ull);
}

static void on_epoll(struct io_fd *fd, uint32_t poll_events)
{
	struct nat *nat = container_of(fd, struct nat, epoll);

	cycle(nat, true);
	tell_user(nat);
}

static void on_cycle_timer(struct io_timer *timer)
{
	struct nat *nat = container_of(timer, struct nat, cycle_timer);

	cycle(nat, false);
	tell_user(nat);
}

static void on_soon(struct io_call *call)
{
	struct nat *nat = container_of(call, struct nat, soon_call);

	nat->soon_queued = false;
	if (nat->stopping)
		return;
	cycle(nat, false);
	tell_user(nat);
}

/* ---- what libslirp calls ---- */

static ssize_t on_packet(const void *frame, size_t bytes, void *opaque)
{
	struct nat *nat = opaque;
	struct iovec whole = { (void *)(uintptr_t)frame, bytes };
	bool put = false;

	if (bytes <= NET_ETHERNET_BYTES + nat->mtu)
		put = nat_queue_put(&nat->queue, &whole, 1, (uint32_t)bytes);
	else if (bytes <= NET_FRAME_BYTES_MAX)
		put = nat_put_large(&nat->queue, frame, (uint32_t)bytes, nat->mtu, nat->can);
	if (!put)
		net_count_drop(&nat->port.counters.receive_dropped);
	return (ssize_t)bytes;
}

static void on_guest_error(const char *message, void *opaque)
{
	struct nat *nat = opaque;

	if (nat->complaints++ < COMPLAINTS_MAX)
		os_log(OS_LOG_WARNING, "user network: %s", message);
}

static int64_t on_clock(void *opaque)
{
	return (int64_t)now_ns(opaque);
}

static void slirp_timer_expired(struct io_timer *timer)
{
	struct nat_timer *slirp_timer = container_of(timer, struct nat_timer, timer);
	struct nat *nat = slirp_timer->nat;

	slirp_timer->due_ns = 0;
	pthread_mutex_lock(&slirp_lock);
	slirp_handle_timer(nat->slirp, (SlirpTimerId)(slirp_timer - nat->slirp_timers),
			   slirp_timer->slirp_opaque);
	pthread_mutex_unlock(&slirp_lock);
	tell_user(nat);
}

static void *on_timer_new(SlirpTimerId id, void *slirp_opaque, void *opaque)
{
	struct nat *nat = opaque;
	struct nat_timer *timer = &nat->slirp_timers[id];

	timer->timer.expired = slirp_timer_expired;
	timer->nat = nat;
	timer->slirp_opaque = slirp_opaque;
	return timer;
}

static void on_timer_free(void *timer, void *opaque)
{
	struct nat_timer *slirp_timer = timer;

	slirp_timer->due_ns = 0;
	io_timer_cancel(&slirp_timer->timer);
}

static void on_timer_mod(void *timer, int64_t due_ms, void *opaque)
{
	struct nat_timer *slirp_timer = timer;
	struct nat *nat = opaque;

	slirp_timer->due_ns = (uint64_t)due_ms * 1000000u;
	if (nat->loop)
		io_timer_set(&slirp_timer->timer, nat->loop, slirp_timer->due_ns);
}

static void on_notify(void *opaque)
{
	/* A connection's buffer has room: the next cycle asks for its socket again, and is due
	 * already. */
}

static const SlirpCb slirp_callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_register,
	.unregister_poll_fd = on_unregister,
	.notify = on_notify,
	.timer_new_opaque = on_timer_new,
};

/* ---- the port ---- */

static int nat_start(struct net_port *port, struct io_loop *loop, struct net_port_user *user)
{
	struct nat *nat = (struct nat *)port;

	nat->loop = loop;
	nat->user = user;
	nat->user_waits = true;
	nat->stopping = false;
	io_fd_start(&nat->epoll, loop, nat->epoll_fd);
	for (size_t i = 0; i < SLIRP_TIMER_NUM; i++) {
		struct nat_timer *timer = &nat->slirp_timers[i];

		if (timer->due_ns)
			io_timer_set(&timer->timer, loop, timer->due_ns);
	}
	cycle(nat, false);
	soon(nat);
	return 0;
}

/* Calls run in order: the one that may have been on its way has come. */
static void last(struct io_call *call)
{
	struct nat *nat = container_of(call, struct nat, last_call);
	struct io_call *stopped = nat->stopped;

	nat->loop = NULL;
	nat->user = NULL;
	stopped->fn(stopped);
}

static void epoll_let_go(struct io_call *call)
{
	struct nat *nat = container_of(call, struct nat, epoll_stopped);

	io_loop_call(nat->loop, &nat->last_call);
}

static void nat_stop(struct net_port *port, struct io_call *stopped)
{
	struct nat *nat = (struct nat *)port;

	nat->stopping = true;
	nat->stopped = stopped;
	nat->can = 0;
	io_timer_cancel(&nat->cycle_timer);
	for (size_t i = 0; i < SLIRP_TIMER_NUM; i++)
		io_timer_cancel(&nat->slirp_timers[i].timer);
	io_fd_stop(&nat->epoll, &nat->epoll_stopped);
}

/* May it be the first of a connection? */
static bool opens_socket(const uint8_t *frame, uint32_t bytes)
{
	struct net_headers headers;
	uint8_t flags;

	net_parse_headers(frame, bytes < NET_HEADERS_BYTES_MAX ? bytes : NET_HEADERS_BYTES_MAX,
			  &headers);
	if (headers.transport != NET_TRANSPORT_TCP)
		return headers.ip_version != 0;
	flags = frame[headers.transport_offset + TCP_FLAGS_OFFSET];
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static int nat_send(struct net_port *port, const struct net_frame *frame)
{
	struct nat *nat = (struct nat *)port;
	struct net_offload offload = frame->offload;
	struct iovec whole = { nat->frame + 2, frame->bytes };
	uint8_t *copy = whole.iov_base;
	uint32_t ethertype;

	if (frame->bytes < NET_FRAME_BYTES_MIN || frame->bytes > NET_FRAME_BYTES_MAX ||
	    net_frame_copy(frame, 0, copy, frame->bytes) != frame->bytes)
		return -LIS_INVALID;
	ethertype = (uint32_t)copy[12] << 8 | copy[13];
	/* Others go by, as there is nobody here who speaks them. */
	if (ethertype != NAT_ETHERTYPE_IPV4 && ethertype != ETHERTYPE_IPV6 &&
	    ethertype != ETHERTYPE_ARP)
		return 0;
	if ((offload.flags & NET_CHECKSUM_PARTIAL) &&
	    net_complete_checksum(&whole, 1, frame->bytes, &offload))
		return -LIS_INVALID;
	if (nat->sockets >= nat->sockets_max && opens_socket(copy, frame->bytes)) {
		net_count_drop(&port->counters.send_dropped);
		return -LIS_FULL;
	}
	nat_raise_mss(copy, frame->bytes, nat->mtu);
	if (!nat->soon_queued && now_ns(nat) - nat->cycled_ns > STALE_NS)
		cycle(nat, false);
	pthread_mutex_lock(&slirp_lock);
	slirp_input(nat->slirp, copy, (int)frame->bytes);
	pthread_mutex_unlock(&slirp_lock);
	soon(nat);
	return 0;
}

/* The next frame that is not too long, or that the user does not understand any more. */
static const uint8_t *next_frame(struct nat *nat, uint32_t room, uint32_t *out_bytes, uint8_t *out_head,
				 struct net_offload *out_offload)
{
	const uint8_t *frame;

	while ((frame = nat_queue_take(&nat->queue, out_bytes))) {
		/* libslirp makes the packets itself, from data in this process' memory. */
		*out_offload = (struct net_offload){
			.flags = nat->can & NET_CAN_CHECKSUM ? NET_CHECKSUM_VALID : 0,
		};
		if (*out_bytes <= room &&
		    (*out_bytes <= NET_ETHERNET_BYTES + nat->mtu ||
		     !nat_large_segment(frame, *out_bytes, nat->mtu, out_head, out_offload) ||
		     (nat->can & nat_can_of(out_offload))))
			return frame;
		net_count_drop(&nat->port.counters.receive_dropped);
	}
	return NULL;
}

static int nat_receive(struct net_port *port, const struct iovec *iov, uint32_t iov_count,
		       uint32_t bytes, uint32_t *out_bytes, struct net_offload *out_offload)
{
	struct nat *nat = (struct nat *)port;
	uint8_t head[NET_HEADERS_BYTES_MAX];
	struct net_offload offload;
	uint32_t frame_bytes;
	const uint8_t *frame = next_frame(nat, bytes, &frame_bytes, head, &offload);

	if (nat->paused && !nat_queue_is_above(&nat->queue, 4))
		soon(nat);
	if (!frame) {
		nat->user_waits = true;
		return -LIS_EMPTY;
	}
	net_iov_write(iov, iov_count, 0, head, offload.header_bytes);
	net_iov_write(iov, iov_count, offload.header_bytes, frame + offload.header_bytes,
		      frame_bytes - offload.header_bytes);
	*out_bytes = frame_bytes;
	*out_offload = offload;
	return 0;
}

static void nat_set_receive(struct net_port *port, uint32_t can)
{
	struct nat *nat = (struct nat *)port;

	nat->can = can & port->can_receive;
}

static void nat_describe(const struct net_port *port, char *line)
{
	const struct nat *nat = (const struct nat *)port;

	uint32_t forwards = atomic_load_explicit(&nat->forward_count, memory_order_relaxed);

	if (forwards)
		snprintf(line, NET_PORT_LINE_BYTES, "%s, %u forward%s", nat->line, forwards,
			 forwards == 1 ? "" : "s");
	else
		strcpy(line, nat->line);
}

static void nat_destroy(struct net_port *port)
{
	struct nat *nat = (struct nat *)port;

	if (nat->slirp) {
		pthread_mutex_lock(&slirp_lock);
		slirp_cleanup(nat->slirp);
		pthread_mutex_unlock(&slirp_lock);
	}
	if (nat->epoll_fd >= 0)
		close(nat->epoll_fd);
	nat_queue_fini(&nat->queue);
	free(nat->watches);
	free(nat->armed);
	free(nat);
}

static const struct net_port_ops nat_ops = {
	.start = nat_start,
	.stop = nat_stop,
	.send = nat_send,
	.receive = nat_receive,
	.set_receive = nat_set_receive,
	.describe = nat_describe,
	.destroy = nat_destroy,
};

/* ---- forwards ---- */

int nat_add_forward(struct net_port *port, const struct nat_forward *forward, char *error)
{
	struct nat *nat = (struct nat *)port;
	int err;

	pthread_mutex_lock(&slirp_lock);
	err = nat_open_forward(nat->slirp, &nat->setup, forward, error);
	pthread_mutex_unlock(&slirp_lock);
	if (err)
		return err;
	atomic_fetch_add_explicit(&nat->forward_count, 1, memory_order_relaxed);
	soon(nat);
	return 0;
}

int nat_remove_forward(struct net_port *port, const struct nat_forward *forward, char *error)
{
	struct nat *nat = (struct nat *)port;
	int err;

	pthread_mutex_lock(&slirp_lock);
	err = nat_close_forward(nat->slirp, forward, error);
	pthread_mutex_unlock(&slirp_lock);
	if (!err)
		atomic_fetch_sub_explicit(&nat->forward_count, 1, memory_order_relaxed);
	return err;
}

/* ---- creation ---- */

/* [policy] Half of the descriptors that the process may have. */
static uint32_t sockets_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur / 2 > INT32_MAX)
		return INT32_MAX;
	return (uint32_t)(limit.rlim_cur / 2);
}

static struct nat *nat_alloc(void)
{
	struct nat *nat = calloc(1, sizeof(*nat));

	if (!nat)
		return NULL;
	nat->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (nat_queue_init(&nat->queue) || nat->epoll_fd < 0) {
		nat_destroy(&nat->port);
		return NULL;
	}
	nat->port.ops = &nat_ops;
	nat->port.can_send = nat->port.can_receive = NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4 | NET_CAN_TCP_IPV6;
	nat->port.mtu_max = 65521;
	nat->port.bits_per_second = BITS_PER_SECOND;
	atomic_init(&nat->port.link_up, true);
	nat->sockets_max = sockets_max();
	nat->epoll.ready = on_epoll;
	nat->cycle_timer.expired = on_cycle_timer;
	nat->soon_call.fn = on_soon;
	nat->epoll_stopped.fn = epoll_let_go;
	nat->last_call.fn = last;
	return nat;
}

int nat_create(const struct nat_config *config, struct net_port **out_port, char *error)
{
	static const struct nat_config defaults;
	struct nat *nat;
	int err;

	if (!config)
		config = &defaults;
	nat = nat_alloc();
	if (!nat)
		return net_port_error(error, -LIS_NOMEM, "user network: out of memory");
	err = nat_setup(config, &nat->setup, nat->line, error);
	if (err)
		goto destroy;
	nat->mtu = config->mtu ? config->mtu : NAT_MTU_DEFAULT;
	pthread_mutex_lock(&slirp_lock);
	nat->slirp = slirp_new(&nat->setup, &slirp_callbacks, nat);
	pthread_mutex_unlock(&slirp_lock);
	if (!nat->slirp)
		err = net_port_error(error, -LIS_IO, "user network: libslirp does not start");
	for (uint32_t i = 0; i < config->forward_count && !err; i++)
		err = nat_add_forward(&nat->port, &config->forwards[i], error);
	if (err)
		goto destroy;
	*out_port = &nat->port;
	return 0;

destroy:
	nat_destroy(&nat->port);
	return err;
}
