/* Out of memory: the n-th allocation fails, for n = 1, 2, 3... until none does, once alone and once with all that follow.
 * Each time: the right result, nothing lost, nothing leaked, and the object can be used on or destroyed. */
#if defined(CONC_TEST_SPLIT)

#include "../conc.h"
#include "check.h"

int main(void) {
    return check_skip("memory", "it needs the implementation with its own allocator");
}

#else

#include <stddef.h>
static void *memory_malloc(size_t size);
static void *memory_realloc(void *p, size_t size);
static void memory_free(void *p);
#define CONC_MALLOC(size) memory_malloc(size)
#define CONC_REALLOC(p, size) memory_realloc((p), (size))
#define CONC_FREE(p) memory_free(p)
#define CONC_IMPLEMENTATION
#include "../conc.h"
#include "check.h"

/* ---- the allocator: counts what lives, and fails when told ---- */

static uint32_t live, calls, fired; /* atomic */
static uint32_t fail_at;            /* the number of the call that fails; 0: none. Set while nobody else allocates */
static bool sticky;                 /* ... and all after it */

static bool memory_fails(void) {
    uint32_t n = conc__add32(&calls, 1, CONC__RELAXED) + 1;
    uint32_t at = conc__load32(&fail_at, CONC__RELAXED);
    if (at == 0 || (n != at && !(sticky && n > at))) return false;
    conc__add32(&fired, 1, CONC__RELAXED);
    return true;
}

static void *memory_malloc(size_t size) {
    void *p = memory_fails() ? NULL : malloc(size);
    if (p != NULL) conc__add32(&live, 1, CONC__RELAXED);
    return p;
}

static void *memory_realloc(void *p, size_t size) {
    void *more = memory_fails() ? NULL : realloc(p, size);
    if (more != NULL && p == NULL) conc__add32(&live, 1, CONC__RELAXED);
    return more;
}

static void memory_free(void *p) {
    if (p != NULL) conc__sub32(&live, 1, CONC__RELAXED);
    free(p);
}

static uint32_t live_now(void) {
    return conc__load32(&live, CONC__RELAXED);
}

/* Runs `scene` with the n-th allocation failing, for each n. It returns CONC_OK or CONC_NO_MEMORY. */
static void each_failure(conc_result (*scene)(void)) {
    int mode, n;
    CHECK_OK(scene()); /* what the library keeps for good is there after this */
    for (mode = 0; mode < 2; mode++) {
        for (n = 1; n < 5000; n++) {
            uint32_t before = live_now(), unexpected;
            conc_result r;
            sticky = mode == 1;
            conc__store32(&fired, 0, CONC__RELAXED);
            conc__store32(&calls, 0, CONC__RELAXED);
            conc__store32(&fail_at, (uint32_t)n, CONC__RELAXED);
            r = scene();
            conc__store32(&fail_at, 0, CONC__RELAXED);
            unexpected = live_now();
            if (unexpected != before) {
                fprintf(stderr, "failing at %d%s:\n", n, sticky ? " and after" : "");
                CHECK_EQ(unexpected, before);
            }
            if (conc__load32(&fired, CONC__RELAXED) == 0) {
                CHECK_OK(r);
                break;
            }
            if (CONC__HAS_TLS || r != CONC_OK) CHECK_R(r, CONC_NO_MEMORY); /* a thread's own record has a substitute */
        }
        CHECK(n < 5000);
    }
    CHECK_OK(scene());
}

/* A failure has to come with its reason. */
static conc_result reason(void) {
    CHECK_R(conc_error_result(), CONC_NO_MEMORY);
    CHECK(conc_error_detail()[0] != '\0');
    return conc_error_result();
}

static int by_value(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* ---- the scenes ---- */

static conc_result queue_scene(conc_queue_kind kind, size_t capacity, int n) {
    conc_queue_desc desc;
    conc_queue *q;
    conc_result first_failure = CONC_OK;
    int i, in = 0, out = 0;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    desc.compare = by_value;
    q = conc_queue_new_ex(sizeof(int), capacity, &desc);
    if (q == NULL) return reason();
    for (i = 0; i < n; i++) {
        conc_result r = conc_queue_put(q, &in, CONC_NOW);
        if (r == CONC_OK) in++;
        else {
            CHECK_R(r, CONC_NO_MEMORY);
            (void)reason();
            first_failure = CONC_NO_MEMORY;
        }
        CHECK_EQ(conc_queue_length(q), in - out); /* a put that failed left nothing */
        if (i % 5 == 4 && kind != CONC_LIFO) {
            int x = -1;
            conc_result g = conc_queue_get(q, &x, CONC_NOW);
            if (in == out) CHECK_R(g, CONC_EMPTY);
            else {
                CHECK_OK(g);
                CHECK_EQ(x, out++);
            }
        }
    }
    while (out < in) {
        int x = -1;
        CHECK_OK(conc_queue_get(q, &x, CONC_NOW));
        if (kind != CONC_LIFO) CHECK_EQ(x, out++);
        else CHECK_EQ(x, --in);
    }
    CHECK_EQ(conc_queue_length(q), 0);
    CHECK_OK(conc_queue_free(q));
    return first_failure;
}

static conc_result bounded_fifo(void) {
    return queue_scene(CONC_FIFO, 10, 9);
}
static conc_result unbounded_fifo(void) {
    return queue_scene(CONC_FIFO, 0, 700);
}
static conc_result unbounded_lifo(void) {
    return queue_scene(CONC_LIFO, 0, 300);
}
static conc_result unbounded_priority(void) {
    return queue_scene(CONC_PRIORITY, 0, 300);
}
static conc_result bounded_priority(void) {
    return queue_scene(CONC_PRIORITY, 20, 19);
}

static conc_result batch(void) {
    int in[600], out[600], i;
    size_t done = 0, got = 0;
    conc_queue *q = conc_queue_new(sizeof(int), 0);
    conc_result r;
    if (q == NULL) return reason();
    for (i = 0; i < 600; i++) in[i] = i;
    r = conc_queue_put_many(q, in, 600, &done, CONC_FOREVER);
    if (r == CONC_OK) CHECK_EQ(done, 600);
    else {
        CHECK_R(r, CONC_NO_MEMORY);
        CHECK(done < 600);
    }
    CHECK_EQ(conc_queue_length(q), done);
    if (done > 0) CHECK_OK(conc_queue_get_many(q, out, 600, &got, CONC_NOW));
    CHECK_EQ(got, done);
    for (i = 0; i < (int)got; i++) CHECK_EQ(out[i], i);
    CHECK_OK(conc_queue_free(q));
    return r;
}

static conc_result freed_full(void) { /* destroyed with items in it */
    conc_queue *q = conc_queue_new(sizeof(int), 0);
    conc_result r = CONC_OK;
    int i;
    if (q == NULL) return reason();
    for (i = 0; i < 500 && r == CONC_OK; i++) r = conc_queue_put(q, &i, CONC_NOW);
    CHECK_OK(conc_queue_free(q));
    return r;
}

static conc_result handoff(void) {
    conc_queue_desc desc;
    conc_queue *q;
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_HANDOFF;
    q = conc_queue_new_ex(sizeof(int), 0, &desc);
    if (q == NULL) return reason();
    CHECK_OK(conc_queue_free(q));
    return CONC_OK;
}

static conc_result brlock(void) {
    conc_brlock *l = conc_brlock_new();
    if (l == NULL) return reason();
    CHECK_OK(conc_brlock_read(l, CONC_FOREVER));
    CHECK_OK(conc_brlock_read_unlock(l));
    CHECK_OK(conc_brlock_write(l, CONC_FOREVER));
    CHECK_OK(conc_brlock_write_unlock(l));
    CHECK_OK(conc_brlock_free(l));
    return CONC_OK;
}

static int ran;
static int note(void *arg) {
    ran++;
    return arg == NULL ? 0 : 1;
}

static conc_result thread(void) {
    conc_thread *t;
    size_t count = conc_thread_count();
    ran = 0;
    t = conc_thread_start(note, NULL, NULL);
    if (t == NULL) {
        conc_result r = reason();
        CHECK_EQ(conc_thread_count(), count);
        CHECK_EQ(ran, 0); /* then fn never runs */
        return r;
    }
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_EQ(ran, 1);
    CHECK_EQ(conc_thread_count(), count);
    return CONC_OK;
}

static conc_result timer(void) {
    conc_timer *t[40];
    conc_result r = CONC_OK;
    int i, n = 0;
    for (i = 0; i < 40; i++) {
        t[n] = conc_timer_start(note, NULL, conc_after(1000));
        if (t[n] != NULL) n++;
        else r = reason();
    }
    for (i = 0; i < n; i++) {
        CHECK_OK(conc_timer_cancel(t[i]));
        CHECK_OK(conc_wait(conc_op_timer(t[i]), CONC_FOREVER));
        conc_timer_release(t[i]);
    }
    return r;
}

/* Thread-local values: set in a thread of its own, as its table has to be made. */
static conc_local keys[20];
static uint32_t destroyed; /* atomic */
static conc_result local_result;

static void destroy(void *value) {
    (void)value;
    conc__add32(&destroyed, 1, CONC__RELAXED);
}

static int set_locals(void *arg) {
    int i, set = 0;
    (void)arg;
    local_result = CONC_OK;
    for (i = 0; i < 20; i++) {
        conc_result r = conc_local_set(&keys[i], &keys[i]);
        if (r == CONC_OK) set++;
        else {
            local_result = r;
            CHECK_R(conc_error_result(), CONC_NO_MEMORY);
            CHECK(conc_local_get(&keys[i]) == NULL); /* the old value stays */
        }
        if (i > 0 && conc_local_get(&keys[i - 1]) != NULL) CHECK(conc_local_get(&keys[i - 1]) == &keys[i - 1]);
    }
    return set;
}

static conc_result locals(void) {
    conc_thread *t = conc_thread_start(set_locals, NULL, NULL);
    int set = 0;
    if (t == NULL) return reason();
    CHECK_OK(conc_thread_join(t, &set, CONC_FOREVER));
    CHECK_EQ(conc__load32(&destroyed, CONC__RELAXED), set); /* those that were set, and no other */
    conc__store32(&destroyed, 0, CONC__RELAXED);
    return local_result;
}

/* What needs no memory works without any. */
static conc_result no_memory_needed(void) {
    conc_mutex m = { 0 };
    conc_rwlock rw = { 0 };
    conc_event e = { 0 };
    conc_semaphore s = CONC_SEMAPHORE_INIT(1, 1);
    conc_latch l = { 0 };
    conc_op ops[3];
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_rwlock_write(&rw, CONC_FOREVER));
    CHECK_OK(conc_rwlock_unlock(&rw));
    CHECK_R(conc_event_wait(&e, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_event_set(&e));
    CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
    CHECK_OK(conc_semaphore_acquire(&s, CONC_FOREVER));
    ops[0] = conc_op_acquire(&s);
    ops[1] = conc_op_sleep(0.001);
    ops[2] = conc_op_sleep(1000);
    CHECK_EQ(conc_select(ops, 3, CONC_FOREVER), 1);
    CHECK_OK(conc_latch_wait(&l, CONC_FOREVER));
    CHECK_OK(conc_sleep(conc_after(0.0005)));
    return CONC_OK;
}

/* ---- parallel: what there is memory for is right, and the rest is not half done ---- */

typedef struct sums {
    int n, by[100];
} sums;

static int sum_range(size_t a, size_t b, void *part, void *arg) {
    sums *s = (sums *)part;
    (void)arg;
    for (; a < b; a++) s->by[a % 100]++;
    s->n++;
    return 0;
}

static void sum_join(void *left, const void *right, void *arg) {
    sums *l = (sums *)left;
    const sums *r = (const sums *)right;
    int i;
    (void)arg;
    for (i = 0; i < 100; i++) l->by[i] += r->by[i];
    l->n += r->n;
}

static int negate(const void *in, void *out, void *arg) {
    (void)arg;
    *(int *)out = -*(const int *)in;
    return 0;
}

static conc_result parallel(void) {
    static int items[5000], out[20];
    conc_pool_desc desc;
    conc_pool *pool;
    conc_result r;
    sums s;
    uint32_t before = live_now();
    unsigned pauses = 0;
    int order, i, n = (int)(sizeof items / sizeof *items);
    memset(&desc, 0, sizeof desc);
    memset(&s, 0, sizeof s);
    desc.core_threads = 1;
    pool = conc_pool_new(&desc);
    if (pool == NULL) return reason();
    r = conc_pool_reduce(pool, 0, 1000, 100, sum_range, sum_join, &s, NULL);
    if (r != CONC_OK) CHECK_R(r, reason());
    CHECK_EQ(s.n, r == CONC_OK ? 10 : 0);
    for (i = 0; i < n; i++) items[i] = n - i;
    r = conc_pool_sort(pool, items, (size_t)n, sizeof *items, by_value);
    if (r != CONC_OK) CHECK_R(r, reason());
    for (i = 0; i < n; i++)
        if (!CHECK_EQ(items[i], r == CONC_OK ? i + 1 : n - i)) break;
    for (i = 0; i < 20; i++) items[i] = i;
    for (order = 0; order < 2; order++) {
        size_t count = 0;
        conc_iter *it = conc_iter_array(items, 20);
        it = order != 0 ? conc_pool_imap(pool, it, negate, int, 3, NULL) : conc_pool_imap_unordered(pool, it, negate, int, 3, NULL);
        r = conc_collect_into(it, out, 20, &count);
        if (r == CONC_FULL) r = CONC_OK; /* (it did not look for an end) */
        if (r != CONC_OK) CHECK_R(r, CONC_NO_MEMORY);
        if (r == CONC_OK) CHECK_EQ(count, 20);
        for (i = 0; order != 0 && i < (int)count; i++) CHECK_EQ(out[i], -i);
    }
    CHECK_OK(conc_pool_close(pool));
    CHECK_OK(conc_pool_join(pool, CONC_FOREVER));
    CHECK_OK(conc_pool_free(pool));
    while (live_now() != before && pauses < 3000) check_pause(&pauses); /* its thread's last step gives back what it kept */
    return conc__load32(&fired, CONC__RELAXED) != 0 ? CONC_NO_MEMORY : CONC_OK; /* it may have got by without */
}

static void in_a_drought(void) {
    sticky = true;
    conc__store32(&calls, 0, CONC__RELAXED);
    conc__store32(&fail_at, 1, CONC__RELAXED);
    CHECK_OK(no_memory_needed());
    conc__store32(&fail_at, 0, CONC__RELAXED);
}

/* The very first use of the library, by this thread and in this process. */
static void first_use(void) {
    conc_thread *t;
    sticky = false;
    conc__store32(&fired, 0, CONC__RELAXED);
    conc__store32(&calls, 0, CONC__RELAXED);
    conc__store32(&fail_at, 1, CONC__RELAXED);
    t = conc_thread_current();
    if (t == NULL) CHECK_R(conc_error_result(), CONC_NO_MEMORY);
    conc__store32(&fail_at, 0, CONC__RELAXED);
    CHECK(conc_thread_current() != NULL);
    CHECK(conc_thread_name(NULL) != NULL);
}

#define EACH(scene)                                                                                \
    do {                                                                                           \
        check_enter(#scene);                                                                       \
        each_failure(scene);                                                                       \
    } while (0)

int main(void) {
    int i;
    uint32_t before;
    check_begin("memory");
    for (i = 0; i < 20; i++) keys[i].destroy = destroy;
    RUN(in_a_drought);
    RUN(first_use);
    before = live_now();
    EACH(bounded_fifo);
    EACH(unbounded_fifo);
    EACH(unbounded_lifo);
    EACH(unbounded_priority);
    EACH(bounded_priority);
    EACH(batch);
    EACH(freed_full);
    EACH(handoff);
    EACH(brlock);
#if CONC_CC_TINY /* without thread-local storage a thread's own record may be what there is no memory for: see core.c */
    (void)thread;
    (void)parallel;
    (void)locals;
    (void)timer;
    (void)before;
#else
    EACH(thread);
    EACH(parallel);
    EACH(locals);
    CHECK_EQ(live_now(), before);
    EACH(timer);
#endif
    return check_end();
}

#endif
