/* ============================================================================================
 * parallel: fork and join, groups of tasks, parallel loops, map, reduce, sort: with the threads of a pool.
 *
 * FORK AND JOIN. A function that runs in a pool may fork a job, go on, and join it:
 *
 *     static int fib(void *arg) {
 *         struct fib *f = arg;
 *         struct fib a, b;
 *         conc_job job;
 *         if (f->n < 2) { f->value = f->n; return 0; }
 *         a.n = f->n - 1; b.n = f->n - 2;
 *         conc_job_fork(&job, fib, &b);
 *         fib(&a);
 *         conc_job_join(&job);
 *         f->value = a.value + b.value;
 *         return 0;
 *     }
 *     conc_pool_call(pool, fib, &root, NULL);
 *
 * A forked job *may* run in parallel; if nobody has come for it, its join runs it. So it must not wait for anything
 * that its forker does after the fork. A fork and its join cost a few nanoseconds as long as nobody comes. Jobs are
 * kept by the thread that forked them, and other threads of the pool that have nothing to do take the oldest of them.
 * A thread that waits in a join runs other jobs meanwhile. The calls here may be nested in each other at will; none
 * of them (but groups and conc_pool_imap(), see there) uses the pool's queue or counts among its tasks, and they work
 * in a pool that is closed, as long as a task runs in it.
 *
 * Threads are started for jobs as they are for tasks, up to core_threads. A thread that waits in a join may run a job
 * on top of the task that it is in the midst of; if that job waits for that very task (conc_future_wait()), it is
 * told CONC_DEADLOCK.
 *
 * The caller takes part: conc_pool_call() and all that follow it run in the calling thread *and* in the pool's
 * threads, so in one thread more than the pool has. A thread of another pool, or a coroutine's, may call them, too;
 * it is busy until the call returns.
 *
 * (Split deques: T. van Dijk, J. C. van de Pol, "Lace: Non-blocking Split Deque for Work-Stealing", Euro-Par 2014
 * workshops.)
 *
 * FAILURES. A function that returns something else than 0 has failed: what has not begun is not begun any more, what
 * runs has its token fired (but for fork and join, where each join gives its job's code), and the call says
 * CONC_FAILED, with the code of the first that failed in conc_error_detail(). If the caller's token fires:
 * CONC_CANCELED likewise (if all had been done by then: CONC_OK). All of these return only when nothing of theirs
 * runs any more. While a function runs, its call's own token is current, whose parent is the caller's. Where that
 * would make the chain longer than CONC_CANCEL_DEPTH, it is the caller's token itself, and a failure does not wake
 * those that wait.
 * ========================================================================================== */

#ifndef CONC__PARALLEL_H
#define CONC__PARALLEL_H

#include "pool.h"

/* ---- fork and join ----------------------------------------------------------------------------- */

typedef struct conc_job { /* private; where you like, usually on the stack, until it is joined */
    conc_fn conc__fn;
    void *conc__arg;
    const void *conc__up;
    conc_cancel *conc__cancel;
    uint32_t conc__state;
    int conc__code;
    bool conc__loose;
} conc_job;

/* Runs fn(arg) in the calling thread, as part of the pool, so that it may fork; stores what it returned in `*code`
 * (NULL: what is not 0 goes to the error hook). CONC_OK; CONC_INVALID; CONC_CLOSED: the pool is closed, and the caller does not belong to it;
 * CONC_NO_MEMORY, CONC_FORKED: fn has not run. */
CONC_API conc_result conc_pool_call(conc_pool *pool, conc_fn fn, void *arg, int *code);

/* Forks. Outside of a pool, and when a great many are forked and not joined, fn(arg) is simply called. Every job must
 * be joined, by its forker, before its memory goes, and not from within a call into another pool; best in the
 * opposite order of the forks. (As far as one that is not joined is seen at the end of its task, or of
 * conc_pool_call(), the error hook is told, and it does not run.) */
CONC_API void conc_job_fork(conc_job *job, conc_fn fn, void *arg);
/* Returns what fn returned, once it has. All that it did is seen. Not canceled. */
CONC_API int conc_job_join(conc_job *job);

/* Calls all n, in parallel. The results are those of conc_pool_for(); CONC_INVALID: one has no function, and none is
 * called. */
typedef struct conc_call {
    conc_fn fn;
    void *arg;
} conc_call;
CONC_API conc_result conc_pool_invoke(conc_pool *pool, const conc_call *calls, size_t n);

/* ---- groups ------------------------------------------------------------------------------------
 * Any number of tasks, started one by one, by whomever, and waited for together. The first that fails cancels the others.
 *
 *     conc_pool_group g;
 *     conc_pool_group_begin(&g, pool);
 *     for (...) conc_pool_group_run(&g, fn, &args[i]);
 *     r = conc_pool_group_end(&g);
 *
 * Started by a thread of the pool, a task is a job (see above: it does not pass through the queue); by any other
 * thread, a task in the pool's queue, with its rules; but a task that finds no place there is kept by the group, until it is
 * waited for. The wait of a thread that belongs to the pool runs what has not begun; so may any other's with `waiters_help`. */
typedef struct conc_pool_group {
    conc_pool *conc__pool;
    struct conc__team *conc__team;
} conc_pool_group;
CONC_API conc_result conc_pool_group_begin(conc_pool_group *g, conc_pool *pool);
/* CONC_OK; CONC_CANCELED: the group has failed or was canceled, and takes no more; CONC_CLOSED, CONC_NO_MEMORY,
 * CONC_NO_THREADS. */
CONC_API conc_result conc_pool_group_run(conc_pool_group *g, conc_fn fn, void *arg);
/* Waits until nothing of it is left: CONC_OK, CONC_FAILED (conc_pool_group_code(): the first code that was not 0, but
 * for what was canceled for its sake), CONC_CANCELED (it was); or of the wait: CONC_TIMEOUT, CONC_DEADLOCK. It may be
 * used again after that. */
CONC_API conc_result conc_pool_group_wait(conc_pool_group *g, conc_deadline deadline);
/* To be asked before conc_pool_group_end(), after which it is 0. */
CONC_API int conc_pool_group_code(const conc_pool_group *g);
/* What has not begun never will; what runs has its token fired. */
CONC_API conc_result conc_pool_group_cancel(conc_pool_group *g);
/* Waits, whatever comes, for the end of all, and gives back what the group holds. If the caller is canceled, what is
 * in the group is canceled, and the wait goes on. The result as of the wait. */
CONC_API conc_result conc_pool_group_end(conc_pool_group *g);

/* ---- loops -------------------------------------------------------------------------------------
 * body(a, b, arg) is called for pieces [a, b) of [first, end), each number in exactly one piece, all pieces but the last of
 * `grain` numbers; 0: chosen by the number of threads. It may use the pool in any way. CONC_OK (at once, if first >= end), CONC_FAILED,
 * CONC_CANCELED; as conc_pool_call(), and nothing was done. */
typedef int (*conc_range_fn)(size_t a, size_t b, void *arg);
CONC_API conc_result conc_pool_for(conc_pool *pool, size_t first, size_t end, size_t grain, conc_range_fn body, void *arg);

/* conc_pool_reduce(pool, first, end, grain, body, join, &value, arg): body(a, b, &part, arg) adds [a, b) to `part`,
 * which begins as a copy of `value`'s first content, which must be the neutral element; join(&left, &right, arg) adds
 * right to left. The parts are joined in the order of their numbers: so `join` has to be associative, but need not be
 * commutative. Then `value` is the result; if the call fails, it is as before. The body and `join` see parts that are
 * aligned as by malloc(), never `value` itself. Results as of conc_pool_for(); CONC_NO_MEMORY: parts of over 256
 * bytes are allocated, one for each fork that is not joined. */
typedef int (*conc_reduce_fn)(size_t a, size_t b, void *part, void *arg);
typedef void (*conc_join_fn)(void *left, const void *right, void *arg);
#define conc_pool_reduce(pool, first, end, grain, body, join, value, arg)                          \
    conc_pool_reduce_bytes((pool), (first), (end), (grain), (body), (join), (value), sizeof *(value), (arg))
CONC_API conc_result conc_pool_reduce_bytes(conc_pool *pool, size_t first, size_t end, size_t grain, conc_reduce_fn body,
                                            conc_join_fn join, void *value, size_t size, void *arg);

/* Sorts n items of `size` bytes as qsort() does, in parallel; equal ones keep no order. `compare` must not wait.
 * Takes as much memory again, if there are more than 2048: CONC_NO_MEMORY. As conc_pool_call(). CONC_CANCELED: the
 * caller's token had fired before it began; once it has begun, it goes on to the end. In all these cases the array is
 * as before. */
CONC_API conc_result conc_pool_sort(conc_pool *pool, void *items, size_t n, size_t size,
                                    int (*compare)(const void *a, const void *b));

/* ---- map ---------------------------------------------------------------------------------------
 * conc_pool_map(pool, in, out, n, fn, arg): fn(&in[i], &out[i], arg) for each i. Results as of conc_pool_for(); after a failure,
 * `out` has what was done by then. */
typedef int (*conc_pool_map_fn)(const void *in, void *out, void *arg);
#define conc_pool_map(pool, in, out, n, fn, arg)                                                   \
    conc_pool_map_bytes((pool), (in), sizeof *(in), (out), sizeof *(out), (n), (fn), (arg))
CONC_API conc_result conc_pool_map_bytes(conc_pool *pool, const void *in, size_t in_size, void *out, size_t out_size, size_t n,
                                         conc_pool_map_fn fn, void *arg);

/* The same from an iterator to an iterator, whose items are of `out_type`: conc_pool_imap() gives the results in the
 * order of their items, conc_pool_imap_unordered() as they are completed. The work is done by tasks in the pool's
 * queue. One that finds no place there (it is not waited for), or is taken out by the pool's policy or its close, is
 * done by the thread that asks for results; if that belongs to the pool, or `waiters_help`, it does what has not
 * begun instead of waiting for it.
 *
 * At most `window` items (0: four for each thread) have been taken from `it` and not yet been given. They are taken
 * by the thread that asks for results, which fills the window before it gives any: so if `it` waits for items that
 * only come after a result has been given, the window has to be 1. next() gives what is complete; it waits for one.
 *
 * THE END. What `it` ended with comes after the results of all its items. If fn fails, results that come before are
 * still given (in order: those of the items before it), and the iterator ends with CONC_FAILED; if the wait of the
 * one who asks is canceled, with CONC_CANCELED; CONC_NO_MEMORY; in a child of fork(), CONC_FORKED. Then, or when it
 * is closed before its end, what has not begun is not begun, and what runs has its token fired; close() waits for it,
 * whatever comes, and closes `it`. The pool must outlive the iterator: until it is closed, conc_pool_free() says
 * CONC_BUSY. fn must not close it. */
#define conc_pool_imap(pool, it, fn, out_type, window, arg)                                        \
    conc_pool_imap_bytes((pool), (it), (fn), sizeof(out_type[1]), (window), (arg), true)
#define conc_pool_imap_unordered(pool, it, fn, out_type, window, arg)                              \
    conc_pool_imap_bytes((pool), (it), (fn), sizeof(out_type[1]), (window), (arg), false)
CONC_API conc_iter *conc_pool_imap_bytes(conc_pool *pool, conc_iter *it, conc_pool_map_fn fn, size_t out_size, size_t window,
                                         void *arg, bool in_order);

#endif
