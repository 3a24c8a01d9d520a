/* once: exactly one run, failing functions, calls from within. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static int count(void *arg) {
    ++*(int *)arg;
    return 0;
}

static void runs_once(void) {
    static conc_once o;
    int n = 0, i;
    for (i = 0; i < 3; i++) CHECK_OK(conc_once_do(&o, count, &n, CONC_FOREVER));
    CHECK_OK(conc_once_do(&o, count, &n, CONC_NOW));
    CHECK_OK(conc_once_do(&o, count, &n, check_past()));
    CHECK_EQ(n, 1);
}

typedef struct failing {
    int calls, fail_times;
} failing;

static int fail_some(void *arg) {
    failing *f = (failing *)arg;
    return ++f->calls <= f->fail_times ? 42 : 0;
}

static void failing_function(void) {
    conc_once o = { 0 };
    failing f = { 0, 2 };
    CHECK_MISUSE(conc_once_do(&o, fail_some, &f, CONC_FOREVER), CONC_FAILED);
    CHECK_R(conc_once_do(&o, fail_some, &f, CONC_FOREVER), CONC_FAILED);
    CHECK_OK(conc_once_do(&o, fail_some, &f, CONC_FOREVER));
    CHECK_OK(conc_once_do(&o, fail_some, &f, CONC_FOREVER));
    CHECK_EQ(f.calls, 3);
}

static conc_once recursive;

static int call_again(void *arg) {
    CHECK_MISUSE(conc_once_do(&recursive, count, arg, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_R(conc_once_do(&recursive, count, arg, conc_after(0.001)), CONC_DEADLOCK);
    return 0;
}

static void from_within(void) {
    int n = 0;
    CHECK_OK(conc_once_do(&recursive, call_again, &n, CONC_FOREVER));
    CHECK_EQ(n, 0);
}

/* Another once from within is fine. */
static conc_once inner;
static int call_other(void *arg) {
    CHECK_OK(conc_once_do(&inner, count, arg, CONC_FOREVER));
    return 0;
}
static void nested(void) {
    conc_once o = { 0 };
    int n = 0;
    CHECK_OK(conc_once_do(&o, call_other, &n, CONC_FOREVER));
    CHECK_EQ(n, 1);
}

/* Many threads, many onces: each runs once; what it wrote (plainly) is seen by all; failures are retried by another. */
enum { THREADS = 6 };
typedef struct shared {
    conc_once *onces;
    int *runs, *values; /* written by the function, with no lock */
    conc_barrier start;
    int n;
} shared;

typedef struct one {
    shared *s;
    int i;
} one;

static int initialise(void *arg) {
    one *o = (one *)arg;
    int run = ++o->s->runs[o->i];
    if (o->i % 3 == 2 && run <= 2) return 1; /* fails twice, then succeeds */
    if (o->i % 4 == 1) conc_thread_yield();
    o->s->values[o->i] = o->i + 1000;
    return 0;
}

static int race(void *arg) {
    shared *s = (shared *)arg;
    int i;
    for (i = 0; i < s->n; i++) {
        one o;
        conc_result r;
        o.s = s;
        o.i = i;
        if (i % 16 == 0) CHECK_OK(conc_barrier_wait(&s->start, NULL, CONC_FOREVER));
        for (;;) {
            r = conc_once_do(&s->onces[i], initialise, &o, i % 5 == 0 ? conc_after(3e-6) : CONC_FOREVER);
            if (r == CONC_OK) break;
            CHECK((r == CONC_FAILED && i % 3 == 2) || (r == CONC_TIMEOUT && i % 5 == 0));
        }
        CHECK_EQ(s->values[i], i + 1000);
    }
    return 0;
}

static void many_threads(void) {
    shared s;
    crew c = { 0 };
    int i;
    memset(&s, 0, sizeof s);
    s.n = check_rounds(20000);
    s.onces = (conc_once *)calloc((size_t)s.n, sizeof *s.onces);
    s.runs = (int *)calloc((size_t)s.n, sizeof *s.runs);
    s.values = (int *)calloc((size_t)s.n, sizeof *s.values);
    s.start.parties = THREADS;
    for (i = 0; i < THREADS; i++) crew_add(&c, race, &s);
    crew_join(&c);
    for (i = 0; i < s.n; i++) CHECK_EQ(s.runs[i], i % 3 == 2 ? 3 : 1);
    free(s.onces);
    free(s.runs);
    free(s.values);
}

/* When the running function fails, one of those who wait runs next (it does not hang). */
typedef struct slow {
    conc_once o;
    conc_event running, go;
    int calls;
} slow;

static int fail_slowly(void *arg) {
    slow *s = (slow *)arg;
    if (++s->calls > 1) return 0;
    CHECK_OK(conc_event_set(&s->running));
    CHECK_OK(conc_event_wait(&s->go, CONC_FOREVER));
    return 1;
}

static int first_caller(void *arg) {
    slow *s = (slow *)arg;
    CHECK_R(conc_once_do(&s->o, fail_slowly, s, CONC_FOREVER), CONC_FAILED);
    return 0;
}

static int next_caller(void *arg) {
    slow *s = (slow *)arg;
    CHECK_OK(conc_once_do(&s->o, fail_slowly, s, CONC_FOREVER));
    CHECK_EQ(s->calls, 2);
    return 0;
}

static void waiters_of_a_failure(void) {
    unsigned round;
    for (round = 0; round < (unsigned)check_rounds(100); round++) {
        slow s;
        crew c = { 0 };
        int i;
        memset(&s, 0, sizeof s);
        crew_add(&c, first_caller, &s);
        CHECK_OK(conc_event_wait(&s.running, CONC_FOREVER));
        CHECK_R(conc_once_do(&s.o, fail_slowly, &s, CONC_NOW), CONC_BUSY);
        for (i = 0; i < 3; i++) crew_add(&c, next_caller, &s);
        nudge(round);
        CHECK_OK(conc_event_set(&s.go));
        crew_join(&c);
        CHECK_EQ(s.calls, 2);
    }
}

int main(void) {
    check_begin("once");
    RUN(runs_once);
    RUN(failing_function);
    RUN(from_within);
    RUN(nested);
    RUN(many_threads);
    RUN(waiters_of_a_failure);
    return check_end();
}
