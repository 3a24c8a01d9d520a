/* ============================================================================================
 * offload: runs blocking calls in threads of its own; see loop.h. One list of jobs and as many daemon threads as there are
 * calls under way, up to a bound; each ends when it has had nothing to do for a while.
 * ========================================================================================== */

#include "internal.h"

#define CONC__OFFLOAD_THREADS 32
#define CONC__OFFLOAD_IDLE 5.0

enum { CONC__JOB_QUEUED, CONC__JOB_RUNS, CONC__JOB_DONE, CONC__JOB_WITHDRAWN, CONC__JOB_REFUSED };

typedef struct conc__job {
    struct conc__job *next;
    conc_fn fn;
    conc_result (*finish)(void *arg); /* makes the wait's result of what fn left in `arg`; NULL: its code does */
    size_t size;
    conc_pool *pool; /* NULL: it is in the list here */
    int code;
    uint32_t state; /* atomic: DONE publishes the code and the bytes; REFUSED the code, which is a result. Waited for under this address */
    uint32_t users; /* atomic: the wait; and the list or the pool's queue, or the thread that runs it */
} conc__job;
#define CONC__JOB_HEAD ((sizeof(conc__job) + 15u) & ~(size_t)15u) /* the copy of the argument follows */

static conc_mutex conc__offload_lock;         /* guards all below */
static conc_cond conc__offload_more;          /* there is a job; or, in a simulation, it is over */
static conc__job *conc__offload_jobs, **conc__offload_end = &conc__offload_jobs;
static size_t conc__offload_threads, conc__offload_idle, conc__offload_waiting;
static bool conc__offload_over;               /* only ever set in a simulation, at its end, when leaks are counted */

/* In a child of fork() there are no such threads. Jobs that were queued are the parent's. */
static void conc__offload_reset(void) {
    memset(&conc__offload_lock, 0, sizeof conc__offload_lock);
    memset(&conc__offload_more, 0, sizeof conc__offload_more);
    conc__offload_jobs = NULL;
    conc__offload_end = &conc__offload_jobs;
    conc__offload_threads = conc__offload_idle = conc__offload_waiting = 0;
    conc__offload_over = false;
}

void conc__offload_begin(void) {
    conc__on_fork(CONC__RESET_OFFLOAD, conc__offload_reset);
}

static void *conc__job_bytes(conc__job *job) {
    return (char *)job + CONC__JOB_HEAD;
}

static void conc__job_unuse(conc__job *job) {
    if (conc__sub32(&job->users, 1, CONC__ACQ_REL) == 1) conc__free(job);
}

/* The library's own waits here are not the caller's: no token ends them. */
static void conc__offload_take(void) {
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc_mutex_lock(&conc__offload_lock, CONC_FOREVER);
    (void)r; /* it is locked: nobody holds it twice, or across a fork() */
    (void)conc_cancel_use(token);
}

static void conc__offload_give(void) {
    (void)conc_mutex_unlock(&conc__offload_lock);
}

/* The next job; NULL: none has come for so long that the thread may end. */
static conc__job *conc__offload_next(void) {
    conc__job *job;
    conc_deadline patience = conc_after(CONC__OFFLOAD_IDLE);
    conc__offload_take();
    conc__offload_idle++;
    while (conc__offload_jobs == NULL && !conc__offload_over) {
        if (conc_cond_wait(&conc__offload_more, &conc__offload_lock, patience) == CONC_TIMEOUT) break;
    }
    conc__offload_idle--;
    job = conc__offload_jobs;
    if (job != NULL) {
        conc__offload_jobs = job->next;
        if (conc__offload_jobs == NULL) conc__offload_end = &conc__offload_jobs;
        conc__offload_waiting--;
        conc__store32(&job->state, CONC__JOB_RUNS, CONC__RELAXED);
    } else {
        conc__offload_threads--;
    }
    conc__offload_give();
    return job;
}

/* Release. Whoever armed before has its node in the list, whoever arms later reads this. */
static void conc__job_done(conc__job *job, uint32_t state) {
    conc__store32(&job->state, state, CONC__RELEASE);
    (void)conc__wake_waiters(job, CONC__ANY_TAG, CONC_ALL);
    conc__job_unuse(job);
}

static int conc__offload_thread(void *unused) {
    conc__job *job;
    (void)unused;
    while ((job = conc__offload_next()) != NULL) {
        job->code = job->fn(conc__job_bytes(job));
        (void)conc_cancel_use(NULL);
        conc__job_done(job, CONC__JOB_DONE);
    }
    return 0;
}

/* ---- in a thread pool ---- */

int conc__offload_task(void *p) {
    conc__job *job = (conc__job *)p;
    uint32_t state = CONC__JOB_QUEUED;
    if (conc__cas32(&job->state, &state, CONC__JOB_RUNS, CONC__ACQUIRE)) {
        conc_cancel *token = conc_cancel_use(NULL);
        job->code = job->fn(conc__job_bytes(job));
        (void)conc_cancel_use(token);
        conc__job_done(job, CONC__JOB_DONE);
    } else {
        conc__job_unuse(job); /* withdrawn */
    }
    return 0;
}

/* The pool was closed at once, or its policy has discarded it. */
void conc__offload_drop(void *p) {
    conc__job *job = (conc__job *)p;
    uint32_t state = CONC__JOB_QUEUED;
    if (conc__cas32(&job->state, &state, CONC__JOB_RUNS, CONC__ACQUIRE)) {
        job->code = conc__pool_is_closed(job->pool) ? CONC_CLOSED : CONC_REJECTED;
        conc__job_done(job, CONC__JOB_REFUSED);
    } else {
        conc__job_unuse(job);
    }
}

static conc_result conc__offload_to_pool(conc__job *job) {
    conc__item item;
    conc_result r;
    item.fn = conc__offload_task;
    item.arg = job;
    if (conc__pool_is_forked(job->pool)) return conc__fail(CONC_FORKED, "conc_op_offload: the pool's threads are in the process that forked");
    r = conc__pool_place(job->pool, &item, 0);
    return r == CONC_FULL ? conc__fail(CONC_REJECTED, "pool full: \"%s\" has no place for an offloaded call", conc_pool_name(job->pool)) : r;
}

/* Queues the job, and starts a thread for it if none is idle. CONC_OK, or why there is no thread at all. */
static conc_result conc__offload_submit(conc__job *job) {
    conc_result r = CONC_OK;
    bool start, wake;
    conc__offload_take();
    *conc__offload_end = job;
    conc__offload_end = &job->next;
    conc__offload_waiting++;
    wake = conc__offload_idle != 0;
    start = conc__offload_waiting > conc__offload_idle && conc__offload_threads < CONC__OFFLOAD_THREADS;
    if (start) {
        conc_thread_desc desc;
        conc_thread *t;
        memset(&desc, 0, sizeof desc);
        desc.name = "conc-offload";
        desc.daemon = true;
        t = conc_thread_start(conc__offload_thread, NULL, &desc);
        if (t != NULL) {
            conc__offload_threads++;
            (void)conc_thread_detach(t);
        } else if (conc__offload_threads == 0) { /* then it is the only job, too */
            r = conc_error_result();
            conc__offload_jobs = NULL;
            conc__offload_end = &conc__offload_jobs;
            conc__offload_waiting = 0;
        }
    }
    conc__offload_give();
    if (wake && r == CONC_OK) (void)conc_cond_signal(&conc__offload_more);
    return r;
}

/* Out of the list, if it is still there. (Out of a pool's queue it comes in its turn, and finds that it is not to run.) */
static bool conc__offload_withdraw(conc__job *job) {
    conc__job **link = &conc__offload_jobs;
    bool found;
    if (job->pool != NULL) {
        uint32_t state = CONC__JOB_QUEUED;
        (void)conc__cas32(&job->state, &state, CONC__JOB_WITHDRAWN, CONC__RELAXED);
        return false;
    }
    conc__offload_take();
    while (*link != NULL && *link != job) link = &(*link)->next;
    found = *link != NULL;
    if (found) {
        *link = job->next;
        if (*link == NULL) conc__offload_end = link; /* it was the last */
        conc__offload_waiting--;
    }
    conc__offload_give();
    return found;
}

#if defined(CONC_SIM)
void conc__offload_end_all(void) {
    conc__offload_take();
    conc__offload_over = true;
    conc__offload_give();
    (void)conc_cond_broadcast(&conc__offload_more);
}
#endif

/* ---- the op: of one class until its job is on its way, then of another; or of a third, if that failed ------- */

static conc_result conc__offload_pending(conc_op *op) {
    if (op->object == NULL) return conc__fail(CONC_INVALID, "conc_op_offload: no function");
    return CONC_PENDING;
}

static conc_result conc__offload_attempt(conc_op *op) {
    conc__job *job = (conc__job *)op->object;
    conc_result (*finish)(void *arg);
    int code;
    uint32_t state = conc__load32(&job->state, CONC__ACQUIRE);
    if (state == CONC__JOB_REFUSED) {
        code = job->code;
        conc__job_unuse(job);
        return code == CONC_CLOSED ? conc__fail(CONC_CLOSED, "the pool was closed before the offloaded call began")
                                   : conc__fail(CONC_REJECTED, "the pool has discarded the offloaded call for another task");
    }
    if (state != CONC__JOB_DONE) return CONC_PENDING;
    if (job->size != 0) memcpy(op->data, conc__job_bytes(job), job->size);
    code = job->code;
    finish = job->finish;
    conc__job_unuse(job);
    if (finish != NULL) return finish(op->data);
    return code == 0 ? CONC_OK : conc__fail(CONC_FAILED, "the offloaded function returned %d", code);
}

static bool conc__offload_arm(conc_op *op, conc_node *node) {
    conc__bucket *b = conc__bucket_lock(op->object);
    uint32_t state = conc__load32(&((conc__job *)op->object)->state, CONC__ACQUIRE);
    bool wait = state != CONC__JOB_DONE && state != CONC__JOB_REFUSED;
    if (wait) conc__bucket_push(b, op->object, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static void conc__offload_abandon(conc_op *op) {
    conc__job *job = (conc__job *)op->object;
    if (conc__offload_withdraw(job)) conc__job_unuse(job);
    conc__job_unuse(job);
}

static conc_result conc__offload_failed(conc_op *op) {
    return (conc_result)-(int)op->word;
}

static bool conc__offload_arm_in(conc_pool *pool, conc_op *op, conc_node *node, conc_fn fn, size_t size,
                                 conc_result (*finish)(void *arg));

static bool conc__offload_start(conc_op *op, conc_node *node) {
    conc_fn fn;
    memcpy(&fn, &op->object, sizeof fn); /* ISO C has no cast between the two */
    return conc__offload_arm_in((conc_pool *)(uintptr_t)op->node.conc__key, op, node, fn, (size_t)op->word, NULL);
}

static const conc_op_class conc__offload_new = {"offload", CONC_BUSY, conc__offload_pending, conc__offload_start, NULL, NULL};
static const conc_op_class conc__offload_sent = {"offload", CONC_BUSY, conc__offload_attempt, conc__offload_arm,
                                                 NULL, conc__offload_abandon};
static const conc_op_class conc__offload_lost = {"offload", CONC_BUSY, conc__offload_failed, conc__offload_arm, NULL, NULL};

static bool conc__offload_arm_in(conc_pool *pool, conc_op *op, conc_node *node, conc_fn fn, size_t size,
                                 conc_result (*finish)(void *arg)) {
    conc__job *job = size <= SIZE_MAX - CONC__JOB_HEAD ? (conc__job *)conc__alloc(1, CONC__JOB_HEAD + size, "an offloaded call")
                                                       : NULL;
    conc_result r = job != NULL ? CONC_OK : CONC_NO_MEMORY;
    conc__offload_begin();
    if (job != NULL) {
        job->fn = fn;
        job->finish = finish;
        job->size = size;
        job->users = 2;
        if (size != 0) memcpy(conc__job_bytes(job), op->data, size);
        job->pool = pool;
        r = pool != NULL ? conc__offload_to_pool(job) : conc__offload_submit(job);
    }
    if (r != CONC_OK) {
        conc__free(job);
        op->cls = &conc__offload_lost;
        op->word = (uint64_t)-(int)r;
        return false;
    }
    op->object = job;
    op->cls = &conc__offload_sent;
    return conc__offload_arm(op, node);
}

bool conc__offload_arm_new(conc_op *op, conc_node *node, conc_fn fn, size_t size, conc_result (*finish)(void *arg)) {
    return conc__offload_arm_in(NULL, op, node, fn, size, finish);
}

conc_op conc_op_offload_bytes(conc_pool *pool, conc_fn fn, void *arg, size_t size) {
    conc_op op = conc_op_make(&conc__offload_new, NULL, arg);
    memcpy(&op.object, &fn, sizeof op.object);
    op.word = arg != NULL ? size : 0;
    op.node.conc__key = pool; /* free until it is armed, and then another op */
    return op;
}
