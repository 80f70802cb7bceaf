// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The bus on the host, the half that runs on the bus loop: joins the server to a partition and to
 * the channels' loops (host_channel.c). See host.h for who may call what.
 *
 * Messages of the guest come on threads of its VPs. They are queued, at most HOST_QUEUE_SLOTS, and
 * taken by the bus loop only while the guest reads what it is told, so that neither direction can
 * be made to grow.
 *
 * Locking. @queue_lock: the queue. @lock: the server; all calls into it are made by the bus loop,
 * but look-ups of GPADLs come from any loop of a device. Ops of the server run under @lock; they
 * map memory, queue calls to other loops and call the partition, and wait for nobody.
 */
#include "vmbus/host_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define INTERRUPT_PAGE_TO_HOST_BYTES 2048u /* where the guest's bits begin */
#define DRAIN_WAIT_MIN_NS 1000000u
#define DRAIN_WAIT_MAX_NS 100000000u

/* Operations of the server; on the bus loop, under @lock. */

static void *op_alloc(void *port, size_t bytes)
{
	return malloc(bytes);
}

static void op_free(void *port, void *memory)
{
	free(memory);
}

static int op_post_message(void *port, uint32_t vp, const void *payload, size_t payload_bytes)
{
	struct vmbus_host *host = port;

	return host->partition->ops->post_message(host->partition, vp, payload, payload_bytes);
}

static bool op_page_is_memory(void *port, uint64_t pfn)
{
	struct vmbus_host *host = port;

	return pfn <= UINT64_MAX >> HV_PAGE_SHIFT &&
	       partition_hva(host->partition, GPA(pfn << HV_PAGE_SHIFT), HV_PAGE_BYTES);
}

static int bind_shared_signal(struct vmbus_host *host)
{
	struct partition *partition = host->partition;
	int err = partition->ops->bind_signal(partition, VMBUS_CONNECTION_EVENT,
					      host->shared_signal_fd);

	if (err)
		return err;
	host->shared_signal_bound = true;
	if (!host->shared_signal_started)
		io_event_start(&host->shared_signal, host->loop, host->shared_signal_fd);
	host->shared_signal_started = true;
	return 0;
}

/* Before 2.4 channels share an interrupt page and one signal. */
static int op_connected(void *port, const struct vmbus_server_connection *connection)
{
	struct vmbus_host *host = port;
	uint64_t gpa = connection->interrupt_page_gpa;

	if (connection->version >= VMBUS_VERSION_WIN8)
		return 0;
	if (gpa == 0 || gpa % HV_PAGE_BYTES != 0)
		return -LIS_INVALID;
	host->interrupt_page = partition_hva(host->partition, GPA(gpa), HV_PAGE_BYTES);
	if (!host->interrupt_page)
		return -LIS_INVALID;
	int err = bind_shared_signal(host);

	if (err)
		host->interrupt_page = NULL;
	return err;
}

static void op_disconnected(void *port)
{
	struct vmbus_host *host = port;

	if (host->shared_signal_bound)
		host->partition->ops->unbind_signal(host->partition, VMBUS_CONNECTION_EVENT);
	host->shared_signal_bound = false;
	host->interrupt_page = NULL;
}

static int op_open_channel(void *port, struct vmbus_server_channel *channel,
			   const struct vmbus_server_open *open,
			   const struct vmbus_server_range *ring)
{
	return host_channel_open(channel_host_of(channel), open, ring);
}

static void op_close_channel(void *port, struct vmbus_server_channel *channel)
{
	host_channel_close(channel_host_of(channel));
}

static void op_modify_channel(void *port, struct vmbus_server_channel *channel, uint32_t target_vp)
{
	host_channel_modify(channel_host_of(channel), target_vp);
}

static void op_channel_released(void *port, struct vmbus_server_channel *channel)
{
	struct vmbus_channel_host *ch = channel_host_of(channel);
	struct vmbus_device *device = ch->channel.device;

	ch->offered = false;
	if (ch->offer_again && !atomic_exchange(&device->sub_call_queued, true))
		io_loop_call(device->host->loop, &device->sub_call);
	ch->offer_again = false;
}

static void op_reset_done(void *port)
{
	struct vmbus_host *host = port;

	if (host->reset_done)
		io_loop_call(host->loop, host->reset_done);
	host->reset_done = NULL;
}

static const struct vmbus_server_ops server_ops = {
	.alloc = op_alloc,
	.free = op_free,
	.post_message = op_post_message,
	.page_is_memory = op_page_is_memory,
	.connected = op_connected,
	.disconnected = op_disconnected,
	.open_channel = op_open_channel,
	.close_channel = op_close_channel,
	.modify_channel = op_modify_channel,
	.channel_released = op_channel_released,
	.reset_done = op_reset_done,
};

/* Every call into the server that may change it: between these two. */

static void enter(struct vmbus_host *host)
{
	pthread_mutex_lock(&host->lock);
}

static void free_device(struct vmbus_device *device)
{
	free(device->loops);
	free(device->name);
	free(device);
}

static bool device_idle(const struct vmbus_device *device)
{
	for (uint32_t i = 0; i < device->channel_count; i++)
		if (device->channels[i].offered)
			return false;
	return !atomic_load(&device->sub_call_queued);
}

static void retire_devices(struct vmbus_host *host)
{
	struct vmbus_device **link = &host->devices;

	while (*link) {
		struct vmbus_device *device = *link;

		if (!device->rescinding || !device_idle(device)) {
			link = &device->next;
			continue;
		}
		*link = device->next;
		if (device->retired)
			io_loop_call(host->loop, device->retired);
		free_device(device);
	}
}

static void leave(struct vmbus_host *host)
{
	atomic_store(&host->first_contact_port,
		     vmbus_server_listens(&host->server, VMBUS_CONNECTION_MESSAGE_4));
	pthread_mutex_unlock(&host->lock);
	retire_devices(host);
}

/* Messages of the guest. */

static int on_message(void *owner, uint32_t connection_id, const void *payload,
		      size_t payload_bytes)
{
	struct vmbus_host *host = owner;
	struct host_message *slot;
	int err = 0;

	if (connection_id != VMBUS_CONNECTION_MESSAGE &&
	    (connection_id != VMBUS_CONNECTION_MESSAGE_4 ||
	     !atomic_load(&host->first_contact_port)))
		return -LIS_NOTFOUND;
	if (payload_bytes > VMBUS_MESSAGE_BYTES_MAX)
		return -LIS_INVALID;
	if (host->partition->ops->messages_pending(host->partition) > HOST_MESSAGES_PENDING_MAX)
		return -LIS_FULL;
	pthread_mutex_lock(&host->queue_lock);
	if (host->queue_count == HOST_QUEUE_SLOTS) {
		err = -LIS_FULL;
	} else {
		slot = &host->queue[(host->queue_head + host->queue_count) % HOST_QUEUE_SLOTS];
		slot->connection_id = connection_id;
		slot->bytes = (uint32_t)payload_bytes;
		memcpy(slot->payload, payload, payload_bytes);
		host->queue_count++;
		if (!host->drain_queued)
			io_loop_call(host->loop, &host->drain_call);
		host->drain_queued = true;
	}
	pthread_mutex_unlock(&host->queue_lock);
	return err;
}

/* The oldest message; false, and nothing queued to look again, where there is none. */
static bool take_message(struct vmbus_host *host, struct host_message *out_message)
{
	bool any;

	pthread_mutex_lock(&host->queue_lock);
	any = host->queue_count > 0;
	if (any) {
		*out_message = host->queue[host->queue_head];
		host->queue_head = (host->queue_head + 1) % HOST_QUEUE_SLOTS;
		host->queue_count--;
	} else {
		host->drain_queued = false;
	}
	pthread_mutex_unlock(&host->queue_lock);
	return any;
}

static void drain(struct vmbus_host *host)
{
	struct partition *partition = host->partition;
	struct host_message message;

	for (uint32_t i = 0; i < HOST_QUEUE_SLOTS; i++) {
		if (partition->ops->messages_pending(partition) > HOST_MESSAGES_PENDING_MAX) {
			/* Nobody tells us when the guest has read; rare, and its own fault. */
			io_timer_set(&host->drain_timer, host->loop,
				     io_loop_now_ns(host->loop) + host->drain_wait_ns);
			host->drain_wait_ns *= 2;
			if (host->drain_wait_ns > DRAIN_WAIT_MAX_NS)
				host->drain_wait_ns = DRAIN_WAIT_MAX_NS;
			return;
		}
		host->drain_wait_ns = DRAIN_WAIT_MIN_NS;
		if (!take_message(host, &message))
			return;
		enter(host);
		vmbus_server_on_message(&host->server, message.connection_id, message.payload,
					message.bytes);
		leave(host);
	}
	io_loop_call(host->loop, &host->drain_call); /* others have their turn in between */
}

static void drain_called(struct io_call *call)
{
	drain(container_of(call, struct vmbus_host, drain_call));
}

static void drain_expired(struct io_timer *timer)
{
	drain(container_of(timer, struct vmbus_host, drain_timer));
}

static void drop_messages(struct vmbus_host *host)
{
	pthread_mutex_lock(&host->queue_lock);
	host->queue_count = 0;
	pthread_mutex_unlock(&host->queue_lock);
}

/* A guest below 2.4 signalled: each of its bits wakes a channel. */
static void shared_signal_fired(struct io_event *event, uint64_t count)
{
	struct vmbus_host *host = container_of(event, struct vmbus_host, shared_signal);
	uint32_t *words;

	if (!host->interrupt_page)
		return;
	words = (uint32_t *)(void *)((char *)host->interrupt_page + INTERRUPT_PAGE_TO_HOST_BYTES);
	enter(host);
	for (uint32_t i = 0; i < VMBUS_EVENT_FLAGS / 32; i++) {
		uint32_t bits = os_read_once(words[i]);

		if (bits)
			bits = __atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST);
		for (; bits; bits &= bits - 1) {
			uint32_t id = i * 32 + (uint32_t)__builtin_ctz(bits);
			struct vmbus_server_channel *channel = host->server.ids[id].channel;

			if (channel && channel_host_of(channel)->signal_fd >= 0)
				eventfd_write(channel_host_of(channel)->signal_fd, 1);
		}
	}
	leave(host);
}

/* Answers of the channels. */

void host_on_opened(struct vmbus_channel_host *ch, int error)
{
	struct vmbus_host *host = ch->channel.device->host;

	enter(host);
	if (error)
		host_channel_unmap(ch);
	vmbus_server_open_done(&host->server, &ch->server, error);
	if (!error && ch->broken_in_open)
		vmbus_server_break(&host->server, &ch->server);
	leave(host);
}

void host_on_closed(struct vmbus_channel_host *ch)
{
	struct vmbus_host *host = ch->channel.device->host;

	enter(host);
	host_channel_unmap(ch);
	vmbus_server_close_done(&host->server, &ch->server);
	leave(host);
}

void host_on_modified(struct vmbus_channel_host *ch)
{
	struct vmbus_host *host = ch->channel.device->host;

	enter(host);
	vmbus_server_modify_done(&host->server, &ch->server);
	leave(host);
}

void host_on_break(struct vmbus_channel_host *ch)
{
	struct vmbus_host *host = ch->channel.device->host;

	enter(host);
	vmbus_server_break(&host->server, &ch->server);
	leave(host);
}

/* GPADLs; any loop of the device. */

int vmbus_channel_gpadl(struct vmbus_channel *channel, uint32_t gpadl_id, const uint64_t **out_pfns,
			size_t *out_pfn_count, uint32_t *out_byte_offset, uint32_t *out_bytes)
{
	struct vmbus_host *host = channel->device->host;
	struct vmbus_server_range range;
	int err;

	pthread_mutex_lock(&host->lock);
	err = vmbus_server_gpadl_get(&host->server, &channel->host->server, gpadl_id, 0, &range);
	pthread_mutex_unlock(&host->lock);
	if (err)
		return err;
	if (range.range_count != 1) {
		vmbus_channel_gpadl_release(channel, gpadl_id);
		return -LIS_NOTFOUND;
	}
	*out_pfns = range.pfns;
	*out_pfn_count = range.pfn_count;
	*out_byte_offset = range.byte_offset;
	*out_bytes = range.byte_count;
	return 0;
}

void vmbus_channel_gpadl_release(struct vmbus_channel *channel, uint32_t gpadl_id)
{
	struct vmbus_host *host = channel->device->host;
	bool due;

	pthread_mutex_lock(&host->lock);
	due = vmbus_server_gpadl_put(&host->server, &channel->host->server, gpadl_id);
	pthread_mutex_unlock(&host->lock);
	if (due && !atomic_exchange(&host->teardown_queued, true))
		io_loop_call(host->loop, &host->teardown_call);
}

static void answer_teardowns(struct io_call *call)
{
	struct vmbus_host *host = container_of(call, struct vmbus_host, teardown_call);

	atomic_store(&host->teardown_queued, false);
	enter(host);
	vmbus_server_answer_teardowns(&host->server);
	leave(host);
}

/* Devices. */

/* Offer what was asked for and is not there; on the bus loop. */
static void offer_sub_channels(struct io_call *call)
{
	struct vmbus_device *device = container_of(call, struct vmbus_device, sub_call);
	struct vmbus_host *host = device->host;
	uint32_t asked;

	atomic_store(&device->sub_call_queued, false);
	asked = atomic_load(&device->sub_channels_asked);
	enter(host);
	for (uint32_t i = 1; i <= asked && !device->rescinding; i++) {
		struct vmbus_channel_host *ch = &device->channels[i];

		if (ch->offered) {
			ch->offer_again = ch->server.leaving;
			continue;
		}
		/* No error is worth more than a channel less: the primary one works alone. */
		if (vmbus_server_offer(&host->server, &ch->server))
			break;
		ch->offered = true;
	}
	leave(host);
}

void vmbus_device_offer_sub_channels(struct vmbus_device *device, uint16_t count)
{
	uint32_t max = device->channel_count - 1;

	atomic_store(&device->sub_channels_asked, count < max ? count : max);
	if (!atomic_exchange(&device->sub_call_queued, true))
		io_loop_call(device->host->loop, &device->sub_call);
}

static void set_offer(struct vmbus_server_offer *offer, const struct vmbus_device_config *config,
		      uint16_t index)
{
	*offer = (struct vmbus_server_offer){
		.interface_id = config->interface_id,
		.instance_id = config->instance_id,
		.order = config->order,
		.sub_channel_index = index,
		.flags = config->offer_flags,
		.mmio_megabytes = index == 0 ? config->mmio_megabytes : 0,
		.mmio_megabytes_optional = index == 0 ? config->mmio_megabytes_optional : 0,
	};
	memcpy(offer->user_data, config->user_data, VMBUS_USER_DATA_BYTES);
}

static struct vmbus_device *make_device(struct vmbus_host *host,
					const struct vmbus_device_config *config)
{
	uint32_t channel_count = 1u + config->sub_channels_max;
	bool own_loops = config->loops && config->loop_count > 0;
	size_t loop_count = own_loops ? config->loop_count : 1;
	struct vmbus_device *device;

	device = calloc(1, sizeof(*device) + channel_count * sizeof(device->channels[0]));
	if (!device)
		return NULL;
	device->host = host;
	device->config = *config;
	device->config.loop_count = loop_count;
	device->channel_count = channel_count;
	device->sub_call.fn = offer_sub_channels;
	device->name = strdup(config->name);
	device->loops = calloc(loop_count, sizeof(struct io_loop *));
	if (!device->name || !device->loops) {
		free_device(device);
		return NULL;
	}
	for (size_t i = 0; i < loop_count; i++)
		device->loops[i] = own_loops ? config->loops[i] : host->loop;
	device->config.name = device->name;
	device->config.loops = device->loops;
	for (uint32_t i = 0; i < channel_count; i++) {
		host_channel_init(&device->channels[i], device, (uint16_t)i);
		set_offer(&device->channels[i].server.offer, config, (uint16_t)i);
	}
	return device;
}

int vmbus_host_offer(struct vmbus_host *host, const struct vmbus_device_config *config,
		     struct vmbus_device **out_device)
{
	struct vmbus_device **link = &host->devices;
	struct vmbus_device *device = make_device(host, config);
	int err;

	if (!device)
		return -LIS_NOMEM;
	enter(host);
	err = vmbus_server_offer(&host->server, &device->channels[0].server);
	if (!err) {
		device->channels[0].offered = true;
		while (*link)
			link = &(*link)->next;
		*link = device;
		*out_device = device;
	}
	leave(host);
	if (err)
		free_device(device);
	return err;
}

void vmbus_host_rescind(struct vmbus_device *device, struct io_call *retired)
{
	struct vmbus_host *host = device->host;

	device->rescinding = true;
	device->retired = retired;
	enter(host);
	vmbus_server_rescind(&host->server, &device->channels[0].server);
	leave(host);
}

void *vmbus_device_owner(const struct vmbus_device *device)
{
	return device->config.owner;
}

const char *vmbus_device_name(const struct vmbus_device *device)
{
	return device->name;
}

struct vmbus_host *vmbus_device_host(const struct vmbus_device *device)
{
	return device->host;
}

struct partition *vmbus_host_partition(const struct vmbus_host *host)
{
	return host->partition;
}

/* Status. */

void vmbus_host_status(const struct vmbus_host *host, struct vmbus_host_status *out_status)
{
	const struct vmbus_server *server = &host->server;

	*out_status = (struct vmbus_host_status){
		.version = server->connection.version,
		.features = server->connection.features,
		.contacts = server->counters.contacts,
		.messages_in = server->counters.messages_in,
		.messages_out = server->counters.messages_out,
		.violations = server->counters.violations,
	};
}

static uint64_t counted(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void channel_status(const struct vmbus_channel_host *ch,
			   struct vmbus_channel_status *out_status)
{
	const struct vmbus_channel_counters *counters = &ch->channel.counters;

	*out_status = (struct vmbus_channel_status){
		.channel_id = ch->server.id,
		.index = ch->channel.index,
		.open = ch->server.state == VMBUS_SERVER_CHANNEL_OPEN,
		.packets_in = counted(&counters->packets_in),
		.packets_out = counted(&counters->packets_out),
		.bytes_in = counted(&counters->bytes_in),
		.bytes_out = counted(&counters->bytes_out),
		.signals_in = counted(&counters->signals_in),
		.signals_out = counted(&counters->signals_out),
	};
	if (!out_status->open)
		return;
	out_status->target_vp = atomic_load_explicit(&ch->target_vp, memory_order_relaxed);
	out_status->ring_to_host_bytes = (uint32_t)(ch->ring_to_host.data_pages * HV_PAGE_BYTES);
	out_status->ring_to_guest_bytes = (uint32_t)(ch->ring_to_guest.data_pages * HV_PAGE_BYTES);
}

void vmbus_host_each_device(const struct vmbus_host *host,
			    void (*each)(void *arg, const struct vmbus_device_status *status),
			    void *arg)
{
	const size_t max = sizeof(((struct vmbus_device_status *)0)->channels) /
			   sizeof(struct vmbus_channel_status);

	for (const struct vmbus_device *device = host->devices; device; device = device->next) {
		struct vmbus_device_status status = {
			.name = device->name,
			.interface_id = device->config.interface_id,
			.instance_id = device->config.instance_id,
		};

		for (uint32_t i = 0; i < device->channel_count; i++) {
			if (!device->channels[i].offered)
				continue;
			if (status.channel_count < max)
				channel_status(&device->channels[i],
					       &status.channels[status.channel_count]);
			status.channel_count++;
		}
		each(arg, &status);
	}
}

/* Life. */

void vmbus_host_reset(struct vmbus_host *host, struct io_call *done)
{
	drop_messages(host);
	host->reset_done = done;
	enter(host);
	vmbus_server_reset(&host->server);
	leave(host);
}

int vmbus_host_create(const struct vmbus_host_config *config, struct vmbus_host **out_host)
{
	struct vmbus_host *host = calloc(1, sizeof(*host));
	struct vmbus_server_config server_config = {
		.vp_count = config->partition->vp_count,
		.version_max = config->version_max,
		.version_max_delayed = config->firmware_first,
	};

	if (!host)
		return -LIS_NOMEM;
	host->shared_signal_fd = eventfd(0, EFD_CLOEXEC);
	if (host->shared_signal_fd < 0) {
		free(host);
		return -LIS_NOMEM;
	}
	host->partition = config->partition;
	host->loop = config->loop;
	host->drain_wait_ns = DRAIN_WAIT_MIN_NS;
	host->drain_call.fn = drain_called;
	host->drain_timer.expired = drain_expired;
	host->teardown_call.fn = answer_teardowns;
	host->shared_signal.fired = shared_signal_fired;
	pthread_mutex_init(&host->queue_lock, NULL);
	pthread_mutex_init(&host->lock, NULL);
	vmbus_server_init(&host->server, &server_config, &server_ops, host);
	enter(host);
	leave(host);
	host->partition->listener = (struct partition_listener){ on_message, host };
	*out_host = host;
	return 0;
}

static void shared_signal_stopped(struct io_call *call)
{
	/* A call of its own, so that destroy can tell by @fn. */
	call->fn = NULL;
}

void vmbus_host_destroy(struct vmbus_host *host)
{
	struct io_call stopped = { .fn = shared_signal_stopped };

	if (!host)
		return;
	host->partition->listener = (struct partition_listener){ 0 };
	io_timer_cancel(&host->drain_timer);
	op_disconnected(host);
	if (host->shared_signal_started) {
		io_event_stop(&host->shared_signal, &stopped);
		while (stopped.fn)
			io_loop_turn(host->loop, true);
	}
	/* Calls that are on their way to us end here, not in freed memory. */
	while (host->drain_queued || atomic_load(&host->teardown_queued))
		if (!io_loop_turn(host->loop, false))
			break;
	vmbus_server_fini(&host->server);
	close(host->shared_signal_fd);
	pthread_mutex_destroy(&host->lock);
	pthread_mutex_destroy(&host->queue_lock);
	free(host);
}
