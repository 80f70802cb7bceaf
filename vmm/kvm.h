/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The host's KVM: opened once for each machine, with what it can do. */
#ifndef OPENLIS_VMM_KVM_H
#define OPENLIS_VMM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"

struct kvm_host {
	int fd;              /* /dev/kvm */
	uint32_t cpus_max;
	size_t run_bytes;    /* of the area shared with each vCPU */
	bool tsc_deadline;
	bool msr_filter;     /* MSR accesses can be sent to us */
	bool coalesced_ports;
	bool tlb_flush, send_ipi;
	bool hardware_apic;  /* a guest's end of interrupt needs no exit */
	struct kvm_cpuid2 *cpuid;        /* KVM_GET_SUPPORTED_CPUID */
	struct kvm_cpuid2 *hyperv_cpuid; /* KVM_GET_SUPPORTED_HV_CPUID */
};

/**
 * kvm_host_open() - Open /dev/kvm and see whether it can carry a Hyper-V guest.
 * @out_host: set on success only
 * @error, @error_bytes: on failure, what is missing and what to do about it
 * Return: 0, -LIS_NOTFOUND, -LIS_DENIED, -LIS_UNSUPPORTED, -LIS_NOMEM, -LIS_IO.
 */
int kvm_host_open(struct kvm_host *out_host, char *error, size_t error_bytes) LIS_MUST_USE;

/** kvm_host_close() - Undo it. */
void kvm_host_close(struct kvm_host *host);

/** kvm_call() - ioctl(2), again after EINTR. Return: its result, or a negative errno. */
int kvm_call(int fd, unsigned long request, void *arg);

/** kvm_set_msr() - Set one register of a vCPU. Return: 0, negative errno. */
int kvm_set_msr(int vcpu_fd, uint32_t index, uint64_t value);

#define KVM_MSRS_MAX 8u

/** kvm_get_msrs() - Read @count (at most KVM_MSRS_MAX) registers from @first on. Return: 0,
 * negative errno. */
int kvm_get_msrs(int vcpu_fd, uint32_t first, uint32_t count, uint64_t *out_values) LIS_MUST_USE;

#endif
