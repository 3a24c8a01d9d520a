/* udp_chat.c: sending and receiving on one UDP socket, in two threads.
 *
 * In Python:
 *     def receive(s):  while True: print(">", s.recv(1024).decode())
 *     def send(s):     while True: s.send(input().encode())
 *     Thread(target=receive, args=(s,), daemon=True).start(); send(s)
 *
 * UDP promises nothing: a datagram sent before the other side is there is lost. So each line has a number and
 * is answered with that number; the sender waits for the answer in a queue, with a deadline, and sends again
 * if none comes. To talk, in two terminals (Ctrl-D says goodbye):
 *     ./udp_chat 9001 127.0.0.1:9002
 *     ./udp_chat 9002 127.0.0.1:9001
 * A port alone is on 127.0.0.1; to talk across a network, give 0.0.0.0:9001. Version 6: [::1]:9001.
 *
 * Compile:  cc -I.. udp_chat.c -pthread -o udp_chat
 *
 * Shows each line that comes from the other side, after "> ". After its own goodbye it listens for 30 s more.
 * Ends with 0 if all lines were delivered and both have said goodbye, 1 if not, 2 if the arguments are wrong or
 * the port is taken.
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE = 1000, PATIENCE = 30 }; /* PATIENCE: seconds without an answer after which a line is given up */

static conc_socket *sock; /* used by both threads at once: one receives, both send */
static conc_address theirs;
static conc_queue *answers; /* of unsigned: the numbers that the other side has answered */
static conc_event they_left;

/* A datagram is text: its kind, its number, its line. Kinds: m a line, b goodbye, a the answer to either. */
static void send_datagram(char kind, unsigned number, const char *line) {
    char d[LINE + 32];
    int length = snprintf(d, sizeof d, "%c %u %s", kind, number, line);
    (void)conc_send_to(sock, d, (size_t)length, &theirs, CONC_FOREVER); /* an error is a lost datagram: it will be sent again */
}

static int receive(void *arg) {
    (void)arg;
    char text[LINE + 32], kind;
    unsigned number, last = 0;
    conc_datagram d = {.data = text, .size = sizeof text - 1};
    for (;;) {
        conc_result r = conc_receive_from(sock, &d, CONC_FOREVER);
        if (r == CONC_BROKEN) continue; /* nobody is there yet */
        if (r != CONC_OK) {
            fprintf(stderr, "udp_chat: %s\n", conc_explain(r));
            exit(1);
        }
        text[d.done] = '\0';
        int line = 0;
        if (!conc_address_equal(&d.address, &theirs)) continue; /* from a stranger */
        if (sscanf(text, "%c %u%n", &kind, &number, &line) != 2 || text[line++] != ' ') continue; /* not ours */
        if (kind == 'a') {
            conc_queue_put(answers, &number, CONC_FOREVER);
        } else if (kind == 'm' || kind == 'b') {
            send_datagram('a', number, "");
            if (number == last) continue; /* sent again, because our answer came late or was lost */
            last = number;
            if (kind == 'm') printf("> %s\n", text + line);
            else conc_event_set(&they_left);
        }
    }
}

/* Sends until it is answered. False: nobody answered in time. */
static bool deliver(char kind, unsigned number, const char *line) {
    conc_deadline give_up = conc_after(PATIENCE);
    while (!conc_deadline_passed(give_up)) {
        send_datagram(kind, number, line);
        conc_deadline again = conc_deadline_min(conc_after(0.1), give_up);
        unsigned answered;
        while (conc_queue_get(answers, &answered, again) == CONC_OK)
            if (answered == number) return true;
    }
    return false;
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
        fputs("usage: udp_chat [ADDRESS:]PORT ADDRESS:PORT   (mine, the other's; in numbers)\n", stderr);
        return 2;
    }
    char host[CONC_ADDRESS_TEXT]; /* with its port, which comes to the same */
    sock = conc_udp_bind(conc_address_text(&mine, host, sizeof host), conc_address_port(&mine));
    if (sock == NULL) {
        fprintf(stderr, "udp_chat: %s\n", conc_error_detail());
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 1000); /* each line at once, also into a pipe */
    conc_thread_desc daemon = {.name = "receive", .daemon = true}; /* waits for ever; ends with the program */
    answers = conc_queue_new(sizeof(unsigned), 0);
    if (answers == NULL || conc_thread_start(receive, NULL, &daemon) == NULL) {
        fprintf(stderr, "udp_chat: %s\n", conc_error_detail());
        return 1;
    }

    char line[LINE];
    unsigned number = (unsigned)time(NULL) * 1000u; /* whoever starts anew begins with a new number */
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (!deliver('m', ++number, line)) {
            fprintf(stderr, "udp_chat: nobody answers at %s: not delivered: %s\n", argv[2], line);
            return 1;
        }
    }
    bool delivered = deliver('b', ++number, "");
    bool goodbye = conc_event_wait(&they_left, delivered ? conc_after(PATIENCE) : CONC_NOW) == CONC_OK;
    if (!goodbye) fprintf(stderr, "udp_chat: no goodbye from %s\n", argv[2]);
    return goodbye ? 0 : 1;
}
