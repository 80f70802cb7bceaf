// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Port I/O: finds the device for an access. */
#include "vmm/chipset/ports.h"

#include <assert.h>
#include <stddef.h>

void ports_add(struct ports *ports, const struct port_device *device)
{
	assert(ports->count < PORT_DEVICES_MAX);
	ports->devices[ports->count++] = *device;
}

static const struct port_device *device_at(const struct ports *ports, uint32_t port, uint32_t bytes)
{
	for (uint32_t i = 0; i < ports->count; i++) {
		const struct port_device *device = &ports->devices[i];

		if (port >= device->first && port - device->first < device->count &&
		    (bytes == 1 || !device->single_bytes))
			return device;
	}
	return NULL;
}

uint32_t ports_read(const struct ports *ports, uint16_t port, uint32_t bytes)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < bytes; i++) {
		const struct port_device *device = device_at(ports, port + i, bytes);
		uint32_t byte = device ? device->read(device->owner,
						      (uint16_t)(port + i - device->first))
				       : 0xff;

		value |= byte << (8 * i);
	}
	return value;
}

void ports_write(const struct ports *ports, uint16_t port, uint32_t bytes, uint32_t value)
{
	for (uint32_t i = 0; i < bytes; i++) {
		const struct port_device *device = device_at(ports, port + i, bytes);

		if (device)
			device->write(device->owner, (uint16_t)(port + i - device->first),
				      (uint8_t)(value >> (8 * i)));
	}
}
