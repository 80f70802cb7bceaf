/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What CPUID tells the guest: the processor that KVM supports, in our topology, under Hyper-V. Also
 * who has which APIC id. No KVM calls.
 */
#ifndef OPENLIS_VMM_CPUID_H
#define OPENLIS_VMM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"
#include "vmm/machine.h"

#define HYPERV_CPUID_MAX 0x40000005u

/* Source: [tlfs 2.4] HV_PARTITION_PRIVILEGE_MASK and features, leaf 0x40000003 */
#define HYPERV_ACCESS_RUNTIME (1u << 0)          /* EAX */
#define HYPERV_ACCESS_REFERENCE_COUNTER (1u << 1)
#define HYPERV_ACCESS_SYNIC (1u << 2)
#define HYPERV_ACCESS_TIMERS (1u << 3)
#define HYPERV_ACCESS_APIC (1u << 4)
#define HYPERV_ACCESS_HYPERCALL (1u << 5)
#define HYPERV_ACCESS_VP_INDEX (1u << 6)
#define HYPERV_ACCESS_RESET (1u << 7)
#define HYPERV_ACCESS_REFERENCE_TSC (1u << 9)
#define HYPERV_ACCESS_FREQUENCIES (1u << 11)
#define HYPERV_POST_MESSAGES (1u << 4)           /* EBX */
#define HYPERV_SIGNAL_EVENTS (1u << 5)
#define HYPERV_XMM_INPUT (1u << 4)               /* EDX */
#define HYPERV_FREQUENCIES (1u << 8)
#define HYPERV_CRASH_REGISTERS (1u << 10)
#define HYPERV_DIRECT_TIMERS (1u << 19)
/* Recommendations, leaf 0x40000004 EAX */
#define HYPERV_HINT_TLB_FLUSH (1u << 2)
#define HYPERV_HINT_APIC_MSRS (1u << 3)
#define HYPERV_HINT_RELAXED_TIMING (1u << 5)
#define HYPERV_HINT_NO_AUTO_EOI (1u << 9)
#define HYPERV_HINT_CLUSTER_IPI (1u << 10)
#define HYPERV_HINT_EX_MASKS (1u << 11)

struct cpuid_config {
	const struct kvm_cpuid2 *host;   /* KVM_GET_SUPPORTED_CPUID */
	const struct kvm_cpuid2 *hyperv; /* KVM_GET_SUPPORTED_HV_CPUID */
	bool tsc_deadline, tlb_flush, send_ipi;
	bool apic_msrs; /* worth using: then most ends of interrupt are written to memory */
	struct machine_topology topology; /* complete */
};

/**
 * cpuid_topology() - Complete a topology: what is 0 is chosen.
 * @cpus: how many processors
 * @host_threads_per_core: of the host
 * Return: 0, -LIS_INVALID (the product is not @cpus, or an APIC id would not fit a byte).
 */
int cpuid_topology(struct machine_topology *topology, uint32_t cpus,
		   uint32_t host_threads_per_core) LIS_MUST_USE;

/** cpuid_apic_id() - A VP's APIC id in a complete topology. */
uint32_t cpuid_apic_id(const struct machine_topology *topology, uint32_t vp);

/** cpuid_host_threads_per_core() - As the host's CPUID has it for the processor this runs on. */
uint32_t cpuid_host_threads_per_core(void);

/** cpuid_physical_bits() - Width of guest-physical addresses. */
uint32_t cpuid_physical_bits(const struct kvm_cpuid2 *host);

/**
 * cpuid_build() - All leaves of one VP.
 * Return: for KVM_SET_CPUID2, to be freed; NULL: out of memory.
 */
struct kvm_cpuid2 *cpuid_build(const struct cpuid_config *config, uint32_t vp);

/**
 * cpuid_find() - A leaf.
 * @index: subleaf; ignored where the leaf has none
 * Return: NULL: not there.
 */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index);

#endif
