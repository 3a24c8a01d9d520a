/* A long path to a server nearby: a proxy that passes bytes on later.
 *
 *     downloads_delay PORT [MS [KIB]]        prints the port it listens at, on 127.0.0.1, and serves until it is killed
 *
 * What a side sends arrives MS / 2 later at the other (50: a round trip of MS milliseconds). Of each connection, in each direction,
 * KIB are under way at most (2048), and room comes back when the word of their arrival would: after MS altogether. So one stream
 * carries KIB in MS, 40 MiB/s, and eight of them eight times as much, as over a long path with that window. A new connection's
 * first bytes arrive a round trip later still, as they would after TCP's handshake. There is no loss, no slow start, and no limit for
 * all connections together. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 1000, MARKS = 256, GRAIN = 250000 /* ns: what comes within it is one mark */ };

/* At `when` the stream is due as far as `upto`. */
struct mark {
    int64_t when;
    uint64_t upto;
};
struct marks {
    struct mark ring[MARKS];
    unsigned first, count;
};

struct way {
    int from, to;
    char *ring;                  /* `window` bytes */
    uint64_t got, due, put, room; /* bytes: read; that may be written; written; of which the sender knows */
    struct marks arrive, known;
    int64_t not_before; /* nothing arrives earlier */
    int ended, closed;  /* the sender has ended; the receiver has been told */
    int full;           /* the receiver takes no more for now */
};

struct connection {
    struct way up, down;
};

static struct connection *connections[CONNECTIONS];
static unsigned count;
static int64_t half;
static uint64_t window;
static struct sockaddr_in server;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void need(int good, const char *what) {
    if (good) return;
    perror(what);
    exit(1);
}

static void mark(struct marks *m, int64_t when, uint64_t upto) {
    struct mark *last = &m->ring[(m->first + m->count + MARKS - 1) % MARKS];
    if (m->count > 0 && (when - last->when < GRAIN || m->count == MARKS)) {
        last->upto = upto;
        if (m->count == MARKS) last->when = when;
        return;
    }
    last = &m->ring[(m->first + m->count++) % MARKS];
    last->when = when;
    last->upto = upto;
}

static void pass(struct marks *m, int64_t t, uint64_t *upto) {
    while (m->count > 0 && m->ring[m->first].when <= t) {
        *upto = m->ring[m->first].upto;
        m->first = (m->first + 1) % MARKS;
        m->count--;
    }
}

static int64_t next_of(const struct marks *m, int64_t least) {
    return m->count > 0 && m->ring[m->first].when < least ? m->ring[m->first].when : least;
}

/* 0: the connection is broken. */
static int take(struct way *w, int64_t t) {
    while (!w->ended && w->got - w->room < window) {
        size_t at = (size_t)(w->got % window), n = (size_t)(window - (w->got - w->room));
        ssize_t done;
        if (n > window - at) n = (size_t)window - at;
        done = read(w->from, w->ring + at, n);
        if (done < 0) return errno == EAGAIN || errno == EINTR;
        if (done == 0) w->ended = 1;
        w->got += (uint64_t)done;
        mark(&w->arrive, (t > w->not_before ? t : w->not_before) + half, w->got);
    }
    return 1;
}

static int give(struct way *w, int64_t t) {
    pass(&w->arrive, t, &w->due);
    pass(&w->known, t, &w->room);
    while (w->put < w->due && !w->full) {
        size_t at = (size_t)(w->put % window), n = (size_t)(w->due - w->put);
        ssize_t done;
        if (n > window - at) n = (size_t)window - at;
        done = write(w->to, w->ring + at, n);
        if (done < 0 && errno != EAGAIN && errno != EINTR) return 0;
        if (done < 0 || (size_t)done < n) w->full = 1;
        if (done <= 0) break;
        w->put += (uint64_t)done;
        mark(&w->known, t + half, w->put);
    }
    if (w->ended && !w->closed && w->put == w->got && w->arrive.count == 0) {
        shutdown(w->to, SHUT_WR);
        w->closed = 1;
    }
    return 1;
}

static struct connection *begin(int client) {
    struct connection *c = (struct connection *)calloc(1, sizeof *c);
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    need(c != NULL && s >= 0, "a connection");
    need(connect(s, (struct sockaddr *)&server, sizeof server) == 0, "connect");
    need((c->up.ring = (char *)malloc((size_t)window)) && (c->down.ring = (char *)malloc((size_t)window)), "malloc");
    need(fcntl(s, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->up.from = c->down.to = client;
    c->up.to = c->down.from = s;
    c->up.not_before = now() + 2 * half;
    return c;
}

static void end(unsigned i) {
    struct connection *c = connections[i];
    close(c->up.from);
    close(c->up.to);
    free(c->up.ring);
    free(c->down.ring);
    free(c);
    connections[i] = connections[--count];
}

static short wanted(const struct way *in, const struct way *out) {
    return (short)((!in->ended && in->got - in->room < window ? POLLIN : 0) | (out->full ? POLLOUT : 0));
}

int main(int argc, char **argv) {
    static struct pollfd fds[2 * CONNECTIONS + 1];
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (argc < 2) return 2;
    half = (int64_t)((argc > 2 ? atof(argv[2]) : 50) * 500000);
    window = (uint64_t)(argc > 3 ? atol(argv[3]) : 2048) * 1024;
    signal(SIGPIPE, SIG_IGN);
    memset(&server, 0, sizeof server);
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address = server;
    server.sin_port = htons((uint16_t)atoi(argv[1]));
    need(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1024) == 0, "listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int64_t t, next = INT64_MAX;
        struct timespec wait;
        unsigned i, n = count;
        fds[0].fd = listener;
        fds[0].events = count < CONNECTIONS ? POLLIN : 0;
        for (i = 0; i < count; i++) {
            struct way *up = &connections[i]->up, *down = &connections[i]->down;
            fds[2 * i + 1].events = wanted(up, down);
            fds[2 * i + 2].events = wanted(down, up);
            fds[2 * i + 1].fd = fds[2 * i + 1].events != 0 ? up->from : -1; /* (else its end would be told over and over) */
            fds[2 * i + 2].fd = fds[2 * i + 2].events != 0 ? up->to : -1;
            next = next_of(&up->arrive, next_of(&up->known, next));
            next = next_of(&down->arrive, next_of(&down->known, next));
        }
        t = now();
        if (next < t) next = t;
        wait.tv_sec = next == INT64_MAX ? 1000 : (time_t)((next - t) / 1000000000);
        wait.tv_nsec = next == INT64_MAX ? 0 : (long)((next - t) % 1000000000);
        need(ppoll(fds, 2 * n + 1, &wait, NULL) >= 0 || errno == EINTR, "ppoll");
        t = now();
        for (i = n; i-- > 0;) { /* (from behind: one that ends is replaced by one that has been looked at) */
            struct way *up = &connections[i]->up, *down = &connections[i]->down;
            int good = 1;
            if ((fds[2 * i + 1].revents & POLLOUT) != 0) down->full = 0;
            if ((fds[2 * i + 2].revents & POLLOUT) != 0) up->full = 0;
            if ((fds[2 * i + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) good = take(up, t);
            if (good && (fds[2 * i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0) good = take(down, t);
            good = good && give(up, t) && give(down, t);
            if (!good || (up->closed && down->closed)) end(i);
        }
        while (count < CONNECTIONS) {
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (client < 0) break;
            connections[count++] = begin(client);
        }
    }
}
