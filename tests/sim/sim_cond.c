/* The condition variable: no signal is lost, none is taken by one that came later or that gives up. */

#include "sim.h"

static conc_mutex m;
static conc_cond c;
static conc_cancel token;
static int flag; /* guarded by m, as the next */
static int later;
static sim_crew second;

static void setup(void) {
    memset(&m, 0, sizeof m);
    memset(&c, 0, sizeof c);
    memset(&token, 0, sizeof token);
    memset(&second, 0, sizeof second);
    flag = later = 0;
}

static int finish(sim_crew *crew) {
    sim_join(crew);
    SIM_OK(conc_cond_destroy(&c));
    SIM_OK(conc_mutex_destroy(&m));
    return 0;
}

static void lock(void) {
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
}

static void unlock(void) {
    SIM_OK(conc_mutex_unlock(&m));
}

/* ---- one waiter ------------------------------------------------------------------------------- */

static int raise_inside(void *unused) {
    (void)unused;
    lock();
    CONC_SIM_WRITE(flag);
    flag = 1;
    SIM_OK(conc_cond_signal(&c));
    unlock();
    return 0;
}

static int raise_outside(void *unused) {
    (void)unused;
    lock();
    CONC_SIM_WRITE(flag);
    flag = 1;
    unlock();
    SIM_OK(conc_cond_signal(&c));
    return 0;
}

static int await_flag(void *unused) {
    (void)unused;
    lock();
    for (;;) {
        CONC_SIM_READ(flag);
        if (flag != 0) break;
        SIM_OK(conc_cond_wait(&c, &m, CONC_FOREVER));
        CONC_SIM_ASSERT(conc_mutex_is_mine(&m));
    }
    unlock();
    return 0;
}

/* A signal given with the mutex held wakes one that looks, finds nothing and waits. */
static int cond_inside(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    sim_start(&crew, await_flag, NULL);
    (void)raise_inside(NULL);
    return finish(&crew);
}

/* The same, given after the mutex. */
static int cond_outside(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    sim_start(&crew, await_flag, NULL);
    (void)raise_outside(NULL);
    return finish(&crew);
}

static bool flag_is_up(void *unused) {
    (void)unused;
    CONC_SIM_READ(flag);
    return flag != 0;
}

/* Waiting for a predicate: true means OK, even at the deadline; false means that it has passed. */
static int cond_wait_for(void *unused) {
    sim_crew crew = {0};
    conc_result r;
    (void)unused;
    setup();
    sim_start(&crew, raise_inside, NULL);
    lock();
    r = conc_cond_wait_for(&c, &m, flag_is_up, NULL, conc_after(0.001));
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m));
    CONC_SIM_ASSERT(r == (flag_is_up(NULL) ? CONC_OK : CONC_TIMEOUT));
    unlock();
    return finish(&crew);
}

/* ---- who is woken -----------------------------------------------------------------------------
 * Each of these threads starts the next one with the mutex held, and waits: so when one has the mutex, all those
 * before it wait. */

static int signal_then_wait(void *unused) {
    conc_result r;
    (void)unused;
    lock();
    SIM_OK(conc_cond_signal(&c));
    later = 1;
    r = conc_cond_wait(&c, &m, conc_after(0.001));
    CONC_SIM_ASSERT(r == CONC_TIMEOUT); /* nobody has signaled since */
    unlock();
    return 0;
}

/* A signal reaches one that waits when it is given, never one that comes later. */
static int cond_not_a_later_one(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    lock();
    sim_start(&crew, signal_then_wait, NULL);
    SIM_OK(conc_cond_wait(&c, &m, CONC_FOREVER));
    CONC_SIM_ASSERT(later == 1);
    unlock();
    return finish(&crew);
}

static int signal_twice(void *unused) {
    (void)unused;
    lock();
    SIM_OK(conc_cond_signal(&c));
    SIM_OK(conc_cond_signal(&c));
    unlock();
    return 0;
}

static int signal_twice_outside(void *unused) {
    (void)unused;
    lock();
    unlock();
    SIM_OK(conc_cond_signal(&c));
    SIM_OK(conc_cond_signal(&c));
    return 0;
}

static int broadcast(void *unused) {
    (void)unused;
    lock();
    SIM_OK(conc_cond_broadcast(&c));
    unlock();
    return 0;
}

typedef struct step {
    conc_fn fn;
} step;

static int wait_second(void *p) {
    lock();
    sim_start(&second, ((const step *)p)->fn, NULL);
    SIM_OK(conc_cond_wait(&c, &m, CONC_FOREVER));
    unlock();
    sim_join(&second);
    return 0;
}

static int two_wait_for(conc_fn fn) {
    sim_crew crew = {0};
    step last;
    last.fn = fn;
    setup();
    lock();
    sim_start(&crew, wait_second, &last);
    SIM_OK(conc_cond_wait(&c, &m, CONC_FOREVER));
    unlock();
    return finish(&crew);
}

/* Two signals wake two. */
static int cond_two_signals(void *unused) {
    (void)unused;
    return two_wait_for(signal_twice);
}

/* The same, given without the mutex. */
static int cond_two_signals_outside(void *unused) {
    (void)unused;
    return two_wait_for(signal_twice_outside);
}

/* A broadcast wakes all. */
static int cond_broadcast(void *unused) {
    (void)unused;
    return two_wait_for(broadcast);
}

/* ---- who gives up ----------------------------------------------------------------------------- */

static int signal_once(void *unused) {
    (void)unused;
    lock();
    SIM_OK(conc_cond_signal(&c));
    unlock();
    return 0;
}

/* Of two that wait the first gives up or is signaled; and if signaled, signals the second: who reports anything else
 * has used no signal. */
static int one_may_give_up(conc_deadline deadline, conc_cancel *by, conc_fn last_fn) {
    sim_crew crew = {0};
    conc_cancel *before;
    conc_result r;
    step last;
    last.fn = last_fn;
    lock();
    sim_start(&crew, wait_second, &last);
    before = conc_cancel_use(by);
    r = conc_cond_wait(&c, &m, deadline);
    (void)conc_cancel_use(before);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m));
    CONC_SIM_ASSERT(r == CONC_OK || r == (by != NULL ? CONC_CANCELED : CONC_TIMEOUT));
    if (r == CONC_OK) SIM_OK(conc_cond_signal(&c));
    unlock();
    return finish(&crew);
}

/* A wait that times out takes no signal with it. */
static int cond_timeout(void *unused) {
    (void)unused;
    setup();
    return one_may_give_up(conc_after(0.001), NULL, signal_once);
}

static int cancel_and_signal(void *unused) {
    (void)unused;
    (void)conc_cancel_fire(&token);
    return signal_once(NULL);
}

static int signal_and_cancel(void *unused) {
    (void)signal_once(NULL);
    (void)conc_cancel_fire(&token);
    (void)unused;
    return 0;
}

/* Nor does one that is canceled; and it has the mutex all the same. */
static int cond_cancel(void *unused) {
    sim_crew crew = {0};
    conc_cancel *before;
    conc_result r;
    (void)unused;
    setup();
    lock();
    sim_start(&crew, conc_sim_choose(2) == 0 ? cancel_and_signal : signal_and_cancel, NULL);
    before = conc_cancel_use(&token);
    r = conc_cond_wait(&c, &m, CONC_FOREVER);
    (void)conc_cancel_use(before);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m));
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    unlock();
    return finish(&crew);
}

/* With a second waiter, which the signal that the canceled one did not use wakes. */
static int cond_cancel_of_two(void *unused) {
    (void)unused;
    setup();
    return one_may_give_up(CONC_FOREVER, &token, conc_sim_choose(2) == 0 ? cancel_and_signal : signal_and_cancel);
}

/* ---- as an op --------------------------------------------------------------------------------- */

static int raise_both(void *p) {
    conc_event *e = (conc_event *)p;
    SIM_OK(conc_event_set(e));
    return raise_inside(NULL);
}

/* A signal as one op of a select: made with the mutex held, it misses nothing that comes after. */
static int cond_select(void *unused) {
    sim_crew crew = {0};
    conc_event e;
    conc_op ops[2];
    int i;
    (void)unused;
    setup();
    memset(&e, 0, sizeof e);
    lock();
    sim_start(&crew, raise_both, &e);
    ops[0] = conc_op_signal(&c);
    unlock();
    ops[1] = conc_op_event(&e);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT((i == 0 || i == 1) && ops[i].result == CONC_OK);
    if (i == 1) SIM_OK(conc_wait(ops[0], CONC_FOREVER)); /* the signal is still to come, or has been given since */
    lock();
    CONC_SIM_ASSERT(flag_is_up(NULL));
    unlock();
    return finish(&crew);
}

static const sim_test tests[] = {
    SIM_TEST(cond_inside, 3),
    SIM_TEST(cond_outside, 3),
    SIM_TEST(cond_wait_for, 3),
    SIM_TEST(cond_not_a_later_one, 3),
    SIM_TEST(cond_two_signals, 3),
    SIM_TEST(cond_two_signals_outside, 3),
    SIM_TEST(cond_broadcast, 3),
    SIM_TEST(cond_timeout, 3),
    SIM_TEST(cond_cancel, 3),
    SIM_TEST(cond_cancel_of_two, 3),
    SIM_TEST(cond_select, 3),
};
SIM_MAIN("sim_cond", tests)
