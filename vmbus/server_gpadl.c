// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * GPADLs on the server: lists of guest pages that a guest makes for a channel and devices hold.
 *
 * A GPADL belongs to a channel id (the guest's view, also a dead one) and to a channel (the
 * device's view). Its memory lives until neither wants it: the guest by a teardown or by letting go
 * of the id, the device by giving back each reference. Lists are validated once, when complete, and
 * never change after. Work for each message is bounded: one chain of the table, or one GPADL's
 * pages.
 *
 * Context: as server.h.
 */
#include "vmbus/server_private.h"

#include "vmbus/packet.h"

/* The guest chooses the ids: a chain may hold all VMBUS_SERVER_GPADLS_MAX. */
static struct vmbus_server_gpadl **bucket_of(struct vmbus_server *server, uint32_t gpadl_id)
{
	return &server->gpadls[gpadl_id % VMBUS_SERVER_GPADL_BUCKETS];
}

static struct vmbus_server_gpadl *find(struct vmbus_server *server, uint32_t gpadl_id,
				       uint32_t channel_id)
{
	struct vmbus_server_gpadl *gpadl = *bucket_of(server, gpadl_id);

	while (gpadl && (gpadl->id != gpadl_id || gpadl->channel_id != channel_id ||
			 gpadl->state == VMBUS_GPADL_ORPHAN))
		gpadl = gpadl->next;
	return gpadl;
}

/* A body says no more than the GPADL's id, so there is one at most. */
static struct vmbus_server_gpadl *find_receiving(struct vmbus_server *server, uint32_t gpadl_id)
{
	struct vmbus_server_gpadl *gpadl = *bucket_of(server, gpadl_id);

	while (gpadl && (gpadl->id != gpadl_id || gpadl->state != VMBUS_GPADL_RECEIVING))
		gpadl = gpadl->next;
	return gpadl;
}

static void release(struct vmbus_server *server, struct vmbus_server_gpadl *gpadl)
{
	struct vmbus_server_gpadl **link = bucket_of(server, gpadl->id);

	while (*link != gpadl)
		link = &(*link)->next;
	*link = gpadl->next;
	server->gpadl_count--;
	server->gpadl_words -= gpadl->words_expected;
	server->ops->free(server->port, gpadl);
}

static void send_created(struct vmbus_server *server, uint32_t channel_id, uint32_t gpadl_id,
			 uint32_t status)
{
	struct vmbus_msg_gpadl_created created = {
		.header.type = VMBUS_MSG_GPADL_CREATED,
		.channel_id = channel_id,
		.gpadl_id = gpadl_id,
		.status = status,
	};

	server_send(server, &created, sizeof(created));
}

static void send_torndown(struct vmbus_server *server, uint32_t gpadl_id)
{
	struct vmbus_msg_gpadl_torndown torndown = {
		.header.type = VMBUS_MSG_GPADL_TORNDOWN,
		.gpadl_id = gpadl_id,
	};

	server_send(server, &torndown, sizeof(torndown));
}

/* Nobody holds it any more: what was that for? */
static void unreferenced(struct vmbus_server *server, struct vmbus_server_gpadl *gpadl)
{
	if (gpadl->refs > 0)
		return;
	if (gpadl->state == VMBUS_GPADL_TEARING_DOWN)
		send_torndown(server, gpadl->id);
	if (gpadl->state == VMBUS_GPADL_TEARING_DOWN || gpadl->state == VMBUS_GPADL_ORPHAN)
		release(server, gpadl);
}

static bool ranges_sane(struct vmbus_server *server, const struct vmbus_server_gpadl *gpadl)
{
	const uint8_t *cursor = (const uint8_t *)gpadl->words;
	size_t bytes = (size_t)gpadl->words_expected * sizeof(uint64_t);
	struct vmbus_gpa_run run;

	if (gpadl->range_count == 0)
		return false;
	for (uint32_t i = 0; i < gpadl->range_count; i++) {
		if (vmbus_gpa_run_next(&cursor, &bytes, &run))
			return false;
		for (uint32_t page = 0; page < run.pfn_count; page++)
			if (!server->ops->page_is_memory(server->port, run.pfns[page]))
				return false;
	}
	return true;
}

/*
 * Take words of a message; padding behind the last is clipped. Source: [openvmm channels.rs
 * Gpadl::append] firmware sends bodies padded to the largest size.
 */
static void append(struct vmbus_server *server, struct vmbus_server_gpadl *gpadl, const void *from,
		   size_t bytes)
{
	uint32_t room = gpadl->words_expected - gpadl->words_received;
	uint32_t words = (uint32_t)(bytes / sizeof(uint64_t));
	const uint8_t *source = from;
	uint8_t *target = (uint8_t *)(gpadl->words + gpadl->words_received);

	if (words > room)
		words = room;
	for (size_t i = 0; i < words * sizeof(uint64_t); i++)
		target[i] = source[i];
	gpadl->words_received += words;
	if (gpadl->words_received < gpadl->words_expected)
		return;
	if (ranges_sane(server, gpadl)) {
		gpadl->state = VMBUS_GPADL_READY;
		send_created(server, gpadl->channel_id, gpadl->id, VMBUS_STATUS_SUCCESS);
		return;
	}
	server_violation(server, "GPADL with impossible ranges or pages refused", gpadl->id);
	send_created(server, gpadl->channel_id, gpadl->id, VMBUS_STATUS_INVALID_PARAMETER);
	release(server, gpadl);
}

static bool is_within_limits(const struct vmbus_server *server, uint32_t words)
{
	return server->gpadl_count < VMBUS_SERVER_GPADLS_MAX &&
	       words <= VMBUS_SERVER_GPADL_WORDS_MAX - server->gpadl_words;
}

static struct vmbus_server_gpadl *create(struct vmbus_server *server, uint32_t gpadl_id,
					 uint32_t words)
{
	struct vmbus_server_gpadl **bucket = bucket_of(server, gpadl_id);
	struct vmbus_server_gpadl *gpadl;

	gpadl = server->ops->alloc(server->port, sizeof(*gpadl) + words * sizeof(uint64_t));
	if (!gpadl)
		return NULL;
	*gpadl = (struct vmbus_server_gpadl){ .next = *bucket, .id = gpadl_id,
					      .words_expected = words };
	*bucket = gpadl;
	server->gpadl_count++;
	server->gpadl_words += words;
	return gpadl;
}

void server_handle_gpadl_header(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_gpadl_header *header = message->payload;
	const struct vmbus_server_id *id = server_id(server, header->channel_id);
	uint32_t words = header->range_bytes / sizeof(uint64_t);
	uint32_t status = VMBUS_STATUS_INVALID_PARAMETER;
	struct vmbus_server_gpadl *gpadl;

	if (!id) {
		server_violation(server, "GPADL for an unknown channel refused",
				 header->channel_id);
		goto refuse;
	}
	if (find(server, header->gpadl_id, header->channel_id) ||
	    find_receiving(server, header->gpadl_id)) {
		server_violation(server, "GPADL with an id in use refused", header->gpadl_id);
		goto refuse;
	}
	if (header->range_count == 0 || header->range_count > words / 2) {
		server_violation(server, "GPADL with an impossible range count refused",
				 header->gpadl_id);
		goto refuse;
	}
	status = VMBUS_STATUS_INSUFFICIENT_RESOURCES;
	if (!is_within_limits(server, words)) {
		server_violation(server, "GPADL refused, the guest has too many words", words);
		goto refuse;
	}
	gpadl = create(server, header->gpadl_id, words);
	if (!gpadl) {
		server_no_memory(server, words);
		goto refuse;
	}
	gpadl->channel_id = (uint16_t)header->channel_id;
	gpadl->owner = id->channel;
	gpadl->range_count = header->range_count;
	gpadl->state = VMBUS_GPADL_RECEIVING;
	append(server, gpadl, header + 1, message->bytes - sizeof(*header));
	return;

refuse:
	send_created(server, header->channel_id, header->gpadl_id, status);
}

void server_handle_gpadl_body(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_gpadl_body *body = message->payload;
	struct vmbus_server_gpadl *gpadl = find_receiving(server, body->gpadl_id);

	if (!gpadl) {
		server_violation(server, "body of no unfinished GPADL ignored", body->gpadl_id);
		return;
	}
	append(server, gpadl, body + 1, message->bytes - sizeof(*body));
}

void server_handle_gpadl_teardown(struct vmbus_server *server, const struct server_message *message)
{
	const struct vmbus_msg_gpadl_teardown *teardown = message->payload;
	const struct vmbus_server_id *id = server_id(server, teardown->channel_id);
	struct vmbus_server_gpadl *gpadl = NULL;

	if (id)
		gpadl = find(server, teardown->gpadl_id, teardown->channel_id);
	if (!gpadl && id && id->dead) {
		/* Whatever the guest believes to be there, it is rid of. */
		send_torndown(server, teardown->gpadl_id);
		return;
	}
	if (!gpadl || gpadl->state != VMBUS_GPADL_READY) {
		server_violation(server, "teardown of a GPADL that is not there ignored",
				 teardown->gpadl_id);
		return;
	}
	gpadl->state = VMBUS_GPADL_TEARING_DOWN;
	unreferenced(server, gpadl);
}

void server_gpadls_forget(struct vmbus_server *server, uint16_t channel_id)
{
	for (uint32_t i = 0; i < VMBUS_SERVER_GPADL_BUCKETS; i++) {
		struct vmbus_server_gpadl *gpadl = server->gpadls[i], *next;

		for (; gpadl; gpadl = next) {
			next = gpadl->next;
			if (channel_id != 0 && gpadl->channel_id != channel_id)
				continue;
			gpadl->state = VMBUS_GPADL_ORPHAN;
			unreferenced(server, gpadl);
		}
	}
}

void server_gpadls_drop(struct vmbus_server *server, const struct vmbus_server_channel *channel)
{
	for (uint32_t i = 0; i < VMBUS_SERVER_GPADL_BUCKETS; i++) {
		struct vmbus_server_gpadl *gpadl = server->gpadls[i], *next;

		for (; gpadl; gpadl = next) {
			next = gpadl->next;
			if (gpadl->owner != channel || gpadl->refs == 0)
				continue;
			gpadl->refs = 0;
			unreferenced(server, gpadl);
		}
	}
}

void server_gpadls_disown(struct vmbus_server *server, const struct vmbus_server_channel *channel)
{
	for (uint32_t i = 0; i < VMBUS_SERVER_GPADL_BUCKETS; i++)
		for (struct vmbus_server_gpadl *gpadl = server->gpadls[i]; gpadl;
		     gpadl = gpadl->next)
			if (gpadl->owner == channel)
				gpadl->owner = NULL;
}

void server_gpadls_free_all(struct vmbus_server *server)
{
	for (uint32_t i = 0; i < VMBUS_SERVER_GPADL_BUCKETS; i++)
		while (server->gpadls[i])
			release(server, server->gpadls[i]);
}

/* The one that @channel's device may hold or holds. */
static struct vmbus_server_gpadl *find_owned(struct vmbus_server *server,
					     const struct vmbus_server_channel *channel,
					     uint32_t gpadl_id, bool held)
{
	struct vmbus_server_gpadl *gpadl = *bucket_of(server, gpadl_id);

	while (gpadl && (gpadl->id != gpadl_id || gpadl->owner != channel ||
			 (held ? gpadl->refs == 0 : gpadl->state != VMBUS_GPADL_READY)))
		gpadl = gpadl->next;
	return gpadl;
}

int vmbus_server_gpadl_get(struct vmbus_server *server, struct vmbus_server_channel *channel,
			   uint32_t gpadl_id, uint32_t range_index,
			   struct vmbus_server_range *out_range)
{
	struct vmbus_server_gpadl *gpadl = find_owned(server, channel, gpadl_id, false);
	const uint8_t *cursor;
	struct vmbus_gpa_run run;
	size_t bytes;

	if (!gpadl || channel->state == VMBUS_SERVER_CHANNEL_IDLE ||
	    range_index >= gpadl->range_count || gpadl->refs == UINT32_MAX)
		return -LIS_NOTFOUND;
	cursor = (const uint8_t *)gpadl->words;
	bytes = (size_t)gpadl->words_expected * sizeof(uint64_t);
	for (uint32_t i = 0; i <= range_index; i++)
		if (vmbus_gpa_run_next(&cursor, &bytes, &run))
			return -LIS_NOTFOUND; /* not reached: ranges were checked when complete */
	gpadl->refs++;
	*out_range = (struct vmbus_server_range){
		.range_count = gpadl->range_count,
		.byte_count = run.byte_count,
		.byte_offset = run.byte_offset,
		.pfn_count = run.pfn_count,
		.pfns = run.pfns,
	};
	return 0;
}

bool vmbus_server_gpadl_put(struct vmbus_server *server, struct vmbus_server_channel *channel,
			    uint32_t gpadl_id)
{
	struct vmbus_server_gpadl *gpadl = find_owned(server, channel, gpadl_id, true);

	if (!gpadl)
		return false;
	gpadl->refs--;
	return gpadl->refs == 0 && gpadl->state != VMBUS_GPADL_READY;
}

void vmbus_server_answer_teardowns(struct vmbus_server *server)
{
	for (uint32_t i = 0; i < VMBUS_SERVER_GPADL_BUCKETS; i++) {
		struct vmbus_server_gpadl *gpadl = server->gpadls[i], *next;

		for (; gpadl; gpadl = next) {
			next = gpadl->next;
			unreferenced(server, gpadl);
		}
	}
	server_settle(server);
}

const char *server_gpadls_check(const struct vmbus_server *server)
{
	uint32_t count = 0, words = 0;

	for (uint32_t i = 0; i < VMBUS_SERVER_GPADL_BUCKETS; i++) {
		const struct vmbus_server_gpadl *gpadl = server->gpadls[i];

		for (; gpadl; gpadl = gpadl->next) {
			bool received = gpadl->words_received == gpadl->words_expected;

			count++;
			words += gpadl->words_expected;
			if (gpadl->words_received > gpadl->words_expected)
				return "a GPADL has more words than it has room for";
			if ((gpadl->state == VMBUS_GPADL_READY ||
			     gpadl->state == VMBUS_GPADL_TEARING_DOWN) && !received)
				return "an unfinished GPADL is in use";
			if (gpadl->refs > 0 && (!gpadl->owner ||
			    gpadl->owner->state == VMBUS_SERVER_CHANNEL_IDLE))
				return "a GPADL is held for a closed channel";
			if (gpadl->refs == 0 && gpadl->state == VMBUS_GPADL_ORPHAN)
				return "a GPADL that nobody wants is kept";
		}
	}
	if (count != server->gpadl_count || words != server->gpadl_words)
		return "GPADLs are counted wrong";
	return NULL;
}
