/* Parallel loops, and the map over an iterator: each item once, nothing of it left behind, no wake lost. */

#include "sim.h"

static conc_pool *pool;
static uint32_t ran[8];  /* atomic: how often each was run */
static uint32_t running; /* atomic */

static void begin(unsigned threads, size_t capacity, conc_reject on_reject) {
    conc_pool_desc desc;
    size_t i;
    memset(&desc, 0, sizeof desc);
    desc.core_threads = threads;
    desc.queue_capacity = capacity;
    desc.on_reject = on_reject;
    pool = conc_pool_new(&desc);
    CONC_SIM_ASSERT(pool != NULL);
    for (i = 0; i < 8; i++) ran[i] = 0;
    running = 0;
}

static void finish(void) {
    (void)conc_pool_close(pool);
    SIM_OK(conc_pool_join(pool, CONC_FOREVER));
    SIM_OK(conc_pool_free(pool));
    CONC_SIM_ASSERT(running == 0);
}

static int body(size_t a, size_t b, void *arg) {
    for (; a < b; a++) {
        CONC_SIM_ASSERT(conc__add32(&ran[a], 1, CONC__RELAXED) == 0);
        if (arg != NULL && a == *(size_t *)arg) return 7;
    }
    return 0;
}

static int for_all(void *unused) {
    size_t i;
    (void)unused;
    begin(2, 0, CONC_REJECT_ABORT);
    SIM_OK(conc_pool_for(pool, 0, 4, 1, body, NULL));
    for (i = 0; i < 4; i++) CONC_SIM_ASSERT(ran[i] == 1);
    finish();
    return 0;
}

static int for_fails(void *unused) {
    size_t bad = 2;
    (void)unused;
    begin(1, 0, CONC_REJECT_ABORT);
    CONC_SIM_ASSERT(conc_pool_for(pool, 0, 4, 1, body, &bad) == CONC_FAILED);
    CONC_SIM_ASSERT(ran[2] == 1);
    finish();
    return 0;
}

/* ---- imap ---- */

static int negate(const void *in, void *out, void *arg) {
    int x = *(const int *)in;
    (void)conc__add32(&running, 1, CONC__RELAXED);
    CONC_SIM_ASSERT(conc__add32(&ran[x], 1, CONC__RELAXED) == 0);
    *(int *)out = -x;
    CONC_SIM_WRITE(*(int *)out);
    (void)conc__sub32(&running, 1, CONC__RELAXED);
    return arg != NULL && x == *(int *)arg ? 7 : 0;
}

static const int numbers[] = {0, 1, 2, 3};

static conc_iter *imap(size_t window, int *bad, bool in_order) {
    conc_iter *it = conc_iter_array(numbers, 4);
    return in_order ? conc_pool_imap(pool, it, negate, int, window, bad) : conc_pool_imap_unordered(pool, it, negate, int, window, bad);
}

/* Takes up to `most`; in order each is the next. */
static conc_result take(conc_iter *it, int most, bool in_order, int *count) {
    conc_result r = CONC_OK;
    int x, seen = 0;
    for (*count = 0; *count < most; ++*count) {
        r = conc_next(it, &x);
        if (r != CONC_OK) break;
        CONC_SIM_READ(x);
        CONC_SIM_ASSERT(!in_order || x == -*count);
        CONC_SIM_ASSERT((seen & 1 << -x) == 0 && ran[-x] == 1);
        seen |= 1 << -x;
    }
    return r;
}

static int imap_all(bool in_order, unsigned threads, size_t capacity, conc_reject on_reject) {
    conc_iter *it;
    int count;
    begin(threads, capacity, on_reject);
    it = imap(3, NULL, in_order);
    CONC_SIM_ASSERT(take(it, 8, in_order, &count) == CONC_CLOSED && count == 4);
    conc_iter_close(it);
    finish();
    return 0;
}

static int imap_in_order(void *unused) {
    (void)unused;
    return imap_all(true, 2, 0, CONC_REJECT_ABORT);
}
static int imap_unordered(void *unused) {
    (void)unused;
    return imap_all(false, 2, 0, CONC_REJECT_ABORT);
}
static int imap_rejected(void *unused) {
    (void)unused;
    return imap_all(true, 1, 1, CONC_REJECT_ABORT);
}
static int imap_oldest_discarded(void *unused) {
    (void)unused;
    return imap_all(false, 1, 1, CONC_REJECT_DISCARD_OLDEST);
}

static int imap_closed_early(void *unused) {
    conc_iter *it;
    int count;
    (void)unused;
    begin(1, 0, CONC_REJECT_ABORT);
    it = imap(2, NULL, conc_sim_choose(2) != 0);
    SIM_OK(take(it, (int)conc_sim_choose(3), false, &count));
    conc_iter_close(it);
    CONC_SIM_ASSERT(running == 0);
    finish();
    return 0;
}

static int imap_fails(void *unused) {
    conc_iter *it;
    int count, bad = 1;
    (void)unused;
    begin(2, 0, CONC_REJECT_ABORT);
    it = imap(2, &bad, true);
    CONC_SIM_ASSERT(take(it, 8, true, &count) == CONC_FAILED && count == 1);
    conc_iter_close(it);
    CONC_SIM_ASSERT(running == 0);
    finish();
    return 0;
}

static int inside(void *arg) {
    conc_iter *it = imap(2, NULL, *(bool *)arg);
    int count;
    CONC_SIM_ASSERT(take(it, 8, *(bool *)arg, &count) == CONC_CLOSED && count == 4);
    conc_iter_close(it);
    return 0;
}

/* The thread that asks is one of the pool's. */
static int imap_inside(void *unused) {
    bool in_order = conc_sim_choose(2) != 0;
    conc_future *f;
    (void)unused;
    begin(1 + conc_sim_choose(2), 0, CONC_REJECT_ABORT);
    f = conc_pool_submit(pool, inside, &in_order);
    CONC_SIM_ASSERT(f != NULL);
    SIM_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    finish();
    return 0;
}

static int closes_now(void *unused) {
    (void)unused;
    SIM_OK(conc_pool_close_now(pool, NULL, NULL));
    return 0;
}

/* What the pool gives up meanwhile is done by the thread that asks. */
static int imap_pool_closed(void *unused) {
    sim_crew crew = {0};
    conc_iter *it;
    int count;
    bool in_order = conc_sim_choose(2) != 0;
    (void)unused;
    begin(1, 0, CONC_REJECT_ABORT);
    it = imap(3, NULL, in_order);
    sim_start(&crew, closes_now, NULL);
    CONC_SIM_ASSERT(take(it, 8, in_order, &count) == CONC_CLOSED && count == 4);
    conc_iter_close(it);
    sim_join(&crew);
    finish();
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(for_all, 0),
    SIM_TEST(for_fails, 0),
    SIM_TEST(imap_in_order, 0),
    SIM_TEST(imap_unordered, 0),
    SIM_TEST(imap_rejected, 0),
    SIM_TEST(imap_oldest_discarded, 0),
    SIM_TEST(imap_closed_early, 0),
    SIM_TEST(imap_fails, 0),
    SIM_TEST(imap_inside, 0),
    SIM_TEST(imap_pool_closed, 0),
};
SIM_MAIN("sim_parallel", tests)
