/* million.c: a million coroutines that sleep, in one thread.
 *
 * In Go that is a million goroutines, of 2,700 bytes each:
 *     for i := 0; i < 1000000; i++ { wg.Add(1); go func() { time.Sleep(2 * time.Second); wg.Done() }() }
 * Here a task is 128 bytes and what its coroutine keeps in its frame; a wait allocates nothing.
 *
 * Compile and run:  cc -I.. million.c -O2 -pthread -o million && ./million        (or ./million 10000)
 *
 * Prints:
 *     all of them sleep
 *     less than 160 bytes each
 *     all of them woke up, none too early
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>

static long early, awake;
static conc_deadline dawn;

CONC_CORO(sleeper, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_until(dawn));
    if (!conc_deadline_passed(dawn)) early++;
    awake++;
    CO_END;
}

/* What of this process is in memory, in KiB; 0 where the system does not say so this way. */
static long in_memory(void) {
    char line[200];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) break;
    }
    if (f != NULL) fclose(f);
    return kib;
}

int main(int argc, char **argv) {
    long n = argc > 1 ? atol(argv[1]) : 1000000, before = in_memory();
    conc_loop *loop = conc_loop_new(NULL);
    for (long i = 0; i < n; i++) {
        if (CONC_GO(loop, sleeper) != CONC_OK) return 1;
    }
    dawn = conc_after(2); /* they have not begun yet: a task starts when its loop runs */
    conc_loop_run(loop, conc_after(0.3)); /* for a while: they go to sleep */
    puts(awake == 0 && conc_loop_count(loop) == (size_t)n ? "all of them sleep" : "some do not sleep");
    double each = (double)(in_memory() - before) * 1024 / (double)n;
    fprintf(stderr, "%ld KiB: %.0f bytes each\n", in_memory(), each);
    puts(each < 160 ? "less than 160 bytes each" : "160 bytes each, or more");
    conc_loop_run(loop, CONC_FOREVER);
    puts(early == 0 && awake == n ? "all of them woke up, none too early" : "that went wrong");
    return conc_loop_free(loop) == CONC_OK ? 0 : 1;
}
