/* Groups, offloaded calls, the dump, and who looks whether a loop stands still. */

#include "loop_kit.h"

/* ---- groups ------------------------------------------------------------------------------------------------- */

static conc_group *g;
static uint32_t inside; /* atomic: of the group, and begun and not ended */
static uint32_t most;   /* atomic: that there may be */

static void begin_group(size_t limit, bool cancel_on_error, bool keep_codes) {
    conc_group_desc desc;
    begin(2);
    memset(&desc, 0, sizeof desc);
    desc.limit = limit;
    desc.cancel_on_error = cancel_on_error;
    desc.keep_codes = keep_codes;
    g = conc_group_new(loop, &desc);
    CONC_SIM_ASSERT(g != NULL);
    inside = 0;
    most = limit != 0 ? (uint32_t)limit : 100;
}

static void finish_group(void) {
    CONC_SIM_ASSERT(conc_group_count(g) == 0);
    SIM_OK(conc_group_free(g));
    finish();
}

CONC_CORO(member, int code;) {
    CO_BEGIN;
    CONC_SIM_ASSERT(conc__add32(&inside, 1, CONC__RELAXED) < most);
    CO_YIELD;
    count(&ran);
    CO_RETURN(self->code);
    CO_FINALLY;
    (void)conc__sub32(&inside, 1, CONC__RELAXED);
    CO_END;
}

/* Waits for an item that may never come. */
CONC_CORO(member_waits, int *p;) {
    CO_BEGIN;
    CONC_SIM_ASSERT(conc__add32(&inside, 1, CONC__RELAXED) < most);
    CO_AWAIT(conc_op_get(q, &self->p));
    SIM_OK(self->co.result);
    (void)look_at(self->p);
    count(&ran);
    CO_FINALLY;
    (void)conc__sub32(&inside, 1, CONC__RELAXED);
    count(&cleaned);
    CO_END;
}

static int spawn_member(void *unused) {
    (void)unused;
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    return 0;
}

/* Tasks enter from two threads; at most one runs at a time; none stands aside for ever. */
static int group_limit(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(1, false, false);
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    sim_start(&crew, spawn_member, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(ran == 3);
    finish_group();
    return 0;
}

/* Of two at a time: a third and a fourth. */
static int group_limit_of_two(void *unused) {
    (void)unused;
    begin_group(2, false, false);
    most = 2;
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(ran == 4);
    finish_group();
    return 0;
}

CONC_CORO(member_fails, int *p; int i;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_get(q, &self->p));
    SIM_OK(self->co.result);
    (void)look_at(self->p);
    CO_RETURN(7);
    CO_END;
}

/* The first failure cancels those who wait; who fails then does not count. */
static int group_first_error(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(0, true, false);
    SIM_OK(CONC_GROUP_SPAWN(g, member_fails, .i = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
    SIM_OK(CONC_GROUP_SPAWN(g, member_fails, .i = 1));
    sim_start(&crew, put_0, NULL);
    sim_start(&crew, put_1, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(conc_group_wait(g, CONC_NOW) == CONC_FAILED && conc_group_code(g) == 7);
    CONC_SIM_ASSERT(out(0) + out(1) + conc_queue_length(q) == 2);
    CONC_SIM_ASSERT(CONC_GROUP_SPAWN(g, member, .code = 0) == CONC_CANCELED);
    finish_group();
    return 0;
}

static int cancel_group(void *unused) {
    (void)unused;
    perhaps_late();
    SIM_OK(conc_group_cancel(g));
    return 0;
}

/* Canceled while some stand aside: they end without having begun. */
static int group_cancel_aside(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(1, false, false);
    SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
    SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
    SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
    most = 1;
    sim_start(&crew, cancel_group, NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(ran == out(0) && out(0) + conc_queue_length(q) == 1);
    finish_group();
    return 0;
}

static uint32_t entered; /* atomic */

static int spawn_or_not(void *unused) {
    conc_result r = CONC_GROUP_SPAWN(g, member_waits, .p = NULL);
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    if (r == CONC_OK) count(&entered);
    return 0;
}

/* A spawn against a cancel: it does not enter, or it is canceled. */
static int group_spawn_or_cancel(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(0, false, false);
    entered = 0;
    sim_start(&crew, spawn_or_not, NULL);
    sim_start(&crew, cancel_group, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    CONC_SIM_ASSERT(ran == 0 && cleaned <= entered);
    finish_group();
    return 0;
}

static uint32_t told; /* by the thread that asks; read after its join */

static int ask_for_codes(void *unused) {
    (void)unused;
    for (;;) {
        int code = -1;
        conc_result r = conc_wait(conc_op_group_next(g, &code), CONC_FOREVER);
        if (r == CONC_CLOSED) return 0;
        SIM_OK(r);
        CONC_SIM_ASSERT(code >= 1 && code <= 3 && (told & 1u << code) == 0);
        told |= 1u << code;
    }
}

/* Each code is told once; then there is none. */
static int group_codes(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(0, false, true);
    told = 0;
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 1));
    SIM_OK(CONC_GROUP_SPAWN(g, just_runs, .code = 2));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 3));
    sim_start(&crew, ask_for_codes, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(told == 14);
    finish_group();
    return 0;
}

/* The array of codes has to grow while it holds some. */
static int group_many_codes(void *unused) {
    int i, code;
    (void)unused;
    begin_group(0, false, true);
    for (i = 0; i < 12; i++) SIM_OK(CONC_GROUP_SPAWN(g, just_runs, .code = i));
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    for (i = 0; i < 5; i++) SIM_OK(conc_try(conc_op_group_next(g, &code)));
    for (i = 12; i < 24; i++) SIM_OK(CONC_GROUP_SPAWN(g, just_runs, .code = i));
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    for (i = 5; i < 24; i++) {
        SIM_OK(conc_try(conc_op_group_next(g, &code)));
        CONC_SIM_ASSERT(code == i);
    }
    CONC_SIM_ASSERT(conc_try(conc_op_group_next(g, &code)) == CONC_CLOSED);
    finish_group();
    return 0;
}

static int wait_and_free(void *unused) {
    (void)unused;
    SIM_OK(conc_wait(conc_op_group(g), CONC_FOREVER));
    SIM_OK(conc_group_free(g));
    return 0;
}

/* Who has waited for all may free the group at once. */
static int group_free_at_once(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(1, false, false);
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    sim_start(&crew, wait_and_free, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 2);
    finish();
    return 0;
}

static int cancel_wait_free(void *unused) {
    SIM_OK(conc_group_cancel(g));
    return wait_and_free(unused);
}

static int group_cancel_and_free(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(1, false, false);
    SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
    SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
    sim_start(&crew, cancel_wait_free, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 0);
    finish();
    return 0;
}

static int wait_group(void *unused) {
    (void)unused;
    SIM_OK(conc_group_wait(g, CONC_FOREVER));
    return 0;
}

/* Two threads wait, and nobody but them runs the loop. */
static int group_run_by_waiters(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(1, false, false);
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    SIM_OK(CONC_GROUP_SPAWN(g, member, .code = 0));
    sim_start(&crew, wait_group, NULL);
    sim_start(&crew, wait_group, NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 2);
    finish_group();
    return 0;
}

/* Spawns one only when it would run at once. */
CONC_CORO(fills, int i;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 3; self->i++) {
        CO_AWAIT(conc_op_group_room(g));
        SIM_OK(self->co.result);
        CONC_SIM_ASSERT(conc_group_count(g) == 0);
        SIM_OK(CONC_GROUP_SPAWN(g, member_waits, .p = NULL));
        CONC_SIM_ASSERT(conc_try(conc_op_group_room(g)) == CONC_FULL);
    }
    CO_END;
}

static int put_three(void *unused) {
    (void)unused;
    return put_item(0) + put_item(1) + put_item(2);
}

static int group_room(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin_group(1, false, false);
    SIM_OK(CONC_GO(loop, fills, .i = 0));
    sim_start(&crew, put_three, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    CONC_SIM_ASSERT(ran == 3);
    finish_group();
    return 0;
}

/* ---- offloaded calls ---------------------------------------------------------------------------------------------- */

typedef struct call {
    int in, out;
    int *also; /* written by the call, too, where it is; NULL: nowhere */
} call;

static uint32_t called; /* atomic */

static int doubles(void *arg) {
    call *c = (call *)arg;
    c->out = 2 * c->in;
    if (c->also != NULL) {
        CONC_SIM_WRITE(*c->also);
        *c->also = c->in;
    }
    count(&called);
    return c->in == 13;
}

CONC_CORO(offloads, call c; int also;) {
    CO_BEGIN;
    self->c.also = &self->also;
    CO_AWAIT(conc_op_offload(NULL, doubles, &self->c));
    CONC_SIM_READ(self->also);
    CONC_SIM_ASSERT(self->also == self->c.in);
    CONC_SIM_ASSERT(self->co.result == (self->c.in == 13 ? CONC_FAILED : CONC_OK));
    CONC_SIM_ASSERT(self->c.out == 2 * self->c.in);
    count(&ran);
    CO_END;
}

static int offload_result(void *unused) {
    (void)unused;
    begin(0);
    conc__store32(&called, 0, CONC__RELAXED); /* (a call that nobody waits for may still be made) */
    SIM_OK(CONC_GO(loop, offloads, .c = {4, 0, NULL}));
    SIM_OK(CONC_GO(loop, offloads, .c = {13, 0, NULL}));
    run_and_free();
    CONC_SIM_ASSERT(ran == 2 && conc__load32(&called, CONC__RELAXED) == 2);
    finish();
    return 0;
}

CONC_CORO(offloads_in_time, call c; double seconds;) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_offload(NULL, doubles, &self->c), conc_after(self->seconds));
    CONC_SIM_ASSERT(self->co.result == CONC_OK || self->co.result == CONC_TIMEOUT);
    CONC_SIM_ASSERT(self->c.out == (self->co.result == CONC_OK ? 10 : 0));
    if (self->co.result == CONC_OK) count(&ran);
    CO_END;
}

/* The wait's time passes before, while and after the call is made: what it makes is dropped, and nothing is left. */
static int offload_in_time(void *unused) {
    (void)unused;
    begin(0);
    conc__store32(&called, 0, CONC__RELAXED); /* (a call that nobody waits for may still be made) */
    SIM_OK(CONC_GO(loop, offloads_in_time, .c = {5, 0, NULL}, .seconds = 0.0001));
    SIM_OK(CONC_GO(loop, offloads_in_time, .c = {5, 0, NULL}, .seconds = 0.0002));
    run_and_free();
    CONC_SIM_ASSERT(ran <= 2);
    finish();
    return 0;
}

CONC_CORO(offloads_canceled, call c; bool done;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_offload(NULL, doubles, &self->c));
    SIM_OK(self->co.result);
    self->done = true;
    CO_FINALLY;
    CONC_SIM_ASSERT(self->c.out == (self->done ? 10 : 0));
    count(&cleaned);
    CO_END;
}

static conc_task *task;

static int cancel_task(void *unused) {
    (void)unused;
    perhaps_late();
    CONC_SIM_ASSERT(conc_task_cancel(task) == CONC_OK || conc_task_has_ended(task));
    return 0;
}

static int offload_canceled(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    conc__store32(&called, 0, CONC__RELAXED); /* (a call that nobody waits for may still be made) */
    task = CONC_SPAWN(loop, offloads_canceled, .c = {5, 0, NULL}, .done = false);
    CONC_SIM_ASSERT(task != NULL);
    sim_start(&crew, cancel_task, NULL);
    SIM_OK(conc_loop_run(loop, CONC_FOREVER));
    sim_join(&crew);
    SIM_OK(conc_task_detach(task));
    finish();
    return 0;
}

static int offload_by_thread(void *seconds) {
    call c = {3, 0, NULL};
    conc_result r = conc_wait(conc_op_offload(NULL, doubles, &c), seconds != NULL ? conc_after(0.0001) : CONC_FOREVER);
    CONC_SIM_ASSERT(r == CONC_OK || (seconds != NULL && r == CONC_TIMEOUT));
    CONC_SIM_ASSERT(c.out == (r == CONC_OK ? 6 : 0));
    return 0;
}

/* Two threads at once, and one of them again: its call finds a thread that is idle, about to be, or none. */
static int offload_threads(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    conc__store32(&called, 0, CONC__RELAXED); /* (a call that nobody waits for may still be made) */
    sim_start(&crew, offload_by_thread, &called);
    (void)offload_by_thread(NULL);
    (void)offload_by_thread(NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(conc__load32(&called, CONC__RELAXED) >= 2);
    return 0;
}

/* ---- the dump --------------------------------------------------------------------------------------------------------- */

static uint32_t lines, of_tasks; /* atomic */

static void see_line(const char *text, void *arg) {
    CONC_SIM_ASSERT(text != NULL && text[0] != '\0' && arg == &lines);
    count(&lines);
    if (strstr(text, "task \"") != NULL) count(&of_tasks);
}

static int dump(void *unused) {
    (void)unused;
    conc_dump(see_line, &lines);
    return 0;
}

CONC_CORO(sleeps_long, int i;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(2.0));
    CO_END;
}

/* Of a loop that runs, sleeps, ends: it writes itself, or is said not to answer. */
static int dump_running(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(1);
    lines = of_tasks = 0;
    SIM_OK(CONC_GO(loop, get_some, .n = 1));
    SIM_OK(CONC_GO(loop, yields, .code = 0));
    sim_start(&crew, dump, NULL);
    sim_start(&crew, put_0, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(of_tasks <= 2);
    finish();
    return 0;
}

/* Two who ask at once, a loop that sleeps for long. */
static int dump_twice(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    begin(0);
    lines = of_tasks = 0;
    SIM_OK(CONC_GO(loop, sleeps_long, .i = 0));
    sim_start(&crew, dump, NULL);
    sim_start(&crew, dump, NULL);
    run_and_free();
    sim_join(&crew);
    CONC_SIM_ASSERT(lines >= 2 && of_tasks <= 2);
    finish();
    return 0;
}

/* ---- who looks whether it stands still --------------------------------------------------------------------------------------- */

CONC_CORO(blocks, int i;) {
    CO_BEGIN;
    SIM_OK(conc_sleep(conc_after(0.003)));
    CO_AWAIT(conc_op_sleep(0.001));
    CO_END;
}

static void see_report(const conc_error *error, void *arg) {
    CONC_SIM_ASSERT(error->result == CONC_BUSY && strstr(error->text, "blocks") != NULL && arg == NULL);
}

/* The timer comes back while the loop ends and goes. */
static int stall_and_free(void *unused) {
    conc_loop_desc desc;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.stall_after = 0.001;
    conc_set_error_hook(see_report, NULL);
    begin_ex(0, &desc);
    SIM_OK(CONC_GO(loop, blocks, .i = 0));
    run_and_free();
    finish();
    conc_set_error_hook(NULL, NULL);
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(group_limit, 1),
    SIM_TEST(group_limit_of_two, 1),
    { "group_first_error", group_first_error, 1, 0, true },
    SIM_TEST(group_cancel_aside, 1),
    SIM_TEST(group_spawn_or_cancel, 1),
    SIM_TEST(group_codes, 1),
    SIM_TEST(group_many_codes, 1),
    SIM_TEST(group_free_at_once, 1),
    SIM_TEST(group_cancel_and_free, 1),
    SIM_TEST(group_run_by_waiters, 1),
    SIM_TEST(group_room, 1),
    SIM_TEST(offload_result, 1),
    SIM_TEST(offload_in_time, 1),
    SIM_TEST(offload_canceled, 1),
    SIM_TEST(offload_threads, 1),
    SIM_TEST(dump_running, 1),
    SIM_TEST(dump_twice, 1),
    { "stall_and_free", stall_and_free, 0, 0, true },
};

SIM_MAIN("sim_group", tests)
