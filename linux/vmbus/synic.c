// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each CPU has of the hypervisor's interrupt controller: a page of message slots and one of
 * event flags for SINT 2, and the interrupt that says "look".
 *
 * Messages are handled by a work item on the CPU whose slot they are in, since only that CPU can
 * tell the hypervisor that the slot is free; until then it holds the next one back, so nothing is
 * lost and nothing needs a queue. Events go straight to the channels, in the interrupt.
 *
 * Source: [tlfs 11], [linux 6.1 drivers/hv/hv.c hv_synic_enable_regs].
 */
#include <linux/cpuhotplug.h>
#include <linux/io.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/syscore_ops.h>

#include "linux/vmbus/private.h"

/* Messages in a row before the worker lets others run. */
#define MESSAGES_AT_ONCE 64

/* Input of the hypercall HvPostMessage; must not cross a page. Source: [tlfs 11] */
struct post_message {
	u32 connection_id;
	u32 reserved;
	u32 type;
	u32 payload_bytes;
	u64 payload[VMBUS_MESSAGE_BYTES_MAX / sizeof(u64)];
};

struct cpu_synic {
	unsigned int number;
	struct hv_message_page *messages;
	union hv_synic_event_flags *events;
	struct work_struct message_work;
};

static struct cpu_synic __percpu *synic;
static int hotplug_state;

/* To the host */

int lis_post_message(void *port, uint32_t connection_id, const void *payload, size_t bytes)
{
	struct lis_bus *bus = port;
	struct post_message *input = bus->post_page;
	u64 status;

	*input = (struct post_message){
		.connection_id = connection_id,
		.type = VMBUS_MESSAGE_TYPE,
		.payload_bytes = (u32)bytes,
	};
	memcpy(input->payload, payload, bytes);
	status = hv_do_hypercall(HVCALL_POST_MESSAGE, input, NULL) & HV_HYPERCALL_RESULT_MASK;
	switch (status) {
	case HV_STATUS_SUCCESS:
		bus->posts_refused = 0;
		return 0;
	case HV_STATUS_INSUFFICIENT_MEMORY:
	case HV_STATUS_INSUFFICIENT_BUFFERS:
		return -LIS_AGAIN;
	case HV_STATUS_INVALID_CONNECTION_ID:
		/*
		 * Before there is a connection: nothing listens there. Afterwards hosts say so of
		 * too many messages at a time. Source: [linux 6.1 drivers/hv/connection.c
		 * vmbus_post_msg]
		 */
		if (bus->client.state == VMBUS_CLIENT_CONTACTING || ++bus->posts_refused > 100)
			return -LIS_NOTFOUND;
		return -LIS_AGAIN;
	default:
		pr_err("hv_vmbus: the hypervisor refuses a message, status 0x%llx\n", status);
		return -LIS_IO;
	}
}

/* From the host: messages */

static struct hv_message *message_slot(const struct cpu_synic *cpu)
{
	return &cpu->messages->sint_message[VMBUS_MESSAGE_SINT];
}

/* The hypervisor may fill the slot again. Only the slot's own CPU can ask for what waits. */
static void free_slot(struct hv_message *slot, u32 type)
{
	/* A crashing guest may have done this under our hands. */
	if (cmpxchg(&slot->header.message_type, type, HVMSG_NONE) != type)
		return;
	/* The slot is seen free before the flag is looked at. Source: [tlfs 11] */
	mb();
	if (READ_ONCE(slot->header.message_flags.asu8) & 1)
		hv_set_msr(HV_X64_MSR_EOM, 0);
}

/* Take what is in a slot. Returns false where it is empty. Caller holds the client's lock. */
static bool take_message(struct cpu_synic *cpu)
{
	struct hv_message *slot = message_slot(cpu);
	u32 type = READ_ONCE(slot->header.message_type);
	u64 payload[VMBUS_MESSAGE_BYTES_MAX / sizeof(u64)];
	u8 bytes;

	if (type == HVMSG_NONE)
		return false;
	bytes = READ_ONCE(slot->header.payload_size);
	memcpy(payload, slot->u.payload, sizeof(payload));
	free_slot(slot, type);
	if (type == VMBUS_MESSAGE_TYPE)
		vmbus_client_on_message(&lis_bus.client, payload, bytes);
	return true;
}

static void handle_messages(struct work_struct *work)
{
	struct cpu_synic *cpu = container_of(work, struct cpu_synic, message_work);
	unsigned long flags;
	bool taken;

	for (unsigned int i = 0; i < MESSAGES_AT_ONCE; i++) {
		spin_lock_irqsave(&lis_bus.lock, flags);
		taken = take_message(cpu);
		spin_unlock_irqrestore(&lis_bus.lock, flags);
		if (!taken)
			return;
	}
	queue_work_on(cpu->number, lis_bus.messages, work);
}

void lis_synic_poll_messages(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct cpu_synic *it = per_cpu_ptr(synic, cpu);

		if (it->messages)
			take_message(it);
	}
}

/* From the host: events */

static void signal_channels(unsigned long *words)
{
	unsigned int count = READ_ONCE(lis_bus.event_words);

	for (unsigned int i = 0; i < count; i++) {
		unsigned long bits = READ_ONCE(words[i]) ? xchg(&words[i], 0) : 0;

		while (bits) {
			unsigned int id = i * BITS_PER_LONG + __ffs(bits);
			struct lis_channel *channel;

			bits &= bits - 1;
			/* An interrupt is a reader as long as it lasts; see lis_channel_close(). */
			channel = rcu_dereference(lis_bus.open_channels[id]);
			if (!channel)
				continue;
			channel->counters.interrupts++;
			channel->on_signal(channel);
		}
	}
}

static void signal_events(struct cpu_synic *cpu)
{
	union hv_synic_event_flags *flags = &cpu->events[VMBUS_MESSAGE_SINT];

	if (likely(READ_ONCE(lis_bus.client.version) >= VMBUS_VERSION_WIN8)) {
		signal_channels(flags->flags);
		return;
	}
	/* Older hosts set flag 0 and say in the interrupt page's lower half which channels. */
	if (test_and_clear_bit(0, flags->flags))
		signal_channels(lis_bus.interrupt_page);
}

/* Hosts without direct-mode timers send their timers' messages to our SINT. */
static bool is_timer_message(u32 type)
{
	return type == HVMSG_TIMER_EXPIRED;
}

static void lis_interrupt(void)
{
	struct cpu_synic *cpu = this_cpu_ptr(synic);
	struct hv_message *slot = message_slot(cpu);
	u32 type;

	rcu_read_lock();
	signal_events(cpu);
	rcu_read_unlock();

	type = READ_ONCE(slot->header.message_type);
	if (unlikely(type != HVMSG_NONE)) {
		if (is_timer_message(type)) {
			hv_stimer0_isr();
			free_slot(slot, type);
		} else {
			queue_work_on(cpu->number, lis_bus.messages, &cpu->message_work);
		}
	}
	add_interrupt_randomness(HYPERVISOR_CALLBACK_VECTOR);
}

/* CPUs come and go */

/* An enable bit, and the page's address from bit 12 on: SIMP and SIEFP alike. Source: [tlfs 11] */
static void set_page(u32 msr, const void *page)
{
	hv_set_msr(msr, page ? virt_to_phys((void *)page) | 1 : 0);
}

static void enable_registers(unsigned int cpu)
{
	struct cpu_synic *it = per_cpu_ptr(synic, cpu);
	union hv_synic_sint sint;

	set_page(HV_X64_MSR_SIMP, it->messages);
	set_page(HV_X64_MSR_SIEFP, it->events);
	sint.as_uint64 = hv_get_msr(HV_X64_MSR_SINT0 + VMBUS_MESSAGE_SINT);
	sint.masked = 0;
	sint.vector = HYPERVISOR_CALLBACK_VECTOR;
	sint.auto_eoi = !(ms_hyperv.hints & HV_DEPRECATING_AEOI_RECOMMENDED);
	hv_set_msr(HV_X64_MSR_SINT0 + VMBUS_MESSAGE_SINT, sint.as_uint64);
	hv_set_msr(HV_X64_MSR_SCONTROL, hv_get_msr(HV_X64_MSR_SCONTROL) | 1);
}

static int enable_cpu(unsigned int cpu)
{
	enable_registers(cpu);
	hv_stimer_legacy_init(cpu, VMBUS_MESSAGE_SINT);
	return 0;
}

void lis_synic_disable_cpu(unsigned int cpu)
{
	union hv_synic_sint sint;

	sint.as_uint64 = hv_get_msr(HV_X64_MSR_SINT0 + VMBUS_MESSAGE_SINT);
	sint.masked = 1;
	hv_set_msr(HV_X64_MSR_SINT0 + VMBUS_MESSAGE_SINT, sint.as_uint64);
	set_page(HV_X64_MSR_SIMP, NULL);
	set_page(HV_X64_MSR_SIEFP, NULL);
	hv_set_msr(HV_X64_MSR_SCONTROL, hv_get_msr(HV_X64_MSR_SCONTROL) & ~1ull);
}

static int leave_cpu(unsigned int cpu)
{
	/* The host's messages go to the CPU that made contact, and no message can change that. */
	if (READ_ONCE(lis_bus.client.state) != VMBUS_CLIENT_IDLE &&
	    hv_cpu_number_to_vp_number(cpu) == lis_bus.client.config.target_vp)
		return -EBUSY;
	return lis_channels_leave_cpu(cpu);
}

static int disable_cpu(unsigned int cpu)
{
	/* When the bus goes, all must go, whatever the host thinks of it. */
	int error = READ_ONCE(lis_bus.stopping) ? 0 : leave_cpu(cpu);

	if (error)
		return error;
	flush_work(&per_cpu_ptr(synic, cpu)->message_work);
	hv_stimer_legacy_cleanup(cpu);
	lis_synic_disable_cpu(cpu);
	return 0;
}

/*
 * Hibernation. All other CPUs are offline, interrupts are off; the kernel saw to the timer. A kernel that
 * makes way for a hibernated one leaves nothing behind that would write into its memory, and the
 * hibernated one finds the registers of that or of a new machine.
 */
static int suspend_last_cpu(void *data)
{
	lis_synic_disable_cpu(0);
	return 0;
}

static void resume_last_cpu(void *data)
{
	enable_registers(0);
}

COMPAT_SYSCORE(last_cpu, suspend_last_cpu, resume_last_cpu);

static void free_pages_of_cpus(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct cpu_synic *it = per_cpu_ptr(synic, cpu);

		free_page((unsigned long)it->messages);
		free_page((unsigned long)it->events);
	}
	free_percpu(synic);
	synic = NULL;
}

static int alloc_pages_of_cpus(void)
{
	int cpu;

	synic = alloc_percpu(struct cpu_synic);
	if (!synic)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct cpu_synic *it = per_cpu_ptr(synic, cpu);

		it->number = cpu;
		INIT_WORK(&it->message_work, handle_messages);
		it->messages = (void *)get_zeroed_page(GFP_KERNEL);
		it->events = (void *)get_zeroed_page(GFP_KERNEL);
		if (!it->messages || !it->events) {
			free_pages_of_cpus();
			return -ENOMEM;
		}
	}
	return 0;
}

int lis_synic_start(void)
{
	int error = alloc_pages_of_cpus();

	if (error)
		return error;
	hv_setup_vmbus_handler(lis_interrupt);
	error = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "hyperv/vmbus:online", enable_cpu,
				  disable_cpu);
	if (error < 0) {
		hv_remove_vmbus_handler();
		free_pages_of_cpus();
		return error;
	}
	hotplug_state = error;
	register_syscore(&last_cpu);
	return 0;
}

void lis_synic_leave_cpus(void)
{
	if (hotplug_state)
		cpuhp_remove_state(hotplug_state);
	hotplug_state = 0;
}

void lis_synic_stop(void)
{
	int cpu;

	if (!hotplug_state)
		return;
	unregister_syscore(&last_cpu);
	lis_synic_leave_cpus();
	hv_remove_vmbus_handler();
	/* No interrupt is on its way any more, so nobody queues these anew. */
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		cancel_work_sync(&per_cpu_ptr(synic, cpu)->message_work);
	free_pages_of_cpus();
}
