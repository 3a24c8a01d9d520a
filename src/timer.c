/* ============================================================================================
 * timer: see thread.h. One service thread and a binary heap of what is to come, soonest first.
 * ========================================================================================== */

#include "internal.h"

#define CONC__TIMER_IDLE ((size_t)-1)

struct conc_timer {
    conc_fn fn;
    void *arg;
    conc_deadline when;
    uint64_t sequence; /* breaks ties: first started, first called */
    size_t place;      /* in the heap; CONC__TIMER_IDLE once it is not there any more. Guarded by the lock, */
    bool canceled;     /* as is this */
    uint32_t users;    /* atomic: the handle, and the heap or the service while it runs */
    conc_event done;   /* it has run or was canceled */
};

static conc__lock conc__timers_lock;     /* guards all below */
static conc_timer **conc__timers;        /* a binary heap; its space stays for the next */
static size_t conc__timer_count, conc__timer_space;
static uint64_t conc__timer_sequence;
static bool conc__timer_served;          /* the service thread runs */
static conc_event conc__timers_changed;  /* auto reset: the soonest is another */
#if defined(CONC_SIM)
static bool conc__timers_ended;          /* only ever set in a simulation, at its end, when leaks are counted */
#endif

static conc_timer **volatile conc__timers_of_parent; /* in a child of fork(): its heap, kept for leak checkers only,
                                                          because another thread may have been moving it */

/* In a child of fork() there is no service thread: the parent's timers run in the parent. */
static void conc__timers_reset(void) {
    conc__timers_of_parent = conc__timers;
    conc__timers_lock = 0;
    conc__timers = NULL;
    conc__timer_count = conc__timer_space = 0;
    conc__timer_served = false;
    conc__timers_changed.conc__word = 0;
#if defined(CONC_SIM)
    conc__timers_ended = false;
#endif
}

void conc__timers_begin(void) {
    conc__on_fork(CONC__RESET_TIMERS, conc__timers_reset);
}

static void conc__timer_unuse(conc_timer *t) {
    if (conc__sub32(&t->users, 1, CONC__ACQ_REL) == 1) conc__free(t);
}

/* ---- the heap, with the lock held ---------------------------------------------------------------- */

static bool conc__timer_before(const conc_timer *a, const conc_timer *b) {
    return a->when.ns != b->when.ns ? a->when.ns < b->when.ns : a->sequence < b->sequence;
}

static void conc__timer_put(size_t place, conc_timer *t) {
    conc__timers[place] = t;
    t->place = place;
}

static void conc__timer_up(size_t place, conc_timer *t) {
    while (place > 0 && conc__timer_before(t, conc__timers[(place - 1) / 2])) {
        conc__timer_put(place, conc__timers[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    conc__timer_put(place, t);
}

static void conc__timer_down(size_t place, conc_timer *t) {
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < conc__timer_count && conc__timer_before(conc__timers[child + 1], conc__timers[child])) child++;
        if (child >= conc__timer_count || !conc__timer_before(conc__timers[child], t)) break;
        conc__timer_put(place, conc__timers[child]);
        place = child;
    }
    conc__timer_put(place, t);
}

static void conc__timer_take_out(conc_timer *t) {
    size_t place = t->place;
    conc_timer *last = conc__timers[--conc__timer_count];
    t->place = CONC__TIMER_IDLE;
    if (last == t) return;
    if (place > 0 && conc__timer_before(last, conc__timers[(place - 1) / 2])) {
        conc__timer_up(place, last);
    } else {
        conc__timer_down(place, last);
    }
}

/* ---- the service ------------------------------------------------------------------------------------ */

#if defined(CONC_SIM)
void conc__timers_end(void) {
    bool served;
    conc__lock_take(&conc__timers_lock);
    served = conc__timer_served && conc__timer_count == 0;
    conc__timers_ended = served;
    if (!conc__timer_served) { /* it could not be started */
        conc__free(conc__timers);
        conc__timers = NULL;
    }
    conc__lock_give(&conc__timers_lock);
    if (served) (void)conc_event_set(&conc__timers_changed);
}

/* Called by the service: whether it is over, and the memory given back. */
static bool conc__timers_are_over(void) {
    bool over;
    conc__lock_take(&conc__timers_lock);
    over = conc__timers_ended;
    if (over) {
        conc__free(conc__timers);
        conc__timers = NULL;
    }
    conc__lock_give(&conc__timers_lock);
    return over;
}
#else
#define conc__timers_are_over() false
#endif

/* Takes out the soonest timer if it is due; else NULL, and `*next` is when one will be. */
static conc_timer *conc__timer_due(conc_deadline *next) {
    conc_timer *due = NULL;
    *next = CONC_FOREVER;
    conc__lock_take(&conc__timers_lock);
    if (conc__timer_count > 0) {
        *next = conc__timers[0]->when;
        if (conc_deadline_passed(*next)) {
            due = conc__timers[0];
            conc__timer_take_out(due);
        }
    }
    conc__lock_give(&conc__timers_lock);
    return due;
}

static int conc__timer_service(void *unused) {
    (void)unused;
    while (!conc__timers_are_over()) { /* for ever */
        conc_deadline next;
        conc_timer *due = conc__timer_due(&next);
        if (due != NULL) {
            int code = due->fn(due->arg);
            (void)conc_cancel_use(NULL); /* a token that the function left current is not ours */
            if (code != 0) conc__report(CONC_FAILED, code, NULL, "a timer's function returned %d", code);
            (void)conc_event_set(&due->done);
            conc__timer_unuse(due);
        } else {
            /* A timer that became the soonest after we looked has set the event. */
            (void)conc_event_wait(&conc__timers_changed, next);
        }
    }
    return 0;
}

/* Starts the service thread if there is none. With the lock held, which keeps a second from being started. */
static bool conc__timer_serve(void) {
    conc_thread_desc desc;
    conc_thread *service;
    if (conc__timer_served) return true;
    memset(&desc, 0, sizeof desc);
    desc.name = "conc-timer";
    desc.daemon = true;
    conc__timers_changed.auto_reset = true;
    service = conc_thread_start(conc__timer_service, NULL, &desc);
    if (service == NULL) return false;
    (void)conc_thread_detach(service);
    conc__timer_served = true;
    return true;
}

/* ---- what users call ---------------------------------------------------------------------------------- */

conc_timer *conc_timer_start(conc_fn fn, void *arg, conc_deadline when) {
    conc_timer *t;
    bool soonest, ready = true;
    if (fn == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_timer_start: no function");
        return NULL;
    }
    conc__timers_begin();
    t = (conc_timer *)conc__alloc(1, sizeof *t, "a timer");
    if (t == NULL) return NULL;
    t->fn = fn;
    t->arg = arg;
    t->when = when;
    t->users = 2;
    conc__lock_take(&conc__timers_lock);
    if (conc__timer_count == conc__timer_space) {
        size_t space = conc__timer_space == 0 ? 16 : conc__timer_space * 2;
        conc_timer **more = (conc_timer **)conc__realloc(conc__timers, space, sizeof *more, "timers");
        ready = more != NULL;
        if (ready) {
            conc__timers = more;
            conc__timer_space = space;
        }
    }
    ready = ready && conc__timer_serve();
    if (ready) {
        t->sequence = conc__timer_sequence++;
        conc__timer_count++;
        conc__timer_up(conc__timer_count - 1, t);
    }
    soonest = ready && t->place == 0;
    conc__lock_give(&conc__timers_lock);
    if (!ready) {
        conc__free(t);
        return NULL;
    }
    if (soonest) (void)conc_event_set(&conc__timers_changed);
    return t;
}

conc_result conc_timer_cancel(conc_timer *t) {
    bool waiting, canceled;
    if (t == NULL) return conc__fail(CONC_INVALID, "conc_timer_cancel: NULL");
    conc__lock_take(&conc__timers_lock);
    /* In a child of fork() the heap is empty, whatever the timer remembers of its place. */
    waiting = t->place < conc__timer_count && conc__timers[t->place] == t;
    if (waiting) {
        conc__timer_take_out(t);
        t->canceled = true;
    }
    canceled = t->canceled;
    conc__lock_give(&conc__timers_lock);
    if (waiting) {
        (void)conc_event_set(&t->done);
        conc__timer_unuse(t); /* the heap's share; the caller has its own */
    }
    return canceled ? CONC_OK : CONC_CLOSED;
}

conc_op conc_op_timer(conc_timer *t) {
    return conc_op_event(t != NULL ? &t->done : NULL);
}

void conc_timer_release(conc_timer *t) {
    if (t != NULL) conc__timer_unuse(t);
}
