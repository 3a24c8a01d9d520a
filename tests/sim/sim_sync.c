/* The other primitives: recursive mutex, semaphore, event, barrier, once, latch. */

#include "sim.h"
#include "linear.h"

static conc_cancel token;
static int data; /* guarded by, or published through, what the test is about */
static linear_history h;

static void setup(void) {
    memset(&token, 0, sizeof token);
    linear_reset(&h);
    data = 0;
}

/* Runs `own` beside `a` and `b` (or none). */
static void beside(conc_fn own, conc_fn a, conc_fn b) {
    sim_crew crew = {0};
    sim_start(&crew, a, NULL);
    if (b != NULL) sim_start(&crew, b, NULL);
    if (own != NULL) CONC_SIM_ASSERT(own(NULL) == 0);
    sim_join(&crew);
}

/* ---- recursive mutex ---------------------------------------------------------------------------- */

static conc_rmutex r;

static int lock_twice(void *unused) {
    (void)unused;
    SIM_OK(conc_rmutex_lock(&r, CONC_FOREVER));
    SIM_OK(conc_rmutex_try_lock(&r));
    SIM_OK(conc_rmutex_unlock(&r));
    CONC_SIM_WRITE(data); /* still locked */
    data++;
    SIM_OK(conc_rmutex_unlock(&r));
    return 0;
}

/* Its owner locks it again, and lets others in with the last unlock only. */
static int rmutex_nests(void *unused) {
    (void)unused;
    setup();
    memset(&r, 0, sizeof r);
    beside(lock_twice, lock_twice, NULL);
    CONC_SIM_ASSERT(data == 2);
    CONC_SIM_ASSERT(conc_rmutex_unlock(&r) == CONC_NOT_OWNER);
    SIM_OK(conc_rmutex_destroy(&r));
    return 0;
}

/* ---- semaphore ---------------------------------------------------------------------------------- */

static conc_semaphore s;

static void semaphore_setup(uint32_t permits, uint32_t max) {
    setup();
    SIM_OK(conc_semaphore_init(&s, permits, max));
}

static int semaphore_finish(uint32_t permits) {
    CONC_SIM_ASSERT(conc_semaphore_permits(&s) == permits);
    SIM_OK(conc_semaphore_destroy(&s));
    return 0;
}

static int borrow(void *unused) {
    (void)unused;
    SIM_OK(conc_semaphore_acquire(&s, CONC_FOREVER));
    CONC_SIM_WRITE(data);
    data++;
    SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

static int borrow_slowly(void *unused) {
    (void)unused;
    SIM_OK(conc_semaphore_acquire(&s, CONC_FOREVER));
    CONC_SIM_WRITE(data);
    data++;
    SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

/* One permit, two threads: one at a time has it, and sees what the other did with it. */
static int semaphore_two(void *unused) {
    (void)unused;
    semaphore_setup(1, 1);
    beside(borrow_slowly, borrow, NULL);
    CONC_SIM_ASSERT(data == 2);
    return semaphore_finish(1);
}

/* The same with three. */
static int semaphore_three(void *unused) {
    (void)unused;
    semaphore_setup(1, 0);
    beside(borrow_slowly, borrow, borrow);
    CONC_SIM_ASSERT(data == 3);
    return semaphore_finish(1);
}

static int acquire(void *unused) {
    (void)unused;
    SIM_OK(conc_semaphore_acquire(&s, CONC_FOREVER));
    CONC_SIM_READ(data);
    return 0;
}

static int release_two(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(data);
    SIM_OK(conc_semaphore_release(&s, 2));
    return 0;
}

static int release_one_by_one(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(data);
    SIM_OK(conc_semaphore_release(&s, 1));
    SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

/* A release of two lets two go. */
static int semaphore_release_two(void *unused) {
    (void)unused;
    semaphore_setup(0, 2);
    beside(release_two, acquire, acquire);
    return semaphore_finish(0);
}

/* So do two releases. */
static int semaphore_two_releases(void *unused) {
    (void)unused;
    semaphore_setup(0, 0);
    beside(release_one_by_one, acquire, acquire);
    return semaphore_finish(0);
}

static int release_one(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(data);
    SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

static int acquire_in_time(void *unused) {
    conc_result got = conc_semaphore_acquire(&s, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(got == CONC_OK || got == CONC_TIMEOUT);
    if (got == CONC_OK) SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

/* A permit released while a waiter times out is used by it or stays for another. */
static int semaphore_timeout(void *unused) {
    (void)unused;
    semaphore_setup(0, 0);
    beside(release_one, acquire_in_time, NULL);
    return semaphore_finish(1);
}

/* With a second waiter, which has to get it. */
static int semaphore_timeout_of_two(void *unused) {
    (void)unused;
    semaphore_setup(0, 0);
    beside(release_one, acquire_in_time, acquire);
    return semaphore_finish(0);
}

static int acquire_unless_canceled(void *unused) {
    conc_cancel *before = conc_cancel_use(&token);
    conc_result got = conc_semaphore_acquire(&s, CONC_FOREVER);
    (void)unused;
    (void)conc_cancel_use(before);
    CONC_SIM_ASSERT(got == CONC_OK || got == CONC_CANCELED);
    if (got == CONC_OK) SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

static int release_and_cancel(void *unused) {
    bool first = conc_sim_choose(2) == 0;
    (void)unused;
    if (first) SIM_OK(conc_semaphore_release(&s, 1));
    SIM_OK(conc_cancel_fire(&token));
    if (!first) SIM_OK(conc_semaphore_release(&s, 1));
    return 0;
}

/* A canceled waiter leaves the permit to another. */
static int semaphore_cancel_of_two(void *unused) {
    (void)unused;
    semaphore_setup(0, 0);
    beside(release_and_cancel, acquire_unless_canceled, acquire);
    return semaphore_finish(0);
}

enum { TAKE, GIVE };

static bool count_permits(linear_state *state, const linear_op *op) {
    if (op->kind == TAKE) {
        if (state->v[0] == 0) return op->result == CONC_BUSY;
        state->v[0]--;
        return op->result == CONC_OK;
    }
    if (state->v[0] + op->arg > 2) return op->result == CONC_INVALID;
    state->v[0] += op->arg;
    return op->result == CONC_OK;
}

static void take(void) {
    int i = linear_begin(&h, TAKE, 0);
    linear_end(&h, i, conc_semaphore_acquire(&s, CONC_NOW));
}

static void give(int n) {
    int i = linear_begin(&h, GIVE, n);
    linear_end(&h, i, conc_semaphore_release(&s, (uint32_t)n));
}

static int take_give(void *unused) {
    (void)unused;
    take();
    give(1);
    return 0;
}

static int take_take(void *unused) {
    (void)unused;
    take();
    take();
    return 0;
}

static int give_two(void *unused) {
    (void)unused;
    give(2);
    return 0;
}

/* A bounded semaphore has as many permits as were given and not taken, and refuses what would pass the bound. */
static int semaphore_counts(void *unused) {
    linear_state first = {{1}};
    (void)unused;
    semaphore_setup(1, 2);
    beside(take_give, take_take, give_two);
    CONC_SIM_ASSERT(linear_check(&h, &first, count_permits));
    return 0;
}

/* ---- event -------------------------------------------------------------------------------------- */

static conc_event e;

static void event_setup(bool auto_reset) {
    setup();
    memset(&e, 0, sizeof e);
    e.auto_reset = auto_reset;
}

static int set_event(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(data);
    data = 1;
    SIM_OK(conc_event_set(&e));
    return 0;
}

static int wait_event(void *unused) {
    (void)unused;
    SIM_OK(conc_event_wait(&e, CONC_FOREVER));
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 1);
    return 0;
}

static int wait_twice(void *unused) {
    (void)wait_event(unused);
    return wait_event(unused);
}

/* A manual event lets all go, and again, while it is set. */
static int event_manual(void *unused) {
    (void)unused;
    event_setup(false);
    beside(set_event, wait_event, wait_twice);
    CONC_SIM_ASSERT(conc_event_is_set(&e));
    SIM_OK(conc_event_destroy(&e));
    return 0;
}

static int wait_in_time_and_set(void *unused) {
    conc_result got = conc_event_wait(&e, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(got == CONC_OK || got == CONC_TIMEOUT);
    if (got == CONC_OK) SIM_OK(conc_event_set(&e));
    return 0;
}

/* A set of an automatic event lets exactly one go: not one that times out, and not two. */
static int event_auto(void *unused) {
    (void)unused;
    event_setup(true);
    beside(set_event, wait_in_time_and_set, wait_event);
    CONC_SIM_ASSERT(!conc_event_is_set(&e));
    SIM_OK(conc_event_destroy(&e));
    return 0;
}

static int hand_over(void *unused) {
    (void)unused;
    SIM_OK(conc_event_wait(&e, CONC_FOREVER));
    CONC_SIM_WRITE(data);
    data++;
    SIM_OK(conc_event_set(&e));
    return 0;
}

/* What was done before a set is seen by the one it lets go: an automatic event serves as a lock. */
static int event_auto_excludes(void *unused) {
    (void)unused;
    event_setup(true);
    SIM_OK(conc_event_set(&e));
    beside(hand_over, hand_over, NULL);
    CONC_SIM_ASSERT(data == 2 && conc_event_is_set(&e));
    return 0;
}

enum { SET, RESET, ASK, PASS };

static bool follow_event(linear_state *state, const linear_op *op) {
    int was = state->v[0];
    switch (op->kind) {
    case SET: state->v[0] = 1; return op->result == CONC_OK;
    case RESET: state->v[0] = 0; return op->result == CONC_OK;
    case ASK: return op->result == was;
    default:
        if (op->arg != 0) state->v[0] = 0; /* automatic */
        return op->result == (was != 0 ? CONC_OK : CONC_BUSY);
    }
}

static void event_op(int kind) {
    int i = linear_begin(&h, kind, e.auto_reset), result = 0;
    switch (kind) {
    case SET: result = conc_event_set(&e); break;
    case RESET: result = conc_event_reset(&e); break;
    case ASK: result = conc_event_is_set(&e); break;
    default: result = conc_event_wait(&e, CONC_NOW); break;
    }
    linear_end(&h, i, result);
}

static int set_and_pass(void *unused) {
    (void)unused;
    event_op(SET);
    event_op(PASS);
    return 0;
}

static int reset_and_ask(void *unused) {
    (void)unused;
    event_op(RESET);
    event_op(ASK);
    return 0;
}

static int pass_and_set(void *unused) {
    (void)unused;
    event_op(PASS);
    event_op(SET);
    return 0;
}

/* Sets, resets and looks, against each other. */
static int event_flag(void *unused) {
    linear_state first = {{0}};
    (void)unused;
    event_setup(conc_sim_choose(2) != 0);
    beside(set_and_pass, reset_and_ask, pass_and_set);
    CONC_SIM_ASSERT(linear_check(&h, &first, follow_event));
    return 0;
}

static int set_that(void *p) {
    SIM_OK(conc_event_set((conc_event *)p));
    return 0;
}

/* An event may be destroyed, and its memory freed, by the one whose wait has returned. */
static int event_end(void *unused) {
    sim_crew crew = {0};
    conc_event *own = (conc_event *)conc__alloc(1, sizeof *own, "a test");
    (void)unused;
    setup();
    CONC_SIM_ASSERT(own != NULL);
    own->auto_reset = conc_sim_choose(2) != 0;
    sim_start(&crew, set_that, own);
    SIM_OK(conc_event_wait(own, CONC_FOREVER));
    SIM_OK(conc_event_destroy(own));
    conc__free(own);
    sim_join(&crew);
    return 0;
}

/* ---- barrier ------------------------------------------------------------------------------------ */

static conc_barrier b;
static int parts[3];
static uint32_t ranks[3];

static void barrier_setup(uint32_t parties) {
    setup();
    memset(&b, 0, sizeof b);
    memset(parts, 0, sizeof parts);
    b.parties = parties;
}

static int barrier_finish(void) {
    SIM_OK(conc_barrier_destroy(&b));
    return 0;
}

/* Each part writes its own in the first phase, and reads the others' in the second. */
static int barrier_part(int mine, int parties, int rounds) {
    int k, i;
    for (k = 0; k < rounds; k++) {
        CONC_SIM_WRITE(parts[mine]);
        parts[mine]++;
        SIM_OK(conc_barrier_wait(&b, &ranks[mine], CONC_FOREVER));
        for (i = 0; i < parties; i++) {
            CONC_SIM_READ(parts[i]);
            CONC_SIM_ASSERT(parts[i] == k + 1);
        }
        if (k + 1 < rounds) SIM_OK(conc_barrier_wait(&b, NULL, CONC_FOREVER));
    }
    return 0;
}

static int two_first(void *unused) {
    (void)unused;
    return barrier_part(0, 2, 2);
}

static int two_second(void *unused) {
    (void)unused;
    return barrier_part(1, 2, 2);
}

/* Nobody leaves a round before all have come, round after round. */
static int barrier_rounds(void *unused) {
    (void)unused;
    barrier_setup(2);
    beside(two_first, two_second, NULL);
    CONC_SIM_ASSERT(ranks[0] < 2 && ranks[1] == 1 - ranks[0]);
    return barrier_finish();
}

static int three_first(void *unused) {
    (void)unused;
    return barrier_part(0, 3, 1);
}

static int three_second(void *unused) {
    (void)unused;
    return barrier_part(1, 3, 1);
}

static int three_third(void *unused) {
    (void)unused;
    return barrier_part(2, 3, 1);
}

/* Three parties. */
static int barrier_three(void *unused) {
    (void)unused;
    barrier_setup(3);
    beside(three_first, three_second, three_third);
    CONC_SIM_ASSERT((1u << ranks[0] | 1u << ranks[1] | 1u << ranks[2]) == 7u);
    return barrier_finish();
}

static conc_result results[3];

static int come(int i, conc_deadline deadline) {
    results[i] = conc_barrier_wait(&b, NULL, deadline);
    return 0;
}

static int come_first(void *unused) {
    (void)unused;
    return come(0, CONC_FOREVER);
}

static int come_in_time(void *unused) {
    (void)unused;
    return come(1, conc_after(0.001));
}

static int abort_it(void *unused) {
    (void)unused;
    SIM_OK(conc_barrier_abort(&b));
    return 0;
}

/* An abort is told to those who wait and those who come. */
static int barrier_abort(void *unused) {
    (void)unused;
    barrier_setup(2);
    beside(come_first, abort_it, NULL);
    CONC_SIM_ASSERT(results[0] == CONC_BROKEN);
    CONC_SIM_ASSERT(conc_barrier_wait(&b, NULL, CONC_FOREVER) == CONC_BROKEN);
    SIM_OK(conc_barrier_reset(&b));
    beside(two_first, two_second, NULL);
    return barrier_finish();
}

/* A party that times out breaks the barrier for the other, or neither is late. */
static int barrier_timeout(void *unused) {
    (void)unused;
    barrier_setup(2);
    beside(come_first, come_in_time, NULL);
    if (results[1] == CONC_OK) {
        CONC_SIM_ASSERT(results[0] == CONC_OK);
    } else {
        CONC_SIM_ASSERT(results[1] == CONC_TIMEOUT && results[0] == CONC_BROKEN);
    }
    return barrier_finish();
}

static int come_again(void *unused) {
    results[2] = conc_barrier_wait(&b, NULL, CONC_FOREVER);
    (void)unused;
    return 0;
}

static int reset_and_come(void *unused) {
    SIM_OK(conc_barrier_reset(&b));
    return come_first(unused);
}

static int come_until_ok(void *unused) {
    if (come_again(unused) == 0 && results[2] == CONC_BROKEN) (void)come_again(unused);
    return 0;
}

/* A reset sends those who wait away, with CONC_BROKEN, and the next round is a good one. */
static int barrier_reset(void *unused) {
    (void)unused;
    barrier_setup(2);
    beside(reset_and_come, come_until_ok, NULL);
    CONC_SIM_ASSERT(results[0] == CONC_OK && results[2] == CONC_OK);
    return barrier_finish();
}

/* ---- once --------------------------------------------------------------------------------------- */

static conc_once o;
static int runs;
static uint32_t failures; /* atomic: how often a caller was told that the run failed */

static void once_setup(void) {
    setup();
    memset(&o, 0, sizeof o);
    runs = 0;
    failures = 0;
}

static int fill(void *unused) {
    (void)unused;
    runs++;
    CONC_SIM_WRITE(data);
    data++;
    return 0;
}

static int fail_first(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(data);
    data++;
    return data == 1 ? 7 : 0;
}

static int do_once(void *unused) {
    (void)unused;
    SIM_OK(conc_once_do(&o, fill, NULL, CONC_FOREVER));
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 1);
    return 0;
}

/* It runs once, and all see what it did. */
static int once_runs(void *unused) {
    (void)unused;
    once_setup();
    beside(do_once, do_once, do_once);
    CONC_SIM_ASSERT(runs == 1);
    return 0;
}

static int do_retried(void *unused) {
    conc_result got = conc_once_do(&o, fail_first, NULL, CONC_FOREVER);
    (void)unused;
    if (got == CONC_FAILED) {
        (void)conc__add32(&failures, 1, CONC__RELAXED);
        return 0;
    }
    CONC_SIM_ASSERT(got == CONC_OK);
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 2);
    return 0;
}

/* A run that fails counts as none: its caller is told, another runs it again. */
static int once_retry(void *unused) {
    (void)unused;
    once_setup();
    beside(do_retried, do_retried, do_retried);
    CONC_SIM_ASSERT(conc__load32(&failures, CONC__RELAXED) == 1);
    CONC_SIM_ASSERT(data == 2);
    return 0;
}

static int do_in_time(void *unused) {
    conc_result got = conc_once_do(&o, fill, NULL, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(got == CONC_OK || got == CONC_TIMEOUT);
    if (got == CONC_OK) {
        CONC_SIM_READ(data);
        CONC_SIM_ASSERT(data == 1);
    }
    return 0;
}

/* One that waits for another's run and times out does no harm. */
static int once_timeout(void *unused) {
    (void)unused;
    once_setup();
    beside(do_once, do_in_time, do_once);
    return 0;
}

/* ---- latch -------------------------------------------------------------------------------------- */

static conc_latch l;
static int done_data[2];

static int count_down(int i) {
    CONC_SIM_WRITE(done_data[i]);
    done_data[i] = 1;
    SIM_OK(conc_latch_done(&l));
    return 0;
}

static int first_done(void *unused) {
    (void)unused;
    return count_down(0);
}

static int second_done(void *unused) {
    (void)unused;
    return count_down(1);
}

static int wait_for_both(void *unused) {
    (void)unused;
    SIM_OK(conc_latch_wait(&l, CONC_FOREVER));
    CONC_SIM_READ(done_data[0]);
    CONC_SIM_READ(done_data[1]);
    return 0;
}

static void latch_setup(uint32_t n) {
    setup();
    memset(&l, 0, sizeof l);
    SIM_OK(conc_latch_add(&l, n));
}

/* The wait ends when all are done, and sees what all did before. */
static int latch_waits(void *unused) {
    (void)unused;
    latch_setup(2);
    beside(wait_for_both, first_done, second_done);
    CONC_SIM_ASSERT(conc_latch_count(&l) == 0 && conc_latch_done(&l) == CONC_INVALID);
    SIM_OK(conc_latch_destroy(&l));
    return 0;
}

static int wait_in_time(void *unused) {
    conc_result got = conc_latch_wait(&l, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(got == CONC_OK || got == CONC_TIMEOUT);
    if (got == CONC_OK) CONC_SIM_READ(done_data[0]);
    return 0;
}

static int wait_for_first(void *unused) {
    (void)unused;
    SIM_OK(conc_latch_wait(&l, CONC_FOREVER));
    CONC_SIM_READ(done_data[0]);
    return 0;
}

/* Two wait; one of them may give up. Then the latch is used again. */
static int latch_timeout(void *unused) {
    (void)unused;
    latch_setup(1);
    beside(first_done, wait_in_time, wait_for_first);
    SIM_OK(conc_latch_add(&l, 1));
    CONC_SIM_ASSERT(conc_latch_wait(&l, CONC_NOW) == CONC_BUSY);
    SIM_OK(conc_latch_done(&l));
    SIM_OK(conc_latch_wait(&l, CONC_NOW));
    return 0;
}

static int done_with_that(void *p) {
    SIM_OK(conc_latch_done((conc_latch *)p));
    return 0;
}

/* A latch may be destroyed, and its memory freed, by the one whose wait has returned. */
static int latch_end(void *unused) {
    sim_crew crew = {0};
    conc_latch *own = (conc_latch *)conc__alloc(1, sizeof *own, "a test");
    (void)unused;
    setup();
    CONC_SIM_ASSERT(own != NULL);
    SIM_OK(conc_latch_add(own, 2));
    sim_start(&crew, done_with_that, own);
    sim_start(&crew, done_with_that, own);
    SIM_OK(conc_latch_wait(own, CONC_FOREVER));
    SIM_OK(conc_latch_destroy(own));
    conc__free(own);
    sim_join(&crew);
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(rmutex_nests, 3),
    SIM_TEST(semaphore_two, 3),
    SIM_TEST(semaphore_three, 3),
    SIM_TEST(semaphore_release_two, 3),
    SIM_TEST(semaphore_two_releases, 3),
    SIM_TEST(semaphore_timeout, 3),
    SIM_TEST(semaphore_timeout_of_two, 3),
    SIM_TEST(semaphore_cancel_of_two, 3),
    SIM_TEST(semaphore_counts, 3),
    SIM_TEST(event_manual, 3),
    SIM_TEST(event_auto, 3),
    SIM_TEST(event_auto_excludes, 3),
    SIM_TEST(event_flag, 3),
    SIM_TEST(event_end, 3),
    SIM_TEST(barrier_rounds, 3),
    SIM_TEST(barrier_three, 2),
    SIM_TEST(barrier_abort, 3),
    SIM_TEST(barrier_timeout, 3),
    SIM_TEST(barrier_reset, 3),
    SIM_TEST(once_runs, 2),
    SIM_TEST(once_retry, 2),
    SIM_TEST(once_timeout, 2),
    SIM_TEST(latch_waits, 3),
    SIM_TEST(latch_timeout, 2),
    SIM_TEST(latch_end, 3),
};
SIM_MAIN("sim_sync", tests)
