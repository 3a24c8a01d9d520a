/* ============================================================================================
 * pool: see pool.h.
 *
 * THE QUEUE. A bounded one is a conc_queue: a lock-free ring (by priority: a heap). An unbounded one is a ring, too,
 * with a second queue behind it, `spill`, that takes what the ring has no room for; as long as there is anything in
 * it, all that is handed in goes there, and threads move it on in bulk when the ring is empty. So order is kept, and
 * a task costs the ring's two compare-and-swaps and no memory of its own.
 *
 * THE THREADS. The common ways take no lock: to hand in, put into the ring, if no thread is idle and the core is
 * complete; to get work, take from the ring. All that changes the number of threads, or of idle ones, or goes by the
 * rules' other steps, is done under the pool's lock, so that the rules hold exactly there.
 *
 * A thread without a task *searches* for a moment (it looks again and again; so a task that comes soon costs no sleep
 * and no wake), then enters the list of the idle, looks once more, and sleeps. Why no task is overlooked, all four
 * accesses of each pair being sequentially consistent:
 *  - A task is put, then `idle` and `threads` are read. A thread raises `idle`, then looks at the queue. One of the two sees the
 *    other: either the thread finds the task, or who handed it in wakes an idle one.
 *  - Whoever hands in need not wake one if as many threads are searching as tasks are in the queue. One that stops searching
 *    lowers `searching`, then looks: when it becomes idle, at the queue; when it has found something, at the queue again,
 *    and wakes an idle one if there is more.
 *  - A thread that ends lowers `threads`, and then looks at the queue, and stays if there is something. Who has put a task
 *    and then reads fewer threads than the core starts one.
 * The same holds for jobs (job.c): they are opened and `forking` is raised, then the sleepers are read; and nobody is
 * woken while another is on its way (`coming`) or searches: that one looks after it has lowered the count, and if it
 * has something else to do, it has the next one come.
 *
 * A thread that is taken out of a list of sleepers by another is given a permit of its `wake`, exactly one, and takes
 * it; that is all there is to waking. With the permit an idle one may be handed a task directly.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>

#if !defined(CONC__POOL_RING) /* (the simulated tests make these smaller) */
#define CONC__POOL_RING 1024 /* tasks in an unbounded pool's ring */
#define CONC__POOL_MOVED 128 /* from the spill into the ring, at a time */
#endif

enum { CONC__POOL_OPEN, CONC__POOL_CLOSED, CONC__POOL_STOPPED };

typedef struct conc__urgent { /* an item of a queue by priority */
    conc__item item;
    int priority;
} conc__urgent;

/* What a future has that waits for its time. */
typedef struct conc__schedule {
    struct conc__schedule *next, **link; /* among those of the pool that wait; link NULL: it does not. Guarded by the
                                            pool's lock, */
    conc_future *f;
    conc_timer *timer;    /* as is this */
    conc_deadline when;
    int64_t every;        /* nanoseconds; 0: once */
    bool after_each;
} conc__schedule;

static int conc__future_task(void *f);

static bool conc__is_internal(conc_fn fn) {
    return fn == conc__future_task || fn == conc__team_task || fn == conc__offload_task;
}

bool conc__pool_is_forked(const conc_pool *pool) {
    return pool->generation != conc__fork_generation();
}

bool conc__pool_is_closed(const conc_pool *pool) {
    return conc__load32(&pool->phase, CONC__ACQUIRE) != CONC__POOL_OPEN;
}

bool conc__pool_is_stopped(const conc_pool *pool) {
    return conc__load32(&pool->phase, CONC__ACQUIRE) == CONC__POOL_STOPPED;
}

static conc_result conc__pool_wrong(const conc_pool *pool, const char *call) {
    if (pool == NULL) return conc__fail(CONC_INVALID, "%s: no pool", call);
    if (conc__pool_is_forked(pool)) return conc__fail(CONC_FORKED, "%s: the pool's threads are in the process that forked", call);
    return CONC_OK;
}

/* ---- the queue ----------------------------------------------------------------------------------- */

static int conc__compare_urgent(const void *a, const void *b) {
    int pa = ((const conc__urgent *)a)->priority, pb = ((const conc__urgent *)b)->priority;
    return pa > pb ? -1 : pa < pb;
}

/* CONC_OK, CONC_FULL, CONC_CLOSED, CONC_NO_MEMORY. What is put is seen by whoever reads the queue's length, or
 * `spilled`, later. */
static conc_result conc__pool_put(conc_pool *pool, const conc__item *item, int priority) {
    conc_result r = CONC_FULL;
    if (pool->queue == NULL) return CONC_FULL;
    if (pool->desc.by_priority) {
        conc__urgent urgent;
        memset(&urgent, 0, sizeof urgent);
        urgent.item = *item;
        urgent.priority = priority;
        return conc_queue_put(pool->queue, &urgent, CONC_NOW);
    }
    if (pool->spill == NULL || conc__loadz(&pool->spilled, CONC__ACQUIRE) == 0) r = conc_queue_put(pool->queue, item, CONC_NOW);
    if (pool->spill == NULL || r != CONC_FULL) return r;
    conc__lock_take(&pool->spill_lock);
    if (conc__loadz(&pool->spilled, CONC__RELAXED) == 0) r = conc_queue_put(pool->queue, item, CONC_NOW);
    if (r == CONC_FULL) {
        r = conc_queue_put(pool->spill, item, CONC_NOW);
        if (r == CONC_OK) (void)conc__addz(&pool->spilled, 1, CONC__SEQ_CST);
    }
    conc__lock_give(&pool->spill_lock);
    return r;
}

/* With the spill's lock held: its first item. */
static bool conc__spill_get(conc_pool *pool, conc__item *item) {
    if (pool->has_front) {
        *item = pool->front;
        pool->has_front = false;
        return true;
    }
    return conc_queue_get(pool->spill, item, CONC_NOW) == CONC_OK;
}

/* The ring is empty: takes the first of the spilled, and moves the next ones into the ring. Only when they are there
 * are they taken off `spilled`, so that what is handed in later comes behind them. */
static bool conc__pool_get_spilled(conc_pool *pool, conc__item *item) {
    conc__item next;
    size_t moved = 0;
    bool found;
    conc__lock_take(&pool->spill_lock);
    found = conc_queue_get(pool->queue, item, CONC_NOW) == CONC_OK; /* another has moved some meanwhile */
    if (!found) {
        found = conc__spill_get(pool, item);
        if (found) moved++;
        while (moved < CONC__POOL_MOVED && conc__spill_get(pool, &next)) {
            if (conc_queue_put(pool->queue, &next, CONC_NOW) != CONC_OK) { /* full again, or closed */
                pool->front = next;
                pool->has_front = true;
                break;
            }
            moved++;
        }
        if (moved != 0) (void)conc__subz(&pool->spilled, moved, CONC__SEQ_CST);
    }
    conc__lock_give(&pool->spill_lock);
    return found;
}

static bool conc__pool_get(conc_pool *pool, conc__item *item) {
    bool found;
    if (pool->queue == NULL) return false;
    if (pool->desc.by_priority) {
        conc__urgent urgent;
        found = conc_queue_get(pool->queue, &urgent, CONC_NOW) == CONC_OK;
        if (found) *item = urgent.item;
    } else {
        found = conc_queue_get(pool->queue, item, CONC_NOW) == CONC_OK;
        if (!found && pool->spill != NULL && conc__loadz(&pool->spilled, CONC__SEQ_CST) != 0) {
            found = conc__pool_get_spilled(pool, item);
        }
    }
    return found;
}

/* A future in the queue that is run by another, or was canceled, stays there until its turn comes. */
static void conc__stale(conc_pool *pool, bool one_more) {
    if (one_more) {
        (void)conc__addz(&pool->stale, 1, CONC__RELAXED);
    } else {
        (void)conc__subz(&pool->stale, 1, CONC__RELAXED);
    }
}

static size_t conc__pool_queued(conc_pool *pool) {
    /* First: what is moved is in one, or in both. */
    size_t spilled = pool->spill != NULL ? conc__loadz(&pool->spilled, CONC__SEQ_CST) : 0;
    return spilled + (pool->queue != NULL ? conc_queue_length(pool->queue) : 0);
}

/* ---- room: for who waits to hand in --------------------------------------------------------------- */

/* After each step that makes room: a task was taken, a thread has become idle, the maximum was raised. */
static CONC__NOINLINE void conc__room_wake(conc_pool *pool, size_t n) {
    conc__wake_asleep(&pool->room_asleep, &pool->room_asleep, 1, n);
}

static void conc__room_made(conc_pool *pool) {
    if (CONC__UNLIKELY(conc__load32(&pool->room_asleep, CONC__SEQ_CST) != 0)) conc__room_wake(pool, 1);
}

static bool conc__pool_is_full(conc_pool *pool) {
    return conc__load32(&pool->phase, CONC__SEQ_CST) == CONC__POOL_OPEN && conc__load32(&pool->idle, CONC__SEQ_CST) == 0 &&
           conc__load32(&pool->threads, CONC__SEQ_CST) >= conc__load32(&pool->max, CONC__SEQ_CST) &&
           (pool->queue == NULL || (pool->desc.queue_capacity != 0 && conc_queue_length(pool->queue) >= pool->desc.queue_capacity));
}

static conc_result conc__place_attempt(conc_op *op) { /* data: the item */
    const conc__urgent *urgent = (const conc__urgent *)op->data;
    conc_result r = conc__pool_place((conc_pool *)op->object, &urgent->item, urgent->priority);
    return r == CONC_FULL ? CONC_PENDING : r;
}

static conc_result conc__run_attempt(conc_op *op) { /* data: the function; word: its argument */
    conc_pool *pool = (conc_pool *)op->object;
    conc__item item;
    conc_result r = conc__pool_wrong(pool, "conc_op_pool_run");
    if (r != CONC_OK) return r;
    memcpy(&item.fn, &op->data, sizeof item.fn); /* ISO C has no cast between the two */
    item.arg = (void *)(uintptr_t)op->word;
    if (item.fn == NULL) return conc__fail(CONC_INVALID, "conc_op_pool_run: no function");
    r = conc__pool_place(pool, &item, 0);
    return r == CONC_FULL ? CONC_PENDING : r;
}

/* The flag is raised, then the pool looked at; who makes room does so, and then reads the flag: both sequentially
 * consistent. */
static bool conc__room_arm(conc_op *op, conc_node *node) {
    conc_pool *pool = (conc_pool *)op->object;
    conc__bucket *b = conc__bucket_lock(&pool->room_asleep);
    bool wait;
    (void)conc__or32(&pool->room_asleep, 1, CONC__SEQ_CST);
    wait = conc__pool_is_full(pool);
    if (wait) conc__bucket_push(b, &pool->room_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__place_op = {"pool run", CONC_REJECTED, conc__place_attempt, conc__room_arm, NULL, NULL};

conc_op conc_op_pool_run(conc_pool *pool, conc_fn fn, void *arg) {
    static const conc_op_class cls = {"pool run", CONC_REJECTED, conc__run_attempt, conc__room_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, pool, NULL);
    memcpy(&op.data, &fn, sizeof op.data);
    op.word = (uint64_t)(uintptr_t)arg;
    return op;
}

/* ---- the list of pools, for the program's end and for conc_dump() ------------------------------------------------- */

static conc__lock conc__pools_lock; /* guards the list */
static conc_pool *conc__pools;

static void conc__pools_reset(void) {
    conc__pools_lock = 0;
    conc__pools = NULL;
}

void conc__pool_each(void (*visit)(conc_pool *pool, void *arg), void *arg) {
    conc_pool *pool;
    conc__lock_take(&conc__pools_lock);
    for (pool = conc__pools; pool != NULL; pool = pool->next) visit(pool, arg);
    conc__lock_give(&conc__pools_lock);
}

static void conc__pool_unuse(conc_pool *pool);
static void conc__schedules_cancel(conc_pool *pool, bool all, void (*each)(conc_fn fn, void *arg, void *user), void *user);

bool conc__pool_is_member(const conc_pool *pool) {
    const conc__agent *me = conc__self();
    const conc__running *r = me->running;
    if (me->worker != NULL && me->worker->pool == pool) return true;
    while (r != NULL && r->pool != pool) r = r->below;
    return r != NULL;
}

/* At exit(): closes all, takes out what waits for its time, and waits for the other tasks. */
static void conc__pools_at_exit(void) {
    for (;;) {
        conc_pool *pool;
        conc_op op;
        conc__lock_take(&conc__pools_lock);
        for (pool = conc__pools; pool != NULL && pool->desc.daemon; pool = pool->next) {
        }
        if (pool != NULL) {
            (void)conc__add32(&pool->users, 1, CONC__RELAXED);
            *pool->link = pool->next;
            if (pool->next != NULL) pool->next->link = pool->link;
            pool->link = NULL;
        }
        conc__lock_give(&conc__pools_lock);
        if (pool == NULL) return;
        (void)conc_pool_close(pool);
        conc__schedules_cancel(pool, true, NULL, NULL);
        op = conc_op_event(&pool->ended);
        /* The end would not come as long as who calls exit() is in the midst of a task of it. */
        if (!conc__pool_is_member(pool)) (void)conc__wait_uncanceled(&op, CONC_FOREVER);
        conc__pool_unuse(pool);
    }
}

void conc__pools_begin(void) {
    conc__on_fork(CONC__RESET_POOLS, conc__pools_reset);
    conc__before_exit(CONC__EXIT_POOLS, conc__pools_at_exit);
}

/* ---- sleepers: threads that are idle, and helpers. With the lock held, but for their ends ----------------- */

static void conc__sleeper_list(conc__worker *w, bool helps) {
    conc__worker **list = helps ? &w->pool->helping : &w->pool->idles;
    w->helps = helps;
    w->idle_next = *list;
    w->idle_link = list;
    if (w->idle_next != NULL) w->idle_next->idle_link = &w->idle_next;
    *list = w;
    (void)conc__add32(helps ? &w->pool->helpers : &w->pool->idle, 1, CONC__SEQ_CST);
}

static void conc__sleeper_unlist(conc__worker *w) {
    *w->idle_link = w->idle_next;
    if (w->idle_next != NULL) w->idle_next->idle_link = w->idle_link;
    w->idle_link = NULL;
    (void)conc__sub32(w->helps ? &w->pool->helpers : &w->pool->idle, 1, CONC__SEQ_CST);
}

static void conc__sleeper_wake(conc__worker *w) { /* taken out of the list before; no lock held */
    if (w != NULL) (void)conc_semaphore_release(&w->wake, 1);
}

static void conc__sleeper_permit(conc__worker *w) {
    conc_op op = conc_op_acquire(&w->wake);
    (void)conc__wait_uncanceled(&op, CONC_FOREVER);
}

/* It has its permit: if it was woken for jobs, it looks for them from here on. */
static void conc__sleeper_came(conc__worker *w) {
    if (!w->comes) return;
    w->comes = false;
    (void)conc__sub32(&w->pool->coming, 1, CONC__SEQ_CST);
}

void conc__pool_helper_in(conc__worker *w) {
    conc__lock_take(&w->pool->lock);
    conc__sleeper_list(w, true);
    conc__lock_give(&w->pool->lock);
    if (w->works || w->guest) conc__hands_less(w->pool);
}

void conc__pool_helper_out(conc__worker *w, bool permit_taken) {
    bool listed;
    if (w->works || w->guest) (void)conc__add32(&w->pool->hands, 1, CONC__SEQ_CST);
    conc__lock_take(&w->pool->lock);
    listed = w->idle_link != NULL;
    if (listed) conc__sleeper_unlist(w);
    conc__lock_give(&w->pool->lock);
    if (!listed && !permit_taken) conc__sleeper_permit(w); /* another took it out: its permit is there, or on its way */
    conc__sleeper_came(w);
}

/* What the caller has found keeps it from looking for jobs, for which others may have counted on it. */
static void conc__jobs_pass_on(conc_pool *pool) {
    if (CONC__UNLIKELY(conc__load32(&pool->forking, CONC__SEQ_CST) != 0)) conc__pool_rouse_for_jobs(pool);
}

/* ---- threads ------------------------------------------------------------------------------------------ */

static int conc__pool_thread(void *p);

/* A member's record that nobody uses, or a new one; with the lock held. NULL: out of memory. */
static conc__worker *conc__member_new(conc_pool *pool) {
    conc__worker *w = (conc__worker *)conc__loadp(&pool->workers, CONC__RELAXED);
    while (w != NULL && w->used) w = w->next;
    if (w == NULL) {
        w = (conc__worker *)conc__alloc(1, sizeof *w, "a member of a pool");
        if (w == NULL) return NULL;
        w->pool = pool;
        w->number = ++pool->members;
        w->next = (conc__worker *)conc__loadp(&pool->workers, CONC__RELAXED);
        conc__storep(&pool->workers, w, CONC__RELEASE); /* publishes it to those that look for jobs */
    }
    w->used = true;
    w->handed = false;
    return w;
}

/* With the lock held: it is over, as far as the pool's own records go. */
static void conc__pool_look_for_end(conc_pool *pool) {
    if (conc__pool_is_closed(pool) && conc__load32(&pool->threads, CONC__RELAXED) == 0 &&
        pool->elsewhere == 0 && pool->scheduled == 0 && pool->due_first == NULL && conc__pool_queued(pool) == 0) {
        (void)conc_event_set(&pool->ended);
    }
}

static void conc__queued_discard(conc_pool *pool, const conc__item *item, conc_result r);

/* The only thread could not be started: what others have put into the queue meanwhile, counting on it, would wait for
 * ever. It is canceled. With the lock held, which it lets go of for a while. */
static void conc__pool_strand(conc_pool *pool) {
    conc__item item;
    pool->elsewhere++;
    while (conc__load32(&pool->threads, CONC__RELAXED) == 0 && conc__pool_get(pool, &item)) {
        conc__lock_give(&pool->lock);
        conc__queued_discard(pool, &item, CONC_NO_THREADS);
        conc__lock_take(&pool->lock);
    }
    pool->elsewhere--;
}

/* Starts a thread, which begins with `item` (NULL: with none). Called with the lock held and `threads` raised for it;
 * lets go of the lock. `for_jobs`: it counts as coming for jobs. CONC_OK; or CONC_NO_MEMORY, CONC_NO_THREADS:
 * `threads` is lowered again, and the lock is held. */
static conc_result conc__thread_new(conc_pool *pool, const conc__item *item, bool for_jobs) {
    conc_thread_desc desc;
    conc_thread *t = NULL;
    conc_result r;
    char name[40];
    conc__worker *w = conc__member_new(pool);
    if (w != NULL) {
        w->handed = item != NULL;
        w->comes = for_jobs;
        if (for_jobs) (void)conc__add32(&pool->coming, 1, CONC__SEQ_CST);
        if (item != NULL) w->item = *item;
        if (conc__load32(&pool->threads, CONC__RELAXED) > pool->largest) pool->largest = conc__load32(&pool->threads, CONC__RELAXED);
        conc__lock_give(&pool->lock);
        memset(&desc, 0, sizeof desc);
        (void)snprintf(name, sizeof name, "%s-%u", pool->name, (unsigned)w->number);
        desc.name = name;
        desc.daemon = true; /* the program's end sees to the pools themselves, before it waits for threads */
        desc.stack_size = pool->desc.stack_size;
        t = conc_thread_start(conc__pool_thread, w, &desc);
        if (t != NULL) {
            (void)conc_thread_detach(t);
            conc__store32(&pool->no_more, 0, CONC__RELAXED);
            return CONC_OK;
        }
        r = conc_error_result();
        conc__lock_take(&pool->lock);
        w->used = false;
        if (for_jobs) (void)conc__sub32(&pool->coming, 1, CONC__SEQ_CST);
        w->comes = false;
    } else {
        r = CONC_NO_MEMORY;
    }
    (void)conc__sub32(&pool->threads, 1, CONC__SEQ_CST);
    conc__pool_strand(pool);
    conc__pool_look_for_end(pool);
    conc__room_made(pool); /* who waits for room has taken it for one that may not be exceeded */
    return r;
}

/* Jobs, too, have the core completed. */
static bool conc__may_grow_for_jobs(conc_pool *pool) {
    return conc__load32(&pool->threads, CONC__SEQ_CST) < conc__load32(&pool->core, CONC__RELAXED) &&
           conc__load32(&pool->phase, CONC__RELAXED) == CONC__POOL_OPEN && conc__load32(&pool->no_more, CONC__RELAXED) == 0;
}

/* One at a time: while one is on its way, or searches, that one will look; and it, or who finds it has something else
 * to do, has the next one come. */
void conc__pool_rouse_for_jobs(conc_pool *pool) {
    conc__worker *w;
    if (conc__load32(&pool->helpers, CONC__SEQ_CST) == 0 && conc__load32(&pool->idle, CONC__SEQ_CST) == 0 &&
        !conc__may_grow_for_jobs(pool)) {
        return;
    }
    if (conc__load32(&pool->coming, CONC__SEQ_CST) != 0 || conc__load32(&pool->searching, CONC__SEQ_CST) != 0) return;
    if (!conc__pool_lets_work(pool)) return;
    if (conc__pool_is_forked(pool)) return; /* nobody sleeps in the child, and the lock may be held */
    conc__lock_take(&pool->lock);
    w = pool->helping != NULL ? pool->helping : pool->idles;
    if (w != NULL) {
        conc__sleeper_unlist(w);
        w->comes = true;
        (void)conc__add32(&pool->coming, 1, CONC__SEQ_CST);
    } else if (conc__may_grow_for_jobs(pool)) {
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        if (conc__thread_new(pool, NULL, true) == CONC_OK) return; /* the lock is given back */
        conc__store32(&pool->no_more, 1, CONC__RELAXED); /* jobs need no thread: they are not to try again and again */
    }
    conc__lock_give(&pool->lock);
    conc__sleeper_wake(w);
}

bool conc__pool_lets_work(conc_pool *pool) {
    return conc__load32(&pool->hands, CONC__SEQ_CST) < pool->processors || conc__load32(&pool->loose, CONC__SEQ_CST) != 0;
}

void conc__hands_less(conc_pool *pool) {
    (void)conc__sub32(&pool->hands, 1, CONC__SEQ_CST);
    /* Only if there are some: else those who find none would wake each other, without end. */
    if (CONC__UNLIKELY(conc__load32(&pool->forking, CONC__SEQ_CST) != 0) && conc__jobs_are_open(pool)) conc__pool_rouse_for_jobs(pool);
}

bool conc__pool_is_hungry(conc_pool *pool) {
    if (conc__load32(&pool->hands, CONC__RELAXED) >= pool->processors && conc__load32(&pool->loose, CONC__RELAXED) == 0) return false;
    return (conc__load32(&pool->helpers, CONC__RELAXED) | conc__load32(&pool->idle, CONC__RELAXED) |
            conc__load32(&pool->coming, CONC__RELAXED) | conc__load32(&pool->searching, CONC__RELAXED)) != 0 ||
           conc__may_grow_for_jobs(pool);
}

/* There is something in the queue, or due: has a thread come for it, if one is idle, or the core is not complete. */
static CONC__NOINLINE void conc__pool_rouse(conc_pool *pool) {
    conc__worker *w = NULL;
    bool due = conc__load32(&pool->due, CONC__SEQ_CST) != 0;
    size_t queued = conc__pool_queued(pool);
    uint32_t searching = conc__load32(&pool->searching, CONC__SEQ_CST);
    if ((queued == 0 && !due) || (searching != 0 && queued + (due ? 1u : 0u) <= searching)) return;
    conc__lock_take(&pool->lock);
    if (conc__pool_queued(pool) == 0 && pool->due_first == NULL) {
        /* It has been taken meanwhile; the pool may even have ended. */
    } else if (pool->idles != NULL) {
        w = pool->idles;
        conc__sleeper_unlist(w);
    } else if (conc__load32(&pool->threads, CONC__RELAXED) < conc__load32(&pool->core, CONC__RELAXED)) {
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        if (conc__thread_new(pool, NULL, false) == CONC_OK) return; /* the lock is given back */
    } else if (due && pool->helping != NULL) { /* what is due is taken by helpers, too */
        w = pool->helping;
        conc__sleeper_unlist(w);
    }
    conc__lock_give(&pool->lock);
    conc__sleeper_wake(w);
}

void conc__pool_pass_on(conc_pool *pool) {
    conc__jobs_pass_on(pool);
    if (CONC__UNLIKELY(conc__load32(&pool->due, CONC__SEQ_CST) != 0)) conc__pool_rouse(pool);
}

static bool conc__pool_wants_hands(conc_pool *pool) {
    return conc__load32(&pool->idle, CONC__SEQ_CST) != 0 ||
           conc__load32(&pool->threads, CONC__SEQ_CST) < conc__load32(&pool->core, CONC__RELAXED);
}

/* Starts a thread with no task, if there may be one more. */
static bool conc__pool_more(conc_pool *pool) {
    bool started = false;
    uint32_t most;
    conc__lock_take(&pool->lock);
    most = conc__load32(pool->desc.queue_capacity == 0 ? &pool->core : &pool->max, CONC__RELAXED);
    if (pool->desc.grow_first) most = conc__load32(&pool->max, CONC__RELAXED);
    if (conc__load32(&pool->threads, CONC__RELAXED) < most && conc__load32(&pool->phase, CONC__RELAXED) == CONC__POOL_OPEN) {
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        started = conc__thread_new(pool, NULL, false) == CONC_OK;
    }
    if (!started) conc__lock_give(&pool->lock);
    return started;
}

/* The rules, step by step; with `accepted` raised for the task. */
static CONC__NOINLINE conc_result conc__pool_place_by_rules(conc_pool *pool, const conc__item *item, int priority) {
    conc_result r;
    bool failed = false; /* no thread could be started */
    conc__lock_take(&pool->lock);
    for (;;) {
        uint32_t threads = conc__load32(&pool->threads, CONC__RELAXED), max = conc__load32(&pool->max, CONC__RELAXED);
        conc__item next = *item;
        if (conc__pool_is_closed(pool)) {
            r = CONC_CLOSED;
            break;
        }
        /* 1. An idle thread; what has waited longer goes first. */
        if (pool->idles != NULL) {
            conc__worker *w = pool->idles;
            if (conc__pool_queued(pool) != 0) {
                r = conc__pool_put(pool, item, priority);
                if (r == CONC_FULL) {
                    if (!conc__pool_get(pool, &next)) continue; /* a thread was faster: there is room */
                    w->item = next;
                    w->handed = true;
                    conc__sleeper_unlist(w);
                    conc__lock_give(&pool->lock);
                    conc__sleeper_wake(w);
                    conc__lock_take(&pool->lock);
                    continue;
                }
                if (r != CONC_OK) break;
            } else {
                w->item = next;
                w->handed = true;
            }
            conc__sleeper_unlist(w);
            conc__lock_give(&pool->lock);
            conc__sleeper_wake(w);
            return CONC_OK;
        }
        /* 2. and 4. (where it comes first): a new thread. */
        if (!failed && threads < (pool->desc.grow_first ? max : conc__load32(&pool->core, CONC__RELAXED))) {
            (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
            r = conc__thread_new(pool, item, false);
            if (r == CONC_OK) return r;
            failed = true;
            if (conc__load32(&pool->threads, CONC__RELAXED) == 0) break; /* nobody would come for it */
            continue;
        }
        /* 3. The queue. Nobody becomes idle meanwhile; who does so next looks at the queue then. */
        r = conc__pool_put(pool, item, priority);
        if (r != CONC_FULL || (!failed && threads >= max)) break;
        if (failed) {
            r = CONC_NO_THREADS; /* the detail says why */
            break;
        }
        /* 4. A thread above the core. */
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        r = conc__thread_new(pool, item, false);
        if (r == CONC_OK) return r;
        failed = true;
        if (conc__load32(&pool->threads, CONC__RELAXED) == 0) break;
    }
    conc__lock_give(&pool->lock);
    return r;
}

conc_result conc__pool_place(conc_pool *pool, const conc__item *item, int priority) {
    conc_result r = CONC_FULL;
    uint32_t enough = conc__load32(pool->desc.grow_first ? &pool->max : &pool->core, CONC__RELAXED);
    (void)conc__addz(&pool->accepted, 1, CONC__RELAXED);
    if (CONC__LIKELY(conc__load32(&pool->idle, CONC__RELAXED) == 0 && conc__load32(&pool->threads, CONC__RELAXED) >= enough)) {
        r = conc__pool_put(pool, item, priority);
        if (CONC__LIKELY(r == CONC_OK)) {
            if (CONC__UNLIKELY(conc__pool_wants_hands(pool))) conc__pool_rouse(pool);
            return r;
        }
    }
    if (r == CONC_FULL) r = conc__pool_place_by_rules(pool, item, priority);
    if (r != CONC_OK) (void)conc__subz(&pool->accepted, 1, CONC__RELAXED);
    if (r == CONC_CLOSED) (void)conc__fail(r, "the pool \"%s\" is closed", pool->name);
    return r;
}

/* ---- running a task ------------------------------------------------------------------------------------ */

/* Counted for the thread if it is one of the pool's. */
static void conc__count_completed(conc_pool *pool) {
    conc__worker *w = conc__self()->worker;
    if (w != NULL && w->pool == pool) {
        conc__storez(&w->completed, conc__loadz(&w->completed, CONC__RELAXED) + 1, CONC__RELAXED);
    } else {
        (void)conc__addz(&pool->completed, 1, CONC__RELAXED);
    }
}

/* fn(arg), under `token`, between the hooks; in the midst of `what`. */
static int conc__task_call(conc_pool *pool, conc_fn fn, void *arg, conc_cancel *token, const void *what) {
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel;
    conc__running running;
    int code;
    conc__running_begin(me, &running, what, pool);
    me->cancel = token;
    if (pool->desc.before_task != NULL) pool->desc.before_task(fn, arg, pool->desc.user);
    code = fn(arg);
    if (pool->desc.after_task != NULL) pool->desc.after_task(fn, arg, code, pool->desc.user);
    me->cancel = before;
    conc__running_end(me, &running);
    return code;
}

static bool conc__schedule_again(conc_future *f, int code);

/* One that the caller has claimed. */
static void conc__future_run(conc_future *f) {
    conc_pool *pool = f->pool;
    conc__agent *me = conc__self();
    char text[sizeof me->detail + 40];
    conc_result r;
    int code;
    if (f->schedule != NULL && conc_cancel_fired(&f->token)) { /* canceled between two turns */
        (void)conc__addz(&pool->canceled, 1, CONC__RELAXED);
        conc__future_end(f, CONC_CANCELED, 0, NULL);
        return;
    }
    me->detail[0] = '\0';
    code = conc__task_call(pool, f->fn, f->arg, &f->token, f);
    if (f->schedule != NULL && conc__schedule_again(f, code)) return;
    r = code == 0 ? CONC_OK : conc_cancel_fired(&f->token) ? CONC_CANCELED : CONC_FAILED;
    if (f->schedule != NULL && f->schedule->every != 0 && code == 0) r = CONC_CANCELED;
    if (r == CONC_FAILED) {
        (void)snprintf(text, sizeof text, "a task returned %d%s%s", code, me->detail[0] != '\0' ? ": " : "", me->detail);
    }
    conc__count_completed(pool);
    conc__future_end(f, r, code, r == CONC_FAILED ? text : NULL);
}

/* Only to be told from others: conc__queued_run() does it. */
static int conc__future_task(void *f) {
    (void)f;
    return 0;
}

/* One that came out of the queue, and that another has claimed: a waiter who runs it, perhaps, in a thread of his
 * own. Until it has ended it is counted, so that the pool's end waits for it. */
static void conc__future_is_elsewhere(conc_future *f) {
    conc_pool *pool = f->pool;
    if (conc__future_is_ended(f)) return;
    conc__lock_take(&pool->lock);
    pool->elsewhere++;
    if ((conc__or32(&f->state, CONC__ELSEWHERE, CONC__ACQ_REL) & CONC__ENDED) != 0) {
        pool->elsewhere--;
        conc__pool_look_for_end(pool);
    }
    conc__lock_give(&pool->lock);
}

/* What came out of the queue. */
static void conc__queued_run(conc_pool *pool, const conc__item *item) {
    if (item->fn == conc__future_task) {
        conc_future *f = (conc_future *)item->arg;
        if (conc__future_claim(f)) {
            conc__future_run(f);
        } else {
            conc__stale(pool, false);
            conc__future_is_elsewhere(f);
        }
        conc_future_release(f);
    } else if (item->fn == conc__team_task) {
        (void)conc__team_task(item->arg);
        conc__count_completed(pool);
    } else {
        int code = conc__is_internal(item->fn) ? item->fn(item->arg) : conc__task_call(pool, item->fn, item->arg, &pool->token, NULL);
        conc__count_completed(pool);
        if (code != 0) conc__report(CONC_FAILED, code, NULL, "a task of the pool \"%s\" returned %d, and nobody looked at it", pool->name, code);
    }
}

/* Instead of running it: CONC_CANCELED, or CONC_REJECTED if it was never accepted. True: the task was still to begin,
 * and is `*fn` and `*arg` to the user (fn NULL: it is none of his). */
static bool conc__queued_drop(const conc__item *item, conc_result r, conc_fn *fn, void **arg) {
    bool mine = true;
    *fn = item->fn;
    *arg = item->arg;
    if (item->fn == conc__future_task) {
        conc_future *f = (conc_future *)item->arg;
        mine = conc__future_claim(f);
        if (!mine) conc__stale(f->pool, false);
        *fn = f->fn;
        *arg = f->arg;
        if (mine) {
            conc__future_end(f, r, 0, NULL);
        } else {
            conc__future_is_elsewhere(f);
        }
        conc_future_release(f);
    } else if (item->fn == conc__team_task) {
        conc__team_drop(item->arg);
        *fn = NULL;
    } else if (item->fn == conc__offload_task) {
        conc__offload_drop(item->arg);
        *fn = NULL;
    }
    return mine;
}

/* ---- the life of a thread ------------------------------------------------------------------------------- */

/* The first that is due; with the lock held. */
static conc_future *conc__due_pop(conc_pool *pool) {
    conc_future *f = pool->due_first;
    if (f != NULL) {
        pool->due_first = f->next;
        if (pool->due_first == NULL) pool->due_end = &pool->due_first;
        (void)conc__sub32(&pool->due, 1, CONC__SEQ_CST);
    }
    return f;
}

static bool conc__due_get(conc_pool *pool, conc__item *item) {
    conc_future *f;
    if (conc__load32(&pool->due, CONC__SEQ_CST) == 0) return false;
    conc__lock_take(&pool->lock);
    f = conc__due_pop(pool);
    conc__lock_give(&pool->lock);
    item->fn = conc__future_task;
    item->arg = f;
    return f != NULL;
}

/* The thread has done with jobs for now; it is about to look for work, and so nobody else need come. */
static void conc__hand_rests(conc__worker *w) {
    w->works = false;
    (void)conc__sub32(&w->pool->hands, 1, CONC__SEQ_CST);
}

/* Something to do, without waiting for it: a task for the caller in `*item`; or jobs of others, which have been done.
 * */
static bool conc__pool_find(conc__worker *w, conc__item *item, bool *jobs) {
    conc_pool *pool = w->pool;
    *jobs = false;
    if (conc__due_get(pool, item)) {
        conc__jobs_pass_on(pool);
        return true;
    }
    if (conc__pool_get(pool, item)) {
        conc__room_made(pool);
        conc__jobs_pass_on(pool);
        return true;
    }
    if (conc__load32(&pool->forking, CONC__SEQ_CST) != 0 && conc__pool_lets_work(pool)) {
        (void)conc__add32(&pool->hands, 1, CONC__SEQ_CST);
        w->works = true;
        *jobs = conc__steal_and_run(w);
        if (*jobs) conc__jobs_finish(w); /* what that one has started and left */
        conc__hand_rests(w);
    }
    return *jobs;
}

bool conc__due_run(conc_pool *pool) {
    conc__item item;
    bool found = conc__due_get(pool, &item);
    if (found) conc__queued_run(pool, &item);
    return found;
}

/* A look that takes nothing, after the caller has said that it will sleep. */
static bool conc__pool_has_work(conc__worker *w) {
    conc_pool *pool = w->pool;
    return conc__load32(&pool->due, CONC__SEQ_CST) != 0 || conc__pool_queued(pool) != 0 ||
           (conc__load32(&pool->forking, CONC__SEQ_CST) != 0 && conc__pool_lets_work(pool) && conc__jobs_wanted(w));
}

/* With the lock held: whether the thread is to end, being idle; `patient`: it has waited for its keep-alive. If so,
 * it counts no more. CONC__LOOKS_AGAIN: it would be, but there is something in the queue, or was: it must not sleep
 * now, as whoever takes that may end without waking it. */
typedef enum conc__retiring { CONC__STAYS, CONC__RETIRES, CONC__LOOKS_AGAIN } conc__retiring;

static conc__retiring conc__thread_retires(conc__worker *w, bool patient) {
    conc_pool *pool = w->pool;
    uint32_t threads = conc__load32(&pool->threads, CONC__RELAXED);
    bool closed = conc__pool_is_closed(pool);
    if (!closed && threads <= conc__load32(&pool->max, CONC__RELAXED) &&
        !(patient && (pool->desc.core_time_out || threads > conc__load32(&pool->core, CONC__RELAXED)))) {
        return CONC__STAYS;
    }
    (void)conc__sub32(&pool->threads, 1, CONC__SEQ_CST);
    if (pool->due_first != NULL || conc__pool_queued(pool) != 0) { /* see the top */
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        return CONC__LOOKS_AGAIN;
    }
    pool->elsewhere++; /* until it has gone */
    return CONC__RETIRES;
}

/* Looks for a while. */
static bool conc__pool_search(conc__worker *w, conc__item *item, bool *jobs) {
    conc_pool *pool = w->pool;
    unsigned step;
    bool found = false;
    (void)conc__add32(&pool->searching, 1, CONC__SEQ_CST);
    for (step = 0; !found && conc__spin(step, CONC__SPIN_LONG); step++) {
        if (conc__due_get(pool, item)) {
            found = true;
        } else if (conc__pool_get(pool, item)) {
            found = true;
        } else if (conc__load32(&pool->forking, CONC__RELAXED) != 0 && conc__pool_lets_work(pool) && conc__jobs_wanted(w)) {
            break; /* jobs are taken below, when this is no searcher any more */
        }
    }
    (void)conc__sub32(&pool->searching, 1, CONC__SEQ_CST);
    if (found) {
        conc__room_made(pool);
        conc__jobs_pass_on(pool);
    } else {
        found = conc__pool_find(w, item, jobs);
    }
    /* Who put something may have counted on this one. */
    if (found && !*jobs && conc__pool_wants_hands(pool)) conc__pool_rouse(pool);
    return found;
}

/* The next task; false: the thread is to end, and has been counted out. */
static bool conc__pool_next(conc__worker *w, conc__item *item) {
    conc_pool *pool = w->pool;
    for (;;) {
        conc_deadline patience = CONC_FOREVER;
        conc_op op;
        conc_result r = CONC_OK;
        conc__retiring retires;
        bool jobs = false, listed;
        conc__sleeper_came(w);
        if (w->handed) { /* it was stored before the permit was given, or the thread started */
            w->handed = false;
            *item = w->item;
            return true;
        }
        if (conc__pool_find(w, item, &jobs) || jobs || conc__pool_search(w, item, &jobs)) {
            if (!jobs) return true;
            continue;
        }
        conc__lock_take(&pool->lock);
        retires = conc__thread_retires(w, false);
        if (retires == CONC__STAYS) {
            if (pool->desc.core_time_out || conc__load32(&pool->threads, CONC__RELAXED) > conc__load32(&pool->core, CONC__RELAXED)) {
                patience = conc_after(pool->keep_alive);
            }
            conc__sleeper_list(w, false);
        }
        conc__lock_give(&pool->lock);
        if (retires == CONC__LOOKS_AGAIN) continue;
        conc__room_made(pool);
        if (retires == CONC__RETIRES) return false;
        if (!conc__pool_has_work(w)) {
            op = conc_op_acquire(&w->wake);
            r = conc__wait_uncanceled(&op, patience);
            if (r == CONC_OK) continue;
        }
        conc__lock_take(&pool->lock);
        listed = w->idle_link != NULL;
        if (listed) conc__sleeper_unlist(w);
        retires = listed && r == CONC_TIMEOUT ? conc__thread_retires(w, true) : CONC__STAYS;
        conc__lock_give(&pool->lock);
        if (retires == CONC__RETIRES) {
            conc__room_made(pool); /* for a new one */
            return false;
        }
        if (!listed) conc__sleeper_permit(w);
    }
}

static void conc__pool_unuse(conc_pool *pool) {
    conc__worker *w;
    if (conc__sub32(&pool->users, 1, CONC__ACQ_REL) != 1) return;
    w = (conc__worker *)conc__loadp(&pool->workers, CONC__ACQUIRE);
    while (w != NULL) {
        conc__worker *next = w->next;
        conc__free(w);
        w = next;
    }
    (void)conc_queue_free(pool->queue);
    (void)conc_queue_free(pool->spill);
    conc__free(pool);
}

/* After a task, or a hook: runs what that has started and left. */
static void conc__thread_tidies(conc__worker *w) {
    if (CONC__UNLIKELY(w->head != 0)) conc__jobs_finish(w);
    if (CONC__UNLIKELY(w->works)) conc__hand_rests(w);
}

static int conc__pool_thread(void *p) {
    conc__worker *w = (conc__worker *)p;
    conc_pool *pool = w->pool;
    conc__agent *me = conc__self();
    conc__item item;
    (void)conc__add32(&pool->users, 1, CONC__RELAXED); /* `threads` counts it, so that the pool is there */
    me->worker = w;
    if (pool->desc.thread_started != NULL) pool->desc.thread_started(pool->desc.user);
    conc__thread_tidies(w);
    while (conc__pool_next(w, &item)) {
        conc__queued_run(pool, &item);
        conc__thread_tidies(w);
    }
    if (pool->desc.thread_ends != NULL) pool->desc.thread_ends(pool->desc.user);
    conc__thread_tidies(w);
    conc__jobs_pass_on(pool);
    me->worker = NULL;
    conc__pool_leave(w);
    conc__pool_unuse(pool);
    return 0;
}

/* ---- taking part ----------------------------------------------------------------------------------------- */

conc__worker *conc__pool_enter(conc_pool *pool, conc_result *r) {
    conc__worker *w = NULL;
    *r = CONC_OK;
    conc__lock_take(&pool->lock);
    if (conc__pool_is_closed(pool) && !conc__pool_is_member(pool)) {
        *r = CONC_CLOSED;
    } else {
        w = conc__member_new(pool);
        if (w != NULL) {
            pool->elsewhere++;
            w->guest = true;
            (void)conc__add32(&pool->hands, 1, CONC__SEQ_CST);
        }
    }
    conc__lock_give(&pool->lock);
    if (*r == CONC_OK && w == NULL) *r = CONC_NO_MEMORY;
    if (*r == CONC_CLOSED) (void)conc__fail(*r, "the pool \"%s\" is closed", pool->name);
    return w;
}

static void conc__elsewhere_done(conc_pool *pool) {
    conc__lock_take(&pool->lock);
    pool->elsewhere--;
    conc__pool_look_for_end(pool);
    conc__lock_give(&pool->lock);
}

void conc__pool_iterated(conc_pool *pool, bool begins) {
    conc__lock_take(&pool->lock);
    pool->iterators += begins ? 1u : (size_t)-1;
    conc__lock_give(&pool->lock);
}

void conc__pool_leave(conc__worker *w) {
    conc_pool *pool = w->pool;
    if (w->guest) conc__hands_less(pool);
    conc__lock_take(&pool->lock);
    w->used = w->guest = false;
    pool->elsewhere--;
    conc__pool_look_for_end(pool);
    conc__lock_give(&pool->lock);
}

/* ---- handing in ------------------------------------------------------------------------------------------ */

static conc_result conc__rejected(conc_pool *pool, conc_result r) {
    (void)conc__addz(&pool->rejected, 1, CONC__RELAXED);
    return r;
}

static conc_result conc__pool_full(conc_pool *pool) {
    uint32_t threads = conc__load32(&pool->threads, CONC__RELAXED);
    size_t queued = conc__pool_queued(pool);
    return conc__fail(CONC_REJECTED, "pool full: \"%s\" has %u thread%s, none of them idle, and %zu task%s in its queue", pool->name,
                      (unsigned)threads, threads == 1 ? "" : "s", queued, queued == 1 ? "" : "s");
}

/* A task that was discarded. */
static void conc__queued_discard(conc_pool *pool, const conc__item *item, conc_result r) {
    conc_fn fn;
    void *arg;
    if (conc__queued_drop(item, r, &fn, &arg)) {
        (void)conc__addz(r == CONC_REJECTED ? &pool->rejected : &pool->canceled, 1, CONC__RELAXED);
        if (fn != NULL && pool->desc.dropped != NULL) pool->desc.dropped(fn, arg, pool->desc.user);
    }
}

/* The pool's end waits for what the caller does from here on, until conc__elsewhere_done(). CONC_OK, CONC_CLOSED. */
static conc_result conc__elsewhere_begin(conc_pool *pool) {
    conc_result r = CONC_OK;
    conc__lock_take(&pool->lock);
    if (conc__pool_is_closed(pool)) {
        r = conc__fail(CONC_CLOSED, "the pool \"%s\" is closed", pool->name);
    } else {
        pool->elsewhere++;
    }
    conc__lock_give(&pool->lock);
    return r;
}

/* In the calling thread. */
static conc_result conc__run_by_caller(conc_pool *pool, const conc__item *item) {
    conc_result r = conc__elsewhere_begin(pool);
    if (r != CONC_OK) return r;
    (void)conc__addz(&pool->accepted, 1, CONC__RELAXED);
    conc__queued_run(pool, item);
    conc__elsewhere_done(pool);
    return CONC_OK;
}

/* Waits for room. A thread of the pool, for which nobody may ever make room, makes it itself. */
static conc_result conc__place_or_wait(conc_pool *pool, const conc__item *item, const conc_pool_task *task) {
    conc_deadline until = CONC_FOREVER;
    conc__urgent urgent;
    conc_op op;
    conc_result r;
    urgent.item = *item;
    urgent.priority = task != NULL ? task->priority : 0;
    if (conc__pool_is_member(pool)) {
        do {
            conc__item oldest;
            if (!conc__pool_get(pool, &oldest)) return conc__run_by_caller(pool, item);
            conc__room_made(pool);
            conc__queued_run(pool, &oldest);
            r = conc__pool_place(pool, item, urgent.priority);
        } while (r == CONC_FULL);
        return r;
    }
    if (task != NULL && task->until.ns != 0) {
        until = task->until;
    } else if (pool->desc.block_seconds > 0) {
        until = conc_after(pool->desc.block_seconds);
    }
    op = conc_op_make(&conc__place_op, pool, &urgent);
    r = conc__wait_op(&op, until);
    if (r == CONC_REJECTED) r = conc__pool_full(pool); /* with CONC_NOW */
    return r;
}

/* The policy, for a task that found no place. `user` is what the user handed in; `item` may be a future for it. */
static conc_result conc__reject(conc_pool *pool, const conc__item *item, const conc__item *user, const conc_pool_task *task) {
    conc_result r;
    conc__item oldest;
    if (pool->desc.reject != NULL) {
        r = pool->desc.reject(pool, user->fn, user->arg, pool->desc.user);
        (void)conc__rejected(pool, r);
        if (r == CONC_OK && item->fn == conc__future_task) {
            conc_fn fn;
            void *arg;
            (void)conc__queued_drop(item, CONC_REJECTED, &fn, &arg);
        }
        return r;
    }
    switch (pool->desc.on_reject) {
    case CONC_REJECT_DISCARD:
        conc__queued_discard(pool, item, CONC_REJECTED);
        return CONC_OK;
    case CONC_REJECT_DISCARD_OLDEST:
        r = conc__elsewhere_begin(pool);
        if (r != CONC_OK) return conc__rejected(pool, r);
        do {
            if (conc__pool_get(pool, &oldest)) conc__queued_discard(pool, &oldest, CONC_CANCELED);
            r = conc__pool_place(pool, item, task != NULL ? task->priority : 0);
        } while (r == CONC_FULL);
        conc__elsewhere_done(pool);
        return r == CONC_OK ? r : conc__rejected(pool, r);
    case CONC_REJECT_CALLER_RUNS:
        r = conc__run_by_caller(pool, item);
        return r == CONC_OK ? r : conc__rejected(pool, r);
    case CONC_REJECT_BLOCK:
        r = conc__place_or_wait(pool, item, task);
        return r == CONC_OK ? r : conc__rejected(pool, r);
    case CONC_REJECT_ABORT:
    default:
        return conc__rejected(pool, conc__pool_full(pool));
    }
}

static conc_result conc__hand_in(conc_pool *pool, const conc__item *item, const conc__item *user, const conc_pool_task *task) {
    conc_result r = conc__pool_place(pool, item, task != NULL ? task->priority : 0);
    if (CONC__LIKELY(r == CONC_OK)) return r;
    /* No thread to be had, but there are some: then they are all busy, and that is the policy's affair. */
    if (r == CONC_NO_THREADS && conc__load32(&pool->threads, CONC__RELAXED) != 0 && pool->desc.on_reject != CONC_REJECT_BLOCK) {
        r = conc__pool_place(pool, item, task != NULL ? task->priority : 0); /* they may have come since */
        if (r == CONC_OK) return r;
        if (r == CONC_NO_THREADS) r = CONC_FULL;
    }
    return r == CONC_FULL ? conc__reject(pool, item, user, task) : conc__rejected(pool, r);
}

conc_result conc_pool_run(conc_pool *pool, conc_fn fn, void *arg) {
    conc__item item;
    conc_result r = conc__pool_wrong(pool, "conc_pool_run");
    if (r != CONC_OK) return r;
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_run: no function");
    item.fn = fn;
    item.arg = arg;
    return conc__hand_in(pool, &item, &item, NULL);
}

conc_result conc_pool_run_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task) {
    conc_future *f;
    if (task == NULL) return conc_pool_run(pool, fn, arg);
    f = conc_pool_submit_ex(pool, fn, arg, task);
    if (f == NULL) return conc_error_result();
    conc_future_release(f); /* a failure that nobody can look at any more goes to the hook */
    return CONC_OK;
}

/* The pool is in another process; here its lock may be held for ever, or its memory be gone. */
static bool conc__future_is_forked(const conc_future *f) {
    return f->generation != conc__fork_generation();
}

/* Runs it here: if it is still to begin, and the caller is a member of its pool, or every waiter helps. */
static bool conc__help_future(conc_future *f) {
    if (conc__future_is_forked(f) || (!f->helped && !conc__pool_is_member(f->pool))) return false;
    if (f->schedule != NULL || !conc__future_claim(f)) return false; /* a scheduled one has its time */
    conc__stale(f->pool, true);
    conc__future_run(f);
    return true;
}

static void conc__future_canceled(conc_future *f);

/* It has run in a thread that is none of the pool's, after its turn in the queue had come: see conc__queued_run(). */
static void conc__future_has_ended(conc_future *f, uint32_t state) {
    if ((state & CONC__ELSEWHERE) != 0 && !conc__future_is_forked(f)) conc__elsewhere_done(f->pool);
}

static const conc__future_class conc__pool_futures = {conc__help_future, conc__future_canceled, conc__future_has_ended, NULL, NULL};

static conc_future *conc__pool_future(conc_pool *pool, conc_fn fn, void *arg, conc_cancel *parent) {
    conc_future *f = conc__future_new(&conc__pool_futures, pool, fn, arg);
    if (f == NULL) return NULL;
    f->helped = pool->desc.waiters_help;
    f->token.parent = parent != NULL ? parent : &pool->token;
    return f;
}

conc_future *conc_pool_submit_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_submit");
    conc_future *f;
    conc__item item, user;
    if (r == CONC_OK && fn == NULL) r = conc__fail(CONC_INVALID, "conc_pool_submit: no function");
    if (r == CONC_OK && task != NULL && task->priority != 0 && !pool->desc.by_priority) {
        r = conc__fail(CONC_INVALID, "conc_pool_submit: the pool \"%s\" knows no priorities: its desc wants by_priority", pool->name);
    }
    if (r != CONC_OK) return NULL;
    f = conc__pool_future(pool, fn, arg, task != NULL ? task->cancel : NULL);
    if (f == NULL) return NULL;
    (void)conc_future_retain(f); /* the queue's */
    item.fn = conc__future_task;
    item.arg = f;
    user.fn = fn;
    user.arg = arg;
    r = conc__hand_in(pool, &item, &user, task);
    if (r != CONC_OK) {
        if (pool->desc.reject != NULL && r != conc_error_result()) {
            (void)conc__fail(r, "conc_pool_submit: the pool's own handler refused the task: %s", conc_strerror(r));
        } else if (r == CONC_TIMEOUT || r == CONC_CANCELED || r != conc_error_result()) {
            (void)conc__fail(r, "conc_pool_submit: %s", conc_strerror(r));
        }
        conc_future_release(f);
        conc_future_release(f);
        return NULL;
    }
    return f;
}

conc_future *conc_pool_submit(conc_pool *pool, conc_fn fn, void *arg) {
    return conc_pool_submit_ex(pool, fn, arg, NULL);
}

/* ---- later ------------------------------------------------------------------------------------------------ */

/* With the lock held. */
static void conc__schedule_unlist(conc_pool *pool, conc__schedule *s) {
    *s->link = s->next;
    if (s->next != NULL) s->next->link = s->link;
    s->link = NULL;
    pool->scheduled--;
}

void conc__schedule_free(struct conc__schedule *s) {
    if (s == NULL) return;
    conc_timer_release(s->timer);
    conc__free(s);
}

/* Its time has come, in the timers' thread: it is due, if nobody has taken it out. */
static int conc__schedule_fires(void *p) {
    conc_future *f = (conc_future *)p;
    conc_pool *pool = f->pool;
    conc__schedule *s = f->schedule;
    bool due;
    conc__lock_take(&pool->lock);
    due = s->link != NULL;
    if (due) {
        conc__schedule_unlist(pool, s);
        f->next = NULL;
        *pool->due_end = f;
        pool->due_end = &f->next;
        (void)conc__add32(&pool->due, 1, CONC__SEQ_CST);
        pool->elsewhere++; /* until there is a thread for it */
    }
    conc__lock_give(&pool->lock);
    if (!due) { /* canceled: it is out of the list, and its reference is ours to give back; the pool has waited for it
                   */
        conc_future_release(f);
        conc__elsewhere_done(pool);
        return 0;
    }
    conc__pool_rouse(pool);
    conc__lock_take(&pool->lock);
    /* stranded: no thread could be started */
    f = conc__load32(&pool->threads, CONC__RELAXED) == 0 ? conc__due_pop(pool) : NULL;
    conc__lock_give(&pool->lock);
    if (f != NULL) {
        if (conc__future_claim(f)) {
            (void)conc__addz(&pool->canceled, 1, CONC__RELAXED);
            conc__future_end(f, CONC_NO_THREADS, 0, "its time had come, and no thread could be started");
        } else {
            conc__stale(pool, false);
            conc__future_is_elsewhere(f);
        }
        conc_future_release(f);
    }
    conc__elsewhere_done(pool);
    return 0;
}

/* Enters it, with the list's reference, which the caller gives. CONC_OK; else the reference is still the caller's. */
static conc_result conc__schedule_enter(conc_future *f) {
    conc_pool *pool = f->pool;
    conc__schedule *s = f->schedule;
    conc_timer *before, *timer;
    conc_result r = CONC_OK;
    conc__lock_take(&pool->lock);
    if (conc__pool_is_closed(pool)) {
        r = CONC_CLOSED;
    } else if ((conc__load32(&f->state, CONC__RELAXED) & CONC__BEGUN) != 0) {
        r = CONC_CANCELED; /* between two turns; and who did it has found nothing to take out, or waits for the lock
                              to look */
    } else {
        s->next = pool->schedules;
        s->link = &pool->schedules;
        if (s->next != NULL) s->next->link = &s->next;
        pool->schedules = s;
        pool->scheduled++;
        before = s->timer;
        /* Under the lock, so that it is there for whoever cancels; a timer that fires at once waits for the lock. */
        timer = conc_timer_start(conc__schedule_fires, f, s->when);
        if (timer == NULL) {
            r = conc_error_result();
            conc__schedule_unlist(pool, s);
            conc__pool_look_for_end(pool);
        } else {
            s->timer = timer;
            conc_timer_release(before);
        }
    }
    conc__lock_give(&pool->lock);
    return r;
}

/* After a turn: the next, if there is one. False: it has ended. */
static bool conc__schedule_again(conc_future *f, int code) {
    conc_pool *pool = f->pool;
    conc__schedule *s = f->schedule;
    conc_result r;
    if (s->every == 0 || code != 0 || conc_cancel_fired(&f->token)) return false;
    if (s->after_each) {
        s->when = conc_deadline_at(conc_clock_ns());
    }
    s->when = conc_deadline_at(s->when.ns > INT64_MAX - s->every ? INT64_MAX : s->when.ns + s->every);
    (void)conc_future_retain(f);
    /* Free again before it is entered: its time may have come at once. */
    (void)conc__and32(&f->state, ~CONC__BEGUN, CONC__SEQ_CST);
    r = conc__schedule_enter(f);
    if (r == CONC_OK) {
        /* Who cancels fires the token, then looks whether it is free: see conc_future_cancel(). */
        if (conc_cancel_fired(&f->token)) (void)conc_future_cancel(f);
        return true;
    }
    conc_future_release(f);
    if (!conc__future_claim(f)) { /* canceled meanwhile: it has ended, and is in no queue */
        conc__stale(pool, false);
        conc__future_is_elsewhere(f);
        return true;
    }
    if (r != CONC_CLOSED) {
        conc__count_completed(pool);
        conc__future_end(f, r, 0, conc_strerror(r));
        return true;
    }
    return false;
}

/* A future that was claimed to be canceled, before it began. */
static void conc__future_canceled(conc_future *f) {
    conc_pool *pool = f->pool;
    bool listed = false;
    if (conc__future_is_forked(f)) return;
    (void)conc__addz(&pool->canceled, 1, CONC__RELAXED);
    if (f->schedule != NULL) {
        bool stopped = false;
        conc__lock_take(&pool->lock);
        listed = f->schedule->link != NULL;
        if (listed) {
            conc__schedule_unlist(pool, f->schedule);
            pool->elsewhere++; /* until it has ended */
            (void)conc__or32(&f->state, CONC__ELSEWHERE, CONC__RELAXED);
            stopped = conc_timer_cancel(f->schedule->timer) == CONC_OK;
            if (!stopped) pool->elsewhere++; /* and until it has fired */
        }
        conc__lock_give(&pool->lock);
        if (stopped) conc_future_release(f); /* the list's; if not, it fires, and gives it back */
    }
    if (!listed) conc__stale(pool, true);
}

static conc_future *conc__pool_later(conc_pool *pool, conc_fn fn, void *arg, conc_deadline when, int64_t every, bool after_each,
                                     const char *call) {
    conc_future *f;
    conc__schedule *s;
    conc_result r = conc__pool_wrong(pool, call);
    if (r == CONC_OK && fn == NULL) r = conc__fail(CONC_INVALID, "%s: no function", call);
    if (r != CONC_OK) return NULL;
    f = conc__pool_future(pool, fn, arg, NULL);
    if (f == NULL) return NULL;
    s = (conc__schedule *)conc__alloc(1, sizeof *s, "a task's time");
    if (s == NULL) {
        conc_future_release(f);
        return NULL;
    }
    s->f = f;
    /* the turns are counted from it */
    s->when = when.ns == INT64_MIN && every != 0 ? conc_deadline_at(conc_clock_ns()) : when;
    s->every = every;
    s->after_each = after_each;
    f->schedule = s;
    (void)conc__addz(&pool->accepted, 1, CONC__RELAXED);
    (void)conc_future_retain(f);
    r = conc__schedule_enter(f);
    if (r != CONC_OK) {
        (void)conc__subz(&pool->accepted, 1, CONC__RELAXED);
        (void)conc__rejected(pool, r);
        if (r == CONC_CLOSED) (void)conc__fail(r, "%s: the pool \"%s\" is closed", call, pool->name);
        conc_future_release(f);
        conc_future_release(f);
        return NULL;
    }
    return f;
}

conc_future *conc_pool_submit_at(conc_pool *pool, conc_fn fn, void *arg, conc_deadline when) {
    return conc__pool_later(pool, fn, arg, when, 0, false, "conc_pool_submit_at");
}

conc_future *conc_pool_every(conc_pool *pool, conc_fn fn, void *arg, conc_deadline first, double seconds, bool after_each) {
    double ns = seconds * 1e9;
    if (!(seconds > 0)) {
        (void)conc__fail(CONC_INVALID, "conc_pool_every: %g seconds are no period", seconds);
        return NULL;
    }
    return conc__pool_later(pool, fn, arg, first, ns < 1 ? 1 : ns > 9e18 ? INT64_MAX : (int64_t)ns, after_each, "conc_pool_every");
}

/* ---- the beginning and the end ------------------------------------------------------------------------------ */

static const char *conc__desc_wrong(const conc_pool_desc *d) {
    if (d->core_threads > CONC_POOL_MAX_THREADS || d->max_threads > CONC_POOL_MAX_THREADS) return "more threads than CONC_POOL_MAX_THREADS";
    if (d->max_threads < d->core_threads) return "max_threads is less than core_threads";
    if (d->max_threads > d->core_threads && d->queue_capacity == 0 && !d->grow_first) {
        return "max_threads above core_threads would never be reached, as the queue is unbounded: give it a queue_capacity, or set grow_first";
    }
    if (!(d->keep_alive >= 0) || !(d->block_seconds >= 0)) return "a negative time";
    if (d->by_priority && d->queue_capacity == CONC_POOL_NO_QUEUE) return "by_priority needs a queue";
    if (d->queue_capacity == CONC_POOL_NO_QUEUE && d->on_reject == CONC_REJECT_DISCARD_OLDEST) {
        return "without a queue there is no oldest to be discarded";
    }
    if (d->by_priority && d->on_reject == CONC_REJECT_DISCARD_OLDEST) return "by_priority would have the most urgent discarded as the oldest";
    if ((unsigned)d->on_reject > CONC_REJECT_BLOCK) return "no such policy";
    return NULL;
}

static bool conc__pool_make_queue(conc_pool *pool) {
    size_t capacity = pool->desc.queue_capacity;
    if (capacity == CONC_POOL_NO_QUEUE) return true;
    if (pool->desc.by_priority) {
        conc_queue_desc desc;
        desc.kind = CONC_PRIORITY;
        desc.compare = conc__compare_urgent;
        pool->queue = conc_queue_new_ex(sizeof(conc__urgent), capacity, &desc);
    } else {
        pool->queue = conc_queue_new(sizeof(conc__item), capacity != 0 ? capacity : CONC__POOL_RING);
        if (capacity == 0) pool->spill = conc_queue_new(sizeof(conc__item), 0);
        if (capacity == 0 && pool->spill == NULL) return false;
    }
    return pool->queue != NULL;
}

conc_pool *conc_pool_new(const conc_pool_desc *desc) {
    conc_pool *pool;
    conc_pool_desc d;
    const char *wrong;
    memset(&d, 0, sizeof d);
    if (desc != NULL) d = *desc;
    if (d.core_threads == 0) {
        d.core_threads = conc_cpu_count();
        if (d.max_threads != 0 && d.core_threads > d.max_threads) d.core_threads = d.max_threads;
    }
    if (d.max_threads == 0) d.max_threads = d.core_threads;
    if (d.keep_alive >= 0 && d.keep_alive <= 0) d.keep_alive = 60;
    if (d.name == NULL) d.name = "pool";
    wrong = conc__desc_wrong(&d);
    if (wrong != NULL) {
        (void)conc__fail(CONC_INVALID, "conc_pool_new: %s (core %u, max %u)", wrong, d.core_threads, d.max_threads);
        return NULL;
    }
    pool = (conc_pool *)conc__alloc(1, sizeof *pool, "a pool");
    if (pool == NULL) return NULL;
    pool->desc = d;
    (void)snprintf(pool->name, sizeof pool->name, "%.20s", d.name);
    pool->desc.name = pool->name;
    pool->keep_alive = d.keep_alive;
    pool->core = d.core_threads;
    pool->max = d.max_threads;
    pool->processors = conc_cpu_count();
    pool->due_end = &pool->due_first;
    pool->users = 1;
    (void)conc__self();
    pool->generation = conc__fork_generation();
    if (!conc__pool_make_queue(pool)) {
        conc__pool_unuse(pool);
        return NULL;
    }
    conc__pools_begin();
    conc__lock_take(&conc__pools_lock);
    pool->next = conc__pools;
    pool->link = &conc__pools;
    if (pool->next != NULL) pool->next->link = &pool->next;
    conc__pools = pool;
    conc__lock_give(&conc__pools_lock);
    if (d.prestart && conc_pool_prestart(pool, 0) == 0) {
        char why[200];
        (void)snprintf(why, sizeof why, "%.199s", conc_error_detail());
        (void)conc_pool_close(pool);
        (void)conc_pool_free(pool);
        (void)conc__fail(CONC_NO_THREADS, "%s", why);
        return NULL;
    }
    return pool;
}

/* Everybody who sleeps for lack of work now looks again. */
static void conc__pool_rouse_all(conc_pool *pool) {
    conc__worker *all = NULL, *w;
    conc__lock_take(&pool->lock);
    while ((w = pool->idles) != NULL) {
        conc__sleeper_unlist(w);
        w->idle_next = all; /* it stays as it is until it has its permit */
        all = w;
    }
    conc__lock_give(&pool->lock);
    while ((w = all) != NULL) {
        all = w->idle_next;
        conc__sleeper_wake(w);
    }
}

/* CONC_OK: it was open. */
static conc_result conc__pool_shut(conc_pool *pool, uint32_t phase) {
    bool was_open;
    conc__lock_take(&pool->lock);
    was_open = conc__load32(&pool->phase, CONC__RELAXED) == CONC__POOL_OPEN;
    if (conc__load32(&pool->phase, CONC__RELAXED) < phase) conc__store32(&pool->phase, phase, CONC__SEQ_CST);
    if (was_open && pool->queue != NULL) {
        conc__lock_take(&pool->spill_lock);
        (void)conc_queue_close(pool->queue);
        if (pool->spill != NULL) (void)conc_queue_close(pool->spill);
        conc__lock_give(&pool->spill_lock);
    }
    conc__pool_look_for_end(pool);
    conc__lock_give(&pool->lock);
    return was_open ? CONC_OK : CONC_CLOSED;
}

/* Takes out what waits for its time: all, or only what would come again and again. One by one, as each is canceled
 * without the lock. */
static void conc__schedules_cancel(conc_pool *pool, bool all, void (*each)(conc_fn fn, void *arg, void *user), void *user) {
    for (;;) {
        conc__schedule *s;
        conc_future *f = NULL;
        conc_fn fn;
        void *arg;
        conc__lock_take(&pool->lock);
        for (s = pool->schedules; s != NULL; s = s->next) { /* who claims one otherwise takes it out himself */
            if ((all || s->every != 0) && conc__future_claim(s->f)) break;
        }
        if (s != NULL) f = conc_future_retain(s->f);
        conc__lock_give(&pool->lock);
        if (f == NULL) return;
        fn = f->fn;
        arg = f->arg;
        conc__future_canceled(f);
        if (each != NULL) {
            (void)conc__subz(&pool->canceled, 1, CONC__RELAXED);
            (void)conc__addz(&pool->returned, 1, CONC__RELAXED);
        }
        conc__future_end(f, CONC_CANCELED, 0, NULL);
        conc_future_release(f);
        if (each != NULL) {
            each(fn, arg, user);
        } else if (all && pool->desc.dropped != NULL) {
            pool->desc.dropped(fn, arg, pool->desc.user);
        }
    }
}

conc_result conc_pool_close(conc_pool *pool) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_close");
    if (r != CONC_OK) return r;
    (void)conc__add32(&pool->users, 1, CONC__RELAXED);
    r = conc__pool_shut(pool, CONC__POOL_CLOSED);
    conc__schedules_cancel(pool, false, NULL, NULL);
    conc__pool_rouse_all(pool);
    conc__room_wake(pool, CONC_ALL);
    conc__pool_unuse(pool);
    return r;
}

/* Takes out what is queued, or due. */
static void conc__pool_take_out(conc_pool *pool, void (*returned)(conc_fn fn, void *arg, void *user), void *user) {
    conc__item item;
    while (conc__due_get(pool, &item) || conc__pool_get(pool, &item)) {
        conc_fn fn;
        void *arg;
        if (returned == NULL) {
            conc__queued_discard(pool, &item, CONC_CANCELED);
        } else if (conc__queued_drop(&item, CONC_CANCELED, &fn, &arg)) {
            (void)conc__addz(fn != NULL ? &pool->returned : &pool->canceled, 1, CONC__RELAXED);
            if (fn != NULL) returned(fn, arg, user);
        }
    }
}

conc_result conc_pool_close_now(conc_pool *pool, void (*returned)(conc_fn fn, void *arg, void *user), void *user) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_close_now");
    if (r != CONC_OK) return r;
    (void)conc__add32(&pool->users, 1, CONC__RELAXED);
    conc__lock_take(&pool->lock);
    pool->elsewhere++; /* what has been taken out of the queue keeps the pool from its end, too */
    conc__lock_give(&pool->lock);
    r = conc__pool_shut(pool, CONC__POOL_STOPPED);
    conc__pool_take_out(pool, returned, user);
    conc__schedules_cancel(pool, true, returned, user);
    conc__pool_take_out(pool, returned, user); /* what has become due between the two */
    (void)conc_cancel_fire(&pool->token); /* last: a thread that ends its task now finds no other */
    conc__pool_rouse_all(pool);
    conc__room_wake(pool, CONC_ALL);
    conc__elsewhere_done(pool);
    conc__pool_unuse(pool);
    return r;
}

static conc_result conc__pool_end_wrong(conc_pool *pool) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_join, or conc_op_pool_end");
    if (r != CONC_OK) return r;
    if (conc__pool_is_member(pool)) return conc__fail(CONC_DEADLOCK, "conc_pool_join: the caller is one of those that it would wait for");
    if (conc__load32(&pool->phase, CONC__ACQUIRE) == CONC__POOL_OPEN) {
        return conc__fail(CONC_INVALID, "conc_pool_join: the pool \"%s\" is open, and would go on: close it first", pool->name);
    }
    return CONC_OK;
}

static conc_result conc__pool_end_attempt(conc_op *op) {
    conc_pool *pool = (conc_pool *)op->object;
    conc_result r = conc__pool_end_wrong(pool);
    if (r != CONC_OK) return r;
    return conc_event_is_set(&pool->ended) ? CONC_OK : CONC_PENDING;
}

static bool conc__pool_end_arm(conc_op *op, conc_node *node) {
    conc_op event = conc_op_event(&((conc_pool *)op->object)->ended);
    return event.cls->arm(&event, node);
}

conc_op conc_op_pool_end(conc_pool *pool) {
    static const conc_op_class cls = {"pool end", CONC_BUSY, conc__pool_end_attempt, conc__pool_end_arm, NULL, NULL};
    return conc_op_make(&cls, pool, NULL);
}

conc_result conc_pool_join(conc_pool *pool, conc_deadline deadline) {
    conc_op op = conc_op_pool_end(pool);
    return conc__wait_op(&op, deadline);
}

conc_result conc_pool_free(conc_pool *pool) {
    bool busy, iterated;
    if (pool == NULL) return CONC_OK;
    if (!conc__pool_is_forked(pool)) {
        conc__lock_take(&pool->lock);
        busy = conc__load32(&pool->threads, CONC__RELAXED) != 0 || pool->elsewhere != 0 || pool->scheduled != 0 || pool->due_first != NULL ||
               conc__pool_queued(pool) != 0;
        iterated = pool->iterators != 0;
        conc__lock_give(&pool->lock);
        if (busy) {
            return conc__fail(CONC_BUSY, "conc_pool_free: the pool \"%s\" has threads or tasks: close and join it first", pool->name);
        }
        if (iterated) return conc__fail(CONC_BUSY, "conc_pool_free: an iterator over the pool \"%s\" is still open", pool->name);
        conc__lock_take(&conc__pools_lock);
        if (pool->link != NULL) {
            *pool->link = pool->next;
            if (pool->next != NULL) pool->next->link = pool->link;
        }
        conc__lock_give(&conc__pools_lock);
    } else {
        pool->users = 1; /* those of the threads are in the other process */
    }
    conc__pool_unuse(pool);
    return CONC_OK;
}

conc_result conc_pool_finish(conc_pool *pool) {
    conc_result r = CONC_OK;
    if (pool == NULL) return CONC_OK;
    if (!conc__pool_is_forked(pool)) {
        (void)conc_pool_close(pool);
        r = conc_pool_join(pool, CONC_FOREVER);
    }
    return r == CONC_OK ? conc_pool_free(pool) : r;
}

/* ---- looking and changing -------------------------------------------------------------------------------------- */

conc_pool_stats conc_pool_stats_of(conc_pool *pool) {
    conc_pool_stats s;
    const conc__worker *w;
    size_t stale;
    memset(&s, 0, sizeof s);
    if (conc__pool_wrong(pool, "conc_pool_stats_of") != CONC_OK) return s;
    conc__lock_take(&pool->lock);
    s.threads = conc__load32(&pool->threads, CONC__RELAXED);
    s.largest = pool->largest;
    s.idle = conc__load32(&pool->idle, CONC__RELAXED);
    s.active = s.threads - s.idle;
    s.queued = conc__pool_queued(pool) + conc__load32(&pool->due, CONC__RELAXED);
    s.scheduled = pool->scheduled;
    conc__lock_give(&pool->lock);
    stale = conc__loadz(&pool->stale, CONC__RELAXED); /* below 0, for a moment, if one is taken out before it is
                                                         counted */
    s.queued -= stale <= s.queued ? stale : 0;
    s.completed = conc__loadz(&pool->completed, CONC__RELAXED);
    for (w = (const conc__worker *)conc__loadp(&pool->workers, CONC__ACQUIRE); w != NULL; w = w->next) {
        s.completed += conc__loadz(&w->completed, CONC__RELAXED);
    }
    s.canceled = conc__loadz(&pool->canceled, CONC__RELAXED);
    s.returned = conc__loadz(&pool->returned, CONC__RELAXED);
    s.rejected = conc__loadz(&pool->rejected, CONC__RELAXED);
    s.accepted = conc__loadz(&pool->accepted, CONC__RELAXED);
    return s;
}

const conc_pool_desc *conc_pool_desc_of(const conc_pool *pool) {
    return pool != NULL ? &pool->desc : NULL;
}

const char *conc_pool_name(const conc_pool *pool) {
    return pool != NULL ? pool->name : "";
}

conc_result conc_pool_resize(conc_pool *pool, unsigned core_threads, unsigned max_threads) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_resize");
    conc_pool_desc d;
    const char *wrong;
    if (r != CONC_OK) return r;
    d = pool->desc;
    conc__lock_take(&pool->lock);
    d.core_threads = core_threads != 0 ? core_threads : conc__load32(&pool->core, CONC__RELAXED);
    d.max_threads = max_threads != 0 ? max_threads : conc__load32(&pool->max, CONC__RELAXED);
    wrong = conc__desc_wrong(&d);
    if (wrong == NULL) {
        conc__store32(&pool->core, d.core_threads, CONC__SEQ_CST);
        conc__store32(&pool->max, d.max_threads, CONC__SEQ_CST);
    }
    conc__lock_give(&pool->lock);
    if (wrong != NULL) return conc__fail(CONC_INVALID, "conc_pool_resize: %s (core %u, max %u)", wrong, d.core_threads, d.max_threads);
    conc__pool_rouse_all(pool); /* those that are too many end; the others look at their patience again */
    while (conc__pool_queued(pool) != 0 && conc__pool_more(pool)) {
    }
    conc__room_wake(pool, CONC_ALL);
    return CONC_OK;
}

conc_result conc_pool_set_keep_alive(conc_pool *pool, double seconds) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_set_keep_alive");
    if (r != CONC_OK) return r;
    if (!(seconds >= 0)) return conc__fail(CONC_INVALID, "conc_pool_set_keep_alive: a negative time");
    conc__lock_take(&pool->lock);
    pool->keep_alive = seconds;
    conc__lock_give(&pool->lock);
    conc__pool_rouse_all(pool);
    return CONC_OK;
}

unsigned conc_pool_prestart(conc_pool *pool, unsigned n) {
    unsigned threads = 0;
    if (conc__pool_wrong(pool, "conc_pool_prestart") != CONC_OK) return 0;
    for (;;) {
        conc__lock_take(&pool->lock);
        threads = conc__load32(&pool->threads, CONC__RELAXED);
        if (threads >= conc__load32(&pool->core, CONC__RELAXED) || (n != 0 && threads >= n) ||
            conc__pool_is_closed(pool)) {
            break;
        }
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        if (conc__thread_new(pool, NULL, false) != CONC_OK) break; /* the lock is held again */
    }
    conc__lock_give(&pool->lock);
    return threads;
}

bool conc_pool_is_closed(const conc_pool *pool) {
    return pool != NULL && conc__pool_is_closed(pool);
}

conc_pool *conc_pool_current(void) {
    const conc__agent *me = conc__self();
    const conc__running *r = me->running;
    while (r != NULL && r->pool == NULL) r = r->below;
    return r != NULL ? r->pool : me->worker != NULL ? me->worker->pool : NULL;
}
