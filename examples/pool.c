/* pool.c: ten tasks on four threads.
 *
 * In Python:
 *     def count(below):
 *         begun = time.time()
 *         primes = sum(is_prime(n) for n in range(2, below))
 *         print("%s: %d below %d in %.3f s" % (current_thread().name, primes, below, time.time() - begun))
 *         return primes
 *     with ThreadPoolExecutor(4, "worker") as pool:
 *         futures = [pool.submit(count, 20000 * (i + 1)) for i in range(10)]
 *         for f in futures: print(f.result())
 *     print("end")
 *
 * The pool starts a thread for each of the first four tasks; the others wait in its queue until a thread has
 * done with what it had. They end as they end; main looks at the results in the order in which it handed them in.
 *
 * Compile and run:  cc -O2 -I.. pool.c -pthread -o pool && ./pool
 *
 * Prints (the first ten lines in any order, each from one of worker-1 to worker-4; each time is another one):
 *     worker-N:  2262 primes below  20000 in ... s
 *     worker-N:  4203 primes below  40000 in ... s
 *     worker-N:  6057 primes below  60000 in ... s
 *     worker-N:  7837 primes below  80000 in ... s
 *     worker-N:  9592 primes below 100000 in ... s
 *     worker-N: 11301 primes below 120000 in ... s
 *     worker-N: 13010 primes below 140000 in ... s
 *     worker-N: 14683 primes below 160000 in ... s
 *     worker-N: 16342 primes below 180000 in ... s
 *     worker-N: 17984 primes below 200000 in ... s
 *     in order: 2262 4203 6057 7837 9592 11301 13010 14683 16342 17984
 *     end
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { TASKS = 10 };

typedef struct task {
    int below;
    int primes; /* what it finds. (What it returns says only whether it went well.) */
} task;

static bool is_prime(int n) {
    for (int d = 2; d * d <= n; d++)
        if (n % d == 0) return false;
    return true;
}

static int count(void *arg) {
    task *my = arg;
    double begun = conc_clock();
    for (int n = 2; n < my->below; n++)
        if (is_prime(n)) my->primes++;
    printf("%s: %5d primes below %6d in %.3f s\n", conc_thread_name(NULL), my->primes, my->below,
           conc_clock() - begun);
    return 0;
}

int main(void) {
    task tasks[TASKS] = {{0, 0}};
    conc_future *futures[TASKS];
    conc_pool *pool = conc_pool_new(&(conc_pool_desc){.name = "worker", .core_threads = 4});
    if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;

    for (int i = 0; i < TASKS; i++) {
        tasks[i].below = 20000 * (i + 1);
        futures[i] = conc_pool_submit(pool, count, &tasks[i]);
        if (futures[i] == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
    }
    if (conc_wait_all(futures, TASKS, CONC_FOREVER) != CONC_OK) return 1;
    printf("in order:");
    for (int i = 0; i < TASKS; i++) {
        const task *t = conc_future_arg(futures[i]); /* or, of course, &tasks[i] */
        printf(" %d", t->primes);
        conc_future_release(futures[i]);
    }

    conc_pool_close(pool);              /* no more tasks */
    conc_pool_join(pool, CONC_FOREVER); /* all have run, and the threads have ended */
    conc_pool_free(pool);
    puts("\nend");
    return 0;
}
