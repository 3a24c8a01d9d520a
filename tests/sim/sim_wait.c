/* The wait: ops of one's own, select, deadlines, cancel tokens. No wake is lost, none is wasted on one who left, and
 * exactly one op of a select completes. */

#include "sim.h"

/* A pot of tokens: the smallest object of one's own that can be waited for. */
typedef struct pot {
    conc_waiters waiters;
    uint32_t tokens; /* atomic */
} pot;

static conc_result pot_attempt(conc_op *op) {
    pot *p = (pot *)op->object;
    uint32_t n = conc__load32(&p->tokens, CONC__RELAXED);
    while (n != 0) {
        if (conc__cas32(&p->tokens, &n, n - 1, CONC__ACQUIRE)) return CONC_OK;
    }
    return CONC_PENDING;
}

static bool pot_arm(conc_op *op, conc_node *node) {
    pot *p = (pot *)op->object;
    conc_waiters_arm(&p->waiters, node);
    if (conc__load32(&p->tokens, CONC__RELAXED) == 0) return true;
    conc_waiters_disarm(node);
    return false;
}

static conc_op take(pot *p) {
    static const conc_op_class cls = {"take", CONC_EMPTY, pot_attempt, pot_arm, NULL, NULL};
    return conc_op_make(&cls, p, NULL);
}

static void add(pot *p, uint32_t n) {
    (void)conc__add32(&p->tokens, n, CONC__RELEASE);
    (void)conc_waiters_wake(&p->waiters, n);
}

static uint32_t left_in(pot *p) {
    return conc__load32(&p->tokens, CONC__RELAXED);
}

static pot a, b, *needed; /* by the one who waits for nothing else */
static conc_cancel token, parent, root;
static int data;
static int won; /* by the thread that selects; read after its join */

static void reset(void) {
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    memset(&token, 0, sizeof token);
    memset(&parent, 0, sizeof parent);
    memset(&root, 0, sizeof root);
    data = 0;
    needed = NULL;
    won = -1;
}

static void write_data(void) {
    CONC_SIM_WRITE(data);
    data = 7;
}

static void read_data(void) {
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 7);
}

static int take_a(void *unused) {
    (void)unused;
    SIM_OK(conc_wait(take(&a), CONC_FOREVER));
    return 0;
}

/* What came of `fn` in another thread, written by it alone. */
static int take_a_timed(void *unused) {
    conc_deadline due = conc_after(0.001);
    (void)unused;
    won = (int)conc_wait(take(&a), due);
    CONC_SIM_ASSERT(won == CONC_OK || (won == CONC_TIMEOUT && conc_deadline_passed(due)));
    return 0;
}

static int take_a_canceled(void *unused) {
    (void)unused;
    CONC_WITH_CANCEL(&token) {
        won = (int)conc_wait(take(&a), CONC_FOREVER);
    }
    CONC_SIM_ASSERT(won == CONC_OK || won == CONC_CANCELED);
    return 0;
}

static int add_to_a(void *unused) {
    (void)unused;
    write_data();
    add(&a, 1);
    return 0;
}

static int add_to_both(void *unused) {
    (void)unused;
    add(&a, 1);
    add(&b, 1);
    return 0;
}

/* ---- an object's own op class --------------------------------------------------------------------- */

/* One who waits for an object of the user's is woken, and sees what was done before. */
static int own_class_wakes(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, add_to_a, NULL);
    SIM_OK(conc_wait(take(&a), CONC_FOREVER));
    read_data();
    CONC_SIM_ASSERT(left_in(&a) == 0);
    sim_join(&crew);
    return 0;
}

/* Two waiters and two wakes of one each: both go on. */
static int waiters_one_wake_each(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, take_a, NULL);
    sim_start(&crew, take_a, NULL);
    add(&a, 1);
    add(&a, 1);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == 0);
    return 0;
}

/* To wake all is to wake those there: each at most once, and for nothing if there is nothing. */
static int wake_all_sweeps(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, take_a, NULL);
    sim_start(&crew, take_a, NULL);
    CONC_SIM_ASSERT(conc_waiters_wake(&a.waiters, CONC_ALL) <= 2);
    (void)conc__add32(&a.tokens, 2, CONC__RELEASE);
    CONC_SIM_ASSERT(conc_waiters_wake(&a.waiters, CONC_ALL) <= 2);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == 0);
    return 0;
}

/* Three wait, one of them perhaps until its deadline only: those who stay are found. */
static int one_leaves_the_ring(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, take_a, NULL);
    sim_start(&crew, take_a_timed, NULL);
    sim_start(&crew, take_a, NULL);
    add(&a, 1);
    add(&a, 1);
    SIM_OK(conc_thread_join(crew.threads[1], NULL, CONC_FOREVER));
    if (won == CONC_OK) add(&a, 1);
    SIM_OK(conc_thread_join(crew.threads[0], NULL, CONC_FOREVER));
    SIM_OK(conc_thread_join(crew.threads[2], NULL, CONC_FOREVER));
    CONC_SIM_ASSERT(left_in(&a) == 0);
    return 0;
}

/* ---- select --------------------------------------------------------------------------------------------- */

/* Of two objects that both could, exactly one completes; the other is as if never waited for. */
static int select_has_one_winner(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    int i;
    (void)unused;
    reset();
    ops[0] = take(&a);
    ops[1] = take(&b);
    sim_start(&crew, add_to_both, NULL);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    CONC_SIM_ASSERT(ops[i].result == CONC_OK);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == (i == 0 ? 0u : 1u));
    CONC_SIM_ASSERT(left_in(&b) == (i == 1 ? 0u : 1u));
    return 0;
}

static int select_a_or_b(void *unused) {
    conc_op ops[2];
    (void)unused;
    ops[0] = take(&a);
    ops[1] = take(&b);
    won = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(won == 0 || won == 1);
    if ((won == 0 ? &a : &b) == needed) add(needed, 1); /* gives it back */
    return 0;
}

static int take_needed(void *unused) {
    (void)unused;
    SIM_OK(conc_wait(take(needed), CONC_FOREVER));
    return 0;
}

/* A wake that comes to a select which went the other way goes to the next waiter. */
static int select_passes_a_wake_on(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    needed = conc_sim_choose(2) == 0 ? &a : &b;
    sim_start(&crew, select_a_or_b, NULL);
    sim_start(&crew, take_needed, NULL);
    add(&a, 1);
    add(&b, 1);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(needed) == 0);
    CONC_SIM_ASSERT(left_in(needed == &a ? &b : &a) == ((won == 0 ? &a : &b) == needed ? 1u : 0u));
    return 0;
}

static int select_b_or_a(void *unused) {
    conc_op ops[2];
    int i;
    (void)unused;
    ops[0] = take(&b);
    ops[1] = take(&a);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    return 0;
}

/* Two selects over the same two objects, in opposite order: one token each is enough. */
static int two_selects_share(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    (void)unused;
    reset();
    sim_start(&crew, select_b_or_a, NULL);
    sim_start(&crew, add_to_both, NULL);
    ops[0] = take(&a);
    ops[1] = take(&b);
    CONC_SIM_ASSERT(conc_select(ops, 2, CONC_FOREVER) >= 0);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == 0 && left_in(&b) == 0);
    return 0;
}

/* The same object twice in a select takes one token, and one wake. */
static int select_twice_the_same(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    (void)unused;
    reset();
    sim_start(&crew, take_a, NULL);
    sim_start(&crew, add_to_a, NULL);
    ops[0] = take(&a);
    ops[1] = take(&a);
    CONC_SIM_ASSERT(conc_select(ops, 2, conc_after(0.001)) == CONC_TIMEOUT || (add(&a, 1), true));
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == 0);
    return 0;
}

/* Objects whose waiters are kept in the same bucket do not take each other's wakes. */
static int shared_bucket(void *unused) {
    static char others[1u << CONC__BUCKET_BITS];
    sim_crew crew = {0};
    size_t i;
    (void)unused;
    reset();
    /* In a simulation objects are numbered by first use, and the number is the bucket: after one round of them. */
    (void)conc__port_hash(&a.waiters, CONC__BUCKET_BITS);
    for (i = 1; i < sizeof others; i++) (void)conc__port_hash(&others[i], CONC__BUCKET_BITS);
    (void)conc__port_hash(&b.waiters, CONC__BUCKET_BITS);
    sim_start(&crew, take_a, NULL);
    sim_start(&crew, take_a, NULL);
    sim_start(&crew, add_to_both, NULL);
    SIM_OK(conc_wait(take(&b), CONC_FOREVER));
    add(&a, 1);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == 0 && left_in(&b) == 0);
    return 0;
}

/* ---- deadlines ------------------------------------------------------------------------------------------------ */

/* A wait either completes, or ends after its deadline and has taken nothing. */
static int timeout_or_completion(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    conc_deadline due;
    int i;
    (void)unused;
    reset();
    sim_start(&crew, add_to_a, NULL);
    due = conc_after(0.001);
    ops[0] = take(&a);
    ops[1] = take(&b);
    i = conc_select(ops, 2, due);
    CONC_SIM_ASSERT(i == 0 || i == CONC_TIMEOUT);
    if (i == 0) read_data();
    if (i == CONC_TIMEOUT) CONC_SIM_ASSERT(conc_deadline_passed(due));
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == (i == 0 ? 0u : 1u));
    return 0;
}

/* A wake that comes to one whose time is over either lets it through or goes to the next. */
static int timeout_passes_a_wake_on(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, take_a_timed, NULL);
    sim_start(&crew, take_a, NULL);
    add(&a, 1);
    SIM_OK(conc_thread_join(crew.threads[0], NULL, CONC_FOREVER));
    if (won == CONC_OK) add(&a, 1);
    SIM_OK(conc_thread_join(crew.threads[1], NULL, CONC_FOREVER));
    CONC_SIM_ASSERT(left_in(&a) == 0);
    return 0;
}

/* A point in time as one of the ops: never early, and if it wins nothing was taken. */
static int until_in_select(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    conc_deadline due;
    int i;
    (void)unused;
    reset();
    sim_start(&crew, add_to_a, NULL);
    due = conc_after(0.001);
    ops[0] = take(&a);
    ops[1] = conc_op_until(due);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || (i == 1 && conc_deadline_passed(due)));
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == (i == 0 ? 0u : 1u));
    return 0;
}

/* ---- cancel tokens ---------------------------------------------------------------------------------------------- */

static int add_and_fire(void *unused) {
    (void)unused;
    add(&a, 1);
    SIM_OK(conc_cancel_fire(&token));
    return 0;
}

/* A wait under a token either completes, or is canceled and has taken nothing. */
static int cancel_or_completion(void *unused) {
    sim_crew crew = {0};
    conc_result r = CONC_PENDING;
    (void)unused;
    reset();
    sim_start(&crew, add_and_fire, NULL);
    CONC_WITH_CANCEL(&token) {
        r = conc_wait(take(&a), CONC_FOREVER);
    }
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == (r == CONC_OK ? 0u : 1u));
    return 0;
}

/* A wake that comes to one who is canceled either lets it through or goes to the next. */
static int cancel_passes_a_wake_on(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, take_a_canceled, NULL);
    sim_start(&crew, take_a, NULL);
    if (conc_sim_choose(2) == 0) {
        SIM_OK(conc_cancel_fire(&token));
        add(&a, 1);
    } else {
        add(&a, 1);
        SIM_OK(conc_cancel_fire(&token));
    }
    SIM_OK(conc_thread_join(crew.threads[0], NULL, CONC_FOREVER));
    if (won == CONC_OK) add(&a, 1);
    SIM_OK(conc_thread_join(crew.threads[1], NULL, CONC_FOREVER));
    CONC_SIM_ASSERT(left_in(&a) == 0);
    return 0;
}

static int fire_root(void *unused) {
    (void)unused;
    write_data();
    SIM_OK(conc_cancel_fire(&root));
    return 0;
}

/* The last token of a chain ends a wait under the first, before, while and after it goes to sleep; what was done before
 * the firing is seen. What need not wait still completes. */
static int cancel_chain(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    token.parent = &parent;
    parent.parent = &root;
    sim_start(&crew, fire_root, NULL);
    CONC_WITH_CANCEL(&token) {
        CONC_SIM_ASSERT(conc_wait(take(&a), CONC_FOREVER) == CONC_CANCELED);
        read_data();
        CONC_SIM_ASSERT(conc_canceled() == CONC_CANCELED);
        CONC_SIM_ASSERT(conc_wait(take(&a), CONC_FOREVER) == CONC_CANCELED);
        add(&a, 1);
        SIM_OK(conc_wait(take(&a), CONC_FOREVER));
    }
    CONC_SIM_ASSERT(conc_canceled() == CONC_OK);
    sim_join(&crew);
    return 0;
}

static int fire_token(void *unused) {
    (void)unused;
    SIM_OK(conc_cancel_fire(&token));
    return 0;
}

/* Two waits under one token, and two who fire it and its parent: both end. */
static int cancel_all_waits(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    token.parent = &root;
    sim_start(&crew, take_a_canceled, NULL);
    sim_start(&crew, conc_sim_choose(2) == 0 ? fire_root : fire_token, NULL);
    CONC_WITH_CANCEL(&token) {
        CONC_SIM_ASSERT(conc_wait(take(&b), CONC_FOREVER) == CONC_CANCELED);
    }
    sim_join(&crew);
    CONC_SIM_ASSERT(won == CONC_CANCELED);
    return 0;
}

static int fire_and_add(void *unused) {
    (void)unused;
    write_data();
    SIM_OK(conc_cancel_fire(&token));
    add(&a, 1);
    return 0;
}

/* A token as one of the ops. */
static int token_in_select(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    int i;
    (void)unused;
    reset();
    sim_start(&crew, fire_and_add, NULL);
    ops[0] = take(&a);
    ops[1] = conc_op_canceled(&token);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    read_data();
    SIM_OK(conc_wait(conc_op_canceled(&token), CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(left_in(&a) == (i == 0 ? 0u : 1u));
    return 0;
}

/* A sleep ends at its time, or by its token. */
static int sleep_is_canceled(void *unused) {
    sim_crew crew = {0};
    conc_deadline due;
    (void)unused;
    reset();
    sim_start(&crew, fire_root, NULL);
    due = conc_after(0.001);
    CONC_WITH_CANCEL(&root) {
        conc_result r = conc_sleep(due);
        CONC_SIM_ASSERT(r == CONC_CANCELED || (r == CONC_OK && conc_deadline_passed(due)));
        CONC_SIM_ASSERT(conc_sleep(CONC_FOREVER) == CONC_CANCELED);
        read_data();
    }
    sim_join(&crew);
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(own_class_wakes, 5),
    SIM_TEST(waiters_one_wake_each, 3),
    SIM_TEST(wake_all_sweeps, 3),
    SIM_TEST(one_leaves_the_ring, 2),
    SIM_TEST(select_has_one_winner, 5),
    SIM_TEST(select_passes_a_wake_on, 3),
    SIM_TEST(two_selects_share, 3),
    SIM_TEST(select_twice_the_same, 3),
    SIM_TEST(shared_bucket, 2),
    SIM_TEST(timeout_or_completion, 5),
    SIM_TEST(timeout_passes_a_wake_on, 3),
    SIM_TEST(until_in_select, 5),
    SIM_TEST(cancel_or_completion, 5),
    SIM_TEST(cancel_passes_a_wake_on, 3),
    SIM_TEST(cancel_chain, 4),
    SIM_TEST(cancel_all_waits, 2),
    SIM_TEST(token_in_select, 5),
    SIM_TEST(sleep_is_canceled, 4),
};
SIM_MAIN("sim_wait", tests)
