/* Parallel loops, invoke, reduce, sort, map, and the map over an iterator. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static conc_pool *pool;

static void begin_with(unsigned threads, size_t capacity, conc_reject on_reject) {
    conc_pool_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.core_threads = threads;
    desc.queue_capacity = capacity;
    desc.on_reject = on_reject;
    pool = conc_pool_new(&desc);
    if (!CHECK(pool != NULL)) exit(1);
}

static void begin(unsigned threads) {
    begin_with(threads, 0, CONC_REJECT_ABORT);
}

static void finish(void) {
    (void)conc_pool_close(pool);
    CHECK_OK(conc_pool_join(pool, CONC_FOREVER));
    CHECK_OK(conc_pool_free(pool));
    pool = NULL;
}

/* A number that all threads add to. */
static conc_mutex tally_lock;
static int tally, tally2;
static int count_up(int *n) {
    int value = 0;
    CONC_WITH_LOCK(&tally_lock) value = ++*n;
    return value;
}

/* ---- loops ---- */

typedef struct marks {
    unsigned char *hit;
    size_t first, end, grain;
} marks;

static int mark(size_t a, size_t b, void *arg) {
    marks *m = (marks *)arg;
    size_t i;
    CHECK(a < b && a >= m->first && b <= m->end);
    CHECK(m->grain == 0 || b - a <= m->grain);
    CHECK(conc_pool_current() == pool);
    for (i = a; i < b; i++) m->hit[i - m->first]++;
    return 0;
}

static void loop_once(size_t first, size_t n, size_t grain) {
    static unsigned char hit[5000];
    marks m;
    size_t i;
    m.hit = hit;
    m.first = first;
    m.end = first + n;
    m.grain = grain;
    memset(hit, 0, sizeof hit);
    CHECK_OK(conc_pool_for(pool, first, first + n, grain, mark, &m));
    for (i = 0; i < n; i++)
        if (!CHECK_EQ(hit[i], 1)) return;
    CHECK_EQ(hit[n], 0);
}

static void loops(void) {
    static const size_t sizes[] = {0, 1, 2, 3, 7, 64, 65, 1000, 4999};
    static const size_t grains[] = {0, 1, 2, 3, 10, 63, 999, 1000, 1001, SIZE_MAX / 2, SIZE_MAX};
    unsigned threads;
    size_t i, j;
    for (threads = 1; threads <= 4; threads++) {
        begin(threads);
        for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            for (j = 0; j < sizeof grains / sizeof *grains; j++) {
                loop_once(0, sizes[i], grains[j]);
                loop_once(SIZE_MAX - sizes[i], sizes[i], grains[j]);
            }
        }
        loop_once(77, 100, 0);
        CHECK_OK(conc_pool_for(pool, 5, 3, 0, mark, NULL)); /* empty */
        finish();
    }
}

static int count_pieces(size_t a, size_t b, void *arg) {
    size_t grain = *(size_t *)arg;
    CHECK(a % grain == 0 && (b - a == grain || b == SIZE_MAX));
    (void)count_up(&tally);
    return 0;
}

static void huge(void) {
    size_t grain = SIZE_MAX, n;
    begin(2);
    for (n = 1; n < 100; n += 7) {
        grain = SIZE_MAX / n;
        tally = 0;
        CHECK_OK(conc_pool_for(pool, 0, SIZE_MAX, grain, count_pieces, &grain));
        CHECK_EQ(tally, (int)(n + (SIZE_MAX % n != 0)));
    }
    finish();
}

static int inner_body(size_t a, size_t b, void *arg) {
    unsigned char *row = (unsigned char *)arg;
    for (; a < b; a++) row[a]++;
    return 0;
}

static int outer_body(size_t a, size_t b, void *arg) {
    unsigned char(*rows)[50] = (unsigned char(*)[50])arg;
    for (; a < b; a++) CHECK_OK(conc_pool_for(pool, 0, 50, a % 4, inner_body, rows[a]));
    return 0;
}

static void nested(void) {
    static unsigned char rows[60][50];
    int round, i, j;
    begin(3);
    memset(rows, 0, sizeof rows);
    for (round = 1; round <= 3; round++) {
        CHECK_OK(conc_pool_for(pool, 0, 60, (size_t)round, outer_body, rows));
        for (i = 0; i < 60; i++)
            for (j = 0; j < 50; j++)
                if (!CHECK_EQ(rows[i][j], round)) return;
    }
    finish();
}

static int in_a_thread(void *arg) {
    int round;
    for (round = 0; round < 20; round++) {
        unsigned char row[400];
        size_t i;
        memset(row, 0, sizeof row);
        CHECK_OK(conc_pool_for(pool, 0, sizeof row, *(size_t *)arg, inner_body, row));
        for (i = 0; i < sizeof row; i++)
            if (!CHECK_EQ(row[i], 1)) break;
    }
    return 0;
}

static void several_callers(void) {
    size_t grains[4] = {0, 1, 10, 400};
    crew c;
    int i;
    memset(&c, 0, sizeof c);
    begin(2);
    for (i = 0; i < 4; i++) crew_add(&c, in_a_thread, &grains[i]);
    crew_join(&c);
    finish();
}

/* ---- failures ---- */

typedef struct failing {
    size_t at;
    int code;
    conc_event began;
    conc_result waited;
} failing;

static int fails_at(size_t a, size_t b, void *arg) {
    failing *f = (failing *)arg;
    (void)count_up(&tally);
    return a <= f->at && f->at < b ? f->code : 0;
}

/* 1 waits for its token, after it has begun; 0 fails after that. */
static int one_waits(size_t a, size_t b, void *arg) {
    failing *f = (failing *)arg;
    CHECK_EQ(b - a, 1);
    if (a == 0) {
        CHECK_OK(conc_event_wait(&f->began, CONC_FOREVER));
        return 7;
    }
    CHECK_OK(conc_event_set(&f->began));
    f->waited = conc_sleep(CONC_FOREVER);
    return -99;
}

static void failures(void) {
    failing f;
    conc_cancel *before = conc_cancel_current();
    begin(2);
    CHECK(conc_pool_prestart(pool, 0) == 2);
    memset(&f, 0, sizeof f);
    f.code = 42;
    tally = 0;
    CHECK_R(conc_pool_for(pool, 0, 100000, 1, fails_at, &f), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "42");
    CHECK_HAS(conc_error_detail(), "[0, 1)");
    CHECK(tally < 100000);
    f.at = 99;
    f.code = -3;
    CHECK_R(conc_pool_for(pool, 90, 100, 10, fails_at, &f), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "returned -3 for [90, 100)");
    /* a body that waits is woken, and the first failure is the one told (its token may be fired by then) */
    CHECK_R(conc_pool_for(pool, 0, 2, 1, one_waits, &f), CONC_FAILED);
    CHECK_R(f.waited, CONC_CANCELED);
    CHECK_HAS(conc_error_detail(), "returned 7 for [0, 1)");
    CHECK(conc_cancel_current() == before);
    /* and the next is as if nothing had been */
    loop_once(0, 1000, 1);
    finish();
}

static int fires(size_t a, size_t b, void *arg) {
    (void)b;
    (void)count_up(&tally);
    if (a == 3) (void)conc_cancel_fire((conc_cancel *)arg);
    return conc_canceled() == CONC_CANCELED ? 5 : 0;
}

static int fires_alone(size_t a, size_t b, void *arg) {
    (void)a;
    (void)b;
    (void)conc_cancel_fire((conc_cancel *)arg);
    return 0;
}

static int fails_with_4(size_t a, size_t b, void *arg) {
    (void)b;
    CHECK(conc_cancel_current() == (conc_cancel *)arg || conc_cancel_current()->parent == (conc_cancel *)arg);
    return a == 2 ? 4 : 0;
}

static void canceled(void) {
    conc_cancel tokens[CONC_CANCEL_DEPTH], *before;
    int depth;
    begin(2);
    for (depth = 1; depth <= CONC_CANCEL_DEPTH; depth++) {
        int i;
        memset(tokens, 0, sizeof tokens);
        for (i = 1; i < depth; i++) tokens[i].parent = &tokens[i - 1];
        before = conc_cancel_use(&tokens[depth - 1]);
        CHECK_R(conc_pool_for(pool, 0, 10, 1, fails_with_4, &tokens[depth - 1]), CONC_FAILED);
        CHECK_HAS(conc_error_detail(), "4");
        CHECK_OK(conc_canceled());
        tally = 0;
        CHECK_R(conc_pool_for(pool, 0, 10000, 1, fires, &tokens[0]), CONC_CANCELED);
        CHECK(tally >= 1 && tally < 10000);
        CHECK(conc_cancel_current() == &tokens[depth - 1]);
        tally = 0;
        CHECK_R(conc_pool_for(pool, 0, 10, 1, fires, &tokens[0]), CONC_CANCELED);
        CHECK_EQ(tally, 0);
        CHECK_OK(conc_pool_for(pool, 0, 0, 1, fires, &tokens[0]));
        (void)conc_cancel_use(before);
    }
    memset(tokens, 0, sizeof tokens); /* all was done when it came */
    before = conc_cancel_use(&tokens[0]);
    CHECK_OK(conc_pool_for(pool, 0, 1, 1, fires_alone, &tokens[0]));
    (void)conc_cancel_use(before);
    finish();
}

static int add_one(void *arg) {
    ++*(int *)arg;
    return 0;
}

static int returns_9(void *arg) {
    (void)arg;
    return 9;
}

static void invoke(void) {
    conc_call calls[100];
    int numbers[100];
    size_t i, n;
    begin(3);
    for (i = 0; i < 100; i++) {
        numbers[i] = 0;
        calls[i].fn = add_one;
        calls[i].arg = &numbers[i];
    }
    for (n = 0; n <= 100; n++) CHECK_OK(conc_pool_invoke(pool, calls, n));
    for (i = 0; i < 100; i++) CHECK_EQ(numbers[i], 100 - (int)i);
    CHECK_OK(conc_pool_invoke(pool, NULL, 0));
    calls[13].fn = returns_9;
    CHECK_R(conc_pool_invoke(pool, calls, 100), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "13");
    CHECK_HAS(conc_error_detail(), "9");
    finish();
}

/* ---- reduce ---- */

typedef struct matrix { /* modulo a prime; their product is not commutative */
    uint64_t m[2][2];
} matrix;

static void multiply(matrix *a, const matrix *b) {
    matrix r;
    int i, j;
    for (i = 0; i < 2; i++)
        for (j = 0; j < 2; j++) r.m[i][j] = (a->m[i][0] * b->m[0][j] + a->m[i][1] * b->m[1][j]) % 1000003u;
    *a = r;
}

static int multiply_range(size_t a, size_t b, void *part, void *arg) {
    (void)arg;
    for (; a < b; a++) {
        matrix x;
        x.m[0][0] = a % 1009;
        x.m[0][1] = 1;
        x.m[1][0] = a % 7 + 1;
        x.m[1][1] = a % 31;
        multiply((matrix *)part, &x);
    }
    return 0;
}

static void multiply_parts(void *left, const void *right, void *arg) {
    (void)arg;
    multiply((matrix *)left, (const matrix *)right);
}

typedef struct text {
    size_t length;
    char text[1500];
} text;

static int write_range(size_t a, size_t b, void *part, void *arg) {
    text *t = (text *)part;
    CHECK((uintptr_t)part % 8 == 0);
    for (; a < b; a++) {
        if (arg != NULL && a == *(size_t *)arg) return 3;
        t->text[t->length++] = (char)('a' + a % 26);
    }
    return 0;
}

static void append(void *left, const void *right, void *arg) {
    text *l = (text *)left;
    const text *r = (const text *)right;
    (void)arg;
    memcpy(l->text + l->length, r->text, r->length);
    l->length += r->length;
}

static int sum_bytes(size_t a, size_t b, void *part, void *arg) {
    (void)arg;
    for (; a < b; a++) *(unsigned char *)part = (unsigned char)(*(unsigned char *)part + a);
    return 0;
}

static void add_bytes(void *left, const void *right, void *arg) {
    (void)arg;
    *(unsigned char *)left = (unsigned char)(*(unsigned char *)left + *(const unsigned char *)right);
}

static void reduce(void) {
    static const size_t grains[] = {0, 1, 2, 7, 100, 2000};
    static text got, want;
    static const matrix one = {{{1, 0}, {0, 1}}};
    size_t i, g, n, at = 600;
    begin(3);
    for (g = 0; g < sizeof grains / sizeof *grains; g++) {
        for (n = 0; n < 1400; n = n * 2 + 1) {
            matrix m = one, serial = one;
            unsigned char sum = 0;
            (void)multiply_range(5, 5 + n, &serial, NULL);
            CHECK_OK(conc_pool_reduce(pool, 5, 5 + n, grains[g], multiply_range, multiply_parts, &m, NULL));
            CHECK(memcmp(&m, &serial, sizeof m) == 0);
            memset(&got, 0, sizeof got);
            CHECK_OK(conc_pool_reduce(pool, 0, n, grains[g], write_range, append, &got, NULL));
            CHECK_EQ(got.length, n);
            for (i = 0; i < n; i++)
                if (!CHECK_EQ(got.text[i], (char)('a' + i % 26))) break;
            CHECK_OK(conc_pool_reduce(pool, 0, n, grains[g], sum_bytes, add_bytes, &sum, NULL));
            CHECK_EQ(sum, (unsigned char)(n == 0 ? 0 : n * (n - 1) / 2));
        }
        memset(&got, 0, sizeof got);
        want = got;
        CHECK_R(conc_pool_reduce(pool, 0, 1400, grains[g], write_range, append, &got, &at), CONC_FAILED);
        CHECK_HAS(conc_error_detail(), "returned 3");
        CHECK(memcmp(&got, &want, sizeof got) == 0); /* as before */
    }
    finish();
}

/* ---- sort ---- */

static size_t sort_size, sort_align;

static int by_bytes(const void *a, const void *b) {
    bool aligned = (uintptr_t)a % sort_align == 0 && (uintptr_t)b % sort_align == 0;
    if (!aligned) CHECK(aligned);
    return memcmp(a, b, sort_size);
}

static int by_int(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

static void sort_once(size_t n, size_t size, int pattern) {
    static union {
        char bytes[2][10000 * 100 + 64];
        int64_t align;
    } room;
    char *got = room.bytes[0], *want = room.bytes[1];
    uint32_t state = (uint32_t)(n * 31 + size);
    size_t i, j;
    for (i = 0; i < n; i++) {
        for (j = 0; j < size; j++) {
            uint32_t r = check_random(&state);
            size_t rank = pattern == 1 ? i : pattern == 2 ? n - i : pattern == 3 ? 5 : r;
            got[i * size + j] = (char)(pattern == 0 ? r >> 8 : j < 4 ? rank >> (8 * (3 - j)) : pattern == 4 ? r & 1u : 0u);
        }
    }
    memcpy(want, got, n * size);
    memset(got + n * size, 77, 32);
    sort_size = size;
    sort_align = 1;
    qsort(want, n, size, by_bytes);
    sort_align = size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : 1;
    CHECK_OK(conc_pool_sort(pool, got, n, size, by_bytes));
    CHECK(memcmp(got, want, n * size) == 0);
    for (i = 0; i < 32; i++) CHECK_EQ(got[n * size + i], 77);
}

static void sort(void) {
    static const size_t sizes[] = {1, 4, 8, 12, 16, 100};
    static const size_t counts[] = {0, 1, 2, 3, 10, 1000, 2047, 2048, 2049, 4095, 4097, 10000};
    size_t s, n;
    int pattern;
    begin(4);
    for (s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (n = 0; n < sizeof counts / sizeof *counts; n++)
            for (pattern = 0; pattern < 5; pattern++) sort_once(counts[n], sizes[s], pattern);
    finish();
}

static void sort_many(void) {
    size_t n = (size_t)check_rounds_least(300000, 20000), i;
    int *items = (int *)malloc(n * sizeof *items);
    uint32_t state = 5;
    uint64_t sum = 0, sum_after = 0;
    unsigned threads;
    if (!CHECK(items != NULL)) return;
    for (threads = 1; threads <= 3; threads++) {
        begin(threads);
        sum = sum_after = 0;
        for (i = 0; i < n; i++) {
            items[i] = (int)(check_random(&state) >> 2);
            sum += (uint64_t)items[i] * (uint64_t)items[i];
        }
        CHECK_OK(conc_pool_sort(pool, items, n, sizeof *items, by_int));
        for (i = 0; i < n; i++) {
            sum_after += (uint64_t)items[i] * (uint64_t)items[i];
            if (i != 0 && !CHECK(items[i - 1] <= items[i])) break;
        }
        CHECK(sum == sum_after);
        finish();
    }
    free(items);
}

/* Items that are aligned better than malloc() aligns stay so. */
static void sort_aligned(void) {
    size_t n = 6000, i;
    char *room = (char *)malloc(64 * (n + 1)), *items;
    uint32_t state = 9;
    begin(2);
    if (!CHECK(room != NULL)) return;
    items = room + (64 - (uintptr_t)room % 64);
    for (i = 0; i < 64 * n; i++) items[i] = (char)(check_random(&state) >> 8);
    sort_size = sort_align = 64;
    CHECK_OK(conc_pool_sort(pool, items, n, 64, by_bytes));
    for (i = 1; i < n; i++)
        if (!CHECK(by_bytes(items + 64 * (i - 1), items + 64 * i) <= 0)) break;
    free(room);
    finish();
}

/* ---- map ---- */

typedef struct answer {
    int64_t twice;
    int x;
} answer;

static int double_it(const void *in, void *out, void *arg) {
    int x = *(const int *)in;
    answer *a = (answer *)out;
    if (arg != NULL && x == *(int *)arg) return 17;
    a->twice = 2 * (int64_t)x;
    a->x = x;
    return 0;
}

static void map(void) {
    static int in[3000];
    static answer out[3001];
    int i, bad = 1234;
    size_t n;
    begin(3);
    for (i = 0; i < 3000; i++) in[i] = i;
    for (n = 0; n <= 3000; n = n * 3 + 1) {
        memset(out, 0, sizeof out);
        CHECK_OK(conc_pool_map(pool, in, out, n, double_it, NULL));
        for (i = 0; i < (int)n; i++)
            if (!CHECK(out[i].twice == 2 * i && out[i].x == i)) break;
        CHECK_EQ(out[n].twice, 0);
    }
    CHECK_R(conc_pool_map(pool, in, out, 3000, double_it, &bad), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "1234");
    CHECK_HAS(conc_error_detail(), "17");
    finish();
}

/* ---- the map over an iterator: its source tells whether the window is kept ---- */

typedef struct source {
    conc_iter iter;
    int at, n, given, window, closed;
    conc_result end;
} source;

static size_t source_next(conc_iter *iter, void *items, size_t n) {
    source *self = (source *)iter;
    CHECK(self->closed == 0 && n > 0);
    if (self->at == self->n) {
        iter->result = self->end;
        return 0;
    }
    CHECK(self->at - self->given < self->window);
    *(int *)items = self->at++;
    return 1;
}

static void source_close(conc_iter *iter) {
    ((source *)iter)->closed++;
}

static conc_iter *numbers(source *s, int n, int window) {
    memset(s, 0, sizeof *s);
    s->iter.next = source_next;
    s->iter.close = source_close;
    s->iter.item_size = sizeof(int);
    s->n = n;
    s->window = window;
    return &s->iter;
}

static conc_iter *imap_of(conc_iter *it, conc_pool_map_fn fn, int window, void *arg, bool in_order) {
    return in_order ? conc_pool_imap(pool, it, fn, answer, (size_t)window, arg)
                    : conc_pool_imap_unordered(pool, it, fn, answer, (size_t)window, arg);
}

/* Goes through it in batches of up to `most`; returns the end. Each of the first `n` must come once (in order, if so). */
static conc_result take_all(conc_iter *it, source *s, size_t most, int n, bool in_order) {
    static unsigned char seen[3000];
    answer items[20];
    size_t done, i;
    int count = 0;
    conc_result r;
    memset(seen, 0, sizeof seen);
    while ((r = conc_next_n(it, items, most, &done)) == CONC_OK) {
        if (!CHECK(done >= 1 && done <= most)) break;
        for (i = 0; i < done; i++, count++) {
            if (in_order) CHECK_EQ(items[i].x, count);
            CHECK(items[i].twice == 2 * (int64_t)items[i].x);
            if (CHECK(items[i].x >= 0 && items[i].x < 3000)) CHECK_EQ(seen[items[i].x]++, 0);
        }
        if (s != NULL) s->given += (int)done;
    }
    if (n >= 0) CHECK_EQ(count, n);
    CHECK_R(conc_next_n(it, items, most, &done), r); /* it stays so */
    return r;
}

static void imap(void) {
    static const int windows[] = {1, 2, 3, 10, 100};
    source s;
    size_t w;
    unsigned threads;
    int order;
    for (threads = 1; threads <= 3; threads++) {
        begin(threads);
        for (w = 0; w < sizeof windows / sizeof *windows; w++) {
            for (order = 0; order < 2; order++) {
                conc_iter *it = imap_of(numbers(&s, 200, windows[w]), double_it, windows[w], NULL, order != 0);
                CHECK_EQ(s.at, 0); /* nothing is taken before it is asked */
                CHECK_R(take_all(it, &s, w % 2 != 0 ? 1 : 20, 200, order != 0), CONC_CLOSED);
                CHECK_EQ(s.closed, 0);
                conc_iter_close(it);
                CHECK_EQ(s.closed, 1);
                it = imap_of(numbers(&s, 0, windows[w]), double_it, windows[w], NULL, order != 0);
                CHECK_R(take_all(it, &s, 1, 0, order != 0), CONC_CLOSED);
                conc_iter_close(it);
            }
        }
        {
            conc_iter *it = imap_of(numbers(&s, 300, (int)threads * 4), double_it, 0, NULL, true);
            CHECK_R(take_all(it, &s, 7, 300, true), CONC_CLOSED);
            conc_iter_close(it);
        }
        finish();
    }
}

static int counted(const void *in, void *out, void *arg) {
    int r;
    (void)count_up(&tally);
    r = double_it(in, out, arg);
    (void)count_up(&tally2);
    return r;
}

static void imap_closed_early(void) {
    source s;
    int order, give;
    begin(2);
    for (order = 0; order < 2; order++) {
        for (give = 0; give < 30; give += 3) {
            conc_iter *it = imap_of(numbers(&s, 1000, 8), counted, 8, NULL, order != 0);
            int i, began;
            answer a;
            tally = tally2 = 0;
            for (i = 0; i < give; i++) {
                CHECK_OK(conc_next(it, &a));
                s.given++;
            }
            conc_iter_close(it);
            CHECK_EQ(s.closed, 1);
            began = count_up(&tally) - 1;
            CHECK_EQ(count_up(&tally2) - 1, began);
            CHECK(began >= give && began <= give + 8);
        }
    }
    finish();
    CHECK_EQ(tally, tally2);
}

static void imap_failing(void) {
    source s;
    int bad, order;
    begin(2);
    for (order = 0; order < 2; order++) {
        for (bad = 0; bad < 40; bad += 13) {
            conc_iter *it = imap_of(numbers(&s, 1000, 6), double_it, 6, &bad, order != 0);
            CHECK_R(take_all(it, &s, 3, order != 0 ? bad : -1, order != 0), CONC_FAILED);
            CHECK_EQ(it->result, CONC_FAILED);
            if (order != 0) CHECK(s.at <= bad + 6);
            conc_iter_close(it);
            it = imap_of(numbers(&s, 1000, 6), double_it, 6, &bad, order != 0);
            CONC_FOREACH(answer, a, conc_take(it, (size_t)bad / 2)) { /* does not come to the failure */
                CHECK_EQ(a.twice, 2 * a.x);
                s.given++;
            }
        }
    }
    bad = 33;
    {
        conc_iter *it = imap_of(numbers(&s, 1000, 6), double_it, 6, &bad, true);
        answer a;
        conc_result r;
        while ((r = conc_next(it, &a)) == CONC_OK) s.given++;
        CHECK_R(r, CONC_FAILED);
        CHECK_HAS(conc_error_detail(), "returned 17 for item 33");
        conc_iter_close(it);
    }
    finish();
}

static void imap_source_fails(void) {
    source s;
    int order, n;
    begin(2);
    for (order = 0; order < 2; order++) {
        for (n = 0; n < 20; n += 7) {
            conc_iter *it = imap_of(numbers(&s, n, 5), double_it, 5, NULL, order != 0);
            s.end = CONC_BROKEN;
            CHECK_R(take_all(it, &s, 2, n, order != 0), CONC_BROKEN);
            conc_iter_close(it);
            CHECK_EQ(s.closed, 1);
        }
    }
    finish();
}

/* Item 1 waits until its token fires; item 0 fails once that has begun. */
static int second_waits(const void *in, void *out, void *arg) {
    failing *f = (failing *)arg;
    int x = *(const int *)in;
    (void)out;
    if (x == 0) {
        CHECK_OK(conc_event_wait(&f->began, CONC_FOREVER));
        return f->code;
    }
    (void)conc_event_set(&f->began);
    if (x == 1) f->waited = conc_sleep(CONC_FOREVER);
    return 0;
}

/* The thread that asks, of a pool of two, runs item 1, which waits, when item 0, in the other thread, fails. */
static int imap_fires_in_task(void *arg) {
    int order;
    (void)arg;
    for (order = 0; order < 2; order++) {
        source s;
        failing f;
        conc_iter *it;
        answer a;
        memset(&f, 0, sizeof f);
        f.code = 6;
        it = imap_of(numbers(&s, 5, 2), second_waits, 2, &f, order != 0);
        CHECK_R(conc_next(it, &a), CONC_FAILED);
        CHECK_HAS(conc_error_detail(), "item 0");
        conc_iter_close(it);
        CHECK_R(f.waited, CONC_CANCELED);
    }
    return 0;
}

static void imap_fires(void) {
    failing f;
    source s;
    int order;
    conc_iter *it;
    answer a;
    begin(2);
    for (order = 0; order < 2; order++) {
        memset(&f, 0, sizeof f);
        f.code = 6;
        it = imap_of(numbers(&s, 3, 2), second_waits, 2, &f, order != 0);
        CHECK_R(conc_next(it, &a), CONC_FAILED); /* the first */
        conc_iter_close(it);
        CHECK_R(f.waited, CONC_CANCELED);
        /* closing does the same */
        memset(&f, 0, sizeof f);
        it = imap_of(numbers(&s, 3, 2), second_waits, 2, &f, order != 0);
        CHECK_OK(conc_next(it, &a));
        conc_iter_close(it);
        CHECK_R(f.waited, CONC_CANCELED);
    }
    {
        conc_future *in_pool = conc_pool_submit(pool, imap_fires_in_task, NULL);
        CHECK_OK(conc_future_wait(in_pool, CONC_FOREVER));
        conc_future_release(in_pool);
    }
    finish();
}

/* Cancels the thread that asks, and waits for what becomes of that. */
static int cancels(const void *in, void *out, void *arg) {
    (void)in;
    (void)out;
    (void)conc_cancel_fire((conc_cancel *)arg);
    CHECK_R(conc_sleep(CONC_FOREVER), CONC_CANCELED);
    return 1;
}

static void imap_canceled(void) {
    source s;
    int order;
    begin(1);
    for (order = 0; order < 2; order++) {
        conc_cancel token, *before;
        conc_iter *it;
        memset(&token, 0, sizeof token);
        before = conc_cancel_use(&token);
        it = imap_of(numbers(&s, 10, 4), cancels, 4, &token, order != 0);
        CHECK_R(take_all(it, &s, 1, 0, order != 0), CONC_CANCELED);
        conc_iter_close(it);
        CHECK_EQ(s.closed, 1);
        (void)conc_cancel_use(before);
    }
    finish();
}

static int imap_in_task(void *arg) {
    static const int windows[] = {1, 3, 16};
    source s;
    size_t w;
    int order;
    (void)arg;
    for (w = 0; w < 3; w++) {
        for (order = 0; order < 2; order++) {
            conc_iter *it = imap_of(numbers(&s, 100, windows[w]), double_it, windows[w], NULL, order != 0);
            CHECK_R(take_all(it, &s, 4, 100, order != 0), CONC_CLOSED);
            conc_iter_close(it);
            it = imap_of(numbers(&s, 100, windows[w]), double_it, windows[w], NULL, order != 0);
            {
                answer a;
                CHECK_OK(conc_next(it, &a));
            }
            conc_iter_close(it);
        }
    }
    return 5;
}

static void imap_inside(void) {
    conc_future *f;
    begin(1);
    f = conc_pool_submit(pool, imap_in_task, NULL);
    if (CHECK(f != NULL)) {
        CHECK_R(conc_future_wait(f, CONC_FOREVER), CONC_FAILED);
        CHECK_EQ(conc_future_code(f), 5); /* it has run */
        conc_future_release(f);
    }
    finish();
}

static void imap_rejected(void) {
    static const conc_reject policies[] = {CONC_REJECT_ABORT, CONC_REJECT_DISCARD, CONC_REJECT_DISCARD_OLDEST,
                                           CONC_REJECT_CALLER_RUNS, CONC_REJECT_BLOCK};
    source s;
    size_t p;
    int order;
    for (p = 0; p < sizeof policies / sizeof *policies; p++) {
        begin_with(1, 1, policies[p]);
        for (order = 0; order < 2; order++) {
            conc_iter *it = imap_of(numbers(&s, 200, 10), double_it, 10, NULL, order != 0);
            (void)conc_cancel_fire(NULL); /* whose sentence stays: nothing fails */
            CHECK_R(take_all(it, &s, 3, 200, order != 0), CONC_CLOSED);
            CHECK_HAS(conc_error_detail(), check_mark_text());
            conc_iter_close(it);
        }
        finish();
    }
}

/* What the pool gives up is done by the thread that asks. */
static void imap_pool_closed(void) {
    source s;
    int order;
    for (order = 0; order < 2; order++) {
        conc_iter *it;
        answer a;
        begin(1);
        it = imap_of(numbers(&s, 100, 20), double_it, 20, NULL, order != 0);
        CHECK_OK(conc_next(it, &a));
        s.given++;
        if (order != 0) CHECK_EQ(a.x, 0);
        CHECK_OK(conc_pool_close_now(pool, NULL, NULL));
        while (conc_next(it, &a) == CONC_OK) s.given++;
        CHECK_R(it->result, CONC_CLOSED);
        CHECK_EQ(s.given, 100);
        conc_iter_close(it);
        finish();
    }
}

static int feed(void *arg) {
    conc_queue *q = (conc_queue *)arg;
    int i;
    for (i = 0; i < 500; i++) {
        CHECK_OK(conc_queue_put(q, &i, CONC_FOREVER));
        if (i % 50 == 0) nudge((unsigned)i / 50);
    }
    CHECK_OK(conc_queue_close(q));
    return 0;
}

static void imap_queue(void) {
    int order;
    begin(2);
    for (order = 0; order < 2; order++) {
        conc_queue *q = conc_queue_new(sizeof(int), 4);
        conc_iter *it = imap_of(conc_iter_queue(q), double_it, 5, NULL, order != 0);
        crew c;
        memset(&c, 0, sizeof c);
        crew_add(&c, feed, q);
        CHECK_R(take_all(it, NULL, 5, 500, order != 0), CONC_CLOSED);
        conc_iter_close(it);
        crew_join(&c);
        CHECK_OK(conc_queue_free(q));
    }
    finish();
}

/* ---- misuse ---- */

static void misuse(void) {
    source s;
    conc_call call;
    conc_iter *it;
    int x = 1;
    answer a;
    begin(1);
    CHECK_MISUSE(conc_pool_for(NULL, 0, 1, 0, mark, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_for(pool, 0, 1, 0, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_invoke(NULL, &call, 0), CONC_INVALID);
    CHECK_MISUSE(conc_pool_invoke(pool, NULL, 1), CONC_INVALID);
    call.fn = NULL;
    call.arg = NULL;
    CHECK_MISUSE(conc_pool_invoke(pool, &call, 1), CONC_INVALID);
    CHECK_MISUSE(conc_pool_reduce(NULL, 0, 1, 0, sum_bytes, add_bytes, &x, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_reduce(pool, 0, 1, 0, NULL, add_bytes, &x, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_reduce(pool, 0, 1, 0, sum_bytes, NULL, &x, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_reduce(pool, 0, 1, 0, sum_bytes, add_bytes, (int *)NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_reduce_bytes(pool, 0, 1, 0, sum_bytes, add_bytes, &x, 0, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_sort(NULL, &x, 1, sizeof x, by_int), CONC_INVALID);
    CHECK_MISUSE(conc_pool_sort(pool, NULL, 1, sizeof x, by_int), CONC_INVALID);
    CHECK_MISUSE(conc_pool_sort(pool, &x, 1, 0, by_int), CONC_INVALID);
    CHECK_MISUSE(conc_pool_sort(pool, &x, 1, sizeof x, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_sort(pool, &x, SIZE_MAX / 2, sizeof x, by_int), CONC_NO_MEMORY);
    CHECK_OK(conc_pool_sort(pool, NULL, 0, sizeof x, by_int));
    CHECK_MISUSE(conc_pool_map(NULL, &x, &a, 1, double_it, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_map(pool, (int *)NULL, &a, 1, double_it, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_map(pool, &x, (answer *)NULL, 1, double_it, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_map(pool, &x, &a, 1, NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_map_bytes(pool, &x, 0, &a, sizeof a, 1, double_it, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_pool_map_bytes(pool, &x, sizeof x, &a, 0, 1, double_it, NULL), CONC_INVALID);
    it = conc_pool_imap(NULL, numbers(&s, 1, 1), double_it, answer, 0, NULL);
    CHECK_R(conc_next(it, &a), CONC_INVALID);
    CHECK_EQ(s.closed, 1);
    it = conc_pool_imap(pool, numbers(&s, 1, 1), NULL, answer, 0, NULL);
    CHECK_R(conc_next(it, &a), CONC_INVALID);
    CHECK_EQ(s.closed, 1);
    it = conc_pool_imap_bytes(pool, numbers(&s, 1, 1), double_it, 0, 0, NULL, true);
    CHECK_R(conc_next(it, &a), CONC_INVALID);
    CHECK_EQ(s.closed, 1);
    it = conc_pool_imap_bytes(pool, numbers(&s, 1, 1), double_it, SIZE_MAX - 100, 0, NULL, true);
    CHECK_R(conc_next(it, &a), CONC_NO_MEMORY);
    CHECK_EQ(s.closed, 1);
    CHECK_R(conc_next(conc_pool_imap(pool, NULL, double_it, answer, 0, NULL), &a), CONC_INVALID);
    CHECK_R(conc_next(conc_pool_imap(pool, conc_iter_failed(CONC_BROKEN), double_it, answer, 0, NULL), &a), CONC_BROKEN);
    /* closed */
    CHECK_OK(conc_pool_close(pool));
    CHECK_R(conc_pool_for(pool, 0, 10, 1, fails_at, NULL), CONC_CLOSED);
    CHECK_R(conc_pool_sort(pool, &x, 1, sizeof x, by_int), CONC_CLOSED);
    CHECK_R(conc_pool_reduce(pool, 0, 1, 0, sum_bytes, add_bytes, &x, NULL), CONC_CLOSED);
    CHECK_EQ(x, 1);
    finish();
}

int main(void) {
    check_begin("parallel");
    RUN(loops);
    RUN(huge);
    RUN(nested);
    RUN(several_callers);
    RUN(failures);
    RUN(canceled);
    RUN(invoke);
    RUN(reduce);
    RUN(sort);
    RUN(sort_many);
    RUN(sort_aligned);
    RUN(map);
    RUN(imap);
    RUN(imap_closed_early);
    RUN(imap_failing);
    RUN(imap_source_fails);
    RUN(imap_fires);
    RUN(imap_canceled);
    RUN(imap_inside);
    RUN(imap_rejected);
    RUN(imap_pool_closed);
    RUN(imap_queue);
    RUN(misuse);
    return check_end();
}
