// SPDX-License-Identifier: GPL-2.0-only
/*
 * The port's log line, error numbers, and what the module lends other modules of the portable core:
 * the rings and packets that every driver uses.
 */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/printk.h>

#include "linux/vmbus/bus.h"

void os_log(enum os_log_level level, const char *format, ...)
{
	static const char *const levels[] = {
		[OS_LOG_ERROR] = KERN_ERR,
		[OS_LOG_WARNING] = KERN_WARNING,
		[OS_LOG_INFO] = KERN_INFO,
		[OS_LOG_DEBUG] = KERN_DEBUG,
	};
	struct va_format text;
	va_list arguments;

	va_start(arguments, format);
	text.fmt = format;
	text.va = &arguments;
	printk("%s%pV\n", levels[level], &text);
	va_end(arguments);
}
EXPORT_SYMBOL_GPL(os_log);

int lis_errno(int error)
{
	switch (-error) {
	case 0:
		return 0;
#define LIS_ERRNO_CASE(code, number, text, posix) \
	case code: \
		return -posix;
	LIS_ERRORS(LIS_ERRNO_CASE)
#undef LIS_ERRNO_CASE
	}
	return -EIO;
}
EXPORT_SYMBOL_GPL(lis_errno);

EXPORT_SYMBOL_GPL(vmbus_ring_read);
EXPORT_SYMBOL_GPL(vmbus_ring_reader_publish);
EXPORT_SYMBOL_GPL(vmbus_ring_reader_mask);
EXPORT_SYMBOL_GPL(vmbus_ring_reader_unmask);
EXPORT_SYMBOL_GPL(vmbus_ring_reader_ready);
EXPORT_SYMBOL_GPL(vmbus_ring_reserve);
EXPORT_SYMBOL_GPL(vmbus_ring_commit);
EXPORT_SYMBOL_GPL(vmbus_ring_write);
EXPORT_SYMBOL_GPL(vmbus_ring_writer_expose);
EXPORT_SYMBOL_GPL(vmbus_ring_writer_publish);
EXPORT_SYMBOL_GPL(vmbus_ring_writer_has_room);
EXPORT_SYMBOL_GPL(vmbus_ring_writer_free_bytes);
EXPORT_SYMBOL_GPL(vmbus_packet_parse);
EXPORT_SYMBOL_GPL(vmbus_packet_next_gpa_run);
EXPORT_SYMBOL_GPL(vmbus_packet_next_transfer);
EXPORT_SYMBOL_GPL(vmbus_gpa_head_begin);
EXPORT_SYMBOL_GPL(vmbus_gpa_head_add);
