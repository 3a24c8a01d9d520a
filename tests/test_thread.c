/* threads: start, join, detach, questions, the registry, thread-local values. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

static int reports, report_code;
static char report_text[256], report_thread[64];
static conc_mutex report_lock;

static void count_reports(const conc_error *e, void *user) {
    (void)user;
    CONC_WITH_LOCK(&report_lock) {
        reports++;
        report_code = e->code;
        CHECK_R(e->result, CONC_FAILED);
        snprintf(report_text, sizeof report_text, "%s", e->text);
        snprintf(report_thread, sizeof report_thread, "%s", e->thread);
    }
}

static int reports_now(void) {
    int n = 0;
    CONC_WITH_LOCK(&report_lock) n = reports;
    return n;
}

static int return_arg(void *arg) {
    return *(int *)arg;
}

static int wait_for(void *arg) {
    return conc_event_wait((conc_event *)arg, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void start_and_join(void) {
    int values[4] = { 0, 1, -5, 2147483647 }, i;
    conc_set_error_hook(count_reports, NULL);
    for (i = 0; i < 4; i++) {
        int result = 12345;
        conc_thread *t = conc_thread_start(return_arg, &values[i], NULL);
        CHECK(t != NULL);
        CHECK_OK(conc_thread_join(t, &result, CONC_FOREVER));
        CHECK_EQ(result, values[i]);
    }
    CHECK_EQ(reports, 0); /* each result was looked at */
    conc_set_error_hook(NULL, NULL);
}

static int plain_before, plain_after;

static int read_and_write(void *arg) {
    (void)arg;
    CHECK_EQ(plain_before, 17); /* what the caller did before the start */
    plain_after = 18;
    return 0;
}

static void happens_before(void) {
    int i;
    for (i = 0; i < check_rounds(300); i++) {
        conc_thread *t;
        plain_before = 17;
        plain_after = 0;
        t = conc_thread_start(read_and_write, NULL, NULL);
        CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
        CHECK_EQ(plain_after, 18);
        plain_before = 0;
    }
}

static void join_with_deadlines(void) {
    conc_event go = { 0 };
    int result = 7;
    conc_thread *t = conc_thread_start(wait_for, &go, NULL);
    CHECK_R(conc_thread_join(t, &result, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_thread_join(t, &result, conc_after(0.002)), CONC_TIMEOUT);
    CHECK_EQ(result, 7);
    CHECK(conc_thread_is_alive(t));
    CHECK_R(conc_try(conc_op_thread_end(t)), CONC_BUSY);
    CHECK_OK(conc_event_set(&go));
    CHECK_OK(conc_wait(conc_op_thread_end(t), CONC_FOREVER));
    CHECK(!conc_thread_is_alive(t));
    CHECK_OK(conc_try(conc_op_thread_end(t))); /* still has to be joined, after that */
    CHECK_OK(conc_thread_join(t, &result, CONC_NOW));
    CHECK_EQ(result, 0);
}

static void select_of_thread_ends(void) {
    conc_event go[3] = { { 0 } };
    conc_thread *t[3];
    conc_op ops[3];
    int i, k;
    for (i = 0; i < 3; i++) t[i] = conc_thread_start(wait_for, &go[i], NULL);
    for (k = 2; k >= 0; k--) {
        CHECK_OK(conc_event_set(&go[k]));
        for (i = 0; i <= k; i++) ops[i] = conc_op_thread_end(t[i]);
        CHECK_EQ(conc_select(ops, (size_t)k + 1, CONC_FOREVER), k);
        CHECK_OK(conc_thread_join(t[k], NULL, CONC_FOREVER));
    }
}

/* ---- joining wrongly ---- */

static conc_thread *own_handle;

static int join_self(void *arg) {
    (void)arg;
    CHECK(conc_thread_current() == own_handle);
    CHECK_MISUSE(conc_thread_join(conc_thread_current(), NULL, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_thread_join(conc_thread_current(), NULL, conc_after(1)), CONC_DEADLOCK);
    CHECK_MISUSE(conc_thread_join(conc_thread_main(), NULL, CONC_FOREVER), CONC_INVALID); /* not started here */
    CHECK_MISUSE(conc_thread_detach(conc_thread_main()), CONC_INVALID);
    return 0;
}

static int wait_then_join_self(void *arg) {
    CHECK_OK(conc_event_wait((conc_event *)arg, CONC_FOREVER));
    return join_self(NULL);
}

static void joining_wrongly(void) {
    conc_event go = { 0 };
    conc_result r;
    CHECK_MISUSE(conc_thread_join(NULL, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_thread_detach(NULL), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_thread_start(NULL, NULL, NULL), CONC_INVALID);
    r = conc_thread_join(conc_thread_current(), NULL, CONC_FOREVER); /* the caller itself, and not started here: either */
    CHECK(r == CONC_DEADLOCK || r == CONC_INVALID);
    own_handle = conc_thread_start(wait_then_join_self, &go, NULL);
    CHECK_OK(conc_event_set(&go));
    CHECK_OK(conc_thread_join(own_handle, NULL, CONC_FOREVER));
}

/* Two threads join the same handle at once: one gets it, the other is told. */
typedef struct two_joins {
    conc_thread *t;
    conc_result r[3];
    conc_barrier start;
} two_joins;

static int join_it(void *arg) {
    two_joins *j = (two_joins *)arg;
    uint32_t rank = 0;
    CHECK_OK(conc_barrier_wait(&j->start, &rank, CONC_FOREVER));
    j->r[rank] = conc_thread_join(j->t, NULL, CONC_FOREVER);
    return 0;
}

static void joined_by_two(void) {
    unsigned i;
    for (i = 0; i < (unsigned)check_rounds(100); i++) {
        conc_event go = { 0 };
        two_joins j;
        crew c = { 0 };
        int ok = 0, invalid = 0, k;
        uint32_t rank = 0;
        memset(&j, 0, sizeof j);
        j.start.parties = 3;
        j.t = conc_thread_start(wait_for, &go, NULL);
        crew_add(&c, join_it, &j);
        crew_add(&c, join_it, &j);
        CHECK_OK(conc_barrier_wait(&j.start, &rank, CONC_FOREVER));
        nudge(i);
        CHECK_OK(conc_event_set(&go));
        crew_join(&c);
        for (k = 0; k < 3; k++) {
            if (k == (int)rank) continue;
            ok += j.r[k] == CONC_OK;
            invalid += j.r[k] == CONC_INVALID;
        }
        CHECK_EQ(ok, 1);
        CHECK_EQ(invalid, 1);
    }
}

static void joined_and_detached(void) {
    conc_event go = { 0 };
    size_t n = conc_thread_count();
    conc_thread *t = conc_thread_start(wait_for, &go, NULL);
    CHECK_OK(conc_thread_detach(t));
    /* it is alive and the handle with it: told, not undefined */
    CHECK_MISUSE(conc_thread_detach(t), CONC_INVALID);
    CHECK_MISUSE(conc_thread_join(t, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_OK(conc_event_set(&go));
    UNTIL(conc_thread_count() == n);
    t = conc_thread_start(wait_for, &go, NULL);
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_MISUSE(conc_thread_join(t, NULL, CONC_FOREVER), CONC_INVALID); /* twice */
    CHECK_MISUSE(conc_thread_detach(t), CONC_INVALID);
}

/* ---- failures nobody looks at ---- */

static void failures_go_to_the_hook(void) {
    int seven = 7, eight = 8, result = 0;
    conc_thread_desc desc;
    conc_thread *t;
    memset(&desc, 0, sizeof desc);
    desc.name = "failing";
    reports = 0;
    conc_set_error_hook(count_reports, NULL);
    t = conc_thread_start(return_arg, &seven, &desc);
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_EQ(reports_now(), 1);
    CHECK_EQ(report_code, 7);
    CHECK_STR(report_thread, "failing");
    CHECK(report_text[0] != '\0');
    t = conc_thread_start(return_arg, &eight, &desc);
    CHECK_OK(conc_thread_join(t, &result, CONC_FOREVER));
    CHECK_EQ(result, 8);
    CHECK_EQ(reports_now(), 1); /* somebody looked */
    t = conc_thread_start(return_arg, &eight, &desc);
    CHECK_OK(conc_thread_detach(t)); /* before or after its end */
    UNTIL(reports_now() == 2);
    CHECK_EQ(report_code, 8);
    t = conc_thread_start(return_arg, &seven, &desc);
    CHECK_OK(conc_wait(conc_op_thread_end(t), CONC_FOREVER));
    CHECK_OK(conc_thread_detach(t)); /* surely after its end */
    UNTIL(reports_now() == 3);
    CHECK_EQ(report_code, 7);
    conc_set_error_hook(NULL, NULL);
}

/* ---- questions ---- */

typedef struct asked {
    conc_event ready, go;
    conc_thread *self;
    char name[64];
    uint32_t id;
    bool daemon, alive, token_ok;
    conc_cancel *token;
} asked;

static int answer(void *arg) {
    asked *a = (asked *)arg;
    a->self = conc_thread_current();
    snprintf(a->name, sizeof a->name, "%s", conc_thread_name(NULL));
    a->id = conc_thread_id(NULL);
    a->daemon = conc_thread_is_daemon(NULL);
    a->alive = conc_thread_is_alive(NULL);
    a->token_ok = conc_cancel_current() == a->token;
    CHECK_STR(conc_thread_name(a->self), a->name);
    CHECK_EQ(conc_thread_id(a->self), a->id);
    CHECK_OK(conc_event_set(&a->ready));
    return conc_event_wait(&a->go, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void questions(void) {
    static const char *names[] = { NULL, "worker", "", "a name that is longer than thirty-one bytes" };
    uint32_t last_id = 0;
    int i;
    for (i = 0; i < 4; i++) {
        asked a;
        conc_cancel token = { 0 };
        conc_thread_desc desc;
        conc_thread *t;
        memset(&a, 0, sizeof a);
        memset(&desc, 0, sizeof desc);
        desc.name = names[i];
        desc.daemon = i % 2 == 1;
        desc.cancel = i >= 2 ? &token : NULL;
        a.token = desc.cancel;
        t = conc_thread_start(answer, &a, &desc);
        CHECK_OK(conc_event_wait(&a.ready, CONC_FOREVER));
        CHECK(a.self == t);
        CHECK_STR(conc_thread_name(t), a.name);
        if (i == 0) CHECK(strncmp(a.name, "thread-", 7) == 0 && a.name[7] >= '0' && a.name[7] <= '9');
        if (i == 1) CHECK_STR(a.name, "worker");
        if (i == 3) CHECK_STR(a.name, "a name that is longer than thir"); /* cut at 31 bytes */
        CHECK_EQ(conc_thread_id(t), a.id);
        CHECK(a.id > last_id || last_id == 0);
        CHECK(a.id != conc_thread_id(NULL));
        last_id = a.id;
        CHECK_EQ(a.daemon, i % 2 == 1);
        CHECK_EQ(conc_thread_is_daemon(t), a.daemon);
        CHECK(a.alive);
        CHECK(conc_thread_is_alive(t));
        CHECK(a.token_ok);
        CHECK_OK(conc_event_set(&a.go));
        CHECK_OK(conc_wait(conc_op_thread_end(t), CONC_FOREVER));
        CHECK(!conc_thread_is_alive(t));
        CHECK_STR(conc_thread_name(t), a.name); /* lives as long as the handle */
        CHECK_EQ(conc_thread_id(t), a.id);
        CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    }
}

static int ask_main(void *arg) {
    conc_thread *main_thread = (conc_thread *)arg;
    CHECK(conc_thread_main() == main_thread);
    CHECK(conc_thread_current() != main_thread);
    CHECK(conc_thread_is_alive(conc_thread_main()));
    CHECK(!conc_thread_is_daemon(conc_thread_main()));
    return 0;
}

/* A thread that was not started here has a handle too, while it lives. */
#if defined(_WIN32)
static DWORD WINAPI foreign(void *arg)
#else
static void *foreign(void *arg)
#endif
{
    conc_thread *me = conc_thread_current();
    CHECK(me != NULL && me != conc_thread_main());
    CHECK(strncmp(conc_thread_name(me), "thread-", 7) == 0);
    CHECK(conc_thread_is_alive(me) && !conc_thread_is_daemon(me));
    CHECK_MISUSE(conc_thread_join(me, NULL, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_thread_detach(me), CONC_INVALID);
    CHECK_OK(conc_event_set((conc_event *)arg));
    return 0;
}

static void a_foreign_thread(void) {
    conc_event done = { 0 };
    size_t before;
#if defined(_WIN32)
    HANDLE t;
    before = conc_thread_count();
    t = CreateThread(NULL, 0, foreign, &done, 0, NULL);
    if (!CHECK(t != NULL)) return;
    CHECK_OK(conc_event_wait(&done, CONC_FOREVER));
    (void)WaitForSingleObject(t, INFINITE);
    (void)CloseHandle(t);
#else
    pthread_t t;
    before = conc_thread_count();
    if (!CHECK(pthread_create(&t, NULL, foreign, &done) == 0)) return;
    CHECK_OK(conc_event_wait(&done, CONC_FOREVER));
    CHECK(pthread_join(t, NULL) == 0);
#endif
    CHECK_EQ(conc_thread_count(), before);
}

static void the_main_thread(void) {
    crew c = { 0 };
    conc_thread *self = conc_thread_current();
    CHECK(self != NULL);
    CHECK(conc_thread_current() == self);
    CHECK(conc_thread_main() == self);
    CHECK(conc_thread_id(NULL) >= 1);
    CHECK(conc_thread_name(NULL) != NULL && conc_thread_name(NULL)[0] != '\0');
    crew_add(&c, ask_main, self);
    crew_join(&c);
}

static int rename_self(void *arg) {
    (void)arg;
    CHECK_OK(conc_thread_set_name("renamed"));
    CHECK_STR(conc_thread_name(NULL), "renamed");
    CHECK_STR(conc_thread_name(conc_thread_current()), "renamed");
    CHECK_OK(conc_thread_set_name("0123456789012345678901234567890123456789"));
    CHECK_STR(conc_thread_name(NULL), "0123456789012345678901234567890");
    CHECK_MISUSE(conc_thread_set_name(NULL), CONC_INVALID);
    return 0;
}

static void renaming(void) {
    crew c = { 0 };
    char before[64];
    snprintf(before, sizeof before, "%s", conc_thread_name(NULL));
    crew_add(&c, rename_self, NULL);
    crew_join(&c);
    CHECK_STR(conc_thread_name(NULL), before);
    CHECK_OK(conc_thread_set_name("captain"));
    CHECK_STR(conc_thread_name(conc_thread_main()), "captain");
}

static int give_id(void *arg) {
    *(uint32_t *)arg = conc_thread_id(NULL);
    return 0;
}

static void ids_are_never_used_twice(void) {
    enum { N = 300 };
    static uint32_t ids[N];
    int i, k;
    for (i = 0; i < N; i += 6) {
        crew c = { 0 };
        for (k = i; k < i + 6 && k < N; k++) crew_add(&c, give_id, &ids[k]);
        crew_join(&c);
    }
    for (i = 0; i < N; i++) {
        CHECK(ids[i] >= 1);
        for (k = 0; k < i; k++) CHECK(ids[i] != ids[k]);
    }
}

/* ---- the registry ---- */

typedef struct seen {
    int total, named;
} seen;

static void look(conc_thread *t, void *arg) {
    seen *s = (seen *)arg;
    s->total++;
    s->named += strcmp(conc_thread_name(t), "counted") == 0;
    if (!conc_thread_is_alive(t)) s->total += 1000000;
}

static void registry(void) {
    conc_event go = { 0 };
    crew c = { 0 };
    seen s = { 0, 0 };
    size_t before;
    int i;
    conc_thread_desc desc;
    (void)conc_thread_current(); /* main has asked for its handle: it counts */
    before = conc_thread_count();
    CHECK(before >= 1);
    memset(&desc, 0, sizeof desc);
    desc.name = "counted";
    for (i = 0; i < 5; i++) {
        desc.daemon = i == 4;
        c.threads[c.n++] = conc_thread_start(wait_for, &go, &desc);
        CHECK_EQ(conc_thread_count(), before + (size_t)i + 1); /* from the start's return on */
    }
    conc_thread_each(look, &s);
    CHECK_EQ(s.total, before + 5);
    CHECK_EQ(s.named, 5);
    CHECK_OK(conc_event_set(&go));
    crew_join(&c);
    CHECK_EQ(conc_thread_count(), before);
    memset(&s, 0, sizeof s);
    conc_thread_each(look, &s);
    CHECK_EQ(s.total, before);
    CHECK_EQ(s.named, 0);
    conc_thread_each(NULL, NULL); /* harmless */
}

static int start_and_end(void *arg) {
    int i, n = *(int *)arg;
    for (i = 0; i < n; i++) {
        int zero = 0;
        conc_thread *t = conc_thread_start(return_arg, &zero, NULL);
        seen s = { 0, 0 };
        if (t == NULL) return 1;
        if (i % 4 == 0) conc_thread_each(look, &s);
        CHECK(s.total < 1000000);
        (void)conc_thread_count();
        CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    }
    return 0;
}

static void registry_under_load(void) {
    size_t before = conc_thread_count();
    int n = check_rounds(400), i;
    crew c = { 0 };
    for (i = 0; i < 4; i++) crew_add(&c, start_and_end, &n);
    crew_join(&c);
    CHECK_EQ(conc_thread_count(), before);
}

static void join_all(void) {
    conc_event go = { 0 };
    conc_thread_desc desc;
    conc_thread *t, *d;
    memset(&desc, 0, sizeof desc);
    desc.name = "straggler";
    CHECK_OK(conc_thread_join_all(CONC_NOW)); /* nobody */
    t = conc_thread_start(wait_for, &go, &desc);
    desc.name = "demon";
    desc.daemon = true;
    d = conc_thread_start(wait_for, &go, &desc);
    CHECK_R(conc_thread_join_all(conc_after(0.002)), CONC_TIMEOUT);
    CHECK_HAS(conc_error_detail(), "straggler"); /* names those that are left */
    CHECK(strstr(conc_error_detail(), "demon") == NULL);
    CHECK_R(conc_error_result(), CONC_TIMEOUT);
    CHECK_OK(conc_thread_detach(t)); /* detached ones are waited for, too */
    CHECK_R(conc_thread_join_all(conc_after(0.001)), CONC_TIMEOUT);
    CHECK(conc_thread_is_alive(d));
    CHECK_OK(conc_event_set(&go));
    CHECK_OK(conc_thread_join_all(CONC_FOREVER));
    CHECK_OK(conc_thread_join(d, NULL, CONC_FOREVER));
}

/* ---- too many, too big ---- */

static void enormous_stack(void) {
    size_t before = conc_thread_count();
    int zero = 0;
    conc_thread_desc desc;
    conc_thread *t;
    memset(&desc, 0, sizeof desc);
    desc.stack_size = (size_t)-1 / 2;
    if (sizeof(size_t) > 4) { /* with 32 bits that may be had */
        CHECK_MISUSE_NULL(conc_thread_start(return_arg, &zero, &desc), CONC_NO_THREADS);
    }
    desc.stack_size = (size_t)-1;
    CHECK_MISUSE_NULL(conc_thread_start(return_arg, &zero, &desc), CONC_NO_THREADS);
    CHECK_EQ(conc_thread_count(), before); /* nothing left of it */
    desc.stack_size = 1; /* rounded up to what the system needs */
    t = conc_thread_start(return_arg, &zero, &desc);
    CHECK(t != NULL);
    if (t != NULL) CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    desc.stack_size = 1000003;
    t = conc_thread_start(return_arg, &zero, &desc);
    CHECK(t != NULL);
    if (t != NULL) CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
}

static int use_stack(void *arg) {
    volatile char room[3 * 1024 * 1024];
    size_t i;
    for (i = 0; i < sizeof room; i += 512) room[i] = (char)i;
    return room[512 * 3] == (char)(512 * 3) && arg == NULL ? 0 : 1;
}

static void stack_size_is_given(void) {
    conc_thread_desc desc;
    conc_thread *t;
    int result = 5;
    memset(&desc, 0, sizeof desc);
    desc.stack_size = (size_t)16 * 1024 * 1024;
    t = conc_thread_start(use_stack, NULL, &desc);
    CHECK(t != NULL);
    if (t == NULL) return;
    CHECK_OK(conc_thread_join(t, &result, CONC_FOREVER));
    CHECK_EQ(result, 0);
}

/* Detached threads by the hundred: their memory comes back (the leak checkers look). */
static int count_down(void *arg) {
    return conc_latch_done((conc_latch *)arg) == CONC_OK ? 0 : 1;
}

static void detached(void) {
    static conc_latch left;
    size_t before = conc_thread_count();
    int i, n = check_rounds(400);
    CHECK_OK(conc_latch_add(&left, (uint32_t)n));
    for (i = 0; i < n; i++) {
        conc_thread *t = conc_thread_start(count_down, &left, NULL);
        if (!CHECK(t != NULL)) return;
        CHECK_OK(conc_thread_detach(t));
    }
    CHECK_OK(conc_latch_wait(&left, CONC_FOREVER));
    CHECK_OK(conc_thread_join_all(CONC_FOREVER));
    CHECK_EQ(conc_thread_count(), before);
}

/* ---- thread-local values ---- */

static conc_mutex destroyed_lock;
static int destroyed[4];
static conc_local key_a, key_b, key_again;

static void destroy_a(void *value) {
    CONC_WITH_LOCK(&destroyed_lock) destroyed[0] += *(int *)value;
}

static int again_rounds;
static void destroy_again(void *value) { /* sets a value again, each time */
    CONC_WITH_LOCK(&destroyed_lock) again_rounds++;
    CHECK(conc_local_get(&key_again) == NULL); /* taken out before the call */
    CHECK_OK(conc_local_set(&key_again, value));
}

static int use_locals(void *arg) {
    int *mine = (int *)arg;
    CHECK(conc_local_get(&key_a) == NULL); /* NULL at first, in each thread */
    CHECK(conc_local_get(&key_b) == NULL);
    CHECK_OK(conc_local_set(&key_a, mine));
    CHECK_OK(conc_local_set(&key_b, &key_b));
    conc_thread_yield();
    CHECK(conc_local_get(&key_a) == mine);
    CHECK(conc_local_get(&key_b) == &key_b);
    CHECK_OK(conc_local_set(&key_b, NULL));
    CHECK(conc_local_get(&key_b) == NULL);
    return 0;
}

static void locals(void) {
    int values[6], i, sum = 0;
    crew c = { 0 };
    key_a.destroy = destroy_a;
    CHECK(conc_local_get(&key_a) == NULL);
    CHECK_OK(conc_local_set(&key_a, &sum));
    for (i = 0; i < 6; i++) {
        values[i] = 1 << i;
        sum += values[i];
        crew_add(&c, use_locals, &values[i]);
    }
    crew_join(&c);
    CHECK_EQ(destroyed[0], 63); /* each value once, before join returned; main's not */
    CHECK(conc_local_get(&key_a) == &sum);
    CHECK_OK(conc_local_set(&key_a, NULL));
    CHECK_EQ(destroyed[0], 63); /* setting destroys nothing */
}

static int set_again(void *arg) {
    return conc_local_set(&key_again, arg) == CONC_OK ? 0 : 1;
}

static void four_rounds_of_destructors(void) {
    crew c = { 0 };
    int x = 0;
    key_again.destroy = destroy_again;
    crew_add(&c, set_again, &x);
    crew_join(&c);
    CHECK_EQ(again_rounds, 4);
}

static conc_local key_late;
static void destroy_late(void *value) {
    /* the library works in a destructor */
    conc_event e = { 0 };
    conc_mutex m = { 0 };
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
    CHECK_STR(conc_thread_name(NULL), "tidy");
    CHECK_R(conc_event_set(NULL), CONC_INVALID);
    *(int *)value = 1;
}

static int set_late(void *arg) {
    return conc_local_set(&key_late, arg) == CONC_OK ? 0 : 1;
}

static void library_works_in_destructors(void) {
    conc_thread_desc desc;
    conc_thread *t;
    int done = 0;
    memset(&desc, 0, sizeof desc);
    desc.name = "tidy";
    key_late.destroy = destroy_late;
    t = conc_thread_start(set_late, &done, &desc);
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_EQ(done, 1);
}

static void too_many_keys(void) {
    static conc_local keys[140];
    int i, ok = 0, x = 0;
    for (i = 0; i < 140; i++) {
        conc_result r = conc_local_set(&keys[i], &x);
        if (r == CONC_OK) {
            ok++;
            CHECK(conc_local_get(&keys[i]) == &x);
        } else {
            CHECK_MISUSE(conc_local_set(&keys[i], &x), CONC_INVALID);
            CHECK(conc_local_get(&keys[i]) == NULL);
        }
    }
    CHECK(ok >= 100); /* 128, less those used above */
    CHECK(ok <= 128);
    for (i = 0; i < 140; i++) CHECK(conc_local_get(&keys[i]) == (i < ok ? &x : NULL));
    CHECK_MISUSE(conc_local_set(NULL, &x), CONC_INVALID);
    CHECK(conc_local_get(NULL) == NULL);
}

/* The end of a thread that was not started here, of oneself, of one already joined: told, not waited for. */
static int wait_for_main(void *arg) {
    CHECK_MISUSE(conc_wait(conc_op_thread_end((conc_thread *)arg), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_thread_end(conc_thread_current()), CONC_FOREVER), CONC_DEADLOCK);
    return 0;
}

static void ends_waited_for_wrongly(void) {
    conc_thread *t = conc_thread_start(wait_for_main, conc_thread_current(), NULL);
    conc_op ops[2];
    CHECK_OK(conc_wait(conc_op_thread_end(t), CONC_FOREVER));
    ops[0] = conc_op_thread_end(t);
    ops[1] = conc_op_sleep(0);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0);
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_MISUSE(conc_wait(conc_op_thread_end(t), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_thread_end(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_thread_end(conc_thread_current()), CONC_FOREVER), CONC_DEADLOCK);
}

/* A visitor of the registry may ask for everything. */
static void ask(conc_thread *t, void *arg) {
    int *found = (int *)arg;
    if (t == conc_thread_main()) (*found)++;
    CHECK(conc_thread_name(NULL) != NULL);
    CHECK(conc_thread_name(t) != NULL && conc_thread_id(t) != 0 && conc_thread_is_alive(t));
    (void)conc_thread_is_daemon(t);
    (void)conc_thread_count();
}

static void asking_while_visiting(void) {
    int found = 0;
    conc_thread_each(ask, &found);
    CHECK_EQ(found, 1);
}

int main(void) {
    size_t count;
    check_begin("thread");
    (void)conc_thread_current();
    count = conc_thread_count();
    RUN(start_and_join);
    RUN(happens_before);
    RUN(join_with_deadlines);
    RUN(select_of_thread_ends);
    RUN(joining_wrongly);
    RUN(ends_waited_for_wrongly);
    RUN(asking_while_visiting);
    RUN(joined_by_two);
    RUN(joined_and_detached);
    RUN(failures_go_to_the_hook);
    RUN(questions);
    RUN(the_main_thread);
    RUN(a_foreign_thread);
    RUN(renaming);
    RUN(ids_are_never_used_twice);
    RUN(join_all);
    RUN(enormous_stack);
    RUN(stack_size_is_given);
    RUN(detached);
    RUN(locals);
    RUN(four_rounds_of_destructors);
    RUN(library_works_in_destructors);
    RUN(too_many_keys);
    RUN(registry);
    RUN(registry_under_load);
    CHECK_EQ(conc_thread_count(), count);
    return check_end();
}
