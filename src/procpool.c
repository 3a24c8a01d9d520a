/* ============================================================================================
 * procpool: see procpool.h; how a worker and its parent speak is in procpool_ring.h. This is the parent's side.
 *
 * ONE LOCK guards all of a pool, here; nothing is locked between processes. Under it tasks go into a worker's ring,
 * or into the queue if there is no room in any, and results are taken out of the rings. What a task has to be told
 * (its future's end, its callbacks) is collected in a list and done after the lock.
 *
 * WHO TAKES RESULTS. Whoever comes by: a thread that waits for a future (it looks for some 50 microseconds before it
 * sleeps, so that short tasks cost no sleep and no wake), one that hands in when rings are half full, and the pool's
 * own thread, the keeper. That sleeps in a poller, which tells of workers that ring and of workers that end. Before
 * it sleeps it asks all to ring (`wants`), and looks once more. But while others take the results, it only naps for
 * some hundred microseconds at a time, and nobody rings for it. A thread that has looked in vain and goes to sleep
 * ends that nap.
 *
 * A WORKER'S END. The keeper reaps it, takes what it had published, and finds the slot that it was in. That one task
 * is lost. The others in its ring were kept here, too, and go back to the head of the queue. Before a worker is
 * killed for a task's sake, all others are taken back from it, and a map's further items are halted: so no other task
 * can begin in it meanwhile, and be lost.
 *
 * ORDER. Tasks go to the worker that has the fewest, if possible one that is ready. One that has nothing while others
 * have tasks that have not begun gets half of those.
 * ========================================================================================== */

#include "procpool_ring.h"

#include <stdio.h>

enum { CONC__PP_OPEN, CONC__PP_CLOSED };

#define CONC__PP_AREA_SOFT ((size_t)262144) /* of the area, as long as that is enough: it stays in the caches */
#define CONC__PP_NAP_NS 200000
#if !defined(CONC__PP_PATROL_NS)
#define CONC__PP_PATROL_NS 1000000000 /* between looks after who has a task and has not been heard of */
#endif
#define CONC__PP_GRACE 5.0            /* seconds that a worker has to end when it has been stopped */
#if !defined(CONC__PP_PATIENCE)
#define CONC__PP_PATIENCE 0.01 /* after the first of them; each time twice as long */
#endif
#define CONC__PP_TRIES 8 /* workers that die before they are ready, one after the other */

typedef struct conc__pp_worker {
    conc_process *process; /* NULL: there is none now, and all below but the last three means nothing */
    conc__pp_params *params;
    conc_shared *shared;
    conc__pp_words *words;
    conc__pp_slot *slots;
    char *names, *replies, *area;
    /* Bytes in use are from begin to end, perhaps around, if in_area is not 0. */
    size_t area_size, soft, begin, end, in_area;
    intptr_t channel, end_fd;
    uint32_t posted, taken, replied;
    uint32_t held;    /* tasks in its ring */
    size_t given;     /* tasks in its life */
    bool rang, ended; /* the poller has told so; `ended`: its end of the channel is closed, or it is no more */
    bool ready;       /* its initialiser is known to have returned 0 */
    bool condemned;   /* it is being killed */
    bool broken;      /* what it shares is not what it should be */
    bool stopping;    /* it has been told to end */
    bool grows;       /* it is to be replaced by one with a larger area, once it has nothing to do */
    bool progress;    /* it has begun something */
    bool owed;        /* it could not be rung for */
    bool blind;       /* the poller does not look after it */
    conc_deadline stop_due;
    int64_t patrol_at; /* when it is looked for; INT64_MAX: it had no task when we looked */
    conc__pp_item *items[CONC__PP_SLOTS]; /* of each slot; NULL: taken back */
    size_t ends_at[CONC__PP_SLOTS];       /* of its bytes in the area; 0: none */
    unsigned number;                      /* constant */
    conc_deadline start_at;               /* when there is none: when there may be one; */
    size_t next_area;                     /* and with how large an area */
} conc__pp_worker;

typedef struct conc__pp_range {
    size_t begin, size;
} conc__pp_range;

struct conc_procpool {
    conc_procpool_desc desc; /* constant, as all up to the lock */
    char name[24];
    void *init;
    uint32_t generation;
    unsigned count;
    bool forks;
    conc_shared *buffers;
    conc_thread *keeper;
    uint32_t refs;      /* atomic: the handle, and each future */
    uint32_t keeper_is; /* atomic: the keeper's owner; 0: it has not begun */
    conc__port_poller poller;
    conc_event ended;
    conc_waiters room; /* who waits for it */
    conc__lock lock;   /* guards all below */
    int phase;
    bool discards; /* what has not begun, will not */
    bool exiting;  /* no worker is started any more */
    bool gave_up;
    bool napping; /* the keeper is */
    bool room_wanted;
    conc__pp_item *first, **last;
    size_t queued;                /* tasks in the queue */
    size_t outstanding;           /* tasks that have not ended */
    size_t unfinished;            /* conc__pp_items that have not ended, or whose end has not been told */
    uint32_t visits, visits_seen; /* by others than the keeper, with a result; those that it knows of */
    int64_t look_at;              /* when the keeper will look by itself */
    unsigned failures;    /* workers that died before they were ready or could not be started, since one was ready */
    conc__pp_item *spare; /* to be used again */
    size_t spares;
    conc__pp_range *ranges; /* of buffers that are given out, by their place */
    size_t range_count, range_room;
    size_t iterators;
    conc_procpool_stats stats;   /* all but the first three */
    char why[300];               /* it gave up */
    conc_procpool *next, **link; /* in the list of all pools; guarded by that list's lock */
    conc__pp_worker workers[1];
};

typedef struct conc__pp_future {
    conc_future future;
    conc__pp_item item;
} conc__pp_future;

/* One without a future. */
typedef struct conc__pp_run {
    conc__pp_item item; /* first */
    char bytes[CONC__PP_INLINE];
} conc__pp_run;

static conc__pp_some *conc__pp_some_of(conc__pp_item *item) {
    return (conc__pp_some *)(void *)item;
}

/* Those that have ended, to be told after the lock. */
typedef struct conc__pp_ended {
    conc_procpool *pool;
    conc__pp_item *first, **last;
    bool room;                    /* there is some */
    size_t told;                  /* so far; */
    conc__pp_item *spares;        /* those to be used again */
    struct conc__pp_ended *outer; /* what the same thread was telling when a callback brought it here */
} conc__pp_ended;

/* ---- the list of pools --------------------------------------------------------------------------------- */

static conc__lock conc__procpools_lock; /* guards the list */
static conc_procpool *conc__procpools;

/* In a child of fork(). The rings are the parent's and its workers' alone. */
static void conc__procpools_reset(void) {
    conc_procpool *pool;
    unsigned i;
    for (pool = conc__procpools; pool != NULL; pool = pool->next) {
        for (i = 0; i < pool->count; i++) {
            if (pool->workers[i].shared != NULL) conc__shared_leave(pool->workers[i].shared);
        }
#if !CONC__POLLER_KQUEUE /* which a child does not have */
        conc__port_poller_close(&pool->poller);
#endif
    }
    conc__procpools_lock = 0;
    conc__procpools = NULL;
}

void conc__procpool_each(void (*visit)(conc_procpool *pool, void *arg), void *arg) {
    conc_procpool *pool;
    conc__lock_take(&conc__procpools_lock);
    for (pool = conc__procpools; pool != NULL; pool = pool->next) visit(pool, arg);
    conc__lock_give(&conc__procpools_lock);
}

static void conc__pp_leave_list(conc_procpool *pool) {
    conc__lock_take(&conc__procpools_lock);
    if (pool->link != NULL) {
        *pool->link = pool->next;
        if (pool->next != NULL) pool->next->link = pool->link;
    }
    conc__lock_give(&conc__procpools_lock);
}

bool conc__procpool_is_forked(const conc_procpool *pool) {
    return pool->generation != conc__fork_generation();
}

conc_result conc__procpool_wrong(const conc_procpool *pool, const char *call) {
    if (pool == NULL) return conc__fail(CONC_INVALID, "%s: no pool", call);
    if (conc__procpool_is_forked(pool))
        return conc__fail(CONC_FORKED, "%s: the pool's workers are another process's", call);
    return CONC_OK;
}

static void conc__pp_unuse(conc_procpool *pool) {
    conc__pp_item *item;
    if (conc__sub32(&pool->refs, 1, CONC__ACQ_REL) != 1) return;
    while ((item = pool->spare) != NULL) {
        pool->spare = item->next;
        conc__free(item);
    }
    conc__free(pool->ranges);
    conc__free(pool->init);
    conc__free(pool);
}

/* ---- items that have ended: with the lock held, but for the telling ------------------------------------ */

static uint32_t conc__pp_weight(const conc__pp_item *item) {
    return item->count != 0 ? item->count : 1;
}

void conc__pp_item_clear(conc__pp_item *item) {
    conc__free(item->text);
    if (item->stream != NULL) conc__free(item->stream->data);
    conc__free(item->stream);
}

static void conc__pp_end(conc_procpool *pool, conc__pp_ended *list, conc__pp_item *item) {
    pool->outstanding -= item->map == NULL;
    list->room = list->room || pool->room_wanted;
    pool->room_wanted = false;
    item->next = NULL;
    *list->last = item;
    list->last = &item->next;
}

static void conc__pp_ended_begin(conc__pp_ended *list) {
    memset(list, 0, sizeof *list);
    list->last = &list->first;
}

static char *conc__pp_copy_text(const char *text, size_t n) {
    char *copy = (char *)conc__alloc(n + 1, 1, "a task's sentence"); /* without it there are fewer words */
    if (copy != NULL) memcpy(copy, text, n);
    return copy;
}

/* It, or what is left of it, has not begun and never will. */
static void conc__pp_drop(conc_procpool *pool, conc__pp_ended *list, conc__pp_item *item, conc_result r) {
    uint32_t n = conc__pp_weight(item);
    if (r == CONC_CRASHED) {
        pool->stats.lost += n;
    } else {
        pool->stats.canceled += n;
    }
    if (item->result == CONC_OK) {
        item->result = r;
        if (r == CONC_CRASHED) item->text = conc__pp_copy_text(pool->why, strlen(pool->why));
        if (item->map != NULL) conc__pp_some_of(item)->failed = conc__pp_some_of(item)->first;
    }
    conc__pp_end(pool, list, item);
}

static void conc__pp_poke(conc_procpool *pool) {
    conc__port_poller_signal(&pool->poller);
}

static void conc__pp_report(conc_procpool *pool, const conc__pp_item *item) {
    if (item->result == CONC_OK || item->result == CONC_CANCELED) return;
    conc__report(item->result, item->code, pool->name, "%s, and nobody waits for it",
                 item->text != NULL ? item->text : conc_strerror(item->result));
}

/* The ends of `n` have been told; the pool's may come with the last. (The poke within the lock: the poller is there
 * until then.) */
static void conc__pp_told(conc_procpool *pool, size_t n, conc__pp_item *spares) {
    conc__lock_take(&pool->lock);
    pool->unfinished -= n;
    if (pool->unfinished == 0 && pool->phase != CONC__PP_OPEN) conc__pp_poke(pool);
    while (spares != NULL) {
        conc__pp_item *item = spares;
        spares = item->next;
        if (pool->spares < 1024) {
            item->next = pool->spare;
            pool->spare = item;
            pool->spares++;
        } else {
            conc__free(item);
        }
    }
    conc__lock_give(&pool->lock);
}

static void conc__pp_tell_one(conc__pp_ended *list, conc__pp_item *item) {
    if (item->owned) conc__free(item->arg);
    if (item->map != NULL) {
        item->map->ended(item);
    } else if (item->has_future) {
        conc_future *f =
            &((conc__pp_future *)(void *)((char *)item - offsetof(conc__pp_future, item)))->future;
        conc__future_end(f, item->result, item->code, item->text);
        conc_future_release(f);
    } else {
        conc__pp_report(list->pool, item);
        conc__pp_item_clear(item);
        item->next = list->spares;
        list->spares = item;
    }
}

/* All that this thread is telling. (A callback that waits may wait for one that is next in the list that it is called
 * for.) */
static void conc__pp_tell_rest(conc__agent *me) {
    conc__pp_ended *list;
    for (list = me->telling; list != NULL; list = list->outer) {
        while (list->first != NULL) {
            conc__pp_item *item = list->first;
            list->first = item->next;
            list->told++;
            conc__pp_tell_one(list, item);
        }
    }
}

/* Tells whoever is to know. The pool is there as long as one of these has not been told. */
static void conc__pp_tell(conc_procpool *pool, conc__pp_ended *list) {
    conc__agent *me;
    if (list->room) (void)conc_waiters_wake(&pool->room, CONC_ALL);
    if (list->first == NULL) return;
    (void)conc__add32(&pool->refs, 1, CONC__RELAXED);
    me = conc__self();
    list->pool = pool;
    list->outer = me->telling;
    me->telling = list;
    conc__pp_tell_rest(me);
    me->telling = list->outer;
    conc__pp_told(pool, list->told, list->spares);
    conc__pp_unuse(pool);
}

/* ---- the queue: with the lock held, as all up to the keeper -------------------------------------------- */

static void conc__pp_enqueue(conc_procpool *pool, conc__pp_item *item) {
    item->next = NULL;
    item->link = pool->last;
    *pool->last = item;
    pool->last = &item->next;
    pool->queued += conc__pp_weight(item);
}

static void conc__pp_enqueue_first(conc_procpool *pool, conc__pp_item *item) {
    item->next = pool->first;
    item->link = &pool->first;
    if (item->next != NULL) {
        item->next->link = &item->next;
    } else {
        pool->last = &item->next;
    }
    pool->first = item;
    pool->queued += conc__pp_weight(item);
}

static void conc__pp_dequeue(conc_procpool *pool, conc__pp_item *item) {
    *item->link = item->next;
    if (item->next != NULL) {
        item->next->link = item->link;
    } else {
        pool->last = item->link;
    }
    item->link = NULL;
    pool->queued -= conc__pp_weight(item);
}

/* It has come back from a worker, and has not begun. */
static void conc__pp_requeue(conc_procpool *pool, conc__pp_ended *list, conc__pp_item *item) {
    item->worker = NULL;
    if (item->reason != CONC_OK) {
        conc__pp_drop(pool, list, item, CONC_CANCELED);
    } else if (pool->gave_up) {
        conc__pp_drop(pool, list, item, CONC_CRASHED);
    } else if (pool->discards) {
        conc__pp_drop(pool, list, item, CONC_CANCELED);
    } else {
        conc__pp_enqueue_first(pool, item);
    }
}

/* ---- giving tasks to workers --------------------------------------------------------------------------- */

/* Ends it by force. If the system refuses that (a task has made it another user's process), it ends by itself, once
 * its task has returned: its channel is shut down. */
static void conc__pp_kill(conc__pp_worker *w) {
    if (conc_process_kill(w->process) != CONC_OK)
        (void)conc__port_socket_shutdown(w->channel, CONC__PORT_READ | CONC__PORT_WRITE);
}

static void conc__pp_ring(conc__pp_worker *w) {
    size_t n;
    /* If it fails, the keeper tries again; or it is dead, which is told otherwise. */
    w->owed = conc__port_socket_send(w->channel, "", 1, &n) != 0;
}

static void conc__pp_wake(conc__pp_worker *w) {
    if (CONC__UNLIKELY(conc__load32(&w->words->asleep, CONC__SEQ_CST) != 0) &&
        conc__swap32(&w->words->asleep, 0, CONC__ACQ_REL) != 0)
        conc__pp_ring(w);
}

static bool conc__pp_is_ready(conc__pp_worker *w) {
    if (w->process == NULL || w->condemned) return false;
    if (!w->ready) w->ready = conc__load32(&w->words->ready, CONC__ACQUIRE) == 1;
    return w->ready;
}

static bool conc__pp_takes(const conc__pp_worker *w) {
    return w->process != NULL && !w->condemned && !w->ended && !w->stopping && !w->grows &&
           w->posted - w->taken < CONC__PP_SLOTS;
}

static bool conc__pp_in_buffers(const conc_procpool *pool, const conc__pp_item *item, uint64_t *at) {
    const char *begin, *p = (const char *)item->arg;
    if (pool->buffers == NULL || item->count != 0 || item->size == 0) return false;
    begin = (const char *)conc_shared_data(pool->buffers);
    if ((uintptr_t)p < (uintptr_t)begin || (uintptr_t)p >= (uintptr_t)begin + pool->desc.buffer_size)
        return false;
    *at = (uint64_t)(p - begin);
    return item->size <= pool->desc.buffer_size - *at;
}

/* How many bytes go over. */
static size_t conc__pp_length(const conc__pp_item *item) {
    if (item->count == 0) return item->size;
    return conc__pp_map_place(item->map->arg_size, item->map->in_size, item->map->out_size, item->count).end;
}

/* Room for `size` bytes in its area: where; or SIZE_MAX: there is none now. */
static size_t conc__pp_area_room(conc__pp_worker *w, size_t size) {
    size = conc__pp_align(size, 64);
    if (size > w->soft / 4) {
        size_t soft = size > w->area_size / 4 ? w->area_size : size * 4;
        if (soft > w->soft) w->soft = soft;
    }
    if (w->in_area == 0) {
        w->begin = w->end = 0;
        return size <= w->soft ? 0 : SIZE_MAX;
    }
    if (w->end > w->begin) {
        if (size <= w->soft - w->end) return w->end;
        return size < w->begin ? 0 : SIZE_MAX;
    }
    return size < w->begin - w->end ? w->end : SIZE_MAX;
}

static void conc__pp_fill(conc__pp_item *item, char *to) {
    conc__pp_map_places p;
    conc__pp_map_head head;
    const conc__pp_map *m = item->map;
    if (item->count == 0) {
        if (item->size != 0) memcpy(to, item->arg, item->size);
        return;
    }
    p = conc__pp_map_place(m->arg_size, m->in_size, m->out_size, item->count);
    head.arg_size = m->arg_size;
    head.in_size = m->in_size;
    head.out_size = m->out_size;
    head.pad = 0;
    memcpy(to, &head, sizeof head);
    if (m->arg_size != 0) memcpy(to + p.arg, m->arg, m->arg_size);
    memcpy(to + p.in, conc__pp_some_of(item)->in, m->in_size * item->count);
    memcpy(to + p.out, conc__pp_some_of(item)->out, m->out_size * item->count);
}

static void conc__pp_stop(conc__pp_worker *w) {
    if (w->stopping || w->process == NULL) return;
    w->stopping = true;
    w->stop_due = CONC_FOREVER;
    conc__store32(&w->words->stop, 1, CONC__SEQ_CST);
    conc__pp_wake(w);
}

/* Has the function's name where the worker looks for it. */
static void conc__pp_name(char *names, uint64_t fn) {
    char *to = names + fn * 64u;
    if (to[0] == '\0') (void)snprintf(to, 64, "%s", conc__task_name_of_number((uint32_t)fn));
}

/* Puts it into its ring; false: its bytes find no room there now. */
static bool conc__pp_post(conc_procpool *pool, conc__pp_worker *w, conc__pp_item *item) {
    uint32_t i = w->posted % CONC__PP_SLOTS;
    conc__pp_slot *slot = &w->slots[i];
    size_t size = conc__pp_length(item), at = 0;
    uint32_t place = CONC__PP_IN_SLOT;
    uint64_t in_buffers = 0;
    if (conc__pp_in_buffers(pool, item, &in_buffers)) {
        place = CONC__PP_IN_BUFFER;
    } else if (size > sizeof slot->bytes) {
        at = conc__pp_area_room(w, size);
        if (at == SIZE_MAX) return false;
        place = CONC__PP_IN_AREA;
    }
    w->ends_at[i] = 0;
    if (place == CONC__PP_IN_AREA) {
        w->end = w->ends_at[i] = at + conc__pp_align(size, 64);
        w->in_area++;
        conc__pp_fill(item, w->area + at);
    } else if (place == CONC__PP_IN_SLOT) {
        conc__pp_fill(item, slot->bytes);
    }
    if (!pool->forks) conc__pp_name(w->names, item->fn);
    slot->count = item->count;
    slot->fn = item->fn;
    slot->size = size;
    slot->at = place == CONC__PP_IN_BUFFER ? in_buffers : (uint64_t)at;
    if (item->has_future) place |= CONC__PP_REPLIES;
    if (item->limit != 0) place |= CONC__PP_TIMED;
    slot->place = place;
    slot->done = slot->failed = slot->text = 0;
    slot->code = 0;
    slot->reply = 0;
    conc__store32(&slot->begun, 0, CONC__RELAXED);
    conc__store32(&slot->state, CONC__PP_POSTED, CONC__RELAXED);
    item->worker = w;
    item->number = w->posted;
    w->items[i] = item;
    w->held++;
    w->given += conc__pp_weight(item);
    conc__store32(&w->words->posted, ++w->posted, CONC__SEQ_CST);
    conc__pp_wake(w);
    if (pool->desc.max_tasks != 0 && w->given >= pool->desc.max_tasks) conc__pp_stop(w);
    if (pool->look_at == INT64_MAX) { /* the keeper sleeps: it goes on patrol */
        pool->look_at = 0;
        conc__pp_poke(pool);
    } else if (item->limit != 0 && pool->look_at > item->limit) { /* it sleeps perhaps longer than that */
        int64_t due = conc__port_clock_ns() + item->limit;
        if (pool->look_at > due) {
            pool->look_at = due;
            conc__pp_poke(pool);
        }
    }
    return true;
}

/* The first of the queue is too large for all: one that has little to do will be replaced. */
static void conc__pp_grow(conc_procpool *pool, size_t size) {
    conc__pp_worker *w, *best = NULL;
    unsigned i;
    for (i = 0; i < pool->count; i++) {
        w = &pool->workers[i];
        if (w->process == NULL && w->next_area / 2 >= size) return; /* it is on its way */
        if (w->process != NULL && w->grows && w->next_area / 2 >= size) return;
        if (w->process != NULL && !w->grows && !w->condemned && !w->stopping &&
            (best == NULL || w->held < best->held))
            best = w;
    }
    for (i = 0; best == NULL && i < pool->count; i++) { /* all are about to be replaced anyway */
        if (!pool->workers[i].grows) best = &pool->workers[i];
    }
    if (best == NULL) best = &pool->workers[0];
    while (best->next_area / 2 < size) best->next_area *= 2;
    best->grows = best->process != NULL && !best->condemned && !best->stopping;
    conc__pp_poke(pool);
}

static void conc__pp_feed(conc_procpool *pool) {
    while (pool->first != NULL) {
        conc__pp_item *item = pool->first;
        conc__pp_worker *best = NULL;
        size_t size = conc__pp_length(item), largest = 0;
        uint64_t at;
        bool small = size <= CONC__PP_INLINE || conc__pp_in_buffers(pool, item, &at), best_ready = false;
        unsigned i;
        for (i = 0; i < pool->count; i++) {
            conc__pp_worker *w = &pool->workers[i];
            if (w->process != NULL && w->area_size > largest && !w->grows) largest = w->area_size;
            if (!conc__pp_takes(w)) continue;
            if (best != NULL &&
                (w->held > best->held || (w->held == best->held && (best_ready || !conc__pp_is_ready(w)))))
                continue;
            if (!small && (size > w->area_size / 2 || conc__pp_area_room(w, size) == SIZE_MAX)) continue;
            best = w;
            best_ready = conc__pp_is_ready(w);
            if (w->held == 0 && best_ready) break;
        }
        if (best == NULL) {
            if (!small && size > largest / 2) conc__pp_grow(pool, size);
            return;
        }
        conc__pp_dequeue(pool, item);
        if (!conc__pp_post(pool, best, item)) { /* (cannot be: it was asked) */
            conc__pp_enqueue_first(pool, item);
            return;
        }
    }
}

/* Takes back what has not begun, at most n; false: nothing. */
static bool conc__pp_retract(conc_procpool *pool, conc__pp_worker *w, uint32_t n, conc__pp_ended *list) {
    uint32_t number = w->posted, had = n;
    while (number != w->taken && n != 0) {
        uint32_t i = --number % CONC__PP_SLOTS, is = CONC__PP_POSTED;
        conc__pp_item *item = w->items[i];
        if (item == NULL) continue;
        /* nor will those before it */
        if (!conc__cas32(&w->slots[i].state, &is, CONC__PP_RETRACTED, CONC__ACQ_REL)) break;
        w->items[i] = NULL;
        w->held--;
        w->given -= conc__pp_weight(item);
        conc__pp_requeue(pool, list, item);
        n--;
    }
    return n != had;
}

/* Has workers without a task take half of what others have not begun; also the last one, of a worker that is not
 * ready and perhaps never will be. */
static void conc__pp_balance(conc_procpool *pool, conc__pp_ended *list) {
    unsigned i, j;
    for (i = 0; i < pool->count && pool->first == NULL; i++) {
        conc__pp_worker *w = &pool->workers[i], *most = NULL;
        uint32_t n = 0;
        bool ready;
        if (!conc__pp_takes(w) || w->held != 0) continue;
        ready = conc__pp_is_ready(w);
        for (j = 0; j < pool->count; j++) {
            conc__pp_worker *v = &pool->workers[j];
            uint32_t spared;
            if (v->process == NULL || v->condemned) continue; /* from those all was taken */
            spared = (v->held + (ready && !conc__pp_is_ready(v) ? 1u : 0u)) / 2;
            if (spared <= n) continue;
            n = spared;
            most = v;
        }
        if (most == NULL || !conc__pp_retract(pool, most, n, list)) return;
        conc__pp_feed(pool);
    }
}

/* ---- taking results ------------------------------------------------------------------------------------ */

static void conc__pp_broken(conc__pp_worker *w) {
    w->broken = w->condemned = true;
    conc__pp_kill(w);
}

/* The next n bytes of its replies are this task's. False: there are not so many, or too many. */
static bool conc__pp_hear(conc_procpool *pool, conc__pp_worker *w, conc__pp_item *item, uint64_t n) {
    uint32_t there = conc__load32(&w->words->replied, CONC__ACQUIRE) - w->replied;
    conc__pp_stream *s = item->stream;
    if (there > CONC__PP_REPLY || n > there) return false;
    if (n == 0) return true;
    if (s == NULL) s = item->stream = (conc__pp_stream *)conc__alloc(1, sizeof *s, "what a task replies");
    if (s == NULL) {
        item->result = CONC_NO_MEMORY;
    } else if (n > pool->desc.size_max + sizeof w->words->text - s->size) {
        return false;
    } else if (s->size + (size_t)n > s->room && !s->no_memory) {
        size_t room = s->room == 0 ? (size_t)n : s->room * 2 + (size_t)n;
        char *more = (char *)conc__realloc(s->data, room, 1, "what a task replies");
        if (more != NULL) {
            s->data = more;
            s->room = room;
        } else {
            s->no_memory = true;
        }
    }
    while (n != 0) {
        size_t at = w->replied % CONC__PP_REPLY, piece = CONC__PP_REPLY - at;
        if (piece > n) piece = (size_t)n;
        if (s != NULL) {
            if (!s->no_memory) memcpy(s->data + s->size, w->replies + at, piece);
            s->size += piece;
        }
        w->replied += (uint32_t)piece;
        n -= piece;
    }
    conc__store32(&w->words->room, w->replied, CONC__SEQ_CST);
    if (conc__load32(&w->words->blocked, CONC__SEQ_CST) != 0 &&
        conc__swap32(&w->words->blocked, 0, CONC__ACQ_REL) != 0)
        conc__pp_ring(w);
    return true;
}

/* The first of it that fails decides how a map's items end. */
static void conc__pp_fails(conc__pp_item *item, size_t index, conc_result r, int code, char *text) {
    if (item->result != CONC_OK) {
        conc__free(text);
        return;
    }
    item->result = r;
    item->code = code;
    item->text = text;
    if (item->map != NULL) conc__pp_some_of(item)->failed = conc__pp_some_of(item)->first + index;
}

static char *conc__pp_bytes_of(conc__pp_worker *w, uint32_t i, size_t size) {
    return w->ends_at[i] != 0 ? w->area + (w->ends_at[i] - conc__pp_align(size, 64)) : w->slots[i].bytes;
}

/* `n` items of a map have returned. What is left is a smaller one. */
static void conc__pp_advance(conc_procpool *pool, conc__pp_worker *w, uint32_t i, conc__pp_item *item,
                             uint32_t n) {
    conc__pp_map_places p;
    const conc__pp_map *m = item->map;
    conc__pp_some *some = conc__pp_some_of(item);
    p = conc__pp_map_place(m->arg_size, m->in_size, m->out_size, item->count);
    if (n != 0) memcpy(some->out, conc__pp_bytes_of(w, i, p.end) + p.out, n * m->out_size);
    some->in += n * m->in_size;
    some->out += n * m->out_size;
    some->first += n;
    item->count -= n;
    pool->stats.completed += n;
}

/* An item that is over, or is to go on elsewhere. */
static void conc__pp_go_on(conc_procpool *pool, conc__pp_ended *list, conc__pp_item *item) {
    item->worker = NULL;
    if (item->map != NULL && item->count != 0 &&
        (item->reason == CONC_CANCELED || (item->map->stops && item->result != CONC_OK))) {
        pool->stats.canceled += item->count;
        item->count = 0;
    }
    if (item->map != NULL && item->count != 0) {
        item->reason = CONC_OK;
        conc__pp_requeue(pool, list, item);
    } else {
        conc__pp_end(pool, list, item);
    }
}

static char *conc__pp_returned_text(conc_procpool *pool, int code) {
    char text[120];
    int n = snprintf(text, sizeof text, "a task of the process pool \"%s\" returned %d", pool->name, code);
    return conc__pp_copy_text(text, (size_t)n);
}

/* What its next task has replied, or said when it failed. False: that cannot be. */
static bool conc__pp_heard(conc_procpool *pool, conc__pp_worker *w, conc__pp_item *item, uint64_t reply,
                           uint32_t text_size, uint32_t failed, int code) {
    uint64_t before = item->stream != NULL ? item->stream->size : 0;
    const conc__pp_stream *s;
    if (text_size > sizeof w->words->text || reply > pool->desc.size_max ||
        (reply != 0 && !item->has_future) || reply + text_size < before ||
        !conc__pp_hear(pool, w, item, reply + text_size - before)) {
        return false;
    }
    s = item->stream;
    if (s != NULL) item->stream->reply = (size_t)reply;
    if (failed != 0) {
        char *text = s != NULL && !s->no_memory && text_size != 0
                         ? conc__pp_copy_text(s->data + reply, text_size)
                         : NULL;
        if (text == NULL) text = conc__pp_returned_text(pool, code);
        conc__pp_fails(item, failed - 1, CONC_FAILED, code, text);
    } else if (s != NULL && s->no_memory) {
        conc__pp_fails(item, 0, CONC_NO_MEMORY, 0, NULL);
    }
    return true;
}

/* How the slot that is next has ended. False: what it says cannot be. */
static bool conc__pp_take_slot(conc_procpool *pool, conc__pp_worker *w, conc__pp_ended *list) {
    uint32_t i = w->taken % CONC__PP_SLOTS, done = 0, failed = 0, text_size;
    const conc__pp_slot *slot = &w->slots[i];
    conc__pp_item *item = w->items[i];
    if (item != NULL) {
        done = slot->done;
        failed = slot->failed;
        if (done > conc__pp_weight(item) || failed > done) return false;
        if (done == 0 && item->count == 0) { /* it was halted before it had begun */
            if (item->reason == CONC_OK) return false;
            w->items[i] = NULL;
            w->held--;
            item->worker = NULL;
            conc__pp_drop(pool, list, item, CONC_CANCELED);
            item = NULL;
        }
    }
    if (item != NULL) {
        uint64_t reply = slot->reply;
        int code = slot->code;
        text_size = slot->text;
        if ((reply | text_size) != 0 || item->stream != NULL || failed != 0) {
            if (!conc__pp_heard(pool, w, item, reply, text_size, failed, code)) return false;
        }
        if (item->map != NULL) {
            conc__pp_advance(pool, w, i, item, done);
        } else {
            uint64_t at;
            if (item->back && item->size != 0 && !conc__pp_in_buffers(pool, item, &at)) {
                memcpy(item->arg, conc__pp_bytes_of(w, i, item->size), item->size);
            }
            pool->stats.completed++;
        }
        w->items[i] = NULL;
        w->held--;
        w->progress = true;
        conc__pp_go_on(pool, list, item);
    }
    if (w->ends_at[i] != 0) {
        w->begin = w->ends_at[i];
        w->in_area--;
    }
    w->taken++;
    return true;
}

/* All that there is from it; false: nothing. */
static bool conc__pp_take(conc_procpool *pool, conc__pp_worker *w, conc__pp_ended *list) {
    uint32_t done, there, before;
    bool any = false, sane;
    if (w->process == NULL || w->broken) return false;
    /* First this, then `done`: so what is left of it is of the one that `done` does not count, and not of one after
     * that. */
    before = w->replied;
    there = conc__load32(&w->words->replied, CONC__ACQUIRE) - before;
    done = conc__load32(&w->words->done, CONC__ACQUIRE);
    sane = there <= CONC__PP_REPLY && done - w->taken <= w->posted - w->taken;
    if (done != w->taken) {
        any = true;
        while (sane && w->taken != done) sane = conc__pp_take_slot(pool, w, list);
    }
    there = there > w->replied - before ? there - (w->replied - before) : 0;
    /* What its current task has replied so far: */
    if (sane && CONC__UNLIKELY(there != 0) && w->taken != w->posted) {
        conc__pp_item *item = w->items[w->taken % CONC__PP_SLOTS];
        any = true;
        sane = item != NULL && conc__pp_hear(pool, w, item, there);
    }
    if (!sane) conc__pp_broken(w);
    return any;
}

static bool conc__pp_take_all(conc_procpool *pool, conc__pp_ended *list) {
    unsigned i;
    bool any = false;
    for (i = 0; i < pool->count; i++) {
        if (conc__pp_take(pool, &pool->workers[i], list)) any = true;
    }
    return any;
}

/* ---- ending workers ------------------------------------------------------------------------------------ */

/* Kills the worker that this runs in, for `reason`; what has not begun there is safe. With a time limit: only if the
 * map's item that has begun, number `begun`, has not returned. False: it has. */
static bool conc__pp_condemn(conc_procpool *pool, conc__pp_item *item, conc_result reason, uint32_t begun,
                             conc__pp_ended *list) {
    conc__pp_worker *w = item->worker;
    conc__pp_slot *slot = &w->slots[item->number % CONC__PP_SLOTS];
    uint32_t is = CONC__PP_BEGUN;
    if (w->condemned) return true; /* for its own sake, or it was lost before */
    (void)conc__pp_retract(pool, w, CONC__PP_SLOTS, list);
    /* It may have returned since we looked, and the next one may have begun before it could be taken back. If that is
     * so, we see it: `done` was stored before that one's state. */
    if ((int32_t)(conc__load32(&w->words->done, CONC__SEQ_CST) - item->number) > 0) return false;
    (void)conc__cas32(&slot->state, &is, CONC__PP_HALT, CONC__SEQ_CST);
    if (begun != 0 && conc__load32(&slot->begun, CONC__SEQ_CST) != begun) {
        is = CONC__PP_HALT;
        /* If it has seen it, it stops, and the rest goes elsewhere. */
        (void)conc__cas32(&slot->state, &is, CONC__PP_BEGUN, CONC__SEQ_CST);
        return false;
    }
    item->reason = (signed char)reason;
    w->condemned = true;
    conc__pp_kill(w);
    return true;
}

/* The item that the dead worker was in. */
static void conc__pp_lost(conc_procpool *pool, conc__pp_worker *w, uint32_t i, conc__pp_item *item,
                          const char *why, int code, conc__pp_ended *list) {
    conc__pp_slot *slot = &w->slots[i];
    conc_result r = item->reason != CONC_OK ? (conc_result)item->reason : CONC_CRASHED;
    char text[600];
    uint32_t done = 0;
    int n;
    if (item->map != NULL && !w->broken) { /* those that have returned in it, have */
        done = conc__load32(&slot->begun, CONC__ACQUIRE);
        done = done == 0 || done > item->count ? 0 : done - 1;
        if (slot->failed != 0 && slot->failed <= done) {
            conc__pp_fails(item, slot->failed - 1, CONC_FAILED, slot->code,
                           conc__pp_returned_text(pool, slot->code));
        }
        conc__pp_advance(pool, w, i, item, done);
    }
    if (r == CONC_TIMEOUT) {
        n = snprintf(text, sizeof text,
                     "a task of the process pool \"%s\" ran longer than its time limit of %g s", pool->name,
                     (double)item->limit * 1e-9);
    } else if (r == CONC_CANCELED) {
        n = snprintf(text, sizeof text, "a task of the process pool \"%s\" was killed", pool->name);
    } else {
        n = snprintf(text, sizeof text, "%s", why);
    }
    if (r == CONC_CRASHED) {
        pool->stats.lost++;
    } else {
        pool->stats.killed++;
    }
    conc__pp_fails(item, 0, r, r == CONC_CRASHED ? code : 0,
                   conc__pp_copy_text(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1));
    if (item->map != NULL) {
        conc__pp_some *some = conc__pp_some_of(item);
        some->in += item->map->in_size;
        some->out += item->map->out_size;
        some->first++;
        item->count--;
    }
    conc__pp_go_on(pool, list, item);
}

static bool conc__pp_any_ready(conc_procpool *pool) {
    unsigned i;
    for (i = 0; i < pool->count; i++) {
        if (conc__pp_is_ready(&pool->workers[i])) return true;
    }
    return false;
}

/* Workers cannot be had. */
static void conc__pp_give_up(conc_procpool *pool, const char *why, conc__pp_ended *list) {
    unsigned i;
    (void)snprintf(pool->why, sizeof pool->why, "the process pool \"%s\" has given up: %.200s", pool->name,
                   why);
    pool->gave_up = true;
    pool->phase = CONC__PP_CLOSED;
    for (i = 0; i < pool->count; i++) {
        conc__pp_worker *w = &pool->workers[i];
        if (w->process == NULL) continue;
        (void)conc__pp_retract(pool, w, CONC__PP_SLOTS, list);
        w->condemned = true;
        conc__pp_kill(w);
    }
    while (pool->first != NULL) {
        conc__pp_item *item = pool->first;
        conc__pp_dequeue(pool, item);
        conc__pp_drop(pool, list, item, CONC_CRASHED);
    }
}

/* One was not ready before it died, or could not be started: the next one has to wait. */
static void conc__pp_failed(conc_procpool *pool, conc__pp_worker *w, const char *why, conc__pp_ended *list) {
    unsigned n = pool->failures++;
    w->start_at = conc_after(n < 7 ? CONC__PP_PATIENCE * (double)(1u << n) : CONC__PP_PATIENCE * 100);
    if (n + 1 >= CONC__PP_TRIES && !conc__pp_any_ready(pool) && !pool->gave_up)
        conc__pp_give_up(pool, why, list);
}

/* Its process has ended, and been joined: `r`, `code`, and in words. */
static void conc__pp_buried(conc_procpool *pool, conc__pp_worker *w, conc_result r, int code,
                            const char *text, conc__pp_ended *list) {
    uint32_t ready = conc__load32(&w->words->ready, CONC__ACQUIRE);
    char why[500];
    bool clean = w->stopping && r == CONC_OK && code == 0 && w->held == 0;
    if (r == CONC_OK) {
        if (ready == 2 && memchr(w->words->text, '\0', sizeof w->words->text) != NULL) {
            (void)snprintf(why, sizeof why, "the initialiser returned %d%s%s", code,
                           w->words->text[0] != '\0' ? ": " : "", w->words->text);
        } else {
            (void)snprintf(why, sizeof why, "process \"%s-%u\" ended before its task returned", pool->name,
                           w->number);
        }
    } else {
        (void)snprintf(why, sizeof why, "%s",
                       w->broken ? "a task has written over what its process shares with the pool" : text);
    }
    if (w->taken != w->posted) {
        uint32_t number = w->posted;
        while (number != w->taken) {
            uint32_t i = --number % CONC__PP_SLOTS, state = conc__load32(&w->slots[i].state, CONC__ACQUIRE);
            conc__pp_item *item = w->items[i];
            w->items[i] = NULL;
            if (item == NULL) continue;
            /* (of a sane one that is the first alone) */
            if (state != CONC__PP_POSTED || (number == w->taken && w->broken)) {
                w->progress = true;
                conc__pp_lost(pool, w, i, item, why, code, list);
            } else {
                conc__pp_requeue(pool, list, item);
            }
        }
    }
    if (!clean && (w->held != 0 || !w->condemned || ready != 1)) pool->stats.crashed++;
    conc_shared_free(w->shared);
    conc__free(w->params);
    w->shared = NULL;
    w->params = NULL;
    w->process = NULL;
    w->start_at = CONC_NOW;
    if (clean || w->progress || (ready == 1 && w->held == 0) || w->condemned) {
        if (ready == 1) pool->failures = 0;
    } else {
        conc__pp_failed(pool, w, why, list);
    }
}

/* ---- the keeper ---------------------------------------------------------------------------------------- */

static void conc__pp_watch_fds(conc_procpool *pool, conc__pp_worker *w) {
    w->blind = conc__port_poller_want(&pool->poller, w->channel, CONC__PORT_READ) != 0;
    if (w->end_fd >= 0 && conc__port_poller_want(&pool->poller, w->end_fd, CONC__PORT_READ) != 0)
        w->blind = true;
}

/* Whether its process has ended, or is ending: then it is buried as soon as it can be. */
static void conc__pp_look_for_end(conc_procpool *pool, conc__pp_worker *w, conc__pp_ended *list) {
    char bytes[64];
    size_t n = 1;
    int e = 0, code = 0;
    conc_result r;
    if (w->rang || w->blind) {
        do {
            e = conc__port_socket_receive(w->channel, bytes, sizeof bytes, &n);
        } while (e == 0 && n == sizeof bytes);
        w->rang = false;
        if (e == 0 ? n == 0 : conc__port_kind_of(e) == CONC__PORT_BROKEN) w->ended = true;
        if (!w->ended) conc__pp_watch_fds(pool, w);
    }
    if (!w->ended && !w->condemned) return;
    conc__port_poller_forget(&pool->poller, w->channel); /* they are closed by the join */
    if (w->end_fd >= 0) conc__port_poller_forget(&pool->poller, w->end_fd);
    r = conc_process_join(w->process, &code, CONC_NOW);
    if (r == CONC_OK || r == CONC_CRASHED) {
        char text[300];
        (void)snprintf(text, sizeof text, "%s", r == CONC_CRASHED ? conc_error_detail() : "");
        (void)conc__pp_take(pool, w, list);
        conc__pp_buried(pool, w, r, code, text, list);
        return;
    }
    /* Its end of the channel is closed: it is about to end, or a task has closed all descriptors: that one may return,
     * still. (Not condemned: whether it was ready counts.) */
    (void)conc__pp_retract(pool, w, CONC__PP_SLOTS, list);
    if (w->condemned || w->held == 0) conc__pp_kill(w);
    /* (Beside this, it is looked at again and again.) */
    if (w->end_fd >= 0) (void)conc__port_poller_want(&pool->poller, w->end_fd, CONC__PORT_READ);
}

/* The time limit of what runs there; the time to look again. */
static int64_t conc__pp_look_at_limit(conc_procpool *pool, conc__pp_worker *w, int64_t now,
                                      conc__pp_ended *list) {
    conc__pp_item *item = w->taken != w->posted ? w->items[w->taken % CONC__PP_SLOTS] : NULL;
    const conc__pp_slot *slot = &w->slots[w->taken % CONC__PP_SLOTS];
    uint32_t begun, ran;
    /* When the next one begins, this one rings. */
    if (w->condemned || item == NULL || item->limit == 0) return INT64_MAX;
    begun = conc__load32(&slot->begun, CONC__ACQUIRE);
    if (begun == 0) return now + item->limit;
    ran = (uint32_t)(now / 1000000) - conc__load32(&w->words->since, CONC__ACQUIRE);
    if ((int64_t)ran * 1000000 <= item->limit) return now + item->limit - (int64_t)ran * 1000000 + 1000000;
    if (ran > 0x7fffffffu) return now + item->limit; /* it has begun after we asked for the time */
    return conc__pp_condemn(pool, item, CONC_TIMEOUT, begun, list) ? INT64_MAX : now + item->limit;
}

/* Starts a process for it. With no lock held: nobody else touches a worker without a process. */
static conc_result conc__pp_start(conc_procpool *pool, conc__pp_worker *w) {
    conc_process_desc desc;
    conc_shared *shared[2];
    conc_process *process = NULL;
    conc__pp_params *params;
    char name[40], *data;
    size_t area;
    conc__lock_take(&pool->lock);
    area = w->next_area;
    conc__lock_give(&pool->lock);
    shared[0] = conc_shared_new(CONC__PP_AREA_AT + area);
    shared[1] = pool->buffers;
    params = shared[0] != NULL
                 ? (conc__pp_params *)conc__alloc(CONC__PP_PARAMS + pool->desc.init_size, 1, "a worker")
                 : NULL;
    if (params != NULL) {
        params->number = w->number;
        params->forked = pool->forks;
        params->initialize = pool->desc.initialize != NULL
                                 ? conc__procpool_function(pool, pool->desc.initialize, "conc_procpool_new")
                                 : 0;
        params->init_size = pool->desc.init_size;
        params->memory_limit = pool->desc.memory_limit;
        params->reply_max = pool->desc.size_max;
        if (!pool->forks && params->initialize != 0) {
            conc__pp_name((char *)conc_shared_data(shared[0]) + CONC__PP_NAMES_AT, params->initialize);
        }
        if (pool->desc.init_size != 0)
            memcpy((char *)params + CONC__PP_PARAMS, pool->init, pool->desc.init_size);
        (void)snprintf(name, sizeof name, "%s-%u", pool->name, w->number);
        memset(&desc, 0, sizeof desc);
        desc.name = name;
        desc.daemon = true;
        desc.method = pool->forks ? CONC_PROCESS_FORK : CONC_PROCESS_SPAWN;
        desc.channel = true;
        desc.shared = shared;
        desc.shared_count = pool->buffers != NULL ? 2 : 1;
        process =
            conc_process_start(conc__procpool_worker, params, CONC__PP_PARAMS + pool->desc.init_size, &desc);
    }
    if (process == NULL) {
        conc_shared_free(shared[0]);
        conc__free(params);
        return conc_error_result();
    }
    conc__lock_take(&pool->lock);
    data = (char *)conc_shared_data(shared[0]);
    w->params = params;
    w->shared = shared[0];
    w->words = (conc__pp_words *)(void *)data;
    w->slots = (conc__pp_slot *)(void *)(data + CONC__PP_SLOTS_AT);
    w->names = data + CONC__PP_NAMES_AT;
    w->replies = data + CONC__PP_REPLY_AT;
    w->area = data + CONC__PP_AREA_AT;
    w->area_size = area;
    w->soft = area < CONC__PP_AREA_SOFT ? area : CONC__PP_AREA_SOFT;
    w->begin = w->end = w->in_area = 0;
    w->channel = conc__channel_fd(conc_process_channel(process));
    w->end_fd = conc__process_end_fd(process);
    w->posted = w->taken = w->replied = w->held = 0;
    w->given = 0;
    w->patrol_at = INT64_MAX;
    w->rang = w->ended = w->ready = w->condemned = w->broken = w->stopping = w->grows = w->progress = w->owed =
        w->blind = false;
    w->process = process;
    pool->stats.started++;
    conc__pp_watch_fds(pool, w);
    conc__lock_give(&pool->lock);
    return CONC_OK;
}

/* Who has had a task for long is looked for by asking the system: that its end of the channel is closed may not be seen
 * if somebody else has got hold of it, a process that a task has forked. */
static void conc__pp_patrol(conc__pp_worker *w, int64_t now) {
    if (w->held == 0) {
        w->patrol_at = INT64_MAX;
    } else if (w->patrol_at == INT64_MAX) {
        w->patrol_at = now + CONC__PP_PATROL_NS;
    } else if (now >= w->patrol_at) {
        if (!conc_process_is_alive(w->process)) w->ended = true;
        w->patrol_at = now + CONC__PP_PATROL_NS;
    }
}

/* What there is to be done about one that has a process; the time to look again. */
static int64_t conc__pp_attend(conc_procpool *pool, conc__pp_worker *w, int64_t now, bool ends,
                               conc__pp_ended *list) {
    int64_t due;
    if (ends || (w->grows && w->posted == w->taken)) conc__pp_stop(w);
    if (w->stopping && w->posted == w->taken && w->stop_due.ns == INT64_MAX)
        w->stop_due = conc_after(CONC__PP_GRACE);
    if (w->stopping && conc_deadline_passed(w->stop_due)) w->condemned = true;
    due = conc__pp_look_at_limit(pool, w, now, list);
    conc__pp_patrol(w, now);
    if (due > w->patrol_at) due = w->patrol_at;
    if (w->stopping && w->stop_due.ns < due) due = w->stop_due.ns;
    if ((w->condemned || w->ended || w->blind || w->owed) && due > now + CONC__PP_RETRY_NS) {
        due = now + CONC__PP_RETRY_NS;
    }
    return due;
}

/* Everything that there is to be done, and when the next look is due. */
static int64_t conc__pp_round(conc_procpool *pool, conc__pp_ended *list, bool *over, bool *starts) {
    int64_t now = conc__port_clock_ns(), next = INT64_MAX;
    bool ends = pool->phase != CONC__PP_OPEN && pool->unfinished == 0;
    size_t queued;
    unsigned i;
    *over = ends;
    *starts = false;
    pool->look_at = 0;
    for (i = 0; i < pool->count; i++) {
        conc__pp_worker *w = &pool->workers[i];
        (void)conc__pp_take(pool, w, list);
        if (w->process != NULL && (w->rang || w->ended || w->condemned || w->blind))
            conc__pp_look_for_end(pool, w, list);
        if (w->process != NULL && w->owed) conc__pp_ring(w);
    }
    conc__pp_feed(pool);
    conc__pp_balance(pool, list);
    queued = pool->queued;
    for (i = 0; i < pool->count; i++) {
        conc__pp_worker *w = &pool->workers[i];
        int64_t due = INT64_MAX;
        if (w->process != NULL) {
            *over = false;
            due = conc__pp_attend(pool, w, now, ends, list);
        } else if (!ends && !pool->exiting && !pool->gave_up) {
            if (conc_deadline_passed(w->start_at)) {
                *starts = true;
            } else {
                due = w->start_at.ns;
            }
        }
        if (due < next) next = due;
    }
    if (pool->queued > queued) { /* what was taken from one that ran too long: where it goes, we look again soon */
        conc__pp_feed(pool);
        if (next > now + CONC__PP_RETRY_NS) next = now + CONC__PP_RETRY_NS;
    }
    return next;
}

static void conc__pp_start_those_due(conc_procpool *pool, conc__pp_ended *list) {
    unsigned i;
    for (i = 0; i < pool->count; i++) {
        conc__pp_worker *w = &pool->workers[i];
        if (w->process != NULL || !conc_deadline_passed(w->start_at))
            continue; /* (only this thread changes these) */
        if (conc__pp_start(pool, w) != CONC_OK) {
            char why[240];
            (void)snprintf(why, sizeof why, "%.239s", conc_error_detail());
            conc__lock_take(&pool->lock);
            conc__pp_failed(pool, w, why, list);
            conc__lock_give(&pool->lock);
        }
    }
}

/* Asks all to ring, as those that have nothing may be given something meanwhile; false: there is something to be
 * taken already. The lock is held. */
static bool conc__pp_ask_to_ring(conc_procpool *pool) {
    unsigned i;
    for (i = 0; i < pool->count; i++) {
        conc__pp_worker *w = &pool->workers[i];
        if (w->process == NULL || w->broken) continue;
        conc__store32(&w->words->wants, 1, CONC__SEQ_CST);
        if (conc__load32(&w->words->done, CONC__SEQ_CST) != w->taken ||
            conc__load32(&w->words->replied, CONC__SEQ_CST) != w->replied)
            return false;
    }
    return true;
}

static void conc__pp_sleep_until(conc_procpool *pool, int64_t until) {
    conc__port_event events[64];
    bool signaled;
    size_t n = conc__port_poller_wait(&pool->poller, events, 64, until, &signaled), i;
    unsigned j;
    /* If it came back for no reason, it could not look, for want of memory: then each is asked by itself. */
    bool blind = n == 0 && !signaled && conc__port_clock_ns() < until;
    conc__lock_take(&pool->lock);
    pool->napping = false;
    for (j = 0; blind && j < pool->count; j++) pool->workers[j].rang = true;
    for (i = 0; i < n; i++) {
        for (j = 0; j < pool->count; j++) {
            conc__pp_worker *w = &pool->workers[j];
            if (w->process == NULL) continue;
            if (w->channel == events[i].fd) w->rang = true;
            if (w->end_fd == events[i].fd) w->ended = true;
        }
    }
    conc__lock_give(&pool->lock);
}

/* One turn; true: all is over. */
static bool conc__pp_turn(conc_procpool *pool) {
    conc__pp_ended list;
    bool over, starts, sleeps = false;
    int64_t until;
    conc__pp_ended_begin(&list);
    conc__lock_take(&pool->lock);
    until = conc__pp_round(pool, &list, &over, &starts);
    if (!over && !starts && list.first == NULL) {
        if (pool->visits != pool->visits_seen) { /* others take care */
            int64_t nap = conc__port_clock_ns() + CONC__PP_NAP_NS;
            pool->visits_seen = pool->visits;
            pool->napping = sleeps = true;
            if (until > nap) until = nap;
        } else {
            sleeps = conc__pp_ask_to_ring(pool);
        }
        pool->look_at = until;
    }
    conc__lock_give(&pool->lock);
    if (starts) conc__pp_start_those_due(pool, &list);
    conc__pp_tell(pool, &list);
    if (sleeps) conc__pp_sleep_until(pool, until);
    return over;
}

static int conc__pp_keep(void *arg) {
    conc_procpool *pool = (conc_procpool *)arg;
    conc__store32(&pool->keeper_is, conc__self()->owner, CONC__RELAXED);
    while (!conc__pp_turn(pool)) {
    }
    (void)conc_event_set(&pool->ended);
    return 0;
}

/* ---- who comes by -------------------------------------------------------------------------------------- */

bool conc__procpool_visit(conc_procpool *pool) {
    conc__pp_ended list;
    bool any;
    conc__pp_ended_begin(&list);
    conc__lock_take(&pool->lock);
    any = conc__pp_take_all(pool, &list);
    if (any) {
        pool->visits++;
        conc__pp_feed(pool);
    }
    conc__lock_give(&pool->lock);
    if (any) conc__pp_tell(pool, &list);
    return any;
}

bool conc__procpool_watch(conc_procpool *pool, bool (*over)(void *arg), void *arg) {
    int64_t until = 0;
    unsigned look;
    (void)conc__add32(&pool->refs, 1, CONC__RELAXED);
    if (conc__self()->telling != NULL) { /* a callback */
        conc__pp_tell_rest(conc__self());
        if (conc__load32(&pool->keeper_is, CONC__RELAXED) == conc__self()->owner) {
            while (!over(arg) && !conc__is_canceled()) (void)conc__pp_turn(pool);
        }
    }
    for (look = 1; !over(arg); look++) {
        if (conc__procpool_visit(pool)) {
            until = 0;
            continue;
        }
        if (look % 8 == 0) {
            int64_t now = conc__port_clock_ns();
            if (until == 0) until = now + CONC__PP_LOOKS_NS;
            if (now >= until || conc__is_canceled()) break;
        }
        if (look < 16) {
            conc__port_pause();
        } else {
            conc__port_yield();
        }
    }
    if (!over(arg)) { /* from here on it is the keeper's affair */
        bool naps;
        conc__lock_take(&pool->lock);
        naps = pool->napping;
        conc__lock_give(&pool->lock);
        if (naps) conc__pp_poke(pool);
        conc__pp_unuse(pool);
        return false;
    }
    conc__pp_unuse(pool);
    return true;
}

/* ---- futures ------------------------------------------------------------------------------------------- */

static conc__pp_item *conc__pp_item_of(const conc_future *f) {
    return &((conc__pp_future *)(void *)(uintptr_t)f)->item;
}

static bool conc__pp_is_ended(void *f) {
    return conc__future_is_ended((const conc_future *)f);
}

static bool conc__pp_help(conc_future *f) {
    return conc__procpool_watch(conc__pp_item_of(f)->pool, conc__pp_is_ended, f);
}

/* Takes out what has not begun: true. The lock is held. */
static bool conc__pp_take_out(conc_procpool *pool, conc__pp_item *item, conc__pp_ended *list) {
    if (item->link != NULL) {
        conc__pp_dequeue(pool, item);
    } else {
        conc__pp_worker *w = item->worker;
        uint32_t i, is = CONC__PP_POSTED;
        if (w == NULL) return false;
        i = item->number % CONC__PP_SLOTS;
        if (!conc__cas32(&w->slots[i].state, &is, CONC__PP_RETRACTED, CONC__ACQ_REL)) return false;
        w->items[i] = NULL;
        w->held--;
        w->given -= conc__pp_weight(item);
        item->worker = NULL;
    }
    conc__pp_drop(pool, list, item, CONC_CANCELED);
    return true;
}

void conc__procpool_cancel(conc_procpool *pool, conc__pp_item *const *items, size_t n, bool kill) {
    conc__pp_ended list;
    size_t i;
    conc__pp_ended_begin(&list);
    conc__lock_take(&pool->lock);
    (void)conc__pp_take_all(pool, &list); /* what has ended, has */
    for (i = 0; i < n; i++) {
        conc__pp_item *item = items[i];
        if (item->link == NULL && item->worker == NULL) continue; /* it has ended */
        if (conc__pp_take_out(pool, item, &list) || !kill) continue;
        (void)conc__pp_condemn(pool, item, CONC_CANCELED, 0, &list);
        conc__pp_poke(pool);
    }
    conc__pp_feed(pool);
    conc__lock_give(&pool->lock);
    conc__pp_tell(pool, &list);
}

static conc_result conc__pp_cancel(conc_future *f) {
    conc__pp_item *item = conc__pp_item_of(f);
    conc_result r = CONC_CLOSED;
    if (conc__future_is_ended(f)) return CONC_CLOSED;
    if (conc__procpool_is_forked(item->pool))
        return conc__fail(CONC_FORKED, "conc_future_cancel: the pool's workers are another process's");
    (void)conc_future_retain(f);
    conc__procpool_cancel(item->pool, &item, 1, false);
    if (!conc__future_is_ended(f))
        r = CONC_BUSY;
    else if (f->result == CONC_CANCELED)
        r = CONC_OK;
    conc_future_release(f);
    return r;
}

static void conc__pp_freed(conc_future *f) {
    conc__pp_item *item = conc__pp_item_of(f);
    conc__pp_item_clear(item);
    conc__pp_unuse(item->pool);
}

static const conc__future_class conc__pp_futures = {conc__pp_help, NULL, NULL, conc__pp_cancel,
                                                    conc__pp_freed};

conc_result conc_procpool_kill(conc_future *f) {
    conc__pp_item *item;
    if (f == NULL || f->cls != &conc__pp_futures)
        return conc__fail(CONC_INVALID, "conc_procpool_kill: this is no future of a process pool");
    if (conc__future_is_ended(f)) return CONC_CLOSED;
    item = conc__pp_item_of(f);
    if (conc__procpool_is_forked(item->pool))
        return conc__fail(CONC_FORKED, "conc_procpool_kill: the pool's workers are another process's");
    (void)conc_future_retain(f);
    conc__procpool_cancel(item->pool, &item, 1, true);
    conc_future_release(f);
    return CONC_OK;
}

void *conc_procpool_replied(const conc_future *f, size_t *size) {
    const conc__pp_item *item = NULL;
    if (f != NULL && f->cls == &conc__pp_futures && conc__future_is_ended(f)) item = conc__pp_item_of(f);
    if (item != NULL && (item->stream == NULL || item->stream->reply == 0 || item->stream->no_memory))
        item = NULL;
    if (size != NULL) *size = item != NULL ? item->stream->reply : 0;
    return item != NULL ? item->stream->data : NULL;
}

/* ---- handing in ---------------------------------------------------------------------------------------- */

uint64_t conc__procpool_function(const conc_procpool *pool, conc_fn fn, const char *call) {
    uint64_t number;
    if (fn == NULL) {
        (void)conc__fail(CONC_INVALID, "%s: no function", call);
        return 0;
    }
    if (pool->forks) {
        uintptr_t address = 0;
        /* ISO C has no cast between the two */
        memcpy(&address, &fn, sizeof fn < sizeof address ? sizeof fn : sizeof address);
        return (uint64_t)address;
    }
    number = conc__task_number_of(fn);
    if (number >= CONC__PP_NAMES) {
        number = 0;
        (void)conc__fail(CONC_INVALID, "%s: only the first %u functions that are registered can be a pool's",
                         call, CONC__PP_NAMES - 1u);
    } else if (number == 0) {
        (void)conc__fail(CONC_INVALID,
                         "%s: the pool's workers are spawned, and the function is not registered by "
                         "conc_process_register()",
                         call);
    }
    return number;
}

static bool conc__pp_is_full(const conc_procpool *pool) {
    size_t capacity = pool->desc.queue_capacity;
    if (capacity == 0) return false;
    if (capacity == CONC_POOL_NO_QUEUE) capacity = 0;
    return pool->outstanding >= pool->count && pool->outstanding - pool->count >= capacity;
}

static conc_result conc__pp_closed(const conc_procpool *pool, const char *call) {
    if (pool->gave_up) return conc__fail(CONC_CLOSED, "%s: %s", call, pool->why);
    return conc__fail(CONC_CLOSED, "%s: the process pool \"%s\" is closed", call, pool->name);
}

/* Accepts it. The lock is held. */
static void conc__pp_accept(conc_procpool *pool, conc__pp_item *item) {
    item->order = pool->stats.accepted;
    pool->stats.accepted += conc__pp_weight(item);
    pool->unfinished++;
    conc__pp_enqueue(pool, item);
}

/* Accepts it, if there is room; else CONC_FULL, or CONC_CLOSED. */
static conc_result conc__pp_place(conc_procpool *pool, conc__pp_item *item, const char *call) {
    conc_result r = CONC_OK;
    conc__pp_ended list;
    unsigned i;
    bool finishing = conc__self()->telling != NULL, take = false;
    conc__pp_ended_begin(&list);
    conc__lock_take(&pool->lock);
    if (pool->phase != CONC__PP_OPEN) {
        r = conc__pp_closed(pool, call);
    } else {
        if (conc__pp_is_full(pool)) (void)conc__pp_take_all(pool, &list);
        if (conc__pp_is_full(pool)) r = CONC_FULL;
    }
    if (r == CONC_OK) {
        pool->outstanding++;
        conc__pp_accept(pool, item);
        conc__pp_feed(pool);
        take = pool->first != NULL;
        for (i = 0; !take && i < pool->count; i++)
            take = pool->workers[i].posted - pool->workers[i].taken > CONC__PP_SLOTS / 2;
        if (take && !finishing && conc__pp_take_all(pool, &list)) {
            pool->visits++;
            conc__pp_feed(pool);
        }
    }
    conc__lock_give(&pool->lock);
    conc__pp_tell(pool, &list);
    return r;
}

/* Makes room: the task that has waited longest is not run. False: there is none that has not begun. */
static bool conc__pp_drop_oldest(conc_procpool *pool) {
    conc__pp_ended list;
    conc__pp_item *item, *oldest = NULL;
    bool dropped = false;
    unsigned i;
    conc__pp_ended_begin(&list);
    conc__lock_take(&pool->lock);
    for (i = 0; i < pool->count && !dropped; i++) { /* those in the rings came before those in the queue */
        conc__pp_worker *w = &pool->workers[i];
        uint32_t n;
        if (w->process == NULL) continue;
        for (n = w->taken; n != w->posted; n++) {
            item = w->items[n % CONC__PP_SLOTS];
            if (item != NULL && item->map == NULL &&
                conc__load32(&w->slots[n % CONC__PP_SLOTS].state, CONC__ACQUIRE) == CONC__PP_POSTED) {
                if (oldest == NULL || (int64_t)(item->order - oldest->order) < 0) oldest = item;
                break;
            }
        }
    }
    if (oldest != NULL) dropped = conc__pp_take_out(pool, oldest, &list);
    for (item = pool->first; item != NULL && !dropped; item = item->next) {
        if (item->map == NULL) {
            dropped = conc__pp_take_out(pool, item, &list);
            break;
        }
    }
    conc__lock_give(&pool->lock);
    conc__pp_tell(pool, &list);
    return dropped;
}

/* What an op has: the item to be placed, and the name of the call. */
static conc_result conc__pp_room_attempt(conc_op *op) {
    conc_result r =
        conc__pp_place((conc_procpool *)op->object, (conc__pp_item *)op->data, "conc_procpool_run");
    return r == CONC_FULL ? CONC_PENDING : r;
}

static bool conc__pp_room_arm(conc_op *op, conc_node *node) {
    conc_procpool *pool = (conc_procpool *)op->object;
    bool wait;
    conc_waiters_arm(&pool->room, node);
    conc__lock_take(&pool->lock); /* who makes room does so under it, and then looks whether it is wanted */
    wait = pool->phase == CONC__PP_OPEN && conc__pp_is_full(pool);
    if (wait) pool->room_wanted = true;
    conc__lock_give(&pool->lock);
    if (!wait) conc_waiters_disarm(node);
    return wait;
}

static const conc_op_class conc__pp_room_op = {"process pool run", CONC_REJECTED, conc__pp_room_attempt,
                                               conc__pp_room_arm,  NULL,          NULL};

/* Places it as the policy says. CONC_OK; CONC_REJECTED with *discarded: it is not run, and the call succeeds. */
static conc_result conc__pp_hand_in(conc_procpool *pool, conc__pp_item *item, const conc_procpool_task *task,
                                    bool *discarded) {
    conc_result r = conc__pp_place(pool, item, "conc_procpool_run");
    *discarded = false;
    while (r == CONC_FULL && pool->desc.on_reject == CONC_REJECT_DISCARD_OLDEST &&
           conc__pp_drop_oldest(pool)) {
        r = conc__pp_place(pool, item, "conc_procpool_run");
    }
    /* a callback keeps others from their end */
    if (r == CONC_FULL && pool->desc.on_reject == CONC_REJECT_BLOCK && conc__self()->telling == NULL) {
        conc_deadline until =
            pool->desc.block_seconds > 0 ? conc_after(pool->desc.block_seconds) : CONC_FOREVER;
        conc_op op = conc_op_make(&conc__pp_room_op, pool, item);
        if (task != NULL && task->until.ns != 0) until = task->until;
        r = conc__wait_op(&op, until);
        if (r == CONC_BUSY) r = CONC_REJECTED;
    }
    if (r == CONC_FULL || r == CONC_REJECTED) {
        *discarded = pool->desc.on_reject == CONC_REJECT_DISCARD;
        r = *discarded ? CONC_REJECTED
                       : conc__fail(CONC_REJECTED, "pool full: the process pool \"%s\" has %zu tasks waiting",
                                    pool->name, pool->outstanding);
    }
    if (r != CONC_OK) {
        conc__lock_take(&pool->lock);
        pool->stats.rejected++;
        conc__lock_give(&pool->lock);
    }
    return r;
}

static int64_t conc__pp_nanoseconds(double seconds) {
    return seconds > 9e9 || !(seconds > 0) ? 0 : seconds < 1e-9 ? 1 : (int64_t)(seconds * 1e9);
}

int64_t conc__procpool_limit(const conc_procpool *pool) {
    return conc__pp_nanoseconds(pool->desc.time_limit);
}

/* What every task begins with. `bytes`: room for a copy of a small argument; NULL: there is none. */
static conc_result conc__pp_prepare(conc_procpool *pool, conc__pp_item *item, conc_fn fn, const void *arg,
                                    size_t size, const conc_procpool_task *task, bool copy, char *bytes,
                                    const char *call) {
    if (arg == NULL && size != 0) return conc__fail(CONC_INVALID, "%s: no argument", call);
    if (size > pool->desc.size_max) {
        return conc__fail(CONC_INVALID, "%s: an argument of %zu bytes, where the pool's size_max allows %zu",
                          call, size, pool->desc.size_max);
    }
    item->fn = conc__procpool_function(pool, fn, call);
    if (item->fn == 0) return CONC_INVALID;
    item->pool = pool;
    item->arg = (void *)(uintptr_t)arg;
    item->size = size;
    item->limit = task != NULL && task->time_limit > 0 ? conc__pp_nanoseconds(task->time_limit)
                                                       : conc__procpool_limit(pool);
    item->back = !copy;
    if (copy && size != 0) {
        uint64_t at;
        if (conc__pp_in_buffers(pool, item, &at)) return CONC_OK;
        if (size <= CONC__PP_INLINE && bytes != NULL) {
            memcpy(bytes, arg, size);
            item->arg = bytes;
        } else {
            item->arg = conc__alloc(1, size, "a task's argument");
            if (item->arg == NULL) return CONC_NO_MEMORY;
            item->owned = true;
            memcpy(item->arg, arg, size);
        }
    }
    return CONC_OK;
}

/* One without a future, prepared. NULL, with the error recorded. */
static conc__pp_item *conc__pp_item_new(conc_procpool *pool, conc_fn fn, const void *arg, size_t size,
                                        const conc_procpool_task *task) {
    conc__pp_item *item;
    conc__pp_run *run;
    conc__lock_take(&pool->lock);
    item = pool->spare;
    if (item != NULL) {
        pool->spare = item->next;
        pool->spares--;
    }
    conc__lock_give(&pool->lock);
    if (item != NULL) {
        memset(item, 0, sizeof *item);
        run = (conc__pp_run *)(void *)item;
    } else {
        run = (conc__pp_run *)conc__alloc(1, sizeof *run, "a task");
        item = run != NULL ? &run->item : NULL;
    }
    if (item != NULL &&
        conc__pp_prepare(pool, item, fn, arg, size, task, true, run->bytes, "conc_procpool_run") != CONC_OK) {
        conc__free(item);
        item = NULL;
    }
    return item;
}

static void conc__pp_item_free(conc__pp_item *item) {
    if (item->owned) conc__free(item->arg);
    conc__free(item);
}

conc_result conc_procpool_run_ex(conc_procpool *pool, conc_fn fn, const void *arg, size_t size,
                                 const conc_procpool_task *task) {
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_run");
    conc__pp_item *item;
    bool discarded;
    if (r != CONC_OK) return r;
    item = conc__pp_item_new(pool, fn, arg, size, task);
    if (item == NULL) return conc_error_result();
    r = conc__pp_hand_in(pool, item, task, &discarded);
    if (r != CONC_OK) conc__pp_item_free(item);
    CONC__OPAQUE();
    return discarded ? CONC_OK : r;
}

conc_result conc_procpool_run(conc_procpool *pool, conc_fn fn, const void *arg, size_t size) {
    return conc_procpool_run_ex(pool, fn, arg, size, NULL);
}

conc_future *conc_procpool_submit_ex(conc_procpool *pool, conc_fn fn, void *arg, size_t size,
                                     const conc_procpool_task *task) {
    conc__pp_future *f;
    conc_result r;
    bool discarded = false;
    if (conc__procpool_wrong(pool, "conc_procpool_submit") != CONC_OK) return NULL;
    f = (conc__pp_future *)conc__alloc(1, sizeof *f, "a future");
    if (f == NULL) return NULL;
    conc__future_init(&f->future, &conc__pp_futures, NULL, fn, arg);
    f->future.state = CONC__BEGUN; /* nobody but the pool ends it */
    f->future.users = 2;
    f->item.has_future = true;
    r = conc__pp_prepare(pool, &f->item, fn, arg, size, task, task != NULL && task->copy, NULL,
                         "conc_procpool_submit");
    if (r == CONC_OK) {
        (void)conc__add32(&pool->refs, 1, CONC__RELAXED);
        r = conc__pp_hand_in(pool, &f->item, task, &discarded);
        if (r != CONC_OK && !discarded) conc__pp_unuse(pool);
    }
    CONC__OPAQUE();
    if (r == CONC_OK) return &f->future;
    if (f->item.owned) conc__free(f->item.arg);
    if (!discarded) {
        conc__free(f);
        return NULL;
    }
    conc__future_end(&f->future, CONC_REJECTED, 0, NULL);
    conc_future_release(&f->future);
    return &f->future;
}

conc_future *conc_procpool_submit(conc_procpool *pool, conc_fn fn, void *arg, size_t size) {
    return conc_procpool_submit_ex(pool, fn, arg, size, NULL);
}

conc_result conc_procpool_call(conc_procpool *pool, conc_fn fn, void *arg, size_t size, int *code) {
    conc_future *f = conc_procpool_submit(pool, fn, arg, size);
    conc_result r;
    if (f == NULL) return conc_error_result();
    r = conc_future_wait(f, CONC_FOREVER);
    if (!conc_future_is_done(f)) { /* the caller is canceled; the argument is ours until the task has ended */
        conc_op op = conc_op_future(f);
        (void)conc_procpool_kill(f);
        r = conc__wait_uncanceled(&op, CONC_FOREVER);
    }
    if (r != CONC_OK && r != CONC_CANCELED) (void)conc__fail(r, "%s", conc_future_detail(f));
    if (code != NULL) *code = conc_future_code(f);
    conc_future_release(f);
    return r;
}

static conc_result conc__pp_run_attempt(conc_op *op) {
    conc_procpool *pool = (conc_procpool *)op->object;
    const conc_procpool_job *job = (const conc_procpool_job *)op->data;
    conc__pp_item *item;
    conc_result r = conc__procpool_wrong(pool, "conc_op_procpool_run");
    if (r != CONC_OK) return r;
    if (job == NULL) return conc__fail(CONC_INVALID, "conc_op_procpool_run: no job");
    item = conc__pp_item_new(pool, job->fn, job->arg, job->size, NULL);
    if (item == NULL) return conc_error_result();
    r = conc__pp_place(pool, item, "conc_op_procpool_run");
    if (r != CONC_OK) conc__pp_item_free(item);
    return r == CONC_FULL ? CONC_PENDING : r;
}

conc_op conc_op_procpool_run(conc_procpool *pool, const conc_procpool_job *job) {
    static const conc_op_class cls = {"process pool run", CONC_REJECTED, conc__pp_run_attempt,
                                      conc__pp_room_arm,  NULL,          NULL};
    return conc_op_make(&cls, pool, (void *)(uintptr_t)job);
}

conc_result conc__procpool_add(conc_procpool *pool, conc__pp_item *first, bool more) {
    conc__pp_ended list;
    conc_result r = CONC_OK;
    conc__pp_ended_begin(&list);
    conc__lock_take(&pool->lock);
    if (pool->phase != CONC__PP_OPEN && !more) r = conc__pp_closed(pool, "conc_procpool_map");
    while (r == CONC_OK && first != NULL) {
        conc__pp_item *next = first->next;
        conc__pp_accept(pool, first);
        if (pool->discards || pool->gave_up) {
            conc__pp_dequeue(pool, first);
            conc__pp_drop(pool, &list, first, pool->gave_up ? CONC_CRASHED : CONC_CANCELED);
        }
        first = next;
    }
    conc__pp_feed(pool);
    conc__lock_give(&pool->lock);
    conc__pp_tell(pool, &list);
    return r;
}

/* ---- buffers ------------------------------------------------------------------------------------------- */

void *conc_procpool_buffer(conc_procpool *pool, size_t size) {
    char *data = NULL;
    size_t i, at = 0;
    if (conc__procpool_wrong(pool, "conc_procpool_buffer") != CONC_OK) return NULL;
    if (size == 0 || pool->buffers == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_procpool_buffer: %s",
                         size == 0 ? "no size" : "the pool has no buffer_size");
        return NULL;
    }
    if (size > pool->desc.buffer_size) size = pool->desc.buffer_size + 1;
    size = conc__pp_align(size, 64);
    conc__lock_take(&pool->lock);
    if (pool->range_count == pool->range_room) {
        size_t room = pool->range_room == 0 ? 16 : pool->range_room * 2;
        conc__pp_range *more =
            (conc__pp_range *)conc__realloc(pool->ranges, room, sizeof *more, "a process pool's buffers");
        if (more == NULL) {
            conc__lock_give(&pool->lock);
            return NULL;
        }
        pool->ranges = more;
        pool->range_room = room;
    }
    for (i = 0; i < pool->range_count && pool->ranges[i].begin - at < size; i++)
        at = pool->ranges[i].begin + pool->ranges[i].size;
    if (i < pool->range_count || size <= pool->desc.buffer_size - at) {
        memmove(pool->ranges + i + 1, pool->ranges + i, (pool->range_count - i) * sizeof *pool->ranges);
        pool->ranges[i].begin = at;
        pool->ranges[i].size = size;
        pool->range_count++;
        data = (char *)conc_shared_data(pool->buffers) + at;
    }
    conc__lock_give(&pool->lock);
    if (data == NULL)
        (void)conc__fail(CONC_NO_MEMORY, "conc_procpool_buffer: no room for %zu bytes in the pool's %zu",
                         size, pool->desc.buffer_size);
    return data;
}

conc_result conc_procpool_buffer_free(conc_procpool *pool, void *buffer) {
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_buffer_free");
    const char *base;
    size_t i = 0;
    if (r != CONC_OK || buffer == NULL) return r;
    base = (const char *)conc_shared_data(pool->buffers);
    conc__lock_take(&pool->lock);
    while (i < pool->range_count && base + pool->ranges[i].begin != (const char *)buffer) i++;
    if (i == pool->range_count) {
        r = CONC_INVALID;
    } else {
        pool->range_count--;
        memmove(pool->ranges + i, pool->ranges + i + 1, (pool->range_count - i) * sizeof *pool->ranges);
    }
    conc__lock_give(&pool->lock);
    return r == CONC_OK ? r : conc__fail(r, "conc_procpool_buffer_free: this is no buffer of the pool");
}

/* ---- making -------------------------------------------------------------------------------------------- */

/* At exit(): closes all, and waits for their tasks. */
static void conc__procpools_at_exit(void) {
    for (;;) {
        conc_procpool *pool;
        conc_op op;
        conc__lock_take(&conc__procpools_lock);
        for (pool = conc__procpools; pool != NULL; pool = pool->next) {
            if (pool->desc.daemon) {
                conc__lock_take(&pool->lock);
                pool->exiting = true; /* its workers are killed with the other daemons */
                conc__lock_give(&pool->lock);
            } else {
                break;
            }
        }
        if (pool != NULL) {
            (void)conc__add32(&pool->refs, 1, CONC__RELAXED);
            *pool->link = pool->next;
            if (pool->next != NULL) pool->next->link = pool->link;
            pool->link = NULL;
        }
        conc__lock_give(&conc__procpools_lock);
        if (pool == NULL) return;
        (void)conc_procpool_close(pool);
        op = conc_op_event(&pool->ended);
        /* (a callback that calls exit() keeps it from its end) */
        if (conc__self()->telling == NULL) (void)conc__wait_uncanceled(&op, CONC_FOREVER);
        conc__pp_unuse(pool);
    }
}

static const char *conc__pp_desc_wrong(const conc_procpool_desc *d, unsigned workers) {
    if (workers > CONC_PROCPOOL_MAX_WORKERS) return "more workers than CONC_PROCPOOL_MAX_WORKERS";
    if (!(d->block_seconds >= 0) || !(d->time_limit >= 0)) return "a negative time";
    if (d->on_reject == CONC_REJECT_CALLER_RUNS)
        return "the caller cannot run tasks: it is not a process of its own";
    if ((unsigned)d->on_reject > CONC_REJECT_BLOCK) return "no such policy";
    if (d->queue_capacity == CONC_POOL_NO_QUEUE && d->on_reject == CONC_REJECT_DISCARD_OLDEST)
        return "without a queue there is no oldest to be discarded";
    if (d->init_size != 0 && d->init_arg == NULL) return "no argument for the initialiser";
    if (d->size_max > SIZE_MAX / 4 - CONC__PP_AREA_AT || d->buffer_size > SIZE_MAX / 4) return "too large";
    if (d->memory_limit != 0 && !CONC__PROCESS_LIMITS) return "there are no memory limits on this system";
    return NULL;
}

/* Its workers that are there end, as if they had never been. Nobody else knows of it. */
static void conc__pp_undo(conc_procpool *pool) {
    conc_deadline until = conc_after(CONC__PP_GRACE);
    unsigned i;
    for (i = 0; i < pool->count; i++) {
        conc__pp_worker *w = &pool->workers[i];
        int code;
        if (w->process == NULL) continue;
        conc__pp_stop(w);
        (void)conc_channel_close(conc_process_channel(w->process));
        conc__pp_kill(w);
        while (conc_process_is_alive(w->process) && !conc_deadline_passed(until))
            (void)conc_sleep(conc_after(0.001));
        /* it cannot be killed */
        if (conc_process_join(w->process, &code, CONC_NOW) == CONC_BUSY)
            (void)conc_process_detach(w->process);
        conc_shared_free(w->shared);
        conc__free(w->params);
    }
    conc__port_poller_close(&pool->poller);
    conc_shared_free(pool->buffers);
    conc__pp_unuse(pool);
}

static bool conc__pp_begin(conc_procpool *pool) {
    conc_thread_desc desc;
    unsigned i;
    if (pool->desc.init_size != 0) {
        pool->init = conc__alloc(1, pool->desc.init_size, "an initialiser's argument");
        if (pool->init == NULL) return false;
        memcpy(pool->init, pool->desc.init_arg, pool->desc.init_size);
        pool->desc.init_arg = pool->init;
    }
    if (pool->desc.buffer_size != 0) {
        pool->buffers = conc_shared_new(pool->desc.buffer_size);
        if (pool->buffers == NULL) return false;
    }
    if (pool->desc.initialize != NULL &&
        conc__procpool_function(pool, pool->desc.initialize, "conc_procpool_new: the initialiser") == 0)
        return false;
    for (i = 0; i < pool->count; i++) {
        pool->workers[i].number = i + 1;
        pool->workers[i].next_area = CONC__PP_AREA;
        if (conc__pp_start(pool, &pool->workers[i]) != CONC_OK) return false;
    }
    memset(&desc, 0, sizeof desc);
    desc.name = pool->name;
    desc.daemon = true;
    pool->keeper = conc_thread_start(conc__pp_keep, pool, &desc);
    return pool->keeper != NULL;
}

conc_procpool *conc_procpool_new(unsigned workers, const conc_procpool_desc *desc) {
    conc_procpool *pool;
    conc_procpool_desc d;
    const char *wrong;
    int e;
    memset(&d, 0, sizeof d);
    if (desc != NULL) d = *desc;
    if (workers == 0) workers = conc_cpu_count();
    if (d.name == NULL) d.name = "procpool";
    if (d.size_max == 0) d.size_max = (size_t)1 << (sizeof(size_t) < 8 ? 28 : 30);
    if (d.method == CONC_PROCESS_DEFAULT)
        d.method = conc__process_may_spawn() || !CONC__PROCESS_FORKS ? CONC_PROCESS_SPAWN : CONC_PROCESS_FORK;
    wrong = conc__pp_desc_wrong(&d, workers);
    if (wrong != NULL) {
        (void)conc__fail(CONC_INVALID, "conc_procpool_new: %s", wrong);
        return NULL;
    }
    pool = (conc_procpool *)conc__alloc(1, sizeof *pool + (workers - 1) * sizeof *pool->workers,
                                        "a process pool");
    if (pool == NULL) return NULL;
    pool->desc = d;
    (void)snprintf(pool->name, sizeof pool->name, "%.20s", d.name);
    pool->desc.name = pool->name;
    pool->count = workers;
    pool->forks = d.method == CONC_PROCESS_FORK;
    pool->last = &pool->first;
    pool->refs = 1;
    pool->look_at = INT64_MAX;
    (void)conc__self();
    pool->generation = conc__fork_generation();
    e = conc__port_poller_open(&pool->poller);
    if (e != 0) {
        conc__pp_unuse(pool);
        (void)conc__fail_system(conc__port_kind_of(e) == CONC__PORT_TABLE_FULL ? CONC_REJECTED : CONC_SYSTEM,
                                e, "cannot make a process pool's poller");
        return NULL;
    }
    conc__on_fork(CONC__RESET_PROCPOOLS, conc__procpools_reset);
    conc__before_exit(CONC__EXIT_PROCPOOLS, conc__procpools_at_exit);
    conc__lock_take(&conc__procpools_lock);
    pool->next = conc__procpools;
    pool->link = &conc__procpools;
    if (pool->next != NULL) pool->next->link = &pool->next;
    conc__procpools = pool;
    conc__lock_give(&conc__procpools_lock);
    if (conc__pp_begin(pool)) return pool;
    {
        conc_result r = conc_error_result();
        char why[240];
        (void)snprintf(why, sizeof why, "%.239s", conc_error_detail());
        conc__pp_leave_list(pool);
        conc__pp_undo(pool);
        (void)conc__fail(r, "%s", why);
    }
    return NULL;
}

/* ---- the end ------------------------------------------------------------------------------------------- */

/* CONC_OK: it was open. */
static conc_result conc__pp_shut(conc_procpool *pool, bool discards, bool kills) {
    conc__pp_ended list;
    conc_result r;
    unsigned i;
    conc__pp_ended_begin(&list);
    (void)conc__add32(&pool->refs, 1, CONC__RELAXED);
    conc__lock_take(&pool->lock);
    r = pool->phase == CONC__PP_OPEN ? CONC_OK : CONC_CLOSED;
    pool->phase = CONC__PP_CLOSED;
    if (discards) {
        (void)conc__pp_take_all(pool, &list);
        pool->discards = true;
        while (pool->first != NULL) {
            conc__pp_item *item = pool->first;
            conc__pp_dequeue(pool, item);
            conc__pp_drop(pool, &list, item, CONC_CANCELED);
        }
        for (i = 0; i < pool->count; i++) {
            conc__pp_worker *w = &pool->workers[i];
            uint32_t number;
            if (w->process == NULL) continue;
            (void)conc__pp_retract(pool, w, CONC__PP_SLOTS, &list);
            if (!kills) continue;
            /* Those that have returned by now, and the one that runs: */
            for (number = w->taken; number != w->posted; number++) {
                conc__pp_item *item = w->items[number % CONC__PP_SLOTS];
                if (item != NULL && item->reason == CONC_OK) item->reason = CONC_CANCELED;
            }
            w->condemned = true;
            conc__pp_kill(w);
        }
    }
    list.room = list.room || pool->room_wanted; /* who waits for room is told that there will be none */
    pool->room_wanted = false;
    conc__pp_poke(pool);
    conc__lock_give(&pool->lock);
    conc__pp_tell(pool, &list);
    conc__pp_unuse(pool);
    return r;
}

conc_result conc_procpool_close(conc_procpool *pool) {
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_close");
    return r == CONC_OK ? conc__pp_shut(pool, false, false) : r;
}

conc_result conc_procpool_close_now(conc_procpool *pool) {
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_close_now");
    return r == CONC_OK ? conc__pp_shut(pool, true, false) : r;
}

conc_result conc_procpool_terminate(conc_procpool *pool) {
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_terminate");
    return r == CONC_OK ? conc__pp_shut(pool, true, true) : r;
}

static conc_result conc__pp_end_attempt(conc_op *op) {
    conc_procpool *pool = (conc_procpool *)op->object;
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_join");
    bool open;
    if (r != CONC_OK) return r;
    if (conc_event_is_set(&pool->ended)) return CONC_OK;
    if (conc__self()->telling != NULL)
        return conc__fail(CONC_DEADLOCK,
                          "conc_procpool_join: the caller is a callback, and keeps the pool from its end");
    conc__lock_take(&pool->lock);
    open = pool->phase == CONC__PP_OPEN;
    conc__lock_give(&pool->lock);
    if (open)
        return conc__fail(CONC_INVALID,
                          "conc_procpool_join: the pool \"%s\" is open, and would go on: close it first",
                          pool->name);
    return CONC_PENDING;
}

static bool conc__pp_end_arm(conc_op *op, conc_node *node) {
    conc_op event = conc_op_event(&((conc_procpool *)op->object)->ended);
    return event.cls->arm(&event, node);
}

conc_op conc_op_procpool_end(conc_procpool *pool) {
    static const conc_op_class cls = {"process pool end", CONC_BUSY, conc__pp_end_attempt,
                                      conc__pp_end_arm,   NULL,      NULL};
    return conc_op_make(&cls, pool, NULL);
}

static bool conc__pp_event_is_set(void *event) {
    return conc_event_is_set((conc_event *)event);
}

conc_result conc_procpool_join(conc_procpool *pool, conc_deadline deadline) {
    conc_op op = conc_op_procpool_end(pool);
    if (pool != NULL && !conc__procpool_is_forked(pool) && deadline.ns != INT64_MIN &&
        conc_procpool_is_closed(pool) && conc__self()->telling == NULL) {
        (void)conc__procpool_watch(pool, conc__pp_event_is_set, &pool->ended);
    }
    return conc__wait_op(&op, deadline);
}

conc_result conc_procpool_free(conc_procpool *pool) {
    if (pool == NULL) return CONC_OK;
    if (conc__procpool_is_forked(pool)) { /* the rest went with the fork; or stays, with what had not ended */
        conc_shared_free(pool->buffers);
        conc__pp_unuse(pool);
        return CONC_OK;
    }
    if (!conc_event_is_set(&pool->ended)) {
        return conc__fail(CONC_BUSY,
                          "conc_procpool_free: the pool \"%s\" has not ended: close and join it first",
                          pool->name);
    }
    conc__lock_take(&pool->lock);
    if (pool->iterators != 0) {
        conc__lock_give(&pool->lock);
        return conc__fail(CONC_BUSY, "conc_procpool_free: an iterator over the pool \"%s\" is still open",
                          pool->name);
    }
    conc__lock_give(&pool->lock);
    {
        conc_op end = conc_op_thread_end(pool->keeper);
        (void)conc__wait_uncanceled(&end, CONC_FOREVER);
        (void)conc_thread_join(pool->keeper, NULL, CONC_FOREVER);
    }
    conc__pp_leave_list(pool);
    conc__port_poller_close(&pool->poller);
    conc_shared_free(pool->buffers);
    conc__pp_unuse(pool);
    return CONC_OK;
}

conc_result conc_procpool_finish(conc_procpool *pool) {
    conc_result r = CONC_OK;
    if (pool == NULL) return CONC_OK;
    if (!conc__procpool_is_forked(pool)) {
        (void)conc_procpool_close(pool);
        r = conc_procpool_join(pool, CONC_FOREVER);
    }
    return r == CONC_OK ? conc_procpool_free(pool) : r;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

conc_procpool_stats conc_procpool_stats_of(conc_procpool *pool) {
    conc_procpool_stats s;
    unsigned i;
    memset(&s, 0, sizeof s);
    if (conc__procpool_wrong(pool, "conc_procpool_stats_of") != CONC_OK) return s;
    conc__lock_take(&pool->lock);
    s = pool->stats;
    s.waiting = pool->queued;
    for (i = 0; i < pool->count; i++) {
        const conc__pp_worker *w = &pool->workers[i];
        uint32_t n;
        if (w->process == NULL) continue;
        s.workers++;
        if (w->held != 0) s.busy++;
        for (n = w->taken; n != w->posted; n++) {
            const conc__pp_item *item = w->items[n % CONC__PP_SLOTS];
            if (item != NULL &&
                conc__load32(&w->slots[n % CONC__PP_SLOTS].state, CONC__ACQUIRE) == CONC__PP_POSTED)
                s.waiting += conc__pp_weight(item);
        }
    }
    conc__lock_give(&pool->lock);
    return s;
}

const conc_procpool_desc *conc_procpool_desc_of(const conc_procpool *pool) {
    return pool != NULL ? &pool->desc : NULL;
}

const char *conc_procpool_name(const conc_procpool *pool) {
    return pool != NULL ? pool->name : "";
}

bool conc_procpool_is_closed(const conc_procpool *pool) {
    conc_procpool *p = (conc_procpool *)(uintptr_t)pool;
    bool closed;
    if (pool == NULL || conc__procpool_is_forked(pool)) return pool != NULL;
    conc__lock_take(&p->lock);
    closed = p->phase != CONC__PP_OPEN;
    conc__lock_give(&p->lock);
    return closed;
}

long conc_procpool_pid(conc_procpool *pool, unsigned number) {
    long pid = 0;
    if (conc__procpool_wrong(pool, "conc_procpool_pid") != CONC_OK || number == 0 || number > pool->count)
        return 0;
    conc__lock_take(&pool->lock);
    if (pool->workers[number - 1].process != NULL) pid = conc_process_pid(pool->workers[number - 1].process);
    conc__lock_give(&pool->lock);
    return pid;
}

unsigned conc__procpool_width(const conc_procpool *pool) {
    return pool->count;
}

void conc__procpool_iterated(conc_procpool *pool, bool begins) {
    conc__lock_take(&pool->lock);
    if (begins) {
        pool->iterators++;
    } else {
        pool->iterators--;
    }
    conc__lock_give(&pool->lock);
}
