/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of storage: a SCSI controller whose commands travel to the host over VMBus
 * channels.
 *
 * Portable and passive: no locks, no threads, no clock, no I/O of its own, memory only when opened.
 * Calls of the port come in; what it must do comes back as bits, STORVSC_EVENT_*. Nothing here
 * calls the port, except for memory and for the page numbers of a command.
 *
 * The port's part, in order:
 *	storvsc_init(), open the device's channel, storvsc_channel_open() with its rings,
 *		storvsc_start();
 *	storvsc_channel_receive() whenever the host signals, until STORVSC_EVENT_READY;
 *	then storvsc_channel_for_cpu(), storvsc_submit(), storvsc_channel_flush() for commands;
 *	sub-channels as the host offers them: open each, storvsc_channel_open(), use it;
 *	at the end close each channel, storvsc_channel_close(), at last storvsc_fini().
 *
 * Who may call what at once. Each channel is one unit: its caller serializes what is done with one
 * channel, and several channels work side by side without a lock between them. The device is
 * another unit: init, fini, opening, closing and moving channels. Until STORVSC_EVENT_READY the
 * primary channel belongs to the device's unit.
 *
 * Each command that storvsc_submit() took ends exactly once: it comes out of storvsc_take_ended()
 * or storvsc_channel_close(), whatever the host does. The struct is the caller's storage and
 * untouched in between, so it can be embedded in the system's own.
 *
 * The host is not trusted: packets are copied out of the ring and checked, ids are looked up in a
 * table and never pointers, lengths are held against what was asked for. What does not fit ends the
 * command with STORVSC_RESULT_CORRUPT, or, where no command can be told, counts and is dropped.
 *
 * Sources: [linux 6.1 drivers/scsi/storvsc_drv.c], [openvmm storvsp/src/lib.rs].
 */
#ifndef OPENLIS_STORAGE_STORVSC_H
#define OPENLIS_STORAGE_STORVSC_H

#include "storage/storvsc_protocol.h"
#include "vmbus/requests.h"
#include "vmbus/ring.h"

/* Addresses to look at for LUNs. Source: [linux 6.1 storvsc_drv.c STORVSC_MAX_*] */
#define STORVSC_PATHS 8u
#define STORVSC_TARGETS 2u
#define STORVSC_LUNS 256u

/* [policy] Primary and sub-channels of one device. */
#define STORVSC_CHANNELS_MAX 128u
/* [policy] Commands in flight on one channel. */
#define STORVSC_QUEUE_DEPTH_MAX (VMBUS_REQUESTS_MAX - 2u)
/* The longest packet a host sends, and some more. */
#define STORVSC_RECEIVE_BYTES 256u

/* What a call asks of the port. */
#define STORVSC_EVENT_SIGNAL 0x001u       /* signal the host on this channel */
#define STORVSC_EVENT_ENDED 0x002u        /* storvsc_take_ended() has something */
#define STORVSC_EVENT_ROOM 0x004u         /* what came back with -LIS_AGAIN is worth a new try */
#define STORVSC_EVENT_MORE 0x008u         /* the budget is used up: call again */
#define STORVSC_EVENT_READY 0x010u        /* set up: look for LUNs */
#define STORVSC_EVENT_FAILED 0x020u       /* set-up failed, see storvsc.error: close the channel */
#define STORVSC_EVENT_RESCAN 0x040u       /* LUNs came or went: look for them */
#define STORVSC_EVENT_SUB_CHANNELS 0x080u /* the host offers storvsc.sub_channels sub-channels */
#define STORVSC_EVENT_RELEASED 0x100u     /* the host let go of memory: storvsc_still_shared() */
#define STORVSC_EVENT_BROKEN 0x200u       /* the channel is of no use any more: close it */

enum storvsc_request_kind {
	STORVSC_COMMAND, /* a SCSI command */
	STORVSC_LUN_RESET,
	STORVSC_BUS_RESET,
	STORVSC_ADAPTER_RESET,
	STORVSC_SETUP_STEP, /* the driver's own */
};

enum storvsc_result {
	STORVSC_RESULT_GOOD,
	STORVSC_RESULT_SCSI_STATUS, /* scsi_status, with sense where sense_bytes is not 0 */
	STORVSC_RESULT_CHANGED,     /* a unit attention: look at the LUN anew, send it again */
	STORVSC_RESULT_NO_LUN,      /* there is no such LUN, or not any more */
	STORVSC_RESULT_BUSY,        /* the host has no room for it now: send it again later */
	STORVSC_RESULT_ABORTED,     /* by a reset: send it again */
	STORVSC_RESULT_FAILED,      /* srb_status and host_status say how */
	STORVSC_RESULT_CORRUPT,     /* the answer broke the protocol */
	STORVSC_RESULT_TIMED_OUT,   /* no answer by its deadline */
	STORVSC_RESULT_GONE,        /* the channel was closed before the answer */
};

enum storvsc_direction {
	STORVSC_NO_DATA,
	STORVSC_FROM_DEVICE,
	STORVSC_TO_DEVICE,
};

/**
 * struct storvsc_request - A command or a reset, in the caller's storage.
 * @kind: enum storvsc_request_kind, not STORVSC_SETUP_STEP
 * @path: below STORVSC_PATHS; bus and adapter resets have no address
 * @target: below STORVSC_TARGETS
 * @lun: of that target
 * @cdb_bytes: 1..16
 * @direction: enum storvsc_direction
 * @cdb: the command
 * @data_offset: where data begins in its first page, below 4096
 * @data_bytes: at most storvsc.transfer_bytes_max; 0 with STORVSC_NO_DATA only
 * @pfns: guest page numbers of the data, which fills all pages between first and last
 * @fill_pfns: instead of @pfns: write @count page numbers to @out_pfns, in order, during
 *	storvsc_submit(). @out_pfns is memory shared with the host: write once, read never.
 * @deadline_ns: when to stop waiting, on the clock of storvsc_channel_on_timer(); 0: never
 *
 * The rest is set when it ends:
 * @result: enum storvsc_result
 * @srb_status: as the host said, where it said anything
 * @scsi_status: likewise
 * @sense_bytes: length of what is in @sense
 * @still_shared: the host may write to the data's memory yet, see storvsc_still_shared()
 * @transferred_bytes: at most @data_bytes; 0 unless GOOD or SCSI_STATUS
 * @host_status: NTSTATUS of the answer
 * @id: for storvsc_still_shared()
 *
 * A request need not be cleared: all of the first part is read, nothing of the second.
 */
struct storvsc_request {
	struct storvsc_request *next; /* in lists of ended requests; the driver's while it has it */
	uint8_t kind;
	uint8_t path;
	uint8_t target;
	uint8_t lun;
	uint8_t cdb_bytes;
	uint8_t direction;
	uint8_t cdb[STORVSC_CDB_BYTES];
	uint32_t data_offset;
	uint32_t data_bytes;
	const uint64_t *pfns;
	void (*fill_pfns)(const struct storvsc_request *request, uint64_t *out_pfns,
			  uint32_t count);
	uint64_t deadline_ns;

	uint8_t result;
	uint8_t srb_status;
	uint8_t scsi_status;
	uint8_t sense_bytes;
	bool still_shared;
	bool reset_tried; /* private */
	uint32_t transferred_bytes;
	uint32_t host_status;
	uint64_t id;
	uint8_t sense[STORVSC_SENSE_BYTES];
};

struct storvsc_config {
	const char *name;            /* for the log; must stay valid */
	/** @alloc: memory, or NULL. Only storvsc_init() and storvsc_channel_open() call it. */
	void *(*alloc)(void *port, size_t bytes);
	/** @release: give back what @alloc gave. May sleep. */
	void (*release)(void *port, void *memory);
	/** @node_of_cpu: memory node of a CPU, or NULL: all are the same. */
	uint32_t (*node_of_cpu)(void *port, uint32_t cpu);
	void *port;
	uint32_t cpu_count;          /* CPUs are 0..cpu_count - 1; at least 1 */
	uint16_t sub_channels_wanted; /* beside the primary; the host may give fewer */
	uint16_t version_max;        /* STORVSC_VERSION_*; 0: the newest */
	uint32_t transfer_bytes_max; /* a multiple of 4096; 0: what the host takes */
	uint64_t setup_timeout_ns;   /* for all steps together, sub-channels too; 0: none */
	/* What a late command gets after a reset of its LUN before it is given up; 0: no reset */
	uint64_t reset_grace_ns;
};

enum storvsc_state {
	STORVSC_CLOSED,
	STORVSC_STARTING,
	STORVSC_AGREEING, /* on a version */
	STORVSC_ASKING,   /* for properties */
	STORVSC_ENDING,
	STORVSC_READY,
	STORVSC_FAILED,
};

struct storvsc_channel;

/**
 * struct storvsc - One controller, in the caller's storage.
 *
 * To be read by anyone once READY: @version, @transfer_bytes_max, @sub_channels. @error after
 * STORVSC_EVENT_FAILED. All else is private.
 */
struct storvsc {
	struct storvsc_config config;
	uint8_t state; /* enum storvsc_state */
	int error;
	uint16_t version;
	uint16_t sub_channels_max; /* as the host said */
	uint16_t sub_channels;     /* asked for */
	uint8_t packet_bytes;      /* of packets in this version */
	uint8_t sense_bytes_max;
	uint32_t transfer_bytes_max;
	uint64_t setup_deadline_ns;
	uint32_t channel_count;
	struct storvsc_channel *channels[STORVSC_CHANNELS_MAX]; /* the primary first */
	struct storvsc_channel **channel_of_cpu;
};

/* Written by the channel's unit, read by anyone for reports. */
struct storvsc_counters {
	uint64_t submitted; /* taken by storvsc_submit() */
	uint64_t ended;
	uint64_t timed_out;
	uint64_t late;       /* answers to what had been given up */
	uint64_t resets;     /* of LUNs, sent for late commands */
	uint64_t full;       /* submits that came back with -LIS_AGAIN */
	uint64_t violations; /* packets that broke the protocol, answers to nothing among them */
};

/* One open channel, in the caller's storage; private but for @counters and @cpu. */
struct storvsc_channel {
	struct storvsc *storvsc;
	struct vmbus_ring_writer *to_host;
	struct vmbus_ring_reader *from_host;
	struct vmbus_requests requests;
	uint32_t cpu;
	bool open, accepting, broken, room_wanted;
	bool lost;            /* closed without the host's consent */
	uint32_t room_bytes;  /* what the last refused packet would have taken */
	uint32_t given_up;    /* slots whose memory the host may still use; its address marks them */
	struct storvsc_request *ended, **ended_end;
	struct storvsc_request own_step;  /* of the set-up */
	struct storvsc_request own_reset; /* of a LUN that is late */
	struct storvsc_counters counters;
	_Alignas(8) uint8_t buffer[STORVSC_RECEIVE_BYTES];
};

struct storvsc_channel_config {
	struct vmbus_ring_writer *to_host;   /* both stay the caller's, and valid until close */
	struct vmbus_ring_reader *from_host;
	uint32_t queue_depth;                /* 1..STORVSC_QUEUE_DEPTH_MAX: requests in flight */
	uint32_t cpu;                        /* where the host's interrupts for this channel go */
};

/**
 * storvsc_init() - Prepare a controller without channels.
 * @storvsc: set, also on failure
 * @config: copied
 *
 * Context: device's unit; sleeps as config->alloc does.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (no CPU, unknown version, odd transfer size).
 */
int storvsc_init(struct storvsc *storvsc, const struct storvsc_config *config) LIS_MUST_USE;

/**
 * storvsc_fini() - Undo storvsc_init().
 * @storvsc: without open channels; one that failed to init is fine
 *
 * Context: device's unit; sleeps as config->release does.
 */
void storvsc_fini(struct storvsc *storvsc);

/**
 * storvsc_channel_open() - Add a channel that the bus has opened; the first is the primary.
 * @storvsc: the controller; for sub-channels, once READY
 * @channel: set; caller's storage until closed
 * @config: copied
 *
 * Context: device's unit; sleeps as config->alloc does.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (queue depth), -LIS_FULL (STORVSC_CHANNELS_MAX), -LIS_GONE (a
 * sub-channel while the controller is not READY).
 */
int storvsc_channel_open(struct storvsc *storvsc, struct storvsc_channel *channel,
			 const struct storvsc_channel_config *config) LIS_MUST_USE;

/**
 * storvsc_channel_stop() - Take no more commands on a channel; those in flight go on.
 * @channel: open or not
 *
 * Context: channel's unit.
 */
void storvsc_channel_stop(struct storvsc_channel *channel);

/**
 * storvsc_channel_close() - The bus has closed a channel, or it was rescinded: end all on it.
 * @channel: open, half opened or closed already; sub-channels go before the primary
 * @still_shared: the host did not confirm that it is done with the channel (its ring's GPADL is not
 *	torn down), so it may still write to the memory of what was in flight
 *
 * Context: device's unit and channel's; sleeps as config->release does.
 * Return: list of all requests that had not ended or not been taken, or NULL.
 */
struct storvsc_request *storvsc_channel_close(struct storvsc_channel *channel,
					      bool still_shared) LIS_MUST_USE;

/**
 * storvsc_channel_set_cpu() - The interrupts of a channel go to another CPU now.
 * @channel: open
 * @cpu: below config.cpu_count
 *
 * Context: device's unit.
 */
void storvsc_channel_set_cpu(struct storvsc_channel *channel, uint32_t cpu);

/**
 * storvsc_start() - Begin to set the controller up over its primary channel.
 * @storvsc: with its primary channel open and none else
 * @now_ns: for config.setup_timeout_ns
 *
 * Flush the primary channel after it. Ends with STORVSC_EVENT_READY or STORVSC_EVENT_FAILED.
 *
 * Context: device's unit.
 * Return: 0, -LIS_GONE (no channel, or started already), -LIS_CORRUPT (the ring is of no use).
 */
int storvsc_start(struct storvsc *storvsc, uint64_t now_ns) LIS_MUST_USE;

/**
 * storvsc_channel_for_cpu() - The channel that a CPU should send its commands by.
 * @storvsc: the controller
 * @cpu: any number; taken modulo config.cpu_count
 *
 * That whose interrupts go to the CPU, else one of the same memory node, else any; spread evenly.
 *
 * Context: any, without a lock; the port keeps a channel's storage until nobody can have it from
 * here.
 * Return: the channel, or NULL where none is open.
 */
static inline struct storvsc_channel *storvsc_channel_for_cpu(const struct storvsc *storvsc,
							      uint32_t cpu)
{
	if (cpu >= storvsc->config.cpu_count)
		cpu %= storvsc->config.cpu_count;
	/* Pairs with the release in map_cpus(): whoever finds a channel finds it set up. */
	return os_load_acquire(storvsc->channel_of_cpu[cpu]);
}

/**
 * storvsc_submit() - Send a command or a reset.
 * @channel: of a controller that is READY
 * @request: filled; the driver's until it ends, on success only
 *
 * The host is not signalled before storvsc_channel_flush(), which is also due after -LIS_AGAIN.
 * Data is not copied: the host reads or writes the pages named.
 *
 * Context: channel's unit; does not sleep.
 * Return: 0, -LIS_AGAIN (ring or table is full: STORVSC_EVENT_ROOM follows), -LIS_INVALID (a field
 * is out of bounds, or the ring is too small for so much data), -LIS_GONE (not READY, stopped or
 * closed), -LIS_CORRUPT (the host broke the ring: close the channel).
 */
int storvsc_submit(struct storvsc_channel *channel, struct storvsc_request *request) LIS_MUST_USE;

/**
 * storvsc_channel_flush() - Show the host what was submitted.
 * @channel: open or not
 *
 * Context: channel's unit.
 * Return: true if the host must be signalled.
 */
bool storvsc_channel_flush(struct storvsc_channel *channel) LIS_MUST_USE;

/**
 * storvsc_channel_receive() - Take what the host sent.
 * @channel: open or not
 * @budget: packets to take at most
 *
 * From here on the host need not signal: before waiting for a signal call storvsc_channel_unmask().
 *
 * Context: channel's unit; does not sleep.
 * Return: STORVSC_EVENT_* or 0.
 */
uint32_t storvsc_channel_receive(struct storvsc_channel *channel, uint32_t budget) LIS_MUST_USE;

/**
 * storvsc_channel_unmask() - Have the host signal again.
 * @channel: open or not
 *
 * Context: channel's unit.
 * Return: true if something came meanwhile: receive again instead of waiting.
 */
bool storvsc_channel_unmask(struct storvsc_channel *channel) LIS_MUST_USE;

/**
 * storvsc_channel_on_timer() - Look for what is late. Call it once a second or so.
 * @channel: open or not
 * @now_ns: a clock that only goes forward
 *
 * A command past its deadline has its LUN reset, if config.reset_grace_ns says so, and ends with
 * STORVSC_RESULT_TIMED_OUT when that time has passed too. Its answer may come any time after; it is
 * dropped, and the id is not used again before.
 *
 * Context: channel's unit; does not sleep.
 * Return: STORVSC_EVENT_* or 0.
 */
uint32_t storvsc_channel_on_timer(struct storvsc_channel *channel, uint64_t now_ns) LIS_MUST_USE;

/**
 * storvsc_take_ended() - Take the requests that ended, in the order they did.
 * @channel: open or not
 *
 * Context: channel's unit.
 * Return: a list linked by @next, or NULL. They are the caller's again.
 */
struct storvsc_request *storvsc_take_ended(struct storvsc_channel *channel) LIS_MUST_USE;

/**
 * storvsc_still_shared() - May the host still write to the memory of a request that was given up?
 * @channel: it was submitted to
 * @id: storvsc_request.id as it was when the request ended with @still_shared
 *
 * Memory given up must not be used for anything else while this is true. It turns false when the
 * late answer comes (STORVSC_EVENT_RELEASED) or the channel is closed with the host's consent. After
 * a channel was closed without it, it stays true: leak that memory before @channel is opened anew.
 *
 * Context: channel's unit.
 */
bool storvsc_still_shared(const struct storvsc_channel *channel, uint64_t id);

/** storvsc_in_flight() - Requests that have not ended. Context: channel's unit. */
uint32_t storvsc_in_flight(const struct storvsc_channel *channel);

/** storvsc_result_text() - In words, for a person. */
const char *storvsc_result_text(uint8_t result);

#endif
