/* Loops: running, stopping, posting, joining, from any thread; many loops in many threads; points in time; the dump, and who
 * looks whether a loop stands still. What a coroutine itself may do is in test_coro.c. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

#if !defined(_WIN32)
#include <sys/wait.h>
#endif

#if CHECK_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}
#endif

/* ---- shared ---- */

static conc_mutex report_lock;
static int reports, report_code;
static conc_result reported;
static char report[1000];
static void hook(const conc_error *e, void *user) {
    (void)user;
    CONC_WITH_LOCK(&report_lock) {
        reports++;
        reported = e->result;
        report_code = e->code;
        snprintf(report, sizeof report, "%s", e->text);
    }
}
static int reports_now(void) {
    int n = 0;
    CONC_WITH_LOCK(&report_lock) n = reports;
    return n;
}

static char trace[400];
static void tell_number(long long n) {
    char text[30];
    snprintf(text, sizeof text, "%lld ", n);
    if (strlen(trace) + strlen(text) < sizeof trace) strcat(trace, text);
}
#define TOLD(what) (CHECK_STR(trace, what), trace[0] = '\0')

static conc_loop *new_loop(bool until_stopped) {
    conc_loop_desc desc;
    conc_loop *loop;
    memset(&desc, 0, sizeof desc);
    desc.until_stopped = until_stopped;
    loop = conc_loop_new(&desc);
    if (!CHECK(loop != NULL)) exit(1);
    return loop;
}

/* Runs a loop in a thread of its own: CONC_OK or CONC_CLOSED is wanted. */
static int runs_loop(void *arg) {
    conc_result r = conc_loop_run((conc_loop *)arg, CONC_FOREVER);
    return r == CONC_OK || r == CONC_CLOSED ? 0 : (int)r;
}

static void runs_now(void *arg) {
    CHECK_OK(conc_event_set((conc_event *)arg));
}

/* Returns when it does. */
static void run_in_thread(crew *c, conc_loop *loop) {
    conc_event e;
    memset(&e, 0, sizeof e);
    CHECK_OK(conc_loop_post(loop, runs_now, &e));
    crew_add(c, runs_loop, loop);
    CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
}

CONC_CORO(returns, int code;) {
    CO_BEGIN;
    CO_RETURN(self->code);
    CO_END;
}

CONC_CORO(waits, conc_event *e; int code;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_event(self->e));
    CO_RETURN(self->code);
    CO_END;
}

CONC_CORO(sleeps, double seconds; int number;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(self->seconds));
    tell_number(self->number);
    CO_END;
}

CONC_CORO(forever, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_never());
    CO_END;
}

CONC_CORO(yields, int n;) {
    CO_BEGIN;
    while (self->n-- > 0) CO_YIELD;
    CO_END;
}

CONC_CORO(stops, ) {
    CO_BEGIN;
    CHECK_OK(conc_loop_stop(conc_loop_current()));
    CO_YIELD;
    tell_number(2);
    CO_END;
}

/* ---- what conc_loop_run() returns ---- */

static int stops_it(void *arg) {
    nudge(3);
    return conc_loop_stop((conc_loop *)arg) == CONC_OK ? 0 : 1;
}

static int fires_it(void *arg) {
    nudge(3);
    return conc_cancel_fire((conc_cancel *)arg) == CONC_OK ? 0 : 1;
}

static void runs(void) {
    conc_event e = { 0 };
    conc_cancel token = { NULL, 0 };
    conc_loop *loop = new_loop(false);
    conc_deadline d;
    crew c = { 0 };
    int i;
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER)); /* nothing to do */
    CHECK_OK(conc_loop_run(loop, CONC_NOW));
    CHECK_OK(CONC_GO(loop, waits, .e = &e));
    CHECK_EQ(conc_loop_count(loop), 1);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_R(conc_loop_run(loop, check_past()), CONC_TIMEOUT);
    d = conc_after(0.002);
    CHECK_R(conc_loop_run(loop, d), CONC_TIMEOUT);
    CHECK(conc_deadline_passed(d));
    CHECK_MISUSE(conc_loop_free(loop), CONC_BUSY);
    CHECK_HAS((conc_loop_free(loop), conc_error_detail()), "1 task");
    /* stopped: before, by another thread, by itself */
    CHECK_OK(conc_loop_stop(loop));
    CHECK_R(conc_loop_run(loop, CONC_FOREVER), CONC_CLOSED);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT); /* one stop, one return */
    for (i = 0; i < 5; i++) {
        crew_add(&c, stops_it, loop);
        CHECK_R(conc_loop_run(loop, CONC_FOREVER), CONC_CLOSED);
        crew_join(&c);
    }
    CHECK_OK(CONC_GO(loop, stops));
    CHECK_R(conc_loop_run(loop, CONC_FOREVER), CONC_CLOSED);
    /* the thread's token: fired while it sleeps; and before */
    (void)conc_cancel_use(&token);
    crew_add(&c, fires_it, &token);
    CHECK_R(conc_loop_run(loop, CONC_FOREVER), CONC_CANCELED);
    CHECK_R(conc_loop_run(loop, CONC_FOREVER), CONC_CANCELED);
    (void)conc_cancel_use(NULL); /* a join is canceled too */
    crew_join(&c);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT); /* its tasks were not canceled */
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("2 ");
    CHECK_EQ(conc_loop_count(loop), 0);
    CHECK_OK(conc_loop_free(loop));
}

static void until_stopped(void) {
    conc_loop *loop = new_loop(true);
    crew c = { 0 };
    int i;
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_R(conc_loop_run(loop, conc_after(0.001)), CONC_TIMEOUT);
    run_in_thread(&c, loop);
    for (i = 0; i < 20; i++) {
        int code = 0;
        conc_task *t = CONC_SPAWN(loop, returns, .code = i);
        CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
        CHECK_EQ(code, i);
    }
    UNTIL(conc_loop_count(loop) == 0);
    CHECK_MISUSE(conc_loop_free(loop), CONC_BUSY); /* it runs */
    CHECK_MISUSE(conc_loop_run(loop, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_loop_stop(loop));
    crew_join(&c);
    CHECK_OK(conc_loop_free(loop));
}

static void nulls(void) {
    conc_task *two[2] = { NULL, NULL };
    conc_loop *loop = new_loop(false), *other = new_loop(false);
    CHECK_MISUSE(conc_loop_run(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_loop_stop(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_loop_cancel(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_loop_post(NULL, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_loop_post(loop, NULL, NULL), CONC_INVALID);
    CHECK_OK(conc_loop_free(NULL));
    CHECK_EQ(conc_loop_count(NULL), 0);
    CHECK_MISUSE_NULL(CONC_SPAWN(NULL, returns), CONC_INVALID);
    CHECK_MISUSE_NULL(CONC_SPAWN_LATER(NULL, 1, returns), CONC_INVALID);
    CHECK_MISUSE(CONC_GO(NULL, returns), CONC_INVALID);
    CHECK_MISUSE(conc_task_join(NULL, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_join(NULL, NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_task_end(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_task_detach(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_task_cancel(NULL), CONC_INVALID);
    CHECK(!conc_task_has_ended(NULL));
    CHECK(conc_task_name(NULL) != NULL);
    CHECK_MISUSE(conc_task_join_all(NULL, 2, 0, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_task_ends(NULL, 2, 0), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_task_join_all(two, 2, 0, CONC_FOREVER), CONC_INVALID);
    CHECK_OK(conc_task_join_all(two, 0, 0, CONC_FOREVER));
    CHECK_OK(conc_wait(conc_op_task_ends(two, 0, 0), CONC_FOREVER));
    two[0] = CONC_SPAWN(loop, returns);
    CHECK_MISUSE(conc_task_join_all(two, 2, 0, CONC_FOREVER), CONC_INVALID);
    two[1] = CONC_SPAWN(other, returns);
    CHECK_MISUSE(conc_task_join_all(two, 2, 0, CONC_FOREVER), CONC_INVALID); /* of two loops */
    CHECK_OK(conc_task_join(two[0], NULL, CONC_FOREVER));
    CHECK_OK(conc_task_join(two[1], NULL, CONC_FOREVER));
    CHECK_OK(conc_loop_free(loop));
    CHECK_OK(conc_loop_free(other));
}

/* ---- posts ---- */

static void count_post(void *arg) {
    tell_number(*(int *)arg);
}

static void post_again(void *arg) {
    static int three = 3;
    CHECK(conc_loop_current() == (conc_loop *)arg && conc_task_current() == NULL);
    CHECK_OK(conc_loop_post((conc_loop *)arg, count_post, &three));
}

static void note_post(void *arg) {
    tell_number(*(int *)arg);
}

static void posts(void) {
    conc_loop *loop = new_loop(false);
    int n[6] = { 0, 1, 2, 3, 4, 5 }, i;
    for (i = 0; i < 6; i++) CHECK_OK(conc_loop_post(loop, count_post, &n[i]));
    TOLD("");
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("0 1 2 3 4 5 ");
    CHECK_OK(conc_loop_post(loop, post_again, loop));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("3 ");
    for (i = 0; i < 3; i++) CHECK_OK(conc_loop_post(loop, note_post, &n[i])); /* called by the free */
    CHECK_OK(conc_loop_free(loop));
    TOLD("0 1 2 ");
}

/* ---- later ---- */

static void later(void) {
    conc_loop *loop = new_loop(false);
    conc_task_desc desc;
    conc_deadline d;
    conc_task *t;
    int code = 5;
    /* (each at least its time apart; the loop may be late, and then starts them by their times all the same) */
    CHECK_OK(conc_task_detach(CONC_SPAWN_LATER(loop, 0.009, sleeps, .number = 3)));
    CHECK_OK(conc_task_detach(CONC_SPAWN_LATER(loop, 0.005, sleeps, .number = 2)));
    CHECK_OK(conc_task_detach(CONC_SPAWN_LATER(loop, 0.001, sleeps, .number = 1)));
    CHECK_OK(conc_task_detach(CONC_SPAWN_LATER(loop, -1, sleeps, .number = 0)));
    CHECK_EQ(conc_loop_count(loop), 4);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    TOLD("0 1 2 3 ");
    memset(&desc, 0, sizeof desc);
    d = conc_after(0.002);
    desc.start = d;
    desc.name = "later";
    t = CONC_SPAWN_EX(loop, &desc, returns, .code = 7);
    CHECK_STR(conc_task_name(t), "later");
    CHECK_R(conc_task_join(t, &code, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK(conc_deadline_passed(d));
    CHECK_EQ(code, 7);
    /* a loop is not done before they have run */
    t = CONC_SPAWN_LATER(loop, 1000, returns);
    CHECK_R(conc_loop_run(loop, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_loop_free(loop), CONC_BUSY);
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    CHECK_OK(conc_loop_free(loop));
}

/* ---- joins, by threads ---- */

static void joins_by_running(void) { /* nobody runs the loop, so who joins does */
    conc_loop *loop = new_loop(false);
    conc_task *t[4], *rest;
    conc_event e = { 0 };
    int code = 0, i;
    rest = CONC_SPAWN(loop, waits, .e = &e);
    t[0] = CONC_SPAWN(loop, returns, .code = 4);
    CHECK_OK(conc_task_join(t[0], &code, CONC_FOREVER)); /* not until all have ended */
    CHECK_EQ(code, 4);
    CHECK(!conc_task_has_ended(rest));
    CHECK_R(conc_task_join(rest, &code, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_task_join(rest, &code, conc_after(0.001)), CONC_TIMEOUT);
    for (i = 0; i < 4; i++) t[i] = CONC_SPAWN(loop, sleeps, .seconds = i == 3 ? 1000 : 0.001, .number = i);
    CHECK_OK(conc_loop_stop(loop)); /* a stop is not for those who join */
    CHECK_OK(conc_task_join_all(t, 4, 1, CONC_FOREVER));
    CHECK_OK(conc_task_join_all(t, 3, 0, CONC_FOREVER));
    TOLD("0 1 2 ");
    CHECK_R(conc_task_join_all(t, 4, 4, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_task_cancel(t[3]));
    CHECK_OK(conc_task_join_all(t, 4, 99, CONC_FOREVER)); /* as many as there are */
    for (i = 0; i < 4; i++) CHECK_OK(conc_task_join(t[i], &code, CONC_NOW));
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_task_join(rest, &code, CONC_FOREVER));
    CHECK_OK(conc_loop_free(loop));
}

typedef struct joining {
    conc_task *t;
    int code;
    conc_result r;
} joining;

static int joins_it(void *arg) {
    joining *j = (joining *)arg;
    j->r = conc_task_join(j->t, &j->code, CONC_FOREVER);
    return 0;
}

static int waits_for_its_end(void *arg) {
    return conc_wait(conc_op_task_end((conc_task *)arg), CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void joined_by_threads(void) {
    conc_loop *loop = new_loop(true);
    crew runner = { 0 };
    int i;
    run_in_thread(&runner, loop);
    for (i = 0; i < check_rounds(100); i++) {
        conc_event e = { 0 };
        joining j[3];
        crew c = { 0 };
        int k, ok = 0;
        conc_task *t = CONC_SPAWN(loop, waits, .e = &e, .code = 9);
        CHECK(t != NULL);
        for (k = 0; k < 3; k++) {
            j[k].t = t;
            j[k].code = -1;
            crew_add(&c, joins_it, &j[k]);
        }
        nudge((unsigned)i);
        CHECK_OK(conc_event_set(&e));
        crew_join(&c);
        for (k = 0; k < 3; k++) {
            ok += j[k].r == CONC_OK;
            CHECK_EQ(j[k].code, j[k].r == CONC_OK ? 9 : -1);
            if (j[k].r != CONC_OK) CHECK_R(j[k].r, CONC_INVALID);
        }
        CHECK_EQ(ok, 1);
        CHECK_MISUSE(conc_task_join(t, NULL, CONC_FOREVER), CONC_INVALID);
        CHECK_MISUSE(conc_task_detach(t), CONC_INVALID);
    }
    { /* its end, seen by several, and no handle gone */
        conc_event e = { 0 };
        crew c = { 0 };
        conc_task *t = CONC_SPAWN(loop, waits, .e = &e, .code = 0);
        for (i = 0; i < 3; i++) crew_add(&c, waits_for_its_end, t);
        CHECK_R(conc_try(conc_op_task_end(t)), CONC_BUSY);
        CHECK_R(conc_task_join(t, NULL, CONC_NOW), CONC_BUSY);
        CHECK_R(conc_task_join(t, NULL, conc_after(0.001)), CONC_TIMEOUT);
        CHECK_OK(conc_event_set(&e));
        crew_join(&c);
        CHECK_OK(conc_task_join(t, NULL, CONC_NOW));
    }
    CHECK_OK(conc_loop_stop(loop));
    crew_join(&runner);
    CHECK_OK(conc_loop_free(loop));
}

/* Several ends among several, awaited by a thread while another runs the loop. */
static void join_some(void) {
    conc_loop *loop = new_loop(true);
    crew runner = { 0 };
    int i, k;
    run_in_thread(&runner, loop);
    for (i = 0; i < check_rounds(100); i++) {
        conc_event e[4] = { { 0, false } };
        conc_task *t[4];
        size_t ended = 0;
        for (k = 0; k < 4; k++) t[k] = CONC_SPAWN(loop, waits, .e = &e[k]);
        CHECK_OK(conc_event_set(&e[i % 4]));
        CHECK_OK(conc_event_set(&e[(i + 2) % 4]));
        CHECK_OK(conc_task_join_all(t, 4, 2, CONC_FOREVER));
        for (k = 0; k < 4; k++) ended += conc_task_has_ended(t[k]);
        CHECK_EQ(ended, 2);
        for (k = 0; k < 4; k++) CHECK_OK(conc_event_set(&e[k]));
        CHECK_OK(conc_task_join_all(t, 4, 0, CONC_FOREVER));
        for (k = 0; k < 4; k++) CHECK_OK(conc_task_join(t[k], NULL, CONC_NOW));
    }
    CHECK_OK(conc_loop_stop(loop));
    crew_join(&runner);
    CHECK_OK(conc_loop_free(loop));
}

/* ---- failures that nobody sees ---- */

static void failures(void) {
    conc_loop *loop = new_loop(false);
    conc_task *t;
    int code = 0;
    reports = 0;
    CHECK_OK(CONC_GO(loop, returns, .code = 6)); /* detached */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports, 1);
    CHECK_R(reported, CONC_FAILED);
    CHECK_EQ(report_code, 6);
    CHECK_HAS(report, "\"returns\"");
    CHECK_HAS(report, "6");
    t = CONC_SPAWN(loop, returns, .code = 7); /* detached after its end */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports, 1);
    CHECK_OK(conc_task_detach(t));
    CHECK_EQ(reports, 2);
    t = CONC_SPAWN(loop, returns, .code = 8); /* joined without a look */
    CHECK_OK(conc_task_join(t, NULL, CONC_FOREVER));
    CHECK_EQ(reports, 3);
    CHECK_EQ(report_code, 8);
    t = CONC_SPAWN(loop, returns, .code = 9); /* looked at */
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, 9);
    CHECK_OK(CONC_GO(loop, returns, .code = 0));
    t = CONC_SPAWN(loop, forever); /* a cancel is no failure */
    CHECK_OK(conc_task_detach(t));
    CHECK_OK(conc_loop_cancel(loop));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports, 3);
    (void)CONC_SPAWN(loop, returns, .code = 10); /* never joined */
    (void)CONC_SPAWN(loop, returns, .code = 0);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports, 3);
    CHECK_OK(conc_loop_free(loop));
    CHECK_EQ(reports, 4);
    CHECK_EQ(report_code, 10);
    reports = 0;
}

/* Detached at the moment of their end: each failure is told, once. */
static void failures_of_detached(void) {
    conc_loop *loop = new_loop(true);
    crew runner = { 0 };
    int i, n = check_rounds(3000);
    run_in_thread(&runner, loop);
    for (i = 0; i < n; i++) {
        conc_task *t = CONC_SPAWN(loop, returns, .code = 1 + i);
        uint32_t seed = (uint32_t)i + 1;
        check_spin_us(5, &seed);
        CHECK_OK(conc_task_detach(t));
    }
    UNTIL(conc_loop_count(loop) == 0);
    CHECK_OK(conc_loop_stop(loop));
    crew_join(&runner);
    CHECK_OK(conc_loop_free(loop));
    CHECK_EQ(reports, n);
    reports = 0;
}

/* ---- many tasks ---- */

static int woken;
CONC_CORO(sleeper, conc_deadline due;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_until(self->due));
    CHECK(conc_deadline_passed(self->due));
    woken++;
    CO_END;
}

static void many_sleep(void) {
    conc_loop *loop = new_loop(false);
    uint32_t seed = 5;
    int i, n = check_rounds_least(100000, 1000);
    int64_t now = conc_clock_ns();
    woken = 0;
    for (i = 0; i < n; i++) {
        CHECK_OK(CONC_GO(loop, sleeper, .due = conc_deadline_at(now + (int64_t)(check_random(&seed) % 50000000u))));
    }
    CHECK_EQ(conc_loop_count(loop), n);
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(woken, n);
    for (i = 0; i < n; i++) CHECK_OK(CONC_GO(loop, sleeper, .due = conc_after(1000 + i % 100000)));
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_OK(conc_loop_cancel(loop)); /* all are canceled, in time for supper */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(woken, n);
    CHECK_OK(conc_loop_free(loop));
}

/* Short and long times, and some of them canceled: nobody is early, everybody comes. */
CONC_CORO(timed, conc_deadline due; int *ended;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_until(self->due));
    CHECK(conc_deadline_passed(self->due));
    CO_FINALLY;
    ++*self->ended;
    CO_END;
}

static void timers(void) {
    conc_loop *loop = new_loop(false);
    enum { N = 400 };
    static conc_task *t[N];
    uint32_t seed = 77;
    int i, ended = 0;
    for (i = 0; i < N; i++) {
        /* from nothing to twelve hours, and beyond all levels */
        int64_t after = i % 50 == 49 ? (int64_t)1 << 61 : (int64_t)(check_random(&seed) % 1000u) << (check_random(&seed) % 36u);
        t[i] = CONC_SPAWN(loop, timed, .due = conc_deadline_at(conc_clock_ns() + after), .ended = &ended);
        CHECK(t[i] != NULL);
    }
    CHECK_R(conc_loop_run(loop, conc_after(0.02)), CONC_TIMEOUT);
    for (i = 0; i < N; i++) {
        int code = 1;
        conc_result r = conc_task_cancel(t[i]);
        CHECK(r == CONC_OK || r == CONC_CLOSED);
        CHECK_OK(conc_task_join(t[i], &code, CONC_FOREVER));
        CHECK_EQ(code, r == CONC_OK ? CONC_CANCELED : 0);
    }
    CHECK_EQ(ended, N);
    CHECK_OK(conc_loop_free(loop));
}

/* ---- the wheel by itself ---- */

#if defined(CONC__IMPLEMENTED)
enum { WHEEL = 3000 };
static conc__wheel_node nodes[WHEEL];

/* Against a list: nothing early, all in time, of the same tick in the order of their entry. */
static void wheel(void) {
    static conc__wheel w;
    static bool in[WHEEL];
    uint32_t seed = 99;
    int round, i, count = 0;
    int64_t now = 123456789, step = 1 << 16;
    conc__wheel_begin(&w, now);
    memset(in, 0, sizeof in);
    CHECK(conc__wheel_next(&w) == INT64_MAX);
    CHECK(conc__wheel_expire(&w, now) == NULL);
    for (round = 0; round < check_rounds_least(20000, 2000); round++) {
        conc__wheel_node *node;
        int64_t next;
        for (i = 0; i < 3; i++) {
            int k = (int)(check_random(&seed) % WHEEL);
            if (in[k]) {
                conc__wheel_remove(&w, &nodes[k]);
                in[k] = false;
                count--;
            } else {
                int64_t after = (int64_t)(check_random(&seed) % 4096u) << (check_random(&seed) % 40u);
                if (round % 100 == 7) after = -after;
                if (round % 100 == 8) after = INT64_MAX - now;
                conc__wheel_add(&w, &nodes[k], now + after);
                in[k] = true;
                count++;
            }
        }
        CHECK_EQ(w.count, count);
        next = conc__wheel_next(&w);
        if (round % 16 == 0) {
            for (i = 0; i < WHEEL; i++) { /* never later than the first is due */
                if (in[i] && next != INT64_MIN && next - step > nodes[i].due) CHECK(!"too late");
            }
        }
        now += (int64_t)(check_random(&seed) % 4096u) << (check_random(&seed) % (round % 500 == 0 ? 40u : 24u));
        while ((node = conc__wheel_expire(&w, now)) != NULL) {
            CHECK(node->due <= now);
            CHECK(in[node - nodes]);
            in[node - nodes] = false;
            count--;
        }
        if (round % 16 == 0) {
            for (i = 0; i < WHEEL; i++) {
                if (in[i] && nodes[i].due <= now - step) CHECK(!"left behind"); /* at most a step late */
            }
        }
    }
    for (i = 0; i < WHEEL; i++) {
        conc__wheel_remove(&w, &nodes[i]);
        conc__wheel_remove(&w, &nodes[i]); /* harmless */
    }
    CHECK_EQ(w.count, 0);
    CHECK(conc__wheel_next(&w) == INT64_MAX);
    /* of one tick: as they came; and all before a later one, from whatever level */
    for (i = 0; i < 100; i++) conc__wheel_add(&w, &nodes[i], now + (int64_t)(i % 4) * ((int64_t)1 << 30) + ((int64_t)1 << 40));
    {
        int64_t last = INT64_MIN;
        int index = -1;
        for (i = 0; i < 100; i++) {
            conc__wheel_node *node = conc__wheel_expire(&w, now + ((int64_t)1 << 41));
            if (!CHECK(node != NULL)) break;
            CHECK(node->due > last || (node->due == last && node - nodes > index));
            last = node->due;
            index = (int)(node - nodes);
        }
        CHECK(conc__wheel_expire(&w, now + ((int64_t)1 << 41)) == NULL);
    }
}
#endif

/* ---- many threads, one loop ---- */

static conc_loop *target;
static conc_queue *items;
static uint32_t seeds;
static conc_semaphore done;

CONC_CORO(takes, int x; int how;) {
    CO_BEGIN;
    if (self->how == 0) CO_AWAIT(conc_op_get(items, &self->x));
    if (self->how == 1) CO_AWAIT(conc_op_sleep(0.00001));
    if (self->how == 2) CO_YIELD;
    if (self->how == 3) CO_AWAIT(conc_op_never());
    CO_FINALLY;
    CHECK_OK(conc_semaphore_release(&done, 1));
    CO_END;
}

static void gives_permit(void *arg) {
    (void)arg;
    CHECK_OK(conc_semaphore_release(&done, 1));
}

static int hammers(void *arg) {
    int i, n = check_rounds(3000), wanted = 0, x = 1;
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    for (i = 0; i < n; i++) {
        uint32_t how = check_random(&seed) % 6;
        conc_task *t;
        wanted++;
        if (how == 4) {
            CHECK_OK(conc_loop_post(target, gives_permit, NULL));
            continue;
        }
        if (how == 5) {
            wanted--;
            CHECK_OK(conc_queue_put(items, &x, CONC_FOREVER)); /* for one that takes */
            how = 0;
            wanted++;
        }
        t = CONC_SPAWN(target, takes, .how = (int)how);
        if (!CHECK(t != NULL)) break;
        switch (check_random(&seed) % 3) {
        case 0:
            if (how == 3 || how == 0) {
                /* (one that has not begun has no clean-up part to run) */
                conc_result r = conc_task_cancel(t);
                int code = 0;
                CHECK(r == CONC_OK || r == CONC_CLOSED);
                CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
                CHECK(code == CONC_CANCELED || code == 0);
                wanted--;
                break;
            }
            CHECK_OK(conc_task_join(t, NULL, CONC_FOREVER));
            break;
        case 1:
            if (how == 3) (void)conc_task_cancel(t);
            if (how == 3) wanted--;
            CHECK_OK(conc_task_detach(t));
            break;
        default:
            if (how == 3 || how == 0) {
                (void)conc_task_cancel(t);
                CHECK_OK(conc_wait(conc_op_join(t, NULL), CONC_FOREVER));
                wanted--;
            } else {
                CHECK_OK(conc_wait(conc_op_task_end(t), CONC_FOREVER));
                CHECK_OK(conc_task_detach(t));
            }
        }
    }
    (void)wanted;
    return 0;
}

static void hammered(void) {
    crew c = { 0 }, runner = { 0 };
    int i;
    target = new_loop(true);
    items = conc_queue_new(sizeof(int), 0);
    run_in_thread(&runner, target);
    for (i = 0; i < 4; i++) crew_add(&c, hammers, (void *)(uintptr_t)(1000 + ++seeds));
    crew_join(&c);
    CHECK_OK(conc_queue_close(items)); /* all that still wait for an item end */
    UNTIL(conc_loop_count(target) == 0);
    CHECK_OK(conc_loop_stop(target));
    crew_join(&runner);
    CHECK_OK(conc_loop_free(target));
    CHECK_OK(conc_queue_free(items));
}

/* Producers in threads, consumers among the tasks, and the other way round: every item once. */
static conc_queue *to_tasks, *to_threads;

CONC_CORO(passes_on, long x; long n;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(to_tasks, &self->x));
        if (self->co.result != CONC_OK) break;
        CO_AWAIT(conc_op_put(to_threads, &self->x));
        CHECK_OK(self->co.result);
    }
    CHECK_R(self->co.result, CONC_CLOSED);
    CO_END;
}

static int gives(void *arg) {
    long i, n = *(long *)arg;
    for (i = 1; i <= n; i++) {
        if (conc_queue_put(to_tasks, &i, CONC_FOREVER) != CONC_OK) return 1;
    }
    return 0;
}

static int sums(void *arg) {
    CONC_FOR_QUEUE(long, x, to_threads) *(long *)arg += x;
    return 0;
}

static void through_a_loop(void) {
    size_t capacities[] = { 1, 7, 0, 0 };
    int k, i;
    for (k = 0; k < 4; k++) {
        conc_loop *loop = new_loop(false);
        conc_queue_desc desc;
        crew givers = { 0 }, takers = { 0 }, runner = { 0 };
        long n = check_rounds(5000), total[3] = { 0, 0, 0 };
        memset(&desc, 0, sizeof desc);
        desc.kind = k == 3 ? CONC_HANDOFF : CONC_FIFO;
        to_tasks = conc_queue_new_ex(sizeof(long), capacities[k], &desc);
        to_threads = conc_queue_new_ex(sizeof(long), capacities[k], &desc);
        for (i = 0; i < 5; i++) CHECK_OK(CONC_GO(loop, passes_on));
        run_in_thread(&runner, loop);
        for (i = 0; i < 3; i++) crew_add(&takers, sums, &total[i]);
        for (i = 0; i < 3; i++) crew_add(&givers, gives, &n);
        crew_join(&givers);
        CHECK_OK(conc_queue_close(to_tasks));
        crew_join(&runner);
        CHECK_OK(conc_queue_close(to_threads));
        crew_join(&takers);
        CHECK_EQ(total[0] + total[1] + total[2], 3 * n * (n + 1) / 2);
        CHECK_OK(conc_queue_free(to_tasks));
        CHECK_OK(conc_queue_free(to_threads));
        CHECK_OK(conc_loop_free(loop));
    }
}

/* ---- a ring of loops: items go round ---- */

enum { RING = 4 };
static conc_queue *ring[RING];
static conc_loop *ring_loops[RING];

CONC_CORO(passes_round, int number; long x;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(ring[self->number], &self->x));
        if (self->co.result != CONC_OK) break;
        if (--self->x == 0) {
            int k;
            for (k = 0; k < RING; k++) (void)conc_queue_close(ring[k]);
            break;
        }
        CO_AWAIT(conc_op_put(ring[(self->number + 1) % RING], &self->x));
        if (self->co.result != CONC_OK) break;
    }
    CO_END;
}

static void ring_of_loops(void) {
    int handoff, i;
    for (handoff = 0; handoff < 2; handoff++) {
        crew c = { 0 };
        conc_queue_desc desc;
        long x = check_rounds(20000);
        memset(&desc, 0, sizeof desc);
        desc.kind = handoff ? CONC_HANDOFF : CONC_FIFO;
        for (i = 0; i < RING; i++) {
            ring[i] = conc_queue_new_ex(sizeof(long), handoff ? 0 : 3, &desc);
            ring_loops[i] = new_loop(false);
            CHECK_OK(CONC_GO(ring_loops[i], passes_round, .number = i));
        }
        for (i = 0; i < RING; i++) run_in_thread(&c, ring_loops[i]);
        for (i = 0; i < 3; i++) (void)conc_queue_put(ring[i], &x, CONC_FOREVER);
        crew_join(&c);
        for (i = 0; i < RING; i++) {
            CHECK_OK(conc_queue_free(ring[i]));
            CHECK_OK(conc_loop_free(ring_loops[i]));
        }
    }
}

/* Tasks of one loop wait for those of another. */
CONC_CORO(joins_abroad, conc_task *t; int want;) {
    CO_BEGIN;
    CO_JOIN(self->t);
    CHECK_OK(self->co.result);
    CHECK_EQ(self->co.value, self->want);
    CO_END;
}

static void across_loops(void) {
    int i;
    for (i = 0; i < check_rounds(100); i++) {
        conc_loop *a = new_loop(false), *b = new_loop(false);
        crew c = { 0 };
        conc_event e = { 0 };
        conc_task *t = CONC_SPAWN(a, waits, .e = &e, .code = i);
        CHECK_OK(CONC_GO(b, joins_abroad, .t = t, .want = i));
        run_in_thread(&c, a);
        run_in_thread(&c, b);
        nudge((unsigned)i);
        CHECK_OK(conc_event_set(&e));
        crew_join(&c);
        CHECK_OK(conc_loop_free(a));
        CHECK_OK(conc_loop_free(b));
    }
}

/* One loop, run by one thread after another; by those who join, and by a runner. */
static int runs_for_a_while(void *arg) {
    int i;
    for (i = 0; i < check_rounds(100); i++) {
        conc_result r = conc_loop_run((conc_loop *)arg, conc_after(0.00002 * (i % 3)));
        CHECK(r == CONC_OK || r == CONC_TIMEOUT || r == CONC_BUSY);
    }
    return 0;
}

static int spawns_and_joins(void *arg) {
    int i;
    for (i = 0; i < check_rounds(200); i++) {
        int code = 0;
        conc_task *t = CONC_SPAWN((conc_loop *)arg, yields, .n = i % 5);
        CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    }
    return 0;
}

static void by_turns(void) {
    conc_loop *loop = new_loop(false);
    crew c = { 0 }, r = { 0 };
    int i;
    for (i = 0; i < 2; i++) crew_add(&c, runs_for_a_while, loop);
    (void)spawns_and_joins;
    crew_join(&c);
    /* Who joins while another runs the loop needs that one to go on. */
    for (i = 0; i < 3; i++) {
        conc_loop *l = new_loop(true);
        run_in_thread(&r, l);
        crew_add(&c, spawns_and_joins, l);
        crew_add(&c, spawns_and_joins, l);
        crew_join(&c);
        CHECK_OK(conc_loop_stop(l));
        crew_join(&r);
        CHECK_OK(conc_loop_free(l));
    }
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_loop_free(loop));
}

/* Cancels from other threads, at any moment, of tasks that are about to be done. */
CONC_CORO(nearly_done, conc_event *e; conc_op ops[2]; int how;) {
    CO_BEGIN;
    if (self->how % 2) {
        self->ops[0] = conc_op_event(self->e);
        self->ops[1] = conc_op_sleep(0.0001);
        CO_AWAIT_ANY(self->ops, 2);
    } else {
        CO_AWAIT_UNTIL(conc_op_event(self->e), conc_after(0.0001));
    }
    CO_RETURN(3);
    CO_END;
}

static int cancels_it(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    conc_result r;
    check_spin_us(100, &seed);
    r = conc_task_cancel((conc_task *)arg);
    return r == CONC_OK || r == CONC_CLOSED ? 0 : 1;
}

static int sets_it(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg + 1;
    check_spin_us(100, &seed);
    return conc_event_set((conc_event *)arg) == CONC_OK ? 0 : 1;
}

static void canceled_at_the_last_moment(void) {
    int i;
    for (i = 0; i < check_rounds(200); i++) {
        conc_loop *loop = new_loop(false);
        conc_event e = { 0 };
        crew c = { 0 };
        int code = 0;
        conc_task *t = CONC_SPAWN(loop, nearly_done, .e = &e, .how = i);
        crew_add(&c, cancels_it, t);
        crew_add(&c, sets_it, &e);
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        crew_join(&c);
        CHECK_OK(conc_task_join(t, &code, CONC_NOW));
        CHECK(code == 3 || code == CONC_CANCELED);
        CHECK_OK(conc_loop_free(loop));
    }
}

static int cancels_all(void *arg) {
    nudge(2);
    return conc_loop_cancel((conc_loop *)arg) == CONC_OK ? 0 : 1;
}

static void all_canceled(void) {
    int i, k;
    for (i = 0; i < check_rounds(50); i++) {
        conc_loop *loop = new_loop(false);
        crew c = { 0 };
        conc_event never = { 0 };
        for (k = 0; k < 5; k++) CHECK_OK(CONC_GO(loop, waits, .e = &never));
        CHECK_OK(conc_task_detach(CONC_SPAWN_LATER(loop, 1000, forever)));
        crew_add(&c, cancels_all, loop);
        if (i % 2) CHECK_OK(conc_loop_cancel(loop));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        crew_join(&c);
        CHECK_OK(conc_loop_free(loop));
    }
}

/* ---- the dump ---- */

static char lines[100][500];
static int line_count;
static void line(const char *text, void *arg) {
    CHECK(arg == &line_count);
    CHECK(strchr(text, '\n') == NULL);
    if (line_count < 100) snprintf(lines[line_count++], sizeof lines[0], "%s", text);
}
static const char *line_with(const char *a, const char *b) {
    int i;
    for (i = 0; i < line_count; i++) {
        if (strstr(lines[i], a) != NULL && strstr(lines[i], b) != NULL) return lines[i];
    }
    return NULL;
}
static void dump(void) {
    line_count = 0;
    conc_dump(line, &line_count);
}

CONC_CORO(dumps, ) {
    CO_BEGIN;
    dump();
    CO_END;
}

static conc_event blocked, unblock;
CONC_CORO(blocks, ) {
    CO_BEGIN;
    CO_YIELD;
    CHECK_OK(conc_event_set(&blocked));
    CHECK_OK(conc_event_wait(&unblock, CONC_FOREVER)); /* as it must not */
    CO_END;
}

static int waits_in_get(void *arg) {
    int x;
    return conc_queue_get((conc_queue *)arg, &x, CONC_FOREVER) == CONC_CLOSED ? 0 : 1;
}

CONC_CORO(inner, conc_queue *q; int x;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_get(self->q, &self->x)); CHECK_R(self->co.result, CONC_CLOSED);
    CO_END;
}

CONC_CORO(outer, conc_queue *q;) {
    CO_BEGIN;
    CO_CALL(inner, .q = self->q);
    CO_END;
}

static void dumping(void) {
    conc_loop_desc desc;
    conc_loop *loop;
    conc_queue *q = conc_queue_new(sizeof(int), 0);
    conc_event e = { 0 };
    conc_task_desc task;
    conc_thread_desc waiter;
    conc_thread *t;
    crew c = { 0 };
    char address[40];
    const char *text;
    int i;
    memset(&desc, 0, sizeof desc);
    desc.name = "the loop with a name that is longer than it may be";
    loop = conc_loop_new(&desc);
    (void)conc_thread_current();
    memset(&waiter, 0, sizeof waiter);
    waiter.name = "getter";
    t = conc_thread_start(waits_in_get, q, &waiter);
    dump();
    CHECK(line_with("thread \"main\"", "runs") != NULL);
    CHECK(line_with("the loop with a name that is lo: 0 tasks", "") != NULL);
    snprintf(address, sizeof address, "%p", (void *)q);
    UNTIL((dump(), line_with("thread \"getter\" waits in get for", address) != NULL));
    CHECK(line_with("getter", " since 0.") != NULL);
    /* one line a task */
    memset(&task, 0, sizeof task);
    task.name = "named";
    CHECK(CONC_SPAWN_EX(loop, &task, waits, .e = &e) != NULL);
    CHECK_OK(CONC_GO(loop, outer, .q = q));
    CHECK_OK(CONC_GO(loop, sleeps, .seconds = 1000));
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_OK(CONC_GO(loop, returns));
    dump();
    CHECK(line_with(": 4 tasks", "") != NULL);
    snprintf(address, sizeof address, "%p", (void *)&e);
    text = line_with("task \"named\" at ", "test_loop.c:");
    CHECK_HAS(text, "waits in event for ");
    CHECK_HAS(text, address);
    CHECK_HAS(text, "since 0.");
    text = line_with("task \"outer\" in \"inner\" at ", "test_loop.c:");
    CHECK_HAS(text, "waits in get");
    text = line_with("task \"sleeps\" at ", "");
    CHECK_HAS(text, "sleeps since");
    CHECK(line_with("task \"returns\"", "is ready") != NULL);
    /* by a task of it */
    CHECK_OK(CONC_GO(loop, dumps));
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK(line_with("task \"dumps\"", "runs") != NULL);
    CHECK(line_with("task \"named\"", "waits in event") != NULL);
    CHECK(line_with("task \"returns\"", "") == NULL);
    /* running in another thread, where nothing blocks it */
    run_in_thread(&c, loop);
    for (i = 0; i < 20; i++) {
        dump();
        CHECK(line_with("task \"named\"", "waits in event") != NULL);
    }
    /* and blocked by a coroutine */
    CHECK_OK(CONC_GO(loop, blocks));
    CHECK_OK(conc_event_wait(&blocked, CONC_FOREVER));
    dump();
    text = line_with("the loop with", "does not answer");
    CHECK_HAS(text, "\"blocks\"");
    CHECK_HAS(text, "test_loop.c:");
    CHECK(line_with("task \"named\"", "") == NULL);
    CHECK_OK(conc_event_set(&unblock));
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_queue_close(q));
    CHECK_OK(conc_loop_cancel(loop)); /* the one that sleeps */
    crew_join(&c);
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    dump();
    CHECK(line_with("getter", "") == NULL);
    CHECK_OK(conc_loop_free(loop));
    CHECK_OK(conc_queue_free(q));
    dump();
    CHECK(line_with("the loop with", "") == NULL);
}

/* ---- standing still ---- */

CONC_CORO(stalls, int *until_reports;) {
    CO_BEGIN;
    CO_YIELD; UNTIL(reports_now() >= *self->until_reports);
    CO_END;
}

static void standing_still(void) {
    conc_loop_desc desc;
    conc_loop *loop;
    int one = 1, two = 2;
    memset(&desc, 0, sizeof desc);
    desc.name = "slow";
    desc.stall_after = 0.005;
    reports = 0;
    loop = conc_loop_new(&desc);
    if (!CHECK(loop != NULL)) return;
    CHECK_OK(CONC_GO(loop, sleeps, .seconds = 0.02)); /* that is no standing still */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports_now(), 0);
    CHECK_OK(CONC_GO(loop, stalls, .until_reports = &one));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports_now(), 1); /* once */
    CHECK_R(reported, CONC_BUSY);
    CHECK_HAS(report, "slow");
    CHECK_HAS(report, "\"stalls\"");
    CHECK_HAS(report, "test_loop.c:");
    CHECK_OK(CONC_GO(loop, stalls, .until_reports = &two)); /* another one: told again */
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(reports_now(), 2);
    CHECK_OK(conc_loop_free(loop));
    trace[0] = '\0';
    reports = 0;
}

/* ---- fork ---- */

#if !defined(_WIN32)
static conc_loop *before;
static conc_task *before_task;
static conc_group *before_group;

static int doubles(void *arg) {
    *(int *)arg *= 2;
    return 0;
}

static void in_child(void) {
    int x = 0, two = 2;
    CHECK_R(conc_loop_run(before, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_loop_stop(before), CONC_FORKED);
    CHECK_R(conc_loop_cancel(before), CONC_FORKED);
    CHECK_R(conc_loop_post(before, note_post, &x), CONC_FORKED);
    CHECK_MISUSE_NULL(CONC_SPAWN(before, returns), CONC_FORKED);
    CHECK_R(CONC_GO(before, returns), CONC_FORKED);
    CHECK_R(conc_task_join(before_task, &x, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_task_end(before_task), CONC_FOREVER), CONC_FORKED);
    CHECK_R(CONC_GROUP_SPAWN(before_group, returns), CONC_FORKED);
    CHECK_R(conc_group_wait(before_group, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_group(before_group), CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_group_next(before_group, NULL), CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_group_room(before_group), CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_group_cancel(before_group), CONC_FORKED);
    CHECK_EQ(conc_group_count(before_group), 0);
    CHECK_R(conc_task_join_all(&before_task, 1, 0, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_task_ends(&before_task, 1, 0), CONC_FOREVER), CONC_FORKED);
    CHECK_OK(conc_loop_free(before)); /* whatever its state */
    CHECK_OK(conc_group_free(before_group));
    CHECK_OK(conc_wait(conc_op_offload(NULL, doubles, &two), CONC_FOREVER)); /* its own threads */
    CHECK_EQ(two, 4);
    { /* and one of its own works */
        conc_loop *loop = new_loop(false);
        int code = 0;
        CHECK_OK(CONC_GO(loop, sleeps, .seconds = 0.001));
        CHECK_OK(conc_task_join(CONC_SPAWN(loop, returns, .code = 5), &code, CONC_FOREVER));
        CHECK_EQ(code, 5);
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        line_count = 0;
        conc_dump(line, &line_count);
        CHECK(line_count >= 2);
        CHECK_OK(conc_loop_free(loop));
    }
}

static void fork_while(bool running) {
    crew c = { 0 };
    pid_t pid;
    int status = 0;
    if (running) {
        run_in_thread(&c, before);
    }
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        check_failures = 0;
        in_child();
        fflush(NULL);
        _exit(check_failures != 0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (running) {
        CHECK_OK(conc_loop_stop(before));
        crew_join(&c);
    }
}

static void forked(void) {
    conc_event e = { 0 };
    int two = 2;
    before = new_loop(false);
    before_group = conc_group_new(before, NULL);
    CHECK_OK(CONC_GROUP_SPAWN(before_group, sleeps, .seconds = 1000));
    CHECK_OK(conc_wait(conc_op_offload(NULL, doubles, &two), CONC_FOREVER));
    before_task = CONC_SPAWN(before, waits, .e = &e);
    CHECK_OK(CONC_GO(before, sleeps, .seconds = 1000));
    CHECK_R(conc_loop_run(before, CONC_NOW), CONC_TIMEOUT);
    if (!CHECK_TSAN && !CHECK_ASAN) { /* (sanitizers do not bear a child of several threads) */
        fork_while(false);
        fork_while(true);
    }
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_task_join(before_task, NULL, CONC_FOREVER));
    CHECK_OK(conc_loop_cancel(before));
    CHECK_OK(conc_loop_run(before, CONC_FOREVER));
    CHECK_OK(conc_loop_free(before));
    CHECK_OK(conc_group_free(before_group));
}
#endif

/* ---- several loops in several threads serve one port ---- */

static conc_socket *door;
static uint32_t served_here[3];

CONC_CORO(answers, conc_socket *s; uint32_t *count; conc_io in; conc_out out; char buffer[4];) {
    CO_BEGIN;
    self->in.data = self->buffer;
    self->in.size = 4;
    CO_AWAIT(conc_op_receive_full(self->s, &self->in));
    CHECK_OK(self->co.result);
    self->out.data = self->buffer;
    self->out.size = 4;
    CO_AWAIT(conc_op_send_all(self->s, &self->out));
    CHECK_OK(self->co.result);
    ++*self->count;
    CO_FINALLY;
    CHECK_OK(conc_socket_free(self->s));
    CO_END;
}

CONC_CORO(opens, uint32_t *count; conc_socket *s;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_accept(door, &self->s));
        if (self->co.result == CONC_CLOSED) break;
        if (self->co.result != CONC_OK) continue; /* one was gone before it was accepted */
        CHECK_OK(CONC_GO(conc_loop_current(), answers, .s = self->s, .count = self->count));
    }
    CO_END;
}

static int serves(void *count) {
    conc_loop *own = conc_loop_new(NULL);
    if (!CHECK(own != NULL)) return 1;
    CHECK_OK(CONC_GO(own, opens, .count = (uint32_t *)count));
    CHECK_OK(conc_loop_run(own, CONC_FOREVER));
    CHECK_OK(conc_loop_free(own));
    return 0;
}

static void one_port(void) {
    conc_thread *servers[3];
    conc_address a;
    int i;
    door = conc_tcp_listen("127.0.0.1", 0, NULL);
    if (!CHECK(door != NULL)) return;
    CHECK_OK(conc_socket_address(door, &a));
    for (i = 0; i < 3; i++) {
        served_here[i] = 0;
        servers[i] = conc_thread_start(serves, &served_here[i], NULL);
    }
    for (i = 0; i < 40; i++) {
        char answer[4] = "";
        conc_socket *s = conc_tcp_connect("127.0.0.1", conc_address_port(&a), conc_after(100));
        if (!CHECK(s != NULL)) break;
        CHECK_OK(conc_send_all(s, "ping", 4, NULL, conc_after(100)));
        CHECK_OK(conc_receive_full(s, answer, 4, NULL, conc_after(100)));
        CHECK(memcmp(answer, "ping", 4) == 0);
        CHECK_OK(conc_socket_free(s));
    }
    CHECK_OK(conc_socket_close(door)); /* each of them gets CONC_CLOSED, and its loop ends */
    for (i = 0; i < 3; i++) CHECK_OK(conc_thread_join(servers[i], NULL, CONC_FOREVER));
    CHECK_EQ(served_here[0] + served_here[1] + served_here[2], 40);
    CHECK_OK(conc_socket_free(door));
}

int main(void) {
    check_begin("loop");
    conc_set_error_hook(hook, NULL);
    RUN(runs);
    RUN(until_stopped);
    RUN(nulls);
    RUN(posts);
    RUN(later);
    RUN(joins_by_running);
    RUN(joined_by_threads);
    RUN(join_some);
    RUN(failures);
    RUN(failures_of_detached);
    RUN(many_sleep);
    RUN(timers);
#if defined(CONC__IMPLEMENTED)
    RUN(wheel);
#endif
    RUN(hammered);
    RUN(through_a_loop);
    RUN(ring_of_loops);
    RUN(across_loops);
    RUN(by_turns);
    RUN(canceled_at_the_last_moment);
    RUN(all_canceled);
    RUN(dumping);
    RUN(standing_still);
    RUN(one_port);
#if !defined(_WIN32)
    RUN(forked);
#endif
    CHECK_EQ(reports, 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
