/* Pools of processes: what the programs that measure them share. The processes' own cases are told in their files; here are their names
 * and what is printed.
 *     empty tasks      100,000 tasks with a number as argument are handed in, and the end of each is waited for
 *     map              the same by a call that takes all of them, and chooses how many go over together
 *     one at a time    each is waited for before the next is handed in
 *     a window of 16   16 of them are on their way at any time
 *     there and back   1 MiB goes to a worker and comes back, and is counted once
 *     made there       1 MiB is filled by the worker with a byte, and then looked at here */

#ifndef PROCPOOL_CASES_H
#define PROCPOOL_CASES_H

#include "bench.h"

#define PROCPOOL_TASKS 100000
#define PROCPOOL_TRIPS 10000
#define PROCPOOL_BYTES (1 << 20)
#define PROCPOOL_BLOCKS 64

#define PROCPOOL_ALL_CASE(n, impl, run, a, b) {"procpool", "100,000 empty tasks, " #n " workers", impl, run, a, b}
#define PROCPOOL_MAP_CASE(n, impl, run, a) {"procpool", "map of 100,000, " #n " workers", impl, run, a, 0}
#define PROCPOOL_ONE_CASE(impl, run, a) {"procpool", "one at a time", impl, run, a, 0}
#define PROCPOOL_WINDOW_CASE(impl, run, a, b) {"procpool", "a window of 16", impl, run, a, b}
#define PROCPOOL_TRIP_CASE(window, impl, run) {"procpool", "1 MiB there and back, window " #window, impl, run, window, 0}
#define PROCPOOL_MADE_CASE(window, impl, run) {"procpool", "1 MiB made there, window " #window, impl, run, window, 0}
#define PROCPOOL_START_CASE(impl, run, a) {"procpool", "start, one task, stop", impl, run, a, 0}

static BENCH_UNUSED void procpool_print_rate(const bench_case *c, int tasks, double seconds) {
    char extra[100];
    snprintf(extra, sizeof extra, "best=%.2f", tasks / bench_best * 1e-3);
    bench_print(c, tasks / seconds * 1e-3, "k tasks/s", extra);
}
static BENCH_UNUSED void procpool_print_trip(const bench_case *c, int trips, double seconds) {
    char extra[100];
    snprintf(extra, sizeof extra, "best=%.2f", bench_best / trips * 1e6);
    bench_print(c, seconds / trips * 1e6, "us", extra);
}
static BENCH_UNUSED void procpool_print_bytes(const bench_case *c, double seconds) {
    double moved = (double)PROCPOOL_BLOCKS * PROCPOOL_BYTES;
    char extra[100];
    snprintf(extra, sizeof extra, "best=%.2f", moved / bench_best * 1e-9);
    bench_print(c, moved / seconds * 1e-9, "GB/s", extra);
}

/* Seconds of processor that this process and these others have used until now; where there is no /proc: this one alone. */
static BENCH_UNUSED double procpool_busy(const long *pids, int n) {
    double switches, busy, ns;
    char name[64];
    int i;
    bench_usage(&switches, &busy);
    for (i = 0; i < n; i++) {
        FILE *f;
        snprintf(name, sizeof name, "/proc/%ld/schedstat", pids[i]);
        f = fopen(name, "r");
        if (f == NULL) continue;
        if (fscanf(f, "%lf", &ns) == 1) busy += ns * 1e-9;
        fclose(f);
    }
    return busy;
}

#endif
