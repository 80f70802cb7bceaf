/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Random concurrent requests on an image, from several loops at once, against a model in memory.
 *
 * The disk is cut into stripes, each of which one thread owns and has at most one request in at a
 * time, so that what must be read is known; stripes meet no block boundary on purpose.
 */
#ifndef OPENLIS_TESTS_IMAGE_MODEL_H
#define OPENLIS_TESTS_IMAGE_MODEL_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/storage/block_io.h"

#define MODEL_STRIPE_BYTES (300u * 1024)
#define MODEL_IN_FLIGHT 8
#define MODEL_IOVS 5

struct model {
	struct block_device *device;
	uint8_t *bytes;       /* what the disk must hold */
	uint32_t threads;
	uint32_t requests;    /* for each thread */
	uint64_t seed;
	bool flushes, clears;
	atomic_uint mismatches, errors;
};

struct model_worker;

struct model_slot {
	struct block_request request; /* first */
	struct model_worker *worker;
	struct iovec iov[MODEL_IOVS];
	uint8_t *data;
	uint64_t stripe;
};

struct model_worker {
	struct model *model;
	struct io_loop *loop;
	pthread_t thread;
	uint32_t index;
	uint64_t random;
	uint32_t to_start, in_flight;
	struct model_slot slots[MODEL_IN_FLIGHT];
};

static inline void model_start(struct model_slot *slot);

static inline void model_done(struct block_request *request, int result)
{
	struct model_slot *slot = (struct model_slot *)request;
	struct model *model = slot->worker->model;
	uint8_t *expected = model->bytes + request->offset_bytes;

	slot->worker->in_flight--;
	if (result)
		atomic_fetch_add(&model->errors, 1);
	else if (request->op == BLOCK_READ && memcmp(slot->data, expected, request->length_bytes))
		atomic_fetch_add(&model->mismatches, 1);
	else if (request->op == BLOCK_WRITE)
		memcpy(expected, slot->data, request->length_bytes);
	else if (request->op == BLOCK_WRITE_ZEROES || request->op == BLOCK_DISCARD)
		memset(expected, 0, request->length_bytes);
	if (slot->worker->to_start)
		model_start(slot);
}

/* A range inside a stripe that is this thread's and not in use. */
static inline void model_range(struct model_slot *slot)
{
	struct model_worker *worker = slot->worker;
	uint64_t size_bytes = worker->model->device->geometry.size_bytes;
	uint64_t stripes = size_bytes / MODEL_STRIPE_BYTES;
	uint32_t sector_bytes = worker->model->device->geometry.logical_sector_bytes;
	uint64_t at;
	bool used;

	do {
		slot->stripe = block_random(&worker->random) % (stripes / worker->model->threads) *
			       worker->model->threads + worker->index;
		used = false;
		for (int i = 0; i < MODEL_IN_FLIGHT; i++)
			used |= &worker->slots[i] != slot && worker->slots[i].stripe == slot->stripe;
	} while (used);
	at = block_random(&worker->random) % (MODEL_STRIPE_BYTES / sector_bytes);
	slot->request.offset_bytes = slot->stripe * MODEL_STRIPE_BYTES + at * sector_bytes;
	slot->request.length_bytes = sector_bytes *
		(1 + block_random(&worker->random) % (MODEL_STRIPE_BYTES / sector_bytes - at));
}

/* Cuts the data into odd buffers. */
static inline void model_buffers(struct model_slot *slot)
{
	struct block_request *request = &slot->request;
	uint64_t left = request->length_bytes;
	uint8_t *data = slot->data;

	request->iov = slot->iov;
	request->iov_count = 0;
	while (request->iov_count < MODEL_IOVS - 1) {
		uint64_t bytes = block_random(&slot->worker->random) % (left + 1);

		slot->iov[request->iov_count++] = (struct iovec){ data, bytes };
		data += bytes;
		left -= bytes;
	}
	slot->iov[request->iov_count++] = (struct iovec){ data, left };
}

static inline void model_start(struct model_slot *slot)
{
	struct model_worker *worker = slot->worker;
	struct block_request *request = &slot->request;
	uint64_t kind = block_random(&worker->random) % 100;

	*request = (struct block_request){ .done = model_done };
	model_range(slot);
	request->op = kind < 40 ? BLOCK_READ : BLOCK_WRITE;
	if (kind >= 90 && worker->model->clears)
		request->op = kind < 95 && worker->model->device->geometry.discard_zeroes ?
			      BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	if (worker->model->flushes && kind >= 80 && kind < 90)
		request->flags = BLOCK_WRITE_FUA;
	if (worker->model->flushes && kind >= 38 && kind < 40)
		request->op = BLOCK_FLUSH;
	model_buffers(slot);
	if (request->op == BLOCK_WRITE)
		block_pattern(slot->data, request->length_bytes, request->offset_bytes,
			      block_random(&worker->random));
	worker->to_start--;
	worker->in_flight++;
	block_submit(worker->model->device, worker->loop, request);
}

static inline void *model_work(void *arg)
{
	struct model_worker *worker = arg;

	worker->random = worker->model->seed * 1000 + worker->index;
	worker->to_start = worker->model->requests;
	for (int i = 0; i < MODEL_IN_FLIGHT; i++) {
		worker->slots[i].worker = worker;
		worker->slots[i].stripe = UINT64_MAX;
		worker->slots[i].data = malloc(MODEL_STRIPE_BYTES);
	}
	for (int i = 0; i < MODEL_IN_FLIGHT && worker->to_start; i++)
		model_start(&worker->slots[i]);
	while (worker->in_flight)
		io_loop_turn(worker->loop, true);
	for (int i = 0; i < MODEL_IN_FLIGHT; i++)
		free(worker->slots[i].data);
	return NULL;
}

/* Runs it all; 0 if everything read was right and nothing failed. */
static inline int model_run(struct model *model)
{
	struct model_worker workers[4] = { 0 };

	for (uint32_t i = 0; i < model->threads; i++) {
		workers[i].model = model;
		workers[i].index = i;
		if (io_loop_create(NULL, &workers[i].loop) ||
		    pthread_create(&workers[i].thread, NULL, model_work, &workers[i]))
			abort();
	}
	for (uint32_t i = 0; i < model->threads; i++)
		pthread_join(workers[i].thread, NULL);
	for (uint32_t i = 0; i < model->threads; i++)
		io_loop_destroy(workers[i].loop);
	return atomic_load(&model->mismatches) + atomic_load(&model->errors) != 0;
}

/* Compares the whole disk with the model; 0 if equal. */
static inline int model_compare(const struct model *model, struct block_device *device, struct io_loop *loop)
{
	static uint8_t data[1 << 20];

	for (uint64_t at = 0; at < device->geometry.size_bytes; at += sizeof(data)) {
		uint64_t bytes = device->geometry.size_bytes - at;

		if (bytes > sizeof(data))
			bytes = sizeof(data);
		if (block_io(device, loop, BLOCK_READ, 0, at, data, bytes) ||
		    memcmp(data, model->bytes + at, bytes))
			return -1;
	}
	return 0;
}

#endif
