/* producer_consumer.c: three producers, two consumers, one small queue, and how it all ends: close.
 *
 * In Python, until 3.13, one had to put a None for each consumer; there and here the queue is closed:
 *     for p in producers: p.join()
 *     q.shutdown()                  # the consumers take what is left; then their get() raises ShutDown
 *     for c in consumers: c.join()
 *
 * Compile and run:  cc -I.. producer_consumer.c -pthread -o producer_consumer && ./producer_consumer
 *
 * Prints:
 *     put 30000 items, sum 450015000
 *     took 30000 items, sum 450015000
 *     a put after the close: closed: nothing more will come
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { PRODUCERS = 3, CONSUMERS = 2, EACH = 10000 };

typedef struct share { /* what one thread has put or taken; read by main after join */
    conc_thread *thread;
    int first;
    long items, sum;
} share;

static conc_queue *queue;

static int produce(void *arg) {
    share *my = arg;
    for (int n = my->first; n < my->first + EACH; n++) {
        if (conc_queue_put(queue, &n, CONC_FOREVER) != CONC_OK) return 1; /* waits while the queue is full */
        my->items += 1;
        my->sum += n;
    }
    return 0;
}

static int consume(void *arg) {
    share *my = arg;
    int n;
    while (conc_queue_get(queue, &n, CONC_FOREVER) == CONC_OK) { /* waits while empty; CONC_CLOSED ends it */
        my->items += 1;
        my->sum += n;
    }
    return 0;
}

/* Waits for `n` threads and adds up what they did. */
static share join(share *of, int n) {
    share all = {0};
    for (int i = 0; i < n; i++) {
        conc_thread_join(of[i].thread, NULL, CONC_FOREVER);
        all.items += of[i].items;
        all.sum += of[i].sum;
    }
    return all;
}

int main(void) {
    share producer[PRODUCERS] = {{0}}, consumer[CONSUMERS] = {{0}};
    queue = conc_queue_new(sizeof(int), 16);
    for (int i = 0; i < PRODUCERS; i++) {
        producer[i].first = 1 + i * EACH;
        producer[i].thread = conc_thread_start(produce, &producer[i], NULL);
    }
    for (int i = 0; i < CONSUMERS; i++) consumer[i].thread = conc_thread_start(consume, &consumer[i], NULL);

    share put = join(producer, PRODUCERS);
    conc_queue_close(queue); /* after the last put, and only now */
    share took = join(consumer, CONSUMERS);

    printf("put %ld items, sum %ld\n", put.items, put.sum);
    printf("took %ld items, sum %ld\n", took.items, took.sum);
    conc_result r = conc_queue_put(queue, &(int){7}, CONC_FOREVER);
    printf("a put after the close: %s\n", conc_strerror(r));
    conc_queue_free(queue);
    return 0;
}
