// SPDX-License-Identifier: GPL-2.0-only
/*
 * One open channel of a SCSI controller: commands out, answers in, in the host's interrupt.
 *
 * What the core says happened is acted upon with the port's lock released: commands go back to the
 * SCSI layer, which sends new ones from there, by this port as well.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "linux/storvsc_host.h"

/* Packets taken under the lock in one go; commands ended in a row before others run. [policy] */
#define PACKETS_AT_ONCE 64
#define ENDS_IN_INTERRUPT 256
#define ENDS_IN_WORK 1024
/* Slots beside those for commands, for resets that the SCSI layer asks for. [policy] */
#define RESET_SLOTS 16

struct workqueue_struct *storvsc_poll_wq;

/* To the host */

static void count_full(struct storvsc_port *port, int error)
{
	if (error != -LIS_AGAIN)
		return;
	port->channel->counters.full_total++;
	if (!port->full)
		port->channel->counters.full_first++;
	port->full = true;
}

/* Caller holds the lock of a live port. */
static inline int submit(struct storvsc_port *port, struct storvsc_request *request, bool last,
			 bool *out_signal)
{
	int error = storvsc_submit(&port->core, request);

	if (unlikely(error))
		count_full(port, error);
	else if (unlikely(port->full))
		port->full = false;
	if (last || unlikely(error))
		*out_signal = storvsc_channel_flush(&port->core);
	else
		vmbus_ring_writer_expose(&port->channel->to_host); /* a host that is awake begins */
	return error;
}

int storvsc_port_submit(struct storvsc_port *port, struct storvsc_request *request, bool last)
{
	bool signal = false, watch = false;
	int error = -LIS_GONE;
	unsigned long flags;

	spin_lock_irqsave(&port->lock, flags);
	if (likely(port->live)) {
		error = submit(port, request, last, &signal);
		watch = !port->watched;
		port->watched = true;
	}
	spin_unlock_irqrestore(&port->lock, flags);
	if (signal)
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
	if (unlikely(watch))
		storvsc_host_watch(port->host);
	if (unlikely(error == -LIS_CORRUPT))
		storvsc_host_recover_later(port);
	return error;
}

void storvsc_port_flush(struct storvsc_port *port)
{
	bool signal = false;
	unsigned long flags;

	spin_lock_irqsave(&port->lock, flags);
	if (port->live)
		signal = storvsc_channel_flush(&port->core);
	spin_unlock_irqrestore(&port->lock, flags);
	if (signal)
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
}

/* From the host */

/* Keep one that was given up until the host lets go of its memory. False: it has already. */
static bool hold(struct storvsc_port *port, struct storvsc_request *request)
{
	unsigned long flags;
	bool shared;

	spin_lock_irqsave(&port->lock, flags);
	shared = storvsc_still_shared(&port->core, request->id);
	if (shared) {
		request->next = port->held;
		port->held = request;
	}
	spin_unlock_irqrestore(&port->lock, flags);
	return shared;
}

/* Not even a reset of its LUN has helped. */
static void give_up(struct storvsc_port *port, struct storvsc_request *request)
{
	bool is_command = request->kind == STORVSC_COMMAND;

	if (!request->still_shared || !hold(port, request))
		storvsc_scsi_ended(port->host, request);
	if (is_command)
		storvsc_host_recover_later(port);
}

static void release_held(struct storvsc_port *port)
{
	struct storvsc_request **link = &port->held, *released = NULL, *request;
	unsigned long flags;

	spin_lock_irqsave(&port->lock, flags);
	while ((request = *link)) {
		if (port->live && !storvsc_still_shared(&port->core, request->id)) {
			*link = request->next;
			request->next = released;
			released = request;
		} else {
			link = &request->next;
		}
	}
	spin_unlock_irqrestore(&port->lock, flags);
	while ((request = released)) {
		released = request->next;
		storvsc_scsi_ended(port->host, request);
	}
}

/* Returns how many there were. */
static int give_back(struct storvsc_port *port, struct storvsc_request *list)
{
	struct storvsc_request *request;
	int count = 0;

	while ((request = list)) {
		list = request->next;
		if (unlikely(request->result == STORVSC_RESULT_TIMED_OUT))
			give_up(port, request);
		else
			storvsc_scsi_ended(port->host, request);
		count++;
	}
	return count;
}

static void handle_news(struct storvsc_port *port, u32 events)
{
	if (events & (STORVSC_EVENT_READY | STORVSC_EVENT_FAILED | STORVSC_EVENT_BROKEN))
		complete(&port->host->set_up_done);
	if (events & STORVSC_EVENT_RESCAN)
		storvsc_scsi_rescan(port->host);
	if (events & STORVSC_EVENT_RELEASED)
		release_held(port);
	if (events & STORVSC_EVENT_BROKEN)
		storvsc_host_recover_later(port);
}

/* With ROOM there is nothing to do: whoever came in vain tries again when a command has ended. */
#define NEWS \
	(STORVSC_EVENT_READY | STORVSC_EVENT_FAILED | STORVSC_EVENT_RESCAN | \
	 STORVSC_EVENT_RELEASED | STORVSC_EVENT_BROKEN)

static bool unmask(struct storvsc_port *port)
{
	unsigned long flags;
	bool more;

	spin_lock_irqsave(&port->lock, flags);
	more = port->live && storvsc_channel_unmask(&port->core);
	spin_unlock_irqrestore(&port->lock, flags);
	return more;
}

/*
 * Take what the host sent. The host need not signal while commands are passed on, which takes far
 * longer than to look again. Under RCU. Returns false where there is more than the budget allows.
 */
static bool poll(struct storvsc_port *port, int budget)
{
	struct storvsc_request *ended;
	unsigned long flags;
	u32 events;

	do {
		spin_lock_irqsave(&port->lock, flags);
		if (unlikely(!port->live)) {
			spin_unlock_irqrestore(&port->lock, flags);
			return true;
		}
		events = storvsc_channel_receive(&port->core, PACKETS_AT_ONCE);
		ended = storvsc_take_ended(&port->core);
		spin_unlock_irqrestore(&port->lock, flags);

		if (events & STORVSC_EVENT_SIGNAL)
			lis_channel_signal(port->channel, LIS_SIGNAL_ROOM);
		if (unlikely(events & NEWS))
			handle_news(port, events);
		budget -= 1 + give_back(port, ended);
		if (!(events & STORVSC_EVENT_MORE) && !unmask(port))
			return true;
	} while (budget > 0);
	return false;
}

static void on_signal(struct lis_channel *channel)
{
	struct storvsc_port *port = channel->user;

	if (unlikely(!poll(port, ENDS_IN_INTERRUPT)))
		queue_work(storvsc_poll_wq, &port->poll_work);
}

static void poll_again(struct work_struct *work)
{
	struct storvsc_port *port = container_of(work, struct storvsc_port, poll_work);

	rcu_read_lock();
	if (!poll(port, ENDS_IN_WORK))
		queue_work(storvsc_poll_wq, &port->poll_work);
	rcu_read_unlock();
}

bool storvsc_port_tick(struct storvsc_port *port)
{
	struct storvsc_request *ended = NULL;
	unsigned long flags;
	u32 events = 0;
	bool busy = false;

	spin_lock_irqsave(&port->lock, flags);
	if (port->live) {
		events = storvsc_channel_on_timer(&port->core, storvsc_now_ns());
		ended = storvsc_take_ended(&port->core);
		busy = storvsc_in_flight(&port->core);
		port->watched = busy;
	}
	spin_unlock_irqrestore(&port->lock, flags);
	if (events & STORVSC_EVENT_SIGNAL)
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
	give_back(port, ended);
	handle_news(port, events);
	return busy;
}

/* Life */

static struct storvsc_port *port_create(struct storvsc_host *host, struct lis_channel *channel)
{
	struct storvsc_port *port = kzalloc(sizeof(*port), GFP_KERNEL);

	if (!port)
		return NULL;
	spin_lock_init(&port->lock);
	INIT_WORK(&port->poll_work, poll_again);
	port->channel = channel;
	port->host = host;
	return port;
}

static int open_channel(struct storvsc_port *port)
{
	struct storvsc_host *host = port->host;
	struct lis_channel *channel = port->channel;
	const struct lis_channel_open open = {
		.to_host_bytes = host->ring_bytes,
		.from_host_bytes = host->ring_bytes,
		.on_signal = on_signal,
	};
	struct storvsc_channel_config config = {
		.to_host = &channel->to_host,
		.from_host = &channel->from_host,
		.queue_depth = host->shost->can_queue + RESET_SLOTS,
	};
	int error;

	channel->user = port;
	error = lis_channel_open(channel, &open);
	if (error)
		return error;
	config.cpu = READ_ONCE(channel->cpu);
	error = storvsc_channel_open(&host->core, &port->core, &config);
	if (error)
		(void)lis_channel_close(channel); /* no memory has been named in it */
	return lis_errno(error);
}

/* From here on it is used. What the host signalled before has been ignored: look once. */
static void go_live(struct storvsc_port *port)
{
	spin_lock_irq(&port->lock);
	port->live = true;
	spin_unlock_irq(&port->lock);
	queue_work(storvsc_poll_wq, &port->poll_work);
}

int storvsc_port_open(struct storvsc_host *host, struct lis_channel *channel,
		      struct storvsc_port **out_port)
{
	/* What would be written out for the sake of memory may be waiting for this very channel. */
	unsigned int noio = memalloc_noio_save();
	struct storvsc_port *port;
	int error = -ENOMEM;

	lockdep_assert_held(&host->mutex);
	port = port_create(host, channel);
	if (!port)
		goto restore;
	error = open_channel(port);
	if (error) {
		kfree(port);
		goto restore;
	}
	list_add_tail_rcu(&port->node, &host->ports);
	if (!channel->core.primary)
		rcu_assign_pointer(host->primary, port);
	go_live(port);
	*out_port = port;
restore:
	memalloc_noio_restore(noio);
	return error;
}

int storvsc_port_start(struct storvsc_port *port)
{
	bool signal;
	int error;

	spin_lock_irq(&port->lock);
	error = storvsc_start(&port->host->core, storvsc_now_ns());
	signal = storvsc_channel_flush(&port->core);
	port->watched = true;
	spin_unlock_irq(&port->lock);
	if (signal)
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
	storvsc_host_watch(port->host);
	return lis_errno(error);
}

/* All on a closed port has ended; @lost: without the host's consent. */
static void end_all(struct storvsc_port *port, struct storvsc_request *list, bool lost)
{
	unsigned long commands = 0, pages = 0;
	struct storvsc_request *request;

	while ((request = list)) {
		list = request->next;
		if (lost && request->still_shared) {
			pages += storvsc_scsi_abandon(port->host, request);
			commands++;
		} else {
			storvsc_scsi_ended(port->host, request);
		}
	}
	if (commands)
		dev_err(&port->host->device->dev,
			"the host keeps the memory of %lu commands: they have failed, %lu pages are lost\n",
			commands, pages);
}

/* Nobody puts it there any more. */
static void forget_unflushed(struct storvsc_port *port)
{
	struct storvsc_host *host = port->host;

	for (unsigned int i = 0; i < host->shost->nr_hw_queues; i++)
		cmpxchg(&host->queues[i].unflushed, port, NULL);
}

bool storvsc_port_close(struct storvsc_port *port)
{
	struct storvsc_host *host = port->host;
	struct storvsc_request *list, *held;
	bool lost;

	lockdep_assert_held(&host->mutex);
	list_del_rcu(&port->node);
	if (rcu_access_pointer(host->primary) == port)
		RCU_INIT_POINTER(host->primary, NULL);
	spin_lock_irq(&port->lock);
	port->live = false;
	storvsc_channel_stop(&port->core);
	spin_unlock_irq(&port->lock);
	/* All who saw it live are through with it, and have signalled the host if they had to. */
	synchronize_rcu();
	lost = lis_channel_close(port->channel);
	cancel_work_sync(&port->poll_work);
	forget_unflushed(port);
	held = port->held;
	list = storvsc_channel_close(&port->core, lost);
	end_all(port, list, lost);
	end_all(port, held, lost);
	kfree_rcu(port, rcu);
	return lost;
}
