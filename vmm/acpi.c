// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * ACPI tables: root pointer, XSDT, FADT, FACS, MADT; the DSDT comes compiled from dsdt.asl.
 *
 * Fixed hardware (power button, S4, S5), no legacy devices but a serial port and the clock, no HPET and
 * no PM timer: a Hyper-V guest has better clocks.
 *
 * Source: ACPI 6.4, chapter 5.2.
 */
#include "vmm/acpi.h"

#include <string.h>

#include "vmm/chipset/pm.h"
#include "vmm/chipset/reset.h"
#include "vmm/cpuid.h"
#include "vmm/dsdt.h"

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");

struct acpi_address {
	uint8_t space; /* 1: ports */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access; /* 1: bytes, 2: words */
	uint64_t address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0,
		gpe1;
	uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
	uint8_t gpe0_bytes, gpe1_bytes, gpe1_base, cstate;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_revision;
	uint64_t x_facs;
	uint64_t x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control,
		x_pm2_control, x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 5.2.9");

#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_SLEEP_BUTTON (1u << 5) /* none as fixed hardware */
#define FADT_FIX_RTC (1u << 6)      /* no alarm in the fixed hardware */
#define FADT_RESET (1u << 10)
#define FADT_HEADLESS (1u << 12)
#define FADT_BOOT_NO_VGA (1u << 2)
#define FADT_BOOT_NO_ASPM (1u << 4)
#define RTC_CENTURY_BYTE 0x32u

struct acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_facs) == 64, "ACPI 5.2.10");

struct madt {
	struct acpi_header header;
	uint32_t lapic;
	uint32_t flags; /* 1: there are 8259s as well */
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags; /* 1: enabled */
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

struct madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct madt_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

#define MADT_EDGE_HIGH 0x5u
#define MADT_LEVEL_HIGH 0xdu

/* Where the next table goes. */
struct writer {
	uint8_t *area;
	uint32_t at; /* in the area */
};

static uint8_t checksum(const void *data, size_t bytes)
{
	const uint8_t *byte = data;
	uint8_t sum = 0;

	while (bytes--)
		sum += *byte++;
	return (uint8_t)-sum;
}

/* The GPA of a table's copy; 0 if there was no room. */
static uint64_t put(struct writer *writer, const void *table, size_t bytes)
{
	uint32_t at = writer->at;

	if (bytes > ACPI_AREA_BYTES - at)
		return 0;
	memcpy(writer->area + at, table, bytes);
	writer->at = (uint32_t)((at + bytes + 63) & ~63ull);
	return ACPI_AREA_GPA + at;
}

static void head(struct acpi_header *header, const char *signature, uint8_t revision, size_t bytes)
{
	memset(header, 0, sizeof(*header));
	memcpy(header->signature, signature, 4);
	memcpy(header->oem_id, "OPNLIS", 6);
	memcpy(header->oem_table_id, "MACHINE ", 8);
	memcpy(header->creator_id, "OLIS", 4);
	header->length = (uint32_t)bytes;
	header->revision = revision;
	header->oem_revision = 1;
	header->creator_revision = 1;
}

static struct acpi_address port(uint64_t address, uint8_t bytes, uint8_t access)
{
	return (struct acpi_address){
		.space = 1, .bit_width = (uint8_t)(bytes * 8), .access = access, .address = address
	};
}

static uint64_t put_fadt(struct writer *writer, uint64_t facs, uint64_t dsdt)
{
	struct acpi_fadt fadt = {
		.facs = (uint32_t)facs,
		.dsdt = (uint32_t)dsdt,
		.preferred_profile = 4, /* enterprise server */
		.sci_interrupt = PM_SCI_IRQ,
		.pm1a_event = PM_PORT,
		.pm1a_control = PM_CONTROL_PORT,
		.pm1_event_bytes = PM_EVENT_BYTES,
		.pm1_control_bytes = PM_CONTROL_BYTES,
		.c2_latency = 0xffff,
		.c3_latency = 0xffff,
		.century = RTC_CENTURY_BYTE,
		.boot_flags = FADT_BOOT_NO_VGA | FADT_BOOT_NO_ASPM,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLEEP_BUTTON | FADT_FIX_RTC |
			 FADT_RESET | FADT_HEADLESS,
		.reset = port(RESET_PORT, 1, 1),
		.reset_value = RESET_ACPI_VALUE,
		.minor_revision = 4,
		.x_facs = 0, /* one of the two only */
		.x_dsdt = dsdt,
		.x_pm1a_event = port(PM_PORT, PM_EVENT_BYTES, 2),
		.x_pm1a_control = port(PM_CONTROL_PORT, PM_CONTROL_BYTES, 2),
	};

	head(&fadt.header, "FACP", 6, sizeof(fadt));
	memcpy(&fadt.hypervisor, "MsHyperV", 8);
	fadt.header.checksum = checksum(&fadt, sizeof(fadt));
	return put(writer, &fadt, sizeof(fadt));
}

static size_t fill_madt(uint8_t *at, const struct acpi_config *config)
{
	struct madt_ioapic ioapic = { 1, sizeof(ioapic), 0, 0, ACPI_IOAPIC_GPA, 0 };
	struct madt_override timer = { 2, sizeof(timer), 0, 0, 2, MADT_EDGE_HIGH };
	struct madt_override sci = { 2, sizeof(sci), 0, PM_SCI_IRQ, PM_SCI_IRQ, MADT_LEVEL_HIGH };
	struct madt_nmi nmi = { 4, sizeof(nmi), 0xff, MADT_EDGE_HIGH, 1 };
	uint8_t *start = at;

	for (uint32_t vp = 0; vp < config->cpus; vp++) {
		struct madt_lapic lapic = { 0, sizeof(lapic), (uint8_t)vp,
					    (uint8_t)cpuid_apic_id(config->topology, vp), 1 };

		memcpy(at, &lapic, sizeof(lapic));
		at += sizeof(lapic);
	}
	memcpy(at, &ioapic, sizeof(ioapic));
	at += sizeof(ioapic);
	memcpy(at, &timer, sizeof(timer));
	at += sizeof(timer);
	memcpy(at, &sci, sizeof(sci));
	at += sizeof(sci);
	memcpy(at, &nmi, sizeof(nmi));
	at += sizeof(nmi);
	return (size_t)(at - start);
}

static uint64_t put_madt(struct writer *writer, const struct acpi_config *config)
{
	uint8_t buffer[sizeof(struct madt) + MACHINE_CPUS_MAX * sizeof(struct madt_lapic) + 64];
	struct madt *madt = (struct madt *)(void *)buffer;
	size_t bytes = sizeof(*madt) + fill_madt(buffer + sizeof(*madt), config);

	head(&madt->header, "APIC", 5, bytes);
	madt->lapic = ACPI_LAPIC_GPA;
	madt->flags = 1;
	madt->header.checksum = checksum(buffer, bytes);
	return put(writer, buffer, bytes);
}

static uint64_t put_xsdt(struct writer *writer, uint64_t fadt, uint64_t madt)
{
	struct {
		struct acpi_header header;
		uint64_t tables[2];
	} __attribute__((packed)) xsdt = { .tables = { fadt, madt } };

	head(&xsdt.header, "XSDT", 1, sizeof(xsdt));
	xsdt.header.checksum = checksum(&xsdt, sizeof(xsdt));
	return put(writer, &xsdt, sizeof(xsdt));
}

static void write_rsdp(uint8_t *area, uint64_t xsdt)
{
	struct acpi_rsdp rsdp = { .revision = 2, .length = sizeof(rsdp), .xsdt = xsdt };

	memcpy(rsdp.signature, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, "OPNLIS", 6);
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(area + (ACPI_RSDP_GPA - ACPI_AREA_GPA), &rsdp, sizeof(rsdp));
}

int acpi_write(const struct acpi_config *config, void *area)
{
	struct writer writer = { .area = area, .at = ACPI_TABLES_GPA - ACPI_AREA_GPA };
	struct acpi_facs facs = { .signature = { 'F', 'A', 'C', 'S' },
				  .length = sizeof(facs),
				  .version = 2 };
	struct acpi_facts facts = {
		.window_low_start = MEMORY_MMIO_LOW_START,
		.window_low_end = MEMORY_MMIO_LOW_END,
		.window_high_start = config->map->mmio_high_start,
		.window_high_end = config->map->mmio_high_end,
	};
	uint64_t facs_gpa, dsdt_gpa, fadt_gpa, madt_gpa, xsdt_gpa;

	memcpy(writer.area + (ACPI_FACTS_GPA - ACPI_AREA_GPA), &facts, sizeof(facts));
	facs_gpa = put(&writer, &facs, sizeof(facs));
	dsdt_gpa = put(&writer, dsdt_aml_code, sizeof(dsdt_aml_code));
	fadt_gpa = put_fadt(&writer, facs_gpa, dsdt_gpa);
	madt_gpa = put_madt(&writer, config);
	xsdt_gpa = put_xsdt(&writer, fadt_gpa, madt_gpa);
	if (!facs_gpa || !dsdt_gpa || !fadt_gpa || !madt_gpa || !xsdt_gpa)
		return -LIS_NOSPACE;
	write_rsdp(area, xsdt_gpa);
	return 0;
}
