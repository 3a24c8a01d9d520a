/* Peer: oneTBB (Debian: libtbb-dev). And the C++ library's own sort, in one thread. */

#include <algorithm>
#include <atomic>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_invoke.h>
#include <oneapi/tbb/parallel_reduce.h>
#include <oneapi/tbb/parallel_sort.h>
#include <oneapi/tbb/rw_mutex.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include "parallel_cases.h"

#define RW tbb_
#define RW_TYPE tbb::rw_mutex
#define RW_INIT(l) (void)(l)
#define RW_READ(l) (l)->lock_shared()
#define RW_READ_END(l) (l)->unlock_shared()
#define RW_WRITE(l) (l)->lock()
#define RW_WRITE_END(l) (l)->unlock()
#include "rwlock_cases.h"

#define QUEUE tbb_
#define QUEUE_TYPE tbb::concurrent_bounded_queue<uint64_t>
#define QUEUE_NEW(q) (q)->set_capacity(QUEUE_CAPACITY)
#define QUEUE_PUT(q, v) (q)->push(v)
#define QUEUE_GET(q, v) (q)->pop(v)
#include "queue_cases.h"

/* ---- the pool: an arena of two workers, without a place for who hands in; or of one worker and the one who waits ---- */

static tbb::task_arena *arena;
static tbb::task_group *group;

static void open_arena(int workers, int waiters) {
    static tbb::global_control threads(tbb::global_control::max_allowed_parallelism, (size_t)workers + 1);
    arena = new tbb::task_arena(workers + waiters, (unsigned)waiters);
    if (waiters) group = new tbb::task_group;
}

static std::atomic<uint32_t> replies;

#define POOL tbb_enqueue
#define POOL_TASK(name) static void name()
#define POOL_TASK_END
#define POOL_OPEN(fn) open_arena(2, 0)
#define POOL_PUT(i, fn) arena->enqueue(fn)
#define POOL_TRIP(fn)                                                                              \
    do {                                                                                           \
        uint32_t before = replies.load();                                                          \
        arena->enqueue(fn);                                                                        \
        replies.wait(before);                                                                      \
    } while (0)
#define POOL_REPLY()                                                                               \
    do {                                                                                           \
        replies.fetch_add(1);                                                                      \
        replies.notify_one();                                                                      \
    } while (0)
#include "pool_cases.h"

#define POOL tbb_group
#define POOL_TASK(name) static void name()
#define POOL_TASK_END
#define POOL_OPEN(fn) open_arena(1, 1)
#define POOL_PUT(i, fn) group->run(fn)
#define POOL_WAIT() group->wait()
#define POOL_TRIP(fn)                                                                              \
    do {                                                                                           \
        group->run(fn);                                                                            \
        group->wait();                                                                             \
    } while (0)
#define POOL_REPLY() ((void)0)
#include "pool_cases.h"

/* ---- work that is shared: two threads, the caller being one ---- */

static uint64_t fib_group(int n) {
    uint64_t a, b;
    if (n < 2) return (uint64_t)n;
    tbb::task_group g;
    g.run([&b, n] { b = fib_group(n - 2); });
    a = fib_group(n - 1);
    g.wait();
    return a + b;
}
static uint64_t fib_invoke(int n) {
    uint64_t a, b;
    if (n < 2) return (uint64_t)n;
    tbb::parallel_invoke([&a, n] { a = fib_invoke(n - 1); }, [&b, n] { b = fib_invoke(n - 2); });
    return a + b;
}
static void fib30_group(void) {
    arena->execute([] { forkjoin_result = fib_group(30); });
}
static void fib30_invoke(void) {
    arena->execute([] { forkjoin_result = fib_invoke(30); });
}

using range = tbb::blocked_range<size_t>;
static void cheap(void) {
    arena->execute([] {
        tbb::parallel_for(range(0, PARALLEL_CHEAP), [](const range &r) { parallel_cheap(r.begin(), r.end()); });
    });
}
static void costly(void) {
    arena->execute([] {
        tbb::parallel_for(range(0, PARALLEL_COSTLY), [](const range &r) { parallel_costly(r.begin(), r.end()); });
    });
}
static void sum(void) {
    arena->execute([] {
        parallel_result = tbb::parallel_reduce(
            range(0, PARALLEL_SUM), (uint64_t)0,
            [](const range &r, uint64_t s) { return s + parallel_sum(r.begin(), r.end()); },
            [](uint64_t a, uint64_t b) { return a + b; });
    });
}
static void sort(void) {
    arena->execute([] { tbb::parallel_sort(parallel_numbers, parallel_numbers + PARALLEL_SORT); });
}
static void std_sort(void) { std::sort(parallel_numbers, parallel_numbers + PARALLEL_SORT); }

static void run_fib(const bench_case *c) {
    open_arena(1, 1);
    forkjoin_run(c, c->a ? fib30_invoke : fib30_group, 30);
}
static void run_cheap(const bench_case *c) {
    open_arena(1, 1);
    parallel_cheap_run(c, cheap);
}
static void run_costly(const bench_case *c) {
    open_arena(1, 1);
    parallel_costly_run(c, costly);
}
static void run_sum(const bench_case *c) {
    open_arena(1, 1);
    parallel_sum_run(c, sum);
}
static void run_sort(const bench_case *c) {
    open_arena(1, 1);
    parallel_sort_run(c, c->a ? std_sort : sort);
}

static const bench_case cases[] = {
    RW_CASES(tbb_, "oneTBB"),
    QUEUE_CASES(tbb_, "oneTBB"),
    POOL_EMPTY_CASE(tbb_enqueue, "oneTBB enqueue"),
    POOL_EMPTY_CASE(tbb_group, "oneTBB task_group"),
    POOL_TRIP_CASE(tbb_enqueue, "oneTBB enqueue"),
    POOL_MEMORY_CASE(tbb_enqueue, "oneTBB enqueue"),
    POOL_HELP_CASE(tbb_group, "oneTBB task_group"),
    FORKJOIN_CASE("oneTBB task_group", run_fib, 0),
    FORKJOIN_CASE("oneTBB invoke", run_fib, 1),
    PARALLEL_CHEAP_CASE("oneTBB", run_cheap, 0),
    PARALLEL_COSTLY_CASE("oneTBB", run_costly, 0),
    PARALLEL_SUM_CASE("oneTBB", run_sum, 0),
    PARALLEL_SORT_CASE("oneTBB", run_sort, 0),
    PARALLEL_SORT_CASE("std::sort, serial", run_sort, 1),
};

BENCH_MAIN(cases)
