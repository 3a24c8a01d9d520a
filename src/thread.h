/* ============================================================================================
 * thread: start, join, daemon threads, names, thread-local values, timers.
 *
 * THE END OF A PROGRAM. When main returns or calls exit(), the program waits for every thread started here
 * that is not a daemon; daemon threads then end with the process, wherever they are. exit() called in a thread
 * started here waits for nobody (those it would wait for may be waiting for it); C leaves undefined what a second
 * exit() does while one is under way, so a thread must not call it once main has. The wait is an atexit
 * handler, registered when the first thread is started: what is registered with atexit after that runs
 * before it. Static destructors join nothing. A daemon must not use what an atexit handler or a static
 * destructor takes away.
 *
 * The registry of threads is the one state that is per process. After fork() only the calling thread
 * exists in the child, and the registry there holds no other.
 * ========================================================================================== */

#ifndef CONC__THREAD_H
#define CONC__THREAD_H

#include "sync.h"

typedef struct conc_thread conc_thread;

typedef struct conc_thread_desc {
    const char *name;    /* copied, cut at 31 bytes; NULL: "thread-N". The system is told too (15 bytes) */
    bool daemon;         /* the program's end does not wait for it */
    size_t stack_size;   /* bytes; 0: the system's default. Rounded up to what the system needs */
    conc_cancel *cancel; /* the thread's cancel token from its start; must outlive it */
} conc_thread_desc;

/* Starts fn(arg) in a new thread. What the caller did before is seen by it. The handle is the caller's until
 * it is joined or detached; one that is neither keeps its memory until the program ends. NULL, with
 * conc_error_result(): CONC_INVALID (no fn), CONC_NO_MEMORY, CONC_NO_THREADS; then fn never runs. */
CONC_API conc_thread *conc_thread_start(conc_fn fn, void *arg, const conc_thread_desc *desc);

/* Waits until it has ended, stores what fn returned in `*result` (may be NULL) and frees the handle; all that
 * it did is seen. CONC_TIMEOUT, CONC_BUSY, CONC_CANCELED: the handle stays. CONC_DEADLOCK: it is the calling
 * thread. CONC_INVALID: NULL, joined or detached already, or not started here. A non-zero return with
 * `result` NULL goes to the error hook. */
CONC_API conc_result conc_thread_join(conc_thread *t, int *result, conc_deadline deadline);

/* Gives the handle back without waiting. The thread goes on (and the program's end still waits for it unless
 * it is a daemon); if it returns non-zero the error hook is told. CONC_INVALID as for join. */
CONC_API conc_result conc_thread_detach(conc_thread *t);

/* Completes when it has ended; it still has to be joined or detached, after that. Instead: CONC_DEADLOCK and CONC_INVALID
 * as for join. */
CONC_API conc_op conc_op_thread_end(conc_thread *t);

/* The calling thread, and the one that main runs in (the first that used the library, if main never
 * did). Handles of threads not started here may be asked, not joined or detached; they live as long as
 * the thread. NULL: out of memory. */
CONC_API conc_thread *conc_thread_current(void);
CONC_API conc_thread *conc_thread_main(void);

/* Questions about a thread; NULL is the calling one. None blocks. */
CONC_API const char *conc_thread_name(const conc_thread *t); /* lives as long as the handle */
CONC_API uint32_t conc_thread_id(const conc_thread *t);      /* from 1 on, never used twice */
CONC_API bool conc_thread_is_daemon(const conc_thread *t);
CONC_API bool conc_thread_is_alive(const conc_thread *t); /* started and its function not returned */
/* Renames the calling thread. Not while another may be asking for its name. */
CONC_API conc_result conc_thread_set_name(const char *name);

/* How many threads are alive: those started here, and others (main too) that have asked for their
 * handle. */
CONC_API size_t conc_thread_count(void);
/* Calls visit(t, arg) for each of them, with the registry locked: `visit` may ask the questions above, and must not start,
 * join or detach, rename, or set a thread-local value. */
CONC_API void conc_thread_each(void (*visit)(conc_thread *t, void *arg), void *arg);

/* Lets other threads run. A hint. */
CONC_API void conc_thread_yield(void);

/* Waits until no thread is left but daemons, the caller, and those that are in this call themselves. For programs that
 * leave main by other means. CONC_TIMEOUT: some are left; conc_error_detail() names them. */
CONC_API conc_result conc_thread_join_all(conc_deadline deadline);

/* ---- thread-local values --------------------------------------------------------------------------
 * A key under which each thread keeps its own pointer, NULL at first. All zero is valid, static or global;
 * at most 128 keys are ever used. At a thread's end (not the program's) `destroy` is called on each value that
 * is not NULL, again if that sets values, up to four rounds. */
typedef struct conc_local {
    void (*destroy)(void *value); /* may be NULL */
    uint32_t conc__id;
} conc_local;

CONC_API void *conc_local_get(conc_local *key);
/* CONC_NO_MEMORY; CONC_INVALID: no more keys. Then the old value stays. */
CONC_API conc_result conc_local_set(conc_local *key, void *value);

/* ---- timers ---------------------------------------------------------------------------------------
 * Call a function once, later. All timers share one daemon thread, "conc-timer", started with the first:
 * a function that blocks holds up the others, and the program's end does not wait for a timer that is still to run
 * (conc_op_timer() does). */
typedef struct conc_timer conc_timer;

/* Calls fn(arg) at `when`. The handle is the caller's until conc_timer_release(). NULL: CONC_INVALID (no fn),
 * CONC_NO_MEMORY, CONC_NO_THREADS. A non-zero return goes to the error hook. */
CONC_API conc_timer *conc_timer_start(conc_fn fn, void *arg, conc_deadline when);
/* CONC_OK: fn has not run and never will. CONC_CLOSED: too late, it runs or has run. Does not wait for it. */
CONC_API conc_result conc_timer_cancel(conc_timer *t);
/* Completes when it has run or was canceled. */
CONC_API conc_op conc_op_timer(conc_timer *t);
/* Gives the handle back; a timer that is still to run will run. NULL is harmless. */
CONC_API void conc_timer_release(conc_timer *t);

#endif
