/* Blocking queues of 8-byte items: a template, included once for each implementation. Define before it:
 *     QUEUE           a name for the functions made here
 *     QUEUE_TYPE      the type of a handle
 *     QUEUE_NEW(q)    makes *q, with room for QUEUE_CAPACITY items
 *     QUEUE_PUT(q, v) QUEUE_GET(q, v)     v: a uint64_t to take the item from, or to put it in; both wait
 *     QUEUE_UNBOUNDED, if its puts never wait
 * and afterwards list QUEUE_CASES(name, "implementation").
 *
 * What is counted is items that came out. Producers stop when the window closes; then one item of value 0 for each
 * consumer ends it. (An unbounded queue may have a long tail by then, so its consumers leave at once.) */

#include "bench.h"

#ifndef QUEUE_CASES
#define QUEUE_CAPACITY 1024
#define QUEUE_CASES(name, impl)                                                                    \
    {"queue", "1p1c", impl, name##_queue_run, 1, 1}, {"queue", "2p2c", impl, name##_queue_run, 2, 2}, \
        {"queue", "4p4c", impl, name##_queue_run, 4, 4},                                           \
        {"queue", "16p16c", impl, name##_queue_run, 16, 16},                                       \
        {"queue", "round trip", impl, name##_queue_trip, 0, 0}
#endif

#define QUEUE_NAME(suffix) BENCH_CAT(QUEUE, suffix)

static QUEUE_TYPE QUEUE_NAME(_q);
static QUEUE_TYPE QUEUE_NAME(_back);

static void QUEUE_NAME(_producer)(bench_thread *t) {
    uint64_t item = 0, all = 0, sum = 0;
    while (bench_phase() != BENCH_OVER) {
        item = ++all + ((uint64_t)t->index << 48);
        sum += item;
        QUEUE_PUT(&QUEUE_NAME(_q), item);
    }
    t->all = all;
    t->ops = sum;
}

static void QUEUE_NAME(_consumer)(bench_thread *t) {
    uint64_t item = 0, ops = 0, all = 0;
    uint32_t phase;
    for (;;) {
        QUEUE_GET(&QUEUE_NAME(_q), item);
        phase = bench_phase();
        if (item == 0) break;
#if defined(QUEUE_UNBOUNDED)
        if (phase == BENCH_OVER) break;
#endif
        ops += phase == BENCH_ON;
        all++;
    }
    t->ops = ops;
    t->all = all;
}

static void QUEUE_NAME(_queue_run)(const bench_case *c) {
    bench_window w;
    uint64_t ops = 0, put = 0, got = 0;
    char extra[100];
    int i;
    QUEUE_NEW(&QUEUE_NAME(_q));
    for (i = 0; i < c->b; i++) bench_start(i, QUEUE_NAME(_consumer), NULL, 0);
    for (i = c->b; i < c->b + c->a; i++) bench_start(i, QUEUE_NAME(_producer), NULL, 0);
    w = bench_measure();
    bench_join(c->b, c->a);
    for (i = 0; i < c->b; i++) {
        uint64_t end = 0;
        QUEUE_PUT(&QUEUE_NAME(_q), end);
    }
    bench_join(0, c->b);
    for (i = 0; i < c->b; i++) {
        ops += bench_team[i].ops;
        got += bench_team[i].all;
    }
    for (i = c->b; i < c->b + c->a; i++) put += bench_team[i].all;
#if defined(QUEUE_UNBOUNDED)
    BENCH_CHECK(put >= got);
#else
    BENCH_CHECK(put == got); /* nothing was lost, nothing came twice */
#endif
    snprintf(extra, sizeof extra, "switches/100=%.2f cpu=%.2f", w.switches * 100 / (double)ops, w.cpu);
    bench_print(c, (double)ops / w.seconds * 1e-6, "M items/s", extra);
}

static void QUEUE_NAME(_trip_ping)(bench_thread *t) {
    uint64_t ops = 0, item, reply = 0;
    uint32_t phase;
    while ((phase = bench_phase()) != BENCH_OVER) {
        item = 1;
        QUEUE_PUT(&QUEUE_NAME(_q), item);
        QUEUE_GET(&QUEUE_NAME(_back), reply);
        ops += phase;
    }
    item = 0;
    QUEUE_PUT(&QUEUE_NAME(_q), item);
    (void)reply;
    t->ops = ops;
}

static void QUEUE_NAME(_trip_pong)(bench_thread *t) {
    uint64_t item = 0;
    (void)t;
    for (;;) {
        QUEUE_GET(&QUEUE_NAME(_q), item);
        if (item == 0) break;
        QUEUE_PUT(&QUEUE_NAME(_back), item);
    }
}

static void QUEUE_NAME(_queue_trip)(const bench_case *c) {
    bench_window w;
    char extra[100];
    QUEUE_NEW(&QUEUE_NAME(_q));
    QUEUE_NEW(&QUEUE_NAME(_back));
    bench_start(0, QUEUE_NAME(_trip_ping), NULL, 0);
    bench_start(1, QUEUE_NAME(_trip_pong), NULL, 0);
    w = bench_measure();
    bench_join(0, 2);
    snprintf(extra, sizeof extra, "switches/100=%.1f cpu=%.2f", w.switches * 100 / (double)bench_team[0].ops, w.cpu);
    bench_print(c, w.seconds * 1e6 / (double)bench_team[0].ops, "us", extra);
}

#undef QUEUE_NAME
#undef QUEUE
#undef QUEUE_TYPE
#undef QUEUE_NEW
#undef QUEUE_PUT
#undef QUEUE_GET
#undef QUEUE_UNBOUNDED
