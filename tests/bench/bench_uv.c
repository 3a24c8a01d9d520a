/* Peer: libuv (Debian: libuv1-dev). Its timers, which count in milliseconds. */

#define _POSIX_C_SOURCE 200809L
#include <uv.h>

#include "timer_cases.h"

static uint64_t fired;
static void on_timer(uv_timer_t *t) {
    (void)t;
    fired++;
}

static void run(const bench_case *c) {
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t *timers = (uv_timer_t *)malloc(TIMERS * sizeof *timers);
    uint64_t lead;
    double took;
    int i;
    timers_begin();
    BENCH_CHECK(loop != NULL && timers != NULL);
    for (i = 0; i < TIMERS; i++) BENCH_CHECK(uv_timer_init(loop, &timers[i]) == 0);
    uv_update_time(loop);
    lead = (uint64_t)((timer_base - bench_clock()) * 1e3);
    took = timers_cpu();
    for (i = 0; i < TIMERS; i++) {
        BENCH_CHECK(uv_timer_start(&timers[i], on_timer, lead + (uint64_t)timer_offsets[i] / 1000000, 0) == 0);
    }
    took = timers_cpu() - took;
    timers_armed();
    if (c->a != 0) {
        timers_wait_overdue();
        took = timers_cpu();
        BENCH_CHECK(uv_run(loop, UV_RUN_DEFAULT) == 0);
        took = timers_cpu() - took;
        BENCH_CHECK(fired == TIMERS);
    }
    bench_print(c, took * 1e9 / TIMERS, "ns of CPU", "");
}

static const bench_case cases[] = {
    TIMER_CASES("libuv", run),
};

BENCH_MAIN(cases)
