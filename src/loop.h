/* ============================================================================================
 * loop: runs coroutines (coro.h) as tasks, in one thread; groups of tasks; offloading; the dump.
 *
 *     conc_loop *loop = conc_loop_new(NULL);
 *     conc_task *a = CONC_SPAWN(loop, ticker, .tag = "1");
 *     CONC_SPAWN(loop, ticker, .tag = "2");
 *     conc_loop_run(loop, CONC_FOREVER);      until every task has ended
 *     conc_loop_free(loop);
 *
 * A loop is run by one thread at a time; there may be many loops in many threads. Its tasks run one after another, in the
 * order in which they became ready, each until it waits; so data that only the tasks of one loop touch needs no lock. Other threads
 * (but no signal handler) may: spawn, post, cancel, join, stop, dump, and wake a task by
 * way of any object of this library: a put into the queue that it awaits, an event's set, a lock's unlock.
 *
 * HOW. A task that waits stands in the table of waiters as a blocked thread does (wait.h); its wake hands it to its loop:
 * within the loop's thread to the end of the list of those ready, from others by a push on the loop's inbox, a list to which
 * one compare-and-swap adds (R. K. Treiber, 1986). When nobody is ready the loop puts a mark into its empty inbox and
 * sleeps in the poller; whoever replaces the mark wakes it. So a wake is never lost, and costs a system call only if the
 * loop sleeps. Points in time stand in a hierarchical wheel (G. Varghese, T. Lauck, SOSP 1987) with steps of 2^16 ns:
 * a sleep ends at most so much after its time, and never before.
 * ========================================================================================== */

#ifndef CONC__LOOP_H
#define CONC__LOOP_H

#include "coro.h"
#include "pool.h"
#include "thread.h"

/* ---- the loop ------------------------------------------------------------------------------------------ */

typedef struct conc_loop_desc {
    const char *name;    /* for reports; copied, cut at 31 bytes; NULL: "loop-N" */
    bool until_stopped;  /* conc_loop_run() goes on when no task is left: others will spawn, until conc_loop_stop() */
    double stall_after;  /* seconds; if one coroutine runs for longer without a suspension, the error hook is told where it
                            had suspended last. Costs a timer (thread.h). 0: nobody looks */
} conc_loop_desc;

/* NULL: CONC_NO_MEMORY, CONC_SYSTEM (no descriptors left). */
CONC_API conc_loop *conc_loop_new(const conc_loop_desc *desc);

/* Frees it, and all handles of its tasks, which may not be used any more. CONC_BUSY, and nothing happens: it runs, or
 * some of its tasks have not ended (conc_error_detail() counts them; conc_loop_cancel(), then conc_loop_run(), ends
 * them). A task that returned non-zero, and was never joined, is told to the error hook. NULL is CONC_OK. In a child
 * of fork() its memory is given back whatever its state. No other thread may be using it. */
CONC_API conc_result conc_loop_free(conc_loop *loop);

/* Runs the tasks in the calling thread. CONC_OK: all have ended (and none is to start later). CONC_TIMEOUT: the
 * deadline passed first; CONC_CLOSED: conc_loop_stop() was called; CONC_CANCELED: the thread's token fired: call it
 * again to go on. CONC_BUSY: it runs already; CONC_DEADLOCK: called in a coroutine of another loop's; CONC_INVALID:
 * NULL; CONC_FORKED, also in the child of a fork() that a coroutine has made. */
CONC_API conc_result conc_loop_run(conc_loop *loop, conc_deadline deadline);
/* Makes the present, or the next, conc_loop_run() return as soon as no coroutine runs. Any thread. */
CONC_API conc_result conc_loop_stop(conc_loop *loop);
/* Cancels all its tasks. Any thread; takes effect when the loop runs. CONC_NO_MEMORY. */
CONC_API conc_result conc_loop_cancel(conc_loop *loop);
/* Has fn(arg) called in the loop's thread, soon, in the order of the posts; it may not block. Any thread.
 * CONC_NO_MEMORY. What is posted to a loop that is not run again is called by conc_loop_free(). */
CONC_API conc_result conc_loop_post(conc_loop *loop, void (*fn)(void *arg), void *arg);
/* How many of its tasks have not ended. */
CONC_API size_t conc_loop_count(const conc_loop *loop);
/* The loop that the calling thread runs, and the task; NULL: none. */
CONC_API conc_loop *conc_loop_current(void);
CONC_API conc_task *conc_task_current(void);

/* ---- tasks ---------------------------------------------------------------------------------------------- */

struct conc_group;
typedef struct conc_task_desc {
    const char *name;         /* for reports; must outlive the task. NULL: the coroutine's */
    conc_cancel *cancel;      /* fires: the task is canceled. Must outlive it */
    struct conc_group *group; /* see below */
    conc_deadline start;      /* it starts then; zero or passed: at once */
} conc_task_desc;

/* CONC_SPAWN(loop, name, .field = value, ...): a new task that runs the coroutine `name`; it starts when the loop
 * next comes to it. Any thread. What the caller did before is seen by it. The handle is the caller's until it is
 * joined or detached; one that is neither keeps its memory until the loop is freed. NULL: CONC_NO_MEMORY,
 * CONC_INVALID (no loop), CONC_FORKED. */
#define CONC_SPAWN(loop, ...) CONC__SPAWN(loop, NULL, __VA_ARGS__, )
/* With a desc (a literal in parentheses: (&(conc_task_desc){ .name = "x" })); `seconds` later. */
#define CONC_SPAWN_EX(loop, desc, ...) CONC__SPAWN(loop, desc, __VA_ARGS__, )
#define CONC_SPAWN_LATER(loop, seconds, ...) CONC__SPAWN_LATER(loop, seconds, __VA_ARGS__, )
/* Detached from the start: CONC_OK, or why not. */
#define CONC_GO(loop, ...) conc__co_go(CONC__SPAWN(loop, NULL, __VA_ARGS__, ))
#define CONC__SPAWN(loop, desc, name, ...) conc__spawn_##name((loop), (desc), CONC__CO_FRAME(name, __VA_ARGS__))
#define CONC__SPAWN_LATER(loop, seconds, name, ...)                                                \
    conc__spawn_##name((loop), conc__desc_later(seconds), CONC__CO_FRAME(name, __VA_ARGS__))
/* With a frame filled before, for C++11. `desc` may be NULL. */
#define CONC_SPAWN_FRAME(loop, desc, name, frame) conc__spawn_##name((loop), (desc), (frame))
CONC_API conc_result conc__co_go(conc_task *task);
/* Descs in the calling thread's record, good until the next call. */
CONC_API const conc_task_desc *conc__desc_later(double seconds);
CONC_API const conc_task_desc *conc__desc_group(struct conc_group *group);

/* Completes when the task has ended, stores what it returned in `*code` (may be NULL; CONC_CANCELED if it was canceled)
 * and gives the handle back. In any world. CONC_DEADLOCK: a task waits for itself. CONC_INVALID: NULL, joined or
 * detached already (as far as the handle's memory has not been given to another task). */
CONC_API conc_op conc_op_join(conc_task *task, int *code);
/* Completes when it has ended; the handle stays. */
CONC_API conc_op conc_op_task_end(conc_task *task);
/* The same by blocking; not for coroutines (CO_JOIN). If no thread runs the loop, the caller does until then. */
CONC_API conc_result conc_task_join(conc_task *task, int *code, conc_deadline deadline);
/* Completes when `count` of the n tasks (0: all) have ended; their handles stay. CONC_INVALID: a NULL among them, or tasks
 * of two loops. The array must live until then. And the same by blocking, as conc_task_join(). */
CONC_API conc_op conc_op_task_ends(conc_task *const *tasks, size_t n, size_t count);
CONC_API conc_result conc_task_join_all(conc_task *const *tasks, size_t n, size_t count, conc_deadline deadline);
/* Gives the handle back without waiting. If the task returns non-zero the error hook is told. */
CONC_API conc_result conc_task_detach(conc_task *task);
/* Cancels it: see coro.h. CONC_OK; CONC_CLOSED: it has ended. Any thread; does not wait. */
CONC_API conc_result conc_task_cancel(conc_task *task);
CONC_API bool conc_task_has_ended(const conc_task *task);
/* Its coroutine's name, or its own; NULL has "". Lives as long as the handle. */
CONC_API const char *conc_task_name(const conc_task *task);

/* ---- groups ---------------------------------------------------------------------------------------------------
 * Tasks of one loop that belong together: wait for all, for the next, or for the first; cancel all; the first failure
 * cancels the others; at most so many at a time. Tasks enter by their desc's `group`. */
typedef struct conc_group conc_group;
typedef struct conc_group_desc {
    size_t limit;         /* at most so many run, the others start when one has ended; 0: no limit */
    bool cancel_on_error; /* a task that returns non-zero has the others canceled */
    bool keep_codes;      /* each ended task's code is kept for conc_op_group_next() */
} conc_group_desc;

/* NULL: CONC_INVALID, CONC_NO_MEMORY. */
CONC_API conc_group *conc_group_new(conc_loop *loop, const conc_group_desc *desc);
/* CONC_BUSY: tasks in it have not ended. NULL is CONC_OK. In a child of fork() its memory is given back whatever its
 * state; all else says CONC_FORKED there, and counts nothing. */
CONC_API conc_result conc_group_free(conc_group *group);
/* CONC_GROUP_SPAWN(group, name, ...): a task in it, detached: CONC_OK, or why not; CONC_CANCELED: the group has been
 * canceled. */
#define CONC_GROUP_SPAWN(group, ...) CONC__GROUP_SPAWN(group, __VA_ARGS__, )
#define CONC__GROUP_SPAWN(group, name, ...)                                                        \
    conc__co_go(conc__spawn_##name(NULL, conc__desc_group(group), CONC__CO_FRAME(name, __VA_ARGS__)))
/* Completes when none of its tasks is left: CONC_OK; CONC_FAILED: one has returned non-zero (the first's code is
 * conc_group_code()). */
CONC_API conc_op conc_op_group(conc_group *group);
/* Completes when a task has ended that no such op has told yet: its code goes into `*code`. CONC_CLOSED: none is left.
 * CONC_INVALID: its desc had no `keep_codes`. */
CONC_API conc_op conc_op_group_next(conc_group *group, int *code);
/* Completes when a task that enters would run at once. */
CONC_API conc_op conc_op_group_room(conc_group *group);
/* The same by blocking, for threads; the caller runs the loop if nobody does. */
CONC_API conc_result conc_group_wait(conc_group *group, conc_deadline deadline);
/* Cancels all that are in it, and nobody enters any more. */
CONC_API conc_result conc_group_cancel(conc_group *group);
/* The code of the first task that returned non-zero and was not canceled for another's sake; 0: none. */
CONC_API int conc_group_code(const conc_group *group);
CONC_API size_t conc_group_count(const conc_group *group);

/* ---- offloading ------------------------------------------------------------------------------------------------
 * Runs fn in another thread: any blocking call, without blocking the loop. What `arg` points to is copied for it, and copied back
 * when fn has returned: so a wait that ends before (a time-out, a cancel) leaves nothing behind that fn could touch; fn goes on to its end
 * all the same, and its result is dropped, as the wait's own result says. CONC_OK: fn returned 0; CONC_FAILED: it
 * did not (conc_error_detail() has the number); CONC_NO_MEMORY, CONC_NO_THREADS, and of a pool CONC_REJECTED (it is full, or has discarded it) and CONC_CLOSED: it did
 * not run. `pool`: where it runs, as a task like any other there; NULL: in daemon threads named "conc-offload", as many as there are calls
 * under way, up to 32, each of which ends when it has had nothing to do for 5 seconds; they are the process's. An op for any
 * world; conc_try() does not start it. */
/* (What is one byte, or a void *, is refused: it is nearly always text, or something whose size only you know. Say
 * conc_op_offload_bytes(pool, fn, arg, size).) */
#define conc_op_offload(pool, fn, ...) /* the argument: a pointer, perhaps to a literal with commas */ \
    conc_op_offload_bytes((pool), (fn), (__VA_ARGS__),                                             \
                          sizeof *(__VA_ARGS__) + 0 * sizeof(char[sizeof *(__VA_ARGS__) > 1 ? 1 : -1]))
CONC_API conc_op conc_op_offload_bytes(conc_pool *pool, conc_fn fn, void *arg, size_t size);

/* ---- the dump -------------------------------------------------------------------------------------------------------
 * Writes a line for each thread (of this library, or that has asked for its handle), each pool, and each task of each loop: its name, where it
 * waits, for what and for how long. `line` is called for each; NULL: stderr. A loop writes about its tasks itself: one that
 * does not within half a second, because a coroutine blocks it, has one line that names the coroutine. Blocks for so
 * long at most. Not for signal handlers. `line` is called once at a time, in this thread or a loop's, with locks of the library
 * held: it may not call the library. */
CONC_API void conc_dump(void (*line)(const char *text, void *arg), void *arg);

#endif
