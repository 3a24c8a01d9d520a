/* ============================================================================================
 * loop: see loop.h and coro.h. In this order: memory; tasks and their lists; waiting; running; the inbox and the poller;
 * the loop itself.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>

/* ---- the records ------------------------------------------------------------------------------- */

/* What a wait keeps while it lasts; a point in time alone needs none. */
typedef struct conc__parked {
    int64_t deadline;
    uint16_t count, armed;
    bool any;    /* CO_AWAIT_ANY: the ops are the user's, `own.object` points to them; the index is wanted */
    conc_op own; /* CO_AWAIT's */
} conc__parked;

static conc_op *conc__parked_ops(conc__parked *p) {
    return p->any ? (conc_op *)p->own.object : &p->own;
}

enum {
    CONC__TASK_FREE,  /* memory */
    CONC__TASK_NEW,   /* being made, or in the inbox for the first time */
    CONC__TASK_ASIDE, /* until its group has room */
    CONC__TASK_READY,  /* or it runs */
    CONC__TASK_BEHIND, /* it is ready, with the result of a wait that needed none, but others go first */
    CONC__TASK_WAITS, /* and, once it has been claimed, is in the list of those ready, or the inbox */
    CONC__TASK_ENDED
};

/* Of a task's flags. */
#define CONC__TASK_FOREIGN 1u  /* its memory is of the loop's part for other threads */
#define CONC__TASK_SHIELDED 2u /* its cancel has been seen */
#define CONC__TASK_UNWINDS 4u  /* some of its frames do: till they have ended no cancel strikes */
#define CONC__TASK_CATCHES 8u  /* the wait under way is told of a cancel */
#define CONC__TASK_POINT 16u   /* the wait under way is for a point in time alone, which is the timer's */

/* Of the word that others may touch. */
#define CONC__TASK_HANDLE 1u   /* neither joined nor detached */
#define CONC__TASK_IS_ENDED 2u /* publishes the code, and all that the task did */
#define CONC__TASK_CANCEL 4u   /* a cancel is wanted */
#define CONC__TASK_AWAITED 8u  /* somebody may wait for its end; set under the lock of the task's bucket */

/* A task, with its first frame behind it. But for `shared`, and for the waiter while it waits, all is touched only by the
 * loop's thread (or by who makes it, before it is handed over). */
struct conc_task {
    conc_waiter waiter;      /* first. `claimed` is 0 while it waits, never else; `owner`, once given, stays with the memory */
    conc_task *next;         /* in the list of those ready, or in the inbox, or of free memory */
    conc__wheel_node timer;
    conc__parked *parked;
    conc_co *top;            /* the innermost frame */
    conc_loop *loop;
    conc_co_timeout *limit;  /* the innermost CO_TIMEOUT block */
    uint32_t shared;         /* atomic */
    uint8_t state, flags;
    uint32_t since;          /* milliseconds of the clock: when the wait began */
    int code;
};
#define CONC__TASK_SIZE ((sizeof(conc_task) + 15u) & ~(size_t)15u)
#define CONC__CLAIMED_NOT_WAITING 0xfffdu
#define CONC__TICKET_TIMER 0xfffeu

static conc_co *conc__task_root(conc_task *t) {
    return (conc_co *)(void *)((char *)t + CONC__TASK_SIZE);
}

static conc_task *conc__task_of_root(conc_co *co) {
    return (conc_task *)(void *)((char *)co - CONC__TASK_SIZE);
}

/* A first frame has no caller: there its record's rarer part hangs. */
conc__task_extra *conc__task_extra_of(conc_task *t) {
    return (conc__task_extra *)(void *)conc__task_root(t)->conc__up;
}

/* Memory comes in chunks of slots of one size, which stay the loop's until it is freed: so a stale handle points to a task
 * still, if to another. */
#define CONC__SIZES 84
enum { CONC__SLAB_TASKS, CONC__SLAB_BLOCKS, CONC__SLAB_KINDS };
typedef struct conc__chunk {
    struct conc__chunk *next;
    size_t size, used, count;
    unsigned kind;
} conc__chunk;
#define CONC__CHUNK_HEAD ((sizeof(conc__chunk) + 15u) & ~(size_t)15u)
typedef struct conc__slab {
    void *free[CONC__SLAB_KINDS][CONC__SIZES];
    conc__chunk *open[CONC__SLAB_KINDS][CONC__SIZES];
    conc__chunk *chunks;
} conc__slab;

#if CONC__POLLER_EDGES
/* What is known of a socket that the poller watches. */
typedef struct conc__watch {
    uint32_t number; /* the socket's; 0: none */
    uint8_t ready;   /* sides that may be ready */
    uint8_t armed;   /* sides for which somebody may wait here */
    bool hung_up;    /* both sides stay ready */
} conc__watch;
#endif

#define CONC__LOOP_EVENTS 256
#define CONC__LOOP_BUDGET 64

typedef struct conc__loop_waiter {
    conc_waiter base;
    conc_loop *loop;
    uint32_t done; /* atomic: the wake has touched the loop for the last time */
} conc__loop_waiter;

struct conc_loop {
    /* Touched only by the thread that runs the loop; while none does, under the gate. */
    conc_task *ready, **ready_end; /* tasks that can go on, in order */
    conc__wheel wheel;
    int64_t now;                   /* the clock, when it was last looked at */
    conc__slab own;
    bool owed;                     /* a wake-up call that somebody is about to make has not come yet */
    bool answered;                 /* one has come; who made it may not have left it yet */
    bool attempting;               /* the attempts under way are a task's wait, which may trust what `watches` says */
    unsigned at_once;              /* waits that this resume has made and that needed none */
    uint32_t scopes;               /* of the thread, outside of the loop */
    uintptr_t stack;               /* where the loop's own variables end, and those of a coroutine that runs begin */
#if CONC__POLLER_EDGES
    conc__watch *watches;          /* by descriptor */
    size_t watch_count;
#endif
    size_t alive;                  /* tasks admitted and not ended; others may peek */
    /* Hints for reports from other threads: */
    const conc_co_class *runs;     /* what runs now, */
    uint32_t runs_from;            /* from which line; */
    size_t turns;                  /* and how many resumes there have been */

    /* Any thread. */
    conc__port_poller poller;
    void *inbox;                   /* atomic: a list of tasks and mail, newest first; or the mark: the loop sleeps */
    size_t arrivals;               /* atomic: new tasks in the inbox */
    uint32_t called;               /* atomic: who made the call has left it */
    uint32_t stop;                 /* atomic; publishes nothing */
    uint32_t generation;           /* constant */
    bool until_stopped;            /* constant */
    conc__loop_waiter host;        /* for the token of the thread that runs it */
    conc_node host_tokens[CONC_CANCEL_DEPTH];

    conc__lock gate;               /* guards the next two */
    bool running;
    conc__slab foreign;            /* memory for tasks that other threads make while it runs */

    conc_loop *next, **link;       /* in the list of all; guarded by the registry of loops */
    char name[32];                 /* constant */
    conc__stall *stall;            /* constant; NULL: nobody looks */
};

static uint32_t conc__loop_asleep_word;
#define CONC__ASLEEP ((void *)&conc__loop_asleep_word) /* the mark */

/* In the inbox mail has its lowest bit set. */
static void *conc__mail_mark(conc__mail *mail) {
    return (char *)mail + 1;
}

static conc__mail *conc__mail_of(void *p) {
    return ((uintptr_t)p & 1u) != 0 ? (conc__mail *)(void *)((char *)p - 1) : NULL;
}

/* ---- memory -------------------------------------------------------------------------------------- */

/* Multiples of 16 up to 1024, then powers of two; the index, and the size of its slots. */
static unsigned conc__size_class(size_t *size) {
    unsigned c = 64;
    size_t s = 2048;
    if (*size <= 1024) {
        *size = (*size + 15u) & ~(size_t)15u;
        return (unsigned)(*size / 16) - 1;
    }
    while (s < *size && c < CONC__SIZES - 1) {
        s *= 2;
        c++;
    }
    *size = s;
    return c;
}

/* Free slots are chained through a word that a stale handle's user does not look at. */
static void **conc__slot_link(void *slot, unsigned kind) {
    return kind == CONC__SLAB_TASKS ? (void **)(void *)&((conc_task *)slot)->next : (void **)slot;
}

static CONC__NOINLINE void *conc__slab_carve(conc__slab *slab, unsigned kind, unsigned c, size_t size, const char *what) {
    conc__chunk *chunk = slab->open[kind][c];
    if (chunk == NULL || chunk->used == chunk->count) {
        size_t bytes = chunk == NULL ? 1024 : chunk->count * size * 2;
        size_t count = (bytes > 65536 ? 65536 : bytes) / size;
        if (count == 0) count = 1;
        if (size > SIZE_MAX / 2) {
            (void)conc__fail(CONC_NO_MEMORY, "no memory for %s", what);
            return NULL;
        }
        chunk = (conc__chunk *)conc__alloc(1, CONC__CHUNK_HEAD + count * size, what);
        if (chunk == NULL) return NULL;
        chunk->size = size;
        chunk->count = count;
        chunk->kind = kind;
        chunk->next = slab->chunks;
        slab->chunks = chunk;
        slab->open[kind][c] = chunk;
    }
    return (char *)chunk + CONC__CHUNK_HEAD + chunk->used++ * size;
}

static void *conc__slab_take(conc__slab *slab, unsigned kind, size_t size, const char *what) {
    unsigned c = conc__size_class(&size);
    void *slot = slab->free[kind][c];
    if (CONC__UNLIKELY(slot == NULL)) return conc__slab_carve(slab, kind, c, size, what);
    slab->free[kind][c] = *conc__slot_link(slot, kind);
    return slot;
}

static void conc__slab_give(conc__slab *slab, unsigned kind, void *slot, size_t size) {
    unsigned c = conc__size_class(&size);
    *conc__slot_link(slot, kind) = slab->free[kind][c];
    slab->free[kind][c] = slot;
}

static void conc__slab_free(conc__slab *slab) {
    while (slab->chunks != NULL) {
        conc__chunk *next = slab->chunks->next;
        conc__free(slab->chunks);
        slab->chunks = next;
    }
}

static size_t conc__extra_size(size_t tokens) {
    return sizeof(conc__task_extra) + tokens * sizeof(conc_node);
}

/* In the loop's thread, or under the gate while it has none. */
static CONC__NOINLINE void conc__task_recycle(conc_task *t) {
    conc_loop *loop = t->loop;
    size_t size = CONC__TASK_SIZE + conc__task_root(t)->conc__cls->size;
    conc__task_extra *extra = conc__task_extra_of(t);
    bool foreign = (t->flags & CONC__TASK_FOREIGN) != 0;
    if (foreign && loop->running) conc__lock_take(&loop->gate);
    {
        conc__slab *slab = foreign ? &loop->foreign : &loop->own;
        if (extra != NULL) conc__slab_give(slab, CONC__SLAB_BLOCKS, extra, conc__extra_size(extra->token_count));
        t->state = CONC__TASK_FREE;
        conc__store32(&t->shared, 0, CONC__RELAXED);
        conc__slab_give(slab, CONC__SLAB_TASKS, t, size);
    }
    if (foreign && loop->running) conc__lock_give(&loop->gate);
}

/* ---- tasks and their lists ------------------------------------------------------------------------ */

static bool conc__loop_is_here(const conc_loop *loop) {
    return conc__self_fast()->loop == loop;
}

bool conc__loop_is_forked(const conc_loop *loop) {
    return loop->generation != conc__fork_generation();
}

conc_loop *conc__task_loop(const conc_task *t) {
    return t->loop;
}

conc_task **conc__task_next(conc_task *t) {
    return &t->next;
}

/* The loop's thread. */
static void conc__ready_append(conc_loop *loop, conc_task *t) {
    t->next = NULL;
    *loop->ready_end = t;
    loop->ready_end = &t->next;
}

static void conc__task_ready(conc_task *t) {
    t->state = CONC__TASK_READY;
    conc__ready_append(t->loop, t);
}

/* Wakes the loop, whose mark the caller has taken away: so at most one call is under way. */
static void conc__loop_call(conc_loop *loop) {
    conc__port_poller_signal(&loop->poller);
    /* The last touch, if nobody sleeps on it; and then only the address is used. */
    if (conc__swap32(&loop->called, 1, CONC__ACQ_REL) == 2) conc__port_wake_one(&loop->called);
}

/* Whoever made the last call has left it: `called` is 0 while he is in it, 2 if we sleep until then; he stores 1. */
static void conc__loop_call_settle(conc_loop *loop) {
    uint32_t in_it = 0;
    if (!loop->answered) return;
    (void)conc__cas32(&loop->called, &in_it, 2, CONC__RELAXED);
    while (conc__load32(&loop->called, CONC__ACQUIRE) != 1) (void)conc__port_wait(&loop->called, 2, INT64_MAX);
    conc__store32(&loop->called, 0, CONC__RELAXED);
    loop->answered = false;
}

/* If the loop sleeps, wakes it. */
static void conc__loop_nudge(conc_loop *loop) {
    void *old = conc__loadp(&loop->inbox, CONC__SEQ_CST); /* (a swap that fails may have seen an older value) */
    if (old == CONC__ASLEEP && conc__casp(&loop->inbox, &old, NULL, CONC__SEQ_CST)) conc__loop_call(loop);
}

/* Where an item of the inbox, a task or mail, keeps the next one. */
static void **conc__inbox_link(void *item) {
    conc__mail *mail = conc__mail_of(item);
    return mail != NULL ? (void **)(void *)&mail->next : (void **)(void *)&((conc_task *)item)->next;
}

/* A push on the inbox. Release: what was done before is seen by the loop. The
 * loop may take the item, end with it and be freed as soon as it is there: but for the call to one that sleeps, which
 * waits for the call before it goes (conc_loop_free()). */
static void conc__loop_push(conc_loop *loop, void *item) {
    void **link = conc__inbox_link(item), *old = conc__loadp(&loop->inbox, CONC__RELAXED);
    do {
        *link = old == CONC__ASLEEP ? NULL : old;
    } while (!conc__casp(&loop->inbox, &old, item, CONC__SEQ_CST));
    if (old == CONC__ASLEEP) conc__loop_call(loop);
}

void conc__loop_send(conc_loop *loop, conc__mail *mail) {
    conc__loop_push(loop, conc__mail_mark(mail));
}

/* A waiter's wake: it has been claimed. Until it is in a list of its loop's, the task stays where it is. */
static void conc__task_wake(void *waiter) {
    conc_task *t = (conc_task *)waiter;
    conc_loop *loop = t->loop;
    if (conc__loop_is_here(loop)) {
        conc__ready_append(loop, t);
    } else {
        conc__loop_push(loop, t);
    }
}

static bool conc__task_wants_cancel(conc_task *t) {
    const conc__task_extra *extra = conc__task_extra_of(t);
    if ((t->flags & (CONC__TASK_SHIELDED | CONC__TASK_UNWINDS)) != 0) return false;
    return (conc__load32(&t->shared, CONC__RELAXED) & CONC__TASK_CANCEL) != 0 ||
           (extra != NULL && extra->cancel != NULL && conc_cancel_fired(extra->cancel));
}

/* A failure that nobody has asked for; that of a group's member is the group's. */
static void conc__task_report(conc_task *t) {
    const conc__task_extra *extra = conc__task_extra_of(t);
    if (t->code != 0 && t->code != CONC_CANCELED && (extra == NULL || extra->group == NULL)) {
        conc__report(CONC_FAILED, t->code, NULL, "task \"%s\" returned %d", conc_task_name(t), t->code);
    }
}

/* Nobody need wait for its end any more: in the loop's thread or another. Only addresses are used. */
static void conc__task_wake_joiners(const conc_task *t, const conc_loop *loop) {
    (void)conc__wake_waiters(t, CONC__ANY_TAG, CONC_ALL);
    (void)conc__wake_waiters(&loop->alive, CONC__ANY_TAG, CONC_ALL); /* who waits for several */
}

/* Gives a handle back: true if it was there to be. */
static bool conc__task_release(conc_task *t, bool report) {
    conc_loop *loop = t->loop; /* now: as soon as the handle is given back, the task may be gone */
    uint32_t s = conc__and32(&t->shared, ~CONC__TASK_HANDLE, CONC__ACQ_REL);
    if ((s & CONC__TASK_HANDLE) == 0) return false;
    if ((s & CONC__TASK_IS_ENDED) == 0) { /* the loop will see to it, but not to those who wait for it */
        if ((s & CONC__TASK_AWAITED) != 0) conc__task_wake_joiners(t, loop);
        return true;
    }
    if (report) conc__task_report(t);
    if (conc__loop_is_here(loop)) {
        conc__task_recycle(t);
    } else {
        bool running;
        conc__lock_take(&loop->gate);
        running = loop->running;
        if (!running) conc__task_recycle(t);
        conc__lock_give(&loop->gate);
        if (running) conc__loop_push(loop, t);
    }
    return true;
}

/* It is in no list any more. */
static void conc__task_end(conc_task *t) {
    conc_loop *loop = t->loop;
    conc__task_extra *extra = conc__task_extra_of(t);
    conc_group *group = extra != NULL ? extra->group : NULL;
    uint32_t s;
    conc__pokez(&loop->alive, loop->alive - 1);
    if (CONC__LIKELY(extra == NULL && t->code == 0 && t->flags == 0 &&
                     (conc__load32(&t->shared, CONC__ACQUIRE) & CONC__TASK_HANDLE) == 0)) {
        t->state = CONC__TASK_FREE; /* the short way of conc__task_recycle() */
        conc__slab_give(&loop->own, CONC__SLAB_TASKS, t, CONC__TASK_SIZE + conc__task_root(t)->conc__cls->size);
        return;
    }
    t->state = CONC__TASK_ENDED;
    if (group != NULL) conc__group_leave(group, t, t->code);
    /* Without a handle nobody else can have anything to do with it. */
    s = conc__load32(&t->shared, CONC__ACQUIRE);
    if ((s & CONC__TASK_HANDLE) != 0) {
        s = conc__or32(&t->shared, CONC__TASK_IS_ENDED, CONC__SEQ_CST);
        if ((s & CONC__TASK_AWAITED) != 0) conc__task_wake_joiners(t, loop);
    }
    if ((s & CONC__TASK_HANDLE) == 0) {
        conc__task_report(t);
        conc__task_recycle(t);
    }
}

/* ---- time-outs and unwinding ------------------------------------------------------------------------- */

/* The outermost block whose time is up; NULL: none. (Whatever is around one that is held is held, too.) */
static conc_co_timeout *conc__limit_passed(const conc_task *t, int64_t now) {
    conc_co_timeout *l, *found = NULL;
    for (l = t->limit; l != NULL && !l->conc__held; l = l->conc__outer) {
        if (l->conc__due <= now) found = l;
    }
    return found;
}

/* The block to which the task unwinds; NULL: it is canceled as a whole. */
static conc_co_timeout *conc__limit_expired(const conc_task *t) {
    conc_co_timeout *l = t->limit;
    while (l != NULL && !l->expired) l = l->conc__outer;
    return l;
}

/* A frame's blocks, which it leaves. */
static void conc__limits_drop(conc_task *t, const conc_co *frame) {
    while (t->limit != NULL && t->limit->conc__frame == frame) t->limit = t->limit->conc__outer;
}

/* The top frame ends: blocks around it have to wait for that. */
static void conc__limits_hold(conc_task *t) {
    conc_co_timeout *l;
    for (l = t->limit; l != NULL && !l->conc__held; l = l->conc__outer) {
        if (l->conc__frame != t->top) l->conc__held = true;
    }
}

/* The block that expired has been left: if this was in the clean-up of a frame that ends itself, that goes on. */
static void conc__limits_let_go(conc_task *t) {
    conc_co_timeout *l = t->limit;
    conc_co *f = t->top;
    for (; f != NULL; f = f == conc__task_root(t) ? NULL : f->conc__up) {
        for (; l != NULL && l->conc__frame == f; l = l->conc__outer) l->conc__held = false;
        if ((f->conc__line & CONC__CO_UNWINDS) != 0) return;
    }
    t->flags &= (uint8_t)~CONC__TASK_UNWINDS;
}

/* The top frame goes on at its block's end, or in its clean-up part, or, if it is there already, after the wait. */
static void conc__task_unwind(conc_task *t) {
    conc_co_timeout *limit = conc__limit_expired(t);
    conc_co *top = t->top;
    if (limit != NULL && limit->conc__frame == top) {
        t->limit = limit->conc__outer;
        limit->conc__inside = 0;
        top->conc__place = limit->conc__place;
        top->result = CONC_TIMEOUT;
        conc__limits_let_go(t);
        return;
    }
    t->flags |= CONC__TASK_UNWINDS;
    top->result = limit != NULL ? CONC_TIMEOUT : CONC_CANCELED;
    top->value = -1;
    if ((top->conc__line & CONC__CO_CLEANS) == 0) {
        conc__limits_drop(t, top);
        top->conc__place = CONC__PLACE_CLEANUP;
    } else { /* it goes on where it is, and so do its blocks */
        conc_co_timeout *l;
        for (l = t->limit; l != NULL && l->conc__frame == top; l = l->conc__outer) l->conc__held = false;
    }
    top->conc__line |= CONC__CO_UNWINDS;
    conc__limits_hold(t);
}

/* The cancel has come: the wait under way is told, if it is one that catches it; else the task unwinds. */
static void conc__task_take_cancel(conc_task *t) {
    conc__agent *me = conc__self();
    t->flags |= CONC__TASK_SHIELDED;
    if (me->task == t) me->cancel = NULL; /* nor does the token end what it calls that blocks, from now on */
    if ((t->flags & CONC__TASK_CATCHES) != 0) {
        t->top->result = CONC_CANCELED;
    } else {
        conc__task_unwind(t);
    }
}

void conc__co_check(const conc_task *t) {
    const conc_co *top = t->top;
    /* (Where a `return` does not leave such a block properly, the count says nothing.) */
    if (!CONC__HAS_CLEANUP || CONC__LIKELY(conc__self()->scopes == t->loop->scopes)) return;
    conc__frame_torn(top->conc__cls->name, top->conc__cls->file, top->conc__line & CONC__CO_LINE);
}

void conc__co_timeout_enter(conc_task *t, conc_co *frame, conc_co_timeout *timeout, conc_deadline due) {
    conc_co_timeout *l = t->limit;
    while (l != NULL && l != timeout) l = l->conc__outer;
    if (l != NULL) t->limit = l->conc__outer; /* it was left by goto, or is in itself: then the inner one counts */
    timeout->expired = false;
    timeout->conc__inside = 1;
    timeout->conc__held = false;
    timeout->conc__due = due.ns;
    timeout->conc__frame = frame;
    timeout->conc__outer = t->limit;
    t->limit = timeout;
}

void conc__co_timeout_leave(conc_task *t, conc_co_timeout *timeout) {
    timeout->conc__inside = 0;
    if (t->limit == timeout) t->limit = timeout->conc__outer;
}

uint32_t conc__co_return(conc_task *t, conc_co *frame, int code) {
    conc__limits_drop(t, frame);
    t->code = code;
    return (frame->conc__line & CONC__CO_CLEANS) != 0 ? CONC__PLACE_DONE : CONC__PLACE_CLEANUP;
}

/* ---- calls ---------------------------------------------------------------------------------------------- */

/* Before a called frame: what its caller had returned already when its clean-up part made the call. */
#define CONC__CALL_HEAD 16u

static void conc__co_begin(conc_co *co, const conc_co_class *cls, void *up) {
    co->conc__cls = cls;
    co->conc__up = (conc_co *)up;
    co->conc__place = CONC__PLACE_START;
    co->conc__line = 0;
    co->result = CONC_OK;
    co->value = 0;
}

void *conc__co_call(conc_task *t, size_t size) {
    char *block = (char *)conc__slab_take(&t->loop->own, CONC__SLAB_BLOCKS, CONC__CALL_HEAD + size, "a called coroutine");
    if (block != NULL) return block + CONC__CALL_HEAD;
    t->top->result = CONC_NO_MEMORY;
    t->top->value = 0;
    return NULL;
}

void conc__co_enter(conc_task *t, conc_co *co, const conc_co_class *cls) {
    memcpy((char *)co - CONC__CALL_HEAD, &t->code, sizeof t->code);
    t->code = 0;
    conc__co_begin(co, cls, t->top);
    t->top = co;
}

/* The top frame has ended: false, the task has. */
static bool conc__task_pop(conc_task *t) {
    conc_co *frame = t->top, *up;
    bool unwinds = (frame->conc__line & CONC__CO_UNWINDS) != 0;
    conc__limits_drop(t, frame);
    if (frame == conc__task_root(t)) {
        if (unwinds) t->code = CONC_CANCELED;
        return false;
    }
    up = frame->conc__up;
    up->result = CONC_OK;
    up->value = t->code;
    memcpy(&t->code, (char *)frame - CONC__CALL_HEAD, sizeof t->code);
    conc__slab_give(&t->loop->own, CONC__SLAB_BLOCKS, (char *)frame - CONC__CALL_HEAD,
                    CONC__CALL_HEAD + frame->conc__cls->size);
    t->top = up;
    if (unwinds) conc__task_unwind(t);
    return true;
}

/* ---- waiting ----------------------------------------------------------------------------------------------- */

static int conc__loop_watch(conc_loop *loop, uint64_t word);

static void conc__task_unpark(conc_task *t) {
    conc__slab_give(&t->loop->own, CONC__SLAB_BLOCKS, t->parked, sizeof *t->parked);
    t->parked = NULL;
}

/* The wait has its result; `winner` is the op's index, or the count. */
static void conc__task_complete(conc_task *t, size_t winner, conc_result r) {
    conc__parked *p = t->parked;
    conc__abandon_but(conc__parked_ops(p), p->count, winner);
    if (winner == p->count && p->count == 1 && conc__parked_ops(p)[0].result != CONC_PENDING) {
        r = conc__parked_ops(p)[0].result; /* abandon() found it complete after all */
    }
    t->top->result = r;
    if (p->any) t->top->value = winner < p->count ? (int)winner : -1;
    conc__task_unpark(t);
}

/* conc__attempt_all() for a task. `trust`: what the loop knows of its sockets; before a time-out they are asked themselves. */
static size_t conc__loop_attempt(conc_loop *loop, conc_op *ops, size_t n, size_t first, bool trust) {
    size_t winner;
    loop->attempting = trust;
    winner = conc__attempt_all(ops, n, first);
    loop->attempting = false;
    return winner;
}

/* Attempts the ops of the wait: true, it is complete. */
static bool conc__task_attempt(conc_task *t, size_t first, bool trust) {
    conc__parked *p = t->parked;
    size_t winner = conc__loop_attempt(t->loop, conc__parked_ops(p), p->count, first, trust);
    if (winner == p->count) return false;
    conc__task_complete(t, winner, conc__parked_ops(p)[winner].result);
    return true;
}

/* Has the poller watch for the armed ops that want it: 0, or the system's error. */
static int conc__task_watch(conc_task *t) {
    conc__parked *p = t->parked;
    size_t i;
    int e = 0;
    for (i = 0; i < p->armed && e == 0; i++) {
        if (conc__is_polled(&conc__parked_ops(p)[i])) e = conc__loop_watch(t->loop, conc__parked_ops(p)[i].word);
    }
    return e;
}

static void conc__task_disarm(conc_task *t) {
    conc__task_extra *extra = conc__task_extra_of(t);
    size_t i;
    conc__wheel_remove(&t->loop->wheel, &t->timer);
    if (extra != NULL) {
        for (i = 0; i < extra->token_count; i++) conc_waiters_disarm(&extra->tokens[i]);
    }
    if (t->parked != NULL) conc__disarm_all(conc__parked_ops(t->parked), t->parked->armed);
}

/* Suspends: true, the task waits. False: it goes on at once, the wait complete, or canceled.
 *
 * The wake. For each op as in conc__select(): the object's waker claims under the bucket's lock, under which arm() looked.
 * For the token: its fire claims likewise. For conc_task_cancel(): it sets the flag and then claims, we make the waiter
 * claimable and then look at the flag, both sequentially consistent: of the two one sees the other. For the timer: the
 * loop looks at the wheel before it sleeps. A claim is followed by conc__task_wake(), which brings the task to its loop. */
static bool conc__task_suspend(conc_task *t, int64_t until, bool front, size_t first) {
    conc__parked *p = t->parked;
    conc__task_extra *extra = conc__task_extra_of(t);
    bool shielded = (t->flags & (CONC__TASK_SHIELDED | CONC__TASK_UNWINDS)) != 0;
    t->since = (uint32_t)(t->loop->now / 1000000);
    for (;;) {
        size_t tokens = 0;
        int64_t due = until;
        int error = 0;
        uint32_t ticket;
        bool quiet;
        const conc_co_timeout *limit;
        for (limit = t->limit; limit != NULL && !limit->conc__held; limit = limit->conc__outer) {
            if (limit->conc__due < due) due = limit->conc__due;
        }
        if (p != NULL) {
            p->armed = 0;
            t->waiter.owner = conc__self()->owner; /* given now, if it had none: locks and hand-overs go by it */
            if (front) conc__parked_ops(p)[first].node.conc__tag |= CONC__FRONT;
        }
        conc__store32(&t->waiter.claimed, 0, CONC__SEQ_CST);
        quiet = shielded || (conc__load32(&t->shared, CONC__SEQ_CST) & CONC__TASK_CANCEL) == 0;
        if (quiet && !shielded && extra != NULL && extra->cancel != NULL) {
            quiet = conc__tokens_arm(extra->cancel, extra->tokens, &tokens, &t->waiter);
        }
        if (quiet && p != NULL) {
            p->armed = (uint16_t)conc__arm_all(conc__parked_ops(p), p->count, &t->waiter, &due);
            error = conc__task_watch(t);
        }
        if (quiet && error == 0 && (p == NULL || p->armed == p->count)) {
            t->state = CONC__TASK_WAITS;
            if (due != INT64_MAX) conc__wheel_add(&t->loop->wheel, &t->timer, due);
            return true;
        }
        /* Back. If somebody has claimed us meanwhile, his wake comes, and must find a task that waits. */
        first = p != NULL ? p->armed : 0;
        conc__task_disarm(t);
        if (p != NULL) p->armed = 0;
        ticket = conc__swap32(&t->waiter.claimed, CONC__CLAIMED_NOT_WAITING, CONC__ACQ_REL);
        if (conc__was_claimed(ticket, first)) {
            conc__store32(&t->waiter.claimed, ticket, CONC__RELAXED);
            t->state = CONC__TASK_WAITS;
            return true;
        }
        if (!quiet) {
            if (p != NULL) conc__task_complete(t, p->count, CONC_CANCELED);
            conc__task_take_cancel(t);
            return false;
        }
        if (error != 0) {
            conc__task_complete(t, p->count, conc__fail_system(CONC_SYSTEM, error, "cannot wait for a descriptor"));
            return false;
        }
        if (conc__task_attempt(t, first, true)) return false; /* the one that arm() found ready */
        front = false;
    }
}

/* The time of a wait has come, or that of a block around it: true, the wait is over. */
static bool conc__task_time(conc_task *t) {
    conc__parked *p = t->parked;
    int64_t now = t->loop->now;
    conc_co_timeout *limit = conc__limit_passed(t, now);
    bool over = p != NULL ? p->deadline <= now : (t->flags & CONC__TASK_POINT) != 0 && t->timer.due <= now && limit == NULL;
    if (limit != NULL) {
        limit->expired = true;
        if (p != NULL) conc__task_complete(t, p->count, CONC_TIMEOUT);
        conc__task_unwind(t);
        return true;
    }
    if (over) {
        if (p != NULL) {
            conc__task_complete(t, p->count, CONC_TIMEOUT);
        } else {
            t->top->result = CONC_OK;
        }
    }
    return over;
}

/* A task that waited has been woken: true, the wait is over, and it goes on. */
static bool conc__task_settle(conc_task *t) {
    conc__parked *p = t->parked;
    uint32_t ticket = conc__load32(&t->waiter.claimed, CONC__ACQUIRE);
    bool swept = (ticket & CONC__TICKET_SWEPT) != 0;
    int64_t until = p != NULL ? p->deadline : t->timer.due;
    ticket &= ~CONC__TICKET_SWEPT;
    conc__task_disarm(t);
    t->state = CONC__TASK_READY;
    conc__store32(&t->waiter.claimed, CONC__CLAIMED_NOT_WAITING, CONC__RELAXED);
    if (ticket == CONC__TICKET_CANCEL && conc__task_wants_cancel(t)) {
        if (p != NULL) conc__task_complete(t, p->count, CONC_CANCELED);
        conc__task_take_cancel(t);
        return true;
    }
    if (p != NULL && conc__task_attempt(t, ticket - 1u < p->count ? ticket - 1u : p->count, ticket != CONC__TICKET_TIMER)) {
        return true;
    }
    if (ticket == CONC__TICKET_TIMER && conc__task_time(t)) return true;
    return !conc__task_suspend(t, until, p != NULL && ticket - 1u < p->count && !swept, ticket - 1u);
}

/* A wait that needs none is complete: true; or, after so many of them that the others have to come first, false. */
#define CONC__LOOP_AT_ONCE 128
static bool conc__co_complete(conc_task *t, conc_result r) {
    conc_loop *loop = t->loop;
    t->top->result = r;
    if (CONC__LIKELY(++loop->at_once < CONC__LOOP_AT_ONCE)) return true;
    t->state = CONC__TASK_BEHIND;
    conc__ready_append(loop, t);
    return false;
}

static bool conc__co_complete_any(conc_task *t, conc_result r, int index) {
    t->top->value = index;
    return conc__co_complete(t, r);
}

/* Whether the op needs what lies on the coroutine's own stack, which will be another's as soon as it suspends. */
static bool conc__co_is_lost(const conc_loop *loop, const void *p) {
    uintptr_t here = conc__stack_here(), there = loop->stack, at = (uintptr_t)p;
    return here < there ? at > here && at < there : at > there && at < here;
}

static bool conc__co_any_lost(const conc_loop *loop, const conc_op *ops, size_t n, bool any) {
    size_t i;
    if (any && conc__co_is_lost(loop, ops)) return true;
    for (i = 0; i < n; i++) {
        if (conc__co_is_lost(loop, ops[i].data) || conc__co_is_lost(loop, ops[i].object)) return true;
    }
    return false;
}

static bool conc__co_park(conc_task *t, conc_op *ops, size_t n, conc_deadline deadline, bool any, bool catches) {
    conc__parked *p = NULL;
    conc_result r = CONC_NO_MEMORY;
    conc__co_check(t);
    if (CONC__UNLIKELY(conc__co_any_lost(t->loop, ops, n, any))) {
        r = conc__fail(CONC_INVALID, "%s:%u: \"%s\" cannot wait with a variable that is not in its frame: it would be lost",
                       t->top->conc__cls->file, (unsigned)(t->top->conc__line & CONC__CO_LINE), t->top->conc__cls->name);
    } else {
        p = (conc__parked *)conc__slab_take(&t->loop->own, CONC__SLAB_BLOCKS, sizeof *p, "a wait");
    }
    if (p == NULL) {
        conc__abandon_but(ops, n, n);
        return any ? conc__co_complete_any(t, r, -1) : conc__co_complete(t, r);
    }
    p->count = (uint16_t)n;
    p->armed = 0;
    p->any = any;
    p->deadline = deadline.ns;
    if (any) {
        p->own.object = ops;
    } else {
        p->own = *ops;
    }
    t->parked = p;
    t->flags = (uint8_t)((t->flags & ~(CONC__TASK_CATCHES | CONC__TASK_POINT)) | (catches ? CONC__TASK_CATCHES : 0u));
    (void)conc__task_suspend(t, deadline.ns, false, 0);
    return false; /* waits; or the loop resumes it where it now stands */
}

/* Valid ops: those that need not wait, or may not any more, without a park. */
static bool conc__co_wait(conc_task *t, conc_op *ops, size_t n, conc_deadline deadline, bool any, bool catches) {
    conc_result r;
    size_t winner;
    conc__ops_begin(ops, n);
    winner = conc__loop_attempt(t->loop, ops, n, n, true);
    if (winner == n) {
        if (!conc_deadline_passed(deadline)) return conc__co_park(t, ops, n, deadline, any, catches);
        winner = conc__loop_attempt(t->loop, ops, n, n, false);
    }
    conc__abandon_but(ops, n, winner);
    if (winner < n) {
        r = ops[winner].result;
    } else if (!any && ops->result != CONC_PENDING) {
        r = ops->result; /* abandon() found it complete after all */
    } else if (deadline.ns == INT64_MIN) {
        r = any ? CONC_BUSY : conc__op_busy(ops);
    } else {
        r = CONC_TIMEOUT;
    }
    return any ? conc__co_complete_any(t, r, winner < n ? (int)winner : -1) : conc__co_complete(t, r);
}

bool conc__co_await(conc_task *t, conc_op op, conc_deadline deadline, bool catches) {
    if (conc__op_is_until(&op) && deadline.ns == INT64_MAX) {
        /* (One that is due already comes out of the wheel when all who are ready have run.) */
        t->flags = (uint8_t)((t->flags & ~CONC__TASK_CATCHES) | CONC__TASK_POINT | (catches ? CONC__TASK_CATCHES : 0u));
        t->timer.due = op.due.ns;
        conc__co_check(t);
        (void)conc__task_suspend(t, op.due.ns, false, 0);
        return false;
    }
    if (!conc__op_valid(&op)) {
        return conc__co_complete(t, conc__fail(CONC_INVALID, "CO_AWAIT: an op without a class"));
    }
    return conc__co_wait(t, &op, 1, deadline, false, catches);
}

bool conc__co_await_any(conc_task *t, conc_op *ops, size_t n, conc_deadline deadline) {
    size_t i;
    if (ops == NULL || n == 0 || n > CONC__MAX_OPS) {
        return conc__co_complete_any(t, conc__fail(CONC_INVALID, "CO_AWAIT_ANY: %zu ops; 1 to %d can be waited for",
                                               ops == NULL ? 0 : n, CONC__MAX_OPS), -1);
    }
    for (i = 0; i < n; i++) {
        if (!conc__op_valid(&ops[i])) {
            return conc__co_complete_any(t, conc__fail(CONC_INVALID, "CO_AWAIT_ANY: op %zu has no class", i), -1);
        }
    }
    return conc__co_wait(t, ops, n, deadline, true, false);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

/* Goes on with a task until it waits, yields or ends. */
static void conc__task_resume(conc_loop *loop, conc__agent *me, conc_task *t) {
    for (;;) {
        conc_co *top = t->top;
        conc_result r;
        conc__pokep(&loop->runs, top->conc__cls);
        if (CONC__UNLIKELY(loop->stall != NULL)) {
            conc__poke32(&loop->runs_from, top->conc__line);
            conc__pokez(&loop->turns, loop->turns + 1);
        }
        CONC__FRAME_SCRIBBLE();
        r = top->conc__cls->resume(top, t);
        if (CONC__UNLIKELY(t->waiter.owner == 0)) t->waiter.owner = me->owner; /* given now, if at all */
        if (r == CONC__CO_YIELDS) {
            conc__ready_append(loop, t);
            return;
        }
        if (r == CONC_PENDING) {
            if (t->state == CONC__TASK_WAITS || t->state == CONC__TASK_BEHIND) return;
            continue; /* it has called another, or its wait was over at once */
        }
        if (!conc__task_pop(t)) {
            conc__task_end(t);
            return;
        }
    }
}

/* The next of those ready. The thread acts as the task meanwhile. */
static void conc__loop_step(conc_loop *loop, conc__agent *me) {
    conc_task *t = loop->ready;
    const conc__task_extra *extra = conc__task_extra_of(t);
    loop->ready = t->next;
    if (loop->ready == NULL) loop->ready_end = &loop->ready;
    me->task = t;
    me->owner = t->waiter.owner;
    me->cancel = CONC__UNLIKELY(extra != NULL) && (t->flags & CONC__TASK_SHIELDED) == 0 ? extra->cancel : NULL;
    loop->at_once = 0;
    if (t->state == CONC__TASK_WAITS) {
        if (!conc__task_settle(t)) return;
    } else if (CONC__UNLIKELY(t->state == CONC__TASK_BEHIND)) {
        t->state = CONC__TASK_READY; /* no cancel: the result, an item perhaps, must arrive */
    } else if (CONC__UNLIKELY(extra != NULL || (conc__load32(&t->shared, CONC__RELAXED) & CONC__TASK_CANCEL) != 0) &&
               conc__task_wants_cancel(t)) {
        t->flags &= (uint8_t)~CONC__TASK_CATCHES;
        conc__task_take_cancel(t);
    }
    conc__task_resume(loop, me, t);
}

/* ---- the inbox ----------------------------------------------------------------------------------------------------- */

void conc__task_begins(conc_task *t) {
    const conc__task_extra *extra = conc__task_extra_of(t);
    if (extra != NULL && extra->start > conc__port_clock_ns()) {
        t->flags |= CONC__TASK_POINT;
        t->timer.due = extra->start;
        if (conc__task_suspend(t, extra->start, false, 0)) return;
    }
    conc__task_ready(t);
}

/* A new task is the loop's from here on. In its thread, or under the gate while it has none. */
static void conc__task_admit(conc_task *t) {
    conc__task_extra *extra = conc__task_extra_of(t);
    conc_loop *loop = t->loop;
    conc__pokez(&loop->alive, loop->alive + 1);
    if (extra != NULL && extra->group != NULL && !conc__group_admit(extra->group, t)) {
        t->state = CONC__TASK_ASIDE;
        return;
    }
    conc__task_begins(t);
}

/* Takes what is in the inbox, oldest first. */
static void conc__loop_take(conc_loop *loop) {
    void *item = conc__swapp(&loop->inbox, NULL, CONC__ACQUIRE), *list = NULL;
    while (item != NULL) {
        void **link = conc__inbox_link(item), *next = *link;
        *link = list;
        list = item;
        item = next;
    }
    while (list != NULL) {
        conc__mail *mail = conc__mail_of(list);
        conc_task *t = mail == NULL ? (conc_task *)list : NULL;
        list = *conc__inbox_link(list);
        if (mail != NULL) {
            mail->deliver(mail, loop);
        } else if (t->state == CONC__TASK_NEW) {
            (void)conc__subz(&loop->arrivals, 1, CONC__RELAXED);
            conc__task_admit(t);
        } else if (t->state == CONC__TASK_ENDED) {
            conc__task_recycle(t);
        } else {
            conc__ready_append(loop, t);
        }
    }
}

/* ---- the poller -------------------------------------------------------------------------------------------------------- */

#if CONC__POLLER_EDGES

static conc__watch *conc__watch_of(const conc_loop *loop, uint64_t word) {
    size_t fd = (size_t)conc__polled_fd(word);
    return conc__polled_number(word) != 0 && fd < loop->watch_count ? &loop->watches[fd] : NULL;
}

/* Room for a descriptor's watch; false: no memory. */
static bool conc__watches_grow(conc_loop *loop, size_t fd) {
    size_t count = loop->watch_count == 0 ? 64 : loop->watch_count;
    conc__watch *more;
    if (fd < loop->watch_count) return true;
    while (count <= fd) count *= 2;
    more = (conc__watch *)conc__realloc(loop->watches, count, sizeof *more, "the watched sockets of a loop");
    if (more == NULL) return false;
    memset(more + loop->watch_count, 0, (count - loop->watch_count) * sizeof *more);
    loop->watches = more;
    loop->watch_count = count;
    return true;
}

bool conc__polled_may_be_ready(uint64_t word) {
    const conc_loop *loop = conc__self_fast()->loop;
    const conc__watch *w = loop != NULL && loop->attempting ? conc__watch_of(loop, word) : NULL;
    return w == NULL || w->number != conc__polled_number(word) || w->hung_up || (w->ready & conc__polled_want(word)) != 0;
}

void conc__polled_drained(uint64_t word) {
    conc_loop *loop = conc__self_fast()->loop;
    conc__watch *w = loop != NULL && loop->attempting ? conc__watch_of(loop, word) : NULL;
    if (w != NULL && w->number == conc__polled_number(word)) w->ready &= (uint8_t)~conc__polled_want(word);
}

#else

bool conc__polled_may_be_ready(uint64_t word) {
    (void)word;
    return true;
}

void conc__polled_drained(uint64_t word) {
    (void)word;
}

#endif

/* Has the poller tell when the descriptor is ready, from now on: what it is already is told as well. */
static int conc__loop_watch(conc_loop *loop, uint64_t word) {
    intptr_t fd = conc__polled_fd(word);
    unsigned want = conc__polled_want(word);
    int e;
#if CONC__POLLER_EDGES
    uint32_t number = conc__polled_number(word);
    if (number != 0 && conc__watches_grow(loop, (size_t)fd)) {
        conc__watch *w = &loop->watches[fd];
        if (w->number != number) { /* a new socket; an older one of this number is closed, and forgotten by the system */
            e = conc__port_poller_add(&loop->poller, fd);
            if (e != 0) return e;
            w->number = number;
            w->ready = CONC__PORT_READ | CONC__PORT_WRITE;
            w->armed = 0;
            w->hung_up = false;
        }
        w->ready &= (uint8_t)~want; /* an attempt has just found it so */
        w->armed |= (uint8_t)want;
        return 0;
    }
    if (number == 0 && (size_t)fd < loop->watch_count && loop->watches[fd].number != 0) {
        /* By number, what is a socket's, or was once: in either way it is watched like one. */
        e = conc__port_poller_add(&loop->poller, fd);
        if (e == 0) {
            loop->watches[fd].armed |= (uint8_t)want;
            return 0;
        }
        if (e != CONC__PORT_ALWAYS_READY) return e;
        loop->watches[fd].number = 0;
    }
#endif
    /* Once, and for the other side too if somebody waits for that. */
    if (conc__is_waited_for(conc__polled_key(fd, 1u - conc__polled_side(word)))) want = CONC__PORT_READ | CONC__PORT_WRITE;
    e = conc__port_poller_want(&loop->poller, fd, want);
    if (e == CONC__PORT_ALWAYS_READY) { /* what cannot be polled does not block: its waiters look again */
        (void)conc__wake_waiters(conc__polled_key(fd, conc__polled_side(word)), CONC__ANY_TAG, CONC_ALL);
        e = 0;
    }
    return e;
}

/* Claims all who wait for one side. Those of this loop do not come back before it is done. */
static void conc__loop_wake_side(intptr_t fd, unsigned side) {
    const void *key = conc__polled_key(fd, side);
    bool more = true;
    while (more) {
        conc__wakes w;
        conc__bucket *b = conc__bucket_lock(key);
        conc_node *node = conc__bucket_first(b, key);
        w.count = 0;
        more = node != NULL;
        while (more && w.count < CONC__WAKES) {
            conc_node *next = node->conc__next;
            more = next != node; /* else it is the last */
            (void)conc__claim(b, node, 0, &w);
            node = next;
        }
        conc__bucket_unlock(b);
        conc__wakes_run(&w);
    }
}

static void conc__loop_event(conc_loop *loop, const conc__port_event *event) {
    unsigned got = event->got;
    bool both = (got & (CONC__PORT_HUP | CONC__PORT_BAD)) != 0;
#if CONC__POLLER_EDGES
    if ((size_t)event->fd < loop->watch_count && loop->watches[event->fd].number != 0) {
        conc__watch *w = &loop->watches[event->fd];
        if (both) {
            w->hung_up = true;
            got |= CONC__PORT_READ | CONC__PORT_WRITE;
        }
        w->ready |= (uint8_t)(got & (CONC__PORT_READ | CONC__PORT_WRITE));
        got &= w->armed;
        w->armed &= (uint8_t)~got;
        if ((got & CONC__PORT_READ) != 0) conc__loop_wake_side(event->fd, 0);
        if ((got & CONC__PORT_WRITE) != 0) conc__loop_wake_side(event->fd, 1);
        return;
    }
#else
    (void)loop;
    (void)both;
#endif
    /* It was told once: whoever waits for the other side wants it again. */
    conc__loop_wake_side(event->fd, 0);
    conc__loop_wake_side(event->fd, 1);
}

static bool conc__loop_is_told(conc_loop *loop) {
    return conc__load32(&loop->stop, CONC__SEQ_CST) != 0 || conc__load32(&loop->host.base.claimed, CONC__SEQ_CST) != 0;
}

/* Looks at the poller, and sleeps in it until `until` if the inbox is empty. Who pushes after the mark is there takes it away
 * and calls; who has pushed before keeps it from being put. Stop and the token are set and then take the mark away; we put
 * it and then look at them. While a call is owed no mark is put: it will come, and ends the sleep. */
static void conc__loop_poll(conc_loop *loop, int64_t until) {
    conc__port_event events[CONC__LOOP_EVENTS];
    void *expected = NULL;
    bool signaled = false, marked = false;
    size_t i, n;
    if (until != INT64_MIN && !loop->owed) {
        conc__loop_call_settle(loop);
        marked = conc__casp(&loop->inbox, &expected, CONC__ASLEEP, CONC__SEQ_CST);
        if (!marked || conc__loop_is_told(loop)) until = INT64_MIN;
    }
    n = conc__port_poller_wait(&loop->poller, events, CONC__LOOP_EVENTS, until, &signaled);
    if (signaled) {
        loop->owed = false;
        loop->answered = true;
    }
    if (marked && !signaled) {
        expected = CONC__ASLEEP;
        if (!conc__casp(&loop->inbox, &expected, NULL, CONC__ACQUIRE)) loop->owed = true;
    }
    for (i = 0; i < n; i++) conc__loop_event(loop, &events[i]);
}

/* Brings those whose time has come to the others that are ready. */
static void conc__loop_expire(conc_loop *loop) {
    conc__wheel_node *node;
    loop->now = conc__port_clock_ns();
    while ((node = conc__wheel_expire(&loop->wheel, loop->now)) != NULL) {
        conc_task *t = (conc_task *)(void *)((char *)node - offsetof(conc_task, timer));
        uint32_t waits = 0;
        /* If this fails, somebody else has claimed it, and brings it. */
        if (conc__cas32(&t->waiter.claimed, &waits, CONC__TICKET_TIMER, CONC__RELAXED)) conc__ready_append(loop, t);
    }
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------- */

static conc__lock conc__loops_lock; /* guards the list of all loops */
static conc_loop *conc__loops;
static uint32_t conc__loop_number;  /* atomic; for names */

static void conc__loops_reset(void) {
    conc__loops_lock = 0;
    conc__loops = NULL;
}

void conc__loops_begin(void) {
    conc__on_fork(CONC__RESET_LOOPS, conc__loops_reset);
}

conc_loop *conc_loop_new(const conc_loop_desc *desc) {
    conc_loop *loop;
    int e;
    conc__loops_begin();
    loop = (conc_loop *)conc__alloc(1, sizeof *loop, "a loop");
    if (loop == NULL) return NULL;
    e = conc__port_poller_open(&loop->poller);
    if (e != 0) {
        conc__free(loop);
        (void)conc__fail_system(CONC_SYSTEM, e, "cannot make a loop's poller");
        return NULL;
    }
    loop->ready_end = &loop->ready;
    loop->generation = conc__fork_generation();
    loop->now = conc__port_clock_ns();
    conc__wheel_begin(&loop->wheel, loop->now);
    if (desc != NULL && desc->name != NULL) {
        (void)snprintf(loop->name, sizeof loop->name, "%s", desc->name);
    } else {
        (void)snprintf(loop->name, sizeof loop->name, "loop-%u",
                       (unsigned)conc__add32(&conc__loop_number, 1, CONC__RELAXED) + 1u);
    }
    loop->until_stopped = desc != NULL && desc->until_stopped;
    if (desc != NULL && desc->stall_after > 0) {
        loop->stall = conc__stall_new(loop, desc->stall_after);
        if (loop->stall == NULL) {
            conc__port_poller_close(&loop->poller);
            conc__free(loop);
            return NULL;
        }
    }
    conc__lock_take(&conc__loops_lock);
    loop->next = conc__loops;
    loop->link = &conc__loops;
    if (loop->next != NULL) loop->next->link = &loop->next;
    conc__loops = loop;
    conc__lock_give(&conc__loops_lock);
    return loop;
}

/* Calls visit() for each task that is not free. */
static void conc__tasks_each(const conc__slab *slab, void (*visit)(conc_task *t, void *arg), void *arg) {
    const conc__chunk *c;
    for (c = slab->chunks; c != NULL; c = c->next) {
        size_t i;
        if (c->kind != CONC__SLAB_TASKS) continue;
        for (i = 0; i < c->used; i++) {
            conc_task *t = (conc_task *)(void *)((char *)(uintptr_t)c + CONC__CHUNK_HEAD + i * c->size);
            if (t->state != CONC__TASK_FREE) visit(t, arg);
        }
    }
}

static void conc__loop_tasks_each(conc_loop *loop, void (*visit)(conc_task *t, void *arg), void *arg) {
    conc__tasks_each(&loop->own, visit, arg);
    conc__lock_take(&loop->gate);
    conc__tasks_each(&loop->foreign, visit, arg);
    conc__lock_give(&loop->gate);
}

static void conc__task_unseen(conc_task *t, void *arg) {
    (void)arg;
    if (t->state == CONC__TASK_ENDED && (conc__load32(&t->shared, CONC__RELAXED) & CONC__TASK_HANDLE) != 0) {
        conc__task_report(t);
    }
}

conc_result conc_loop_free(conc_loop *loop) {
    bool running, forked;
    if (loop == NULL) return CONC_OK;
    forked = conc__loop_is_forked(loop);
    if (!forked) {
        conc__lock_take(&loop->gate);
        running = loop->running;
        conc__lock_give(&loop->gate);
        if (running) return conc__fail(CONC_BUSY, "conc_loop_free: %s runs", loop->name);
        while (conc__loadp(&loop->inbox, CONC__ACQUIRE) != NULL) conc__loop_take(loop); /* a post may post */
        if (loop->alive != 0) {
            return conc__fail(CONC_BUSY, "conc_loop_free: %zu tasks of %s have not ended", loop->alive, loop->name);
        }
        conc__loop_tasks_each(loop, conc__task_unseen, NULL);
        if (loop->stall != NULL) conc__stall_free(loop->stall);
        conc__lock_take(&conc__loops_lock);
        *loop->link = loop->next;
        if (loop->next != NULL) loop->next->link = loop->link;
        conc__lock_give(&conc__loops_lock);
        conc__loop_take(loop); /* what conc_dump() has asked meanwhile */
        while (loop->owed) conc__loop_poll(loop, INT64_MAX); /* it is between the push and the call */
        conc__loop_call_settle(loop);
    }
    conc__port_poller_close(&loop->poller);
    conc__slab_free(&loop->own);
    conc__slab_free(&loop->foreign);
#if CONC__POLLER_EDGES
    conc__free(loop->watches);
#endif
    conc__free(loop);
    return CONC_OK;
}

/* The token of the thread that runs the loop has fired. */
static void conc__host_wake(void *waiter) {
    conc__loop_waiter *host = (conc__loop_waiter *)waiter;
    /* Before our look at the mark, as the mark is before its look at this. */
    (void)conc__or32(&host->base.claimed, 0, CONC__SEQ_CST);
    conc__loop_nudge(host->loop);
    conc__store32(&host->done, 1, CONC__RELEASE); /* the last touch; then only the address is used */
    conc__port_wake_one(&host->done);
}

/* Waits until the wake of the host, which has been claimed, has done with the loop. */
static void conc__host_settle(conc__loop_waiter *host) {
    while (conc__load32(&host->done, CONC__ACQUIRE) == 0) (void)conc__port_wait(&host->done, 0, INT64_MAX);
}

/* Runs until it is told (CONC_PENDING), or another of conc_loop_run()'s results; `drains`: CONC_OK if no task is left. */
static conc_result conc__loop_laps(conc_loop *loop, conc__agent *me, conc_deadline deadline, bool drains) {
    const conc_cancel *token = me->cancel;
    uint32_t owner = me->owner;
    size_t budget = CONC__LOOP_BUDGET;
    int64_t polled = 0;  /* when the poller was last looked at; */
    bool looked = false; /* in each call once at least */
    loop->stack = conc__stack_here();
    loop->scopes = me->scopes;
    me->host = owner;
    for (;;) {
        size_t n;
        int64_t began = loop->now, next;
        if (conc__loadp(&loop->inbox, CONC__RELAXED) != NULL) conc__loop_take(loop);
        for (n = 0; n < budget && loop->ready != NULL; n++) conc__loop_step(loop, me);
        me->task = NULL;
        me->owner = owner;
        me->cancel = (conc_cancel *)(uintptr_t)token;
        conc__pokep(&loop->runs, (const conc_co_class *)NULL);
        if (CONC__UNLIKELY(conc__loop_is_forked(loop))) { /* a coroutine has called fork(), and this is the child */
            return conc__fail(CONC_FORKED, "conc_loop_run: %s was made before fork()", loop->name);
        }
        if (conc__load32(&loop->stop, CONC__RELAXED) != 0) {
            conc__store32(&loop->stop, 0, CONC__RELAXED);
            return CONC_CLOSED;
        }
        if (conc__load32(&loop->host.base.claimed, CONC__RELAXED) != 0) return CONC_PENDING;
        conc__loop_expire(loop);
        if (loop->ready != NULL) {
            /* Whoever is ready must not wait for long, nor the poller cost more than the tasks do. */
            if (loop->now - began > 100000) {
                budget = (budget + 1) / 2;
            } else if (budget < CONC__LOOP_BUDGET) {
                budget *= 2;
            }
            if (deadline.ns <= loop->now && looked) return CONC_TIMEOUT;
            if (loop->now - polled > 100000 || !looked) {
                conc__loop_poll(loop, INT64_MIN);
                polled = loop->now;
                looked = true;
            }
            continue;
        }
        if (drains && loop->alive == 0 && conc__loadp(&loop->inbox, CONC__ACQUIRE) == NULL) return CONC_OK;
        if (deadline.ns <= loop->now && looked) return CONC_TIMEOUT;
        next = conc__wheel_next(&loop->wheel);
        conc__loop_poll(loop, next < deadline.ns ? next : deadline.ns);
        loop->now = conc__port_clock_ns();
        polled = loop->now;
        looked = true;
    }
}

/* Runs the loop until `over`, if there is such an op, completes; else as conc_loop_run() does. The thread's token, and
 * that op, claim the host, a waiter whose wake has the loop look at it. */
static conc_result conc__loop_go(conc_loop *loop, conc_op *over, conc_deadline deadline) {
    conc__agent *me = conc__self();
    conc__loop_waiter *host = &loop->host;
    conc_result r = CONC_PENDING;
    size_t n = over != NULL ? 1 : 0;
    host->base.owner = me->owner;
    host->base.wake = conc__host_wake;
    host->loop = loop;
    if (over != NULL) conc__ops_begin(over, 1);
    while (r == CONC_PENDING) {
        size_t tokens, armed = 0, i;
        int64_t until = INT64_MAX;
        uint32_t ticket;
        bool quiet;
        if (over != NULL && (over->result = over->cls->attempt(over)) != CONC_PENDING) return over->result;
        conc__store32(&host->done, 0, CONC__RELAXED);
        conc__store32(&host->base.claimed, 0, CONC__RELAXED); /* nothing is armed */
        quiet = conc__tokens_arm(me->cancel, loop->host_tokens, &tokens, &host->base);
        if (quiet) armed = conc__arm_all(over, n, &host->base, &until);
        if (quiet && armed == n) {
            me->loop = loop;
            loop->now = conc__port_clock_ns();
            r = conc__loop_laps(loop, me, deadline, over == NULL && !loop->until_stopped);
            me->loop = NULL;
        }
        for (i = 0; i < tokens; i++) conc_waiters_disarm(&loop->host_tokens[i]);
        conc__disarm_all(over, armed);
        ticket = conc__load32(&host->base.claimed, CONC__ACQUIRE);
        if (conc__was_claimed(ticket, armed)) conc__host_settle(host);
        if (r == CONC_PENDING && ((ticket & ~CONC__TICKET_SWEPT) == CONC__TICKET_CANCEL || !quiet)) r = CONC_CANCELED;
    }
    return r;
}

/* Takes the loop to run it: false, it runs already. */
static bool conc__loop_enter(conc_loop *loop) {
    bool mine;
    conc__lock_take(&loop->gate);
    mine = !loop->running;
    if (mine) loop->running = true; /* (who runs it reads this without the gate) */
    conc__lock_give(&loop->gate);
    return mine;
}

static void conc__loop_leave(conc_loop *loop) {
    conc__lock_take(&loop->gate);
    loop->running = false;
    conc__lock_give(&loop->gate);
}

static conc_result conc__loop_check(const conc_loop *loop, const char *what) {
    if (loop == NULL) return conc__fail(CONC_INVALID, "%s: no loop", what);
    if (conc__loop_is_forked(loop)) return conc__fail(CONC_FORKED, "%s: %s was made before fork()", what, loop->name);
    return CONC_OK;
}

conc_result conc_loop_run(conc_loop *loop, conc_deadline deadline) {
    conc_result r = conc__loop_check(loop, "conc_loop_run");
    const conc_loop *here = conc__self()->loop;
    if (r != CONC_OK) return r;
    if (here != NULL && here != loop) {
        return conc__fail(CONC_DEADLOCK, "conc_loop_run: called in %s, which would stand still", here->name);
    }
    if (!conc__loop_enter(loop)) return conc__fail(CONC_BUSY, "conc_loop_run: %s runs already", loop->name);
    r = conc__loop_go(loop, NULL, deadline);
    conc__loop_leave(loop);
    return r;
}

/* Takes the loop to run it: waited for, beside what they want, by those who found that another of them runs it. */
static conc_result conc__loop_turn_attempt(conc_op *op) {
    return conc__loop_enter((conc_loop *)op->object) ? CONC_OK : CONC_PENDING;
}

/* (The gate before the bucket, as in conc__co_start().) */
static bool conc__loop_turn_arm(conc_op *op, conc_node *node) {
    conc_loop *loop = (conc_loop *)op->object;
    bool wait;
    conc__lock_take(&loop->gate);
    wait = loop->running;
    if (wait) {
        conc__bucket *b = conc__bucket_lock(&loop->gate);
        conc__bucket_push(b, &loop->gate, node, 0);
        conc__bucket_unlock(b);
    }
    conc__lock_give(&loop->gate);
    return wait;
}

conc_result conc__loop_wait(conc_loop *loop, conc_op op, conc_deadline deadline) {
    static const conc_op_class turn = {"turn", CONC_BUSY, conc__loop_turn_attempt, conc__loop_turn_arm, NULL, NULL};
    const conc_loop *here = conc__self()->loop;
    bool stopped = false;
    conc_result r;
    if (here != NULL) {
        op.result = op.cls->attempt(&op);
        if (op.result != CONC_PENDING) return op.result;
        return conc__fail(CONC_DEADLOCK, "a blocking wait for tasks, in a coroutine: %s would stand still", here->name);
    }
    if (!conc__loop_enter(loop)) {
        conc_op ops[2];
        int i;
        ops[0] = op;
        ops[1] = conc_op_make(&turn, loop, NULL);
        i = conc_select(ops, 2, deadline);
        if (i != 1) return i == 0 ? ops[0].result : i == CONC_BUSY ? conc__op_busy(&op) : (conc_result)i;
    }
    do {
        r = conc__loop_go(loop, &op, deadline);
        stopped = stopped || (r == CONC_CLOSED && op.result == CONC_PENDING);
    } while (r == CONC_CLOSED && op.result == CONC_PENDING);
    if (stopped) conc__store32(&loop->stop, 1, CONC__RELAXED); /* that is for conc_loop_run() */
    conc__loop_leave(loop);
    (void)conc__wake_waiters(&loop->gate, CONC__ANY_TAG, 1);
    return r == CONC_TIMEOUT && deadline.ns == INT64_MIN ? conc__op_busy(&op) : r;
}

conc_result conc_loop_stop(conc_loop *loop) {
    conc_result r = conc__loop_check(loop, "conc_loop_stop");
    if (r != CONC_OK) return r;
    conc__store32(&loop->stop, 1, CONC__SEQ_CST);
    conc__loop_nudge(loop);
    return CONC_OK;
}

typedef struct conc__post {
    conc__mail mail;
    void (*fn)(void *arg);
    void *arg;
} conc__post;

static void conc__post_deliver(conc__mail *mail, conc_loop *loop) {
    conc__post post = *(conc__post *)(void *)mail;
    (void)loop;
    conc__free(mail);
    post.fn(post.arg);
}

conc_result conc_loop_post(conc_loop *loop, void (*fn)(void *arg), void *arg) {
    conc__post *post;
    conc_result r = conc__loop_check(loop, "conc_loop_post");
    if (r != CONC_OK) return r;
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_loop_post: no function");
    post = (conc__post *)conc__alloc(1, sizeof *post, "a post");
    if (post == NULL) return CONC_NO_MEMORY;
    post->mail.deliver = conc__post_deliver;
    post->fn = fn;
    post->arg = arg;
    conc__loop_send(loop, &post->mail);
    return CONC_OK;
}

static void conc__task_cancel_one(conc_task *t, void *arg) {
    (void)arg; /* (one that is new comes after this) */
    if (t->state != CONC__TASK_ENDED && t->state != CONC__TASK_NEW) (void)conc_task_cancel(t);
}

static void conc__loop_cancel_here(void *loop) {
    conc__loop_tasks_each((conc_loop *)loop, conc__task_cancel_one, NULL);
}

conc_result conc_loop_cancel(conc_loop *loop) {
    return conc_loop_post(loop, conc__loop_cancel_here, loop);
}

size_t conc_loop_count(const conc_loop *loop) {
    return loop == NULL ? 0 : conc__peekz(&loop->alive) + conc__loadz(&loop->arrivals, CONC__RELAXED);
}

conc_loop *conc_loop_current(void) {
    return conc__self()->loop;
}

conc_task *conc_task_current(void) {
    return conc__self()->task;
}

/* ---- tasks, as users see them ------------------------------------------------------------------------------------- */

static CONC__ALWAYS_INLINE void conc__task_begin(conc_task *t, conc_loop *loop, unsigned flags) {
    t->waiter.wake = conc__task_wake;
    t->waiter.claimed = CONC__CLAIMED_NOT_WAITING;
    t->timer.list.prev = NULL;
    t->parked = NULL;
    t->top = conc__task_root(t);
    t->loop = loop;
    t->limit = NULL;
    t->shared = CONC__TASK_HANDLE;
    t->flags = (uint8_t)flags;
    t->code = 0;
}

static CONC__NOINLINE void *conc__co_new_any(conc_loop *loop, size_t size, const conc_task_desc *desc) {
    conc_group *group = desc != NULL ? desc->group : NULL;
    conc_task *t;
    conc__task_extra *extra = NULL;
    conc__slab *slab;
    size_t tokens = desc != NULL ? conc__tokens_count(desc->cancel) : 0;
    bool here, foreign = false;
    if (group != NULL) {
        conc_loop *groups = conc__group_loop(group);
        if (loop != NULL && loop != groups) {
            (void)conc__fail(CONC_INVALID, "spawn: the group is another loop's");
            return NULL;
        }
        loop = groups;
    }
    if (CONC__UNLIKELY(loop == NULL || conc__loop_is_forked(loop))) {
        (void)conc__loop_check(loop, "spawn");
        return NULL;
    }
    if (group != NULL && conc__group_check(group) != CONC_OK) return NULL;
    slab = &loop->own;
    here = conc__loop_is_here(loop);
    if (!here) {
        conc__lock_take(&loop->gate);
        foreign = loop->running;
        if (foreign) slab = &loop->foreign;
    }
    t = (conc_task *)conc__slab_take(slab, CONC__SLAB_TASKS, CONC__TASK_SIZE + size, "a task");
    if (t != NULL && desc != NULL) {
        extra = (conc__task_extra *)conc__slab_take(slab, CONC__SLAB_BLOCKS, conc__extra_size(tokens), "a task's desc");
        if (extra == NULL) {
            conc__slab_give(slab, CONC__SLAB_TASKS, t, CONC__TASK_SIZE + size);
            t = NULL;
        }
    }
    if (t != NULL) t->state = CONC__TASK_NEW; /* under the gate, against conc__tasks_each() */
    if (!here) conc__lock_give(&loop->gate);
    if (t == NULL) {
        if (group != NULL) conc__group_forgo(group);
        return NULL;
    }
    if (extra != NULL) {
        memset(extra, 0, conc__extra_size(tokens));
        extra->name = desc->name;
        extra->cancel = desc->cancel;
        extra->group = group;
        extra->start = desc->start.ns;
        extra->token_count = tokens;
    }
    conc__task_begin(t, loop, foreign ? CONC__TASK_FOREIGN : 0);
    t->next = (conc_task *)(void *)extra; /* until the frame has been filled */
    return conc__task_root(t);
}

/* The fast path: in the loop's thread. */
void *conc__co_new(conc_loop *loop, size_t size, const conc_task_desc *desc) {
    conc_task *t;
    if (CONC__UNLIKELY(loop == NULL || desc != NULL || !conc__loop_is_here(loop))) return conc__co_new_any(loop, size, desc);
    t = (conc_task *)conc__slab_take(&loop->own, CONC__SLAB_TASKS, CONC__TASK_SIZE + size, "a task");
    if (CONC__UNLIKELY(t == NULL)) return NULL;
    t->state = CONC__TASK_NEW;
    conc__task_begin(t, loop, 0);
    t->next = NULL;
    return conc__task_root(t);
}

conc_task *conc__co_start(conc_co *co, const conc_co_class *cls) {
    conc_task *t = conc__task_of_root(co);
    conc_loop *loop = t->loop;
    conc__task_extra *extra = (conc__task_extra *)(void *)t->next;
    conc__co_begin(co, cls, extra);
    if (CONC__LIKELY(extra == NULL && conc__loop_is_here(loop))) {
        conc__pokez(&loop->alive, loop->alive + 1);
        conc__task_ready(t);
        return t;
    }
    if (extra != NULL && extra->group != NULL) conc__group_enter(extra->group, t);
    if (conc__loop_is_here(loop)) {
        conc__task_admit(t);
    } else {
        bool running;
        conc__lock_take(&loop->gate);
        running = loop->running;
        if (!running) conc__task_admit(t);
        conc__lock_give(&loop->gate);
        if (running) {
            (void)conc__addz(&loop->arrivals, 1, CONC__RELAXED);
            conc__loop_push(loop, t);
        }
    }
    return t;
}

conc_result conc__co_go(conc_task *t) {
    if (CONC__UNLIKELY(t == NULL)) return conc_error_result();
    if (CONC__LIKELY(conc__loop_is_here(t->loop))) { /* it has not run yet: nobody else has seen it, but for its group */
        if (conc__task_extra_of(t) == NULL) {
            conc__store32(&t->shared, 0, CONC__RELAXED);
        } else {
            (void)conc__and32(&t->shared, ~CONC__TASK_HANDLE, CONC__ACQ_REL);
        }
        return CONC_OK;
    }
    return conc_task_detach(t);
}

const conc_task_desc *conc__desc_later(double seconds) {
    conc_task_desc *desc = &conc__self()->spawn;
    memset(desc, 0, sizeof *desc);
    desc->start = conc_after(seconds);
    return desc;
}

const conc_task_desc *conc__desc_group(conc_group *group) {
    conc_task_desc *desc = &conc__self()->spawn;
    memset(desc, 0, sizeof *desc);
    desc->group = group;
    return desc;
}

static conc_result conc__task_invalid(const conc_task *t, const char *what) {
    return t == NULL ? conc__fail(CONC_INVALID, "%s: NULL", what)
                     : conc__fail(CONC_INVALID, "%s: the task was joined or detached before", what);
}

static conc_result conc__task_end_attempt(conc_op *op) {
    conc_task *t = (conc_task *)op->object;
    uint32_t s;
    if (t == NULL) return conc__task_invalid(t, "join");
    s = conc__load32(&t->shared, CONC__ACQUIRE);
    if ((s & CONC__TASK_HANDLE) == 0) return conc__task_invalid(t, "join");
    if (conc__loop_is_forked(t->loop)) return conc__fail(CONC_FORKED, "join: the task was made before fork()");
    if (conc__self()->task == t) return conc__fail(CONC_DEADLOCK, "join: a task cannot wait for its own end");
    return (s & CONC__TASK_IS_ENDED) != 0 ? CONC_OK : CONC_PENDING;
}

static conc_result conc__task_join_attempt(conc_op *op) {
    conc_task *t = (conc_task *)op->object;
    conc_result r = conc__task_end_attempt(op);
    int code;
    if (r != CONC_OK) return r;
    code = t->code;
    if (!conc__task_release(t, op->data == NULL)) return conc__task_invalid(t, "join");
    if (op->data != NULL) *(int *)op->data = code;
    return CONC_OK;
}

static bool conc__task_end_arm(conc_op *op, conc_node *node) {
    conc_task *t = (conc_task *)op->object;
    conc__bucket *b = conc__bucket_lock(t);
    /* The end sets its bit and looks at ours in one step, as we do: one of us sees the other. So does a detach. */
    bool wait = (conc__or32(&t->shared, CONC__TASK_AWAITED, CONC__SEQ_CST) & (CONC__TASK_IS_ENDED | CONC__TASK_HANDLE)) ==
                CONC__TASK_HANDLE;
    if (wait) conc__bucket_push(b, t, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_join(conc_task *task, int *code) {
    static const conc_op_class cls = {"join", CONC_BUSY, conc__task_join_attempt, conc__task_end_arm, NULL, NULL};
    return conc_op_make(&cls, task, code);
}

conc_op conc_op_task_end(conc_task *task) {
    static const conc_op_class cls = {"task end", CONC_BUSY, conc__task_end_attempt, conc__task_end_arm, NULL, NULL};
    return conc_op_make(&cls, task, NULL);
}

conc_result conc_task_join(conc_task *task, int *code, conc_deadline deadline) {
    conc_op op = conc_op_join(task, code);
    op.result = op.cls->attempt(&op);
    return op.result != CONC_PENDING ? op.result : conc__loop_wait(task->loop, op, deadline);
}

/* So many ends among several: `object` is the array, `word` its length and the number wanted. */
static conc_result conc__task_ends_attempt(conc_op *op) {
    conc_task *const *tasks = (conc_task *const *)op->object;
    size_t n = (size_t)(op->word >> 32), wanted = (size_t)(op->word & 0xffffffffu), i, ended = 0;
    uint32_t shared;
    if (tasks == NULL && n != 0) return conc__fail(CONC_INVALID, "join of several: NULL");
    for (i = 0; i < n; i++) {
        if (tasks[i] == NULL || tasks[i]->loop != tasks[0]->loop) {
            return conc__fail(CONC_INVALID, "join of several: task %zu is %s", i, tasks[i] == NULL ? "NULL" : "another loop's");
        }
        if (i == 0 && conc__loop_is_forked(tasks[0]->loop)) {
            return conc__fail(CONC_FORKED, "join: the tasks were made before fork()");
        }
        if (tasks[i] == conc__self()->task) return conc__fail(CONC_DEADLOCK, "join: a task cannot wait for its own end");
        shared = conc__load32(&tasks[i]->shared, CONC__ACQUIRE);
        if ((shared & CONC__TASK_HANDLE) == 0) {
            return conc__fail(CONC_INVALID, "join of several: task %zu was joined or detached before", i);
        }
        ended += (shared & CONC__TASK_IS_ENDED) != 0 ? 1u : 0u;
    }
    return ended >= wanted ? CONC_OK : CONC_PENDING;
}

static bool conc__task_ends_arm(conc_op *op, conc_node *node) {
    conc_task *const *tasks = (conc_task *const *)op->object;
    const void *key = &tasks[0]->loop->alive;
    size_t n = (size_t)(op->word >> 32), wanted = (size_t)(op->word & 0xffffffffu), i, ended = 0;
    conc__bucket *b = conc__bucket_lock(key);
    bool wait = true;
    for (i = 0; i < n; i++) { /* as conc__task_end_arm() */
        uint32_t shared = conc__or32(&tasks[i]->shared, CONC__TASK_AWAITED, CONC__SEQ_CST);
        if ((shared & CONC__TASK_IS_ENDED) != 0) ended++;
        if ((shared & CONC__TASK_HANDLE) == 0) wait = false;
    }
    wait = wait && ended < wanted;
    if (wait) conc__bucket_push(b, key, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_task_ends(conc_task *const *tasks, size_t n, size_t count) {
    static const conc_op_class cls = {"task ends", CONC_BUSY, conc__task_ends_attempt, conc__task_ends_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, (void *)(uintptr_t)tasks, NULL);
    op.word = (uint64_t)n << 32 | (uint32_t)(count == 0 || count > n ? n : count);
    return op;
}

conc_result conc_task_join_all(conc_task *const *tasks, size_t n, size_t count, conc_deadline deadline) {
    conc_op op = conc_op_task_ends(tasks, n, count);
    if (n == 0) return CONC_OK;
    if (tasks == NULL) return conc__fail(CONC_INVALID, "conc_task_join_all: NULL");
    op.result = op.cls->attempt(&op);
    return op.result != CONC_PENDING ? op.result : conc__loop_wait(tasks[0]->loop, op, deadline);
}

conc_result conc_task_detach(conc_task *task) {
    uint32_t s = task != NULL ? conc__load32(&task->shared, CONC__ACQUIRE) : 0;
    if ((s & CONC__TASK_HANDLE) == 0) return conc__task_invalid(task, "conc_task_detach");
    return conc__task_release(task, true) ? CONC_OK : conc__task_invalid(task, "conc_task_detach");
}

conc_result conc_task_cancel(conc_task *task) {
    uint32_t ticket;
    if (task == NULL) return conc__fail(CONC_INVALID, "conc_task_cancel: NULL");
    if ((conc__or32(&task->shared, CONC__TASK_CANCEL, CONC__SEQ_CST) & CONC__TASK_IS_ENDED) != 0) return CONC_CLOSED;
    ticket = conc__load32(&task->waiter.claimed, CONC__SEQ_CST); /* (a swap that fails may have seen an older value) */
    if (ticket == 0 && conc__cas32(&task->waiter.claimed, &ticket, CONC__TICKET_CANCEL, CONC__SEQ_CST)) {
        conc__task_wake(&task->waiter);
    }
    return CONC_OK;
}

bool conc_task_has_ended(const conc_task *task) {
    bool has = task != NULL && (conc__load32(&task->shared, CONC__ACQUIRE) & CONC__TASK_IS_ENDED) != 0;
    CONC__OPAQUE();
    return has;
}

const char *conc_task_name(const conc_task *task) {
    const conc__task_extra *extra = task != NULL ? conc__task_extra_of((conc_task *)(uintptr_t)task) : NULL;
    if (task == NULL) return "";
    return extra != NULL && extra->name != NULL ? extra->name : conc__task_root((conc_task *)(uintptr_t)task)->conc__cls->name;
}

/* ---- for reports ------------------------------------------------------------------------------------------------------- */

void conc__loop_each(void (*visit)(conc_loop *loop, void *arg), void *arg) {
    conc_loop *loop;
    conc__loops_begin();
    conc__lock_take(&conc__loops_lock);
    for (loop = conc__loops; loop != NULL; loop = loop->next) visit(loop, arg);
    conc__lock_give(&conc__loops_lock);
}

size_t conc__loop_turns(const conc_loop *loop) {
    return conc__peekz(&loop->turns);
}

bool conc__loop_where(const conc_loop *loop, char *text, size_t size) {
    const conc_co_class *runs = (const conc_co_class *)conc__peekp(&loop->runs);
    uint32_t line = conc__peek32(&loop->runs_from) & CONC__CO_LINE;
    if (runs == NULL) {
        (void)snprintf(text, size, "%s runs no coroutine", loop->name);
    } else {
        (void)snprintf(text, size, "%s runs \"%s\", which went on at %s:%u", loop->name, runs->name, runs->file, (unsigned)line);
    }
    return runs != NULL;
}

typedef struct conc__describing {
    const conc_loop *loop;
    void (*line)(const char *text, void *arg);
    void *arg;
    size_t count;
} conc__describing;

static void conc__task_describe(conc_task *t, void *arg) {
    conc__describing *d = (conc__describing *)arg;
    char text[400];
    const conc_co *top = t->top;
    conc__parked *p = t->parked;
    double since = (double)((uint32_t)(d->loop->now / 1000000) - t->since) * 1e-3;
    int n;
    if (t->state == CONC__TASK_NEW || t->state == CONC__TASK_ENDED) return;
    n = snprintf(text, sizeof text, "%s: task \"%s\"", d->loop->name, conc_task_name(t));
    if (top != conc__task_root(t)) {
        n += snprintf(text + n, sizeof text - (size_t)n, " in \"%s\"", top->conc__cls->name);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, " at %s:%u ", top->conc__cls->file,
                  (unsigned)(top->conc__line & CONC__CO_LINE));
    if (t == conc__self()->task) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "runs");
    } else if (t->state == CONC__TASK_ASIDE) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "waits for room in its group");
    } else if (t->state == CONC__TASK_READY || t->state == CONC__TASK_BEHIND) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "is ready");
    } else if (p == NULL) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "sleeps since %.3f s", since);
    } else if (p->count > 1) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "waits for the first of %u since %.3f s", (unsigned)p->count, since);
    } else {
        (void)snprintf(text + n, sizeof text - (size_t)n, "waits in %s for %p since %.3f s",
                       conc__parked_ops(p)[0].cls->name != NULL ? conc__parked_ops(p)[0].cls->name : "?",
                       conc__parked_ops(p)[0].object, since);
    }
    d->count++;
    d->line(text, d->arg);
}

void conc__loop_describe(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg) {
    conc__describing d;
    char text[80];
    (void)snprintf(text, sizeof text, "%s: %zu tasks", loop->name, loop->alive);
    line(text, arg);
    d.loop = loop;
    d.line = line;
    d.arg = arg;
    d.count = 0;
    conc__tasks_each(&loop->own, conc__task_describe, &d);
    if (loop->running) conc__lock_take(&loop->gate); /* (who calls has it, if it is idle) */
    conc__tasks_each(&loop->foreign, conc__task_describe, &d);
    if (loop->running) conc__lock_give(&loop->gate);
}

bool conc__loop_describe_if_idle(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg) {
    bool idle;
    conc__lock_take(&loop->gate);
    idle = !loop->running;
    if (idle) conc__loop_describe(loop, line, arg);
    conc__lock_give(&loop->gate);
    return idle;
}
