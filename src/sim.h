/* ============================================================================================
 * sim: your concurrent program under thousands of schedules, each of which can be played again.
 *
 * With CONC_SIM defined (before each #include of this header), conc_sim_run() runs a function again and again in a
 * simulated world: its conc.h threads take turns on the calling thread, a seeded scheduler decides at each step of
 * the library who goes on, and time is a number. What would be one chance in a million is found in a second: a
 * deadlock, a lost wake-up, a failed check, a data race on marked data, use of freed memory, a leak. The failing schedule
 * is printed as one readable interleaving and is played again, exactly, by one environment variable:
 *
 *     CONC_SIM=7:pct3:4211 ./program
 *
 * What it does:
 *  - Strategies: random walk; PCT, which finds a bug of depth d with a known probability (S. Burckhardt et al., "A
 *    Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010); depth first, complete up to
 *    a number of preemptions (M. Musuvathi, S. Qadeer, "Iterative Context Bounding", PLDI 2007).
 *  - Deadlines pass early, sleeps end for no reason, the sleeper that is woken is any of them.
 *  - Weak memory: a load may see an older store wherever C11 allows it, as processors other than yours do. (Not
 *    covered: a store that another thread sees before an earlier load of its own has been answered.)
 *  - With gcc's or clang's thread sanitizer each schedule is checked for data races on all memory.
 *
 * What it asks of the function: that it does the same each time but for the choices made here. It sets up what it uses,
 * also static data; it waits only through conc.h; it calls no fork(), exit() or pthread function; and what it
 * decides does not depend on addresses, real time or rand(): conc_sim_choose() is for that. Threads it starts it
 * joins or detaches. printf and malloc are harmless. Thread-local variables of the language are shared by all threads of
 * a simulation; conc_local is not.
 *
 * gcc and clang on any system (and Windows through MinGW); the cost without CONC_SIM is none: nothing of this is compiled.
 * Outside conc_sim_run() a program built with CONC_SIM runs natively, only slower.
 * ========================================================================================== */

#ifndef CONC__SIM_H
#define CONC__SIM_H

#include "core.h"

#if defined(CONC_SIM)

typedef enum conc_sim_verdict {
    CONC_SIM_PASSED = 0,
    CONC_SIM_CHECK,      /* CONC_SIM_ASSERT() or conc_sim_fail(); or the function did not return 0 */
    CONC_SIM_DEADLOCK,   /* nobody can go on */
    CONC_SIM_LIVELOCK,   /* too many points */
    CONC_SIM_RACE,       /* two threads touch marked data, one of them to write, and nothing orders them */
    CONC_SIM_LEAK,       /* memory of the library, or a thread that was neither joined nor detached */
    CONC_SIM_FREED,      /* memory of the library was touched after it was freed, or freed twice */
    CONC_SIM_REPORT,     /* something went to the error hook: a task's failure, or what CONC_DEBUG found (lock order) */
    CONC_SIM_UNSTABLE,   /* the same plan gave another schedule: the function depends on something else */
    CONC_SIM_LIMIT       /* more threads, memory or choices than a simulation can hold */
} conc_sim_verdict;

typedef struct conc_sim_desc {
    const char *name;       /* for messages, and for CONC_SIM=name@seed:strategy:k where a program has several runs */
    const char *strategies; /* of "random", "pctD" (D from 2 to 9), "depthB" (B preemptions, from 0 on); one or several,
                               "random,pct2,pct3" if NULL. Of several, the schedules are done in turn, but each depthB is
                               done alone, after the others, until it is exhausted */
    uint64_t schedules;     /* in all for random and pct; the most for each depthB. 0: 10,000 */
    uint64_t seed;          /* 0: 1 */
    double seconds;         /* stop when they have passed (real time). 0: no limit */
    uint32_t max_points;    /* of one schedule; beyond it is a livelock. 0: 20,000 */
    bool sequential;        /* no weak memory: loads see the latest store. Depth first is always so */
    bool reports_are_fine;  /* what goes to the error hook is no failure */
    bool quiet;             /* print nothing */
} conc_sim_desc;

typedef struct conc_sim_report {
    conc_sim_verdict verdict;  /* of the first schedule that failed; with it the run ends */
    uint64_t schedules;        /* how many were run, */
    uint64_t points;           /* how many points they had together, */
    double seconds;            /* and how long it took */
    bool exhausted;            /* each depthB came to its end before `schedules` */
    char replay[512];          /* "seed:strategy:k" of the one that failed */
    char text[400];            /* what was wrong with it, in one sentence */
} conc_sim_report;

/* Runs body(arg) under many schedules and stops at the first that fails; unless `quiet`, prints that one on stderr.
 * If the environment variable CONC_SIM holds "seed:strategy:k" (or "name@seed:strategy:k" with this run's name), only
 * that schedule is run and printed, whatever comes of it; CONC_SIM_TRACE=all prints each atomic operation too.
 * `desc` NULL: all defaults. verdict CONC_SIM_LIMIT: no memory, bad strategies (the text says which), or called from
 * inside a simulation, or while another thread runs one. Blocks until done. Other threads of the program must not use this
 * library meanwhile. */
CONC_API conc_sim_report conc_sim_run(conc_fn body, void *arg, const conc_sim_desc *desc);

/* What the simulated code can say. Outside a simulation: 0, false, nothing (and a failed check aborts). */
CONC_API bool conc_sim_is_running(void);
CONC_API unsigned conc_sim_choose(unsigned n);        /* from 0 to n - 1: a choice like the scheduler's own */
CONC_API void conc_sim_note(const char *text);        /* shown in the interleaving; must be a literal */
CONC_API CONC__NORETURN void conc_sim_fail(const char *text, const char *file, int line); /* this schedule fails, here */
/* The caller is about to read, or write, the `size` bytes at `p`, which are not atomic. */
CONC_API void conc_sim_access(const void *p, size_t size, bool write, const char *file, int line);

#define CONC_SIM_ASSERT(condition) ((condition) ? (void)0 : conc_sim_fail(#condition, __FILE__, __LINE__))
#define CONC_SIM_READ(variable) conc_sim_access(&(variable), sizeof(variable), false, __FILE__, __LINE__)
#define CONC_SIM_WRITE(variable) conc_sim_access(&(variable), sizeof(variable), true, __FILE__, __LINE__)

/* The user's place that a thread is at: set by the macros at the end of this file. */
CONC_API void conc__sim_at(const char *file, int line, const char *call);

#endif
#endif
