/* lock.c: two threads change one variable and print; the lock keeps them apart.
 *
 * In Python:
 *     def job1():                            def job2():
 *         global A                               global A
 *         lock.acquire()                         lock.acquire()
 *         for i in range(10):                    for i in range(10):
 *             A += 1; print("job1", A)               A += 10; print("job2", A)
 *         lock.release()                         lock.release()
 *
 * Take the two CONC_WITH_LOCK lines away, and the outputs mix.
 *
 * Compile and run:  cc -I.. lock.c -pthread -o lock && ./lock
 *
 * Prints:
 *     job1 1
 *     job1 2
 *     job1 3
 *     job1 4
 *     job1 5
 *     job1 6
 *     job1 7
 *     job1 8
 *     job1 9
 *     job1 10
 *     job2 20
 *     job2 30
 *     job2 40
 *     job2 50
 *     job2 60
 *     job2 70
 *     job2 80
 *     job2 90
 *     job2 100
 *     job2 110
 *     A is 110
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static conc_mutex lock; /* 4 bytes; zero is unlocked */
static long A;          /* guarded by lock */
static conc_event job1_has_begun;

static int job1(void *arg) {
    (void)arg;
    CONC_WITH_LOCK(&lock) {
        conc_event_set(&job1_has_begun);
        for (int i = 0; i < 10; i++) {
            A += 1;
            printf("job1 %ld\n", A);
            conc_thread_yield(); /* gives job2 every chance to come between */
        }
    }
    return 0;
}

static int job2(void *arg) {
    (void)arg;
    CONC_WITH_LOCK(&lock) {
        for (int i = 0; i < 10; i++) {
            A += 10;
            printf("job2 %ld\n", A);
            conc_thread_yield();
        }
    }
    return 0;
}

int main(void) {
    conc_thread *t1 = conc_thread_start(job1, NULL, NULL);
    if (t1 == NULL) return 1;
    conc_event_wait(&job1_has_begun, CONC_FOREVER); /* only so that job1 is always the first */
    conc_thread *t2 = conc_thread_start(job2, NULL, NULL);
    if (conc_thread_join(t1, NULL, CONC_FOREVER) != CONC_OK) return 1;
    if (conc_thread_join(t2, NULL, CONC_FOREVER) != CONC_OK) return 1;
    printf("A is %ld\n", A);
    return 0;
}
