/* wait: ops, select, points in time, cancel tokens, op classes of the user's own. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

/* ---- a class of our own: a counter that is awaited until it is at least some value; each wait takes that much ---- */

typedef struct tally {
    conc_mutex lock;
    long count;
    conc_waiters waiters;
    int arms, abandons; /* guarded by lock */
} tally;

static conc_result tally_attempt(conc_op *op) {
    tally *t = (tally *)op->object;
    conc_result r = CONC_PENDING;
    CONC_WITH_LOCK(&t->lock) {
        if (t->count >= (long)op->word) {
            t->count -= (long)op->word;
            r = CONC_OK;
        }
    }
    return r;
}

static bool tally_arm(conc_op *op, conc_node *node) {
    tally *t = (tally *)op->object;
    bool must_wait = true;
    conc_waiters_arm(&t->waiters, node);
    CONC_WITH_LOCK(&t->lock) {
        t->arms++;
        must_wait = t->count < (long)op->word;
    }
    if (!must_wait) conc_waiters_disarm(node);
    return must_wait;
}

static void tally_abandon(conc_op *op) {
    tally *t = (tally *)op->object;
    CONC_WITH_LOCK(&t->lock) t->abandons++;
}

static const conc_op_class tally_class = { "take", CONC_EMPTY, tally_attempt, tally_arm, NULL, tally_abandon };

static conc_op op_take(tally *t, unsigned n) {
    conc_op op = conc_op_make(&tally_class, t, NULL);
    op.word = n;
    return op;
}

static void tally_add(tally *t, long n) {
    CONC_WITH_LOCK(&t->lock) t->count += n;
    (void)conc_waiters_wake(&t->waiters, CONC_ALL);
}

static void op_make_is_empty(void) {
    int object = 0, data = 0;
    conc_op op = conc_op_make(&tally_class, &object, &data);
    CHECK(op.cls == &tally_class);
    CHECK(op.object == &object);
    CHECK(op.data == &data);
    CHECK_EQ(op.due.ns, INT64_MAX);
    CHECK_EQ(op.word, 0);
}

static void own_class(void) {
    tally t;
    memset(&t, 0, sizeof t);
    CHECK_R(conc_try(op_take(&t, 1)), CONC_EMPTY); /* the class's own word for "would have to wait" */
    CHECK_R(conc_wait(op_take(&t, 1), CONC_NOW), CONC_EMPTY);
    CHECK_R(conc_wait(op_take(&t, 1), conc_after(0.002)), CONC_TIMEOUT);
    tally_add(&t, 3);
    CHECK_OK(conc_try(op_take(&t, 1)));
    CHECK_OK(conc_wait(op_take(&t, 2), CONC_FOREVER));
    CHECK_EQ(t.count, 0);
}

static void own_class_busy_default(void) {
    tally t;
    conc_op_class plain = { "take", (conc_result)0, tally_attempt, tally_arm, NULL, NULL };
    conc_op op;
    memset(&t, 0, sizeof t);
    op = conc_op_make(&plain, &t, NULL);
    op.word = 1;
    CHECK_R(conc_try(op), CONC_BUSY);
    CHECK_R(conc_wait(op, conc_after(0.001)), CONC_TIMEOUT); /* no abandon to call */
}

typedef struct taker {
    tally *t;
    int rounds;
    unsigned n;
} taker;

static int take_rounds(void *arg) {
    taker *k = (taker *)arg;
    int i;
    for (i = 0; i < k->rounds; i++) {
        if (i % 3 == 2) { /* gives up now and then, and tries again */
            conc_result r = conc_wait(op_take(k->t, k->n), conc_after(20e-6));
            if (r == CONC_OK) continue;
            CHECK_R(r, CONC_TIMEOUT);
        }
        CHECK_OK(conc_wait(op_take(k->t, k->n), CONC_FOREVER));
    }
    return 0;
}

static void own_class_many_threads(void) {
    tally t;
    taker k[3];
    crew c = { 0 };
    int i, rounds = check_rounds(6000);
    memset(&t, 0, sizeof t);
    for (i = 0; i < 3; i++) {
        k[i].t = &t;
        k[i].rounds = rounds;
        k[i].n = (unsigned)i + 1;
        crew_add(&c, take_rounds, &k[i]);
    }
    for (i = 0; i < rounds * 6; i++) tally_add(&t, 1);
    crew_join(&c);
    CHECK_EQ(t.count, 0);
}

static int take_one(void *arg) {
    return conc_wait(op_take((tally *)arg, 1), CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void until_armed(tally *t, int arms) {
    int n = 0;
    while (n < arms) {
        CONC_WITH_LOCK(&t->lock) n = t->arms;
        conc_thread_yield();
    }
}

static void wake_counts(void) {
    tally t;
    crew c = { 0 };
    int i;
    size_t woken = 0;
    memset(&t, 0, sizeof t);
    CHECK_EQ(conc_waiters_wake(&t.waiters, CONC_ALL), 0); /* nobody there */
    CHECK_EQ(conc_waiters_wake(&t.waiters, 0), 0);
    for (i = 0; i < 5; i++) crew_add(&c, take_one, &t);
    until_armed(&t, 5);
    CHECK_EQ(conc_waiters_wake(&t.waiters, 0), 0);
    CHECK_OK(conc_mutex_lock(&t.lock, CONC_FOREVER));
    t.count = 5; /* the change first */
    CHECK_OK(conc_mutex_unlock(&t.lock));
    woken = conc_waiters_wake(&t.waiters, 2);
    CHECK_EQ(woken, 2);
    CHECK_EQ(conc_waiters_wake(&t.waiters, CONC_ALL), 3);
    crew_join(&c);
    CHECK_EQ(t.count, 0);
}

static int take_a_lot(void *arg) {
    conc_op ops[12]; /* so many that it does not spin between two sleeps, but is back in the list at once */
    size_t i;
    ops[0] = op_take((tally *)arg, 1000);
    for (i = 1; i < 12; i++) ops[i] = conc_op_never();
    return conc_select(ops, 12, CONC_FOREVER);
}

/* All means all: those woken first, who find that it is not their turn and go to wait again while the rest are being
 * woken, do not stand in for the rest. (More than are woken in one go: that is what makes it happen.) */
static void wake_all_reaches_all(void) {
    enum { N = 20 };
    int i, k;
    for (i = 0; i < check_rounds_least(40, 4); i++) {
        tally t;
        crew early = { 0 }, late = { 0 };
        memset(&t, 0, sizeof t);
        for (k = 0; k < N; k++) crew_add(&early, take_a_lot, &t);
        until_armed(&t, N);
        for (k = 0; k < N; k++) crew_add(&late, take_one, &t);
        until_armed(&t, 2 * N);
        tally_add(&t, N);
        crew_join(&late);
        CHECK_EQ(t.count, 0);
        tally_add(&t, N * 1000);
        crew_join(&early);
        CHECK_EQ(t.count, 0);
    }
}

/* Longest waiting first: three threads armed one after the other, each told apart by what it takes. */
typedef struct ordered {
    conc_mutex lock;
    conc_waiters waiters;
    int open, passed[3], n, arms;
} ordered;

static conc_result ordered_attempt(conc_op *op) {
    ordered *o = (ordered *)op->object;
    conc_result r = CONC_PENDING;
    CONC_WITH_LOCK(&o->lock) {
        if (o->open > 0) {
            o->open--;
            o->passed[o->n++] = *(int *)op->data;
            r = CONC_OK;
        }
    }
    return r;
}

static bool ordered_arm(conc_op *op, conc_node *node) {
    ordered *o = (ordered *)op->object;
    bool must_wait = false;
    conc_waiters_arm(&o->waiters, node);
    CONC_WITH_LOCK(&o->lock) {
        must_wait = o->open == 0;
        o->arms++;
    }
    if (!must_wait) conc_waiters_disarm(node);
    return must_wait;
}

static const conc_op_class ordered_class = { "pass", (conc_result)0, ordered_attempt, ordered_arm, NULL, NULL };

typedef struct ordered_arg {
    ordered *o;
    int id;
} ordered_arg;

static int ordered_pass(void *arg) {
    ordered_arg *a = (ordered_arg *)arg;
    return conc_wait(conc_op_make(&ordered_class, a->o, &a->id), CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void wakes_longest_waiting_first(void) {
    ordered o;
    ordered_arg a[3];
    crew c = { 0 };
    int i, arms, n;
    memset(&o, 0, sizeof o);
    for (i = 0; i < 3; i++) {
        a[i].o = &o;
        a[i].id = i;
        crew_add(&c, ordered_pass, &a[i]);
        do {
            CHECK_OK(conc_mutex_lock(&o.lock, CONC_FOREVER));
            arms = o.arms;
            CHECK_OK(conc_mutex_unlock(&o.lock));
            conc_thread_yield();
        } while (arms <= i);
    }
    for (i = 0; i < 3; i++) {
        CONC_WITH_LOCK(&o.lock) o.open = 1;
        CHECK_EQ(conc_waiters_wake(&o.waiters, 1), 1);
        do {
            CHECK_OK(conc_mutex_lock(&o.lock, CONC_FOREVER));
            n = o.n;
            CHECK_OK(conc_mutex_unlock(&o.lock));
            conc_thread_yield();
        } while (n <= i);
    }
    crew_join(&c);
    for (i = 0; i < 3; i++) CHECK_EQ(o.passed[i], i);
}

/* ---- select ---- */

static void select_takes_the_first_ready(void) {
    conc_event e[3] = { { 0 } };
    conc_op ops[3];
    int i, j;
    for (i = 0; i < 3; i++) {
        e[i].auto_reset = true;
        CHECK_OK(conc_event_set(&e[i]));
    }
    for (j = 0; j < 3; j++) {
        for (i = 0; i < 3; i++) ops[i] = conc_op_event(&e[i]);
        CHECK_EQ(conc_select(ops, 3, j == 0 ? CONC_NOW : CONC_FOREVER), j);
        CHECK_OK(ops[j].result);
        for (i = 0; i < 3; i++) CHECK(conc_event_is_set(&e[i]) == (i > j)); /* the others untouched */
    }
    for (i = 0; i < 3; i++) ops[i] = conc_op_event(&e[i]);
    CHECK_R(conc_select(ops, 3, CONC_NOW), CONC_BUSY);
    for (i = 0; i < 3; i++) ops[i] = conc_op_event(&e[i]);
    CHECK_R(conc_select(ops, 3, check_past()), CONC_TIMEOUT);
    for (i = 0; i < 3; i++) CHECK_OK(conc_event_destroy(&e[i])); /* nobody left waiting */
}

static void select_now_is_busy_whatever_the_class(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    int x = 0;
    conc_op op = conc_op_get(q, &x);
    CHECK_R(conc_select(&op, 1, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_queue_free(q));
}

static void select_gives_the_ops_own_error(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    conc_event never = { 0 };
    int x = 3;
    conc_op ops[2];
    CHECK_OK(conc_queue_close(q));
    ops[0] = conc_op_event(&never);
    ops[1] = conc_op_get(q, &x);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
    CHECK_R(ops[1].result, CONC_CLOSED);
    CHECK_EQ(x, 3);
    CHECK_OK(conc_queue_free(q));
}

static void select_wide(void) {
    enum { N = 1000 };
    static conc_semaphore s[N];
    static conc_op ops[N];
    int i;
    for (i = 0; i < N; i++) ops[i] = conc_op_acquire(&s[i]);
    CHECK_R(conc_select(ops, N, conc_after(0.001)), CONC_TIMEOUT);
    for (i = 0; i < N; i++) ops[i] = conc_op_acquire(&s[i]);
    CHECK_OK(conc_semaphore_release(&s[N - 1], 1));
    CHECK_EQ(conc_select(ops, N, CONC_FOREVER), N - 1);
    for (i = 0; i < N; i++) {
        CHECK_EQ(conc_semaphore_permits(&s[i]), 0);
        CHECK_OK(conc_semaphore_destroy(&s[i]));
    }
}

/* The same object twice in one select. */
static void select_same_object_twice(void) {
    conc_semaphore s = CONC_SEMAPHORE_INIT(0, 0);
    conc_op ops[2];
    ops[0] = conc_op_acquire(&s);
    ops[1] = conc_op_acquire(&s);
    CHECK_R(conc_select(ops, 2, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_semaphore_release(&s, 2));
    ops[0] = conc_op_acquire(&s);
    ops[1] = conc_op_acquire(&s);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0);
    CHECK_EQ(conc_semaphore_permits(&s), 1);
}

static void select_mix(void) {
    conc_mutex m = { 0 };
    conc_rwlock rw = { 0 };
    conc_semaphore s = CONC_SEMAPHORE_INIT(0, 0);
    conc_event e = { 0 };
    conc_latch l = CONC_LATCH_INIT(1);
    conc_cancel token = { 0 };
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    int x = -1, i;
    conc_op ops[7];
    for (i = 0; i < 6; i++) {
        int got;
        switch (i) { /* make one of them ready */
        case 0: CHECK_OK(conc_semaphore_release(&s, 1)); break;
        case 1: CHECK_OK(conc_event_set(&e)); break;
        case 2: CHECK_OK(conc_latch_done(&l)); break;
        case 3: CHECK_OK(conc_cancel_fire(&token)); break;
        case 4: x = 77; CHECK_OK(conc_queue_put(q, &x, CONC_NOW)); x = -1; break;
        default: break; /* the mutex is free */
        }
        ops[0] = conc_op_acquire(&s);
        ops[1] = conc_op_event(&e);
        ops[2] = conc_op_latch(&l);
        ops[3] = conc_op_canceled(&token);
        ops[4] = conc_op_get(q, &x);
        ops[5] = conc_op_lock(&m);
        ops[6] = conc_op_write(&rw);
        if (i < 5) { /* leave the locks out: they would win */
            got = conc_select(ops, 5, CONC_FOREVER);
            CHECK_EQ(got, i);
        } else {
            got = conc_select(&ops[5], 2, CONC_FOREVER);
            CHECK_EQ(got, 0);
            CHECK(conc_mutex_is_mine(&m));
            CHECK_OK(conc_mutex_unlock(&m));
            CHECK_R(conc_rwlock_unlock(&rw), CONC_NOT_OWNER); /* untouched */
        }
        /* back to not ready */
        if (i == 1) CHECK_OK(conc_event_reset(&e));
        if (i == 2) CHECK_OK(conc_latch_add(&l, 1));
        if (i == 3) memset(&token, 0, sizeof token);
        if (i == 4) CHECK_EQ(x, 77);
    }
    CHECK_OK(conc_queue_free(q));
}

/* Ops are armed in order, so when the last op's arm() has run all those before it are armed: a wait that is seen
 * from outside to have begun. Each op is then completed by another thread while the waiter sleeps. */
typedef struct witness {
    tally armed; /* arms counts */
    conc_semaphore s;
    conc_event e;
    conc_latch l;
    conc_mutex m;
    conc_queue *q;
    int x, won;
    conc_result result;
    conc_deadline deadline;
} witness;

static int select_witnessed(void *arg) {
    witness *w = (witness *)arg;
    conc_op ops[6];
    ops[0] = conc_op_acquire(&w->s);
    ops[1] = conc_op_event(&w->e);
    ops[2] = conc_op_latch(&w->l);
    ops[3] = conc_op_lock(&w->m);
    ops[4] = conc_op_get(w->q, &w->x);
    ops[5] = op_take(&w->armed, 1);
    w->won = conc_select(ops, 6, w->deadline);
    w->result = w->won >= 0 ? ops[w->won].result : CONC_PENDING;
    if (w->won == 3) CHECK_OK(conc_mutex_unlock(&w->m));
    return 0;
}

static void select_is_woken_by_each(void) {
    int i, x = 8, round;
    for (round = 0; round < check_rounds(30); round++) {
        for (i = 0; i < 8; i++) {
            witness w;
            crew c = { 0 };
            conc_cancel token = { 0 };
            memset(&w, 0, sizeof w);
            w.x = -1;
            w.q = conc_queue_new(sizeof(int), 1);
            w.deadline = i == 7 ? conc_after(0.002) : CONC_FOREVER;
            CHECK_OK(conc_latch_add(&w.l, 1));
            CHECK_OK(conc_mutex_lock(&w.m, CONC_FOREVER));
            crew_add_under(&c, select_witnessed, &w, &token);
            if (i != 7) until_armed(&w.armed, 1); /* a deadline may pass before it comes to that */
            switch (i) {
            case 0: CHECK_OK(conc_semaphore_release(&w.s, 1)); break;
            case 1: CHECK_OK(conc_event_set(&w.e)); break;
            case 2: CHECK_OK(conc_latch_done(&w.l)); break;
            case 3: CHECK_OK(conc_mutex_unlock(&w.m)); break;
            case 4: CHECK_OK(conc_queue_put(w.q, &x, CONC_NOW)); break;
            case 5: tally_add(&w.armed, 1); break;
            case 6: CHECK_OK(conc_cancel_fire(&token)); break;
            default: break; /* the deadline */
            }
            crew_join(&c);
            CHECK_EQ(w.won, i == 6 ? (int)CONC_CANCELED : i == 7 ? (int)CONC_TIMEOUT : i);
            if (i < 6) CHECK_OK(w.result);
            CHECK_EQ(w.x, i == 4 ? 8 : -1);
            CHECK_EQ(w.armed.abandons, i == 5 ? 0 : 1); /* told once that it did not complete */
            if (i != 3) CHECK_OK(conc_mutex_unlock(&w.m));
            CHECK_OK(conc_semaphore_destroy(&w.s));
            CHECK_OK(conc_event_destroy(&w.e));
            CHECK_OK(conc_latch_destroy(&w.l));
            CHECK_OK(conc_mutex_destroy(&w.m));
            CHECK_OK(conc_queue_free(w.q));
        }
    }
}

typedef struct racer {
    conc_semaphore *s;
    size_t n;
    int rounds;
    long got[8];
    long gave_up;
} racer;

static int select_rounds(void *arg) {
    racer *k = (racer *)arg;
    conc_op ops[8];
    int r, i;
    size_t j;
    for (r = 0; r < k->rounds; r++) {
        for (;;) {
            for (j = 0; j < k->n; j++) ops[j] = conc_op_acquire(&k->s[(j + (size_t)r) % k->n]);
            i = conc_select(ops, k->n, r % 4 == 0 ? conc_after(15e-6) : CONC_FOREVER);
            if (i >= 0) break;
            CHECK_R(i, CONC_TIMEOUT);
            k->gave_up++;
        }
        CHECK_OK(ops[i].result);
        k->got[((size_t)i + (size_t)r) % k->n]++;
    }
    return 0;
}

/* Permits spread over several semaphores, taken by selects that also time out: each permit is used once. */
static void select_conserves_permits(void) {
    enum { SEMAPHORES = 4, THREADS = 4 };
    conc_semaphore s[SEMAPHORES];
    racer k[THREADS];
    crew c = { 0 };
    long given[SEMAPHORES] = { 0 };
    int i, j, rounds = check_rounds(8000);
    uint32_t seed = 99;
    memset(s, 0, sizeof s);
    memset(k, 0, sizeof k);
    for (i = 0; i < THREADS; i++) {
        k[i].s = s;
        k[i].n = SEMAPHORES;
        k[i].rounds = rounds;
        crew_add(&c, select_rounds, &k[i]);
    }
    for (i = 0; i < THREADS * rounds; i++) {
        uint32_t which = check_random(&seed) % SEMAPHORES;
        given[which]++;
        CHECK_OK(conc_semaphore_release(&s[which], 1));
        if (i % 64 == 0) check_spin_us(20, &seed);
    }
    crew_join(&c);
    for (j = 0; j < SEMAPHORES; j++) {
        long got = 0;
        for (i = 0; i < THREADS; i++) got += k[i].got[j];
        CHECK_EQ(got, given[j]);
        CHECK_EQ(conc_semaphore_permits(&s[j]), 0);
        CHECK_OK(conc_semaphore_destroy(&s[j]));
    }
}

/* ---- points in time ---- */

static void sleeping(void) {
    int i;
    for (i = 0; i < 4; i++) {
        int64_t t0 = conc_clock_ns();
        double s = 0.0005 * i;
        conc_deadline d = conc_after(s);
        CHECK_OK(conc_sleep(d));
        CHECK(conc_deadline_passed(d));
        CHECK_OK(conc_wait(conc_op_sleep(s), CONC_FOREVER));
        CHECK_OK(conc_wait(conc_op_until(conc_after(s)), CONC_FOREVER));
        CHECK(conc_clock_ns() - t0 >= (int64_t)(3 * s * 1e9) - 3);
    }
    CHECK_OK(conc_sleep(CONC_NOW));
    CHECK_OK(conc_sleep(check_past()));
    CHECK_OK(conc_sleep(conc_after(-5)));
    CHECK_OK(conc_try(conc_op_sleep(0)));
    CHECK_OK(conc_try(conc_op_sleep(-1)));
    CHECK_OK(conc_try(conc_op_until(CONC_NOW)));
    CHECK_R(conc_try(conc_op_sleep(1000)), CONC_BUSY);
    CHECK_R(conc_wait(conc_op_sleep(1000), conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_wait(conc_op_until(CONC_FOREVER), conc_after(0.001)), CONC_TIMEOUT);
}

static void sleep_counts_from_making(void) {
    conc_op op = conc_op_sleep(0.002);
    CHECK_OK(conc_sleep(conc_after(0.0025)));
    CHECK_OK(conc_try(op));
}

static void select_of_sleeps(void) {
    conc_op ops[3];
    conc_deadline first = conc_after(0.002);
    ops[0] = conc_op_sleep(1000);
    ops[1] = conc_op_until(first);
    ops[2] = conc_op_until(CONC_FOREVER);
    CHECK_EQ(conc_select(ops, 3, CONC_FOREVER), 1);
    CHECK_OK(ops[1].result);
    CHECK(conc_deadline_passed(first));
    ops[0] = conc_op_sleep(1000);
    ops[1] = conc_op_sleep(900);
    CHECK_R(conc_select(ops, 2, conc_after(0.001)), CONC_TIMEOUT);
}

static int sleep_canceled(void *arg) {
    (void)arg;
    CHECK_R(conc_sleep(CONC_FOREVER), CONC_CANCELED);
    CHECK_R(conc_sleep(conc_after(1000)), CONC_CANCELED); /* still */
    CHECK_OK(conc_sleep(CONC_NOW));                       /* need not wait */
    return 0;
}

static void sleep_is_canceled(void) {
    unsigned i;
    for (i = 0; i < 4; i++) {
        crew c = { 0 };
        conc_cancel token = { 0 };
        crew_add_under(&c, sleep_canceled, NULL, &token);
        nudge(i);
        CHECK_OK(conc_cancel_fire(&token));
        crew_join(&c);
    }
}

static void never(void) {
    conc_event e = { 0 };
    conc_op ops[2];
    CHECK_R(conc_try(conc_op_never()), CONC_BUSY);
    CHECK_R(conc_wait(conc_op_never(), conc_after(0.001)), CONC_TIMEOUT);
    ops[0] = conc_op_never();
    ops[1] = conc_op_event(&e);
    CHECK_R(conc_select(ops, 2, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_event_set(&e));
    ops[0] = conc_op_never();
    ops[1] = conc_op_event(&e);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
}

/* ---- cancel tokens ---- */

static void tokens(void) {
    conc_cancel parent = { 0 }, child = { 0 }, other = { 0 };
    child.parent = &parent;
    CHECK(!conc_cancel_fired(&parent));
    CHECK(!conc_cancel_fired(&child));
    CHECK_R(conc_try(conc_op_canceled(&child)), CONC_BUSY);
    CHECK_OK(conc_cancel_fire(&parent));
    CHECK_OK(conc_cancel_fire(&parent)); /* again is harmless */
    CHECK(conc_cancel_fired(&parent));
    CHECK(conc_cancel_fired(&child));
    CHECK(!conc_cancel_fired(&other));
    CHECK_OK(conc_try(conc_op_canceled(&parent)));
    CHECK_R(conc_try(conc_op_canceled(&child)), CONC_BUSY); /* itself: parents do not count here */
    CHECK_OK(conc_cancel_fire(&child));
    CHECK_OK(conc_try(conc_op_canceled(&child)));
}

static void child_does_not_fire_parent(void) {
    conc_cancel parent = { 0 }, child = { 0 };
    child.parent = &parent;
    CHECK_OK(conc_cancel_fire(&child));
    CHECK(conc_cancel_fired(&child));
    CHECK(!conc_cancel_fired(&parent));
}

static void current_token(void) {
    conc_cancel a = { 0 }, b = { 0 };
    CHECK(conc_cancel_current() == NULL);
    CHECK_OK(conc_canceled());
    CHECK(conc_cancel_use(&a) == NULL);
    CHECK(conc_cancel_current() == &a);
    CHECK_OK(conc_canceled());
    CHECK_OK(conc_cancel_fire(&a));
    CHECK_R(conc_canceled(), CONC_CANCELED);
    CHECK(conc_cancel_use(&b) == &a);
    CHECK_OK(conc_canceled());
    CHECK(conc_cancel_use(NULL) == &b);
    CHECK(conc_cancel_current() == NULL);
}

static int leaves_by_return(conc_cancel *token) {
#if CONC_CC_GNU && !CONC_CC_TINY
    CONC_WITH_CANCEL(token) return 5;
    return 6;
#else
    CONC_WITH_CANCEL(token) {
        break;
    }
    return 5;
#endif
}

static void with_cancel(void) {
    conc_cancel a = { 0 }, b = { 0 };
    int runs = 0, i;
    CONC_WITH_CANCEL(&a) {
        CHECK(conc_cancel_current() == &a);
        CONC_WITH_CANCEL(&b) {
            CHECK(conc_cancel_current() == &b);
            runs++;
        }
        CHECK(conc_cancel_current() == &a);
        CONC_WITH_CANCEL(NULL) {
            CHECK(conc_cancel_current() == NULL);
            runs++;
            break;
        }
        CHECK(conc_cancel_current() == &a);
        for (i = 0; i < 3; i++) {
            CONC_WITH_CANCEL(&b) {
                runs++;
                continue; /* leaves the block, not the loop's round */
            }
            CHECK(conc_cancel_current() == &a);
            runs++;
        }
    }
    CHECK(conc_cancel_current() == NULL);
    CHECK_EQ(runs, 8);
    CHECK_EQ(leaves_by_return(&a), 5);
    CHECK(conc_cancel_current() == NULL);
}

static int wait_on_event(void *arg) {
    conc_result r = conc_event_wait((conc_event *)arg, CONC_FOREVER);
    CHECK_R(r, CONC_CANCELED);
    CHECK_R(conc_canceled(), CONC_CANCELED);
    return 0;
}

/* Every thread below the token is woken, at any depth. */
static void fire_wakes_the_whole_tree(void) {
    unsigned round;
    for (round = 0; round < (unsigned)check_rounds(40); round++) {
        conc_cancel token[CONC_CANCEL_DEPTH];
        conc_event never = { 0 };
        crew c = { 0 };
        int i;
        memset(token, 0, sizeof token);
        for (i = 1; i < CONC_CANCEL_DEPTH; i++) token[i].parent = &token[i - 1];
        for (i = 0; i < CONC_CANCEL_DEPTH; i++) crew_add_under(&c, wait_on_event, &never, &token[i]);
        nudge(round);
        CHECK_OK(conc_cancel_fire(&token[0]));
        crew_join(&c);
        CHECK_OK(conc_event_destroy(&never));
    }
}

static void too_deep_a_chain(void) {
    conc_cancel token[CONC_CANCEL_DEPTH + 1];
    int i;
    memset(token, 0, sizeof token);
    for (i = 1; i <= CONC_CANCEL_DEPTH; i++) token[i].parent = &token[i - 1];
    check_mark();
    CHECK(conc_cancel_use(&token[CONC_CANCEL_DEPTH - 1]) == NULL); /* just as long as allowed */
    CHECK_HAS(conc_error_detail(), check_mark_text());
    CHECK(conc_cancel_use(&token[CONC_CANCEL_DEPTH]) == &token[CONC_CANCEL_DEPTH - 1]);
    CHECK(strstr(conc_error_detail(), check_mark_text()) == NULL); /* it says so */
    CHECK_OK(conc_cancel_fire(&token[0]));                         /* the one that was cut off */
    CHECK_OK(conc_canceled());
    CHECK_OK(conc_cancel_fire(&token[1]));
    CHECK_R(conc_canceled(), CONC_CANCELED);
    (void)conc_cancel_use(NULL);
}

static int wait_for_token(void *arg) {
    return conc_wait(conc_op_canceled((conc_cancel *)arg), CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void token_as_op(void) {
    unsigned i;
    for (i = 0; i < 4; i++) {
        conc_cancel token = { 0 };
        crew c = { 0 };
        crew_add(&c, wait_for_token, &token);
        crew_add(&c, wait_for_token, &token);
        nudge(i);
        CHECK_OK(conc_cancel_fire(&token));
        crew_join(&c);
    }
}

/* ---- fire racing with the end of the wait, and with the token's own end ---- */

typedef struct fire_race {
    conc_semaphore go, there;
    conc_cancel *token;
    int rounds;
} fire_race;

static int firer(void *arg) {
    fire_race *f = (fire_race *)arg;
    uint32_t seed = 7;
    int i;
    for (i = 0; i < f->rounds; i++) {
        CHECK_OK(conc_semaphore_acquire(&f->go, CONC_FOREVER));
        check_spin_us(10, &seed);
        CHECK_OK(conc_cancel_fire(f->token));
        CHECK_OK(conc_semaphore_release(&f->there, 1));
    }
    return 0;
}

static void fire_races_with_time_out(void) {
    fire_race f;
    crew c = { 0 };
    uint32_t seed = 3;
    int i, canceled = 0;
    memset(&f, 0, sizeof f);
    f.rounds = check_rounds(5000);
    crew_add(&c, firer, &f);
    for (i = 0; i < f.rounds; i++) {
        conc_cancel *token = (conc_cancel *)calloc(1, sizeof *token);
        conc_event *never = (conc_event *)calloc(1, sizeof *never);
        conc_result r;
        f.token = token;
        CHECK_OK(conc_semaphore_release(&f.go, 1));
        check_spin_us(10, &seed);
        (void)conc_cancel_use(token);
        r = conc_event_wait(never, conc_after(10e-6));
        (void)conc_cancel_use(NULL);
        CHECK(r == CONC_TIMEOUT || r == CONC_CANCELED);
        canceled += r == CONC_CANCELED;
        CHECK_OK(conc_event_destroy(never));
        free(never); /* nothing of the wait may be left behind */
        CHECK_OK(conc_semaphore_acquire(&f.there, CONC_FOREVER));
        free(token);
    }
    crew_join(&c);
    CHECK(canceled <= f.rounds);
}

int main(void) {
    check_begin("wait");
    RUN(op_make_is_empty);
    RUN(own_class);
    RUN(own_class_busy_default);
    RUN(own_class_many_threads);
    RUN(wake_counts);
    RUN(wake_all_reaches_all);
    RUN(wakes_longest_waiting_first);
    RUN(select_takes_the_first_ready);
    RUN(select_now_is_busy_whatever_the_class);
    RUN(select_gives_the_ops_own_error);
    RUN(select_wide);
    RUN(select_same_object_twice);
    RUN(select_mix);
    RUN(select_is_woken_by_each);
    RUN(select_conserves_permits);
    RUN(sleeping);
    RUN(sleep_counts_from_making);
    RUN(select_of_sleeps);
    RUN(never);
    RUN(sleep_is_canceled);
    RUN(tokens);
    RUN(child_does_not_fire_parent);
    RUN(current_token);
    RUN(with_cancel);
    RUN(fire_wakes_the_whole_tree);
    RUN(too_deep_a_chain);
    RUN(token_as_op);
    RUN(fire_races_with_time_out);
    return check_end();
}
