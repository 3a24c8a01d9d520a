/* linear.h: whether a short history of concurrent operations is linearizable, by trying all orders (J. M. Wing,
 * C. Gong, "Testing and Verifying Concurrent Objects", 1993). Include it after sim.h.
 *
 *     static linear_history h;                                   a body begins with linear_reset(&h)
 *     int i = linear_begin(&h, TAKE, 0);                         around each operation, in each thread
 *     linear_end(&h, i, conc_semaphore_acquire(&s, CONC_NOW));
 *     CONC_SIM_ASSERT(linear_check(&h, &first, apply));          when all threads have been joined
 *
 * It is, if the operations can be put in one order such that each that had ended before another began stands before
 * that one, and apply(), called in that order from the state `first`, finds each result right and leaves the state that
 * follows. Histories of up to about 10 operations are checked in no time.
 *
 * "Before" is what the program itself can know: a begin acquires what all earlier ends released. That is the guarantee
 * which linearizability gives in weak memory; without it a try that sees an old value would be wrongly told. It orders
 * no operations that overlap, but hides a missing order between those that do not: marks on data find that. */

#ifndef CONC_TESTS_LINEAR_H
#define CONC_TESTS_LINEAR_H

#define LINEAR_OPS 24 /* in one history */
#define LINEAR_STATE 16

typedef struct linear_op {
    int kind, arg, result; /* what was done, with what, and what came of it: apply() knows */
    uint32_t begin, end;   /* stamps */
} linear_op;

typedef struct linear_history {
    uint32_t stamp;                  /* atomic; the next */
    linear_op ops[2 * LINEAR_OPS];   /* by the stamp of their beginning; those with end 0 are none */
} linear_history;

/* All that apply() remembers; copied at each step. */
typedef struct linear_state {
    int v[LINEAR_STATE];
} linear_state;

/* Whether `op` may have this result in the state `s`, which it then changes. */
typedef bool (*linear_apply)(linear_state *s, const linear_op *op);

static inline void linear_reset(linear_history *h) {
    memset(h, 0, sizeof *h);
}

/* Where an operation begins; returns its number for linear_end(). */
static inline int linear_begin(linear_history *h, int kind, int arg) {
    uint32_t i = conc__add32(&h->stamp, 1, CONC__ACQ_REL);
    CONC_SIM_ASSERT(i < 2 * LINEAR_OPS - 1);
    h->ops[i].kind = kind;
    h->ops[i].arg = arg;
    h->ops[i].begin = i;
    return (int)i;
}

static inline void linear_end(linear_history *h, int i, int result) {
    h->ops[i].result = result;
    h->ops[i].end = conc__add32(&h->stamp, 1, CONC__ACQ_REL);
}

static inline bool linear_rest(const linear_op *ops, int n, uint32_t done, linear_state s, linear_apply apply) {
    int i, k;
    if (done == ((uint32_t)1 << n) - 1u) return true;
    for (i = 0; i < n; i++) {
        linear_state next = s;
        bool can = (done >> i & 1u) == 0;
        for (k = 0; k < n && can; k++) can = (done >> k & 1u) != 0 || ops[k].end > ops[i].begin;
        if (can && apply(&next, &ops[i]) && linear_rest(ops, n, done | (uint32_t)1 << i, next, apply)) return true;
    }
    return false;
}

/* All operations that began have to have ended. */
static inline bool linear_check(const linear_history *h, const linear_state *first, linear_apply apply) {
    linear_op ops[LINEAR_OPS];
    int i, n = 0;
    for (i = 0; i < 2 * LINEAR_OPS; i++) {
        if (h->ops[i].end != 0) ops[n++] = h->ops[i];
    }
    return linear_rest(ops, n, 0, *first, apply);
}

#endif
