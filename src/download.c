/* ============================================================================================
 * downloads: the session: what is asked for, whose turn it is, what came of it. See download.h. Nothing here
 * knows libcurl.
 *
 * A download is, until it has ended, in one of these: the queue of its host; the list of those that pause; the
 * list of those that run, and then some worker has it; the list of those that are over and not told. Its future
 * is claimed from the beginning: conc__dl_cancel() ends one that is in the queue there and then. One lock guards
 * it all, and is held for a few instructions.
 *
 * A worker is a loop's tasks. It takes what it has room for; if there is nothing, it is marked idle, under the
 * lock, and sleeps: whoever then changes something, under the lock, finds the mark and stirs it.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL)

#include <stdio.h>

#define CONC__DL_TOP 1000u /* transfers at a time */

/* ---- lists ----------------------------------------------------------------------------------------------- */

static void conc__dl_insert(conc__dl_list *list, conc__download *dl, conc__download *before) {
    conc__download *prev = before != NULL ? before->prev : list->last;
    dl->list = list;
    dl->next = before;
    dl->prev = prev;
    if (prev != NULL) {
        prev->next = dl;
    } else {
        list->first = dl;
    }
    if (before != NULL) {
        before->prev = dl;
    } else {
        list->last = dl;
    }
    list->count++;
}

static void conc__dl_remove(conc__download *dl) {
    conc__dl_list *list = dl->list;
    if (list == NULL) return;
    if (dl->prev != NULL) {
        dl->prev->next = dl->next;
    } else {
        list->first = dl->next;
    }
    if (dl->next != NULL) {
        dl->next->prev = dl->prev;
    } else {
        list->last = dl->prev;
    }
    dl->list = NULL;
    dl->next = dl->prev = NULL;
    list->count--;
}

static size_t conc__text_hash(const char *text) {
    uint64_t h = conc__bytes_hash(text, strlen(text));
    return (size_t)(h ^ h >> 32);
}

/* ---- URLs ------------------------------------------------------------------------------------------------ */

static bool conc__url_is(const char *url, const char *scheme) {
    for (; *scheme != '\0'; scheme++, url++) {
        char c = *url;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (c != *scheme) return false;
    }
    return true;
}

size_t conc__url_bare(const char *url, const char **host) {
    const char *at = strstr(url, "://"), *end;
    size_t n = at == NULL ? 0 : (size_t)(at - url) + 3;
    at = url + n;
    end = at + strcspn(at, "/?#");
    for (*host = at; end > at; end--) {
        if (end[-1] == '@') {
            *host = end;
            break;
        }
    }
    return n;
}

const char *conc__url_shown(const char *url, char *text, size_t size) {
    const char *host;
    size_t n = conc__url_bare(url, &host);
    (void)snprintf(text, size, "%.*s%s", n > 1000 ? 1000 : (int)n, url, host);
    return text;
}

conc_result conc__url_host(const char *url, char *name, size_t size, bool *is_https) {
    const char *at, *end, *from, *c;
    char shown[120];
    bool has_port = false, in_brackets = false;
    size_t n = 0;
    *is_https = conc__url_is(url, "https://");
    for (c = url; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 127) {
            return conc__fail(CONC_INVALID, "a URL with %s", *c == ' ' ? "a space in it" : "a control character in it");
        }
    }
    if ((size_t)(c - url) > CONC__URL_MAX) return conc__fail(CONC_INVALID, "a URL of over %u bytes", CONC__URL_MAX);
    if (!*is_https && !conc__url_is(url, "http://")) {
        (void)conc__url_shown(url, shown, sizeof shown);
        return strstr(url, "://") != NULL ? conc__fail(CONC_REJECTED, "neither https nor http: %.100s", shown)
                                          : conc__fail(CONC_INVALID, "not a URL: \"%.100s\"", shown);
    }
    at = url + (*is_https ? 8 : 7);
    end = at + strcspn(at, "/?#");
    for (from = at; at < end; at++) {
        if (*at == '@') from = at + 1;
    }
    for (at = from; at < end; at++) {
        char ch = *at;
        if (ch >= 'A' && ch <= 'Z') ch = (char)(ch - 'A' + 'a');
        if (ch == '[') in_brackets = true;
        if (ch == ']') in_brackets = false;
        if (ch == ':' && !in_brackets) has_port = at + 1 < end;
        if (n + 8 < size) name[n++] = ch;
    }
    if (n == 0 || name[0] == ':') {
        return conc__fail(CONC_INVALID, "a URL without a host: \"%.100s\"", conc__url_shown(url, shown, sizeof shown));
    }
    if (name[n - 1] == ':') n--;
    name[n] = '\0';
    if (!has_port) memcpy(name + n, *is_https ? ":443" : ":80", *is_https ? 5 : 4);
    return CONC_OK;
}

static bool conc__name_is_reserved(const char *name) {
    static const char *const names[] = {"con", "prn", "aux", "nul", "com", "lpt"};
    size_t i;
    for (i = 0; i < 6; i++) {
        const char *rest = name + 3;
        if (!conc__url_is(name, names[i])) continue;
        if (i >= 4) {
            if (*rest < '1' || *rest > '9') continue;
            rest++;
        }
        if (*rest == '\0' || *rest == '.') return true;
    }
    return false;
}

static int conc__url_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

conc_result conc_download_name(const char *url, char *name, size_t size) {
    const char *at, *end, *from;
    char shown[120];
    size_t n = 0;
    if (url == NULL || name == NULL || size == 0) return conc__fail(CONC_INVALID, "conc_download_name: NULL");
    name[0] = '\0';
    at = strstr(url, "://");
    at = at != NULL ? at + 3 : url;
    at += strcspn(at, "/?#");
    end = at + strcspn(at, "?#");
    for (from = at; at < end; at++) {
        if (*at == '/') from = at + 1;
    }
    if (from >= end) {
        static const char index[] = "index.html";
        if (size < sizeof index) return conc__fail(CONC_INVALID, "conc_download_name: no room for \"%s\"", index);
        memcpy(name, index, sizeof index);
        return CONC_OK;
    }
    for (at = from; at < end; at++, n++) {
        unsigned char c = (unsigned char)*at;
        if (c == '%' && end - at > 2 && conc__url_digit(at[1]) >= 0 && conc__url_digit(at[2]) >= 0) {
            c = (unsigned char)(conc__url_digit(at[1]) * 16 + conc__url_digit(at[2]));
            at += 2;
        }
        if (n + 1 >= size || n >= 255) {
            name[0] = '\0';
            return conc__fail(CONC_INVALID, "conc_download_name: the name in \"%.100s\" is too long",
                              conc__url_shown(url, shown, sizeof shown));
        }
        if (c < 32 || c == 127 || strchr("/\\:*?\"<>|", c) != NULL || (n == 0 && (c == '.' || c == '-' || c == ' ')))
            n = SIZE_MAX - 1;
        if (n == SIZE_MAX - 1) break;
        name[n] = (char)c;
    }
    if (n != SIZE_MAX - 1) name[n] = '\0';
    if (n == SIZE_MAX - 1 || conc__name_is_reserved(name) || name[n - 1] == '.' || name[n - 1] == ' ') {
        name[0] = '\0';
        return conc__fail(CONC_INVALID, "conc_download_name: \"%.100s\" gives no plain name of a file",
                          conc__url_shown(url, shown, sizeof shown));
    }
    return CONC_OK;
}

/* ---- waiting for a session's end, and for a stir --------------------------------------------------------- */

static void conc__dl_unuse(conc_downloader *d) {
    if (conc__sub32(&d->users, 1, CONC__ACQ_REL) != 1) return;
    conc__free(d->active);
    conc__free(d->strings);
    conc__free((void *)(uintptr_t)d->headers);
    conc__free(d);
}

static conc_result conc__dl_end_attempt(conc_op *op) {
    conc_downloader *d = (conc_downloader *)op->object;
    if (d == NULL) return conc__fail(CONC_INVALID, "join of a downloader: NULL");
    if (d->generation != conc__fork_generation())
        return conc__fail(CONC_FORKED, "join: the downloader was made before fork()");
    return conc__load32(&d->ended, CONC__ACQUIRE) != 0 ? CONC_OK : CONC_PENDING;
}

/* Whoever sets it wakes after that, under this bucket's lock. */
static bool conc__dl_end_arm(conc_op *op, conc_node *node) {
    conc_downloader *d = (conc_downloader *)op->object;
    conc__bucket *b = conc__bucket_lock(&d->ended);
    bool wait = conc__load32(&d->ended, CONC__ACQUIRE) == 0;
    if (wait) conc__bucket_push(b, &d->ended, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_downloader_end(conc_downloader *d) {
    static const conc_op_class cls = {"downloads", CONC_BUSY, conc__dl_end_attempt, conc__dl_end_arm, NULL, NULL};
    return conc_op_make(&cls, d, NULL);
}

static conc_result conc__stirred_attempt(conc_op *op) {
    conc__dl_worker *w = (conc__dl_worker *)op->object;
    return conc__load32(&w->stirred, CONC__RELAXED) != 0 && conc__swap32(&w->stirred, 0, CONC__ACQUIRE) != 0
               ? CONC_OK
               : CONC_PENDING;
}

/* Likewise. */
static bool conc__stirred_arm(conc_op *op, conc_node *node) {
    conc__dl_worker *w = (conc__dl_worker *)op->object;
    conc__bucket *b = conc__bucket_lock(&w->stirred);
    bool wait = conc__load32(&w->stirred, CONC__ACQUIRE) == 0;
    if (wait) conc__bucket_push(b, &w->stirred, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc__op_stirred(conc__dl_worker *w) {
    static const conc_op_class cls = {"downloads", CONC_BUSY, conc__stirred_attempt, conc__stirred_arm, NULL, NULL};
    return conc_op_make(&cls, w, NULL);
}

/* Release: what was done before is seen by the worker. A worker that is not there any more is not stirred: by
 * the lock, or as it is the caller itself. */
void conc__dl_stir(conc__dl_worker *w) {
    if (conc__swap32(&w->stirred, 1, CONC__ACQ_REL) == 0) (void)conc__wake_waiters(&w->stirred, CONC__ANY_TAG, 1);
}

/* Under the lock: one worker that has found nothing; and all of them. */
static void conc__dl_stir_one(conc_downloader *d) {
    conc__dl_worker *w;
    for (w = d->workers; w != NULL; w = w->next) {
        if (w->idle) {
            w->idle = false;
            conc__dl_stir(w);
            return;
        }
    }
}

static void conc__dl_stir_all(conc_downloader *d) {
    conc__dl_worker *w;
    for (w = d->workers; w != NULL; w = w->next) {
        w->idle = false;
        conc__dl_stir(w);
    }
}

/* ---- the queue ------------------------------------------------------------------------------------------- */

/* Under the lock, as all that follows here. The host of that name, made if it is new; NULL: no memory. */
static conc__dl_host *conc__dl_host_of(conc_downloader *d, const char *name) {
    size_t hash = conc__text_hash(name), n = strlen(name), i;
    conc__dl_host *host;
    if (d->host_count >= d->host_room) {
        size_t room = d->host_room == 0 ? 16 : d->host_room * 2;
        conc__dl_host **more = (conc__dl_host **)conc__alloc(room, sizeof *more, "a table of hosts");
        if (more == NULL) return NULL;
        for (i = 0; i < d->host_room; i++) {
            while (d->hosts[i] != NULL) {
                conc__dl_host **slot = &more[conc__text_hash(d->hosts[i]->name) & (room - 1)];
                host = d->hosts[i];
                d->hosts[i] = host->chain;
                host->chain = *slot;
                *slot = host;
            }
        }
        conc__free(d->hosts);
        d->hosts = more;
        d->host_room = room;
    }
    for (host = d->hosts[hash & (d->host_room - 1)]; host != NULL; host = host->chain) {
        if (strcmp(host->name, name) == 0) return host;
    }
    host = (conc__dl_host *)conc__alloc(1, sizeof *host + n, "a host");
    if (host == NULL) return NULL;
    memcpy(host->name, name, n + 1);
    host->chain = d->hosts[hash & (d->host_room - 1)];
    d->hosts[hash & (d->host_room - 1)] = host;
    d->host_count++;
    return host;
}

static void conc__dl_ring_leave(conc_downloader *d, conc__dl_host *host) {
    if (host->next == host) {
        d->ring = NULL;
    } else {
        host->next->prev = host->prev;
        host->prev->next = host->next;
        if (d->ring == host) d->ring = host->next;
    }
    host->next = host->prev = NULL;
}

/* At the end of those that are as urgent; `first`: before them, as it was its turn already. */
static void conc__dl_enqueue(conc__download *dl, bool first) {
    conc_downloader *d = dl->d;
    conc__dl_host *host = dl->host;
    conc__download *at;
    dl->state = CONC__DL_QUEUED;
    dl->worker = NULL;
    if (!first && (host->queue.last == NULL || host->queue.last->item->priority >= dl->item->priority)) {
        conc__dl_insert(&host->queue, dl, NULL);
    } else {
        at = host->queue.first;
        while (at != NULL &&
               (at->item->priority > dl->item->priority || (!first && at->item->priority == dl->item->priority)))
            at = at->next;
        conc__dl_insert(&host->queue, dl, at);
    }
    if (host->next != NULL) return;
    if (d->ring == NULL) {
        host->next = host->prev = d->ring = host;
    } else { /* the last in the round */
        host->next = d->ring;
        host->prev = d->ring->prev;
        host->prev->next = host;
        d->ring->prev = host;
    }
}

static void conc__dl_dequeue(conc__download *dl) {
    conc__dl_remove(dl);
    if (dl->host->queue.first == NULL && dl->host->next != NULL) conc__dl_ring_leave(dl->d, dl->host);
}

/* Among the targets that are being written; false: it is another one's already. NULL memory: it goes without. */
static bool conc__dl_target_enter(conc__download *dl) {
    conc_downloader *d = dl->d;
    conc__download *at;
    size_t i;
    if (d->target_count >= d->target_room) {
        size_t room = d->target_room == 0 ? 64 : d->target_room * 2;
        conc__download **more = (conc__download **)conc__alloc(room, sizeof *more, "a table of targets");
        if (more != NULL) {
            for (i = 0; i < d->target_room; i++) {
                while (d->targets[i] != NULL) {
                    conc__download **slot = &more[conc__text_hash(d->targets[i]->item->path) & (room - 1)];
                    at = d->targets[i];
                    d->targets[i] = at->same;
                    at->same = *slot;
                    *slot = at;
                }
            }
            conc__free(d->targets);
            d->targets = more;
            d->target_room = room;
        }
    }
    if (d->target_room == 0) return true; /* (the part's lock is there as well) */
    i = conc__text_hash(dl->item->path) & (d->target_room - 1);
    for (at = d->targets[i]; at != NULL; at = at->same) {
        if (strcmp(at->item->path, dl->item->path) == 0) return false;
    }
    dl->same = d->targets[i];
    d->targets[i] = dl;
    d->target_count++;
    dl->is_target = true;
    return true;
}

static void conc__dl_target_leave(conc__download *dl) {
    conc_downloader *d = dl->d;
    conc__download **at;
    if (!dl->is_target) return;
    at = &d->targets[conc__text_hash(dl->item->path) & (d->target_room - 1)];
    while (*at != dl) at = &(*at)->same;
    *at = dl->same;
    d->target_count--;
    dl->is_target = false;
}

/* It is over, as its record says, and nobody's; a worker will tell. */
static void conc__dl_is_done(conc__download *dl) {
    conc_downloader *d = dl->d;
    dl->state = CONC__DL_OVER;
    dl->worker = NULL;
    conc__dl_target_leave(dl);
    conc__dl_insert(&d->over, dl, NULL);
}

static void conc__dl_record(conc__download *dl, conc_result r, const char *text) {
    conc_download_record *record = &dl->item->record;
    record->result = r;
    (void)snprintf(record->error, sizeof record->error, "%s",
                   r == CONC_OK   ? ""
                   : text != NULL ? text
                                  : conc_strerror(r));
    if (dl->began != 0) record->total = (double)(conc__port_clock_ns() - dl->began) * 1e-9;
}

/* ---- futures --------------------------------------------------------------------------------------------- */

/* conc_future_cancel(). In the queue: it ends here. Else whoever has it, or the pump, will see to it. */
static conc_result conc__dl_cancel(conc_future *f) {
    conc__download *dl = (conc__download *)(void *)f;
    conc_downloader *d = dl->d;
    conc_result r = CONC_CLOSED;
    conc__lock_take(&d->lock);
    if (dl->state == CONC__DL_QUEUED) {
        conc__dl_dequeue(dl);
        conc__dl_record(dl, CONC_CANCELED, NULL);
        dl->state = CONC__DL_OVER; /* and in no list yet */
        dl->ended = true;
        r = CONC_OK;
    } else if (dl->state == CONC__DL_RUNS || dl->state == CONC__DL_PAUSED) {
        r = CONC_BUSY;
        if (!dl->abort) {
            dl->abort = true;
            (void)conc__add32(&d->alarms, 1, CONC__RELEASE);
            if (dl->state == CONC__DL_PAUSED) d->aborts++;
            conc__dl_stir(dl->worker != NULL ? dl->worker : d->workers);
        }
    }
    conc__lock_give(&d->lock);
    if (r == CONC_OK) {
        conc__future_end(f, CONC_CANCELED, 0, NULL);
        conc__lock_take(&d->lock);
        conc__dl_is_done(dl);
        d->workers->idle = false;
        conc__dl_stir(d->workers);
        conc__lock_give(&d->lock);
    }
    return r;
}

static void conc__dl_freed(conc_future *f) {
    conc__dl_unuse(((conc__download *)(void *)f)->d);
}

static const conc__future_class conc__dl_futures = {NULL, NULL, NULL, conc__dl_cancel, conc__dl_freed};

static const conc__download *conc__download_of(const conc_future *f) {
    return f != NULL && f->cls == &conc__dl_futures ? (const conc__download *)(const void *)f : NULL;
}

const conc_download_record *conc_download_record_of(const conc_future *f) {
    const conc__download *dl = conc__download_of(f);
    return dl != NULL ? &dl->item->record : NULL;
}

const conc_download_item *conc_download_item_of(const conc_future *f) {
    const conc__download *dl = conc__download_of(f);
    return dl != NULL ? dl->item : NULL;
}

/* ---- turns ----------------------------------------------------------------------------------------------- */

/* The host whose turn it is: the first in the round of those with the most urgent item, that may have one more. */
static conc__dl_host *conc__dl_next_host(conc_downloader *d, int64_t now, int64_t *until) {
    conc__dl_host *best = NULL, *host = d->ring;
    if (host == NULL) return NULL;
    do {
        if (host->closed_until > now) {
            if (host->closed_until < *until) *until = host->closed_until;
        } else if (host->running < d->desc.max_per_host &&
                   (best == NULL || host->queue.first->item->priority > best->queue.first->item->priority)) {
            best = host;
        }
        host = host->next;
    } while (host != d->ring);
    return best;
}

conc__download *conc__dl_take(conc__dl_worker *w, int64_t *until) {
    conc_downloader *d = w->d;
    conc__download *dl = NULL;
    int64_t now = conc__port_clock_ns();
    *until = INT64_MAX;
    conc__lock_take(&d->lock);
    while (d->paused.first != NULL && d->paused.first->due <= now) {
        conc__download *due = d->paused.first;
        conc__dl_remove(due);
        if (!due->abort) {
            conc__dl_enqueue(due, true);
            continue;
        }
        d->aborts--;
        conc__dl_record(due, CONC_CANCELED, NULL);
        conc__dl_is_done(due);
        conc__dl_stir(w); /* to tell it */
    }
    if (d->paused.first != NULL) *until = d->paused.first->due;
    while (dl == NULL && d->stopped == CONC_OK && d->running.count + d->extra < d->desc.max_parallel) {
        conc__dl_host *host = conc__dl_next_host(d, now, until);
        if (host == NULL) break;
        dl = host->queue.first;
        conc__dl_dequeue(dl);
        if (host->next != NULL) d->ring = host->next;
    }
    if (dl != NULL) {
        dl->state = CONC__DL_RUNS;
        dl->worker = w;
        dl->host->running++;
        conc__dl_insert(&d->running, dl, NULL);
        if (dl->began == 0) dl->began = now;
        dl->item->record.queued += (double)(now - dl->waits_since) * 1e-9;
    }
    w->idle = dl == NULL;
    /* This one does not watch what pauses, nor a host that asked to be left alone: an idle one has to know until
     * when. */
    if (dl != NULL && *until != INT64_MAX) conc__dl_stir_one(d);
    conc__lock_give(&d->lock);
    return dl;
}

/* There is room for a segment again. Under the lock. */
static void conc__dl_has_room(conc_downloader *d) {
    conc__dl_worker *w;
    for (w = d->workers; w != NULL; w = w->next) {
        if (!w->refused) continue;
        w->refused = false;
        conc__dl_stir(w);
    }
}

/* Under the lock. */
static void conc__dl_leaves(conc__download *dl) {
    conc__dl_remove(dl);
    dl->host->running--;
    conc__dl_has_room(dl->d);
}

void conc__dl_pause(conc__download *dl, int64_t due) {
    conc_downloader *d = dl->d;
    conc__download *at;
    conc__lock_take(&d->lock);
    conc__dl_leaves(dl);
    dl->state = CONC__DL_PAUSED;
    dl->worker = NULL;
    dl->due = due;
    dl->waits_since = conc__port_clock_ns();
    if (dl->abort) d->aborts++;
    for (at = d->paused.last; at != NULL && at->due > due;) at = at->prev;
    conc__dl_insert(&d->paused, dl, at != NULL ? at->next : d->paused.first);
    conc__dl_stir_one(d); /* an idle one has to know until when to sleep */
    conc__lock_give(&d->lock);
}

void conc__dl_host_close(conc__download *dl, int64_t until) {
    conc__lock_take(&dl->d->lock);
    if (dl->host->closed_until < until) dl->host->closed_until = until;
    conc__lock_give(&dl->d->lock);
}

void conc__dl_over(conc__download *dl, conc_result r, const char *text) {
    conc_downloader *d = dl->d;
    conc__lock_take(&d->lock);
    conc__dl_record(dl, r, text);
    conc__dl_leaves(dl);
    conc__dl_is_done(dl);
    conc__lock_give(&d->lock);
}

void conc__dl_attempt(conc__download *dl) {
    conc__lock_take(&dl->d->lock);
    dl->item->record.attempts++; /* which progress shows, in another worker's thread too */
    conc__lock_give(&dl->d->lock);
}

void conc__dl_progress(conc__download *dl, uint64_t at, uint64_t size) {
    conc_downloader *d = dl->d;
    conc__lock_take(&d->lock);
    dl->bytes = at;
    if (size != 0 || !dl->counted) {
        if (dl->counted) d->size -= dl->size;
        if (!dl->counted && size != 0) {
            dl->counted = true;
            d->sized++;
        }
        dl->size = size;
        d->size += size;
    }
    conc__lock_give(&d->lock);
}

bool conc__dl_take_extra(conc__download *dl) {
    conc_downloader *d = dl->d;
    bool may;
    conc__lock_take(&d->lock);
    may = d->stopped == CONC_OK && d->running.count + d->extra < d->desc.max_parallel &&
          dl->host->running < d->desc.max_per_host;
    if (may) {
        d->extra++;
        dl->host->running++;
    }
    dl->worker->refused = !may;
    conc__lock_give(&d->lock);
    return may;
}

void conc__dl_give_extra(conc__download *dl) {
    conc__lock_take(&dl->d->lock);
    dl->d->extra--;
    dl->host->running--;
    conc__dl_has_room(dl->d);
    conc__dl_stir_one(dl->d); /* this worker is not done with its download: another one may begin the next */
    conc__lock_give(&dl->d->lock);
}

uint32_t conc__dl_random(uint32_t *state) { /* xorshift (G. Marsaglia, 2003) */
    uint32_t r = *state;
    r ^= r << 13;
    r ^= r >> 17;
    r ^= r << 5;
    return *state = r;
}

double conc__dl_backoff(const conc_download_desc *desc, unsigned fruitless, uint32_t *random) {
    double delay = desc->retry_delay;
    unsigned i;
    for (i = 1; i < fruitless && delay < desc->retry_delay_max; i++) delay *= 2;
    if (delay > desc->retry_delay_max) delay = desc->retry_delay_max;
    return delay * (1 - (double)conc__dl_random(random) / 4294967296.0 / 2);
}

int64_t conc__dl_spend(conc_downloader *d, size_t n, int64_t now) {
    int64_t until = 0, spare = 50000000; /* what was not used lately may be used now */
    conc__lock_take(&d->lock);
    if (d->spent_until > now) {
        until = d->spent_until;
    } else {
        if (d->spent_until < now - spare) d->spent_until = now - spare;
        d->spent_until += (int64_t)((double)n * 1e9 / (double)d->desc.bandwidth);
    }
    conc__lock_give(&d->lock);
    return until;
}

conc_result conc__dl_stopped(conc__download *dl) {
    conc_result r;
    conc__lock_take(&dl->d->lock);
    r = dl->d->stopped != CONC_OK ? dl->d->stopped : dl->abort ? CONC_CANCELED : CONC_OK;
    conc__lock_give(&dl->d->lock);
    return r;
}

bool conc__dl_is_over(conc__dl_worker *w) {
    conc_downloader *d = w->d;
    bool over;
    conc__lock_take(&d->lock);
    over = w->retires || (d->closed && d->outstanding == 0);
    conc__lock_give(&d->lock);
    return over;
}

/* ---- telling --------------------------------------------------------------------------------------------- */

/* The queue, and those that pause: what is to be stopped is over. */
static void conc__dl_sweep(conc_downloader *d) {
    conc__download *dl, *next;
    size_t i;
    if (d->stopped == CONC_OK && d->aborts == 0) return;
    for (dl = d->paused.first; dl != NULL; dl = next) {
        next = dl->next;
        if (d->stopped == CONC_OK && !dl->abort) continue;
        if (dl->abort) d->aborts--;
        conc__dl_remove(dl);
        conc__dl_record(dl, d->stopped != CONC_OK ? d->stopped : CONC_CANCELED, NULL);
        conc__dl_is_done(dl);
    }
    if (d->stopped == CONC_OK) return;
    for (i = 0; i < d->host_room; i++) {
        conc__dl_host *host;
        for (host = d->hosts[i]; host != NULL; host = host->chain) {
            while ((dl = host->queue.first) != NULL) {
                conc__dl_dequeue(dl);
                conc__dl_record(dl, d->stopped, NULL);
                conc__dl_is_done(dl);
            }
        }
    }
}

static double conc__dl_smooth(double old, double now, double seconds) {
    double share = seconds / (seconds + 2);
    return old <= 0 ? now : old + (now - old) * share;
}

/* How things stand, for the caller's function. Under both locks. */
static void conc__dl_look(conc_downloader *d, conc_download_progress *p) {
    int64_t now = conc__port_clock_ns();
    double since = (double)(now - d->speed_at) * 1e-9;
    bool look = since >= 0.05;
    const conc__download *dl;
    conc__dl_list *lists[2];
    uint64_t bytes = d->bytes;
    size_t i;
    memset(p, 0, sizeof *p);
    lists[0] = &d->running;
    lists[1] = &d->paused;
    if (d->active_room < d->running.count + d->paused.count) {
        size_t room = (d->running.count + d->paused.count) * 2;
        conc_download_active *more = (conc_download_active *)conc__realloc(d->active, room, sizeof *more, "progress");
        if (more != NULL) {
            d->active = more;
            d->active_room = room;
        }
    }
    for (i = 0; i < 2; i++) {
        for (dl = lists[i]->first; dl != NULL; dl = dl->next) {
            conc__download *mine = (conc__download *)(uintptr_t)dl;
            conc_download_active *a = p->active_count < d->active_room ? &d->active[p->active_count++] : NULL;
            bytes += dl->bytes;
            if (look) {
                double speed =
                    dl->bytes > dl->speed_bytes && since > 0 ? (double)(dl->bytes - dl->speed_bytes) / since : 0;
                mine->speed = conc__dl_smooth(dl->speed, speed, since);
                mine->speed_bytes = dl->bytes;
            }
            if (a == NULL) continue;
            a->item = dl->item;
            a->bytes = dl->bytes;
            a->size = dl->size;
            a->speed = dl->speed;
            a->attempt = dl->item->record.attempts + (i != 0 ? 1u : 0u);
            a->pause = i != 0 && dl->due > now ? (double)(dl->due - now) * 1e-9 : 0;
        }
    }
    if (look) {
        double speed = bytes > d->speed_bytes && d->speed_at != 0 ? (double)(bytes - d->speed_bytes) / since : 0;
        if (d->speed_at != 0) d->speed = conc__dl_smooth(d->speed, speed, since);
        d->speed_at = now;
        d->speed_bytes = bytes;
    }
    p->items = d->items;
    p->done = d->good;
    p->failed = d->bad;
    p->running = d->running.count;
    p->waiting = d->items - d->good - d->bad - d->running.count;
    p->bytes = bytes;
    p->size = d->size;
    p->size_is_known = d->sized == d->items;
    p->seconds = d->first_at != 0 ? (double)(now - d->first_at) * 1e-9 : 0;
    p->speed = d->speed;
    p->left = -1;
    if (d->speed > 0 && d->sized > 0) { /* of those not yet known, as many bytes as the others have */
        double size = (double)d->size * (double)d->items / (double)d->sized;
        p->left = size > (double)bytes ? (size - (double)bytes) / d->speed : 0;
    }
    p->active = d->active;
    p->scratch = d->scratch;
}

/* The library's own wait is not the caller's: no token ends it. */
static conc_cancel *conc__dl_telling_begin(conc_downloader *d) {
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc_mutex_lock(&d->telling, CONC_FOREVER);
    (void)r; /* it is locked: nobody holds it twice */
    return token;
}

static void conc__dl_telling_end(conc_downloader *d, conc_cancel *token) {
    (void)conc_mutex_unlock(&d->telling);
    (void)conc_cancel_use(token);
}

/* `telling` is held. */
static void conc__dl_call_progress(conc_downloader *d, const conc_download_item *ended, bool last) {
    conc_download_progress p;
    if (d->desc.progress == NULL) return;
    conc__lock_take(&d->lock);
    conc__dl_look(d, &p);
    conc__lock_give(&d->lock);
    p.ended = ended;
    p.last = last;
    d->desc.progress(&p, d->desc.user);
}

/* `telling` is held. The record is final. */
static void conc__dl_tell_one(conc__download *dl) {
    conc_downloader *d = dl->d;
    conc_result r = dl->item->record.result;
    const conc_download_item *item = dl->item;
    conc__lock_take(&d->lock);
    if (r == CONC_OK) {
        d->good++;
    } else {
        d->bad++;
    }
    dl->bytes = dl->item->record.bytes;
    d->bytes += dl->bytes;
    if (dl->counted) {
        d->size -= dl->size;
    } else {
        d->sized++;
        dl->counted = true;
    }
    dl->size = dl->bytes;
    d->size += dl->bytes;
    conc__lock_give(&d->lock);
    if (d->desc.done != NULL) d->desc.done(item, d->desc.user);
    conc__dl_call_progress(d, item, false);
    if (d->desc.done != NULL || dl->is_lent) (void)conc__or32(&dl->future.state, CONC__LOOKED, CONC__RELAXED);
    if (!dl->ended) {
        conc__future_end(&dl->future, r,
                         r == CONC_FAILED ? (item->record.http_code != 0 ? item->record.http_code : -1) : 0,
                         r == CONC_OK ? NULL : item->record.error);
    }
    conc__lock_take(&d->lock);
    dl->state = CONC__DL_TOLD;
    d->outstanding--;
    if (!d->desc.forget) conc__dl_insert(&d->told, dl, NULL);
    if (d->closed && d->outstanding == 0) conc__dl_stir_all(d);
    conc__lock_give(&d->lock);
    if (!d->desc.forget) (void)conc__wake_waiters(&d->told, CONC__ANY_TAG, CONC_ALL);
    if (d->desc.forget) conc_future_release(&dl->future);
}

/* Under the lock. */
static void conc__dl_stop(conc_downloader *d, conc_result r) {
    d->closed = true;
    if (d->stopped != CONC_OK) return;
    d->stopped = r;
    (void)conc__add32(&d->alarms, 1, CONC__RELEASE);
    conc__dl_stir_all(d);
}

void conc__dl_tell(conc__dl_worker *w, int64_t *until) {
    conc_downloader *d = w->d;
    conc_cancel *token;
    int64_t now = conc__port_clock_ns();
    bool tick, any;
    conc__lock_take(&d->lock);
    if (d->desc.deadline.ns <= now) conc__dl_stop(d, CONC_TIMEOUT);
    conc__dl_sweep(d);
    any = d->over.first != NULL;
    tick = w->number == 0 && d->desc.progress != NULL && d->outstanding != 0 && now >= d->tick_at;
    conc__lock_give(&d->lock);
    if (any || tick) {
        token = conc__dl_telling_begin(d);
        for (;;) {
            conc__download *dl;
            conc__lock_take(&d->lock);
            dl = d->over.first;
            if (dl != NULL) conc__dl_remove(dl);
            conc__lock_give(&d->lock);
            if (dl == NULL) break;
            conc__dl_tell_one(dl);
        }
        if (tick) {
            conc__dl_call_progress(d, NULL, false);
            conc__lock_take(&d->lock);
            d->tick_at = conc__port_clock_ns() + (int64_t)(d->desc.progress_every * 1e9);
            conc__lock_give(&d->lock);
        }
        conc__dl_telling_end(d, token);
    }
    conc__lock_take(&d->lock);
    if (w->number == 0 && d->desc.progress != NULL && d->outstanding != 0 && d->tick_at < *until) *until = d->tick_at;
    if (d->outstanding != 0 && d->stopped == CONC_OK && d->desc.deadline.ns < *until) *until = d->desc.deadline.ns;
    conc__lock_give(&d->lock);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

/* Release: all that was done is seen by who joins. Then only the memory is used, of which the worker is a user. */
static void conc__dl_ends(conc_downloader *d) {
    if (d->desc.progress != NULL) {
        conc_cancel *token = conc__dl_telling_begin(d);
        conc__dl_call_progress(d, NULL, true);
        conc__dl_telling_end(d, token);
    }
    conc__store32(&d->ended, 1, CONC__RELEASE);
    (void)conc__wake_waiters(&d->ended, CONC__ANY_TAG, CONC_ALL);
    (void)conc__wake_waiters(&d->told, CONC__ANY_TAG, CONC_ALL);
}

void conc__dl_worker_ends(conc__dl_worker *w) {
    conc_downloader *d = w->d;
    bool last;
    conc__lock_take(&d->lock);
    w->idle = false;
    last = --d->workers_alive == 0 && !w->retires;
    conc__lock_give(&d->lock);
    if (last) conc__dl_ends(d);
    conc__dl_unuse(d);
}

/* ---- workers --------------------------------------------------------------------------------------------- */

static conc_result conc__dl_start(conc__dl_worker *w) {
    return w->d->desc.engine == CONC_DOWNLOAD_PROCESSES ? conc__dl_crew_start(w) : conc__dl_engine_start(w);
}

static void conc__dl_stop_free(conc__dl_worker *w) {
    if (w->d->desc.engine == CONC_DOWNLOAD_PROCESSES) {
        conc__dl_crew_free(w);
    } else {
        conc__dl_engine_free(w);
    }
}

static int conc__dl_run(void *arg) {
    conc__dl_worker *w = (conc__dl_worker *)arg;
    conc_loop *loop = w->loop;
    conc_result r;
    do {
        r = conc_loop_run(loop, CONC_FOREVER); /* ends with the worker's tasks */
    } while (r == CONC_CANCELED || r == CONC_CLOSED);
    return 0;
}

/* One more; NULL: it cannot be. Not under the lock. */
static conc__dl_worker *conc__dl_worker_new(conc_downloader *d, unsigned slots, unsigned room) {
    conc__dl_worker *w = (conc__dl_worker *)conc__alloc(1, sizeof *w, "a downloader's worker");
    conc_loop_desc desc;
    if (w == NULL) return NULL;
    w->d = d;
    w->slots = slots;
    w->room = room;
    w->loop = d->desc.loop;
    if (w->loop == NULL) {
        memset(&desc, 0, sizeof desc);
        desc.name = "conc-download";
        w->loop = conc_loop_new(&desc);
        w->owns_loop = w->loop != NULL;
    }
    if (w->loop != NULL) {
        conc__lock_take(&d->lock);
        w->number = d->worker_count++;
        d->workers_alive++;
        w->next = d->workers;
        d->workers = w;
        conc__lock_give(&d->lock);
        (void)conc__add32(&d->users, 1, CONC__RELAXED);
        if (conc__dl_start(w) == CONC_OK) return w;
        conc__lock_take(&d->lock);
        d->workers = w->next; /* (workers are made one at a time) */
        d->worker_count--;
        d->workers_alive--;
        conc__lock_give(&d->lock);
        conc__dl_unuse(d);
        if (w->owns_loop) (void)conc_loop_free(w->loop);
    }
    conc__free(w);
    return NULL;
}

static void conc__dl_workers_free(conc_downloader *d) {
    while (d->workers != NULL) {
        conc__dl_worker *w = d->workers;
        d->workers = w->next;
        if (w->thread != NULL) (void)conc_thread_join(w->thread, NULL, CONC_FOREVER);
        conc__dl_stop_free(w);
        if (w->owns_loop) (void)conc_loop_free(w->loop);
        conc__free(w);
    }
}

/* ---- sessions -------------------------------------------------------------------------------------------- */

static bool conc__dl_seconds(double *value, double standard) {
    if (!(*value >= 0) || *value > 1e9) return false;
    if (*value <= 0) *value = standard;
    return true;
}

/* Copies a string behind the others; NULL stays NULL. */
static const char *conc__dl_copy(char **at, const char *text) {
    char *copy = *at;
    size_t n;
    if (text == NULL) return NULL;
    n = strlen(text) + 1;
    memcpy(copy, text, n);
    *at += n;
    return copy;
}

static size_t conc__dl_length(const char *text) {
    return text != NULL ? strlen(text) + 1 : 0;
}

static bool conc__dl_is_line(const char *text) {
    for (; text != NULL && *text != '\0'; text++) {
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 127) return false;
    }
    return true;
}

static conc_result conc__dl_check(conc_download_desc *desc) {
    size_t i;
    if (desc->max_parallel > CONC__DL_TOP || desc->segments > CONC__PIECES) {
        return conc__fail(CONC_INVALID, "downloads: max_parallel is at most %u, segments at most %u", CONC__DL_TOP,
                          (unsigned)CONC__PIECES);
    }
    if (desc->engine != CONC_DOWNLOAD_COROUTINES && desc->engine != CONC_DOWNLOAD_THREADS &&
        desc->engine != CONC_DOWNLOAD_PROCESSES) {
        return conc__fail(CONC_INVALID, "downloads: no such engine");
    }
    if (desc->loop != NULL && desc->engine != CONC_DOWNLOAD_COROUTINES) {
        return conc__fail(CONC_INVALID, "downloads: a loop is for CONC_DOWNLOAD_COROUTINES");
    }
    if (!conc__dl_seconds(&desc->retry_delay, 0.5) || !conc__dl_seconds(&desc->retry_delay_max, 30) ||
        !conc__dl_seconds(&desc->retry_after_max, 120) || !conc__dl_seconds(&desc->connect_timeout, 15) ||
        !conc__dl_seconds(&desc->stall_timeout, 30) || !conc__dl_seconds(&desc->total_timeout, 0) ||
        !conc__dl_seconds(&desc->progress_every, 0.1)) {
        return conc__fail(CONC_INVALID, "downloads: a time that is negative, or none");
    }
    if (!conc__dl_is_line(desc->user_agent) || !conc__dl_is_line(desc->proxy)) {
        return conc__fail(CONC_INVALID, "downloads: a control character in user_agent or proxy");
    }
    for (i = 0; desc->headers != NULL && desc->headers[i] != NULL; i++) {
        if (!conc__dl_is_line(desc->headers[i]) || strchr(desc->headers[i], ':') == NULL) {
            return conc__fail(CONC_INVALID, "downloads: headers[%zu] is no header", i); /* it may be a secret */
        }
    }
    if (desc->max_parallel == 0) desc->max_parallel = 16;
    if (desc->max_per_host == 0 || desc->max_per_host > desc->max_parallel) desc->max_per_host = desc->max_parallel;
    if (desc->segments == 0) desc->segments = 1;
    if (desc->segment_min == 0) desc->segment_min = 16u << 20;
    if (desc->max_redirects == 0) desc->max_redirects = 10;
    if (desc->retries == 0) desc->retries = 4;
    if (desc->min_speed == 0) desc->min_speed = 10;
    if (desc->deadline.ns == 0) desc->deadline = CONC_FOREVER;
    if (desc->user_agent == NULL) desc->user_agent = "conc/" CONC_VERSION;
    return CONC_OK;
}

static conc_result conc__dl_copy_strings(conc_downloader *d) {
    conc_download_desc *desc = &d->desc;
    size_t size = conc__dl_length(desc->user_agent) + conc__dl_length(desc->proxy) + conc__dl_length(desc->ca_file),
           n = 0, i;
    char *at;
    for (; desc->headers != NULL && desc->headers[n] != NULL; n++) size += conc__dl_length(desc->headers[n]);
    d->strings = at = (char *)conc__alloc(size + 1, 1, "a downloader's strings");
    d->headers = (const char **)conc__alloc(n + 1, sizeof *d->headers, "a downloader's headers");
    if (d->strings == NULL || d->headers == NULL) return CONC_NO_MEMORY;
    desc->user_agent = conc__dl_copy(&at, desc->user_agent);
    desc->proxy = conc__dl_copy(&at, desc->proxy);
    desc->ca_file = conc__dl_copy(&at, desc->ca_file);
    for (i = 0; i < n; i++) d->headers[i] = conc__dl_copy(&at, desc->headers[i]);
    desc->headers = d->headers;
    return CONC_OK;
}

/* `runs`: it gets threads of its own, unless its desc has a loop. */
static conc_downloader *conc__dl_new(const conc_download_desc *desc) {
    conc_downloader *d = (conc_downloader *)conc__alloc(1, sizeof *d, "a downloader");
    conc_result r;
    if (d == NULL) return NULL;
    if (desc != NULL) d->desc = *desc;
    d->users = 1;
    (void)conc__self();
    d->generation = conc__fork_generation();
    r = conc__dl_check(&d->desc);
    if (r == CONC_OK) r = conc__dl_copy_strings(d);
    if (r == CONC_OK) r = conc__curl_begin();
    if (r != CONC_OK) {
        conc__dl_unuse(d);
        return NULL;
    }
    d->mode = d->desc.mode != 0 ? d->desc.mode & 07777u : 0666u & ~conc__port_umask();
    return d;
}

/* A worker whose thread cannot be started: its tasks end at once, here. */
static void conc__dl_worker_retire(conc_downloader *d, conc__dl_worker *w) {
    conc_cancel *token = conc_cancel_use(NULL);
    w->retires = true;
    (void)conc__dl_run(w);
    (void)conc_cancel_use(token);
    conc__lock_take(&d->lock);
    d->workers = w->next;
    d->worker_count--;
    conc__lock_give(&d->lock);
    conc__dl_stop_free(w);
    (void)conc_loop_free(w->loop);
    conc__free(w);
}

/* As many as there can be, one at least. */
static conc_result conc__dl_hire(conc_downloader *d) {
    unsigned n = d->desc.engine == CONC_DOWNLOAD_THREADS ? d->desc.max_parallel : 1, i;
    unsigned slots = d->desc.max_parallel / n, room = d->desc.max_parallel;
    conc_thread_desc desc;
    conc_pool_desc pool;
    memset(&desc, 0, sizeof desc);
    desc.name = "conc-download";
    desc.daemon = true;
    if (d->desc.engine == CONC_DOWNLOAD_THREADS) {
        memset(&pool, 0, sizeof pool);
        pool.name = "conc-download";
        pool.core_threads = n;
        pool.daemon = true;
        d->pool = conc_pool_new(&pool);
        if (d->pool == NULL) return conc_error_result();
    }
    for (i = 0; i < n; i++) {
        bool runs = true;
        conc__dl_worker *w = conc__dl_worker_new(d, slots, room);
        if (w == NULL) break;
        if (d->pool != NULL) {
            runs = conc_pool_run(d->pool, conc__dl_run, w) == CONC_OK;
        } else if (w->owns_loop) {
            w->thread = conc_thread_start(conc__dl_run, w, &desc);
            runs = w->thread != NULL;
        }
        if (!runs) {
            conc__dl_worker_retire(d, w);
            break;
        }
    }
    return i > 0 ? CONC_OK : conc_error_result();
}

conc_downloader *conc_downloader_new(const conc_download_desc *desc) {
    conc_downloader *d = conc__dl_new(desc);
    conc_result r = d != NULL ? conc__dl_hire(d) : CONC_NO_MEMORY;
    if (d != NULL && r != CONC_OK) {
        if (d->pool != NULL) (void)conc_pool_finish(d->pool);
        conc__dl_unuse(d);
        d = NULL;
    }
    return d;
}

/* ---- adding ---------------------------------------------------------------------------------------------- */

/* What is wrong with an item is its own result. */
static conc_result conc__dl_item_check(conc__download *dl, char *host, size_t size) {
    conc_downloader *d = dl->d;
    const char *path = dl->item->path;
    bool is_https = false;
    conc_result r = conc__url_host(dl->item->url, host, size, &is_https);
    if (r == CONC_OK && !is_https && !d->desc.allow_http) {
        char shown[120];
        r = conc__fail(CONC_REJECTED, "http is refused (allow_http): %.100s",
                       conc__url_shown(dl->item->url, shown, sizeof shown));
    }
    if (r == CONC_OK && (path[0] == '\0' || path[strlen(path) - 1] == '/'))
        r = conc__fail(CONC_INVALID, "\"%.100s\" is no path of a file", path);
    if (r == CONC_OK) r = conc__hash_parse(dl->item->checksum, &dl->hash, dl->digest);
    return r;
}

/* `item` is copied behind the struct; or, `lent`, used where it is, and stays until it has been told. */
static conc__download *conc__dl_add(conc_downloader *d, conc_download_item *item, bool lent) {
    size_t size =
        sizeof *item + conc__dl_length(item->url) + conc__dl_length(item->path) + conc__dl_length(item->checksum);
    conc__download *dl = (conc__download *)conc__alloc(1, sizeof *dl + (lent ? 0 : size), "a download");
    char host[CONC__URL_MAX + 16], *at;
    conc_result r;
    if (dl == NULL) return NULL;
    conc__future_init(&dl->future, &conc__dl_futures, NULL, NULL, item->user);
    (void)conc__future_claim(&dl->future); /* from the beginning: see conc__dl_cancel() */
    dl->d = d;
    dl->is_lent = lent;
    dl->item = item;
    if (!lent) {
        dl->item = (conc_download_item *)(dl + 1);
        *dl->item = *item;
        at = (char *)(dl->item + 1);
        dl->item->url = conc__dl_copy(&at, item->url);
        dl->item->path = conc__dl_copy(&at, item->path);
        dl->item->checksum = conc__dl_copy(&at, item->checksum);
    }
    memset(&dl->item->record, 0, sizeof dl->item->record);
    dl->item->record.result = CONC_PENDING;
    (void)conc__url_shown(dl->item->url, dl->item->record.final_url, sizeof dl->item->record.final_url);
    r = conc__dl_item_check(dl, host, sizeof host);
    conc__lock_take(&d->lock);
    if (d->closed) {
        conc__lock_give(&d->lock);
        conc__free(dl);
        (void)conc__fail(CONC_CLOSED, "conc_downloader_add: it is closed");
        return NULL;
    }
    (void)conc__add32(&d->users, 1, CONC__RELAXED);
    (void)conc_future_retain(&dl->future); /* the session's, and the caller's */
    d->items++;
    d->outstanding++;
    dl->waits_since = conc__port_clock_ns();
    if (d->first_at == 0) d->first_at = d->tick_at = dl->waits_since;
    if (item->size != 0) {
        dl->counted = true;
        dl->size = item->size;
        d->sized++;
        d->size += item->size;
    }
    if (r == CONC_OK && !conc__dl_target_enter(dl))
        r = conc__fail(CONC_BUSY, "another download of this session has the same target");
    if (r == CONC_OK) {
        dl->host = conc__dl_host_of(d, host);
        if (dl->host == NULL) r = CONC_NO_MEMORY;
    }
    if (r == CONC_OK) {
        conc__dl_enqueue(dl, false);
    } else {
        conc__dl_record(dl, r, conc_error_detail());
        conc__dl_is_done(dl);
    }
    conc__dl_stir_one(d);
    conc__lock_give(&d->lock);
    return dl;
}

static conc_result conc__dl_wrong(const conc_downloader *d, const char *what) {
    if (d == NULL) return conc__fail(CONC_INVALID, "%s: NULL", what);
    if (d->generation != conc__fork_generation())
        return conc__fail(CONC_FORKED, "%s: the downloader was made before fork()", what);
    return CONC_OK;
}

conc_future *conc_downloader_add(conc_downloader *d, const conc_download_item *item) {
    conc__download *dl;
    if (conc__dl_wrong(d, "conc_downloader_add") != CONC_OK) return NULL;
    if (item == NULL || item->url == NULL || item->path == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_downloader_add: no %s",
                         item == NULL        ? "item"
                         : item->url == NULL ? "url"
                                             : "path");
        return NULL;
    }
    dl = conc__dl_add(d, (conc_download_item *)(uintptr_t)item, false);
    return dl != NULL ? &dl->future : NULL;
}

/* ---- results --------------------------------------------------------------------------------------------- */

typedef struct conc__dl_results {
    conc_iter iter;
    conc_downloader *d;
    conc__download *given; /* by the last next(): chained by `next`, which nobody else uses any more */
} conc__dl_results;

static conc_result conc__results_attempt(conc_op *op) {
    conc_downloader *d = ((conc__dl_results *)op->object)->d;
    conc_result r = conc__dl_wrong(d, "the results of downloads");
    if (r != CONC_OK) return r;
    conc__lock_take(&d->lock);
    r = d->told.first != NULL ? CONC_OK : d->closed && d->outstanding == 0 ? CONC_CLOSED : CONC_PENDING;
    conc__lock_give(&d->lock);
    return r;
}

/* What changes is changed under the session's lock, and then those who wait are woken, under the bucket's:
 * entered before the look. */
static bool conc__results_arm(conc_op *op, conc_node *node) {
    conc_downloader *d = ((conc__dl_results *)op->object)->d;
    conc__bucket *b = conc__bucket_lock(&d->told);
    conc__bucket_push(b, &d->told, node, 0);
    conc__bucket_unlock(b);
    if (conc__results_attempt(op) == CONC_PENDING) return true;
    conc_waiters_disarm(node);
    return false;
}

static void conc__results_drop(conc__dl_results *results) {
    while (results->given != NULL) {
        conc__download *dl = results->given;
        results->given = dl->next;
        conc_future_release(&dl->future);
    }
}

static size_t conc__results_next(conc_iter *it, void *items, size_t n) {
    static const conc_op_class cls = {"results", CONC_BUSY, conc__results_attempt, conc__results_arm, NULL, NULL};
    conc__dl_results *results = (conc__dl_results *)(void *)it;
    conc_downloader *d = results->d;
    conc_download_item *out = (conc_download_item *)items;
    conc__download **end = &results->given;
    size_t done = 0;
    conc_result r = CONC_OK;
    conc__results_drop(results);
    if (d->desc.forget) {
        r = conc__fail(CONC_INVALID, "conc_downloader_results: the session forgets what has ended");
    } else {
        conc_op op = conc_op_make(&cls, results, NULL);
        r = d->desc.loop != NULL ? conc__loop_wait(d->desc.loop, op, CONC_FOREVER) : conc__wait_op(&op, CONC_FOREVER);
    }
    if (r != CONC_OK) {
        it->result = r;
        return 0;
    }
    conc__lock_take(&d->lock);
    while (done < n && d->told.first != NULL) {
        conc__download *dl = d->told.first;
        conc__dl_remove(dl);
        (void)conc__or32(&dl->future.state, CONC__LOOKED, CONC__RELAXED);
        out[done++] = *dl->item;
        *end = dl;
        end = &dl->next;
    }
    conc__lock_give(&d->lock);
    return done;
}

static void conc__results_close(conc_iter *it) {
    conc__dl_results *results = (conc__dl_results *)(void *)it;
    conc__results_drop(results);
    conc__dl_unuse(results->d);
    conc__free(results);
}

conc_iter *conc_downloader_results(conc_downloader *d) {
    conc__dl_results *results;
    conc_result r = conc__dl_wrong(d, "conc_downloader_results");
    if (r != CONC_OK) return conc_iter_failed(r);
    results = (conc__dl_results *)conc__alloc(1, sizeof *results, "an iterator over downloads");
    if (results == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    results->iter.next = conc__results_next;
    results->iter.close = conc__results_close;
    results->iter.item_size = sizeof(conc_download_item);
    results->d = d;
    (void)conc__add32(&d->users, 1, CONC__RELAXED);
    return &results->iter;
}

/* ---- closing --------------------------------------------------------------------------------------------- */

conc_result conc_downloader_close(conc_downloader *d) {
    conc_result r = conc__dl_wrong(d, "conc_downloader_close");
    if (r != CONC_OK) return r;
    conc__lock_take(&d->lock);
    if (d->closed) r = CONC_CLOSED;
    d->closed = true;
    if (d->outstanding == 0) conc__dl_stir_all(d);
    conc__lock_give(&d->lock);
    (void)conc__wake_waiters(&d->told, CONC__ANY_TAG, CONC_ALL);
    return r;
}

conc_result conc_downloader_cancel(conc_downloader *d) {
    conc_result r = conc__dl_wrong(d, "conc_downloader_cancel");
    if (r != CONC_OK) return r;
    conc__lock_take(&d->lock);
    conc__dl_stop(d, CONC_CANCELED);
    conc__lock_give(&d->lock);
    return CONC_OK;
}

conc_result conc_downloader_join(conc_downloader *d, conc_deadline deadline) {
    conc_result r = conc__dl_wrong(d, "conc_downloader_join");
    conc_op op = conc_op_downloader_end(d);
    if (r != CONC_OK) return r;
    conc__lock_take(&d->lock);
    if (!d->closed) r = conc__fail(CONC_INVALID, "conc_downloader_join: it is not closed, so more may come");
    conc__lock_give(&d->lock);
    if (r != CONC_OK) return r;
    return d->desc.loop != NULL ? conc__loop_wait(d->desc.loop, op, deadline) : conc__wait_op(&op, deadline);
}

conc_result conc_downloader_free(conc_downloader *d) {
    conc_cancel *token;
    size_t i;
    bool forked;
    if (d == NULL) return CONC_OK;
    forked =
        d->generation != conc__fork_generation(); /* its threads are not here; what is curl's stays with the parent */
    if (!forked && conc__load32(&d->ended, CONC__ACQUIRE) == 0) {
        return conc__fail(CONC_BUSY, "conc_downloader_free: it has not ended (close or cancel it, and join it)");
    }
    if (!forked) {
        token = conc_cancel_use(NULL);
        if (d->pool != NULL) (void)conc_pool_finish(d->pool);
        conc__dl_workers_free(d);
        (void)conc_cancel_use(token);
    }
    while (d->told.first != NULL && !forked) {
        conc__download *dl = d->told.first;
        conc__dl_remove(dl);
        conc_future_release(&dl->future);
    }
    for (i = 0; i < d->host_room; i++) {
        while (d->hosts[i] != NULL) {
            conc__dl_host *host = d->hosts[i];
            d->hosts[i] = host->chain;
            conc__free(host);
        }
    }
    conc__free(d->hosts);
    conc__free(d->targets);
    conc__dl_unuse(d);
    return CONC_OK;
}

conc_result conc_downloader_finish(conc_downloader *d) {
    conc_result r;
    if (d == NULL) return CONC_OK;
    r = conc_downloader_close(d);
    if (r == CONC_OK || r == CONC_CLOSED) r = conc_downloader_join(d, CONC_FOREVER);
    return r == CONC_OK ? conc_downloader_free(d) : r;
}

/* ---- one call -------------------------------------------------------------------------------------------- */

/* What the records say, in one result and one sentence. */
static conc_result conc__dl_sum(const conc_download_item *items, size_t n, conc_result stopped) {
    conc_result r = CONC_OK;
    size_t bad = 0, i, first = n;
    char shown[120];
    for (i = 0; i < n; i++) {
        conc_result one = items[i].record.result;
        if (one == CONC_OK) continue;
        if (bad++ == 0) first = i;
        if (one == CONC_CANCELED || (one == CONC_TIMEOUT && stopped == CONC_TIMEOUT)) r = one;
    }
    if (bad == 0) return CONC_OK;
    return conc__fail(r == CONC_OK ? CONC_FAILED : r, "%zu of %zu downloads failed; the first: %.60s: %s", bad, n,
                      conc__url_shown(items[first].url, shown, sizeof shown), items[first].record.error);
}

/* `stopped`: CONC_OK, or why all that was left was given up. */
static conc_result conc__dl_fetch(conc_download_item *items, size_t n, const conc_download_desc *desc,
                                  conc_result *stopped) {
    conc_download_desc mine;
    conc_loop *loop = NULL;
    conc_downloader *d;
    conc_result r = CONC_OK;
    size_t i;
    memset(&mine, 0, sizeof mine);
    if (desc != NULL) mine = *desc;
    mine.forget = true;
    if (mine.max_parallel == 0) mine.max_parallel = 16;
    if (mine.max_parallel > n && mine.segments < 2) mine.max_parallel = n == 0 ? 1 : (unsigned)n;
    if (mine.engine == CONC_DOWNLOAD_COROUTINES && mine.loop == NULL) {
        loop = conc_loop_new(NULL);
        if (loop == NULL) return conc_error_result();
        mine.loop = loop;
    }
    d = conc_downloader_new(&mine);
    if (d == NULL) {
        r = conc_error_result();
        (void)conc_loop_free(loop);
        return r;
    }
    for (i = 0; i < n; i++) {
        conc__download *dl = conc__dl_add(d, &items[i], true);
        if (dl != NULL) {
            conc_future_release(&dl->future);
            continue;
        }
        memset(&items[i].record, 0, sizeof items[i].record);
        items[i].record.result = conc_error_result();
        (void)snprintf(items[i].record.error, sizeof items[i].record.error, "%s", conc_error_detail());
    }
    (void)conc_downloader_close(d);
    r = conc_downloader_join(d, CONC_FOREVER);
    if (r != CONC_OK) { /* the thread's token has fired */
        conc_cancel *token = conc_cancel_use(NULL);
        (void)conc_downloader_cancel(d);
        (void)conc_downloader_join(d, CONC_FOREVER);
        (void)conc_cancel_use(token);
    }
    if (r == CONC_OK || r == CONC_CANCELED) r = d->stopped; /* (it has ended: nobody writes that any more) */
    (void)conc_downloader_free(d);
    (void)conc_loop_free(loop);
    *stopped = r;
    return r == CONC_CANCELED || r == CONC_TIMEOUT ? CONC_OK : r; /* the records say it */
}

static conc_result conc__dl_here(const char *what) {
    if (conc__self()->loop == NULL) return CONC_OK;
    return conc__fail(CONC_DEADLOCK, "%s in a coroutine: its loop would stand still (there: a conc_downloader)", what);
}

static conc_result conc__dl_items_check(const conc_download_item *items, size_t n) {
    size_t i;
    if (items == NULL && n != 0) return conc__fail(CONC_INVALID, "conc_download_all: NULL");
    for (i = 0; i < n; i++) {
        if (items[i].url == NULL || items[i].path == NULL) {
            return conc__fail(CONC_INVALID, "conc_download_all: item %zu has no %s", i,
                              items[i].url == NULL ? "url" : "path");
        }
    }
    return CONC_OK;
}

conc_result conc_download_all(conc_download_item *items, size_t n, const conc_download_desc *desc) {
    conc_result r = conc__dl_here("conc_download_all"), stopped = CONC_OK;
    size_t i;
    if (r == CONC_OK) r = conc__dl_items_check(items, n);
    if (r == CONC_OK) r = conc__dl_fetch(items, n, desc, &stopped);
    if (r == CONC_OK) return conc__dl_sum(items, n, stopped);
    for (i = 0; items != NULL && i < n; i++) { /* nothing was fetched: a record that is all zero would say CONC_OK */
        memset(&items[i].record, 0, sizeof items[i].record);
        items[i].record.result = r;
        (void)snprintf(items[i].record.error, sizeof items[i].record.error, "%s", conc_error_detail());
    }
    return r;
}

conc_result conc_download(const char *url, const char *path, const conc_download_desc *desc) {
    conc_download_item item;
    conc_result r = conc__dl_here("conc_download"), stopped;
    if (r != CONC_OK) return r;
    if (url == NULL || path == NULL)
        return conc__fail(CONC_INVALID, "conc_download: no %s", url == NULL ? "url" : "path");
    memset(&item, 0, sizeof item);
    item.url = url;
    item.path = path;
    r = conc__dl_fetch(&item, 1, desc, &stopped);
    if (r != CONC_OK || item.record.result == CONC_OK) return r;
    return conc__fail(item.record.result, "%s", item.record.error);
}

#endif
