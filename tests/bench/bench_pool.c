/* conc.h's thread pool. "conc" is a pool of two threads, which for the loops makes three with the caller, as users have it
 * where there are two processors; "conc 1 + caller" has as many threads as its peers. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include "memory.h"
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

/* ---- nothing to do; and a great deal, while the only thread is held up ---- */

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

static int hold(void *gate) { return conc_event_wait((conc_event *)gate, CONC_FOREVER); }

static void memory_run(const bench_case *c) {
    static conc_event gate;
    conc_future **futures = NULL;
    double before, used;
    char extra[100];
    int i;
    BENCH_CHECK(sem_init(&pool_batch.none, 0, 0) == 0);
    pool_batch.left = (uint32_t)c->a;
    open_pool(1, 0, false);
    BENCH_CHECK(conc_pool_run(pool, hold, &gate) == CONC_OK);
    if (c->b) {
        futures = (conc_future **)malloc((size_t)c->a * sizeof *futures);
        BENCH_CHECK(futures != NULL);
        memset(futures, 1, (size_t)c->a * sizeof *futures);
    }
    before = memory_rss();
    for (i = 0; i < c->a; i++) {
        if (c->b) BENCH_CHECK((futures[i] = conc_pool_submit(pool, unbounded_empty, NULL)) != NULL);
        else BENCH_CHECK(conc_pool_run(pool, unbounded_empty, NULL) == CONC_OK);
    }
    used = memory_rss() - before;
    conc_event_set(&gate);
    pool_await();
    snprintf(extra, sizeof extra, "MB=%.1f", used * 1e-6);
    bench_print(c, used / c->a, "bytes", extra);
    for (i = 0; c->b && i < c->a; i++) conc_future_release(futures[i]);
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
    POOL_TRIP_CASE(unbounded, "conc"),
    POOL_HELP_CASE(helped, "conc"),
    {"pool", "2 threads idle", "conc", idle_run, 2, 0},
    {"pool", "16 threads idle", "conc", idle_run, 16, 0},
    {"pool", "memory of one of 1,000,000 queued", "conc", memory_run, 1000000, 0},
    {"pool", "memory of one of 1,000,000 queued", "conc, future", memory_run, 1000000, 1},
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
