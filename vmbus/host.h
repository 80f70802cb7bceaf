/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The bus as a VSP sees it: it offers devices, and gets opened channels with two mapped rings and a
 * signal. Joins the VMBus server (server.h, a state machine without I/O) to a partition and to
 * loops.
 *
 * Threads: the bus loop owns the server and every device's life (offer, rescind). Each channel is
 * owned by one loop of its device: open, receive and close are called there, and only there may its
 * rings be touched.
 */
#ifndef OPENLIS_VMBUS_HOST_H
#define OPENLIS_VMBUS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/loop.h"
#include "vmbus/packet.h"
#include "vmbus/partition.h"
#include "vmbus/ring.h"

struct vmbus_host;
struct vmbus_device;
struct vmbus_channel;

struct vmbus_device_ops {
	/**
	 * @open: the guest opened @channel; its rings are ready. Set channel->owner here.
	 * Returns 0, or an error to refuse.
	 */
	int (*open)(struct vmbus_channel *channel);
	/**
	 * @receive: there may be packets from the guest. Takes what is there (in bounded batches).
	 * Returns true if there was anything. Called again after every signal, while the loop
	 * polls, and when to_guest has room again after a write came back with -LIS_FULL. A device
	 * that has to leave packets where they are (no memory, too many requests) returns false
	 * without having seen -LIS_EMPTY: it is called again in the loop's next turn, and the loop
	 * may sleep until something of the device's own wakes it.
	 */
	bool (*receive)(struct vmbus_channel *channel);
	/**
	 * @close: the guest closed, vanished or broke the protocol, or the device is being
	 * rescinded. No receive after this. When nothing touches guest memory or the rings any
	 * more, call vmbus_channel_closed(), here or later. Only after an @open that returned 0.
	 */
	void (*close)(struct vmbus_channel *channel);
};

struct vmbus_device_config {
	const char *name;           /* for status and log: "scsi0", "heartbeat"; copied */
	struct guid interface_id;
	struct guid instance_id;    /* unique on the bus */
	uint32_t order;             /* among devices of one interface; then by instance_id */
	uint16_t offer_flags;       /* VMBUS_OFFER_* */
	uint16_t mmio_megabytes;
	uint16_t mmio_megabytes_optional;
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
	uint16_t sub_channels_max;
	struct io_loop *const *loops; /* channel i runs on loops[i % loop_count]; NULL: the bus's */
	size_t loop_count;
	const struct vmbus_device_ops *ops;
	void *owner;                /* vmbus_device_owner() */
};

/* Counters of one channel, written by its loop, read by anyone. */
struct vmbus_channel_counters {
	_Atomic uint64_t packets_in, packets_out, bytes_in, bytes_out;
	_Atomic uint64_t signals_in;   /* the guest signalled */
	_Atomic uint64_t signals_out;  /* we interrupted the guest */
};

/* An open channel. VSPs use the fields up to @counters; the rest is the host's. */
struct vmbus_channel {
	struct vmbus_device *device;
	uint16_t index;                 /* 0: primary, else sub-channel */
	struct io_loop *loop;
	struct vmbus_ring_reader from_guest;
	struct vmbus_ring_writer to_guest;
	uint8_t open_user_data[VMBUS_USER_DATA_BYTES];
	void *owner;
	struct vmbus_channel_counters counters;
	struct vmbus_channel_host *host; /* private */
};

struct vmbus_host_config {
	struct partition *partition;
	struct io_loop *loop;           /* the bus loop */
	uint32_t version_max;           /* 0: newest */
	bool firmware_first;            /* version_max applies when the first to connect has left */
};

/** vmbus_host_create() - A bus without devices. Sets partition->listener. Return: 0, -LIS_NOMEM. */
int vmbus_host_create(const struct vmbus_host_config *config,
		      struct vmbus_host **out_host) LIS_MUST_USE;

/** vmbus_host_destroy() - After all devices are gone, with VPs and loops stopped. NULL is fine. */
void vmbus_host_destroy(struct vmbus_host *host);

/**
 * vmbus_host_reset() - The machine was reset: forget the guest. Closes all channels, drops all
 * GPADLs and the connection; devices stay offered to the next guest.
 * @done: called on the bus loop when every VSP has let go; the VPs must not run before
 */
void vmbus_host_reset(struct vmbus_host *host, struct io_call *done);

/**
 * vmbus_host_offer() - Offer a device, now or to the guest when it comes.
 * Bus loop only. Return: 0, -LIS_NOMEM, -LIS_FULL (no channel id left), -LIS_BUSY (same instance id
 * is offered or still being released by the guest: try after its retired()).
 */
int vmbus_host_offer(struct vmbus_host *host, const struct vmbus_device_config *config,
		     struct vmbus_device **out_device) LIS_MUST_USE;

/**
 * vmbus_host_rescind() - Take a device away; sub-channels first. Bus loop only.
 * @retired: called on the bus loop when its channels are closed; @device is gone then
 */
void vmbus_host_rescind(struct vmbus_device *device, struct io_call *retired);

/**
 * vmbus_device_offer_sub_channels() - Offer sub-channels 1..count. Any loop of the device.
 * @count: at most sub_channels_max; those offered already stay
 */
void vmbus_device_offer_sub_channels(struct vmbus_device *device, uint16_t count);

void *vmbus_device_owner(const struct vmbus_device *device);
const char *vmbus_device_name(const struct vmbus_device *device);
struct vmbus_host *vmbus_device_host(const struct vmbus_device *device);
struct partition *vmbus_host_partition(const struct vmbus_host *host);

/**
 * vmbus_channel_send() - Write one packet to the guest; the signal is held back until
 * vmbus_channel_flush(), which the host calls itself after each receive().
 * @type: VMBUS_PACKET_*
 * @id: transaction id
 * @completion: ask the guest for a completion
 * @iov: payload, copied
 * Return: 0, -LIS_FULL (receive() is called again when there is room), -LIS_CORRUPT (guest broke
 * the ring: channel is being closed).
 */
int vmbus_channel_send(struct vmbus_channel *channel, uint16_t type, uint64_t id, bool completion,
		       const struct iovec *iov, size_t iov_count) LIS_MUST_USE;

/**
 * vmbus_channel_send_ranges() - vmbus_channel_send() of a packet with a head, as transfer pages have.
 * @head: of multiples of 8 bytes together; copied
 */
int vmbus_channel_send_ranges(struct vmbus_channel *channel, uint16_t type, uint64_t id,
			      bool completion, const struct iovec *head, size_t head_count,
			      const struct iovec *iov, size_t iov_count) LIS_MUST_USE;

/** vmbus_channel_flush() - Publish what was sent and interrupt the guest if it wants that. */
void vmbus_channel_flush(struct vmbus_channel *channel);

/**
 * vmbus_channel_hold() - What was sent since the last flush is nothing to wake the guest for: it sees it when
 * it looks. The end of receive() does not interrupt it; the next vmbus_channel_flush(), which is owed, may.
 */
void vmbus_channel_hold(struct vmbus_channel *channel);

/**
 * vmbus_channel_receive() - Take the next packet: copied to @buffer, checked.
 * @buffer: at least VMBUS_PACKET_BYTES_MAX or as the ring allows; longer packets break the channel
 * @out_packet: set on success: descriptor, payload and, for GPA-direct, its ranges, in @buffer
 * Return: 0, -LIS_EMPTY, -LIS_CORRUPT (the channel is being closed).
 */
int vmbus_channel_receive(struct vmbus_channel *channel, void *buffer, size_t buffer_bytes,
			  struct vmbus_packet *out_packet) LIS_MUST_USE;

/**
 * vmbus_channel_break() - The guest broke the device's own protocol: log @why once, close the
 * channel. The close op follows; the guest's other devices live on.
 */
void vmbus_channel_break(struct vmbus_channel *channel, const char *why);

/** vmbus_channel_closed() - Answer to the close op, on the channel's loop; ends @channel's use. */
void vmbus_channel_closed(struct vmbus_channel *channel);

/**
 * vmbus_channel_gpadl() - Pages of a GPADL that the guest made for this channel.
 * @out_pfns: valid until the guest tears it down, which waits for vmbus_channel_gpadl_release()
 * Any loop of the device. Return: 0, -LIS_NOTFOUND.
 */
int vmbus_channel_gpadl(struct vmbus_channel *channel, uint32_t gpadl_id, const uint64_t **out_pfns,
			size_t *out_pfn_count, uint32_t *out_byte_offset,
			uint32_t *out_bytes) LIS_MUST_USE;
void vmbus_channel_gpadl_release(struct vmbus_channel *channel, uint32_t gpadl_id);

/* One channel in a status report. */
struct vmbus_channel_status {
	uint32_t channel_id;
	uint16_t index;
	bool open;
	uint32_t target_vp;
	uint32_t ring_to_host_bytes, ring_to_guest_bytes;
	uint64_t packets_in, packets_out, bytes_in, bytes_out, signals_in, signals_out;
};

struct vmbus_device_status {
	const char *name;
	struct guid interface_id, instance_id;
	size_t channel_count;
	struct vmbus_channel_status channels[64]; /* the first ones; channel_count may be larger */
};

struct vmbus_host_status {
	uint32_t version;      /* 0: not connected */
	uint32_t features;
	uint64_t contacts, messages_in, messages_out, violations;
};

/** vmbus_host_status() - Bus loop. vmbus_host_each_device() - in offer order; bus loop. */
void vmbus_host_status(const struct vmbus_host *host, struct vmbus_host_status *out_status);
void vmbus_host_each_device(const struct vmbus_host *host,
			    void (*each)(void *arg, const struct vmbus_device_status *status),
			    void *arg);

#endif
