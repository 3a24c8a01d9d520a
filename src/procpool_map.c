/* ============================================================================================
 * procpool_map: the process pool's map and imap: many small things that go over in chunks. See procpool.h.
 * ========================================================================================== */

#include "procpool_ring.h"

#define CONC__PP_CHUNK_BYTES ((size_t)1 << 20) /* of a chunk whose size is chosen, at most */
#define CONC__PP_PARTS 64u                     /* of a map, for each worker, that have been handed in and have not ended */

static conc_fn conc__pp_map_task(conc_pool_map_fn fn) {
    conc_fn task;
    memcpy(&task, &fn, sizeof task); /* what it is called by is known where it is called */
    return task;
}

conc_result conc_procpool_register_map(const char *name, conc_pool_map_fn fn) {
    return conc_process_register(name, conc__pp_map_task(fn));
}

/* `n` items may go over together; 0: not even one, with the error recorded. */
static size_t conc__pp_chunk(const conc_procpool *pool, const conc__pp_map *map, size_t n, const char *call) {
    size_t max = conc_procpool_desc_of(pool)->size_max, each, fixed = sizeof(conc__pp_map_head) + 64;
    if (map->in_size > max || map->out_size > max - map->in_size || map->arg_size > max - map->in_size - map->out_size) {
        (void)conc__fail(CONC_INVALID, "%s: items and argument of more than the pool's size_max of %zu bytes", call, max);
        return 0;
    }
    each = map->in_size + map->out_size;
    max -= map->arg_size;
    max = max > fixed ? max - fixed : 0; /* (its ends are rounded up) */
    if (max < each) max = each;
    if (n > max / each) n = max / each;
    return n < INT32_MAX ? n : INT32_MAX;
}

/* ---- map ---------------------------------------------------------------------------------------------------------- */

typedef struct conc__pp_mapping {
    conc__pp_map map; /* first */
    conc_procpool *pool;
    const char *in;
    char *out;
    size_t n, chunk;
    uint64_t fn;
    int64_t limit;
    conc_event ended;
    conc__lock lock;  /* guards all below */
    size_t next;      /* the first that has not been handed in */
    size_t left;      /* parts that have not ended */
    size_t failed;    /* the first that has failed, and how */
    conc_result result;
    int code;
    char *text;
} conc__pp_mapping;

/* The next part; false: there is none. The lock is held. */
static bool conc__pp_next_part(conc__pp_mapping *m, conc__pp_some *some) {
    conc__pp_item *item = &some->item;
    size_t n = m->n - m->next < m->chunk ? m->n - m->next : m->chunk;
    if (n == 0) return false;
    memset(some, 0, sizeof *some);
    item->pool = m->pool;
    item->map = &m->map;
    item->fn = m->fn;
    item->limit = m->limit;
    item->count = (uint32_t)n;
    some->first = m->next;
    some->in = m->in + m->next * m->map.in_size;
    some->out = m->out + m->next * m->map.out_size;
    m->next += n;
    return true;
}

static void conc__pp_part_ended(conc__pp_item *item) {
    conc__pp_mapping *m = (conc__pp_mapping *)(void *)(uintptr_t)item->map;
    conc__pp_some *some = (conc__pp_some *)(void *)item;
    char *text = item->text;
    bool more, last = false;
    item->text = NULL;
    conc__pp_item_clear(item);
    conc__lock_take(&m->lock);
    if (item->result != CONC_OK && some->failed < m->failed) {
        char *other = m->text;
        m->failed = some->failed;
        m->result = item->result;
        m->code = item->code;
        m->text = text;
        text = other;
    }
    more = conc__pp_next_part(m, some);
    if (!more) last = --m->left == 0;
    conc__lock_give(&m->lock);
    conc__free(text);
    if (more) (void)conc__procpool_add(m->pool, item, true);
    if (last) (void)conc_event_set(&m->ended); /* the last touch */
}

static bool conc__pp_mapping_over(void *m) {
    return conc_event_is_set(&((conc__pp_mapping *)m)->ended);
}

/* Waits for all; false: the caller was canceled, and the rest has not begun. */
static bool conc__pp_mapping_wait(conc__pp_mapping *m, conc__pp_some *parts, size_t n) {
    bool canceled = false;
    size_t i;
    conc_op op;
    if (!conc__procpool_watch(m->pool, conc__pp_mapping_over, m)) canceled = conc_event_wait(&m->ended, CONC_FOREVER) == CONC_CANCELED;
    if (canceled) {
        conc__lock_take(&m->lock);
        m->next = m->n;
        conc__lock_give(&m->lock);
        for (i = 0; i < n; i++) {
            conc__pp_item *part = &parts[i].item;
            conc__procpool_cancel(m->pool, &part, 1, true);
        }
    }
    op = conc_op_event(&m->ended);
    (void)conc__wait_uncanceled(&op, CONC_FOREVER);
    return !canceled;
}

conc_result conc_procpool_map_bytes(conc_procpool *pool, const void *in, size_t in_size, void *out, size_t out_size, size_t n,
                                    conc_pool_map_fn fn, const void *arg, size_t arg_size, size_t chunk) {
    conc_result r = conc__procpool_wrong(pool, "conc_procpool_map");
    conc__pp_mapping *m;
    conc__pp_some *parts = NULL;
    conc__pp_item *first = NULL;
    size_t count, i;
    bool all;
    if (r != CONC_OK) return r;
    if (fn == NULL || in_size == 0 || out_size == 0 || (n != 0 && (in == NULL || out == NULL)) || (arg == NULL && arg_size != 0)) {
        return conc__fail(CONC_INVALID, "conc_procpool_map: no function, no items or no argument");
    }
    if (n == 0) return CONC_OK;
    m = (conc__pp_mapping *)conc__alloc(1, sizeof *m, "a map");
    if (m == NULL) return CONC_NO_MEMORY;
    m->map.arg = arg;
    m->map.arg_size = arg_size;
    m->map.in_size = in_size;
    m->map.out_size = out_size;
    m->map.ended = conc__pp_part_ended;
    m->pool = pool;
    m->in = (const char *)in;
    m->out = (char *)out;
    m->n = n;
    m->failed = SIZE_MAX;
    m->limit = conc__procpool_limit(pool);
    m->fn = conc__procpool_function(pool, conc__pp_map_task(fn), "conc_procpool_map");
    if (chunk == 0) {
        size_t most = CONC__PP_CHUNK_BYTES / (in_size + out_size);
        chunk = (n - 1) / (4u * conc__procpool_width(pool)) + 1;
        if (chunk > most) chunk = most > 0 ? most : 1;
    }
    m->chunk = m->fn != 0 ? conc__pp_chunk(pool, &m->map, chunk, "conc_procpool_map") : 0;
    count = m->chunk != 0 ? (n - 1) / m->chunk + 1 : 0;
    if (count > conc__procpool_width(pool) * CONC__PP_PARTS) count = conc__procpool_width(pool) * CONC__PP_PARTS;
    if (m->chunk != 0) parts = (conc__pp_some *)conc__alloc(count, sizeof *parts, "the parts of a map");
    if (parts == NULL) {
        conc__free(m);
        return conc_error_result();
    }
    for (i = 0; i < count; i++) (void)conc__pp_next_part(m, &parts[i]);
    for (i = count; i != 0; i--) {
        parts[i - 1].item.next = first;
        first = &parts[i - 1].item;
    }
    m->left = count;
    r = conc__procpool_add(pool, first, false);
    if (r == CONC_OK) {
        all = conc__pp_mapping_wait(m, parts, count);
        r = all ? m->result : CONC_CANCELED;
        if (r != CONC_OK && r != CONC_CANCELED) {
            r = conc__fail(r, "conc_procpool_map: item %zu: %s", m->failed, m->text != NULL ? m->text : conc_strerror(r));
        }
        conc__lock_take(&m->lock); /* who has set the event has let go of it */
        conc__lock_give(&m->lock);
    }
    conc__free(m->text);
    conc__free(parts);
    conc__free(m);
    return r;
}

/* ---- imap --------------------------------------------------------------------------------------------------------------- */

typedef struct conc__pp_imap conc__pp_imap;
typedef struct conc__pp_part {
    conc__pp_some some; /* first */
    conc__pp_imap *of;
    struct conc__pp_part *next, *prev; /* in their order; or among the free. The asking thread's */
    struct conc__pp_part *next_done;   /* guarded by the lock, as is the next */
    bool done;
    size_t begin, count, given;        /* the asking thread's */
    char *in, *out;
} conc__pp_part;

struct conc__pp_imap {
    conc_iter iter;
    conc__pp_map map;
    conc_procpool *pool;
    conc_iter *from;
    uint64_t fn;
    size_t window, chunk;
    bool in_order, over;
    uint32_t generation;
    conc__pp_part *first, *last, *free;
    size_t taken, count;     /* items: that have been taken and not given; in all */
    conc_result from_end;    /* what `from` ended with */
    conc_event event;        /* auto reset: set when `awaited` is done */
    conc__lock lock;         /* guards all below */
    conc__pp_part *done, *done_last; /* in the order in which they ended; not in_order */
    size_t running;
    bool awaited;
};

static void conc__pp_imap_ended(conc__pp_item *item) {
    conc__pp_part *part = (conc__pp_part *)(void *)item;
    conc__pp_imap *self = part->of;
    bool wake;
    conc__lock_take(&self->lock);
    part->done = true;
    part->next_done = NULL;
    if (self->done == NULL) {
        self->done = part;
    } else {
        self->done_last->next_done = part;
    }
    self->done_last = part;
    self->running--;
    wake = self->awaited;
    self->awaited = false;
    if (wake) (void)conc_event_set(&self->event); /* within the lock: whoever closes it takes that once more */
    conc__lock_give(&self->lock);
}

static conc__pp_part *conc__pp_part_new(conc__pp_imap *self) {
    conc__pp_part *part = self->free;
    size_t in_at = conc__pp_align(sizeof *part, 16), out_at = conc__pp_align(in_at + self->chunk * self->map.in_size, 16);
    if (part != NULL) {
        self->free = part->next;
        memset(&part->some, 0, sizeof part->some);
        part->done = false;
        part->given = 0;
    } else {
        part = (conc__pp_part *)conc__alloc(1, out_at + self->chunk * self->map.out_size, "items of conc_procpool_imap");
        if (part == NULL) return NULL;
    }
    part->of = self;
    part->in = (char *)part + in_at;
    part->out = (char *)part + out_at;
    return part;
}

static void conc__pp_part_drop(conc__pp_imap *self, conc__pp_part *part) {
    if (part->prev == NULL) self->first = part->next;
    else part->prev->next = part->next;
    if (part->next == NULL) self->last = part->prev;
    else part->next->prev = part->prev;
    conc__pp_item_clear(&part->some.item);
    part->next = self->free;
    self->free = part;
}

static void conc__pp_imap_hand_in(conc__pp_imap *self, conc__pp_part *part) {
    conc__pp_item *item = &part->some.item;
    conc_result r;
    part->begin = self->count;
    self->count += part->count;
    self->taken += part->count;
    part->next = NULL;
    part->prev = self->last;
    if (self->last == NULL) self->first = part;
    else self->last->next = part;
    self->last = part;
    memset(part->out, 0, part->count * self->map.out_size);
    item->pool = self->pool;
    item->map = &self->map;
    item->fn = self->fn;
    item->limit = conc__procpool_limit(self->pool);
    item->count = (uint32_t)part->count;
    part->some.first = part->begin;
    part->some.in = part->in;
    part->some.out = part->out;
    conc__lock_take(&self->lock);
    self->running++;
    conc__lock_give(&self->lock);
    r = conc__procpool_add(self->pool, item, false);
    if (r != CONC_OK) {
        item->result = r;
        part->some.failed = part->begin;
        conc__pp_imap_ended(item);
    }
}

/* Takes items and hands them in, as many as the window lets. */
static void conc__pp_imap_fill(conc__pp_imap *self) {
    while (self->window - self->taken >= self->chunk && self->from_end == CONC_OK) {
        conc__pp_part *part = conc__pp_part_new(self);
        if (part == NULL) {
            if (self->taken == 0) self->from_end = CONC_NO_MEMORY;
            return;
        }
        part->count = 0;
        while (part->count < self->chunk && self->from_end == CONC_OK) {
            size_t n = self->from->next(self->from, part->in + part->count * self->map.in_size, self->chunk - part->count);
            part->count += n;
            if (n == 0) self->from_end = self->from->result == CONC_OK ? CONC_CLOSED : self->from->result;
        }
        if (part->count != 0) {
            conc__pp_imap_hand_in(self, part);
        } else {
            part->next = self->free;
            self->free = part;
        }
    }
}

/* The next to be given, or NULL. The lock is held. */
static conc__pp_part *conc__pp_imap_ready(const conc__pp_imap *self) {
    if (!self->in_order) return self->done;
    return self->first != NULL && self->first->done ? self->first : NULL;
}

static bool conc__pp_imap_is_ready(void *arg) {
    conc__pp_imap *self = (conc__pp_imap *)arg;
    bool ready;
    conc__lock_take(&self->lock);
    ready = conc__pp_imap_ready(self) != NULL || self->running == 0;
    conc__lock_give(&self->lock);
    return ready;
}

static conc_result conc__pp_imap_await(conc__pp_imap *self, conc__pp_part **ready) {
    if (self->first == NULL) return self->from_end;
    for (;;) {
        conc_result r;
        conc__lock_take(&self->lock);
        *ready = conc__pp_imap_ready(self);
        conc__lock_give(&self->lock);
        if (*ready != NULL) return CONC_OK;
        if (conc__procpool_watch(self->pool, conc__pp_imap_is_ready, self)) continue;
        conc__lock_take(&self->lock);
        self->awaited = conc__pp_imap_ready(self) == NULL;
        r = self->awaited ? CONC_PENDING : CONC_OK;
        conc__lock_give(&self->lock);
        if (r == CONC_PENDING && conc_event_wait(&self->event, CONC_FOREVER) == CONC_CANCELED) return CONC_CANCELED;
    }
}

static void conc__pp_imap_stop(conc__pp_imap *self) {
    conc__pp_part *part;
    for (part = self->first; part != NULL; part = part->next) {
        conc__pp_item *item = &part->some.item;
        conc__procpool_cancel(self->pool, &item, 1, false);
    }
}

static size_t conc__pp_imap_fails(conc__pp_imap *self, conc_result r, const conc__pp_part *part) {
    self->over = true;
    self->iter.result = r;
    conc__pp_imap_stop(self);
    if (part != NULL && r != CONC_CANCELED) {
        (void)conc__fail(r, "conc_procpool_imap: item %zu: %s", part->some.failed, part->some.item.text != NULL ? part->some.item.text : conc_strerror(r));
    }
    return 0;
}

/* Items of `part` that are to be given, still. */
static size_t conc__pp_part_left(const conc__pp_part *part) {
    size_t good = part->some.item.result == CONC_OK ? part->count : part->some.failed - part->begin;
    return good - part->given;
}

static size_t conc__pp_imap_next(conc_iter *iter, void *items, size_t n) {
    conc__pp_imap *self = (conc__pp_imap *)(void *)iter;
    conc__pp_part *part = NULL;
    size_t given = 0, left;
    conc_result r;
    if (self->over) return 0;
    if (self->generation != conc__fork_generation()) {
        self->over = true;
        iter->result = conc__fail(CONC_FORKED, "conc_procpool_imap: the iterator was made before fork()");
        return 0;
    }
    while (given == 0) {
        conc__pp_imap_fill(self);
        r = conc__pp_imap_await(self, &part);
        if (r != CONC_OK) return conc__pp_imap_fails(self, r, NULL);
        left = conc__pp_part_left(part);
        if (left == 0 && part->some.item.result != CONC_OK) return conc__pp_imap_fails(self, part->some.item.result, part);
        given = left < n ? left : n;
        memcpy(items, part->out + part->given * iter->item_size, given * iter->item_size);
        part->given += given;
        self->taken -= given;
        if (part->given == part->count) {
            if (!self->in_order) {
                conc__lock_take(&self->lock);
                self->done = part->next_done;
                conc__lock_give(&self->lock);
            }
            conc__pp_part_drop(self, part);
        }
    }
    return given;
}

static void conc__pp_imap_close(conc_iter *iter) {
    conc__pp_imap *self = (conc__pp_imap *)(void *)iter;
    bool forked = self->generation != conc__fork_generation();
    if (!forked) conc__pp_imap_stop(self);
    while (!forked) {
        conc_op op = conc_op_event(&self->event);
        bool over;
        conc__lock_take(&self->lock);
        over = self->running == 0;
        self->awaited = !over;
        conc__lock_give(&self->lock);
        if (over) break;
        (void)conc__wait_uncanceled(&op, CONC_FOREVER);
    }
    while (self->first != NULL) conc__pp_part_drop(self, self->first);
    conc_iter_close(self->from);
    if (!forked) conc__procpool_iterated(self->pool, false);
    while (self->free != NULL) {
        conc__pp_part *part = self->free;
        self->free = part->next;
        conc__free(part);
    }
    conc__free((void *)(uintptr_t)self->map.arg);
    conc__free(self);
}

conc_iter *conc_procpool_imap_bytes(conc_procpool *pool, conc_iter *it, conc_pool_map_fn fn, size_t out_size, size_t window,
                                    const void *arg, size_t arg_size, size_t chunk, bool in_order) {
    conc__pp_imap *self = NULL;
    conc_result r;
    if (it == NULL) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_procpool_imap: the iterator is NULL"));
    r = conc__procpool_wrong(pool, "conc_procpool_imap");
    if (r == CONC_OK && (fn == NULL || out_size == 0 || (arg == NULL && arg_size != 0))) {
        r = conc__fail(CONC_INVALID, "conc_procpool_imap: no function, no argument, or items of 0 bytes");
    }
    if (r == CONC_OK && it->item_size == 0) return it; /* failed already */
    if (r == CONC_OK) self = (conc__pp_imap *)conc__alloc(1, sizeof *self, "an iterator");
    if (self != NULL) {
        self->map.in_size = it->item_size;
        self->map.out_size = out_size;
        self->map.arg_size = arg_size;
        self->fn = conc__procpool_function(pool, conc__pp_map_task(fn), "conc_procpool_imap");
        if (window == 0) window = 4u * conc__procpool_width(pool) * (chunk != 0 ? chunk : 1);
        if (chunk == 0) chunk = 1;
        if (chunk > window) chunk = window;
        self->chunk = self->fn != 0 ? conc__pp_chunk(pool, &self->map, chunk, "conc_procpool_imap") : 0;
        if (self->chunk != 0 && arg_size != 0) {
            void *copy = conc__alloc(1, arg_size, "a map's argument");
            if (copy != NULL) memcpy(copy, arg, arg_size);
            self->map.arg = copy;
        }
    }
    if (self == NULL || self->chunk == 0 || (arg_size != 0 && self->map.arg == NULL)) {
        r = conc_error_result();
        conc__free(self);
        conc_iter_close(it);
        return conc_iter_failed(r);
    }
    self->iter.next = conc__pp_imap_next;
    self->iter.close = conc__pp_imap_close;
    self->iter.item_size = out_size;
    self->map.stops = true;
    self->map.ended = conc__pp_imap_ended;
    self->pool = pool;
    self->from = it;
    self->window = window;
    self->in_order = in_order;
    self->generation = conc__fork_generation();
    self->event.auto_reset = true;
    conc__procpool_iterated(pool, true);
    return &self->iter;
}
