/* ============================================================================================
 * procpool_ring: what a process pool's parent and one of its workers share, and how they speak. Private.
 *
 * One block of memory for each worker: a page of words, a ring of slots, a ring of bytes for replies, and an area for
 * arguments.
 *
 * TASKS. The parent fills the next slot, and stores `posted`, one more. The worker takes the slots in their order. It
 * claims one by changing its state from POSTED to BEGUN, does what it says, writes what came of it into the slot, and
 * stores `done`, one more. So a slot and the argument's bytes belong to the parent until `posted` counts them, then
 * to the worker, until `done` counts them: each of the two words publishes what was written before it (release,
 * acquire). The bytes are in the slot itself, if they fit, or in the area, or in the pool's buffers; the function
 * works on them where they are.
 *    The parent may take a slot back, by changing POSTED to RETRACTED: one of the two changes succeeds. The worker
 * then passes over it. So at any time, and above all when a worker has died, the state says exactly what had begun:
 * BEGUN, and not counted by `done`.
 *    With HALT the parent stops a worker, within a slot of many items, before it begins the next one: it stores HALT
 * and then reads `begun`; the worker stores `begun` and then reads the state (both sequentially consistent): one of
 * them sees the other's.
 *
 * REPLIES. A stream of bytes from the worker to the parent: `replied` counts what has been written, `room` what has
 * been taken. What a slot says of its length is written before `done` counts the slot.
 *
 * SLEEP. Who finds nothing looks for a while, and then sleeps until a byte comes through the channel. The worker
 * stores `asleep`, and then looks at `posted` and `stop` once more; the parent stores one of these, and then reads
 * `asleep`. It is the same with `blocked` and `room`; and, the other way round, with `wants`, which the parent stores
 * before it reads `done` and `replied`, and sleeps. All of these are sequentially consistent, so that of each two one
 * sees the other; whoever sees it takes the flag away and sends one byte.
 *
 * TRUST. The worker trusts the parent. The parent reads nothing but `done`, `replied`, the state and the results; it
 * checks all counts and lengths, and keeps everything else, the arguments too, for itself as well: a worker may have
 * written anywhere.
 * ========================================================================================== */

#ifndef CONC__PROCPOOL_RING_H
#define CONC__PROCPOOL_RING_H

#include "internal.h"
#include "procpool.h"

#if !defined(CONC__PP_SLOTS)
#define CONC__PP_SLOTS 256u      /* a power of 2 */
#endif
#if !defined(CONC__PP_REPLY)
#define CONC__PP_REPLY 262144u   /* bytes of the ring for replies; a power of 2 */
#endif
#if !defined(CONC__PP_AREA)
#define CONC__PP_AREA ((size_t)8 << 20) /* bytes for arguments, at first. (What is not used takes no memory) */
#endif
#define CONC__PP_INLINE 64u
#define CONC__PP_RETRY_NS 5000000 /* after what fails only when the system is short of something, we try again */
#define CONC__PP_LOOKS_NS 50000  /* how long who finds nothing looks before it sleeps */

enum { CONC__PP_POSTED = 1, CONC__PP_BEGUN, CONC__PP_RETRACTED, CONC__PP_HALT };
enum { CONC__PP_IN_SLOT, CONC__PP_IN_AREA, CONC__PP_IN_BUFFER, CONC__PP_REPLIES = 4, CONC__PP_TIMED = 8 };

typedef struct conc__pp_slot {
    uint32_t state;  /* atomic: see above */
    uint32_t count;  /* items of a map; 0: it is a task */
    uint64_t fn;     /* where the function is, if the worker was forked; else the place of its name */
    uint64_t size;   /* of the bytes */
    uint64_t at;     /* where they are, from the beginning of what the next one says */
    uint32_t place;  /* and, as bits, whether it may reply, and has a time limit */
    /* The worker's: */
    uint32_t begun;  /* atomic: items that have begun */
    uint32_t done;   /* items that have returned */
    int32_t code;    /* the first that was not 0, */
    uint32_t failed; /* of which item, counted from 1; 0: none */
    uint32_t text;   /* how long its sentence is, which is last in the stream of replies */
    uint64_t reply;  /* how much it has replied */
    char bytes[CONC__PP_INLINE];
} conc__pp_slot;

typedef struct conc__pp_words {
    uint32_t posted; /* atomic, as are all of these. The parent's: */
    uint32_t stop;   /* 1: nothing more will be posted: end when all is done */
    uint32_t room;
    char pad0[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];
    uint32_t wants;  /* the parent sleeps; both take it away */
    char pad1[CONC__CACHE_LINE - sizeof(uint32_t)];
    /* The worker's: */
    uint32_t done;
    uint32_t replied;
    uint32_t ready;  /* 1: its initialiser has returned 0; 2: it has not, see `text` */
    uint32_t since;  /* the clock, in milliseconds, when the last item began, if it has a limit */
    char pad2[CONC__CACHE_LINE - 4 * sizeof(uint32_t)];
    uint32_t asleep, blocked; /* both take them away */
    char pad3[CONC__CACHE_LINE - 2 * sizeof(uint32_t)];
    char text[240];
} conc__pp_words;

#define CONC__PP_SLOTS_AT 4096u
/* of functions; each is there before it is used */
#define CONC__PP_NAMES_AT (CONC__PP_SLOTS_AT + CONC__PP_SLOTS * sizeof(conc__pp_slot))
#define CONC__PP_NAMES 512u
#define CONC__PP_REPLY_AT (CONC__PP_NAMES_AT + CONC__PP_NAMES * 64u)
#define CONC__PP_AREA_AT (CONC__PP_REPLY_AT + CONC__PP_REPLY)

/* What a worker is started with; the initialiser's bytes follow. */
typedef struct conc__pp_params {
    uint32_t number, forked;
    uint64_t initialize, init_size, memory_limit, reply_max;
} conc__pp_params;
#define CONC__PP_PARAMS ((sizeof(conc__pp_params) + 15u) / 16u * 16u)

/* What the bytes of a map's slot begin with; then come `arg`, the items that go in, and those that come out. */
typedef struct conc__pp_map_head {
    uint64_t arg_size, in_size, out_size, pad;
} conc__pp_map_head;
typedef struct conc__pp_map_places {
    size_t arg, in, out, end;
} conc__pp_map_places;

static inline size_t conc__pp_align(size_t n, size_t to) {
    return (n + (to - 1)) / to * to;
}

static inline conc__pp_map_places conc__pp_map_place(uint64_t arg_size, uint64_t in_size, uint64_t out_size, uint32_t count) {
    conc__pp_map_places p;
    p.arg = sizeof(conc__pp_map_head);
    p.in = conc__pp_align(p.arg + (size_t)arg_size, 16);
    p.out = conc__pp_align(p.in + (size_t)in_size * count, 16);
    p.end = p.out + (size_t)out_size * count;
    return p;
}

/* ---- the parent's side: what procpool.c and procpool_map.c share ------------------------------------------ */

/* What a task has replied, and its text, as it came. */
typedef struct conc__pp_stream {
    char *data;
    size_t size, room, reply; /* `reply` of it are the reply, once it has ended */
    bool no_memory;           /* there was none for all of it */
} conc__pp_stream;

/* What a pool has to do: a task; or some items of a map. Guarded by the pool's lock until it has ended. (There may be
 * very many.) */
typedef struct conc__pp_item {
    conc_procpool *pool;
    char *text;                         /* its own; NULL: none */
    conc__pp_stream *stream;            /* NULL: it has said nothing */
    struct conc__pp_item *next, **link; /* in the pool's queue (link NULL: it is not), or among those that have ended */
    struct conc__pp_worker *worker;     /* in whose ring it is, under which number; NULL: in none */
    uint32_t number;
    uint32_t count;                     /* items of a map that are left; 0: it is a task */
    uint64_t order;                     /* in which it was accepted */
    uint64_t fn;                        /* as in conc__pp_slot */
    void *arg;                          /* a task's */
    size_t size;
    int64_t limit;                      /* nanoseconds that it, or one item of it, may run; 0: for ever */
    const struct conc__pp_map *map;     /* NULL: a task. Else it is part of a conc__pp_some */
    bool back;                          /* the bytes come back to `arg` */
    bool owned;                         /* `arg` is to be freed */
    bool has_future;                    /* it is part of a conc__pp_future */
    signed char reason;                 /* what it ends with if its worker is killed for its sake; CONC_OK: it is not */
    int code;
    conc_result result;                 /* how it, or the first of it that failed, has ended */
} conc__pp_item;

/* Some items of a map. */
typedef struct conc__pp_some {
    conc__pp_item item;                 /* first */
    const char *in;                     /* the first that is left */
    char *out;
    size_t first, failed;               /* its index among all of the map, and that of the first that has failed */
} conc__pp_some;

/* What is the same for all items of a map. */
typedef struct conc__pp_map {
    const void *arg;
    size_t arg_size, in_size, out_size;
    bool stops;                         /* the rest of a conc__pp_item is not begun if one of its items fails */
    void (*ended)(conc__pp_item *item); /* called once for each, with no lock held */
} conc__pp_map;

/* What begins most calls. */
CONC__LIB conc_result conc__procpool_wrong(const conc_procpool *pool, const char *call);
/* The number of a map's function in a pool's workers; 0, with the error recorded: there is none. */
CONC__LIB uint64_t conc__procpool_function(const conc_procpool *pool, conc_fn fn, const char *call);
/* Hands in those that are linked by `next`, whatever the pool's capacity. CONC_OK: each will end; CONC_CLOSED: none
 * has begun. `more`: of a map that has others, which have not ended: always CONC_OK. */
CONC__LIB conc_result conc__procpool_add(conc_procpool *pool, conc__pp_item *first, bool more);
/* Ends one, or all of a map that have not ended: what has not begun ends with CONC_CANCELED; with `kill`, what runs
 * is killed. */
CONC__LIB void conc__procpool_cancel(conc_procpool *pool, conc__pp_item *const *items, size_t n, bool kill);
/* For who waits for something of the pool: does what there is to do; false: nothing. And looks for a while, until
 * `over` says that it may stop: true. */
CONC__LIB bool conc__procpool_visit(conc_procpool *pool);
CONC__LIB bool conc__procpool_watch(conc_procpool *pool, bool (*over)(void *arg), void *arg);
CONC__LIB int64_t conc__procpool_limit(const conc_procpool *pool); /* the time limit, in nanoseconds; 0: none */
CONC__LIB unsigned conc__procpool_width(const conc_procpool *pool);
CONC__LIB void conc__procpool_iterated(conc_procpool *pool, bool begins);
CONC__LIB bool conc__procpool_is_forked(const conc_procpool *pool);
CONC__LIB void conc__pp_item_clear(conc__pp_item *item); /* frees its text and its stream */

#endif
