/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A virtual machine on KVM that looks like Hyper-V to its guest: memory, virtual processors,
 * Hyper-V's interface, ACPI, direct boot of a Linux kernel, a serial console. It carries no VMBus:
 * hand machine_partition() to vmbus_host_create().
 *
 * Threads: one for each virtual processor, private to the machine. Everything else belongs to the
 * loop in the configuration; all functions here are for that loop's thread (or before it runs), and
 * all callbacks come on it.
 */
#ifndef OPENLIS_VMM_MACHINE_H
#define OPENLIS_VMM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"
#include "vmbus/error.h"
#include "vmbus/partition.h"

struct machine;

#define MACHINE_CPUS_MAX 240u      /* [policy] APIC ids stay below 255 */
#define MACHINE_ERROR_BYTES 512u   /* one line for the user, without its newline */
#define MACHINE_CRASH_MESSAGE_BYTES_MAX 4096u

/* How the processors look to the guest; the product is the number of CPUs. 0: as the host's are. */
struct machine_topology {
	uint32_t sockets;
	uint32_t cores_per_socket;
	uint32_t threads_per_core;
};

enum machine_state {
	MACHINE_STOPPED, /* ready to start; also after power-off, a reset request and machine_stop()
			  */
	MACHINE_RUNNING,
	MACHINE_PAUSED,
};

enum machine_event_type {
	/* The guest switched itself off. The machine is stopped. */
	MACHINE_EVENT_POWERED_OFF,
	/*
	 * The guest asked for a reset (or ended in a triple fault). The machine is stopped. To go
	 * on: vmbus_host_reset(), then machine_reset(), then machine_start().
	 */
	MACHINE_EVENT_RESET,
	/*
	 * The guest wrote its crash registers: event.crash. It runs on: what follows is its affair.
	 * At most 16 for each start; status counts them all.
	 */
	MACHINE_EVENT_CRASHED,
	/* KVM could not go on; registers are in the log, the reason in event.error. Stopped. */
	MACHINE_EVENT_FAILED,
};

/* What a guest leaves when it dies. Source: [tlfs 2.4] HV_X64_MSR_CRASH_* */
struct machine_crash {
	uint32_t vp;
	uint64_t parameters[5];
	uint64_t control;
	const char *message; /* the guest's own text, any bytes, not terminated; "" where it gave
				none */
	size_t message_bytes;
};

struct machine_event {
	enum machine_event_type type;
	bool triple_fault;          /* MACHINE_EVENT_RESET: it was not asked for */
	struct machine_crash crash; /* MACHINE_EVENT_CRASHED; valid during the callback */
	const char *error;          /* MACHINE_EVENT_FAILED */
};

/* The other end of the first serial port. */
struct machine_console {
	/**
	 * @output: bytes from the guest, in batches. Returns how many were taken; after less than
	 * all, the rest waits (and the guest with it) until machine_console_output_ready(). NULL:
	 * output is dropped.
	 */
	size_t (*output)(void *owner, const void *data, size_t bytes);
	/** @input_ready: there is room again after a short machine_console_input(). May be NULL. */
	void (*input_ready)(void *owner);
	void *owner;
};

struct machine_config {
	struct io_loop *loop;            /* owns the machine */
	uint64_t memory_bytes;           /* whole MiB */
	bool huge_pages;                 /* as far as they can be had: see memory_make_huge() */
	uint32_t cpus;
	struct machine_topology topology;
	const char *kernel_path;         /* bzImage or vmlinux; paths are copied */
	const char *initrd_path;         /* NULL: none */
	const char *cmdline;             /* NULL: none */
	struct machine_console console;
	bool knows_sleep;                /* partition_ops.is_asleep() can tell; a descriptor for each processor */
	/** @event: called once for each event, never from inside a function of this header. */
	void (*event)(void *owner, const struct machine_event *event);
	void *owner;
};

/**
 * machine_create() - Make a machine: memory, processors, kernel loaded, ready to start.
 * @config: copied
 * @out_machine: set on success only
 * @error: on failure, one line that says what is wrong and what to do about it
 *
 * Return: 0, -LIS_INVALID (configuration), -LIS_NOTFOUND, -LIS_DENIED (a file, /dev/kvm),
 * -LIS_FORMAT (not a kernel), -LIS_NOMEM, -LIS_UNSUPPORTED (this KVM cannot do it), -LIS_IO.
 */
int machine_create(const struct machine_config *config, struct machine **out_machine,
		   char error[MACHINE_ERROR_BYTES]) LIS_MUST_USE;

/** machine_destroy() - Stop and free. The bus on its partition must be gone. NULL is fine. */
void machine_destroy(struct machine *machine);

/** machine_partition() - The guest as host ends see it; lives as long as the machine. */
struct partition *machine_partition(struct machine *machine);

/** machine_state() - What it is doing now. */
enum machine_state machine_state(const struct machine *machine);

/** machine_start() - Let a stopped machine run. Return: 0, -LIS_INVALID (is not), -LIS_NOMEM. */
int machine_start(struct machine *machine) LIS_MUST_USE;

/**
 * machine_pause() - Stop all processors and the guest's clock. They are out when it returns.
 * Return: 0 (also if paused already), -LIS_INVALID (stopped).
 */
int machine_pause(struct machine *machine) LIS_MUST_USE;

/**
 * machine_resume() - Go on where machine_pause() left off; the guest's clock too, so that only time
 * synchronization tells the guest how late it is.
 * Return: 0 (also if running already), -LIS_INVALID (stopped).
 */
int machine_resume(struct machine *machine) LIS_MUST_USE;

/** machine_stop() - Take all processors out, for good until machine_reset(). No event follows. */
void machine_stop(struct machine *machine);

/**
 * machine_reset() - Power-on state for a stopped machine: memory zeroed, kernel loaded anew.
 * @error: as machine_create()
 *
 * The bus must have let go of the guest before (vmbus_host_reset(), its done call). Signals bound
 * through the partition stay bound.
 *
 * Return: as machine_create(), and -LIS_INVALID where the machine is not stopped.
 */
int machine_reset(struct machine *machine, char error[MACHINE_ERROR_BYTES]) LIS_MUST_USE;

/**
 * machine_reference_time_100ns() - The partition's reference counter, as the guest would read it
 * now (HV_X64_MSR_TIME_REF_COUNT, the reference TSC page). Time synchronization pairs it with the
 * wall clock.
 */
uint64_t machine_reference_time_100ns(const struct machine *machine);

/** machine_power_button() - Press the power button: ACPI's way to ask for an orderly power-off. */
void machine_power_button(struct machine *machine);

/** machine_nmi() - Send processor 0 an NMI. Return: 0, -LIS_INVALID (stopped). */
int machine_nmi(struct machine *machine) LIS_MUST_USE;

/**
 * machine_console_input() - Type on the serial console.
 * Return: how many bytes were taken; after less than all, wait for input_ready().
 */
size_t machine_console_input(struct machine *machine, const void *data, size_t bytes);

/** machine_console_output_ready() - Output that was refused is welcome now. */
void machine_console_output_ready(struct machine *machine);

/* Counters of one virtual processor, since the machine was made. */
struct machine_vp_counters {
	uint64_t exits;             /* to this process, all kinds */
	uint64_t exits_port;        /* port I/O */
	uint64_t exits_mmio;
	uint64_t exits_hypercall;
	uint64_t exits_synic;       /* SynIC set-up */
	uint64_t exits_other;
	uint64_t messages_in;       /* posted by this VP */
	uint64_t messages_out;      /* delivered to this VP */
	uint64_t messages_waiting;  /* posted by the host, not yet in its slot */
	uint64_t interrupts;        /* raised for events and messages */
};

struct machine_status {
	enum machine_state state;
	uint32_t cpus;
	uint64_t memory_bytes;
	uint64_t resets;
	uint64_t crashes;
};

void machine_status(const struct machine *machine, struct machine_status *out_status);

/** machine_vp_counters() - Return: 0, -LIS_INVALID (no such VP). */
int machine_vp_counters(const struct machine *machine, uint32_t vp,
			struct machine_vp_counters *out_counters) LIS_MUST_USE;

#endif
