/* crash.c: one task of a hundred crashes, another runs for ever; the other 98, and the program, do not mind.
 *
 * In Python, this is where pools end: multiprocessing.Pool waits for ever for the result of a process that has died,
 * and concurrent.futures gives up all tasks, also those that were done ("A process in the process pool was terminated
 * abruptly"). In threads, of course, the program is dead.
 *
 * Here each task is reported once. A process that has died takes the one task with it that had begun there; those
 * that waited behind it go to others, none is begun twice, and a new process takes its place.
 *
 * Compile and run:  cc -O2 -I.. crash.c -pthread -o crash && ./crash
 *
 * Prints (each N is one of 1 to 4):
 *     task 13 crashed: process "crash-N" was ended by signal 11 (SIGSEGV)
 *     task 42 took too long: a task of the process pool "crash" ran longer than its time limit of 1 s
 *     98 results, all right
 *     of 6 processes, 2 have ended before their time
 *     again, without these two: 98 results, all right
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { TASKS = 100 };

typedef struct task {
    int number;
    bool wild; /* it may do what is not right */
    uint64_t result;
} task;

static uint64_t right(int number) {
    uint64_t x = (uint64_t)number;
    for (int i = 0; i < 100000; i++) x = x * 6364136223846793005u + 1442695040888963407u;
    return x;
}

static int work(void *arg) {
    task *t = arg;
    if (t->wild && t->number == 13) {
        volatile int *volatile nowhere = NULL; /* volatile: compilers know better than to do this */
        *nowhere = 13;
    }
    if (t->wild && t->number == 42) {
        for (;;) right(42);
    }
    t->result = right(t->number);
    return 0;
}

static conc_procpool *pool;

static int run(bool wild) { /* how many results are right */
    static task tasks[TASKS];
    conc_future *futures[TASKS];
    int good = 0;
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (task){i, wild, 0};
        futures[i] = NULL;
        if (!wild && (i == 13 || i == 42)) continue;
        if ((futures[i] = conc_procpool_submit(pool, work, &tasks[i], sizeof tasks[i])) == NULL) puts(conc_error_detail());
    }
    for (int i = 0; i < TASKS; i++) {
        switch (futures[i] != NULL ? conc_future_wait(futures[i], CONC_FOREVER) : CONC_INVALID) {
        case CONC_OK: good += tasks[i].result == right(i); break;
        case CONC_CRASHED: printf("task %d crashed: %s\n", i, conc_future_detail(futures[i])); break;
        case CONC_TIMEOUT: printf("task %d took too long: %s\n", i, conc_future_detail(futures[i])); break;
        default: break;
        }
        conc_future_release(futures[i]);
    }
    return good;
}

int main(int argc, char **argv) {
    conc_process_register("work", work);
    conc_process_main(argc, argv);

    pool = conc_procpool_new(4, &(conc_procpool_desc){.name = "crash", .time_limit = 1});
    if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
    int good = run(true);
    printf("%d results, all right\n", good);
    conc_procpool_stats s = conc_procpool_stats_of(pool);
    printf("of %d processes, %d have ended before their time\n", (int)s.started, (int)s.crashed);
    good = run(false);
    printf("again, without these two: %d results, all right\n", good);
    return conc_procpool_finish(pool) == CONC_OK ? 0 : 1;
}
