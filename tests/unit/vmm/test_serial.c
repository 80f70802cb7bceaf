// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The serial port, as a driver uses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/chipset/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct world {
	struct serial serial;
	bool level;
	unsigned rises, output_calls, room_calls;
};

static void on_interrupt(void *owner, bool level)
{
	struct world *world = owner;

	assert_true(level != world->level);
	world->level = level;
	world->rises += level;
}

static void on_output(void *owner)
{
	((struct world *)owner)->output_calls++;
}

static void on_room(void *owner)
{
	((struct world *)owner)->room_calls++;
}

static struct world world;
static struct serial_ops ops = { on_interrupt, on_output, on_room, &world };

static int setup(void **state)
{
	memset(&world, 0, sizeof(world));
	serial_init(&world.serial, &ops);
	return 0;
}

static int teardown(void **state)
{
	serial_fini(&world.serial);
	return 0;
}

static uint8_t in(uint16_t reg)
{
	return serial_read(&world.serial, reg);
}

static void out(uint16_t reg, uint8_t value)
{
	serial_write(&world.serial, reg, value);
}

static size_t take_all(uint8_t *to)
{
	const uint8_t *data;
	size_t total = 0, bytes;

	while ((bytes = serial_output_peek(&world.serial, &data)) > 0) {
		memcpy(to + total, data, bytes);
		serial_output_take(&world.serial, bytes);
		total += bytes;
	}
	return total;
}

static void bytes_written_come_out_in_order_with_one_call(void **state)
{
	uint8_t got[16];

	for (const char *c = "hello"; *c; c++)
		out(DATA, (uint8_t)*c);
	assert_int_equal(world.output_calls, 1);
	assert_int_equal(take_all(got), 5);
	assert_memory_equal(got, "hello", 5);
	out(DATA, '!');
	assert_int_equal(world.output_calls, 2);
}

static void a_full_buffer_takes_the_transmitter_empty_bit_away(void **state)
{
	static uint8_t got[SERIAL_OUTPUT_BYTES];

	while (in(LSR) & 0x20)
		out(DATA, 'x');
	assert_int_equal(in(LSR) & 0x60, 0);
	out(IER, 0x02);
	assert_false(world.level);
	assert_true(take_all(got) > SERIAL_OUTPUT_BYTES - 16);
	assert_int_equal(in(LSR) & 0x60, 0x60);
	assert_true(world.level);
	assert_int_equal(in(IIR) & 0x0f, 0x02);
}

static void a_full_buffer_loses_no_byte_it_took(void **state)
{
	static uint8_t got[2 * SERIAL_OUTPUT_BYTES];
	size_t total = 0;

	for (unsigned i = 0; i < SERIAL_OUTPUT_BYTES + 100; i++)
		out(DATA, (uint8_t)i);
	total = take_all(got);
	assert_int_equal(total, SERIAL_OUTPUT_BYTES);
	for (size_t i = 0; i < total; i++)
		assert_int_equal(got[i], (uint8_t)i);
}

static void reading_the_id_clears_the_transmitter_interrupt_and_writing_raises_it(void **state)
{
	out(IER, 0x02);
	assert_true(world.level);
	assert_int_equal(in(IIR) & 0x0f, 0x02);
	assert_false(world.level);
	assert_int_equal(in(IIR) & 0x0f, 0x01);
	out(DATA, 'a');
	assert_true(world.level);
	assert_int_equal(world.rises, 2);
	out(IER, 0);
	assert_false(world.level);
}

static void input_interrupts_until_it_is_all_read(void **state)
{
	out(IER, 0x01);
	assert_int_equal(serial_input(&world.serial, "ab", 2), 2);
	assert_true(world.level);
	assert_int_equal(in(IIR) & 0x0f, 0x04);
	assert_int_equal(in(LSR) & 0x01, 1);
	assert_int_equal(in(DATA), 'a');
	assert_true(world.level);
	assert_int_equal(in(DATA), 'b');
	assert_false(world.level);
	assert_int_equal(in(LSR) & 0x01, 0);
	assert_int_equal(world.rises, 1);
}

static void input_before_the_driver_is_there_waits_for_it(void **state)
{
	assert_int_equal(serial_input(&world.serial, "x", 1), 1);
	assert_false(world.level);
	out(IIR, 0x07); /* FIFO on and cleared */
	out(IER, 0x01);
	assert_true(world.level);
	assert_int_equal(in(DATA), 'x');
}

static void input_beyond_the_buffer_is_refused_and_room_is_told(void **state)
{
	static uint8_t many[SERIAL_INPUT_BYTES + 10];
	size_t taken = serial_input(&world.serial, many, sizeof(many));

	assert_int_equal(taken, SERIAL_INPUT_BYTES);
	for (size_t i = 0; i < taken; i++) {
		assert_int_equal(world.room_calls, 0);
		in(DATA);
	}
	assert_int_equal(world.room_calls, 1);
}

static void received_data_comes_before_the_transmitter(void **state)
{
	out(IER, 0x03);
	serial_input(&world.serial, "x", 1);
	assert_int_equal(in(IIR) & 0x0f, 0x04);
	in(DATA);
	assert_int_equal(in(IIR) & 0x0f, 0x02);
}

static void the_divisor_hides_data_and_interrupts(void **state)
{
	uint8_t got[4];

	out(LCR, 0x83);
	out(DATA, 0x34);
	out(IER, 0x12);
	assert_int_equal(in(DATA), 0x34);
	assert_int_equal(in(IER), 0x12);
	out(LCR, 0x03);
	assert_int_equal(in(IER), 0);
	assert_int_equal(take_all(got), 0);
}

static void loopback_joins_output_to_input(void **state)
{
	uint8_t got[4];

	/* As Linux' autoconfig looks for a port. */
	out(MCR, 0x1a);
	assert_int_equal(in(MSR) & 0xf0, 0x90);
	out(MCR, 0x10);
	out(DATA, 0x55);
	assert_int_equal(take_all(got), 0);
	assert_int_equal(in(DATA), 0x55);
	for (int i = 0; i < 17; i++)
		out(DATA, (uint8_t)i);
	assert_int_equal(in(LSR) & 0x02, 0x02);
	assert_int_equal(in(LSR) & 0x02, 0);
}

static void the_fifo_shows_in_the_id(void **state)
{
	assert_int_equal(in(IIR), 0x01);
	out(IIR, 0x01);
	assert_int_equal(in(IIR), 0xc1);
}

static void registers_that_remember_remember(void **state)
{
	out(SCR, 0xa5);
	out(LCR, 0x1b);
	out(MCR, 0xff);
	assert_int_equal(in(SCR), 0xa5);
	assert_int_equal(in(LCR), 0x1b);
	assert_int_equal(in(MCR), 0x1f);
	out(IER, 0xff);
	assert_int_equal(in(IER), 0x0f);
}

static void reset_forgets_registers_but_keeps_output(void **state)
{
	uint8_t got[4];

	out(IER, 0x02);
	out(DATA, 'k');
	serial_reset(&world.serial);
	assert_false(world.level);
	assert_int_equal(in(IER), 0);
	assert_int_equal(take_all(got), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bytes_written_come_out_in_order_with_one_call),
		T(a_full_buffer_takes_the_transmitter_empty_bit_away),
		T(a_full_buffer_loses_no_byte_it_took),
		T(reading_the_id_clears_the_transmitter_interrupt_and_writing_raises_it),
		T(input_interrupts_until_it_is_all_read),
		T(input_before_the_driver_is_there_waits_for_it),
		T(input_beyond_the_buffer_is_refused_and_room_is_told),
		T(received_data_comes_before_the_transmitter),
		T(the_divisor_hides_data_and_interrupts),
		T(loopback_joins_output_to_input),
		T(the_fifo_shows_in_the_id),
		T(registers_that_remember_remember),
		T(reset_forgets_registers_but_keeps_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
