/* Work that two threads share: fork and join, parallel loops, a sum, a sort. What is done in each of them, for every
 * implementation in C and C++; they hand a function that does all of it once to
 *     forkjoin_run(c, fn, n)     fn sets forkjoin_result to fib(n), with one fork for each call that is not a leaf
 *     parallel_cheap_run(c, fn)  fn has parallel_cheap() called for all [0, PARALLEL_CHEAP)
 *     parallel_costly_run(c, fn) ... parallel_costly() for all [0, PARALLEL_COSTLY)
 *     parallel_sum_run(c, fn)    fn sets parallel_result to the sum of parallel_sum() over [0, PARALLEL_SUM)
 *     parallel_sort_run(c, fn)   fn sorts the PARALLEL_SORT numbers at parallel_numbers
 * The medians of turns are printed. The ratio to "serial", one thread with no library, is the speed-up. */

#ifndef PARALLEL_CASES_H
#define PARALLEL_CASES_H

#include "bench.h"

#define FORKJOIN_CASE(impl, run, a) {"forkjoin", "fib(30), a fork and a join", impl, run, a, 0}
#define PARALLEL_CHEAP_CASE(impl, run, a) {"parallel", "for, 10,000,000 of 1.5 ns", impl, run, a, 0}
#define PARALLEL_COSTLY_CASE(impl, run, a) {"parallel", "for, 100,000 of 200 ns", impl, run, a, 0}
#define PARALLEL_SUM_CASE(impl, run, a) {"parallel", "sum of 64 MiB", impl, run, a, 0}
#define PARALLEL_SORT_CASE(impl, run, a) {"parallel", "sort of 4,000,000", impl, run, a, 0}

#define PARALLEL_CHEAP 10000000
#define PARALLEL_COSTLY 100000
#define PARALLEL_SUM (64 * 1024 * 1024 / 8)
#define PARALLEL_SORT 4000000
#define PARALLEL_GRAIN 4096 /* where the implementation wants to be told: of the cheap ones, and of the sum */

static void (*parallel_once)(void);
static double parallel_turn(void) {
    double start = bench_clock();
    parallel_once();
    return bench_clock() - start;
}

/* ---- fork and join ---- */

static uint64_t forkjoin_result;
static uint64_t forkjoin_fib(int n) {
    uint64_t a = 0, b = 1, x;
    for (; n > 0; n--) {
        x = a + b;
        a = b;
        b = x;
    }
    return a;
}

static BENCH_UNUSED void forkjoin_run(const bench_case *c, void (*fn)(void), int n) {
    double took;
    parallel_once = fn;
    took = bench_turns(parallel_turn);
    BENCH_CHECK(forkjoin_result == forkjoin_fib(n));
    bench_print(c, took * 1e9 / (double)(forkjoin_fib(n + 1) - 1), "ns", "");
}

/* ---- loops ---- */

static uint32_t *parallel_x, *parallel_y;
static uint64_t *parallel_words, parallel_result;
static int32_t *parallel_numbers, *parallel_unsorted;
static int parallel_turns; /* of bench_work() for one of the costly */

/* chains of 64-bit multiplications, so that compilers which vectorize make nothing else of them */
static inline uint32_t parallel_cheap_one(uint32_t x) { return (uint32_t)(bench_work(UINT64_C(7919) * x, 3) >> 32); }
static inline void parallel_cheap(size_t a, size_t b) {
    size_t i;
    for (i = a; i < b; i++) parallel_y[i] = parallel_cheap_one(parallel_x[i]);
}
static inline void parallel_costly(size_t a, size_t b) {
    size_t i;
    for (i = a; i < b; i++) parallel_y[i] = (uint32_t)bench_work(parallel_x[i], parallel_turns);
}
/* four sums, as a compiler that vectorizes would make them */
static inline uint64_t parallel_sum(size_t a, size_t b) {
    const uint64_t *w = parallel_words + a;
    uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    size_t n = b - a;
    for (; n >= 4; n -= 4, w += 4) {
        s0 += w[0];
        s1 += w[1];
        s2 += w[2];
        s3 += w[3];
    }
    for (; n > 0; n--) s0 += *w++;
    return s0 + s1 + s2 + s3;
}

static BENCH_UNUSED void parallel_for_run(const bench_case *c, void (*fn)(void), size_t n, void (*body)(size_t, size_t)) {
    size_t i;
    uint32_t got;
    double took;
    parallel_x = (uint32_t *)malloc(n * sizeof *parallel_x);
    parallel_y = (uint32_t *)malloc(n * sizeof *parallel_y);
    parallel_turns = 2 * bench_env("BENCH_WORK", 80);
    BENCH_CHECK(parallel_x != NULL && parallel_y != NULL);
    for (i = 0; i < n; i++) parallel_x[i] = (uint32_t)i * 2654435761u;
    memset(parallel_y, 0, n * sizeof *parallel_y);
    parallel_once = fn;
    took = bench_turns(parallel_turn);
    for (i = n - 1; i < n; i -= 61) { /* one in each of the smallest pieces that anybody makes */
        got = parallel_y[i];
        body(i, i + 1);
        BENCH_CHECK(got == parallel_y[i]);
    }
    bench_print(c, took * 1e3, "ms", "");
}
static BENCH_UNUSED void parallel_cheap_run(const bench_case *c, void (*fn)(void)) {
    parallel_for_run(c, fn, PARALLEL_CHEAP, parallel_cheap);
}
static BENCH_UNUSED void parallel_costly_run(const bench_case *c, void (*fn)(void)) {
    parallel_for_run(c, fn, PARALLEL_COSTLY, parallel_costly);
}

static BENCH_UNUSED void parallel_sum_run(const bench_case *c, void (*fn)(void)) {
    uint64_t i;
    double took;
    parallel_words = (uint64_t *)malloc(PARALLEL_SUM * sizeof *parallel_words);
    BENCH_CHECK(parallel_words != NULL);
    for (i = 0; i < PARALLEL_SUM; i++) parallel_words[i] = i * 3;
    parallel_once = fn;
    took = bench_turns(parallel_turn);
    BENCH_CHECK(parallel_result == (uint64_t)PARALLEL_SUM * (PARALLEL_SUM - 1) / 2 * 3);
    bench_print(c, PARALLEL_SUM * 8 / took * 1e-9, "GB/s", "");
}

/* ---- the sort ---- */

static BENCH_UNUSED int parallel_compare(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static BENCH_UNUSED double parallel_sort_turn(void) {
    memcpy(parallel_numbers, parallel_unsorted, PARALLEL_SORT * sizeof *parallel_numbers);
    return parallel_turn();
}

static BENCH_UNUSED void parallel_sort_run(const bench_case *c, void (*fn)(void)) {
    uint32_t x = 2463534242u;
    int64_t sum = 0;
    double took;
    int i;
    parallel_numbers = (int32_t *)malloc(PARALLEL_SORT * sizeof *parallel_numbers);
    parallel_unsorted = (int32_t *)malloc(PARALLEL_SORT * sizeof *parallel_unsorted);
    BENCH_CHECK(parallel_numbers != NULL && parallel_unsorted != NULL);
    for (i = 0; i < PARALLEL_SORT; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        parallel_unsorted[i] = (int32_t)x;
        sum += parallel_unsorted[i];
    }
    parallel_once = fn;
    took = bench_turns(parallel_sort_turn);
    for (i = 0; i < PARALLEL_SORT; i++) {
        BENCH_CHECK(i == 0 || parallel_numbers[i - 1] <= parallel_numbers[i]);
        sum -= parallel_numbers[i];
    }
    BENCH_CHECK(sum == 0);
    bench_print(c, took * 1e3, "ms", "");
}

#endif
