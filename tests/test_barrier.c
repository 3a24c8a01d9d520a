/* barrier: rounds, ranks, breaking, abort, reset. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

enum { MOST = 6 };

typedef struct party {
    conc_barrier *b;
    int rounds;
    int *round_of; /* each party's round: within a round none is further than one ahead */
    int me, parties;
    long rank_sum;
    int by_op;
} party;

static int march(void *arg) {
    party *p = (party *)arg;
    int i, k;
    for (i = 0; i < p->rounds; i++) {
        uint32_t rank = 999;
        p->round_of[p->me] = i;
        if ((i + p->by_op) % 2) CHECK_OK(conc_barrier_wait(p->b, &rank, CONC_FOREVER));
        else CHECK_OK(conc_wait(conc_op_barrier(p->b, &rank), CONC_FOREVER));
        CHECK(rank < (uint32_t)p->parties);
        p->rank_sum += (long)rank;
        for (k = 0; k < p->parties; k++) CHECK_EQ(p->round_of[k], i); /* all have come, and none has gone on */
        CHECK_OK(conc_barrier_wait(p->b, NULL, CONC_FOREVER));        /* until all have looked */
    }
    return 0;
}

static void rounds(void) {
    int parties, i;
    for (parties = 1; parties <= MOST; parties++) {
        conc_barrier b = { 0 };
        party p[MOST];
        int round_of[MOST];
        crew c = { 0 };
        long sum = 0;
        int n = check_rounds(6000) / parties;
        memset(p, 0, sizeof p);
        b.parties = (uint32_t)parties;
        for (i = 0; i < parties; i++) {
            p[i].b = &b;
            p[i].rounds = n;
            p[i].round_of = round_of;
            p[i].me = i;
            p[i].parties = parties;
            p[i].by_op = i % 2;
            crew_add(&c, march, &p[i]);
        }
        crew_join(&c);
        for (i = 0; i < parties; i++) sum += p[i].rank_sum;
        CHECK_EQ(sum, (long)n * parties * (parties - 1) / 2); /* each rank once a round */
        CHECK_OK(conc_barrier_destroy(&b));
    }
}

static void misuse(void) {
    conc_barrier zero = { 0 };
    CHECK_MISUSE(conc_barrier_wait(&zero, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_barrier(&zero, NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_barrier_wait(NULL, NULL, CONC_FOREVER), CONC_INVALID);
}

typedef struct waiting {
    conc_barrier *b;
    conc_deadline deadline;
    conc_result want;
    uint32_t rank;
    conc_latch *came;
} waiting;

static int wait_here(void *arg) {
    waiting *w = (waiting *)arg;
    conc_result r = conc_barrier_wait(w->b, &w->rank, w->deadline);
    CHECK_R(r, w->want);
    return 0;
}

static void first_and_last_rank(void) {
    unsigned i;
    for (i = 0; i < (unsigned)check_rounds(100); i++) {
        conc_barrier b = { .parties = 2 };
        waiting w;
        uint32_t rank = 9;
        crew c = { 0 };
        memset(&w, 0, sizeof w);
        w.b = &b;
        w.deadline = CONC_FOREVER;
        crew_add(&c, wait_here, &w);
        UNTIL(conc_barrier_destroy(&b) == CONC_BUSY); /* it waits */
        CHECK_OK(conc_barrier_wait(&b, &rank, CONC_FOREVER));
        crew_join(&c);
        CHECK_EQ(w.rank, 0);
        CHECK_EQ(rank, 1);
        CHECK_OK(conc_barrier_destroy(&b));
    }
}

/* A party that gives up breaks it for all, now and later, until it is reset. */
static void gives_up(int how) {
    unsigned i;
    for (i = 0; i < (unsigned)check_rounds(40); i++) {
        conc_barrier b = { .parties = 4 };
        waiting w[3];
        crew c = { 0 };
        conc_cancel token = { 0 };
        int k;
        for (k = 0; k < 2; k++) {
            memset(&w[k], 0, sizeof w[k]);
            w[k].b = &b;
            w[k].deadline = CONC_FOREVER;
            w[k].want = CONC_BROKEN;
            crew_add(&c, wait_here, &w[k]);
        }
        memset(&w[2], 0, sizeof w[2]);
        w[2].b = &b;
        w[2].deadline = CONC_FOREVER;
        if (how == 0) { /* time-out */
            w[2].deadline = conc_after(0.0002 * (i % 4));
            w[2].want = CONC_TIMEOUT;
            crew_add(&c, wait_here, &w[2]);
            /* another may also have come in after it broke: they see BROKEN all the same */
        } else if (how == 1) {
            w[2].want = CONC_CANCELED;
            crew_add_under(&c, wait_here, &w[2], &token);
            nudge(i);
            CHECK_OK(conc_cancel_fire(&token));
        } else if (how == 2) {
            nudge(i);
            CHECK_OK(conc_barrier_abort(&b));
            CHECK_OK(conc_barrier_abort(&b));
        }
        crew_join(&c);
        for (k = 0; k < 2; k++) CHECK_R(conc_barrier_wait(&b, NULL, CONC_FOREVER), CONC_BROKEN);
        CHECK_R(conc_barrier_wait(&b, NULL, CONC_NOW), CONC_BROKEN);
        CHECK_R(conc_try(conc_op_barrier(&b, NULL)), CONC_BROKEN);
        CHECK_OK(conc_barrier_reset(&b));
        for (k = 0; k < 3; k++) {
            w[k].deadline = CONC_FOREVER;
            w[k].want = CONC_OK;
            crew_add(&c, wait_here, &w[k]);
        }
        CHECK_OK(conc_barrier_wait(&b, NULL, CONC_FOREVER));
        crew_join(&c);
        CHECK_OK(conc_barrier_destroy(&b));
    }
}

static void broken_by_time_out(void) { gives_up(0); }
static void broken_by_cancel(void) { gives_up(1); }
static void broken_by_abort(void) { gives_up(2); }

/* Reset makes it new; those who wait get BROKEN, those who come later do not. */
static void reset_with_waiters(void) {
    int i;
    for (i = 0; i < check_rounds(60); i++) {
        conc_barrier b = { .parties = 2 };
        waiting w;
        crew c = { 0 };
        memset(&w, 0, sizeof w);
        w.b = &b;
        w.deadline = CONC_FOREVER;
        w.want = CONC_BROKEN;
        crew_add(&c, wait_here, &w);
        UNTIL(conc_barrier_destroy(&b) == CONC_BUSY);
        CHECK_OK(conc_barrier_reset(&b));
        crew_join(&c);
        w.want = CONC_OK;
        crew_add(&c, wait_here, &w);
        CHECK_OK(conc_barrier_wait(&b, NULL, CONC_FOREVER));
        crew_join(&c);
        CHECK_OK(conc_barrier_destroy(&b));
    }
}

/* Arrivals racing with time-outs: either all parties of a round pass, or at least one timed out and the others say
 * BROKEN; never a round that some pass and others do not. */
typedef struct racing {
    conc_barrier *b;
    double us;
    conc_result r;
} racing;

static int race_in(void *arg) {
    racing *k = (racing *)arg;
    k->r = conc_barrier_wait(k->b, NULL, conc_after(k->us * 1e-6));
    return 0;
}

static void all_or_none(void) {
    int i, passed = 0;
    uint32_t seed = 4;
    for (i = 0; i < check_rounds(1500); i++) {
        conc_barrier b = { .parties = 3 };
        racing k[3];
        crew c = { 0 };
        int j, ok = 0, timed = 0;
        for (j = 0; j < 3; j++) {
            k[j].b = &b;
            k[j].us = 20.0 + check_random(&seed) % 200u;
            crew_add(&c, race_in, &k[j]);
        }
        crew_join(&c);
        for (j = 0; j < 3; j++) {
            CHECK(k[j].r == CONC_OK || k[j].r == CONC_TIMEOUT || k[j].r == CONC_BROKEN);
            ok += k[j].r == CONC_OK;
            timed += k[j].r == CONC_TIMEOUT;
        }
        CHECK(ok == 3 || (ok == 0 && timed >= 1));
        passed += ok == 3;
        CHECK_OK(conc_barrier_destroy(&b));
    }
    CHECK(passed <= i);
}

/* An arrival in a select that another op wins is taken back or breaks the barrier, but leaves no ghost: the barrier is
 * usable after a reset. */
static void select_with_barrier(void) {
    conc_barrier b = { .parties = 2 };
    conc_event e = { 0 };
    conc_op ops[2];
    waiting w;
    crew c = { 0 };
    CHECK_OK(conc_event_set(&e));
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_barrier(&b, NULL);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0); /* the barrier's op was never attempted: no arrival */
    memset(&w, 0, sizeof w);
    w.b = &b;
    w.deadline = CONC_FOREVER;
    w.want = CONC_OK;
    crew_add(&c, wait_here, &w);
    CHECK_OK(conc_barrier_wait(&b, NULL, CONC_FOREVER));
    crew_join(&c);
    ops[0] = conc_op_barrier(&b, NULL);
    ops[1] = conc_op_event(&e);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1); /* attempted, then it gave up */
    CHECK_OK(conc_barrier_reset(&b));
    crew_add(&c, wait_here, &w);
    CHECK_OK(conc_barrier_wait(&b, NULL, CONC_FOREVER));
    crew_join(&c);
    CHECK_OK(conc_barrier_destroy(&b));
}

/* An op on no barrier, or on one of no parties, never arrives: when another op wins there is nothing to take back. */
static void select_with_no_barrier(void) {
    conc_barrier zero = { 0 };
    conc_event e = { 0 };
    conc_op ops[3];
    CHECK_OK(conc_event_set(&e));
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_barrier(NULL, NULL);
    ops[2] = conc_op_barrier(&zero, NULL);
    CHECK_EQ(conc_select(ops, 3, CONC_FOREVER), 0);
    CHECK_OK(ops[0].result);
    ops[0] = conc_op_barrier(NULL, NULL);
    ops[1] = conc_op_event(&e);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0);
    CHECK_R(ops[0].result, CONC_INVALID);
}

/* The last party arrives when the other has been woken by its token and has not given up yet: they agree about it. */
typedef struct parting {
    conc_barrier *b;
    conc_result r;
} parting;

static int come_and_be_canceled(void *arg) {
    parting *p = (parting *)arg;
    p->r = conc_barrier_wait(p->b, NULL, CONC_FOREVER);
    return 0;
}

static void canceled_as_the_round_ends(void) {
    int i;
    for (i = 0; i < check_rounds_least(200, 20); i++) {
        conc_barrier b = { .parties = 2 };
        conc_cancel token = { 0 };
        parting p;
        conc_result mine;
        crew c = { 0 };
        p.b = &b;
        p.r = CONC_PENDING;
        crew_add_under(&c, come_and_be_canceled, &p, &token);
        UNTIL(conc_barrier_destroy(&b) == CONC_BUSY); /* it has arrived */
        CHECK_OK(conc_cancel_fire(&token));
        mine = conc_barrier_wait(&b, NULL, CONC_FOREVER);
        crew_join(&c);
        CHECK(mine == CONC_OK || mine == CONC_BROKEN);
        CHECK_R(p.r, mine == CONC_OK ? CONC_OK : CONC_CANCELED);
        CHECK_OK(conc_barrier_destroy(&b));
    }
}

/* An op that has been waited for arrives anew when it is waited for again. */
static void op_used_again(void) {
    conc_barrier b = { 0 };
    conc_op op;
    b.parties = 1;
    op = conc_op_barrier(&b, NULL);
    CHECK_EQ(conc_select(&op, 1, CONC_FOREVER), 0);
    CHECK_OK(op.result);
    b.parties = 2;
    CHECK_R(conc_select(&op, 1, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_barrier_reset(&b));
    CHECK_R(conc_select(&op, 1, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_barrier_wait(&b, NULL, CONC_NOW), CONC_BROKEN);
    CHECK_OK(conc_barrier_destroy(&b));
}

int main(void) {
    check_begin("barrier");
    RUN(rounds);
    RUN(misuse);
    RUN(first_and_last_rank);
    RUN(broken_by_time_out);
    RUN(broken_by_cancel);
    RUN(broken_by_abort);
    RUN(reset_with_waiters);
    RUN(all_or_none);
    RUN(select_with_barrier);
    RUN(select_with_no_barrier);
    RUN(canceled_as_the_round_ends);
    RUN(op_used_again);
    return check_end();
}
