/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The two old ways to reset a PC: port 0xCF9 and the keyboard controller's line. */
#ifndef OPENLIS_VMM_CHIPSET_RESET_H
#define OPENLIS_VMM_CHIPSET_RESET_H

#include <stdint.h>

#define RESET_PORT 0xcf9u         /* also ACPI's reset register */
#define RESET_ACPI_VALUE 0x06u
#define RESET_KEYBOARD_PORT 0x64u

struct reset {
	/** @requested: the guest wants a reset. A VP's thread. */
	void (*requested)(void *owner);
	void *owner;
	uint8_t control; /* of 0xCF9 */
};

/** reset_control_read(), reset_control_write() - The guest's access to 0xCF9. Any thread. */
uint8_t reset_control_read(void *reset, uint16_t offset);
void reset_control_write(void *reset, uint16_t offset, uint8_t value);

/** reset_keyboard_read(), reset_keyboard_write() - To 0x64, where no keyboard is. Any thread. */
uint8_t reset_keyboard_read(void *reset, uint16_t offset);
void reset_keyboard_write(void *reset, uint16_t offset, uint8_t value);

#endif
