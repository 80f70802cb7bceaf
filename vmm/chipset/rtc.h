/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The CMOS clock: the host's time in UTC, and memory. No alarms, no interrupts. */
#ifndef OPENLIS_VMM_CHIPSET_RTC_H
#define OPENLIS_VMM_CHIPSET_RTC_H

#include <pthread.h>
#include <stdint.h>

#define RTC_PORT 0x70u
#define RTC_PORTS 2u
#define RTC_BYTES 128u

struct rtc {
	pthread_mutex_t lock;
	uint8_t index;
	uint8_t memory[RTC_BYTES];
	uint64_t (*now_s)(void); /* seconds since 1970 */
	int64_t offset_s;        /* what the guest set the clock to, relative to now */
};

/** rtc_init() - @now_s: NULL for the host's clock. */
void rtc_init(struct rtc *rtc, uint64_t (*now_s)(void));
void rtc_fini(struct rtc *rtc);
/** rtc_read(), rtc_write() - The guest's access to 0x70 (index) and 0x71 (data). Any thread. */
uint8_t rtc_read(void *rtc, uint16_t offset);
void rtc_write(void *rtc, uint16_t offset, uint8_t value);

#endif
