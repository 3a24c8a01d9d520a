/* Peer: an epoll loop as one writes it by hand. `echo_raw`: level-triggered, with one read and one write for each event.
 * `echo_raw edges`: edge-triggered; it goes on reading until a read comes short.
 * What a write does not take is kept, and written when epoll says that there is room. */

#define _GNU_SOURCE
#include "echo.h"

#include <sys/epoll.h>

static struct pending {
    char *data;
    size_t size;
} pending[ECHO_FDS];
static int epoll_fd, edges;

static void end(int fd) {
    free(pending[fd].data);
    pending[fd].data = NULL;
    close(fd);
}

static void want(int fd, int op, unsigned events) {
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = events;
    e.data.fd = fd;
    echo_need(epoll_ctl(epoll_fd, op, fd, &e) == 0, "epoll_ctl");
}

static void keep(int fd, const char *data, size_t size) {
    pending[fd].data = (char *)malloc(size);
    echo_need(pending[fd].data != NULL, "malloc");
    memcpy(pending[fd].data, data, size);
    pending[fd].size = size;
    if (!edges) want(fd, EPOLL_CTL_MOD, EPOLLOUT);
}

/* 0: it is over, or has to wait for room. */
static int flush(int fd) {
    struct pending p = pending[fd];
    ssize_t n = write(fd, p.data, p.size);
    if (n < 0 && errno == EAGAIN) return 0;
    pending[fd].data = NULL;
    if (n < 0) {
        end(fd);
    } else if ((size_t)n < p.size) {
        keep(fd, p.data + n, p.size - (size_t)n);
    } else if (!edges) {
        want(fd, EPOLL_CTL_MOD, EPOLLIN);
    }
    free(p.data);
    return n == (ssize_t)p.size;
}

static void ready(int fd) {
    static char buffer[ECHO_BUFFER];
    ssize_t n, done;
    if (pending[fd].data != NULL && !flush(fd)) return;
    do {
        n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            end(fd);
            return;
        }
        done = write(fd, buffer, (size_t)n);
        if (done < 0 && errno == EAGAIN) done = 0;
        if (done < 0) {
            end(fd);
            return;
        }
        if (done < n) {
            keep(fd, buffer + done, (size_t)(n - done));
            return;
        }
    } while (edges && n == (ssize_t)sizeof buffer);
}

int main(int argc, char **argv) {
    static struct epoll_event events[256];
    int listener = echo_listen();
    edges = argc > 1 && strcmp(argv[1], "edges") == 0;
    epoll_fd = epoll_create1(0);
    echo_need(epoll_fd >= 0, "epoll_create1");
    want(listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int i, n = epoll_wait(epoll_fd, events, 256, -1);
        for (i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                ready(fd);
            } else if ((fd = echo_accept(listener)) >= 0) {
                want(fd, EPOLL_CTL_ADD, edges ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN);
            }
        }
    }
}
