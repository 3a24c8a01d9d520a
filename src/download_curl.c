/* ============================================================================================
 * downloads: the engine. A worker's tasks in its loop: one, the pump, starts and ends transfers; and for each
 * socket that libcurl wants to be watched one that waits for it. Between the two, libcurl's multi interface: it
 * says which sockets and which point in time it waits for, and is told when they are there
 * (curl_multi_socket_action). Nothing polls, nothing blocks.
 *
 * A download's turn is a job: an open part and one transfer, or several, each for a piece of the file. When the
 * last has ended the job is judged: the file is whole, or the turn was in vain; then there will be another one,
 * or not.
 *
 * Redirects are followed here, not by libcurl, so that each step can be looked at: its scheme, its host.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL)

#if defined(__has_include)
#if !__has_include(<curl/curl.h>)
#error                                                                                                                 \
    "conc.h: CONC_WITH_CURL needs libcurl's headers: install libcurl4-openssl-dev (Debian, Ubuntu), libcurl-devel (Fedora), curl-dev (Alpine), curl (Homebrew, vcpkg), or do not define it"
#endif
#endif
#include <curl/curl.h>
#if LIBCURL_VERSION_NUM < 0x073d00
#error "conc.h: CONC_WITH_CURL needs libcurl 7.61 or later"
#endif

#include <stdio.h>
#include <stdlib.h>

#define CONC__DL_SPARE                                                                                                 \
    65536u /* of an answer that nobody wants, so much is read, so that the connection can be used again */
#if !defined(CONC__DL_RESERVE)
#define CONC__DL_RESERVE (8u << 20)    /* from this length on, room on the disk is looked and asked for before */
#endif
/* A note is written after so much, or so long: that is what is fetched twice, at most, by who goes on after
 * kill -9. (One takes 8 us, its file's first and its removal together 65 us: about as long as 8 KiB, 65 KiB
 * from a server that is very near.) */
#define CONC__DL_NOTE_BYTES (256u << 10)
#define CONC__DL_NOTE_NS 100000000
#if !defined(CONC__DL_HASH_HERE)
#define CONC__DL_HASH_HERE (256u << 10) /* a checksum of no more than this is computed in the loop's thread */
#endif
#define CONC__DL_PAUSE_NS 10000000 /* how long what is too early waits at least */
#define CONC__DL_ATTEMPTS 1000u    /* of one item, whatever they have brought */

typedef struct conc__engine conc__engine;
typedef struct conc__job_dl conc__job_dl;
typedef struct conc__transfer conc__transfer;

/* A socket that libcurl wants to be watched. */
typedef struct conc__dl_socket {
    struct conc__dl_socket *next; /* free ones */
    conc__engine *e;
    curl_socket_t fd;
    int want;     /* CURL_POLL_IN, _OUT, _INOUT, _NONE */
    bool changed; /* `want` has, or it is gone. Waited for under this struct's address */
    bool gone;
    uint8_t asked;
} conc__dl_socket;

/* What came of an answer so far. */
enum {
    CONC__BODY_UNKNOWN, /* its head is not complete */
    CONC__BODY_TAKEN,   /* it goes into the file */
    CONC__BODY_SPARED   /* it is read and thrown away */
};

struct conc__transfer {
    conc__transfer *next, **link; /* in the list of those under way, or of the free */
    conc__engine *e;
    conc__job_dl *job;
    CURL *easy;
    struct curl_slist *headers; /* its own; NULL: the session's */
    int piece;                  /* -1: the whole file, or its rest */
    uint64_t from, at;          /* where it began in the file, and where the next byte goes */
    unsigned body;
    conc__transfer *after; /* in the list of those that wait for bandwidth */
    bool is_paused;
    uint64_t grant; /* so much may come, although others wait */
    bool cut;       /* we have ended it, and that is no error */
    unsigned redirects; /* followed */
    bool foreign;   /* a redirect has led to another host: no headers of the caller's */
    uint64_t spared;
    int64_t since;                           /* for min_speed: so many bytes of the body since then; */
    uint64_t came;
    bool held;                               /* and not all that could, as bandwidth was waited for */
    int64_t asked;                           /* when it began, or was led on; */
    int64_t moved;                           /* and when bytes of a body last came */
    char etag[256], modified[64], range[96]; /* of the answer; the tag may be a weak one */
    int64_t date;                            /* of the answer; 0: none */
    bool accepts_ranges;
    char *url;      /* a redirect's, or NULL */
    char *location; /* of the answer, or NULL */
    char error[CURL_ERROR_SIZE];
};

/* A download's turn. */
struct conc__job_dl {
    conc__job_dl *next, **link; /* in the list of those that have pieces to be begun; link NULL: in none */
    conc__engine *e;
    conc__download *dl;
    conc__dl_file file;
    conc__hash hash;
    bool hashes;         /* each byte is added as it comes */
    unsigned transfers;  /* under way */
    uint64_t next_piece; /* bit i: piece i has to be begun */
    uint64_t before;     /* kept, at the beginning of the turn */
    uint64_t noted;      /* received, at the last note; */
    int64_t noted_at;
    uint64_t fresh;     /* received in this turn */
    conc_result result; /* CONC_OK: well so far */
    bool again;         /* what went wrong may go away by itself */
    bool afresh;        /* and what is there is of no use */
    bool slow;          /* and what has come in this turn counts for nothing */
    double retry_after; /* seconds; < 0: not said */
    char text[256];
};

struct conc__engine {
    conc__dl_worker *w;
    conc_downloader *d;
    CURLM *multi;
    struct curl_slist *headers;
    conc__transfer *active, *spare;       /* under way; with a handle, for the next */
    unsigned count, jobs;                 /* transfers under way; jobs, also those in verification */
    conc__job_dl *pending;                /* with pieces to be begun */
    conc__dl_socket *sockets;             /* free */
    unsigned watchers;                    /* their tasks */
    int64_t timer;                        /* libcurl's; INT64_MAX: none */
    int64_t until;                        /* the pump sleeps till then; INT64_MIN: it runs */
    int64_t check;                        /* when to look for stalls */
    conc__transfer *paused, **paused_end; /* those that wait for bandwidth, in their order; */
    int64_t resume;                       /* till when */
    bool again;                           /* something has changed since it began its last round */
    uint32_t alarms;                      /* of the session's, seen */
    long buffer;
    uint32_t random;
};

/* An option that libcurl copies. */
static CURLcode conc__easy_set(CURL *easy, CURLoption option, const char *text) {
    return CONC__FAULT("curl_easy_setopt", CURLE_OUT_OF_MEMORY) != 0 ? CURLE_OUT_OF_MEMORY
                                                                     : curl_easy_setopt(easy, option, text);
}

static bool conc__multi_add(conc__transfer *t) {
    return CONC__FAULT("curl_multi_add_handle", CURLM_OUT_OF_MEMORY) == 0 &&
           curl_multi_add_handle(t->e->multi, t->easy) == CURLM_OK;
}

/* ---- libcurl as a whole ---------------------------------------------------------------------------------- */

static int conc__curl_init(void *unused) {
    (void)unused;
    return CONC__FAULT("curl_global_init", CURLE_FAILED_INIT) != 0 ? 1 : (int)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* It stays: others may use it too. */
conc_result conc__curl_begin(void) {
    static conc_once once;
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc_once_do(&once, conc__curl_init, NULL, CONC_FOREVER);
    (void)conc_cancel_use(token);
    return r == CONC_OK ? r : conc__fail(CONC_SYSTEM, "libcurl cannot begin (curl_global_init)");
}

/* ---- sockets --------------------------------------------------------------------------------------------- */

/* Has the pump make another round. */
static void conc__engine_stir(conc__engine *e) {
    e->again = true;
    if (e->until != INT64_MIN) conc__dl_stir(e->w);
}

static conc_result conc__socket_changed_attempt(conc_op *op) {
    return ((conc__dl_socket *)op->object)->changed ? CONC_OK : CONC_PENDING;
}

/* All who change it are in this loop's thread: between the look and the node nothing happens. */
static bool conc__socket_changed_arm(conc_op *op, conc_node *node) {
    conc__dl_socket *s = (conc__dl_socket *)op->object;
    conc__bucket *b;
    if (s->changed) return false;
    b = conc__bucket_lock(s);
    conc__bucket_push(b, s, node, 0);
    conc__bucket_unlock(b);
    return true;
}

/* libcurl has just found that there is nothing: the first attempt believes it, and each later one the poller. */
static conc_result conc__socket_ready_attempt(conc_op *op) {
    conc__dl_socket *s = (conc__dl_socket *)op->object;
    uint8_t bit = (uint8_t)(1u << conc__polled_side(op->word));
    if ((s->asked & bit) != 0) return CONC_OK;
    s->asked |= bit;
    return CONC_PENDING;
}

static conc_op conc__op_socket_ready(conc__dl_socket *s, unsigned side) {
    static const conc_op_class cls = {"socket", CONC_BUSY, conc__socket_ready_attempt, conc__polled_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, s, NULL);
    op.word = CONC__POLLED(s->fd, side, 0);
    return op;
}

static size_t conc__socket_ops(conc__dl_socket *s, conc_op ops[3]) {
    static const conc_op_class cls = {"socket", CONC_BUSY, conc__socket_changed_attempt, conc__socket_changed_arm,
                                      NULL,     NULL};
    size_t n = 1;
    s->changed = false;
    s->asked = 0;
    ops[0] = conc_op_make(&cls, s, NULL);
    if ((s->want & CURL_POLL_IN) != 0) ops[n++] = conc__op_socket_ready(s, 0);
    if ((s->want & CURL_POLL_OUT) != 0) ops[n++] = conc__op_socket_ready(s, 1);
    return n;
}

static void conc__engine_broken(conc__engine *e, CURLMcode m);

/* Tells libcurl of a socket, or of its timer. */
static void conc__engine_action(conc__engine *e, curl_socket_t fd, int what) {
    int running = 0;
    CURLMcode m = (CURLMcode)CONC__FAULT("curl_multi_socket_action", CURLM_OUT_OF_MEMORY, CURLM_INTERNAL_ERROR);
    if (m == CURLM_OK) m = curl_multi_socket_action(e->multi, fd, what, &running);
    if (m != CURLM_OK) {
        conc__engine_broken(e, m);
    } else if ((unsigned)running < e->count) {
        conc__engine_stir(e); /* one has ended */
    }
}

CONC_CORO(conc__dl_watch, conc__dl_socket *s; size_t n; conc_op ops[3];) {
    CO_BEGIN;
    while (!self->s->gone) {
        self->n = conc__socket_ops(self->s, self->ops);
        CO_AWAIT_ANY(self->ops, self->n);
        if (self->co.value > 0 && !self->s->gone) {
            conc__engine_action(self->s->e, self->s->fd,
                                conc__polled_side(self->ops[self->co.value].word) != 0 ? CURL_CSELECT_OUT
                                                                                       : CURL_CSELECT_IN);
        } else if (self->co.value < 0) { /* it cannot be watched: libcurl is to look itself */
            CO_AWAIT(conc_op_sleep(0.01));
            if (!self->s->gone) conc__engine_action(self->s->e, self->s->fd, 0);
        }
    }
    CO_FINALLY;
    self->s->e->watchers--;
    self->s->next = self->s->e->sockets;
    self->s->e->sockets = self->s;
    conc__engine_stir(self->s->e);
    CO_END;
}

static void conc__engine_unwatched(conc__engine *e, CURL *easy);

/* A new socket; false: there is no memory for it. */
static bool conc__engine_watch(conc__engine *e, curl_socket_t fd, int what) {
    conc__dl_watch frame = CONC_FRAME_ZERO(conc__dl_watch);
    conc__dl_socket *s = e->sockets;
    if (s != NULL) {
        e->sockets = s->next;
    } else {
        s = (conc__dl_socket *)conc__alloc(1, sizeof *s, "a socket's watch");
        if (s == NULL) return false;
    }
    memset(s, 0, sizeof *s);
    s->e = e;
    s->fd = fd;
    s->want = what;
    frame.s = s;
    if (CONC__FAULT("curl_multi_assign", CURLM_OUT_OF_MEMORY) == 0 && curl_multi_assign(e->multi, fd, s) == CURLM_OK) {
        if (conc__co_go(CONC_SPAWN_FRAME(e->w->loop, NULL, conc__dl_watch, frame)) == CONC_OK) {
            e->watchers++;
            return true;
        }
        (void)curl_multi_assign(e->multi, fd, NULL);
    }
    s->next = e->sockets;
    e->sockets = s;
    return false;
}

/* libcurl: what it wants to know of a socket from now on. (An error here would end all transfers there are, and
 * all to come.) */
static int conc__engine_socket(CURL *easy, curl_socket_t fd, int what, void *engine, void *known) {
    conc__engine *e = (conc__engine *)engine;
    conc__dl_socket *s = (conc__dl_socket *)known;
    if (what == CURL_POLL_REMOVE) {
        if (s == NULL) return 0;
        s->gone = s->changed = true;
        (void)conc__wake_waiters(s, CONC__ANY_TAG, 1);
        (void)curl_multi_assign(e->multi, fd, NULL);
        return 0;
    }
    if (s == NULL) {
        if (!conc__engine_watch(e, fd, what)) conc__engine_unwatched(e, easy);
        return 0;
    }
    if (s->want != what) {
        s->want = what;
        s->changed = true;
        (void)conc__wake_waiters(s, CONC__ANY_TAG, 1);
    }
    return 0;
}

/* libcurl: when to call it, if nothing happens. */
static int conc__engine_timer(CURLM *multi, long ms, void *engine) {
    conc__engine *e = (conc__engine *)engine;
    (void)multi;
    e->timer = ms < 0 ? INT64_MAX : ms == 0 ? INT64_MIN + 1 : conc__port_clock_ns() + (int64_t)ms * 1000000;
    if (e->timer < e->until) conc__engine_stir(e);
    return 0;
}

/* ---- what a job is told ---------------------------------------------------------------------------------- */

/* The first reason counts. `again`: it may go away by itself. */
static void conc__job_fails(conc__job_dl *job, conc_result r, bool again, const char *text) {
    if (job->result != CONC_OK) return;
    job->result = r;
    job->again = again;
    (void)snprintf(job->text, sizeof job->text, "%s", text);
}

/* With this thread's sentence. */
static void conc__job_fails_so(conc__job_dl *job, conc_result r, bool again) {
    conc__job_fails(job, r, again, conc_error_detail());
}

/* A transfer whose socket cannot be watched ends in the pump's next round. */
static void conc__engine_unwatched(conc__engine *e, CURL *easy) {
    char *t = NULL;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    if (t != NULL && ((conc__transfer *)(void *)t)->job != NULL) {
        conc__job_fails(((conc__transfer *)(void *)t)->job, CONC_NO_MEMORY, false, "no memory to watch a socket");
    }
    e->alarms--;
    conc__engine_stir(e);
}

/* After an error libcurl knows of none of its transfers how it stands: all end in the pump's next round. */
static void conc__engine_broken(conc__engine *e, CURLMcode m) {
    conc__transfer *t;
    for (t = e->active; t != NULL; t = t->next) {
        conc__job_fails(t->job, m == CURLM_OUT_OF_MEMORY ? CONC_NO_MEMORY : CONC_SYSTEM, false, curl_multi_strerror(m));
    }
    e->alarms--;
    conc__engine_stir(e);
}

static bool conc__job_can_resume(const conc__job_dl *job) {
    return job->file.etag[0] != '\0' || job->file.date[0] != '\0' || job->dl->hash != CONC__HASH_NONE;
}

static uint64_t conc__job_max(const conc__job_dl *job) {
    uint64_t max = job->dl->item->max_bytes != 0 ? job->dl->item->max_bytes : job->e->d->desc.max_bytes;
    return max != 0 ? max : UINT64_MAX;
}

static void conc__job_progress(conc__job_dl *job) {
    conc__dl_progress(job->dl, job->file.kept, job->file.has_length ? job->file.length : job->dl->item->size);
}

/* A note, if it is time: for what takes long. In one piece one note is enough: how much is there, the part's
 * length tells. */
static void conc__job_note(conc__job_dl *job, int64_t now) {
    bool is_due = job->fresh - job->noted >= CONC__DL_NOTE_BYTES || now - job->noted_at >= CONC__DL_NOTE_NS;
    if (!is_due || job->file.kept == job->file.length || !conc__job_can_resume(job) ||
        (job->file.is_note_right && job->file.piece_count == 0))
        return;
    job->noted = job->fresh;
    job->noted_at = now;
    (void)conc__dl_file_note(&job->file, job->dl->item->url); /* without it a later call has more to do, no more */
}

/* ---- bandwidth ----------------------------------------------------------------------------------------------
 * What comes too early is refused: libcurl keeps it, reads no more of that connection, and is told later to go
 * on. Those that wait go on in turns, each for a while. (libcurl's own limit is one transfer's, and lets the
 * first seconds pass.) */

static bool conc__transfer_may(conc__transfer *t, size_t n) {
    conc__engine *e = t->e;
    if (e->d->desc.bandwidth == 0) return true;
    if ((e->paused == NULL || t->grant >= n) && conc__dl_spend(e->d, n, t->moved) == 0) {
        t->grant -= t->grant < n ? t->grant : n;
        return true;
    }
    t->grant = 0;
    t->is_paused = t->held = true;
    t->after = NULL;
    *e->paused_end = t;
    e->paused_end = &t->after;
    if (e->resume == INT64_MAX) {
        e->resume = t->moved + CONC__DL_PAUSE_NS;
        conc__engine_stir(e);
    }
    return false;
}

static void conc__transfer_unpause(conc__transfer *t) {
    conc__engine *e = t->e;
    conc__transfer **at = &e->paused;
    if (!t->is_paused) return;
    while (*at != t) at = &(*at)->after;
    *at = t->after;
    if (*at == NULL) e->paused_end = at;
    t->is_paused = false;
}

static void conc__transfer_ended(conc__transfer *t, CURLcode c);

/* Lets those go on for which there is enough again. Sets when to look again. */
static void conc__engine_resume(conc__engine *e, int64_t now) {
    conc__transfer *t;
    size_t count = 0;
    CURLcode c;
    if (now < e->resume) return;
    e->resume = INT64_MAX;
    for (t = e->paused; t != NULL; t = t->after) count++;
    while (count-- > 0 && e->paused != NULL && conc__dl_spend(e->d, 0, now) == 0) {
        t = e->paused;
        conc__transfer_unpause(t);
        t->moved = now;
        t->grant = e->d->desc.bandwidth / (1000000000 / CONC__DL_PAUSE_NS) / (count + 1) + CURL_MAX_WRITE_SIZE;
        c = (CURLcode)CONC__FAULT("curl_easy_pause", CURLE_OUT_OF_MEMORY);
        /* What it has kept comes at once, and may be too early again. */
        if (c == CURLE_OK) c = curl_easy_pause(t->easy, CURLPAUSE_CONT);
        if (c == CURLE_OK) continue;
        (void)curl_multi_remove_handle(e->multi, t->easy); /* what it has kept was not taken, and is lost */
        conc__transfer_ended(t, c);
        e->again = true;
    }
    if (e->paused != NULL) e->resume = now + CONC__DL_PAUSE_NS;
}

/* ---- answers --------------------------------------------------------------------------------------------- */

/* The value of a header of that name, without what is blank around it, into `out`; false: it is another one, or
 * too long. */
static bool conc__header_is(const char *line, size_t n, const char *name, char *out, size_t size) {
    size_t i;
    for (i = 0; name[i] != '\0'; i++) {
        char c = i < n ? line[i] : '\0';
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (c != name[i]) return false;
    }
    while (i < n && (line[i] == ' ' || line[i] == '\t')) i++;
    while (n > i && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' ' || line[n - 1] == '\t')) n--;
    if (n - i >= size || memchr(line + i, '\n', n - i) != NULL || memchr(line + i, '\0', n - i) != NULL) return false;
    memcpy(out, line + i, n - i);
    out[n - i] = '\0';
    return true;
}

static void conc__answer_begins(conc__transfer *t) {
    conc__free(t->location);
    t->location = NULL;
    t->body = CONC__BODY_UNKNOWN;
    t->etag[0] = t->modified[0] = t->range[0] = '\0';
    t->date = 0;
    t->accepts_ranges = false;
    t->spared = 0;
}

static size_t conc__transfer_header(char *line, size_t size, size_t n, void *arg) {
    conc__transfer *t = (conc__transfer *)arg;
    char text[64];
    n *= size;
    if (t->body == CONC__BODY_TAKEN) return n; /* behind the body: nothing that we want to know */
    switch (n > 0 ? line[0] : '\0') {
    case 'H':
    case 'h':
        if (n > 5 && memcmp(line, "HTTP/", 5) == 0) conc__answer_begins(t);
        break;
    case 'E':
    case 'e':
        (void)conc__header_is(line, n, "etag:", t->etag, sizeof t->etag);
        break;
    case 'L':
    case 'l':
        (void)conc__header_is(line, n, "last-modified:", t->modified, sizeof t->modified);
        if (n > 9 && n < 2 * CONC__URL_MAX && line[8] == ':' && t->location == NULL) {
            t->location = (char *)conc__alloc(n, 1, "a redirect");
            if (t->location != NULL && !conc__header_is(line, n, "location:", t->location, n)) t->location[0] = '\0';
        }
        break;
    case 'D':
    case 'd':
        if (conc__header_is(line, n, "date:", text, sizeof text)) {
            time_t when = curl_getdate(text, NULL);
            t->date = when == (time_t)-1 ? 0 : (int64_t)when;
        }
        break;
    case 'C':
    case 'c': (void)conc__header_is(line, n, "content-range:", t->range, sizeof t->range); break;
    case 'A':
    case 'a':
        if (conc__header_is(line, n, "accept-ranges:", text, sizeof text))
            t->accepts_ranges = strcmp(text, "bytes") == 0;
        break;
    default: break;
    }
    return n;
}

/* "bytes 5-9/10" */
static bool conc__range_parse(const char *text, uint64_t *from, uint64_t *total) {
    unsigned long long a, b, c;
    char unit[8];
    if (strncmp(text, "bytes ", 6) != 0 || sscanf(text, "%7s %llu-%llu/%llu", unit, &a, &b, &c) != 4 || a > b || b >= c)
        return false;
    *from = a;
    *total = c;
    return true;
}

/* A date stands for what was changed then only if it could not have been changed again within that second (RFC
 * 9110, 8.8.2.2). */
static bool conc__date_is_good(const conc__transfer *t) {
    time_t when = t->modified[0] != '\0' ? curl_getdate(t->modified, NULL) : (time_t)-1;
    return when != (time_t)-1 && t->date != 0 && t->date - (int64_t)when >= 2;
}

/* Whether a part that has come may be one of another version: there are servers that know no If-Range. */
static bool conc__answer_is_other(const conc__transfer *t) {
    const conc__dl_file *file = &t->job->file;
    if (file->etag[0] != '\0' && t->etag[0] != '\0') return strcmp(file->etag, t->etag) != 0;
    return file->date[0] != '\0' && t->modified[0] != '\0' && strcmp(file->date, t->modified) != 0;
}

/* What an answer says of the version, for the next If-Range: that wants a strong tag. */
static void conc__answer_version(const conc__transfer *t) {
    conc__dl_file *file = &t->job->file;
    file->etag[0] = file->date[0] = '\0';
    if (t->etag[0] == '"') memcpy(file->etag, t->etag, sizeof file->etag);
    if (conc__date_is_good(t)) memcpy(file->date, t->modified, sizeof file->date);
}

/* What is fetched in several pieces: the rest of the file, from `at` on. */
static void conc__job_divide(conc__transfer *t) {
    conc__job_dl *job = t->job;
    conc__dl_file *file = &job->file;
    unsigned n = job->e->d->desc.segments, i;
    uint64_t rest = file->length - t->at, size;
    if (n < 2 || job->e->w->room < 2 || t->piece >= 0 || !file->has_length || rest < job->e->d->desc.segment_min ||
        rest / n == 0)
        return;
    if ((!t->accepts_ranges && t->from == 0) || job->dl->in_one) return;
    if (file->etag[0] == '\0' && file->date[0] == '\0') return;
    size = rest / n;
    for (i = 0; i < n; i++) {
        file->pieces[i].at = t->at + size * i;
        file->pieces[i].end = i + 1 < n ? t->at + size * (i + 1) : file->length;
        if (i > 0) job->next_piece |= (uint64_t)1 << i;
    }
    file->piece_count = n;
    file->is_note_right = false;
    /* (One that is there says that there are no gaps.) */
    if (file->is_noted && conc__dl_file_note(file, job->dl->item->url) != CONC_OK) {
        file->piece_count = 0;
        job->next_piece = 0;
        return;
    }
    t->piece = 0;
    job->hashes = false;
    if (job->link == NULL) {
        job->next = job->e->pending;
        job->link = &job->e->pending;
        if (job->next != NULL) job->next->link = &job->next;
        job->e->pending = job;
        conc__engine_stir(job->e);
    }
}

/* The answer that was asked for: all of the file, or its rest. False: it is not to be gone on with. */
static bool conc__answer_is_good(conc__transfer *t, long code) {
    conc__job_dl *job = t->job;
    conc__dl_file *file = &job->file;
    uint64_t from = 0, total = 0, wanted = job->dl->item->size;
    bool has_total = true, whole = job->dl->in_one;
    conc_result r = CONC_OK;
    job->dl->in_one = whole || t->piece >= 0; /* until it is seen that this one is right */
    if (code == 206) {
        if (t->from == 0 && t->piece < 0) {
            conc__job_fails(job, CONC_BROKEN, true, "the server gave a part that was not asked for (206)");
            return false;
        }
        if (!conc__range_parse(t->range, &from, &total) || from != t->from ||
            (file->has_length && total != file->length)) {
            job->afresh = true;
            conc__job_fails(job, CONC_BROKEN, true, "the server gave another part than was asked for (206)");
            return false;
        }
        if (conc__answer_is_other(t)) {
            job->afresh = true;
            conc__job_fails(job, CONC_BROKEN, true,
                            "the file has changed at the server, and it gave a part nevertheless (206)");
            return false;
        }
    } else {
        curl_off_t length = -1;
        if (curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) != CURLE_OK || length < 0) {
            has_total = false;
        } else {
            total = (uint64_t)length;
        }
        if (t->piece >= 0) { /* the file has changed, or the server knows no ranges */
            job->afresh = true;
            conc__job_fails(job, CONC_BROKEN, true,
                            "the file has changed at the server while it was fetched in pieces");
            return false;
        }
        if (file->part.size > 0 || t->from > 0 || file->kept > 0 || file->is_noted) {
            if (t->from > 0) job->dl->lost++;
            r = conc__dl_file_restart(file);
            job->before = 0;
            job->dl->item->record.resumed_from = 0;
        }
        t->at = t->from = 0;
        file->kept = 0;
    }
    job->dl->in_one = whole;
    if (r != CONC_OK) {
        conc__job_fails_so(job, r, false);
        return false;
    }
    if (has_total && wanted != 0 && total != wanted) {
        char text[120];
        (void)snprintf(text, sizeof text, "the server has %llu bytes, and not %llu", (unsigned long long)total,
                       (unsigned long long)wanted);
        job->afresh = true;
        conc__job_fails(job, CONC_BROKEN, false, text);
        return false;
    }
    if (has_total && total > conc__job_max(job)) {
        job->afresh = true;
        conc__job_fails(job, CONC_REJECTED, false, "the file is longer than max_bytes");
        return false;
    }
    if (code != 206 || (file->etag[0] == '\0' && file->date[0] == '\0')) { /* (a part's answer need not repeat all) */
        conc__answer_version(t);
        file->is_note_right = false;
    }
    if (file->has_length != has_total || file->length != total) file->is_note_right = false;
    file->has_length = has_total;
    file->length = total;
    if (has_total && total >= CONC__DL_RESERVE && t->piece < 0) {
        r = conc__dl_file_reserve(file);
        if (r != CONC_OK) {
            job->afresh = true;
            conc__job_fails_so(job, r, false);
            return false;
        }
    }
    if (job->dl->hash != CONC__HASH_NONE && t->at == 0 && t->piece < 0) {
        r = conc__hash_begin(&job->hash, job->dl->hash);
        job->hashes = r == CONC_OK;
        if (r != CONC_OK) {
            conc__job_fails_so(job, r, false);
            return false;
        }
    }
    conc__job_progress(job);
    conc__job_divide(t);
    return true;
}

/* Its head is complete. False: end it. */
static bool conc__answer_is_here(conc__transfer *t) {
    long code = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    t->body = CONC__BODY_SPARED;
    t->since = t->moved;
    t->came = 0;
    t->held = false;
    if (code != 200 && code != 203 && code != 206) return true;
    if (!conc__answer_is_good(t, code)) return false;
    t->body = CONC__BODY_TAKEN;
    return true;
}

/* Into the file. False: end the transfer. */
static bool conc__transfer_take(conc__transfer *t, const char *data, size_t n) {
    conc__job_dl *job = t->job;
    conc__dl_file *file = &job->file;
    conc_result r;
    if (t->piece >= 0 && n > file->pieces[t->piece].end - t->at) { /* the next piece is another one's */
        n = (size_t)(file->pieces[t->piece].end - t->at);
        t->cut = true;
    }
    if (file->kept + n > conc__job_max(job)) {
        job->afresh = true;
        conc__job_fails(job, CONC_REJECTED, false, "more came than max_bytes");
        return false;
    }
    if ((file->has_length && t->at + n > file->length) ||
        (job->dl->item->size != 0 && t->at + n > job->dl->item->size)) {
        job->afresh = true;
        conc__job_fails(job, CONC_BROKEN, false, "more came than the file is long");
        return false;
    }
    r = conc__dl_file_write(file, data, n, t->at);
    if (r == CONC_OK && job->hashes) r = conc__hash_add(&job->hash, data, n);
    if (r != CONC_OK) {
        job->afresh = true;
        conc__job_fails_so(job, r, false);
        return false;
    }
    t->at += n;
    t->came += n;
    file->kept += n;
    job->fresh += n;
    job->dl->item->record.received += n;
    if (t->piece >= 0) {
        file->pieces[t->piece].at = t->at;
        t->cut = t->cut || (t->at == file->pieces[t->piece].end && t->at < file->length && t->from == 0);
    }
    conc__job_progress(job);
    conc__job_note(job, t->moved);
    return !t->cut;
}

static size_t conc__transfer_write(char *data, size_t size, size_t n, void *arg) {
    conc__transfer *t = (conc__transfer *)arg;
    n *= size;
    t->moved = conc__port_clock_ns();
    if (n == 0) return 0;
    if (t->job->result != CONC_OK) return 0; /* it ends with another transfer of its job */
    if (t->body == CONC__BODY_UNKNOWN && !conc__answer_is_here(t)) return 0;
    if (t->body == CONC__BODY_TAKEN) {
        if (!conc__transfer_may(t, n)) return CURL_WRITEFUNC_PAUSE;
        return conc__transfer_take(t, data, n) ? n : 0;
    }
    t->spared += n;
    t->came += n;
    if (t->spared <= CONC__DL_SPARE) return n;
    t->cut = true;
    return 0;
}

/* ---- handles --------------------------------------------------------------------------------------------- */

static CURLcode conc__easy_dress(conc__transfer *t) {
    const conc_download_desc *desc = &t->e->d->desc;
    CURL *easy = t->easy;
    CURLcode c = conc__easy_set(easy, CURLOPT_USERAGENT, desc->user_agent); /* (those that copy can fail) */
    if (c == CURLE_OK && desc->proxy != NULL) c = conc__easy_set(easy, CURLOPT_PROXY, desc->proxy);
    if (c == CURLE_OK && desc->ca_file != NULL) c = conc__easy_set(easy, CURLOPT_CAINFO, desc->ca_file);
#if LIBCURL_VERSION_NUM >= 0x075500
    if (c == CURLE_OK) c = conc__easy_set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    if (c == CURLE_OK) c = curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    if (c == CURLE_OK) c = curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, t->e->buffer);
#if LIBCURL_VERSION_NUM >= 0x075700
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a cancel does not wait for a look-up that is under way */
#endif
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, conc__transfer_write);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, conc__transfer_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(desc->connect_timeout * 1000) + 1);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                           desc->no_http2 ? (long)CURL_HTTP_VERSION_1_1 : (long)CURL_HTTP_VERSION_2TLS);
    return c;
}

static conc__transfer *conc__transfer_new(conc__engine *e) {
    conc__transfer *t = e->spare;
    if (t != NULL) {
        e->spare = t->next;
    } else {
        t = (conc__transfer *)conc__alloc(1, sizeof *t, "a transfer");
        if (t == NULL) return NULL;
        t->e = e;
        t->easy = CONC__FAULT("curl_easy_init", CURLE_OUT_OF_MEMORY) != 0 ? NULL : curl_easy_init();
        if (t->easy == NULL || conc__easy_dress(t) != CURLE_OK) {
            curl_easy_cleanup(t->easy);
            conc__free(t);
            (void)conc__fail(CONC_NO_MEMORY, "no memory for a transfer");
            return NULL;
        }
    }
    t->next = e->active;
    t->link = &e->active;
    if (t->next != NULL) t->next->link = &t->next;
    e->active = t;
    e->count++;
    return t;
}

static void conc__transfer_release(conc__transfer *t) {
    conc__engine *e = t->e;
    conc__transfer_unpause(t);
    *t->link = t->next;
    if (t->next != NULL) t->next->link = t->link;
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    conc__free(t->url);
    conc__free(t->location);
    t->url = t->location = NULL;
    t->job = NULL;
    t->next = e->spare;
    e->spare = t;
    e->count--;
}

/* Its request: url, range, headers. */
static CURLcode conc__transfer_ask(conc__transfer *t) {
    conc__job_dl *job = t->job;
    conc__dl_file *file = &job->file;
    const char *url = t->url != NULL ? t->url : job->dl->item->url;
    char range[64];
    CURLcode c = conc__easy_set(t->easy, CURLOPT_URL, url);
    struct curl_slist *headers = t->foreign ? NULL : t->e->headers, *at;
    const char *validator = file->etag[0] != '\0' ? file->etag : file->date;
    t->cut = false;
    t->asked = t->moved = conc__port_clock_ns();
    conc__answer_begins(t);
    t->error[0] = '\0';
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    range[0] = '\0';
    if (t->piece >= 0 && (t->from > 0 || file->pieces[t->piece].end < file->length)) {
        (void)snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)t->from,
                       (unsigned long long)file->pieces[t->piece].end - 1);
    } else if (t->piece >= 0 || t->from > 0) {
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)t->from);
    }
    if (range[0] != '\0' && validator[0] != '\0') {
        char line[300];
        (void)snprintf(line, sizeof line, "If-Range: %s", validator);
        for (at = headers; at != NULL && c == CURLE_OK; at = at->next) {
            struct curl_slist *more =
                CONC__FAULT("curl_slist_append", ENOMEM) != 0 ? NULL : curl_slist_append(t->headers, at->data);
            if (more == NULL) c = CURLE_OUT_OF_MEMORY;
            if (more != NULL) t->headers = more;
        }
        at = CONC__FAULT("curl_slist_append", ENOMEM) != 0 ? NULL : curl_slist_append(t->headers, line);
        if (at == NULL) c = CURLE_OUT_OF_MEMORY;
        if (at != NULL) headers = t->headers = at;
    }
    (void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT,
                           t->e->d->desc.no_http2 || (url[4] != 's' && url[4] != 'S') ? 0L : 1L);
    if (c == CURLE_OK) c = conc__easy_set(t->easy, CURLOPT_RANGE, range[0] != '\0' ? range : NULL);
    return c;
}

/* Starts a transfer of a job, from a place in its file on; false: there is no memory, the job knows. */
static bool conc__transfer_start(conc__job_dl *job, int piece, uint64_t from) {
    conc__transfer *t = conc__transfer_new(job->e);
    if (t == NULL) {
        conc__job_fails_so(job, CONC_NO_MEMORY, false);
        return false;
    }
    t->job = job;
    t->piece = piece;
    t->from = t->at = from;
    t->foreign = false;
    t->redirects = 0;
    t->grant = 0;
    if (conc__transfer_ask(t) != CURLE_OK || !conc__multi_add(t)) {
        conc__transfer_release(t);
        conc__job_fails(job, CONC_NO_MEMORY, false, "libcurl has no memory for a transfer");
        return false;
    }
    job->transfers++;
    return true;
}

/* ---- jobs ------------------------------------------------------------------------------------------------ */

static void conc__job_unpend(conc__job_dl *job) {
    if (job->link == NULL) return;
    *job->link = job->next;
    if (job->next != NULL) job->next->link = job->link;
    job->link = NULL;
}

/* How long to wait before the next attempt, in seconds; < 0: there is none. */
static double conc__job_delay(conc__job_dl *job) {
    const conc_download_desc *desc = &job->e->d->desc;
    conc__download *dl = job->dl;
    double delay;
    if (!job->again || desc->retries < 0 || dl->item->record.attempts >= CONC__DL_ATTEMPTS) return -1;
    if (dl->fruitless > (unsigned)desc->retries || job->retry_after > desc->retry_after_max) return -1;
    delay = conc__dl_backoff(desc, dl->fruitless, &job->e->random);
    return delay < job->retry_after ? job->retry_after : delay;
}

/* The turn is over: the download is, too, or pauses. */
static void conc__job_end(conc__job_dl *job) {
    conc__engine *e = job->e;
    conc__download *dl = job->dl;
    conc_download_record *record = &dl->item->record;
    const conc_download_desc *desc = &e->d->desc;
    conc_result r = job->result;
    double delay = -1;
    bool keep;
    conc__job_unpend(job);
    conc__hash_drop(&job->hash);
    if (r == CONC_OK) {
        record->bytes = job->file.kept;
    } else {
        bool kept = !job->afresh && conc__job_can_resume(job) && job->file.kept > 0;
        dl->fruitless = kept && job->file.kept > job->before && !job->slow ? dl->lost : dl->fruitless + 1;
        if (!kept && job->file.kept > 0) dl->lost++;
        if (r != CONC_CANCELED) delay = conc__job_delay(job);
        if (delay >= 0 && desc->total_timeout > 0 &&
            conc__port_clock_ns() + (int64_t)(delay * 1e9) - dl->began > (int64_t)(desc->total_timeout * 1e9)) {
            delay = -1;
        }
        if (job->retry_after > desc->retry_after_max) {
            size_t n = strlen(job->text);
            (void)snprintf(job->text + n, sizeof job->text - n, "; it asks to be left alone for %.0f s",
                           job->retry_after);
        }
        keep = kept && (delay >= 0 || !desc->discard_parts);
        job->file.is_note_right = job->file.is_note_right && job->file.piece_count == 0;
        keep = conc__dl_file_close(&job->file, dl->item->url, keep);
        record->bytes = keep ? job->file.kept : 0;
        conc__dl_progress(dl, record->bytes, 0);
    }
    if (delay >= 0) {
        conc__dl_pause(dl, conc__port_clock_ns() + (int64_t)(delay * 1e9));
    } else {
        conc__dl_over(dl, r, job->text);
    }
    e->jobs--;
    e->again = true;
    conc__free(job);
}

/* It has its checksum: it gets its name. */
static void conc__job_publish(conc__job_dl *job) {
    conc_result r = conc__dl_file_publish(&job->file, job->e->d->mode, job->e->d->desc.sync);
    if (r != CONC_OK) {
        job->afresh = true;
        conc__job_fails_so(job, r, false);
    }
}

/* The file has another checksum than it should: begun anew once, if a part of it is older than this turn. */
static void conc__job_is_wrong(conc__job_dl *job, conc_result r) {
    job->afresh = true;
    conc__job_fails_so(job, r, r == CONC_BROKEN && job->before > 0 && !job->dl->starts_over);
    job->dl->starts_over = true;
}

/* A checksum that was not computed as the bytes came is computed in another thread: of a part, or of a target
 * that is there. */
typedef struct conc__verify {
    conc__download *dl;
    intptr_t fd;
    uint64_t size;
    conc_result result;
    char text[240];
} conc__verify;

static int conc__verify_run(void *arg) {
    conc__verify *v = (conc__verify *)arg;
    v->result = conc__hash_file(v->fd, v->size, v->dl);
    if (v->result != CONC_OK) (void)snprintf(v->text, sizeof v->text, "%.200s", conc_error_detail());
    return 0;
}

static void conc__job_verified(conc__job_dl *job, const conc__verify *v) {
    conc__engine *e = job->e;
    if (v->result == CONC_OK) {
        conc__job_publish(job);
    } else if (v->result == CONC_CANCELED || v->result == CONC_TIMEOUT) {
        conc__job_fails(job, v->result, false, conc_strerror(v->result));
    } else {
        (void)conc__fail(v->result, "%s", v->text[0] != '\0' ? v->text : "the checksum could not be computed");
        conc__job_is_wrong(job, v->result);
    }
    conc__job_end(job);
    conc__engine_stir(e);
}

static void conc__target_verified(conc__engine *e, const conc__verify *v);

/* All of it is clean-up: what is under way is seen to its end, also if the loop's tasks are canceled (then so
 * is the session, which the thread sees). */
CONC_CORO(conc__dl_verify, conc__engine *e; conc__job_dl *job; conc_thread *thread; conc__verify v;) {
    CO_BEGIN;
    CO_FINALLY;
    if (self->v.size > CONC__DL_HASH_HERE) {
        conc_thread_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.name = "conc-download";
        desc.daemon = true;
        self->thread = conc_thread_start(conc__verify_run, &self->v, &desc);
    }
    if (self->thread == NULL) (void)conc__verify_run(&self->v);
    while (self->thread != NULL) {
        CO_TRY_AWAIT(conc_op_thread_end(self->thread), CONC_FOREVER);
        if (self->co.result == CONC_OK) {
            (void)conc_thread_detach(self->thread);
            self->thread = NULL;
        } else if (self->co.result != CONC_CANCELED) {
            CO_TRY_AWAIT(conc_op_sleep(0.01), CONC_FOREVER); /* it could not wait so: there was no memory */
        }
    }
    if (self->job != NULL) {
        conc__job_verified(self->job, &self->v);
    } else {
        conc__target_verified(self->e, &self->v);
    }
    CO_END;
}

/* `job` NULL: a target's. False: there is no memory for it. */
static bool conc__verify_begin(conc__engine *e, conc__job_dl *job, conc__download *dl, intptr_t fd, uint64_t size) {
    conc__dl_verify frame = CONC_FRAME_ZERO(conc__dl_verify);
    frame.e = e;
    frame.job = job;
    frame.v.dl = dl;
    frame.v.fd = fd;
    frame.v.size = size;
    return conc__co_go(CONC_SPAWN_FRAME(e->w->loop, NULL, conc__dl_verify, frame)) == CONC_OK;
}

static void conc__job_verify(conc__job_dl *job) {
    if (conc__verify_begin(job->e, job, job->dl, job->file.part.fd, job->file.kept)) return;
    conc__job_fails_so(job, CONC_NO_MEMORY, false);
    conc__job_end(job);
}

/* All of its transfers have ended, and there will be no more. */
static void conc__job_judge(conc__job_dl *job) {
    conc__dl_file *file = &job->file;
    uint64_t wanted = file->has_length ? file->length : job->dl->item->size;
    if (job->result == CONC_OK && ((file->has_length || wanted != 0) && file->kept != wanted)) {
        conc__job_fails(job, CONC_BROKEN, true, "the file came shorter than it is");
    }
    if (job->result == CONC_OK && job->dl->hash != CONC__HASH_NONE) {
        conc_result r;
        if (!job->hashes) {
            conc__job_verify(job);
            return;
        }
        r = conc__hash_check(&job->hash, job->dl->digest);
        if (r != CONC_OK) conc__job_is_wrong(job, r);
    }
    if (job->result == CONC_OK) conc__job_publish(job);
    conc__job_end(job);
}

/* One of its transfers has ended. */
static void conc__job_less(conc__job_dl *job) {
    if (--job->transfers > 0) {
        conc__dl_give_extra(job->dl);
        if (job->result != CONC_OK) { /* the others are in vain */
            job->e->alarms--;
            conc__engine_stir(job->e);
        }
        return;
    }
    if (job->result != CONC_OK || job->next_piece == 0) conc__job_judge(job);
}

/* Begins pieces that are due, as far as there is room. */
static void conc__job_pieces(conc__job_dl *job) {
    conc__engine *e = job->e;
    /* (conc__engine_stop() sees transfers) */
    conc_result stopped = job->transfers == 0 ? conc__dl_stopped(job->dl) : CONC_OK;
    unsigned i;
    if (stopped != CONC_OK) conc__job_fails(job, stopped, false, conc_strerror(stopped));
    for (i = 0; i < job->file.piece_count && job->result == CONC_OK; i++) {
        uint64_t bit = (uint64_t)1 << i;
        bool extra = job->transfers > 0;
        if ((job->next_piece & bit) == 0) continue;
        if (e->count >= e->w->room || (extra && !conc__dl_take_extra(job->dl))) return;
        job->next_piece &= ~bit;
        if (!conc__transfer_start(job, (int)i, job->file.pieces[i].at) && extra) conc__dl_give_extra(job->dl);
    }
    conc__job_unpend(job);
    if (job->transfers == 0) conc__job_judge(job);
}

/* A download's turn, from its part on. */
static void conc__job_open(conc__engine *e, conc__download *dl) {
    conc_download_record *record = &dl->item->record;
    conc__job_dl *job;
    conc_result r;
    unsigned i;
    job = (conc__job_dl *)conc__alloc(1, sizeof *job, "a download's turn");
    r = job == NULL ? CONC_NO_MEMORY : conc__dl_file_open(&job->file, dl->item->path, dl->item->url);
    if (r != CONC_OK) {
        conc__free(job);
        conc__dl_over(dl, r, conc_error_detail());
        e->again = true;
        return;
    }
    job->e = e;
    job->dl = dl;
    job->retry_after = -1;
    job->before = job->file.kept;
    job->noted_at = conc__port_clock_ns();
    if (!conc__job_can_resume(job) ||
        (dl->item->size != 0 && job->file.has_length && job->file.length != dl->item->size)) {
        if (job->file.part.size > 0) r = conc__dl_file_restart(&job->file);
        job->before = 0;
    }
    if (record->attempts == 0) record->resumed_from = job->before;
    conc__dl_attempt(dl);
    record->redirects = 0;
    e->jobs++;
    if (r != CONC_OK) {
        conc__job_fails_so(job, r, false);
        conc__job_end(job);
        return;
    }
    conc__job_progress(job);
    if (job->file.piece_count != 0 && e->w->room > 1) { /* what was begun in pieces goes on in pieces */
        for (i = 0; i < job->file.piece_count; i++) job->next_piece |= (uint64_t)1 << i;
        job->next = e->pending;
        job->link = &e->pending;
        if (job->next != NULL) job->next->link = &job->next;
        e->pending = job;
        conc__job_pieces(job);
        return;
    }
    if (job->file.piece_count != 0) { /* where that cannot be: from the first one on */
        job->file.kept = job->before = job->file.pieces[0].at;
        job->file.piece_count = 0;
        job->file.is_note_right = false;
        /* What is behind a gap is not the rest of what is before it. */
        r = conc__dl_file_cut(&job->file, job->file.kept);
    }
    if (r != CONC_OK) {
        job->afresh = true;
        conc__job_fails_so(job, r, false);
        conc__job_end(job);
        return;
    }
    if (job->file.has_length && job->before == job->file.length && job->before > 0)
        job->file.kept--; /* whole, as it seems: one byte will tell */
    if (!conc__transfer_start(job, -1, job->file.kept)) conc__job_end(job);
}

/* The target is there: it has its checksum, or is fetched. */
static void conc__target_verified(conc__engine *e, const conc__verify *v) {
    conc__download *dl = v->dl;
    conc_result stopped = conc__dl_stopped(dl);
    conc__port_file_close(v->fd);
    e->jobs--;
    if (v->result == CONC_OK) dl->item->record.bytes = v->size;
    if (v->result == CONC_OK || stopped != CONC_OK) {
        conc__dl_over(dl, v->result == CONC_OK ? CONC_OK : stopped, NULL);
    } else {
        conc__job_open(e, dl);
        e->check = INT64_MIN;
    }
    conc__engine_stir(e);
}

/* Whether the target is there, and may be what is wanted: then the download is over, or will be, or goes on
 * from there. */
static bool conc__job_exists(conc__engine *e, conc__download *dl) {
    intptr_t fd;
    uint64_t size = 0;
    if (conc__port_file_open(dl->item->path, &fd, &size) != 0) return false;
    if (dl->item->size == 0 || size == dl->item->size) {
        if (dl->hash != CONC__HASH_NONE && conc__verify_begin(e, NULL, dl, fd, size)) {
            e->jobs++;
            return true;
        }
        if (dl->hash == CONC__HASH_NONE) {
            conc__port_file_close(fd);
            dl->item->record.bytes = size;
            conc__dl_over(dl, CONC_OK, NULL);
            e->again = true; /* it is to be told */
            return true;
        }
    }
    conc__port_file_close(fd);
    return false;
}

/* A download's turn begins. */
static void conc__job_begin(conc__engine *e, conc__download *dl) {
    if (dl->item->record.attempts == 0 && e->d->desc.keep_existing && conc__job_exists(e, dl)) return;
    conc__job_open(e, dl);
}

/* ---- how a transfer ended -------------------------------------------------------------------------------- */

static bool conc__code_is_passing(long code) {
    return code == 408 || code == 429 || code == 500 || code == 502 || code == 503 || code == 504;
}

static void conc__transfer_times(conc__transfer *t) {
    conc_download_record *record = &t->job->dl->item->record;
    curl_off_t us = 0;
    long n = 0;
    char *url = NULL;
    record->connect = record->first_byte = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &n);
    if (n > 0 && curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &us) == CURLE_OK)
        record->connect = (double)us * 1e-6;
    if (curl_easy_getinfo(t->easy, CURLINFO_STARTTRANSFER_TIME_T, &us) == CURLE_OK)
        record->first_byte = (double)us * 1e-6;
    if (record->redirects > 0 && curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url != NULL) {
        (void)conc__url_shown(url, record->final_url, sizeof record->final_url);
    }
}

/* Where a redirect leads, to be given to curl_free(). libcurl tells that only of an answer that has come to its
 * end; NULL: it is none, or nobody knows. */
static char *conc__redirect_of(const conc__transfer *t, long code) {
    char *to = NULL;
#if LIBCURL_VERSION_NUM >= 0x073e00
    const char *from = t->url != NULL ? t->url : t->job->dl->item->url;
    CURLU *u;
    if (code < 300 || code > 399 || t->location == NULL || t->location[0] == '\0') return NULL;
    u = CONC__FAULT("curl_url", ENOMEM) != 0 ? NULL : curl_url();
    if (u == NULL) return NULL;
    if (curl_url_set(u, CURLUPART_URL, from, 0) != CURLUE_OK ||
        curl_url_set(u, CURLUPART_URL, t->location, CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_URL, &to, 0) != CURLUE_OK) {
        to = NULL;
    }
    curl_url_cleanup(u);
#else
    (void)t;
    (void)code;
#endif
    return to;
}

/* Another address: true, it is under way. */
static bool conc__transfer_redirect(conc__transfer *t, const char *to) {
    conc__job_dl *job = t->job;
    conc_download_record *record = &job->dl->item->record;
    const conc_download_desc *desc = &job->e->d->desc;
    char *old = t->url;
    const char *from = old != NULL ? old : job->dl->item->url;
    size_t n = strlen(to);
    char *names, shown[120];
    bool was_https = false, is_https = false;
    conc_result r;
    if (desc->max_redirects < 0 || t->redirects >= (unsigned)desc->max_redirects) {
        char text[80];
        (void)snprintf(text, sizeof text, "more than %d redirects", desc->max_redirects < 0 ? 0 : desc->max_redirects);
        conc__job_fails(job, CONC_REJECTED, false, text);
        return false;
    }
    names = (char *)conc__alloc(2, 8192, "a redirect");
    t->url = (char *)conc__alloc(n + 1, 1, "a redirect");
    if (names == NULL || t->url == NULL) {
        conc__free(names);
        conc__free(t->url);
        t->url = old;
        conc__job_fails(job, CONC_NO_MEMORY, false, "no memory for a redirect");
        return false;
    }
    memcpy(t->url, to, n + 1);
    r = conc__url_host(from, names, 8192, &was_https);
    if (r == CONC_OK) r = conc__url_host(to, names + 8192, 8192, &is_https);
    if (r == CONC_OK && !is_https && (was_https || !desc->allow_http)) {
        r = conc__fail(CONC_REJECTED, "a redirect %s: %.100s", was_https ? "from https to http" : "to http",
                       conc__url_shown(to, shown, sizeof shown));
    }
    if (r != CONC_OK) {
        char text[200];
        (void)snprintf(text, sizeof text, "a redirect that is refused: %.150s", conc_error_detail());
        conc__job_fails(job, CONC_REJECTED, false, text);
    } else {
        if (strcmp(names, names + 8192) != 0 || was_https != is_https) t->foreign = true;
        t->redirects++;
        if (t->redirects > record->redirects) record->redirects = t->redirects;
        if (conc__transfer_ask(t) != CURLE_OK || !conc__multi_add(t)) {
            conc__job_fails(job, CONC_NO_MEMORY, false, "libcurl has no memory for a redirect");
            r = CONC_NO_MEMORY;
        }
    }
    conc__free(old);
    conc__free(names);
    return r == CONC_OK;
}

/* An answer that is not the file. */
static void conc__transfer_refused(conc__transfer *t, long code) {
    conc__job_dl *job = t->job;
    char text[100];
    bool again = conc__code_is_passing(code);
    (void)snprintf(text, sizeof text, "the server answered %ld", code);
#if LIBCURL_VERSION_NUM >= 0x074200
    if (again) {
        curl_off_t seconds = 0;
        if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
            job->retry_after = (double)seconds;
        if (code == 429 && seconds > 0 && job->retry_after <= job->e->d->desc.retry_after_max) {
            conc__dl_host_close(job->dl, conc__port_clock_ns() + (int64_t)(job->retry_after * 1e9));
        }
    }
#endif
    if (code == 416) { /* what is there is not a part of what is there */
        job->afresh = true;
        again = !job->dl->starts_over;
        job->dl->starts_over = true;
    }
    conc__job_fails(job, CONC_FAILED, again, text);
}

static void conc__transfer_failed(conc__transfer *t, CURLcode c) {
    const char *text = t->error[0] != '\0' ? t->error : curl_easy_strerror(c);
    conc__job_dl *job = t->job;
    curl_off_t us = 0;
    switch (c) {
    case CURLE_OUT_OF_MEMORY: conc__job_fails(job, CONC_NO_MEMORY, false, text); break;
    case CURLE_OPERATION_TIMEDOUT:
        if (curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &us) == CURLE_OK && us == 0)
            text = "no connection within connect_timeout";
        conc__job_fails(job, CONC_TIMEOUT, true, text);
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT: conc__job_fails(job, CONC_FAILED, true, text); break;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: conc__job_fails(job, CONC_BROKEN, true, text); break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_UNSUPPORTED_PROTOCOL: conc__job_fails(job, CONC_REJECTED, false, text); break;
    case CURLE_URL_MALFORMAT: conc__job_fails(job, CONC_INVALID, false, text); break;
    default: conc__job_fails(job, CONC_FAILED, false, text); break;
    }
}

/* libcurl has done with it, and let go of it. */
static void conc__transfer_ended(conc__transfer *t, CURLcode c) {
    conc__job_dl *job = t->job;
    long code = 0;
    char *to = NULL, *cut = NULL;
    bool led_on;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    if (code != 0) job->dl->item->record.http_code = (int)code;
    conc__transfer_times(t);
    if (job->result == CONC_OK && (c == CURLE_OK || t->cut)) {
        if (t->body == CONC__BODY_UNKNOWN) (void)conc__answer_is_here(t); /* an empty one */
        if (t->body == CONC__BODY_SPARED && job->result == CONC_OK) {
            (void)curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to);
            if (to == NULL && t->cut) to = cut = conc__redirect_of(t, code);
            led_on = to != NULL && conc__transfer_redirect(t, to);
            if (to == NULL) conc__transfer_refused(t, code);
            curl_free(cut);
            if (led_on) return;
        }
        if (t->piece >= 0 && job->result == CONC_OK && t->at != job->file.pieces[t->piece].end) {
            conc__job_fails(job, CONC_BROKEN, true, "a piece came shorter than it is");
        }
    } else if (job->result == CONC_OK) {
        conc__transfer_failed(t, c);
    }
    conc__transfer_release(t);
    conc__job_less(job);
}

/* Ends one before its time, for a reason that its job has been told. */
static void conc__transfer_abort(conc__transfer *t) {
    conc__job_dl *job = t->job;
    (void)curl_multi_remove_handle(t->e->multi, t->easy);
    conc__transfer_release(t);
    conc__job_less(job);
}

/* ---- the pump -------------------------------------------------------------------------------------------- */

static bool conc__engine_reap(conc__engine *e) {
    bool any = false;
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(e->multi, &left)) != NULL) {
        char *t = NULL;
        CURLcode c = m->data.result;
        CURL *easy = m->easy_handle;
        if (m->msg != CURLMSG_DONE) continue;
        any = true;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
        (void)curl_multi_remove_handle(e->multi, easy); /* `m` is gone with it */
        conc__transfer_ended((conc__transfer *)(void *)t, c);
    }
    return any;
}

/* Ends what is to be stopped. */
static void conc__engine_stop(conc__engine *e) {
    conc__transfer *t, *next;
    uint32_t alarms = conc__load32(&e->d->alarms, CONC__ACQUIRE);
    bool any = true;
    if (alarms == e->alarms) return;
    e->alarms = alarms;
    for (t = e->active; t != NULL; t = t->next) {
        conc_result r = conc__dl_stopped(t->job->dl);
        if (r != CONC_OK) conc__job_fails(t->job, r, false, conc_strerror(r));
    }
    while (any) { /* the end of one may be that of others */
        any = false;
        for (t = e->active; t != NULL && !any; t = next) {
            next = t->next;
            if (t->job->result == CONC_OK) continue;
            conc__transfer_abort(t);
            any = true;
        }
    }
}

/* min_speed: looked at once in each stall_timeout of a body, but for those that our own limit has held up.
 * Returns when again. */
static int64_t conc__transfer_speed(conc__transfer *t, int64_t now, int64_t stall) {
    const conc_download_desc *desc = &t->e->d->desc;
    if (t->body == CONC__BODY_UNKNOWN) return now + stall;
    if (now < t->since + stall) return t->since + stall;
    if (!t->held && (double)t->came < (double)desc->min_speed * desc->stall_timeout) {
        t->job->slow = true;
        conc__job_fails(t->job, CONC_TIMEOUT, true, "slower than min_speed for stall_timeout");
    }
    t->since = now;
    t->came = 0;
    t->held = t->is_paused;
    return now + stall;
}

/* stall_timeout: until the answer's head has come, all of it, from when it could be asked for; then from one
 * bit of the body to the next. Returns when to look again. */
static int64_t conc__transfer_stall(conc__transfer *t, int64_t now, int64_t stall) {
    int64_t due = (t->is_paused ? now : t->moved) + stall;
    curl_off_t us = 0;
    if (now < due) return due;
    (void)curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &us);
    if (us == 0) { /* there is no connection: libcurl's own limit is for that */
        t->moved = now;
        return now + stall;
    }
    due = t->asked + (int64_t)us * 1000 + stall;
    if (t->body == CONC__BODY_UNKNOWN && now < due) return due;
    conc__job_fails(t->job, CONC_TIMEOUT, true,
                    t->body == CONC__BODY_UNKNOWN ? "no answer has come, or not all of its head, within stall_timeout"
                                                  : "nothing has come for stall_timeout");
    return due;
}

/* Limits in time that libcurl does not know. Sets when to look again. */
static void conc__engine_check(conc__engine *e, int64_t now) {
    const conc_download_desc *desc = &e->d->desc;
    int64_t stall = (int64_t)(desc->stall_timeout * 1e9), total = (int64_t)(desc->total_timeout * 1e9);
    conc__transfer *t, *next;
    if (now < e->check) return;
    e->check = INT64_MAX;
    for (t = e->active; t != NULL; t = next) {
        conc__job_dl *job = t->job;
        int64_t due, slow;
        next = t->next;
        if (total != 0 && now >= job->dl->began + total) {
            conc__job_fails(job, CONC_TIMEOUT, false, "total_timeout is over");
        }
        due = conc__transfer_stall(t, now, stall);
        slow = conc__transfer_speed(t, now, stall);
        if (due > slow) due = slow;
        if (job->result != CONC_OK) {
            conc__transfer_abort(t);
            e->check = INT64_MIN; /* the list is another one now */
            return;
        }
        if (total != 0 && due > job->dl->began + total) due = job->dl->began + total;
        if (due < e->check) e->check = due;
    }
}

/* One round: what is to be started, ended, told. Returns until when nothing need be done, if nothing happens;
 * INT64_MIN: never again. */
static int64_t conc__engine_turn(conc__engine *e) {
    conc__dl_worker *w = e->w;
    int64_t until = INT64_MAX, now, paused = INT64_MAX;
    conc__job_dl *job, *next;
    conc__download *dl = NULL;
    e->again = false;
    conc__dl_tell(w, &until);
    if (conc__dl_is_over(w)) return INT64_MIN;
    conc__engine_stop(e);
    for (job = e->pending; job != NULL; job = next) {
        next = job->next;
        conc__job_pieces(job);
    }
    while (e->jobs < w->slots && e->count < w->room && (dl = conc__dl_take(w, &paused)) != NULL) {
        conc__job_begin(e, dl);
        if (e->check == INT64_MAX) e->check = 0;
    }
    now = conc__port_clock_ns();
    if (e->timer <= now) {
        e->timer = INT64_MAX;
        conc__engine_action(e, CURL_SOCKET_TIMEOUT, 0);
    }
    conc__engine_resume(e, now);
    conc__engine_check(e, now);
    if (conc__engine_reap(e) || e->again) return 0;
    if (paused < until) until = paused;
    if (e->timer < until) until = e->timer;
    if (e->resume < until) until = e->resume;
    if (e->count != 0 && e->check < until) until = e->check;
    return until < 0 ? 0 : until;
}

static void conc__engine_end(conc__engine *e) {
    if (e->multi == NULL) return;
    while (e->spare != NULL) {
        conc__transfer *t = e->spare;
        e->spare = t->next;
        curl_easy_cleanup(t->easy);
        conc__free(t);
    }
    (void)curl_multi_cleanup(e->multi);
    e->multi = NULL;
}

CONC_CORO(conc__dl_pump, conc__engine *e; int64_t until; unsigned rounds;) {
    CO_BEGIN;
    for (;;) {
        self->e->until = INT64_MIN;
        self->until = conc__engine_turn(self->e);
        if (self->until == INT64_MIN) break;
        if (self->until <= 0 && ++self->rounds < 32) continue;
        self->rounds = 0;
        if (self->until <= 0) { /* the others have to have their turns too */
            CO_YIELD;
            continue;
        }
        self->e->until = self->until;
        CO_TRY_AWAIT(conc__op_stirred(self->e->w), conc_deadline_at(self->until));
        if (self->co.result == CONC_CANCELED) {
            (void)conc_downloader_cancel(self->e->d);
        } else if (self->co.result != CONC_OK && self->co.result != CONC_TIMEOUT) {
            CO_AWAIT(conc_op_sleep(0.01)); /* it could not wait so: there was no memory */
        }
    }
    self->e->until = INT64_MAX;
    conc__engine_end(self->e);
    while (self->e->watchers != 0) CO_TRY_AWAIT(conc__op_stirred(self->e->w), CONC_FOREVER);
    conc__dl_worker_ends(self->e->w);
    CO_END;
}

/* ---- beginning and end ----------------------------------------------------------------------------------- */

static conc_result conc__engine_dress(conc__engine *e) {
    const char *const *line = e->d->desc.headers;
    CURLMcode m;
    e->multi = CONC__FAULT("curl_multi_init", CURLM_OUT_OF_MEMORY) != 0 ? NULL : curl_multi_init();
    if (e->multi == NULL) return conc__fail(CONC_NO_MEMORY, "libcurl has no memory");
    m = curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, conc__engine_socket);
    if (m == CURLM_OK) m = curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
    if (m == CURLM_OK) m = curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, conc__engine_timer);
    if (m == CURLM_OK) m = curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
    if (m == CURLM_OK) {
        unsigned most = e->w->slots > 1 ? e->w->room : e->d->desc.segments;
        m = curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, 2 * (long)most + 4);
    }
    if (m != CURLM_OK) return conc__fail(CONC_NO_MEMORY, "libcurl: %s", curl_multi_strerror(m));
    for (; line != NULL && *line != NULL; line++) {
        struct curl_slist *more =
            CONC__FAULT("curl_slist_append", ENOMEM) != 0 ? NULL : curl_slist_append(e->headers, *line);
        if (more == NULL) return conc__fail(CONC_NO_MEMORY, "libcurl has no memory for headers");
        e->headers = more;
    }
    return CONC_OK;
}

conc_result conc__dl_engine_start(conc__dl_worker *w) {
    conc__engine *e = (conc__engine *)conc__alloc(1, sizeof *e, "downloads");
    conc__dl_pump frame = CONC_FRAME_ZERO(conc__dl_pump);
    conc_task_desc desc;
    conc_result r;
    if (e == NULL) return CONC_NO_MEMORY;
    w->engine = e;
    e->w = w;
    e->d = w->d;
    e->timer = e->check = e->resume = INT64_MAX;
    e->paused_end = &e->paused;
    e->until = INT64_MAX;
    /* (Measured: of smaller ones a long file takes more of the processor, of larger ones it takes no less.) */
    e->buffer = w->d->desc.max_parallel <= 16 ? 102400 : w->d->desc.max_parallel <= 64 ? 65536 : 16384;
    e->random = (uint32_t)conc__port_clock_ns() ^ (uint32_t)((uintptr_t)e >> 4) * 0x9E3779B9u;
    if (e->random == 0) e->random = 1;
    r = conc__engine_dress(e);
    if (r == CONC_OK) {
        memset(&desc, 0, sizeof desc);
        desc.cancel = w->d->desc.cancel;
        frame.e = e;
        r = conc__co_go(CONC_SPAWN_FRAME(w->loop, desc.cancel != NULL ? &desc : NULL, conc__dl_pump, frame));
    }
    if (r != CONC_OK) conc__dl_engine_free(w);
    return r;
}

void conc__dl_engine_free(conc__dl_worker *w) {
    conc__engine *e = (conc__engine *)w->engine;
    if (e == NULL) return;
    conc__engine_end(e);
    while (e->sockets != NULL) {
        conc__dl_socket *s = e->sockets;
        e->sockets = s->next;
        conc__free(s);
    }
    curl_slist_free_all(e->headers);
    conc__free(e);
    w->engine = NULL;
}

#endif
