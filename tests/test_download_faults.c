/* Downloads under faults: every call that can fail is made to fail, as in test_faults.c: the n-th that is passed, for n = 1,
 * 2, 3... until none is left, once alone and once with all after it, with each error it can give; each time in a process
 * of its own. At the target is nothing or the whole file, and the record says which; beside it is nothing but what a later
 * call goes on with; memory (libcurl's too), threads and descriptors are as many as before. The same again without faults
 * brings the file, and leaves nothing beside it.
 *
 *   test_download_faults                                all, and says which faults were made
 *   test_download_faults SCENE N WHICH STICKY           one of them: exit code 0 passed, 1 failed, 3 passed, and fewer than N sites */

#define CONC_WITH_CURL
#if defined(CONC_TEST_WITH_OPENSSL)
#define CONC_WITH_OPENSSL
#endif
#define CONC_FAULTS
#include <stdlib.h>
static void *faults_malloc(size_t size);
static void *faults_realloc(void *p, size_t size);
static void faults_free(void *p);
#define CONC_MALLOC(size) faults_malloc(size)
#define CONC_REALLOC(p, size) faults_realloc((p), (size))
#define CONC_FREE(p) faults_free(p)
#define CONC__DL_RESERVE 20000   /* room on the disk is asked for, for small files too, */
#define CONC__DL_HASH_HERE 18500 /* and checksums are computed in threads, but for the smallest */
#define CONC_IMPLEMENTATION
#include "../conc.h"

#include "check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if CHECK_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0:atexit_sleep_ms=0";
}
#endif

/* ---- what lives ------------------------------------------------------------------------------------------------------ */

static uint32_t live;      /* atomic: blocks of ours, */
static uint32_t live_curl; /* and of libcurl */

static void *count_up(uint32_t *count, void *p) {
    if (p != NULL) (void)conc__add32(count, 1, CONC__RELAXED);
    return p;
}

static void count_down(uint32_t *count, const void *p) {
    if (p != NULL) (void)conc__sub32(count, 1, CONC__RELAXED);
}

static void *faults_malloc(size_t size) {
    return count_up(&live, malloc(size));
}

static void *faults_realloc(void *p, size_t size) {
    void *bigger = realloc(p, size);
    return p == NULL ? count_up(&live, bigger) : bigger;
}

static void faults_free(void *p) {
    count_down(&live, p);
    free(p);
}

/* libcurl's memory: a site of its own, which counts alone or not at all. */
static bool curl_lacks; /* it does */
#define CURL_MEMORY "malloc in libcurl"
static bool lacks(void) {
    return curl_lacks && CONC__FAULT("malloc in libcurl", ENOMEM) != 0;
}

static void *curl_malloc(size_t size) {
    return lacks() ? NULL : count_up(&live_curl, malloc(size));
}

static void *curl_calloc(size_t count, size_t size) {
    return lacks() ? NULL : count_up(&live_curl, calloc(count, size));
}

static void *curl_realloc(void *p, size_t size) {
    void *bigger = lacks() ? NULL : realloc(p, size);
    return p == NULL ? count_up(&live_curl, bigger) : bigger;
}

static char *curl_copy(const char *text) {
    return lacks() ? NULL : (char *)count_up(&live_curl, strdup(text));
}

static void curl_release(void *p) {
    count_down(&live_curl, p);
    free(p);
}

/* Entries of a directory; 0 where there is none. */
static int entries(const char *directory) {
    int n = 0;
    DIR *d = opendir(directory);
    if (d == NULL) return 0;
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n;
}

/* Whether that site has failed, with that error or any, here; in a process of the engine's it may have without our knowing. */
static bool has_failed(const char *wanted, const char *with) {
    const char *site;
    char error[40];
    uint32_t i;
    for (i = 0; conc__fault_made(i, &site, error, sizeof error); i++) {
        if (strcmp(site, wanted) == 0 && (with == NULL || strcmp(error, with) == 0)) return true;
    }
    return false;
}

/* ---- the server: a process of its own, without the library, so that it passes no sites ---------------------------------
 * /KIND-SIZE: ok; hop: a redirect to it; long: one with more behind it than anybody reads; cut: half of it, and the rest to who asks for that. */

static unsigned port;
static pid_t server;

static unsigned char byte_of(size_t i) {
    return (unsigned char)(i * 7 + i / 251);
}

static bool say(int c, const void *data, size_t size) {
    const char *at = (const char *)data;
    while (size > 0) {
        ssize_t n = send(c, at, size, MSG_NOSIGNAL);
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* Bytes [from, to) of the file, behind a head that tells of [from, last). */
static bool say_file(int c, const char *head, size_t from, size_t to) {
    size_t n = strlen(head), i;
    char *text = (char *)malloc(n + to - from);
    bool ok;
    if (text == NULL) return false;
    memcpy(text, head, n);
    for (i = from; i < to; i++) text[n + i - from] = (char)byte_of(i);
    ok = say(c, text, n + to - from);
    free(text);
    return ok;
}

/* One request; false: the connection ends. */
static bool answer(int c, const char *request) {
    char kind[16] = "", head[400];
    const char *range = strstr(request, "Range: bytes="), *valid = strstr(request, "If-Range: ");
    unsigned long size = 0, from = 0, to;
    bool part = false;
    sscanf(request, "GET /%15[a-z]-%lu", kind, &size);
    if (strcmp(kind, "hop") == 0) {
        snprintf(head, sizeof head, "HTTP/1.1 302 Found\r\nLocation: /ok-%lu\r\nContent-Length: 3\r\n\r\nhop", size);
        return say(c, head, strlen(head));
    }
    if (strcmp(kind, "long") == 0) {
        snprintf(head, sizeof head, "HTTP/1.1 302 Found\r\nLocation: /ok-%lu\r\nContent-Length: 200000\r\n\r\n", size);
        return say_file(c, head, 0, 200000);
    }
    to = size;
    if (range != NULL && (valid == NULL || strncmp(valid + 10, "\"v1\"", 4) == 0)) {
        part = sscanf(range + 13, "%lu-%lu", &from, &to) >= 1 && from < size;
        to = to < size ? to + 1 : size;
    }
    if (part) {
        snprintf(head, sizeof head, "HTTP/1.1 206 Partial\r\nETag: \"v1\"\r\nContent-Range: bytes %lu-%lu/%lu\r\nContent-Length: %lu\r\n\r\n", from, to - 1, size,
                 to - from);
        return say_file(c, head, from, to);
    }
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nContent-Length: %lu\r\n\r\n", size);
    if (strcmp(kind, "cut") != 0) return say_file(c, head, 0, size);
    (void)say_file(c, head, 0, size / 2);
    return false;
}

static void *serve(void *arg) {
    int c = (int)(intptr_t)arg, on = 1;
    char request[4096];
    size_t n = 0;
    (void)setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (;;) {
        ssize_t done = recv(c, request + n, sizeof request - 1 - n, 0);
        if (done <= 0) break;
        n += (size_t)done;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n") == NULL) continue;
        n = 0;
        if (!answer(c, request)) break;
    }
    close(c);
    return NULL;
}

static bool serve_all(void) {
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0), life[2];
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 100) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &size) != 0 || pipe(life) != 0) {
        return false;
    }
    port = ntohs(a.sin_port);
    server = fork();
    if (server != 0) {
        close(listener);
        close(life[0]); /* (the other end stays open as long as one of us lives) */
        return server > 0;
    }
    close(life[1]);
    for (;;) {
        pthread_t t;
        fd_set set;
        int c;
        FD_ZERO(&set);
        FD_SET(listener, &set);
        FD_SET(life[0], &set);
        if (select((listener > life[0] ? listener : life[0]) + 1, &set, NULL, NULL, NULL) <= 0 || FD_ISSET(life[0], &set)) _exit(0);
        c = accept(listener, NULL, NULL);
        if (c >= 0 && pthread_create(&t, NULL, serve, (void *)(intptr_t)c) == 0) {
            pthread_detach(t);
        } else if (c >= 0) {
            close(c);
        }
    }
}

/* ---- what is on the disk --------------------------------------------------------------------------------------------- */

static char directory[64];

/* Good until the 16th call after it. */
static const char *at(const char *name) {
    static char text[16][400];
    static int i;
    i = (i + 1) % 16;
    snprintf(text[i], sizeof text[i], "%s/%s", directory, name);
    return text[i];
}

/* Likewise. */
static const char *url(const char *what) {
    static char text[16][100];
    static int i;
    i = (i + 1) % 16;
    snprintf(text[i], sizeof text[i], "http://127.0.0.1:%u/%s", port, what);
    return text[i];
}

static bool is_there(const char *name) {
    struct stat s;
    return lstat(at(name), &s) == 0;
}

static bool is_file(const char *name, size_t size) {
    FILE *f = fopen(at(name), "rb");
    size_t i;
    bool same = f != NULL;
    for (i = 0; same && i < size; i++) same = getc(f) == byte_of(i);
    if (same) same = getc(f) == EOF;
    if (f != NULL) fclose(f);
    return same;
}

static void put_file(const char *name, size_t size) {
    FILE *f = fopen(at(name), "wb");
    size_t i;
    if (!CHECK(f != NULL)) return;
    for (i = 0; i < size; i++) putc(byte_of(i), f);
    fclose(f);
}

static bool part_was_there, target_was_there;

/* What another run has left: `size` bytes of a part, and its note, of a version. */
static void put_part(const char *name, size_t size, const char *what, unsigned long length, const char *tag, const char *pieces) {
    struct stat s;
    char path[100], text[1000];
    FILE *f;
    part_was_there = true;
    snprintf(path, sizeof path, "%s.part", name);
    put_file(path, size);
    CHECK_EQ(stat(at(path), &s), 0);
    snprintf(path, sizeof path, "%s.part.info", name);
    f = fopen(at(path), "wb");
    if (!CHECK(f != NULL)) return;
    snprintf(text, sizeof text, "conc download 2\nfile %llu\nurl %s\netag \"%s\"\nlength %lu\n%s", (unsigned long long)s.st_ino, url(what), tag, length,
             pieces);
    fprintf(f, "%send %llu\n", text, (unsigned long long)conc__bytes_hash(text, strlen(text)));
    fclose(f);
}

static void sweep(void) {
    DIR *d = opendir(directory);
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') unlink(at(e->d_name));
    }
    if (d != NULL) closedir(d);
}

/* ---- what came of it --------------------------------------------------------------------------------------------------- */

static bool well;   /* no faults are made */
static bool spawns; /* there are processes, which make faults of their own */

static bool refused_well(conc_result r) {
    if (has_failed("pthread_key_create", NULL)) return true; /* that is tried once only */
    if (!CHECK(!well)) {
        fprintf(stderr, "  without a fault: %s: %s\n", conc_strerror(r), conc_error_detail());
        return false;
    }
    return CHECK(r == CONC_NO_MEMORY || r == CONC_NO_THREADS || r == CONC_SYSTEM) && CHECK(conc_error_detail()[0] != '\0');
}

/* One download has ended: its target is whole, or not there, as its record says; beside it is what it says, too. */
static void judge(const char *name, size_t size, const conc_download_record *r) {
    char part[100], note[100];
    bool is_part, is_note;
    snprintf(part, sizeof part, "%s.part", name);
    snprintf(note, sizeof note, "%s.part.info", name);
    is_part = is_there(part);
    is_note = is_there(note);
    if (r->result == CONC_OK) {
        CHECK(is_file(name, size));
        CHECK_EQ(r->bytes, size);
        CHECK_STR(r->error, "");
    } else {
        /* After the rename only its way to the disk can fail; and a process that nobody hears of again. */
        CHECK(is_there(name) ? is_file(name, size) && (r->result == CONC_SYSTEM || target_was_there || spawns) : true);
        CHECK(r->error[0] != '\0');
        if (!CHECK(r->result == CONC_NO_MEMORY || r->result == CONC_NO_THREADS || r->result == CONC_SYSTEM || r->result == CONC_BROKEN ||
                   r->result == CONC_FAILED || r->result == CONC_BUSY || (r->result == CONC_CRASHED && spawns) ||
                   (r->result == CONC_REJECTED && curl_lacks /* it leaves a redirect as it is */))) {
            fprintf(stderr, "  %s: %s\n", conc_strerror(r->result), r->error);
        }
    }
    if (well && r->result != CONC_OK && !has_failed("pthread_key_create", NULL)) {
        CHECK(!"it comes without faults");
        fprintf(stderr, "  %s: %s: %s\n", name, conc_strerror(r->result), r->error);
    }
    if (spawns && !well) return; /* one that died has left what it had */
    /* What cannot be removed, or is said not to be there, stays. */
    if (has_failed("unlink", NULL) || has_failed("stat", NULL) || has_failed("open: read", "ENOENT")) return;
    if (r->result == CONC_OK || r->bytes == 0) {
        CHECK(!is_part || r->result == CONC_BUSY || (r->result != CONC_OK && is_note && part_was_there));
        CHECK(!is_note || is_part);
    } else {
        CHECK(is_part && is_note);
    }
}

static conc_download_desc quick(void) {
    conc_download_desc d;
    memset(&d, 0, sizeof d);
    d.allow_http = true;
    d.retry_delay = 0.0001;
    d.stall_timeout = 100; /* what would end by it alone is hung */
    d.proxy = "";
    return d;
}

typedef struct want {
    const char *name, *what;
    size_t size;
} want;

static const char *checksum_of(size_t size);

static conc_download_record last; /* of the first item of the last call of fetch() */

static void fetch(const want *w, size_t n, const conc_download_desc *desc, bool checked) {
    conc_download_item items[4];
    conc_result r;
    size_t i, good = 0;
    memset(items, 0, sizeof items);
    for (i = 0; i < n; i++) {
        items[i].url = url(w[i].what);
        items[i].path = at(w[i].name);
        items[i].checksum = checked ? checksum_of(w[i].size) : NULL;
    }
    r = conc_download_all(items, n, desc);
    last = items[0].record;
    if (r != CONC_OK && r != CONC_FAILED) {
        (void)refused_well(r);
        for (i = 0; i < n; i++) CHECK(items[i].record.result != CONC_OK);
        return;
    }
    for (i = 0; i < n; i++) {
        judge(w[i].name, w[i].size, &items[i].record);
        good += items[i].record.result == CONC_OK;
    }
    CHECK_EQ(r, good == n ? CONC_OK : CONC_FAILED);
    if (r != CONC_OK) CHECK(conc_error_detail()[0] != '\0');
}

/* ---- scenes --------------------------------------------------------------------------------------------------------------- */

/* With all that there is: a redirect, headers, a checksum, room on the disk, the way there. */
static void whole_scene(void) {
    static const want w[] = {{"f", "hop-30000", 30000}};
    static const char *const headers[] = {"X-One: 1", "X-Two: 2", NULL};
    conc_download_desc d = quick();
    d.headers = headers;
    d.user_agent = "faults";
    d.ca_file = "/nowhere";
    d.mode = 0640;
    d.sync = true;
    fetch(w, 1, &d, true);
}

static void pieces_scene(void) {
    static const want w[] = {{"f", "ok-60000", 60000}};
    conc_download_desc d = quick();
    d.segments = 3;
    d.segment_min = 1000;
    fetch(w, 1, &d, true);
}

/* A note that is there and cannot be read just now costs nothing: what was not begun is gone on with later. */
static void resumed_scene(void) {
    static const want w[] = {{"f", "ok-19000", 19000}};
    static const char *const headers[] = {"X-One: 1", NULL};
    static bool untouched;
    bool is_none;
    conc_download_desc d = quick();
    d.headers = headers;
    if (!well) put_part("f", 8000, "ok-19000", 19000, "v1", "");
    fetch(w, 1, &d, true);
    if (well && untouched && last.result == CONC_OK) CHECK_EQ(last.resumed_from, 8000);
    is_none = has_failed("open: read", "ENOENT") || has_failed("open: read", "EACCES");
    untouched = !well && last.attempts == 0 && !is_none;
    if (untouched) CHECK(last.result != CONC_OK && is_file("f.part", 8000) && is_there("f.part.info"));
    /* (libcurl may lose a header, so that all is sent.) */
    if (!well && last.attempts != 0 && !is_none && !curl_lacks) CHECK_EQ(last.resumed_from, 8000);
}

/* The part is one of two pieces that were begun; and only one transfer at a time may be. */
static void pieces_resumed_scene(void) {
    static const want w[] = {{"f", "ok-60000", 60000}, {"g", "ok-50000", 50000}};
    conc_download_desc d = quick();
    d.segments = 3;
    d.segment_min = 1000;
    if (!well) put_part("f", 60000, "ok-60000", 60000, "v1", "piece 1000 20000\npiece 50000 60000\n");
    fetch(w, 1, &d, false);
    d.segments = 1;
    d.max_parallel = 1;
    if (!well) put_part("g", 50000, "ok-50000", 50000, "v1", "piece 1000 20000\n");
    fetch(w + 1, 1, &d, false);
}

/* It comes half, and the rest in a second attempt; without one the part stays. */
static void cut_scene(void) {
    static const want w[] = {{"f", "cut-19000", 19000}};
    conc_download_desc d = quick();
    fetch(w, 1, &d, false);
    d.retries = -1;
    if (!well) {
        conc_download_item i;
        memset(&i, 0, sizeof i);
        i.url = url("cut-18000");
        i.path = at("g");
        (void)conc_download_all(&i, 1, &d);
        if (CHECK(!is_there("g")) && i.record.result != CONC_OK && i.record.attempts != 0) judge("g", 18000, &i.record);
    } else {
        static const want more[] = {{"g", "cut-18000", 18000}};
        d.retries = 0;
        fetch(more, 1, &d, false);
    }
}

/* The part is of another version. */
static void other_scene(void) {
    static const want w[] = {{"f", "ok-19000", 19000}};
    conc_download_desc d = quick();
    if (!well) put_part("f", 8000, "ok-19000", 19000, "v0", "");
    fetch(w, 1, &d, false);
}

static bool note_says(const char *text) {
    char note[1000] = "";
    FILE *f = fopen(at("f.part.info"), "rb");
    bool says = f != NULL && fread(note, 1, sizeof note - 1, f) > 0 && strstr(note, text) != NULL;
    if (f != NULL) fclose(f);
    return says;
}

/* The part is another address's: as long as its note cannot be removed that stays true of it. */
static void another_scene(void) {
    static const want w[] = {{"f", "ok-19000", 19000}};
    conc_download_desc d = quick();
    if (!well) put_part("f", 8000, "ok-18000", 18000, "v1", "");
    fetch(w, 1, &d, false);
    if (last.attempts == 0 && is_there("f.part.info")) CHECK(note_says("/ok-18000\n") && is_file("f.part", 8000));
    if (well && last.result == CONC_OK) CHECK_EQ(last.resumed_from, 0);
}

static void existing_scene(void) {
    static const want w[] = {{"f", "ok-19000", 19000}, {"g", "ok-18000", 18000}};
    conc_download_desc d = quick();
    d.keep_existing = true;
    if (!well) put_file("f", 19000);
    target_was_there = true;
    fetch(w, 2, &d, true);
    CHECK(is_file("f", 19000)); /* what is there is whole at every moment */
}

/* More comes than may. */
static void limited_scene(void) {
    static const want w[] = {{"f", "ok-60000", 60000}};
    conc_download_desc d = quick();
    d.bandwidth = 800000;
    fetch(w, 1, &d, false);
}

static void many(conc_download_engine engine) {
    static const want w[] = {{"f", "ok-9000", 9000}, {"g", "long-19000", 19000}, {"h", "cut-18000", 18000}};
    conc_download_desc d = quick();
    d.engine = engine;
    d.max_parallel = 2;
    fetch(w, 3, &d, true);
}

static void tasks_scene(void) {
    many(CONC_DOWNLOAD_COROUTINES);
}

static void threads_scene(void) {
    many(CONC_DOWNLOAD_THREADS);
}

static void processes_scene(void) {
    many(CONC_DOWNLOAD_PROCESSES);
}

/* Items come while it runs, and what has ended is given one by one. */
static void ignore_progress(const conc_download_progress *p, void *user) {
    (void)user;
    CHECK(p->done + p->failed + p->running + p->waiting == p->items);
}

static void session_of(conc_download_engine engine) {
    static const want w[] = {{"f", "ok-9000", 9000}, {"g", "ok-19000", 19000}, {"h", "ok-18000", 18000}};
    conc_download_desc d = quick();
    conc_downloader *dl;
    conc_download_item item;
    conc_future *f[3];
    conc_iter *it;
    size_t i, added = 0, given = 0;
    d.engine = engine;
    d.max_parallel = 2;
    d.progress = ignore_progress;
    dl = conc_downloader_new(&d);
    if (dl == NULL) {
        (void)refused_well(conc_error_result());
        return;
    }
    for (i = 0; i < 3; i++) {
        memset(&item, 0, sizeof item);
        item.url = url(w[i].what);
        item.path = at(w[i].name);
        f[i] = conc_downloader_add(dl, &item);
        if (f[i] == NULL) {
            (void)refused_well(conc_error_result());
            continue;
        }
        added++;
        if (i == 0) UNTIL(conc_future_wait(f[i], CONC_FOREVER) == conc_download_record_of(f[i])->result && conc_future_is_done(f[i]));
    }
    CHECK_OK(conc_downloader_close(dl));
    it = conc_downloader_results(dl);
    while (conc_next(it, &item) == CONC_OK) {
        CHECK(item.record.result != CONC_PENDING);
        given++;
    }
    CHECK(given == added || it->result != CONC_CLOSED);
    conc_iter_close(it);
    UNTIL(conc_downloader_join(dl, CONC_FOREVER) == CONC_OK);
    for (i = 0; i < 3; i++) {
        if (f[i] == NULL) continue;
        CHECK_R(conc_future_result(f[i]), conc_download_record_of(f[i])->result);
        judge(w[i].name, w[i].size, conc_download_record_of(f[i]));
        conc_future_release(f[i]);
    }
    CHECK_OK(conc_downloader_free(dl));
}

static void session_scene(void) {
    session_of(CONC_DOWNLOAD_COROUTINES);
}

static void session_threads_scene(void) {
    session_of(CONC_DOWNLOAD_THREADS);
}

static const struct {
    const char *name;
    void (*run)(void);
    unsigned least; /* so many sites are tried, also if fewer are passed here: the others, in processes of the engine's */
} scenes[] = {
    {"whole", whole_scene, 0},       {"pieces", pieces_scene, 0},
    {"resumed", resumed_scene, 0},   {"pieces-resumed", pieces_resumed_scene, 0},
    {"cut", cut_scene, 0},           {"other", other_scene, 0},
    {"existing", existing_scene, 0}, {"limited", limited_scene, 0},
    {"tasks", tasks_scene, 0},       {"threads", threads_scene, 0},
    {"session", session_scene, 0},   {"session-threads", session_threads_scene, 0},
    {"another", another_scene, 0},   {"processes", processes_scene, 150},
};
#define SCENES (sizeof scenes / sizeof *scenes)

static const size_t sizes[] = {9000, 18000, 19000, 30000, 60000};
static char checksums[5][80];

static const char *checksum_of(size_t size) {
    size_t i;
    for (i = 0; i < 5 && sizes[i] != size; i++) {
    }
    return i < 5 && checksums[i][0] != '\0' ? checksums[i] : NULL;
}

static void make_checksums(void) {
#if defined(CONC_WITH_OPENSSL)
    size_t i, k;
    for (i = 0; i < 5; i++) {
        unsigned char digest[EVP_MAX_MD_SIZE], *data = (unsigned char *)malloc(sizes[i]);
        if (data == NULL) exit(1);
        for (k = 0; k < sizes[i]; k++) data[k] = byte_of(k);
        if (EVP_Digest(data, sizes[i], digest, NULL, EVP_sha256(), NULL) != 1) exit(1);
        for (k = 0; k < 32; k++) snprintf(checksums[i] + 2 * k, 3, "%02x", digest[k]);
        free(data);
    }
#endif
}

/* ---- one fault ---------------------------------------------------------------------------------------------------------- */

/* Of the site that has failed first: how many errors it has. */
static int choices(void) {
    const char *text = (const char *)conc__loadp(&conc__faults[0].text, CONC__ACQUIRE);
    int n = 0;
    if (text == NULL) return 1;
    for (text = strrchr(text, '"'); *text != '\0'; text++) n += *text == ',';
    return n;
}

/* 3: there were fewer than n sites; 10 and more: passed, and the n-th site has so many errors less 10. */
static int run_scene(size_t scene, unsigned n, unsigned which, bool sticky, const char *log) {
    int descriptors = entries("/proc/self/fd");
    uint32_t passed, i, allowed, others = conc__load32(&live, CONC__RELAXED), others_curl = conc__load32(&live_curl, CONC__RELAXED);
    const char *site;
    char error[40];
    spawns = strcmp(scenes[scene].name, "processes") == 0;
    well = false;
    conc__fault_plan(n, which, sticky);
    scenes[scene].run();
    passed = conc__fault_passed();
    conc__fault_plan(0, 0, false);
    well = true;
    scenes[scene].run();
    (void)conc_thread_join_all(CONC_FOREVER);
    if (conc__has_life && descriptors != 0) descriptors += 2; /* which stay, once there has been a process */
    for (i = 0; spawns && i < 5000 && entries("/proc/self/fd") > descriptors; i++) { /* what was given up is given back when it has ended */
        conc__processes_sweep();
        (void)conc_sleep(conc_after(0.001));
    }
    CHECK_EQ(entries("/proc/self/fd"), descriptors);
    /* What may still live: this thread's record and values; threads for checksums, with theirs. */
    allowed = 2u + 2u * (uint32_t)conc_thread_count() + (CONC__HAS_TLS ? 0u : 2u);
    for (i = 0; i < 5000 && conc__load32(&live, CONC__RELAXED) - others > allowed; i++) (void)conc_sleep(conc_after(0.001));
    i = conc__load32(&live, CONC__RELAXED) - others;
    if (!CHECK(i <= allowed)) fprintf(stderr, "  %u blocks, and %u may be\n", i, allowed);
    CHECK_EQ(conc__load32(&live_curl, CONC__RELAXED) - others_curl, 0);
    if (log != NULL) {
        FILE *f = fopen(log, "a");
        for (i = 0; f != NULL && conc__fault_made(i, &site, error, sizeof error); i++) {
            fprintf(f, "%s|%s|%s\n", site, error, sticky ? "sticky" : "once");
        }
        if (f != NULL) fclose(f);
    }
    if (check_failures != 0) {
        fprintf(stderr, "faults: with number %u%s, error %u, of scene %s:", n, sticky ? " and all after it" : "", which, scenes[scene].name);
        for (i = 0; i < 12 && conc__fault_made(i, &site, error, sizeof error); i++) fprintf(stderr, " %s (%s)", site, error);
        fprintf(stderr, "\n");
        return 1;
    }
    return passed < n ? 3 : 10 + choices();
}

/* ---- all of them -------------------------------------------------------------------------------------------------------- */

static char log_path[1000];

static int in_process(size_t scene, unsigned n, unsigned which, bool sticky) {
    int status = 0;
    pid_t pid;
    fflush(NULL);
    sweep();
    pid = fork();
    if (pid == 0) {
        check_failures = 0;
        signal(SIGALRM, SIG_DFL); /* it is us who say which */
        alarm(CHECK_TSAN || CHECK_ASAN ? 90 : 30);
        exit(run_scene(scene, n, which, sticky, log_path));
    }
    if (!CHECK(pid > 0 && waitpid(pid, &status, 0) == pid)) return 1;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    fprintf(stderr, "faults: with number %u%s, error %u, of scene %s: %s\n", n, sticky ? " and all after it" : "", which, scenes[scene].name,
            WTERMSIG(status) == SIGALRM ? "hung" : "killed");
    return 1;
}

/* What run_scene() gives where all is well; a sanitizer ends a process with something else. */
static bool is_well(int status) {
    return status == 3 || (status > 10 && status <= 18);
}

/* Whether the log tells of it. */
static bool is_logged(const char *site, const char *how, unsigned errors) {
    FILE *f = fopen(log_path, "r");
    char line[200], seen[8][40];
    unsigned n = 0, i;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *error = strchr(line, '|'), *last = error != NULL ? strchr(error + 1, '|') : NULL;
        if (last == NULL || strncmp(last + 1, how, strlen(how)) != 0) continue;
        *error++ = *last = '\0';
        if (strcmp(line, site) != 0) continue;
        for (i = 0; i < n && strcmp(seen[i], error) != 0; i++) {
        }
        if (i == n && n < 8) snprintf(seen[n++], sizeof seen[0], "%s", error);
    }
    if (f != NULL) fclose(f);
    return n >= errors;
}

/* How often the poller is asked is not the same in each run, so that the n-th site is not: what was missed so is made by its name. */
static void missed(void) {
    static const struct {
        const char *site;
        unsigned errors;
    } own[] = {{"open: part", 3}, {"flock", 1}, {"fstat", 1}, {"stat", 1}, {"write: part", 2}, {"ftruncate", 1}, {"fallocate", 1},
               {"fsync", 2}, {"fchmod", 1}, {"rename", 3}, {"fsync: directory", 1}, {"unlink", 1}, {"open: read", 3}, {"fstat: file", 1},
               {"read: file", 1}, {"open: note", 3}, {"curl_global_init", 1}, {"curl_easy_init", 1}, {"curl_easy_setopt", 1},
               {"curl_slist_append", 1}, {"curl_easy_pause", 1}, {"curl_url", 1}, {"curl_multi_init", 1}, {"curl_multi_add_handle", 1},
               {"curl_multi_assign", 1}, {"curl_multi_socket_action", 2}
#if defined(CONC_WITH_OPENSSL)
               , {"EVP_MD_CTX_new", 1}, {"EVP_DigestInit_ex", 1}, {"EVP_DigestUpdate", 1}, {"EVP_DigestFinal_ex", 1}
#endif
    };
    size_t i, scene;
    unsigned which, runs = 0;
    int sticky;
    check_watchdog();
    for (i = 0; i < sizeof own / sizeof own[0]; i++) {
        for (sticky = 0; sticky < 2; sticky++) {
            const char *how = sticky ? "sticky" : "once";
            conc__fault_only(own[i].site);
            for (scene = 0; scene < SCENES && !is_logged(own[i].site, how, own[i].errors); scene++) {
                for (which = 0; which < own[i].errors; which++, runs++) check_failures += !is_well(in_process(scene, 1, which, sticky != 0));
            }
            conc__fault_only(NULL);
            if (!CHECK(scene < SCENES || is_logged(own[i].site, how, own[i].errors))) fprintf(stderr, "  %s, %s\n", own[i].site, how);
        }
    }
    printf("  %-16s %u runs\n", "missed", runs);
}

#define SLOW (CHECK_TSAN || CHECK_ASAN) /* there each process costs more: not all */

/* All of one scene. */
static void in_scene(size_t scene) {
    unsigned n, which, runs = 0, sites = 0;
    int sticky;
    int64_t began = conc__port_clock_ns();
    check_case = scenes[scene].name;
    check_watchdog();
    for (sticky = 0; sticky < 2; sticky++) {
        int status = 0, errors;
        for (n = 1; (status != 3 || n <= scenes[scene].least) && n <= 400; n += SLOW && n > 20 ? 3 : 1) {
            errors = 1;
            for (which = 0; which < (unsigned)(SLOW && n > 40 ? 1 : errors); which++) {
                status = in_process(scene, n, which, sticky != 0);
                runs++;
                if (is_well(status) && status != 3) errors = status - 10;
                if (!is_well(status)) check_failures++;
                if (check_failures > 5) return;
            }
        }
        if (sticky == 0) sites = n - 2;
    }
    printf("  %-16s %u sites, %u runs, %.1f s\n", scenes[scene].name, sites, runs, (double)(conc__port_clock_ns() - began) / 1e9);
    fflush(stdout);
}

/* Where libcurl has no memory. */
static void in_curl(void) {
    static const char *const names[] = {"whole", "pieces", "resumed"};
    size_t scene, i;
    unsigned n, runs = 0;
    int sticky;
    int64_t began = conc__port_clock_ns();
    check_case = "libcurl";
    check_watchdog();
    curl_lacks = true;
    conc__fault_only(CURL_MEMORY);
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (scene = 0; strcmp(scenes[scene].name, names[i]) != 0; scene++) {
        }
        for (sticky = 0; sticky < 2; sticky++) {
            int status = 0;
            for (n = 1; status != 3; n += sticky ? 7 : SLOW ? 5 : 1, runs++) {
                status = in_process(scene, n, 0, sticky != 0);
                if (!is_well(status)) check_failures++;
                if (check_failures > 5) return;
            }
        }
    }
    conc__fault_only(NULL);
    curl_lacks = false;
    printf("  %-16s %u runs, %.1f s\n", "libcurl", runs, (double)(conc__port_clock_ns() - began) / 1e9);
}

int main(int argc, char **argv) {
    size_t scene;
    int status = 2;
    check_program = "download_faults";
    snprintf(directory, sizeof directory, "/tmp/conc-download-XXXXXX");
    if (mkdtemp(directory) == NULL || !serve_all()) return 1;
    make_checksums();
    /* (What libcurl has for the whole program is made here, once, and not in each process.) */
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, curl_release, curl_realloc, curl_copy, curl_calloc) != CURLE_OK) return 1;
    if (argc >= 2) {
        for (scene = 0; scene < SCENES && strcmp(argv[1], scenes[scene].name) != 0; scene++) {
        }
        if (argc == 2 && scene < SCENES) in_scene(scene);
        if (argc == 2 && strcmp(argv[1], "libcurl") == 0) in_curl();
        if (argc == 2) status = check_failures != 0;
        if (argc >= 5 && scene < SCENES) status = run_scene(scene, (unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), argv[4][0] == '1', NULL);
    } else {
        snprintf(log_path, sizeof log_path, "%.900s.faults.log", argv[0]);
        remove(log_path);
        for (scene = 0; scene < SCENES && check_failures <= 5; scene++) in_scene(scene);
        if (check_failures == 0 && !SLOW) missed();
        if (check_failures == 0) in_curl();
        status = check_failures != 0;
        printf("download_faults: %s\n", check_failures != 0 ? "FAILED" : "ok");
    }
    sweep();
    rmdir(directory);
    kill(server, SIGKILL);
    return status;
}
