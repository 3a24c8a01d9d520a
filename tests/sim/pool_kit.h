/* pool_kit.h: what the simulated tests of pools share: one pool, tasks that tell who has run, and how. */

#ifndef CONC_TESTS_POOL_KIT_H
#define CONC_TESTS_POOL_KIT_H

#include "sim.h"

#define TASKS 8

static conc_pool *pool;
static int data[TASKS], results[TASKS]; /* what a task is given, and what it leaves */
static uint32_t begun[TASKS];           /* atomic: how often each has run */
static uint32_t begun_count;            /* atomic */
static uint32_t running, most;          /* atomic: tasks that run now; the most that may */
static uint32_t dropped_count;          /* atomic */
static conc_latch left;                 /* tasks that are to run */
static conc_event gate, gate2;
static unsigned processors = 4;         /* that the next pool believes in: as many threads may do jobs */

static inline void begin_pool(const conc_pool_desc *desc, uint32_t tasks) {
    memset(data, 0, sizeof data);
    memset(results, 0, sizeof results);
    memset(begun, 0, sizeof begun);
    memset(&left, 0, sizeof left);
    memset(&gate, 0, sizeof gate);
    memset(&gate2, 0, sizeof gate2);
    begun_count = running = dropped_count = 0;
    if (tasks != 0) SIM_OK(conc_latch_add(&left, tasks));
    pool = conc_pool_new(desc);
    CONC_SIM_ASSERT(pool != NULL);
    pool->processors = processors; /* on any machine */
    processors = 4;
    most = desc->max_threads != 0 ? desc->max_threads : desc->core_threads;
}

static inline conc_pool_desc threads(unsigned core, unsigned max) {
    conc_pool_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.core_threads = core;
    desc.max_threads = max;
    return desc;
}

static inline void begin_fixed(unsigned core, uint32_t tasks) {
    conc_pool_desc desc = threads(core, core);
    begin_pool(&desc, tasks);
}

/* Nothing is left of it, and nothing was lost. */
static inline void end_pool(void) {
    conc_pool_stats s;
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    s = conc_pool_stats_of(pool);
    CONC_SIM_ASSERT(s.threads == 0 && s.idle == 0 && s.queued == 0 && s.scheduled == 0);
    CONC_SIM_ASSERT(s.accepted == s.completed + s.canceled + s.returned);
    CONC_SIM_ASSERT(s.largest <= most);
    SIM_OK(conc_pool_free(pool));
    pool = NULL;
}

static inline void close_pool(void) {
    SIM_OK(conc_pool_close(pool));
    end_pool();
}

static inline void perhaps_late(void) {
    if (conc_sim_choose(2) != 0) SIM_OK(conc_sleep(conc_after(0.0005)));
}

/* ---- tasks ---- */

static inline void *fill(int i) {
    CONC_SIM_WRITE(data[i]);
    data[i] = 10 + i;
    return &data[i];
}

static inline int enters(void *arg) {
    int i = (int)((int *)arg - data);
    CONC_SIM_ASSERT(i >= 0 && i < TASKS);
    CONC_SIM_READ(data[i]);
    CONC_SIM_ASSERT(data[i] == 10 + i);
    CONC_SIM_ASSERT(conc__add32(&begun[i], 1, CONC__RELAXED) == 0);
    return i;
}

static inline void leaves(int i) {
    CONC_SIM_WRITE(results[i]);
    results[i] = 100 + i;
}

/* In a thread of the pool. */
static inline void in_thread(void) {
    CONC_SIM_ASSERT(conc__add32(&running, 1, CONC__RELAXED) < most);
}

static inline void out_of_thread(void) {
    (void)conc__sub32(&running, 1, CONC__RELAXED);
}

static inline int task(void *arg) {
    int i = enters(arg);
    in_thread();
    leaves(i);
    out_of_thread();
    return 0;
}

/* One of the `left`. */
static inline int task_left(void *arg) {
    (void)task(arg);
    (void)conc_latch_done(&left);
    return 0;
}

/* Whoever runs it. */
static inline int task_anywhere(void *arg) {
    leaves(enters(arg));
    return 0;
}

static inline uint32_t has_run(int i) {
    return conc__load32(&begun[i], CONC__RELAXED);
}

/* It is seen by the caller that it has run. */
static inline void check_ran(int i) {
    CONC_SIM_ASSERT(has_run(i) == 1);
    CONC_SIM_READ(results[i]);
    CONC_SIM_ASSERT(results[i] == 100 + i);
}

static inline void hand_in(conc_fn fn, int i) {
    SIM_OK(conc_pool_run(pool, fn, fill(i)));
}

static inline conc_future *submit(conc_fn fn, int i) {
    conc_future *f = conc_pool_submit(pool, fn, fill(i));
    CONC_SIM_ASSERT(f != NULL);
    return f;
}

#endif
