/* conc.h's points in time: a million coroutines that await them; and, for arming, the wheel alone. The implementation is
 * in this file, because of that. Beside the time to arm stands what the same million resumes cost that only yield. */

#define _POSIX_C_SOURCE 200809L
#define CONC_IMPLEMENTATION
#include "conc.h"

#include "timer_cases.h"

static uint64_t fired;
static double phases[4];
static int phase;

CONC_CORO(sleeper, int64_t when;) {
    CO_BEGIN;
    CO_YIELD;
    CO_YIELD;
    CO_AWAIT(conc_op_until(conc_deadline_at(self->when)));
    if (fired++ % 64 == 0) BENCH_CHECK(conc_clock_ns() >= self->when); /* never early */
    CO_END;
}

/* The last in the list: what it sees in between is what all others have done. */
CONC_CORO(keeper, ) {
    CO_BEGIN;
    while (phase < 4) {
        phases[phase++] = timers_cpu();
        CO_YIELD;
    }
    CO_END;
}

static void conc_run(const bench_case *c) {
    conc_loop *loop = conc_loop_new(NULL);
    int64_t base;
    char extra[100];
    double took;
    int i;
    timers_begin();
    BENCH_CHECK(loop != NULL);
    base = conc_clock_ns() + (int64_t)((timer_base - bench_clock()) * 1e9);
    for (i = 0; i < TIMERS; i++) BENCH_CHECK(CONC_GO(loop, sleeper, .when = base + timer_offsets[i]) == CONC_OK);
    BENCH_CHECK(CONC_GO(loop, keeper) == CONC_OK);
    while (phase < 4) BENCH_CHECK(conc_loop_run(loop, conc_after(0.01)) == CONC_TIMEOUT);
    timers_armed();
    BENCH_CHECK(fired == 0);
    snprintf(extra, sizeof extra, "yield=%.1f", (phases[1] - phases[0]) * 1e9 / TIMERS);
    if (c->a == 0) { /* the first yields stood before the keeper's first, the second before its second */
        bench_print(c, (phases[2] - phases[1]) * 1e9 / TIMERS, "ns of CPU", extra);
        exit(0);
    }
    timers_wait_overdue();
    took = timers_cpu();
    BENCH_CHECK(conc_loop_run(loop, CONC_FOREVER) == CONC_OK);
    took = timers_cpu() - took;
    BENCH_CHECK(fired == TIMERS && conc_loop_free(loop) == CONC_OK);
    bench_print(c, took * 1e9 / TIMERS, "ns of CPU", "");
}

static void wheel_run(const bench_case *c) {
    conc__wheel *wheel = (conc__wheel *)malloc(sizeof *wheel);
    conc__wheel_node *nodes = (conc__wheel_node *)malloc(TIMERS * sizeof *nodes);
    int64_t base;
    double took;
    int i;
    timers_begin();
    BENCH_CHECK(wheel != NULL && nodes != NULL);
    memset(nodes, 0, TIMERS * sizeof *nodes);
    base = conc_clock_ns() + (int64_t)((timer_base - bench_clock()) * 1e9);
    conc__wheel_begin(wheel, conc_clock_ns());
    took = timers_cpu();
    for (i = 0; i < TIMERS; i++) conc__wheel_add(wheel, &nodes[i], base + timer_offsets[i]);
    took = timers_cpu() - took;
    timers_armed();
    if (c->a != 0) {
        conc__wheel_node *node;
        uint64_t count = 0;
        timers_wait_overdue();
        took = timers_cpu();
        while (wheel->count != 0) {
            int64_t now = conc_clock_ns();
            while ((node = conc__wheel_expire(wheel, now)) != NULL) count++;
        }
        took = timers_cpu() - took;
        BENCH_CHECK(count == TIMERS);
    }
    bench_print(c, took * 1e9 / TIMERS, "ns of CPU", "");
}

static const bench_case cases[] = {
    TIMER_CASES("conc", conc_run),
    TIMER_CASES("conc wheel", wheel_run),
};

BENCH_MAIN(cases)
