/* queues of all kinds, mostly from one thread: order, sizes, batches, closing, counting work. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static int by_value(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static conc_queue *make(size_t size, size_t capacity, conc_queue_kind kind) {
    conc_queue_desc desc;
    conc_queue *q;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    desc.compare = kind == CONC_PRIORITY ? by_value : NULL;
    q = conc_queue_new_ex(size, capacity, &desc);
    CHECK(q != NULL);
    return q;
}

static void put(conc_queue *q, int x) {
    CHECK_OK(conc_queue_put(q, &x, CONC_NOW));
}

static void expect(conc_queue *q, int want) {
    int x = -12345;
    CHECK_OK(conc_queue_get(q, &x, CONC_NOW));
    CHECK_EQ(x, want);
}

static void expect_empty(conc_queue *q, conc_result want) {
    int x = -12345;
    CHECK_R(conc_queue_get(q, &x, CONC_NOW), want);
    CHECK_EQ(x, -12345); /* as before */
}

static const size_t capacities[] = { 1, 2, 3, 4, 7, 16, 1000, 0 };
#define CAPACITIES (sizeof capacities / sizeof *capacities)

static void questions(void) {
    size_t i;
    conc_queue *q = conc_queue_new(24, 5);
    CHECK_EQ(conc_queue_length(q), 0);
    CHECK_EQ(conc_queue_capacity(q), 5);
    CHECK_EQ(conc_queue_item_size(q), 24);
    CHECK(!conc_queue_is_closed(q));
    CHECK_OK(conc_queue_free(q));
    CHECK_OK(conc_queue_free(NULL));
    CHECK_EQ(conc_queue_length(NULL), 0);
    CHECK_EQ(conc_queue_capacity(NULL), 0);
    CHECK_EQ(conc_queue_item_size(NULL), 0);
    (void)conc_queue_is_closed(NULL); /* harmless */
    for (i = 0; i < CAPACITIES; i++) {
        conc_queue_kind kind;
        for (kind = CONC_FIFO; kind <= CONC_PRIORITY; kind = (conc_queue_kind)(kind + 1)) {
            q = make(sizeof(int), capacities[i], kind);
            CHECK_EQ(conc_queue_capacity(q), capacities[i]);
            put(q, 1);
            CHECK_EQ(conc_queue_length(q), 1);
            expect(q, 1);
            CHECK_EQ(conc_queue_length(q), 0);
            CHECK_OK(conc_queue_free(q));
        }
    }
}

/* Fill, empty, and shift around the ring many times, at each capacity. */
static void fifo_order(void) {
    size_t i;
    for (i = 0; i < CAPACITIES; i++) {
        size_t capacity = capacities[i], bound = capacity != 0 ? capacity : 500;
        conc_queue *q = conc_queue_new(sizeof(int), capacity);
        uint32_t seed = 11;
        int in = 0, out = 0, k;
        for (k = 0; k < check_rounds(20000); k++) {
            if (check_random(&seed) % 2) {
                if ((size_t)(in - out) < bound) put(q, in++);
                else if (capacity != 0) {
                    int x = 5;
                    CHECK_R(conc_queue_put(q, &x, CONC_NOW), CONC_FULL);
                }
            } else if (out < in) expect(q, out++);
            else expect_empty(q, CONC_EMPTY);
            CHECK_EQ(conc_queue_length(q), in - out);
        }
        while ((size_t)(in - out) < bound) put(q, in++); /* to the brim */
        CHECK_EQ(conc_queue_length(q), bound);
        while (out < in) expect(q, out++);
        expect_empty(q, CONC_EMPTY);
        CHECK_OK(conc_queue_free(q));
    }
}

static void lifo_order(void) {
    size_t i;
    for (i = 0; i < CAPACITIES; i++) {
        size_t bound = capacities[i] != 0 ? capacities[i] : 3000;
        conc_queue *q = make(sizeof(int), capacities[i], CONC_LIFO);
        int k, round;
        for (round = 0; round < 3; round++) {
            for (k = 0; k < (int)bound; k++) put(q, k);
            if (capacities[i] != 0) CHECK_R(conc_queue_put(q, &k, CONC_NOW), CONC_FULL);
            for (k = (int)bound - 1; k >= 0; k--) expect(q, k);
            expect_empty(q, CONC_EMPTY);
        }
        CHECK_OK(conc_queue_free(q));
    }
}

/* Least first; equal ones in the order of their puts. The upper part is the key, the lower tells them apart. */
static int by_hundred(const void *a, const void *b) {
    int x = *(const int *)a / 100, y = *(const int *)b / 100;
    return (x > y) - (x < y);
}

static void priority_order(void) {
    conc_queue_desc desc;
    size_t i;
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_PRIORITY;
    desc.compare = by_hundred;
    for (i = 0; i < CAPACITIES; i++) {
        conc_queue *q = conc_queue_new_ex(sizeof(int), capacities[i], &desc);
        uint32_t seed = 3;
        int left[20][100], count[20], first[20], total = 0, k, round;
        memset(count, 0, sizeof count);
        memset(first, 0, sizeof first);
        for (round = 0; round < check_rounds(20000); round++) {
            int key = (int)(check_random(&seed) % 20u);
            if (check_random(&seed) % 5u < 3u) {
                bool room = capacities[i] == 0 || (size_t)total < capacities[i];
                int item = key * 100 + round % 100;
                if (count[key] - first[key] >= 100 || total > 300) continue;
                CHECK_R(conc_queue_put(q, &item, CONC_NOW), room ? CONC_OK : CONC_FULL);
                if (room) {
                    left[key][count[key]++ % 100] = item;
                    total++;
                }
            } else {
                for (k = 0; k < 20 && count[k] == first[k]; k++) {
                }
                if (k == 20) expect_empty(q, CONC_EMPTY);
                else {
                    expect(q, left[k][first[k]++ % 100]);
                    total--;
                }
            }
            CHECK_EQ(conc_queue_length(q), total);
        }
        CHECK_OK(conc_queue_free(q)); /* with the items in it */
    }
}

/* ---- item sizes: copied whole, nothing beside them touched ---- */

static void pattern(unsigned char *p, size_t size, unsigned n) {
    size_t i;
    for (i = 0; i < size; i++) p[i] = (unsigned char)(n * 31u + i * 7u);
}

static void item_sizes(void) {
    static const size_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 24, 63, 64, 65, 1000 };
    size_t s, c;
    conc_queue_kind kind;
    for (s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (c = 0; c < CAPACITIES; c++) {
            for (kind = CONC_FIFO; kind <= CONC_LIFO; kind = (conc_queue_kind)(kind + 1)) {
                size_t size = sizes[s], n = capacities[c] != 0 && capacities[c] < 20 ? capacities[c] : 20, i;
                conc_queue *q = make(size, capacities[c], kind);
                unsigned char buffer[1000 + 16], want[1000];
                unsigned round;
                for (round = 0; round < 3; round++) {
                    for (i = 0; i < n; i++) {
                        pattern(buffer + 1, size, (unsigned)i + round); /* not aligned */
                        CHECK_OK(conc_queue_put_bytes(q, buffer + 1, size, CONC_NOW));
                    }
                    for (i = 0; i < n; i++) {
                        memset(buffer, 0xA5, sizeof buffer);
                        CHECK_OK(conc_queue_get_bytes(q, buffer + 8, size, CONC_NOW));
                        pattern(want, size, (unsigned)(kind == CONC_FIFO ? i : n - 1 - i) + round);
                        CHECK(memcmp(buffer + 8, want, size) == 0);
                        CHECK(buffer[7] == 0xA5 && buffer[8 + size] == 0xA5);
                    }
                }
                CHECK_OK(conc_queue_free(q));
            }
        }
    }
}

/* The typed macros hand in sizeof(*item). */
typedef struct point {
    double x, y;
    int id;
} point;

static void typed(void) {
    conc_queue *q = conc_queue_new(sizeof(point), 2);
    point p = { 1.5, 2.5, 3 }, back = { 0, 0, 0 };
    int wrong = 4;
    CHECK_OK(conc_queue_put(q, &p, CONC_NOW));
    CHECK_MISUSE(conc_queue_put(q, &wrong, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_queue_get(q, &wrong, CONC_NOW), CONC_INVALID);
    CHECK_EQ(wrong, 4);
    CHECK_OK(conc_queue_get(q, &back, CONC_NOW));
    CHECK(back.x == p.x && back.y == p.y && back.id == 3);
    CHECK_OK(conc_queue_free(q));
}

static void pointers(void) {
    conc_queue *q = conc_queue_new(sizeof(point *), 0);
    point p = { 1, 2, 3 }, *a = &p, *b = NULL;
    CHECK_OK(conc_queue_put(q, &a, CONC_FOREVER));
    CHECK_OK(conc_queue_get(q, &b, CONC_FOREVER));
    CHECK(b == &p);
    CHECK_OK(conc_queue_free(q));
}

/* ---- batches ---- */

static void batches(void) {
    size_t c;
    conc_queue_kind kind;
    for (kind = CONC_FIFO; kind <= CONC_PRIORITY; kind = (conc_queue_kind)(kind + 1)) {
        for (c = 0; c < CAPACITIES; c++) {
            size_t capacity = capacities[c], room = capacity != 0 ? capacity : 10000, done = 99, i, n;
            conc_queue *q = make(sizeof(int), capacity, kind);
            int in[50], out[50];
            for (i = 0; i < 50; i++) in[i] = (int)i;
            n = room < 50 ? room : 50;
            CHECK_R(conc_queue_put_many(q, in, 50, &done, CONC_NOW), n == 50 ? CONC_OK : CONC_FULL);
            CHECK_EQ(done, n);
            CHECK_EQ(conc_queue_length(q), n);
            memset(out, -1, sizeof out);
            CHECK_OK(conc_queue_get_many(q, out, 50, &done, CONC_NOW)); /* what is there */
            CHECK_EQ(done, n);
            for (i = 0; i < n; i++) CHECK_EQ(out[i], kind == CONC_LIFO ? n - 1 - i : i);
            for (i = n; i < 50; i++) CHECK_EQ(out[i], -1); /* and no more */
            CHECK_R(conc_queue_get_many(q, out, 50, &done, CONC_NOW), CONC_EMPTY);
            CHECK_EQ(done, 0);
            done = 99;
            CHECK_R(conc_queue_get_many(q, out, 50, &done, conc_after(0.001)), CONC_TIMEOUT);
            CHECK_EQ(done, 0);
            done = 99;
            if (n < 50) { /* some moved before the deadline: it tells how many */
                CHECK_R(conc_queue_put_many(q, in, 50, &done, conc_after(0.001)), CONC_TIMEOUT);
                CHECK_EQ(done, n);
            }
            CHECK_OK(conc_queue_close(q));
            done = 99;
            CHECK_R(conc_queue_put_many(q, in, 5, &done, CONC_FOREVER), CONC_CLOSED);
            CHECK_EQ(done, 0);
            while (conc_queue_get_many(q, out, 3, &done, CONC_FOREVER) == CONC_OK) CHECK(done >= 1 && done <= 3);
            CHECK_R(conc_queue_get_many(q, out, 3, &done, CONC_FOREVER), CONC_CLOSED);
            CHECK_EQ(done, 0);
            CHECK_OK(conc_queue_free(q));
        }
    }
}

static void empty_batches(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    int x = 1;
    size_t done = 9;
    CHECK_OK(conc_queue_put_many(q, &x, 0, &done, CONC_FOREVER)); /* all of them */
    CHECK_EQ(done, 0);
    CHECK_EQ(conc_queue_length(q), 0);
    CHECK_OK(conc_queue_free(q));
}

/* ---- closing ---- */

static void close_and_drain(void) {
    size_t c;
    conc_queue_kind kind;
    for (kind = CONC_FIFO; kind <= CONC_PRIORITY; kind = (conc_queue_kind)(kind + 1)) {
        for (c = 0; c < CAPACITIES; c++) {
            int n = capacities[c] != 0 && capacities[c] < 5 ? (int)capacities[c] : 5, i, x = 9;
            conc_queue *q = make(sizeof(int), capacities[c], kind);
            for (i = 0; i < n; i++) put(q, i);
            CHECK_OK(conc_queue_close(q));
            CHECK(conc_queue_is_closed(q));
            CHECK_R(conc_queue_close(q), CONC_CLOSED);
            CHECK_R(conc_queue_put(q, &x, CONC_NOW), CONC_CLOSED);
            CHECK_R(conc_queue_put(q, &x, CONC_FOREVER), CONC_CLOSED);
            CHECK_R(conc_try(conc_op_put(q, &x)), CONC_CLOSED);
            CHECK_EQ(conc_queue_length(q), n);
            for (i = 0; i < n; i++) expect(q, kind == CONC_LIFO ? n - 1 - i : i);
            expect_empty(q, CONC_CLOSED);
            CHECK_R(conc_queue_get(q, &x, CONC_FOREVER), CONC_CLOSED);
            CHECK_R(conc_try(conc_op_get(q, &x)), CONC_CLOSED);
            CHECK_EQ(x, 9);
            CHECK_OK(conc_queue_free(q));
        }
    }
}

typedef struct dropped {
    int n;
    int items[1000];
} dropped;

static void drop(void *item, void *arg) {
    dropped *d = (dropped *)arg;
    d->items[d->n++] = *(int *)item;
}

static void close_now(void) {
    size_t c;
    conc_queue_kind kind;
    for (kind = CONC_FIFO; kind <= CONC_PRIORITY; kind = (conc_queue_kind)(kind + 1)) {
        for (c = 0; c < CAPACITIES; c++) {
            int n = capacities[c] != 0 && capacities[c] < 5 ? (int)capacities[c] : 5, i, x = 9;
            conc_queue *q = make(sizeof(int), capacities[c], kind);
            static dropped d;
            d.n = 0;
            CHECK_MISUSE(conc_queue_close_now(q, NULL, &d), CONC_INVALID);
            CHECK(!conc_queue_is_closed(q)); /* nothing happened */
            for (i = 0; i < n; i++) put(q, i);
            CHECK_OK(conc_queue_close_now(q, drop, &d));
            CHECK_EQ(d.n, n);
            for (i = 0; i < d.n; i++) CHECK_EQ(d.items[i], kind == CONC_LIFO ? n - 1 - i : i); /* in order */
            CHECK(conc_queue_is_closed(q));
            CHECK_EQ(conc_queue_length(q), 0);
            expect_empty(q, CONC_CLOSED);
            CHECK_R(conc_queue_put(q, &x, CONC_FOREVER), CONC_CLOSED);
            CHECK_R(conc_queue_close_now(q, drop, &d), CONC_CLOSED);
            CHECK_EQ(d.n, n);
            CHECK_OK(conc_queue_join(q, CONC_NOW)); /* dropped ones count as done */
            CHECK_OK(conc_queue_free(q));
            /* closed already: what is left is dropped all the same */
            q = make(sizeof(int), capacities[c], kind);
            d.n = 0;
            for (i = 0; i < n; i++) put(q, i);
            CHECK_OK(conc_queue_close(q));
            CHECK_R(conc_queue_close_now(q, drop, &d), CONC_CLOSED);
            CHECK_EQ(d.n, n);
            expect_empty(q, CONC_CLOSED);
            CHECK_OK(conc_queue_free(q));
        }
    }
}

/* ---- who waits when it closes ---- */

typedef struct waiting {
    conc_queue *q;
    conc_result want, result;
    int item;
    bool put, op;
} waiting;

static int wait_at(void *arg) {
    waiting *w = (waiting *)arg;
    if (w->put) {
        w->result = w->op ? conc_wait(conc_op_put(w->q, &w->item), CONC_FOREVER)
                          : conc_queue_put(w->q, &w->item, CONC_FOREVER);
    } else {
        w->result = w->op ? conc_wait(conc_op_get(w->q, &w->item), CONC_FOREVER)
                          : conc_queue_get(w->q, &w->item, CONC_FOREVER);
    }
    CHECK_R(w->result, w->want);
    return 0;
}

static void close_wakes(void) {
    unsigned round;
    int kind, side, now;
    for (round = 0; round < 8; round++) {
        for (kind = CONC_FIFO; kind <= CONC_HANDOFF; kind++) {
            for (side = 0; side < 2; side++) {
                for (now = 0; now < 2; now++) {
                    static dropped d;
                    waiting w[3];
                    crew c = { 0 };
                    int i, x = 1;
                    conc_queue *q = make(sizeof(int), kind == CONC_HANDOFF ? 0 : 1, (conc_queue_kind)kind);
                    d.n = 0;
                    if (side == 1 && kind != CONC_HANDOFF) put(q, 7); /* full */
                    for (i = 0; i < 3; i++) {
                        w[i].q = q;
                        w[i].want = CONC_CLOSED;
                        w[i].put = side == 1;
                        w[i].op = i == 1;
                        w[i].item = 5;
                        crew_add(&c, wait_at, &w[i]);
                    }
                    nudge(round);
                    CHECK_OK(now ? conc_queue_close_now(q, drop, &d) : conc_queue_close(q));
                    crew_join(&c);
                    for (i = 0; i < 3; i++) CHECK_EQ(w[i].item, 5);
                    if (side == 1 && kind != CONC_HANDOFF) {
                        CHECK_EQ(d.n, now);
                        if (!now) expect(q, 7);
                    } else CHECK_EQ(d.n, 0); /* what was not accepted is not dropped: it is still its owner's */
                    CHECK_R(conc_queue_get(q, &x, CONC_NOW), CONC_CLOSED);
                    CHECK_OK(conc_queue_free(q));
                }
            }
        }
    }
}

/* To know from outside that a thread waits on the queue: ops are armed in their order, so when the second op of its select
 * is being armed the first one is. */
typedef struct witness {
    conc_waiters none;
    conc_event armed;
    conc_queue *q;
    bool put, join;
    int item, won;
} witness;

static conc_result witness_attempt(conc_op *op) {
    (void)op;
    return CONC_PENDING;
}

static bool witness_arm(conc_op *op, conc_node *node) {
    witness *w = (witness *)op->object;
    conc_waiters_arm(&w->none, node);
    (void)conc_event_set(&w->armed);
    return true;
}

static const conc_op_class witness_class = { "witness", CONC_BUSY, witness_attempt, witness_arm, NULL, NULL };

static int wait_seen(void *arg) {
    witness *w = (witness *)arg;
    conc_op ops[2];
    ops[0] = w->join ? conc_op_queue_join(w->q) : w->put ? conc_op_put(w->q, &w->item) : conc_op_get(w->q, &w->item);
    ops[1] = conc_op_make(&witness_class, w, NULL);
    w->won = conc_select(ops, 2, CONC_FOREVER);
    CHECK_EQ(w->won, 0);
    CHECK_OK(ops[0].result);
    return 0;
}

static void free_with_waiters(void) {
    int kind, side;
    for (kind = CONC_FIFO; kind <= CONC_HANDOFF; kind++) {
        for (side = 0; side < 3; side++) { /* a getter, a putter, a joiner */
            conc_queue *q = make(sizeof(int), kind == CONC_HANDOFF ? 0 : 1, (conc_queue_kind)kind);
            witness w;
            crew c = { 0 };
            int x = -1;
            if (side == 2 && kind == CONC_HANDOFF) {
                CHECK_OK(conc_queue_free(q));
                continue;
            }
            memset(&w, 0, sizeof w);
            w.q = q;
            w.put = side == 1;
            w.join = side == 2;
            w.item = 3;
            if (side != 0 && kind != CONC_HANDOFF) put(q, 2); /* full; and work to be done */
            crew_add(&c, wait_seen, &w);
            CHECK_OK(conc_event_wait(&w.armed, CONC_FOREVER));
            CHECK_R(conc_queue_free(q), CONC_BUSY); /* and nothing happens */
            if (side == 0) {
                x = 8;
                CHECK_OK(conc_queue_put(q, &x, CONC_FOREVER));
            } else CHECK_OK(conc_queue_get(q, &x, CONC_FOREVER));
            if (side == 2) CHECK_OK(conc_queue_task_done(q));
            crew_join(&c);
            if (side == 0) CHECK_EQ(w.item, 8);
            else CHECK_EQ(x, kind == CONC_HANDOFF ? 3 : 2);
            CHECK_OK(conc_queue_free(q)); /* the second item still in it, if it was a putter */
        }
    }
}

/* ---- counting work ---- */

static void task_done_and_join(void) {
    int kind, i;
    for (kind = CONC_FIFO; kind <= CONC_PRIORITY; kind++) {
        conc_queue *q = make(sizeof(int), 4, (conc_queue_kind)kind);
        CHECK_OK(conc_queue_join(q, CONC_NOW)); /* nothing was ever put */
        CHECK_MISUSE(conc_queue_task_done(q), CONC_INVALID);
        for (i = 0; i < 3; i++) put(q, i);
        CHECK_R(conc_queue_join(q, CONC_NOW), CONC_BUSY);
        for (i = 0; i < 3; i++) {
            int x;
            CHECK_R(conc_queue_join(q, conc_after(0.0005)), CONC_TIMEOUT);
            CHECK_OK(conc_queue_get(q, &x, CONC_NOW));
            CHECK_R(conc_queue_join(q, CONC_NOW), CONC_BUSY); /* taken, not done */
            CHECK_OK(conc_queue_task_done(q));
        }
        CHECK_OK(conc_queue_join(q, CONC_FOREVER));
        CHECK_OK(conc_try(conc_op_queue_join(q)));
        CHECK_MISUSE(conc_queue_task_done(q), CONC_INVALID);
        put(q, 1); /* and again */
        CHECK_R(conc_try(conc_op_queue_join(q)), CONC_BUSY);
        expect(q, 1);
        CHECK_OK(conc_queue_task_done(q));
        CHECK_OK(conc_queue_join(q, CONC_NOW));
        CHECK_OK(conc_queue_free(q));
    }
}

/* ---- the hand-off ---- */

typedef struct handing {
    conc_queue *q;
    int rounds;
    conc_event got;
} handing;

static int take_all(void *arg) {
    handing *h = (handing *)arg;
    int i;
    for (i = 0; i < h->rounds; i++) {
        int x = -1;
        CHECK_OK(i % 2 ? conc_queue_get(h->q, &x, CONC_FOREVER) : conc_wait(conc_op_get(h->q, &x), CONC_FOREVER));
        CHECK_EQ(x, i);
    }
    return 0;
}

static void handoff(void) {
    handing h;
    crew c = { 0 };
    int i, x = 1;
    memset(&h, 0, sizeof h);
    h.q = make(sizeof(int), 0, CONC_HANDOFF);
    h.rounds = check_rounds(5000);
    CHECK_R(conc_queue_put(h.q, &x, CONC_NOW), CONC_FULL);
    expect_empty(h.q, CONC_EMPTY);
    CHECK_R(conc_queue_put(h.q, &x, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_EQ(conc_queue_length(h.q), 0);
    CHECK_EQ(conc_queue_capacity(h.q), 0);
    crew_add(&c, take_all, &h);
    for (i = 0; i < h.rounds; i++) {
        if (i % 3 == 0) { /* succeeds with CONC_NOW just when somebody waits to get */
            conc_result r;
            while ((r = conc_queue_put(h.q, &i, CONC_NOW)) == CONC_FULL) conc_thread_yield();
            CHECK_OK(r);
        } else if (i % 3 == 1) {
            conc_result r;
            while ((r = conc_queue_put(h.q, &i, conc_after(5e-6))) == CONC_TIMEOUT) {
            }
            CHECK_OK(r);
        } else CHECK_OK(conc_queue_put(h.q, &i, CONC_FOREVER));
        CHECK_EQ(conc_queue_length(h.q), 0);
    }
    crew_join(&c);
    CHECK_OK(conc_queue_free(h.q));
}

static void handoff_in_one_select(void) { /* a thread does not hand to itself */
    conc_queue *q = make(sizeof(int), 0, CONC_HANDOFF);
    conc_op ops[2];
    int in = 1, out = 2;
    ops[0] = conc_op_put(q, &in);
    ops[1] = conc_op_get(q, &out);
    CHECK_R(conc_select(ops, 2, conc_after(0.002)), CONC_TIMEOUT);
    CHECK_EQ(out, 2);
    CHECK_OK(conc_queue_free(q));
}

/* ---- iterating ---- */

static void for_queue(void) {
    conc_queue *q = conc_queue_new(sizeof(long), 0);
    long x, sum = 0;
    int n = 0;
    for (x = 1; x <= 10; x++) CHECK_OK(conc_queue_put(q, &x, CONC_NOW));
    CHECK_OK(conc_queue_close(q));
    CONC_FOR_QUEUE(long, y, q) {
        if (y == 3) continue;
        sum += y;
        if (++n == 5) break;
    }
    CHECK_EQ(sum, 1 + 2 + 4 + 5 + 6);
    CONC_FOR_QUEUE(long, y, q) sum += y;
    CHECK_EQ(sum, 52);
    CONC_FOR_QUEUE(long, y, q) sum += 1000 * y;
    CHECK_EQ(sum, 52);
    CHECK(conc_queue_is_closed(q));
    CHECK_OK(conc_queue_free(q));
}

static void for_queue_canceled(void) {
    conc_queue *q = conc_queue_new(sizeof(long), 0);
    conc_cancel token = { 0 };
    long x = 1;
    int n = 0;
    CHECK_OK(conc_queue_put(q, &x, CONC_NOW));
    CHECK_OK(conc_cancel_fire(&token));
    CONC_WITH_CANCEL(&token) {
        CONC_FOR_QUEUE(long, y, q) n += (int)y;
    }
    CHECK_EQ(n, 1);
    CHECK(!conc_queue_is_closed(q));
    CHECK_OK(conc_queue_free(q));
}

/* ---- select over queues ---- */

static void select_leaves_losers_untouched(void) {
    conc_queue *a = conc_queue_new(sizeof(int), 2), *b = conc_queue_new(sizeof(int), 2);
    conc_op ops[4];
    int x = -1, y = -2, in = 40, in2 = 50;
    put(b, 7);
    ops[0] = conc_op_get(a, &x);
    ops[1] = conc_op_get(b, &y);
    ops[2] = conc_op_put(a, &in);
    ops[3] = conc_op_put(b, &in2);
    CHECK_EQ(conc_select(ops, 4, CONC_FOREVER), 1);
    CHECK_EQ(x, -1);
    CHECK_EQ(y, 7);
    CHECK_EQ(conc_queue_length(a), 0);
    CHECK_EQ(conc_queue_length(b), 0);
    ops[0] = conc_op_get(a, &x);
    ops[1] = conc_op_get(b, &y);
    ops[2] = conc_op_put(a, &in);
    ops[3] = conc_op_put(b, &in2);
    CHECK_EQ(conc_select(ops, 4, CONC_FOREVER), 2); /* the first in the array that can */
    CHECK_EQ(conc_queue_length(a), 1);
    CHECK_EQ(conc_queue_length(b), 0);
    expect(a, 40);
    CHECK_OK(conc_queue_free(a));
    CHECK_OK(conc_queue_free(b));
}

/* Several at once from a hand-off: one, and then whoever is waiting to hand over. */
static int hand_over(void *arg) {
    int x = 5;
    return conc_queue_put((conc_queue *)arg, &x, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void handoff_many(void) {
    conc_queue *q = make(sizeof(int), 0, CONC_HANDOFF);
    crew c = { 0 };
    int x[4] = { 0, 0, 0, 0 };
    size_t n, got = 0;
    int i;
    for (i = 0; i < 3; i++) crew_add(&c, hand_over, q);
    while (got < 3) {
        nudge((unsigned)got + 2);
        CHECK_OK(conc_queue_get_many(q, x + got, 4 - got, &n, CONC_FOREVER));
        CHECK(n >= 1);
        got += n;
    }
    crew_join(&c);
    CHECK_EQ(x[0] + x[1] + x[2] + x[3], 15);
    CHECK_OK(conc_queue_free(q));
}

int main(void) {
    check_begin("queue");
    RUN(questions);
    RUN(fifo_order);
    RUN(lifo_order);
    RUN(priority_order);
    RUN(item_sizes);
    RUN(typed);
    RUN(pointers);
    RUN(batches);
    RUN(empty_batches);
    RUN(close_and_drain);
    RUN(close_now);
    RUN(close_wakes);
    RUN(free_with_waiters);
    RUN(task_done_and_join);
    RUN(handoff);
    RUN(handoff_in_one_select);
    RUN(handoff_many);
    RUN(for_queue);
    RUN(for_queue_canceled);
    RUN(select_leaves_losers_untouched);
    return check_end();
}
