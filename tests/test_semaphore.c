/* semaphore: counting, the bound, conservation of permits. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static void counting(void) {
    conc_semaphore s = CONC_SEMAPHORE_INIT(2, 3), z = { 0 };
    CHECK_EQ(conc_semaphore_permits(&s), 2);
    CHECK_OK(conc_semaphore_acquire(&s, CONC_FOREVER));
    CHECK_OK(conc_try(conc_op_acquire(&s)));
    CHECK_R(conc_semaphore_acquire(&s, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_semaphore_acquire(&s, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_semaphore_release(&s, 3));
    CHECK_EQ(conc_semaphore_permits(&s), 3);
    CHECK_OK(conc_semaphore_release(&s, 0));
    CHECK_EQ(conc_semaphore_permits(&s), 3);
    CHECK_OK(conc_semaphore_destroy(&s));
    CHECK_EQ(conc_semaphore_permits(&z), 0); /* all zero: no permit, no bound */
    CHECK_R(conc_semaphore_acquire(&z, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_semaphore_release(&z, 1000000));
    CHECK_EQ(conc_semaphore_permits(&z), 1000000);
    CHECK_EQ(conc_semaphore_permits(NULL), 0);
}

static void the_bound(void) {
    conc_semaphore s;
    CHECK_OK(conc_semaphore_init(&s, 1, 2));
    CHECK_MISUSE(conc_semaphore_release(&s, 2), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(&s), 1); /* nothing given */
    CHECK_OK(conc_semaphore_release(&s, 1));
    CHECK_MISUSE(conc_semaphore_release(&s, 1), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_release(&s, 0x7fffffffu), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_release(&s, 0xffffffffu), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(&s), 2);
    CHECK_OK(conc_semaphore_destroy(&s));
    /* not bounded: up to 2^31 - 1 */
    CHECK_OK(conc_semaphore_init(&s, 0, 0));
    CHECK_OK(conc_semaphore_release(&s, 0x7fffffffu));
    CHECK_EQ(conc_semaphore_permits(&s), 0x7fffffffu);
    CHECK_MISUSE(conc_semaphore_release(&s, 1), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(&s), 0x7fffffffu);
    CHECK_OK(conc_semaphore_acquire(&s, CONC_NOW));
    CHECK_OK(conc_semaphore_release(&s, 1));
    /* more permits than the bound, or than there can be */
    CHECK_MISUSE(conc_semaphore_init(&s, 3, 2), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_init(&s, 0x80000000u, 0), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_init(NULL, 0, 0), CONC_INVALID);
}

/* At most `max` inside at once. */
typedef struct room {
    conc_semaphore seats;
    conc_mutex lock;
    int inside, most, rounds;
} room;

static int sit(void *arg) {
    room *r = (room *)arg;
    int i;
    for (i = 0; i < r->rounds; i++) {
        CHECK_OK(conc_semaphore_acquire(&r->seats, CONC_FOREVER));
        CONC_WITH_LOCK(&r->lock) {
            if (++r->inside > r->most) r->most = r->inside;
        }
        if (i % 8 == 0) conc_thread_yield();
        CONC_WITH_LOCK(&r->lock) r->inside--;
        CHECK_OK(conc_semaphore_release(&r->seats, 1));
    }
    return 0;
}

static void bounded_concurrency(void) {
    uint32_t seats;
    int i;
    for (seats = 1; seats <= 4; seats++) {
        room r;
        crew c = { 0 };
        memset(&r, 0, sizeof r);
        CHECK_OK(conc_semaphore_init(&r.seats, seats, seats));
        r.rounds = check_rounds(2500);
        for (i = 0; i < 6; i++) crew_add(&c, sit, &r);
        crew_join(&c);
        CHECK(r.most <= (int)seats);
        CHECK_EQ(conc_semaphore_permits(&r.seats), seats);
        CHECK_OK(conc_semaphore_destroy(&r.seats));
    }
}

/* Time-outs racing with releases: acquired + left == given. */
typedef struct taker {
    conc_semaphore *s;
    conc_event *end;
    conc_cancel *token;
    long got;
    int kind;
} taker;

static int take(void *arg) {
    taker *k = (taker *)arg;
    uint32_t seed = conc_thread_id(NULL) * 31u;
    while (!conc_event_is_set(k->end) || conc_semaphore_permits(k->s) > 0) {
        double us = check_random(&seed) % 30u;
        conc_result r;
        if (k->kind == 0) r = conc_semaphore_acquire(k->s, conc_after(us * 1e-6));
        else if (k->kind == 1) r = conc_wait(conc_op_acquire(k->s), conc_after(us * 1e-6));
        else if (k->kind == 2) {
            conc_op ops[2];
            int i;
            ops[0] = conc_op_sleep(us * 1e-6);
            ops[1] = conc_op_acquire(k->s);
            i = conc_select(ops, 2, CONC_FOREVER);
            r = i == 1 ? CONC_OK : CONC_TIMEOUT;
        } else r = conc_semaphore_acquire(k->s, CONC_NOW) == CONC_OK ? CONC_OK : CONC_TIMEOUT;
        if (r == CONC_OK) k->got++;
        else CHECK_R(r, CONC_TIMEOUT);
    }
    return 0;
}

static void permits_are_conserved(void) {
    enum { THREADS = 5 };
    taker k[THREADS];
    conc_semaphore s = { 0, 0 };
    conc_event end = { 0 };
    crew c = { 0 };
    long given = 0, got = 0;
    int i, rounds = check_rounds(30000);
    uint32_t seed = 77;
    memset(k, 0, sizeof k);
    for (i = 0; i < THREADS; i++) {
        k[i].s = &s;
        k[i].end = &end;
        k[i].kind = i % 4;
        crew_add(&c, take, &k[i]);
    }
    for (i = 0; i < rounds; i++) {
        uint32_t n = 1 + check_random(&seed) % 3u;
        CHECK_OK(conc_semaphore_release(&s, n));
        given += (long)n;
        if (i % 16 == 0) check_spin_us(40, &seed);
    }
    CHECK_OK(conc_event_set(&end));
    crew_join(&c);
    for (i = 0; i < THREADS; i++) got += k[i].got;
    CHECK_EQ(got + (long)conc_semaphore_permits(&s), given);
    CHECK_OK(conc_semaphore_destroy(&s));
}

/* One release(n) wakes n that wait. */
static int take_one(void *arg) {
    return conc_semaphore_acquire((conc_semaphore *)arg, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void release_many(void) {
    unsigned round;
    for (round = 0; round < (unsigned)check_rounds(100); round++) {
        conc_semaphore s = CONC_SEMAPHORE_INIT(0, 6);
        crew c = { 0 };
        int i;
        for (i = 0; i < 6; i++) crew_add(&c, take_one, &s);
        nudge(round);
        CHECK_OK(conc_semaphore_release(&s, 6));
        crew_join(&c);
        CHECK_EQ(conc_semaphore_permits(&s), 0);
        CHECK_OK(conc_semaphore_destroy(&s));
    }
}

static void destroy_with_waiters(void) {
    conc_semaphore s = { 0, 0 };
    crew c = { 0 };
    crew_add(&c, take_one, &s);
    UNTIL(conc_semaphore_destroy(&s) == CONC_BUSY);
    CHECK_OK(conc_semaphore_release(&s, 1)); /* still works */
    crew_join(&c);
    CHECK_OK(conc_semaphore_destroy(&s));
}

/* FIFO or not, nobody is left out while permits flow. */
typedef struct greedy {
    conc_semaphore s;
    conc_event stop;
} greedy;

static int grab(void *arg) {
    greedy *g = (greedy *)arg;
    while (!conc_event_is_set(&g->stop)) {
        CHECK_OK(conc_semaphore_acquire(&g->s, CONC_FOREVER));
        CHECK_OK(conc_semaphore_release(&g->s, 1));
    }
    return 0;
}

static void nobody_starves(void) {
    greedy g;
    crew c = { 0 };
    int i;
    memset(&g, 0, sizeof g);
    CHECK_OK(conc_semaphore_release(&g.s, 1));
    crew_add(&c, grab, &g);
    crew_add(&c, grab, &g);
    for (i = 0; i < check_rounds(200); i++) {
        CHECK_OK(conc_semaphore_acquire(&g.s, CONC_FOREVER));
        CHECK_OK(conc_semaphore_release(&g.s, 1));
    }
    CHECK_OK(conc_event_set(&g.stop));
    crew_join(&c);
    CHECK_EQ(conc_semaphore_permits(&g.s), 1);
}

/* Whatever an initialiser says, there are never more than 2^31 - 1 permits. */
static void strange_initialisers(void) {
    conc_semaphore s = CONC_SEMAPHORE_INIT(0x7ffffffe, 0xffffffffu);
    conc_semaphore t = CONC_SEMAPHORE_INIT(0xffffffffu, 0);
    CHECK_R(conc_semaphore_release(&s, 10), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(&s), 0x7ffffffe);
    CHECK_OK(conc_semaphore_release(&s, 1));
    CHECK_R(conc_semaphore_release(&s, 1), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(&t), 0x7fffffff);
    CHECK_OK(conc_semaphore_acquire(&t, CONC_NOW));
    CHECK_OK(conc_semaphore_release(&t, 1));
    CHECK_R(conc_semaphore_release(&t, 1), CONC_INVALID);
}

/* A release that would pass the bound gives nothing, also while somebody waits. */
static int take_the_only_one(void *s) {
    return conc_semaphore_acquire((conc_semaphore *)s, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void the_bound_with_a_waiter(void) {
    conc_semaphore s = CONC_SEMAPHORE_INIT(0, 1);
    crew c = { 0 };
    crew_add(&c, take_the_only_one, &s);
    UNTIL(conc_semaphore_destroy(&s) == CONC_BUSY); /* it sleeps */
    CHECK_MISUSE(conc_semaphore_release(&s, 2), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(&s), 0);
    CHECK_OK(conc_semaphore_release(&s, 1));
    crew_join(&c);
    CHECK_OK(conc_semaphore_destroy(&s));
}

int main(void) {
    check_begin("semaphore");
    RUN(counting);
    RUN(the_bound);
    RUN(the_bound_with_a_waiter);
    RUN(strange_initialisers);
    RUN(bounded_concurrency);
    RUN(permits_are_conserved);
    RUN(release_many);
    RUN(destroy_with_waiters);
    RUN(nobody_starves);
    return check_end();
}
