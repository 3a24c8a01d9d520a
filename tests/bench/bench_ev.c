/* Peer: libev (Debian: libev-dev). Its timers. */

#define _POSIX_C_SOURCE 200809L
#include <ev.h>

#include "timer_cases.h"

static uint64_t fired;
static void on_timer(struct ev_loop *loop, ev_timer *t, int events) {
    (void)loop;
    (void)t;
    (void)events;
    fired++;
}

static void run(const bench_case *c) {
    struct ev_loop *loop = ev_default_loop(0);
    ev_timer *timers = (ev_timer *)malloc(TIMERS * sizeof *timers);
    double lead, took;
    int i;
    timers_begin();
    BENCH_CHECK(loop != NULL && timers != NULL);
    for (i = 0; i < TIMERS; i++) ev_timer_init(&timers[i], on_timer, 0., 0.);
    ev_now_update(loop);
    lead = timer_base - bench_clock();
    took = timers_cpu();
    for (i = 0; i < TIMERS; i++) {
        ev_timer_set(&timers[i], lead + (double)timer_offsets[i] * 1e-9, 0.);
        ev_timer_start(loop, &timers[i]);
    }
    took = timers_cpu() - took;
    timers_armed();
    if (c->a != 0) {
        timers_wait_overdue();
        took = timers_cpu();
        ev_run(loop, 0);
        took = timers_cpu() - took;
        BENCH_CHECK(fired == TIMERS);
    }
    bench_print(c, took * 1e9 / TIMERS, "ns of CPU", "");
}

static const bench_case cases[] = {
    TIMER_CASES("libev", run),
};

BENCH_MAIN(cases)
