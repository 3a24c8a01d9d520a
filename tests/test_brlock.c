/* big-reader lock. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static int other_thread(void *arg) {
    conc_brlock *l = (conc_brlock *)arg;
    CHECK_R(conc_brlock_read(l, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_brlock_write(l, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_brlock_read(l, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_brlock_write(l, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_MISUSE(conc_brlock_write_unlock(l), CONC_NOT_OWNER);
    CHECK_R(conc_brlock_free(l), CONC_BUSY);
    return 0;
}

static int other_reader(void *arg) {
    conc_brlock *l = (conc_brlock *)arg;
    CHECK_OK(conc_brlock_read(l, CONC_FOREVER));
    CHECK_R(conc_brlock_write(l, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_brlock_read_unlock(l));
    CHECK_R(conc_brlock_write(l, CONC_NOW), CONC_BUSY); /* main reads */
    return 0;
}

static void basics(void) {
    conc_brlock *l = conc_brlock_new();
    crew c = { 0 };
    if (!CHECK(l != NULL)) return;
    CHECK_OK(conc_brlock_read(l, CONC_FOREVER));
    CHECK_R(conc_brlock_free(l), CONC_BUSY);
    crew_add(&c, other_reader, l);
    crew_add(&c, other_reader, l);
    crew_join(&c);
    CHECK_OK(conc_brlock_read_unlock(l));
    CHECK_OK(conc_brlock_write(l, CONC_FOREVER));
    CHECK_R(conc_brlock_free(l), CONC_BUSY);
    crew_add(&c, other_thread, l);
    crew_join(&c);
    CHECK_OK(conc_brlock_write_unlock(l));
    CHECK_MISUSE(conc_brlock_write_unlock(l), CONC_NOT_OWNER);
    CHECK_OK(conc_try(conc_op_brlock_read(l)));
    CHECK_OK(conc_brlock_read_unlock(l));
    CHECK_OK(conc_try(conc_op_brlock_write(l)));
    CHECK_OK(conc_brlock_write_unlock(l));
    CHECK_OK(conc_brlock_free(l));
    CHECK_OK(conc_brlock_free(NULL));
}

typedef struct pair {
    conc_brlock *lock;
    long a, b;
    int rounds;
    unsigned write_each;
} pair;

static int read_and_write(void *arg) {
    pair *p = (pair *)arg;
    uint32_t seed = conc_thread_id(NULL);
    int i, writes = 0;
    for (i = 0; i < p->rounds; i++) {
        bool timed = i % 7 == 3;
        conc_deadline d = timed ? conc_after(10e-6) : CONC_FOREVER;
        conc_result r;
        if (check_random(&seed) % p->write_each == 0) {
            r = i % 2 ? conc_brlock_write(p->lock, d) : conc_wait(conc_op_brlock_write(p->lock), d);
            if (r == CONC_OK) {
                p->a++;
                if (i % 8 == 0) conc_thread_yield();
                p->b++;
                writes++;
                CHECK_OK(conc_brlock_write_unlock(p->lock));
            }
        } else {
            r = i % 2 ? conc_brlock_read(p->lock, d) : conc_wait(conc_op_brlock_read(p->lock), d);
            if (r == CONC_OK) {
                CHECK_EQ(p->a, p->b);
                if (i % 16 == 0) conc_thread_yield();
                CHECK_OK(conc_brlock_read_unlock(p->lock));
            }
        }
        if (r != CONC_OK) CHECK(r == CONC_TIMEOUT && timed);
    }
    CHECK_OK(conc_brlock_write(p->lock, CONC_FOREVER));
    p->a -= writes;
    p->b -= writes;
    CHECK_OK(conc_brlock_write_unlock(p->lock));
    return 0;
}

static void exclusion(void) {
    static const unsigned each[] = { 1, 2, 50 };
    int threads, i;
    size_t k;
    for (k = 0; k < 3; k++) {
        for (threads = 2; threads <= 8; threads += 3) {
            pair p;
            crew c = { 0 };
            memset(&p, 0, sizeof p);
            p.lock = conc_brlock_new();
            p.rounds = check_rounds(12000) / threads;
            p.write_each = each[k];
            for (i = 0; i < threads; i++) crew_add(&c, read_and_write, &p);
            crew_join(&c);
            CHECK_EQ(p.a, 0);
            CHECK_EQ(p.b, 0);
            CHECK_OK(conc_brlock_free(p.lock));
        }
    }
}

typedef struct flow {
    conc_brlock *lock;
    conc_event stop;
} flow;

static int read_on(void *arg) {
    flow *f = (flow *)arg;
    while (!conc_event_is_set(&f->stop)) {
        CHECK_OK(conc_brlock_read(f->lock, CONC_FOREVER));
        conc_thread_yield();
        CHECK_OK(conc_brlock_read_unlock(f->lock));
    }
    return 0;
}

static void writer_under_a_flow_of_readers(void) {
    flow f;
    crew c = { 0 };
    int i;
    memset(&f, 0, sizeof f);
    f.lock = conc_brlock_new();
    for (i = 0; i < 4; i++) crew_add(&c, read_on, &f);
    for (i = 0; i < check_rounds(200); i++) { /* the watchdog is the judge */
        CHECK_OK(conc_brlock_write(f.lock, CONC_FOREVER));
        CHECK_OK(conc_brlock_write_unlock(f.lock));
    }
    CHECK_OK(conc_event_set(&f.stop));
    crew_join(&c);
    CHECK_OK(conc_brlock_free(f.lock));
}

static int write_once(void *arg) {
    flow *f = (flow *)arg;
    conc_result r = conc_brlock_write(f->lock, CONC_FOREVER);
    CHECK(r == CONC_OK || r == CONC_CANCELED);
    if (r == CONC_OK) CHECK_OK(conc_brlock_write_unlock(f->lock));
    return 0;
}

static bool try_read(conc_brlock *l) {
    if (conc_brlock_read(l, CONC_NOW) != CONC_OK) return false;
    CHECK_OK(conc_brlock_read_unlock(l));
    return true;
}

static int read_later(void *arg) {
    flow *f = (flow *)arg;
    CHECK_OK(conc_brlock_read(f->lock, CONC_FOREVER));
    CHECK_OK(conc_brlock_read_unlock(f->lock));
    return 0;
}

/* A waiting writer goes before new readers; if it gives up they go on. */
static void waiting_writer_goes_first(void) {
    unsigned i;
    for (i = 0; i < (unsigned)check_rounds(60); i++) {
        flow f;
        crew c = { 0 }, readers = { 0 };
        conc_cancel token = { 0 };
        memset(&f, 0, sizeof f);
        f.lock = conc_brlock_new();
        CHECK_OK(conc_brlock_read(f.lock, CONC_FOREVER));
        crew_add_under(&c, write_once, &f, &token);
        UNTIL(!try_read(f.lock));
        CHECK_R(conc_brlock_free(f.lock), CONC_BUSY);
        crew_add(&readers, read_later, &f);
        crew_add(&readers, read_later, &f);
        nudge(i);
        if (i % 2) {
            CHECK_OK(conc_cancel_fire(&token));
            crew_join(&readers);
            CHECK_OK(conc_brlock_read_unlock(f.lock));
        } else {
            CHECK_OK(conc_brlock_read_unlock(f.lock));
            crew_join(&readers);
        }
        crew_join(&c);
        CHECK_OK(conc_brlock_free(f.lock));
    }
}

/* An array of ops made once and waited for again and again, as with poll(): each wait is a wait of its own. */
static int read_now(void *arg) {
    conc_brlock *l = (conc_brlock *)arg;
    conc_result r = conc_brlock_read(l, CONC_NOW);
    if (r == CONC_OK) CHECK_OK(conc_brlock_read_unlock(l));
    return r == CONC_OK ? 1 : 0;
}

static int read_until_told(void *arg) {
    CHECK_OK(conc_brlock_read((conc_brlock *)((void **)arg)[0], CONC_FOREVER));
    CHECK_OK(conc_event_set((conc_event *)((void **)arg)[1]));
    CHECK_OK(conc_event_wait((conc_event *)((void **)arg)[2], CONC_FOREVER));
    CHECK_OK(conc_brlock_read_unlock((conc_brlock *)((void **)arg)[0]));
    return 0;
}

static void ops_used_again(void) {
    conc_brlock *l = conc_brlock_new();
    conc_event reads = { 0 }, go = { 0 };
    void *arg[3];
    crew c = { 0 };
    conc_op op[1];
    conc_thread *t;
    int got = -1;
    arg[0] = l;
    arg[1] = &reads;
    arg[2] = &go;
    crew_add(&c, read_until_told, arg);
    CHECK_OK(conc_event_wait(&reads, CONC_FOREVER));
    op[0] = conc_op_brlock_write(l);
    CHECK_R(conc_select(op, 1, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_event_set(&go));
    crew_join(&c);
    CHECK_EQ(conc_select(op, 1, CONC_FOREVER), 0);
    CHECK_OK(op[0].result);
    t = conc_thread_start(read_now, l, NULL);
    CHECK_OK(conc_thread_join(t, &got, CONC_FOREVER));
    CHECK_EQ(got, 0); /* it is locked, really */
    CHECK_OK(conc_brlock_write_unlock(l));
    CHECK_EQ(conc_select(op, 1, CONC_FOREVER), 0);
    CHECK_OK(conc_brlock_write_unlock(l));
    CHECK_OK(conc_brlock_free(l));
}

/* The announcement of the one op is no lock that the other finds held by its own thread. */
static void both_in_one_select(void) {
    conc_brlock *l = conc_brlock_new();
    conc_event reads = { 0 }, go = { 0 };
    void *arg[3];
    crew c = { 0 };
    conc_op ops[2];
    arg[0] = l;
    arg[1] = &reads;
    arg[2] = &go;
    crew_add(&c, read_until_told, arg);
    CHECK_OK(conc_event_wait(&reads, CONC_FOREVER));
    ops[0] = conc_op_brlock_write(l);
    ops[1] = conc_op_brlock_read(l);
    CHECK_R(conc_select(ops, 2, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_event_set(&go));
    crew_join(&c);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0);
    CHECK_R(conc_brlock_read(l, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_OK(conc_brlock_write_unlock(l));
    CHECK_OK(conc_brlock_free(l));
}

int main(void) {
    check_begin("brlock");
    RUN(basics);
    RUN(exclusion);
    RUN(writer_under_a_flow_of_readers);
    RUN(waiting_writer_goes_first);
    RUN(ops_used_again);
    RUN(both_in_one_select);
    return check_end();
}
