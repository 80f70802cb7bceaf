/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Channels of the network VSP, and NVSP on them: the primary channel sets the card up, all of them carry
 * frames. An answer for which the guest's ring has no room waits, and nothing more is taken from that
 * channel until it is gone.
 */
#include "network/netvsp_private.h"

#include <stdlib.h>
#include <string.h>

/* [policy] Packets taken before the loop looks at other things, and frames that came of them. */
#define PACKETS_AT_ONCE 64u
#define FRAMES_AT_ONCE 1024u
/* [policy] Sections of the send buffer: four of them hold what Linux lets grow together. */
#define SECTION_BYTES 6144u
/*
 * [policy] Answers for which the guest is not woken until there is something else for it, and for how long. Guests
 * have sections of the send buffer for more.
 */
#define HELD_MAX 4u
#define HELD_NS 2000000u

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

void netvsp_flush_later(struct netvsp_channel *ch)
{
	if (ch->flush_due)
		return;
	ch->flush_due = true;
	ch->next_to_flush = ch->netvsp->to_flush;
	ch->netvsp->to_flush = ch;
}

void netvsp_break(struct netvsp_channel *ch, const char *why)
{
	if (!ch->broken)
		vmbus_channel_break(ch->channel, why);
	ch->broken = true;
}

/* ---- answers ---- */

/*
 * To wake the guest only to tell it that a packet is sent costs it more than the packet did. What it copied to the
 * send buffer it has let go of already.
 */
static void hold(struct netvsp_channel *ch)
{
	if (ch->flush_due)
		return;
	if (++ch->held_count > HELD_MAX) {
		netvsp_flush_later(ch);
		return;
	}
	vmbus_channel_hold(ch->channel);
	if (ch->held_count == 1)
		io_timer_set(&ch->held_timer, ch->netvsp->loop, io_loop_now_ns(ch->netvsp->loop) + HELD_NS);
}

static void held_for_long(struct io_timer *timer)
{
	netvsp_flush_later(container_of(timer, struct netvsp_channel, held_timer));
}

bool netvsp_send_answer(struct netvsp_channel *ch)
{
	struct iovec iov = { &ch->answer, ch->answer_bytes };
	int err;

	if (!ch->answer_due)
		return true;
	err = vmbus_channel_send(ch->channel, VMBUS_PACKET_COMPLETION, ch->answer_id, false, &iov,
				 ch->answer_bytes ? 1 : 0);
	/* Nothing new to flush then, and no reason for another turn. */
	if (err == -LIS_FULL)
		return false;
	ch->broken |= err != 0;
	ch->answer_due = false;
	if (ch->answer_can_wait && !err)
		hold(ch);
	else
		netvsp_flush_later(ch);
	ch->answer_can_wait = false;
	return true;
}

/* ch->answer, as long as the version's messages are; or nothing but the completion. */
static void answer(struct netvsp_channel *ch, const struct vmbus_packet *packet, bool empty)
{
	if (!vmbus_packet_wants_completion(packet))
		return;
	ch->answer_id = packet->id;
	ch->answer_bytes = netvsp_version(ch->netvsp) >= NVSP_VERSION_6_1 ? NVSP_MESSAGE_BYTES_6_1
									    : NVSP_MESSAGE_BYTES;
	if (empty)
		ch->answer_bytes = 0;
	ch->answer_due = true;
	netvsp_send_answer(ch);
}

static void begin_answer(struct netvsp_channel *ch, uint32_t type)
{
	memset(&ch->answer, 0, sizeof(ch->answer));
	ch->answer.type = type;
}

/* ---- setting up ---- */

static void handle_init(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			const struct nvsp_init *init)
{
	struct netvsp *netvsp = ch->netvsp;
	bool known = false;

#define IS_KNOWN(version) known |= init->version_max == (version);
	NVSP_VERSIONS(IS_KNOWN)
#undef IS_KNOWN
	if (netvsp_version(netvsp)) {
		netvsp_break(ch, "a version was agreed on already");
		return;
	}
	known &= init->version_max <= netvsp->version_max;
	begin_answer(ch, NVSP_INIT_COMPLETE);
	ch->answer.init_complete = (struct nvsp_init_complete){
		.version = init->version_max == NVSP_VERSION_1 ? NVSP_VERSION_1 : UINT32_MAX,
		.mdl_chain_length_max = NVSP_MDL_CHAIN_LENGTH_MAX,
		.status = known ? NVSP_STATUS_SUCCESS : NVSP_STATUS_NONE,
	};
	answer(ch, packet, false);
	if (known)
		atomic_store_explicit(&netvsp->version, init->version_max, memory_order_relaxed);
}

static void handle_ndis_config(struct netvsp *netvsp, const struct nvsp_ndis_config *config)
{
	uint32_t mtu_bytes = config->mtu_bytes, max = netvsp->mtu_max + NET_ETHERNET_BYTES;

	netvsp->capabilities = config->capabilities;
	if (netvsp_version(netvsp) < NVSP_VERSION_6_1)
		netvsp->capabilities &= ~NVSP_CAPABILITY_RSC;
	if (mtu_bytes < NVSP_MTU_BYTES_DEFAULT)
		mtu_bytes = NVSP_MTU_BYTES_DEFAULT;
	netvsp->mtu_bytes = mtu_bytes < max ? mtu_bytes : max;
	atomic_store_explicit(&netvsp->mtu, netvsp->mtu_bytes - NET_ETHERNET_BYTES, memory_order_relaxed);
}

static void handle_receive_buffer(struct netvsp_channel *ch, const struct vmbus_packet *packet,
				  const struct nvsp_buffer *message)
{
	struct netvsp *netvsp = ch->netvsp;
	struct nvsp_receive_buffer_complete *complete = &ch->answer.receive_buffer_complete;
	int err = -LIS_BUSY;

	begin_answer(ch, NVSP_SEND_RECEIVE_BUFFER_COMPLETE);
	if (!netvsp->receive_buffer.pages)
		err = netvsp_buffer_map(ch, message->gpadl_id, &netvsp->receive_buffer);
	if (!err) {
		err = netvsp_receive_start(netvsp);
		if (err)
			netvsp_buffer_unmap(netvsp, &netvsp->receive_buffer);
	}
	complete->status = err ? NVSP_STATUS_FAILURE : NVSP_STATUS_SUCCESS;
	if (!err) {
		netvsp_rndis_set_receive(netvsp);
		complete->section_count = 1;
		complete->section = (struct nvsp_receive_section){
			.sub_allocation_bytes = netvsp->subs.bytes,
			.sub_allocation_count = netvsp->subs.count,
			.end_offset = netvsp->subs.bytes * netvsp->subs.count,
		};
	}
	answer(ch, packet, false);
}

static void handle_send_buffer(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			       const struct nvsp_buffer *message)
{
	struct netvsp *netvsp = ch->netvsp;
	int err = -LIS_BUSY;

	begin_answer(ch, NVSP_SEND_SEND_BUFFER_COMPLETE);
	if (!netvsp->send_buffer.pages)
		err = netvsp_buffer_map(ch, message->gpadl_id, &netvsp->send_buffer);
	if (!err)
		netvsp->section_bytes = SECTION_BYTES;
	ch->answer.send_buffer_complete = (struct nvsp_send_buffer_complete){
		.status = err ? NVSP_STATUS_FAILURE : NVSP_STATUS_SUCCESS,
		.section_bytes = err ? 0 : SECTION_BYTES,
	};
	answer(ch, packet, false);
}

static void revoke_receive_buffer(struct netvsp *netvsp)
{
	netvsp_receive_stop(netvsp);
	netvsp_buffer_unmap(netvsp, &netvsp->receive_buffer);
}

static void send_indirection_table(struct netvsp_channel *ch, uint32_t channels)
{
	struct {
		struct nvsp_message message;
		uint32_t table[NVSP_SEND_TABLE_COUNT];
	} send = {
		.message.type = NVSP_SEND_INDIRECTION_TABLE,
		.message.indirection_table = { NVSP_SEND_TABLE_COUNT, sizeof(struct nvsp_message) },
	};
	struct iovec iov = { &send, sizeof(send) };

	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		send.table[i] = i % channels;
	/* Only advice: where it does not fit in, the guest does without. */
	if (vmbus_channel_send(ch->channel, VMBUS_PACKET_IN_BAND, 0, false, &iov, 1) == -LIS_CORRUPT)
		ch->broken = true;
	netvsp_flush_later(ch);
}

static void handle_sub_channel(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			       const struct nvsp_sub_channel_request *request)
{
	struct netvsp *netvsp = ch->netvsp;
	uint32_t count = request->count;

	if (count > netvsp->channels_max - 1u)
		count = netvsp->channels_max - 1u;
	begin_answer(ch, NVSP_SUB_CHANNEL);
	if (request->operation == NVSP_SUB_CHANNEL_ALLOCATE && netvsp->initialized) {
		ch->answer.sub_channel_complete =
			(struct nvsp_sub_channel_complete){ NVSP_STATUS_SUCCESS, count };
	} else {
		ch->answer.sub_channel_complete.status = NVSP_STATUS_FAILURE;
		count = 0;
	}
	answer(ch, packet, false);
	if (!count)
		return;
	send_indirection_table(ch, count + 1);
	vmbus_device_offer_sub_channels(netvsp->device, (uint16_t)count);
}

/* ---- messages ---- */

static void handle_rndis(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			 const struct nvsp_rndis_packet *rndis)
{
	uint32_t status = netvsp_send_packet(ch, packet, rndis);

	begin_answer(ch, NVSP_SEND_RNDIS_PACKET_COMPLETE);
	ch->answer.rndis_packet_complete.status = status;
	/* All of it was in the send buffer. */
	ch->answer_can_wait = packet->type == VMBUS_PACKET_IN_BAND && rndis->channel_type == NVSP_RNDIS_DATA;
	answer(ch, packet, false);
	netvsp_receive_control(ch->netvsp);
}

/* Messages that only the primary channel has. Returns false for none of them. */
static bool handle_setup(struct netvsp_channel *ch, const struct vmbus_packet *packet,
			 const struct nvsp_message *message)
{
	struct netvsp *netvsp = ch->netvsp;
	uint32_t version = netvsp_version(netvsp);

	if (message->type == NVSP_INIT) {
		handle_init(ch, packet, &message->init);
		return true;
	}
	if (!version)
		return false;
	switch (message->type) {
	case NVSP_SEND_NDIS_VERSION:
		netvsp->ndis = message->ndis_version;
		break;
	case NVSP_SEND_NDIS_CONFIG:
		handle_ndis_config(netvsp, &message->ndis_config);
		break;
	case NVSP_SEND_RECEIVE_BUFFER:
		handle_receive_buffer(ch, packet, &message->buffer);
		return true;
	case NVSP_REVOKE_RECEIVE_BUFFER:
		revoke_receive_buffer(netvsp);
		break;
	case NVSP_SEND_SEND_BUFFER:
		handle_send_buffer(ch, packet, &message->buffer);
		return true;
	case NVSP_REVOKE_SEND_BUFFER:
		netvsp_buffer_unmap(netvsp, &netvsp->send_buffer);
		break;
	case NVSP_SUB_CHANNEL:
		if (version < NVSP_VERSION_5)
			return false;
		handle_sub_channel(ch, packet, &message->sub_channel_request);
		return true;
	case NVSP_OID_QUERY_EX:
		if (version < NVSP_VERSION_5)
			return false;
		begin_answer(ch, NVSP_OID_QUERY_EX_COMPLETE);
		ch->answer.oid_query_complete.status = RNDIS_STATUS_NOT_SUPPORTED;
		answer(ch, packet, false);
		return true;
	case NVSP_SWITCH_DATA_PATH:
		/* There is no other path than this. */
		break;
	default:
		return false;
	}
	answer(ch, packet, true);
	return true;
}

static void handle_message(struct netvsp_channel *ch, const struct vmbus_packet *packet)
{
	struct nvsp_message message = { 0 };
	uint32_t bytes = packet->payload_bytes;

	if (bytes < sizeof(message.type)) {
		netvsp_break(ch, "a message that is too short");
		return;
	}
	memcpy(&message, packet->payload, bytes < sizeof(message) ? bytes : sizeof(message));
	if (message.type == NVSP_SEND_RNDIS_PACKET && netvsp_version(ch->netvsp)) {
		handle_rndis(ch, packet, &message.rndis_packet);
	} else if (ch->channel->index || packet->type != VMBUS_PACKET_IN_BAND ||
		   !handle_setup(ch, packet, &message)) {
		netvsp_break(ch, "a message that has no meaning here");
	}
}

static void handle_packet(struct netvsp_channel *ch, const struct vmbus_packet *packet)
{
	switch (packet->type) {
	case VMBUS_PACKET_IN_BAND:
	case VMBUS_PACKET_GPA_DIRECT:
		handle_message(ch, packet);
		return;
	case VMBUS_PACKET_COMPLETION:
		/* Without a buffer there is nothing that it could be mistaken for. */
		if (!netvsp_receive_completed(ch, packet->id) && ch->netvsp->subs.count)
			netvsp_break(ch, "completion of a packet that it does not have");
		return;
	default:
		netvsp_break(ch, "a packet of a kind that has no meaning here");
	}
}

static bool on_receive(struct vmbus_channel *channel)
{
	struct netvsp_channel *ch = channel->owner;
	struct netvsp *netvsp = ch->netvsp;
	uint32_t before = netvsp->frames_to_port;
	bool any = false;

	for (uint32_t i = 0; i < PACKETS_AT_ONCE && netvsp->frames_to_port - before < FRAMES_AT_ONCE &&
			     !ch->broken && netvsp_send_answer(ch);
	     i++) {
		struct vmbus_packet packet;
		int err = vmbus_channel_receive(channel, ch->packet_buffer, VMBUS_PACKET_BYTES_MAX,
						&packet);

		if (err) {
			ch->broken |= err == -LIS_CORRUPT;
			break;
		}
		any = true;
		handle_packet(ch, &packet);
	}
	if (any)
		net_port_flush(netvsp->port);
	/* There may be room now, in the ring or in the buffer, for what waits. */
	return netvsp_receive_pump(netvsp) || any;
}

/* ---- life ---- */

static void free_channel(struct netvsp_channel *ch)
{
	free(ch->packet_buffer);
	free(ch);
}

static int on_open(struct vmbus_channel *channel)
{
	struct netvsp *netvsp = vmbus_device_owner(channel->device);
	struct netvsp_channel *ch;
	int err = netvsp_start(netvsp);

	if (err)
		return err;
	if (channel->index >= netvsp->channels_max || (channel->index && !netvsp->channels[0]))
		return -LIS_INVALID;
	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return -LIS_NOMEM;
	ch->packet_buffer = aligned_alloc(HV_PAGE_BYTES, VMBUS_PACKET_BYTES_MAX);
	if (!ch->packet_buffer) {
		free_channel(ch);
		return -LIS_NOMEM;
	}
	ch->netvsp = netvsp;
	ch->channel = channel;
	ch->held_timer.expired = held_for_long;
	channel->owner = ch;
	netvsp->channels[channel->index] = ch;
	atomic_fetch_add_explicit(&netvsp->channels_open, 1, memory_order_relaxed);
	return 0;
}

static void unlist_flush(struct netvsp_channel *ch)
{
	struct netvsp_channel **at = &ch->netvsp->to_flush;

	if (!ch->flush_due)
		return;
	while (*at != ch)
		at = &(*at)->next_to_flush;
	*at = ch->next_to_flush;
}

static void on_close(struct vmbus_channel *channel)
{
	struct netvsp_channel *ch = channel->owner;
	struct netvsp *netvsp = ch->netvsp;

	netvsp_receive_channel_closed(ch);
	if (!channel->index)
		netvsp_forget_guest(netvsp);
	unlist_flush(ch);
	io_timer_cancel(&ch->held_timer);
	netvsp->channels[channel->index] = NULL;
	atomic_fetch_sub_explicit(&netvsp->channels_open, 1, memory_order_relaxed);
	free_channel(ch);
	vmbus_channel_closed(channel);
}

const struct vmbus_device_ops netvsp_device_ops = {
	.open = on_open,
	.receive = on_receive,
	.close = on_close,
};
