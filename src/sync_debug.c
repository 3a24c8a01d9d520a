/* ============================================================================================
 * sync_debug: what CONC_DEBUG watches. See the end of sync.h.
 *
 * Lock order: a graph whose nodes are mutexes and whose edge A -> B says that B was locked while A was held,
 * with the places of both. Before a mutex is waited for, the edges from all that the thread holds to it are
 * entered; one that closes a cycle is a deadlock waiting to happen, and is reported once, whether or not it
 * strikes this time. (As the Linux kernel's lockdep; the idea goes back to Eraser, Savage et al. 1997.)
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_DEBUG) || defined(CONC_SIM)

#define CONC__NAMES 256

static conc__lock conc__debug_lock; /* guards all that is static in this file */
static struct {
    const void *object;
    const char *name;
} conc__names[CONC__NAMES];
static size_t conc__name_count;
#if defined(CONC_DEBUG)
static size_t conc__edge_count;
#endif

/* In a child of fork() the lock may have been held by a thread that is not there. Before each schedule of a simulation, no
 * order has been seen. */
static void conc__debug_reset(void) {
    conc__debug_lock = 0;
#if defined(CONC_SIM) && defined(CONC_DEBUG)
    conc__edge_count = 0;
#endif
}

void conc__debug_begin(void) {
    conc__on_fork(CONC__RESET_DEBUG, conc__debug_reset);
}

static void conc__debug_take(void) {
    conc__debug_begin();
    conc__lock_take(&conc__debug_lock);
}

void conc_debug_name(const void *object, const char *name) {
    size_t i;
    conc__debug_take();
    for (i = 0; i < conc__name_count && conc__names[i].object != object; i++) {
    }
    if (i < CONC__NAMES) {
        conc__names[i].object = object;
        conc__names[i].name = name;
        if (i == conc__name_count) conc__name_count++;
    }
    conc__lock_give(&conc__debug_lock);
}

#if defined(CONC_SIM)
const char *conc__debug_name_of(const void *object) {
    size_t i;
    for (i = 0; i < conc__name_count; i++) {
        if (conc__names[i].object == object) return conc__names[i].name;
    }
    return NULL;
}
#endif

#endif

#if defined(CONC_DEBUG)

#include <stdio.h>

#define CONC__EDGES 4096 /* beyond that, new orders are not followed */

typedef struct conc__edge {
    const void *from, *to;
    conc__held held, taken; /* where, when it was first seen */
} conc__edge;

static conc__edge conc__edges[CONC__EDGES];

/* `accounts` or `the mutex at 0x...`, and ` (file:line)` if it is known; with the debug lock held. */
static void conc__debug_describe(char *text, size_t size, const void *lock, const char *file, int line) {
    size_t i;
    int n;
    for (i = 0; i < conc__name_count && conc__names[i].object != lock; i++) {
    }
    n = i < conc__name_count ? snprintf(text, size, "mutex \"%s\"", conc__names[i].name)
                             : snprintf(text, size, "the mutex at %p", lock);
    if (file != NULL && n > 0 && (size_t)n < size) (void)snprintf(text + n, size - (size_t)n, " (%s:%d)", file, line);
}

void conc__debug_misuse(const void *lock, conc_result r, const char *text, const char *file, int line) {
    char name[200];
    conc__debug_take();
    conc__debug_describe(name, sizeof name, lock, file, line);
    conc__lock_give(&conc__debug_lock);
    conc__report(r, 0, NULL, "%s %s", name, text);
}

/* Whether `to` can be reached from `from`; marks the first edge of the way. Depth-first over edges, each
 * entered once: `seen` is as long as the table. */
static const conc__edge *conc__debug_path(const void *from, const void *to) {
    static const conc__edge *reached[CONC__EDGES]; /* guarded by the debug lock, as the rest */
    static size_t root[CONC__EDGES];               /* the first edge of the way to reached[i] */
    static bool seen[CONC__EDGES];
    size_t count = 0, next = 0, i;
    memset(seen, 0, sizeof seen);
    for (i = 0; i < conc__edge_count; i++) {
        if (conc__edges[i].from != from) continue;
        seen[i] = true;
        root[count] = i;
        reached[count++] = &conc__edges[i];
    }
    for (; next < count; next++) {
        if (reached[next]->to == to) return &conc__edges[root[next]];
        for (i = 0; i < conc__edge_count; i++) {
            if (seen[i] || conc__edges[i].from != reached[next]->to) continue;
            seen[i] = true;
            root[count] = root[next];
            reached[count++] = &conc__edges[i];
        }
    }
    return NULL;
}

/* Enters held -> lock; true: that is new and closes a cycle, and `text` tells. */
static bool conc__debug_order(const conc__held *held, const void *lock, const char *file, int line, char *text,
                              size_t size) {
    char a[160], b[160], c[160];
    const conc__edge *back;
    conc__edge *e;
    size_t i;
    for (i = 0; i < conc__edge_count; i++) {
        if (conc__edges[i].from == held->lock && conc__edges[i].to == lock) return false;
    }
    if (conc__edge_count == CONC__EDGES) return false;
    back = conc__debug_path(lock, held->lock);
    e = &conc__edges[conc__edge_count++];
    e->from = held->lock;
    e->to = lock;
    e->held = *held;
    e->taken.lock = lock;
    e->taken.file = file;
    e->taken.line = line;
    if (back == NULL) return false;
    conc__debug_describe(a, sizeof a, lock, file, line);
    conc__debug_describe(b, sizeof b, held->lock, held->file, held->line);
    conc__debug_describe(c, sizeof c, back->to, back->taken.file, back->taken.line);
    (void)snprintf(text, size, "%s is locked while %s is held; before, the order was opposite: with the former held, "
                               "%s was locked: the two can wait for each other for ever",
                   a, b, c);
    return true;
}

void conc__debug_locking(const void *lock, const char *file, int line) {
    conc__agent *me = conc__self();
    uint32_t i, n = me->held_count < CONC__HELD_MAX ? me->held_count : CONC__HELD_MAX;
    for (i = 0; i < n; i++) {
        char text[680];
        bool found = false;
        if (me->held[i].lock == lock) continue; /* a relock: told by its result */
        conc__debug_take();
        found = conc__debug_order(&me->held[i], lock, file, line, text, sizeof text);
        conc__lock_give(&conc__debug_lock);
        if (found) conc__report(CONC_DEADLOCK, 0, NULL, "%s", text);
    }
}

void conc__debug_locked(const void *lock, const char *file, int line) {
    conc__agent *me = conc__self();
    if (me->held_count < CONC__HELD_MAX) {
        me->held[me->held_count].lock = lock;
        me->held[me->held_count].file = file;
        me->held[me->held_count].line = line;
        me->held_count++;
    }
}

void conc__debug_unlocked(const void *lock) {
    conc__agent *me = conc__self();
    uint32_t i = me->held_count;
    while (i > 0 && me->held[i - 1].lock != lock) i--;
    if (i == 0) return; /* one too many to follow, or locked where CONC_DEBUG was not on */
    for (; i < me->held_count; i++) me->held[i - 1] = me->held[i];
    me->held_count--;
}

/* Its memory may be another mutex's tomorrow. */
void conc__debug_destroyed(const void *lock) {
    size_t i = 0;
    conc__debug_take();
    while (i < conc__edge_count) {
        if (conc__edges[i].from == lock || conc__edges[i].to == lock) {
            conc__edges[i] = conc__edges[--conc__edge_count];
        } else {
            i++;
        }
    }
    for (i = 0; i < conc__name_count; i++) {
        if (conc__names[i].object == lock) conc__names[i] = conc__names[--conc__name_count];
    }
    conc__lock_give(&conc__debug_lock);
}

#elif !defined(CONC_SIM)

void conc_debug_name(const void *object, const char *name) {
    (void)object;
    (void)name;
}

#endif
