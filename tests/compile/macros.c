/* Every public macro, alone, nested in itself and in the others, left in every way. Runs, in C and in C++, and
 * returns 0; otherwise the line of the first check that failed is printed. */
struct my_names;
#define CONC_ITERABLE_TYPES(X) X(struct my_names *) X(const char *const *)
#if !defined(CONC_TEST_DECLARATIONS) /* only what the macros leave in a user's file */
#define CONC_IMPLEMENTATION
#endif
#include "../../conc.h"

#include <stdio.h>
#include <string.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            printf("macros.c:%d: not so: %s\n", __LINE__, #x);                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* In a coroutine, which may not return. */
static int wrong_line;
#define CHECK_CO(x)                                                                                \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            printf("macros.c:%d: not so: %s\n", __LINE__, #x);                                     \
            wrong_line = __LINE__;                                                                 \
        }                                                                                          \
    } while (0)

static conc_mutex a, b;
static conc_rmutex r;
static conc_rwlock l;
static conc_cancel token;
static conc_semaphore two = CONC_SEMAPHORE_INIT(2, 3);
static conc_latch one = CONC_LATCH_INIT(1);

static bool all_free(void) {
    bool is_free = conc_mutex_destroy(&a) == CONC_OK && conc_mutex_destroy(&b) == CONC_OK &&
                   conc_rmutex_destroy(&r) == CONC_OK && conc_rwlock_destroy(&l) == CONC_OK;
    return is_free && conc_cancel_current() == NULL;
}

static int nested(void) {
    int runs = 0;
    CONC_WITH_LOCK(&a) {
        CHECK(conc_mutex_is_mine(&a));
        CONC_WITH_LOCK(&b) {
            CONC_WITH_RLOCK(&r) {
                CONC_WITH_RLOCK(&r) {
                    CONC_WITH_READ_LOCK(&l) {
                        CONC_WITH_CANCEL(&token) {
                            CHECK(conc_cancel_current() == &token);
                            CONC_WITH_CANCEL(NULL) {
                                CHECK(conc_cancel_current() == NULL);
                                runs++;
                            }
                            CHECK(conc_cancel_current() == &token);
                        }
                    }
                    CONC_WITH_WRITE_LOCK(&l) {
                        runs++;
                    }
                }
            }
        }
        CHECK(conc_mutex_destroy(&b) == CONC_OK);
    }
    CHECK(runs == 2);
    CHECK(all_free());

    /* without braces, on one line, as the body of an if that has an else */
    CONC_WITH_LOCK(&a) CONC_WITH_LOCK(&b) CONC_WITH_RLOCK(&r) runs++;
    CHECK(runs == 3);
    if (runs == 3)
        CONC_WITH_LOCK(&a) runs++;
    else
        runs = 100;
    CHECK(runs == 4);
    CHECK(all_free());
    return 0;
}

/* break and continue leave the block, not a loop around it. */
static int left_early(void) {
    int i, before = 0, after = 0, past = 0;
    for (i = 0; i < 4; i++) {
        CONC_WITH_LOCK(&a) {
            before++;
            if (i == 1) break;
            if (i == 2) continue;
            after++;
        }
        CHECK(!conc_mutex_is_mine(&a));
        CONC_WITH_WRITE_LOCK(&l) {
            CONC_WITH_RLOCK(&r) {
                if (i == 1) break;
                after += 10;
            }
            if (i == 2) continue;
            after += 100;
        }
        past++;
    }
    CHECK(before == 4 && past == 4);
    CHECK(after == 2 + 30 + 300);
    CHECK(all_free());
    return 0;
}

#if CONC_CC_GNU
static int left_by_return(void) {
    CONC_WITH_LOCK(&a) {
        CONC_WITH_READ_LOCK(&l) {
            CONC_WITH_CANCEL(&token) {
                return 7;
            }
        }
    }
    return 0;
}

static int left_by_goto(void) {
    CONC_WITH_LOCK(&a) {
        CONC_WITH_RLOCK(&r) goto out;
    }
    return 0;
out:
    return 8;
}
#endif

static int queues(void) {
    conc_queue *q = conc_queue_new(sizeof(long), 4), *p = conc_queue_new(sizeof(long), 4);
    long i, many[3] = { 10, 20, 30 }, sum = 0;
    size_t moved = 0;
    conc_op ops[2];
    CHECK(q != NULL && p != NULL);
    for (i = 1; i <= 2; i++) CHECK(conc_queue_put(q, &i, CONC_NOW) == CONC_OK);
    CHECK(conc_try(conc_op_put(q, &i)) == CONC_OK);
    CHECK(conc_queue_put_many(p, many, 3, &moved, CONC_FOREVER) == CONC_OK && moved == 3);
    CHECK(conc_queue_get_many(p, many, 2, &moved, CONC_NOW) == CONC_OK && moved == 2);
    ops[0] = conc_op_until(CONC_FOREVER);
    ops[1] = conc_op_get(p, &i);
    CHECK(conc_select(ops, 2, CONC_FOREVER) == 1 && i == 30);
    for (i = 1; i <= 2; i++) CHECK(conc_queue_put(p, &i, CONC_NOW) == CONC_OK);
    CHECK(conc_queue_close(q) == CONC_OK && conc_queue_close(p) == CONC_OK);
    CHECK(conc_queue_get(q, &i, CONC_NOW) == CONC_OK && i == 1);
    CONC_FOR_QUEUE(long, x, q) {
        CONC_WITH_LOCK(&a) CONC_FOR_QUEUE(long, y, p) sum += 100 * x + y;
        if (x == 2) continue;
        sum += 1000;
    }
    CHECK(sum == 201 + 202 + 1000);
    CHECK(conc_queue_free(q) == CONC_OK && conc_queue_free(p) == CONC_OK);
    return 0;
}

static int processes(void) {
    conc_shared *blocks[CONC_PROCESS_SHARED_MAX];
    conc_process_desc desc;
    memset(&desc, 0, sizeof desc);
    blocks[0] = NULL;
    desc.shared = blocks;
    desc.shared_count = CONC_PROCESS_SHARED_MAX;
    CHECK(conc_process_start(NULL, NULL, 0, &desc) == NULL && conc_error_result() == CONC_INVALID);
    return 0;
}

static int times(const void *in, void *out, void *arg) {
    *(long *)out = *(const int *)in * (long)*(int *)arg;
    return 0;
}

static int process_pools(void) {
    int in[2] = { 1, 2 }, factor = 3;
    long out[2], x = 0;
    conc_iter *it;
    CHECK(conc_procpool_new(CONC_PROCPOOL_MAX_WORKERS + 1, NULL) == NULL);
    CHECK(conc_procpool_map(NULL, in, out, 2, times, &factor, sizeof factor, 0) == CONC_INVALID);
    it = conc_procpool_imap(NULL, conc_iter_array(in, 2), times, long, 0, &factor, sizeof factor, 0);
    CHECK(conc_next(it, &x) == CONC_INVALID);
    conc_iter_close(it);
    it = conc_procpool_imap_unordered(NULL, conc_iter_array(in, 2), times, long, 0, &factor, sizeof factor, 0);
    CHECK(conc_next(it, &x) == CONC_INVALID);
    conc_iter_close(it);
    return 0;
}

static int addresses(void) {
    char text[CONC_ADDRESS_TEXT];
    conc_address address;
    CHECK(conc_address_parse("[::1]:80", 0, &address) == CONC_OK);
    CHECK(conc_address_text(&address, text, sizeof text) == text && text[1] == ':');
    return 0;
}

CONC_MAP_FN(tenfold, int64_t, x, long, (long)x * 10)
CONC_FILTER_FN(not_one, int64_t, x, x != 1)
CONC_FILTER_FN(positive, long, x, x > 0)
CONC_FOLD_FN(add, long, sum, long, x, sum + x)
CONC_FOLD_FN(unused_add, long, sum, int, x, sum + x)

struct pair {
    long a;
    int64_t b;
};
struct three {
    size_t count;
    struct pair items[3];
};

static int iterators(void) {
    long array[4] = { 1, 2, 3, 4 }, sum = 0, x = 0, some[4], *all;
    size_t n = 0;
    bool yes = false;
    conc_iter *it = conc_iter_array(array, 4);
    CHECK(conc_next(it, &x) == CONC_OK && x == 1);
    CHECK(conc_next_n(it, some, 2, &n) == CONC_OK && n == 2 && some[1] == 3);
    conc_iter_close(it);
    CONC_FOREACH(long, y, conc_iter_array(array, 4)) CONC_FOREACH(long, z, conc_iter_array(array, 4)) sum += y * z;
    CHECK(sum == 100);
    sum = 0;
    if (sum == 0)
        CONC_FOREACH(long, y, conc_iter_array(array, 4)) sum += y;
    else
        sum = -1;
    CHECK(sum == 10);
    sum = 0;
    CHECK(conc_fold(conc_map(conc_filter(conc_iter_range(0, 4, 1), not_one, NULL), tenfold, NULL), add, &sum, NULL) == CONC_OK);
    CHECK(sum == 50);
    CONC_FOREACH(struct three, t, conc_batch(struct three, count, items,
                                             conc_zip(struct pair, a, conc_iter_array(array, 4), b, conc_iter_range(0, 9, 1)))) {
        n = t.count;
        if (n == 3) CHECK(t.items[2].a == 3 && t.items[2].b == 2);
    }
    CHECK(n == 1);
    CONC_FOREACH(struct pair, p, conc_enumerate(struct pair, b, a, conc_iter_array(array, 4), 1)) CHECK(p.a == p.b);
    CHECK(conc_any(conc_iter_array(array, 4), positive, NULL, &yes) == CONC_OK && yes);
    CHECK(conc_all(conc_iter_array(array, 4), positive, NULL, &yes) == CONC_OK && yes);
    CHECK(conc_collect(conc_iter_array(array, 4), &all, &n) == CONC_OK && n == 4 && all[3] == 4);
    conc_free_items(all);
    CHECK(conc_collect_into(conc_iter_array(array, 4), some, 4, &n) == CONC_FULL && n == 4 && some[3] == 4);
    return 0;
}

static int iterable(void) {
    conc_iter *const it = NULL;
    struct my_names *mine = NULL;
    const char *const *names = NULL;
    int number = 0;
    char text[4] = "abc";
    char is[CONC_IS_ITERABLE(it) + 2 * CONC_IS_ITERABLE(mine) + 4 * CONC_IS_ITERABLE(names)]; /* a constant */
    CHECK(sizeof is == 7);
    CHECK(!CONC_IS_ITERABLE(number) && !CONC_IS_ITERABLE(text) && !CONC_IS_ITERABLE("abc") && !CONC_IS_ITERABLE(&number));
    (void)it, (void)mine, (void)names, (void)number, (void)text, (void)is;
    return 0;
}

CONC_GENERATOR(counter, int, int i, end;) {
    CONC_BEGIN;
    for (; self->i < self->end; self->i++) CONC_YIELD(self->i);
    CONC_END;
}
CONC_GENERATOR_PLAIN(one_two, int) {
    CONC_BEGIN;
    CONC_YIELD(1); CONC_YIELD(2);
    CONC_END;
}
static struct pair pair_of(long number, int64_t other) {
    struct pair p;
    p.a = number;
    p.b = other;
    return p;
}
CONC_GENERATOR_PLAIN(plain, struct pair, long i;) {
    CONC_BEGIN;
    CONC_YIELD_AT(900001, pair_of(self->i, 1));
    CONC_END;
}
CONC_GENERATOR_SEND(talk, int, const char *, int cleaned, n, m;) {
    CONC_BEGIN;
    if (self->cleaned) CONC_RETURN;
    CONC_TRY_YIELD(1); CONC_TRY_YIELD_AT(900002, self->was_sent ? self->sent[0] : 2);
    if (self->thrown != CONC_OK) CONC_FAIL(CONC_BROKEN);
    CONC_YIELD_FROM(CONC_GEN_NEW(one_two)); CONC_YIELD_FROM_AT(900003, conc_take(CONC_GEN_NEW(one_two), 1));
    CONC_FINALLY;
    self->cleaned++;
    CONC_END;
}

static int generators(void) {
    talk t = CONC_GEN(talk);
    counter c = CONC_GEN_ZERO(counter);
    plain p = CONC_GEN_ZERO(plain);
    struct pair pair = { 0, 0 };
    int x = 0, sum = 0;
    p.i = 4;
    CHECK(CONC_NEXT(plain, &p, &pair) == CONC_OK && pair.a == 4 && pair.b == 1 && CONC_NEXT(plain, &p, &pair) == CONC_CLOSED);
    c.end = 3;
    CHECK(CONC_NEXT(counter, &c, &x) == CONC_OK && conc_next(&c.iter, &x) == CONC_OK && x == 1);
    CHECK(CONC_NEXT(talk, &t, &x) == CONC_OK && CONC_SEND(talk, &t, "a", &x) == CONC_OK && x == 'a');
    CHECK(CONC_NEXT(talk, &t, &x) == CONC_OK && x == 1);
    CHECK(CONC_THROW(talk, &t, CONC_SYSTEM, &x) == CONC_SYSTEM && t.cleaned == 1);
    CONC_FOR_GEN(one_two, y) CONC_FOR_GEN(one_two, z) sum += y * z;
    CHECK(sum == 9);
    if (sum == 9)
        CONC_FOR_GEN(one_two, y) {
            if (y == 1) continue;
            sum += y;
            break;
        }
    else
        sum = 0;
    CHECK(sum == 11);
    CONC_FOREACH(int, y, CONC_GEN_NEW(talk)) sum += y;
    CHECK(sum == 11 + 1 + 2 + 1 + 2 + 1);
#if !defined(__cplusplus)
    CONC_FOR_GEN(counter, y, .i = 1, .end = 4) sum += y;
    c = CONC_GEN(counter, .end = 3);
    CONC_FOREACH(int, y, &c.iter) sum += y;
    CONC_FOREACH(int, y, CONC_GEN_NEW(counter, .end = 3)) sum += y;
    CHECK(sum == 18 + 6 + 3 + 3);
#endif
    return 0;
}

/* ---- coroutines ---- */

CONC_CORO(doubles, int x;) {
    CO_BEGIN;
    CO_YIELD;
    CO_RETURN(self->x * 2);
    CO_END;
}

/* One that is run with AT, in a file of its own it may have any numbers. */
CONC_CORO(numbered, int x, sum; conc_op ops[1]; conc_co_timeout limit;) {
    CO_BEGIN;
    CO_YIELD_AT(1); CO_AWAIT_AT(2, conc_op_sleep(0)); CO_AWAIT_UNTIL_AT(3, conc_op_never(), CONC_NOW);
    CHECK_CO(self->co.result == CONC_BUSY);
    CO_TRY_AWAIT_AT(4, conc_op_until(CONC_NOW), CONC_FOREVER);
    self->ops[0] = conc_op_sleep(1e-6);
    CO_AWAIT_ANY_AT(5, self->ops, 1); CO_AWAIT_ANY_UNTIL_AT(6, self->ops, 1, CONC_FOREVER);
    CHECK_CO(self->co.value == 0 && self->co.result == CONC_OK);
    CO_TIMEOUT_AT(7, self->limit, 1e-6) CO_AWAIT_AT(8, conc_op_never());
    CHECK_CO(self->limit.expired);
#if !defined(__cplusplus)
    CO_CALL_AT(9, doubles, .x = 4);
    CHECK_CO(self->co.value == 8);
#endif
    CO_END;
}

static int abs_of(void *arg) {
    int *x = (int *)arg;
    *x = *x < 0 ? -*x : *x;
    return 0;
}

CONC_CORO(everything, conc_queue *q; long item; conc_op ops[2]; conc_co_timeout limit, inner; conc_task *t; doubles d; int n, sum;) {
    CO_BEGIN;
    self->item = 7;
    CO_AWAIT(conc_op_put(self->q, &self->item)); CO_AWAIT(conc_op_get(self->q, &self->item)); CO_YIELD; CO_YIELD;
    CHECK_CO(self->item == 7 && self->co.result == CONC_OK);
    CO_AWAIT_UNTIL(conc_op_get(self->q, &self->item), CONC_NOW);
    CHECK_CO(self->co.result == CONC_EMPTY);
    CO_TRY_AWAIT(conc_op_get(self->q, &self->item), conc_after(1e-6));
    CHECK_CO(self->co.result == CONC_TIMEOUT);
    self->ops[0] = conc_op_get(self->q, &self->item);
    self->ops[1] = conc_op_sleep(1e-6);
    CO_AWAIT_ANY(self->ops, 2);
    CHECK_CO(self->co.value == 1);
    CO_AWAIT_ANY_UNTIL(self->ops, 1, CONC_NOW);
    CHECK_CO(self->co.value == -1 && self->co.result == CONC_BUSY);
    if (self->n == 0)
        CO_YIELD;
    else
        CO_AWAIT(conc_op_never());
    for (self->n = 0; self->n < 3; self->n++)
        if (self->n == 1) CO_AWAIT(conc_op_sleep(1e-6));
        else CO_YIELD;
    CO_TIMEOUT(self->limit, 1000) {
        CO_TIMEOUT(self->inner, 1e-6) {
            CO_AWAIT(conc_op_never());
            self->n = 1000;
        }
        if (self->inner.expired) break;
        self->n = 1000;
    }
    CHECK_CO(self->n == 3 && !self->limit.expired);
    self->n = -5;
    CO_AWAIT(conc_op_offload(NULL, abs_of, &self->n));
    CHECK_CO(self->n == 5 && self->co.result == CONC_OK);
    self->d = CONC_FRAME_ZERO(doubles);
    self->d.x = 5;
    CO_CALL_FRAME(doubles, self->d);
    self->sum += self->co.value;
    self->t = CONC_SPAWN_FRAME(conc_loop_current(), NULL, doubles, self->d);
    CO_JOIN(self->t);
    self->sum += self->co.value;
#if defined(__cplusplus)
    self->sum += 26;
#else
    CO_CALL(doubles, .x = 6); self->sum += self->co.value; CO_CALL(doubles, .x = 7); self->sum += self->co.value;
#endif
    CO_RETURN(self->sum);
    CO_FINALLY;
    CO_YIELD;
    self->sum = 0;
    CO_END;
}

CONC_CORO(nothing, ) {
    CO_BEGIN;
    CO_END;
}

static int square_of(const void *in, void *out, void *arg) {
    (void)arg;
    *(double *)out = *(const int *)in * (double)*(const int *)in;
    return 0;
}

static int add_range(size_t first, size_t end, void *part, void *arg) {
    (void)arg;
    while (first < end) *(size_t *)part += first++;
    return 0;
}

static void add_parts(void *left, const void *right, void *arg) {
    (void)arg;
    *(size_t *)left += *(const size_t *)right;
}

static int pools(void) {
    static const int in[3] = {1, 2, 3};
    double out[3] = {0, 0, 0}, total = 0;
    size_t sum = 0;
    conc_pool_desc desc;
    conc_pool *pool;
    memset(&desc, 0, sizeof desc);
    desc.core_threads = 2;
    desc.queue_capacity = CONC_POOL_NO_QUEUE;
    desc.max_threads = CONC_POOL_MAX_THREADS;
    pool = conc_pool_new(&desc);
    CHECK(pool != NULL);
    if (conc_pool_map(pool, in, out, 3, square_of, NULL) == CONC_OK)
        CHECK(out[2] > 8.9);
    else
        CHECK(false);
    CHECK(conc_pool_reduce(pool, 0, 5, 1, add_range, add_parts, &sum, NULL) == CONC_OK && sum == 10);
    CONC_FOREACH(double, x, conc_pool_imap(pool, conc_iter_array(in, 3), square_of, double, 2, NULL)) total += x;
    CONC_FOREACH(double, x, conc_pool_imap_unordered(pool, conc_iter_array(in, 3), square_of, double, 0, NULL)) total += x;
    CHECK(total > 27.9 && total < 28.1);
    CHECK(conc_pool_close(pool) == CONC_OK && conc_pool_join(pool, CONC_FOREVER) == CONC_OK && conc_pool_free(pool) == CONC_OK);
    return 0;
}

/* Names that are likely. */
CONC_CORO(task, ) {
    CO_BEGIN;
    CO_END;
}
CONC_CORO(loop, task *frame;) {
    CO_BEGIN;
    CO_END;
}
CONC_CORO(frame, loop *co_; int desc;) {
    CO_BEGIN;
    CO_END;
}

static int coroutines(void) {
    conc_loop *lp = conc_loop_new(NULL);
    conc_queue *q = conc_queue_new(sizeof(long), 4);
    conc_group *group = conc_group_new(lp, NULL);
    everything e = CONC_FRAME_ZERO(everything);
    numbered n = CONC_FRAME_ZERO(numbered);
    conc_task_desc desc;
    conc_task *t;
    int code = 0;
    CHECK(lp != NULL && q != NULL && group != NULL);
    e.q = q;
    t = CONC_SPAWN_FRAME(lp, NULL, everything, e);
    CHECK(conc_task_join(t, &code, CONC_FOREVER) == CONC_OK && code == 46);
    memset(&desc, 0, sizeof desc);
    desc.group = group;
    CHECK(conc_task_detach(CONC_SPAWN_FRAME(lp, &desc, numbered, n)) == CONC_OK);
    CHECK(conc_task_detach(CONC_SPAWN_FRAME(lp, NULL, nothing, CONC_FRAME_ZERO(nothing))) == CONC_OK);
#if !defined(__cplusplus)
    e = CONC_FRAME(everything, .q = q, .n = 0);
    t = CONC_SPAWN(lp, everything, .q = q);
    CHECK(conc_task_join(t, &code, CONC_FOREVER) == CONC_OK && code == 46);
    t = CONC_SPAWN_EX(lp, &desc, doubles, .x = 4);
    CHECK(conc_task_join(t, &code, CONC_FOREVER) == CONC_OK && code == 8);
    t = CONC_SPAWN_LATER(lp, 1e-6, doubles, .x = 5);
    CHECK(conc_task_join(t, &code, CONC_FOREVER) == CONC_OK && code == 10);
    CHECK(CONC_GO(lp, nothing) == CONC_OK && CONC_GROUP_SPAWN(group, doubles) == CONC_OK);
    CHECK(CONC_SPAWN(NULL, nothing) == NULL);
    if (CONC_GO(lp, doubles) != CONC_OK) return 1;
#endif
    CHECK(conc_loop_run(lp, CONC_FOREVER) == CONC_OK);
    CHECK(conc_group_free(group) == CONC_OK && conc_loop_free(lp) == CONC_OK && conc_queue_free(q) == CONC_OK);
    return wrong_line;
}

static int values(void) {
    size_t woken = CONC_ALL;
    int n = 0;
    CHECK(conc_semaphore_permits(&two) == 2 && two.max == 3 && conc_latch_count(&one) == 1);
    CHECK(woken > 0 && CONC_CANCEL_DEPTH > 1);
    CHECK(CONC_FOREVER.ns > CONC_NOW.ns);
#define COUNT(name, value, text) n++;
    CONC_RESULTS(COUNT)
    CHECK(n > 10);
    CHECK(CONC_VERSION[0] != 0 && CONC_VERSION_MAJOR + CONC_VERSION_MINOR + CONC_VERSION_PATCH > 0);
    CHECK(CONC_OS_WINDOWS + CONC_OS_LINUX + CONC_OS_MACOS <= 1);
    CHECK(CONC_CC_GNU + CONC_CC_MSVC + CONC_CC_TINY >= 1);
    return 0;
}

CONC_API CONC_MUST_CHECK int marked(void); /* CONC_API, CONC_MUST_CHECK */
int marked(void) {
    return 0;
}

int main(void) {
    if (nested() || left_early() || queues() || processes() || process_pools() || addresses() || values() || marked()) return 1;
    if (iterators() || iterable() || generators() || coroutines() || pools()) return 1;
#if CONC_CC_GNU
    CHECK(left_by_return() == 7 && all_free());
    CHECK(left_by_goto() == 8 && all_free());
#endif
    return 0;
}
