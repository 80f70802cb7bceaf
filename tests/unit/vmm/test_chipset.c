// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Ports, power management, clock, resets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/chipset/pm.h"
#include "vmm/chipset/ports.h"
#include "vmm/chipset/reset.h"
#include "vmm/chipset/rtc.h"

/* Ports */

static uint8_t bytes[4];

static uint8_t read_byte(void *owner, uint16_t offset)
{
	return ((uint8_t *)owner)[offset];
}

static void write_byte(void *owner, uint16_t offset, uint8_t value)
{
	((uint8_t *)owner)[offset] = value;
}

static void nobody_reads_all_ones_and_swallows_writes(void **state)
{
	struct ports ports = { 0 };

	assert_int_equal(ports_read(&ports, 0x80, 1), 0xff);
	assert_int_equal(ports_read(&ports, 0x80, 2), 0xffff);
	assert_int_equal(ports_read(&ports, 0xcf8, 4), 0xffffffff);
	ports_write(&ports, 0xcf8, 4, 0x80000000);
}

static void wide_accesses_reach_a_device_byte_by_byte(void **state)
{
	struct ports ports = { 0 };

	ports_add(&ports, &(struct port_device){ .first = 0x100, .count = 4, .read = read_byte,
						 .write = write_byte, .owner = bytes });
	ports_write(&ports, 0x100, 4, 0x44332211);
	assert_int_equal(ports_read(&ports, 0x101, 2), 0x3322);
	assert_int_equal(ports_read(&ports, 0x102, 4), 0xffff4433);
	ports_write(&ports, 0xff, 2, 0xaa99);
	assert_int_equal(ports_read(&ports, 0x100, 1), 0xaa);
	assert_int_equal(ports_read(&ports, 0xffff, 4), 0xffffffff);
}

static void single_byte_devices_ignore_wide_accesses(void **state)
{
	struct ports ports = { 0 };

	bytes[0] = 7;
	ports_add(&ports, &(struct port_device){ .first = 0xcf9,
						 .count = 1,
						 .read = read_byte,
						 .write = write_byte,
						 .owner = bytes,
						 .single_bytes = true });
	ports_write(&ports, 0xcf8, 4, 0x00000600);
	assert_int_equal(bytes[0], 7);
	assert_int_equal(ports_read(&ports, 0xcf8, 4), 0xffffffff);
	ports_write(&ports, 0xcf9, 1, 6);
	assert_int_equal(bytes[0], 6);
}

/* Power management */

static bool sci;
static unsigned offs, resets;

static void on_sci(void *owner, bool level)
{
	assert_true(level != sci);
	sci = level;
}

static void on_off(void *owner)
{
	offs++;
}

static const struct pm_ops pm_ops = { on_sci, on_off, NULL };

static void the_power_button_interrupts_until_it_is_acknowledged(void **state)
{
	struct pm pm;

	sci = false;
	pm_init(&pm, &pm_ops);
	pm_power_button(&pm);
	assert_false(sci); /* not enabled */
	assert_int_equal(pm_read(&pm, 1), 0x01);
	pm_write(&pm, 3, 0x01);
	assert_true(sci);
	pm_write(&pm, 0, 0xff); /* some other bits */
	assert_true(sci);
	pm_write(&pm, 1, 0x01);
	assert_false(sci);
	assert_int_equal(pm_read(&pm, 1), 0);
	pm_power_button(&pm);
	assert_true(sci);
	pm_reset(&pm);
	assert_false(sci);
	pm_fini(&pm);
}

static void only_s4_and_s5_with_sleep_enable_powers_off(void **state)
{
	struct pm pm;

	offs = 0;
	pm_init(&pm, &pm_ops);
	assert_int_equal(pm_read(&pm, 4) & 1, 1); /* ACPI mode */
	pm_write(&pm, 5, PM_SLEEP_TYPE_S5 << 2);
	assert_int_equal(offs, 0);
	pm_write(&pm, 5, 3 << 2 | 0x20);
	assert_int_equal(offs, 0);
	pm_write(&pm, 5, PM_SLEEP_TYPE_S5 << 2 | 0x20);
	assert_int_equal(offs, 1);
	assert_int_equal(pm_read(&pm, 5) & 0x20, 0); /* write-only */
	pm_write(&pm, 4, 0xff);
	assert_int_equal(offs, 1);
	pm_write(&pm, 5, PM_SLEEP_TYPE_S4 << 2);
	assert_int_equal(offs, 1);
	pm_write(&pm, 5, PM_SLEEP_TYPE_S4 << 2 | 0x20);
	assert_int_equal(offs, 2);
	pm_fini(&pm);
}

/* Resets */

static void on_reset(void *owner)
{
	resets++;
}

static void resets_need_their_magic(void **state)
{
	struct reset reset = { .requested = on_reset };

	resets = 0;
	reset_control_write(&reset, 0, 0x02);
	assert_int_equal(resets, 0);
	assert_int_equal(reset_control_read(&reset, 0), 0x02);
	reset_control_write(&reset, 0, RESET_ACPI_VALUE);
	assert_int_equal(resets, 1);
	reset_keyboard_write(&reset, 0, 0xd1);
	assert_int_equal(resets, 1);
	reset_keyboard_write(&reset, 0, 0xfe);
	assert_int_equal(resets, 2);
	assert_int_equal(reset_keyboard_read(&reset, 0) & 0x02, 0);
}

/* Clock */

static uint64_t now = 1709210096; /* 2024-02-29 12:34:56 UTC, a Thursday */

static uint64_t tell_now(void)
{
	return now;
}

static uint8_t cmos(struct rtc *rtc, uint8_t index)
{
	rtc_write(rtc, 0, index);
	return rtc_read(rtc, 1);
}

static void cmos_set(struct rtc *rtc, uint8_t index, uint8_t value)
{
	rtc_write(rtc, 0, index);
	rtc_write(rtc, 1, value);
}

static void the_clock_tells_the_hosts_time_in_bcd(void **state)
{
	struct rtc rtc;

	rtc_init(&rtc, tell_now);
	assert_int_equal(cmos(&rtc, 0x0a) & 0x80, 0);
	assert_int_equal(cmos(&rtc, 0x00), 0x56);
	assert_int_equal(cmos(&rtc, 0x02), 0x34);
	assert_int_equal(cmos(&rtc, 0x04), 0x12);
	assert_int_equal(cmos(&rtc, 0x06), 5);
	assert_int_equal(cmos(&rtc, 0x07), 0x29);
	assert_int_equal(cmos(&rtc, 0x08), 0x02);
	assert_int_equal(cmos(&rtc, 0x09), 0x24);
	assert_int_equal(cmos(&rtc, 0x32), 0x20);
	assert_int_equal(cmos(&rtc, 0x0d), 0x80);
	rtc_fini(&rtc);
}

static void the_clock_can_be_binary_and_count_to_twelve(void **state)
{
	struct rtc rtc;

	rtc_init(&rtc, tell_now);
	cmos_set(&rtc, 0x0b, 0x04);
	assert_int_equal(cmos(&rtc, 0x00), 56);
	assert_int_equal(cmos(&rtc, 0x04), 0x80 | 12);
	now += 43200;
	assert_int_equal(cmos(&rtc, 0x04), 12);
	now -= 43200;
	rtc_fini(&rtc);
}

static void a_guest_may_set_the_clock(void **state)
{
	struct rtc rtc;

	rtc_init(&rtc, tell_now);
	cmos_set(&rtc, 0x0b, 0x82); /* hold */
	cmos_set(&rtc, 0x00, 0x00);
	cmos_set(&rtc, 0x02, 0x00);
	cmos_set(&rtc, 0x04, 0x23);
	cmos_set(&rtc, 0x07, 0x31);
	cmos_set(&rtc, 0x08, 0x12);
	cmos_set(&rtc, 0x09, 0x99);
	cmos_set(&rtc, 0x32, 0x19);
	now += 100;
	assert_int_equal(cmos(&rtc, 0x02), 0x00); /* held */
	cmos_set(&rtc, 0x0b, 0x02);
	now += 3600;
	assert_int_equal(cmos(&rtc, 0x04), 0x00);
	assert_int_equal(cmos(&rtc, 0x07), 0x01);
	assert_int_equal(cmos(&rtc, 0x08), 0x01);
	assert_int_equal(cmos(&rtc, 0x32), 0x20);
	now -= 3700;
	rtc_fini(&rtc);
}

static void nonsense_in_the_clock_does_no_harm(void **state)
{
	struct rtc rtc;

	rtc_init(&rtc, tell_now);
	cmos_set(&rtc, 0x0b, 0x82);
	for (unsigned i = 0; i < 0x100; i++)
		if ((i & 0x7f) != 0x0b)
			cmos_set(&rtc, (uint8_t)i, 0xff);
	cmos_set(&rtc, 0x0b, 0x02);
	for (unsigned i = 0; i < 0x100; i++)
		cmos(&rtc, (uint8_t)i);
	assert_true((cmos(&rtc, 0x00) & 0x0f) <= 9);
	rtc_fini(&rtc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_reads_all_ones_and_swallows_writes),
		cmocka_unit_test(wide_accesses_reach_a_device_byte_by_byte),
		cmocka_unit_test(single_byte_devices_ignore_wide_accesses),
		cmocka_unit_test(the_power_button_interrupts_until_it_is_acknowledged),
		cmocka_unit_test(only_s4_and_s5_with_sleep_enable_powers_off),
		cmocka_unit_test(resets_need_their_magic),
		cmocka_unit_test(the_clock_tells_the_hosts_time_in_bcd),
		cmocka_unit_test(the_clock_can_be_binary_and_count_to_twelve),
		cmocka_unit_test(a_guest_may_set_the_clock),
		cmocka_unit_test(nonsense_in_the_clock_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
