/* httpd.c: a file server: HTTP/1.1, a coroutine for each connection, all of them in one thread.
 *
 * In Python:   python3 -m http.server --directory DIR
 *
 * Compile and run:  cc -O2 -I.. httpd.c -pthread -o httpd && ./httpd -p 8080 DIR
 * Usage:            httpd [-p PORT] [-v] [-f FAULT] DIR        (port 0, the default: any that is free)
 *
 * Prints "listening on http://127.0.0.1:PORT/"; ends with SIGINT or SIGTERM, and then tells what it has served. -v shows each
 * request on stderr. It answers GET and HEAD, whole files and ranges (one at a time), with ETag and Last-Modified and the
 * questions that go with them, on connections that stay open. It serves what is below DIR, and nothing else: symbolic links are
 * not followed, and what begins with a dot is not there. This machine alone can reach it.
 *
 * FAULTS. With -f it is a bad server on demand, for tests of programs that fetch. The query of a target tells what is to go wrong,
 * as in /picture.png?fault=reset=5000,times=2; FAULT is what befalls those that do not tell ("none": nothing). More than one of
 * these may be told, with commas between:
 *     delay=MS        the reply begins so much later
 *     drip=MS         it comes in pieces of 100 bytes, with such a pause after each
 *     piece=N         of N bytes
 *     stall=N         after N bytes of the body (-1: before the header) nothing comes any more; the connection stays
 *     close=N         after N bytes of the body (-1: before the header) the connection is closed
 *     reset=N         and this time by a reset
 *     status=CODE     instead of the file
 *     after=S         a Retry-After goes with it (-S: not in seconds, but as a date)
 *     redirect=K      K redirects, from one to the next, before the file comes (-1: each to itself)
 *     to=URL          a redirect to there; this stands last
 *     length=D        Content-Length is wrong by D
 *     norange         a Range is overlooked
 *     refuse          it is answered with 416
 *     range=D         what comes, and what Content-Range says, begins D bytes after what was asked for
 *     total=D         Content-Range is wrong by D about the size of the whole
 *     other           the file is another one: its bytes, tag and date
 *     sametag         the tag and the date tell nothing of that
 *     notag, nodate   there is no ETag, no Last-Modified
 *     nolength        no Content-Length: the body's end is the connection's
 *     chunked         chunks instead of a Content-Length
 *     badchunk        chunks, the last one of a size that is none
 *     endless         the body, in chunks, never ends
 *     garbage         what comes instead of a header is none
 *     longhead        the header never ends
 *     times=K         all this befalls the first K requests for this target (by its whole text), then all is well, or what
 *                     stands after a semicolon befalls the others
 * There are also, without a file, /bytes/N?seed=S: N bytes that depend on S; and /stats: what has been served.
 *     httpd -g N S    writes those N bytes
 */
#define _POSIX_C_SOURCE 200809L
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD = 8192,   /* bytes that a request may have */
    PIECE = 65536, /* bytes that are read, and sent, at a time */
    IDLE = 30,     /* seconds without a request, or without a byte that the other side takes */
    HASTE = 10     /* seconds from a request's first byte to its last */
};

static int root = -1;
static const char *default_fault; /* NULL: no faults */
static bool verbose;
static unsigned long connections, requests;
static uint64_t bytes_sent; /* of bodies */

/* ---- text that grows ---------------------------------------------------------------------------------- */

typedef struct text {
    char *at;
    size_t length, room;
} text;

static bool make_room(text *t, size_t n) {
    if (t->room - t->length < n) {
        size_t room = (t->length + n) * 3 / 2;
        char *at = realloc(t->at, room);
        if (at == NULL) return false;
        t->at = at;
        t->room = room;
    }
    return true;
}

static void add(text *t, const char *format, ...) { /* as printf does; nothing, if memory is out */
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !make_room(t, (size_t)n + 1)) return;
    va_start(args, format);
    vsnprintf(t->at + t->length, (size_t)n + 1, format, args);
    va_end(args);
    t->length += (size_t)n;
}

static void add_url(text *t, const char *path) {
    for (; *path != '\0'; path++) {
        unsigned char c = (unsigned char)*path;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("/-._~", c) != NULL;
        add(t, plain ? "%c" : "%%%02X", c);
    }
}

static void add_html(text *t, const char *s) {
    for (; *s != '\0'; s++) {
        if (strchr("<>&\"'", *s) != NULL) add(t, "&#%d;", *s);
        else add(t, "%c", *s);
    }
}

static void http_date(time_t when, char date[32]) {
    struct tm tm;
    date[0] = '\0';
    if (gmtime_r(&when, &tm) != NULL) strftime(date, 32, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* ---- a request ---------------------------------------------------------------------------------------- */

typedef struct request {
    bool is_head, keep; /* keep: the connection is to stay open */
    const char *range, *if_range, *if_none_match, *if_modified_since; /* fields of the header, or NULL */
    const char *query;  /* decoded, or NULL */
    char target[HEAD];  /* as it came */
    char path[HEAD];    /* what it names, decoded */
} request;

/* The length of the header that `at` begins with, up to and with its empty line; 0: it is not whole. `known`: so many bytes
 * have been looked at before. */
static size_t header_length(const char *at, size_t length, size_t known) {
    for (size_t i = known > 3 ? known - 3 : 0; i + 1 < length; i++) {
        if (at[i] == '\n' && at[i + 1] == '\n') return i + 2;
        if (at[i] == '\n' && i + 2 < length && at[i + 1] == '\r' && at[i + 2] == '\n') return i + 3;
    }
    return 0;
}

static char *next_line(char **rest) { /* without its end, CR LF or LF */
    char *line = *rest, *end = strchr(line, '\n');
    *rest = end + 1;
    if (end > line && end[-1] == '\r') end--;
    *end = '\0';
    return line;
}

static bool decode(char *s) { /* %20 and the like; false: that is none, or a NUL */
    char *to = s;
    for (; *s != '\0'; s++) {
        unsigned c = (unsigned char)*s;
        if (c == '%') {
            char digits[3] = {s[1], s[1] != '\0' ? s[2] : '\0', '\0'};
            if (strspn(digits, "0123456789abcdefABCDEF") != 2) return false;
            c = (unsigned)strtoul(digits, NULL, 16);
            if (c == 0) return false;
            s += 2;
        }
        *to++ = (char)c;
    }
    *to = '\0';
    return true;
}

static bool has_word(const char *list, const char *word) { /* "a, b" has "b" */
    size_t n = strlen(word);
    for (const char *s = list; *s != '\0'; s += strcspn(s, ",")) {
        s += strspn(s, ", \t");
        if (strncasecmp(s, word, n) == 0 && strchr(", \t", s[n]) != NULL) return true;
    }
    return false;
}

static bool is_token(const char *s) {
    if (*s == '\0') return false;
    for (; *s != '\0'; s++) {
        if (*s <= ' ' || *s > '~' || strchr("\"(),/:;<=>?@[\\]{}", *s) != NULL) return false;
    }
    return true;
}

/* Takes a header of `length` bytes apart, in place: *r points into it. 0, or the status to refuse it with. */
static int parse(char *header, size_t length, request *r) {
    for (size_t i = 0; i < length; i++) { /* no control characters: so no NUL either */
        unsigned char c = (unsigned char)header[i];
        if ((c < ' ' && c != '\t' && c != '\n' && !(c == '\r' && header[i + 1] == '\n')) || c == 0x7f) return 400;
    }
    char *method = next_line(&header), *target = strchr(method, ' '), *version = target != NULL ? strrchr(target, ' ') : NULL;
    if (target == NULL || version == target) return 400;
    *target++ = *version++ = '\0';
    if (!is_token(method) || strncmp(version, "HTTP/", 5) != 0) return 400;
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) return 505;

    bool is_old = version[7] == '0', has_body = false, keeps = !is_old;
    int hosts = 0;
    for (char *line; *(line = next_line(&header)) != '\0';) {
        char *value = strchr(line, ':'), *end;
        if (value == NULL) return 400;
        *value++ = '\0';
        if (!is_token(line)) return 400; /* also a line that goes on from the one before */
        value += strspn(value, " \t");
        for (end = value + strlen(value); end > value && strchr(" \t", end[-1]) != NULL;) *--end = '\0';
        if (strcasecmp(line, "Host") == 0) hosts++;
        else if (strcasecmp(line, "Range") == 0) r->range = value;
        else if (strcasecmp(line, "If-Range") == 0) r->if_range = value;
        else if (strcasecmp(line, "If-None-Match") == 0) r->if_none_match = value;
        else if (strcasecmp(line, "If-Modified-Since") == 0) r->if_modified_since = value;
        else if (strcasecmp(line, "Connection") == 0) keeps = has_word(value, "keep-alive") || (keeps && !has_word(value, "close"));
        else if (strcasecmp(line, "Content-Length") == 0) has_body = has_body || strcmp(value, "0") != 0;
        else if (strcasecmp(line, "Transfer-Encoding") == 0) has_body = true;
    }
    if (hosts > 1 || (hosts == 0 && !is_old)) return 400;

    r->is_head = strcmp(method, "HEAD") == 0;
    if (!r->is_head && strcmp(method, "GET") != 0) return 405;
    if (has_body) return 413;
    if (strncasecmp(target, "http://", 7) == 0) { /* as a proxy is asked */
        target += 7 + strcspn(target + 7, "/?");
    }
    if (*target != '/') return 400;
    strcpy(r->target, target); /* both have the room of a whole header */
    strcpy(r->path, target);
    char *query = strchr(r->path, '?');
    if (query != NULL) *query++ = '\0';
    r->query = query;
    if (!decode(r->path) || (query != NULL && !decode(query))) return 400;
    r->keep = keeps;
    return 0;
}

/* ---- faults --------------------------------------------------------------------------------------------- */

typedef struct fault {
    long delay, drip, piece, stall, close, reset, status, after, redirect, length, norange, refuse, range, total, other, sametag, notag, nodate,
        nolength, chunked, badchunk, endless, garbage, longhead, times;
    const char *to;
} fault;

static const struct key {
    const char *name;
    size_t offset;
} keys[] = {
#define KEY(name) {#name, offsetof(fault, name)}
    KEY(delay), KEY(drip), KEY(piece), KEY(stall), KEY(close), KEY(reset), KEY(status), KEY(after), KEY(redirect), KEY(length), KEY(norange), KEY(refuse),
    KEY(range), KEY(total), KEY(other), KEY(sametag), KEY(notag), KEY(nodate), KEY(nolength), KEY(chunked), KEY(badchunk),
    KEY(endless), KEY(garbage), KEY(longhead), KEY(times)
#undef KEY
};
enum { KEYS = sizeof keys / sizeof keys[0], NEVER = -2 };

static bool parse_fault(const char *s, fault *f) { /* "name=number,name": without a number, 1. false: unknown */
    memset(f, 0, sizeof *f);
    f->stall = f->close = f->reset = NEVER;
    while (*s != '\0' && *s != '&' && *s != ';') {
        size_t n = strcspn(s, "=,&;"), k = 0;
        if (n == 2 && strncmp(s, "to=", 3) == 0) return f->to = s + 3, true;
        while (k < KEYS && (strlen(keys[k].name) != n || strncmp(s, keys[k].name, n) != 0)) k++;
        if (k == KEYS) return n == 4 && strncmp(s, "none", 4) == 0;
        *(long *)((char *)f + keys[k].offset) = s[n] == '=' ? strtol(s + n + 1, NULL, 10) : 1;
        s += strcspn(s, ",&;");
        s += *s == ',';
    }
    return true;
}

/* How often a target has been asked for before. */
static long count_of(const char *target) {
    static struct seen {
        struct seen *next;
        long count;
        char target[];
    } *seen;
    struct seen *it = seen;
    while (it != NULL && strcmp(it->target, target) != 0) it = it->next;
    if (it == NULL) {
        it = malloc(sizeof *it + strlen(target) + 1);
        if (it == NULL) return 0;
        strcpy(it->target, target);
        it->count = 0;
        it->next = seen;
        seen = it;
    }
    return it->count++;
}

/* What is to go wrong with this request. */
static bool find_fault(const request *r, fault *f) {
    const char *told = r->query != NULL && default_fault != NULL ? strstr(r->query, "fault=") : NULL;
    told = told != NULL ? told + 6 : default_fault != NULL ? default_fault : "none";
    bool good = parse_fault(told, f);
    if (f->times > 0 && count_of(r->target) >= f->times) {
        told += strcspn(told, ";");
        return parse_fault(*told == ';' ? told + 1 : "none", f);
    }
    return good;
}

static void generate(uint64_t seed, uint64_t offset, char *to, size_t n) { /* the numbers of S. Vigna's splitmix64 */
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++, offset++) {
        if (i == 0 || offset % 8 == 0) {
            word = (seed + 1) * 0xd1342543de82ef95u + (offset / 8 + 1) * 0x9e3779b97f4a7c15u;
            word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
            word = (word ^ word >> 27) * 0x94d049bb133111ebu;
            word ^= word >> 31;
        }
        to[i] = (char)(word >> offset % 8 * 8 & 0xff);
    }
}

/* ---- a reply -------------------------------------------------------------------------------------------- */

typedef struct reply {
    int status;
    int file;         /* the body comes from this descriptor; -1: from here: */
    text page;        /* NULL: it is generated, of */
    uint64_t seed;
    uint64_t size;    /* of the whole */
    uint64_t first, length; /* the part of it to be sent */
    const char *type;
    char tag[80], date[32]; /* "": none */
    text location;
} reply;

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } all[] = {{200, "OK"}, {206, "Partial Content"}, {301, "Moved Permanently"}, {302, "Found"}, {304, "Not Modified"},
               {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
               {413, "Content Too Large"}, {414, "URI Too Long"}, {416, "Range Not Satisfiable"}, {429, "Too Many Requests"},
               {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {503, "Service Unavailable"},
               {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].status == status) return all[i].text;
    }
    return "Unknown";
}

static const char *type_of(const char *path) {
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".txt", "text/plain; charset=utf-8"}, {".c", "text/plain; charset=utf-8"},
        {".h", "text/plain; charset=utf-8"}, {".md", "text/plain; charset=utf-8"}, {".css", "text/css"}, {".js", "text/javascript"},
        {".json", "application/json"}, {".png", "image/png"}, {".jpg", "image/jpeg"}, {".jpeg", "image/jpeg"}, {".gif", "image/gif"},
        {".svg", "image/svg+xml"}, {".webp", "image/webp"}, {".pdf", "application/pdf"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++) {
        if (strcasecmp(dot, types[i][0]) == 0) return types[i][1];
    }
    return "application/octet-stream";
}

static void say(reply *a, int status) { /* a status, and nothing but that */
    if (a->file >= 0) close(a->file);
    a->file = -1;
    a->page.length = 0;
    a->status = status;
    a->type = "text/plain";
    a->tag[0] = a->date[0] = '\0';
    if (status != 304) add(&a->page, "%d %s\n", status, reason(status));
    a->first = 0;
    a->size = a->length = a->page.length;
}

/* Opens what `path` names below `dir`, step by step, so that no link leads out. -1, and errno tells why not. */
static int open_below(int dir, const char *path) {
    int at = dir, next = -1;
    for (;;) {
        char name[256];
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        if (*path == '.' || n >= sizeof name) { /* so it is neither . nor .. */
            errno = ENOENT;
            next = -1;
        } else {
            memcpy(name, n > 0 ? path : ".", n > 0 ? n : 1);
            name[n > 0 ? n : 1] = '\0';
            path += n;
            next = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (*path == '/' ? O_DIRECTORY : 0));
        }
        if (at != dir) {
            int e = errno;
            close(at);
            errno = e;
        }
        if (next < 0 || *path == '\0' || n == 0) return next;
        at = next;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_directory(int fd, const char *path, text *page) { /* takes fd */
    text names = {NULL, 0, 0};
    DIR *d = fdopendir(fd);
    if (d == NULL) close(fd);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        struct stat st;
        char *name;
        if (e->d_name[0] == '.' || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) continue;
        if (!make_room(&names, sizeof name) || (name = malloc(strlen(e->d_name) + 2)) == NULL) break;
        strcat(strcpy(name, e->d_name), S_ISDIR(st.st_mode) ? "/" : "");
        memcpy(names.at + names.length, &name, sizeof name);
        names.length += sizeof name;
    }
    if (d != NULL) closedir(d);
    if (names.length > 0) qsort(names.at, names.length / sizeof(char *), sizeof(char *), by_name);

    add(page, "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>");
    add_html(page, path);
    add(page, "</title>\n<h1>");
    add_html(page, path);
    add(page, "</h1>\n<ul>\n");
    if (strcmp(path, "/") != 0) add(page, "<li><a href=\"../\">../</a>\n");
    for (size_t i = 0; i < names.length; i += sizeof(char *)) {
        char *name;
        memcpy(&name, names.at + i, sizeof name);
        add(page, "<li><a href=\"./");
        add_url(page, name);
        add(page, "\">");
        add_html(page, name);
        add(page, "</a>\n");
        free(name);
    }
    add(page, "</ul>\n");
    free(names.at);
}

static void find_file(const request *r, reply *a) {
    struct stat st;
    size_t n = strlen(r->path);
    a->file = open_below(root, r->path);
    if (a->file < 0 || fstat(a->file, &st) != 0) {
        say(a, errno == EACCES ? 403 : errno == EMFILE || errno == ENFILE || errno == ENOMEM ? 503 : 404);
    } else if (S_ISDIR(st.st_mode) && r->path[n - 1] != '/') {
        add_url(&a->location, r->path + strspn(r->path, "/") - 1); /* "//host" would lead elsewhere */
        add(&a->location, "/");
        say(a, 301);
    } else if (S_ISDIR(st.st_mode)) {
        int index = open_below(a->file, "index.html");
        a->type = "text/html; charset=utf-8";
        if (index >= 0 && fstat(index, &st) == 0 && S_ISREG(st.st_mode)) {
            close(a->file);
            a->file = index;
        } else {
            if (index >= 0) close(index);
            list_directory(a->file, r->path, &a->page);
            a->file = -1;
            a->size = a->page.length;
        }
    } else if (!S_ISREG(st.st_mode) || r->path[n - 1] == '/') {
        say(a, 404);
    } else {
        a->type = type_of(r->path);
    }
    if (a->file >= 0 && fstat(a->file, &st) == 0) {
        a->size = (uint64_t)st.st_size;
        http_date(st.st_mtime, a->date);
        snprintf(a->tag, sizeof a->tag, "\"%lx-%lx-%lx-%lx\"", (unsigned long)st.st_ino, (unsigned long)st.st_size,
                 (unsigned long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    }
}

static void find_bytes(const request *r, reply *a) { /* /bytes/N?seed=S */
    const char *seed = r->query != NULL ? strstr(r->query, "seed=") : NULL;
    a->size = strtoull(r->path + 7, NULL, 10);
    a->seed = seed != NULL ? strtoull(seed + 5, NULL, 10) : 0;
    a->type = "application/octet-stream";
    http_date(1767225600, a->date);
    snprintf(a->tag, sizeof a->tag, "\"%llu-%llu\"", (unsigned long long)a->size, (unsigned long long)a->seed);
}

static void find_stats(reply *a) {
    add(&a->page, "connections %lu\nrequests %lu\nbytes %llu\n", connections, requests, (unsigned long long)bytes_sent);
    a->type = "text/plain";
    a->size = a->page.length;
}

/* A range "bytes=A-B", "bytes=A-" or "bytes=-N" into a->first and a->length. 206; 416: there is nothing of it; 200: it is
 * something else, and the whole is sent. */
static int choose_range(const char *s, reply *a) {
    uint64_t first, last = UINT64_MAX;
    char *end;
    if (strncasecmp(s, "bytes=", 6) != 0) return 200;
    s += 6;
    if (*s == '-' && s[1] >= '0' && s[1] <= '9') {
        uint64_t n = strtoull(s + 1, &end, 10);
        if (*end != '\0') return 200;
        if (n == 0) return 416;
        first = n < a->size ? a->size - n : 0;
    } else if (*s >= '0' && *s <= '9') {
        first = strtoull(s, &end, 10);
        if (*end++ != '-') return 200;
        if (*end >= '0' && *end <= '9') last = strtoull(end, &end, 10);
        if (*end != '\0' || last < first) return 200;
    } else {
        return 200;
    }
    if (first >= a->size) return 416;
    a->first = first;
    a->length = (last < a->size ? last : a->size - 1) - first + 1;
    return 206;
}

/* The reply to a request, but for what goes wrong on its way. */
static void make_reply(const request *r, const fault *f, reply *a) {
    a->status = 200;
    if (f->redirect != 0 || f->to != NULL) {
        const char *told = strstr(r->target, "fault=");
        int before = told != NULL ? (int)(told - r->target) : (int)strlen(r->target);
        if (f->to != NULL) add(&a->location, "%s", f->to);
        else if (told == NULL || f->redirect < 0) add(&a->location, "%s", r->target);
        else if (f->redirect == 1) add(&a->location, "%.*sfault=none", before, r->target);
        else add(&a->location, "%.*sfault=redirect=%ld", before, r->target, f->redirect - 1);
        say(a, 302);
    } else if (f->status != 0) {
        say(a, (int)f->status);
    } else if (default_fault != NULL && strncmp(r->path, "/bytes/", 7) == 0) {
        find_bytes(r, a);
    } else if (default_fault != NULL && strcmp(r->path, "/stats") == 0) {
        find_stats(a);
    } else {
        find_file(r, a);
    }
    a->length = a->size;
    if (a->status != 200) return;

    if (f->other && !f->sametag) {
        a->tag[1] = 'x';
        http_date(1000000000, a->date);
    }
    if (f->notag) a->tag[0] = '\0';
    if (f->nodate) a->date[0] = '\0';
    if (f->endless) a->length = a->size = UINT64_MAX / 4;

    /* A client that asks about dates sends ours back: no other one is looked at. */
    bool same = false;
    if (r->if_none_match != NULL) {
        same = a->tag[0] != '\0' && (*r->if_none_match == '*' || strstr(r->if_none_match, a->tag) != NULL);
    } else if (r->if_modified_since != NULL) {
        same = a->date[0] != '\0' && strcmp(r->if_modified_since, a->date) == 0;
    }
    if (same) {
        char tag[sizeof a->tag];
        strcpy(tag, a->tag);
        say(a, 304);
        strcpy(a->tag, tag);
    } else if (r->range != NULL && !r->is_head && !f->norange &&
               (r->if_range == NULL || (*r->if_range != '\0' &&
                                        (strcmp(r->if_range, a->tag) == 0 || strcmp(r->if_range, a->date) == 0)))) {
        uint64_t size = a->size;
        int status = f->refuse ? 416 : choose_range(r->range, a);
        if (status == 416) say(a, 416);
        a->status = status;
        a->size = size;
        if (status == 206 && f->range != 0) { /* as far as there is something */
            uint64_t by = (uint64_t)f->range < a->length ? (uint64_t)f->range : 0;
            a->first += by;
            a->length -= by;
        }
    }
}

static void add_header(text *t, const fault *f, const reply *a, bool keep) {
    static char now[32];
    static time_t at;
    if (time(NULL) != at) http_date(at = time(NULL), now); /* once in a second */
    add(t, "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: conc-httpd\r\nAccept-Ranges: bytes\r\n", a->status, reason(a->status), now);
    add(t, "Connection: %s\r\n", keep ? "keep-alive" : "close");
    if (a->status != 304) {
        add(t, "Content-Type: %s\r\n", a->type);
        if (f->chunked || f->endless || f->badchunk) add(t, "Transfer-Encoding: chunked\r\n");
        else if (!f->nolength) add(t, "Content-Length: %llu\r\n", (unsigned long long)a->length + (unsigned long long)f->length);
    }
    if (a->status == 206) {
        add(t, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)a->first,
            (unsigned long long)(a->first + a->length - 1), (unsigned long long)a->size + (unsigned long long)f->total);
    }
    if (a->status == 416) add(t, "Content-Range: bytes */%llu\r\n", (unsigned long long)a->size);
    if (a->status == 405) add(t, "Allow: GET, HEAD\r\n");
    if (a->tag[0] != '\0') add(t, "ETag: %s\r\n", a->tag);
    if (a->date[0] != '\0') add(t, "Last-Modified: %s\r\n", a->date);
    if (a->location.length > 0) add(t, "Location: %s\r\n", a->location.at);
    if (f->after > 0) add(t, "Retry-After: %ld\r\n", f->after);
    if (f->after < 0) {
        char date[32];
        http_date(time(NULL) - f->after, date);
        add(t, "Retry-After: %s\r\n", date);
    }
    add(t, "\r\n");
}

/* Up to n bytes of the body, from `offset` of the whole; how many there were.
 * A file is read here, in the loop's thread: it nearly always lies in the system's memory already, and then reading it is a copy,
 * of 64 KiB at most; to have another thread do it, with conc_op_offload(), would cost more than that. Where files come
 * from slow disks, that would be the thing to do. */
static size_t read_body(const reply *a, uint64_t offset, char *to, size_t n) {
    if (a->page.at != NULL) {
        memcpy(to, a->page.at + offset, n);
    } else if (a->file < 0) {
        generate(a->seed, offset, to, n);
    } else {
        ssize_t got;
        do got = pread(a->file, to, n, (off_t)offset);
        while (got < 0 && errno == EINTR);
        return got > 0 ? (size_t)got : 0;
    }
    return n;
}

/* Appends the next piece of the body, as what goes wrong has it. 0: the body has ended. */
static size_t add_piece(text *t, const reply *a, const fault *f, uint64_t done, uint64_t stop) {
    bool chunks = f->chunked || f->endless || f->badchunk;
    size_t n = f->piece > 0 ? (size_t)f->piece : f->drip > 0 ? 100 : PIECE, got;
    if (n > stop - done) n = (size_t)(stop - done);
    if (n == 0) return 0;
    if (chunks) add(t, "%lx\r\n", (unsigned long)n);
    if (!make_room(t, n + 8)) return 0;
    got = read_body(a, a->first + done, t->at + t->length, n);
    for (size_t i = 0; f->other && i < got; i++) t->at[t->length + i] ^= 0x55;
    t->length += got;
    if (chunks) add(t, "\r\n");
    return got;
}

/* ---- a connection ------------------------------------------------------------------------------------------ */

typedef struct connection {
    conc_socket *s;
    size_t have, used;  /* what is in the buffer; so much of it is this request's */
    int status;         /* what is to be said of it; 0: nothing is wrong with it */
    request r;
    char buffer[HEAD];
} connection;

/* Waits for a request. Returns 0, or 1: none comes any more. */
CONC_CORO(read_request, connection *c; size_t known; conc_deadline limit; conc_io in;) {
    CO_BEGIN;
    self->c->status = 0;
    memset(&self->c->r, 0, offsetof(request, target));
    self->c->r.target[0] = self->c->r.path[0] = '\0';
    self->limit = self->c->have > 0 ? conc_after(HASTE) : conc_after(IDLE);
    for (;;) {
        connection *c = self->c;
        if (self->known == 0) { /* empty lines may stand before it */
            size_t n = 0;
            while (n < c->have && (c->buffer[n] == '\r' || c->buffer[n] == '\n')) n++;
            memmove(c->buffer, c->buffer + n, c->have -= n);
        }
        c->used = header_length(c->buffer, c->have, self->known);
        if (c->used > 0) {
            c->status = parse(c->buffer, c->used, &c->r);
            CO_RETURN(0);
        }
        if (c->have == HEAD) {
            c->status = memchr(c->buffer, '\n', HEAD) == NULL ? 414 : 431;
            CO_RETURN(0);
        }
        if (self->known == 0 && c->have > 0) self->limit = conc_after(HASTE);
        self->known = c->have;
        self->in.data = c->buffer + c->have;
        self->in.size = HEAD - c->have;
        CO_AWAIT_UNTIL(conc_op_receive(self->c->s, &self->in), self->limit);
        if (self->co.result == CONC_TIMEOUT && self->c->have > 0) {
            self->c->status = 408;
            CO_RETURN(0);
        }
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->c->have += self->in.done;
    }
    CO_END;
}

/* Sends *t, and empties it. Returns 0, or 1: the other side is gone, or takes nothing. */
CONC_CORO(send_text, conc_socket *s; text *t; conc_out out;) {
    CO_BEGIN;
    self->out.data = self->t->at;
    self->out.size = self->t->length;
    while (self->out.size > 0) {
        CO_AWAIT_UNTIL(conc_op_send(self->s, &self->out), conc_after(IDLE));
        if (self->co.result != CONC_OK) CO_RETURN(1);
        self->out.data = (const char *)self->out.data + self->out.done;
        self->out.size -= self->out.done;
    }
    self->t->length = 0;
    CO_END;
}

/* Answers the request. Returns 0, or 1: the connection is good for nothing more. */
CONC_CORO(answer, connection *c; reply a; fault f; text out; uint64_t done, stop; size_t piece; long cut; conc_io in; char byte;) {
    CO_BEGIN;
    connection *c = self->c;
    reply *a = &self->a;
    a->file = -1;
    requests++;
    if (c->status == 0 && !find_fault(&c->r, &self->f)) c->status = 400;
    if (c->status != 0) parse_fault("none", &self->f);
    if (c->status == 0) make_reply(&c->r, &self->f, a);
    else say(a, c->status);
    if (verbose) {
        fprintf(stderr, "%s %s %s -> %d, %llu + %llu of %llu\n", c->r.is_head ? "HEAD" : "GET", c->r.target,
                c->r.range != NULL ? c->r.range : "", a->status, (unsigned long long)a->first, (unsigned long long)a->length,
                (unsigned long long)a->size);
    }

    /* How much of the body is to come, and whether it is cut there. */
    self->stop = c->r.is_head || a->status == 304 ? 0 : a->length;
    self->cut = self->f.reset != NEVER ? self->f.reset : self->f.close != NEVER ? self->f.close : self->f.stall;
    if (self->cut > 0 && (uint64_t)self->cut > self->stop) self->cut = NEVER;
    if (self->cut != NEVER) self->stop = self->cut < 0 ? 0 : (uint64_t)self->cut;

    if (self->f.delay > 0) CO_AWAIT(conc_op_sleep((double)self->f.delay / 1000));
    if (!make_room(&self->out, PIECE + 4096)) CO_RETURN(1);
    if (self->f.garbage) add(&self->out, "\x16\x03\x01 this is no header\r\n\x01\x02\r\n\r\n");
    else if (self->cut != -1) add_header(&self->out, &self->f, &self->a, self->c->status == 0 && self->c->r.keep && !self->f.nolength);
    if (self->f.longhead) self->out.length -= 2; /* the empty line, which will never come */
    while (self->f.longhead) {
        for (int i = 0; i < 1000; i++) add(&self->out, "X-More: of the same\r\n");
        CO_CALL(send_text, .s = self->c->s, .t = &self->out);
        if (self->co.value != 0) CO_RETURN(1);
    }

    /* The header goes with the first piece of the body. */
    do {
        self->piece = add_piece(&self->out, &self->a, &self->f, self->done, self->stop);
        self->done += self->piece;
        bytes_sent += self->piece;
        if (self->done == self->stop && self->cut == NEVER && !self->c->r.is_head && (self->f.chunked || self->f.badchunk)) {
            add(&self->out, self->f.badchunk ? "none\r\n\r\n" : "0\r\n\r\n");
        }
        CO_CALL(send_text, .s = self->c->s, .t = &self->out);
        if (self->co.value != 0 || self->co.result != CONC_OK) CO_RETURN(1);
        if (self->f.drip > 0) CO_AWAIT(conc_op_sleep((double)self->f.drip / 1000));
    } while (self->piece > 0 && self->done < self->stop);

    if (self->cut != NEVER && self->f.stall != NEVER) {
        do { /* what comes is not looked at: the other side's end is waited for */
            self->in.data = &self->byte;
            self->in.size = 1;
            CO_AWAIT(conc_op_receive(self->c->s, &self->in));
        } while (self->co.result == CONC_OK);
    }
    if (self->cut != NEVER && self->f.reset != NEVER) {
        struct linger now = {1, 0};
        setsockopt((int)conc_socket_fd(self->c->s), SOL_SOCKET, SO_LINGER, &now, sizeof now); /* its freeing is a reset then */
    }
    CO_RETURN(self->cut != NEVER || self->done < self->stop || self->f.nolength); /* or a file that has shrunk */
    CO_FINALLY;
    if (self->a.file >= 0) close(self->a.file);
    free(self->a.page.at);
    free(self->a.location.at);
    free(self->out.at);
    CO_END;
}

/* One request after another. However it ends (the other side's end, an error, a cancel), the clean-up part gives all back. */
CONC_CORO(handle, conc_socket *s; connection *c; conc_deadline limit; conc_io in;) {
    CO_BEGIN;
    connections++;
    conc_socket_set(self->s, CONC_NO_DELAY, 1);
    self->c = calloc(1, sizeof *self->c);
    if (self->c == NULL) CO_RETURN(1);
    self->c->s = self->s;
    for (;;) {
        CO_CALL(read_request, .c = self->c);
        if (self->co.value != 0 || self->co.result != CONC_OK) CO_RETURN(0);
        CO_CALL(answer, .c = self->c);
        if (self->co.value != 0 || self->co.result != CONC_OK) CO_RETURN(0);
        if (self->c->status != 0 || !self->c->r.keep) break;
        self->c->have -= self->c->used;
        memmove(self->c->buffer, self->c->buffer + self->c->used, self->c->have);
    }
    /* To close a connection on which something has come that was not read is to reset it, and the other side might lose our reply.
     * So it is told that we have ended, and may end, too. */
    conc_socket_shutdown(self->s);
    self->limit = conc_after(2);
    do {
        self->in.data = self->c->buffer;
        self->in.size = HEAD;
        CO_AWAIT_UNTIL(conc_op_receive(self->s, &self->in), self->limit);
    } while (self->co.result == CONC_OK);
    CO_FINALLY;
    conc_socket_free(self->s);
    free(self->c);
    CO_END;
}

CONC_CORO(serve, conc_socket *listener; conc_socket *s;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_accept(self->listener, &self->s));
        if (self->co.result == CONC_CLOSED) break;
        if (self->co.result != CONC_OK) {
            fprintf(stderr, "httpd: %s\n", conc_explain(self->co.result)); /* the listener goes on */
            CO_AWAIT(conc_op_sleep(0.01));
        } else if (CONC_GO(conc_loop_current(), handle, .s = self->s) != CONC_OK) {
            fprintf(stderr, "httpd: %s\n", conc_error_detail());
            conc_socket_free(self->s);
        }
    }
    CO_END;
}

/* ---- all together --------------------------------------------------------------------------------------- */

static int wake[2]; /* a pipe: a signal's handler may write a byte, and hardly anything else */

static void on_signal(int number) {
    int e = errno;
    if (write(wake[1], "", 1) < 0) errno = number;
    errno = e;
}

CONC_CORO(until_signal, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_readable(wake[0]));
    conc_loop_cancel(conc_loop_current()); /* all others run their clean-up parts */
    CO_END;
}

static int write_bytes(uint64_t n, uint64_t seed) {
    static char piece[PIECE];
    for (uint64_t done = 0; done < n; done += PIECE) {
        size_t size = n - done < PIECE ? (size_t)(n - done) : PIECE;
        generate(seed, done, piece, size);
        if (fwrite(piece, 1, size, stdout) != size) return 1;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    unsigned port = 0;
    int option;
    fault f;
    if (argc == 4 && strcmp(argv[1], "-g") == 0) return write_bytes(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    while ((option = getopt(argc, argv, "p:f:v")) != -1) {
        if (option == 'p') port = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'f') default_fault = optarg;
        else if (option == 'v') verbose = true;
        else optind = argc;
    }
    if (optind != argc - 1 || (default_fault != NULL && !parse_fault(default_fault, &f))) {
        fputs("usage: httpd [-p PORT] [-v] [-f FAULT] DIR\n", stderr);
        return 2;
    }
    root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        perror(argv[optind]);
        return 1;
    }
    conc_address address;
    char where[CONC_ADDRESS_TEXT];
    conc_socket *listener = conc_tcp_listen("127.0.0.1", port, &(conc_listen_desc){.backlog = 1024});
    conc_loop *loop = conc_loop_new(NULL);
    if (listener == NULL || loop == NULL || conc_socket_address(listener, &address) != CONC_OK || pipe(wake) != 0 ||
        CONC_GO(loop, serve, .listener = listener) != CONC_OK || CONC_GO(loop, until_signal) != CONC_OK) {
        fprintf(stderr, "httpd: %s\n", conc_error_detail());
        return 1;
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("listening on http://%s/\n", conc_address_text(&address, where, sizeof where));
    fflush(stdout);

    conc_result r = conc_loop_run(loop, CONC_FOREVER);
    if (r != CONC_OK) fprintf(stderr, "httpd: %s\n", conc_explain(r));
    conc_loop_free(loop);
    conc_socket_free(listener);
    printf("%lu connections, %lu requests, %llu bytes of bodies\n", connections, requests, (unsigned long long)bytes_sent);
    return r != CONC_OK;
}
