/* The loop against other threads: no wake and no spawn is lost, whether the loop runs, falls asleep, sleeps or ends; a cancel,
 * a time-out, a stop may come at every moment, and the item was either got or is still there; a loop that has ended may go
 * while its waker is still in its wake. */

#include "loop_kit.h"

/* ---- the inbox against the sleep ------------------------------------------------------------------------- */

/* A thread puts what a coroutine awaits. */
static int inbox_put(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, get_some, .n = 1));
    sim_start(&crew, put_0, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) == 1);
    finish();
    return 0;
}

/* Two items, one after the other: the loop may fall asleep before each. */
static int inbox_put_twice(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, get_some, .n = 2));
    sim_start(&crew, put_0_1, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) == 1 && out(1) == 1);
    finish();
    return 0;
}

/* Two threads, two coroutines. */
static int inbox_two_push(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(2);
    SIM_OK(CONC_GO(loop, get_some, .n = 1));
    SIM_OK(CONC_GO(loop, get_some, .n = 1));
    sim_start(&crew, put_0, NULL);
    sim_start(&crew, put_1, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) == 1 && out(1) == 1);
    finish();
    return 0;
}

/* One whose waits end by themselves: the loop goes on, and ends, though a call to wake it is under way. */
CONC_CORO(get_patiently, int n; int i; int *p;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n;) {
        CO_AWAIT_UNTIL(conc_op_get(q, &self->p), conc_after(0.0003));
        if (self->co.result == CONC_TIMEOUT) continue;
        SIM_OK(self->co.result);
        (void)look_at(self->p);
        self->i++;
    }
    CO_END;
}

static int put_at_once(void *unused) {
    int *p;
    int i;
    (void)unused;
    for (i = 0; i < 2; i++) {
        p = make(i);
        SIM_OK(conc_queue_put(q, &p, CONC_FOREVER));
    }
    return 0;
}

static int inbox_owed(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, get_patiently, .n = 2));
    sim_start(&crew, put_at_once, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) == 1 && out(1) == 1);
    finish();
    return 0;
}

/* The loop is left and taken up again, by its deadline, while its item comes. */
static int run_in_slices(void *unused) {
    sim_crew crew = {0};
    conc_result r;
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, get_some, .n = 2));
    sim_start(&crew, put_at_once, NULL);
    do {
        r = conc_loop_run(loop, conc_after(0.0002));
    } while (r == CONC_TIMEOUT);
    SIM_OK(r);
    SIM_OK(conc_loop_free(loop));
    loop = NULL;
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) == 1 && out(1) == 1);
    finish();
    return 0;
}

/* ---- spawn ------------------------------------------------------------------------------------------------- */

static conc_task *spawned[2];

/* Spawns one, joins it, and then lets the loop end by item `i`. */
static int spawn_and_join(void *i) {
    conc_task *t;
    int code = -1;
    perhaps_late();
    t = CONC_SPAWN(loop, yields, .code = 3);
    CONC_SIM_ASSERT(t != NULL);
    SIM_OK(conc_wait(conc_op_join(t, &code), CONC_FOREVER));
    CONC_SIM_ASSERT(code == 3);
    return put_item((int)(intptr_t)i);
}

/* Into a loop that sleeps, runs, falls asleep; and the memory of tasks that other threads made. */
static int spawn_by_threads(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(2);
    SIM_OK(CONC_GO(loop, get_some, .n = 2));
    sim_start(&crew, spawn_and_join, (void *)(intptr_t)0);
    sim_start(&crew, spawn_and_join, (void *)(intptr_t)1);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 2 && out(0) == 1 && out(1) == 1);
    finish();
    return 0;
}

static int go_one(void *unused) {
    (void)unused;
    SIM_OK(CONC_GO(loop, just_runs, .code = 0));
    return 0;
}

/* Into a loop that is about to end: it runs, in this run or in the next. */
static int spawn_at_the_end(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    SIM_OK(CONC_GO(loop, just_runs, .code = 0));
    sim_start(&crew, go_one, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(ran >= 1);
    sim_join(&crew);
    CONC_SIM_ASSERT(ran + conc_loop_count(loop) == 2);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(ran == 2);
    finish();
    return 0;
}

static int spawn_later_and_join(void *unused) {
    conc_deadline due = conc_after(0.001);
    conc_task_desc desc;
    conc_task *t;
    memset(&desc, 0, sizeof desc);
    desc.start = due;
    t = CONC_SPAWN_EX(loop, &desc, just_runs, .code = 0);
    CONC_SIM_ASSERT(t != NULL);
    SIM_OK(conc_wait(conc_op_join(t, NULL), CONC_FOREVER));
    CONC_SIM_ASSERT(conc_deadline_passed(due));
    return put_0(unused);
}

/* One that is to start later, into a loop that sleeps for ever. */
static int spawn_later(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, get_some, .n = 1));
    sim_start(&crew, spawn_later_and_join, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 1 && out(0) == 1);
    finish();
    return 0;
}

/* ---- post and stop ------------------------------------------------------------------------------------------ */

static uint32_t posts[4], posted; /* which came, in order; touched by the loop's thread, then after it */

static void post_fn(void *arg) {
    posts[posted++] = (uint32_t)(uintptr_t)arg;
    if (posted == 4) SIM_OK(conc_loop_stop(loop));
}

static int post_two(void *first) {
    uintptr_t i = (uintptr_t)first;
    SIM_OK(conc_loop_post(loop, post_fn, (void *)i));
    perhaps_late();
    SIM_OK(conc_loop_post(loop, post_fn, (void *)(i + 1)));
    return 0;
}

/* Each thread's posts come in its order, once. */
static int post_order(void *unused) {
    sim_crew crew = {0};
    uint32_t seen = 0;
    int i;
    (void)unused;
    begin_until_stopped(0);
    posted = 0;
    sim_start(&crew, post_two, (void *)(uintptr_t)0);
    sim_start(&crew, post_two, (void *)(uintptr_t)2);
    CONC_SIM_ASSERT(conc_loop_run(loop, CONC_FOREVER) == CONC_CLOSED);
    SIM_OK(conc_loop_free(loop)); /* the last post may still be on its way out */
    loop = NULL;
    for (i = 0; i < 4; i++) {
        CONC_SIM_ASSERT((posts[i] & 1) == 0 || (seen & 1u << (posts[i] - 1)) != 0);
        seen |= 1u << posts[i];
    }
    CONC_SIM_ASSERT(seen == 15);
    sim_join(&crew);
    finish();
    return 0;
}

static int post_one(void *unused) {
    (void)unused;
    SIM_OK(conc_loop_post(loop, post_fn, (void *)(uintptr_t)7));
    return 0;
}

/* To a loop that ends: the run, the next one, or the end of the loop delivers it. */
static int post_at_the_end(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    posted = 0;
    SIM_OK(CONC_GO(loop, yields, .code = 0));
    sim_start(&crew, post_one, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    finish();
    CONC_SIM_ASSERT(posted == 1 && posts[0] == 7);
    return 0;
}

static int stop_loop(void *unused) {
    (void)unused;
    perhaps_late();
    SIM_OK(conc_loop_stop(loop));
    return 0;
}

/* Stopped before, while it runs, while it falls asleep, while it sleeps. */
static int stop_at_any_time(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_until_stopped(1);
    SIM_OK(CONC_GO(loop, yields, .code = 0));
    sim_start(&crew, stop_loop, NULL);
    CONC_SIM_ASSERT(conc_loop_run(loop, CONC_FOREVER) == CONC_CLOSED);
    sim_join(&crew);
    CONC_SIM_ASSERT(ran + conc_loop_count(loop) == 1);
    CONC_SIM_ASSERT(conc_loop_run(loop, CONC_NOW) == CONC_TIMEOUT); /* it counts once */
    if (conc_loop_count(loop) != 0) CONC_SIM_ASSERT(conc_loop_run(loop, conc_after(0.001)) == CONC_TIMEOUT);
    CONC_SIM_ASSERT(ran == 1);
    finish();
    return 0;
}

static int fire(void *unused) {
    (void)unused;
    perhaps_late();
    SIM_OK(conc_cancel_fire(&token));
    return 0;
}

/* The token of the thread that runs it fires: it returns, and may be freed while the one who fired is in his wake. */
static int run_canceled(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_until_stopped(0);
    SIM_OK(CONC_GO(loop, yields, .code = 0));
    sim_start(&crew, fire, NULL);
    (void)conc_cancel_use(&token);
    CONC_SIM_ASSERT(conc_loop_run(loop, CONC_FOREVER) == CONC_CANCELED);
    CONC_SIM_ASSERT(conc_loop_run(loop, CONC_FOREVER) == CONC_CANCELED);
    (void)conc_cancel_use(NULL);
    CONC_SIM_ASSERT(ran + conc_loop_count(loop) == 1);
    if (conc_loop_count(loop) == 0) {
        SIM_OK(conc_loop_free(loop));
        loop = NULL;
    } else {
        CONC_SIM_ASSERT(conc_loop_run(loop, conc_after(0.001)) == CONC_TIMEOUT);
    }
    sim_join(&crew);
    finish();
    return 0;
}

/* ---- cancel ----------------------------------------------------------------------------------------------------- */

/* Takes an item, waits once more, and cleans up. */
CONC_CORO(take_one, int *p; bool lingers;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_get(q, &self->p));
    SIM_OK(self->co.result);
    (void)look_at(self->p);
    if (self->lingers) CO_AWAIT(conc_op_sleep(0.0002));
    CO_FINALLY;
    count(&cleaned);
    CO_END;
}

static int cancel_spawned(void *unused) {
    conc_result r;
    (void)unused;
    perhaps_late();
    r = conc_task_cancel(spawned[0]);
    CONC_SIM_ASSERT(r == CONC_OK || (r == CONC_CLOSED && conc_task_has_ended(spawned[0])));
    return 0;
}

/* Before it runs, while it waits, while its item comes, while it ends: the item was got or is there. */
static int cancel_any_time(bool lingers) {
    sim_crew crew = {0};
    int code = -1;
    begin(1);
    spawned[0] = CONC_SPAWN(loop, take_one, .lingers = lingers);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, cancel_spawned, NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == 0 || code == CONC_CANCELED);
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    if (!lingers) CONC_SIM_ASSERT(out(0) == (code == 0 ? 1u : 0u));
    CONC_SIM_ASSERT(cleaned == 1 || (cleaned == 0 && code == CONC_CANCELED && out(0) == 0));
    finish();
    return 0;
}

static int cancel_and_put(void *unused) {
    (void)unused;
    return cancel_any_time(false);
}

static int cancel_and_linger(void *unused) {
    (void)unused;
    return cancel_any_time(true);
}

static int cancel_only(void *unused) {
    (void)unused;
    SIM_OK(conc_task_cancel(spawned[0]));
    return 0;
}

/* Nothing but the cancel ends the wait: it is never overlooked. */
static int cancel_is_seen(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(1);
    spawned[0] = CONC_SPAWN(loop, take_one, .lingers = false);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, cancel_only, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == CONC_CANCELED && out(0) == 0 && cleaned <= 1);
    finish();
    return 0;
}

/* The wait is told; it is not canceled twice. */
CONC_CORO(catches, int *p; conc_result first;) {
    CO_BEGIN;
    count(&ran);
    CO_TRY_AWAIT(conc_op_get(q, &self->p), CONC_FOREVER);
    self->first = self->co.result;
    if (self->first == CONC_OK) {
        (void)look_at(self->p);
    } else {
        CONC_SIM_ASSERT(self->first == CONC_CANCELED);
        CO_AWAIT(conc_op_sleep(0.0002));
        SIM_OK(self->co.result);
        CO_AWAIT(conc_op_get(q, &self->p));
        SIM_OK(self->co.result);
        (void)look_at(self->p);
    }
    CO_RETURN(5);
    CO_END;
}

static int cancel_caught(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(1);
    spawned[0] = CONC_SPAWN(loop, catches, .p = NULL);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, cancel_spawned, NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == (ran == 1 ? 5 : CONC_CANCELED) && out(0) == ran);
    finish();
    return 0;
}

/* One in a coroutine that it called, while the caller holds something: both clean up. */
CONC_CORO(calls, int *p;) {
    CO_BEGIN;
    CO_CALL(take_one, .lingers = true);
    SIM_OK(self->co.result);
    CO_FINALLY;
    CO_AWAIT(conc_op_sleep(0.0001));
    count(&cleaned);
    CO_END;
}

static int cancel_in_a_call(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(1);
    spawned[0] = CONC_SPAWN(loop, calls, .p = NULL);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, cancel_spawned, NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == 0 || code == CONC_CANCELED);
    CONC_SIM_ASSERT(cleaned == 2 || (cleaned == 1 && code == CONC_CANCELED)); /* 1: before it began */
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    finish();
    return 0;
}

static int cancel_loop(void *unused) {
    (void)unused;
    SIM_OK(conc_loop_cancel(loop));
    return 0;
}

/* All tasks of a loop, from another thread: the run ends. */
static int cancel_all(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, take_one, .lingers = false));
    SIM_OK(CONC_GO(loop, take_one, .lingers = false));
    sim_start(&crew, cancel_loop, NULL);
    sim_start(&crew, put_0, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    finish();
    return 0;
}

static uint32_t canceled_waits; /* atomic */

static int get_under_token(void *unused) {
    int *p = NULL;
    conc_result r;
    (void)unused;
    (void)conc_cancel_use(&token);
    r = conc_queue_get(q, &p, CONC_FOREVER);
    (void)conc_cancel_use(NULL);
    if (r == CONC_OK) {
        (void)look_at(p);
    } else {
        CONC_SIM_ASSERT(r == CONC_CANCELED);
        count(&canceled_waits);
    }
    return 0;
}

static int put_and_fire(void *unused) {
    (void)put_0(unused);
    return fire(unused);
}

/* A thread and a coroutine under one token, and one item: one gets it or nobody, and both end. */
static int token_shared(void *unused) {
    sim_crew crew = {0};
    conc_task_desc desc;
    int code = -1;
    (void)unused;
    begin(1);
    canceled_waits = 0;
    memset(&desc, 0, sizeof desc);
    desc.cancel = &token;
    spawned[0] = CONC_SPAWN_EX(loop, &desc, take_one, .lingers = false);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, get_under_token, NULL);
    sim_start(&crew, put_and_fire, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == 0 || code == CONC_CANCELED);
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    CONC_SIM_ASSERT(canceled_waits + (code == CONC_CANCELED ? 1u : 0u) == 2 - out(0));
    finish();
    return 0;
}

/* A parent's fire; and the task's own cancel at the same time. */
static int token_parent(void *unused) {
    sim_crew crew = {0};
    conc_task_desc desc;
    conc_cancel child;
    int code = -1;
    (void)unused;
    begin(1);
    memset(&desc, 0, sizeof desc);
    memset(&child, 0, sizeof child);
    child.parent = &token;
    desc.cancel = &child;
    spawned[0] = CONC_SPAWN_EX(loop, &desc, take_one, .lingers = true);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, fire, NULL);
    sim_start(&crew, cancel_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == CONC_CANCELED && cleaned <= 1);
    finish();
    return 0;
}

/* ---- time ------------------------------------------------------------------------------------------------------------- */

CONC_CORO(in_time, conc_co_timeout limit; int *p; bool got; conc_deadline due;) {
    CO_BEGIN;
    self->due = conc_after(0.0003);
    CO_TIMEOUT(self->limit, 0.0003) {
        CO_CALL(take_one, .lingers = false);
        SIM_OK(self->co.result);
        self->got = true;
    }
    CONC_SIM_ASSERT(self->got != self->limit.expired);
    CONC_SIM_ASSERT(self->got || conc_deadline_passed(self->due));
    CONC_SIM_ASSERT(self->co.result == (self->got ? CONC_OK : CONC_TIMEOUT));
    CO_RETURN(self->got ? 1 : 0);
    CO_END;
}

/* A block's time-out against the item that it waits for. */
static int timeout_block(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(1);
    spawned[0] = CONC_SPAWN(loop, in_time, .got = false);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(out(0) == (uint32_t)code && cleaned == 1);
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    finish();
    return 0;
}

/* The same, and a cancel. */
static int timeout_and_cancel(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(1);
    spawned[0] = CONC_SPAWN(loop, in_time, .got = false);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, put_0, NULL);
    sim_start(&crew, cancel_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == CONC_CANCELED || out(0) == (uint32_t)code);
    CONC_SIM_ASSERT(out(0) + conc_queue_length(q) == 1);
    finish();
    return 0;
}

/* Nothing comes: a block within a block, both of whose times pass; the outer one's wins if it is the sooner. */
CONC_CORO(nested, conc_co_timeout outer; conc_co_timeout inner; int *p; double seconds;) {
    CO_BEGIN;
    CO_TIMEOUT(self->outer, 0.0004) {
        CO_TIMEOUT(self->inner, self->seconds) {
            CO_AWAIT(conc_op_get(q, &self->p));
            CONC_SIM_ASSERT(false);
        }
        CO_AWAIT(conc_op_get(q, &self->p));
        CONC_SIM_ASSERT(false);
    }
    CONC_SIM_ASSERT(self->outer.expired);
    if (self->seconds > 0.0004) CONC_SIM_ASSERT(!self->inner.expired);
    count(&ran);
    CO_END;
}

static int timeout_nested(void *unused) {
    (void)unused;
    begin(1);
    SIM_OK(CONC_GO(loop, nested, .seconds = 0.0002));
    SIM_OK(CONC_GO(loop, nested, .seconds = 0.0008));
    run_and_free();
    CONC_SIM_ASSERT(ran == 2);
    finish();
    return 0;
}

CONC_CORO(sleeps, int64_t ns; conc_deadline due;) {
    CO_BEGIN;
    self->due = conc_after((double)self->ns * 1e-9);
    CO_AWAIT(conc_op_until(self->due));
    SIM_OK(self->co.result);
    CONC_SIM_ASSERT(conc_deadline_passed(self->due));
    count(&ran);
    CO_END;
}

/* Sleeps on several levels of the wheel, one of which is canceled by another thread. */
static int sleeps_and_cancel(void *unused) {
    sim_crew crew = {0};
    int code = -1;
    (void)unused;
    begin(0);
    spawned[0] = CONC_SPAWN(loop, sleeps, .ns = 6000000);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    SIM_OK(CONC_GO(loop, sleeps, .ns = 5000000));
    SIM_OK(CONC_GO(loop, sleeps, .ns = 100000));
    sim_start(&crew, cancel_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(ran == (code == CONC_CANCELED ? 2u : 3u));
    finish();
    return 0;
}

/* One that is to start later is canceled before, then, or after. */
static int cancel_before_the_start(void *unused) {
    sim_crew crew = {0};
    conc_task_desc desc;
    int code = -1;
    (void)unused;
    begin(0);
    memset(&desc, 0, sizeof desc);
    desc.start = conc_after(0.0005);
    spawned[0] = CONC_SPAWN_EX(loop, &desc, yields, .code = 0);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, cancel_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_join(spawned[0], &code, CONC_NOW));
    CONC_SIM_ASSERT(code == (ran == 1 ? 0 : CONC_CANCELED));
    finish();
    return 0;
}

/* The wheel by itself: entries come out in the first look after their time, rounded up to a tick, and not before. */
#define WHEEL_NODES 6
#define WHEEL_TICK ((int64_t)1 << 16)

static int64_t wheel_distance(void) {
    static const int64_t around[] = {0, 1, 63, 64, 65, 127, 4095, 4096, 4097, 262143, 262144, 20000000};
    int64_t ticks = around[conc_sim_choose(sizeof around / sizeof *around)];
    return ticks * WHEEL_TICK + (int64_t)conc_sim_choose(3) * (WHEEL_TICK / 2) - (int64_t)conc_sim_choose(2);
}

static int wheel_alone(void *unused) {
    conc__wheel *w = (conc__wheel *)conc__alloc(1, sizeof *w, "a wheel");
    conc__wheel_node nodes[WHEEL_NODES];
    bool in[WHEEL_NODES] = {false};
    int64_t now = (int64_t)1000000000 + wheel_distance();
    int step, i;
    (void)unused;
    CONC_SIM_ASSERT(w != NULL);
    memset(nodes, 0, sizeof nodes);
    conc__wheel_begin(w, now);
    for (step = 0; step < 16; step++) {
        conc__wheel_node *node;
        int64_t next, soonest = INT64_MAX, last = 0;
        i = (int)conc_sim_choose(WHEEL_NODES);
        if (in[i]) {
            conc__wheel_remove(w, &nodes[i]);
            in[i] = false;
        } else {
            conc__wheel_add(w, &nodes[i], now + wheel_distance());
            in[i] = true;
        }
        for (i = 0; i < WHEEL_NODES; i++) {
            if (in[i] && nodes[i].due < soonest) soonest = nodes[i].due;
        }
        next = conc__wheel_next(w);
        CONC_SIM_ASSERT(next == INT64_MAX ? soonest == INT64_MAX : next < soonest + WHEEL_TICK);
        if (conc_sim_choose(2) != 0) continue;
        now = next != INT64_MAX && next > now && conc_sim_choose(2) != 0 ? next : now + wheel_distance() + 1;
        while ((node = conc__wheel_expire(w, now)) != NULL) {
            i = (int)(node - nodes);
            CONC_SIM_ASSERT(in[i] && nodes[i].due <= now);
            CONC_SIM_ASSERT((nodes[i].due + WHEEL_TICK - 1) >> 16 >= last >> 16); /* in order, by ticks */
            last = nodes[i].due;
            in[i] = false;
        }
        for (i = 0; i < WHEEL_NODES; i++) CONC_SIM_ASSERT(!in[i] || nodes[i].due + WHEEL_TICK > now);
    }
    conc__free(w);
    return 0;
}

/* ---- the end, and who waits for it --------------------------------------------------------------------------------------- */

static int told_data; /* written by the task, read by who joined it */
static uint32_t joined, refused; /* atomic */

CONC_CORO(writes_and_ends, int code;) {
    CO_BEGIN;
    CO_YIELD;
    CONC_SIM_WRITE(told_data);
    told_data = 77;
    CO_RETURN(self->code);
    CO_END;
}

static int join_spawned(void *unused) {
    int code = -1;
    conc_result r;
    (void)unused;
    r = conc_wait(conc_op_join(spawned[0], &code), CONC_FOREVER);
    if (r == CONC_OK) {
        CONC_SIM_ASSERT(code == 4);
        CONC_SIM_READ(told_data);
        CONC_SIM_ASSERT(told_data == 77);
        count(&joined);
    } else {
        CONC_SIM_ASSERT(r == CONC_INVALID);
        count(&refused);
    }
    return 0;
}

static void begin_joins(void) {
    begin(0);
    told_data = 0;
    joined = refused = 0;
    spawned[0] = CONC_SPAWN(loop, writes_and_ends, .code = 4);
    CONC_SIM_ASSERT(spawned[0] != NULL);
}

/* What the task did is seen by who joins it. */
static int join_by_thread(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_joins();
    sim_start(&crew, join_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(joined == 1);
    finish();
    return 0;
}

static int join_twice(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_joins();
    sim_start(&crew, join_spawned, NULL);
    sim_start(&crew, join_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(joined == 1 && refused == 1);
    finish();
    return 0;
}

static uint32_t detached, reported; /* atomic */

static void count_report(const conc_error *error, void *arg) {
    CONC_SIM_ASSERT(error->result == CONC_FAILED && error->code == 4 && arg == NULL);
    count(&reported);
}

static int detach_spawned(void *unused) {
    conc_result r = conc_task_detach(spawned[0]);
    (void)unused;
    if (r == CONC_OK) {
        count(&joined);
        count(&detached);
    } else {
        CONC_SIM_ASSERT(r == CONC_INVALID);
        count(&refused);
    }
    return 0;
}

/* One of the two has it. The failure goes to the error hook if nobody joined. */
static int join_or_detach(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_joins();
    detached = reported = 0;
    conc_set_error_hook(count_report, NULL);
    sim_start(&crew, join_spawned, NULL);
    sim_start(&crew, detach_spawned, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(joined == 1 && refused == 1);
    finish();
    conc_set_error_hook(NULL, NULL);
    CONC_SIM_ASSERT(reported == detached);
    return 0;
}

static int wait_for_end(void *unused) {
    (void)unused;
    SIM_OK(conc_wait(conc_op_task_end(spawned[0]), CONC_FOREVER));
    CONC_SIM_READ(told_data);
    CONC_SIM_ASSERT(told_data == 77 && conc_task_has_ended(spawned[0]));
    return 0;
}

/* Two who wait for the end leave the handle where it is. */
static int end_as_an_op(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_joins();
    sim_start(&crew, wait_for_end, NULL);
    sim_start(&crew, wait_for_end, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    (void)join_spawned(NULL);
    CONC_SIM_ASSERT(joined == 1);
    finish();
    return 0;
}

static int join_first(void *unused) {
    (void)unused;
    SIM_OK(conc_wait(conc_op_task_ends(spawned, 2, 1), CONC_FOREVER));
    CONC_SIM_ASSERT(conc_task_has_ended(spawned[0]) || conc_task_has_ended(spawned[1]));
    return 0;
}

static int join_both(void *unused) {
    (void)unused;
    SIM_OK(conc_wait(conc_op_task_ends(spawned, 2, 0), CONC_FOREVER));
    CONC_SIM_ASSERT(conc_task_has_ended(spawned[0]) && conc_task_has_ended(spawned[1]));
    return 0;
}

/* The first of two, and both. */
static int join_all(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    spawned[0] = CONC_SPAWN(loop, yields, .code = 0);
    spawned[1] = CONC_SPAWN(loop, just_runs, .code = 0);
    CONC_SIM_ASSERT(spawned[0] != NULL && spawned[1] != NULL);
    sim_start(&crew, join_both, NULL);
    sim_start(&crew, join_first, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_detach(spawned[0]));
    SIM_OK(conc_task_detach(spawned[1]));
    finish();
    return 0;
}

static int join_mine(void *which) {
    int code = -1;
    SIM_OK(conc_task_join(*(conc_task **)which, &code, CONC_FOREVER));
    CONC_SIM_ASSERT(code == 0);
    return 0;
}

/* Nobody runs the loop but those who join its tasks: who is done first does not leave the other alone. */
static int join_runs_the_loop(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    spawned[0] = CONC_SPAWN(loop, just_runs, .code = 0);
    spawned[1] = CONC_SPAWN(loop, sleeps, .ns = 300000);
    CONC_SIM_ASSERT(spawned[0] != NULL && spawned[1] != NULL);
    sim_start(&crew, join_mine, &spawned[0]);
    sim_start(&crew, join_mine, &spawned[1]);
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 2);
    finish();
    return 0;
}

static int join_first_blocking(void *unused) {
    (void)unused;
    SIM_OK(conc_task_join_all(spawned, 2, 1, CONC_FOREVER));
    CONC_SIM_ASSERT(conc_task_has_ended(spawned[0]) || conc_task_has_ended(spawned[1]));
    return 0;
}

static int join_both_blocking(void *unused) {
    (void)unused;
    SIM_OK(conc_task_join_all(spawned, 2, 0, CONC_FOREVER));
    CONC_SIM_ASSERT(conc_task_has_ended(spawned[0]) && conc_task_has_ended(spawned[1]));
    return 0;
}

static int join_all_runs_the_loop(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    spawned[0] = CONC_SPAWN(loop, sleeps, .ns = 300000);
    spawned[1] = CONC_SPAWN(loop, just_runs, .code = 0);
    CONC_SIM_ASSERT(spawned[0] != NULL && spawned[1] != NULL);
    sim_start(&crew, join_first_blocking, NULL);
    sim_start(&crew, join_both_blocking, NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 2);
    SIM_OK(conc_task_detach(spawned[0]));
    SIM_OK(conc_task_detach(spawned[1]));
    finish();
    return 0;
}

/* A stop that comes while one who joins runs the loop is still there for the run. */
static int join_and_stop(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_until_stopped(0);
    spawned[0] = CONC_SPAWN(loop, sleeps, .ns = 300000);
    CONC_SIM_ASSERT(spawned[0] != NULL);
    sim_start(&crew, join_mine, &spawned[0]);
    sim_start(&crew, stop_loop, NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(conc_loop_run(loop, CONC_FOREVER) == CONC_CLOSED);
    CONC_SIM_ASSERT(ran == 1);
    finish();
    return 0;
}

/* A coroutine joins a task of another loop. */
CONC_CORO(joins, conc_task *task;) {
    CO_BEGIN;
    CO_JOIN(self->task);
    SIM_OK(self->co.result);
    CONC_SIM_ASSERT(self->co.value == 4);
    CONC_SIM_READ(told_data);
    CONC_SIM_ASSERT(told_data == 77);
    count(&joined);
    CO_END;
}

static int join_across(void *unused) {
    sim_crew crew = {0};
    conc_loop *mine;
    (void)unused;
    begin_joins();
    mine = conc_loop_new(NULL);
    CONC_SIM_ASSERT(mine != NULL);
    SIM_OK(CONC_GO(mine, joins, .task = spawned[0]));
    sim_start(&crew, run_loop, NULL);
    SIM_OK(conc_loop_run(mine, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(joined == 1);
    SIM_OK(conc_loop_free(mine));
    finish();
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(inbox_put, 2),
    SIM_TEST(inbox_put_twice, 1),
    SIM_TEST(inbox_two_push, 1),
    SIM_TEST(inbox_owed, 1),
    SIM_TEST(run_in_slices, 1),
    SIM_TEST(spawn_by_threads, 1),
    SIM_TEST(spawn_at_the_end, 2),
    SIM_TEST(spawn_later, 1),
    SIM_TEST(post_order, 1),
    SIM_TEST(post_at_the_end, 2),
    SIM_TEST(stop_at_any_time, 2),
    SIM_TEST(run_canceled, 2),
    SIM_TEST(cancel_and_put, 1),
    SIM_TEST(cancel_and_linger, 1),
    SIM_TEST(cancel_is_seen, 2),
    SIM_TEST(cancel_caught, 1),
    SIM_TEST(cancel_in_a_call, 1),
    SIM_TEST(cancel_all, 1),
    SIM_TEST(token_shared, 1),
    SIM_TEST(token_parent, 1),
    SIM_TEST(timeout_block, 2),
    SIM_TEST(timeout_and_cancel, 1),
    SIM_TEST(timeout_nested, 1),
    SIM_TEST(sleeps_and_cancel, 1),
    SIM_TEST(cancel_before_the_start, 1),
    SIM_TEST(wheel_alone, 0),
    SIM_TEST(join_by_thread, 2),
    SIM_TEST(join_twice, 1),
    { "join_or_detach", join_or_detach, 1, 0, true },
    SIM_TEST(end_as_an_op, 1),
    SIM_TEST(join_all, 1),
    SIM_TEST(join_runs_the_loop, 1),
    SIM_TEST(join_all_runs_the_loop, 1),
    SIM_TEST(join_and_stop, 1),
    SIM_TEST(join_across, 1),
};

SIM_MAIN("sim_loop", tests)
