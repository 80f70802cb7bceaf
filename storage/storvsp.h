/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The storage VSP: a SCSI controller on VMBus. It carries commands of a guest to SCSI units, data
 * and all without a copy, over one channel for each loop it is given.
 *
 * Threads: create and destroy on the bus loop. LUNs may be added, removed and counted by any thread
 * while the guest uses the controller.
 */
#ifndef OPENLIS_STORAGE_STORVSP_H
#define OPENLIS_STORAGE_STORVSP_H

#include "storage/scsi.h"
#include "storage/storvsc_protocol.h"
#include "vmbus/host.h"

struct storvsp;

/* Addresses a guest can name. Source: [linux 6.1 storvsc_drv.c STORVSC_MAX_*] scans all of them. */
#define STORVSP_PATHS 8u
#define STORVSP_TARGETS 2u
#define STORVSP_LUNS 256u

/* [policy] Largest transfer of one command; told to the guest. */
#define STORVSP_TRANSFER_BYTES_MAX (1u << 20)
/* [policy] Commands under way on one channel; more stay in the ring. */
#define STORVSP_QUEUE_DEPTH 256u

struct storvsp_config {
	const char *name;             /* "scsi0"; copied */
	struct guid instance_id;      /* see storvsp_instance_id() */
	uint16_t sub_channels_max;
	struct io_loop *bus_loop;     /* the host's */
	struct io_loop *const *loops; /* channel i runs on loops[i % loop_count]; at least one */
	size_t loop_count;
	uint32_t queue_depth;         /* 0: STORVSP_QUEUE_DEPTH */
	uint16_t version_max;         /* STORVSC_VERSION_*; 0: the newest */
};

/* Where a unit is attached. */
struct storvsp_address {
	uint8_t path, target, lun;
};

/**
 * storvsp_instance_id() - The instance id of the n-th controller.
 * @index: 0 for the first
 *
 * Those of a generation 2 machine, which guests put into /dev/disk/by-path and by which Azure
 * images tell their disks apart.
 *
 * Source: [azure-vm-utils udev rules] scsi0 to scsi3; counted on behind them [policy].
 *
 * Context: any.
 */
struct guid storvsp_instance_id(uint32_t index);

/**
 * storvsp_create() - Offer a controller without units.
 * @host: the bus
 * @config: copied, the list of loops too
 * @out_storvsp: set on success only
 *
 * Context: bus loop, or before it runs.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (no loop), and what vmbus_host_offer() returns.
 */
int storvsp_create(struct vmbus_host *host, const struct storvsp_config *config,
		   struct storvsp **out_storvsp) LIS_MUST_USE;

/**
 * storvsp_destroy() - Rescind the controller, let everything in flight end, free it. Units stay the
 * caller's.
 * @storvsp: NULL is not fine: nothing would ever call @destroyed
 * @destroyed: called on the bus loop, when @storvsp is gone and no unit is used by it any more
 *
 * Context: bus loop. No other call on @storvsp may come after this one.
 */
void storvsp_destroy(struct storvsp *storvsp, struct io_call *destroyed);

/**
 * storvsp_lun_add() - Attach a unit; the guest is told to look, if it is there already.
 * @storvsp: the controller
 * @address: path below STORVSP_PATHS, target below STORVSP_TARGETS
 * @unit: stays the caller's until it is removed
 *
 * Context: any thread.
 * Return: 0, -LIS_INVALID (address), -LIS_BUSY (taken, or still being removed), -LIS_NOMEM.
 */
int storvsp_lun_add(struct storvsp *storvsp, struct storvsp_address address,
		    struct scsi_unit *unit) LIS_MUST_USE;

/**
 * storvsp_lun_remove() - Detach a unit; the guest is told to look.
 * @storvsp: the controller
 * @address: of the unit
 * @removed: called on the bus loop when no command uses the unit any more
 *
 * Context: any thread.
 * Return: 0, -LIS_NOTFOUND (nothing there; @removed is not called).
 */
int storvsp_lun_remove(struct storvsp *storvsp, struct storvsp_address address,
		       struct io_call *removed) LIS_MUST_USE;

/**
 * storvsp_rescan() - Have the guest look at all disks, as when one came: it finds out what has changed
 * about them.
 *
 * Context: any thread.
 */
void storvsp_rescan(struct storvsp *storvsp);

/**
 * storvsp_each_lun() - Look at all units, in the order of their addresses.
 * @storvsp: the controller
 * @each: called for each; the unit stays attached during the call. Reads scsi_unit_counters().
 * @arg: passed on
 *
 * Context: any thread; @each may not add or remove.
 */
void storvsp_each_lun(struct storvsp *storvsp,
		      void (*each)(void *arg, struct storvsp_address address,
				   struct scsi_unit *unit),
		      void *arg);

struct storvsp_status {
	uint16_t version;        /* STORVSC_VERSION_*; 0: the guest has not agreed on one */
	bool ready;              /* initialization is complete */
	uint32_t channels_open;
	uint64_t commands;       /* taken from the guest */
	uint64_t resets;
	uint64_t starved;        /* times a channel waited for one of its commands to end */
};

/** storvsp_status() - Any thread. */
struct storvsp_status storvsp_status(const struct storvsp *storvsp);

#endif
