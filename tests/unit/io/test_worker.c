/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Workers: everything runs once, elsewhere, no more at a time than was said, and ends on its loop. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/worker.h"

#define WORKS 200u
#define THREADS 3u

struct frame;

struct job {
	struct io_work work;
	struct frame *frame;
	unsigned ran, done;
};

struct frame {
	struct io_loop *loop;
	struct io_workers *workers;
	pthread_t self;
	pthread_mutex_t lock;
	pthread_cond_t met;
	unsigned running, running_max, done;
	bool meet;
	struct job jobs[WORKS];
};

static void run(struct io_work *work)
{
	struct job *job = (struct job *)work;
	struct frame *f = job->frame;

	assert_false(f->workers && pthread_equal(pthread_self(), f->self));
	job->ran++;
	pthread_mutex_lock(&f->lock);
	if (++f->running > f->running_max)
		f->running_max = f->running;
	if (f->running_max == THREADS)
		pthread_cond_broadcast(&f->met);
	/* Until as many are here as may be: they do run beside each other. */
	while (f->meet && f->running_max < THREADS)
		pthread_cond_wait(&f->met, &f->lock);
	f->running--;
	pthread_mutex_unlock(&f->lock);
}

static void done(struct io_work *work)
{
	struct job *job = (struct job *)work;

	assert_true(pthread_equal(pthread_self(), job->frame->self));
	assert_int_equal(job->ran, 1);
	job->done++;
	job->frame->done++;
}

static void start(struct frame *f)
{
	for (unsigned i = 0; i < WORKS; i++) {
		f->jobs[i] = (struct job){ .work = { .run = run, .done = done }, .frame = f };
		io_work_start(f->workers, f->loop, &f->jobs[i].work);
	}
}

static void work_runs_elsewhere_and_ends_here(void **state)
{
	const struct io_loop_config config = { .name = "test" };
	struct frame f = { .self = pthread_self(), .lock = PTHREAD_MUTEX_INITIALIZER,
			   .met = PTHREAD_COND_INITIALIZER, .meet = true };

	assert_int_equal(io_loop_create(&config, &f.loop), 0);
	assert_int_equal(io_workers_create("test", THREADS, &f.workers), 0);
	start(&f);
	assert_int_equal(f.done, 0);
	while (f.done < WORKS)
		io_loop_turn(f.loop, true);
	assert_int_equal(f.running_max, THREADS);
	for (unsigned i = 0; i < WORKS; i++)
		assert_int_equal(f.jobs[i].done, 1);
	io_workers_destroy(f.workers);
	io_loop_destroy(f.loop);
}

static void without_workers_it_runs_at_once(void **state)
{
	struct frame f = { .self = pthread_self(), .lock = PTHREAD_MUTEX_INITIALIZER };

	start(&f);
	assert_int_equal(f.done, WORKS);
	assert_int_equal(f.running_max, 1);
}

static void workers_that_never_worked_have_nothing_to_end(void **state)
{
	struct io_workers *workers;

	assert_int_equal(io_workers_create("test", 1, &workers), 0);
	io_workers_destroy(workers);
	io_workers_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_runs_elsewhere_and_ends_here),
		cmocka_unit_test(without_workers_it_runs_at_once),
		cmocka_unit_test(workers_that_never_worked_have_nothing_to_end),
	};

	return cmocka_run_group_tests_name("io/worker", tests, NULL, NULL);
}
