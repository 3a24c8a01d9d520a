/* ============================================================================================
 * job: fork and join; see parallel.h.
 *
 * THE DEQUE. Each member of a pool keeps its jobs in an array: [0, tail) have been taken by others, [tail, split) are
 * open to others, [split, head) are its own alone. The owner forks and joins at the head, with plain loads and stores
 * as long as it is above the split; others take at the tail. Tail and split are the halves of one word, `open`, which
 * changes by compare-and-swap: of a taker (tail + 1) and of the owner, who moves the split up when others ask for
 * more, or down when its own part is empty. So each open job is got by one, without a fence and without a race
 * between the two ends. A word that has come back to an earlier value (the owner resets an empty deque) does no harm:
 * what is taken is read from the array *after* the compare-and-swap, and is what is open there then; the owner does
 * not use the place again before the taker has read it: takers count what they have read in `fetched`, and the deque
 * is reset only when that is all of them. (T. van Dijk, J. C. van de Pol, Lace, 2014; there the split is written
 * without the tail, and wants a fence.)
 *
 * WHO OPENS WHAT. The first job of an empty deque is opened at once, and `forking` is raised, sequentially
 * consistent, before the sleepers are read: so a member that is about to sleep sees it, or is woken. Later ones stay
 * private until somebody asks (`asked`, read at each fork and join): who finds nothing to take, who takes the last
 * that is open; and, for itself, the owner as long as any member has nothing to do. That is a hint: if it is
 * overlooked for a moment, jobs stay where they are until the next fork or join; nobody waits for them but their own
 * forker.
 *
 * HOW MANY. A member may take jobs as long as fewer than there are processors work on jobs (`hands`): one more would
 * but take turns with the others, and, when it is interrupted, have them wait for its piece at the end of a loop.
 * Tasks of groups are exempt: they may wait for each other. Whoever stops working, or falls asleep over a join,
 * lowers `hands`, and then has one come if there are jobs.
 *
 * A join whose job has been taken runs other jobs until that is done. It never takes a task from the pool's queue,
 * which might last for ever.
 * ========================================================================================== */

#include "internal.h"

/* The states of a job. */
enum { CONC__JOB_FORKED, CONC__JOB_AWAITED, CONC__JOB_OVER };

#define conc__open_tail(open) ((open)&0xffffu)
#define conc__open_split(open) ((open) >> 16)
#define conc__open_of(tail, split) ((tail) | (split) << 16)

/* ---- a job's end ---------------------------------------------------------------------------------- */

/* Runs it where it is not just joined. A loose one belongs to its function, and is gone with it; and after the swap
 * any other's memory may be gone: only its address is used. */
static void conc__job_run(conc_job *job) {
    if (job->conc__loose) {
        (void)job->conc__fn(job->conc__arg);
    } else {
        job->conc__code = job->conc__fn(job->conc__arg);
        if (conc__swap32(&job->conc__state, CONC__JOB_OVER, CONC__ACQ_REL) == CONC__JOB_AWAITED) {
            (void)conc__wake_waiters(job, CONC__ANY_TAG, CONC_ALL);
        }
    }
}

/* One that another member has forked, or this one in another task: under its own token. */
static void conc__job_run_taken(conc_job *job) {
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel;
    conc__running running;
    conc__running_begin(me, &running, job, NULL);
    running.up = (const conc__running *)job->conc__up;
    me->cancel = job->conc__cancel;
    conc__job_run(job);
    me->cancel = before;
    conc__running_end(me, &running);
}

static conc_result conc__job_attempt(conc_op *op) {
    return conc__load32(&((conc_job *)op->object)->conc__state, CONC__ACQUIRE) == CONC__JOB_OVER ? CONC_OK : CONC_PENDING;
}

static bool conc__job_arm(conc_op *op, conc_node *node) {
    conc_job *job = (conc_job *)op->object;
    conc__bucket *b = conc__bucket_lock(job);
    uint32_t state = CONC__JOB_FORKED;
    /* Against the swap of its end: that finds AWAITED, and looks in the table; or this finds it ended. */
    bool wait = conc__cas32(&job->conc__state, &state, CONC__JOB_AWAITED, CONC__ACQ_REL) || state == CONC__JOB_AWAITED;
    if (wait) conc__bucket_push(b, job, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__job_op = {"join", CONC_BUSY, conc__job_attempt, conc__job_arm, NULL, NULL};

/* ---- the owner's end of the deque --------------------------------------------------------------------- */

/* Opens what is private, all of it if some have nothing to do at all, else half; and has somebody come for it. */
static CONC__NOINLINE void conc__jobs_open(conc__worker *w) {
    uint32_t open = conc__load32(&w->open, CONC__RELAXED);
    bool hungry;
    if (w->head == w->split) return; /* there is none now: `asked` stays for the next */
    hungry = conc__pool_is_hungry(w->pool);
    conc__store32(&w->asked, 0, CONC__RELAXED);
    w->split += hungry ? w->head - w->split : (w->head - w->split + 1) / 2;
    /* Release: publishes the jobs, and the array's entries. */
    while (!conc__cas32(&w->open, &open, conc__open_of(conc__open_tail(open), w->split), CONC__SEQ_CST)) {
    }
    if (!w->forks) {
        w->forks = true;
        if (!w->works && !w->guest) {
            w->works = true;
            (void)conc__add32(&w->pool->hands, 1, CONC__SEQ_CST);
        }
        (void)conc__add32(&w->pool->forking, 1, CONC__SEQ_CST);
    }
    conc__pool_rouse_for_jobs(w->pool);
    /* Then the next ones are wanted, too: the owner may be busy for long with one of them. */
    if (hungry || conc__pool_is_hungry(w->pool)) conc__store32(&w->asked, 1, CONC__RELAXED);
}

/* A task of a group is marked in the array by the lowest bit of its address: so one that was forked and never joined,
 * whose memory may be gone, can be told from it. */
#define CONC__LOOSE 1u

static conc_job *conc__job_of(void *entry) {
    return (conc_job *)((uintptr_t)entry & ~(uintptr_t)CONC__LOOSE);
}

/* The array's entry of the newest of the member's own jobs; NULL: there is none, and the deque begins anew. */
static void *conc__jobs_take_entry(conc__worker *w) {
    uint32_t open, tail, split;
    if (w->head == w->split) {
        open = conc__load32(&w->open, CONC__RELAXED);
        for (;;) {
            tail = conc__open_tail(open);
            split = conc__open_split(open);
            if (tail >= split) break;
            /* Half of what is open becomes private again. Acquire is not needed: it was all written here. */
            split = tail + (split - tail) / 2;
            if (conc__cas32(&w->open, &open, conc__open_of(tail, split), CONC__ACQ_REL)) {
                w->split = split;
                break;
            }
        }
    }
    if (w->head == w->split) {
        if (w->head != 0 && conc__load32(&w->fetched, CONC__ACQUIRE) == w->head) {
            w->head = w->split = 0;
            conc__store32(&w->fetched, 0, CONC__RELAXED);
            conc__store32(&w->open, 0, CONC__RELEASE); /* nobody takes from an empty one: no change is lost */
        }
        w->first = w->head; /* not 0: one that was taken has not been read yet, and its place must stay as it is */
        if (w->forks) {
            w->forks = false;
            (void)conc__sub32(&w->pool->forking, 1, CONC__SEQ_CST);
        }
        if (w->mates) {
            w->mates = false;
            (void)conc__sub32(&w->pool->loose, 1, CONC__SEQ_CST);
        }
        return NULL;
    }
    w->head--;
    return conc__loadp(&w->jobs[w->head], CONC__RELAXED);
}

static conc_job *conc__jobs_take(conc__worker *w) {
    return conc__job_of(conc__jobs_take_entry(w));
}

void conc__jobs_finish(conc__worker *w) {
    void *entry;
    unsigned lost = 0;
    while ((entry = conc__jobs_take_entry(w)) != NULL) {
        if (((uintptr_t)entry & CONC__LOOSE) != 0) {
            conc__job_run_taken(conc__job_of(entry));
        } else {
            lost++; /* and not looked into: it stood on its forker's stack, perhaps */
        }
    }
    if (lost != 0) conc__report(CONC_INVALID, 0, NULL, "%u job%s forked, and neither joined nor run", lost, lost == 1 ? " was" : "s were");
}

/* Puts a job in; false: there is no room, or no deque. */
static CONC__ALWAYS_INLINE bool conc__jobs_push(conc__worker *w, conc_job *job, uintptr_t mark) {
    uint32_t head;
    if (CONC__UNLIKELY(w == NULL)) return false;
    head = w->head;
    if (CONC__UNLIKELY(head == CONC__JOBS)) return false;
    conc__storep(&w->jobs[head], (void *)((uintptr_t)job | mark), CONC__RELAXED);
    w->head = head + 1;
    if (CONC__UNLIKELY(head == w->first || conc__load32(&w->asked, CONC__RELAXED) != 0)) conc__jobs_open(w);
    return true;
}

bool conc__jobs_add_loose(conc__worker *w, conc_job *job) {
    job->conc__loose = true;
    if (!w->mates) {
        w->mates = true;
        (void)conc__add32(&w->pool->loose, 1, CONC__SEQ_CST);
    }
    if (!conc__jobs_push(w, job, CONC__LOOSE)) return false;
    if (w->head != w->split) conc__jobs_open(w); /* others may be waiting for what it does */
    return true;
}

bool conc__jobs_run_own(conc__worker *w) {
    conc_job *own = conc__jobs_take(w);
    if (own != NULL) conc__job_run_taken(own);
    return own != NULL;
}

/* ---- the others' end ------------------------------------------------------------------------------------- */

static void conc__jobs_ask(conc__worker *victim) {
    if (conc__load32(&victim->asked, CONC__RELAXED) == 0) conc__store32(&victim->asked, 1, CONC__RELAXED);
}

static conc_job *conc__steal_from(conc__worker *victim) {
    uint32_t open = conc__load32(&victim->open, CONC__ACQUIRE);
    while (conc__open_tail(open) < conc__open_split(open)) {
        uint32_t tail = conc__open_tail(open), split = conc__open_split(open);
        if (conc__cas32(&victim->open, &open, conc__open_of(tail + 1, split), CONC__ACQ_REL)) {
            conc_job *job = conc__job_of(conc__loadp(&victim->jobs[tail], CONC__RELAXED));
            (void)conc__add32(&victim->fetched, 1, CONC__RELEASE); /* the place may be used anew */
            if (tail + 1 == split) {
                conc__jobs_ask(victim);
            } else {
                conc__pool_rouse_for_jobs(victim->pool); /* there is more */
            }
            return job;
        }
    }
    conc__jobs_ask(victim);
    return NULL;
}

bool conc__steal_and_run(conc__worker *w) {
    conc__worker *first = (conc__worker *)conc__loadp(&w->pool->workers, CONC__ACQUIRE), *victim;
    conc_job *job = NULL;
    /* Beginning behind itself, so that not all ask the same one. */
    for (victim = w->next; job == NULL && victim != NULL; victim = victim->next) job = conc__steal_from(victim);
    for (victim = first; job == NULL && victim != w; victim = victim->next) job = conc__steal_from(victim);
    if (job == NULL) return false;
    /* Who has opened others meanwhile may have counted on this member; the first look is for the usual case. */
    if (conc__load32(&w->pool->forking, CONC__SEQ_CST) > 1 && conc__jobs_are_open(w->pool)) conc__pool_rouse_for_jobs(w->pool);
    conc__job_run_taken(job);
    return true;
}

/* Whether somebody's jobs can be taken; `w`'s own are not counted, and if there is a `w`, others are asked for some.
 * Sequentially consistent, against conc__jobs_open(): see the top. */
static bool conc__jobs_look(conc_pool *pool, const conc__worker *w) {
    conc__worker *victim = (conc__worker *)conc__loadp(&pool->workers, CONC__ACQUIRE);
    bool some = false;
    for (; victim != NULL && !some; victim = victim->next) {
        uint32_t open = conc__load32(&victim->open, CONC__SEQ_CST);
        if (victim == w) continue;
        some = conc__open_tail(open) < conc__open_split(open);
        if (!some && w != NULL) conc__jobs_ask(victim);
    }
    return some;
}

bool conc__jobs_wanted(conc__worker *w) {
    return conc__jobs_look(w->pool, w);
}

bool conc__jobs_are_open(conc_pool *pool) {
    return conc__jobs_look(pool, NULL);
}

/* ---- waiting ------------------------------------------------------------------------------------------------ */

/* A member waits: it runs jobs, its own first, and tasks that are due; when there are none, it sleeps in the list of
 * helpers, until the op completes or somebody has work. Its wakes: the op's own; and whoever takes it out of the list
 * gives the permit of `wake`. Between the entering of the list and the sleep it looks once more (see the top of
 * pool.c). */
static conc_result conc__await_member(conc__worker *w, conc_op *op, const void *awaits, conc_deadline deadline) {
    conc__agent *me = conc__self();
    bool woken = false; /* it has come for jobs, or for what is due */
    bool ran = false;   /* something: how long it took nobody knows */
    for (;;) {
        conc_op ops[2];
        conc__blocked blocked;
        unsigned step;
        bool busy = false;
        int which;
        conc_result r = op->cls->attempt(op);
        if (r != CONC_PENDING) {
            if (woken) conc__pool_pass_on(w->pool);
            return r;
        }
        if (deadline.ns == INT64_MIN) return conc__op_busy(op);
        if (ran && (conc_deadline_passed(deadline) || conc__is_canceled())) {
            conc__pool_pass_on(w->pool);
            return conc__is_canceled() ? CONC_CANCELED : CONC_TIMEOUT;
        }
        if (conc__jobs_run_own(w)) { /* what is awaited may depend on it */
            ran = true;
            continue;
        }
        for (step = 0; !busy && conc__spin(step, CONC__SPIN_LONG); step++) {
            r = op->cls->attempt(op);
            if (r != CONC_PENDING) break;
            busy = (conc__load32(&w->pool->forking, CONC__RELAXED) != 0 && conc__steal_and_run(w)) || conc__due_run(w->pool);
        }
        ran = ran || busy;
        if (busy) continue;
        if (r != CONC_PENDING) {
            if (woken) conc__pool_pass_on(w->pool);
            return r;
        }
        conc__pool_helper_in(w);
        if ((conc__load32(&w->pool->forking, CONC__SEQ_CST) != 0 && conc__jobs_wanted(w)) ||
            conc__load32(&w->pool->due, CONC__SEQ_CST) != 0) {
            conc__pool_helper_out(w, false);
            ran = conc__steal_and_run(w) || conc__due_run(w->pool) || ran;
            continue;
        }
        if (!conc__blocked_enter(&blocked, me->running, awaits, deadline.ns == INT64_MAX)) {
            conc__pool_helper_out(w, false);
            conc__pool_pass_on(w->pool); /* it may have been woken for jobs just now */
            return conc__fail(CONC_DEADLOCK, "what is waited for waits, in the end, for the waiting task itself");
        }
        ops[0] = *op;
        ops[1] = conc_op_acquire(&w->wake);
        which = conc_select(ops, 2, deadline);
        conc__blocked_leave(&blocked);
        conc__pool_helper_out(w, which == 1);
        woken = which == 1;
        if (!woken) {
            conc__pool_pass_on(w->pool); /* not this one */
            return which == 0 ? ops[0].result : (conc_result)which;
        }
    }
}

conc_result conc__await(conc_op *op, const void *awaits, conc_deadline deadline) {
    conc__agent *me = conc__self();
    conc__worker *w = me->worker;
    conc__blocked blocked;
    conc_result r;
    if (w != NULL && conc__pool_is_forked(w->pool)) w = NULL;
    if (w != NULL) return conc__await_member(w, op, awaits, deadline);
    if (me->running == NULL || deadline.ns == INT64_MIN) return conc__wait_op(op, deadline);
    r = op->cls->attempt(op);
    if (r != CONC_PENDING) return r;
    if (!conc__blocked_enter(&blocked, me->running, awaits, deadline.ns == INT64_MAX)) {
        return conc__fail(CONC_DEADLOCK, "what is waited for waits, in the end, for the waiting task itself");
    }
    r = conc__wait_op(op, deadline);
    conc__blocked_leave(&blocked);
    return r;
}

/* ---- fork and join -------------------------------------------------------------------------------------------- */

conc_result conc_pool_call(conc_pool *pool, conc_fn fn, void *arg, int *code) {
    conc__agent *me = conc__self();
    conc__worker *w = me->worker, *before = w;
    conc__running running;
    conc_result r = CONC_OK;
    int returned;
    if (pool == NULL || fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_call: no %s", pool == NULL ? "pool" : "function");
    if (conc__pool_is_forked(pool)) return conc__fail(CONC_FORKED, "conc_pool_call: the pool's threads are in the process that forked");
    if (w == NULL || w->pool != pool) {
        w = conc__pool_enter(pool, &r);
        if (w == NULL) return r;
        me->worker = w;
        conc__running_begin(me, &running, NULL, pool);
    }
    returned = fn(arg);
    if (w != before) {
        conc__jobs_finish(w);
        conc__running_end(me, &running);
        me->worker = before;
        conc__pool_leave(w);
    }
    if (code != NULL) {
        *code = returned;
    } else if (returned != 0) {
        conc__report(CONC_FAILED, returned, NULL, "what conc_pool_call() called returned %d, and nobody looked at it", returned);
    }
    return CONC_OK;
}

void conc_job_fork(conc_job *job, conc_fn fn, void *arg) {
    conc__agent *me = conc__self_fast();
    job->conc__fn = fn;
    job->conc__arg = arg;
    job->conc__up = me->running;
    job->conc__cancel = me->cancel;
    job->conc__loose = false;
    conc__store32(&job->conc__state, CONC__JOB_FORKED, CONC__RELAXED);
    if (CONC__UNLIKELY(!conc__jobs_push(me->worker, job, 0))) {
        job->conc__code = fn(arg);
        conc__store32(&job->conc__state, CONC__JOB_OVER, CONC__RELAXED); /* the caller's own, as before */
    }
}

static CONC__NOINLINE int conc__join_slowly(conc_job *job) {
    conc__worker *w = conc__self()->worker;
    conc_op op;
    conc_cancel *token;
    while (conc__load32(&job->conc__state, CONC__ACQUIRE) != CONC__JOB_OVER) {
        conc_job *own = w != NULL ? conc__jobs_take(w) : NULL;
        if (own == job) return job->conc__fn(job->conc__arg);
        if (own != NULL) {
            conc__job_run_taken(own); /* forked later, and not joined yet */
            continue;
        }
        token = conc_cancel_use(NULL);
        op = conc_op_make(&conc__job_op, job, NULL);
        (void)conc__await(&op, job, CONC_FOREVER);
        (void)conc_cancel_use(token);
    }
    return job->conc__code;
}

int conc_job_join(conc_job *job) {
    conc__worker *w = conc__self_fast()->worker;
    if (CONC__LIKELY(w != NULL)) {
        uint32_t head = w->head;
        if (CONC__LIKELY(head > w->split && (conc_job *)conc__loadp(&w->jobs[head - 1], CONC__RELAXED) == job)) {
            w->head = head - 1;
            if (CONC__UNLIKELY(conc__load32(&w->asked, CONC__RELAXED) != 0)) conc__jobs_open(w);
            return job->conc__fn(job->conc__arg);
        }
    }
    return conc__join_slowly(job);
}
