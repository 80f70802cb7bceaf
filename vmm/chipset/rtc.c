// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The CMOS clock. Time is read from the host when the guest asks, so there is no update in progress
 * to be seen: a guest that waits for the bit sees it never set. A guest may set the clock; it keeps
 * the difference until the VMM ends.
 *
 * Source: Motorola MC146818A data sheet; the century's byte from ACPI 6.4, 5.2.9 (FADT, CENTURY).
 */
#include "vmm/chipset/rtc.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

enum {
	RTC_SECONDS = 0x00,
	RTC_MINUTES = 0x02,
	RTC_HOURS = 0x04,
	RTC_WEEKDAY = 0x06,
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_STATUS_A = 0x0a,
	RTC_STATUS_B = 0x0b,
	RTC_STATUS_C = 0x0c,
	RTC_STATUS_D = 0x0d,
	RTC_CENTURY = 0x32,
};

#define STATUS_A_DEFAULT 0x26u  /* 32768 Hz, 1024 Hz */
#define STATUS_A_UPDATING 0x80u
#define STATUS_B_HOURS_24 0x02u
#define STATUS_B_BINARY 0x04u
#define STATUS_B_SET 0x80u
#define STATUS_D_VALID 0x80u
#define HOUR_PM 0x80u

static uint64_t host_now_s(void)
{
	return (uint64_t)time(NULL);
}

void rtc_init(struct rtc *rtc, uint64_t (*now_s)(void))
{
	memset(rtc, 0, sizeof(*rtc));
	pthread_mutex_init(&rtc->lock, NULL);
	rtc->now_s = now_s ? now_s : host_now_s;
	rtc->memory[RTC_STATUS_A] = STATUS_A_DEFAULT;
	rtc->memory[RTC_STATUS_B] = STATUS_B_HOURS_24;
}

void rtc_fini(struct rtc *rtc)
{
	pthread_mutex_destroy(&rtc->lock);
}

static bool is_time(uint8_t index)
{
	switch (index) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		return true;
	default:
		return false;
	}
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	if (rtc->memory[RTC_STATUS_B] & STATUS_B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->memory[RTC_STATUS_B] & STATUS_B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->memory[RTC_STATUS_B] & STATUS_B_HOURS_24)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	int hour;

	if (rtc->memory[RTC_STATUS_B] & STATUS_B_HOURS_24)
		return decode(rtc, value);
	hour = decode(rtc, value & (uint8_t)~HOUR_PM) % 12;
	return value & HOUR_PM ? hour + 12 : hour;
}

/* Put the time of now into the registers. */
static void latch(struct rtc *rtc)
{
	time_t now = (time_t)((int64_t)rtc->now_s() + rtc->offset_s);
	struct tm tm;

	if (!gmtime_r(&now, &tm))
		return;
	rtc->memory[RTC_SECONDS] = encode(rtc, tm.tm_sec < 60 ? tm.tm_sec : 59);
	rtc->memory[RTC_MINUTES] = encode(rtc, tm.tm_min);
	rtc->memory[RTC_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->memory[RTC_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->memory[RTC_DAY] = encode(rtc, tm.tm_mday);
	rtc->memory[RTC_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->memory[RTC_YEAR] = encode(rtc, tm.tm_year % 100);
	rtc->memory[RTC_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100);
}

/* The guest wrote a time register: from now on its clock shows that. */
static void adopt(struct rtc *rtc)
{
	const uint8_t *memory = rtc->memory;
	struct tm tm = {
		.tm_sec = decode(rtc, memory[RTC_SECONDS]),
		.tm_min = decode(rtc, memory[RTC_MINUTES]),
		.tm_hour = decode_hour(rtc, memory[RTC_HOURS]),
		.tm_mday = decode(rtc, memory[RTC_DAY]),
		.tm_mon = decode(rtc, memory[RTC_MONTH]) - 1,
		.tm_year = decode(rtc, memory[RTC_CENTURY]) * 100 + decode(rtc, memory[RTC_YEAR]) -
			   1900,
	};

	rtc->offset_s = (int64_t)timegm(&tm) - (int64_t)rtc->now_s();
}

static uint8_t read_data(struct rtc *rtc)
{
	uint8_t index = rtc->index;

	if (is_time(index) && !(rtc->memory[RTC_STATUS_B] & STATUS_B_SET))
		latch(rtc);
	switch (index) {
	case RTC_STATUS_A:
		return rtc->memory[index] & (uint8_t)~STATUS_A_UPDATING;
	case RTC_STATUS_C:
		return 0;
	case RTC_STATUS_D:
		return STATUS_D_VALID;
	default:
		return rtc->memory[index];
	}
}

static void write_data(struct rtc *rtc, uint8_t value)
{
	uint8_t index = rtc->index;
	bool was_set = rtc->memory[RTC_STATUS_B] & STATUS_B_SET;

	if (index == RTC_STATUS_B) {
		/* A format change or a halt must not garble the time: have it in the registers. */
		if (!was_set && (value & STATUS_B_SET))
			latch(rtc);
		rtc->memory[index] = value;
		if (was_set && !(value & STATUS_B_SET))
			adopt(rtc);
		return;
	}
	if (index == RTC_STATUS_C || index == RTC_STATUS_D)
		return;
	if (is_time(index) && !was_set)
		latch(rtc);
	rtc->memory[index] = value;
	if (is_time(index) && !was_set)
		adopt(rtc);
}

uint8_t rtc_read(void *owner, uint16_t offset)
{
	struct rtc *rtc = owner;
	uint8_t value;

	pthread_mutex_lock(&rtc->lock);
	value = offset ? read_data(rtc) : 0xff;
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

void rtc_write(void *owner, uint16_t offset, uint8_t value)
{
	struct rtc *rtc = owner;

	pthread_mutex_lock(&rtc->lock);
	if (offset)
		write_data(rtc, value);
	else
		/* Bit 7 masks NMIs; here they cannot be masked. */
		rtc->index = value & (RTC_BYTES - 1);
	pthread_mutex_unlock(&rtc->lock);
}
