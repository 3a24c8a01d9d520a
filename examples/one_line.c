/* one_line.c: from threads to processes by one line.
 *
 * A job that uses a library which was not made for threads: the C library's own srand() and rand(), whose state is one
 * variable for all. Eight jobs draw their own sequence each, and with it estimate pi. In turn, each gives the same result every
 * time. In threads the jobs draw each other's numbers: most results are wrong (and where rand() takes a lock, the
 * threads are slower than one of them alone). In processes each has a rand() of its own. What changes is one line:
 *     conc_pool_submit(threads, estimate, &jobs[i])
 *     conc_procpool_submit(processes, estimate, &jobs[i], sizeof jobs[i])
 * In Python these are pool.submit(estimate, job) of a ThreadPoolExecutor and of a ProcessPoolExecutor.
 *
 * Compile and run:  cc -O2 -I.. one_line.c -pthread -o one_line && ./one_line
 * or with "threads" or "processes", for these alone.
 *
 * Prints (each time is another one; what becomes of the threads depends on the C library, and on luck):
 *     threads:   ...
 *     processes: 8 of 8 right, in ... s
 *     in turn:   8 of 8 right, in ... s
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 8, DRAWS = 1000000 };

typedef struct job {
    unsigned seed;
    double pi;
} job;

static int estimate(void *arg) {
    job *my = arg;
    int inside = 0;
    srand(my->seed);
    for (int i = 0; i < DRAWS; i++) {
        double x = (double)rand() / RAND_MAX, y = (double)rand() / RAND_MAX;
        inside += x * x + y * y <= 1;
    }
    my->pi = 4.0 * inside / DRAWS;
    return 0;
}

static conc_pool *threads;
static conc_procpool *processes;

static void run(const char *how) {
    job jobs[JOBS], check[JOBS];
    conc_future *futures[JOBS];
    int right = 0;
    double begun = conc_clock();
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (job){(unsigned)i + 1, 0};
        futures[i] = NULL;
        if (threads != NULL) futures[i] = conc_pool_submit(threads, estimate, &jobs[i]);
        else if (processes != NULL) futures[i] = conc_procpool_submit(processes, estimate, &jobs[i], sizeof jobs[i]);
        else estimate(&jobs[i]);
    }
    for (int i = 0; i < JOBS; i++) {
        if (futures[i] != NULL && conc_future_wait(futures[i], CONC_FOREVER) != CONC_OK) puts(conc_future_detail(futures[i]));
        conc_future_release(futures[i]);
    }
    double seconds = conc_clock() - begun;
    for (int i = 0; i < JOBS; i++) {
        check[i] = (job){(unsigned)i + 1, 0};
        estimate(&check[i]);
        right += memcmp(&check[i].pi, &jobs[i].pi, sizeof jobs[i].pi) == 0; /* to the last bit */
    }
    printf("%-10s %d of %d right, in %.3f s\n", how, right, JOBS, seconds);
}

int main(int argc, char **argv) {
    conc_process_register("estimate", estimate);
    conc_process_main(argc, argv);
    const char *wanted = argc > 1 ? argv[1] : "all";
    bool all = strcmp(wanted, "all") == 0;

    if (all || strcmp(wanted, "threads") == 0) {
        if ((threads = conc_pool_new(NULL)) == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
        run("threads:");
        conc_pool_finish(threads);
        threads = NULL;
    }
    if (all || strcmp(wanted, "processes") == 0) {
        if ((processes = conc_procpool_new(0, NULL)) == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
        run("processes:");
        conc_procpool_finish(processes);
        processes = NULL;
    }
    if (all) run("in turn:");
    return 0;
}
