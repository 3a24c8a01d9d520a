/* conc.h in each of the workloads. As users compile it: the header here, its implementation in another file
 * (conc_code.c), so nothing of it can be inlined that they would not get inlined. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include "bench.h"

#define LOCK conc
#define LOCK_TYPE conc_mutex
#define LOCK_INIT(l) memset((l), 0, sizeof *(l))
#define LOCK_TAKE(l) BENCH_CHECK(conc_mutex_lock((l), CONC_FOREVER) == CONC_OK)
#define LOCK_GIVE(l) conc_mutex_unlock(l)
#include "lock_cases.h"

#define RW conc
#define RW_TYPE conc_rwlock
#define RW_INIT(l) memset((l), 0, sizeof *(l))
#define RW_READ(l) BENCH_CHECK(conc_rwlock_read((l), CONC_FOREVER) == CONC_OK)
#define RW_READ_END(l) conc_rwlock_unlock(l)
#define RW_WRITE(l) BENCH_CHECK(conc_rwlock_write((l), CONC_FOREVER) == CONC_OK)
#define RW_WRITE_END(l) conc_rwlock_unlock(l)
#include "rwlock_cases.h"

#define RW conc_br
#define RW_TYPE conc_brlock *
#define RW_INIT(l) BENCH_CHECK((*(l) = conc_brlock_new()) != NULL)
#define RW_READ(l) BENCH_CHECK(conc_brlock_read(*(l), CONC_FOREVER) == CONC_OK)
#define RW_READ_END(l) conc_brlock_read_unlock(*(l))
#define RW_WRITE(l) BENCH_CHECK(conc_brlock_write(*(l), CONC_FOREVER) == CONC_OK)
#define RW_WRITE_END(l) conc_brlock_write_unlock(*(l))
#include "rwlock_cases.h"

#define PP_COND conc
#define PP_LOCK_TYPE conc_mutex
#define PP_COND_TYPE conc_cond
#define PP_LOCK_INIT(l) memset((l), 0, sizeof *(l))
#define PP_COND_INIT(c) memset((c), 0, sizeof *(c))
#define PP_TAKE(l) BENCH_CHECK(conc_mutex_lock((l), CONC_FOREVER) == CONC_OK)
#define PP_GIVE(l) conc_mutex_unlock(l)
#define PP_WAIT(c, l) BENCH_CHECK(conc_cond_wait((c), (l), CONC_FOREVER) == CONC_OK)
#define PP_SIGNAL(c) conc_cond_signal(c)
#include "pingpong_cases.h"

static void event_init(conc_event *e) {
    memset(e, 0, sizeof *e);
    e->auto_reset = true;
}

#define PP_FLAG conc_event
#define PP_TYPE conc_event
#define PP_INIT(f) event_init(f)
#define PP_RAISE(f) conc_event_set(f)
#define PP_AWAIT(f) BENCH_CHECK(conc_event_wait((f), CONC_FOREVER) == CONC_OK)
#include "pingpong_cases.h"

#define PP_FLAG conc_semaphore
#define PP_TYPE conc_semaphore
#define PP_INIT(f) BENCH_CHECK(conc_semaphore_init((f), 0, 0) == CONC_OK)
#define PP_RAISE(f) conc_semaphore_release((f), 1)
#define PP_AWAIT(f) BENCH_CHECK(conc_semaphore_acquire((f), CONC_FOREVER) == CONC_OK)
#include "pingpong_cases.h"

#define QUEUE conc
#define QUEUE_TYPE conc_queue *
#define QUEUE_NEW(q) BENCH_CHECK((*(q) = conc_queue_new(sizeof(uint64_t), QUEUE_CAPACITY)) != NULL)
#define QUEUE_PUT(q, v) BENCH_CHECK(conc_queue_put(*(q), &(v), CONC_FOREVER) == CONC_OK)
#define QUEUE_GET(q, v) BENCH_CHECK(conc_queue_get(*(q), &(v), CONC_FOREVER) == CONC_OK)
#include "queue_cases.h"

#define THREAD conc
#define THREAD_TYPE conc_thread *
#define THREAD_FN(name, arg) static int name(void *arg)
#define THREAD_END return 0
#define THREAD_START(t, fn, arg) BENCH_CHECK(((t) = conc_thread_start(fn, arg, NULL)) != NULL)
#define THREAD_JOIN(t) BENCH_CHECK(conc_thread_join((t), NULL, CONC_FOREVER) == CONC_OK)
#include "thread_cases.h"

/* ---- idle: sixteen consumers asleep on an empty queue; how much of a processor does that cost? ------------ */

static void idle_run(const bench_case *c) {
    bench_window w;
    char extra[100];
    int i;
    BENCH_CHECK((conc_q = conc_queue_new(sizeof(uint64_t), QUEUE_CAPACITY)) != NULL);
    for (i = 0; i < c->b; i++) bench_start(i, conc_consumer, NULL, 0);
    w = bench_measure();
    for (i = 0; i < c->b; i++) {
        uint64_t end = 0;
        BENCH_CHECK(conc_queue_put(conc_q, &end, CONC_FOREVER) == CONC_OK);
    }
    bench_join(0, c->b);
    snprintf(extra, sizeof extra, "switches=%.0f", w.switches);
    bench_print(c, w.cpu * 100, "% cpu", extra);
}

static const bench_case cases[] = {
    LOCK_CASES(conc, "conc"),
    RW_CASES(conc, "conc_rwlock"),
    RW_CASES(conc_br, "conc_brlock"),
    PP_COND_CASES(conc, "conc"),
    PP_FLAG_CASE(conc_event, "event", "conc"),
    PP_FLAG_CASE(conc_semaphore, "semaphore", "conc"),
    PP_ALONE_CASE(conc_semaphore, "semaphore", "conc"),
    QUEUE_CASES(conc, "conc"),
    {"queue", "16 consumers idle", "conc", idle_run, 0, 16},
    THREAD_CASES(conc, "conc"),
};

BENCH_MAIN(cases)
