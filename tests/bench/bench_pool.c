/* conc.h's thread pool. "conc" is a pool of two threads, which for the loops makes three with the caller, as users have it
 * where there are two processors; "conc 1 + caller" has as many threads as its peers. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include "parallel_cases.h"

static conc_pool *pool;

static void open_pool(unsigned threads, size_t capacity, bool help) {
    conc_pool_desc d;
    memset(&d, 0, sizeof d);
    d.core_threads = threads;
    d.queue_capacity = capacity;
    d.on_reject = CONC_REJECT_BLOCK;
    d.waiters_help = help;
    d.prestart = true;
    BENCH_CHECK((pool = conc_pool_new(&d)) != NULL);
}

/* ---- tasks ---- */

static void trip(conc_fn fn) {
    conc_future *f = conc_pool_submit(pool, fn, NULL);
    BENCH_CHECK(f != NULL && conc_future_wait(f, CONC_FOREVER) == CONC_OK);
    conc_future_release(f);
}

#define POOL unbounded
#define POOL_TASK(name) static int name(void *arg)
#define POOL_TASK_END return (void)arg, 0
#define POOL_OPEN(fn) open_pool(2, 0, false)
#define POOL_PUT(i, fn) BENCH_CHECK(conc_pool_run(pool, fn, NULL) == CONC_OK)
#define POOL_TRIP(fn) trip(fn)
#define POOL_REPLY() ((void)0)
#include "pool_cases.h"

#define POOL bounded
#define POOL_TASK(name) static int name(void *arg)
#define POOL_TASK_END return (void)arg, 0
#define POOL_OPEN(fn) open_pool(2, 1024, false)
#define POOL_PUT(i, fn) BENCH_CHECK(conc_pool_run(pool, fn, NULL) == CONC_OK)
#define POOL_TRIP(fn) trip(fn)
#define POOL_REPLY() ((void)0)
#include "pool_cases.h"

#define POOL helped
#define POOL_TASK(name) static int name(void *arg)
#define POOL_TASK_END return (void)arg, 0
#define POOL_OPEN(fn) open_pool(2, 0, true)
#define POOL_PUT(i, fn) BENCH_CHECK(conc_pool_run(pool, fn, NULL) == CONC_OK)
#define POOL_TRIP(fn) trip(fn)
#define POOL_REPLY() ((void)0)
#include "pool_cases.h"

/* with a future for each, which is released when all are handed in */
static conc_future *futures[POOL_TASKS];
static unsigned future_count;
static void open_futures(void) {
    open_pool(2, 0, false);
    memset(futures, 1, sizeof futures);
}
static void put_future(conc_fn fn) {
    BENCH_CHECK((futures[future_count] = conc_pool_submit(pool, fn, NULL)) != NULL);
    future_count++;
}
#define POOL kept
#define POOL_TASK(name) static int name(void *arg)
#define POOL_TASK_END return (void)arg, 0
#define POOL_OPEN(fn) open_futures()
#define POOL_PUT(i, fn) put_future(fn)
#define POOL_WAIT()                                                                                \
    while (future_count != 0) conc_future_release(futures[--future_count])
#include "pool_cases.h"

/* the group in the place of a future, where the waiter may help */
static conc_pool_group group;
static void open_group(void) {
    open_pool(2, 0, true);
    BENCH_CHECK(conc_pool_group_begin(&group, pool) == CONC_OK);
}
#define POOL grouped
#define POOL_TASK(name) static int name(void *arg)
#define POOL_TASK_END return (void)arg, 0
#define POOL_OPEN(fn) open_group()
#define POOL_PUT(i, fn) BENCH_CHECK(conc_pool_group_run(&group, fn, NULL) == CONC_OK)
#define POOL_WAIT() BENCH_CHECK(conc_pool_group_wait(&group, CONC_FOREVER) == CONC_OK)
#define POOL_TRIP(fn)                                                                              \
    do {                                                                                           \
        POOL_PUT(0, fn);                                                                           \
        POOL_WAIT();                                                                               \
    } while (0)
#define POOL_REPLY() ((void)0)
#include "pool_cases.h"

/* ---- nothing to do ---- */

static void idle_run(const bench_case *c) {
    bench_window w;
    char extra[100];
    int i;
    open_pool((unsigned)c->a, 0, false);
    for (i = 0; i < 1000; i++) trip(unbounded_one);
    w = bench_measure();
    snprintf(extra, sizeof extra, "switches=%.0f", w.switches);
    bench_print(c, w.cpu * 100, "% cpu", extra);
}

/* ---- fork and join ---- */

struct fib {
    uint64_t value;
    int n;
};
static int fib(void *arg) {
    struct fib *f = (struct fib *)arg;
    struct fib a, b;
    conc_job job;
    if (f->n < 2) {
        f->value = (uint64_t)f->n;
        return 0;
    }
    a.n = f->n - 1;
    b.n = f->n - 2;
    conc_job_fork(&job, fib, &b);
    fib(&a);
    conc_job_join(&job);
    f->value = a.value + b.value;
    return 0;
}
static void fib30(void) {
    struct fib root;
    root.n = 30;
    BENCH_CHECK(conc_pool_call(pool, fib, &root, NULL) == CONC_OK);
    forkjoin_result = root.value;
}

/* ---- loops ---- */

static int cheap_body(size_t a, size_t b, void *arg) {
    (void)arg;
    parallel_cheap(a, b);
    return 0;
}
static int costly_body(size_t a, size_t b, void *arg) {
    (void)arg;
    parallel_costly(a, b);
    return 0;
}
static int sum_body(size_t a, size_t b, void *part, void *arg) {
    (void)arg;
    *(uint64_t *)part += parallel_sum(a, b);
    return 0;
}
static void sum_join(void *left, const void *right, void *arg) {
    (void)arg;
    *(uint64_t *)left += *(const uint64_t *)right;
}
static void cheap(void) { BENCH_CHECK(conc_pool_for(pool, 0, PARALLEL_CHEAP, 0, cheap_body, NULL) == CONC_OK); }
static void costly(void) { BENCH_CHECK(conc_pool_for(pool, 0, PARALLEL_COSTLY, 0, costly_body, NULL) == CONC_OK); }
static void sum(void) {
    uint64_t value = 0;
    BENCH_CHECK(conc_pool_reduce(pool, 0, PARALLEL_SUM, 0, sum_body, sum_join, &value, NULL) == CONC_OK);
    parallel_result = value;
}
static void sort(void) {
    BENCH_CHECK(conc_pool_sort(pool, parallel_numbers, PARALLEL_SORT, sizeof *parallel_numbers, parallel_compare) ==
                CONC_OK);
}

static void run_fib(const bench_case *c) {
    open_pool((unsigned)c->a, 0, false);
    forkjoin_run(c, fib30, 30);
}
static void run_cheap(const bench_case *c) {
    open_pool((unsigned)c->a, 0, false);
    parallel_cheap_run(c, cheap);
}
static void run_costly(const bench_case *c) {
    open_pool((unsigned)c->a, 0, false);
    parallel_costly_run(c, costly);
}
static void run_sum(const bench_case *c) {
    open_pool((unsigned)c->a, 0, false);
    parallel_sum_run(c, sum);
}
static void run_sort(const bench_case *c) {
    open_pool((unsigned)c->a, 0, false);
    parallel_sort_run(c, sort);
}

static const bench_case cases[] = {
    POOL_EMPTY_CASE(unbounded, "conc"),
    POOL_EMPTY_CASE(bounded, "conc 1024"),
    POOL_EMPTY_CASE(kept, "conc, futures"),
    POOL_EMPTY_CASE(grouped, "conc group"),
    POOL_TRIP_CASE(unbounded, "conc"),
    POOL_HELP_CASE(helped, "conc"),
    POOL_HELP_CASE(grouped, "conc group"),
    {"pool", "2 threads idle", "conc", idle_run, 2, 0},
    {"pool", "16 threads idle", "conc", idle_run, 16, 0},
    POOL_MEMORY_CASE(unbounded, "conc"),
    POOL_MEMORY_CASE(kept, "conc, futures"),
    FORKJOIN_CASE("conc", run_fib, 2),
    FORKJOIN_CASE("conc 1 + caller", run_fib, 1),
    PARALLEL_CHEAP_CASE("conc", run_cheap, 2),
    PARALLEL_CHEAP_CASE("conc 1 + caller", run_cheap, 1),
    PARALLEL_COSTLY_CASE("conc", run_costly, 2),
    PARALLEL_COSTLY_CASE("conc 1 + caller", run_costly, 1),
    PARALLEL_SUM_CASE("conc", run_sum, 2),
    PARALLEL_SUM_CASE("conc 1 + caller", run_sum, 1),
    PARALLEL_SORT_CASE("conc", run_sort, 2),
    PARALLEL_SORT_CASE("conc 1 + caller", run_sort, 1),
};

BENCH_MAIN(cases)
