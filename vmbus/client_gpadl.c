// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * GPADLs of the client: memory described to the host, page by page.
 *
 * A GPADL is in the client's list from create until it is torn down, refused or abandoned, so that
 * no id is used twice at once and no channel is released under it. Its first message holds 26 page
 * numbers, each further one 28. Source: [linux 6.1 drivers/hv/channel.c create_gpadl_header].
 */
#include "vmbus/client_private.h"

#define HEADER_PFNS (VMBUS_GPADL_HEADER_WORDS - 1u)

static struct vmbus_client_gpadl *find_gpadl(const struct vmbus_client *client, uint32_t id)
{
	struct vmbus_client_gpadl *gpadl = client->gpadls;

	while (gpadl && gpadl->id != id)
		gpadl = gpadl->next;
	return gpadl;
}

static void remove_gpadl(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl)
{
	struct vmbus_client_gpadl **at = &client->gpadls;

	while (*at && *at != gpadl)
		at = &(*at)->next;
	if (*at)
		*at = gpadl->next;
	client_unqueue(client, &gpadl->create);
	client_unqueue(client, &gpadl->teardown);
}

bool client_channel_has_gpadls(const struct vmbus_client *client,
			       const struct vmbus_client_channel *channel)
{
	for (const struct vmbus_client_gpadl *gpadl = client->gpadls; gpadl; gpadl = gpadl->next)
		if (gpadl->channel == channel)
			return true;
	return false;
}

/* Not 0, and none that is in use; there are never 2^32 of them. */
static uint32_t new_id(struct vmbus_client *client)
{
	do
		client->last_gpadl_id++;
	while (!client->last_gpadl_id || find_gpadl(client, client->last_gpadl_id));
	return client->last_gpadl_id;
}

int vmbus_client_gpadl_create(struct vmbus_client *client, struct vmbus_client_channel *channel,
			      struct vmbus_client_gpadl *gpadl, const uint64_t *pfns,
			      uint32_t byte_count, uint32_t byte_offset)
{
	uint64_t pfn_count = ((uint64_t)byte_count + byte_offset + HV_PAGE_BYTES - 1) >>
			     HV_PAGE_SHIFT;

	if (client->state != VMBUS_CLIENT_CONNECTED || channel->rescinded)
		return -LIS_GONE;
	if (!byte_count || byte_offset >= HV_PAGE_BYTES || pfn_count > VMBUS_CLIENT_GPADL_PAGES_MAX)
		return -LIS_INVALID;
	*gpadl = (struct vmbus_client_gpadl){
		.id = new_id(client),
		.state = VMBUS_CLIENT_GPADL_CREATING,
		.next = client->gpadls,
		.channel = channel,
		.pfns = pfns,
		.pfn_count = (uint32_t)pfn_count,
		.byte_count = byte_count,
		.byte_offset = byte_offset,
	};
	client->gpadls = gpadl;
	client_queue(client, &gpadl->create, CLIENT_GPADL_CREATE);
	client_pump(client);
	return 0;
}

/* The first message: which channel, which range, as many page numbers as fit. */
static size_t build_header(const struct vmbus_client_gpadl *gpadl, uint64_t *words,
			   uint32_t *out_pfns)
{
	uint32_t count = gpadl->pfn_count < HEADER_PFNS ? gpadl->pfn_count : HEADER_PFNS;
	const struct vmbus_msg_gpadl_header header = {
		.header.type = VMBUS_MSG_GPADL_HEADER,
		.channel_id = gpadl->channel->offer.channel_id,
		.gpadl_id = gpadl->id,
		.range_bytes = (uint16_t)(8 + 8 * gpadl->pfn_count),
		.range_count = 1,
	};
	const struct vmbus_gpa_range range = { gpadl->byte_count, gpadl->byte_offset };
	uint8_t *at = (uint8_t *)words;

	/* The range begins at byte 20: nothing behind the header is aligned. */
	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), &range, sizeof(range));
	memcpy(at + sizeof(header) + sizeof(range), gpadl->pfns, count * sizeof(uint64_t));
	*out_pfns = count;
	return sizeof(header) + sizeof(range) + count * sizeof(uint64_t);
}

static size_t build_body(const struct vmbus_client_gpadl *gpadl, uint64_t *words,
			 uint32_t *out_pfns)
{
	uint32_t left = gpadl->pfn_count - gpadl->pfns_sent;
	uint32_t count = left < VMBUS_GPADL_BODY_WORDS ? left : VMBUS_GPADL_BODY_WORDS;
	const struct vmbus_msg_gpadl_body body = {
		.header.type = VMBUS_MSG_GPADL_BODY,
		.message_number = gpadl->messages_sent,
		.gpadl_id = gpadl->id,
	};

	memcpy(words, &body, sizeof(body));
	memcpy((uint8_t *)words + sizeof(body), gpadl->pfns + gpadl->pfns_sent,
	       count * sizeof(uint64_t));
	*out_pfns = count;
	return sizeof(body) + count * sizeof(uint64_t);
}

int client_send_gpadl(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl)
{
	uint64_t message[VMBUS_MESSAGE_BYTES_MAX / 8];
	uint32_t pfns;
	size_t bytes;
	int error;

	do {
		bytes = gpadl->messages_sent ? build_body(gpadl, message, &pfns) :
					       build_header(gpadl, message, &pfns);
		error = client_post(client, message, bytes);
		if (error == -LIS_AGAIN)
			return error;
		if (error) {
			remove_gpadl(client, gpadl);
			client->ops->gpadl_created(client->port, gpadl, gpadl->messages_sent ?
						   -LIS_STILL_SHARED : -LIS_IO);
			return 0;
		}
		gpadl->messages_sent++;
		gpadl->pfns_sent += pfns;
	} while (gpadl->pfns_sent < gpadl->pfn_count);
	return 0;
}

void client_handle_gpadl_created(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_msg_gpadl_created message;
	struct vmbus_client_gpadl *gpadl;

	memcpy(&message, payload, sizeof(message));
	gpadl = find_gpadl(client, message.gpadl_id);
	if (!gpadl || gpadl->state != VMBUS_CLIENT_GPADL_CREATING || !gpadl->messages_sent ||
	    gpadl->channel->offer.channel_id != message.channel_id) {
		client_violation(client, "creation of a GPADL that is none of ours",
				 message.gpadl_id);
		return;
	}
	if (message.status) {
		/* It may refuse before it has seen the rest. */
		remove_gpadl(client, gpadl);
		client->ops->gpadl_created(client->port, gpadl, -LIS_REFUSED);
		return;
	}
	if (gpadl->create.queued) {
		client_violation(client, "creation of a GPADL before it was described",
				 message.gpadl_id);
		return;
	}
	gpadl->state = VMBUS_CLIENT_GPADL_READY;
	client->ops->gpadl_created(client->port, gpadl, 0);
}

int vmbus_client_gpadl_teardown(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl)
{
	if (client->state != VMBUS_CLIENT_CONNECTED)
		return -LIS_GONE;
	if (gpadl->state != VMBUS_CLIENT_GPADL_READY)
		return -LIS_BUSY;
	gpadl->state = VMBUS_CLIENT_GPADL_TEARING_DOWN;
	client_queue(client, &gpadl->teardown, CLIENT_GPADL_TEARDOWN);
	client_pump(client);
	return 0;
}

int client_send_gpadl_teardown(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl)
{
	struct vmbus_msg_gpadl_teardown message = {
		.header.type = VMBUS_MSG_GPADL_TEARDOWN,
		.channel_id = gpadl->channel->offer.channel_id,
		.gpadl_id = gpadl->id,
	};
	int error = client_post(client, &message, sizeof(message));

	if (error && error != -LIS_AGAIN) {
		remove_gpadl(client, gpadl);
		client->ops->gpadl_torn_down(client->port, gpadl, -LIS_STILL_SHARED);
		return 0;
	}
	return error;
}

void client_handle_gpadl_torndown(struct vmbus_client *client, const void *payload, size_t bytes)
{
	struct vmbus_msg_gpadl_torndown message;
	struct vmbus_client_gpadl *gpadl;

	memcpy(&message, payload, sizeof(message));
	gpadl = find_gpadl(client, message.gpadl_id);
	if (!gpadl || gpadl->state != VMBUS_CLIENT_GPADL_TEARING_DOWN || gpadl->teardown.queued) {
		client_violation(client, "teardown that nobody waits for", message.gpadl_id);
		return;
	}
	remove_gpadl(client, gpadl);
	client->ops->gpadl_torn_down(client->port, gpadl, 0);
}

void vmbus_client_gpadl_abandon(struct vmbus_client *client, struct vmbus_client_gpadl *gpadl)
{
	remove_gpadl(client, gpadl);
}
