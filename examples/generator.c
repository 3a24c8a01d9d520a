/* generator.c: a function that yields, instead of a class with a state.
 *
 * In Python:
 *     def create_num(all_num):
 *         a, b = 0, 1
 *         while current_num < all_num:
 *             yield a
 *             a, b = b, a + b
 *     for num in create_num(10): print(num)
 *     obj = create_num(3); next(obj) ...; except StopIteration
 *     sum(x * x for x in create_num(20) if x % 2 == 0)
 *
 * Compile and run:  cc -I.. generator.c -pthread -o generator && ./generator
 *
 * Prints:
 *     0 1 1 2 3 5 8 13 21 34 
 *     0, 1, 1, then: closed: nothing more will come
 *     two of the same, in turn: 0 0 1 1 1 1 2 2
 *     the first above 1000 is 1597
 *     the even ones squared: 8 of them, 126886032 in all
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

/* What has to live from one yield to the next is a field; `self` is where the fields are. */
CONC_GENERATOR(fibonacci, long, int n, i; long a, b;) {
    CONC_BEGIN;
    self->b = 1; /* a, and whatever is not given, begins as 0 */
    for (self->i = 0; self->i < self->n; self->i++) {
        CONC_YIELD(self->a);
        long next = self->a + self->b;
        self->a = self->b;
        self->b = next;
    }
    CONC_END;
}

CONC_FILTER_FN(even, long, x, x % 2 == 0)
CONC_MAP_FN(square, long, x, long, x * x)

struct total {
    long count, sum;
};
static struct total with(struct total t, long x) {
    t.count++;
    t.sum += x;
    return t;
}
CONC_FOLD_FN(add, struct total, t, long, x, with(t, x))

int main(void) {
    CONC_FOR_GEN(fibonacci, x, .n = 10) printf("%ld ", x); /* compiles to the plain loop */
    puts("");

    fibonacci f = CONC_GEN(fibonacci, .n = 3);
    conc_result r;
    long x = 0;
    while ((r = CONC_NEXT(fibonacci, &f, &x)) == CONC_OK) printf("%ld, ", x);
    printf("then: %s\n", conc_strerror(r));

    fibonacci g = CONC_GEN(fibonacci, .n = 4), h = CONC_GEN(fibonacci, .n = 4); /* each has a state of its own */
    printf("two of the same, in turn:");
    while (CONC_NEXT(fibonacci, &g, &x) == CONC_OK) {
        printf(" %ld", x);
        if (CONC_NEXT(fibonacci, &h, &x) == CONC_OK) printf(" %ld", x);
    }
    puts("");

    CONC_FOR_GEN(fibonacci, y, .n = 50) {
        if (y <= 1000) continue;
        printf("the first above 1000 is %ld\n", y);
        break; /* what it holds is given back here too */
    }

    struct total t = {0, 0}; /* a generator is an iterator, so it goes into pipelines: lazily, in batches */
    r = conc_fold(conc_map(conc_filter(CONC_GEN_NEW(fibonacci, .n = 23), even, NULL), square, NULL), add, &t, NULL);
    if (r != CONC_OK) return 1;
    printf("the even ones squared: %ld of them, %ld in all\n", t.count, t.sum);
    return 0;
}
