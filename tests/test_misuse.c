/* Misuse: for each call what it answers to NULL, to sizes that cannot be, to being called at the wrong time; with one
 * sentence in conc_error_detail() and nothing changed. What needs two threads or a whole scene stands in the test of the
 * primitive. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

/* Huge allocations are to fail here, not to end the program. */
#if CHECK_ASAN
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
#endif
#if CHECK_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "allocator_may_return_null=1";
}
#endif

static bool yes(void *arg) {
    (void)arg;
    return true;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static void drop(void *item, void *arg) {
    (void)item;
    (void)arg;
}

static int by_value(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void waits(void) {
    conc_op ops[3];
    conc_event e = { 0 };
    conc_op none;
    memset(&none, 0, sizeof none);
    CHECK_MISUSE(conc_wait(none, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_try(none), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_make(NULL, &e, NULL), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_select(NULL, 1, CONC_FOREVER), CONC_INVALID);
    ops[0] = conc_op_event(&e);
    ops[1] = none;
    CHECK_MISUSE(conc_select(ops, 0, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_select(ops, 1001, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_select(ops, (size_t)-1, CONC_FOREVER), CONC_INVALID);
    CHECK_OK(conc_event_set(&e));
    CHECK_MISUSE(conc_select(ops, 2, CONC_FOREVER), CONC_INVALID); /* although the first is ready */
    CHECK(conc_event_is_set(&e));
    CHECK_MISUSE(conc_cancel_fire(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_canceled(NULL), CONC_FOREVER), CONC_INVALID);
    CHECK(!conc_cancel_fired(NULL));
}

/* An op of NULL completes, with INVALID, like the call; in a select too. */
static void ops_of_null(void) {
    conc_event never = { 0 };
    conc_op ops[2];
    int x = 0;
    size_t i;
    conc_op bad[16];
    bad[0] = conc_op_lock(NULL);
    bad[1] = conc_op_signal(NULL);
    bad[2] = conc_op_read(NULL);
    bad[3] = conc_op_write(NULL);
    bad[4] = conc_op_brlock_read(NULL);
    bad[5] = conc_op_brlock_write(NULL);
    bad[6] = conc_op_acquire(NULL);
    bad[7] = conc_op_event(NULL);
    bad[8] = conc_op_barrier(NULL, NULL);
    bad[9] = conc_op_latch(NULL);
    bad[10] = conc_op_thread_end(NULL);
    bad[11] = conc_op_timer(NULL);
    bad[12] = conc_op_put(NULL, &x);
    bad[13] = conc_op_get(NULL, &x);
    bad[14] = conc_op_queue_join(NULL);
    bad[15] = conc_op_canceled(NULL);
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_MISUSE(conc_try(bad[i]), CONC_INVALID);
        CHECK_MISUSE(conc_wait(bad[i], CONC_FOREVER), CONC_INVALID);
        ops[0] = conc_op_event(&never);
        ops[1] = bad[i];
        check_mark();
        CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
        CHECK_R(ops[1].result, CONC_INVALID);
    }
}

static void mutexes(void) {
    conc_mutex m = { 0 };
    conc_rmutex r = { { 0 }, 0 };
    CHECK_MISUSE(conc_mutex_lock(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_mutex_lock(NULL, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_mutex_try_lock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_mutex_unlock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_mutex_destroy(NULL), CONC_INVALID);
    CHECK(!conc_mutex_is_mine(NULL));
    CHECK_MISUSE(conc_mutex_unlock(&m), CONC_NOT_OWNER);
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_MISUSE(conc_mutex_destroy(&m), CONC_BUSY);
    CHECK_MISUSE(conc_wait(conc_op_lock(&m), CONC_FOREVER), CONC_DEADLOCK);
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_mutex_destroy(&m));
    CHECK_MISUSE(conc_rmutex_lock(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_rmutex_try_lock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_rmutex_unlock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_rmutex_destroy(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_rmutex_unlock(&r), CONC_NOT_OWNER);
    CHECK_OK(conc_rmutex_try_lock(&r));
    CHECK_MISUSE(conc_rmutex_destroy(&r), CONC_BUSY);
    CHECK_OK(conc_rmutex_unlock(&r));
}

static void conditions(void) {
    conc_cond c = { 0 };
    conc_mutex m = { 0 };
    CHECK_MISUSE(conc_cond_wait(&c, &m, CONC_FOREVER), CONC_NOT_OWNER);
    CHECK_MISUSE(conc_cond_wait_for(&c, &m, yes, NULL, CONC_FOREVER), CONC_NOT_OWNER);
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_MISUSE(conc_cond_wait(NULL, &m, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_cond_wait(&c, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_cond_wait_for(NULL, &m, yes, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_cond_wait_for(&c, NULL, yes, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_cond_wait_for(&c, &m, NULL, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK(conc_mutex_is_mine(&m)); /* as before */
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_MISUSE(conc_cond_signal(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_cond_broadcast(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_cond_destroy(NULL), CONC_INVALID);
}

static void rwlocks(void) {
    conc_rwlock l = { 0 };
    conc_brlock *b = conc_brlock_new();
    CHECK_MISUSE(conc_rwlock_read(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_rwlock_write(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_rwlock_unlock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_rwlock_destroy(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_rwlock_unlock(&l), CONC_NOT_OWNER);
    CHECK_OK(conc_rwlock_read(&l, CONC_FOREVER));
    CHECK_MISUSE(conc_rwlock_destroy(&l), CONC_BUSY);
    CHECK_OK(conc_rwlock_unlock(&l));
    CHECK_MISUSE(conc_rwlock_unlock(&l), CONC_NOT_OWNER);
    CHECK_MISUSE(conc_brlock_read(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_brlock_write(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_brlock_read_unlock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_brlock_write_unlock(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_brlock_read_unlock(b), CONC_NOT_OWNER);
    CHECK_MISUSE(conc_brlock_write_unlock(b), CONC_NOT_OWNER);
    CHECK_OK(conc_brlock_read(b, CONC_FOREVER));
    CHECK_MISUSE(conc_brlock_write_unlock(b), CONC_NOT_OWNER);
    CHECK_MISUSE(conc_brlock_free(b), CONC_BUSY);
    CHECK_OK(conc_brlock_read_unlock(b));
    CHECK_OK(conc_brlock_write(b, CONC_FOREVER));
    CHECK_MISUSE(conc_brlock_write(b, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_brlock_read(b, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_OK(conc_brlock_write_unlock(b));
    CHECK_OK(conc_brlock_free(b));
}

static void counters(void) {
    conc_event e = { 0 };
    conc_latch l = { 0 };
    CHECK_MISUSE(conc_semaphore_init(NULL, 1, 1), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_acquire(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_release(NULL, 1), CONC_INVALID);
    CHECK_MISUSE(conc_semaphore_destroy(NULL), CONC_INVALID);
    CHECK_EQ(conc_semaphore_permits(NULL), 0);
    CHECK_MISUSE(conc_event_set(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_event_reset(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_event_wait(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_event_destroy(NULL), CONC_INVALID);
    CHECK(!conc_event_is_set(NULL));
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_event_destroy(&e)); /* set is not in use */
    CHECK_MISUSE(conc_latch_add(NULL, 1), CONC_INVALID);
    CHECK_MISUSE(conc_latch_done(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_latch_wait(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_latch_destroy(NULL), CONC_INVALID);
    CHECK_EQ(conc_latch_count(NULL), 0);
    CHECK_MISUSE(conc_latch_done(&l), CONC_INVALID);
}

static void barriers_and_onces(void) {
    conc_barrier zero = { 0 };
    conc_once o = { 0 };
    CHECK_MISUSE(conc_barrier_wait(NULL, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_barrier_wait(&zero, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_barrier_abort(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_barrier_reset(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_barrier_destroy(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_once_do(NULL, nothing, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_once_do(&o, NULL, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_OK(conc_once_do(&o, nothing, NULL, CONC_FOREVER)); /* that was no run */
}

static void threads_and_timers(void) {
    conc_local none = { 0 };
    CHECK_MISUSE_NULL(conc_thread_start(NULL, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_thread_join(NULL, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_thread_detach(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_thread_set_name(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_local_set(NULL, NULL), CONC_INVALID);
    CHECK(conc_local_get(&none) == NULL);
    CHECK_MISUSE_NULL(conc_timer_start(NULL, NULL, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_timer_cancel(NULL), CONC_INVALID);
    conc_timer_release(NULL);
}

static void queues_that_cannot_be(void) {
    conc_queue_desc desc;
    const size_t big = (size_t)-1;
    conc_queue *q;
    memset(&desc, 0, sizeof desc);
    CHECK_MISUSE_NULL(conc_queue_new(0, 0), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(0, 5), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(big / 2, 3), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(3, big / 2), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(big, 2), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(2, big), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(big, big), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new(64, big / 64 + 1), CONC_INVALID);
    /* it would just fit a size_t: whether it is called too big or no memory, it does not exist */
    CHECK(conc_queue_new(1, big) == NULL);
    CHECK(conc_error_result() == CONC_INVALID || conc_error_result() == CONC_NO_MEMORY);
    CHECK(conc_queue_new(big, 1) == NULL);
    CHECK(conc_error_result() == CONC_INVALID || conc_error_result() == CONC_NO_MEMORY);
    CHECK(conc_queue_new(big / 64, 64) == NULL);
    CHECK(conc_error_result() == CONC_INVALID || conc_error_result() == CONC_NO_MEMORY);
    if (sizeof(size_t) > 4) { /* with 32 bits that may be had */
        CHECK_MISUSE_NULL(conc_queue_new((size_t)1 << (sizeof(size_t) * 8 - 4), 1), CONC_NO_MEMORY);
    }
    desc.kind = CONC_PRIORITY;
    CHECK_MISUSE_NULL(conc_queue_new_ex(sizeof(int), 1, &desc), CONC_INVALID); /* no compare */
    desc.compare = by_value;
    CHECK_MISUSE_NULL(conc_queue_new_ex(0, 1, &desc), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_queue_new_ex(big / 2, 3, &desc), CONC_INVALID);
    desc.kind = (conc_queue_kind)77;
    CHECK_MISUSE_NULL(conc_queue_new_ex(sizeof(int), 1, &desc), CONC_INVALID);
    desc.kind = CONC_LIFO;
    CHECK_MISUSE_NULL(conc_queue_new_ex(3, big / 2, &desc), CONC_INVALID);
    desc.kind = CONC_FIFO;
    desc.compare = NULL;
    q = conc_queue_new_ex(sizeof(int), 1, &desc);
    CHECK(q != NULL);
    CHECK_OK(conc_queue_free(q));
    q = conc_queue_new_ex(sizeof(int), 1, NULL); /* a FIFO */
    CHECK(q != NULL);
    CHECK_OK(conc_queue_free(q));
}

static void queue_calls(conc_queue_kind kind) {
    conc_queue_desc desc;
    conc_queue *q;
    int x = 7;
    short small = 1;
    size_t done = 5;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    desc.compare = by_value;
    q = conc_queue_new_ex(sizeof(int), kind == CONC_HANDOFF ? 0 : 2, &desc);
    if (!CHECK(q != NULL)) return;
    CHECK_MISUSE(conc_queue_put(NULL, &x, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get(NULL, &x, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put_bytes(q, NULL, sizeof x, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get_bytes(q, NULL, sizeof x, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put(q, &small, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get(q, &small, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put_bytes(q, &x, 0, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get_bytes(q, &x, (size_t)-1, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_put(q, &small), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_get(q, &small), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_put_bytes(q, NULL, sizeof x), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_get_bytes(q, NULL, sizeof x), CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put_many(q, &x, 1, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get_many(q, &x, 1, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put_many(NULL, &x, 1, &done, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get_many(NULL, &x, 1, &done, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put_many_bytes(q, NULL, sizeof x, 1, &done, CONC_FOREVER), CONC_INVALID);
    CHECK_EQ(done, 0); /* how many were moved, whatever the result */
    CHECK_MISUSE(conc_queue_get_many_bytes(q, NULL, sizeof x, 1, &done, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_put_many(q, &small, 1, &done, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get_many(q, &small, 1, &done, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_queue_close(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_queue_close_now(NULL, drop, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_queue_close_now(q, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_queue_task_done(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_queue_task_done(q), CONC_INVALID); /* nothing was put */
    CHECK_MISUSE(conc_queue_join(NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_EQ(conc_queue_length(q), 0); /* none of that changed anything */
    CHECK(!conc_queue_is_closed(q));
    CHECK_EQ(x, 7);
    CHECK_EQ(small, 1);
    CHECK_OK(conc_queue_free(q));
}

static void queues(void) {
    int kind;
    conc_queue_desc desc;
    for (kind = CONC_FIFO; kind <= CONC_HANDOFF; kind++) queue_calls((conc_queue_kind)kind);
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_HANDOFF;
    CHECK_MISUSE_NULL(conc_queue_new_ex(sizeof(int), 3, &desc), CONC_INVALID); /* it holds nothing */
}

/* The sentence is one: no newline, and it speaks of the call. */
static void sentences(void) {
    conc_mutex m = { 0 };
    CHECK_R(conc_mutex_unlock(&m), CONC_NOT_OWNER);
    CHECK_HAS(conc_error_detail(), "conc_mutex_unlock");
    CHECK(strchr(conc_error_detail(), '\n') == NULL);
    CHECK(conc_thread_start(NULL, NULL, NULL) == NULL);
    CHECK_HAS(conc_error_detail(), "conc_thread_start");
    CHECK(conc_queue_new(0, 1) == NULL);
    CHECK_HAS(conc_error_detail(), "conc_queue_new");
}

int main(void) {
    check_begin("misuse");
    RUN(waits);
    RUN(ops_of_null);
    RUN(mutexes);
    RUN(conditions);
    RUN(rwlocks);
    RUN(counters);
    RUN(barriers_and_onces);
    RUN(threads_and_timers);
    RUN(queues_that_cannot_be);
    RUN(queues);
    RUN(sentences);
    return check_end();
}
