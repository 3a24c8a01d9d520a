/* ============================================================================================
 * report: conc_dump(), and who looks whether a loop stands still; see loop.h.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>

/* ---- the dump ------------------------------------------------------------------------------------ */

typedef struct conc__dumping {
    void (*line)(const char *text, void *arg);
    void *arg;
} conc__dumping;

static void conc__line_to_stderr(const char *text, void *arg) {
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

static void conc__thread_describe(const conc_thread *t, const conc__agent *agent, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    char text[160];
    const char *in = agent != NULL ? (const char *)conc__peekp(&agent->sleeps_in) : NULL;
    if (in == NULL) {
        (void)snprintf(text, sizeof text, "thread \"%s\"%s runs", conc_thread_name(t),
                       conc_thread_is_daemon(t) ? " (daemon)" : "");
    } else {
        (void)snprintf(text, sizeof text, "thread \"%s\"%s waits in %s for %p since %.3f s", conc_thread_name(t),
                       conc_thread_is_daemon(t) ? " (daemon)" : "", in, (const void *)conc__peekp(&agent->sleeps_for),
                       (double)((size_t)(conc__port_clock_ns() / 1000000) - conc__peekz(&agent->sleeps_since)) * 1e-3);
    }
    d->line(text, d->arg);
}

static void conc__pool_describe(conc_pool *pool, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    conc_pool_stats s = conc_pool_stats_of(pool);
    char text[200];
    (void)snprintf(text, sizeof text, "pool \"%s\": %u threads, %u idle; %zu tasks queued, %zu scheduled, %llu completed", conc_pool_name(pool),
                   s.threads, s.idle, s.queued, s.scheduled, (unsigned long long)s.completed);
    d->line(text, d->arg);
}

static void conc__procpool_describe(conc_procpool *pool, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    conc_procpool_stats s = conc_procpool_stats_of(pool);
    char text[200];
    (void)snprintf(text, sizeof text, "process pool \"%s\": %u workers, %u busy; %zu tasks waiting, %llu completed, %llu processes crashed",
                   conc_procpool_name(pool), s.workers, s.busy, s.waiting, (unsigned long long)s.completed, (unsigned long long)s.crashed);
    d->line(text, d->arg);
}

/* A loop that runs in another thread is asked to write its lines itself. Who asks waits until it has, or until it is too
 * late; then the loop drops the request. */
enum { CONC__ASKED, CONC__ANSWERING, CONC__ANSWERED, CONC__GIVEN_UP };
typedef struct conc__question {
    conc__mail mail;
    const conc__dumping *dumping;
    uint32_t state; /* atomic */
    uint32_t users; /* atomic: the two of them */
    conc_event answered;
} conc__question;

static void conc__question_unuse(conc__question *q) {
    if (conc__sub32(&q->users, 1, CONC__ACQ_REL) == 1) conc__free(q);
}

static void conc__question_deliver(conc__mail *mail, conc_loop *loop) {
    conc__question *q = (conc__question *)(void *)mail;
    uint32_t asked = CONC__ASKED;
    if (conc__cas32(&q->state, &asked, CONC__ANSWERING, CONC__ACQUIRE)) {
        conc__loop_describe(loop, q->dumping->line, q->dumping->arg);
        (void)conc_event_set(&q->answered);
    }
    conc__question_unuse(q);
}

static void conc__loop_dump(conc_loop *loop, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    conc__question *q;
    conc_op answered;
    char text[400];
    if (conc__self()->loop == loop) {
        conc__loop_describe(loop, d->line, d->arg);
        return;
    }
    if (conc__loop_describe_if_idle(loop, d->line, d->arg)) return;
    q = (conc__question *)conc__alloc(1, sizeof *q, "a question to a loop");
    if (q != NULL) {
        uint32_t asked = CONC__ASKED;
        conc_result r;
        q->mail.deliver = conc__question_deliver;
        q->dumping = d;
        q->users = 2;
        conc__loop_send(loop, &q->mail);
        answered = conc_op_event(&q->answered);
        r = conc__wait_uncanceled(&answered, conc_after(0.5));
        if (r != CONC_OK && !conc__cas32(&q->state, &asked, CONC__GIVEN_UP, CONC__RELAXED)) {
            answered = conc_op_event(&q->answered);
            r = conc__wait_uncanceled(&answered, CONC_FOREVER); /* it is writing */
        }
        conc__question_unuse(q);
        if (r == CONC_OK) return;
    }
    (void)conc__loop_where(loop, text, sizeof text - 20);
    memcpy(text + strlen(text), ", does not answer", sizeof ", does not answer");
    d->line(text, d->arg);
}

void conc_dump(void (*line)(const char *text, void *arg), void *arg) {
    conc__dumping d;
    d.line = line != NULL ? line : conc__line_to_stderr;
    d.arg = arg;
    conc__agent_each(conc__thread_describe, &d);
    conc__pool_each(conc__pool_describe, &d);
    conc__procpool_each(conc__procpool_describe, &d);
    conc__loop_each(conc__loop_dump, &d);
}

/* ---- standing still ------------------------------------------------------------------------------------
 * A timer that comes back each `period`: if the same resume runs as the last time, it is told, once. */

struct conc__stall {
    conc_loop *loop;         /* constant, as is the period */
    double period;
    conc__lock lock;         /* guards all below */
    conc_timer *timer;       /* the one that is to come, or runs; NULL: there could not be another */
    bool over;
    size_t turns, told;      /* the loop's count when we last looked, and when we last told */
};

static int conc__stall_look(void *arg) {
    conc__stall *s = (conc__stall *)arg;
    size_t turns = conc__loop_turns(s->loop);
    double period = s->period;
    char text[400];
    bool stalled = false;
    conc__lock_take(&s->lock);
    if (!s->over) {
        conc_timer *before = s->timer;
        stalled = conc__loop_where(s->loop, text, sizeof text) && turns == s->turns && turns != s->told;
        s->turns = turns;
        if (stalled) s->told = turns;
        s->timer = conc_timer_start(conc__stall_look, s, conc_after(s->period));
        conc_timer_release(before);
    }
    conc__lock_give(&s->lock);
    if (stalled) conc__report(CONC_BUSY, 0, NULL, "%s, and has not suspended for %g s", text, period); /* (`s` may be gone) */
    return 0;
}

conc__stall *conc__stall_new(conc_loop *loop, double seconds) {
    conc__stall *s = (conc__stall *)conc__alloc(1, sizeof *s, "who looks after a loop");
    bool started;
    if (s == NULL) return NULL;
    s->loop = loop;
    s->period = seconds;
    s->told = (size_t)-1;
    conc__lock_take(&s->lock);
    s->timer = conc_timer_start(conc__stall_look, s, conc_after(seconds));
    started = s->timer != NULL;
    conc__lock_give(&s->lock);
    if (started) return s;
    conc__free(s);
    return NULL;
}

void conc__stall_free(conc__stall *s) {
    conc_timer *timer;
    conc__lock_take(&s->lock);
    s->over = true;
    timer = s->timer;
    conc__lock_give(&s->lock);
    if (timer != NULL) {
        if (conc_timer_cancel(timer) != CONC_OK) {
            conc_op ended = conc_op_timer(timer);
            (void)conc__wait_uncanceled(&ended, CONC_FOREVER); /* it runs, and is short */
        }
        conc_timer_release(timer);
    }
    conc__free(s);
}
