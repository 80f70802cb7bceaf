// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels: their rings, open and close, which CPU they interrupt.
 *
 * A channel's lock serializes open, close and moves, and holds the rings in place for whoever looks
 * at them. The rings' ends belong to the channel's user. Interrupts find a channel by its id, under
 * RCU, from before it is opened until it is closed.
 *
 * The data of each ring is mapped twice, back to back, so that packets are contiguous.
 */
#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/vmalloc.h>

#include "linux/vmbus/private.h"
#include "vmbus/interfaces.h"

/* Answers of the host */

void lis_channel_on_opened(void *port, struct vmbus_client_channel *core, int error)
{
	struct lis_channel *channel = to_lis_channel(core);

	channel->opened_error = error;
	complete(&channel->opened_answer);
}

void lis_channel_on_modified(void *port, struct vmbus_client_channel *core, int error)
{
	struct lis_channel *channel = to_lis_channel(core);

	channel->modified_error = error;
	complete(&channel->modified_answer);
}

/* Rings: first what goes to the host, a control page and data, then likewise what comes from it. */

/* List the pages of one ring as they are mapped: control, data, data again. */
static struct page **list_ring(struct page **out, struct page **pages, u32 data_pages)
{
	*out++ = pages[0];
	for (u32 turn = 0; turn < 2; turn++)
		for (u32 i = 1; i <= data_pages; i++)
			*out++ = pages[i];
	return out;
}

static void *map_rings(const struct lis_memory *memory, const struct lis_channel_open *open)
{
	u32 to_host_pages = open->to_host_bytes / HV_PAGE_BYTES;
	u32 from_host_pages = open->from_host_bytes / HV_PAGE_BYTES;
	u32 count = 2 + 2 * (to_host_pages + from_host_pages);
	struct page **list = kvmalloc_array(count, sizeof(*list), GFP_KERNEL);
	struct page **end;
	void *map;

	if (!list)
		return NULL;
	end = list_ring(list, memory->pages, to_host_pages);
	list_ring(end, memory->pages + 1 + to_host_pages, from_host_pages);
	map = vmap(list, count, VM_MAP, PAGE_KERNEL);
	kvfree(list);
	return map;
}

static struct lis_memory *alloc_rings(const struct lis_channel_open *open)
{
	struct lis_memory *memory = lis_memory_alloc(
		2 + (open->to_host_bytes + open->from_host_bytes) / HV_PAGE_BYTES);

	if (!memory)
		return NULL;
	memory->map = map_rings(memory, open);
	if (memory->map)
		return memory;
	lis_memory_free(memory);
	return NULL;
}

/* Open and close */

static int init_rings(struct lis_channel *channel, const struct lis_memory *memory,
		      const struct lis_channel_open *open)
{
	u8 *to_host = memory->map;
	u8 *from_host = to_host + VMBUS_RING_CONTROL_BYTES + 2 * (size_t)open->to_host_bytes;
	int error = vmbus_ring_writer_init(&channel->to_host, to_host,
					   to_host + VMBUS_RING_CONTROL_BYTES,
					   open->to_host_bytes);

	if (error)
		return error;
	return vmbus_ring_reader_init(&channel->from_host, from_host,
				      from_host + VMBUS_RING_CONTROL_BYTES, open->from_host_bytes);
}

static void publish(struct lis_channel *channel)
{
	u32 id = channel->core.offer.channel_id;
	unsigned long flags;

	spin_lock_irqsave(&lis_bus.lock, flags);
	if (lis_bus.event_words < id / BITS_PER_LONG + 1)
		WRITE_ONCE(lis_bus.event_words, id / BITS_PER_LONG + 1);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	rcu_assign_pointer(lis_bus.open_channels[id], channel);
}

/* No interrupt calls on_signal any more when this returns. */
static void unpublish(struct lis_channel *channel)
{
	RCU_INIT_POINTER(lis_bus.open_channels[channel->core.offer.channel_id], NULL);
	synchronize_rcu();
}

static int ask_to_open(struct lis_channel *channel, const struct lis_channel_open *open)
{
	struct vmbus_client_open request = {
		.ring_gpadl_id = channel->memory->gpadl.id,
		.host_to_guest_page_offset = 1 + open->to_host_bytes / HV_PAGE_BYTES,
		.target_vp = hv_cpu_number_to_vp_number(channel->cpu),
	};
	unsigned long flags;
	int error;

	if (open->user_data)
		memcpy(request.user_data, open->user_data, sizeof(request.user_data));
	reinit_completion(&channel->opened_answer);
	spin_lock_irqsave(&lis_bus.lock, flags);
	error = vmbus_client_open(&lis_bus.client, &channel->core, &request);
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	if (error)
		return lis_errno(error);
	if (!lis_wait_for_answer(channel, &channel->opened_answer))
		return -ETIMEDOUT;
	if (channel->opened_error == -LIS_REFUSED)
		pr_err("hv_vmbus: %s: the host refuses to open channel %u, status 0x%x\n",
		       dev_name(&channel->device->dev), channel->core.offer.channel_id,
		       channel->core.status);
	return lis_errno(channel->opened_error);
}

static int open_locked(struct lis_channel *channel, const struct lis_channel_open *open)
{
	struct lis_memory *memory;
	int error;

	if (channel->opened)
		return -EBUSY;
	if (lis_channel_rescinded(channel))
		return -ENODEV;
	if (!cpu_online(channel->cpu))
		lis_channel_choose_cpu(channel);
	memory = alloc_rings(open);
	if (!memory)
		return -ENOMEM;
	error = lis_memory_share(channel, memory);
	if (error)
		return error;
	error = lis_errno(init_rings(channel, memory, open));
	if (error)
		goto unshare;
	channel->memory = memory;
	channel->on_signal = open->on_signal;
	/* The host may signal before we know that it has opened the channel. */
	publish(channel);
	error = ask_to_open(channel, open);
	if (error)
		goto unpublish;
	channel->opened = true;
	return 0;

unpublish:
	unpublish(channel);
	channel->memory = NULL;
unshare:
	lis_memory_unshare(channel, memory);
	return error;
}

int lis_channel_open(struct lis_channel *channel, const struct lis_channel_open *open)
{
	int error;

	/* The CPU stays while the host is told of it. */
	cpus_read_lock();
	mutex_lock(&channel->lock);
	error = open_locked(channel, open);
	mutex_unlock(&channel->lock);
	cpus_read_unlock();
	return error == -EPIPE ? -ENODEV : error;
}
EXPORT_SYMBOL_GPL(lis_channel_open);

bool lis_channel_close(struct lis_channel *channel)
{
	bool still_shared = false;
	unsigned long flags;

	mutex_lock(&channel->lock);
	if (channel->opened) {
		channel->opened = false;
		unpublish(channel);
		spin_lock_irqsave(&lis_bus.lock, flags);
		/* It is open, so there is nothing that could fail. */
		(void)!vmbus_client_close(&lis_bus.client, &channel->core);
		spin_unlock_irqrestore(&lis_bus.lock, flags);
		still_shared = lis_memory_unshare(channel, channel->memory);
		channel->memory = NULL;
	}
	mutex_unlock(&channel->lock);
	return still_shared;
}
EXPORT_SYMBOL_GPL(lis_channel_close);

void lis_channel_signal(struct lis_channel *channel, enum lis_signal why)
{
	channel->counters.signals++;
	if (why == LIS_SIGNAL_ROOM)
		channel->counters.signals_room++;
	else
		channel->counters.signals_packet++;
	vmbus_client_signal(&lis_bus.client, &channel->core);
}
EXPORT_SYMBOL_GPL(lis_channel_signal);

void lis_channel_ring_status(struct lis_channel *channel, struct vmbus_ring_status *out_to_host,
			     struct vmbus_ring_status *out_from_host)
{
	lockdep_assert_held(&channel->lock);
	vmbus_ring_status(channel->to_host.control, channel->to_host.data_bytes, out_to_host);
	vmbus_ring_status(channel->from_host.control, channel->from_host.data_bytes, out_from_host);
}

/* CPUs */

/* Channels of controllers are worth spreading; the rest stays where the messages go. */
static bool is_busy_device(const struct guid *interface)
{
	static const struct guid busy[] = { VMBUS_INTERFACE_SCSI, VMBUS_INTERFACE_NETWORK,
					    VMBUS_INTERFACE_PCI };

	for (unsigned int i = 0; i < ARRAY_SIZE(busy); i++)
		if (!guid_compare(interface, &busy[i]))
			return true;
	return false;
}

/* How crowded a CPU is: channels of the same device count most. */
static unsigned int crowd(const struct lis_channel *channel, unsigned int cpu)
{
	const struct lis_channel *other;
	unsigned int count = 0;

	lockdep_assert_held(&lis_bus.channels_lock);
	list_for_each_entry(other, &lis_bus.channels, node) {
		if (other == channel || READ_ONCE(other->cpu) != cpu || !other->device)
			continue;
		count += other->device == channel->device ? 1000 : 1;
	}
	return count;
}

void lis_channel_choose_cpu(struct lis_channel *channel)
{
	unsigned int best = cpumask_first(cpu_online_mask), least = UINT_MAX, cpu;

	mutex_lock(&lis_bus.channels_lock);
	if (is_busy_device(&channel->core.offer.interface_id)) {
		for_each_online_cpu(cpu) {
			unsigned int count = crowd(channel, cpu);

			if (count < least) {
				least = count;
				best = cpu;
			}
		}
	}
	WRITE_ONCE(channel->cpu, best);
	mutex_unlock(&lis_bus.channels_lock);
}

static void kick(void *data)
{
	struct lis_channel *channel = data;
	u32 id = channel->core.offer.channel_id;

	rcu_read_lock();
	if (rcu_access_pointer(lis_bus.open_channels[id]) == channel)
		channel->on_signal(channel);
	rcu_read_unlock();
}

void lis_channel_kick(struct lis_channel *channel)
{
	smp_call_function_single(channel->cpu, kick, channel, true);
}

static void tell_driver_of_move(struct lis_channel *channel)
{
	struct device_driver *driver = READ_ONCE(channel->device->dev.driver);

	if (driver && to_lis_driver(driver)->channel_moved)
		to_lis_driver(driver)->channel_moved(channel);
}

/* @channel is open, its lock is held. Returns 0 or -errno. */
static int move(struct lis_channel *channel, unsigned int cpu)
{
	unsigned long flags;
	int error;

	reinit_completion(&channel->modified_answer);
	spin_lock_irqsave(&lis_bus.lock, flags);
	error = vmbus_client_modify(&lis_bus.client, &channel->core,
				    hv_cpu_number_to_vp_number(cpu));
	spin_unlock_irqrestore(&lis_bus.lock, flags);
	if (error)
		return lis_errno(error);
	if (!lis_wait_for_answer(channel, &channel->modified_answer))
		return -ETIMEDOUT;
	if (channel->modified_error)
		return lis_errno(channel->modified_error);
	WRITE_ONCE(channel->cpu, cpu);
	/* What the host signalled to the old CPU in between may have been lost. */
	lis_channel_kick(channel);
	return 0;
}

int lis_channel_set_cpu(struct lis_channel *channel, unsigned int cpu)
{
	int error = 0;

	mutex_lock(&channel->lock);
	if (channel->cpu == cpu)
		goto unlock;
	if (!channel->opened) {
		error = lis_channel_rescinded(channel) ? -ENODEV : -EIO;
		goto unlock;
	}
	error = move(channel, cpu);
	if (!error)
		tell_driver_of_move(channel);
unlock:
	mutex_unlock(&channel->lock);
	return error;
}

/* The online CPU that shall have a channel of @cpu. */
static unsigned int cpu_instead(unsigned int cpu)
{
	unsigned int other;

	for_each_online_cpu(other)
		if (other != cpu && cpu_to_node(other) == cpu_to_node(cpu))
			return other;
	for_each_online_cpu(other)
		if (other != cpu)
			return other;
	return cpu;
}

/* Some channel that is open on a CPU, held by its kobject; NULL: there is none (any more). */
static struct lis_channel *channel_on_cpu(unsigned int cpu)
{
	struct lis_channel *channel, *found = NULL;

	mutex_lock(&lis_bus.channels_lock);
	list_for_each_entry(channel, &lis_bus.channels, node) {
		if (channel->cpu == cpu && READ_ONCE(channel->opened) &&
		    !lis_channel_rescinded(channel)) {
			kobject_get(&channel->kobj);
			found = channel;
			break;
		}
	}
	mutex_unlock(&lis_bus.channels_lock);
	return found;
}

int lis_channels_leave_cpu(unsigned int cpu)
{
	struct lis_channel *channel;
	int error = 0;

	while (!error && (channel = channel_on_cpu(cpu))) {
		error = lis_channel_set_cpu(channel, cpu_instead(cpu));
		/* One that was closed or rescinded meanwhile needs no CPU. */
		if (error && (!READ_ONCE(channel->opened) || lis_channel_rescinded(channel)))
			error = 0;
		kobject_put(&channel->kobj);
	}
	/* Before 4.1 a channel stays where it was opened. */
	return error == -EOPNOTSUPP ? -EBUSY : error;
}
