/* ============================================================================================
 * iter: see iter.h.
 * ========================================================================================== */

#include "internal.h"
#include "iter.h"

/* What an iterator that gave 0 ended with. */
static conc_result conc__iter_end(const conc_iter *it) {
    return it->result == CONC_OK ? CONC_CLOSED : it->result;
}

/* ---- one that has ended ------------------------------------------------------------------------- */

static size_t conc__failed_next(conc_iter *self, void *items, size_t n) {
    (void)self;
    (void)items;
    (void)n;
    return 0;
}

/* Never written to: threads share them. */
static conc_iter conc__failed[] = {
#define CONC__FAILED(name, value, text) { conc__failed_next, NULL, 0, name },
    CONC_RESULTS(CONC__FAILED)
#undef CONC__FAILED
};

conc_iter *conc_iter_failed(conc_result r) {
    size_t i;
    for (i = 0; i < sizeof conc__failed / sizeof conc__failed[0]; i++)
        if (conc__failed[i].result == r) return &conc__failed[i];
    return conc_iter_failed(CONC_INVALID);
}

/* Whether it is an iterator of such items (size 0: of any), or one that has failed, which is of any. If not: says why. */
static bool conc__iter_fits(const conc_iter *it, size_t size, const char *what) {
    if (it == NULL) {
        (void)conc__fail(CONC_INVALID, "%s: the iterator is NULL", what);
        return false;
    }
    if (size != 0 && it->item_size != 0 && it->item_size != size) {
        (void)conc__fail(CONC_INVALID, "%s: items of %zu bytes are expected, and the iterator's have %zu", what, size,
                         it->item_size);
        return false;
    }
    return true;
}

/* ---- going through one ------------------------------------------------------------------------------- */

conc_result conc__next_ended(conc_iter *it, const void *item, size_t size) {
    if (!conc__iter_fits(it, size, "conc_next")) return CONC_INVALID;
    if (item == NULL) return conc__fail(CONC_INVALID, "conc_next: nowhere to put the item");
    return conc__iter_end(it);
}

conc_result conc_next_n_bytes(conc_iter *it, void *items, size_t size, size_t n, size_t *done) {
    if (done == NULL) return conc__fail(CONC_INVALID, "conc_next_n: nowhere to put the number of items");
    *done = 0;
    if (!conc__iter_fits(it, size, "conc_next_n")) return CONC_INVALID;
    if (n == 0) return CONC_OK;
    if (items == NULL) return conc__fail(CONC_INVALID, "conc_next_n: nowhere to put the items");
    *done = it->next(it, items, n);
    return *done != 0 ? CONC_OK : conc__iter_end(it);
}

void conc_iter_close(conc_iter *it) {
    if (it != NULL && it->close != NULL) it->close(it);
}

conc__each conc__each_enter(conc_iter *it, size_t size) {
    conc__each each;
    each.iter = it;
    each.ended = false;
    if (!conc__iter_fits(it, size, "CONC_FOREACH")) {
        conc__report(CONC_INVALID, 0, NULL, "%s", conc_error_detail());
        conc_iter_close(it);
        each.iter = NULL;
    }
    if (each.iter != NULL) conc__self()->scopes++;
    return each;
}

void conc__each_leave(conc__each *each) {
    conc_iter *it = each->iter;
    conc_result r;
    if (it == NULL) return;
    each->iter = NULL;
    conc__self()->scopes--;
    r = each->ended ? conc__iter_end(it) : CONC_CLOSED;
    if (r != CONC_CLOSED && r != CONC_CANCELED && r != CONC_TIMEOUT)
        conc__report(r, 0, NULL, "CONC_FOREACH ended early: %s", conc_explain(r));
    conc_iter_close(it);
}

/* ---- sources -------------------------------------------------------------------------------------------- */

static void conc__source_close(conc_iter *self) {
    conc__free(self);
}

/* A source or an adaptor, zeroed; NULL: there is no memory. */
static void *conc__iter_new(size_t struct_size, size_t item_size, size_t (*next)(conc_iter *, void *, size_t),
                            void (*close)(conc_iter *)) {
    conc_iter *it = (conc_iter *)conc__alloc(1, struct_size, "an iterator");
    if (it == NULL) return NULL;
    it->next = next;
    it->close = close;
    it->item_size = item_size;
    return it;
}

typedef struct conc__array_iter {
    conc_iter iter;
    const char *at;
    size_t left;
} conc__array_iter;

static size_t conc__array_next(conc_iter *iter, void *items, size_t n) {
    conc__array_iter *self = (conc__array_iter *)iter;
    if (n > self->left) n = self->left;
    if (n == 0) return 0;
    memcpy(items, self->at, n * iter->item_size);
    self->at += n * iter->item_size;
    self->left -= n;
    return n;
}

conc_iter *conc_iter_array_bytes(const void *items, size_t size, size_t n) {
    conc__array_iter *self;
    if (size == 0 || (items == NULL && n != 0)) {
        return conc_iter_failed(conc__fail(CONC_INVALID, "conc_iter_array: %s",
                                           size == 0 ? "items have at least 1 byte" : "the array is NULL"));
    }
    self = (conc__array_iter *)conc__iter_new(sizeof *self, size, conc__array_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->at = (const char *)items;
    self->left = n;
    return &self->iter;
}

typedef struct conc__range_iter {
    conc_iter iter;
    uint64_t at, step, left; /* two's complement: the sums wrap around where nobody looks any more */
} conc__range_iter;

static size_t conc__range_next(conc_iter *iter, void *items, size_t n) {
    conc__range_iter *self = (conc__range_iter *)iter;
    uint64_t at = self->at, step = self->step;
    uint64_t *to = (uint64_t *)items; /* an int64_t may be written as its unsigned fellow */
    size_t i;
    if (n > self->left) n = (size_t)self->left;
    for (i = 0; i < n; i++) to[i] = at + i * step;
    self->at = at + n * step;
    self->left -= n;
    return n;
}

conc_iter *conc_iter_range(int64_t first, int64_t end, int64_t step) {
    conc__range_iter *self;
    if (step == 0) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_iter_range: the step is 0"));
    self = (conc__range_iter *)conc__iter_new(sizeof *self, sizeof(int64_t), conc__range_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->at = (uint64_t)first;
    self->step = (uint64_t)step;
    if (step > 0 && first < end) self->left = ((uint64_t)end - (uint64_t)first - 1) / (uint64_t)step + 1;
    if (step < 0 && first > end) self->left = ((uint64_t)first - (uint64_t)end - 1) / (0 - (uint64_t)step) + 1;
    return &self->iter;
}

typedef struct conc__queue_iter {
    conc_iter iter;
    conc_queue *queue;
} conc__queue_iter;

static size_t conc__queue_next(conc_iter *iter, void *items, size_t n) {
    conc__queue_iter *self = (conc__queue_iter *)iter;
    size_t done = 0;
    iter->result = conc_queue_get_many_bytes(self->queue, items, iter->item_size, n, &done, CONC_FOREVER);
    return done;
}

conc_iter *conc_iter_queue(conc_queue *q) {
    conc__queue_iter *self;
    if (q == NULL) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_iter_queue: the queue is NULL"));
    self = (conc__queue_iter *)conc__iter_new(sizeof *self, conc_queue_item_size(q), conc__queue_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->queue = q;
    return &self->iter;
}

/* ---- adaptors ---------------------------------------------------------------------------------------------- */

#define CONC__ITER_ROOM 4096 /* bytes an adaptor keeps for what it reads and does not give as it is */

/* What every adaptor begins with. */
typedef struct conc__adaptor {
    conc_iter iter;
    conc_iter *from;
} conc__adaptor;

static void conc__adaptor_close(conc_iter *iter) {
    conc_iter_close(((conc__adaptor *)iter)->from);
    conc__free(iter);
}

/* next() of what it is made of; the end of that is its own. */
static size_t conc__adaptor_pull(conc__adaptor *self, void *items, size_t n) {
    n = self->from->next(self->from, items, n);
    if (n == 0) self->iter.result = conc__iter_end(self->from);
    return n;
}

/* An adaptor of `size` bytes on `*from`, whose items must have `item_size` (0: any). NULL: `*from` is closed, and what stands
 * for it now is to be returned. */
static void *conc__adapt(size_t size, conc_iter **from, size_t item_size, size_t (*next)(conc_iter *, void *, size_t),
                         const char *what) {
    conc_iter *it = *from;
    conc__adaptor *self;
    if (!conc__iter_fits(it, item_size, what)) {
        conc_iter_close(it);
        *from = conc_iter_failed(CONC_INVALID);
        return NULL;
    }
    if (it->item_size == 0) return NULL; /* failed already */
    self = (conc__adaptor *)conc__iter_new(size, it->item_size, next, conc__adaptor_close);
    if (self == NULL) {
        conc_iter_close(it);
        *from = conc_iter_failed(CONC_NO_MEMORY);
        return NULL;
    }
    self->from = it;
    return self;
}

/* How many items of `size` bytes are read at a time. */
static size_t conc__iter_room(size_t size) {
    return size != 0 && size < CONC__ITER_ROOM ? CONC__ITER_ROOM / size : 1;
}

/* `size` bytes and what follows them, at an address for anything; false: that is too much. */
static bool conc__iter_tail(size_t *size, size_t *tail, size_t more) {
    *tail = (*size + 15u) & ~(size_t)15;
    if (more > SIZE_MAX - *tail) {
        (void)conc__fail(CONC_NO_MEMORY, "no memory for an iterator: items of %zu bytes", more);
        return false;
    }
    *size = *tail + more;
    return true;
}

/* A failure that is not one of `it`, which is closed. */
static conc_iter *conc__iter_refuse(conc_iter *it, conc_result r) {
    conc_iter_close(it);
    return conc_iter_failed(r);
}

static size_t conc__borrow_next(conc_iter *iter, void *items, size_t n) {
    return conc__adaptor_pull((conc__adaptor *)iter, items, n);
}

conc_iter *conc_iter_borrow(conc_iter *it) {
    conc__adaptor *self;
    if (!conc__iter_fits(it, 0, "conc_iter_borrow")) return conc_iter_failed(CONC_INVALID);
    if (it->item_size == 0) return it;
    self = (conc__adaptor *)conc__iter_new(sizeof *self, it->item_size, conc__borrow_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->from = it;
    return &self->iter;
}

typedef struct conc__map_iter {
    conc__adaptor base;
    conc_map_fn fn;
    void *arg;
    size_t room;
    void *items; /* as they come; after the struct */
} conc__map_iter;

static size_t conc__map_next(conc_iter *iter, void *items, size_t n) {
    conc__map_iter *self = (conc__map_iter *)iter;
    n = conc__adaptor_pull(&self->base, self->items, n < self->room ? n : self->room);
    if (n != 0) self->fn(self->items, items, n, self->arg);
    return n;
}

conc_iter *conc_map_bytes(conc_iter *it, conc_map_fn fn, size_t in_size, size_t out_size, void *arg) {
    conc__map_iter *self;
    size_t size = sizeof *self, tail, room;
    if (fn == NULL || in_size == 0 || out_size == 0)
        return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_map: %s", fn == NULL ? "no function" : "items of 0 bytes"));
    room = conc__iter_room(in_size);
    if (!conc__iter_tail(&size, &tail, room * in_size)) return conc__iter_refuse(it, CONC_NO_MEMORY);
    self = (conc__map_iter *)conc__adapt(size, &it, in_size, conc__map_next, "conc_map");
    if (self == NULL) return it;
    self->base.iter.item_size = out_size;
    self->fn = fn;
    self->arg = arg;
    self->room = room;
    self->items = (char *)self + tail;
    return &self->base.iter;
}

typedef struct conc__filter_iter {
    conc__adaptor base;
    conc_filter_fn fn;
    void *arg;
} conc__filter_iter;

static size_t conc__filter_next(conc_iter *iter, void *items, size_t n) {
    conc__filter_iter *self = (conc__filter_iter *)iter;
    size_t got;
    while ((got = conc__adaptor_pull(&self->base, items, n)) != 0) {
        got = self->fn(items, got, self->arg);
        if (got != 0) break;
    }
    return got;
}

conc_iter *conc_filter_bytes(conc_iter *it, conc_filter_fn fn, size_t size, void *arg) {
    conc__filter_iter *self;
    if (fn == NULL) return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_filter: no function"));
    self = (conc__filter_iter *)conc__adapt(sizeof *self, &it, size, conc__filter_next, "conc_filter");
    if (self == NULL) return it;
    self->fn = fn;
    self->arg = arg;
    return &self->base.iter;
}

typedef struct conc__take_iter { /* and conc_skip() */
    conc__adaptor base;
    size_t left;
} conc__take_iter;

static size_t conc__take_next(conc_iter *iter, void *items, size_t n) {
    conc__take_iter *self = (conc__take_iter *)iter;
    if (self->left == 0) {
        iter->result = CONC_CLOSED;
        return 0;
    }
    n = conc__adaptor_pull(&self->base, items, n < self->left ? n : self->left);
    self->left -= n;
    return n;
}

static size_t conc__skip_next(conc_iter *iter, void *items, size_t n) {
    conc__take_iter *self = (conc__take_iter *)iter;
    while (self->left != 0) {
        size_t got = conc__adaptor_pull(&self->base, items, n < self->left ? n : self->left);
        if (got == 0) return 0;
        self->left -= got;
    }
    return conc__adaptor_pull(&self->base, items, n);
}

static conc_iter *conc__part(conc_iter *it, size_t n, size_t (*next)(conc_iter *, void *, size_t), const char *what) {
    conc__take_iter *self = (conc__take_iter *)conc__adapt(sizeof *self, &it, 0, next, what);
    if (self == NULL) return it;
    self->left = n;
    return &self->base.iter;
}

conc_iter *conc_take(conc_iter *it, size_t n) {
    return conc__part(it, n, conc__take_next, "conc_take");
}

conc_iter *conc_skip(conc_iter *it, size_t n) {
    return conc__part(it, n, conc__skip_next, "conc_skip");
}

typedef struct conc__chain_iter {
    conc_iter iter;
    size_t at, count;
    conc_iter **its; /* after the struct */
} conc__chain_iter;

static size_t conc__chain_next(conc_iter *iter, void *items, size_t n) {
    conc__chain_iter *self = (conc__chain_iter *)iter;
    while (self->at < self->count) {
        conc_iter *it = self->its[self->at];
        size_t got = it->next(it, items, n);
        if (got != 0) return got;
        iter->result = conc__iter_end(it);
        if (iter->result != CONC_CLOSED) return 0;
        conc_iter_close(it);
        self->at++;
    }
    iter->result = CONC_CLOSED;
    return 0;
}

static void conc__chain_close(conc_iter *iter) {
    conc__chain_iter *self = (conc__chain_iter *)iter;
    for (; self->at < self->count; self->at++) conc_iter_close(self->its[self->at]);
    conc__free(self);
}

conc_iter *conc_chain_n(conc_iter *const *its, size_t n) {
    conc__chain_iter *self = NULL;
    size_t size = sizeof *self, tail = 0, item_size = 0, i;
    conc_result r = CONC_OK;
    if (its == NULL && n != 0) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_chain: the array is NULL"));
    for (i = 0; i < n && r == CONC_OK; i++) {
        if (!conc__iter_fits(its[i], item_size, "conc_chain")) r = CONC_INVALID;
        else if (its[i]->item_size != 0) item_size = its[i]->item_size;
    }
    if (r == CONC_OK && n == 0) return conc_iter_failed(CONC_CLOSED);
    if (r == CONC_OK && item_size == 0) return its[0]; /* all have failed */
    if (r == CONC_OK && (n > SIZE_MAX / sizeof *its || !conc__iter_tail(&size, &tail, n * sizeof *its))) r = CONC_NO_MEMORY;
    if (r == CONC_OK) {
        self = (conc__chain_iter *)conc__iter_new(size, item_size, conc__chain_next, conc__chain_close);
        if (self == NULL) r = CONC_NO_MEMORY;
    }
    if (r != CONC_OK) {
        for (i = 0; i < n; i++) conc_iter_close(its[i]);
        return conc_iter_failed(r);
    }
    self->its = (conc_iter **)(void *)((char *)self + tail);
    self->count = n;
    memcpy(self->its, its, n * sizeof *its);
    return &self->iter;
}

conc_iter *conc_chain(conc_iter *a, conc_iter *b) {
    conc_iter *its[2];
    its[0] = a;
    its[1] = b;
    return conc_chain_n(its, 2);
}

typedef struct conc__zip_iter { /* and conc_enumerate(), which has no b */
    conc__adaptor base;
    conc_iter *b;
    size_t offset_a, size_a, offset_b, size_b;
    size_t room, first, held; /* items of a that are waiting for b */
    char *items_a, *items_b;  /* after the struct */
    uint64_t index;
} conc__zip_iter;

static void conc__zip_put(char *to, size_t size, const char *from, size_t from_size, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) memcpy(to + i * size, from + i * from_size, from_size);
}

static size_t conc__zip_next(conc_iter *iter, void *items, size_t n) {
    conc__zip_iter *self = (conc__zip_iter *)iter;
    char *to = (char *)items;
    if (n > self->room) n = self->room;
    if (self->held == 0) {
        self->first = 0;
        self->held = conc__adaptor_pull(&self->base, self->items_a, n);
        if (self->held == 0) return 0;
    }
    n = self->b->next(self->b, self->items_b, n < self->held ? n : self->held);
    if (n == 0) {
        iter->result = conc__iter_end(self->b);
        return 0;
    }
    memset(to, 0, n * iter->item_size);
    conc__zip_put(to + self->offset_a, iter->item_size, self->items_a + self->first * self->size_a, self->size_a, n);
    conc__zip_put(to + self->offset_b, iter->item_size, self->items_b, self->size_b, n);
    self->first += n;
    self->held -= n;
    return n;
}

static void conc__zip_close(conc_iter *iter) {
    conc_iter_close(((conc__zip_iter *)iter)->b);
    conc__adaptor_close(iter);
}

/* Room for as many items of a and b as fit. */
static size_t conc__zip_room(size_t size_a, size_t size_b) {
    return conc__iter_room(size_a > size_b ? size_a : size_b);
}

conc_iter *conc_zip_bytes(size_t size, conc_iter *a, size_t offset_a, size_t size_a, conc_iter *b, size_t offset_b, size_t size_b) {
    conc__zip_iter *self;
    size_t bytes = sizeof *self, at_a, at_b, room = conc__zip_room(size_a, size_b);
    if (!conc__iter_tail(&bytes, &at_a, room * size_a) || !conc__iter_tail(&bytes, &at_b, room * size_b)) {
        conc_iter_close(b);
        return conc__iter_refuse(a, CONC_NO_MEMORY);
    }
    if (!conc__iter_fits(b, size_b, "conc_zip")) {
        conc_iter_close(b);
        return conc__iter_refuse(a, CONC_INVALID);
    }
    self = (conc__zip_iter *)conc__adapt(bytes, &a, size_a, conc__zip_next, "conc_zip");
    if (self == NULL) {
        conc_iter_close(b);
        return a;
    }
    self->base.iter.close = conc__zip_close;
    self->base.iter.item_size = size;
    self->b = b;
    self->offset_a = offset_a;
    self->size_a = size_a;
    self->offset_b = offset_b;
    self->size_b = size_b;
    self->room = room;
    self->items_a = (char *)self + at_a;
    self->items_b = (char *)self + at_b;
    return &self->base.iter;
}

static size_t conc__enumerate_next(conc_iter *iter, void *items, size_t n) {
    conc__zip_iter *self = (conc__zip_iter *)iter;
    char *to = (char *)items;
    size_t i;
    n = conc__adaptor_pull(&self->base, self->items_a, n < self->room ? n : self->room);
    if (n == 0) return 0;
    memset(to, 0, n * iter->item_size);
    conc__zip_put(to + self->offset_a, iter->item_size, self->items_a, self->size_a, n);
    for (i = 0; i < n; i++) {
        char *index = to + i * iter->item_size + self->offset_b;
        uint64_t x64 = self->index++;
        uint32_t x32 = (uint32_t)x64;
        uint16_t x16 = (uint16_t)x64;
        uint8_t x8 = (uint8_t)x64;
        if (self->size_b == 8) memcpy(index, &x64, 8);
        else if (self->size_b == 4) memcpy(index, &x32, 4);
        else if (self->size_b == 2) memcpy(index, &x16, 2);
        else memcpy(index, &x8, 1);
    }
    return n;
}

conc_iter *conc_enumerate_bytes(size_t size, size_t offset_index, size_t size_index, conc_iter *it, size_t offset_item,
                                size_t size_item, int64_t first) {
    conc__zip_iter *self;
    size_t bytes = sizeof *self, at, room = conc__iter_room(size_item);
    if (size_index != 1 && size_index != 2 && size_index != 4 && size_index != 8)
        return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_enumerate: a number of %zu bytes", size_index));
    if (!conc__iter_tail(&bytes, &at, room * size_item)) return conc__iter_refuse(it, CONC_NO_MEMORY);
    self = (conc__zip_iter *)conc__adapt(bytes, &it, size_item, conc__enumerate_next, "conc_enumerate");
    if (self == NULL) return it;
    self->base.iter.item_size = size;
    self->offset_a = offset_item;
    self->size_a = size_item;
    self->offset_b = offset_index;
    self->size_b = size_index;
    self->room = room;
    self->items_a = (char *)self + at;
    self->index = (uint64_t)first;
    return &self->base.iter;
}

typedef struct conc__batch_iter {
    conc__adaptor base;
    size_t offset_count, offset_items, room;
    conc_result ended; /* CONC_OK: not yet */
} conc__batch_iter;

static size_t conc__batch_next(conc_iter *iter, void *items, size_t n) {
    conc__batch_iter *self = (conc__batch_iter *)iter;
    size_t done;
    for (done = 0; done < n && self->ended == CONC_OK; done++) {
        char *to = (char *)items + done * iter->item_size;
        size_t count = 0, got = 0;
        memset(to, 0, iter->item_size);
        do {
            got = conc__adaptor_pull(&self->base, to + self->offset_items + count * self->base.from->item_size, self->room - count);
            count += got;
        } while (got != 0 && count < self->room);
        if (got == 0) self->ended = conc__iter_end(self->base.from);
        if (count == 0) break;
        memcpy(to + self->offset_count, &count, sizeof count);
    }
    if (done == 0) iter->result = self->ended;
    return done;
}

conc_iter *conc_batch_bytes(size_t size, size_t offset_count, size_t size_count, size_t offset_items, size_t size_items,
                            size_t size_item, conc_iter *it) {
    conc__batch_iter *self;
    if (size_count != sizeof(size_t))
        return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_batch: the count is not a size_t"));
    self = (conc__batch_iter *)conc__adapt(sizeof *self, &it, size_item, conc__batch_next, "conc_batch");
    if (self == NULL) return it;
    self->base.iter.item_size = size;
    self->offset_count = offset_count;
    self->offset_items = offset_items;
    self->room = size_items / size_item;
    return &self->base.iter;
}

/* ---- to the end ------------------------------------------------------------------------------------------------ */

/* Room for a batch: on the stack, unless a single item is larger than that. */
typedef struct conc__scratch {
    union {
        char bytes[CONC__ITER_ROOM];
        void *p;
        int64_t i;
        double d;
        long double ld;
    } here;
    void *items;
    size_t room;
} conc__scratch;

/* Checks `it`, finds room for its items. CONC_OK; if not, `it` is closed and this is the answer. */
static conc_result conc__scratch_begin(conc__scratch *s, conc_iter *it, size_t size, const char *what) {
    s->items = NULL;
    if (!conc__iter_fits(it, size, what)) {
        conc_iter_close(it);
        return CONC_INVALID;
    }
    s->room = it->item_size != 0 ? conc__iter_room(it->item_size) : 1;
    s->items = it->item_size <= sizeof s->here ? s->here.bytes : conc__alloc(1, it->item_size, "an item");
    if (s->items == NULL) {
        conc_iter_close(it);
        return CONC_NO_MEMORY;
    }
    return CONC_OK;
}

/* Closes `it`, which has ended, and says how. */
static conc_result conc__scratch_end(conc__scratch *s, conc_iter *it) {
    conc_result r = conc__iter_end(it);
    if (s->items != s->here.bytes) conc__free(s->items);
    conc_iter_close(it);
    return r == CONC_CLOSED ? CONC_OK : r;
}

conc_result conc_fold_bytes(conc_iter *it, conc_fold_fn fn, size_t size, void *acc, void *arg) {
    conc__scratch s;
    size_t n;
    conc_result r = conc__scratch_begin(&s, it, size, "conc_fold");
    if (r != CONC_OK) return r;
    if (fn == NULL || acc == NULL) {
        (void)conc__scratch_end(&s, it);
        return conc__fail(CONC_INVALID, "conc_fold: %s", fn == NULL ? "no function" : "nowhere to put the sum");
    }
    while ((n = it->next(it, s.items, s.room)) != 0) fn(acc, s.items, n, arg);
    return conc__scratch_end(&s, it);
}

conc_result conc_count(conc_iter *it, size_t *count) {
    conc__scratch s;
    size_t n, all = 0;
    conc_result r = conc__scratch_begin(&s, it, 0, "conc_count");
    if (r != CONC_OK) return r;
    if (count == NULL) {
        (void)conc__scratch_end(&s, it);
        return conc__fail(CONC_INVALID, "conc_count: nowhere to put the number");
    }
    while ((n = it->next(it, s.items, s.room)) != 0) all += n;
    *count = all;
    return conc__scratch_end(&s, it);
}

conc_result conc_any_bytes(conc_iter *it, conc_filter_fn fn, size_t size, void *arg, bool wanted, bool *answer) {
    conc__scratch s;
    conc_result r = conc__scratch_begin(&s, it, size, "conc_any, conc_all");
    bool found = false;
    if (r != CONC_OK) return r;
    if (fn == NULL || answer == NULL) {
        (void)conc__scratch_end(&s, it);
        return conc__fail(CONC_INVALID, "conc_any, conc_all: %s", fn == NULL ? "no function" : "nowhere to put the answer");
    }
    while (!found && it->next(it, s.items, 1) != 0) found = (fn(s.items, 1, arg) != 0) == wanted;
    *answer = found == wanted;
    r = conc__scratch_end(&s, it);
    return found ? CONC_OK : r;
}

conc_result conc_collect_into_bytes(conc_iter *it, void *items, size_t size, size_t room, size_t *count) {
    size_t done = 0, got = 1;
    conc_result r;
    if (!conc__iter_fits(it, size, "conc_collect_into")) {
        conc_iter_close(it);
        return CONC_INVALID;
    }
    if (count == NULL || (items == NULL && room != 0)) {
        conc_iter_close(it);
        return conc__fail(CONC_INVALID, "conc_collect_into: nowhere to put %s", count == NULL ? "the number" : "the items");
    }
    while (done < room && got != 0) {
        got = it->next(it, (char *)items + done * size, room - done);
        done += got;
    }
    *count = done;
    r = got != 0 ? CONC_FULL : conc__iter_end(it);
    conc_iter_close(it);
    return r == CONC_CLOSED ? CONC_OK : r;
}

conc_result conc_collect_bytes(conc_iter *it, void *items, size_t size, size_t *count) {
    size_t done = 0, room = 0, got = 1;
    char *all = NULL;
    conc_result r = CONC_OK;
    if (items != NULL) memcpy(items, &all, sizeof all);
    if (count != NULL) *count = 0;
    if (!conc__iter_fits(it, size, "conc_collect")) {
        conc_iter_close(it);
        return CONC_INVALID;
    }
    if (count == NULL || items == NULL) {
        conc_iter_close(it);
        return conc__fail(CONC_INVALID, "conc_collect: nowhere to put %s", count == NULL ? "the number" : "the items");
    }
    while (got != 0) {
        if (done == room) {
            size_t more = room == 0 ? conc__iter_room(size) / 8 + 1 : room <= SIZE_MAX / 2 ? room * 2 : SIZE_MAX;
            char *p = (char *)conc__realloc(all, more, size, "the items of an iterator");
            if (p == NULL) {
                r = CONC_NO_MEMORY;
                break;
            }
            all = p;
            room = more;
        }
        got = it->next(it, all + done * size, room - done);
        done += got;
    }
    if (r == CONC_OK) r = conc__iter_end(it);
    conc_iter_close(it);
    if (done == 0) {
        conc__free(all);
        all = NULL;
    }
    memcpy(items, &all, sizeof all);
    *count = done;
    return r == CONC_CLOSED ? CONC_OK : r;
}

void conc_free_items(void *items) {
    conc__free(items);
}
