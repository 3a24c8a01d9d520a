/* ============================================================================================
 * net: see net.h.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>

#define CONC__READS_SIDE 0u
#define CONC__WRITES_SIDE 1u

/* ---- addresses: text ----------------------------------------------------------------------------- */

/* A decimal number up to `most`, at **text, which moves behind it. */
static bool conc__parse_number(const char **text, unsigned long most, unsigned long *n) {
    const char *c = *text;
    *n = 0;
    if (*c < '0' || *c > '9') return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        *n = *n * 10 + (unsigned long)(*c - '0');
        if (*n > most) return false;
    }
    *text = c;
    return true;
}

static bool conc__parse_v4(const char **text, uint8_t *ip) {
    const char *c = *text;
    unsigned long n;
    int i;
    for (i = 0; i < 4; i++) {
        if (i > 0 && *c++ != '.') return false;
        if (c[0] == '0' && c[1] >= '0' && c[1] <= '9') return false; /* octal, to some */
        if (!conc__parse_number(&c, 255, &n)) return false;
        ip[i] = (uint8_t)n;
    }
    *text = c;
    return true;
}

static int conc__hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool conc__parse_v6(const char **text, uint8_t *ip) {
    const char *c = *text;
    uint8_t bytes[16];
    size_t n = 0, gap = 17; /* where "::" stands */
    memset(bytes, 0, sizeof bytes);
    if (c[0] == ':' && c[1] == ':') {
        gap = 0;
        c += 2;
    }
    while (n < 16 && conc__hex_digit(*c) >= 0) {
        const char *group = c;
        unsigned value = 0;
        int digits;
        for (digits = 0; digits < 4 && conc__hex_digit(*c) >= 0; digits++) value = value * 16 + (unsigned)conc__hex_digit(*c++);
        if (*c == '.') { /* the last four bytes as of version 4 */
            if (n > 12 || !conc__parse_v4(&group, &bytes[n])) return false;
            c = group;
            n += 4;
            break;
        }
        bytes[n++] = (uint8_t)(value >> 8);
        bytes[n++] = (uint8_t)(value & 0xffu);
        if (c[0] != ':' || n == 16) break;
        if (c[1] == ':') {
            if (gap <= 16) return false;
            gap = n;
            c += 2;
        } else {
            if (conc__hex_digit(c[1]) < 0) return false;
            c++;
        }
    }
    if (gap <= 16 ? n > 14 : n != 16) return false;
    memset(ip, 0, 16);
    if (gap > 16) gap = n;
    memcpy(ip, bytes, gap);
    memcpy(ip + 16 - (n - gap), bytes + gap, n - gap);
    *text = c;
    return true;
}

static bool conc__parse_address(const char *text, unsigned port, conc_address *a) {
    const char *c = text;
    unsigned long n;
    bool bracket = *c == '[';
    memset(a, 0, sizeof *a);
    a->port = (uint16_t)port;
    if (!bracket && conc__parse_v4(&c, a->ip)) {
        a->family = 4;
    } else {
        memset(a->ip, 0, sizeof a->ip);
        c = text + (bracket ? 1 : 0);
        if (!conc__parse_v6(&c, a->ip)) return false;
        if (*c == '%') {
            c++;
            if (!conc__parse_number(&c, UINT32_MAX, &n)) return false;
            a->scope = (uint32_t)n;
        }
        if (bracket && *c++ != ']') return false;
        a->family = 6;
    }
    if (*c == ':' && (a->family == 4 || bracket)) {
        c++;
        if (!conc__parse_number(&c, 65535, &n)) return false;
        a->port = (uint16_t)n;
    }
    return *c == '\0';
}

conc_result conc_address_parse(const char *text, unsigned port, conc_address *address) {
    conc_address a;
    if (text == NULL || address == NULL) return conc__fail(CONC_INVALID, "conc_address_parse: no text or no address");
    if (port > 65535) return conc__fail(CONC_INVALID, "conc_address_parse: %u is no port: they end at 65535", port);
    if (!conc__parse_address(text, port, &a)) {
        return conc__fail(CONC_INVALID, "conc_address_parse: \"%.100s\" is no address in numbers", text);
    }
    *address = a;
    return CONC_OK;
}

/* As RFC 5952 wants it: the longest run of zeros is left out. */
static void conc__text_v6(const uint8_t *ip, char *text, size_t size) {
    int i, run = 0, best = -1, best_length = 1;
    size_t n = 0;
    for (i = 0; i < 8; i++) {
        run = ip[2 * i] == 0 && ip[2 * i + 1] == 0 ? run + 1 : 0;
        if (run > best_length) {
            best_length = run;
            best = i - run + 1;
        }
    }
    for (i = 0; i < 8 && n < size; i++) {
        if (i == best) {
            n += (size_t)snprintf(text + n, size - n, "::");
            i += best_length - 1;
            continue;
        }
        n += (size_t)snprintf(text + n, size - n, "%s%x", i == 0 || (best >= 0 && i == best + best_length) ? "" : ":",
                              (unsigned)ip[2 * i] << 8 | ip[2 * i + 1]);
    }
}

const char *conc_address_text(const conc_address *a, char *buffer, size_t size) {
    char text[44], scope[16] = "";
    if (buffer == NULL || size == 0) return "";
    if (a != NULL && a->family == 4) {
        (void)snprintf(buffer, size, "%u.%u.%u.%u:%u", a->ip[0], a->ip[1], a->ip[2], a->ip[3], a->port);
    } else if (a != NULL && a->family == 6) {
        conc__text_v6(a->ip, text, sizeof text);
        if (a->scope != 0) (void)snprintf(scope, sizeof scope, "%%%lu", (unsigned long)a->scope);
        (void)snprintf(buffer, size, "[%s%s]:%u", text, scope, a->port);
    } else {
        (void)snprintf(buffer, size, "none");
    }
    return buffer;
}

unsigned conc_address_port(const conc_address *address) {
    return address != NULL ? address->port : 0;
}

bool conc_address_equal(const conc_address *a, const conc_address *b) {
    return a != NULL && b != NULL && a->family == b->family && a->port == b->port && a->scope == b->scope &&
           memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

/* A socket of version 6 that speaks 4 as well names the others' addresses so: ::ffff:1.2.3.4. */
static const uint8_t conc__mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void conc__address_unmap(conc_address *a) {
    if (a->family != 6 || memcmp(a->ip, conc__mapped, 12) != 0) return;
    memmove(a->ip, a->ip + 12, 4);
    memset(a->ip + 4, 0, 12);
    a->family = 4;
    a->scope = 0;
}

static conc_address conc__address_for(unsigned family, const conc_address *a) {
    conc_address mapped = *a;
    if (family == 6 && a->family == 4) {
        memcpy(mapped.ip, conc__mapped, 12);
        memcpy(mapped.ip + 12, a->ip, 4);
        mapped.family = 6;
    }
    return mapped;
}

/* ---- addresses: names ------------------------------------------------------------------------------- */

/* What is offloaded: the call blocks, and touches nothing but *arg. */
static int conc__lookup_run(void *arg) {
    conc_host *h = (conc_host *)arg;
    h->conc__answer = (int)conc__port_lookup(h->name, h->port, h->list, sizeof h->list / sizeof h->list[0], &h->found,
                                             h->conc__text, sizeof h->conc__text);
    return 0;
}

static conc_result conc__lookup_finish(void *arg) {
    const conc_host *h = (const conc_host *)arg;
    if (h->conc__answer == (int)CONC__PORT_FOUND && h->found > 0) return CONC_OK;
    return conc__fail(h->conc__answer == (int)CONC__PORT_LOOKUP_MEMORY ? CONC_NO_MEMORY : CONC_SYSTEM,
                      "cannot find host \"%.100s\": %s", h->name,
                      h->conc__answer == (int)CONC__PORT_FOUND ? "it has no address of the internet" : h->conc__text);
}

static conc_result conc__lookup_attempt(conc_op *op) {
    conc_host *h = (conc_host *)op->data;
    if (h == NULL) return conc__fail(CONC_INVALID, "conc_lookup: no host, or no place for its addresses");
    h->found = 0;
    if (h->port > 65535) return conc__fail(CONC_INVALID, "conc_lookup: %u is no port: they end at 65535", h->port);
    if (memchr(h->name, '\0', sizeof h->name) == NULL) return conc__fail(CONC_INVALID, "conc_lookup: a name of over 255 bytes");
    if (!conc__parse_address(h->name, h->port, h->list)) return CONC_PENDING;
    h->found = 1;
    return CONC_OK;
}

static bool conc__lookup_arm(conc_op *op, conc_node *node) {
    return conc__offload_arm_new(op, node, conc__lookup_run, sizeof(conc_host), conc__lookup_finish);
}

conc_op conc_op_lookup(conc_host *host) {
    static const conc_op_class cls = { "lookup", CONC_BUSY, conc__lookup_attempt, conc__lookup_arm, NULL, NULL };
    return conc_op_make(&cls, NULL, host);
}

conc_result conc_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                        conc_deadline deadline) {
    conc_host h;
    conc_op op = conc_op_lookup(&h);
    conc_result r;
    if (found != NULL) *found = 0;
    if (host == NULL || list == NULL || n == 0 || found == NULL) {
        return conc__fail(CONC_INVALID, "conc_lookup: no host, or no place for its addresses");
    }
    memset(&h, 0, sizeof h);
    memset(h.name, 'x', sizeof h.name); /* if it is too long, there is no end */
    memcpy(h.name, host, strlen(host) < sizeof h.name ? strlen(host) + 1 : sizeof h.name);
    h.port = port;
    r = conc__lookup_attempt(&op);
    if (r == CONC_PENDING && conc_deadline_passed(deadline)) return CONC_TIMEOUT;
    if (r == CONC_PENDING && deadline.ns == INT64_MAX && conc_cancel_current() == NULL) {
        (void)conc__lookup_run(&h);
        r = conc__lookup_finish(&h);
    } else if (r == CONC_PENDING) {
        r = conc__wait_op(&op, deadline);
    }
    if (r != CONC_OK) return r;
    *found = h.found < n ? h.found : n;
    memcpy(list, h.list, *found * sizeof *list);
    return CONC_OK;
}

/* ---- the socket ----------------------------------------------------------------------------------------- */

struct conc_socket {
    uint32_t closed;     /* atomic; 1 from conc_socket_close() on. First: conc__polled_arm() looks at it */
    uint32_t number;     /* constant; see CONC__POLLED() */
    int32_t fd;          /* constant; open until the socket is freed. (Windows' handles have 32 bits that count) */
    uint32_t connecting; /* atomic, one of CONC__CONNECT_...; of tcp alone */
    uint8_t family;      /* constant, as all that follow: 4 or 6 */
    bool stream, listens;
    uint32_t reserve;    /* atomic; of a listener: a descriptor + 1 that it keeps for when there are no more; 0: none */
};

#define CONC__CONNECT_NOT 0u
#define CONC__CONNECT_STARTED 1u
#define CONC__CONNECT_DONE 2u
#define CONC__CONNECT_FAILED 3u
#define CONC__CONNECT_STARTS 4u /* the system is being asked to */

static uint32_t conc__socket_numbers; /* atomic; publishes nothing */

uint32_t conc__polled_number_new(void) {
    uint32_t number;
    do {
        number = conc__add32(&conc__socket_numbers, 1, CONC__RELAXED) + 1;
    } while (number == 0);
    return number;
}

static conc_result conc__net_result(int e) {
    switch (conc__port_kind_of(e)) {
    case CONC__PORT_BROKEN: return CONC_BROKEN;
    case CONC__PORT_NO_BUFFERS: return CONC_NO_MEMORY;
    case CONC__PORT_TABLE_FULL: return CONC_REJECTED;
    case CONC__PORT_OTHER:
    case CONC__PORT_WOULD_BLOCK:
    case CONC__PORT_ABORTED:
    default: return CONC_SYSTEM;
    }
}

static bool conc__socket_is_closed(const conc_socket *s) {
    return conc__load32(&s->closed, CONC__ACQUIRE) != 0;
}

/* What a failed call on the socket comes to: of one that has been closed meanwhile, that. */
static conc_result conc__socket_fail(const conc_socket *s, int e, const char *what) {
    return conc__socket_is_closed(s) ? CONC_CLOSED : conc__fail_system(conc__net_result(e), e, what);
}

/* Makes a socket of a descriptor; without memory, closes it and says so. */
static conc_socket *conc__socket_of(intptr_t fd, unsigned family, bool stream) {
    conc_socket *s = (conc_socket *)conc__alloc(1, sizeof *s, "a socket");
    if (s == NULL) {
        conc__port_socket_close(fd);
        return NULL;
    }
    s->number = conc__polled_number_new();
    s->fd = (int32_t)fd;
    s->family = (uint8_t)family;
    s->stream = stream;
    return s;
}

static conc_socket *conc__socket_open(unsigned family, bool stream, const char *what) {
    intptr_t fd = -1;
    int e;
    if (family != 4 && family != 6) {
        (void)conc__fail(CONC_INVALID, "%s: %u is no version of the internet protocol: 4 or 6", what, family);
        return NULL;
    }
    e = conc__port_socket(family, stream, &fd);
    if (e == 0 && family == 6 && !stream) (void)conc__port_socket_option(fd, CONC__PORT_V6_ONLY, 0);
    if (e != 0) {
        (void)conc__fail_system(conc__net_result(e), e, what);
        return NULL;
    }
    return conc__socket_of(fd, family, stream);
}

conc_socket *conc_tcp_open(unsigned family) {
    return conc__socket_open(family, true, "cannot open a socket");
}

conc_socket *conc_udp_open(unsigned family) {
    return conc__socket_open(family, false, "cannot open a socket");
}

intptr_t conc_socket_fd(const conc_socket *s) {
    return s != NULL ? s->fd : -1;
}

static conc_result conc__socket_name(const conc_socket *s, bool peer, conc_address *address, const char *what) {
    int e;
    if (s == NULL || address == NULL) return conc__fail(CONC_INVALID, "%s: no socket or no place for the address", what);
    e = conc__port_socket_name(s->fd, peer, address);
    if (e != 0) {
        memset(address, 0, sizeof *address);
        return conc__fail_system(conc__net_result(e), e, what);
    }
    conc__address_unmap(address);
    return CONC_OK;
}

conc_result conc_socket_address(const conc_socket *s, conc_address *address) {
    return conc__socket_name(s, false, address, "conc_socket_address");
}

conc_result conc_socket_peer(const conc_socket *s, conc_address *address) {
    return conc__socket_name(s, true, address, "conc_socket_peer");
}

conc_result conc_socket_set(conc_socket *s, conc_socket_option option, int value) {
    conc__port_option o = CONC__PORT_OPTIONS;
    int e;
    if (s == NULL) return conc__fail(CONC_INVALID, "conc_socket_set: no socket");
    switch (option) {
    case CONC_NO_DELAY: o = CONC__PORT_NO_DELAY; break;
    case CONC_KEEP_ALIVE: o = CONC__PORT_KEEP_ALIVE; break;
    case CONC_BROADCAST: o = CONC__PORT_BROADCAST; break;
    case CONC_SEND_BUFFER: o = CONC__PORT_SEND_BUFFER; break;
    case CONC_RECEIVE_BUFFER: o = CONC__PORT_RECEIVE_BUFFER; break;
    default: break;
    }
    if (o == CONC__PORT_OPTIONS) return conc__fail(CONC_INVALID, "conc_socket_set: no option %d", (int)option);
    e = conc__port_socket_option(s->fd, o, value);
    return e == 0 ? CONC_OK : conc__socket_fail(s, e, "conc_socket_set");
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

conc_result conc_socket_shutdown(conc_socket *s) {
    int e;
    if (s == NULL) return conc__fail(CONC_INVALID, "conc_socket_shutdown: no socket");
    if (conc__socket_is_closed(s)) return CONC_CLOSED;
    e = conc__port_socket_shutdown(s->fd, CONC__PORT_WRITE);
    return e == 0 ? CONC_OK : conc__socket_fail(s, e, "conc_socket_shutdown");
}

/* Whoever is in the table by now is woken; whoever enters it later sees, under the same lock, that it is closed. */
conc_result conc_socket_close(conc_socket *s) {
    if (s == NULL) return conc__fail(CONC_INVALID, "conc_socket_close: no socket");
    if (conc__swap32(&s->closed, 1, CONC__ACQ_REL) != 0) return CONC_OK;
    (void)conc__port_socket_shutdown(s->fd, CONC__PORT_READ | CONC__PORT_WRITE); /* one that is not connected has no sides */
    (void)conc__wake_waiters(conc__polled_key(s->fd, CONC__READS_SIDE), CONC__ANY_TAG, CONC_ALL);
    (void)conc__wake_waiters(conc__polled_key(s->fd, CONC__WRITES_SIDE), CONC__ANY_TAG, CONC_ALL);
    return CONC_OK;
}

/* Puts a descriptor aside, if there is one to be had. */
static int conc__socket_reserve(conc_socket *s) {
    intptr_t fd;
    uint32_t before;
    int e = conc__port_socket(s->family, false, &fd);
    if (e != 0) return e;
    before = conc__swap32(&s->reserve, (uint32_t)fd + 1, CONC__ACQ_REL);
    if (before != 0) conc__port_socket_close((intptr_t)before - 1);
    return 0;
}

static bool conc__socket_let_reserve_go(conc_socket *s) {
    uint32_t reserve = conc__swap32(&s->reserve, 0, CONC__ACQ_REL);
    if (reserve != 0) conc__port_socket_close((intptr_t)reserve - 1);
    return reserve != 0;
}

conc_result conc_socket_free(conc_socket *s) {
    if (s == NULL) return CONC_OK;
    if (conc__is_waited_for(conc__polled_key(s->fd, CONC__READS_SIDE)) ||
        conc__is_waited_for(conc__polled_key(s->fd, CONC__WRITES_SIDE))) {
        (void)conc_socket_close(s);
        return conc__fail(CONC_BUSY, "conc_socket_free: somebody waits on the socket");
    }
    conc__port_socket_close(s->fd);
    (void)conc__socket_let_reserve_go(s);
    conc__free(s);
    return CONC_OK;
}

/* ---- binding -------------------------------------------------------------------------------------------------- */

static int conc__bind_one(intptr_t fd, const conc_address *a, bool stream, bool both, const conc_listen_desc *desc) {
    int e = 0;
    if (a->family == 6) (void)conc__port_socket_option(fd, CONC__PORT_V6_ONLY, !both);
    if (stream) e = conc__port_socket_option(fd, CONC__PORT_REUSE_ADDRESS, 1);
    if (e == 0 && desc->reuse_port) e = conc__port_socket_option(fd, CONC__PORT_REUSE_PORT, 1);
    if (e == 0) e = conc__port_socket_bind(fd, a);
    if (e == 0 && stream) e = conc__port_socket_listen(fd, desc->backlog > 0 ? desc->backlog : 128);
    return e;
}

/* The first of the addresses that can be had. */
static conc_socket *conc__bind(const char *host, unsigned port, bool stream, const conc_listen_desc *desc) {
    const char *what = stream ? "cannot listen on" : "cannot receive at";
    conc_address list[8];
    char text[CONC_ADDRESS_TEXT], whole[CONC_ADDRESS_TEXT + 32];
    size_t n = 0, i, failed = 0;
    int e = 0;
    if (port > 65535) {
        (void)conc__fail(CONC_INVALID, "%s port %u: they end at 65535", what, port);
        return NULL;
    }
    if (host == NULL) {
        memset(list, 0, sizeof list);
        list[0].family = 6;
        list[1].family = 4;
        list[0].port = list[1].port = (uint16_t)port;
        n = desc->v6_only ? 1 : 2;
    } else if (conc_lookup(host, port, list, 8, &n, CONC_FOREVER) != CONC_OK) {
        return NULL;
    }
    for (i = 0; i < n; i++) {
        intptr_t fd;
        int error = conc__port_socket(list[i].family, stream, &fd);
        if (error == 0) {
            error = conc__bind_one(fd, &list[i], stream, host == NULL && !desc->v6_only, desc);
            if (error == 0) {
                conc_socket *s = conc__socket_of(fd, list[i].family, stream);
                if (s == NULL || !stream) return s;
                s->listens = true;
                error = conc__socket_reserve(s);
                if (error == 0) return s;
                (void)conc_socket_free(s);
            } else {
                conc__port_socket_close(fd);
            }
        }
        /* Of a machine without version 6, what is told is how it went with 4. */
        e = error;
        failed = i;
        if (host == NULL && conc__net_result(error) != CONC_SYSTEM) break;
    }
    (void)snprintf(whole, sizeof whole, "%s %s", what, conc_address_text(&list[failed], text, sizeof text));
    (void)conc__fail_system(conc__net_result(e), e, whole);
    return NULL;
}

conc_socket *conc_tcp_listen(const char *host, unsigned port, const conc_listen_desc *desc) {
    conc_listen_desc none;
    memset(&none, 0, sizeof none);
    return conc__bind(host, port, true, desc != NULL ? desc : &none);
}

conc_socket *conc_udp_bind(const char *host, unsigned port) {
    conc_listen_desc none;
    memset(&none, 0, sizeof none);
    return conc__bind(host, port, false, &none);
}

/* ---- ops on sockets --------------------------------------------------------------------------------------------- */

/* What every attempt begins with. CONC_OK: go on. */
static conc_result conc__socket_ready(const conc_op *op) {
    const conc_socket *s = (const conc_socket *)op->object;
    if (s == NULL || op->data == NULL) return conc__fail(CONC_INVALID, "conc_op_%s: no socket or nothing to do", op->cls->name);
    if (conc__socket_is_closed(s)) return CONC_CLOSED;
    return conc__polled_may_be_ready(op->word) ? CONC_OK : CONC_PENDING;
}

static conc_op conc__socket_op(const conc_op_class *cls, conc_socket *s, void *data, unsigned side) {
    conc_op op = conc_op_make(cls, s, data);
    if (s != NULL) op.word = CONC__POLLED(s->fd, side, s->number);
    return op;
}

/* The op's answer to an error of the port: if there was nothing, the loop is told, and it waits. */
static conc_result conc__socket_error(const conc_op *op, int e, const char *what) {
    if (conc__port_would_block(e)) {
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    return conc__socket_fail((const conc_socket *)op->object, e, what);
}

/* ---- accepting ---------------------------------------------------------------------------------------------------- */

/* There are no more descriptors (the system says so before it looks whether there is a connection). One connection, if there is
 * one, is taken all the same, with the descriptor kept for this, and let go. If others have taken that one too, it waits: for a
 * connection, or for 10 ms. */
static conc_result conc__accept_none(conc_op *op, int e) {
    conc_socket *s = (conc_socket *)op->object;
    intptr_t fd = -1;
    int taken;
    if (!conc__socket_let_reserve_go(s)) {
        (void)conc__socket_reserve(s);
        op->due = conc_after(0.01);
        return CONC_PENDING;
    }
    taken = conc__port_socket_accept(s->fd, &fd, NULL);
    if (taken == 0) conc__port_socket_close(fd);
    (void)conc__socket_reserve(s);
    if (taken != 0 && conc__port_would_block(taken)) {
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    return conc__socket_fail(s, e, taken == 0 ? "a connection was accepted and closed" : "cannot accept a connection");
}

static conc_result conc__accept_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_socket **conn = (conc_socket **)op->data;
    conc_result r = conc__socket_ready(op);
    intptr_t fd;
    int e;
    if (conn != NULL) *conn = NULL;
    if (r != CONC_OK) return r;
    if (!s->listens) return conc__fail(CONC_INVALID, "conc_op_accept: the socket does not listen");
    e = conc__port_socket_accept(s->fd, &fd, NULL);
    switch (e == 0 ? CONC__PORT_OTHER : conc__port_kind_of(e)) {
    case CONC__PORT_TABLE_FULL: return conc__accept_none(op, e);
    case CONC__PORT_ABORTED:
    case CONC__PORT_BROKEN:
        if (conc__socket_is_closed(s)) return CONC_CLOSED;
        return conc__fail_system(CONC_BROKEN, e, "a connection was gone before it was accepted");
    case CONC__PORT_OTHER:
    case CONC__PORT_WOULD_BLOCK:
    case CONC__PORT_NO_BUFFERS:
    default: break;
    }
    if (e != 0) return conc__socket_error(op, e, "cannot accept a connection");
    *conn = conc__socket_of(fd, s->family, true);
    if (*conn == NULL) return CONC_NO_MEMORY;
    (*conn)->connecting = CONC__CONNECT_DONE;
    return CONC_OK;
}

conc_op conc_op_accept(conc_socket *listener, conc_socket **conn) {
    static const conc_op_class cls = { "accept", CONC_BUSY, conc__accept_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, listener, (void *)conn, CONC__READS_SIDE);
}

conc_result conc_accept(conc_socket *listener, conc_socket **conn, conc_deadline deadline) {
    conc_op op = conc_op_accept(listener, conn);
    return conc__wait_spun(&op, deadline, true);
}

/* ---- connecting ----------------------------------------------------------------------------------------------------- */

static conc_result conc__connect_fail(conc_socket *s, int e, const conc_address *a) {
    char text[CONC_ADDRESS_TEXT], what[CONC_ADDRESS_TEXT + 32];
    (void)snprintf(what, sizeof what, "cannot connect to %s", conc_address_text(a, text, sizeof text));
    conc__store32(&s->connecting, CONC__CONNECT_FAILED, CONC__RELEASE);
    if (conc__socket_is_closed(s)) return CONC_CLOSED;
    return conc__fail_system(conc__net_result(e) == CONC_NO_MEMORY ? CONC_NO_MEMORY : CONC_SYSTEM, e, what);
}

/* The first to come starts it; who finds it ended takes the system's answer. */
static conc_result conc__connect_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    const conc_address *a = (const conc_address *)op->data;
    uint32_t state = CONC__CONNECT_NOT;
    conc__port_pollfd look;
    conc_result ready = conc__socket_ready(op);
    int e = 0;
    if (ready != CONC_OK && ready != CONC_PENDING) return ready;
    if (s->listens || (a->family != 4 && a->family != 6)) {
        return conc__fail(CONC_INVALID, "conc_op_connect: %s", s->listens ? "the socket listens" : "no address");
    }
    if (!s->stream || conc__cas32(&s->connecting, &state, CONC__CONNECT_STARTS, CONC__ACQ_REL)) {
        conc_address to = conc__address_for(s->family, a);
        e = conc__port_socket_connect(s->fd, &to);
        if (s->stream) { /* others may wait for what comes of it already */
            conc__store32(&s->connecting, e == 0 ? CONC__CONNECT_DONE : CONC__CONNECT_STARTED, CONC__RELEASE);
            (void)conc__wake_waiters(conc__polled_key(s->fd, CONC__WRITES_SIDE), CONC__ANY_TAG, CONC_ALL);
        }
        if (e != 0 && e != CONC__PORT_IN_PROGRESS) return conc__connect_fail(s, e, a);
        if (e == 0) {
            conc__store32(&s->connecting, CONC__CONNECT_DONE, CONC__RELEASE);
            return CONC_OK;
        }
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    if (state == CONC__CONNECT_DONE) return CONC_OK;
    if (state == CONC__CONNECT_STARTS) return CONC_PENDING;
    if (state == CONC__CONNECT_FAILED) return conc__fail(CONC_SYSTEM, "conc_op_connect: this socket could not be connected before");
    if (ready == CONC_PENDING) return CONC_PENDING;
    look.fd = s->fd;
    look.want = CONC__PORT_WRITE;
    if (conc__port_poll(&look, 1, INT64_MIN, &e) <= 0) {
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    e = conc__port_socket_connected(s->fd);
    if (e != 0) return conc__connect_fail(s, e, a);
    conc__store32(&s->connecting, CONC__CONNECT_DONE, CONC__RELEASE);
    return CONC_OK;
}

conc_op conc_op_connect(conc_socket *s, const conc_address *address) {
    static const conc_op_class cls = { "connect", CONC_BUSY, conc__connect_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, (void *)(uintptr_t)address, CONC__WRITES_SIDE);
}

conc_socket *conc_tcp_connect(const char *host, unsigned port, conc_deadline deadline) {
    conc_address list[16];
    size_t n, i;
    conc_result r = conc_lookup(host, port, list, 16, &n, deadline);
    for (i = 0; r == CONC_OK && i < n; i++) {
        conc_deadline share = deadline;
        conc_socket *s = conc_tcp_open(list[i].family);
        if (s == NULL) {
            r = conc_error_result();
        } else {
            conc_op op = conc_op_connect(s, &list[i]);
            if (deadline.ns != INT64_MAX && deadline.ns != INT64_MIN) {
                int64_t now = conc_clock_ns();
                if (deadline.ns > now) share = conc_deadline_at(now + (deadline.ns - now) / (int64_t)(n - i));
            }
            r = conc__wait_spun(&op, share, true);
            if (r == CONC_OK) return s;
            (void)conc_socket_free(s);
        }
        if (i + 1 < n && (r == CONC_SYSTEM || (r == CONC_TIMEOUT && !conc_deadline_passed(deadline)))) r = CONC_OK;
    }
    if (r == CONC_TIMEOUT || r == CONC_CANCELED || r == CONC_BUSY) {
        (void)conc__fail(r == CONC_BUSY ? CONC_TIMEOUT : r, "cannot connect to %.100s, port %u: %s", host, port,
                         conc_strerror(r == CONC_BUSY ? CONC_TIMEOUT : r));
    }
    return NULL;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */

/* Less than there was room for: the system had no more, and who knows that need not ask again. */
static conc_result conc__receive_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_io *io = (conc_io *)op->data;
    conc_result r = conc__socket_ready(op);
    int e;
    if (io != NULL) io->done = 0;
    if (r != CONC_OK) return r;
    if (io->size == 0) return CONC_OK;
    e = conc__port_socket_receive(s->fd, io->data, io->size, &io->done);
    if (e != 0) return conc__socket_error(op, e, "cannot receive");
    if (io->done == 0 && (s->stream || conc__socket_is_closed(s))) return CONC_CLOSED;
    if (io->done < io->size && s->stream) conc__polled_drained(op->word);
    return CONC_OK;
}

conc_op conc_op_receive(conc_socket *s, conc_io *io) {
    static const conc_op_class cls = { "receive", CONC_BUSY, conc__receive_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, io, CONC__READS_SIDE);
}

/* All of it: `done` is where it stands, from attempt to attempt. */
static conc_result conc__receive_full_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_io *io = (conc_io *)op->data;
    conc_result r = conc__socket_ready(op);
    while (r == CONC_OK && io->done < io->size) {
        size_t n = 0;
        int e = conc__port_socket_receive(s->fd, (char *)io->data + io->done, io->size - io->done, &n);
        if (e != 0) {
            r = conc__socket_error(op, e, "cannot receive");
        } else if (n == 0) {
            r = CONC_CLOSED;
        }
        io->done += n;
    }
    return r;
}

conc_op conc_op_receive_full(conc_socket *s, conc_io *io) {
    static const conc_op_class cls = { "receive_full", CONC_BUSY, conc__receive_full_attempt, conc__polled_arm, NULL, NULL };
    if (io != NULL) io->done = 0;
    return conc__socket_op(&cls, s, io, CONC__READS_SIDE);
}

conc_result conc_receive(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline) {
    conc_io io;
    conc_op op = conc_op_receive(s, &io);
    conc_result r;
    io.data = buffer;
    io.size = size;
    io.done = 0;
    r = conc__wait_spun(&op, deadline, true);
    if (done != NULL) *done = r == CONC_OK ? io.done : 0;
    return r;
}

conc_result conc_receive_full(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline) {
    conc_io io;
    conc_op op = conc_op_receive_full(s, &io);
    conc_result r;
    io.data = buffer;
    io.size = size;
    io.done = 0;
    r = conc__wait_spun(&op, deadline, true);
    if (done != NULL) *done = io.done;
    return r;
}

static conc_result conc__send_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_out *out = (conc_out *)op->data;
    conc_result r = conc__socket_ready(op);
    int e;
    if (out != NULL) out->done = 0;
    if (r != CONC_OK) return r;
    if (out->size == 0 && s->stream) return CONC_OK;
    e = conc__port_socket_send(s->fd, out->data, out->size, &out->done);
    if (e != 0) return conc__socket_error(op, e, "cannot send");
    if (out->done < out->size) conc__polled_drained(op->word);
    return CONC_OK;
}

conc_op conc_op_send(conc_socket *s, conc_out *out) {
    static const conc_op_class cls = { "send", CONC_BUSY, conc__send_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, out, CONC__WRITES_SIDE);
}

static conc_result conc__send_all_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_out *out = (conc_out *)op->data;
    conc_result r = conc__socket_ready(op);
    while (r == CONC_OK && out->done < out->size) {
        size_t n = 0;
        int e = conc__port_socket_send(s->fd, (const char *)out->data + out->done, out->size - out->done, &n);
        if (e != 0) r = conc__socket_error(op, e, "cannot send");
        out->done += n;
    }
    return r;
}

conc_op conc_op_send_all(conc_socket *s, conc_out *out) {
    static const conc_op_class cls = { "send_all", CONC_BUSY, conc__send_all_attempt, conc__polled_arm, NULL, NULL };
    if (out != NULL) out->done = 0;
    return conc__socket_op(&cls, s, out, CONC__WRITES_SIDE);
}

conc_result conc_send_all(conc_socket *s, const void *data, size_t size, size_t *done, conc_deadline deadline) {
    conc_out out;
    conc_op op = conc_op_send_all(s, &out);
    conc_result r;
    out.data = data;
    out.size = size;
    out.done = 0;
    r = conc__wait_spun(&op, deadline, true);
    if (done != NULL) *done = out.done;
    return r;
}

/* ---- datagrams ------------------------------------------------------------------------------------------------------------ */

static conc_result conc__receive_from_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_datagram *d = (conc_datagram *)op->data;
    conc_result r = conc__socket_ready(op);
    int e;
    if (r != CONC_OK) return r;
    if (s->stream) return conc__fail(CONC_INVALID, "conc_op_receive_from: the socket is not for datagrams");
    e = conc__port_socket_receive_from(s->fd, d->data, d->size, &d->address, &d->done, &d->truncated);
    if (e != 0) return conc__socket_error(op, e, "cannot receive");
    if (d->done == 0 && conc__socket_is_closed(s)) return CONC_CLOSED; /* what a closed one gives, on some systems */
    conc__address_unmap(&d->address);
    return CONC_OK;
}

conc_op conc_op_receive_from(conc_socket *s, conc_datagram *d) {
    static const conc_op_class cls = { "receive_from", CONC_BUSY, conc__receive_from_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, d, CONC__READS_SIDE);
}

conc_result conc_receive_from(conc_socket *s, conc_datagram *d, conc_deadline deadline) {
    conc_op op = conc_op_receive_from(s, d);
    return conc__wait_spun(&op, deadline, true);
}

static conc_result conc__send_to_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_datagram_out *d = (conc_datagram_out *)op->data;
    conc_result r = conc__socket_ready(op);
    conc_address to;
    int e;
    if (d != NULL) d->done = 0;
    if (r != CONC_OK) return r;
    if (s->stream) return conc__fail(CONC_INVALID, "conc_op_send_to: the socket is not for datagrams");
    to = conc__address_for(s->family, &d->address);
    e = conc__port_socket_send_to(s->fd, d->data, d->size, to.family != 0 ? &to : NULL, &d->done);
    if (e != 0 && !conc__port_would_block(e)) {
        char text[CONC_ADDRESS_TEXT], what[CONC_ADDRESS_TEXT + 32];
        (void)snprintf(what, sizeof what, to.family != 0 ? "cannot send to %s" : "cannot send",
                       conc_address_text(&d->address, text, sizeof text));
        return conc__socket_fail(s, e, what);
    }
    return e != 0 ? conc__socket_error(op, e, "cannot send") : CONC_OK;
}

conc_op conc_op_send_to(conc_socket *s, conc_datagram_out *d) {
    static const conc_op_class cls = { "send_to", CONC_BUSY, conc__send_to_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, d, CONC__WRITES_SIDE);
}

conc_result conc_send_to(conc_socket *s, const void *data, size_t size, const conc_address *to, conc_deadline deadline) {
    conc_datagram_out d;
    conc_op op = conc_op_send_to(s, &d);
    memset(&d, 0, sizeof d);
    d.data = data;
    d.size = size;
    if (to != NULL) d.address = *to;
    return conc__wait_spun(&op, deadline, true);
}

/* ---- any descriptor -------------------------------------------------------------------------------------------------------- */

static conc_result conc__descriptor_attempt(conc_op *op) {
    conc__port_pollfd look;
    int e = 0, n;
    look.fd = (intptr_t)op->object;
    look.want = conc__polled_want(op->word);
    if (look.fd < 0) return conc__fail(CONC_INVALID, "conc_op_%s: no descriptor", op->cls->name);
    if (!conc__polled_may_be_ready(op->word)) return CONC_PENDING;
    n = conc__port_poll(&look, 1, INT64_MIN, &e);
    if (n < 0) return conc__fail_system(conc__net_result(e), e, "cannot wait for a descriptor");
    if (n > 0 && (look.got & CONC__PORT_BAD) != 0) {
        return conc__fail(CONC_INVALID, "conc_op_%s: %ld is no open descriptor", op->cls->name, (long)look.fd);
    }
    if (n > 0) return CONC_OK;
    conc__polled_drained(op->word);
    return CONC_PENDING;
}

conc_op conc_op_readable(intptr_t fd) {
    static const conc_op_class cls = { "readable", CONC_BUSY, conc__descriptor_attempt, conc__polled_arm, NULL, NULL };
    conc_op op = conc_op_make(&cls, (void *)fd, NULL);
    op.word = CONC__POLLED(fd, CONC__READS_SIDE, 0);
    return op;
}

conc_op conc_op_writable(intptr_t fd) {
    static const conc_op_class cls = { "writable", CONC_BUSY, conc__descriptor_attempt, conc__polled_arm, NULL, NULL };
    conc_op op = conc_op_make(&cls, (void *)fd, NULL);
    op.word = CONC__POLLED(fd, CONC__WRITES_SIDE, 0);
    return op;
}
