/* What the parallel loops are compared with: one thread, and no library but the C library's. */

#define _POSIX_C_SOURCE 200809L
#include "parallel_cases.h"

static uint64_t fib(int n) {
    uint64_t a;
    if (n < 2) return (uint64_t)n;
    a = fib(n - 1);
    __asm__ __volatile__("" : "+r"(a)); /* two calls, as all others make them: no loop in the place of one */
    return a + fib(n - 2);
}
static void fib30(void) { forkjoin_result = fib(30); }
static void run_fib(const bench_case *c) { forkjoin_run(c, fib30, 30); }

static void cheap(void) { parallel_cheap(0, PARALLEL_CHEAP); }
static void costly(void) { parallel_costly(0, PARALLEL_COSTLY); }
static void sum(void) { parallel_result = parallel_sum(0, PARALLEL_SUM); }
static void sort(void) { qsort(parallel_numbers, PARALLEL_SORT, sizeof *parallel_numbers, parallel_compare); }
static void run_cheap(const bench_case *c) { parallel_cheap_run(c, cheap); }
static void run_costly(const bench_case *c) { parallel_costly_run(c, costly); }
static void run_sum(const bench_case *c) { parallel_sum_run(c, sum); }
static void run_sort(const bench_case *c) { parallel_sort_run(c, sort); }

static const bench_case cases[] = {
    FORKJOIN_CASE("serial, a call", run_fib, 0),
    PARALLEL_CHEAP_CASE("serial", run_cheap, 0),
    PARALLEL_COSTLY_CASE("serial", run_costly, 0),
    PARALLEL_SUM_CASE("serial", run_sum, 0),
    PARALLEL_SORT_CASE("serial qsort", run_sort, 0),
};

BENCH_MAIN(cases)
