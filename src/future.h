/* ============================================================================================
 * future: stands for what somebody else is working on: wait for it, ask how it ended, cancel it, be called when it
 * has ended.
 *
 * Thread pools give them out (conc_pool_submit()), and anybody may make one (conc_future_new()) and complete it. A
 * future ends once, with a result: CONC_OK, CONC_FAILED (the task returned something else than 0:
 * conc_future_code()), CONC_CANCELED (before it began; or its token had fired, and it returned something else than
 * 0), CONC_REJECTED, ... It is reference-counted: the call that hands one out gives its caller a reference, which is
 * given back with conc_future_release(); whoever works on it holds one of its own. So it may be released before it
 * has ended: the task goes on.
 *
 * A FAILURE IS NEVER LOST. If a future ends with CONC_FAILED and is freed without anybody having seen it (by a wait,
 * by an op, by conc_future_result(), conc_future_code() or a callback), the error hook is told.
 *
 * WAITING IN A POOL. A task that waits for another of its own pool, with conc_future_wait(), conc_wait_all(),
 * conc_wait_any() or conc_as_completed(), does not merely block a thread: if the other is still in the queue, it is
 * run right there, in the thread that waits. So tasks may wait for tasks in a pool of one thread. What is run right
 * there runs to its end: the wait's deadline, and a cancel of the waiter, do not end it. A conc_future_wait() or
 * conc_wait_all() that could never end, because what it waits for itself waits, without a deadline, for the waiter,
 * is told: CONC_DEADLOCK (but not if the circle leads through a task that is still in another pool's queue). Ops do
 * not run anything: an attempt never takes long. conc_wait(conc_op_future(f)) in a task just waits.
 * ========================================================================================== */

#ifndef CONC__FUTURE_H
#define CONC__FUTURE_H

#include "iter.h"

typedef struct conc_future conc_future;

/* Waits until it has ended, and returns its result; or CONC_TIMEOUT (with CONC_NOW: CONC_BUSY), CONC_DEADLOCK (see
 * above), CONC_INVALID (NULL), CONC_FORKED. CONC_CANCELED: the calling thread's token has fired, or that is the
 * future's result: conc_future_is_done() tells which. What the task did is seen by the caller. */
CONC_API conc_result conc_future_wait(conc_future *f, conc_deadline deadline);
/* The same as an op: for conc_select(), and for coroutines. */
CONC_API conc_op conc_op_future(conc_future *f);

/* Questions; none blocks. The result: CONC_PENDING before the end; CONC_INVALID: NULL. The code: what the task
 * returned; 0 before the end, or if it never ran. The sentence says what went wrong (conc_error_detail() of the
 * thread that ran it, if there was one), "" if nothing; it lives as long as the future. The argument is that of the
 * task; NULL if there is no task. */
CONC_API bool conc_future_is_done(const conc_future *f);
CONC_API conc_result conc_future_result(conc_future *f);
CONC_API int conc_future_code(conc_future *f);
CONC_API const char *conc_future_detail(const conc_future *f);
CONC_API void *conc_future_arg(const conc_future *f);

/* CONC_OK: it had not begun, and never will: it has ended with CONC_CANCELED. CONC_BUSY: it runs, and its token has
 * been fired, which ends its waits; it ends when it returns. CONC_CLOSED: it had ended before. Does not wait. */
CONC_API conc_result conc_future_cancel(conc_future *f);

/* Has fn(f, arg) called once it has ended: in the thread that ends it, with no lock held, or right here if it has
 * ended already. Callbacks are called in the order in which they were given; the future lives until the last has
 * returned. CONC_OK; CONC_NO_MEMORY, CONC_INVALID: it will not be called. A callback must not block for long. */
CONC_API conc_result conc_future_then(conc_future *f, void (*fn)(conc_future *f, void *arg), void *arg);

/* One reference more (returns f); one less. NULL is harmless. */
CONC_API conc_future *conc_future_retain(conc_future *f);
CONC_API void conc_future_release(conc_future *f);

/* ---- several ----------------------------------------------------------------------------------
 * Waits until all n have ended: CONC_OK, or the result of the first in the array that did not end well; or as
 * conc_future_wait() if the wait fails. */
CONC_API conc_result conc_wait_all(conc_future *const *futures, size_t n, conc_deadline deadline);
/* Waits until one of n (at most 1000) has ended, and returns its index: the first in the array if there are several;
 * or, negative, as conc_future_wait(), and CONC_BUSY with CONC_NOW. CONC_INVALID: n is 0 or over 1000, or one is
 * NULL. */
CONC_API int conc_wait_any(conc_future *const *futures, size_t n, conc_deadline deadline);
/* An iterator over them (conc_future *) in the order in which they end; the references stay the caller's. next()
 * waits, without a deadline; if that wait is canceled, the iterator ends with CONC_CANCELED. The array may go once
 * the iterator is made; the futures must stay until it is closed. */
CONC_API conc_iter *conc_as_completed(conc_future *const *futures, size_t n);

/* ---- a future of one's own ---------------------------------------------------------------------
 * Not ended; the reference is the caller's, who hands out others with conc_future_retain(). Canceling it completes it with
 * CONC_CANCELED. NULL: CONC_NO_MEMORY. */
CONC_API conc_future *conc_future_new(void);
/* Ends it with CONC_OK (code 0) or CONC_FAILED; what the caller did before is seen by who waits. CONC_CLOSED: it had
 * ended. CONC_INVALID: NULL, or the future of a pool's task. */
CONC_API conc_result conc_future_complete(conc_future *f, int code);

#endif
