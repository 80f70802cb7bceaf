// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Virtual processors: one thread each, in the guest or handling what made it leave.
 *
 * To get them out, whoever wants it sets machine->wanted, then run->immediate_exit, then sends a
 * signal: whichever way a thread just looks, it sees one of the three. The signal's handler does
 * nothing; it only ends KVM_RUN. Parked threads wait on run_changed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/error.h"
#include "vmbus/os.h"
#include "vmm/cpuid.h"
#include "vmm/internal.h"

#define STACK_BYTES (256u << 10)
#define EFER_LONG_MODE (1ull << 8 | 1ull << 10)
#define CR0_PE_WP_PG (1ull << 0 | 1ull << 4 | 1ull << 16 | 1ull << 31)
#define CR4_PAE (1ull << 5)
#define RFLAGS_RESERVED 0x2ull
#define MSR_MTRR_DEFAULT 0x2ffu
#define MTRR_ENABLED_WRITE_BACK 0x806ull

static int kick_signal(void)
{
	return SIGRTMIN;
}

static void on_kick(int number)
{
}

static void install_kick(void)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigemptyset(&action.sa_mask);
	sigaction(kick_signal(), &action, NULL);
}

static int set_cpuid(struct vcpu *vcpu)
{
	const struct machine *machine = vcpu->machine;
	struct cpuid_config config = {
		.host = machine->kvm.cpuid,
		.hyperv = machine->kvm.hyperv_cpuid,
		.tsc_deadline = machine->kvm.tsc_deadline,
		.apic_msrs = !machine->kvm.hardware_apic,
		.tlb_flush = machine->kvm.tlb_flush,
		.send_ipi = machine->kvm.send_ipi,
		.topology = machine->topology,
	};
	struct kvm_cpuid2 *cpuid = cpuid_build(&config, vcpu->vp);
	int err;

	if (!cpuid)
		return -ENOMEM;
	err = kvm_call(vcpu->fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return err;
}

/*
 * KVM's statistics of a VP say whether it waits in HLT, since Linux 5.17.
 * Source: [linux 6.1 include/linux/kvm_host.h KVM_GENERIC_VCPU_STATS, Documentation/virt/kvm/api.rst 4.133]
 */
static void watch_sleep(struct vcpu *vcpu)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc = NULL;
	size_t bytes;

	vcpu->stats_fd = kvm_call(vcpu->fd, KVM_GET_STATS_FD, NULL);
	if (vcpu->stats_fd < 0 || pread(vcpu->stats_fd, &header, sizeof(header), 0) != sizeof(header))
		goto cannot;
	bytes = sizeof(*desc) + header.name_size;
	desc = malloc(bytes);
	if (!desc)
		goto cannot;
	for (uint32_t i = 0; i < header.num_desc; i++) {
		if (pread(vcpu->stats_fd, desc, bytes, (off_t)(header.desc_offset + i * bytes)) != (ssize_t)bytes)
			break;
		if (!strncmp(desc->name, "blocking", header.name_size)) {
			vcpu->blocking_offset = header.data_offset + desc->offset;
			free(desc);
			return;
		}
	}

cannot:
	free(desc);
	if (vcpu->stats_fd >= 0)
		close(vcpu->stats_fd);
	vcpu->stats_fd = -1;
}

bool vcpu_is_asleep(const struct vcpu *vcpu)
{
	uint64_t blocking;

	return vcpu->stats_fd < 0 ||
	       pread(vcpu->stats_fd, &blocking, sizeof(blocking), vcpu->blocking_offset) != sizeof(blocking) || blocking;
}

int vcpu_create(struct vcpu *vcpu, char *error, size_t error_bytes)
{
	struct machine *machine = vcpu->machine;
	uintptr_t apic_id = cpuid_apic_id(&machine->topology, vcpu->vp);
	const char *step = "create it";
	int err;

	vcpu->fd = kvm_call(machine->vm_fd, KVM_CREATE_VCPU, (void *)apic_id);
	err = vcpu->fd;
	if (err < 0)
		goto failed;
	step = "map its state";
	vcpu->run = mmap(NULL, machine->kvm.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd,
			 0);
	err = -errno;
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		goto failed;
	}
	step = "set its CPUID";
	err = set_cpuid(vcpu);
	if (err < 0)
		goto failed;
	step = "turn on Hyper-V's interrupt controller";
	err = hyperv_vcpu_init(vcpu);
	if (err < 0)
		goto failed;
	step = "set its registers";
	/* As firmware leaves it: memory is cached unless said otherwise. */
	err = kvm_set_msr(vcpu->fd, MSR_MTRR_DEFAULT, MTRR_ENABLED_WRITE_BACK);
	if (err < 0)
		goto failed;
	if (machine->knows_sleep)
		watch_sleep(vcpu);
	return 0;

failed:
	snprintf(error, error_bytes, "processor %u: KVM cannot %s: %s", vcpu->vp, step,
		 strerror(-err));
	return lis_error_from_errno(-err);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code,
		.db = !code,
	};
}

int vcpu_set_boot_state(struct vcpu *vcpu, const struct boot_entry *entry)
{
	struct kvm_regs regs = { .rip = entry->rip, .rsi = entry->rsi, .rflags = RFLAGS_RESERVED };
	struct kvm_sregs sregs;
	int err = kvm_call(vcpu->fd, KVM_GET_SREGS, &sregs);

	if (err < 0)
		return err;
	sregs.cs = segment(BOOT_CODE_SELECTOR, 0xb, true);
	sregs.ds = segment(BOOT_DATA_SELECTOR, 0x3, false);
	sregs.es = sregs.ss = sregs.fs = sregs.gs = sregs.ds;
	sregs.gdt = (struct kvm_dtable){ .base = BOOT_GDT_GPA, .limit = 4 * 8 - 1 };
	sregs.idt = (struct kvm_dtable){ 0 };
	sregs.cr0 = CR0_PE_WP_PG;
	sregs.cr3 = entry->cr3;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LONG_MODE;
	err = kvm_call(vcpu->fd, KVM_SET_SREGS, &sregs);
	if (err < 0)
		return err;
	return kvm_call(vcpu->fd, KVM_SET_REGS, &regs);
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->machine->kvm.run_bytes);
	if (vcpu->stats_fd >= 0)
		close(vcpu->stats_fd);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = vcpu->stats_fd = -1;
}

static void log_registers(struct vcpu *vcpu)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (kvm_call(vcpu->fd, KVM_GET_REGS, &r) < 0 || kvm_call(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return;
	os_log(OS_LOG_ERROR, "VP %u: rip %04x:%016llx rflags %08llx rsp %04x:%016llx", vcpu->vp,
	       s.cs.selector, r.rip, r.rflags, s.ss.selector, r.rsp);
	os_log(OS_LOG_ERROR, "VP %u: rax %016llx rbx %016llx rcx %016llx rdx %016llx", vcpu->vp,
	       r.rax, r.rbx, r.rcx, r.rdx);
	os_log(OS_LOG_ERROR, "VP %u: rsi %016llx rdi %016llx rbp %016llx r8  %016llx", vcpu->vp,
	       r.rsi, r.rdi, r.rbp, r.r8);
	os_log(OS_LOG_ERROR, "VP %u: r9  %016llx r10 %016llx r11 %016llx r12 %016llx", vcpu->vp,
	       r.r9, r.r10, r.r11, r.r12);
	os_log(OS_LOG_ERROR, "VP %u: r13 %016llx r14 %016llx r15 %016llx efer %llx", vcpu->vp,
	       r.r13, r.r14, r.r15, s.efer);
	os_log(OS_LOG_ERROR, "VP %u: cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx", vcpu->vp,
	       s.cr0, s.cr2, s.cr3, s.cr4);
}

void vcpu_fail(struct vcpu *vcpu, const char *why, uint64_t detail)
{
	struct machine *machine = vcpu->machine;

	pthread_mutex_lock(&machine->crash_lock);
	snprintf(machine->failure, sizeof(machine->failure), "processor %u: %s (%#llx)", vcpu->vp,
		 why, (unsigned long long)detail);
	pthread_mutex_unlock(&machine->crash_lock);
	log_registers(vcpu);
	machine_request(machine, REQUEST_FAILED);
}

static void port_exit(struct vcpu *vcpu)
{
	const struct ports *ports = &vcpu->machine->ports;
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t bytes = run->io.size;

	count(&vcpu->counters.exits_port);
	for (uint32_t i = 0; i < run->io.count; i++, data += bytes) {
		uint32_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, bytes);
			ports_write(ports, run->io.port, bytes, value);
		} else {
			value = ports_read(ports, run->io.port, bytes);
			memcpy(data, &value, bytes);
		}
	}
}

/* There is no device in memory space: reads give all ones, writes vanish. */
static void mmio_exit(struct vcpu *vcpu)
{
	count(&vcpu->counters.exits_mmio);
	if (!vcpu->run->mmio.is_write)
		memset(vcpu->run->mmio.data, 0xff, sizeof(vcpu->run->mmio.data));
}

static void system_event_exit(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;

	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_request(machine, REQUEST_POWER_OFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		machine_request(machine, REQUEST_RESET);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		hyperv_crash_exit(vcpu);
		break;
	default:
		vcpu_fail(vcpu, "KVM reports an unknown system event",
			  vcpu->run->system_event.type);
		break;
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		port_exit(vcpu);
		return;
	case KVM_EXIT_HYPERV:
		hyperv_exit(vcpu);
		return;
	case KVM_EXIT_MMIO:
		mmio_exit(vcpu);
		return;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		count(&vcpu->counters.exits_other);
		hyperv_msr_exit(vcpu);
		return;
	}
	count(&vcpu->counters.exits_other);
	switch (run->exit_reason) {
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_HLT:
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event_exit(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		machine_request(vcpu->machine, REQUEST_TRIPLE_FAULT);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vcpu_fail(vcpu, "KVM cannot enter the guest",
			  run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vcpu_fail(vcpu, "KVM gave up with an internal error", run->internal.suberror);
		break;
	default:
		vcpu_fail(vcpu, "KVM left the guest for an unknown reason", run->exit_reason);
		break;
	}
}

/* Into the guest and out again. */
static void run_once(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;

	if (ioctl(vcpu->fd, KVM_RUN, NULL) < 0) {
		/* EAGAIN: a processor that was not started yet has been woken. */
		if (errno != EINTR && errno != EAGAIN)
			vcpu_fail(vcpu, "KVM cannot run the guest", (uint64_t)errno);
		return;
	}
	count(&vcpu->counters.exits);
	if (machine->coalesced)
		vm_drain_ports(machine);
	handle_exit(vcpu);
}

/* Wait until it goes on. False: the thread is to end. */
static bool park(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	bool go_on;

	pthread_mutex_lock(&machine->run_lock);
	machine->parked++;
	pthread_cond_broadcast(&machine->run_changed);
	while (atomic_load(&machine->wanted) == VCPUS_PARK)
		pthread_cond_wait(&machine->run_changed, &machine->run_lock);
	machine->parked--;
	go_on = atomic_load(&machine->wanted) != VCPUS_EXIT;
	pthread_mutex_unlock(&machine->run_lock);
	/* Before the next look at wanted: who wants us out again sets wanted first, then this. */
	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return go_on;
}

static void *vcpu_thread(void *argument)
{
	struct vcpu *vcpu = argument;
	struct machine *machine = vcpu->machine;
	char name[16];

	snprintf(name, sizeof(name), "vp%u", vcpu->vp);
	pthread_setname_np(pthread_self(), name);
	for (;;) {
		if (atomic_load(&machine->wanted) != VCPUS_RUN && !park(vcpu))
			return NULL;
		run_once(vcpu);
	}
}

static void kick(struct machine *machine)
{
	for (uint32_t vp = 0; vp < machine->cpus; vp++) {
		struct vcpu *vcpu = &machine->vcpus[vp];

		if (!vcpu->has_thread)
			continue;
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(vcpu->thread, kick_signal());
	}
}

int vcpus_start(struct machine *machine)
{
	sigset_t all, old;
	pthread_attr_t attributes;
	int err = 0;

	install_kick();
	atomic_store(&machine->wanted, VCPUS_PARK);
	machine->parked = 0;
	machine->halted = false;
	/* The threads take no signals but their kick. */
	sigfillset(&all);
	sigdelset(&all, kick_signal());
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (uint32_t vp = 0; vp < machine->cpus && !err; vp++) {
		struct vcpu *vcpu = &machine->vcpus[vp];

		err = pthread_create(&vcpu->thread, &attributes, vcpu_thread, vcpu);
		vcpu->has_thread = !err;
	}
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		return 0;
	vcpus_join(machine);
	return -LIS_NOMEM;
}

void vcpus_run(struct machine *machine)
{
	pthread_mutex_lock(&machine->run_lock);
	if (!machine->halted) {
		atomic_store(&machine->wanted, VCPUS_RUN);
		pthread_cond_broadcast(&machine->run_changed);
	}
	pthread_mutex_unlock(&machine->run_lock);
}

void vcpus_halt(struct machine *machine)
{
	pthread_mutex_lock(&machine->run_lock);
	machine->halted = true;
	if (atomic_load(&machine->wanted) == VCPUS_RUN) {
		atomic_store(&machine->wanted, VCPUS_PARK);
		kick(machine);
	}
	pthread_mutex_unlock(&machine->run_lock);
}

void vcpus_park(struct machine *machine)
{
	uint32_t threads = 0;

	pthread_mutex_lock(&machine->run_lock);
	for (uint32_t vp = 0; vp < machine->cpus; vp++)
		threads += machine->vcpus[vp].has_thread;
	if (atomic_load(&machine->wanted) == VCPUS_RUN) {
		atomic_store(&machine->wanted, VCPUS_PARK);
		kick(machine);
	}
	while (machine->parked < threads)
		pthread_cond_wait(&machine->run_changed, &machine->run_lock);
	pthread_mutex_unlock(&machine->run_lock);
}

void vcpus_join(struct machine *machine)
{
	pthread_mutex_lock(&machine->run_lock);
	atomic_store(&machine->wanted, VCPUS_EXIT);
	kick(machine);
	pthread_cond_broadcast(&machine->run_changed);
	pthread_mutex_unlock(&machine->run_lock);
	for (uint32_t vp = 0; vp < machine->cpus; vp++) {
		if (machine->vcpus[vp].has_thread)
			pthread_join(machine->vcpus[vp].thread, NULL);
		machine->vcpus[vp].has_thread = false;
	}
	machine->parked = 0;
}
