// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * CPUID. KVM's list of what it supports is the start; from it go all hypervisor leaves (a guest
 * that sees KVM's own signature never looks for VMBus), nested virtualization, and whatever needs a
 * state that leaf 0xD does not describe consistently. Topology and Hyper-V's leaves are ours.
 *
 * Source: Intel SDM 2A, CPUID; AMD APM 3, appendix E; [tlfs 2.4]; [linux 6.1
 * arch/x86/kvm/hyperv.c].
 */
#include "vmm/cpuid.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#define EXTRA_ENTRIES 16u
#define HYPERVISOR_LEAVES 0x40000000u
#define HYPERVISOR_LEAVES_MASK 0xf0000000u
#define HYPERV_INTERFACE 0x31237648u /* "Hv#1" */

/* Version that is reported: Windows Server 2022. [policy] */
#define HYPERV_BUILD 20348u
#define HYPERV_VERSION (10u << 16 | 0u)

#define XSTATE_AVX (1ull << 2)
#define XSTATE_MPX (3ull << 3)
#define XSTATE_AVX512 (7ull << 5)
#define XSTATE_PKRU (1ull << 9)
#define XSTATE_AMX (3ull << 17)
#define XSTATE_LEGACY_BYTES 576u /* x87, SSE and the header */

enum reg { EAX, EBX, ECX, EDX };

/* Features by the extended state they live in; without it they cannot be used. */
static const struct {
	uint64_t state; /* 0: XSAVE itself */
	uint32_t function, index;
	enum reg reg;
	uint32_t bits;
} state_features[] = {
	{ 0, 1, 0, ECX, 1u << 26 | 1u << 27 },			   /* XSAVE, OSXSAVE */
	{ XSTATE_AVX, 1, 0, ECX, 1u << 12 | 1u << 28 | 1u << 29 }, /* FMA, AVX, F16C */
	{ XSTATE_AVX, 7, 0, EBX, 1u << 5 },			   /* AVX2 */
	{ XSTATE_AVX, 7, 0, ECX, 1u << 9 | 1u << 10 },		   /* VAES, VPCLMULQDQ */
	{ XSTATE_AVX, 7, 1, EAX, 7u | 1u << 4 | 1u << 23 },	   /* SHA512.., AVX-VNNI, -IFMA */
	{ XSTATE_AVX, 7, 1, EDX, 1u << 4 | 1u << 5 | 1u << 10 | 1u << 19 }, /* -INT8, .., AVX10 */
	{ XSTATE_AVX, 0x80000001, 0, ECX, 1u << 11 | 1u << 16 },	    /* XOP, FMA4 */
	{ XSTATE_MPX, 7, 0, EBX, 1u << 14 },
	{ XSTATE_AVX512, 7, 0, EBX, 3u << 16 | 1u << 21 | 7u << 26 | 3u << 30 },
	{ XSTATE_AVX512, 7, 0, ECX, 1u << 1 | 1u << 6 | 3u << 11 | 1u << 14 },
	{ XSTATE_AVX512, 7, 0, EDX, 3u << 2 | 1u << 8 | 1u << 23 },
	{ XSTATE_AVX512, 7, 1, EAX, 1u << 5 },
	{ XSTATE_PKRU, 7, 0, ECX, 1u << 3 | 1u << 4 },
	{ XSTATE_AMX, 7, 0, EDX, 1u << 22 | 1u << 24 | 1u << 25 },
	{ XSTATE_AMX, 7, 1, EAX, 1u << 21 },
	{ XSTATE_AMX, 7, 1, EDX, 1u << 8 },
};

static uint32_t bits_for(uint32_t count)
{
	uint32_t bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

int cpuid_topology(struct machine_topology *topology, uint32_t cpus, uint32_t host_threads_per_core)
{
	struct machine_topology t = *topology;
	uint64_t product;

	if (cpus == 0 || cpus > MACHINE_CPUS_MAX || t.sockets > cpus || t.cores_per_socket > cpus ||
	    t.threads_per_core > cpus)
		return -LIS_INVALID;
	if (!t.sockets)
		t.sockets = t.cores_per_socket && t.threads_per_core ?
				    cpus / t.cores_per_socket / t.threads_per_core : 1;
	if (!t.sockets)
		return -LIS_INVALID;
	if (!t.threads_per_core) {
		uint32_t each = cpus / t.sockets;

		if (t.cores_per_socket)
			t.threads_per_core = each / t.cores_per_socket;
		else
			t.threads_per_core = host_threads_per_core &&
							     each % host_threads_per_core == 0
						     ? host_threads_per_core
						     : 1;
	}
	if (!t.threads_per_core)
		return -LIS_INVALID;
	if (!t.cores_per_socket)
		t.cores_per_socket = cpus / t.sockets / t.threads_per_core;
	product = (uint64_t)t.sockets * t.cores_per_socket * t.threads_per_core;
	if (product != cpus || cpuid_apic_id(&t, cpus - 1) >= 255)
		return -LIS_INVALID;
	*topology = t;
	return 0;
}

uint32_t cpuid_apic_id(const struct machine_topology *topology, uint32_t vp)
{
	uint32_t thread = vp % topology->threads_per_core;
	uint32_t core = vp / topology->threads_per_core % topology->cores_per_socket;
	uint32_t socket = vp / topology->threads_per_core / topology->cores_per_socket;
	uint32_t thread_bits = bits_for(topology->threads_per_core);
	uint32_t core_bits = bits_for(topology->cores_per_socket);

	return socket << (core_bits + thread_bits) | core << thread_bits | thread;
}

uint32_t cpuid_host_threads_per_core(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (__get_cpuid_count(0xb, 0, &eax, &ebx, &ecx, &edx) && (ecx >> 8 & 0xff) == 1 &&
	    (ebx & 0xffff))
		return ebx & 0xffff;
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && (ecx & 1u << 22) &&
	    __get_cpuid(0x8000001e, &eax, &ebx, &ecx, &edx))
		return (ebx >> 8 & 0xff) + 1;
	return 1;
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == function &&
		    (entry->index == index || !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return entry;
	}
	return NULL;
}

uint32_t cpuid_physical_bits(const struct kvm_cpuid2 *host)
{
	for (uint32_t i = 0; i < host->nent; i++)
		if (host->entries[i].function == 0x80000008)
			return host->entries[i].eax & 0xff;
	return 36;
}

static void remove_leaf(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t mask)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if ((cpuid->entries[i].function & mask) != function)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;
}

static uint32_t *reg_of(struct kvm_cpuid_entry2 *entry, enum reg reg)
{
	switch (reg) {
	case EAX:
		return &entry->eax;
	case EBX:
		return &entry->ebx;
	case ECX:
		return &entry->ecx;
	default:
		return &entry->edx;
	}
}

/*
 * The extended states that can be had: none if the sizes in leaf 0xD do not add up, which a guest's
 * kernel takes for a broken processor (seen with a KVM under emulation).
 */
static uint64_t usable_states(struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, 1, 0);
	struct kvm_cpuid_entry2 *main = cpuid_find(cpuid, 0xd, 0);
	uint32_t bytes = XSTATE_LEGACY_BYTES;
	uint64_t states;

	if (!features || !(features->ecx & 1u << 26) || !main)
		return 0;
	states = (uint64_t)main->edx << 32 | main->eax;
	if ((states & 3) != 3)
		return 0;
	for (uint32_t i = 2; i < 63; i++) {
		struct kvm_cpuid_entry2 *state;

		if (!(states & 1ull << i))
			continue;
		state = cpuid_find(cpuid, 0xd, i);
		if (!state || !state->eax || state->ebx > UINT32_MAX - state->eax)
			return 0;
		if (state->ebx + state->eax > bytes)
			bytes = state->ebx + state->eax;
	}
	return bytes == main->ecx ? states : 0;
}

static void fix_extended_states(struct kvm_cpuid2 *cpuid)
{
	uint64_t states = usable_states(cpuid);

	for (size_t i = 0; i < sizeof(state_features) / sizeof(state_features[0]); i++) {
		uint64_t needed = state_features[i].state ? state_features[i].state : 3;
		struct kvm_cpuid_entry2 *entry =
			cpuid_find(cpuid, state_features[i].function, state_features[i].index);

		if (entry && (states & needed) != needed)
			*reg_of(entry, state_features[i].reg) &= ~state_features[i].bits;
	}
	if (!states)
		remove_leaf(cpuid, 0xd, UINT32_MAX);
}

static struct kvm_cpuid_entry2 *add_leaf(struct kvm_cpuid2 *cpuid, uint32_t function,
					 uint32_t index, uint32_t flags)
{
	struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

	*entry = (struct kvm_cpuid_entry2){ .function = function, .index = index, .flags = flags };
	return entry;
}

static void set_topology_leaf(struct kvm_cpuid2 *cpuid, const struct machine_topology *t,
			      uint32_t function, uint32_t apic_id)
{
	uint32_t thread_bits = bits_for(t->threads_per_core);
	uint32_t package_bits = thread_bits + bits_for(t->cores_per_socket);
	const struct {
		uint32_t shift, count, type;
	} levels[] = {
		{ thread_bits, t->threads_per_core, 1 },
		{ package_bits, t->threads_per_core * t->cores_per_socket, 2 },
		{ 0, 0, 0 },
	};

	remove_leaf(cpuid, function, UINT32_MAX);
	for (uint32_t i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 *entry =
			add_leaf(cpuid, function, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);

		entry->eax = levels[i].shift;
		entry->ebx = levels[i].count;
		entry->ecx = levels[i].type << 8 | i;
		entry->edx = apic_id;
	}
}

/* Leaves 4 (Intel) and 0x8000001D (AMD): who shares which cache. The last level is the socket's. */
static void set_cache_sharing(struct kvm_cpuid2 *cpuid, const struct machine_topology *t)
{
	uint32_t thread_bits = bits_for(t->threads_per_core);
	uint32_t core_bits = bits_for(t->cores_per_socket);

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		uint32_t level = entry->eax >> 5 & 7, shared;

		if ((entry->function != 4 && entry->function != 0x8000001d) || !(entry->eax & 0x1f))
			continue;
		shared = (level >= 3 ? 1u << (thread_bits + core_bits) : 1u << thread_bits) - 1;
		entry->eax = (entry->eax & 0x3fff) | shared << 14;
		if (entry->function == 4)
			entry->eax |= ((1u << core_bits) - 1) << 26;
	}
}

static void set_amd_topology(struct kvm_cpuid2 *cpuid, const struct machine_topology *t,
			     uint32_t apic_id, uint32_t vp)
{
	uint32_t thread_bits = bits_for(t->threads_per_core);
	uint32_t package_bits = thread_bits + bits_for(t->cores_per_socket);
	uint32_t package_cpus = t->threads_per_core * t->cores_per_socket;
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0x80000008, 0);

	if (entry)
		entry->ecx = (entry->ecx & ~0xf0ffu) | package_bits << 12 | (package_cpus - 1);
	entry = cpuid_find(cpuid, 0x80000001, 0);
	if (entry)
		entry->ecx = (entry->ecx & ~2u) | (package_cpus > 1 ? 2u : 0); /* CmpLegacy */
	entry = cpuid_find(cpuid, 0x8000001e, 0);
	if (entry) {
		entry->eax = apic_id;
		entry->ebx = (t->threads_per_core - 1) << 8 |
			     (vp / t->threads_per_core % t->cores_per_socket);
		entry->ecx = vp / package_cpus;
	}
}

static bool is_amd(struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *vendor = cpuid_find(cpuid, 0, 0);

	return vendor &&
	       (vendor->ebx == 0x68747541 /* "Auth" */ || vendor->ebx == 0x6f677948 /* "Hygo" */);
}

static void set_topology(struct kvm_cpuid2 *cpuid, const struct machine_topology *t, uint32_t vp)
{
	uint32_t apic_id = cpuid_apic_id(t, vp);
	uint32_t package_bits = bits_for(t->threads_per_core) + bits_for(t->cores_per_socket);
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 1, 0);
	struct kvm_cpuid_entry2 *vendor = cpuid_find(cpuid, 0, 0);

	if (entry) {
		entry->ebx = (entry->ebx & 0xffff) | (1u << package_bits & 0xff) << 16 |
			     apic_id << 24;
		entry->edx = (entry->edx & ~(1u << 28)) | (package_bits ? 1u << 28 : 0);
	}
	if (vendor && vendor->eax >= 0xb)
		set_topology_leaf(cpuid, t, 0xb, apic_id);
	if (vendor && vendor->eax >= 0x1f)
		set_topology_leaf(cpuid, t, 0x1f, apic_id);
	set_cache_sharing(cpuid, t);
	if (is_amd(cpuid))
		set_amd_topology(cpuid, t, apic_id, vp);
}

static void set_features(struct kvm_cpuid2 *cpuid, const struct cpuid_config *config)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 1, 0);

	if (entry) {
		entry->ecx |= 1u << 31;    /* a hypervisor is present */
		entry->ecx &= ~(1u << 5);  /* VMX */
		if (config->tsc_deadline)
			entry->ecx |= 1u << 24;
	}
	/*
	 * No ARAT, as on Hyper-V: a local APIC timer that never stops becomes the broadcast device of a
	 * Linux guest when the synthetic timers take over, and is not there to fall back on when hv_vmbus
	 * is unloaded: the guest then has no timer at all. [linux 6.1 kernel/time/tick-broadcast.c]
	 */
	entry = cpuid_find(cpuid, 6, 0);
	if (entry)
		entry->eax &= ~(1u << 2);
	entry = cpuid_find(cpuid, 0x80000001, 0);
	if (entry)
		entry->ecx &= ~(1u << 2);  /* SVM */
	remove_leaf(cpuid, 0x8000000a, UINT32_MAX);
}

static uint32_t hyperv_reg(const struct kvm_cpuid2 *hyperv, uint32_t function, enum reg reg)
{
	for (uint32_t i = 0; i < hyperv->nent; i++) {
		struct kvm_cpuid_entry2 entry = hyperv->entries[i];

		if (entry.function == function)
			return *reg_of(&entry, reg);
	}
	return 0;
}

static void add_hyperv_features(struct kvm_cpuid2 *cpuid, const struct kvm_cpuid2 *hyperv)
{
	struct kvm_cpuid_entry2 *entry = add_leaf(cpuid, 0x40000003, 0, 0);

	entry->eax = hyperv_reg(hyperv, 0x40000003, EAX) &
		     (HYPERV_ACCESS_RUNTIME | HYPERV_ACCESS_REFERENCE_COUNTER |
		      HYPERV_ACCESS_SYNIC | HYPERV_ACCESS_TIMERS | HYPERV_ACCESS_APIC |
		      HYPERV_ACCESS_HYPERCALL | HYPERV_ACCESS_VP_INDEX | HYPERV_ACCESS_RESET |
		      HYPERV_ACCESS_REFERENCE_TSC | HYPERV_ACCESS_FREQUENCIES);
	entry->ebx = hyperv_reg(hyperv, 0x40000003, EBX) &
		     (HYPERV_POST_MESSAGES | HYPERV_SIGNAL_EVENTS);
	entry->edx = hyperv_reg(hyperv, 0x40000003, EDX) &
		     (HYPERV_XMM_INPUT | HYPERV_FREQUENCIES | HYPERV_CRASH_REGISTERS |
		      HYPERV_DIRECT_TIMERS);
}

static void add_hyperv(struct kvm_cpuid2 *cpuid, const struct cpuid_config *config)
{
	const struct kvm_cpuid2 *hyperv = config->hyperv;
	struct kvm_cpuid_entry2 *entry = add_leaf(cpuid, HYPERVISOR_LEAVES, 0, 0);
	uint32_t hints = hyperv_reg(hyperv, 0x40000004, EAX);

	entry->eax = HYPERV_CPUID_MAX;
	memcpy(&entry->ebx, "Micr", 4);
	memcpy(&entry->ecx, "osof", 4);
	memcpy(&entry->edx, "t Hv", 4);
	add_leaf(cpuid, 0x40000001, 0, 0)->eax = HYPERV_INTERFACE;
	entry = add_leaf(cpuid, 0x40000002, 0, 0);
	entry->eax = HYPERV_BUILD;
	entry->ebx = HYPERV_VERSION;
	add_hyperv_features(cpuid, hyperv);
	entry = add_leaf(cpuid, 0x40000004, 0, 0);
	if (config->tlb_flush)
		entry->eax |= hints & (HYPERV_HINT_TLB_FLUSH | HYPERV_HINT_EX_MASKS);
	if (config->send_ipi)
		entry->eax |= hints & (HYPERV_HINT_CLUSTER_IPI | HYPERV_HINT_EX_MASKS);
	/* With these the VP assist page says which interrupts need no end; else each costs an exit. */
	if (config->apic_msrs)
		entry->eax |= hints & HYPERV_HINT_APIC_MSRS;
	entry->eax |= HYPERV_HINT_RELAXED_TIMING | HYPERV_HINT_NO_AUTO_EOI;
	entry->ebx = UINT32_MAX; /* never tell us about long spinning */
	entry = add_leaf(cpuid, HYPERV_CPUID_MAX, 0, 0);
	entry->eax = hyperv_reg(hyperv, 0x40000005, EAX);
	entry->ebx = hyperv_reg(hyperv, 0x40000005, EBX);
}

struct kvm_cpuid2 *cpuid_build(const struct cpuid_config *config, uint32_t vp)
{
	const struct kvm_cpuid2 *host = config->host;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + (host->nent + EXTRA_ENTRIES) *
								      sizeof(cpuid->entries[0]));

	if (!cpuid)
		return NULL;
	cpuid->nent = host->nent;
	memcpy(cpuid->entries, host->entries, host->nent * sizeof(cpuid->entries[0]));
	remove_leaf(cpuid, HYPERVISOR_LEAVES, HYPERVISOR_LEAVES_MASK);
	fix_extended_states(cpuid);
	set_features(cpuid, config);
	set_topology(cpuid, &config->topology, vp);
	add_hyperv(cpuid, config);
	return cpuid;
}
