/* The thread pool: its rules as a table, the policies, order, hooks, the end, later and again and again, storms; and the
 * program's end with a pool that was left open, in child processes. CONC_TEST_LAUNCHER, if set, stands before their
 * command (an emulator). */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"
#include "pooled.h"

#if !defined(_WIN32)
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#endif

#if CHECK_TSAN /* threads that are not joined at the program's end are what some of this is about */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "report_thread_leaks=0:die_after_fork=0";
}
#endif

/* ---- tasks at gates ------------------------------------------------------------------------------------- */

#define GATED 24
typedef struct gated {
    conc_event gate;
    bool begun, ended;     /* guarded by gates_lock, as the next */
    conc_thread *thread;   /* that ran it */
} gated;

static conc_mutex gates_lock;
static gated gates[GATED];

static int at_gate(void *arg) {
    gated *g = (gated *)arg;
    conc_cancel *token;
    CONC_WITH_LOCK(&gates_lock) {
        g->begun = true;
        g->thread = conc_thread_current();
    }
    (void)conc_event_wait(&g->gate, CONC_FOREVER);
    token = conc_cancel_use(NULL); /* which may have ended the wait, and is not to end this */
    CONC_WITH_LOCK(&gates_lock) g->ended = true;
    (void)conc_cancel_use(token);
    return 0;
}

/* The same, and it returns what its wait did. */
static int at_gate_code(void *arg) {
    gated *g = (gated *)arg;
    CONC_WITH_LOCK(&gates_lock) g->begun = true;
    return conc_event_wait(&g->gate, CONC_FOREVER);
}

static void gates_shut(void) {
    int i;
    memset(gates, 0, sizeof gates);
    for (i = 0; i < GATED; i++) CHECK(!conc_event_is_set(&gates[i].gate));
}

static int gates_begun(void) {
    int i, n = 0;
    CONC_WITH_LOCK(&gates_lock) {
        for (i = 0; i < GATED; i++) n += gates[i].begun;
    }
    return n;
}

static int gates_ended(void) {
    int i, n = 0;
    CONC_WITH_LOCK(&gates_lock) {
        for (i = 0; i < GATED; i++) n += gates[i].ended;
    }
    return n;
}

/* Lets the first that has begun and stands there go on, and waits for its end. */
static void gates_open_one(void) {
    gated *g = NULL;
    int i, ended = gates_ended();
    CONC_WITH_LOCK(&gates_lock) {
        for (i = 0; i < GATED && g == NULL; i++) {
            if (gates[i].begun && !gates[i].ended && !conc_event_is_set(&gates[i].gate)) g = &gates[i];
        }
    }
    if (!CHECK(g != NULL)) return;
    CHECK_OK(conc_event_set(&g->gate));
    UNTIL(gates_ended() > ended);
}

static void gates_open(void) {
    int i;
    for (i = 0; i < GATED; i++) CHECK_OK(conc_event_set(&gates[i].gate));
}

/* ---- the rules ---------------------------------------------------------------------------------------------
 * Each line: a pool, how many threads it has, how many of them idle, how many tasks queued; what happens then; and the
 * same numbers after it. */

enum { PLAIN = 0, GROW = 1, FADE = 2 }; /* grow_first, core_time_out */
enum { NO_Q = -1, ANY = 0 };           /* no queue, an unbounded one */
enum { ABORT = CONC_REJECT_ABORT, DISCARD = CONC_REJECT_DISCARD, OLDEST = CONC_REJECT_DISCARD_OLDEST,
       CALLER = CONC_REJECT_CALLER_RUNS, BLOCK = CONC_REJECT_BLOCK };
typedef enum event { SUBMIT, ENDS, PASSES, RESIZE_DOWN, RESIZE_UP, CLOSE, CLOSE_NOW } event;
typedef enum outcome {
    BEGINS,    /* it begins: an idle thread has taken it, or a new one */
    WAITS,     /* it is queued */
    REJECTED,  /* the call says so */
    DROPPED,   /* the call says OK, and the task will not run */
    IN_FOR_OLD, /* it is queued, another is dropped */
    BY_CALLER, /* it has run when the call returns, in this thread */
    TIMED_OUT, /* the call has waited for room */
    NEXT,      /* another begins */
    NOTHING,
    RETURNED   /* all those queued */
} outcome;

typedef struct numbers {
    int threads, idle, queued;
} numbers;

typedef struct rule {
    int core, max, capacity, flags, policy;
    numbers before;
    event event;
    numbers after;
    outcome outcome;
} rule;

static const rule rules[] = {
    /* core max  queue flags  policy   threads idle queued  then        threads idle queued */
    /* an unbounded queue */
    { 2, 2, ANY,  PLAIN, ABORT,    { 0, 0, 0 }, SUBMIT, { 1, 0, 0 }, BEGINS },
    { 2, 2, ANY,  PLAIN, ABORT,    { 1, 0, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 2, 2, ANY,  PLAIN, ABORT,    { 1, 1, 0 }, SUBMIT, { 1, 0, 0 }, BEGINS }, /* idle before new */
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 0 }, SUBMIT, { 2, 0, 1 }, WAITS },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 1, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 2, 0 }, SUBMIT, { 2, 1, 0 }, BEGINS },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 3 }, SUBMIT, { 2, 0, 4 }, WAITS },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 3 }, ENDS,   { 2, 0, 2 }, NEXT },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 1 }, ENDS,   { 2, 0, 0 }, NEXT },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 0 }, ENDS,   { 2, 1, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 1, 0 }, ENDS,   { 2, 2, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 2, 0 }, PASSES, { 2, 2, 0 }, NOTHING },
    { 2, 2, ANY,  FADE,  ABORT,    { 2, 2, 0 }, PASSES, { 0, 0, 0 }, NOTHING },
    { 2, 2, ANY,  FADE,  ABORT,    { 2, 1, 0 }, PASSES, { 1, 0, 0 }, NOTHING },
    { 2, 2, ANY,  FADE,  ABORT,    { 2, 0, 0 }, PASSES, { 2, 0, 0 }, NOTHING },
    { 2, 2, ANY,  FADE,  ABORT,    { 2, 0, 2 }, PASSES, { 2, 0, 2 }, NOTHING },
    { 1, 1, ANY,  PLAIN, ABORT,    { 1, 0, 5 }, SUBMIT, { 1, 0, 6 }, WAITS },
    /* a bounded queue, and extra threads */
    { 1, 3, 2,    PLAIN, ABORT,    { 1, 0, 0 }, SUBMIT, { 1, 0, 1 }, WAITS },
    { 1, 3, 2,    PLAIN, ABORT,    { 1, 0, 1 }, SUBMIT, { 1, 0, 2 }, WAITS },
    { 1, 3, 2,    PLAIN, ABORT,    { 1, 0, 2 }, SUBMIT, { 2, 0, 2 }, BEGINS },
    { 1, 3, 2,    PLAIN, ABORT,    { 2, 0, 2 }, SUBMIT, { 3, 0, 2 }, BEGINS },
    { 1, 3, 2,    PLAIN, ABORT,    { 2, 0, 1 }, SUBMIT, { 2, 0, 2 }, WAITS },
    { 1, 3, 2,    PLAIN, ABORT,    { 2, 0, 0 }, SUBMIT, { 2, 0, 1 }, WAITS },
    { 1, 3, 2,    PLAIN, ABORT,    { 2, 1, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 2, 0 }, SUBMIT, { 3, 1, 0 }, BEGINS },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 1 }, SUBMIT, { 3, 0, 2 }, WAITS },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, REJECTED },
    { 1, 3, 2,    PLAIN, DISCARD,  { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, DROPPED },
    { 1, 3, 2,    PLAIN, OLDEST,   { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, IN_FOR_OLD },
    { 1, 3, 2,    PLAIN, CALLER,   { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, BY_CALLER },
    { 1, 3, 2,    PLAIN, BLOCK,    { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, TIMED_OUT },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 2 }, ENDS,   { 3, 0, 1 }, NEXT },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 0 }, ENDS,   { 3, 1, 0 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 3, 0 }, PASSES, { 1, 1, 0 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 2, 0 }, PASSES, { 1, 0, 0 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 1, 0 }, PASSES, { 2, 0, 0 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 0 }, PASSES, { 3, 0, 0 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 1, 1, 0 }, PASSES, { 1, 1, 0 }, NOTHING },
    { 1, 3, 2,    FADE,  ABORT,    { 3, 3, 0 }, PASSES, { 0, 0, 0 }, NOTHING },
    { 1, 3, 2,    FADE,  ABORT,    { 1, 1, 0 }, PASSES, { 0, 0, 0 }, NOTHING },
    /* the same, and it grows first */
    { 1, 3, 2,    GROW,  ABORT,    { 0, 0, 0 }, SUBMIT, { 1, 0, 0 }, BEGINS },
    { 1, 3, 2,    GROW,  ABORT,    { 1, 0, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 1, 3, 2,    GROW,  ABORT,    { 1, 1, 0 }, SUBMIT, { 1, 0, 0 }, BEGINS },
    { 1, 3, 2,    GROW,  ABORT,    { 2, 1, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 1, 3, 2,    GROW,  ABORT,    { 2, 0, 0 }, SUBMIT, { 3, 0, 0 }, BEGINS },
    { 1, 3, 2,    GROW,  ABORT,    { 3, 0, 0 }, SUBMIT, { 3, 0, 1 }, WAITS },
    { 1, 3, 2,    GROW,  ABORT,    { 3, 0, 1 }, SUBMIT, { 3, 0, 2 }, WAITS },
    { 1, 3, 2,    GROW,  ABORT,    { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, REJECTED },
    { 1, 3, 2,    GROW,  OLDEST,   { 3, 0, 2 }, SUBMIT, { 3, 0, 2 }, IN_FOR_OLD },
    { 1, 3, 2,    GROW,  ABORT,    { 3, 3, 0 }, PASSES, { 1, 1, 0 }, NOTHING },
    { 1, 3, ANY,  GROW,  ABORT,    { 2, 0, 0 }, SUBMIT, { 3, 0, 0 }, BEGINS },
    { 1, 3, ANY,  GROW,  ABORT,    { 3, 0, 5 }, SUBMIT, { 3, 0, 6 }, WAITS },
    { 1, 3, ANY,  GROW,  ABORT,    { 3, 0, 5 }, ENDS,   { 3, 0, 4 }, NEXT },
    /* no queue */
    { 1, 2, NO_Q, PLAIN, ABORT,    { 0, 0, 0 }, SUBMIT, { 1, 0, 0 }, BEGINS },
    { 1, 2, NO_Q, PLAIN, ABORT,    { 1, 0, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 1, 2, NO_Q, PLAIN, ABORT,    { 1, 1, 0 }, SUBMIT, { 1, 0, 0 }, BEGINS },
    { 1, 2, NO_Q, PLAIN, ABORT,    { 2, 1, 0 }, SUBMIT, { 2, 0, 0 }, BEGINS },
    { 1, 2, NO_Q, PLAIN, ABORT,    { 2, 2, 0 }, SUBMIT, { 2, 1, 0 }, BEGINS },
    { 1, 2, NO_Q, PLAIN, ABORT,    { 2, 0, 0 }, SUBMIT, { 2, 0, 0 }, REJECTED },
    { 1, 2, NO_Q, PLAIN, DISCARD,  { 2, 0, 0 }, SUBMIT, { 2, 0, 0 }, DROPPED },
    { 1, 2, NO_Q, PLAIN, CALLER,   { 2, 0, 0 }, SUBMIT, { 2, 0, 0 }, BY_CALLER },
    { 1, 2, NO_Q, PLAIN, BLOCK,    { 2, 0, 0 }, SUBMIT, { 2, 0, 0 }, TIMED_OUT },
    { 1, 2, NO_Q, PLAIN, ABORT,    { 2, 2, 0 }, PASSES, { 1, 1, 0 }, NOTHING },
    { 1, 2, NO_Q, GROW,  ABORT,    { 2, 0, 0 }, SUBMIT, { 2, 0, 0 }, REJECTED },
    /* other numbers: down is core 1, max 1; up is one more of each */
    { 3, 3, ANY,  PLAIN, ABORT,    { 3, 3, 0 }, RESIZE_DOWN, { 1, 1, 0 }, NOTHING },
    { 3, 3, ANY,  PLAIN, ABORT,    { 3, 2, 0 }, RESIZE_DOWN, { 1, 0, 0 }, NOTHING },
    { 3, 3, ANY,  PLAIN, ABORT,    { 3, 0, 0 }, RESIZE_DOWN, { 3, 0, 0 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 3, 0 }, RESIZE_DOWN, { 1, 1, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 0 }, RESIZE_UP,   { 2, 0, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 2, 0 }, RESIZE_UP,   { 2, 2, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 2 }, RESIZE_UP,   { 3, 0, 1 }, NEXT },
    /* the end */
    { 2, 2, ANY,  PLAIN, ABORT,    { 0, 0, 0 }, CLOSE,     { 0, 0, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 2, 0 }, CLOSE,     { 0, 0, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 1, 0 }, CLOSE,     { 1, 0, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 3 }, CLOSE,     { 2, 0, 3 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 2 }, CLOSE,     { 3, 0, 2 }, NOTHING },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 2, 0 }, CLOSE,     { 1, 0, 0 }, NOTHING },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 0, 3 }, CLOSE_NOW, { 0, 0, 0 }, RETURNED },
    { 2, 2, ANY,  PLAIN, ABORT,    { 2, 1, 0 }, CLOSE_NOW, { 0, 0, 0 }, RETURNED },
    { 1, 3, 2,    PLAIN, ABORT,    { 3, 0, 2 }, CLOSE_NOW, { 0, 0, 0 }, RETURNED },
    { 2, 2, ANY,  PLAIN, ABORT,    { 0, 0, 0 }, CLOSE_NOW, { 0, 0, 0 }, RETURNED },
};

static tally dropped_tasks;
static void *dropped_arg;
static void count_dropped(conc_fn fn, void *arg, void *user) {
    (void)fn;
    (void)user;
    dropped_arg = arg;
    (void)tally_add(&dropped_tasks, 1);
}

static void count_returned(conc_fn fn, void *arg, void *user) {
    CHECK(fn == at_gate && arg != NULL);
    (void)tally_add((tally *)user, 1);
}

/* Brings the pool there; returns how many gates that took. */
static int go_to(conc_pool *p, const rule *r, const char *what) {
    bool fills = r->before.threads > r->core && !(r->flags & GROW) && r->capacity > 0; /* then come the extra threads */
    int n = r->before.threads + (fills ? r->capacity : r->before.queued);
    int free_them = fills ? r->capacity - r->before.queued : 0, i;
    for (i = 0; i < n; i++) {
        int begun = i + 1;
        if (!fills && begun > r->before.threads) begun = r->before.threads;
        if (fills && begun > r->core) begun = i < r->core + r->capacity ? r->core : i + 1 - r->capacity;
        CHECK_OK(conc_pool_run(p, at_gate, &gates[i]));
        UNTIL(gates_begun() == begun);
    }
    for (i = 0; i < free_them + r->before.idle; i++) {
        int begun = gates_begun();
        gates_open_one();
        if (i < free_them) UNTIL(gates_begun() == begun + 1);
    }
    await_state(__FILE__, __LINE__, p, (unsigned)r->before.threads, (unsigned)r->before.idle, (size_t)r->before.queued, what);
    return n;
}

static void run_rule(const rule *r, const char *what) {
    conc_pool_desc d = pool_desc((unsigned)r->core, (unsigned)r->max, (size_t)r->capacity);
    conc_pool_task task;
    conc_pool_stats before, after;
    conc_pool *p;
    conc_result result = CONC_OK;
    tally returned = { { 0 }, 0 };
    gated *g;
    int n, begun, want;
    gates_shut();
    tally_add(&dropped_tasks, -tally_of(&dropped_tasks));
    memset(&task, 0, sizeof task);
    if (r->capacity == NO_Q) d.queue_capacity = CONC_POOL_NO_QUEUE;
    d.grow_first = (r->flags & GROW) != 0;
    d.core_time_out = (r->flags & FADE) != 0;
    d.on_reject = (conc_reject)r->policy;
    d.dropped = count_dropped;
    d.keep_alive = 1000;
    p = pool_make(&d);
    n = go_to(p, r, what);
    begun = gates_begun();
    before = conc_pool_stats_of(p);
    g = &gates[n];
    switch (r->event) {
    case SUBMIT:
        if (r->outcome == BY_CALLER) CHECK_OK(conc_event_set(&g->gate));
        if (r->outcome == TIMED_OUT) task.until = conc_after(0.002);
        result = conc_pool_run_ex(p, at_gate, g, &task);
        break;
    case ENDS: gates_open_one(); break;
    case PASSES: CHECK_OK(conc_pool_set_keep_alive(p, 0.003)); break;
    case RESIZE_DOWN: CHECK_OK(conc_pool_resize(p, 1, 1)); break;
    case RESIZE_UP: CHECK_OK(conc_pool_resize(p, (unsigned)r->core + 1, (unsigned)r->max + 1)); break;
    case CLOSE: CHECK_OK(conc_pool_close(p)); break;
    default: CHECK_OK(conc_pool_close_now(p, count_returned, &returned)); break;
    }
    want = r->outcome == REJECTED ? CONC_REJECTED : r->outcome == TIMED_OUT ? CONC_TIMEOUT : CONC_OK;
    CHECK_R(result, want);
    if (want == CONC_REJECTED) CHECK_HAS(conc_error_detail(), "pool full");
    if (r->outcome == BY_CALLER) CHECK(g->ended && g->thread == conc_thread_current());
    if (r->outcome == BEGINS || r->outcome == NEXT) UNTIL(gates_begun() == begun + 1);
    /* Nothing is to happen: look again a little later. */
    if (r->event == PASSES && r->before.threads == r->after.threads) (void)conc_sleep(conc_after(0.02));
    if (!await_state(__FILE__, __LINE__, p, (unsigned)r->after.threads, (unsigned)r->after.idle, (size_t)r->after.queued, what))
        fprintf(stderr, "  that was: %s\n", what);
    if (r->outcome != BEGINS && r->outcome != NEXT && r->outcome != BY_CALLER) CHECK_EQ(gates_begun(), begun);
    CHECK_EQ(tally_of(&dropped_tasks), r->outcome == DROPPED || r->outcome == IN_FOR_OLD);
    if (r->outcome == DROPPED) CHECK(dropped_arg == g);
    if (r->outcome == IN_FOR_OLD) CHECK(dropped_arg != g);
    CHECK_EQ(tally_of(&returned), r->outcome == RETURNED ? r->before.queued : 0);
    after = conc_pool_stats_of(p);
    CHECK_EQ(after.rejected - before.rejected, r->outcome == REJECTED || r->outcome == DROPPED || r->outcome == TIMED_OUT);
    if (r->event == SUBMIT && (r->outcome == BEGINS || r->outcome == WAITS || r->outcome == IN_FOR_OLD))
        CHECK_EQ(after.accepted - before.accepted, 1);
    CHECK_EQ(after.canceled - before.canceled, r->outcome == IN_FOR_OLD);
    CHECK(after.largest >= after.threads && (int)after.largest <= r->max + (r->event == RESIZE_UP));
    if (r->event == CLOSE || r->event == CLOSE_NOW) CHECK_R(conc_pool_run(p, at_gate, g), CONC_CLOSED);
    gates_open();
    after = FINISH(p);
    CHECK_EQ(after.returned, r->outcome == RETURNED ? r->before.queued : 0);
    CHECK_EQ(gates_begun(), gates_ended());
}

static void the_rules(void) {
    static const char *events[] = { "submit", "a task ends", "keep-alive passes", "resize down", "resize up", "close", "close now" };
    char what[200];
    size_t i;
    for (i = 0; i < sizeof rules / sizeof *rules; i++) {
        const rule *r = &rules[i];
        int failures = check_failures;
        snprintf(what, sizeof what, "core %d, max %d, queue %d%s%s, policy %d, in %d/%d/%d: %s", r->core, r->max, r->capacity,
                 r->flags & GROW ? ", grows first" : "", r->flags & FADE ? ", core times out" : "", r->policy,
                 r->before.threads, r->before.idle, r->before.queued, events[r->event]);
        run_rule(r, what);
        if (check_failures != failures) fprintf(stderr, "  in the rule: %s\n", what);
    }
}

/* With no queue, what is idle is counted exactly: as many as are idle can be handed in at once, and no more. */
static void no_queue_is_exact(void) {
    conc_pool_desc d = pool_desc(3, 3, CONC_POOL_NO_QUEUE);
    conc_pool *p;
    int i, k;
    d.prestart = true;
    p = pool_make(&d);
    for (i = 0; i < check_rounds(300); i++) {
        gates_shut();
        AWAIT(p, 3, 3, 0);
        for (k = 0; k < 3; k++) CHECK_OK(conc_pool_run(p, at_gate, &gates[k]));
        CHECK_R(conc_pool_run(p, at_gate, &gates[3]), CONC_REJECTED);
        UNTIL(gates_begun() == 3);
        gates_open();
        UNTIL(gates_ended() == 3);
    }
    CHECK_EQ(FINISH(p).rejected, check_rounds(300));
}

/* ---- making one -------------------------------------------------------------------------------------------- */

static void refused(const conc_pool_desc *d, const char *word) {
    check_mark();
    if (!CHECK(conc_pool_new(d) == NULL)) return;
    CHECK_R(conc_error_result(), CONC_INVALID);
    if (word != NULL) CHECK_HAS(conc_error_detail(), word);
    else CHECK(strstr(conc_error_detail(), check_mark_text()) == NULL);
}

static void making(void) {
    conc_pool_desc d;
    const conc_pool_desc *of;
    conc_pool *p = conc_pool_new(NULL);
    if (!CHECK(p != NULL)) return;
    of = conc_pool_desc_of(p);
    CHECK_EQ(of->core_threads, conc_cpu_count());
    CHECK_EQ(of->max_threads, of->core_threads);
    CHECK(of->keep_alive > 59.9 && of->keep_alive < 60.1);
    CHECK_EQ(of->queue_capacity, 0);
    CHECK_STR(conc_pool_name(p), "pool");
    CHECK_STR(of->name, "pool");
    CHECK_EQ(conc_pool_stats_of(p).threads, 0);
    FINISH(p);
    d = pool_desc(2, 1, 0);
    refused(&d, NULL);
    d = pool_desc(1, 2, 0); /* never reached */
    refused(&d, "queue");
    d.grow_first = true;
    p = pool_make(&d);
    FINISH(p);
    d = pool_desc(0, 1, 0); /* as many as processors, but no more than that */
    p = pool_make(&d);
    CHECK_EQ(conc_pool_desc_of(p)->core_threads, 1);
    FINISH(p);
    d = pool_desc(1, 2, 1);
    p = pool_make(&d);
    CHECK_EQ(conc_pool_desc_of(p)->max_threads, 2);
    CHECK_EQ(conc_pool_desc_of(p)->queue_capacity, 1);
    FINISH(p);
    d = pool_desc(CONC_POOL_MAX_THREADS + 1, 0, 0);
    refused(&d, NULL);
    d = pool_desc(1, CONC_POOL_MAX_THREADS + 1, 1);
    refused(&d, NULL);
    d = pool_desc(1, 1, 0);
    d.keep_alive = -1;
    refused(&d, NULL);
    d.keep_alive = (double)NAN;
    refused(&d, NULL);
    d.keep_alive = 0;
    d.block_seconds = -1;
    refused(&d, NULL);
    d.block_seconds = 0;
    d.on_reject = (conc_reject)77;
    refused(&d, NULL);
    d.on_reject = (conc_reject)-1;
    refused(&d, NULL);
    d = pool_desc(1, 1, 9);
    d.on_reject = CONC_REJECT_DISCARD_OLDEST; /* it would be the most urgent */
    d.by_priority = true;
    refused(&d, "urgent");
    d = pool_desc(2, 3, 9);
    d.name = "a name that is longer than twenty bytes";
    p = pool_make(&d);
    CHECK_STR(conc_pool_name(p), "a name that is longe");
    FINISH(p);
    CHECK_OK(conc_pool_free(NULL));
    p = pool_of(3); /* nothing was ever handed in: there is nothing to wait for */
    CHECK_OK(conc_pool_free(p));
}

static void misused(void) {
    conc_pool *p = pool_of(1);
    conc_pool *closed = pool_of(1);
    tally t = { { 0 }, 0 };
    CHECK_MISUSE(conc_pool_run(NULL, count_up, &t), CONC_INVALID);
    CHECK_MISUSE(conc_pool_run(p, NULL, &t), CONC_INVALID);
    CHECK_MISUSE(conc_pool_run_ex(NULL, count_up, &t, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_run_ex(p, NULL, &t, NULL), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_submit(NULL, count_up, &t), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_submit(p, NULL, &t), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_submit_ex(NULL, count_up, &t, NULL), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_submit_ex(p, NULL, &t, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_pool_run(NULL, count_up, &t), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_pool_run(p, NULL, &t), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_submit_at(NULL, count_up, &t, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_submit_at(p, NULL, &t, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_every(NULL, count_up, &t, CONC_NOW, 1, false), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_every(p, NULL, &t, CONC_NOW, 1, false), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_every(p, count_up, &t, CONC_NOW, 0, false), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_every(p, count_up, &t, CONC_NOW, -1, true), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_pool_every(p, count_up, &t, CONC_NOW, (double)NAN, true), CONC_INVALID);
    CHECK_MISUSE(conc_pool_close(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_close_now(NULL, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_join(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_pool_end(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_pool_join(p, CONC_FOREVER), CONC_INVALID); /* not closed */
    CHECK_MISUSE(conc_wait(conc_op_pool_end(p), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_pool_resize(NULL, 1, 1), CONC_INVALID);
    CHECK_MISUSE(conc_pool_resize(p, 3, 2), CONC_INVALID);
    CHECK_MISUSE(conc_pool_resize(p, 1, 2), CONC_INVALID); /* the queue is unbounded */
    CHECK_MISUSE(conc_pool_resize(p, CONC_POOL_MAX_THREADS + 1, CONC_POOL_MAX_THREADS + 1), CONC_INVALID);
    CHECK_MISUSE(conc_pool_set_keep_alive(NULL, 1), CONC_INVALID);
    CHECK_MISUSE(conc_pool_set_keep_alive(p, -1), CONC_INVALID);
    CHECK_MISUSE(conc_pool_set_keep_alive(p, (double)NAN), CONC_INVALID);
    CHECK(conc_pool_current() == NULL);
    /* closed */
    CHECK_OK(conc_pool_close(closed));
    CHECK_R(conc_pool_close(closed), CONC_CLOSED);
    CHECK_R(conc_pool_run(closed, count_up, &t), CONC_CLOSED);
    CHECK(conc_pool_submit(closed, count_up, &t) == NULL);
    CHECK_R(conc_error_result(), CONC_CLOSED);
    CHECK_R(conc_wait(conc_op_pool_run(closed, count_up, &t), CONC_FOREVER), CONC_CLOSED);
    CHECK(conc_pool_submit_at(closed, count_up, &t, CONC_NOW) == NULL);
    CHECK_R(conc_error_result(), CONC_CLOSED);
    CHECK(conc_pool_every(closed, count_up, &t, CONC_NOW, 1, false) == NULL);
    CHECK_R(conc_error_result(), CONC_CLOSED);
    CHECK_EQ(conc_pool_prestart(closed, 0), 0);
    CHECK_OK(conc_pool_join(closed, CONC_NOW));
    CHECK_OK(conc_pool_join(closed, CONC_FOREVER)); /* again */
    CHECK_OK(conc_wait(conc_op_pool_end(closed), CONC_FOREVER));
    CHECK_EQ(FINISH(closed).accepted, 0);
    CHECK_EQ(FINISH(p).accepted, 0);
    CHECK_EQ(tally_of(&t), 0);
}

/* ---- names, hooks, what a task sees ---------------------------------------------------------------------------- */

static conc_mutex log_lock;
static char log_text[2000];
static void note(const char *text) {
    CONC_WITH_LOCK(&log_lock) {
        size_t n = strlen(log_text);
        snprintf(log_text + n, sizeof log_text - n, "%s ", text);
    }
}

static conc_pool *hooked;
static void hook_started(void *user) {
    CHECK(user == (void *)&hooked);
    note("starts");
}
static void hook_ends(void *user) {
    CHECK(user == (void *)&hooked);
    note("ends");
}
static void hook_before(conc_fn fn, void *arg, void *user) {
    CHECK(fn == returns_int && user == (void *)&hooked && arg != NULL && conc_pool_current() == hooked);
    note("before");
}
static void hook_after(conc_fn fn, void *arg, int code, void *user) {
    char text[40];
    CHECK(fn == returns_int && user == (void *)&hooked && *(int *)arg == code);
    snprintf(text, sizeof text, "after:%d", code);
    note(text);
}

static void hooks(void) {
    conc_pool_desc d = pool_desc(1, 1, 0);
    static int codes[3] = { 0, 5, 0 };
    conc_future *f;
    log_text[0] = '\0';
    d.thread_started = hook_started;
    d.thread_ends = hook_ends;
    d.before_task = hook_before;
    d.after_task = hook_after;
    d.user = &hooked;
    hooked = pool_make(&d);
    CHECK_OK(conc_pool_run(hooked, returns_int, &codes[0]));
    f = SUBMIT(hooked, returns_int, &codes[1]);
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED);
    conc_future_release(f);
    CHECK_OK(conc_pool_run(hooked, returns_int, &codes[2]));
    FINISH(hooked);
    CHECK_STR(log_text, "starts before after:0 before after:5 before after:0 ends ");
}

typedef struct seen {
    char name[40];
    conc_pool *pool;
    conc_cancel *token;
    bool daemon;
    int order;
} seen;

static int look_around(void *arg) {
    seen *s = (seen *)arg;
    snprintf(s->name, sizeof s->name, "%s", conc_thread_name(NULL));
    s->pool = conc_pool_current();
    s->token = conc_cancel_current();
    s->daemon = conc_thread_is_daemon(NULL);
    (void)conc_cancel_use(NULL); /* a task that leaves the token as it likes */
    return 0;
}

static void names(void) {
    static const char *wanted[] = { NULL, "crew", "a name that is longer than twenty bytes" };
    static const char *got[] = { "pool-1", "crew-1", "a name that is longe-1" };
    conc_pool_desc d = pool_desc(1, 1, 0);
    seen s[2];
    int i;
    for (i = 0; i < 3; i++) {
        conc_pool *p;
        conc_future *f;
        d.name = wanted[i];
        p = pool_make(&d);
        memset(s, 0, sizeof s);
        f = SUBMIT(p, look_around, &s[0]);
        CHECK(conc_future_arg(f) == &s[0]);
        CHECK_OK(conc_pool_run(p, look_around, &s[1]));
        CHECK_OK(conc_future_wait(f, CONC_FOREVER));
        conc_future_release(f);
        FINISH(p);
        CHECK_STR(s[0].name, got[i]);
        CHECK_STR(s[1].name, got[i]);
        CHECK(s[0].pool == p && s[1].pool == p);
        CHECK(s[0].token != NULL);
    }
}

/* ---- order ----------------------------------------------------------------------------------------------------- */

static conc_mutex order_lock;
static int order_of[100000], ordered;
typedef struct numbered {
    int number;
} numbered;

static int take_a_number(void *arg) {
    CONC_WITH_LOCK(&order_lock) {
        if (ordered < 100000) order_of[ordered++] = ((numbered *)arg)->number;
    }
    return 0;
}

static void fifo(void) {
    static numbered items[20000];
    int n = check_rounds_least(20000, 500), i, wrong = 0;
    uint32_t seed = 7;
    conc_pool *p = pool_of(1);
    ordered = 0;
    for (i = 0; i < n; i++) {
        items[i].number = i;
        if (check_random(&seed) % 8u == 0) check_spin_us(20, &seed); /* so that it is idle now and then */
        if (check_random(&seed) % 400u == 0) nudge(check_random(&seed));
        if (i % 3 == 0) {
            conc_future *f = SUBMIT(p, take_a_number, &items[i]);
            conc_future_release(f);
        } else {
            CHECK_OK(conc_pool_run(p, take_a_number, &items[i]));
        }
    }
    FINISH(p);
    CHECK_EQ(ordered, n);
    for (i = 0; i < ordered; i++) wrong += order_of[i] != i;
    CHECK_EQ(wrong, 0);
}

/* Handed in by a task of the pool and from outside alike. */
static numbered in_turn[4];
static int hands_in_two(void *arg) {
    conc_pool *p = (conc_pool *)arg;
    in_turn[1].number = 1;
    in_turn[2].number = 2;
    CHECK_OK(conc_pool_run(p, take_a_number, &in_turn[1]));
    CHECK_OK(conc_pool_run(p, take_a_number, &in_turn[2]));
    return 0;
}

static void fifo_of_tasks(void) {
    int i;
    for (i = 0; i < check_rounds(300); i++) {
        conc_pool *p = pool_of(1);
        gates_shut();
        ordered = 0;
        CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
        CHECK_OK(conc_pool_run(p, hands_in_two, p)); /* after the next */
        in_turn[0].number = 0;
        CHECK_OK(conc_pool_run(p, take_a_number, &in_turn[0]));
        gates_open();
        nudge((unsigned)i);
        UNTIL(conc_pool_stats_of(p).completed == 5);
        FINISH(p);
        CHECK_EQ(ordered, 3);
        CHECK(order_of[0] == 0 && order_of[1] == 1 && order_of[2] == 2);
    }
}

typedef struct producer {
    conc_pool *pool;
    int first, n;
    numbered *items;
} producer;

static int produce(void *arg) {
    producer *t = (producer *)arg;
    int i;
    for (i = 0; i < t->n; i++) {
        t->items[i].number = t->first + i;
        CHECK_OK(conc_pool_run(t->pool, take_a_number, &t->items[i]));
    }
    return 0;
}

/* From several threads: those of each in their order, and by a queue that has to grow while they come. */
static void fifo_of_many(void) {
    static numbered items[3][10000];
    int last[3] = { -1, -1, -1 }, i, n = check_rounds_least(10000, 300);
    producer t[3];
    crew c = { 0 };
    conc_pool *p = pool_of(1);
    ordered = 0;
    for (i = 0; i < 3; i++) {
        t[i].pool = p;
        t[i].first = i * 100000;
        t[i].n = n;
        t[i].items = items[i];
        crew_add(&c, produce, &t[i]);
    }
    crew_join(&c);
    CHECK_EQ(FINISH(p).completed, 3 * n);
    CHECK_EQ(ordered, 3 * n);
    for (i = 0; i < ordered; i++) {
        int who = order_of[i] / 100000, number = order_of[i] % 100000;
        if (!CHECK_EQ(number, last[who] + 1)) break;
        last[who] = number;
    }
}

static void priorities(void) {
    static const int given[] = { 1, 5, 3, 5, -2, 0, 1, 2147483647, -2147483647 - 1 };
    static const int wanted[] = { 7, 1, 3, 2, 0, 6, 5, 4, 8 };
    static numbered items[9], more[2000];
    conc_pool_desc d = pool_desc(1, 1, 0);
    conc_pool *p;
    conc_pool_task task;
    int i, last;
    uint32_t seed = 3;
    memset(&task, 0, sizeof task);
    d.by_priority = true;
    gates_shut();
    ordered = 0;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    UNTIL(gates_begun() == 1);
    for (i = 0; i < 9; i++) {
        items[i].number = i;
        task.priority = given[i];
        CHECK_OK(conc_pool_run_ex(p, take_a_number, &items[i], &task));
    }
    gates_open();
    FINISH(p);
    CHECK_EQ(ordered, 9);
    for (i = 0; i < 9; i++) CHECK_EQ(order_of[i], wanted[i]);
    /* many, some taken out again */
    gates_shut();
    ordered = 0;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    UNTIL(gates_begun() == 1);
    for (i = 0; i < 2000; i++) {
        conc_future *f;
        task.priority = (int)(check_random(&seed) % 50u);
        more[i].number = (50 - task.priority) * 10000 + i;
        f = a_future(__FILE__, __LINE__, conc_pool_submit_ex(p, take_a_number, &more[i], &task));
        if (i % 5 == 0) CHECK_OK(conc_future_cancel(f));
        conc_future_release(f);
    }
    gates_open();
    FINISH(p);
    CHECK_EQ(ordered, 1600);
    for (last = -1, i = 0; i < ordered; last = order_of[i++]) {
        if (!CHECK(order_of[i] > last)) break;
    }
}

/* ---- policies ---------------------------------------------------------------------------------------------------- */

static void discard(void) {
    conc_pool_desc d = pool_desc(1, 1, 2);
    conc_pool *p;
    conc_future *f[4];
    int i;
    (void)tally_add(&dropped_tasks, -tally_of(&dropped_tasks));
    gates_shut();
    d.on_reject = CONC_REJECT_DISCARD;
    d.dropped = count_dropped;
    p = pool_make(&d);
    for (i = 0; i < 4; i++) {
        f[i] = SUBMIT(p, at_gate, &gates[i]);
        if (i == 0) UNTIL(gates_begun() == 1);
    }
    CHECK(conc_future_is_done(f[3]));
    CHECK_R(conc_future_wait(f[3], CONC_FOREVER), CONC_REJECTED);
    CHECK_R(conc_future_result(f[3]), CONC_REJECTED);
    CHECK_EQ(conc_future_code(f[3]), 0);
    CHECK_EQ(tally_of(&dropped_tasks), 1);
    CHECK(dropped_arg == &gates[3]);
    gates_open();
    for (i = 0; i < 3; i++) CHECK_OK(conc_future_wait(f[i], CONC_FOREVER));
    for (i = 0; i < 4; i++) conc_future_release(f[i]);
    CHECK_EQ(FINISH(p).completed, 3);
    /* the oldest */
    gates_shut();
    d.on_reject = CONC_REJECT_DISCARD_OLDEST;
    p = pool_make(&d);
    for (i = 0; i < 4; i++) {
        f[i] = SUBMIT(p, at_gate, &gates[i]);
        if (i == 0) UNTIL(gates_begun() == 1);
    }
    CHECK_R(conc_future_wait(f[1], CONC_FOREVER), CONC_CANCELED);
    CHECK(conc_future_is_done(f[1]));
    CHECK(dropped_arg == &gates[1]);
    CHECK_EQ(tally_of(&dropped_tasks), 2);
    gates_open();
    CHECK_OK(conc_future_wait(f[2], CONC_FOREVER));
    CHECK_OK(conc_future_wait(f[3], CONC_FOREVER));
    for (i = 0; i < 4; i++) conc_future_release(f[i]);
    CHECK_EQ(FINISH(p).canceled, 1);
    CHECK(!gates[1].begun);
}

static void caller_runs(void) {
    conc_pool_desc d = pool_desc(1, 1, 1);
    conc_pool *p;
    conc_future *f;
    conc_cancel token = { NULL, 0 };
    static int nine = 9;
    seen s;
    gates_shut();
    d.on_reject = CONC_REJECT_CALLER_RUNS;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    UNTIL(gates_begun() == 1);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[1]));
    f = SUBMIT(p, returns_int, &nine);
    CHECK_R(conc_future_result(f), CONC_FAILED);
    CHECK_EQ(conc_future_code(f), 9);
    conc_future_release(f);
    memset(&s, 0, sizeof s);
    (void)conc_cancel_use(&token);
    CHECK_OK(conc_pool_run(p, look_around, &s));
    CHECK(conc_cancel_current() == &token); /* the caller's is as it was, though the task has changed its own */
    (void)conc_cancel_use(NULL);
    CHECK_STR(s.name, conc_thread_name(NULL));
    CHECK(conc_pool_current() == NULL);
    CHECK_EQ(reports_now(), 0);
    CHECK_OK(conc_pool_run(p, returns_int, &nine)); /* without a future: its failure is told */
    CHECK_EQ(reports_now(), 1);
    gates_open();
    FINISH(p);
}

/* Somebody who waits for room. */
typedef struct blocked {
    conc_pool *pool;
    gated *g;
    conc_pool_task task;
    bool submit;
    conc_result result;
} blocked;

static int hands_in_blocked(void *arg) {
    blocked *b = (blocked *)arg;
    if (b->submit) {
        conc_future *f = conc_pool_submit_ex(b->pool, at_gate, b->g, &b->task);
        b->result = f != NULL ? CONC_OK : conc_error_result();
        conc_future_release(f);
    } else {
        b->result = conc_pool_run_ex(b->pool, at_gate, b->g, &b->task);
    }
    return 0;
}

static void blocks(void) {
    int i;
    for (i = 0; i < check_rounds_least(60, 15); i++) {
        conc_pool_desc d = pool_desc(1, 1, 1);
        conc_cancel token = { NULL, 0 };
        blocked b;
        crew c = { 0 };
        conc_pool_stats s;
        gates_shut();
        d.on_reject = CONC_REJECT_BLOCK;
        if (i % 5 == 4) d.block_seconds = 0.002;
        memset(&b, 0, sizeof b);
        b.pool = pool_make(&d);
        b.g = &gates[2];
        b.submit = i / 5 % 2 != 0;
        if (i % 5 == 3) b.task.until = conc_after(0.002);
        CHECK_OK(conc_pool_run(b.pool, at_gate, &gates[0]));
        UNTIL(gates_begun() == 1);
        CHECK_OK(conc_pool_run(b.pool, at_gate, &gates[1]));
        crew_add_under(&c, hands_in_blocked, &b, &token);
        nudge(i < 15 ? 3u : (unsigned)i);
        switch (i % 5) {
        case 0: gates_open_one(); break; /* room comes */
        case 1: CHECK_OK(conc_pool_close(b.pool)); break;
        case 2: CHECK_OK(conc_cancel_fire(&token)); break;
        default: break; /* its deadline passes */
        }
        crew_join(&c);
        switch (i % 5) {
        case 0: CHECK_R(b.result, CONC_OK); break;
        case 1: CHECK_R(b.result, CONC_CLOSED); break;
        case 2: CHECK_R(b.result, CONC_CANCELED); break;
        default: CHECK_R(b.result, CONC_TIMEOUT); break;
        }
        gates_open();
        s = FINISH(b.pool);
        CHECK_EQ(s.completed, i % 5 == 0 ? 3 : 2);
        CHECK_EQ(gates[2].ended, i % 5 == 0);
    }
}

/* A task that waits for room in its own pool, of one thread: nobody else could make it. Whatever the answer, it comes, and a
 * task that was accepted runs. */
typedef struct own_room {
    conc_pool *pool;
    tally ran;
    int accepted;
} own_room;

static int own_count(void *arg) {
    return count_up(&((own_room *)arg)->ran);
}

static int fills_its_own(void *arg) {
    own_room *o = (own_room *)arg;
    int i;
    for (i = 0; i < 10; i++) {
        conc_result r = conc_pool_run(o->pool, own_count, o);
        if (r == CONC_OK) o->accepted++;
        else CHECK(r == CONC_DEADLOCK || r == CONC_REJECTED);
    }
    return 0;
}

static void blocks_in_a_worker(void) {
    int i;
    for (i = 0; i < check_rounds(100); i++) {
        conc_pool_desc d = pool_desc(1 + (unsigned)i % 3, 0, 1);
        own_room o[3];
        int k, n = (int)d.core_threads, ran = 0, accepted = 0;
        memset(o, 0, sizeof o);
        d.on_reject = CONC_REJECT_BLOCK;
        o[0].pool = o[1].pool = o[2].pool = pool_make(&d);
        for (k = 0; k < n; k++) CHECK_OK(conc_pool_run(o[0].pool, fills_its_own, &o[k]));
        UNTIL(conc_pool_stats_of(o[0].pool).queued == 0 && conc_pool_stats_of(o[0].pool).active == 0);
        FINISH(o[0].pool);
        for (k = 0; k < n; k++) {
            ran += tally_of(&o[k].ran);
            accepted += o[k].accepted;
        }
        CHECK_EQ(ran, accepted);
        CHECK(accepted >= n);
    }
}

/* A function that decides. */
typedef struct decider {
    conc_pool *other;
    conc_result answer;
    tally calls;
} decider;

static conc_result decides(conc_pool *pool, conc_fn fn, void *arg, void *user) {
    decider *d = (decider *)user;
    CHECK(pool != NULL && pool != d->other);
    (void)tally_add(&d->calls, 1);
    if (d->answer != CONC_OK) return d->answer;
    return conc_pool_run(d->other, fn, arg);
}

static conc_result decides_again(conc_pool *pool, conc_fn fn, void *arg, void *user) {
    (void)tally_add((tally *)user, 1);
    gates_open();
    AWAIT(pool, 1, 1, 0);
    return conc_pool_run(pool, fn, arg); /* now there is room */
}

static void reject_function(void) {
    conc_pool_desc d = pool_desc(1, 1, CONC_POOL_NO_QUEUE);
    decider t;
    tally again = { { 0 }, 0 };
    conc_pool *p;
    conc_future *f;
    memset(&t, 0, sizeof t);
    gates_shut();
    t.other = pool_of(1);
    d.reject = decides;
    d.on_reject = CONC_REJECT_DISCARD; /* not asked */
    d.user = &t;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    UNTIL(gates_begun() == 1);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[1])); /* elsewhere */
    UNTIL(gates_begun() == 2);
    CHECK_EQ(tally_of(&t.calls), 1);
    f = SUBMIT(p, at_gate, &gates[4]); /* with a future: this pool does not run it */
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_REJECTED);
    conc_future_release(f);
    t.answer = CONC_FULL;
    CHECK_R(conc_pool_run(p, at_gate, &gates[2]), CONC_FULL);
    t.answer = CONC_REJECTED;
    f = conc_pool_submit(p, at_gate, &gates[3]);
    CHECK(f == NULL);
    CHECK_R(conc_error_result(), CONC_REJECTED);
    CHECK_EQ(tally_of(&t.calls), 4);
    gates_open();
    FINISH(p);
    CHECK_EQ(FINISH(t.other).completed, 2);
    CHECK(gates[4].ended);
    CHECK(!gates[2].begun && !gates[3].begun);
    /* here again */
    gates_shut();
    d.reject = decides_again;
    d.user = &again;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    UNTIL(gates_begun() == 1);
    CHECK_OK(conc_pool_run(p, at_gate, &gates[1]));
    FINISH(p);
    CHECK_EQ(tally_of(&again), 1);
    CHECK(gates[1].ended);
}

/* ---- numbers of threads --------------------------------------------------------------------------------------------- */

static void prestart(void) {
    conc_pool_desc d = pool_desc(3, 5, 1);
    conc_pool *p;
    d.prestart = true;
    p = pool_make(&d);
    AWAIT(p, 3, 3, 0);
    CHECK_EQ(conc_pool_stats_of(p).largest, 3);
    CHECK_EQ(conc_pool_prestart(p, 0), 3);
    FINISH(p);
    d.prestart = false;
    p = pool_make(&d);
    CHECK_EQ(conc_pool_prestart(p, 2), 2);
    AWAIT(p, 2, 2, 0);
    CHECK_EQ(conc_pool_prestart(p, 1), 2);
    CHECK_EQ(conc_pool_prestart(p, 0), 3);
    AWAIT(p, 3, 3, 0);
    CHECK_EQ(conc_pool_prestart(p, 100), 3); /* core threads only */
    CHECK_EQ(FINISH(p).accepted, 0);
}

static int resize_for_ever(void *arg) {
    conc_pool *p = (conc_pool *)arg;
    uint32_t seed = 5;
    while (conc_canceled() == CONC_OK) {
        unsigned core = 1 + check_random(&seed) % 4u;
        CHECK_OK(conc_pool_resize(p, core, core + check_random(&seed) % 3u));
        if (check_random(&seed) % 4u == 0) CHECK_OK(conc_pool_set_keep_alive(p, check_random(&seed) % 2u ? 0.0005 : 10));
        if (check_random(&seed) % 8u == 0) (void)conc_pool_prestart(p, 0);
        check_spin_us(50, &seed);
    }
    return 0;
}

static void resize_while_running(void) {
    conc_pool_desc d = pool_desc(2, 2, 0);
    conc_cancel token = { NULL, 0 };
    tally t = { { 0 }, 0 };
    conc_pool *p;
    crew c = { 0 };
    int i, n = check_rounds_least(6000, 500);
    d.grow_first = true;
    p = pool_make(&d);
    crew_add_under(&c, resize_for_ever, p, &token);
    for (i = 0; i < n; i++) {
        CHECK_OK(conc_pool_run(p, count_up, &t));
        if (i % 100 == 0) nudge((unsigned)i / 100);
    }
    UNTIL(tally_of(&t) == n); /* none is forgotten by threads that come and go */
    CHECK_OK(conc_cancel_fire(&token));
    crew_join(&c);
    CHECK_OK(conc_pool_resize(p, 1, 1));
    CHECK_OK(conc_pool_set_keep_alive(p, 0.001));
    AWAIT(p, 1, 1, 0);
    CHECK(conc_pool_stats_of(p).largest <= 7);
    CHECK_OK(conc_pool_resize(p, 0, 0)); /* as it is */
    AWAIT(p, 1, 1, 0);
    CHECK_EQ(FINISH(p).completed, n);
    CHECK_EQ(tally_of(&t), n);
}

/* Core threads, too, come and go: a task that comes when the last is just going is not left behind. */
static void short_keep_alive(void) {
    conc_pool_desc d = pool_desc(1, 1, 0);
    tally t = { { 0 }, 0 };
    conc_pool *p;
    uint32_t seed = 9;
    int i, n = check_rounds_least(400, 50);
    d.core_time_out = true;
    d.keep_alive = 100e-6;
    p = pool_make(&d);
    for (i = 0; i < n; i++) {
        CHECK_OK(conc_pool_run(p, count_up, &t));
        UNTIL(tally_of(&t) == i + 1);
        check_spin_us(300, &seed);
    }
    AWAIT(p, 0, 0, 0);
    CHECK_EQ(FINISH(p).completed, n);
}

/* No thread at all: told, and what is accepted later runs. */
static void no_threads(void) {
    conc_pool_desc d = pool_desc(2, 2, 0);
    conc_pool *p;
    tally t = { { 0 }, 0 };
    conc_pool_stats s;
    d.stack_size = (size_t)-1;
    p = pool_make(&d);
    CHECK_MISUSE(conc_pool_run(p, count_up, &t), CONC_NO_THREADS);
    CHECK_MISUSE_NULL(conc_pool_submit(p, count_up, &t), CONC_NO_THREADS);
    CHECK_EQ(conc_pool_prestart(p, 0), 0);
    CHECK_EQ(conc_pool_stats_of(p).threads, 0);
    s = FINISH(p);
    CHECK_EQ(s.accepted, 0);
    CHECK_EQ(tally_of(&t), 0);
    d.prestart = true;
    CHECK_MISUSE_NULL(conc_pool_new(&d), CONC_NO_THREADS);
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

static int joins_its_own(void *arg) {
    conc_pool *p = (conc_pool *)arg;
    CHECK_MISUSE(conc_pool_join(p, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_wait(conc_op_pool_end(p), CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_pool_free(p), CONC_BUSY);
    return 0;
}

static int joins_pool(void *arg) {
    return (int)conc_pool_join((conc_pool *)arg, CONC_FOREVER);
}

static int joins_and_is_canceled(void *arg) {
    CHECK_R(conc_pool_join((conc_pool *)arg, CONC_FOREVER), CONC_CANCELED);
    return 0;
}

static void the_end(void) {
    conc_pool *p = pool_of(2);
    conc_cancel token = { NULL, 0 };
    crew c = { 0 }, canceled = { 0 };
    conc_op ops[2];
    conc_event never = { 0 };
    gates_shut();
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    CHECK_MISUSE(conc_pool_free(p), CONC_BUSY);
    CHECK_OK(conc_pool_close(p));
    CHECK_R(conc_pool_close(p), CONC_CLOSED);
    CHECK_MISUSE(conc_pool_free(p), CONC_BUSY);
    CHECK_R(conc_pool_join(p, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_pool_join(p, CONC_NOW), CONC_BUSY);
    crew_add(&c, joins_pool, p);
    crew_add(&c, joins_pool, p);
    crew_add_under(&canceled, joins_and_is_canceled, p, &token);
    nudge(3);
    CHECK_OK(conc_cancel_fire(&token));
    crew_join(&canceled);
    ops[0] = conc_op_event(&never);
    ops[1] = conc_op_pool_end(p);
    CHECK_R(conc_select(ops, 2, conc_after(0.001)), CONC_TIMEOUT);
    nudge(3);
    gates_open();
    ops[0] = conc_op_event(&never);
    ops[1] = conc_op_pool_end(p);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
    CHECK_OK(ops[1].result);
    crew_join(&c);
    CHECK_OK(conc_pool_join(p, CONC_NOW));
    FINISH(p);
    /* a worker */
    p = pool_of(2);
    gates_shut();
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    CHECK_OK(conc_pool_close(p));
    gates_open();
    FINISH(p);
    p = pool_of(1);
    gates_shut();
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    CHECK_OK(conc_pool_run(p, joins_its_own, p)); /* it is closed by then */
    CHECK_OK(conc_pool_close(p));
    gates_open();
    FINISH(p);
    p = pool_of(1); /* idle threads, not closed */
    CHECK_EQ(conc_pool_prestart(p, 0), 1);
    CHECK_MISUSE(conc_pool_free(p), CONC_BUSY);
    FINISH(p);
}

static int finishes_its_own(void *arg) {
    CHECK_MISUSE(conc_pool_finish((conc_pool *)arg), CONC_DEADLOCK);
    return 0;
}

static int finishes_and_is_canceled(void *arg) {
    CHECK_R(conc_pool_finish((conc_pool *)arg), CONC_CANCELED);
    return 0;
}

static void finish_in_one(void) {
    conc_pool *p = pool_of(2);
    conc_cancel token = { NULL, 0 };
    tally t = { { 0 }, 0 };
    crew c = { 0 };
    int i;
    CHECK_OK(conc_pool_finish(NULL));
    for (i = 0; i < 50; i++) CHECK_OK(conc_pool_run(p, count_up, &t));
    CHECK_OK(conc_pool_finish(p));
    CHECK_EQ(tally_of(&t), 50);
    p = pool_of(1);
    CHECK_OK(conc_pool_close(p)); /* closed before */
    CHECK_OK(conc_pool_finish(p));
    p = pool_of(1);
    CHECK_OK(conc_pool_run(p, finishes_its_own, p));
    UNTIL(conc_pool_stats_of(p).completed == 1);
    CHECK_R(conc_pool_run(p, count_up, &t), CONC_CLOSED);
    CHECK_OK(conc_pool_finish(p));
    p = pool_of(1);
    gates_shut();
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    crew_add_under(&c, finishes_and_is_canceled, p, &token);
    nudge(3);
    CHECK_OK(conc_cancel_fire(&token));
    crew_join(&c);
    CHECK_R(conc_pool_close(p), CONC_CLOSED); /* and not freed */
    gates_open();
    CHECK_OK(conc_pool_finish(p));
}

typedef struct given_back {
    conc_future *futures[6];
    int n;
} given_back;

static void give_back(conc_fn fn, void *arg, void *user) {
    given_back *b = (given_back *)user;
    gated *g = (gated *)arg;
    CHECK(fn == at_gate);
    CHECK(g == &gates[b->n + 1]); /* in their order */
    if (b->futures[b->n] != NULL) CHECK_R(conc_future_result(b->futures[b->n]), CONC_CANCELED);
    b->n++;
}

static void close_now(void) {
    conc_pool_desc d = pool_desc(1, 1, 0);
    int i, round;
    for (round = 0; round < 4; round++) {
        given_back b;
        conc_pool *p;
        conc_future *f;
        conc_pool_stats s;
        bool by_function = round % 2 == 0;
        memset(&b, 0, sizeof b);
        (void)tally_add(&dropped_tasks, -tally_of(&dropped_tasks));
        d.dropped = count_dropped;
        gates_shut();
        p = pool_make(&d);
        f = SUBMIT(p, at_gate_code, &gates[0]); /* its token ends it */
        UNTIL(gates_begun() == 1);
        for (i = 0; i < 6; i++) {
            if (i % 3 == 0) CHECK_OK(conc_pool_run(p, at_gate, &gates[i + 1]));
            else b.futures[i] = SUBMIT(p, at_gate, &gates[i + 1]);
        }
        if (round >= 2) CHECK_OK(conc_pool_close(p));
        { /* closed already: what it does, it does all the same */
            conc_result r = conc_pool_close_now(p, by_function ? give_back : NULL, &b);
            CHECK(r == CONC_OK || (round >= 2 && r == CONC_CLOSED));
        }
        CHECK_EQ(b.n, by_function ? 6 : 0);
        CHECK_EQ(tally_of(&dropped_tasks), by_function ? 0 : 6);
        for (i = 0; i < 6; i++) {
            if (b.futures[i] != NULL) CHECK_R(conc_future_result(b.futures[i]), CONC_CANCELED);
            conc_future_release(b.futures[i]);
        }
        UNTIL(conc_future_is_done(f));
        CHECK_EQ(conc_future_code(f), CONC_CANCELED);
        conc_future_release(f);
        s = FINISH(p);
        CHECK_EQ(s.completed, 1);
        CHECK_EQ(s.returned, by_function ? 6 : 0);
        CHECK_EQ(s.canceled, by_function ? 0 : 6);
        CHECK_EQ(gates_begun(), 1);
    }
}

/* A failure that nobody could see. */
static void failures(void) {
    conc_pool *p = pool_of(1);
    static int code = 42;
    CHECK_EQ(reports_now(), 0);
    CHECK_OK(conc_pool_run(p, returns_int, &code));
    UNTIL(conc_pool_stats_of(p).completed == 1);
    FINISH(p);
    CHECK_EQ(reports_now(), 1);
    CHECK_EQ(report_code, 42);
}

/* ---- tasks that hand in themselves ------------------------------------------------------------------------------------- */

typedef struct again {
    conc_pool *pool;
    tally runs, refused;
} again;

static int twice_again(void *arg) {
    again *a = (again *)arg;
    int i;
    (void)tally_add(&a->runs, 1);
    for (i = 0; i < 2; i++) {
        if (conc_pool_run(a->pool, twice_again, a) != CONC_OK) (void)tally_add(&a->refused, 1);
    }
    return 0;
}

static void for_ever(void) {
    int round;
    for (round = 0; round < 4; round++) {
        conc_pool_desc d = pool_desc(2, 3, 4);
        again a;
        conc_pool_stats s;
        memset(&a, 0, sizeof a);
        d.on_reject = round == 1 ? CONC_REJECT_DISCARD : round == 2 ? CONC_REJECT_DISCARD_OLDEST : CONC_REJECT_ABORT;
        d.grow_first = round == 3;
        a.pool = pool_make(&d);
        CHECK_OK(conc_pool_run(a.pool, twice_again, &a));
        UNTIL(tally_of(&a.runs) > check_rounds(5000));
        if (round == 0) CHECK_OK(conc_pool_close(a.pool));
        else CHECK_OK(conc_pool_close_now(a.pool, NULL, NULL));
        s = FINISH(a.pool);
        CHECK_EQ(s.completed, tally_of(&a.runs));
    }
}

/* ---- later, and again and again ------------------------------------------------------------------------------------------ */

typedef struct timed {
    int number;
    int64_t due;
} timed;

static int in_time(void *arg) {
    timed *t = (timed *)arg;
    CHECK(conc_clock_ns() >= t->due);
    CONC_WITH_LOCK(&order_lock) order_of[ordered++] = t->number;
    return 0;
}

static void later(void) {
    timed t[8];
    conc_future *f[8];
    conc_pool *p = pool_of(1);
    int64_t now = conc_clock_ns();
    bool early;
    int i;
    ordered = 0;
    for (i = 0; i < 8; i++) { /* handed in from the last to the first */
        t[i].number = 7 - i;
        t[i].due = now + (int64_t)(8 - i) * 3000000;
        f[i] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, in_time, &t[i], conc_deadline_at(t[i].due)));
    }
    early = conc_clock_ns() < t[7].due; /* else some may have begun before the last was handed in */
    CHECK(conc_future_arg(f[3]) == &t[3]);
    CHECK_OK(conc_pool_close(p)); /* leaves them be */
    CHECK_OK(conc_pool_join(p, CONC_FOREVER)); /* waits for them */
    for (i = 0; i < 8; i++) {
        CHECK(conc_future_is_done(f[i]));
        CHECK_OK(conc_future_wait(f[i], CONC_NOW));
        conc_future_release(f[i]);
    }
    CHECK_EQ(ordered, 8);
    for (i = 0; early && i < ordered; i++) CHECK_EQ(order_of[i], i);
    CHECK_EQ(FINISH(p).completed, 8);
    /* at once, in the past, canceled, past the queue's bound */
    {
        conc_pool_desc d = pool_desc(1, 1, 1);
        gates_shut();
        p = pool_make(&d);
        CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
        UNTIL(gates_begun() == 1);
        CHECK_OK(conc_pool_run(p, at_gate, &gates[1]));
        f[0] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, at_gate, &gates[2], CONC_NOW));
        f[1] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, at_gate, &gates[3], check_past()));
        f[2] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, at_gate, &gates[4], conc_after(1000)));
        f[3] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, at_gate, &gates[5], conc_after(1000)));
        f[4] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, at_gate, &gates[6], CONC_FOREVER));
        CHECK(conc_pool_stats_of(p).scheduled >= 3);
        CHECK_OK(conc_future_cancel(f[2]));
        CHECK_R(conc_future_result(f[2]), CONC_CANCELED);
        CHECK_R(conc_future_cancel(f[2]), CONC_CLOSED);
        CHECK_R(conc_future_wait(f[3], conc_after(0.001)), CONC_TIMEOUT);
        gates_open();
        CHECK_OK(conc_future_wait(f[0], CONC_FOREVER));
        CHECK_OK(conc_future_wait(f[1], CONC_FOREVER));
        CHECK_OK(conc_pool_close_now(p, NULL, NULL)); /* takes what has not begun */
        CHECK_R(conc_future_wait(f[3], CONC_FOREVER), CONC_CANCELED);
        CHECK_R(conc_future_wait(f[4], CONC_FOREVER), CONC_CANCELED);
        for (i = 0; i < 5; i++) conc_future_release(f[i]);
        FINISH(p);
        CHECK(!gates[4].begun && !gates[5].begun && !gates[6].begun);
    }
    /* the future released at once, the pool joined: it has run */
    {
        tally n = { { 0 }, 0 };
        p = pool_of(2);
        for (i = 0; i < 20; i++)
            conc_future_release(a_future(__FILE__, __LINE__, conc_pool_submit_at(p, count_up, &n, conc_after(0.0002 * i))));
        FINISH(p);
        CHECK_EQ(tally_of(&n), 20);
    }
}

typedef struct turns {
    tally n, inside;
    int stop_at, code;
    double takes_first; /* seconds */
    int64_t last_end, least_gap, first;
} turns;

static int a_turn(void *arg) {
    turns *t = (turns *)arg;
    int64_t now = conc_clock_ns();
    int n;
    CHECK_EQ(tally_add(&t->inside, 1), 1); /* none overlaps */
    CHECK(now >= t->first);
    n = tally_add(&t->n, 1);
    if (n == 1 && t->takes_first > 0) (void)conc_sleep(conc_after(t->takes_first));
    if (n > 1 && (t->least_gap == 0 || now - t->last_end < t->least_gap)) t->least_gap = now - t->last_end;
    (void)tally_add(&t->inside, -1);
    t->last_end = conc_clock_ns();
    return n >= t->stop_at ? t->code : 0;
}

static void every(void) {
    conc_pool *p = pool_of(2);
    turns t;
    conc_future *f;
    conc_deadline first;
    double left;
    /* until it fails: turns that were late are made up for */
    memset(&t, 0, sizeof t);
    first = conc_after(0.002);
    t.first = first.ns;
    t.stop_at = 10;
    t.code = 7;
    t.takes_first = 0.02;
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, first, 0.003, false));
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED);
    left = (double)(conc_clock_ns() - first.ns) / 1e9;
    CHECK(left >= 0.003 * 9 - 1e-6); /* the tenth is not before its time */
    CHECK_EQ(conc_future_code(f), 7);
    CHECK_EQ(tally_of(&t.n), 10);
    conc_future_release(f);
    CHECK_EQ(reports_now(), 0);
    /* with a pause after each */
    memset(&t, 0, sizeof t);
    t.stop_at = 6;
    t.code = -1;
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, CONC_NOW, 0.002, true));
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED);
    CHECK(t.least_gap >= 2000000);
    conc_future_release(f);
    /* canceled, and the future gone: a failure would be told */
    memset(&t, 0, sizeof t);
    t.stop_at = 1000000;
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, CONC_NOW, 0.0005, false));
    UNTIL(tally_of(&t.n) >= 3);
    {
        conc_result r = conc_future_cancel(f);
        CHECK(r == CONC_OK || r == CONC_BUSY);
    }
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_CANCELED);
    conc_future_release(f);
    {
        int n = tally_of(&t.n);
        (void)conc_sleep(conc_after(0.003));
        CHECK_EQ(tally_of(&t.n), n);
    }
    /* before its first turn */
    memset(&t, 0, sizeof t);
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, conc_after(1000), 1, false));
    CHECK_OK(conc_future_cancel(f));
    CHECK_R(conc_future_result(f), CONC_CANCELED);
    conc_future_release(f);
    CHECK_EQ(tally_of(&t.n), 0);
    /* closed: between its turns, or before the first */
    memset(&t, 0, sizeof t);
    t.stop_at = 1000000;
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, CONC_NOW, 0.001, true));
    UNTIL(tally_of(&t.n) >= 3);
    CHECK_OK(conc_pool_close(p));
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_CANCELED);
    conc_future_release(f);
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
    p = pool_of(1);
    memset(&t, 0, sizeof t);
    t.stop_at = 3;
    t.code = 5;
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, CONC_NOW, 0.0005, false));
    conc_future_release(f); /* nobody looks at its failure */
    UNTIL(tally_of(&t.n) == 3);
    FINISH(p);
    CHECK_EQ(reports_now(), 1);
    p = pool_of(1);
    f = a_future(__FILE__, __LINE__, conc_pool_every(p, a_turn, &t, conc_after(1000), 1, false));
    CHECK_OK(conc_pool_close(p));
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_CANCELED);
    conc_future_release(f);
    FINISH(p);
}

/* ---- ops ------------------------------------------------------------------------------------------------------------------ */

static void ops_of_threads(void) {
    conc_pool_desc d = pool_desc(1, 1, 1);
    conc_pool *p;
    conc_event e = { 0 };
    conc_op ops[2];
    conc_result r;
    int policy;
    for (policy = CONC_REJECT_ABORT; policy <= CONC_REJECT_BLOCK; policy++) { /* none is asked */
        gates_shut();
        d.on_reject = (conc_reject)policy;
        p = pool_make(&d);
        CHECK_OK(conc_wait(conc_op_pool_run(p, at_gate, &gates[0]), CONC_FOREVER));
        UNTIL(gates_begun() == 1);
        CHECK_OK(conc_try(conc_op_pool_run(p, at_gate, &gates[1])));
        r = conc_try(conc_op_pool_run(p, at_gate, &gates[2]));
        CHECK(r == CONC_REJECTED);
        CHECK_R(conc_wait(conc_op_pool_run(p, at_gate, &gates[2]), conc_after(0.001)), CONC_TIMEOUT);
        CHECK_OK(conc_event_set(&e));
        ops[0] = conc_op_pool_run(p, at_gate, &gates[2]);
        ops[1] = conc_op_event(&e);
        CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
        CHECK_OK(conc_event_reset(&e));
        CHECK_EQ(conc_pool_stats_of(p).queued, 1);
        CHECK_OK(conc_event_set(&gates[0].gate));
        ops[0] = conc_op_event(&e);
        ops[1] = conc_op_pool_run(p, at_gate, &gates[3]);
        CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
        CHECK_OK(ops[1].result);
        gates_open();
        CHECK_EQ(FINISH(p).completed, 3);
        CHECK(!gates[2].begun && gates[3].ended);
    }
}

typedef struct op_storm {
    conc_pool *pool;
    tally ran;
    int n;
} op_storm;

static int ops_for_ever(void *arg) {
    op_storm *s = (op_storm *)arg;
    int i;
    for (i = 0; i < s->n; i++) CHECK_OK(conc_wait(conc_op_pool_run(s->pool, count_up, &s->ran), CONC_FOREVER));
    return 0;
}

/* Many wait for room in a small queue: each wake is used. */
static void ops_under_contention(void) {
    conc_pool_desc d = pool_desc(2, 3, 1);
    op_storm s;
    crew c = { 0 };
    int i;
    memset(&s, 0, sizeof s);
    s.n = check_rounds_least(3000, 100);
    s.pool = pool_make(&d);
    for (i = 0; i < 4; i++) crew_add(&c, ops_for_ever, &s);
    crew_join(&c);
    CHECK_EQ(FINISH(s.pool).completed, 4 * s.n);
    CHECK_EQ(tally_of(&s.ran), 4 * s.n);
}

CONC_CORO(hands_in, conc_pool *pool; int i; tally *t;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 50; self->i++) {
        CO_AWAIT(conc_op_pool_run(self->pool, count_up, self->t));
        CHECK_OK(self->co.result);
    }
    CO_END;
}

CONC_CORO(awaits_end, conc_pool *pool; bool *done;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_pool_end(self->pool));
    CHECK_OK(self->co.result);
    *self->done = true;
    CO_END;
}

static void ops_of_coroutines(void) {
    conc_pool_desc d = pool_desc(1, 1, 1);
    conc_pool *p = pool_make(&d);
    conc_loop *loop = conc_loop_new(NULL);
    tally t = { { 0 }, 0 };
    bool done = false;
    int i;
    if (!CHECK(loop != NULL)) return;
    for (i = 0; i < 5; i++) CHECK_OK(CONC_GO(loop, hands_in, .pool = p, .t = &t));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_pool_close(p));
    CHECK_OK(CONC_GO(loop, awaits_end, .pool = p, .done = &done));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(done);
    CHECK_EQ(tally_of(&t), 250);
    FINISH(p);
    CHECK_OK(conc_loop_free(loop));
}

/* ---- offloading to a pool ---------------------------------------------------------------------------------------------------- */

typedef struct sum {
    int a, b, result;
    bool here;
    conc_pool *pool;
} sum;

static int add(void *arg) {
    sum *s = (sum *)arg;
    s->result = s->a + s->b;
    s->here = conc_pool_current() == s->pool;
    return s->b == 99 ? 99 : 0;
}

CONC_CORO(offloads, conc_pool *pool; sum s; bool *done;) {
    CO_BEGIN;
    self->s.a = 3;
    self->s.b = 4;
    self->s.pool = self->pool;
    CO_AWAIT(conc_op_offload(self->pool, add, &self->s));
    CHECK_OK(self->co.result);
    CHECK_EQ(self->s.result, 7);
    CHECK(self->s.here);
    self->s.b = 99;
    CO_AWAIT(conc_op_offload(self->pool, add, &self->s));
    CHECK_R(self->co.result, CONC_FAILED);
    *self->done = true;
    CO_END;
}

static void offloading(void) {
    conc_pool *p = pool_of(1);
    conc_loop *loop = conc_loop_new(NULL);
    bool done = false;
    sum s;
    if (!CHECK(loop != NULL)) return;
    memset(&s, 0, sizeof s);
    s.a = 20;
    s.b = 22;
    s.pool = p;
    CHECK_OK(CONC_GO(loop, offloads, .pool = p, .done = &done));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK(done);
    CHECK_OK(conc_wait(conc_op_offload(p, add, &s), CONC_FOREVER));
    CHECK_EQ(s.result, 42);
    CHECK(s.here);
    gates_shut(); /* left behind, while it waits in the queue */
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
    CHECK_R(conc_wait(conc_op_offload(p, add, &s), conc_after(0.001)), CONC_TIMEOUT);
    gates_open();
    CHECK_OK(conc_pool_close(p));
    CHECK_R(conc_wait(conc_op_offload(p, add, &s), CONC_FOREVER), CONC_CLOSED);
    FINISH(p);
    CHECK_OK(conc_loop_free(loop));
    CHECK_EQ(reports_now(), 0);
}

/* ---- tokens of tasks ------------------------------------------------------------------------------------------------------------ */

static void tokens(void) {
    conc_pool *p = pool_of(1);
    conc_pool_task task;
    conc_cancel token = { NULL, 0 }, before = { NULL, 0 };
    conc_future *f, *g;
    memset(&task, 0, sizeof task);
    gates_shut();
    task.cancel = &token;
    f = a_future(__FILE__, __LINE__, conc_pool_submit_ex(p, at_gate_code, &gates[0], &task));
    UNTIL(gates_begun() == 1);
    CHECK_OK(conc_pool_run_ex(p, at_gate, &gates[1], &task)); /* its wait ends at once: the token has fired by then */
    task.cancel = &before;
    CHECK_OK(conc_cancel_fire(&before)); /* a task whose parent has fired: it begins (or never will), and does not wait */
    g = a_future(__FILE__, __LINE__, conc_pool_submit_ex(p, waits_for_event, &gates[2].gate, &task));
    CHECK_OK(conc_cancel_fire(&token));
    UNTIL(conc_future_is_done(f));
    CHECK_EQ(conc_future_code(f), CONC_CANCELED);
    {
        conc_result r = conc_future_wait(g, CONC_FOREVER);
        CHECK(r == CONC_FAILED || r == CONC_CANCELED);
    }
    conc_future_release(f);
    conc_future_release(g);
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
}

/* ---- the storm -------------------------------------------------------------------------------------------------------------------- */

typedef struct drop { /* one task */
    int ran, returned, dropped, canceled, rejected, accepted;
    bool slow;
} drop;

#define STORM_TASKS 60
typedef struct storm_hand {
    conc_pool *pool;
    drop tasks[STORM_TASKS];
    uint32_t seed;
} storm_hand;

static int storm_task(void *arg) {
    drop *d = (drop *)arg;
    d->ran++;
    if (d->slow) (void)conc_sleep(conc_after(50e-6));
    return 0;
}

static void storm_returned(conc_fn fn, void *arg, void *user) {
    (void)user;
    CHECK(fn == storm_task);
    ((drop *)arg)->returned++;
}

static void storm_dropped(conc_fn fn, void *arg, void *user) {
    (void)user;
    CHECK(fn == storm_task);
    ((drop *)arg)->dropped++;
}

static int storm_hands_in(void *arg) {
    storm_hand *h = (storm_hand *)arg;
    conc_future *mine[STORM_TASKS];
    int at[STORM_TASKS], n = 0, i;
    for (i = 0; i < STORM_TASKS; i++) {
        drop *d = &h->tasks[i];
        conc_pool_task task;
        memset(&task, 0, sizeof task);
        if (conc_pool_desc_of(h->pool)->by_priority) task.priority = (int)(check_random(&h->seed) % 3u);
        d->slow = check_random(&h->seed) % 4u == 0;
        if (check_random(&h->seed) % 2u) {
            conc_result r = conc_pool_run_ex(h->pool, storm_task, d, &task);
            if (r != CONC_OK) {
                CHECK(r == CONC_REJECTED || r == CONC_CLOSED || r == CONC_TIMEOUT);
                d->rejected++;
            } else {
                d->accepted++;
            }
        } else {
            conc_future *f = conc_pool_submit_ex(h->pool, storm_task, d, &task);
            if (f == NULL) {
                conc_result r = conc_error_result();
                CHECK(r == CONC_REJECTED || r == CONC_CLOSED || r == CONC_TIMEOUT);
                d->rejected++;
            } else {
                d->accepted++;
                at[n] = i;
                mine[n++] = f;
            }
        }
        if (n > 0 && check_random(&h->seed) % 3u == 0) {
            int k = (int)(check_random(&h->seed) % (uint32_t)n);
            conc_result r = conc_future_cancel(mine[k]);
            if (r == CONC_OK) {
                h->tasks[at[k]].canceled++;
                CHECK_R(conc_future_result(mine[k]), CONC_CANCELED);
            } else {
                CHECK(r == CONC_BUSY || r == CONC_CLOSED);
            }
        }
        check_spin_us(10, &h->seed);
    }
    for (i = 0; i < n; i++) {
        conc_result r = conc_future_wait(mine[i], CONC_FOREVER);
        drop *d = &h->tasks[at[i]];
        if (r == CONC_OK) CHECK(d->ran == 1);
        else CHECK(r == CONC_CANCELED || r == CONC_REJECTED);
        conc_future_release(mine[i]);
    }
    return 0;
}

static void storm(void) {
    static storm_hand hands[3];
    int i, k, round, rounds = check_rounds_least(200, 20);
    uint32_t seed = 1;
    for (round = 0; round < rounds; round++) {
        conc_pool_desc d = pool_desc(1 + (unsigned)round % 2, 1 + (unsigned)round % 2, 0);
        conc_pool_stats s;
        conc_pool *p;
        crew c = { 0 };
        int ran = 0, returned = 0, canceled = 0, accepted = 0, failures = check_failures;
        d.dropped = storm_dropped;
        d.on_reject = (conc_reject)(round / 2 % 5);
        d.by_priority = round / 10 % 2 != 0 && d.on_reject != CONC_REJECT_DISCARD_OLDEST;
        d.block_seconds = round % 3 ? 0 : 100e-6;
        if (round % 4 < 3) {
            d.queue_capacity = round % 4 == 2 && d.on_reject != CONC_REJECT_DISCARD_OLDEST && !d.by_priority ? CONC_POOL_NO_QUEUE
                                                                                          : 1 + (size_t)round % 7;
            d.max_threads += (unsigned)round % 3;
        }
        d.keep_alive = round % 5 == 0 ? 20e-6 : 1;
        d.core_time_out = round % 7 == 0;
        p = pool_make(&d);
        memset(hands, 0, sizeof hands);
        for (i = 0; i < 3; i++) {
            hands[i].pool = p;
            hands[i].seed = (uint32_t)(round * 3 + i + 1);
            crew_add(&c, storm_hands_in, &hands[i]);
        }
        check_spin_us(1000, &seed);
        if (round % 3 == 0) CHECK_OK(conc_pool_close(p));
        else if (round % 3 == 1) CHECK_OK(conc_pool_close_now(p, round % 2 ? storm_returned : NULL, NULL));
        crew_join(&c);
        s = FINISH(p);
        for (i = 0; i < 3; i++) {
            for (k = 0; k < STORM_TASKS; k++) {
                drop *t = &hands[i].tasks[k];
                if (!CHECK_EQ(t->ran + t->returned + t->dropped + t->canceled + t->rejected, 1))
                    fprintf(stderr, "  ran %d, returned %d, dropped %d, canceled %d, rejected %d\n", t->ran, t->returned,
                            t->dropped, t->canceled, t->rejected);
                CHECK_EQ(t->accepted + t->rejected, 1);
                ran += t->ran;
                returned += t->returned;
                canceled += t->canceled;
                accepted += t->accepted;
            }
        }
        if (d.on_reject != CONC_REJECT_CALLER_RUNS) CHECK_EQ(s.completed, ran);
        CHECK_EQ(s.returned, returned);
        CHECK(s.canceled >= (uint64_t)canceled);
        if (d.on_reject == CONC_REJECT_ABORT || d.on_reject == CONC_REJECT_BLOCK) {
            CHECK_EQ(s.accepted, accepted);
            CHECK_EQ(s.rejected, 3 * STORM_TASKS - accepted);
        }
        if (check_failures != failures)
            fprintf(stderr, "  in round %d: policy %d, by priority %d, core %u, max %u, capacity %u\n", round, (int)d.on_reject,
                    d.by_priority, d.core_threads, d.max_threads, (unsigned)d.queue_capacity);
    }
    CHECK_EQ(reports_now(), 0);
}

/* ---- idle ---------------------------------------------------------------------------------------------------------------------------- */

#if !defined(_WIN32)
static double cpu_seconds(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return 0;
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void idle(void) {
    conc_pool_desc d = pool_desc(8, 8, 0);
    conc_pool *p;
    conc_future *f;
    double before;
    d.prestart = true;
    p = pool_make(&d);
    f = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, returns_0, NULL, conc_after(1000)));
    AWAIT(p, 8, 8, 0);
    (void)conc_sleep(conc_after(0.02));
    before = cpu_seconds();
    (void)conc_sleep(conc_after(0.2));
    CHECK(cpu_seconds() - before < 0.05 * 0.2);
    CHECK_OK(conc_future_cancel(f));
    conc_future_release(f);
    FINISH(p);
}
#endif

/* ---- fork() ---------------------------------------------------------------------------------------------------------------------------- */

#if !defined(_WIN32)
static void child_of_pool(conc_pool *p, conc_future *f) {
    tally t = { { 0 }, 0 };
    CHECK_R(conc_pool_run(p, count_up, &t), CONC_FORKED);
    CHECK(conc_pool_submit(p, count_up, &t) == NULL);
    CHECK_R(conc_error_result(), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_pool_run(p, count_up, &t), CONC_FOREVER), CONC_FORKED);
    CHECK(conc_pool_submit_at(p, count_up, &t, CONC_NOW) == NULL);
    CHECK_R(conc_error_result(), CONC_FORKED);
    CHECK(conc_pool_every(p, count_up, &t, CONC_NOW, 1, false) == NULL);
    CHECK_R(conc_error_result(), CONC_FORKED);
    CHECK_R(conc_pool_call(p, count_up, &t, NULL), CONC_FORKED);
    CHECK_R(conc_pool_resize(p, 1, 1), CONC_FORKED);
    CHECK_R(conc_pool_set_keep_alive(p, 1), CONC_FORKED);
    CHECK_EQ(conc_pool_prestart(p, 0), 0);
    CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_future(f), CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_pool_close(p), CONC_FORKED);
    CHECK_R(conc_pool_close_now(p, NULL, NULL), CONC_FORKED);
    CHECK_R(conc_pool_join(p, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_pool_end(p), CONC_FOREVER), CONC_FORKED);
    CHECK_EQ(tally_of(&t), 0);
    CHECK_OK(conc_pool_free(p));
    conc_future_release(f);
    if (!CHECK_TSAN && !CHECK_ASAN) { /* which do not bear threads there: see test_fork.c */
        p = pool_of(2); /* one of the child's own works */
        CHECK_OK(conc_pool_run(p, count_up, &t));
        FINISH(p);
        CHECK_EQ(tally_of(&t), 1);
    }
}

static void forked(void) {
    int i;
    for (i = 0; i < check_rounds_least(20, 3); i++) {
        conc_pool *p = pool_of(2);
        conc_future *f;
        pid_t pid;
        int status = 0;
        gates_shut();
        CHECK_OK(conc_pool_run(p, at_gate, &gates[0]));
        if (i % 2) {
            CHECK_OK(conc_pool_run(p, at_gate, &gates[1]));
            UNTIL(gates_begun() == 2);
        } else {
            UNTIL(gates_begun() == 1);
        }
        f = SUBMIT(p, at_gate, &gates[2]); /* it runs, or is queued */
        if (i % 2 == 0) UNTIL(gates_begun() == 2);
        fflush(NULL);
        pid = fork();
        if (!CHECK(pid >= 0)) return;
        if (pid == 0) {
            check_failures = 0;
            check_watchdog();
            child_of_pool(p, f);
            fflush(NULL);
            _exit(check_failures != 0 ? 1 : 0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        gates_open();
        CHECK_OK(conc_future_wait(f, CONC_FOREVER));
        conc_future_release(f);
        CHECK_EQ(FINISH(p).completed, 2 + i % 2);
    }
}
#endif

/* ---- the program's end: in the child, one function a scenario; what it returns is main's return value ---------------------------------- */

static conc_event for_good;
static conc_pool *volatile left; /* open: nobody frees it, and that is no leak */

static void say(const char *text) {
    printf("%s\n", text);
    fflush(stdout);
}

static int says_done(void *arg) {
    (void)conc_sleep(conc_after(0.002));
    say((const char *)arg);
    return 0;
}

static char task_1[] = "task 1", task_2[] = "task 2", task_3[] = "task 3";

static int open_at_end(void) { /* its tasks run to their end */
    conc_pool *p = left = pool_of(1);
    CHECK_OK(conc_pool_run(p, says_done, task_1));
    CHECK_OK(conc_pool_run(p, says_done, task_2));
    CHECK_OK(conc_pool_run(p, says_done, task_3));
    return 3;
}

static int later_at_end(void) { /* what is due in a thousand seconds does not hold it up */
    conc_pool *p = left = pool_of(1);
    CHECK_OK(conc_pool_run(p, says_done, task_1));
    conc_future_release(conc_pool_submit_at(p, says_done, task_2, conc_after(1000)));
    conc_future_release(conc_pool_every(p, says_done, task_3, conc_after(1000), 1, false));
    return 3;
}

static int open_at_exit(void) {
    conc_pool *p = left = pool_of(2);
    CHECK_OK(conc_pool_run(p, says_done, task_1));
    exit(4);
    return 99;
}

static int idle_at_end(void) { /* holds nobody up */
    conc_pool *p = left = pool_of(4);
    CHECK_OK(conc_pool_run(p, says_done, task_1));
    AWAIT(p, 1, 1, 0);
    CHECK_EQ(conc_pool_prestart(p, 0), 4);
    say("main returns");
    return 5;
}

static int never_used(void) {
    left = pool_of(4);
    return 6;
}

static int waits_for_good(void *arg) {
    (void)conc_event_set((conc_event *)arg);
    (void)conc_event_wait(&for_good, CONC_FOREVER);
    say("not to be seen");
    return 0;
}

static int daemon_pool(void) { /* neither closed nor waited for */
    static conc_event begun;
    conc_pool_desc d = pool_desc(2, 2, 0);
    conc_pool *p;
    d.daemon = true;
    p = left = pool_make(&d);
    CHECK_OK(conc_pool_run(p, waits_for_good, &begun));
    CHECK_OK(conc_event_wait(&begun, CONC_FOREVER));
    say("main returns");
    return 7;
}

static conc_pool *late_pool;
static int hands_in_late(void *arg) { /* when the pool has been closed by the program's end */
    conc_result r;
    (void)arg;
    while ((r = conc_pool_run(late_pool, returns_0, NULL)) == CONC_OK) (void)conc_sleep(conc_after(0.001));
    say(r == CONC_CLOSED ? "closed" : conc_strerror(r));
    return 0;
}

static int closed_by_the_end(void) {
    late_pool = pool_of(2);
    CHECK_OK(conc_pool_run(late_pool, hands_in_late, NULL));
    return 0;
}

static int fails_at_end(void) {
    static int five = 5;
    conc_pool_desc d = pool_desc(1, 1, 0);
    conc_pool *p;
    d.name = "unlucky";
    p = left = pool_make(&d);
    conc_set_error_hook(NULL, NULL);
    CHECK_OK(conc_pool_run(p, returns_int, &five));
    return 0;
}

static int blocked_at_end(void) { /* a thread that is no daemon waits for room and is let in, or told */
    conc_pool_desc d = pool_desc(1, 1, 1);
    conc_pool *p;
    d.on_reject = CONC_REJECT_BLOCK;
    p = left = pool_make(&d);
    CHECK_OK(conc_pool_run(p, says_done, task_1));
    CHECK_OK(conc_pool_run(p, says_done, task_2));
    CHECK_OK(conc_pool_run(p, says_done, task_3));
    return 8;
}

#if !defined(_WIN32) && !CHECK_TSAN && !CHECK_ASAN && UINTPTR_MAX > 0xffffffffu
static int few_threads(void) { /* the system gives fewer than wanted: those that are there do it */
    struct rlimit limit;
    conc_pool_desc d = pool_desc(16, 16, 0);
    tally t = { { 0 }, 0 };
    conc_pool *p;
    conc_pool_stats s;
    int i;
    d.stack_size = (size_t)64 << 20;
    p = left = pool_make(&d);
    gates_shut();
    CHECK_OK(conc_pool_run(p, at_gate, &gates[0])); /* one there is */
    UNTIL(gates_begun() == 1);
    limit.rlim_cur = limit.rlim_max = (rlim_t)320 << 20;
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    for (i = 0; i < 15; i++) CHECK_OK(conc_pool_run(p, count_up, &t));
    CHECK_OK(conc_pool_run(p, at_gate, &gates[1]));
    s = conc_pool_stats_of(p);
    CHECK(s.threads >= 1 && s.threads < 16);
    gates_open();
    s = FINISH(p);
    CHECK_EQ(s.completed, 17);
    CHECK_EQ(tally_of(&t), 15);
    CHECK(s.largest < 16);
    return 9;
}
#endif

typedef struct scenario {
    const char *name;
    int (*run)(void);
    int status;
    const char *out, *err; /* what it has to print: exactly, or a part if it begins with '*' */
} scenario;

static const scenario scenarios[] = {
    { "open_at_end", open_at_end, 3, "task 1\ntask 2\ntask 3\n", "" },
    { "later_at_end", later_at_end, 3, "task 1\n", "" },
    { "open_at_exit", open_at_exit, 4, "task 1\n", "" },
    { "idle_at_end", idle_at_end, 5, "task 1\nmain returns\n", "" },
    { "never_used", never_used, 6, "", "" },
    { "daemon_pool", daemon_pool, 7, "main returns\n", "" },
    { "closed_by_the_end", closed_by_the_end, 0, "closed\n", "" },
    { "fails_at_end", fails_at_end, 0, "", "*5" },
    { "blocked_at_end", blocked_at_end, 8, "task 1\ntask 2\ntask 3\n", "" },
#if !defined(_WIN32) && !CHECK_TSAN && !CHECK_ASAN && UINTPTR_MAX > 0xffffffffu
    { "few_threads", few_threads, 9, "", "" },
#endif
};

static const char *self_path;

static void read_file(const char *path, char *text, size_t size) {
    FILE *f = fopen(path, "rb");
    size_t n = 0, i, k;
    if (f != NULL) {
        n = fread(text, 1, size - 1, f);
        fclose(f);
    }
    for (i = k = 0; i < n; i++) {
        if (text[i] != '\r') text[k++] = text[i];
    }
    text[k] = '\0';
}

static int run_child(const char *name, char *out, char *err, size_t size) { /* see test_exit.c */
    char command[3000], out_path[1000], err_path[1000];
    const char *launcher = getenv("CONC_TEST_LAUNCHER");
    int status;
    snprintf(out_path, sizeof out_path, "%.900s.%s.out", self_path, name);
    snprintf(err_path, sizeof err_path, "%.900s.%s.err", self_path, name);
#if defined(_WIN32)
    (void)launcher;
    snprintf(command, sizeof command, "\"\"%s\" %s > \"%s\" 2> \"%s\"\"", self_path, name, out_path, err_path);
#else
    snprintf(command, sizeof command, "%s '%s' %s > '%s' 2> '%s'", launcher != NULL ? launcher : "", self_path, name,
             out_path, err_path);
#endif
    fflush(NULL);
    status = system(command);
    read_file(out_path, out, size);
    read_file(err_path, err, size);
    remove(out_path);
    remove(err_path);
#if defined(_WIN32)
    return status;
#else
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
#endif
}

static bool as_wanted(const char *got, const char *want) {
    return want[0] == '*' ? strstr(got, want + 1) != NULL : strcmp(got, want) == 0;
}

static void program_ends(void) {
    static char out[8000], err[8000];
    size_t i;
    int round, rounds = check_rounds_least(5, 1);
    if (run_child("probe", out, err, sizeof out) != 42) {
        printf("    it cannot run itself\n");
        return;
    }
    for (i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const scenario *s = &scenarios[i];
        check_enter(s->name);
        for (round = 0; round < rounds; round++) {
            int64_t began = conc_clock_ns();
            int status = run_child(s->name, out, err, sizeof out);
            bool ok = CHECK_EQ(status, s->status);
            ok &= CHECK(as_wanted(out, s->out));
            ok &= CHECK(as_wanted(err, s->err));
            ok &= CHECK(conc_clock_ns() - began < INT64_C(30000000000)); /* no idle thread's keep-alive was waited for */
            if (!ok) {
                fprintf(stderr, "  it wrote:\n%s  and on stderr:\n%s", out, err);
                break;
            }
        }
    }
}

int main(int argc, char **argv) {
    size_t i;
    check_begin("pool");
    if (argc > 1) {
        for (i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
            if (strcmp(argv[1], scenarios[i].name) == 0) {
                int status = scenarios[i].run();
                return check_failures != 0 ? 98 : status;
            }
        }
        return strcmp(argv[1], "probe") == 0 ? 42 : 97;
    }
    self_path = argv[0];
    conc_set_error_hook(count_report, NULL);
    RUN(making);
    RUN(misused);
    RUN(the_rules);
    RUN(no_queue_is_exact);
    RUN(hooks);
    RUN(names);
    RUN(fifo);
    RUN(fifo_of_tasks);
    RUN(fifo_of_many);
    RUN(priorities);
    RUN(discard);
    RUN(caller_runs);
    RUN(blocks);
    RUN(blocks_in_a_worker);
    RUN(reject_function);
    RUN(prestart);
    RUN(resize_while_running);
    RUN(short_keep_alive);
    RUN(no_threads);
    RUN(the_end);
    RUN(finish_in_one);
    RUN(close_now);
    RUN(failures);
    RUN(for_ever);
    RUN(later);
    RUN(every);
    RUN(ops_of_threads);
    RUN(ops_under_contention);
    RUN(ops_of_coroutines);
    RUN(offloading);
    RUN(tokens);
    RUN(storm);
#if !defined(_WIN32)
    if (!CHECK_TSAN && !CHECK_ASAN && getenv("CONC_TEST_EMULATED") == NULL) RUN(idle);
    RUN(forked);
#endif
    RUN(program_ends);
    CHECK_EQ(reports_now(), 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
