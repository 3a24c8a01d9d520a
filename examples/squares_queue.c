/* squares_queue.c: threads that talk through a queue.
 *
 * In Python:
 *     def producer(q): for n in 1..5: q.put(n)
 *     def consumer(q): while True: n = q.get(); print(n, "squared is", n ** 2)
 * and, since a thread cannot return a list, each one puts its result into a queue:
 *     def job(l, q): q.put([x ** 2 for x in l])
 *     date = [[1, 2, 3], [3, 4, 5], [4, 4, 4], [5, 5, 5]]
 *     for l in date: Thread(target=job, args=(l, q)).start()
 *     results = [q.get() for _ in date]
 *
 * Compile and run:  cc -I.. squares_queue.c -pthread -o squares_queue && ./squares_queue
 *
 * Prints:
 *     1 squared is 1
 *     2 squared is 4
 *     3 squared is 9
 *     4 squared is 16
 *     5 squared is 25
 *     [[1,4,9],[9,16,25],[16,16,16],[25,25,25]]
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

/* ---- one producer, one consumer ---- */

static int producer(void *arg) {
    conc_queue *numbers = arg;
    for (int n = 1; n <= 5; n++) conc_queue_put(numbers, &n, CONC_FOREVER);
    conc_queue_close(numbers); /* no more will come */
    return 0;
}

static int consumer(void *arg) {
    conc_queue *numbers = arg;
    CONC_FOR_QUEUE(int, n, numbers) printf("%d squared is %d\n", n, n * n); /* until it is closed and empty */
    return 0;
}

/* ---- a list for each thread, the results through one queue ---- */

typedef struct list {
    int which; /* results come in any order: each one says whose it is */
    int x[3];
} list;

static conc_queue *results;

static int job(void *arg) {
    list l = *(const list *)arg; /* the queue copies what is put into it, so a local variable will do */
    for (int i = 0; i < 3; i++) l.x[i] *= l.x[i];
    conc_queue_put(results, &l, CONC_FOREVER);
    return 0;
}

int main(void) {
    conc_queue *numbers = conc_queue_new(sizeof(int), 2); /* holds two; a put into the full queue waits */
    conc_thread *p = conc_thread_start(producer, numbers, NULL);
    conc_thread *c = conc_thread_start(consumer, numbers, NULL);
    if (conc_thread_join(p, NULL, CONC_FOREVER) != CONC_OK) return 1;
    if (conc_thread_join(c, NULL, CONC_FOREVER) != CONC_OK) return 1;
    conc_queue_free(numbers);

    list date[4] = {{0, {1, 2, 3}}, {1, {3, 4, 5}}, {2, {4, 4, 4}}, {3, {5, 5, 5}}}, squared[4], l;
    conc_thread *t[4];
    results = conc_queue_new(sizeof(list), 0); /* 0: as many as there is memory for */
    for (int i = 0; i < 4; i++) t[i] = conc_thread_start(job, &date[i], NULL);
    for (int i = 0; i < 4; i++)
        if (conc_thread_join(t[i], NULL, CONC_FOREVER) != CONC_OK) return 1;
    while (conc_queue_get(results, &l, CONC_NOW) == CONC_OK) squared[l.which] = l;
    conc_queue_free(results);

    for (int i = 0; i < 4; i++)
        printf("%s[%d,%d,%d]", i == 0 ? "[" : ",", squared[i].x[0], squared[i].x[1], squared[i].x[2]);
    puts("]");
    return 0;
}
