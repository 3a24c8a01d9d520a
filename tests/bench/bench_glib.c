/* Peer: GLib's GAsyncQueue (Debian: libglib2.0-dev). Unbounded; it holds pointers, never NULL, so an item is sent
 * as itself + 1. */

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

static const bench_case cases[] = {
    QUEUE_CASES(glib, "GLib (unbounded)"),
};

BENCH_MAIN(cases)
