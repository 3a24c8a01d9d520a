/* Generators and iterators: conc.h, the plain loop that one would write instead, and a Duff's device written by hand. As
 * users compile it: the header here, its implementation in another file. The cost of one item, in one thread. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include "bench.h"

#if defined(__GNUC__)
#define ITER_NOINLINE __attribute__((noinline))
#else
#define ITER_NOINLINE
#endif

#define ITER_ITEMS 10000
static volatile uint64_t iter_first; /* where each run begins: 0, but no compiler knows */

/* ---- fibonacci, modulo 2^64 ---- */

CONC_GENERATOR(fibonacci, uint64_t, uint64_t n, i, a, b;) {
    CONC_BEGIN;
    self->b = 1;
    for (self->i = 0; self->i < self->n; self->i++) {
        CONC_YIELD(self->a);
        {
            uint64_t next = self->a + self->b;
            self->a = self->b;
            self->b = next;
        }
    }
    CONC_END;
}

ITER_NOINLINE static uint64_t fib_conc(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    CONC_FOR_GEN(fibonacci, x, .n = n, .a = a) sum += x;
    return sum;
}

ITER_NOINLINE static uint64_t fib_conc_one(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    fibonacci g = CONC_GEN(fibonacci, .n = n, .a = a);
    CONC_FOREACH(uint64_t, x, &g.iter) sum += x;
    return sum;
}

CONC_FOLD_FN(add, uint64_t, sum, uint64_t, x, sum + x)

ITER_NOINLINE static uint64_t fib_conc_batch(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    fibonacci g = CONC_GEN(fibonacci, .n = n, .a = a);
    BENCH_CHECK(conc_fold(&g.iter, add, &sum, NULL) == CONC_OK);
    return sum;
}

/* With the promise that lets a batch run in registers. */
CONC_GENERATOR_PLAIN(fibonacci_plain, uint64_t, uint64_t n, i, a, b;) {
    CONC_BEGIN;
    self->b = 1;
    for (self->i = 0; self->i < self->n; self->i++) {
        CONC_YIELD(self->a);
        {
            uint64_t next = self->a + self->b;
            self->a = self->b;
            self->b = next;
        }
    }
    CONC_END;
}

ITER_NOINLINE static uint64_t fib_conc_plain(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    fibonacci_plain g = CONC_GEN(fibonacci_plain, .n = n, .a = a);
    BENCH_CHECK(conc_fold(&g.iter, add, &sum, NULL) == CONC_OK);
    return sum;
}

ITER_NOINLINE static uint64_t fib_plain(uint64_t a, uint64_t n) {
    uint64_t sum = 0, b = 1, i;
    for (i = 0; i < n; i++) {
        uint64_t next = a + b;
        sum += a;
        a = b;
        b = next;
    }
    return sum;
}

typedef struct duff {
    int place;
    uint64_t n, i, a, b;
} duff;

static int duff_next(duff *d, uint64_t *out) {
    switch (d->place) {
    case 0:
        d->b = 1;
        for (d->i = 0; d->i < d->n; d->i++) {
            d->place = 1;
            *out = d->a;
            return 1;
    case 1:;
            {
                uint64_t next = d->a + d->b;
                d->a = d->b;
                d->b = next;
            }
        }
    }
    d->place = 2;
    return 0;
}
static int (*volatile duff_unknown)(duff *, uint64_t *) = duff_next;

ITER_NOINLINE static uint64_t fib_duff(uint64_t a, uint64_t n) {
    uint64_t sum = 0, x;
    duff d = { 0, n, 0, a, 0 };
    while (duff_next(&d, &x)) sum += x;
    return sum;
}

ITER_NOINLINE static uint64_t fib_duff_pointer(uint64_t a, uint64_t n) {
    uint64_t sum = 0, x;
    duff d = { 0, n, 0, a, 0 };
    int (*next)(duff *, uint64_t *) = duff_unknown;
    while (next(&d, &x)) sum += x;
    return sum;
}

/* ---- the sum of the squares of those that three does not divide ---- */

CONC_FILTER_FN(not_three, int64_t, x, x % 3 != 0)
CONC_MAP_FN(square, int64_t, x, uint64_t, (uint64_t)x * (uint64_t)x)

ITER_NOINLINE static uint64_t pipe_conc(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    conc_iter *it = conc_iter_range((int64_t)a, (int64_t)n, 1);
    BENCH_CHECK(conc_fold(conc_map(conc_filter(it, not_three, NULL), square, NULL), add, &sum, NULL) == CONC_OK);
    return sum;
}

ITER_NOINLINE static uint64_t pipe_plain(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    int64_t x, end = (int64_t)n;
    for (x = (int64_t)a; x < end; x++)
        if (x % 3 != 0) sum += (uint64_t)x * (uint64_t)x;
    return sum;
}

/* Generators in generators, by name: each step of the inner one is inlined into the outer one's. */
CONC_GENERATOR(numbers, int64_t, int64_t x, end;) {
    CONC_BEGIN;
    for (; self->x < self->end; self->x++) CONC_YIELD(self->x);
    CONC_END;
}
CONC_GENERATOR(squares, uint64_t, numbers from; int64_t x;) {
    CONC_BEGIN;
    while (CONC_NEXT(numbers, &self->from, &self->x) == CONC_OK)
        if (self->x % 3 != 0) CONC_YIELD((uint64_t)self->x * (uint64_t)self->x);
    CONC_END;
}
ITER_NOINLINE static uint64_t pipe_conc_names(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    CONC_FOR_GEN(squares, x, .from = { .x = (int64_t)a, .end = (int64_t)n }) sum += x;
    return sum;
}

/* ---- measuring ---- */

typedef uint64_t (*iter_fn)(uint64_t first, uint64_t n);
static iter_fn const iter_fns[] = { fib_plain, fib_duff, fib_conc, fib_duff_pointer, fib_conc_plain, fib_conc_batch,
                                    fib_conc_one, pipe_plain, pipe_conc, pipe_conc_names };

static void iter_turns(bench_thread *t) {
    iter_fn fn = iter_fns[t->number];
    uint64_t ops = 0, want = t->number < 7 ? fib_plain(0, ITER_ITEMS) : pipe_plain(0, ITER_ITEMS);
    uint32_t phase;
    while ((phase = bench_phase()) != BENCH_OVER) {
        uint64_t sum = fn(iter_first, ITER_ITEMS);
        BENCH_CHECK(sum == want);
        ops += phase * (uint64_t)ITER_ITEMS;
    }
    t->ops = ops;
}

static void iter_run(const bench_case *c) {
    bench_window w;
    bench_start(0, iter_turns, NULL, c->a);
    w = bench_measure();
    bench_join(0, 1);
    bench_print(c, w.seconds * 1e9 / (double)bench_team[0].ops, "ns", "");
}

static const bench_case cases[] = {
    {"iter", "fibonacci, by name", "plain loop", iter_run, 0, 0},
    {"iter", "fibonacci, by name", "Duff's device", iter_run, 1, 0},
    {"iter", "fibonacci, by name", "conc", iter_run, 2, 0},
    {"iter", "fibonacci, iterator", "plain loop", iter_run, 0, 0},
    {"iter", "fibonacci, iterator", "Duff's device", iter_run, 3, 0},
    {"iter", "fibonacci, iterator", "conc", iter_run, 4, 0},
    {"iter", "fibonacci, iterator", "conc, in place", iter_run, 5, 0},
    {"iter", "fibonacci, iterator", "conc, one by one", iter_run, 6, 0},
    {"iter", "filter, map, sum", "plain loop", iter_run, 7, 0},
    {"iter", "filter, map, sum", "conc", iter_run, 8, 0},
    {"iter", "filter, map, sum", "conc, by name", iter_run, 9, 0},
};

BENCH_MAIN(cases)
