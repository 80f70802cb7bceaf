/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network VSP: a network card on VMBus. It carries frames between a guest and a port (port.h), to
 * the guest straight into the buffer it shares, from the guest without a copy of what lies behind the
 * headers. What the guest leaves to the card and the port cannot do is done in software (offload.h).
 *
 * Threads: create and destroy on the bus loop. All channels of a card, and its port, are on one loop.
 */
#ifndef OPENLIS_NETWORK_NETVSP_H
#define OPENLIS_NETWORK_NETVSP_H

#include "network/addresses.h"
#include "network/netvsc_protocol.h"
#include "network/port.h"
#include "vmbus/host.h"

struct netvsp;

/* [policy] Channels of a card, the primary one included. */
#define NETVSP_CHANNELS_MAX 64u

struct netvsp_config {
	const char *name;             /* "nic0"; copied */
	struct guid instance_id;      /* see netvsp_instance_id() */
	uint8_t mac[NET_MAC_BYTES];
	uint16_t channels_max;        /* 0: 8; up to NETVSP_CHANNELS_MAX */
	struct io_loop *bus_loop;     /* the host's */
	struct io_loop *loop;         /* the card's */
	struct net_port *port;        /* stays the caller's; used until @destroyed */
	uint32_t version_max;         /* NVSP_VERSION_*; 0: the newest */
	bool link_down;               /* netvsp_set_link() */
	uint64_t bits_per_second;     /* netvsp_set_speed() */
	uint32_t mtu_max;             /* longest IP packet, where the port has longer ones; 0: the port's */
	bool guest_shares_cpu;        /* there is one CPU for it and the loop: a flood leaves it time to read */
};

/**
 * netvsp_instance_id() - The instance id of a card; guests tell their cards apart by it.
 * @mac: the card's
 *
 * It stays with the card's address, whatever other cards come and go. [policy]
 *
 * Context: any.
 */
struct guid netvsp_instance_id(const uint8_t mac[NET_MAC_BYTES]);

/**
 * netvsp_create() - Offer a card.
 * @host: the bus
 * @config: copied
 * @out_netvsp: set on success only
 *
 * The port is started when the guest first opens the card.
 *
 * Context: bus loop, or before it runs.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (no loop, no port, not a card's address, too many channels), and
 * what vmbus_host_offer() returns.
 */
int netvsp_create(struct vmbus_host *host, const struct netvsp_config *config,
		  struct netvsp **out_netvsp) LIS_MUST_USE;

/* [policy] Longest wait of netvsp_remove(). */
#define NETVSP_QUIET_NS_MAX 10000000000ull

/**
 * netvsp_remove() - Take the card away from a guest that may be using it.
 * @destroyed: as of netvsp_destroy()
 *
 * The link goes down. When the guest knows, has sent nothing for a while and has taken all it was sent,
 * or when that takes too long, netvsp_destroy() follows by itself.
 *
 * Context: bus loop. Only netvsp_destroy() may come after it, with the same @destroyed, where there is
 * no more time.
 */
void netvsp_remove(struct netvsp *netvsp, struct io_call *destroyed);

/**
 * netvsp_destroy() - Rescind the card, stop its port, free it.
 * @destroyed: called on the bus loop, when nothing uses the port any more
 *
 * A guest is not asked, and what it has sent may stay without an answer. Linux' driver waits for one for
 * ever: netvsp_remove() is for guests that go on.
 * Source: [linux 7.3 drivers/net/hyperv/rndis_filter.c rndis_filter_halt_device] waits;
 * [linux 7.3 drivers/hv/channel_mgmt.c vmbus_onoffer_rescind] has ended the channel's callback by then.
 *
 * Context: bus loop. No other call on @netvsp may come after this one.
 */
void netvsp_destroy(struct netvsp *netvsp, struct io_call *destroyed);

/**
 * netvsp_set_link() - Plug the cable in, or pull it: then frames of both sides are dropped. With the
 * port's own link down the guest sees no difference.
 *
 * Context: any thread.
 */
void netvsp_set_link(struct netvsp *netvsp, bool up);

/**
 * netvsp_set_speed() - Say how fast the link is; nothing gets faster or slower by it.
 * @bits_per_second: in hundreds; 0: what the port says
 *
 * Context: any thread.
 */
void netvsp_set_speed(struct netvsp *netvsp, uint64_t bits_per_second);

/* [policy] Captures of one card at the same time. */
#define NETVSP_CAPTURES_MAX 8u
#define NETVSP_CAPTURE_FDS 2

/**
 * netvsp_capture() - Record what passes the card, both ways, as the guest sends and receives it.
 * @snap_bytes: as net_capture_create()
 * @out_fds: the caller's, for the reader; set on success only: the memory (capture.h), and a socket
 * that carries nothing. To close it, with all its copies, ends the capture; that it hangs up says that
 * the card is gone, and nothing more comes.
 *
 * It costs the card a branch for each frame while there is no capture.
 *
 * Context: bus loop.
 * Return: 0, -LIS_FULL (as many as there may be), -LIS_NOMEM, -LIS_IO.
 */
int netvsp_capture(struct netvsp *netvsp, uint32_t snap_bytes,
		   int out_fds[NETVSP_CAPTURE_FDS]) LIS_MUST_USE;

/**
 * netvsp_addresses() - The IP addresses that the guest uses on the card: see addresses.h.
 * @out: NET_ADDRESSES_MAX
 *
 * Context: any thread.
 * Return: how many.
 */
uint32_t netvsp_addresses(struct netvsp *netvsp, struct net_address *out);

struct netvsp_status {
	uint32_t version;             /* NVSP_VERSION_*; 0: the guest has not agreed on one */
	bool ready;                   /* the guest has set the card up */
	bool link_up;
	uint8_t mac[NET_MAC_BYTES];   /* as the guest has set it */
	uint32_t mtu;                 /* of IP packets */
	uint32_t mtu_max;             /* what the guest may have it be */
	uint64_t bits_per_second;
	uint32_t filter;              /* NDIS_FILTER_* */
	uint32_t channels_open;
	uint32_t captures;
	/* As the guest sees it: received is what came to it. */
	uint64_t packets_received, bytes_received;
	uint64_t packets_sent, bytes_sent;
	/* Over the last second that has been looked at, which ended no longer than one ago. */
	uint64_t packets_received_per_second, bytes_received_per_second;
	uint64_t packets_sent_per_second, bytes_sent_per_second;
	uint64_t receive_dropped;     /* by the port, for want of room */
	uint64_t send_dropped;        /* by the port */
	uint64_t send_invalid;        /* frames or messages that made no sense */
	uint64_t unread_dropped;      /* frames for a channel that the guest has left alone */
	uint64_t starved;             /* times a frame waited for room in the guest's buffer */
};

/** netvsp_status() - Any thread. */
struct netvsp_status netvsp_status(const struct netvsp *netvsp);

#endif
