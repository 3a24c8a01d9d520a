/* The process pool: tasks, results, faults, map and imap, limits, policies, the end; forked and, where main's lines are, spawned. */

#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"

#include "check.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/wait.h>
#endif

#define PATIENCE conc_after(60) /* far more than anything here takes */

/* Every case is run with each method that there is. */
static conc_process_method method;

static conc_procpool_desc of(void) {
    conc_procpool_desc d;
    memset(&d, 0, sizeof d);
    d.name = "pp";
    d.method = method;
    return d;
}

static conc_procpool *make(unsigned workers, const conc_procpool_desc *desc) {
    conc_procpool_desc d = of();
    conc_procpool *pool = conc_procpool_new(workers, desc != NULL ? desc : &d);
    if (!CHECK(pool != NULL)) {
        fprintf(stderr, "cannot make a pool: %s\n", conc_error_detail());
        exit(1);
    }
    return pool;
}

/* Waits, and releases it; how it has ended. */
static conc_result end_of(conc_future *f) {
    conc_result r;
    if (!CHECK(f != NULL)) return CONC_INVALID;
    r = conc_future_wait(f, PATIENCE);
    conc_future_release(f);
    return r;
}

static void balanced(conc_procpool *pool) {
    conc_procpool_stats s = conc_procpool_stats_of(pool);
    CHECK_EQ(s.accepted, s.completed + s.canceled + s.lost + s.killed);
    CHECK_EQ(s.waiting, 0);
}

static void finish(conc_procpool *pool) {
    CHECK_OK(conc_procpool_close(pool));
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    balanced(pool);
    CHECK_EQ(conc_procpool_stats_of(pool).workers, 0);
    CHECK_OK(conc_procpool_free(pool));
}

static char reported[300];
static int reports;
static conc_mutex reports_lock;

static void hook(const conc_error *error, void *user) {
    (void)user;
    CONC_WITH_LOCK(&reports_lock) {
        reports++;
        snprintf(reported, sizeof reported, "%s", error->text);
    }
}

static int report_count(void) {
    int n = 0;
    CONC_WITH_LOCK(&reports_lock) n = reports;
    return n;
}

/* ---- tasks: they run in workers ------------------------------------------------------------------------ */

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static int doubles(void *arg) {
    *(int *)arg *= 2;
    return 0;
}

static int tells_pid(void *arg) {
    *(long *)arg = conc_process_pid(NULL);
    return 0;
}

static int tells_number(void *arg) {
    *(unsigned *)arg = conc_procpool_worker();
    return conc_process_channel(NULL) == NULL && conc_process_shared(0) == NULL ? 0 : 1;
}

static int fails(void *arg) {
    ++*(int *)arg;
    return 7;
}

static int fails_in_words(void *arg) {
    conc_queue *q = NULL;
    (void)arg;
    return conc_queue_put_bytes(q, &q, sizeof q, CONC_NOW) == CONC_INVALID ? 9 : 0;
}

/* exit(); but where that looks for leaks, it finds what the parent's other threads had. */
static void leave(int code) {
#if CHECK_ASAN && !defined(_WIN32)
    _exit(code);
#endif
    exit(code);
}

enum { BY_SEGV, BY_ABORT, BY_EXIT, BY_KILL };
static int crashes(void *arg) {
    int how = *(int *)arg;
    *(int *)arg = 99;
    if (how == BY_EXIT) leave(3);
#if !defined(_WIN32)
    if (how == BY_SEGV) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (how == BY_KILL) raise(SIGKILL);
    signal(SIGABRT, SIG_DFL);
#endif
    abort();
    return 0;
}

/* bytes[i] + 1 each, of as many as the first 8 bytes say */
static int increments(void *arg) {
    unsigned char *bytes = (unsigned char *)arg;
    uint64_t n, i;
    memcpy(&n, bytes, sizeof n);
    for (i = sizeof n; i < n; i++) bytes[i] = (unsigned char)(bytes[i] + 1);
    return 0;
}

static int replies(void *arg) {
    const uint64_t *x = (const uint64_t *)arg; /* how much in all, and at once */
    uint64_t done = 0;
    unsigned char *piece = (unsigned char *)malloc((size_t)x[1] + 1);
    while (done < x[0]) {
        uint64_t n = x[0] - done < x[1] ? x[0] - done : x[1], i;
        for (i = 0; i < n; i++) piece[i] = (unsigned char)((done + i) % 251);
        if (conc_procpool_reply(piece, (size_t)n) != CONC_OK) return 1;
        done += n;
    }
    free(piece);
    return x[0] == 77 ? 5 : 0;
}

static int replies_too_much(void *arg) {
    (void)arg;
    if (conc_procpool_reply("abc", 3) != CONC_OK) return 1;
    if (conc_procpool_reply(NULL, 3) != CONC_INVALID) return 2;
    return conc_procpool_reply("abc", (size_t)1 << 20) == CONC_INVALID ? 0 : 3;
}

static int sleeps(void *arg) {
    (void)arg;
    return conc_sleep(conc_after(100)) == CONC_OK ? 0 : 1;
}

/* In memory that parent and workers share: to be held until the test lets it go. */
typedef struct gate {
    uint32_t inside, open;
} gate;
static int waits_at_gate(void *arg) {
    volatile gate *g = (volatile gate *)arg;
    g->inside = 1;
    while (g->open == 0) (void)conc_sleep(conc_after(0.001));
    return 0;
}

static int loops(void *arg) {
    volatile int forever = 1;
    (void)arg;
    while (forever) {
    }
    return 0;
}

static int takes_all_memory(void *arg) {
    static char *volatile p; /* (a compiler may take memory that nobody looks at to be always there) */
    size_t got = 0;
    (void)arg;
    for (;;) {
        p = (char *)malloc(1 << 20);
        if (p == NULL) return got >= 4 ? 12 : 13; /* it has had what it was promised, and no more */
        memset(p, 1, 1 << 20);
        if (++got > 4000) return 14;
    }
}

static int table[4];
static int init_table(void *arg) {
    memcpy(table, arg, sizeof table);
    return 0;
}
static int reads_table(void *arg) {
    *(int *)arg = table[*(int *)arg];
    return 0;
}
static int never_ready(void *arg) {
    (void)arg;
    return 4;
}
static int hangs_in_the_first(void *arg) {
    (void)arg;
    while (conc_procpool_worker() == 1) (void)conc_sleep(CONC_FOREVER);
    return 0;
}
static int dies_at_once(void *arg) {
    (void)arg;
    leave(6);
    return 0;
}

static int uses_library(void *arg) {
    conc_pool *pool = conc_pool_new(NULL);
    conc_future *f = conc_pool_submit(pool, doubles, arg);
    conc_result r = conc_future_wait(f, PATIENCE);
    conc_future_release(f);
    return r == CONC_OK && conc_pool_finish(pool) == CONC_OK ? 0 : 1;
}

#if !defined(_WIN32)
static int forks(void *arg) {
    pid_t pid;
    fflush(stdout);
    pid = fork();
    if (pid != 0) *(long *)arg = (long)pid;
    return 0; /* twice: the child must not become a second worker */
}
static int closes_all(void *arg) {
    int fd;
    (void)arg;
    for (fd = 3; fd < 256; fd++) close(fd);
    return 0;
}
static int stops_itself(void *arg) {
    (void)arg;
    raise(SIGSTOP);
    return 0;
}
static int stubborn(void *arg) {
    (void)arg;
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    return sleeps(NULL);
}
static int interrupted(void *arg) {
    (void)arg;
    raise(SIGINT);
    return 0;
}
#endif

static int square(const void *in, void *out, void *arg) {
    long x = *(const int *)in;
    *(long *)out = x * x + (arg != NULL ? *(int *)arg : 0);
    return 0;
}

static int picky(const void *in, void *out, void *arg) {
    int x = *(const int *)in;
    (void)arg;
    if (x == 500) return 5;
    *(long *)out = x + 1L;
    return 0;
}

static int fragile(const void *in, void *out, void *arg) {
    int x = *(const int *)in, how = BY_EXIT;
    if (x == *(int *)arg) crashes(&how);
    *(long *)out = x + 1L;
    return 0;
}

static int sluggish(const void *in, void *out, void *arg) {
    int x = *(const int *)in;
    if (x == *(int *)arg) sleeps(NULL);
    *(long *)out = x + 1L;
    return 0;
}

/* ---- the cases ---------------------------------------------------------------------------------------------- */

static void one_task(void) {
    conc_procpool *pool = make(2, NULL);
    int x = 21, code = -1;
    unsigned number = 0;
    conc_future *f = conc_procpool_submit(pool, doubles, &x, sizeof x);
    CHECK_OK(conc_future_wait(f, PATIENCE));
    CHECK_EQ(x, 42);
    CHECK_EQ(conc_future_code(f), 0);
    CHECK(conc_future_arg(f) == &x);
    CHECK_STR(conc_future_detail(f), "");
    conc_future_release(f);
    CHECK_OK(conc_procpool_call(pool, doubles, &x, sizeof x, &code));
    CHECK_EQ(x, 84);
    CHECK_EQ(code, 0);
    CHECK_OK(conc_procpool_call(pool, tells_number, &number, sizeof number, NULL));
    CHECK(number == 1 || number == 2);
    CHECK_EQ(conc_procpool_worker(), 0);
    CHECK_OK(conc_procpool_call(pool, uses_library, &x, sizeof x, NULL));
    CHECK_EQ(x, 168);
    CHECK_EQ(conc_procpool_desc_of(pool)->size_max, sizeof(size_t) < 8 ? 1 << 28 : 1 << 30);
    CHECK_STR(conc_procpool_name(pool), "pp");
    CHECK(conc_procpool_pid(pool, 1) != 0 && conc_procpool_pid(pool, 1) != conc_process_pid(NULL));
    finish(pool);
}

static void without_future(void) {
    conc_procpool *pool = make(2, NULL);
    char large[1000];
    uint64_t n = sizeof large;
    int i, before;
    memset(large, 0, sizeof large);
    memcpy(large, &n, sizeof n);
    for (i = 0; i < 100; i++) {
        CHECK_OK(conc_procpool_run(pool, doubles, &i, sizeof i));
        CHECK_OK(conc_procpool_run(pool, increments, large, sizeof large));
    }
    CHECK_OK(conc_procpool_run(pool, nothing, NULL, 0));
    CHECK_EQ(i, 100); /* nothing comes back */
    CHECK_EQ(large[100], 0);
    before = report_count();
    CHECK_OK(conc_procpool_run(pool, fails, &i, sizeof i));
    CHECK_OK(conc_procpool_close(pool));
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    CHECK_EQ(report_count(), before + 1);
    CHECK_HAS(reported, "returned 7");
    CHECK_EQ(conc_procpool_stats_of(pool).completed, 202);
    balanced(pool);
    CHECK_OK(conc_procpool_free(pool));
}

static void failures(void) {
    conc_procpool *pool = make(1, NULL);
    int x = 1, code = 0;
    conc_future *f = conc_procpool_submit(pool, fails, &x, sizeof x);
    CHECK_R(conc_future_wait(f, PATIENCE), CONC_FAILED);
    CHECK_EQ(conc_future_code(f), 7);
    CHECK_HAS(conc_future_detail(f), "returned 7");
    CHECK_EQ(x, 2); /* as it has left it */
    conc_future_release(f);
    f = conc_procpool_submit(pool, fails_in_words, NULL, 0);
    CHECK_R(conc_future_wait(f, PATIENCE), CONC_FAILED);
    CHECK_HAS(conc_future_detail(f), "queue");
    conc_future_release(f);
    CHECK_R(conc_procpool_call(pool, fails, &x, sizeof x, &code), CONC_FAILED);
    CHECK_EQ(code, 7);
    CHECK_HAS(conc_error_detail(), "returned 7");
    finish(pool);
}

static void crash_of_one(void) {
    conc_procpool *pool = make(2, NULL);
    conc_future *f[40];
    int args[40], i, how;
    for (how = BY_SEGV; how <= BY_KILL; how++) {
        for (i = 0; i < 40; i++) {
            args[i] = i == 17 ? how : i;
            f[i] = conc_procpool_submit(pool, i == 17 ? crashes : doubles, &args[i], sizeof args[i]);
        }
        for (i = 0; i < 40; i++) {
            conc_result r = conc_future_wait(f[i], PATIENCE);
            if (i != 17) {
                CHECK_OK(r);
                CHECK_EQ(args[i], 2 * i);
            } else {
                CHECK_R(r, CONC_CRASHED);
                CHECK_EQ(args[i], how);
                CHECK_HAS(conc_future_detail(f[i]), "process \"pp-");
                if (how == BY_EXIT) CHECK_HAS(conc_future_detail(f[i]), "exit code 3");
#if !defined(_WIN32)
                if (how == BY_SEGV) CHECK_HAS(conc_future_detail(f[i]), "SIGSEGV");
                if (how == BY_KILL) CHECK_EQ(conc_future_code(f[i]), -9);
#endif
            }
            conc_future_release(f[i]);
        }
    }
    CHECK_EQ(conc_procpool_stats_of(pool).lost, 4);
    CHECK_EQ(conc_procpool_stats_of(pool).crashed, 4);
    finish(pool);
}

static void replying(void) {
    static const uint64_t cases[][2] = { { 0, 1 }, { 1, 1 }, { 77, 10 }, { 1000, 7 }, { 262144, 262144 }, { 3000000, 65536 }, { 5000001, 5000001 } };
    conc_procpool *pool = make(2, NULL);
    size_t i, k, size;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t arg[2];
        conc_future *f;
        unsigned char *bytes;
        memcpy(arg, cases[i], sizeof arg);
        f = conc_procpool_submit(pool, replies, arg, sizeof arg);
        CHECK_R(conc_future_wait(f, PATIENCE), cases[i][0] == 77 ? CONC_FAILED : CONC_OK);
        bytes = (unsigned char *)conc_procpool_replied(f, &size);
        CHECK_EQ(size, cases[i][0]);
        for (k = 0; k < size; k++) {
            if (bytes[k] != k % 251) break;
        }
        CHECK_EQ(k, size);
        conc_future_release(f);
    }
    finish(pool);
    {
        conc_procpool_desc d = of();
        d.size_max = 1000;
        pool = make(1, &d);
        CHECK_OK(conc_procpool_call(pool, replies_too_much, NULL, 0, NULL));
        CHECK_R(conc_procpool_reply("a", 1), CONC_INVALID);
        finish(pool);
    }
}

/* All at once, each with much to say: nobody waits for another for ever. */
static void replies_of_many(void) {
    conc_procpool *pool = make(3, NULL);
    conc_future *f[60];
    uint64_t args[60][2];
    size_t size, i;
    for (i = 0; i < 60; i++) {
        args[i][0] = 300000 + i;
        args[i][1] = 5000 + i;
        f[i] = conc_procpool_submit(pool, replies, args[i], sizeof args[i]);
    }
    for (i = 60; i-- > 0;) {
        CHECK_OK(conc_future_wait(f[i], PATIENCE));
        (void)conc_procpool_replied(f[i], &size);
        CHECK_EQ(size, 300000 + i);
        conc_future_release(f[i]);
    }
    finish(pool);
}

/* A worker is often between two tasks, and has begun to reply in the next, when the parent looks: each gets what is its own. */
static void small_replies(void) {
    enum { TASKS = 20000, WINDOW = 64 };
    conc_procpool *pool = make(2, NULL);
    conc_future *f[WINDOW];
    uint64_t args[WINDOW][2];
    int i, wrong = 0;
    for (i = 0; i < TASKS + WINDOW; i++) {
        uint64_t *arg = args[i % WINDOW];
        if (i >= WINDOW) {
            size_t size = 0;
            wrong += conc_future_wait(f[i % WINDOW], PATIENCE) != CONC_OK;
            (void)conc_procpool_replied(f[i % WINDOW], &size);
            wrong += size != (size_t)arg[0];
            conc_future_release(f[i % WINDOW]);
        }
        arg[0] = 20 + (uint64_t)i % 7;
        arg[1] = 10;
        if (i < TASKS) f[i % WINDOW] = conc_procpool_submit(pool, replies, arg, sizeof args[0]);
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(conc_procpool_stats_of(pool).crashed, 0);
    finish(pool);
}

static void sizes(void) {
    static const size_t list[] = { 8, 9, 63, 64, 65, 1000, 4097, 65536, 300001, 1 << 20, 5 << 20, 20 << 20, 100 };
    conc_procpool *pool = make(2, NULL);
    size_t i, k;
    for (i = 0; i < sizeof list / sizeof *list; i++) {
        conc_future *f[5];
        unsigned char *bytes[5];
        for (k = 0; k < 5; k++) {
            uint64_t n = list[i];
            bytes[k] = (unsigned char *)calloc(1, list[i]);
            memcpy(bytes[k], &n, sizeof n);
            f[k] = conc_procpool_submit(pool, increments, bytes[k], list[i]);
        }
        for (k = 0; k < 5; k++) {
            size_t at;
            CHECK_OK(end_of(f[k]));
            for (at = 8; at < list[i]; at++) {
                if (bytes[k][at] != 1) break;
            }
            CHECK_EQ(at, list[i]);
            free(bytes[k]);
        }
    }
    finish(pool);
}

/* Of sizes that change, so that the area wraps in every way. */
static void mixed_sizes(void) {
    conc_procpool *pool = make(2, NULL);
    enum { N = 64 };
    conc_future *f[N];
    unsigned char *bytes[N];
    size_t size[N];
    unsigned seed = 1, round, i;
    for (round = 0; round < (CHECK_TSAN || CHECK_ASAN ? 10 : 40); round++) {
        for (i = 0; i < N; i++) {
            uint64_t n;
            seed = seed * 1103515245u + 12345u;
            size[i] = 8 + (seed >> 16) % (round % 2 == 0 ? 3000 : 100000);
            n = size[i];
            bytes[i] = (unsigned char *)calloc(1, size[i]);
            memcpy(bytes[i], &n, sizeof n);
            f[i] = conc_procpool_submit(pool, increments, bytes[i], size[i]);
        }
        for (i = 0; i < N; i++) {
            size_t at;
            CHECK_OK(end_of(f[i]));
            for (at = 8; at < size[i]; at++) {
                if (bytes[i][at] != 1) break;
            }
            CHECK_EQ(at, size[i]);
            free(bytes[i]);
        }
    }
    finish(pool);
}

static void many(void) {
    conc_procpool *pool = make(3, NULL);
    enum { N = 3000 };
    static conc_future *f[N];
    static int args[N];
    int i;
    for (i = 0; i < N; i++) {
        args[i] = i;
        f[i] = conc_procpool_submit(pool, doubles, &args[i], sizeof args[i]);
    }
    CHECK_OK(conc_wait_all(f, N, PATIENCE));
    for (i = 0; i < N; i++) {
        CHECK_EQ(args[i], 2 * i);
        conc_future_release(f[i]);
    }
    finish(pool);
}

static conc_latch called;
static conc_procpool *calling;
static int chain_arg[50];

static void then_next(conc_future *f, void *arg) {
    int i = (int)(intptr_t)arg;
    CHECK_OK(conc_future_result(f));
    CHECK_EQ(chain_arg[i], 2 * i);
    if (i + 1 < 50) {
        conc_future *next;
        chain_arg[i + 1] = i + 1;
        next = conc_procpool_submit(calling, doubles, &chain_arg[i + 1], sizeof chain_arg[i + 1]);
        CHECK_OK(conc_future_then(next, then_next, (void *)(intptr_t)(i + 1)));
        conc_future_release(next);
    }
    CHECK_OK(conc_latch_done(&called));
}

/* Nobody waits: the pool's own thread does all. */
static void callbacks(void) {
    conc_future *f;
    conc_op op;
    calling = make(2, NULL);
    memset(&called, 0, sizeof called);
    CHECK_OK(conc_latch_add(&called, 50));
    chain_arg[0] = 0;
    f = conc_procpool_submit(calling, doubles, &chain_arg[0], sizeof chain_arg[0]);
    CHECK_OK(conc_future_then(f, then_next, NULL));
    conc_future_release(f);
    op = conc_op_latch(&called);
    CHECK_OK(conc_wait(op, PATIENCE));
    /* As an op: the same. */
    f = conc_procpool_submit(calling, nothing, NULL, 0);
    CHECK_OK(conc_wait(conc_op_future(f), PATIENCE));
    conc_future_release(f);
    finish(calling);
}

/* In a callback: for one that may be told by the same thread, and for a new one. */
static conc_future *both[2];
static void waits_for_others(conc_future *f, void *arg) {
    int x = 4;
    conc_result r;
    conc_future *mine = conc_procpool_submit(calling, doubles, &x, sizeof x);
    (void)f;
    (void)arg;
    CHECK_OK(conc_future_wait(both[1], PATIENCE));
    CHECK_OK(end_of(mine));
    CHECK_EQ(x, 8);
    /* (If the future had ended before, this is called by conc_future_then(), and the pool is only open.) */
    r = conc_procpool_join(calling, PATIENCE);
    CHECK(r == CONC_DEADLOCK || (r == CONC_INVALID && conc_thread_current() == conc_thread_main()));
    CHECK_OK(conc_latch_done(&called));
}

static void waiting_callbacks(void) {
    int round;
    conc_op op;
    calling = make(1, NULL);
    for (round = 0; round < 50; round++) {
        memset(&called, 0, sizeof called);
        CHECK_OK(conc_latch_add(&called, 1));
        both[0] = conc_procpool_submit(calling, nothing, NULL, 0);
        both[1] = conc_procpool_submit(calling, nothing, NULL, 0);
        CHECK_OK(conc_future_then(both[0], waits_for_others, NULL));
        if (round % 2 == 0) CHECK_OK(conc_future_wait(both[1], PATIENCE));
        op = conc_op_latch(&called);
        CHECK_OK(conc_wait(op, PATIENCE));
        conc_future_release(both[0]);
        conc_future_release(both[1]);
    }
    finish(calling);
}

typedef struct submitter {
    conc_procpool *pool;
    int sum;
} submitter;

static int submits(void *arg) {
    submitter *s = (submitter *)arg;
    int i, x[20];
    conc_future *f[20];
    int round;
    for (round = 0; round < 30; round++) {
        for (i = 0; i < 20; i++) {
            x[i] = i;
            f[i] = conc_procpool_submit(s->pool, doubles, &x[i], sizeof x[i]);
        }
        for (i = 0; i < 20; i++) {
            if (end_of(f[i]) == CONC_OK) s->sum += x[i];
        }
    }
    return 0;
}

static void from_threads(void) {
    conc_procpool *pool = make(2, NULL);
    submitter s[4];
    conc_thread *t[4];
    int i;
    for (i = 0; i < 4; i++) {
        s[i].pool = pool;
        s[i].sum = 0;
        t[i] = conc_thread_start(submits, &s[i], NULL);
    }
    for (i = 0; i < 4; i++) {
        CHECK_OK(conc_thread_join(t[i], NULL, PATIENCE));
        CHECK_EQ(s[i].sum, 30 * 380);
    }
    finish(pool);
}

static void maps(void) {
    conc_procpool *pool = make(2, NULL);
    enum { N = 5000 };
    static int in[N];
    static long out[N];
    static const size_t chunks[] = { 0, 1, 7, N, 2 * N };
    int i, add = 3;
    size_t c;
    for (i = 0; i < N; i++) in[i] = i;
    for (c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        memset(out, 0, sizeof out);
        CHECK_OK(conc_procpool_map(pool, in, out, N, square, &add, sizeof add, chunks[c]));
        for (i = 0; i < N && out[i] == (long)i * i + 3; i++) {
        }
        CHECK_EQ(i, N);
    }
    CHECK_OK(conc_procpool_map(pool, in, out, 10, square, NULL, 0, 0));
    CHECK_EQ(out[9], 81);
    CHECK_OK(conc_procpool_map(pool, in, out, 0, square, NULL, 0, 0));
    /* A failure: all others are done all the same. */
    for (c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        memset(out, 0, sizeof out);
        CHECK_R(conc_procpool_map(pool, in, out, N, picky, NULL, 0, chunks[c]), CONC_FAILED);
        CHECK_HAS(conc_error_detail(), "item 500: ");
        for (i = 0; i < N && out[i] == (i == 500 ? 0 : i + 1); i++) {
        }
        CHECK_EQ(i, N);
    }
    CHECK_MISUSE(conc_procpool_map(pool, in, out, 3, NULL, NULL, 0, 0), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_map_bytes(NULL, in, 4, out, 8, 3, square, NULL, 0, 0), CONC_INVALID);
    finish(pool);
}

static int closes_soon(void *arg) {
    while (conc_procpool_stats_of((conc_procpool *)arg).accepted == 0) (void)conc_sleep(conc_after(0.001));
    (void)conc_procpool_terminate((conc_procpool *)arg);
    return 0;
}

/* The pool's end in the midst of a map of very many parts: all of it ends, and no stack does. */
static void map_dropped(void) {
    conc_procpool *pool = make(2, NULL);
    enum { N = 200000 };
    int *in = (int *)calloc(N, sizeof *in), bad = 0;
    long *out = (long *)calloc(N, sizeof *out);
    conc_thread *t = conc_thread_start(closes_soon, pool, NULL);
    CHECK_R(conc_procpool_map(pool, in, out, N, sluggish, &bad, sizeof bad, 1), CONC_CANCELED);
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    balanced(pool);
    CHECK_OK(conc_procpool_free(pool));
    free(in);
    free(out);
}

/* One item ends its process, in the middle of a chunk: that one is lost. */
static void map_crash(void) {
    conc_procpool *pool = make(2, NULL);
    enum { N = 300 };
    static int in[N];
    static long out[N];
    static const size_t chunks[] = { 0, 1, 100, N };
    int i, bad = 123;
    size_t c;
    for (i = 0; i < N; i++) in[i] = i;
    for (c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        memset(out, 0, sizeof out);
        CHECK_R(conc_procpool_map(pool, in, out, N, fragile, &bad, sizeof bad, chunks[c]), CONC_CRASHED);
        CHECK_HAS(conc_error_detail(), "item 123: process");
        for (i = 0; i < N && out[i] == (i == 123 ? 0 : i + 1); i++) {
        }
        CHECK_EQ(i, N);
    }
    CHECK_EQ(conc_procpool_stats_of(pool).lost, 4);
    finish(pool);
}

static void map_time_limit(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    enum { N = 100 };
    static int in[N];
    static long out[N];
    int i, bad = 50;
    for (i = 0; i < N; i++) in[i] = i;
    d.time_limit = 0.3;
    pool = make(2, &d);
    memset(out, 0, sizeof out);
    CHECK_R(conc_procpool_map(pool, in, out, N, sluggish, &bad, sizeof bad, N), CONC_TIMEOUT);
    CHECK_HAS(conc_error_detail(), "item 50: ");
    for (i = 0; i < N && out[i] == (i == 50 ? 0 : i + 1); i++) {
    }
    CHECK_EQ(i, N);
    finish(pool);
}

static void imaps(void) {
    conc_procpool *pool = make(2, NULL);
    static const size_t windows[][2] = { { 0, 0 }, { 1, 1 }, { 3, 2 }, { 100, 10 }, { 5, 100 } };
    enum { N = 500 };
    static int in[N];
    int i, add = 1, ordered;
    size_t w;
    for (i = 0; i < N; i++) in[i] = i;
    for (w = 0; w < sizeof windows / sizeof *windows; w++) {
        for (ordered = 0; ordered < 2; ordered++) {
            conc_iter *it = conc_procpool_imap_bytes(pool, conc_iter_array(in, N), square, sizeof(long), windows[w][0], &add, sizeof add,
                                                     windows[w][1], ordered != 0);
            long x, sum = 0, count = 0, want = 0;
            while (conc_next(it, &x) == CONC_OK) {
                if (ordered) CHECK_EQ(x, count * count + 1);
                count++;
                sum += x;
            }
            CHECK_R(it->result, CONC_CLOSED);
            for (i = 0; i < N; i++) want += (long)i * i + 1;
            CHECK_EQ(sum, want);
            CHECK_EQ(count, N);
            conc_iter_close(it);
        }
    }
    { /* closed in the middle; one that fails; one that crashes */
        conc_iter *it = conc_procpool_imap(pool, conc_iter_array(in, N), square, long, 8, &add, sizeof add, 2);
        long x;
        int bad = 200;
        CHECK_OK(conc_next(it, &x));
        CHECK_R(conc_procpool_free(pool), CONC_BUSY);
        conc_iter_close(it);
        it = conc_procpool_imap(pool, conc_iter_array(in, N), fragile, long, 40, &bad, sizeof bad, 7);
        for (i = 0; conc_next(it, &x) == CONC_OK; i++) CHECK_EQ(x, i + 1);
        CHECK_EQ(i, 200);
        CHECK_R(it->result, CONC_CRASHED);
        CHECK_HAS(conc_error_detail(), "item 200: process");
        conc_iter_close(it);
        it = conc_procpool_imap_unordered(pool, conc_iter_array(in, N), fragile, long, 40, &bad, sizeof bad, 7);
        while (conc_next(it, &x) == CONC_OK) {
        }
        CHECK_R(it->result, CONC_CRASHED);
        conc_iter_close(it);
        it = conc_procpool_imap(pool, NULL, square, long, 8, NULL, 0, 2);
        CHECK_R(conc_next(it, &x), CONC_INVALID);
    }
    finish(pool);
}

/* Counts what it has given. */
typedef struct counter {
    conc_iter iter;
    int given;
} counter;
static size_t counter_next(conc_iter *it, void *items, size_t n) {
    counter *c = (counter *)(void *)it;
    (void)n;
    *(int *)items = c->given++;
    return 1;
}

static void strict_window(void) {
    conc_procpool *pool = make(2, NULL);
    counter c;
    conc_iter *it;
    long x;
    int i;
    memset(&c, 0, sizeof c);
    c.iter.next = counter_next;
    c.iter.item_size = sizeof(int);
    it = conc_procpool_imap(pool, &c.iter, square, long, 6, NULL, 0, 2);
    for (i = 0; i < 100; i++) {
        CHECK_OK(conc_next(it, &x));
        CHECK_EQ(x, (long)i * i);
        CHECK(c.given <= i + 6);
    }
    conc_iter_close(it);
    finish(pool);
}

static void canceling(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    volatile gate *g;
    conc_future *runs, *waits[3];
    int i;
    d.buffer_size = 65536;
    pool = make(1, &d);
    g = (volatile gate *)conc_procpool_buffer(pool, sizeof *g);
    memset((void *)(uintptr_t)g, 0, sizeof *g);
    runs = conc_procpool_submit(pool, waits_at_gate, (void *)(uintptr_t)g, sizeof *g);
    for (i = 0; i < 3; i++) waits[i] = conc_procpool_submit(pool, nothing, NULL, 0);
    while (g->inside == 0) (void)conc_sleep(conc_after(0.001));
    CHECK_R(conc_future_wait(runs, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_future_wait(runs, conc_after(0.01)), CONC_TIMEOUT);
    CHECK_R(conc_future_cancel(runs), CONC_BUSY);
    CHECK_R(conc_future_cancel(waits[1]), CONC_OK);
    CHECK_R(conc_future_result(waits[1]), CONC_CANCELED);
    CHECK_R(conc_future_cancel(waits[1]), CONC_CLOSED);
    CHECK_R(conc_procpool_kill(waits[0]), CONC_OK);
    CHECK_R(conc_future_result(waits[0]), CONC_CANCELED);
    CHECK_EQ(conc_procpool_stats_of(pool).busy, 1);
    g->open = 1;
    CHECK_OK(end_of(runs));
    CHECK_OK(conc_future_wait(waits[2], PATIENCE));
    for (i = 0; i < 3; i++) conc_future_release(waits[i]);
    CHECK_OK(conc_procpool_buffer_free(pool, (void *)(uintptr_t)g));
    CHECK_EQ(conc_procpool_stats_of(pool).canceled, 2);
    finish(pool);
}

static void killing(void) {
    conc_procpool *pool = make(2, NULL);
    conc_future *f = conc_procpool_submit(pool, sleeps, NULL, 0), *others[100];
    int i;
    while (conc_procpool_stats_of(pool).waiting != 0) (void)conc_sleep(conc_after(0.001));
    for (i = 0; i < 100; i++) others[i] = conc_procpool_submit(pool, nothing, NULL, 0);
    CHECK_OK(conc_procpool_kill(f));
    CHECK_R(conc_future_wait(f, PATIENCE), CONC_CANCELED);
    CHECK(conc_future_is_done(f));
    CHECK_HAS(conc_future_detail(f), "killed");
    CHECK_R(conc_procpool_kill(f), CONC_CLOSED);
    conc_future_release(f);
    for (i = 0; i < 100; i++) CHECK_OK(end_of(others[i]));
    CHECK_EQ(conc_procpool_stats_of(pool).killed, 1);
    CHECK_MISUSE(conc_procpool_kill(NULL), CONC_INVALID);
    f = conc_future_new();
    CHECK_MISUSE(conc_procpool_kill(f), CONC_INVALID);
    conc_future_release(f);
    finish(pool);
}

static void time_limit(void) {
    conc_procpool_desc d = of();
    conc_procpool_task task;
    conc_procpool *pool;
    conc_future *f[30];
    int i;
    d.time_limit = 0.2;
    pool = make(2, &d);
    for (i = 0; i < 30; i++) f[i] = conc_procpool_submit(pool, i == 5 ? loops : i == 20 ? sleeps : nothing, NULL, 0);
    for (i = 0; i < 30; i++) {
        CHECK_R(conc_future_wait(f[i], PATIENCE), i == 5 || i == 20 ? CONC_TIMEOUT : CONC_OK);
        CHECK(conc_future_is_done(f[i]));
        if (i == 5) CHECK_HAS(conc_future_detail(f[i]), "0.2 s");
        conc_future_release(f[i]);
    }
    memset(&task, 0, sizeof task);
    task.time_limit = 0.1;
    f[0] = conc_procpool_submit_ex(pool, sleeps, NULL, 0, &task);
    CHECK_R(end_of(f[0]), CONC_TIMEOUT);
    CHECK_EQ(conc_procpool_stats_of(pool).killed, 3);
    finish(pool);
    pool = make(1, NULL); /* only one task has a limit, and the pool sleeps when it comes */
    f[0] = conc_procpool_submit_ex(pool, sleeps, NULL, 0, &task);
    CHECK_R(conc_wait(conc_op_future(f[0]), PATIENCE), CONC_TIMEOUT);
    conc_future_release(f[0]);
    finish(pool);
}

static void memory_limit(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    conc_result r;
    int code = 0;
    d.memory_limit = (size_t)64 << 20;
    if (!(CONC_OS_LINUX || CONC_OS_WINDOWS)) {
        CHECK_MISUSE_NULL(conc_procpool_new(1, &d), CONC_INVALID);
        return;
    }
    pool = make(1, &d);
    if (!CHECK_ASAN && !CHECK_TSAN && getenv("CONC_TEST_EMULATED") == NULL && CONC_OS_LINUX) { /* (wine does not hold to it) */
        r = conc_procpool_call(pool, takes_all_memory, NULL, 0, &code);
        CHECK_R(r, CONC_FAILED);
        CHECK_EQ(code, 12);
    }
    CHECK_OK(conc_procpool_call(pool, nothing, NULL, 0, NULL));
    finish(pool);
}

static void max_tasks(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    long pids[12];
    conc_future *f[12];
    int i, k, most = 0;
    d.max_tasks = 3;
    pool = make(1, &d);
    for (i = 0; i < 12; i++) f[i] = conc_procpool_submit(pool, tells_pid, &pids[i], sizeof pids[i]);
    for (i = 0; i < 12; i++) CHECK_OK(end_of(f[i]));
    for (i = 0; i < 12; i++) {
        int same = 0;
        for (k = 0; k < 12; k++) same += pids[k] == pids[i];
        if (same > most) most = same;
    }
    CHECK_EQ(most, 3);
    CHECK_EQ(conc_procpool_stats_of(pool).crashed, 0);
    finish(pool);
}

static void initialisers(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    conc_future *f[20];
    int numbers[4] = { 10, 20, 30, 40 }, x = 2, i;
    d.initialize = init_table;
    d.init_arg = numbers;
    d.init_size = sizeof numbers;
    pool = make(2, &d);
    numbers[2] = 0; /* it has been copied */
    CHECK_OK(conc_procpool_call(pool, reads_table, &x, sizeof x, NULL));
    CHECK_EQ(x, 30);
    finish(pool);
    d.init_size = 0;
    d.initialize = never_ready;
    pool = make(2, &d);
    for (i = 0; i < 20; i++) f[i] = conc_procpool_submit(pool, nothing, NULL, 0);
    for (i = 0; i < 20; i++) {
        if (f[i] == NULL) continue; /* it has given up already */
        CHECK_R(conc_future_wait(f[i], PATIENCE), CONC_CRASHED);
        CHECK_HAS(conc_future_detail(f[i]), "initialiser returned 4");
        conc_future_release(f[i]);
    }
    CHECK_R(conc_procpool_run(pool, nothing, NULL, 0), CONC_CLOSED);
    CHECK_HAS(conc_error_detail(), "initialiser returned 4");
    CHECK_R(conc_procpool_close(pool), CONC_CLOSED);
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    balanced(pool);
    CHECK_OK(conc_procpool_free(pool));
    d.initialize = dies_at_once;
    pool = make(1, &d);
    f[0] = conc_procpool_submit(pool, nothing, NULL, 0);
    if (f[0] != NULL) CHECK_R(end_of(f[0]), CONC_CRASHED);
    CHECK_OK(conc_procpool_finish(pool));
}

/* A worker that never gets ready keeps nothing to itself, not even its only task. */
static void never_begins(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    conc_future *f[20];
    int i;
    d.initialize = hangs_in_the_first;
    pool = make(2, &d);
    for (i = 0; i < 20; i++) f[i] = conc_procpool_submit(pool, nothing, NULL, 0);
    for (i = 0; i < 20; i++) CHECK_OK(end_of(f[i]));
    CHECK_OK(conc_procpool_terminate(pool));
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    balanced(pool);
    CHECK_OK(conc_procpool_free(pool));
}

static void hold(conc_procpool *pool, volatile gate *g, conc_future **f) {
    memset((void *)(uintptr_t)g, 0, sizeof *g);
    *f = conc_procpool_submit(pool, waits_at_gate, (void *)(uintptr_t)g, sizeof *g);
    while (g->inside == 0) (void)conc_sleep(conc_after(0.001));
}

static int opens_later(void *arg) {
    volatile gate *g = (volatile gate *)arg;
    (void)conc_sleep(conc_after(0.05));
    g->open = 1;
    return 0;
}

static void policies(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    conc_procpool_job job;
    volatile gate *g;
    conc_future *held, *f[3];
    conc_thread *t;
    conc_procpool_task task;
    d.buffer_size = 4096;
    d.queue_capacity = 2;
    pool = make(1, &d);
    g = (volatile gate *)conc_procpool_buffer(pool, sizeof *g);
    hold(pool, g, &held);
    f[0] = conc_procpool_submit(pool, nothing, NULL, 0);
    CHECK_OK(conc_procpool_run(pool, nothing, NULL, 0));
    CHECK_MISUSE(conc_procpool_run(pool, nothing, NULL, 0), CONC_REJECTED);
    CHECK_MISUSE_NULL(conc_procpool_submit(pool, nothing, NULL, 0), CONC_REJECTED);
    job.fn = nothing;
    job.arg = NULL;
    job.size = 0;
    CHECK_R(conc_wait(conc_op_procpool_run(pool, &job), conc_after(0.01)), CONC_TIMEOUT);
    CHECK_R(conc_try(conc_op_procpool_run(pool, &job)), CONC_REJECTED);
    t = conc_thread_start(opens_later, (void *)(uintptr_t)g, NULL);
    CHECK_OK(conc_wait(conc_op_procpool_run(pool, &job), PATIENCE));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK_OK(end_of(held));
    CHECK_OK(end_of(f[0]));
    CHECK_EQ(conc_procpool_stats_of(pool).rejected, 2);
    finish(pool);

    d.on_reject = CONC_REJECT_DISCARD;
    pool = make(1, &d);
    g = (volatile gate *)conc_procpool_buffer(pool, sizeof *g);
    hold(pool, g, &held);
    CHECK_OK(conc_procpool_run(pool, nothing, NULL, 0));
    CHECK_OK(conc_procpool_run(pool, nothing, NULL, 0));
    CHECK_OK(conc_procpool_run(pool, nothing, NULL, 0));
    f[0] = conc_procpool_submit(pool, nothing, NULL, 0);
    CHECK_R(conc_future_result(f[0]), CONC_REJECTED);
    conc_future_release(f[0]);
    g->open = 1;
    CHECK_OK(end_of(held));
    finish(pool);

    d.on_reject = CONC_REJECT_DISCARD_OLDEST;
    pool = make(1, &d);
    g = (volatile gate *)conc_procpool_buffer(pool, sizeof *g);
    hold(pool, g, &held);
    f[0] = conc_procpool_submit(pool, nothing, NULL, 0);
    f[1] = conc_procpool_submit(pool, nothing, NULL, 0);
    f[2] = conc_procpool_submit(pool, nothing, NULL, 0);
    CHECK_R(conc_future_result(f[0]), CONC_CANCELED);
    CHECK_R(conc_future_result(f[1]), CONC_PENDING);
    g->open = 1;
    CHECK_OK(end_of(held));
    CHECK_OK(conc_future_wait(f[1], PATIENCE));
    CHECK_OK(conc_future_wait(f[2], PATIENCE));
    conc_future_release(f[0]);
    conc_future_release(f[1]);
    conc_future_release(f[2]);
    finish(pool);

    d.on_reject = CONC_REJECT_BLOCK;
    d.queue_capacity = CONC_POOL_NO_QUEUE;
    d.block_seconds = 0.02;
    pool = make(1, &d);
    g = (volatile gate *)conc_procpool_buffer(pool, sizeof *g);
    hold(pool, g, &held);
    CHECK_R(conc_procpool_run(pool, nothing, NULL, 0), CONC_TIMEOUT);
    t = conc_thread_start(opens_later, (void *)(uintptr_t)g, NULL);
    memset(&task, 0, sizeof task);
    task.until = PATIENCE;
    CHECK_OK(conc_procpool_run_ex(pool, nothing, NULL, 0, &task));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK_OK(end_of(held));
    finish(pool);
}

static void the_end(void) {
    conc_procpool *pool = make(2, NULL);
    conc_future *f[50];
    int i;
    CHECK_MISUSE(conc_procpool_join(pool, PATIENCE), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_free(pool), CONC_BUSY);
    CHECK(!conc_procpool_is_closed(pool));
    for (i = 0; i < 50; i++) f[i] = conc_procpool_submit(pool, nothing, NULL, 0);
    CHECK_OK(conc_procpool_close(pool)); /* what was accepted still runs */
    CHECK_R(conc_procpool_close(pool), CONC_CLOSED);
    CHECK(conc_procpool_is_closed(pool));
    CHECK_R(conc_procpool_run(pool, nothing, NULL, 0), CONC_CLOSED);
    CHECK_OK(conc_wait(conc_op_procpool_end(pool), PATIENCE));
    CHECK_OK(conc_procpool_join(pool, CONC_NOW));
    for (i = 0; i < 50; i++) CHECK_R(conc_future_result(f[i]), CONC_OK);
    CHECK_OK(conc_procpool_free(pool));
    for (i = 0; i < 50; i++) conc_future_release(f[i]);

    pool = make(1, NULL);
    f[0] = conc_procpool_submit(pool, sleeps, NULL, 0);
    for (i = 1; i < 50; i++) f[i] = conc_procpool_submit(pool, nothing, NULL, 0);
    while (conc_procpool_stats_of(pool).waiting == 50) (void)conc_sleep(conc_after(0.001));
    CHECK_OK(conc_procpool_close_now(pool));
    for (i = 1; i < 50; i++) CHECK_R(end_of(f[i]), CONC_CANCELED);
    CHECK_R(conc_procpool_join(pool, conc_after(0.01)), CONC_TIMEOUT);
    CHECK_R(conc_future_result(f[0]), CONC_PENDING);
    CHECK_R(conc_procpool_terminate(pool), CONC_CLOSED);
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    CHECK_R(conc_future_result(f[0]), CONC_CANCELED);
    conc_future_release(f[0]);
    balanced(pool);
    CHECK_OK(conc_procpool_free(pool));
    CHECK_OK(conc_procpool_free(NULL));
    CHECK_OK(conc_procpool_finish(NULL));
}

static void canceled_caller(void) {
    conc_procpool *pool = make(1, NULL);
    conc_cancel token;
    int code = 5;
    long in = 0, out = 0;
    memset(&token, 0, sizeof token);
    CHECK_OK(conc_cancel_fire(&token));
    (void)in;
    (void)out;
    CONC_WITH_CANCEL(&token) {
        CHECK_R(conc_procpool_call(pool, sleeps, NULL, 0, &code), CONC_CANCELED);
        {
            int items[3] = { 1, 2, 3 }, bad = 2;
            long results[3] = { 0, 0, 0 };
            CHECK_R(conc_procpool_map(pool, items, results, 3, sluggish, &bad, sizeof bad, 1), CONC_CANCELED);
        }
    }
    CHECK_OK(conc_procpool_call(pool, nothing, NULL, 0, NULL));
    finish(pool);
}

static void buffers(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    unsigned char *a, *b;
    uint64_t n = 100000;
    size_t i;
    d.buffer_size = 300000;
    pool = make(2, &d);
    a = (unsigned char *)conc_procpool_buffer(pool, 100000);
    b = (unsigned char *)conc_procpool_buffer(pool, 190000);
    CHECK(a != NULL && b != NULL && (b >= a + 100000 || a >= b + 190000));
    CHECK_MISUSE_NULL(conc_procpool_buffer(pool, 20000), CONC_NO_MEMORY);
    CHECK_MISUSE_NULL(conc_procpool_buffer(pool, 0), CONC_INVALID);
    memset(a, 5, 100000);
    memcpy(a, &n, sizeof n);
    CHECK_OK(conc_procpool_call(pool, increments, a, 100000, NULL));
    for (i = 8; i < 100000 && a[i] == 6; i++) {
    }
    CHECK_EQ(i, 100000);
    CHECK_OK(conc_procpool_run(pool, increments, a, 100000)); /* in place as well */
    CHECK_MISUSE(conc_procpool_buffer_free(pool, a + 64), CONC_INVALID);
    CHECK_OK(conc_procpool_buffer_free(pool, b));
    b = (unsigned char *)conc_procpool_buffer(pool, 190000);
    CHECK(b != NULL);
    CHECK_OK(conc_procpool_buffer_free(pool, NULL));
    finish(pool);
    pool = make(1, NULL);
    CHECK_MISUSE_NULL(conc_procpool_buffer(pool, 10), CONC_INVALID);
    finish(pool);
}

static int unknown(void *arg) {
    (void)arg;
    return 0;
}

static void misuse(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    char small[10] = { 0 };
    CHECK_MISUSE_NULL(conc_procpool_new(CONC_PROCPOOL_MAX_WORKERS + 1, &d), CONC_INVALID);
    d.on_reject = CONC_REJECT_CALLER_RUNS;
    CHECK_MISUSE_NULL(conc_procpool_new(1, &d), CONC_INVALID);
    d = of();
    d.time_limit = -1;
    CHECK_MISUSE_NULL(conc_procpool_new(1, &d), CONC_INVALID);
    d = of();
    d.size_max = 9;
    pool = make(1, &d);
    CHECK_MISUSE(conc_procpool_run(pool, NULL, NULL, 0), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_run(pool, nothing, NULL, 1), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_run(pool, nothing, small, 10), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_run(NULL, nothing, NULL, 0), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_procpool_submit(pool, NULL, NULL, 0), CONC_INVALID);
    CHECK_MISUSE(conc_wait(conc_op_procpool_run(pool, NULL), PATIENCE), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_close(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_join(NULL, PATIENCE), CONC_INVALID);
    if (method == CONC_PROCESS_SPAWN) CHECK_MISUSE(conc_procpool_run(pool, unknown, NULL, 0), CONC_INVALID);
    CHECK_EQ(conc_procpool_stats_of(NULL).accepted, 0);
    CHECK(conc_procpool_desc_of(NULL) == NULL);
    CHECK_STR(conc_procpool_name(NULL), "");
    CHECK(!conc_procpool_is_closed(NULL));
    finish(pool);
    pool = conc_procpool_new(0, NULL);
    if (CHECK(pool != NULL)) CHECK_OK(conc_procpool_finish(pool));
}

#if !defined(_WIN32)
static void rude_tasks(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    long pid = 0;
    int i;
    d.time_limit = 1;
    pool = make(2, &d);
    for (i = 0; i < 3; i++) {
        CHECK_OK(conc_procpool_call(pool, forks, &pid, sizeof pid, NULL));
        CHECK(pid > 0);
#if defined(CONC_PORT_PORTABLE)
        if (!CHECK_TSAN) /* there a thread of ours reads from one, which is a race with the task's close() */
#endif
            CHECK_OK(conc_procpool_call(pool, closes_all, NULL, 0, NULL));
        CHECK_OK(conc_procpool_call(pool, interrupted, NULL, 0, NULL));
        CHECK_OK(conc_procpool_call(pool, nothing, NULL, 0, NULL));
    }
    CHECK_R(conc_procpool_call(pool, stops_itself, NULL, 0, NULL), CONC_TIMEOUT);
    CHECK_R(conc_procpool_call(pool, stubborn, NULL, 0, NULL), CONC_TIMEOUT);
    CHECK_OK(conc_procpool_call(pool, nothing, NULL, 0, NULL));
    finish(pool);
}

static void killed_from_outside(void) {
    conc_procpool *pool = make(2, NULL);
    int round, i;
    for (round = 0; round < 10; round++) {
        conc_future *f[20];
        int x[20], lost = 0;
        for (i = 0; i < 20; i++) {
            x[i] = i;
            f[i] = conc_procpool_submit(pool, doubles, &x[i], sizeof x[i]);
            if (i == 10) {
                long pid = conc_procpool_pid(pool, (unsigned)round % 2 + 1);
                if (pid > 0) kill((pid_t)pid, SIGKILL);
            }
        }
        for (i = 0; i < 20; i++) {
            conc_result r = end_of(f[i]);
            if (r == CONC_CRASHED) {
                lost++;
                CHECK_EQ(x[i], i);
            } else {
                CHECK_OK(r);
                CHECK_EQ(x[i], 2 * i);
            }
        }
        CHECK(lost <= 1);
    }
    finish(pool);
}

static int count_descriptors(void) {
    int fd, n = 0;
    for (fd = 0; fd < 300; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

#if !defined(_WIN32)
/* A process that a task has left behind holds all that the worker had open. */
static int dies_before_its_child(void *arg) {
    pid_t child = fork();
    while (child == 0) (void)pause();
    *(volatile long *)arg = (long)child;
    abort();
    return 0;
}

static void survived_by_its_child(void) {
    conc_procpool_desc d = of();
    conc_procpool *pool;
    volatile long *child;
    d.buffer_size = 4096;
    pool = make(1, &d);
    child = (volatile long *)conc_procpool_buffer(pool, sizeof *child);
    *child = 0;
    CHECK_R(end_of(conc_procpool_submit(pool, dies_before_its_child, (void *)(uintptr_t)child, sizeof *child)), CONC_CRASHED);
    CHECK_OK(end_of(conc_procpool_submit(pool, nothing, NULL, 0)));
    if (CHECK(*child > 0)) CHECK(kill((pid_t)*child, SIGKILL) == 0);
    CHECK_OK(conc_procpool_buffer_free(pool, (void *)(uintptr_t)child));
    finish(pool);
}
#endif

static void descriptors(void) {
    int before, i;
    for (i = 0; i < 3; i++) {
        conc_procpool *pool = make(3, NULL);
        int how = BY_EXIT;
        if (i == 0) before = 0;
        CHECK_OK(conc_procpool_call(pool, nothing, NULL, 0, NULL));
        CHECK_R(conc_procpool_call(pool, crashes, &how, sizeof how, NULL), CONC_CRASHED);
        finish(pool);
        if (i == 0) before = count_descriptors();
        if (i == 2) CHECK_EQ(count_descriptors(), before);
    }
    CHECK(waitpid(-1, NULL, WNOHANG) < 0); /* no child is left */
}

static void forked_handles(void) {
    conc_procpool *pool = make(2, NULL);
    conc_future *f = conc_procpool_submit(pool, nothing, NULL, 0);
    pid_t pid;
    int status = 0;
    CHECK_OK(conc_future_wait(f, PATIENCE));
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int ok = conc_procpool_run(pool, nothing, NULL, 0) == CONC_FORKED && conc_procpool_close(pool) == CONC_FORKED &&
                 conc_procpool_free(pool) == CONC_OK && conc_procpool_worker() == 0;
        conc_future_release(f);
        _exit(ok ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    conc_future_release(f);
    CHECK_OK(conc_procpool_call(pool, nothing, NULL, 0, NULL));
    finish(pool);
}
#endif

/* The program's end closes what is open, and waits for it. */
static int leaves_pool_open(void *arg) {
    conc_procpool_desc d;
    conc_procpool *pool;
    conc_shared *s = conc_process_shared(0);
    int i;
    memset(&d, 0, sizeof d);
    d.method = *(conc_process_method *)arg;
    d.buffer_size = 4096;
    pool = conc_procpool_new(2, &d);
    if (pool == NULL) return 1;
    for (i = 0; i < 20; i++) {
        if (conc_procpool_run(pool, nothing, NULL, 0) != CONC_OK) return 2;
    }
    return s != NULL ? 3 : 0;
}

static void program_end(void) {
    conc_process_desc d;
    conc_process *p;
    int code = -1;
    conc_process_method m = method;
    memset(&d, 0, sizeof d);
    d.method = method;
    p = conc_process_start(leaves_pool_open, &m, sizeof m, &d);
    if (!CHECK(p != NULL)) return;
    CHECK_OK(conc_process_join(p, &code, PATIENCE));
    CHECK_EQ(code, 0);
}

static void all(void) {
    RUN(one_task);
    RUN(without_future);
    RUN(failures);
    RUN(crash_of_one);
    RUN(replying);
    RUN(replies_of_many);
    RUN(small_replies);
    RUN(sizes);
    RUN(mixed_sizes);
    RUN(many);
    RUN(callbacks);
    RUN(waiting_callbacks);
    RUN(from_threads);
    RUN(maps);
    RUN(map_dropped);
    RUN(map_crash);
    RUN(map_time_limit);
    RUN(imaps);
    RUN(strict_window);
    RUN(canceling);
    RUN(killing);
    RUN(time_limit);
    RUN(memory_limit);
    RUN(max_tasks);
    RUN(initialisers);
    RUN(never_begins);
    RUN(policies);
    RUN(the_end);
    RUN(canceled_caller);
    RUN(buffers);
    RUN(misuse);
    RUN(program_end);
#if !defined(_WIN32)
    RUN(rude_tasks);
    RUN(killed_from_outside);
    RUN(survived_by_its_child);
    RUN(descriptors);
    RUN(forked_handles);
#endif
}

#define REGISTER(fn) CHECK_OK(conc_process_register(#fn, fn))
#define REGISTER_MAP(fn) CHECK_OK(conc_procpool_register_map(#fn, fn))

int main(int argc, char **argv) {
    REGISTER(nothing);
    REGISTER(doubles);
    REGISTER(tells_pid);
    REGISTER(tells_number);
    REGISTER(fails);
    REGISTER(fails_in_words);
    REGISTER(crashes);
    REGISTER(increments);
    REGISTER(replies);
    REGISTER(replies_too_much);
    REGISTER(sleeps);
    REGISTER(waits_at_gate);
    REGISTER(loops);
    REGISTER(takes_all_memory);
    REGISTER(init_table);
    REGISTER(reads_table);
    REGISTER(never_ready);
    REGISTER(hangs_in_the_first);
    REGISTER(dies_at_once);
    REGISTER(uses_library);
    REGISTER(leaves_pool_open);
#if !defined(_WIN32)
    REGISTER(forks);
    REGISTER(dies_before_its_child);
    REGISTER(closes_all);
    REGISTER(stops_itself);
    REGISTER(stubborn);
    REGISTER(interrupted);
#endif
    REGISTER_MAP(square);
    REGISTER_MAP(picky);
    REGISTER_MAP(fragile);
    REGISTER_MAP(sluggish);
    /* (An emulated program that is started anew would be one of the machine below.) */
    if (getenv("CONC_TEST_EMULATED") == NULL) conc_process_main(argc, argv);
    conc_set_error_hook(hook, NULL);
    check_begin("procpool");
#if !defined(_WIN32)
    method = CONC_PROCESS_FORK;
    printf("forked:\n");
    all();
#endif
    if (getenv("CONC_TEST_EMULATED") == NULL) {
        method = CONC_PROCESS_SPAWN;
        printf("spawned:\n");
        all();
    }
    return check_end();
}
