/* ============================================================================================
 * pool_group: groups of tasks; see parallel.h.
 *
 * A task that a member of the pool starts is a job, in its deque (job.c). One that comes from outside stands in the
 * group's own list, and a ticket for it in the pool's queue: whoever gets a ticket takes the first of the list. So
 * those who wait may take tasks out of the list at any time, wherever the tickets are; and a task that finds no place
 * in the queue has no ticket (it is *kept*), and is run by who waits.
 * ========================================================================================== */

#include "internal.h"

typedef struct conc__mate { /* one task of a team */
    conc_job job;           /* first: how it is known when it has been forked */
    struct conc__team *team;
    struct conc__mate *next;
    conc_fn fn;
    void *arg;
} conc__mate;

/* The tags of those who wait for it. */
enum { CONC__WAITS, CONC__WAITS_HELPING };

typedef struct conc__team {
    conc_pool *pool;
    uint32_t users;      /* atomic: the group, and each of its tickets in the pool's queue */
    uint32_t pending;    /* atomic: its tasks that have not ended. Waited for under this address; the last one's end
                            publishes what all did */
    uint32_t closed;     /* atomic: 1: it has failed; 2: it was canceled */
    uint32_t code;       /* atomic: the first root error; 0: none */
    uint32_t told;       /* atomic: a wait has told how it ended; what is started next begins anew */
    conc_cancel token;
    conc__lock lock;     /* guards the next four */
    conc__mate *first, **end; /* those handed in from outside that have not begun */
    uint32_t outside;         /* how many those are. Read without the lock, too, by who waits and may run them */
    uint32_t kept;            /* so many of them, or fewer, have no ticket. Read without the lock, too, by who waits */
} conc__team;

static void conc__team_unuse(conc__team *team) {
    if (conc__sub32(&team->users, 1, CONC__ACQ_REL) == 1) conc__free(team);
}

/* After the last one's `pending` the team's memory may be gone: only its address is used. */
static void conc__mate_ended(conc__team *team) {
    if (conc__sub32(&team->pending, 1, CONC__ACQ_REL) == 1) (void)conc__wake_waiters(&team->pending, CONC__ANY_TAG, CONC_ALL);
}

static void conc__team_close(conc__team *team, bool canceled) {
    uint32_t open = 0;
    if (conc__cas32(&team->closed, &open, canceled ? 2 : 1, CONC__ACQ_REL)) (void)conc_cancel_fire(&team->token);
}

static void conc__mate_run(conc__mate *m) {
    conc__team *team = m->team;
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel;
    conc__running running;
    if (!conc_cancel_fired(&team->token)) {
        int code;
        conc__running_begin(me, &running, team, NULL);
        me->cancel = &team->token;
        code = m->fn(m->arg);
        me->cancel = before;
        conc__running_end(me, &running);
        if (code != 0 && !conc_cancel_fired(&team->token)) {
            uint32_t none = 0;
            (void)conc__cas32(&team->code, &none, (uint32_t)code, CONC__RELAXED);
            conc__team_close(team, false);
        }
    }
    conc__free(m);
    conc__mate_ended(team);
}

static int conc__mate_job(void *arg) {
    conc__mate_run((conc__mate *)arg);
    return 0;
}

/* One that was handed in from outside; `kept`: if any has no ticket. */
static bool conc__team_run_one(conc__team *team, bool kept) {
    conc__mate *m;
    uint32_t without;
    conc__lock_take(&team->lock);
    without = conc__load32(&team->kept, CONC__RELAXED);
    m = !kept || without != 0 ? team->first : NULL;
    if (m != NULL) {
        if (kept) without--;
        conc__store32(&team->outside, conc__load32(&team->outside, CONC__RELAXED) - 1, CONC__RELAXED);
        team->first = m->next;
        if (team->first == NULL) team->end = &team->first;
    }
    conc__store32(&team->kept, team->first != NULL ? without : 0, CONC__RELAXED);
    conc__lock_give(&team->lock);
    if (m != NULL) conc__mate_run(m);
    return m != NULL;
}

/* The ticket in the queue: for any one task of the team, or none, if it was faster otherwise. */
int conc__team_task(void *arg) {
    conc__team *team = (conc__team *)arg;
    (void)conc__team_run_one(team, false);
    conc__team_unuse(team);
    return 0;
}

/* One of its tasks has no ticket any more. */
static void conc__team_keep(conc__team *team) {
    conc__lock_take(&team->lock);
    conc__store32(&team->kept, conc__load32(&team->kept, CONC__RELAXED) + 1, CONC__RELAXED);
    conc__lock_give(&team->lock);
    (void)conc__wake_waiters(&team->pending, CONC__ANY_TAG, CONC_ALL); /* for those who wait already */
    conc__team_unuse(team);
}

/* The ticket is discarded: its task is kept for the wait; or the pool has been closed at once, and the group is
 * canceled. */
void conc__team_drop(void *arg) {
    conc__team *team = (conc__team *)arg;
    if (conc__pool_is_stopped(team->pool)) {
        conc__team_close(team, true);
        (void)conc__team_run_one(team, false); /* does not run any more, but ends */
        conc__team_unuse(team);
    } else {
        conc__team_keep(team);
    }
}

conc_result conc_pool_group_begin(conc_pool_group *g, conc_pool *pool) {
    conc__team *team;
    if (g == NULL || pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_group_begin: no %s", g == NULL ? "group" : "pool");
    g->conc__pool = pool;
    g->conc__team = NULL;
    if (conc__pool_is_forked(pool)) return conc__fail(CONC_FORKED, "conc_pool_group_begin: the pool's threads are in the process that forked");
    team = (conc__team *)conc__alloc(1, sizeof *team, "a group of tasks");
    if (team == NULL) return CONC_NO_MEMORY;
    team->pool = pool;
    team->users = 1;
    team->end = &team->first;
    team->token.parent = conc_cancel_current() != NULL ? conc_cancel_current() : &pool->token;
    g->conc__team = team;
    return CONC_OK;
}

static conc__team *conc__team_of(const conc_pool_group *g, const char *call) {
    conc__team *team = g != NULL ? g->conc__team : NULL;
    if (team == NULL) {
        (void)conc__fail(CONC_INVALID, "%s: no group: it was not begun, or it has been ended", call);
    } else if (conc__pool_is_forked(team->pool)) {
        (void)conc__fail(CONC_FORKED, "%s: the pool's threads are in the process that forked", call);
        team = NULL;
    }
    return team;
}

/* Nothing of it is left, and its result has been told: what was canceled may be used again. */
static void conc__team_anew(conc__team *team) {
    conc__lock_take(&team->lock);
    if (conc__load32(&team->told, CONC__RELAXED) != 0) {
        conc__store32(&team->closed, 0, CONC__RELAXED);
        conc__store32(&team->code, 0, CONC__RELAXED);
        conc__store32(&team->token.conc__state, 0, CONC__RELAXED);
        conc__store32(&team->told, 0, CONC__RELEASE);
    }
    conc__lock_give(&team->lock);
}

conc_result conc_pool_group_run(conc_pool_group *g, conc_fn fn, void *arg) {
    conc__team *team = conc__team_of(g, "conc_pool_group_run");
    conc__worker *w = conc__self()->worker;
    conc__mate *m;
    conc_result r = CONC_OK;
    if (team == NULL) return conc_error_result();
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_group_run: no function");
    if (conc__load32(&team->told, CONC__ACQUIRE) != 0) conc__team_anew(team);
    if (conc_cancel_fired(&team->token)) return CONC_CANCELED;
    if ((w == NULL || w->pool != team->pool) && conc__pool_is_closed(team->pool)) {
        return conc__fail(CONC_CLOSED, "the pool \"%s\" is closed", team->pool->name);
    }
    m = (conc__mate *)conc__alloc(1, sizeof *m, "a task of a group");
    if (m == NULL) return CONC_NO_MEMORY;
    m->team = team;
    m->fn = fn;
    m->arg = arg;
    (void)conc__add32(&team->pending, 1, CONC__RELAXED);
    if (w != NULL && w->pool == team->pool) {
        m->job.conc__fn = conc__mate_job;
        m->job.conc__arg = m;
        if (!conc__jobs_add_loose(w, &m->job)) conc__mate_run(m);
    } else {
        conc__item ticket;
        conc__lock_take(&team->lock);
        m->next = NULL;
        *team->end = m;
        team->end = &m->next;
        conc__store32(&team->outside, conc__load32(&team->outside, CONC__RELAXED) + 1, CONC__RELAXED);
        conc__lock_give(&team->lock);
        ticket.fn = conc__team_task;
        ticket.arg = team;
        (void)conc__add32(&team->users, 1, CONC__RELAXED);
        r = conc__pool_place(team->pool, &ticket, 0);
        if (r == CONC_OK) {
            /* For those who wait already, and may run it: who has that ticket may be long in coming. (Only the
             * address is used.) */
            (void)conc__wake_waiters(&team->pending, CONC__WAITS_HELPING, 1);
        } else {
            conc__team_keep(team);
        }
        r = CONC_OK;
    }
    CONC__OPAQUE();
    return r;
}

/* Until it is over, or there is something that only who waits can do; or, if he helps (word), anything. */
static bool conc__team_must_wait(const conc_op *op) {
    conc__team *team = (conc__team *)op->object;
    return conc__load32(&team->pending, CONC__ACQUIRE) != 0 && conc__load32(&team->kept, CONC__RELAXED) == 0 &&
           (op->word != CONC__WAITS_HELPING || conc__load32(&team->outside, CONC__RELAXED) == 0);
}

static conc_result conc__team_attempt(conc_op *op) {
    return conc__team_must_wait(op) ? CONC_PENDING : CONC_OK;
}

static bool conc__team_arm(conc_op *op, conc_node *node) {
    conc__team *team = (conc__team *)op->object;
    conc__bucket *b = conc__bucket_lock(&team->pending);
    bool wait = conc__team_must_wait(op); /* what changes that comes after this, and looks in the table */
    if (wait) conc__bucket_push(b, &team->pending, node, (unsigned)op->word);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__team_op = {"group", CONC_BUSY, conc__team_attempt, conc__team_arm, NULL, NULL};

/* Who waits. `kept`: it runs only what has no ticket. `below`: it takes part in the pool, but is in another one at
 * the moment. */
typedef struct conc__team_waiter {
    conc__team *team;
    bool kept, below;
    conc_deadline deadline;
    conc_result result;
} conc__team_waiter;

static void conc__team_sleep(conc__team_waiter *waiter) {
    conc_op op = conc_op_make(&conc__team_op, waiter->team, NULL);
    op.word = waiter->kept ? CONC__WAITS : CONC__WAITS_HELPING;
    waiter->result = conc__await(&op, waiter->team, waiter->deadline);
}

/* Runs what was handed in from outside and has not begun, and what that starts. */
static int conc__team_work(void *arg) {
    conc__team_waiter *waiter = (conc__team_waiter *)arg;
    conc__team *team = waiter->team;
    conc__worker *w = conc__self()->worker;
    while (conc__team_run_one(team, waiter->kept)) {
    }
    if (w == NULL || w->pool != team->pool) return 0;
    while (conc__load32(&team->pending, CONC__ACQUIRE) != 0 && conc__jobs_run_own(w)) {
    }
    if (waiter->below) conc__team_sleep(waiter); /* what its deque below holds only a member of this pool takes */
    return 0;
}

static conc_result conc__team_wait(conc__team *team, conc_deadline deadline) {
    conc__worker *w = conc__self()->worker;
    bool member = conc__pool_is_member(team->pool);
    conc__team_waiter waiter;
    waiter.team = team;
    waiter.kept = !team->pool->desc.waiters_help && !member;
    waiter.below = member && (w == NULL || w->pool != team->pool);
    waiter.deadline = deadline;
    waiter.result = CONC_OK;
    while (waiter.result == CONC_OK && conc__load32(&team->pending, CONC__ACQUIRE) != 0) {
        if (deadline.ns == INT64_MIN) return conc__fail(CONC_BUSY, "a group has tasks that have not ended");
        /* As a member of the pool, so that what is started meanwhile are jobs; if that cannot be, as it is. */
        if (conc_pool_call(team->pool, conc__team_work, &waiter, NULL) != CONC_OK) {
            waiter.below = false;
            (void)conc__team_work(&waiter);
        }
        if (!waiter.below) conc__team_sleep(&waiter);
    }
    return waiter.result;
}

static conc_result conc__team_result(conc__team *team) {
    uint32_t closed = conc__load32(&team->closed, CONC__ACQUIRE);
    int code = (int)conc__load32(&team->code, CONC__ACQUIRE);
    if (code != 0) return conc__fail(CONC_FAILED, "a task of the group returned %d", code);
    return closed != 0 || conc_cancel_fired(&team->token) ? CONC_CANCELED : CONC_OK;
}

conc_result conc_pool_group_wait(conc_pool_group *g, conc_deadline deadline) {
    conc__team *team = conc__team_of(g, "conc_pool_group_wait");
    conc_result r;
    if (team == NULL) return conc_error_result();
    r = conc__team_wait(team, deadline);
    if (r != CONC_OK) return r;
    r = conc__team_result(team);
    conc__store32(&team->told, 1, CONC__RELEASE);
    return r;
}

int conc_pool_group_code(const conc_pool_group *g) {
    const conc__team *team = conc__team_of(g, "conc_pool_group_code");
    int code = team != NULL ? (int)conc__load32(&team->code, CONC__ACQUIRE) : 0;
    CONC__OPAQUE();
    return code;
}

conc_result conc_pool_group_cancel(conc_pool_group *g) {
    conc__team *team = conc__team_of(g, "conc_pool_group_cancel");
    if (team == NULL) return conc_error_result();
    conc__team_close(team, true);
    return CONC_OK;
}

conc_result conc_pool_group_end(conc_pool_group *g) {
    conc__team *team = conc__team_of(g, "conc_pool_group_end");
    conc_result r;
    if (team == NULL) return conc_error_result();
    r = conc__team_wait(team, CONC_FOREVER);
    while (r != CONC_OK) { /* the caller is canceled, or would wait for itself: all of it is, and then the end comes */
        conc_cancel *token;
        conc__team_close(team, true);
        token = conc_cancel_use(NULL);
        r = conc__team_wait(team, CONC_FOREVER);
        (void)conc_cancel_use(token);
        if (r == CONC_DEADLOCK) break;
    }
    if (r == CONC_OK) {
        r = conc__team_result(team);
        g->conc__team = NULL;
        conc__team_unuse(team);
    }
    return r;
}
