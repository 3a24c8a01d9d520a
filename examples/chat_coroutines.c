/* chat_coroutines.c: the chat of udp_chat.c in one thread: a coroutine receives, another one sends. They talk to each
 * other's programs, too.
 *
 * In Python, with gevent:
 *     def receive(s):  while True: print(">", s.recv(1024).decode())
 *     def send(s):     for line in FileObject(sys.stdin): s.send(line)
 *     gevent.joinall([gevent.spawn(receive, s), gevent.spawn(send, s)])
 *
 * Nothing here needs a lock: what the coroutines share only they touch, and one of them runs at a time. Reading a line of
 * the standard input may block, so it is offloaded to a thread; everything else is awaited.
 *
 * In two terminals (Ctrl-D says goodbye):
 *     ./chat_coroutines 9001 127.0.0.1:9002
 *     ./udp_chat 9002 127.0.0.1:9001
 *
 * Compile:  cc -I.. chat_coroutines.c -pthread -o chat_coroutines
 *
 * Shows each line that comes from the other side, after "> ". Ends as udp_chat does: with 0 if all lines were delivered and
 * both have said goodbye, 1 if not, 2 if the arguments are wrong or the port is taken.
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINE = 1000, PATIENCE = 30 }; /* PATIENCE: seconds without an answer after which a line is given up */

static conc_socket *sock;
static conc_address theirs;
static conc_queue *answers;  /* of unsigned: the numbers that the other side has answered */
static conc_event they_left;

/* A datagram is text: its kind, its number, its line. Kinds: m a line, b goodbye, a the answer to either. */
typedef struct message {
    conc_datagram_out out;
    char text[LINE + 32];
} message;

static conc_op send_message(message *m, char kind, unsigned number, const char *line) {
    m->out.data = m->text;
    m->out.size = (size_t)snprintf(m->text, sizeof m->text, "%c %u %s", kind, number, line);
    m->out.address = theirs;
    return conc_op_send_to(sock, &m->out);
}

CONC_CORO(receive, conc_datagram d; char text[LINE + 32]; message answer; unsigned number, last; int line; char kind;) {
    CO_BEGIN;
    for (;;) {
        self->d.data = self->text;
        self->d.size = sizeof self->text - 1;
        CO_AWAIT(conc_op_receive_from(sock, &self->d));
        if (self->co.result == CONC_BROKEN) continue; /* nobody is there yet */
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->text[self->d.done] = '\0';
        if (!conc_address_equal(&self->d.address, &theirs)) continue; /* from a stranger */
        if (sscanf(self->text, "%c %u%n", &self->kind, &self->number, &self->line) != 2) continue;
        if (self->text[self->line++] != ' ') continue; /* not ours */
        if (self->kind == 'a') {
            CO_AWAIT(conc_op_put(answers, &self->number));
        } else if (self->kind == 'm' || self->kind == 'b') {
            CO_AWAIT(send_message(&self->answer, 'a', self->number, ""));
            if (self->number == self->last) continue; /* sent again, because our answer came late or was lost */
            self->last = self->number;
            if (self->kind == 'm') printf("> %s\n", self->text + self->line);
            else conc_event_set(&they_left);
        }
    }
    CO_END;
}

/* Sends until it is answered; returns 0, or 1: nobody answered in time. */
CONC_CORO(deliver, char kind; unsigned number, answered; const char *line; conc_deadline again; conc_co_timeout limit; message m;) {
    CO_BEGIN;
    CO_TIMEOUT(self->limit, PATIENCE) {
        for (;;) {
            CO_AWAIT(send_message(&self->m, self->kind, self->number, self->line)); /* an error is a lost datagram */
            self->again = conc_after(0.1);
            do {
                CO_AWAIT_UNTIL(conc_op_get(answers, &self->answered), self->again);
                if (self->co.result == CONC_OK && self->answered == self->number) CO_RETURN(0);
            } while (self->co.result == CONC_OK);
        }
    }
    CO_RETURN(1);
    CO_END;
}

/* What is done in another thread: it has a copy of the struct, which comes back. */
typedef struct input {
    char line[LINE];
    bool end;
} input;

static int read_line(void *arg) {
    input *in = arg;
    in->end = fgets(in->line, sizeof in->line, stdin) == NULL;
    in->line[strcspn(in->line, "\n")] = '\0';
    return 0;
}

CONC_CORO(talk, input in; unsigned number;) {
    CO_BEGIN;
    self->number = (unsigned)time(NULL) * 1000u; /* whoever starts anew begins with a new number */
    for (;;) {
        CO_AWAIT(conc_op_offload(NULL, read_line, &self->in));
        if (self->co.result != CONC_OK) CO_RETURN(1);
        if (self->in.end) break;
        CO_CALL(deliver, .kind = 'm', .number = ++self->number, .line = self->in.line);
        if (self->co.value != 0) {
            fprintf(stderr, "chat_coroutines: nobody answers: not delivered: %s\n", self->in.line);
            CO_RETURN(1);
        }
    }
    CO_CALL(deliver, .kind = 'b', .number = ++self->number, .line = "");
    if (self->co.value == 0) CO_AWAIT_UNTIL(conc_op_event(&they_left), conc_after(PATIENCE));
    CO_RETURN(conc_event_is_set(&they_left) ? 0 : 1);
    CO_END;
}

/* "127.0.0.1:9001", "[::1]:9001", or a port on 127.0.0.1. */
static bool parse(const char *text, conc_address *a) {
    char with_host[32];
    if (strspn(text, "0123456789") == strlen(text)) {
        snprintf(with_host, sizeof with_host, "127.0.0.1:%.8s", text);
        text = with_host;
    }
    return conc_address_parse(text, 0, a) == CONC_OK && conc_address_port(a) != 0;
}

int main(int argc, char **argv) {
    conc_address mine;
    if (argc != 3 || !parse(argv[1], &mine) || !parse(argv[2], &theirs)) {
        fputs("usage: chat_coroutines [ADDRESS:]PORT ADDRESS:PORT   (mine, the other's; in numbers)\n", stderr);
        return 2;
    }
    char host[CONC_ADDRESS_TEXT];
    sock = conc_udp_bind(conc_address_text(&mine, host, sizeof host), conc_address_port(&mine));
    if (sock == NULL) {
        fprintf(stderr, "chat_coroutines: %s\n", conc_error_detail());
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 1000); /* each line at once, also into a pipe */

    int code = 1;
    conc_loop *loop = conc_loop_new(NULL);
    answers = conc_queue_new(sizeof(unsigned), 0);
    if (loop == NULL || answers == NULL) return 1;
    conc_task *talks = CONC_SPAWN(loop, talk), *receives = CONC_SPAWN(loop, receive);
    conc_task_join(talks, &code, CONC_FOREVER);  /* runs the loop until then */
    conc_task_cancel(receives);
    conc_task_join(receives, NULL, CONC_FOREVER);
    conc_loop_free(loop);
    conc_queue_free(answers);
    conc_socket_free(sock);
    return code;
}
