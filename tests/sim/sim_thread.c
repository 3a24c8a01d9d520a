/* Threads, thread-local values and timers: what is published by whom, who frees what, and that each failure is told
 * once. */

#undef CONC_TEST_SPLIT /* it sets back how many keys there are */
#include "sim.h"

static int data, code;
static uint32_t count, others; /* atomic */
static conc_thread *target;
static conc_result first_result, second_result;
static conc_event event;
static conc_cancel token;

static void reset(void) {
    data = code = 0;
    count = others = 0;
    target = NULL;
    first_result = second_result = CONC_PENDING;
    memset(&event, 0, sizeof event);
    memset(&token, 0, sizeof token);
}

static uint32_t counted(void) {
    return conc__load32(&count, CONC__RELAXED);
}

static int do_nothing(void *unused) {
    (void)unused;
    return 0;
}

static int write_7(void *unused) {
    (void)unused;
    CONC_SIM_WRITE(data);
    data = 7;
    return 0;
}

static int add_1(void *unused) {
    (void)unused;
    CONC_SIM_READ(data);
    CONC_SIM_WRITE(data);
    data++;
    return data;
}

static int fail_with_5(void *unused) {
    (void)unused;
    return 5;
}

static void count_report(const conc_error *e, void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(e->result == CONC_FAILED && e->code == 5);
    (void)conc__add32(&count, 1, CONC__RELAXED);
}

/* ---- starting and joining ------------------------------------------------------------------------------- */

/* What was done before the start is seen by the thread; what the thread did, by who joined it. */
static int start_and_join_publish(void *unused) {
    conc_thread *t;
    (void)unused;
    reset();
    CONC_SIM_WRITE(data);
    data = 6;
    t = conc_thread_start(add_1, NULL, NULL);
    CONC_SIM_ASSERT(t != NULL);
    SIM_OK(conc_thread_join(t, &code, CONC_FOREVER));
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 7 && code == 7);
    CONC_SIM_ASSERT(conc_thread_join(t, &code, CONC_NOW) == CONC_INVALID);
    return 0;
}

/* A join that times out leaves the handle; the next one gets the result. */
static int join_timeout(void *unused) {
    conc_thread *t;
    conc_result result;
    conc_deadline due;
    (void)unused;
    reset();
    t = conc_thread_start(fail_with_5, NULL, NULL);
    due = conc_after(0.001);
    result = conc_thread_join(t, &code, due);
    CONC_SIM_ASSERT(result == CONC_OK || (result == CONC_TIMEOUT && conc_deadline_passed(due) && code == 0));
    if (result == CONC_TIMEOUT) SIM_OK(conc_thread_join(t, &code, CONC_FOREVER));
    CONC_SIM_ASSERT(code == 5);
    return 0;
}

static int join_target(void *unused) {
    int result = 0;
    (void)unused;
    first_result = conc_thread_join(target, &result, CONC_FOREVER);
    CONC_SIM_ASSERT(first_result == CONC_OK ? result == 5 : first_result == CONC_INVALID && result == 0);
    return 0;
}

/* Of two who join the same thread exactly one does; the other is told so. */
static int two_joiners(void *unused) {
    sim_crew crew = {0};
    int result = 0;
    (void)unused;
    reset();
    target = conc_thread_start(fail_with_5, NULL, NULL);
    sim_start(&crew, join_target, NULL);
    second_result = conc_thread_join(target, &result, CONC_FOREVER);
    CONC_SIM_ASSERT(second_result == CONC_OK ? result == 5 : second_result == CONC_INVALID && result == 0);
    sim_join(&crew);
    CONC_SIM_ASSERT((first_result == CONC_OK) != (second_result == CONC_OK));
    return 0;
}

static int detach_target(void *unused) {
    (void)unused;
    first_result = conc_thread_detach(target);
    CONC_SIM_ASSERT(first_result == CONC_OK || first_result == CONC_INVALID);
    return 0;
}

/* Of one who joins and one who detaches exactly one does. */
static int join_or_detach(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    target = conc_thread_start(do_nothing, NULL, NULL);
    sim_start(&crew, detach_target, NULL);
    second_result = conc_thread_join(target, NULL, CONC_FOREVER);
    CONC_SIM_ASSERT(second_result == CONC_OK || second_result == CONC_INVALID);
    sim_join(&crew);
    CONC_SIM_ASSERT((first_result == CONC_OK) != (second_result == CONC_OK));
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    return 0;
}

/* A thread that is detached while it ends is freed once. */
static int detach_while_it_ends(void *unused) {
    conc_thread *t;
    (void)unused;
    reset();
    t = conc_thread_start(do_nothing, NULL, NULL);
    SIM_OK(conc_thread_detach(t));
    CONC_SIM_ASSERT(conc_thread_detach(t) == CONC_INVALID);
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    return 0;
}

/* The failure of a detached thread is told once, before or after it was detached. */
static int failure_is_told_once(void *unused) {
    (void)unused;
    reset();
    conc_set_error_hook(count_report, NULL);
    SIM_OK(conc_thread_detach(conc_thread_start(fail_with_5, NULL, NULL)));
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    conc_set_error_hook(NULL, NULL);
    CONC_SIM_ASSERT(counted() == 1);
    return 0;
}

/* And that of one who is joined, if the joiner does not look: but not if he does. */
static int failure_is_told_to_the_joiner(void *unused) {
    conc_thread *t, *u;
    (void)unused;
    reset();
    conc_set_error_hook(count_report, NULL);
    t = conc_thread_start(fail_with_5, NULL, NULL);
    u = conc_thread_start(fail_with_5, NULL, NULL);
    SIM_OK(conc_thread_join(t, &code, CONC_FOREVER));
    CONC_SIM_ASSERT(code == 5 && counted() == 0);
    SIM_OK(conc_thread_join(u, NULL, CONC_FOREVER));
    conc_set_error_hook(NULL, NULL);
    CONC_SIM_ASSERT(counted() == 1);
    return 0;
}

/* The end of a thread as an op: then it is not alive, and a join need not wait. */
static int end_as_an_op(void *unused) {
    conc_thread *t;
    conc_op ops[2];
    int i;
    (void)unused;
    reset();
    t = conc_thread_start(write_7, NULL, NULL);
    ops[0] = conc_op_thread_end(t);
    ops[1] = conc_op_sleep(0.001);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    if (i == 0) {
        CONC_SIM_ASSERT(!conc_thread_is_alive(t));
        CONC_SIM_READ(data);
        CONC_SIM_ASSERT(data == 7);
    }
    SIM_OK(conc_thread_join(t, &code, i == 0 ? CONC_NOW : CONC_FOREVER));
    return 0;
}

/* One who waits for the end of a thread that another detaches: either it was too late, or the end is told. */
static int end_as_an_op_or_detach(void *unused) {
    sim_crew crew = {0};
    conc_result result;
    (void)unused;
    reset();
    target = conc_thread_start(write_7, NULL, NULL);
    sim_start(&crew, detach_target, NULL);
    result = conc_wait(conc_op_thread_end(target), CONC_FOREVER);
    CONC_SIM_ASSERT(result == CONC_OK || result == CONC_INVALID);
    if (result == CONC_OK) {
        CONC_SIM_READ(data);
        CONC_SIM_ASSERT(data == 7);
    }
    sim_join(&crew);
    CONC_SIM_ASSERT(first_result == CONC_OK);
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    return 0;
}

/* ---- all of them ------------------------------------------------------------------------------------------ */

/* Joining all waits for the detached too, and sees what they did. */
static int join_all_waits(void *unused) {
    (void)unused;
    reset();
    SIM_OK(conc_thread_detach(conc_thread_start(write_7, NULL, NULL)));
    SIM_OK(conc_thread_detach(conc_thread_start(do_nothing, NULL, NULL)));
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 7);
    return 0;
}

static int join_all(void *unused) {
    conc_result result = conc_thread_join_all(CONC_FOREVER);
    (void)unused;
    CONC_SIM_ASSERT(result == CONC_OK);
    return 0;
}

/* A thread that joins all does not wait for itself, nor one that does the same for it. */
static int join_all_in_two(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    sim_start(&crew, join_all, NULL);
    SIM_OK(conc_thread_detach(conc_thread_start(do_nothing, NULL, NULL)));
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    sim_join(&crew);
    return 0;
}

/* One that is started by another, which ends before it. */
static int start_another(void *unused) {
    (void)unused;
    target = conc_thread_start(write_7, NULL, NULL);
    CONC_SIM_ASSERT(target != NULL);
    return 0;
}

/* The handle of a thread may be passed on; the count of the living comes back to where it was. */
static int started_by_another(void *unused) {
    sim_crew crew = {0};
    size_t before;
    (void)unused;
    reset();
    (void)conc_thread_current();
    before = conc_thread_count();
    sim_start(&crew, start_another, NULL);
    sim_join(&crew);
    SIM_OK(conc_thread_join(target, &code, CONC_FOREVER));
    CONC_SIM_ASSERT(data == 7);
    CONC_SIM_ASSERT(conc_thread_count() == before);
    return 0;
}

static int wait_for_event(void *unused) {
    (void)unused;
    return conc_event_wait(&event, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

/* A daemon that still waits at the end is no leak, and nobody waits for it. */
static int daemon_is_left(void *unused) {
    conc_thread_desc desc;
    conc_thread *t;
    (void)unused;
    reset();
    memset(&desc, 0, sizeof desc);
    desc.daemon = true;
    t = conc_thread_start(wait_for_event, NULL, &desc);
    CONC_SIM_ASSERT(t != NULL && conc_thread_is_daemon(t));
    SIM_OK(conc_thread_join_all(CONC_FOREVER));
    if (conc_sim_is_running()) {
        SIM_OK(conc_thread_detach(t));
    } else { /* the next round uses the event */
        SIM_OK(conc_event_set(&event));
        SIM_OK(conc_thread_join(t, &code, CONC_FOREVER));
    }
    return 0;
}

static int rename_itself(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(strcmp(conc_thread_name(NULL), "before") == 0);
    SIM_OK(conc_thread_set_name("after"));
    CONC_SIM_ASSERT(strcmp(conc_thread_name(NULL), "after") == 0);
    return 0;
}

static void visit(conc_thread *t, void *own) {
    const char *name = conc_thread_name(t);
    if (t == (conc_thread *)own) CONC_SIM_ASSERT(strcmp(name, "before") == 0 || strcmp(name, "after") == 0);
}

/* Whoever is listed has its name, the old one or the new. */
static int names(void *unused) {
    conc_thread_desc desc;
    conc_thread *t;
    (void)unused;
    reset();
    memset(&desc, 0, sizeof desc);
    desc.name = "before";
    t = conc_thread_start(rename_itself, NULL, &desc);
    conc_thread_each(visit, t);
    SIM_OK(conc_thread_join(t, &code, CONC_FOREVER));
    return 0;
}

static int wait_until_canceled(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(conc_event_wait(&event, CONC_FOREVER) == CONC_CANCELED);
    CONC_SIM_READ(data);
    CONC_SIM_ASSERT(data == 7);
    return 0;
}

/* A thread's token is its own from the start. */
static int token_from_the_start(void *unused) {
    conc_thread_desc desc;
    conc_thread *t;
    (void)unused;
    reset();
    memset(&desc, 0, sizeof desc);
    desc.cancel = &token;
    t = conc_thread_start(wait_until_canceled, NULL, &desc);
    (void)write_7(NULL);
    SIM_OK(conc_cancel_fire(&token));
    SIM_OK(conc_thread_join(t, &code, CONC_FOREVER));
    return 0;
}

/* ---- thread-local values --------------------------------------------------------------------------------- */

static int values[2]; /* how often the destructor is to set it again */
static void destroy_value(void *value);
static conc_local key = {destroy_value, 0};

static void destroy_value(void *value) {
    int *left = (int *)value;
    CONC_SIM_WRITE(*left);
    (void)conc__add32(&count, 1, CONC__RELAXED);
    if (--*left >= 0) SIM_OK(conc_local_set(&key, left));
}

static int keep_value(void *value) {
    CONC_SIM_ASSERT(conc_local_get(&key) == NULL);
    SIM_OK(conc_local_set(&key, value));
    CONC_SIM_ASSERT(conc_local_get(&key) == value);
    return 0;
}

/* Each thread has its own value, also if the first uses of the key meet; the destructor is called on it when the thread
 * ends, again if it sets one, four times at most. */
static int local_values(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset();
    values[0] = 1;
    values[1] = 9;
#if defined(CONC_SIM)
    if (conc_sim_is_running()) { /* a key is given out once in a process: here, in each schedule */
        key.conc__id = 0;
        conc__local_count = 0;
    }
#endif
    sim_start(&crew, keep_value, &values[0]);
    sim_start(&crew, keep_value, &values[1]);
    sim_join(&crew);
    CONC_SIM_ASSERT(conc_local_get(&key) == NULL);
    CONC_SIM_READ(values[0]);
    CONC_SIM_READ(values[1]);
    CONC_SIM_ASSERT(values[0] == -1 && values[1] == 9 - 4);
    CONC_SIM_ASSERT(counted() == 2 + 4);
    return 0;
}

/* ---- timers ------------------------------------------------------------------------------------------------ */

#define TIMERS 7
static conc_deadline dues[TIMERS];
static int order[TIMERS], ran;
static conc_timer *timers[TIMERS];

static void reset_timers(void) {
    reset();
    memset(order, 0, sizeof order);
    memset(timers, 0, sizeof timers);
    ran = 0;
}

/* Called by the timers' thread alone. `due` is one of dues. */
static int note_timer(void *due) {
    int i = (int)((conc_deadline *)due - dues);
    CONC_SIM_ASSERT(conc_deadline_passed(dues[i]));
    CONC_SIM_WRITE(ran);
    CONC_SIM_ASSERT(ran < TIMERS);
    order[ran++] = i;
    return 0;
}

static void start_timer(int i, conc_deadline due) {
    dues[i] = due;
    timers[i] = conc_timer_start(note_timer, &dues[i], due);
    CONC_SIM_ASSERT(timers[i] != NULL);
}

/* A timer calls its function once, not before its time, and then its op completes. */
static int timer_fires(void *unused) {
    (void)unused;
    reset_timers();
    start_timer(0, conc_after(0.001));
    SIM_OK(conc_wait(conc_op_timer(timers[0]), CONC_FOREVER));
    CONC_SIM_READ(ran);
    CONC_SIM_ASSERT(ran == 1);
    CONC_SIM_ASSERT(conc_timer_cancel(timers[0]) == CONC_CLOSED);
    conc_timer_release(timers[0]);
    return 0;
}

/* A timer either is canceled, and then does not run, or runs; whoever asks again hears the same. */
static int timer_cancel_or_fire(void *unused) {
    conc_result result;
    (void)unused;
    reset_timers();
    start_timer(0, conc_after(0.001));
    result = conc_timer_cancel(timers[0]);
    CONC_SIM_ASSERT(result == CONC_OK || result == CONC_CLOSED);
    CONC_SIM_ASSERT(conc_timer_cancel(timers[0]) == result);
    SIM_OK(conc_wait(conc_op_timer(timers[0]), CONC_FOREVER));
    CONC_SIM_ASSERT(ran == (result == CONC_OK ? 0 : 1));
    conc_timer_release(timers[0]);
    return 0;
}

static int cancel_timer_0(void *unused) {
    (void)unused;
    first_result = conc_timer_cancel(timers[0]);
    return 0;
}

/* Two cancel the same timer: both hear the same. */
static int timer_two_cancels(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset_timers();
    start_timer(0, conc_after(0.001));
    sim_start(&crew, cancel_timer_0, NULL);
    second_result = conc_timer_cancel(timers[0]);
    sim_join(&crew);
    CONC_SIM_ASSERT(first_result == second_result);
    SIM_OK(conc_wait(conc_op_timer(timers[0]), CONC_FOREVER));
    CONC_SIM_ASSERT(ran == (first_result == CONC_OK ? 0 : 1));
    conc_timer_release(timers[0]);
    return 0;
}

static int set_event(void *unused) {
    (void)unused;
    SIM_OK(conc_event_set(&event));
    return 0;
}

/* A timer whose handle is given back runs all the same, and is freed once. */
static int timer_released_before(void *unused) {
    (void)unused;
    reset();
    conc_timer_release(conc_timer_start(set_event, NULL, conc_after(0.001)));
    SIM_OK(conc_event_wait(&event, CONC_FOREVER));
    return 0;
}

static int start_timer_1(void *unused) {
    (void)unused;
    conc_timer_release(conc_timer_start(set_event, NULL, conc_after(0)));
    return 0;
}

/* A timer's function may start a timer. */
static int timer_starts_timer(void *unused) {
    conc_timer *t;
    (void)unused;
    reset();
    t = conc_timer_start(start_timer_1, NULL, conc_after(0.001));
    CONC_SIM_ASSERT(t != NULL);
    SIM_OK(conc_event_wait(&event, CONC_FOREVER));
    SIM_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    conc_timer_release(t);
    return 0;
}

/* One that is sooner than those before it does not wait for them. */
static int timer_sooner(void *unused) {
    (void)unused;
    reset_timers();
    start_timer(0, CONC_FOREVER);
    start_timer(1, conc_after(0.001));
    SIM_OK(conc_wait(conc_op_timer(timers[1]), CONC_FOREVER));
    CONC_SIM_ASSERT(ran == 1 && order[0] == 1);
    SIM_OK(conc_timer_cancel(timers[0]));
    SIM_OK(conc_wait(conc_op_timer(timers[0]), CONC_NOW));
    conc_timer_release(timers[0]);
    conc_timer_release(timers[1]);
    return 0;
}

/* Of two that are due at the same time the one started first is called first. */
static int timer_ties(void *unused) {
    conc_deadline due;
    (void)unused;
    reset_timers();
    due = conc_after(0.001);
    start_timer(0, due);
    start_timer(1, due);
    SIM_OK(conc_wait(conc_op_timer(timers[1]), CONC_FOREVER));
    CONC_SIM_ASSERT(ran == 2 && order[0] == 0 && order[1] == 1);
    conc_timer_release(timers[0]);
    conc_timer_release(timers[1]);
    return 0;
}

/* Timers that were all waiting are called in the order of their times; one that is canceled, whatever its place in the
 * heap, leaves the others in order. */
static int timer_order(void *unused) {
    static const int after[TIMERS] = {0, 3, 1, 4, 5, 6, 2}; /* in this order, a heap as it stands */
    conc_deadline base;
    conc_result result;
    bool all_waited;
    int i, last = -1;
    (void)unused;
    reset_timers();
    base = conc_after(0.002);
    for (i = 0; i < TIMERS; i++) start_timer(i, conc_deadline_at(base.ns + after[i] * 1000));
    all_waited = !conc_deadline_passed(base);
    result = conc_timer_cancel(timers[3]); /* the last of the heap, 2, is sooner than what is above this place, 3 */
    SIM_OK(conc_wait(conc_op_timer(timers[5]), CONC_FOREVER));
    for (i = 0; i < TIMERS; i++) SIM_OK(conc_wait(conc_op_timer(timers[i]), CONC_FOREVER));
    CONC_SIM_READ(ran);
    CONC_SIM_ASSERT(ran == (result == CONC_OK ? TIMERS - 1 : TIMERS));
    for (i = 0; i < ran && all_waited; i++) {
        CONC_SIM_ASSERT(after[order[i]] > last);
        last = after[order[i]];
    }
    for (i = 0; i < TIMERS; i++) conc_timer_release(timers[i]);
    return 0;
}

/* The failure of a timer's function is told. */
static int timer_failure_is_told(void *unused) {
    conc_timer *t;
    (void)unused;
    reset();
    conc_set_error_hook(count_report, NULL);
    t = conc_timer_start(fail_with_5, NULL, conc_after(0));
    SIM_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    conc_set_error_hook(NULL, NULL);
    CONC_SIM_ASSERT(counted() == 1);
    conc_timer_release(t);
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(start_and_join_publish, 4),
    SIM_TEST(join_timeout, 4),
    SIM_TEST(two_joiners, 3),
    SIM_TEST(join_or_detach, 3),
    SIM_TEST(detach_while_it_ends, 4),
    {"failure_is_told_once", failure_is_told_once, 4, 0, true},
    {"failure_is_told_to_the_joiner", failure_is_told_to_the_joiner, 3, 0, true},
    SIM_TEST(end_as_an_op, 4),
    SIM_TEST(end_as_an_op_or_detach, 3),
    SIM_TEST(join_all_waits, 3),
    SIM_TEST(join_all_in_two, 2),
    SIM_TEST(started_by_another, 3),
    SIM_TEST(daemon_is_left, 4),
    SIM_TEST(names, 4),
    SIM_TEST(token_from_the_start, 4),
    SIM_TEST(local_values, 3),
    SIM_TEST(timer_fires, 3),
    SIM_TEST(timer_cancel_or_fire, 4),
    SIM_TEST(timer_two_cancels, 2),
    SIM_TEST(timer_released_before, 3),
    SIM_TEST(timer_starts_timer, 3),
    SIM_TEST(timer_sooner, 3),
    SIM_TEST(timer_ties, 3),
    SIM_TEST(timer_order, 2),
    {"timer_failure_is_told", timer_failure_is_told, 3, 0, true},
};
SIM_MAIN("sim_thread", tests)
