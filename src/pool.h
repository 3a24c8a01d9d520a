/* ============================================================================================
 * pool: a thread pool: core and maximum threads, keep-alive, a queue, and a policy for what finds no place.
 *
 * THE RULES. A task that is handed in goes, in this order,
 *   1. to a thread that is idle;
 *   2. to a new thread, as long as there are fewer than core_threads;
 *   3. into the queue, if that has room;
 *   4. to a new thread, as long as there are fewer than max_threads; it ends after keep_alive without work;
 *   5. to the policy: on_reject.
 * With `grow_first` the third and the fourth change places. Without it, as an unbounded queue always has room, a
 * maximum above the core would never be reached with one: conc_pool_new() refuses that. The queue is FIFO: tasks
 * begin in the order in which they were handed in (but see by_priority and conc_pool_submit_at()), from outside and
 * by tasks alike.
 *
 * Compared with Java's ThreadPoolExecutor, whose rules these are: an idle thread is taken before a new core thread is
 * started (Java starts one as long as there are fewer than core); the queue's kind is a number, not an object; a
 * task's failure is its return value; a bounded queue can be waited for (CONC_REJECT_BLOCK); waiting for a task inside
 * of a task runs it, instead of a deadlock; the program's end closes a pool that was left open, lets its tasks
 * run to their end, and is not held up by idle threads; a periodic task's failure ends its future, visibly.
 *
 * NOTHING IS LOST. Each task that was accepted ends in one of three ways, and is counted: accepted = completed +
 * canceled + returned, once nothing is queued, scheduled or active. The failure of a task that has no future goes to
 * the error hook. (One that is canceled in the queue keeps its place there until its turn comes.)
 *
 * THE END. conc_pool_close(): no more tasks; what was accepted still runs. conc_pool_join(): waits until all has run
 * and every thread has ended. conc_pool_free(): gives back the memory. Or all three: conc_pool_finish(). A pool that
 * is still open when the program ends is closed and joined then (unless its desc says `daemon`), although its
 * threads, each by itself, are daemons. (It is not waited for if exit() is called by a thread that takes part in it,
 * or runs a task of it, as that would wait for itself.)
 *
 * FORK AND JOIN, PARALLEL LOOPS: see parallel.h. They use the same threads, and neither the queue nor its rules.
 * (Groups and conc_pool_imap() may use both.)
 *
 * Any thread may make any call here at any time, but for conc_pool_free() and conc_pool_finish(). In a child of
 * fork() a pool's threads are not there: all calls say CONC_FORKED, but conc_pool_free(), which gives back what it
 * can.
 * ========================================================================================== */

#ifndef CONC__POOL_H
#define CONC__POOL_H

#include "future.h"
#include "thread.h"

typedef struct conc_pool conc_pool;

typedef enum conc_reject {
    CONC_REJECT_ABORT = 0,   /* the call fails: CONC_REJECTED, "pool full: ..." */
    CONC_REJECT_DISCARD,     /* the task is not run; the call says CONC_OK */
    CONC_REJECT_DISCARD_OLDEST, /* the task that has waited longest makes room (not with by_priority, nor without a
                                   queue) */
    CONC_REJECT_CALLER_RUNS, /* the caller runs the task itself, before the call returns */
    CONC_REJECT_BLOCK        /* the caller waits for room: until its deadline, or block_seconds. A task of this pool, which could
                                wait for itself, runs one to make room instead, however long that takes */
} conc_reject;

#define CONC_POOL_MAX_THREADS 4096
#define CONC_POOL_NO_QUEUE ((size_t)-1) /* as queue_capacity: a task goes to a thread at once, or nowhere */

typedef struct conc_pool_desc {
    const char *name;       /* its threads are NAME-1, NAME-2, ...; copied, cut at 20 bytes. NULL: "pool" */
    unsigned core_threads;  /* 0: conc_cpu_count(), or max_threads if that is less */
    unsigned max_threads;   /* 0: core_threads */
    double keep_alive;      /* seconds; 0: 60 */
    bool core_time_out;     /* core threads, too, end after keep_alive without work */
    bool prestart;          /* all core threads are started at once */
    bool grow_first;        /* see the rules */
    bool by_priority;       /* the queue gives the most urgent first, equals in their order: see conc_pool_task */
    bool waiters_help;      /* conc_future_wait() outside of the pool, too, runs the task itself if that is still
                               queued */
    size_t queue_capacity;  /* tasks; 0: unbounded */
    conc_reject on_reject;
    double block_seconds;   /* CONC_REJECT_BLOCK: how long at most; 0: for ever */
    /* Decides instead of on_reject, in the calling thread. The call returns what it returns; CONC_OK: it has dealt with the task,
     * whose future, if it has one, ends with CONC_REJECTED: this pool does not run it. It may hand it in again, elsewhere or here. */
    conc_result (*reject)(conc_pool *pool, conc_fn fn, void *arg, void *user);
    /* Told of each task that will never run, if that is not told by the result of the call that decided it: those that the policy
     * discards, and those that conc_pool_close_now() takes out when it is given no `returned`. */
    void (*dropped)(conc_fn fn, void *arg, void *user);
    /* In each of the pool's threads: as it starts, and before it ends. (Tasks and pieces of loops may also run in threads that are
     * not the pool's, for which these are not called: CONC_REJECT_CALLER_RUNS, waiters_help, parallel.h.) */
    void (*thread_started)(void *user);
    void (*thread_ends)(void *user);
    /* Before and after each task that was handed in by the calls of this file, in the thread that runs it. */
    void (*before_task)(conc_fn fn, void *arg, void *user);
    void (*after_task)(conc_fn fn, void *arg, int code, void *user);
    void *user;             /* handed to all of these */
    size_t stack_size;      /* of its threads; 0: the system's default */
    bool daemon;            /* the program's end neither closes the pool nor waits for its tasks */
} conc_pool_desc;

/* `desc` NULL: as many threads as processors, an unbounded queue. Returns NULL: CONC_INVALID (conc_error_detail()
 * says what is wrong), CONC_NO_MEMORY, CONC_NO_THREADS (prestart: not even one). */
CONC_API conc_pool *conc_pool_new(const conc_pool_desc *desc);

/* ---- handing in --------------------------------------------------------------------------------
 * Fire and forget: fn(arg) is run once. No memory is allocated for it, unless the queue has to grow. What the caller did before is
 * seen by it. CONC_OK: accepted (or discarded, or run by the caller, as the policy says). Otherwise it will not run:
 * CONC_REJECTED: so says the policy; CONC_TIMEOUT, CONC_CANCELED: CONC_REJECT_BLOCK has waited for room in vain; CONC_CLOSED: the
 * pool is closed; CONC_NO_THREADS: there is no thread, and none can be started (if there is one, the task waits for it);
 * CONC_NO_MEMORY, CONC_INVALID, CONC_FORKED. */
CONC_API conc_result conc_pool_run(conc_pool *pool, conc_fn fn, void *arg);
/* With a future for it, which is the caller's to release. NULL, with conc_error_result(): as above. What the policy
 * discards has a future, too: it ends with CONC_REJECTED, or, if it had been accepted, with CONC_CANCELED. While the
 * task runs, a token of its own is current, which conc_future_cancel() fires; the token of the thread that handed it
 * in is not its parent (see `cancel`). */
CONC_API conc_future *conc_pool_submit(conc_pool *pool, conc_fn fn, void *arg);

typedef struct conc_pool_task {
    int priority;        /* higher first; by_priority pools only */
    conc_cancel *cancel; /* a parent for the task's token; must outlive the task. If it has fired, the task is run all
                            the same */
    conc_deadline until; /* only with CONC_REJECT_BLOCK: waits for room until then, instead of block_seconds; all
                            zero: not given */
} conc_pool_task;
/* The same with options; `task` NULL: none. */
CONC_API conc_result conc_pool_run_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task);
CONC_API conc_future *conc_pool_submit_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task);

/* As an op: completes when the pool has accepted the task, waiting for room whatever the policy. */
CONC_API conc_op conc_op_pool_run(conc_pool *pool, conc_fn fn, void *arg);

/* ---- later, and again and again ----------------------------------------------------------------
 * The future of a task that is handed in at `when`, ahead of all that is queued, and whatever the bound. conc_pool_close() leaves
 * it be, and conc_pool_join() waits for it, however late it is; conc_future_cancel() takes it out, and so does the program's
 * end, if its time has not come by then (`dropped` is told). */
CONC_API conc_future *conc_pool_submit_at(conc_pool *pool, conc_fn fn, void *arg, conc_deadline when);
/* Runs fn(arg) at `first`, and then every `seconds` (over 0): at a fixed rate, counted from `first`, where a turn
 * that is late is made up for at once, and none overlaps the one before; or (`after_each`) with that much delay after
 * each end. It goes on until fn returns something else than 0, the future is canceled, or the pool is closed
 * (CONC_CANCELED); then the future ends. */
CONC_API conc_future *conc_pool_every(conc_pool *pool, conc_fn fn, void *arg, conc_deadline first, double seconds, bool after_each);

/* ---- the end -----------------------------------------------------------------------------------
 * No more tasks from now on: CONC_OK, or CONC_CLOSED if it was closed. Does not wait. */
CONC_API conc_result conc_pool_close(conc_pool *pool);
/* Closes it, takes out all that has not begun and hands each to returned(fn, arg, user) in their order, with its
 * future ended (CONC_CANCELED), and fires the tokens of what runs (but for tasks, groups and calls under another
 * parent than the pool's own token: a conc_pool_task's, or their caller's). `returned` NULL: they are counted as
 * canceled, and `dropped` is told. Does not wait. */
CONC_API conc_result conc_pool_close_now(conc_pool *pool, void (*returned)(conc_fn fn, void *arg, void *user), void *user);
/* Waits until all its tasks and all its threads have ended: CONC_OK, also when called again. CONC_INVALID: it is not
 * closed. CONC_DEADLOCK: the caller is one of its threads, takes part in it, or runs a task of it. CONC_TIMEOUT,
 * CONC_CANCELED. */
CONC_API conc_result conc_pool_join(conc_pool *pool, conc_deadline deadline);
CONC_API conc_op conc_op_pool_end(conc_pool *pool);
/* Frees it. CONC_BUSY, and nothing happens: it has threads or tasks (close and join it first). NULL is CONC_OK. Its
 * futures stay as they are, until they are released. */
CONC_API conc_result conc_pool_free(conc_pool *pool);

/* Closes, joins for as long as it takes, and frees: CONC_OK; or, and it is closed and not freed, CONC_CANCELED,
 * CONC_DEADLOCK. NULL is CONC_OK. */
CONC_API conc_result conc_pool_finish(conc_pool *pool);

/* ---- looking and changing ---------------------------------------------------------------------- */

typedef struct conc_pool_stats {
    unsigned threads;  /* now, and */
    unsigned largest;  /* at most so far */
    unsigned idle;     /* those that wait for a task */
    unsigned active;   /* those that run one, or look for one */
    size_t queued;     /* tasks that wait for a thread */
    size_t scheduled;  /* tasks that wait for their time */
    /* Tasks since the beginning; those that the policy has the caller run are among them, and what is periodic is one task.
     * `accepted` is the sum of the next three, and of those queued, scheduled and running. */
    uint64_t accepted;
    uint64_t completed; /* they ran to their end, well or not */
    uint64_t canceled;  /* before they ran: by their future, or discarded as the oldest, or by closing */
    uint64_t returned;  /* by conc_pool_close_now() */
    uint64_t rejected;  /* not accepted */
} conc_pool_stats;
/* Each number is right for some moment during the call; all together, once nothing goes on. */
CONC_API conc_pool_stats conc_pool_stats_of(conc_pool *pool);
CONC_API const conc_pool_desc *conc_pool_desc_of(const conc_pool *pool); /* as it was made, the defaults filled in */
CONC_API const char *conc_pool_name(const conc_pool *pool);
/* Other numbers of threads; 0: as it is. Threads that are too many end when they are idle. CONC_INVALID: as for
 * conc_pool_new(). */
CONC_API conc_result conc_pool_resize(conc_pool *pool, unsigned core_threads, unsigned max_threads);
CONC_API conc_result conc_pool_set_keep_alive(conc_pool *pool, double seconds);
/* Starts core threads up to `n` of them all (0: all), before there is work. Returns how many there are. */
CONC_API unsigned conc_pool_prestart(conc_pool *pool, unsigned n);
/* Whether it has been closed; false for NULL. */
CONC_API bool conc_pool_is_closed(const conc_pool *pool);
/* The pool that the calling thread belongs to, or works for at the moment; NULL: none. */
CONC_API conc_pool *conc_pool_current(void);

#endif
