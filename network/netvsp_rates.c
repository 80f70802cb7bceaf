/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How fast frames go through the network VSP's card: once a second its counters are looked at, from the
 * bus loop, so that nothing is done for a frame.
 */
#include "network/netvsp_private.h"

#define PERIOD_NS 1000000000ull
#define NS_PER_US 1000u
#define US_PER_SECOND 1000000u

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static void measure(struct netvsp_rate *rate, const _Atomic uint64_t *counter, uint64_t us)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(&rate->per_second, (now - rate->last) * US_PER_SECOND / us,
			      memory_order_relaxed);
	rate->last = now;
}

static void look(struct io_timer *timer)
{
	struct netvsp_rates *rates = container_of(timer, struct netvsp_rates, timer);
	struct netvsp *netvsp = container_of(rates, struct netvsp, rates);
	uint64_t now_ns = io_loop_now_ns(netvsp->bus_loop), us = (now_ns - rates->last_ns) / NS_PER_US;

	if (us) {
		measure(&rates->packets_received, &netvsp->packets_received, us);
		measure(&rates->bytes_received, &netvsp->bytes_received, us);
		measure(&rates->packets_sent, &netvsp->packets_sent, us);
		measure(&rates->bytes_sent, &netvsp->bytes_sent, us);
		rates->last_ns = now_ns;
	}
	io_timer_set(&rates->timer, netvsp->bus_loop, now_ns + PERIOD_NS);
}

void netvsp_rates_start(struct netvsp *netvsp)
{
	struct netvsp_rates *rates = &netvsp->rates;

	rates->timer.expired = look;
	rates->last_ns = io_loop_now_ns(netvsp->bus_loop);
	io_timer_set(&rates->timer, netvsp->bus_loop, rates->last_ns + PERIOD_NS);
}

void netvsp_rates_stop(struct netvsp *netvsp)
{
	io_timer_cancel(&netvsp->rates.timer);
}
