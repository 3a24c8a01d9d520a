/* Coroutines: what they can wait for, how they end, calls, time-outs around blocks, cancels at each kind of place, labels.
 * One loop in one thread here, with others that wake it; test_loop.c has what lies between loops and threads. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

/* ---- what the coroutines tell ---------------------------------------------------------------------- */

static char trace[400];
static void tell(const char *what) {
    if (strlen(trace) + strlen(what) < sizeof trace) strcat(trace, what);
}
static void tell_number(long long n) {
    char text[30];
    snprintf(text, sizeof text, "%lld ", n);
    tell(text);
}
#define TOLD(what) (CHECK_STR(trace, what), trace[0] = '\0')

static int reports;
static conc_result reported;
static char report[1000];
static void hook(const conc_error *e, void *user) {
    (void)user;
    reports++;
    reported = e->result;
    snprintf(report, sizeof report, "%s", e->text);
}

static conc_loop *loop;

static void begin(void) {
    loop = conc_loop_new(NULL);
    if (!CHECK(loop != NULL)) exit(1);
    trace[0] = '\0';
}

static void finish(void) {
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(conc_loop_count(loop), 0);
    CHECK_OK(conc_loop_free(loop));
    loop = NULL;
}

/* Everything that can run now has run. */
static void settle(void) {
    conc_result r = conc_loop_run(loop, CONC_NOW);
    while (r == CONC_TIMEOUT && conc_loop_run(loop, CONC_NOW) == CONC_OK) r = CONC_OK;
    CHECK(r == CONC_TIMEOUT || r == CONC_OK);
}

/* ---- every kind of op: done at once; after a wait, by its own thread, another task, another thread; not done in time;
 * canceled ---- */

static conc_queue *q;
static conc_semaphore sem;
static conc_event event;
static conc_latch latch;
static conc_cancel token;
static conc_timer *timer;
static conc_cond cond;
static conc_event thread_may_end;
static conc_thread *thread;
static conc_task *other_task;
static int item, out;

static int no_op(void *arg) {
    (void)arg;
    return 0;
}

static int until_told(void *arg) {
    return conc_event_wait((conc_event *)arg, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static int by_value(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static void new_queue(conc_queue_kind kind, size_t capacity) {
    conc_queue_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    desc.compare = by_value;
    q = conc_queue_new_ex(sizeof(int), capacity, &desc);
    CHECK(q != NULL);
    item = 17;
    out = 0;
}
static void new_bounded(void) { new_queue(CONC_FIFO, 1); }
static void new_unbounded(void) { new_queue(CONC_FIFO, 0); }
static void new_stack(void) { new_queue(CONC_LIFO, 0); }
static void new_priority(void) { new_queue(CONC_PRIORITY, 0); }
static void new_handoff(void) { new_queue(CONC_HANDOFF, 0); }
static void new_full(void) {
    new_queue(CONC_FIFO, 1);
    CHECK_OK(conc_queue_put(q, &item, CONC_NOW));
}
static void old_queue(void) {
    (void)conc_queue_close(q);
    CHECK_OK(conc_queue_free(q));
}
static void put_it(void) { CHECK_OK(conc_queue_put(q, &item, CONC_FOREVER)); }
static void get_it(void) { CHECK_OK(conc_queue_get(q, &out, CONC_FOREVER)); }
static void close_it(void) { CHECK_OK(conc_queue_close(q)); }
static conc_op get_op(void) { return conc_op_get(q, &out); }
static conc_op put_op(void) { return conc_op_put(q, &item); }
static void new_counted(void) {
    new_queue(CONC_FIFO, 4);
    CHECK_OK(conc_queue_put(q, &item, CONC_NOW));
    CHECK_OK(conc_queue_get(q, &out, CONC_NOW));
}
static void done_it(void) { CHECK_OK(conc_queue_task_done(q)); }
static conc_op join_op(void) { return conc_op_queue_join(q); }

static void new_sem(void) { memset(&sem, 0, sizeof sem); }
static void old_sem(void) { CHECK_OK(conc_semaphore_destroy(&sem)); }
static void release_it(void) { CHECK_OK(conc_semaphore_release(&sem, 1)); }
static conc_op acquire_op(void) { return conc_op_acquire(&sem); }

static void new_event(void) { memset(&event, 0, sizeof event); }
static void new_auto(void) {
    memset(&event, 0, sizeof event);
    event.auto_reset = true;
}
static void old_event(void) { CHECK_OK(conc_event_destroy(&event)); }
static void set_it(void) { CHECK_OK(conc_event_set(&event)); }
static conc_op event_op(void) { return conc_op_event(&event); }

static void new_latch(void) {
    memset(&latch, 0, sizeof latch);
    CHECK_OK(conc_latch_add(&latch, 1));
}
static void old_latch(void) { CHECK_OK(conc_latch_destroy(&latch)); }
static void count_it(void) { CHECK_OK(conc_latch_done(&latch)); }
static conc_op latch_op(void) { return conc_op_latch(&latch); }

static void new_token(void) { memset(&token, 0, sizeof token); }
static void nothing(void) {}
static void fire_it(void) { CHECK_OK(conc_cancel_fire(&token)); }
static conc_op canceled_op(void) { return conc_op_canceled(&token); }

static void new_timer(void) { timer = conc_timer_start(no_op, NULL, conc_after(10000)); }
static void old_timer(void) {
    (void)conc_timer_cancel(timer);
    conc_timer_release(timer);
}
static void cancel_timer(void) { CHECK_OK(conc_timer_cancel(timer)); }
static conc_op timer_op(void) { return conc_op_timer(timer); }

static void new_thread(void) {
    memset(&thread_may_end, 0, sizeof thread_may_end);
    thread = conc_thread_start(until_told, &thread_may_end, NULL);
    if (!CHECK(thread != NULL)) exit(1);
}
static void old_thread(void) {
    CHECK_OK(conc_event_set(&thread_may_end));
    CHECK_OK(conc_thread_join(thread, NULL, CONC_FOREVER));
}
static void end_thread(void) {
    CHECK_OK(conc_event_set(&thread_may_end));
    CHECK_OK(conc_wait(conc_op_thread_end(thread), CONC_FOREVER));
}
static conc_op thread_end_op(void) { return conc_op_thread_end(thread); }

CONC_CORO(waits_for, conc_event *e;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_event(self->e));
    CO_END;
}
static void new_task(void) {
    memset(&event, 0, sizeof event);
    other_task = CONC_SPAWN(loop, waits_for, .e = &event);
    CHECK(other_task != NULL);
}
static void old_task(void) {
    (void)conc_event_set(&event);
    if (!conc_task_has_ended(other_task)) CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_task_detach(other_task));
}
static conc_op task_end_op(void) { return conc_op_task_end(other_task); }

static void new_cond(void) { memset(&cond, 0, sizeof cond); }
static void old_cond(void) { CHECK_OK(conc_cond_destroy(&cond)); }
static void signal_it(void) { CHECK_OK(conc_cond_signal(&cond)); }
static conc_op signal_op(void) { return conc_op_signal(&cond); }

/* `enable` lets the op complete; with AFTER only if somebody waits already; with LATER it takes the loop some laps. ONCE: what
 * completes it is used up. */
#define AFTER 1
#define LATER 2
#define ONCE 4
static const struct kind {
    const char *name;
    void (*make)(void);
    conc_op (*op)(void);
    void (*enable)(void);
    void (*end)(void);
    conc_result busy, done;
    int how;
} kinds[] = {
    { "get, bounded", new_bounded, get_op, put_it, old_queue, CONC_EMPTY, CONC_OK, ONCE },
    { "get, unbounded", new_unbounded, get_op, put_it, old_queue, CONC_EMPTY, CONC_OK, ONCE },
    { "get, stack", new_stack, get_op, put_it, old_queue, CONC_EMPTY, CONC_OK, ONCE },
    { "get, priority", new_priority, get_op, put_it, old_queue, CONC_EMPTY, CONC_OK, ONCE },
    { "get, hand-off", new_handoff, get_op, put_it, old_queue, CONC_EMPTY, CONC_OK, ONCE | AFTER },
    { "get, closed", new_bounded, get_op, close_it, old_queue, CONC_EMPTY, CONC_CLOSED, 0 },
    { "get, hand-off closed", new_handoff, get_op, close_it, old_queue, CONC_EMPTY, CONC_CLOSED, 0 },
    { "put, bounded", new_full, put_op, get_it, old_queue, CONC_FULL, CONC_OK, ONCE },
    { "put, hand-off", new_handoff, put_op, get_it, old_queue, CONC_FULL, CONC_OK, ONCE | AFTER },
    { "put, closed", new_full, put_op, close_it, old_queue, CONC_FULL, CONC_CLOSED, 0 },
    { "queue join", new_counted, join_op, done_it, old_queue, CONC_BUSY, CONC_OK, 0 },
    { "acquire", new_sem, acquire_op, release_it, old_sem, CONC_BUSY, CONC_OK, ONCE },
    { "event", new_event, event_op, set_it, old_event, CONC_BUSY, CONC_OK, 0 },
    { "event, auto", new_auto, event_op, set_it, old_event, CONC_BUSY, CONC_OK, ONCE },
    { "latch", new_latch, latch_op, count_it, old_latch, CONC_BUSY, CONC_OK, 0 },
    { "canceled", new_token, canceled_op, fire_it, nothing, CONC_BUSY, CONC_OK, 0 },
    { "timer", new_timer, timer_op, cancel_timer, old_timer, CONC_BUSY, CONC_OK, 0 },
    { "thread end", new_thread, thread_end_op, end_thread, old_thread, CONC_BUSY, CONC_OK, 0 },
    { "task end", new_task, task_end_op, set_it, old_task, CONC_BUSY, CONC_OK, LATER },
    { "signal", new_cond, signal_op, signal_it, old_cond, CONC_BUSY, CONC_OK, ONCE | AFTER },
};
#define KINDS (sizeof kinds / sizeof *kinds)
static const struct kind *kind;

CONC_CORO(awaits, conc_result *result; conc_deadline until; bool catches;) {
    CO_BEGIN;
    if (self->catches) CO_TRY_AWAIT(kind->op(), self->until);
    else if (self->until.ns == INT64_MAX) CO_AWAIT(kind->op());
    else CO_AWAIT_UNTIL(kind->op(), self->until);
    *self->result = self->co.result;
    tell("done ");
    CO_FINALLY;
    tell("finally");
    CO_END;
}

CONC_CORO(enables, ) {
    CO_BEGIN;
    CO_YIELD;
    kind->enable();
    CO_END;
}

static int enables_in_thread(void *arg) {
    (void)arg;
    nudge((unsigned)item);
    kind->enable();
    return 0;
}

static void one_kind(unsigned round) {
    conc_result r = CONC_PENDING;
    conc_task *t;
    conc_deadline d;
    crew c = { 0 };
    item = (int)round;
    /* complete already */
    if ((kind->how & (AFTER | LATER)) == 0) {
        kind->make();
        kind->enable();
        CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = round % 2 ? CONC_FOREVER : CONC_NOW));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_R(r, kind->done);
        TOLD("done finally");
        kind->end();
    }
    /* by another task */
    kind->make();
    CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = round % 2 ? CONC_FOREVER : conc_after(1000)));
    CHECK_OK(CONC_GO(loop, enables));
    r = CONC_PENDING;
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_R(r, kind->done);
    TOLD("done finally");
    kind->end();
    /* while the loop does not run */
    kind->make();
    CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = CONC_FOREVER));
    r = CONC_PENDING;
    settle();
    CHECK_R(r, CONC_PENDING);
    kind->enable();
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_R(r, kind->done);
    TOLD("done finally");
    kind->end();
    /* by another thread */
    if (kind->op != signal_op) {
        kind->make();
        r = CONC_PENDING;
        CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = CONC_FOREVER));
        if (round % 2) settle(); /* it waits */
        crew_add(&c, enables_in_thread, NULL);
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        crew_join(&c);
        CHECK_R(r, kind->done);
        TOLD("done finally");
        kind->end();
    }
    /* not: at once, and in time */
    if (kind->op != task_end_op) {
        kind->make();
        CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = CONC_NOW));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_R(r, kind->busy);
        d = check_past();
        CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = d));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_R(r, CONC_TIMEOUT);
        d = conc_after(0.0003);
        CHECK_OK(CONC_GO(loop, awaits, .result = &r, .until = d));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_R(r, CONC_TIMEOUT);
        CHECK(conc_deadline_passed(d)); /* never early */
        TOLD("done finallydone finallydone finally");
        if ((kind->how & AFTER) == 0) { /* it was as if never asked for */
            kind->enable();
            CHECK_R(conc_try(kind->op()), kind->done);
        }
        kind->end();
    }
    /* canceled: told; and ended by it */
    kind->make();
    r = CONC_PENDING;
    t = CONC_SPAWN(loop, awaits, .result = &r, .until = CONC_FOREVER, .catches = true);
    settle();
    CHECK_OK(conc_task_cancel(t));
    settle();
    CHECK_R(r, CONC_CANCELED);
    CHECK_OK(conc_task_detach(t));
    TOLD("done finally");
    if (round % 2) { /* it would be complete, too: either is right, and what is not taken is there */
        kind->end();
        kind->make();
    }
    r = CONC_PENDING;
    t = CONC_SPAWN(loop, awaits, .result = &r, .until = CONC_FOREVER);
    settle();
    if (round % 2) kind->enable();
    CHECK_OK(conc_task_cancel(t));
    settle();
    if (r == CONC_PENDING) {
        TOLD("finally");
    } else {
        CHECK(round % 2);
        CHECK_R(r, kind->done);
        TOLD("done finally");
    }
    {
        int code = 0;
        CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
        CHECK_EQ(code, r == CONC_PENDING ? CONC_CANCELED : 0);
    }
    if (kind->how == ONCE) {
        if (round % 2 == 0) kind->enable();
        CHECK_R(conc_try(kind->op()), round % 2 && r != CONC_PENDING ? kind->busy : kind->done);
    }
    kind->end();
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
}

static void every_op(void) {
    unsigned round, n = (unsigned)check_rounds_least(20, 4);
    size_t i;
    begin();
    for (round = 0; round < n; round++) {
        for (i = 0; i < KINDS; i++) {
            char name[80];
            int before = check_failures;
            kind = &kinds[i];
            one_kind(round);
            snprintf(name, sizeof name, "every_op: the kind is %s, the round %u", kind->name, round);
            if (check_failures != before) check_fail(__FILE__, __LINE__, name);
        }
    }
    finish();
}

/* ---- points in time ---- */

CONC_CORO(sleeps, conc_deadline due; double seconds; int how; int64_t *woke;) {
    CO_BEGIN;
    self->due = conc_after(self->seconds);
    if (self->how == 0) CO_AWAIT(conc_op_sleep(self->seconds));
    else if (self->how == 1) CO_AWAIT(conc_op_until(self->due));
    else if (self->how == 2) CO_AWAIT_UNTIL(conc_op_never(), self->due);
    else if (self->how == 3) CO_TRY_AWAIT(conc_op_sleep(self->seconds), CONC_FOREVER);
    else CO_AWAIT_UNTIL(conc_op_until(self->due), CONC_FOREVER);
    CHECK_R(self->co.result, self->how == 2 ? CONC_TIMEOUT : CONC_OK);
    CHECK(conc_deadline_passed(self->due));
    if (self->woke != NULL) *self->woke = conc_clock_ns();
    tell_number((long long)(self->seconds * 1e6 + 0.5));
    CO_END;
}

static void sleeping(void) {
    static const double seconds[] = { 0.004, -1, 0, 0.0001, 0.002, 0.001, 0.0005 };
    int how, i;
    begin();
    for (how = 0; how < 5; how++) {
        for (i = 0; i < 7; i++) CHECK_OK(CONC_GO(loop, sleeps, .seconds = seconds[i], .how = how));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK(strlen(trace) == strlen("4000 -999999 0 100 2000 1000 500 ")); /* in which order is the machine's */
        trace[0] = '\0';
    }
    finish();
}

/* The same due time: in the order in which they asked. */
CONC_CORO(sleeps_until, conc_deadline due; int number;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_until(self->due));
    tell_number(self->number);
    CO_END;
}

static void order_of_time(void) {
    int i;
    conc_deadline d;
    begin();
    d = conc_after(0.002);
    for (i = 0; i < 8; i++) CHECK_OK(CONC_GO(loop, sleeps_until, .due = d, .number = i));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("0 1 2 3 4 5 6 7 ");
    /* all of them due when the loop looks: by their times, not by when they asked */
    for (i = 0; i < 8; i++) {
        CHECK_OK(CONC_GO(loop, sleeps_until, .due = conc_deadline_at(d.ns + (int64_t)((i * 5) % 8) * 4000000), .number = (i * 5) % 8));
    }
    settle();
    CHECK_OK(conc_sleep(conc_deadline_at(d.ns + 8 * 4000000)));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(strlen(trace) == 16); /* those whose time had come already did not wait */
    finish();
}

/* A wait for never is ended by its deadline, a cancel, nothing else. */
CONC_CORO(never, ) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_never(), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_AWAIT_UNTIL(conc_op_sleep(1000), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_AWAIT_UNTIL(conc_op_sleep(1000), CONC_NOW);
    CHECK_R(self->co.result, CONC_BUSY);
    CO_AWAIT(conc_op_never());
    tell("never ");
    CO_FINALLY;
    tell("finally");
    CO_END;
}

static void for_ever(void) {
    conc_task *t;
    begin();
    t = CONC_SPAWN(loop, never);
    CHECK_R(conc_loop_run(loop, conc_after(0.01)), CONC_TIMEOUT);
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("finally");
    finish();
}

/* ---- locks: held across suspensions, by the task and not by its thread ---- */

static conc_mutex m;
static conc_rmutex rm;
static conc_rwlock rw;
static conc_brlock *br;
static int guarded, readers;

CONC_CORO(locks, int n; int i; bool in_thread;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        CO_AWAIT(conc_op_lock(&m));
        CHECK_OK(self->co.result);
        CHECK(conc_mutex_is_mine(&m));
        CHECK_EQ(guarded++, 0);
        CO_YIELD;
        CHECK(conc_mutex_is_mine(&m));
        CO_AWAIT(conc_op_lock(&m));
        CHECK_R(self->co.result, CONC_DEADLOCK); /* its own */
        CHECK_R(conc_mutex_try_lock(&m), CONC_BUSY);
        CHECK_EQ(--guarded, 0);
        CHECK_OK(conc_mutex_unlock(&m));
        CHECK(!conc_mutex_is_mine(&m));
    }
    CO_END;
}

static int locks_in_thread(void *arg) {
    int i, n = *(int *)arg;
    for (i = 0; i < n; i++) {
        CONC_WITH_LOCK(&m) {
            CHECK_EQ(guarded++, 0);
            if (i % 4 == 0) conc_thread_yield();
            CHECK_EQ(--guarded, 0);
        }
    }
    return 0;
}

static void mutexes(void) {
    int i, n = check_rounds(1000);
    crew c = { 0 };
    begin();
    for (i = 0; i < 5; i++) CHECK_OK(CONC_GO(loop, locks, .n = n));
    for (i = 0; i < 2; i++) crew_add(&c, locks_in_thread, &n);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    crew_join(&c);
    CHECK_OK(conc_mutex_destroy(&m));
    finish();
}

CONC_CORO(stranger, ) {
    CO_BEGIN;
    CHECK_R(conc_mutex_unlock(&m), CONC_NOT_OWNER);
    CHECK_R(conc_mutex_try_lock(&m), CONC_BUSY);
    CHECK_R(conc_rmutex_try_lock(&rm), CONC_BUSY);
    CHECK_R(conc_rmutex_unlock(&rm), CONC_NOT_OWNER);
    CO_AWAIT_UNTIL(conc_op_lock(&m), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_END;
}

CONC_CORO(same_task, ) {
    CO_BEGIN;
    CHECK(conc_mutex_is_mine(&m));
    CO_AWAIT(conc_op_sleep(0.001));
    CHECK_OK(conc_rmutex_unlock(&rm));
    CHECK_OK(conc_mutex_unlock(&m));
    CO_END;
}

CONC_CORO(holder, conc_task *t; int code;) {
    CO_BEGIN;
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_OK(conc_rmutex_lock(&rm, CONC_FOREVER));
    CHECK_OK(conc_rmutex_lock(&rm, CONC_FOREVER));
    self->t = CONC_SPAWN(conc_loop_current(), stranger);
    CO_JOIN(self->t);
    CHECK_OK(self->co.result);
    CHECK_OK(conc_rmutex_unlock(&rm));
    CO_CALL(same_task);
    CO_END;
}

static void owners(void) {
    begin();
    CHECK_OK(CONC_GO(loop, holder));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_mutex_try_lock(&m));
    CHECK_OK(CONC_GO(loop, stranger)); /* the thread that runs it is not the task, either */
    CHECK_OK(conc_rmutex_lock(&rm, CONC_FOREVER));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_rmutex_unlock(&rm));
    CHECK_OK(conc_mutex_destroy(&m));
    CHECK_OK(conc_rmutex_destroy(&rm));
    finish();
#if defined(CONC_DEBUG)
    CHECK_EQ(reports, 4); /* the two strangers, each with the one mutex within the other */
    CHECK_R(reported, CONC_NOT_OWNER);
    reports = 0;
#endif
}

CONC_CORO(reads_and_writes, int n, i, number;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        if ((self->i + self->number) % 4 == 0) {
            CO_AWAIT(conc_op_write(&rw));
            CHECK_OK(self->co.result);
            CHECK_EQ(guarded++, 0);
            CHECK_EQ(readers, 0);
            CO_YIELD;
            CHECK_EQ(--guarded, 0);
            CHECK_OK(conc_rwlock_unlock(&rw));
            CO_AWAIT(conc_op_brlock_write(br));
            CHECK_OK(self->co.result);
            CHECK_OK(conc_brlock_write_unlock(br));
        } else {
            CO_AWAIT(conc_op_read(&rw));
            CHECK_OK(self->co.result);
            readers++;
            CHECK_EQ(guarded, 0);
            CO_YIELD;
            CHECK_EQ(guarded, 0);
            readers--;
            CHECK_OK(conc_rwlock_unlock(&rw));
            CO_AWAIT(conc_op_brlock_read(br));
            CHECK_OK(self->co.result);
            CHECK_OK(conc_brlock_read_unlock(br));
        }
    }
    CO_END;
}

static void reader_writer_locks(void) {
    int i;
    begin();
    br = conc_brlock_new();
    guarded = readers = 0;
    for (i = 0; i < 6; i++) CHECK_OK(CONC_GO(loop, reads_and_writes, .n = check_rounds(300), .number = i));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_rwlock_destroy(&rw));
    CHECK_OK(conc_brlock_free(br));
    finish();
}

static conc_barrier barrier;
static int met;

CONC_CORO(meets, int i, n; uint32_t rank;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        met++;
        CO_AWAIT(conc_op_barrier(&barrier, &self->rank));
        CHECK_OK(self->co.result);
        CHECK(self->rank < 3);
        CHECK_EQ(met / 3, self->i + 1); /* nobody is a round ahead: all three have come, and none again */
        CHECK(met % 3 == 0 || met / 3 == self->i + 1);
        CO_YIELD;
        CO_YIELD;
        CO_YIELD;
    }
    CO_END;
}

CONC_CORO(gives_up, ) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_barrier(&barrier, NULL), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_END;
}

CONC_CORO(is_broken, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_barrier(&barrier, NULL));
    CHECK_R(self->co.result, CONC_BROKEN);
    CO_END;
}

static void barriers(void) {
    int i;
    begin();
    memset(&barrier, 0, sizeof barrier);
    barrier.parties = 3;
    met = 0;
    for (i = 0; i < 3; i++) CHECK_OK(CONC_GO(loop, meets, .n = 20));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(met, 60);
    CHECK_OK(CONC_GO(loop, is_broken));
    CHECK_OK(CONC_GO(loop, gives_up));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_barrier_destroy(&barrier));
    finish();
}

/* A condition, with its mutex: unlock, wait, lock, test. */
CONC_CORO(waits_for_flag, conc_op signal; int *flag;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_lock(&m));
    while (*self->flag == 0) {
        self->signal = conc_op_signal(&cond);
        CHECK_OK(conc_mutex_unlock(&m));
        CO_AWAIT(self->signal);
        CO_AWAIT(conc_op_lock(&m));
    }
    CHECK_OK(conc_mutex_unlock(&m));
    tell("flag ");
    CO_END;
}

static int raises_flag(void *arg) {
    nudge(2);
    CONC_WITH_LOCK(&m) *(int *)arg = 1;
    CHECK_OK(conc_cond_broadcast(&cond));
    return 0;
}

static void conditions(void) {
    int i, k, flag;
    begin();
    for (i = 0; i < check_rounds(50); i++) {
        crew c = { 0 };
        flag = 0;
        for (k = 0; k < 3; k++) CHECK_OK(CONC_GO(loop, waits_for_flag, .flag = &flag));
        crew_add(&c, raises_flag, &flag);
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        crew_join(&c);
        TOLD("flag flag flag ");
    }
    CHECK_OK(conc_cond_destroy(&cond));
    CHECK_OK(conc_mutex_destroy(&m));
    finish();
}

/* ---- the first of several ---- */

CONC_CORO(selects, conc_op ops[4]; int x, y; int *index; conc_result *result; conc_deadline until; size_t n;) {
    CO_BEGIN;
    self->ops[0] = conc_op_get(q, &self->x);
    self->ops[1] = conc_op_acquire(&sem);
    self->ops[2] = conc_op_event(&event);
    self->ops[3] = conc_op_sleep(1000);
    if (self->until.ns == INT64_MAX) CO_AWAIT_ANY(self->ops, self->n);
    else CO_AWAIT_ANY_UNTIL(self->ops, self->n, self->until);
    *self->index = self->co.value;
    *self->result = self->co.result;
    if (self->co.value >= 0) CHECK_R(self->ops[self->co.value].result, self->co.result);
    CO_FINALLY;
    tell("finally");
    CO_END;
}

static int puts_one(void *arg) {
    nudge((unsigned)*(int *)arg);
    put_it();
    return 0;
}

static void first_of_several(void) {
    int index, i;
    conc_result r;
    conc_task *t;
    begin();
    for (i = 0; i < 12; i++) {
        int round = i % 6;
        index = -5;
        r = CONC_PENDING;
        new_bounded();
        new_sem();
        new_event();
        t = CONC_SPAWN(loop, selects, .index = &index, .result = &r, .n = 4, .until = i < 6 ? CONC_FOREVER : conc_after(1000));
        if (round < 3) settle(); /* else all is there when it begins */
        if (round % 3 == 2) set_it();
        if (round % 3 == 1) release_it();
        if (round % 3 == 0) put_it();
        if (round == 3) release_it(); /* the first in the array counts */
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_EQ(index, round % 3);
        CHECK_OK(r);
        CHECK_EQ(conc_semaphore_permits(&sem), round == 3 ? 1 : 0);
        TOLD("finally");
        CHECK_OK(conc_task_detach(t));
        old_queue();
    }
    /* an array in the frame of three, by a thread */
    for (i = 0; i < check_rounds(50); i++) {
        crew c = { 0 };
        new_bounded();
        new_sem();
        new_event();
        CHECK_OK(CONC_GO(loop, selects, .index = &index, .result = &r, .n = 3, .until = CONC_FOREVER));
        crew_add(&c, puts_one, &i);
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        crew_join(&c);
        CHECK_EQ(index, 0);
        TOLD("finally");
        CHECK_EQ(conc_queue_length(q), 0);
        old_queue();
    }
    new_bounded();
    new_sem();
    new_event();
    CHECK_OK(CONC_GO(loop, selects, .index = &index, .result = &r, .n = 4, .until = CONC_NOW));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(index, -1);
    CHECK_R(r, CONC_BUSY);
    CHECK_OK(CONC_GO(loop, selects, .index = &index, .result = &r, .n = 4, .until = conc_after(0.001)));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(index, -1);
    CHECK_R(r, CONC_TIMEOUT);
    CHECK_OK(conc_queue_close(q));
    CHECK_OK(CONC_GO(loop, selects, .index = &index, .result = &r, .n = 4, .until = CONC_FOREVER));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(index, 0);
    CHECK_R(r, CONC_CLOSED);
    CHECK_OK(conc_queue_free(q));
    q = NULL;
    CHECK_OK(CONC_GO(loop, selects, .index = &index, .result = &r, .n = 0, .until = CONC_FOREVER));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(index, -1);
    CHECK_R(r, CONC_INVALID);
    new_unbounded();
    trace[0] = '\0';
    t = CONC_SPAWN(loop, selects, .index = &index, .result = &r, .n = 4, .until = CONC_FOREVER);
    settle();
    index = -5;
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("finally");
    CHECK_EQ(index, -5);
    old_queue();
    finish();
}

/* A queue that is shared by a select and a plain get: what one wins the other does not. */
static conc_queue *q2;
static int taken;

CONC_CORO(takes_any, conc_op ops[2]; int x; int open;) {
    CO_BEGIN;
    for (self->open = 3; self->open != 0;) {
        self->ops[0] = (self->open & 1) != 0 ? conc_op_get(q, &self->x) : conc_op_never();
        self->ops[1] = (self->open & 2) != 0 ? conc_op_get(q2, &self->x) : conc_op_never();
        CO_AWAIT_ANY(self->ops, 2);
        if (self->co.result == CONC_OK) taken += self->x;
        else self->open &= ~(1 << self->co.value);
    }
    CO_END;
}

CONC_CORO(gives_all, conc_queue *to; int n, i;) {
    CO_BEGIN;
    for (self->i = 1; self->i <= self->n; self->i++) {
        CO_AWAIT(conc_op_put(self->to, &self->i));
        CHECK_OK(self->co.result);
    }
    CHECK_OK(conc_queue_close(self->to));
    CO_END;
}

static void shared_sources(void) {
    int kinds_of_queue, i, n = check_rounds(2000);
    for (kinds_of_queue = 0; kinds_of_queue < 3; kinds_of_queue++) {
        begin();
        new_queue(kinds_of_queue == 2 ? CONC_HANDOFF : CONC_FIFO, kinds_of_queue == 0 ? 2 : 0);
        q2 = q;
        new_queue(kinds_of_queue == 2 ? CONC_HANDOFF : CONC_FIFO, kinds_of_queue == 0 ? 2 : 0);
        taken = 0;
        for (i = 0; i < 4; i++) CHECK_OK(CONC_GO(loop, takes_any));
        CHECK_OK(CONC_GO(loop, gives_all, .to = q, .n = n));
        CHECK_OK(CONC_GO(loop, gives_all, .to = q2, .n = n));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_EQ(taken, n * (n + 1));
        CHECK_OK(conc_queue_free(q));
        CHECK_OK(conc_queue_free(q2));
        finish();
    }
}

/* ---- taking turns ---- */

CONC_CORO(takes_turns, int number, i, n;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        tell_number(self->number);
        CO_YIELD;
    }
    CO_END;
}

static void turns(void) {
    int i;
    begin();
    for (i = 1; i <= 3; i++) CHECK_OK(CONC_GO(loop, takes_turns, .number = i, .n = 3));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("1 2 3 1 2 3 1 2 3 ");
    finish();
}

/* Those that yield all the time do not keep timers, other threads' items or posts away. */
static bool over;
CONC_CORO(yields_until_over, ) {
    CO_BEGIN;
    while (!over) CO_YIELD;
    CO_END;
}

CONC_CORO(ends_it, int x;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(0.001));
    CO_AWAIT(conc_op_get(q, &self->x));
    over = true;
    CO_END;
}

static void yielding_is_fair(void) {
    int i, zero = 0;
    crew c = { 0 };
    begin();
    over = false;
    new_bounded();
    for (i = 0; i < 200; i++) CHECK_OK(CONC_GO(loop, yields_until_over));
    CHECK_OK(CONC_GO(loop, ends_it));
    crew_add(&c, puts_one, &zero);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    crew_join(&c);
    old_queue();
    finish();
}

/* In the order in which they became ready. */
CONC_CORO(gets_one, int number, x;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_get(q, &self->x));
    tell_number(self->number * 10 + self->x);
    CO_END;
}

CONC_CORO(feeds, int i;) {
    CO_BEGIN;
    CO_YIELD;
    for (self->i = 0; self->i < 4; self->i++) CHECK_OK(conc_queue_put(q, &self->i, CONC_NOW));
    tell("fed ");
    CO_END;
}

static void order_of_wakes(void) {
    int i;
    begin();
    new_unbounded();
    for (i = 1; i <= 4; i++) CHECK_OK(CONC_GO(loop, gets_one, .number = i));
    CHECK_OK(CONC_GO(loop, feeds));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("fed 10 21 32 43 ");
    old_queue();
    finish();
}

/* ---- calls ---- */

CONC_CORO(factorial, int n;) {
    CO_BEGIN;
    if (self->n <= 1) CO_RETURN(1);
    CO_CALL(factorial, .n = self->n - 1);
    CHECK_OK(self->co.result);
    CO_RETURN(self->n * self->co.value);
    CO_END;
}

CONC_CORO(descends, int n; bool waits;) {
    CO_BEGIN;
    if (self->n > 0) {
        CO_CALL(descends, .n = self->n - 1, .waits = self->waits);
        CO_RETURN(self->co.value + 1);
    }
    if (self->waits) CO_AWAIT(conc_op_sleep(0.001));
    CO_END;
}

CONC_CORO(big, char room[5000]; int n;) {
    CO_BEGIN;
    memset(self->room, self->n, sizeof self->room);
    CO_YIELD;
    if (self->n > 0) CO_CALL(big, .n = self->n - 1);
    CHECK_EQ(self->room[0], self->n);
    CHECK_EQ(self->room[4999], self->n);
    CO_RETURN(self->n == 0 ? 1 : self->co.value * 2);
    CO_END;
}

CONC_CORO(calls, ) {
    CO_BEGIN;
    CO_CALL(factorial, .n = 10);
    CHECK_EQ(self->co.value, 3628800);
    CO_CALL_AT(5, factorial, .n = 5);
    CHECK_EQ(self->co.value, 120);
    CO_CALL(descends, .n = 10000);
    CHECK_EQ(self->co.value, 10000);
    CO_CALL(descends, .n = 10000, .waits = true);
    CHECK_EQ(self->co.value, 10000);
    CO_CALL(big, .n = 12);
    CHECK_EQ(self->co.value, 4096);
    {
        factorial f = CONC_FRAME_ZERO(factorial);
        f.n = 4;
        CO_CALL_FRAME(factorial, f);
    }
    CHECK_EQ(self->co.value, 24);
    CO_RETURN(-3);
    CO_END;
}

static void calling(void) {
    conc_task *t;
    int code = 0;
    begin();
    t = CONC_SPAWN(loop, calls);
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, -3);
    t = CONC_SPAWN(loop, factorial, .n = 6);
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, 720);
    finish();
}

CONC_CORO(is_current, conc_task **task; conc_loop **in; int deep;) {
    CO_BEGIN;
    *self->task = conc_task_current();
    *self->in = conc_loop_current();
    if (self->deep < 3) CO_CALL(is_current, .task = self->task, .in = self->in, .deep = self->deep + 1);
    CO_YIELD;
    CHECK(*self->task == conc_task_current());
    CO_END;
}

static void who_runs(void) {
    conc_task *seen = NULL, *t;
    conc_loop *in = NULL;
    begin();
    CHECK(conc_task_current() == NULL && conc_loop_current() == NULL);
    t = CONC_SPAWN(loop, is_current, .task = &seen, .in = &in);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(seen == t && in == loop);
    CHECK(conc_task_current() == NULL && conc_loop_current() == NULL);
    CHECK_STR(conc_task_name(t), "is_current");
    CHECK(conc_task_has_ended(t));
    finish();
}

/* ---- ends ---- */

CONC_CORO(ends, int how; conc_co_timeout limit, inner;) {
    CO_BEGIN;
    tell("a ");
    if (self->how == 1) CO_RETURN(11);
    CO_YIELD;
    if (self->how == 2) CO_RETURN(12);
    CO_TIMEOUT(self->limit, 1000) {
        CO_YIELD;
        if (self->how == 3) CO_RETURN(13);
        if (self->how == 4) break;
        CO_TIMEOUT(self->inner, 1000) {
            CO_YIELD;
            if (self->how == 7) CO_RETURN(17);
        }
        tell("b ");
    }
    CHECK(!self->limit.expired);
    if (self->how == 8) {
        for (;;) {
            CO_YIELD;
            CO_RETURN(18);
        }
    }
    tell("c ");
    CO_FINALLY;
    tell("f ");
    CO_YIELD;
    if (self->how == 5) CO_RETURN(15); /* in the clean-up: the end, at once */
    if (self->how == 1) CO_CALL(factorial, .n = 3); /* does not touch the code that is on its way */
    tell("g ");
    CO_END;
}

static void ending(void) {
    static const struct {
        int code;
        const char *told;
    } ways[] = { { 0, "a b c f g " }, { 11, "a f g " }, { 12, "a f g " }, { 13, "a f g " },   { 0, "a c f g " },
                 { 15, "a b c f " },  { 0, "a b c f g " }, { 17, "a f g " }, { 18, "a b f g " } };
    int how;
    begin();
    for (how = 0; how < 9; how++) {
        int code = -1;
        conc_task *t = CONC_SPAWN(loop, ends, .how = how);
        CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
        CHECK_EQ(code, ways[how].code);
        TOLD(ways[how].told);
    }
    finish();
}

/* One without a clean-up part, returning from within two blocks; and an empty one. */
CONC_CORO(without, int i; conc_co_timeout limit;) {
    CO_BEGIN;
    for (self->i = 0;; self->i++) {
        CO_TIMEOUT(self->limit, 1000) {
            CO_YIELD;
            if (self->i == 3) CO_RETURN(33);
        }
    }
    CO_END;
}

CONC_CORO(empty, ) {
    CO_BEGIN;
    CO_END;
}

static void small_ones(void) {
    int code = -1;
    begin();
    CHECK_OK(conc_task_join(CONC_SPAWN(loop, without), &code, CONC_FOREVER));
    CHECK_EQ(code, 33);
    CHECK_OK(conc_task_join(CONC_SPAWN(loop, empty), &code, CONC_FOREVER));
    CHECK_EQ(code, 0);
    finish();
}

/* ---- time-outs around blocks ---- */

CONC_CORO(callee, int deep; conc_deadline until;) {
    CO_BEGIN;
    if (self->deep > 0) {
        CO_CALL(callee, .deep = self->deep - 1);
    } else {
        CO_AWAIT(conc_op_never());
    }
    tell("no ");
    CO_FINALLY;
    tell_number(self->deep);
    CO_YIELD;
    self->until = conc_after(0.001);
    CO_AWAIT(conc_op_until(self->until)); /* waits in the clean-up, although the time is up */
    CHECK_OK(self->co.result);
    CHECK(conc_deadline_passed(self->until));
    CO_AWAIT_UNTIL(conc_op_never(), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_AWAIT(conc_op_acquire(&sem));
    CHECK_OK(self->co.result);
    CO_CALL(factorial, .n = 3);
    CHECK_EQ(self->co.value, 6);
    CO_END;
}

CONC_CORO(limited, conc_co_timeout limit; int how; conc_deadline due;) {
    CO_BEGIN;
    self->due = conc_after(0.001);
    CO_TIMEOUT(self->limit, 0.001) {
        if (self->how == 0) CO_AWAIT(conc_op_never());
        if (self->how == 1) CO_AWAIT(conc_op_sleep(1000));
        if (self->how == 2) CO_CALL(callee, .deep = 3);
        if (self->how == 3) CO_AWAIT(conc_op_acquire(&sem));
        if (self->how == 4) CO_TRY_AWAIT(conc_op_never(), CONC_FOREVER);
        if (self->how == 5) CO_AWAIT_UNTIL(conc_op_never(), conc_after(1000));
        tell("no ");
    }
    CHECK(self->limit.expired);
    CHECK(conc_deadline_passed(self->due));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    tell("after ");
    CO_AWAIT(conc_op_sleep(0.001)); /* the limit has gone */
    CHECK_OK(self->co.result);
    CO_TIMEOUT(self->limit, 1000) { /* and can be used again */
        CO_AWAIT(conc_op_sleep(0.0001));
        CHECK_OK(self->co.result);
    }
    CHECK(!self->limit.expired);
    CO_END;
}

static void time_outs(void) {
    int how;
    begin();
    for (how = 0; how < 6; how++) {
        new_sem();
        if (how == 2) CHECK_OK(conc_semaphore_release(&sem, 4));
        CHECK_OK(CONC_GO(loop, limited, .how = how));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        TOLD(how == 2 ? "0 1 2 3 after " : "after ");
        CHECK_EQ(conc_semaphore_permits(&sem), 0);
    }
    finish();
}

/* Nested: the inner expires, and the outer goes on; the outer expires, and takes the inner with it; both. */
CONC_CORO(nested, conc_co_timeout outer, inner; double outer_s, inner_s, sleep_s;) {
    CO_BEGIN;
    CO_TIMEOUT(self->outer, self->outer_s) {
        CO_TIMEOUT(self->inner, self->inner_s) {
            CO_AWAIT(conc_op_sleep(self->sleep_s));
            tell("slept ");
        }
        tell(self->inner.expired ? "inner " : "in ");
        CO_AWAIT(conc_op_sleep(0.0001));
        tell("mid ");
    }
    tell(self->outer.expired ? "outer " : "out ");
    CO_END;
}

static void nested_time_outs(void) {
    begin();
    CHECK_OK(CONC_GO(loop, nested, .outer_s = 1000, .inner_s = 1000, .sleep_s = 0.001));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("slept in mid out ");
    CHECK_OK(CONC_GO(loop, nested, .outer_s = 1000, .inner_s = 0.001, .sleep_s = 1000));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("inner mid out ");
    CHECK_OK(CONC_GO(loop, nested, .outer_s = 0.001, .inner_s = 1000, .sleep_s = 1000));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("outer ");
    CHECK_OK(CONC_GO(loop, nested, .outer_s = 0, .inner_s = 0, .sleep_s = 1000)); /* both are up: the outer counts */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("outer ");
    CHECK_OK(CONC_GO(loop, nested, .outer_s = 0, .inner_s = 0, .sleep_s = 0)); /* a sleep always waits */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("outer ");
    finish();
}

/* The inner one's callee cleans up for so long that the outer's time comes too: that strikes at the next wait outside. */
CONC_CORO(slow_to_end, conc_deadline until;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_never());
    CO_FINALLY;
    self->until = conc_after(0.02);
    CO_AWAIT(conc_op_until(self->until));
    CHECK_OK(self->co.result);
    CHECK(conc_deadline_passed(self->until));
    tell("clean ");
    CO_END;
}

CONC_CORO(both_expire, conc_co_timeout outer, inner;) {
    CO_BEGIN;
    CO_TIMEOUT(self->outer, 0.02) {
        CO_TIMEOUT(self->inner, 0.0001) CO_CALL(slow_to_end);
        tell(self->inner.expired ? "inner " : "no ");
        CO_AWAIT(conc_op_never());
        tell("no ");
    }
    tell(self->outer.expired ? "outer " : "no ");
    CO_END;
}

static void both_time_outs(void) {
    begin();
    CHECK_OK(CONC_GO(loop, both_expire));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(strcmp(trace, "clean inner outer ") == 0 || strcmp(trace, "clean outer ") == 0); /* (both were up at once) */
    finish();
}

/* A block with a limit within a clean-up part, while a cancel or a time-out unwinds: its end is only its own. */
CONC_CORO(limits_its_end, conc_co_timeout limit;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_never());
    tell("no ");
    CO_FINALLY;
    CO_TIMEOUT(self->limit, 0.001) {
        CO_AWAIT(conc_op_never());
        tell("no ");
    }
    tell(self->limit.expired ? "gave up " : "no ");
    CO_AWAIT(conc_op_sleep(0.001));
    CHECK_OK(self->co.result);
    CO_END;
}

CONC_CORO(has_one_that_limits, conc_co_timeout limit; double seconds;) {
    CO_BEGIN;
    CO_TIMEOUT(self->limit, self->seconds) {
        CO_CALL(limits_its_end);
        tell("no ");
    }
    tell(self->limit.expired ? "outer " : "no ");
    CO_FINALLY;
    tell("end ");
    CO_END;
}

static void limits_while_unwinding(void) {
    conc_task *t;
    int code = 0;
    begin();
    t = CONC_SPAWN(loop, has_one_that_limits, .seconds = 0.001);
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, 0);
    TOLD("gave up outer end ");
    t = CONC_SPAWN(loop, has_one_that_limits, .seconds = 1000);
    settle();
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    TOLD("gave up end ");
    finish();
}

/* A limit that expires while the coroutine does not wait strikes at its next wait, not before. */
CONC_CORO(works_on, conc_co_timeout limit;) {
    CO_BEGIN;
    CO_TIMEOUT(self->limit, 0) {
        CO_AWAIT(conc_op_event(&event)); /* set: no wait */
        tell("ready ");
        CO_CALL(factorial, .n = 3);
        tell("called ");
        CO_AWAIT(conc_op_never());
        tell("no ");
    }
    if (self->limit.expired) tell("expired ");
    CO_END;
}

static void strikes_at_waits(void) {
    begin();
    new_event();
    set_it();
    CHECK_OK(CONC_GO(loop, works_on));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("ready called expired ");
    finish();
}

/* ---- cancels ---- */

CONC_CORO(canceled_at, int how; conc_co_timeout limit; int x;) {
    CO_BEGIN;
    tell("a ");
    if (self->how == 0) CO_AWAIT(conc_op_never());
    if (self->how == 1) CO_AWAIT(conc_op_sleep(1000));
    if (self->how == 2) CO_AWAIT_UNTIL(conc_op_get(q, &self->x), conc_after(1000));
    if (self->how == 3) CO_CALL(callee, .deep = 2);
    if (self->how == 4) {
        CO_TIMEOUT(self->limit, 1000) CO_AWAIT(conc_op_never());
    }
    if (self->how == 5) for (;;) CO_YIELD;
    if (self->how == 6) {
        for (;;) {
            CO_AWAIT(conc_op_event(&event)); /* never waits, so a cancel does not strike, */
            CO_YIELD;                        /* but here */
        }
    }
    tell("no ");
    CO_FINALLY;
    tell("f ");
    CO_AWAIT(conc_op_sleep(0.001)); /* waits as ever */
    CHECK_OK(self->co.result);
    CO_AWAIT_UNTIL(conc_op_never(), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_CALL(factorial, .n = 4);
    CHECK_EQ(self->co.value, 24);
    tell("g ");
    CO_END;
}

static void canceling(void) {
    int how, twice;
    begin();
    new_event();
    set_it();
    new_unbounded();
    for (twice = 0; twice < 3; twice++) {
        for (how = 0; how < 7; how++) {
            int code = 0;
            conc_task *t = CONC_SPAWN(loop, canceled_at, .how = how);
            new_sem();
            CHECK_OK(conc_semaphore_release(&sem, 3));
            settle();
            TOLD("a ");
            CHECK_OK(conc_task_cancel(t));
            if (twice == 1) CHECK_OK(conc_task_cancel(t));
            if (twice == 2) { /* in its clean-up: it is not canceled a second time */
                settle();
                CHECK_OK(conc_task_cancel(t));
            }
            CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
            CHECK_EQ(code, CONC_CANCELED);
            TOLD(how == 3 ? "0 1 2 f g " : "f g ");
        }
    }
    old_queue();
    finish();
}

/* Before it starts: it goes to its clean-up part. After its end: told. */
static void canceled_early_and_late(void) {
    int code = 0;
    conc_task *t;
    begin();
    t = CONC_SPAWN(loop, canceled_at);
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    TOLD("f g ");
    t = CONC_SPAWN_LATER(loop, 1000, canceled_at);
    settle();
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_R(conc_task_cancel(t), CONC_CLOSED);
    CHECK(conc_task_has_ended(t));
    CHECK_OK(conc_task_join(t, &code, CONC_NOW));
    CHECK_EQ(code, CONC_CANCELED);
    TOLD("f g ");
    CHECK_MISUSE(conc_task_cancel(NULL), CONC_INVALID);
    finish();
}

/* It cancels itself, and goes on to its next wait. */
CONC_CORO(cancels_itself, ) {
    CO_BEGIN;
    CHECK_OK(conc_task_cancel(conc_task_current()));
    CO_AWAIT(conc_op_event(&event)); /* is set */
    CHECK_OK(self->co.result);
    tell("on ");
    CO_AWAIT(conc_op_never());
    tell("no ");
    CO_FINALLY;
    tell("f ");
    CO_END;
}

/* Seen by CO_TRY_AWAIT it is over: later waits wait. */
CONC_CORO(survives, ) {
    CO_BEGIN;
    CO_TRY_AWAIT(conc_op_never(), CONC_FOREVER);
    CHECK_R(self->co.result, CONC_CANCELED);
    CO_AWAIT(conc_op_sleep(0.001));
    CHECK_OK(self->co.result);
    CO_YIELD;
    CO_TRY_AWAIT(conc_op_sleep(0.001), CONC_FOREVER);
    CHECK_OK(self->co.result);
    CO_RETURN(5);
    CO_END;
}

static void canceled_from_within(void) {
    int code = 0;
    conc_task *t;
    begin();
    new_event();
    set_it();
    t = CONC_SPAWN(loop, cancels_itself);
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    TOLD("on f ");
    t = CONC_SPAWN(loop, survives);
    settle();
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, 5);
    finish();
}

/* In a clean-up part that was reached without a cancel: the wait there is ended, once. */
CONC_CORO(cleans_long, ) {
    CO_BEGIN;
    tell("a ");
    CO_FINALLY;
    CO_AWAIT(conc_op_never());
    CHECK_R(self->co.result, CONC_CANCELED);
    tell("told ");
    CO_AWAIT(conc_op_sleep(0.001));
    CHECK_OK(self->co.result);
    tell("g ");
    CO_END;
}

static void canceled_in_the_clean_up(void) {
    int code = 0;
    conc_task *t;
    begin();
    t = CONC_SPAWN(loop, cleans_long);
    settle();
    TOLD("a ");
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    TOLD("told g ");
    finish();
}

/* A cancel that comes while a time-out unwinds is not forgotten: it strikes there, or outside. */
CONC_CORO(limit_then_cancel, conc_co_timeout limit;) {
    CO_BEGIN;
    CO_TIMEOUT(self->limit, 0.001) CO_CALL(limits_its_end);
    tell("after ");
    CO_AWAIT(conc_op_never());
    tell("no ");
    CO_FINALLY;
    tell("f ");
    CO_END;
}

static void canceled_while_a_time_out_unwinds(void) {
    int code = 0;
    conc_task *t;
    begin();
    t = CONC_SPAWN(loop, limit_then_cancel);
    UNTIL((settle(), strstr(trace, "gave up ") != NULL)); /* it sleeps in its clean-up */
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, conc_after(60)));
    CHECK_EQ(code, CONC_CANCELED);
    CHECK_HAS(trace, "f ");
    CHECK(strstr(trace, "no ") == NULL);
    finish();
}

/* ---- tokens ---- */

CONC_CORO(under_token, conc_cancel *want;) {
    CO_BEGIN;
    CHECK(conc_cancel_current() == self->want);
    CO_YIELD;
    CHECK(conc_cancel_current() == self->want);
    CHECK_OK(conc_canceled());
    CO_AWAIT(conc_op_never());
    tell("no ");
    CO_FINALLY;
    CHECK_OK(conc_canceled()); /* it has been seen: what blocks here is not canceled */
    tell("f ");
    CO_AWAIT(conc_op_sleep(0.001));
    CHECK_OK(self->co.result);
    CO_END;
}

static int fires(void *arg) {
    nudge(1);
    return conc_cancel_fire((conc_cancel *)arg) == CONC_OK ? 0 : 1;
}

static void tokens(void) {
    conc_cancel parent = { NULL, 0 }, child = { NULL, 0 }, mine = { NULL, 0 };
    conc_task_desc desc;
    conc_task *t[3];
    crew c = { 0 };
    int code = 0, i;
    begin();
    child.parent = &parent;
    (void)conc_cancel_use(&mine); /* the thread's own is not its tasks' */
    memset(&desc, 0, sizeof desc);
    desc.name = "worker";
    desc.cancel = &child;
    t[0] = CONC_SPAWN_EX(loop, &desc, under_token, .want = &child);
    desc.cancel = &parent;
    t[1] = CONC_SPAWN_EX(loop, &desc, under_token, .want = &parent);
    t[2] = CONC_SPAWN(loop, under_token, .want = NULL);
    CHECK_STR(conc_task_name(t[0]), "worker");
    CHECK_STR(conc_task_name(t[2]), "under_token");
    settle();
    CHECK(conc_cancel_current() == &mine);
    (void)conc_cancel_use(NULL);
    crew_add(&c, fires, &parent);
    CHECK_OK(conc_task_join_all(t, 2, 0, CONC_FOREVER));
    crew_join(&c);
    TOLD("f f ");
    CHECK(!conc_task_has_ended(t[2]));
    CHECK_OK(conc_task_cancel(t[2]));
    for (i = 0; i < 3; i++) {
        CHECK_OK(conc_task_join(t[i], &code, CONC_FOREVER));
        CHECK_EQ(code, CONC_CANCELED);
    }
    TOLD("f ");
    /* fired before: it goes to its clean-up part at once */
    t[0] = CONC_SPAWN_EX(loop, &desc, under_token, .want = &parent);
    CHECK_OK(conc_task_join(t[0], &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    TOLD("f ");
    finish();
}

/* ---- joins ---- */

CONC_CORO(returns_after, int code; double seconds;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(self->seconds));
    CO_RETURN(self->code);
    CO_END;
}

CONC_CORO(joins, conc_task *t, *u; conc_task *all[3]; conc_op ops[2]; int code;) {
    CO_BEGIN;
    self->t = CONC_SPAWN(conc_loop_current(), returns_after, .code = 3, .seconds = 0.001);
    CO_JOIN(self->t);
    CHECK_OK(self->co.result);
    CHECK_EQ(self->co.value, 3);
    self->t = CONC_SPAWN(conc_loop_current(), returns_after, .code = 4); /* has ended when it is joined */
    CO_AWAIT(conc_op_task_end(self->t));
    CHECK(conc_task_has_ended(self->t));
    CO_JOIN(self->t);
    CHECK_EQ(self->co.value, 4);
    CO_JOIN(conc_task_current());
    CHECK_R(self->co.result, CONC_DEADLOCK);
    CO_AWAIT(conc_op_task_end(conc_task_current()));
    CHECK_R(self->co.result, CONC_DEADLOCK);
    CO_JOIN(NULL);
    CHECK_R(self->co.result, CONC_INVALID);
    self->t = CONC_SPAWN(conc_loop_current(), returns_after, .seconds = 1000);
    CO_AWAIT_UNTIL(conc_op_join(self->t, &self->code), CONC_NOW);
    CHECK_R(self->co.result, CONC_BUSY);
    CO_AWAIT_UNTIL(conc_op_join(self->t, &self->code), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT); /* the handle stays */
    CHECK_R(conc_task_join(self->t, NULL, CONC_FOREVER), CONC_DEADLOCK); /* blocking */
    CHECK_R(conc_task_join(self->t, NULL, CONC_NOW), CONC_DEADLOCK);
    CHECK_OK(conc_task_cancel(self->t));
    CO_JOIN(self->t);
    CHECK_OK(self->co.result);
    CHECK_EQ(self->co.value, CONC_CANCELED);
    /* the first of two */
    self->t = CONC_SPAWN(conc_loop_current(), returns_after, .code = 8, .seconds = 0.001);
    self->u = CONC_SPAWN(conc_loop_current(), returns_after, .code = 9, .seconds = 1000);
    self->ops[0] = conc_op_join(self->u, &self->code);
    self->ops[1] = conc_op_join(self->t, &self->code);
    CO_AWAIT_ANY(self->ops, 2);
    CHECK_EQ(self->co.value, 1);
    CHECK_EQ(self->code, 8);
    CHECK_OK(conc_task_cancel(self->u));
    CO_JOIN(self->u);
    /* some of several, all of them */
    self->all[0] = CONC_SPAWN(conc_loop_current(), returns_after, .code = 1, .seconds = 1000);
    self->all[1] = CONC_SPAWN(conc_loop_current(), returns_after, .code = 2);
    self->all[2] = CONC_SPAWN(conc_loop_current(), returns_after, .code = 3, .seconds = 0.001);
    CO_AWAIT(conc_op_task_ends(self->all, 3, 2));
    CHECK_OK(self->co.result);
    CHECK(conc_task_has_ended(self->all[1]) && conc_task_has_ended(self->all[2]) && !conc_task_has_ended(self->all[0]));
    CO_AWAIT_UNTIL(conc_op_task_ends(self->all, 3, 0), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CHECK_OK(conc_task_cancel(self->all[0]));
    CO_AWAIT(conc_op_task_ends(self->all, 3, 0));
    CHECK_OK(self->co.result);
    for (self->code = 0; self->code < 3; self->code++) CO_JOIN(self->all[self->code]);
    CO_END;
}

static void joining(void) {
    begin();
    CHECK(CONC_SPAWN(loop, joins) != NULL);
    finish();
}

/* ---- places: labels ---- */

#if defined(__COUNTER__)
CONC_CORO(on_one_line, int i, k;) {
    CO_BEGIN;
    CO_YIELD; tell("1 "); CO_AWAIT(conc_op_sleep(0.0001)); tell("2 "); CO_YIELD; tell("3 ");
    if (self->i == 0) CO_YIELD; else CO_AWAIT(conc_op_never());
    for (self->i = 0; self->i < 2; self->i++) for (self->k = 0; self->k < 2; self->k++) { CO_YIELD; tell_number(self->i * 2 + self->k); CO_YIELD; }
    CO_END;
}
#endif

CONC_CORO(with_labels, int i, k, x; conc_op ops[1]; conc_co_timeout limit; conc_deadline due;) {
    CO_BEGIN;
    CO_YIELD_AT(1); tell("1 "); CO_AWAIT_AT(2, conc_op_sleep(0.0001)); tell("2 "); CO_YIELD_AT(3); tell("3 ");
    if (self->i == 0) CO_YIELD_AT(4); else CO_AWAIT_AT(5, conc_op_never());
    self->due = conc_after(0.0001);
    CO_AWAIT_UNTIL_AT(6, conc_op_never(), self->due); CO_TRY_AWAIT_AT(7, conc_op_sleep(0.0001), CONC_FOREVER);
    self->ops[0] = conc_op_sleep(0.0001);
    CO_AWAIT_ANY_AT(8, self->ops, 1); CHECK_EQ(self->co.value, 0);
    self->ops[0] = conc_op_never();
    CO_AWAIT_ANY_UNTIL_AT(9, self->ops, 1, conc_after(0.0001)); CHECK_EQ(self->co.value, -1);
    CO_CALL_AT(10, factorial, .n = 3); CO_TIMEOUT_AT(11, self->limit, 0.0001) CO_AWAIT_AT(12, conc_op_never());
    CHECK(self->limit.expired);
    for (self->i = 0; self->i < 2; self->i++) for (self->k = 0; self->k < 2; self->k++) { CO_YIELD_AT(999999); tell_number(self->i * 2 + self->k); CO_YIELD_AT(0); }
    CO_END;
}

/* Without braces, wherever a statement may stand. */
CONC_CORO(anywhere, int i; conc_co_timeout limit;) {
    CO_BEGIN;
    if (self->i == 0)
        CO_YIELD;
    else
        CO_AWAIT(conc_op_never());
    if (self->i == 1) CO_AWAIT(conc_op_never());
    else if (self->i == 0) CO_CALL(factorial, .n = 3);
    else CO_RETURN(1);
    do CO_YIELD; while (++self->i < 3);
    while (--self->i > 0) CO_AWAIT_UNTIL(conc_op_never(), conc_after(0.0001));
    for (; self->i < 2; self->i++)
        CO_TIMEOUT(self->limit, 0.0001)
            CO_AWAIT(conc_op_never());
    if (self->i == 2) {
        CO_TIMEOUT(self->limit, 1000) CO_YIELD;
    }
    CHECK(!self->limit.expired);
    {
        int local = 5; /* in a block of its own, with no suspension after it */
        self->i = local;
    }
    tell_number(self->i);
    CO_RETURN(self->i);
    CO_END;
}

static void labels(void) {
    int code = 0;
    begin();
#if defined(__COUNTER__)
    CHECK_OK(CONC_GO(loop, on_one_line));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("1 2 3 0 1 2 3 ");
#endif
    CHECK_OK(CONC_GO(loop, with_labels));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("1 2 3 0 1 2 3 ");
    CHECK_OK(conc_task_join(CONC_SPAWN(loop, anywhere), &code, CONC_FOREVER));
    CHECK_EQ(code, 5);
    TOLD("5 ");
    finish();
}

/* ---- frames: what they hold, and how they come about ---- */

CONC_CORO(holds, char c; double d; const char *s; int a[5]; struct { int x, y; } pair;) {
    CO_BEGIN;
    CO_YIELD;
    CHECK(self->c == 'c' && self->d == 0.5 && strcmp(self->s, "text") == 0);
    CHECK(self->a[0] == 1 && self->a[4] == 0 && self->pair.x == 0 && self->pair.y == 7);
    tell("ok ");
    CO_END;
}

static void frames(void) {
    holds f;
    conc_task_desc desc;
    begin();
    CHECK_OK(CONC_GO(loop, holds, .c = 'c', .d = 0.5, .s = "text", .a = { 1 }, .pair = { .y = 7 }));
    f = CONC_FRAME(holds, .c = 'c', .d = 0.5, .s = "text", .a = { 1 }, .pair = { .y = 7 });
    CHECK_OK(conc_task_detach(CONC_SPAWN_FRAME(loop, NULL, holds, f)));
    f = CONC_FRAME_ZERO(holds);
    CHECK(f.c == 0 && f.s == NULL && f.a[3] == 0);
    f.c = 'c';
    f.d = 0.5;
    f.s = "text";
    f.a[0] = 1;
    f.pair.y = 7;
    memset(&desc, 0, sizeof desc);
    CHECK_OK(conc_task_detach(CONC_SPAWN_FRAME(loop, &desc, holds, f)));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("ok ok ok ");
    finish();
}

/* ---- misuse ---- */

CONC_CORO(misuses, conc_op ops[2]; conc_loop *other; conc_task *t; int x;) {
    CO_BEGIN;
    memset(&self->ops, 0, sizeof self->ops);
    CO_AWAIT(self->ops[0]);
    CHECK_R(self->co.result, CONC_INVALID);
    CHECK_HAS(conc_error_detail(), "class");
    CO_AWAIT_ANY(self->ops, 2);
    CHECK_R(self->co.result, CONC_INVALID);
    CHECK_EQ(self->co.value, -1);
    CO_AWAIT_ANY(NULL, 2);
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT_ANY(self->ops, 0);
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT_ANY(self->ops, 1001);
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT(conc_op_get(NULL, &self->x));
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT(conc_op_lock(NULL));
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT(conc_op_join(NULL, NULL));
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT(conc_op_task_end(NULL));
    CHECK_R(self->co.result, CONC_INVALID);
    /* loops and blocking waits, from within */
    CHECK_R(conc_loop_run(conc_loop_current(), CONC_FOREVER), CONC_BUSY);
    CHECK_R(conc_loop_run(self->other, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_R(conc_loop_free(conc_loop_current()), CONC_BUSY);
    CHECK_R(conc_task_join(conc_task_current(), NULL, CONC_FOREVER), CONC_DEADLOCK);
    self->t = CONC_SPAWN(self->other, empty); /* of another loop, which nobody runs */
    CHECK_R(conc_task_join(self->t, NULL, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_OK(conc_task_detach(self->t));
    CHECK_R(conc_task_detach(self->t), CONC_INVALID);
    CO_JOIN(self->t);
    CHECK_R(self->co.result, CONC_INVALID);
    CO_END;
}

static void misused(void) {
    conc_loop *other = conc_loop_new(NULL);
    begin();
    CHECK(CONC_SPAWN(loop, misuses, .other = other) != NULL);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_loop_run(other, CONC_FOREVER));
    CHECK_OK(conc_loop_free(other));
    finish();
}

#if defined(CONC_DEBUG) && !CHECK_ASAN
static CONC__NOINLINE void touch(volatile int *p, int *from, int *to) { /* (compilers see through less) */
    if (from != NULL) *p = *from;
    if (to != NULL) *to = *p;
}

CONC_CORO(forgetful, int *seen; int seven;) {
    volatile int lost; /* not in the frame */
    CO_BEGIN;
    self->seven = 7;
    touch(&lost, &self->seven, NULL);
    CO_YIELD;
    touch(&lost, NULL, self->seen);
    CO_END;
}

static void lost_variables(void) {
    int seen = 0;
    begin();
    CHECK_OK(CONC_GO(loop, forgetful, .seen = &seen));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(seen != 7); /* 0xA5A5A5A5, or what the compiler's own code left there */
    finish();
}
#endif

/* A suspension in a switch of the coroutine's own cannot be found again: the program ends, and says where. With computed gotos
 * it can. */
static int switch_line;
CONC_CORO(in_switch, int i;) {
    CO_BEGIN;
    switch (self->i) {
    default:
        switch_line = __LINE__ + 1;
        CO_AWAIT(conc_op_sleep(0.0001));
        tell("back ");
    }
    CO_END;
}

#if defined(CONC_COMPUTED_GOTO) && CONC_CC_GNU && !CONC_CC_TINY
static void wrong_resume(void) {
    begin();
    CHECK_OK(CONC_GO(loop, in_switch));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("back ");
    finish();
}
#elif !defined(_WIN32)
#include <sys/wait.h>
static void wrong_resume(void) {
    char said[500], place[80];
    int fds[2], status = 0, n = 0, more;
    pid_t pid;
    fflush(NULL);
    if (!CHECK(pipe(fds) == 0)) return;
    pid = fork();
    if (pid == 0) {
        if (dup2(fds[1], 2) < 0) _exit(1);
        signal(SIGABRT, SIG_DFL); /* sanitizers catch it, some */
        begin();
        (void)CONC_GO(loop, in_switch);
        settle();
        snprintf(said, sizeof said, "the line is %d\n", switch_line);
        if (write(2, said, strlen(said)) < 0) _exit(1);
        (void)conc_loop_run(loop, CONC_FOREVER);
        _exit(0);
    }
    close(fds[1]);
    while ((more = (int)read(fds[0], said + n, sizeof said - 1 - (size_t)n)) > 0) n += more;
    close(fds[0]);
    said[n] = '\0';
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
    if (CHECK(strncmp(said, "the line is ", 12) == 0)) {
        snprintf(place, sizeof place, "test_coro.c:%d: a switch", atoi(said + 12));
        CHECK_HAS(said, place);
    }
    CHECK_HAS(said, "in_switch cannot be resumed at");
}
#else
static void wrong_resume(void) {
    (void)conc__class_in_switch;
    (void)switch_line;
}
#endif

int main(void) {
    check_begin("coro");
    conc_set_error_hook(hook, NULL);
    RUN(every_op);
    RUN(sleeping);
    RUN(order_of_time);
    RUN(for_ever);
    RUN(mutexes);
    RUN(owners);
    RUN(reader_writer_locks);
    RUN(barriers);
    RUN(conditions);
    RUN(first_of_several);
    RUN(shared_sources);
    RUN(turns);
    RUN(yielding_is_fair);
    RUN(order_of_wakes);
    RUN(calling);
    RUN(who_runs);
    RUN(ending);
    RUN(small_ones);
    RUN(time_outs);
    RUN(nested_time_outs);
    RUN(both_time_outs);
    RUN(limits_while_unwinding);
    RUN(strikes_at_waits);
    RUN(canceling);
    RUN(canceled_early_and_late);
    RUN(canceled_from_within);
    RUN(canceled_in_the_clean_up);
    RUN(canceled_while_a_time_out_unwinds);
    RUN(tokens);
    RUN(joining);
    RUN(labels);
    RUN(frames);
    RUN(misused);
#if defined(CONC_DEBUG) && !CHECK_ASAN
    if (getenv("LD_PRELOAD") == NULL) RUN(lost_variables); /* (valgrind would rightly complain) */
#endif
    RUN(wrong_resume);
    CHECK_EQ(reports, 0);
    if (reports != 0) printf("%d: %s\n", (int)reported, report);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
