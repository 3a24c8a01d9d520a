/* Downloads, from a small server of this file's own, on the machine's loopback, that misbehaves as the address says. */

#define CONC_WITH_CURL
#if defined(CONC_TEST_WITH_OPENSSL)
#define CONC_WITH_OPENSSL
#endif
#define CONC_IMPLEMENTATION
#include "../conc.h"

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PATIENCE conc_after(60) /* far more than anything here takes */

/* ---- the server ---------------------------------------------------------------------------------------------------
 * /KIND-SIZE-COUNT/NAME: the first COUNT requests of such an address go wrong as KIND says, the others well; COUNT 0: all. */

#define CONNECTIONS 512
#define ADDRESSES 1024
typedef struct site {
    conc_socket *listener;
    conc_thread *acceptor;
    unsigned port;
    conc_mutex lock; /* guards what follows */
    conc_socket *connections[CONNECTIONS];
    conc_thread *threads[CONNECTIONS];
    size_t count;
    struct {
        char path[64];
        unsigned times;
    } asked[ADDRESSES];
    size_t asked_count;
    unsigned inside, most; /* requests under way, and at most so far */
    char last_range[64], last_if_range[64];
    char last_token[64];   /* X-Token */
    conc_barrier *meeting;
} site;
static site one, two;
static conc_event gate; /* /slow: waits for it, half-way */
static conc_event half; /* set when it does */

static unsigned char byte_of(size_t i, unsigned version) {
    return (unsigned char)(i * 7 + i / 251 + version * 31);
}

static unsigned times_asked(site *s, const char *path) {
    unsigned times = 0;
    size_t i;
    CONC_WITH_LOCK(&s->lock) {
        for (i = 0; i < s->asked_count && strcmp(s->asked[i].path, path) != 0; i++) {
        }
        if (i < s->asked_count) times = s->asked[i].times;
    }
    return times;
}

static unsigned note_asked(site *s, const char *path) {
    unsigned times = 0;
    size_t i;
    CONC_WITH_LOCK(&s->lock) {
        for (i = 0; i < s->asked_count && strcmp(s->asked[i].path, path) != 0; i++) {
        }
        if (i == s->asked_count && i < ADDRESSES) {
            snprintf(s->asked[i].path, sizeof s->asked[i].path, "%s", path);
            s->asked[i].times = 0;
            s->asked_count++;
        }
        if (i < ADDRESSES) times = ++s->asked[i].times;
        if (++s->inside > s->most) s->most = s->inside;
    }
    return times;
}

static bool say(conc_socket *c, const char *text) {
    return conc_send_all(c, text, strlen(text), NULL, PATIENCE) == CONC_OK;
}

/* Bytes [from, to) of the file. */
static bool say_bytes(conc_socket *c, size_t from, size_t to, unsigned version) {
    unsigned char block[16384];
    while (from < to) {
        size_t n = to - from < sizeof block ? to - from : sizeof block, i;
        for (i = 0; i < n; i++) block[i] = byte_of(from + i, version);
        if (conc_send_all(c, block, n, NULL, PATIENCE) != CONC_OK) return false;
        from += n;
    }
    return true;
}

static bool find_header(const char *head, const char *name, char *value, size_t size) {
    const char *at = strstr(head, name);
    value[0] = '\0';
    if (at == NULL) return false;
    at += strlen(name);
    snprintf(value, size, "%.*s", (int)strcspn(at, "\r\n"), at);
    return true;
}

/* One request; false: the connection ends. */
static bool answer(site *s, conc_socket *c, const char *head) {
    char path[64] = "", kind[32] = "", range[64], if_range[64], token[64], text[512], tag[32], about[160];
    unsigned long size = 0, wrong = 0, from = 0, to;
    unsigned times, version = 1;
    bool bad, ok = true, part = false;
    sscanf(head, "GET %63s ", path);
    sscanf(path, "/%31[a-z0-9]-%lu-%lu/", kind, &size, &wrong);
    find_header(head, "Range: bytes=", range, sizeof range);
    find_header(head, "If-Range: ", if_range, sizeof if_range);
    find_header(head, "X-Token: ", token, sizeof token);
    CONC_WITH_LOCK(&s->lock) {
        snprintf(s->last_range, sizeof s->last_range, "%s", range);
        snprintf(s->last_if_range, sizeof s->last_if_range, "%s", if_range);
        snprintf(s->last_token, sizeof s->last_token, "%s", token);
    }
    times = note_asked(s, path);
    bad = wrong == 0 || times <= wrong;
    to = size;
    if (strcmp(kind, "meet") == 0) (void)conc_barrier_wait(s->meeting, NULL, PATIENCE);
    CONC_WITH_LOCK(&s->lock) s->inside--; /* who has been answered may ask for the next before we come to the end */
    if (strcmp(kind, "changed") == 0 && !bad) version = 2;
    if (strcmp(kind, "careless") == 0) version = 2;  /* and does not know If-Range */
    if (strcmp(kind, "cluster") == 0) version = times % 2; /* two that do not agree */
    if (strcmp(kind, "restless") == 0) version = times; /* and comes only half */
    snprintf(tag, sizeof tag, "%s\"v%u\"", strcmp(kind, "weak") == 0 ? "W/" : "", version);
    snprintf(about, sizeof about, "ETag: %s\r\n", tag);
    if (strcmp(kind, "plain") == 0) about[0] = '\0';
    if (strcmp(kind, "young") == 0 || strcmp(kind, "old") == 0) { /* dates alone; and changed within the second, or not */
        snprintf(tag, sizeof tag, "Sun, 06 Nov 1994 08:49:37 GMT");
        snprintf(about, sizeof about, "Last-Modified: %s\r\nDate: Sun, 06 Nov 1994 08:49:%s GMT\r\n", tag, kind[0] == 'y' ? "37" : "57");
    }
    if (strcmp(kind, "404") == 0 && bad) {
        ok = say(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n");
    } else if (strcmp(kind, "503") == 0 && bad) {
        ok = say(c, "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nbusy\n");
    } else if (strcmp(kind, "later") == 0 && bad) {
        ok = say(c, "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nbusy\n");
    } else if (strcmp(kind, "never") == 0) {
        ok = say(c, "HTTP/1.1 503 Busy\r\nRetry-After: 100000\r\nContent-Length: 5\r\n\r\nbusy\n");
    } else if (strcmp(kind, "chain") == 0 && size > 0) { /* size: how many more */
        snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: /%s-%lu-0/x\r\nContent-Length: 3\r\n\r\nhop", size > 1 ? "chain" : "ok", size > 1 ? size - 1 : 5000);
        ok = say(c, text);
    } else if (strcmp(kind, "loop") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", path);
        ok = say(c, text);
    } else if (strcmp(kind, "file") == 0) {
        ok = say(c, "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(kind, "other") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/ok-100-0/other\r\nContent-Length: 0\r\n\r\n", two.port);
        ok = say(c, text);
    } else if (strcmp(kind, "endless") == 0) {
        ok = say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while (ok) ok = say(c, "4000\r\n") && say_bytes(c, 0, 0x4000, 1) && say(c, "\r\n");
    } else if (strcmp(kind, "chunked") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%lx\r\n", size);
        ok = say(c, text) && say_bytes(c, 0, size, 1) && say(c, "\r\n0\r\n\r\n");
    } else if (strcmp(kind, "unsized") == 0) {
        (void)(say(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n") && say_bytes(c, 0, size, 1));
        ok = false;
    } else if (strcmp(kind, "trailer") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%lx\r\n", size);
        ok = say(c, text) && say_bytes(c, 0, size, 1) && say(c, "\r\n0\r\nHTTP/1.1 200: OK\r\n\r\n");
    } else if (strcmp(kind, "hop") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: /ok-%lu-0/hop\r\nContent-Length: 0\r\n\r\n", size);
        ok = say(c, text);
    } else if (strcmp(kind, "drip") == 0 && bad) { /* a byte now and then */
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %lu\r\n\r\n", size);
        ok = say(c, text);
        for (from = 0; ok && from < size; from++) {
            ok = say_bytes(c, from, from + 1, 1);
            (void)conc_wait(conc_op_event(&gate), conc_after(0.02));
        }
    } else if (strcmp(kind, "trickle") == 0 && bad) { /* and four bytes a second */
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: %lu\r\n\r\n", size);
        ok = say(c, text);
        for (from = 0; ok && from < size; from++) {
            ok = say_bytes(c, from, from + 1, 1);
            (void)conc_wait(conc_op_event(&gate), conc_after(0.25));
        }
    } else if (strcmp(kind, "longhead") == 0 && bad) { /* a line of the head now and then */
        ok = say(c, "HTTP/1.1 200 OK\r\n");
        for (from = 0; ok && from < size; from++) {
            ok = say(c, "X: y\r\n");
            (void)conc_wait(conc_op_event(&gate), conc_after(0.05));
        }
        ok = ok && say(c, "Content-Length: 0\r\n\r\n");
    } else if (strcmp(kind, "fathop") == 0) { /* a redirect with a long body */
        snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: ../ok-1000-0/fat?a=b\r\nContent-Length: %lu\r\n\r\n", size);
        ok = say(c, text) && say_bytes(c, 0, size, 1);
    } else if (strcmp(kind, "endlesshop") == 0) {
        ok = say(c, "HTTP/1.1 302 Found\r\nLocation: /ok-1000-0/endless\r\nTransfer-Encoding: chunked\r\n\r\n");
        while (ok) ok = say(c, "4000\r\n") && say_bytes(c, 0, 0x4000, 1) && say(c, "\r\n");
    } else if (strcmp(kind, "fat404") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 404 Not Found\r\nContent-Length: %lu\r\n\r\n", size);
        ok = say(c, text) && say_bytes(c, 0, size, 1);
    } else if (strcmp(kind, "userhop") == 0) {
        ok = say(c, "HTTP/1.1 302 Found\r\nLocation: ftp://user:secret@127.0.0.1/x\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(kind, "lie") == 0) { /* not nearly so long as it says */
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: %lu\r\n\r\n", size);
        ok = say(c, text) && say_bytes(c, 0, 1000, 1);
        conc_event_set(&half);
        conc_wait(conc_op_event(&gate), PATIENCE);
        ok = false;
    } else if (strcmp(kind, "mute") == 0 && bad) {
        conc_wait(conc_op_event(&gate), PATIENCE);
        ok = false;
    } else {
        if (range[0] != '\0' && strcmp(kind, "plain") != 0 && (if_range[0] == '\0' || strcmp(if_range, tag) == 0 || strcmp(kind, "careless") == 0)) {
            int n = sscanf(range, "%lu-%lu", &from, &to);
            if (n < 2) {
                to = size;
            } else {
                to++;
            }
            part = n >= 1 && from < size && to <= size;
        }
        if (part) {
            snprintf(text, sizeof text, "HTTP/1.1 206 Partial\r\n%sContent-Range: bytes %lu-%lu/%lu\r\nContent-Length: %lu\r\n\r\n", about, from, to - 1, size,
                     to - from);
        } else {
            from = 0;
            to = size;
            snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n%sAccept-Ranges: bytes\r\nContent-Length: %lu\r\n\r\n", about, size);
        }
        ok = say(c, text);
        if (bad && (strcmp(kind, "drop") == 0 || strcmp(kind, "changed") == 0 || strcmp(kind, "plain") == 0 || strcmp(kind, "restless") == 0 || strcmp(kind, "weak") == 0 ||
                    strcmp(kind, "young") == 0 || strcmp(kind, "old") == 0)) {
            if (ok) (void)say_bytes(c, from, from + (to - from) / 2, version);
            ok = false;
        } else if (bad && strcmp(kind, "stall") == 0) {
            if (ok) (void)say_bytes(c, from, from + (to - from) / 2, version);
            conc_wait(conc_op_event(&gate), PATIENCE);
            ok = false;
        } else if (bad && strcmp(kind, "slow") == 0) {
            if (ok) ok = say_bytes(c, from, from + (to - from) / 2, version);
            conc_event_set(&half);
            conc_wait(conc_op_event(&gate), PATIENCE);
            if (ok) ok = say_bytes(c, from + (to - from) / 2, to, version);
        } else if (ok) {
            ok = say_bytes(c, from, to, version);
        }
    }
    return ok;
}

typedef struct visit {
    site *s;
    conc_socket *c;
} visit;

static int serve(void *arg) {
    visit v = *(visit *)arg;
    char head[4096];
    size_t n = 0;
    bool ok = true;
    free(arg);
    while (ok) {
        size_t done = 0;
        char *end;
        if (conc_receive(v.c, head + n, sizeof head - 1 - n, &done, CONC_FOREVER) != CONC_OK) break;
        n += done;
        head[n] = '\0';
        end = strstr(head, "\r\n\r\n");
        if (end == NULL) continue;
        n = 0; /* nobody here sends two at once */
        ok = answer(v.s, v.c, head);
    }
    conc_socket_close(v.c);
    return 0;
}

static int accept_all(void *arg) {
    site *s = arg;
    conc_socket *c;
    while (conc_accept(s->listener, &c, CONC_FOREVER) == CONC_OK) {
        visit *v = malloc(sizeof *v);
        v->s = s;
        v->c = c;
        conc_socket_set(c, CONC_NO_DELAY, 1);
        CONC_WITH_LOCK(&s->lock) {
            if (CHECK(s->count < CONNECTIONS)) {
                s->connections[s->count] = c;
                s->threads[s->count] = conc_thread_start(serve, v, NULL);
                CHECK(s->threads[s->count++] != NULL);
            }
        }
    }
    return 0;
}

static void site_open(site *s) {
    conc_address a;
    s->listener = conc_tcp_listen("127.0.0.1", 0, NULL);
    CHECK(s->listener != NULL);
    CHECK_OK(conc_socket_address(s->listener, &a));
    s->port = conc_address_port(&a);
    s->acceptor = conc_thread_start(accept_all, s, NULL);
}

/* Ends all connections, and joins their threads. (One that was given up before it was accepted may still come: it stays.) */
static void site_clear(site *s) {
    size_t i, n = 0;
    CONC_WITH_LOCK(&s->lock) n = s->count;
    for (i = 0; i < n; i++) conc_socket_close(s->connections[i]);
    for (i = 0; i < n; i++) {
        CHECK_OK(conc_thread_join(s->threads[i], NULL, PATIENCE));
        CHECK_OK(conc_socket_free(s->connections[i]));
    }
    CONC_WITH_LOCK(&s->lock) {
        for (i = n; i < s->count; i++) {
            s->connections[i - n] = s->connections[i];
            s->threads[i - n] = s->threads[i];
        }
        s->count -= n;
        s->asked_count = 0;
        s->inside = s->most = 0;
    }
}

static void site_close(site *s) {
    conc_socket_close(s->listener);
    CHECK_OK(conc_thread_join(s->acceptor, NULL, PATIENCE));
    site_clear(s);
    CHECK_OK(conc_socket_free(s->listener));
}

/* ---- what is on the disk ------------------------------------------------------------------------------------------- */

static char directory[64];

/* Good until the 32nd call after it. */
static const char *at(const char *name) {
    static char text[32][400];
    static int i;
    i = (i + 1) % 32;
    snprintf(text[i], sizeof text[i], "%s/%s", directory, name);
    return text[i];
}

static const char *url(site *s, const char *path) {
    static char text[32][128];
    static int i;
    i = (i + 1) % 32;
    snprintf(text[i], sizeof text[i], "http://127.0.0.1:%u%s", s->port, path);
    return text[i];
}

static bool is_file(const char *name, size_t size, unsigned version) {
    FILE *f = fopen(at(name), "rb");
    size_t i;
    bool same = f != NULL;
    for (i = 0; same && i < size; i++) same = getc(f) == byte_of(i, version);
    if (same) same = getc(f) == EOF;
    if (f != NULL) fclose(f);
    return same;
}

static bool is_there(const char *name) {
    struct stat s;
    return lstat(at(name), &s) == 0;
}

static size_t files(void) {
    DIR *d = opendir(directory);
    size_t n = 0;
    struct dirent *e;
    while ((e = readdir(d)) != NULL) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void sweep(void) {
    DIR *d = opendir(directory);
    struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') unlink(at(e->d_name));
    }
    closedir(d);
}

static conc_download_desc quick(void) {
    conc_download_desc d;
    memset(&d, 0, sizeof d);
    d.allow_http = true;
    d.retry_delay = 0.001;
    d.stall_timeout = 50;
    d.proxy = "";
    return d;
}

/* One item, with its record; and nothing is left behind but what is to be. */
static conc_result get(const char *path, conc_download_item *item, const conc_download_desc *desc) {
    memset(item, 0, sizeof *item);
    item->url = url(&one, path);
    item->path = at("f");
    (void)conc_download_all(item, 1, desc);
    if (item->record.result != CONC_OK && item->record.bytes == 0) CHECK_EQ(files(), 0);
    if (item->record.result == CONC_OK) CHECK_EQ(files(), 1);
    if (item->record.result != CONC_OK) CHECK(item->record.error[0] != '\0');
    return item->record.result;
}

/* ---- cases ------------------------------------------------------------------------------------------------------------ */

static void whole(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    struct stat s;
    CHECK_OK(get("/ok-20000-0/x", &i, &d));
    CHECK(is_file("f", 20000, 1));
    CHECK_EQ(i.record.http_code, 200);
    CHECK_EQ(i.record.bytes, 20000);
    CHECK_EQ(i.record.received, 20000);
    CHECK_EQ(i.record.attempts, 1);
    CHECK_EQ(i.record.resumed_from, 0);
    CHECK(i.record.total > 0 && i.record.first_byte > 0 && i.record.first_byte <= i.record.total && i.record.connect > 0);
    CHECK_STR(i.record.error, "");
    CHECK_STR(i.record.final_url, i.url);
    d.mode = 0640;
    CHECK_OK(get("/ok-0-0/x", &i, &d)); /* in place of the other */
    CHECK(is_file("f", 0, 1));
    CHECK(stat(at("f"), &s) == 0 && (s.st_mode & 0777) == 0640);
    CHECK_OK(get("/chunked-100000-0/x", &i, &d));
    CHECK(is_file("f", 100000, 1));
    CHECK_OK(get("/unsized-100000-0/x", &i, &d));
    CHECK(is_file("f", 100000, 1));
    d.sync = true;
    CHECK_OK(conc_download(url(&one, "/ok-3000000-0/y"), at("f"), &d));
    CHECK(is_file("f", 3000000, 1));
}

static void refused_answers(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.retries = 2;
    CHECK_R(get("/404-10-0/x", &i, &d), CONC_FAILED);
    CHECK_EQ(i.record.http_code, 404);
    CHECK_EQ(i.record.attempts, 1);
    CHECK_HAS(i.record.error, "404");
    CHECK_R(get("/503-10-0/x", &i, &d), CONC_FAILED);
    CHECK_EQ(i.record.attempts, 3);
    CHECK_R(conc_download(url(&one, "/404-10-0/x"), at("f"), &d), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "404");
    CHECK_OK(get("/503-1000-2/y", &i, &d));
    CHECK_EQ(i.record.attempts, 3);
    CHECK(is_file("f", 1000, 1));
    sweep();
    CHECK_R(get("/never-10-0/x", &i, &d), CONC_FAILED);
    CHECK_EQ(i.record.attempts, 1);
    CHECK_HAS(i.record.error, "100000 s");
    d.retries = -1;
    CHECK_R(get("/503-10-1/z", &i, &d), CONC_FAILED);
    CHECK_EQ(i.record.attempts, 1);
}

static void retry_after(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    CHECK_OK(get("/later-1000-1/x", &i, &d));
    CHECK_EQ(i.record.attempts, 2);
    CHECK(i.record.total >= 1);
    CHECK(i.record.queued >= 1);
}

static void broken_off(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    CHECK_OK(get("/drop-100000-3/x", &i, &d));
    CHECK(is_file("f", 100000, 1));
    CHECK_EQ(i.record.attempts, 4);
    CHECK_EQ(i.record.received, 100000); /* nothing twice */
    CHECK_EQ(i.record.resumed_from, 0);
    CHECK_HAS(one.last_if_range, "\"v1\"");
    sweep();
    CHECK_OK(get("/changed-100000-1/x", &i, &d));
    CHECK(is_file("f", 100000, 2));
    CHECK_EQ(i.record.attempts, 2);
    CHECK_EQ(i.record.received, 150000);
    sweep();
    CHECK_OK(get("/plain-100000-1/x", &i, &d)); /* nothing to go by: from the beginning */
    CHECK(is_file("f", 100000, 1));
    CHECK_EQ(i.record.received, 150000);
    sweep();
    d.retries = 2;
    CHECK_R(get("/plain-100000-0/y", &i, &d), CONC_BROKEN);
    CHECK_EQ(i.record.attempts, 3);
    CHECK_EQ(files(), 0);
}

/* One that comes in halves for ever, with a validator: each attempt brings something, until the last byte. */
static void halves(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.retries = 1;
    d.retry_delay_max = 0.001;
    CHECK_R(get("/drop-1000-0/x", &i, &d), CONC_BROKEN); /* of one byte, the half is none */
    CHECK(i.record.attempts > 5);
    CHECK_EQ(i.record.bytes, 999);
    CHECK(is_there("f.part") && is_there("f.part.info") && !is_there("f"));
    d.discard_parts = true;
    CHECK_R(get("/drop-1000-0/x", &i, &d), CONC_BROKEN);
    CHECK_EQ(i.record.resumed_from, 999);
    CHECK_EQ(files(), 0);
}

static void redirects(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    static const char *const headers[] = { "X-Token: secret", NULL };
    d.headers = headers;
    CHECK_OK(get("/chain-3-0/x", &i, &d));
    CHECK(is_file("f", 5000, 1));
    CHECK_EQ(i.record.redirects, 3);
    CHECK_STR(i.record.final_url, url(&one, "/ok-5000-0/x"));
    CHECK_STR(one.last_token, "secret"); /* the same host */
    CHECK_OK(get("/other-0-0/x", &i, &d));
    CHECK(is_file("f", 100, 1));
    CHECK_STR(one.last_token, "secret");
    CHECK_STR(two.last_token, ""); /* another */
    sweep();
    CHECK_R(get("/loop-0-0/x", &i, &d), CONC_REJECTED);
    CHECK_EQ(i.record.redirects, 10);
    CHECK_HAS(i.record.error, "10 redirects");
    CHECK_R(get("/file-0-0/x", &i, &d), CONC_REJECTED);
    CHECK_HAS(i.record.error, "file:///");
    d.max_redirects = 2;
    CHECK_R(get("/chain-3-0/x", &i, &d), CONC_REJECTED);
    d.max_redirects = -1;
    CHECK_R(get("/chain-1-0/x", &i, &d), CONC_REJECTED);
}

static void lengths(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.max_bytes = 50000;
    CHECK_R(get("/endless-0-0/x", &i, &d), CONC_REJECTED);
    CHECK_HAS(i.record.error, "max_bytes");
    CHECK_R(get("/ok-50001-0/x", &i, &d), CONC_REJECTED);
    CHECK_EQ(i.record.received, 0);
    CHECK_OK(get("/ok-50000-0/x", &i, &d));
    sweep();
    CHECK_OK(get("/trailer-1000-0/x", &i, &d)); /* what looks like another answer behind it is none */
    CHECK(is_file("f", 1000, 1));
    sweep();
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/ok-1000-0/x");
    i.path = at("f");
    i.size = 1001;
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_BROKEN);
    CHECK_HAS(i.record.error, "1000 bytes, and not 1001");
    i.url = url(&one, "/unsized-1000-0/x");
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_BROKEN);
    i.size = 999;
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_BROKEN);
    i.size = 1000;
    i.max_bytes = 100;
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_REJECTED);
    i.max_bytes = 0;
    CHECK_EQ(files(), 0);
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK(is_file("f", 1000, 1));
}

static void time_limits(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_event_reset(&gate);
    d.stall_timeout = 0.3;
    d.retries = 1;
    CHECK_OK(get("/stall-1000-1/x", &i, &d)); /* it is tried again */
    CHECK_EQ(i.record.attempts, 2);
    CHECK_EQ(i.record.received, 1000);
    sweep();
    CHECK_R(get("/mute-1000-0/x", &i, &d), CONC_TIMEOUT);
    CHECK_EQ(i.record.attempts, 2);
    d.min_speed = 100000;
    CHECK_R(get("/drip-10000-0/x", &i, &d), CONC_TIMEOUT);
    CHECK_HAS(i.record.error, "min_speed");
    CHECK(i.record.received > 0);
    d.min_speed = 0;
    d.stall_timeout = 50;
    d.total_timeout = 0.3;
    CHECK_R(get("/mute-1000-0/y", &i, &d), CONC_TIMEOUT);
    CHECK_HAS(i.record.error, "total_timeout");
    d.total_timeout = 0;
    d.deadline = conc_after(0.3);
    CHECK_R(get("/mute-1000-0/z", &i, &d), CONC_TIMEOUT);
    CHECK(conc_deadline_passed(d.deadline));
    CHECK_EQ(files(), 0);
    conc_event_set(&gate);
}

static void checksums(void) {
#if defined(CONC_TEST_WITH_OPENSSL)
    conc_download_desc d = quick();
    conc_download_item i;
    unsigned kind;
    /* of the 1,000 bytes of byte_of(), version 1 */
    static char sums[3][160];
    static const conc__hash_kind kinds[] = { CONC__HASH_MD5, CONC__HASH_SHA256, CONC__HASH_SHA512 };
    static const char *const names[] = { "md5:", "SHA-256:", "" };
    unsigned char bytes[1000], sum[64];
    size_t k;
    for (k = 0; k < 1000; k++) bytes[k] = byte_of(k, 1);
    for (kind = 0; kind < 3; kind++) {
        size_t n = conc__hash_size(kinds[kind]);
        CHECK(EVP_Digest(bytes, 1000, sum, NULL, kind == 0 ? EVP_md5() : kind == 1 ? EVP_sha256() : EVP_sha512(), NULL) == 1);
        strcpy(sums[kind], names[kind]);
        for (k = 0; k < n; k++) sprintf(sums[kind] + strlen(sums[kind]), kind == 0 ? "%02X" : "%02x", sum[k]);
        memset(&i, 0, sizeof i);
        i.url = url(&one, kind == 1 ? "/drop-1000-1/s" : "/ok-1000-0/s"); /* 1: computed from the file */
        i.path = at("f");
        i.checksum = sums[kind];
        CHECK_OK(conc_download_all(&i, 1, &d));
        CHECK(is_file("f", 1000, 1));
        sweep();
        i.url = url(&one, "/ok-999-0/s");
        CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
        CHECK_R(i.record.result, CONC_BROKEN);
        CHECK_HAS(i.record.error, "checksum");
        CHECK_EQ(i.record.attempts, 1);
        CHECK_EQ(files(), 0);
    }
    /* A part that is another file's, with a validator that fits by chance: begun anew, once. */
    i.url = url(&one, "/ok-1000-0/s");
    d.retries = 1;
    {
        conc__dl_file file;
        CHECK_OK(conc__dl_file_open(&file, i.path, i.url));
        CHECK_OK(conc__dl_file_write(&file, "wrong", 5, 0));
        strcpy(file.etag, "\"v1\"");
        conc__dl_file_close(&file, i.url, true);
    }
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK_EQ(i.record.attempts, 2);
    CHECK(is_file("f", 1000, 1));
    /* What is there is looked at. */
    d.keep_existing = true;
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK_EQ(i.record.attempts, 0);
    CHECK_EQ(i.record.bytes, 1000);
    i.checksum = "md5:00000000000000000000000000000000";
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_EQ(i.record.attempts, 1);
    CHECK(is_file("f", 1000, 1)); /* it has stayed */
    i.checksum = "crc32:0";
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_INVALID);
    i.checksum = "123g";
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_INVALID);
#endif
}

static void existing(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.keep_existing = true;
    CHECK_OK(get("/ok-1000-0/x", &i, &d));
    CHECK_EQ(i.record.attempts, 1);
    CHECK_OK(get("/404-1000-0/x", &i, &d));
    CHECK_EQ(i.record.attempts, 0);
    i.size = 2000;
    i.url = url(&one, "/ok-2000-0/x");
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK_EQ(i.record.attempts, 1);
    CHECK(is_file("f", 2000, 1));
}

/* Canceled half-way, by the thread's token, the desc's, the future; each time the next call goes on. */
typedef struct canceler {
    conc_cancel *token;
    conc_future *future;
} canceler;

static int cancel_half_way(void *arg) {
    canceler *c = arg;
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    if (c->token != NULL) conc_cancel_fire(c->token);
    if (c->future != NULL) CHECK_R(conc_future_cancel(c->future), CONC_BUSY);
    return 0;
}

static void wait_for_bytes(const char *name, size_t size) {
    struct stat s;
    char path[128]; /* (at() is the main thread's) */
    snprintf(path, sizeof path, "%s/%s", directory, name);
    UNTIL(stat(path, &s) == 0 && (size_t)s.st_size >= size);
}

static int cancel_when_written(void *arg) {
    canceler *c = arg;
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    wait_for_bytes("f.part", 500);
    return cancel_half_way(c);
}

static void cancel_and_go_on(conc_download_engine engine) {
    conc_download_desc d = quick();
    conc_download_item i;
    int how;
    char path[64];
    d.engine = engine;
    for (how = 0; how < 3; how++) {
        conc_cancel token;
        canceler c;
        conc_thread *t;
        memset(&token, 0, sizeof token);
        memset(&c, 0, sizeof c);
        d.cancel = NULL;
        conc_event_reset(&gate);
        conc_event_reset(&half);
        snprintf(path, sizeof path, "/slow-1000-1/%d%d", how, (int)engine);
        if (how < 2) {
            c.token = &token;
            t = conc_thread_start(cancel_when_written, &c, NULL);
            if (how == 1) d.cancel = &token;
            CONC_WITH_CANCEL(how == 0 ? &token : NULL) {
                CHECK_R(get(path, &i, &d), CONC_CANCELED);
            }
        } else {
            conc_downloader *dl = conc_downloader_new(&d);
            memset(&i, 0, sizeof i);
            i.url = url(&one, path);
            i.path = at("f");
            c.future = conc_downloader_add(dl, &i);
            t = conc_thread_start(cancel_when_written, &c, NULL);
            CHECK_R(conc_future_wait(c.future, PATIENCE), CONC_CANCELED);
            i.record = *conc_download_record_of(c.future);
        }
        CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
        if (how == 2) {
            conc_downloader *dl = ((conc__download *)(void *)c.future)->d;
            conc_future_release(c.future);
            CHECK_OK(conc_downloader_finish(dl));
        }
        CHECK_EQ(i.record.bytes, 500);
        CHECK(is_there("f.part") && is_there("f.part.info") && !is_there("f"));
        conc_event_set(&gate);
        d.cancel = NULL;
        CHECK_OK(get(path, &i, &d));
        CHECK(is_file("f", 1000, 1));
        CHECK_EQ(i.record.resumed_from, 500);
        CHECK_EQ(i.record.received, 500);
        CHECK_EQ(i.record.http_code, 206);
        sweep();
    }
}

static void cancel_coroutines(void) { cancel_and_go_on(CONC_DOWNLOAD_COROUTINES); }
static void cancel_threads(void) { cancel_and_go_on(CONC_DOWNLOAD_THREADS); }
static void cancel_processes(void) { cancel_and_go_on(CONC_DOWNLOAD_PROCESSES); }

/* Many, small, of two hosts, with some that fail. */
static void many(conc_download_engine engine) {
    enum { N = 300 };
    static conc_download_item items[N];
    static char urls[N][128], paths[N][128];
    conc_download_desc d = quick();
    size_t i, good = 0;
    memset(items, 0, sizeof items);
    for (i = 0; i < N; i++) {
        snprintf(urls[i], sizeof urls[i], "%s", url(i % 2 != 0 ? &one : &two, i % 50 == 7 ? "/404-0-0/x" : "/ok-20000-0/x"));
        snprintf(paths[i], sizeof paths[i], "%s", at("n"));
        snprintf(paths[i] + strlen(paths[i]), 16, "%03zu", i);
        items[i].url = urls[i];
        items[i].path = paths[i];
    }
    d.engine = engine;
    CHECK_R(conc_download_all(items, N, &d), CONC_FAILED);
    CHECK_HAS(conc_error_detail(), "6 of 300");
    for (i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%03zu", i);
        if (i % 50 == 7) {
            CHECK_R(items[i].record.result, CONC_FAILED);
            CHECK(!is_there(name));
        } else if (items[i].record.result == CONC_OK && is_file(name, 20000, 1)) {
            good++;
        }
    }
    CHECK_EQ(good, N - 6);
    CHECK_EQ(files(), N - 6);
    CHECK(one.count + two.count <= 32 || engine != CONC_DOWNLOAD_COROUTINES); /* connections are used again */
}

static void many_coroutines(void) { many(CONC_DOWNLOAD_COROUTINES); }
static void many_threads(void) { many(CONC_DOWNLOAD_THREADS); }
static void many_processes(void) { many(CONC_DOWNLOAD_PROCESSES); }

/* A process that is killed half-way: another one begins anew. */
static void kill_it(void *arg) { /* in the loop's thread, whose it is */
    conc_downloader *dl = arg;
    CHECK_OK(conc_process_kill(((conc__crew *)dl->workers->engine)->hands[0]->process));
}

static int kill_half_way(void *arg) {
    conc_downloader *dl = arg;
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    wait_for_bytes("f.part", 500);
    CHECK_OK(conc_loop_post(dl->workers->loop, kill_it, dl));
    return 0;
}

static void killed_process(void) {
    conc_download_desc d = quick();
    conc_downloader *dl;
    conc_download_item i;
    conc_future *f;
    conc_thread *t;
    d.engine = CONC_DOWNLOAD_PROCESSES;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    dl = conc_downloader_new(&d);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/slow-1000-1/k");
    i.path = at("f");
    f = conc_downloader_add(dl, &i);
    t = conc_thread_start(kill_half_way, dl, NULL);
    CHECK_OK(conc_future_wait(f, PATIENCE));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK_EQ(conc_download_record_of(f)->bytes, 1000);
    conc_future_release(f);
    CHECK_OK(conc_downloader_finish(dl));
    CHECK(is_file("f", 1000, 1));
    CHECK_EQ(files(), 1);
}

/* No more at a time than there may be, and as many as that: each waits for the others. */
static void host_limit(void) {
    enum { N = 12, AT_ONCE = 3 };
    conc_download_item items[N];
    char paths[N][128];
    conc_barrier meeting = { .parties = AT_ONCE };
    conc_download_desc d = quick();
    int i;
    memset(items, 0, sizeof items);
    for (i = 0; i < N; i++) {
        snprintf(paths[i], sizeof paths[i], "%s%d", at("h"), i);
        items[i].url = url(&one, "/meet-100-0/x");
        items[i].path = paths[i];
    }
    one.meeting = &meeting;
    d.max_per_host = AT_ONCE;
    CHECK_OK(conc_download_all(items, N, &d));
    CHECK_EQ(one.most, AT_ONCE);
    d.max_per_host = 0;
    d.max_parallel = AT_ONCE;
    d.engine = CONC_DOWNLOAD_THREADS;
    CHECK_OK(conc_download_all(items, N, &d));
    CHECK_EQ(one.most, AT_ONCE);
    CHECK_OK(conc_barrier_destroy(&meeting));
}

/* Hosts take turns, and the urgent come first, in whatever order they were added. */
static char turns[64];
static void note_turn(const conc_download_item *item, void *user) {
    (void)user;
    strcat(turns, (const char *)item->user);
}

static void turns_of_hosts(void) {
    conc_download_desc d = quick();
    conc_downloader *dl;
    conc_download_item i;
    conc_loop *loop = conc_loop_new(NULL);
    char names[] = "AaBbCcDdEeFf";
    char name[3] = "";
    char users[12][2];
    size_t k;
    turns[0] = '\0';
    d.max_parallel = 1;
    d.done = note_turn;
    d.loop = loop; /* so that nothing begins before all are there */
    dl = conc_downloader_new(&d);
    for (k = 0; k < 8; k++) { /* six of one, then two of the other */
        memset(&i, 0, sizeof i);
        i.url = url(k < 6 ? &one : &two, "/ok-10-0/x");
        name[0] = names[k];
        users[k][0] = k < 6 ? '1' : '2';
        users[k][1] = '\0';
        i.user = users[k];
        i.path = at(name);
        if (k == 5) {
            i.priority = 1;
            users[k][0] = '!';
        }
        conc_future_release(conc_downloader_add(dl, &i));
    }
    CHECK_R(conc_downloader_join(dl, CONC_NOW), CONC_INVALID); /* not closed */
    CHECK_R(conc_downloader_free(dl), CONC_BUSY);
    CHECK_OK(conc_downloader_finish(dl));
    CHECK_OK(conc_loop_free(loop));
    CHECK_STR(turns, "!2121111");
}

static void same_target(void) {
    conc_download_desc d = quick();
    conc_download_item items[2];
    conc__dl_file file;
    memset(items, 0, sizeof items);
    items[0].url = items[1].url = url(&one, "/ok-1000-0/x");
    items[0].path = items[1].path = at("f");
    CHECK_R(conc_download_all(items, 2, &d), CONC_FAILED);
    CHECK_OK(items[0].record.result);
    CHECK_R(items[1].record.result, CONC_BUSY);
    CHECK(is_file("f", 1000, 1));
    /* What a note says of where it is from: nothing of a user, and it has to be just that. */
    CHECK_OK(conc__dl_file_open(&file, at("n"), "http://user:secret@h/x"));
    CHECK_OK(conc__dl_file_write(&file, "abc", 3, 0));
    conc__dl_file_close(&file, "http://user:secret@h/x", true);
    {
        char text[500] = "";
        FILE *note = fopen(at("n.part.info"), "r");
        CHECK(note != NULL && fread(text, 1, sizeof text - 1, note) > 0);
        if (note != NULL) fclose(note);
        CHECK_HAS(text, "url http://h/x\n");
        CHECK(strstr(text, "secret") == NULL);
    }
    CHECK_OK(conc__dl_file_open(&file, at("n"), "http://other@h/x"));
    CHECK_EQ(file.kept, 3);
    conc__dl_file_close(&file, "http://h/x", true);
    CHECK_OK(conc__dl_file_open(&file, at("n"), "http://h/y"));
    CHECK_EQ(file.kept, 0);
    conc__dl_file_close(&file, "http://h/y", false);
    /* Another process's, or session's. */
    CHECK_OK(conc__dl_file_open(&file, items[0].path, items[0].url));
    CHECK_R(conc_download(items[0].url, items[0].path, &d), CONC_BUSY);
    CHECK(is_there("f.part"));
    conc__dl_file_close(&file, items[0].url, false);
    CHECK_OK(conc_download(items[0].url, items[0].path, &d));
    CHECK_EQ(files(), 1);
}

static void unwritable(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    char path[128];
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/ok-1000-0/x");
    snprintf(path, sizeof path, "%s/none/f", directory);
    i.path = path;
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_SYSTEM);
    CHECK_HAS(i.record.error, "No such file");
    CHECK_EQ(times_asked(&one, "/ok-1000-0/x"), 0);
    CHECK_HAS(i.record.error, "directory");
    CHECK_EQ(mkdir(at("d"), 0500), 0);
    i.path = at("d"); /* a directory */
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_SYSTEM);
    CHECK_HAS(i.record.error, "directory");
    CHECK_EQ(times_asked(&one, "/ok-1000-0/x"), 0);
    CHECK_EQ(symlink(at("d"), at("f")), 0); /* a link to one is replaced */
    i.path = at("f");
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK(is_file("f", 1000, 1));
    CHECK_EQ(unlink(at("f")), 0);
    if (geteuid() != 0) {
        i.path = at("d/f");
        CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
        CHECK_R(i.record.result, CONC_SYSTEM);
        CHECK_HAS(i.record.error, "ermission");
        CHECK_EQ(times_asked(&one, "/ok-1000-0/x"), 1);
    }
    CHECK_EQ(files(), 1);
    CHECK_EQ(rmdir(at("d")), 0);
    CHECK_EQ(symlink("/etc/passwd", at("f.part")), 0); /* a link in the part's place is not followed */
    i.path = at("f");
    CHECK_R(conc_download_all(&i, 1, &d), CONC_FAILED);
    CHECK_R(i.record.result, CONC_SYSTEM);
    CHECK_EQ(unlink(at("f.part")), 0);
    CHECK_EQ(symlink("/etc/passwd", at("f")), 0); /* at the target, it is replaced */
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK(is_file("f", 1000, 1));
    CHECK_EQ(files(), 1);
}

static void wrong_items(void) {
    conc_download_desc d = quick();
    static const struct {
        const char *url;
        int result;
    } wrong[] = {
        { "ftp://127.0.0.1/x", CONC_REJECTED }, { "file:///etc/passwd", CONC_REJECTED }, { "x", CONC_INVALID },
        { "", CONC_INVALID }, { "http:///x", CONC_INVALID }, { "http://h/\r\nX: y", CONC_INVALID }, { "http://h/a b", CONC_INVALID },
    };
    size_t k;
    for (k = 0; k < sizeof wrong / sizeof wrong[0]; k++) CHECK_R(conc_download(wrong[k].url, at("f"), &d), wrong[k].result);
    CHECK_R(conc_download(url(&one, "/ok-1-0/x"), "", &d), CONC_INVALID);
    CHECK_R(conc_download(url(&one, "/ok-1-0/x"), at("d/"), &d), CONC_INVALID);
    CHECK_R(conc_download(url(&one, "/ok-1-0/x"), at("f"), NULL), CONC_REJECTED); /* http */
    CHECK_MISUSE(conc_download(NULL, "x", &d), CONC_INVALID);
    CHECK_MISUSE(conc_download("http://x/", NULL, &d), CONC_INVALID);
    CHECK_MISUSE(conc_download_all(NULL, 1, &d), CONC_INVALID);
    CHECK_OK(conc_download_all(NULL, 0, &d));
    CHECK_MISUSE_NULL(conc_downloader_add(NULL, NULL), CONC_INVALID);
    CHECK_MISUSE(conc_downloader_close(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_downloader_cancel(NULL), CONC_INVALID);
    CHECK_MISUSE(conc_downloader_join(NULL, CONC_NOW), CONC_INVALID);
    CHECK_MISUSE(conc_try(conc_op_downloader_end(NULL)), CONC_INVALID);
    CHECK_OK(conc_downloader_free(NULL));
    CHECK(conc_download_record_of(NULL) == NULL);
    d.max_parallel = 100000;
    CHECK_MISUSE_NULL(conc_downloader_new(&d), CONC_INVALID);
    d = quick();
    d.user_agent = "x\r\nY: z";
    CHECK_MISUSE_NULL(conc_downloader_new(&d), CONC_INVALID);
    d = quick();
    d.stall_timeout = -1;
    CHECK_MISUSE_NULL(conc_downloader_new(&d), CONC_INVALID);
    CHECK_EQ(files(), 0);
}

static void names(void) {
    static const struct {
        const char *url, *name; /* NULL: none */
    } cases[] = {
        { "https://h/a/1.jpg", "1.jpg" }, { "https://h/a/1.jpg?x=/y#z", "1.jpg" }, { "https://h", "index.html" }, { "https://h/", "index.html" },
        { "https://h/a%20b", "a b" }, { "https://h/..", NULL }, { "https://h/%2e%2e", NULL }, { "https://h/a%2fb", NULL }, { "https://h/a%5cb", NULL },
        { "https://h/.profile", NULL }, { "https://h/-rf", NULL }, { "https://h/con", NULL }, { "https://h/COM1.txt", NULL }, { "https://h/com.txt", "com.txt" },
        { "https://h/a%00b", NULL }, { "https://h/a.", NULL }, { "https://h/a%", "a%" }, { "https://h/c:x", NULL },
    };
    char name[300];
    char longest[400] = "https://h/";
    size_t k;
    for (k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        conc_result r = conc_download_name(cases[k].url, name, sizeof name);
        CHECK_R(r, cases[k].name != NULL ? CONC_OK : CONC_INVALID);
        CHECK_STR(name, cases[k].name != NULL ? cases[k].name : "");
    }
    memset(longest + 10, 'a', 256);
    CHECK_R(conc_download_name(longest, name, sizeof name), CONC_INVALID);
    longest[265] = '\0';
    CHECK_OK(conc_download_name(longest, name, sizeof name));
    CHECK_R(conc_download_name(longest, name, 255), CONC_INVALID);
    CHECK_R(conc_download_name(NULL, name, 255), CONC_INVALID);
}

/* A session: results as they come, items added meanwhile, futures in a select. */
static void session(void) {
    conc_download_desc d = quick();
    conc_downloader *dl = conc_downloader_new(&d);
    conc_download_item i;
    conc_future *f, *g;
    size_t n = 0;
    conc_op ops[2];
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/ok-1000-0/x");
    i.path = at("a");
    f = conc_downloader_add(dl, &i);
    i.url = url(&one, "/404-1000-0/x");
    i.path = at("b");
    i.user = &n;
    g = conc_downloader_add(dl, &i);
    CHECK(f != NULL && g != NULL);
    ops[0] = conc_op_future(f);
    ops[1] = conc_op_sleep(60);
    CHECK_EQ(conc_select(ops, 2, PATIENCE), 0);
    CHECK_OK(ops[0].result);
    CHECK_EQ(conc_download_record_of(f)->bytes, 1000);
    CHECK_STR(conc_download_item_of(f)->path, at("a"));
    CHECK_R(conc_future_wait(g, PATIENCE), CONC_FAILED);
    CHECK_EQ(conc_future_code(g), 404);
    CHECK_HAS(conc_future_detail(g), "404");
    CHECK(conc_future_arg(g) == &n);
    conc_future_release(f);
    conc_future_release(g);
    CONC_FOREACH(conc_download_item, r, conc_downloader_results(dl)) {
        n++;
        if (n <= 2) { /* one more for each */
            i = r;
            i.path = at(n == 1 ? "c" : "d");
            i.url = url(&two, "/ok-10-0/x");
            conc_future_release(conc_downloader_add(dl, &i));
        }
        if (n == 4) CHECK_OK(conc_downloader_close(dl));
        CHECK_R(r.record.result, strcmp(r.path, at("b")) == 0 ? CONC_FAILED : CONC_OK);
    }
    CHECK_EQ(n, 4);
    CHECK_R(conc_downloader_close(dl), CONC_CLOSED);
    CHECK(conc_downloader_add(dl, &i) == NULL);
    CHECK_R(conc_error_result(), CONC_CLOSED);
    CHECK_OK(conc_downloader_join(dl, PATIENCE));
    CHECK_OK(conc_downloader_free(dl));
    CHECK_EQ(files(), 3);
}

/* Canceled in the queue, each by its future; and all at once. */
static void cancel_queued(void) {
    conc_download_desc d = quick();
    conc_downloader *dl;
    conc_download_item i;
    conc_future *f[4];
    int k;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    d.max_parallel = 1;
    dl = conc_downloader_new(&d);
    for (k = 0; k < 4; k++) {
        char name[2] = { (char)('a' + k), '\0' };
        memset(&i, 0, sizeof i);
        i.url = url(&one, "/slow-1000-0/x");
        i.path = at(name);
        f[k] = conc_downloader_add(dl, &i);
        if (k == 0) CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    }
    wait_for_bytes("a.part", 500);
    CHECK_OK(conc_future_cancel(f[2]));
    CHECK_R(conc_future_wait(f[2], PATIENCE), CONC_CANCELED);
    CHECK_R(conc_download_record_of(f[2])->result, CONC_CANCELED);
    CHECK_R(conc_future_cancel(f[0]), CONC_BUSY);
    CHECK_R(conc_future_wait(f[0], PATIENCE), CONC_CANCELED);
    CHECK_OK(conc_downloader_cancel(dl));
    CHECK_OK(conc_downloader_join(dl, PATIENCE));
    CHECK_R(conc_future_wait(f[1], CONC_NOW), CONC_CANCELED);
    CHECK_R(conc_future_wait(f[3], CONC_NOW), CONC_CANCELED);
    for (k = 0; k < 4; k++) conc_future_release(f[k]);
    CHECK_OK(conc_downloader_free(dl));
    conc_event_set(&gate);
}

/* Within a loop of the caller's. */
CONC_CORO(fetcher, conc_downloader *dl; conc_future *f; int *good;) {
    conc_download_item i;
    CO_BEGIN;
    CHECK_R(conc_download(url(&one, "/ok-1-0/x"), at("f"), NULL), CONC_DEADLOCK);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/ok-1000-0/x");
    i.path = at("f");
    self->f = conc_downloader_add(self->dl, &i);
    CO_AWAIT(conc_op_future(self->f));
    CHECK_OK(self->co.result);
    *self->good += self->co.result == CONC_OK;
    conc_future_release(self->f);
    conc_downloader_close(self->dl);
    CO_AWAIT(conc_op_downloader_end(self->dl));
    CHECK_OK(self->co.result);
    CO_END;
}

static void in_a_loop(void) {
    conc_loop *loop = conc_loop_new(NULL);
    conc_download_desc d = quick();
    conc_downloader *dl;
    int good = 0;
    d.loop = loop;
    dl = conc_downloader_new(&d);
    CHECK(dl != NULL);
    CONC_SPAWN(loop, fetcher, .dl = dl, .good = &good);
    CHECK_OK(conc_loop_run(loop, PATIENCE));
    CHECK_EQ(good, 1);
    CHECK_OK(conc_downloader_free(dl));
    /* All tasks of the loop are canceled, those of a session too. */
    conc_event_reset(&gate);
    dl = conc_downloader_new(&d);
    {
        conc_download_item i;
        conc_future *f;
        memset(&i, 0, sizeof i);
        i.url = url(&one, "/mute-1000-0/x");
        i.path = at("g");
        f = conc_downloader_add(dl, &i);
        CHECK_R(conc_loop_run(loop, conc_after(0.05)), CONC_TIMEOUT);
        CHECK_OK(conc_loop_cancel(loop));
        CHECK_OK(conc_loop_run(loop, PATIENCE));
        CHECK_R(conc_future_result(f), CONC_CANCELED);
        conc_future_release(f);
    }
    CHECK_OK(conc_downloader_free(dl));
    CHECK_OK(conc_loop_free(loop));
    conc_event_set(&gate);
}

/* In pieces; and broken off in pieces, and gone on with. */
static void segments_by(conc_download_engine engine) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.engine = engine;
    d.segments = 4;
    d.segment_min = 100000;
    CHECK_OK(get("/ok-3000000-0/x", &i, &d));
    CHECK(is_file("f", 3000000, 1));
    CHECK_EQ(i.record.received, 3000000);
    CHECK_EQ(times_asked(&one, "/ok-3000000-0/x"), 4);
    sweep();
    CHECK_OK(get("/drop-3000000-2/x", &i, &d));
    CHECK(is_file("f", 3000000, 1));
    CHECK(i.record.attempts >= 2);
    CHECK_EQ(i.record.received, 3000000);
    sweep();
    d.segments = 16;
    CHECK_OK(get("/hop-3000000-0/x", &i, &d)); /* each piece with its own redirect */
    CHECK_EQ(i.record.redirects, 1);
    CHECK(is_file("f", 3000000, 1));
    d.segments = 4;
    sweep();
    CHECK_OK(get("/cluster-3000000-0/x", &i, &d)); /* begun in pieces, that do not fit: then in one */
    CHECK(is_file("f", 3000000, 1) || is_file("f", 3000000, 0));
    CHECK_EQ(i.record.attempts, 2);
    sweep();
    CHECK_OK(get("/plain-3000000-1/x", &i, &d)); /* cannot be */
    CHECK(is_file("f", 3000000, 1));
    sweep();
    d.max_parallel = 2;
    CHECK_OK(get("/ok-3000000-0/y", &i, &d));
    CHECK(is_file("f", 3000000, 1));
    CHECK_EQ(times_asked(&one, "/ok-3000000-0/y"), 4);
}

static void segments(void) { segments_by(CONC_DOWNLOAD_COROUTINES); }
static void segments_of_threads(void) { segments_by(CONC_DOWNLOAD_THREADS); }

/* Several files in pieces, more than there may be transfers: none waits for ever. */
static void many_segments_by(conc_download_engine engine) {
    enum { N = 5 };
    static const char *const names[N] = {"a", "b", "c", "d", "e"};
    conc_download_item items[N];
    char urls[N][128], paths[N][128];
    conc_download_desc d = quick();
    size_t i;
    memset(items, 0, sizeof items);
    for (i = 0; i < N; i++) {
        snprintf(urls[i], sizeof urls[i], "%s", url(&one, "/ok-300000-0/x"));
        snprintf(paths[i], sizeof paths[i], "%s", at(names[i]));
        items[i].url = urls[i];
        items[i].path = paths[i];
    }
    d.engine = engine;
    d.segments = 4;
    d.segment_min = 100000;
    d.max_parallel = 3;
    CHECK_OK(conc_download_all(items, N, &d));
    for (i = 0; i < N; i++) CHECK(is_file(names[i], 300000, 1));
    CHECK_EQ(times_asked(&one, "/ok-300000-0/x"), 4 * N);
}

static void many_segments(void) { many_segments_by(CONC_DOWNLOAD_COROUTINES); }
static void many_segments_of_threads(void) { many_segments_by(CONC_DOWNLOAD_THREADS); }

/* ---- what another run has left ------------------------------------------------------------------------------- */

/* f.part: `have` bytes of a version, and those from `gap` up to `end` wrong; and its note, with lines of its own. */
static void leave(const char *path, size_t have, size_t gap, size_t end, unsigned long length, const char *lines) {
    struct stat s;
    FILE *f = fopen(at("f.part"), "wb");
    char text[2000];
    size_t i;
    for (i = 0; i < have; i++) putc(i >= gap && i < end ? 0 : byte_of(i, 1), f);
    fclose(f);
    CHECK_EQ(stat(at("f.part"), &s), 0);
    f = fopen(at("f.part.info"), "wb");
    snprintf(text, sizeof text, "conc download 2\nfile %llu\nurl %s\netag \"v1\"\nlength %lu\n%s", (unsigned long long)s.st_ino, url(&one, path), length, lines);
    fprintf(f, "%send %llu\n", text, (unsigned long long)conc__bytes_hash(text, strlen(text)));
    fclose(f);
}

/* A note that is not as it was written, as it was torn: one digit of it is another one. And one of which only the end is missing. */
static void note_is_torn(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    char text[2000];
    size_t n;
    FILE *f;
    int what;
    for (what = 0; what < 3; what++) {
        leave("/ok-4000-0/x", 4000, 1000, 2900, 4000, "piece 1000 2900\n");
        f = fopen(at("f.part.info"), "r+b");
        n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        if (what == 1) strstr(text, "piece 1")[6] = '2';
        if (what == 2) n--;
        fclose(f);
        f = fopen(at("f.part.info"), "wb");
        CHECK_EQ(fwrite(text, 1, n, f), n);
        fclose(f);
        CHECK_OK(get("/ok-4000-0/x", &i, &d));
        CHECK(is_file("f", 4000, 1));
        CHECK_EQ(i.record.resumed_from, what == 0 ? 2100 : 0);
        CHECK_EQ(i.record.received, what == 0 ? 3000 : 4000);
        sweep();
    }
}

/* The server overlooks If-Range: what it gives is of another version, as its tag says. */
static void other_version(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    leave("/careless-1000-0/x", 500, 0, 0, 1000, "");
    CHECK_OK(get("/careless-1000-0/x", &i, &d));
    CHECK(is_file("f", 1000, 2));
    CHECK_EQ(i.record.attempts, 2);
    sweep();
    d.segments = 4; /* those of the others are of another one than the first's */
    d.segment_min = 1000;
    leave("/careless-100000-0/x", 50000, 0, 0, 100000, "piece 20000 50000\npiece 50000 100000\n");
    CHECK_OK(get("/careless-100000-0/x", &i, &d));
    CHECK(is_file("f", 100000, 2));
}

/* Each time another file, and half of it: not for ever. */
static void restless(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    CHECK_R(get("/restless-1000-0/x", &i, &d), CONC_BROKEN);
    CHECK(i.record.attempts <= 12);
}

static void longer_part(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    leave("/ok-1000-0/x", 1500, 0, 0, 1000, "");
    CHECK_OK(get("/ok-1000-0/x", &i, &d));
    CHECK(is_file("f", 1000, 1));
}

/* Begun in pieces, gone on with in one, broken off, and gone on with again: what lay behind the first gap is not taken for good. */
static void pieces_no_more(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_cancel token;
    canceler c;
    conc_thread *t;
    memset(&token, 0, sizeof token);
    memset(&c, 0, sizeof c);
    c.token = &token;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    leave("/slow-4000-1/x", 3000, 1000, 2900, 4000, "piece 1000 2900\npiece 3000 4000\n");
    t = conc_thread_start(cancel_half_way, &c, NULL);
    d.max_parallel = 1;
    d.cancel = &token;
    CHECK_R(get("/slow-4000-1/x", &i, &d), CONC_CANCELED);
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    conc_event_set(&gate);
    d.cancel = NULL;
    CHECK_OK(get("/slow-4000-1/x", &i, &d));
    CHECK(is_file("f", 4000, 1));
}

/* Begun in one, gone on with in pieces: the note tells of them from the first byte on that is not in its place. */
static int look_at_note(void *arg) {
    char path[128], text[2000];
    FILE *f;
    size_t n = 0;
    (void)arg;
    wait_for_bytes("f.part", 1600000);
    snprintf(path, sizeof path, "%s/f.part.info", directory);
    f = fopen(path, "rb");
    if (f != NULL) {
        n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        CHECK_HAS(text, "\npiece ");
        fclose(f);
    }
    conc_event_set(&gate);
    return 0;
}

static void pieces_from_now_on(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_thread *t;
    conc_event_reset(&gate);
    leave("/slow-3000000-0/x", 500000, 0, 0, 3000000, "");
    t = conc_thread_start(look_at_note, NULL, NULL);
    d.segments = 4;
    d.segment_min = 100000;
    CHECK_OK(get("/slow-3000000-0/x", &i, &d));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK(is_file("f", 3000000, 1));
}

/* Begun anew, as the file is another one: the note of the old one is gone before the first byte of the new one comes. */
static int look_for_note(void *arg) {
    (void)arg;
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    wait_for_bytes("f.part", 600);
    {
        char path[128];
        struct stat s;
        snprintf(path, sizeof path, "%s/f.part.info", directory);
        CHECK(stat(path, &s) != 0);
    }
    conc_event_set(&gate);
    return 0;
}

static void note_of_another(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_thread *t;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    leave("/slow-2000-1/x", 500, 0, 0, 2000, "etag \"v0\"\n");
    t = conc_thread_start(look_for_note, NULL, NULL);
    CHECK_OK(get("/slow-2000-1/x", &i, &d));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK(is_file("f", 2000, 1));
}

/* A note that is another's file, too, is not written to. */
static void note_is_linked(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_cancel token;
    canceler c;
    conc_thread *t;
    char text[10] = "";
    FILE *f = fopen(at("mine"), "wb");
    memset(&token, 0, sizeof token);
    memset(&c, 0, sizeof c);
    c.token = &token;
    fputs("mine", f);
    fclose(f);
    CHECK_EQ(link(at("mine"), at("f.part.info")), 0);
    conc_event_reset(&gate);
    conc_event_reset(&half);
    t = conc_thread_start(cancel_when_written, &c, NULL);
    d.cancel = &token;
    CHECK_R(get("/slow-1000-1/x", &i, &d), CONC_CANCELED);
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    f = fopen(at("mine"), "rb");
    CHECK_EQ(fread(text, 1, 9, f), 4);
    CHECK(strcmp(text, "mine") == 0);
    fclose(f);
    conc_event_set(&gate);
}

/* The target of one is the part of another: that one's file does not get the other's name. */
static void part_is_a_target(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_downloader *dl = conc_downloader_new(&d);
    conc_future *f, *g;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/slow-1000-1/x");
    i.path = at("f");
    f = conc_downloader_add(dl, &i);
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    i.url = url(&one, "/ok-2000-0/x");
    i.path = at("f.part");
    g = conc_downloader_add(dl, &i);
    CHECK_OK(conc_future_wait(g, PATIENCE));
    conc_event_set(&gate);
    CHECK_R(conc_future_wait(f, PATIENCE), CONC_SYSTEM);
    conc_future_release(f);
    conc_future_release(g);
    CHECK_OK(conc_downloader_finish(dl));
    CHECK(!is_there("f"));
    CHECK(is_file("f.part", 2000, 1));
    CHECK_EQ(files(), 1);
}

static unsigned state_of(const conc_future *f) {
    const conc__download *dl = (const conc__download *)(const void *)f;
    unsigned state;
    conc__lock_take(&dl->d->lock);
    state = dl->state;
    conc__lock_give(&dl->d->lock);
    return state;
}

static bool all_idle(conc_downloader *dl) {
    const conc__dl_worker *w;
    bool all = true;
    conc__lock_take(&dl->lock);
    for (w = dl->workers; w != NULL; w = w->next) all = all && w->idle;
    conc__lock_give(&dl->lock);
    return all;
}

/* One pauses, and those that know until when get other things to do: another one knows, then. */
static void pause_is_watched(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_downloader *dl;
    conc_future *f, *held[2];
    int k;
    d.engine = CONC_DOWNLOAD_THREADS;
    d.max_parallel = 4;
    d.retry_delay = d.retry_delay_max = 1;
    conc_event_reset(&gate);
    dl = conc_downloader_new(&d);
    UNTIL(all_idle(dl));
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/503-1000-1/x");
    i.path = at("f");
    f = conc_downloader_add(dl, &i);
    UNTIL(state_of(f) != CONC__DL_QUEUED && state_of(f) != CONC__DL_RUNS);
    UNTIL(all_idle(dl) || state_of(f) != CONC__DL_PAUSED);
    for (k = 0; k < 2; k++) {
        i.url = url(&one, k == 0 ? "/slow-1000-0/x" : "/slow-1000-0/y");
        i.path = at(k == 0 ? "g" : "h");
        held[k] = conc_downloader_add(dl, &i);
        UNTIL(state_of(held[k]) == CONC__DL_RUNS);
    }
    CHECK_OK(conc_future_wait(f, conc_after(30)));
    CHECK(state_of(held[0]) == CONC__DL_RUNS && state_of(held[1]) == CONC__DL_RUNS);
    conc_event_set(&gate);
    conc_future_release(f);
    for (k = 0; k < 2; k++) {
        CHECK_OK(conc_future_wait(held[k], PATIENCE));
        conc_future_release(held[k]);
    }
    CHECK_OK(conc_downloader_finish(dl));
}

/* Canceled while it waits in the queue for its second turn. */
static void cancel_second_turn(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_downloader *dl;
    conc_future *f, *g;
    d.max_parallel = 2;
    d.max_per_host = 1;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    dl = conc_downloader_new(&d);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/503-1000-1/x");
    i.path = at("f");
    i.priority = 1;
    f = conc_downloader_add(dl, &i);
    i.url = url(&one, "/slow-1000-1/x");
    i.path = at("g");
    i.priority = 0;
    g = conc_downloader_add(dl, &i);
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    UNTIL(state_of(f) == CONC__DL_QUEUED);
    CHECK_OK(conc_future_cancel(f));
    CHECK_R(conc_future_wait(f, conc_after(20)), CONC_CANCELED);
    conc_event_set(&gate);
    CHECK_OK(conc_future_wait(g, PATIENCE));
    conc_future_release(f);
    conc_future_release(g);
    CHECK_OK(conc_downloader_finish(dl));
    CHECK_EQ(times_asked(&one, "/503-1000-1/x"), 1);
    CHECK(!is_there("f"));
}

/* The note is there soon: who is killed in the middle has hardly anything to fetch twice. */
static bool note_leaves(unsigned long most) { /* the pieces that it tells of are not more */
    char path[128], text[8000], *line;
    unsigned long left = 0, from, to;
    size_t n = 0;
    FILE *f;
    snprintf(path, sizeof path, "%s/f.part.info", directory);
    f = fopen(path, "rb");
    if (f != NULL) {
        n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
    }
    text[n] = '\0';
    for (line = text; (line = strstr(line, "\npiece ")) != NULL; line++) {
        if (sscanf(line, "\npiece %lu %lu", &from, &to) == 2) left += to - from;
    }
    return strstr(text, "\nend ") != NULL && left <= most;
}

static int wait_for_note(void *most) {
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    UNTIL(note_leaves(*(unsigned long *)most));
    conc_event_set(&gate);
    return 0;
}

static void notes_come_early(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    unsigned long most = 0;
    conc_thread *t;
    conc_event_reset(&gate);
    conc_event_reset(&half);
    t = conc_thread_start(wait_for_note, &most, NULL);
    CHECK_OK(get("/slow-1200000-0/x", &i, &d));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK(is_file("f", 1200000, 1));
    sweep();
    conc_event_reset(&gate);
    conc_event_reset(&half);
    most = 2000000 + 300000; /* each piece stops half-way */
    t = conc_thread_start(wait_for_note, &most, NULL);
    d.segments = 4;
    d.segment_min = 100000;
    CHECK_OK(get("/slow-4000000-0/y", &i, &d));
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK(is_file("f", 4000000, 1));
}

/* What is in the note's place and is no note of ours: not read, not written to, and no hindrance. */
static void note_is_none(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_cancel token;
    canceler c;
    conc_thread *t;
    char path[64];
    int what;
    leave("/ok-1000-0/x", 500, 100, 200, 1000, "");
    CHECK_EQ(unlink(at("f.part")), 0);
    CHECK_OK(get("/ok-1000-0/x", &i, &d)); /* one without its part does not stay */
    CHECK_EQ(i.record.resumed_from, 0);
    sweep();
    leave("/ok-1000-0/x", 500, 100, 200, 1000, "");
    CHECK_EQ(rename(at("f.part.info"), at("note")), 0);
    CHECK_EQ(symlink(at("note"), at("f.part.info")), 0);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/ok-1000-0/x");
    i.path = at("f");
    CHECK_OK(conc_download_all(&i, 1, &d));
    CHECK_EQ(i.record.resumed_from, 0);
    CHECK(is_file("f", 1000, 1));
    sweep();
    for (what = 0; what < 3; what++) {
        memset(&token, 0, sizeof token);
        memset(&c, 0, sizeof c);
        c.token = &token;
        if (what == 0) CHECK_EQ(mkfifo(at("f.part.info"), 0600), 0);
        if (what == 1) CHECK_EQ(symlink(at("g"), at("f.part.info")), 0); /* to nothing */
        if (what == 2) CHECK_EQ(symlink("/dev/null", at("f.part.info")), 0);
        conc_event_reset(&gate);
        conc_event_reset(&half);
        t = conc_thread_start(cancel_when_written, &c, NULL);
        d.cancel = &token;
        snprintf(path, sizeof path, "/slow-1000-1/%d", what);
        memset(&i, 0, sizeof i);
        i.url = url(&one, path);
        i.path = at("f");
        CHECK_R(conc_download_all(&i, 1, &d), CONC_CANCELED);
        CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
        CHECK_EQ(i.record.bytes, 500);
        CHECK(!is_there("g"));
        conc_event_set(&gate);
        d.cancel = NULL;
        CHECK_OK(get(path, &i, &d));
        CHECK_EQ(i.record.resumed_from, 500);
        CHECK(is_file("f", 1000, 1));
        sweep();
    }
}

/* A server that says that the file is long: it is not believed more than the disk can bear. */
static int look_at_room(void *arg) {
    char path[128];
    struct stat s;
    (void)arg;
    CHECK_OK(conc_wait(conc_op_event(&half), PATIENCE));
    wait_for_bytes("f.part", 1000);
    snprintf(path, sizeof path, "%s/f.part", directory);
    CHECK_EQ(stat(path, &s), 0);
    CHECK(s.st_blocks * 512.0 < 100e6);
    conc_event_set(&gate);
    return 0;
}

static void lying_length(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    struct statvfs v;
    conc_thread *t;
    char path[64];
    d.retries = -1;
    conc_event_set(&gate);
    CHECK_R(get("/lie-4000000000000000000-0/x", &i, &d), CONC_SYSTEM); /* four exabytes */
    CHECK_HAS(i.record.error, "free");
    CHECK_EQ(i.record.received, 0);
    CHECK_EQ(i.record.bytes, 0);
    conc_event_reset(&gate);
    conc_event_reset(&half);
    CHECK_EQ(statvfs(directory, &v), 0);
    snprintf(path, sizeof path, "/lie-%llu-0/y", (unsigned long long)((double)(geteuid() == 0 ? v.f_bfree : v.f_bavail) * (double)v.f_frsize * 0.75));
    t = conc_thread_start(look_at_room, NULL, NULL);
    CHECK_R(get(path, &i, &d), CONC_BROKEN);
    CHECK_OK(conc_thread_join(t, NULL, PATIENCE));
    CHECK_EQ(i.record.bytes, 1000);
}

/* What may be gone on with has a strong tag, or a date that is one (RFC 9110, 8.8.2.2 and 13.1.5). */
static void validators(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    CHECK_OK(get("/weak-100000-1/x", &i, &d));
    CHECK_EQ(i.record.received, 150000);
    CHECK_STR(one.last_if_range, "");
    CHECK_STR(one.last_range, "");
    sweep();
    CHECK_OK(get("/young-100000-1/x", &i, &d));
    CHECK_EQ(i.record.received, 150000);
    CHECK_STR(one.last_range, "");
    sweep();
    CHECK_OK(get("/old-100000-1/x", &i, &d));
    CHECK_EQ(i.record.received, 100000);
    CHECK_STR(one.last_if_range, "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(is_file("f", 100000, 1));
}

/* With the default limits: hardly a byte a second is no speed, and a head that does not end no answer. */
static void drips(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_event_reset(&gate);
    d.stall_timeout = 3; /* (on a busy machine a byte may come late) */
    d.retries = 1;
    d.discard_parts = true;
    CHECK_R(get("/trickle-60-0/x", &i, &d), CONC_TIMEOUT);
    CHECK_EQ(i.record.attempts, 2); /* that some bytes came counts for nothing */
    CHECK(i.record.received > 0);
    d.min_speed = 1;
    CHECK_OK(get("/trickle-8-0/y", &i, &d));
    CHECK(is_file("f", 8, 1));
    sweep();
    d.stall_timeout = 0.3;
    d.min_speed = 0;
    d.retries = -1;
    CHECK_R(get("/longhead-100-0/x", &i, &d), CONC_TIMEOUT);
    conc_event_set(&gate);
}

/* The checksum of what is there is computed while the loop goes on with other things. */
#if defined(CONC_TEST_WITH_OPENSSL)
static unsigned laps;
static bool laps_end;
CONC_CORO(lap_counter, int unused;) {
    CO_BEGIN;
    while (!laps_end) {
        CO_AWAIT(conc_op_sleep(0.001));
        laps++;
    }
    CO_END;
}

CONC_CORO(lap_end, conc_downloader *dl; conc_future *f;) {
    CO_BEGIN;
    CO_AWAIT(conc_op_future(self->f));
    laps_end = true;
    (void)conc_downloader_close(self->dl);
    CO_END;
}
#endif

static void existing_checksum(void) {
#if defined(CONC_TEST_WITH_OPENSSL)
    conc_download_desc d = quick();
    conc_download_item i;
    conc_loop *loop = conc_loop_new(NULL);
    conc_downloader *dl;
    conc_future *f;
    FILE *file = fopen(at("f"), "wb");
    fclose(file);
    CHECK_EQ(truncate(at("f"), 400000000), 0);
    d.keep_existing = true;
    d.loop = loop;
    dl = conc_downloader_new(&d);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/404-1000-0/x");
    i.path = at("f");
    i.checksum = "md5:00000000000000000000000000000000";
    f = conc_downloader_add(dl, &i);
    laps = 0;
    laps_end = false;
    CONC_SPAWN(loop, lap_counter, .unused = 0);
    CONC_SPAWN(loop, lap_end, .dl = dl, .f = f);
    CHECK_OK(conc_loop_run(loop, PATIENCE));
    CHECK_R(conc_future_result(f), CONC_FAILED); /* it is fetched, as it is another one; and stays */
    CHECK(is_there("f"));
        CHECK(laps > 3); /* in the loop's thread it would be one or two */
    conc_future_release(f);
    CHECK_OK(conc_downloader_finish(dl));
    /* Canceled meanwhile: it ends without having come to an end. */
    CHECK_EQ(truncate(at("f"), (off_t)1 << 40), 0);
    d.loop = NULL;
    dl = conc_downloader_new(&d);
    f = conc_downloader_add(dl, &i);
    UNTIL(state_of(f) == CONC__DL_RUNS);
    CHECK_OK(conc_downloader_cancel(dl));
    CHECK_R(conc_future_wait(f, PATIENCE), CONC_CANCELED);
    conc_future_release(f);
    CHECK_OK(conc_downloader_finish(dl));
    CHECK_OK(conc_loop_free(loop));
    CHECK_EQ(times_asked(&one, "/404-1000-0/x"), 1);
#endif
}

/* Answers that are not the file may be as long as they like. */
static void fat_answers(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.retries = -1;
    CHECK_OK(get("/fathop-60000-0/x", &i, &d));
    CHECK_OK(get("/fathop-3000000-0/x", &i, &d));
    CHECK_EQ(i.record.redirects, 1);
    CHECK_EQ(i.record.received, 1000);
    CHECK_STR(i.record.final_url, url(&one, "/ok-1000-0/fat?a=b"));
    CHECK(is_file("f", 1000, 1));
    sweep();
    CHECK_OK(get("/endlesshop-0-0/x", &i, &d));
    CHECK(is_file("f", 1000, 1));
    sweep();
    CHECK_R(get("/fat404-3000000-0/x", &i, &d), CONC_FAILED);
    CHECK_HAS(i.record.error, "404");
    CHECK_EQ(i.record.received, 0);
}

/* A name and a password in an address are for its server alone. */
#define CHECK_NO_SECRET(text) CHECK(strstr(text, "secret") == NULL)
static void no_secrets(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    size_t k;
    char text[200], name[64];
    static const char *const wrong[] = {"ftp://user:secret@127.0.0.1/x", "user:secret@127.0.0.1/x", "http://user:secret@/x",
                                        "https://user:secret@x@:80/x"};
    static const char *const headers[] = {"Authorization: secret\n", NULL};
    static const char *const paths[] = {"/ok-1000-0/x", "/404-1000-0/x", "/userhop-0-0/x", "/hop-1000-0/x"};
    d.retries = -1;
    for (k = 0; k < 4; k++) {
        CHECK(conc_download(wrong[k], at("f"), &d) != CONC_OK);
        CHECK_NO_SECRET(conc_error_detail());
    }
    for (k = 0; k < 4; k++) {
        snprintf(text, sizeof text, "http://user:secret@127.0.0.1:%u%s", one.port, paths[k]);
        memset(&i, 0, sizeof i);
        i.url = text;
        i.path = at("f");
        CHECK_R(conc_download_all(&i, 1, &d), k == 0 || k == 3 ? CONC_OK : CONC_FAILED);
        CHECK_NO_SECRET(conc_error_detail());
        CHECK_NO_SECRET(i.record.error);
        CHECK_NO_SECRET(i.record.final_url);
        CHECK_HAS(i.record.final_url, "http://127.0.0.1:");
        if (k == 2) CHECK_HAS(i.record.error, "ftp://127.0.0.1/x");
    }
    d.headers = headers;
    CHECK_R(conc_download(text, at("f"), &d), CONC_INVALID);
    CHECK_NO_SECRET(conc_error_detail());
    d.headers = NULL;
    d.allow_http = false;
    CHECK_R(conc_download(text, at("f"), &d), CONC_REJECTED);
    CHECK_NO_SECRET(conc_error_detail());
    CHECK_R(conc_download_name("http://user:secret@h/..", name, sizeof name), CONC_INVALID);
    CHECK_NO_SECRET(conc_error_detail());
}

static void deadline_of_all(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    conc_event_reset(&gate);
    d.deadline = conc_after(0.05);
    CHECK_R(get("/mute-1000-0/x", &i, &d), CONC_TIMEOUT);
    memset(&i, 0, sizeof i);
    i.url = url(&one, "/mute-1000-0/x");
    i.path = at("f");
    CHECK_R(conc_download_all(&i, 1, &d), CONC_TIMEOUT);
    conc_event_set(&gate);
}

static unsigned progress_calls, progress_last;
static void count_progress(const conc_download_progress *p, void *user) {
    (void)user;
    progress_calls++;
    progress_last += p->last;
    CHECK_EQ(p->items, 3);
    CHECK(p->done + p->failed + p->running + p->waiting == p->items);
    if (p->last) {
        CHECK_EQ(p->done, 2);
        CHECK_EQ(p->failed, 1);
        CHECK_EQ(p->bytes, 11000);
        CHECK_EQ(p->size, 11000);
        CHECK(p->size_is_known);
    }
}

static void progress(void) {
    conc_download_item items[3];
    conc_download_desc d = quick();
    memset(items, 0, sizeof items);
    items[0].url = url(&one, "/ok-10000-0/x");
    items[0].path = at("a");
    items[1].url = url(&one, "/ok-1000-0/x");
    items[1].path = at("b");
    items[2].url = url(&one, "/404-1000-0/x");
    items[2].path = at("c");
    d.progress = count_progress;
    progress_calls = progress_last = 0;
    CHECK_R(conc_download_all(items, 3, &d), CONC_FAILED);
    CHECK_EQ(progress_last, 1);
    CHECK(progress_calls >= 4);
    d.progress = conc_download_bars; /* no terminal: lines */
    CHECK_R(conc_download_all(items, 3, &d), CONC_FAILED);
}

static void bandwidth(void) {
    conc_download_desc d = quick();
    conc_download_item i;
    d.bandwidth = 200000;
    CHECK_OK(get("/ok-300000-0/x", &i, &d));
    CHECK(i.record.total > 0.5);
    CHECK(is_file("f", 300000, 1));
}

static void each(void (*fn)(void), const char *name) {
    check_enter(name);
    fn();
    conc_event_set(&gate);
    sweep();
    site_clear(&one);
    site_clear(&two);
}
#define EACH(fn) each(fn, #fn)

int main(int argc, char **argv) {
    if (argc == 4) conc_process_main(argc, argv);
    check_begin("download");
    snprintf(directory, sizeof directory, "/tmp/conc-download-XXXXXX");
    if (mkdtemp(directory) == NULL) return 1;
    site_open(&one);
    site_open(&two);
    EACH(whole);
    EACH(refused_answers);
    EACH(retry_after);
    EACH(broken_off);
    EACH(halves);
    EACH(redirects);
    EACH(lengths);
    EACH(time_limits);
    EACH(checksums);
    EACH(existing);
    EACH(cancel_coroutines);
    EACH(cancel_threads);
    EACH(cancel_processes);
    EACH(many_coroutines);
    EACH(many_threads);
    EACH(many_processes);
    EACH(killed_process);
    conc_process_main(argc, argv); /* from here on they are spawned */
    EACH(many_processes);
    EACH(killed_process);
    EACH(host_limit);
    EACH(turns_of_hosts);
    EACH(same_target);
    EACH(unwritable);
    EACH(wrong_items);
    EACH(names);
    EACH(session);
    EACH(cancel_queued);
    EACH(in_a_loop);
    EACH(segments);
    EACH(segments_of_threads);
    EACH(many_segments);
    EACH(many_segments_of_threads);
    EACH(note_is_torn);
    EACH(other_version);
    EACH(restless);
    EACH(longer_part);
    EACH(pieces_no_more);
    EACH(pieces_from_now_on);
    EACH(note_of_another);
    EACH(note_is_linked);
    EACH(part_is_a_target);
    EACH(pause_is_watched);
    EACH(cancel_second_turn);
    EACH(notes_come_early);
    EACH(note_is_none);
    EACH(lying_length);
    EACH(validators);
    EACH(drips);
    EACH(existing_checksum);
    EACH(fat_answers);
    EACH(no_secrets);
    EACH(deadline_of_all);
    EACH(progress);
    EACH(bandwidth);
    site_close(&one);
    site_close(&two);
    CHECK_EQ(files(), 0);
    CHECK_EQ(rmdir(directory), 0);
    return check_end();
}
