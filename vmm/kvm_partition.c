// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The partition that VSPs see, on KVM. Interrupts go through one irqfd for each VP, whose GSI is
 * routed to SINT 2; its resample eventfd tells when the guest ended an interrupt or a message. That
 * eventfd is only read while messages wait, so event interrupts cost no wake-up here.
 *
 * Threads: messages belong to the machine's loop; event flags to anyone; signals are under a lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/error.h"
#include "vmbus/os.h"
#include "vmm/internal.h"

#define CONNECTION_ID_MAX 0xffffffu /* [tlfs 11] 24 bits */

static struct machine *machine_of(struct partition *partition)
{
	return (struct machine *)(void *)((char *)partition - offsetof(struct machine, partition));
}

static void raise_sint(struct vcpu *vcpu)
{
	count(&vcpu->counters.interrupts);
	eventfd_write(vcpu->interrupt_fd, 1);
}

static void arm_resample(struct vcpu *vcpu)
{
	struct io_uring_sqe *sqe;

	if (vcpu->resample_reading)
		return;
	vcpu->resample_reading = true;
	sqe = io_loop_sqe(vcpu->machine->loop, &vcpu->resample_read);
	io_uring_prep_read(sqe, vcpu->resample_fd, &vcpu->resample_count,
			   sizeof(vcpu->resample_count), 0);
}

/* One message at most fits; if more wait, the guest's end of message brings us here again. */
static void deliver(struct vcpu *vcpu)
{
	enum synic_delivery left;
	bool written;

	left = synic_deliver(&vcpu->synic, &written);
	if (written)
		raise_sint(vcpu);
	if (left == SYNIC_BLOCKED)
		arm_resample(vcpu);
}

static void on_resample(struct io_op *op, int32_t result)
{
	struct vcpu *vcpu =
		(struct vcpu *)(void *)((char *)op - offsetof(struct vcpu, resample_read));

	vcpu->resample_reading = false;
	if (result < 0 && result != -EINTR && result != -EAGAIN)
		return; /* the loop is going away */
	deliver(vcpu);
}

static void on_synic_call(struct io_call *call)
{
	struct vcpu *vcpu =
		(struct vcpu *)(void *)((char *)call - offsetof(struct vcpu, synic_call));

	atomic_store(&vcpu->synic_called, false);
	deliver(vcpu);
}

void kvm_partition_synic_changed(struct vcpu *vcpu)
{
	if (!atomic_exchange(&vcpu->synic_called, true))
		io_loop_call(vcpu->machine->loop, &vcpu->synic_call);
}

static int post_message(struct partition *partition, uint32_t vp, const void *payload,
			size_t payload_bytes)
{
	struct machine *machine = machine_of(partition);
	int err;

	if (vp >= machine->cpus)
		return -LIS_INVALID;
	err = synic_post(&machine->vcpus[vp].synic, payload, payload_bytes);
	if (!err)
		deliver(&machine->vcpus[vp]);
	return err;
}

static size_t messages_pending(struct partition *partition)
{
	struct machine *machine = machine_of(partition);
	size_t pending = 0;

	for (uint32_t vp = 0; vp < machine->cpus; vp++)
		pending += synic_waiting(&machine->vcpus[vp].synic);
	return pending;
}

static void set_event_flag(struct partition *partition, uint32_t vp, uint32_t flag)
{
	struct machine *machine = machine_of(partition);

	if (vp < machine->cpus && synic_set_event_flag(&machine->vcpus[vp].synic, flag))
		raise_sint(&machine->vcpus[vp]);
}

static int kvm_bind(struct machine *machine, const struct signal_binding *binding, uint32_t flags)
{
	struct kvm_hyperv_eventfd bind = {
		.conn_id = binding->connection_id, .fd = binding->eventfd, .flags = flags,
	};

	return kvm_call(machine->vm_fd, KVM_HYPERV_EVENTFD, &bind);
}

static struct signal_binding **find_signal(struct machine *machine, uint32_t connection_id)
{
	struct signal_binding **at = &machine->signals;

	while (*at && (*at)->connection_id != connection_id)
		at = &(*at)->next;
	return at;
}

static int bind_signal(struct partition *partition, uint32_t connection_id, int eventfd)
{
	struct machine *machine = machine_of(partition);
	struct signal_binding *binding;
	int err = 0;

	if (connection_id > CONNECTION_ID_MAX)
		return -LIS_INVALID;
	binding = malloc(sizeof(*binding));
	if (!binding)
		return -LIS_NOMEM;
	*binding = (struct signal_binding){ .connection_id = connection_id, .eventfd = eventfd };
	pthread_mutex_lock(&machine->signal_lock);
	if (*find_signal(machine, connection_id))
		err = -LIS_BUSY;
	else
		err = kvm_bind(machine, binding, 0);
	if (!err) {
		binding->next = machine->signals;
		machine->signals = binding;
	}
	pthread_mutex_unlock(&machine->signal_lock);
	if (!err)
		return 0;
	free(binding);
	return err == -LIS_BUSY ? err : lis_error_from_errno(-err);
}

static void unbind_signal(struct partition *partition, uint32_t connection_id)
{
	struct machine *machine = machine_of(partition);
	struct signal_binding **at, *binding;

	pthread_mutex_lock(&machine->signal_lock);
	at = find_signal(machine, connection_id);
	binding = *at;
	if (binding) {
		*at = binding->next;
		kvm_bind(machine, binding, KVM_HYPERV_EVENTFD_DEASSIGN);
	}
	pthread_mutex_unlock(&machine->signal_lock);
	free(binding);
}

int kvm_partition_signal(struct machine *machine, uint32_t connection_id)
{
	const struct signal_binding *binding;

	pthread_mutex_lock(&machine->signal_lock);
	binding = *find_signal(machine, connection_id);
	if (binding)
		eventfd_write(binding->eventfd, 1);
	pthread_mutex_unlock(&machine->signal_lock);
	return binding ? 0 : -LIS_NOTFOUND;
}

static bool is_asleep(struct partition *partition)
{
	const struct machine *machine = machine_of(partition);

	for (uint32_t vp = 0; vp < machine->cpus; vp++)
		if (!vcpu_is_asleep(&machine->vcpus[vp]))
			return false;
	return true;
}

static const struct partition_ops kvm_partition_ops = {
	.post_message = post_message,
	.messages_pending = messages_pending,
	.set_event_flag = set_event_flag,
	.bind_signal = bind_signal,
	.unbind_signal = unbind_signal,
	.is_asleep = is_asleep,
};

int kvm_partition_init(struct machine *machine)
{
	pthread_mutex_init(&machine->signal_lock, NULL);
	machine->partition.ops = &kvm_partition_ops;
	machine->partition.vp_count = machine->cpus;
	for (uint32_t vp = 0; vp < machine->cpus; vp++) {
		struct vcpu *vcpu = &machine->vcpus[vp];

		synic_init(&vcpu->synic);
		vcpu->resample_read.done = on_resample;
		vcpu->synic_call.fn = on_synic_call;
		vcpu->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		/* Blocking: the read in the ring is to wait. */
		vcpu->resample_fd = eventfd(0, EFD_CLOEXEC);
	}
	for (uint32_t vp = 0; vp < machine->cpus; vp++)
		if (machine->vcpus[vp].interrupt_fd < 0 || machine->vcpus[vp].resample_fd < 0)
			return -LIS_NOMEM;
	return 0;
}

void kvm_partition_fini(struct machine *machine)
{
	for (uint32_t vp = 0; vp < machine->cpus; vp++) {
		struct vcpu *vcpu = &machine->vcpus[vp];

		synic_reset(&vcpu->synic);
		if (vcpu->resample_reading)
			eventfd_write(vcpu->resample_fd, 1);
		while (vcpu->resample_reading || atomic_load(&vcpu->synic_called))
			io_loop_turn(machine->loop, true);
		synic_fini(&vcpu->synic);
		if (vcpu->interrupt_fd >= 0)
			close(vcpu->interrupt_fd);
		if (vcpu->resample_fd >= 0)
			close(vcpu->resample_fd);
	}
	while (machine->signals) {
		struct signal_binding *binding = machine->signals;

		machine->signals = binding->next;
		free(binding);
	}
	pthread_mutex_destroy(&machine->signal_lock);
}

static void add_route(struct kvm_irq_routing *routing, const struct kvm_irq_routing_entry *entry)
{
	routing->entries[routing->nr++] = *entry;
}

static void add_pin(struct kvm_irq_routing *routing, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	struct kvm_irq_routing_entry entry = { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP };

	entry.u.irqchip.irqchip = chip;
	entry.u.irqchip.pin = pin;
	add_route(routing, &entry);
}

/* Pins as on a PC (the timer is on pin 2 of the I/O APIC), then the SINTs. */
static int set_routes(struct machine *machine)
{
	uint32_t entries = 16 + GSI_IOAPIC_PINS + machine->cpus;
	struct kvm_irq_routing *routing =
		calloc(1, sizeof(*routing) + entries * sizeof(routing->entries[0]));
	int err;

	if (!routing)
		return -ENOMEM;
	for (uint32_t i = 0; i < 16; i++)
		if (i != 2)
			add_pin(routing, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				i % 8);
	for (uint32_t i = 0; i < GSI_IOAPIC_PINS; i++)
		if (i != 2)
			add_pin(routing, i, KVM_IRQCHIP_IOAPIC, i ? i : 2);
	for (uint32_t vp = 0; vp < machine->cpus; vp++)
		add_route(routing, &(struct kvm_irq_routing_entry){
			.gsi = GSI_SINT_FIRST + vp, .type = KVM_IRQ_ROUTING_HV_SINT,
			.u.hv_sint = { .vcpu = vp, .sint = VMBUS_MESSAGE_SINT },
		});
	err = kvm_call(machine->vm_fd, KVM_SET_GSI_ROUTING, routing);
	free(routing);
	return err;
}

int kvm_partition_connect(struct machine *machine)
{
	int err = set_routes(machine);

	for (uint32_t vp = 0; vp < machine->cpus && !err; vp++) {
		struct kvm_irqfd irqfd = {
			.fd = (uint32_t)machine->vcpus[vp].interrupt_fd,
			.gsi = GSI_SINT_FIRST + vp,
			.flags = KVM_IRQFD_FLAG_RESAMPLE,
			.resamplefd = (uint32_t)machine->vcpus[vp].resample_fd,
		};

		err = kvm_call(machine->vm_fd, KVM_IRQFD, &irqfd);
	}
	pthread_mutex_lock(&machine->signal_lock);
	for (struct signal_binding *binding = machine->signals; binding && !err;
	     binding = binding->next)
		err = kvm_bind(machine, binding, 0);
	pthread_mutex_unlock(&machine->signal_lock);
	return err;
}

void kvm_partition_reset(struct machine *machine)
{
	for (uint32_t vp = 0; vp < machine->cpus; vp++) {
		eventfd_t ignored;

		synic_reset(&machine->vcpus[vp].synic);
		eventfd_read(machine->vcpus[vp].interrupt_fd, &ignored);
	}
}
