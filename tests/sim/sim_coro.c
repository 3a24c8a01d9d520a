/* Coroutines and threads on the same objects: queues of each kind, the first of several, locks and all other ops; each
 * item goes to one, each lock to one at a time, whoever asks. */

#include "loop_kit.h"

/* ---- the first of several ---------------------------------------------------------------------------------- */

static uint32_t taken_q, taken_h, put_h; /* atomic */

/* Takes one item, from the ring or the hand-off. */
CONC_CORO(take_any, conc_op ops[2]; int *a; int *b;) {
    CO_BEGIN;
    self->ops[0] = conc_op_get(q, &self->a);
    self->ops[1] = conc_op_get(h, &self->b);
    CO_AWAIT_ANY(self->ops, 2);
    SIM_OK(self->co.result);
    CONC_SIM_ASSERT(self->co.value == 0 || self->co.value == 1);
    if (self->co.value == 0) {
        CONC_SIM_ASSERT(look_at(self->a) == 0 && self->b == NULL);
        count(&taken_q);
    } else {
        CONC_SIM_ASSERT(look_at(self->b) == 1 && self->a == NULL);
        count(&taken_h);
    }
    CO_FINALLY;
    count(&cleaned);
    CO_END;
}

static int hand_1(void *unused) {
    int *p = make(1);
    conc_result r;
    (void)unused;
    r = conc_queue_put(h, &p, conc_after(0.0004));
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    if (r == CONC_OK) count(&put_h);
    return 0;
}

/* One winner; the other item is where it was. */
static int any_of_two(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    hand_off();
    taken_q = taken_h = put_h = 0;
    SIM_OK(CONC_GO(loop, take_any, .a = NULL, .b = NULL));
    sim_start(&crew, put_0, NULL);
    sim_start(&crew, hand_1, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(taken_q + taken_h == 1 && taken_h == put_h);
    CONC_SIM_ASSERT(taken_q + conc_queue_length(q) == 1);
    finish();
    return 0;
}

static conc_task *task;

static int cancel_task(void *unused) {
    (void)unused;
    perhaps_late();
    CONC_SIM_ASSERT(conc_task_cancel(task) == CONC_OK || conc_task_has_ended(task));
    return 0;
}

/* The same against a cancel: who handed over has handed it to somebody. */
static int any_canceled(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(1);
    hand_off();
    taken_q = taken_h = put_h = 0;
    task = CONC_SPAWN(loop, take_any, .a = NULL, .b = NULL);
    CONC_SIM_ASSERT(task != NULL);
    sim_start(&crew, cancel_task, NULL);
    sim_start(&crew, hand_1, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(task, &code, CONC_NOW));
    CONC_SIM_ASSERT(taken_h == put_h && code == (taken_h != 0 ? 0 : CONC_CANCELED));
    finish();
    return 0;
}

CONC_CORO(hands, int i; int *p; conc_result r;) {
    CO_BEGIN;
    self->p = make(self->i);
    CO_AWAIT_UNTIL(conc_op_put(h, &self->p), conc_after(0.0004));
    CONC_SIM_ASSERT(self->co.result == CONC_OK || self->co.result == CONC_TIMEOUT);
    if (self->co.result == CONC_OK) count(&put_h);
    CO_END;
}

static int take_h(void *unused) {
    int *p = NULL;
    conc_result r = conc_queue_get(h, &p, conc_after(0.0004));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    if (r == CONC_OK) {
        (void)look_at(p);
        count(&taken_h);
    }
    return 0;
}

/* Coroutines hand over to a thread, all with deadlines: as many give as take. */
static int hand_to_thread(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    hand_off();
    taken_h = put_h = 0;
    SIM_OK(CONC_GO(loop, hands, .i = 0));
    SIM_OK(CONC_GO(loop, hands, .i = 1));
    sim_start(&crew, take_h, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(taken_h == put_h && taken_h == out(0) + out(1));
    finish();
    return 0;
}

/* Two who would give the one and take the other, in two loops: exactly one of the two exchanges takes place. */
CONC_CORO(exchanges, conc_op ops[2]; conc_queue *gives; conc_queue *takes; int i; int *mine; int *theirs; bool puts_first;) {
    CO_BEGIN;
    self->mine = make(self->i);
    self->ops[self->puts_first ? 0 : 1] = conc_op_put(self->gives, &self->mine);
    self->ops[self->puts_first ? 1 : 0] = conc_op_get(self->takes, &self->theirs);
    CO_AWAIT_ANY(self->ops, 2);
    SIM_OK(self->co.result);
    if ((self->co.value == 0) == self->puts_first) {
        count(&put_h);
        CONC_SIM_ASSERT(self->theirs == NULL);
    } else {
        count(&taken_h);
        CONC_SIM_ASSERT(look_at(self->theirs) == 1 - self->i);
    }
    CO_END;
}

static int exchange(bool alike) {
    sim_crew crew = {0};
    conc_queue *first;
    conc_loop *mine;
    begin(0);
    hand_off();
    first = h;
    hand_off();
    taken_h = put_h = 0;
    mine = conc_loop_new(NULL);
    CONC_SIM_ASSERT(mine != NULL);
    SIM_OK(CONC_GO(loop, exchanges, .gives = first, .takes = h, .i = 0, .puts_first = true));
    SIM_OK(CONC_GO(mine, exchanges, .gives = h, .takes = first, .i = 1, .puts_first = alike));
    sim_start(&crew, run_loop, NULL);
    SIM_OK(conc_loop_run(mine, CONC_FOREVER));
    SIM_OK(conc_loop_free(mine));
    sim_join(&crew);
    CONC_SIM_ASSERT(taken_h == 1 && put_h == 1);
    SIM_OK(conc_queue_free(first));
    finish();
    return 0;
}

static int exchange_alike(void *unused) {
    (void)unused;
    return exchange(true);
}

static int exchange_crossed(void *unused) {
    (void)unused;
    return exchange(false);
}

/* ---- a queue between two loops --------------------------------------------------------------------------------- */

CONC_CORO(put_some, int n; int i; int *p;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        self->p = make(self->i);
        CO_AWAIT(conc_op_put(q, &self->p));
        SIM_OK(self->co.result);
    }
    SIM_OK(conc_queue_close(q));
    CO_END;
}

CONC_CORO(get_all, int i; int *p;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(q, &self->p));
        if (self->co.result == CONC_CLOSED) break;
        SIM_OK(self->co.result);
        CONC_SIM_ASSERT(look_at(self->p) == self->i++);
    }
    CO_RETURN(self->i == 2 ? 0 : 1);
    CO_END;
}

static int two_loops(void *unused) {
    sim_crew crew = {0};
    conc_loop *mine;
    (void)unused;
    begin(1);
    mine = conc_loop_new(NULL);
    CONC_SIM_ASSERT(mine != NULL);
    SIM_OK(CONC_GO(loop, put_some, .n = 2));
    SIM_OK(CONC_GO(mine, get_all, .i = 0));
    sim_start(&crew, run_loop, NULL);
    SIM_OK(conc_loop_run(mine, CONC_FOREVER));
    SIM_OK(conc_loop_free(mine));
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) == 1 && out(1) == 1);
    finish();
    return 0;
}

static int put_and_close(void *unused) {
    (void)put_0(unused);
    perhaps_late();
    SIM_OK(conc_queue_close(q));
    return 0;
}

/* An iterator over a queue, which another thread closes. */
static int iterate_a_queue(void *unused) {
    sim_crew crew = {0};
    int n = 0;
    (void)unused;
    begin(1);
    sim_start(&crew, put_and_close, NULL);
    CONC_FOREACH(int *, p, conc_iter_queue(q)) {
        (void)look_at(p);
        n++;
    }
    CONC_SIM_ASSERT(n == 1 && conc_queue_is_closed(q));
    sim_join(&crew);
    finish();
    return 0;
}

/* ---- locks --------------------------------------------------------------------------------------------------------- */

static conc_mutex m;
static int guarded; /* by m */
static uint32_t entered; /* atomic */

static void enter(void) {
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m));
    CONC_SIM_READ(guarded);
    CONC_SIM_ASSERT(guarded == 0);
    CONC_SIM_WRITE(guarded);
    guarded = 1;
}

static void leave(void) {
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m));
    CONC_SIM_WRITE(guarded);
    guarded = 0;
    count(&entered);
    SIM_OK(conc_mutex_unlock(&m));
    CONC_SIM_ASSERT(!conc_mutex_is_mine(&m));
}

static void begin_locks(void) {
    begin(1);
    memset(&m, 0, sizeof m);
    guarded = 0;
    entered = 0;
}

static void finish_locks(void) {
    CONC_SIM_ASSERT(conc_mutex_try_lock(&m) == CONC_OK);
    SIM_OK(conc_mutex_unlock(&m));
    SIM_OK(conc_mutex_destroy(&m));
    finish();
}

/* Holds it across a suspension: it is the task's, not the thread's. */
CONC_CORO(locks, bool held;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_lock(&m));
    SIM_OK(self->co.result);
    self->held = true;
    enter();
    CO_YIELD;
    leave();
    self->held = false;
    CO_FINALLY;
    if (self->held) leave();
    CO_END;
}

CONC_CORO(looks_on, int i;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 2; self->i++) {
        CONC_SIM_ASSERT(!conc_mutex_is_mine(&m));
        CONC_SIM_ASSERT(conc_mutex_unlock(&m) == CONC_NOT_OWNER);
        CO_YIELD;
    }
    CO_END;
}

static int lock_once(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    enter();
    leave();
    return 0;
}

static int mutex_mixed(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_locks();
    SIM_OK(CONC_GO(loop, locks, .held = false));
    SIM_OK(CONC_GO(loop, looks_on, .i = 0));
    SIM_OK(CONC_GO(loop, locks, .held = false));
    sim_start(&crew, lock_once, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(entered == 3);
    finish_locks();
    return 0;
}

/* A coroutine that waits for the lock is canceled: the lock is not lost with it. */
static int mutex_canceled(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin_locks();
    task = CONC_SPAWN(loop, locks, .held = false);
    CONC_SIM_ASSERT(task != NULL);
    sim_start(&crew, lock_once, NULL);
    sim_start(&crew, cancel_task, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(task, &code, CONC_NOW));
    CONC_SIM_ASSERT(code == 0 || code == CONC_CANCELED);
    CONC_SIM_ASSERT(entered == 2 || (entered == 1 && code == CONC_CANCELED));
    finish_locks();
    return 0;
}

static int lock_twice(void *unused) {
    (void)lock_once(unused);
    return lock_once(unused);
}

/* One that was woken for a lock, which another took meanwhile, is canceled: who is behind it is not forgotten. */
static int mutex_cancel_passes_on(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_locks();
    task = CONC_SPAWN(loop, locks, .held = false);
    CONC_SIM_ASSERT(task != NULL);
    SIM_OK(CONC_GO(loop, locks, .held = false));
    sim_start(&crew, lock_twice, NULL);
    sim_start(&crew, cancel_task, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_detach(task));
    CONC_SIM_ASSERT(entered == 3 || entered == 4);
    finish_locks();
    return 0;
}

/* Waits for it no longer than that: in the middle of a hand-over, too. */
CONC_CORO(locks_in_time, conc_result r;) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_lock(&m), conc_after(0.0003));
    CONC_SIM_ASSERT(self->co.result == CONC_OK || self->co.result == CONC_TIMEOUT);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m) == (self->co.result == CONC_OK));
    if (self->co.result == CONC_OK) {
        enter();
        leave();
    }
    CO_END;
}

static int hold_long(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    enter();
    SIM_OK(conc_sleep(conc_after(0.0003)));
    leave();
    return 0;
}

static int mutex_in_time(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_locks();
    SIM_OK(CONC_GO(loop, locks_in_time, .r = CONC_OK));
    SIM_OK(CONC_GO(loop, locks, .held = false));
    sim_start(&crew, hold_long, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(entered == 2 || entered == 3);
    finish_locks();
    return 0;
}

static conc_cond c;
static int flag; /* guarded by m */

/* A condition, as an op. */
CONC_CORO(awaits_flag, conc_op op;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_lock(&m));
    for (;;) {
        CONC_SIM_READ(flag);
        if (flag != 0) break;
        self->op = conc_op_signal(&c);
        SIM_OK(conc_mutex_unlock(&m));
        CO_AWAIT(self->op);
        SIM_OK(self->co.result);
        CO_AWAIT(conc_op_lock(&m));
        SIM_OK(self->co.result);
    }
    SIM_OK(conc_mutex_unlock(&m));
    count(&ran);
    CO_END;
}

static int raise_flag(void *broadcasts) {
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CONC_SIM_WRITE(flag);
    flag = 1;
    if (broadcasts == NULL) SIM_OK(conc_cond_signal(&c));
    SIM_OK(conc_mutex_unlock(&m));
    if (broadcasts != NULL) SIM_OK(conc_cond_broadcast(&c));
    return 0;
}

static int cond_signaled(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_locks();
    memset(&c, 0, sizeof c);
    flag = 0;
    SIM_OK(CONC_GO(loop, awaits_flag, .op = {0}));
    sim_start(&crew, raise_flag, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 1);
    SIM_OK(conc_cond_destroy(&c));
    finish_locks();
    return 0;
}

static int cond_broadcast(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_locks();
    memset(&c, 0, sizeof c);
    flag = 0;
    SIM_OK(CONC_GO(loop, awaits_flag, .op = {0}));
    SIM_OK(CONC_GO(loop, awaits_flag, .op = {0}));
    sim_start(&crew, raise_flag, &c);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 2);
    SIM_OK(conc_cond_destroy(&c));
    finish_locks();
    return 0;
}

/* ---- the other ops ----------------------------------------------------------------------------------------------------- */

static conc_semaphore permits;
static uint32_t holders; /* atomic */

static void hold(void) {
    CONC_SIM_ASSERT(conc__add32(&holders, 1, CONC__RELAXED) < 1);
}

static void unhold(void) {
    (void)conc__sub32(&holders, 1, CONC__RELAXED);
    count(&entered);
    SIM_OK(conc_semaphore_release(&permits, 1));
}

CONC_CORO(acquires, bool held;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_acquire(&permits));
    SIM_OK(self->co.result);
    hold();
    CO_YIELD;
    unhold();
    CO_END;
}

static int acquire_once(void *unused) {
    (void)unused;
    SIM_OK(conc_semaphore_acquire(&permits, CONC_FOREVER));
    hold();
    unhold();
    return 0;
}

static int semaphore_mixed(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    SIM_OK(conc_semaphore_init(&permits, 1, 1));
    holders = entered = 0;
    SIM_OK(CONC_GO(loop, acquires, .held = false));
    SIM_OK(CONC_GO(loop, acquires, .held = false));
    sim_start(&crew, acquire_once, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(entered == 3 && conc_semaphore_permits(&permits) == 1);
    SIM_OK(conc_semaphore_destroy(&permits));
    finish();
    return 0;
}

/* One step after another, in the coroutine: an event, a latch, a barrier; a reader-writer lock at the end. */
static conc_event event;
static conc_latch latch;
static conc_barrier barrier;
static conc_rwlock rwlock;
static int shown; /* written before the event is set; guarded by rwlock at the end */

CONC_CORO(steps, uint32_t rank;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_event(&event));
    SIM_OK(self->co.result);
    CONC_SIM_READ(shown);
    CONC_SIM_ASSERT(shown == 1);
    CO_AWAIT(conc_op_latch(&latch));
    SIM_OK(self->co.result);
    CO_AWAIT(conc_op_barrier(&barrier, &self->rank));
    SIM_OK(self->co.result);
    CO_AWAIT(conc_op_write(&rwlock));
    SIM_OK(self->co.result);
    CONC_SIM_WRITE(shown);
    shown++;
    CO_YIELD;
    CONC_SIM_WRITE(shown);
    shown++;
    SIM_OK(conc_rwlock_unlock(&rwlock));
    CO_END;
}

static int step_with_it(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(shown);
    shown = 1;
    SIM_OK(conc_event_set(&event));
    SIM_OK(conc_latch_done(&latch));
    SIM_OK(conc_barrier_wait(&barrier, NULL, CONC_FOREVER));
    SIM_OK(conc_rwlock_read(&rwlock, CONC_FOREVER));
    CONC_SIM_READ(shown);
    CONC_SIM_ASSERT(shown == 1 || shown == 3);
    SIM_OK(conc_rwlock_unlock(&rwlock));
    return 0;
}

static int all_steps(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    memset(&event, 0, sizeof event);
    memset(&latch, 0, sizeof latch);
    memset(&barrier, 0, sizeof barrier);
    memset(&rwlock, 0, sizeof rwlock);
    SIM_OK(conc_latch_add(&latch, 1));
    barrier.parties = 2;
    shown = 0;
    SIM_OK(CONC_GO(loop, steps, .rank = 0));
    sim_start(&crew, step_with_it, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(shown == 3);
    SIM_OK(conc_event_destroy(&event));
    SIM_OK(conc_latch_destroy(&latch));
    SIM_OK(conc_barrier_destroy(&barrier));
    SIM_OK(conc_rwlock_destroy(&rwlock));
    finish();
    return 0;
}

/* One set of an event that resets itself lets one pass: a coroutine that gives up leaves it to the thread. */
static uint32_t passed_event; /* atomic */

CONC_CORO(passes_in_time, int i;) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_event(&event), conc_after(0.0003));
    CONC_SIM_ASSERT(self->co.result == CONC_OK || self->co.result == CONC_TIMEOUT);
    if (self->co.result == CONC_OK) count(&passed_event);
    CO_END;
}

static int pass_in_time(void *unused) {
    conc_result r = conc_event_wait(&event, conc_after(0.0005));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    if (r == CONC_OK) count(&passed_event);
    return 0;
}

static int set_event(void *unused) {
    (void)unused;
    SIM_OK(conc_event_set(&event));
    return 0;
}

static int event_once(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    memset(&event, 0, sizeof event);
    event.auto_reset = true;
    passed_event = 0;
    SIM_OK(CONC_GO(loop, passes_in_time, .i = 0));
    sim_start(&crew, pass_in_time, NULL);
    sim_start(&crew, set_event, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(passed_event + (conc_event_is_set(&event) ? 1u : 0u) == 1);
    SIM_OK(conc_event_destroy(&event));
    finish();
    return 0;
}

/* A descriptor, of which there are none in a simulation: the wait says so, or that it is closed; nothing is left behind. */
typedef struct like_a_socket {
    uint32_t closed; /* atomic */
} like_a_socket;
static like_a_socket closes;
#define LIKE_FD 3

static conc_result polled_attempt(conc_op *op) {
    return conc__load32((uint32_t *)op->object, CONC__ACQUIRE) != 0 ? CONC_CLOSED : CONC_PENDING;
}

CONC_CORO(polls, conc_op ops[2]; int *p;) {
    static const conc_op_class cls = {"like recv", CONC_BUSY, polled_attempt, conc__polled_arm, NULL, NULL};
    CO_BEGIN;
    self->ops[0] = conc_op_get(q, &self->p);
    self->ops[1] = conc_op_make(&cls, &closes, NULL);
    self->ops[1].word = CONC__POLLED(LIKE_FD, 0, 7);
    CO_AWAIT_ANY(self->ops, 2);
    CONC_SIM_ASSERT((self->co.value == 1 && self->co.result == CONC_CLOSED) ||
                    (self->co.value == 0 && self->co.result == CONC_OK) || self->co.result == CONC_SYSTEM);
    if (self->co.value == 0) (void)look_at(self->p);
    CO_END;
}

static int close_it(void *unused) {
    (void)unused;
    conc__store32(&closes.closed, 1, CONC__RELEASE);
    (void)conc__wake_waiters(conc__polled_key(LIKE_FD, 0), CONC__ANY_TAG, CONC_ALL);
    return 0;
}

static int polled_refused(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    if (!conc_sim_is_running()) return 0;
    begin(1);
    memset(&closes, 0, sizeof closes);
    SIM_OK(CONC_GO(loop, polls, .p = NULL));
    sim_start(&crew, close_it, NULL);
    sim_start(&crew, put_0, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    finish();
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(any_of_two, 1),
    SIM_TEST(any_canceled, 1),
    SIM_TEST(hand_to_thread, 1),
    SIM_TEST(exchange_alike, 2),
    SIM_TEST(exchange_crossed, 2),
    SIM_TEST(two_loops, 1),
    SIM_TEST(iterate_a_queue, 2),
    SIM_TEST(mutex_mixed, 1),
    SIM_TEST(mutex_canceled, 1),
    SIM_TEST(mutex_cancel_passes_on, 1),
    SIM_TEST(mutex_in_time, 1),
    SIM_TEST(cond_signaled, 2),
    SIM_TEST(cond_broadcast, 1),
    SIM_TEST(semaphore_mixed, 1),
    SIM_TEST(all_steps, 1),
    SIM_TEST(event_once, 1),
    SIM_TEST(polled_refused, 1),
};

SIM_MAIN("sim_coro", tests)
