/* Peer: OpenMP as the C compiler brings it. Two threads. */

#define _POSIX_C_SOURCE 200809L
#include <omp.h>

#include "parallel_cases.h"

/* A task for each call, with no cut-off, is so dear that it is fib(24) here. */
static uint64_t fib(int n) {
    uint64_t a, b;
    if (n < 2) return (uint64_t)n;
#pragma omp task shared(a) firstprivate(n)
    a = fib(n - 1);
    b = fib(n - 2);
#pragma omp taskwait
    return a + b;
}
static void fib24(void) {
#pragma omp parallel num_threads(2)
#pragma omp single
    forkjoin_result = fib(24);
}
static void run_fib(const bench_case *c) { forkjoin_run(c, fib24, 24); }

static void static_cheap(void) {
    long i;
#pragma omp parallel for num_threads(2) schedule(static)
    for (i = 0; i < PARALLEL_CHEAP; i++) parallel_cheap((size_t)i, (size_t)i + 1);
}
static void dynamic_cheap(void) {
    long i;
#pragma omp parallel for num_threads(2) schedule(dynamic, PARALLEL_GRAIN)
    for (i = 0; i < PARALLEL_CHEAP; i++) parallel_cheap((size_t)i, (size_t)i + 1);
}
static void static_costly(void) {
    long i;
#pragma omp parallel for num_threads(2) schedule(static)
    for (i = 0; i < PARALLEL_COSTLY; i++) parallel_costly((size_t)i, (size_t)i + 1);
}
static void dynamic_costly(void) {
    long i;
#pragma omp parallel for num_threads(2) schedule(dynamic, 64)
    for (i = 0; i < PARALLEL_COSTLY; i++) parallel_costly((size_t)i, (size_t)i + 1);
}
static void static_sum(void) {
    uint64_t sum = 0;
    long i;
#pragma omp parallel for num_threads(2) schedule(static) reduction(+ : sum)
    for (i = 0; i < PARALLEL_SUM; i += PARALLEL_GRAIN) sum += parallel_sum((size_t)i, (size_t)i + PARALLEL_GRAIN);
    parallel_result = sum;
}
static void dynamic_sum(void) {
    uint64_t sum = 0;
    long i;
#pragma omp parallel for num_threads(2) schedule(dynamic) reduction(+ : sum)
    for (i = 0; i < PARALLEL_SUM; i += PARALLEL_GRAIN) sum += parallel_sum((size_t)i, (size_t)i + PARALLEL_GRAIN);
    parallel_result = sum;
}
static void run_cheap(const bench_case *c) { parallel_cheap_run(c, c->a ? dynamic_cheap : static_cheap); }
static void run_costly(const bench_case *c) { parallel_costly_run(c, c->a ? dynamic_costly : static_costly); }
static void run_sum(const bench_case *c) { parallel_sum_run(c, c->a ? dynamic_sum : static_sum); }

static const bench_case cases[] = {
    FORKJOIN_CASE("OpenMP", run_fib, 0),
    PARALLEL_CHEAP_CASE("OpenMP static", run_cheap, 0),
    PARALLEL_CHEAP_CASE("OpenMP dynamic", run_cheap, 1),
    PARALLEL_COSTLY_CASE("OpenMP static", run_costly, 0),
    PARALLEL_COSTLY_CASE("OpenMP dynamic", run_costly, 1),
    PARALLEL_SUM_CASE("OpenMP static", run_sum, 0),
    PARALLEL_SUM_CASE("OpenMP dynamic", run_sum, 1),
};

BENCH_MAIN(cases)
