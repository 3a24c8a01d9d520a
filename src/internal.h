/* ============================================================================================
 * internal: what the modules share and users never see. In the order of the floors.
 * ========================================================================================== */

#ifndef CONC__INTERNAL_H
#define CONC__INTERNAL_H

#include "port.h"
#include "port_sim.h"
#include "queue.h"
#include "thread.h"
#include "parallel.h"
#include "loop.h"
#include "net.h"
#include "process.h"
#include "procpool.h"
#include "download.h"

#include <string.h>

/* ---- core: memory --------------------------------------------------------------------------- */

#if defined(CONC_MALLOC) && defined(CONC_REALLOC) && defined(CONC_FREE)
/* all three given */
#elif defined(CONC_MALLOC) || defined(CONC_REALLOC) || defined(CONC_FREE)
#error "conc.h: define all of CONC_MALLOC, CONC_REALLOC and CONC_FREE, or none"
#else
#include <stdlib.h>
#define CONC_MALLOC(size) malloc(size)
#define CONC_REALLOC(p, size) realloc((p), (size))
#define CONC_FREE(p) free(p)
#endif
#if defined(CONC_SIM)
#define CONC__MALLOC(size) conc__sim_malloc(size)
#define CONC__REALLOC(p, size) conc__sim_realloc((p), (size))
#define CONC__FREE(p) conc__sim_free(p)
#else
#define CONC__MALLOC(size) CONC_MALLOC(size)
#define CONC__REALLOC(p, size) CONC_REALLOC((p), (size))
#define CONC__FREE(p) CONC_FREE(p)
#endif

/* count * size bytes, zeroed; NULL, with the error recorded, when that overflows or there is no memory. `what`
 * is for the message. */
CONC__LIB void *conc__alloc(size_t count, size_t size, const char *what);
/* To count * size bytes, the first ones kept. As above; on failure `p` is still there. */
CONC__LIB void *conc__realloc(void *p, size_t count, size_t size, const char *what);
CONC__LIB void conc__free(void *p);

/* The library's own plain memory that no lock guards, about to be read or written: for a simulation's race detector. */
#if defined(CONC_SIM)
#define CONC__READS(p, size) conc_sim_access((p), (size), false, __FILE__, __LINE__)
#define CONC__WRITES(p, size) conc_sim_access((p), (size), true, __FILE__, __LINE__)
#else
#define CONC__READS(p, size) ((void)0)
#define CONC__WRITES(p, size) ((void)0)
#endif

/* ---- core: the agent -------------------------------------------------------------------------
 * Who acts: the record of the calling thread. While a coroutine runs in it, its loop has put the coroutine's identity,
 * token and task here. */

#define CONC__HELD_MAX 32 /* locks one thread can hold and CONC_DEBUG can follow */

typedef struct conc__held {
    const void *lock;
    const char *file;
    int line;
} conc__held;

typedef struct conc__agent {
    uint32_t owner;      /* what this agent writes into a lock it holds: its id << 2; 0: not given yet */
    conc_result error;   /* conc_error_result() */
    conc_cancel *cancel; /* the current token */
    const char *name;    /* for reports; NULL: it has none. The thread module's, as the next three */
    void *thread;        /* its conc_thread, if it has one */
    void (*ended)(struct conc__agent *agent); /* see conc__agent_watch_end() */
    conc_loop *loop; /* the loop that this thread runs, */
    conc_task *task; /* and the task that runs in it, whose identity `owner` then is; */
    uint32_t host;   /* the thread's own meanwhile */
    conc__port_signal signal; /* wakes it when it sleeps in conc__port_poll(); */
    bool has_signal;          /* made when first wanted, gone with the thread */
    /* For conc_dump(), which reads them from other threads: what it sleeps for. Hints, stored with conc__poke...(); `name` is
     * static text, NULL: it does not sleep. */
    const char *sleeps_in;
    const void *sleeps_for;
    size_t sleeps_since; /* milliseconds of the clock */
    struct conc__worker *worker;   /* what it is in a pool, while it takes part in one; */
    struct conc__running *running; /* and the tasks that it is in, the innermost first */
    conc_task_desc spawn; /* what CONC_SPAWN_LATER() and CONC_GROUP_SPAWN() hand on */
    struct conc__pp_ended *telling; /* what it is in the midst of telling, of process pools' tasks, the innermost first */
    uint32_t scopes;     /* blocks of CONC_WITH_LOCK(), CONC_WITH_CANCEL() and CONC_FOREACH() that it is in */
    void **locals;       /* thread-local values by key */
    uint32_t local_count;
    uint32_t held_count; /* CONC_DEBUG: the locks held, in order; sync_debug's */
#if defined(CONC_SIM)
    const conc_op *waits; /* what it waits for, */
    size_t waits_count;   /* for reports */
#endif
#if defined(CONC_DEBUG)
    conc__held held[CONC__HELD_MAX];
#endif
    char number[20];     /* its name, if it has none */
    char detail[240];    /* conc_error_detail() */
} conc__agent;

/* The calling thread's record, complete. Never NULL. */
CONC__LIB conc__agent *conc__self(void);
/* The same, by one load where there is thread-local storage; its owner may still be 0. For fast paths. */
#if CONC__HAS_TLS
#if defined(CONC__SPLIT)
extern CONC__TLS conc__agent conc__agent_here;
#else
static CONC__TLS conc__agent conc__agent_here;
#endif
#define conc__self_fast() (&conc__agent_here)
#else
#define conc__self_fast() conc__self()
#endif

/* A new identity, for a thread that is being started. */
CONC__LIB uint32_t conc__new_owner(void);

/* Have the calling agent's end told: `ended` is called in the thread as it ends, whatever its origin. False: out of
 * memory. */
CONC__LIB bool conc__agent_watch_end(conc__agent *agent, void (*ended)(conc__agent *agent));

/* Calls `reset`, which makes a module's own state new, in the child of every fork() to come (and before each schedule of
 * a simulation). To be called before the module's lock is first taken; again is harmless and cheap. */
typedef enum conc__reset_place {
    CONC__RESET_TABLE,
    CONC__RESET_REGISTRY,
    CONC__RESET_TIMERS,
    CONC__RESET_LOOPS,
    CONC__RESET_OFFLOAD,
    CONC__RESET_BLOCKED,
    CONC__RESET_POOLS,
    CONC__RESET_PROCPOOLS,
    CONC__RESET_PROCESSES,
    CONC__RESET_DEBUG,
    CONC__RESETS
} conc__reset_place;
CONC__LIB void conc__on_fork(conc__reset_place place, void (*reset)(void));
/* Each module's own call of it. */
CONC__LIB void conc__table_begin(void);
CONC__LIB void conc__registry_begin(void);
CONC__LIB void conc__timers_begin(void);
CONC__LIB void conc__offload_begin(void);
CONC__LIB void conc__blocked_begin(void);
CONC__LIB void conc__pools_begin(void);
#if defined(CONC_DEBUG) || defined(CONC_SIM)
CONC__LIB void conc__debug_begin(void);
#endif

/* Whether `owner`, found in a lock, was a thread of the process that forked this one, and is not here. Ids are never
 * used twice, so that of the thread that forked is the only one from before that still is somebody's. */
CONC__LIB bool conc__is_gone(uint32_t owner);
/* How many forks lie between the first process and this one. */
CONC__LIB uint32_t conc__fork_generation(void);
/* In the child of a fork() that nobody else has told of: all is made new. */
CONC__LIB void conc__forked(void);

/* ---- core: errors ----------------------------------------------------------------------------- */

/* Records the sentence for conc_error_detail() and returns `r`. */
CONC__LIB conc_result conc__fail(conc_result r, const char *format, ...) CONC__PRINTF(2, 3);
/* The same, with the system's words for `error` after a colon. */
CONC__LIB conc_result conc__fail_system(conc_result r, int error, const char *what);
/* Tells the error hook, or stderr. `thread` is where it happened; NULL: in the calling one. */
CONC__LIB void conc__report(conc_result r, int code, const char *thread, const char *format, ...)
    CONC__PRINTF(4, 5);
/* "main", "worker", "thread 7": what reports call the calling thread. Lives as long as the thread. */
CONC__LIB const char *conc__self_name(void);

/* ---- wait: the lock of the house ------------------------------------------------------------------
 * A word lock for the library's own few instructions: 0 free, 1 held, 2 held and perhaps waited for (U.
 * Drepper, "Futexes Are Tricky", mutex 2). It is not an op and knows nothing of tokens. */
typedef uint32_t conc__lock;
CONC__LIB void conc__lock_take(conc__lock *l);
CONC__LIB void conc__lock_give(conc__lock *l);

#define CONC__TICKET_SWEPT 0x10000u /* it was claimed with all others there */

/* ---- wait: waiters and the table -------------------------------------------------------------------
 * One per wait, on the waiting thread's stack; or a coroutine's task's. */
struct conc_waiter {
    uint32_t claimed;         /* atomic. 0: waits; else the ticket (index + 1) of the node through which it was claimed, and
                                 CONC__TICKET_SWEPT. Publishes what the claimer did before; a thread sleeps on it */
    uint32_t owner;           /* the waiting agent's, for hand-over and for ordering; constant */
    void (*wake)(void *self); /* run by the claimer after it has let go of all locks. For a thread the memory
                                 may be gone by then: only the address is used */
};

/* Waiters of all objects, found by the object's address. In a bucket, each key has a ring of nodes in FIFO order;
 * the first of each is linked to the bucket's other firsts, so that finding a key costs no more than the
 * number of *different* keys there. */
typedef struct conc__bucket {
    conc__lock lock;  /* guards `firsts`, all nodes reachable from it, and what objects say it guards */
    conc_node *firsts;
    char pad[CONC__CACHE_LINE - sizeof(conc_node *) * 2];
} conc__bucket;

/* The bucket of an object, locked / unlocked. Objects share buckets: hold one at a time, call nothing that
 * may wait. */
CONC__LIB conc__bucket *conc__bucket_lock(const void *key);
CONC__LIB void conc__bucket_unlock(conc__bucket *b);

/* Enters `node` for `key`, with a tag of the object's choice, at the end of its ring; one that was woken before
 * in this wait and lost the race for what it was woken for, at the front. */
CONC__LIB void conc__bucket_push(conc__bucket *b, const void *key, conc_node *node, unsigned tag);
/* The first node of `key`, and the one after `node`; NULL at the end. */
CONC__LIB conc_node *conc__bucket_first(conc__bucket *b, const void *key);
CONC__LIB conc_node *conc__bucket_next(conc__bucket *b, conc_node *node);
/* The tag it was entered with. */
#define conc__node_tag(node) ((node)->conc__tag & ~CONC__FRONT & 0xffu)
#define CONC__FRONT 0x80u
/* Whether `key` has a node with `tag`. */
CONC__LIB bool conc__bucket_has(conc__bucket *b, const void *key, unsigned tag);
/* Whether anybody waits for it. Takes the bucket's lock itself. */
CONC__LIB bool conc__is_waited_for(const void *key);
/* The tags of those who wait for a mutex, and of those who wait for a reader-writer lock. */
#define CONC__PATIENT 0u
#define CONC__STARVING 1u
#define CONC__TAG_READER 1u
#define CONC__TAG_WRITER 2u

/* Wakes collected under a lock, done after it. */
#define CONC__WAKES 16
typedef struct conc__wakes {
    size_t count;
    struct {
        void (*wake)(void *);
        void *waiter;
    } list[CONC__WAKES];
} conc__wakes;
CONC__LIB void conc__wakes_run(conc__wakes *w); /* no lock may be held */

/* Takes `node` out of the table and claims its waiter; true: it is claimed, its wake noted in `w` (which must have
 * room), and its op finds `grant` in the node. False: it had been claimed otherwise; it is out of the
 * table all the same, and finds no grant. Either way the node may be gone after it. */
CONC__LIB bool conc__claim(conc__bucket *b, conc_node *node, unsigned grant, conc__wakes *w);
/* Claims the first that can be claimed among the nodes of `key` with `tag`. False: none. */
CONC__LIB bool conc__claim_first(conc__bucket *b, const void *key, unsigned tag, unsigned grant, conc__wakes *w);
/* Wakes up to `n` waiters of `key`, taking and leaving the bucket's lock; returns how many. */
CONC__LIB size_t conc__wake_waiters(const void *key, unsigned tag, size_t n);
/* The same, until none is left if n is CONC_ALL, for waiters who have set the bits `kind` in *asleep under the bucket's
 * lock, before they were entered there: the bits are cleared once nobody waits. */
CONC__LIB void conc__wake_asleep(const void *key, uint32_t *asleep, uint32_t kind, size_t n);
#define CONC__ANY_TAG 0xffu
#define CONC__SWEPT 0x80u /* as a grant: one claimed with all others; told to the wait itself, not to the op */

/* Whether the calling thread's token, or a parent, has fired. */
CONC__LIB bool conc__is_canceled(void);

/* The steps of a wait, for the kinds of waiter that make them: a thread, in conc__select(), and a coroutine. */
#define CONC__MAX_OPS 1000
#define CONC__TICKET_CANCEL 0xffffu
CONC__LIB bool conc__op_valid(const conc_op *op);
/* Before the first arm. */
CONC__LIB void conc__ops_begin(conc_op *ops, size_t n);
/* Attempts them all, `first` before the others; the index of the one that completed, or n. */
CONC__LIB size_t conc__attempt_all(conc_op *ops, size_t n, size_t first);
CONC__LIB void conc__abandon_but(conc_op *ops, size_t n, size_t winner);
/* Arms them for `waiter`, whose `claimed` is 0; returns how many are armed: the next one, if it is fewer than n, need not
 * wait. `*until` becomes the earliest of it and the ops' own points in time. */
CONC__LIB size_t conc__arm_all(conc_op *ops, size_t n, conc_waiter *waiter, int64_t *until);
CONC__LIB void conc__disarm_all(conc_op *ops, size_t n);
/* Whether somebody else has claimed the waiter, whose wake therefore comes: an op can claim its own waiter only in its arm(),
 * which then is not armed. */
CONC__LIB bool conc__was_claimed(uint32_t ticket, size_t armed);
/* Enters a node for each token of the chain (at most CONC_CANCEL_DEPTH); false: one has fired. `*count`: how many nodes were
 * entered; conc_waiters_disarm() is for each. */
CONC__LIB bool conc__tokens_arm(conc_cancel *token, conc_node *nodes, size_t *count, conc_waiter *waiter);
/* How long the chain is. */
CONC__LIB size_t conc__tokens_count(const conc_cancel *token);
/* conc_wait()'s answer where the deadline was CONC_NOW and `op` has to wait. */
CONC__LIB conc_result conc__op_busy(const conc_op *op);

/* ---- wait: ops that wait for descriptors ---------------------------------------------------------------
 * Such an op's class has conc__polled_arm() for its arm, and its word says for what it waits: a descriptor; a side of it, 0
 * for reading or 1 for writing; and the socket's number, which no other socket has (0: it is no conc_socket).
 * A thread then sleeps in conc__port_poll(), a coroutine's loop in its poller. All stand in the table under
 * conc__polled_key() as well, so that whoever closes the descriptor can wake them. Where there is a number, the op's
 * object begins with an atomic uint32_t that is not 0 once it is closed. */
#define CONC__POLLED(fd, side, number) ((uint64_t)(number) << 32 | (uint32_t)((uint32_t)(fd) << 1 | (uint32_t)(side)))
#define conc__polled_fd(word) ((intptr_t)((uint32_t)(word) >> 1))
#define conc__polled_side(word) ((unsigned)(word)&1u)
#define conc__polled_number(word) ((uint32_t)((word) >> 32))
#define conc__polled_want(word) (conc__polled_side(word) != 0 ? CONC__PORT_WRITE : CONC__PORT_READ)
/* No object's address: those are multiples of 4, or one more. */
#define conc__polled_key(fd, side) ((const void *)((uintptr_t)(fd)*8u + (uintptr_t)(side)*4u + 3u))
CONC__LIB bool conc__polled_arm(conc_op *op, conc_node *node);
CONC__LIB bool conc__is_polled(const conc_op *op);
/* A number for CONC__POLLED() that no socket has. */
CONC__LIB uint32_t conc__polled_number_new(void);
/* conc_wait() on an op in place; and the same without the token, for waits that may not fail half way. */
CONC__LIB conc_result conc__wait_op(conc_op *op, conc_deadline deadline);
CONC__LIB conc_result conc__wait_uncanceled(conc_op *op, conc_deadline deadline);
/* Either, for locks, which have spun for a while before; later spins are short. */
CONC__LIB conc_result conc__wait_spun(conc_op *op, conc_deadline deadline, bool cancelable);
/* One step of the spin before a sleep: `pauses` times a pause, each twice as long as the one before, then offers of the
 * processor. False: enough. Look after each. Long pauses find soon what comes soon; a contended lock goes faster if those who
 * want it leave its cache line alone, and the processor's offer does that best. */
CONC__LIB bool conc__spin(unsigned step, unsigned pauses);
#define CONC__SPIN_LONG 6
#define CONC__SPIN_SHORT 1

/* ---- thread: the end of the program ----------------------------------------------------------------------
 * `fn` is called at exit(), before it waits for the threads. One place for each user, in this order. */
typedef enum conc__exit_place { CONC__EXIT_POOLS, CONC__EXIT_PROCPOOLS, CONC__EXITS } conc__exit_place;
CONC__LIB void conc__before_exit(conc__exit_place place, void (*fn)(void));
/* `fn` is called at exit(), after it has waited for the threads: the processes. False: the system will not call it. */
CONC__LIB bool conc__after_exit(void (*fn)(void));
/* What exit() does, for a process that does not end by it. */
CONC__LIB void conc__end_program(void);
/* In a process just forked: the calling thread, whatever it was, is its main thread. */
CONC__LIB void conc__thread_begin_anew(void);

/* ---- future: how it is completed, and who waits for what -------------------------------------------------- */

/* The bits of its state. */
#define CONC__BEGUN 1u     /* somebody has claimed it: runs it, or ends it */
#define CONC__ENDED 2u     /* publishes the code, the result and all that the task did */
#define CONC__WAITED 4u    /* somebody may stand in the table */
#define CONC__LOOKED 8u    /* its result has been seen, or a callback will */
#define CONC__NOTED 16u    /* it has notes */
#define CONC__ELSEWHERE 32u /* the pool counts it among what runs outside of its threads */

/* Who is to be called at its end. */
typedef struct conc__note {
    struct conc__note *next;
    void (*fn)(conc_future *f, void *arg); /* f NULL: it goes without having ended; not for those that are */
    void *arg;
    bool allocated;
} conc__note;

typedef struct conc__future_class {
    bool (*help)(conc_future *f);      /* runs it here if it is still to begin and the caller may do that; false: it has not */
    void (*canceled)(conc_future *f);  /* it was claimed, to be canceled, before it began */
    void (*ended)(conc_future *f, uint32_t state); /* it has ended; `state` was its state before. May be NULL */
    conc_result (*cancel)(conc_future *f); /* all of conc_future_cancel(), for one that is claimed from the beginning. Else NULL */
    void (*freed)(conc_future *f);     /* it is about to be freed. May be NULL */
} conc__future_class;

struct conc_future {
    uint32_t state;     /* atomic: the bits above */
    uint32_t users;     /* atomic: references */
    const conc__future_class *cls; /* NULL: a user's own. Constant, as is all up to the token */
    conc_fn fn;
    void *arg;
    conc_pool *pool;
    uint32_t generation;
    bool helped;        /* by every waiter */
    conc_cancel token;  /* fired by conc_future_cancel() */
    int code;           /* written by who has claimed it, published by CONC__ENDED; as are the next two */
    conc_result result;
    char *detail;
    conc__lock lock;    /* guards the next three */
    bool notes_over;    /* all have been called */
    conc__note *notes, **notes_end;
    struct conc__schedule *schedule; /* NULL: it has none. The pool's */
    conc_future *next;  /* in the pool's list of what is due; guarded by the pool's lock */
};

CONC__LIB conc_future *conc__future_new(const conc__future_class *cls, conc_pool *pool, conc_fn fn, void *arg);
/* In memory that is zero, allocated by conc__alloc(), and begins with it. */
CONC__LIB void conc__future_init(conc_future *f, const conc__future_class *cls, conc_pool *pool, conc_fn fn, void *arg);
/* Makes it the caller's to run or to end: true for one caller. */
CONC__LIB bool conc__future_claim(conc_future *f);
/* Ends one that the caller has claimed, and calls whoever waits. The caller has a reference. `detail` is copied; NULL: none. */
CONC__LIB void conc__future_end(conc_future *f, conc_result r, int code, const char *detail);
CONC__LIB bool conc__future_is_ended(const conc_future *f);
/* Enters a note, which lives until it has been called; false: it has ended, and the note has not been and will not be called. */
CONC__LIB bool conc__future_note(conc_future *f, conc__note *note);

/* A task that runs in a thread: on that thread's stack. All constant while it runs. */
typedef struct conc__running {
    const struct conc__running *below; /* the one that the thread was in before */
    const struct conc__running *up;    /* of a job that another thread forked: what that one was in. It stays, as it has to join */
    const void *what;                  /* what has ended when it returns: a future, a team, a job; NULL: nobody can wait for it */
    conc_pool *pool;                   /* whose it is; NULL: the same as before */
} conc__running;
/* The calling thread enters a task, and leaves it. */
CONC__LIB void conc__running_begin(conc__agent *me, conc__running *running, const void *what, conc_pool *pool);
CONC__LIB void conc__running_end(conc__agent *me, const conc__running *running);
/* A thread that sleeps in a task until `awaits` has ended, with no deadline. */
typedef struct conc__blocked {
    struct conc__blocked *next, **link;
    const conc__running *running;
    const void *awaits;
    bool listed; /* the thread's own */
    bool seen;
} conc__blocked;
/* Enters it in the list; false, and it is not: what is awaited waits, in the end, for the caller. `listed` false: only looks. */
CONC__LIB bool conc__blocked_enter(conc__blocked *b, const conc__running *running, const void *awaits, bool listed);
CONC__LIB void conc__blocked_leave(conc__blocked *b);

/* ---- pool ---------------------------------------------------------------------------------------------------- */

#if !defined(CONC__JOBS)
#define CONC__JOBS 2048 /* that one thread can have forked and not joined; below 2^16 */
#endif

/* What is in a pool's queue. */
typedef struct conc__item {
    conc_fn fn;
    void *arg;
} conc__item;

/* A member of a pool: one of its threads, or one that takes part for a while. Its memory stays until the pool's goes. */
typedef struct conc__worker {
    conc_pool *pool;     /* constant */
    struct conc__worker *next; /* among all of the pool; constant once it is there */
    uint32_t number;     /* constant */
    /* The thread's own: */
    uint32_t head;       /* where the next job goes; jobs from `split` on are its alone, */
    uint32_t split;      /* as of `open` */
    uint32_t first;      /* where the deque begins */
    bool forks;          /* it is counted in the pool's `forking`, */
    bool mates;          /* and in its `loose` */
    bool works;          /* a task of it forks: it is counted in the pool's `hands` for that */
    bool guest;          /* it takes part for a while */
    char pad0[CONC__CACHE_LINE];
    uint32_t open;       /* atomic: the jobs that others may take: from the lower half to before the upper half. Publishes them */
    uint32_t asked;      /* atomic: others want more of them. A hint */
    uint32_t fetched;    /* atomic: jobs that others have taken, and read, since the places were last used from 0 on */
    char pad1[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];
    conc_semaphore wake; /* one permit each time it is taken out of a list of sleepers by another */
    /* Guarded by the pool's lock: */
    struct conc__worker *idle_next, **idle_link; /* in a list of sleepers; link NULL: in none */
    bool helps;          /* the list is that of helpers */
    bool used;           /* somebody is it */
    bool comes;          /* it was woken for jobs, and is counted in the pool's `coming` */
    bool handed;         /* `item` has been handed to it: stored before `wake` is released */
    conc__item item;
    size_t completed;    /* atomic: tasks; written by the thread alone */
    char pad2[CONC__CACHE_LINE];
    void *jobs[CONC__JOBS]; /* atomic each; see conc__job_of() */
} conc__worker;

struct conc_pool {
    conc_pool_desc desc;   /* as it was made, defaults filled in; constant */
    char name[24];
    uint32_t generation;
    conc_queue *queue;     /* NULL: there is none */
    conc_queue *spill;     /* NULL: the queue is bounded. Else what finds no room in it, in order, guarded by `spill_lock` */
    conc_cancel token;     /* over all its tasks: fired by conc_pool_close_now() */
    uint32_t core, max;    /* atomic: written under the lock */
    uint32_t phase;        /* atomic: open, closed, closed at once; written under the lock */
    char pad0[CONC__CACHE_LINE];
    uint32_t threads;      /* atomic: written under the lock */
    uint32_t idle;         /* atomic: threads in the list of the idle; written under the lock. See pool.c */
    uint32_t helpers;      /* atomic: in the list of helpers; likewise */
    uint32_t searching;    /* atomic: threads that have no task, and look for one */
    uint32_t due;          /* atomic: the length of the list; written under the lock */
    uint32_t room_asleep;  /* atomic: somebody may wait for room under this address; cleared under its bucket's lock */
    uint32_t coming;       /* atomic: members that were woken for jobs, and have not looked yet */
    uint32_t hands;        /* atomic: members at work on jobs, but for helpers that sleep. Those that take part, threads that have taken a
                              job, and those whose task has forked */
    uint32_t loose;        /* atomic: members that have tasks of groups among their jobs, as far as they know */
    uint32_t processors;   /* constant */
    uint32_t no_more;      /* atomic: the last attempt to start a thread failed. A hint */
    uint32_t forking;      /* atomic: members that have jobs, as far as they know */
    char pad1[CONC__CACHE_LINE];
    size_t accepted;       /* atomic, as are the next four: counters */
    char pad2[CONC__CACHE_LINE];
    size_t canceled, returned, rejected;
    size_t stale;          /* in the queue, or due, and not to be run any more */
    size_t completed;      /* outside of its threads */
    size_t spilled;        /* atomic: how much is in `spill`, and in `front`; written under spill_lock */
    conc__lock spill_lock;
    bool has_front;        /* guarded by it, as is the next */
    conc__item front;      /* the first of the spilled */
    conc__lock lock;       /* guards all that follows */
    conc__worker *idles, *helping;
    void *workers;         /* atomic: all members there have ever been, newest first */
    uint32_t members;
    unsigned largest;
    double keep_alive;     /* seconds */
    size_t elsewhere;      /* what keeps the pool from its end beside its threads: tasks run by others, those who take part */
    size_t scheduled;
    size_t iterators;      /* that are open, made by conc_pool_imap() */
    struct conc__schedule *schedules;
    conc_future *due_first, **due_end;
    conc_event ended;
    uint32_t users;        /* the handle; and who closes it at exit() */
    conc_pool *next, **link; /* in the list of all pools; guarded by that list's lock */
};

/* For conc_dump(): calls visit() for each pool that has not been freed, nor closed by exit(). */
CONC__LIB void conc__pool_each(void (*visit)(conc_pool *pool, void *arg), void *arg);
/* What the fork and join part uses. */
CONC__LIB bool conc__pool_is_forked(const conc_pool *pool);
/* Whether the calling thread takes part in it, or is in the midst of a task of it, perhaps below another pool's. */
CONC__LIB bool conc__pool_is_member(const conc_pool *pool);
CONC__LIB bool conc__pool_is_closed(const conc_pool *pool);
CONC__LIB bool conc__pool_is_stopped(const conc_pool *pool); /* closed at once */
/* Applies the rules: CONC_OK, CONC_FULL, or another result as of conc_pool_run(). */
CONC__LIB conc_result conc__pool_place(conc_pool *pool, const conc__item *item, int priority);
CONC__LIB conc__worker *conc__pool_enter(conc_pool *pool, conc_result *r); /* takes part; NULL: *r says why not */
CONC__LIB void conc__pool_leave(conc__worker *w);
/* An iterator over it has been made, or closed: it is not to be freed meanwhile. */
CONC__LIB void conc__pool_iterated(conc_pool *pool, bool begins);
/* Wakes a member that sleeps: there are jobs. */
CONC__LIB void conc__pool_rouse_for_jobs(conc_pool *pool);
/* The caller may have been woken for jobs, or for what is due, and will not look for them. */
CONC__LIB void conc__pool_pass_on(conc_pool *pool);
/* Whether another member may work on jobs: there is a processor for it; or there are tasks of groups, each of which is to have a thread
 * as long as there is one. */
CONC__LIB bool conc__pool_lets_work(conc_pool *pool);
CONC__LIB void conc__hands_less(conc_pool *pool);
/* Whether any member has nothing to do, or is on its way, and may work. A hint. */
CONC__LIB bool conc__pool_is_hungry(conc_pool *pool);
/* In the list of helpers, and out of it, having taken the permit if another took it out. */
CONC__LIB void conc__pool_helper_in(conc__worker *w);
CONC__LIB void conc__pool_helper_out(conc__worker *w, bool permit_taken);
/* Gives back what a future has for its time; NULL is harmless. */
CONC__LIB void conc__schedule_free(struct conc__schedule *s);
/* Runs a task whose time has come, past the queue; false: there is none. */
CONC__LIB bool conc__due_run(conc_pool *pool);
/* Takes a job of another member, and runs it; false: there is none. */
CONC__LIB bool conc__steal_and_run(conc__worker *w);
/* Whether there are jobs to take, of any member. Sequentially consistent, as the next. */
CONC__LIB bool conc__jobs_are_open(conc_pool *pool);
/* Whether there may be jobs to take; asks for them. */
CONC__LIB bool conc__jobs_wanted(conc__worker *w);
/* Adds one that nobody joins, which is open to others at once; false: there is no room. Runs the newest of the member's own jobs; false:
 * there is none. */
CONC__LIB bool conc__jobs_add_loose(conc__worker *w, conc_job *job);
CONC__LIB bool conc__jobs_run_own(conc__worker *w);
/* Runs what is left of the member's own jobs. */
CONC__LIB void conc__jobs_finish(conc__worker *w); /* and tells of those that should have been joined */
/* Waits for `op`, which completes when `awaits` has ended: as a member of a pool, if the caller is one, running jobs meanwhile. */
CONC__LIB conc_result conc__await(conc_op *op, const void *awaits, conc_deadline deadline);
/* Tasks of the library's own, known by their functions: a team's, and an offloaded call; what is done instead of one that
 * will not run. */
CONC__LIB int conc__team_task(void *team);
CONC__LIB void conc__team_drop(void *team);
CONC__LIB int conc__offload_task(void *job);
CONC__LIB void conc__offload_drop(void *job);

#if defined(CONC_SIM)
/* ---- what a simulation needs of the modules ------------------------------------------------------------
 * Every module's own state made new, as in a forked child; the ids begin anew at `first_id`; returns the next one that
 * would have been given. */
CONC__LIB uint32_t conc__world_new(uint32_t first_id);
/* What conc_debug_name() called the object, or NULL. */
CONC__LIB const char *conc__debug_name_of(const void *object);
/* Whether the registry knows of no thread but the calling one. */
CONC__LIB bool conc__registry_is_alone(void);
/* Ends the service thread of the timers, and gives back its memory, if it runs. */
CONC__LIB void conc__timers_end(void);
/* Ends the threads of conc_op_offload(), if there are any. */
CONC__LIB void conc__offload_end_all(void);
#endif

/* ---- loop: the wheel of its points in time --------------------------------------------------------------
 * See wheel.c. */
#define CONC__WHEEL_LEVELS 8 /* of 6 bits: 48 bits of ticks of 2^16 ns are all there are */
typedef struct conc__wheel_list {
    struct conc__wheel_list *next, *prev;
} conc__wheel_list;
typedef struct conc__wheel_node {
    conc__wheel_list list; /* prev is NULL: in none */
    int64_t due;
} conc__wheel_node;
typedef struct conc__wheel {
    uint64_t now; /* the tick up to which all have been taken out */
    size_t count;
    conc__wheel_list due;
    uint64_t used[CONC__WHEEL_LEVELS]; /* a bit for each slot that may have entries */
    conc__wheel_list slots[CONC__WHEEL_LEVELS][64];
} conc__wheel;
CONC__LIB void conc__wheel_begin(conc__wheel *w, int64_t now);
/* `node` is in no list. */
CONC__LIB void conc__wheel_add(conc__wheel *w, conc__wheel_node *node, int64_t due);
/* If it is in a list. */
CONC__LIB void conc__wheel_remove(conc__wheel *w, conc__wheel_node *node);
/* When to call conc__wheel_expire() next: a time at which something may be due. INT64_MIN: at once; INT64_MAX: never. */
CONC__LIB int64_t conc__wheel_next(conc__wheel *w);
/* Takes out one whose time has come; NULL: there is none. */
CONC__LIB conc__wheel_node *conc__wheel_expire(conc__wheel *w, int64_t now);

/* An address on the calling function's stack. */
#if CONC_CC_GNU
#define conc__stack_here() ((uintptr_t)__builtin_frame_address(0))
#else
static __inline uintptr_t conc__stack_here(void) {
    volatile char here = 0;
    return (uintptr_t)&here + (uintptr_t)here;
}
#endif

/* ---- loop: what its other files use of it ------------------------------------------------------------------ */

/* What is in a loop's inbox beside tasks. */
typedef struct conc__mail {
    struct conc__mail *next;
    void (*deliver)(struct conc__mail *mail, conc_loop *loop); /* in the loop's thread; the mail is its own from here on */
} conc__mail;
CONC__LIB void conc__loop_send(conc_loop *loop, conc__mail *mail);

/* What few tasks have: hangs on a task's first frame. */
typedef struct conc__task_extra {
    const char *name;
    conc_cancel *cancel;
    conc_group *group;
    conc_task *group_next, **group_link; /* the members of its group; guarded by the group's lock */
    int64_t start;
    size_t token_count;
    conc_node tokens[1]; /* one for each token of the chain; armed while it waits */
} conc__task_extra;
CONC__LIB conc__task_extra *conc__task_extra_of(conc_task *task);
/* Next in a list that whoever calls has to itself: a task that was admitted to no list of its loop's. */
CONC__LIB conc_task **conc__task_next(conc_task *task);
CONC__LIB conc_loop *conc__task_loop(const conc_task *task);
/* A task that may run now, or when its start has come: in the loop's thread. */
CONC__LIB void conc__task_begins(conc_task *task);
/* Runs the loop in the calling thread until op completes, if nobody runs it; else just waits. */
CONC__LIB conc_result conc__loop_wait(conc_loop *loop, conc_op op, conc_deadline deadline);
CONC__LIB bool conc__loop_is_forked(const conc_loop *loop);

/* Groups: whether the task may enter (CONC_OK, CONC_CANCELED, CONC_NO_MEMORY); it enters, and does not fail; it may run now
 * (else it has been put aside until there is room); it has ended. */
CONC__LIB conc_result conc__group_check(conc_group *group);
CONC__LIB void conc__group_forgo(conc_group *group); /* after a check: it does not enter after all */
CONC__LIB conc_loop *conc__group_loop(const conc_group *group);
CONC__LIB void conc__group_enter(conc_group *group, conc_task *task);
CONC__LIB bool conc__group_admit(conc_group *group, conc_task *task);
CONC__LIB void conc__group_leave(conc_group *group, conc_task *task, int code);

/* For an op's arm(): queues fn on a copy of the `size` bytes at op->data and turns the op into one that waits for it. */
CONC__LIB bool conc__offload_arm_new(conc_op *op, conc_node *node, conc_fn fn, size_t size,
                                     conc_result (*finish)(void *arg));

/* Who looks whether a loop stands still; see report.c. */
typedef struct conc__stall conc__stall;
CONC__LIB conc__stall *conc__stall_new(conc_loop *loop, double seconds);
CONC__LIB void conc__stall_free(conc__stall *stall);
CONC__LIB size_t conc__loop_turns(const conc_loop *loop);

/* For conc_dump(): calls visit() for every loop, none of which goes meanwhile; a loop's own lines, in its thread, or while it
 * is not running; whether it is, and where it was last seen. */
CONC__LIB void conc__loops_begin(void);
CONC__LIB void conc__loop_each(void (*visit)(conc_loop *loop, void *arg), void *arg);
CONC__LIB void conc__loop_describe(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg);
CONC__LIB bool conc__loop_describe_if_idle(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg);
CONC__LIB bool conc__loop_where(const conc_loop *loop, char *text, size_t size);

/* Calls visit() for each thread that the registry knows, which stays meanwhile, with its record if that can be read. */
CONC__LIB void conc__agent_each(void (*visit)(const conc_thread *t, const conc__agent *agent, void *arg), void *arg);

/* Whether an op is a point in time, conc_op_until() and its family. */
CONC__LIB bool conc__op_is_until(const conc_op *op);

/* For edge-triggered pollers: false: the loop that attempts this op knows that there is nothing; and: an attempt found
 * nothing, or has taken all there was. */
CONC__LIB bool conc__polled_may_be_ready(uint64_t word);
CONC__LIB void conc__polled_drained(uint64_t word);

/* ---- processes: their channels ----------------------------------------------------------------------
 * One end of it; `fd` is its own from here on, also if there is no memory: NULL. */
CONC__LIB conc_channel *conc__channel_new(intptr_t fd, size_t message_max);
/* What was begun to be sent, as far as the system takes it. */
CONC__LIB void conc__channel_flush(conc_channel *c);
/* Gives the handle back: when the last op on it has ended it is closed and freed. NULL is harmless. */
CONC__LIB void conc__channel_free(conc_channel *c);
/* In a child of fork(), of the parent's: closes its descriptor here. */
CONC__LIB void conc__channel_forked(conc_channel *c);
CONC__LIB intptr_t conc__channel_fd(const conc_channel *c);

/* ---- processes: what the process pool uses ---------------------------------------------------------------
 * A descriptor that becomes readable when it has ended; -1: there is none that does not do so earlier. */
CONC__LIB intptr_t conc__process_end_fd(const conc_process *p);
/* In a worker, once it has its shared memory: from now on tasks find neither that nor the channel, whose descriptor is returned. */
CONC__LIB intptr_t conc__process_becomes_worker(void);
/* Whether conc_process_main() has been called; a registered function's number, or 0; the name of a number, or ""; the function of a name,
 * or NULL. */
CONC__LIB bool conc__process_may_spawn(void);
CONC__LIB uint32_t conc__task_number_of(conc_fn fn);
CONC__LIB const char *conc__task_name_of_number(uint32_t number);
CONC__LIB conc_fn conc__task_of_name(const char *name);
/* In a child of fork(): it is not there any more. Its handle stays. */
CONC__LIB void conc__shared_leave(conc_shared *s);
/* The process pool's: what its workers run. */
CONC__LIB int conc__procpool_worker(void *params);
/* For conc_dump(): calls visit() for each pool that has not been freed. */
CONC__LIB void conc__procpool_each(void (*visit)(conc_procpool *pool, void *arg), void *arg);

/* ---- downloads -------------------------------------------------------------------------------------------
 * download.c has the queue and the turns, download_file.c the files, download_curl.c the transfers. */
#if defined(CONC_WITH_CURL)

/* A checksum that is wanted, or being computed. */
typedef enum conc__hash_kind { CONC__HASH_NONE, CONC__HASH_MD5, CONC__HASH_SHA256, CONC__HASH_SHA512 } conc__hash_kind;
typedef struct conc__hash {
    conc__hash_kind kind;
    void *context; /* OpenSSL's */
} conc__hash;
#define CONC__HASH_BYTES 64
#define CONC__URL_MAX 8000u
/* What the text says; `kind` NONE: there is none. CONC_INVALID: it says nothing, or there is nothing here that could compute it. */
CONC__LIB conc_result conc__hash_parse(const char *text, conc__hash_kind *kind, uint8_t bytes[CONC__HASH_BYTES]);
CONC__LIB conc_result conc__hash_begin(conc__hash *h, conc__hash_kind kind);
CONC__LIB conc_result conc__hash_add(conc__hash *h, const void *data, size_t size);
/* Compares; CONC_BROKEN: it is another one. Ends it, as does conc__hash_drop(), which is harmless again. */
CONC__LIB conc_result conc__hash_check(conc__hash *h, const uint8_t bytes[CONC__HASH_BYTES]);
CONC__LIB void conc__hash_drop(conc__hash *h);
CONC__LIB uint64_t conc__bytes_hash(const char *bytes, size_t n); /* FNV-1a: against accidents, for tables */

/* A target's part, while it is written. What is known of the file at the server stands in its note as well. */
#define CONC__PIECES 64
typedef struct conc__piece { /* [at, end) is still to come */
    uint64_t at, end;
} conc__piece;
typedef struct conc__dl_file {
    conc__port_part part;  /* fd -1: not open */
    const char *target;    /* the caller's */
    char *name, *note;     /* of the part, and of its note; allocated together, at `name` */
    bool is_noted;         /* the note is there; and */
    bool is_note_right;    /* says what follows */
    uint64_t kept;         /* so many bytes from the beginning on are there; with pieces: but for these */
    bool has_length;
    uint64_t length;       /* of the whole */
    char etag[256];        /* strong; "": none */
    char date[64];         /* Last-Modified, if it is good enough; "": none */
    unsigned piece_count;  /* segments; 0: all in one */
    conc__piece pieces[CONC__PIECES];
} conc__dl_file;
/* Opens it, or makes it. `file->kept`: how much of it can be gone on with, as its note says. Without a note of this `url` it is
 * empty. If the note is there and cannot be read just now, that is an error, and all stays as it is. */
CONC__LIB conc_result conc__dl_file_open(conc__dl_file *file, const char *target, const char *url);
CONC__LIB conc_result conc__dl_file_write(conc__dl_file *file, const void *data, size_t size, uint64_t offset);
/* Begins anew: empty, and nothing known. */
CONC__LIB conc_result conc__dl_file_restart(conc__dl_file *file);
/* Has so many bytes of it, and no more. */
CONC__LIB conc_result conc__dl_file_cut(conc__dl_file *file, uint64_t size);
/* Looks whether there is room for its length, which is what a server says; and has the system keep it, if as much stays free. */
CONC__LIB conc_result conc__dl_file_reserve(conc__dl_file *file);
/* Writes the note. */
CONC__LIB conc_result conc__dl_file_note(conc__dl_file *file, const char *url);
/* Closes it: `keep`, with a note; else, or if that cannot be written, both are removed. Whether it is kept. Harmless if it is not
 * open. */
CONC__LIB bool conc__dl_file_close(conc__dl_file *file, const char *url, bool keep);
/* It is whole: gives it its name, and closes it. */
CONC__LIB conc_result conc__dl_file_publish(conc__dl_file *file, unsigned mode, bool sync);

typedef struct conc__download conc__download;
typedef struct conc__dl_worker conc__dl_worker;

typedef struct conc__dl_list {
    conc__download *first, *last;
    size_t count;
} conc__dl_list;

typedef struct conc__dl_host {
    struct conc__dl_host *chain;        /* in the table */
    struct conc__dl_host *next, *prev;  /* in the ring of those for which something is queued; next NULL: it is not in it */
    conc__dl_list queue;                /* the most urgent first */
    unsigned running;
    int64_t closed_until;               /* it has asked to be left alone until then */
    char name[1];                       /* "example.org:443"; longer */
} conc__dl_host;

enum { CONC__DL_QUEUED, CONC__DL_PAUSED, CONC__DL_RUNS, CONC__DL_OVER, CONC__DL_TOLD };

/* One item, from conc_downloader_add() until its future is gone. */
struct conc__download {
    conc_future future;            /* first: freed by it */
    conc_downloader *d;            /* one of its users */
    conc_download_item *item;      /* behind this struct; or conc_download_all()'s. Its record is written by who has it at the moment */
    bool is_lent;                  /* the latter */
    conc__hash_kind hash;
    uint8_t digest[CONC__HASH_BYTES];
    conc__dl_host *host;           /* NULL: its URL has none */
    struct conc__download *same;   /* in the table of targets */
    int64_t began;                 /* its first turn; 0: not yet */
    int64_t waits_since;           /* for its turn */
    unsigned fruitless;            /* attempts in a row that have brought nothing */
    unsigned lost;                 /* those after which what had come was of no use: they count for ever */
    bool in_one;                   /* pieces of it were not of one file: no more of them */
    bool starts_over;              /* it has been begun anew for a reason for which that is done once */
    /* Guarded by the session's lock: */
    conc__download *next, *prev;   /* in the list `list` */
    conc__dl_list *list;
    uint8_t state;
    bool ended;                    /* so has the future, by a cancel in the queue */
    bool is_target;                /* it stands in the table of targets */
    bool abort;                    /* its future is canceled */
    bool counted;                  /* its size is in the session's sum */
    conc__dl_worker *worker;       /* who has it; NULL: nobody */
    int64_t due;                   /* PAUSED: its next turn */
    uint64_t bytes, size;          /* for progress */
    uint64_t speed_bytes;          /* at the last look; */
    double speed;
};

/* What a loop's tasks do for a session. */
struct conc__dl_worker {
    conc_downloader *d;
    conc__dl_worker *next;
    unsigned number;
    unsigned slots;           /* downloads at a time; */
    unsigned room;            /* and transfers: one fetched in segments has several */
    conc_loop *loop;
    bool owns_loop;
    bool retires;             /* ends at once */
    conc_thread *thread;      /* whose loop it is; NULL: another's */
    uint32_t stirred;         /* atomic: look again. Waited for under this address */
    bool idle;                /* guarded by the session's lock: it has room, and has found nothing to do */
    bool refused;             /* likewise: it has segments for which there was no room */
    void *engine;             /* download_curl.c's */
};

struct conc_downloader {
    conc_download_desc desc;  /* the defaults filled in, the strings copied. Constant, as is all up to the lock */
    char *strings;
    const char **headers;
    unsigned mode;
    uint32_t generation;
    conc_pool *pool;          /* CONC_DOWNLOAD_THREADS */
    uint32_t users;           /* atomic: the handle, its downloads, its workers */
    uint32_t alarms;          /* atomic: counts the reasons to look whether what runs is to end */
    uint32_t ended;           /* atomic: closed, all have ended, and so have the workers. Waited for under this address */
    conc_mutex telling;       /* held while the caller's functions are called; guards `progress`, `scratch` and the next few */
    conc_download_active *active;
    size_t active_room;
    uint64_t scratch[16];
    int64_t speed_at;         /* the last look */
    uint64_t speed_bytes;
    double speed;
    conc__lock lock;          /* guards all that follows, and what downloads, hosts and workers say it guards */
    bool closed;
    conc_result stopped;      /* CONC_OK: it goes on; CONC_CANCELED, CONC_TIMEOUT: all that has not ended ends so */
    unsigned workers_alive;
    conc__dl_worker *workers; /* also those that have ended */
    unsigned worker_count;
    conc__dl_host **hosts;    /* a table by name; a power of two, or 0 */
    size_t host_room, host_count;
    conc__dl_host *ring;      /* whose turn is next */
    conc__download **targets; /* a table by path of all that have not ended */
    size_t target_room, target_count;
    conc__dl_list paused;     /* by time */
    conc__dl_list running;    /* in the order of their turns */
    conc__dl_list over;       /* to be told */
    conc__dl_list told;       /* for conc_downloader_results() */
    size_t extra;             /* transfers of segments, beside one for each that runs */
    size_t aborts;            /* paused ones that are canceled */
    size_t items, outstanding, good, bad;
    uint64_t bytes;           /* of all that have ended; */
    uint64_t size;            /* of all whose length is known */
    size_t sized;             /* so many are these */
    int64_t first_at;         /* 0: none has come */
    int64_t spent_until;      /* the bandwidth is */
    int64_t tick_at;          /* when to call `progress` next */
};

/* ---- what the engine asks of the session ---- */
/* The next download for a worker with room, which it has then, or NULL: there is none; `*until` is when to ask again, if nobody
 * stirs. */
CONC__LIB conc__download *conc__dl_take(conc__dl_worker *w, int64_t *until);
/* It is not with the worker any more: its next turn is at `due` (at the earliest); or it has ended, as its record says. */
CONC__LIB void conc__dl_pause(conc__download *dl, int64_t due);
CONC__LIB void conc__dl_over(conc__download *dl, conc_result r, const char *text);
/* The whole host is left alone until then. */
CONC__LIB void conc__dl_host_close(conc__download *dl, int64_t until);
/* One more has begun. */
CONC__LIB void conc__dl_attempt(conc__download *dl);
/* Bytes have come; `at` of the file are there now. */
CONC__LIB void conc__dl_progress(conc__download *dl, uint64_t at, uint64_t size);
/* Tells the callers of what has ended, and of progress; ends what is to be stopped and has no worker. */
CONC__LIB void conc__dl_tell(conc__dl_worker *w, int64_t *until);
/* One transfer more for a download that runs; false: not now. And back. */
CONC__LIB bool conc__dl_take_extra(conc__download *dl);
CONC__LIB void conc__dl_give_extra(conc__download *dl);
/* A random number's next; the pause after so many attempts in vain, in seconds. */
CONC__LIB uint32_t conc__dl_random(uint32_t *state);
CONC__LIB double conc__dl_backoff(const conc_download_desc *desc, unsigned fruitless, uint32_t *random);
/* Takes n bytes of the bandwidth: 0; or, and nothing was taken, the time at which there is some again. */
CONC__LIB int64_t conc__dl_spend(conc_downloader *d, size_t n, int64_t now);
/* Whether the download has to end now: CONC_OK, or what it ends with. */
CONC__LIB conc_result conc__dl_stopped(conc__download *dl);
/* Whether the first `size` bytes of an open file have the download's checksum: CONC_OK, CONC_BROKEN. Blocks for as long as that
 * takes, or until the download has to end: that result. */
CONC__LIB conc_result conc__hash_file(intptr_t fd, uint64_t size, conc__download *dl);
/* Whether nothing is left to be done, nor will come. The worker that has heard so says at its end that it has ended, and then touches neither
 * itself nor the session. */
CONC__LIB bool conc__dl_is_over(conc__dl_worker *w);
CONC__LIB void conc__dl_worker_ends(conc__dl_worker *w);
CONC__LIB void conc__dl_stir(conc__dl_worker *w);
CONC__LIB conc_op conc__op_stirred(conc__dl_worker *w);
/* A URL without what it says of a user: the length of its scheme and "://", and where its host begins. */
CONC__LIB size_t conc__url_bare(const char *url, const char **host);
/* It, so, cut if it is too long: for people. Returns `text`. */
CONC__LIB const char *conc__url_shown(const char *url, char *text, size_t size);
/* "host:port" of a URL, in small letters, into `name`; and whether it is https. CONC_INVALID, CONC_REJECTED (another scheme). */
CONC__LIB conc_result conc__url_host(const char *url, char *name, size_t size, bool *is_https);

/* ---- what the session asks of the engine ---- */
CONC__LIB conc_result conc__curl_begin(void); /* once for all */
/* Starts the worker's tasks in its loop; they end when conc__dl_is_over(). */
CONC__LIB conc_result conc__dl_engine_start(conc__dl_worker *w);
CONC__LIB void conc__dl_engine_free(conc__dl_worker *w); /* after their end, or if they did not start */
/* The same with processes (download_process.c). */
CONC__LIB conc_result conc__dl_crew_start(conc__dl_worker *w);
CONC__LIB void conc__dl_crew_free(conc__dl_worker *w);
CONC__LIB void conc__dl_register(void); /* by conc_process_main(): the task that is spawned */

#endif

/* ---- sync: what debug mode follows ------------------------------------------------------------------ */
#if defined(CONC_DEBUG)
CONC__LIB void conc__debug_locking(const void *lock, const char *file, int line); /* before it waits */
CONC__LIB void conc__debug_locked(const void *lock, const char *file, int line);
CONC__LIB void conc__debug_unlocked(const void *lock);
CONC__LIB void conc__debug_destroyed(const void *lock);
CONC__LIB void conc__debug_misuse(const void *lock, conc_result r, const char *text, const char *file, int line);
#endif

#endif
