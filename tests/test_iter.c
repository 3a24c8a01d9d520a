/* Iterators: sources, adaptors, what goes through them; ownership, ends, misuse. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

/* ---- an iterator that tells how it is used: the numbers 0 to n-1, then `end`; up to `most` at a time ---- */

typedef struct counted {
    conc_iter iter;
    int at, n, closed;
    size_t most, asked; /* the most that was asked for at once */
    conc_result end;
} counted;

static size_t counted_next(conc_iter *iter, void *items, size_t n) {
    counted *self = (counted *)iter;
    size_t i;
    CHECK(self->closed == 0 && n > 0);
    if (n > self->asked) self->asked = n;
    for (i = 0; i < n && i < self->most && self->at < self->n; i++) ((int *)items)[i] = self->at++;
    if (i == 0) iter->result = self->end;
    return i;
}

static void counted_close(conc_iter *iter) {
    ((counted *)iter)->closed++;
}

static conc_iter *count(counted *c, int n, size_t most) {
    memset(c, 0, sizeof *c);
    c->iter.next = counted_next;
    c->iter.close = counted_close;
    c->iter.item_size = sizeof(int);
    c->n = n;
    c->most = most;
    return &c->iter;
}

/* ---- reports ---- */

static int reports;
static conc_result reported;
static char report[1000];
static void hook(const conc_error *e, void *user) {
    (void)user;
    reports++;
    reported = e->result;
    snprintf(report, sizeof report, "%s", e->text);
}

/* Goes through `it` in batches of `n`, which have to be 0, 1, 2 ... ; returns the end. */
static conc_result drain(conc_iter *it, size_t n, int first, int step, int last) {
    int items[64];
    size_t done, i;
    conc_result r;
    int want = first;
    while ((r = conc_next_n(it, items, n, &done)) == CONC_OK) {
        CHECK(done >= 1 && done <= n);
        for (i = 0; i < done; i++, want += step) CHECK_EQ(items[i], want);
    }
    CHECK_EQ(done, 0);
    CHECK_EQ(want, last);
    CHECK_R(conc_next_n(it, items, n, &done), r); /* it stays so */
    return r;
}

static void protocol(void) {
    counted c;
    int x = -1, items[10];
    size_t done = 99;
    conc_iter *it = count(&c, 5, 3);
    CHECK_OK(conc_next(it, &x));
    CHECK_EQ(x, 0);
    CHECK_OK(conc_next_n(it, items, 0, &done));
    CHECK_EQ(done, 0);
    CHECK_OK(conc_next_n(it, items, 10, &done));
    CHECK_EQ(done, 3);
    CHECK_EQ(items[2], 3);
    CHECK_OK(conc_next(it, &x));
    CHECK_R(conc_next(it, &x), CONC_CLOSED); /* it left its result at 0 */
    CHECK_EQ(x, 4);
    c.end = CONC_BROKEN;
    CHECK_R(conc_next(it, &x), CONC_BROKEN);
    conc_iter_close(it);
    conc_iter_close(NULL);
    CHECK_EQ(c.closed, 1);
}

static void foreach(void) {
    counted c;
    int sum = 0, i;
    CONC_FOREACH(int, x, count(&c, 10, 100)) sum += x;
    CHECK_EQ(sum, 45);
    CHECK_EQ(c.closed, 1);
    CHECK_EQ(c.asked, 1);
    for (i = 0; i < 2; i++) {
        sum = 0;
        CONC_FOREACH(int, x, count(&c, 10, 100)) {
            if (x == 3) continue;
            if (x == 6) break;
            sum += x;
        }
        CHECK_EQ(sum, 0 + 1 + 2 + 4 + 5);
        CHECK_EQ(c.closed, 1);
        CHECK_EQ(c.at, 7);
    }
    conc_set_error_hook(hook, NULL);
    reports = 0;
    count(&c, 2, 1);
    c.end = CONC_CANCELED;
    CONC_FOREACH(int, x, &c.iter) sum += x;
    CHECK_EQ(reports, 0);
    count(&c, 2, 1);
    c.end = CONC_BROKEN;
    CONC_FOREACH(int, x, &c.iter) sum += x;
    CHECK_EQ(reports, 1);
    CHECK_R(reported, CONC_BROKEN);
    CHECK_EQ(c.closed, 1);
    CONC_FOREACH(char, x, count(&c, 2, 1)) CHECK(x != x); /* never */
    CHECK_EQ(reports, 2);
    CHECK_R(reported, CONC_INVALID);
    CHECK_EQ(c.closed, 1);
    CHECK_EQ(c.at, 0);
    CONC_FOREACH(int, x, NULL) CHECK(x != x);
    CHECK_EQ(reports, 3);
    CONC_FOREACH(int, x, conc_iter_failed(CONC_NO_MEMORY)) CHECK(x != x);
    CHECK_EQ(reports, 4);
    CHECK_R(reported, CONC_NO_MEMORY);
    conc_set_error_hook(NULL, NULL);
}

#if CONC_CC_GNU && !CONC_CC_TINY
static int leave_by_return(counted *c) {
    CONC_FOREACH(int, x, count(c, 10, 1)) if (x == 4) return x;
    return -1;
}
static void left(void) {
    counted c;
    CHECK_EQ(leave_by_return(&c), 4);
    CHECK_EQ(c.closed, 1);
    CONC_FOREACH(int, x, count(&c, 10, 1)) if (x == 2) goto out;
    CHECK(false);
out:
    CHECK_EQ(c.closed, 1);
    CHECK_EQ(c.at, 3);
}
#endif

static void arrays(void) {
    static const int items[] = { 0, 1, 2, 3, 4, 5, 6 };
    size_t n;
    conc_iter *it;
    for (n = 1; n < 10; n++) {
        it = conc_iter_array(items, 7);
        CHECK_R(drain(it, n, 0, 1, 7), CONC_CLOSED);
        conc_iter_close(it);
    }
    it = conc_iter_array(items, 0);
    CHECK_R(drain(it, 3, 0, 1, 0), CONC_CLOSED);
    conc_iter_close(it);
}

static void range(int64_t first, int64_t end, int64_t step, int64_t last, uint64_t many) {
    int64_t x = 0, got = 0;
    uint64_t n = 0;
    conc_iter *it = conc_iter_range(first, end, step);
    while (n < many + 10 && conc_next(it, &x) == CONC_OK) {
        if (n == 0) CHECK_EQ(x, first);
        got = x;
        n++;
    }
    CHECK_EQ(n, many);
    if (many != 0) CHECK_EQ(got, last);
    conc_iter_close(it);
}

static void ranges(void) {
    int64_t items[100], sum = 0, x;
    size_t done;
    conc_iter *it;
    range(0, 10, 1, 9, 10);
    range(0, 10, 3, 9, 4);
    range(0, 9, 3, 6, 3);
    range(10, 0, -4, 2, 3);
    range(5, 5, 1, 0, 0);
    range(5, 4, 1, 0, 0);
    range(4, 5, -1, 0, 0);
    range(INT64_MAX - 2, INT64_MAX, 2, INT64_MAX - 2, 1);
    range(INT64_MIN, INT64_MAX, INT64_MAX, INT64_MAX - 1, 3);
    range(INT64_MAX, INT64_MIN, INT64_MIN, -1, 2);
    range(INT64_MIN + 1, INT64_MIN, -7, INT64_MIN + 1, 1);
    it = conc_iter_range(-50, 1000, 1);
    CHECK_OK(conc_next_n(it, items, 100, &done));
    CHECK_EQ(done, 100);
    for (x = 0; x < 100; x++) sum += items[x];
    CHECK_EQ(sum, -50);
    conc_iter_close(it);
}

static conc_queue *q;
static int put_five(void *arg) {
    int i;
    (void)arg;
    for (i = 0; i < 5; i++) CHECK_OK(conc_queue_put(q, &i, CONC_FOREVER));
    return 0;
}

static void queues(void) {
    conc_cancel stop = { NULL, 0 };
    int x = 0, i;
    conc_iter *it;
    q = conc_queue_new(sizeof(int), 2);
    it = conc_iter_queue(q);
    for (i = 0; i < 2; i++) { /* a queue goes on after one has been closed */
        crew c = { 0, { NULL } };
        crew_add(&c, put_five, NULL);
        for (x = 0; x < 5; x++) {
            int y = -1;
            CHECK_OK(conc_next(it, &y));
            CHECK_EQ(y, x);
        }
        crew_join(&c);
        conc_iter_close(it);
        it = conc_iter_queue(q);
    }
    CHECK(!conc_queue_is_closed(q));
    CHECK_OK(conc_cancel_fire(&stop));
    CONC_WITH_CANCEL(&stop) CHECK_R(conc_next(it, &x), CONC_CANCELED);
    x = 7;
    CHECK_OK(conc_queue_put(q, &x, CONC_NOW));
    CHECK_OK(conc_queue_close(q));
    x = 0;
    CHECK_OK(conc_next(it, &x));
    CHECK_EQ(x, 7);
    CHECK_R(conc_next(it, &x), CONC_CLOSED);
    conc_iter_close(it);
    CHECK_OK(conc_queue_free(q));
}

CONC_MAP_FN(twice, int, x, int, x * 2)
CONC_MAP_FN(wide, int, x, int64_t, (int64_t)x * *(const int *)arg)
CONC_FILTER_FN(even, int, x, x % 2 == 0)
CONC_FILTER_FN(below, int, x, x < *(const int *)arg)
CONC_FOLD_FN(add, long, sum, int, x, sum + x)
CONC_FOLD_FN(add_wide, int64_t, sum, int64_t, x, sum + x)

static void maps(void) {
    counted c;
    int factor = 1000;
    size_t n;
    int64_t sum = 0;
    conc_iter *it;
    for (n = 1; n <= 64; n += 9) {
        it = conc_map(count(&c, 50, 7), twice, NULL);
        CHECK_R(drain(it, n, 0, 2, 100), CONC_CLOSED);
        CHECK_EQ(c.asked, n);
        conc_iter_close(it);
        CHECK_EQ(c.closed, 1);
        it = conc_filter(count(&c, 50, 7), even, NULL);
        CHECK_R(drain(it, n, 0, 2, 50), CONC_CLOSED);
        CHECK_EQ(c.asked, n);
        conc_iter_close(it);
        CHECK_EQ(c.closed, 1);
    }
    CHECK_OK(conc_fold(conc_map(conc_filter(count(&c, 100000, 100000), even, NULL), wide, &factor), add_wide, &sum, NULL));
    CHECK_EQ(sum, 2499950000000);
    CHECK_EQ(c.closed, 1);
    count(&c, 3, 1);
    c.end = CONC_SYSTEM; /* an error goes up through all of them */
    sum = 0;
    CHECK_R(conc_fold(conc_map(conc_filter(&c.iter, even, NULL), wide, &factor), add_wide, &sum, NULL), CONC_SYSTEM);
    CHECK_EQ(sum, 2000);
}

static void parts(void) {
    counted c, d;
    int x = -1;
    size_t n;
    conc_iter *it, *its[3];
    for (n = 1; n < 20; n += 3) {
        it = conc_take(conc_skip(count(&c, 50, 7), 10), 20);
        CHECK_R(drain(it, n, 10, 1, 30), CONC_CLOSED);
        CHECK(c.asked <= (n > 10 ? n : 10) && c.at == 30); /* and no further */
        conc_iter_close(it);
        CHECK_EQ(c.closed, 1);
    }
    it = conc_skip(count(&c, 5, 7), 10);
    CHECK_R(drain(it, 3, 0, 1, 0), CONC_CLOSED);
    conc_iter_close(it);
    it = conc_take(count(&c, 5, 7), 0);
    CHECK_R(drain(it, 3, 0, 1, 0), CONC_CLOSED);
    CHECK_EQ(c.asked, 0);
    conc_iter_close(it);

    count(&c, 10, 4); /* five, and then go on */
    n = 0;
    CONC_FOREACH(int, y, conc_take(conc_iter_borrow(&c.iter), 5)) n += y == (int)n;
    CHECK_EQ(n, 5);
    CHECK_EQ(c.closed, 0);
    CHECK_OK(conc_next(&c.iter, &x));
    CHECK_EQ(x, 5);

    count(&d, 10, 3);
    d.at = 3;
    it = conc_chain(count(&c, 3, 2), &d.iter);
    CHECK_R(drain(it, 4, 0, 1, 10), CONC_CLOSED);
    CHECK(c.closed == 1 && d.closed == 1);
    conc_iter_close(it);
    CHECK(c.closed == 1 && d.closed == 1);
    its[0] = conc_iter_array(&x, 0);
    its[1] = count(&c, 3, 1);
    its[2] = count(&d, 3, 1);
    c.end = CONC_BROKEN;
    it = conc_chain_n(its, 3);
    CHECK_R(drain(it, 4, 0, 1, 3), CONC_BROKEN);
    conc_iter_close(it);
    CHECK(c.closed == 1 && d.closed == 1 && d.at == 0);
    it = conc_chain_n(its, 0);
    CHECK_R(conc_next(it, &x), CONC_CLOSED);
    conc_iter_close(it);
}

struct pair {
    int64_t wide;
    char gap;
    int narrow;
};
struct line {
    uint8_t number;
    int text;
};
struct ten {
    int items[10];
    size_t count;
};

static void structs(void) {
    counted c;
    struct pair pairs[50];
    size_t done, n;
    int i = 0, at = 0;
    conc_iter *it = conc_zip(struct pair, wide, conc_iter_range(100, 1000, 10), narrow, count(&c, 45, 7));
    while (conc_next_n(it, pairs, 20, &done) == CONC_OK)
        for (n = 0; n < done; n++, i++) CHECK(pairs[n].narrow == i && pairs[n].wide == 100 + 10 * i && pairs[n].gap == 0);
    CHECK_EQ(i, 45);
    CHECK(c.asked <= 20);
    conc_iter_close(it);
    CHECK_EQ(c.closed, 1);
    it = conc_zip(struct pair, wide, conc_iter_range(0, 3, 1), narrow, count(&c, 45, 7));
    for (i = 0; conc_next(it, pairs) == CONC_OK; i++) CHECK(pairs->narrow == i);
    CHECK_EQ(i, 3);
    CHECK_EQ(c.at, 3); /* nothing of b is lost */
    conc_iter_close(it);

    i = 0;
    CONC_FOREACH(struct line, l, conc_enumerate(struct line, number, text, count(&c, 10, 3), 250)) {
        CHECK_EQ(l.number, (uint8_t)(250 + i));
        CHECK_EQ(l.text, i);
        i++;
    }
    CHECK_EQ(i, 10);
    CHECK_EQ(c.closed, 1);

    i = 0;
    CONC_FOREACH(struct ten, t, conc_batch(struct ten, count, items, count(&c, 34, 7))) {
        CHECK_EQ(t.count, i < 3 ? 10 : 4);
        for (n = 0; n < t.count; n++) CHECK_EQ(t.items[n], at++);
        i++;
    }
    CHECK_EQ(i, 4);
    count(&c, 15, 7);
    c.end = CONC_BROKEN;
    it = conc_batch(struct ten, count, items, &c.iter);
    {
        struct ten t[3];
        CHECK_OK(conc_next_n(it, t, 3, &done));
        CHECK_EQ(done, 2);
        CHECK_EQ(t[1].count, 5);
        CHECK_R(conc_next(it, t), CONC_BROKEN);
    }
    conc_iter_close(it);
}

static void ends(void) {
    counted c;
    int *items = NULL, few[5], limit = 10;
    size_t n = 0;
    long sum = 0;
    bool yes = false;
    CHECK_OK(conc_collect(count(&c, 5000, 999), &items, &n));
    CHECK_EQ(n, 5000);
    CHECK(items[0] == 0 && items[4999] == 4999);
    conc_free_items(items);
    CHECK_EQ(c.closed, 1);
    CHECK_OK(conc_collect(count(&c, 0, 1), &items, &n));
    CHECK(items == NULL && n == 0);
    conc_free_items(items);
    count(&c, 3, 1);
    c.end = CONC_FAILED;
    CHECK_R(conc_collect(&c.iter, &items, &n), CONC_FAILED);
    CHECK(n == 3 && items[2] == 2);
    conc_free_items(items);

    CHECK_OK(conc_collect_into(count(&c, 4, 3), few, 5, &n));
    CHECK_EQ(n, 4);
    CHECK_R(conc_collect_into(count(&c, 6, 3), few, 5, &n), CONC_FULL);
    CHECK_EQ(n, 5);
    CHECK(c.at == 5 && c.closed == 1);

    CHECK_OK(conc_fold(count(&c, 1000, 10), add, &sum, NULL));
    CHECK_EQ(sum, 499500);
    CHECK_OK(conc_count(count(&c, 1000, 7), &n));
    CHECK_EQ(n, 1000);
    CHECK_OK(conc_any(count(&c, 1000, 7), even, NULL, &yes));
    CHECK(yes && c.at == 1 && c.closed == 1);
    CHECK_OK(conc_all(count(&c, 1000, 7), below, &limit, &yes));
    CHECK(!yes && c.at == 11);
    CHECK_OK(conc_all(count(&c, 10, 7), below, &limit, &yes));
    CHECK(yes);
    limit = -1;
    CHECK_OK(conc_any(count(&c, 10, 7), below, &limit, &yes));
    CHECK(!yes);
    count(&c, 10, 7);
    c.end = CONC_BROKEN;
    CHECK_R(conc_all(&c.iter, even, NULL, &yes), CONC_OK); /* 1 is not: what comes later does not matter */
    CHECK(!yes);
    count(&c, 1, 7);
    c.end = CONC_BROKEN;
    CHECK_R(conc_all(&c.iter, even, NULL, &yes), CONC_BROKEN);
}

struct large {
    char bytes[10000];
};

static void large_items(void) {
    static struct large some[3];
    size_t n = 0;
    CHECK_R(conc_count(conc_filter_bytes(conc_iter_array(some, 3), NULL, sizeof some[0], NULL), &n), CONC_INVALID);
    CHECK_OK(conc_count(conc_skip(conc_iter_array(some, 3), 1), &n));
    CHECK_EQ(n, 2);
}

/* A failed constructor: every source is closed, and the end tells. */
#define REFUSED(c, make)                                                                           \
    do {                                                                                           \
        conc_iter *refused;                                                                        \
        check_mark();                                                                              \
        refused = (make);                                                                          \
        check_misuse(__FILE__, __LINE__, (int)conc_next(conc_take(refused, 1), &x), CONC_INVALID, #make); \
        CHECK_EQ((c).closed, 1);                                                                   \
    } while (0)

static void misuse(void) {
    counted c, d;
    int x = 0;
    char small = 0;
    size_t n = 0;
    long sum = 0;
    int *items;
    bool yes;
    conc_iter *its[2];
    CHECK_MISUSE(conc_next(NULL, &x), CONC_INVALID);
    CHECK_MISUSE(conc_next(count(&c, 1, 1), &small), CONC_INVALID);
    CHECK_MISUSE(conc_next_bytes(&c.iter, NULL, sizeof x), CONC_INVALID);
    CHECK_MISUSE(conc_next_n(NULL, &x, 1, &n), CONC_INVALID);
    CHECK_MISUSE(conc_next_n(&c.iter, &small, 1, &n), CONC_INVALID);
    CHECK_MISUSE(conc_next_n(&c.iter, &x, 1, (size_t *)NULL), CONC_INVALID);
    CHECK_MISUSE(conc_next_n_bytes(&c.iter, NULL, sizeof x, 1, &n), CONC_INVALID);
    CHECK_EQ(c.at, 0);
    c.closed = 1;
    REFUSED(c, conc_iter_range(0, 1, 0));
    REFUSED(c, conc_iter_queue(NULL));
    REFUSED(c, conc_iter_borrow(NULL));
    REFUSED(c, conc_iter_array_bytes(NULL, 4, 1));
    REFUSED(c, conc_iter_array_bytes(&x, 0, 1));
    REFUSED(c, conc_take(NULL, 1));
    REFUSED(c, conc_skip(NULL, 1));
    REFUSED(c, conc_map(NULL, twice, NULL));
    REFUSED(c, conc_filter(NULL, even, NULL));
    REFUSED(c, conc_chain_n(NULL, 1));
    REFUSED(c, conc_batch(struct ten, count, items, NULL));
    REFUSED(c, conc_map_bytes(count(&c, 1, 1), NULL, 4, 4, NULL));
    REFUSED(c, conc_map_bytes(count(&c, 1, 1), twice, 0, 4, NULL));
    REFUSED(c, conc_map_bytes(count(&c, 1, 1), twice, 8, 4, NULL));
    REFUSED(c, conc_filter_bytes(count(&c, 1, 1), even, 8, NULL));
    REFUSED(c, conc_filter_bytes(count(&c, 1, 1), NULL, 4, NULL));
    REFUSED(c, conc_chain(count(&c, 1, 1), NULL));
    REFUSED(c, conc_chain(NULL, count(&c, 1, 1)));
    REFUSED(c, conc_chain(count(&c, 1, 1), conc_iter_range(0, 1, 1)));
    REFUSED(c, conc_zip(struct pair, wide, count(&c, 1, 1), narrow, count(&d, 1, 1)));
    CHECK_EQ(d.closed, 1);
    REFUSED(c, conc_zip(struct pair, wide, conc_iter_range(0, 1, 1), wide, count(&c, 1, 1)));
    REFUSED(c, conc_zip(struct pair, wide, conc_iter_range(0, 1, 0), narrow, count(&c, 1, 1)));
    REFUSED(c, conc_zip(struct pair, narrow, count(&c, 1, 1), wide, NULL));
    REFUSED(c, conc_enumerate(struct pair, narrow, wide, count(&c, 1, 1), 0));
    REFUSED(c, conc_enumerate_bytes(16, 0, 3, count(&c, 1, 1), 4, 4, 0));
    REFUSED(c, conc_batch_bytes(64, 0, 2, 8, 40, 4, count(&c, 1, 1)));
    REFUSED(c, conc_batch_bytes(64, 0, sizeof(size_t), 8, 40, 2, count(&c, 1, 1)));
    CHECK_MISUSE(conc_fold(NULL, add, &sum, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_fold(conc_iter_range(0, 2, 1), add, &sum, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_fold_bytes(count(&c, 1, 1), NULL, 4, &sum, NULL), CONC_INVALID);
    CHECK_EQ(c.closed, 1);
    CHECK_MISUSE(conc_fold_bytes(count(&c, 1, 1), add, 4, NULL, NULL), CONC_INVALID);
    CHECK_EQ(c.closed, 1);
    CHECK_MISUSE(conc_count(NULL, &n), CONC_INVALID);
    CHECK_MISUSE(conc_count(count(&c, 1, 1), NULL), CONC_INVALID);
    CHECK_MISUSE(conc_any(NULL, even, NULL, &yes), CONC_INVALID);
    CHECK_MISUSE(conc_any_bytes(count(&c, 1, 1), NULL, 4, NULL, true, &yes), CONC_INVALID);
    CHECK_MISUSE(conc_all(count(&c, 1, 1), even, NULL, (bool *)NULL), CONC_INVALID);
    CHECK_MISUSE(conc_collect(NULL, &items, &n), CONC_INVALID);
    CHECK_MISUSE(conc_collect(conc_iter_range(0, 2, 1), &items, &n), CONC_INVALID);
    CHECK(items == NULL);
    CHECK_MISUSE(conc_collect(count(&c, 1, 1), &items, (size_t *)NULL), CONC_INVALID);
    CHECK_EQ(c.closed, 1);
    CHECK_MISUSE(conc_collect_into(count(&c, 1, 1), &x, 1, (size_t *)NULL), CONC_INVALID);
    CHECK_MISUSE(conc_collect_into(count(&c, 1, 1), &small, 1, &n), CONC_INVALID);
    CHECK_EQ(c.closed, 1);
    its[0] = conc_iter_failed(CONC_NO_MEMORY);
    its[1] = conc_iter_failed(CONC_BROKEN);
    CHECK_R(conc_next(conc_chain_n(its, 2), &x), CONC_NO_MEMORY);
    CHECK_R(conc_next(conc_iter_borrow(its[1]), &x), CONC_BROKEN);
    CHECK_R(conc_next(conc_iter_failed((conc_result)-1000), &x), CONC_INVALID);
}

int main(void) {
    check_begin("iter");
    RUN(protocol);
    RUN(foreach);
#if CONC_CC_GNU && !CONC_CC_TINY
    RUN(left);
#endif
    RUN(arrays);
    RUN(ranges);
    RUN(queues);
    RUN(maps);
    RUN(parts);
    RUN(structs);
    RUN(ends);
    RUN(large_items);
    RUN(misuse);
    return check_end();
}
