// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What KVM leaves to us of Hyper-V's interface: where the SynIC's pages are, HvPostMessage, signals
 * KVM could not match, and the crash registers. Everything here runs on the VP's own thread.
 *
 * Source: [tlfs 3, 11, 2.4]; [linux 6.1 arch/x86/kvm/hyperv.c] for what exits and how.
 */
#include <stdio.h>
#include <string.h>

#include "vmbus/os.h"
#include "vmm/internal.h"

#define HYPERCALL_CODE 0xffffull
#define HYPERCALL_FAST (1ull << 16)
#define HVCALL_POST_MESSAGE 0x5cu
#define HVCALL_SIGNAL_EVENT 0x5du

/* Source: [tlfs appendix C] HV_STATUS */
#define STATUS_SUCCESS 0x00u
#define STATUS_INVALID_HYPERCALL_CODE 0x02u
#define STATUS_INVALID_HYPERCALL_INPUT 0x03u
#define STATUS_INVALID_ALIGNMENT 0x04u
#define STATUS_INVALID_PARAMETER 0x05u
#define STATUS_INVALID_CONNECTION_ID 0x12u
#define STATUS_INSUFFICIENT_BUFFERS 0x13u

#define MSR_CRASH_P0 0x40000100u
#define MSR_CRASH_CTL 0x40000105u
#define CRASH_NOTIFY (1ull << 63)
#define CRASH_MESSAGE (1ull << 62)

/* Source: [tlfs 11.10.4] HvPostMessage's input */
struct post_message_input {
	uint32_t connection_id;
	uint32_t reserved;
	uint32_t type;
	uint32_t payload_bytes;
	uint8_t payload[VMBUS_MESSAGE_BYTES_MAX];
};
_Static_assert(sizeof(struct post_message_input) == 256, "HvPostMessage");

static void synic_exit(struct vcpu *vcpu)
{
	const struct kvm_hyperv_exit *exit = &vcpu->run->hyperv;

	count(&vcpu->counters.exits_synic);
	if (synic_set_registers(&vcpu->synic, &vcpu->machine->partition, exit->u.synic.control,
				exit->u.synic.evt_page, exit->u.synic.msg_page))
		kvm_partition_synic_changed(vcpu);
}

static uint64_t post_message(struct vcpu *vcpu, uint64_t input, uint64_t gpa)
{
	struct partition *partition = &vcpu->machine->partition;
	struct post_message_input message;
	const void *from;

	if (input & HYPERCALL_FAST)
		return STATUS_INVALID_HYPERCALL_INPUT;
	if (gpa % 8)
		return STATUS_INVALID_ALIGNMENT;
	from = partition_hva(partition, GPA(gpa), sizeof(message));
	if (!from)
		return STATUS_INVALID_PARAMETER;
	memcpy(&message, from, sizeof(message));
	if (message.reserved || message.payload_bytes > sizeof(message.payload) || !message.type ||
	    message.type & 1u << 31)
		return STATUS_INVALID_PARAMETER;
	if (!partition->listener.on_message)
		return STATUS_INVALID_CONNECTION_ID;
	count(&vcpu->counters.messages_in);
	switch (partition->listener.on_message(partition->listener.owner, message.connection_id,
					       message.payload, message.payload_bytes)) {
	case 0:
		return STATUS_SUCCESS;
	case -LIS_NOTFOUND:
		return STATUS_INVALID_CONNECTION_ID;
	case -LIS_FULL:
		return STATUS_INSUFFICIENT_BUFFERS;
	default:
		return STATUS_INVALID_PARAMETER;
	}
}

/*
 * KVM matches signals itself and sends us those it knows no eventfd for. In memory form (not fast)
 * newer KVM has replaced the address by the eight bytes that were there, older KVM has not; an id
 * fits 32 bits with a zero upper byte, so what is a bound id was read already, all else is looked
 * up as an address.
 */
static uint64_t signal_event(struct vcpu *vcpu, uint64_t input, uint64_t parameter)
{
	struct machine *machine = vcpu->machine;
	const void *from;

	if (parameter <= UINT32_MAX && !kvm_partition_signal(machine, (uint32_t)parameter))
		return STATUS_SUCCESS;
	if (input & HYPERCALL_FAST || parameter % 8)
		return STATUS_INVALID_CONNECTION_ID;
	from = partition_hva(&machine->partition, GPA(parameter), sizeof(parameter));
	if (!from)
		return STATUS_INVALID_CONNECTION_ID;
	memcpy(&parameter, from, sizeof(parameter));
	if (parameter <= UINT32_MAX && !kvm_partition_signal(machine, (uint32_t)parameter))
		return STATUS_SUCCESS;
	return STATUS_INVALID_CONNECTION_ID;
}

static void hypercall_exit(struct vcpu *vcpu)
{
	struct kvm_hyperv_exit *exit = &vcpu->run->hyperv;
	uint64_t input = exit->u.hcall.input;

	count(&vcpu->counters.exits_hypercall);
	switch (input & HYPERCALL_CODE) {
	case HVCALL_POST_MESSAGE:
		exit->u.hcall.result = post_message(vcpu, input, exit->u.hcall.params[0]);
		break;
	case HVCALL_SIGNAL_EVENT:
		exit->u.hcall.result = signal_event(vcpu, input, exit->u.hcall.params[0]);
		break;
	default:
		exit->u.hcall.result = STATUS_INVALID_HYPERCALL_CODE;
		break;
	}
}

void hyperv_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->hyperv.type) {
	case KVM_EXIT_HYPERV_SYNIC:
		synic_exit(vcpu);
		break;
	case KVM_EXIT_HYPERV_HCALL:
		hypercall_exit(vcpu);
		break;
	default:
		count(&vcpu->counters.exits_other);
		break;
	}
}

/* Copy the guest's own words, if it gave any; it may lie about where and how long they are. */
static size_t read_crash_message(struct machine *machine, const struct machine_crash *crash)
{
	uint64_t bytes = crash->parameters[4];
	const void *from;

	if (!(crash->control & CRASH_MESSAGE) || !bytes)
		return 0;
	if (bytes > sizeof(machine->crash_message))
		bytes = sizeof(machine->crash_message);
	from = partition_hva(&machine->partition, GPA(crash->parameters[3]), bytes);
	if (!from)
		return 0;
	memcpy(machine->crash_message, from, bytes);
	return bytes;
}

/* Keep one crash for the loop to report: the last, but one with words before one without. */
static void report_crash(struct vcpu *vcpu, uint64_t control)
{
	struct machine *machine = vcpu->machine;
	struct machine_crash crash = { .vp = vcpu->vp, .control = control };

	if (kvm_get_msrs(vcpu->fd, MSR_CRASH_P0, 5, crash.parameters))
		os_log(OS_LOG_WARNING, "VP %u: its crash registers cannot be read", vcpu->vp);
	pthread_mutex_lock(&machine->crash_lock);
	if (!machine->crash_pending || (control & CRASH_MESSAGE)) {
		crash.message = machine->crash_message;
		crash.message_bytes = read_crash_message(machine, &crash);
		machine->crash = crash;
		machine->crash_pending = true;
	}
	pthread_mutex_unlock(&machine->crash_lock);
	machine_request(machine, REQUEST_CRASHED);
}

/*
 * KVM's own crash control register has no bit for a message, so guests would not send one: we
 * answer for it ourselves. [linux 6.1 arch/x86/kvm/hyperv.c kvm_hv_msr_set_crash_ctl]
 */
void hyperv_msr_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->msr.index != MSR_CRASH_CTL) {
		run->msr.error = 1;
		return;
	}
	run->msr.error = 0;
	if (run->exit_reason == KVM_EXIT_X86_RDMSR)
		run->msr.data = CRASH_NOTIFY | CRASH_MESSAGE;
	else if (run->msr.data & CRASH_NOTIFY)
		report_crash(vcpu, run->msr.data);
}

void hyperv_crash_exit(struct vcpu *vcpu)
{
	report_crash(vcpu, CRASH_NOTIFY);
}

void hyperv_vm_init(struct machine *machine)
{
	uint8_t denied = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = { .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, .nmsrs = 1,
			       .base = MSR_CRASH_CTL, .bitmap = &denied },
	};
	struct kvm_enable_cap exits = { .cap = KVM_CAP_X86_USER_SPACE_MSR,
					.args = { KVM_MSR_EXIT_REASON_FILTER } };

	if (machine->kvm.msr_filter && kvm_call(machine->vm_fd, KVM_ENABLE_CAP, &exits) == 0 &&
	    kvm_call(machine->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) == 0)
		return;
	os_log(OS_LOG_INFO,
	       "this KVM cannot pass on the guest's crash message, only its crash registers");
}

int hyperv_vcpu_init(struct vcpu *vcpu)
{
	struct kvm_enable_cap synic = { .cap = KVM_CAP_HYPERV_SYNIC2 };
	int err = kvm_call(vcpu->fd, KVM_ENABLE_CAP, &synic);

	if (err < 0)
		return err;
	/* For a KVM without the filter: tells the guest that it may report. */
	kvm_set_msr(vcpu->fd, MSR_CRASH_CTL, CRASH_NOTIFY);
	return 0;
}
