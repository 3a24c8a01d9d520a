/* parallel_sum.c: a sum, and a maximum with it, over a million numbers: in one thread, and by all processors.
 *
 * From any number n, go on with n/2 if it is even, with 3n+1 if it is odd: as far as anybody has tried, one gets to 1
 * (Collatz). How many steps is that from all the numbers below a million together, and from which one is it longest?
 *
 * In Python, where threads would not help:
 *     with ProcessPoolExecutor() as pool:
 *         parts = pool.map(chains, ranges)
 *     total = reduce(join, parts, Chains())
 *
 * conc_pool_reduce() cuts the numbers into pieces by itself, so that no processor is without work while another has
 * much left, and joins the parts in the order of their numbers. Therefore the second answer is the same, too, each
 * time: of several longest chains, the first.
 *
 * Compile and run:  cc -O2 -I.. parallel_sum.c -pthread -o parallel_sum && ./parallel_sum
 *
 * Prints (each time is another one):
 *     one thread:     131434272 steps; longest from 837799: 524; in ... s
 *     all processors: 131434272 steps; longest from 837799: 524; in ... s
 *     ... times as fast
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

typedef struct chains {
    uint64_t steps; /* of all together; the longest, and where it begins */
    unsigned longest;
    size_t from;
} chains;

static int follow(size_t a, size_t b, void *part, void *arg) { /* adds the numbers in [a, b) to `part` */
    chains sum = *(chains *)part; /* a copy of our own: parts may be neighbours in memory */
    (void)arg;
    for (size_t first = a; first < b; first++) {
        unsigned steps = 0;
        for (uint64_t n = first; n > 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1) steps++;
        sum.steps += steps;
        if (steps > sum.longest) sum.longest = steps, sum.from = first;
    }
    *(chains *)part = sum;
    return 0;
}

static void join(void *left, const void *right, void *arg) { /* adds `right` to `left` */
    chains *l = left;
    const chains *r = right;
    (void)arg;
    l->steps += r->steps;
    if (r->longest > l->longest) l->longest = r->longest, l->from = r->from;
}

static double print(const char *who, const chains *c, double begun) {
    double seconds = conc_clock() - begun;
    printf("%-15s %llu steps; longest from %zu: %u; in %.3f s\n", who, (unsigned long long)c->steps, c->from,
           c->longest, seconds);
    return seconds;
}

int main(void) {
    enum { FIRST = 1, END = 1000000 };
    chains one = {0, 0, 0}, all = {0, 0, 0}; /* what a reduction begins with: nothing */
    conc_pool *pool = conc_pool_new(NULL);   /* as many threads as processors */
    if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;

    double begun = conc_clock();
    follow(FIRST, END, &one, NULL);
    double serial = print("one thread:", &one, begun);

    begun = conc_clock();
    conc_result r = conc_pool_reduce(pool, FIRST, END, 0, follow, join, &all, NULL);
    double parallel = print("all processors:", &all, begun);
    printf("%.2f times as fast\n", serial / parallel);

    conc_pool_finish(pool);
    return r == CONC_OK && one.steps == all.steps && one.longest == all.longest && one.from == all.from ? 0 : 1;
}
