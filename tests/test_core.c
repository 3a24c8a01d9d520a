/* core: results, error text, deadlines, the clock, the processor count. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static void results(void) {
    static const conc_result all[] = {
#define VALUE(name, value, text) name,
        CONC_RESULTS(VALUE)
#undef VALUE
    };
    size_t n = sizeof all / sizeof *all, i, j;
    CHECK_EQ(CONC_OK, 0);
    CHECK_EQ(n, 19);
    for (i = 0; i < n; i++) {
        CHECK(i == 0 ? all[i] == 0 : all[i] < 0);
        CHECK(conc_strerror(all[i]) != NULL && conc_strerror(all[i])[0] != '\0');
        for (j = 0; j < i; j++) {
            CHECK(all[i] != all[j]);
            CHECK(strcmp(conc_strerror(all[i]), conc_strerror(all[j])) != 0);
        }
    }
    CHECK_STR(conc_strerror(CONC_CLOSED), "closed: nothing more will come");
}

static void strerror_takes_any_number(void) {
    int i;
    for (i = -200; i < 200; i++) CHECK(conc_strerror((conc_result)i) != NULL && conc_strerror((conc_result)i)[0] != '\0');
    CHECK(conc_strerror((conc_result)-2147483647) != NULL);
    CHECK(conc_strerror((conc_result)2147483647) != NULL);
}

static void versions(void) {
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", CONC_VERSION_MAJOR, CONC_VERSION_MINOR, CONC_VERSION_PATCH);
    CHECK_STR(text, CONC_VERSION);
}

/* ---- conc_error_detail() ---- */

static int fresh_thread(void *arg) {
    (void)arg;
    CHECK(conc_error_detail() != NULL);
    CHECK_STR(conc_error_detail(), ""); /* nothing has failed here yet, whatever did elsewhere */
    CHECK_OK(conc_error_result());
    CHECK_R(conc_event_set(NULL), CONC_INVALID);
    CHECK_R(conc_error_result(), CONC_INVALID);
    return 0;
}

static void detail_is_per_thread(void) {
    crew c = { 0 };
    char before[256];
    CHECK_MISUSE(conc_latch_add(NULL, 1), CONC_INVALID);
    CHECK_R(conc_latch_add(NULL, 1), CONC_INVALID);
    snprintf(before, sizeof before, "%s", conc_error_detail());
    crew_add(&c, fresh_thread, NULL);
    crew_add(&c, fresh_thread, NULL);
    crew_join(&c);
    CHECK_STR(conc_error_detail(), before);
}

static void detail_lives_until_the_next_failure(void) {
    conc_mutex m = { 0 };
    conc_event e = { 0 };
    conc_latch l = CONC_LATCH_INIT(1);
    conc_semaphore s = CONC_SEMAPHORE_INIT(0, 0);
    conc_cancel token = { 0 };
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    int x = 1;
    char before[256];
    const char *text;
    CHECK(q != NULL);
    CHECK_R(conc_semaphore_release(NULL, 1), CONC_INVALID);
    text = conc_error_detail();
    snprintf(before, sizeof before, "%s", text);
    CHECK(before[0] != '\0');

    /* what succeeds leaves it alone */
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_STR(conc_error_detail(), before);
    /* so do the ordinary answers */
    CHECK_R(conc_event_wait(&e, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_event_wait(&e, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_latch_wait(&l, check_past()), CONC_TIMEOUT);
    CHECK_R(conc_semaphore_acquire(&s, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_queue_get(q, &x, CONC_NOW), CONC_EMPTY);
    CHECK_OK(conc_queue_put(q, &x, CONC_NOW));
    CHECK_R(conc_queue_put(q, &x, CONC_NOW), CONC_FULL);
    CHECK_OK(conc_queue_close(q));
    CHECK_R(conc_queue_put(q, &x, CONC_NOW), CONC_CLOSED);
    CHECK_R(conc_queue_close(q), CONC_CLOSED);
    CHECK_OK(conc_cancel_fire(&token));
    CONC_WITH_CANCEL(&token) {
        CHECK_R(conc_event_wait(&e, CONC_FOREVER), CONC_CANCELED);
        CHECK_R(conc_canceled(), CONC_CANCELED);
    }
    CHECK_STR(conc_error_detail(), before);
    CHECK_R(conc_error_result(), CONC_INVALID);
    CHECK_OK(conc_queue_free(q));

    /* the next failure replaces it */
    CHECK_R(conc_mutex_unlock(&m), CONC_NOT_OWNER);
    CHECK(strcmp(conc_error_detail(), before) != 0);
    CHECK_R(conc_error_result(), CONC_NOT_OWNER);
}

static void explaining(void) {
    conc_mutex m = { 0 };
    CHECK_R(conc_mutex_unlock(&m), CONC_NOT_OWNER);
    CHECK_STR(conc_explain(CONC_NOT_OWNER), conc_error_detail()); /* it speaks of that */
    CHECK_STR(conc_explain(CONC_TIMEOUT), conc_strerror(CONC_TIMEOUT));
    CHECK_STR(conc_explain(CONC_OK), conc_strerror(CONC_OK));
    CHECK(conc_explain((conc_result)-77) != NULL);
}

/* ---- the error hook ---- */

typedef struct hook_log {
    conc_mutex lock;
    int calls;
    conc_error last;
    char thread[64], text[256];
    bool could_lock; /* the library held none of its own locks */
} hook_log;

static void hook(const conc_error *error, void *user) {
    hook_log *log = (hook_log *)user;
    CONC_WITH_LOCK(&log->lock) {
        conc_event e = { 0 };
        conc_queue *q = conc_queue_new(1, 1);
        log->calls++;
        log->last = *error;
        snprintf(log->thread, sizeof log->thread, "%s", error->thread == NULL ? "(null)" : error->thread);
        snprintf(log->text, sizeof log->text, "%s", error->text == NULL ? "(null)" : error->text);
        log->could_lock = conc_event_set(&e) == CONC_OK && conc_event_wait(&e, CONC_FOREVER) == CONC_OK &&
                          conc_thread_count() > 0 && conc_queue_free(q) == CONC_OK;
    }
}

static int fails_with_7(void *arg) {
    (void)arg;
    return 7;
}

static void hook_is_told(void) {
    static hook_log log;
    conc_thread_desc desc;
    conc_thread *t;
    memset(&desc, 0, sizeof desc);
    desc.name = "loser";
    conc_set_error_hook(hook, &log);
    t = conc_thread_start(fails_with_7, NULL, &desc);
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER)); /* nobody looked at the 7 */
    CHECK_EQ(log.calls, 1);
    CHECK_R(log.last.result, CONC_FAILED);
    CHECK_EQ(log.last.code, 7);
    CHECK(log.text[0] != '\0');
    CHECK(strchr(log.text, '\n') == NULL);
    CHECK_STR(log.thread, "loser");
    CHECK(log.could_lock);
    conc_set_error_hook(NULL, NULL);
}

/* ---- deadlines and the clock ---- */

static void clock_never_goes_back(void) {
    int i;
    int64_t before = conc_clock_ns();
    double s = conc_clock();
    for (i = 0; i < check_rounds(100000); i++) {
        int64_t now = conc_clock_ns();
        CHECK(now >= before);
        before = now;
    }
    CHECK(conc_clock() >= s);
    /* the two are one clock */
    before = conc_clock_ns();
    s = conc_clock();
    CHECK((double)before / 1e9 <= s + 1e-6);
    CHECK(s <= (double)conc_clock_ns() / 1e9 + 1e-6);
}

static void deadlines(void) {
    conc_deadline a, b, now;
    int64_t t0 = conc_clock_ns();
    a = conc_after(10);
    CHECK(a.ns >= t0 + 10 * (int64_t)1000000000);
    CHECK(a.ns <= conc_clock_ns() + 10 * (int64_t)1000000000);
    CHECK(!conc_deadline_passed(a));
    CHECK(conc_deadline_left(a) <= 10.0);
    CHECK(conc_deadline_left(a) > 0.0);

    b = conc_after(0);
    CHECK(b.ns >= t0);
    CHECK(conc_deadline_passed(b));
    CHECK(conc_deadline_left(b) <= 0.0 && conc_deadline_left(b) >= 0.0); /* 0, not less */

    CHECK_EQ(conc_deadline_min(a, b).ns, b.ns);
    CHECK_EQ(conc_deadline_min(b, a).ns, b.ns);
    CHECK_EQ(conc_deadline_min(a, CONC_FOREVER).ns, a.ns);
    CHECK_EQ(conc_deadline_min(CONC_NOW, a).ns, CONC_NOW.ns);
    CHECK_EQ(conc_deadline_at(17).ns, 17);

    now = CONC_NOW;
    CHECK_EQ(now.ns, INT64_MIN);
    CHECK(conc_deadline_passed(CONC_NOW));
    CHECK(!(conc_deadline_left(CONC_NOW) > 0));
    CHECK_EQ(CONC_FOREVER.ns, INT64_MAX);
    CHECK(!conc_deadline_passed(CONC_FOREVER));
    CHECK(conc_deadline_left(CONC_FOREVER) > 1e300);
    CHECK(conc_deadline_left(CONC_FOREVER) >= HUGE_VAL);
}

static void strange_durations(void) {
    double zero = 0.0;
    double nan = zero / zero, inf = 1.0 / zero;
    CHECK(conc_deadline_passed(conc_after(-1)));
    CHECK(conc_deadline_passed(conc_after(-1e300)));
    CHECK(conc_deadline_passed(conc_after(-inf)));
    CHECK(conc_deadline_passed(conc_after(nan)));
    CHECK(conc_deadline_passed(conc_after(-0.0)));
    CHECK_EQ(conc_after(inf).ns, INT64_MAX);
    CHECK_EQ(conc_after(1e300).ns, INT64_MAX);
    CHECK_EQ(conc_after(9.3e9).ns, INT64_MAX); /* 294 years: past the clock's end */
    CHECK(conc_after(9.0e9).ns > 0);
    CHECK(!conc_deadline_passed(conc_after(9.0e9)));
    CHECK(conc_after(1e-9).ns <= conc_clock_ns() + 2);
    CHECK(conc_after(1e-320).ns <= conc_clock_ns() + 2);
}

static void processors(void) {
    unsigned n = conc_cpu_count();
    CHECK(n >= 1);
    CHECK(n < 100000);
}

/* An older sentence is not taken for that of an ordinary answer, which has none. */
static void explaining_ordinary_answers(void) {
    conc_mutex m = { 0 };
    conc_event e = { 0 };
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
#if !defined(CONC_DEBUG) /* which tells of it */
    CHECK_R(conc_mutex_destroy(&m), CONC_BUSY);
    CHECK_HAS(conc_error_detail(), "destroy");
#endif
    CHECK_STR(conc_explain(conc_try(conc_op_event(&e))), conc_strerror(CONC_BUSY));
    CHECK_OK(conc_mutex_unlock(&m));
}

int main(void) {
    check_begin("core");
    RUN(results);
    RUN(strerror_takes_any_number);
    RUN(versions);
    RUN(detail_is_per_thread);
    RUN(detail_lives_until_the_next_failure);
    RUN(explaining);
    RUN(explaining_ordinary_answers);
    RUN(hook_is_told);
    RUN(clock_never_goes_back);
    RUN(deadlines);
    RUN(strange_durations);
    RUN(processors);
    return check_end();
}
