/* ============================================================================================
 * port, POSIX: descriptors and sockets. The poller is epoll on Linux and kqueue on macOS and the BSDs; elsewhere,
 * and with CONC_PORT_PORTABLE, that of port_poller.c.
 *
 * As in port_posix.c, what strict C99 hides is declared here under names of our own. (Of the structs and constants of
 * sockets and of poll() it hides nothing.)
 * ========================================================================================== */

#include "internal.h"

#if !CONC_OS_WINDOWS

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#if CONC_OS_LINUX
#include <sys/syscall.h>
#endif
#if CONC__POLLER_EPOLL
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif
#if CONC__POLLER_KQUEUE
#include <sys/event.h>
#endif

#if CONC_OS_LINUX
/* As in port_posix.c. */
#if !defined(SYS_futex) || (defined(__x86_64__) && defined(__ILP32__))
typedef struct conc__net_timespec {
    int64_t tv_sec, tv_nsec;
} conc__net_timespec;
#else
typedef struct conc__net_timespec {
    long tv_sec, tv_nsec;
} conc__net_timespec;
#endif
typedef struct conc__sys_addrinfo {
    int ai_flags, ai_family, ai_socktype, ai_protocol;
    socklen_t ai_addrlen;
    struct sockaddr *ai_addr;
    char *ai_canonname;
    struct conc__sys_addrinfo *ai_next;
} conc__sys_addrinfo;
#define CONC__EAI_NONAME (-2)
#define CONC__EAI_NODATA (-5)
#define CONC__EAI_MEMORY (-10)
#define CONC__EAI_SYSTEM (-11)
#if defined(__cplusplus)
extern "C" {
#endif
int conc__sys_close(int fd) __asm__("close");
int conc__sys_fcntl(int fd, int what, ...) __asm__("fcntl");
int conc__sys_ppoll(struct pollfd *fds, unsigned long n, const conc__net_timespec *t, const void *mask) __asm__("ppoll");
int conc__sys_socket(int family, int type, int protocol) __asm__("socket");
int conc__sys_bind(int fd, const struct sockaddr *a, socklen_t size) __asm__("bind");
int conc__sys_listen(int fd, int backlog) __asm__("listen");
int conc__sys_accept4(int fd, struct sockaddr *a, socklen_t *size, int flags) __asm__("accept4");
int conc__sys_connect(int fd, const struct sockaddr *a, socklen_t size) __asm__("connect");
int conc__sys_shutdown(int fd, int how) __asm__("shutdown");
int conc__sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size) __asm__("getsockopt");
int conc__sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size) __asm__("setsockopt");
int conc__sys_getsockname(int fd, struct sockaddr *a, socklen_t *size) __asm__("getsockname");
int conc__sys_getpeername(int fd, struct sockaddr *a, socklen_t *size) __asm__("getpeername");
long conc__sys_send(int fd, const void *data, size_t size, int flags) __asm__("send");
long conc__sys_recv(int fd, void *data, size_t size, int flags) __asm__("recv");
long conc__sys_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *a, socklen_t n)
    __asm__("sendto");
long conc__sys_recvmsg(int fd, struct msghdr *m, int flags) __asm__("recvmsg");
long conc__sys_read(int fd, void *data, size_t size) __asm__("read");
long conc__sys_write(int fd, const void *data, size_t size) __asm__("write");
int conc__sys_pipe(int *fds) __asm__("pipe");
int conc__sys_getaddrinfo(const char *host, const char *service, const conc__sys_addrinfo *hints,
                          conc__sys_addrinfo **list) __asm__("getaddrinfo");
void conc__sys_freeaddrinfo(conc__sys_addrinfo *list) __asm__("freeaddrinfo");
const char *conc__sys_gai_strerror(int error) __asm__("gai_strerror");
#if CONC__POLLER_EPOLL
long conc__sys_syscall(long number, ...) __asm__("syscall");
int conc__sys_eventfd(unsigned value, int flags) __asm__("eventfd");
int conc__sys_epoll_create1(int flags) __asm__("epoll_create1");
int conc__sys_epoll_ctl(int ep, int what, int fd, void *event) __asm__("epoll_ctl");
int conc__sys_epoll_wait(int ep, void *events, int max, int ms) __asm__("epoll_wait");
#endif
#if defined(__cplusplus)
}
#endif

#else /* the headers show it all unless the user's feature macros hide it */

#include <netdb.h>
#include <unistd.h>
typedef struct addrinfo conc__sys_addrinfo;
#define CONC__EAI_NONAME EAI_NONAME
#if defined(EAI_NODATA)
#define CONC__EAI_NODATA EAI_NODATA
#else
#define CONC__EAI_NODATA EAI_NONAME
#endif
#define CONC__EAI_MEMORY EAI_MEMORY
#define CONC__EAI_SYSTEM EAI_SYSTEM
#define conc__sys_close close
#define conc__sys_fcntl fcntl
#define conc__sys_socket socket
#define conc__sys_bind bind
#define conc__sys_listen listen
#define conc__sys_connect connect
#define conc__sys_shutdown shutdown
#define conc__sys_getsockopt getsockopt
#define conc__sys_setsockopt setsockopt
#define conc__sys_getsockname getsockname
#define conc__sys_getpeername getpeername
#define conc__sys_send send
#define conc__sys_recv recv
#define conc__sys_sendto sendto
#define conc__sys_recvmsg recvmsg
#define conc__sys_read read
#define conc__sys_write write
#define conc__sys_pipe pipe
#define conc__sys_getaddrinfo getaddrinfo
#define conc__sys_freeaddrinfo freeaddrinfo
#define conc__sys_gai_strerror gai_strerror
#endif

/* The end of a call: what it gave, as an error number; and errno is as it was before. */
static int conc__net_end(long result, int saved) {
    int e = result < 0 ? errno : 0;
    errno = saved;
    return e;
}

int conc__port_unsupported(void) {
    return ENOSYS;
}

static void conc__net_close(intptr_t fd) {
    int saved = errno;
    if (fd >= 0) (void)conc__sys_close((int)fd); /* it is closed, whatever it answers */
    errno = saved;
}

#if !CONC__POLLER_EPOLL /* where descriptors cannot be made so: close-on-exec, not blocking */
static int conc__net_set_flags(int fd) {
    int flags = conc__sys_fcntl(fd, F_GETFL, 0);
    if (flags < 0 || conc__sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
    return conc__sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
}
#endif

/* ---- signals ---------------------------------------------------------------------------------------- */

#if CONC__POLLER_EPOLL

int CONC__PORT(signal_open)(conc__port_signal *s) {
    int saved = errno, e = CONC__FAULT("eventfd", EMFILE, ENFILE, ENOMEM);
    int fd = e == 0 ? conc__sys_eventfd(0, (int)EFD_CLOEXEC | (int)EFD_NONBLOCK) : -1;
    s->fd[0] = s->fd[1] = fd;
    return e != 0 ? e : conc__net_end(fd, saved);
}

void CONC__PORT(signal_close)(conc__port_signal *s) {
    conc__net_close(s->fd[0]);
}

void CONC__PORT(signal_raise)(conc__port_signal *s) {
    const uint64_t one = 1;
    int saved = errno;
    while (conc__sys_write((int)s->fd[0], &one, sizeof one) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void CONC__PORT(signal_clear)(conc__port_signal *s) {
    uint64_t count;
    int saved = errno;
    while (conc__sys_read((int)s->fd[0], &count, sizeof count) < 0 && errno == EINTR) {
    }
    errno = saved;
}

#else

int CONC__PORT(signal_open)(conc__port_signal *s) {
    int saved = errno, fds[2], e = CONC__FAULT("pipe", EMFILE, ENFILE);
    s->fd[0] = s->fd[1] = -1;
    if (e == 0) e = conc__net_end(conc__sys_pipe(fds), saved);
    if (e != 0) return e;
    s->fd[0] = fds[0];
    s->fd[1] = fds[1];
    e = conc__net_end(conc__net_set_flags(fds[0]) < 0 ? -1 : conc__net_set_flags(fds[1]), saved);
    if (e != 0) conc__port_signal_close(s);
    return e;
}

void CONC__PORT(signal_close)(conc__port_signal *s) {
    conc__net_close(s->fd[0]);
    conc__net_close(s->fd[1]);
    s->fd[0] = s->fd[1] = -1;
}

/* A full pipe holds enough signals. */
void CONC__PORT(signal_raise)(conc__port_signal *s) {
    const char one = 1;
    int saved = errno;
    while (conc__sys_write((int)s->fd[1], &one, 1) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void CONC__PORT(signal_clear)(conc__port_signal *s) {
    char many[256];
    long n;
    int saved = errno;
    do {
        n = conc__sys_read((int)s->fd[0], many, sizeof many);
    } while (n == (long)sizeof many || (n < 0 && errno == EINTR));
    errno = saved;
}

#endif

/* ---- poll --------------------------------------------------------------------------------------------- */

#if defined(POLLRDHUP)
#define CONC__POLLRDHUP POLLRDHUP
#elif CONC_OS_LINUX && !defined(__sparc__)
#define CONC__POLLRDHUP 0x2000
#elif CONC_OS_LINUX
#define CONC__POLLRDHUP 0x800
#else
#define CONC__POLLRDHUP 0
#endif

/* Never early: ppoll() counts nanoseconds and rounds up; poll() gets milliseconds that are. One that has slept ends
 * here, so that nothing goes round at the end. */
static int conc__net_poll(struct pollfd *fds, size_t n, int64_t deadline_ns) {
    int64_t left = -1;
    int e = CONC__FAULT("poll", ENOMEM); /* (always interrupted it would never tell; tests use a real signal) */
    if (e != 0) {
        errno = e;
        return -1;
    }
    if (deadline_ns != INT64_MAX) {
        int64_t now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns();
        left = deadline_ns > now ? deadline_ns - now : 0;
    }
    {
#if CONC_OS_LINUX
        conc__net_timespec t;
        if (left > (int64_t)INT32_MAX * 1000000000) left = -1;
        t.tv_sec = (long)(left / 1000000000);
        t.tv_nsec = (long)(left % 1000000000);
        return conc__sys_ppoll(fds, (unsigned long)n, left < 0 ? NULL : &t, NULL);
#else
        int64_t ms = left < 0 ? -1 : left / 1000000 + (left % 1000000 != 0);
        return poll(fds, (nfds_t)n, ms > INT32_MAX ? INT32_MAX : (int)ms);
#endif
    }
}

int CONC__PORT(poll_in)(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    struct pollfd *p = (struct pollfd *)scratch;
    int saved = errno, ready;
    size_t i;
    for (i = 0; i < n; i++) {
        p[i].fd = (int)fds[i].fd;
        p[i].events = (short)(((fds[i].want & CONC__PORT_READ) != 0 ? POLLIN | CONC__POLLRDHUP : 0) |
                              ((fds[i].want & CONC__PORT_WRITE) != 0 ? POLLOUT : 0));
        p[i].revents = 0;
        fds[i].got = 0;
    }
    ready = conc__net_poll(p, n, deadline_ns);
    if (ready < 0) {
        int e = conc__net_end(-1, saved);
        if (e == EINTR || e == EAGAIN) return 0;
        *error = e;
        return -1;
    }
    for (i = 0; ready > 0 && i < n; i++) {
        int got = p[i].revents;
        fds[i].got = ((got & POLLIN) != 0 ? CONC__PORT_READ : 0) | ((got & POLLOUT) != 0 ? CONC__PORT_WRITE : 0) |
                     ((got & (POLLERR | POLLHUP | CONC__POLLRDHUP)) != 0 ? CONC__PORT_HUP : 0) |
                     ((got & POLLNVAL) != 0 ? CONC__PORT_BAD : 0);
    }
    errno = saved;
    return ready;
}

/* ---- the poller: epoll ------------------------------------------------------------------------------------
 * The signal is edge-triggered too: each write to its counter is told, and nobody ever has to read it. */

#if CONC__POLLER_EPOLL

#if defined(__x86_64__) || defined(__i386__) || defined(__m68k__)
#define CONC__EPOLL_PACKED 1
#else
#define CONC__EPOLL_PACKED 0
#endif

/* struct epoll_event, also for compilers that see no attributes in the system's headers. */
typedef struct conc__epoll_event {
    uint32_t events;
#if CONC__EPOLL_PACKED
    uint32_t data[2];
#else
    uint64_t data;
#endif
} conc__epoll_event;

static int conc__epoll_fd(const conc__epoll_event *e) {
    int fd;
    memcpy(&fd, &e->data, sizeof fd);
    return fd;
}

/* (EPOLLPRI: a receive ends at urgent data, and a short one is then not the end of what there is.) */
#define CONC__EPOLL_BOTH                                                                           \
    ((uint32_t)EPOLLIN | (uint32_t)EPOLLOUT | (uint32_t)EPOLLRDHUP | (uint32_t)EPOLLPRI | (uint32_t)EPOLLET)

static int conc__epoll_set(conc__port_poller *p, intptr_t fd, uint32_t events) {
    int saved = errno, small = (int)fd, e = CONC__FAULT("epoll_ctl", ENOMEM, ENOSPC, EPERM);
    conc__epoll_event event;
    if (e == 0) {
        memset(&event, 0, sizeof event);
        event.events = events;
        memcpy(&event.data, &small, sizeof small);
        e = conc__net_end(conc__sys_epoll_ctl((int)p->fd, EPOLL_CTL_ADD, small, &event), saved);
        if (e == EEXIST) e = conc__net_end(conc__sys_epoll_ctl((int)p->fd, EPOLL_CTL_MOD, small, &event), saved);
    }
    return e == EPERM ? CONC__PORT_ALWAYS_READY : e;
}

int CONC__PORT(poller_open)(conc__port_poller *p) {
    int saved = errno, e = CONC__FAULT("epoll_create1", EMFILE, ENFILE, ENOMEM);
    memset(p, 0, sizeof *p);
    p->fd = p->wake.fd[0] = p->wake.fd[1] = -1;
    if (e != 0) return e;
    p->fd = conc__sys_epoll_create1((int)EPOLL_CLOEXEC);
    e = conc__net_end((long)p->fd, saved);
    if (e == 0) e = conc__port_signal_open(&p->wake);
    if (e == 0) e = conc__epoll_set(p, p->wake.fd[0], (uint32_t)EPOLLIN | (uint32_t)EPOLLET);
    if (e != 0) conc__port_poller_close(p);
    return e;
}

void CONC__PORT(poller_close)(conc__port_poller *p) {
    conc__net_close(p->fd);
    conc__port_signal_close(&p->wake);
    p->fd = p->wake.fd[0] = p->wake.fd[1] = -1;
}

int CONC__PORT(poller_add)(conc__port_poller *p, intptr_t fd) {
    return conc__epoll_set(p, fd, CONC__EPOLL_BOTH);
}

int CONC__PORT(poller_want)(conc__port_poller *p, intptr_t fd, unsigned mask) {
    return conc__epoll_set(p, fd, (uint32_t)EPOLLONESHOT |
                                      ((mask & CONC__PORT_READ) != 0 ? (uint32_t)EPOLLIN | (uint32_t)EPOLLRDHUP : 0u) |
                                      ((mask & CONC__PORT_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0u));
}

void CONC__PORT(poller_forget)(conc__port_poller *p, intptr_t fd) {
    conc__epoll_event event; /* old kernels want one */
    int saved = errno;
    memset(&event, 0, sizeof event);
    (void)conc__sys_epoll_ctl((int)p->fd, EPOLL_CTL_DEL, (int)fd, &event);
    errno = saved;
}

/* With epoll_pwait2() (Linux 5.11) in one call; without, poll() waits for the poller itself. Never early, and no later
 * than the system is. */
static int conc__epoll_sleep(int ep, conc__epoll_event *events, int max, int64_t deadline_ns) {
    static uint32_t lacking; /* atomic: 1: the system has no epoll_pwait2, or does not let us have it */
    int64_t now;
    int e = CONC__FAULT_PARTLY("epoll_wait", EINTR);
    if (e != 0) {
        errno = e;
        return -1;
    }
    if (deadline_ns == INT64_MAX) return conc__sys_epoll_wait(ep, events, max, -1);
    now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns();
    if (deadline_ns <= now) return conc__sys_epoll_wait(ep, events, max, 0);
#if defined(SYS_epoll_pwait2)
    if (conc__load32(&lacking, CONC__RELAXED) == 0) {
        int64_t t[2]; /* of 64 bits each, everywhere */
        int n;
        t[0] = (deadline_ns - now) / 1000000000;
        t[1] = (deadline_ns - now) % 1000000000;
        errno = CONC__FAULT("epoll_pwait2", ENOSYS, EPERM);
        n = errno != 0 ? -1 : (int)conc__sys_syscall(SYS_epoll_pwait2, ep, events, max, t, NULL, (size_t)8);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
        conc__store32(&lacking, 1, CONC__RELAXED);
    }
#endif
    {
        struct pollfd one;
        memset(&one, 0, sizeof one);
        one.fd = ep;
        one.events = POLLIN;
        if (conc__net_poll(&one, 1, deadline_ns) == 0) return 0;
        return conc__sys_epoll_wait(ep, events, max, 0); /* also if it could not wait: what there is is not overlooked */
    }
}

size_t CONC__PORT(poller_wait)(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                               bool *signaled) {
    conc__epoll_event found[64];
    size_t count = 0;
    int saved = errno, n, i;
    memset(found, 0, sizeof found); /* what the kernel writes, the memory sanitizer does not see */
    n = conc__epoll_sleep((int)p->fd, found, max < 64 ? (int)max : 64, deadline_ns);
    for (i = 0; i < n; i++) {
        uint32_t got = found[i].events;
        int fd = conc__epoll_fd(&found[i]);
        if (fd == p->wake.fd[0]) continue;
        events[count].fd = fd;
        events[count].got =
            ((got & (uint32_t)EPOLLIN) != 0 ? CONC__PORT_READ : 0) | ((got & (uint32_t)EPOLLOUT) != 0 ? CONC__PORT_WRITE : 0) |
            ((got & ((uint32_t)EPOLLERR | (uint32_t)EPOLLHUP | (uint32_t)EPOLLRDHUP | (uint32_t)EPOLLPRI)) != 0 ? CONC__PORT_HUP : 0);
        count++;
    }
    errno = saved;
    *signaled = conc__load32(&p->signaled, CONC__RELAXED) != 0 && conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return count;
}

void CONC__PORT(poller_signal)(conc__port_poller *p) {
    if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) conc__port_signal_raise(&p->wake);
}

#endif

/* ---- the poller: kqueue --------------------------------------------------------------------------------------- */

#if CONC__POLLER_KQUEUE

static int conc__kqueue_set(conc__port_poller *p, intptr_t fd, int filter, unsigned flags, unsigned fflags) {
    struct kevent k;
    struct timespec none;
    int saved = errno, e = CONC__FAULT("kevent", ENOMEM);
    if (e != 0) return e;
    memset(&none, 0, sizeof none);
    memset(&k, 0, sizeof k);
    EV_SET(&k, (uintptr_t)fd, (short)filter, (unsigned short)flags, fflags, 0, NULL);
    return conc__net_end(kevent((int)p->fd, &k, 1, NULL, 0, &none), saved);
}

int CONC__PORT(poller_open)(conc__port_poller *p) {
    int saved = errno, e = CONC__FAULT("kqueue", EMFILE, ENFILE, ENOMEM);
    memset(p, 0, sizeof *p);
    p->fd = p->wake.fd[0] = p->wake.fd[1] = -1;
    if (e != 0) return e;
    p->fd = kqueue();
    if (p->fd >= 0 && conc__sys_fcntl((int)p->fd, F_SETFD, FD_CLOEXEC) < 0) e = errno;
    if (p->fd < 0) e = errno;
    errno = saved;
    if (e == 0) e = conc__kqueue_set(p, 0, EVFILT_USER, EV_ADD | EV_CLEAR, 0);
    if (e != 0) conc__port_poller_close(p);
    return e;
}

void CONC__PORT(poller_close)(conc__port_poller *p) {
    conc__net_close(p->fd);
    p->fd = -1;
}

/* Each side by itself: a pipe's end has but one. */
static int conc__kqueue_both(conc__port_poller *p, intptr_t fd, unsigned mask, unsigned flags) {
    int read = 0, write = 0;
    if ((mask & CONC__PORT_READ) != 0) read = conc__kqueue_set(p, fd, EVFILT_READ, flags, 0);
    if ((mask & CONC__PORT_WRITE) != 0) write = conc__kqueue_set(p, fd, EVFILT_WRITE, flags, 0);
    if (mask == (CONC__PORT_READ | CONC__PORT_WRITE) && (read == 0 || write == 0)) return 0;
    return read != 0 ? read : write;
}

int CONC__PORT(poller_add)(conc__port_poller *p, intptr_t fd) {
    return conc__kqueue_both(p, fd, CONC__PORT_READ | CONC__PORT_WRITE, EV_ADD | EV_CLEAR);
}

int CONC__PORT(poller_want)(conc__port_poller *p, intptr_t fd, unsigned mask) {
    if ((mask & CONC__PORT_READ) == 0) (void)conc__kqueue_set(p, fd, EVFILT_READ, EV_DELETE, 0);
    if ((mask & CONC__PORT_WRITE) == 0) (void)conc__kqueue_set(p, fd, EVFILT_WRITE, EV_DELETE, 0);
    return conc__kqueue_both(p, fd, mask, EV_ADD | EV_ONESHOT);
}

void CONC__PORT(poller_forget)(conc__port_poller *p, intptr_t fd) {
    (void)conc__kqueue_set(p, fd, EVFILT_READ, EV_DELETE, 0);
    (void)conc__kqueue_set(p, fd, EVFILT_WRITE, EV_DELETE, 0);
}

size_t CONC__PORT(poller_wait)(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                               bool *signaled) {
    struct kevent found[64];
    struct timespec t;
    size_t count = 0;
    int saved = errno, n, i;
    if (deadline_ns != INT64_MAX) {
        int64_t now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
        if (left > (int64_t)86400 * 1000000000) left = (int64_t)86400 * 1000000000; /* the longest that all of them take */
        t.tv_sec = (time_t)(left / 1000000000);
        t.tv_nsec = (long)(left % 1000000000);
    }
    n = kevent((int)p->fd, NULL, 0, found, max < 64 ? (int)max : 64, deadline_ns == INT64_MAX ? NULL : &t);
    for (i = 0; i < n; i++) {
        if (found[i].filter == EVFILT_USER) continue;
        events[count].fd = (intptr_t)found[i].ident;
        events[count].got = (found[i].filter == EVFILT_READ ? CONC__PORT_READ : CONC__PORT_WRITE) |
                            ((found[i].flags & (EV_EOF | EV_ERROR)) != 0 ? CONC__PORT_HUP : 0);
        count++;
    }
    errno = saved;
    *signaled = conc__load32(&p->signaled, CONC__RELAXED) != 0 && conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return count;
}

void CONC__PORT(poller_signal)(conc__port_poller *p) {
    if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) {
        (void)conc__kqueue_set(p, 0, EVFILT_USER, 0, NOTE_TRIGGER);
    }
}

#endif

/* ---- sockets ---------------------------------------------------------------------------------------------------- */

typedef union conc__sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} conc__sockaddr;

static socklen_t conc__sockaddr_make(conc__sockaddr *s, const conc_address *a) {
    unsigned char port[2];
    port[0] = (unsigned char)(a->port >> 8);
    port[1] = (unsigned char)(a->port & 0xffu);
    memset(s, 0, sizeof *s);
    if (a->family == 6) {
        s->v6.sin6_family = AF_INET6;
        memcpy(&s->v6.sin6_port, port, 2);
        memcpy(&s->v6.sin6_addr, a->ip, 16);
        s->v6.sin6_scope_id = a->scope;
        return (socklen_t)sizeof s->v6;
    }
    s->v4.sin_family = AF_INET;
    memcpy(&s->v4.sin_port, port, 2);
    memcpy(&s->v4.sin_addr, a->ip, 4);
    return (socklen_t)sizeof s->v4;
}

static void conc__sockaddr_read(const conc__sockaddr *s, conc_address *a) {
    unsigned char port[2] = { 0, 0 };
    memset(a, 0, sizeof *a);
    if (s->any.sa_family == AF_INET6) {
        a->family = 6;
        memcpy(port, &s->v6.sin6_port, 2);
        memcpy(a->ip, &s->v6.sin6_addr, 16);
        a->scope = s->v6.sin6_scope_id;
    } else if (s->any.sa_family == AF_INET) {
        a->family = 4;
        memcpy(port, &s->v4.sin_port, 2);
        memcpy(a->ip, &s->v4.sin_addr, 4);
    }
    a->port = (uint16_t)((unsigned)port[0] << 8 | port[1]);
}

#if defined(MSG_NOSIGNAL)
#define CONC__NOSIGNAL MSG_NOSIGNAL
#else
#define CONC__NOSIGNAL 0
#endif

#if !CONC_OS_LINUX
/* What Linux does as it makes the descriptor. Closes it on failure. */
static int conc__socket_dress(int fd) {
    int e = conc__net_set_flags(fd) < 0 ? errno : 0;
#if defined(SO_NOSIGPIPE)
    const int on = 1;
    if (e == 0 && conc__sys_setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, (socklen_t)sizeof on) < 0) e = errno;
#endif
    if (e != 0) conc__net_close(fd);
    return e;
}
#endif

int CONC__PORT(socket)(unsigned family, bool stream, intptr_t *fd) {
    int saved = errno, e = CONC__FAULT("socket", EMFILE, ENFILE, ENOBUFS), s;
    int type = stream ? (int)SOCK_STREAM : (int)SOCK_DGRAM;
    *fd = -1;
    if (e != 0) return e;
#if CONC_OS_LINUX
    s = conc__sys_socket(family == 6 ? AF_INET6 : AF_INET, type | (int)SOCK_NONBLOCK | (int)SOCK_CLOEXEC, 0);
    e = conc__net_end(s, saved);
#else
    s = conc__sys_socket(family == 6 ? AF_INET6 : AF_INET, type, 0);
    e = s < 0 ? errno : conc__socket_dress(s);
    errno = saved;
#endif
    if (e == 0) *fd = s;
    return e;
}

void conc__port_socket_close(intptr_t fd) {
    conc__net_close(fd);
}

int conc__port_socket_bind(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    socklen_t size = conc__sockaddr_make(&s, a);
    int saved = errno, e = CONC__FAULT("bind", EADDRINUSE, EACCES);
    return e != 0 ? e : conc__net_end(conc__sys_bind((int)fd, &s.any, size), saved);
}

int conc__port_socket_listen(intptr_t fd, int backlog) {
    int saved = errno, e = CONC__FAULT("listen", EADDRINUSE);
    return e != 0 ? e : conc__net_end(conc__sys_listen((int)fd, backlog), saved);
}

int conc__port_socket_accept(intptr_t fd, intptr_t *conn, conc_address *peer) {
    conc__sockaddr s;
    socklen_t size = (socklen_t)sizeof s;
    int saved = errno, c, e = CONC__FAULT("accept", EMFILE, ECONNABORTED, ENOBUFS);
    *conn = -1;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    do {
#if CONC_OS_LINUX
        c = conc__sys_accept4((int)fd, &s.any, &size, (int)SOCK_NONBLOCK | (int)SOCK_CLOEXEC);
#else
        c = accept((int)fd, &s.any, &size);
#endif
    } while (c < 0 && errno == EINTR);
    e = c < 0 ? errno : 0;
#if !CONC_OS_LINUX
    if (e == 0) e = conc__socket_dress(c);
#endif
    errno = saved;
    if (e != 0) return e;
    if (peer != NULL) conc__sockaddr_read(&s, peer);
    *conn = c;
    return 0;
}

int conc__port_socket_connect(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    socklen_t size = conc__sockaddr_make(&s, a);
    int saved = errno, e = CONC__FAULT("connect", ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL);
    if (e == 0) e = conc__net_end(conc__sys_connect((int)fd, &s.any, size), saved);
    if (e == EISCONN) return 0;
    return e == EINPROGRESS || e == EALREADY || e == EINTR ? CONC__PORT_IN_PROGRESS : e;
}

int conc__port_socket_connected(intptr_t fd) {
    int value = 0, saved = errno, e = CONC__FAULT("getsockopt: SO_ERROR", ETIMEDOUT, EHOSTUNREACH);
    socklen_t size = (socklen_t)sizeof value;
    if (e == 0) e = conc__net_end(conc__sys_getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &value, &size), saved);
    return e != 0 ? e : value;
}

/* (An interruption can come only before anything was done.) */
int conc__port_socket_send(intptr_t fd, const void *data, size_t size, size_t *done) {
    int saved = errno, e = CONC__FAULT("send", ECONNRESET, EPIPE, ENOBUFS);
    long n;
    *done = 0;
    if (e != 0) return e;
    if (size > SIZE_MAX / 2) size = SIZE_MAX / 2;
    do {
        n = (long)conc__sys_send((int)fd, data, size, CONC__NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n > 0) *done = (size_t)n;
    return conc__net_end(n, saved);
}

int conc__port_socket_receive(intptr_t fd, void *buffer, size_t size, size_t *done) {
    int saved = errno, e = CONC__FAULT("recv", ECONNRESET, ENOBUFS);
    long n;
    *done = 0;
    if (e != 0) return e;
    if (size > SIZE_MAX / 2) size = SIZE_MAX / 2;
    do {
        n = (long)conc__sys_recv((int)fd, buffer, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) *done = (size_t)n;
    return conc__net_end(n, saved);
}

int conc__port_socket_send_to(intptr_t fd, const void *data, size_t size, const conc_address *to, size_t *done) {
    conc__sockaddr s;
    socklen_t length = to != NULL ? conc__sockaddr_make(&s, to) : 0;
    int saved = errno, e = CONC__FAULT("sendto", ENOBUFS, EHOSTUNREACH);
    long n;
    *done = 0;
    if (e != 0) return e;
    do {
        n = (long)conc__sys_sendto((int)fd, data, size, CONC__NOSIGNAL, to != NULL ? &s.any : NULL, length);
    } while (n < 0 && errno == EINTR);
    if (n > 0) *done = (size_t)n;
    return conc__net_end(n, saved);
}

int conc__port_socket_receive_from(intptr_t fd, void *buffer, size_t size, conc_address *from, size_t *done, bool *cut) {
    conc__sockaddr s;
    struct msghdr m;
    struct iovec part;
    int saved = errno, e = CONC__FAULT("recvmsg", ECONNREFUSED, ENOBUFS);
    long n;
    *done = 0;
    *cut = false;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    memset(&m, 0, sizeof m);
    part.iov_base = buffer;
    part.iov_len = size;
    m.msg_name = &s;
    m.msg_namelen = (socklen_t)sizeof s;
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    do {
        n = (long)conc__sys_recvmsg((int)fd, &m, 0);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *done = (size_t)n;
        *cut = (m.msg_flags & MSG_TRUNC) != 0;
        if (from != NULL) conc__sockaddr_read(&s, from);
    }
    return conc__net_end(n, saved);
}

int conc__port_socket_shutdown(intptr_t fd, unsigned sides) {
    int saved = errno;
    int how = sides == CONC__PORT_READ ? SHUT_RD : sides == CONC__PORT_WRITE ? SHUT_WR : SHUT_RDWR;
    return conc__net_end(conc__sys_shutdown((int)fd, how), saved);
}

int conc__port_socket_name(intptr_t fd, bool peer, conc_address *a) {
    conc__sockaddr s;
    socklen_t size = (socklen_t)sizeof s;
    int saved = errno, e = CONC__FAULT("getsockname", ENOBUFS);
    memset(&s, 0, sizeof s);
    if (e == 0) {
        e = conc__net_end(peer ? conc__sys_getpeername((int)fd, &s.any, &size) : conc__sys_getsockname((int)fd, &s.any, &size),
                          saved);
    }
    conc__sockaddr_read(&s, a);
    return e;
}

int conc__port_socket_option(intptr_t fd, conc__port_option option, int value) {
    int level = SOL_SOCKET, name = -1, saved = errno, e = CONC__FAULT("setsockopt", ENOPROTOOPT);
    switch (option) {
    case CONC__PORT_REUSE_ADDRESS: name = SO_REUSEADDR; break;
    case CONC__PORT_REUSE_PORT:
#if defined(SO_REUSEPORT)
        name = SO_REUSEPORT;
#elif CONC_OS_LINUX && !defined(__mips__) && !defined(__alpha__) && !defined(__sparc__) && !defined(__hppa__)
        name = 15; /* SO_REUSEPORT, which strict C99 hides */
#endif
        break;
    case CONC__PORT_V6_ONLY:
        level = IPPROTO_IPV6;
        name = IPV6_V6ONLY;
        break;
    case CONC__PORT_NO_DELAY:
        level = IPPROTO_TCP;
        name = 1; /* TCP_NODELAY, everywhere */
        break;
    case CONC__PORT_KEEP_ALIVE: name = SO_KEEPALIVE; break;
    case CONC__PORT_BROADCAST: name = SO_BROADCAST; break;
    case CONC__PORT_SEND_BUFFER: name = SO_SNDBUF; break;
    case CONC__PORT_RECEIVE_BUFFER: name = SO_RCVBUF; break;
    case CONC__PORT_OPTIONS:
    default: break;
    }
    if (e != 0) return e;
    if (name < 0) return ENOPROTOOPT;
    return conc__net_end(conc__sys_setsockopt((int)fd, level, name, &value, (socklen_t)sizeof value), saved);
}

conc__port_kind conc__port_kind_of(int error) {
    if (error == EAGAIN || error == EWOULDBLOCK) return CONC__PORT_WOULD_BLOCK;
    switch (error) {
    case EMFILE:
    case ENFILE: return CONC__PORT_TABLE_FULL;
    case ENOBUFS:
    case ENOMEM: return CONC__PORT_NO_BUFFERS;
    case ECONNABORTED: /* accept(2) of Linux: all of these are the new connection's, not the listener's */
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
#if CONC_OS_LINUX
    case EHOSTDOWN:
    case ENONET:
#endif
        return CONC__PORT_ABORTED;
    case ECONNRESET:
    case ECONNREFUSED: /* of a datagram before */
    case EPIPE:
    case ETIMEDOUT: return CONC__PORT_BROKEN;
    default: return CONC__PORT_OTHER;
    }
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

conc__port_found CONC__PORT(lookup)(const char *host, unsigned port, conc_address *list, size_t n, size_t *found, char *text,
                                    size_t size) {
    conc__sys_addrinfo hints, *all = NULL, *a;
    char service[12];
    int saved = errno, e = CONC__FAULT("getaddrinfo", ENOMEM, EIO), code = CONC__EAI_SYSTEM;
    *found = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM; /* or each would come once for each kind of socket */
    (void)snprintf(service, sizeof service, "%u", port);
    if (e == 0) {
        code = conc__sys_getaddrinfo(host, service, &hints, &all);
        e = errno;
    }
    errno = saved;
    if (code != 0) {
        if (code == CONC__EAI_SYSTEM) {
            (void)conc__port_error_text(e, text, size);
        } else {
            (void)snprintf(text, size, "%s", conc__sys_gai_strerror(code));
        }
        if (code == CONC__EAI_MEMORY || (code == CONC__EAI_SYSTEM && e == ENOMEM)) return CONC__PORT_LOOKUP_MEMORY;
        return code == CONC__EAI_NONAME || code == CONC__EAI_NODATA ? CONC__PORT_UNKNOWN_HOST : CONC__PORT_LOOKUP_FAILED;
    }
    for (a = all; a != NULL && *found < n; a = a->ai_next) {
        conc__sockaddr s;
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || (size_t)a->ai_addrlen > sizeof s) continue;
        memset(&s, 0, sizeof s);
        memcpy(&s, a->ai_addr, (size_t)a->ai_addrlen);
        conc__sockaddr_read(&s, &list[(*found)++]);
    }
    conc__sys_freeaddrinfo(all);
    errno = saved;
    return CONC__PORT_FOUND;
}

#endif /* !CONC_OS_WINDOWS */
