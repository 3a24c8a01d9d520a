/* ============================================================================================
 * internal: what the modules share and users never see. In the order of the floors.
 * ========================================================================================== */

#ifndef CONC__INTERNAL_H
#define CONC__INTERNAL_H

#include "port.h"
#include "port_sim.h"
#include "frame.h"
#include "queue.h"
#include "thread.h"

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
 * Who acts: the record of the calling thread. A coroutine that runs will put its own identity here. */

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
    CONC__RESET_DEBUG,
    CONC__RESETS
} conc__reset_place;
CONC__LIB void conc__on_fork(conc__reset_place place, void (*reset)(void));
/* Each module's own call of it. */
CONC__LIB void conc__table_begin(void);
CONC__LIB void conc__registry_begin(void);
CONC__LIB void conc__timers_begin(void);
#if defined(CONC_DEBUG) || defined(CONC_SIM)
CONC__LIB void conc__debug_begin(void);
#endif

/* Whether `owner`, found in a lock, was a thread of the process that forked this one, and is not here. Ids are never
 * used twice, so that of the thread that forked is the only one from before that still is somebody's. */
CONC__LIB bool conc__is_gone(uint32_t owner);
/* How many forks lie between the first process and this one. */
CONC__LIB uint32_t conc__fork_generation(void);

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
 * One per wait, on the waiting thread's stack (later: in a coroutine's frame). */
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
#define CONC__ANY_TAG 0xffu
#define CONC__SWEPT 0x80u /* as a grant: one claimed with all others; told to the wait itself, not to the op */

/* Whether the calling thread's token, or a parent, has fired. */
CONC__LIB bool conc__is_canceled(void);
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
