// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* CPUID built from made-up answers of KVM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cpuid.h"

#define LEAVES_MAX 64

static struct kvm_cpuid2 *host, *hyperv;

static struct kvm_cpuid_entry2 *add(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index,
				    const uint32_t regs[4])
{
	struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

	assert_true(cpuid->nent <= LEAVES_MAX);
	*entry = (struct kvm_cpuid_entry2){ .function = function,
					    .index = index,
					    .flags = index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
					    .eax = regs[0],
					    .ebx = regs[1],
					    .ecx = regs[2],
					    .edx = regs[3] };
	if (function == 0xd || function == 7 || function == 4 || function == 0xb)
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	return entry;
}

#define ADD(cpuid, function, index, ...)                                                           \
	add(cpuid, function, index, (const uint32_t[4]){ __VA_ARGS__ })

static int setup(void **state)
{
	host = calloc(1, sizeof(*host) + LEAVES_MAX * sizeof(host->entries[0]));
	hyperv = calloc(1, sizeof(*hyperv) + LEAVES_MAX * sizeof(host->entries[0]));
	ADD(host, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
	/* FMA, x2APIC, XSAVE, OSXSAVE, AVX, F16C, VMX */
	ADD(host, 1, 0, 0x806c1, 0x12345678, 1u << 5 | 1u << 12 | 1u << 21 | 7u << 26 | 1u << 29,
	    0x0f8bfbff);
	ADD(host, 4, 0, 0x121, 0, 0, 0);
	ADD(host, 4, 1, 0x163, 0, 0, 0);
	ADD(host, 6, 0, 1u << 2, 0, 0, 0);
	ADD(host, 7, 0, 1, 1u << 5 | 1u << 16 | 1u << 14, 1u << 3 | 1u << 9, 1u << 24);
	ADD(host, 7, 1, 1u << 4, 0, 0, 0);
	ADD(host, 0xb, 0, 1, 2, 0x100, 7);
	ADD(host, 0xb, 1, 4, 16, 0x201, 7);
	ADD(host, 0xd, 0, 7, 832, 832, 0);
	ADD(host, 0xd, 1, 0xf, 832, 0, 0);
	ADD(host, 0xd, 2, 256, 576, 0, 0);
	ADD(host, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	ADD(host, 0x40000001, 0, 0x01007afb, 0, 0, 0);
	ADD(host, 0x40000100, 0, 0x40000101, 0x4b4d564b, 0x564b4d56, 0x4d);
	ADD(host, 0x80000001, 0, 0, 0, 1u << 2, 0);
	ADD(host, 0x80000008, 0, 0x302d, 0, 0, 0);
	ADD(host, 0x8000000a, 0, 1, 8, 0, 0);
	ADD(hyperv, 0x40000000, 0, 0x40000082, 0, 0, 0);
	ADD(hyperv, 0x40000003, 0, 0xffffffff, 0xffffffff, 0, 0xffffffff);
	ADD(hyperv, 0x40000004, 0, 0xffffffff, 0xfff, 0, 0);
	ADD(hyperv, 0x40000005, 0, 1024, 64, 0, 0);
	return 0;
}

static int teardown(void **state)
{
	free(host);
	free(hyperv);
	return 0;
}

static struct kvm_cpuid2 *build(struct machine_topology topology, uint32_t vp)
{
	struct cpuid_config config = {
		.host = host,
		.hyperv = hyperv,
		.tsc_deadline = true,
		.tlb_flush = true,
		.send_ipi = true,
		.topology = topology,
	};
	struct kvm_cpuid2 *cpuid = cpuid_build(&config, vp);

	assert_non_null(cpuid);
	return cpuid;
}

static struct kvm_cpuid2 *build_one(void)
{
	return build((struct machine_topology){ 1, 1, 1 }, 0);
}

static void hyperv_is_all_the_hypervisor_there_is(void **state)
{
	struct kvm_cpuid2 *cpuid = build_one();
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0x40000000, 0);
	uint32_t hypervisors = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		hypervisors += cpuid->entries[i].function >> 28 == 4;
	assert_int_equal(hypervisors, 6);
	assert_null(cpuid_find(cpuid, 0x40000100, 0));
	assert_memory_equal(&entry->ebx, "Microsoft Hv", 12);
	assert_true(entry->eax >= 0x40000005);
	assert_memory_equal(&cpuid_find(cpuid, 0x40000001, 0)->eax, "Hv#1", 4);
	assert_true(cpuid_find(cpuid, 1, 0)->ecx & 1u << 31);
	free(cpuid);
}

static void privileges_are_what_vmbus_and_clocks_need(void **state)
{
	struct kvm_cpuid2 *cpuid = build_one();
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0x40000003, 0);

	assert_int_equal(entry->eax, 0xaff);
	assert_int_equal(entry->ebx, 0x30);
	assert_int_equal(entry->edx, 1u << 4 | 1u << 8 | 1u << 10 | 1u << 19);
	entry = cpuid_find(cpuid, 0x40000004, 0);
	assert_true(entry->eax & HYPERV_HINT_NO_AUTO_EOI);
	assert_true(entry->eax & HYPERV_HINT_TLB_FLUSH);
	assert_false(entry->eax & HYPERV_HINT_APIC_MSRS);
	assert_int_equal(entry->ebx, UINT32_MAX);
	free(cpuid);
}

static void without_apic_hardware_its_registers_are_better_msrs(void **state)
{
	struct cpuid_config config = { .host = host, .hyperv = hyperv, .topology = { 1, 1, 1 },
				       .apic_msrs = true };
	struct kvm_cpuid2 *cpuid = cpuid_build(&config, 0);

	assert_non_null(cpuid);
	assert_true(cpuid_find(cpuid, 0x40000004, 0)->eax & HYPERV_HINT_APIC_MSRS);
	free(cpuid);
	hyperv->entries[2].eax = 0;
	cpuid = cpuid_build(&config, 0);
	assert_non_null(cpuid);
	assert_false(cpuid_find(cpuid, 0x40000004, 0)->eax & HYPERV_HINT_APIC_MSRS);
	free(cpuid);
}

static void what_kvm_does_not_offer_is_not_offered(void **state)
{
	struct cpuid_config config = { .host = host, .hyperv = hyperv, .topology = { 1, 1, 1 } };
	struct kvm_cpuid2 *cpuid;

	hyperv->entries[1].edx = 1u << 10;
	hyperv->entries[1].eax = 0x65;
	cpuid = cpuid_build(&config, 0);
	assert_int_equal(cpuid_find(cpuid, 0x40000003, 0)->edx, 1u << 10);
	assert_int_equal(cpuid_find(cpuid, 0x40000003, 0)->eax, 0x65);
	assert_int_equal(cpuid_find(cpuid, 0x40000004, 0)->eax,
			 HYPERV_HINT_RELAXED_TIMING | HYPERV_HINT_NO_AUTO_EOI);
	assert_int_equal(cpuid_find(cpuid, 1, 0)->ecx & 1u << 24, 0);
	free(cpuid);
}

static void no_nested_virtualization(void **state)
{
	struct kvm_cpuid2 *cpuid = build_one();

	assert_int_equal(cpuid_find(cpuid, 1, 0)->ecx & 1u << 5, 0);
	assert_int_equal(cpuid_find(cpuid, 0x80000001, 0)->ecx & 1u << 2, 0);
	assert_null(cpuid_find(cpuid, 0x8000000a, 0));
	free(cpuid);
}

static void the_local_apic_timer_may_stop(void **state)
{
	struct kvm_cpuid2 *cpuid = build_one();

	/* Else Linux has no clock event left when hv_vmbus goes. */
	assert_non_null(cpuid_find(cpuid, 6, 0));
	assert_int_equal(cpuid_find(cpuid, 6, 0)->eax & 1u << 2, 0);
	free(cpuid);
}

static void consistent_state_keeps_avx_but_nothing_without_state(void **state)
{
	struct kvm_cpuid2 *cpuid = build_one();

	assert_true(cpuid_find(cpuid, 1, 0)->ecx & 1u << 28);
	assert_true(cpuid_find(cpuid, 7, 0)->ebx & 1u << 5);
	assert_non_null(cpuid_find(cpuid, 0xd, 2));
	/* AVX-512, MPX, PKU, AMX have no state in this leaf 0xD. */
	assert_int_equal(cpuid_find(cpuid, 7, 0)->ebx & (1u << 16 | 1u << 14), 0);
	assert_int_equal(cpuid_find(cpuid, 7, 0)->ecx & 1u << 3, 0);
	assert_int_equal(cpuid_find(cpuid, 7, 0)->edx & 1u << 24, 0);
	assert_true(cpuid_find(cpuid, 7, 1)->eax & 1u << 4);
	free(cpuid);
}

static void inconsistent_state_takes_xsave_and_all_on_it(void **state)
{
	struct kvm_cpuid2 *cpuid;

	cpuid_find(host, 0xd, 0)->ecx = 1088;
	cpuid = build_one();
	assert_int_equal(cpuid_find(cpuid, 1, 0)->ecx & (3u << 26 | 1u << 28 | 1u << 12 | 1u << 29),
			 0);
	assert_true(cpuid_find(cpuid, 1, 0)->ecx & 1u << 21);
	assert_int_equal(cpuid_find(cpuid, 7, 0)->ebx & 1u << 5, 0);
	assert_int_equal(cpuid_find(cpuid, 7, 0)->ecx & 1u << 9, 0);
	assert_int_equal(cpuid_find(cpuid, 7, 1)->eax & 1u << 4, 0);
	assert_null(cpuid_find(cpuid, 0xd, 0));
	assert_null(cpuid_find(cpuid, 0xd, 2));
	free(cpuid);
}

static void avx_without_xsave_is_taken_away(void **state)
{
	struct kvm_cpuid2 *cpuid;

	cpuid_find(host, 1, 0)->ecx &= ~(3u << 26);
	cpuid = build_one();
	assert_int_equal(cpuid_find(cpuid, 1, 0)->ecx & 1u << 28, 0);
	free(cpuid);
}

static void each_processor_has_its_own_apic_id_everywhere(void **state)
{
	struct machine_topology topology = { 2, 3, 2 };
	uint32_t last = UINT32_MAX;

	for (uint32_t vp = 0; vp < 12; vp++) {
		struct kvm_cpuid2 *cpuid = build(topology, vp);
		uint32_t id = cpuid_apic_id(&topology, vp);

		assert_true(vp == 0 || id > last);
		last = id;
		assert_int_equal(id & 1, vp % 2);
		assert_int_equal(id >> 1 & 3, vp / 2 % 3);
		assert_int_equal(id >> 3, vp / 6);
		assert_int_equal(cpuid_find(cpuid, 1, 0)->ebx >> 24, id);
		assert_int_equal(cpuid_find(cpuid, 0xb, 0)->edx, id);
		assert_int_equal(cpuid_find(cpuid, 0x1f, 1)->edx, id);
		free(cpuid);
	}
}

static void topology_leaves_agree(void **state)
{
	struct kvm_cpuid2 *cpuid = build((struct machine_topology){ 2, 3, 2 }, 5);
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 1, 0);

	assert_int_equal(entry->ebx >> 16 & 0xff, 8);
	assert_int_equal(entry->ebx & 0xffff, 0x5678);
	assert_true(entry->edx & 1u << 28);
	entry = cpuid_find(cpuid, 0xb, 0);
	assert_int_equal(entry->eax, 1);
	assert_int_equal(entry->ebx, 2);
	assert_int_equal(entry->ecx, 0x100);
	entry = cpuid_find(cpuid, 0xb, 1);
	assert_int_equal(entry->eax, 3);
	assert_int_equal(entry->ebx, 6);
	assert_int_equal(entry->ecx, 0x201);
	assert_int_equal(cpuid_find(cpuid, 0xb, 2)->ecx, 2);
	entry = cpuid_find(cpuid, 4, 0);
	assert_int_equal(entry->eax >> 26, 3);
	assert_int_equal(entry->eax >> 14 & 0xfff, 1);
	assert_int_equal(cpuid_find(cpuid, 4, 1)->eax >> 14 & 0xfff, 7);
	free(cpuid);
}

static void amd_topology_leaves_agree(void **state)
{
	struct kvm_cpuid2 *cpuid;

	ADD(host, 0x8000001e, 0, 9, 9, 9, 9);
	host->entries[0].ebx = 0x68747541;
	cpuid = build((struct machine_topology){ 1, 2, 2 }, 3);
	assert_int_equal(cpuid_find(cpuid, 0x80000008, 0)->ecx & 0xf0ff, 0x2003);
	assert_true(cpuid_find(cpuid, 0x80000001, 0)->ecx & 2);
	assert_int_equal(cpuid_find(cpuid, 0x8000001e, 0)->eax, 3);
	assert_int_equal(cpuid_find(cpuid, 0x8000001e, 0)->ebx, 0x101);
	free(cpuid);
}

static void one_processor_has_no_siblings(void **state)
{
	struct kvm_cpuid2 *cpuid = build_one();

	assert_int_equal(cpuid_find(cpuid, 1, 0)->edx & 1u << 28, 0);
	assert_int_equal(cpuid_find(cpuid, 1, 0)->ebx >> 16, 1);
	free(cpuid);
}

static void topologies_are_completed_or_refused(void **state)
{
	static const struct {
		struct machine_topology given;
		uint32_t cpus, host_threads;
		int err;
		struct machine_topology want;
	} cases[] = {
		{ { 0, 0, 0 }, 1, 2, 0, { 1, 1, 1 } },
		{ { 0, 0, 0 }, 4, 2, 0, { 1, 2, 2 } },
		{ { 0, 0, 0 }, 3, 2, 0, { 1, 3, 1 } },
		{ { 0, 0, 0 }, 4, 1, 0, { 1, 4, 1 } },
		{ { 2, 0, 0 }, 8, 2, 0, { 2, 2, 2 } },
		{ { 0, 4, 0 }, 8, 1, 0, { 1, 4, 2 } },
		{ { 0, 2, 2 }, 8, 1, 0, { 2, 2, 2 } },
		{ { 2, 2, 2 }, 8, 1, 0, { 2, 2, 2 } },
		{ { 2, 2, 2 }, 7, 1, -LIS_INVALID, { 0 } },
		{ { 3, 0, 0 }, 8, 1, -LIS_INVALID, { 0 } },
		{ { 9, 0, 0 }, 8, 1, -LIS_INVALID, { 0 } },
		{ { UINT32_MAX, UINT32_MAX, UINT32_MAX }, 1, 1, -LIS_INVALID, { 0 } },
		{ { 0, 0, 0 }, 0, 1, -LIS_INVALID, { 0 } },
		{ { 0, 0, 0 }, MACHINE_CPUS_MAX + 1, 1, -LIS_INVALID, { 0 } },
		{ { 80, 3, 1 }, 240, 1, -LIS_INVALID, { 0 } }, /* APIC ids would pass 254 */
		{ { 0, 0, 0 }, MACHINE_CPUS_MAX, 1, 0, { 1, 240, 1 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct machine_topology topology = cases[i].given;

		assert_int_equal(cpuid_topology(&topology, cases[i].cpus, cases[i].host_threads),
				 cases[i].err);
		if (!cases[i].err)
			assert_memory_equal(&topology, &cases[i].want, sizeof(topology));
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(hyperv_is_all_the_hypervisor_there_is),
		T(privileges_are_what_vmbus_and_clocks_need),
		T(without_apic_hardware_its_registers_are_better_msrs),
		T(what_kvm_does_not_offer_is_not_offered),
		T(no_nested_virtualization),
		T(the_local_apic_timer_may_stop),
		T(consistent_state_keeps_avx_but_nothing_without_state),
		T(inconsistent_state_takes_xsave_and_all_on_it),
		T(avx_without_xsave_is_taken_away),
		T(each_processor_has_its_own_apic_id_everywhere),
		T(topology_leaves_agree),
		T(amd_topology_leaves_agree),
		T(one_processor_has_no_siblings),
		T(topologies_are_completed_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
