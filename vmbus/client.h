/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the bus: a state machine without I/O, locks, threads, clock or memory of its
 * own. Messages of the host and requests of the port in, actions out through struct
 * vmbus_client_ops.
 *
 * Who owns what. The port owns struct vmbus_client, every channel (got through ops->channel_alloc,
 * so that it can be part of the port's object of a device) and every GPADL. The client keeps
 * channels in a table by channel id until vmbus_client_release(), GPADLs in a list until they are
 * torn down.
 *
 * Messages that the hypervisor has no buffer for are not lost: requests wait in order, built only
 * when they are sent. The port calls vmbus_client_retry() when ops->retry_later asked for it.
 *
 * Ops never re-enter the client. Answers (opened, gpadl_created and the like) may come from inside
 * the call that asked, where the request could not be sent.
 *
 * The host is not trusted: messages are checked for length, sense and state; what makes none is
 * counted as a violation, logged thinned out (1st to 16th, then each power of two) and otherwise
 * ignored. Nothing the host does makes the client touch memory it should not, or loop.
 *
 * Context of every function: any; does not sleep; the caller serializes on @client.
 *
 * Sources: [linux 6.1 drivers/hv/connection.c, channel_mgmt.c, channel.c],
 * [openvmm vmbus_server/src/channels.rs].
 */
#ifndef OPENLIS_VMBUS_CLIENT_H
#define OPENLIS_VMBUS_CLIENT_H

#include "vmbus/os.h"
#include "vmbus/protocol.h"

/* What a message's 16-bit length of ranges can describe, in one range. */
#define VMBUS_CLIENT_GPADL_PAGES_MAX ((UINT16_MAX - 8u) / 8u)
/* Features that the client understands. */
#define VMBUS_CLIENT_FEATURES (VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS | VMBUS_FEATURE_CLIENT_ID)
/* What an isolated guest insists on. Source: [linux 7.3 drivers/hv/connection.c vmbus_connect] */
#define VMBUS_CLIENT_ISOLATED_VERSION_MIN VMBUS_VERSION_WIN10_V5_2

struct vmbus_client;
struct vmbus_client_channel;
struct vmbus_client_gpadl;

/* An offer, checked. */
struct vmbus_client_offer {
	struct guid interface_id;
	struct guid instance_id;
	uint16_t flags; /* VMBUS_OFFER_* */
	uint16_t mmio_megabytes;
	uint16_t mmio_megabytes_optional;
	uint16_t sub_channel_index; /* 0: primary */
	uint16_t channel_id;        /* 1..VMBUS_CHANNEL_ID_MAX */
	bool dedicated_signal;      /* leave the interrupt page alone */
	uint8_t monitor_id;         /* below VMBUS_MONITOR_IDS, or VMBUS_MONITOR_NONE */
	uint32_t connection_id;     /* what to signal */
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
};

struct vmbus_client_ops {
	/**
	 * @post_message: as HvPostMessage. Returns 0, -LIS_AGAIN or -LIS_FULL (no buffer now: it
	 * stays queued), -LIS_NOTFOUND (nothing listens at @connection_id), or another error, which
	 * loses the message.
	 */
	int (*post_message)(void *port, uint32_t connection_id, const void *payload,
			    size_t payload_bytes);
	/** @signal: as HvSignalEvent, flag number 0. */
	void (*signal)(void *port, uint32_t connection_id);
	/** @set_interrupt_page_bit: set bit @channel_id, atomically, in the page's upper half. */
	void (*set_interrupt_page_bit)(void *port, uint32_t channel_id);
	/** @retry_later: have vmbus_client_retry() called soon, say in 1 ms. */
	void (*retry_later)(void *port);
	/** @connected: 0, -LIS_REFUSED (the host knows none of our versions), or why not sent. */
	void (*connected)(void *port, int error);
	/**
	 * @unloaded: the host has forgotten this guest. All channels were forgotten before, all
	 * GPADLs are torn down, without a call for each of these.
	 */
	void (*unloaded)(void *port);
	/**
	 * @channel_alloc: storage for a channel that is offered, any contents, or NULL to do
	 * without the offer (its id goes back to the host). After an earlier connection that may
	 * be what was forgotten of vmbus_client_is_same_channel(): so a device outlives
	 * hibernation.
	 */
	struct vmbus_client_channel *(*channel_alloc)(void *port,
						      const struct vmbus_client_offer *offer);
	/** @channel_forgotten: the connection ended; the storage is the port's again. */
	void (*channel_forgotten)(void *port, struct vmbus_client_channel *channel);
	/** @offered: a new channel, in @channel->offer. */
	void (*offered)(void *port, struct vmbus_client_channel *channel);
	/** @offers_delivered: the offers that were there at vmbus_client_request_offers(). */
	void (*offers_delivered)(void *port);
	/**
	 * @rescinded: the host takes the channel away. Close it, tear its GPADLs down, then
	 * vmbus_client_release(). An open under way was answered with -LIS_GONE just before.
	 */
	void (*rescinded)(void *port, struct vmbus_client_channel *channel);
	/** @opened: 0, -LIS_REFUSED (channel->status says why), -LIS_GONE, -LIS_IO (not sent). */
	void (*opened)(void *port, struct vmbus_client_channel *channel, int error);
	/**
	 * @modified: 0 (no interrupt reaches the old VP any more), and errors as for @opened;
	 * -LIS_GONE also where the channel was closed before the answer.
	 */
	void (*modified)(void *port, struct vmbus_client_channel *channel, int error);
	/**
	 * @gpadl_created: 0; -LIS_REFUSED or -LIS_IO: nothing is shared, the storage is the port's
	 * again; -LIS_STILL_SHARED: likewise, but the host may see some of the memory for ever.
	 */
	void (*gpadl_created)(void *port, struct vmbus_client_gpadl *gpadl, int error);
	/** @gpadl_torn_down: 0, or -LIS_STILL_SHARED (not sent). The storage is the port's. */
	void (*gpadl_torn_down)(void *port, struct vmbus_client_gpadl *gpadl, int error);
};

/*
 * How to connect.
 *
 * An isolated guest (SEV-SNP, TDX, VBS) keeps its memory from the host. It takes nothing older than
 * VMBUS_CLIENT_ISOLATED_VERSION_MIN, and only devices that vmbus/interfaces.h calls safe, and
 * Hyper-V sockets; what else the host offers is declined without a call of the port.
 */
struct vmbus_client_config {
	uint32_t version_max; /* 0: newest */
	uint32_t version_min; /* 0: oldest */
	bool isolated;
	uint32_t features;    /* wanted, of VMBUS_CLIENT_FEATURES */
	uint32_t target_vp;   /* for messages; from 3.0, else it is VP 0 */
	uint64_t interrupt_page_gpa; /* one page; used below 2.4 */
	uint64_t host_to_guest_monitor_gpa, guest_to_host_monitor_gpa; /* both or none */
	struct guid client_id; /* with VMBUS_FEATURE_CLIENT_ID */
};

/* A message that waits to be sent; private. */
struct vmbus_client_item {
	struct vmbus_client_item *next;
	uint8_t kind;
	bool queued;
};

enum vmbus_client_gpadl_state {
	VMBUS_CLIENT_GPADL_CREATING,
	VMBUS_CLIENT_GPADL_READY,
	VMBUS_CLIENT_GPADL_TEARING_DOWN,
};

/* Memory shown to the host; storage is the port's, fields are private but for @id. */
struct vmbus_client_gpadl {
	uint32_t id;
	enum vmbus_client_gpadl_state state;
	struct vmbus_client_gpadl *next;
	struct vmbus_client_channel *channel;
	const uint64_t *pfns;
	uint32_t pfn_count, byte_count, byte_offset;
	uint32_t pfns_sent, messages_sent;
	struct vmbus_client_item create, teardown;
};

enum vmbus_client_channel_state {
	VMBUS_CLIENT_CHANNEL_CLOSED,
	VMBUS_CLIENT_CHANNEL_OPENING,
	VMBUS_CLIENT_CHANNEL_OPEN,
};

/* How a channel is to be opened. */
struct vmbus_client_open {
	uint32_t ring_gpadl_id;
	uint32_t host_to_guest_page_offset; /* where that ring begins; the other is before it */
	uint32_t target_vp;                 /* VMBUS_VP_NONE: no interrupts; from 2.4, else VP 0 */
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
};

/* A channel. The port may read the fields up to @primary, and owns @owner. */
struct vmbus_client_channel {
	struct vmbus_client_offer offer;
	void *owner;
	enum vmbus_client_channel_state state;
	bool rescinded;
	uint32_t status; /* NTSTATUS of the last refusal */
	struct vmbus_client_channel *primary; /* NULL: it is one */

	uint32_t sub_channel_count;
	uint32_t open_id;
	bool modifying;
	bool late_modify; /* the answer to one that is over may come yet */
	uint32_t modify_vp;
	struct vmbus_client_open open;
	struct vmbus_client_item open_item, close_item, modify_item;
};

enum vmbus_client_state {
	VMBUS_CLIENT_IDLE,
	VMBUS_CLIENT_CONTACTING,
	VMBUS_CLIENT_CONNECTED,
	VMBUS_CLIENT_UNLOADING,
};

#define VMBUS_CLIENT_ID_WORDS ((VMBUS_CHANNEL_ID_MAX + 64u) / 64u)

struct vmbus_client_counters {
	uint64_t messages_in, messages_out;
	uint64_t retries;    /* times the hypervisor had no buffer */
	uint64_t declined;   /* offers that are not for an isolated guest */
	uint64_t violations;
};

/* Fields are private but for reading @state, @version, @features and @counters. */
struct vmbus_client {
	const struct vmbus_client_ops *ops;
	void *port;
	struct vmbus_client_config config;
	enum vmbus_client_state state;
	uint32_t version;       /* as agreed, or as being asked for */
	uint32_t features;      /* as granted */
	uint32_t connection_id; /* where messages go */
	bool offers_requested, offers_delivered;
	uint32_t last_gpadl_id, last_open_id;
	struct vmbus_client_counters counters;
	struct vmbus_client_item *queue, **queue_end;
	struct vmbus_client_item contact, request_offers, releases, unload;
	struct vmbus_client_gpadl *gpadls;
	uint64_t release_bits[VMBUS_CLIENT_ID_WORDS]; /* channel ids to give back */
	struct vmbus_client_channel *channels[VMBUS_CHANNEL_ID_MAX + 1];
};

/**
 * vmbus_client_init() - A client that is not connected.
 * @client: the port's storage
 * @ops: lives as long as @client
 * @port: given to each of @ops
 */
void vmbus_client_init(struct vmbus_client *client, const struct vmbus_client_ops *ops, void *port);

/**
 * vmbus_client_connect() - Begin to negotiate a version, newest first. ops->connected follows.
 * @client: idle
 * @config: copied
 *
 * From 5.0 on contact is made at connection 4; where nothing listens there, and where a version is
 * refused, the next older one is tried.
 *
 * Return: 0, -LIS_BUSY (not idle), -LIS_INVALID (no version between min and max, for an isolated
 * guest also a max below its minimum; half a pair of monitor pages; features not understood).
 */
int vmbus_client_connect(struct vmbus_client *client,
			 const struct vmbus_client_config *config) LIS_MUST_USE;

/**
 * vmbus_client_request_offers() - Ask for all offers, now and from now on.
 * @client: connected
 *
 * Return: 0, -LIS_BUSY (asked already), -LIS_GONE (not connected).
 */
int vmbus_client_request_offers(struct vmbus_client *client) LIS_MUST_USE;

/**
 * vmbus_client_unload() - Have the host forget this guest; ops->unloaded follows.
 * @client: in any state
 *
 * Then it is idle, and may connect again, maybe to another host.
 *
 * Drops whatever waits to be sent, so that it can be used while the guest crashes; a guest that
 * does not crash closes its channels first. Versions below 3.0 have no such message: done at once,
 * with GPADLs perhaps still shared.
 *
 * Source: [linux 6.1 drivers/hv/channel_mgmt.c vmbus_initiate_unload].
 */
void vmbus_client_unload(struct vmbus_client *client);

/**
 * vmbus_client_on_message() - The host sent a message.
 * @client: any state
 * @payload: private copy, 8-byte aligned
 * @payload_bytes: length, as the message slot says
 */
void vmbus_client_on_message(struct vmbus_client *client, const void *payload,
			     size_t payload_bytes);

/** vmbus_client_retry() - Send what waits; as ops->retry_later asked, or at any time. */
void vmbus_client_retry(struct vmbus_client *client);

/**
 * vmbus_client_channel() - The channel of an event flag.
 * @channel_id: any number
 *
 * Return: the channel, or NULL.
 */
struct vmbus_client_channel *vmbus_client_channel(const struct vmbus_client *client,
						  uint32_t channel_id);

/**
 * vmbus_client_is_same_channel() - Are two offers, of two connections, of the same channel?
 *
 * Ids of channels may be others after an unload; the instance stays, and for sub-channels their index.
 *
 * Source: [linux 6.1 drivers/hv/channel_mgmt.c vmbus_onoffer].
 */
bool vmbus_client_is_same_channel(const struct vmbus_client_offer *one,
				  const struct vmbus_client_offer *other);

/**
 * vmbus_client_gpadl_create() - Describe memory to the host; ops->gpadl_created follows.
 * @client: connected
 * @channel: whose use it is for; not rescinded
 * @gpadl: the port's storage; stays until torn down or refused
 * @pfns: page numbers; read until ops->gpadl_created
 * @byte_count: length, at least 1
 * @byte_offset: of the first byte in the first page, below 4096
 *
 * Return: 0, -LIS_GONE (not connected, rescinded), -LIS_INVALID (more than
 * VMBUS_CLIENT_GPADL_PAGES_MAX pages, or none).
 */
int vmbus_client_gpadl_create(struct vmbus_client *client, struct vmbus_client_channel *channel,
			      struct vmbus_client_gpadl *gpadl, const uint64_t *pfns,
			      uint32_t byte_count, uint32_t byte_offset) LIS_MUST_USE;

/**
 * vmbus_client_gpadl_teardown() - Take memory back; ops->gpadl_torn_down follows.
 * @gpadl: ready; where it is that of the rings, with its channel closed
 *
 * The memory must not be used for anything else until then.
 *
 * Return: 0, -LIS_BUSY (being created or torn down), -LIS_GONE (not connected).
 */
int vmbus_client_gpadl_teardown(struct vmbus_client *client,
				struct vmbus_client_gpadl *gpadl) LIS_MUST_USE;

/**
 * vmbus_client_gpadl_abandon() - Stop waiting for an answer about a GPADL.
 * @gpadl: in any state; the storage is the port's again
 *
 * For a host that does not answer, which is known of rescinded channels. No call follows. The
 * memory may still be shared: leak it, unless the port knows better.
 */
void vmbus_client_gpadl_abandon(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl);

/**
 * vmbus_client_open() - Open a channel; ops->opened follows.
 * @channel: closed, not rescinded
 * @open: copied; both rings are initialized (their control pages zero)
 *
 * Return: 0, -LIS_BUSY (open already), -LIS_GONE (not connected, rescinded).
 */
int vmbus_client_open(struct vmbus_client *client, struct vmbus_client_channel *channel,
		      const struct vmbus_client_open *open) LIS_MUST_USE;

/**
 * vmbus_client_close() - Close a channel. There is no answer; the rings' GPADL is torn down next.
 * @channel: open
 *
 * A primary channel's sub-channels are closed first, by the port. Where a modification was under
 * way, ops->modified says -LIS_GONE: hosts need not answer it any more.
 *
 * Return: 0, -LIS_BUSY (being opened), -LIS_INVALID (not open), -LIS_GONE (not connected).
 */
int vmbus_client_close(struct vmbus_client *client,
		       struct vmbus_client_channel *channel) LIS_MUST_USE;

/**
 * vmbus_client_modify() - Move a channel's interrupts to another VP; ops->modified follows.
 * @channel: open
 * @target_vp: the new one
 *
 * Before 5.3 the host does not answer: ops->modified follows when the message is posted, and the
 * old VP may still be interrupted for a while.
 *
 * Return: 0, -LIS_UNSUPPORTED (below 4.1), -LIS_BUSY (still moving), -LIS_INVALID (not open, or
 * VMBUS_VP_NONE), -LIS_GONE.
 */
int vmbus_client_modify(struct vmbus_client *client, struct vmbus_client_channel *channel,
			uint32_t target_vp) LIS_MUST_USE;

/**
 * vmbus_client_release() - Give a rescinded channel's id back to the host.
 * @channel: rescinded, closed, without GPADLs and sub-channels; the storage is the port's on
 * success
 *
 * Return: 0, -LIS_BUSY (one of these does not hold yet), -LIS_INVALID (not rescinded).
 */
int vmbus_client_release(struct vmbus_client *client,
			 struct vmbus_client_channel *channel) LIS_MUST_USE;

/**
 * vmbus_client_signal() - Tell the host to look at a channel's rings.
 * @channel: open
 *
 * Context: any; need not be serialized with other calls while the channel stays open.
 */
void vmbus_client_signal(struct vmbus_client *client, struct vmbus_client_channel *channel);

/**
 * vmbus_client_check() - Are the client's own books in order? For tests and fuzzers.
 *
 * Return: NULL, or what is wrong.
 */
const char *vmbus_client_check(const struct vmbus_client *client);

#endif
