/* pooled.h: what the tests of the pool, of futures and of jobs share. Include it after check.h. */

#ifndef CONC_TESTS_POOLED_H
#define CONC_TESTS_POOLED_H

/* ---- a number that several threads count ------------------------------------------------------------ */

typedef struct tally {
    conc_mutex lock;
    int n;
} tally;

/* No token of the caller's ends the wait for the lock. */
CONC__UNUSED static int tally_add(tally *t, int by) {
    conc_cancel *token = conc_cancel_use(NULL);
    int n = 0;
    CONC_WITH_LOCK(&t->lock) n = t->n += by;
    (void)conc_cancel_use(token);
    return n;
}

CONC__UNUSED static int tally_of(tally *t) {
    return tally_add(t, 0);
}

CONC__UNUSED static int count_up(void *arg) { /* a task */
    (void)tally_add((tally *)arg, 1);
    return 0;
}

CONC__UNUSED static int waits_for_event(void *arg) { /* a task */
    return conc_event_wait((conc_event *)arg, CONC_FOREVER);
}

CONC__UNUSED static int returns_int(void *arg) { /* a task */
    return *(int *)arg;
}

CONC__UNUSED static int returns_0(void *arg) { /* a task */
    (void)arg;
    return 0;
}

/* ---- the error hook ------------------------------------------------------------------------------------ */

static tally reports;
static int report_code;
static void count_report(const conc_error *e, void *user) {
    (void)user;
    CONC_WITH_LOCK(&reports.lock) {
        reports.n++;
        report_code = e->code;
    }
}

/* How many since the last call. */
CONC__UNUSED static int reports_now(void) {
    int n = 0;
    CONC_WITH_LOCK(&reports.lock) {
        n = reports.n;
        reports.n = 0;
    }
    return n;
}

/* ---- pools ------------------------------------------------------------------------------------------------ */

CONC__UNUSED static conc_pool_desc pool_desc(unsigned core, unsigned max, size_t capacity) {
    conc_pool_desc d;
    memset(&d, 0, sizeof d);
    d.core_threads = core;
    d.max_threads = max;
    d.queue_capacity = capacity;
    return d;
}

CONC__UNUSED static conc_pool *pool_make(const conc_pool_desc *desc) {
    conc_pool *p = conc_pool_new(desc);
    if (p == NULL) {
        fprintf(stderr, "[%s] cannot make a pool: %s\n", check_case, conc_error_detail());
        exit(1); /* all that follows would wait for it */
    }
    return p;
}

CONC__UNUSED static conc_pool *pool_of(unsigned threads) {
    conc_pool_desc d = pool_desc(threads, threads, 0);
    return pool_make(&d);
}

/* Waits for the numbers of threads, idle threads and queued tasks, and says where if they do not come. */
#define AWAIT(pool, threads, idle, queued)                                                         \
    await_state(__FILE__, __LINE__, (pool), (unsigned)(threads), (unsigned)(idle), (size_t)(queued), NULL)
CONC__UNUSED static bool await_state(const char *file, int line, conc_pool *pool, unsigned threads, unsigned idle,
                                     size_t queued, const char *what) {
    conc_deadline patience = conc_after(30);
    unsigned n = 0;
    char text[300];
    for (;;) {
        conc_pool_stats s = conc_pool_stats_of(pool);
        if (s.threads == threads && s.idle == idle && s.queued == queued && s.active == threads - idle) return true;
        if (conc_deadline_passed(patience)) {
            snprintf(text, sizeof text, "%s: %u threads, %u idle, %u active, %u queued; wanted %u, %u, %u, %u",
                     what == NULL ? "state" : what, s.threads, s.idle, s.active, (unsigned)s.queued, threads, idle,
                     threads - idle, (unsigned)queued);
            check_fail(file, line, text);
            return false;
        }
        check_pause(&n);
    }
}

/* What has been joined has nothing left, and all is accounted for. */
#define ACCOUNT(pool) account(__FILE__, __LINE__, (pool))
CONC__UNUSED static conc_pool_stats account(const char *file, int line, conc_pool *pool) {
    conc_pool_stats s = conc_pool_stats_of(pool);
    check_eq(file, line, s.threads, 0, "threads at the end");
    check_eq(file, line, s.idle, 0, "idle at the end");
    check_eq(file, line, s.active, 0, "active at the end");
    check_eq(file, line, (long long)s.queued, 0, "queued at the end");
    check_eq(file, line, (long long)s.scheduled, 0, "scheduled at the end");
    if (!check_eq(file, line, (long long)(s.completed + s.canceled + s.returned), (long long)s.accepted,
                  "completed + canceled + returned at the end")) {
        fprintf(stderr, "  completed %u, canceled %u, returned %u, rejected %u\n", (unsigned)s.completed,
                (unsigned)s.canceled, (unsigned)s.returned, (unsigned)s.rejected);
    }
    return s;
}

/* Closes (if it is not closed), joins, accounts, frees. Returns the numbers as they were. */
#define FINISH(pool) finish_pool(__FILE__, __LINE__, (pool))
CONC__UNUSED static conc_pool_stats finish_pool(const char *file, int line, conc_pool *pool) {
    conc_pool_stats s;
    conc_result r = conc_pool_close(pool);
    check_true(file, line, r == CONC_OK || r == CONC_CLOSED, "close");
    check_result(file, line, (int)conc_pool_join(pool, CONC_FOREVER), CONC_OK, "join");
    s = account(file, line, pool);
    check_result(file, line, (int)conc_pool_free(pool), CONC_OK, "free");
    return s;
}

/* A future that has to be there. */
#define SUBMIT(pool, fn, arg) a_future(__FILE__, __LINE__, conc_pool_submit((pool), (fn), (arg)))
CONC__UNUSED static conc_future *a_future(const char *file, int line, conc_future *f) {
    if (f == NULL) check_fail(file, line, conc_error_detail());
    return f;
}

#endif
