/* ============================================================================================
 * port, Windows: descriptors, which are sockets, and sockets. The poller is that of port_poller.c, on WSAPoll().
 *
 * Winsock is loaded when the first descriptor is made, and stays. So a program need not be linked with it, and none of its
 * headers, of which only one order of inclusion works, is included: what they would declare is spelled out.
 *
 * Before Windows 10 version 2004, WSAPoll() does not tell of a connection that is refused: connecting then ends by its
 * deadline.
 * ========================================================================================== */

#include "internal.h"

#if CONC_OS_WINDOWS

#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

#include <stdio.h>

/* ---- Winsock ------------------------------------------------------------------------------------------ */

typedef UINT_PTR conc__ws_socket;
#define CONC__WS_NONE (~(conc__ws_socket)0)

typedef struct conc__ws_pollfd {
    conc__ws_socket fd;
    SHORT events, revents;
} conc__ws_pollfd;

typedef struct conc__sockaddr { /* the larger of the two; version 4 has its number in `flow` */
    unsigned char family[2];    /* in the machine's order */
    unsigned char port[2];      /* in the network's */
    unsigned char flow[4];
    unsigned char ip[16];
    uint32_t scope;
} conc__sockaddr;

typedef struct conc__ws_addrinfo {
    int flags, family, socktype, protocol;
    size_t length;
    WCHAR *name;
    void *address;
    struct conc__ws_addrinfo *next;
} conc__ws_addrinfo;

#define CONC__WS_INET 2
#define CONC__WS_INET6 23
#define CONC__WS_STREAM 1
#define CONC__WS_DGRAM 2
#define CONC__WS_SOL_SOCKET 0xffff
#define CONC__WS_POLLERR 0x0001
#define CONC__WS_POLLHUP 0x0002
#define CONC__WS_POLLNVAL 0x0004
#define CONC__WS_POLLOUT 0x0010
#define CONC__WS_POLLIN 0x0100

#define CONC__WINSOCK(X)                                                                                                    \
    X(WSAStartup, int, (WORD, void *))                                                                                      \
    X(WSASocketW, conc__ws_socket, (int, int, int, void *, unsigned, DWORD))                                                \
    X(WSADuplicateSocketW, int, (conc__ws_socket, DWORD, void *))                                                           \
    X(WSAIoctl, int, (conc__ws_socket, DWORD, void *, DWORD, void *, DWORD, DWORD *, void *, void *))                       \
    X(WSAPoll, int, (conc__ws_pollfd *, ULONG, int))                                                                        \
    X(closesocket, int, (conc__ws_socket))                                                                                  \
    X(ioctlsocket, int, (conc__ws_socket, long, ULONG *))                                                                   \
    X(bind, int, (conc__ws_socket, const void *, int))                                                                      \
    X(listen, int, (conc__ws_socket, int))                                                                                  \
    X(accept, conc__ws_socket, (conc__ws_socket, void *, int *))                                                            \
    X(connect, int, (conc__ws_socket, const void *, int))                                                                   \
    X(getsockopt, int, (conc__ws_socket, int, int, void *, int *))                                                          \
    X(setsockopt, int, (conc__ws_socket, int, int, const void *, int))                                                      \
    X(getsockname, int, (conc__ws_socket, void *, int *))                                                                   \
    X(getpeername, int, (conc__ws_socket, void *, int *))                                                                   \
    X(send, int, (conc__ws_socket, const void *, int, int))                                                                 \
    X(recv, int, (conc__ws_socket, void *, int, int))                                                                       \
    X(sendto, int, (conc__ws_socket, const void *, int, int, const void *, int))                                            \
    X(recvfrom, int, (conc__ws_socket, void *, int, int, void *, int *))                                                    \
    X(shutdown, int, (conc__ws_socket, int))                                                                                \
    X(GetAddrInfoW, int, (const WCHAR *, const WCHAR *, const conc__ws_addrinfo *, conc__ws_addrinfo **))                   \
    X(FreeAddrInfoW, void, (conc__ws_addrinfo *))

static struct { /* written under the once, before anything that uses it can be made */
#define CONC__WS_MEMBER(name, result, arguments) result(WINAPI *p_##name) arguments;
    CONC__WINSOCK(CONC__WS_MEMBER)
#undef CONC__WS_MEMBER
} conc__ws;
static INIT_ONCE conc__ws_once = INIT_ONCE_STATIC_INIT;

/* When it fails, the next to come tries again. */
static BOOL WINAPI conc__ws_load(INIT_ONCE *once, void *error, void **unused) {
    typedef void (*any_fn)(void);
    HMODULE module = LoadLibraryW(L"ws2_32.dll");
    uint64_t data[64]; /* a WSADATA is 408 bytes */
    int e = 0;
    (void)once;
    (void)unused;
    if (module == NULL) {
        e = (int)GetLastError();
    } else {
#define CONC__WS_FIND(name, result, arguments)                                                                              \
    conc__ws.p_##name = (result(WINAPI *) arguments)(any_fn)GetProcAddress(module, #name);                                  \
    if (conc__ws.p_##name == NULL) e = ERROR_PROC_NOT_FOUND;
        CONC__WINSOCK(CONC__WS_FIND)
#undef CONC__WS_FIND
        if (e == 0) e = conc__ws.p_WSAStartup(0x0202, data);
        if (e != 0) (void)FreeLibrary(module);
    }
    *(int *)error = e;
    return e == 0;
}

static int conc__ws_begin(void) {
    int e = CONC__FAULT("WSAStartup", WSASYSNOTREADY);
    if (e == 0) (void)InitOnceExecuteOnce(&conc__ws_once, conc__ws_load, &e, NULL);
    return e;
}

/* The end of a call that says -1 if it failed; GetLastError(), which is WSAGetLastError(), is as it was before. */
static int conc__ws_end(int result, DWORD saved) {
    int e = result == -1 ? (int)GetLastError() : 0;
    if (result == -1 && e == 0) e = WSAENOTSOCK; /* there is none without a number */
    SetLastError(saved);
    return e;
}

int conc__port_unsupported(void) {
    return WSAEOPNOTSUPP;
}

/* ---- sockets ---------------------------------------------------------------------------------------------- */

static int conc__sockaddr_make(conc__sockaddr *s, const conc_address *a) {
    uint16_t family = a->family == 6 ? CONC__WS_INET6 : CONC__WS_INET;
    memset(s, 0, sizeof *s);
    memcpy(s->family, &family, 2);
    s->port[0] = (unsigned char)(a->port >> 8);
    s->port[1] = (unsigned char)(a->port & 0xffu);
    if (a->family == 6) {
        memcpy(s->ip, a->ip, 16);
        s->scope = a->scope;
        return 28;
    }
    memcpy(s->flow, a->ip, 4);
    return 16;
}

static void conc__sockaddr_read(const conc__sockaddr *s, conc_address *a) {
    uint16_t family;
    memcpy(&family, s->family, 2);
    memset(a, 0, sizeof *a);
    if (family == CONC__WS_INET6) {
        a->family = 6;
        memcpy(a->ip, s->ip, 16);
        a->scope = s->scope;
    } else if (family == CONC__WS_INET) {
        a->family = 4;
        memcpy(a->ip, s->flow, 4);
    }
    a->port = (uint16_t)((unsigned)s->port[0] << 8 | s->port[1]);
}

int CONC__PORT(socket)(unsigned family, bool stream, intptr_t *fd) {
    DWORD saved = GetLastError(), got;
    ULONG on = 1;
    BOOL off = FALSE;
    conc__ws_socket s;
    int e = conc__ws_begin();
    *fd = -1;
    if (e == 0) e = CONC__FAULT("WSASocketW", WSAEMFILE, WSAENOBUFS);
    if (e != 0) return e;
    s = conc__ws.p_WSASocketW(family == 6 ? CONC__WS_INET6 : CONC__WS_INET, stream ? CONC__WS_STREAM : CONC__WS_DGRAM, 0,
                              NULL, 0, 0x01 | 0x80 /* OVERLAPPED, NO_HANDLE_INHERIT */);
    if (s == CONC__WS_NONE) return conc__ws_end(-1, saved);
    e = conc__ws_end(conc__ws.p_ioctlsocket(s, (long)0x8004667EL /* FIONBIO */, &on), saved);
    if (e != 0) {
        (void)conc__ws.p_closesocket(s);
        SetLastError(saved);
        return e;
    }
    if (!stream) { /* or an answer "nobody here" to something sent would be an error of receiving */
        (void)conc__ws.p_WSAIoctl(s, 0x9800000CU /* SIO_UDP_CONNRESET */, &off, sizeof off, NULL, 0, &got, NULL, NULL);
        SetLastError(saved);
    }
    *fd = (intptr_t)s;
    return 0;
}

/* For a process that has not begun yet. The receipt (a WSAPROTOCOL_INFOW, 628 bytes) is good for one opening. (A handle that is just
 * inherited is a socket as well, to Windows; to Wine it is not.) */
int conc__port_socket_pass(intptr_t fd, long pid, void *passed) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("WSADuplicateSocketW", WSAEMFILE, WSAENOBUFS);
    return e != 0 ? e : conc__ws_end(conc__ws.p_WSADuplicateSocketW((conc__ws_socket)fd, (DWORD)pid, passed) != 0 ? -1 : 0, saved);
}

int conc__port_socket_passed(const void *passed, intptr_t *fd) {
    DWORD saved = GetLastError();
    uint64_t receipt[CONC__PORT_PASSED / 8];
    ULONG on = 1;
    conc__ws_socket s;
    int e = conc__ws_begin();
    *fd = -1;
    if (e != 0) return e;
    memcpy(receipt, passed, sizeof receipt);
    s = conc__ws.p_WSASocketW(-1, -1, -1, receipt, 0, 0x01 | 0x80 /* OVERLAPPED, NO_HANDLE_INHERIT */);
    if (s == CONC__WS_NONE) return conc__ws_end(-1, saved);
    e = conc__ws_end(conc__ws.p_ioctlsocket(s, (long)0x8004667EL /* FIONBIO */, &on), saved);
    if (e == 0) *fd = (intptr_t)s;
    else conc__port_socket_close((intptr_t)s);
    return e;
}

void conc__port_socket_close(intptr_t fd) {
    DWORD saved = GetLastError();
    if (fd != -1) (void)conc__ws.p_closesocket((conc__ws_socket)fd);
    SetLastError(saved);
}

int conc__port_socket_bind(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int size = conc__sockaddr_make(&s, a), e = CONC__FAULT("bind", WSAEADDRINUSE, WSAEACCES);
    return e != 0 ? e : conc__ws_end(conc__ws.p_bind((conc__ws_socket)fd, &s, size), saved);
}

int conc__port_socket_listen(intptr_t fd, int backlog) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("listen", WSAEADDRINUSE);
    return e != 0 ? e : conc__ws_end(conc__ws.p_listen((conc__ws_socket)fd, backlog), saved);
}

int conc__port_socket_accept(intptr_t fd, intptr_t *conn, conc_address *peer) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    ULONG on = 1;
    int size = (int)sizeof s, e = CONC__FAULT("accept", WSAEMFILE, WSAECONNABORTED, WSAENOBUFS);
    conc__ws_socket c;
    *conn = -1;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    c = conc__ws.p_accept((conc__ws_socket)fd, &s, &size);
    if (c == CONC__WS_NONE) {
        e = conc__ws_end(-1, saved);
        return e == WSAECONNRESET ? WSAECONNABORTED : e;
    }
    (void)SetHandleInformation((HANDLE)c, HANDLE_FLAG_INHERIT, 0);
    e = conc__ws_end(conc__ws.p_ioctlsocket(c, (long)0x8004667EL, &on), saved);
    if (e != 0) {
        conc__port_socket_close((intptr_t)c);
        return e;
    }
    if (peer != NULL) conc__sockaddr_read(&s, peer);
    *conn = (intptr_t)c;
    return 0;
}

int conc__port_socket_connect(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int size = conc__sockaddr_make(&s, a), e = CONC__FAULT("connect", WSAECONNREFUSED, WSAENETUNREACH, WSAEADDRNOTAVAIL);
    if (e == 0) e = conc__ws_end(conc__ws.p_connect((conc__ws_socket)fd, &s, size), saved);
    if (e == WSAEISCONN) return 0;
    return e == WSAEWOULDBLOCK || e == WSAEINPROGRESS || e == WSAEALREADY ? CONC__PORT_IN_PROGRESS : e;
}

int conc__port_socket_connected(intptr_t fd) {
    DWORD saved = GetLastError();
    int value = 0, size = (int)sizeof value, e = CONC__FAULT("getsockopt: SO_ERROR", WSAETIMEDOUT, WSAEHOSTUNREACH);
    if (e == 0) {
        e = conc__ws_end(conc__ws.p_getsockopt((conc__ws_socket)fd, CONC__WS_SOL_SOCKET, 0x1007, &value, &size), saved);
    }
    return e != 0 ? e : value;
}

static int conc__ws_size(size_t size) {
    return size > INT32_MAX ? INT32_MAX : (int)size;
}

int conc__port_socket_send(intptr_t fd, const void *data, size_t size, size_t *done) {
    DWORD saved = GetLastError();
    int n, e = CONC__FAULT("send", WSAECONNRESET, WSAENOBUFS);
    *done = 0;
    if (e != 0) return e;
    n = conc__ws.p_send((conc__ws_socket)fd, data, conc__ws_size(size), 0);
    if (n > 0) *done = (size_t)n;
    return conc__ws_end(n, saved);
}

int conc__port_socket_receive(intptr_t fd, void *buffer, size_t size, size_t *done) {
    DWORD saved = GetLastError();
    int n, e = CONC__FAULT("recv", WSAECONNRESET, WSAENOBUFS);
    *done = 0;
    if (e != 0) return e;
    n = conc__ws.p_recv((conc__ws_socket)fd, buffer, conc__ws_size(size), 0);
    if (n > 0) *done = (size_t)n;
    return conc__ws_end(n, saved);
}

int conc__port_socket_send_to(intptr_t fd, const void *data, size_t size, const conc_address *to, size_t *done) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int length = to != NULL ? conc__sockaddr_make(&s, to) : 0, n, e = CONC__FAULT("sendto", WSAENOBUFS, WSAEHOSTUNREACH);
    *done = 0;
    if (e != 0) return e;
    n = conc__ws.p_sendto((conc__ws_socket)fd, data, conc__ws_size(size), 0, to != NULL ? &s : NULL, length);
    if (n > 0) *done = (size_t)n;
    return conc__ws_end(n, saved);
}

int conc__port_socket_receive_from(intptr_t fd, void *buffer, size_t size, conc_address *from, size_t *done, bool *cut) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int length = (int)sizeof s, n, e = CONC__FAULT("recvfrom", WSAECONNRESET, WSAENOBUFS);
    *done = 0;
    *cut = false;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    n = conc__ws.p_recvfrom((conc__ws_socket)fd, buffer, conc__ws_size(size), 0, &s, &length);
    e = conc__ws_end(n, saved);
    if (e == WSAEMSGSIZE) {
        *cut = true;
        n = conc__ws_size(size);
        e = 0;
    }
    if (n > 0) *done = (size_t)n;
    if (e == 0 && from != NULL) conc__sockaddr_read(&s, from);
    return e;
}

int conc__port_socket_shutdown(intptr_t fd, unsigned sides) {
    DWORD saved = GetLastError();
    int how = sides == CONC__PORT_READ ? 0 : sides == CONC__PORT_WRITE ? 1 : 2;
    return conc__ws_end(conc__ws.p_shutdown((conc__ws_socket)fd, how), saved);
}

int conc__port_socket_name(intptr_t fd, bool peer, conc_address *a) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int size = (int)sizeof s, e = CONC__FAULT("getsockname", WSAENOBUFS);
    memset(&s, 0, sizeof s);
    if (e == 0) {
        e = conc__ws_end(peer ? conc__ws.p_getpeername((conc__ws_socket)fd, &s, &size)
                              : conc__ws.p_getsockname((conc__ws_socket)fd, &s, &size),
                         saved);
    }
    conc__sockaddr_read(&s, a);
    return e;
}

int conc__port_socket_option(intptr_t fd, conc__port_option option, int value) {
    DWORD saved = GetLastError();
    int level = CONC__WS_SOL_SOCKET, name = 0, e = CONC__FAULT("setsockopt", WSAENOPROTOOPT);
    switch (option) {
    case CONC__PORT_REUSE_ADDRESS: name = ~4; break; /* EXCLUSIVEADDRUSE: what the other is elsewhere is always so here, and
                                                        what is called so here would share the port with anybody */
    case CONC__PORT_V6_ONLY:
        level = 41;
        name = 27;
        break;
    case CONC__PORT_NO_DELAY:
        level = 6;
        name = 1;
        break;
    case CONC__PORT_KEEP_ALIVE: name = 8; break;
    case CONC__PORT_BROADCAST: name = 0x20; break;
    case CONC__PORT_SEND_BUFFER: name = 0x1001; break;
    case CONC__PORT_RECEIVE_BUFFER: name = 0x1002; break;
    case CONC__PORT_REUSE_PORT:
    case CONC__PORT_OPTIONS:
    default: break;
    }
    if (e != 0) return e;
    if (name == 0) return WSAENOPROTOOPT;
    return conc__ws_end(conc__ws.p_setsockopt((conc__ws_socket)fd, level, name, &value, (int)sizeof value), saved);
}

conc__port_kind conc__port_kind_of(int error) {
    switch (error) {
    case WSAEWOULDBLOCK: return CONC__PORT_WOULD_BLOCK;
    case WSAEMFILE: return CONC__PORT_TABLE_FULL;
    case WSAENOBUFS:
    case ERROR_NOT_ENOUGH_MEMORY: return CONC__PORT_NO_BUFFERS;
    case WSAENETDOWN: return CONC__PORT_ABORTED;
    case WSAECONNABORTED:
    case WSAECONNRESET:
    case WSAECONNREFUSED:
    case WSAENETRESET:
    case WSAESHUTDOWN:
    case WSAETIMEDOUT: return CONC__PORT_BROKEN;
    default: return CONC__PORT_OTHER;
    }
}

/* ---- signals ---------------------------------------------------------------------------------------------------
 * A socket that sends datagrams to itself; being connected, it hears nobody else. One that has not been received holds as
 * many signals as come until then, so it does no harm if more find no room. */

int CONC__PORT(signal_open)(conc__port_signal *s) {
    conc_address a;
    int e;
    memset(&a, 0, sizeof a);
    a.family = 4;
    a.ip[0] = 127;
    a.ip[3] = 1;
    s->fd[1] = -1;
    e = conc__port_socket(4, false, &s->fd[0]);
    if (e == 0) e = conc__port_socket_bind(s->fd[0], &a);
    if (e == 0) e = conc__port_socket_name(s->fd[0], false, &a);
    if (e == 0) e = conc__port_socket_connect(s->fd[0], &a);
    if (e != 0) conc__port_signal_close(s);
    return e;
}

void CONC__PORT(signal_close)(conc__port_signal *s) {
    conc__port_socket_close(s->fd[0]);
    s->fd[0] = -1;
}

void CONC__PORT(signal_raise)(conc__port_signal *s) {
    DWORD saved = GetLastError();
    unsigned tries = 0;
    /* Another thread's call on the socket may be in the way (Wine's sockets answer so); a signal that is lost is a hang. */
    while (conc__ws.p_send((conc__ws_socket)s->fd[0], "", 1, 0) < 0 && GetLastError() == WSAEWOULDBLOCK && ++tries < 1000000) {
        conc__port_yield();
    }
    SetLastError(saved);
}

void CONC__PORT(signal_clear)(conc__port_signal *s) {
    DWORD saved = GetLastError();
    char c[8];
    while (conc__ws.p_recv((conc__ws_socket)s->fd[0], c, (int)sizeof c, 0) > 0) {
    }
    SetLastError(saved);
}

/* ---- poll -------------------------------------------------------------------------------------------------------- */

/* Which of them are no sockets: WSAPoll() may refuse them all for one of them. */
static int conc__ws_find_bad(conc__port_pollfd *fds, size_t n) {
    size_t i;
    int bad = 0;
    for (i = 0; i < n; i++) {
        int type, size = (int)sizeof type;
        if (fds[i].fd != -1 && conc__ws.p_getsockopt((conc__ws_socket)fds[i].fd, CONC__WS_SOL_SOCKET, 0x1008, &type, &size) != 0) {
            fds[i].got = CONC__PORT_BAD;
            bad++;
        }
    }
    return bad;
}

/* As in conc__port_wait(), it is our clock that decides whether the deadline has passed. */
int CONC__PORT(poll_in)(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    conc__ws_pollfd *p = (conc__ws_pollfd *)scratch;
    DWORD saved = GetLastError();
    size_t i, count = 0;
    int e, ready = 0;
    *error = 0;
    e = CONC__FAULT_PARTLY("poll", WSAEINTR, WSAENOBUFS);
    if (e == 0 && n != 0) e = conc__ws_begin();
    if (e != 0) {
        for (i = 0; i < n; i++) fds[i].got = 0;
        *error = e;
        return e == WSAEINTR ? 0 : -1;
    }
    for (;;) {
        int64_t left = INT64_MAX;
        int ms = -1, answer;
        if (deadline_ns != INT64_MAX) {
            int64_t now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns();
            left = deadline_ns > now ? deadline_ns - now : 0;
            ms = left / 1000000 >= 0x7ffffff0 ? 0x7ffffff0 : (int)(left / 1000000 + (left % 1000000 != 0));
        }
        for (i = count = 0; i < n; i++) {
            fds[i].got = 0;
            if (fds[i].fd == -1) continue; /* WSAPoll() would call them invalid */
            p[count].fd = (conc__ws_socket)fds[i].fd;
            p[count].events = (SHORT)(((fds[i].want & CONC__PORT_READ) != 0 ? CONC__WS_POLLIN : 0) |
                                      ((fds[i].want & CONC__PORT_WRITE) != 0 ? CONC__WS_POLLOUT : 0));
            p[count].revents = 0;
            count++;
        }
        if (count == 0) { /* it does not just sleep */
            Sleep(ms < 0 ? INFINITE : (DWORD)ms);
            answer = 0;
        } else {
            answer = conc__ws.p_WSAPoll(p, (ULONG)count, ms);
        }
        if (answer == -1) {
            e = conc__ws_end(-1, saved);
            ready = e == WSAENOTSOCK ? conc__ws_find_bad(fds, n) : 0;
            if (ready == 0) {
                *error = e;
                ready = e == WSAEINTR ? 0 : -1;
            }
            break;
        }
        for (i = count = 0; answer > 0 && i < n; i++) {
            int got;
            if (fds[i].fd == -1) continue;
            got = p[count++].revents;
            fds[i].got = ((got & CONC__WS_POLLIN) != 0 ? CONC__PORT_READ : 0) |
                         ((got & CONC__WS_POLLOUT) != 0 ? CONC__PORT_WRITE : 0) |
                         ((got & (CONC__WS_POLLERR | CONC__WS_POLLHUP)) != 0 ? CONC__PORT_HUP : 0) |
                         ((got & CONC__WS_POLLNVAL) != 0 ? CONC__PORT_BAD : 0);
            if (fds[i].got != 0) ready++;
        }
        if (ready != 0 || left == 0 || (deadline_ns != INT64_MAX && conc__port_clock_ns() >= deadline_ns)) break;
    }
    SetLastError(saved);
    return ready;
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

conc__port_found CONC__PORT(lookup)(const char *host, unsigned port, conc_address *list, size_t n, size_t *found, char *text,
                                    size_t size) {
    conc__ws_addrinfo hints, *all = NULL, *a;
    WCHAR name[256];
    DWORD saved = GetLastError();
    int e = conc__ws_begin(), i;
    *found = 0;
    if (e == 0) e = CONC__FAULT("GetAddrInfoW", WSATRY_AGAIN, ERROR_NOT_ENOUGH_MEMORY);
    if (e == 0 && MultiByteToWideChar(CP_UTF8, 0, host, -1, name, 256) == 0) e = WSAHOST_NOT_FOUND;
    memset(&hints, 0, sizeof hints);
    hints.socktype = CONC__WS_STREAM;
    if (e == 0) e = conc__ws.p_GetAddrInfoW(name, NULL, &hints, &all);
    SetLastError(saved);
    if (e != 0) {
        (void)conc__port_error_text(e, text, size);
        if (e == ERROR_NOT_ENOUGH_MEMORY) return CONC__PORT_LOOKUP_MEMORY;
        return e == WSAHOST_NOT_FOUND || e == WSANO_DATA ? CONC__PORT_UNKNOWN_HOST : CONC__PORT_LOOKUP_FAILED;
    }
    for (a = all; a != NULL && *found < n; a = a->next) {
        conc__sockaddr s;
        if ((a->family != CONC__WS_INET && a->family != CONC__WS_INET6) || a->length > sizeof s) continue;
        memset(&s, 0, sizeof s);
        memcpy(&s, a->address, a->length);
        i = (int)(*found)++;
        conc__sockaddr_read(&s, &list[i]);
        list[i].port = (uint16_t)port;
    }
    conc__ws.p_FreeAddrInfoW(all);
    SetLastError(saved);
    return CONC__PORT_FOUND;
}

#endif /* CONC_OS_WINDOWS */
