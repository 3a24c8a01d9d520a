/* recursive mutex. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static int stranger(void *arg) {
    conc_rmutex *m = (conc_rmutex *)arg;
    CHECK_R(conc_rmutex_try_lock(m), CONC_BUSY);
    CHECK_R(conc_rmutex_lock(m, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_rmutex_lock(m, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_MISUSE(conc_rmutex_unlock(m), CONC_NOT_OWNER);
    CHECK_R(conc_rmutex_destroy(m), CONC_BUSY);
    return 0;
}

static int visitor(void *arg) {
    conc_rmutex *m = (conc_rmutex *)arg;
    CHECK_OK(conc_rmutex_try_lock(m));
    CHECK_OK(conc_rmutex_unlock(m));
    return 0;
}

static void locks_again(void) {
    conc_rmutex m = { 0 };
    crew c = { 0 };
    int i;
    CHECK_MISUSE(conc_rmutex_unlock(&m), CONC_NOT_OWNER);
    for (i = 0; i < 500; i++) CHECK_OK(i % 2 ? conc_rmutex_lock(&m, CONC_FOREVER) : conc_rmutex_try_lock(&m));
    for (i = 0; i < 499; i++) CHECK_OK(conc_rmutex_unlock(&m));
    CHECK_R(conc_rmutex_destroy(&m), CONC_BUSY);
    crew_add(&c, stranger, &m); /* once is still held */
    crew_join(&c);
    CHECK_OK(conc_rmutex_unlock(&m));
    crew_add(&c, visitor, &m);
    crew_join(&c);
    CHECK_MISUSE(conc_rmutex_unlock(&m), CONC_NOT_OWNER);
    CHECK_OK(conc_rmutex_destroy(&m));
}

typedef struct counter {
    conc_rmutex lock;
    long value;
    int rounds;
} counter;

static void add_deep(counter *c, int depth) {
    CHECK_OK(conc_rmutex_lock(&c->lock, CONC_FOREVER));
    if (depth > 0) add_deep(c, depth - 1);
    c->value++;
    CHECK_OK(conc_rmutex_unlock(&c->lock));
}

static int count_up(void *arg) {
    counter *c = (counter *)arg;
    int i;
    for (i = 0; i < c->rounds; i++) {
        if (i % 5 == 4) {
            conc_result r = conc_rmutex_lock(&c->lock, conc_after(3e-6));
            if (r == CONC_OK) CHECK_OK(conc_rmutex_unlock(&c->lock));
            else CHECK_R(r, CONC_TIMEOUT);
        }
        add_deep(c, 3);
    }
    return 0;
}

static void exclusion(void) {
    int threads, i;
    for (threads = 2; threads <= 8; threads += 3) {
        counter c;
        crew w = { 0 };
        memset(&c, 0, sizeof c);
        c.rounds = check_rounds(24000) / threads;
        for (i = 0; i < threads; i++) crew_add(&w, count_up, &c);
        crew_join(&w);
        CHECK_EQ(c.value, 4L * c.rounds * threads);
        CHECK_OK(conc_rmutex_destroy(&c.lock));
    }
}

static int reports;

static void count_reports(const conc_error *e, void *user) {
    (void)user;
    CHECK_R(e->result, CONC_INVALID);
    reports++;
}

static void with_lock(void) {
    conc_rmutex m = { 0 };
    conc_rmutex *none = NULL;
    int runs = 0, i;
    CONC_WITH_RLOCK(&m) {
        CONC_WITH_RLOCK(&m) runs++;
        CONC_WITH_RLOCK(&m) {
            runs++;
            break;
        }
        for (i = 0; i < 2; i++) CONC_WITH_RLOCK(&m) {
            runs++;
            continue;
        }
        CHECK_R(conc_rmutex_destroy(&m), CONC_BUSY);
    }
    CHECK_EQ(runs, 4);
    CHECK_OK(conc_rmutex_destroy(&m)); /* not held at all */
    conc_set_error_hook(count_reports, NULL);
    CONC_WITH_RLOCK(none) runs++;
    CHECK_EQ(runs, 4);
    CHECK_EQ(reports, 1);
    conc_set_error_hook(NULL, NULL);
}

int main(void) {
    check_begin("rmutex");
    RUN(locks_again);
    RUN(exclusion);
    RUN(with_lock);
    return check_end();
}
