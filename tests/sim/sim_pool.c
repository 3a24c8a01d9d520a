/* The thread pool: its rules, its threads, its end; and futures. */

#include "pool_kit.h"

/* ---- handing in, and threads that come and go --------------------------------------------------------------- */

static int hands_in_2(void *unused) {
    (void)unused;
    hand_in(task_left, 2);
    return 0;
}

static int hands_in_3(void *unused) {
    (void)unused;
    perhaps_late();
    hand_in(task_left, 3);
    return 0;
}

/* From two threads; each task runs, though nobody closes the pool; what each did is seen after the join. */
static int run_all(void *unused) {
    sim_crew crew = {0};
    int i;
    (void)unused;
    begin_fixed(2, 4);
    sim_start(&crew, hands_in_2, NULL);
    sim_start(&crew, hands_in_3, NULL);
    hand_in(task_left, 0);
    hand_in(task_left, 1);
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    sim_join(&crew);
    close_pool();
    for (i = 0; i < 4; i++) check_ran(i);
    return 0;
}

/* One thread, which falls asleep at any moment. */
static int run_one_by_one(void *unused) {
    int i;
    (void)unused;
    begin_fixed(1, 3);
    for (i = 0; i < 3; i++) {
        perhaps_late();
        hand_in(task_left, i);
    }
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    close_pool();
    return 0;
}

/* Closed while tasks are in the queue, and while the thread is at any point: they run. */
static int run_and_close(void *unused) {
    int i;
    (void)unused;
    begin_fixed(2, 0);
    hand_in(task, 0);
    perhaps_late();
    hand_in(task, 1);
    hand_in(task, 2);
    close_pool();
    for (i = 0; i < 3; i++) check_ran(i);
    return 0;
}

static int hands_in_if_open(void *unused) {
    int i;
    (void)unused;
    for (i = 2; i < 4; i++) {
        conc_result r = conc_pool_run(pool, task, fill(i));
        CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CLOSED);
        if (r == CONC_OK) (void)conc__add32(&begun_count, 1, CONC__RELAXED);
    }
    return 0;
}

/* Against the close: what was accepted runs, nothing else. The pool may be freed as soon as the join returns. */
static int run_or_closed(void *unused) {
    sim_crew crew = {0};
    uint32_t ran;
    (void)unused;
    begin_fixed(1, 0);
    sim_start(&crew, hands_in_if_open, NULL);
    hand_in(task, 0);
    perhaps_late();
    SIM_OK(conc_pool_close(pool));
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    sim_join(&crew);
    ran = has_run(2) + has_run(3);
    CONC_SIM_ASSERT(ran == conc__load32(&begun_count, CONC__RELAXED));
    end_pool();
    return 0;
}

static uint32_t next_in_order; /* atomic */

static int task_in_order(void *arg) {
    int i = enters(arg);
    CONC_SIM_ASSERT(conc__add32(&next_in_order, 1, CONC__RELAXED) == (uint32_t)i);
    return 0;
}

/* Past the ring, and back. */
static int order(void *unused) {
    int i;
    (void)unused;
    begin_fixed(1, 0);
    next_in_order = 0;
    for (i = 0; i < 6; i++) {
        hand_in(task_in_order, i);
        if (i == 4) perhaps_late();
    }
    close_pool();
    CONC_SIM_ASSERT(next_in_order == 6);
    return 0;
}

static int opens_gate(void *arg) {
    (void)task(arg);
    SIM_OK(conc_event_set(&gate));
    return 0;
}

static int waits_for_gate(void *arg) {
    int i = enters(arg);
    in_thread();
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    leaves(i);
    out_of_thread();
    return 0;
}

static int nothing(void *unused) {
    (void)unused;
    return 0;
}

/* While one of two threads is stuck, the other finds what has been moved from the spill into the ring. */
static int spill_is_found(void *unused) {
    int i;
    (void)unused;
    begin_fixed(2, 0);
    for (i = 0; i < 4; i++) SIM_OK(conc_pool_run(pool, nothing, NULL));
    hand_in(waits_for_gate, 4);
    hand_in(opens_gate, 5);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    close_pool();
    check_ran(4);
    check_ran(5);
    return 0;
}

/* The same when the pool is closed: a thread does not go as long as there is something. */
static int spill_and_close(void *unused) {
    int i;
    (void)unused;
    begin_fixed(2, 0);
    for (i = 0; i < 3; i++) hand_in(task, i);
    hand_in(waits_for_gate, 3);
    hand_in(opens_gate, 4);
    close_pool();
    for (i = 0; i < 5; i++) check_ran(i);
    return 0;
}

/* A queue of one, and a second thread when it is full; then the policy. */
static int grows(void *unused) {
    conc_pool_desc desc = threads(1, 2);
    conc_result r;
    (void)unused;
    desc.queue_capacity = 1;
    desc.keep_alive = 0.0001;
    begin_pool(&desc, 0);
    hand_in(waits_for_gate, 0);
    hand_in(waits_for_gate, 1);
    hand_in(waits_for_gate, 2);
    r = conc_pool_run(pool, task, fill(3));
    CONC_SIM_ASSERT(r == CONC_REJECTED || r == CONC_OK); /* the new thread has perhaps come, and taken */
    SIM_OK(conc_event_set(&gate));
    perhaps_late();
    (void)conc_pool_run(pool, task, fill(4));
    close_pool();
    CONC_SIM_ASSERT(has_run(3) == (r == CONC_OK ? 1u : 0u));
    return 0;
}

static int two_hand_in(void *arg) {
    int i = arg != NULL ? 0 : 2;
    (void)conc_pool_run(pool, task, fill(i));
    (void)conc_pool_run(pool, task, fill(i + 1));
    return 0;
}

/* Two callers at once: never more than the maximum, though each wants a thread. */
static int grows_at_once(void *unused) {
    conc_pool_desc desc = threads(1, 2);
    sim_crew crew = {0};
    (void)unused;
    desc.grow_first = true;
    desc.queue_capacity = 2;
    begin_pool(&desc, 0);
    sim_start(&crew, two_hand_in, &desc);
    sim_start(&crew, two_hand_in, NULL);
    sim_join(&crew);
    close_pool();
    return 0;
}

/* Threads that go for lack of work, as work comes. */
static int keep_alive(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    int i;
    (void)unused;
    desc.core_time_out = true;
    desc.keep_alive = 0.0003;
    begin_pool(&desc, 3);
    for (i = 0; i < 3; i++) {
        hand_in(task_left, i);
        perhaps_late();
    }
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    close_pool();
    return 0;
}

/* The same with two threads and a caller more. */
static int keep_alive_two(void *unused) {
    conc_pool_desc desc = threads(2, 2);
    sim_crew crew = {0};
    (void)unused;
    desc.core_time_out = true;
    desc.keep_alive = 0.0003;
    begin_pool(&desc, 4);
    sim_start(&crew, hands_in_2, NULL);
    sim_start(&crew, hands_in_3, NULL);
    hand_in(task_left, 0);
    hand_in(task_left, 1);
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    sim_join(&crew);
    close_pool();
    return 0;
}

/* ---- room ---------------------------------------------------------------------------------------------- */

/* No queue, one thread, which may go: each caller waits until it is idle, or can be started. */
static int room_no_queue(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.core_time_out = true;
    desc.keep_alive = 0.0001;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    desc.on_reject = CONC_REJECT_BLOCK;
    begin_pool(&desc, 3);
    sim_start(&crew, hands_in_2, NULL);
    hand_in(task_left, 0);
    hand_in(task_left, 1);
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    sim_join(&crew);
    close_pool();
    return 0;
}

/* A queue of one. */
static int room_queue(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.queue_capacity = 1;
    desc.on_reject = CONC_REJECT_BLOCK;
    begin_pool(&desc, 4);
    sim_start(&crew, hands_in_2, NULL);
    sim_start(&crew, hands_in_3, NULL);
    hand_in(task_left, 0);
    hand_in(task_left, 1);
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    sim_join(&crew);
    close_pool();
    return 0;
}

/* The thread takes from the queue, and is busy then until the caller who has waited for that room goes on. */
static int room_when_taken(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    (void)unused;
    desc.queue_capacity = 1;
    desc.on_reject = CONC_REJECT_BLOCK;
    begin_pool(&desc, 1);
    hand_in(task, 0);
    hand_in(waits_for_gate, 1);
    hand_in(task_left, 2);
    SIM_OK(conc_event_set(&gate));
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    close_pool();
    return 0;
}

static int hands_in_or_closed(void *unused) {
    conc_result r = conc_pool_run(pool, waits_for_gate, fill(2));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CLOSED);
    if (r == CONC_OK) (void)conc__add32(&begun_count, 1, CONC__RELAXED);
    return 0;
}

/* Who waits for room is told of the close; of room, if there was some before. */
static int room_and_close(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.queue_capacity = 1;
    desc.on_reject = CONC_REJECT_BLOCK;
    begin_pool(&desc, 0);
    hand_in(waits_for_gate, 0);
    hand_in(waits_for_gate, 1);
    sim_start(&crew, hands_in_or_closed, NULL);
    perhaps_late();
    if (conc_sim_choose(2) != 0) SIM_OK(conc_event_set(&gate));
    SIM_OK(conc_pool_close(pool));
    sim_join(&crew);
    SIM_OK(conc_event_set(&gate));
    end_pool();
    CONC_SIM_ASSERT(has_run(2) == begun_count);
    return 0;
}

/* A larger maximum is room, too. */
static int room_and_resize(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    desc.on_reject = CONC_REJECT_BLOCK;
    begin_pool(&desc, 1);
    most = 2;
    hand_in(waits_for_gate, 0);
    sim_start(&crew, hands_in_2, NULL);
    perhaps_late();
    SIM_OK(conc_pool_resize(pool, 0, 2));
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_event_set(&gate));
    close_pool();
    return 0;
}

/* Fewer threads: those that are too many go, and nothing is left lying. */
static int resize_down(void *unused) {
    (void)unused;
    begin_fixed(2, 3);
    hand_in(task_left, 0);
    hand_in(task_left, 1);
    perhaps_late();
    SIM_OK(conc_pool_resize(pool, 1, 1));
    hand_in(task_left, 2);
    SIM_OK(conc_latch_wait(&left, CONC_FOREVER));
    close_pool();
    return 0;
}

/* ---- policies ------------------------------------------------------------------------------------------- */

/* The caller does it; the pool's end waits for him. */
static int caller_runs(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    conc_future *f;
    (void)unused;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    desc.on_reject = CONC_REJECT_CALLER_RUNS;
    begin_pool(&desc, 0);
    hand_in(task_anywhere, 0);
    hand_in(task_anywhere, 1);
    f = submit(task_anywhere, 2);
    SIM_OK(conc_future_wait(f, CONC_FOREVER));
    check_ran(2);
    conc_future_release(f);
    close_pool();
    check_ran(0);
    check_ran(1);
    return 0;
}

static int hands_in_anywhere(void *unused) {
    conc_result r = conc_pool_run(pool, task_anywhere, fill(2));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CLOSED);
    if (r == CONC_OK) check_ran(2);
    return 0;
}

static int caller_runs_and_close(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    desc.on_reject = CONC_REJECT_CALLER_RUNS;
    begin_pool(&desc, 0);
    hand_in(waits_for_gate, 0);
    sim_start(&crew, hands_in_anywhere, NULL);
    SIM_OK(conc_pool_close(pool));
    SIM_OK(conc_event_set(&gate));
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    CONC_SIM_ASSERT(has_run(2) == 0 || results[2] != 0);
    sim_join(&crew);
    end_pool();
    return 0;
}

static void drops(conc_fn fn, void *arg, void *user) {
    CONC_SIM_ASSERT(fn != NULL && user == NULL);
    CONC_SIM_ASSERT(has_run((int)((int *)arg - data)) == 0);
    (void)conc__add32(&dropped_count, 1, CONC__RELAXED);
}

/* The oldest makes room; its future has ended. */
static int discard_oldest(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    conc_future *f[3];
    uint32_t ran = 0;
    int i;
    (void)unused;
    desc.queue_capacity = 1;
    desc.on_reject = CONC_REJECT_DISCARD_OLDEST;
    desc.dropped = drops;
    begin_pool(&desc, 0);
    for (i = 0; i < 3; i++) f[i] = submit(task, i);
    SIM_OK(conc_future_wait(f[2], CONC_FOREVER));
    check_ran(2);
    close_pool();
    for (i = 0; i < 3; i++) {
        conc_result r = conc_future_wait(f[i], CONC_NOW);
        CONC_SIM_ASSERT(r == (has_run(i) != 0 ? CONC_OK : CONC_CANCELED));
        ran += has_run(i);
        conc_future_release(f[i]);
    }
    CONC_SIM_ASSERT(ran + dropped_count == 3);
    return 0;
}

/* ---- the end ---------------------------------------------------------------------------------------------- */

static uint32_t returned_count;

static void returns(conc_fn fn, void *arg, void *user) {
    CONC_SIM_ASSERT(fn != NULL && user == &returned_count);
    CONC_SIM_ASSERT(has_run((int)((int *)arg - data)) == 0);
    returned_count++;
}

/* Each has run or is returned, though the thread takes at the same time, and more than the ring holds were there. */
static int close_now(void *unused) {
    uint32_t ran = 0;
    int i;
    conc_future *f;
    (void)unused;
    begin_fixed(1, 0);
    returned_count = 0;
    for (i = 0; i < 4; i++) hand_in(task, i);
    f = submit(task, 4);
    SIM_OK(conc_pool_close_now(pool, returns, &returned_count));
    CONC_SIM_ASSERT(has_run(4) != 0 || conc_future_wait(f, CONC_FOREVER) == CONC_CANCELED || has_run(4) != 0);
    conc_future_release(f);
    end_pool();
    for (i = 0; i < 5; i++) ran += has_run(i);
    CONC_SIM_ASSERT(ran + returned_count == 5);
    return 0;
}

static int waits_for_cancel(void *arg) {
    int i = enters(arg);
    conc_result r = conc_event_wait(&gate, CONC_FOREVER);
    leaves(i);
    return r == CONC_CANCELED ? 0 : 1;
}

/* What runs is told. */
static int close_now_cancels(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    returned_count = 0;
    hand_in(waits_for_cancel, 0);
    hand_in(waits_for_cancel, 1);
    SIM_OK(conc_pool_close_now(pool, returns, &returned_count));
    end_pool();
    CONC_SIM_ASSERT(has_run(0) + has_run(1) + returned_count == 2);
    return 0;
}

static int closes(void *unused) {
    conc_result r = conc_pool_close(pool);
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CLOSED);
    return 0;
}

/* Two close it, and two wait for its end. */
static int closes_twice(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(1, 0);
    hand_in(task, 0);
    sim_start(&crew, closes, NULL);
    (void)conc_pool_close(pool);
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    check_ran(0);
    sim_join(&crew);
    end_pool();
    return 0;
}

/* Freed at once, while its threads are in their last steps. */
static int frees_at_once(void *unused) {
    (void)unused;
    begin_fixed(2, 0);
    hand_in(task, 0);
    hand_in(task, 1);
    SIM_OK(conc_pool_close(pool));
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    SIM_OK(conc_pool_free(pool));
    check_ran(0);
    check_ran(1);
    return 0;
}

/* ---- futures ------------------------------------------------------------------------------------------------- */

static conc_future *fut[3];

static int returns_three(void *arg) {
    (void)task_anywhere(arg);
    return 3;
}

static int waits_for_fut(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(conc_future_wait(fut[0], CONC_FOREVER) == CONC_FAILED);
    CONC_SIM_ASSERT(conc_future_code(fut[0]) == 3);
    check_ran(0);
    return 0;
}

/* Two wait; both see what it did. */
static int future_result(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = submit(returns_three, 0);
    sim_start(&crew, waits_for_fut, NULL);
    (void)waits_for_fut(NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(strstr(conc_future_detail(fut[0]), "returned 3") != NULL);
    conc_future_release(fut[0]);
    close_pool();
    return 0;
}

/* A look, no wait: who sees that it is done sees what it did. */
static int future_looks(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = submit(task, 0);
    if (!conc_future_is_done(fut[0])) perhaps_late();
    if (conc_future_is_done(fut[0])) check_ran(0);
    if (conc_future_result(fut[0]) == CONC_OK) check_ran(0);
    conc_future_release(fut[0]);
    close_pool();
    return 0;
}

static int cancels_fut(void *unused) {
    conc_result r = conc_future_cancel(fut[0]);
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_BUSY || r == CONC_CLOSED);
    if (r == CONC_OK) {
        (void)conc__add32(&begun_count, 1, CONC__RELAXED);
        CONC_SIM_ASSERT(conc_future_is_done(fut[0]));
    }
    return 0;
}

/* Canceled or run, by one of three; counted once; the pool may go at once. */
static int future_cancel(void *unused) {
    sim_crew crew = {0};
    conc_result r;
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = submit(task, 0);
    sim_start(&crew, cancels_fut, NULL);
    sim_start(&crew, cancels_fut, NULL);
    close_pool();
    sim_join(&crew);
    r = conc_future_wait(fut[0], CONC_FOREVER);
    CONC_SIM_ASSERT(r == (has_run(0) != 0 ? CONC_OK : CONC_CANCELED));
    CONC_SIM_ASSERT(has_run(0) + begun_count == 1);
    conc_future_release(fut[0]);
    return 0;
}

static int waits_for_1(void *arg) {
    int i = enters(arg);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    SIM_OK(conc_future_wait(fut[1], CONC_FOREVER));
    check_ran(1);
    leaves(i);
    return 0;
}

/* In a pool of one thread: it is run right there. */
static int future_help(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    hand_in(waits_for_1, 0);
    fut[1] = submit(task_anywhere, 1);
    SIM_OK(conc_event_set(&gate));
    close_pool();
    check_ran(0);
    conc_future_release(fut[1]);
    return 0;
}

static int waits_and_helps(void *unused) {
    conc_result r = conc_future_wait(fut[0], CONC_FOREVER);
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    CONC_SIM_ASSERT((has_run(0) != 0) == (r == CONC_OK));
    if (r == CONC_OK) check_ran(0);
    return 0;
}

static int slow(void *arg) {
    int i = enters(arg);
    conc_thread_yield();
    CONC_SIM_ASSERT(pool != NULL);
    leaves(i);
    return 0;
}

/* An outside waiter runs it: the pool's end waits for him, wherever the others are. */
static int future_help_outside(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.waiters_help = true;
    begin_pool(&desc, 0);
    fut[0] = submit(slow, 0);
    sim_start(&crew, waits_and_helps, NULL);
    sim_start(&crew, cancels_fut, NULL);
    close_pool();
    sim_join(&crew);
    conc_future_release(fut[0]);
    return 0;
}

/* The same, and the queue is emptied meanwhile by who closes at once. */
static int future_help_close_now(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.waiters_help = true;
    begin_pool(&desc, 0);
    returned_count = 0;
    hand_in(waits_for_cancel, 1);
    fut[0] = submit(slow, 0);
    sim_start(&crew, waits_and_helps, NULL);
    SIM_OK(conc_pool_close_now(pool, returns, &returned_count));
    end_pool();
    sim_join(&crew);
    CONC_SIM_ASSERT(has_run(0) + has_run(1) + returned_count == 2);
    conc_future_release(fut[0]);
    return 0;
}

/* Likewise when the oldest is discarded. */
static int future_help_discard(void *unused) {
    conc_pool_desc desc = threads(1, 1);
    sim_crew crew = {0};
    (void)unused;
    desc.waiters_help = true;
    desc.queue_capacity = 1;
    desc.on_reject = CONC_REJECT_DISCARD_OLDEST;
    begin_pool(&desc, 0);
    hand_in(task_anywhere, 1);
    fut[0] = submit(slow, 0);
    sim_start(&crew, waits_and_helps, NULL);
    hand_in(task_anywhere, 2);
    close_pool();
    sim_join(&crew);
    conc_future_release(fut[0]);
    return 0;
}

static uint32_t deadlocks; /* atomic */

static int waits_for_the_other(void *arg) {
    int i = enters(arg);
    conc_result r;
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    r = conc_future_wait(fut[1 - i], CONC_FOREVER);
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_DEADLOCK);
    if (r == CONC_DEADLOCK) (void)conc__add32(&deadlocks, 1, CONC__RELAXED);
    return 0;
}

/* Two tasks that wait for each other: one is told, at least. */
static int future_circle(void *unused) {
    (void)unused;
    begin_fixed(2, 0);
    deadlocks = 0;
    fut[0] = submit(waits_for_the_other, 0);
    fut[1] = submit(waits_for_the_other, 1);
    SIM_OK(conc_event_set(&gate));
    SIM_OK(conc_future_wait(fut[0], CONC_FOREVER));
    SIM_OK(conc_future_wait(fut[1], CONC_FOREVER));
    CONC_SIM_ASSERT(deadlocks == 1);
    conc_future_release(fut[0]);
    conc_future_release(fut[1]);
    close_pool();
    return 0;
}

static int waits_for_next(void *arg) {
    int i = enters(arg);
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    if (i < 2) SIM_OK(conc_future_wait(fut[i + 1], CONC_FOREVER));
    return 0;
}

/* A chain is no circle. */
static int future_chain(void *unused) {
    int i;
    (void)unused;
    begin_fixed(2, 0);
    for (i = 0; i < 3; i++) fut[i] = submit(waits_for_next, i);
    SIM_OK(conc_event_set(&gate));
    SIM_OK(conc_wait_all(fut, 3, CONC_FOREVER));
    for (i = 0; i < 3; i++) conc_future_release(fut[i]);
    close_pool();
    return 0;
}

static uint32_t notes; /* atomic */

static void noted(conc_future *f, void *arg) {
    CONC_SIM_ASSERT(f == fut[0] && conc_future_is_done(f));
    check_ran(0);
    CONC_SIM_ASSERT(conc__add32(&notes, 1, CONC__RELAXED) == (uint32_t)(uintptr_t)arg);
}

static void noted_by_another(conc_future *f, void *arg) {
    CONC_SIM_ASSERT(f == fut[0] && conc_future_is_done(f) && arg == NULL);
    (void)conc_event_set(&gate);
}

static int gives_note(void *unused) {
    (void)unused;
    SIM_OK(conc_future_then(fut[0], noted_by_another, NULL));
    return 0;
}

/* Callbacks against the end: each is called once, in order, the last before the last reference goes. */
static int future_then(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(1, 0);
    notes = 0;
    fut[0] = submit(task, 0);
    sim_start(&crew, gives_note, NULL);
    SIM_OK(conc_future_then(fut[0], noted, (void *)0));
    SIM_OK(conc_future_then(fut[0], noted, (void *)1));
    SIM_OK(conc_event_wait(&gate, CONC_FOREVER));
    sim_join(&crew);
    close_pool();
    CONC_SIM_ASSERT(notes == 2);
    conc_future_release(fut[0]);
    return 0;
}

/* In the order of their ends, none twice. */
static int future_as_completed(void *unused) {
    conc_iter *it;
    conc_future *f;
    int i, seen[3] = {0, 0, 0};
    (void)unused;
    begin_fixed(2, 0);
    for (i = 0; i < 3; i++) fut[i] = submit(task, i);
    it = conc_as_completed(fut, 3);
    for (i = 0; i < 3; i++) {
        int which;
        CONC_SIM_ASSERT(it->next(it, &f, 1) == 1);
        which = (int)((int *)conc_future_arg(f) - data);
        CONC_SIM_ASSERT(conc_future_is_done(f) && seen[which]++ == 0);
        check_ran(which);
    }
    CONC_SIM_ASSERT(it->next(it, &f, 1) == 0);
    conc_iter_close(it);
    for (i = 0; i < 3; i++) conc_future_release(fut[i]);
    close_pool();
    return 0;
}

/* Closed before they have ended. */
static int future_as_completed_closed(void *unused) {
    conc_iter *it;
    conc_future *f;
    int i;
    (void)unused;
    begin_fixed(1, 0);
    for (i = 0; i < 2; i++) fut[i] = submit(task, i);
    fut[2] = conc_future_new();
    CONC_SIM_ASSERT(fut[2] != NULL);
    it = conc_as_completed(fut, 3);
    CONC_SIM_ASSERT(it->next(it, &f, 1) == 1);
    conc_iter_close(it);
    for (i = 0; i < 3; i++) conc_future_release(fut[i]); /* one of them has never ended */
    close_pool();
    return 0;
}

static int completes(void *unused) {
    conc_result r;
    (void)unused;
    leaves(0);
    r = conc_future_complete(fut[0], 0);
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CLOSED);
    if (r == CONC_OK) (void)conc__add32(&begun_count, 1, CONC__RELAXED);
    return 0;
}

/* One of one's own: completed or canceled, once. */
static int future_own(void *unused) {
    sim_crew crew = {0};
    conc_result r;
    (void)unused;
    memset(begun, 0, sizeof begun);
    begun_count = 0;
    fut[0] = conc_future_new();
    sim_start(&crew, completes, NULL);
    sim_start(&crew, cancels_fut, NULL);
    r = conc_future_wait(fut[0], CONC_FOREVER);
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    if (r == CONC_OK) {
        CONC_SIM_READ(results[0]);
        CONC_SIM_ASSERT(results[0] == 100);
    }
    sim_join(&crew);
    CONC_SIM_ASSERT(begun_count == 1);
    conc_future_release(fut[0]);
    return 0;
}

static int waits_for_any(void *unused) {
    int which;
    (void)unused;
    which = conc_wait_any(fut, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(which == 0 || which == 1);
    CONC_SIM_ASSERT(conc_future_is_done(fut[which]));
    check_ran(which);
    return 0;
}

static int future_any(void *unused) {
    sim_crew crew = {0};
    int i;
    (void)unused;
    begin_fixed(2, 0);
    for (i = 0; i < 2; i++) fut[i] = submit(task, i);
    sim_start(&crew, waits_for_any, NULL);
    (void)waits_for_any(NULL);
    sim_join(&crew);
    close_pool();
    for (i = 0; i < 2; i++) conc_future_release(fut[i]);
    return 0;
}

/* ---- later --------------------------------------------------------------------------------------------------------- */

static int turn(void *arg) { /* none overlaps another */
    CONC_SIM_ASSERT(arg == &data[0]);
    CONC_SIM_READ(data[0]);
    CONC_SIM_ASSERT(conc__add32(&running, 1, CONC__RELAXED) == 0);
    CONC_SIM_WRITE(results[0]);
    results[0]++;
    (void)conc__sub32(&running, 1, CONC__RELAXED);
    return results[0] == 3 ? 7 : 0;
}

/* Closed before its time: it runs, and the pool's end waits for it. */
static int later(void *unused) {
    conc_future *f;
    (void)unused;
    begin_fixed(1, 0);
    f = conc_pool_submit_at(pool, task, fill(0), conc_after(0.0003));
    CONC_SIM_ASSERT(f != NULL);
    if (conc_sim_choose(2) != 0) hand_in(task, 1);
    close_pool();
    SIM_OK(conc_future_wait(f, CONC_NOW));
    check_ran(0);
    conc_future_release(f);
    return 0;
}

/* Canceled as its time comes; the pool goes at once. */
static int later_canceled(void *unused) {
    sim_crew crew = {0};
    conc_result r;
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = conc_pool_submit_at(pool, task, fill(0), conc_after(0.0003));
    CONC_SIM_ASSERT(fut[0] != NULL);
    sim_start(&crew, cancels_fut, NULL);
    close_pool();
    CONC_SIM_ASSERT(conc_future_is_done(fut[0])); /* the pool's end waits for that, too, whoever ends it */
    sim_join(&crew);
    r = conc_future_wait(fut[0], CONC_NOW);
    CONC_SIM_ASSERT(r == (has_run(0) != 0 ? CONC_OK : CONC_CANCELED));
    conc_future_release(fut[0]);
    return 0;
}

/* Taken out, or run, by who closes at once. */
static int later_close_now(void *unused) {
    conc_result r;
    (void)unused;
    begin_fixed(1, 0);
    returned_count = 0;
    fut[0] = conc_pool_submit_at(pool, task, fill(0), conc_after(0.0003));
    CONC_SIM_ASSERT(fut[0] != NULL);
    perhaps_late();
    SIM_OK(conc_pool_close_now(pool, returns, &returned_count));
    end_pool();
    r = conc_future_wait(fut[0], CONC_NOW);
    CONC_SIM_ASSERT(r == (has_run(0) != 0 ? CONC_OK : CONC_CANCELED));
    conc_future_release(fut[0]);
    return 0;
}

/* Again and again, until it returns something else. */
static int every(void *unused) {
    (void)unused;
    begin_fixed(2, 0);
    fut[0] = conc_pool_every(pool, turn, fill(0), conc_after(0.0001), 0.0001, conc_sim_choose(2) != 0);
    CONC_SIM_ASSERT(fut[0] != NULL);
    CONC_SIM_ASSERT(conc_future_wait(fut[0], CONC_FOREVER) == CONC_FAILED && conc_future_code(fut[0]) == 7);
    CONC_SIM_READ(results[0]);
    CONC_SIM_ASSERT(results[0] == 3);
    conc_future_release(fut[0]);
    close_pool();
    return 0;
}

static int turn_for_ever(void *unused) {
    (void)unused;
    (void)conc__add32(&begun_count, 1, CONC__RELAXED);
    return 0;
}

/* Canceled between two turns, or in one, or as one is entered: it ends, and nothing of it is left for the pool to wait for. The
 * second turn never comes. */
static int every_canceled(void *unused) {
    conc_result r;
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = conc_pool_every(pool, turn_for_ever, NULL, conc_after(0), 1e10, false);
    CONC_SIM_ASSERT(fut[0] != NULL);
    if (conc_sim_choose(2) != 0) perhaps_late();
    r = conc_future_cancel(fut[0]);
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_BUSY);
    CONC_SIM_ASSERT(conc_future_wait(fut[0], CONC_FOREVER) == CONC_CANCELED);
    close_pool();
    CONC_SIM_ASSERT(begun_count <= 1);
    conc_future_release(fut[0]);
    return 0;
}

/* Canceled by another, as the pool comes to its end. */
static int every_canceled_by_another(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = conc_pool_every(pool, turn_for_ever, NULL, conc_after(0), 1e10, false);
    CONC_SIM_ASSERT(fut[0] != NULL);
    sim_start(&crew, cancels_fut, NULL);
    perhaps_late();
    close_pool();
    CONC_SIM_ASSERT(conc_future_result(fut[0]) == CONC_CANCELED);
    sim_join(&crew);
    conc_future_release(fut[0]);
    return 0;
}

/* Closed at any point of a turn. */
static int every_closed(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = conc_pool_every(pool, turn_for_ever, NULL, conc_after(0), 1e10, false);
    CONC_SIM_ASSERT(fut[0] != NULL);
    perhaps_late();
    close_pool();
    CONC_SIM_ASSERT(conc_future_wait(fut[0], CONC_NOW) == CONC_CANCELED);
    CONC_SIM_ASSERT(begun_count <= 1);
    conc_future_release(fut[0]);
    return 0;
}

static int waits_for_later(void *arg) {
    (void)enters(arg);
    SIM_OK(conc_future_wait(fut[0], CONC_FOREVER));
    return 0;
}

/* What is due is run by who waits in the pool's only thread. */
static int later_helped(void *unused) {
    (void)unused;
    begin_fixed(1, 0);
    fut[0] = conc_pool_submit_at(pool, task_anywhere, fill(0), conc_after(0.0002));
    CONC_SIM_ASSERT(fut[0] != NULL);
    hand_in(waits_for_later, 1);
    close_pool();
    check_ran(0);
    conc_future_release(fut[0]);
    return 0;
}

/* ---- offloaded calls --------------------------------------------------------------------------------------------------- */

static int doubles(void *arg) {
    *(int *)arg *= 2;
    return 0;
}

static int offloads_in_time(void *unused) {
    int x = 21;
    conc_result r = conc_wait(conc_op_offload(pool, doubles, &x), conc_after(0.0001));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT || r == CONC_CLOSED);
    CONC_SIM_ASSERT(x == (r == CONC_OK ? 42 : 21));
    return 0;
}

/* Made, given up, or dropped by the close. */
static int offload(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_fixed(1, 0);
    sim_start(&crew, offloads_in_time, NULL);
    hand_in(task, 0);
    if (conc_sim_choose(2) != 0) (void)conc_pool_close_now(pool, NULL, NULL);
    sim_join(&crew);
    (void)conc_pool_close(pool);
    end_pool();
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(run_all, 0),
    SIM_TEST(run_one_by_one, 1),
    SIM_TEST(run_and_close, 1),
    SIM_TEST(run_or_closed, 1),
    SIM_TEST(order, 2),
    SIM_TEST(spill_is_found, 1),
    SIM_TEST(spill_and_close, 1),
    SIM_TEST(grows, 1),
    SIM_TEST(grows_at_once, 0),
    SIM_TEST(keep_alive, 1),
    SIM_TEST(keep_alive_two, 0),
    SIM_TEST(room_no_queue, 1),
    SIM_TEST(room_queue, 1),
    SIM_TEST(room_when_taken, 2),
    SIM_TEST(room_and_close, 1),
    SIM_TEST(room_and_resize, 1),
    SIM_TEST(resize_down, 1),
    SIM_TEST(caller_runs, 2),
    SIM_TEST(caller_runs_and_close, 1),
    SIM_TEST(discard_oldest, 2),
    SIM_TEST(close_now, 2),
    SIM_TEST(close_now_cancels, 2),
    SIM_TEST(closes_twice, 1),
    SIM_TEST(frees_at_once, 1),
    SIM_TEST(future_result, 1),
    SIM_TEST(future_looks, 2),
    SIM_TEST(future_cancel, 1),
    SIM_TEST(future_help, 2),
    SIM_TEST(future_help_outside, 1),
    SIM_TEST(future_help_close_now, 1),
    SIM_TEST(future_help_discard, 1),
    SIM_TEST(future_circle, 1),
    SIM_TEST(future_chain, 1),
    SIM_TEST(future_then, 2),
    SIM_TEST(future_as_completed, 1),
    SIM_TEST(future_as_completed_closed, 2),
    SIM_TEST(future_own, 2),
    SIM_TEST(future_any, 1),
    SIM_TEST(later, 1),
    SIM_TEST(later_canceled, 1),
    SIM_TEST(later_close_now, 1),
    SIM_TEST(later_helped, 1),
    SIM_TEST(every, 1),
    SIM_TEST(every_canceled, 1),
    SIM_TEST(every_canceled_by_another, 1),
    SIM_TEST(every_closed, 1),
    SIM_TEST(offload, 1),
};

SIM_MAIN("sim_pool", tests)
