/* Sockets and addresses, on the machine's own loopback: threads that send, receive, accept, connect, close. */

#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"

#include "check.h"

#if !defined(_WIN32)
#include <sys/resource.h>
#endif

#define PATIENCE conc_after(60) /* far more than anything here takes */

static bool has_v6; /* whether this machine has the loopback address of version 6 */
static const char *loopback(int v6) {
    return v6 ? "::1" : "127.0.0.1";
}

/* ---- addresses ------------------------------------------------------------------------------------- */

static void address_text(void) {
    static const struct {
        const char *from, *to; /* to NULL: from is none */
    } cases[] = {
        { "127.0.0.1", "127.0.0.1:7" },
        { "0.0.0.0:0", "0.0.0.0:0" },
        { "255.255.255.255:65535", "255.255.255.255:65535" },
        { "::", "[::]:7" },
        { "::1", "[::1]:7" },
        { "[::1]:80", "[::1]:80" },
        { "[::1]", "[::1]:7" },
        { "1::", "[1::]:7" },
        { "1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:7" },
        { "1:2:3:4:5:6:7::", "[1:2:3:4:5:6:7:0]:7" },
        { "::2:3:4:5:6:7:8", "[0:2:3:4:5:6:7:8]:7" },
        { "2001:DB8:0:0:1:0:0:1", "[2001:db8::1:0:0:1]:7" },
        { "2001:0:0:1:0:0:0:1", "[2001:0:0:1::1]:7" },
        { "fe80::1%3", "[fe80::1%3]:7" },
        { "::ffff:1.2.3.4", "[::ffff:102:304]:7" },
        { "64:ff9b::1.2.3.4", "[64:ff9b::102:304]:7" },
        { "", NULL },
        { "1.2.3", NULL },
        { "1.2.3.4.5", NULL },
        { "256.1.1.1", NULL },
        { "01.2.3.4", NULL },
        { "1.2.3.4:", NULL },
        { "1.2.3.4:65536", NULL },
        { "1.2.3.4 ", NULL },
        { ":", NULL },
        { ":::", NULL },
        { "1:2:3:4:5:6:7", NULL },
        { "1:2:3:4:5:6:7:8:9", NULL },
        { "1:2:3:4:5:6:7:8::", NULL },
        { "1::2::3", NULL },
        { "12345::", NULL },
        { "1:2:3:4:5:6:7:1.2.3.4", NULL },
        { "::1.2.3", NULL },
        { "[::1", NULL },
        { "[::1]80", NULL },
        { "[1.2.3.4]", NULL },
        { "fe80::1%", NULL },
        { "fe80::1%eth0", NULL },
        { "localhost", NULL },
    };
    char text[CONC_ADDRESS_TEXT];
    size_t i;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        conc_address a, b;
        conc_result r = conc_address_parse(cases[i].from, 7, &a);
        if (cases[i].to == NULL) {
            CHECK_R(r, CONC_INVALID);
            continue;
        }
        if (!CHECK_OK(r)) continue;
        CHECK_STR(conc_address_text(&a, text, sizeof text), cases[i].to);
        CHECK_OK(conc_address_parse(text, 1, &b)); /* and back */
        CHECK(conc_address_equal(&a, &b));
        CHECK_EQ(conc_address_port(&a), conc_address_port(&b));
    }
    {
        conc_address a, b;
        memset(&a, 0, sizeof a);
        CHECK_STR(conc_address_text(&a, text, sizeof text), "none");
        CHECK_STR(conc_address_text(NULL, text, 3), "no");
        CHECK_OK(conc_address_parse("1.2.3.4", 5, &a));
        CHECK_OK(conc_address_parse("1.2.3.4", 6, &b));
        CHECK(!conc_address_equal(&a, &b) && !conc_address_equal(NULL, &b));
        CHECK_MISUSE(conc_address_parse(NULL, 1, &a), CONC_INVALID);
        CHECK_MISUSE(conc_address_parse("1.2.3.4", 65536, &a), CONC_INVALID);
        CHECK_EQ(conc_address_port(NULL), 0);
    }
}

static void lookup(void) {
    conc_address list[8];
    size_t n = 99, i;
    bool found = false;
    conc_result r = conc_lookup("127.0.0.1", 80, list, 8, &n, CONC_NOW);
    CHECK_OK(r);
    CHECK_EQ(n, 1);
    r = conc_lookup("localhost", 80, list, 8, &n, PATIENCE);
    if (r == CONC_OK) { /* nearly every machine knows it */
        for (i = 0; i < n; i++) found = found || (list[i].family == 4 ? list[i].ip[0] == 127 : list[i].ip[15] == 1);
        CHECK(found);
        CHECK_EQ(list[0].port, 80);
    }
    CHECK_R(conc_lookup("localhost", 80, list, 8, &n, CONC_NOW), CONC_TIMEOUT);
    CHECK_EQ(n, 0);
    r = conc_lookup("no such host", 80, list, 8, &n, PATIENCE); /* a space is in no name: nobody has to be asked */
    CHECK_R(r, CONC_SYSTEM);
    CHECK_HAS(conc_error_detail(), "cannot find host \"no such host\": ");
    CHECK_MISUSE(conc_lookup(NULL, 80, list, 8, &n, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_lookup("::1", 80, list, 0, &n, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_lookup("::1", 80000, list, 8, &n, CONC_NOW), CONC_INVALID);
}

/* ---- connections --------------------------------------------------------------------------------------- */

static conc_socket *listener_at(int v6, conc_address *a) {
    conc_socket *l = conc_tcp_listen(loopback(v6), 0, NULL);
    if (!CHECK(l != NULL)) {
        fprintf(stderr, "%s\n", conc_error_detail());
        exit(1);
    }
    CHECK_OK(conc_socket_address(l, a));
    CHECK(a->port != 0);
    return l;
}

/* Both ends of a connection. */
static void pair_of(int v6, conc_socket **one, conc_socket **other) {
    conc_address a;
    conc_socket *l = listener_at(v6, &a);
    *one = conc_tcp_connect(loopback(v6), a.port, PATIENCE);
    CHECK(*one != NULL);
    CHECK_OK(conc_accept(l, other, PATIENCE));
    CHECK_OK(conc_socket_free(l));
    if (*one == NULL || *other == NULL) exit(1);
}

static int echo(void *arg) {
    conc_socket *c = (conc_socket *)arg;
    char buffer[1000];
    size_t n;
    conc_result r;
    while ((r = conc_receive(c, buffer, sizeof buffer, &n, PATIENCE)) == CONC_OK) {
        if (conc_send_all(c, buffer, n, NULL, PATIENCE) != CONC_OK) return 1;
    }
    return r != CONC_CLOSED || conc_socket_free(c) != CONC_OK;
}

static int serve(void *arg) {
    conc_socket *l = (conc_socket *)arg, *c;
    crew threads = { 0, { NULL } };
    while (conc_accept(l, &c, PATIENCE) == CONC_OK) crew_add(&threads, echo, c);
    crew_join(&threads);
    return c != NULL;
}

typedef struct client {
    int v6;
    unsigned port, number;
} client;

static int talk(void *arg) {
    const client *me = (const client *)arg;
    char line[100], answer[100];
    size_t n, done;
    int i;
    conc_socket *s = conc_tcp_connect(loopback(me->v6), me->port, PATIENCE);
    if (!CHECK(s != NULL)) return 1;
    CHECK_OK(conc_socket_set(s, CONC_NO_DELAY, 1));
    for (i = 0; i < 50; i++) {
        n = (size_t)snprintf(line, sizeof line, "client %u, line %d", me->number, i) + 1;
        CHECK_OK(conc_send_all(s, line, n, &done, PATIENCE));
        CHECK_EQ(done, n);
        CHECK_OK(conc_receive_full(s, answer, n, &done, PATIENCE));
        CHECK_EQ(done, n);
        CHECK_STR(answer, line);
    }
    CHECK_OK(conc_socket_shutdown(s));
    CHECK_R(conc_receive_full(s, answer, 10, &done, PATIENCE), CONC_CLOSED);
    CHECK_EQ(done, 0);
    CHECK_OK(conc_socket_free(s));
    return 0;
}

static void server_and_clients_of(int v6) {
    conc_address a;
    conc_socket *l = listener_at(v6, &a);
    crew servers = { 0, { NULL } }, clients = { 0, { NULL } };
    client c[6];
    unsigned i;
    crew_add(&servers, serve, l); /* two that accept on one listener */
    crew_add(&servers, serve, l);
    for (i = 0; i < 6; i++) {
        c[i].v6 = v6;
        c[i].port = a.port;
        c[i].number = i;
        crew_add(&clients, talk, &c[i]);
    }
    crew_join(&clients);
    CHECK_OK(conc_socket_close(l)); /* ends both */
    crew_join(&servers);
    CHECK_OK(conc_socket_free(l));
}

static void server_and_clients(void) {
    server_and_clients_of(0);
    if (has_v6) server_and_clients_of(1);
}

/* More than the system holds: the sender has to wait for the receiver again and again. */
enum { MANY = 3000000 };
static int send_many(void *arg) {
    conc_socket *s = (conc_socket *)arg;
    unsigned char *data = (unsigned char *)malloc(MANY);
    size_t done, i;
    if (data == NULL) return 1;
    for (i = 0; i < MANY; i++) data[i] = (unsigned char)(i * 7 + i / 1000);
    CHECK_OK(conc_send_all(s, data, MANY, &done, PATIENCE));
    CHECK_EQ(done, MANY);
    CHECK_OK(conc_socket_shutdown(s));
    free(data);
    return 0;
}

static int receive_many(void *arg) {
    conc_socket *s = (conc_socket *)arg;
    unsigned char *buffer = (unsigned char *)malloc(5000);
    size_t all = 0, n, i, wrong = 0;
    conc_result r;
    if (buffer == NULL) return 1;
    while ((r = conc_receive(s, buffer, 5000, &n, PATIENCE)) == CONC_OK) {
        for (i = 0; i < n; i++) wrong += buffer[i] != (unsigned char)((all + i) * 7 + (all + i) / 1000);
        all += n;
    }
    free(buffer);
    CHECK_R(r, CONC_CLOSED);
    CHECK_EQ(all, MANY);
    CHECK_EQ(wrong, 0);
    return 0;
}

/* Both ways at once, on one connection. */
static void much_both_ways(void) {
    conc_socket *a, *b;
    crew c = { 0, { NULL } };
    pair_of(0, &a, &b);
    crew_add(&c, send_many, a);
    crew_add(&c, send_many, b);
    crew_add(&c, receive_many, a);
    crew_add(&c, receive_many, b);
    crew_join(&c);
    CHECK_OK(conc_socket_free(a));
    CHECK_OK(conc_socket_free(b));
}


static void deadlines(void) {
    conc_socket *a, *b, *none = NULL;
    conc_address at;
    conc_socket *l = listener_at(0, &at);
    conc_cancel token = { NULL, 0 };
    char c = 0;
    size_t n = 9;
    int64_t before = conc_clock_ns();
    pair_of(0, &a, &b);
    CHECK_R(conc_receive(a, &c, 1, &n, conc_after(0.02)), CONC_TIMEOUT);
    CHECK(conc_clock_ns() - before >= 20000000);
    CHECK_EQ(n, 0);
    CHECK_R(conc_receive(a, &c, 1, &n, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_try(conc_op_accept(l, &none)), CONC_BUSY);
    CHECK_R(conc_accept(l, &none, conc_after(0.01)), CONC_TIMEOUT);
    CHECK(none == NULL);
    CHECK_OK(conc_receive(a, &c, 0, &n, CONC_NOW));
    CHECK_OK(conc_send_all(b, "x", 1, NULL, CONC_NOW));
    CHECK_OK(conc_wait(conc_op_readable(conc_socket_fd(a)), PATIENCE));
    CHECK_OK(conc_receive(a, &c, 1, &n, CONC_NOW));
    CHECK(n == 1 && c == 'x');
    (void)conc_cancel_use(&token);
    CHECK_OK(conc_cancel_fire(&token));
    CHECK_R(conc_receive(a, &c, 1, &n, PATIENCE), CONC_CANCELED);
    CHECK(conc_tcp_connect("no such host", 1, CONC_NOW) == NULL && conc_error_result() == CONC_TIMEOUT);
    (void)conc_cancel_use(NULL);
    CHECK_OK(conc_socket_free(a));
    CHECK_OK(conc_socket_free(b));
    CHECK_OK(conc_socket_free(l));
}

/* What is left half sent at the deadline is told. */
static void partial_send(void) {
    conc_socket *a, *b;
    static char much[16000000]; /* more than any system holds */
    size_t done = 0, n;
    pair_of(0, &a, &b);
    CHECK_R(conc_send_all(a, much, sizeof much, &done, conc_after(0.05)), CONC_TIMEOUT);
    CHECK(done > 0 && done < sizeof much);
    CHECK_OK(conc_receive(b, much, sizeof much, &n, CONC_NOW));
    CHECK(n > 0);
    CHECK_R(conc_receive_full(b, much, done, &n, conc_after(0.05)), CONC_TIMEOUT);
    CHECK(n > 0 && n < done);
    CHECK_OK(conc_socket_free(a));
    CHECK_OK(conc_socket_free(b));
}

/* An end by force: unread data makes the system reset the connection. */
static void reset(void) {
    conc_socket *a, *b;
    char c;
    size_t n;
    conc_result r;
    pair_of(0, &a, &b);
    CHECK_OK(conc_send_all(a, "unread", 6, NULL, PATIENCE));
    CHECK_OK(conc_wait(conc_op_readable(conc_socket_fd(b)), PATIENCE));
    CHECK_OK(conc_socket_free(b));
    r = conc_receive(a, &c, 1, &n, PATIENCE);
    CHECK(r == CONC_BROKEN || r == CONC_CLOSED);
    if (r == CONC_BROKEN) CHECK_HAS(conc_error_detail(), "cannot receive: ");
    while ((r = conc_send_all(a, "more", 4, NULL, PATIENCE)) == CONC_OK) conc_thread_yield(); /* and no SIGPIPE */
    CHECK_R(r, CONC_BROKEN);
    CHECK_OK(conc_socket_free(a));
}

static void refused(void) {
    conc_address a;
    char text[CONC_ADDRESS_TEXT], sentence[200];
    conc_socket *l = listener_at(0, &a), *s;
    CHECK_OK(conc_socket_free(l)); /* nobody listens there now */
    snprintf(sentence, sizeof sentence, "cannot connect to %s: ", conc_address_text(&a, text, sizeof text));
    s = conc_tcp_open(4);
    if (CHECK(s != NULL)) {
        CHECK_R(conc_wait(conc_op_connect(s, &a), PATIENCE), CONC_SYSTEM);
        CHECK_HAS(conc_error_detail(), sentence);
        CHECK_R(conc_try(conc_op_connect(s, &a)), CONC_SYSTEM);
        CHECK_HAS(conc_error_detail(), "before");
        CHECK_OK(conc_socket_free(s));
    }
    CHECK(conc_tcp_connect("127.0.0.1", a.port, PATIENCE) == NULL);
    CHECK_R(conc_error_result(), CONC_SYSTEM);
    CHECK_HAS(conc_error_detail(), sentence);
}

static void connect_op(void) {
    conc_address a, peer;
    conc_socket *l = listener_at(0, &a), *s = conc_tcp_open(4), *c = NULL;
    conc_op ops[2];
    int first;
    if (!CHECK(s != NULL)) return;
    ops[0] = conc_op_connect(s, &a);
    ops[1] = conc_op_sleep(60);
    first = conc_select(ops, 2, CONC_FOREVER);
    CHECK_EQ(first, 0);
    CHECK_OK(ops[0].result);
    CHECK_OK(conc_try(conc_op_connect(s, &a))); /* it is */
    CHECK_OK(conc_accept(l, &c, PATIENCE));
    CHECK_OK(conc_socket_peer(s, &peer));
    CHECK(conc_address_equal(&peer, &a));
    CHECK_OK(conc_socket_peer(c, &peer));
    CHECK_OK(conc_socket_address(s, &a));
    CHECK(conc_address_equal(&peer, &a));
    CHECK_OK(conc_socket_free(c));
    CHECK_OK(conc_socket_free(s));
    CHECK_OK(conc_socket_free(l));
}

static void taken(void) {
    conc_address a;
    char text[CONC_ADDRESS_TEXT], sentence[200];
    conc_socket *l = listener_at(0, &a), *u;
    CHECK(conc_tcp_listen("127.0.0.1", a.port, NULL) == NULL);
    CHECK_R(conc_error_result(), CONC_SYSTEM);
    snprintf(sentence, sizeof sentence, "cannot listen on %s: ", conc_address_text(&a, text, sizeof text));
    CHECK_HAS(conc_error_detail(), sentence);
    CHECK_OK(conc_socket_free(l));
    u = conc_udp_bind("127.0.0.1", 0);
    if (!CHECK(u != NULL)) return;
    CHECK_OK(conc_socket_address(u, &a));
    CHECK(conc_udp_bind("127.0.0.1", a.port) == NULL);
    CHECK_HAS(conc_error_detail(), "cannot receive at 127.0.0.1:");
    CHECK_OK(conc_socket_free(u));
}

#if defined(__linux__)
static void shared_port(void) {
    conc_listen_desc desc;
    conc_address a;
    conc_socket *one, *two;
    memset(&desc, 0, sizeof desc);
    desc.reuse_port = true;
    desc.backlog = 5;
    one = conc_tcp_listen("127.0.0.1", 0, &desc);
    if (!CHECK(one != NULL)) return;
    CHECK_OK(conc_socket_address(one, &a));
    two = conc_tcp_listen("127.0.0.1", a.port, &desc);
    CHECK(two != NULL);
    CHECK_OK(conc_socket_free(one));
    CHECK_OK(conc_socket_free(two));
}
#endif

/* On all addresses, of both versions. */
static void everywhere(void) {
    conc_listen_desc desc;
    conc_address a, peer;
    conc_socket *l = conc_tcp_listen(NULL, 0, NULL), *s, *c = NULL;
    int v6;
    if (!CHECK(l != NULL)) return;
    CHECK_OK(conc_socket_address(l, &a));
    for (v6 = 0; v6 <= (has_v6 && a.family == 6); v6++) {
        s = conc_tcp_connect(loopback(v6), a.port, PATIENCE);
        if (!CHECK(s != NULL)) break;
        CHECK_OK(conc_accept(l, &c, PATIENCE));
        CHECK_OK(conc_socket_peer(c, &peer));
        CHECK_EQ(peer.family, v6 ? 6 : 4); /* whatever the listener's own is */
        CHECK_OK(conc_socket_free(c));
        CHECK_OK(conc_socket_free(s));
    }
    CHECK_OK(conc_socket_free(l));
    if (!has_v6) return;
    memset(&desc, 0, sizeof desc);
    desc.v6_only = true;
    l = conc_tcp_listen(NULL, 0, &desc);
    if (!CHECK(l != NULL)) return;
    CHECK_OK(conc_socket_address(l, &a));
    CHECK(conc_tcp_connect("127.0.0.1", a.port, conc_after(5)) == NULL);
    CHECK_OK(conc_socket_free(l));
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static conc_socket *closing;
static int wait_receive(void *arg) {
    char c;
    size_t n;
    (void)arg;
    CHECK_R(conc_receive(closing, &c, 1, &n, PATIENCE), CONC_CLOSED);
    return 0;
}
static int wait_accept(void *arg) {
    conc_socket *c;
    (void)arg;
    CHECK_R(conc_accept(closing, &c, PATIENCE), CONC_CLOSED);
    return 0;
}
static int wait_datagram(void *arg) {
    char c[10];
    conc_datagram d;
    (void)arg;
    memset(&d, 0, sizeof d);
    d.data = c;
    d.size = sizeof c;
    CHECK_R(conc_receive_from(closing, &d, PATIENCE), CONC_CLOSED);
    return 0;
}
static int wait_send(void *arg) {
    static char much[16000000];
    size_t done;
    conc_result r = conc_send_all(closing, much, sizeof much, &done, PATIENCE);
    (void)arg;
    CHECK_R(r, CONC_CLOSED);
    CHECK(done < sizeof much);
    return 0;
}

/* However the close falls among those who wait, or are about to. */
static void close_wakes(void) {
    int round, rounds = check_rounds(60);
    for (round = 0; round < rounds; round++) {
        crew c = { 0, { NULL } };
        conc_socket *a, *b = NULL;
        conc_address at;
        int kind = round % 3;
        if (kind == 0) {
            pair_of(0, &a, &b);
            closing = a;
            crew_add(&c, wait_receive, NULL);
            crew_add(&c, wait_receive, NULL);
            crew_add(&c, wait_send, NULL);
        } else if (kind == 1) {
            closing = listener_at(0, &at);
            crew_add(&c, wait_accept, NULL);
            crew_add(&c, wait_accept, NULL);
        } else {
            closing = conc_udp_bind("127.0.0.1", 0);
            if (!CHECK(closing != NULL)) return;
            crew_add(&c, wait_datagram, NULL);
            crew_add(&c, wait_datagram, NULL);
        }
        nudge((unsigned)round / 3);
        CHECK_OK(conc_socket_close(closing));
        CHECK_OK(conc_socket_close(closing));
        crew_join(&c);
        CHECK_R(conc_socket_shutdown(closing), CONC_CLOSED);
        CHECK_OK(conc_socket_free(closing));
        CHECK_OK(conc_socket_free(b));
    }
}

static conc_result held; /* how the receive of free_in_use ended; handed over by the join */
static int hold(void *arg) {
    char c;
    size_t n;
    held = conc_receive((conc_socket *)arg, &c, 1, &n, PATIENCE);
    return 0;
}

static void free_in_use(void) {
    conc_socket *a, *b;
    crew c = { 0, { NULL } };
    conc_op probe;
    pair_of(0, &a, &b);
    crew_add(&c, hold, a);
    /* That it waits cannot be seen from here; most of the time it does by now. */
    nudge(3);
    nudge(3);
    probe = conc_op_readable(conc_socket_fd(a));
    CHECK_R(conc_try(probe), CONC_BUSY);
    CHECK_OK(conc_socket_close(a));
    crew_join(&c);
    CHECK_R(held, CONC_CLOSED);
    CHECK_OK(conc_socket_free(a));
    CHECK_OK(conc_socket_free(b));
    CHECK_OK(conc_socket_free(NULL));
}

/* ---- datagrams ------------------------------------------------------------------------------------------- */

static void datagrams_of(const char *host, int v6) {
    conc_socket *a = conc_udp_bind(host, 0), *b = conc_udp_open(v6 ? 6 : 4);
    conc_address at, from;
    char buffer[10], text[CONC_ADDRESS_TEXT];
    conc_datagram d;
    conc_out out;
    if (!CHECK(a != NULL && b != NULL)) return;
    CHECK_OK(conc_socket_address(a, &at));
    if (host == NULL) CHECK_OK(conc_address_parse(loopback(v6), at.port, &at));
    memset(&d, 0, sizeof d);
    d.data = buffer;
    d.size = sizeof buffer;
    CHECK_R(conc_receive_from(a, &d, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_receive_from(a, &d, conc_after(0.01)), CONC_TIMEOUT);
    CHECK_OK(conc_send_to(b, "hello", 5, &at, PATIENCE));
    CHECK_OK(conc_receive_from(a, &d, PATIENCE));
    CHECK(d.done == 5 && memcmp(buffer, "hello", 5) == 0 && !d.truncated);
    CHECK_EQ(d.address.family, v6 ? 6 : 4);
    from = d.address;
    CHECK_OK(conc_send_to(a, "longer than ten", 15, &from, PATIENCE)); /* the answer */
    CHECK_OK(conc_receive_from(b, &d, PATIENCE));
    CHECK(d.done == 10 && d.truncated);
    if (!CHECK(conc_address_equal(&d.address, &at))) {
        fprintf(stderr, "from %s\n", conc_address_text(&d.address, text, sizeof text));
    }
    CHECK_OK(conc_send_to(b, "", 0, &at, PATIENCE)); /* nothing is something too */
    CHECK_OK(conc_receive_from(a, &d, PATIENCE));
    CHECK(d.done == 0 && !d.truncated);
    CHECK_OK(conc_try(conc_op_connect(b, &at)));
    memset(&out, 0, sizeof out);
    out.data = "bye";
    out.size = 3;
    CHECK_OK(conc_wait(conc_op_send(b, &out), PATIENCE));
    CHECK_EQ(out.done, 3);
    CHECK_OK(conc_receive_from(a, &d, PATIENCE));
    CHECK(d.done == 3 && conc_address_equal(&d.address, &from));
    {
        static char huge[100000];
        conc_result r = conc_send_to(b, huge, sizeof huge, NULL, PATIENCE);
        CHECK_R(r, CONC_SYSTEM); /* more than a datagram holds */
    }
    CHECK_OK(conc_socket_free(a));
    CHECK_OK(conc_socket_free(b));
}

static void datagrams(void) {
    datagrams_of("127.0.0.1", 0);
    if (has_v6) datagrams_of("::1", 1);
    datagrams_of(NULL, 0);
    if (has_v6) datagrams_of(NULL, 1);
}

/* Sending and receiving on one socket, in two threads on each side. */
typedef struct talker {
    conc_socket *s;
    conc_address to;
    unsigned count;
} talker;

static int shout(void *arg) {
    talker *t = (talker *)arg;
    unsigned i;
    for (i = 0; i < 200; i++) CHECK_OK(conc_send_to(t->s, &i, sizeof i, &t->to, PATIENCE));
    return 0;
}

static int listen_in(void *arg) {
    talker *t = (talker *)arg;
    unsigned x;
    conc_datagram d;
    memset(&d, 0, sizeof d);
    d.data = &x;
    d.size = sizeof x;
    while (conc_receive_from(t->s, &d, PATIENCE) == CONC_OK && d.done == sizeof x) t->count++;
    return 0;
}

static void two_talkers(void) {
    talker t[2];
    crew shouting = { 0, { NULL } }, listening = { 0, { NULL } };
    int i;
    memset(t, 0, sizeof t);
    for (i = 0; i < 2; i++) {
        t[i].s = conc_udp_bind("127.0.0.1", 0);
        if (!CHECK(t[i].s != NULL)) return;
        CHECK_OK(conc_socket_address(t[i].s, &t[1 - i].to));
    }
    for (i = 0; i < 2; i++) {
        crew_add(&listening, listen_in, &t[i]);
        crew_add(&shouting, shout, &t[i]);
    }
    crew_join(&shouting);
    for (i = 0; i < 2; i++) { /* what ends it; datagrams may be lost even here, so until it has ended */
        unsigned n = 0;
        while (conc_thread_is_alive(listening.threads[1 - i])) {
            CHECK_OK(conc_send_to(t[i].s, "", 0, &t[i].to, PATIENCE));
            check_pause(&n);
        }
    }
    crew_join(&listening);
    CHECK(t[0].count > 0 && t[1].count > 0);
    CHECK_OK(conc_socket_free(t[0].s));
    CHECK_OK(conc_socket_free(t[1].s));
}

/* ---- any descriptor ------------------------------------------------------------------------------------------ */

static void descriptors(void) {
    char buffer[2];
    CHECK_MISUSE(conc_try(conc_op_readable(-1)), CONC_INVALID);
#if !defined(_WIN32)
    {
        int fds[2];
        FILE *f = tmpfile();
        conc_op ops[2];
        if (!CHECK(pipe(fds) == 0)) return;
        CHECK_R(conc_try(conc_op_readable(fds[0])), CONC_BUSY);
        CHECK_OK(conc_try(conc_op_writable(fds[1])));
        CHECK_R(conc_wait(conc_op_readable(fds[0]), conc_after(0.01)), CONC_TIMEOUT);
        CHECK(write(fds[1], "x", 1) == 1);
        ops[0] = conc_op_sleep(60);
        ops[1] = conc_op_readable(fds[0]);
        CHECK_EQ(conc_select(ops, 2, CONC_FOREVER), 1);
        CHECK(read(fds[0], buffer, 1) == 1);
        close(fds[1]);
        CHECK_OK(conc_try(conc_op_readable(fds[0]))); /* its end */
        close(fds[0]);
        CHECK_MISUSE(conc_try(conc_op_readable(fds[0])), CONC_INVALID);
        CHECK_HAS((conc_try(conc_op_readable(9999)), conc_error_detail()), "9999");
        if (f != NULL) {
            CHECK_OK(conc_try(conc_op_readable(fileno(f))));
            CHECK_OK(conc_wait(conc_op_writable(fileno(f)), PATIENCE));
            fclose(f);
        }
    }
#else
    (void)buffer;
#endif
}

/* ---- no more descriptors ---------------------------------------------------------------------------------------- */

#if !defined(_WIN32)
/* Sets the limit to what is in use now; returns what it was. */
static rlim_t no_more(void) {
    struct rlimit limit;
    rlim_t before;
    int lowest = dup(0);
    getrlimit(RLIMIT_NOFILE, &limit);
    before = limit.rlim_cur;
    close(lowest);
    limit.rlim_cur = (rlim_t)lowest;
    setrlimit(RLIMIT_NOFILE, &limit);
    return before;
}

static void as_before(rlim_t n) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = n;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void table_full(void) {
    conc_address a;
    conc_socket *l = listener_at(0, &a), *s[3], *c = NULL;
    char x;
    size_t n;
    rlim_t before;
    int i;
    (void)conc_wait(conc_op_readable(conc_socket_fd(l)), conc_after(0.001)); /* what this thread wants for waiting is there */
    for (i = 0; i < 3; i++) {
        s[i] = conc_tcp_connect("127.0.0.1", a.port, PATIENCE);
        if (!CHECK(s[i] != NULL)) return;
    }
    before = no_more();
    CHECK(conc_tcp_open(4) == NULL);
    CHECK_R(conc_error_result(), CONC_REJECTED);
    /* Each gets its turn, and its other end is told. */
    for (i = 0; i < 2; i++) {
        conc_result r = conc_accept(l, &c, PATIENCE);
        CHECK_R(r, CONC_REJECTED);
        CHECK_HAS(conc_error_detail(), "accepted and closed: ");
        CHECK(c == NULL);
        CHECK_R(conc_receive(s[i], &x, 1, &n, PATIENCE), CONC_CLOSED);
    }
    as_before(before);
    CHECK_OK(conc_accept(l, &c, PATIENCE)); /* the third */
    CHECK_OK(conc_send_all(c, "y", 1, NULL, PATIENCE));
    CHECK_OK(conc_receive(s[2], &x, 1, &n, PATIENCE));
    CHECK_OK(conc_socket_free(c));
    CHECK_R(conc_accept(l, &c, CONC_NOW), CONC_BUSY);
    for (i = 0; i < 3; i++) CHECK_OK(conc_socket_free(s[i]));
    CHECK_OK(conc_socket_free(l));
}
#endif

static void misuse(void) {
    conc_address a;
    conc_socket *l = listener_at(0, &a), *s = conc_tcp_open(4), *u = conc_udp_open(4), *c;
    conc_datagram d;
    char x;
    size_t n;
    memset(&d, 0, sizeof d);
    d.data = &x;
    d.size = 1;
    CHECK_MISUSE_NULL(conc_tcp_open(5), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_udp_open(0), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_tcp_listen("127.0.0.1", 65536, NULL), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_udp_bind("127.0.0.1", 65536), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_tcp_connect("127.0.0.1", 65536, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_tcp_connect(NULL, 1, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_receive(NULL, &x, 1, &n, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_send_all(NULL, &x, 1, &n, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_accept(NULL, &c, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_accept(u, &c, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_accept(l, NULL)), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_receive(s, NULL)), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_send(s, NULL)), CONC_INVALID);
    CHECK_MISUSE(conc_receive_from(s, &d, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_send_to(s, &x, 1, &a, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_receive_from(u, NULL)), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_send_to(u, NULL)), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_connect(l, &a)), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_connect(s, NULL)), CONC_INVALID);
    CHECK_MISUSE(conc_socket_address(NULL, &a), CONC_INVALID);
    CHECK_MISUSE(conc_socket_peer(s, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_socket_peer(s, &a), CONC_SYSTEM); /* it has none */
    CHECK_MISUSE(conc_socket_set(NULL, CONC_NO_DELAY, 1), CONC_INVALID);
    CHECK_MISUSE(conc_socket_set(s, (conc_socket_option)99, 1), CONC_INVALID);
    CHECK_MISUSE(conc_socket_close(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_socket_shutdown(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_socket_shutdown(s), CONC_SYSTEM);
    CHECK_EQ(conc_socket_fd(NULL), -1);
    CHECK_OK(conc_socket_set(s, CONC_KEEP_ALIVE, 1));
    CHECK_OK(conc_socket_set(s, CONC_SEND_BUFFER, 10000));
    CHECK_OK(conc_socket_set(s, CONC_RECEIVE_BUFFER, 10000));
    CHECK_OK(conc_socket_set(u, CONC_BROADCAST, 1));
    CHECK_OK(conc_socket_free(l));
    CHECK_OK(conc_socket_free(s));
    CHECK_OK(conc_socket_free(u));
}

int main(void) {
    conc_socket *s;
    check_begin("net");
    s = conc_tcp_listen("::1", 0, NULL);
    has_v6 = s != NULL;
    (void)conc_socket_free(s);
    printf("version 6: %s\n", has_v6 ? "yes" : "no");
    RUN(address_text);
    RUN(lookup);
    RUN(server_and_clients);
    RUN(much_both_ways);
    RUN(deadlines);
    RUN(partial_send);
    RUN(reset);
    RUN(refused);
    RUN(connect_op);
    RUN(taken);
#if defined(__linux__)
    RUN(shared_port);
#endif
    RUN(everywhere);
    RUN(close_wakes);
    RUN(free_in_use);
    RUN(datagrams);
    RUN(two_talkers);
    RUN(descriptors);
#if !defined(_WIN32)
    RUN(table_full);
#endif
    RUN(misuse);
    return check_end();
}
