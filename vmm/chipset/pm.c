// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * ACPI's fixed hardware, for a machine whose only sleep is power-off. Source: ACPI 6.4, 4.8.3.
 */
#include "vmm/chipset/pm.h"

#include <string.h>

#define STATUS_POWER_BUTTON 0x0100u
#define CONTROL_SCI_ENABLE 0x0001u
#define CONTROL_SLEEP_TYPE_SHIFT 10
#define CONTROL_SLEEP_TYPE 0x1c00u
#define CONTROL_SLEEP_ENABLE 0x2000u

void pm_init(struct pm *pm, const struct pm_ops *ops)
{
	memset(pm, 0, sizeof(*pm));
	pm->ops = ops;
	pthread_mutex_init(&pm->lock, NULL);
}

void pm_fini(struct pm *pm)
{
	pthread_mutex_destroy(&pm->lock);
}

static void update_interrupt(struct pm *pm)
{
	bool level = pm->status & pm->enable;

	if (level == pm->interrupt_level)
		return;
	pm->interrupt_level = level;
	pm->ops->interrupt(pm->ops->owner, level);
}

void pm_reset(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status = pm->enable = pm->control = 0;
	update_interrupt(pm);
	pthread_mutex_unlock(&pm->lock);
}

uint8_t pm_read(void *owner, uint16_t offset)
{
	struct pm *pm = owner;
	uint16_t value = 0;

	pthread_mutex_lock(&pm->lock);
	if (offset < 2)
		value = pm->status;
	else if (offset < 4)
		value = pm->enable;
	else if (offset < 6)
		/* There is no legacy mode to leave: ACPI owns the hardware from the start. */
		value = pm->control | CONTROL_SCI_ENABLE;
	pthread_mutex_unlock(&pm->lock);
	return (uint8_t)(offset & 1 ? value >> 8 : value);
}

static bool is_power_off(uint16_t control)
{
	uint32_t type = (control & CONTROL_SLEEP_TYPE) >> CONTROL_SLEEP_TYPE_SHIFT;

	return type == PM_SLEEP_TYPE_S4 || type == PM_SLEEP_TYPE_S5;
}

void pm_write(void *owner, uint16_t offset, uint8_t byte)
{
	struct pm *pm = owner;
	uint16_t value = offset & 1 ? (uint16_t)(byte << 8) : byte;
	uint16_t kept = offset & 1 ? 0x00ff : 0xff00;
	bool off = false;

	pthread_mutex_lock(&pm->lock);
	if (offset < 2) {
		pm->status &= (uint16_t)~value;
	} else if (offset < 4) {
		pm->enable = (pm->enable & kept) | value;
	} else if (offset < 6) {
		off = (value & CONTROL_SLEEP_ENABLE) && is_power_off(value);
		pm->control = ((pm->control & kept) | value) & (uint16_t)~CONTROL_SLEEP_ENABLE;
	}
	update_interrupt(pm);
	pthread_mutex_unlock(&pm->lock);
	if (off)
		pm->ops->power_off(pm->ops->owner);
}

void pm_power_button(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= STATUS_POWER_BUTTON;
	update_interrupt(pm);
	pthread_mutex_unlock(&pm->lock);
}
