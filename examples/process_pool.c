/* process_pool.c: ten tasks on four processes; then a task whose end calls back.
 *
 * In Python:
 *     def work(i):
 *         begun = time.time()
 *         time.sleep(random.random() / 10)
 *         print("task %d in process %d: %.3f s" % (i, os.getpid(), time.time() - begun))
 *     pool = Pool(4)
 *     for i in range(10): pool.apply_async(work, (i,))
 *     print("-----start-----")
 *     pool.close()
 *     pool.join()
 *     print("-----end-----")
 *
 *     pool = Pool(2)
 *     pool.apply_async(count, (200000,), callback=done, error_callback=failed)
 *
 * The pool starts its four processes; each task is handed to one of them with a copy of the number, and as each has
 * its own, main may go on with its loop. The callback is called in this process, whatever the task's end was: it
 * asks the future. (It is what Python splits into callback and error_callback.)
 *
 * Compile and run:  cc -O2 -I.. process_pool.c -pthread -o process_pool && ./process_pool
 *
 * Prints (the tasks in any order, each from one of four processes; each time is another one):
 *     -----start-----
 *     task 0 in process N: ... s
 *     task 1 in process N: ... s
 *     task 2 in process N: ... s
 *     task 3 in process N: ... s
 *     task 4 in process N: ... s
 *     task 5 in process N: ... s
 *     task 6 in process N: ... s
 *     task 7 in process N: ... s
 *     task 8 in process N: ... s
 *     task 9 in process N: ... s
 *     -----end-----
 *     the callback, in the main process: 17984 primes below 200000
 *     the callback, in the main process: a task of the process pool "procpool" returned 1
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>

static int seed(void *arg) { /* called in each process before its tasks: else all would draw the same numbers */
    (void)arg;
    srand((unsigned)conc_process_pid(NULL));
    return 0;
}

static int work(void *arg) {
    const int *number = arg; /* a copy */
    double begun = conc_clock();
    conc_sleep(conc_after(0.02 + 0.1 * rand() / RAND_MAX));
    printf("task %d in process %ld: %.3f s\n", *number, conc_process_pid(NULL), conc_clock() - begun);
    fflush(stdout); /* in a file or a pipe, too, at once, and not when its process ends */
    return 0;
}

typedef struct job {
    int below, primes;
} job;

static int count(void *arg) {
    job *j = arg; /* a copy, whose bytes go back */
    if (j->below < 2) return 1;
    for (int n = 2; n < j->below; n++) {
        int d = 2;
        while (d * d <= n && n % d != 0) d++;
        j->primes += d * d > n;
    }
    return 0;
}

static long main_process;

static void done(conc_future *f, void *arg) {
    const job *j = conc_future_arg(f); /* or, of course, `arg`, which is what main has given for it */
    (void)arg;
    printf("the callback, in %s process: ", conc_process_pid(NULL) == main_process ? "the main" : "another");
    if (conc_future_result(f) == CONC_OK) printf("%d primes below %d\n", j->primes, j->below);
    else printf("%s\n", conc_future_detail(f));
}

int main(int argc, char **argv) {
    /* With these lines the processes are spawned, which goes on Windows, too, and is safe where there are threads;
     * without them they are forked. */
    conc_process_register("seed", seed);
    conc_process_register("work", work);
    conc_process_register("count", count);
    conc_process_main(argc, argv);

    conc_procpool *pool = conc_procpool_new(4, &(conc_procpool_desc){.initialize = seed});
    if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
    for (int i = 0; i < 10; i++) conc_procpool_run(pool, work, &i, sizeof i);
    puts("-----start-----");
    fflush(stdout);
    conc_procpool_close(pool);              /* no more tasks */
    conc_procpool_join(pool, CONC_FOREVER); /* all have run, and the processes have ended */
    conc_procpool_free(pool);
    puts("-----end-----");

    main_process = conc_process_pid(NULL);
    job jobs[2] = {{200000, 0}, {-1, 0}};
    pool = conc_procpool_new(2, NULL);
    for (int i = 0; i < 2; i++) {
        conc_future *f = conc_procpool_submit(pool, count, &jobs[i], sizeof jobs[i]);
        if (f == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
        conc_future_then(f, done, NULL);
        if (i == 0) conc_future_wait(f, CONC_FOREVER); /* (so that this example always prints the same) */
        conc_future_release(f);                        /* the callback is called all the same */
    }
    return conc_procpool_finish(pool) == CONC_OK ? 0 : 1; /* close, join, free */
}
