/* conc.h's coroutines. As users compile it: the header here, its implementation in another file (conc_code.c). One
 * thread runs the loop, another one keeps the time; counted is the time of the processor. The cases are those of
 * bench_duff.c. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include "bench.h"
#include "memory.h"

#define BLOCK 256 /* the clock's phase is looked at so seldom */

static uint64_t ops_on; /* done while the phase was ON; the loop's thread */
static conc_loop *loop;
static const bench_case *the_case;

static void ended(void) {
    BENCH_CHECK(conc_loop_count(loop) == 0);
    BENCH_CHECK(conc_loop_free(loop) == CONC_OK);
}

/* ---- resume and yield: n tasks in turn ---- */

CONC_CORO(yields, uint64_t ops; int i;) {
    CO_BEGIN;
    while (bench_phase() != BENCH_OVER) {
        for (self->i = 0; self->i < BLOCK; self->i++) CO_YIELD;
        self->ops += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    ops_on += self->ops;
    CO_END;
}

/* ---- spawn and finish ---- */

static uint64_t finished;

CONC_CORO(empty, ) {
    CO_BEGIN;
    finished++;
    CO_END;
}

CONC_CORO(spawns, uint64_t all;) {
    CO_BEGIN;
    while (bench_phase() != BENCH_OVER) {
        int i;
        for (i = 0; i < 64; i++) BENCH_CHECK(CONC_GO(loop, empty) == CONC_OK);
        self->all += 64;
        CO_YIELD;
        BENCH_CHECK(finished == self->all);
        ops_on += bench_phase() == BENCH_ON ? 64 : 0;
    }
    CO_END;
}

/* ---- awaiting what is there ---- */

CONC_CORO(awaits_ready, conc_event *event; int i;) {
    CO_BEGIN;
    while (bench_phase() != BENCH_OVER) {
        for (self->i = 0; self->i < BLOCK; self->i++) {
            CO_AWAIT(conc_op_event(self->event));
            BENCH_CHECK(self->co.result == CONC_OK);
        }
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    CO_END;
}

/* ---- an item through two queues, there and back ---- */

CONC_CORO(ping, conc_queue *there, *back; uint64_t item, got, i;) {
    CO_BEGIN;
    while (bench_phase() != BENCH_OVER) {
        for (self->i = 0; self->i < BLOCK; self->i++) {
            self->item++;
            CO_AWAIT(conc_op_put(self->there, &self->item));
            CO_AWAIT(conc_op_get(self->back, &self->got));
            BENCH_CHECK(self->got == self->item);
        }
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    self->item = 0;
    CO_AWAIT(conc_op_put(self->there, &self->item));
    CO_END;
}

CONC_CORO(pong, conc_queue *there, *back; uint64_t item;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(self->there, &self->item));
        if (self->item == 0) break;
        CO_AWAIT(conc_op_put(self->back, &self->item));
    }
    CO_END;
}

/* ---- calling another ---- */

CONC_CORO(called, ) {
    CO_BEGIN;
    CO_RETURN(1);
    CO_END;
}

CONC_CORO(calls, int i; uint64_t sum;) {
    CO_BEGIN;
    while (bench_phase() != BENCH_OVER) {
        self->sum = 0;
        for (self->i = 0; self->i < BLOCK; self->i++) {
            CO_CALL(called);
            self->sum += (uint64_t)self->co.value;
        }
        BENCH_CHECK(self->sum == BLOCK);
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    CO_END;
}

/* ---- memory ---- */

static int waiting;

CONC_CORO(sleeps, conc_deadline until; conc_queue *queue; uint64_t item;) {
    CO_BEGIN;
    waiting++;
    if (self->queue == NULL) {
        CO_AWAIT(conc_op_until(self->until));
    } else {
        CO_AWAIT(conc_op_get(self->queue, &self->item));
    }
    CO_END;
}

static void memory_run(const bench_case *c) {
    conc_deadline until = conc_after(3600);
    conc_queue *queue = c->b ? conc_queue_new(sizeof(uint64_t), 1) : NULL;
    double before, after;
    char extra[100];
    int i;
    loop = conc_loop_new(NULL);
    BENCH_CHECK(loop != NULL && (!c->b || queue != NULL));
    before = memory_rss();
    for (i = 0; i < c->a; i++) BENCH_CHECK(CONC_GO(loop, sleeps, .until = until, .queue = queue) == CONC_OK);
    while (waiting < c->a) BENCH_CHECK(conc_loop_run(loop, conc_after(0.01)) == CONC_TIMEOUT);
    BENCH_CHECK(conc_loop_count(loop) == (size_t)c->a);
    after = memory_rss();
    snprintf(extra, sizeof extra, "frame=%d MB=%.1f", (int)sizeof(sleeps), (after - before) * 1e-6);
    BENCH_CHECK(conc_loop_cancel(loop) == CONC_OK);
    BENCH_CHECK(conc_loop_run(loop, CONC_FOREVER) == CONC_OK);
    ended();
    conc_queue_free(queue);
    bench_print(c, (after - before) / c->a, "bytes", extra);
}

/* ---- running them ---- */

enum { YIELDS, SPAWNS, READY, QUEUES, CALLS };

static void body(bench_thread *t) {
    conc_event event;
    conc_queue *there = NULL, *back = NULL;
    int i;
    memset(&event, 0, sizeof event);
    BENCH_CHECK((loop = conc_loop_new(NULL)) != NULL);
    switch (the_case->a) {
    case YIELDS:
        for (i = 0; i < the_case->b; i++) BENCH_CHECK(CONC_GO(loop, yields) == CONC_OK);
        break;
    case SPAWNS: BENCH_CHECK(CONC_GO(loop, spawns) == CONC_OK); break;
    case READY:
        BENCH_CHECK(conc_event_set(&event) == CONC_OK);
        BENCH_CHECK(CONC_GO(loop, awaits_ready, .event = &event) == CONC_OK);
        break;
    case QUEUES:
        BENCH_CHECK((there = conc_queue_new(sizeof(uint64_t), 64)) != NULL);
        BENCH_CHECK((back = conc_queue_new(sizeof(uint64_t), 64)) != NULL);
        BENCH_CHECK(CONC_GO(loop, ping, .there = there, .back = back) == CONC_OK);
        BENCH_CHECK(CONC_GO(loop, pong, .there = there, .back = back) == CONC_OK);
        break;
    default: BENCH_CHECK(CONC_GO(loop, calls) == CONC_OK); break;
    }
    BENCH_CHECK(conc_loop_run(loop, CONC_FOREVER) == CONC_OK);
    ended();
    conc_queue_free(there);
    conc_queue_free(back);
    t->ops = ops_on;
}

static void timed_run(const bench_case *c) {
    bench_window w;
    the_case = c;
    bench_start(0, body, NULL, 0);
    w = bench_measure();
    bench_join(0, 1);
    BENCH_CHECK(bench_team[0].ops > 0);
    bench_print(c, w.cpu * w.seconds * 1e9 / (double)bench_team[0].ops, "ns of CPU", "");
}

static const bench_case cases[] = {
    {"coro", "resume and yield, 1 task", "conc", timed_run, YIELDS, 1},
    {"coro", "resume and yield, 2 tasks", "conc", timed_run, YIELDS, 2},
    {"coro", "resume and yield, 1000 tasks", "conc", timed_run, YIELDS, 1000},
    {"coro", "spawn and finish", "conc", timed_run, SPAWNS, 0},
    {"coro", "await what is ready", "conc", timed_run, READY, 0},
    {"coro", "there and back through two queues", "conc", timed_run, QUEUES, 0},
    {"coro", "call and return", "conc", timed_run, CALLS, 0},
    {"coro", "memory of one of 1,000,000 that sleep", "conc", memory_run, 1000000, 0},
    {"coro", "memory of one of 1,000,000 that await an item", "conc", memory_run, 1000000, 1},
};

BENCH_MAIN(cases)
