/* pipeline.c: a lazy pipeline over a queue that threads feed.
 *
 * In Python:
 *     def produce(q, first): for n in range(first, 1000, 4): q.put(n)
 *     def until_closed(q): ... yield q.get() ...
 *     odd = (n for n in until_closed(q) if n % 2)
 *     squares = (n * n for n in odd)
 *     print(sum(squares))
 *
 * Compile and run:  cc -I.. pipeline.c -pthread -o pipeline && ./pipeline
 *
 * Prints:
 *     the odd ones of 1000 numbers squared: 166666500 in all
 *     ten of the next, in batches of 4: 4 4 2
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static conc_queue *numbers;
static conc_latch busy = CONC_LATCH_INIT(4);

static int produce(void *arg) {
    for (int n = *(const int *)arg; n < 1000; n += 4)
        if (conc_queue_put(numbers, &n, CONC_FOREVER) != CONC_OK) return 1;
    conc_latch_done(&busy);
    return 0;
}

static int close_when_done(void *arg) {
    (void)arg;
    if (conc_latch_wait(&busy, CONC_FOREVER) != CONC_OK) return 1;
    conc_queue_close(numbers); /* so the iterator ends */
    return 0;
}

CONC_FILTER_FN(odd, int, x, x % 2 != 0)
CONC_MAP_FN(square, int, x, long, (long)x * x)
CONC_FOLD_FN(add, long, sum, long, x, sum + x)

struct four {
    size_t count;
    int items[4];
};

int main(void) {
    static int firsts[4] = {0, 1, 2, 3};
    long sum = 0;
    numbers = conc_queue_new(sizeof(int), 16);
    for (int i = 0; i < 4; i++)
        if (conc_thread_start(produce, &firsts[i], NULL) == NULL) return 1;
    if (conc_thread_start(close_when_done, NULL, NULL) == NULL) return 1;

    /* Nothing runs ahead: each stage asks the one before it for as much as it is asked for itself. The sum takes what is there,
     * in batches, and waits when there is nothing. Any failure on the way arrives here. */
    conc_result r = conc_fold(conc_map(conc_filter(conc_iter_queue(numbers), odd, NULL), square, NULL), add, &sum, NULL);
    if (r != CONC_OK) return fprintf(stderr, "%s\n", conc_explain(r)), 1;
    printf("the odd ones of 1000 numbers squared: %ld in all\n", sum);
    if (conc_thread_join_all(CONC_FOREVER) != CONC_OK) return 1;
    conc_queue_free(numbers);

    numbers = conc_queue_new(sizeof(int), 0);
    for (int i = 0; i < 12; i++) conc_queue_put(numbers, &i, CONC_FOREVER);
    printf("ten of the next, in batches of 4:");
    CONC_FOREACH(struct four, b, conc_batch(struct four, count, items, conc_take(conc_iter_queue(numbers), 10))) printf(" %zu", b.count);
    puts("");
    return conc_queue_length(numbers) == 2 && conc_queue_free(numbers) == CONC_OK ? 0 : 1; /* two are still in it */
}
