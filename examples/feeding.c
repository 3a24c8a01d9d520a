/* feeding.c: a thread produces, coroutines consume: the same queue serves both worlds.
 *
 * In Python the two worlds have a queue each, and a bridge between them:
 *     loop.call_soon_threadsafe(async_queue.put_nowait, item)
 * Here a queue is a queue. The thread blocks when it is full (conc_queue_put), a coroutine suspends when it is empty
 * (conc_op_get), and what a close does is seen by both.
 *
 * Compile and run:  cc -I.. feeding.c -pthread -o feeding && ./feeding
 *
 * Prints:
 *     fed: 10000 numbers
 *     4 coroutines took 10000 numbers, their sum is 50005000
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static conc_queue *numbers;
static long taken, sum; /* no lock: only the coroutines of one loop touch them, one at a time */

static int producer(void *arg) {
    long n = *(long *)arg;
    for (long i = 1; i <= n; i++) conc_queue_put(numbers, &i, CONC_FOREVER);
    printf("fed: %ld numbers\n", n);
    conc_queue_close(numbers); /* nothing more will come */
    return 0;
}

CONC_CORO(consumer, long x;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(numbers, &self->x));
        if (self->co.result != CONC_OK) break; /* CONC_CLOSED: it is closed, and empty */
        taken++;
        sum += self->x;
    }
    CO_END;
}

int main(void) {
    long n = 10000;
    conc_loop *loop = conc_loop_new(NULL);
    numbers = conc_queue_new(sizeof(long), 16); /* at most 16 on their way */
    for (int i = 0; i < 4; i++) CONC_GO(loop, consumer);
    conc_thread *t = conc_thread_start(producer, &n, NULL);
    if (t == NULL) return 1;
    conc_loop_run(loop, CONC_FOREVER); /* this thread runs the coroutines */
    conc_thread_join(t, NULL, CONC_FOREVER);
    printf("4 coroutines took %ld numbers, their sum is %ld\n", taken, sum);
    conc_queue_free(numbers);
    return conc_loop_free(loop) == CONC_OK ? 0 : 1;
}
