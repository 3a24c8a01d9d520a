/* echo.c: an echo server, and what puts load on it: a coroutine for each connection, on both sides.
 *
 * In Python, with gevent:
 *     def handle(s, address):
 *         while True:
 *             data = s.recv(4096)
 *             if not data: break
 *             s.sendall(data)
 *     StreamServer(('127.0.0.1', 7777), handle).serve_forever()
 *
 * Compile:  cc -I.. echo.c -pthread -o echo
 *     ./echo                                 both, in two threads of this program, each with a loop of its own
 *     ./echo serve 7777                      the server, until it is interrupted
 *     ./echo load 127.0.0.1:7777 1000 100    1000 connections, 100 messages on each
 *
 * Prints:
 *     200 connections, 50 messages on each, one at a time
 *     10000 echoes came back, each as it was sent
 *     the server has served 200 connections, and none is left
 *     in ... s
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the server ---------------------------------------------------------------------------------- */

static int served, open_now;

/* One connection. However it ends (its peer's end, an error, a cancel), the clean-up part gives back the socket. */
CONC_CORO(handle, conc_socket *s; conc_io in; conc_out out; char buffer[4096];) {
    CO_BEGIN;
    served++;
    open_now++;
    for (;;) {
        self->in.data = self->buffer;
        self->in.size = sizeof self->buffer;
        CO_AWAIT(conc_op_receive(self->s, &self->in));
        if (self->co.result != CONC_OK) break; /* CONC_CLOSED: the peer has sent all */
        self->out.data = self->buffer;
        self->out.size = self->in.done;
        CO_AWAIT(conc_op_send_all(self->s, &self->out));
        if (self->co.result != CONC_OK) break; /* CONC_BROKEN: nobody wants it any more */
    }
    CO_FINALLY;
    open_now--;
    conc_socket_free(self->s);
    CO_END;
}

CONC_CORO(serve, conc_socket *listener; conc_socket *s;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_accept(self->listener, &self->s));
        if (self->co.result == CONC_CLOSED) break;
        if (self->co.result != CONC_OK) {
            fprintf(stderr, "echo: %s\n", conc_explain(self->co.result)); /* the listener goes on */
            CO_AWAIT(conc_op_sleep(0.01));
        } else if (CONC_GO(conc_loop_current(), handle, .s = self->s) != CONC_OK) {
            fprintf(stderr, "echo: %s\n", conc_error_detail());
            conc_socket_free(self->s);
        }
    }
    CO_END;
}

static int server(void *listener) {
    conc_loop *loop = conc_loop_new(NULL);
    conc_result r = CONC_NO_MEMORY;
    if (loop != NULL && CONC_GO(loop, serve, .listener = listener) == CONC_OK) r = conc_loop_run(loop, CONC_FOREVER);
    if (r != CONC_OK) fprintf(stderr, "echo: the server ended: %s\n", conc_explain(r));
    conc_loop_free(loop);
    return r != CONC_OK;
}

/* ---- the load -------------------------------------------------------------------------------------- */

static conc_address address;
static int messages;
static long echoes;

CONC_CORO(client, int id, i; conc_socket *s; conc_io in; conc_out out; char sent[64], got[64];) {
    CO_BEGIN;
    self->s = conc_tcp_open(address.family);
    if (self->s == NULL) CO_RETURN(1);
    CO_AWAIT(conc_op_connect(self->s, &address));
    for (self->i = 0; self->co.result == CONC_OK && self->i < messages; self->i++) {
        snprintf(self->sent, sizeof self->sent, "%d of %d", self->i, self->id);
        self->out.data = self->sent;
        self->out.size = sizeof self->sent;
        CO_AWAIT(conc_op_send_all(self->s, &self->out));
        if (self->co.result != CONC_OK) break;
        self->in.data = self->got;
        self->in.size = sizeof self->got;
        CO_AWAIT(conc_op_receive_full(self->s, &self->in));
        if (self->co.result == CONC_OK && memcmp(self->sent, self->got, sizeof self->sent) == 0) echoes++;
    }
    if (self->co.result != CONC_OK) fprintf(stderr, "echo: connection %d: %s\n", self->id, conc_explain(self->co.result));
    CO_FINALLY;
    conc_socket_free(self->s);
    CO_END;
}

static int load(int connections) {
    conc_loop *loop = conc_loop_new(NULL);
    int i;
    for (i = 0; loop != NULL && i < connections; i++) {
        if (CONC_GO(loop, client, .id = i) != CONC_OK) break;
    }
    if (loop == NULL || conc_loop_run(loop, CONC_FOREVER) != CONC_OK) fprintf(stderr, "echo: %s\n", conc_error_detail());
    conc_loop_free(loop);
    return echoes == (long)connections * messages ? 0 : 1;
}

/* ---- both ------------------------------------------------------------------------------------------------ */

int main(int argc, char **argv) {
    int connections = argc == 5 ? atoi(argv[3]) : 200;
    bool serves = argc == 3 && strcmp(argv[1], "serve") == 0, loads = argc == 5 && strcmp(argv[1], "load") == 0;
    conc_socket *listener = NULL;
    conc_thread *t = NULL;
    double began = conc_clock();
    messages = argc == 5 ? atoi(argv[4]) : 50;
    if ((argc != 1 && !serves && !loads) || connections < 1 || messages < 1) {
        fputs("usage: echo | echo serve PORT | echo load ADDRESS:PORT CONNECTIONS MESSAGES\n", stderr);
        return 2;
    }
    if (!loads) {
        listener = conc_tcp_listen("127.0.0.1", serves ? (unsigned)atoi(argv[2]) : 0, NULL);
        if (listener == NULL || conc_socket_address(listener, &address) != CONC_OK) {
            fprintf(stderr, "echo: %s\n", conc_error_detail());
            return 1;
        }
    }
    if (serves) return server(listener);
    if (loads && conc_address_parse(argv[2], 0, &address) != CONC_OK) {
        fprintf(stderr, "echo: %s\n", conc_error_detail());
        return 2;
    }
    if (!loads) t = conc_thread_start(server, listener, NULL);

    printf("%d connections, %d messages on each, one at a time\n", connections, messages);
    int failed = load(connections);
    printf("%ld echoes came back, each as it was sent\n", echoes);
    if (t != NULL) {
        conc_socket_close(listener); /* who accepts gets CONC_CLOSED; then the server's loop has nothing left to do */
        conc_thread_join(t, NULL, CONC_FOREVER);
        conc_socket_free(listener);
        printf("the server has served %d connections, and %s is left\n", served, open_now == 0 ? "none" : "one");
    }
    printf("in %.3f s\n", conc_clock() - began);
    return failed;
}
