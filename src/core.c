/* ============================================================================================
 * core: see core.h, and internal.h for what the other modules use.
 * ========================================================================================== */

#include "internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- results -------------------------------------------------------------------------------- */

const char *conc_strerror(conc_result r) {
    switch ((int)r) {
#define CONC__TEXT(name, value, text)                                                              \
    case value: return text;
        CONC_RESULTS(CONC__TEXT)
#undef CONC__TEXT
    default: return "unknown result";
    }
}

const char *conc_error_detail(void) {
    return conc__self()->detail;
}

const char *conc_explain(conc_result r) {
    const conc__agent *me = conc__self();
    bool ordinary = r == CONC_TIMEOUT || r == CONC_CLOSED || r == CONC_CANCELED || r == CONC_FULL || r == CONC_EMPTY ||
                    r == CONC_BUSY; /* these mostly come without a sentence: one that is there is an older call's */
    return !ordinary && me->error == r && me->detail[0] != '\0' ? me->detail : conc_strerror(r);
}

conc_result conc_error_result(void) {
    return conc__self()->error;
}

conc_result conc__fail(conc_result r, const char *format, ...) {
    conc__agent *me = conc__self();
    va_list args;
    va_start(args, format);
    (void)vsnprintf(me->detail, sizeof me->detail, format, args);
    va_end(args);
    me->error = r;
    return r;
}

conc_result conc__fail_system(conc_result r, int error, const char *what) {
    char text[128];
    return conc__fail(r, "%s: %s", what, conc__port_error_text(error, text, sizeof text));
}

/* ---- the error hook --------------------------------------------------------------------------- */

static conc_error_fn conc__hook;     /* both set by conc_set_error_hook(), before threads start */
static void *conc__hook_user;

void conc_set_error_hook(conc_error_fn fn, void *user) {
    conc__hook = fn;
    conc__hook_user = user;
}

const char *conc__self_name(void) {
    conc__agent *me = conc__self();
    if (me->name != NULL) return me->name;
    (void)snprintf(me->number, sizeof me->number, "thread %u", (unsigned)((me->task != NULL ? me->host : me->owner) >> 2));
    return me->number;
}

void conc__report(conc_result r, int code, const char *thread, const char *format, ...) {
    char text[720];
    conc_error e;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    e.result = r;
    e.code = code;
    e.thread = thread != NULL ? thread : conc__self_name();
    e.text = text;
#if defined(CONC_SIM)
    if (conc__sim_is_here() && !conc__sim_takes_reports()) conc__sim_stop(CONC_SIM_REPORT, "in %s: %s", e.thread, text);
    if (conc__sim_is_here() && conc__hook == NULL) return;
#endif
    if (conc__hook != NULL) {
        conc__hook(&e, conc__hook_user);
    } else {
        fprintf(stderr, "conc: in %s: %s\n", e.thread, text);
    }
}

/* ---- time --------------------------------------------------------------------------------------- */

int64_t conc_clock_ns(void) {
    return conc__port_clock_ns();
}

double conc_clock(void) {
    return (double)conc__port_clock_ns() * 1e-9;
}

conc_deadline conc_after(double seconds) {
    int64_t now = conc__port_clock_ns();
    double ns = seconds * 1e9;
    if (!(ns > 0)) return conc_deadline_at(now);            /* NaN too */
    if (ns >= 9.2e18 - (double)now) return CONC_FOREVER;    /* INT64_MAX is 9.22e18 */
    return conc_deadline_at(now + (int64_t)ns);
}

bool conc_deadline_passed(conc_deadline d) {
    return d.ns != INT64_MAX && (d.ns == INT64_MIN || conc__port_clock_ns() >= d.ns);
}

double conc_deadline_left(conc_deadline d) {
    int64_t now;
    if (d.ns == INT64_MAX) return HUGE_VAL;
    now = conc__port_clock_ns();
    return d.ns <= now ? 0.0 : (double)(d.ns - now) * 1e-9;
}

unsigned conc_cpu_count(void) {
    return conc__port_cpu_count();
}

/* ---- memory --------------------------------------------------------------------------------------- */

static bool conc__fits(size_t count, size_t size) {
    return size == 0 || count <= SIZE_MAX / size;
}

void *conc__alloc(size_t count, size_t size, const char *what) {
    void *p = conc__fits(count, size) && CONC__FAULT("malloc", ENOMEM) == 0 ? CONC__MALLOC(count * size) : NULL;
    if (p != NULL) {
        memset(p, 0, count * size);
    } else {
        (void)conc__fail(CONC_NO_MEMORY, "no memory for %s (%zu times %zu bytes)", what, count, size);
    }
    return p;
}

void *conc__realloc(void *p, size_t count, size_t size, const char *what) {
    void *bigger = conc__fits(count, size) && CONC__FAULT("realloc", ENOMEM) == 0 ? CONC__REALLOC(p, count * size) : NULL;
    if (bigger == NULL) {
        (void)conc__fail(CONC_NO_MEMORY, "no memory for %s (%zu times %zu bytes)", what, count, size);
    }
    return bigger;
}

void conc__free(void *p) {
    CONC__FREE(p);
}

/* ---- fork ------------------------------------------------------------------------------------------- */

static uint32_t conc__next_id = 1;       /* atomic; publishes nothing */
static uint32_t conc__ids_before_fork;   /* written in a forked child while it has one thread */
static uint32_t conc__forks;             /* likewise */
static uint32_t conc__survivor;          /* likewise: the owner that the forking thread writes; it lives on here */
static uint32_t conc__fork_watched;      /* atomic: whether conc__forked() has been registered */
static void *conc__resets[CONC__RESETS]; /* atomic: functions, or NULL */

static void conc__reset_all(void) {
    uint32_t i;
    for (i = 0; i < CONC__RESETS; i++) {
        void *p = conc__peekp(&conc__resets[i]);
        void (*reset)(void);
        memcpy(&reset, &p, sizeof reset); /* ISO C has no cast between the two */
        if (p != NULL) reset();
    }
}

static void conc__signal_end(conc__agent *agent) {
    if (agent->has_signal) conc__port_signal_close(&agent->signal);
    agent->has_signal = false;
}

void conc__forked(void) {
    conc__forks++;
    conc__survivor = conc__self()->owner;
    conc__signal_end(conc__self()); /* the parent has it too */
    conc__self()->loop = NULL;      /* and that is the parent's */
    conc__self()->task = NULL;
    conc__ids_before_fork = conc__load32(&conc__next_id, CONC__RELAXED) - 1;
    conc__reset_all();
}

/* Every caller stores the same, so it does not matter which of them a fork() finds on its way. */
void conc__on_fork(conc__reset_place place, void (*reset)(void)) {
    void *p;
    if (CONC__LIKELY(conc__peekp(&conc__resets[place]) != NULL)) return;
    (void)conc__self(); /* core watches for fork() from here on */
    memcpy(&p, &reset, sizeof p);
    conc__storep(&conc__resets[place], p, CONC__RELAXED);
}

bool conc__is_gone(uint32_t owner) {
    return conc__forks != 0 && owner >> 2 <= conc__ids_before_fork && owner != conc__survivor;
}

uint32_t conc__fork_generation(void) {
    return conc__forks;
}

/* ---- the agent ---------------------------------------------------------------------------------------- */

#if !CONC__HAS_TLS
/* Where records come from when there is no memory: threads that meet here share one, with the identity of
 * the first; locks still exclude by their word, only misuse between these threads goes untold. */
static conc__agent conc__agent_emergency;
#endif

static void conc__agent_end(void *value) {
    conc__agent *agent = (conc__agent *)value;
#if !CONC__HAS_TLS /* the system has emptied the key: what is called now is still done by this agent */
    (void)conc__port_key_set(agent, conc__agent_end);
#endif
    if (agent->ended != NULL) agent->ended(agent);
    conc__signal_end(agent);
#if !CONC__HAS_TLS
    (void)conc__port_key_set(NULL, conc__agent_end);
    if (agent != &conc__agent_emergency) conc__free(agent);
#endif
}

#if defined(CONC_SIM)
uint32_t conc__world_new(uint32_t first_id) {
    uint32_t next = conc__next_id;
    memset(&conc__agent_emergency, 0, sizeof conc__agent_emergency);
    conc__next_id = first_id;
    conc__reset_all();
    return next;
}
#endif

bool conc__agent_watch_end(conc__agent *agent, void (*ended)(conc__agent *agent)) {
    agent->ended = ended;
    return conc__port_key_get() == agent || conc__port_key_set(agent, conc__agent_end);
}

uint32_t conc__new_owner(void) {
    uint32_t owner;
    do {
        owner = conc__add32(&conc__next_id, 1, CONC__RELAXED) << 2;
    } while (owner == 0);
    return owner;
}

static void conc__agent_begin(conc__agent *agent) {
    if (conc__peek32(&conc__fork_watched) == 0) { /* two at once may both do it: to be told twice does no harm */
        (void)conc__port_on_fork(conc__forked);   /* if this fails, fork() is only not noticed */
        conc__store32(&conc__fork_watched, 1, CONC__RELAXED);
    }
    agent->owner = conc__new_owner();
}

#if CONC__HAS_TLS

#if defined(CONC__SPLIT)
CONC__TLS conc__agent conc__agent_here; /* in the single file, internal.h has defined it */
#endif

conc__agent *conc__self(void) {
    conc__agent *me = &conc__agent_here;
    if (CONC__UNLIKELY(me->owner == 0)) conc__agent_begin(me);
    return me;
}

#else

conc__agent *conc__self(void) {
    conc__agent *me = (conc__agent *)conc__port_key_get();
    if (CONC__UNLIKELY(me == NULL)) {
        me = CONC__FAULT_ONCE("malloc: agent", ENOMEM) == 0 ? (conc__agent *)CONC__MALLOC(sizeof *me) : NULL;
        if (me != NULL) {
            memset(me, 0, sizeof *me);
            if (!conc__port_key_set(me, conc__agent_end)) {
                conc__free(me);
                me = NULL;
            }
        }
        if (me == NULL) {
            me = &conc__agent_emergency;
            (void)conc__port_key_set(me, conc__agent_end); /* from now on: an identity must not change */
        }
    }
    if (CONC__UNLIKELY(me->owner == 0)) conc__agent_begin(me); /* new, or acts as a task that has none yet */
    return me;
}

#endif
