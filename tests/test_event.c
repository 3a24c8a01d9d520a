/* event: manual and auto reset. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static void manual(void) {
    conc_event e = { 0 };
    int i;
    CHECK(!conc_event_is_set(&e));
    CHECK_R(conc_event_wait(&e, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_event_wait(&e, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_event_set(&e));
    for (i = 0; i < 3; i++) { /* all pass while it is set */
        CHECK(conc_event_is_set(&e));
        CHECK_OK(conc_event_wait(&e, CONC_NOW));
        CHECK_OK(conc_try(conc_op_event(&e)));
    }
    CHECK_OK(conc_event_reset(&e));
    CHECK_OK(conc_event_reset(&e));
    CHECK(!conc_event_is_set(&e));
    CHECK_R(conc_try(conc_op_event(&e)), CONC_BUSY);
    CHECK_OK(conc_event_destroy(&e));
}

static void auto_reset(void) {
    conc_event e = { 0 };
    e.auto_reset = true;
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_event_set(&e)); /* sets do not add up */
    CHECK(conc_event_is_set(&e));
    CHECK_OK(conc_event_wait(&e, CONC_NOW)); /* used up */
    CHECK(!conc_event_is_set(&e));
    CHECK_R(conc_event_wait(&e, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_event_reset(&e));
    CHECK_R(conc_event_wait(&e, check_past()), CONC_TIMEOUT);
    CHECK_OK(conc_event_destroy(&e));
    CHECK(!conc_event_is_set(NULL));
}

static int wait_for(void *arg) {
    return conc_event_wait((conc_event *)arg, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void set_wakes_all(void) {
    unsigned round;
    for (round = 0; round < (unsigned)check_rounds(150); round++) {
        conc_event e = { 0 };
        crew c = { 0 };
        int i;
        for (i = 0; i < 5; i++) crew_add(&c, wait_for, &e);
        nudge(round);
        CHECK_OK(conc_event_set(&e));
        crew_join(&c);
        CHECK_OK(conc_event_destroy(&e));
    }
}

/* Ping-pong over two auto events: each set lets exactly one through; nothing is lost, for sets and waits alternate. */
typedef struct pair {
    conc_event ping, pong;
    int rounds, at;
} pair;

static int pong(void *arg) {
    pair *p = (pair *)arg;
    int i;
    for (i = 0; i < p->rounds; i++) {
        CHECK_OK(i % 2 ? conc_event_wait(&p->ping, CONC_FOREVER) : conc_wait(conc_op_event(&p->ping), CONC_FOREVER));
        CHECK_EQ(p->at, 2 * i + 1);
        p->at++;
        CHECK_OK(conc_event_set(&p->pong));
    }
    return 0;
}

static void ping_pong(void) {
    pair p;
    crew c = { 0 };
    int i;
    memset(&p, 0, sizeof p);
    p.rounds = check_rounds(20000);
    p.ping.auto_reset = p.pong.auto_reset = true;
    crew_add(&c, pong, &p);
    for (i = 0; i < p.rounds; i++) {
        p.at++;
        CHECK_OK(conc_event_set(&p.ping));
        if (i % 4 == 0) { /* with time-outs in between */
            conc_result r;
            while ((r = conc_event_wait(&p.pong, conc_after(4e-6))) == CONC_TIMEOUT) {
            }
            CHECK_OK(r);
        } else CHECK_OK(conc_event_wait(&p.pong, CONC_FOREVER));
        CHECK_EQ(p.at, 2 * i + 2);
    }
    crew_join(&c);
    CHECK(!conc_event_is_set(&p.ping));
    CHECK(!conc_event_is_set(&p.pong));
}

/* Several waiters, one set: one passes, whatever the others do. */
typedef struct single {
    conc_event e;
    conc_latch passed;
} single;

static int pass_one(void *arg) {
    single *s = (single *)arg;
    conc_result r = conc_event_wait(&s->e, CONC_FOREVER);
    if (r == CONC_OK) CHECK_OK(conc_latch_add(&s->passed, 1));
    else CHECK_R(r, CONC_CANCELED);
    return 0;
}

static void one_set_one_waiter(void) {
    unsigned round;
    for (round = 0; round < (unsigned)check_rounds(150); round++) {
        single s;
        crew c = { 0 };
        conc_cancel token = { 0 };
        int i;
        memset(&s, 0, sizeof s);
        s.e.auto_reset = true;
        for (i = 0; i < 4; i++) crew_add_under(&c, pass_one, &s, &token);
        nudge(round);
        CHECK_OK(conc_event_set(&s.e));
        UNTIL(conc_latch_count(&s.passed) > 0);
        CHECK(!conc_event_is_set(&s.e));
        CHECK_OK(conc_cancel_fire(&token));
        crew_join(&c);
        CHECK_EQ(conc_latch_count(&s.passed), 1);
        CHECK_OK(conc_event_destroy(&s.e));
    }
}

/* A set that races with the time-out of the only waiter is used by it or still there. */
typedef struct race {
    conc_event e;
    conc_semaphore go, back;
    int rounds;
} race;

static int setter(void *arg) {
    race *r = (race *)arg;
    uint32_t seed = 9;
    int i;
    for (i = 0; i < r->rounds; i++) {
        CHECK_OK(conc_semaphore_acquire(&r->go, CONC_FOREVER));
        check_spin_us(60, &seed);
        CHECK_OK(conc_event_set(&r->e));
        CHECK_OK(conc_semaphore_release(&r->back, 1));
    }
    return 0;
}

static void set_races_with_time_out(void) {
    race r;
    crew c = { 0 };
    int i;
    memset(&r, 0, sizeof r);
    r.e.auto_reset = true;
    r.rounds = check_rounds(6000);
    crew_add(&c, setter, &r);
    for (i = 0; i < r.rounds; i++) {
        conc_result w;
        CHECK_OK(conc_semaphore_release(&r.go, 1));
        w = conc_event_wait(&r.e, conc_after(30e-6));
        CHECK(w == CONC_OK || w == CONC_TIMEOUT);
        CHECK_OK(conc_semaphore_acquire(&r.back, CONC_FOREVER));
        CHECK(conc_event_is_set(&r.e) == (w == CONC_TIMEOUT));
        CHECK_OK(conc_event_reset(&r.e));
    }
    crew_join(&c);
}

static void destroy_with_waiters(void) {
    conc_event e = { 0 };
    crew c = { 0 };
    crew_add(&c, wait_for, &e);
    UNTIL(conc_event_destroy(&e) == CONC_BUSY);
    CHECK_OK(conc_event_set(&e));
    crew_join(&c);
    CHECK_OK(conc_event_destroy(&e));
}

/* More than are woken under one lock. */
static void set_wakes_a_crowd(void) {
    conc_event e = { 0 };
    crew c = { 0 };
    int i;
    for (i = 0; i < 20; i++) crew_add(&c, wait_for, &e);
#if defined(CONC__IMPLEMENTED) /* else they may come late, and find it set */
    UNTIL(check_standing(&e.conc__word) == 20);
#endif
    CHECK_OK(conc_event_set(&e));
    crew_join(&c);
    CHECK_OK(conc_event_destroy(&e));
}

int main(void) {
    check_begin("event");
    RUN(manual);
    RUN(auto_reset);
    RUN(set_wakes_all);
    RUN(set_wakes_a_crowd);
    RUN(ping_pong);
    RUN(one_set_one_waiter);
    RUN(set_races_with_time_out);
    RUN(destroy_with_waiters);
    return check_end();
}
