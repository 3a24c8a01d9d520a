/* Traps of pools, futures and groups, found by reading: each of these once waited for ever, or did the wrong thing. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"
#include "pooled.h"
#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

/* ---- a period that begins now ---- */

static void every_from_now(void) {
    conc_pool *p = pool_of(1);
    tally t = { { 0 }, 0 };
    conc_future *f = a_future(__FILE__, __LINE__, conc_pool_every(p, count_up, &t, CONC_NOW, 1000, false));
    while (tally_of(&t) == 0) CHECK_OK(conc_sleep(conc_after(0.001)));
    CHECK_OK(conc_sleep(conc_after(0.02)));
    CHECK_EQ(tally_of(&t), 1); /* the next is due in 1000 s */
    (void)conc_future_cancel(f);
    conc_future_release(f);
    FINISH(p);
}

/* ---- a thread of one pool that takes part in another, and goes on to be a thread of the first ---- */

typedef struct two {
    conc_pool *outer, *inner;
    conc_pool_group group;
    conc_future *f;
    conc_event begun, gate, told;
    tally t;
} two;

static int waits_for_it(void *arg) {
    return conc_future_wait(((two *)arg)->f, conc_after(20));
}

static int waits_for_group(void *arg) {
    return conc_pool_group_wait(&((two *)arg)->group, conc_after(20));
}

static int joins_outer(void *arg) {
    return conc_pool_join(((two *)arg)->outer, conc_after(20));
}

static int nested_waits(void *arg) { /* in the only thread of the outer pool */
    two *n = (two *)arg;
    int code = -1;
    n->f = SUBMIT(n->outer, count_up, &n->t);
    CHECK_OK(conc_pool_call(n->inner, waits_for_it, n, &code));
    CHECK_R(code, CONC_OK);
    conc_future_release(n->f);
    CHECK_OK(conc_pool_group_begin(&n->group, n->outer));
    CHECK_OK(conc_pool_group_run(&n->group, count_up, &n->t));
    CHECK_OK(conc_pool_call(n->inner, waits_for_group, n, &code));
    CHECK_R(code, CONC_OK);
    CHECK_OK(conc_pool_group_end(&n->group));
    /* closed, it still belongs to it */
    CHECK_OK(conc_pool_close(n->outer));
    CHECK_OK(conc_pool_group_begin(&n->group, n->outer));
    CHECK_OK(conc_pool_group_run(&n->group, count_up, &n->t));
    CHECK_OK(conc_pool_call(n->inner, waits_for_group, n, &code));
    CHECK_R(code, CONC_OK);
    CHECK_OK(conc_pool_group_end(&n->group));
    CHECK_OK(conc_pool_call(n->inner, joins_outer, n, &code));
    CHECK_R(code, CONC_DEADLOCK);
    return 0;
}

static void below_another_pool(void) {
    two n;
    conc_future *f;
    memset(&n, 0, sizeof n);
    n.outer = pool_of(1);
    n.inner = pool_of(1);
    f = SUBMIT(n.outer, nested_waits, &n);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    CHECK_EQ(tally_of(&n.t), 3);
    conc_future_release(f);
    FINISH(n.outer);
    FINISH(n.inner);
}

/* A task that the caller runs is in the midst of its pool, too. */
static int joins_its_pool(void *arg) {
    two *n = (two *)arg;
    CHECK_OK(conc_pool_close(n->outer));
    CHECK_R(conc_pool_join(n->outer, conc_after(20)), CONC_DEADLOCK);
    (void)conc_event_set(&n->told);
    return 0;
}

static void run_by_the_caller(void) {
    conc_pool_desc d = pool_desc(1, 1, CONC_POOL_NO_QUEUE);
    two n;
    memset(&n, 0, sizeof n);
    d.on_reject = CONC_REJECT_CALLER_RUNS;
    n.outer = pool_make(&d);
    CHECK_OK(conc_pool_run(n.outer, waits_for_event, &n.gate));
    CHECK_OK(conc_pool_run(n.outer, joins_its_pool, &n));
    CHECK(conc_event_is_set(&n.told));
    CHECK_OK(conc_event_set(&n.gate));
    FINISH(n.outer);
}

/* ---- exit() in the midst of a pool ---- */

#if !defined(_WIN32)
static int exits(void *arg) {
    (void)arg;
    exit(17);
    return 0;
}

static void exit_within(void) {
    int status = 0, i;
    for (i = 0; i < 2; i++) {
        pid_t pid;
        fflush(NULL);
        pid = fork();
        if (!CHECK(pid >= 0)) return;
        if (pid == 0) {
            conc_pool_desc d = pool_desc(1, 1, CONC_POOL_NO_QUEUE);
            static conc_event gate;
            static conc_pool *volatile left; /* open: nobody frees it, and that is no leak */
            check_watchdog();
            d.on_reject = CONC_REJECT_CALLER_RUNS;
            left = pool_make(&d);
            CHECK_EQ(conc_pool_prestart(left, 0), 1);
            AWAIT(left, 1, 1, 0);
            if (i == 0) {
                (void)conc_pool_call(left, exits, NULL, NULL);
            } else {
                CHECK_OK(conc_pool_run(left, waits_for_event, &gate));
                CHECK_OK(conc_pool_run(left, exits, NULL));
            }
            _exit(1);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 17);
    }
}
#endif

/* ---- a group's wait that sleeps when another task is handed in from outside ---- */

static int group_gate(void *arg) {
    two *n = (two *)arg;
    (void)conc_event_set(&n->begun);
    return conc_event_wait(&n->gate, CONC_FOREVER);
}

static int waits_in_the_pool(void *arg) {
    two *n = (two *)arg;
    (void)conc_event_set(&n->told);
    return conc_pool_group_wait(&n->group, CONC_FOREVER);
}

static int tells(void *arg) {
    (void)conc_event_set((conc_event *)arg);
    return 0;
}

static void handed_in_late(void) {
    two n;
    conc_event ran;
    conc_future *f;
    memset(&n, 0, sizeof n);
    memset(&ran, 0, sizeof ran);
    n.outer = pool_of(2);
    CHECK_OK(conc_pool_group_begin(&n.group, n.outer));
    CHECK_OK(conc_pool_group_run(&n.group, group_gate, &n));
    CHECK_OK(conc_event_wait(&n.begun, CONC_FOREVER));
    f = SUBMIT(n.outer, waits_in_the_pool, &n);
    CHECK_OK(conc_event_wait(&n.told, CONC_FOREVER));
    CHECK_OK(conc_sleep(conc_after(0.05))); /* it sleeps by now, most likely */
    CHECK_OK(conc_pool_group_run(&n.group, tells, &ran)); /* the wait of a thread of the pool runs what has not begun */
    CHECK_OK(conc_event_wait(&ran, conc_after(20)));
    CHECK_OK(conc_event_set(&n.gate));
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    CHECK_OK(conc_pool_group_end(&n.group));
    FINISH(n.outer);
}

/* ---- a hook of a thread's beginning, and of its end, that starts tasks of a group ---- */

static conc_pool_group of_hooks;
static tally by_hooks;
static void hook_groups(void *user) {
    (void)user;
    CHECK_OK(conc_pool_group_run(&of_hooks, count_up, &by_hooks));
}

static void started_by_hooks(void) {
    conc_pool_desc d = pool_desc(1, 1, 0);
    conc_pool *p;
    d.thread_started = d.thread_ends = hook_groups;
    p = pool_make(&d);
    CHECK_OK(conc_pool_group_begin(&of_hooks, p));
    CHECK_EQ(conc_pool_prestart(p, 0), 1);
    AWAIT(p, 1, 1, 0);
    CHECK_OK(conc_pool_group_wait(&of_hooks, conc_after(20)));
    CHECK_EQ(tally_of(&by_hooks), 1);
    CHECK_OK(conc_pool_close(p));
    CHECK_OK(conc_pool_join(p, CONC_FOREVER));
    CHECK_EQ(tally_of(&by_hooks), 2);
    CHECK_OK(conc_pool_group_end(&of_hooks));
    FINISH(p);
}

/* ---- a wait with a deadline, or under a token that fires, where there is always another job to run ---- */

static void blocks_for(double seconds) {
    conc_cancel *token = conc_cancel_use(NULL);
    (void)conc_sleep(conc_after(seconds));
    (void)conc_cancel_use(token);
}

static int naps(void *arg) {
    (void)arg;
    blocks_for(0.02);
    return 0;
}

static int fires_in_a_job(void *arg) {
    blocks_for(0.02);
    (void)conc_cancel_fire((conc_cancel *)arg);
    return 0;
}

static int waits_amid_jobs(void *arg) {
    conc_cancel token = { NULL, 0 }, *before;
    conc_job jobs[50], fire;
    conc_future *never = conc_future_new();
    int64_t begin = conc_clock_ns();
    int i;
    (void)arg;
    for (i = 0; i < 50; i++) conc_job_fork(&jobs[i], naps, NULL);
    CHECK_R(conc_future_wait(never, conc_after(0.05)), CONC_TIMEOUT);
    CHECK(conc_clock_ns() - begin < 500000000);
    conc_job_fork(&fire, fires_in_a_job, &token);
    before = conc_cancel_use(&token);
    begin = conc_clock_ns();
    CHECK_R(conc_future_wait(never, CONC_FOREVER), CONC_CANCELED);
    CHECK(conc_clock_ns() - begin < 400000000);
    (void)conc_cancel_use(before);
    CHECK_EQ(conc_job_join(&fire), 0);
    for (i = 50; i-- > 0;) CHECK_EQ(conc_job_join(&jobs[i]), 0);
    (void)conc_future_cancel(never);
    conc_future_release(never);
    return 0;
}

static void deadline_amid_jobs(void) {
    conc_pool *p = pool_of(1);
    CHECK_OK(conc_pool_call(p, waits_amid_jobs, NULL, NULL));
    FINISH(p);
}

/* ---- a thread that has asked for jobs, and sleeps, while the forker has none to give ---- */

typedef struct asking {
    conc_pool *pool;
    conc_thread *forker;
    conc_event begun, gate;
    tally elsewhere;
} asking;

static int keeps_busy(void *arg) {
    asking *a = (asking *)arg;
    (void)conc_event_set(&a->begun);
    return conc_event_wait(&a->gate, CONC_FOREVER);
}

static int tells_where(void *arg) {
    asking *a = (asking *)arg;
    blocks_for(0.002);
    if (conc_thread_current() != a->forker) (void)tally_add(&a->elsewhere, 1);
    return 0;
}

static int forks_when_asked(void *arg) {
    asking *a = (asking *)arg;
    conc_job first, second, job;
    int i;
    a->forker = conc_thread_current();
    CHECK_OK(conc_pool_run(a->pool, keeps_busy, a));
    CHECK_OK(conc_event_wait(&a->begun, CONC_FOREVER));
    conc_job_fork(&first, returns_0, NULL);  /* open, */
    conc_job_fork(&second, returns_0, NULL); /* and not, as nobody asks */
    CHECK_OK(conc_event_set(&a->gate));
    AWAIT(a->pool, 1, 1, 0); /* it has taken the first, and then found nothing */
    blocks_for(0.05);
    (void)conc_job_join(&second);
    for (i = 0; i < 200 && tally_of(&a->elsewhere) == 0; i++) {
        conc_job_fork(&job, tells_where, a);
        blocks_for(0.002);
        (void)conc_job_join(&job);
    }
    CHECK(tally_of(&a->elsewhere) != 0);
    (void)conc_job_join(&first);
    return 0;
}

static void asked_in_vain(void) {
    asking a;
    memset(&a, 0, sizeof a);
    a.pool = pool_of(1);
    if (conc_cpu_count() > 1) CHECK_OK(conc_pool_call(a.pool, forks_when_asked, &a, NULL));
    FINISH(a.pool);
}

/* ---- fork() in a task, whose child forks jobs: the pool's lock may have been held ---- */

#if !defined(_WIN32)
static conc_event looked_enough;

static int looks_at_it(void *arg) {
    while (!conc_event_is_set(&looked_enough)) (void)conc_pool_stats_of((conc_pool *)arg);
    return 0;
}

static int fork_child(void) {
    conc_job a, b;
    int n = 0, i;
    alarm(5);
    for (i = 0; i < 20; i++) {
        conc_job_fork(&a, returns_0, NULL);
        conc_job_fork(&b, returns_0, NULL);
        n += conc_job_join(&b) + conc_job_join(&a);
    }
    return n;
}

static int forks_processes(void *arg) {
    int i, status = 0;
    (void)arg;
    for (i = 0; i < 20 && status == 0; i++) {
        pid_t pid = fork();
        if (!CHECK(pid >= 0)) break;
        if (pid == 0) _exit(fork_child());
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
    }
    return 0;
}

/* What would complete them is in the parent. */
static void completed_in_a_child(void) {
    conc_pool *p = pool_of(1);
    conc_event gate;
    conc_future *f[2];
    int status = 0;
    pid_t pid;
    memset(&gate, 0, sizeof gate);
    f[0] = SUBMIT(p, returns_0, NULL);
    CHECK_OK(conc_future_wait(f[0], CONC_FOREVER));
    f[1] = SUBMIT(p, waits_for_event, &gate);
    fflush(NULL);
    pid = fork();
    if (!CHECK(pid >= 0)) return;
    if (pid == 0) {
        conc_iter *it = conc_as_completed(f, 2);
        conc_future *next = NULL;
        alarm(5);
        check_failures = 0;
        CHECK_EQ(it->next(it, &next, 1), 1);
        CHECK(next == f[0]);
        CHECK_EQ(it->next(it, &next, 1), 0);
        CHECK_R(it->result, CONC_FORKED);
        conc_iter_close(it);
        fflush(NULL);
        _exit(check_failures != 0 ? 1 : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    CHECK_OK(conc_event_set(&gate));
    CHECK_OK(conc_future_wait(f[1], CONC_FOREVER));
    conc_future_release(f[0]);
    conc_future_release(f[1]);
    FINISH(p);
}

/* A future of the parent's pool, which the child has freed, or has not: what runs its task is the parent. */
static void futures_in_a_child(void) {
    conc_pool_desc d = pool_desc(1, 1, 0);
    conc_pool *p;
    conc_event gate;
    tally t = { { 0 }, 0 };
    conc_future *f[3];
    int status = 0, i;
    pid_t pid;
    memset(&gate, 0, sizeof gate);
    d.waiters_help = true;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, waits_for_event, &gate));
    f[0] = SUBMIT(p, count_up, &t); /* queued */
    f[1] = a_future(__FILE__, __LINE__, conc_pool_submit_at(p, count_up, &t, conc_after(1000)));
    f[2] = SUBMIT(p, count_up, &t);
    fflush(NULL);
    pid = fork();
    if (!CHECK(pid >= 0)) return;
    if (pid == 0) {
        conc_iter *it = conc_as_completed(f, 1);
        conc_future *next = NULL;
        alarm(5);
        check_failures = 0;
        CHECK_EQ(it->next(it, &next, 1), 0);
        CHECK_R(it->result, CONC_FORKED);
        CHECK_EQ(tally_of(&t), 0);
        conc_iter_close(it);
        CHECK_OK(conc_future_cancel(f[0]));
        CHECK_OK(conc_pool_free(p));
        CHECK_OK(conc_future_cancel(f[1]));
        CHECK_OK(conc_future_cancel(f[2]));
        fflush(NULL);
        _exit(check_failures != 0 ? 1 : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    CHECK_OK(conc_event_set(&gate));
    CHECK_OK(conc_future_cancel(f[1]));
    CHECK_OK(conc_future_wait(f[0], CONC_FOREVER));
    CHECK_OK(conc_future_wait(f[2], CONC_FOREVER));
    for (i = 0; i < 3; i++) conc_future_release(f[i]);
    FINISH(p);
}

static void jobs_of_a_child(void) {
    conc_pool *p = pool_of(3);
    conc_thread *t[2];
    conc_future *f;
    int i;
    CHECK_EQ(conc_pool_prestart(p, 0), 3);
    AWAIT(p, 3, 3, 0);
    for (i = 0; i < 2; i++) {
        t[i] = conc_thread_start(looks_at_it, p, NULL);
        CHECK(t[i] != NULL);
    }
    f = SUBMIT(p, forks_processes, NULL);
    CHECK_OK(conc_future_wait(f, CONC_FOREVER));
    conc_future_release(f);
    CHECK_OK(conc_event_set(&looked_enough));
    for (i = 0; i < 2; i++) CHECK_OK(conc_thread_join(t[i], NULL, CONC_FOREVER));
    FINISH(p);
}
#endif

/* ---- an offloaded call that the pool's policy discards ---- */

static int doubles(void *arg) {
    *(int *)arg *= 2;
    return 0;
}

static int offloads(void *arg) {
    int n[2] = { 1, 2 };
    return conc_wait(conc_op_offload((conc_pool *)arg, doubles, &n), CONC_FOREVER);
}

static void discarded_call(void) {
    conc_pool_desc d = pool_desc(1, 1, 1);
    conc_pool *p;
    conc_thread *t;
    conc_event gate;
    tally n = { { 0 }, 0 };
    int code = 0;
    memset(&gate, 0, sizeof gate);
    d.on_reject = CONC_REJECT_DISCARD_OLDEST;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, waits_for_event, &gate));
    t = conc_thread_start(offloads, p, NULL);
    CHECK(t != NULL);
    AWAIT(p, 1, 0, 1);
    CHECK_OK(conc_pool_run(p, count_up, &n));
    CHECK_OK(conc_thread_join(t, &code, CONC_FOREVER));
    CHECK_R(code, CONC_REJECTED); /* and not that the pool is closed */
    CHECK_OK(conc_event_set(&gate));
    FINISH(p);
    CHECK_EQ(tally_of(&n), 1);
}

/* ---- a job that nobody joins ---- */

static conc_job lost_job; /* static: it may have been taken before its forker's end, and then it is run like any other */
static tally lost_ran;

static int forks_and_forgets(void *arg) {
    conc_job_fork(&lost_job, count_up, &lost_ran);
    return arg != NULL;
}

static void never_joined(void) {
    int i;
    for (i = 0; i < 20; i++) {
        conc_pool *p = pool_of(1);
        lost_ran.n = 0;
        if (i % 2) {
            conc_future *f = SUBMIT(p, forks_and_forgets, NULL);
            CHECK_OK(conc_future_wait(f, CONC_FOREVER));
            conc_future_release(f);
        } else {
            CHECK_OK(conc_pool_call(p, forks_and_forgets, NULL, NULL));
        }
        FINISH(p);
        CHECK_EQ(tally_of(&lost_ran) + reports_now(), 1);
    }
}

/* ---- a group's ticket that the pool's policy discards ---- */

static void discarded_ticket(void) {
    conc_pool_desc d = pool_desc(1, 1, 2);
    conc_pool *p;
    conc_pool_group g;
    conc_event gate;
    tally members = { { 0 }, 0 }, others = { { 0 }, 0 };
    int i;
    memset(&gate, 0, sizeof gate);
    d.on_reject = CONC_REJECT_DISCARD_OLDEST;
    p = pool_make(&d);
    CHECK_OK(conc_pool_run(p, waits_for_event, &gate));
    AWAIT(p, 1, 0, 0);
    CHECK_OK(conc_pool_group_begin(&g, p));
    CHECK_OK(conc_pool_group_run(&g, count_up, &members));
    CHECK_OK(conc_pool_group_run(&g, count_up, &members));
    for (i = 0; i < 2; i++) CHECK_OK(conc_pool_run(p, count_up, &others)); /* in the place of both */
    CHECK_OK(conc_pool_group_wait(&g, CONC_FOREVER)); /* does them */
    CHECK_EQ(tally_of(&members), 2);
    CHECK_OK(conc_pool_group_end(&g));
    CHECK_OK(conc_event_set(&gate));
    FINISH(p);
    CHECK_EQ(tally_of(&others), 2);
}

int main(void) {
    check_begin("pool_traps");
    conc_set_error_hook(count_report, NULL);
    RUN(every_from_now);
    RUN(below_another_pool);
    RUN(run_by_the_caller);
#if !defined(_WIN32)
    if (!CHECK_TSAN) { /* (it wants no threads in a child, and has locks of its own) */
        RUN(exit_within);
        RUN(jobs_of_a_child);
        RUN(completed_in_a_child);
        RUN(futures_in_a_child);
    }
#endif
    RUN(handed_in_late);
    RUN(started_by_hooks);
    RUN(deadline_amid_jobs);
    RUN(asked_in_vain);
    RUN(discarded_call);
    RUN(discarded_ticket);
    RUN(never_joined);
    CHECK_EQ(reports_now(), 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
