/* What the compiler must refuse. Compiled once as it stands, which must do, and once for each MISUSE, which must
 * not. With CONC_MUST_CHECK that takes -Werror=unused-result. */
#include "../../conc.h"

#if defined(MISUSE) && MISUSE == 10
#define YIELDED "text" /* a generator of int */
#else
#define YIELDED 1
#endif
CONC_GENERATOR(numbers, int, int n;) {
    CONC_BEGIN;
    CONC_YIELD(YIELDED);
    CONC_END;
}
CONC_FOLD_FN(add, long, sum, int, x, sum + x)

#if defined(MISUSE) && MISUSE == 12
#define AWAITED conc_queue_get(self->q, &self->x, CONC_NOW) /* a result is not an op */
#else
#define AWAITED conc_op_get(self->q, &self->x)
#endif
#if defined(MISUSE) && MISUSE == 13
#define LIMIT self->n /* not a conc_co_timeout */
#else
#define LIMIT self->limit
#endif
CONC_CORO(takes, conc_queue *q; int x, n; conc_co_timeout limit;) {
    CO_BEGIN;
    CO_AWAIT(AWAITED);
    CO_TIMEOUT(LIMIT, 1) CO_YIELD;
#if defined(MISUSE) && MISUSE == 14
    CO_AWAIT_UNTIL(AWAITED, 0.5); /* a number is not a deadline */
#endif
    CO_END;
}

int misuse(conc_queue *q, conc_mutex *m, int *x);
int misuse(conc_queue *q, conc_mutex *m, int *x) {
#if !defined(MISUSE)
    long sum = 0;
    CONC_FOR_GEN(numbers, y) *x = y;
    takes frame = CONC_FRAME_ZERO(takes);
    if (CONC_SPAWN_FRAME(NULL, NULL, takes, frame) != NULL) return 1;
    return conc_queue_get(q, x, conc_after(5)) == CONC_OK && conc_mutex_lock(m, CONC_NOW) == CONC_OK &&
           conc_fold(CONC_GEN_NEW(numbers), add, &sum, NULL) == CONC_OK;
#elif MISUSE == 1
    (void)m;
    return conc_queue_get(q, x, 5); /* a number is not a deadline */
#elif MISUSE == 2
    (void)q, (void)x;
    return conc_mutex_lock(m, 0.5);
#elif MISUSE == 3
    (void)q, (void)x;
    conc_mutex_lock(m, CONC_NOW); /* nobody looks whether it is held */
    return 0;
#elif MISUSE == 4
    (void)m;
    return conc_queue_get(q, *x, CONC_NOW); /* the item, not a pointer to it */
#elif MISUSE == 5
    (void)x;
    return conc_mutex_unlock(q); /* a queue is not a mutex */
#elif MISUSE == 6
    (void)m;
    return conc_wait(conc_queue_get(q, x, CONC_NOW), CONC_FOREVER); /* a result is not an op */
#elif MISUSE == 7
    (void)m, (void)q;
    return conc_fold(CONC_GEN_NEW(numbers), add, x, NULL); /* the sum is a long */
#elif MISUSE == 8
    (void)m, (void)q;
    numbers g = CONC_GEN(numbers);
    return CONC_NEXT(numbers, g, x); /* the generator, not a pointer to it */
#elif MISUSE == 9
    (void)m;
    CONC_FOREACH(int, y, q) *x = y; /* a queue is no iterator: conc_iter_queue() makes one of it */
    return 0;
#elif MISUSE == 10
    (void)m, (void)q;
    return *x;
#elif MISUSE == 11
    (void)m, (void)q;
    return conc_next(conc_map(conc_iter_range(0, 1, 1), add, NULL), x); /* not a function for conc_map() */
#elif MISUSE == 15
    (void)m, (void)q, (void)x;
    return CONC_SPAWN_FRAME(NULL, NULL, takes, x) != NULL; /* not a frame of it */
#else
    (void)m, (void)q, (void)x;
    return 0;
#endif
}
