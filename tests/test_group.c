/* Groups of tasks: all, the next, the first failure; limits; from other threads. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static conc_mutex report_lock;
static int reports;
static void hook(const conc_error *e, void *user) {
    (void)e;
    (void)user;
    CONC_WITH_LOCK(&report_lock) reports++;
}

static conc_loop *loop;
static conc_group *group;

static void begin(size_t limit, bool cancel_on_error, bool keep_codes) {
    conc_group_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.limit = limit;
    desc.cancel_on_error = cancel_on_error;
    desc.keep_codes = keep_codes;
    loop = conc_loop_new(NULL);
    group = conc_group_new(loop, &desc);
    if (!CHECK(loop != NULL && group != NULL)) exit(1);
}

static void finish(void) {
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(conc_group_count(group), 0);
    CHECK_OK(conc_group_free(group));
    CHECK_OK(conc_loop_free(loop));
}

CONC_CORO(returns, int code; int yields;) {
    CO_BEGIN;
    while (self->yields-- > 0) CO_YIELD;
    CO_RETURN(self->code);
    CO_END;
}

static int cleaned;
CONC_CORO(forever, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_never());
    CO_FINALLY;
    CO_YIELD;
    cleaned++;
    CO_END;
}

/* ---- all of them ---- */

static void wait_for_all(void) {
    int i;
    begin(0, false, false);
    CHECK_OK(conc_group_wait(group, CONC_FOREVER)); /* nobody is in it */
    for (i = 0; i < 5; i++) CHECK_OK(CONC_GROUP_SPAWN(group, returns, .yields = i * 200));
    CHECK_EQ(conc_group_count(group), 5);
    CHECK_EQ(conc_loop_count(loop), 5);
    CHECK_R(conc_group_wait(group, CONC_NOW), CONC_BUSY); /* (it has run the loop for a lap) */
    CHECK_MISUSE(conc_group_free(group), CONC_BUSY);
    CHECK_OK(conc_group_wait(group, CONC_FOREVER));
    CHECK_EQ(conc_group_count(group), 0);
    CHECK_EQ(conc_group_code(group), 0);
    /* the first code that is not 0 */
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 5, .yields = 3));
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 6, .yields = 1));
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 7, .yields = 2));
    CHECK_R(conc_group_wait(group, CONC_FOREVER), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "6");
    CHECK_EQ(conc_group_code(group), 6);
    CHECK_R(conc_wait(conc_op_group(group), CONC_FOREVER), CONC_FAILED);
    CHECK_EQ(reports, 0); /* that is where failures are told */
    finish();
}

CONC_CORO(waits_for_all, int *order;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_group(group));
    CHECK_OK(self->co.result);
    CHECK_EQ(conc_group_count(group), 0);
    CHECK_R(conc_group_wait(group, CONC_FOREVER), CONC_OK); /* need not wait */
    ++*self->order;
    CO_END;
}

CONC_CORO(blocks_wrongly, ) {
    CO_BEGIN;
    CHECK_MISUSE(conc_group_wait(group, CONC_FOREVER), CONC_DEADLOCK);
    CO_END;
}

static void wait_for_all_in_tasks(void) {
    int i, n = 0;
    begin(0, false, false);
    for (i = 0; i < 10; i++) CHECK_OK(CONC_GROUP_SPAWN(group, returns, .yields = i));
    CHECK_OK(CONC_GO(loop, blocks_wrongly));
    CHECK_OK(CONC_GO(loop, waits_for_all, .order = &n));
    CHECK_OK(CONC_GO(loop, waits_for_all, .order = &n));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(n, 2);
    finish();
}

/* ---- one after the other ---- */

CONC_CORO(takes_codes, int n, sum, code;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_group_next(group, &self->code));
        if (self->co.result != CONC_OK) break;
        self->n++;
        self->sum += self->code;
    }
    CHECK_R(self->co.result, CONC_CLOSED);
    CHECK_EQ(self->n, 40);
    CO_RETURN(self->sum);
    CO_END;
}

static void the_next(void) {
    int i, code = -1;
    conc_task *t;
    begin(0, false, true);
    CHECK_R(conc_try(conc_op_group_next(group, &code)), CONC_CLOSED);
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 1, .yields = 2));
    CHECK_R(conc_try(conc_op_group_next(group, &code)), CONC_EMPTY);
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 2, .yields = 1));
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 0, .yields = 3));
    CHECK_R(conc_group_wait(group, CONC_FOREVER), CONC_FAILED); /* and the codes are kept */
    CHECK_OK(conc_try(conc_op_group_next(group, &code)));
    CHECK_EQ(code, 2);
    CHECK_OK(conc_try(conc_op_group_next(group, NULL)));
    CHECK_OK(conc_wait(conc_op_group_next(group, &code), CONC_FOREVER));
    CHECK_EQ(code, 0);
    CHECK_R(conc_try(conc_op_group_next(group, &code)), CONC_CLOSED);
    /* many, told while others enter */
    for (i = 0; i < 40; i++) CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = i, .yields = (i * 7) % 11));
    t = CONC_SPAWN(loop, takes_codes);
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, 40 * 39 / 2);
    finish();
    begin(0, false, false);
    CHECK_MISUSE(conc_try(conc_op_group_next(group, &code)), CONC_INVALID); /* keeps none */
    finish();
}

/* ---- at most so many ---- */

static int running, most, order[100], ordered;
CONC_CORO(counts, int number; int yields;) {
    CO_BEGIN;
    if (++running > most) most = running;
    if (ordered < 100) order[ordered++] = self->number;
    while (self->yields-- > 0) CO_YIELD;
    running--;
    CO_END;
}

CONC_CORO(spawns_when_there_is_room, int i;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 20; self->i++) {
        CO_AWAIT(conc_op_group_room(group));
        CHECK_OK(self->co.result);
        CHECK(running < 3);
        CHECK_OK(CONC_GROUP_SPAWN(group, counts, .yields = self->i % 4));
        CHECK_EQ(conc_group_count(group), (size_t)running + 1); /* it has not begun */
        CO_YIELD;
    }
    CO_END;
}

static void limits(void) {
    int i;
    begin(3, false, false);
    running = most = ordered = 0;
    CHECK_OK(conc_try(conc_op_group_room(group)));
    for (i = 0; i < 30; i++) CHECK_OK(CONC_GROUP_SPAWN(group, counts, .number = i, .yields = 1 + i % 5));
    CHECK_R(conc_try(conc_op_group_room(group)), CONC_FULL);
    CHECK_EQ(conc_group_count(group), 30);
    CHECK_OK(conc_group_wait(group, CONC_FOREVER));
    CHECK_EQ(most, 3);
    CHECK_EQ(ordered, 30);
    for (i = 0; i < 30; i++) CHECK_EQ(order[i], i); /* in the order in which they came */
    CHECK_OK(conc_try(conc_op_group_room(group)));
    CHECK_OK(CONC_GO(loop, spawns_when_there_is_room));
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_EQ(most, 3);
    finish();
}

/* ---- cancels ---- */

static void canceled(void) {
    int i;
    conc_op op;
    begin(2, false, true);
    cleaned = 0;
    for (i = 0; i < 6; i++) CHECK_OK(CONC_GROUP_SPAWN(group, forever)); /* two of them run, four wait for room */
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_OK(conc_group_cancel(group));
    CHECK_MISUSE(CONC_GROUP_SPAWN(group, forever), CONC_CANCELED);
    CHECK_R(conc_try(conc_op_group_room(group)), CONC_CANCELED);
    CHECK_OK(conc_group_wait(group, CONC_FOREVER)); /* no failure */
    CHECK_EQ(cleaned, 6); /* those that never began, too */
    CHECK_EQ(conc_group_code(group), 0);
    CHECK_OK(conc_group_cancel(group)); /* harmless */
    for (i = 0; i < 6; i++) {
        int code = 0;
        op = conc_op_group_next(group, &code);
        CHECK_OK(conc_try(op));
        CHECK_EQ(code, CONC_CANCELED);
    }
    CHECK_R(conc_try(conc_op_group_next(group, NULL)), CONC_CLOSED);
    finish();
}

static void canceled_by_a_failure(void) {
    int i;
    begin(0, true, false);
    cleaned = 0;
    for (i = 0; i < 4; i++) CHECK_OK(CONC_GROUP_SPAWN(group, forever));
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .yields = 2)); /* no failure */
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 12, .yields = 4));
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 13, .yields = 9)); /* a yield is where a cancel strikes, too */
    CHECK_R(conc_group_wait(group, CONC_FOREVER), CONC_FAILED);
    CHECK_EQ(conc_group_code(group), 12);
    CHECK_EQ(cleaned, 4);
    finish();
    /* with a limit: those that wait for room go to their clean-up parts */
    begin(2, true, false);
    cleaned = 0;
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 3, .yields = 1));
    for (i = 0; i < 5; i++) CHECK_OK(CONC_GROUP_SPAWN(group, forever));
    CHECK_R(conc_group_wait(group, CONC_FOREVER), CONC_FAILED);
    CHECK_EQ(cleaned, 5);
    finish();
}

/* One of those that wait for room is canceled, alone. */
static void canceled_aside(void) {
    conc_task_desc desc;
    conc_task *t;
    int code = 0;
    begin(1, false, false);
    memset(&desc, 0, sizeof desc);
    desc.group = group;
    desc.name = "member";
    CHECK_OK(CONC_GROUP_SPAWN(group, returns, .yields = 20));
    t = CONC_SPAWN_EX(loop, &desc, forever);
    CHECK_STR(conc_task_name(t), "member");
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    CHECK_OK(conc_group_wait(group, CONC_FOREVER));
    finish();
}

/* With a start in the future, and a token. */
static void later_members(void) {
    conc_cancel token = { NULL, 0 };
    conc_task_desc desc;
    begin(0, false, true);
    memset(&desc, 0, sizeof desc);
    desc.group = group;
    desc.start = conc_after(0.002);
    CHECK_OK(conc_task_detach(CONC_SPAWN_EX(NULL, &desc, returns))); /* the group says which loop */
    CHECK_OK(conc_group_wait(group, CONC_FOREVER));
    CHECK(conc_deadline_passed(desc.start));
    desc.start = conc_after(1000);
    desc.cancel = &token;
    CHECK_OK(conc_task_detach(CONC_SPAWN_EX(loop, &desc, returns)));
    CHECK_R(conc_group_wait(group, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_cancel_fire(&token));
    CHECK_OK(conc_group_wait(group, CONC_FOREVER));
    finish();
}

static void misused(void) {
    conc_loop *other = conc_loop_new(NULL);
    conc_task_desc desc;
    begin(0, false, false);
    CHECK_MISUSE_NULL(conc_group_new(NULL, NULL), CONC_INVALID);
    CHECK_OK(conc_group_free(NULL));
    CHECK_MISUSE(conc_group_cancel(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_group_wait(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_group(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_group_next(NULL, NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_group_room(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(CONC_GROUP_SPAWN(NULL, returns), CONC_INVALID);
    CHECK_EQ(conc_group_count(NULL), 0);
    CHECK_EQ(conc_group_code(NULL), 0);
    memset(&desc, 0, sizeof desc);
    desc.group = group;
    CHECK_MISUSE_NULL(CONC_SPAWN_EX(other, &desc, returns), CONC_INVALID); /* another loop's */
    CHECK_EQ(conc_group_count(group), 0);
    CHECK_OK(conc_loop_free(other));
    finish();
}

/* ---- other threads ---- */

static int runs_loop(void *arg) {
    conc_result r = conc_loop_run((conc_loop *)arg, CONC_FOREVER);
    return r == CONC_CLOSED || r == CONC_OK ? 0 : (int)r;
}

static int spawns(void *arg) {
    int i;
    (void)arg;
    for (i = 0; i < check_rounds(2000); i++) {
        CHECK_OK(CONC_GROUP_SPAWN(group, returns, .code = 1, .yields = i % 3));
    }
    return 0;
}

static int takes(void *arg) {
    int code = 0;
    conc_result r;
    while ((r = conc_wait(conc_op_group_next(group, &code), CONC_FOREVER)) == CONC_OK) *(int *)arg += code;
    return r == CONC_CLOSED ? 0 : 1;
}

static void told(void *arg) {
    CHECK_OK(conc_event_set((conc_event *)arg));
}

static void by_threads(void) {
    conc_loop_desc desc;
    conc_group_desc group_desc;
    conc_event e = { 0 };
    crew runner = { 0 }, spawners = { 0 }, takers = { 0 };
    int i, limit;
    for (limit = 0; limit < 3; limit += 2) {
        int sums[2] = { 0, 0 };
        memset(&desc, 0, sizeof desc);
        desc.until_stopped = true;
        memset(&group_desc, 0, sizeof group_desc);
        group_desc.keep_codes = true;
        group_desc.limit = (size_t)limit;
        loop = conc_loop_new(&desc);
        group = conc_group_new(loop, &group_desc);
        CHECK_OK(conc_event_reset(&e));
        CHECK_OK(conc_loop_post(loop, told, &e));
        crew_add(&runner, runs_loop, loop);
        CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
        for (i = 0; i < 3; i++) crew_add(&spawners, spawns, NULL);
        for (i = 0; i < 20; i++) (void)conc_group_wait(group, conc_after(0.0001));
        crew_join(&spawners);
        for (i = 0; i < 2; i++) crew_add(&takers, takes, &sums[i]);
        crew_join(&takers);
        CHECK_EQ(sums[0] + sums[1], 3 * check_rounds(2000));
        CHECK_R(conc_group_wait(group, CONC_FOREVER), CONC_FAILED);
        CHECK_OK(conc_loop_stop(loop));
        crew_join(&runner);
        CHECK_OK(conc_group_free(group));
        CHECK_OK(conc_loop_free(loop));
    }
}

static int cancels(void *arg) {
    nudge((unsigned)*(int *)arg);
    return conc_group_cancel(group) == CONC_OK ? 0 : 1;
}

static void canceled_by_threads(void) {
    int i, k;
    for (i = 0; i < check_rounds(50); i++) {
        crew c = { 0 };
        begin(i % 2 ? 2 : 0, false, false);
        for (k = 0; k < 5; k++) CHECK_OK(CONC_GROUP_SPAWN(group, forever));
        crew_add(&c, cancels, &i);
        crew_add(&c, cancels, &i);
        CHECK_OK(conc_group_wait(group, CONC_FOREVER));
        crew_join(&c);
        finish();
    }
}

int main(void) {
    check_begin("group");
    conc_set_error_hook(hook, NULL);
    RUN(wait_for_all);
    RUN(wait_for_all_in_tasks);
    RUN(the_next);
    RUN(limits);
    RUN(canceled);
    RUN(canceled_by_a_failure);
    RUN(canceled_aside);
    RUN(later_members);
    RUN(misused);
    RUN(by_threads);
    RUN(canceled_by_threads);
    CHECK_EQ(reports, 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
