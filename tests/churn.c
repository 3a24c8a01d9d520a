/* Connections that come and go for a while, and nothing that stays: thousands of clients in a process of their own connect to
 * two loops of ours, talk, and leave in every way there is: in order, cut (a reset), half closed, in the middle of a message,
 * with answers unread, never; while the server cancels tasks, fires tokens and closes sockets at random, from its loops and
 * from a thread. In rounds: after each, all is quiet for a moment, and both processes count their descriptors, what they have
 * allocated and their memory. All of it is flat after the warm-up, and none is left at the end.
 *
 *     churn [SECONDS [CONNECTIONS]]      5 and 10,000; fewer under a sanitizer or with few descriptors
 *
 * Loopback only. Linux only. */

#define _GNU_SOURCE
#include <stddef.h>
static void *churn_malloc(size_t size);
static void *churn_realloc(void *p, size_t size);
static void churn_free(void *p);
#define CONC_MALLOC(size) churn_malloc(size)
#define CONC_REALLOC(p, size) churn_realloc((p), (size))
#define CONC_FREE(p) churn_free(p)
#define CONC_IMPLEMENTATION
#include "../conc.h"

#include "check.h"

#if !defined(__linux__)
int main(void) {
    return check_skip("churn", "it is for Linux");
}
#else

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- what is counted ---- */

static size_t blocks, bytes; /* atomic: what the library has allocated */

static void *churn_malloc(size_t size) {
    void *p = malloc(size);
    if (p != NULL) {
        (void)conc__addz(&blocks, 1, CONC__RELAXED);
        (void)conc__addz(&bytes, malloc_usable_size(p), CONC__RELAXED);
    }
    return p;
}

static void churn_free(void *p) {
    if (p == NULL) return;
    (void)conc__subz(&blocks, 1, CONC__RELAXED);
    (void)conc__subz(&bytes, malloc_usable_size(p), CONC__RELAXED);
    free(p);
}

static void *churn_realloc(void *p, size_t size) {
    size_t before = p != NULL ? malloc_usable_size(p) : 0;
    void *more = realloc(p, size);
    if (more == NULL) return NULL;
    if (p == NULL) (void)conc__addz(&blocks, 1, CONC__RELAXED);
    (void)conc__subz(&bytes, before, CONC__RELAXED);
    (void)conc__addz(&bytes, malloc_usable_size(more), CONC__RELAXED);
    return more;
}

static size_t descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;
    if (!CHECK(d != NULL)) return 0;
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n - 3; /* . and .. and its own */
}

static size_t resident(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long size, pages = 0;
    if (f == NULL) return 0;
    if (fscanf(f, "%lu %lu", &size, &pages) != 2) pages = 0;
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

typedef struct count {
    size_t fds, blocks, bytes, rss;
} count;

static count count_all(void) {
    count c;
    c.fds = descriptors();
    c.blocks = conc__loadz(&blocks, CONC__RELAXED);
    c.bytes = conc__loadz(&bytes, CONC__RELAXED);
    malloc_trim(0);
    c.rss = resident();
    return c;
}

/* After a round: `warm` is what it was after the first two. */
static void count_check(const char *who, int round, const count *c, const count *warm, size_t connections) {
    printf("    %s, after round %d: %zu descriptors, %zu blocks, %zu kB allocated, %zu kB resident\n", who, round, c->fds,
           c->blocks, c->bytes / 1024, c->rss / 1024);
    fflush(stdout);
    if (round < 2) return;
    CHECK_EQ(c->fds, warm->fds);
    /* The slabs keep what the worst moment took: that moment may be a little worse than before. */
    if (c->blocks > warm->blocks + 16 + connections / 100) CHECK_EQ(c->blocks, warm->blocks);
    if (c->bytes > warm->bytes + warm->bytes / 4 + 1000000) CHECK_EQ(c->bytes, warm->bytes);
    if (!CHECK_ASAN && !CHECK_TSAN && c->rss > warm->rss + warm->rss / 4 + 8000000) CHECK_EQ(c->rss, warm->rss);
}

/* ---- the messages: their length, four bytes, and that many; the answer is the same ---- */

#define MESSAGES 64
#define MESSAGE_MOST 20004
static unsigned char messages[MESSAGES][MESSAGE_MOST];
static size_t message_sizes[MESSAGES];

static void messages_make(void) {
    uint32_t state = 1234567;
    size_t m, i;
    for (m = 0; m < MESSAGES; m++) {
        size_t n = 1 + check_random(&state) % (m % 16 == 0 ? 20000u : m % 4 == 0 ? 2000u : 60u);
        for (i = 0; i < 4; i++) messages[m][i] = (unsigned char)(n >> (8 * i));
        for (i = 0; i < n; i++) messages[m][4 + i] = (unsigned char)(m * 31 + i * 7 + i / 200);
        message_sizes[m] = 4 + n;
    }
}

/* ---- what both sides use ---- */

/* These return 0, or 1: the connection is of no use any more, by its end, its owner's doing or the time-out. */
CONC_CORO(receive_full, conc_socket *s; unsigned char *data; size_t size, done; conc_deadline until; conc_io io;) {
    CO_BEGIN;
    while (self->done < self->size) {
        self->io.data = self->data + self->done;
        self->io.size = self->size - self->done;
        CO_AWAIT_UNTIL(conc_op_receive(self->s, &self->io), self->until);
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->done += self->io.done;
    }
    CO_END;
}

CONC_CORO(send_full, conc_socket *s; const unsigned char *data; size_t size, done; conc_deadline until; conc_out out;) {
    CO_BEGIN;
    while (self->done < self->size) {
        self->out.data = self->data + self->done;
        self->out.size = self->size - self->done;
        CO_AWAIT_UNTIL(conc_op_send(self->s, &self->out), self->until);
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->done += self->out.done;
    }
    CO_END;
}

/* ---- the server ---- */

#define LOOPS 2
#define LISTENERS 4 /* so that there are enough pairs of ports, of which each rests for a second after a use */

typedef struct slot {
    conc_socket *s;
    conc_task *task;
    conc_cancel token;
    bool runs; /* and may be struck: cancels, closes */
    int next_free;
} slot;

typedef struct server {
    conc_loop *loop;
    conc_mutex lock; /* guards the slots: the striking thread is not the loop's */
    slot *slots;
    int slot_count, used, first_free;
    uint32_t random;
} server;
static server servers[LOOPS];
static conc_socket *listeners[LISTENERS];
static size_t served, live, bodies, struck, rejected; /* atomic */
static uint32_t striking;                              /* atomic */

CONC_CORO(serve, server *of; int index; conc_socket *s; unsigned char *body; size_t size; unsigned char head[4];
          conc_co_timeout limit; int again;) {
    CO_BEGIN;
    CHECK_OK(conc_mutex_lock(&self->of->lock, CONC_FOREVER));
    self->of->slots[self->index].runs = true;
    conc_mutex_unlock(&self->of->lock);
    for (;;) {
        self->again = 0;
        CO_TIMEOUT(self->limit, 1.0) {
            CO_CALL(receive_full, .s = self->s, .data = self->head, .size = 4, .until = CONC_FOREVER);
            if (self->co.result != CONC_OK || self->co.value != 0) break;
            self->size = (size_t)self->head[0] | (size_t)self->head[1] << 8 | (size_t)self->head[2] << 16;
            if (!CHECK(self->head[3] == 0 && self->size + 4 <= MESSAGE_MOST)) break;
            self->body = (unsigned char *)malloc(4 + self->size);
            if (!CHECK(self->body != NULL)) break;
            (void)conc__addz(&bodies, 1, CONC__RELAXED);
            memcpy(self->body, self->head, 4);
            CO_CALL(receive_full, .s = self->s, .data = self->body + 4, .size = self->size, .until = CONC_FOREVER);
            if (self->co.result != CONC_OK || self->co.value != 0) break;
            CO_CALL(send_full, .s = self->s, .data = self->body, .size = 4 + self->size, .until = CONC_FOREVER);
            if (self->co.result != CONC_OK || self->co.value != 0) break;
            (void)conc__addz(&served, 1, CONC__RELAXED);
            free(self->body);
            self->body = NULL;
            (void)conc__subz(&bodies, 1, CONC__RELAXED);
            self->again = 1;
        }
        if (!self->again) break;
    }
    CO_FINALLY;
    CHECK_OK(conc_mutex_lock(&self->of->lock, CONC_FOREVER));
    {
        slot *mine = &self->of->slots[self->index];
        mine->runs = false;
        mine->next_free = self->of->first_free;
        self->of->first_free = self->index;
    }
    conc_mutex_unlock(&self->of->lock);
    if (self->body != NULL) {
        free(self->body);
        (void)conc__subz(&bodies, 1, CONC__RELAXED);
    }
    CHECK_OK(conc_task_detach(conc_task_current())); /* nobody strikes it any more */
    CHECK_OK(conc_socket_free(self->s));
    (void)conc__subz(&live, 1, CONC__RELAXED);
    CO_END;
}

static void serve_start(server *of, conc_socket *s) {
    conc_task_desc desc;
    int index = -1;
    CHECK_OK(conc_mutex_lock(&of->lock, CONC_FOREVER));
    if (of->first_free >= 0) {
        index = of->first_free;
        of->first_free = of->slots[index].next_free;
    } else if (of->used < of->slot_count) {
        index = of->used++;
    }
    if (index >= 0) {
        slot *mine = &of->slots[index];
        memset(mine, 0, sizeof *mine);
        mine->s = s;
        memset(&desc, 0, sizeof desc);
        desc.cancel = &mine->token;
        mine->task = CONC_SPAWN_EX(of->loop, &desc, serve, .of = of, .index = index, .s = s);
        if (CHECK(mine->task != NULL)) (void)conc__addz(&live, 1, CONC__RELAXED);
    }
    conc_mutex_unlock(&of->lock);
    if (!CHECK(index >= 0)) CHECK_OK(conc_socket_free(s));
}

/* One of the connections, at random, is ended from our side. */
static void strike(server *of) {
    slot *one;
    uint32_t r;
    CHECK_OK(conc_mutex_lock(&of->lock, CONC_FOREVER));
    r = check_random(&of->random);
    one = of->used > 0 ? &of->slots[(r >> 4) % (uint32_t)of->used] : NULL;
    if (one != NULL && one->runs) {
        if (r % 3 == 0) (void)conc_task_cancel(one->task);
        else if (r % 3 == 1) CHECK_OK(conc_cancel_fire(&one->token));
        else CHECK_OK(conc_socket_close(one->s));
        (void)conc__addz(&struck, 1, CONC__RELAXED);
    }
    conc_mutex_unlock(&of->lock);
}

CONC_CORO(strikes, server *of;) {
    CO_BEGIN;
    while (conc__load32(&striking, CONC__ACQUIRE) != 0) {
        strike(self->of);
        CO_AWAIT(conc_op_sleep(0.001));
    }
    CO_END;
}

static int strike_from_thread(void *arg) {
    (void)arg;
    while (conc__load32(&striking, CONC__ACQUIRE) != 0) {
        int i;
        for (i = 0; i < LOOPS; i++) strike(&servers[i]);
        (void)conc_sleep(conc_after(0.001));
    }
    return 0;
}

CONC_CORO(accepts, server *of; conc_socket *listener, *s;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_accept(self->listener, &self->s));
        if (self->co.result == CONC_CLOSED) break;
        if (self->co.result == CONC_OK) {
            serve_start(self->of, self->s);
        } else if (self->co.result == CONC_REJECTED) { /* no descriptors, for the moment */
            (void)conc__addz(&rejected, 1, CONC__RELAXED);
            CO_AWAIT(conc_op_sleep(0.01));
        } else {
            CHECK_R(self->co.result, CONC_BROKEN);
        }
    }
    CO_END;
}

static int serve_loop(void *arg) {
    server *of = (server *)arg;
    CHECK_OK(conc_loop_run(of->loop, CONC_FOREVER));
    return 0;
}

static void servers_start(crew *threads, int slots) {
    int i, k;
    conc_listen_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.backlog = 1024;
    for (k = 0; k < LISTENERS; k++) {
        listeners[k] = conc_tcp_listen("127.0.0.1", 0, &desc);
        if (!CHECK(listeners[k] != NULL)) exit(1);
    }
    conc__store32(&striking, 1, CONC__RELEASE);
    for (i = 0; i < LOOPS; i++) {
        server *s = &servers[i];
        memset(s, 0, sizeof *s);
        s->slot_count = slots;
        s->slots = (slot *)calloc((size_t)slots, sizeof(slot));
        s->first_free = -1;
        s->random = 77u + (uint32_t)i;
        s->loop = conc_loop_new(NULL);
        if (!CHECK(s->slots != NULL && s->loop != NULL)) exit(1);
        for (k = 0; k < LISTENERS; k++) CHECK_OK(CONC_GO(s->loop, accepts, .of = s, .listener = listeners[k]));
        CHECK_OK(CONC_GO(s->loop, strikes, .of = s));
        crew_add(threads, serve_loop, s);
    }
    crew_add(threads, strike_from_thread, NULL);
}

static void servers_stop(crew *threads) {
    int i, k;
    conc__store32(&striking, 0, CONC__RELEASE);
    for (k = 0; k < LISTENERS; k++) CHECK_OK(conc_socket_close(listeners[k]));
    crew_join(threads); /* conc_loop_run() returns when every task has ended */
    for (k = 0; k < LISTENERS; k++) CHECK_OK(conc_socket_free(listeners[k]));
    for (i = 0; i < LOOPS; i++) {
        CHECK_EQ(conc_loop_count(servers[i].loop), 0);
        CHECK_OK(conc_loop_free(servers[i].loop));
        free(servers[i].slots);
    }
}

/* ---- the clients ---- */

enum { IN_ORDER, CUT, HALF_CLOSED, IN_THE_MIDDLE, UNREAD, IMPATIENT, CLOSED_WHILE_WAITED_FOR, SILENT };

static conc_loop *clients_loop;
static conc_deadline round_end;
static conc_address to[LISTENERS];
static size_t connected, refused, answered; /* of the loop's thread */
static unsigned char scratch[4096];

static void cut(conc_socket *s) {
    struct linger l;
    l.l_onoff = 1;
    l.l_linger = 0;
    (void)setsockopt((int)conc_socket_fd(s), SOL_SOCKET, SO_LINGER, &l, sizeof l);
}

/* Until the connection's end. Another one closes it meanwhile. */
CONC_CORO(waits_for_end, conc_socket *s; conc_io io;) {
    CO_BEGIN;
    do {
        self->io.data = scratch;
        self->io.size = sizeof scratch;
        CO_AWAIT_UNTIL(conc_op_receive(self->s, &self->io), conc_after(5));
    } while (self->co.result == CONC_OK);
    CHECK(self->co.result == CONC_CLOSED || self->co.result == CONC_BROKEN || self->co.result == CONC_TIMEOUT);
    CO_RETURN(self->co.result == CONC_TIMEOUT);
    CO_END;
}

/* A message there and, read in pieces into the memory that all share, back. 1: the connection has ended, or was slow. */
CONC_CORO(talks, conc_socket *s; unsigned m; size_t done; conc_io io;) {
    CO_BEGIN;
    CO_CALL(send_full, .s = self->s, .data = messages[self->m], .size = message_sizes[self->m], .until = conc_after(5));
    if (self->co.result != CONC_OK || self->co.value != 0) CO_RETURN(1);
    while (self->done < message_sizes[self->m]) {
        self->io.data = scratch;
        self->io.size = message_sizes[self->m] - self->done;
        if (self->io.size > sizeof scratch) self->io.size = sizeof scratch;
        CO_AWAIT_UNTIL(conc_op_receive(self->s, &self->io), conc_after(5));
        if (self->co.result != CONC_OK) CO_RETURN(1);
        CHECK(memcmp(scratch, messages[self->m] + self->done, self->io.done) == 0);
        self->done += self->io.done;
    }
    answered++;
    CO_END;
}

CONC_CORO(client, uint32_t random; conc_socket *s; unsigned way, n, m; conc_io io; conc_task *other;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_sleep(check_random(&self->random) % 1000u * 0.0003)); /* not all at once */
    while (!conc_deadline_passed(round_end)) {
        self->s = conc_tcp_open(4);
        if (self->s != NULL) {
            self->n = check_random(&self->random) % LISTENERS;
            CO_AWAIT_UNTIL(conc_op_connect(self->s, &to[self->n]), conc_after(5));
        }
        if (self->s == NULL || self->co.result != CONC_OK) { /* no descriptor, no port, or the other side is too busy */
            refused++;
            if (self->s != NULL) CHECK_OK(conc_socket_free(self->s));
            CO_AWAIT(conc_op_sleep(0.005));
            continue;
        }
        connected++;
        self->way = check_random(&self->random) % 50u;
        self->way = self->way == 0 ? SILENT : self->way % SILENT;
        self->n = check_random(&self->random) % 6u;
        self->co.value = 0;
        for (; self->n > 0 && self->co.value == 0; self->n--) {
            self->m = check_random(&self->random) % MESSAGES;
            CO_CALL(talks, .s = self->s, .m = self->m);
            CHECK_OK(self->co.result);
        }
        self->m = check_random(&self->random) % MESSAGES;
        if (self->way == IN_ORDER) {
            (void)conc_socket_shutdown(self->s);
            CO_CALL(waits_for_end, .s = self->s);
            CHECK_EQ(self->co.value, 0);
        } else if (self->way == CUT) {
            cut(self->s);
        } else if (self->way == HALF_CLOSED || self->way == IN_THE_MIDDLE) {
            CO_CALL(send_full, .s = self->s, .data = messages[self->m], .size = message_sizes[self->m] / 2 + 1,
                    .until = conc_after(5));
            if (self->way == HALF_CLOSED) {
                (void)conc_socket_shutdown(self->s);
                CO_CALL(waits_for_end, .s = self->s);
                CHECK_EQ(self->co.value, 0);
            }
        } else if (self->way == UNREAD) {
            for (self->n = 0; self->n < 8; self->n++) {
                CO_CALL(send_full, .s = self->s, .data = messages[(self->m + self->n) % MESSAGES],
                        .size = message_sizes[(self->m + self->n) % MESSAGES], .until = conc_after(0.01));
                if (self->co.value != 0) break;
            }
        } else if (self->way == SILENT) { /* the server has had enough, at last */
            CO_CALL(waits_for_end, .s = self->s);
            CHECK_EQ(self->co.value, 0);
        } else if (self->way == IMPATIENT) {
            self->io.data = scratch;
            self->io.size = sizeof scratch;
            CO_AWAIT_UNTIL(conc_op_receive(self->s, &self->io), conc_after(0.002));
        } else {
            self->other = CONC_SPAWN(clients_loop, waits_for_end, .s = self->s);
            if (CHECK(self->other != NULL)) {
                CO_YIELD;
                CHECK_OK(conc_socket_close(self->s));
                CO_JOIN(self->other);
                CHECK_EQ(self->co.value, 0);
            }
        }
        CHECK_OK(conc_socket_free(self->s));
    }
    CO_END;
}

/* The process of the clients: a round for each byte from `in`; tells on `out` when it is over. */
static int clients(int in, int out, int connections, double seconds, double all_seconds) {
    count began = {0, 0, 0, 0}, warm = {0, 0, 0, 0}, now;
    char c;
    int round = 0, i;
    check_begin("churn, the clients");
    alarm((unsigned)all_seconds + 100);
    began = count_all();
    clients_loop = conc_loop_new(NULL);
    if (!CHECK(clients_loop != NULL)) return 1;
    if (!CHECK(read(in, to, sizeof to) == (ssize_t)sizeof to)) return 1;
    while (read(in, &c, 1) == 1 && c == 'g') {
        round_end = conc_after(seconds);
        for (i = 0; i < connections; i++) {
            CHECK_OK(CONC_GO(clients_loop, client, .random = (uint32_t)(i * 2654435761u) ^ (uint32_t)round));
        }
        CHECK_OK(conc_loop_run(clients_loop, CONC_FOREVER));
        CHECK_EQ(conc_loop_count(clients_loop), 0);
        now = count_all();
        count_check("clients", round, &now, &warm, (size_t)connections);
        if (round == 1) warm = now;
        round++;
        if (!CHECK(write(out, "d", 1) == 1)) return 1;
    }
    printf("    clients: %zu connections, %zu answers, %zu times no connection\n", connected, answered, refused);
    CHECK(connected >= (size_t)connections && answered > 0);
    CHECK_OK(conc_loop_free(clients_loop));
    now = count_all();
    CHECK_EQ(now.fds, began.fds);
    CHECK_EQ(now.blocks, 0);
    CHECK_EQ(now.bytes, 0);
    return check_end();
}

/* ---- both ---- */

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 5, part;
    int connections = argc > 2 ? atoi(argv[2]) : CHECK_TSAN ? 300 : CHECK_ASAN ? 1000 : 10000;
    int rounds, round, i, ours[2], theirs[2], status = 1;
    crew threads = {0, {NULL}};
    count began, warm = {0, 0, 0, 0}, now;
    conc_address at[LISTENERS];
    struct rlimit limit;
    pid_t child;
    char c;
    if (!(seconds > 0) || connections < 1) return 2;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur < (rlim_t)connections * 2 + 100) connections = (int)((limit.rlim_cur - 100) / 2);
    }
    rounds = 5 + (int)(seconds / 20);
    part = seconds / rounds;
    messages_make();
    if (pipe(ours) != 0 || pipe(theirs) != 0) return 1;
    fflush(stdout);
    child = fork(); /* before there is anything of ours */
    if (child < 0) return 1;
    if (child == 0) {
        close(ours[1]);
        close(theirs[0]);
        return clients(ours[0], theirs[1], connections, part, seconds);
    }
    close(ours[0]);
    close(theirs[1]);
    check_begin("churn");
    alarm((unsigned)seconds + 100);
    {   /* what the library keeps for the process, once it has been used, is there before and after */
        conc_thread *t = conc_thread_start(strike_from_thread, NULL, NULL);
        CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    }
    began = count_all();
    servers_start(&threads, connections * 2 + 100);
    for (i = 0; i < LISTENERS; i++) CHECK_OK(conc_socket_address(listeners[i], &at[i]));
    if (!CHECK(write(ours[1], at, sizeof at) == (ssize_t)sizeof at)) return 1;
    for (round = 0; round < rounds; round++) {
        if (!CHECK(write(ours[1], "g", 1) == 1 && read(theirs[0], &c, 1) == 1)) break;
        UNTIL(conc__loadz(&live, CONC__RELAXED) == 0); /* the last have seen that their clients are gone */
        CHECK_EQ(conc__loadz(&bodies, CONC__RELAXED), 0);
        (void)conc_sleep(conc_after(0.05));
        CHECK_EQ(conc_loop_count(servers[0].loop) + conc_loop_count(servers[1].loop), LOOPS * (LISTENERS + 1));
        now = count_all();
        count_check("server", round, &now, &warm, (size_t)connections);
        if (round == 1) warm = now;
    }
    CHECK(write(ours[1], "q", 1) == 1);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    servers_stop(&threads);
    now = count_all();
    printf("    server: %zu messages, %zu connections struck, %zu rejected\n", served, struck, rejected);
    CHECK(struck > 0 && served > 0);
    CHECK_EQ(now.fds, began.fds);
    CHECK_EQ(now.blocks, began.blocks);
    return check_end();
}
#endif
