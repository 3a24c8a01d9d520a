/* What all the C and C++ benchmark programs share. For C and C++.
 *
 * Every program speaks the same protocol, in whatever language it is written:
 *     prog list                  prints  group TAB case TAB implementation      for each thing it can measure
 *     prog run GROUP CASE IMPL   measures it once and prints
 *                                group TAB case TAB implementation TAB value TAB unit TAB key=number ...
 * run.sh knows nothing more of them. The environment:
 *     BENCH_MS     length of the measurement, after the warm-up   (default 200)
 *     BENCH_WARM   length of the warm-up in ms                    (default 40)
 *     BENCH_WORK   turns of bench_work() that take about 100 ns   (run.sh asks `bench_pthread work`)
 *
 * A measurement is a window in time, not a number of turns: threads run, the phase goes from WARM to ON to
 * OVER, and each thread counts what it does while the phase is ON. So no implementation is measured while it starts
 * or while its last threads run alone. */

#ifndef BENCH_H
#define BENCH_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#if defined(__GNUC__)
#define BENCH_UNUSED __attribute__((unused))
#else
#define BENCH_UNUSED
#endif

enum { BENCH_WARM = 0, BENCH_ON = 1, BENCH_OVER = 2 };

/* On a cache line of its own: every thread reads it in every turn. */
static struct {
    char before[64];
    uint32_t value;
    char after[64];
} bench_phase_line;
#define bench_phase() __atomic_load_n(&bench_phase_line.value, __ATOMIC_RELAXED)
#define bench_set_phase(p) __atomic_store_n(&bench_phase_line.value, (uint32_t)(p), __ATOMIC_SEQ_CST)

static BENCH_UNUSED void bench_die(const char *what) {
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}
#define BENCH_CHECK(ok)                                                                            \
    do {                                                                                           \
        if (!(ok)) bench_die("failed: " #ok);                                                      \
    } while (0)

static BENCH_UNUSED double bench_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static BENCH_UNUSED void bench_sleep_ms(int ms) {
    struct timespec t;
    t.tv_sec = ms / 1000;
    t.tv_nsec = (long)(ms % 1000) * 1000000;
    nanosleep(&t, NULL);
}

static BENCH_UNUSED int bench_env(const char *name, int otherwise) {
    const char *text = getenv(name);
    int value = text != NULL ? atoi(text) : 0;
    return value > 0 ? value : otherwise;
}

/* Work that touches no memory: a chain of shifts and multiplications, which no compiler can shorten (of plain
 * multiplications and additions clang and rustc make one for each eight). The same in every language. */
static BENCH_UNUSED uint64_t bench_work(uint64_t x, int turns) {
    int i;
    for (i = 0; i < turns; i++) x = (x ^ (x >> 29)) * UINT64_C(6364136223846793005) + 1;
    return x;
}
static BENCH_UNUSED uint64_t bench_sink; /* what is stored here was not computed in vain */

/* ---- the window ------------------------------------------------------------------------------- */

typedef struct bench_window {
    double seconds;
    double switches; /* context switches of the whole process within it, voluntary or not */
    double cpu;      /* processors kept busy by the process, of those there are */
} bench_window;

static BENCH_UNUSED void bench_usage(double *switches, double *cpu) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    *switches = (double)(u.ru_nvcsw + u.ru_nivcsw);
    *cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Warms up, opens the window, closes it. The threads run already. */
static BENCH_UNUSED bench_window bench_measure(void) {
    bench_window w;
    double start, switches[2], cpu[2];
    bench_sleep_ms(bench_env("BENCH_WARM", 40));
    bench_usage(&switches[0], &cpu[0]);
    start = bench_clock();
    bench_set_phase(BENCH_ON);
    bench_sleep_ms(bench_env("BENCH_MS", 200));
    bench_set_phase(BENCH_OVER);
    w.seconds = bench_clock() - start;
    bench_usage(&switches[1], &cpu[1]);
    w.switches = switches[1] - switches[0];
    w.cpu = (cpu[1] - cpu[0]) / w.seconds;
    return w;
}

/* What is done as a whole and cannot be cut off: turn() for the warm-up (once at least), and then for the time that counts
 * (three times at least). Returns the median of the seconds that turns took; turn() returns its own. */
static BENCH_UNUSED double bench_best; /* and the least of them */
static BENCH_UNUSED double bench_turns(double (*turn)(void)) {
    static double took[1000];
    double end = bench_clock() + bench_env("BENCH_WARM", 40) * 1e-3, x;
    int n = 0, i;
    do turn();
    while (bench_clock() < end);
    end = bench_clock() + bench_env("BENCH_MS", 200) * 1e-3;
    do {
        x = turn();
        for (i = n++; i > 0 && took[i - 1] > x; i--) took[i] = took[i - 1];
        took[i] = x;
    } while (n < 3 || (n < 1000 && bench_clock() < end));
    bench_best = took[0];
    return (took[n / 2] + took[(n - 1) / 2]) / 2;
}

/* ---- threads: pthreads for every implementation, so that only what is measured differs -------------- */

#define BENCH_MAX_THREADS 64
typedef struct bench_thread {
    void (*body)(struct bench_thread *self);
    void *shared;
    int index;
    int number;   /* a parameter of the case */
    uint64_t ops; /* done while the phase was ON */
    uint64_t all; /* done at all */
    pthread_t id;
    char pad[64];
} bench_thread;
static bench_thread bench_team[BENCH_MAX_THREADS];

static BENCH_UNUSED void *bench_thread_main(void *arg) {
    bench_thread *t = (bench_thread *)arg;
    t->body(t);
    return NULL;
}

static BENCH_UNUSED void bench_start(int index, void (*body)(bench_thread *), void *shared, int number) {
    bench_thread *t = &bench_team[index];
    BENCH_CHECK(index < BENCH_MAX_THREADS);
    t->body = body;
    t->shared = shared;
    t->index = index;
    t->number = number;
    BENCH_CHECK(pthread_create(&t->id, NULL, bench_thread_main, t) == 0);
}

static BENCH_UNUSED void bench_join(int first, int count) {
    int i;
    for (i = first; i < first + count; i++) pthread_join(bench_team[i].id, NULL);
}

/* ---- cases ------------------------------------------------------------------------------------ */

typedef struct bench_case {
    const char *group, *name, *impl;
    void (*run)(const struct bench_case *self);
    int a, b; /* parameters */
} bench_case;

static BENCH_UNUSED void bench_print(const bench_case *c, double value, const char *unit, const char *extra) {
    printf("%s\t%s\t%s\t%.6g\t%s\t%s\n", c->group, c->name, c->impl, value, unit, extra);
}

static BENCH_UNUSED int bench_main(int argc, char **argv, const bench_case *cases, size_t count) {
    size_t i;
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (i = 0; i < count; i++) printf("%s\t%s\t%s\n", cases[i].group, cases[i].name, cases[i].impl);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "work") == 0) { /* how many turns take 100 ns, at best */
        double best = 1;
        int k, turns;
        for (k = 0; k < 20; k++) {
            double start = bench_clock();
            bench_sink = bench_work(bench_sink, 1000000);
            start = bench_clock() - start;
            if (start < best) best = start;
        }
        turns = (int)(100e-9 / (best / 1e6));
        printf("%d\n", turns > 0 ? turns : 1);
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "run") == 0) {
        for (i = 0; i < count; i++) {
            const bench_case *c = &cases[i];
            if (strcmp(c->group, argv[2]) == 0 && strcmp(c->name, argv[3]) == 0 &&
                strcmp(c->impl, argv[4]) == 0) {
                c->run(c);
                return 0;
            }
        }
    }
    fprintf(stderr, "usage: %s list | run GROUP CASE IMPLEMENTATION\n", argv[0]);
    return 2;
}

#define BENCH_MAIN(cases)                                                                          \
    int main(int argc, char **argv) {                                                              \
        return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);                      \
    }
#define BENCH_CAT_(a, b) a##b
#define BENCH_CAT(a, b) BENCH_CAT_(a, b)

#endif
