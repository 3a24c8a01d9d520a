/* latch: counting, waiting, and that it may be freed right after the wait. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static void counting(void) {
    conc_latch l = CONC_LATCH_INIT(2), z = { 0 };
    CHECK_EQ(conc_latch_count(&l), 2);
    CHECK_R(conc_latch_wait(&l, CONC_NOW), CONC_BUSY);
    CHECK_OK(conc_latch_done(&l));
    CHECK_R(conc_latch_wait(&l, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_latch_add(&l, 3));
    CHECK_EQ(conc_latch_count(&l), 4);
    CHECK_OK(conc_latch_done(&l));
    CHECK_OK(conc_latch_done(&l));
    CHECK_OK(conc_latch_done(&l));
    CHECK_R(conc_try(conc_op_latch(&l)), CONC_BUSY);
    CHECK_OK(conc_latch_done(&l));
    CHECK_OK(conc_latch_wait(&l, CONC_FOREVER));
    CHECK_OK(conc_try(conc_op_latch(&l)));
    CHECK_MISUSE(conc_latch_done(&l), CONC_INVALID); /* it was zero */
    CHECK_EQ(conc_latch_count(&l), 0);
    CHECK_OK(conc_latch_destroy(&l));
    CHECK_OK(conc_latch_wait(&z, CONC_NOW)); /* all zero: nothing to wait for */
    CHECK_EQ(conc_latch_count(NULL), 0);
}

static void the_maximum(void) {
    conc_latch l = { 0 };
    CHECK_OK(conc_latch_add(&l, 0));
    CHECK_OK(conc_latch_add(&l, 0x7fffffffu));
    CHECK_EQ(conc_latch_count(&l), 0x7fffffffu);
    CHECK_MISUSE(conc_latch_add(&l, 1), CONC_INVALID);
    CHECK_MISUSE(conc_latch_add(&l, 0xffffffffu), CONC_INVALID);
    CHECK_EQ(conc_latch_count(&l), 0x7fffffffu);
    CHECK_OK(conc_latch_done(&l));
    CHECK_MISUSE(conc_latch_add(&l, 2), CONC_INVALID);
    CHECK_OK(conc_latch_add(&l, 1));
}

static int wait_for(void *arg) {
    return conc_latch_wait((conc_latch *)arg, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static int done_one(void *arg) {
    return conc_latch_done((conc_latch *)arg) == CONC_OK ? 0 : 1;
}

static void wakes_all(void) {
    unsigned round;
    for (round = 0; round < (unsigned)check_rounds(150); round++) {
        conc_latch l = CONC_LATCH_INIT(4);
        crew c = { 0 };
        int i;
        for (i = 0; i < 3; i++) crew_add(&c, wait_for, &l);
        for (i = 0; i < 4; i++) crew_add(&c, done_one, &l);
        crew_join(&c);
        CHECK_EQ(conc_latch_count(&l), 0);
        CHECK_OK(conc_latch_destroy(&l));
    }
}

/* Destroyed and freed right after the wait, while the last done() may not have returned yet. */
typedef struct work {
    conc_latch latch;
    long result[15];
} work;

static conc_queue *todo;

static int worker(void *arg) {
    work *w;
    (void)arg;
    while (conc_queue_get(todo, &w, CONC_FOREVER) == CONC_OK) {
        w->result[0] = 1; /* plain: seen by the one that waits */
        CHECK_OK(conc_latch_done(&w->latch));
    }
    return 0;
}

static void freed_right_after_wait(void) {
    crew c = { 0 };
    int i, n = check_rounds(15000);
    todo = conc_queue_new(sizeof(work *), 4);
    crew_add(&c, worker, NULL);
    crew_add(&c, worker, NULL);
    for (i = 0; i < n; i++) {
        work *w = (work *)calloc(1, sizeof *w);
        CHECK_OK(conc_latch_add(&w->latch, 1));
        CHECK_OK(conc_queue_put(todo, &w, CONC_FOREVER));
        if (i % 4 == 0) {
            while (conc_latch_wait(&w->latch, conc_after(5e-6)) != CONC_OK) {
            }
        } else if (i % 4 == 1) CHECK_OK(conc_wait(conc_op_latch(&w->latch), CONC_FOREVER));
        else CHECK_OK(conc_latch_wait(&w->latch, CONC_FOREVER));
        CHECK_EQ(w->result[0], 1);
        CHECK_OK(conc_latch_destroy(&w->latch));
        memset(w, 0xEE, sizeof *w);
        free(w);
    }
    CHECK_OK(conc_queue_close(todo));
    crew_join(&c);
    CHECK_OK(conc_queue_free(todo));
}

/* As a wait group: added to again and again. */
typedef struct group {
    conc_latch running;
    conc_mutex lock;
    long sum;
    int rounds;
} group;

static int add_and_done(void *arg) {
    group *g = (group *)arg;
    int i;
    for (i = 0; i < g->rounds; i++) {
        CHECK_OK(conc_latch_add(&g->running, 2));
        CHECK_OK(conc_latch_done(&g->running));
        CONC_WITH_LOCK(&g->lock) g->sum++;
        CHECK_OK(conc_latch_done(&g->running));
    }
    CHECK_OK(conc_latch_done(&g->running)); /* the one it was started with */
    return 0;
}

static void wait_group(void) {
    group g;
    crew c = { 0 };
    int i;
    memset(&g, 0, sizeof g);
    g.rounds = check_rounds(5000);
    CHECK_OK(conc_latch_add(&g.running, 4));
    for (i = 0; i < 4; i++) crew_add(&c, add_and_done, &g);
    CHECK_OK(conc_latch_wait(&g.running, CONC_FOREVER));
    CHECK_EQ(g.sum, 4L * g.rounds); /* read without the lock: all of them are done */
    crew_join(&c);
    CHECK_OK(conc_latch_destroy(&g.running));
}

static void destroy_in_use(void) {
    conc_latch l = CONC_LATCH_INIT(1);
    crew c = { 0 };
    crew_add(&c, wait_for, &l);
    UNTIL(conc_latch_destroy(&l) == CONC_BUSY);
    CHECK_OK(conc_latch_done(&l));
    crew_join(&c);
    CHECK_OK(conc_latch_destroy(&l));
}

int main(void) {
    check_begin("latch");
    RUN(counting);
    RUN(the_maximum);
    RUN(wakes_all);
    RUN(freed_right_after_wait);
    RUN(wait_group);
    RUN(destroy_in_use);
    return check_end();
}
