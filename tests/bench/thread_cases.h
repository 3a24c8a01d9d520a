/* Threads: start and join one after another; and the four sums: 0..999,999 four times, one after the other and in
 * four threads, and the same with 100 times the work. A template, included once for each implementation. Define
 * before it:
 *     THREAD          a name for the functions made here
 *     THREAD_TYPE     the type of a handle
 *     THREAD_FN(name, arg)       the head of a function that can be a thread's, with a void *arg
 *     THREAD_END                 how such a function returns
 *     THREAD_START(t, fn, arg)   THREAD_JOIN(t)
 * and afterwards list THREAD_CASES(name, "implementation"). */

#include "bench.h"

#ifndef THREAD_CASES
#define THREAD_CASES(name, impl)                                                                   \
    {"thread", "start and join", impl, name##_thread_run, 0, 0},                                   \
        {"sums", "four in turn", impl, name##_sums_run, 0, 1},                                     \
        {"sums", "four threads", impl, name##_sums_run, 1, 1},                                     \
        {"sums", "four in turn, 100 times the work", impl, name##_sums_run, 0, 100},               \
        {"sums", "four threads, 100 times the work", impl, name##_sums_run, 1, 100}

typedef struct bench_sum {
    uint64_t times; /* set by the caller: how often to sum */
    uint64_t sum;   /* the last result */
} bench_sum;

/* The additions are really made: no compiler may put a formula in the loop's place. */
static BENCH_UNUSED void bench_sum_up(bench_sum *s) {
    uint64_t t, i, sum = 0;
    for (t = 0; t < s->times; t++) {
        sum = 0;
        for (i = 0; i < 1000000; i++) {
            sum += i;
            __asm__ __volatile__("" : "+r"(sum));
        }
    }
    s->sum = sum;
}
#endif

#define THREAD_NAME(suffix) BENCH_CAT(THREAD, suffix)

THREAD_FN(THREAD_NAME(_nothing), arg) {
    (void)arg;
    THREAD_END;
}

THREAD_FN(THREAD_NAME(_sum), arg) {
    bench_sum_up((bench_sum *)arg);
    THREAD_END;
}

static void THREAD_NAME(_thread_turns)(bench_thread *t) {
    uint64_t ops = 0;
    uint32_t phase;
    while ((phase = bench_phase()) != BENCH_OVER) {
        THREAD_TYPE one;
        THREAD_START(one, THREAD_NAME(_nothing), NULL);
        THREAD_JOIN(one);
        ops += phase;
    }
    t->ops = ops;
}

static void THREAD_NAME(_thread_run)(const bench_case *c) {
    bench_window w;
    bench_start(0, THREAD_NAME(_thread_turns), NULL, 0);
    w = bench_measure();
    bench_join(0, 1);
    bench_print(c, w.seconds * 1e6 / (double)bench_team[0].ops, "us", "");
}

static void THREAD_NAME(_sums_run)(const bench_case *c) {
    static bench_sum sums[4];
    double best = 1e300;
    int i, turn, turns = c->b == 1 ? 20 : 1; /* the short ones: the median run of the driver is of best times */
    for (turn = 0; turn < turns; turn++) {
        double start = bench_clock();
        for (i = 0; i < 4; i++) sums[i].times = (uint64_t)c->b;
        if (c->a) {
            THREAD_TYPE threads[4];
            for (i = 0; i < 4; i++) THREAD_START(threads[i], THREAD_NAME(_sum), &sums[i]);
            for (i = 0; i < 4; i++) THREAD_JOIN(threads[i]);
        } else {
            for (i = 0; i < 4; i++) bench_sum_up(&sums[i]);
        }
        start = bench_clock() - start;
        if (start < best) best = start;
    }
    for (i = 0; i < 4; i++) BENCH_CHECK(sums[i].sum == UINT64_C(499999500000));
    bench_print(c, best * 1e3, "ms", "");
}

#undef THREAD_NAME
#undef THREAD
#undef THREAD_TYPE
#undef THREAD_FN
#undef THREAD_END
#undef THREAD_START
#undef THREAD_JOIN
