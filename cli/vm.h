/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A virtual machine with everything in it: machine, bus, disks, services, control socket. The one
 * place where the rooms of the house are joined.
 *
 * One loop, run by cli_vm_run() on the calling thread, owns machine, bus, services and control
 * socket; disk channels run on I/O loops of their own. All functions are for that thread.
 */
#ifndef OPENLIS_CLI_VM_H
#define OPENLIS_CLI_VM_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "services/shutdown_host.h"
#include "storage/block.h"
#include "vmm/machine.h"

#define VM_DRIVES_MAX 256u     /* [policy] */
#define VM_CONTROLLERS_MAX 16u /* [policy] Hyper-V itself has 4 */
#define VM_LUNS_MAX 64u        /* on one controller, as Hyper-V */
#define VM_LUN_ANY UINT32_MAX  /* the lowest that is free */
#define VM_ERROR_BYTES 1024    /* one line for the user, without its newline */

struct vm;

enum vm_drive_kind {
	VM_DRIVE_DISK,
	VM_DRIVE_CD,
	VM_DRIVE_PASSTHROUGH, /* a SCSI device of the host */
};

struct vm_drive {
	char *path; /* empty: a CD drive without a medium */
	enum vm_drive_kind kind;
	const char *format; /* "raw", "vhd", "vhdx", NULL: found out */
	bool read_only;
	bool direct;
	uint32_t controller;
	uint32_t lun;
};

enum vm_nic_kind {
	VM_NIC_USER,   /* user-mode NAT */
	VM_NIC_TAP,
	VM_NIC_SWITCH, /* with other VMs of this host */
};

#define VM_NICS_MAX 8u         /* as Hyper-V */
#define VM_FORWARDS_MAX 32u    /* [policy] */
#define VM_ADDRESS_BYTES 46    /* of an IP address as text */

/* Connections to a port of the host go to one of the guest. */
struct vm_forward {
	bool udp;
	char host_address[VM_ADDRESS_BYTES];
	uint16_t host_port;
	char guest_address[VM_ADDRESS_BYTES]; /* empty: the one that DHCP gives first */
	uint16_t guest_port;
};

enum vm_link {
	VM_LINK_ANY, /* not said: of a new card, up */
	VM_LINK_UP,
	VM_LINK_DOWN,
};

#define VM_NIC_MTU_MIN 576u          /* [policy] all that IPv4 promises */
#define VM_NIC_MTU_MAX 65521u
#define VM_NIC_SPEED_MAX 400000u     /* Mbit/s; [policy] RNDIS could tell of a little more */

/* A card as users write it, and changes of one: there, 0 is as it was. */
struct vm_nic {
	enum vm_nic_kind kind;
	char *target;       /* VM_NIC_TAP: interface; VM_NIC_SWITCH: its name */
	bool has_mac;       /* else one is made from the VM's name and the card's number */
	uint8_t mac[6];
	uint32_t channels;  /* 0: as many as the guest has CPUs */
	uint32_t queues;    /* VM_NIC_TAP: 0: 1 */
	enum vm_link link;
	uint32_t mtu;       /* the longest IP packets that the guest may choose; 0: the connection's */
	uint32_t speed_mbps; /* what the guest is told; 0: the connection's */
	uint32_t vlan;      /* not VM_NIC_USER: access port of this VLAN; 0: of none */
	bool restricted;    /* VM_NIC_USER: the guest reaches forwards only */
	struct vm_forward forwards[VM_FORWARDS_MAX];
	size_t forward_count; /* of a change: so many more */
	struct vm_forward removed_forwards[VM_FORWARDS_MAX]; /* of a change only; told by where they are on the host */
	size_t removed_forward_count;
};

enum vm_service_id {
	VM_SERVICE_HEARTBEAT,
	VM_SERVICE_SHUTDOWN,
	VM_SERVICE_TIMESYNC,
	VM_SERVICE_COUNT,
};

/* What to do when the guest crashed or asked for a reset. */
enum vm_reaction {
	VM_STOP,
	VM_RESET,
	VM_PAUSE,
	VM_CONTINUE, /* crash only: let the guest do what it wants, for a crash dump */
};

struct vm_config {
	const char *name;
	const char *kernel_path;
	const char *initrd_path;     /* NULL: none */
	const char *cmdline;         /* NULL: none */
	uint64_t memory_bytes;
	bool huge_pages;
	uint32_t cpus;
	uint32_t io_threads; /* for disks and network cards, at most cpus; 0: as many as the host has CPUs for */
	struct machine_topology topology;
	struct vm_drive drives[VM_DRIVES_MAX];
	size_t drive_count;
	uint32_t controller_count;
	struct vm_nic nics[VM_NICS_MAX];
	size_t nic_count;
	uint32_t vmbus_version_max;  /* 0: newest */
	bool service_off[VM_SERVICE_COUNT];
	enum vm_reaction on_crash;
	enum vm_reaction on_reboot;
	bool start_paused;
	struct machine_console console; /* the other end of the first serial port */
};

/* How it ended. */
enum vm_end {
	VM_END_POWERED_OFF,
	VM_END_REBOOTED, /* and on_reboot says stop */
	VM_END_CRASHED,  /* and on_crash says stop */
	VM_END_KILLED,
	VM_END_FAILED,   /* KVM or a reset failed; the log says why */
};

/**
 * cli_vm_create() - Make a VM that is ready to run: take the name, open the disks, load the kernel.
 * @config: must stay valid while the VM lives
 * @out_vm: set on success only
 * @error: VM_ERROR_BYTES; on failure one line for the user
 *
 * Return: 0 or the code of what failed.
 */
int cli_vm_create(const struct vm_config *config, struct vm **out_vm, char *error) LIS_MUST_USE;

/** cli_vm_run() - Start it and run until it ends. */
enum vm_end cli_vm_run(struct vm *vm);

/** cli_vm_destroy() - Stop and free everything; disks are flushed. NULL is fine. */
void cli_vm_destroy(struct vm *vm);

/** cli_vm_loop() - The loop that owns it, for what else its process has to do. */
struct io_loop *cli_vm_loop(struct vm *vm);

/** cli_vm_machine() - For the console's input. */
struct machine *cli_vm_machine(struct vm *vm);

/** cli_vm_is_paused() */
bool cli_vm_is_paused(const struct vm *vm);

/** cli_vm_pause() - Stop the guest and its clock. Return: 0, -LIS_INVALID (it is being reset or has ended). */
int cli_vm_pause(struct vm *vm) LIS_MUST_USE;

/** cli_vm_resume() - Go on; the guest is told the time. Return: 0, -LIS_INVALID. */
int cli_vm_resume(struct vm *vm) LIS_MUST_USE;

/** cli_vm_reset() - As the reset button. Return: 0, -LIS_BUSY (one is under way). */
int cli_vm_reset(struct vm *vm) LIS_MUST_USE;

/** cli_vm_kill() - End it at once, without asking the guest. */
void cli_vm_kill(struct vm *vm);

/**
 * cli_vm_ask_shutdown() - Have the guest power off: by the shutdown service, or, where no driver in the
 * guest serves that, by the power button. What comes of it is logged.
 */
void cli_vm_ask_shutdown(struct vm *vm);

/** cli_vm_end_text() - In words: "the guest powered off". */
const char *cli_vm_end_text(enum vm_end end);

/* Names of services as users write them. */
const char *cli_vm_service_name(enum vm_service_id id);
/** cli_vm_service_find() - Return: its id, or VM_SERVICE_COUNT if there is none of that name. */
enum vm_service_id cli_vm_service_find(const char *name);

#endif
