/* ============================================================================================
 * downloads: the engine of processes. A worker's tasks in its loop: the pump, which hands out what there is to
 * be done, and one for each item under way, which speaks with a process: the item goes there by its channel,
 * progress and the record come back. Each process has a session of its own, with one transfer at a time, which
 * also tries again.
 *
 * A message begins with its kind; all else in it is the bytes of structs of this very program.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL)

#include <stdio.h>

#define CONC__DL_MESSAGE 65536u
#define CONC__DL_CHILD_NAME "conc.download"

enum { CONC__SAY_DESC = 1, CONC__SAY_ITEM, CONC__SAY_CANCEL, CONC__SAY_PROGRESS, CONC__SAY_RECORD };

/* The head of each message. */
typedef struct conc__say {
    uint32_t kind;
    uint32_t lengths[4]; /* of strings that follow, their ends included; 0: NULL */
    uint64_t numbers[2];
} conc__say;

typedef struct conc__message {
    size_t n;
    char bytes[CONC__DL_MESSAGE];
} conc__message;

static void conc__message_begin(conc__message *m, uint32_t kind, conc__say *head) {
    memset(head, 0, sizeof *head);
    head->kind = kind;
    m->n = sizeof *head;
}

/* False: there is no room for it. */
static bool conc__message_add(conc__message *m, const void *data, size_t size) {
    if (size > sizeof m->bytes - m->n) return false;
    if (size != 0) memcpy(m->bytes + m->n, data, size);
    m->n += size;
    return true;
}

static bool conc__message_text(conc__message *m, const char *text, uint32_t *length) {
    size_t n = text != NULL ? strlen(text) + 1 : 0;
    *length = (uint32_t)n;
    return n < CONC__DL_MESSAGE && conc__message_add(m, text, n);
}

static void conc__message_end(conc__message *m, const conc__say *head) {
    memcpy(m->bytes, head, sizeof *head);
}

static bool conc__message_head(const conc__message *m, conc__say *head) {
    if (m->n < sizeof *head) return false;
    memcpy(head, m->bytes, sizeof *head);
    return true;
}

/* The next string; *at moves on. False: it is none. */
static bool conc__message_next(const conc__message *m, size_t *at, uint32_t length, const char **text) {
    *text = NULL;
    if (length == 0) return true;
    if (length > m->n || *at > m->n - length || m->bytes[*at + length - 1] != '\0') return false;
    *text = m->bytes + *at;
    *at += length;
    return true;
}

/* ---- there ----------------------------------------------------------------------------------------------- */

typedef struct conc__child {
    conc_channel *channel;
    conc_downloader *d;
    conc__message in, out;
} conc__child;

static void conc__child_progress(const conc_download_progress *p, void *user) {
    conc__child *c = (conc__child *)user;
    conc__say head;
    conc__message_begin(&c->out, CONC__SAY_PROGRESS, &head);
    if (p->active_count == 0) return;
    head.numbers[0] = p->active[0].bytes;
    head.numbers[1] = p->active[0].size;
    conc__message_end(&c->out, &head);
    (void)conc_channel_put(c->channel, c->out.bytes, c->out.n, CONC_NOW); /* or not */
}

static conc_future *conc__child_begin(conc__child *c) {
    conc_download_item item;
    conc__say head;
    size_t at = sizeof head;
    memset(&item, 0, sizeof item);
    if (!conc__message_head(&c->in, &head) || head.kind != CONC__SAY_ITEM ||
        !conc__message_next(&c->in, &at, head.lengths[0], &item.url) ||
        !conc__message_next(&c->in, &at, head.lengths[1], &item.path) ||
        !conc__message_next(&c->in, &at, head.lengths[2], &item.checksum)) {
        return NULL;
    }
    item.size = head.numbers[0];
    item.max_bytes = head.numbers[1];
    return conc_downloader_add(c->d, &item);
}

static bool conc__child_is_asked(const conc__child *c) {
    conc__say head;
    return conc__message_head(&c->in, &head) && head.kind == CONC__SAY_ITEM;
}

static void conc__child_record(conc__child *c, const conc_future *f) {
    conc__say head;
    conc__message_begin(&c->out, CONC__SAY_RECORD, &head);
    (void)conc__message_add(&c->out, conc_download_record_of(f), sizeof(conc_download_record));
    conc__message_end(&c->out, &head);
}

CONC_CORO(conc__dl_servant, conc__child *c; conc_future *f; conc_io in; conc_out put; conc_op ops[2]; bool alone;) {
    CO_BEGIN;
    self->in.data = self->c->in.bytes;
    self->in.size = sizeof self->c->in.bytes;
    while (!self->alone) {
        CO_AWAIT(conc_op_channel_get(self->c->channel, &self->in));
        if (self->co.result != CONC_OK) break;
        self->c->in.n = self->in.done;
        self->f = conc__child_begin(self->c);
        /* There is no memory: another process may have more. */
        if (self->f == NULL && conc__child_is_asked(self->c)) break;
        if (self->f == NULL) continue;                               /* a cancel that came too late */
        do {
            self->ops[0] = conc_op_future(self->f);
            self->ops[1] = conc_op_channel_get(self->c->channel, &self->in);
            CO_AWAIT_ANY(self->ops, 2);
            if (self->co.value != 0) { /* to be canceled; or nobody wants to know any more, or can be told */
                self->alone = self->co.value < 0 || self->ops[1].result != CONC_OK;
                (void)conc_future_cancel(self->f);
            }
        } while (self->co.value == 1 && !self->alone);
        if (!self->alone) {
            conc__child_record(self->c, self->f);
            self->put.data = self->c->out.bytes;
            self->put.size = self->c->out.n;
            CO_AWAIT(conc_op_channel_put(self->c->channel, &self->put));
            self->alone = self->co.result != CONC_OK;
        }
        (void)conc_future_result(self->f); /* it has been seen */
        conc_future_release(self->f);
    }
    (void)conc_downloader_cancel(self->c->d);
    CO_END;
}

static conc_result conc__child_session(conc__child *c, conc_loop *loop) {
    conc_download_desc desc;
    conc__say head;
    size_t at = sizeof head + sizeof desc, i;
    const char *headers[65];
    conc_result r = conc_channel_get(c->channel, c->in.bytes, sizeof c->in.bytes, &c->in.n, CONC_FOREVER);
    if (r != CONC_OK) return r;
    if (!conc__message_head(&c->in, &head) || head.kind != CONC__SAY_DESC || c->in.n < at) return CONC_BROKEN;
    memcpy(&desc, c->in.bytes + sizeof head, sizeof desc);
    if (!conc__message_next(&c->in, &at, head.lengths[0], &desc.user_agent) ||
        !conc__message_next(&c->in, &at, head.lengths[1], &desc.proxy) ||
        !conc__message_next(&c->in, &at, head.lengths[2], &desc.ca_file)) {
        return CONC_BROKEN;
    }
    for (i = 0; i < 64 && at < c->in.n; i++) {
        if (!conc__message_next(&c->in, &at, (uint32_t)strlen(c->in.bytes + at) + 1, &headers[i])) return CONC_BROKEN;
    }
    headers[i] = NULL;
    desc.headers = headers;
    desc.loop = loop;
    desc.user = c;
    if (head.numbers[0] != 0) desc.progress = conc__child_progress;
    c->d = conc_downloader_new(&desc);
    return c->d != NULL ? CONC_OK : conc_error_result();
}

static int conc__dl_child(void *unused) {
    conc__child *c = (conc__child *)conc__alloc(1, sizeof *c, "a process of downloads");
    conc_loop *loop = conc_loop_new(NULL);
    conc__dl_servant frame = CONC_FRAME_ZERO(conc__dl_servant);
    int code = 1;
    (void)unused;
    if (c != NULL && loop != NULL) {
        c->channel = conc_process_channel(NULL);
        frame.c = c;
        if (conc__child_session(c, loop) == CONC_OK &&
            conc__co_go(CONC_SPAWN_FRAME(loop, NULL, conc__dl_servant, frame)) == CONC_OK &&
            conc_loop_run(loop, CONC_FOREVER) == CONC_OK && conc_downloader_free(c->d) == CONC_OK &&
            conc_loop_free(loop) == CONC_OK) {
            loop = NULL;
            code = 0;
        }
    }
    conc__free(c);
    return code;
}

void conc__dl_register(void) {
    (void)conc_process_register(CONC__DL_CHILD_NAME, conc__dl_child);
}

/* ---- here ------------------------------------------------------------------------------------------------ */

typedef struct conc__crew conc__crew;
typedef struct conc__hand {
    conc__crew *crew;
    conc_process *process; /* NULL: there is none (any more) */
    conc_channel *channel;
    conc__download *dl; /* NULL: it has nothing to do */
    conc_event stop;    /* the download is to end */
    bool greeted;       /* the process has the session's desc */
    conc__message message;
} conc__hand;

struct conc__crew {
    conc__dl_worker *w;
    conc_downloader *d;
    conc__hand **hands; /* w->slots of them, made when they are first needed */
    unsigned busy;
    uint32_t alarms; /* of the session's, seen */
    uint32_t random;
};

static bool conc__hand_desc(conc__hand *h) {
    conc_download_desc desc = h->crew->d->desc;
    conc__message *m = &h->message;
    conc__say head;
    bool fits;
    size_t i;
    conc__message_begin(m, CONC__SAY_DESC, &head);
    head.numbers[0] = desc.progress != NULL;
    desc.engine = CONC_DOWNLOAD_COROUTINES;
    desc.max_parallel = desc.max_per_host = desc.segments = 1;
    desc.mode = h->crew->d->mode;
    desc.deadline = CONC_FOREVER; /* that is seen to here, as is the token */
    desc.cancel = NULL;
    desc.done = NULL;
    desc.progress = NULL;
    desc.bandwidth = desc.bandwidth != 0 ? desc.bandwidth / h->crew->w->slots + 1 : 0;
    fits = conc__message_add(m, &desc, sizeof desc) && conc__message_text(m, desc.user_agent, &head.lengths[0]) &&
           conc__message_text(m, desc.proxy, &head.lengths[1]) && conc__message_text(m, desc.ca_file, &head.lengths[2]);
    for (i = 0; fits && desc.headers[i] != NULL; i++)
        fits = i < 64 && conc__message_add(m, desc.headers[i], strlen(desc.headers[i]) + 1);
    conc__message_end(m, &head);
    return fits;
}

static bool conc__hand_item(conc__hand *h) {
    const conc_download_item *item = h->dl->item;
    conc__message *m = &h->message;
    conc__say head;
    conc__message_begin(m, CONC__SAY_ITEM, &head);
    head.numbers[0] = item->size;
    head.numbers[1] = item->max_bytes;
    if (!conc__message_text(m, item->url, &head.lengths[0]) || !conc__message_text(m, item->path, &head.lengths[1]) ||
        !conc__message_text(m, item->checksum, &head.lengths[2])) {
        return false;
    }
    conc__message_end(m, &head);
    return true;
}

static void conc__hand_cancel(conc__hand *h) {
    conc__say head;
    conc__message_begin(&h->message, CONC__SAY_CANCEL, &head);
    conc__message_end(&h->message, &head);
}

/* Its process, if it has none. */
static conc_result conc__hand_hire(conc__hand *h) {
    conc_process_desc desc;
    if (h->process != NULL) return CONC_OK;
    memset(&desc, 0, sizeof desc);
    desc.name = "conc-download";
    desc.daemon = true;
    desc.channel = true;
    desc.message_max = CONC__DL_MESSAGE;
    h->greeted = false;
    h->process = conc_process_start(conc__dl_child, NULL, 0, &desc);
    if (h->process == NULL) return conc_error_result();
    h->channel = conc_process_channel(h->process);
    return CONC_OK;
}

/* The download has ended, as `record` says. */
static void conc__hand_done(conc__hand *h, const conc_download_record *record) {
    conc__download *dl = h->dl;
    double queued = dl->item->record.queued;
    dl->item->record = *record;
    dl->item->record.queued += queued;
    h->dl = NULL;
    h->crew->busy--;
    conc__dl_over(dl, record->result, record->error);
    conc__dl_stir(h->crew->w);
}

/* Gives a process's handle back, once it has ended; if nobody can wait for that, without waiting. */
static conc_result conc__hand_bury(conc__hand *h, conc_deadline deadline) {
    int code;
    conc_result r = conc_process_join(h->process, &code, deadline);
    if (r == CONC_TIMEOUT) r = conc_process_stop(h->process, &code, CONC_NOW);
    if (r != CONC_OK && r != CONC_CRASHED) {
        (void)conc_process_kill(h->process);
        (void)conc_process_detach(h->process);
    }
    h->process = NULL;
    return r;
}

/* The process could not be started, or has died: perhaps the next one does better. */
static void conc__hand_failed(conc__hand *h, conc_result r) {
    conc__download *dl = h->dl;
    const conc_download_desc *desc = &h->crew->d->desc;
    conc_result stopped = conc__dl_stopped(dl);
    char text[240];
    if (r == CONC_REJECTED) r = CONC_SYSTEM; /* too many descriptors: of a download that would say that it is refused */
    (void)snprintf(text, sizeof text, "%.230s", conc_error_detail());
    h->dl = NULL;
    h->crew->busy--;
    dl->item->record.attempts++;
    if (stopped != CONC_OK) {
        conc__dl_over(dl, stopped, NULL);
    } else if (r == CONC_CRASHED && desc->retries >= 0 && dl->fruitless++ < (unsigned)desc->retries) {
        double delay = conc__dl_backoff(desc, dl->fruitless, &h->crew->random);
        conc__dl_pause(dl, conc__port_clock_ns() + (int64_t)(delay * 1e9));
    } else {
        conc__dl_over(dl, r, text);
    }
    conc__dl_stir(h->crew->w);
}

/* A message has come: true, it is the last. */
static bool conc__hand_hears(conc__hand *h) {
    conc_download_record record;
    conc__say head;
    if (!conc__message_head(&h->message, &head)) return false;
    if (head.kind == CONC__SAY_PROGRESS) conc__dl_progress(h->dl, head.numbers[0], head.numbers[1]);
    if (head.kind != CONC__SAY_RECORD || h->message.n != sizeof head + sizeof record) return false;
    memcpy(&record, h->message.bytes + sizeof head, sizeof record);
    conc__hand_done(h, &record);
    return true;
}

/* One item. */
CONC_CORO(conc__dl_errand, conc__hand *h; conc_io in; conc_out put; conc_op ops[2]; conc_result r; bool told;) {
    CO_BEGIN;
    self->r = conc__hand_hire(self->h);
    if (self->r == CONC_OK && !self->h->greeted) {
        if (!conc__hand_desc(self->h)) self->r = conc__fail(CONC_INVALID, "downloads: the headers are too long");
        self->put.data = self->h->message.bytes;
        self->put.size = self->h->message.n;
        if (self->r == CONC_OK) {
            CO_TRY_AWAIT(conc_op_channel_put(self->h->channel, &self->put), CONC_FOREVER);
            self->r = self->co.result;
            self->h->greeted = true;
        }
    }
    if (self->r == CONC_OK && !conc__hand_item(self->h))
        self->r = conc__fail(CONC_INVALID, "downloads: an item that is too long");
    if (self->r == CONC_OK) {
        self->put.data = self->h->message.bytes;
        self->put.size = self->h->message.n;
        CO_TRY_AWAIT(conc_op_channel_put(self->h->channel, &self->put), CONC_FOREVER);
        self->r = self->co.result;
    }
    while (self->r == CONC_OK && self->h->dl != NULL) {
        self->in.data = self->h->message.bytes;
        self->in.size = sizeof self->h->message.bytes;
        self->ops[0] = conc_op_channel_get(self->h->channel, &self->in);
        self->ops[1] = conc_op_event(&self->h->stop);
        CO_AWAIT_ANY(self->ops, self->told ? 1 : 2);
        if (self->co.value == 1) {
            self->told = true;
            conc__hand_cancel(self->h);
            self->put.data = self->h->message.bytes;
            self->put.size = self->h->message.n;
            CO_TRY_AWAIT(conc_op_channel_put(self->h->channel, &self->put), CONC_FOREVER);
        } else {
            self->r = self->co.value == 0 ? self->ops[0].result : self->co.result;
            self->h->message.n = self->in.done;
            if (self->r == CONC_OK) (void)conc__hand_hears(self->h);
        }
    }
    if (self->h->dl != NULL && self->h->process == NULL) {
        conc__hand_failed(self->h, self->r);
    } else if (self->h->dl != NULL) { /* it cannot be spoken with: it has died, or is not to live */
        (void)conc_channel_close(self->h->channel); /* so it ends also if it cannot be killed */
        (void)conc_process_kill(self->h->process);
        CO_TRY_AWAIT(conc_op_process_end(self->h->process), CONC_FOREVER);
        if (self->r == CONC_CLOSED || self->r == CONC_BROKEN) self->r = CONC_CRASHED;
        if (self->r != CONC_CRASHED) {
            conc__hand_failed(self->h, self->r);
            (void)conc__hand_bury(self->h, CONC_FOREVER);
        } else {
            if (conc__hand_bury(self->h, CONC_FOREVER) == CONC_OK) { /* else its sentence says how */
                (void)conc__fail(CONC_CRASHED, "a process of downloads has ended before its time");
            }
            conc__hand_failed(self->h, self->r);
        }
    }
    CO_END;
}

/* One that has nothing to do; NULL: no memory. */
static conc__hand *conc__crew_free_hand(conc__crew *crew) {
    unsigned i;
    for (i = 0; i < crew->w->slots; i++) {
        conc__hand *h = crew->hands[i];
        if (h == NULL) {
            h = crew->hands[i] = (conc__hand *)conc__alloc(1, sizeof *h, "a process of downloads");
            if (h != NULL) h->crew = crew;
            return h;
        }
        if (h->dl == NULL) return h;
    }
    return NULL;
}

static void conc__crew_begin(conc__crew *crew, conc__download *dl) {
    conc__hand *h = conc__crew_free_hand(crew);
    conc__dl_errand frame = CONC_FRAME_ZERO(conc__dl_errand);
    if (h == NULL) {
        conc__dl_over(dl, CONC_NO_MEMORY, NULL);
        conc__dl_stir(crew->w);
        return;
    }
    (void)conc_event_reset(&h->stop);
    h->dl = dl;
    crew->busy++;
    frame.h = h;
    if (conc__co_go(CONC_SPAWN_FRAME(crew->w->loop, NULL, conc__dl_errand, frame)) == CONC_OK) return;
    h->dl = NULL;
    crew->busy--;
    conc__dl_over(dl, CONC_NO_MEMORY, NULL);
    conc__dl_stir(crew->w);
}

static int64_t conc__crew_turn(conc__crew *crew) {
    conc__dl_worker *w = crew->w;
    int64_t until = INT64_MAX, paused = INT64_MAX;
    conc__download *dl;
    uint32_t alarms;
    unsigned i;
    conc__dl_tell(w, &until);
    if (conc__dl_is_over(w)) return INT64_MIN;
    alarms = conc__load32(&crew->d->alarms, CONC__ACQUIRE);
    if (alarms != crew->alarms) {
        crew->alarms = alarms;
        for (i = 0; i < w->slots; i++) {
            conc__hand *h = crew->hands[i];
            if (h != NULL && h->dl != NULL && conc__dl_stopped(h->dl) != CONC_OK) (void)conc_event_set(&h->stop);
        }
    }
    while (crew->busy < w->slots && (dl = conc__dl_take(w, &paused)) != NULL) conc__crew_begin(crew, dl);
    return paused < until ? paused : until;
}

/* All are asked to end before any is waited for. */
static void conc__crew_dismiss(conc__crew *crew) {
    unsigned i;
    for (i = 0; i < crew->w->slots; i++) {
        if (crew->hands[i] != NULL && crew->hands[i]->process != NULL)
            (void)conc_channel_close(crew->hands[i]->channel);
    }
    for (i = 0; i < crew->w->slots; i++) {
        if (crew->hands[i] == NULL || crew->hands[i]->process == NULL) continue;
        (void)conc__hand_bury(crew->hands[i], conc_after(5));
    }
}

CONC_CORO(conc__dl_foreman, conc__crew *crew; int64_t until;) {
    CO_BEGIN;
    for (;;) {
        self->until = conc__crew_turn(self->crew);
        if (self->until == INT64_MIN) break;
        CO_TRY_AWAIT(conc__op_stirred(self->crew->w), conc_deadline_at(self->until));
        if (self->co.result == CONC_CANCELED) {
            (void)conc_downloader_cancel(self->crew->d);
        } else if (self->co.result != CONC_OK && self->co.result != CONC_TIMEOUT) {
            CO_AWAIT(conc_op_sleep(0.01)); /* it could not wait so: there was no memory */
        }
    }
    conc__crew_dismiss(self->crew);
    conc__dl_worker_ends(self->crew->w);
    CO_END;
}

conc_result conc__dl_crew_start(conc__dl_worker *w) {
    conc__crew *crew = (conc__crew *)conc__alloc(1, sizeof *crew, "downloads");
    conc__dl_foreman frame = CONC_FRAME_ZERO(conc__dl_foreman);
    conc_task_desc desc;
    conc_result r;
    if (crew == NULL) return CONC_NO_MEMORY;
    w->engine = crew;
    crew->w = w;
    crew->d = w->d;
    crew->random = (uint32_t)conc__port_clock_ns() | 1u;
    crew->hands = (conc__hand **)conc__alloc(w->slots, sizeof *crew->hands, "downloads");
    memset(&desc, 0, sizeof desc);
    desc.cancel = w->d->desc.cancel;
    frame.crew = crew;
    r = crew->hands == NULL
            ? CONC_NO_MEMORY
            : conc__co_go(CONC_SPAWN_FRAME(w->loop, desc.cancel != NULL ? &desc : NULL, conc__dl_foreman, frame));
    if (r != CONC_OK) conc__dl_crew_free(w);
    return r;
}

void conc__dl_crew_free(conc__dl_worker *w) {
    conc__crew *crew = (conc__crew *)w->engine;
    unsigned i;
    if (crew == NULL) return;
    for (i = 0; i < w->slots && crew->hands != NULL; i++) conc__free(crew->hands[i]);
    conc__free(crew->hands);
    conc__free(crew);
    w->engine = NULL;
}

#endif
