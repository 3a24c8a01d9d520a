/* Every call that can fail is made to fail: the n-th that is passed, for n = 1, 2, 3... until none is left, once alone and
 * once with all after it, with each error it can give. Each time in a process of its own, which afterwards has as many
 * blocks of memory, threads and descriptors as before. The results are the right ones or say what failed, and what was
 * not done can be done when the fault is over.
 *
 *   test_faults                          runs all, and says which faults were made
 *   test_faults SCENE N WHICH STICKY     one of them: exit code 0 passed, 1 failed, 3 passed and fewer than N sites */

#if defined(CONC_TEST_SPLIT)

#include "../conc.h"
#include "check.h"

int main(void) {
    return check_skip("faults", "it needs the implementation with its faults");
}

#else

#define CONC_FAULTS
#include <stdlib.h>
static void *faults_malloc(size_t size);
static void *faults_realloc(void *p, size_t size);
static void faults_free(void *p);
#define CONC_MALLOC(size) faults_malloc(size)
#define CONC_REALLOC(p, size) faults_realloc((p), (size))
#define CONC_FREE(p) faults_free(p)
#define CONC__PP_PATIENCE 0.0005 /* workers that cannot be had are soon given up */
#define CONC_IMPLEMENTATION
#include "../conc.h"
#include "check.h"

#if defined(_WIN32)
#include <process.h>
#else
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>
#endif

#if CHECK_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0:atexit_sleep_ms=0"; /* a process each: none has to linger for its daemons */
}
#endif

/* ---- what lives ------------------------------------------------------------------------------------ */

static uint32_t live; /* atomic */

static void *faults_malloc(size_t size) {
    void *p = malloc(size);
    if (p != NULL) (void)conc__add32(&live, 1, CONC__RELAXED);
    return p;
}

static void *faults_realloc(void *p, size_t size) {
    void *bigger = realloc(p, size);
    if (p == NULL && bigger != NULL) (void)conc__add32(&live, 1, CONC__RELAXED);
    return bigger;
}

static void faults_free(void *p) {
    if (p != NULL) (void)conc__sub32(&live, 1, CONC__RELAXED);
    free(p);
}

/* Entries of a directory of /proc; 0 where there is none. */
static int entries(const char *directory) {
    int n = 0;
#if defined(__linux__)
    DIR *d = opendir(directory);
    if (d == NULL) return 0;
    while (readdir(d) != NULL) n++;
    closedir(d);
#else
    (void)directory;
#endif
    return n;
}

/* ---- scenes ------------------------------------------------------------------------------------------
 * What a call may answer under a fault is its own result, or one of those that say so, with a sentence. */

static bool failed_well(conc_result r) {
    return CHECK(r == CONC_NO_MEMORY || r == CONC_NO_THREADS) && CHECK(conc_error_detail()[0] != '\0') &&
           CHECK_R(conc_error_result(), r);
}

static conc_event go;

static int seven(void *arg) {
    if (arg != NULL) (void)conc_event_wait((conc_event *)arg, CONC_FOREVER);
    return 7;
}

static void threads_scene(void) {
    conc_thread_desc desc;
    int i;
    memset(&desc, 0, sizeof desc);
    desc.name = "one of three";
    for (i = 0; i < 3; i++) {
        int result = 0;
        conc_thread *t;
        desc.stack_size = i == 1 ? 200000 : 0;
        t = conc_thread_start(seven, &go, &desc);
        if (t == NULL) {
            (void)failed_well(conc_error_result());
            continue;
        }
        CHECK_R(conc_thread_join(t, NULL, conc_after(0.001)), CONC_TIMEOUT);
        CHECK_OK(conc_event_set(&go));
        CHECK_OK(conc_wait(conc_op_thread_end(t), CONC_FOREVER));
        CHECK_OK(conc_thread_join(t, &result, CONC_FOREVER));
        CHECK_EQ(result, 7);
        CHECK_OK(conc_event_reset(&go));
    }
    if (conc_thread_current() == NULL) (void)failed_well(conc_error_result());
    if (conc_thread_set_name("renamed") != CONC_OK) (void)failed_well(conc_error_result());
}

static uint32_t destroyed; /* atomic */
static void destroy(void *value) {
    CHECK(value != NULL);
    (void)conc__add32(&destroyed, 1, CONC__RELAXED);
}

static conc_local key = { destroy, 0 };
static uint32_t kept; /* atomic */
static int keep(void *arg) {
    if (conc_local_set(&key, arg) == CONC_OK) {
        CHECK(conc_local_get(&key) == arg);
        (void)conc__add32(&kept, 1, CONC__RELAXED);
    } else {
        (void)failed_well(conc_error_result());
        CHECK(conc_local_get(&key) == NULL);
    }
    return 0;
}

static void locals_scene(void) {
    conc_thread *t = conc_thread_start(keep, &key, NULL);
    if (t == NULL) {
        (void)failed_well(conc_error_result());
        return;
    }
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_EQ(conc__load32(&destroyed, CONC__RELAXED), conc__load32(&kept, CONC__RELAXED));
}

/* A thread that was not started here: its values are destroyed as it ends, or were refused. */
#if defined(_WIN32)
static DWORD WINAPI keep_foreign(void *arg)
#else
static void *keep_foreign(void *arg)
#endif
{
    (void)keep(arg);
    return 0;
}

static void foreign_scene(void) {
#if defined(_WIN32)
    HANDLE t = CreateThread(NULL, 0, keep_foreign, &key, 0, NULL);
    if (!CHECK(t != NULL)) return;
    (void)WaitForSingleObject(t, INFINITE);
    (void)CloseHandle(t);
#else
    pthread_t t;
    if (!CHECK(pthread_create(&t, NULL, keep_foreign, &key) == 0)) return;
    CHECK(pthread_join(t, NULL) == 0);
#endif
    CHECK_EQ(conc__load32(&destroyed, CONC__RELAXED), conc__load32(&kept, CONC__RELAXED));
}

/* Items in and out, whatever the kind; an item that a put took is there. */
static void queue_of(conc_queue_kind kind, size_t capacity, int n) {
    conc_queue_desc desc;
    conc_queue *q;
    int i, in = 0, x;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    q = conc_queue_new_ex(sizeof(int), capacity, &desc);
    if (q == NULL) {
        (void)failed_well(conc_error_result());
        return;
    }
    for (i = 0; i < n; i++) {
        conc_result r = conc_queue_put(q, &i, CONC_NOW);
        if (r == CONC_OK) in++;
        else if (r != CONC_FULL) (void)failed_well(r);
        CHECK_EQ(conc_queue_length(q), in);
    }
    CHECK_OK(conc_queue_close(q));
    while (conc_queue_get(q, &x, CONC_FOREVER) == CONC_OK) in--;
    CHECK_EQ(in, 0);
    CHECK_OK(conc_queue_free(q));
}

static void drop(void *item, void *arg) {
    CHECK_EQ(*(int *)item, ++*(int *)arg);
}

static void queues_scene(void) {
    conc_queue *q;
    queue_of(CONC_FIFO, 4, 4);
    queue_of(CONC_FIFO, 0, 5000); /* grows, and gives back what it grew by */
    queue_of(CONC_LIFO, 0, 40);
    q = conc_queue_new(sizeof(int), 0);
    if (q != NULL) {
        int one = 1, dropped = 0, in = conc_queue_put(q, &one, CONC_NOW) == CONC_OK;
        conc_result r = conc_queue_close_now(q, drop, &dropped);
        if (r != CONC_OK) {
            (void)failed_well(r);
            CHECK_EQ(conc_queue_length(q), in); /* nothing happened */
            CHECK(!conc_queue_is_closed(q));
        } else {
            CHECK_EQ(dropped, in);
        }
        CHECK_OK(conc_queue_free(q));
    }
}

static uint32_t rang; /* atomic */
static int ring(void *arg) {
    (void)arg;
    (void)conc__add32(&rang, 1, CONC__RELAXED);
    return 0;
}

static void timers_scene(void) {
    conc_timer *t[20];
    uint32_t started = 0;
    int i;
    for (i = 0; i < 20; i++) {
        t[i] = conc_timer_start(ring, NULL, conc_after(i % 2 ? 0.0 : 1000.0));
        if (t[i] == NULL) (void)failed_well(conc_error_result());
        else started += (uint32_t)(i % 2);
    }
    for (i = 0; i < 20; i++) {
        if (t[i] == NULL) continue;
        if (i % 2) CHECK_OK(conc_wait(conc_op_timer(t[i]), CONC_FOREVER));
        else CHECK_OK(conc_timer_cancel(t[i]));
        conc_timer_release(t[i]);
    }
    CHECK_EQ(conc__load32(&rang, CONC__RELAXED), started);
}

/* Two threads that sleep and wake each other: every wake gets there, whatever the sleep is ended by. */
static conc_mutex m;
static conc_cond changed;
static int turn;
static int play(void *arg) {
    int mine = arg != NULL, i;
    for (i = 0; i < 20; i++) {
        CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
        while (turn != mine) CHECK(conc_cond_wait(&changed, &m, conc_after(1000)) == CONC_OK);
        turn = !mine;
        CHECK_OK(conc_cond_broadcast(&changed));
        CHECK_OK(conc_mutex_unlock(&m));
    }
    return 0;
}

static void waits_scene(void) {
    conc_thread *t = conc_thread_start(play, NULL, NULL);
    conc_brlock *l = conc_brlock_new();
    int64_t before = conc_clock_ns();
    if (t != NULL) {
        (void)play(&m);
        CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    }
    CHECK_OK(conc_sleep(conc_after(0.002)));
    CHECK(conc_clock_ns() - before >= 2000000);
    if (l != NULL) {
        CHECK_OK(conc_brlock_write(l, CONC_FOREVER));
        CHECK_OK(conc_brlock_write_unlock(l));
        CHECK_OK(conc_brlock_free(l));
    } else {
        (void)failed_well(conc_error_result());
    }
}

/* A getter that sleeps for want of an item, also where the queue has to do without the heavy fence. */
static int take_two(void *arg) {
    int x = 0, k;
    for (k = 1; k <= 2; k++) {
        CHECK_OK(conc_queue_get((conc_queue *)arg, &x, CONC_FOREVER));
        CHECK_EQ(x, k);
    }
    return 0;
}

static void ring_scene(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    conc_thread *t;
    int k;
    if (q == NULL) return;
    conc__port_heavy_fence();
    t = conc_thread_start(take_two, q, NULL);
    for (k = 1; t != NULL && k <= 2; k++) CHECK_OK(conc_queue_put(q, &k, CONC_FOREVER));
    if (t != NULL) CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_OK(conc_queue_free(q));
}

/* Chains of iterators and generators: whatever of it cannot be made, all of it is closed, and the end says so. */
struct pair {
    int64_t a, b;
};
struct batch {
    size_t count;
    struct pair items[3];
};
static int64_t begun, ended;
CONC_GENERATOR(upto, int64_t, int64_t n, x;) {
    CONC_BEGIN;
    begun++;
    for (self->x = 0; self->x < self->n; self->x++) CONC_YIELD(self->x);
    CONC_FINALLY;
    ended++;
    CONC_END;
}
CONC_GENERATOR(both, int64_t, int64_t n;) {
    CONC_BEGIN;
    CONC_YIELD_FROM(CONC_GEN_NEW(upto, .n = self->n));
    CONC_YIELD_FROM(conc_iter_range(0, 4, 1));
    CONC_END;
}
CONC_MAP_FN(next_number, int64_t, x, int64_t, x + 1)
CONC_FILTER_FN(not_two, int64_t, x, x != 2)

static void iterators_scene(void) {
    conc_queue *q = conc_queue_new(sizeof(int64_t), 4);
    conc_iter *its[3], *all;
    struct batch *batches = NULL;
    size_t count = 0, i, n = 0;
    upto u = CONC_GEN(upto, .n = 4);
    conc_result r;
    int64_t x = 0;
    begun = ended = 0;
    if (q != NULL) {
        CHECK_OK(conc_queue_put(q, &x, CONC_NOW));
        CHECK_OK(conc_queue_close(q));
    }
    its[0] = CONC_GEN_NEW(both, .n = 1000);
    its[1] = conc_filter(conc_map(conc_iter_borrow(&u.iter), next_number, NULL), not_two, NULL); /* 1, 3, 4 */
    its[2] = q != NULL ? conc_iter_queue(q) : conc_iter_failed(CONC_NO_MEMORY);
    all = conc_skip(conc_chain_n(its, 3), 1);
    all = conc_zip(struct pair, a, all, b, conc_chain(conc_iter_array(&x, 1), conc_iter_range(0, 10000, 1)));
    all = conc_batch(struct batch, count, items, conc_take(all, 5000));
    r = conc_collect(all, &batches, &count);
    for (i = 0; i < count; i++) n += batches[i].count;
    if (r == CONC_OK) CHECK_EQ(n, 999 + 4 + 3 + 1);
    else (void)failed_well(r);
    conc_free_items(batches);
    if (q != NULL) CHECK_OK(conc_queue_free(q));
    conc_iter_close(&u.iter);
    CHECK_EQ(begun, ended);
    r = conc_count(conc_enumerate(struct pair, a, b, conc_iter_range(0, 3, 1), 0), &n);
    if (r == CONC_OK) CHECK_EQ(n, 3);
    else (void)failed_well(r);
}

static void processors_scene(void) {
    CHECK(conc_cpu_count() >= 1 && conc_cpu_count() <= 16384);
}

/* Sockets, in a thread of their own, with which go what it has for waiting. What a call gives that did not do it. */
static bool refused_well(conc_result r) {
    return CHECK(r == CONC_NO_MEMORY || r == CONC_NO_THREADS || r == CONC_SYSTEM || r == CONC_BROKEN || r == CONC_REJECTED) &&
           CHECK(conc_error_detail()[0] != '\0') && CHECK_R(conc_error_result(), r);
}

static bool did(conc_result r) {
    return r == CONC_OK || (refused_well(r), false);
}

static bool made(const void *p) {
    return p != NULL || (refused_well(conc_error_result()), false);
}

static int listen_and_connect(void *arg) {
    conc_address a;
    conc_socket *c = NULL, *l = conc_tcp_listen("127.0.0.1", 0, NULL), *s = NULL;
    char text[4] = "";
    size_t n;
    (void)arg;
    if (made(l) && did(conc_socket_address(l, &a))) {
        s = conc_tcp_connect("127.0.0.1", a.port, conc_after(60));
        if (made(s)) {
            if (did(conc_accept(l, &c, conc_after(60)))) {
                if (did(conc_send_all(s, "abc", 3, &n, conc_after(60)))) {
                    if (did(conc_receive_full(c, text, 3, &n, conc_after(60)))) CHECK_STR(text, "abc");
                    if (did(conc_socket_set(c, CONC_NO_DELAY, 1))) (void)did(conc_socket_peer(c, &a));
                }
            } else {
                CHECK(c == NULL);
            }
        }
    }
    CHECK_OK(conc_socket_free(c));
    CHECK_OK(conc_socket_free(s));
    CHECK_OK(conc_socket_free(l));
    return 0;
}

static int listen_everywhere(void *arg) {
    conc_listen_desc desc;
    conc_socket *l;
    memset(&desc, 0, sizeof desc);
    (void)arg;
    l = conc_tcp_listen(NULL, 0, &desc);
    if (made(l)) CHECK_OK(conc_socket_free(l));
    return 0;
}

static int exchange_datagrams(void *arg) {
    conc_socket *a = conc_udp_bind("127.0.0.1", 0), *b = conc_udp_open(4);
    conc_address at;
    conc_datagram d;
    char text[4] = "";
    (void)arg;
    memset(&d, 0, sizeof d);
    d.data = text;
    d.size = 3;
    if (made(a) && made(b) && did(conc_socket_address(a, &at)) && did(conc_send_to(b, "abc", 3, &at, conc_after(60))) &&
        did(conc_receive_from(a, &d, conc_after(60)))) {
        CHECK_STR(text, "abc");
        (void)did(conc_wait(conc_op_writable(conc_socket_fd(b)), conc_after(60)));
    }
    CHECK_OK(conc_socket_free(a));
    CHECK_OK(conc_socket_free(b));
    return 0;
}

/* A wait for something that does not come, and one that is woken by another thread. */
static int wait_for_nothing(void *arg) {
    conc_socket *a = conc_udp_bind("127.0.0.1", 0);
    conc_datagram d;
    char c;
    conc_result r;
    (void)arg;
    if (!made(a)) return 0;
    memset(&d, 0, sizeof d);
    d.data = &c;
    d.size = 1;
    r = conc_receive_from(a, &d, conc_after(0.002));
    if (r != CONC_TIMEOUT) (void)refused_well(r);
    CHECK_OK(conc_socket_free(a));
    return 0;
}

static int look_up(void *arg) {
    conc_address list[4];
    size_t n;
    conc_result r = conc_lookup("localhost", 1, list, 4, &n, conc_after(60));
    (void)arg;
    if (r != CONC_OK) (void)refused_well(r);
    CHECK(r == CONC_OK ? n > 0 : n == 0);
    return 0;
}

/* The pollers themselves: what is not told now is told later. */
static int poll_by_poller(void *arg) {
    conc__port_poller p;
    conc__port_event events[4];
    conc__port_signal s;
    bool signaled = false;
    size_t n = 0;
    int i, e = conc__port_poller_open(&p);
    (void)arg;
    if (e != 0) return 0;
    if (conc__port_signal_open(&s) == 0) {
        conc__port_signal_raise(&s);
        e = conc__port_poller_want(&p, s.fd[0], CONC__PORT_READ);
        for (i = 0; i < 3 && n == 0; i++) n = conc__port_poller_wait(&p, events, 4, conc_clock_ns() + 1000000, &signaled);
        CHECK(n <= 1 && (e == 0 || n == 0));
        if (n == 1) CHECK(events[0].fd == s.fd[0] && events[0].got == CONC__PORT_READ);
        n = conc__port_poller_wait(&p, events, 4, INT64_MIN, &signaled);
        (void)conc__port_poller_wait(&p, events, 4, conc_clock_ns() + 1000000, &signaled);
        conc__port_poller_forget(&p, s.fd[0]);
        conc__port_signal_close(&s);
    }
    CHECK(!signaled);
    conc__port_poller_signal(&p);
    for (i = 0; i < 1000 && !signaled; i++) (void)conc__port_poller_wait(&p, events, 4, INT64_MAX, &signaled);
    CHECK(signaled);
    conc__port_poller_close(&p);
    return 0;
}

static void in_thread(conc_fn fn) {
    conc_thread *t = conc_thread_start(fn, NULL, NULL);
    if (t == NULL) (void)failed_well(conc_error_result());
    else CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
}

static void connections_scene(void) {
    in_thread(listen_and_connect);
}
static void everywhere_scene(void) {
    in_thread(listen_everywhere);
}
static void datagrams_scene(void) {
    in_thread(exchange_datagrams);
}
static void nothing_scene(void) {
    in_thread(wait_for_nothing);
}
static void names_scene(void) {
    in_thread(look_up);
}
static void pollers_scene(void) {
    in_thread(poll_by_poller);
}

/* Loops: what cannot be made is told to whoever wanted it, and the others go on. */
CONC_CORO(gives_three, conc_queue *q; int i;) {
    CO_BEGIN;
    for (self->i = 1; self->i <= 3; self->i++) {
        CO_AWAIT(conc_op_put(self->q, &self->i));
        if (self->co.result == CONC_CLOSED || !did(self->co.result)) break;
    }
    CO_FINALLY;
    (void)conc_queue_close(self->q);
    CO_END;
}

CONC_CORO(takes_three, conc_queue *q; int x, sum; conc_op ops[2];) {
    CO_BEGIN;
    for (;;) {
        self->ops[0] = conc_op_get(self->q, &self->x);
        self->ops[1] = conc_op_never();
        CO_AWAIT_ANY(self->ops, 2);
        if (self->co.result == CONC_CLOSED) break;
        if (did(self->co.result)) self->sum += self->x; /* or else once more; in the end it finds it closed */
        else CO_YIELD;
    }
    CHECK(self->sum <= 6);
    CO_END;
}

CONC_CORO(sums_up_to, int n;) {
    CO_BEGIN;
    CO_YIELD;
    if (self->n == 0) CO_RETURN(0);
    CO_CALL(sums_up_to, .n = self->n - 1);
    if (!did(self->co.result)) CO_RETURN(-1);
    CO_RETURN(self->co.value < 0 ? -1 : self->co.value + self->n);
    CO_END;
}

CONC_CORO(limited, conc_co_timeout limit;) {
    CO_BEGIN;
    CO_TIMEOUT(self->limit, 0.0005) {
        for (;;) {
            CO_AWAIT_UNTIL(conc_op_never(), conc_after(100));
            if (!did(self->co.result)) break;
        }
    }
    CO_END;
}

static void post_called(void *arg) {
    ++*(int *)arg;
}

static void loops_scene(void) {
    conc_loop *loop = conc_loop_new(NULL);
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    conc_cancel token = { NULL, 0 };
    conc_task_desc desc;
    conc_task *t[6];
    int code = 0, called = 0, i;
    if (made(loop) && made(q)) {
        bool posted;
        memset(&desc, 0, sizeof desc);
        desc.cancel = &token;
        t[0] = CONC_SPAWN(loop, gives_three, .q = q);
        t[1] = CONC_SPAWN_EX(loop, &desc, takes_three, .q = q);
        t[2] = CONC_SPAWN(loop, sums_up_to, .n = 40);
        t[3] = CONC_SPAWN_LATER(loop, 0.0005, sums_up_to, .n = 3);
        t[4] = CONC_SPAWN(loop, limited);
        t[5] = CONC_SPAWN(loop, limited);
        posted = did(conc_loop_post(loop, post_called, &called));
        for (i = 0; i < 6; i++) (void)made(t[i]);
        if (t[0] == NULL || t[1] == NULL) CHECK_OK(conc_queue_close(q));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_EQ(called, posted ? 1 : 0);
        for (i = 0; i < 6; i++) {
            if (t[i] == NULL) continue;
            CHECK_OK(conc_task_join(t[i], &code, CONC_FOREVER));
            if (i == 2) CHECK(code == 820 || code == -1);
            else if (i == 3) CHECK(code == 6 || code == -1);
            else CHECK_EQ(code, 0);
        }
    }
    CHECK_OK(conc_loop_free(loop));
    CHECK_OK(conc_queue_free(q));
}

CONC_CORO(returns_code, int code;) {
    CO_BEGIN;
    CO_YIELD;
    CO_RETURN(self->code);
    CO_END;
}

static void groups_scene(void) {
    conc_loop *loop = conc_loop_new(NULL);
    conc_group_desc desc;
    conc_group *group = NULL;
    int i, in = 0, code = 0, told = 0;
    memset(&desc, 0, sizeof desc);
    desc.limit = 2;
    desc.keep_codes = true;
    if (made(loop)) group = conc_group_new(loop, &desc);
    if (loop != NULL && made(group)) {
        for (i = 0; i < 40; i++) {
            if (did(CONC_GROUP_SPAWN(group, returns_code, .code = 0))) in++;
        }
        CHECK_EQ(conc_group_count(group), in);
        CHECK_OK(conc_group_wait(group, CONC_FOREVER));
        while (conc_try(conc_op_group_next(group, &code)) == CONC_OK) told++;
        CHECK_EQ(told, in);
    }
    CHECK_OK(conc_group_free(group));
    CHECK_OK(conc_loop_free(loop));
}

/* A loop in a thread of its own, into which others put; and is asked where it stands. */
static int runs_it(void *arg) {
    return conc_loop_run((conc_loop *)arg, CONC_FOREVER) == CONC_CLOSED ? 0 : 1;
}

static void count_line(const char *text, void *arg) {
    CHECK(text[0] != '\0');
    ++*(int *)arg;
}

static void loop_threads_scene(void) {
    conc_loop_desc desc;
    conc_loop *loop;
    conc_thread *t = NULL;
    int i, lines = 0;
    memset(&desc, 0, sizeof desc);
    desc.until_stopped = true;
    loop = conc_loop_new(&desc);
    if (made(loop)) t = conc_thread_start(runs_it, loop, NULL);
    if (loop != NULL && made(t)) {
        for (i = 0; i < 30; i++) {
            conc_task *task = CONC_SPAWN(loop, returns_code, .code = 5);
            int code = 0;
            if (!made(task)) continue;
            CHECK_OK(conc_task_join(task, &code, CONC_FOREVER));
            CHECK_EQ(code, 5);
        }
        conc_dump(count_line, &lines);
        CHECK(lines >= 1);
        (void)did(conc_loop_cancel(loop));
        CHECK_OK(conc_loop_stop(loop));
        CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    }
    CHECK_OK(conc_loop_free(loop));
}

static void stalls_scene(void) {
    conc_loop_desc desc;
    conc_loop *loop;
    memset(&desc, 0, sizeof desc);
    desc.stall_after = 0.0005;
    loop = conc_loop_new(&desc);
    if (made(loop)) {
        conc_task *t = CONC_SPAWN(loop, limited);
        if (made(t)) CHECK_OK(conc_task_join(t, NULL, CONC_FOREVER));
    }
    CHECK_OK(conc_loop_free(loop));
}

static int double_it(void *arg) {
    *(int *)arg *= 2;
    return 0;
}

CONC_CORO(offloads, int x, i;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 4; self->i++) {
        self->x = 21;
        CO_AWAIT(conc_op_offload(NULL, double_it, &self->x));
        CHECK_EQ(self->x, did(self->co.result) ? 42 : 21);
    }
    CO_END;
}

static void offload_scene(void) {
    conc_loop *loop = conc_loop_new(NULL);
    int x = 4;
    conc_result r;
    if (made(loop)) {
        if (did(CONC_GO(loop, offloads))) CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    }
    CHECK_OK(conc_loop_free(loop));
    r = conc_wait(conc_op_offload(NULL, double_it, &x), CONC_FOREVER);
    CHECK_EQ(x, did(r) ? 8 : 4);
}

/* ---- pools ---- */

static uint32_t run_count; /* atomic */
static int counts_run(void *arg) {
    (void)arg;
    (void)conc__add32(&run_count, 1, CONC__RELAXED);
    return 0;
}

static uint32_t to_run; /* of this thread */

/* Counted, if it was accepted and cannot run: for want of the thread that its pool had begun to start. */
static void not_run(conc_fn fn, void *arg, void *user) {
    (void)user;
    CHECK(fn == counts_run && arg == NULL);
    to_run--;
}

static conc_pool *new_pool(unsigned threads, size_t capacity, bool prestart) {
    conc_pool_desc desc;
    conc_pool *pool;
    memset(&desc, 0, sizeof desc);
    desc.core_threads = threads;
    desc.queue_capacity = capacity;
    desc.prestart = prestart;
    desc.dropped = not_run;
    pool = conc_pool_new(&desc);
    conc__store32(&run_count, 0, CONC__RELAXED);
    to_run = 0;
    (void)made(pool);
    return pool;
}

/* What was accepted has run, and is counted. */
static void free_pool(conc_pool *pool) {
    conc_pool_stats s;
    if (pool == NULL) return;
    CHECK_OK(conc_pool_close(pool));
    CHECK_OK(conc_pool_join(pool, CONC_FOREVER));
    s = conc_pool_stats_of(pool);
    CHECK_EQ(s.accepted, s.completed + s.canceled + s.returned);
    CHECK_EQ(conc__load32(&run_count, CONC__RELAXED), to_run);
    CHECK_OK(conc_pool_free(pool));
}

static void pool_scene(void) {
    conc_pool *pool = new_pool(2, 0, false);
    int i;
    for (i = 0; pool != NULL && i < 2000; i++) to_run += did(conc_pool_run(pool, counts_run, NULL));
    free_pool(pool);
    pool = new_pool(1, 4000, true);
    for (i = 0; pool != NULL && i < 20; i++) to_run += did(conc_pool_run(pool, counts_run, NULL));
    free_pool(pool);
}

static void counts_end(conc_future *f, void *arg) {
    CHECK(conc_future_is_done(f));
    (void)conc__add32((uint32_t *)arg, 1, CONC__RELAXED);
}

static void futures_scene(void) {
    conc_pool *pool = new_pool(1, 0, false);
    conc_future *f[12], *own = conc_future_new();
    uint32_t told = 0, to_be_told = 0;
    size_t n = 0, seen = 0;
    int i;
    for (i = 0; pool != NULL && i < 12; i++) {
        f[n] = conc_pool_submit(pool, counts_run, NULL);
        if (made(f[n])) n++;
    }
    to_run += (uint32_t)n;
    for (i = 0; i < (int)n; i++) to_be_told += did(conc_future_then(f[i], counts_end, &told));
    if (n != 0) {
        conc_iter *it = conc_as_completed(f, n);
        conc_future *one;
        while (it->next(it, &one, 1) != 0) seen++;
        CHECK_EQ(seen, it->result == CONC_NO_MEMORY ? 0 : n);
        conc_iter_close(it);
        i = conc_wait_any(f, n, CONC_FOREVER);
        CHECK(i >= 0 || i == CONC_NO_MEMORY);
        CHECK_OK(conc_wait_all(f, n, CONC_FOREVER));
    }
    for (i = 0; i < (int)n; i++) conc_future_release(f[i]);
    if (made(own)) {
        (void)did(conc_future_complete(own, 0));
        CHECK_OK(conc_future_wait(own, CONC_FOREVER));
        conc_future_release(own);
    }
    free_pool(pool);
    CHECK_EQ(conc__load32(&told, CONC__RELAXED), to_be_told);
}

static void schedules_scene(void) {
    conc_pool *pool = new_pool(1, 0, false);
    conc_future *at = NULL, *every = NULL;
    if (pool != NULL) {
        at = conc_pool_submit_at(pool, counts_run, NULL, conc_after(0.0005));
        if (made(at)) {
            conc_result r = conc_future_wait(at, CONC_FOREVER);
            CHECK(r == CONC_OK || r == CONC_NO_THREADS || r == CONC_NO_MEMORY);
        }
        every = conc_pool_every(pool, counts_run, NULL, conc_after(0), 0.0001, true);
        if (made(every)) {
            conc_result r = conc_future_wait(every, conc_after(0.002));
            CHECK(r == CONC_TIMEOUT || r == CONC_NO_THREADS || r == CONC_NO_MEMORY);
            (void)conc_future_cancel(every);
            (void)conc_future_wait(every, CONC_FOREVER);
        }
        conc_future_release(at);
        conc_future_release(every);
        CHECK_OK(conc_pool_close(pool));
        CHECK_OK(conc_pool_join(pool, CONC_FOREVER));
        CHECK_OK(conc_pool_free(pool));
    }
}

static int forks_some(void *arg) {
    conc_job jobs[4];
    int i;
    (void)arg;
    for (i = 0; i < 4; i++) conc_job_fork(&jobs[i], counts_run, NULL);
    for (i = 3; i >= 0; i--) CHECK_EQ(conc_job_join(&jobs[i]), 0);
    return 0;
}

static int groups_some(void *pool) {
    conc_pool_group g;
    int i;
    if (!did(conc_pool_group_begin(&g, (conc_pool *)pool))) return 0;
    for (i = 0; i < 4; i++) to_run += did(conc_pool_group_run(&g, counts_run, NULL));
    CHECK_OK(conc_pool_group_end(&g));
    return 0;
}

static void jobs_scene(void) {
    conc_pool *pool = new_pool(2, 0, false);
    if (pool != NULL) {
        int code = 0, x = 4;
        conc_result r;
        if (did(conc_pool_call(pool, forks_some, NULL, &code))) to_run += 4;
        (void)groups_some(pool);
        (void)did(conc_pool_call(pool, groups_some, pool, &code));
        r = conc_wait(conc_op_offload(pool, double_it, &x), CONC_FOREVER);
        CHECK_EQ(x, did(r) ? 8 : 4);
    }
    free_pool(pool);
}

#if !defined(_WIN32)
/* Where fork() could not be watched it is only not noticed. */
static void fork_scene(void) {
    pid_t pid;
    int status = 0;
    (void)conc_error_result(); /* the library is in use */
    pid = fork();
    if (pid == 0) {
        conc_event e = { 0 };
        CHECK_OK(conc_event_set(&e));
        CHECK_OK(conc_event_wait(&e, CONC_FOREVER));
        _exit(check_failures != 0);
    }
    if (pid > 0) CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

/* Whatever of a process cannot be made, there is none, or (where it is the child that had no memory) it says so. */
static const char *self_path;

static int waits_for_news(void *arg) {
    char byte;
    size_t n;
    (void)conc_channel_get(conc_process_channel(NULL), &byte, 1, &n, CONC_FOREVER);
    return *(int *)arg;
}

static void processes_of(conc_process_method method) {
    conc_process_desc desc;
    conc_shared *s = conc_shared_new(100);
    conc__port_block block, again;
    int round;
    memset(&desc, 0, sizeof desc);
    desc.method = method;
    desc.channel = true;
    desc.shared = &s;
    desc.shared_count = s != NULL;
    if (s == NULL) (void)refused_well(conc_error_result());
    if (conc__port_block_new(&block, 100, true) == 0) {
        if (conc__port_block_open(&again, block.fd, 100) == 0) {
            again.fd = -1;
            conc__port_block_free(&again);
        }
        conc__port_block_free(&block);
    }
    for (round = 0; round < 2; round++) {
        int arg = 7, code = 0;
        conc_process *p = conc_process_start(waits_for_news, &arg, sizeof arg, &desc);
        conc_result r;
        if (p == NULL) {
            (void)refused_well(conc_error_result());
            continue;
        }
        if (round == 1) {
            r = conc_channel_put(conc_process_channel(p), "x", 1, CONC_NOW);
            CHECK(r == CONC_OK || r == CONC_CLOSED || refused_well(r));
        } else if (conc_process_terminate(p) != CONC_OK) {
            (void)refused_well(conc_error_result());
        }
        CHECK_OK(conc_channel_close(conc_process_channel(p)));
        UNTIL(!conc_process_is_alive(p));
        r = conc_process_join(p, &code, CONC_FOREVER);
        if (r == CONC_OK) CHECK_EQ(code, 7);
        else CHECK(r == CONC_CRASHED && code != 0 && conc_error_detail()[0] != '\0');
    }
    conc_shared_free(s);
}

static void spawned_scene(void) {
    static char *arguments[2];
    arguments[0] = (char *)(uintptr_t)self_path;
    if (conc_process_register("waits_for_news", waits_for_news) != CONC_OK) {
        (void)refused_well(conc_error_result());
        return;
    }
    conc_process_main(1, arguments);
    processes_of(CONC_PROCESS_SPAWN);
}

#if !defined(_WIN32)
static void forked_scene(void) {
    processes_of(CONC_PROCESS_FORK);
}
#endif

/* Whatever a process pool lacks, each task is told of, once, and the pool ends. */
static int pooled_task(void *arg) {
    char text[100];
    memset(text, 'x', sizeof text);
    if (*(int *)arg == 1 && conc_procpool_reply(text, sizeof text) != CONC_OK) return 5;
    ++*(int *)arg;
    return 0;
}

static int pooled_item(const void *in, void *out, void *arg) {
    *(int *)out = *(const int *)in + *(int *)arg;
    return 0;
}

static void pooled_end(conc_result r) {
    CHECK(r == CONC_OK || r == CONC_CRASHED || r == CONC_CLOSED || r == CONC_FAILED || refused_well(r));
}

static void procpools_of(conc_process_method method) {
    conc_procpool_desc desc;
    conc_procpool *pool;
    conc_future *f[4];
    int x[4], in[10], out[10], i, one = 1;
    char large[1000];
    void *buffer;
    conc_iter *it;
    (void)conc__port_limit_memory(UINT64_MAX);
    memset(&desc, 0, sizeof desc);
    memset(large, 0, sizeof large);
    memset(in, 0, sizeof in);
    desc.method = method;
    desc.buffer_size = 4096;
    desc.initialize = pooled_task;
    desc.init_arg = &one;
    desc.init_size = sizeof one;
    one = 0;
    pool = conc_procpool_new(2, &desc);
    if (!made(pool)) return;
    one = 1;
    for (i = 0; i < 4; i++) {
        x[i] = i;
        f[i] = conc_procpool_submit(pool, pooled_task, &x[i], sizeof x[i]);
        if (f[i] == NULL) pooled_end(conc_error_result());
    }
    pooled_end(conc_procpool_run(pool, pooled_task, large, sizeof large));
    buffer = conc_procpool_buffer(pool, 100);
    if (made(buffer)) CHECK_OK(conc_procpool_buffer_free(pool, buffer));
    for (i = 0; i < 4; i++) {
        conc_result r;
        if (f[i] == NULL) continue;
        r = conc_future_wait(f[i], CONC_FOREVER);
        while (!conc_future_is_done(f[i])) r = conc_future_wait(f[i], CONC_FOREVER); /* the wait may fail, too */
        CHECK(r == CONC_OK || r == CONC_FAILED || conc_future_detail(f[i])[0] != '\0');
        CHECK(r != CONC_OK || x[i] == i + 1);
        conc_future_release(f[i]);
    }
    pooled_end(conc_procpool_map(pool, in, out, 10, pooled_item, &one, sizeof one, 2));
    it = conc_procpool_imap(pool, conc_iter_array(in, 10), pooled_item, int, 4, &one, sizeof one, 2);
    for (i = 0; conc_next(it, &x[0]) == CONC_OK; i++) CHECK_EQ(x[0], 1);
    CHECK(i == 10 || it->result != CONC_CLOSED);
    conc_iter_close(it);
    (void)conc_procpool_close(pool);
    UNTIL(conc_procpool_join(pool, CONC_FOREVER) == CONC_OK);
    CHECK_OK(conc_procpool_free(pool));
}

static void procpools_spawned_scene(void) {
    static char *arguments[2];
    arguments[0] = (char *)(uintptr_t)self_path;
    if (conc_process_register("pooled_task", pooled_task) != CONC_OK || conc_procpool_register_map("pooled_item", pooled_item) != CONC_OK) {
        (void)refused_well(conc_error_result());
        return;
    }
    conc_process_main(1, arguments);
    procpools_of(CONC_PROCESS_SPAWN);
}

#if !defined(_WIN32)
static void procpools_scene(void) {
    procpools_of(CONC_PROCESS_FORK);
}
#endif

static const struct {
    const char *name;
    void (*run)(void);
} scenes[] = {
    { "threads", threads_scene }, { "locals", locals_scene },         { "queues", queues_scene },
    { "timers", timers_scene },   { "waits", waits_scene },           { "ring", ring_scene },
    { "processors", processors_scene }, { "foreign", foreign_scene }, { "iterators", iterators_scene },
    { "connections", connections_scene }, { "everywhere", everywhere_scene }, { "datagrams", datagrams_scene },
    { "nothing", nothing_scene }, { "names", names_scene },           { "pollers", pollers_scene },
    { "loops", loops_scene },     { "groups", groups_scene },         { "loop-threads", loop_threads_scene },
    { "stalls", stalls_scene },   { "offload", offload_scene },
    { "pools", pool_scene },      { "futures", futures_scene },       { "schedules", schedules_scene },
    { "jobs", jobs_scene },
#if !defined(_WIN32)
    { "fork", fork_scene },
    { "forked", forked_scene },
    { "procpools", procpools_scene },
#endif
    { "spawned", spawned_scene }, { "pools-spawned", procpools_spawned_scene },
};
#define SCENES (sizeof scenes / sizeof *scenes)

/* ---- one fault ------------------------------------------------------------------------------------------ */

static int run_scene(size_t scene, unsigned n, unsigned which, bool sticky, const char *log) {
    int descriptors = entries("/proc/self/fd");
    uint32_t passed, i, allowed, others = conc__load32(&live, CONC__RELAXED);
    const char *site;
    char error[40];
    conc__fault_plan(n, which, sticky);
    scenes[scene].run();
    passed = conc__fault_passed();
    conc__fault_plan(0, 0, false);
    /* The same again, without faults: whatever failed can be done now. */
    conc__store32(&destroyed, 0, CONC__RELAXED);
    conc__store32(&kept, 0, CONC__RELAXED);
    conc__store32(&rang, 0, CONC__RELAXED);
    turn = 0;
    scenes[scene].run();
    if (conc__has_life && descriptors != 0) descriptors += 2; /* which stay, once there has been a process, */
    if (conc__self()->has_signal && strstr(scenes[scene].name, "pools") != NULL && descriptors != 0) descriptors++; /* or this thread has waited for one */
    /* (A thread that nobody waits for may be about to read what processors it may use.) */
    for (i = 0; i < 5000 && entries("/proc/self/fd") != descriptors; i++) (void)conc_sleep(conc_after(0.001));
    CHECK_EQ(entries("/proc/self/fd"), descriptors);
    (void)conc_thread_join_all(CONC_FOREVER);
    /* What may still live: this thread's record and values; the timers' service with its heap and its record; threads for
     * offloaded calls, with their records and values. */
    allowed = (strcmp(scenes[scene].name, "timers") == 0 || strcmp(scenes[scene].name, "names") == 0 ||
                       strcmp(scenes[scene].name, "stalls") == 0 || strcmp(scenes[scene].name, "schedules") == 0 ||
                       strcmp(scenes[scene].name, "spawned") == 0 ? 4u
               : strcmp(scenes[scene].name, "pools-spawned") == 0 ? 5u
               : strcmp(scenes[scene].name, "offload") == 0 ? 2u + (CONC__HAS_TLS ? 2u : 3u) * (uint32_t)conc_thread_count()
                                                            : 2u) +
              (CONC__HAS_TLS ? 0u : 2u);
    /* (A pool's threads may still be in their last steps: those are given time.) */
    for (i = 0; i < 5000 && conc__load32(&live, CONC__RELAXED) - others > allowed; i++) (void)conc_sleep(conc_after(0.001));
    i = conc__load32(&live, CONC__RELAXED) - others;
    CHECK(i <= allowed);
    if (log != NULL) {
        FILE *f = fopen(log, "a");
        for (i = 0; f != NULL && conc__fault_made(i, &site, error, sizeof error); i++) {
            fprintf(f, "%s|%s|%s\n", site, error, sticky ? "sticky" : "once");
        }
        if (f != NULL) fclose(f);
    }
    if (check_failures != 0) {
        fprintf(stderr, "faults: with number %u%s, error %u, of scene %s\n", n, sticky ? " and all after it" : "", which,
                scenes[scene].name);
        return 1;
    }
    return passed < n ? 3 : 0;
}

/* ---- all of them ------------------------------------------------------------------------------------------- */

static char log_path[1000];

static int in_process(size_t scene, unsigned n, unsigned which, bool sticky) {
#if defined(_WIN32)
    char number[20], error[20];
    snprintf(number, sizeof number, "%u", n);
    snprintf(error, sizeof error, "%u", which);
    fflush(NULL);
    return (int)_spawnl(_P_WAIT, self_path, "faults", scenes[scene].name, number, error, sticky ? "1" : "0", log_path, NULL);
#else
    int status = 0;
    pid_t pid;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int r;
        check_watchdog();
        check_failures = 0; /* each for itself */
        r = run_scene(scene, n, which, sticky, log_path);
        exit(r);
    }
    if (!CHECK(pid > 0 && waitpid(pid, &status, 0) == pid)) return 1;
    if (!WIFEXITED(status)) fprintf(stderr, "faults: scene %s, number %u: killed\n", scenes[scene].name, n);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
#endif
}

int main(int argc, char **argv) {
    size_t scene;
    self_path = argv[0];
    check_program = "faults";
    if (argc == 4) { /* a process of a scene that spawns */
        (void)conc_process_register("waits_for_news", waits_for_news);
        (void)conc_process_register("pooled_task", pooled_task);
        (void)conc_procpool_register_map("pooled_item", pooled_item);
        conc_process_main(argc, argv);
    }
    if (argc >= 5) {
        for (scene = 0; scene < SCENES; scene++) {
            if (strcmp(argv[1], scenes[scene].name) == 0) {
                check_watchdog();
                return run_scene(scene, (unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), argv[4][0] == '1',
                                 argc > 5 ? argv[5] : NULL);
            }
        }
        return 2;
    }
    /* Nothing of the library is used here: each process begins with all of it still to be set up. */
    snprintf(log_path, sizeof log_path, "%.900s.faults.log", argv[0]);
    remove(log_path);
    for (scene = 0; scene < SCENES; scene++) {
        unsigned n, which, many = 0;
        int sticky;
        /* (An emulated program that is started anew would be one of the machine below.) */
        if (getenv("CONC_TEST_EMULATED") != NULL && strstr(scenes[scene].name, "spawned") != NULL) continue;
        check_case = scenes[scene].name;
        check_watchdog();
        for (sticky = 0; sticky < 2; sticky++) {
            int status = 0;
            /* As long as there is an n-th site; in a scene that sleeps there may be one more each time. */
            unsigned most = sticky ? 40u : 120u;
#if defined(_WIN32)
            /* Each process costs more there: what no scene but these comes to, is far on in them. */
            if (strstr(scenes[scene].name, "spawned") == NULL && strcmp(scenes[scene].name, "connections") != 0) most = 30;
#endif
            if (CHECK_TSAN || CHECK_ASAN) most = 30; /* here, too */
            for (n = 1; status != 3 && n <= most; n++) {
                for (which = 0; which < (n <= 40 ? 3u : 1u) && status != 3; which++) {
                    status = in_process(scene, n, which, sticky != 0);
                    many++;
                    if (status != 0 && status != 3) check_failures++;
                    if (check_failures > 5) goto over;
                }
            }
        }
        printf("  %-12s %u faults\n", scenes[scene].name, many);
        fflush(stdout);
    }
over:
    printf("faults: %s\n", check_failures != 0 ? "FAILED" : "ok");
    return check_failures != 0;
}

#endif
