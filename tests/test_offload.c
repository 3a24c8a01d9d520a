/* Offloading: blocking calls in threads of their own, awaited by coroutines and threads. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static conc_loop *loop;

static void begin(void) {
    loop = conc_loop_new(NULL);
    if (!CHECK(loop != NULL)) exit(1);
}

static void finish(void) {
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_loop_free(loop));
}

static conc_mutex lock; /* guards these */
static int inside, most, calls;
static conc_event gate;

static int in_and_out(int by) {
    int n = 0;
    CONC_WITH_LOCK(&lock) {
        inside += by;
        if (inside > most) most = inside;
        if (by < 0) calls++;
        n = inside;
    }
    return n;
}

typedef struct sum {
    int a, b, result;
    char name[32];
    bool daemon, in_loop;
} sum;

static int add(void *arg) {
    sum *s = (sum *)arg;
    s->result = s->a + s->b;
    snprintf(s->name, sizeof s->name, "%s", conc_thread_name(NULL));
    s->daemon = conc_thread_is_daemon(NULL);
    s->in_loop = conc_loop_current() != NULL || conc_task_current() != NULL;
    return 0;
}

static int fails(void *arg) {
    (void)arg;
    return 42;
}

static int ping(void *arg) {
    (void)arg;
    (void)in_and_out(1);
    (void)in_and_out(-1);
    return 0;
}

static int waits_at_gate(void *arg) {
    (void)in_and_out(1);
    (void)conc_event_wait(&gate, CONC_FOREVER);
    *(int *)arg += 1;
    (void)in_and_out(-1);
    return 0;
}

CONC_CORO(offloads, sum s; sum copy; int x; bool *done;) {
    CO_BEGIN;
    self->s.a = 3;
    self->s.b = 4;
    CO_AWAIT(conc_op_offload(NULL, add, &self->s));
    CHECK_OK(self->co.result);
    CHECK_EQ(self->s.result, 7);
    CHECK_STR(self->s.name, "conc-offload");
    CHECK(self->s.daemon && !self->s.in_loop);
    CO_AWAIT(conc_op_offload(NULL, fails, &self->x));
    CHECK_R(self->co.result, CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "42");
    CO_AWAIT(conc_op_offload_bytes(NULL, ping, NULL, 0)); /* no argument */
    CHECK_OK(self->co.result);
    CO_AWAIT(conc_op_offload_bytes(NULL, ping, NULL, 100)); /* nor here */
    CHECK_OK(self->co.result);
    CO_AWAIT(conc_op_offload(NULL, NULL, &self->x));
    CHECK_R(self->co.result, CONC_INVALID);
    CO_AWAIT_UNTIL(conc_op_offload_bytes(NULL, ping, NULL, 0), CONC_NOW);
    CHECK_R(self->co.result, CONC_BUSY);
    *self->done = true;
    CO_END;
}

CONC_CORO(counts, int *turns; bool *done;) {
    CO_BEGIN;
    while (!*self->done) {
        ++*self->turns;
        CO_YIELD;
    }
    CO_END;
}

static void offloading(void) {
    int turns = 0;
    bool done = false;
    begin();
    CHECK_OK(CONC_GO(loop, offloads, .done = &done));
    CHECK_OK(CONC_GO(loop, counts, .turns = &turns, .done = &done)); /* the loop goes on meanwhile */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(turns > 1);
    finish();
}

/* In the thread world, and as one of several. */
static void by_threads(void) {
    sum s = { 1, 2, 0, "", false, false };
    conc_op ops[2];
    conc_event e = { 0 };
    int before = 0, after = 0;
    CHECK_OK(conc_wait(conc_op_offload(NULL, add, &s), CONC_FOREVER));
    CHECK_EQ(s.result, 3);
    CONC_WITH_LOCK(&lock) before = calls;
    CHECK_R(conc_try(conc_op_offload_bytes(NULL, ping, NULL, 0)), CONC_BUSY); /* does not start it */
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_offload_bytes(NULL, ping, NULL, 0);
    CHECK_OK(conc_event_set(&e));
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0); /* nor this, if another is ready */
    CONC_WITH_LOCK(&lock) after = calls;
    CHECK_EQ(after, before);
    CHECK_OK(conc_event_reset(&e));
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_offload(NULL, add, &s);
    s.a = 10;
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
    CHECK_OK(ops[1].result);
    CHECK_EQ(s.result, 12);
    CHECK_MISUSE(conc_wait(conc_op_offload_bytes(NULL, NULL, NULL, 0), CONC_FOREVER), CONC_INVALID);
}

/* A wait that ends before: fn goes on with its copy, and what it does with that is dropped. */
CONC_CORO(gives_up, int x; conc_op ops[2]; int how; conc_co_timeout limit; conc_event *e;) {
    CO_BEGIN;
    self->x = 5;
    if (self->how == 0) CO_AWAIT_UNTIL(conc_op_offload(NULL, waits_at_gate, &self->x), conc_after(0.02));
    if (self->how == 1) {
        CO_TIMEOUT(self->limit, 0.02) CO_AWAIT(conc_op_offload(NULL, waits_at_gate, &self->x));
        CHECK(self->limit.expired);
    }
    if (self->how == 2) CO_TRY_AWAIT(conc_op_offload(NULL, waits_at_gate, &self->x), CONC_FOREVER);
    CHECK_R(self->co.result, self->how == 2 ? CONC_CANCELED : CONC_TIMEOUT);
    CHECK_EQ(self->x, 5);
    self->x = 6;
    CO_RETURN(self->how);
    CO_END;
}

static void given_up(void) {
    int how, n = 0, code;
    begin();
    CHECK_OK(conc_event_reset(&gate));
    CONC_WITH_LOCK(&lock) calls = inside = 0;
    for (how = 0; how < 3; how++) {
        int before = in_and_out(0);
        conc_task *t = CONC_SPAWN(loop, gives_up, .how = how);
        (void)conc_loop_run(loop, CONC_NOW);
        /* It runs, and stands at the gate; or, where all is slow, it was given up before it began. */
        UNTIL(in_and_out(0) > before || conc_task_has_ended(t));
        if (how == 2) CHECK_OK(conc_task_cancel(t));
        CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
        CHECK_EQ(code, how);
    }
    CHECK_OK(conc_event_set(&gate));
    UNTIL(in_and_out(0) == 0);
    CONC_WITH_LOCK(&lock) n = calls;
    CHECK(n >= 1 && n <= 3);
    finish();
}

/* More than there may be threads: all come to their turn. */
CONC_CORO(waits_for_call, int x; bool cancelable;) {
    CO_BEGIN;
    self->x = 1;
    CO_AWAIT(conc_op_offload(NULL, waits_at_gate, &self->x));
    CHECK_OK(self->co.result);
    CHECK_EQ(self->x, 2);
    CO_END;
}

static void many(void) {
    enum { N = 100 };
    static conc_task *t[N];
    int i, n = 0, m = 0;
    begin();
    CHECK_OK(conc_event_reset(&gate));
    CONC_WITH_LOCK(&lock) calls = inside = most = 0;
    for (i = 0; i < N; i++) t[i] = CONC_SPAWN(loop, waits_for_call);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    UNTIL(in_and_out(0) == 32);
    for (i = N - 10; i < N; i++) CHECK_OK(conc_task_cancel(t[i])); /* these have not begun, and never will */
    for (i = N - 10; i < N; i++) {
        int code = 0;
        CHECK_OK(conc_task_join(t[i], &code, CONC_FOREVER));
        CHECK_EQ(code, CONC_CANCELED);
    }
    CHECK_OK(conc_event_set(&gate));
    for (i = 0; i < N - 10; i++) CHECK_OK(conc_task_join(t[i], NULL, CONC_FOREVER));
    CONC_WITH_LOCK(&lock) {
        n = calls;
        m = most;
    }
    CHECK_EQ(n, N - 10);
    CHECK_EQ(m, 32);
    finish();
}

/* Given up at the moment when it is done. */
CONC_CORO(races, int i, n; sum s;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        self->s.a = self->i;
        self->s.b = 1;
        self->s.result = -1;
        CO_AWAIT_UNTIL(conc_op_offload(NULL, add, &self->s), conc_after(1e-6 * (self->i % 30)));
        if (self->co.result == CONC_OK) CHECK_EQ(self->s.result, self->i + 1);
        else CHECK_R(self->co.result, CONC_TIMEOUT);
        if (self->co.result == CONC_TIMEOUT) CHECK_EQ(self->s.result, -1);
    }
    CO_END;
}

static void racing(void) {
    int i;
    begin();
    for (i = 0; i < 4; i++) CHECK_OK(CONC_GO(loop, races, .n = check_rounds(300)));
    finish();
}

/* Locks taken there are the thread's, a token set there is gone with the call. */
static conc_cancel token;
static int uses_token(void *arg) {
    (void)arg;
    if (conc_cancel_current() != NULL) return 1;
    (void)conc_cancel_use(&token);
    return 0;
}

static void tokens(void) {
    int i;
    for (i = 0; i < 5; i++) CHECK_OK(conc_wait(conc_op_offload_bytes(NULL, uses_token, NULL, 0), CONC_FOREVER));
}

int main(void) {
    check_begin("offload");
    RUN(offloading);
    RUN(by_threads);
    RUN(given_up);
    RUN(many);
    RUN(racing);
    RUN(tokens);
    return check_end();
}
