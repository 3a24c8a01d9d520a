/* reader-writer lock: exclusion, phase-fairness, misuse. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static int reader_in(void *arg) { /* another reader gets in beside the first */
    conc_rwlock *l = (conc_rwlock *)arg;
    CHECK_OK(conc_rwlock_read(l, CONC_FOREVER));
    CHECK_R(conc_rwlock_write(l, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_rwlock_unlock(l));
    CHECK_R(conc_rwlock_write(l, CONC_NOW), CONC_BUSY);
    return 0;
}

static int nobody_in(void *arg) { /* a writer holds it */
    conc_rwlock *l = (conc_rwlock *)arg;
    CHECK_R(conc_rwlock_read(l, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_rwlock_write(l, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_rwlock_read(l, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_rwlock_write(l, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_MISUSE(conc_rwlock_unlock(l), CONC_NOT_OWNER);
    CHECK_R(conc_rwlock_destroy(l), CONC_BUSY);
    return 0;
}

static void basics(void) {
    conc_rwlock l = { 0 };
    crew c = { 0 };
    CHECK_MISUSE(conc_rwlock_unlock(&l), CONC_NOT_OWNER);
    CHECK_OK(conc_rwlock_read(&l, CONC_FOREVER));
    CHECK_R(conc_rwlock_destroy(&l), CONC_BUSY);
    crew_add(&c, reader_in, &l);
    crew_add(&c, reader_in, &l);
    crew_join(&c);
    CHECK_OK(conc_rwlock_unlock(&l));
    CHECK_MISUSE(conc_rwlock_unlock(&l), CONC_NOT_OWNER);
    CHECK_OK(conc_rwlock_write(&l, CONC_FOREVER));
    CHECK_R(conc_rwlock_destroy(&l), CONC_BUSY);
    crew_add(&c, nobody_in, &l);
    crew_join(&c);
    CHECK_OK(conc_rwlock_unlock(&l));
    CHECK_MISUSE(conc_rwlock_unlock(&l), CONC_NOT_OWNER);
    CHECK_OK(conc_try(conc_op_read(&l)));
    CHECK_OK(conc_rwlock_unlock(&l));
    CHECK_OK(conc_try(conc_op_write(&l)));
    CHECK_OK(conc_rwlock_unlock(&l));
    CHECK_OK(conc_rwlock_destroy(&l));
}

/* Readers see the two halves equal, always. */
typedef struct pair {
    conc_rwlock lock;
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
            r = i % 2 ? conc_rwlock_write(&p->lock, d) : conc_wait(conc_op_write(&p->lock), d);
            if (r == CONC_OK) {
                p->a++;
                if (i % 8 == 0) conc_thread_yield();
                p->b++;
                writes++;
            }
        } else {
            r = i % 2 ? conc_rwlock_read(&p->lock, d) : conc_wait(conc_op_read(&p->lock), d);
            if (r == CONC_OK) {
                CHECK_EQ(p->a, p->b);
                if (i % 16 == 0) conc_thread_yield();
            }
        }
        if (r == CONC_OK) CHECK_OK(conc_rwlock_unlock(&p->lock));
        else CHECK(r == CONC_TIMEOUT && timed);
    }
    CHECK_OK(conc_rwlock_write(&p->lock, CONC_FOREVER));
    p->a -= writes; /* what is left at the end are lost or doubled writes */
    p->b -= writes;
    CHECK_OK(conc_rwlock_unlock(&p->lock));
    return 0;
}

static void exclusion(void) {
    static const unsigned each[] = { 1, 2, 20 };
    int threads, i;
    size_t k;
    for (k = 0; k < 3; k++) {
        for (threads = 2; threads <= 8; threads += 3) {
            pair p;
            crew c = { 0 };
            memset(&p, 0, sizeof p);
            p.rounds = check_rounds(15000) / threads;
            p.write_each = each[k];
            for (i = 0; i < threads; i++) crew_add(&c, read_and_write, &p);
            crew_join(&c);
            CHECK_EQ(p.a, 0);
            CHECK_EQ(p.b, 0);
            CHECK_OK(conc_rwlock_destroy(&p.lock));
        }
    }
}

/* ---- neither starves the other ---- */

typedef struct flow {
    conc_rwlock lock;
    conc_event stop;
} flow;

static int read_on(void *arg) {
    flow *f = (flow *)arg;
    while (!conc_event_is_set(&f->stop)) {
        CHECK_OK(conc_rwlock_read(&f->lock, CONC_FOREVER));
        conc_thread_yield(); /* the reads overlap, so that the lock is never free by itself */
        CHECK_OK(conc_rwlock_unlock(&f->lock));
    }
    return 0;
}

static int write_on(void *arg) {
    flow *f = (flow *)arg;
    while (!conc_event_is_set(&f->stop)) {
        CHECK_OK(conc_rwlock_write(&f->lock, CONC_FOREVER));
        conc_thread_yield();
        CHECK_OK(conc_rwlock_unlock(&f->lock));
    }
    return 0;
}

static void writer_under_a_flow_of_readers(void) {
    flow f;
    crew c = { 0 };
    int i;
    memset(&f, 0, sizeof f);
    for (i = 0; i < 4; i++) crew_add(&c, read_on, &f);
    for (i = 0; i < check_rounds(300); i++) { /* the watchdog is the judge */
        CHECK_OK(conc_rwlock_write(&f.lock, CONC_FOREVER));
        CHECK_OK(conc_rwlock_unlock(&f.lock));
    }
    CHECK_OK(conc_event_set(&f.stop));
    crew_join(&c);
}

static void reader_under_a_flow_of_writers(void) {
    flow f;
    crew c = { 0 };
    int i;
    memset(&f, 0, sizeof f);
    for (i = 0; i < 4; i++) crew_add(&c, write_on, &f);
    for (i = 0; i < check_rounds(300); i++) {
        CHECK_OK(conc_rwlock_read(&f.lock, CONC_FOREVER));
        CHECK_OK(conc_rwlock_unlock(&f.lock));
    }
    CHECK_OK(conc_event_set(&f.stop));
    crew_join(&c);
}

static int write_once(void *arg) {
    flow *f = (flow *)arg;
    CHECK_OK(conc_rwlock_write(&f->lock, CONC_FOREVER));
    CHECK_OK(conc_event_set(&f->stop));
    CHECK_OK(conc_rwlock_unlock(&f->lock));
    return 0;
}

static int write_times_out(void *arg) {
    flow *f = (flow *)arg;
    conc_result r = conc_rwlock_write(&f->lock, CONC_FOREVER); /* canceled */
    CHECK_R(r, CONC_CANCELED);
    CHECK_OK(conc_event_set(&f->stop));
    return 0;
}

static bool try_read(conc_rwlock *l) {
    if (conc_rwlock_read(l, CONC_NOW) != CONC_OK) return false;
    CHECK_OK(conc_rwlock_unlock(l));
    return true;
}

static int read_once(void *arg) {
    flow *f = (flow *)arg;
    CHECK_OK(conc_rwlock_read(&f->lock, CONC_FOREVER));
    CHECK_OK(conc_rwlock_unlock(&f->lock));
    return 0;
}

/* A waiting writer keeps new readers out: that is also how to see that it waits. */
static void waiting_writer_goes_first(void) {
    flow f;
    crew c = { 0 };
    memset(&f, 0, sizeof f);
    CHECK_OK(conc_rwlock_read(&f.lock, CONC_FOREVER));
    crew_add(&c, write_once, &f);
    UNTIL(!try_read(&f.lock));
    CHECK(!conc_event_is_set(&f.stop));
    CHECK_R(conc_rwlock_read(&f.lock, conc_after(0.002)), CONC_TIMEOUT);
    CHECK_OK(conc_rwlock_unlock(&f.lock));
    crew_join(&c);
    CHECK(conc_event_is_set(&f.stop));
}

/* A writer that gives up lets the readers in again that it had kept out. */
static void writer_that_gives_up(void) {
    unsigned i;
    for (i = 0; i < (unsigned)check_rounds(100); i++) {
        flow f;
        crew c = { 0 }, readers = { 0 };
        conc_cancel token = { 0 };
        memset(&f, 0, sizeof f);
        CHECK_OK(conc_rwlock_read(&f.lock, CONC_FOREVER));
        crew_add_under(&c, write_times_out, &f, &token);
        UNTIL(!try_read(&f.lock));
        crew_add(&readers, read_once, &f);
        crew_add(&readers, read_once, &f);
        nudge(i);
        CHECK_OK(conc_cancel_fire(&token));
        crew_join(&readers); /* although the first reader still holds it */
        crew_join(&c);
        CHECK(try_read(&f.lock));
        CHECK_OK(conc_rwlock_unlock(&f.lock));
        CHECK_OK(conc_rwlock_destroy(&f.lock));
    }
}

/* To know from outside that a thread waits for the lock: ops are armed in their order, so when the second op of its select
 * is being armed the first one is. */
typedef struct phase {
    conc_rwlock lock;
    conc_waiters none;
    conc_latch to_come, readers_in;
} phase;

static conc_result witness_attempt(conc_op *op) {
    (void)op;
    return CONC_PENDING;
}

static bool witness_arm(conc_op *op, conc_node *node) {
    phase *p = (phase *)op->object;
    conc_waiters_arm(&p->none, node);
    if (op->data != NULL) { /* once a thread */
        op->data = NULL;
        (void)conc_latch_done(&p->to_come);
    }
    return true;
}

static const conc_op_class witness_class = { "witness", CONC_BUSY, witness_attempt, witness_arm, NULL, NULL };

static void lock_seen(phase *p, conc_op op) {
    conc_op ops[2];
    ops[0] = op;
    ops[1] = conc_op_make(&witness_class, p, p);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0);
    CHECK_OK(ops[0].result);
}

static int phase_reader(void *arg) {
    phase *p = (phase *)arg;
    lock_seen(p, conc_op_read(&p->lock));
    CHECK_OK(conc_latch_done(&p->readers_in));
    CHECK_OK(conc_latch_wait(&p->readers_in, CONC_FOREVER)); /* all readers are in at once */
    CHECK_OK(conc_rwlock_unlock(&p->lock));
    return 0;
}

static int phase_writer(void *arg) {
    phase *p = (phase *)arg;
    lock_seen(p, conc_op_write(&p->lock));
    CHECK_EQ(conc_latch_count(&p->readers_in), 0); /* the readers were first */
    CHECK_OK(conc_rwlock_unlock(&p->lock));
    return 0;
}

/* A leaving writer lets in all readers that wait at that moment, together, although another writer has waited longer. */
static void leaving_writer_lets_readers_in(void) {
    unsigned i;
    for (i = 0; i < (unsigned)check_rounds(150); i++) {
        phase p;
        crew c = { 0 };
        unsigned k;
        memset(&p, 0, sizeof p);
        CHECK_OK(conc_latch_add(&p.to_come, 4));
        CHECK_OK(conc_latch_add(&p.readers_in, 3));
        CHECK_OK(conc_rwlock_write(&p.lock, CONC_FOREVER));
        for (k = 0; k < 4; k++) crew_add(&c, k == i % 4 ? phase_writer : phase_reader, &p);
        CHECK_OK(conc_latch_wait(&p.to_come, CONC_FOREVER));
        CHECK_OK(conc_rwlock_unlock(&p.lock));
        crew_join(&c);
        CHECK_OK(conc_rwlock_destroy(&p.lock));
    }
}

static int reports;
static void count_reports(const conc_error *e, void *user) {
    (void)user;
    CHECK(e->result == CONC_INVALID || e->result == CONC_DEADLOCK);
    reports++;
}

static void with_locks(void) {
    conc_rwlock l = { 0 };
    conc_rwlock *none = NULL;
    int runs = 0, i;
    CONC_WITH_READ_LOCK(&l) {
        CHECK_R(conc_rwlock_write(&l, CONC_NOW), CONC_BUSY);
        runs++;
    }
    CONC_WITH_WRITE_LOCK(&l) {
        CHECK_R(conc_rwlock_destroy(&l), CONC_BUSY);
        runs++;
        break;
    }
    for (i = 0; i < 2; i++) {
        CONC_WITH_WRITE_LOCK(&l) {
            runs++;
            continue;
        }
        CONC_WITH_READ_LOCK(&l) runs++;
    }
    CHECK_EQ(runs, 6);
    CHECK_OK(conc_rwlock_destroy(&l));
    conc_set_error_hook(count_reports, NULL);
    CONC_WITH_READ_LOCK(none) runs++;
    CONC_WITH_WRITE_LOCK(none) runs++;
    CHECK_EQ(runs, 6);
    CHECK_EQ(reports, 2);
    conc_set_error_hook(NULL, NULL);
}

/* ---- the writer asks for what it holds itself: told, not a hang ---- */
static void writer_locks_again(void) {
    conc_rwlock l = { 0 };
    CHECK_OK(conc_rwlock_write(&l, CONC_FOREVER));
    CHECK_MISUSE(conc_rwlock_write(&l, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_rwlock_read(&l, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_wait(conc_op_write(&l), CONC_FOREVER), CONC_DEADLOCK);
    CHECK_OK(conc_rwlock_unlock(&l));
    CHECK_OK(conc_rwlock_destroy(&l));
}

int main(void) {
    check_begin("rwlock");
    RUN(basics);
    RUN(exclusion);
    RUN(writer_under_a_flow_of_readers);
    RUN(reader_under_a_flow_of_writers);
    RUN(waiting_writer_goes_first);
    RUN(writer_that_gives_up);
    RUN(leaving_writer_lets_readers_in);
    RUN(with_locks);
    RUN(writer_locks_again);
    return check_end();
}
