/* What every blocking call of the library has in common, checked for each by one table: the answer with
 * CONC_NOW; a time-out that is never early; cancellation by the thread's token, by its parent, before and
 * during the wait; that a call which need not wait succeeds whatever the deadline and the token say; and that
 * a wake racing with a time-out or a cancel is never lost and never counted twice. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

/* One of everything, set up by the main thread so that each call has to wait. */
typedef struct world {
    conc_mutex mutex, cond_mutex;
    conc_rmutex rmutex;
    conc_cond cond;
    bool flag; /* guarded by cond_mutex */
    conc_rwlock rwlock;
    conc_brlock *brlock;
    conc_semaphore semaphore;
    conc_event event, once_go, once_running;
    conc_barrier barrier;
    conc_once once;
    conc_latch latch;
    conc_cancel token; /* for conc_op_canceled */
    conc_queue *empty, *full, *lifo, *priority, *handoff, *work, *handoff_out;
    conc_thread *helper;
    conc_timer *timer;
    conc_event timer_go;
    int helper_kind;
} world;

static int by_value(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static bool flag_is_set(void *arg) {
    return ((world *)arg)->flag;
}

static int wait_for_go(void *arg) {
    world *w = (world *)arg;
    (void)conc_event_set(&w->once_running);
    return conc_event_wait(&w->once_go, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static int run_once(void *arg) {
    world *w = (world *)arg;
    return conc_once_do(&w->once, wait_for_go, w, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

/* ---- the calls: made in another thread than main's. `ready` makes the call succeed, in main's thread; `undo` is run
 * by the caller after CONC_OK; ---- */

typedef struct call {
    const char *name;
    conc_result at_once; /* the answer with CONC_NOW */
    conc_result (*make)(world *w, conc_deadline d);
    void (*ready)(world *w);
    void (*undo)(world *w);   /* or NULL */
    void (*before)(world *w); /* or NULL: what main has to do first */
    bool again;               /* a call that gave up may be made again, as if it had never been */
} call;

static void before_mutex(world *w) { CHECK_OK(conc_mutex_lock(&w->mutex, CONC_FOREVER)); }
static conc_result mutex_lock(world *w, conc_deadline d) { return conc_mutex_lock(&w->mutex, d); }
static void mutex_ready(world *w) { CHECK_OK(conc_mutex_unlock(&w->mutex)); }
static void mutex_undo(world *w) {
    CHECK(conc_mutex_is_mine(&w->mutex));
    CHECK_OK(conc_mutex_unlock(&w->mutex));
}
static conc_result op_lock(world *w, conc_deadline d) { return conc_wait(conc_op_lock(&w->mutex), d); }

static void before_rmutex(world *w) {
    CHECK_OK(conc_rmutex_lock(&w->rmutex, CONC_FOREVER));
    CHECK_OK(conc_rmutex_lock(&w->rmutex, CONC_FOREVER));
}
static conc_result rmutex_lock(world *w, conc_deadline d) { return conc_rmutex_lock(&w->rmutex, d); }
static void rmutex_ready(world *w) {
    CHECK_OK(conc_rmutex_unlock(&w->rmutex));
    CHECK_OK(conc_rmutex_unlock(&w->rmutex));
}
static void rmutex_undo(world *w) { CHECK_OK(conc_rmutex_unlock(&w->rmutex)); }

/* A signal reaches only those who wait already, so the condition is used with its flag. */
static conc_result cond_wait(world *w, conc_deadline d) {
    conc_result r = CONC_OK;
    CHECK_OK(conc_mutex_lock(&w->cond_mutex, conc_deadline_at(INT64_MAX)));
    while (!w->flag && r == CONC_OK) {
        r = conc_cond_wait(&w->cond, &w->cond_mutex, d);
        CHECK(conc_mutex_is_mine(&w->cond_mutex)); /* whatever the result */
    }
    if (w->flag) r = CONC_OK;
    CHECK_OK(conc_mutex_unlock(&w->cond_mutex));
    return r;
}
static conc_result cond_wait_for(world *w, conc_deadline d) {
    conc_result r;
    CHECK_OK(conc_mutex_lock(&w->cond_mutex, CONC_FOREVER));
    r = conc_cond_wait_for(&w->cond, &w->cond_mutex, flag_is_set, w, d);
    CHECK(conc_mutex_is_mine(&w->cond_mutex));
    if (r == CONC_OK) CHECK(w->flag);
    CHECK_OK(conc_mutex_unlock(&w->cond_mutex));
    return r;
}
static conc_result op_signal(world *w, conc_deadline d) {
    conc_result r = CONC_OK;
    CHECK_OK(conc_mutex_lock(&w->cond_mutex, CONC_FOREVER));
    while (!w->flag && r == CONC_OK) {
        conc_op op = conc_op_signal(&w->cond);
        CHECK_OK(conc_mutex_unlock(&w->cond_mutex));
        r = conc_wait(op, d);
        CHECK_OK(conc_mutex_lock(&w->cond_mutex, CONC_FOREVER));
    }
    if (w->flag) r = CONC_OK;
    CHECK_OK(conc_mutex_unlock(&w->cond_mutex));
    return r;
}
static void cond_ready(world *w) {
    CHECK_OK(conc_mutex_lock(&w->cond_mutex, CONC_FOREVER));
    w->flag = true;
    CHECK_OK(conc_cond_signal(&w->cond));
    CHECK_OK(conc_mutex_unlock(&w->cond_mutex));
}

static void before_rwlock(world *w) { CHECK_OK(conc_rwlock_write(&w->rwlock, CONC_FOREVER)); }
static void before_rwlock_read(world *w) { CHECK_OK(conc_rwlock_read(&w->rwlock, CONC_FOREVER)); }
static conc_result rwlock_read(world *w, conc_deadline d) { return conc_rwlock_read(&w->rwlock, d); }
static conc_result rwlock_write(world *w, conc_deadline d) { return conc_rwlock_write(&w->rwlock, d); }
static conc_result op_read(world *w, conc_deadline d) { return conc_wait(conc_op_read(&w->rwlock), d); }
static conc_result op_write(world *w, conc_deadline d) { return conc_wait(conc_op_write(&w->rwlock), d); }
static void rwlock_unlock(world *w) { CHECK_OK(conc_rwlock_unlock(&w->rwlock)); }

static void before_brlock(world *w) { CHECK_OK(conc_brlock_write(w->brlock, CONC_FOREVER)); }
static void before_brlock_read(world *w) { CHECK_OK(conc_brlock_read(w->brlock, CONC_FOREVER)); }
static conc_result brlock_read(world *w, conc_deadline d) { return conc_brlock_read(w->brlock, d); }
static conc_result brlock_write(world *w, conc_deadline d) { return conc_brlock_write(w->brlock, d); }
static conc_result op_brlock_read(world *w, conc_deadline d) { return conc_wait(conc_op_brlock_read(w->brlock), d); }
static conc_result op_brlock_write(world *w, conc_deadline d) { return conc_wait(conc_op_brlock_write(w->brlock), d); }
static void brlock_read_unlock(world *w) { CHECK_OK(conc_brlock_read_unlock(w->brlock)); }
static void brlock_write_unlock(world *w) { CHECK_OK(conc_brlock_write_unlock(w->brlock)); }

static conc_result acquire(world *w, conc_deadline d) { return conc_semaphore_acquire(&w->semaphore, d); }
static conc_result op_acquire(world *w, conc_deadline d) { return conc_wait(conc_op_acquire(&w->semaphore), d); }
static void semaphore_ready(world *w) { CHECK_OK(conc_semaphore_release(&w->semaphore, 1)); }
static void semaphore_undo(world *w) { CHECK_EQ(conc_semaphore_permits(&w->semaphore), 0); }

static conc_result event_wait(world *w, conc_deadline d) { return conc_event_wait(&w->event, d); }
static conc_result op_event(world *w, conc_deadline d) { return conc_wait(conc_op_event(&w->event), d); }
static void event_ready(world *w) { CHECK_OK(conc_event_set(&w->event)); }
static void event_undo(world *w) { CHECK(conc_event_is_set(&w->event)); }
static void before_auto(world *w) { w->event.auto_reset = true; }
static void auto_undo(world *w) { CHECK(!conc_event_is_set(&w->event)); }

static void before_barrier(world *w) { w->barrier.parties = 2; }
static conc_result barrier_wait(world *w, conc_deadline d) { return conc_barrier_wait(&w->barrier, NULL, d); }
static conc_result op_barrier(world *w, conc_deadline d) { return conc_wait(conc_op_barrier(&w->barrier, NULL), d); }
static void barrier_ready(world *w) { CHECK_OK(conc_barrier_wait(&w->barrier, NULL, CONC_FOREVER)); }

static void before_once(world *w) {
    w->helper = conc_thread_start(run_once, w, NULL);
    CHECK_OK(conc_event_wait(&w->once_running, CONC_FOREVER));
}
static conc_result once_do(world *w, conc_deadline d) { return conc_once_do(&w->once, nothing, NULL, d); }
static void once_ready(world *w) {
    int result = 1;
    CHECK_OK(conc_event_set(&w->once_go));
    CHECK_OK(conc_thread_join(w->helper, &result, CONC_FOREVER));
    CHECK_EQ(result, 0);
    w->helper = NULL;
}

static void before_latch(world *w) { CHECK_OK(conc_latch_add(&w->latch, 1)); }
static conc_result latch_wait(world *w, conc_deadline d) { return conc_latch_wait(&w->latch, d); }
static conc_result op_latch(world *w, conc_deadline d) { return conc_wait(conc_op_latch(&w->latch), d); }
static void latch_ready(world *w) { CHECK_OK(conc_latch_done(&w->latch)); }

static void before_thread(world *w) { w->helper = conc_thread_start(wait_for_go, w, NULL); }
static conc_result thread_join(world *w, conc_deadline d) {
    conc_result r = conc_thread_join(w->helper, NULL, d);
    if (r == CONC_OK) w->helper = NULL;
    return r;
}
static conc_result op_thread_end(world *w, conc_deadline d) { return conc_wait(conc_op_thread_end(w->helper), d); }
static void thread_end_undo(world *w) {
    CHECK_OK(conc_thread_join(w->helper, NULL, CONC_FOREVER));
    w->helper = NULL;
}
static void thread_ready(world *w) { CHECK_OK(conc_event_set(&w->once_go)); }
/* With the deadline behind it or the token fired the call need not wait only if the thread is really gone. */
static void thread_ready_and_gone(world *w) {
    thread_ready(w);
    CHECK_OK(conc_wait(conc_op_thread_end(w->helper), CONC_FOREVER));
}

static conc_result op_canceled(world *w, conc_deadline d) { return conc_wait(conc_op_canceled(&w->token), d); }
static void token_ready(world *w) { CHECK_OK(conc_cancel_fire(&w->token)); }

static int let_go(void *arg) {
    world *w = (world *)arg;
    return conc_event_wait(&w->timer_go, CONC_FOREVER) == CONC_OK ? 0 : 1;
}
static void before_timer(world *w) { w->timer = conc_timer_start(let_go, w, CONC_NOW); }
static conc_result op_timer(world *w, conc_deadline d) { return conc_wait(conc_op_timer(w->timer), d); }
static void timer_ready(world *w) { CHECK_OK(conc_event_set(&w->timer_go)); }
static void timer_ready_and_done(world *w) {
    timer_ready(w);
    CHECK_OK(conc_wait(conc_op_timer(w->timer), CONC_FOREVER));
}

/* queues: 42 goes through each */
static conc_result get_of(conc_queue *q, conc_deadline d) {
    int x = -5;
    conc_result r = conc_queue_get(q, &x, d);
    CHECK_EQ(x, r == CONC_OK ? 42 : -5);
    return r;
}
static void put_in(conc_queue *q) {
    int x = 42;
    CHECK_OK(conc_queue_put(q, &x, CONC_FOREVER));
}
static conc_result put_of(conc_queue *q, conc_deadline d) {
    int x = 42;
    return conc_queue_put(q, &x, d);
}
static void take_out(conc_queue *q) {
    int x = -5;
    CHECK_OK(conc_queue_get(q, &x, CONC_FOREVER));
    CHECK_EQ(x, 42);
}
static conc_result get_fifo(world *w, conc_deadline d) { return get_of(w->empty, d); }
static conc_result get_lifo(world *w, conc_deadline d) { return get_of(w->lifo, d); }
static conc_result get_priority(world *w, conc_deadline d) { return get_of(w->priority, d); }
static conc_result get_handoff(world *w, conc_deadline d) { return get_of(w->handoff, d); }
static conc_result put_fifo(world *w, conc_deadline d) { return put_of(w->full, d); }
static conc_result put_lifo(world *w, conc_deadline d) { return put_of(w->lifo, d); }
static conc_result put_priority(world *w, conc_deadline d) { return put_of(w->priority, d); }
static conc_result put_handoff(world *w, conc_deadline d) { return put_of(w->handoff, d); }
static conc_result op_get(world *w, conc_deadline d) {
    int x = -5;
    conc_result r = conc_wait(conc_op_get(w->empty, &x), d);
    CHECK_EQ(x, r == CONC_OK ? 42 : -5);
    return r;
}
static conc_result op_put(world *w, conc_deadline d) {
    int x = 42;
    return conc_wait(conc_op_put(w->full, &x), d);
}
static conc_result get_many(world *w, conc_deadline d) {
    int x[3] = { -5, -5, -5 };
    size_t done = 9;
    conc_result r = conc_queue_get_many(w->empty, x, 3, &done, d);
    CHECK_EQ(done, r == CONC_OK ? 1 : 0);
    CHECK_EQ(x[0], r == CONC_OK ? 42 : -5);
    return r;
}
static conc_result put_many(world *w, conc_deadline d) {
    int x[1] = { 42 };
    size_t done = 9;
    conc_result r = conc_queue_put_many(w->full, x, 1, &done, d);
    CHECK_EQ(done, r == CONC_OK ? 1 : 0);
    return r;
}
static void fifo_ready(world *w) { put_in(w->empty); }
static void fifo_room(world *w) { take_out(w->full); }
static void before_fifo_full(world *w) { put_in(w->full); }
static void lifo_ready(world *w) { put_in(w->lifo); }
static void lifo_room(world *w) { take_out(w->lifo); }
static void before_lifo_full(world *w) { put_in(w->lifo); }
static void priority_ready(world *w) { put_in(w->priority); }
static void priority_room(world *w) { take_out(w->priority); }
static void before_priority_full(world *w) { put_in(w->priority); }
static void handoff_ready(world *w) { put_in(w->handoff); }
static void handoff_room(world *w) { take_out(w->handoff); }
static void empty_undo(world *w) { CHECK_EQ(conc_queue_length(w->empty), 0); }
static void full_undo(world *w) { CHECK_EQ(conc_queue_length(w->full), 1); }
static void before_work(world *w) {
    put_in(w->work);
    take_out(w->work);
}
static conc_result queue_join(world *w, conc_deadline d) { return conc_queue_join(w->work, d); }
static conc_result op_queue_join(world *w, conc_deadline d) { return conc_wait(conc_op_queue_join(w->work), d); }
static void work_done(world *w) { CHECK_OK(conc_queue_task_done(w->work)); }

/* the select of an event and things that never come */
static conc_result select_some(world *w, conc_deadline d) {
    conc_op ops[3];
    int x = -5, i;
    ops[0] = conc_op_get(w->empty, &x);
    ops[1] = conc_op_event(&w->event);
    ops[2] = conc_op_latch(&w->latch);
    i = conc_select(ops, 3, d);
    CHECK_EQ(x, -5);
    if (i < 0) return (conc_result)i;
    CHECK_EQ(i, 1);
    return ops[1].result;
}

#define C(name, at_once, make, ready, undo, before, again) { name, at_once, make, ready, undo, before, again }
static const call calls[] = {
    C("mutex_lock", CONC_BUSY, mutex_lock, mutex_ready, mutex_undo, before_mutex, true),
    C("op_lock", CONC_BUSY, op_lock, mutex_ready, mutex_undo, before_mutex, true),
    C("rmutex_lock", CONC_BUSY, rmutex_lock, rmutex_ready, rmutex_undo, before_rmutex, true),
    C("cond_wait", CONC_BUSY, cond_wait, cond_ready, NULL, NULL, true),
    C("cond_wait_for", CONC_BUSY, cond_wait_for, cond_ready, NULL, NULL, true),
    C("op_signal", CONC_BUSY, op_signal, cond_ready, NULL, NULL, true),
    C("rwlock_read", CONC_BUSY, rwlock_read, rwlock_unlock, rwlock_unlock, before_rwlock, true),
    C("rwlock_write", CONC_BUSY, rwlock_write, rwlock_unlock, rwlock_unlock, before_rwlock, true),
    C("rwlock_write after read", CONC_BUSY, rwlock_write, rwlock_unlock, rwlock_unlock, before_rwlock_read, true),
    C("op_read", CONC_BUSY, op_read, rwlock_unlock, rwlock_unlock, before_rwlock, true),
    C("op_write", CONC_BUSY, op_write, rwlock_unlock, rwlock_unlock, before_rwlock_read, true),
    C("brlock_read", CONC_BUSY, brlock_read, brlock_write_unlock, brlock_read_unlock, before_brlock, true),
    C("brlock_write", CONC_BUSY, brlock_write, brlock_write_unlock, brlock_write_unlock, before_brlock, true),
    C("brlock_write after read", CONC_BUSY, brlock_write, brlock_read_unlock, brlock_write_unlock, before_brlock_read, true),
    C("op_brlock_read", CONC_BUSY, op_brlock_read, brlock_write_unlock, brlock_read_unlock, before_brlock, true),
    C("op_brlock_write", CONC_BUSY, op_brlock_write, brlock_read_unlock, brlock_write_unlock, before_brlock_read, true),
    C("semaphore_acquire", CONC_BUSY, acquire, semaphore_ready, semaphore_undo, NULL, true),
    C("op_acquire", CONC_BUSY, op_acquire, semaphore_ready, semaphore_undo, NULL, true),
    C("event_wait", CONC_BUSY, event_wait, event_ready, event_undo, NULL, true),
    C("op_event", CONC_BUSY, op_event, event_ready, event_undo, NULL, true),
    C("event_wait, auto", CONC_BUSY, event_wait, event_ready, auto_undo, before_auto, true),
    C("op_event, auto", CONC_BUSY, op_event, event_ready, auto_undo, before_auto, true),
    C("barrier_wait", CONC_BUSY, barrier_wait, barrier_ready, NULL, before_barrier, false),
    C("op_barrier", CONC_BUSY, op_barrier, barrier_ready, NULL, before_barrier, false),
    C("once_do", CONC_BUSY, once_do, once_ready, NULL, before_once, true),
    C("latch_wait", CONC_BUSY, latch_wait, latch_ready, NULL, before_latch, true),
    C("op_latch", CONC_BUSY, op_latch, latch_ready, NULL, before_latch, true),
    C("thread_join", CONC_BUSY, thread_join, thread_ready, NULL, before_thread, true),
    C("op_thread_end", CONC_BUSY, op_thread_end, thread_ready, thread_end_undo, before_thread, true),
    C("op_canceled", CONC_BUSY, op_canceled, token_ready, NULL, NULL, true),
    C("op_timer", CONC_BUSY, op_timer, timer_ready, NULL, before_timer, true),
    C("get, fifo", CONC_EMPTY, get_fifo, fifo_ready, empty_undo, NULL, true),
    C("get, lifo", CONC_EMPTY, get_lifo, lifo_ready, NULL, NULL, true),
    C("get, priority", CONC_EMPTY, get_priority, priority_ready, NULL, NULL, true),
    C("get, handoff", CONC_EMPTY, get_handoff, handoff_ready, NULL, NULL, true),
    C("put, fifo", CONC_FULL, put_fifo, fifo_room, full_undo, before_fifo_full, true),
    C("put, lifo", CONC_FULL, put_lifo, lifo_room, NULL, before_lifo_full, true),
    C("put, priority", CONC_FULL, put_priority, priority_room, NULL, before_priority_full, true),
    C("put, handoff", CONC_FULL, put_handoff, handoff_room, NULL, NULL, true),
    C("op_get", CONC_EMPTY, op_get, fifo_ready, empty_undo, NULL, true),
    C("op_put", CONC_FULL, op_put, fifo_room, full_undo, before_fifo_full, true),
    C("get_many", CONC_EMPTY, get_many, fifo_ready, empty_undo, NULL, true),
    C("put_many", CONC_FULL, put_many, fifo_room, full_undo, before_fifo_full, true),
    C("queue_join", CONC_BUSY, queue_join, work_done, NULL, before_work, true),
    C("op_queue_join", CONC_BUSY, op_queue_join, work_done, NULL, before_work, true),
    C("select", CONC_BUSY, select_some, event_ready, NULL, before_latch, true),
};
#define CALLS (sizeof calls / sizeof *calls)

static void world_make(world *w, const call *c) {
    conc_queue_desc desc;
    memset(w, 0, sizeof *w);
    memset(&desc, 0, sizeof desc);
    w->brlock = conc_brlock_new();
    w->empty = conc_queue_new(sizeof(int), 1);
    w->full = conc_queue_new(sizeof(int), 1);
    w->work = conc_queue_new(sizeof(int), 0);
    desc.kind = CONC_LIFO;
    w->lifo = conc_queue_new_ex(sizeof(int), 1, &desc);
    desc.kind = CONC_HANDOFF;
    w->handoff = conc_queue_new_ex(sizeof(int), 0, &desc);
    desc.kind = CONC_PRIORITY;
    desc.compare = by_value;
    w->priority = conc_queue_new_ex(sizeof(int), 1, &desc);
    CHECK(w->brlock && w->empty && w->full && w->work && w->lifo && w->handoff && w->priority);
    if (c->before != NULL) c->before(w);
}

/* The things that were made must be idle: destroying them shows it. */
static void world_end(world *w, bool idle) {
    if (w->helper != NULL) {
        CHECK_OK(conc_event_set(&w->once_go));
        CHECK_OK(conc_thread_join(w->helper, NULL, CONC_FOREVER));
    }
    if (w->timer != NULL) {
        CHECK_OK(conc_event_set(&w->timer_go));
        CHECK_OK(conc_wait(conc_op_timer(w->timer), CONC_FOREVER));
        conc_timer_release(w->timer);
    }
    if (!idle) return;
    CHECK_OK(conc_mutex_destroy(&w->mutex));
    CHECK_OK(conc_rmutex_destroy(&w->rmutex));
    CHECK_OK(conc_mutex_destroy(&w->cond_mutex));
    CHECK_OK(conc_cond_destroy(&w->cond));
    CHECK_OK(conc_rwlock_destroy(&w->rwlock));
    CHECK_OK(conc_semaphore_destroy(&w->semaphore));
    CHECK_OK(conc_event_destroy(&w->event));
    CHECK_OK(conc_barrier_destroy(&w->barrier));
    CHECK_OK(conc_latch_destroy(&w->latch));
    CHECK_OK(conc_brlock_free(w->brlock));
    CHECK_OK(conc_queue_free(w->empty));
    CHECK_OK(conc_queue_free(w->full));
    CHECK_OK(conc_queue_free(w->work));
    CHECK_OK(conc_queue_free(w->lifo));
    CHECK_OK(conc_queue_free(w->handoff));
    CHECK_OK(conc_queue_free(w->priority));
}

/* ---- the caller's thread: one for all, fed with jobs, so that thousands of rounds cost no thousand threads ---- */

typedef struct job {
    world *w;
    const call *c;
    conc_deadline deadline;
    conc_cancel *token;
    conc_result result;
    bool early;      /* said TIMEOUT before the deadline */
    bool undo_later; /* the other side has to move first */
} job;

static conc_queue *jobs, *answers;

static int caller(void *arg) {
    job *j;
    (void)arg;
    while (conc_queue_get(jobs, &j, CONC_FOREVER) == CONC_OK) {
        (void)conc_cancel_use(j->token);
        j->result = j->c->make(j->w, j->deadline);
        j->early = j->result == CONC_TIMEOUT && !conc_deadline_passed(j->deadline);
        (void)conc_cancel_use(NULL);
        if (j->result == CONC_OK && j->c->undo != NULL) j->c->undo(j->w);
        CHECK_OK(conc_queue_put(answers, &j, CONC_FOREVER));
    }
    return 0;
}

static void job_start(job *j, world *w, const call *c, conc_deadline d, conc_cancel *token) {
    j->w = w;
    j->c = c;
    j->deadline = d;
    j->token = token;
    j->result = CONC_PENDING;
    j->early = false;
    CHECK_OK(conc_queue_put(jobs, &j, CONC_FOREVER));
}

static conc_result job_end(job *j) {
    job *back = NULL;
    CHECK_OK(conc_queue_get(answers, &back, CONC_FOREVER));
    CHECK(back == j);
    CHECK(!j->early);
    return j->result;
}

static conc_result job_run(job *j, world *w, const call *c, conc_deadline d, conc_cancel *token) {
    job_start(j, w, c, d, token);
    return job_end(j);
}

/* After a call that gave up: it can be made again, and succeeds. */
static void finish(job *j, world *w, const call *c) {
    if (c->again) {
        job_start(j, w, c, CONC_FOREVER, NULL);
        c->ready(w);
        CHECK_OK(job_end(j));
    } else {
        CHECK_R(job_run(j, w, c, CONC_FOREVER, NULL), CONC_BROKEN);
    }
    world_end(w, true);
}

static void each(void (*check)(const call *c)) {
    size_t i;
    for (i = 0; i < CALLS; i++) {
        check_enter(calls[i].name);
        check(&calls[i]);
    }
}

static void at_once(const call *c) {
    world w;
    job j;
    world_make(&w, c);
    CHECK_R(job_run(&j, &w, c, CONC_NOW, NULL), c->at_once);
    finish(&j, &w, c);
}

static void past_deadline(const call *c) {
    world w;
    job j;
    world_make(&w, c);
    CHECK_R(job_run(&j, &w, c, check_past(), NULL), CONC_TIMEOUT);
    finish(&j, &w, c);
    world_make(&w, c);
    CHECK_R(job_run(&j, &w, c, conc_after(-1), NULL), CONC_TIMEOUT); /* that has passed, and is not CONC_NOW */
    finish(&j, &w, c);
}

static void times_out_never_early(const call *c) {
    int i;
    for (i = 0; i < check_rounds(8); i++) {
        world w;
        job j;
        world_make(&w, c);
        CHECK_R(job_run(&j, &w, c, conc_after(0.0005 * (i % 4)), NULL), CONC_TIMEOUT);
        finish(&j, &w, c);
    }
}

static void cancel_wakes(const call *c) {
    unsigned i;
    for (i = 0; i < 8; i++) {
        world w;
        job j;
        conc_cancel parent = { 0 }, child = { 0 };
        child.parent = &parent;
        world_make(&w, c);
        job_start(&j, &w, c, i % 2 ? CONC_FOREVER : conc_after(1000), &child);
        nudge(i);
        CHECK_OK(conc_cancel_fire(i < 4 ? &child : &parent));
        CHECK_R(job_end(&j), CONC_CANCELED);
        finish(&j, &w, c);
    }
}

static void fired_before(const call *c) {
    world w;
    job j;
    conc_cancel token = { 0 };
    CHECK_OK(conc_cancel_fire(&token));
    world_make(&w, c);
    CHECK_R(job_run(&j, &w, c, CONC_FOREVER, &token), CONC_CANCELED);
    finish(&j, &w, c);
}

static void wakes(const call *c) {
    unsigned i;
    for (i = 0; i < 8; i++) {
        world w;
        job j;
        conc_cancel token = { 0 }; /* never fires */
        world_make(&w, c);
        job_start(&j, &w, c, i % 2 ? CONC_FOREVER : conc_after(1000), i % 3 ? &token : NULL);
        nudge(i);
        c->ready(&w);
        CHECK_OK(job_end(&j));
        world_end(&w, true);
    }
}

static void need_not_wait(const call *c) {
    int i;
    if (c->ready == barrier_ready || c->make == put_handoff || c->make == get_handoff) return; /* need two */
    for (i = 0; i < 3; i++) {
        world w;
        job j;
        conc_cancel token = { 0 };
        CHECK_OK(conc_cancel_fire(&token));
        world_make(&w, c);
        if (c->ready == thread_ready) thread_ready_and_gone(&w);
        else if (c->ready == timer_ready) timer_ready_and_done(&w);
        else c->ready(&w);
        CHECK_OK(job_run(&j, &w, c, i == 0 ? CONC_NOW : i == 1 ? check_past() : CONC_FOREVER, i == 0 ? NULL : &token));
        world_end(&w, true);
    }
}

/* A wake racing with a time-out and with a cancel. If the call gave up, the wake is still there for the next; if it
 * did not, it has been used up, once (the undo functions look). */
static void races(const call *c) {
    int i, rounds = check_rounds(60);
    uint32_t seed = 12345;
    if (!c->again || c->make == put_handoff || c->make == get_handoff) return; /* the other side would wait too */
    for (i = 0; i < rounds; i++) {
        world w;
        job j;
        conc_cancel token = { 0 };
        conc_result r;
        uint32_t most = 1u + check_random(&seed) % 120u;
        bool cancel = i % 2 == 0;
        world_make(&w, c);
        job_start(&j, &w, c, cancel ? CONC_FOREVER : conc_after(most / 2.0 * 1e-6), &token);
        check_spin_us(most, &seed);
        if (cancel && i % 4 == 0) CHECK_OK(conc_cancel_fire(&token));
        c->ready(&w);
        if (cancel && i % 4 == 2) CHECK_OK(conc_cancel_fire(&token));
        r = job_end(&j);
        if (r != CONC_OK) {
            CHECK_R(r, cancel ? CONC_CANCELED : CONC_TIMEOUT);
            CHECK_OK(job_run(&j, &w, c, CONC_FOREVER, NULL)); /* the wake was not lost */
        }
        world_end(&w, true);
    }
}

int main(void) {
    conc_thread *t;
    int result = 1;
    check_begin("blocking");
    jobs = conc_queue_new(sizeof(job *), 1);
    answers = conc_queue_new(sizeof(job *), 1);
    t = conc_thread_start(caller, NULL, NULL);
    if (!CHECK(jobs != NULL && answers != NULL && t != NULL)) return check_end();
    printf(" at once\n");
    each(at_once);
    printf(" past deadline\n");
    each(past_deadline);
    printf(" time-out\n");
    each(times_out_never_early);
    printf(" cancel\n");
    each(cancel_wakes);
    printf(" fired before\n");
    each(fired_before);
    printf(" wake\n");
    each(wakes);
    printf(" need not wait\n");
    each(need_not_wait);
    printf(" races\n");
    each(races);
    CHECK_OK(conc_queue_close(jobs));
    CHECK_OK(conc_thread_join(t, &result, CONC_FOREVER));
    CHECK_EQ(result, 0);
    CHECK_OK(conc_queue_free(jobs));
    CHECK_OK(conc_queue_free(answers));
    return check_end();
}
