/* Peer: libuv (Debian: libuv1-dev). Its timers, which count in milliseconds; and its thread pool, where a task is waited
 * for in the loop. */

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

/* two threads, before the pool starts with the first task; the requests are the caller's, and used again */
static uv_work_t *requests;
static void on_work_end(uv_work_t *request, int status) {
    (void)request;
    BENCH_CHECK(status == 0);
}
static void open_pool(void) {
    BENCH_CHECK(setenv("UV_THREADPOOL_SIZE", "2", 1) == 0);
    BENCH_CHECK((requests = (uv_work_t *)malloc(1000000 * sizeof *requests)) != NULL);
}

#define POOL uv
#define POOL_TASK(name) static void name(uv_work_t *request)
#define POOL_TASK_END (void)request
#define POOL_OPEN(fn) open_pool()
#define POOL_PUT(i, fn) uv_queue_work(uv_default_loop(), &requests[i], fn, on_work_end)
#define POOL_WAIT() uv_run(uv_default_loop(), UV_RUN_DEFAULT)
#include "pool_cases.h"

static const bench_case cases[] = {
    TIMER_CASES("libuv", run),
    POOL_EMPTY_CASE(uv, "libuv"),
    POOL_TRIP_CASE(uv, "libuv"),
    POOL_MEMORY_CASE(uv, "libuv"),
};

BENCH_MAIN(cases)
