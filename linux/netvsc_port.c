// SPDX-License-Identifier: GPL-2.0-only
/*
 * One open channel of a network card. The host's interrupt only wakes NAPI; there frames come in, and
 * what was sent is settled, under the queue's transmit lock.
 */
#include <linux/filter.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "linux/netvsc_nic.h"

/* Packets in flight, and of these with frames that the host reads from where they are. [policy] */
#define QUEUE_DEPTH 2048
#define HEAD_PAGES 16
/* What the host is given back may wait for something that is sent, but not for ever. [policy] */
#define LATE_MAX 16
#define LATE_MS 100

/* News that somebody may be waiting for. */
#define NEWS_FOR_WAITERS \
	(NETVSC_EVENT_BUFFERS | NETVSC_EVENT_READY | NETVSC_EVENT_FAILED | NETVSC_EVENT_CONTROL | \
	 NETVSC_EVENT_BROKEN)
#define NEWS_OF_LINK (NETVSC_EVENT_LINK | NETVSC_EVENT_MOVED | NETVSC_EVENT_SPEED)

static void handle_news(struct netvsc_port *port, u32 events)
{
	struct netvsc_nic *nic = port->nic;

	if (events & NEWS_FOR_WAITERS) {
		atomic_or(events & NEWS_FOR_WAITERS, &port->card->news);
		complete(&port->card->news_came);
	}
	if (events & NEWS_OF_LINK) {
		if (events & NETVSC_EVENT_MOVED)
			WRITE_ONCE(nic->moved, true);
		mod_delayed_work(system_percpu_wq, &nic->link_work, 0);
	}
	if (events & NETVSC_EVENT_BROKEN) {
		WRITE_ONCE(port->card->broken, true);
		mod_delayed_work(system_percpu_wq, &nic->recover_work, 0);
	}
}

/* Do what was noted while frames were taken. Returns what the core says. */
static u32 settle(struct netvsc_port *port, int budget)
{
	struct netdev_queue *queue = netvsc_port_queue(port);
	struct netvsc_ended ended = { };
	u32 events = 0;

	__netif_tx_lock(queue, smp_processor_id());
	if (likely(port->live)) {
		events = netvsc_channel_settle(&port->core, netvsc_now_ns());
		ended = netvsc_take_ended(&port->core);
		if (events & NETVSC_EVENT_ROOM && netif_tx_queue_stopped(queue)) {
			netif_tx_wake_queue(queue);
			port->nic->events.wake_queue++;
		}
	}
	__netif_tx_unlock(queue);
	if (events & NETVSC_EVENT_SIGNAL)
		lis_channel_signal(port->channel, LIS_SIGNAL_ROOM);
	if (events & NETVSC_EVENT_LATE)
		queue_delayed_work(system_percpu_wq, &port->late_work, msecs_to_jiffies(LATE_MS));
	if (ended.frames)
		netvsc_sent(port, &ended, budget);
	if (unlikely(events & (NEWS_FOR_WAITERS | NEWS_OF_LINK)))
		handle_news(port, events);
	return events;
}

/* Show the host all there is, if it is used. Under the queue's lock. */
static void flush(struct netvsc_port *port)
{
	if (port->live && netvsc_channel_flush(&port->core))
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
}

static void late_work(struct work_struct *work)
{
	struct netvsc_port *port = container_of(work, struct netvsc_port, late_work.work);

	__netif_tx_lock_bh(netvsc_port_queue(port));
	flush(port);
	__netif_tx_unlock_bh(netvsc_port_queue(port));
}

/* Whose NAPI is at work on this CPU; only one is at a time. */
static DEFINE_PER_CPU(struct netvsc_port *, polled_port);

bool netvsc_port_is_polled(const struct netvsc_port *port)
{
	/* After what netpoll sends, with interrupts off, there may be no end of a round. */
	return this_cpu_read(polled_port) == port && !irqs_disabled();
}

/* NAPI may be at work elsewhere again: what it gathers from here on it shows itself. */
static void show_gathered(struct netvsc_port *port)
{
	port->gathered = false;
	__netif_tx_lock(netvsc_port_queue(port), smp_processor_id());
	flush(port);
	__netif_tx_unlock(netvsc_port_queue(port));
}

/* Returns what it was worth, in frames. */
static int poll(struct napi_struct *napi, int budget)
{
	struct netvsc_port *port = container_of(napi, struct netvsc_port, napi);
	struct netvsc_frame frame;
	int frames = 0;
	bool over;
	u32 events;

	this_cpu_write(polled_port, port);
	do {
		while (frames < budget && netvsc_channel_next(&port->core, &frame)) {
			netvsc_received(port, &frame);
			frames++;
		}
		events = settle(port, budget);
		/* What is not a frame takes time, too: 64 answers, say, for one frame's worth. */
		if (events & NETVSC_EVENT_MORE && frames < budget)
			frames++;
	} while (events & NETVSC_EVENT_MORE && frames < budget);
	if (port->xdp_redirected) {
		port->xdp_redirected = false;
		xdp_do_flush();
	}
	over = frames < budget && napi_complete_done(napi, frames);
	this_cpu_write(polled_port, NULL);
	if (port->gathered)
		show_gathered(port);
	if (over && netvsc_channel_unmask(&port->core) && napi_schedule_prep(napi)) {
		netvsc_channel_mask(&port->core);
		__napi_schedule(napi);
	}
	return frames;
}

static void on_signal(struct lis_channel *channel)
{
	struct netvsc_port *port = channel->user;

	if (napi_schedule_prep(&port->napi)) {
		if (likely(READ_ONCE(port->live)))
			netvsc_channel_mask(&port->core);
		__napi_schedule_irqoff(&port->napi);
	}
}

bool netvsc_port_quiet(struct netvsc_port *port)
{
	bool quiet;

	/* NAPI may be at work: then this is what was true a moment ago, or will be. */
	__netif_tx_lock_bh(netvsc_port_queue(port));
	/* The host has back what it sent only when it knows. */
	flush(port);
	quiet = !port->live || netvsc_idle(&port->core);
	__netif_tx_unlock_bh(netvsc_port_queue(port));
	return quiet;
}

/* Life */

static void port_free(struct netvsc_port *port)
{
	if (xdp_rxq_info_is_reg(&port->xdp_rxq))
		xdp_rxq_info_unreg(&port->xdp_rxq);
	vfree(port->heads);
	kfree(port->head_pfns);
	kvfree(port);
}

static int port_init(struct netvsc_port *port)
{
	int error;

	port->heads = vzalloc(HEAD_PAGES * HV_PAGE_BYTES);
	port->head_pfns = kcalloc(HEAD_PAGES, sizeof(*port->head_pfns), GFP_KERNEL);
	if (!port->heads || !port->head_pfns)
		return -ENOMEM;
	for (unsigned int i = 0; i < HEAD_PAGES; i++)
		port->head_pfns[i] = vmalloc_to_pfn(port->heads + i * HV_PAGE_BYTES);
	error = xdp_rxq_info_reg(&port->xdp_rxq, port->nic->netdev, port->index, 0);
	if (error)
		return error;
	return xdp_rxq_info_reg_mem_model(&port->xdp_rxq, MEM_TYPE_PAGE_SHARED, NULL);
}

static struct netvsc_port *port_create(struct netvsc_card *card, struct lis_channel *channel,
				       unsigned int index)
{
	struct netvsc_port *port = kvzalloc(sizeof(*port), GFP_KERNEL);

	if (!port)
		return NULL;
	port->card = card;
	port->nic = card->nic;
	port->channel = channel;
	port->index = index;
	INIT_DELAYED_WORK(&port->late_work, late_work);
	if (!port_init(port))
		return port;
	port_free(port);
	return NULL;
}

static int open_core(struct netvsc_port *port)
{
	const struct netvsc_channel_config config = {
		.to_host = &port->channel->to_host,
		.from_host = &port->channel->from_host,
		.index = port->index,
		.queue_depth = QUEUE_DEPTH,
		.heads = port->heads,
		.head_pfns = port->head_pfns,
		.head_pages = HEAD_PAGES,
		.late_max = LATE_MAX,
	};

	return lis_errno(netvsc_channel_open(&port->card->core, &port->core, &config));
}

/* From here on it is used. What the host signalled before has been ignored: look once. */
static void go_live(struct netvsc_port *port)
{
	__netif_tx_lock_bh(netvsc_port_queue(port));
	port->live = true;
	__netif_tx_unlock_bh(netvsc_port_queue(port));
	local_bh_disable();
	napi_schedule(&port->napi);
	local_bh_enable();
}

int netvsc_port_open(struct netvsc_card *card, struct lis_channel *channel, unsigned int index)
{
	const struct lis_channel_open open = {
		.to_host_bytes = netvsc_ring_bytes,
		.from_host_bytes = netvsc_ring_bytes,
		.on_signal = on_signal,
	};
	struct netvsc_port *port;
	int error;

	lockdep_assert_held(&card->nic->ports_mutex);
	if (index >= NETVSC_CHANNELS_MAX || rcu_access_pointer(card->ports[index]))
		return -EINVAL;
	port = port_create(card, channel, index);
	if (!port)
		return -ENOMEM;
	netif_napi_add(card->nic->netdev, &port->napi, poll);
	channel->user = port;
	/* Until then signals find NAPI disabled. */
	error = lis_channel_open(channel, &open);
	if (error)
		goto delete_napi;
	error = open_core(port);
	if (error)
		goto close;
	napi_enable(&port->napi);
	rcu_assign_pointer(card->ports[index], port);
	card->port_count++;
	go_live(port);
	return 0;

close:
	(void)lis_channel_close(channel); /* no memory has been named in it */
delete_napi:
	netif_napi_del(&port->napi);
	synchronize_net();
	port_free(port);
	return error;
}

/* Tell those who ask which NAPI serves the port's queue. */
static void show_napi(struct netvsc_port *port, struct napi_struct *napi)
{
	struct net_device *netdev = port->nic->netdev;

	netif_queue_set_napi(netdev, port->index, NETDEV_QUEUE_TYPE_RX, napi);
	netif_queue_set_napi(netdev, port->index, NETDEV_QUEUE_TYPE_TX, napi);
}

void netvsc_port_show(struct netvsc_port *port)
{
	ASSERT_RTNL();
	show_napi(port, &port->napi);
}

/* The host only ever reads frames, so what it may still see of one is no reason to keep it. */
static void free_requests(struct netvsc_request *list)
{
	struct netvsc_request *request;

	while ((request = list)) {
		list = request->next;
		dev_kfree_skb_any(netvsc_skb_of(request));
	}
}

void netvsc_port_close(struct netvsc_port *port)
{
	struct netdev_queue *queue = netvsc_port_queue(port);
	struct netvsc_card *card = port->card;

	ASSERT_RTNL();
	lockdep_assert_held(&port->nic->ports_mutex);
	__netif_tx_lock_bh(queue);
	flush(port);
	port->live = false;
	netvsc_channel_stop(&port->core);
	netif_tx_stop_queue(queue);
	__netif_tx_unlock_bh(queue);
	RCU_INIT_POINTER(card->ports[port->index], NULL);
	card->port_count--;
	show_napi(port, NULL);
	/*
	 * It reads the rings, which go when the channel is closed; signals find it disabled. A poll that
	 * has given NAPI up may still ask for signals: closing waits for all readers of RCU first.
	 */
	napi_disable(&port->napi);
	cancel_delayed_work_sync(&port->late_work);
	card->lost |= lis_channel_close(port->channel);
	netif_napi_del(&port->napi);
	/* Whoever found it is through with it. */
	synchronize_net();
	port->nic->events.tx_send_full += (unsigned long)port->core.send_counters.no_section;
	free_requests(netvsc_channel_close(&port->core));
	netdev_tx_reset_queue(queue);
	port_free(port);
}
