/* Fork and join: the deques, the helpers and their sleep; groups, from inside and outside. */

#include "pool_kit.h"

/* Leaves behind that nobody runs twice, and what it was given and gives is seen. */
static int job_task(void *arg) {
    leaves(enters(arg));
    return 0;
}

static void fork_one(conc_job *job, int i) {
    conc_job_fork(job, job_task, fill(i));
}

static void join_one(conc_job *job, int i) {
    CONC_SIM_ASSERT(conc_job_join(job) == 0);
    check_ran(i);
}

static void call_in_pool(conc_fn fn, void *arg) {
    int code = -1;
    SIM_OK(conc_pool_call(pool, fn, arg, &code));
    CONC_SIM_ASSERT(code == 0);
}

/* ---- fork and join --------------------------------------------------------------------------------------------------- */

static conc_job a, b, c, d; /* not on the stack: a job that is run once too often is told, and does no harm */

static int forks_three(void *unused) {
    (void)unused;
    fork_one(&a, 0);
    fork_one(&b, 1);
    fork_one(&c, 2);
    join_one(&c, 2);
    join_one(&b, 1);
    join_one(&a, 0);
    return 0;
}

/* The caller and one thread of the pool: each job runs once, by whomever. */
static int fork_join(void *unused) {
    (void)unused;
    processors = 1 + conc_sim_choose(2);
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    call_in_pool(forks_three, NULL);
    close_pool();
    return 0;
}

static int forks_many(void *unused) {
    conc_job jobs[6];
    int i;
    (void)unused;
    for (i = 0; i < 6; i++) fork_one(&jobs[i], i); /* more than there is room for */
    for (i = 5; i >= 0; i--) join_one(&jobs[i], i);
    return 0;
}

static int fork_too_many(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    call_in_pool(forks_many, NULL);
    close_pool();
    return 0;
}

/* The deque becomes empty, as far as its owner sees, and is used from its beginning, while what was taken is not joined. */
static int forks_and_joins_in_between(void *unused) {
    (void)unused;
    fork_one(&a, 0);
    fork_one(&b, 1);
    join_one(&b, 1);
    fork_one(&c, 2);
    fork_one(&d, 3);
    join_one(&d, 3);
    join_one(&c, 2);
    join_one(&a, 0);
    return 0;
}

static int fork_in_between(void *unused) {
    (void)unused;
    begin_fixed(2, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 2);
    call_in_pool(forks_and_joins_in_between, NULL);
    close_pool();
    return 0;
}

/* In the wrong order. */
static int joins_oldest_first(void *unused) {
    (void)unused;
    fork_one(&a, 0);
    fork_one(&b, 1);
    join_one(&a, 0);
    fork_one(&c, 2);
    join_one(&b, 1);
    join_one(&c, 2);
    return 0;
}

static int fork_join_oldest_first(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    call_in_pool(joins_oldest_first, NULL);
    close_pool();
    return 0;
}

static int forks_below(void *arg) {
    conc_job job;
    int i = enters(arg);
    fork_one(&job, i + 1);
    leaves(i);
    join_one(&job, i + 1);
    return 0;
}

static int forks_trees(void *unused) {
    (void)unused;
    conc_job_fork(&a, forks_below, fill(0));
    conc_job_fork(&b, forks_below, fill(2));
    CONC_SIM_ASSERT(conc_job_join(&b) == 0);
    CONC_SIM_ASSERT(conc_job_join(&a) == 0);
    check_ran(0);
    check_ran(1);
    check_ran(2);
    check_ran(3);
    return 0;
}

/* Jobs that fork: a join that waits runs others, and their forks are in the same deque. */
static int fork_trees(void *unused) {
    (void)unused;
    processors = 1 + conc_sim_choose(2);
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    call_in_pool(forks_trees, NULL);
    close_pool();
    return 0;
}

static int calls_trees(void *unused) {
    (void)unused;
    call_in_pool(forks_trees, NULL);
    return 0;
}

static int forks_two(void *arg) {
    conc_job first, second;
    int i = (int)((int *)arg - data);
    fork_one(&first, i);
    fork_one(&second, i + 1);
    join_one(&second, i + 1);
    join_one(&first, i);
    return 0;
}

static int calls_two(void *arg) {
    call_in_pool(forks_two, arg);
    return 0;
}

/* Two callers from outside and a thread: they steal from each other. Closed and freed at once. */
static int call_from_two(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    processors = 1 + conc_sim_choose(2);
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    sim_start(&crew, calls_two, &data[4]);
    call_in_pool(forks_two, &data[0]);
    sim_join(&crew);
    close_pool();
    return 0;
}

/* Closed while somebody takes part: the end waits for him. */
static int call_and_close(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(1, 0);
    sim_start(&crew, calls_trees, NULL);
    while (has_run(0) == 0) SIM_OK(conc_sleep(conc_after(0.0001)));
    close_pool();
    check_ran(0);
    check_ran(2);
    sim_join(&crew);
    return 0;
}

static int opens(void *arg) {
    int i = enters(arg);
    leaves(i);
    SIM_OK(conc_event_set(&gate));
    return 0;
}

static int forks_and_waits(void *unused) {
    (void)unused;
    conc_job_fork(&a, opens, fill(0));
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER)); /* somebody comes for it */
    join_one(&a, 0);
    return 0;
}

/* An open job is found by a thread that is idle, or about to be: its forker does not come to it. */
static int fork_wakes(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    perhaps_late();
    call_in_pool(forks_and_waits, NULL);
    close_pool();
    return 0;
}

static int opens_both(void *arg) {
    (void)opens(arg);
    SIM_OK(conc_event_set(&gate2));
    return 0;
}

static int forks_to_helper(void *unused) {
    (void)unused;
    conc_job_fork(&a, opens_both, fill(2));
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    join_one(&a, 2);
    return 0;
}

static conc_future *fut;

static int waits_as_helper(void *arg) {
    int i = enters(arg);
    SIM_OK(conc_future_wait(fut, CONC_FOREVER));
    leaves(i);
    return 0;
}

/* The only other member waits in a task for what depends on the job. */
static int fork_wakes_helper(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    fut = conc_future_new();
    CONC_SIM_ASSERT(fut != NULL);
    hand_in(waits_as_helper, 0);
    perhaps_late();
    call_in_pool(forks_to_helper, NULL);
    SIM_OK(conc_future_complete(fut, 0));
    close_pool();
    check_ran(0);
    conc_future_release(fut);
    return 0;
}

/* ---- groups ---------------------------------------------------------------------------------------------------------- */

static conc_pool_group g;

/* From outside: through the queue. */
static int group_outside(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    SIM_OK(conc_pool_group_begin(&g, pool));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(0)));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(1)));
    SIM_OK(conc_pool_group_wait(&g, CONC_FOREVER));
    check_ran(0);
    check_ran(1);
    SIM_OK(conc_pool_group_run(&g, job_task, fill(2)));
    SIM_OK(conc_pool_group_end(&g));
    check_ran(2);
    close_pool();
    return 0;
}

static int runs_group(void *unused) {
    int i;
    (void)unused;
    SIM_OK(conc_pool_group_begin(&g, pool));
    for (i = 0; i < 4; i++) SIM_OK(conc_pool_group_run(&g, job_task, fill(i)));
    SIM_OK(conc_pool_group_end(&g));
    for (i = 0; i < 4; i++) check_ran(i);
    return 0;
}

/* From inside: in the deque. */
static int group_inside(void *unused) {
    (void)unused;
    processors = 1 + conc_sim_choose(2);
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    call_in_pool(runs_group, NULL);
    close_pool();
    return 0;
}

static int adds_two(void *unused) {
    (void)unused;
    SIM_OK(conc_pool_group_run(&g, job_task, fill(0)));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(1)));
    SIM_OK(conc_event_set(&gate));
    return 0;
}

static int group_by_job(void *unused) {
    (void)unused;
    SIM_OK(conc_pool_group_begin(&g, pool));
    conc_job_fork(&a, adds_two, NULL);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER)); /* another has taken it */
    SIM_OK(conc_pool_group_end(&g));
    CONC_SIM_ASSERT(conc_job_join(&a) == 0);
    check_ran(0);
    check_ran(1);
    return 0;
}

/* A job that another has taken leaves tasks of the group in that one's deque; its thread does not go to sleep over them. */
static int group_left_behind(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 1);
    call_in_pool(group_by_job, NULL);
    close_pool();
    return 0;
}

static int adds_and_waits(void *arg) {
    int i = enters(arg);
    SIM_OK(conc_pool_group_run(&g, job_task, fill(1)));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(2)));
    SIM_OK(conc_event_set(&gate));
    SIM_OK(conc_future_wait(fut, CONC_FOREVER));
    leaves(i);
    return 0;
}

/* Nor does one that waits for something else. */
static int group_and_wait(void *unused) {
    (void)unused;
    processors = 1 + conc_sim_choose(2);
    begin_fixed(1, 0);
    fut = conc_future_new();
    CONC_SIM_ASSERT(fut != NULL);
    SIM_OK(conc_pool_group_begin(&g, pool));
    hand_in(adds_and_waits, 0);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    SIM_OK(conc_pool_group_end(&g));
    check_ran(1);
    check_ran(2);
    SIM_OK(conc_future_complete(fut, 0));
    close_pool();
    check_ran(0);
    conc_future_release(fut);
    return 0;
}

static int fails(void *arg) {
    leaves(enters(arg));
    return 5;
}

static int waits_or_canceled(void *arg) {
    int i = enters(arg);
    conc_result r = conc_event_wait(&gate, CONC_FOREVER);
    leaves(i);
    return r;
}

/* The first failure cancels the others, whether they have begun or not. */
static int group_fails(void *unused) {
    conc_result r;
    (void)unused;
    begin_fixed(2, 0);
    SIM_OK(conc_pool_group_begin(&g, pool));
    SIM_OK(conc_pool_group_run(&g, waits_or_canceled, fill(0)));
    SIM_OK(conc_pool_group_run(&g, fails, fill(1)));
    r = conc_pool_group_run(&g, job_task, fill(2));
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    if (conc_sim_choose(2) != 0) { /* the wait runs them, one after the other: not if it would wait for itself */
        while (has_run(1) == 0) SIM_OK(conc_sleep(conc_after(0.0001)));
    }
    while (has_run(0) == 0 && has_run(1) == 0) SIM_OK(conc_sleep(conc_after(0.0001)));
    CONC_SIM_ASSERT(conc_pool_group_end(&g) == CONC_FAILED);
    close_pool();
    return 0;
}

/* Its pool is closed at once: what has not begun has ended all the same. */
static int group_close_now(void *unused) {
    conc_result r;
    uint32_t ran;
    (void)unused;
    begin_fixed(1, 0);
    SIM_OK(conc_pool_group_begin(&g, pool));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(0)));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(1)));
    SIM_OK(conc_pool_close_now(pool, NULL, NULL));
    r = conc_pool_group_end(&g);
    ran = has_run(0) + has_run(1);
    CONC_SIM_ASSERT(r == (ran == 2 ? CONC_OK : CONC_CANCELED) || r == CONC_CANCELED);
    end_pool();
    return 0;
}

static int adds_from_outside(void *unused) {
    (void)unused;
    SIM_OK(conc_pool_group_run(&g, job_task, fill(2)));
    SIM_OK(conc_pool_group_run(&g, job_task, fill(3)));
    return 0;
}

/* Two add, one waits; the group goes as its last task ends. */
static int group_from_two(void *unused) {
    sim_crew crew = {0};
    int i;
    (void)unused;
    begin_fixed(1, 0);
    SIM_OK(conc_pool_group_begin(&g, pool));
    sim_start(&crew, adds_from_outside, NULL);
    SIM_OK(conc_pool_group_run(&g, job_task, fill(0)));
    SIM_OK(conc_pool_group_wait(&g, CONC_FOREVER));
    check_ran(0);
    sim_join(&crew);
    SIM_OK(conc_pool_group_end(&g));
    for (i = 2; i < 4; i++) check_ran(i);
    close_pool();
    return 0;
}

static int waits_for_gate(void *arg) {
    int i = enters(arg);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    leaves(i);
    return 0;
}

static int waits_for_group(void *unused) {
    (void)unused;
    SIM_OK(conc_pool_group_wait(&g, CONC_FOREVER));
    check_ran(0);
    return 0;
}

/* One that finds no place, while another waits already: that wait runs it. */
static int group_kept(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    begin_pool(&desc, 0);
    SIM_OK(conc_pool_group_begin(&g, pool));
    SIM_OK(conc_pool_group_run(&g, waits_for_gate, fill(0)));
    while (has_run(0) == 0) SIM_OK(conc_sleep(conc_after(0.0001)));
    sim_start(&crew, waits_for_group, NULL);
    perhaps_late();
    SIM_OK(conc_pool_group_run(&g, job_task, fill(1)));
    SIM_OK(conc_event_set(&gate));
    sim_join(&crew);
    SIM_OK(conc_pool_group_end(&g));
    check_ran(1);
    close_pool();
    return 0;
}

static int waits_for_own_group(void *arg) {
    int i = enters(arg);
    CONC_SIM_ASSERT(conc_pool_group_wait(&g, CONC_FOREVER) == CONC_DEADLOCK);
    leaves(i);
    return 0;
}

/* A task that waits for its own group is told. */
static int group_circle(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    SIM_OK(conc_pool_group_begin(&g, pool));
    SIM_OK(conc_pool_group_run(&g, waits_for_own_group, fill(0)));
    SIM_OK(conc_pool_group_end(&g));
    check_ran(0);
    close_pool();
    return 0;
}

/* Two members open a task of a group each, which wait for each other, and wait for them as no pool knows of: two idle threads have to
 * come, though one is on its way already when the second is opened. */
static conc_event mates[2];

static int meets(void *arg) {
    int i = enters(arg);
    SIM_OK(conc_event_set(&mates[i]));
    SIM_OK(conc_event_wait(&mates[1 - i], CONC_FOREVER));
    leaves(i);
    (void)conc_latch_done(&left);
    return 0;
}

static int starts_a_mate(void *arg) {
    conc_pool_group own;
    SIM_OK(conc_pool_group_begin(&own, pool));
    SIM_OK(conc_pool_group_run(&own, meets, arg));
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    SIM_OK(conc_pool_group_end(&own));
    return 0;
}

static int starts_a_mate_there(void *arg) {
    call_in_pool(starts_a_mate, arg);
    return 0;
}

static int group_of_each(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(2, 2);
    memset(mates, 0, sizeof mates);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 2);
    if (conc_sim_choose(2) != 0) SIM_OK(conc_sleep(conc_after(0.001))); /* they sleep */
    sim_start(&crew, starts_a_mate_there, fill(0));
    starts_a_mate_there(fill(1));
    sim_join(&crew);
    check_ran(0);
    check_ran(1);
    close_pool();
    return 0;
}

/* A wait that is told that it is for itself may have been woken for jobs, and then somebody else has to come for them. */
static int waits_for_own_group_first(void *arg) {
    int i = enters(arg);
    CONC_SIM_ASSERT(conc_pool_group_wait(&g, CONC_FOREVER) == CONC_DEADLOCK);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    leaves(i);
    return 0;
}

static int opens_gate(void *arg) {
    leaves(enters(arg));
    SIM_OK(conc_event_set(&gate));
    return 0;
}

static int starts_opener(void *unused) {
    conc_pool_group own;
    (void)unused;
    SIM_OK(conc_pool_group_begin(&own, pool));
    SIM_OK(conc_pool_group_run(&own, opens_gate, fill(1)));
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    SIM_OK(conc_pool_group_end(&own));
    return 0;
}

static int group_circle_passes_on(void *unused) {
    (void)unused;
    begin_fixed(2, 0);
    CONC_SIM_ASSERT(conc_pool_prestart(pool, 0) == 2);
    SIM_OK(conc_pool_group_begin(&g, pool));
    SIM_OK(conc_pool_group_run(&g, waits_for_own_group_first, fill(0)));
    call_in_pool(starts_opener, NULL);
    SIM_OK(conc_pool_group_end(&g));
    check_ran(0);
    check_ran(1);
    close_pool();
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(fork_join, 2),
    SIM_TEST(fork_too_many, 2),
    SIM_TEST(fork_in_between, 1),
    SIM_TEST(fork_join_oldest_first, 2),
    SIM_TEST(fork_trees, 2),
    SIM_TEST(call_from_two, 1),
    SIM_TEST(call_and_close, 1),
    SIM_TEST(fork_wakes, 1),
    SIM_TEST(fork_wakes_helper, 1),
    SIM_TEST(group_outside, 2),
    SIM_TEST(group_inside, 2),
    SIM_TEST(group_left_behind, 2),
    SIM_TEST(group_and_wait, 2),
    SIM_TEST(group_fails, 1),
    SIM_TEST(group_close_now, 2),
    SIM_TEST(group_from_two, 1),
    SIM_TEST(group_circle, 2),
    SIM_TEST(group_kept, 1),
    SIM_TEST(group_of_each, 1),
    SIM_TEST(group_circle_passes_on, 1),
};

SIM_MAIN("sim_job", tests)
