/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* ACPI's fixed hardware: power button, sleep control (S4 and S5), the system control interrupt. */
#ifndef OPENLIS_VMM_CHIPSET_PM_H
#define OPENLIS_VMM_CHIPSET_PM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PM_PORT 0x600u         /* [policy] PM1a status, enable, control: 2 bytes each */
#define PM_PORTS 8u
#define PM_EVENT_BYTES 4u
#define PM_CONTROL_PORT (PM_PORT + PM_EVENT_BYTES)
#define PM_CONTROL_BYTES 2u
#define PM_SCI_IRQ 9u
#define PM_SLEEP_TYPE_S4 4u    /* as dsdt.asl has them */
#define PM_SLEEP_TYPE_S5 5u

struct pm_ops {
	/** @interrupt: set the level of the SCI. Called with the lock held. */
	void (*interrupt)(void *owner, bool level);
	/** @power_off: the guest entered S5, or S4, its memory saved by itself. A VP's thread. */
	void (*power_off)(void *owner);
	void *owner;
};

struct pm {
	const struct pm_ops *ops;
	pthread_mutex_t lock;
	uint16_t status, enable, control;
	bool interrupt_level;
};

void pm_init(struct pm *pm, const struct pm_ops *ops);
void pm_fini(struct pm *pm);
/** pm_reset() - Power-on state. */
void pm_reset(struct pm *pm);
/** pm_read(), pm_write() - The guest's access. Any thread. */
uint8_t pm_read(void *pm, uint16_t offset);
void pm_write(void *pm, uint16_t offset, uint8_t value);
/** pm_power_button() - Press it. Any thread. */
void pm_power_button(struct pm *pm);

#endif
