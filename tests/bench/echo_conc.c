/* conc.h's echo server: a coroutine for each connection. All read into one buffer: from a receive that has completed to the
 * send no other task runs. What a send does not take is copied. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, conc_error_detail());
        exit(1);
    }
}

static char buffer[4096];

CONC_CORO(send_rest, conc_socket *s; char *data; size_t size, done; conc_out out;) {
    CO_BEGIN;
    while (self->done < self->size) {
        self->out.data = self->data + self->done;
        self->out.size = self->size - self->done;
        CO_AWAIT(conc_op_send(self->s, &self->out));
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->done += self->out.done;
    }
    CO_FINALLY;
    free(self->data);
    CO_END;
}

/* The bytes that a send left, in memory of their own. */
static char *copied(const char *data, size_t size) {
    char *copy = (char *)malloc(size);
    need(copy != NULL, "malloc");
    memcpy(copy, data, size);
    return copy;
}

CONC_CORO(serve, conc_socket *s; union { conc_io in; conc_out out; } io;) {
    CO_BEGIN;
    for (;;) {
        self->io.in.data = buffer;
        self->io.in.size = sizeof buffer;
        CO_AWAIT(conc_op_receive(self->s, &self->io.in));
        if (self->co.result != CONC_OK) break;
        {
            size_t n = self->io.in.done;
            self->io.out.data = buffer;
            self->io.out.size = n;
            self->io.out.done = 0;
        }
        CO_AWAIT_UNTIL(conc_op_send(self->s, &self->io.out), CONC_NOW);
        if (self->co.result == CONC_BUSY) self->io.out.done = 0;
        else if (self->co.result != CONC_OK) break;
        if (self->io.out.done < self->io.out.size) {
            CO_CALL(send_rest, .s = self->s, .size = self->io.out.size - self->io.out.done,
                    .data = copied(buffer + self->io.out.done, self->io.out.size - self->io.out.done));
            if (self->co.result != CONC_OK || self->co.value != 0) break;
        }
    }
    CO_FINALLY;
    conc_socket_free(self->s);
    CO_END;
}

CONC_CORO(accepts, conc_socket *listener, *s;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_accept(self->listener, &self->s));
        if (self->co.result == CONC_BROKEN) continue;
        need(self->co.result == CONC_OK, "accept");
        need(conc_socket_set(self->s, CONC_NO_DELAY, 1) == CONC_OK, "no delay");
        need(CONC_GO(conc_loop_current(), serve, .s = self->s) == CONC_OK, "spawn");
    }
    CO_END;
}

int main(void) {
    conc_loop *loop = conc_loop_new(NULL);
    conc_listen_desc desc;
    conc_socket *listener;
    conc_address a;
    memset(&desc, 0, sizeof desc);
    desc.backlog = 4096;
    need(loop != NULL, "loop");
    listener = conc_tcp_listen("127.0.0.1", 0, &desc);
    need(listener != NULL && conc_socket_address(listener, &a) == CONC_OK, "listen");
    printf("%u\n", conc_address_port(&a));
    fflush(stdout);
    need(CONC_GO(loop, accepts, .listener = listener) == CONC_OK, "spawn");
    need(conc_loop_run(loop, CONC_FOREVER) == CONC_OK, "run");
    return 1;
}
