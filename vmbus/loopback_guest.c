// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The loopback partition, the guest's end, in the host's process or in its own.
 *
 * In the host's process it uses the host end's mappings and descriptors. In its own it maps the
 * same files again, and fetches the eventfd of a binding when it first signals it; the generation
 * in shared memory tells when the one it has is out of date.
 */
#include "vmbus/loopback_private.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* The eventfd of a binding, as fetched. */
struct fetched {
	uint32_t generation; /* 0: never fetched; bindings begin with 1 */
	int fd;
};

struct loopback_guest {
	struct loopback *local; /* the host end in this process; NULL: at the other end of @fd */
	struct partition memory;
	struct loopback_shared *shared;
	uint32_t vp_count;
	int interrupt_fds[LOOPBACK_VPS_MAX];
	uint8_t *page_used[LOOPBACK_SLOTS]; /* one byte for each page, by the allocator */

	/* In a process of its own only. */
	int fd;
	int memory_fd;
	size_t shared_bytes;
	pthread_mutex_t lock; /* the socket and @fetched */
	struct fetched *fetched;
};

/* Messages and signals. */

/* Ask the host end; with the descriptor that came, or -1. */
static int ask(struct loopback_guest *guest, const struct loopback_request *request,
	       size_t request_bytes, struct loopback_reply *out_reply, int *out_fd)
{
	size_t fd_count = 1;
	int bytes;

	*out_fd = -1;
	if (loopback_send(guest->fd, request, request_bytes, NULL, 0))
		return -LIS_GONE;
	bytes = loopback_receive(guest->fd, out_reply, sizeof(*out_reply), out_fd, &fd_count);
	return bytes == (int)sizeof(*out_reply) ? 0 : -LIS_GONE;
}

int loopback_guest_post_message(struct loopback_guest *guest, uint32_t connection_id,
				const void *payload, size_t payload_bytes)
{
	struct loopback_request request = { .type = LOOPBACK_POST_MESSAGE,
					    .number = connection_id };
	struct loopback_reply reply;
	int err, no_fd;

	if (payload_bytes > VMBUS_MESSAGE_BYTES_MAX)
		return -LIS_INVALID;
	if (guest->local) {
		const struct partition_listener *listener = &guest->local->partition.listener;

		if (!listener->on_message)
			return -LIS_NOTFOUND;
		return listener->on_message(listener->owner, connection_id, payload, payload_bytes);
	}
	memcpy(request.payload, payload, payload_bytes);
	pthread_mutex_lock(&guest->lock);
	err = ask(guest, &request, offsetof(struct loopback_request, payload) + payload_bytes,
		  &reply, &no_fd);
	pthread_mutex_unlock(&guest->lock);
	return err ? err : reply.result;
}

static int signal_local(struct loopback *loopback, uint32_t at, uint32_t connection_id)
{
	struct loopback_bound *bound = &loopback->bound[at];
	int err = -LIS_NOTFOUND;

	pthread_mutex_lock(&bound->lock);
	if (atomic_load_explicit(&loopback->shared->bindings[at].connection_id,
				 memory_order_relaxed) == connection_id) {
		eventfd_write(bound->fd, 1);
		err = 0;
	}
	pthread_mutex_unlock(&bound->lock);
	return err;
}

/* Under @lock: make the eventfd at hand that of @generation or later. */
static int fetch_signal(struct loopback_guest *guest, uint32_t at)
{
	struct loopback_request request = { .type = LOOPBACK_GET_SIGNAL, .number = at };
	struct fetched *fetched = &guest->fetched[at];
	struct loopback_reply reply;
	int fd, err;

	err = ask(guest, &request, offsetof(struct loopback_request, payload), &reply, &fd);
	if (err)
		return err;
	if (reply.result || fd < 0) {
		if (fd >= 0)
			close(fd);
		return -LIS_NOTFOUND;
	}
	if (fetched->generation)
		close(fetched->fd);
	fetched->fd = fd;
	fetched->generation = reply.generation;
	return 0;
}

static int signal_remote(struct loopback_guest *guest, uint32_t at)
{
	struct fetched *fetched = &guest->fetched[at];
	int err = 0;

	pthread_mutex_lock(&guest->lock);
	if (fetched->generation != atomic_load(&guest->shared->bindings[at].generation))
		err = fetch_signal(guest, at);
	if (!err)
		eventfd_write(fetched->fd, 1);
	pthread_mutex_unlock(&guest->lock);
	return err;
}

int loopback_guest_signal(struct loopback_guest *guest, uint32_t connection_id)
{
	uint32_t at = connection_id ? loopback_find_binding(guest->shared, connection_id) :
				      LOOPBACK_BINDINGS_MAX;

	if (at == LOOPBACK_BINDINGS_MAX)
		return -LIS_NOTFOUND;
	return guest->local ? signal_local(guest->local, at, connection_id) :
			      signal_remote(guest, at);
}

/* Interrupts. */

uint32_t loopback_guest_vp_count(const struct loopback_guest *guest)
{
	return guest->vp_count;
}

int loopback_guest_interrupt_fd(const struct loopback_guest *guest, uint32_t vp)
{
	return guest->interrupt_fds[vp];
}

int loopback_guest_wait(const struct loopback_guest *guest, uint32_t vp, int timeout_ms)
{
	struct pollfd pollfd = { .fd = guest->interrupt_fds[vp], .events = POLLIN };
	eventfd_t count;

	if (poll(&pollfd, 1, timeout_ms) <= 0)
		return -LIS_TIMEOUT;
	return eventfd_read(pollfd.fd, &count) == 0 ? 0 : -LIS_TIMEOUT;
}

int loopback_guest_next_message(struct loopback_guest *guest, uint32_t vp, void *out_payload,
				size_t *out_bytes)
{
	struct loopback_vp *shared = &guest->shared->vps[vp];
	uint32_t tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);
	const struct loopback_message *message;

	if (atomic_load_explicit(&shared->head, memory_order_acquire) == tail)
		return -LIS_EMPTY;
	message = &shared->messages[tail % LOOPBACK_MESSAGES_MAX];
	*out_bytes = message->bytes;
	memcpy(out_payload, message->payload, VMBUS_MESSAGE_BYTES_MAX);
	atomic_store_explicit(&shared->tail, tail + 1, memory_order_release);
	return 0;
}

bool loopback_guest_take_flags(struct loopback_guest *guest, uint32_t vp,
			       uint64_t out_flags[LOOPBACK_FLAG_WORDS])
{
	_Atomic uint64_t *flags = guest->shared->vps[vp].flags;
	bool any = false;

	for (uint32_t i = 0; i < LOOPBACK_FLAG_WORDS; i++) {
		out_flags[i] = atomic_load_explicit(&flags[i], memory_order_relaxed) ?
				       atomic_exchange(&flags[i], 0) : 0;
		any |= out_flags[i] != 0;
	}
	return any;
}

bool loopback_guest_take_flag(struct loopback_guest *guest, uint32_t vp, uint32_t flag)
{
	_Atomic uint64_t *word = &guest->shared->vps[vp].flags[flag / 64];
	uint64_t bit = UINT64_C(1) << flag % 64;

	if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
		return false;
	return atomic_fetch_and(word, ~bit) & bit;
}

/* Memory. */

const struct partition *loopback_guest_memory(const struct loopback_guest *guest)
{
	return &guest->memory;
}

static size_t slot_pages(const struct partition_slot *slot)
{
	return slot->bytes / HV_PAGE_BYTES;
}

/* First of @page_count unused pages in a row, or the number of all. */
static size_t find_unused(const uint8_t *used, size_t all, size_t page_count)
{
	size_t run = 0;

	for (size_t i = 0; i < all; i++) {
		run = used[i] ? 0 : run + 1;
		if (run == page_count)
			return i + 1 - page_count;
	}
	return all;
}

void *loopback_guest_alloc_pages(struct loopback_guest *guest, size_t page_count, bool high,
				 struct gpa *out_gpa)
{
	const struct partition_slot *slot = &guest->memory.slots[high];
	uint8_t *used = guest->page_used[high];
	size_t first = find_unused(used, slot_pages(slot), page_count);
	char *at;

	if (page_count == 0 || first == slot_pages(slot))
		return NULL;
	memset(used + first, 1, page_count);
	at = (char *)slot->hva + first * HV_PAGE_BYTES;
	memset(at, 0, page_count * HV_PAGE_BYTES);
	*out_gpa = GPA(slot->gpa.value + first * HV_PAGE_BYTES);
	return at;
}

void loopback_guest_free_pages(struct loopback_guest *guest, struct gpa gpa, size_t page_count)
{
	bool high = gpa.value >= LOOPBACK_HIGH_GPA;
	const struct partition_slot *slot = &guest->memory.slots[high];

	memset(guest->page_used[high] + (gpa.value - slot->gpa.value) / HV_PAGE_BYTES, 0,
	       page_count);
}

/* Life. */

static struct loopback_guest *make_guest(void)
{
	struct loopback_guest *guest = calloc(1, sizeof(*guest));

	if (!guest)
		return NULL;
	guest->fd = guest->memory_fd = -1;
	for (uint32_t i = 0; i < LOOPBACK_VPS_MAX; i++)
		guest->interrupt_fds[i] = -1;
	pthread_mutex_init(&guest->lock, NULL);
	return guest;
}

static int make_allocator(struct loopback_guest *guest)
{
	for (uint32_t i = 0; i < LOOPBACK_SLOTS; i++) {
		guest->page_used[i] = calloc(1, slot_pages(&guest->memory.slots[i]));
		if (!guest->page_used[i])
			return -LIS_NOMEM;
	}
	return 0;
}

int loopback_guest_attach(struct partition *partition, struct loopback_guest **out_guest)
{
	struct loopback_guest *guest = make_guest();

	if (!guest)
		return -LIS_NOMEM;
	guest->local = (struct loopback *)partition;
	guest->shared = guest->local->shared;
	guest->vp_count = partition->vp_count;
	guest->memory.vp_count = partition->vp_count;
	guest->memory.slot_count = partition->slot_count;
	memcpy(guest->memory.slots, partition->slots, sizeof(partition->slots));
	memcpy(guest->interrupt_fds, guest->local->interrupt_fds, sizeof(guest->interrupt_fds));
	if (make_allocator(guest)) {
		loopback_guest_detach(guest);
		return -LIS_NOMEM;
	}
	*out_guest = guest;
	return 0;
}

static int map_all(struct loopback_guest *guest, const struct loopback_welcome *welcome,
		   int shared_fd)
{
	void *at;

	guest->memory.vp_count = guest->vp_count = welcome->vp_count;
	for (uint32_t i = 0; i < LOOPBACK_SLOTS; i++) {
		struct partition_slot slot = {
			.gpa = GPA(welcome->slots[i].gpa),
			.bytes = welcome->slots[i].bytes,
			.fd = guest->memory_fd,
			.fd_offset_bytes = welcome->slots[i].fd_offset_bytes,
		};

		slot.hva = partition_map_file(slot.bytes, slot.fd, slot.fd_offset_bytes);
		if (!slot.hva)
			return -LIS_NOMEM;
		guest->memory.slots[guest->memory.slot_count++] = slot;
	}
	guest->shared_bytes = loopback_shared_size(welcome->vp_count);
	at = mmap(NULL, guest->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (at == MAP_FAILED)
		return -LIS_NOMEM;
	guest->shared = at;
	guest->fetched = calloc(LOOPBACK_BINDINGS_MAX, sizeof(*guest->fetched));
	return guest->fetched ? 0 : -LIS_NOMEM;
}

int loopback_guest_connect(int fd, struct loopback_guest **out_guest)
{
	struct loopback_request hello = { .type = LOOPBACK_HELLO };
	struct loopback_guest *guest = make_guest();
	struct loopback_welcome welcome;
	int fds[LOOPBACK_WELCOME_FDS(LOOPBACK_VPS_MAX)];
	size_t fd_count = sizeof(fds) / sizeof(fds[0]);
	int bytes, err = -LIS_CORRUPT;

	if (!guest) {
		close(fd);
		return -LIS_NOMEM;
	}
	guest->fd = fd;
	if (loopback_send(fd, &hello, sizeof(hello), NULL, 0)) {
		loopback_guest_detach(guest);
		return -LIS_GONE;
	}
	bytes = loopback_receive(fd, &welcome, sizeof(welcome), fds, &fd_count);
	if (bytes <= 0) {
		loopback_guest_detach(guest);
		return -LIS_GONE;
	}
	if (bytes == (int)sizeof(welcome) && welcome.slot_count == LOOPBACK_SLOTS &&
	    welcome.vp_count > 0 && welcome.vp_count <= LOOPBACK_VPS_MAX &&
	    fd_count == LOOPBACK_WELCOME_FDS(welcome.vp_count)) {
		guest->memory_fd = fds[0];
		memcpy(guest->interrupt_fds, fds + 2, welcome.vp_count * sizeof(int));
		err = map_all(guest, &welcome, fds[1]);
		if (!err)
			err = make_allocator(guest);
		close(fds[1]);
	} else {
		for (size_t i = 0; i < fd_count; i++)
			close(fds[i]);
	}
	if (err) {
		loopback_guest_detach(guest);
		return err;
	}
	*out_guest = guest;
	return 0;
}

static void unmap_all(struct loopback_guest *guest)
{
	for (uint32_t i = 0; i < guest->memory.slot_count; i++)
		munmap(guest->memory.slots[i].hva, guest->memory.slots[i].bytes);
	if (guest->shared)
		munmap(guest->shared, guest->shared_bytes);
	for (uint32_t i = 0; i < LOOPBACK_VPS_MAX; i++)
		if (guest->interrupt_fds[i] >= 0)
			close(guest->interrupt_fds[i]);
	if (guest->memory_fd >= 0)
		close(guest->memory_fd);
	for (uint32_t i = 0; guest->fetched && i < LOOPBACK_BINDINGS_MAX; i++)
		if (guest->fetched[i].generation)
			close(guest->fetched[i].fd);
	free(guest->fetched);
	if (guest->fd >= 0)
		close(guest->fd);
}

void loopback_guest_detach(struct loopback_guest *guest)
{
	if (!guest)
		return;
	if (!guest->local)
		unmap_all(guest);
	for (uint32_t i = 0; i < LOOPBACK_SLOTS; i++)
		free(guest->page_used[i]);
	pthread_mutex_destroy(&guest->lock);
	free(guest);
}
