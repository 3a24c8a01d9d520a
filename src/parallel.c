/* ============================================================================================
 * parallel: the algorithms over fork and join: loops, reduce, map, sort; and the map over an iterator, whose items
 * are tasks in the pool's queue. See parallel.h.
 * ========================================================================================== */

#include "internal.h"

/* ---- what the jobs of one call share -------------------------------------------------------------- */

typedef struct conc__work {
    const char *what;     /* for messages: "conc_pool_for: the body" */
    bool one_by_one;      /* what fails is a number, not a range */
    conc_cancel *callers; /* the token that was current in the caller */
    conc_cancel own;      /* fired at the first failure; its parent is the caller's */
    conc_cancel *token;   /* current while a body runs: `own`, or, if the chain is as long as it may be, the caller's */
    uint32_t over;        /* atomic. 1: nothing is begun any more. Publishes nothing: what follows is written by whoever made it
                             1, and read when all jobs have been joined */
    conc_result result;
    int code;
    size_t a, b;          /* where */
} conc__work;

static void conc__work_init(conc__work *w, const char *what, bool one_by_one) {
    memset(w, 0, sizeof *w);
    w->what = what;
    w->one_by_one = one_by_one;
    w->callers = conc_cancel_current();
    w->own.parent = w->callers;
    w->token = conc__tokens_count(w->callers) < CONC_CANCEL_DEPTH ? &w->own : w->callers;
}

static bool conc__work_is_over(conc__work *w) {
    return conc__load32(&w->over, CONC__RELAXED) != 0;
}

/* The first that calls it decides how the whole ends. */
static void conc__work_stop(conc__work *w, conc_result r, int code, size_t a, size_t b) {
    uint32_t not_yet = 0;
    if (conc__work_is_over(w) || !conc__cas32(&w->over, &not_yet, 1, CONC__RELAXED)) return;
    w->result = r;
    w->code = code;
    w->a = a;
    w->b = b;
    (void)conc_cancel_fire(&w->own);
}

/* Whether another piece may begin. */
static bool conc__work_goes_on(conc__work *w) {
    if (conc__work_is_over(w)) return false;
    if (CONC__LIKELY(!conc_cancel_fired(w->token))) return true;
    conc__work_stop(w, CONC_CANCELED, 0, 0, 0);
    return false;
}

/* A body returned `code`. What one returns after the caller was canceled is not an error of its own. */
static void conc__work_code(conc__work *w, int code, size_t a, size_t b) {
    if (CONC__LIKELY(code == 0)) return;
    conc__work_stop(w, conc_cancel_fired(w->callers) ? CONC_CANCELED : CONC_FAILED, code, a, b);
}

/* Runs the root in the pool; says how it all ended, in the words of the caller's thread. */
static conc_result conc__work_run(conc__work *w, conc_pool *pool, conc_fn root, void *arg) {
    conc_result r = conc_pool_call(pool, root, arg, NULL);
    if (r != CONC_OK || !conc__work_is_over(w)) return r;
    if (w->result == CONC_NO_MEMORY) return conc__fail(CONC_NO_MEMORY, "%s: no memory for a part", w->what);
    if (w->result != CONC_FAILED) return w->result;
    if (w->one_by_one) return conc__fail(CONC_FAILED, "%s %zu returned %d", w->what, w->a, w->code);
    return conc__fail(CONC_FAILED, "%s returned %d for [%zu, %zu)", w->what, w->code, w->a, w->b);
}

/* How many threads the pool may have. */
static size_t conc__pool_width(const conc_pool *pool) {
    const conc_pool_desc *desc = conc_pool_desc_of(pool);
    return desc != NULL && desc->max_threads != 0 ? desc->max_threads : 1;
}

/* ---- loops ----------------------------------------------------------------------------------------- */

/* [first, end) in `pieces` of `grain`, the last of which may be smaller. */
typedef struct conc__pieces {
    size_t first, end, grain, count;
} conc__pieces;

/* As many pieces as keep all threads busy to the end, when some are slower than others, and no more. */
static void conc__pieces_init(conc__pieces *p, const conc_pool *pool, size_t first, size_t end, size_t grain) {
    size_t n = end - first;
    if (grain == 0) grain = n / (conc__pool_width(pool) * 32);
    if (grain == 0) grain = 1;
    p->first = first;
    p->end = end;
    p->grain = grain;
    p->count = (n - 1) / grain + 1;
}

static size_t conc__piece_begin(const conc__pieces *p, size_t i) {
    return p->first + i * p->grain;
}

static size_t conc__piece_end(const conc__pieces *p, size_t a) {
    return p->end - a > p->grain ? a + p->grain : p->end;
}

typedef struct conc__for {
    conc__work work;
    conc__pieces pieces;
    conc_range_fn body;
    void *arg;
} conc__for;

typedef struct conc__for_part { /* the pieces [i, j) */
    conc_job job;
    conc__for *of;
    size_t i, j;
} conc__for_part;

static void conc__for_piece(conc__for *f, size_t i) {
    size_t a = conc__piece_begin(&f->pieces, i), b = conc__piece_end(&f->pieces, a);
    conc__agent *me;
    conc_cancel *before;
    int code;
    if (!conc__work_goes_on(&f->work)) return;
    me = conc__self_fast();
    before = me->cancel;
    me->cancel = f->work.token;
    code = f->body(a, b, f->arg);
    me->cancel = before;
    conc__work_code(&f->work, code, a, b);
}

static int conc__for_run(void *arg);

static void conc__for_split(conc__for *f, size_t i, size_t j) {
    conc__for_part right;
    if (j - i == 1) {
        conc__for_piece(f, i);
        return;
    }
    if (conc__work_is_over(&f->work)) return;
    right.of = f;
    right.i = i + (j - i) / 2;
    right.j = j;
    conc_job_fork(&right.job, conc__for_run, &right);
    conc__for_split(f, i, right.i);
    (void)conc_job_join(&right.job);
}

static int conc__for_run(void *arg) {
    conc__for_part *part = (conc__for_part *)arg;
    conc__for_split(part->of, part->i, part->j);
    return 0;
}

/* Runs `f`, whose work has been begun. first < end. */
static conc_result conc__for_all(conc__for *f, conc_pool *pool, size_t first, size_t end, size_t grain, conc_range_fn body,
                                 void *arg) {
    conc__for_part root;
    conc__pieces_init(&f->pieces, pool, first, end, grain);
    f->body = body;
    f->arg = arg;
    root.of = f;
    root.i = 0;
    root.j = f->pieces.count;
    return conc__work_run(&f->work, pool, conc__for_run, &root);
}

conc_result conc_pool_for(conc_pool *pool, size_t first, size_t end, size_t grain, conc_range_fn body, void *arg) {
    conc__for f;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_for: no pool");
    if (body == NULL) return conc__fail(CONC_INVALID, "conc_pool_for: no body");
    if (first >= end) return CONC_OK;
    conc__work_init(&f.work, "conc_pool_for: the body", false);
    return conc__for_all(&f, pool, first, end, grain, body, arg);
}

static int conc__invoke_body(size_t a, size_t b, void *arg) {
    const conc_call *call = (const conc_call *)arg + a;
    (void)b;
    return call->fn(call->arg);
}

conc_result conc_pool_invoke(conc_pool *pool, const conc_call *calls, size_t n) {
    conc__for f;
    size_t i;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_invoke: no pool");
    if (n == 0) return CONC_OK;
    if (calls == NULL) return conc__fail(CONC_INVALID, "conc_pool_invoke: no calls");
    for (i = 0; i < n; i++)
        if (calls[i].fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_invoke: call %zu has no function", i);
    conc__work_init(&f.work, "conc_pool_invoke: call", true);
    return conc__for_all(&f, pool, 0, n, 1, conc__invoke_body, (void *)(uintptr_t)calls);
}

typedef struct conc__map_work {
    conc__for loop;
    const char *in;
    char *out;
    size_t in_size, out_size;
    conc_pool_map_fn fn;
    void *arg;
} conc__map_work;

/* Each item is a call of its own: none begins after a failure. */
static int conc__map_body(size_t a, size_t b, void *arg) {
    conc__map_work *m = (conc__map_work *)arg;
    const char *in = m->in + a * m->in_size;
    char *out = m->out + a * m->out_size;
    for (; a != b && conc__work_goes_on(&m->loop.work); a++, in += m->in_size, out += m->out_size) {
        int code = m->fn(in, out, m->arg);
        if (CONC__UNLIKELY(code != 0)) {
            conc__work_code(&m->loop.work, code, a, a + 1);
            return code;
        }
    }
    return 0;
}

conc_result conc_pool_map_bytes(conc_pool *pool, const void *in, size_t in_size, void *out, size_t out_size, size_t n,
                                conc_pool_map_fn fn, void *arg) {
    conc__map_work m;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_map: no pool");
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_map: no function");
    if (n == 0) return CONC_OK;
    if (in == NULL || out == NULL) return conc__fail(CONC_INVALID, "conc_pool_map: the array is NULL");
    if (in_size == 0 || out_size == 0) return conc__fail(CONC_INVALID, "conc_pool_map: items of 0 bytes");
    m.in = (const char *)in;
    m.out = (char *)out;
    m.in_size = in_size;
    m.out_size = out_size;
    m.fn = fn;
    m.arg = arg;
    conc__work_init(&m.loop.work, "conc_pool_map: the function for item", true);
    return conc__for_all(&m.loop, pool, 0, n, 0, conc__map_body, &m);
}

/* ---- reduce ------------------------------------------------------------------------------------------ */

#define CONC__PART_HERE 256 /* bytes: parts up to this size are on the stack */

typedef struct conc__reduce {
    conc__work work;
    conc__pieces pieces;
    conc_reduce_fn body;
    conc_join_fn join;
    void *arg;
    const void *neutral; /* the caller's value, which stays as it is until the end */
    size_t size;
} conc__reduce;

/* Adds the pieces [i, j) to `part`. */
typedef struct conc__reduce_part {
    conc_job job;
    conc__reduce *of;
    size_t i, j;
    void *part;
    char here[CONC__PART_HERE + 16];
} conc__reduce_part;

/* A new part, neutral. False: there is no memory. */
static bool conc__part_begin(conc__reduce_part *p) {
    conc__reduce *r = p->of;
    p->part = p->here + ((0 - (uintptr_t)p->here) & 15u);
    if (r->size > CONC__PART_HERE) {
        p->part = conc__alloc(1, r->size, "a part");
        if (p->part == NULL) return false;
    }
    memcpy(p->part, r->neutral, r->size);
    return true;
}

static void conc__part_end(conc__reduce_part *p) {
    if (p->of->size > CONC__PART_HERE) conc__free(p->part);
}

static void conc__reduce_piece(conc__reduce *r, size_t i, void *part) {
    size_t a = conc__piece_begin(&r->pieces, i), b = conc__piece_end(&r->pieces, a);
    conc__agent *me;
    conc_cancel *before;
    int code;
    if (!conc__work_goes_on(&r->work)) return;
    me = conc__self_fast();
    before = me->cancel;
    me->cancel = r->work.token;
    code = r->body(a, b, part, r->arg);
    me->cancel = before;
    conc__work_code(&r->work, code, a, b);
}

static int conc__reduce_run(void *arg);

static void conc__reduce_split(conc__reduce *r, size_t i, size_t j, void *part) {
    conc__reduce_part right;
    if (j - i == 1) {
        conc__reduce_piece(r, i, part);
        return;
    }
    if (conc__work_is_over(&r->work)) return;
    right.of = r;
    right.i = i + (j - i) / 2;
    right.j = j;
    if (!conc__part_begin(&right)) {
        conc__work_stop(&r->work, CONC_NO_MEMORY, 0, 0, 0);
        return;
    }
    conc_job_fork(&right.job, conc__reduce_run, &right);
    conc__reduce_split(r, i, right.i, part);
    (void)conc_job_join(&right.job);
    if (!conc__work_is_over(&r->work)) r->join(part, right.part, r->arg);
    conc__part_end(&right);
}

static int conc__reduce_run(void *arg) {
    conc__reduce_part *p = (conc__reduce_part *)arg;
    conc__reduce_split(p->of, p->i, p->j, p->part);
    return 0;
}

conc_result conc_pool_reduce_bytes(conc_pool *pool, size_t first, size_t end, size_t grain, conc_reduce_fn body,
                                   conc_join_fn join, void *value, size_t size, void *arg) {
    conc__reduce r;
    conc__reduce_part root;
    conc_result result;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_reduce: no pool");
    if (body == NULL || join == NULL)
        return conc__fail(CONC_INVALID, "conc_pool_reduce: no %s", body == NULL ? "body" : "join");
    if (value == NULL || size == 0)
        return conc__fail(CONC_INVALID, "conc_pool_reduce: %s", value == NULL ? "no value" : "a value of 0 bytes");
    if (first >= end) return CONC_OK;
    conc__work_init(&r.work, "conc_pool_reduce: the body", false);
    conc__pieces_init(&r.pieces, pool, first, end, grain);
    r.body = body;
    r.join = join;
    r.arg = arg;
    r.neutral = value;
    r.size = size;
    root.of = &r;
    root.i = 0;
    root.j = r.pieces.count;
    if (!conc__part_begin(&root)) return CONC_NO_MEMORY;
    result = conc__work_run(&r.work, pool, conc__reduce_run, &root);
    if (result == CONC_OK) memcpy(value, root.part, size);
    conc__part_end(&root);
    return result;
}

/* ---- sort -------------------------------------------------------------------------------------------------
 * Merge sort: qsort() for the leaves, then merges from the array into the scratch memory and back. A merge is split where
 * the middle of the longer run belongs in the shorter one (T. H. Cormen et al., "Introduction to Algorithms", 3rd ed., 27.3). It
 * is not canceled: the items would be here and there. */

#define CONC__SORT_LEAF 2048 /* items, at least */

typedef struct conc__sort {
    size_t size, leaf;
    int (*compare)(const void *a, const void *b);
} conc__sort;

typedef struct conc__sort_part {
    conc_job job;
    const conc__sort *of;
    char *items, *scratch; /* n each */
    size_t n;
    bool to_scratch;       /* where the sorted items are wanted */
} conc__sort_part;

typedef struct conc__merge_part {
    conc_job job;
    const conc__sort *of;
    const char *a, *b;
    size_t na, nb;
    char *to;
} conc__merge_part;

/* Inlined with a constant size, so that an item's copy is a load and a store; and no branch hangs on an answer that
 * nobody can predict. */
static inline void conc__merge_items(const char *a, const char *a_end, const char *b, const char *b_end, char *to, size_t size,
                                     int (*compare)(const void *a, const void *b)) {
    while (a != a_end && b != b_end) {
        bool b_first = compare(b, a) < 0;
        memcpy(to, b_first ? b : a, size);
        to += size;
        a += b_first ? 0 : size;
        b += b_first ? size : 0;
    }
    if (a != a_end) memcpy(to, a, (size_t)(a_end - a));
    else if (b != b_end) memcpy(to, b, (size_t)(b_end - b));
}

static void conc__merge_serial(const conc__merge_part *m) {
    size_t size = m->of->size;
    const char *a_end = m->a + m->na * size, *b_end = m->b + m->nb * size;
    switch (size) {
    case 4: conc__merge_items(m->a, a_end, m->b, b_end, m->to, 4, m->of->compare); break;
    case 8: conc__merge_items(m->a, a_end, m->b, b_end, m->to, 8, m->of->compare); break;
    case 16: conc__merge_items(m->a, a_end, m->b, b_end, m->to, 16, m->of->compare); break;
    default: conc__merge_items(m->a, a_end, m->b, b_end, m->to, size, m->of->compare); break;
    }
}

/* How many of `items` come before `x`. */
static size_t conc__sort_before(const conc__sort *s, const char *items, size_t n, const char *x) {
    size_t low = 0;
    while (low != n) {
        size_t middle = low + (n - low) / 2;
        if (s->compare(items + middle * s->size, x) < 0) low = middle + 1;
        else n = middle;
    }
    return low;
}

static int conc__merge_run(void *arg) {
    const conc__merge_part *m = (const conc__merge_part *)arg;
    const conc__sort *s = m->of;
    conc__merge_part left, right;
    size_t longer;
    if (m->na <= s->leaf && m->nb <= s->leaf - m->na) {
        conc__merge_serial(m);
        return 0;
    }
    left.of = right.of = s;
    left.a = m->na < m->nb ? m->b : m->a;
    left.b = m->na < m->nb ? m->a : m->b;
    longer = m->na < m->nb ? m->nb : m->na;
    left.na = longer / 2;
    right.na = longer - left.na;
    right.a = left.a + left.na * s->size;
    left.nb = conc__sort_before(s, left.b, m->na + m->nb - longer, right.a);
    right.nb = m->na + m->nb - longer - left.nb;
    right.b = left.b + left.nb * s->size;
    left.to = m->to;
    right.to = m->to + (left.na + left.nb) * s->size;
    conc_job_fork(&right.job, conc__merge_run, &right);
    (void)conc__merge_run(&left);
    (void)conc_job_join(&right.job);
    return 0;
}

static int conc__sort_run(void *arg) {
    conc__sort_part *p = (conc__sort_part *)arg;
    const conc__sort *s = p->of;
    conc__sort_part left, right;
    conc__merge_part m;
    size_t half = p->n / 2;
    if (p->n <= s->leaf) {
        qsort(p->items, p->n, s->size, s->compare);
        if (p->to_scratch) memcpy(p->scratch, p->items, p->n * s->size);
        return 0;
    }
    left.of = right.of = s;
    left.to_scratch = right.to_scratch = !p->to_scratch;
    left.items = p->items;
    left.scratch = p->scratch;
    left.n = half;
    right.items = p->items + half * s->size;
    right.scratch = p->scratch + half * s->size;
    right.n = p->n - half;
    conc_job_fork(&right.job, conc__sort_run, &right);
    (void)conc__sort_run(&left);
    (void)conc_job_join(&right.job);
    m.of = s;
    m.a = p->to_scratch ? left.items : left.scratch;
    m.b = p->to_scratch ? right.items : right.scratch;
    m.na = left.n;
    m.nb = right.n;
    m.to = p->to_scratch ? p->scratch : p->items;
    return conc__merge_run(&m);
}

conc_result conc_pool_sort(conc_pool *pool, void *items, size_t n, size_t size, int (*compare)(const void *a, const void *b)) {
    conc__sort s;
    conc__sort_part root;
    char *scratch = NULL;
    size_t parts;
    conc_result r;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_sort: no pool");
    if (compare == NULL) return conc__fail(CONC_INVALID, "conc_pool_sort: no function to compare with");
    if (size == 0) return conc__fail(CONC_INVALID, "conc_pool_sort: items of 0 bytes");
    if (n == 0) return CONC_OK;
    if (items == NULL) return conc__fail(CONC_INVALID, "conc_pool_sort: the array is NULL");
    if (n > (SIZE_MAX - 64) / size) return conc__fail(CONC_NO_MEMORY, "conc_pool_sort: %zu items of %zu bytes", n, size);
    if (conc_canceled() != CONC_OK) return CONC_CANCELED;
    parts = conc__pool_width(pool) * 8;
    s.size = size;
    s.leaf = n / parts > CONC__SORT_LEAF ? n / parts : CONC__SORT_LEAF;
    s.compare = compare;
    root.of = &s;
    root.items = (char *)items;
    root.scratch = NULL;
    root.n = n;
    root.to_scratch = false;
    if (n > s.leaf) {
        scratch = (char *)conc__realloc(NULL, 1, n * size + 64, "a sort"); /* (not zeroed) */
        if (scratch == NULL) return CONC_NO_MEMORY;
        root.scratch = scratch + (((uintptr_t)items - (uintptr_t)scratch) & 63u); /* aligned as the items are */
    }
    r = conc_pool_call(pool, conc__sort_run, &root, NULL);
    conc__free(scratch);
    return r;
}

/* ---- a map over an iterator ---------------------------------------------------------------------------------
 * Each item taken has a slot, and each slot is handed in as a task. Whoever finds it not begun may run it: the task, or
 * the thread that asks, which then takes the task out of the queue. That the pool gave a task up is told by its future,
 * whose note is called once for each task, whatever becomes of it: until then the task's slot and the whole are
 * held for it. */

typedef enum conc__imap_state {
    CONC__IMAP_QUEUED, /* a task of the pool will run it, */
    CONC__IMAP_OURS,   /* or none will: the thread that asks has to */
    CONC__IMAP_RUNNING,
    CONC__IMAP_DONE,
    CONC__IMAP_DEAD    /* it will not be run */
} conc__imap_state;

typedef struct conc__imap_slot {
    struct conc__imap *of;
    struct conc__imap_slot *next, *prev; /* taken and not given, in order: of the asking thread alone; `next`: also
                                            free */
    struct conc__imap_slot *next_done;   /* guarded by the lock, as all below */
    conc__imap_state state;
    conc_result result; /* DONE: CONC_OK, CONC_FAILED, CONC_CANCELED */
    int code;
    unsigned refs;      /* one is the asking thread's, one its task's */
    uint64_t number;    /* of the item, from 1; constant while it is used */
    conc_future *future; /* of the asking thread alone. NULL: it has no task */
    conc__note note;     /* its future's, until that has ended */
    char *in, *out;     /* after the struct */
} conc__imap_slot;

#define CONC__IMAP_ANY UINT64_MAX

typedef struct conc__imap {
    conc_iter iter;
    conc_pool *pool; /* constant, as are the next six */
    conc_iter *from;
    conc_pool_map_fn fn;
    void *arg;
    size_t window, slot_size;
    size_t in_at, out_at; /* in a slot */
    bool in_order;
    uint32_t generation;
    /* Of the asking thread. */
    conc__imap_slot *first, *last; /* taken and not given */
    size_t taken;                  /* how many those are */
    uint64_t count;                /* items taken so far */
    conc_result from_end;          /* how `from` ended; CONC_OK: it has not */
    bool ended;                    /* iter.result says how */
    conc_event event;              /* something that is `awaited` has come */
    conc__lock lock;               /* guards all below, and what slots say it guards */
    size_t refs;                   /* one is the user's, one each task's whose note has not been called */
    size_t running, ours;          /* slots that tasks run; those in state OURS */
    uint64_t awaited;              /* the asking thread sleeps, or is about to, until this item is done; 0: it does
                                      not */
    uint64_t failed;               /* items from here on need not be begun; CONC__IMAP_ANY: none has failed */
    uint64_t here;                 /* the item that the asking thread runs under `token`; 0: none */
    conc_cancel token;             /* fired when that item will not be given; never used after that */
    conc__imap_slot *done, *done_last; /* if not in order: those done and not given */
    conc__imap_slot *free;
} conc__imap;

/* Whether the asking thread is to be woken for this item; if so, nobody else need wake it. With the lock held, as for
 * the next three. */
static bool conc__imap_tell(conc__imap *self, uint64_t number) {
    if (self->awaited != CONC__IMAP_ANY && self->awaited != number) return false;
    self->awaited = 0;
    return true;
}

static void conc__imap_release(conc__imap_slot *slot) {
    if (--slot->refs != 0) return;
    slot->next = slot->of->free;
    slot->of->free = slot;
}

static bool conc__imap_may_begin(const conc__imap *self, const conc__imap_slot *slot) {
    return slot->number < self->failed;
}

static void conc__imap_done(conc__imap *self, conc__imap_slot *slot, conc_result result, int code) {
    slot->state = CONC__IMAP_DONE;
    slot->result = result;
    slot->code = code;
    if (result != CONC_OK && self->in_order && slot->number < self->failed) self->failed = slot->number;
    if (result != CONC_OK && !self->in_order) self->failed = 0;
    if (self->in_order) return;
    slot->next_done = NULL;
    if (self->done == NULL) self->done = slot;
    else self->done_last->next_done = slot;
    self->done_last = slot;
}

/* The task. Returns 0 whatever fn says: that failure is told by the iterator. */
static int conc__imap_task(void *arg) {
    conc__imap_slot *slot = (conc__imap_slot *)arg;
    conc__imap *self = slot->of;
    bool mine, wake, fire;
    int code;
    conc__lock_take(&self->lock);
    mine = slot->state == CONC__IMAP_QUEUED && conc__imap_may_begin(self, slot);
    if (mine) {
        slot->state = CONC__IMAP_RUNNING;
        self->running++;
    }
    conc__lock_give(&self->lock);
    if (!mine) return 0;
    code = self->fn(slot->in, slot->out, self->arg);
    conc__lock_take(&self->lock);
    conc__imap_done(self, slot, code == 0 ? CONC_OK : CONC_FAILED, code);
    self->running--;
    wake = conc__imap_tell(self, slot->number);
    fire = code != 0 && self->here > self->failed;
    conc__lock_give(&self->lock);
    if (fire) (void)conc_cancel_fire(&self->token);
    if (wake) (void)conc_event_set(&self->event);
    return 0;
}

static void conc__imap_free(conc__imap *self) {
    while (self->free != NULL) {
        conc__imap_slot *slot = self->free;
        self->free = slot->next;
        conc__free(slot);
    }
    conc__free(self);
}

static void conc__imap_leave(conc__imap *self) {
    bool last;
    conc__lock_take(&self->lock);
    last = --self->refs == 0;
    conc__lock_give(&self->lock);
    if (last) conc__imap_free(self);
}

/* The task's future has ended, so the pool does not touch the slot any more. If it was not run, it is ours. */
static void conc__imap_task_ended(conc_future *f, void *arg) {
    conc__imap_slot *slot = (conc__imap_slot *)arg;
    conc__imap *self = slot->of;
    bool wake = false;
    (void)f;
    conc__lock_take(&self->lock);
    if (slot->state == CONC__IMAP_QUEUED && conc__imap_may_begin(self, slot)) {
        slot->state = CONC__IMAP_OURS;
        self->ours++;
        wake = self->awaited != 0; /* whatever it waits for: it may be this that it has to run */
        self->awaited = 0;
    }
    conc__imap_release(slot);
    conc__lock_give(&self->lock);
    if (wake) (void)conc_event_set(&self->event);
    conc__imap_leave(self);
}

static void conc__imap_hand_in(conc__imap *self, conc__imap_slot *slot) {
    conc_pool_task options;
    conc__agent *me = conc__self();
    conc_result error = me->error;
    char detail[sizeof me->detail];
    memcpy(detail, me->detail, sizeof detail);
    memset(&options, 0, sizeof options);
    options.until = CONC_NOW; /* what finds no place is done by the thread that asks, */
    conc__lock_take(&self->lock);
    slot->refs++;
    self->refs++;
    conc__lock_give(&self->lock);
    slot->future = conc_pool_submit_ex(self->pool, conc__imap_task, slot, &options);
    slot->note.fn = conc__imap_task_ended;
    slot->note.arg = slot;
    if (slot->future == NULL || !conc__future_note(slot->future, &slot->note)) conc__imap_task_ended(slot->future, slot);
    me->error = error; /* and that is no failure; nor is what a task left that the pool had us run */
    memcpy(me->detail, detail, sizeof detail);
}

static conc__imap_slot *conc__imap_slot_new(conc__imap *self) {
    conc__imap_slot *slot;
    conc__lock_take(&self->lock);
    slot = self->free;
    if (slot != NULL) self->free = slot->next;
    conc__lock_give(&self->lock);
    if (slot == NULL) {
        slot = (conc__imap_slot *)conc__alloc(1, self->slot_size, "an item of conc_pool_imap");
        if (slot == NULL) return NULL;
        slot->of = self;
        slot->in = (char *)slot + self->in_at;
        slot->out = (char *)slot + self->out_at;
    }
    slot->state = CONC__IMAP_QUEUED;
    slot->refs = 1;
    slot->future = NULL;
    return slot;
}

/* Gives up the asking thread's part in a slot that is the first, or the first done, and that nobody runs. */
static void conc__imap_drop(conc__imap *self, conc__imap_slot *slot) {
    if (slot->prev == NULL) self->first = slot->next;
    else slot->prev->next = slot->next;
    if (slot->next == NULL) self->last = slot->prev;
    else slot->next->prev = slot->prev;
    self->taken--;
    conc_future_release(slot->future);
    slot->future = NULL;
    conc__lock_take(&self->lock);
    if (self->done == slot) self->done = slot->next_done;
    conc__imap_release(slot);
    conc__lock_give(&self->lock);
}

/* Takes items and hands them in, as many as the window lets. */
static void conc__imap_fill(conc__imap *self) {
    while (self->taken < self->window && self->from_end == CONC_OK) {
        conc__imap_slot *slot;
        bool failed;
        conc__lock_take(&self->lock);
        failed = self->failed != CONC__IMAP_ANY;
        conc__lock_give(&self->lock);
        if (failed) return;
        slot = conc__imap_slot_new(self);
        if (slot == NULL) {
            if (self->taken == 0) self->from_end = CONC_NO_MEMORY;
            return;
        }
        if (self->from->next(self->from, slot->in, 1) == 0) {
            self->from_end = self->from->result == CONC_OK ? CONC_CLOSED : self->from->result;
            conc__lock_take(&self->lock);
            conc__imap_release(slot);
            conc__lock_give(&self->lock);
            return;
        }
        slot->number = ++self->count;
        slot->next = NULL;
        slot->prev = self->last;
        if (self->last == NULL) self->first = slot;
        else self->last->next = slot;
        self->last = slot;
        self->taken++;
        conc__imap_hand_in(self, slot);
    }
}

/* The next to be given, or NULL: it is not done. With the lock held. */
static conc__imap_slot *conc__imap_ready(conc__imap *self) {
    if (!self->in_order) return self->done;
    return self->first != NULL && self->first->state == CONC__IMAP_DONE ? self->first : NULL;
}

/* One for the asking thread to run: of those that no task will run, and, if it helps, of those that none has begun.
 * NULL: there is none. With the lock held. */
static conc__imap_slot *conc__imap_claim(conc__imap *self, bool helps) {
    conc__imap_slot *slot = self->ours != 0 || helps ? self->first : NULL;
    for (; slot != NULL; slot = slot->next) {
        if (!conc__imap_may_begin(self, slot)) continue;
        if (slot->state == CONC__IMAP_OURS) {
            self->ours--;
            break;
        }
        if (helps && slot->state == CONC__IMAP_QUEUED) break;
    }
    if (slot != NULL) slot->state = CONC__IMAP_RUNNING;
    return slot;
}

/* Runs one in the asking thread. */
static void conc__imap_run_here(conc__imap *self, conc__imap_slot *slot) {
    conc_cancel *before = conc_cancel_current();
    conc_result r = CONC_OK;
    bool own;
    int code;
    /* Its task has not begun, and would find nothing to do. */
    if (slot->future != NULL) (void)conc_future_cancel(slot->future);
    conc__lock_take(&self->lock);
    own = self->failed == CONC__IMAP_ANY && conc__tokens_count(before) < CONC_CANCEL_DEPTH;
    if (own) self->here = slot->number;
    conc__lock_give(&self->lock);
    if (own) {
        self->token.parent = before;
        (void)conc_cancel_use(&self->token);
    }
    code = self->fn(slot->in, slot->out, self->arg);
    if (own) (void)conc_cancel_use(before);
    if (code != 0) r = conc__is_canceled() ? CONC_CANCELED : CONC_FAILED;
    conc__lock_take(&self->lock);
    self->here = 0;
    conc__imap_done(self, slot, r, code);
    conc__lock_give(&self->lock);
}

/* Until one can be given. CONC_OK: `*ready`; or how the iterator ends. */
static conc_result conc__imap_await(conc__imap *self, conc__imap_slot **ready) {
    const conc_pool_desc *desc = conc_pool_desc_of(self->pool);
    bool helps = conc_pool_current() == self->pool || (desc != NULL && desc->waiters_help);
    conc_result r = CONC_OK;
    if (self->first == NULL) return self->from_end;
    while (r == CONC_OK) {
        conc__imap_slot *mine = NULL;
        bool canceled = conc__is_canceled();
        conc__lock_take(&self->lock);
        self->awaited = 0;
        *ready = conc__imap_ready(self);
        if (*ready == NULL && !canceled) mine = conc__imap_claim(self, helps);
        if (*ready == NULL && mine == NULL) self->awaited = self->in_order ? self->first->number : CONC__IMAP_ANY;
        conc__lock_give(&self->lock);
        if (*ready != NULL) break;
        if (mine != NULL) conc__imap_run_here(self, mine);
        else r = conc_event_wait(&self->event, CONC_FOREVER);
    }
    return r;
}

/* What has not begun will not; what runs has its token fired. */
static void conc__imap_stop(conc__imap *self) {
    conc__imap_slot *slot;
    conc__lock_take(&self->lock);
    self->failed = 0;
    for (slot = self->first; slot != NULL; slot = slot->next)
        if (slot->state == CONC__IMAP_QUEUED || slot->state == CONC__IMAP_OURS) slot->state = CONC__IMAP_DEAD;
    self->ours = 0;
    conc__lock_give(&self->lock);
    for (slot = self->first; slot != NULL; slot = slot->next)
        if (slot->future != NULL) (void)conc_future_cancel(slot->future);
}

static bool conc__imap_is_forked(const conc__imap *self) {
    return self->generation != conc__fork_generation();
}

static size_t conc__imap_next(conc_iter *iter, void *items, size_t n) {
    conc__imap *self = (conc__imap *)iter;
    conc__imap_slot *slot = NULL;
    size_t given = 0;
    conc_result r;
    if (self->ended) return 0;
    if (conc__imap_is_forked(self)) {
        self->ended = true;
        iter->result = conc__fail(CONC_FORKED, "conc_pool_imap: the iterator was made before fork()");
        return 0;
    }
    conc__imap_fill(self);
    r = conc__imap_await(self, &slot);
    if (r == CONC_OK) r = slot->result;
    if (r != CONC_OK) {
        self->ended = true;
        iter->result = r;
        conc__imap_stop(self);
        if (r == CONC_FAILED && slot != NULL)
            (void)conc__fail(r, "conc_pool_imap: the function returned %d for item %zu", slot->code, (size_t)(slot->number - 1));
        return 0;
    }
    while (slot != NULL && slot->result == CONC_OK && given < n) {
        memcpy((char *)items + given * iter->item_size, slot->out, iter->item_size);
        given++;
        conc__imap_drop(self, slot);
        conc__lock_take(&self->lock);
        slot = conc__imap_ready(self);
        conc__lock_give(&self->lock);
    }
    return given;
}

static void conc__imap_close(conc_iter *iter) {
    conc__imap *self = (conc__imap *)iter;
    if (conc__imap_is_forked(self)) { /* the tasks are the parent's; if one is left, nobody knows what the pool here
                                         does with it */
        conc_iter_close(self->from);
        if (self->refs == 1) conc__imap_free(self);
        return;
    }
    conc__imap_stop(self);
    for (;;) {
        conc_op op = conc_op_event(&self->event);
        bool over;
        conc__lock_take(&self->lock);
        over = self->running == 0;
        self->awaited = over ? 0 : CONC__IMAP_ANY;
        conc__lock_give(&self->lock);
        if (over) break;
        (void)conc__wait_uncanceled(&op, CONC_FOREVER);
    }
    self->done = NULL;
    while (self->first != NULL) conc__imap_drop(self, self->first);
    conc_iter_close(self->from);
    if (!conc__pool_is_forked(self->pool)) conc__pool_iterated(self->pool, false);
    conc__imap_leave(self);
}

/* `*size` becomes the size of what it was and `more` bytes after it, which begin at `*at`. False: that is too much. */
static bool conc__imap_room(size_t *size, size_t *at, size_t more) {
    *at = (*size + 15u) & ~(size_t)15;
    if (more > SIZE_MAX - 15u - *at) return false;
    *size = *at + more;
    return true;
}

conc_iter *conc_pool_imap_bytes(conc_pool *pool, conc_iter *it, conc_pool_map_fn fn, size_t out_size, size_t window, void *arg,
                                bool in_order) {
    conc__imap *self = NULL;
    size_t size = sizeof(conc__imap_slot), in_at = 0, out_at = 0;
    conc_result r = CONC_OK;
    if (it == NULL) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_pool_imap: the iterator is NULL"));
    if (pool == NULL) r = conc__fail(CONC_INVALID, "conc_pool_imap: no pool");
    else if (fn == NULL) r = conc__fail(CONC_INVALID, "conc_pool_imap: no function");
    else if (out_size == 0) r = conc__fail(CONC_INVALID, "conc_pool_imap: items of 0 bytes");
    else if (it->item_size == 0) return it; /* failed already */
    else if (!conc__imap_room(&size, &in_at, it->item_size) || !conc__imap_room(&size, &out_at, out_size))
        r = conc__fail(CONC_NO_MEMORY, "conc_pool_imap: items of %zu and %zu bytes", it->item_size, out_size);
    else self = (conc__imap *)conc__alloc(1, sizeof *self, "an iterator");
    if (self == NULL) {
        conc_iter_close(it);
        return conc_iter_failed(r != CONC_OK ? r : CONC_NO_MEMORY);
    }
    self->iter.next = conc__imap_next;
    self->iter.close = conc__imap_close;
    self->iter.item_size = out_size;
    self->pool = pool;
    self->from = it;
    self->fn = fn;
    self->arg = arg;
    self->window = window != 0 ? window : conc__pool_width(pool) * 4;
    self->slot_size = size;
    self->in_at = in_at;
    self->out_at = out_at;
    self->in_order = in_order;
    self->generation = conc__fork_generation();
    self->event.auto_reset = true;
    self->refs = 1;
    self->failed = CONC__IMAP_ANY;
    if (!conc__pool_is_forked(pool)) conc__pool_iterated(pool, true);
    return &self->iter;
}
