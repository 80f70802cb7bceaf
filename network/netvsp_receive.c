/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network VSP's way to the guest: frames from the port straight into the receive buffer.
 *
 * Sub-allocations are taken before a frame is read, with room for RNDIS' headers in front of the data in
 * each; what the frame did not need goes back. A long frame (receive coalescing) spreads over many, each
 * an RNDIS message of its own in the same packet. To take so many for each short frame would cost more than
 * all else: unless there was a long one lately, what is too long for one is read into a buffer of our own
 * and copied. Frames gather in a batch for each channel and leave as one packet.
 *
 * A channel is full where its ring has no room, or the guest has enough of its frames: it would take more,
 * carry them as far as its sockets, and drop them there. While a channel is full no further frame is read,
 * whoever it is for: they wait in the port. If that takes long, and others are not full, the guest has left
 * that channel alone, and frames for it are dropped until it goes on.
 *
 * With one CPU for both, whoever reads in the guest stands still while we run. Its time slice over, the guest's driver
 * has taken all and its reader has not: datagrams given then find the socket full. They wait until the guest sleeps,
 * having read what it has, or for some time. TCP needs nothing of the kind, its sender waits for the reader.
 *
 * The buffer is the guest's memory: what decides anything is copied out of it first, once.
 */
#include "network/netvsp_private.h"

#include <stdlib.h>
#include <string.h>

/* [policy] Frames before the loop looks at other things, and in one packet, but for the last one's further pieces. */
#define FRAMES_AT_ONCE 64u
/* Sub-allocations of the longest frame, where they are shortest. */
#define SUBS_PER_FRAME_MAX (NET_FRAME_BYTES_MAX / (NETVSP_SUB_BYTES_MIN - NETVSP_RECEIVE_HEAD_BYTES) + 1)
/*
 * [policy] Sub-allocations with the guest, for each channel. Sockets of Linux hold no more than 166 short
 * frames at first (212992 bytes by 1280); what comes in many pieces is rarely for one of those.
 */
#define SUBS_OUT_MAX 128u
#define SUBS_OUT_MAX_LONG 1024u
/* [policy] For so long a full channel may hold up the others. A processor of the guest can be away for a while. */
#define PATIENCE_NS 1000000000u
/* [policy] A guest that had enough of datagrams is given no more for so many times as long as it took the first. */
#define REST_TIMES 2u
#define REST_NS_MAX 100000000u
#define REST_LOOKS 8u /* so often it is looked whether it sleeps */
/* [policy] Short frames after a long one until the next is taken to be short as well. */
#define LONG_FRAMES_DUE 64u
/* Each piece may lie across pages; a jumbo frame's over many. */
#define PIECES_MAX (2 * SUBS_PER_FRAME_MAX + NET_FRAME_BYTES_MAX / HV_PAGE_BYTES)

/* ---- frames ---- */

/* A frame that was read, in its sub-allocations. */
struct arrival {
	uint32_t subs[SUBS_PER_FRAME_MAX];
	uint32_t sub_count;
	struct iovec iov[PIECES_MAX];
	uint32_t iov_count;
	uint32_t bytes;
	struct net_offload offload;
	uint8_t head[NET_HEADERS_BYTES_MAX]; /* a copy of its beginning */
	uint32_t head_bytes;
	uint32_t moved_bytes;                /* its data begin so much later, as the VLAN tag is out */
	bool has_vlan;
	uint16_t vlan_tci;
	struct net_headers headers;
	uint32_t hash, hash_type;
};

static uint32_t sub_data_bytes(const struct netvsp *netvsp)
{
	return netvsp->subs.bytes - NETVSP_RECEIVE_HEAD_BYTES;
}

static uint32_t subs_of_long_frame(const struct netvsp *netvsp)
{
	return NET_FRAME_BYTES_MAX / sub_data_bytes(netvsp) + 1;
}

bool netvsp_receive_has_room_for_long_frames(const struct netvsp *netvsp)
{
	return netvsp->subs.count && netvsp->subs.count >= subs_of_long_frame(netvsp);
}

static bool takes_long_frames(const struct netvsp *netvsp)
{
	return (netvsp->offloads.rsc_ipv4 || netvsp->offloads.rsc_ipv6) &&
	       netvsp_receive_has_room_for_long_frames(netvsp);
}

static void arrival_take(struct netvsp *netvsp, struct arrival *arrival, uint32_t count)
{
	while (arrival->sub_count < count) {
		uint32_t sub = netvsp_sub_take(&netvsp->subs);
		uint64_t offset = (uint64_t)sub * netvsp->subs.bytes + NETVSP_RECEIVE_HEAD_BYTES;

		arrival->subs[arrival->sub_count++] = sub;
		arrival->iov_count += netvsp_buffer_iov(&netvsp->receive_buffer, offset,
							sub_data_bytes(netvsp),
							&arrival->iov[arrival->iov_count],
							PIECES_MAX - arrival->iov_count);
	}
}

static void arrival_trim(struct netvsp *netvsp, struct arrival *arrival, uint32_t count)
{
	while (arrival->sub_count > count)
		netvsp_sub_give(&netvsp->subs, arrival->subs[--arrival->sub_count]);
}

static void copy_from_iov(const struct iovec *iov, uint32_t iov_count, void *to, size_t bytes)
{
	for (uint32_t i = 0; i < iov_count && bytes; i++) {
		size_t piece = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;

		memcpy(to, iov[i].iov_base, piece);
		to = (uint8_t *)to + piece;
		bytes -= piece;
	}
}

static void write_buffer(struct netvsp *netvsp, uint64_t offset, const void *from, uint32_t bytes)
{
	struct iovec iov[2];
	uint32_t count = netvsp_buffer_iov(&netvsp->receive_buffer, offset, bytes, iov, 2);

	for (uint32_t i = 0; i < count; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from = (const uint8_t *)from + iov[i].iov_len;
	}
}

/* Does the guest want frames for this address? */
static bool is_wanted(struct netvsp *netvsp, const uint8_t *destination)
{
	static const uint8_t broadcast[NET_MAC_BYTES] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint32_t filter = atomic_load_explicit(&netvsp->filter, memory_order_relaxed);
	uint8_t mac[NET_MAC_BYTES];

	if (!netvsp_is_plugged(netvsp))
		return false;
	if (filter & NDIS_FILTER_PROMISCUOUS)
		return true;
	if (!memcmp(destination, broadcast, sizeof(broadcast)))
		return filter & NDIS_FILTER_BROADCAST;
	/* Guests of today ask for all multicast or none; a list may be answered with more. */
	if (destination[0] & 1)
		return filter & (NDIS_FILTER_ALL_MULTICAST | NDIS_FILTER_MULTICAST);
	netvsp_mac_get(netvsp, mac);
	return (filter & NDIS_FILTER_DIRECTED) && !memcmp(destination, mac, sizeof(mac));
}

static uint16_t read_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* The tag goes beside the frame, and its addresses move up to close the gap. */
static void take_vlan_out(struct netvsp *netvsp, struct arrival *arrival)
{
	uint64_t data = (uint64_t)arrival->subs[0] * netvsp->subs.bytes + NETVSP_RECEIVE_HEAD_BYTES;

	if (!(netvsp->capabilities & NVSP_CAPABILITY_VLAN) ||
	    arrival->head_bytes < NET_ETHERNET_BYTES + NET_VLAN_BYTES ||
	    read_be16(arrival->head + 12) != 0x8100)
		return;
	arrival->has_vlan = true;
	arrival->vlan_tci = read_be16(arrival->head + 14);
	arrival->moved_bytes = NET_VLAN_BYTES;
	write_buffer(netvsp, data + NET_VLAN_BYTES, arrival->head, 2 * NET_MAC_BYTES);
	memmove(arrival->head + 2 * NET_MAC_BYTES, arrival->head + 2 * NET_MAC_BYTES + NET_VLAN_BYTES,
		arrival->head_bytes - 2 * NET_MAC_BYTES - NET_VLAN_BYTES);
	arrival->head_bytes -= NET_VLAN_BYTES;
}

static struct netvsp_channel *channel_of_hash(struct netvsp *netvsp, struct arrival *arrival)
{
	const struct netvsp_rss *rss = &netvsp->rss;
	struct netvsp_channel *ch;

	if (!rss->enabled)
		return netvsp->channels[0];
	arrival->hash = net_hash(&rss->key, arrival->head, &arrival->headers, rss->types,
				 &arrival->hash_type);
	ch = netvsp->channels[rss->table[arrival->hash % NDIS_RSS_TABLE_COUNT]];
	return ch && !ch->broken ? ch : netvsp->channels[0];
}

/* Adds one piece of per-packet information; returns its end. */
static uint8_t *add_info(uint8_t *at, uint32_t type, uint32_t value)
{
	struct rndis_packet_info info = { sizeof(info) + sizeof(value), type, sizeof(info) };

	memcpy(at, &info, sizeof(info));
	memcpy(at + sizeof(info), &value, sizeof(value));
	return at + sizeof(info) + sizeof(value);
}

/* What a port says of a checksum is not about this one, and guests may believe what they are told. */
static bool ipv4_checksum_is_right(const struct arrival *arrival)
{
	const uint8_t *ip = arrival->head + arrival->headers.ip_offset;

	return arrival->headers.ip_version == 4 &&
	       net_sum_fold(net_sum(ip, (ip[0] & 0xfu) * 4, 0, false)) == UINT16_MAX;
}

static uint32_t checksum_info(const struct arrival *arrival)
{
	uint32_t found = 0;

	if (!(arrival->offload.flags & (NET_CHECKSUM_VALID | NET_CHECKSUM_PARTIAL)))
		return 0;
	if (ipv4_checksum_is_right(arrival))
		found |= RNDIS_RX_IP_SUCCEEDED;
	if (arrival->headers.transport == NET_TRANSPORT_TCP)
		return found | RNDIS_RX_TCP_SUCCEEDED;
	if (arrival->headers.transport == NET_TRANSPORT_UDP)
		return found | RNDIS_RX_UDP_SUCCEEDED;
	return 0;
}

static uint32_t vlan_info(uint16_t tci)
{
	return (tci >> 13 & RNDIS_VLAN_PRIORITY_MASK) | (tci & 0x1000 ? RNDIS_VLAN_DEI : 0) |
	       (uint32_t)(tci & 0xfff) << RNDIS_VLAN_ID_SHIFT;
}

/* RNDIS' headers in front of one sub-allocation's data. Returns the message's length. */
static uint32_t write_head(struct netvsp *netvsp, const struct arrival *arrival, uint32_t index,
			   uint32_t data_bytes)
{
	uint32_t moved = index ? 0 : arrival->moved_bytes;
	struct rndis_packet packet = {
		.data_offset = NETVSP_RECEIVE_HEAD_BYTES - sizeof(struct rndis_header) + moved,
		.data_bytes = data_bytes - moved,
	};
	struct rndis_header header = { RNDIS_PACKET, NETVSP_RECEIVE_HEAD_BYTES + data_bytes };
	uint8_t head[NETVSP_RECEIVE_HEAD_BYTES] = { 0 };
	uint8_t *infos = head + sizeof(header) + sizeof(packet), *at = infos;

	if (!index) {
		uint32_t checksum = checksum_info(arrival);

		if (checksum)
			at = add_info(at, RNDIS_INFO_CHECKSUM, checksum);
		if (arrival->has_vlan)
			at = add_info(at, RNDIS_INFO_VLAN, vlan_info(arrival->vlan_tci));
		if (arrival->hash_type)
			at = add_info(at, RNDIS_INFO_HASH_VALUE, arrival->hash);
	}
	if (arrival->sub_count > 1) {
		struct rndis_packet_id id = { 1, RNDIS_PACKET_ID_SPLIT, 0 };
		uint32_t value;

		id.flags |= index ? 0 : RNDIS_PACKET_ID_FIRST;
		id.flags |= index + 1 < arrival->sub_count ? 0 : RNDIS_PACKET_ID_LAST;
		memcpy(&value, &id, sizeof(value));
		at = add_info(at, RNDIS_INFO_PACKET_ID, value);
	}
	if (at > infos) {
		packet.info_offset = sizeof(packet);
		packet.info_bytes = (uint32_t)(at - infos);
	}
	memcpy(head, &header, sizeof(header));
	memcpy(head + sizeof(header), &packet, sizeof(packet));
	write_buffer(netvsp, (uint64_t)arrival->subs[index] * netvsp->subs.bytes, head, sizeof(head));
	return header.bytes;
}

/* Frame and headers are in place: to the channel with it. */
static void deliver(struct netvsp *netvsp, struct netvsp_channel *ch, struct arrival *arrival)
{
	uint32_t bytes[SUBS_PER_FRAME_MAX], left = arrival->bytes;

	for (uint32_t i = 0; i < arrival->sub_count; i++) {
		uint32_t data_bytes = left < sub_data_bytes(netvsp) ? left : sub_data_bytes(netvsp);

		bytes[i] = write_head(netvsp, arrival, i, data_bytes);
		left -= data_bytes;
	}
	netvsp_count(&netvsp->packets_received, 1);
	netvsp_count(&netvsp->bytes_received, arrival->bytes - arrival->moved_bytes);
	netvsp_batch_add(ch, NVSP_RNDIS_DATA, arrival->subs, bytes, arrival->sub_count);
	ch->last_was_tcp = arrival->headers.transport == NET_TRANSPORT_TCP;
}

static void capture(struct netvsp *netvsp, const struct arrival *arrival)
{
	struct net_frame frame = { arrival->iov, arrival->iov_count, arrival->bytes,
				   arrival->offload };

	netvsp_capture_frame(netvsp, &frame);
}

/* Returns false where the frame cannot be used. */
static bool prepare(struct netvsp *netvsp, struct arrival *arrival)
{
	if (arrival->bytes < NET_FRAME_BYTES_MIN)
		return false;
	arrival->head_bytes = arrival->bytes < sizeof(arrival->head) ? arrival->bytes
								     : sizeof(arrival->head);
	copy_from_iov(arrival->iov, arrival->iov_count, arrival->head, arrival->head_bytes);
	if (!is_wanted(netvsp, arrival->head))
		return false;
	/* What comes in pieces is never forwarded by the guest; all else must be right as it is. */
	if (arrival->offload.gso == NET_GSO_NONE && (arrival->offload.flags & NET_CHECKSUM_PARTIAL)) {
		if (net_complete_checksum(arrival->iov, arrival->iov_count, arrival->bytes,
					  &arrival->offload))
			return false;
		arrival->offload.flags |= NET_CHECKSUM_VALID;
	}
	if (netvsp->captures)
		capture(netvsp, arrival);
	take_vlan_out(netvsp, arrival);
	if (netvsp->rss.enabled || netvsp->guest_shares_cpu || arrival->offload.flags)
		net_parse_headers(arrival->head, arrival->head_bytes, &arrival->headers);
	return true;
}

/* Into as many sub-allocations as it takes, up to @count, which are free. Returns what the port does. */
static int read_frame(struct netvsp *netvsp, struct arrival *arrival, uint32_t count)
{
	uint32_t data_bytes = sub_data_bytes(netvsp), used, iov_count;
	uint32_t first = netvsp->long_frames_due ? count : 1;
	int err;

	arrival_take(netvsp, arrival, first);
	iov_count = arrival->iov_count;
	if (first < count)
		arrival->iov[iov_count++] = (struct iovec){ netvsp->long_frame, (count - first) * data_bytes };
	err = net_port_receive(netvsp->port, arrival->iov, iov_count, count * data_bytes, &arrival->bytes,
			       &arrival->offload);
	if (err)
		return err;
	used = (arrival->bytes + data_bytes - 1) / data_bytes;
	arrival_take(netvsp, arrival, used);
	if (used > first)
		net_iov_write(arrival->iov, arrival->iov_count, first * data_bytes, netvsp->long_frame,
			      arrival->bytes - first * data_bytes);
	arrival_trim(netvsp, arrival, used);
	if (used > 1)
		netvsp->long_frames_due = LONG_FRAMES_DUE;
	else if (netvsp->long_frames_due)
		netvsp->long_frames_due--;
	return 0;
}

enum got {
	GOT_FRAME,
	GOT_NOTHING,
	GOT_NO_ROOM,
};

static enum got receive_frame(struct netvsp *netvsp, struct netvsp_channel **out_channel)
{
	uint32_t count = takes_long_frames(netvsp) ? subs_of_long_frame(netvsp) : 1;
	struct arrival arrival;
	int err;

	/* One is left for answers, where there are so many. */
	if (netvsp->subs.free_count < count + (netvsp->subs.count > count))
		return GOT_NO_ROOM;
	arrival.sub_count = 0;
	arrival.iov_count = 0;
	arrival.moved_bytes = 0;
	arrival.has_vlan = false;
	arrival.hash_type = 0;
	memset(&arrival.headers, 0, sizeof(arrival.headers));
	memset(&arrival.offload, 0, sizeof(arrival.offload));
	err = read_frame(netvsp, &arrival, count);
	if (err || !prepare(netvsp, &arrival)) {
		arrival_trim(netvsp, &arrival, 0);
		return err ? GOT_NOTHING : GOT_FRAME;
	}
	*out_channel = channel_of_hash(netvsp, &arrival);
	if ((*out_channel)->passed_over) {
		arrival_trim(netvsp, &arrival, 0);
		netvsp_count(&netvsp->unread_dropped, 1);
		*out_channel = NULL;
		return GOT_FRAME;
	}
	deliver(netvsp, *out_channel, &arrival);
	return GOT_FRAME;
}

/*
 * A ring knows one wish for a signal, and whatever goes into it ends that: the first thing that waits
 * must be tried again, and nothing may overtake it.
 */
static void send_all_batches(struct netvsp *netvsp)
{
	for (uint32_t i = 0; i < netvsp->channels_max; i++) {
		struct netvsp_channel *ch = netvsp->channels[i];

		if (ch && (ch->answer_due || ch->batch.count) && netvsp_send_answer(ch))
			netvsp_batch_send(ch);
	}
}

static bool may_receive(const struct netvsp *netvsp)
{
	return netvsp->port_ready && netvsp->initialized && netvsp->subs.count &&
	       atomic_load_explicit(&netvsp->filter, memory_order_relaxed);
}

/* Returns false if there is no room for it now. */
static bool send_control(struct netvsp *netvsp, const uint8_t *message, uint32_t bytes)
{
	struct netvsp_channel *ch = netvsp->channels[0];
	uint32_t sub;

	/* Its own packet: frames before it first. */
	if (!netvsp_batch_send(ch) || !netvsp->subs.free_count)
		return false;
	sub = netvsp_sub_take(&netvsp->subs);
	if (bytes > netvsp->subs.bytes)
		bytes = netvsp->subs.bytes;
	write_buffer(netvsp, (uint64_t)sub * netvsp->subs.bytes, message, bytes);
	netvsp_batch_add(ch, NVSP_RNDIS_CONTROL, &sub, &bytes, 1);
	/* Where it does not go now it goes before the next frame. */
	netvsp_batch_send(ch);
	return true;
}

/* The last that goes may stay in its channel's batch. */
static void send_waiting_control(struct netvsp *netvsp)
{
	struct netvsp_control *control;

	while ((control = netvsp->waiting) && send_control(netvsp, control->message, control->bytes)) {
		netvsp->waiting = control->next;
		netvsp->waiting_count--;
		free(control);
	}
}

void netvsp_receive_control(struct netvsp *netvsp)
{
	struct netvsp_control *control, **end = &netvsp->waiting;
	uint32_t bytes = netvsp->control_bytes;

	netvsp->control_bytes = 0;
	if (!bytes || !netvsp->subs.count)
		return;
	if (!netvsp->waiting && send_control(netvsp, netvsp->control, bytes))
		return;
	control = malloc(sizeof(*control) + bytes);
	if (!control)
		return;
	control->next = NULL;
	control->bytes = bytes;
	memcpy(control->message, netvsp->control, bytes);
	while (*end)
		end = &(*end)->next;
	*end = control;
	netvsp->waiting_count++;
}

/* No channel may have so much that nothing is left for others. */
static uint32_t subs_out_max(const struct netvsp *netvsp)
{
	uint32_t max = netvsp->long_frames_due ? SUBS_OUT_MAX_LONG : SUBS_OUT_MAX;
	uint32_t open = atomic_load_explicit(&netvsp->channels_open, memory_order_relaxed);
	uint32_t share = open ? netvsp->subs.count / open : 0;

	if (share < max)
		max = share;
	return max ? max : 1;
}

static void pass_over(struct netvsp_channel *ch)
{
	ch->passed_over = true;
	ch->passes++;
	if ((ch->passes & (ch->passes - 1)) == 0) /* the guest may do this in a loop */
		os_log(OS_LOG_WARNING, "%s: channel %u takes no frames; those for it are dropped until it does",
		       ch->netvsp->name, ch->channel->index);
}

/* Some are full, some are not: those that have been for long are passed over. True: others may get there yet. */
static bool has_patience(struct netvsp *netvsp)
{
	uint64_t now_ns = io_loop_now_ns(netvsp->loop), first_due_ns = UINT64_MAX;

	for (uint32_t i = 0; i < netvsp->channels_max; i++) {
		struct netvsp_channel *ch = netvsp->channels[i];

		if (!ch || !ch->full_since_ns || ch->passed_over)
			continue;
		if (now_ns - ch->full_since_ns >= PATIENCE_NS)
			pass_over(ch);
		else if (ch->full_since_ns + PATIENCE_NS < first_due_ns)
			first_due_ns = ch->full_since_ns + PATIENCE_NS;
	}
	if (first_due_ns == UINT64_MAX)
		return false;
	io_timer_set(&netvsp->patience_timer, netvsp->loop, first_due_ns);
	return true;
}

/* A guest that does nothing at all has left no channel alone. */
static void forget_times(struct netvsp *netvsp)
{
	for (uint32_t i = 0; i < netvsp->channels_max; i++) {
		if (netvsp->channels[i])
			netvsp->channels[i]->full_since_ns = 0;
	}
}

static void has_enough(struct netvsp_channel *ch)
{
	struct partition *partition = ch->netvsp->partition;

	if (ch->netvsp->guest_shares_cpu && !ch->last_was_tcp && partition->ops->is_asleep)
		ch->enough_since_ns = io_loop_now_ns(ch->netvsp->loop);
}

/* A channel with room: is its guest still to be left alone? */
static bool rests(struct netvsp_channel *ch)
{
	struct partition *partition = ch->netvsp->partition;
	uint64_t now_ns, rest_ns;

	if (!ch->enough_since_ns)
		return false;
	now_ns = io_loop_now_ns(ch->netvsp->loop);
	if (!ch->rests_until_ns) {
		rest_ns = (now_ns - ch->enough_since_ns) * REST_TIMES;
		rest_ns = rest_ns < REST_NS_MAX ? rest_ns : REST_NS_MAX;
		ch->rests_until_ns = now_ns + rest_ns;
		ch->rest_look_ns = rest_ns / REST_LOOKS;
	}
	if (now_ns < ch->rests_until_ns && !partition->ops->is_asleep(partition)) {
		io_timer_set(&ch->netvsp->patience_timer, ch->netvsp->loop, now_ns + ch->rest_look_ns);
		return true;
	}
	ch->enough_since_ns = ch->rests_until_ns = 0;
	return false;
}

/* Is some channel full, which the next frame may be for? Nobody knows before it is read. */
static bool must_wait(struct netvsp *netvsp, uint32_t out_max)
{
	bool any_full = false, any_has_room = false, any_rests = false;

	for (uint32_t i = 0; i < netvsp->channels_max; i++) {
		struct netvsp_channel *ch = netvsp->channels[i];

		if (!ch || ch->broken)
			continue;
		if (ch->subs_out < out_max && !ch->batch.count && !ch->answer_due) {
			any_has_room = true;
			ch->full_since_ns = 0;
			ch->passed_over = false;
			any_rests |= rests(ch);
			continue;
		}
		any_full = true;
		if (!ch->full_since_ns)
			ch->full_since_ns = io_loop_now_ns(netvsp->loop);
	}
	if (any_rests)
		return true;
	if (any_has_room)
		return any_full && has_patience(netvsp);
	forget_times(netvsp);
	return true;
}

/* Where nobody takes them before we sleep there are as many as the guest may have: it gives them back as one. */
static uint32_t frames_at_once(const struct netvsp *netvsp)
{
	return netvsp->guest_shares_cpu ? SUBS_OUT_MAX : FRAMES_AT_ONCE;
}

uint32_t netvsp_receive_pump(struct netvsp *netvsp)
{
	uint32_t frames, out_max = subs_out_max(netvsp), frames_max = frames_at_once(netvsp);

	/* What waits for room goes, whether there are further frames or not. */
	send_all_batches(netvsp);
	send_waiting_control(netvsp);
	if (!may_receive(netvsp) || must_wait(netvsp, out_max))
		return 0;
	for (frames = 0; frames < frames_max; frames++) {
		struct netvsp_channel *ch = NULL;
		enum got got = receive_frame(netvsp, &ch);

		if (got == GOT_NO_ROOM && !netvsp->starving)
			netvsp_count(&netvsp->starved, 1);
		netvsp->starving = got == GOT_NO_ROOM;
		if (got == GOT_NOTHING)
			netvsp->port_ready = false;
		if (got != GOT_FRAME)
			break;
		if (ch && ch->batch.count >= frames_max && !netvsp_batch_send(ch))
			break;
		if (ch && ch->subs_out >= out_max) {
			has_enough(ch);
			break;
		}
	}
	send_all_batches(netvsp);
	return frames;
}
