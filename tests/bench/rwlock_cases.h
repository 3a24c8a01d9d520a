/* Reader-writer locks: a template, included once for each implementation. Define before it:
 *     RW              a name for the functions made here
 *     RW_TYPE         the type of the lock
 *     RW_INIT(l)  RW_READ(l)  RW_READ_END(l)  RW_WRITE(l)  RW_WRITE_END(l)
 * and afterwards list RW_CASES(name, "implementation"). Layout as in lock_cases.h. */

#include "bench.h"

#ifndef RW_CASES
#define RW_CASES(name, impl)                                                                       \
    {"rwlock", "1 reader", impl, name##_rw_run, 1, 0}, {"rwlock", "2 readers", impl, name##_rw_run, 2, 0}, \
        {"rwlock", "4 readers", impl, name##_rw_run, 4, 0},                                        \
        {"rwlock", "2 threads, 95 % reads", impl, name##_rw_run, 2, 20},                           \
        {"rwlock", "4 threads, 95 % reads", impl, name##_rw_run, 4, 20}
#endif

#define RW_NAME(suffix) BENCH_CAT(RW, suffix)

typedef struct {
    RW_TYPE lock;
    uint64_t data, copy; /* the same, but while it is written */
} __attribute__((aligned(64))) RW_NAME(_rwbox);

static RW_NAME(_rwbox) RW_NAME(_the_rwbox);

static void RW_NAME(_rw_turns)(bench_thread *t) {
    RW_NAME(_rwbox) *box = (RW_NAME(_rwbox) *)t->shared;
    uint64_t ops = 0, torn = 0;
    uint32_t phase;
    int every = t->number, turn = t->index;
    while ((phase = bench_phase()) != BENCH_OVER) {
        if (every != 0 && ++turn >= every) {
            turn = 0;
            RW_WRITE(&box->lock);
            box->data++;
            box->copy++;
            RW_WRITE_END(&box->lock);
        } else {
            RW_READ(&box->lock);
            torn += box->data ^ box->copy;
            RW_READ_END(&box->lock);
        }
        ops += phase;
    }
    t->ops = ops;
    t->all = torn;
}

static void RW_NAME(_rw_run)(const bench_case *c) {
    bench_window w;
    double sum = 0, least = 1e300, most = 0;
    char extra[100];
    int i;
    RW_INIT(&RW_NAME(_the_rwbox).lock);
    for (i = 0; i < c->a; i++) bench_start(i, RW_NAME(_rw_turns), &RW_NAME(_the_rwbox), c->b);
    w = bench_measure();
    bench_join(0, c->a);
    for (i = 0; i < c->a; i++) {
        double ops = (double)bench_team[i].ops;
        sum += ops;
        if (ops < least) least = ops;
        if (ops > most) most = ops;
        BENCH_CHECK(bench_team[i].all == 0); /* no reader saw a writer's work half done */
    }
    snprintf(extra, sizeof extra, "fairness=%.2f cpu=%.2f", least / most, w.cpu);
    bench_print(c, sum / w.seconds * 1e-6, "M op/s", extra);
}

#undef RW_NAME
#undef RW
#undef RW_TYPE
#undef RW_INIT
#undef RW_READ
#undef RW_READ_END
#undef RW_WRITE
#undef RW_WRITE_END
