/* What the timer benchmarks share: a million points in time, in random order within half a second. To arm: all are
 * armed long before the first is due. To fire: nothing runs until all are overdue; then how long it takes to call all.
 * Counted is the processor's time, so that others on the machine do not count. */

#ifndef TIMER_CASES_H
#define TIMER_CASES_H

#include "bench.h"

#define TIMERS 1000000
#define TIMER_SPAN 500000000 /* ns from the first to the last */
#define TIMER_LEAD 0.8       /* seconds to arm them in */

static int64_t *timer_offsets; /* ns after the base */
static double timer_base;      /* on bench_clock() */

static double timers_cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void timers_begin(void) {
    uint32_t x = 2463534242u;
    int i;
    timer_offsets = (int64_t *)malloc(TIMERS * sizeof *timer_offsets);
    BENCH_CHECK(timer_offsets != NULL);
    for (i = 0; i < TIMERS; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        timer_offsets[i] = (int64_t)((uint64_t)x * TIMER_SPAN >> 32);
    }
    timer_base = bench_clock() + TIMER_LEAD;
}

static void timers_armed(void) {
    BENCH_CHECK(bench_clock() < timer_base); /* else the machine is far too slow, or busy */
}

static void timers_wait_overdue(void) {
    double left = timer_base + TIMER_SPAN * 1e-9 + 0.002 - bench_clock();
    if (left > 0) bench_sleep_ms((int)(left * 1000) + 1);
}

#define TIMER_CASES(impl, run)                                                                     \
    {"timers", "arm, of 1,000,000", impl, run, 0, 0}, { "timers", "fire, of 1,000,000", impl, run, 1, 0 }

#endif
