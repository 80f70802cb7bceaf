// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Opens KVM and asks what it can do. */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io/error.h"

#define CPUID_ENTRIES_MAX 256u

/* What no guest of ours can do without. Source: [linux 6.1 Documentation/virt/kvm/api.rst] */
static const struct {
	int capability;
	const char *name;
} needed[] = {
	{ KVM_CAP_IRQCHIP, "an interrupt controller in the kernel" },
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_IRQFD_RESAMPLE, "resampled interrupt eventfds" },
	{ KVM_CAP_SIGNAL_MSI, "message-signalled interrupts" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exits" },
	{ KVM_CAP_ADJUST_CLOCK, "an adjustable clock" },
	{ KVM_CAP_HYPERV_SYNIC2, "Hyper-V's interrupt controller (KVM_CAP_HYPERV_SYNIC2)" },
	{ KVM_CAP_HYPERV_VP_INDEX, "Hyper-V's processor index" },
	{ KVM_CAP_HYPERV_EVENTFD, "Hyper-V's signals by eventfd" },
};

int kvm_call(int fd, unsigned long request, void *arg)
{
	int result;

	do
		result = ioctl(fd, request, arg);
	while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

static int has(int fd, int capability)
{
	int value = ioctl(fd, KVM_CHECK_EXTENSION, capability);

	return value > 0 ? value : 0;
}

static int open_device(char *error, size_t error_bytes)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case EACCES:
	case EPERM:
		snprintf(error, error_bytes,
			 "/dev/kvm: permission denied; join its group (adduser USER kvm)");
		return -LIS_DENIED;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		snprintf(error, error_bytes,
			 "/dev/kvm: not there; modprobe kvm-intel or kvm-amd, or use tools/kvmbox");
		return -LIS_NOTFOUND;
	default:
		snprintf(error, error_bytes, "/dev/kvm: %s", strerror(errno));
		return -LIS_IO;
	}
}

static int check_needed(int fd, char *error, size_t error_bytes)
{
	int version = kvm_call(fd, KVM_GET_API_VERSION, NULL);

	if (version != KVM_API_VERSION) {
		snprintf(error, error_bytes, "/dev/kvm: speaks version %d of its interface, not %d",
			 version, KVM_API_VERSION);
		return -LIS_UNSUPPORTED;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (has(fd, needed[i].capability))
			continue;
		snprintf(error, error_bytes,
			 "this machine's /dev/kvm lacks %s; run this under tools/kvmbox",
			 needed[i].name);
		return -LIS_UNSUPPORTED;
	}
	return 0;
}

static struct kvm_cpuid2 *read_cpuid(int fd, unsigned long request, uint32_t entries)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return NULL;
	cpuid->nent = entries;
	if (kvm_call(fd, request, cpuid) < 0) {
		free(cpuid);
		return NULL;
	}
	return cpuid;
}

/* Hyper-V's leaves: of the system, or, before Linux 5.11, of a vCPU made for asking. */
static struct kvm_cpuid2 *read_hyperv_cpuid(int fd)
{
	struct kvm_cpuid2 *cpuid = NULL;
	int vm, vcpu;

	if (has(fd, KVM_CAP_SYS_HYPERV_CPUID))
		return read_cpuid(fd, KVM_GET_SUPPORTED_HV_CPUID, CPUID_ENTRIES_MAX);
	vm = kvm_call(fd, KVM_CREATE_VM, NULL);
	if (vm < 0)
		return NULL;
	if (kvm_call(vm, KVM_CREATE_IRQCHIP, NULL) < 0)
		goto close_vm;
	vcpu = kvm_call(vm, KVM_CREATE_VCPU, NULL);
	if (vcpu < 0)
		goto close_vm;
	cpuid = read_cpuid(vcpu, KVM_GET_SUPPORTED_HV_CPUID, CPUID_ENTRIES_MAX);
	close(vcpu);
close_vm:
	close(vm);
	return cpuid;
}

/* KVM tells by its modules' parameters only; one of them is there. */
static bool has_hardware_apic(void)
{
	static const char *const parameters[] = { "/sys/module/kvm_intel/parameters/enable_apicv",
						  "/sys/module/kvm_amd/parameters/avic" };
	char value = 'N';

	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		int fd = open(parameters[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		if (read(fd, &value, 1) != 1)
			value = 'N';
		close(fd);
	}
	return value == 'Y' || value == '1';
}

int kvm_host_open(struct kvm_host *out_host, char *error, size_t error_bytes)
{
	struct kvm_host host = { 0 };
	int err, bytes;

	host.fd = open_device(error, error_bytes);
	if (host.fd < 0)
		return host.fd;
	err = check_needed(host.fd, error, error_bytes);
	if (err)
		goto close_host;
	host.cpus_max = (uint32_t)has(host.fd, KVM_CAP_MAX_VCPUS);
	if (!host.cpus_max)
		host.cpus_max = (uint32_t)has(host.fd, KVM_CAP_NR_VCPUS);
	host.tsc_deadline = has(host.fd, KVM_CAP_TSC_DEADLINE_TIMER);
	host.msr_filter = has(host.fd, KVM_CAP_X86_USER_SPACE_MSR) &&
			  has(host.fd, KVM_CAP_X86_MSR_FILTER);
	host.coalesced_ports = has(host.fd, KVM_CAP_COALESCED_MMIO) &&
			       has(host.fd, KVM_CAP_COALESCED_PIO);
	host.tlb_flush = has(host.fd, KVM_CAP_HYPERV_TLBFLUSH);
	host.send_ipi = has(host.fd, KVM_CAP_HYPERV_SEND_IPI);
	host.hardware_apic = has_hardware_apic();
	bytes = kvm_call(host.fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	host.run_bytes = bytes > 0 ? (size_t)bytes : 0;
	host.cpuid = read_cpuid(host.fd, KVM_GET_SUPPORTED_CPUID, CPUID_ENTRIES_MAX);
	host.hyperv_cpuid = read_hyperv_cpuid(host.fd);
	if (host.run_bytes < sizeof(struct kvm_run) || !host.cpuid || !host.hyperv_cpuid) {
		snprintf(error, error_bytes, "/dev/kvm: does not tell what it can do (%s)",
			 strerror(errno));
		err = -LIS_IO;
		goto close_host;
	}
	*out_host = host;
	return 0;

close_host:
	kvm_host_close(&host);
	return err;
}

void kvm_host_close(struct kvm_host *host)
{
	free(host->cpuid);
	free(host->hyperv_cpuid);
	if (host->fd >= 0)
		close(host->fd);
	*host = (struct kvm_host){ .fd = -1 };
}

/* The kernel's struct ends in an array of any length. */
union msr_buffer {
	struct kvm_msrs msrs;
	uint8_t bytes[sizeof(struct kvm_msrs) + KVM_MSRS_MAX * sizeof(struct kvm_msr_entry)];
};

int kvm_set_msr(int vcpu_fd, uint32_t index, uint64_t value)
{
	union msr_buffer buffer = { 0 };
	int set;

	buffer.msrs.nmsrs = 1;
	buffer.msrs.entries[0] = (struct kvm_msr_entry){ .index = index, .data = value };
	set = kvm_call(vcpu_fd, KVM_SET_MSRS, &buffer);
	return set < 0 ? set : set == 1 ? 0 : -EINVAL;
}

int kvm_get_msrs(int vcpu_fd, uint32_t first, uint32_t count, uint64_t *out_values)
{
	union msr_buffer buffer = { 0 };
	int got;

	buffer.msrs.nmsrs = count;
	for (uint32_t i = 0; i < count; i++)
		buffer.msrs.entries[i].index = first + i;
	got = kvm_call(vcpu_fd, KVM_GET_MSRS, &buffer);
	if (got != (int)count)
		return got < 0 ? got : -EINVAL;
	for (uint32_t i = 0; i < count; i++)
		out_values[i] = buffer.msrs.entries[i].data;
	return 0;
}
