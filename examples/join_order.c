/* join_order.c: what join is for: without it, main goes on while the thread still works.
 *
 * In Python:
 *     def T1(): print("T1 start"); ...; print("T1 finish")
 *     t1.start(); t2.start()
 *     t2.join(); t1.join()       # leave them out, and "all done" is printed too early
 *     print("all done")
 *
 * T1 is slow: it waits for something before it finishes. Where the tutorial sleeps (and hopes), this program
 * has an event, so the order is the same every time.
 *
 * Compile and run:  cc -I.. join_order.c -pthread -o join_order && ./join_order
 *
 * Prints:
 *     without join:
 *     T1 start
 *     all done
 *     T1 finish
 *     with join:
 *     T1 start
 *     T2 start
 *     T2 finish
 *     T1 finish
 *     all done
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static conc_event t1_started, t1_may_finish;

static int T1(void *arg) {
    (void)arg;
    puts("T1 start");
    conc_event_set(&t1_started);
    conc_event_wait(&t1_may_finish, CONC_FOREVER); /* the slow part */
    puts("T1 finish");
    return 0;
}

static int T2(void *arg) {
    (void)arg;
    puts("T2 start");
    puts("T2 finish");
    conc_event_set(&t1_may_finish);
    return 0;
}

static conc_thread *start_T1(void) {
    conc_event_reset(&t1_started);
    conc_event_reset(&t1_may_finish);
    conc_thread *t = conc_thread_start(T1, NULL, NULL);
    if (t != NULL) conc_event_wait(&t1_started, CONC_FOREVER);
    return t;
}

int main(void) {
    puts("without join:");
    conc_thread *t1 = start_T1();
    puts("all done"); /* not true: nobody has waited for T1 */
    conc_event_set(&t1_may_finish);
    if (conc_thread_join(t1, NULL, CONC_FOREVER) != CONC_OK) return 1; /* only to keep the two parts apart */

    puts("with join:");
    t1 = start_T1();
    conc_thread *t2 = conc_thread_start(T2, NULL, NULL);
    if (conc_thread_join(t2, NULL, CONC_FOREVER) != CONC_OK) return 1;
    if (conc_thread_join(t1, NULL, CONC_FOREVER) != CONC_OK) return 1;
    puts("all done"); /* true */
    return 0;
}
