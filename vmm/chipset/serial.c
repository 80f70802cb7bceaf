// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A 16550A serial port. Every byte written is gone to the output buffer at once, so the transmitter
 * is empty as long as that has room for a full FIFO. The input buffer is the receiver's FIFO.
 *
 * All registers are under the lock. The reader of the output owns output_tail; it publishes under
 * the lock as well, but reads the bytes without it, since the writer never touches what is filled.
 *
 * Source: National Semiconductor PC16550D data sheet; [linux 6.1 include/uapi/linux/serial_reg.h].
 */
#include "vmm/chipset/serial.h"

#include <string.h>

enum { /* registers; with DLAB set 0 and 1 are the divisor */
	REG_DATA = 0,
	REG_INTERRUPT_ENABLE = 1,
	REG_INTERRUPT_ID = 2, /* FIFO control when written */
	REG_LINE_CONTROL = 3,
	REG_MODEM_CONTROL = 4,
	REG_LINE_STATUS = 5,
	REG_MODEM_STATUS = 6,
	REG_SCRATCH = 7,
};

#define IER_RECEIVED 0x01u
#define IER_TRANSMITTER 0x02u
#define IER_LINE_STATUS 0x04u
#define IER_ALL 0x0fu

#define IIR_NONE 0x01u
#define IIR_TRANSMITTER 0x02u
#define IIR_RECEIVED 0x04u
#define IIR_LINE_STATUS 0x06u
#define IIR_FIFOS 0xc0u

#define FCR_ENABLE 0x01u
#define FCR_CLEAR_INPUT 0x02u

#define LCR_DIVISOR 0x80u

#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_ALL 0x1fu

#define LSR_DATA 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_HOLDING_EMPTY 0x20u
#define LSR_EMPTY 0x40u

#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RING 0x40u
#define MSR_CARRIER 0x80u

#define FIFO_BYTES 16u
#define DIVISOR_DEFAULT 12u /* 9600 */

static uint32_t output_room(const struct serial *serial)
{
	return SERIAL_OUTPUT_BYTES - (serial->output_head - serial->output_tail);
}

static bool input_there(const struct serial *serial)
{
	return serial->input_head != serial->input_tail;
}

static uint8_t interrupt_id(const struct serial *serial)
{
	if ((serial->interrupt_enable & IER_LINE_STATUS) && serial->overrun)
		return IIR_LINE_STATUS;
	if ((serial->interrupt_enable & IER_RECEIVED) && input_there(serial))
		return IIR_RECEIVED;
	if ((serial->interrupt_enable & IER_TRANSMITTER) && serial->transmitter_interrupt)
		return IIR_TRANSMITTER;
	return IIR_NONE;
}

static void update_interrupt(struct serial *serial)
{
	bool level = interrupt_id(serial) != IIR_NONE;

	if (level == serial->interrupt_level)
		return;
	serial->interrupt_level = level;
	serial->ops->interrupt(serial->ops->owner, level);
}

static void reset_registers(struct serial *serial)
{
	serial->interrupt_enable = 0;
	serial->fifo_control = 0;
	serial->line_control = 0;
	serial->modem_control = 0;
	serial->scratch = 0;
	serial->divisor = DIVISOR_DEFAULT;
	serial->transmitter_interrupt = false;
	serial->overrun = false;
	serial->input_tail = serial->input_head;
}

void serial_init(struct serial *serial, const struct serial_ops *ops)
{
	memset(serial, 0, sizeof(*serial));
	serial->ops = ops;
	pthread_mutex_init(&serial->lock, NULL);
	reset_registers(serial);
}

void serial_fini(struct serial *serial)
{
	pthread_mutex_destroy(&serial->lock);
}

void serial_reset(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	reset_registers(serial);
	update_interrupt(serial);
	pthread_mutex_unlock(&serial->lock);
}

static void put_input(struct serial *serial, uint8_t byte)
{
	serial->input[serial->input_head++ % SERIAL_INPUT_BYTES] = byte;
}

static void write_data(struct serial *serial, uint8_t byte)
{
	if (serial->modem_control & MCR_LOOP) {
		if (serial->input_head - serial->input_tail < FIFO_BYTES)
			put_input(serial, byte);
		else
			serial->overrun = true;
	} else if (output_room(serial)) {
		serial->output[serial->output_head % SERIAL_OUTPUT_BYTES] = byte;
		/* Pairs with the acquire in serial_output_peek(). */
		__atomic_store_n(&serial->output_head, serial->output_head + 1, __ATOMIC_RELEASE);
		if (serial->output_head - serial->output_tail == 1)
			serial->ops->output_waiting(serial->ops->owner);
	}
	serial->transmitter_interrupt = output_room(serial) >= FIFO_BYTES;
}

static uint8_t read_data(struct serial *serial)
{
	uint8_t byte = 0;

	if (input_there(serial))
		byte = serial->input[serial->input_tail++ % SERIAL_INPUT_BYTES];
	if (!input_there(serial) && serial->input_short) {
		serial->input_short = false;
		serial->ops->input_room(serial->ops->owner);
	}
	return byte;
}

static uint8_t line_status(const struct serial *serial)
{
	uint8_t status = 0;

	if (input_there(serial))
		status |= LSR_DATA;
	if (serial->overrun)
		status |= LSR_OVERRUN;
	if (output_room(serial) >= FIFO_BYTES)
		status |= LSR_HOLDING_EMPTY | LSR_EMPTY;
	return status;
}

/* In loopback the modem's outputs are its inputs; else a modem is there, always ready. */
static uint8_t modem_status(const struct serial *serial)
{
	uint8_t control = serial->modem_control, status = 0;

	if (!(control & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_CARRIER;
	if (control & MCR_RTS)
		status |= MSR_CTS;
	if (control & MCR_DTR)
		status |= MSR_DSR;
	if (control & MCR_OUT1)
		status |= MSR_RING;
	if (control & MCR_OUT2)
		status |= MSR_CARRIER;
	return status;
}

static uint8_t read_interrupt_id(struct serial *serial)
{
	uint8_t id = interrupt_id(serial);

	if (id == IIR_TRANSMITTER)
		serial->transmitter_interrupt = false;
	return id | (serial->fifo_control & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_register(struct serial *serial, uint16_t offset)
{
	bool divisor = serial->line_control & LCR_DIVISOR;
	uint8_t value;

	switch (offset) {
	case REG_DATA:
		return divisor ? (uint8_t)serial->divisor : read_data(serial);
	case REG_INTERRUPT_ENABLE:
		return divisor ? (uint8_t)(serial->divisor >> 8) : serial->interrupt_enable;
	case REG_INTERRUPT_ID:
		return read_interrupt_id(serial);
	case REG_LINE_CONTROL:
		return serial->line_control;
	case REG_MODEM_CONTROL:
		return serial->modem_control;
	case REG_LINE_STATUS:
		value = line_status(serial);
		serial->overrun = false;
		return value;
	case REG_MODEM_STATUS:
		return modem_status(serial);
	case REG_SCRATCH:
		return serial->scratch;
	default:
		return 0xff;
	}
}

uint8_t serial_read(void *owner, uint16_t offset)
{
	struct serial *serial = owner;
	uint8_t value;

	pthread_mutex_lock(&serial->lock);
	value = read_register(serial, offset);
	update_interrupt(serial);
	pthread_mutex_unlock(&serial->lock);
	return value;
}

static void write_interrupt_enable(struct serial *serial, uint8_t value)
{
	uint8_t fresh = value & (uint8_t)~serial->interrupt_enable;

	serial->interrupt_enable = value & IER_ALL;
	if ((fresh & IER_TRANSMITTER) && output_room(serial) >= FIFO_BYTES)
		serial->transmitter_interrupt = true;
}

static void write_register(struct serial *serial, uint16_t offset, uint8_t value)
{
	bool divisor = serial->line_control & LCR_DIVISOR;

	switch (offset) {
	case REG_DATA:
		if (divisor)
			serial->divisor = (uint16_t)((serial->divisor & 0xff00) | value);
		else
			write_data(serial, value);
		break;
	case REG_INTERRUPT_ENABLE:
		if (divisor)
			serial->divisor = (uint16_t)((serial->divisor & 0x00ff) | value << 8);
		else
			write_interrupt_enable(serial, value);
		break;
	case REG_INTERRUPT_ID:
		/* Turning the FIFO on or off empties it. What the terminal sent before stays. */
		if (value & FCR_CLEAR_INPUT && serial->modem_control & MCR_LOOP)
			serial->input_tail = serial->input_head;
		serial->fifo_control = value;
		break;
	case REG_LINE_CONTROL:
		serial->line_control = value;
		break;
	case REG_MODEM_CONTROL:
		serial->modem_control = value & MCR_ALL;
		break;
	case REG_SCRATCH:
		serial->scratch = value;
		break;
	default:
		break;
	}
}

void serial_write(void *owner, uint16_t offset, uint8_t value)
{
	struct serial *serial = owner;

	pthread_mutex_lock(&serial->lock);
	write_register(serial, offset, value);
	update_interrupt(serial);
	pthread_mutex_unlock(&serial->lock);
}

size_t serial_input(struct serial *serial, const void *data, size_t bytes)
{
	const uint8_t *from = data;
	size_t taken = 0;

	pthread_mutex_lock(&serial->lock);
	while (taken < bytes && serial->input_head - serial->input_tail < SERIAL_INPUT_BYTES)
		put_input(serial, from[taken++]);
	serial->input_short = taken < bytes;
	update_interrupt(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

size_t serial_output_peek(struct serial *serial, const uint8_t **out_data)
{
	/* Pairs with the release in write_data(). */
	uint32_t head = __atomic_load_n(&serial->output_head, __ATOMIC_ACQUIRE);
	uint32_t at = serial->output_tail % SERIAL_OUTPUT_BYTES;
	uint32_t bytes = head - serial->output_tail;

	*out_data = serial->output + at;
	return bytes < SERIAL_OUTPUT_BYTES - at ? bytes : SERIAL_OUTPUT_BYTES - at;
}

void serial_output_take(struct serial *serial, size_t bytes)
{
	bool was_full;

	pthread_mutex_lock(&serial->lock);
	was_full = output_room(serial) < FIFO_BYTES;
	serial->output_tail += (uint32_t)bytes;
	if (was_full && output_room(serial) >= FIFO_BYTES)
		serial->transmitter_interrupt = true;
	update_interrupt(serial);
	pthread_mutex_unlock(&serial->lock);
}
