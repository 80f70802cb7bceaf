// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Workers: a queue and the threads that empty it, oldest first.
 *
 * Everything is under the lock but the work itself, which belongs to the thread that took it, and
 * from its last line on to its loop.
 */
#include "io/worker.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct io_workers {
	pthread_mutex_t lock;
	pthread_cond_t there_is_work;
	struct io_work *first, **end;
	uint32_t queued_count, idle_count, thread_count, thread_max;
	bool stop;
	char name[16];
	pthread_t threads[];
};

static void work_is_done(struct io_call *call)
{
	struct io_work *work = (struct io_work *)(void *)((char *)call - offsetof(struct io_work, call));

	work->done(work);
}

static void *work_thread(void *arg)
{
	struct io_workers *workers = arg;
	bool tells;

	pthread_mutex_lock(&workers->lock);
	while (true) {
		struct io_work *work = workers->first;

		if (!work) {
			if (workers->stop)
				break;
			workers->idle_count++;
			pthread_cond_wait(&workers->there_is_work, &workers->lock);
			workers->idle_count--;
			continue;
		}
		workers->first = work->next;
		if (!workers->first)
			workers->end = &workers->first;
		workers->queued_count--;
		pthread_mutex_unlock(&workers->lock);
		tells = work->done;
		work->run(work);
		if (tells) /* else it may be somebody else's by now */
			io_loop_call(work->loop, &work->call);
		pthread_mutex_lock(&workers->lock);
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

/* False: there is no thread at all. Called with the lock. */
static bool have_thread(struct io_workers *workers)
{
	pthread_t *thread = &workers->threads[workers->thread_count];

	if (workers->queued_count < workers->idle_count ||
	    workers->thread_count == workers->thread_max)
		return true;
	if (pthread_create(thread, NULL, work_thread, workers))
		return workers->thread_count;
	pthread_setname_np(*thread, workers->name);
	workers->thread_count++;
	return true;
}

void io_work_start(struct io_workers *workers, struct io_loop *loop, struct io_work *work)
{
	bool tells = work->done;

	work->loop = loop;
	work->call.fn = work_is_done;
	work->next = NULL;
	if (workers) {
		pthread_mutex_lock(&workers->lock);
		if (have_thread(workers)) {
			*workers->end = work;
			workers->end = &work->next;
			workers->queued_count++;
			pthread_cond_signal(&workers->there_is_work);
			pthread_mutex_unlock(&workers->lock);
			return;
		}
		pthread_mutex_unlock(&workers->lock);
	}
	work->run(work);
	if (tells)
		work->done(work);
}

int io_workers_create(const char *name, uint32_t thread_max, struct io_workers **out_workers)
{
	struct io_workers *workers = calloc(1, sizeof(*workers) + thread_max * sizeof(pthread_t));

	if (!workers)
		return -LIS_NOMEM;
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->there_is_work, NULL);
	workers->end = &workers->first;
	workers->thread_max = thread_max;
	snprintf(workers->name, sizeof(workers->name), "%s", name);
	*out_workers = workers;
	return 0;
}

void io_workers_destroy(struct io_workers *workers)
{
	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->stop = true;
	pthread_cond_broadcast(&workers->there_is_work);
	pthread_mutex_unlock(&workers->lock);
	for (uint32_t i = 0; i < workers->thread_count; i++)
		pthread_join(workers->threads[i], NULL);
	pthread_cond_destroy(&workers->there_is_work);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}
