/* Thread pools of two threads: a template, included once for each implementation. Define before it:
 *     POOL               a name for the functions made here
 *     POOL_TASK(name)    the head of a function that can be a task; POOL_TASK_END: how it returns
 *     POOL_OPEN(fn)      makes the pool, for tasks that are `fn`
 *     POOL_PUT(i, fn)    hands in the task number i of a batch: fn
 * and, if there is one,
 *     POOL_WAIT()        its own way to wait for all (where the waiter may help, or has to)
 *     POOL_TRIP(fn)      hands in one task, which is POOL_REPLY(), and waits for it; else it is done as a batch of one
 * and afterwards list POOL_EMPTY_CASE(name, "implementation") and perhaps POOL_TRIP_CASE, POOL_HELP_CASE, POOL_MEMORY_CASE
 * in the same way.
 *
 * Empty tasks: one thread outside of the pool hands in a batch and waits until all have run; so all that a task does
 * is to count itself, which is the same in each of them. How far the one who hands in gets ahead varies, and with it
 * how many are kept; so "best" is printed, too. */

#include "bench.h"

#ifndef POOL_EMPTY_CASE
#include <semaphore.h>

#include "memory.h"

#define POOL_TASKS 1000000
#define POOL_EMPTY_CASE(name, impl)                                                                \
    { "pool", "1,000,000 empty tasks", impl, name##_empty_run, 0, 0 }
/* by a thread that waits for it, and a thread of the pool that runs it; or where the one who waits may run it */
#define POOL_TRIP_CASE(name, impl)                                                                 \
    { "pool", "submit one and wait", impl, name##_trip_run, 0, 0 }
#define POOL_HELP_CASE(name, impl)                                                                 \
    { "pool", "submit one and wait, the waiter may help", impl, name##_trip_run, 0, 0 }
#define POOL_MEMORY_CASE(name, impl)                                                               \
    { "pool", "memory of one of 1,000,000 queued", impl, name##_memory_run, 0, 0 }

static struct {
    char before[64];
    uint32_t left;
    char between[60];
    sem_t none; /* raised when `left` gets 0 */
    sem_t gate; /* what the first two tasks of the memory case wait for */
    uint32_t begun;
} pool_batch;

static BENCH_UNUSED void pool_done(void) {
    if (__atomic_sub_fetch(&pool_batch.left, 1, __ATOMIC_ACQ_REL) == 0) sem_post(&pool_batch.none);
}
static BENCH_UNUSED void pool_await(void) {
    while (sem_wait(&pool_batch.none) != 0) {
    }
}
#endif

#ifndef POOL_WAIT
#define POOL_WAIT() ((void)0)
#endif
#define POOL_NAME(suffix) BENCH_CAT(POOL, suffix)

POOL_TASK(POOL_NAME(_empty)) {
    pool_done();
    POOL_TASK_END;
}

static double POOL_NAME(_batch)(void) {
    double start;
    int i;
    pool_batch.left = POOL_TASKS;
    start = bench_clock();
    for (i = 0; i < POOL_TASKS; i++) POOL_PUT(i, POOL_NAME(_empty));
    POOL_WAIT();
    pool_await();
    return bench_clock() - start;
}

static BENCH_UNUSED void POOL_NAME(_empty_run)(const bench_case *c) {
    double took;
    char extra[100];
    BENCH_CHECK(sem_init(&pool_batch.none, 0, 0) == 0);
    POOL_OPEN(POOL_NAME(_empty));
    took = bench_turns(POOL_NAME(_batch));
    snprintf(extra, sizeof extra, "best=%.2f", POOL_TASKS / bench_best * 1e-6);
    bench_print(c, POOL_TASKS / took * 1e-6, "M tasks/s", extra);
}

#ifdef POOL_TRIP
POOL_TASK(POOL_NAME(_one)) {
    POOL_REPLY();
    POOL_TASK_END;
}
#define POOL_NAME_OF_ONE POOL_NAME(_one)
#else
#define POOL_TRIP(fn)                                                                              \
    do {                                                                                           \
        pool_batch.left = 1;                                                                       \
        POOL_PUT(0, fn);                                                                           \
        POOL_WAIT();                                                                               \
        pool_await();                                                                              \
    } while (0)
#define POOL_NAME_OF_ONE POOL_NAME(_empty)
#endif

static void POOL_NAME(_trips)(bench_thread *t) {
    uint64_t ops = 0;
    uint32_t phase;
    POOL_OPEN(POOL_NAME_OF_ONE);
    while ((phase = bench_phase()) != BENCH_OVER) {
        POOL_TRIP(POOL_NAME_OF_ONE);
        ops += phase;
    }
    t->ops = ops;
}

static BENCH_UNUSED void POOL_NAME(_trip_run)(const bench_case *c) {
    bench_window w;
    char extra[100];
    BENCH_CHECK(sem_init(&pool_batch.none, 0, 0) == 0);
    bench_start(0, POOL_NAME(_trips), NULL, 0);
    w = bench_measure();
    bench_join(0, 1);
    snprintf(extra, sizeof extra, "switches=%.2f cpu=%.2f", w.switches / (double)bench_team[0].ops, w.cpu);
    bench_print(c, w.seconds * 1e6 / (double)bench_team[0].ops, "us", extra);
}

/* All are queued while the first two hold both threads. The requests that libuv's callers have to keep count, too. */
POOL_TASK(POOL_NAME(_queued)) {
    if (__atomic_fetch_add(&pool_batch.begun, 1, __ATOMIC_RELAXED) < 2) {
        while (sem_wait(&pool_batch.gate) != 0) {
        }
    }
    pool_done();
    POOL_TASK_END;
}

static BENCH_UNUSED void POOL_NAME(_memory_run)(const bench_case *c) {
    double used;
    char extra[100];
    int i;
    BENCH_CHECK(sem_init(&pool_batch.none, 0, 0) == 0 && sem_init(&pool_batch.gate, 0, 0) == 0);
    pool_batch.left = POOL_TASKS;
    POOL_OPEN(POOL_NAME(_queued));
    for (i = 0; i < 2; i++) POOL_PUT(i, POOL_NAME(_queued));
    while (__atomic_load_n(&pool_batch.begun, __ATOMIC_RELAXED) < 2) bench_sleep_ms(1);
    used = memory_rss();
    for (; i < POOL_TASKS; i++) POOL_PUT(i, POOL_NAME(_queued));
    used = memory_rss() - used;
    for (i = 0; i < 2; i++) sem_post(&pool_batch.gate);
    POOL_WAIT();
    pool_await();
    snprintf(extra, sizeof extra, "MB=%.1f", used * 1e-6);
    bench_print(c, used / POOL_TASKS, "bytes", extra);
}

#undef POOL_NAME_OF_ONE
#undef POOL_NAME
#undef POOL
#undef POOL_TASK
#undef POOL_TASK_END
#undef POOL_OPEN
#undef POOL_PUT
#undef POOL_WAIT
#undef POOL_TRIP
#undef POOL_REPLY
