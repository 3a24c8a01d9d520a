/* Peer: an echo server on libuv: a shared read buffer, uv_try_write first, a copy only of what that does not take. */

#define _GNU_SOURCE
#include <uv.h>

#include "echo.h"

typedef struct rest {
    uv_write_t request;
    char data[1];
} rest;

static void on_closed(uv_handle_t *h) {
    free(h);
}

static void on_written(uv_write_t *w, int status) {
    (void)status;
    free(w);
}

static void on_room(uv_handle_t *h, size_t size, uv_buf_t *b) {
    static char buffer[ECHO_BUFFER];
    (void)h;
    (void)size;
    b->base = buffer;
    b->len = sizeof buffer;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    uv_buf_t out = uv_buf_init(b->base, (unsigned)(n > 0 ? n : 0));
    int done;
    if (n == 0) return;
    if (n < 0) {
        uv_close((uv_handle_t *)s, on_closed);
        return;
    }
    done = uv_try_write(s, &out, 1);
    if (done == UV_EAGAIN) done = 0;
    if (done < 0) {
        uv_close((uv_handle_t *)s, on_closed);
    } else if (done < n) {
        rest *r = (rest *)malloc(sizeof *r + (size_t)(n - done));
        echo_need(r != NULL, "malloc");
        memcpy(r->data, b->base + done, (size_t)(n - done));
        out = uv_buf_init(r->data, (unsigned)(n - done));
        echo_need(uv_write(&r->request, s, &out, 1, on_written) == 0, "uv_write");
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    uv_tcp_t *c = (uv_tcp_t *)malloc(sizeof *c);
    echo_need(status == 0 && c != NULL && uv_tcp_init(listener->loop, c) == 0, "uv_tcp_init");
    echo_need(uv_accept(listener, (uv_stream_t *)c) == 0 && uv_tcp_nodelay(c, 1) == 0, "uv_accept");
    echo_need(uv_read_start((uv_stream_t *)c, on_room, on_read) == 0, "uv_read_start");
}

int main(void) {
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in a;
    int size = sizeof a;
    echo_need(uv_tcp_init(loop, &listener) == 0 && uv_ip4_addr("127.0.0.1", 0, &a) == 0 &&
                  uv_tcp_bind(&listener, (struct sockaddr *)&a, 0) == 0 &&
                  uv_listen((uv_stream_t *)&listener, ECHO_BACKLOG, on_connection) == 0 &&
                  uv_tcp_getsockname(&listener, (struct sockaddr *)&a, &size) == 0,
              "listen");
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
