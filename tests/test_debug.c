/* CONC_DEBUG: what it finds reaches the error hook, with names and places. */
#if defined(CONC_TEST_SPLIT)

#include "../conc.h"
#include "check.h"

int main(void) {
    return check_skip("debug", "it needs the implementation compiled with CONC_DEBUG");
}

#else

#if !defined(CONC_DEBUG)
#define CONC_DEBUG
#endif
#define CONC_IMPLEMENTATION
#include "../conc.h"
#include "check.h"

/* ---- the reports ---- */

static int reports;
static conc_result last_result;
static char last_text[1000], first_text[1000], last_thread[64], place[32];

static void hook(const conc_error *e, void *user) { /* these tests report from one thread at a time */
    CHECK(user == &reports);
    if (reports++ == 0) snprintf(first_text, sizeof first_text, "%s", e->text);
    last_result = e->result;
    snprintf(last_text, sizeof last_text, "%s", e->text);
    snprintf(last_thread, sizeof last_thread, "%s", e->thread == NULL ? "(null)" : e->thread);
    CHECK(strchr(e->text, '\n') == NULL);
}

/* The report just made is the only new one: of this kind, and it says these. */
static void expect(const char *file, int line, conc_result want, const char *name, const char *where) {
    if (check_eq(file, line, reports, 1, "reports")) {
        check_result(file, line, (int)last_result, (int)want, "the report's result");
        check_has(file, line, last_text, name, "the report");
        check_has(file, line, last_text, where, "the report");
    }
    reports = 0;
}
#define EXPECT(result, name, where) expect(__FILE__, __LINE__, result, name, where)
#define SILENT() (CHECK_EQ(reports, 0), reports = 0)
/* The place of a call on this line, as reports write it. */
#define HERE() snprintf(place, sizeof place, "test_debug.c:%d", __LINE__)

static void relock(void) {
    static conc_mutex m;
    conc_debug_name(&m, "till");
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    SILENT();
    HERE(); CHECK_R(conc_mutex_lock(&m, CONC_FOREVER), CONC_DEADLOCK);
    EXPECT(CONC_DEADLOCK, "till", place);
    CHECK_STR(last_thread, conc_thread_name(NULL));
    HERE(); CONC_WITH_LOCK(&m) CHECK(reports < 0); /* must not run */
    CHECK_EQ(reports, 1); /* one mistake, one report */
    CHECK_HAS(first_text, "till");
    CHECK_HAS(first_text, place);
    reports = 0;
    CHECK_OK(conc_mutex_unlock(&m));
    SILENT();
    CHECK_OK(conc_mutex_destroy(&m));
}

static int unlock_it(void *arg) {
    HERE(); CHECK_R(conc_mutex_unlock((conc_mutex *)arg), CONC_NOT_OWNER);
    return 0;
}

static void foreign_unlock(void) {
    static conc_mutex m;
    conc_thread_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.name = "burglar";
    conc_debug_name(&m, "safe");
    HERE(); CHECK_R(conc_mutex_unlock(&m), CONC_NOT_OWNER); /* not locked at all */
    EXPECT(CONC_NOT_OWNER, "safe", place);
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_OK(conc_thread_join(conc_thread_start(unlock_it, &m, &desc), NULL, CONC_FOREVER));
    EXPECT(CONC_NOT_OWNER, "safe", place);
    CHECK_STR(last_thread, "burglar");
    CHECK_OK(conc_mutex_unlock(&m));
    SILENT();
    CHECK_OK(conc_mutex_destroy(&m));
}

static void destroyed_in_use(void) {
    static conc_mutex m;
    conc_debug_name(&m, "bridge");
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_R(conc_mutex_destroy(&m), CONC_BUSY);
    EXPECT(CONC_BUSY, "bridge", "");
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_mutex_destroy(&m));
    SILENT();
}

static void without_a_name(void) { /* the address, then */
    static conc_mutex m;
    char address[32];
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    HERE(); CHECK_R(conc_mutex_lock(&m, CONC_FOREVER), CONC_DEADLOCK);
    snprintf(address, sizeof address, "%p", (void *)&m);
    EXPECT(CONC_DEADLOCK, address, place);
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_mutex_destroy(&m));
}

/* ---- lock order ---- */

static conc_mutex a, b, c;
static char a_after_b[32], b_after_a[32];

static void a_then_b(void) {
    CHECK_OK(conc_mutex_lock(&a, CONC_FOREVER));
    snprintf(b_after_a, sizeof b_after_a, "test_debug.c:%d", __LINE__ + 1);
    CHECK_OK(conc_mutex_lock(&b, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&b));
    CHECK_OK(conc_mutex_unlock(&a));
}

static void b_then_a(void) {
    CHECK_OK(conc_mutex_lock(&b, CONC_FOREVER));
    snprintf(a_after_b, sizeof a_after_b, "test_debug.c:%d", __LINE__ + 1);
    CHECK_OK(conc_mutex_lock(&a, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&a));
    CHECK_OK(conc_mutex_unlock(&b));
}

static int b_then_a_in_thread(void *arg) {
    (void)arg;
    b_then_a();
    return 0;
}

static void name_all(void) {
    conc_debug_name(&a, "apples");
    conc_debug_name(&b, "berries");
    conc_debug_name(&c, "cherries");
}

static void destroy_all(void) {
    CHECK_OK(conc_mutex_destroy(&a));
    CHECK_OK(conc_mutex_destroy(&b));
    CHECK_OK(conc_mutex_destroy(&c));
    SILENT();
}

static void inversion(void) {
    int i;
    name_all();
    for (i = 0; i < 3; i++) a_then_b();
    SILENT(); /* one order is no inversion */
    b_then_a(); /* nobody is stuck this time: found when it is first possible */
    EXPECT(CONC_DEADLOCK, "apples", "berries");
    CHECK_HAS(last_text, a_after_b); /* both places */
    CHECK_HAS(last_text, b_after_a);
    CHECK_STR(last_thread, conc_thread_name(NULL));
    destroy_all();
}

static void inversion_across_threads(void) {
    conc_thread_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.name = "backwards";
    name_all();
    a_then_b();
    CHECK_OK(conc_thread_join(conc_thread_start(b_then_a_in_thread, NULL, &desc), NULL, CONC_FOREVER));
    EXPECT(CONC_DEADLOCK, "apples", "berries");
    CHECK_STR(last_thread, "backwards");
    destroy_all();
}

static void lock_two(conc_mutex *first, conc_mutex *second) {
    CHECK_OK(conc_mutex_lock(first, CONC_FOREVER));
    CHECK_OK(conc_mutex_lock(second, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(first)); /* in any order */
    CHECK_OK(conc_mutex_unlock(second));
}

static void cycle_of_three(void) {
    name_all();
    lock_two(&a, &b);
    lock_two(&b, &c);
    lock_two(&a, &c);
    SILENT();
    lock_two(&c, &a);
    CHECK_EQ(reports, 1);
    CHECK_R(last_result, CONC_DEADLOCK);
    CHECK_HAS(last_text, "apples");
    CHECK_HAS(last_text, "cherries");
    reports = 0;
    destroy_all();
}

static void with_lock_is_watched(void) {
    name_all();
    CONC_WITH_LOCK(&a) CONC_WITH_LOCK(&b) SILENT();
    CONC_WITH_LOCK(&b) CONC_WITH_LOCK(&a) CHECK_EQ(reports, 1);
    EXPECT(CONC_DEADLOCK, "apples", "berries");
    destroy_all();
}

/* A mutex made anew at the place of one destroyed has no history. */
static void destroyed_is_forgotten(void) {
    lock_two(&a, &b);
    CHECK_OK(conc_mutex_destroy(&a));
    CHECK_OK(conc_mutex_destroy(&b));
    lock_two(&b, &a);
    SILENT();
    CHECK_OK(conc_mutex_lock(&a, CONC_FOREVER));
    CHECK_R(conc_mutex_lock(&a, CONC_FOREVER), CONC_DEADLOCK);
    CHECK(strstr(last_text, "apples") == NULL);
    reports = 0;
    CHECK_OK(conc_mutex_unlock(&a));
    destroy_all();
}

/* The same order from many threads, with time-outs and tries: no false alarm. */
static int in_order(void *arg) {
    int i;
    (void)arg;
    for (i = 0; i < check_rounds(2000); i++) {
        if (conc_mutex_lock(&a, i % 3 ? CONC_FOREVER : conc_after(1e-6)) != CONC_OK) continue;
        if (i % 4 == 0) {
            if (conc_mutex_try_lock(&b) == CONC_OK) CHECK_OK(conc_mutex_unlock(&b));
        } else CONC_WITH_LOCK(&b) CONC_WITH_LOCK(&c) conc_thread_yield();
        CHECK_OK(conc_mutex_unlock(&a));
    }
    return 0;
}

static void no_false_alarm(void) {
    crew w = { 0 };
    int i;
    name_all();
    for (i = 0; i < 4; i++) crew_add(&w, in_order, NULL);
    crew_join(&w);
    SILENT();
    destroy_all();
}

/* The condition gives the mutex back and takes it again: that is followed. */
static bool flag;
static conc_cond changed;

static bool is_set(void *arg) {
    return *(bool *)arg;
}

static int set_flag(void *arg) {
    (void)arg;
    CONC_WITH_LOCK(&a) {
        flag = true;
        CHECK_OK(conc_cond_signal(&changed));
    }
    return 0;
}

static void through_a_condition(void) {
    crew w = { 0 };
    flag = false;
    CHECK_OK(conc_mutex_lock(&a, CONC_FOREVER));
    crew_add(&w, set_flag, NULL);
    CHECK_OK(conc_cond_wait_for(&changed, &a, is_set, &flag, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&a));
    crew_join(&w);
    CHECK_OK(conc_mutex_lock(&b, CONC_FOREVER));
    CHECK_OK(conc_mutex_lock(&a, CONC_FOREVER)); /* a is not thought to be held still */
    CHECK_OK(conc_mutex_unlock(&a));
    CHECK_OK(conc_mutex_unlock(&b));
    SILENT();
    destroy_all();
}

int main(void) {
    check_begin("debug");
    conc_set_error_hook(hook, &reports);
    (void)conc_thread_current(); /* from here on this thread is called main */
    RUN(relock);
    RUN(foreign_unlock);
    RUN(destroyed_in_use);
    RUN(without_a_name);
    RUN(inversion);
    RUN(inversion_across_threads);
    RUN(cycle_of_three);
    RUN(with_lock_is_watched);
    RUN(destroyed_is_forgotten);
    RUN(no_false_alarm);
    RUN(through_a_condition);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}

#endif
