/* process_map.c: map over an array, and from an iterator to an iterator, in processes.
 *
 * In Python (the first part is the example in the manual of concurrent.futures):
 *     with ProcessPoolExecutor() as pool:
 *         for number, prime in zip(NUMBERS, pool.map(is_prime, NUMBERS)):
 *             print("%d is %sprime" % (number, "" if prime else "not "))
 *     with Pool() as pool:
 *         twins = (n for n, both in pool.imap(are_twins, candidates(10**9), chunksize=16) if both)
 *         print(list(islice(twins, 5)))          # candidates() is a generator that never ends
 *         print(sum(pool.imap_unordered(count, range(0, 10**6, 10**4))))
 *
 * (Python's imap takes all that the generator can give at once, and with one that never ends fills the memory. Here no
 * more than a window of items has been taken and not yet been given.)
 *
 * Compile and run:  cc -O2 -I.. process_map.c -pthread -o process_map && ./process_map
 *
 * Prints:
 *     112272535095293 is prime
 *     112582705942171 is prime
 *     112272535095293 is prime
 *     115280095190773 is prime
 *     115797848077099 is prime
 *     1099726899285419 is not prime
 *     twins: 1000000007 1000000409 1000000931 1000001447 1000001537
 *     the generator was asked for no more than needed: yes; and closed
 *     78498 primes below 1000000
 *     no number: conc_procpool_imap: item 0: a task of the process pool "procpool" returned 1
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static bool prime(uint64_t n) {
    if (n < 2 || n % 2 == 0) return n == 2;
    for (uint64_t d = 3; d * d <= n; d += 2)
        if (n % d == 0) return false;
    return true;
}

static int is_prime(const void *in, void *out, void *arg) { /* from one item to another; not 0 would be an error */
    (void)arg;
    *(bool *)out = prime(*(const uint64_t *)in);
    return 0;
}

typedef struct pair { /* what comes out holds what went in */
    uint64_t first;
    bool both;
} pair;

static int are_twins(const void *in, void *out, void *arg) {
    uint64_t n = *(const uint64_t *)in, distance = *(const uint64_t *)arg;
    *(pair *)out = (pair){n, prime(n) && prime(n + distance)};
    return 0;
}

static int count(const void *in, void *out, void *arg) { /* the primes of as many numbers as `arg` says */
    int64_t first = *(const int64_t *)in, length = *(const int64_t *)arg;
    if (first < 0) return 1;
    *(int *)out = 0;
    for (int64_t n = first; n < first + length; n++) *(int *)out += prime((uint64_t)n);
    return 0;
}

static int given;
CONC_GENERATOR(candidates, uint64_t, uint64_t n;) { /* the odd numbers from n on, without an end */
    CONC_BEGIN;
    for (;; self->n += 2) {
        given++;
        CONC_YIELD(self->n);
    }
    CONC_FINALLY;
    given = -given; /* it is closed */
    CONC_END;
}

int main(int argc, char **argv) {
    static const uint64_t numbers[] = {112272535095293, 112582705942171, 112272535095293,
                                       115280095190773, 115797848077099, 1099726899285419};
    enum { NUMBERS = sizeof numbers / sizeof numbers[0] };
    conc_procpool_register_map("is_prime", is_prime);
    conc_procpool_register_map("are_twins", are_twins);
    conc_procpool_register_map("count", count);
    conc_process_main(argc, argv);

    conc_procpool *pool = conc_procpool_new(0, NULL); /* as many processes as processors */
    if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;

    bool answers[NUMBERS];
    if (conc_procpool_map(pool, numbers, answers, NUMBERS, is_prime, NULL, 0, 0) != CONC_OK) puts(conc_error_detail());
    for (int i = 0; i < NUMBERS; i++) {
        printf("%llu is %sprime\n", (unsigned long long)numbers[i], answers[i] ? "" : "not ");
    }

    /* In the order of the numbers, at most 256 of them on their way, 16 going over together. */
    uint64_t distance = 2;
    int found = 0, seen = 0;
    printf("twins:");
    CONC_FOREACH(pair, p, conc_procpool_imap(pool, CONC_GEN_NEW(candidates, .n = 1000000001), are_twins, pair, 256,
                                             &distance, sizeof distance, 16)) {
        seen++;
        if (p.both) printf(" %llu", (unsigned long long)p.first), found++;
        if (found == 5) break; /* which closes it all */
    }
    printf("\nthe generator was asked for no more than needed: %s; and %s\n",
           (given < 0 ? -given : given) <= seen + 256 ? "yes" : "no", given < 0 ? "closed" : "not closed");

    /* As they are completed: the order does not matter to a sum. */
    int64_t length = 10000;
    int sum = 0;
    CONC_FOREACH(int, n, conc_procpool_imap_unordered(pool, conc_iter_range(0, 1000000, length), count, int, 0, &length,
                                                      sizeof length, 1)) sum += n;
    printf("%d primes below 1000000\n", sum);

    /* An item that fails ends the iterator, which says why. */
    int n;
    conc_iter *it = conc_procpool_imap(pool, conc_iter_range(-1, 1, 1), count, int, 0, &length, sizeof length, 1);
    if (conc_next(it, &n) == CONC_FAILED) printf("no number: %s\n", conc_error_detail());
    conc_iter_close(it);
    return conc_procpool_finish(pool) == CONC_OK ? 0 : 1;
}
