/* fork(): the child has one thread and a library that works; what the parent's other threads held says CONC_FORKED, and
 * nothing hangs. */
#if !defined(CONC_TEST_SPLIT)
#include <stdlib.h>
static void *fork_realloc(void *p, size_t size);
#define CONC_MALLOC(size) malloc(size)
#define CONC_REALLOC(p, size) fork_realloc((p), (size))
#define CONC_FREE(p) free(p)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

#if !defined(CONC_TEST_SPLIT)
static conc_event in_realloc, out_of_realloc;
static bool realloc_is_slow;
static void *fork_realloc(void *p, size_t size) { /* in the middle of it, another thread may fork */
    if (realloc_is_slow) {
        (void)conc_event_set(&in_realloc);
        (void)conc_event_wait(&out_of_realloc, CONC_FOREVER);
    }
    return realloc(p, size);
}
#endif

#if defined(_WIN32)

int main(void) {
    return check_skip("fork", "there is no fork() here");
}

#else

#include <sys/wait.h>

#if CHECK_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}
#endif

#if defined(CONC_TEST_COVERAGE)
void __gcov_dump(void);
#endif

/* What a sanitizer does not bear in a child whose parent has other threads: starting threads (the thread sanitizer takes one for
 * that of the parent with the same address), or allocating (the address sanitizer's allocator may have been locked by a
 * thread that was just starting or ending). */
#define CANNOT_START (CHECK_TSAN || CHECK_ASAN)

/* Runs `fn` in a child and checks that it ends well. */
static void in_child(void (*fn)(void *), void *arg) {
    pid_t pid;
    int status = 0;
    fflush(NULL);
    pid = fork();
    if (!CHECK(pid >= 0)) return;
    if (pid == 0) {
        check_failures = 0;
        check_watchdog(); /* alarms are not inherited */
        fn(arg);
        fflush(NULL);
#if defined(CONC_TEST_COVERAGE) /* which _exit() would lose */
        __gcov_dump();
#endif
        _exit(check_failures != 0 ? 1 : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) CHECK_EQ(WTERMSIG(status), 0);
    else CHECK_EQ(WEXITSTATUS(status), 0);
}

/* ---- a queue knows of the fork, though nothing else of the library was used before ---- */

static void put_in_child(void *q) {
    int x = 1;
    CHECK_R(conc_queue_put((conc_queue *)q, &x, CONC_NOW), CONC_FORKED);
    CHECK_R(conc_queue_get((conc_queue *)q, &x, CONC_NOW), CONC_FORKED);
}

static void queue_alone(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 4);
    in_child(put_in_child, q);
    CHECK_EQ(conc_queue_length(q), 0);
    CHECK_OK(conc_queue_free(q));
}

/* ---- everything works in the child ---- */

static int add_one(void *arg) {
    CONC_WITH_LOCK((conc_mutex *)arg) conc_thread_yield();
    return 0;
}

static int set_event(void *arg) {
    return conc_event_set((conc_event *)arg) == CONC_OK ? 0 : 1;
}

static void everything(void *unused) {
    conc_mutex m = { 0 };
    conc_rwlock rw = { 0 };
    conc_event e = { 0 };
    conc_semaphore s = CONC_SEMAPHORE_INIT(1, 0);
    conc_latch l = CONC_LATCH_INIT(1);
    conc_once once = { 0 };
    conc_cond cond = { 0 };
    conc_brlock *br = conc_brlock_new();
    conc_queue *q = conc_queue_new(sizeof(int), 2);
    conc_timer *t;
    crew c = { 0 };
    int x = 5, i;
    (void)unused;
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK_R(conc_cond_wait(&cond, &m, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_rwlock_write(&rw, CONC_FOREVER));
    CHECK_OK(conc_rwlock_unlock(&rw));
    CHECK_OK(conc_brlock_write(br, CONC_FOREVER));
    CHECK_OK(conc_brlock_write_unlock(br));
    CHECK_OK(conc_brlock_free(br));
    CHECK_OK(conc_semaphore_acquire(&s, CONC_FOREVER));
    CHECK_R(conc_semaphore_acquire(&s, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_latch_done(&l));
    CHECK_OK(conc_latch_wait(&l, CONC_FOREVER));
    CHECK_OK(conc_once_do(&once, add_one, &m, CONC_FOREVER));
    CHECK_OK(conc_queue_put(q, &x, CONC_FOREVER));
    CHECK_OK(conc_queue_get(q, &x, CONC_FOREVER));
    CHECK_OK(conc_queue_free(q));
    if (CHECK_TSAN) return; /* it mistakes a thread of the child for one of the parent with the same address */
    for (i = 0; i < 3; i++) crew_add(&c, add_one, &m);
    crew_add(&c, set_event, &e);
    CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
    crew_join(&c);
    CHECK_OK(conc_event_reset(&e));
    t = conc_timer_start(set_event, &e, conc_after(0.0005));
    CHECK(t != NULL);
    CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
    CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    conc_timer_release(t);
    CHECK_OK(conc_thread_join_all(CONC_FOREVER));
}

static void alone(void) {
    in_child(everything, NULL);
}

static void grandchild(void *unused) {
    (void)unused;
    everything(NULL);
    in_child(everything, NULL);
    everything(NULL);
}

static void children_of_children(void) {
    in_child(grandchild, NULL);
}

/* ---- things held by another thread of the parent ---- */

typedef struct held {
    conc_mutex mutex, mine;
    conc_rmutex rmutex;
    conc_rwlock write, read;
    conc_brlock *br_write, *br_read;
    conc_once once;
    conc_event locked, let_go, never;
    conc_semaphore none;
    conc_queue *queue, *handoff, *full;
    conc_thread *holder;
    conc_latch latch;
    conc_barrier barrier;
} held;

static int wait_in_once(void *arg) {
    held *h = (held *)arg;
    CHECK_OK(conc_event_set(&h->locked));
    return conc_event_wait(&h->let_go, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static int hold(void *arg) {
    held *h = (held *)arg;
    CHECK_OK(conc_mutex_lock(&h->mutex, CONC_FOREVER));
    CHECK_OK(conc_rmutex_lock(&h->rmutex, CONC_FOREVER));
    CHECK_OK(conc_rwlock_write(&h->write, CONC_FOREVER));
    CHECK_OK(conc_rwlock_read(&h->read, CONC_FOREVER));
    CHECK_OK(conc_brlock_write(h->br_write, CONC_FOREVER));
    CHECK_OK(conc_brlock_read(h->br_read, CONC_FOREVER));
    CHECK_OK(conc_once_do(&h->once, wait_in_once, h, CONC_FOREVER));
    CHECK_OK(conc_brlock_read_unlock(h->br_read));
    CHECK_OK(conc_brlock_write_unlock(h->br_write));
    CHECK_OK(conc_rwlock_unlock(&h->read));
    CHECK_OK(conc_rwlock_unlock(&h->write));
    CHECK_OK(conc_rmutex_unlock(&h->rmutex));
    CHECK_OK(conc_mutex_unlock(&h->mutex));
    return 0;
}

static int stand_in_line(void *arg) { /* waits, so that the objects are marked as waited for when fork() comes */
    held *h = (held *)arg;
    CHECK_OK(conc_mutex_lock(&h->mutex, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&h->mutex));
    return 0;
}

static int wait_for_never(void *arg) {
    held *h = (held *)arg;
    CHECK_OK(conc_event_wait(&h->never, CONC_FOREVER));
    return 0;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static void drop(void *item, void *arg) {
    (void)item;
    (void)arg;
}

static void child_of_holder(void *arg) {
    held *h = (held *)arg;
    conc_result r;
    int x = 1;
    size_t done = 0;
    /* the mutex of another: not to be had, and told so at once instead of for ever */
    CHECK_MISUSE(conc_mutex_lock(&h->mutex, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_mutex_lock(&h->mutex, conc_after(100)), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_lock(&h->mutex), CONC_FOREVER), CONC_FORKED);
    r = conc_mutex_try_lock(&h->mutex);
    CHECK(r == CONC_BUSY || r == CONC_FORKED);
    CHECK_R(conc_mutex_unlock(&h->mutex), CONC_NOT_OWNER);
    CHECK_R(conc_rmutex_lock(&h->rmutex, CONC_FOREVER), CONC_FORKED);
    CHECK_MISUSE(conc_rwlock_read(&h->write, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_rwlock_write(&h->write, CONC_FOREVER), CONC_FORKED);
    CHECK_MISUSE(conc_brlock_read(h->br_write, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_brlock_write(h->br_write, CONC_FOREVER), CONC_FORKED);
    CHECK_MISUSE(conc_once_do(&h->once, nothing, NULL, CONC_FOREVER), CONC_FORKED);
    /* readers are not recorded in a plain rwlock: a deadline ends it at the latest */
    r = conc_rwlock_write(&h->read, conc_after(0.002));
    CHECK(r == CONC_FORKED || r == CONC_TIMEOUT);
    r = conc_brlock_write(h->br_read, conc_after(0.002));
    CHECK(r == CONC_FORKED || r == CONC_TIMEOUT);
    /* mine is mine still */
    CHECK(conc_mutex_is_mine(&h->mine));
    CHECK_R(conc_mutex_lock(&h->mine, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_OK(conc_mutex_unlock(&h->mine));
    CHECK_OK(conc_mutex_lock(&h->mine, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&h->mine));
    CHECK_OK(conc_mutex_destroy(&h->mine));
    /* queues made before */
    CHECK_MISUSE(conc_queue_put(h->queue, &x, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_put(h->queue, &x, CONC_NOW), CONC_FORKED);
    CHECK_R(conc_queue_get(h->queue, &x, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_get(h->queue, &x, CONC_NOW), CONC_FORKED);
    CHECK_R(conc_queue_get(h->handoff, &x, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_put(h->handoff, &x, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_put(h->full, &x, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_get(h->queue, &x), CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_wait(conc_op_put(h->queue, &x), CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_put_many(h->queue, &x, 1, &done, CONC_FOREVER), CONC_FORKED);
    CHECK_EQ(done, 0);
    CHECK_R(conc_queue_get_many(h->queue, &x, 1, &done, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_join(h->full, CONC_FOREVER), CONC_FORKED);
    CHECK_R(conc_queue_close(h->queue), CONC_FORKED);
    CHECK_R(conc_queue_close_now(h->queue, drop, NULL), CONC_FORKED);
    /* what is not held by anybody works on, and nobody of the parent waits for it here */
    CHECK_R(conc_event_wait(&h->never, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_event_set(&h->never));
    CHECK_OK(conc_event_wait(&h->never, CONC_FOREVER));
    CHECK_OK(conc_event_destroy(&h->never));
    CHECK_R(conc_semaphore_acquire(&h->none, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_semaphore_release(&h->none, 1));
    CHECK_OK(conc_semaphore_acquire(&h->none, CONC_FOREVER));
    CHECK_R(conc_latch_wait(&h->latch, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_OK(conc_latch_done(&h->latch));
    CHECK_OK(conc_latch_wait(&h->latch, CONC_FOREVER));
    /* the threads */
    CHECK_EQ(conc_thread_count(), 1);
    CHECK(conc_thread_main() == conc_thread_current());
    CHECK_MISUSE(conc_thread_join(h->holder, NULL, CONC_FOREVER), CONC_INVALID);
    CHECK_MISUSE(conc_thread_detach(h->holder), CONC_INVALID);
    CHECK_OK(conc_thread_join_all(CONC_FOREVER));
    if (!CHECK_ASAN) everything(NULL);
}

static void held_by_others(void) {
    held h;
    conc_queue_desc desc;
    crew c = { 0 };
    int x = 3, i;
    memset(&h, 0, sizeof h);
    memset(&desc, 0, sizeof desc);
    (void)conc_thread_current();
    h.br_write = conc_brlock_new();
    h.br_read = conc_brlock_new();
    h.queue = conc_queue_new(sizeof(int), 0);
    h.full = conc_queue_new(sizeof(int), 1);
    desc.kind = CONC_HANDOFF;
    h.handoff = conc_queue_new_ex(sizeof(int), 0, &desc);
    CHECK_OK(conc_queue_put(h.full, &x, CONC_FOREVER));
    CHECK_OK(conc_queue_put(h.queue, &x, CONC_FOREVER));
    CHECK_OK(conc_latch_add(&h.latch, 1));
    h.holder = conc_thread_start(hold, &h, NULL);
    CHECK_OK(conc_event_wait(&h.locked, CONC_FOREVER));
    CHECK_OK(conc_mutex_lock(&h.mine, CONC_FOREVER));
    crew_add(&c, stand_in_line, &h);
    crew_add(&c, wait_for_never, &h);
    UNTIL(conc_event_destroy(&h.never) == CONC_BUSY);
    for (i = 0; i < check_rounds_least(10, 2); i++) in_child(child_of_holder, &h);
    /* the parent is as it was */
    CHECK_OK(conc_event_set(&h.let_go));
    CHECK_OK(conc_event_set(&h.never));
    crew_join(&c);
    CHECK_OK(conc_thread_join(h.holder, NULL, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&h.mine));
    CHECK_OK(conc_queue_get(h.queue, &x, CONC_FOREVER));
    CHECK_EQ(x, 3);
    CHECK_OK(conc_mutex_destroy(&h.mutex));
    CHECK_OK(conc_brlock_free(h.br_read));
    CHECK_OK(conc_brlock_free(h.br_write));
    CHECK_OK(conc_queue_free(h.queue));
    CHECK_OK(conc_queue_free(h.full));
    CHECK_OK(conc_queue_free(h.handoff));
}

/* ---- things held by the thread that forks: in the child they are held by a thread that lives ---- */

typedef struct own_locks {
    conc_mutex before, after;
    conc_rmutex rmutex;
    conc_rwlock write, read;
    conc_brlock *br;
} own_locks;

static int ask_for_mine(void *arg) {
    own_locks *h = (own_locks *)arg;
    CHECK_R(conc_mutex_lock(&h->before, conc_after(0.0005)), CONC_TIMEOUT);
    CHECK_R(conc_mutex_lock(&h->after, conc_after(0.0005)), CONC_TIMEOUT);
    CHECK_R(conc_mutex_lock(&h->after, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_try(conc_op_lock(&h->after)), CONC_BUSY);
    CHECK_R(conc_rmutex_lock(&h->rmutex, conc_after(0.0005)), CONC_TIMEOUT);
    CHECK_R(conc_rwlock_read(&h->write, conc_after(0.0005)), CONC_TIMEOUT);
    CHECK_R(conc_rwlock_write(&h->write, conc_after(0.0005)), CONC_TIMEOUT);
    CHECK_R(conc_brlock_write(h->br, conc_after(0.0005)), CONC_TIMEOUT);
    /* the writer that stood in line for this one stands there in the parent: here nobody is before us */
    CHECK_OK(conc_rwlock_read(&h->read, CONC_FOREVER));
    CHECK_OK(conc_rwlock_unlock(&h->read));
    return 0;
}

static void child_that_holds(void *arg) {
    own_locks *h = (own_locks *)arg;
    crew c = { 0 };
    if (CANNOT_START) return;
    CHECK_OK(conc_mutex_lock(&h->after, CONC_FOREVER));
    crew_add(&c, ask_for_mine, h);
    crew_join(&c);
    CHECK_OK(conc_mutex_unlock(&h->before));
    CHECK_OK(conc_mutex_unlock(&h->after));
    CHECK_OK(conc_rwlock_unlock(&h->read));
    crew_add(&c, add_one, &h->before);
    crew_add(&c, add_one, &h->after);
    crew_join(&c);
}

static int write_in_line(void *arg) {
    conc_rwlock *l = (conc_rwlock *)arg;
    CHECK_OK(conc_rwlock_write(l, CONC_FOREVER));
    CHECK_OK(conc_rwlock_unlock(l));
    return 0;
}

static bool can_read(conc_rwlock *l) {
    return conc_rwlock_read(l, CONC_NOW) == CONC_OK && conc_rwlock_unlock(l) == CONC_OK;
}

static void held_by_the_one_that_forks(void) {
    own_locks h;
    crew c = { 0 };
    memset(&h, 0, sizeof h);
    h.br = conc_brlock_new();
    CHECK_OK(conc_mutex_lock(&h.before, CONC_FOREVER));
    CHECK_OK(conc_rmutex_lock(&h.rmutex, CONC_FOREVER));
    CHECK_OK(conc_rwlock_write(&h.write, CONC_FOREVER));
    CHECK_OK(conc_rwlock_read(&h.read, CONC_FOREVER));
    CHECK_OK(conc_brlock_write(h.br, CONC_FOREVER));
    crew_add(&c, write_in_line, &h.read);
    UNTIL(!can_read(&h.read)); /* it stands in line, and keeps readers out */
    in_child(child_that_holds, &h);
    CHECK_OK(conc_brlock_write_unlock(h.br));
    CHECK_OK(conc_rwlock_unlock(&h.read));
    CHECK_OK(conc_rwlock_unlock(&h.write));
    CHECK_OK(conc_rmutex_unlock(&h.rmutex));
    CHECK_OK(conc_mutex_unlock(&h.before));
    crew_join(&c);
    CHECK_OK(conc_brlock_free(h.br));
}

/* ---- fork() while somebody that has been woken for a mutex is on its way to it: it arrives in the parent only ----
 * An op that never completes tells by its arming that the op before it, the lock's, is armed; and by a disarming that
 * takes long it keeps the woken one on its way. */

typedef struct errand {
    conc_mutex mutex;
    conc_event armed;
    conc_waiters none;
    int go_on[2]; /* a pipe: its disarming waits for the writing end to be closed. [0] is -1: it waits for nothing */
} errand;

static conc_result errand_attempt(conc_op *op) {
    (void)op;
    return CONC_PENDING;
}

static bool errand_arm(conc_op *op, conc_node *node) {
    errand *h = (errand *)op->object;
    conc_waiters_arm(&h->none, node);
    (void)conc_event_set(&h->armed);
    return true;
}

static void errand_disarm(conc_op *op, conc_node *node) {
    errand *h = (errand *)op->object;
    char c;
    conc_waiters_disarm(node);
    if (h->go_on[0] >= 0) CHECK_EQ(read(h->go_on[0], &c, 1), 0);
}

static const conc_op_class errand_class = { "errand", CONC_BUSY, errand_attempt, errand_arm, errand_disarm, NULL };

static int lock_in_sight(void *arg) {
    errand *h = (errand *)arg;
    conc_op ops[2];
    ops[0] = conc_op_lock(&h->mutex);
    ops[1] = conc_op_make(&errand_class, h, NULL);
    CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 0);
    CHECK_OK(ops[0].result);
    CHECK_OK(conc_mutex_unlock(&h->mutex));
    return 0;
}

static void child_of_errand(void *arg) {
    errand *h = (errand *)arg;
    crew c = { 0 };
    h->go_on[0] = -1;
    if (CANNOT_START) return;
    CHECK_OK(conc_event_reset(&h->armed));
    crew_add(&c, lock_in_sight, h);
    CHECK_OK(conc_event_wait(&h->armed, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&h->mutex)); /* wakes it, although another had been woken */
    crew_join(&c);
    CHECK_OK(conc_mutex_destroy(&h->mutex));
}

static void woken_in_the_parent(void) {
    errand h;
    crew c = { 0 };
    memset(&h, 0, sizeof h);
    if (!CHECK(pipe(h.go_on) == 0)) return;
    CHECK_OK(conc_mutex_lock(&h.mutex, CONC_FOREVER));
    crew_add(&c, lock_in_sight, &h);
    CHECK_OK(conc_event_wait(&h.armed, CONC_FOREVER));
    CHECK_OK(conc_mutex_unlock(&h.mutex)); /* now it is on its way, */
    CHECK_OK(conc_mutex_try_lock(&h.mutex)); /* and too late */
    in_child(child_of_errand, &h);
    CHECK_OK(conc_mutex_unlock(&h.mutex));
    close(h.go_on[1]);
    crew_join(&c);
    close(h.go_on[0]);
    CHECK_OK(conc_mutex_destroy(&h.mutex));
}

/* ---- fork() while others are in the middle of everything ---- */

typedef struct storm {
    conc_event stop, tick;
    conc_mutex m;
    conc_rwlock rw;
    conc_semaphore s;
    conc_queue *q;
} storm;

static int rage(void *arg) {
    storm *t = (storm *)arg;
    uint32_t seed = conc_thread_id(NULL);
    int x = 0;
    while (!conc_event_is_set(&t->stop)) {
        switch (check_random(&seed) % 8u) {
        case 0: CONC_WITH_LOCK(&t->m) x++; break;
        case 1: CONC_WITH_WRITE_LOCK(&t->rw) x++; break;
        case 2: CONC_WITH_READ_LOCK(&t->rw) x++; break;
        case 3: (void)conc_queue_put(t->q, &x, CONC_NOW); break;
        case 4: (void)conc_queue_get(t->q, &x, conc_after(20e-6)); break;
        case 5: (void)conc_event_wait(&t->tick, conc_after(10e-6)); break;
        case 6:
            CHECK_OK(conc_semaphore_release(&t->s, 1));
            CHECK_OK(conc_semaphore_acquire(&t->s, CONC_FOREVER));
            break;
        default: { /* the registry, and the allocator: the sanitizers' own does not survive a fork() in its midst */
            conc_thread *n;
            if (CHECK_ASAN || CHECK_TSAN) break;
            n = conc_thread_start(nothing, NULL, NULL);
            if (n != NULL) CHECK_OK(conc_thread_join(n, NULL, CONC_FOREVER));
        }
        }
    }
    return 0;
}

static void child_of_storm(void *arg) {
    storm *t = (storm *)arg;
    conc_result r;
    int x = 0;
    r = conc_mutex_lock(&t->m, CONC_FOREVER); /* held by another just then, or free */
    CHECK(r == CONC_OK || r == CONC_FORKED);
    if (r == CONC_OK) CHECK_OK(conc_mutex_unlock(&t->m));
    r = conc_rwlock_write(&t->rw, conc_after(0.001));
    CHECK(r == CONC_OK || r == CONC_FORKED || r == CONC_TIMEOUT);
    if (r == CONC_OK) CHECK_OK(conc_rwlock_unlock(&t->rw));
    CHECK_R(conc_queue_get(t->q, &x, CONC_FOREVER), CONC_FORKED);
    r = conc_semaphore_acquire(&t->s, conc_after(0.0005));
    CHECK(r == CONC_OK || r == CONC_TIMEOUT);
    CHECK_OK(conc_semaphore_release(&t->s, 1));
    CHECK_R(conc_event_wait(&t->tick, conc_after(0.0005)), CONC_TIMEOUT);
    CHECK_EQ(conc_thread_count(), 1);
    if (!CHECK_ASAN) everything(NULL);
}

static void in_a_storm(void) {
    storm t;
    crew c = { 0 };
    int i;
    memset(&t, 0, sizeof t);
    t.q = conc_queue_new(sizeof(int), 4);
    for (i = 0; i < 4; i++) crew_add(&c, rage, &t);
    for (i = 0; i < check_rounds_least(150, 5); i++) in_child(child_of_storm, &t);
    CHECK_OK(conc_event_set(&t.stop));
    crew_join(&c);
    CHECK_OK(conc_queue_free(t.q));
}

/* ---- fork() by another thread than main: there it is main ---- */

static void child_of_thread(void *arg) {
    (void)arg;
    CHECK_STR(conc_thread_name(NULL), "forker");
    CHECK_EQ(conc_thread_count(), 1);
    CHECK(conc_thread_main() == conc_thread_current());
    CHECK(conc_thread_is_alive(NULL));
    everything(NULL);
}

static int fork_here(void *arg) {
    in_child(child_of_thread, arg);
    return 0;
}

static void from_a_thread(void) {
    conc_thread_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.name = "forker";
    CHECK_OK(conc_thread_join(conc_thread_start(fork_here, NULL, &desc), NULL, CONC_FOREVER));
}

/* ---- exit() in the child waits for its own threads and not for the parent's ---- */

static int sleep_a_little(void *arg) {
    (void)conc_sleep(conc_after(0.003));
    CHECK_OK(conc_event_set((conc_event *)arg));
    return 0;
}

static conc_event slept;
static void see_that_it_slept(void) {
    if (!conc_event_is_set(&slept)) _exit(9);
}

static void exit_here(void *arg) {
    (void)arg;
    CHECK(conc_thread_start(sleep_a_little, &slept, NULL) != NULL);
    exit(check_failures != 0);
}

static void exit_in_the_child(void) {
    held h;
    crew c = { 0 };
    memset(&h, 0, sizeof h);
    crew_add(&c, wait_for_never, &h);
    in_child(exit_here, NULL);
    CHECK_OK(conc_event_set(&h.never));
    crew_join(&c);
    CHECK_OK(conc_event_set(&slept)); /* for the handler in this process */
}

/* ---- timers of the parent do not run in the child ---- */

static int runs;
static int count(void *arg) {
    (void)arg;
    runs++;
    return 0;
}

static void child_of_timer(void *arg) {
    conc_timer *t = (conc_timer *)arg;
    conc_event e = { 0 };
    conc_timer *mine;
    if (CANNOT_START) return;
    mine = conc_timer_start(set_event, &e, conc_after(0.001));
    CHECK(mine != NULL);
    CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
    conc_timer_release(mine);
    CHECK_EQ(runs, 0);
    (void)t;
}

static void timers(void) {
    conc_timer *t = conc_timer_start(count, NULL, conc_after(1000));
    CHECK(t != NULL);
    in_child(child_of_timer, t);
    CHECK_OK(conc_timer_cancel(t));
    conc_timer_release(t);
    CHECK_EQ(runs, 0);
}

#if !defined(CONC_TEST_SPLIT)
/* The very first timer is being made, and the timers' lock held, when another thread forks. */
static int start_a_timer(void *arg) {
    conc_timer *t = conc_timer_start(count, NULL, conc_after(1000));
    (void)arg;
    if (t == NULL) return 1;
    (void)conc_timer_cancel(t);
    conc_timer_release(t);
    return 0;
}

static void start_a_timer_in_child(void *arg) {
    realloc_is_slow = false;
    if (!CANNOT_START) CHECK_EQ(start_a_timer(arg), 0);
}

static void first_timer(void) {
    crew c = { 0 };
    realloc_is_slow = true;
    crew_add(&c, start_a_timer, NULL);
    CHECK_OK(conc_event_wait(&in_realloc, CONC_FOREVER));
    in_child(start_a_timer_in_child, NULL);
    CHECK_OK(conc_event_set(&out_of_realloc));
    crew_join(&c);
    realloc_is_slow = false;
}
#endif

int main(void) {
    check_begin("fork");
    if (atexit(see_that_it_slept) != 0) return 1; /* before the first thread: it runs after the library's wait */
    RUN(queue_alone); /* first */
#if !defined(CONC_TEST_SPLIT)
    if (!CHECK_ASAN) RUN(first_timer); /* before any other; it leaves a thread, which may be starting still */
#endif
    RUN(alone);
    RUN(children_of_children);
    RUN(held_by_others);
    RUN(held_by_the_one_that_forks);
    RUN(woken_in_the_parent);
    /* An emulator's own locks do not survive a fork() among threads that start threads. */
    if (getenv("CONC_TEST_EMULATED") == NULL) RUN(in_a_storm);
    RUN(from_a_thread);
    RUN(timers);
    if (!CANNOT_START) RUN(exit_in_the_child);
    else CHECK_OK(conc_event_set(&slept));
    return check_end();
}

#endif
