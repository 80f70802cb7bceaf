// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Resets by port. Source: Intel ICH9 data sheet, 13.7.5 (RST_CNT); IBM PC AT, 8042 command 0xFE. */
#include "vmm/chipset/reset.h"

#define CONTROL_CPU 0x04u
#define KEYBOARD_PULSE_RESET 0xfeu

uint8_t reset_control_read(void *owner, uint16_t offset)
{
	struct reset *reset = owner;

	return __atomic_load_n(&reset->control, __ATOMIC_RELAXED);
}

void reset_control_write(void *owner, uint16_t offset, uint8_t value)
{
	struct reset *reset = owner;

	/* A system reset or a processor's alone: the difference is lost on a virtual machine. */
	__atomic_store_n(&reset->control, value & (uint8_t)~CONTROL_CPU, __ATOMIC_RELAXED);
	if (value & CONTROL_CPU)
		reset->requested(reset->owner);
}

/* An idle controller, so that nobody waits for it to take the command. */
uint8_t reset_keyboard_read(void *owner, uint16_t offset)
{
	return 0;
}

void reset_keyboard_write(void *owner, uint16_t offset, uint8_t value)
{
	struct reset *reset = owner;

	if (value == KEYBOARD_PULSE_RESET)
		reset->requested(reset->owner);
}
