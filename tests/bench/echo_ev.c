/* Peer: an echo server on libev. */

#define _GNU_SOURCE
#include <ev.h>

#include "echo.h"

typedef struct client {
    ev_io io;
    char *data; /* what a write did not take */
    size_t size;
} client;

static void end(struct ev_loop *loop, client *c) {
    ev_io_stop(loop, &c->io);
    close(c->io.fd);
    free(c->data);
    free(c);
}

static void want(struct ev_loop *loop, client *c, int events) {
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(loop, &c->io);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events) {
    static char buffer[ECHO_BUFFER];
    client *c = (client *)io;
    const char *from = buffer;
    ssize_t n, done;
    (void)events;
    if (c->data != NULL) {
        from = c->data;
        n = (ssize_t)c->size;
    } else {
        n = read(io->fd, buffer, sizeof buffer);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            end(loop, c);
            return;
        }
    }
    done = write(io->fd, from, (size_t)n);
    if (done < 0 && errno == EAGAIN) done = 0;
    if (done < 0) {
        end(loop, c);
    } else if (done < n) {
        char *rest = (char *)malloc((size_t)(n - done));
        echo_need(rest != NULL, "malloc");
        memcpy(rest, from + done, (size_t)(n - done));
        free(c->data);
        c->data = rest;
        c->size = (size_t)(n - done);
        want(loop, c, EV_WRITE);
    } else if (c->data != NULL) {
        free(c->data);
        c->data = NULL;
        want(loop, c, EV_READ);
    }
}

static void on_connection(struct ev_loop *loop, ev_io *io, int events) {
    int fd = echo_accept(io->fd);
    client *c;
    (void)events;
    if (fd < 0) return;
    c = (client *)calloc(1, sizeof *c);
    echo_need(c != NULL, "calloc");
    ev_io_init(&c->io, on_ready, fd, EV_READ);
    ev_io_start(loop, &c->io);
}

int main(void) {
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    ev_io listener;
    echo_need(loop != NULL, "ev_default_loop");
    ev_io_init(&listener, on_connection, echo_listen(), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 1;
}
