/* ============================================================================================
 * procpool: a pool of processes: tasks that may crash, hang, leak or take all memory, and harm nobody but themselves.
 *
 * The same tasks as a thread pool's, whose argument is a plain value: its bytes are copied to a worker process, the
 * function works on them in place there, and they come back as it has left them. So a program moves from threads to
 * processes by one line:
 *      conc_pool_submit(pool, fn, &arg)    becomes    conc_procpool_submit(pool, fn, &arg, sizeof arg)
 * What pointers in the argument point to does not come along. Futures are those of future.h.
 *
 * EVERY TASK IS REPORTED, ONCE. Its future, or the result of the call that waits for it, ends with
 *      CONC_OK, CONC_FAILED   it returned 0, or something else: conc_future_code(). conc_future_detail() is its
 *                             conc_error_detail() there, if it has left one
 *      CONC_CRASHED           its process ended before it returned: "... was ended by signal 11 (SIGSEGV)". Only the
 *                             one task that had begun is lost with a process: those that wait behind it go to others.
 *                             None is begun twice. (If it has written over what its process shares with the pool, all
 *                             that this had been given is lost)
 *      CONC_TIMEOUT           it ran longer than its time limit, and its process was killed
 *      CONC_CANCELED          it was canceled before it began, or killed by conc_procpool_kill() or
 *                             conc_procpool_terminate()
 *      CONC_REJECTED          the policy discarded it
 * If it did not return 0, its argument here is as it was before, but with CONC_FAILED, where it is as the task has
 * left it. What nobody can see otherwise (the failure of a task that has no future) goes to the error hook.
 *
 * THE WORKERS are processes of process.h, forked or spawned as said there: a pool whose method is
 * CONC_PROCESS_DEFAULT is spawned if conc_process_main() has been called, and forked otherwise. A spawned pool takes
 * registered functions only. A forked worker sees the program's memory as it was when it was started, and one that
 * has died is replaced by a fork of the program as it is then: where other threads run, spawn. They are all started
 * by conc_procpool_new(), and stay until the pool's end; one that has died, or has done max_tasks, is replaced at
 * once. If workers die before they are ready, one after the other, each next attempt waits longer (from 10 ms to 1
 * s), and after 8 the pool gives up: it closes, and all its tasks end with CONC_CRASHED and the reason. They end with
 * the program, however it ends; they (and what programs they start) do not get Ctrl-C, which is for the program to
 * answer: when it ends, so do they. stdout is flushed there after each task. In a worker, this pool and all others of
 * its parent say CONC_FORKED.
 *
 * THE THREAD. A pool has one thread of its own in this process, which looks after its workers and ends what nobody
 * waits for. Callbacks (conc_future_then()) are called by it, or by a thread that submits to the pool or waits for
 * one of its futures. One that waits for a future of the pool, by conc_future_wait(), does the thread's work
 * meanwhile, whatever its deadline; one that finds no room in the pool does not wait: CONC_REJECTED.
 *
 * MEMORY. Arguments and results go through memory that parent and worker share, of each worker its own; nothing is
 * locked between processes. One task's bytes may be of any size up to size_max: a worker whose memory is too small
 * for it is replaced.
 *
 * THE END is as that of a thread pool: conc_procpool_close(), conc_procpool_join(), conc_procpool_free(), or all
 * three: conc_procpool_finish(). A pool that is open when the program ends is closed and joined then, unless its desc
 * says `daemon`.
 *
 * Any thread may make any call here at any time, but for conc_procpool_free() and conc_procpool_finish(). In a child
 * of fork() all say CONC_FORKED, but conc_procpool_free(), which gives back what it can.
 * ========================================================================================== */

#ifndef CONC__PROCPOOL_H
#define CONC__PROCPOOL_H

#include "pool.h"
#include "parallel.h"
#include "process.h"

typedef struct conc_procpool conc_procpool;

#define CONC_PROCPOOL_MAX_WORKERS 256

typedef struct conc_procpool_desc {
    const char *name;           /* its workers are NAME-1, NAME-2, ...; copied, cut at 20 bytes. NULL: "procpool" */
    conc_process_method method;
    size_t queue_capacity;      /* tasks that may wait beside one for each worker; 0: unbounded; or
                                   CONC_POOL_NO_QUEUE */
    conc_reject on_reject;      /* not CONC_REJECT_CALLER_RUNS: the caller is not a process of its own */
    double block_seconds;       /* CONC_REJECT_BLOCK: how long at most; 0: for ever */
    conc_fn initialize;         /* called in each worker before its tasks, on a copy of these bytes, which it may
                                   keep. If it does not return 0 the worker has died before it was ready */
    const void *init_arg;       /* copied by conc_procpool_new() */
    size_t init_size;
    size_t max_tasks;           /* a worker ends after so many, and is replaced; 0: never */
    double time_limit;          /* seconds that one task may run; 0: no limit. See conc_procpool_task, too */
    size_t memory_limit;        /* bytes that a worker may have more than at its beginning: then its malloc() fails.
                                   0: no limit. Linux, Windows; elsewhere conc_procpool_new() says CONC_INVALID */
    size_t size_max;            /* bytes that a task's argument, and what it replies, may have; 0: 1 GiB, or 256 MiB
                                   where a size_t has 32 bits */
    size_t buffer_size;         /* bytes of shared memory for conc_procpool_buffer(); 0: none */
    bool daemon;                /* the program's end neither closes the pool nor waits for its tasks */
} conc_procpool_desc;

/* `workers` processes (0: conc_cpu_count()). NULL: CONC_INVALID (conc_error_detail() says what is wrong),
 * CONC_NO_MEMORY, and if not all could be started, CONC_REJECTED (descriptors), CONC_NO_THREADS (processes, threads),
 * CONC_SYSTEM. Does not wait for their initialisers. */
CONC_API conc_procpool *conc_procpool_new(unsigned workers, const conc_procpool_desc *desc);

/* ---- handing in --------------------------------------------------------------------------------
 * Fire and forget: fn is run once, on a copy of the `size` bytes at `arg` (NULL if size is 0), which the call has
 * made when it returns. CONC_OK: accepted (or discarded, as the policy says). Else it will not run: CONC_INVALID: no
 * function, one that is not registered and would have to be spawned, no argument, or one of more than size_max bytes;
 * CONC_REJECTED: so says the policy; CONC_TIMEOUT, CONC_CANCELED: CONC_REJECT_BLOCK has waited for room in vain;
 * CONC_CLOSED: the pool is closed, or has given up (conc_error_detail()); CONC_NO_MEMORY; CONC_FORKED. */
CONC_API conc_result conc_procpool_run(conc_procpool *pool, conc_fn fn, const void *arg, size_t size);
/* With a future for it, which is the caller's to release. The bytes come back to `arg`, which must be writable (no
 * literal), stay, and not be touched until it has ended. NULL, with conc_error_result(): as above. With a callback: conc_future_then(f,
 * done, user), and release f. */
CONC_API conc_future *conc_procpool_submit(conc_procpool *pool, conc_fn fn, void *arg, size_t size);

typedef struct conc_procpool_task {
    bool copy;           /* `arg` is copied by the call, and nothing comes back to it (what conc_procpool_reply()
                            gives does) */
    double time_limit;   /* seconds that it may run, instead of the pool's; 0: as the pool's */
    conc_deadline until; /* only with CONC_REJECT_BLOCK: waits for room until then, instead of block_seconds; all
                            zero: not given */
} conc_procpool_task;
/* The same with options; `task` NULL: none. */
CONC_API conc_result conc_procpool_run_ex(conc_procpool *pool, conc_fn fn, const void *arg, size_t size,
                                          const conc_procpool_task *task);
CONC_API conc_future *conc_procpool_submit_ex(conc_procpool *pool, conc_fn fn, void *arg, size_t size,
                                              const conc_procpool_task *task);

/* Runs it and waits for it: CONC_OK; or as its future would end; or as conc_procpool_run(), and it has not run.
 * `*code`: what it returned (NULL: a failure is in the call's result alone). If the caller's token fires, the task is
 * killed: CONC_CANCELED. */
CONC_API conc_result conc_procpool_call(conc_procpool *pool, conc_fn fn, void *arg, size_t size, int *code);

/* conc_procpool_run() as an op: completes when the pool has accepted the task, waiting for room whatever the policy.
 * What `job` points to must stay until then. */
typedef struct conc_procpool_job {
    conc_fn fn;
    const void *arg;
    size_t size;
} conc_procpool_job;
CONC_API conc_op conc_op_procpool_run(conc_procpool *pool, const conc_procpool_job *job);

/* Ends a task now: one that waits is canceled; one that runs is killed with its process. Its future ends with
 * CONC_CANCELED, if it has not returned meanwhile. CONC_OK (it ends soon); CONC_CLOSED: it has ended; CONC_INVALID:
 * NULL, or not a future of such a pool. Does not wait. (conc_future_cancel() leaves a task that runs alone, and says
 * CONC_BUSY.) */
CONC_API conc_result conc_procpool_kill(conc_future *f);

/* ---- in a task ---------------------------------------------------------------------------------
 * Adds `size` bytes to what this task gives beside its argument's: results of any size, that nobody knows before.
 * Waits while the parent takes them. CONC_OK; CONC_INVALID: NULL, not in a task that was submitted (one of a map's is
 * not), or more than size_max in all; CONC_CLOSED: the parent is gone. */
CONC_API conc_result conc_procpool_reply(const void *data, size_t size);
/* What it has replied, once the future has ended; `*size` bytes, which live as long as the future, aligned as by
 * malloc(). NULL, and 0: nothing. If it did not return, nothing is there. */
CONC_API void *conc_procpool_replied(const conc_future *f, size_t *size);
/* In a worker: its number, from 1 to the number of workers, which its replacement gets as well. 0: not in a worker. */
CONC_API unsigned conc_procpool_worker(void);

/* ---- map ---------------------------------------------------------------------------------------
 * conc_procpool_map(pool, in, out, n, fn, arg, arg_size, chunk): fn(&in[i], &out[i], arg) for each i, in workers,
 * `chunk` items at a time (0: chosen by their number and size); `arg` there is a copy of these bytes (NULL, 0: none).
 * Waits for all of them: CONC_OK; or how the first in the array that did not end well has ended: CONC_FAILED,
 * CONC_CRASHED, CONC_TIMEOUT (time_limit counts for each item), and conc_error_detail() says which and why. All
 * others are done all the same, and in `out`. CONC_CANCELED: the caller's token has fired; what runs is killed, the
 * rest is not begun. Or as conc_procpool_run(); the items do not count for the queue's capacity. To be spawned, fn
 * has to be registered by conc_procpool_register_map(), as by conc_process_register(). */
#define conc_procpool_map(pool, in, out, n, fn, arg, arg_size, chunk)                              \
    conc_procpool_map_bytes((pool), (in), sizeof *(in), (out), sizeof *(out), (n), (fn), (arg), (arg_size), (chunk))
CONC_API conc_result conc_procpool_map_bytes(conc_procpool *pool, const void *in, size_t in_size, void *out,
                                             size_t out_size, size_t n,
                                             conc_pool_map_fn fn, const void *arg, size_t arg_size, size_t chunk);
CONC_API conc_result conc_procpool_register_map(const char *name, conc_pool_map_fn fn);

/* The same from an iterator to an iterator, whose items are of `out_type`: in the order of their items, or as they
 * are completed. At most `window` items (0: four chunks for each worker, or four each) have been taken from `it` and
 * not yet been given; they are taken by the thread that asks for results, which fills the window before it gives any.
 * `chunk` items go over together (0: 1); a last one that is not full waits for nothing.
 *
 * THE END is as that of conc_pool_imap(): what `it` ended with comes after the results of all its items. If an item
 * fails, results that come before are still given (in order: those of the items before it), and the iterator ends
 * with CONC_FAILED, CONC_CRASHED or CONC_TIMEOUT, which conc_error_detail() explains; if the wait is canceled, with
 * CONC_CANCELED; CONC_NO_MEMORY, CONC_CLOSED. Then, or when it is closed before its end, what has not begun is not
 * begun, and what runs is waited for by close(). The pool must outlive the iterator. */
#define conc_procpool_imap(pool, it, fn, out_type, window, arg, arg_size, chunk)                   \
    conc_procpool_imap_bytes((pool), (it), (fn), sizeof(out_type[1]), (window), (arg), (arg_size), (chunk), true)
#define conc_procpool_imap_unordered(pool, it, fn, out_type, window, arg, arg_size, chunk)         \
    conc_procpool_imap_bytes((pool), (it), (fn), sizeof(out_type[1]), (window), (arg), (arg_size), (chunk), false)
CONC_API conc_iter *conc_procpool_imap_bytes(conc_procpool *pool, conc_iter *it, conc_pool_map_fn fn,
                                             size_t out_size, size_t window,
                                             const void *arg, size_t arg_size, size_t chunk, bool in_order);

/* ---- buffers: without any copy ----------------------------------------------------------------
 * `size` bytes that the pool's workers see, too, aligned to 64, from the desc's buffer_size. An argument that lies
 * within such a buffer is not copied: the task gets these very bytes (where they are there), and what it writes is
 * here at once; also if it dies half way. NULL: CONC_NO_MEMORY (there is no room left), CONC_INVALID, CONC_FORKED. */
CONC_API void *conc_procpool_buffer(conc_procpool *pool, size_t size);
/* Gives it back; not while a task has it. CONC_INVALID: not such a buffer. NULL is CONC_OK. */
CONC_API conc_result conc_procpool_buffer_free(conc_procpool *pool, void *buffer);

/* ---- the end -----------------------------------------------------------------------------------
 * No more tasks from now on: CONC_OK, or CONC_CLOSED if it was closed. Does not wait. */
CONC_API conc_result conc_procpool_close(conc_procpool *pool);
/* Closes it; what has not begun ends with CONC_CANCELED. Does not wait for what runs. */
CONC_API conc_result conc_procpool_close_now(conc_procpool *pool);
/* Closes it and kills its workers: all that has not ended ends with CONC_CANCELED. Does not wait for that. */
CONC_API conc_result conc_procpool_terminate(conc_procpool *pool);
/* Waits until all its tasks, its workers and its thread have ended: CONC_OK, also when called again. CONC_INVALID: it
 * is not closed. CONC_DEADLOCK: the caller is a callback of a process pool's. CONC_TIMEOUT, CONC_CANCELED. */
CONC_API conc_result conc_procpool_join(conc_procpool *pool, conc_deadline deadline);
CONC_API conc_op conc_op_procpool_end(conc_procpool *pool);
/* Frees it. CONC_BUSY, and nothing happens: it has not ended (close and join it first), or an iterator over it is
 * open. NULL is CONC_OK. Its futures stay as they are, until they are released; its buffers go. */
CONC_API conc_result conc_procpool_free(conc_procpool *pool);
/* Closes, joins for as long as it takes, and frees: CONC_OK; or, and it is closed and not freed, CONC_CANCELED,
 * CONC_DEADLOCK, CONC_BUSY. NULL is CONC_OK. */
CONC_API conc_result conc_procpool_finish(conc_procpool *pool);

/* ---- looking ------------------------------------------------------------------------------------ */

typedef struct conc_procpool_stats {
    unsigned workers;   /* processes that are there now */
    unsigned busy;      /* those that have a task */
    size_t waiting;     /* tasks that have not begun */
    uint64_t started;   /* processes, since the beginning */
    uint64_t crashed;   /* of these: ended before their task returned, killed ones included, or before they were ready
                           */
    /* Tasks (an item of a map is one), since the beginning. `accepted` is the sum of the next four, and of those that
     * have not ended. */
    uint64_t accepted;
    uint64_t completed; /* returned, well or not */
    uint64_t canceled;  /* before they began, or discarded as the oldest */
    uint64_t lost;      /* ended with CONC_CRASHED */
    uint64_t killed;    /* by a time limit, conc_procpool_kill(), conc_procpool_terminate() */
    uint64_t rejected;  /* not accepted */
} conc_procpool_stats;
/* Each number is right for some moment during the call; all together, once nothing goes on. Zeros for NULL. */
CONC_API conc_procpool_stats conc_procpool_stats_of(conc_procpool *pool);
/* as it was made, the defaults filled in */
CONC_API const conc_procpool_desc *conc_procpool_desc_of(const conc_procpool *pool);
CONC_API const char *conc_procpool_name(const conc_procpool *pool);
/* Whether it has been closed; false for NULL. */
CONC_API bool conc_procpool_is_closed(const conc_procpool *pool);
/* The pid of the process that is worker `number` (1, ...) now; 0: there is none at the moment. */
CONC_API long conc_procpool_pid(conc_procpool *pool, unsigned number);

#endif
