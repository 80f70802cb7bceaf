/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * GUIDs as they travel on VMBus: the first three groups little-endian, the last two as written.
 */
#ifndef OPENLIS_VMBUS_GUID_H
#define OPENLIS_VMBUS_GUID_H

#include <stdint.h>

struct guid {
	uint8_t bytes[16];
};

_Static_assert(sizeof(struct guid) == 16, "a GUID is 16 bytes on the wire");

/**
 * GUID() - A GUID constant from its five groups, last two as twelve hex digits.
 * @a: first group, 32 bit
 * @b: second group, 16 bit
 * @c: third group, 16 bit
 * @d: fourth group, 16 bit
 * @e: fifth group, 48 bit
 *
 * f8615163-df3e-46c5-913f-f2d2f965ed0e is GUID(0xf8615163, 0xdf3e, 0x46c5, 0x913f, 0xf2d2f965ed0e).
 */
#define GUID(a, b, c, d, e) \
	((struct guid){ { GUID_BYTE(a, 0), GUID_BYTE(a, 8), GUID_BYTE(a, 16), GUID_BYTE(a, 24), \
			  GUID_BYTE(b, 0), GUID_BYTE(b, 8), GUID_BYTE(c, 0), GUID_BYTE(c, 8), \
			  GUID_BYTE(d, 8), GUID_BYTE(d, 0), GUID_BYTE(e, 40), GUID_BYTE(e, 32), \
			  GUID_BYTE(e, 24), GUID_BYTE(e, 16), GUID_BYTE(e, 8), GUID_BYTE(e, 0) } })
#define GUID_BYTE(number, shift) ((uint8_t)((uint64_t)(number) >> (shift) & 0xff))

/**
 * guid_compare() - Order two GUIDs by their bytes.
 * @a: one
 * @b: the other
 *
 * Context: any.
 * Return: negative, 0 or positive, as memcmp.
 */
static inline int guid_compare(const struct guid *a, const struct guid *b)
{
	for (int i = 0; i < 16; i++)
		if (a->bytes[i] != b->bytes[i])
			return a->bytes[i] < b->bytes[i] ? -1 : 1;
	return 0;
}

/** GUID_TEXT_BYTES - Room for a GUID as text with its final NUL. */
#define GUID_TEXT_BYTES 37

/**
 * guid_format() - Write a GUID as lower-case text, 8-4-4-4-12.
 * @guid: what to write
 * @out: GUID_TEXT_BYTES bytes, NUL-terminated on return
 *
 * Context: any.
 */
static inline void guid_format(const struct guid *guid, char out[GUID_TEXT_BYTES])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[guid->bytes[order[i]] >> 4];
		*out++ = digits[guid->bytes[order[i]] & 15];
	}
	*out = 0;
}

#endif
