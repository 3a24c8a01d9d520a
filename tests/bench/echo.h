/* What the echo servers in C share. Each is a program of its own: it listens on a port of loopback, prints its number,
 * and echoes until it is killed; bench_echo.c starts, loads and measures it. */

#ifndef ECHO_H
#define ECHO_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO_BUFFER 4096
#define ECHO_BACKLOG 4096
#define ECHO_FDS 20001

static __attribute__((unused)) void echo_need(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static __attribute__((unused)) int echo_listen(void) {
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    echo_need(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, ECHO_BACKLOG) == 0, "listen");
    echo_need(getsockname(fd, (struct sockaddr *)&a, &size) == 0, "getsockname");
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static __attribute__((unused)) int echo_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) {
        echo_need(errno == EAGAIN || errno == ECONNABORTED, "accept");
        return -1;
    }
    echo_need(fd < ECHO_FDS, "more descriptors than planned for");
    echo_need(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "setsockopt");
    return fd;
}

#endif
