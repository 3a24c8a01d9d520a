/* TCP echo on loopback: starts a server (echo.h), loads it over many connections, each with one message of 64 bytes under
 * way (a closed loop), and tells how much processor time the server took for a request. Both processors are full, so that
 * is what compares; beside it stand the requests per second, how long the slowest hundredth took, and how much the server's
 * memory has grown for each connection.
 * The server runs on the first processor that this process may use, the load on the second. Linux only.
 * "By turns": conc.h's server and that over raw epoll, with as many connections each, are loaded in turn, a moment each, and
 * the ratio of their costs is told: what others do to the machine meanwhile hits both. (With
 * BENCH_ALL_BY_TURNS set: that of all servers.)
 * A failure: an answer is wrong, or is missing after five seconds, or the server has ended. */

#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 64
#define MOST 10000

/* The servers: the name, the program beside this one, its argument. */
static const struct {
    const char *impl, *program, *argument;
} servers[] = {
    {"raw epoll", "echo_raw", "level"}, {"raw epoll, edges", "echo_raw", "edges"}, {"libev", "echo_ev", NULL},
    {"libuv", "echo_uv", NULL},         {"Go, one P", "bench_go", "echo"},         {"conc", "echo_conc", NULL},
};
static const struct {
    const char *name, *by_turns;
    int connections;
} sizes[] = {{"100 connections", "100 connections, by turns", 100},
             {"1,000 connections", "1,000 connections, by turns", 1000},
             {"10,000 connections", "10,000 connections, by turns", MOST}};

static char directory[1000];

/* ---- the server ---- */

static struct {
    pid_t pid;
    clockid_t clock;
    int port;
} running[2];

static void pin(int which) {
    static cpu_set_t may; /* at first: of children, too, whose parent is pinned already */
    static int known;
    cpu_set_t one;
    int cpu, n = 0;
    if (!known && sched_getaffinity(0, sizeof may, &may) != 0) return;
    known = 1;
    CPU_ZERO(&one);
    for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &may)) continue;
        if (n <= which) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
        }
        n++;
    }
    (void)sched_setaffinity(0, sizeof one, &one);
}

static void path_of(char *path, size_t size, const char *program) {
    snprintf(path, size, "%s/%s", directory, program);
}

static void server_start(int at, int which) {
    int ends[2];
    FILE *f;
    BENCH_CHECK(pipe(ends) == 0);
    running[at].pid = fork();
    BENCH_CHECK(running[at].pid >= 0);
    if (running[at].pid == 0) {
        char path[1100];
        pin(0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        path_of(path, sizeof path, servers[which].program);
        execl(path, path, servers[which].argument, (char *)NULL);
        perror(path);
        _exit(127);
    }
    close(ends[1]);
    f = fdopen(ends[0], "r");
    BENCH_CHECK(f != NULL && fscanf(f, "%d", &running[at].port) == 1);
    fclose(f);
    BENCH_CHECK(clock_getcpuclockid(running[at].pid, &running[at].clock) == 0);
}

static double server_cpu(int at) {
    struct timespec t;
    BENCH_CHECK(clock_gettime(running[at].clock, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double server_memory(void) {
    char path[64];
    double size, resident = 0;
    FILE *f;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)running[0].pid);
    f = fopen(path, "r");
    BENCH_CHECK(f != NULL && fscanf(f, "%lf %lf", &size, &resident) == 2);
    fclose(f);
    return resident * (double)sysconf(_SC_PAGESIZE);
}

/* ---- the load ---- */

typedef struct client {
    int fd;
    uint32_t got;    /* bytes of the answer */
    uint64_t number; /* of the message under way */
    double sent;
} client;
static client clients[2][MOST + 1];
static int epoll_fd, closing;
static uint64_t answers, outstanding;
static double now;

#define STEPS 4000 /* of 0.1 ms, for the slowest hundredth */
static uint64_t took[STEPS];

static void client_send(client *c) {
    uint64_t message[SIZE / 8];
    int i;
    c->number++;
    for (i = 0; i < SIZE / 8; i++) message[i] = c->number * 1000003u + (uint64_t)c->fd * 64u + (uint64_t)i;
    c->got = 0;
    c->sent = now;
    outstanding++;
    BENCH_CHECK(write(c->fd, message, SIZE) == SIZE);
}

static void client_open(client *c, int at) {
    struct sockaddr_in a;
    struct epoll_event e;
    int on = 1;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)running[at].port);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    BENCH_CHECK(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0);
    BENCH_CHECK(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    BENCH_CHECK(fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0);
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN;
    e.data.ptr = c;
    BENCH_CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e) == 0);
}

static void client_ready(client *c) {
    static uint64_t buffer[SIZE / 8];
    ssize_t n = read(c->fd, (char *)buffer + c->got, SIZE - c->got);
    int i;
    if (n < 0 && errno == EAGAIN) return;
    BENCH_CHECK(n > 0);
    if (n < SIZE) { /* in pieces: only their number is looked at */
        c->got += (uint32_t)n;
        if (c->got < SIZE) return;
    } else {
        for (i = 0; i < SIZE / 8; i++) {
            BENCH_CHECK(buffer[i] == c->number * 1000003u + (uint64_t)c->fd * 64u + (uint64_t)i);
        }
    }
    i = (int)((now - c->sent) * 1e4);
    took[i < 0 ? 0 : i < STEPS ? i : STEPS - 1]++;
    answers++;
    outstanding--;
    if (!closing) client_send(c);
}

/* Until `end`, or until there are so many answers. */
static void load(double end, uint64_t enough) {
    static struct epoll_event events[256];
    while (now < end && answers < enough) {
        int i, n = epoll_wait(epoll_fd, events, 256, 100);
        now = bench_clock();
        for (i = 0; i < n; i++) client_ready((client *)events[i].data.ptr);
    }
}

/* All that are under way come back. */
static void drain(void) {
    closing = 1;
    load(now + 5, answers + outstanding);
    closing = 0;
    BENCH_CHECK(outstanding == 0);
}

/* Starts one, and talks with it over one connection, so that all of its code is there. */
static void begin(int at, int which) {
    server_start(at, which);
    client_open(&clients[at][MOST], at);
    now = bench_clock();
    answers = 0;
    client_send(&clients[at][MOST]);
    load(now + 5, 1000);
    drain();
}

static void end(int at, int connections) {
    struct linger cut = {1, 0};
    int i, status;
    BENCH_CHECK(waitpid(running[at].pid, &status, WNOHANG) == 0);
    for (i = 0; i < connections; i++) { /* without a state that lingers */
        setsockopt(clients[at][i].fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
        close(clients[at][i].fd);
    }
    kill(running[at].pid, SIGTERM);
    waitpid(running[at].pid, &status, 0);
}

static void run(const bench_case *c) {
    double start, cpu, before, after;
    uint64_t count, slow = 0;
    char extra[200];
    int i;
    epoll_fd = epoll_create1(0);
    BENCH_CHECK(epoll_fd >= 0);
    pin(1);
    begin(0, c->b);
    before = server_memory();
    for (i = 0; i < c->a; i++) client_open(&clients[0][i], 0);
    now = bench_clock();
    for (i = 0; i < c->a; i++) client_send(&clients[0][i]);
    answers = 0;
    load(now + 10, (uint64_t)c->a * 2);
    load(now + bench_env("BENCH_WARM", 40) * 2.5e-3, UINT64_MAX);
    memset(took, 0, sizeof took);
    answers = 0;
    cpu = server_cpu(0);
    start = now = bench_clock();
    load(start + bench_env("BENCH_MS", 200) * 2.5e-3, UINT64_MAX);
    count = answers;
    start = bench_clock() - start;
    cpu = server_cpu(0) - cpu;
    after = server_memory();
    drain();
    end(0, c->a);
    for (i = STEPS - 1; i > 0 && slow < count / 100; i--) slow += took[i];
    snprintf(extra, sizeof extra, "k_req/s=%.1f p99_ms=%.1f bytes/conn=%.0f", (double)count / start * 1e-3,
             (double)(i + 1) * 0.1, (after - before) / c->a);
    bench_print(c, cpu * 1e6 / (double)count, "us of server CPU", extra);
}

#define TURNS 16
static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void run_by_turns(const bench_case *c) {
    int n = c->a <= 9900 ? c->a : 9900, turns = n > 5000 ? TURNS / 2 : TURNS, turn, at, i; /* (the load has twice n) */
    double each[2] = {0, 0}, ratios[TURNS], sums[2] = {0, 0};
    char extra[100];
    epoll_fd = epoll_create1(0);
    BENCH_CHECK(epoll_fd >= 0);
    pin(1);
    begin(0, c->b);
    begin(1, 0);
    for (at = 0; at < 2; at++) {
        for (i = 0; i < n; i++) client_open(&clients[at][i], at);
    }
    for (turn = -1; turn < turns; turn++) {
        for (i = 0; i < 2; i++) {
            double cpu = server_cpu(at = i ^ (turn & 1));
            int k;
            answers = 0;
            now = bench_clock();
            for (k = 0; k < n; k++) client_send(&clients[at][k]);
            load(now + bench_env("BENCH_MS", 200) * (n > 500 ? 0.75e-3 : 0.3e-3), UINT64_MAX);
            drain();
            each[at] = (server_cpu(at) - cpu) / (double)answers;
        }
        if (turn < 0) continue; /* the first was warm-up */
        ratios[turn] = each[0] / each[1];
        sums[0] += each[0];
        sums[1] += each[1];
    }
    end(0, n);
    end(1, n);
    qsort(ratios, (size_t)turns, sizeof *ratios, compare);
    snprintf(extra, sizeof extra, "quartiles=%.3f to=%.3f us=%.2f raw_us=%.2f", ratios[turns / 4], ratios[turns * 3 / 4],
             sums[0] * 1e6 / turns, sums[1] * 1e6 / turns);
    bench_print(c, (ratios[turns / 2 - 1] + ratios[turns / 2]) / 2, "times the CPU of raw epoll", extra);
}

static bench_case cases[sizeof servers / sizeof *servers * 2 * 3];
static size_t case_count;
static void add_case(const char *name, size_t which, void (*runs)(const bench_case *c), int connections) {
    bench_case *c = &cases[case_count++];
    c->group = "echo";
    c->name = name;
    c->impl = servers[which].impl;
    c->run = runs;
    c->a = connections;
    c->b = (int)which;
}

static int is_there(size_t which) {
    char path[1100];
    path_of(path, sizeof path, servers[which].program);
    return access(path, X_OK) == 0;
}

int main(int argc, char **argv) {
    size_t i, k, ours = sizeof servers / sizeof *servers - 1;
    const char *slash = strrchr(argv[0], '/');
    snprintf(directory, sizeof directory, "%.*s", slash != NULL ? (int)(slash - argv[0]) : 1, slash != NULL ? argv[0] : ".");
    for (k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        for (i = 0; i <= ours; i++) {
            if (is_there(i)) add_case(sizes[k].name, i, run, sizes[k].connections);
        }
        for (i = getenv("BENCH_ALL_BY_TURNS") != NULL ? 1 : ours; i <= ours; i++) {
            if (is_there(0) && is_there(i)) add_case(sizes[k].by_turns, i, run_by_turns, sizes[k].connections);
        }
    }
    return bench_main(argc, argv, cases, case_count);
}
