/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The machine from the inside: what machine.c, vm.c, cpu.c, hyperv.c and kvm_partition.c share.
 *
 * A reset replaces the whole KVM machine (vm_fd, vCPUs) around the same memory: nothing of the old
 * guest can be left over.
 */
#ifndef OPENLIS_VMM_INTERNAL_H
#define OPENLIS_VMM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/boot.h"
#include "vmm/chipset/pm.h"
#include "vmm/chipset/ports.h"
#include "vmm/chipset/reset.h"
#include "vmm/chipset/rtc.h"
#include "vmm/chipset/serial.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"
#include "vmm/memory.h"
#include "vmm/synic.h"

#define GSI_IOAPIC_PINS 24u
#define GSI_SINT_FIRST GSI_IOAPIC_PINS /* one for each VP, SINT 2 */

struct vcpu_counters {
	_Atomic uint64_t exits, exits_port, exits_mmio, exits_hypercall, exits_synic, exits_other;
	_Atomic uint64_t messages_in, interrupts;
};

struct vcpu {
	struct machine *machine;
	uint32_t vp;
	int fd;
	int stats_fd;               /* -1: nobody asks whether it sleeps, or KVM cannot tell */
	uint32_t blocking_offset;   /* in it */
	struct kvm_run *run;
	pthread_t thread;
	bool has_thread;

	/* SynIC: lives on through resets */
	struct synic synic;
	int interrupt_fd; /* written: SINT 2 is raised */
	int resample_fd;  /* readable: the guest ended an interrupt or a message */
	struct io_op resample_read;
	uint64_t resample_count;
	bool resample_reading;
	struct io_call synic_call; /* messages can go on */
	atomic_bool synic_called;

	struct vcpu_counters counters;
};

/* What a VP's thread wants of the loop; bits. */
#define REQUEST_POWER_OFF 0x1u
#define REQUEST_RESET 0x2u
#define REQUEST_TRIPLE_FAULT 0x4u
#define REQUEST_FAILED 0x8u
#define REQUEST_CRASHED 0x10u
#define REQUEST_HALTS (REQUEST_POWER_OFF | REQUEST_RESET | REQUEST_TRIPLE_FAULT | REQUEST_FAILED)

enum vcpus_wanted { VCPUS_PARK, VCPUS_RUN, VCPUS_EXIT };

/* A bound signal; survives resets. */
struct signal_binding {
	struct signal_binding *next;
	uint32_t connection_id;
	int eventfd;
};

struct machine {
	struct partition partition;
	struct io_loop *loop;
	struct machine_console console;
	bool knows_sleep;
	void (*event)(void *owner, const struct machine_event *event);
	void *owner;
	char *kernel_path, *initrd_path, *cmdline;
	uint64_t memory_bytes;
	bool huge_pages;
	uint32_t cpus;
	struct machine_topology topology;
	struct memory_map map;

	struct kvm_host kvm;
	int vm_fd;
	uint64_t clock_ns; /* the guest's, while paused */
	struct vcpu *vcpus;

	/* running, under run_lock; wanted is read without it as well */
	enum machine_state state; /* loop's thread only */
	pthread_mutex_t run_lock;
	pthread_cond_t run_changed;
	_Atomic int wanted;
	bool halted;      /* a VP asked for the end: nobody runs until the next start */
	uint32_t parked;

	/* requests from VPs' threads */
	_Atomic uint32_t requests;
	struct io_call request_call;
	pthread_mutex_t crash_lock;
	bool crash_pending;
	struct machine_crash crash;
	char crash_message[MACHINE_CRASH_MESSAGE_BYTES_MAX];
	char failure[MACHINE_ERROR_BYTES];
	uint64_t resets, crashes, crashes_at_start;

	/* devices */
	struct ports ports;
	struct serial serial;
	struct serial_ops serial_ops;
	struct pm pm;
	struct pm_ops pm_ops;
	struct rtc rtc;
	struct reset reset;
	struct io_call output_call, input_call;
	struct io_timer output_timer;
	atomic_bool output_called, input_called;
	bool output_blocked; /* the owner takes no more for now */
	pthread_mutex_t coalesced_lock;
	struct kvm_coalesced_mmio_ring *coalesced; /* NULL: KVM has none */

	pthread_mutex_t signal_lock;
	struct signal_binding *signals;
};

/* machine.c */

/** machine_request() - From a VP's thread: the loop is to know; REQUEST_HALTS also park all VPs. */
void machine_request(struct machine *machine, uint32_t requests);

/* vm.c */

/** vm_create() - The KVM machine with its vCPUs, memory and interrupts; VP 0 ready for @entry. */
int vm_create(struct machine *machine, const struct boot_entry *entry, char *error,
	      size_t error_bytes) LIS_MUST_USE;
/** vm_destroy() - Undo it; threads are gone. Fine on a half-made one. */
void vm_destroy(struct machine *machine);
/** vm_clock_stop(), vm_clock_start() - The guest's clock stands still in between. */
void vm_clock_stop(struct machine *machine);
void vm_clock_start(struct machine *machine);
/** vm_irq() - Set the level of an I/O APIC pin. Any thread. */
void vm_irq(struct machine *machine, uint32_t gsi, bool level);
/** vm_drain_ports() - Carry out coalesced port writes. Any VP's thread. */
void vm_drain_ports(struct machine *machine);

/* cpu.c */

int vcpu_create(struct vcpu *vcpu, char *error, size_t error_bytes) LIS_MUST_USE;
int vcpu_set_boot_state(struct vcpu *vcpu, const struct boot_entry *entry) LIS_MUST_USE;
void vcpu_destroy(struct vcpu *vcpu);
/** vcpu_is_asleep() - Does it wait for an interrupt? True, too, where nobody can tell. Any thread. */
bool vcpu_is_asleep(const struct vcpu *vcpu);
/** vcpus_start() - Threads for all vCPUs, parked. Return: 0, -LIS_NOMEM. */
int vcpus_start(struct machine *machine) LIS_MUST_USE;
/** vcpus_run() - Let all run, unless one of them has asked for the end. */
void vcpus_run(struct machine *machine);
/** vcpus_park() - Have all leave the guest, and wait for it. Not from a VP's thread. */
void vcpus_park(struct machine *machine);
/** vcpus_halt() - From a VP's thread: as vcpus_park(), for good, without waiting. */
void vcpus_halt(struct machine *machine);
/** vcpus_join() - End all threads. */
void vcpus_join(struct machine *machine);
/** vcpu_fail() - KVM cannot go on with this VP: log its registers, stop the machine. */
void vcpu_fail(struct vcpu *vcpu, const char *why, uint64_t detail);

/* hyperv.c */

/** hyperv_vm_init() - Have writes to the crash control register sent to us. */
void hyperv_vm_init(struct machine *machine);
/** hyperv_vcpu_init() - Hyper-V's side of a fresh vCPU. Return: 0, negative errno. */
int hyperv_vcpu_init(struct vcpu *vcpu) LIS_MUST_USE;
/** hyperv_exit() - KVM_EXIT_HYPERV. */
void hyperv_exit(struct vcpu *vcpu);
/** hyperv_msr_exit() - KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR. */
void hyperv_msr_exit(struct vcpu *vcpu);
/** hyperv_crash_exit() - KVM_SYSTEM_EVENT_CRASH. */
void hyperv_crash_exit(struct vcpu *vcpu);

/* kvm_partition.c */

/** kvm_partition_init() - Ops and interrupt eventfds of all VPs. Return: 0, -LIS_NOMEM. */
int kvm_partition_init(struct machine *machine) LIS_MUST_USE;
/** kvm_partition_fini() - Undo it; runs the loop until nothing is in flight. */
void kvm_partition_fini(struct machine *machine);
/** kvm_partition_connect() - Tie it to a fresh KVM machine: routes, irqfds, signals. Return:
 * negative errno. */
int kvm_partition_connect(struct machine *machine) LIS_MUST_USE;
/** kvm_partition_reset() - Forget all messages and pages. */
void kvm_partition_reset(struct machine *machine);
/** kvm_partition_synic_changed() - From the VP's thread: messages can go on. */
void kvm_partition_synic_changed(struct vcpu *vcpu);
/** kvm_partition_signal() - HvSignalEvent that KVM did not match. Return: 0, -LIS_NOTFOUND. */
int kvm_partition_signal(struct machine *machine, uint32_t connection_id) LIS_MUST_USE;

static inline void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

#endif
