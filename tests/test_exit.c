/* The end of a program: this program runs itself as child processes, each of which ends in another way, and looks at
 * their exit status and at what they wrote. CONC_TEST_LAUNCHER, if set, stands before the command (an emulator). */
#if !defined(CONC_TEST_SPLIT)
#include <stdlib.h>
static void exit_free(void *p);
#define CONC_MALLOC(size) malloc(size)
#define CONC_REALLOC(p, size) realloc((p), (size))
#define CONC_FREE(p) exit_free(p)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

#if defined(CONC_TEST_SPLIT) /* atomics of its own */
#define conc__store32(a, v, o) ((void)(*(volatile uint32_t *)(a) = (v)))
#endif

#if !defined(_WIN32)
#include <pthread.h>
#include <sys/wait.h>
#endif

#if CHECK_TSAN /* threads that are not joined are what this is about */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "report_thread_leaks=0";
}
#endif

/* ---- in the child: one function a scenario; what it returns is main's return value ---- */

static conc_event never, started;

static void say(const char *text) {
    printf("%s\n", text);
    fflush(stdout);
}

static int wait_for_ever(void *arg) {
    if (arg != NULL) CHECK_OK(conc_event_set((conc_event *)arg));
    (void)conc_event_wait(&never, CONC_FOREVER);
    return 0;
}

static int work_a_while(void *arg) {
    int i;
    for (i = 0; i < 20; i++) (void)conc_sleep(conc_after(0.001));
    say((const char *)arg);
    return 0;
}

static conc_thread *start(conc_fn fn, void *arg, bool daemon) {
    conc_thread_desc desc;
    conc_thread *t;
    memset(&desc, 0, sizeof desc);
    desc.daemon = daemon;
    t = conc_thread_start(fn, arg, &desc);
    if (t == NULL) exit(99);
    return t;
}

static char done_1[] = "worker 1 done", done_2[] = "worker 2 done", done_3[] = "worker 3 done";

static int main_returns(void) {
    (void)start(work_a_while, done_1, false);
    (void)start(work_a_while, done_2, false);
    CHECK_OK(conc_thread_detach(start(work_a_while, done_3, false)));
    say("main returns");
    return 3;
}

static int main_exits(void) {
    (void)start(work_a_while, done_1, false);
    say("main exits");
    exit(4);
    return 99;
}

static int daemons_only(void) {
    (void)start(wait_for_ever, &started, true);
    CHECK_OK(conc_event_wait(&started, CONC_FOREVER));
    say("main returns");
    return 5;
}

static int daemon_and_worker(void) {
    (void)start(wait_for_ever, NULL, true);
    (void)start(work_a_while, done_1, false);
    say("main returns");
    return 0;
}

static int exit_7(void *arg) {
    (void)arg;
    say("thread exits");
    exit(7);
    return 99;
}

static int thread_exits(void) { /* waits for nobody: the two would wait for each other */
    (void)start(wait_for_ever, &started, false);
    CHECK_OK(conc_event_wait(&started, CONC_FOREVER));
    (void)start(exit_7, NULL, false);
    (void)conc_event_wait(&never, CONC_FOREVER);
    return 0;
}

static int start_another(void *arg) {
    (void)conc_sleep(conc_after(0.005));
    if (arg != NULL) (void)start(start_another, NULL, false); /* started while main waits: waited for as well */
    else say("grandchild done");
    return 0;
}

static int threads_start_threads(void) {
    (void)start(start_another, &never, false);
    say("main returns");
    return 0;
}

static int join_all_then_work(void *arg) {
    (void)start(work_a_while, done_1, false);
    CHECK_OK(conc_thread_join_all(CONC_FOREVER));
    return work_a_while(arg);
}

static int thread_joins_all(void) { /* one that is in conc_thread_join_all() itself is waited for all the same */
    (void)start(join_all_then_work, done_2, false);
    return 0;
}

static void at_exit_before(void) { say("atexit registered before the first thread"); }
static void at_exit_after(void) { say("atexit registered after the first thread"); }

static int atexit_order(void) { /* last registered runs first; the wait stands where the first thread was started */
    if (atexit(at_exit_before) != 0) return 99;
    (void)start(work_a_while, done_1, false);
    if (atexit(at_exit_after) != 0) return 99;
    say("main returns");
    return 0;
}

static int fail_5(void *arg) {
    (void)arg;
    return 5;
}

static int failures_to_stderr(void) {
    conc_thread_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.name = "unlucky";
    CHECK_OK(conc_thread_detach(conc_thread_start(fail_5, NULL, &desc)));
    desc.name = "joined-blindly";
    CHECK_OK(conc_thread_join(conc_thread_start(fail_5, NULL, &desc), NULL, CONC_FOREVER));
    return 0;
}

static int failure_left_alone(void) { /* neither joined nor detached: nobody can look at it any more */
    conc_thread_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.name = "forgotten";
    (void)conc_thread_start(fail_5, NULL, &desc);
    return 0;
}

static int join_all_then_quick_exit(void) {
    (void)start(work_a_while, done_1, false);
    (void)start(wait_for_ever, NULL, true);
    CHECK_OK(conc_thread_join_all(CONC_FOREVER));
    say("all joined");
    fflush(NULL);
#if defined(_WIN32)
    TerminateProcess(GetCurrentProcess(), 6);
#else
    _exit(6);
#endif
    return 99;
}

static int silent(void) { /* the library prints nothing by itself */
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    conc_mutex m = { 0 };
#if !defined(CONC_DEBUG) /* which tells of it */
    CHECK_R(conc_mutex_unlock(&m), CONC_NOT_OWNER);
#endif
    CHECK_OK(conc_mutex_destroy(&m));
    CHECK_R(conc_event_set(NULL), CONC_INVALID);
    CHECK_OK(conc_queue_close(q));
    CHECK_OK(conc_queue_free(q));
    CHECK_OK(conc_thread_join(start(work_a_while, done_1, false), NULL, CONC_FOREVER));
    return 0;
}

static int timer_at_exit(void) { /* the timer thread is a daemon */
    conc_timer *t = conc_timer_start(fail_5, NULL, conc_after(1000));
    if (t == NULL) return 99;
    return 8;
}

/* Whatever a thread that exit() waited for still had to do, it has done before what comes after that wait. */
static uint32_t closed; /* atomic */

static void close_all(void) {
    int i;
    conc__store32(&closed, 1, CONC__SEQ_CST);
    for (i = 0; i < 50; i++) conc_thread_yield();
}

#if defined(CONC_TEST_SPLIT) || !CONC__HAS_TLS /* where a thread's record goes with the system's thread, after all */
#define late_frees() 0
#else
static uint32_t frees_after; /* atomic */
static int late_frees(void) {
    return (int)conc__load32(&frees_after, CONC__SEQ_CST);
}
#endif
#if !defined(CONC_TEST_SPLIT)
static void exit_free(void *p) {
#if CONC__HAS_TLS
    if (conc__load32(&closed, CONC__SEQ_CST) != 0) (void)conc__add32(&frees_after, 1, CONC__SEQ_CST);
#endif
    free(p);
}
#endif

static void say_late_frees(void) { /* registered first, runs last */
    if (late_frees() != 0) say("freed after the end");
}

static int last_steps(void) {
    int i;
    if (atexit(say_late_frees) != 0 || atexit(close_all) != 0) return 99;
    for (i = 0; i < 4; i++) CHECK_OK(conc_thread_detach(start(work_a_while, done_1, false)));
    return 0;
}

static int canceled_main(void) { /* main's own token does not end the wait at the end */
    static conc_cancel token;
    (void)start(work_a_while, done_1, false);
    CHECK_OK(conc_cancel_fire(&token));
    (void)conc_cancel_use(&token);
    return 0;
}

#if !defined(_WIN32)
static int leave_by_pthread_exit(void *arg) {
    say((const char *)arg);
    pthread_exit(NULL);
    return 0;
}

static char leaving[] = "leaving by pthread_exit";

static int pthread_exit_in_thread(void) { /* ends the thread: join sees its end, main's end too */
    int result = 77;
    conc_thread *t = start(leave_by_pthread_exit, leaving, false);
    CHECK_OK(conc_thread_join(t, &result, CONC_FOREVER));
    (void)start(leave_by_pthread_exit, leaving, false);
    say("main returns");
    return 0;
}

CONC__UNUSED static int pthread_exit_in_main(void) { /* the process ends with its last thread */
    (void)start(work_a_while, done_1, false);
    say("main leaves");
    fflush(stdout);
    pthread_exit(NULL);
    return 99;
}
#endif

typedef struct scenario {
    const char *name;
    int (*run)(void);
    int status;
    const char *out, *err; /* what it has to print: exactly, or parts that must be there if it begins with '*' */
} scenario;

static const scenario scenarios[] = {
    { "main_returns", main_returns, 3, "*main returns\n|worker 1 done\n|worker 2 done\n|worker 3 done\n", "" },
    { "main_exits", main_exits, 4, "main exits\nworker 1 done\n", "" },
    { "daemons_only", daemons_only, 5, "main returns\n", "" },
    { "daemon_and_worker", daemon_and_worker, 0, "main returns\nworker 1 done\n", "" },
    { "thread_exits", thread_exits, 7, "thread exits\n", "" },
    { "threads_start_threads", threads_start_threads, 0, "main returns\ngrandchild done\n", "" },
    { "thread_joins_all", thread_joins_all, 0, "worker 1 done\nworker 2 done\n", "" },
    { "atexit_order", atexit_order, 0,
      "main returns\natexit registered after the first thread\nworker 1 done\natexit registered before the first thread\n", "" },
    { "failures_to_stderr", failures_to_stderr, 0, "", "*unlucky|joined-blindly" },
    { "failure_left_alone", failure_left_alone, 0, "", "*forgotten" },
    { "join_all_then_quick_exit", join_all_then_quick_exit, 6, "worker 1 done\nall joined\n", "" },
    { "silent", silent, 0, "worker 1 done\n", "" },
    { "timer_at_exit", timer_at_exit, 8, "", "" },
    { "last_steps", last_steps, 0, "worker 1 done\nworker 1 done\nworker 1 done\nworker 1 done\n", "" },
    { "canceled_main", canceled_main, 0, "worker 1 done\n", "" },
#if !defined(_WIN32)
    { "pthread_exit_in_thread", pthread_exit_in_thread, 0, "*leaving by pthread_exit\n|main returns\n", "" },
#endif
#if !defined(_WIN32) && !CHECK_TSAN /* under which a main that leaves so hangs by itself, without any library */
    { "pthread_exit_in_main", pthread_exit_in_main, 0, "main leaves\nworker 1 done\n", "" },
#endif
};

/* ---- in the parent ---- */

static const char *self_path;

static void read_file(const char *path, char *text, size_t size) {
    FILE *f = fopen(path, "rb");
    size_t n = 0, i, k;
    if (f != NULL) {
        n = fread(text, 1, size - 1, f);
        fclose(f);
    }
    for (i = k = 0; i < n; i++) {
        if (text[i] != '\r') text[k++] = text[i];
    }
    text[k] = '\0';
}

/* The exit status of `self name`, its output in `out` and `err`; -1: it could not be run or was killed. */
static int run_child(const char *name, char *out, char *err, size_t size) {
    char command[3000], out_path[1000], err_path[1000];
    const char *launcher = getenv("CONC_TEST_LAUNCHER");
    int status;
    snprintf(out_path, sizeof out_path, "%.900s.%s.out", self_path, name);
    snprintf(err_path, sizeof err_path, "%.900s.%s.err", self_path, name);
#if defined(_WIN32)
    (void)launcher;
    snprintf(command, sizeof command, "\"\"%s\" %s > \"%s\" 2> \"%s\"\"", self_path, name, out_path, err_path);
#else
    snprintf(command, sizeof command, "%s '%s' %s > '%s' 2> '%s'", launcher != NULL ? launcher : "", self_path, name,
             out_path, err_path);
#endif
    fflush(NULL);
    status = system(command);
    read_file(out_path, out, size);
    read_file(err_path, err, size);
    remove(out_path);
    remove(err_path);
#if defined(_WIN32)
    return status;
#else
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
#endif
}

/* The lines of the sanitizers are none of the library's. */
static bool as_wanted(const char *got, const char *want) {
    char part[200];
    if (want[0] != '*') return strcmp(got, want) == 0;
    want++;
    while (*want != '\0') {
        size_t n = strcspn(want, "|");
        snprintf(part, sizeof part, "%.*s", (int)n, want);
        if (strstr(got, part) == NULL) return false;
        want += n + (want[n] == '|');
    }
    return true;
}

/* Each report is one line. */
static void check_lines(const scenario *s, const char *err) {
    int lines = 0;
    const char *p;
    for (p = err; *p != '\0'; p++) lines += *p == '\n';
    if (s->run == failures_to_stderr) CHECK_EQ(lines, 2);
    if (s->run == failure_left_alone) CHECK_EQ(lines, 1);
}

int main(int argc, char **argv) {
    static char out[8000], err[8000];
    size_t i;
    int round, rounds;
    check_begin("exit");
    if (argc > 1) {
        for (i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
            if (strcmp(argv[1], scenarios[i].name) == 0) {
                int status = scenarios[i].run();
                return check_failures != 0 ? 98 : status;
            }
        }
        return strcmp(argv[1], "probe") == 0 ? 42 : 97;
    }
    self_path = argv[0];
    if (run_child("probe", out, err, sizeof out) != 42) return check_skip("exit", "it cannot run itself");
    rounds = check_rounds_least(6, 1);
    for (i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const scenario *s = &scenarios[i];
        check_enter(s->name);
        for (round = 0; round < rounds; round++) {
            int status = run_child(s->name, out, err, sizeof out);
            bool ok = CHECK_EQ(status, s->status);
            ok &= CHECK(as_wanted(out, s->out));
            ok &= CHECK(as_wanted(err, s->err));
            if (!ok) {
                fprintf(stderr, "  it wrote:\n%s  and on stderr:\n%s", out, err);
                break;
            }
            check_lines(s, err);
        }
    }
    return check_end();
}
