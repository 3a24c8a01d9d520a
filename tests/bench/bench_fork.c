/* Peers: a process for each task: fork() by hand, and xargs. For scale. */

#define _POSIX_C_SOURCE 200809L
#include "procpool_cases.h"

#include <sys/wait.h>
#include <unistd.h>

enum { FORKS = 2000, COMMANDS = 200 };

static int at_a_time;
static double forks(void) {
    double start = bench_clock();
    int i;
    fflush(stdout);
    for (i = 0; i < FORKS + at_a_time; i++) {
        int status;
        if (i >= at_a_time) BENCH_CHECK(waitpid(-1, &status, 0) > 0 && status == 0);
        if (i < FORKS) {
            pid_t child = fork();
            BENCH_CHECK(child >= 0);
            if (child == 0) _exit(0);
        }
    }
    return bench_clock() - start;
}
static double commands(void) {
    char line[100];
    double start = bench_clock();
    snprintf(line, sizeof line, "seq %d | xargs -P %d -n 1 true", COMMANDS, at_a_time);
    BENCH_CHECK(system(line) == 0);
    return bench_clock() - start;
}

static void fork_run(const bench_case *c) {
    at_a_time = c->a;
    procpool_print_rate(c, FORKS, bench_turns(forks));
}
static void xargs_run(const bench_case *c) {
    at_a_time = c->a;
    procpool_print_rate(c, COMMANDS, bench_turns(commands));
}
static void one_run(const bench_case *c) {
    at_a_time = 1;
    procpool_print_trip(c, FORKS, bench_turns(forks));
}

static const bench_case cases[] = {
    PROCPOOL_ALL_CASE(2, "fork", fork_run, 2, 0),   PROCPOOL_ALL_CASE(4, "fork", fork_run, 4, 0),
    PROCPOOL_ALL_CASE(2, "xargs", xargs_run, 2, 0), PROCPOOL_ALL_CASE(4, "xargs", xargs_run, 4, 0),
    PROCPOOL_ONE_CASE("fork", one_run, 0),
};

BENCH_MAIN(cases)
