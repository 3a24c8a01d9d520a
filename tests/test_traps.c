/* Traps of coroutines and loops, each of which once caught somebody: what must go on goes on, what cannot is told. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"
#if !defined(_WIN32)
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static conc_loop *loop;
static int counted;

static void begin(void) {
    loop = conc_loop_new(NULL);
    if (!CHECK(loop != NULL)) exit(1);
    counted = 0;
}

static void finish(void) {
    CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    CHECK_OK(conc_loop_free(loop));
}

/* ---- a time-out in a clean-up part, whose callee was what a cancel struck ---- */

CONC_CORO(leaf, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_never());
    CO_END;
}

CONC_CORO(limits_its_cleaning, conc_co_timeout limit;) {
    CO_BEGIN;
    CO_FINALLY;
    CO_TIMEOUT(self->limit, 0.01) {
        CO_CALL(leaf);
        CO_AWAIT(conc_op_never());
    }
    counted += self->limit.expired ? 1 : 100;
    CO_END;
}

static void limited_cleaning(void) {
    conc_task *t;
    int code = 0;
    begin();
    t = CONC_SPAWN(loop, limits_its_cleaning);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT); /* it is in the leaf */
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(counted, 1);
    finish();
}

/* ---- a block left by goto, and entered again ---- */

CONC_CORO(leaves, conc_co_timeout limit; int i;) {
    CO_BEGIN;
again:
    CO_TIMEOUT(self->limit, 0.01) {
        if (self->i++ < 3) goto again;
        CO_AWAIT(conc_op_never());
    }
    counted += self->limit.expired;
    CO_END;
}

static void left_by_goto(void) {
    begin();
    CHECK_OK(CONC_GO(loop, leaves));
    finish();
    CHECK_EQ(counted, 1);
}

/* ---- waits that need not wait let others run ---- */

static bool stop;

CONC_CORO(spins, conc_event *e;) {
    CO_BEGIN;
    while (!stop && counted < 1000000) {
        counted++;
        if (self->e != NULL) CO_AWAIT(conc_op_event(self->e));
        else CO_AWAIT(conc_op_sleep(0));
    }
    CO_END;
}

CONC_CORO(stops, ) {
    CO_BEGIN;
    stop = true;
    CO_END;
}

static void nobody_starves(void) {
    static conc_event set;
    int i;
    CHECK_OK(conc_event_set(&set));
    for (i = 0; i < 2; i++) {
        begin();
        stop = false;
        CHECK_OK(CONC_GO(loop, spins, .e = i == 0 ? &set : NULL));
        CHECK_OK(CONC_GO(loop, stops));
        finish();
        CHECK(counted < 1000);
    }
}

/* The result of a wait after which others went first arrives, whatever comes meanwhile. */
CONC_CORO(takes, conc_queue *q; int x;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(self->q, &self->x));
        counted++;
    }
    CO_END;
}

static void nothing_lost(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 0);
    conc_task *t;
    int i, code = 0;
    begin();
    for (i = 0; i < 1000; i++) CHECK_OK(conc_queue_put(q, &i, CONC_FOREVER));
    t = CONC_SPAWN(loop, takes, .q = q);
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_OK(conc_task_cancel(t));
    CHECK_OK(conc_task_join(t, &code, CONC_FOREVER));
    CHECK_EQ(code, CONC_CANCELED);
    CHECK_EQ(counted + (int)conc_queue_length(q), 1000);
    finish();
    CHECK_OK(conc_queue_free(q));
}

/* ---- what is lost in a suspension is told ---- */

#if !CHECK_ASAN
CONC_CORO(waits_for_locals, conc_queue *q;) {
    CO_BEGIN;
    {
        int x;
        CO_AWAIT(conc_op_get(self->q, &x));
    }
    counted += self->co.result == CONC_INVALID ? 1 : 100;
    CHECK_HAS(conc_error_detail(), "test_traps.c");
    CHECK_HAS(conc_error_detail(), "waits_for_locals");
    {
        conc_op ops[2];
        ops[0] = conc_op_never();
        ops[1] = conc_op_sleep(1000);
        CO_AWAIT_ANY(ops, 2);
    }
    counted += self->co.result == CONC_INVALID && self->co.value == -1 ? 1 : 100;
    CO_END;
}
#endif

static void locals(void) {
#if !CHECK_ASAN /* which may keep them elsewhere, and then tells of it itself */
    conc_queue *q = conc_queue_new(sizeof(int), 0);
    begin();
    CHECK_OK(CONC_GO(loop, waits_for_locals, .q = q));
    finish();
    CHECK_EQ(counted, 2);
    CHECK_OK(conc_queue_free(q));
#endif
}

#if !defined(_WIN32) && !defined(__clang__) && CONC_CC_GNU && !CONC_CC_TINY /* clang refuses to compile it */
static conc_mutex lock;

CONC_CORO(waits_in_a_block, ) {
    CO_BEGIN;
    CONC_WITH_LOCK(&lock) {
        CO_AWAIT(conc_op_sleep(0.001));
    }
    CO_END;
}

static void torn_blocks(void) {
    char said[500];
    int fds[2], status = 0, n = 0, more;
    pid_t pid;
    fflush(NULL);
    if (!CHECK(pipe(fds) == 0)) return;
    pid = fork();
    if (pid == 0) {
        if (dup2(fds[1], 2) < 0) _exit(1);
        signal(SIGABRT, SIG_DFL);
        begin();
        (void)CONC_GO(loop, waits_in_a_block);
        (void)conc_loop_run(loop, CONC_FOREVER);
        _exit(0);
    }
    close(fds[1]);
    while ((more = (int)read(fds[0], said + n, sizeof said - 1 - (size_t)n)) > 0) n += more;
    close(fds[0]);
    said[n] = '\0';
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
    CHECK_HAS(said, "waits_in_a_block cannot suspend at");
    CHECK_HAS(said, "test_traps.c");
}
#else
static void torn_blocks(void) {
}
#endif

#if !defined(_WIN32)
/* fork() in a coroutine: the tasks go on in the parent alone. */
CONC_CORO(forks, ) {
    CO_BEGIN;
    counted = fork() == 0 ? 1 : 2;
    CO_YIELD;
    CO_AWAIT(conc_op_sleep(0.001));
    if (counted == 1) _exit(7); /* not in the child */
    CO_END;
}

static void forked_within(void) {
    int status = 0;
    conc_result r;
    begin();
    CHECK_OK(CONC_GO(loop, forks));
    r = conc_loop_run(loop, CONC_FOREVER);
    if (counted == 1) _exit(r == CONC_FORKED ? 0 : 1);
    CHECK_OK(r);
    CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    finish();
}
#else
static void forked_within(void) {
}
#endif

/* ---- joins and posts ---- */

static void detached_among_several(void) {
    conc_task *t[2];
    begin();
    t[0] = CONC_SPAWN(loop, leaf);
    t[1] = CONC_SPAWN(loop, leaf);
    CHECK_OK(conc_task_detach(t[0]));
    CHECK_MISUSE(conc_task_join_all(t, 2, 0, CONC_FOREVER), CONC_INVALID);
    CHECK_OK(conc_loop_cancel(loop));
    CHECK_OK(conc_task_join(t[1], NULL, CONC_FOREVER));
    finish();
}

static void posts(void *left) {
    int *n = (int *)left;
    counted++;
    if (--*n > 0) CHECK_OK(conc_loop_post(loop, posts, n));
}

static void posts_that_post(void) {
    int n = 4;
    begin();
    CHECK_OK(conc_loop_post(loop, posts, &n));
    CHECK_OK(conc_loop_free(loop));
    CHECK_EQ(counted, 4);
}

/* A group's task that has to wait for room, and then for its time. */
static void start_after_room(void) {
    conc_group_desc limit;
    conc_task_desc desc;
    conc_group *g;
    int64_t due;
    begin();
    memset(&limit, 0, sizeof limit);
    memset(&desc, 0, sizeof desc);
    limit.limit = 1;
    g = conc_group_new(loop, &limit);
    desc.group = g;
    due = conc_clock_ns() + 30000000;
    CHECK_OK(CONC_GROUP_SPAWN(g, stops));
    desc.start = conc_deadline_at(due);
    stop = false;
    CHECK_OK(conc_task_detach(CONC_SPAWN_EX(loop, &desc, stops)));
    CHECK_OK(conc_group_wait(g, CONC_FOREVER));
    CHECK(conc_clock_ns() >= due);
    CHECK_OK(conc_group_free(g));
    finish();
}

/* ---- descriptors ---- */

static conc_socket *pair[2];

static void connect_pair(void) {
    conc_address a;
    conc_socket *l = conc_tcp_listen("127.0.0.1", 0, NULL);
    if (!CHECK(l != NULL)) exit(1);
    CHECK_OK(conc_socket_address(l, &a));
    pair[0] = conc_tcp_connect("127.0.0.1", conc_address_port(&a), conc_after(60));
    CHECK_OK(conc_accept(l, &pair[1], conc_after(60)));
    CHECK_OK(conc_socket_free(l));
}

static void free_pair(void) {
    CHECK_OK(conc_socket_free(pair[0]));
    CHECK_OK(conc_socket_free(pair[1]));
}

/* A short read says that there is no more; with CONC_NOW, and before a time-out, the socket is asked all the same. */
CONC_CORO(reads, conc_io io; conc_op op[1]; char buffer[64];) {
    CO_BEGIN;
    self->io.data = self->buffer;
    self->io.size = sizeof self->buffer;
    CO_AWAIT(conc_op_receive(pair[1], &self->io));
    CHECK_OK(self->co.result);
    CHECK_OK(conc_send_all(pair[0], "more", 4, NULL, conc_after(60))); /* the loop does not know of it yet */
    do {
        CO_AWAIT_UNTIL(conc_op_receive(pair[1], &self->io), CONC_NOW);
    } while (self->co.result == CONC_BUSY && counted++ < 1000000); /* (it is on its way) */
    CHECK_OK(self->co.result);
    CHECK_EQ(self->io.done, 4);
    CHECK_OK(conc_send_all(pair[0], "again", 5, NULL, conc_after(60)));
    do { /* among several, too */
        self->op[0] = conc_op_receive(pair[1], &self->io);
        CO_AWAIT_ANY_UNTIL(self->op, 1, CONC_NOW);
    } while (self->co.result == CONC_BUSY && counted++ < 2000000);
    CHECK_OK(self->co.result);
    CHECK_EQ(self->co.value, 0);
    CHECK_EQ(self->io.done, 5);
    counted = -1;
    CO_END;
}

static void asked_all_the_same(void) {
    connect_pair();
    begin();
    CHECK_OK(conc_send_all(pair[0], "some", 4, NULL, conc_after(60)));
    CHECK_OK(CONC_GO(loop, reads));
    finish();
    CHECK_EQ(counted, -1);
    free_pair();
}

/* A loop that is run a bit at a time looks at its sockets. */
CONC_CORO(counts_bytes, conc_io io; char buffer[1];) {
    CO_BEGIN;
    for (;;) {
        self->io.data = self->buffer;
        self->io.size = 1;
        CO_AWAIT(conc_op_receive(pair[1], &self->io));
        if (self->co.result != CONC_OK) break;
        counted++;
    }
    CO_END;
}

static void bit_at_a_time(void) {
    conc_deadline give_up = conc_after(60);
    connect_pair();
    begin();
    CHECK_OK(CONC_GO(loop, counts_bytes));
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_OK(conc_send_all(pair[0], "abc", 3, NULL, conc_after(60)));
    while (counted < 3 && !conc_deadline_passed(give_up)) CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK_EQ(counted, 3);
    CHECK_OK(conc_socket_close(pair[1]));
    finish();
    free_pair();
}

#if !defined(_WIN32)
/* A number that was a socket's, which the loop knew, is a pipe's now. */
static int pipe_ends[2];

CONC_CORO(reads_number, intptr_t fd;) {
    CO_BEGIN;
    CO_AWAIT_UNTIL(conc_op_readable(self->fd), conc_after(60));
    CHECK_OK(self->co.result);
    counted++;
    CO_END;
}

static void number_of_another(void) {
    conc_socket *u = conc_udp_bind("127.0.0.1", 0);
    intptr_t number = conc_socket_fd(u);
    conc_datagram d;
    char buffer[8], byte = 'x';
    int i;
    if (!CHECK(u != NULL)) return;
    begin();
    memset(&d, 0, sizeof d);
    d.data = buffer;
    d.size = sizeof buffer;
    CHECK_R(conc_receive_from(u, &d, CONC_NOW), CONC_BUSY);
    {
        /* the loop comes to know it */
        conc_task *t = CONC_SPAWN(loop, reads_number, .fd = number);
        CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
        CHECK_OK(conc_task_cancel(t));
        CHECK_OK(conc_task_join(t, &i, CONC_FOREVER));
    }
    counted = 0;
    CHECK_OK(conc_socket_free(u));
    if (!CHECK(pipe(pipe_ends) == 0)) return;
    if (pipe_ends[0] != number) (void)dup2(pipe_ends[0], (int)number);
    CHECK_OK(CONC_GO(loop, reads_number, .fd = number));
    CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
    CHECK(write(pipe_ends[1], &byte, 1) == 1);
    finish();
    CHECK_EQ(counted, 1);
    if (pipe_ends[0] != number) close((int)number);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

/* A socket that was waited for in the loop, and then a raw wait for its number. */
CONC_CORO(receives, conc_socket *s; conc_datagram d; char buffer[8];) {
    CO_BEGIN;
    self->d.data = self->buffer;
    self->d.size = sizeof self->buffer;
    CO_AWAIT_UNTIL(conc_op_receive_from(self->s, &self->d), conc_after(60));
    CHECK_OK(self->co.result);
    counted++;
    CO_END;
}

static void socket_by_number(void) {
    conc_socket *u = conc_udp_bind("127.0.0.1", 0);
    conc_address a;
    int i;
    if (!CHECK(u != NULL)) return;
    CHECK_OK(conc_socket_address(u, &a));
    begin();
    for (i = 0; i < 3; i++) {
        CHECK_OK(CONC_GO(loop, receives, .s = u));
        CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
        CHECK_OK(conc_send_to(u, "a", 1, &a, conc_after(60)));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_OK(CONC_GO(loop, reads_number, .fd = conc_socket_fd(u)));
        CHECK_R(conc_loop_run(loop, CONC_NOW), CONC_TIMEOUT);
        CHECK_OK(conc_send_to(u, "b", 1, &a, conc_after(60)));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
        CHECK_OK(CONC_GO(loop, receives, .s = u));
        CHECK_OK(conc_loop_run(loop, CONC_FOREVER));
    }
    CHECK_EQ(counted, 9);
    finish();
    CHECK_OK(conc_socket_free(u));
}

/* A full table of descriptors: who accepts does not keep the others from running, and gets the next ones. */
static int filled[4096], fill_count;

CONC_CORO(accepts, conc_socket *l, *c; int refused;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_accept(self->l, &self->c));
        if (self->co.result == CONC_REJECTED) {
            self->refused++;
            continue;
        }
        break;
    }
    CHECK_OK(self->co.result);
    CHECK(self->refused < 100);
    counted++;
    CHECK_OK(conc_socket_free(self->c));
    CO_END;
}

CONC_CORO(makes_room, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(0.01));
    while (fill_count > 0) close(filled[--fill_count]);
    CO_END;
}

CONC_CORO(connects, conc_socket *s; conc_address a;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(0.05)); /* when there is room again: the listener is in order still */
    self->s = conc_tcp_open(4);
    if (!CHECK(self->s != NULL)) CO_RETURN(0);
    CO_AWAIT(conc_op_connect(self->s, &self->a));
    CHECK_OK(self->co.result);
    CHECK_OK(conc_socket_free(self->s));
    CO_END;
}

static void full_table(void) {
    struct rlimit before, small;
    conc_address a;
    conc_socket *l = conc_tcp_listen("127.0.0.1", 0, NULL);
    int fd;
    if (!CHECK(l != NULL)) return;
    CHECK_OK(conc_socket_address(l, &a));
    begin();
    if (!CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0)) return;
    small = before;
    small.rlim_cur = 256;
    CHECK(setrlimit(RLIMIT_NOFILE, &small) == 0);
    fill_count = 0;
    while (fill_count < 4096 && (fd = open("/dev/null", O_RDONLY)) >= 0) filled[fill_count++] = fd;
    CHECK_OK(CONC_GO(loop, accepts, .l = l));
    CHECK_OK(CONC_GO(loop, makes_room));
    CHECK_OK(CONC_GO(loop, connects, .a = a));
    finish();
    CHECK_EQ(counted, 1);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_OK(conc_socket_free(l));
}
#else
static void number_of_another(void) {
}
static void socket_by_number(void) {
}
static void full_table(void) {
}
#endif

int main(void) {
    check_begin("traps");
    RUN(limited_cleaning);
    RUN(left_by_goto);
    RUN(nobody_starves);
    RUN(nothing_lost);
    RUN(locals);
    RUN(torn_blocks);
    RUN(forked_within);
    RUN(detached_among_several);
    RUN(posts_that_post);
    RUN(start_after_room);
    RUN(asked_all_the_same);
    RUN(bit_at_a_time);
    RUN(number_of_another);
    RUN(socket_by_number);
    RUN(full_table);
    return check_end();
}
