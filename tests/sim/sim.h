/* sim.h: what the simulated tests share. Include it first; it brings conc.h with its implementation.
 *
 * A test is a body, int name(void *unused), that sets up what it uses, starts threads, joins them, checks, and
 * returns 0. One text serves four builds:
 *
 *   with CONC_SIM        each body under many schedules: random, pct2, pct3 in weak memory; then depth first
 *   without              each body many times, on real threads
 *   with CONC__DELAYS    the same, with a chance of a delay at each atomic operation
 *   with sanitizers      any of these
 *
 * The library is compiled with the test, or (CONC__SPLIT, CONC_TEST_SPLIT) apart, from library.c. A test that has to be one
 * file with it, because it sees more than internal.h shows or compiles it otherwise, says `#undef CONC_TEST_SPLIT`.
 *
 * Usage of a test program:   PROGRAM [-n SCHEDULES] [-l] [-o TEST] [-d BOUND] [-x] [-s SECONDS]
 *   -n  schedules for the strategies by chance, in all, per test (100,000)
 *   -l  only list the tests
 *   -o  only this one
 *   -d  bound the depth-first search at BOUND preemptions, instead of the test's own; 0: none
 *   -x  the test has to fail within the schedules: for planted bugs. Says with which strategy, after how many
 *   -s  no more than this time per test by chance, and as much for depth first (20) */

#ifndef CONC_TESTS_SIM_H
#define CONC_TESTS_SIM_H

#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#endif
#include "small.h"
#if defined(CONC_TEST_SPLIT) /* linked with library.c, which is the same library: CONC__SPLIT lets the test see its insides */
#include "conc.h"
#include "../../src/internal.h"
#else
#define CONC_IMPLEMENTATION
#include "conc.h"
#endif
#include "../check.h"

typedef struct sim_test {
    const char *name;
    conc_fn body;
    int depth;           /* the bound that depth first exhausts in a few seconds; 0: not depth first, whatever -d says */
    int rounds;          /* native: how often; 0: 300 */
    bool reports;        /* what goes to the error hook is part of the test */
} sim_test;

#define SIM_TEST(name, depth) { #name, name, depth, 0, false }

#if !defined(CONC_SIM)
#define CONC_SIM_ASSERT(condition) ((condition) ? (void)0 : sim_failed(#condition, __FILE__, __LINE__))
#define CONC_SIM_READ(variable) ((void)(variable))
#define CONC_SIM_WRITE(variable) ((void)(variable))
#define conc_sim_note(text) ((void)(text))
static inline void sim_failed(const char *what, const char *file, int line) {
    fprintf(stderr, "%s:%d: [%s] %s\n", file, line, check_case, what);
    fflush(stderr);
    _Exit(1);
}
static inline unsigned conc_sim_choose(unsigned n) {
    static uint32_t state = 1; /* atomic */
    uint32_t x = conc__add32(&state, 0x9E3779B9u, CONC__RELAXED);
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    return x % n;
}
static inline bool conc_sim_is_running(void) {
    return false;
}
#endif

/* What nearly every body does: start up to 8 threads, join them all. */
#define SIM_THREADS 8
typedef struct sim_crew {
    int n;
    conc_thread *threads[SIM_THREADS];
} sim_crew;

static inline void sim_start(sim_crew *c, conc_fn fn, void *arg) {
    c->threads[c->n] = conc_thread_start(fn, arg, NULL);
    CONC_SIM_ASSERT(c->threads[c->n] != NULL);
    c->n++;
}

static inline void sim_join(sim_crew *c) {
    int i;
    for (i = 0; i < c->n; i++) {
        int result = -1;
        CONC_SIM_ASSERT(conc_thread_join(c->threads[i], &result, CONC_FOREVER) == CONC_OK);
        CONC_SIM_ASSERT(result == 0);
    }
    c->n = 0;
}

#define SIM_OK(call) CONC_SIM_ASSERT((call) == CONC_OK)

static inline int sim_main(int argc, char **argv, const char *program, const sim_test *tests, size_t n) {
    double schedules = 100000, seconds = 20;
    const char *only = NULL;
    int depth = -1, a, ran = 0;
    bool expect = false;
    size_t i;
    double all_schedules = 0, all_seconds = 0;
    for (a = 1; a < argc; a++) {
        bool more = a + 1 < argc;
        if (strcmp(argv[a], "-n") == 0 && more) schedules = atof(argv[++a]);
        else if (strcmp(argv[a], "-s") == 0 && more) seconds = atof(argv[++a]);
        else if (strcmp(argv[a], "-o") == 0 && more) only = argv[++a];
        else if (strcmp(argv[a], "-d") == 0 && more) depth = atoi(argv[++a]);
        else if (strcmp(argv[a], "-x") == 0) expect = true;
        else if (strcmp(argv[a], "-l") == 0) {
            for (i = 0; i < n; i++) printf("%s\n", tests[i].name);
            return 0;
        } else {
            fprintf(stderr, "%s: unknown argument %s\n", program, argv[a]);
            return 2;
        }
    }
    check_begin(program);
    for (i = 0; i < n; i++) {
        const sim_test *t = &tests[i];
        if (only != NULL && strcmp(only, t->name) != 0) continue;
        ran++;
        check_enter(t->name);
#if defined(CONC_SIM)
        {
            conc_sim_desc d;
            conc_sim_report r;
            char way[20];
            int bound = depth >= 0 && t->depth > 0 ? depth : t->depth;
            memset(&d, 0, sizeof d);
            d.name = t->name;
            d.schedules = (uint64_t)schedules;
            d.seconds = expect ? 0 : seconds;
            d.reports_are_fine = t->reports;
            d.quiet = expect && getenv("CONC_SIM") == NULL;
            r = conc_sim_run(t->body, NULL, &d);
            all_schedules += (double)r.schedules;
            all_seconds += r.seconds;
            printf("    %.0f schedules, %.0f points each, %.0f schedules a second\n", (double)r.schedules,
                   r.schedules != 0 ? (double)r.points / (double)r.schedules : 0, (double)r.schedules / r.seconds);
            if (r.verdict == CONC_SIM_PASSED && bound > 0) {
                (void)snprintf(way, sizeof way, "depth%d", bound);
                d.strategies = way;
                d.schedules = expect ? (uint64_t)schedules : 1000000000u;
                d.seconds = expect ? 0 : seconds;
                check_watchdog();
                r = conc_sim_run(t->body, NULL, &d);
                all_schedules += (double)r.schedules;
                all_seconds += r.seconds;
                printf("    %s: %s after %.0f schedules\n", way,
                       r.exhausted ? "exhausted" : r.verdict == CONC_SIM_PASSED ? "NOT EXHAUSTED" : "FAILED", (double)r.schedules);
            }
            if (expect) {
                printf("    %s: %s (%s)\n", r.verdict != CONC_SIM_PASSED ? "CAUGHT" : "MISSED", r.replay, r.text);
                if (r.verdict == CONC_SIM_PASSED) check_fail(__FILE__, __LINE__, "the planted bug was not caught");
            } else if (r.verdict != CONC_SIM_PASSED) {
                fprintf(stderr, "[%s] %s: %s\n", t->name, r.replay, r.text);
                check_failures++;
            }
        }
#else
        {
            int k, rounds = check_rounds_least(t->rounds != 0 ? t->rounds : 300, 3);
            int64_t until = conc_clock_ns() + (int64_t)(seconds * 1e9);
            for (k = 0; k < rounds && conc_clock_ns() < until; k++) CONC_SIM_ASSERT(t->body(NULL) == 0);
        }
#endif
        fflush(stdout);
    }
    if (only != NULL && ran == 0) {
        fprintf(stderr, "%s: no test %s\n", program, only);
        return 2;
    }
    if (all_seconds > 0) printf("  %.0f schedules, %.0f a second\n", all_schedules, all_schedules / all_seconds);
    (void)depth;
    (void)expect;
    (void)schedules;
    return check_end();
}

#define SIM_MAIN(program, tests)                                                                   \
    int main(int argc, char **argv) {                                                              \
        return sim_main(argc, argv, program, tests, sizeof(tests) / sizeof((tests)[0]));           \
    }

#endif
