/* ============================================================================================
 * sync: mutex, recursive mutex, condition, reader-writer locks, semaphore, event, barrier, once, latch.
 *
 * All of them are plain structs that are ready when all zero (static, = {0}, memset), need no memory of
 * their own and no destroying; conc_X_destroy() only checks that nobody uses it any more and returns
 * CONC_BUSY if somebody does. They must not be copied or moved while in use, and not be put in memory
 * shared between processes. Fields named conc__ are private.
 *
 * Results that every function here can give: CONC_INVALID for NULL; and every blocking one: CONC_TIMEOUT
 * (CONC_BUSY with CONC_NOW), CONC_CANCELED when the thread's cancel token fires, CONC_FORKED in a child
 * of fork() when what it waits for is held by a thread that only the parent has (as far as holders are known: which
 * threads read is not recorded, nor who will set an event).
 *
 * Memory: what a thread did before unlock/release/set/done is seen by the one that then locks/acquires/
 * waits successfully.
 * ========================================================================================== */

#ifndef CONC__SYNC_H
#define CONC__SYNC_H

#include "wait.h"

/* ---- mutex ------------------------------------------------------------------------------------
 * 4 bytes. Not recursive. The word holds its owner, so that unlocking what another holds and locking
 * what one holds oneself are always told, not only in debug mode. Barging: a running thread may take it
 * before one that sleeps; a thread that has waited for 1 ms and lost is handed it next, so none starves. */
typedef struct conc_mutex {
    uint32_t conc__word;
} conc_mutex;

/* Locks it, waiting until the deadline. CONC_DEADLOCK: the caller holds it already. A result other than
 * CONC_OK means that it is NOT held: look at it, or use CONC_WITH_LOCK. */
CONC_API CONC_MUST_CHECK conc_result conc_mutex_lock(conc_mutex *m, conc_deadline deadline);
/* CONC_OK, or CONC_BUSY at once (also if the caller itself holds it). */
CONC_API CONC_MUST_CHECK conc_result conc_mutex_try_lock(conc_mutex *m);
/* CONC_NOT_OWNER: not locked, or by another: nothing changes. Never blocks. The mutex may be destroyed
 * and its memory reused as soon as another thread has locked it after this. */
CONC_API conc_result conc_mutex_unlock(conc_mutex *m);
CONC_API conc_result conc_mutex_destroy(conc_mutex *m);
/* Whether the calling thread holds it. */
CONC_API bool conc_mutex_is_mine(const conc_mutex *m);
/* Completes with the mutex locked by whoever waits. */
CONC_API conc_op conc_op_lock(conc_mutex *m);

/* CONC_WITH_LOCK(&m) { ... }: locks, runs the block once, unlocks. `break` and `continue` leave the block
 * (not a loop around it) and unlock; with gcc and clang so do `return` and `goto`; elsewhere leave it by
 * break. Waits for ever and is not canceled. If it cannot be locked (NULL, or held by the caller already)
 * the error hook is told and the block does not run. */
#define CONC_WITH_LOCK(m) CONC__WITH(conc__lock_scope, conc__lock_enter(m), conc__lock_leave, CONC__UNIQUE)

typedef struct conc__lock_scope {
    int live;
    conc_mutex *mutex;
} conc__lock_scope;
CONC_API conc__lock_scope conc__lock_enter(conc_mutex *m);
CONC_API void conc__lock_leave(conc__lock_scope *scope);

/* ---- recursive mutex --------------------------------------------------------------------------
 * Its owner may lock it again, and unlocks it as many times. CONC_INVALID after 4 billion times. */
typedef struct conc_rmutex {
    conc_mutex conc__mutex;
    uint32_t conc__depth; /* how many times more than once; guarded by the mutex */
} conc_rmutex;

CONC_API CONC_MUST_CHECK conc_result conc_rmutex_lock(conc_rmutex *m, conc_deadline deadline);
CONC_API CONC_MUST_CHECK conc_result conc_rmutex_try_lock(conc_rmutex *m);
CONC_API conc_result conc_rmutex_unlock(conc_rmutex *m);
CONC_API conc_result conc_rmutex_destroy(conc_rmutex *m);

#define CONC_WITH_RLOCK(m)                                                                         \
    CONC__WITH(conc__rlock_scope, conc__rlock_enter(m), conc__rlock_leave, CONC__UNIQUE)
typedef struct conc__rlock_scope {
    int live;
    conc_rmutex *mutex;
} conc__rlock_scope;
CONC_API conc__rlock_scope conc__rlock_enter(conc_rmutex *m);
CONC_API void conc__rlock_leave(conc__rlock_scope *scope);

/* ---- condition variable -------------------------------------------------------------------------
 * Used with one mutex at a time, held by the caller of wait. Spurious wake-ups happen: wait in a loop
 * that tests what is waited for, or use conc_cond_wait_for(). A signal sent while the mutex is held
 * reaches a thread that waited at that moment, never only one that came later. */
typedef struct conc_cond {
    uint32_t conc__word;
} conc_cond;

typedef bool (*conc_predicate)(void *arg);

/* Unlocks `m`, waits for a signal, locks `m` again; the mutex is held by the caller again whatever the
 * result (that last locking is neither timed nor canceled). CONC_NOT_OWNER: the caller does not hold it. */
CONC_API conc_result conc_cond_wait(conc_cond *c, conc_mutex *m, conc_deadline deadline);
/* Waits until predicate(arg), called with the mutex held, is true: then CONC_OK, even at the deadline. */
CONC_API conc_result conc_cond_wait_for(conc_cond *c, conc_mutex *m, conc_predicate predicate, void *arg,
                                        conc_deadline deadline);
/* Wakes one waiter, or all. Holding the mutex is not required, and is usual. Never blocks. */
CONC_API conc_result conc_cond_signal(conc_cond *c);
CONC_API conc_result conc_cond_broadcast(conc_cond *c);
CONC_API conc_result conc_cond_destroy(conc_cond *c);
/* Completes once the condition has been signaled after this op was made. Make it with the mutex held,
 * unlock the mutex, wait, lock it again, test. */
CONC_API conc_op conc_op_signal(conc_cond *c);

/* ---- reader-writer lock ---------------------------------------------------------------------------
 * Many readers or one writer. Phase-fair (after Brandenburg and Anderson 2010): a waiting writer keeps new
 * readers out, and a leaving writer lets all readers in that wait at that moment, so neither starves the
 * other. Therefore a reader must not read-lock it again (with a writer waiting between, it would wait for
 * itself), nor ask to write before it has unlocked. CONC_DEADLOCK: the caller holds it to write. */
typedef struct conc_rwlock {
    uint32_t conc__word;
    uint32_t conc__owner; /* the writer; written by it, read to tell misuse */
} conc_rwlock;

/* (With CONC_NOW either may be refused for the moment in which a reader that came in vain steps back.) */
CONC_API CONC_MUST_CHECK conc_result conc_rwlock_read(conc_rwlock *l, conc_deadline deadline);
CONC_API CONC_MUST_CHECK conc_result conc_rwlock_write(conc_rwlock *l, conc_deadline deadline);
/* Gives back what the caller holds, read or write. CONC_NOT_OWNER: nobody holds it, or another thread holds it
 * to write. (Which threads read is not recorded: a stranger's unlock among readers goes unnoticed.) */
CONC_API conc_result conc_rwlock_unlock(conc_rwlock *l);
CONC_API conc_result conc_rwlock_destroy(conc_rwlock *l);
CONC_API conc_op conc_op_read(conc_rwlock *l);
CONC_API conc_op conc_op_write(conc_rwlock *l);

#define CONC_WITH_READ_LOCK(l)                                                                     \
    CONC__WITH(conc__rwlock_scope, conc__rwlock_enter((l), 0), conc__rwlock_leave, CONC__UNIQUE)
#define CONC_WITH_WRITE_LOCK(l)                                                                    \
    CONC__WITH(conc__rwlock_scope, conc__rwlock_enter((l), 1), conc__rwlock_leave, CONC__UNIQUE)
typedef struct conc__rwlock_scope {
    int live;
    conc_rwlock *lock;
} conc__rwlock_scope;
CONC_API conc__rwlock_scope conc__rwlock_enter(conc_rwlock *l, int write);
CONC_API void conc__rwlock_leave(conc__rwlock_scope *scope);

/* ---- big-reader lock ------------------------------------------------------------------------------
 * A reader-writer lock for data that is read all the time and written hardly ever: each reader touches
 * only a cache line of its own, so readers do not slow each other down; a writer has to look at all the
 * lines. 128 bytes for each processor (at most 64 of them), allocated. Writers go before new readers: as with conc_rwlock,
 * a reader asks for nothing before it has unlocked. CONC_DEADLOCK: the caller holds it to write. */
typedef struct conc_brlock conc_brlock;

/* NULL: out of memory. */
CONC_API conc_brlock *conc_brlock_new(void);
/* CONC_BUSY, and nothing is freed, if it is held or waited for. NULL is CONC_OK. */
CONC_API conc_result conc_brlock_free(conc_brlock *l);
CONC_API CONC_MUST_CHECK conc_result conc_brlock_read(conc_brlock *l, conc_deadline deadline);
CONC_API CONC_MUST_CHECK conc_result conc_brlock_write(conc_brlock *l, conc_deadline deadline);
/* By the thread that locked it. */
CONC_API conc_result conc_brlock_read_unlock(conc_brlock *l);
CONC_API conc_result conc_brlock_write_unlock(conc_brlock *l);
CONC_API conc_op conc_op_brlock_read(conc_brlock *l);
CONC_API conc_op conc_op_brlock_write(conc_brlock *l);

/* ---- semaphore ------------------------------------------------------------------------------------
 * Counts permits. `max` bounds them (0: not bounded, up to 2^31 - 1). */
typedef struct conc_semaphore {
    uint32_t conc__word;
    uint32_t max;
} conc_semaphore;
#define CONC_SEMAPHORE_INIT(permits, max) { (permits) & 0x7fffffffu, (max) } /* not checked: use permits <= max */

CONC_API conc_result conc_semaphore_init(conc_semaphore *s, uint32_t permits, uint32_t max);
/* Takes a permit, waiting for one. */
CONC_API CONC_MUST_CHECK conc_result conc_semaphore_acquire(conc_semaphore *s, conc_deadline deadline);
/* Gives `n` permits. CONC_INVALID, and nothing given, when that would pass the bound. Never blocks. */
CONC_API conc_result conc_semaphore_release(conc_semaphore *s, uint32_t n);
/* How many permits there are at this moment. */
CONC_API uint32_t conc_semaphore_permits(const conc_semaphore *s);
CONC_API conc_result conc_semaphore_destroy(conc_semaphore *s);
CONC_API conc_op conc_op_acquire(conc_semaphore *s);

/* ---- event ------------------------------------------------------------------------------------------
 * A flag that can be waited for. Manual reset (the default): all waiters pass while it is set; one that is woken looks
 * again, so a reset right after the set may keep it waiting. Auto reset: each set lets one waiter through and is used up
 * by it. */
typedef struct conc_event {
    uint32_t conc__word;
    bool auto_reset; /* set it before the first use */
} conc_event;

CONC_API conc_result conc_event_set(conc_event *e);
CONC_API conc_result conc_event_reset(conc_event *e);
CONC_API bool conc_event_is_set(const conc_event *e);
CONC_API conc_result conc_event_wait(conc_event *e, conc_deadline deadline);
CONC_API conc_result conc_event_destroy(conc_event *e);
CONC_API conc_op conc_op_event(conc_event *e);

/* ---- barrier ------------------------------------------------------------------------------------------
 * Holds `parties` threads until all have come, then lets them go, again and again. A party that gives up
 * (time-out, cancel, or CONC_NOW when it is not the last) breaks the barrier: all others get CONC_BROKEN, now and later, until it is reset. */
typedef struct conc_barrier {
    uint32_t parties; /* set it before the first use; 0 is CONC_INVALID */
    uint32_t conc__arrived;    /* this and what follows is guarded by the lock of the address's bucket */
    uint32_t conc__generation; /* counts the rounds that ended */
    uint32_t conc__history;    /* of the last 32 rounds: bit (round % 32) is 1 if it ended broken */
    bool conc__broken;         /* whoever comes gets CONC_BROKEN */
} conc_barrier;

/* `*rank` (may be NULL) is 0 for the first to arrive of this round, parties - 1 for the last. */
CONC_API conc_result conc_barrier_wait(conc_barrier *b, uint32_t *rank, conc_deadline deadline);
/* Breaks it: every party that waits or comes gets CONC_BROKEN. */
CONC_API conc_result conc_barrier_abort(conc_barrier *b);
/* Makes it new; those who wait get CONC_BROKEN. */
CONC_API conc_result conc_barrier_reset(conc_barrier *b);
CONC_API conc_result conc_barrier_destroy(conc_barrier *b);
/* Arrives when it is first attempted; so in a conc_select() it has an effect even if another op wins: it then leaves, which
 * breaks the barrier, or, if the round was completed in that moment, counts as having passed it. */
CONC_API conc_op conc_op_barrier(conc_barrier *b, uint32_t *rank);

/* ---- once -------------------------------------------------------------------------------------------
 * Runs a function exactly once, whoever comes first; all others wait until it has run. */
typedef struct conc_once {
    uint32_t conc__word;
} conc_once;

/* CONC_OK: it has run (now or before) and all it did is seen. CONC_FAILED: this call ran it and it
 * returned non-zero; it then counts as not run, and the next caller tries again. CONC_DEADLOCK: called from
 * within `fn`. */
CONC_API conc_result conc_once_do(conc_once *o, conc_fn fn, void *arg, conc_deadline deadline);

/* ---- latch ----------------------------------------------------------------------------------------
 * A counter that can be waited on until it is zero (Go's WaitGroup, Java's CountDownLatch, which is
 * what one makes of it that is never added to again). At most 2^31 - 1. */
typedef struct conc_latch {
    uint32_t conc__word;
} conc_latch;
#define CONC_LATCH_INIT(count) { (count) & 0x7fffffffu }

/* CONC_INVALID, and no change, past the maximum. */
CONC_API conc_result conc_latch_add(conc_latch *l, uint32_t n);
/* Takes one off. CONC_INVALID: it was zero. The latch may be destroyed and its memory reused as soon as
 * conc_latch_wait() has returned CONC_OK. */
CONC_API conc_result conc_latch_done(conc_latch *l);
CONC_API uint32_t conc_latch_count(const conc_latch *l);
CONC_API conc_result conc_latch_wait(conc_latch *l, conc_deadline deadline);
CONC_API conc_result conc_latch_destroy(conc_latch *l);
CONC_API conc_op conc_op_latch(conc_latch *l);

/* ---- debug mode -------------------------------------------------------------------------------------
 * With CONC_DEBUG defined (everywhere, for places; in the implementation alone, without) the error hook is
 * told, with thread, names and places, of: locking a mutex that one holds; unlocking one that one does not
 * hold; destroying a lock in use; and locking two mutexes in an order opposite to one seen before (a
 * deadlock waiting to happen), found when it is first possible, not when it strikes. Mutexes are known by their address:
 * destroy those whose memory is used again, or their order is held against what comes after them. Locks taken as ops
 * (conc_op_lock) are not followed. */

/* Names an object in reports of CONC_DEBUG and CONC_SIM. `name` must live as long. Without them it does nothing. */
CONC_API void conc_debug_name(const void *object, const char *name);

CONC_API conc_result conc__mutex_lock_at(conc_mutex *m, conc_deadline deadline, const char *file, int line);
CONC_API conc_result conc__mutex_try_lock_at(conc_mutex *m, const char *file, int line);
CONC_API conc_result conc__mutex_unlock_at(conc_mutex *m, const char *file, int line);
CONC_API conc__lock_scope conc__lock_enter_at(conc_mutex *m, const char *file, int line);
#if defined(CONC_DEBUG)
#define conc_mutex_lock(m, deadline) conc__mutex_lock_at((m), (deadline), __FILE__, __LINE__)
#define conc_mutex_try_lock(m) conc__mutex_try_lock_at((m), __FILE__, __LINE__)
#define conc_mutex_unlock(m) conc__mutex_unlock_at((m), __FILE__, __LINE__)
#define conc__lock_enter(m) conc__lock_enter_at((m), __FILE__, __LINE__)
#endif

#endif
