// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* ACPI tables, found as a guest finds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/acpi.h"
#include "vmm/cpuid.h"

static uint8_t *area;
static struct memory_map map;
static struct machine_topology topology;

static uint32_t u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void write_tables(uint32_t cpus)
{
	struct acpi_config config = { .map = &map, .topology = &topology, .cpus = cpus };
	char error[256];

	assert_int_equal(memory_map_init(&map, 8ull << 30, 40, error, sizeof(error)), 0);
	topology = (struct machine_topology){ 0 };
	assert_int_equal(cpuid_topology(&topology, cpus, 1), 0);
	memset(area, 0, ACPI_AREA_BYTES);
	assert_int_equal(acpi_write(&config, area), 0);
}

static const uint8_t *at_gpa(uint64_t gpa)
{
	assert_in_range(gpa, ACPI_AREA_GPA, ACPI_AREA_GPA + ACPI_AREA_BYTES - 1);
	return area + (gpa - ACPI_AREA_GPA);
}

static void assert_sum(const uint8_t *table, uint32_t bytes)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < bytes; i++)
		sum += table[i];
	assert_int_equal(sum, 0);
}

/* The table with a signature, from the root pointer on, its checksum verified. */
static const uint8_t *find(const char *signature)
{
	const uint8_t *rsdp = at_gpa(ACPI_RSDP_GPA), *xsdt;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_sum(rsdp, 20);
	assert_sum(rsdp, u32(rsdp + 20));
	xsdt = at_gpa(u64(rsdp + 24));
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_sum(xsdt, u32(xsdt + 4));
	for (uint32_t at = 36; at < u32(xsdt + 4); at += 8) {
		const uint8_t *table = at_gpa(u64(xsdt + at));

		assert_sum(table, u32(table + 4));
		if (memcmp(table, signature, 4) == 0)
			return table;
	}
	return NULL;
}

static int setup(void **state)
{
	area = malloc(ACPI_AREA_BYTES);
	return area ? 0 : -1;
}

static int teardown(void **state)
{
	free(area);
	return 0;
}

static void all_tables_are_found_and_sum_to_zero(void **state)
{
	const uint8_t *fadt, *dsdt;

	write_tables(2);
	fadt = find("FACP");
	assert_non_null(fadt);
	assert_non_null(find("APIC"));
	assert_null(find("HPET"));
	dsdt = at_gpa(u64(fadt + 140));
	assert_int_equal(u32(fadt + 40), u64(fadt + 140));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_sum(dsdt, u32(dsdt + 4));
	assert_memory_equal(at_gpa(u32(fadt + 36)), "FACS", 4);
	assert_int_equal(u32(fadt + 36) % 64, 0);
}

static void the_fixed_hardware_is_where_the_chipset_has_it(void **state)
{
	const uint8_t *fadt;

	write_tables(1);
	fadt = find("FACP");
	assert_int_equal(u32(fadt + 56), 0x600);          /* PM1a events */
	assert_int_equal(u32(fadt + 64), 0x604);          /* PM1a control */
	assert_int_equal(u64(fadt + 148 + 4), 0x600);
	assert_int_equal(u64(fadt + 172 + 4), 0x604);
	assert_int_equal(fadt[46], 9);                    /* SCI */
	assert_int_equal(u64(fadt + 116 + 4), 0xcf9);     /* reset */
	assert_int_equal(fadt[128], 6);
	assert_true(u32(fadt + 112) & 1u << 10);          /* reset is supported */
	assert_int_equal(u32(fadt + 112) & 1u << 4, 0);   /* power button is fixed hardware */
	assert_int_equal(fadt[109] & 2, 0);               /* no 8042 */
}

static void every_processor_is_listed(void **state)
{
	static const uint32_t counts[] = { 1, 2, 3, 17, MACHINE_CPUS_MAX };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		const uint8_t *madt;
		uint32_t at = 44, cpus = 0, ioapics = 0;

		write_tables(counts[i]);
		madt = find("APIC");
		assert_int_equal(u32(madt + 36), 0xfee00000);
		for (; at < u32(madt + 4); at += madt[at + 1]) {
			assert_true(madt[at + 1] >= 2);
			if (madt[at] == 0) {
				assert_int_equal(madt[at + 3], cpuid_apic_id(&topology, cpus));
				assert_int_equal(u32(madt + at + 4), 1);
				cpus++;
			}
			ioapics += madt[at] == 1;
		}
		assert_int_equal(at, u32(madt + 4));
		assert_int_equal(cpus, counts[i]);
		assert_int_equal(ioapics, 1);
	}
}

static void facts_for_the_dsdt_name_the_windows(void **state)
{
	struct acpi_facts facts;

	write_tables(1);
	memcpy(&facts, at_gpa(ACPI_FACTS_GPA), sizeof(facts));
	assert_int_equal(facts.window_low_start, MEMORY_MMIO_LOW_START);
	assert_int_equal(facts.window_low_end, MEMORY_MMIO_LOW_END);
	assert_int_equal(facts.window_high_start, map.mmio_high_start);
	assert_int_equal(facts.window_high_end, map.mmio_high_end);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(all_tables_are_found_and_sum_to_zero),
		T(the_fixed_hardware_is_where_the_chipset_has_it),
		T(every_processor_is_listed),
		T(facts_for_the_dsdt_name_the_windows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
