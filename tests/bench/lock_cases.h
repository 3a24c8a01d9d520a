/* Locks: a template, included once for each implementation. Define before it:
 *     LOCK            a name for the functions made here
 *     LOCK_TYPE       the type of the lock
 *     LOCK_INIT(l)  LOCK_TAKE(l)  LOCK_GIVE(l)
 * and afterwards list LOCK_CASES(name, "implementation").
 *
 * EQUAL LAYOUT. The lock and the data it guards are in one cache line, for everybody: where they lie
 * matters more than which lock it is. */

#include "bench.h"

#ifndef LOCK_CASES
#define LOCK_CASES(name, impl)                                                                     \
    {"locks", "uncontended", impl, name##_lock_alone, 1, 0},                                       \
        {"locks", "2 threads", impl, name##_lock_contended, 2, 0},                                 \
        {"locks", "4 threads", impl, name##_lock_contended, 4, 0},                                 \
        {"locks", "16 threads", impl, name##_lock_contended, 16, 0},                               \
        {"locks", "2 threads, 100 ns outside", impl, name##_lock_contended, 2, 1},                 \
        {"locks", "4 threads, 100 ns outside", impl, name##_lock_contended, 4, 1},                 \
        {"locks", "16 threads, 100 ns outside", impl, name##_lock_contended, 16, 1}
#endif

#define LOCK_NAME(suffix) BENCH_CAT(LOCK, suffix)

typedef struct {
    LOCK_TYPE lock;
    uint64_t data;
} __attribute__((aligned(64))) LOCK_NAME(_box);

static LOCK_NAME(_box) LOCK_NAME(_the_box);

static void LOCK_NAME(_lock_turns)(bench_thread *t) {
    LOCK_NAME(_box) *box = (LOCK_NAME(_box) *)t->shared;
    uint64_t ops = 0, all = 0, x = (uint64_t)t->index;
    int work = t->number;
    uint32_t phase;
    while ((phase = bench_phase()) != BENCH_OVER) {
        LOCK_TAKE(&box->lock);
        box->data++;
        LOCK_GIVE(&box->lock);
        x = bench_work(x, work);
        ops += phase;
        all++;
    }
    t->ops = ops;
    t->all = all;
    __atomic_store_n(&bench_sink, x, __ATOMIC_RELAXED);
}

static void LOCK_NAME(_lock_alone_turns)(bench_thread *t) {
    LOCK_NAME(_box) *box = (LOCK_NAME(_box) *)t->shared;
    uint64_t ops = 0, all = 0;
    uint32_t phase;
    int i;
    while ((phase = bench_phase()) != BENCH_OVER) {
        for (i = 0; i < 256; i++) {
            LOCK_TAKE(&box->lock);
            box->data++;
            LOCK_GIVE(&box->lock);
        }
        ops += phase * 256;
        all += 256;
    }
    t->ops = ops;
    t->all = all;
}

static void LOCK_NAME(_lock_alone)(const bench_case *c) {
    bench_window w;
    LOCK_INIT(&LOCK_NAME(_the_box).lock);
    bench_start(0, LOCK_NAME(_lock_alone_turns), &LOCK_NAME(_the_box), 0);
    w = bench_measure();
    bench_join(0, 1);
    BENCH_CHECK(LOCK_NAME(_the_box).data == bench_team[0].all);
    bench_print(c, w.seconds * 1e9 / (double)bench_team[0].ops, "ns", "");
}

static void LOCK_NAME(_lock_contended)(const bench_case *c) {
    bench_window w;
    double sum = 0, least = 1e300, most = 0;
    uint64_t all = 0;
    char extra[100];
    int i;
    LOCK_INIT(&LOCK_NAME(_the_box).lock);
    for (i = 0; i < c->a; i++) {
        bench_start(i, LOCK_NAME(_lock_turns), &LOCK_NAME(_the_box), c->b ? bench_env("BENCH_WORK", 80) : 0);
    }
    w = bench_measure();
    bench_join(0, c->a);
    for (i = 0; i < c->a; i++) {
        double ops = (double)bench_team[i].ops;
        sum += ops;
        if (ops < least) least = ops;
        if (ops > most) most = ops;
        all += bench_team[i].all;
    }
    BENCH_CHECK(LOCK_NAME(_the_box).data == all); /* it did lock */
    snprintf(extra, sizeof extra, "fairness=%.2f cpu=%.2f", least / most, w.cpu);
    bench_print(c, sum / w.seconds * 1e-6, "M op/s", extra);
}

#undef LOCK_NAME
#undef LOCK
#undef LOCK_TYPE
#undef LOCK_INIT
#undef LOCK_TAKE
#undef LOCK_GIVE
