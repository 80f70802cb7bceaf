/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Port I/O: which device answers where. Ports without a device read all ones and swallow writes.
 * Devices are added before any processor runs; look-ups come from all of them at once.
 */
#ifndef OPENLIS_VMM_CHIPSET_PORTS_H
#define OPENLIS_VMM_CHIPSET_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#define PORT_DEVICES_MAX 8u

struct port_device {
	uint16_t first, count;
	/** @read, @write: one access within the range; @offset from its first port. Any thread. */
	uint8_t (*read)(void *owner, uint16_t offset);
	void (*write)(void *owner, uint16_t offset, uint8_t value);
	void *owner;
	/* Wider accesses reach the device byte by byte; this one answers to single bytes only. */
	bool single_bytes;
};

struct ports {
	struct port_device devices[PORT_DEVICES_MAX];
	uint32_t count;
};

/** ports_add() - Add a device; there must be room, and nothing else in its range. */
void ports_add(struct ports *ports, const struct port_device *device);

/** ports_read() - An access of 1, 2 or 4 bytes. */
uint32_t ports_read(const struct ports *ports, uint16_t port, uint32_t bytes);

/** ports_write() - An access of 1, 2 or 4 bytes. */
void ports_write(const struct ports *ports, uint16_t port, uint32_t bytes, uint32_t value);

#endif
