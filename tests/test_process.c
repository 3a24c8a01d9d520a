/* Processes: start, join, how they end, channels, shared memory; forked and, where main's lines are, spawned. */

#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"

#include "check.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#endif

#define PATIENCE conc_after(60) /* far more than anything here takes */

/* Every case is run with each method that there is. */
static conc_process_method method;

static conc_process_desc of(const char *name) {
    conc_process_desc d;
    memset(&d, 0, sizeof d);
    d.name = name;
    d.method = method;
    return d;
}

static conc_process *start(conc_fn fn, void *arg, size_t size, const conc_process_desc *desc) {
    conc_process_desc d = of(NULL);
    conc_process *p = conc_process_start(fn, arg, size, desc != NULL ? desc : &d);
#if defined(_WIN32)
    int again = 3; /* wine on a busy machine: its server now and then turns a new process away */
    while (p == NULL && again-- > 0 && strstr(conc_error_detail(), "Internal error") != NULL)
        p = conc_process_start(fn, arg, size, desc != NULL ? desc : &d);
#endif
    if (!CHECK(p != NULL)) {
        fprintf(stderr, "cannot start a process: %s\n", conc_error_detail());
        exit(1);
    }
    return p;
}

/* ---- tasks: they run in children --------------------------------------------------------------------- */

typedef struct numbers {
    int n;
    long sum;
    long pid;
    char name[32];
} numbers;

static int add_up(void *arg) {
    numbers *x = (numbers *)arg;
    int i;
    for (i = 1; i <= x->n; i++) x->sum += i;
    x->pid = conc_process_pid(NULL);
    snprintf(x->name, sizeof x->name, "%s", conc_process_name(NULL));
    return 0;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static int returns(void *arg) {
    return *(int *)arg;
}

static int fill(void *arg) {
    unsigned char *bytes = (unsigned char *)arg;
    size_t i;
    for (i = 0; i < 8 * 1048576; i++) bytes[i] = (unsigned char)(bytes[i] + i % 251);
    return 0;
}

static int sleeps(void *arg) {
    (void)arg;
    return conc_sleep(conc_after(100)) == CONC_OK ? 0 : 1;
}

static int crashes(void *arg) {
    numbers *x = (numbers *)arg;
    x->sum = 77;
#if !defined(_WIN32)
    raise(x->n);
#else
    abort();
#endif
    return 0;
}

static int exits(void *arg) {
    *(int *)arg = 5;
    if (arg != NULL) exit(3);
    return 0;
}

/* Threads, queues, sleeps, tokens: all of it works there. */
static int adder(void *q) {
    int x;
    long sum = 0;
    while (conc_queue_get((conc_queue *)q, &x, PATIENCE) == CONC_OK) sum += x;
    return sum == 5050 ? 0 : 1;
}

static int uses_library(void *arg) {
    conc_queue *q = conc_queue_new(sizeof(int), 4);
    conc_thread *t = conc_thread_start(adder, q, NULL);
    conc_cancel token;
    int i, code = 1;
    (void)arg;
    for (i = 1; i <= 100; i++) {
        if (conc_queue_put(q, &i, PATIENCE) != CONC_OK) return 2;
    }
    conc_queue_close(q);
    if (conc_thread_join(t, &code, PATIENCE) != CONC_OK || code != 0) return 3;
    conc_queue_free(q);
    if (conc_sleep(conc_after(0.001)) != CONC_OK) return 4;
    memset(&token, 0, sizeof token);
    conc_cancel_fire(&token);
    conc_cancel_use(&token);
    if (conc_sleep(PATIENCE) != CONC_CANCELED) return 5;
    conc_cancel_use(NULL);
    if (strcmp(conc_thread_name(NULL), "main") != 0 || conc_thread_count() != 1) return 6;
    return 0;
}

static int echoes(void *arg) {
    conc_channel *c = conc_process_channel(NULL);
    size_t size = *(size_t *)arg, n;
    char *buffer = (char *)malloc(size);
    conc_result r = CONC_NO_MEMORY;
    while (buffer != NULL && (r = conc_channel_get(c, buffer, size, &n, PATIENCE)) == CONC_OK) {
        if (n == 4 && memcmp(buffer, "stop", 4) == 0) break;
        r = conc_channel_put(c, buffer, n, PATIENCE);
        if (r != CONC_OK) break;
    }
    free(buffer);
    return r == CONC_OK || r == CONC_CLOSED ? 0 : 1;
}

/* Begins a message that is larger than what the system takes, and dies. */
static int tears(void *arg) {
    static char big[4 * 1048576];
    (void)arg;
    (void)conc_channel_put(conc_process_channel(NULL), big, sizeof big, conc_after(0.05));
#if defined(_WIN32)
    abort();
#else
    raise(SIGKILL);
#endif
    return 0;
}

static int counts(void *arg) {
    int *cells = (int *)conc_shared_data(conc_process_shared(0));
    int i, n = *(int *)arg;
    if (conc_process_shared(1) != NULL || conc_shared_size(conc_process_shared(0)) != 4096) return 1;
    for (i = 0; i < 1000; i++) cells[n]++;
    return 0;
}

static int same_twice(void *arg) {
    char *first = (char *)conc_shared_data(conc_process_shared(0)), *second = (char *)conc_shared_data(conc_process_shared(1));
    (void)arg;
    if (first == NULL || second == NULL || conc_process_shared(2) != NULL) return 1;
    first[4095] = 'x';
    return second[4095] == 'x' ? 0 : 2;
}

/* Its own child, which tells it the number of descriptors. */
static int has_child(void *arg) {
    numbers x;
    conc_process *p;
    int code = 1;
    memset(&x, 0, sizeof x);
    x.n = 10;
    p = conc_process_start(add_up, &x, sizeof x, NULL);
    if (p == NULL || conc_process_join(p, &code, PATIENCE) != CONC_OK) return 1;
    *(long *)arg = x.sum;
    return code;
}

static int starts_and_waits(void *arg) {
    conc_process_desc d;
    conc_process *p;
    long pid;
    memset(&d, 0, sizeof d);
    d.daemon = true;
    (void)arg;
    p = conc_process_start(sleeps, NULL, 0, &d);
    if (p == NULL) return 1;
    pid = conc_process_pid(p);
    if (conc_channel_put(conc_process_channel(NULL), &pid, sizeof pid, PATIENCE) != CONC_OK) return 2;
    return sleeps(NULL);
}

#if !defined(_WIN32)
static int open_descriptors(void) {
    int fd, n = 0;
    for (fd = 0; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) n++;
    }
    return n;
}

static int tells_descriptors(void *arg) {
    *(int *)arg = open_descriptors();
    return 0;
}

static int closes_all(void *arg) {
    int fd;
    (void)arg;
    for (fd = 3; fd < 256; fd++) (void)close(fd);
    return conc_sleep(conc_after(0.05)) == CONC_OK ? 0 : 1;
}

static int forks(void *arg) {
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(0); /* nobody is to wait for what it holds */
        (void)close(1);
        (void)close(2);
        (void)conc_sleep(conc_after(8.0));
        _exit(0);
    }
    *(long *)arg = (long)pid;
    return 0;
}

/* Its child closes what is its parent's; what that one opens then is its own, and so its child's. */
static int forks_twice(void *arg) {
    int status = -1;
    pid_t pid = fork();
    (void)arg;
    if (pid == 0) {
        int fd, i, bad = 0;
        for (i = 0; i < 16; i++) (void)open("/dev/null", O_RDONLY);
        fd = dup(0);
        pid = fork();
        if (pid == 0) {
            for (i = 3; i < fd; i++) bad += fcntl(i, F_GETFD) < 0;
            _exit(bad);
        }
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) _exit(99);
        _exit(WEXITSTATUS(status));
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return 98;
    return WEXITSTATUS(status);
}

static int stubborn(void *arg) {
    (void)arg;
    signal(SIGTERM, SIG_IGN);
    (void)conc_channel_put(conc_process_channel(NULL), "", 0, PATIENCE);
    return sleeps(NULL);
}

static int stops(void *arg) {
    (void)arg;
    raise(SIGSTOP);
    return sleeps(NULL);
}
#endif

static int lost;
static char lost_text[400];
static void hook(const conc_error *e, void *user) {
    (void)user;
    lost++;
    snprintf(lost_text, sizeof lost_text, "%s", e->text);
}

/* ---- cases --------------------------------------------------------------------------------------------- */

static void start_and_join(void) {
    conc_process_desc d = of("first");
    numbers x;
    conc_process *p;
    int code = -1;
    memset(&x, 0, sizeof x);
    x.n = 100;
    p = start(add_up, &x, sizeof x, &d);
    CHECK_STR(conc_process_name(p), "first");
    CHECK(!conc_process_is_daemon(p));
    CHECK(conc_process_pid(p) > 0 && conc_process_pid(p) != conc_process_pid(NULL));
    x.pid = conc_process_pid(p) + 1; /* what is here meanwhile does not count */
    {
        long pid = conc_process_pid(p);
        CHECK_OK(conc_process_join(p, &code, PATIENCE));
        CHECK_EQ(x.pid, pid);
    }
    CHECK_EQ(code, 0);
    CHECK_EQ(x.sum, 5050);
    CHECK_STR(x.name, "first");
    CHECK_MISUSE(conc_process_join(p, &code, PATIENCE), CONC_INVALID);
    CHECK_MISUSE(conc_process_detach(p), CONC_INVALID);
    CHECK_MISUSE(conc_process_kill(p), CONC_INVALID);
    CHECK_R(conc_wait(conc_op_process_end(p), PATIENCE), CONC_INVALID);
    CHECK(!conc_process_is_alive(p));
    CHECK_STR(conc_process_name(p), "?");
}

static void codes(void) {
    static const int list[] = { 0, 1, -1, 255, 256, 65536, -2147483647 };
    size_t i;
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        int arg = list[i], code = 1234;
        conc_process *p = start(returns, &arg, sizeof arg, NULL);
        CHECK_OK(conc_process_join(p, &code, PATIENCE));
        CHECK_EQ(code, list[i]);
    }
}

static void no_argument(void) {
    int code = -1;
    conc_process *p = start(nothing, NULL, 0, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
    CHECK_MISUSE_NULL(conc_process_start(NULL, NULL, 0, NULL), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_process_start(nothing, NULL, 1, NULL), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_process_start(nothing, &code, SIZE_MAX - 10, NULL), CONC_NO_MEMORY);
    CHECK_MISUSE(conc_process_join(NULL, NULL, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_process_detach(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_process_terminate(NULL), CONC_INVALID);
    CHECK(conc_process_is_alive(NULL));
    CHECK_STR(conc_process_name(NULL), "main");
    CHECK(conc_process_channel(NULL) == NULL);
    CHECK(conc_process_shared(0) == NULL);
}

/* Nothing is taken while it runs: it ends all the same, and is_alive tells so. */
static void large_result(void) {
    size_t size = 8 * 1048576, i, bad = 0;
    unsigned char *bytes = (unsigned char *)calloc(size, 1);
    int code = -1;
    conc_process *p = start(fill, bytes, size, NULL);
    UNTIL(!conc_process_is_alive(p));
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    for (i = 0; i < size; i++) bad += bytes[i] != (unsigned char)(i % 251);
    CHECK_EQ(bad, 0);
    free(bytes);
}

static void deadlines(void) {
    int code = 0;
    conc_process *p = start(sleeps, NULL, 0, NULL);
    conc_cancel token;
    CHECK_R(conc_process_join(p, &code, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_process_join(p, &code, conc_after(0.02)), CONC_TIMEOUT);
    memset(&token, 0, sizeof token);
    conc_cancel_fire(&token);
    CONC_WITH_CANCEL(&token) CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CANCELED);
    CHECK(conc_process_is_alive(p));
    CHECK_OK(conc_process_kill(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
}

static void terminate_and_kill(void) {
    int code = 0;
    conc_process_desc d = of("victim");
    conc_process *p = start(sleeps, NULL, 0, &d);
    CHECK_OK(conc_process_terminate(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
#if !defined(_WIN32)
    CHECK_EQ(code, -SIGTERM);
    CHECK_HAS(conc_error_detail(), "\"victim\" was ended by signal 15 (SIGTERM)");
#endif
    p = start(sleeps, NULL, 0, &d);
    CHECK_OK(conc_process_kill(p));
    UNTIL(!conc_process_is_alive(p));
    CHECK_OK(conc_process_kill(p)); /* it has ended: harmless */
    CHECK_OK(conc_process_terminate(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
#if !defined(_WIN32)
    CHECK_EQ(code, -SIGKILL);
    p = start(stops, NULL, 0, &d);
    (void)conc_sleep(conc_after(0.02));
    CHECK_OK(conc_process_terminate(p)); /* also one that is stopped */
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    CHECK_EQ(code, -SIGTERM);
    p = start(sleeps, NULL, 0, &d);
    CHECK_R(conc_process_stop(p, &code, PATIENCE), CONC_CRASHED);
    CHECK_EQ(code, -SIGTERM);
    d.channel = true;
    p = start(stubborn, NULL, 0, &d);
    {
        size_t n;
        char byte;
        CHECK_OK(conc_channel_get(conc_process_channel(p), &byte, 1, &n, PATIENCE));
    }
    CHECK_R(conc_process_stop(p, &code, conc_after(0.02)), CONC_CRASHED);
    CHECK_EQ(code, -SIGKILL);
    CHECK_MISUSE(conc_process_stop(p, &code, CONC_NOW), CONC_INVALID);
#endif
    p = start(sleeps, NULL, 0, NULL);
    CHECK_R(conc_process_stop(p, &code, CONC_NOW), CONC_CRASHED);
}

static void crash(void) {
    numbers x;
    int code = 0, arg = 1;
    conc_process *p;
    memset(&x, 0, sizeof x);
    x.sum = 11;
    x.n = 9; /* (sanitizers handle the others) */
    p = start(crashes, &x, sizeof x, NULL);
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    CHECK_EQ(x.sum, 11); /* nothing of it comes back */
#if !defined(_WIN32)
    CHECK_EQ(code, -9);
#endif
    p = start(exits, &arg, sizeof arg, NULL);
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    CHECK_EQ(code, 3);
    CHECK_EQ(arg, 1);
    CHECK_HAS(conc_error_detail(), "ended with exit code 3 before its task returned");
}

static void library_in_child(void) {
    int code = -1;
    conc_process *p = start(uses_library, NULL, 0, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
}

static int waits_for_end(void *p) {
    return conc_wait(conc_op_process_end((conc_process *)p), PATIENCE) == CONC_OK ? 0 : 1;
}

CONC_CORO(watcher, conc_process *p; conc_result got;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_process_end(self->p));
    self->got = self->co.result;
    CO_RETURN(self->got == CONC_OK ? 0 : 1);
    CO_END;
}

static void ends_as_ops(void) {
    conc_process *p[3];
    conc_op ops[4];
    crew c;
    conc_loop *loop = conc_loop_new(NULL);
    int i, code;
    memset(&c, 0, sizeof c);
    for (i = 0; i < 3; i++) p[i] = start(sleeps, NULL, 0, NULL);
    for (i = 0; i < 3; i++) ops[i] = conc_op_process_end(p[i]);
    ops[3] = conc_op_sleep(0.02);
    CHECK_EQ(conc_select(ops, 4, PATIENCE), 3);
    crew_add(&c, waits_for_end, p[1]);
    crew_add(&c, waits_for_end, p[1]);
    CHECK_OK(conc_process_kill(p[1]));
    for (i = 0; i < 3; i++) ops[i] = conc_op_process_end(p[i]);
    ops[3] = conc_op_sleep(50);
    CHECK_EQ(conc_select(ops, 4, PATIENCE), 1);
    crew_join(&c);
    CHECK(CONC_SPAWN(loop, watcher, .p = p[2]) != NULL);
    CHECK(CONC_SPAWN(loop, watcher, .p = p[0]) != NULL);
    CHECK_OK(conc_process_kill(p[2]));
    CHECK_OK(conc_process_kill(p[0]));
    CHECK_OK(conc_loop_run(loop, PATIENCE));
    conc_loop_free(loop);
    for (i = 0; i < 3; i++) CHECK_R(conc_process_join(p[i], &code, PATIENCE), CONC_CRASHED);
}

static void many(void) {
    enum { N = 24 };
    conc_process *p[N];
    numbers x[N];
    int i, code;
    memset(x, 0, sizeof x);
    for (i = 0; i < N; i++) {
        x[i].n = i;
        p[i] = start(add_up, &x[i], sizeof x[i], NULL);
    }
    for (i = N - 1; i >= 0; i--) {
        CHECK_OK(conc_process_join(p[i], &code, PATIENCE));
        CHECK_EQ(x[i].sum, i * (i + 1) / 2);
    }
}

static void nested(void) {
    long sum = 0;
    int code = -1;
    conc_process *p = start(has_child, &sum, sizeof sum, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
    CHECK_EQ(sum, 55);
}

/* Started by threads, and by tasks of a pool, at the same time; each child is a program of its own. */
static int starts_some(void *arg) {
    int i, code = 1;
    (void)arg;
    for (i = 0; i < 10; i++) {
        numbers x;
        conc_process *p;
        memset(&x, 0, sizeof x);
        x.n = 50;
        p = start(add_up, &x, sizeof x, NULL);
        CHECK_OK(conc_process_join(p, &code, PATIENCE));
        if (!CHECK_EQ(x.sum, 1275) || code != 0) return 1;
        p = start(uses_library, NULL, 0, NULL);
        CHECK_OK(conc_process_join(p, &code, PATIENCE));
        if (!CHECK_EQ(code, 0)) return 1;
    }
    return 0;
}

static void from_threads(void) {
    conc_pool *pool = conc_pool_new(NULL);
    conc_future *f = conc_pool_submit(pool, starts_some, NULL);
    crew c;
    int i;
    memset(&c, 0, sizeof c);
    for (i = 0; i < 3; i++) crew_add(&c, starts_some, NULL);
    CHECK_OK(conc_future_wait(f, PATIENCE));
    conc_future_release(f);
    crew_join(&c);
    CHECK_OK(conc_pool_finish(pool));
}

/* ---- channels ------------------------------------------------------------------------------------------------ */

static void channel_echo(void) {
    static const size_t sizes[] = { 0, 1, 4, 5, 1000, 65528, 65536, 70000, 1048576, 3000000 };
    conc_process_desc d = of("echo");
    size_t most = 3000000, n, i, k;
    char *out = (char *)malloc(most), *in = (char *)malloc(most);
    conc_process *p;
    conc_channel *c;
    int code = -1;
    d.channel = true;
    p = start(echoes, &most, sizeof most, &d);
    c = conc_process_channel(p);
    CHECK(c != NULL);
    CHECK_R(conc_channel_get(c, in, most, &n, CONC_NOW), CONC_EMPTY);
    CHECK_R(conc_channel_get(c, in, most, &n, conc_after(0.01)), CONC_TIMEOUT);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (k = 0; k < sizes[i]; k++) out[k] = (char)(k * 7 + i);
        CHECK_OK(conc_channel_put(c, out, sizes[i], PATIENCE));
        if (sizes[i] > 100) {
            CHECK_R(conc_channel_get(c, in, 10, &n, PATIENCE), CONC_FULL);
            CHECK_EQ(n, sizes[i]);
        }
        CHECK_OK(conc_channel_get(c, in, most, &n, PATIENCE));
        CHECK_EQ(n, sizes[i]);
        CHECK(memcmp(in, out, n) == 0);
    }
    for (i = 0; i < 2000; i++) { /* many small ones on their way */
        if (!CHECK_OK(conc_channel_put(c, &i, sizeof i, PATIENCE))) break;
        if (i % 50 != 49) continue;
        for (k = i - 49; k <= i; k++) {
            size_t got = 0;
            CHECK_OK(conc_channel_get(c, &got, sizeof got, &n, PATIENCE));
            CHECK_EQ(got, k);
        }
    }
    CHECK_MISUSE(conc_channel_put(c, out, (size_t)17 << 20, PATIENCE), CONC_INVALID);
    CHECK_MISUSE(conc_channel_put(NULL, out, 1, PATIENCE), CONC_INVALID);
    CHECK_MISUSE(conc_channel_close(NULL), CONC_INVALID);
    CHECK_OK(conc_channel_put(c, "stop", 4, PATIENCE));
    UNTIL(!conc_process_is_alive(p));
    CHECK_R(conc_channel_get(c, in, most, &n, PATIENCE), CONC_CLOSED);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
    free(out);
    free(in);
}

/* Bounded: there comes a put that has to wait. What then has gone in part counts as put, and is followed by its rest. */
static void channel_bounded(void) {
    conc_process_desc d = of("late");
    size_t most = 100000, n, puts = 0, k;
    char *out = (char *)malloc(most);
    conc_process *p;
    conc_channel *c;
    conc_result r;
    int code = -1;
    d.channel = true;
    p = start(echoes, &most, sizeof most, &d);
    c = conc_process_channel(p);
    memset(out, 'x', most);
    while ((r = conc_channel_put(c, out, most, conc_after(0.05))) == CONC_OK) puts++;
    CHECK_R(r, CONC_TIMEOUT);
    CHECK(puts > 0 && puts < 1000);
    for (k = 0; k < puts; k++) {
        CHECK_OK(conc_channel_get(c, out, most, &n, PATIENCE));
        CHECK_EQ(n, most);
        CHECK(out[0] == 'x' && out[most - 1] == 'x');
        if (k == puts / 2) CHECK_OK(conc_channel_put(c, "", 0, PATIENCE));
    }
    CHECK_OK(conc_channel_get(c, out, most, &n, PATIENCE));
    CHECK_EQ(n, 0);
    CHECK_OK(conc_channel_close(c));
    CHECK_R(conc_channel_put(c, out, 1, PATIENCE), CONC_CLOSED);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
    free(out);
}

/* A put that timed out when a part had gone, and then nothing but gets: the rest goes all the same. */
static void channel_rest(void) {
    conc_process_desc d = of("slow");
    size_t most = 8 * 1048576, n = 0;
    char *out = (char *)malloc(most), *in = (char *)malloc(most);
    conc_process *p;
    int code = -1;
    memset(out, 'y', most);
    d.channel = true;
    p = start(echoes, &most, sizeof most, &d);
    CHECK_OK(conc_channel_put(conc_process_channel(p), out, most, CONC_NOW));
    CHECK_OK(conc_channel_get(conc_process_channel(p), in, most, &n, PATIENCE));
    CHECK_EQ(n, most);
    CHECK(memcmp(in, out, most) == 0);
    CHECK_OK(conc_channel_close(conc_process_channel(p)));
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
    free(out);
    free(in);
}

static int takes(void *c) {
    char byte;
    size_t n;
    conc_result r = conc_channel_get((conc_channel *)c, &byte, 1, &n, PATIENCE);
    return r == CONC_CLOSED ? 0 : 1;
}

static void channel_ends(void) {
    conc_process_desc d = of("torn");
    size_t most = 8 * 1048576, n;
    char *buffer = (char *)malloc(most);
    conc_process *p;
    crew c;
    int code, i;
    memset(&c, 0, sizeof c);
    d.channel = true;
    p = start(tears, NULL, 0, &d);
    UNTIL(!conc_process_is_alive(p)); /* what we took would make room for the rest */
    {
        conc_result r = conc_channel_get(conc_process_channel(p), buffer, most, &n, PATIENCE);
#if defined(_WIN32)
        if (r != CONC_OK) /* (where the system takes all that one send hands it) */
#endif
        CHECK_R(r, CONC_BROKEN);
    }
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    d = of("quiet");
    d.channel = true;
    p = start(sleeps, NULL, 0, &d);
    for (i = 0; i < 3; i++) crew_add(&c, takes, conc_process_channel(p));
    nudge(3);
    CHECK_OK(conc_channel_close(conc_process_channel(p)));
    CHECK_OK(conc_channel_close(conc_process_channel(p)));
    crew_join(&c);
    CHECK_OK(conc_process_kill(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    free(buffer);
}

/* Several take from one end: each message goes to one of them, none is left behind in the buffer. */
static uint32_t taken_sum;
static conc_mutex taken_lock;
static int takes_all(void *c) {
    uint32_t x;
    size_t n;
    while (conc_channel_get((conc_channel *)c, &x, sizeof x, &n, PATIENCE) == CONC_OK && x != 0) {
        CONC_WITH_LOCK(&taken_lock) taken_sum += x;
    }
    return 0;
}

static void channel_shared_by_threads(void) {
    conc_process_desc d = of("echo");
    size_t most = 64;
    uint32_t x, rounds = (uint32_t)check_rounds(2000);
    conc_process *p;
    conc_channel *ch;
    crew c;
    int code = -1;
    memset(&c, 0, sizeof c);
    d.channel = true;
    taken_sum = 0;
    p = start(echoes, &most, sizeof most, &d);
    ch = conc_process_channel(p);
    for (x = 0; x < 3; x++) crew_add(&c, takes_all, ch);
    for (x = 1; x <= rounds; x++) CHECK_OK(conc_channel_put(ch, &x, sizeof x, PATIENCE));
    x = 0;
    CHECK_OK(conc_channel_put(ch, &x, sizeof x, PATIENCE));
    CHECK_OK(conc_channel_put(ch, &x, sizeof x, PATIENCE));
    CHECK_OK(conc_channel_put(ch, &x, sizeof x, PATIENCE));
    crew_join(&c);
    CHECK_EQ(taken_sum, rounds * (rounds + 1) / 2);
    CHECK_OK(conc_channel_close(ch));
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
}

static conc_event talked;
CONC_CORO(talker, conc_channel *c; conc_io io; conc_out out; int i, x, y;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 300; self->i++) {
        self->out.data = &self->i;
        self->out.size = sizeof self->i;
        CO_AWAIT(conc_op_channel_put(self->c, &self->out));
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->io.data = &self->y;
        self->io.size = sizeof self->y;
        CO_AWAIT(conc_op_channel_get(self->c, &self->io));
        if (self->co.result != CONC_OK || self->y != self->i || self->io.done != sizeof self->y) CO_RETURN(2);
    }
    conc_event_set(&talked);
    CO_AWAIT(conc_op_channel_get(self->c, &self->io));
    CO_RETURN(self->co.result == CONC_CLOSED ? 0 : 3);
    CO_END;
}

static int kills_later(void *p) {
    (void)conc_event_wait(&talked, PATIENCE);
    (void)conc_sleep(conc_after(0.01));
    return conc_process_kill((conc_process *)p) == CONC_OK ? 0 : 1;
}

static void channel_in_coroutine(void) {
    conc_process_desc d = of("echo");
    size_t most = 64;
    conc_loop *loop = conc_loop_new(NULL);
    conc_process *p;
    crew c;
    int code = -1;
    memset(&c, 0, sizeof c);
    d.channel = true;
    p = start(echoes, &most, sizeof most, &d);
    conc_event_reset(&talked);
    conc_set_error_hook(hook, NULL);
    lost = 0;
    CHECK(CONC_SPAWN(loop, talker, .c = conc_process_channel(p)) != NULL);
    crew_add(&c, kills_later, p);
    CHECK_OK(conc_loop_run(loop, PATIENCE));
    CHECK_EQ(lost, 0); /* it returned 0 */
    conc_set_error_hook(NULL, NULL);
    crew_join(&c);
    conc_loop_free(loop);
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
}

/* Who waits on the channel when its handle is given back, and comes to it only later. */
CONC_CORO(taker, conc_channel *c; conc_io io; int *ended;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_channel_get(self->c, &self->io));
    *self->ended += self->co.result == CONC_CLOSED;
    CO_RETURN(0);
    CO_END;
}

static void channel_waited_for(void) {
    conc_process_desc d = of("quiet");
    int i, code;
    d.channel = true;
    for (i = 0; i < 3; i++) {
        conc_loop *loop = conc_loop_new(NULL);
        conc_process *p = start(sleeps, NULL, 0, &d);
        int ended = 0;
        CHECK(CONC_SPAWN(loop, taker, .c = conc_process_channel(p), .ended = &ended) != NULL);
        CHECK(CONC_SPAWN(loop, taker, .c = conc_process_channel(p), .ended = &ended) != NULL);
        CHECK_R(conc_loop_run(loop, conc_after(0.01)), CONC_TIMEOUT);
        if (i == 0) {
            CHECK_R(conc_process_stop(p, &code, CONC_NOW), CONC_CRASHED);
        } else {
            CHECK_OK(conc_process_kill(p));
            UNTIL(!conc_process_is_alive(p));
            if (i == 1) CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
            conc_set_error_hook(hook, NULL);
            if (i == 2) CHECK_OK(conc_process_detach(p));
            conc_set_error_hook(NULL, NULL);
        }
        CHECK_EQ(ended, 0);
        CHECK_OK(conc_loop_run(loop, PATIENCE));
        CHECK_EQ(ended, 2);
        conc_loop_free(loop);
    }
}

/* ---- shared memory ----------------------------------------------------------------------------------------------- */

static void shared_memory(void) {
    conc_process_desc d = of("counter");
    conc_shared *s = conc_shared_new(4096), *same[2];
    conc_process *p[4];
    int *cells = (int *)conc_shared_data(s);
    int i, args[4], code;
    CHECK(s != NULL && cells != NULL);
    CHECK_EQ(conc_shared_size(s), 4096);
    for (i = 0; i < 1024; i++) CHECK_EQ(cells[i], 0);
    d.shared = &s;
    d.shared_count = 1;
    for (i = 0; i < 4; i++) {
        args[i] = i;
        p[i] = start(counts, &args[i], sizeof args[i], &d);
    }
    for (i = 0; i < 4; i++) {
        CHECK_OK(conc_process_join(p[i], &code, PATIENCE));
        CHECK_EQ(code, 0);
        CHECK_EQ(cells[i], 1000);
    }
    same[0] = same[1] = s;
    d.shared = same;
    d.shared_count = 2;
    p[0] = start(same_twice, NULL, 0, &d);
    CHECK_OK(conc_process_join(p[0], &code, PATIENCE));
    CHECK_EQ(code, 0);
    d.shared = &s;
    conc_shared_free(s);
    conc_shared_free(NULL);
    CHECK(conc_shared_data(NULL) == NULL);
    CHECK_MISUSE_NULL(conc_shared_new(0), CONC_INVALID);
    d.shared_count = 9;
    CHECK_MISUSE_NULL(conc_process_start(nothing, NULL, 0, &d), CONC_INVALID);
    s = NULL;
    d.shared_count = 1;
    CHECK_MISUSE_NULL(conc_process_start(nothing, NULL, 0, &d), CONC_INVALID);
}

/* ---- the system ---------------------------------------------------------------------------------------------------- */

static void detached(void) {
    int arg = 7;
    conc_process *p = start(returns, &arg, sizeof arg, NULL), *q;
    conc_set_error_hook(hook, NULL);
    lost = 0;
    CHECK_OK(conc_wait(conc_op_process_end(p), PATIENCE));
    CHECK_OK(conc_process_detach(p));
    CHECK_EQ(lost, 1);
    CHECK_HAS(lost_text, "returned 7");
    p = start(sleeps, NULL, 0, NULL);
    CHECK_OK(conc_process_kill(p));
    CHECK_OK(conc_process_join(p, NULL, PATIENCE) == CONC_CRASHED ? CONC_OK : CONC_FAILED);
    CHECK_EQ(lost, 2);
    p = start(nothing, NULL, 0, NULL);
    q = start(nothing, NULL, 0, NULL);
    CHECK_OK(conc_process_detach(p));
    CHECK_OK(conc_process_join(q, NULL, PATIENCE));
    CHECK_EQ(lost, 2);
    conc_set_error_hook(NULL, NULL);
}

/* Whether there is such a process, that is not merely a zombie which nobody here adopts and reaps. */
static bool is_there(long pid) {
#if defined(_WIN32)
    HANDLE h = OpenProcess(SYNCHRONIZE, FALSE, (DWORD)pid);
    bool there = h != NULL && WaitForSingleObject(h, 0) == WAIT_TIMEOUT;
    if (h != NULL) CloseHandle(h);
    return there;
#else
    char path[64], text[256] = "";
    FILE *f;
    bool there = kill((pid_t)pid, 0) == 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    f = fopen(path, "r");
    if (f != NULL && fgets(text, sizeof text, f) != NULL && strstr(text, ") Z") != NULL) there = false;
    if (f != NULL) fclose(f);
    return there;
#endif
}

/* A process killed: its own children end too. */
static void orphans(void) {
    conc_process_desc d = of("family");
    conc_process *p;
    long pid = 0;
    size_t n;
    int code;
    int64_t begin;
    d.channel = true;
    p = start(starts_and_waits, NULL, 0, &d);
    CHECK_OK(conc_channel_get(conc_process_channel(p), &pid, sizeof pid, &n, PATIENCE));
    CHECK(pid > 0 && is_there(pid));
    CHECK_OK(conc_process_kill(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    begin = conc_clock_ns();
    while (is_there(pid) && CHECK(conc_clock_ns() - begin < 1000000000)) (void)conc_sleep(conc_after(0.001));
}

#if !defined(_WIN32)

/* Children have nothing of each other, and nothing stays behind. */
static void descriptors(void) {
    conc_process_desc d = of("busy");
    conc_process *busy[4], *p;
    int before, alone = 0, beside = 0, i, code;
    (void)conc_sleep(conc_after(0.05)); /* what was detached has ended by now, and is given back by a start */
    p = start(tells_descriptors, &alone, sizeof alone, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    before = open_descriptors();
    d.channel = true;
    for (i = 0; i < 4; i++) busy[i] = start(sleeps, NULL, 0, &d);
    p = start(tells_descriptors, &beside, sizeof beside, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(beside, alone);
    for (i = 0; i < 4; i++) {
        CHECK_OK(conc_process_kill(busy[i]));
        CHECK_R(conc_process_join(busy[i], &code, PATIENCE), CONC_CRASHED);
    }
    CHECK_EQ(open_descriptors(), before);
}

static void closed_descriptors(void) {
    int code = -1;
    conc_process *p;
#if defined(CONC_PORT_PORTABLE)
    if (CHECK_TSAN) return; /* there a thread of ours reads from one, which is a race with the task's close() */
#endif
    p = start(closes_all, NULL, 0, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
}

/* How `body` ends in a process of its own: its exit code, or -1. */
static int apart(int (*body)(void)) {
    int status = 0;
    pid_t pid;
    fflush(NULL);
    pid = fork();
    if (pid == 0) _exit(body());
    if (!CHECK(pid > 0 && waitpid(pid, &status, 0) == pid)) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A limit to the size of files counts for shared memory too: it is said, and does not end the program. */
static int with_small_files(void) {
    conc_process_desc d = of("small");
    struct rlimit limit;
    numbers x;
    conc_process *p;
    int code = -1;
    memset(&x, 0, sizeof x);
    x.n = 10;
    limit.rlim_cur = limit.rlim_max = 65536;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 77;
    if (conc_shared_new(65537) != NULL || conc_error_result() != CONC_SYSTEM) return 1;
    p = conc_process_start(add_up, &x, sizeof x, &d);
    if (p == NULL || conc_process_join(p, &code, PATIENCE) != CONC_OK || x.sum != 55) return 2;
    return code;
}

static void small_files(void) {
#if defined(CONC_TEST_COVERAGE)
    return; /* which writes files of its own */
#endif
    CHECK_EQ(apart(with_small_files), 0);
}

/* The program's end does not wait for one that waits for the program: whoever would have sent has gone. */
static int leaves_listener(void) {
    conc_process_desc d = of("listener");
    size_t most = 64;
    d.channel = true;
    (void)alarm(20);
    if (conc_process_start(echoes, &most, sizeof most, &d) == NULL) return 1;
    exit(0);
}

static void unheard(void) {
    if (CHECK_TSAN || CHECK_ASAN) return;
    CHECK_EQ(apart(leaves_listener), 0);
}

/* When the program has ended, what still runs there (a daemon; here what exit() calls later) starts no more. */
static bool starts_late;
static void start_late(void) {
    conc_process_desc d = of("late");
    if (!starts_late) return;
    _exit(conc_process_start(nothing, NULL, 0, &d) == NULL && conc_error_result() == CONC_CLOSED ? 0 : 1);
}

static int ends_first(void) {
    starts_late = true;
    exit(5);
}

static void after_the_end(void) {
    if (CHECK_TSAN || CHECK_ASAN) return;
    CHECK_EQ(apart(ends_first), 0);
}

/* Signals with a handler, which interrupt the wait: it goes on. */
static volatile sig_atomic_t signals;
static void count_signal(int number) {
    (void)number;
    signals++;
}

static void interrupted(void) {
    conc_process_desc d = of("waited for");
    struct sigaction now, before;
    struct itimerval often, never;
    size_t n;
    char byte;
    conc_process *p;
    int code;
    d.channel = true;
    p = start(sleeps, NULL, 0, &d);
    memset(&now, 0, sizeof now);
    memset(&never, 0, sizeof never);
    now.sa_handler = count_signal;
    CHECK(sigaction(SIGALRM, &now, &before) == 0);
    signals = 0;
    often = never;
    often.it_interval.tv_usec = often.it_value.tv_usec = 1000;
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    CHECK_R(conc_channel_get(conc_process_channel(p), &byte, 1, &n, conc_after(0.05)), CONC_TIMEOUT);
    CHECK_R(conc_process_join(p, &code, conc_after(0.05)), CONC_TIMEOUT);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(signals > 0);
    CHECK(sigaction(SIGALRM, &before, NULL) == 0);
    CHECK_R(conc_process_stop(p, &code, PATIENCE), CONC_CRASHED);
}

/* A program without standard descriptors, which prints all the same: not into what is ours. */
static int without_standard(void) {
    conc_process_desc d = of("bare");
    size_t most = 64, n = 0;
    char text[64] = "";
    conc_process *p;
    int code = -1, i;
    (void)close(0);
    (void)close(1);
    (void)close(2);
    d.channel = true;
    p = conc_process_start(echoes, &most, sizeof most, &d);
    if (p == NULL) return 1;
    for (i = 0; i < 20; i++) {
        printf("nobody reads this\n");
        fflush(stdout);
        fprintf(stderr, "nor this\n");
    }
    if (conc_channel_put(conc_process_channel(p), "hello", 6, PATIENCE) != CONC_OK) return 2;
    if (conc_channel_get(conc_process_channel(p), text, sizeof text, &n, PATIENCE) != CONC_OK) return 3;
    if (n != 6 || strcmp(text, "hello") != 0) return 4;
    (void)conc_channel_close(conc_process_channel(p));
    if (conc_process_join(p, &code, PATIENCE) != CONC_OK) return 5;
    return code;
}

static void closed_standard(void) {
    CHECK_EQ(apart(without_standard), 0);
}

/* What another thread prints between the flush and the fork is printed once. (Here it is this one, that moment.) */
static bool prints_before_fork;
static void before_fork(void) {
    if (prints_before_fork) printf("between");
}

static int prints_between(void) {
    conc_process_desc d = of("silent");
    int fds[2], saved = dup(1), code = 1;
    char text[200];
    ssize_t n;
    conc_process *p;
    if (saved < 0 || pipe(fds) != 0 || dup2(fds[1], 1) != 1) return 1;
    prints_before_fork = true;
    p = conc_process_start(nothing, NULL, 0, &d);
    prints_before_fork = false;
    if (p == NULL || conc_process_join(p, &code, PATIENCE) != CONC_OK) return 2;
    fflush(stdout);
    (void)dup2(saved, 1);
    (void)close(fds[1]);
    n = read(fds[0], text, sizeof text);
    return n == 7 && memcmp(text, "between", 7) == 0 ? code : 3;
}

static void printed_once(void) {
    static bool watched;
    if (method != CONC_PROCESS_FORK) return;
    if (!watched) CHECK(pthread_atfork(before_fork, NULL, NULL) == 0);
    watched = true;
    CHECK_EQ(apart(prints_between), 0);
}

/* The command line of a process, by somebody who has made it up: numbers of no file, of one that is too short, of one
 * with something else in it. */
static int with_size(const char *size, size_t bytes) {
    char path[] = "/tmp/conc-test-XXXXXX", zeros[3000];
    int fd = mkstemp(path);
    memset(zeros, 0, sizeof zeros);
    if (fd < 0 || write(fd, zeros, bytes) != (ssize_t)bytes) return 77;
    (void)unlink(path);
    (void)dup2(fd, 9);
    (void)execl("/proc/self/exe", "a stranger", "--conc-process", size, "8", (char *)NULL);
    return 77;
}
static int too_short(void) {
    return with_size("9:100000", 0);
}
static int not_open(void) {
    return with_size("500:4096", 0);
}
static int something_else(void) {
    return with_size("9:3000", 3000);
}

static void strange_arguments(void) {
    if (method != CONC_PROCESS_SPAWN || access("/proc/self/exe", X_OK) != 0) return;
    CHECK_EQ(apart(too_short), 1);
    CHECK_EQ(apart(not_open), 1);
    CHECK_EQ(apart(something_else), 1);
}

static void forked_twice(void) {
    conc_process_desc d = of("family");
    int code = -1;
    conc_process *p;
    d.channel = true;
    p = start(forks_twice, NULL, 0, &d);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
}

/* What a task has forked does not keep us from seeing the task's end. */
static void forks_in_child(void) {
    long pid = 0;
    int code = -1;
    int64_t begin = conc_clock_ns();
    conc_process *p = start(forks, &pid, sizeof pid, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK(conc_clock_ns() - begin < (int64_t)7000000000);
    CHECK(pid > 0);
}

/* SIGCHLD ignored: the system keeps no status. And one that another has taken. */
static void status_lost(void) {
    int arg = 9, code = -2;
    conc_process *p;
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    p = start(returns, &arg, sizeof arg, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 9); /* it said so itself */
    p = start(sleeps, NULL, 0, NULL);
    CHECK_OK(conc_process_kill(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    CHECK_EQ(code, -1);
    CHECK_HAS(conc_error_detail(), "taken by somebody else");
    signal(SIGCHLD, before);
    p = start(sleeps, NULL, 0, NULL);
    CHECK_OK(conc_process_kill(p));
    CHECK(waitpid((pid_t)conc_process_pid(p), NULL, 0) == (pid_t)conc_process_pid(p));
    CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    CHECK_EQ(code, -1);
}

/* A handle in a child is the parent's. */
static conc_process *parents;
static int uses_parents(void *arg) {
    int code;
    (void)arg;
    if (conc_process_join(parents, &code, PATIENCE) != CONC_FORKED) return 1;
    if (conc_process_kill(parents) != CONC_FORKED) return 2;
    if (conc_wait(conc_op_process_end(parents), PATIENCE) != CONC_FORKED) return 3;
    if (conc_channel_put(conc_process_channel(parents), "", 0, PATIENCE) != CONC_FORKED) return 4;
    if (strcmp(conc_process_name(parents), "theirs") != 0) return 5;
    return 0;
}

static void forked_handles(void) {
    conc_process_desc d = of("theirs");
    conc_process *p;
    int code = -1;
    if (method != CONC_PROCESS_FORK) return;
    d.channel = true;
    parents = start(sleeps, NULL, 0, &d);
    p = start(uses_parents, NULL, 0, NULL);
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
    CHECK(conc_process_is_alive(parents));
    CHECK_OK(conc_process_kill(parents));
    CHECK_R(conc_process_join(parents, &code, PATIENCE), CONC_CRASHED);
}

/* A program with two processes: its end waits for the one, and ends the other. */
static int writes_late(void *arg) {
    int fd = *(int *)arg;
    (void)conc_sleep(conc_after(0.1));
    return write(fd, "late", 4) == 4 ? 0 : 1;
}

static void program_end(void) {
    int pipes[2], status = 0;
    char text[16];
    pid_t pid;
    int64_t begin = conc_clock_ns();
    if (method != CONC_PROCESS_FORK || CHECK_TSAN || CHECK_ASAN) return;
    if (!CHECK(pipe(pipes) == 0)) return;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        conc_process_desc d = of("endless");
        d.daemon = true;
        if (conc_process_start(sleeps, NULL, 0, &d) == NULL) _exit(8);
        d = of("late");
        if (conc_process_start(writes_late, &pipes[1], sizeof pipes[1], &d) == NULL) _exit(9);
        exit(0);
    }
    close(pipes[1]);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(read(pipes[0], text, sizeof text), 4);
    CHECK_EQ(read(pipes[0], text, sizeof text), 0); /* nobody is left who holds it */
    CHECK(conc_clock_ns() - begin < (int64_t)50000000000);
    close(pipes[0]);
}

/* Killed at any moment: each is reported once, and all is given back. */
static void storm(void) {
    uint32_t random = 4711;
    int i, rounds = check_rounds(150), done = 0, crashed = 0;
    for (i = 0; i < rounds; i++) {
        numbers x;
        int code = 0;
        conc_result r;
        conc_process *p;
        memset(&x, 0, sizeof x);
        x.n = 1000;
        p = start(add_up, &x, sizeof x, NULL);
        check_spin_us(method == CONC_PROCESS_FORK ? 800 : 4000, &random);
        CHECK_OK(conc_process_kill(p));
        r = conc_process_join(p, &code, PATIENCE);
        if (r == CONC_OK) {
            CHECK_EQ(x.sum, 500500);
            done++;
        } else {
            CHECK_R(r, CONC_CRASHED);
            CHECK_EQ(x.sum, 0);
            crashed++;
        }
    }
    printf("    %d returned, %d crashed\n", done, crashed);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1); /* no zombie */
}

#endif

static int never_registered(void *arg) {
    (void)arg;
    return 12;
}

#if !defined(_WIN32)

/* Killed among its messages: what comes is the beginning of what was sent, each message whole, and then an end. */
static void channel_storm(void) {
    conc_process_desc d = of("echo");
    static char out[40000], in[40000];
    size_t most = sizeof out, n, length;
    uint32_t random = 99;
    int i, rounds = check_rounds(60), torn = 0;
    d.channel = true;
    for (i = 0; i < rounds; i++) {
        conc_process *p = start(echoes, &most, sizeof most, &d);
        conc_channel *c = conc_process_channel(p);
        unsigned sent = 0, got = 0;
        int code = 0;
        int64_t end = conc_clock_ns() + (int64_t)(check_random(&random) % 8000000u);
        conc_result r = CONC_OK;
        while (r == CONC_OK && conc_clock_ns() < end) {
            length = 1 + sent * 997u % 39000u;
            memset(out, (int)(sent % 250u), length);
            r = conc_channel_put(c, out, length, conc_deadline_at(end));
            if (r == CONC_OK) sent++;
            while (conc_channel_get(c, in, sizeof in, &n, CONC_NOW) == CONC_OK) {
                length = 1 + got * 997u % 39000u;
                CHECK(n == length && in[0] == (char)(got % 250u) && in[n - 1] == in[0]);
                got++;
            }
        }
        CHECK(r == CONC_OK || r == CONC_TIMEOUT);
        CHECK_OK(conc_process_kill(p));
        while ((r = conc_channel_get(c, in, sizeof in, &n, PATIENCE)) == CONC_OK) {
            length = 1 + got * 997u % 39000u;
            CHECK(n == length && in[0] == (char)(got % 250u) && in[n - 1] == in[0]);
            got++;
        }
        CHECK(r == CONC_CLOSED || r == CONC_BROKEN);
        torn += r == CONC_BROKEN;
        CHECK(got <= sent);
        CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    }
    printf("    %d of %d torn\n", torn, rounds);
}

/* No more descriptors: it is said, nothing is lost, and afterwards it goes on. */
static void few_descriptors(void) {
    struct rlimit before, few;
    conc_process_desc d = of("crowd");
    conc_process *p[100];
    int n = 0, code;
    d.channel = true;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = 40;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while (n < 100 && (p[n] = conc_process_start(sleeps, NULL, 0, &d)) != NULL) n++;
    CHECK(n > 0 && n < 40);
    CHECK_R(conc_error_result(), CONC_REJECTED);
    CHECK_MISUSE_NULL(conc_process_start(sleeps, NULL, 0, &d), CONC_REJECTED);
    while (n > 0) {
        CHECK_OK(conc_process_kill(p[--n]));
        CHECK_R(conc_process_join(p[n], &code, PATIENCE), CONC_CRASHED);
    }
    p[0] = start(nothing, NULL, 0, &d);
    CHECK_OK(conc_process_join(p[0], &code, PATIENCE));
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

#endif

static void unregistered(void) {
    conc_process_desc d = of(NULL);
    d.method = CONC_PROCESS_SPAWN;
    CHECK_MISUSE_NULL(conc_process_start(never_registered, &d, sizeof d, &d), CONC_INVALID);
    CHECK_MISUSE(conc_process_register(NULL, nothing), CONC_INVALID);
    CHECK_MISUSE(conc_process_register("nothing", add_up), CONC_INVALID);
    CHECK_OK(conc_process_register("nothing", nothing));
#if defined(_WIN32)
    d.method = CONC_PROCESS_FORK;
    CHECK_MISUSE_NULL(conc_process_start(nothing, NULL, 0, &d), CONC_INVALID);
#else
    { /* by default it is forked, then */
        int code = -1;
        conc_process *p;
        d.method = CONC_PROCESS_DEFAULT;
        p = start(never_registered, &code, sizeof code, &d);
        CHECK_OK(conc_process_join(p, &code, PATIENCE));
        CHECK_EQ(code, 12);
    }
#endif
}

static void all(void) {
    RUN(start_and_join);
    RUN(codes);
    RUN(no_argument);
    RUN(large_result);
    RUN(deadlines);
    RUN(terminate_and_kill);
    RUN(crash);
    if (method != CONC_PROCESS_FORK || (!CHECK_TSAN && !CHECK_ASAN)) RUN(library_in_child);
    RUN(ends_as_ops);
    RUN(many);
    RUN(nested);
    if (method != CONC_PROCESS_FORK || (!CHECK_TSAN && !CHECK_ASAN)) RUN(from_threads);
    RUN(channel_echo);
    RUN(channel_bounded);
    RUN(channel_rest);
    RUN(channel_ends);
    RUN(channel_shared_by_threads);
    RUN(channel_in_coroutine);
    RUN(channel_waited_for);
    RUN(shared_memory);
    RUN(detached);
    RUN(orphans);
#if !defined(_WIN32)
    RUN(descriptors);
    RUN(closed_descriptors);
    RUN(forks_in_child);
    RUN(forked_twice);
    RUN(small_files);
    RUN(unheard);
    RUN(after_the_end);
    RUN(interrupted);
    RUN(closed_standard);
    RUN(printed_once);
    RUN(strange_arguments);
    RUN(status_lost);
    RUN(forked_handles);
    RUN(program_end);
    RUN(storm);
    RUN(channel_storm);
    RUN(few_descriptors);
#endif
}

#define REGISTER(fn) CHECK_OK(conc_process_register(#fn, fn))

int main(int argc, char **argv) {
#if !defined(_WIN32)
    CHECK(atexit(start_late) == 0); /* before the library's: so it is called after that */
#endif
    REGISTER(add_up);
    REGISTER(nothing);
    REGISTER(returns);
    REGISTER(fill);
    REGISTER(sleeps);
    REGISTER(crashes);
    REGISTER(exits);
    REGISTER(uses_library);
    REGISTER(echoes);
    REGISTER(tears);
    REGISTER(counts);
    REGISTER(same_twice);
    REGISTER(has_child);
    REGISTER(starts_and_waits);
#if !defined(_WIN32)
    REGISTER(tells_descriptors);
    REGISTER(closes_all);
    REGISTER(forks);
    REGISTER(forks_twice);
    REGISTER(stops);
    REGISTER(stubborn);
#endif
    /* (An emulated program that is started anew would be one of the machine below.) */
    if (getenv("CONC_TEST_EMULATED") == NULL) conc_process_main(argc, argv);
    check_begin("process");
#if !defined(_WIN32)
    method = CONC_PROCESS_FORK;
    printf("forked:\n");
    all();
#endif
    if (getenv("CONC_TEST_EMULATED") == NULL) {
        method = CONC_PROCESS_SPAWN;
        printf("spawned:\n");
        all();
        RUN(unregistered);
    }
    return check_end();
}
