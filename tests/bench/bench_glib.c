/* Peer: GLib (Debian: libglib2.0-dev). Its GAsyncQueue is unbounded and holds pointers, never NULL, so an item is sent
 * as itself + 1. Its GThreadPool has one function for all its tasks. */

#define _POSIX_C_SOURCE 200809L
#include <glib.h>

#include "bench.h"

#define QUEUE glib
#define QUEUE_TYPE GAsyncQueue *
#define QUEUE_NEW(q) (*(q) = g_async_queue_new())
#define QUEUE_PUT(q, v) g_async_queue_push(*(q), (gpointer)(uintptr_t)((v) + 1))
#define QUEUE_GET(q, v) ((v) = (uint64_t)(uintptr_t)g_async_queue_pop(*(q)) - 1)
#define QUEUE_UNBOUNDED
#include "queue_cases.h"

static GThreadPool *pool;
static GAsyncQueue *back;
static void open_pool(GFunc fn, gboolean exclusive) {
    back = g_async_queue_new();
    pool = g_thread_pool_new(fn, NULL, 2, exclusive, NULL);
    BENCH_CHECK(pool != NULL);
}

#define POOL glib
#define POOL_TASK(name) static void name(gpointer data, gpointer user)
#define POOL_TASK_END (void)data, (void)user
#define POOL_OPEN(fn) open_pool(fn, TRUE)
#define POOL_PUT(i, fn) BENCH_CHECK(g_thread_pool_push(pool, &pool, NULL))
#define POOL_TRIP(fn)                                                                              \
    do {                                                                                           \
        POOL_PUT(0, fn);                                                                           \
        g_async_queue_pop(back);                                                                   \
    } while (0)
#define POOL_REPLY() g_async_queue_push(back, data)
#include "pool_cases.h"

#define POOL glib_shared
#define POOL_TASK(name) static void name(gpointer data, gpointer user)
#define POOL_TASK_END (void)data, (void)user
#define POOL_OPEN(fn) open_pool(fn, FALSE)
#define POOL_PUT(i, fn) BENCH_CHECK(g_thread_pool_push(pool, &pool, NULL))
#include "pool_cases.h"

static const bench_case cases[] = {
    QUEUE_CASES(glib, "GLib (unbounded)"),
    POOL_EMPTY_CASE(glib, "GLib exclusive"),
    POOL_EMPTY_CASE(glib_shared, "GLib shared"),
    POOL_TRIP_CASE(glib, "GLib, GAsyncQueue"),
    POOL_MEMORY_CASE(glib, "GLib"),
};

BENCH_MAIN(cases)
