// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The loopback partition, the host's end: memory, bindings, messages, event flags, and the thread
 * that answers a guest end in another process. loopback_guest.c has the other end.
 *
 * Messages of a VP are a ring with one writer, the bus, and one reader, the VP. The host keeps its
 * own head and believes the tail only as far as it makes the ring full. A binding is changed under
 * its own lock, which a signal from this process holds while it writes: unbind returns when no
 * write is under way. A guest end in another process holds a descriptor of its own and may write to
 * an eventfd that is no longer bound; nobody reads it then.
 */
#include "vmbus/loopback_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY_BYTES_MAX (UINT64_C(2) << 30)

static struct loopback *loopback_of(struct partition *partition)
{
	return (struct loopback *)partition;
}

size_t loopback_shared_size(uint32_t vp_count)
{
	return sizeof(struct loopback_shared) + vp_count * sizeof(struct loopback_vp);
}

uint32_t loopback_find_binding(const struct loopback_shared *shared, uint32_t connection_id)
{
	/* Ids of channels differ in their low bits, so the first look mostly finds it. */
	for (uint32_t i = 0; i < LOOPBACK_BINDINGS_MAX; i++) {
		uint32_t at = (connection_id + i) % LOOPBACK_BINDINGS_MAX;

		if (atomic_load_explicit(&shared->bindings[at].connection_id,
					 memory_order_acquire) == connection_id)
			return at;
	}
	return LOOPBACK_BINDINGS_MAX;
}

/* The partition's operations. */

static int post_message(struct partition *partition, uint32_t vp, const void *payload,
			size_t payload_bytes)
{
	struct loopback *loopback = loopback_of(partition);
	struct loopback_message *message;
	struct loopback_vp *shared;

	if (vp >= partition->vp_count || payload_bytes > VMBUS_MESSAGE_BYTES_MAX)
		return -LIS_INVALID;
	shared = &loopback->shared->vps[vp];
	if (loopback->heads[vp] - atomic_load_explicit(&shared->tail, memory_order_acquire) >=
	    LOOPBACK_MESSAGES_MAX)
		return -LIS_NOMEM;
	message = &shared->messages[loopback->heads[vp] % LOOPBACK_MESSAGES_MAX];
	message->bytes = (uint32_t)payload_bytes;
	memcpy(message->payload, payload, payload_bytes);
	loopback->heads[vp]++;
	atomic_store_explicit(&shared->head, loopback->heads[vp], memory_order_release);
	eventfd_write(loopback->interrupt_fds[vp], 1);
	return 0;
}

static size_t messages_pending(struct partition *partition)
{
	struct loopback *loopback = loopback_of(partition);
	size_t pending = 0;

	for (uint32_t vp = 0; vp < partition->vp_count; vp++) {
		struct loopback_vp *shared = &loopback->shared->vps[vp];
		uint32_t tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);
		uint32_t count = atomic_load_explicit(&shared->head, memory_order_relaxed) - tail;

		/* The tail may be newer than the head that was read after it. */
		pending += count <= LOOPBACK_MESSAGES_MAX ? count : 0;
	}
	return pending;
}

static void set_event_flag(struct partition *partition, uint32_t vp, uint32_t flag)
{
	struct loopback *loopback = loopback_of(partition);
	uint64_t bit = UINT64_C(1) << flag % 64;

	if (vp >= partition->vp_count || flag >= VMBUS_EVENT_FLAGS)
		return;
	if (!(atomic_fetch_or(&loopback->shared->vps[vp].flags[flag / 64], bit) & bit))
		eventfd_write(loopback->interrupt_fds[vp], 1);
}

/* The first free place from where look-ups begin. */
static uint32_t free_binding(const struct loopback *loopback, uint32_t connection_id)
{
	for (uint32_t i = 0; i < LOOPBACK_BINDINGS_MAX; i++) {
		uint32_t at = (connection_id + i) % LOOPBACK_BINDINGS_MAX;

		if (loopback->bound[at].fd < 0)
			return at;
	}
	return LOOPBACK_BINDINGS_MAX;
}

static void set_binding(struct loopback *loopback, uint32_t at, uint32_t connection_id, int fd)
{
	struct loopback_binding *binding = &loopback->shared->bindings[at];

	pthread_mutex_lock(&loopback->bound[at].lock);
	loopback->bound[at].fd = fd;
	atomic_fetch_add(&binding->generation, 1);
	atomic_store_explicit(&binding->connection_id, connection_id, memory_order_release);
	pthread_mutex_unlock(&loopback->bound[at].lock);
}

static int bind_signal(struct partition *partition, uint32_t connection_id, int eventfd)
{
	struct loopback *loopback = loopback_of(partition);
	uint32_t at;
	int err = 0;

	if (connection_id == 0 || connection_id > 0xffffff)
		return -LIS_INVALID;
	pthread_mutex_lock(&loopback->bind_lock);
	at = free_binding(loopback, connection_id);
	if (loopback_find_binding(loopback->shared, connection_id) != LOOPBACK_BINDINGS_MAX)
		err = -LIS_BUSY;
	else if (at == LOOPBACK_BINDINGS_MAX)
		err = -LIS_NOMEM;
	else
		set_binding(loopback, at, connection_id, eventfd);
	pthread_mutex_unlock(&loopback->bind_lock);
	return err;
}

static void unbind_signal(struct partition *partition, uint32_t connection_id)
{
	struct loopback *loopback = loopback_of(partition);
	uint32_t at;

	pthread_mutex_lock(&loopback->bind_lock);
	at = loopback_find_binding(loopback->shared, connection_id);
	if (at != LOOPBACK_BINDINGS_MAX)
		set_binding(loopback, at, 0, -1);
	pthread_mutex_unlock(&loopback->bind_lock);
}

static const struct partition_ops loopback_ops = {
	.post_message = post_message,
	.messages_pending = messages_pending,
	.set_event_flag = set_event_flag,
	.bind_signal = bind_signal,
	.unbind_signal = unbind_signal,
};

/* A guest end in another process. */

static void answer_hello(struct loopback *loopback)
{
	struct loopback_welcome welcome = {
		.vp_count = loopback->partition.vp_count,
		.slot_count = loopback->partition.slot_count,
	};
	int fds[LOOPBACK_WELCOME_FDS(LOOPBACK_VPS_MAX)] = { loopback->memory_fd,
							    loopback->shared_fd };

	for (uint32_t i = 0; i < welcome.slot_count; i++) {
		const struct partition_slot *slot = &loopback->partition.slots[i];

		welcome.slots[i].gpa = slot->gpa.value;
		welcome.slots[i].bytes = slot->bytes;
		welcome.slots[i].fd_offset_bytes = slot->fd_offset_bytes;
	}
	memcpy(fds + 2, loopback->interrupt_fds, welcome.vp_count * sizeof(int));
	loopback_send(loopback->serve_fd, &welcome, sizeof(welcome), fds,
		      LOOPBACK_WELCOME_FDS(welcome.vp_count));
}

static void answer_post_message(struct loopback *loopback, const struct loopback_request *request,
				size_t payload_bytes)
{
	const struct partition_listener *listener = &loopback->partition.listener;
	struct loopback_reply reply = { .result = -LIS_NOTFOUND };

	if (listener->on_message)
		reply.result = listener->on_message(listener->owner, request->number,
						    request->payload, payload_bytes);
	loopback_send(loopback->serve_fd, &reply, sizeof(reply), NULL, 0);
}

static void answer_get_signal(struct loopback *loopback, uint32_t at)
{
	struct loopback_reply reply = { .result = -LIS_NOTFOUND };
	struct loopback_bound *bound;

	if (at >= LOOPBACK_BINDINGS_MAX) {
		loopback_send(loopback->serve_fd, &reply, sizeof(reply), NULL, 0);
		return;
	}
	bound = &loopback->bound[at];
	pthread_mutex_lock(&bound->lock);
	if (bound->fd >= 0) {
		reply.result = 0;
		reply.generation = atomic_load(&loopback->shared->bindings[at].generation);
	}
	loopback_send(loopback->serve_fd, &reply, sizeof(reply), &bound->fd, bound->fd >= 0);
	pthread_mutex_unlock(&bound->lock);
}

static void *serve(void *arg)
{
	struct loopback *loopback = arg;
	struct loopback_request request;

	for (;;) {
		size_t no_fds = 0;
		int bytes = loopback_receive(loopback->serve_fd, &request, sizeof(request), NULL,
					     &no_fds);
		const int head_bytes = offsetof(struct loopback_request, payload);

		if (bytes < head_bytes)
			break;
		if (request.type == LOOPBACK_HELLO)
			answer_hello(loopback);
		else if (request.type == LOOPBACK_POST_MESSAGE)
			answer_post_message(loopback, &request, (size_t)(bytes - head_bytes));
		else
			answer_get_signal(loopback, request.number);
	}
	return NULL;
}

int loopback_serve(struct partition *partition, int *out_fd)
{
	struct loopback *loopback = loopback_of(partition);
	int fds[2];

	if (loopback->serve_fd >= 0)
		return -LIS_BUSY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -LIS_NOMEM;
	loopback->serve_fd = fds[0];
	if (pthread_create(&loopback->server, NULL, serve, loopback)) {
		close(fds[0]);
		close(fds[1]);
		loopback->serve_fd = -1;
		return -LIS_NOMEM;
	}
	*out_fd = fds[1];
	return 0;
}

void loopback_unserve(struct partition *partition)
{
	struct loopback *loopback = loopback_of(partition);

	if (loopback->serve_fd < 0)
		return;
	shutdown(loopback->serve_fd, SHUT_RDWR);
	pthread_join(loopback->server, NULL);
	close(loopback->serve_fd);
	loopback->serve_fd = -1;
}

/* Life. */

static int make_memory(struct loopback *loopback, uint64_t memory_bytes)
{
	static const uint64_t gpas[LOOPBACK_SLOTS] = { LOOPBACK_LOW_GPA, LOOPBACK_HIGH_GPA };
	struct partition *partition = &loopback->partition;

	loopback->memory_fd = memfd_create("loopback-memory", MFD_CLOEXEC);
	if (loopback->memory_fd < 0 || ftruncate(loopback->memory_fd, (off_t)memory_bytes))
		return -LIS_NOMEM;
	for (uint32_t i = 0; i < LOOPBACK_SLOTS; i++) {
		struct partition_slot slot = {
			.gpa = GPA(gpas[i]),
			.bytes = memory_bytes / LOOPBACK_SLOTS,
			.fd = loopback->memory_fd,
			.fd_offset_bytes = i * (memory_bytes / LOOPBACK_SLOTS),
		};

		slot.hva = partition_map_file(slot.bytes, slot.fd, slot.fd_offset_bytes);
		if (!slot.hva)
			return -LIS_NOMEM;
		partition->slots[partition->slot_count++] = slot;
	}
	return 0;
}

static int make_shared(struct loopback *loopback, uint32_t vp_count)
{
	void *at;

	loopback->shared_bytes = loopback_shared_size(vp_count);
	loopback->shared_fd = memfd_create("loopback-shared", MFD_CLOEXEC);
	if (loopback->shared_fd < 0 ||
	    ftruncate(loopback->shared_fd, (off_t)loopback->shared_bytes))
		return -LIS_NOMEM;
	at = mmap(NULL, loopback->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		  loopback->shared_fd, 0);
	if (at == MAP_FAILED)
		return -LIS_NOMEM;
	loopback->shared = at;
	for (uint32_t vp = 0; vp < vp_count; vp++) {
		loopback->interrupt_fds[vp] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (loopback->interrupt_fds[vp] < 0)
			return -LIS_NOMEM;
	}
	return 0;
}

int loopback_create(const struct loopback_config *config, struct partition **out_partition)
{
	uint64_t memory_bytes = config->memory_bytes + LOOPBACK_SLOTS * HV_PAGE_BYTES - 1;
	struct loopback *loopback;
	int err;

	if (config->vp_count == 0 || config->vp_count > LOOPBACK_VPS_MAX ||
	    config->memory_bytes == 0 || config->memory_bytes > MEMORY_BYTES_MAX)
		return -LIS_INVALID;
	memory_bytes -= memory_bytes % (LOOPBACK_SLOTS * HV_PAGE_BYTES);
	loopback = calloc(1, sizeof(*loopback));
	if (!loopback)
		return -LIS_NOMEM;
	loopback->partition.ops = &loopback_ops;
	loopback->partition.vp_count = config->vp_count;
	loopback->memory_fd = loopback->shared_fd = loopback->serve_fd = -1;
	for (uint32_t i = 0; i < LOOPBACK_VPS_MAX; i++)
		loopback->interrupt_fds[i] = -1;
	pthread_mutex_init(&loopback->bind_lock, NULL);
	for (uint32_t i = 0; i < LOOPBACK_BINDINGS_MAX; i++) {
		pthread_mutex_init(&loopback->bound[i].lock, NULL);
		loopback->bound[i].fd = -1;
	}
	err = make_memory(loopback, memory_bytes);
	if (!err)
		err = make_shared(loopback, config->vp_count);
	if (err) {
		loopback_destroy(&loopback->partition);
		return err;
	}
	*out_partition = &loopback->partition;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void loopback_destroy(struct partition *partition)
{
	struct loopback *loopback = loopback_of(partition);

	if (!partition)
		return;
	loopback_unserve(partition);
	for (uint32_t i = 0; i < partition->slot_count; i++)
		munmap(partition->slots[i].hva, partition->slots[i].bytes);
	if (loopback->shared)
		munmap(loopback->shared, loopback->shared_bytes);
	close_fd(loopback->memory_fd);
	close_fd(loopback->shared_fd);
	for (uint32_t i = 0; i < LOOPBACK_VPS_MAX; i++)
		close_fd(loopback->interrupt_fds[i]);
	for (uint32_t i = 0; i < LOOPBACK_BINDINGS_MAX; i++)
		pthread_mutex_destroy(&loopback->bound[i].lock);
	pthread_mutex_destroy(&loopback->bind_lock);
	free(loopback);
}
