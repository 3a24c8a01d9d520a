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
 * A port alone is on 127.0.0.1; to talk across a network, give 0.0.0.0:9001.
 *
 * Compile:  cc -I.. udp_chat.c -pthread -o udp_chat
 *
 * Shows each line that comes from the other side, after "> ". After its own goodbye it listens for 30 s more.
 * Ends with 0 if all lines were delivered and both have said goodbye, 1 if not, 2 if the arguments are wrong or
 * the port is taken.
 */
#define _POSIX_C_SOURCE 200809L
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { LINE = 1000, PATIENCE = 30 }; /* PATIENCE: seconds without an answer after which a line is given up */

static int sock;
static conc_queue *answers; /* of unsigned: the numbers that the other side has answered */
static conc_event they_left;

/* A datagram is text: its kind, its number, its line. Kinds: m a line, b goodbye, a the answer to either. */
static void send_datagram(char kind, unsigned number, const char *line) {
    char d[LINE + 32];
    int length = snprintf(d, sizeof d, "%c %u %s", kind, number, line);
    (void)!send(sock, d, (size_t)length, 0); /* an error is a lost datagram: it will be sent again */
}

static int receive(void *arg) {
    (void)arg;
    char d[LINE + 32], kind;
    unsigned number, last = 0;
    for (;;) {
        ssize_t length = recv(sock, d, sizeof d - 1, 0);
        if (length < 0) {
            if (errno == EINTR || errno == ECONNREFUSED) continue; /* refused: nobody is there yet */
            perror("udp_chat: receive");
            exit(1);
        }
        d[length] = '\0';
        int line = 0;
        if (sscanf(d, "%c %u%n", &kind, &number, &line) != 2 || d[line++] != ' ') continue; /* not ours */
        if (kind == 'a') {
            conc_queue_put(answers, &number, CONC_FOREVER);
        } else if (kind == 'm' || kind == 'b') {
            send_datagram('a', number, "");
            if (number == last) continue; /* sent again, because our answer came late or was lost */
            last = number;
            if (kind == 'm') printf("> %s\n", d + line);
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

static bool parse(const char *text, struct sockaddr_in *a) {
    char host[64] = "127.0.0.1", rest;
    unsigned port;
    bool read = strchr(text, ':') != NULL ? sscanf(text, "%63[^:]:%5u%c", host, &port, &rest) == 2
                                          : sscanf(text, "%5u%c", &port, &rest) == 1;
    if (!read || port < 1 || port > 65535) return false;
    memset(a, 0, sizeof *a);
    a->sin_family = AF_INET;
    a->sin_port = htons((unsigned short)port);
    return inet_pton(AF_INET, host, &a->sin_addr) == 1;
}

int main(int argc, char **argv) {
    struct sockaddr_in mine, theirs;
    if (argc != 3 || !parse(argv[1], &mine) || !parse(argv[2], &theirs)) {
        fputs("usage: udp_chat [ADDRESS:]PORT ADDRESS:PORT   (mine, the other's; IPv4 in numbers)\n", stderr);
        return 2;
    }
    sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (sock < 0 || bind(sock, (struct sockaddr *)&mine, sizeof mine) != 0 ||
        connect(sock, (struct sockaddr *)&theirs, sizeof theirs) != 0) {
        fprintf(stderr, "udp_chat: %s to %s: %s\n", argv[1], argv[2], strerror(errno));
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */
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
