/* condition variable. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static void nobody_waits(void) {
    conc_cond c = { 0 };
    CHECK_OK(conc_cond_signal(&c));
    CHECK_OK(conc_cond_broadcast(&c));
    CHECK_OK(conc_cond_destroy(&c));
}

static void mutex_not_held(void) {
    conc_cond c = { 0 };
    conc_mutex m = { 0 };
    CHECK_MISUSE(conc_cond_wait(&c, &m, CONC_FOREVER), CONC_NOT_OWNER);
    CHECK(!conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_try_lock(&m));
    CHECK_OK(conc_mutex_unlock(&m));
}

static bool never(void *arg) {
    (*(int *)arg)++;
    return false;
}

static bool always(void *arg) {
    (*(int *)arg)++;
    return true;
}

static void wait_for(void) {
    conc_cond c = { 0 };
    conc_mutex m = { 0 };
    int calls = 0;
    conc_deadline d;
    CHECK_MISUSE(conc_cond_wait_for(&c, &m, never, &calls, CONC_FOREVER), CONC_NOT_OWNER);
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    calls = 0;
    CHECK_OK(conc_cond_wait_for(&c, &m, always, &calls, CONC_NOW)); /* true: also at the deadline */
    CHECK_OK(conc_cond_wait_for(&c, &m, always, &calls, check_past()));
    CHECK(calls >= 2);
    calls = 0;
    CHECK_R(conc_cond_wait_for(&c, &m, never, &calls, CONC_NOW), CONC_BUSY);
    CHECK(calls >= 1);
    d = conc_after(0.002);
    CHECK_R(conc_cond_wait_for(&c, &m, never, &calls, d), CONC_TIMEOUT);
    CHECK(conc_deadline_passed(d));
    CHECK(conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_cond_destroy(&c));
}

/* A bounded buffer of one: every item arrives once, in order of each producer. */
typedef struct buffer {
    conc_mutex lock;
    conc_cond not_full, not_empty;
    bool full;
    int item, rounds;
    long sum;
} buffer;

static bool is_full(void *arg) { return ((buffer *)arg)->full; }
static bool is_empty(void *arg) { return !((buffer *)arg)->full; }

static int produce(void *arg) {
    buffer *b = (buffer *)arg;
    int i;
    for (i = 1; i <= b->rounds; i++) {
        CHECK_OK(conc_mutex_lock(&b->lock, CONC_FOREVER));
        if (i % 2) {
            while (b->full) CHECK_OK(conc_cond_wait(&b->not_full, &b->lock, CONC_FOREVER));
        } else CHECK_OK(conc_cond_wait_for(&b->not_full, &b->lock, is_empty, b, CONC_FOREVER));
        CHECK(!b->full);
        b->full = true;
        b->item = i;
        CHECK_OK(conc_cond_signal(&b->not_empty));
        CHECK_OK(conc_mutex_unlock(&b->lock));
    }
    return 0;
}

static int consume(void *arg) {
    buffer *b = (buffer *)arg;
    int i;
    for (i = 0; i < b->rounds; i++) {
        CHECK_OK(conc_mutex_lock(&b->lock, CONC_FOREVER));
        if (i % 3 == 0) {
            while (!b->full) { /* with time-outs that mostly strike */
                conc_result r = conc_cond_wait(&b->not_empty, &b->lock, conc_after(5e-6));
                CHECK(r == CONC_OK || r == CONC_TIMEOUT);
            }
        } else CHECK_OK(conc_cond_wait_for(&b->not_empty, &b->lock, is_full, b, CONC_FOREVER));
        b->sum += b->item;
        b->full = false;
        CHECK_OK(conc_cond_signal(&b->not_full)); /* one is enough: signals are not lost to those who time out */
        CHECK_OK(conc_mutex_unlock(&b->lock));
    }
    return 0;
}

static void bounded_buffer(void) {
    int pairs, i;
    for (pairs = 1; pairs <= 4; pairs++) {
        buffer b;
        crew c = { 0 };
        memset(&b, 0, sizeof b);
        b.rounds = check_rounds(6000) / pairs;
        for (i = 0; i < pairs; i++) {
            crew_add(&c, produce, &b);
            crew_add(&c, consume, &b);
        }
        crew_join(&c);
        CHECK_EQ(b.sum, (long)b.rounds * (b.rounds + 1) / 2 * pairs);
        CHECK_OK(conc_cond_destroy(&b.not_full));
        CHECK_OK(conc_cond_destroy(&b.not_empty));
        CHECK_OK(conc_mutex_destroy(&b.lock));
    }
}

/* A broadcast wakes all that waited at that moment. */
typedef struct gate {
    conc_mutex lock;
    conc_cond changed;
    int generation, waiting, rounds;
} gate;

static int pass_gate(void *arg) {
    gate *g = (gate *)arg;
    int i;
    CHECK_OK(conc_mutex_lock(&g->lock, CONC_FOREVER));
    for (i = 0; i < g->rounds; i++) {
        int mine = g->generation;
        g->waiting++;
        while (g->generation == mine) CHECK_OK(conc_cond_wait(&g->changed, &g->lock, CONC_FOREVER));
    }
    CHECK_OK(conc_mutex_unlock(&g->lock));
    return 0;
}

static void broadcast_wakes_all(void) {
    enum { THREADS = 5 };
    gate g;
    crew c = { 0 };
    int i;
    memset(&g, 0, sizeof g);
    g.rounds = check_rounds(1500);
    for (i = 0; i < THREADS; i++) crew_add(&c, pass_gate, &g);
    for (i = 0; i < g.rounds;) {
        CHECK_OK(conc_mutex_lock(&g.lock, CONC_FOREVER));
        if (g.waiting == THREADS) { /* the mutex tells: all are in the wait */
            g.waiting = 0;
            g.generation++;
            i++;
            if (i % 2) CHECK_OK(conc_cond_broadcast(&g.changed));
            CHECK_OK(conc_mutex_unlock(&g.lock));
            if (i % 2 == 0) CHECK_OK(conc_cond_broadcast(&g.changed)); /* without holding it */
        } else {
            CHECK_OK(conc_mutex_unlock(&g.lock));
            conc_thread_yield();
        }
    }
    crew_join(&c);
    CHECK_OK(conc_cond_destroy(&g.changed));
}

/* A signal reaches one that waited at that moment, never only one that came later: `old` waits; main signals once and
 * at once lets `late` begin to wait; `old` must come back. */
typedef struct theft {
    conc_mutex lock;
    conc_cond c;
    conc_event old_is_back, late_may_go;
    bool old_waits;
} theft;

static int wait_old(void *arg) {
    theft *t = (theft *)arg;
    CHECK_OK(conc_mutex_lock(&t->lock, CONC_FOREVER));
    t->old_waits = true;
    CHECK_OK(conc_cond_wait(&t->c, &t->lock, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&t->lock));
    CHECK_OK(conc_event_set(&t->old_is_back));
    return 0;
}

static int wait_late(void *arg) {
    theft *t = (theft *)arg;
    conc_result r;
    CHECK_OK(conc_event_wait(&t->late_may_go, CONC_FOREVER));
    CHECK_OK(conc_mutex_lock(&t->lock, CONC_FOREVER));
    r = conc_cond_wait(&t->c, &t->lock, conc_after(0.0005));
    CHECK(r == CONC_OK || r == CONC_TIMEOUT);
    CHECK_OK(conc_mutex_unlock(&t->lock));
    return 0;
}

static void no_later_waiter_steals(void) {
    int i;
    for (i = 0; i < check_rounds(300); i++) {
        theft t;
        crew c = { 0 };
        bool waits = false;
        memset(&t, 0, sizeof t);
        crew_add(&c, wait_old, &t);
        crew_add(&c, wait_late, &t);
        while (!waits) {
            CHECK_OK(conc_mutex_lock(&t.lock, CONC_FOREVER));
            waits = t.old_waits;
            if (waits) CHECK_OK(conc_cond_signal(&t.c));
            CHECK_OK(conc_mutex_unlock(&t.lock));
        }
        CHECK_OK(conc_event_set(&t.late_may_go));
        CHECK_OK(conc_event_wait(&t.old_is_back, CONC_FOREVER));
        crew_join(&c);
    }
}

/* N waiters, exactly N signals, some waiters giving up at the same moment: a signal that met one which had just timed
 * out goes to another. Counted with a token for each signal. */
typedef struct tokens {
    conc_mutex lock;
    conc_cond c;
    long available, taken;
    int rounds;
} tokens;

static int take_tokens(void *arg) {
    tokens *t = (tokens *)arg;
    int i;
    for (i = 0; i < t->rounds; i++) {
        CHECK_OK(conc_mutex_lock(&t->lock, CONC_FOREVER));
        while (t->available == 0) {
            conc_result r = conc_cond_wait(&t->c, &t->lock, i % 2 ? CONC_FOREVER : conc_after(8e-6));
            CHECK(r == CONC_OK || (r == CONC_TIMEOUT && i % 2 == 0));
        }
        t->available--;
        t->taken++;
        CHECK_OK(conc_mutex_unlock(&t->lock));
    }
    return 0;
}

static void signals_are_conserved(void) {
    enum { THREADS = 6 };
    tokens t;
    crew c = { 0 };
    int i;
    uint32_t seed = 5;
    memset(&t, 0, sizeof t);
    t.rounds = check_rounds(2500);
    for (i = 0; i < THREADS; i++) crew_add(&c, take_tokens, &t);
    for (i = 0; i < THREADS * t.rounds; i++) {
        CHECK_OK(conc_mutex_lock(&t.lock, CONC_FOREVER));
        t.available++;
        if (i % 2) CHECK_OK(conc_cond_signal(&t.c));
        CHECK_OK(conc_mutex_unlock(&t.lock));
        if (i % 2 == 0) CHECK_OK(conc_cond_signal(&t.c));
        if (i % 8 == 0) check_spin_us(15, &seed);
    }
    crew_join(&c);
    CHECK_EQ(t.taken, (long)THREADS * t.rounds);
    CHECK_EQ(t.available, 0);
    CHECK_OK(conc_cond_destroy(&t.c));
}

static int wait_once(void *arg) {
    gate *g = (gate *)arg;
    CHECK_OK(conc_mutex_lock(&g->lock, CONC_FOREVER));
    while (g->generation == 0) CHECK_OK(conc_cond_wait(&g->changed, &g->lock, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&g->lock));
    return 0;
}

static void destroy_with_waiters(void) {
    gate g;
    crew c = { 0 };
    memset(&g, 0, sizeof g);
    crew_add(&c, wait_once, &g);
    UNTIL(conc_cond_destroy(&g.changed) == CONC_BUSY); /* says so as soon as it waits */
    CHECK_R(conc_cond_destroy(&g.changed), CONC_BUSY);
    CHECK_OK(conc_mutex_lock(&g.lock, CONC_FOREVER));
    g.generation = 1;
    CHECK_OK(conc_cond_signal(&g.changed)); /* it still works */
    CHECK_OK(conc_mutex_unlock(&g.lock));
    crew_join(&c);
    CHECK_OK(conc_cond_destroy(&g.changed));
}

/* "Completes once the condition has been signaled after this op was made." */
static void op_signal(void) {
    conc_cond c = { 0 };
    conc_op op = conc_op_signal(&c);
    CHECK_R(conc_try(op), CONC_BUSY);
    CHECK_OK(conc_cond_signal(&c)); /* before anybody waits, but after the making */
    CHECK_OK(conc_wait(op, CONC_FOREVER));
    op = conc_op_signal(&c);
    CHECK_R(conc_wait(op, conc_after(0.001)), CONC_TIMEOUT);
    op = conc_op_signal(&c);
    CHECK_OK(conc_cond_broadcast(&c));
    CHECK_OK(conc_wait(op, CONC_FOREVER));
    CHECK_OK(conc_cond_destroy(&c));
}

int main(void) {
    check_begin("cond");
    RUN(nobody_waits);
    RUN(mutex_not_held);
    RUN(wait_for);
    RUN(bounded_buffer);
    RUN(broadcast_wakes_all);
    RUN(no_later_waiter_steals);
    RUN(signals_are_conserved);
    RUN(destroy_with_waiters);
    RUN(op_signal);
    return check_end();
}
