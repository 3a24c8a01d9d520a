/* ============================================================================================
 * wait: everything that can make you wait is a value, a conc_op.
 *
 * conc_wait() blocks the thread on one op, conc_select() on the first of several, conc_try() not at
 * all. Ops come from the modules: conc_op_get(queue, &x), conc_op_lock(&mutex), conc_op_sleep(0.1), ...
 * An op is a plain value: making one does nothing and needs no undoing; the object it names, and the
 * item it points to, must outlive the wait. It is used for one wait; make a new one for the next.
 * (First-class events: J. H. Reppy, "CML: A Higher-Order Concurrent Language", PLDI 1991.)
 *
 * WHERE THE WAITERS ARE KEPT. By address, in a table that the library owns (the idea of WebKit's
 * ParkingLot): an object that may be waited for is 4 or 8 bytes and all zero when idle, and has no
 * list of its own; who waits for it stands in a bucket found by hashing its address, guarded by the
 * bucket's lock. So one mechanism, proven once, serves every object, and the kinds of waiter (a
 * blocked thread, a suspended coroutine) differ in one function pointer. The other way, a list and a lock in each
 * object, was built and measured beside it: entering and leaving a list takes 18 ns there and 21 ns through the table
 * (37 and 44 with two threads, each on an object of its own), beside 5,000 to 40,000 ns for the sleep and the wake that
 * follow; so small objects and one place to look at cost nothing that counts.
 *
 * THE PROTOCOL. A wait is: attempt every op; if none completes, *arm* each (insert a node for it in the
 * object's list, having checked under the bucket's lock that it still has to wait), sleep until one
 * node is *claimed*, disarm all, attempt the claimed op first. A waker changes the object, then claims
 * waiters under the same lock. What follows from it:
 *  - no wake is lost: either the waiter's check under the lock sees the change, or the waker finds the
 *    node in the list;
 *  - exactly one winner: a claim is one compare-and-swap on the waiter, and attempts are made by the
 *    waiter itself, one after the other;
 *  - a wake is never wasted on a waiter that has timed out, was canceled or went another way: then its
 *    claim fails and the waker takes the next one. A waiter claimed at the last moment attempts its op
 *    before it reports the time-out, so it either uses the wake or the object had none left to give.
 * ========================================================================================== */

#ifndef CONC__WAIT_H
#define CONC__WAIT_H

#include "core.h"

typedef struct conc_op conc_op;
typedef struct conc_waiter conc_waiter; /* who waits: private */

/* ---- an object's own op class ---------------------------------------------------------------
 * To make an object of yours awaitable, keep a conc_waiters in it, supply a class, and call
 * conc_waiters_wake() after each change that may let somebody proceed. See the manual's example. */

typedef struct conc_node { /* one armed op. Private: guarded by the bucket's lock while armed */
    struct conc_node *conc__next, *conc__prev;
    struct conc_node *conc__peer;
    const void *conc__key;
    conc_waiter *conc__waiter;
    uint32_t conc__armed;
    uint16_t conc__ticket;
    uint8_t conc__tag;
    uint8_t conc__grant;
} conc_node;

typedef struct conc_op_class {
    const char *name; /* for reports: "get", "lock" */

    /* What conc_try() and a wait with CONC_NOW answer when it would have to wait. 0 is CONC_BUSY. */
    conc_result busy;

    /* Completes the op now and returns its result (CONC_OK or an error of its own), or changes nothing
     * that others can see and returns CONC_PENDING. Never blocks; it may take a lock for a moment, but only one that
     * nobody holds while waiting for something else. */
    conc_result (*attempt)(conc_op *op);

    /* Puts the op's node in the object's list with conc_waiters_arm(). Returns false, with nothing
     * armed, when on a second look attempt() would complete. Never blocks, with the same licence. */
    bool (*arm)(conc_op *op, conc_node *node);

    /* Takes it out again. NULL: conc_waiters_disarm(), which is right for nearly all. */
    void (*disarm)(conc_op *op, conc_node *node);

    /* The wait ended and this op did not complete (another won, time-out, cancel): undo what its
     * attempts left half done. NULL: nothing to undo. */
    void (*abandon)(conc_op *op);
} conc_op_class;

struct conc_op {
    const conc_op_class *cls;
    void *object;       /* what is waited for */
    void *data;         /* where a result goes or an item comes from */
    conc_deadline due;  /* a point in time at which attempt() is worth making again; CONC_FOREVER if none */
    uint64_t word;      /* the class's own */
    conc_result result; /* set on the winner of a conc_select() */
    conc_node node;
};

/* An op of class `cls` on `object`, everything else empty. */
CONC_API conc_op conc_op_make(const conc_op_class *cls, void *object, void *data);

/* The waiters of a user's object. All zero is valid; no destroying needed. */
typedef struct conc_waiters {
    uint32_t conc__unused;
} conc_waiters;

/* For arm(): enters the node, so that every later conc_waiters_wake() finds it. Look at the object again
 * *after* this call and, if it need not wait, conc_waiters_disarm() and return false. */
CONC_API void conc_waiters_arm(conc_waiters *w, conc_node *node);
CONC_API void conc_waiters_disarm(conc_node *node);
/* Wakes up to `n` waiters, longest waiting first; returns how many were there to wake. Change the object
 * before. Whatever happened before this call is seen by those it wakes. Does not block. */
CONC_API size_t conc_waiters_wake(conc_waiters *w, size_t n);
#define CONC_ALL ((size_t)-1)

/* ---- waiting --------------------------------------------------------------------------------- */

/* Blocks until `op` completes, the deadline passes or the thread's cancel token fires. Returns the op's
 * own result, CONC_TIMEOUT or CONC_CANCELED; with CONC_NOW, the class's "would have to wait" answer
 * (CONC_EMPTY, CONC_FULL, CONC_BUSY). An op that need not wait completes even if the deadline has passed
 * or the token has fired. CONC_INVALID: no class. */
CONC_API conc_result conc_wait(conc_op op, conc_deadline deadline);

/* conc_wait() with CONC_NOW. Never blocks. */
CONC_API conc_result conc_try(conc_op op);

/* Blocks until one of `n` ops completes: exactly one does, the others are as if never started. Returns
 * its index, with its result in ops[index].result; or CONC_TIMEOUT, CONC_CANCELED, or CONC_BUSY with
 * CONC_NOW. If several could complete when it is called, the first in the array is taken; after a sleep, the one that
 * woke it, if that still can. CONC_INVALID: n is 0, over 1000, or an op has no class. The array belongs to the call until
 * it returns. */
CONC_API int conc_select(conc_op *ops, size_t n, conc_deadline deadline);

/* ---- points in time ---------------------------------------------------------------------------- */

/* Completes with CONC_OK at the deadline / after `seconds`, which count from the making of the op. */
CONC_API conc_op conc_op_until(conc_deadline when);
CONC_API conc_op conc_op_sleep(double seconds);
/* Never completes: takes the place of a source that is used up in an array for conc_select(). */
CONC_API conc_op conc_op_never(void);

/* Blocks until `until`. CONC_OK, or CONC_CANCELED. Never early. */
CONC_API conc_result conc_sleep(conc_deadline until);

/* ---- cancel tokens ------------------------------------------------------------------------------
 * A token is fired once, by anybody, and from then on wakes every wait under it with CONC_CANCELED: the
 * waits of each thread whose current token it is, or whose current token has it among its parents.
 * Calls that need not wait still succeed; loops that never wait ask conc_canceled(). All zero is valid. A
 * token, and its parents, must outlive every wait under it. */
typedef struct conc_cancel {
    struct conc_cancel *parent; /* fires with it; set it before the first use or leave it NULL */
    uint32_t conc__state;
} conc_cancel;
#define CONC_CANCEL_DEPTH 8 /* a token and its parents, at most */

/* Fires it: CONC_OK, or CONC_INVALID (NULL). Again is harmless. Does not block. Not for signal handlers. */
CONC_API conc_result conc_cancel_fire(conc_cancel *token);
/* Whether it, or a parent, has fired. */
CONC_API bool conc_cancel_fired(const conc_cancel *token);
/* Completes with CONC_OK once it has fired (itself: parents do not count here). */
CONC_API conc_op conc_op_canceled(conc_cancel *token);

/* Makes `token` (NULL: none) the calling thread's current one and returns the one before. A chain of
 * more than CONC_CANCEL_DEPTH tokens is cut there: conc_error_detail() says so. */
CONC_API conc_cancel *conc_cancel_use(conc_cancel *token);
CONC_API conc_cancel *conc_cancel_current(void);
/* CONC_CANCELED if the calling thread's current token has fired, else CONC_OK. */
CONC_API conc_result conc_canceled(void);

/* CONC_WITH_CANCEL(&token) { ... }: the token is current within the block (see CONC_WITH_LOCK for how it
 * may be left). */
#define CONC_WITH_CANCEL(token)                                                                    \
    CONC__WITH(conc__cancel_scope, conc__cancel_enter(token), conc__cancel_leave, CONC__UNIQUE)

typedef struct conc__cancel_scope {
    int live;
    conc_cancel *before;
} conc__cancel_scope;
CONC_API conc__cancel_scope conc__cancel_enter(conc_cancel *token);
CONC_API void conc__cancel_leave(conc__cancel_scope *scope);

#endif
