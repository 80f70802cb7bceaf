/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A 16550A serial port. Its transmitter is as fast as the buffer behind it is deep, its receiver
 * never overruns: the sender is told how much there is room for.
 */
#ifndef OPENLIS_VMM_CHIPSET_SERIAL_H
#define OPENLIS_VMM_CHIPSET_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_COM1_PORT 0x3f8u
#define SERIAL_COM1_IRQ 4u
#define SERIAL_PORTS 8u

#define SERIAL_OUTPUT_BYTES 16384u /* [policy] powers of two */
#define SERIAL_INPUT_BYTES 1024u

struct serial_ops {
	/** @interrupt: set the interrupt line. Called with the port's lock held. */
	void (*interrupt)(void *owner, bool level);
	/** @output_waiting: there is output where there was none. Any thread; lock held. */
	void (*output_waiting)(void *owner);
	/** @input_room: all input is taken, after serial_input() was short. As above. */
	void (*input_room)(void *owner);
	void *owner;
};

struct serial {
	const struct serial_ops *ops;
	pthread_mutex_t lock;
	uint8_t interrupt_enable, fifo_control, line_control, modem_control, scratch;
	uint16_t divisor;
	bool transmitter_interrupt; /* raised, not yet seen by the guest */
	bool overrun;               /* in loopback only */
	bool interrupt_level;
	bool input_short;
	uint32_t output_head, output_tail; /* free running */
	uint32_t input_head, input_tail;
	uint8_t output[SERIAL_OUTPUT_BYTES];
	uint8_t input[SERIAL_INPUT_BYTES];
};

void serial_init(struct serial *serial, const struct serial_ops *ops);
void serial_fini(struct serial *serial);

/** serial_reset() - Power-on state; output that waits is kept. */
void serial_reset(struct serial *serial);

/** serial_read(), serial_write() - The guest's access to register 0..7. Any thread. */
uint8_t serial_read(void *serial, uint16_t offset);
void serial_write(void *serial, uint16_t offset, uint8_t value);

/** serial_input() - Bytes for the guest. Any thread. Return: how many there was room for. */
size_t serial_input(struct serial *serial, const void *data, size_t bytes);

/**
 * serial_output_peek() - The guest's output, first piece.
 * @out_data: valid until serial_output_take()
 * One thread only. Return: bytes there, 0: none.
 */
size_t serial_output_peek(struct serial *serial, const uint8_t **out_data);

/** serial_output_take() - Drop @bytes of what was peeked. */
void serial_output_take(struct serial *serial, size_t bytes);

#endif
