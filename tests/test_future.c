/* Futures: results, waits in every world, cancel in every state, callbacks, failures that nobody saw, several at once, one's
 * own; tasks that wait for tasks of their own pool, and waits that could never end. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"
#include "pooled.h"

/* A task at a gate: it tells that it has begun. */
typedef struct gated {
    conc_event begun, gate;
    conc_result wait; /* how its wait ended */
    int code;
    int ran;
} gated;

static int at_gate(void *arg) {
    gated *g = (gated *)arg;
    g->ran++;
    (void)conc_event_set(&g->begun);
    g->wait = conc_event_wait(&g->gate, CONC_FOREVER);
    return g->code;
}

static void let_go(gated *g) {
    CHECK_OK(conc_event_set(&g->gate));
}

/* ---- results ----------------------------------------------------------------------------------------------- */

static int fails_with_a_sentence(void *arg) {
    (void)conc_event_set(NULL);
    return *(int *)arg;
}

static void results(void) {
    conc_pool *p = pool_of(1);
    static int codes[] = { 0, 42, -7 };
    conc_future *f;
    gated g;
    conc_cancel token = { NULL, 0 };
    int i;
    for (i = 0; i < 3; i++) {
        f = SUBMIT(p, returns_int, &codes[i]);
        CHECK_R(conc_future_wait(f, CONC_FOREVER), i == 0 ? CONC_OK : CONC_FAILED);
        CHECK_R(conc_future_wait(f, CONC_NOW), i == 0 ? CONC_OK : CONC_FAILED); /* again, without waiting */
        CHECK_R(conc_wait(conc_op_future(f), CONC_FOREVER), i == 0 ? CONC_OK : CONC_FAILED);
        CHECK_R(conc_try(conc_op_future(f)), i == 0 ? CONC_OK : CONC_FAILED);
        CHECK(conc_future_is_done(f));
        CHECK_R(conc_future_result(f), i == 0 ? CONC_OK : CONC_FAILED);
        CHECK_EQ(conc_future_code(f), codes[i]);
        CHECK(conc_future_detail(f) != NULL);
        if (i == 0) CHECK_STR(conc_future_detail(f), "");
        CHECK(conc_future_arg(f) == &codes[i]);
        conc_future_release(f);
    }
    f = SUBMIT(p, fails_with_a_sentence, &codes[1]);
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED);
    CHECK_HAS(conc_future_detail(f), "conc_event_set");
    conc_future_release(f);
    f = SUBMIT(p, fails_with_a_sentence, &codes[0]); /* it did not fail, after all */
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    CHECK_STR(conc_future_detail(f), "");
    conc_future_release(f);
    /* before the end */
    memset(&g, 0, sizeof g);
    g.code = 3;
    f = SUBMIT(p, at_gate, &g);
    CHECK_R(conc_future_wait(f, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_try(conc_op_future(f)), CONC_BUSY);
    CHECK_R(conc_future_wait(f, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_future_wait(f, check_past()), CONC_TIMEOUT);
    CHECK_R(conc_wait(conc_op_future(f), conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_future_result(f), CONC_PENDING);
    CHECK_EQ(conc_future_code(f), 0);
    CHECK_STR(conc_future_detail(f), "");
    CHECK(!conc_future_is_done(f));
    CHECK(conc_future_arg(f) == &g);
    CHECK_OK(conc_cancel_fire(&token));
    (void)conc_cancel_use(&token);
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_CANCELED);
    CHECK(!conc_future_is_done(f));
    (void)conc_cancel_use(NULL);
    let_go(&g);
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED);
    CHECK_EQ(conc_future_code(f), 3);
    (void)conc_cancel_use(&token);
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED); /* need not wait */
    (void)conc_cancel_use(NULL);
    conc_future_release(f);
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
    conc_future_release(NULL);
}

static void nothing_then(conc_future *f, void *arg) {
    (void)f;
    (void)arg;
}

static void misused(void) {
    conc_pool *p = pool_of(1);
    conc_future *f = SUBMIT(p, returns_0, NULL);
    conc_future *two[2], *many[1001];
    conc_iter *it;
    int i;
    CHECK_MISUSE(conc_future_wait(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_future(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_R(conc_future_result(NULL), CONC_INVALID);
    CHECK(!conc_future_is_done(NULL));
    CHECK_EQ(conc_future_code(NULL), 0);
    CHECK(conc_future_arg(NULL) == NULL);
    CHECK(conc_future_retain(NULL) == NULL);
    CHECK_MISUSE(conc_future_cancel(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_future_then(NULL, nothing_then, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_future_then(f, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_future_complete(NULL, 0), CONC_INVALID);
    CHECK_MISUSE(conc_future_complete(f, 0), CONC_INVALID); /* a pool's */
    two[0] = f;
    two[1] = NULL;
    CHECK_MISUSE(conc_wait_all(two, 2, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait_all(NULL, 2, CONC_FOREVER), CONC_INVALID);
    CHECK_OK(conc_wait_all(two, 0, CONC_FOREVER));
    CHECK_OK(conc_wait_all(two, 0, CONC_NOW));
    UNTIL(conc_future_is_done(f));
    for (i = 0; i < 1001; i++) many[i] = f;
    CHECK_MISUSE(conc_wait_any(two, 2, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait_any(two, 0, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait_any(NULL, 1, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait_any(many, 1001, CONC_FOREVER), CONC_INVALID);
    CHECK_EQ(conc_wait_any(many, 1000, CONC_FOREVER), 0);
    it = conc_as_completed(two, 2);
    CHECK_R(conc_next(it, &f), CONC_INVALID);
    conc_iter_close(it);
    it = conc_as_completed(two, 0);
    CHECK_R(conc_next(it, &f), CONC_CLOSED);
    conc_iter_close(it);
    CHECK(f == two[0]);
    conc_future_release(f);
    FINISH(p);
}

/* ---- in a select, in a coroutine -------------------------------------------------------------------------- */

static void in_select(void) {
    conc_pool *p = pool_of(1);
    conc_event e = { 0 };
    conc_op ops[2];
    gated g;
    conc_future *f;
    memset(&g, 0, sizeof g);
    g.code = 1;
    f = SUBMIT(p, at_gate, &g);
    CHECK_OK(conc_event_set(&e));
    ops[0] = conc_op_future(f);
    ops[1] = conc_op_event(&e);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
    CHECK_OK(conc_event_reset(&e));
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_future(f);
    CHECK_R(conc_select(ops, 2, conc_after(0.001)), CONC_TIMEOUT);
    let_go(&g);
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_future(f);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
    CHECK_R(ops[1].result, CONC_FAILED);
    conc_future_release(f);
    FINISH(p);
    CHECK_EQ(reports_now(), 0); /* the op has seen it */
}

CONC_CORO(awaits, conc_future *f; conc_result want; tally *seen;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_future(self->f));
    CHECK_R(self->co.result, self->want);
    (void)tally_add(self->seen, 1);
    CO_END;
}

CONC_CORO(waits_in_vain, conc_future *f;) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_future(self->f), conc_after(0.001));
    CHECK_R(self->co.result, CONC_TIMEOUT);
    CO_END;
}

static int lets_go_soon(void *arg) {
    (void)conc_sleep(conc_after(0.002));
    let_go((gated *)arg);
    return 0;
}

static void in_coroutines(void) {
    conc_pool *p = pool_of(2);
    conc_loop *loop = conc_loop_new(NULL);
    gated g;
    tally seen = { { 0 }, 0 };
    conc_future *f, *canceled = conc_future_new(), *late;
    int i;
    if (!CHECK(loop != NULL && canceled != NULL)) return;
    memset(&g, 0, sizeof g);
    g.code = 4;
    f = SUBMIT(p, at_gate, &g);
    CHECK_OK(CONC_GO(loop, waits_in_vain, .f = f));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    for (i = 0; i < 5; i++) CHECK_OK(CONC_GO(loop, awaits, .f = f, .want = CONC_FAILED, .seen = &seen));
    CHECK_OK(CONC_GO(loop, awaits, .f = canceled, .want = CONC_CANCELED, .seen = &seen));
    CHECK_OK(conc_future_cancel(canceled));
    late = SUBMIT(p, lets_go_soon, &g);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(tally_of(&seen), 6);
    conc_future_release(f);
    conc_future_release(late);
    conc_future_release(canceled);
    FINISH(p);
    CHECK_OK(conc_loop_free(loop));
    CHECK_EQ(reports_now(), 0);
}

/* ---- canceling ------------------------------------------------------------------------------------------------ */

static void canceling(void) {
    conc_pool *p = pool_of(1);
    gated g, queued, done;
    conc_future *f, *q, *d;
    memset(&g, 0, sizeof g);
    memset(&queued, 0, sizeof queued);
    memset(&done, 0, sizeof done);
    let_go(&done);
    d = SUBMIT(p, at_gate, &done);
    CHECK_OK(conc_future_wait(d, CONC_FOREVER));
    CHECK_R(conc_future_cancel(d), CONC_CLOSED);
    CHECK_R(conc_future_result(d), CONC_OK);
    f = SUBMIT(p, at_gate, &g);
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    q = SUBMIT(p, at_gate, &queued);
    CHECK_EQ(conc_pool_stats_of(p).queued, 1);
    CHECK_OK(conc_future_cancel(q)); /* queued: it never runs */
    CHECK(conc_future_is_done(q));
    CHECK_R(conc_future_wait(q, CONC_FOREVER), CONC_CANCELED);
    CHECK_EQ(conc_future_code(q), 0);
    CHECK_R(conc_future_cancel(q), CONC_CLOSED);
    CHECK_EQ(conc_pool_stats_of(p).canceled, 1);
    CHECK_R(conc_future_cancel(f), CONC_BUSY); /* it runs: its wait ends */
    CHECK_OK(conc_future_wait(f, CONC_FOREVER)); /* it returned 0 */
    CHECK_R(g.wait, CONC_CANCELED);
    CHECK_R(conc_future_cancel(f), CONC_CLOSED);
    conc_future_release(d);
    conc_future_release(f);
    conc_future_release(q);
    /* the thread's token is not left fired for the next */
    memset(&g, 0, sizeof g);
    f = SUBMIT(p, at_gate, &g);
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    let_go(&g);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    CHECK_OK(g.wait);
    conc_future_release(f);
    /* with a code */
    memset(&g, 0, sizeof g);
    g.code = 5;
    f = SUBMIT(p, at_gate, &g);
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    CHECK_R(conc_future_cancel(f), CONC_BUSY);
    (void)conc_future_cancel(f); /* again is harmless */
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_CANCELED); /* whatever it returned for it */
    CHECK_EQ(conc_future_code(f), 5);
    conc_future_release(f);
    CHECK_EQ(FINISH(p).completed, 4);
    CHECK_EQ(queued.ran, 0);
    CHECK_EQ(reports_now(), 0);
}

/* Canceled in the middle of a queue, at its beginning and at its end: the others run, in their order; and the numbers are right
 * at each step. */
static int next_turn;
static int takes_turn(void *arg) {
    *(int *)arg = ++next_turn;
    return 0;
}

static void canceled_in_the_queue(void) {
    conc_pool *p = pool_of(1);
    gated g;
    conc_future *f[8];
    int turn[8], i, turns = 0;
    memset(&g, 0, sizeof g);
    memset(turn, 0, sizeof turn);
    next_turn = 0;
    CHECK_OK(conc_pool_run(p, at_gate, &g));
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    for (i = 0; i < 8; i++) f[i] = SUBMIT(p, takes_turn, &turn[i]);
    for (i = 0; i < 8; i++) {
        conc_pool_stats s;
        if (i == 0 || i == 3 || i == 4 || i == 7) CHECK_OK(conc_future_cancel(f[i]));
        s = conc_pool_stats_of(p);
        CHECK_EQ(s.completed + s.canceled + s.returned + s.queued + s.scheduled + s.active, s.accepted);
    }
    let_go(&g);
    for (i = 0; i < 8; i++) {
        bool out = i == 0 || i == 3 || i == 4 || i == 7;
        CHECK_R(conc_future_wait(f[i], CONC_FOREVER), out ? CONC_CANCELED : CONC_OK);
        CHECK_EQ(turn[i], out ? 0 : ++turns);
        conc_future_release(f[i]);
    }
    CHECK_EQ(FINISH(p).canceled, 4);
}

/* ---- callbacks ---------------------------------------------------------------------------------------------------- */

typedef struct listener {
    int *order, n, at;
    conc_future *f;
    conc_result result;
    conc_thread *thread;
    tally calls;
} listener;

static void listens(conc_future *f, void *arg) {
    listener *l = (listener *)arg;
    CHECK(f == l->f);
    CHECK(conc_future_is_done(f));
    l->result = conc_future_result(f);
    l->thread = conc_thread_current();
    if (l->order != NULL) l->at = (*l->order)++;
    (void)tally_add(&l->calls, 1);
}

static void listens_at_length(conc_future *f, void *arg) { /* what a callback may do with it */
    listener *l = (listener *)arg;
    CHECK_R(conc_future_wait(f, CONC_FOREVER), l->result);
    CHECK_R(conc_future_cancel(f), CONC_CLOSED);
    conc_future_release(conc_future_retain(f));
    CHECK_OK(conc_future_then(f, listens, l)); /* at once */
}

static void callbacks(void) {
    conc_pool *p = pool_of(1);
    gated g;
    listener l[6];
    int order = 0, i;
    conc_future *f;
    memset(&g, 0, sizeof g);
    memset(l, 0, sizeof l);
    g.code = 9;
    f = SUBMIT(p, at_gate, &g);
    for (i = 0; i < 5; i++) {
        l[i].order = &order;
        l[i].f = f;
        CHECK_OK(conc_future_then(f, listens, &l[i]));
    }
    CHECK_EQ(tally_of(&l[0].calls), 0);
    let_go(&g);
    for (i = 0; i < 5; i++) {
        UNTIL(tally_of(&l[i].calls) == 1);
        CHECK_R(l[i].result, CONC_FAILED);
        CHECK_EQ(l[i].at, i);
        CHECK(l[i].thread != conc_thread_current());
    }
    l[5].f = f;
    CHECK_OK(conc_future_then(f, listens, &l[5])); /* after the end: here and now */
    CHECK_EQ(tally_of(&l[5].calls), 1);
    CHECK(l[5].thread == conc_thread_current());
    l[5].result = CONC_FAILED;
    CHECK_OK(conc_future_then(f, listens_at_length, &l[5]));
    CHECK_EQ(tally_of(&l[5].calls), 2);
    conc_future_release(f);
    /* released before the end: it is called all the same, and has seen the failure */
    memset(&g, 0, sizeof g);
    memset(l, 0, sizeof l);
    g.code = 9;
    f = SUBMIT(p, at_gate, &g);
    l[0].f = f;
    CHECK_OK(conc_future_then(f, listens, &l[0]));
    conc_future_release(f);
    let_go(&g);
    UNTIL(tally_of(&l[0].calls) == 1);
    CHECK_R(l[0].result, CONC_FAILED);
    /* one that was canceled in the queue: called by who cancels */
    memset(&g, 0, sizeof g);
    CHECK_OK(conc_pool_run(p, at_gate, &g));
    memset(l, 0, sizeof l);
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    f = SUBMIT(p, returns_0, NULL);
    l[0].f = f;
    CHECK_OK(conc_future_then(f, listens, &l[0]));
    CHECK_OK(conc_future_cancel(f));
    CHECK_EQ(tally_of(&l[0].calls), 1);
    CHECK_R(l[0].result, CONC_CANCELED);
    CHECK(l[0].thread == conc_thread_current());
    conc_future_release(f);
    /* by close_now */
    f = SUBMIT(p, returns_0, NULL);
    memset(l, 0, sizeof l);
    l[0].f = f;
    CHECK_OK(conc_future_then(f, listens, &l[0]));
    conc_future_release(f);
    CHECK_OK(conc_pool_close_now(p, NULL, NULL));
    CHECK_EQ(tally_of(&l[0].calls), 1);
    CHECK_R(l[0].result, CONC_CANCELED);
    let_go(&g);
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
}

/* ---- failures that nobody saw ---------------------------------------------------------------------------------------- */

static void unseen(void) {
    conc_pool *p = pool_of(1);
    static int code = 5;
    gated g;
    conc_future *f;
    conc_op ops[1];
    listener l;
    int i;
    for (i = 0; i < 8; i++) {
        memset(&g, 0, sizeof g);
        memset(&l, 0, sizeof l);
        g.code = 5;
        f = SUBMIT(p, at_gate, &g);
        CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
        /* none of these sees how it ends */
        CHECK_R(conc_future_result(f), CONC_PENDING);
        CHECK_EQ(conc_future_code(f), 0);
        CHECK_R(conc_future_wait(f, CONC_NOW), CONC_BUSY);
        CHECK_R(conc_future_wait(f, check_past()), CONC_TIMEOUT);
        if (i == 0) conc_future_release(f); /* before the end */
        let_go(&g);
        if (i > 0) UNTIL(conc_future_is_done(f));
        switch (i) {
        case 0: UNTIL(tally_of(&reports) != 0); break;
        case 1: break;
        case 2: CHECK_R(conc_future_wait(f, CONC_NOW), CONC_FAILED); break;
        case 3: CHECK_R(conc_future_result(f), CONC_FAILED); break;
        case 4: CHECK_EQ(conc_future_code(f), 5); break;
        case 5:
            ops[0] = conc_op_future(f);
            CHECK_EQ(conc_select(ops, 1, CONC_FOREVER), 0);
            break;
        case 6:
            l.f = f;
            CHECK_OK(conc_future_then(f, listens, &l));
            break;
        default: CHECK_R(conc_wait_all(&f, 1, CONC_FOREVER), CONC_FAILED); break;
        }
        if (i > 0) {
            conc_future *same = conc_future_retain(f);
            CHECK(same == f);
            conc_future_release(f);
            if (i == 1) CHECK_EQ(tally_of(&reports), 0); /* there is one reference still */
            conc_future_release(same);
        }
        if (i == 1) UNTIL(tally_of(&reports) != 0); /* the pool's own reference may be the last */
        if (i < 2) CHECK_EQ(report_code, 5);
        CHECK_EQ(reports_now(), i < 2);
        report_code = 0;
    }
    /* what was canceled or succeeded is none */
    memset(&g, 0, sizeof g);
    CHECK_OK(conc_pool_run(p, at_gate, &g));
    f = SUBMIT(p, returns_int, &code);
    CHECK_OK(conc_future_cancel(f));
    conc_future_release(f);
    conc_future_release(SUBMIT(p, returns_0, NULL));
    let_go(&g);
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
    /* one's own */
    f = conc_future_new();
    CHECK_OK(conc_future_complete(f, 6));
    conc_future_release(f);
    CHECK_EQ(reports_now(), 1);
    CHECK_EQ(report_code, 6);
    f = conc_future_new();
    conc_future_release(f); /* never ended */
    CHECK_EQ(reports_now(), 0);
}

/* ---- one's own -------------------------------------------------------------------------------------------------------- */

static int waits_ok(void *arg) {
    return conc_future_wait((conc_future *)arg, CONC_FOREVER);
}

static int waits_failed(void *arg) {
    return conc_future_wait((conc_future *)arg, CONC_FOREVER) == CONC_FAILED ? 0 : 1;
}

static void own(void) {
    conc_future *f = conc_future_new();
    crew c = { 0 };
    int i;
    if (!CHECK(f != NULL)) return;
    CHECK(!conc_future_is_done(f));
    CHECK_R(conc_future_result(f), CONC_PENDING);
    CHECK_R(conc_future_wait(f, CONC_NOW), CONC_BUSY);
    CHECK(conc_future_arg(f) == NULL);
    for (i = 0; i < 3; i++) crew_add(&c, waits_ok, f);
    nudge(3);
    CHECK_OK(conc_future_complete(f, 0));
    CHECK_R(conc_future_complete(f, 0), CONC_CLOSED);
    CHECK_R(conc_future_complete(f, 5), CONC_CLOSED);
    CHECK_R(conc_future_cancel(f), CONC_CLOSED);
    crew_join(&c);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    CHECK_EQ(conc_future_code(f), 0);
    conc_future_release(f);
    f = conc_future_new();
    for (i = 0; i < 3; i++) crew_add(&c, waits_failed, f);
    CHECK_OK(conc_future_complete(f, -2));
    crew_join(&c);
    CHECK_EQ(conc_future_code(f), -2);
    conc_future_release(f);
    f = conc_future_new();
    CHECK_OK(conc_future_cancel(f));
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_CANCELED);
    CHECK(conc_future_is_done(f));
    CHECK_R(conc_future_complete(f, 0), CONC_CLOSED);
    conc_future_release(f);
    CHECK_EQ(reports_now(), 0);
}

/* ---- several ----------------------------------------------------------------------------------------------------------- */

static void all_of(void) {
    conc_future *f[5];
    conc_cancel token = { NULL, 0 };
    int i;
    for (i = 0; i < 5; i++) f[i] = conc_future_new();
    CHECK_R(conc_wait_all(f, 5, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_wait_all(f, 5, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_future_complete(f[4], 3));
    CHECK_OK(conc_future_cancel(f[2]));
    CHECK_OK(conc_future_complete(f[0], 0));
    CHECK_OK(conc_future_complete(f[1], 0));
    CHECK_R(conc_wait_all(f, 5, CONC_NOW), CONC_BUSY); /* not all, though some have failed */
    CHECK_OK(conc_cancel_fire(&token));
    (void)conc_cancel_use(&token);
    CHECK_R(conc_wait_all(f, 5, CONC_FOREVER), CONC_CANCELED);
    (void)conc_cancel_use(NULL);
    CHECK_OK(conc_future_complete(f[3], 4));
    CHECK_R(conc_wait_all(f, 5, CONC_FOREVER), CONC_CANCELED); /* the first in the array */
    CHECK_R(conc_wait_all(f + 3, 2, CONC_FOREVER), CONC_FAILED);
    CHECK_OK(conc_wait_all(f, 2, CONC_NOW));
    for (i = 0; i < 5; i++) {
        CHECK(conc_future_result(f[i]) != CONC_PENDING);
        conc_future_release(f[i]);
    }
}

static int completes_later(void *arg) {
    nudge(3);
    return conc_future_complete((conc_future *)arg, 0);
}

static void any_of(void) {
    conc_future *f[1000];
    conc_cancel token = { NULL, 0 };
    crew c = { 0 };
    int i;
    for (i = 0; i < 1000; i++) f[i] = conc_future_new();
    CHECK_R(conc_wait_any(f, 1000, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_wait_any(f, 1000, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_cancel_fire(&token));
    (void)conc_cancel_use(&token);
    CHECK_R(conc_wait_any(f, 3, CONC_FOREVER), CONC_CANCELED);
    (void)conc_cancel_use(NULL);
    crew_add(&c, completes_later, f[700]);
    CHECK_EQ(conc_wait_any(f, 1000, CONC_FOREVER), 700);
    crew_join(&c);
    CHECK_OK(conc_future_complete(f[800], 0));
    CHECK_EQ(conc_wait_any(f, 1000, CONC_FOREVER), 700);
    CHECK_OK(conc_future_cancel(f[3]));
    CHECK_EQ(conc_wait_any(f, 1000, CONC_NOW), 3);
    for (i = 0; i < 1000; i++) conc_future_release(f[i]);
}

#define COMPLETED 3000
typedef struct completer {
    conc_future **f;
    int order[COMPLETED], n;
    bool slow;
} completer;

static int completes_all(void *arg) {
    completer *c = (completer *)arg;
    uint32_t seed = 3;
    int i;
    for (i = 0; i < c->n; i++) {
        CHECK_OK(conc_future_complete(c->f[c->order[i]], 0));
        if (check_random(&seed) % 64u == 0) nudge(check_random(&seed));
    }
    return 0;
}

static void as_completed(void) {
    static conc_future *f[COMPLETED], *copy[COMPLETED];
    static completer t;
    int i, k, round;
    uint32_t seed = 11;
    for (round = 0; round < 3; round++) {
        crew c = { 0 };
        conc_iter *it;
        conc_future *got;
        t.f = f;
        t.n = check_rounds_least(COMPLETED, 200);
        for (i = 0; i < t.n; i++) {
            copy[i] = f[i] = conc_future_new();
            t.order[i] = i;
        }
        for (i = t.n - 1; i > 0; i--) { /* mixed up */
            int x = t.order[i];
            k = (int)(check_random(&seed) % (uint32_t)(i + 1));
            t.order[i] = t.order[k];
            t.order[k] = x;
        }
        it = conc_as_completed(copy, (size_t)t.n);
        memset(copy, 0, sizeof copy); /* the array may go */
        crew_add(&c, completes_all, &t);
        if (round == 2) crew_join(&c); /* all have ended before the first is asked for */
        for (i = 0; i < t.n; i++) {
            if (round == 1 && i == t.n / 2) break; /* closed early */
            if (!CHECK_OK(conc_next(it, &got))) break;
            if (!CHECK(got == f[t.order[i]])) break;
        }
        if (round != 1) CHECK_R(conc_next(it, &got), CONC_CLOSED);
        conc_iter_close(it);
        if (round != 2) crew_join(&c);
        for (i = 0; i < t.n; i++) conc_future_release(f[i]);
    }
}

/* Ended before it is made, canceled, of a pool. */
static void as_completed_of_a_pool(void) {
    conc_pool *p = pool_of(2);
    conc_future *f[20], *got;
    conc_cancel token = { NULL, 0 };
    gated g;
    conc_iter *it;
    int i, n = 0;
    memset(&g, 0, sizeof g);
    for (i = 0; i < 19; i++) f[i] = SUBMIT(p, returns_0, NULL);
    f[19] = SUBMIT(p, at_gate, &g);
    it = conc_as_completed(f, 20);
    for (i = 0; i < 19; i++) {
        CHECK_OK(conc_next(it, &got));
        CHECK(conc_future_is_done(got) && got != f[19]);
    }
    CHECK_OK(conc_cancel_fire(&token));
    (void)conc_cancel_use(&token);
    CHECK_R(conc_next(it, &got), CONC_CANCELED);
    CHECK_R(conc_next(it, &got), CONC_CANCELED);
    (void)conc_cancel_use(NULL);
    conc_iter_close(it);
    it = conc_as_completed(f, 20);
    let_go(&g);
    CONC_FOREACH(conc_future *, x, it) {
        CHECK(conc_future_is_done(x));
        if (++n == 20) CHECK(x == f[19]);
    }
    CHECK_EQ(n, 20);
    for (i = 0; i < 20; i++) conc_future_release(f[i]);
    FINISH(p);
}

/* ---- tasks that wait for tasks of their pool --------------------------------------------------------------------------- */

typedef struct link {
    conc_pool *pool;
    int depth, reached;
    bool by_all;
    int64_t sum;
} link_of;

static int links(void *arg) { /* waits for one more, and so on */
    link_of *l = (link_of *)arg;
    link_of next = *l;
    conc_future *f;
    if (l->depth == 0) return 0;
    next.depth--;
    f = SUBMIT(l->pool, links, &next);
    if (l->by_all) CHECK_OK(conc_wait_all(&f, 1, CONC_FOREVER));
    else CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    CHECK(conc_pool_current() == l->pool);
    l->reached = next.reached + 1;
    return 0;
}

static void chains(void) {
    unsigned n;
    for (n = 1; n <= 3; n++) {
        conc_pool_desc d = pool_desc(n, n, 0);
        link_of l;
        conc_future *f;
        int by_all;
        d.stack_size = (size_t)16 << 20;
        for (by_all = 0; by_all < 2; by_all++) {
            memset(&l, 0, sizeof l);
            l.pool = pool_make(&d);
            l.depth = CHECK_ASAN || CHECK_TSAN ? 500 : 1000;
            l.by_all = by_all != 0;
            f = SUBMIT(l.pool, links, &l);
            CHECK_OK(conc_future_wait(f, CONC_FOREVER));
            CHECK_EQ(l.reached, l.depth);
            conc_future_release(f);
            CHECK_EQ(FINISH(l.pool).completed, l.depth + 1);
        }
    }
}

/* Each waits for the one handed in after it, all of them queued before the first begins. */
typedef struct ring {
    conc_event *start;
    conc_future **f;
    int at, n;
    conc_result result;
} ring;

static int waits_for_next(void *arg) {
    ring *r = (ring *)arg;
    (void)conc_event_wait(r->start, CONC_FOREVER);
    r->result = r->at + 1 < r->n ? conc_future_wait(r->f[r->at + 1], CONC_FOREVER) : CONC_OK;
    return 0;
}

static void rows(void) {
    static ring r[1000];
    static conc_future *f[1000];
    unsigned threads;
    for (threads = 1; threads <= 4; threads++) {
        conc_pool_desc d = pool_desc(threads, threads, 0);
        conc_event start = { 0 };
        conc_pool *p;
        int i, n = CHECK_ASAN || CHECK_TSAN ? 500 : 1000;
        d.stack_size = (size_t)16 << 20;
        p = pool_make(&d);
        for (i = 0; i < n; i++) {
            r[i].start = &start;
            r[i].f = f;
            r[i].at = i;
            r[i].n = n;
            r[i].result = CONC_PENDING;
            f[i] = SUBMIT(p, waits_for_next, &r[i]);
        }
        CHECK_OK(conc_event_set(&start));
        CHECK_OK(conc_wait_all(f, (size_t)n, CONC_FOREVER));
        for (i = 0; i < n; i++) {
            CHECK_OK(r[i].result);
            conc_future_release(f[i]);
        }
        CHECK_EQ(FINISH(p).completed, n);
    }
}

/* A tree of tasks, each of which waits for its children, in a pool that has far fewer threads than there are waits. */
typedef struct tree {
    conc_pool *pool;
    int depth, nodes;
    bool by_all;
} tree;

static int grows(void *arg) {
    tree *t = (tree *)arg;
    tree child[3];
    conc_future *f[3];
    int i;
    t->nodes = 1;
    if (t->depth == 0) return 0;
    for (i = 0; i < 3; i++) {
        child[i] = *t;
        child[i].depth--;
        f[i] = SUBMIT(t->pool, grows, &child[i]);
    }
    if (t->by_all) CHECK_OK(conc_wait_all(f, 3, CONC_FOREVER));
    for (i = 0; i < 3; i++) {
        CHECK_OK(conc_future_wait(f[i], CONC_FOREVER));
        conc_future_release(f[i]);
        t->nodes += child[i].nodes;
    }
    return 0;
}

static void trees(void) {
    int round;
    for (round = 0; round < check_rounds_least(30, 6); round++) {
        tree t;
        conc_future *f;
        conc_pool_desc d = pool_desc(1 + (unsigned)round % 4, 0, 0);
        d.stack_size = (size_t)4 << 20;
        d.by_priority = round % 2 != 0;
        t.pool = pool_make(&d);
        t.depth = 5;
        t.by_all = round / 2 % 2 != 0;
        f = SUBMIT(t.pool, grows, &t);
        CHECK_OK(conc_future_wait(f, CONC_FOREVER));
        CHECK_EQ(t.nodes, 364);
        conc_future_release(f);
        CHECK_EQ(FINISH(t.pool).completed, 364);
    }
}

/* A task that is run by who waits for it has its own token, and the waiter has his afterwards. */
typedef struct helped {
    conc_pool *pool;
    conc_thread *thread;
    conc_cancel *token;
    conc_pool *current;
    conc_future *f;
    conc_result result;
} helped;

static int is_helped(void *arg) {
    helped *h = (helped *)arg;
    h->thread = conc_thread_current();
    h->token = conc_cancel_current();
    h->current = conc_pool_current();
    (void)conc_cancel_use(NULL);
    return 0;
}

static int helps(void *arg) {
    helped *h = (helped *)arg;
    conc_cancel *token = conc_cancel_current();
    conc_future *f = SUBMIT(h->pool, is_helped, h);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    CHECK(h->thread == conc_thread_current());
    CHECK(h->current == h->pool && conc_pool_current() == h->pool);
    CHECK(token != NULL && h->token != token && conc_cancel_current() == token);
    return 0;
}

static void helping(void) {
    conc_pool_desc d = pool_desc(1, 1, 0);
    helped h;
    gated g;
    conc_future *f;
    memset(&h, 0, sizeof h);
    h.pool = pool_make(&d);
    f = SUBMIT(h.pool, helps, &h);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    FINISH(h.pool);
    /* from outside, if the pool says so */
    d.waiters_help = true;
    memset(&h, 0, sizeof h);
    memset(&g, 0, sizeof g);
    h.pool = pool_make(&d);
    CHECK_OK(conc_pool_run(h.pool, at_gate, &g));
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    f = SUBMIT(h.pool, is_helped, &h);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER)); /* or it would wait for the gate */
    CHECK(h.thread == conc_thread_current());
    CHECK(h.current == h.pool && conc_pool_current() == NULL);
    CHECK(conc_cancel_current() == NULL);
    conc_future_release(f);
    let_go(&g);
    CHECK_EQ(FINISH(h.pool).completed, 2);
    /* and not, if it does not */
    d.waiters_help = false;
    memset(&h, 0, sizeof h);
    memset(&g, 0, sizeof g);
    h.pool = pool_make(&d);
    CHECK_OK(conc_pool_run(h.pool, at_gate, &g));
    CHECK_OK(conc_event_wait(&g.begun, CONC_FOREVER));
    f = SUBMIT(h.pool, is_helped, &h);
    CHECK_R(conc_future_wait(f, conc_after(0.001)), CONC_TIMEOUT);
    let_go(&g);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    CHECK(h.thread != conc_thread_current());
    conc_future_release(f);
    FINISH(h.pool);
}

/* ---- waits that could never end ------------------------------------------------------------------------------------------ */

static int waits_for_other(void *arg) {
    ring *r = (ring *)arg;
    (void)conc_event_wait(r->start, CONC_FOREVER);
    r->result = r->n < 0 ? conc_wait_all(&r->f[(r->at + 1) % -r->n], 1, CONC_FOREVER)
                         : conc_future_wait(r->f[(r->at + 1) % r->n], CONC_FOREVER);
    return 0;
}

/* n tasks in `pools` pools of `threads` threads each wait for the next, round and round. */
static void ring_of(int n, int pools, unsigned threads, bool by_all) {
    ring r[8];
    conc_future *f[8];
    conc_pool *p[2];
    conc_event start = { 0 };
    int i, deadlocks = 0;
    for (i = 0; i < pools; i++) p[i] = pool_of(threads);
    for (i = 0; i < n; i++) {
        r[i].start = &start;
        r[i].f = f;
        r[i].at = i;
        r[i].n = by_all ? -n : n;
        r[i].result = CONC_PENDING;
        f[i] = SUBMIT(p[i % pools], waits_for_other, &r[i]);
    }
    nudge((unsigned)n);
    CHECK_OK(conc_event_set(&start));
    CHECK_OK(conc_wait_all(f, (size_t)n, CONC_FOREVER));
    for (i = 0; i < n; i++) {
        if (r[i].result == CONC_DEADLOCK) deadlocks++;
        else CHECK_OK(r[i].result);
        conc_future_release(f[i]);
    }
    CHECK(deadlocks >= 1);
    for (i = 0; i < pools; i++) FINISH(p[i]);
}

static void deadlocks(void) {
    int i, n, by_all;
    for (i = 0; i < check_rounds_least(15, 3); i++) {
        for (by_all = 0; by_all < 2; by_all++) {
            ring_of(1, 1, 1, by_all != 0); /* itself */
            for (n = 2; n <= 4; n++) {
                ring_of(n, 1, (unsigned)n, by_all != 0); /* all of them run */
                ring_of(n, 1, 1, by_all != 0); /* one within the other */
                ring_of(n, 1, (unsigned)n - 1, by_all != 0);
                ring_of(n, 2, (unsigned)n, by_all != 0); /* through two pools */
            }
        }
    }
    CHECK_EQ(reports_now(), 0);
}

/* Tasks that wait for others, never in a ring: none is told of a deadlock. */
#define WEB 60
typedef struct web {
    conc_event *start;
    conc_future **f;
    int at;
    uint32_t seed;
} web;

static int waits_for_later(void *arg) {
    web *w = (web *)arg;
    int i, step = w->at % 7 == 0 ? 7 : 1; /* every seventh may be in a pool of its own, and waits for its like */
    (void)conc_event_wait(w->start, CONC_FOREVER);
    for (i = 0; i < 3; i++) {
        int left = (WEB - 1 - w->at) / step;
        if (left == 0) break;
        CHECK_OK(conc_future_wait(w->f[w->at + step * (1 + (int)(check_random(&w->seed) % (uint32_t)left))], CONC_FOREVER));
    }
    return 0;
}

static void no_deadlocks(void) {
    web w[WEB];
    conc_future *f[WEB];
    int round, i;
    for (round = 0; round < check_rounds_least(150, 20); round++) {
        conc_event start = { 0 };
        conc_pool *p[2];
        p[0] = pool_of(1 + (unsigned)round % 5);
        p[1] = round % 2 ? p[0] : pool_of(1 + (unsigned)round % 3);
        for (i = 0; i < WEB; i++) {
            w[i].start = &start;
            w[i].f = f;
            w[i].at = i;
            w[i].seed = (uint32_t)(round * 100 + i + 1);
            f[i] = SUBMIT(i % 7 == 0 ? p[1] : p[0], waits_for_later, &w[i]);
        }
        CHECK_OK(conc_event_set(&start));
        CHECK_OK(conc_wait_all(f, WEB, CONC_FOREVER));
        for (i = 0; i < WEB; i++) conc_future_release(f[i]);
        FINISH(p[0]);
        if (p[1] != p[0]) FINISH(p[1]);
    }
}

/* ---- races ------------------------------------------------------------------------------------------------------------------ */

/* One future a round: waiters, a canceler, a completer and who adds callbacks, all at once. */
typedef struct race {
    conc_semaphore go[6], done; /* each its own, lest one runs twice in a round */
    conc_future *f;             /* guarded by the semaphores' order */
    bool over;
    tally waits_ok, waits_canceled, completed, canceled, called, asked;
} race;

static race field;

static bool on_your_marks(int who) {
    CHECK_OK(conc_semaphore_acquire(&field.go[who], CONC_FOREVER));
    return !field.over;
}

static int races_to_wait(void *arg) {
    int how = *(int *)arg;
    while (on_your_marks(how)) {
        conc_future *f = conc_future_retain(field.f);
        conc_op ops[1];
        conc_result r;
        if (how == 1) {
            ops[0] = conc_op_future(f);
            r = conc_select(ops, 1, CONC_FOREVER) == 0 ? ops[0].result : CONC_INVALID;
        } else if (how == 2) {
            r = conc_wait_any(&f, 1, CONC_FOREVER) == 0 ? conc_future_result(f) : CONC_INVALID;
        } else {
            r = conc_future_wait(f, CONC_FOREVER);
        }
        (void)tally_add(r == CONC_OK ? &field.waits_ok : &field.waits_canceled, 1);
        CHECK(r == CONC_OK || r == CONC_CANCELED);
        conc_future_release(f);
        CHECK_OK(conc_semaphore_release(&field.done, 1));
    }
    return 0;
}

static void called(conc_future *f, void *arg) {
    CHECK(conc_future_is_done(f));
    (void)tally_add((tally *)arg, 1);
}

static int races_to_end(void *arg) {
    int how = *(int *)arg;
    uint32_t seed = (uint32_t)how + 1;
    while (on_your_marks(3 + how)) {
        conc_future *f = conc_future_retain(field.f);
        conc_result r;
        check_spin_us(5, &seed);
        if (how == 0) {
            r = conc_future_complete(f, 0);
            if (r == CONC_OK) (void)tally_add(&field.completed, 1);
            else CHECK_R(r, CONC_CLOSED);
        } else if (how == 1) {
            r = conc_future_cancel(f);
            if (r == CONC_OK) (void)tally_add(&field.canceled, 1);
            else CHECK_R(r, CONC_CLOSED);
        } else {
            int i;
            for (i = 0; i < 3; i++) {
                CHECK_OK(conc_future_then(f, called, &field.called));
                (void)tally_add(&field.asked, 1);
            }
        }
        conc_future_release(f);
        CHECK_OK(conc_semaphore_release(&field.done, 1));
    }
    return 0;
}

static void races(void) {
    static int hows[] = { 0, 1, 2 };
    crew c = { 0 };
    int i, k, n = check_rounds_least(4000, 100);
    memset(&field, 0, sizeof field);
    for (i = 0; i < 3; i++) crew_add(&c, races_to_wait, &hows[i]);
    for (i = 0; i < 3; i++) crew_add(&c, races_to_end, &hows[i]);
    for (i = 0; i < n; i++) {
        conc_result r;
        field.f = conc_future_new();
        for (k = 0; k < 6; k++) CHECK_OK(conc_semaphore_release(&field.go[k], 1));
        for (k = 0; k < 6; k++) CHECK_OK(conc_semaphore_acquire(&field.done, CONC_FOREVER));
        r = conc_future_result(field.f);
        CHECK(r == CONC_OK || r == CONC_CANCELED);
        CHECK_EQ(tally_of(&field.completed) + tally_of(&field.canceled), i + 1);
        CHECK_EQ(tally_of(&field.waits_ok), 3 * tally_of(&field.completed));
        CHECK_EQ(tally_of(&field.waits_canceled), 3 * tally_of(&field.canceled));
        conc_future_release(field.f);
        if (!CHECK_EQ(tally_of(&field.called), tally_of(&field.asked))) break; /* each once, by the end */
    }
    field.over = true;
    for (k = 0; k < 6; k++) CHECK_OK(conc_semaphore_release(&field.go[k], 1));
    crew_join(&c);
}

/* The same with a pool's tasks. */
typedef struct pool_race {
    conc_future *f;
    conc_result how;
    int kind;
    tally *called;
    uint32_t seed;
} pool_race;

static int meets(void *arg) {
    pool_race *r = (pool_race *)arg;
    check_spin_us(10, &r->seed);
    if (r->kind == 0) {
        r->how = conc_future_cancel(r->f);
    } else if (r->kind == 1) {
        r->how = conc_future_wait(r->f, CONC_FOREVER);
    } else {
        r->how = conc_future_then(r->f, called, r->called);
        CHECK_OK(r->how);
    }
    conc_future_release(r->f); /* maybe the last */
    return 0;
}

static int once_a_round(void *arg) {
    ++*(int *)arg;
    return 0;
}

static void pool_races(void) {
    conc_pool *p = pool_of(2), *others = pool_of(3);
    int i, k, n = check_rounds_least(3000, 100);
    uint32_t seed = 77;
    for (i = 0; i < n; i++) {
        pool_race r[3];
        conc_future *f, *g[3];
        tally calls = { { 0 }, 0 };
        int ran = 0;
        f = SUBMIT(p, once_a_round, &ran);
        for (k = 0; k < 3; k++) {
            r[k].f = conc_future_retain(f);
            r[k].kind = k;
            r[k].seed = check_random(&seed);
            r[k].called = &calls;
            g[k] = SUBMIT(others, meets, &r[k]);
        }
        CHECK_OK(conc_wait_all(g, 3, CONC_FOREVER));
        UNTIL(conc_future_is_done(f));
        CHECK(ran == 0 || ran == 1);
        CHECK_R(conc_future_result(f), ran ? CONC_OK : CONC_CANCELED);
        CHECK_R(r[1].how, ran ? CONC_OK : CONC_CANCELED);
        if (ran) CHECK(r[0].how == CONC_BUSY || r[0].how == CONC_CLOSED);
        else CHECK_OK(r[0].how);
        UNTIL(tally_of(&calls) == 1);
        conc_future_release(f);
        for (k = 0; k < 3; k++) conc_future_release(g[k]);
    }
    FINISH(others);
    CHECK_EQ(FINISH(p).accepted, n);
}

int main(void) {
    check_begin("future");
    conc_set_error_hook(count_report, NULL);
    RUN(results);
    RUN(misused);
    RUN(in_select);
    RUN(in_coroutines);
    RUN(canceling);
    RUN(canceled_in_the_queue);
    RUN(callbacks);
    RUN(unseen);
    RUN(own);
    RUN(all_of);
    RUN(any_of);
    RUN(as_completed);
    RUN(as_completed_of_a_pool);
    RUN(chains);
    RUN(rows);
    RUN(trees);
    RUN(helping);
    RUN(deadlocks);
    RUN(no_deadlocks);
    RUN(races);
    RUN(pool_races);
    CHECK_EQ(reports_now(), 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
