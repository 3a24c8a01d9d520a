/* ============================================================================================
 * sim: which schedules are run, in which order, and what is told of the one that fails. The machine they run on is
 * port_sim.c.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_SIM)

#include <stdio.h>
#include <stdlib.h>

#define CONC__SIM_STRATEGIES 8

typedef struct conc__sim_way {
    conc__sim_strategy strategy;
    unsigned depth;
} conc__sim_way;

typedef struct conc__sim_job {
    conc_fn body;
    void *arg;
    conc_sim_desc desc;
    conc_sim_report report;
    conc__sim_plan plan;
    conc__sim_outcome outcome;
    bool marked; /* the body marks data for the race detector */
} conc__sim_job;

static uint32_t conc__sim_runs;         /* atomic: one does, in some thread */
static bool conc__sim_reports_are_fine; /* of the run under way */
static char conc__sim_under_way[640];   /* its name and the schedule's, for one that a sanitizer ends */

bool conc__sim_takes_reports(void) {
    return conc__sim_reports_are_fine;
}

/* ---- names of schedules --------------------------------------------------------------------------- */

static const char *conc__sim_verdict_name(conc_sim_verdict v) {
    static const char *const names[] = {"passed",       "a check failed", "deadlock",        "livelock",
                                        "data race",    "leak",           "use after free",  "reported to the error hook",
                                        "not repeatable", "too large"};
    return names[v];
}

static void conc__sim_way_name(const conc__sim_way *w, char *text, size_t size) {
    switch (w->strategy) {
    case CONC__SIM_RANDOM: (void)snprintf(text, size, "random"); break;
    case CONC__SIM_PCT: (void)snprintf(text, size, "pct%u", w->depth); break;
    default: (void)snprintf(text, size, "depth%u", w->depth); break;
    }
}

/* Reads one strategy's name; returns where it ends, or NULL. */
static const char *conc__sim_way_read(const char *s, conc__sim_way *w) {
    char *end;
    unsigned long depth;
    if (strncmp(s, "random", 6) == 0) {
        w->strategy = CONC__SIM_RANDOM;
        w->depth = 0;
        return s + 6;
    }
    if (strncmp(s, "pct", 3) == 0) {
        w->strategy = CONC__SIM_PCT;
        s += 3;
    } else if (strncmp(s, "depth", 5) == 0) {
        w->strategy = CONC__SIM_DEPTH;
        s += 5;
    } else {
        return NULL;
    }
    depth = strtoul(s, &end, 10);
    if (end == s || depth > 9 || (w->strategy == CONC__SIM_PCT && depth < 2)) return NULL;
    w->depth = (unsigned)depth;
    return end;
}

/* "random,pct2": how many; 0: it is none. */
static size_t conc__sim_ways_read(const char *s, conc__sim_way *ways) {
    size_t n = 0;
    for (;;) {
        if (n == CONC__SIM_STRATEGIES) return 0;
        s = conc__sim_way_read(s, &ways[n++]);
        if (s == NULL || (*s != ',' && *s != '\0')) return 0;
        if (*s == '\0') return n;
        s++;
    }
}

/* ---- one schedule ------------------------------------------------------------------------------------- */

/* What the first fiber does: the body, and then what a program's end does. */
static void conc__sim_main(void *p) {
    conc__sim_job *job = (conc__sim_job *)p;
    int code = job->body(job->arg);
    if (code != 0) conc__sim_stop(CONC_SIM_CHECK, "the function returned %d", code);
    (void)conc_thread_join_all(CONC_FOREVER);
    conc__timers_end();
    conc__offload_end_all();
}

/* Runs the plan; true: it passed. */
static bool conc__sim_try(conc__sim_job *job) {
    const char *file = NULL, *call = NULL;
    int line = 0;
    unsigned i;
    size_t size = 0, n;
    bool all_done = true;
    conc__sim_who who;
    (void)conc__world_new(1);
    if (!conc__sim_schedule(&job->plan, conc__sim_main, job, &job->outcome)) {
        job->outcome.verdict = CONC_SIM_LIMIT;
        (void)snprintf(job->outcome.text, sizeof job->outcome.text, "no memory for a simulation");
    }
    if (job->outcome.verdict != CONC_SIM_PASSED) return false;
    for (i = 0; conc__sim_fiber(i, &who); i++) all_done = all_done && who.done;
    /* What a daemon still holds is no leak. */
    n = all_done ? conc__sim_leaks(&file, &line, &call, &size) : 0;
    if (n == 0) return true;
    job->outcome.verdict = CONC_SIM_LEAK;
    (void)snprintf(job->outcome.text, sizeof job->outcome.text,
                   "%u blocks of memory were never freed, the first of %u bytes from %.100s at %.100s:%d", (unsigned)n,
                   (unsigned)size, call != NULL ? call : "(an unmarked place)", file != NULL ? conc__sim_base(file) : "?",
                   line);
    return false;
}

static void conc__sim_plan_set(conc__sim_job *job, const conc__sim_way *w, uint64_t seed, uint64_t k) {
    bool weak = !job->desc.sequential && w->strategy != CONC__SIM_DEPTH;
#if CONC__SIM_TSAN
    weak = false; /* that looks at what is in memory */
#endif
    job->plan.strategy = w->strategy;
    job->plan.depth = w->depth;
    job->plan.seed = (seed * 31u + (uint64_t)w->strategy * 16u + w->depth) * (uint64_t)0x9E3779B97F4A7C15u + k;
    job->plan.max_points = job->desc.max_points != 0 ? job->desc.max_points : 20000;
    job->plan.weak = weak;
    job->plan.track = weak || job->marked;
    job->plan.trace = false;
}

/* ---- telling -------------------------------------------------------------------------------------------- */

/* Objects by numbers, in the order in which they are told of. */
static unsigned conc__sim_object(const void *object) {
    static const void *known[64];
    static unsigned count;
    unsigned i;
    if (object == NULL) return count = 0;
    for (i = 0; i < count && known[i] != object; i++) {
    }
    if (i == count && count < 64) known[count++] = object;
    return i + 1;
}

static void conc__sim_print_waits(const conc__agent *agent) {
    size_t i;
    for (i = 0; i < agent->waits_count; i++) {
        const conc_op *op = &agent->waits[i];
        fprintf(stderr, "%s%s", i == 0 ? ", for: " : ", ", op->cls->name != NULL ? op->cls->name : "?");
        if (op->object != NULL && conc__debug_name_of(op->object) != NULL) {
            fprintf(stderr, " \"%s\"", conc__debug_name_of(op->object));
        } else if (op->object != NULL) {
            fprintf(stderr, " #%u", conc__sim_object(op->object));
        }
        if (strcmp(op->cls->name != NULL ? op->cls->name : "", "lock") == 0) {
            uint32_t owner = ((const conc_mutex *)op->object)->conc__word & ~3u;
            conc__sim_who who;
            unsigned k;
            for (k = 0; conc__sim_fiber(k, &who); k++) {
                if (who.agent != NULL && ((const conc__agent *)who.agent)->owner == owner) {
                    fprintf(stderr, ", held by %s", who.name);
                }
            }
        }
    }
}

static void conc__sim_print(const conc__sim_job *job) {
    const conc__sim_event *e;
    const char *all = getenv("CONC_SIM_TRACE");
    size_t n = conc__sim_events(&e), i;
    conc__sim_who who, other;
    bool atomics = all != NULL && strcmp(all, "all") == 0;
    (void)conc__sim_object(NULL);
    fprintf(stderr, "  point  thread            what it does\n");
    for (i = 0; i < n; i++) {
        const char *name = conc__sim_fiber(e[i].fiber, &who) ? who.name : "?";
        const char *other_name = conc__sim_fiber(e[i].other, &other) ? other.name : "?";
        if (e[i].kind == CONC__SIM_ATOMIC && !atomics) continue;
        if (e[i].kind == CONC__SIM_EXPIRE || e[i].kind == CONC__SIM_SPURIOUS) name = other_name;
        fprintf(stderr, "  %5u  %-16.16s  ", (unsigned)e[i].point, name);
        switch (e[i].kind) {
        case CONC__SIM_CALL:
            fprintf(stderr, "%s:%d  %s\n", conc__sim_base(e[i].file != NULL ? e[i].file : "?"), e[i].line, e[i].text);
            break;
        case CONC__SIM_NOTE: fprintf(stderr, "-- %s\n", e[i].text); break;
        case CONC__SIM_ATOMIC:
            fprintf(stderr, "    %s: #%u is %llx", e[i].text, conc__sim_object(e[i].object), (unsigned long long)e[i].before);
            if (e[i].after != e[i].before) fprintf(stderr, ", now %llx", (unsigned long long)e[i].after);
            fprintf(stderr, "\n");
            break;
        case CONC__SIM_STALE:
            fprintf(stderr, "    %s: sees the old %llx in #%u, which is %llx by now\n", e[i].text,
                    (unsigned long long)e[i].after, conc__sim_object(e[i].object), (unsigned long long)e[i].before);
            break;
        case CONC__SIM_START: fprintf(stderr, "starts %s\n", other_name); break;
        case CONC__SIM_SLEEP: fprintf(stderr, "sleeps\n"); break;
        case CONC__SIM_WAKE: fprintf(stderr, "wakes %s\n", other_name); break;
        case CONC__SIM_EXPIRE: fprintf(stderr, "its deadline passes\n"); break;
        case CONC__SIM_SPURIOUS: fprintf(stderr, "its sleep ends for no reason\n"); break;
        default: fprintf(stderr, "ends\n"); break;
        }
    }
    if (job->outcome.verdict == CONC_SIM_PASSED) return;
    fprintf(stderr, "  in the end:\n");
    for (i = 0; conc__sim_fiber((unsigned)i, &who); i++) {
        if (who.done) continue;
        fprintf(stderr, "         %-16.16s  at %s:%d  %s", who.name, who.file != NULL ? conc__sim_base(who.file) : "?", who.line,
                who.call != NULL ? who.call : "");
        if (who.agent != NULL && job->outcome.verdict == CONC_SIM_DEADLOCK) {
            conc__sim_print_waits((const conc__agent *)who.agent);
        }
        fprintf(stderr, "\n");
    }
}

static const char *conc__sim_run_name(const conc__sim_job *job) {
    return job->desc.name != NULL ? job->desc.name : "";
}

/* The failing schedule once more, with its trace. */
static void conc__sim_tell(conc__sim_job *job, const conc__sim_way *w, bool failed) {
    conc__sim_outcome first = job->outcome;
    const char *at = job->desc.name != NULL ? "@" : "";
    if (failed) {
        job->report.verdict = first.verdict;
        (void)snprintf(job->report.text, sizeof job->report.text, "%s", first.text);
        if (w->strategy == CONC__SIM_DEPTH && !conc__sim_depth_replay(strrchr(job->report.replay, ':') + 1)) return;
        job->plan.trace = true;
        (void)conc__sim_try(job);
        if (job->outcome.verdict != first.verdict || job->outcome.points != first.points) {
            job->report.verdict = CONC_SIM_UNSTABLE;
            (void)snprintf(job->report.text, sizeof job->report.text,
                           "played again it is another (%.60s after %u points, first %.60s after %u: %.150s): the function "
                           "depends on more than the schedule",
                           conc__sim_verdict_name(job->outcome.verdict), (unsigned)job->outcome.points,
                           conc__sim_verdict_name(first.verdict), (unsigned)first.points, first.text);
        }
    }
    if (job->desc.quiet) return;
    fprintf(stderr, "conc_sim: %s%s%s after %llu schedules%s%s\n", conc__sim_run_name(job), job->desc.name != NULL ? ": " : "",
            conc__sim_verdict_name(job->outcome.verdict), (unsigned long long)job->report.schedules,
            job->report.text[0] != '\0' ? ": " : "", job->report.text);
    fprintf(stderr, "  play it again with CONC_SIM=%s%s%s\n", conc__sim_run_name(job), at, job->report.replay);
    conc__sim_print(job);
}

#if CONC__SIM_TSAN || CONC__SIM_ASAN
#if defined(__cplusplus)
extern "C"
#endif
void __sanitizer_set_death_callback(void (*callback)(void));
static void conc__sim_died(void) {
    if (conc__sim_under_way[0] != '\0') fprintf(stderr, "conc_sim: that was in the schedule CONC_SIM=%s\n", conc__sim_under_way);
}
#endif

/* One schedule of the search; false: it failed, and has been told. */
static bool conc__sim_one(conc__sim_job *job, const conc__sim_way *w, uint64_t seed, uint64_t k, const char *k_name) {
    char way[32], number[400];
    bool passed;
    conc__sim_plan_set(job, w, seed, k);
#if CONC__SIM_TSAN || CONC__SIM_ASAN /* which may end the program in the middle of it */
    conc__sim_way_name(w, way, sizeof way);
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)k);
    (void)snprintf(conc__sim_under_way, sizeof conc__sim_under_way, "%.100s@%llu:%s:%.400s", conc__sim_run_name(job),
                   (unsigned long long)seed, way, k_name != NULL ? k_name : number);
#endif
    passed = conc__sim_try(job);
    job->report.schedules++;
    job->report.points += job->outcome.points;
    job->marked = job->marked || job->outcome.marked;
    if (passed) return true;
    conc__sim_way_name(w, way, sizeof way);
    if (k_name != NULL) {
        (void)snprintf(number, sizeof number, "%.399s", k_name);
    } else if (w->strategy != CONC__SIM_DEPTH) {
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)k);
    } else if (!conc__sim_depth_choices(number, sizeof number)) {
        number[0] = '\0'; /* too many to tell */
    }
    (void)snprintf(job->report.replay, sizeof job->report.replay, "%llu:%s:%s", (unsigned long long)seed, way, number);
    conc__sim_tell(job, w, true);
    return false;
}

/* ---- the search ------------------------------------------------------------------------------------------- */

/* Whether the environment asks for one schedule of this run: its parts. `text` is changed. */
static bool conc__sim_wanted(const conc__sim_job *job, char *text, size_t size, uint64_t *seed, conc__sim_way *w,
                             const char **k) {
    const char *wish = getenv("CONC_SIM"), *at, *end;
    char *colon;
    if (wish == NULL) return false;
    at = strrchr(wish, '@');
    if (at != NULL) {
        size_t n = (size_t)(at - wish);
        if (job->desc.name == NULL || strlen(job->desc.name) != n || strncmp(job->desc.name, wish, n) != 0) return false;
        wish = at + 1;
    }
    (void)snprintf(text, size, "%s", wish);
    *seed = strtoull(text, &colon, 10);
    if (colon == text || *colon != ':') return false;
    end = conc__sim_way_read(colon + 1, w);
    if (end == NULL || *end != ':') return false;
    *k = end + 1;
    return true;
}

static void conc__sim_replay(conc__sim_job *job, const conc__sim_way *w, uint64_t seed, const char *k) {
    bool depth = w->strategy == CONC__SIM_DEPTH;
    if (depth && !conc__sim_depth_replay(k)) {
        job->report.verdict = CONC_SIM_LIMIT;
        (void)snprintf(job->report.text, sizeof job->report.text, "CONC_SIM: \"%.300s\" names no schedule", k);
        return;
    }
    if (!conc__sim_one(job, w, seed, depth ? 0 : strtoull(k, NULL, 10), k)) return;
    if (depth) (void)conc__sim_depth_replay(k);
    job->plan.trace = true;
    (void)conc__sim_try(job);
    (void)snprintf(job->report.replay, sizeof job->report.replay, "%.400s", k);
    conc__sim_tell(job, w, false);
}

static void conc__sim_search(conc__sim_job *job, const conc__sim_way *ways, size_t n, uint64_t seed, int64_t until) {
    uint64_t limit = job->desc.schedules != 0 ? job->desc.schedules : 10000, k;
    const conc__sim_way *by_chance[CONC__SIM_STRATEGIES];
    size_t chances = 0, i;
    for (i = 0; i < n; i++) {
        if (ways[i].strategy != CONC__SIM_DEPTH) by_chance[chances++] = &ways[i];
    }
    for (k = 0; chances != 0 && k < limit; k++) {
        if ((k & 63u) == 0 && conc__port_clock_ns() >= until) return;
        if (!conc__sim_one(job, by_chance[k % chances], seed, k / chances, NULL)) return;
    }
    for (i = 0; i < n; i++) {
        bool more = true;
        if (ways[i].strategy != CONC__SIM_DEPTH) continue;
        conc__sim_depth_begin();
        for (k = 0; more && k < limit; k++) {
            if ((k & 63u) == 0 && conc__port_clock_ns() >= until) return;
            if (!conc__sim_one(job, &ways[i], seed, k, NULL)) return;
            more = conc__sim_depth_next();
        }
        if (more) return;
    }
    job->report.exhausted = n > chances;
}

conc_sim_report conc_sim_run(conc_fn body, void *arg, const conc_sim_desc *desc) {
    conc__sim_job job;
    conc__sim_way ways[CONC__SIM_STRATEGIES], way;
    char wish[600];
    const char *k = NULL;
    int64_t began;
    uint64_t seed;
    size_t n = 0;
    memset(&job, 0, sizeof job);
    if (desc != NULL) job.desc = *desc;
    job.body = body;
    job.arg = arg;
    job.report.verdict = CONC_SIM_LIMIT;
    if (body == NULL) {
        (void)snprintf(job.report.text, sizeof job.report.text, "conc_sim_run: no function");
        return job.report;
    }
    n = conc__sim_ways_read(job.desc.strategies != NULL ? job.desc.strategies : "random,pct2,pct3", ways);
    if (n == 0) {
        (void)snprintf(job.report.text, sizeof job.report.text,
                       "conc_sim_run: \"%.100s\" is no list of strategies; \"random,pct2,depth3\" would be one",
                       job.desc.strategies);
        return job.report;
    }
    conc__table_begin();
    conc__registry_begin();
    conc__timers_begin();
    conc__loops_begin();
    conc__offload_begin();
    conc__blocked_begin();
    conc__pools_begin();
    conc__debug_begin();
    if (conc__sim_is_here() || !conc__registry_is_alone() || conc__swap32(&conc__sim_runs, 1, CONC__ACQUIRE) != 0) {
        (void)snprintf(job.report.text, sizeof job.report.text, "conc_sim_run: %s",
                       conc__sim_is_here()          ? "called from inside a simulation"
                       : conc__registry_is_alone() ? "another thread runs a simulation"
                                                   : "other threads of this library are alive or not yet joined");
        return job.report;
    }
    job.report.verdict = CONC_SIM_PASSED;
    conc__sim_reports_are_fine = job.desc.reports_are_fine;
    seed = job.desc.seed != 0 ? job.desc.seed : 1;
    began = conc__port_clock_ns();
    {
        uint32_t next_id = conc__world_new(1);
        /* A first schedule by itself: it tells whether data is marked, and what is set up once is set up then, so that
         * all that follow begin alike, alone or not. */
        static const conc__sim_way first = {CONC__SIM_RANDOM, 0};
        job.marked = true;
        conc__sim_plan_set(&job, &first, 0, 0);
        (void)conc__sim_try(&job);
        job.marked = job.outcome.marked;
        if (conc__sim_wanted(&job, wish, sizeof wish, &seed, &way, &k)) {
            conc__sim_replay(&job, &way, seed, k);
        } else {
            int64_t until = job.desc.seconds > 0 ? began + (int64_t)(job.desc.seconds * 1e9) : INT64_MAX;
#if CONC__SIM_TSAN || CONC__SIM_ASAN
            __sanitizer_set_death_callback(conc__sim_died);
#endif
            conc__sim_search(&job, ways, n, seed, until);
        }
        conc__sim_under_way[0] = '\0';
        (void)conc__world_new(next_id);
    }
    conc__store32(&conc__sim_runs, 0, CONC__RELEASE);
    job.report.seconds = (double)(conc__port_clock_ns() - began) * 1e-9;
    return job.report;
}

/* ---- what the simulated code can say ------------------------------------------------------------------------ */

bool conc_sim_is_running(void) {
    return conc__sim_is_here();
}

unsigned conc_sim_choose(unsigned n) {
    return conc__sim_choose(n);
}

void conc_sim_fail(const char *text, const char *file, int line) {
    conc__sim_stop(CONC_SIM_CHECK, "%s:%d: %s", conc__sim_base(file), line, text);
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    abort();
}

#endif
