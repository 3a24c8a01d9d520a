/* Fork and join in a pool, calls in parallel, groups of tasks; nested in each other, in pools of all sizes. (Loops: see
 * test_parallel.c.) */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"
#include "pooled.h"

/* A task, or a job, at a gate: it tells that it has begun. */
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

static int at_gate_code(void *arg) { /* fails if it was canceled */
    (void)at_gate(arg);
    return ((gated *)arg)->wait;
}

static void let_go(gated *g) {
    CHECK_OK(conc_event_set(&g->gate));
}

/* Calls fn as part of the pool; it has to return 0. */
static void call(conc_pool *p, conc_fn fn, void *arg) {
    int code = -1;
    CHECK_OK(conc_pool_call(p, fn, arg, &code));
    CHECK_EQ(code, 0);
}

/* ---- fork and join ------------------------------------------------------------------------------------------ */

typedef struct fib {
    int n, value;
} fib;

static int fib_plain(int n) {
    return n < 2 ? n : fib_plain(n - 1) + fib_plain(n - 2);
}

static int fib_job(void *arg) {
    fib *f = (fib *)arg;
    fib a, b;
    conc_job job;
    if (f->n < 2) {
        f->value = f->n;
        return 0;
    }
    a.n = f->n - 1;
    b.n = f->n - 2;
    conc_job_fork(&job, fib_job, &b);
    (void)fib_job(&a);
    CHECK_EQ(conc_job_join(&job), 0);
    f->value = a.value + b.value;
    return 0;
}

static void fibs(void) {
    unsigned threads;
    int round;
    for (threads = 1; threads <= 8; threads++) {
        for (round = 0; round < check_rounds_least(10, 2); round++) {
            conc_pool *p = pool_of(threads);
            fib f;
            conc_future *other;
            if (round % 2) (void)conc_pool_prestart(p, 0);
            f.n = CHECK_TSAN || CHECK_ASAN ? 15 : 20;
            call(p, fib_job, &f);
            CHECK_EQ(f.value, fib_plain(f.n));
            CHECK_EQ(conc_pool_stats_of(p).accepted, 0); /* jobs are none of its tasks */
            CHECK(conc_pool_current() == NULL);
            /* in a task of the pool */
            f.value = 0;
            other = SUBMIT(p, fib_job, &f);
            CHECK_OK(conc_future_wait(other, CONC_FOREVER));
            CHECK_EQ(f.value, fib_plain(f.n));
            conc_future_release(other);
            CHECK_EQ(FINISH(p).accepted, 1);
        }
    }
}

/* Several threads that call at the same time, and tasks besides. */
static int calls_fib(void *arg) {
    conc_pool *p = (conc_pool *)arg;
    int i;
    for (i = 0; i < check_rounds_least(30, 3); i++) {
        fib f;
        f.n = 10 + i % 5;
        call(p, fib_job, &f);
        CHECK_EQ(f.value, fib_plain(f.n));
    }
    return 0;
}

static void fibs_together(void) {
    unsigned threads;
    for (threads = 1; threads <= 4; threads++) {
        conc_pool *p = pool_of(threads);
        crew c = { 0 };
        fib f[20];
        conc_future *fs[20];
        int i;
        for (i = 0; i < 3; i++) crew_add(&c, calls_fib, p);
        for (i = 0; i < 20; i++) {
            f[i].n = i % 14;
            fs[i] = SUBMIT(p, fib_job, &f[i]);
        }
        CHECK_OK(conc_wait_all(fs, 20, CONC_FOREVER));
        for (i = 0; i < 20; i++) {
            CHECK_EQ(f[i].value, fib_plain(i % 14));
            conc_future_release(fs[i]);
        }
        crew_join(&c);
        FINISH(p);
    }
}

/* Many forks before the first join, and joins in this order and that. */
#define FORKS 10000
typedef struct many {
    conc_job job;
    int number, result, ran;
} many;

static many forks[FORKS];

static int one_of_many(void *arg) {
    many *m = (many *)arg;
    m->ran++;
    m->result = m->number * 3;
    return m->number % 100;
}

static int forks_many(void *arg) {
    int how = *(int *)arg, n = how / 10 % 2 ? FORKS : 50, i, k;
    uint32_t seed = (uint32_t)how + 1;
    static int order[FORKS]; /* one thread at a time */
    memset(forks, 0, sizeof forks);
    for (i = 0; i < n; i++) order[i] = i;
    if (how % 3 == 1) {
        for (i = 0; i < n; i++) order[i] = n - 1 - i;
    } else if (how % 3 == 2) {
        for (i = n - 1; i > 0; i--) {
            int x = order[i];
            k = (int)(check_random(&seed) % (uint32_t)(i + 1));
            order[i] = order[k];
            order[k] = x;
        }
    }
    for (i = 0; i < n; i++) {
        forks[i].number = i;
        conc_job_fork(&forks[i].job, one_of_many, &forks[i]);
    }
    for (i = 0; i < n; i++) {
        many *m = &forks[order[i]];
        CHECK_EQ(conc_job_join(&m->job), order[i] % 100);
        CHECK_EQ(m->result, order[i] * 3);
        if (!CHECK_EQ(m->ran, 1)) break;
    }
    return 0;
}

static void many_forks(void) {
    unsigned threads;
    int how;
    for (threads = 1; threads <= 4; threads++) {
        conc_pool *p = pool_of(threads);
        if (threads % 2 == 0) (void)conc_pool_prestart(p, 0);
        for (how = 0; how < 30; how++) call(p, forks_many, &how);
        FINISH(p);
    }
    for (how = 0; how < 20; how++) CHECK_EQ(forks_many(&how), 0); /* outside of any pool: called on the spot */
}

static void outside(void) {
    conc_job job;
    int seven = 7;
    tally t = { { 0 }, 0 };
    CHECK(conc_pool_current() == NULL);
    conc_job_fork(&job, count_up, &t);
    CHECK_EQ(tally_of(&t), 1);
    CHECK_EQ(conc_job_join(&job), 0);
    conc_job_fork(&job, returns_int, &seven);
    CHECK_EQ(conc_job_join(&job), 7);
    CHECK_EQ(tally_of(&t), 1);
}

/* A tree of jobs of random shape, joined in random orders. */
typedef struct shape {
    int depth;
    uint32_t seed;
    int nodes;
} shape;

static int random_nodes(int depth, uint32_t seed) {
    int i, n = 1, kids = depth == 0 ? 0 : (int)(check_random(&seed) % 6u);
    for (i = 0; i < kids; i++) n += random_nodes(depth - 1, seed + (uint32_t)i * 7919u);
    return n;
}

static int random_tree(void *arg) {
    shape *s = (shape *)arg, child[6];
    conc_job jobs[6];
    uint32_t seed = s->seed;
    int order[6], i, kids = s->depth == 0 ? 0 : (int)(check_random(&seed) % 6u);
    s->nodes = 1;
    for (i = 0; i < kids; i++) {
        child[i].depth = s->depth - 1;
        child[i].seed = seed + (uint32_t)i * 7919u;
        child[i].nodes = 0;
        order[i] = i;
        conc_job_fork(&jobs[i], random_tree, &child[i]);
    }
    for (i = kids - 1; i > 0; i--) {
        int k = (int)(check_random(&seed) % (uint32_t)(i + 1)), x = order[i];
        order[i] = order[k];
        order[k] = x;
    }
    for (i = 0; i < kids; i++) {
        CHECK_EQ(conc_job_join(&jobs[order[i]]), 0);
        s->nodes += child[order[i]].nodes;
    }
    return 0;
}

static void random_trees(void) {
    int round;
    for (round = 0; round < check_rounds_least(300, 20); round++) {
        conc_pool *p = pool_of(1 + (unsigned)round % 5);
        shape s;
        (void)conc_pool_prestart(p, 0);
        s.depth = 3 + round % 3;
        s.seed = (uint32_t)round * 31u + 5u;
        call(p, random_tree, &s);
        CHECK_EQ(s.nodes, random_nodes(s.depth, s.seed));
        FINISH(p);
    }
}

/* Threads that have nothing to do take jobs, the oldest first. */
typedef struct taken {
    gated g[3];
    conc_thread *threads[3];
    conc_pool *pools[3];
} taken;
static taken stolen;

static int job_is_taken(void *arg) {
    gated *g = (gated *)arg;
    stolen.threads[g - stolen.g] = conc_thread_current();
    stolen.pools[g - stolen.g] = conc_pool_current();
    return at_gate(arg);
}

/* The first is open to others from the fork on, more are opened by their forker's next calls. */
static void forks_until(const conc_event *e) {
    while (!conc_event_is_set(e)) {
        conc_job job;
        conc_job_fork(&job, returns_0, NULL);
        CHECK_EQ(conc_job_join(&job), 0);
        conc_thread_yield();
    }
}

static int waits_for_thieves(void *arg) {
    conc_job jobs[3];
    conc_pool *p = (conc_pool *)arg;
    int i;
    for (i = 0; i < 3; i++) conc_job_fork(&jobs[i], job_is_taken, &stolen.g[i]);
    UNTIL(conc_event_is_set(&stolen.g[0].begun)); /* by the one thread */
    CHECK(!conc_event_is_set(&stolen.g[1].begun) && !conc_event_is_set(&stolen.g[2].begun));
    CHECK(stolen.threads[0] != conc_thread_current());
    CHECK(stolen.pools[0] == p);
    let_go(&stolen.g[0]);
    forks_until(&stolen.g[1].begun);
    CHECK(!conc_event_is_set(&stolen.g[2].begun));
    let_go(&stolen.g[1]);
    forks_until(&stolen.g[2].begun);
    let_go(&stolen.g[2]);
    for (i = 2; i >= 0; i--) CHECK_EQ(conc_job_join(&jobs[i]), 0);
    return 0;
}

static void thieves(void) {
    int i;
    for (i = 0; i < check_rounds(100); i++) {
        conc_pool *p = pool_of(1);
        memset(&stolen, 0, sizeof stolen);
        if (i % 3) (void)conc_pool_prestart(p, 0); /* or it is started for the jobs */
        if (i % 3 == 2) AWAIT(p, 1, 1, 0);         /* or it is just coming */
        call(p, waits_for_thieves, p);
        FINISH(p);
    }
}

/* ---- conc_pool_call ----------------------------------------------------------------------------------------------- */

static int is_here(void *arg) {
    CHECK(conc_pool_current() == (conc_pool *)arg);
    return 5;
}

static int sees_itself_closed(void *arg) {
    conc_pool *p = (conc_pool *)arg;
    fib f;
    tally t = { { 0 }, 0 };
    conc_pool_group g;
    int code = 0;
    CHECK_OK(conc_pool_close(p));
    f.n = 12;
    (void)fib_job(&f);
    CHECK_EQ(f.value, 144);
    CHECK_OK(conc_pool_call(p, is_here, p, &code)); /* it belongs to it */
    CHECK_EQ(code, 5);
    CHECK_OK(conc_pool_group_begin(&g, p));
    CHECK_OK(conc_pool_group_run(&g, count_up, &t));
    CHECK_OK(conc_pool_group_end(&g));
    CHECK_EQ(tally_of(&t), 1);
    CHECK_R(conc_pool_run(p, count_up, &t), CONC_CLOSED);
    return 0;
}

static void calls(void) {
    conc_pool *p = pool_of(2);
    conc_future *f;
    int code = 0;
    CHECK_OK(conc_pool_call(p, is_here, p, &code));
    CHECK_EQ(code, 5);
    CHECK_OK(conc_pool_call(p, returns_0, NULL, NULL));
    CHECK(conc_pool_current() == NULL);
    CHECK_MISUSE(conc_pool_call(NULL, returns_0, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_call(p, NULL, NULL, NULL), CONC_INVALID);
    f = SUBMIT(p, sees_itself_closed, p);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    CHECK_R(conc_pool_call(p, returns_0, NULL, NULL), CONC_CLOSED);
    {
        conc_pool_group g;
        conc_result r = conc_pool_group_begin(&g, p);
        CHECK(r == CONC_OK || r == CONC_CLOSED);
        if (r == CONC_OK) {
            CHECK_R(conc_pool_group_run(&g, returns_0, NULL), CONC_CLOSED);
            r = conc_pool_group_end(&g);
            CHECK(r == CONC_OK || r == CONC_CANCELED);
        }
    }
    {
        conc_call one;
        one.fn = returns_0;
        one.arg = NULL;
        CHECK_R(conc_pool_invoke(p, &one, 1), CONC_CLOSED);
    }
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
}

/* One pool within another. */
typedef struct nest {
    conc_pool *inner, *outer;
    int depth;
    tally leaves;
} nest;

static int nests(void *arg);
static int nests_outside_in(void *arg) { /* a job of the inner that calls the outer again */
    nest *n = (nest *)arg;
    nest below = *n;
    CHECK(conc_pool_current() == n->inner);
    below.depth = n->depth - 1;
    memset(&below.leaves, 0, sizeof below.leaves);
    if (below.depth == 0) {
        fib f;
        f.n = 8;
        (void)fib_job(&f);
        CHECK_EQ(f.value, 21);
        (void)tally_add(&n->leaves, 1);
        return 0;
    }
    call(n->outer, nests, &below);
    CHECK(conc_pool_current() == n->inner);
    (void)tally_add(&n->leaves, tally_of(&below.leaves));
    return 0;
}

static int nests(void *arg) { /* called in n->outer */
    nest *n = (nest *)arg;
    conc_job a, b;
    CHECK(conc_pool_current() == n->outer);
    {
        nest swapped_a = *n, swapped_b = *n;
        swapped_a.inner = swapped_b.inner = n->outer; /* the jobs are the outer's */
        swapped_a.outer = swapped_b.outer = n->inner;
        conc_job_fork(&a, nests_outside_in, &swapped_a);
        conc_job_fork(&b, nests_outside_in, &swapped_b);
        CHECK_EQ(conc_job_join(&b), 0);
        CHECK_EQ(conc_job_join(&a), 0);
        (void)tally_add(&n->leaves, tally_of(&swapped_a.leaves) + tally_of(&swapped_b.leaves));
    }
    CHECK(conc_pool_current() == n->outer);
    return 0;
}

static void nested_pools(void) {
    int i;
    for (i = 0; i < check_rounds_least(100, 10); i++) {
        nest n;
        memset(&n, 0, sizeof n);
        n.outer = pool_of(1 + (unsigned)i % 3);
        n.inner = pool_of(1 + (unsigned)i / 3 % 3);
        n.depth = 5;
        if (i % 2) {
            (void)conc_pool_prestart(n.outer, 0);
            (void)conc_pool_prestart(n.inner, 0);
        }
        call(n.outer, nests, &n);
        CHECK_EQ(tally_of(&n.leaves), 32);
        CHECK(conc_pool_current() == NULL);
        FINISH(n.outer);
        FINISH(n.inner);
    }
}

CONC_CORO(calls_in_a_coroutine, conc_pool *pool; fib f; int code;) {
    CO_BEGIN;
    self->f.n = 12;
    CHECK_OK(conc_pool_call(self->pool, fib_job, &self->f, &self->code));
    CHECK_EQ(self->f.value, 144);
    CO_YIELD;
    CHECK(conc_pool_current() == NULL);
    CO_END;
}

static void in_a_coroutine(void) {
    conc_pool *p = pool_of(2);
    conc_loop *loop = conc_loop_new(NULL);
    int i;
    if (!CHECK(loop != NULL)) return;
    for (i = 0; i < 4; i++) CHECK_OK(CONC_GO(loop, calls_in_a_coroutine, .pool = p));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_loop_free(loop));
    FINISH(p);
}

/* ---- calls in parallel --------------------------------------------------------------------------------------------------- */

static int invokes_within(void *arg) {
    conc_call c[3];
    tally t = { { 0 }, 0 };
    int i;
    for (i = 0; i < 3; i++) {
        c[i].fn = count_up;
        c[i].arg = &t;
    }
    CHECK_OK(conc_pool_invoke((conc_pool *)arg, c, 3));
    CHECK_EQ(tally_of(&t), 3);
    return 0;
}

static int fires(void *arg) {
    nudge(3);
    return conc_cancel_fire((conc_cancel *)arg);
}

static void invoking(void) {
    conc_pool *p = pool_of(2);
    conc_call c[100];
    tally t = { { 0 }, 0 };
    conc_cancel token = { NULL, 0 };
    static int twelve = 12;
    gated g;
    crew firer = { 0 };
    int i, round;
    for (i = 0; i < 100; i++) {
        c[i].fn = count_up;
        c[i].arg = &t;
    }
    CHECK_OK(conc_pool_invoke(p, c, 100));
    CHECK_EQ(tally_of(&t), 100);
    CHECK_OK(conc_pool_invoke(p, c, 1));
    CHECK_OK(conc_pool_invoke(p, c, 0));
    CHECK_OK(conc_pool_invoke(p, NULL, 0));
    CHECK_EQ(tally_of(&t), 101);
    CHECK_MISUSE(conc_pool_invoke(NULL, c, 3), CONC_INVALID);
    CHECK_MISUSE(conc_pool_invoke(p, NULL, 3), CONC_INVALID);
    c[1].fn = NULL;
    CHECK_MISUSE(conc_pool_invoke(p, c, 3), CONC_INVALID);
    for (i = 0; i < 6; i++) {
        c[i].fn = invokes_within;
        c[i].arg = p;
    }
    CHECK_OK(conc_pool_invoke(p, c, 6));
    /* one fails: the other has its token fired, or never begins */
    (void)conc_pool_prestart(p, 0);
    for (round = 0; round < check_rounds(50); round++) {
        memset(&g, 0, sizeof g);
        c[round % 2].fn = returns_int;
        c[round % 2].arg = &twelve;
        c[1 - round % 2].fn = at_gate_code;
        c[1 - round % 2].arg = &g;
        CHECK_R(conc_pool_invoke(p, c, 2), CONC_FAILED);
        CHECK_HAS(conc_error_detail(), "12");
        if (g.ran) CHECK_R(g.wait, CONC_CANCELED);
    }
    /* the caller is canceled (calls that all return 0 have succeeded all the same) */
    memset(&g, 0, sizeof g);
    c[0].fn = at_gate_code;
    c[0].arg = &g;
    c[1].fn = count_up;
    c[1].arg = &t;
    crew_add(&firer, fires, &token);
    (void)conc_cancel_use(&token);
    CHECK_R(conc_pool_invoke(p, c, 2), CONC_CANCELED);
    CHECK(conc_cancel_current() == &token);
    CHECK_R(conc_pool_invoke(p, c, 2), CONC_CANCELED); /* from the beginning */
    (void)conc_cancel_use(NULL);
    crew_join(&firer);
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------ */

static void groups_from_outside(void) {
    conc_pool *p = pool_of(2);
    conc_pool_group g;
    tally t = { { 0 }, 0 };
    int i, round;
    CHECK_OK(conc_pool_group_begin(&g, p));
    CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER)); /* nobody is in it */
    CHECK_OK(conc_pool_group_wait(&g, CONC_NOW));
    for (round = 1; round <= 3; round++) { /* it may be used again */
        for (i = 0; i < 100; i++) CHECK_OK(conc_pool_group_run(&g, count_up, &t));
        CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
        CHECK_EQ(tally_of(&t), 100 * round);
        CHECK_EQ(conc_pool_group_code(&g), 0);
    }
    for (i = 0; i < 100; i++) CHECK_OK(conc_pool_group_run(&g, count_up, &t));
    CHECK_OK(conc_pool_group_end(&g)); /* waits, too */
    CHECK_EQ(tally_of(&t), 400);
    CHECK_OK(conc_pool_group_begin(&g, p));
    CHECK_OK(conc_pool_group_end(&g));
    CHECK_MISUSE(conc_pool_group_begin(NULL, p), CONC_INVALID);
    CHECK_MISUSE(conc_pool_group_begin(&g, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_group_run(NULL, count_up, &t), CONC_INVALID);
    CHECK_MISUSE(conc_pool_group_wait(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_pool_group_cancel(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_group_end(NULL), CONC_INVALID);
    CHECK_EQ(conc_pool_group_code(NULL), 0);
    CHECK_OK(conc_pool_group_begin(&g, p));
    CHECK_MISUSE(conc_pool_group_run(&g, NULL, &t), CONC_INVALID);
    CHECK_OK(conc_pool_group_end(&g));
    FINISH(p);
}

static int group_from_inside(void *arg) {
    conc_pool *p = (conc_pool *)arg;
    conc_pool_group g;
    tally t = { { 0 }, 0 };
    int i, round;
    CHECK_OK(conc_pool_group_begin(&g, p));
    for (round = 1; round <= 3; round++) {
        for (i = 0; i < 50; i++) CHECK_OK(conc_pool_group_run(&g, count_up, &t));
        CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
        CHECK_EQ(tally_of(&t), 50 * round);
    }
    CHECK_OK(conc_pool_group_end(&g));
    return 0;
}

static void groups_from_inside(void) {
    unsigned threads;
    int i;
    for (threads = 1; threads <= 4; threads++) {
        conc_pool *p = pool_of(threads);
        conc_future *f[8];
        conc_pool_stats s;
        for (i = 0; i < 8; i++) f[i] = SUBMIT(p, group_from_inside, p);
        call(p, group_from_inside, p);
        CHECK_OK(conc_wait_all(f, 8, CONC_FOREVER));
        for (i = 0; i < 8; i++) conc_future_release(f[i]);
        s = FINISH(p);
        CHECK_EQ(s.accepted, 8); /* they do not pass through the queue */
    }
}

static void group_failures(void) {
    conc_pool *p = pool_of(3);
    conc_pool_group g;
    gated t[3];
    tally n = { { 0 }, 0 };
    int nine = 9, i, round;
    conc_result r;
    for (round = 0; round < check_rounds(30) && check_failures == 0; round++) {
        memset(t, 0, sizeof t);
        CHECK_OK(conc_pool_group_begin(&g, p));
        for (i = 0; i < 2; i++) {
            CHECK_OK(conc_pool_group_run(&g, at_gate_code, &t[i])); /* which fail in their turn, for the other's sake */
            CHECK_OK(conc_event_wait(&t[i].begun, CONC_FOREVER));
        }
        CHECK_OK(conc_pool_group_run(&g, returns_int, &nine));
        CHECK_R(conc_pool_group_wait(&g, CONC_FOREVER), CONC_FAILED);
        CHECK_EQ(conc_pool_group_code(&g), 9);
        CHECK_R(t[0].wait, CONC_CANCELED);
        CHECK_R(t[1].wait, CONC_CANCELED);
        /* again, after the wait */
        n.n = 0;
        CHECK_OK(conc_pool_group_run(&g, count_up, &n));
        CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
        CHECK_EQ(conc_pool_group_code(&g), 0);
        CHECK_EQ(tally_of(&n), 1);
        /* what comes after the failure */
        CHECK_OK(conc_pool_group_run(&g, returns_int, &nine));
        while ((r = conc_pool_group_run(&g, count_up, &n)) == CONC_OK) conc_thread_yield();
        CHECK_R(r, CONC_CANCELED);
        CHECK_R(conc_pool_group_end(&g), CONC_FAILED);
    }
    FINISH(p);
    CHECK_EQ(reports_now(), 0); /* the wait tells */
}

static void group_cancels(void) {
    conc_pool *p = pool_of(2);
    conc_pool_group g;
    gated t[6];
    int i, round;
    for (round = 0; round < check_rounds(30) && check_failures < 10; round++) {
        memset(t, 0, sizeof t);
        CHECK_OK(conc_pool_group_begin(&g, p));
        for (i = 0; i < 6; i++) CHECK_OK(conc_pool_group_run(&g, round % 2 ? at_gate : at_gate_code, &t[i]));
        for (i = 0; i < 2; i++) CHECK_OK(conc_event_wait(&t[i].begun, CONC_FOREVER));
        CHECK_OK(conc_pool_group_cancel(&g));
        CHECK_OK(conc_pool_group_cancel(&g)); /* harmless */
        CHECK_R(conc_pool_group_run(&g, at_gate, &t[0]), CONC_CANCELED);
        CHECK_R(conc_pool_group_wait(&g, CONC_FOREVER), CONC_CANCELED);
        for (i = 0; i < 6; i++) {
            CHECK_EQ(t[i].ran, i < 2);
            if (i < 2) CHECK_R(t[i].wait, CONC_CANCELED);
        }
        if (round % 3 == 0) { /* again */
            memset(t, 0, sizeof t);
            let_go(&t[0]);
            CHECK_OK(conc_pool_group_run(&g, at_gate, &t[0]));
            CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
            CHECK_OK(t[0].wait);
        }
        (void)conc_pool_group_end(&g);
    }
    FINISH(p);
    CHECK_EQ(reports_now(), 0);
}

static void group_deadlines(void) {
    conc_pool *p = pool_of(1);
    conc_pool_group g;
    gated t;
    conc_cancel token = { NULL, 0 };
    memset(&t, 0, sizeof t);
    CHECK_OK(conc_pool_group_begin(&g, p));
    CHECK_OK(conc_pool_group_run(&g, at_gate, &t));
    CHECK_OK(conc_event_wait(&t.begun, CONC_FOREVER));
    CHECK_R(conc_pool_group_wait(&g, conc_after(0.002)), CONC_TIMEOUT);
    {
        conc_result r = conc_pool_group_wait(&g, CONC_NOW);
        CHECK(r == CONC_TIMEOUT || r == CONC_BUSY);
    }
    let_go(&t); /* that cancels nothing */
    CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
    CHECK_OK(t.wait);
    /* the end, of a caller who is canceled: so is what is in it */
    memset(&t, 0, sizeof t);
    CHECK_OK(conc_pool_group_run(&g, at_gate, &t));
    CHECK_OK(conc_event_wait(&t.begun, CONC_FOREVER));
    CHECK_OK(conc_cancel_fire(&token));
    (void)conc_cancel_use(&token);
    CHECK_R(conc_pool_group_end(&g), CONC_CANCELED);
    (void)conc_cancel_use(NULL);
    CHECK_R(t.wait, CONC_CANCELED);
    FINISH(p);
}

typedef struct member {
    conc_pool *pool;
    conc_pool_group *group;
    tally *nodes;
    int depth;
} member;

static int waits_for_its_own(void *arg) {
    CHECK_MISUSE(conc_pool_group_wait((conc_pool_group *)arg, CONC_FOREVER), CONC_DEADLOCK);
    return 0;
}

static void group_deadlock(void) {
    unsigned threads;
    for (threads = 1; threads <= 2; threads++) {
        conc_pool *p = pool_of(threads);
        conc_pool_group g;
        int i;
        CHECK_OK(conc_pool_group_begin(&g, p));
        for (i = 0; i < 4; i++) CHECK_OK(conc_pool_group_run(&g, waits_for_its_own, &g));
        CHECK_OK(conc_pool_group_end(&g));
        FINISH(p);
    }
}

/* A group of groups; and members that start members of the same group: a directory tree. */
static int has_groups(void *arg) {
    member *m = (member *)arg;
    conc_pool_group g;
    member child[3];
    int i;
    (void)tally_add(m->nodes, 1);
    if (m->depth == 0) return 0;
    CHECK_OK(conc_pool_group_begin(&g, m->pool));
    for (i = 0; i < 3; i++) {
        child[i] = *m;
        child[i].depth--;
        CHECK_OK(conc_pool_group_run(&g, has_groups, &child[i]));
    }
    CHECK_OK(conc_pool_group_end(&g));
    return 0;
}

static member directories[6][729];
static int walks(void *arg) {
    member *m = (member *)arg;
    int i;
    (void)tally_add(m->nodes, 1);
    if (m->depth == 0) return 0;
    for (i = 0; i < 3; i++) {
        member *child = &directories[m->depth - 1][(m - directories[m->depth]) * 3 + i];
        *child = *m;
        child->depth--;
        CHECK_OK(conc_pool_group_run(m->group, walks, child));
    }
    return 0;
}

static int walks_inside(void *arg) { /* the wait, too, is a member's */
    member *m = (member *)arg;
    conc_pool_group g;
    CHECK_OK(conc_pool_group_begin(&g, m->pool));
    m->group = &g;
    CHECK_OK(conc_pool_group_run(&g, walks, m));
    CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
    CHECK_OK(conc_pool_group_end(&g));
    return 0;
}

static void group_trees(void) {
    int round;
    for (round = 0; round < check_rounds_least(60, 8); round++) {
        conc_pool_desc d = pool_desc(1 + (unsigned)round % 4, 0, round % 3 == 0 ? 0 : round % 3 == 1 ? 3 : CONC_POOL_NO_QUEUE);
        conc_pool_group g;
        tally nodes = { { 0 }, 0 };
        member m;
        memset(&m, 0, sizeof m);
        m.pool = pool_make(&d);
        m.nodes = &nodes;
        m.depth = 4;
        if (round % 2) {
            CHECK_OK(conc_pool_group_begin(&g, m.pool));
            CHECK_OK(conc_pool_group_run(&g, has_groups, &m));
            CHECK_OK(conc_pool_group_end(&g));
        } else {
            call(m.pool, has_groups, &m);
        }
        CHECK_EQ(tally_of(&nodes), 121);
        nodes.n = 0;
        CHECK_OK(conc_pool_group_begin(&g, m.pool));
        m.group = &g;
        m.depth = 5;
        directories[5][0] = m;
        CHECK_OK(conc_pool_group_run(&g, walks, &directories[5][0]));
        if (round % 4 < 2) CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER));
        CHECK_OK(conc_pool_group_end(&g));
        CHECK_EQ(tally_of(&nodes), 364);
        nodes.n = 0;
        call(m.pool, walks_inside, &directories[5][0]);
        CHECK_EQ(tally_of(&nodes), 364);
        FINISH(m.pool);
    }
}

/* A thread that takes another's job, and starts members of the group in it, has those done, too, before it idles. */
typedef struct strays {
    conc_pool_group group;
    conc_event begun, taken;
    tally ran;
} strays;

static int leaves_strays(void *arg) { /* a job that was taken */
    strays *s = (strays *)arg;
    int i;
    for (i = 0; i < 10; i++) CHECK_OK(conc_pool_group_run(&s->group, count_up, &s->ran));
    (void)conc_event_set(&s->taken);
    return 0;
}

static int starts_strays(void *arg) {
    strays *s = (strays *)arg;
    CHECK_OK(conc_event_set(&s->begun));
    CHECK_OK(conc_pool_group_run(&s->group, leaves_strays, s));
    return conc_event_wait(&s->taken, CONC_FOREVER);
}

static void group_strays(void) {
    int i;
    for (i = 0; i < check_rounds(30); i++) {
        conc_pool *p = pool_of(2);
        strays s;
        memset(&s, 0, sizeof s);
        (void)conc_pool_prestart(p, 0);
        AWAIT(p, 2, 2, 0);
        CHECK_OK(conc_pool_group_begin(&s.group, p));
        CHECK_OK(conc_pool_group_run(&s.group, starts_strays, &s));
        CHECK_OK(conc_event_wait(&s.begun, CONC_FOREVER)); /* or the wait would take it */
        if (!CHECK_OK(conc_pool_group_wait(&s.group, conc_after(20)))) {
            fprintf(stderr, "  %d of 10 have run\n", tally_of(&s.ran));
            exit(1); /* the end would wait for ever */
        }
        CHECK_EQ(tally_of(&s.ran), 10);
        CHECK_OK(conc_pool_group_end(&s.group));
        FINISH(p);
    }
}

/* A full pool: what finds no place is kept by the group, and done by its wait. */
static void group_of_a_full_pool(void) {
    int policy;
    for (policy = CONC_REJECT_ABORT; policy <= CONC_REJECT_CALLER_RUNS; policy++) {
        conc_pool_desc d = pool_desc(1, 1, 2);
        conc_pool *p;
        conc_pool_group g;
        tally t = { { 0 }, 0 };
        gated blocker;
        int i;
        memset(&blocker, 0, sizeof blocker);
        d.on_reject = (conc_reject)policy;
        p = pool_make(&d);
        CHECK_OK(conc_pool_run(p, at_gate, &blocker));
        CHECK_OK(conc_event_wait(&blocker.begun, CONC_FOREVER));
        CHECK_OK(conc_pool_group_begin(&g, p));
        for (i = 0; i < 10; i++) CHECK_OK(conc_pool_group_run(&g, count_up, &t));
        CHECK_R(conc_pool_group_wait(&g, conc_after(0.002)), CONC_TIMEOUT); /* two are queued */
        CHECK_EQ(tally_of(&t), 8);
        let_go(&blocker);
        CHECK_OK(conc_pool_group_end(&g));
        CHECK_EQ(tally_of(&t), 10);
        FINISH(p);
    }
}

/* Many threads hand in to one group; and many small groups. */
typedef struct hands {
    conc_pool *pool;
    conc_pool_group *group;
    tally *t;
    int n;
    uint32_t seed;
} hands;

static int hands_in(void *arg) {
    hands *h = (hands *)arg;
    int i;
    for (i = 0; i < h->n; i++) CHECK_OK(conc_pool_group_run(h->group, count_up, h->t));
    return 0;
}

static int many_small(void *arg) {
    hands *h = (hands *)arg;
    int i, k;
    for (i = 0; i < h->n; i++) {
        conc_pool_group g;
        tally t = { { 0 }, 0 };
        int n = (int)(check_random(&h->seed) % 4u), seven = 7;
        bool fails = check_random(&h->seed) % 4u == 0;
        conc_result r = CONC_OK;
        CHECK_OK(conc_pool_group_begin(&g, h->pool));
        for (k = 0; k < n; k++) CHECK_OK(conc_pool_group_run(&g, count_up, &t));
        if (fails) CHECK_OK(conc_pool_group_run(&g, returns_int, &seven));
        if (check_random(&h->seed) % 8u == 0) {
            CHECK_OK(conc_pool_group_cancel(&g));
            r = CONC_CANCELED;
        }
        if (check_random(&h->seed) % 2u) {
            conc_result w = conc_pool_group_wait(&g, CONC_FOREVER);
            CHECK(w == (fails ? CONC_FAILED : CONC_OK) || (r == CONC_CANCELED && w == CONC_CANCELED));
            if (w == CONC_FAILED) CHECK_EQ(conc_pool_group_code(&g), 7);
            (void)conc_pool_group_end(&g);
        } else {
            conc_result w = conc_pool_group_end(&g);
            CHECK(w == (fails ? CONC_FAILED : CONC_OK) || (r == CONC_CANCELED && w == CONC_CANCELED));
        }
        if (r == CONC_OK && !fails) CHECK_EQ(tally_of(&t), n);
        else CHECK(tally_of(&t) <= n);
    }
    return 0;
}

static void groups_under_contention(void) {
    int i, round;
    for (round = 0; round < 4; round++) {
        conc_pool_desc d = pool_desc(1 + (unsigned)round, 0, round % 2 ? 8 : 0);
        conc_pool_group g;
        crew c = { 0 };
        tally t = { { 0 }, 0 };
        hands h[4];
        conc_pool *p = pool_make(&d);
        conc_future *f[2];
        CHECK_OK(conc_pool_group_begin(&g, p));
        memset(h, 0, sizeof h);
        for (i = 0; i < 4; i++) {
            h[i].pool = p;
            h[i].group = &g;
            h[i].t = &t;
            h[i].n = check_rounds_least(1000, 50);
            h[i].seed = (uint32_t)(round * 4 + i + 1);
            crew_add(&c, hands_in, &h[i]);
        }
        crew_join(&c);
        CHECK_OK(conc_pool_group_end(&g));
        CHECK_EQ(tally_of(&t), 4 * h[0].n);
        for (i = 0; i < 3; i++) crew_add(&c, many_small, &h[i]);
        if (round % 2 == 0) { /* within the pool, too */
            static hands inside[2];
            for (i = 0; i < 2; i++) {
                inside[i] = h[3];
                inside[i].seed = (uint32_t)i + 99;
                f[i] = SUBMIT(p, many_small, &inside[i]);
            }
            CHECK_OK(conc_wait_all(f, 2, CONC_FOREVER));
            for (i = 0; i < 2; i++) conc_future_release(f[i]);
        }
        crew_join(&c);
        FINISH(p);
    }
    CHECK_EQ(reports_now(), 0);
}

/* ---- all of them, nested at will: each waits for what it has started itself ------------------------------------------- */

typedef struct mixed {
    conc_pool *pool;
    int depth, nodes, strangers; /* strangers: those that ran in a thread that did not seem to be the pool's */
    uint32_t seed;
} mixed;

static int mixes(void *arg) {
    mixed *m = (mixed *)arg, child[4];
    uint32_t seed = m->seed;
    int i, n = 4;
    m->nodes = 1;
    if (conc_pool_current() != m->pool) m->strangers++;
    if (m->depth == 0) return 0;
    for (i = 0; i < n; i++) {
        child[i] = *m;
        child[i].depth--;
        child[i].nodes = child[i].strangers = 0;
        child[i].seed = check_random(&seed);
    }
    switch (check_random(&seed) % 5u) {
    case 0: {
        conc_job jobs[4];
        for (i = 0; i < n; i++) conc_job_fork(&jobs[i], mixes, &child[i]);
        for (i = n - 1; i >= 0; i--) CHECK_EQ(conc_job_join(&jobs[i]), 0);
        break;
    }
    case 1: {
        conc_future *f[4];
        for (i = 0; i < n; i++) f[i] = SUBMIT(m->pool, mixes, &child[i]);
        for (i = 0; i < n; i++) {
            CHECK_OK(conc_future_wait(f[i], CONC_FOREVER));
            conc_future_release(f[i]);
        }
        break;
    }
    case 2: {
        conc_pool_group g;
        CHECK_OK(conc_pool_group_begin(&g, m->pool));
        for (i = 0; i < n; i++) CHECK_OK(conc_pool_group_run(&g, mixes, &child[i]));
        CHECK_OK(conc_pool_group_end(&g));
        break;
    }
    case 3: {
        conc_call c[4];
        for (i = 0; i < n; i++) {
            c[i].fn = mixes;
            c[i].arg = &child[i];
        }
        CHECK_OK(conc_pool_invoke(m->pool, c, (size_t)n));
        break;
    }
    default: { /* some of each */
        conc_job job;
        conc_future *f[2];
        f[0] = SUBMIT(m->pool, mixes, &child[0]);
        conc_job_fork(&job, mixes, &child[1]);
        f[1] = SUBMIT(m->pool, mixes, &child[2]);
        CHECK_EQ(mixes(&child[3]), 0);
        CHECK_EQ(conc_job_join(&job), 0);
        CHECK_OK(conc_wait_all(f, 2, CONC_FOREVER));
        conc_future_release(f[0]);
        conc_future_release(f[1]);
    }
    }
    for (i = 0; i < n; i++) {
        m->nodes += child[i].nodes;
        m->strangers += child[i].strangers;
    }
    return 0;
}

static void all_mixed(void) {
    int round, i, rounds = check_rounds_least(200, 15);
    for (round = 0; round < rounds; round++) {
        conc_pool_desc d = pool_desc(1 + (unsigned)round % 4, 0, 0);
        mixed m[3];
        conc_pool *p;
        conc_future *f[2];
        d.stack_size = (size_t)8 << 20;
        d.by_priority = round % 8 == 7;
        d.waiters_help = round % 5 == 4;
        d.core_time_out = round % 3 == 2;
        d.keep_alive = 0.0002;
        p = pool_make(&d);
        for (i = 0; i < 3; i++) {
            m[i].pool = p;
            m[i].depth = 4;
            m[i].nodes = m[i].strangers = 0;
            m[i].seed = (uint32_t)(round * 3 + i + 1);
        }
        f[0] = SUBMIT(p, mixes, &m[0]);
        f[1] = SUBMIT(p, mixes, &m[1]);
        call(p, mixes, &m[2]);
        CHECK_OK(conc_wait_all(f, 2, CONC_FOREVER));
        for (i = 0; i < 3; i++) {
            CHECK_EQ(m[i].nodes, 341);
            CHECK_EQ(m[i].strangers, 0);
        }
        for (i = 0; i < 2; i++) conc_future_release(f[i]);
        FINISH(p);
    }
    CHECK_EQ(reports_now(), 0);
}

int main(void) {
    check_begin("jobs");
    conc_set_error_hook(count_report, NULL);
    RUN(outside);
    RUN(fibs);
    RUN(fibs_together);
    RUN(many_forks);
    RUN(random_trees);
    RUN(thieves);
    RUN(calls);
    RUN(nested_pools);
    RUN(in_a_coroutine);
    RUN(invoking);
    RUN(groups_from_outside);
    RUN(groups_from_inside);
    RUN(group_failures);
    RUN(group_cancels);
    RUN(group_deadlines);
    RUN(group_deadlock);
    RUN(group_strays);
    RUN(group_trees);
    RUN(group_of_a_full_pool);
    RUN(groups_under_contention);
    RUN(all_mixed);
    CHECK_EQ(reports_now(), 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
