/* ============================================================================================
 * core: results, error text, deadlines, the clock, the machine, memory.
 * ========================================================================================== */

#ifndef CONC__CORE_H
#define CONC__CORE_H

#include "config.h"

/* ---- results --------------------------------------------------------------------------------
 * Every call that can fail returns a conc_result; constructors return a pointer, or NULL with the
 * reason in conc_error_result(). CONC_OK is 0 and everything else is negative and distinct. */

#define CONC_RESULTS(X)                                                                            \
    X(CONC_OK, 0, "ok")                                                                            \
    X(CONC_TIMEOUT, -1, "the deadline passed first")                                               \
    X(CONC_CLOSED, -2, "closed: nothing more will come")                                           \
    X(CONC_CANCELED, -3, "canceled by its token")                                                  \
    X(CONC_FULL, -4, "full")                                                                       \
    X(CONC_EMPTY, -5, "empty")                                                                     \
    X(CONC_BUSY, -6, "in use")                                                                     \
    X(CONC_INVALID, -7, "invalid argument or wrong use")                                           \
    X(CONC_NO_MEMORY, -8, "out of memory")                                                         \
    X(CONC_NO_THREADS, -9, "the system gives no more threads")                                     \
    X(CONC_DEADLOCK, -10, "would wait for itself for ever")                                        \
    X(CONC_NOT_OWNER, -11, "not held by the caller")                                                \
    X(CONC_BROKEN, -12, "broken: one of the party left")                                           \
    X(CONC_FAILED, -13, "the task returned an error of its own")                                   \
    X(CONC_REJECTED, -14, "rejected")                                                              \
    X(CONC_CRASHED, -15, "the process that ran it died")                                           \
    X(CONC_FORKED, -16, "made before fork(): not usable in the child")                             \
    X(CONC_SYSTEM, -17, "the system refused")                                                      \
    X(CONC_PENDING, -18, "not yet")

typedef enum conc_result {
#define CONC__ENUM(name, value, text) name = value,
    CONC_RESULTS(CONC__ENUM)
#undef CONC__ENUM
} conc_result;

/* What a result means, in a few words. Never NULL; any number may be passed. Does not block. */
CONC_API const char *conc_strerror(conc_result r);

/* What exactly was wrong with the last call of this thread that failed, in one sentence, with the
 * system's own error where there was one ("cannot start a thread: Resource temporarily unavailable").
 * The text belongs to the calling thread and lives until its next failing call. Calls that succeed,
 * and the ordinary answers TIMEOUT, EMPTY, FULL, CLOSED, CANCELED and the BUSY of a try, leave it alone. Never NULL; "" if
 * none has failed yet. */
CONC_API const char *conc_error_detail(void);

/* The best sentence for a result that a call of this thread has just given: conc_error_detail() for what is an error,
 * conc_strerror(r) for the ordinary answers named above. */
CONC_API const char *conc_explain(conc_result r);

/* The result that belongs to conc_error_detail(): how a constructor that returned NULL tells why. */
CONC_API conc_result conc_error_result(void);

/* ---- the error hook -------------------------------------------------------------------------
 * Failures that no caller is there to see go to the hook: a task that returned non-zero and whose
 * result nobody looked at, and what CONC_DEBUG finds. Without a hook they are printed on stderr, one
 * line each; that is the only time the library prints. */

typedef struct conc_error {
    conc_result result; /* which kind */
    int code;           /* the task's own return value, where result is CONC_FAILED */
    const char *thread; /* the name of the thread it happened in */
    const char *text;   /* one sentence */
} conc_error;

typedef void (*conc_error_fn)(const conc_error *error, void *user);

/* Installs `fn` (NULL: back to stderr) for the whole process. `fn` is called in the thread where the
 * failure was seen, possibly in several threads at once, with no lock of the library held; `error`
 * and its strings live until `fn` returns. Call it before threads are started. Does not block. */
CONC_API void conc_set_error_hook(conc_error_fn fn, void *user);

/* ---- deadlines ------------------------------------------------------------------------------
 * Each blocking call takes, last, the instant at which it gives up: a point on the monotonic clock,
 * not a duration, so that one deadline can be handed through a chain of calls. The type is a struct
 * so that a bare number is refused by the compiler. */

typedef struct conc_deadline {
    int64_t ns; /* conc_clock_ns() at which it is due; INT64_MAX is never */
} conc_deadline;

static inline conc_deadline conc_deadline_at(int64_t clock_ns) {
    conc_deadline d;
    d.ns = clock_ns;
    return d;
}

#define CONC_FOREVER conc_deadline_at(INT64_MAX) /* wait until it happens */
#define CONC_NOW conc_deadline_at(INT64_MIN)     /* do not wait: try */

/* `seconds` from now. Negative or NaN is now (it has passed already); what overflows is CONC_FOREVER.
 * A wait never ends before its deadline, and ends as soon after it as the system schedules us. Waiting with a deadline
 * that has passed already is one attempt, and then CONC_TIMEOUT. */
CONC_API conc_deadline conc_after(double seconds);

/* Whether it has passed, and how many seconds are left (0 if passed, HUGE_VAL if never). */
CONC_API bool conc_deadline_passed(conc_deadline d);
CONC_API double conc_deadline_left(conc_deadline d);

/* The earlier of two. */
static inline conc_deadline conc_deadline_min(conc_deadline a, conc_deadline b) {
    return a.ns < b.ns ? a : b;
}

/* The monotonic clock, in nanoseconds and in seconds, from an unspecified start. It never goes back
 * and does not jump with the time of day. */
CONC_API int64_t conc_clock_ns(void);
CONC_API double conc_clock(void);

/* ---- the machine ----------------------------------------------------------------------------
 * How many processors this process may use: the least of the processors online, the affinity mask and
 * the cgroup CPU quota (rounded up), at least 1. Asked anew on each call (it may read files). */
CONC_API unsigned conc_cpu_count(void);

/* ---- tasks ----------------------------------------------------------------------------------
 * One signature for threads, pools and processes. 0: done; anything else: the task's own error. */
typedef int (*conc_fn)(void *arg);

#endif
