/* ============================================================================================
 * thread: see thread.h.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define CONC__NAME_SIZE 32

struct conc_thread {
    struct conc_thread *next;  /* in its chain of the registry; guarded by the registry's lock, as are... */
    size_t users;              /* ...who still needs this record: the thread, its handle, each join under way, */
    bool open;                 /* whether the handle can still be joined or detached, */
    int result;                /* and what it returned */
    uint32_t alive;            /* atomic: its function has not returned (foreign: the thread has not ended) */
    conc_event ended;          /* set once it is not alive; publishes all that the thread did */
    conc__port_thread os;
    conc_fn fn;                /* NULL: not started here */
    void *arg;
    conc_cancel *cancel;
    bool daemon;
    uint32_t owner;            /* its agent's; constant */
    char name[CONC__NAME_SIZE]; /* written by the thread itself only */
    const conc__agent *agent;   /* atomic: its record, for conc_dump(); NULL before the thread has begun, and from the time, under the
                                   registry's lock, that it is not alive */
};

/* ---- the registry ----------------------------------------------------------------------------- */

#define CONC__CHAINS 64

static conc__lock conc__registry;                      /* guards all below and the fields named above */
static conc_thread *conc__chains[CONC__CHAINS];        /* every record with users, by its address */
static size_t conc__alive_count;                       /* atomic: read without the lock */
static void *conc__main_thread;                        /* atomic: read without the lock. Publishes the record */
static bool conc__exit_watched;
static conc_latch conc__not_daemons;                   /* those alive, but for those in conc_thread_join_all() */
static conc_latch conc__to_end;                        /* those whose last step is not done; both are their own locks */

static conc_thread **conc__chain_of(const conc_thread *t) {
    return &conc__chains[((uintptr_t)t >> 6) % CONC__CHAINS];
}

/* Whether `t` is a record of ours, without looking into it: it may be gone. */
static bool conc__is_registered(const conc_thread *t) {
    const conc_thread *c = *conc__chain_of(t);
    while (c != NULL && c != t) c = c->next;
    return c != NULL;
}

static void conc__register(conc_thread *t) {
    conc_thread **chain = conc__chain_of(t);
    t->next = *chain;
    *chain = t;
    conc__store32(&t->alive, 1, CONC__RELAXED);
    (void)conc__addz(&conc__alive_count, 1, CONC__RELAXED);
    if (!t->daemon && t->fn != NULL) {
        (void)conc_latch_add(&conc__not_daemons, 1);
        (void)conc_latch_add(&conc__to_end, 1);
    }
}

static bool conc__is_alive(const conc_thread *t) {
    return conc__load32(&t->alive, CONC__ACQUIRE) != 0;
}

static void conc__not_alive(conc_thread *t) {
    conc__pokep(&t->agent, (const conc__agent *)NULL);
    conc__store32(&t->alive, 0, CONC__RELEASE);
    (void)conc__subz(&conc__alive_count, 1, CONC__RELAXED);
}

static void conc__drop_user(conc_thread *t) {
    if (--t->users == 0) {
        conc_thread **link = conc__chain_of(t);
        while (*link != t) link = &(*link)->next;
        *link = t->next;
        if (conc__loadp(&conc__main_thread, CONC__RELAXED) == t) conc__storep(&conc__main_thread, NULL, CONC__RELAXED);
        conc__free(t);
    }
}

/* In a child of fork(): the calling thread is all there is. Records of others are left lying, unreachable, as their
 * threads' stacks are. */
static void conc__registry_reset(void) {
    conc_thread *me = (conc_thread *)conc__self()->thread;
    conc__registry = 0;
    memset(conc__chains, 0, sizeof conc__chains);
    conc__alive_count = 0;
    conc__not_daemons.conc__word = conc__to_end.conc__word = 0;
    conc__main_thread = me;
    if (me != NULL) conc__register(me);
}

void conc__registry_begin(void) {
    conc__on_fork(CONC__RESET_REGISTRY, conc__registry_reset);
}

#if defined(CONC_SIM)
bool conc__registry_is_alone(void) {
    const conc_thread *me = (const conc_thread *)conc__self()->thread;
    size_t i;
    bool alone = true;
    conc__lock_take(&conc__registry);
    for (i = 0; i < CONC__CHAINS && alone; i++) {
        const conc_thread *t = conc__chains[i];
        alone = t == NULL || (t == me && t->next == NULL);
    }
    conc__lock_give(&conc__registry);
    return alone;
}
#endif

/* ---- names -------------------------------------------------------------------------------------- */

static void conc__copy_name(conc_thread *t, const char *name) {
    size_t n = strlen(name);
    if (n > sizeof t->name - 1) {
        n = sizeof t->name - 1;
        while (n > 0 && ((unsigned char)name[n] & 0xc0u) == 0x80u) n--; /* not in the middle of a UTF-8 character */
    }
    memcpy(t->name, name, n);
    t->name[n] = '\0';
}

/* ---- thread-local values ------------------------------------------------------------------------- */

#define CONC__LOCALS_MAX 128

static void (*conc__local_destroy[CONC__LOCALS_MAX])(void *); /* by id - 1; written once, before the id is given out */
static uint32_t conc__local_count;                            /* guarded by the registry's lock */

/* The key's id, given out at the first set; 0: there are no more. */
static uint32_t conc__local_id(conc_local *key) {
    uint32_t id = conc__load32(&key->conc__id, CONC__ACQUIRE);
    if (id != 0) return id;
    conc__registry_begin();
    conc__lock_take(&conc__registry);
    id = conc__load32(&key->conc__id, CONC__RELAXED);
    if (id == 0 && conc__local_count < CONC__LOCALS_MAX) {
        conc__local_destroy[conc__local_count] = key->destroy;
        id = ++conc__local_count;
        conc__store32(&key->conc__id, id, CONC__RELEASE);
    }
    conc__lock_give(&conc__registry);
    return id;
}

void *conc_local_get(conc_local *key) {
    const conc__agent *me = conc__self();
    uint32_t id = key != NULL ? conc__load32(&key->conc__id, CONC__ACQUIRE) : 0;
    return id != 0 && id <= me->local_count ? me->locals[id - 1] : NULL;
}

static void conc__agent_is_ending(conc__agent *me);

conc_result conc_local_set(conc_local *key, void *value) {
    conc__agent *me = conc__self();
    uint32_t id;
    if (key == NULL) return conc__fail(CONC_INVALID, "conc_local_set: no key");
    id = conc__local_id(key);
    if (id == 0) return conc__fail(CONC_INVALID, "conc_local_set: all %d keys are in use", CONC__LOCALS_MAX);
    if (id > me->local_count) {
        void **more;
        uint32_t n = (id + 7u) & ~7u;
        if (!conc__agent_watch_end(me, conc__agent_is_ending)) {
            return conc__fail(CONC_NO_MEMORY, "conc_local_set: no memory to be told of the thread's end");
        }
        more = (void **)conc__realloc(me->locals, n, sizeof *more, "thread-local values");
        if (more == NULL) return CONC_NO_MEMORY;
        memset(more + me->local_count, 0, (n - me->local_count) * sizeof *more);
        me->locals = more;
        me->local_count = n;
    }
    me->locals[id - 1] = value;
    return CONC_OK;
}

static void conc__locals_end(conc__agent *me) {
    int round;
    bool again = me->local_count != 0;
    for (round = 0; again && round < 4; round++) {
        uint32_t i;
        again = false;
        for (i = 0; i < me->local_count; i++) {
            void *value = me->locals[i];
            me->locals[i] = NULL;
            if (value != NULL && conc__local_destroy[i] != NULL) {
                conc__local_destroy[i](value);
                again = true;
            }
        }
    }
    if (me->locals != NULL) conc__free(me->locals);
    me->locals = NULL;
    me->local_count = 0;
}

/* ---- the life of a thread -------------------------------------------------------------------------- */

static void conc__report_lost(const conc_thread *t) {
    conc__report(CONC_FAILED, t->result, t->name, "thread \"%s\" returned %d, and nobody looked at it", t->name,
                 t->result);
}

/* The last steps of a thread started here, in that thread. */
static void conc__thread_end(conc__agent *me, conc_thread *t, int result) {
    bool open, daemon = t->daemon;
    me->cancel = NULL;
    conc__locals_end(me);
    conc__lock_take(&conc__registry);
    t->result = result;
    conc__not_alive(t);
    open = t->open;
    conc__lock_give(&conc__registry);
    if (result != 0 && !open) conc__report_lost(t);
    (void)conc_event_set(&t->ended);
    if (!daemon) (void)conc_latch_done(&conc__not_daemons);
    me->thread = NULL;
    me->name = NULL;
    conc__lock_take(&conc__registry);
    conc__drop_user(t);
    conc__lock_give(&conc__registry);
    if (!daemon) (void)conc_latch_done(&conc__to_end); /* the last: after it exit() may take anything away */
}

/* The system ends a thread: one not started here; or one of ours that left by pthread_exit(); or one of ours,
 * after its end, whose other destructors have set values again. */
static void conc__agent_is_ending(conc__agent *me) {
    conc_thread *t = (conc_thread *)me->thread;
    if (t != NULL && t->fn != NULL) {
        conc__thread_end(me, t, 0);
        return;
    }
    conc__locals_end(me);
    if (t == NULL) return;
    me->thread = NULL;
    me->name = NULL;
    conc__lock_take(&conc__registry);
    conc__not_alive(t);
    conc__drop_user(t);
    conc__lock_give(&conc__registry);
}

static void conc__thread_main(void *p) {
    conc_thread *t = (conc_thread *)p;
    conc__agent *me = conc__self_fast();
    me->owner = t->owner; /* first: conc__self() would take a new one */
    me->thread = t;
    me->name = t->name;
    me->cancel = t->cancel;
    conc__storep(&t->agent, me, CONC__RELEASE);
    (void)conc__agent_watch_end(me, conc__agent_is_ending); /* for pthread_exit(); without memory it has to do without */
    conc__port_thread_set_name(t->name);
    conc__thread_end(me, t, t->fn(t->arg));
}

static void *conc__exit_first[CONC__EXITS]; /* atomic: the functions of conc__before_exit() */

void conc__before_exit(conc__exit_place place, void (*fn)(void)) {
    void *p;
    memcpy(&p, &fn, sizeof p); /* ISO C has no cast between the two */
    conc__storep(&conc__exit_first[place], p, CONC__RELEASE);
}

static void *conc__exit_last; /* atomic: the function of conc__after_exit() */

/* Runs at exit(): see thread.h. */
static void conc__at_exit(void) {
    const conc_thread *me = (const conc_thread *)conc__self()->thread;
    conc_op all_ended = conc_op_latch(&conc__to_end);
    size_t i;
    void *last;
    if (me != NULL && me->fn != NULL) return;
    for (i = 0; i < CONC__EXITS; i++) {
        void *first = conc__loadp(&conc__exit_first[i], CONC__ACQUIRE);
        void (*fn)(void);
        memcpy(&fn, &first, sizeof fn);
        if (first != NULL) fn();
    }
    (void)conc__wait_uncanceled(&all_ended, CONC_FOREVER);
    /* Nobody will look at these any more. */
    conc__lock_take(&conc__registry);
    for (i = 0; i < CONC__CHAINS; i++) {
        conc_thread *t;
        for (t = conc__chains[i]; t != NULL; t = t->next) {
            if (t->fn == NULL || !t->open) continue;
            t->open = false;
            conc__port_thread_detach(&t->os);
            if (!conc__is_alive(t) && t->result != 0) {
                conc__lock_give(&conc__registry);
                conc__report_lost(t); /* its handle's share keeps the record, and its place in the chain */
                conc__lock_take(&conc__registry);
            }
        }
    }
    conc__lock_give(&conc__registry);
    last = conc__loadp(&conc__exit_last, CONC__ACQUIRE);
    if (last != NULL) {
        void (*fn)(void);
        memcpy(&fn, &last, sizeof fn);
        fn();
    }
}

/* With the registry locked. */
static bool conc__watch_exit(void) {
    if (!conc__exit_watched) conc__exit_watched = CONC__FAULT("atexit", ENOMEM) == 0 && atexit(conc__at_exit) == 0;
    return conc__exit_watched;
}

bool conc__after_exit(void (*fn)(void)) {
    void *p;
    bool watched;
    memcpy(&p, &fn, sizeof p);
    conc__registry_begin();
    conc__storep(&conc__exit_last, p, CONC__RELEASE);
    conc__lock_take(&conc__registry);
    watched = conc__watch_exit();
    conc__lock_give(&conc__registry);
    return watched;
}

void conc__end_program(void) {
    conc__at_exit();
}

void conc__thread_begin_anew(void) {
    conc__agent *me = conc__self();
    conc_thread *t = (conc_thread *)me->thread;
    if (t != NULL) {
        conc__copy_name(t, "main");
        t->fn = NULL; /* nobody joins it here */
        t->open = t->daemon = false;
        t->users = 1;
    }
    me->cancel = NULL;
    me->worker = NULL;
    me->running = NULL;
    me->scopes = 0;
    conc__registry_begin();
    conc__registry_reset();
    (void)conc_thread_main();
}

conc_thread *conc_thread_start(conc_fn fn, void *arg, const conc_thread_desc *desc) {
    conc_thread *t;
    int error;
    if (fn == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_thread_start: no function");
        return NULL;
    }
    if (conc_thread_main() == NULL) return NULL; /* the caller, if it is the first */
    t = (conc_thread *)conc__alloc(1, sizeof *t, "a thread");
    if (t == NULL) return NULL;
    t->fn = fn;
    t->arg = arg;
    t->open = true;
    t->users = 2; /* the thread and the handle */
    t->owner = conc__new_owner();
    (void)snprintf(t->name, sizeof t->name, "thread-%u", (unsigned)(t->owner >> 2));
    if (desc != NULL) {
        t->daemon = desc->daemon;
        t->cancel = desc->cancel;
        if (desc->name != NULL) conc__copy_name(t, desc->name);
    }
    /* The lock is held while the thread is made, so that nobody meets a record without its system handle. */
    conc__lock_take(&conc__registry);
    (void)conc__watch_exit();
    conc__register(t);
    error = conc__port_thread_start(&t->os, conc__thread_main, t, desc != NULL ? desc->stack_size : 0);
    if (error != 0) {
        conc__not_alive(t);
        if (!t->daemon) {
            (void)conc_latch_done(&conc__not_daemons);
            (void)conc_latch_done(&conc__to_end);
        }
        t->users = 1;
        conc__drop_user(t);
        conc__lock_give(&conc__registry);
        (void)conc__fail_system(CONC_NO_THREADS, error, "cannot start a thread");
        return NULL;
    }
    conc__lock_give(&conc__registry);
    return t;
}

/* Counts the caller in as a user of the open handle `t`, which may be anything. */
static conc_result conc__handle_use(conc_thread *t, const char *what) {
    conc_result r = CONC_OK;
    if (t == NULL) return conc__fail(CONC_INVALID, "%s: NULL", what);
    conc__lock_take(&conc__registry);
    if (!conc__is_registered(t) || t->fn == NULL || !t->open) {
        r = CONC_INVALID;
    } else {
        t->users++;
    }
    conc__lock_give(&conc__registry);
    if (r != CONC_OK) {
        (void)conc__fail(r, "%s: no such thread: it was joined or detached before, or not started here", what);
    }
    return r;
}

/* Closes the handle, if nobody was faster, and gives up one use of it. */
static bool conc__handle_close(conc_thread *t) {
    bool mine;
    conc__lock_take(&conc__registry);
    mine = t->open;
    t->open = false;
    if (mine) t->users--; /* the handle's own */
    conc__lock_give(&conc__registry);
    return mine;
}

static void conc__handle_unuse(conc_thread *t) {
    conc__lock_take(&conc__registry);
    conc__drop_user(t);
    conc__lock_give(&conc__registry);
}

conc_result conc_thread_join(conc_thread *t, int *result, conc_deadline deadline) {
    conc_op op;
    conc_result r;
    if (t != NULL && conc__self()->thread == t) {
        return conc__fail(CONC_DEADLOCK, "conc_thread_join: a thread cannot wait for its own end");
    }
    r = conc__handle_use(t, "conc_thread_join");
    if (r != CONC_OK) return r;
    op = conc_op_event(&t->ended);
    r = conc__wait_op(&op, deadline);
    if (r == CONC_OK && !conc__handle_close(t)) {
        r = conc__fail(CONC_INVALID, "conc_thread_join: another thread joined or detached it first");
    } else if (r == CONC_OK) {
        conc__port_thread_join(&t->os); /* it has but to leave */
        if (result != NULL) {
            *result = t->result;
        } else if (t->result != 0) {
            conc__report_lost(t);
        }
    }
    conc__handle_unuse(t);
    return r;
}

conc_result conc_thread_detach(conc_thread *t) {
    conc_result r = conc__handle_use(t, "conc_thread_detach");
    bool lost = false;
    if (r != CONC_OK) return r;
    conc__lock_take(&conc__registry);
    if (t->open) {
        t->open = false;
        t->users--;
        conc__port_thread_detach(&t->os);
        lost = !conc__is_alive(t) && t->result != 0; /* else it looks at `open` itself when it ends */
    } else {
        r = CONC_INVALID;
    }
    conc__lock_give(&conc__registry);
    if (r != CONC_OK) (void)conc__fail(r, "conc_thread_detach: another thread joined or detached it first");
    if (lost) conc__report_lost(t);
    conc__handle_unuse(t);
    return r;
}

/* op->word: 1 while the op counts as a user of the record, which keeps it there. */
static void conc__end_abandon(conc_op *op) {
    if (op->word == 0) return;
    op->word = 0;
    conc__handle_unuse((conc_thread *)op->object);
}

static conc_result conc__end_attempt(conc_op *op) {
    conc_thread *t = (conc_thread *)op->object;
    if (op->word == 0) {
        conc_result r;
        if (t != NULL && conc__self()->thread == t) {
            return conc__fail(CONC_DEADLOCK, "conc_op_thread_end: a thread cannot wait for its own end");
        }
        r = conc__handle_use(t, "conc_op_thread_end");
        if (r != CONC_OK) return r;
        op->word = 1;
    }
    if (!conc_event_is_set(&t->ended)) return CONC_PENDING;
    conc__end_abandon(op);
    return CONC_OK;
}

/* In the list of the event's waiters. */
static bool conc__end_arm(conc_op *op, conc_node *node) {
    conc_op event = conc_op_event(&((conc_thread *)op->object)->ended);
    return event.cls->arm(&event, node);
}

conc_op conc_op_thread_end(conc_thread *t) {
    static const conc_op_class cls = {"thread end", CONC_BUSY, conc__end_attempt, conc__end_arm, NULL, conc__end_abandon};
    return conc_op_make(&cls, t, NULL);
}

conc_thread *conc_thread_current(void) {
    conc__agent *me = conc__self();
    conc_thread *t = (conc_thread *)me->thread;
    if (t != NULL) return t;
    conc__registry_begin();
    t = (conc_thread *)conc__alloc(1, sizeof *t, "a thread's record");
    if (t == NULL) return NULL;
    if (!conc__agent_watch_end(me, conc__agent_is_ending)) {
        conc__free(t);
        (void)conc__fail(CONC_NO_MEMORY, "conc_thread_current: no memory to be told of the thread's end");
        return NULL;
    }
    t->users = 1;
    t->owner = me->owner;
    t->agent = me;
    conc__lock_take(&conc__registry);
    if (conc__loadp(&conc__main_thread, CONC__RELAXED) == NULL) {
        conc__copy_name(t, "main");
        conc__storep(&conc__main_thread, t, CONC__RELEASE);
    } else {
        (void)snprintf(t->name, sizeof t->name, "thread-%u", (unsigned)(me->owner >> 2));
    }
    conc__register(t);
    conc__lock_give(&conc__registry);
    me->thread = t;
    me->name = t->name;
    return t;
}

conc_thread *conc_thread_main(void) {
    conc_thread *t = (conc_thread *)conc__loadp(&conc__main_thread, CONC__ACQUIRE);
    return t != NULL ? t : conc_thread_current();
}

/* ---- questions ------------------------------------------------------------------------------------- */

const char *conc_thread_name(const conc_thread *t) {
    if (t == NULL) t = conc_thread_current();
    return t != NULL ? t->name : "?";
}

uint32_t conc_thread_id(const conc_thread *t) {
    return (t != NULL ? t->owner : conc__self()->owner) >> 2;
}

bool conc_thread_is_daemon(const conc_thread *t) {
    if (t == NULL) t = (const conc_thread *)conc__self()->thread;
    return t != NULL && t->daemon;
}

bool conc_thread_is_alive(const conc_thread *t) {
    bool alive = t == NULL || conc__is_alive(t);
    CONC__OPAQUE();
    return alive;
}

conc_result conc_thread_set_name(const char *name) {
    conc_thread *t;
    if (name == NULL) return conc__fail(CONC_INVALID, "conc_thread_set_name: no name");
    t = conc_thread_current();
    if (t == NULL) return CONC_NO_MEMORY;
    conc__lock_take(&conc__registry);
    conc__copy_name(t, name);
    conc__lock_give(&conc__registry);
    conc__port_thread_set_name(t->name);
    return CONC_OK;
}

size_t conc_thread_count(void) {
    return conc__loadz(&conc__alive_count, CONC__RELAXED);
}

typedef struct conc__visit {
    void (*visit)(conc_thread *t, void *arg);
    void *arg;
} conc__visit;

static void conc__visit_thread(const conc_thread *t, const conc__agent *agent, void *arg) {
    const conc__visit *v = (const conc__visit *)arg;
    (void)agent;
    v->visit((conc_thread *)(uintptr_t)t, v->arg);
}

void conc__agent_each(void (*visit)(const conc_thread *t, const conc__agent *agent, void *arg), void *arg) {
    size_t i;
    (void)conc_thread_current(); /* so that `visit` can ask for it without entering it */
    conc__lock_take(&conc__registry);
    for (i = 0; i < CONC__CHAINS; i++) {
        conc_thread *t;
        for (t = conc__chains[i]; t != NULL; t = t->next) {
            if (conc__is_alive(t)) visit(t, (const conc__agent *)conc__loadp(&t->agent, CONC__ACQUIRE), arg);
        }
    }
    conc__lock_give(&conc__registry);
}

void conc_thread_each(void (*visit)(conc_thread *t, void *arg), void *arg) {
    conc__visit v;
    v.visit = visit;
    v.arg = arg;
    if (visit != NULL) conc__agent_each(conc__visit_thread, &v);
}

void conc_thread_yield(void) {
    conc__port_yield();
}

/* The caller, while it waits here, is not waited for. */
conc_result conc_thread_join_all(conc_deadline deadline) {
    const conc_thread *me = (const conc_thread *)conc__self()->thread;
    bool counted = me != NULL && me->fn != NULL && !me->daemon;
    conc_op op = conc_op_latch(&conc__not_daemons);
    conc_result r;
    if (counted) (void)conc_latch_done(&conc__not_daemons);
    r = deadline.ns == INT64_MAX ? conc__wait_uncanceled(&op, deadline) : conc__wait_op(&op, deadline);
    if (counted) (void)conc_latch_add(&conc__not_daemons, 1);
    if (r == CONC_TIMEOUT || r == CONC_BUSY) {
        char names[160] = "";
        size_t i, length = 0;
        conc__lock_take(&conc__registry);
        for (i = 0; i < CONC__CHAINS; i++) {
            const conc_thread *t;
            for (t = conc__chains[i]; t != NULL; t = t->next) {
                if (conc__is_alive(t) && t->fn != NULL && !t->daemon && t != me && length + CONC__NAME_SIZE + 2 < sizeof names) {
                    length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                               length != 0 ? ", " : "", t->name);
                }
            }
        }
        conc__lock_give(&conc__registry);
        (void)conc__fail(r, "conc_thread_join_all: still running: %s", names);
    }
    return r;
}
