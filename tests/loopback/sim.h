/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A small world of disks for tests: the guest half with a port of its own (sim_guest.c) and the
 * host half with controllers that come and go (sim_host.c), joined by the loopback partition. What
 * happens next, and on which thread, is the test's choice: one thread and simulated time
 * (test_sim.c), or many (test_sim_threads.c).
 *
 * The guest keeps a model of what each disk holds. It checks that every request ends exactly once,
 * that data is right, and that nobody writes to memory which the host has let go of. Any breach
 * ends the process.
 */
#ifndef OPENLIS_TESTS_SIM_H
#define OPENLIS_TESTS_SIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/storvsc.h"
#include "storage/storvsp.h"
#include "vmbus/client.h"
#include "vmbus/loopback.h"

#define SIM_DISKS 3u
#define SIM_SUBS 2u               /* sub-channels of each controller */
#define SIM_VPS 2u
#define SIM_CPUS 4u               /* as storvsc knows them; two share a VP */
/* The host gives out the lowest id that is free. */
#define SIM_CHANNEL_ID_MAX (2 * SIM_DISKS * (1 + SIM_SUBS))
#define SIM_UNITS 128u            /* of each disk, for each VP */
#define SIM_UNIT_BYTES 4096u
#define SIM_UNITS_AT_ONCE 4u      /* in one request */
#define SIM_SLOTS 40u             /* requests of each VP for each disk: more than rings take */
#define SIM_GUESSES 8u
#define SIM_DISK_BYTES (SIM_VPS * SIM_UNITS * SIM_UNIT_BYTES)
#define SIM_SECOND_NS 1000000000ull

#define SIM_CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
				#condition); \
			abort(); \
		} \
	} while (0)

/* What a test shows at its end: else nobody knows whether anything was tested. */
#define SIM_COUNTERS(X) \
	X(connections) X(unloads) X(offers) X(re_offers) X(rescinds) X(opens) X(sub_opens) \
	X(failed_opens) X(closes) X(moves) X(submitted) X(ended) X(good) X(gone) X(timed_out) \
	X(other_ends) X(late_released) X(full) X(failed_allocations)

struct sim_counters {
#define SIM_COUNTER(name) _Atomic uint64_t name;
	SIM_COUNTERS(SIM_COUNTER)
#undef SIM_COUNTER
};

extern struct sim_counters sim_counters;

static inline void sim_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- chance and failing allocations (sim.c) ---- */

struct sim_random {
	uint64_t state;
};

uint32_t sim_chance(struct sim_random *random, uint32_t below);
/* The n-th allocation from now on fails, by malloc() and the guest's of pages; 0: none does. */
void sim_fail_allocation(int n);
bool sim_allocation_fails(void);
void sim_print_counters(void);

/* ---- the host ---- */

/* A disk in memory, used by several loops; answers at once, or a turn later, or when let go. */
struct sim_block {
	struct block_device base;
	pthread_mutex_t lock;
	uint8_t bytes[SIM_DISK_BYTES];
	_Atomic bool defer;
	bool hold; /* one thread only */
	struct block_request *held;
	_Atomic int fail_in; /* the n-th request from now on fails; 0: none */
};

enum sim_controller_state { SIM_ABSENT, SIM_PRESENT, SIM_GOING };

struct sim_controller {
	struct sim_host *world;
	uint32_t index;
	_Atomic enum sim_controller_state state;
	struct storvsp *storvsp;
	struct sim_block block;
	struct scsi_unit *disk;
	struct io_call destroyed, act;
	_Atomic bool acting;
	bool offered_before;
};

struct sim_host {
	struct io_loop *loops[3]; /* the first is the bus' */
	struct partition *partition;
	struct vmbus_host *host;
	struct sim_controller controllers[SIM_DISKS];
};

/* @clock: NULL: real time */
void sim_host_create(struct sim_host *host, uint64_t (*now_ns)(void *clock), void *clock);
/* With no loop running, and all controllers absent. */
void sim_host_destroy(struct sim_host *host);
/* Take a controller away, or bring it back. On the bus loop; sim_host_act() from anywhere. */
void sim_controller_act(struct sim_controller *controller);
void sim_host_act(struct sim_controller *controller);
uint32_t sim_block_release(struct sim_block *block, uint32_t count);
/* What unit @unit of disk @disk holds after write number @version. */
uint32_t sim_word(uint32_t disk, uint32_t unit, uint32_t version);

/* ---- the guest ---- */

/* Of a request; owner: the VP whose slot it is. */
enum sim_io_state {
	SIM_IO_FREE,
	SIM_IO_OUT,      /* until it ends, on any thread */
	SIM_IO_DONE,     /* until its owner looks at it */
	SIM_IO_LATE,     /* ended, but the host may still use its memory */
	SIM_IO_RELEASED, /* as done, after that */
};

struct sim_io {
	struct storvsc_request request; /* first */
	_Atomic enum sim_io_state state;
	struct sim_lane *lane; /* under its lock */
	bool write;
	uint32_t unit, units, version;
	uint64_t pfns[SIM_UNITS_AT_ONCE];
	uint8_t *data;
};

/* What a unit may hold: one version, or one of some where a write had no clear end. */
struct sim_unit {
	uint32_t versions[SIM_GUESSES];
	uint32_t count; /* 0: anything */
	bool busy;
};

struct sim_model {
	struct sim_unit units[SIM_UNITS];
	struct sim_io ios[SIM_SLOTS];
	uint32_t last_version;
};

enum sim_lane_state {
	SIM_LANE_IDLE,
	SIM_LANE_CREATING, /* its GPADL */
	SIM_LANE_OPENING,
	SIM_LANE_OPEN,
	SIM_LANE_CLOSING,
};

/* A channel of a disk, for as long as it is offered. */
struct sim_lane {
	struct vmbus_client_channel core; /* first */
	struct sim_guest *guest;
	struct sim_disk *disk;
	uint32_t index;
	/* The bus' thread. */
	enum sim_lane_state state;
	bool answered, forgotten, moving;
	int error;
	uint32_t cpu, next_cpu, pages;
	uint8_t *ring_memory;
	struct gpa ring_gpa;
	void *data_out, *data_in;
	uint64_t pfns[16];
	struct vmbus_client_gpadl gpadl;
	/* Under @lock. */
	pthread_mutex_t lock;
	bool attached;    /* to storvsc */
	bool room_wanted; /* by somebody who got -LIS_AGAIN */
	struct storvsc_channel storvsc;
	struct vmbus_ring_writer to_host;
	struct vmbus_ring_reader from_host;
	/* Anybody. */
	_Atomic bool broken;  /* to be closed */
	_Atomic bool pending; /* there may be something to receive */
};

struct sim_disk {
	struct sim_guest *guest;
	uint32_t index;
	bool wanted;         /* by the test: open it, and keep it open */
	bool initialized;
	pthread_mutex_t device_lock; /* taken before a lane's */
	_Atomic bool usable; /* READY, and not about to close */
	struct storvsc storvsc;
	struct sim_lane *lanes[1 + SIM_SUBS];
	struct sim_model models[SIM_VPS];
};

struct sim_guest {
	struct loopback_guest *machine;
	struct vmbus_client client;
	struct sim_random *random; /* of the bus' thread */
	bool retry, connected, unloaded, busy_hypervisor;
	_Atomic uint64_t now_ns;
	struct sim_disk disks[SIM_DISKS];
	/* Held for reading by whoever uses lanes, for writing by whoever frees one. */
	pthread_rwlock_t gate;
	_Atomic(struct sim_lane *) by_id[SIM_CHANNEL_ID_MAX + 1];
	int allocations, pages; /* the bus' thread */
	uint32_t lanes;
};

void sim_guest_create(struct sim_guest *guest, struct partition *partition,
		      struct sim_random *random);
/* Unloaded. Everything must have been given back. */
void sim_guest_destroy(struct sim_guest *guest);

/* The bus' thread. */
void sim_guest_connect(struct sim_guest *guest);
void sim_guest_unload(struct sim_guest *guest);
/* Takes one message of the host. Returns false where there is none. */
bool sim_guest_take_message(struct sim_guest *guest);
/* Goes on with whatever waits. Returns true if anything did. */
bool sim_guest_step(struct sim_guest *guest);
void sim_guest_tick(struct sim_guest *guest);
void sim_guest_move(struct sim_guest *guest, struct sim_random *random);
/* Is everything as the test wants it, with nothing under way? */
bool sim_guest_settled(const struct sim_guest *guest);

/* One thread for each VP. */
void sim_vp_take_flags(struct sim_guest *guest, uint32_t vp);
/* Receives on lanes that were flagged. @budget: packets at once. Returns true if any is left. */
bool sim_vp_receive(struct sim_guest *guest, uint32_t vp, uint32_t budget);
void sim_vp_submit(struct sim_guest *guest, uint32_t vp, struct sim_random *random);
/* Checks what ended. */
void sim_vp_collect(struct sim_guest *guest, uint32_t vp);
/* No request is on its way. */
bool sim_vp_idle(const struct sim_guest *guest, uint32_t vp);

#endif
