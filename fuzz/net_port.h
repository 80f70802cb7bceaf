/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A network port whose frames are the input's: what is sent must be what it can do, and make sense; what
 * comes has a number, so that each frame is known. It fails where it is told to.
 */
#ifndef OPENLIS_FUZZ_NET_PORT_H
#define OPENLIS_FUZZ_NET_PORT_H

#include "fuzz/fuzz.h"
#include "network/port.h"

/* The number is here in a frame, where its sender's address would be. */
#define FUZZ_PORT_NUMBER_OFFSET 6u

/** fuzz_port_begin() - A port that is up. @abilities: can_send, and can_receive four bits higher. */
struct net_port *fuzz_port_begin(uint8_t abilities, uint32_t mtu_max);

/** fuzz_port_end() - It must be stopped. */
void fuzz_port_end(void);

/** fuzz_port_comes() - A frame of the input's kind, with offloads that mostly make sense. */
void fuzz_port_comes(struct input *input);

/** fuzz_port_count() - How many have come: the number of the last one. */
uint32_t fuzz_port_count(void);

/** fuzz_port_fails() - From now on send and receive end so; 0: they do not fail. */
void fuzz_port_fails(int send_error, int receive_error);

/** fuzz_port_link() - The link comes or goes. */
void fuzz_port_link(bool up);

#endif
