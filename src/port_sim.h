/* ============================================================================================
 * port_sim: the machine that CONC_SIM puts in place of the real one. Private; sim.h is what users see.
 *
 * One schedule is one run of a function in a world of its own: its threads are fibers on the calling thread, of
 * which one runs at a time; its clock is a number; its memory is an arena. At each atomic operation, wait, wake,
 * start, join and yield the world may go on with another fiber: these are its *points*. Which one goes on, which
 * sleeper is woken, which deadline passes early, which store a load sees: each is a *choice*, and the plan's
 * strategy and seed make them all. Nothing else does: no address, no real clock, no other thread. So the same plan
 * gives the same schedule, always.
 *
 * Everything in here belongs to the thread that runs the simulation; the others of the process go on natively.
 * ========================================================================================== */

#ifndef CONC__PORT_SIM_H
#define CONC__PORT_SIM_H

#include "port.h"
#include "sim.h"

#if defined(CONC_SIM)

#define CONC__SIM_FIBERS 32      /* at most, in one schedule: a bit each in a uint32_t */
#define CONC__SIM_TEXT 400

typedef enum conc__sim_strategy {
    CONC__SIM_RANDOM, /* each choice by chance; how often it switches at all is chosen anew for each schedule */
    CONC__SIM_PCT,    /* random priorities, lowered at depth - 1 random points (Burckhardt et al., ASPLOS 2010) */
    CONC__SIM_DEPTH   /* depth first, all of them, with at most `depth` preemptions (Musuvathi, Qadeer, PLDI 2007) */
} conc__sim_strategy;

typedef struct conc__sim_plan {
    conc__sim_strategy strategy;
    unsigned depth;
    uint64_t seed;       /* all choices follow from it; not used by CONC__SIM_DEPTH */
    uint32_t max_points; /* one more is a livelock */
    bool weak;           /* loads may see older stores, as far as the C11 memory model allows */
    bool track;          /* follow happens-before: for weak, and for data marked by conc_sim_access() */
    bool trace;          /* keep the events for conc__sim_events() */
} conc__sim_plan;

typedef struct conc__sim_outcome {
    conc_sim_verdict verdict;
    uint32_t points;
    unsigned fibers;          /* that were started, the first included */
    bool marked;              /* conc_sim_access() was called: `track` is wanted */
    char text[CONC__SIM_TEXT];
} conc__sim_outcome;

/* Runs `body(arg)` as the first fiber of a new world, until it has returned (others may be left: their stacks are
 * dropped) or something is wrong. Only one at a time in a thread. False: no memory for the world. */
CONC__LIB bool conc__sim_schedule(const conc__sim_plan *plan, void (*body)(void *), void *arg,
                                  conc__sim_outcome *outcome);

/* Depth first: begin() before the first schedule of a search; next() after each: false, all have been done. choices()
 * writes the last schedule as "point.choice,..." without the zeros; replay() makes the next schedule that one, and
 * is false if the text is none. */
CONC__LIB void conc__sim_depth_begin(void);
CONC__LIB bool conc__sim_depth_next(void);
CONC__LIB bool conc__sim_depth_choices(char *text, size_t size);
CONC__LIB bool conc__sim_depth_replay(const char *text);

/* Ends the schedule that runs, with this outcome. Does not return inside a simulation; outside it does nothing. */
CONC__LIB void conc__sim_stop(conc_sim_verdict verdict, const char *format, ...) CONC__PRINTF(2, 3);

/* A file's name without its directories. */
CONC__LIB const char *conc__sim_base(const char *file);

/* A choice among n, 0 outside a simulation. */
CONC__LIB unsigned conc__sim_choose(unsigned n);

/* What happened, in a schedule that kept its trace. */
typedef enum conc__sim_event_kind {
    CONC__SIM_CALL,     /* the fiber is at a new place of the user's program */
    CONC__SIM_NOTE,     /* conc_sim_note() */
    CONC__SIM_ATOMIC,   /* an atomic operation; what it was is in `text` */
    CONC__SIM_START,    /* `other` was started */
    CONC__SIM_SLEEP,    /* it sleeps */
    CONC__SIM_WAKE,     /* it woke `other` */
    CONC__SIM_EXPIRE,   /* `other`'s deadline passed */
    CONC__SIM_SPURIOUS, /* `other`'s sleep ended for no reason */
    CONC__SIM_STALE,    /* a load did not see the latest store */
    CONC__SIM_END       /* it ended */
} conc__sim_event_kind;

typedef struct conc__sim_event {
    uint32_t point;
    uint8_t kind, fiber, other;
    int line;
    const char *file, *text;    /* the place; or what was done, and in which function */
    const void *object;
    uint64_t before, after;
} conc__sim_event;

CONC__LIB size_t conc__sim_events(const conc__sim_event **events);

/* Fiber i of the schedule that just ended: false, there is none. `agent` is what its thread had under the port's key. */
typedef struct conc__sim_who {
    const char *name, *file, *call;
    int line;
    bool done;
    void *agent;
} conc__sim_who;
CONC__LIB bool conc__sim_fiber(unsigned i, conc__sim_who *who);

/* A small number for an address, by first use in the schedule: for hashing, where the address itself would let the
 * memory layout decide. Outside a simulation: the address, mixed. */
CONC__LIB uint64_t conc__sim_number(const void *address);

/* Whether reports to the error hook are no failure in the run under way. */
CONC__LIB bool conc__sim_takes_reports(void);

/* The world's memory, for internal.h. Outside a simulation: CONC_MALLOC() and its family. */
CONC__LIB void *conc__sim_malloc(size_t size);
CONC__LIB void *conc__sim_realloc(void *p, size_t size);
CONC__LIB void conc__sim_free(void *p);
/* How many blocks of the schedule that just ended were never freed, and where the first of them was asked for. */
CONC__LIB size_t conc__sim_leaks(const char **file, int *line, const char **call, size_t *size);

#endif
#endif
