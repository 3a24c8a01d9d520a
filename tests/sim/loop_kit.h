/* loop_kit.h: what the simulated tests of loops share: one loop, one queue, items that tell who passed them on. */

#ifndef CONC_TESTS_LOOP_KIT_H
#define CONC_TESTS_LOOP_KIT_H

#include "sim.h"

#define ITEMS 4

static conc_loop *loop;
static conc_queue *q, *h;      /* a ring; a hand-off, where a test wants one */
static int items[ITEMS];       /* what the queues' items point to */
static uint32_t passed[ITEMS]; /* atomic: how often each came out */
static uint32_t ran, cleaned;  /* atomic */
static conc_cancel token;

static inline void begin_ex(size_t capacity, const conc_loop_desc *desc) {
    memset(items, 0, sizeof items);
    memset(passed, 0, sizeof passed);
    memset(&token, 0, sizeof token);
    ran = cleaned = 0;
    q = h = NULL;
    if (capacity != 0) {
        q = conc_queue_new(sizeof(int *), capacity);
        CONC_SIM_ASSERT(q != NULL);
    }
    loop = conc_loop_new(desc);
    CONC_SIM_ASSERT(loop != NULL);
}

static inline void begin(size_t capacity) {
    begin_ex(capacity, NULL);
}

static inline void begin_until_stopped(size_t capacity) {
    conc_loop_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.until_stopped = true;
    begin_ex(capacity, &desc);
}

static inline void hand_off(void) {
    conc_queue_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_HANDOFF;
    h = conc_queue_new_ex(sizeof(int *), 0, &desc);
    CONC_SIM_ASSERT(h != NULL);
}

/* Runs the loop to its end, and gives it back at once: others may still be in the wake that ended it. */
static inline void run_and_free(void) {
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(conc_loop_count(loop) == 0);
    SIM_OK(conc_loop_free(loop));
    loop = NULL;
}

static inline void finish(void) {
    SIM_OK(conc_loop_free(loop));
    SIM_OK(conc_queue_free(q));
    SIM_OK(conc_queue_free(h));
}

static inline int *make(int i) {
    CONC_SIM_WRITE(items[i]);
    items[i] = 10 + i;
    return &items[i];
}

/* Which one `p` is: it came out. */
static inline int look_at(const int *p) {
    int i = (int)(p - items);
    CONC_SIM_ASSERT(i >= 0 && i < ITEMS);
    CONC_SIM_READ(items[i]);
    CONC_SIM_ASSERT(items[i] == 10 + i);
    (void)conc__add32(&passed[i], 1, CONC__RELAXED);
    return i;
}

static inline uint32_t out(int i) {
    return conc__load32(&passed[i], CONC__RELAXED);
}

static inline void count(uint32_t *counter) {
    (void)conc__add32(counter, 1, CONC__RELAXED);
}

/* Before what wakes: in half of the runs the others are given the time to fall asleep. */
static inline void perhaps_late(void) {
    if (conc_sim_choose(2) != 0) SIM_OK(conc_sleep(conc_after(0.0005)));
}

/* ---- threads ---- */

static inline int put_item(int i) {
    int *p = make(i);
    perhaps_late();
    SIM_OK(conc_queue_put(q, &p, CONC_FOREVER));
    return 0;
}

static inline int put_0(void *unused) {
    (void)unused;
    return put_item(0);
}

static inline int put_1(void *unused) {
    (void)unused;
    return put_item(1);
}

static inline int put_0_1(void *unused) {
    (void)unused;
    return put_item(0) + put_item(1);
}

static inline int run_loop(void *unused) {
    (void)unused;
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    return 0;
}

/* ---- coroutines ---- */

CONC_CORO(get_some, int n; int i; int *p;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        CO_AWAIT(conc_op_get(q, &self->p));
        SIM_OK(self->co.result);
        (void)look_at(self->p);
    }
    CO_END;
}

/* Counts itself, and returns `code`. */
CONC_CORO(just_runs, int code;) {
    CO_BEGIN;
    count(&ran);
    CO_RETURN(self->code);
    CO_END;
}

/* Yields once before its end. */
CONC_CORO(yields, int code;) {
    CO_BEGIN;
    CO_YIELD;
    count(&ran);
    CO_RETURN(self->code);
    CO_END;
}

#endif
