/* Faults in every order: while threads race, one of the calls that can fail does, or all from one on. Nothing is lost or
 * leaked, nobody hangs, and each result is the right one or says what failed. */

#undef CONC_TEST_SPLIT
#define CONC_FAULTS
#include "sim.h"

/* A fault may come; after this the simulation has chosen which. */
static void choose_fault(unsigned most) {
    uint32_t n = conc_sim_choose(most + 1), which = conc_sim_choose(2);
    bool sticky = conc_sim_choose(2) != 0;
    conc__fault_plan(n, which, sticky);
}

static void failed_well(void) {
    CONC_SIM_ASSERT(conc_error_result() == CONC_NO_MEMORY || conc_error_result() == CONC_NO_THREADS ||
                    conc_error_result() == CONC_SYSTEM);
    CONC_SIM_ASSERT(conc_error_detail()[0] != '\0');
}

/* ---- threads ---- */

static uint32_t ran; /* atomic */

static int count_run(void *arg) {
    (void)conc__add32(&ran, 1, CONC__RELAXED);
    return arg != NULL;
}

/* A thread that was started runs and can be joined; one that was not has never run. */
static int faults_threads(void *unused) {
    conc_thread *t[2];
    uint32_t started = 0;
    int i, result;
    (void)unused;
    ran = 0;
    choose_fault(8);
    for (i = 0; i < 2; i++) {
        t[i] = conc_thread_start(count_run, NULL, NULL);
        if (t[i] == NULL) failed_well();
        else started++;
    }
    for (i = 0; i < 2; i++) {
        if (t[i] != NULL) CONC_SIM_ASSERT(conc_thread_join(t[i], &result, CONC_FOREVER) == CONC_OK);
    }
    conc__fault_plan(0, 0, false);
    CONC_SIM_ASSERT(ran == started);
    return 0;
}

/* ---- thread-local values ---- */

static uint32_t set, gone; /* atomic */

static void destroy(void *value) {
    (void)value;
    (void)conc__add32(&gone, 1, CONC__RELAXED);
}

static conc_local key = { destroy, 0 };

static int set_local(void *arg) {
    if (conc_local_set(&key, arg) == CONC_OK) {
        (void)conc__add32(&set, 1, CONC__RELAXED);
        CONC_SIM_ASSERT(conc_local_get(&key) == arg);
    } else {
        failed_well();
        CONC_SIM_ASSERT(conc_local_get(&key) == NULL);
    }
    return 0;
}

/* Each value that was set is destroyed once. */
static int faults_locals(void *unused) {
    conc_thread *t[2];
    int i;
    (void)unused;
    set = gone = 0;
    choose_fault(10);
    for (i = 0; i < 2; i++) t[i] = conc_thread_start(set_local, &key, NULL);
    for (i = 0; i < 2; i++) {
        if (t[i] != NULL) CONC_SIM_ASSERT(conc_thread_join(t[i], NULL, CONC_FOREVER) == CONC_OK);
    }
    conc__fault_plan(0, 0, false);
    CONC_SIM_ASSERT(set == gone);
    return 0;
}

/* ---- queues ---- */

static conc_queue *q;
static uint32_t in; /* atomic */

static int put_some(void *unused) {
    int i;
    (void)unused;
    for (i = 0; i < 18; i++) {
        if (conc_queue_put(q, &i, CONC_NOW) == CONC_OK) (void)conc__add32(&in, 1, CONC__RELAXED);
        else failed_well();
    }
    return 0;
}

/* Items whose put said CONC_OK come out, and no others, though the array could not grow. */
static int faults_unbounded(void *unused) {
    conc_thread *t;
    uint32_t out = 0;
    int x;
    (void)unused;
    in = 0;
    choose_fault(8);
    q = conc_queue_new(sizeof(int), 0);
    if (q == NULL) {
        failed_well();
        conc__fault_plan(0, 0, false);
        return 0;
    }
    t = conc_thread_start(put_some, NULL, NULL);
    while (out < 3 && conc_queue_get(q, &x, CONC_NOW) == CONC_OK) out++;
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    conc__fault_plan(0, 0, false);
    while (conc_queue_get(q, &x, CONC_NOW) == CONC_OK) out++;
    CONC_SIM_ASSERT(out == in);
    SIM_OK(conc_queue_free(q));
    return 0;
}

/* ---- timers ---- */

static int ring(void *unused) {
    (void)unused;
    (void)conc__add32(&ran, 1, CONC__RELAXED);
    return 0;
}

static int start_timer(void *unused) {
    conc_timer *t = conc_timer_start(ring, NULL, conc_after(0.001));
    (void)unused;
    if (t == NULL) {
        failed_well();
        return 0;
    }
    SIM_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    conc_timer_release(t);
    (void)conc__add32(&set, 1, CONC__RELAXED);
    return 0;
}

/* Two first timers at once: the service may not start, and one that was started rings. */
static int faults_timers(void *unused) {
    conc_thread *t;
    (void)unused;
    ran = set = 0;
    choose_fault(12);
    t = conc_thread_start(start_timer, NULL, NULL);
    (void)start_timer(NULL);
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    conc__fault_plan(0, 0, false);
    CONC_SIM_ASSERT(ran == set);
    return 0;
}

/* ---- loops ---- */

static conc_loop *loop;
static uint32_t begun, over; /* atomic: tasks that were made; that have ended */

static void result_is_fine(conc_result r) {
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_NO_MEMORY);
}

CONC_CORO(is_called, int i;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(0.0001));
    result_is_fine(self->co.result);
    CO_RETURN(5);
    CO_END;
}

/* Waits in each way there is; what cannot be done for want of memory says so, and the rest is done. */
CONC_CORO(does_what_it_can, conc_op ops[2]; int x; int y;) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_get(q, &self->x), conc_after(0.0002));
    CONC_SIM_ASSERT(self->co.result == CONC_OK || self->co.result == CONC_TIMEOUT || self->co.result == CONC_NO_MEMORY);
    CO_CALL(is_called, .i = 0);
    result_is_fine(self->co.result);
    CONC_SIM_ASSERT(self->co.value == (self->co.result == CONC_OK ? 5 : 0));
    self->ops[0] = conc_op_get(q, &self->y);
    self->ops[1] = conc_op_sleep(0.0001);
    CO_AWAIT_ANY(self->ops, 2);
    result_is_fine(self->co.result);
    CO_FINALLY;
    (void)conc__add32(&over, 1, CONC__RELAXED);
    CO_END;
}

static void spawned(conc_result r) {
    if (r == CONC_OK) (void)conc__add32(&begun, 1, CONC__RELAXED);
    else failed_well();
}

static int spawn_another(void *unused) {
    conc_task_desc desc;
    conc_task *t;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.name = "with a desc";
    spawned(CONC_GO(loop, does_what_it_can, .x = 0));
    t = CONC_SPAWN_EX(loop, &desc, does_what_it_can, .x = 0);
    spawned(t != NULL ? CONC_OK : conc_error_result());
    if (t != NULL) CONC_SIM_ASSERT(conc_task_detach(t) == CONC_OK);
    return 0;
}

static void post_nothing(void *counter) {
    (void)conc__sub32((uint32_t *)counter, 1, CONC__RELAXED);
}

/* After the faults: the loop can still be used, and goes. */
static void end_loop(void) {
    conc__fault_plan(0, 0, false);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(conc_loop_count(loop) == 0 && begun == over);
    SIM_OK(CONC_GO(loop, does_what_it_can, .x = 0));
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(over == begun + 1);
    SIM_OK(conc_loop_free(loop));
    SIM_OK(conc_queue_free(q));
}

/* false: there is no loop; and nothing of it is left. */
static bool begin_loop(const conc_loop_desc *desc, bool once) {
    begun = over = ran = 0;
    conc__fault_plan(0, 0, false);
    (void)conc__self(); /* who runs the loop has a record of his own */
    q = conc_queue_new(sizeof(int), 1);
    CONC_SIM_ASSERT(q != NULL);
    choose_fault(16);
    if (once) conc__store32(&conc__fault_sticky, 0, CONC__RELAXED);
    loop = conc_loop_new(desc);
    if (loop != NULL) return true;
    failed_well();
    conc__fault_plan(0, 0, false);
    SIM_OK(conc_queue_free(q));
    return false;
}

static int faults_loop(void *unused) {
    conc_thread *t;
    conc_result r;
    uint32_t to_come = 1;
    (void)unused;
    if (!begin_loop(NULL, false)) return 0;
    spawned(CONC_GO(loop, does_what_it_can, .x = 0));
    t = conc_thread_start(spawn_another, NULL, NULL);
    r = conc_loop_post(loop, post_nothing, &to_come);
    if (r != CONC_OK) {
        CONC_SIM_ASSERT(r == CONC_NO_MEMORY);
        to_come = 0;
    }
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    end_loop();
    CONC_SIM_ASSERT(to_come == 0);
    return 0;
}

/* With a timer to look after it. */
static int faults_stall(void *unused) {
    conc_loop_desc desc;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.stall_after = 0.001;
    if (!begin_loop(&desc, false)) return 0;
    spawned(CONC_GO(loop, does_what_it_can, .x = 0));
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    end_loop();
    return 0;
}

static conc_group *group;

CONC_CORO(member, int i;) {
    CO_BEGIN;
    CO_YIELD;
    (void)conc__add32(&ran, 1, CONC__RELAXED);
    CO_END;
}

static int wait_for_group(void *unused) {
    conc_result r = conc_wait(conc_op_group(group), CONC_FOREVER);
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK);
    return 0;
}

static int enter_group(void *unused) {
    (void)unused;
    if (CONC_GROUP_SPAWN(group, member, .i = 0) == CONC_OK) (void)conc__add32(&set, 1, CONC__RELAXED);
    else failed_well();
    return 0;
}

/* Those who entered run; one that could not, for want of memory, leaves nobody waiting. */
static int faults_group(void *unused) {
    conc_thread *waits, *enters;
    conc_group_desc desc;
    uint32_t told = 0;
    int code;
    (void)unused;
    if (!begin_loop(NULL, false)) return 0;
    set = 0;
    memset(&desc, 0, sizeof desc);
    desc.limit = 1;
    desc.keep_codes = true;
    group = conc_group_new(loop, &desc);
    if (group == NULL) {
        failed_well();
        end_loop();
        return 0;
    }
    waits = conc_thread_start(wait_for_group, NULL, NULL);
    enters = conc_thread_start(enter_group, NULL, NULL);
    (void)enter_group(NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    if (enters != NULL) CONC_SIM_ASSERT(conc_thread_join(enters, NULL, CONC_FOREVER) == CONC_OK);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    if (waits != NULL) CONC_SIM_ASSERT(conc_thread_join(waits, NULL, CONC_FOREVER) == CONC_OK);
    while (conc_try(conc_op_group_next(group, &code)) == CONC_OK) told++;
    CONC_SIM_ASSERT(ran == set && told == set);
    SIM_OK(conc_group_free(group));
    end_loop();
    return 0;
}

static int doubles(void *arg) {
    *(int *)arg *= 2;
    return 0;
}

static void offloaded_well(conc_result r, int x) {
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_NO_MEMORY || r == CONC_NO_THREADS);
    CONC_SIM_ASSERT(x == (r == CONC_OK ? 42 : 21));
}

CONC_CORO(offloads, int x;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_offload(NULL, doubles, &self->x));
    offloaded_well(self->co.result, self->x);
    (void)conc__add32(&over, 1, CONC__RELAXED);
    CO_END;
}

/* A call that cannot be made says so, and its argument is as it was. (Two threads without a record of their own could not
 * be told apart by a lock: so but one is.) */
static int faults_offload(void *unused) {
    int x = 21;
    conc_result r;
    (void)unused;
    if (!begin_loop(NULL, true)) return 0;
    spawned(CONC_GO(loop, offloads, .x = 21));
    spawned(CONC_GO(loop, offloads, .x = 21));
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    r = conc_wait(conc_op_offload(NULL, doubles, &x), CONC_FOREVER);
    offloaded_well(r, x);
    end_loop();
    return 0;
}

static void no_line(const char *text, void *arg) {
    CONC_SIM_ASSERT(text[0] != '\0' && arg == NULL);
}

static int dumps(void *unused) {
    (void)unused;
    conc_dump(no_line, NULL);
    return 0;
}

static int faults_dump(void *unused) {
    conc_thread *t;
    (void)unused;
    if (!begin_loop(NULL, false)) return 0;
    spawned(CONC_GO(loop, does_what_it_can, .x = 0));
    t = conc_thread_start(dumps, NULL, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    end_loop();
    return 0;
}

/* ---- pools ---- */

static conc_pool *pool;
static uint32_t accepted; /* atomic: tasks that are to run */

/* Two threads without a record of their own would take themselves for one another: where there are two, one fault is all (`once`). */
static bool begin_pool(const conc_pool_desc *desc, unsigned most, bool once) {
    ran = accepted = 0;
    conc__fault_plan(0, 0, false);
    (void)conc__self();
    choose_fault(most);
    if (once) conc__store32(&conc__fault_sticky, 0, CONC__RELAXED);
    pool = conc_pool_new(desc);
    if (pool != NULL) return true;
    failed_well();
    conc__fault_plan(0, 0, false);
    return false;
}

/* It was accepted, in the hope of a thread that could not be started. */
static void is_dropped(conc_fn fn, void *arg, void *user) {
    (void)arg;
    (void)user;
    CONC_SIM_ASSERT(fn == count_run);
    (void)conc__sub32(&accepted, 1, CONC__RELAXED);
}

static void is_accepted(conc_result r) {
    if (r == CONC_OK) (void)conc__add32(&accepted, 1, CONC__RELAXED);
    else failed_well();
}

/* After the faults: it can still be used, and nothing was lost. */
static void end_pool(void) {
    conc_pool_stats s;
    conc__fault_plan(0, 0, false);
    is_accepted(conc_pool_run(pool, count_run, NULL));
    SIM_OK(conc_pool_close(pool));
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    s = conc_pool_stats_of(pool);
    CONC_SIM_ASSERT(s.accepted == s.completed + s.canceled + s.returned);
    SIM_OK(conc_pool_free(pool));
    CONC_SIM_ASSERT(ran == accepted);
}

static conc_pool_desc pool_of(unsigned n) {
    conc_pool_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.core_threads = desc.max_threads = n;
    desc.dropped = is_dropped;
    return desc;
}

static int runs_two(void *unused) {
    (void)unused;
    is_accepted(conc_pool_run(pool, count_run, NULL));
    is_accepted(conc_pool_run(pool, count_run, NULL));
    return 0;
}

/* What was accepted runs, though there are fewer threads, or the queue cannot grow. */
static int faults_pool(void *unused) {
    conc_pool_desc desc = pool_of(1 + conc_sim_choose(2));
    conc_thread *t;
    (void)unused;
    desc.prestart = conc_sim_choose(2) != 0;
    if (!begin_pool(&desc, 16, true)) return 0;
    t = conc_thread_start(runs_two, NULL, NULL);
    (void)runs_two(NULL);
    (void)runs_two(NULL);
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    end_pool();
    return 0;
}

/* Callers wait for room that is taken by a thread that then cannot be started. */
static int faults_pool_room(void *unused) {
    conc_pool_desc desc = pool_of(1);
    conc_thread *t;
    (void)unused;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    desc.on_reject = CONC_REJECT_BLOCK;
    desc.core_time_out = true;
    desc.keep_alive = 0.0001;
    if (!begin_pool(&desc, 14, true)) return 0;
    t = conc_thread_start(runs_two, NULL, NULL);
    (void)runs_two(NULL);
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    end_pool();
    return 0;
}

/* Its thread goes for lack of work, as work comes; and the next one cannot be started. */
static int faults_pool_keep_alive(void *unused) {
    conc_pool_desc desc = pool_of(1);
    (void)unused;
    desc.core_time_out = true;
    desc.keep_alive = 0.0001;
    if (!begin_pool(&desc, 14, true)) return 0;
    (void)runs_two(NULL);
    (void)runs_two(NULL);
    conc__fault_plan(0, 0, false);
    SIM_OK(conc_pool_close(pool));
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    SIM_OK(conc_pool_free(pool));
    CONC_SIM_ASSERT(ran == accepted);
    return 0;
}

static void counts_end(conc_future *f, void *arg) {
    (void)conc_future_result(f);
    (void)conc__add32((uint32_t *)arg, 1, CONC__RELAXED);
}

/* Futures, their callbacks, and the iterator over them: what cannot be made says so, and keeps nothing. */
static int faults_futures(void *unused) {
    conc_pool_desc desc = pool_of(1);
    conc_future *f[2];
    uint32_t told = 0, to_be_told = 0;
    size_t n = 0;
    int i;
    (void)unused;
    desc.waiters_help = conc_sim_choose(2) != 0;
    if (!begin_pool(&desc, 18, false)) return 0;
    for (i = 0; i < 2; i++) {
        f[n] = conc_pool_submit(pool, count_run, i == 0 ? NULL : &told);
        is_accepted(f[n] != NULL ? CONC_OK : conc_error_result());
        if (f[n] != NULL) n++;
    }
    for (i = 0; i < (int)n; i++) {
        conc_result r = conc_future_then(f[i], counts_end, &told);
        CONC_SIM_ASSERT(r == CONC_OK || r == CONC_NO_MEMORY);
        if (r == CONC_OK) to_be_told++;
    }
    if (n != 0) {
        conc_iter *it = conc_as_completed(f, n);
        conc_future *one;
        size_t seen = 0;
        while (it->next(it, &one, 1) != 0) seen++;
        CONC_SIM_ASSERT(it->result == CONC_NO_MEMORY ? seen == 0 : seen == n);
        conc_iter_close(it);
        i = conc_wait_any(f, n, CONC_FOREVER);
        CONC_SIM_ASSERT(i >= 0 && (size_t)i < n);
    }
    for (i = 0; i < (int)n; i++) {
        conc_result r = conc_future_wait(f[i], CONC_FOREVER);
        CONC_SIM_ASSERT(r == (conc_future_code(f[i]) == 0 ? CONC_OK : CONC_FAILED));
        conc_future_release(f[i]);
    }
    end_pool();
    CONC_SIM_ASSERT(told == to_be_told);
    return 0;
}

/* A task's time: it runs; or its future says that it has not, and why. */
static int faults_later(void *unused) {
    conc_pool_desc desc = pool_of(1);
    conc_future *f;
    (void)unused;
    if (!begin_pool(&desc, 18, true)) return 0;
    f = conc_sim_choose(2) != 0 ? conc_pool_submit_at(pool, count_run, NULL, conc_after(0.0001))
                                : conc_pool_every(pool, count_run, NULL, conc_after(0.0001), 0.0001, true);
    if (f == NULL) {
        failed_well();
    } else {
        conc_result r;
        if (conc_sim_choose(2) != 0) (void)conc_future_cancel(f);
        r = conc_future_wait(f, conc_after(0.001));
        if (r == CONC_TIMEOUT) {
            (void)conc_future_cancel(f);
            r = conc_future_wait(f, CONC_FOREVER);
        }
        CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED || r == CONC_NO_THREADS || r == CONC_NO_MEMORY);
        conc_future_release(f);
    }
    accepted = ran;
    end_pool();
    return 0;
}

static int forks(void *unused) {
    conc_job a, b;
    (void)unused;
    conc_job_fork(&a, count_run, NULL);
    conc_job_fork(&b, count_run, NULL);
    CONC_SIM_ASSERT(conc_job_join(&b) == 0 && conc_job_join(&a) == 0);
    return 0;
}

static int runs_in_group(void *pass_on) {
    conc_pool_group g;
    conc_result r = conc_pool_group_begin(&g, pool);
    int i;
    if (r != CONC_OK) {
        failed_well();
        return 0;
    }
    for (i = 0; i < 3; i++) is_accepted(conc_pool_group_run(&g, count_run, NULL));
    SIM_OK(conc_pool_group_end(&g));
    CONC_SIM_ASSERT(pass_on != NULL || ran == accepted);
    return 0;
}

/* Jobs and groups, from inside and outside: without a thread the caller does it all. */
static int faults_jobs(void *unused) {
    conc_pool_desc desc = pool_of(1);
    conc_result r;
    int code;
    (void)unused;
    if (!begin_pool(&desc, 14, false)) return 0;
    r = conc_pool_call(pool, forks, NULL, &code);
    if (r == CONC_OK) accepted += 2;
    else failed_well();
    (void)runs_in_group(NULL);
    r = conc_pool_call(pool, runs_in_group, NULL, &code);
    if (r != CONC_OK) failed_well();
    end_pool();
    return 0;
}

/* An offloaded call that finds no thread in its pool says so. */
static int faults_pool_offload(void *unused) {
    conc_pool_desc desc = pool_of(1);
    conc_result r;
    int x = 21;
    (void)unused;
    if (!begin_pool(&desc, 10, false)) return 0;
    r = conc_wait(conc_op_offload(pool, doubles, &x), CONC_FOREVER);
    offloaded_well(r, x);
    end_pool();
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(faults_loop, 1), /* first: it comes to all places, and not all faults are kept */
    SIM_TEST(faults_threads, 2),
    SIM_TEST(faults_locals, 2),
    SIM_TEST(faults_unbounded, 2),
    SIM_TEST(faults_timers, 2),
    { "faults_stall", faults_stall, 0, 0, true },
    SIM_TEST(faults_group, 1),
    SIM_TEST(faults_offload, 1),
    SIM_TEST(faults_dump, 1),
    SIM_TEST(faults_pool, 1),
    SIM_TEST(faults_pool_room, 1),
    SIM_TEST(faults_pool_keep_alive, 1),
    { "faults_futures", faults_futures, 1, 0, true },
    SIM_TEST(faults_later, 1),
    SIM_TEST(faults_jobs, 1),
    SIM_TEST(faults_pool_offload, 1),
};

#if CHECK_TSAN

int main(void) { /* without memory for its record a thread shares the emergency's: see core.c */
    (void)tests;
    return check_skip("sim_faults", "the emergency record is shared without synchronisation");
}

#else

int main(int argc, char **argv) {
    int r = sim_main(argc, argv, "sim_faults", tests, sizeof tests / sizeof *tests);
    const char *site;
    char error[40], path[1000];
    uint32_t i;
    FILE *f;
    snprintf(path, sizeof path, "%.900s.faults.log", argv[0]);
    f = fopen(path, "w");
    for (i = 0; f != NULL && conc__fault_made(i, &site, error, sizeof error); i++) {
        fprintf(f, "%s|%s|once\n%s|%s|sticky\n", site, error, site, error); /* both were, in thousands of schedules */
    }
    if (f != NULL) fclose(f);
    return r;
}

#endif
