/* timers. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

typedef struct shot {
    conc_mutex lock;
    conc_deadline when;
    int runs, order, result;
    bool early, in_timer_thread;
    conc_event *hold;
} shot;

static conc_mutex order_lock;
static int order_next;

static int fire(void *arg) {
    shot *s = (shot *)arg;
    bool early = !conc_deadline_passed(s->when);
    if (s->hold != NULL) (void)conc_event_wait(s->hold, CONC_FOREVER);
    CONC_WITH_LOCK(&s->lock) {
        s->runs++;
        s->early = early;
        s->in_timer_thread = strcmp(conc_thread_name(NULL), "conc-timer") == 0 && conc_thread_is_daemon(NULL);
        CONC_WITH_LOCK(&order_lock) s->order = order_next++;
    }
    return s->result;
}

static conc_timer *start(shot *s, double seconds) {
    conc_timer *t;
    memset(s, 0, sizeof *s);
    s->when = conc_after(seconds);
    t = conc_timer_start(fire, s, s->when);
    CHECK(t != NULL);
    return t;
}

static int runs_of(shot *s) {
    int n = -1;
    CONC_WITH_LOCK(&s->lock) n = s->runs;
    return n;
}

static void runs_once_never_early(void) {
    static const double after[] = { -1, 0, 0.0001, 0.001, 0.003 };
    size_t i;
    for (i = 0; i < sizeof after / sizeof *after; i++) {
        shot s;
        conc_timer *t = start(&s, after[i]);
        CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER)); /* completes when it has run */
        CHECK_EQ(runs_of(&s), 1);
        CHECK(!s.early);
        CHECK(s.in_timer_thread);
        CHECK_R(conc_timer_cancel(t), CONC_CLOSED); /* too late */
        CHECK_OK(conc_try(conc_op_timer(t)));
        conc_timer_release(t);
        CHECK_EQ(runs_of(&s), 1);
    }
}

static void canceled_never_runs(void) {
    shot s;
    conc_timer *t = start(&s, 1000);
    CHECK_R(conc_try(conc_op_timer(t)), CONC_BUSY);
    CHECK_R(conc_wait(conc_op_timer(t), conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_timer_cancel(t));
    CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER)); /* completes: it was canceled */
    conc_timer_release(t);
    CHECK_EQ(runs_of(&s), 0);
}

static void in_order_of_time(void) {
    enum { N = 20 };
    static shot s[N];
    static conc_timer *t[N];
    conc_event hold = { 0 };
    shot first;
    conc_timer *blocker;
    int i, base;
    /* hold the timer thread, so that all the others are there before any is due */
    memset(&first, 0, sizeof first);
    first.hold = &hold;
    first.when = CONC_NOW;
    blocker = conc_timer_start(fire, &first, CONC_NOW);
    for (i = 0; i < N; i++) t[i] = start(&s[i], 0.0001 * ((i * 7) % N)); /* a permutation */
    CHECK_OK(conc_event_set(&hold));
    for (i = 0; i < N; i++) CHECK_OK(conc_wait(conc_op_timer(t[i]), CONC_FOREVER));
    CHECK_OK(conc_wait(conc_op_timer(blocker), CONC_FOREVER));
    base = first.order + 1;
    for (i = 0; i < N; i++) {
        int k, before = 0;
        for (k = 0; k < N; k++) before += s[k].when.ns < s[i].when.ns;
        CHECK_EQ(s[i].order - base, before);
        conc_timer_release(t[i]);
    }
    conc_timer_release(blocker);
}

static void released_but_runs(void) {
    static shot s;
    conc_timer *t = start(&s, 0.001);
    conc_timer_release(t);
    UNTIL(runs_of(&s) == 1);
    conc_timer_release(NULL);
}

static conc_mutex self_lock;

static int canceled_too_late(void *arg) {
    conc_timer *t = NULL;
    CONC_WITH_LOCK(&self_lock) t = *(conc_timer **)arg; /* the starter has stored it by now */
    CHECK_R(conc_timer_cancel(t), CONC_CLOSED);         /* it runs */
    return 0;
}

static void cancel_from_within(void) {
    conc_timer *t = NULL;
    CHECK_OK(conc_mutex_lock(&self_lock, CONC_FOREVER));
    t = conc_timer_start(canceled_too_late, &t, CONC_NOW);
    CHECK_OK(conc_mutex_unlock(&self_lock));
    CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    conc_timer_release(t);
}

/* Cancel racing with the run: exactly one of the two, as cancel says. */
static void cancel_races_with_run(void) {
    int i, canceled = 0, rounds = check_rounds(2000);
    uint32_t seed = 8;
    for (i = 0; i < rounds; i++) {
        shot s;
        conc_timer *t = start(&s, (check_random(&seed) % 60u) * 1e-6);
        conc_result r;
        check_spin_us(60, &seed);
        r = conc_timer_cancel(t);
        CHECK(r == CONC_OK || r == CONC_CLOSED);
        CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
        CHECK_EQ(runs_of(&s), r == CONC_OK ? 0 : 1);
        canceled += r == CONC_OK;
        if (r == CONC_OK) CHECK_R(conc_timer_cancel(t), CONC_OK); /* again: it has not run and never will */
        conc_timer_release(t);
    }
    CHECK(canceled <= rounds);
}

static int reports, report_code;
static conc_mutex report_lock;
static void count_reports(const conc_error *e, void *user) {
    (void)user;
    CONC_WITH_LOCK(&report_lock) {
        reports++;
        report_code = e->code;
        CHECK_R(e->result, CONC_FAILED);
    }
}

static int reports_now(void) {
    int n = 0;
    CONC_WITH_LOCK(&report_lock) n = reports;
    return n;
}

static void failures_go_to_the_hook(void) {
    shot s;
    conc_timer *t;
    conc_set_error_hook(count_reports, NULL);
    memset(&s, 0, sizeof s);
    s.result = 9;
    s.when = CONC_NOW;
    t = conc_timer_start(fire, &s, CONC_NOW);
    CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    UNTIL(reports_now() == 1);
    CHECK_EQ(report_code, 9);
    conc_timer_release(t);
    conc_set_error_hook(NULL, NULL);
}

/* A function that leaves a token current, and fired, does not leave it to the timers after it, nor to their thread. */
static conc_cancel left_behind;

static int leave_a_token(void *arg) {
    (void)arg;
    (void)conc_cancel_use(&left_behind);
    CHECK_OK(conc_cancel_fire(&left_behind));
    CHECK_R(conc_canceled(), CONC_CANCELED);
    return 0;
}

static int find_no_token(void *arg) {
    (void)arg;
    CHECK(conc_cancel_current() == NULL);
    return 0;
}

static void token_left_behind(void) {
    conc_timer *t[3];
    size_t i;
    t[0] = conc_timer_start(leave_a_token, NULL, CONC_NOW);
    t[1] = conc_timer_start(find_no_token, NULL, conc_after(0.001));
    for (i = 0; i < 2; i++) CHECK_OK(conc_wait(conc_op_timer(t[i]), CONC_FOREVER));
    t[2] = conc_timer_start(find_no_token, NULL, conc_after(0.0005)); /* the thread has had to wait in between */
    CHECK_OK(conc_wait(conc_op_timer(t[2]), CONC_FOREVER));
    for (i = 0; i < 3; i++) conc_timer_release(t[i]);
}

static void misuse(void) {
    shot s;
    memset(&s, 0, sizeof s);
    CHECK_MISUSE_NULL(conc_timer_start(NULL, NULL, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_timer_cancel(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_timer(NULL), CONC_FOREVER), CONC_INVALID);
}

/* A timer that never comes keeps nobody; canceled ones leave nothing behind. */
static void never(void) {
    shot s;
    conc_timer *t;
    memset(&s, 0, sizeof s);
    t = conc_timer_start(fire, &s, CONC_FOREVER);
    CHECK_R(conc_wait(conc_op_timer(t), conc_after(0.002)), CONC_TIMEOUT);
    CHECK_OK(conc_timer_cancel(t));
    conc_timer_release(t);
    CHECK_EQ(runs_of(&s), 0);
}

/* Many, started and canceled by several threads. */
static int start_and_cancel(void *arg) {
    int rounds = *(int *)arg, i;
    uint32_t seed = conc_thread_id(NULL);
    for (i = 0; i < rounds; i++) {
        enum { N = 8 };
        shot s[N];
        conc_timer *t[N];
        conc_result r[N];
        int k;
        for (k = 0; k < N; k++) t[k] = start(&s[k], (check_random(&seed) % 400u) * 1e-6);
        for (k = 0; k < N; k++) r[k] = k % 2 ? conc_timer_cancel(t[k]) : CONC_CLOSED;
        for (k = 0; k < N; k++) CHECK_OK(conc_wait(conc_op_timer(t[k]), CONC_FOREVER));
        for (k = 0; k < N; k++) {
            CHECK_EQ(runs_of(&s[k]), r[k] == CONC_OK ? 0 : 1);
            CHECK(!s[k].early);
            conc_timer_release(t[k]);
        }
    }
    return 0;
}

static void many_threads(void) {
    crew c = { 0 };
    int rounds = check_rounds(200), i;
    for (i = 0; i < 4; i++) crew_add(&c, start_and_cancel, &rounds);
    crew_join(&c);
}

int main(void) {
    check_begin("timer");
    RUN(misuse);
    RUN(runs_once_never_early);
    RUN(canceled_never_runs);
    RUN(in_order_of_time);
    RUN(released_but_runs);
    RUN(cancel_from_within);
    RUN(cancel_races_with_run);
    RUN(failures_go_to_the_hook);
    RUN(token_left_behind);
    RUN(never);
    RUN(many_threads);
    return check_end();
}
