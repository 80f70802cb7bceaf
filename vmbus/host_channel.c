// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The bus on the host, the half that runs on the channels' loops: rings, signals, interrupts.
 *
 * Life of a channel. The bus maps the rings, binds the signal and calls the channel's loop; that
 * asks the VSP, begins to poll and reports back. To close, the bus unbinds the signal and calls
 * again; the loop stops polling and asks the VSP to close; when the VSP has said so and the kernel
 * has let go of the eventfd, the bus hears and unmaps.
 *
 * Awake or asleep. While its loop is awake the channel is polled and the guest's signals are
 * masked. Before the loop sleeps the mask goes and the ring is looked at once more; a signal then
 * fires the event, which is all that is needed: the loop polls. Nothing is kicked again after some
 * time: a wake-up could be lost only where a peer forgets the barrier between the ring and the
 * mask, and neither the guests of today nor ring.c do.
 */
#include "vmbus/host_private.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A counter with one writer needs no locked instruction. */
static void count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
			      memory_order_relaxed);
}

/* Rings. */

static int map_ring(struct host_ring *ring, const struct partition *partition, const uint64_t *pfns,
		    size_t pfn_count)
{
	void *control = partition_hva(partition, GPA(pfns[0] << HV_PAGE_SHIFT), HV_PAGE_BYTES);
	int err;

	if (!control)
		return -LIS_INVALID;
	err = partition_map_pages(partition, pfns + 1, pfn_count - 1, true, &ring->data);
	if (err)
		return err;
	ring->control = control;
	ring->data_pages = pfn_count - 1;
	return 0;
}

static void unmap_ring(struct host_ring *ring)
{
	partition_unmap_pages(ring->data, ring->data_pages, true);
	*ring = (struct host_ring){ 0 };
}

static int init_rings(struct vmbus_channel_host *ch)
{
	int err = vmbus_ring_reader_init(&ch->channel.from_guest, ch->ring_to_host.control,
					 ch->ring_to_host.data,
					 ch->ring_to_host.data_pages * HV_PAGE_BYTES);

	if (err)
		return err;
	return vmbus_ring_writer_init(&ch->channel.to_guest, ch->ring_to_guest.control,
				      ch->ring_to_guest.data,
				      ch->ring_to_guest.data_pages * HV_PAGE_BYTES);
}

/* Bus loop. */

int host_channel_open(struct vmbus_channel_host *ch, const struct vmbus_server_open *open,
		      const struct vmbus_server_range *ring)
{
	struct vmbus_host *host = ch->channel.device->host;
	struct partition *partition = host->partition;
	uint32_t offset = open->host_to_guest_page_offset;
	int err;

	err = map_ring(&ch->ring_to_host, partition, ring->pfns, offset);
	if (err)
		return err;
	err = map_ring(&ch->ring_to_guest, partition, ring->pfns + offset,
		       ring->pfn_count - offset);
	if (err)
		goto unmap;
	err = init_rings(ch);
	if (err)
		goto unmap;
	ch->signal_fd = eventfd(0, EFD_CLOEXEC);
	if (ch->signal_fd < 0) {
		err = -LIS_NOMEM;
		goto unmap;
	}
	/* Guests below 1.1 know one signal for all channels. */
	if (host->server.connection.version >= VMBUS_VERSION_WIN7) {
		err = partition->ops->bind_signal(partition, open->connection_id, ch->signal_fd);
		if (err)
			goto unmap;
		ch->bound_connection_id = open->connection_id;
	}
	ch->channel_id = ch->server.id;
	ch->event_flag = open->event_flag;
	ch->interrupt_page = host->interrupt_page;
	memcpy(ch->channel.open_user_data, open->user_data, VMBUS_USER_DATA_BYTES);
	atomic_store_explicit(&ch->target_vp, open->target_vp, memory_order_relaxed);
	io_loop_call(ch->channel.loop, &ch->open_call);
	return 0;

unmap:
	host_channel_unmap(ch);
	return err;
}

static void unbind(struct vmbus_channel_host *ch)
{
	struct partition *partition = ch->channel.device->host->partition;

	if (ch->bound_connection_id)
		partition->ops->unbind_signal(partition, ch->bound_connection_id);
	ch->bound_connection_id = 0;
}

void host_channel_unmap(struct vmbus_channel_host *ch)
{
	unbind(ch);
	if (ch->signal_fd >= 0)
		close(ch->signal_fd);
	ch->signal_fd = -1;
	unmap_ring(&ch->ring_to_host);
	unmap_ring(&ch->ring_to_guest);
}

void host_channel_close(struct vmbus_channel_host *ch)
{
	unbind(ch);
	io_loop_call(ch->channel.loop, &ch->close_call);
}

void host_channel_modify(struct vmbus_channel_host *ch, uint32_t target_vp)
{
	ch->modify_vp = target_vp;
	io_loop_call(ch->channel.loop, &ch->modify_call);
}

static void opened(struct io_call *call)
{
	struct vmbus_channel_host *ch = container_of(call, struct vmbus_channel_host, opened_call);

	host_on_opened(ch, ch->open_error);
}

static void closed(struct io_call *call)
{
	host_on_closed(container_of(call, struct vmbus_channel_host, closed_call));
}

static void modified(struct io_call *call)
{
	host_on_modified(container_of(call, struct vmbus_channel_host, modified_call));
}

static void broke(struct io_call *call)
{
	host_on_break(container_of(call, struct vmbus_channel_host, break_call));
}

/* The channel's loop. */

static void to_bus(struct vmbus_channel_host *ch, struct io_call *call)
{
	io_loop_call(ch->channel.device->host->loop, call);
}

static void interrupt_guest(struct vmbus_channel_host *ch)
{
	struct partition *partition = ch->channel.device->host->partition;
	uint32_t vp = atomic_load_explicit(&ch->target_vp, memory_order_relaxed);

	if (vp == VMBUS_VP_NONE)
		return;
	count(&ch->channel.counters.signals_out, 1);
	if (ch->interrupt_page) {
		uint32_t *words = ch->interrupt_page;

		__atomic_fetch_or(&words[ch->channel_id / 32], 1u << ch->channel_id % 32,
				  __ATOMIC_SEQ_CST);
		partition->ops->set_event_flag(partition, vp, 0);
	} else {
		partition->ops->set_event_flag(partition, vp, ch->event_flag);
	}
}

static void stop_polling(struct vmbus_channel_host *ch)
{
	if (ch->running)
		io_poller_remove(ch->channel.loop, &ch->poller);
	ch->running = false;
}

static uint64_t packets_in(struct vmbus_channel_host *ch)
{
	return atomic_load_explicit(&ch->channel.counters.packets_in, memory_order_relaxed);
}

static uint32_t poll_channel(struct io_poller *poller)
{
	struct vmbus_channel_host *ch = container_of(poller, struct vmbus_channel_host, poller);
	bool ready = vmbus_ring_reader_ready(&ch->channel.from_guest);
	uint64_t before = packets_in(ch);
	bool any, interrupt;
	uint32_t requests;

	if (!ready && !(ch->stalled &&
			vmbus_ring_writer_has_room(&ch->channel.to_guest, ch->stalled_bytes)))
		return false;
	ch->stalled = false;
	ch->saw_empty = false;
	any = ch->channel.device->config.ops->receive(&ch->channel);
	requests = any ? (uint32_t)(packets_in(ch) - before) : 0;
	if (any && !requests)
		requests = 1; /* something that is no packet */
	if (!ch->running)
		return requests;
	ch->throttled = !any && !ch->saw_empty && ready;
	interrupt = vmbus_ring_reader_publish(&ch->channel.from_guest);
	if (ch->held)
		vmbus_ring_writer_expose(&ch->channel.to_guest);
	else
		interrupt |= vmbus_ring_writer_publish(&ch->channel.to_guest);
	if (interrupt)
		interrupt_guest(ch);
	return requests;
}

static uint32_t before_sleep(struct io_poller *poller)
{
	struct vmbus_channel_host *ch = container_of(poller, struct vmbus_channel_host, poller);

	/* Packets that cannot be taken now need no signal; what frees the device wakes the loop. */
	if (ch->throttled)
		return false;
	if (vmbus_ring_reader_unmask(&ch->channel.from_guest))
		return true;
	return ch->stalled &&
	       vmbus_ring_writer_has_room(&ch->channel.to_guest, ch->stalled_bytes);
}

static void awake(struct io_poller *poller)
{
	struct vmbus_channel_host *ch = container_of(poller, struct vmbus_channel_host, poller);

	vmbus_ring_reader_mask(&ch->channel.from_guest);
}

static void signalled(struct io_event *event, uint64_t signals)
{
	struct vmbus_channel_host *ch = container_of(event, struct vmbus_channel_host, signal);

	count(&ch->channel.counters.signals_in, signals);
}

static void open_channel(struct io_call *call)
{
	struct vmbus_channel_host *ch = container_of(call, struct vmbus_channel_host, open_call);

	ch->broken = ch->stalled = ch->throttled = ch->held = false;
	ch->closing = 0;
	ch->channel.owner = NULL;
	ch->open_error = ch->channel.device->config.ops->open(&ch->channel);
	if (!ch->open_error) {
		ch->signal = (struct io_event){ .fired = signalled };
		io_event_start(&ch->signal, ch->channel.loop, ch->signal_fd);
		if (!ch->broken) {
			ch->running = true;
			io_poller_add(ch->channel.loop, &ch->poller);
		}
	}
	ch->broken_in_open = ch->broken;
	to_bus(ch, &ch->opened_call);
}

static void one_answer(struct vmbus_channel_host *ch)
{
	if (--ch->closing == 0)
		to_bus(ch, &ch->closed_call);
}

static void event_stopped(struct io_call *call)
{
	one_answer(container_of(call, struct vmbus_channel_host, stopped_call));
}

static void close_channel(struct io_call *call)
{
	struct vmbus_channel_host *ch = container_of(call, struct vmbus_channel_host, close_call);

	stop_polling(ch);
	ch->closing = 2;
	io_event_stop(&ch->signal, &ch->stopped_call);
	ch->channel.device->config.ops->close(&ch->channel);
}

static void modify_channel(struct io_call *call)
{
	struct vmbus_channel_host *ch = container_of(call, struct vmbus_channel_host, modify_call);

	/* Interrupts are sent by this thread only: none goes to the old VP after this. */
	atomic_store_explicit(&ch->target_vp, ch->modify_vp, memory_order_relaxed);
	to_bus(ch, &ch->modified_call);
}

void vmbus_channel_closed(struct vmbus_channel *channel)
{
	one_answer(channel->host);
}

void vmbus_channel_break(struct vmbus_channel *channel, const char *why)
{
	struct vmbus_channel_host *ch = channel->host;

	if (ch->broken || ch->closing)
		return;
	ch->broken = true;
	ch->breaks++;
	if ((ch->breaks & (ch->breaks - 1)) == 0) /* the guest may do this in a loop */
		os_log(OS_LOG_WARNING,
		       "vmbus: %s: channel %u is closed, its guest end broke the protocol: %s",
		       channel->device->name, ch->channel_id, why);
	stop_polling(ch);
	to_bus(ch, &ch->break_call);
}

static size_t iov_bytes(const struct iovec *iov, size_t iov_count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < iov_count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static uint8_t *append(uint8_t *at, const struct iovec *iov, size_t iov_count)
{
	for (size_t i = 0; i < iov_count; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return at;
}

int vmbus_channel_send_ranges(struct vmbus_channel *channel, uint16_t type, uint64_t id,
			      bool completion, const struct iovec *head, size_t head_count,
			      const struct iovec *iov, size_t iov_count)
{
	size_t head_bytes = iov_bytes(head, head_count), bytes = iov_bytes(iov, iov_count);
	struct vmbus_channel_host *ch = channel->host;
	void *body;
	int err;

	err = vmbus_ring_reserve(&channel->to_guest, type,
				 completion ? VMBUS_PACKET_FLAG_COMPLETION : 0, id, head_bytes, bytes,
				 &body);
	if (err == -LIS_FULL) {
		ch->stalled = true;
		ch->stalled_bytes = vmbus_packet_ring_bytes(head_bytes, bytes);
		/* What is there must be read, or there never will be room. */
		vmbus_channel_flush(channel);
	} else if (err == -LIS_CORRUPT) {
		vmbus_channel_break(channel, "impossible index in the ring to the guest");
	}
	if (err)
		return err;
	append(append(body, head, head_count), iov, iov_count);
	vmbus_ring_commit(&channel->to_guest);
	count(&channel->counters.packets_out, 1);
	count(&channel->counters.bytes_out, head_bytes + bytes);
	return 0;
}

int vmbus_channel_send(struct vmbus_channel *channel, uint16_t type, uint64_t id, bool completion,
		       const struct iovec *iov, size_t iov_count)
{
	return vmbus_channel_send_ranges(channel, type, id, completion, NULL, 0, iov, iov_count);
}

void vmbus_channel_hold(struct vmbus_channel *channel)
{
	channel->host->held = true;
}

void vmbus_channel_flush(struct vmbus_channel *channel)
{
	channel->host->held = false;
	if (vmbus_ring_writer_publish(&channel->to_guest))
		interrupt_guest(channel->host);
}

int vmbus_channel_receive(struct vmbus_channel *channel, void *buffer, size_t buffer_bytes,
			  struct vmbus_packet *out_packet)
{
	struct vmbus_channel_host *ch = channel->host;
	uint32_t bytes;
	int err;

	if (ch->broken)
		return -LIS_CORRUPT;
	err = vmbus_ring_read(&channel->from_guest, buffer, buffer_bytes, &bytes);
	if (err == -LIS_EMPTY)
		ch->saw_empty = true;
	if (!err) {
		err = vmbus_packet_parse(buffer, bytes, out_packet);
		count(&channel->counters.packets_in, 1);
		count(&channel->counters.bytes_in, bytes);
	}
	if (err == -LIS_CORRUPT)
		vmbus_channel_break(channel, "impossible packet or index in the ring to the host");
	return err;
}

void host_channel_init(struct vmbus_channel_host *ch, struct vmbus_device *device, uint16_t index)
{
	ch->signal_fd = -1;
	ch->channel.device = device;
	ch->channel.index = index;
	ch->channel.loop = device->loops[index % device->config.loop_count];
	ch->channel.host = ch;
	ch->poller.poll = poll_channel;
	ch->poller.sleep = before_sleep;
	ch->poller.wake = awake;
	ch->open_call.fn = open_channel;
	ch->close_call.fn = close_channel;
	ch->modify_call.fn = modify_channel;
	ch->stopped_call.fn = event_stopped;
	ch->opened_call.fn = opened;
	ch->closed_call.fn = closed;
	ch->modified_call.fn = modified;
	ch->break_call.fn = broke;
}
