/* sums.c: the sum of 0..999,999 four times, one after the other and in four threads.
 *
 * In Python:
 *     def normal(l):     total = sum(l * 4)
 *     def job(l, q):     q.put(sum(l))
 *     def threads(l):    for i in range(4): Thread(target=job, args=(l, q)).start() ...
 * and the threads are no faster, because of the interpreter's one lock. C has no such lock: with two
 * processors the threads take half the time, with four a quarter. But a million additions take C less than a
 * millisecond, as long as it takes to start four threads; so then the same again with 100 times the work.
 *
 * Compile and run:  cc -O2 -I.. sums.c -pthread -o sums && ./sums
 *
 * Prints (each time is another one):
 *     4 sums of 0..999,999
 *       serial:       total 1999998000000 in ... s
 *       four threads: total 1999998000000 in ... s
 *     100 times the work
 *       serial:       total 199999800000000 in ... s
 *       four threads: total 199999800000000 in ... s
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { N = 1000000, JOBS = 4 };

static int list[N];

typedef struct job {
    int rounds;
    long long total;
} job;

static int add_up(void *arg) {
    job *my = arg;
    for (int r = 0; r < my->rounds; r++) {
        long long sum = 0;
        for (int i = 0; i < N; i++) sum += list[i];
        my->total += sum;
    }
    return 0;
}

static int normal(job *jobs) {
    for (int i = 0; i < JOBS; i++) add_up(&jobs[i]);
    return 0;
}

static int threads(job *jobs) {
    conc_thread *t[JOBS];
    int failed = 0;
    for (int i = 0; i < JOBS; i++) t[i] = conc_thread_start(add_up, &jobs[i], NULL);
    for (int i = 0; i < JOBS; i++) failed |= conc_thread_join(t[i], NULL, CONC_FOREVER) != CONC_OK;
    return failed;
}

static int measure(const char *how, int (*run)(job *), int rounds) {
    job jobs[JOBS] = {{rounds, 0}, {rounds, 0}, {rounds, 0}, {rounds, 0}};
    double start = conc_clock();
    int failed = run(jobs);
    double seconds = conc_clock() - start;
    long long total = 0;
    for (int i = 0; i < JOBS; i++) total += jobs[i].total; /* join has made sure that we see it */
    printf("  %-13s total %lld in %.6f s\n", how, total, seconds);
    return failed;
}

int main(void) {
    for (int i = 0; i < N; i++) list[i] = i;
    puts("4 sums of 0..999,999");
    int failed = measure("serial:", normal, 1);
    failed |= measure("four threads:", threads, 1);
    puts("100 times the work");
    failed |= measure("serial:", normal, 100);
    failed |= measure("four threads:", threads, 100);
    return failed;
}
