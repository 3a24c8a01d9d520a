/* ============================================================================================
 * future: see future.h. The state is one word; who wants to run or to end a future claims it there, by one
 * compare-and-swap, so that it is begun once and ended once, whoever else wants to cancel it or to help.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>

/* ---- its life ---------------------------------------------------------------------------------- */

conc_future *conc__future_new(const conc__future_class *cls, conc_pool *pool, conc_fn fn, void *arg) {
    conc_future *f = (conc_future *)conc__alloc(1, sizeof *f, "a future");
    if (f != NULL) conc__future_init(f, cls, pool, fn, arg);
    return f;
}

void conc__future_init(conc_future *f, const conc__future_class *cls, conc_pool *pool, conc_fn fn, void *arg) {
    f->users = 1;
    f->cls = cls;
    f->fn = fn;
    f->arg = arg;
    f->pool = pool;
    f->notes_end = &f->notes;
    (void)conc__self(); /* fork() is watched for from here on */
    f->generation = conc__fork_generation();
}

conc_future *conc_future_new(void) {
    return conc__future_new(NULL, NULL, NULL, NULL);
}

conc_future *conc_future_retain(conc_future *f) {
    if (f != NULL) (void)conc__add32(&f->users, 1, CONC__RELAXED);
    return f;
}

/* Acquire and release: whoever frees it sees what all others did with it. */
void conc_future_release(conc_future *f) {
    uint32_t state;
    if (f == NULL || conc__sub32(&f->users, 1, CONC__ACQ_REL) != 1) return;
    state = conc__load32(&f->state, CONC__RELAXED);
    if ((state & CONC__ENDED) != 0 && f->result == CONC_FAILED && (state & CONC__LOOKED) == 0) {
        conc__report(CONC_FAILED, f->code, NULL, "%s, and nobody looked at it", conc_future_detail(f));
    }
    while (f->notes != NULL) { /* it was never ended */
        conc__note *note = f->notes;
        f->notes = note->next;
        if (note->allocated) {
            conc__free(note);
        } else {
            note->fn(NULL, note->arg);
        }
    }
    conc__free(f->detail);
    conc__schedule_free(f->schedule);
    if (f->cls != NULL && f->cls->freed != NULL) f->cls->freed(f);
    conc__free(f);
}

bool conc__future_claim(conc_future *f) {
    uint32_t state = conc__load32(&f->state, CONC__RELAXED);
    while ((state & CONC__BEGUN) == 0) {
        if (conc__cas32(&f->state, &state, state | CONC__BEGUN, CONC__ACQ_REL)) return true;
    }
    return false;
}

bool conc__future_is_ended(const conc_future *f) {
    return (conc__load32(&f->state, CONC__ACQUIRE) & CONC__ENDED) != 0;
}

/* Notes are called in their order. Who gives one while they are being called leaves it to the caller of the others. */
static void conc__future_call_notes(conc_future *f) {
    for (;;) {
        conc__note *note;
        bool allocated;
        conc__lock_take(&f->lock);
        note = f->notes;
        if (note != NULL) {
            f->notes = note->next;
            if (f->notes == NULL) f->notes_end = &f->notes;
        } else {
            f->notes_over = true;
        }
        conc__lock_give(&f->lock);
        if (note == NULL) return;
        allocated = note->allocated; /* else the note may be gone with its call */
        note->fn(f, note->arg);
        if (allocated) conc__free(note);
    }
}

void conc__future_end(conc_future *f, conc_result r, int code, const char *detail) {
    uint32_t state;
    f->code = code;
    f->result = r;
    if (detail != NULL) {
        size_t size = strlen(detail) + 1;
        f->detail = (char *)conc__alloc(size, 1, "a future's sentence"); /* without it there are fewer words, no more */
        if (f->detail != NULL) memcpy(f->detail, detail, size);
    }
    /* Release: publishes the above and what the task did. Whoever set WAITED or NOTED before stands in the table, or has its note
     * in the list; whoever comes later reads ENDED. */
    state = conc__or32(&f->state, CONC__ENDED, CONC__ACQ_REL);
    if ((state & CONC__WAITED) != 0) (void)conc__wake_waiters(f, CONC__ANY_TAG, CONC_ALL);
    if ((state & CONC__NOTED) != 0) conc__future_call_notes(f);
    if (f->cls != NULL && f->cls->ended != NULL) f->cls->ended(f, state);
}

conc_result conc_future_complete(conc_future *f, int code) {
    char text[60];
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_complete: NULL");
    if (f->cls != NULL) return conc__fail(CONC_INVALID, "conc_future_complete: it is a task's, which completes it");
    if (!conc__future_claim(f)) return CONC_CLOSED;
    if (code != 0) (void)snprintf(text, sizeof text, "a future was completed with %d", code);
    conc__future_end(f, code == 0 ? CONC_OK : CONC_FAILED, code, code == 0 ? NULL : text);
    CONC__OPAQUE();
    return CONC_OK;
}

conc_result conc_future_cancel(conc_future *f) {
    conc_result ended = CONC_CLOSED;
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_cancel: NULL");
    if (f->cls != NULL && f->cls->cancel != NULL) return f->cls->cancel(f);
    for (;;) {
        uint32_t state;
        if (conc__future_claim(f)) {
            (void)conc_future_retain(f); /* the queue's reference, if it has one, may go at any time */
            if (f->cls != NULL && f->cls->canceled != NULL) f->cls->canceled(f);
            conc__future_end(f, CONC_CANCELED, 0, NULL);
            conc_future_release(f);
            return CONC_OK;
        }
        if (conc__future_is_ended(f) || f->cls == NULL) return ended; /* of a user's own: it is being completed */
        (void)conc_cancel_fire(&f->token);
        ended = CONC_BUSY; /* by that */
        /* A periodic task gives itself free again between two turns, then looks at its token. Both change the state: who is
         * second sees what the other has done before. */
        state = conc__or32(&f->state, 0, CONC__ACQ_REL);
        if ((state & CONC__BEGUN) != 0) return CONC_BUSY;
    }
}

/* ---- questions ---------------------------------------------------------------------------------- */

/* Its result, which the caller has seen by that. */
static conc_result conc__future_look(conc_future *f) {
    if (f->result != CONC_OK && (conc__load32(&f->state, CONC__RELAXED) & CONC__LOOKED) == 0) {
        (void)conc__or32(&f->state, CONC__LOOKED, CONC__RELAXED);
    }
    return f->result;
}

bool conc_future_is_done(const conc_future *f) {
    bool done = f != NULL && conc__future_is_ended(f);
    CONC__OPAQUE();
    return done;
}

conc_result conc_future_result(conc_future *f) {
    conc_result r;
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_result: NULL");
    r = conc__future_is_ended(f) ? conc__future_look(f) : CONC_PENDING;
    CONC__OPAQUE();
    return r;
}

int conc_future_code(conc_future *f) {
    int code = 0;
    if (f != NULL && conc__future_is_ended(f)) {
        (void)conc__future_look(f);
        code = f->code;
    }
    CONC__OPAQUE();
    return code;
}

const char *conc_future_detail(const conc_future *f) {
    const char *text = "";
    if (f != NULL && conc__future_is_ended(f)) {
        if (f->detail != NULL) {
            text = f->detail;
        } else if (f->result != CONC_OK) {
            text = conc_strerror(f->result);
        }
    }
    CONC__OPAQUE();
    return text;
}

void *conc_future_arg(const conc_future *f) {
    return f != NULL ? f->arg : NULL;
}

/* ---- waiting ------------------------------------------------------------------------------------ */

static conc_result conc__future_wrong(const conc_future *f) {
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_wait: NULL");
    if (f->generation != conc__fork_generation() && !conc__future_is_ended(f)) {
        return conc__fail(CONC_FORKED, "conc_future_wait: what would complete it is in the process that forked");
    }
    return CONC_OK;
}

static conc_result conc__future_attempt(conc_op *op) {
    conc_future *f = (conc_future *)op->object;
    conc_result r = conc__future_wrong(f);
    if (r != CONC_OK) return r;
    return conc__future_is_ended(f) ? conc__future_look(f) : CONC_PENDING;
}

static bool conc__future_arm(conc_op *op, conc_node *node) {
    conc_future *f = (conc_future *)op->object;
    conc__bucket *b = conc__bucket_lock(f);
    /* One read-modify-write against that of conc__future_end(): one of the two sees the other. */
    bool wait = (conc__or32(&f->state, CONC__WAITED, CONC__ACQ_REL) & CONC__ENDED) == 0;
    if (wait) conc__bucket_push(b, f, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_future(conc_future *f) {
    static const conc_op_class cls = {"future", CONC_BUSY, conc__future_attempt, conc__future_arm, NULL, NULL};
    return conc_op_make(&cls, f, NULL);
}

static bool conc__future_help(conc_future *f) {
    return f->cls != NULL && f->cls->help != NULL && f->cls->help(f);
}

conc_result conc_future_wait(conc_future *f, conc_deadline deadline) {
    conc_op op;
    conc_result r = conc__future_wrong(f);
    if (r != CONC_OK) return r;
    if (conc__future_is_ended(f) || (deadline.ns != INT64_MIN && conc__future_help(f))) {
        r = conc__future_look(f);
        CONC__OPAQUE();
        return r;
    }
    op = conc_op_future(f);
    return conc__await(&op, f, deadline);
}

conc_result conc_wait_all(conc_future *const *futures, size_t n, conc_deadline deadline) {
    conc_result first = CONC_OK;
    size_t i;
    if (n != 0 && futures == NULL) return conc__fail(CONC_INVALID, "conc_wait_all: no array");
    for (i = 0; i < n; i++) {
        if (futures[i] == NULL) return conc__fail(CONC_INVALID, "conc_wait_all: number %zu is NULL", i);
    }
    for (i = 0; i < n; i++) {
        conc_result r = conc_future_wait(futures[i], deadline);
        if (!conc_future_is_done(futures[i])) return r;
        if (first == CONC_OK) first = r;
    }
    return first;
}

int conc_wait_any(conc_future *const *futures, size_t n, conc_deadline deadline) {
    conc_op few[8], *ops = few;
    size_t i;
    int which;
    if (futures == NULL || n == 0 || n > CONC__MAX_OPS) {
        return (int)conc__fail(CONC_INVALID, "conc_wait_any: %zu futures; 1 to %d can be waited for", n, CONC__MAX_OPS);
    }
    for (i = 0; i < n; i++) {
        conc_result r = futures[i] != NULL ? conc__future_wrong(futures[i]) : CONC_INVALID;
        if (r != CONC_OK) return (int)conc__fail(r, "conc_wait_any: number %zu is %s", i, r == CONC_INVALID ? "NULL" : "another process's");
    }
    for (i = 0; i < n; i++) {
        if (conc__future_is_ended(futures[i])) return (int)i;
    }
    for (i = 0; i < n && deadline.ns != INT64_MIN; i++) {
        if (conc__future_help(futures[i])) return (int)i;
    }
    if (n > sizeof few / sizeof *few) {
        ops = (conc_op *)conc__alloc(n, sizeof *ops, "the ops of a wait");
        if (ops == NULL) return CONC_NO_MEMORY;
    }
    for (i = 0; i < n; i++) ops[i] = conc_op_future(futures[i]);
    which = conc_select(ops, n, deadline);
    if (ops != few) conc__free(ops);
    return which;
}

/* ---- callbacks ----------------------------------------------------------------------------------- */

bool conc__future_note(conc_future *f, conc__note *note) {
    uint32_t state;
    bool entered;
    note->next = NULL;
    conc__lock_take(&f->lock);
    state = conc__or32(&f->state, CONC__NOTED, CONC__ACQ_REL);
    /* It had ended, and its notes have all been called, or nobody has been told that there are any. */
    entered = (state & CONC__ENDED) == 0 || ((state & CONC__NOTED) != 0 && !f->notes_over);
    if (entered) {
        *f->notes_end = note;
        f->notes_end = &note->next;
    } else {
        f->notes_over = true;
    }
    conc__lock_give(&f->lock);
    return entered;
}

conc_result conc_future_then(conc_future *f, void (*fn)(conc_future *f, void *arg), void *arg) {
    conc__note *note;
    if (f == NULL || fn == NULL) return conc__fail(CONC_INVALID, "conc_future_then: %s", f == NULL ? "NULL" : "no function");
    note = (conc__note *)conc__alloc(1, sizeof *note, "a future's callback");
    if (note == NULL) return CONC_NO_MEMORY;
    note->fn = fn;
    note->arg = arg;
    note->allocated = true;
    (void)conc__or32(&f->state, CONC__LOOKED, CONC__RELAXED);
    if (!conc__future_note(f, note)) {
        conc__free(note);
        fn(f, arg);
    }
    CONC__OPAQUE();
    return CONC_OK;
}

/* ---- as completed ---------------------------------------------------------------------------------
 * Each future has a note that puts its number into a list. What they share stays until the last note has been called and the
 * iterator is closed. */

typedef struct conc__completed conc__completed;
typedef struct conc__completed_note {
    conc__note note;
    conc__completed *all;
    conc_future *f;
} conc__completed_note;
struct conc__completed {
    conc_iter iter;
    uint32_t users;         /* atomic: the iterator, and each note that is to be called */
    uint32_t ended;         /* atomic: how many have entered `order`; waited for under this address. Publishes those
                               entries */
    size_t n, given;        /* given: the iterator's own */
    conc__lock lock;        /* guards the entering */
    conc_future **order;    /* those that have ended */
    conc__completed_note notes[1];
};

static void conc__completed_unuse(conc__completed *c) {
    if (conc__sub32(&c->users, 1, CONC__ACQ_REL) == 1) {
        conc__free(c->order);
        conc__free(c);
    }
}

static void conc__completed_one(conc_future *f, void *arg) {
    conc__completed_note *n = (conc__completed_note *)arg;
    conc__completed *c = n->all;
    uint32_t ended;
    if (f == NULL) { /* it has gone without an end */
        conc__completed_unuse(c);
        return;
    }
    conc__lock_take(&c->lock);
    ended = conc__load32(&c->ended, CONC__RELAXED);
    c->order[ended] = f;
    conc__store32(&c->ended, ended + 1, CONC__RELEASE);
    conc__lock_give(&c->lock);
    (void)conc__wake_waiters(&c->ended, CONC__ANY_TAG, CONC_ALL);
    conc__completed_unuse(c);
}

static conc_result conc__completed_attempt(conc_op *op) {
    conc__completed *c = (conc__completed *)op->object;
    return conc__load32(&c->ended, CONC__ACQUIRE) > c->given ? CONC_OK : CONC_PENDING;
}

static bool conc__completed_arm(conc_op *op, conc_node *node) {
    conc__completed *c = (conc__completed *)op->object;
    conc__bucket *b = conc__bucket_lock(&c->ended);
    bool wait = conc__load32(&c->ended, CONC__ACQUIRE) <= c->given; /* one that ends after this finds the node */
    if (wait) conc__bucket_push(b, &c->ended, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static size_t conc__completed_next(conc_iter *it, void *items, size_t n) {
    static const conc_op_class cls = {"as completed", CONC_BUSY, conc__completed_attempt, conc__completed_arm, NULL, NULL};
    conc__completed *c = (conc__completed *)(void *)it;
    conc_op op = conc_op_make(&cls, c, NULL);
    size_t i, there, lost;
    conc_result r = CONC_OK;
    if (c->given == c->n) {
        it->result = CONC_CLOSED;
        return 0;
    }
    /* In a task of the pool, what is still in the queue is run here rather than waited for. */
    for (i = 0; i < c->n && conc__load32(&c->ended, CONC__ACQUIRE) == c->given; i++) {
        if (!conc__future_is_ended(c->notes[i].f)) (void)conc__future_help(c->notes[i].f);
    }
    /* In a child of fork() those that are its parent's never end; those that have ended are given, or on their way. */
    for (i = 0, lost = 0; i < c->n && conc__load32(&c->ended, CONC__ACQUIRE) == c->given; i++) {
        const conc_future *f = c->notes[i].f;
        if (f->generation != conc__fork_generation() && !conc__future_is_ended(f)) lost++;
    }
    if (lost != 0 && c->given + lost == c->n) r = conc__fail(CONC_FORKED, "conc_as_completed: what would complete them is in the process that forked");
    if (r == CONC_OK) r = conc__await(&op, c, CONC_FOREVER);
    if (r != CONC_OK) {
        it->result = r;
        return 0;
    }
    there = conc__load32(&c->ended, CONC__ACQUIRE) - c->given;
    if (n > there) n = there;
    memcpy(items, c->order + c->given, n * sizeof *c->order);
    c->given += n;
    return n;
}

static void conc__completed_close(conc_iter *it) {
    conc__completed_unuse((conc__completed *)(void *)it);
}

conc_iter *conc_as_completed(conc_future *const *futures, size_t n) {
    conc__completed *c;
    size_t i;
    for (i = 0; i < n; i++) {
        if (futures == NULL || futures[i] == NULL) {
            (void)conc__fail(CONC_INVALID, "conc_as_completed: number %zu is NULL", i);
            return conc_iter_failed(CONC_INVALID);
        }
    }
    if (n > UINT32_MAX / 2 || n > SIZE_MAX / 2 / sizeof *c->notes) {
        (void)conc__fail(CONC_INVALID, "conc_as_completed: %zu are too many", n);
        return conc_iter_failed(CONC_INVALID);
    }
    c = (conc__completed *)conc__alloc(1, sizeof *c + n * sizeof *c->notes, "an iterator over futures");
    if (c == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    c->order = (conc_future **)conc__alloc(n + 1, sizeof *c->order, "an iterator over futures");
    if (c->order == NULL) {
        conc__free(c);
        return conc_iter_failed(CONC_NO_MEMORY);
    }
    c->iter.next = conc__completed_next;
    c->iter.close = conc__completed_close;
    c->iter.item_size = sizeof(conc_future *);
    c->n = n;
    c->users = (uint32_t)n + 1;
    for (i = 0; i < n; i++) {
        conc__completed_note *note = &c->notes[i];
        note->all = c;
        note->f = futures[i];
        note->note.fn = conc__completed_one;
        note->note.arg = note;
        if (!conc__future_note(futures[i], &note->note)) conc__completed_one(futures[i], note);
    }
    return &c->iter;
}

/* ---- who waits for what ------------------------------------------------------------------------------
 * The threads that sleep in a task until another ends, with no deadline. A wait can never end if what it waits for is run by a
 * thread that stands here, and so on, up to a task that the waiter itself is in the midst of. One list in the process, as tasks
 * of one pool may wait for those of another; a lock is taken only on the way to a sleep. */

#define CONC__CIRCLE_STEPS 100000 /* looks; a chain that is longer is not followed to its end */

static conc__lock conc__blocked_lock; /* guards the list, and `seen` */
static conc__blocked *conc__blocked_list;

static void conc__blocked_reset(void) {
    conc__blocked_lock = 0;
    conc__blocked_list = NULL;
}

void conc__blocked_begin(void) {
    conc__on_fork(CONC__RESET_BLOCKED, conc__blocked_reset);
}

void conc__running_begin(conc__agent *me, conc__running *running, const void *what, conc_pool *pool) {
    running->below = me->running;
    running->up = NULL;
    running->what = what;
    running->pool = pool;
    me->running = running;
}

void conc__running_end(conc__agent *me, const conc__running *running) {
    me->running = (conc__running *)(uintptr_t)running->below;
}

static bool conc__is_in(const conc__running *r, const void *what, unsigned *steps) {
    for (; r != NULL; r = r->below) {
        if (r->what == what) return true;
        if (*steps == 0) return false;
        --*steps;
        if (r->up != NULL && conc__is_in(r->up, what, steps)) return true;
    }
    return false;
}

static bool conc__ends_never(const conc__running *me, const void *what, unsigned *steps) {
    conc__blocked *b;
    if (conc__is_in(me, what, steps)) return true;
    for (b = conc__blocked_list; b != NULL; b = b->next) {
        if (b->seen || !conc__is_in(b->running, what, steps)) continue;
        b->seen = true;
        if (conc__ends_never(me, b->awaits, steps)) return true;
    }
    return false;
}

bool conc__blocked_enter(conc__blocked *b, const conc__running *running, const void *awaits, bool listed) {
    unsigned steps = CONC__CIRCLE_STEPS;
    conc__blocked *other;
    bool never;
    conc__blocked_begin();
    conc__lock_take(&conc__blocked_lock);
    for (other = conc__blocked_list; other != NULL; other = other->next) other->seen = false;
    never = conc__ends_never(running, awaits, &steps);
    b->listed = !never && listed;
    if (b->listed) {
        b->running = running;
        b->awaits = awaits;
        b->next = conc__blocked_list;
        b->link = &conc__blocked_list;
        if (b->next != NULL) b->next->link = &b->next;
        conc__blocked_list = b;
    }
    conc__lock_give(&conc__blocked_lock);
    return !never;
}

void conc__blocked_leave(conc__blocked *b) {
    if (!b->listed) return;
    conc__lock_take(&conc__blocked_lock);
    *b->link = b->next;
    if (b->next != NULL) b->next->link = b->link;
    conc__lock_give(&conc__blocked_lock);
}
