/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The VMBus server: the host's end of a guest's connection to the bus. A state machine without I/O,
 * locks, threads or clock: messages of the guest and answers of the host's devices in, actions out
 * through struct vmbus_server_ops.
 *
 * Who owns what. The caller owns struct vmbus_server and every struct vmbus_server_channel (embed
 * it in the object of the channel); the server allocates GPADLs only. All state is in these
 * structs.
 *
 * Ops never re-enter the server: an answer (open_done, close_done, modify_done) is given after the
 * call that made the request has returned.
 *
 * A guest that breaks the protocol loses the request, or the channel, that it broke it with; it is
 * counted, and logged thinned out (1st to 16th, then each power of two).
 *
 * Context of every function: any; does not sleep; the caller serializes on @server.
 *
 * Sources: [linux 6.1 drivers/hv/channel_mgmt.c, channel.c, connection.c],
 * [openvmm vmbus_server/src/channels.rs].
 */
#ifndef OPENLIS_VMBUS_SERVER_H
#define OPENLIS_VMBUS_SERVER_H

#include "vmbus/os.h"
#include "vmbus/protocol.h"

/* [policy] What one guest may have at once. */
#define VMBUS_SERVER_GPADLS_MAX 8192u
/* Words of all GPADLs together, unfinished ones at their announced size: 8 MiB, 4 GiB of pages. */
#define VMBUS_SERVER_GPADL_WORDS_MAX (1u << 20)
#define VMBUS_SERVER_GPADL_BUCKETS 256u
/* A ring has a control page and at least one page of data. */
#define VMBUS_SERVER_RING_PAGES_MIN 2u
/* The only features that are implemented. */
#define VMBUS_SERVER_FEATURES (VMBUS_FEATURE_GUEST_SIGNAL_PARAMETERS | VMBUS_FEATURE_CLIENT_ID)

/* Connection ids have 24 bits. Source: [tlfs 11 HV_CONNECTION_ID] */
#define VMBUS_CONNECTION_ID_MAX 0xffffffu

struct vmbus_server;
struct vmbus_server_channel;

/**
 * vmbus_server_connection_id() - What a guest signals for a channel, where it does not choose
 * itself.
 * @channel_id: 1..VMBUS_CHANNEL_ID_MAX
 *
 * Source: [openvmm vmbus_server/src/channels.rs ConnectionId::new] id, SINT from bit 12 on.
 */
static inline uint32_t vmbus_server_connection_id(uint16_t channel_id)
{
	return VMBUS_MESSAGE_SINT << 12 | channel_id;
}

/* What a guest agreed on; given out when it connects. */
struct vmbus_server_connection {
	uint32_t version;
	uint32_t features;           /* granted; 0 below 6.0 */
	uint32_t target_vp;          /* where messages go */
	uint64_t interrupt_page_gpa; /* below 2.4 only, 0: none */
	struct guid client_id;       /* zero unless VMBUS_FEATURE_CLIENT_ID is granted */
};

/* How a guest wants a channel opened; checked. */
struct vmbus_server_open {
	uint32_t open_id;
	uint32_t ring_gpadl_id;
	uint32_t host_to_guest_page_offset; /* within the ring GPADL; both rings have room */
	uint32_t target_vp;                 /* VMBUS_VP_NONE: no interrupts */
	uint32_t connection_id;             /* what the guest signals, 24 bits */
	uint16_t event_flag;                /* what the host sets */
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
};

/* One range of a GPADL. */
struct vmbus_server_range {
	uint32_t range_count; /* of the whole GPADL */
	uint32_t byte_count, byte_offset;
	uint32_t pfn_count;
	const uint64_t *pfns;
};

struct vmbus_server_ops {
	/** @alloc: memory, any contents, or NULL. */
	void *(*alloc)(void *port, size_t bytes);
	/** @free: give it back. */
	void (*free)(void *port, void *memory);
	/** @post_message: to SINT 2 of @vp. Failure loses the message; it is counted. */
	int (*post_message)(void *port, uint32_t vp, const void *payload, size_t payload_bytes);
	/** @page_is_memory: does the guest have memory there? */
	bool (*page_is_memory)(void *port, uint64_t pfn);
	/** @connected: a guest is about to be accepted. Returns 0, or an error to refuse it. */
	int (*connected)(void *port, const struct vmbus_server_connection *connection);
	/** @disconnected: after @connected; all channels are closed and all GPADLs are gone. */
	void (*disconnected)(void *port);
	/**
	 * @open_channel: open it; vmbus_server_open_done() answers. @ring stays valid until the
	 * channel is closed. An error refuses at once, without open_done.
	 */
	int (*open_channel)(void *port, struct vmbus_server_channel *channel,
			    const struct vmbus_server_open *open,
			    const struct vmbus_server_range *ring);
	/** @close_channel: only after a good open_done; vmbus_server_close_done() answers. */
	void (*close_channel)(void *port, struct vmbus_server_channel *channel);
	/**
	 * @modify_channel: interrupt @target_vp instead; vmbus_server_modify_done() answers when
	 * the old one gets no interrupt any more. May still be under way when close_channel comes;
	 * the answers then come in that order too.
	 */
	void (*modify_channel)(void *port, struct vmbus_server_channel *channel,
			       uint32_t target_vp);
	/**
	 * @channel_released: the server has forgotten the channel, which may be freed or offered
	 * again. Comes once after each vmbus_server_rescind(); for a sub-channel also when the
	 * guest lets go of it, its primary channel is closed, or the connection ends.
	 */
	void (*channel_released)(void *port, struct vmbus_server_channel *channel);
	/** @reset_done: answer to vmbus_server_reset(). */
	void (*reset_done)(void *port);
};

/* What is offered. Set by the caller before vmbus_server_offer(). */
struct vmbus_server_offer {
	struct guid interface_id;
	struct guid instance_id;
	uint32_t order;             /* among those of one interface; then by instance id */
	uint16_t sub_channel_index; /* 0: primary */
	uint16_t flags;             /* VMBUS_OFFER_* */
	uint16_t mmio_megabytes;
	uint16_t mmio_megabytes_optional;
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
};

enum vmbus_server_channel_state {
	VMBUS_SERVER_CHANNEL_IDLE,
	VMBUS_SERVER_CHANNEL_OPENING, /* the device was asked to open */
	VMBUS_SERVER_CHANNEL_OPEN,
	VMBUS_SERVER_CHANNEL_CLOSING, /* the device was asked to close */
};

/* A channel on the server. Only @offer is the caller's; zero the rest once. */
struct vmbus_server_channel {
	struct vmbus_server_offer offer;

	struct vmbus_server_channel *next; /* in the order of offers */
	enum vmbus_server_channel_state state;
	uint16_t id;            /* relid; 0: the guest does not know this channel */
	bool registered;        /* offered by the device */
	bool leaving;           /* release as soon as it is idle */
	bool guest_open;        /* the guest believes it is open */
	bool abandoned;         /* opening, but nobody wants it any more: close at once */
	bool offer_pending;     /* the guest is to hear of it as soon as an id is free for it */
	bool open_queued;       /* @queued is to be opened once idle */
	bool modifying;         /* the device was asked to move its interrupts */
	bool modify_queued;     /* and is to be asked again, for @queued_vp */
	uint32_t queued_vp;
	struct vmbus_server_open open;   /* as it is opened; target_vp as it stands */
	struct vmbus_server_open queued;
};

/* A channel id as the guest knows it. */
struct vmbus_server_id {
	struct vmbus_server_channel *channel; /* NULL where free or dead */
	bool dead;                            /* rescinded, not released by the guest */
	uint16_t sub_channel_index;           /* of the dead one, as the next */
	struct guid instance_id;
};

enum vmbus_server_state {
	VMBUS_SERVER_DISCONNECTED,
	VMBUS_SERVER_CONNECTED,
	VMBUS_SERVER_DISCONNECTING, /* waits for devices to close; then @next */
};

enum vmbus_server_next {
	VMBUS_SERVER_NEXT_NOTHING,
	VMBUS_SERVER_NEXT_CONNECT, /* accept or refuse @contact */
	VMBUS_SERVER_NEXT_UNLOAD,  /* tell the guest that the bus is unloaded */
	VMBUS_SERVER_NEXT_RESET,   /* tell the caller */
};

/* A request for contact, taken apart. */
struct vmbus_server_contact {
	uint32_t version, features, target_vp;
	uint64_t interrupt_page_gpa;
	bool monitor_pages_sane; /* both or none */
	struct guid client_id;
};

struct vmbus_server_counters {
	uint64_t contacts;      /* requests for contact */
	uint64_t messages_in, messages_out;
	uint64_t messages_lost; /* the partition could not take them */
	uint64_t no_memory; /* GPADLs refused for want of ours; no fault of the guest's */
	uint64_t violations;
};

struct vmbus_server_config {
	uint32_t vp_count;
	uint32_t version_max;     /* 0: newest */
	bool version_max_delayed; /* applies when the first guest to connect, firmware, has left */
};

struct vmbus_server_gpadl;

/* Fields are private but for reading @counters, @state and @connection. */
struct vmbus_server {
	const struct vmbus_server_ops *ops;
	void *port;
	struct vmbus_server_config config;
	enum vmbus_server_state state;
	enum vmbus_server_next next;
	bool offers_requested;
	bool connected_told; /* ops->connected was accepted, ops->disconnected is owed */
	bool version_capped; /* config.version_max is in force */
	struct vmbus_server_connection connection;
	struct vmbus_server_contact contact;
	struct vmbus_server_counters counters;
	struct vmbus_server_channel *channels; /* sorted */
	uint32_t channel_count, dead_id_count;
	uint32_t gpadl_count, gpadl_words;
	struct vmbus_server_gpadl *gpadls[VMBUS_SERVER_GPADL_BUCKETS];
	struct vmbus_server_id ids[VMBUS_CHANNEL_ID_MAX + 1];
};

/**
 * vmbus_server_init() - A server that nothing is offered on.
 * @server: the caller's storage
 * @config: copied
 * @ops: live as long as @server
 * @port: given to each of @ops
 */
void vmbus_server_init(struct vmbus_server *server, const struct vmbus_server_config *config,
		       const struct vmbus_server_ops *ops, void *port);

/**
 * vmbus_server_fini() - Free what the server allocated. Calls no op but free.
 * @server: with VPs and devices stopped
 */
void vmbus_server_fini(struct vmbus_server *server);

/**
 * vmbus_server_listens() - Is anything there to take a message?
 * @server: the server
 * @connection_id: where the guest posted it
 *
 * First contact from 5.0 on goes to connection 4. A guest that finds nothing there goes on to older
 * versions, which spares it a refusal for each newer one.
 *
 * Return: true if vmbus_server_on_message() would look at it.
 */
bool vmbus_server_listens(const struct vmbus_server *server, uint32_t connection_id);

/**
 * vmbus_server_on_message() - The guest posted a message.
 * @server: the server
 * @connection_id: where to
 * @payload: a private copy, 8-byte aligned
 * @payload_bytes: at most VMBUS_MESSAGE_BYTES_MAX, else it is a violation
 */
void vmbus_server_on_message(struct vmbus_server *server, uint32_t connection_id,
			     const void *payload, size_t payload_bytes);

/**
 * vmbus_server_offer() - Offer a channel, to the guest there is and to those that will come.
 * @server: the server
 * @channel: with its offer set; not offered now
 *
 * Where the guest has not yet released an earlier channel of the same instance and index, it hears
 * of the new one when it has.
 *
 * Return: 0, -LIS_BUSY (same instance and index is offered), -LIS_FULL (2047 are offered),
 * -LIS_GONE (a sub-channel whose primary channel is not open).
 */
int vmbus_server_offer(struct vmbus_server *server,
		       struct vmbus_server_channel *channel) LIS_MUST_USE;

/**
 * vmbus_server_rescind() - Take a channel away; a primary channel's sub-channels first.
 * @server: the server
 * @channel: offered
 *
 * ops->channel_released follows for each of them, from inside this call where nothing is open.
 */
void vmbus_server_rescind(struct vmbus_server *server, struct vmbus_server_channel *channel);

/**
 * vmbus_server_break() - The guest broke the channel's rules: close it from this side.
 * @server: the server
 * @channel: any; nothing happens where it is not open
 *
 * The guest is not told. It may close the channel and open it again. Counts as a violation; the
 * caller knows and logs what it was.
 */
void vmbus_server_break(struct vmbus_server *server, struct vmbus_server_channel *channel);

/** vmbus_server_open_done() - Answer to ops->open_channel. @error: 0 or a negative code. */
void vmbus_server_open_done(struct vmbus_server *server, struct vmbus_server_channel *channel,
			    int error);

/**
 * vmbus_server_close_done() - Answer to ops->close_channel: nothing touches the channel's rings and
 * GPADLs any more. Drops what vmbus_server_gpadl_get() took for the channel.
 */
void vmbus_server_close_done(struct vmbus_server *server, struct vmbus_server_channel *channel);

/** vmbus_server_modify_done() - Answer to ops->modify_channel. */
void vmbus_server_modify_done(struct vmbus_server *server, struct vmbus_server_channel *channel);

/**
 * vmbus_server_reset() - The machine was reset: the guest is gone without a word.
 * @server: the server; ops->reset_done follows, from inside this call where nothing is open
 *
 * Primary channels stay offered to the next guest.
 */
void vmbus_server_reset(struct vmbus_server *server);

/**
 * vmbus_server_gpadl_get() - Take a GPADL that the guest made for a channel.
 * @server: the server
 * @channel: opening, open or closing
 * @gpadl_id: the guest's
 * @range_index: from 0
 * @out_range: set on success; its pages stay valid until put, or until the channel is closed
 *
 * The guest's teardown is not answered until each get has its put.
 *
 * Return: 0, -LIS_NOTFOUND (no such GPADL or range, or the guest is tearing it down).
 */
int vmbus_server_gpadl_get(struct vmbus_server *server, struct vmbus_server_channel *channel,
			   uint32_t gpadl_id, uint32_t range_index,
			   struct vmbus_server_range *out_range) LIS_MUST_USE;

/**
 * vmbus_server_gpadl_put() - Undo one vmbus_server_gpadl_get(). Posts nothing.
 *
 * Return: true if vmbus_server_answer_teardowns() is due.
 */
bool vmbus_server_gpadl_put(struct vmbus_server *server, struct vmbus_server_channel *channel,
			    uint32_t gpadl_id) LIS_MUST_USE;

/** vmbus_server_answer_teardowns() - Answer those that waited for a put. */
void vmbus_server_answer_teardowns(struct vmbus_server *server);

/**
 * vmbus_server_check() - Are the server's own books in order? For tests and fuzzers.
 *
 * Return: NULL, or what is wrong.
 */
const char *vmbus_server_check(const struct vmbus_server *server);

#endif
