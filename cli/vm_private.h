/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the files of struct vm share: vm.c (life), vm_drives.c, vm_changes.c and vm_merge.c, vm_nics.c,
 * vm_services.c, vm_control.c (commands), vm_status.c.
 */
#ifndef OPENLIS_CLI_VM_PRIVATE_H
#define OPENLIS_CLI_VM_PRIVATE_H

#include "cli/vm.h"
#include "control/registry.h"
#include "control/server.h"
#include "io/worker.h"
#include "network/netvsp.h"
#include "services/heartbeat_host.h"
#include "services/timesync_host.h"
#include "storage/live_merge.h"
#include "storage/storvsp.h"
#include "vmbus/host.h"

#define VM_WORKERS_MAX 8u  /* [policy] */

enum vm_phase {
	VM_READY,     /* made, never started */
	VM_RUNNING,
	VM_PAUSED,
	VM_RESETTING,
	VM_ENDED,
};

enum vm_service_state {
	VM_SERVICE_OFF,
	VM_SERVICE_ON,
	VM_SERVICE_LEAVING, /* rescinded, not through yet */
};

struct vm_service {
	struct vm *vm;
	enum vm_service_id id;
	enum vm_service_state state;
	bool wanted;
	struct io_call gone;   /* VM_SERVICE_LEAVING */
	struct io_timer retry; /* the guest has not let go of its last instance yet */
};

enum vm_unit_state {
	VM_UNIT_FREE,
	VM_UNIT_OPENING,
	VM_UNIT_OPEN,    /* has its image, and the guest does not see it */
	VM_UNIT_ON,
	VM_UNIT_LEAVING, /* taken from the guest, commands still under way; then closing */
};

/* A drive, by its place on a controller; its place in vm->units is its number, which it keeps. */
struct vm_unit {
	struct vm *vm;
	enum vm_unit_state state;
	char name[12];
	struct vm_drive drive;    /* its own, with its path and its place */
	struct block_device *image; /* until @live has it */
	struct live *live;          /* in front of it, from VM_UNIT_ON on */
	struct scsi_unit *scsi;
	const char *doing;          /* VM_UNIT_ON: what is done to it, as "resized"; NULL: nothing */
	struct live_merge *merge;   /* into its parent, under way */
	struct scsi_reservations *reservations; /* of a disk */
	struct io_call ejected;     /* of a CD drive: its medium has left */
	/* VM_UNIT_OPENING, VM_UNIT_LEAVING: */
	struct io_work work;
	struct io_call removed;
	struct control_request *request; /* to be answered at the end */
	int result;
	char error[VM_ERROR_BYTES];
};

enum vm_card_state {
	VM_CARD_FREE,
	VM_CARD_OPEN,    /* connected, and not offered */
	VM_CARD_ON,
	VM_CARD_LEAVING, /* rescinded, not through yet */
};

/* A network card; its place in vm->cards is its number, which it keeps. */
struct vm_card {
	struct vm *vm;
	enum vm_card_state state;
	char name[8];
	struct vm_nic nic;        /* as it is by now, with its address; without its target */
	struct guid instance_id;  /* stays, also when the address is another */
	struct net_port *port;
	struct netvsp *netvsp;
	/* VM_CARD_LEAVING: */
	struct io_call gone;
	bool comes_back;          /* it goes only to come back as @nic is now */
	struct control_request *request; /* to be answered then; may be NULL */
};

/* The last crash the guest reported. */
struct vm_crash {
	bool any;
	uint64_t at_ns; /* of the loop's clock */
	uint32_t vp;
	uint64_t parameters[5];
	char message[MACHINE_CRASH_MESSAGE_BYTES_MAX + 1]; /* printable ASCII and newlines */
};

struct vm_leaver {
	struct io_call gone;
	struct vm *vm;
};

struct vm_waiter {
	struct control_request *request;
	struct vm_waiter *next;
};

struct vm {
	const struct vm_config *config;
	struct io_loop *loop;
	struct io_loop *io_loops[MACHINE_CPUS_MAX];
	size_t io_loop_count;
	struct io_workers *workers;
	struct registry_claim claim;
	struct machine *machine;
	struct vmbus_host *host;
	struct storvsp *controllers[VM_CONTROLLERS_MAX];
	struct vm_unit units[VM_DRIVES_MAX];
	struct vm_card cards[VM_NICS_MAX];

	struct vm_service services[VM_SERVICE_COUNT];
	struct heartbeat_host *heartbeat;
	struct shutdown_host *shutdown;
	struct timesync_host *timesync;
	struct shutdown_request ask; /* cli_vm_ask_shutdown() */
	bool asking;

	struct control_server *control;
	struct vm_waiter *waiters;

	enum vm_phase phase;
	enum vm_end end;
	uint64_t started_ns;
	struct io_call reset_done;
	struct vm_crash crash;
	struct io_timer crash_settled;
	bool crash_pending;   /* reaction to a crash is due when it is settled */
	bool hold;            /* crashed and to be looked at: no reset before a resume */

	size_t leaving;       /* what was told to go and has not gone yet */
	struct vm_leaver controllers_leaver[VM_CONTROLLERS_MAX];
	struct vm_leaver control_leaver;
};

/** cli_vm_leave() - One more to wait for until it is gone. */
struct io_call *cli_vm_leave(struct vm *vm, struct vm_leaver *leaver);

/* ---- vm_drives.c ---- */

/** cli_vm_drives_open() - Open the images. Return: 0 or the code of what failed. */
int cli_vm_drives_open(struct vm *vm, char *error) LIS_MUST_USE;

/** cli_vm_drives_start() - Offer the controllers, with the drives. Return: 0 or an error of the bus. */
int cli_vm_drives_start(struct vm *vm, char *error) LIS_MUST_USE;

/** cli_vm_drives_stop() - Rescind the controllers; vm->leaving counts them. */
void cli_vm_drives_stop(struct vm *vm);

/** cli_vm_drives_close() - With the loops at rest. What cannot be written any more is logged. */
void cli_vm_drives_close(struct vm *vm);

/*
 * Commands for drives of a running VM. Each answers @request, now or when it is done.
 */

/**
 * cli_vm_drive_add() - A drive with the lowest number that is free; the answer has its name and place.
 * @drive: its path is copied
 */
void cli_vm_drive_add(struct vm *vm, const struct vm_drive *drive, struct control_request *request);

/**
 * cli_vm_drive_remove() - The guest is not asked: what it still writes fails. Answered when all commands
 * that were under way are done and the image is closed.
 */
void cli_vm_drive_remove(struct vm *vm, const char *name, struct control_request *request);

/** cli_vm_drive_insert() - Put an ISO image into an empty CD drive. */
void cli_vm_drive_insert(struct vm *vm, const char *name, const char *path, struct control_request *request);

/**
 * cli_vm_drive_eject() - Take it out again; answered when it has left. A guest that holds it is asked to
 * let go, and the request refused, unless it is by @force.
 */
void cli_vm_drive_eject(struct vm *vm, const char *name, bool force, struct control_request *request);

/** cli_vm_drive_is_disk() - CD drives and devices of the host have no image that could change. Else @request is answered. */
bool cli_vm_drive_is_disk(const struct vm_unit *unit, struct control_request *request);

/** cli_vm_drive_find() - One that is there and not busy; NULL: @request is answered. */
struct vm_unit *cli_vm_drive_find(struct vm *vm, const char *name, struct control_request *request);

/* ---- vm_changes.c ---- */

/**
 * cli_vm_drive_resize() - Another size; the guest is told.
 * @size: as options_parse_size() takes it, or "+" and how much more
 * @shrink: it may be less than now
 */
void cli_vm_drive_resize(struct vm *vm, const char *name, const char *size, bool shrink,
			 struct control_request *request);

/**
 * cli_vm_drive_checkpoint() - Leave the image as it is, and go on in a differencing child.
 * @name: empty for all that are not read-only, at one instant
 * @child: path of the child, with @name only; empty for one beside its parent
 */
void cli_vm_drive_checkpoint(struct vm *vm, const char *name, const char *child,
			     struct control_request *request);

/* ---- vm_merge.c ---- */

/**
 * cli_vm_drive_merge() - Merge the image into its parent, go on on that, and remove the image. Answered at the
 * end, with the parent's path; canceled when whoever asked goes away.
 */
void cli_vm_drive_merge(struct vm *vm, const char *name, struct control_request *request);

/* ---- vm_nics.c ---- */

/** cli_vm_nics_open() - Open what the cards are connected to. Return: 0 or the code of what failed. */
int cli_vm_nics_open(struct vm *vm, char *error) LIS_MUST_USE;

/** cli_vm_nics_start() - Offer the cards. Return: 0 or an error of the bus. */
int cli_vm_nics_start(struct vm *vm, char *error) LIS_MUST_USE;

/** cli_vm_nics_stop() - Rescind them; vm->leaving counts them. */
void cli_vm_nics_stop(struct vm *vm);

/** cli_vm_nics_close() - With the loops at rest. */
void cli_vm_nics_close(struct vm *vm);

/*
 * Commands for cards of a running VM. Each answers @request, now or when it is done.
 */

/** cli_vm_nic_add() - A card with the lowest number that is free; the answer has its name. */
void cli_vm_nic_add(struct vm *vm, const struct vm_nic *nic, struct control_request *request);

/** cli_vm_nic_remove() - Answered when nothing of the card is left on this side. */
void cli_vm_nic_remove(struct vm *vm, const char *name, struct control_request *request);

/** cli_vm_nic_capture() - Begin a capture; the answer has its descriptors, see netvsp_capture(). */
void cli_vm_nic_capture(struct vm *vm, const char *name, uint32_t snap_bytes,
			struct control_request *request);

/**
 * cli_vm_nic_change() - Link and speed are told to the guest's driver. Of another address or MTU no
 * driver can be told: the card goes and comes back, the same to the guest but for that.
 */
void cli_vm_nic_change(struct vm *vm, const char *name, const struct vm_nic *change,
		       struct control_request *request);

/* ---- vm_services.c ---- */

/** cli_vm_services_start() - Offer all but those switched off. Return: 0 or an error of the bus. */
int cli_vm_services_start(struct vm *vm, char *error) LIS_MUST_USE;

/** cli_vm_services_stop() - Rescind all; vm->leaving counts them. */
void cli_vm_services_stop(struct vm *vm);

/** cli_vm_service_want() - Switch one on or off, now or as soon as the guest allows. */
void cli_vm_service_want(struct vm *vm, enum vm_service_id id, bool wanted);

void cli_vm_services_pause(struct vm *vm);
void cli_vm_services_resume(struct vm *vm);

/* ---- vm_control.c ---- */

/** cli_vm_control_handle() - A command from the control socket. @owner: struct vm */
void cli_vm_control_handle(void *owner, struct control_request *request, const char *command,
		       struct json_object *arguments);

/** cli_vm_control_ended() - Tell all who wait for the end. */
void cli_vm_control_ended(struct vm *vm);

/* ---- vm_status.c ---- */

/** cli_vm_status_json() - Everything `lis status` shows. Return: an object, the caller's. */
struct json_object *cli_vm_status_json(struct vm *vm);

/** cli_vm_phase_text() - "running", "paused", ... */
const char *cli_vm_phase_text(enum vm_phase phase);

#endif
