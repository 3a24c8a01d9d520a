/* ============================================================================================
 * sync: see sync.h. Each object is one word (or two) that says everything while nobody waits; those who wait
 * stand in the table of wait.c under the object's address, and the bucket's lock orders them.
 *
 * Each op follows one pattern. attempt(): look at the word, change it by compare-and-swap, or say PENDING.
 * arm(): under the bucket's lock, look again; if it has to wait, set the word's "parked" flag by
 * compare-and-swap and enter the node. A waker changes the word with one read-modify-write; if the flag was
 * set, it claims waiters under the bucket's lock. That is why no wake is lost: both sides change the same
 * word, so either the waker's change comes first and arm() sees it, or the flag comes first and the waker
 * sees that; and then the lock makes the node visible to it.
 *
 * Where an object may be destroyed as soon as a wait on it returns, its waker touches the object for the last
 * time in the very operation that lets the waiter go; after that it uses its address only.
 * ========================================================================================== */

#include "internal.h"

/* The flag: somebody may be in the table. In the words of this file that count something it is the top bit, so that
 * a plain number is that count; in those that name an owner it is the lowest. */
#define CONC__PARKED 0x80000000u
#define CONC__NUMBER(word) ((word) & ~CONC__PARKED)

/* arm() for words that need no more than that: enters `node` unless `ready(word)`. */
static bool conc__park(uint32_t *word, conc_node *node, bool (*ready)(uint32_t word), uint32_t flag) {
    conc__bucket *b = conc__bucket_lock(word);
    uint32_t w = conc__load32(word, CONC__ACQUIRE);
    bool wait;
    do {
        wait = !ready(w);
    } while (wait && !conc__cas32(word, &w, w | flag, CONC__ACQUIRE));
    if (wait) conc__bucket_push(b, word, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

/* How a waker changes a word that counts: to *w (less the flag), or not at all: false. */
typedef bool (*conc__change_fn)(uint32_t *w, uint32_t how, uint32_t limit);

/* The waker of such words: the change is made, the flag left set only if more than `n` wait, and `n` of those in the
 * table woken. Called with the flag seen set. The word is not touched once it has changed. */
static bool conc__change_and_wake(uint32_t *word, conc__change_fn change, uint32_t how, uint32_t limit, size_t n) {
    conc__bucket *b = conc__bucket_lock(word);
    conc_node *node = conc__bucket_first(b, word);
    uint32_t w = conc__load32(word, CONC__RELAXED), next, flag;
    size_t waiting = 0;
    bool more = true;
    for (; node != NULL && waiting <= n; node = conc__bucket_next(b, node)) waiting++;
    flag = waiting > n ? CONC__PARKED : 0; /* one too many is harmless: a later waker finds nobody */
    if (n > waiting) n = waiting;          /* those there now, not those who come back meanwhile */
    do {
        next = CONC__NUMBER(w);
        if (!change(&next, how, limit)) {
            conc__bucket_unlock(b);
            return false;
        }
    } while (!conc__cas32(word, &w, CONC__NUMBER(next) | flag, CONC__ACQ_REL));
    while (more && n > 0) {
        conc__wakes wakes;
        wakes.count = 0;
        while (more && n > 0 && wakes.count < CONC__WAKES) {
            more = conc__claim_first(b, word, CONC__ANY_TAG, 0, &wakes);
            if (more) n--;
        }
        conc__bucket_unlock(b);
        conc__wakes_run(&wakes);
        if (!more || n == 0) return true;
        b = conc__bucket_lock(word);
    }
    conc__bucket_unlock(b);
    return true;
}

static conc_result conc__null(const char *what) {
    return conc__fail(CONC_INVALID, "%s: NULL", what);
}

/* ---- mutex ------------------------------------------------------------------------------------ */

/* The word: the owner's id in the upper 30 bits, 0 if free; CONC__SLEEPERS, the flag; and CONC__WOKEN: a waiter has been woken and
 * is on its way to try. While it is, an unlock wakes nobody else (waking costs more than anything else here):
 * the one on its way either locks, or goes back to the table, or gives up, and each of these takes the
 * flag back; the last wakes another if the mutex is free then (conc__mutex_pass_on).
 *
 * Grants: CONC__ON_ITS_WAY: its claimer set CONC__WOKEN for it. CONC__HANDED: the mutex has been made its own.
 * Orders: acquire on taking, release on giving up the owner's part; the flags publish nothing. */
#define CONC__SLEEPERS 1u
#define CONC__WOKEN 2u
#define CONC__OWNER(word) ((word) & ~3u)
#define CONC__ON_ITS_WAY 1u
#define CONC__HANDED 2u
#define CONC__STARVING_NS 1000000

/* Takes the woken flag back; if nobody holds the mutex then, another waiter is woken instead. */
static void conc__mutex_pass_on(conc_mutex *m) {
    conc__bucket *b = conc__bucket_lock(&m->conc__word);
    conc__wakes wakes;
    uint32_t w = conc__and32(&m->conc__word, ~CONC__WOKEN, CONC__ACQ_REL);
    wakes.count = 0;
    if (CONC__OWNER(w) == 0 && (w & CONC__SLEEPERS) != 0) {
        /* The flag before the claim, as the claimed one takes it off. */
        (void)conc__or32(&m->conc__word, CONC__WOKEN, CONC__RELAXED);
        if (!conc__claim_first(b, &m->conc__word, CONC__ANY_TAG, CONC__ON_ITS_WAY, &wakes)) {
            (void)conc__and32(&m->conc__word, ~(CONC__WOKEN | CONC__SLEEPERS), CONC__RELAXED);
        }
    }
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
}

static conc_result conc__mutex_attempt(conc_op *op) {
    conc_mutex *m = (conc_mutex *)op->object;
    uint32_t me, w, taken_off;
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_op_lock");
    if (op->node.conc__grant == CONC__HANDED) { /* the one who handed it writes the word before it unlocks this */
        conc__bucket_unlock(conc__bucket_lock(&m->conc__word));
        op->node.conc__grant = 0;
        op->word = 0;
        return CONC_OK;
    }
    me = conc__self()->owner;
    taken_off = op->node.conc__grant == CONC__ON_ITS_WAY ? CONC__WOKEN : 0;
    w = conc__load32(&m->conc__word, CONC__RELAXED);
    while (CONC__OWNER(w) == 0) {
        if (conc__cas32(&m->conc__word, &w, (w & ~taken_off) | me, CONC__ACQUIRE)) {
            op->node.conc__grant = 0;
            op->word = 0;
            return CONC_OK;
        }
    }
    if (CONC__OWNER(w) == me) return conc__fail(CONC_DEADLOCK, "the mutex is already held by the calling thread");
    if (conc__is_gone(CONC__OWNER(w))) {
        return conc__fail(CONC_FORKED, "the mutex is held by a thread of the parent process");
    }
    return CONC_PENDING;
}

static bool conc__mutex_arm(conc_op *op, conc_node *node) {
    conc_mutex *m = (conc_mutex *)op->object;
    conc__bucket *b = conc__bucket_lock(&m->conc__word);
    uint32_t taken_off = node->conc__grant == CONC__ON_ITS_WAY ? CONC__WOKEN : 0;
    uint32_t w = conc__load32(&m->conc__word, CONC__RELAXED);
    bool wait;
    do {
        wait = CONC__OWNER(w) != 0;
    } while (wait && !conc__cas32(&m->conc__word, &w, (w & ~taken_off) | CONC__SLEEPERS, CONC__RELAXED));
    if (wait) {
        uint64_t now = (uint64_t)conc__port_clock_ns();
        node->conc__grant = 0;
        if (op->word == 0) op->word = now; /* when it first went to sleep */
        conc__bucket_push(b, &m->conc__word, node,
                          now - op->word >= CONC__STARVING_NS ? CONC__STARVING : CONC__PATIENT);
    }
    conc__bucket_unlock(b);
    return wait;
}

static void conc__mutex_abandon(conc_op *op) {
    op->word = 0;
    if (op->node.conc__grant == CONC__ON_ITS_WAY) {
        op->node.conc__grant = 0;
        conc__mutex_pass_on((conc_mutex *)op->object);
    }
}

conc_op conc_op_lock(conc_mutex *m) {
    static const conc_op_class cls = {"lock",          CONC_BUSY, conc__mutex_attempt,
                                      conc__mutex_arm, NULL,      conc__mutex_abandon};
    return conc_op_make(&cls, m, NULL);
}

/* First a spin by itself, then in the table. */
static CONC__NOINLINE conc_result conc__mutex_lock_slow(conc_mutex *m, conc_deadline deadline, bool cancelable) {
    uint32_t me = conc__self()->owner;
    unsigned step = 0;
    uint32_t w;
    conc_op op;
    do {
        w = conc__load32(&m->conc__word, CONC__RELAXED);
        while (CONC__OWNER(w) == 0) {
            if (conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE)) return CONC_OK;
        }
    } while (CONC__OWNER(w) != me && deadline.ns != INT64_MIN && conc__spin(step++, CONC__SPIN_SHORT));
    op = conc_op_lock(m);
    return conc__wait_spun(&op, deadline, cancelable);
}

static CONC__NOINLINE conc_result conc__mutex_unlock_slow(conc_mutex *m) {
    uint32_t me = conc__self()->owner;
    uint32_t w = conc__load32(&m->conc__word, CONC__RELAXED);
    conc__bucket *b;
    conc__wakes wakes;
    conc_node *n;
    uint32_t next = 0;
    if (CONC__OWNER(w) != me) {
        return conc__fail(CONC_NOT_OWNER, w == 0 ? "conc_mutex_unlock: the mutex is not locked"
                                                 : "conc_mutex_unlock: the mutex is held by another thread");
    }
    /* Nobody to wake, or one is on its way. In a child of fork() that one may have been the parent's: there the flag is not
     * believed (one wake too many does no harm), and goes. */
    while ((w & 3u) == 0 ||
           (conc__fork_generation() == 0 && ((w & CONC__SLEEPERS) == 0 || (w & CONC__WOKEN) != 0))) {
        if (conc__cas32(&m->conc__word, &w, w & 3u, CONC__RELEASE)) return CONC_OK;
    }
    /* Under the bucket's lock, and ours, the word changes only by our hand: takers want it free, and the flags
     * change under this lock. Who is claimed finds it taken until the store, comes to arm(), and waits there
     * for the lock. */
    b = conc__bucket_lock(&m->conc__word);
    wakes.count = 0;
    n = conc__bucket_first(b, &m->conc__word);
    while (n != NULL) {
        conc_node *after = conc__bucket_next(b, n); /* all before n have been taken out */
        bool starving = conc__node_tag(n) == CONC__STARVING;
        uint32_t heir = n->conc__waiter->owner;
        /* The last of the sleepers needs no CONC__WOKEN: there is nobody whom it keeps asleep, and while it is on its way the
         * word is that of a mutex without contention. */
        unsigned grant = starving ? CONC__HANDED : after != NULL ? CONC__ON_ITS_WAY : 0;
        if (conc__claim(b, n, grant, &wakes)) {
            next = starving ? heir : after != NULL ? CONC__WOKEN : 0;
            if (after != NULL) next |= CONC__SLEEPERS;
            break;
        }
        n = after;
    }
    conc__store32(&m->conc__word, next, CONC__RELEASE); /* the last touch */
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
    return CONC_OK;
}

#if !defined(CONC_DEBUG)
/* The fast path: one compare-and-swap; and a second where the flags are set, because while a woken waiter is on its
 * way they are, and the mutex is free most of the time all the same. */
static bool conc__mutex_take(conc_mutex *m) {
    uint32_t me = conc__self_fast()->owner, w = 0;
    if (CONC__UNLIKELY(me == 0)) return false; /* this thread has no identity yet */
    if (CONC__LIKELY(conc__cas32(&m->conc__word, &w, me, CONC__ACQUIRE))) return true;
    return CONC__OWNER(w) == 0 && conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE);
}
#endif

/* The names in parentheses are macros in debug mode; so they are functions here all the same. */

conc_result (conc_mutex_lock)(conc_mutex *m, conc_deadline deadline) {
#if defined(CONC_DEBUG)
    return conc__mutex_lock_at(m, deadline, NULL, 0);
#else
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_mutex_lock");
    return conc__mutex_take(m) ? CONC_OK : conc__mutex_lock_slow(m, deadline, true);
#endif
}

conc_result (conc_mutex_try_lock)(conc_mutex *m) {
#if defined(CONC_DEBUG)
    return conc__mutex_try_lock_at(m, NULL, 0);
#else
    uint32_t w, me = conc__self()->owner;
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_mutex_try_lock");
    w = conc__load32(&m->conc__word, CONC__RELAXED);
    while (CONC__OWNER(w) == 0) {
        if (conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    CONC__OPAQUE();
    return CONC_BUSY;
#endif
}

conc_result (conc_mutex_unlock)(conc_mutex *m) {
#if defined(CONC_DEBUG)
    return conc__mutex_unlock_at(m, NULL, 0);
#else
    uint32_t me, w;
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_mutex_unlock");
    me = conc__self_fast()->owner;
    w = me;
    if (CONC__LIKELY(me != 0 && conc__cas32(&m->conc__word, &w, 0, CONC__RELEASE))) return CONC_OK;
    return conc__mutex_unlock_slow(m);
#endif
}

conc_result conc__mutex_lock_at(conc_mutex *m, conc_deadline deadline, const char *file, int line) {
#if defined(CONC_DEBUG)
    uint32_t free = 0, me = conc__self()->owner;
    conc_result r = CONC_OK;
    if (m == NULL) return conc__null("conc_mutex_lock");
    conc__debug_locking(m, file, line);
    if (!conc__cas32(&m->conc__word, &free, me, CONC__ACQUIRE)) r = conc__mutex_lock_slow(m, deadline, true);
    if (r == CONC_OK) conc__debug_locked(m, file, line);
    if (r == CONC_DEADLOCK) conc__debug_misuse(m, r, "is locked again by its holder", file, line);
    return r;
#else
    (void)file;
    (void)line;
    return conc_mutex_lock(m, deadline);
#endif
}

conc_result conc__mutex_try_lock_at(conc_mutex *m, const char *file, int line) {
#if defined(CONC_DEBUG)
    uint32_t w, me = conc__self()->owner;
    if (m == NULL) return conc__null("conc_mutex_try_lock");
    w = conc__load32(&m->conc__word, CONC__RELAXED);
    while (CONC__OWNER(w) == 0) { /* a try cannot wait, so it cannot be part of a deadlock: no order to check */
        if (conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE)) {
            conc__debug_locked(m, file, line);
            return CONC_OK;
        }
    }
    return CONC_BUSY;
#else
    (void)file;
    (void)line;
    return conc_mutex_try_lock(m);
#endif
}

conc_result conc__mutex_unlock_at(conc_mutex *m, const char *file, int line) {
#if defined(CONC_DEBUG)
    conc_result r;
    if (m == NULL) return conc__null("conc_mutex_unlock");
    if (conc_mutex_is_mine(m)) conc__debug_unlocked(m); /* before: afterwards it may be gone */
    r = conc__mutex_unlock_slow(m);
    if (r == CONC_NOT_OWNER) conc__debug_misuse(m, r, "is unlocked by a thread that does not hold it", file, line);
    return r;
#else
    (void)file;
    (void)line;
    return conc_mutex_unlock(m);
#endif
}

bool conc_mutex_is_mine(const conc_mutex *m) {
    return m != NULL && CONC__OWNER(conc__load32(&m->conc__word, CONC__RELAXED)) == conc__self()->owner;
}

conc_result conc_mutex_destroy(conc_mutex *m) {
    if (m == NULL) return conc__null("conc_mutex_destroy");
    if (conc__load32(&m->conc__word, CONC__ACQUIRE) != 0) {
#if defined(CONC_DEBUG)
        conc__debug_misuse(m, CONC_BUSY, "is destroyed while it is held or waited for", NULL, 0);
#endif
        return conc__fail(CONC_BUSY, "conc_mutex_destroy: the mutex is held or waited for");
    }
#if defined(CONC_DEBUG)
    conc__debug_destroyed(m);
#endif
    return CONC_OK;
}

static conc__lock_scope conc__lock_scope_of(conc_mutex *m, conc_result r) {
    conc__lock_scope s;
    s.mutex = m;
    s.live = r == CONC_OK;
#if defined(CONC_DEBUG)
    if (r == CONC_DEADLOCK) return s; /* told already, with the place */
#endif
    if (r == CONC_OK) {
        conc__self_fast()->scopes++;
    } else {
        conc__report(r, 0, NULL, "CONC_WITH_LOCK did not run its block: %s", conc_error_detail());
    }
    return s;
}

conc__lock_scope conc__lock_enter_at(conc_mutex *m, const char *file, int line) {
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc__mutex_lock_at(m, CONC_FOREVER, file, line);
    (void)conc_cancel_use(token);
    return conc__lock_scope_of(m, r);
}

conc__lock_scope (conc__lock_enter)(conc_mutex *m) {
#if defined(CONC_DEBUG)
    return conc__lock_enter_at(m, NULL, 0);
#else
    conc_result r = CONC_OK;
    if (CONC__UNLIKELY(m == NULL)) {
        r = conc__null("CONC_WITH_LOCK");
    } else if (CONC__UNLIKELY(!conc__mutex_take(m))) {
        r = conc__mutex_lock_slow(m, CONC_FOREVER, false);
    }
    return conc__lock_scope_of(m, r);
#endif
}

void conc__lock_leave(conc__lock_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    conc__self_fast()->scopes--;
    (void)conc_mutex_unlock(scope->mutex);
}

/* ---- recursive mutex --------------------------------------------------------------------------- */

static conc_result conc__rmutex_again(conc_rmutex *m) {
    if (m->conc__depth == UINT32_MAX) return conc__fail(CONC_INVALID, "conc_rmutex_lock: locked 2^32 times");
    m->conc__depth++;
    return CONC_OK;
}

conc_result conc_rmutex_lock(conc_rmutex *m, conc_deadline deadline) {
    if (m == NULL) return conc__null("conc_rmutex_lock");
    if (conc_mutex_is_mine(&m->conc__mutex)) return conc__rmutex_again(m);
    return conc_mutex_lock(&m->conc__mutex, deadline);
}

conc_result conc_rmutex_try_lock(conc_rmutex *m) {
    if (m == NULL) return conc__null("conc_rmutex_try_lock");
    if (conc_mutex_is_mine(&m->conc__mutex)) return conc__rmutex_again(m);
    return conc_mutex_try_lock(&m->conc__mutex);
}

conc_result conc_rmutex_unlock(conc_rmutex *m) {
    if (m == NULL) return conc__null("conc_rmutex_unlock");
    if (conc_mutex_is_mine(&m->conc__mutex) && m->conc__depth > 0) {
        m->conc__depth--;
        return CONC_OK;
    }
    return conc_mutex_unlock(&m->conc__mutex);
}

conc_result conc_rmutex_destroy(conc_rmutex *m) {
    return conc_mutex_destroy(m != NULL ? &m->conc__mutex : NULL);
}

conc__rlock_scope conc__rlock_enter(conc_rmutex *m) {
    conc__rlock_scope s;
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc_rmutex_lock(m, CONC_FOREVER);
    (void)conc_cancel_use(token);
    s.mutex = m;
    s.live = r == CONC_OK;
    if (r != CONC_OK) conc__report(r, 0, NULL, "CONC_WITH_RLOCK did not run its block: %s", conc_error_detail());
    return s;
}

void conc__rlock_leave(conc__rlock_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    (void)conc_rmutex_unlock(scope->mutex);
}

/* ---- condition variable -------------------------------------------------------------------------- */

/* The word: a count of signals (it would take 2^31 of them between the two looks of one wait to be missed), and
 * the flag. */

static conc_result conc__cond_attempt(conc_op *op) {
    conc_cond *c = (conc_cond *)op->object;
    if (c == NULL) return conc__null("conc_op_signal");
    return CONC__NUMBER(conc__load32(&c->conc__word, CONC__ACQUIRE)) != (uint32_t)op->word ? CONC_OK : CONC_PENDING;
}

static bool conc__cond_arm(conc_op *op, conc_node *node) {
    conc_cond *c = (conc_cond *)op->object;
    conc__bucket *b = conc__bucket_lock(&c->conc__word);
    uint32_t w = conc__load32(&c->conc__word, CONC__ACQUIRE);
    bool wait;
    do {
        wait = CONC__NUMBER(w) == (uint32_t)op->word;
    } while (wait && !conc__cas32(&c->conc__word, &w, w | CONC__PARKED, CONC__ACQUIRE));
    if (wait) conc__bucket_push(b, &c->conc__word, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_signal(conc_cond *c) {
    static const conc_op_class cls = {"signal", CONC_BUSY, conc__cond_attempt, conc__cond_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, c, NULL);
    if (c != NULL) op.word = CONC__NUMBER(conc__load32(&c->conc__word, CONC__RELAXED));
    return op;
}

conc_result conc_cond_wait(conc_cond *c, conc_mutex *m, conc_deadline deadline) {
    conc_op op;
    conc_result r;
    if (c == NULL || m == NULL) return conc__null("conc_cond_wait");
    if (!conc_mutex_is_mine(m)) {
        return conc__fail(CONC_NOT_OWNER, "conc_cond_wait: the mutex is not held by the calling thread");
    }
    op = conc_op_signal(c); /* with the mutex held: signals that come from here on count */
    (void)conc_mutex_unlock(m);
    r = conc__wait_op(&op, deadline);
#if defined(CONC_DEBUG)
    {
        conc_cancel *token = conc_cancel_use(NULL);
        conc_result relocked = conc__mutex_lock_at(m, CONC_FOREVER, NULL, 0);
        (void)conc_cancel_use(token);
        return relocked == CONC_OK ? r : relocked;
    }
#else
    {
        conc_result relocked = conc__mutex_lock_slow(m, CONC_FOREVER, false);
        return relocked == CONC_OK ? r : relocked;
    }
#endif
}

conc_result conc_cond_wait_for(conc_cond *c, conc_mutex *m, conc_predicate predicate, void *arg,
                               conc_deadline deadline) {
    conc_result r = CONC_OK;
    if (predicate == NULL) return conc__null("conc_cond_wait_for");
    if (c == NULL || m == NULL) return conc__null("conc_cond_wait_for");
    if (!conc_mutex_is_mine(m)) {
        return conc__fail(CONC_NOT_OWNER, "conc_cond_wait_for: the mutex is not held by the calling thread");
    }
    while (!predicate(arg)) {
        if (r != CONC_OK) return r;
        r = conc_cond_wait(c, m, deadline);
    }
    return CONC_OK;
}

static bool conc__count_signal(uint32_t *w, uint32_t how, uint32_t limit) {
    (void)limit;
    *w += how;
    return true;
}

static conc_result conc__cond_wake(conc_cond *c, size_t n) {
    uint32_t w = conc__load32(&c->conc__word, CONC__RELAXED);
    while ((w & CONC__PARKED) == 0) {
        /* Nobody sleeps; who is on the way to sleep sees that the count has changed. */
        if (conc__cas32(&c->conc__word, &w, CONC__NUMBER(w + 1), CONC__RELEASE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    (void)conc__change_and_wake(&c->conc__word, conc__count_signal, 1, 0, n);
    return CONC_OK;
}

conc_result conc_cond_signal(conc_cond *c) {
    return c != NULL ? conc__cond_wake(c, 1) : conc__null("conc_cond_signal");
}

conc_result conc_cond_broadcast(conc_cond *c) {
    return c != NULL ? conc__cond_wake(c, CONC_ALL) : conc__null("conc_cond_broadcast");
}

/* What destroying comes to for objects that nobody can hold: nobody may wait. */
static conc_result conc__destroy(const void *word, const char *what) {
    if (word == NULL) return conc__null(what);
    if (conc__is_waited_for(word)) return conc__fail(CONC_BUSY, "%s: somebody waits for it", what);
    return CONC_OK;
}

conc_result conc_cond_destroy(conc_cond *c) {
    return conc__destroy(c, "conc_cond_destroy");
}

/* ---- reader-writer lock ---------------------------------------------------------------------------- */

/* The word: how many read, in the lower 29 bits; and the flags below. A writer that has to wait sets
 * CONC__WRITERS, which keeps new readers out. A leaving writer passes the lock on: to all readers that wait, or else
 * to the first writer; the last of a group of readers passes it to the first writer. Whoever passes on holds the
 * lock itself while it does (the writer's bit, or one of the count), so what it hands out cannot be
 * snatched; a grant of 1 in the node tells the waiter that it holds the lock.
 *
 * A reader that finds a flag after adding itself takes itself off again, by the same path as an unlock: so a
 * writer misled by the moment's count is woken by it. Orders: acquire on entering, release on leaving; a
 * reader that is handed the lock synchronises through the claim. */
#define CONC__WRITING 0x80000000u /* a writer has it */
#define CONC__WRITERS 0x40000000u /* writers may be in the table */
#define CONC__READERS 0x20000000u /* readers may be in the table */
#define CONC__COUNT(word) ((word) & 0x1fffffffu)

/* Flags for kinds of waiters that are not there are taken off. Under the bucket's lock, as their setting. */
static void conc__rwlock_tidy(conc_rwlock *l, conc__bucket *b) {
    uint32_t stale = 0;
    if (!conc__bucket_has(b, &l->conc__word, CONC__TAG_READER)) stale |= CONC__READERS;
    if (!conc__bucket_has(b, &l->conc__word, CONC__TAG_WRITER)) stale |= CONC__WRITERS;
    if (stale != 0) (void)conc__and32(&l->conc__word, ~stale, CONC__RELAXED);
}

/* Tries to take the free lock to pass it on. */
static bool conc__rwlock_seize(conc_rwlock *l) {
    uint32_t w = conc__load32(&l->conc__word, CONC__RELAXED);
    while ((w & CONC__WRITING) == 0 && CONC__COUNT(w) == 0) {
        if (conc__cas32(&l->conc__word, &w, w | CONC__WRITING, CONC__ACQUIRE)) return true;
    }
    return false;
}

/* Lets all readers in that wait. The caller is one of the count, and the bucket's lock is held before and
 * after (not throughout). */
static conc__bucket *conc__rwlock_admit(conc_rwlock *l, conc__bucket *b) {
    conc_node *node = conc__bucket_first(b, &l->conc__word);
    size_t n = 0; /* those there now: who comes back for more is behind the next writer */
    bool more = true;
    for (; node != NULL; node = conc__bucket_next(b, node)) n += conc__node_tag(node) == CONC__TAG_READER;
    while (more && n > 0) {
        conc__wakes wakes;
        wakes.count = 0;
        for (; more && n > 0 && wakes.count < CONC__WAKES; n--) {
            /* Counted before it is claimed: it may leave again at once. */
            (void)conc__add32(&l->conc__word, 1, CONC__RELAXED);
            more = conc__claim_first(b, &l->conc__word, CONC__TAG_READER, 1, &wakes);
            if (!more) (void)conc__sub32(&l->conc__word, 1, CONC__RELAXED);
        }
        conc__bucket_unlock(b);
        conc__wakes_run(&wakes);
        b = conc__bucket_lock(&l->conc__word);
    }
    return b;
}

/* Gives away the writer's bit that the caller holds. */
static void conc__rwlock_pass(conc_rwlock *l, bool readers_first) {
    conc__bucket *b = conc__bucket_lock(&l->conc__word);
    for (;;) {
        conc__wakes wakes;
        uint32_t w;
        wakes.count = 0;
        if (!(readers_first && conc__bucket_has(b, &l->conc__word, CONC__TAG_READER)) &&
            conc__claim_first(b, &l->conc__word, CONC__TAG_WRITER, 1, &wakes)) {
            conc__rwlock_tidy(l, b);
            conc__bucket_unlock(b);
            conc__wakes_run(&wakes);
            return;
        }
        /* No writer waits: the flag goes before the bucket's lock is first let go of, or a reader could enter the table
         * meanwhile on the strength of it, behind a writer who is not there. */
        conc__rwlock_tidy(l, b);
        /* The writer's bit becomes a place among the readers, */
        (void)conc__sub32(&l->conc__word, CONC__WRITING - 1u, CONC__ACQ_REL);
        b = conc__rwlock_admit(l, b);
        conc__rwlock_tidy(l, b);
        /* and is given back. If that was the last and a writer came meanwhile, on to that. */
        w = conc__sub32(&l->conc__word, 1, CONC__ACQ_REL);
        readers_first = false;
        if (CONC__COUNT(w) != 1 || (w & CONC__WRITERS) == 0 || !conc__rwlock_seize(l)) break;
    }
    conc__bucket_unlock(b);
}

static void conc__rwlock_leave_read(conc_rwlock *l) {
    uint32_t w = conc__sub32(&l->conc__word, 1, CONC__RELEASE);
    if (CONC__UNLIKELY(CONC__COUNT(w) == 1 && (w & CONC__WRITERS) != 0 && (w & CONC__WRITING) == 0) &&
        conc__rwlock_seize(l)) {
        conc__rwlock_pass(l, false); /* if another has seized it, it is up to that one */
    }
}

static bool conc__rwlock_enter_read(conc_rwlock *l) {
    if ((conc__load32(&l->conc__word, CONC__RELAXED) & (CONC__WRITING | CONC__WRITERS)) != 0) return false;
    if ((conc__add32(&l->conc__word, 1, CONC__ACQUIRE) & (CONC__WRITING | CONC__WRITERS)) == 0) return true;
    conc__rwlock_leave_read(l);
    return false;
}

/* PENDING, or why waiting for it is no use: held to write by the caller itself, or by a thread now gone. */
static conc_result conc__rwlock_hopeless(conc_rwlock *l) {
    uint32_t owner = conc__load32(&l->conc__owner, CONC__RELAXED);
    if (owner != 0 && owner == conc__self()->owner) {
        return conc__fail(CONC_DEADLOCK, "the reader-writer lock is already held to write by the calling thread");
    }
    if (owner != 0 && conc__is_gone(owner)) {
        return conc__fail(CONC_FORKED, "the reader-writer lock is held by a thread of the parent process");
    }
    return CONC_PENDING;
}

static conc_result conc__read_attempt(conc_op *op) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    if (l == NULL) return conc__null("conc_op_read");
    if (op->node.conc__grant != 0) {
        op->node.conc__grant = 0;
        return CONC_OK;
    }
    return conc__rwlock_enter_read(l) ? CONC_OK : conc__rwlock_hopeless(l);
}

static bool conc__read_arm(conc_op *op, conc_node *node) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    conc__bucket *b = conc__bucket_lock(&l->conc__word);
    uint32_t w;
    bool wait;
    if (conc__fork_generation() != 0) conc__rwlock_tidy(l, b); /* the parent's waiters may have left a flag in the child */
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    do {
        wait = (w & (CONC__WRITING | CONC__WRITERS)) != 0;
    } while (wait && !conc__cas32(&l->conc__word, &w, w | CONC__READERS, CONC__RELAXED));
    if (wait) conc__bucket_push(b, &l->conc__word, node, CONC__TAG_READER);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_read(conc_rwlock *l) {
    static const conc_op_class cls = {"read", CONC_BUSY, conc__read_attempt, conc__read_arm, NULL, NULL};
    return conc_op_make(&cls, l, NULL);
}

static conc_result conc__write_attempt(conc_op *op) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    if (l == NULL) return conc__null("conc_op_write");
    if (op->node.conc__grant != 0) {
        op->node.conc__grant = 0;
    } else if (!conc__rwlock_seize(l)) {
        return conc__rwlock_hopeless(l);
    }
    conc__store32(&l->conc__owner, conc__self()->owner, CONC__RELAXED);
    op->word = 0;
    return CONC_OK;
}

static bool conc__write_arm(conc_op *op, conc_node *node) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    conc__bucket *b = conc__bucket_lock(&l->conc__word);
    uint32_t w = conc__load32(&l->conc__word, CONC__RELAXED);
    bool wait;
    do {
        wait = (w & CONC__WRITING) != 0 || CONC__COUNT(w) != 0;
    } while (wait && !conc__cas32(&l->conc__word, &w, w | CONC__WRITERS, CONC__RELAXED));
    if (wait) {
        op->word = 1; /* the flag was set on its behalf */
        conc__bucket_push(b, &l->conc__word, node, CONC__TAG_WRITER);
    }
    conc__bucket_unlock(b);
    return wait;
}

/* A writer that gives up takes the flag off again, and lets the readers in that only the flag kept out. */
static void conc__write_abandon(conc_op *op) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    conc__bucket *b;
    uint32_t w;
    bool joined = false;
    if (op->word == 0) return;
    op->word = 0;
    b = conc__bucket_lock(&l->conc__word);
    conc__rwlock_tidy(l, b);
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    /* With a writer inside, or another waiting, the readers are let in when that one leaves. */
    while ((w & CONC__READERS) != 0 && (w & (CONC__WRITING | CONC__WRITERS)) == 0 && !joined) {
        joined = conc__cas32(&l->conc__word, &w, w + 1, CONC__ACQUIRE);
    }
    if (joined) {
        b = conc__rwlock_admit(l, b);
        conc__rwlock_tidy(l, b);
    }
    conc__bucket_unlock(b);
    if (joined) conc__rwlock_leave_read(l);
}

conc_op conc_op_write(conc_rwlock *l) {
    static const conc_op_class cls = {"write",         CONC_BUSY, conc__write_attempt,
                                      conc__write_arm, NULL,      conc__write_abandon};
    return conc_op_make(&cls, l, NULL);
}

conc_result conc_rwlock_read(conc_rwlock *l, conc_deadline deadline) {
    conc_op op;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_rwlock_read");
    if (CONC__LIKELY(conc__rwlock_enter_read(l))) return CONC_OK;
    op = conc_op_read(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_rwlock_write(conc_rwlock *l, conc_deadline deadline) {
    conc_op op;
    uint32_t w = 0;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_rwlock_write");
    if (CONC__LIKELY(conc__cas32(&l->conc__word, &w, CONC__WRITING, CONC__ACQUIRE))) {
        conc__store32(&l->conc__owner, conc__self()->owner, CONC__RELAXED);
        return CONC_OK;
    }
    op = conc_op_write(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_rwlock_unlock(conc_rwlock *l) {
    uint32_t w;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_rwlock_unlock");
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    if ((w & CONC__WRITING) == 0) {
        if (CONC__COUNT(w) == 0) return conc__fail(CONC_NOT_OWNER, "conc_rwlock_unlock: the lock is not held");
        conc__rwlock_leave_read(l);
        return CONC_OK;
    }
    if (conc__load32(&l->conc__owner, CONC__RELAXED) != conc__self()->owner) {
        return conc__fail(CONC_NOT_OWNER, "conc_rwlock_unlock: the lock is held to write by another thread");
    }
    conc__store32(&l->conc__owner, 0, CONC__RELAXED);
    w = CONC__WRITING;
    if (CONC__UNLIKELY(!conc__cas32(&l->conc__word, &w, 0, CONC__RELEASE))) conc__rwlock_pass(l, true);
    return CONC_OK;
}

conc_result conc_rwlock_destroy(conc_rwlock *l) {
    if (l == NULL) return conc__null("conc_rwlock_destroy");
    if (conc__load32(&l->conc__word, CONC__ACQUIRE) != 0) {
        return conc__fail(CONC_BUSY, "conc_rwlock_destroy: the lock is held or waited for");
    }
    return CONC_OK;
}

conc__rwlock_scope conc__rwlock_enter(conc_rwlock *l, int write) {
    conc__rwlock_scope s;
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = write != 0 ? conc_rwlock_write(l, CONC_FOREVER) : conc_rwlock_read(l, CONC_FOREVER);
    (void)conc_cancel_use(token);
    s.lock = l;
    s.live = r == CONC_OK;
    if (r != CONC_OK) {
        conc__report(r, 0, NULL, "CONC_WITH_%s_LOCK did not run its block: %s", write != 0 ? "WRITE" : "READ",
                     conc_error_detail());
    }
    return s;
}

void conc__rwlock_leave(conc__rwlock_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    (void)conc_rwlock_unlock(scope->lock);
}

/* ---- big-reader lock -------------------------------------------------------------------------------- */

/* A reader counts itself in a slot of its own and then looks for a writer; a writer announces itself and then
 * looks at all slots. Both are sequentially consistent: one of the two sees the other (Dekker). The same
 * pair, reader leaving and writer waiting, wakes the writer. */
typedef struct conc__br_slot {
    uint32_t count; /* readers inside that hash here */
    char pad[CONC__CACHE_LINE - sizeof(uint32_t)];
} conc__br_slot;

#define CONC__BR_HOLDS 1u

struct conc_brlock {
    uint32_t writer; /* the owner of the announcement, and CONC__BR_HOLDS once that is the lock; those who wait for it to
                        be 0 stand under it */
    uint32_t drain;  /* only an address: under it stands the writer that waits for readers to leave */
    uint32_t slot_count; /* a power of two */
    char pad[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];
    conc__br_slot slots[1];
};

conc_brlock *conc_brlock_new(void) {
    unsigned processors = conc_cpu_count();
    conc_brlock *l;
    unsigned n = 2; /* at least twice the processors, so that few threads share a slot by chance */
    if (processors > 64) processors = 64;
    while (n < 2 * processors) n *= 2;
    l = (conc_brlock *)conc__alloc(1, sizeof *l + (n - 1) * sizeof l->slots[0], "a big-reader lock");
    if (l != NULL) l->slot_count = n;
    return l;
}

static conc__br_slot *conc__br_slot_of(conc_brlock *l) {
    uint32_t owner = conc__self_fast()->owner;
    if (CONC__UNLIKELY(owner == 0)) owner = conc__self()->owner;
    return &l->slots[(owner >> 2) & (l->slot_count - 1)];
}

static bool conc__br_is_drained(const conc_brlock *l) {
    uint32_t i;
    for (i = 0; i < l->slot_count; i++) {
        if (conc__load32(&l->slots[i].count, CONC__SEQ_CST) != 0) return false;
    }
    return true;
}

static void conc__br_leave_read(conc_brlock *l, conc__br_slot *slot) {
    if (conc__sub32(&slot->count, 1, CONC__SEQ_CST) == 1 &&
        CONC__UNLIKELY(conc__load32(&l->writer, CONC__SEQ_CST) != 0)) {
        (void)conc__wake_waiters(&l->drain, CONC__ANY_TAG, 1);
    }
}

static bool conc__br_enter_read(conc_brlock *l) {
    conc__br_slot *slot = conc__br_slot_of(l);
    (void)conc__add32(&slot->count, 1, CONC__SEQ_CST);
    if (CONC__LIKELY(conc__load32(&l->writer, CONC__SEQ_CST) == 0)) return true;
    conc__br_leave_read(l, slot);
    return false;
}

static void conc__br_leave_write(conc_brlock *l) {
    conc__store32(&l->writer, 0, CONC__SEQ_CST);
    (void)conc__wake_waiters(&l->writer, CONC__ANY_TAG, CONC_ALL);
}

static conc_result conc__br_hopeless(const conc_brlock *l) {
    uint32_t w = conc__load32(&l->writer, CONC__RELAXED), owner = CONC__OWNER(w);
    if (w == (conc__self()->owner | CONC__BR_HOLDS)) {
        return conc__fail(CONC_DEADLOCK, "the big-reader lock is already held to write by the calling thread");
    }
    if (owner != 0 && conc__is_gone(owner)) {
        return conc__fail(CONC_FORKED, "the big-reader lock is held by a thread of the parent process");
    }
    return CONC_PENDING;
}

static conc_result conc__br_read_attempt(conc_op *op) {
    conc_brlock *l = (conc_brlock *)op->object;
    if (l == NULL) return conc__null("conc_op_brlock_read");
    return conc__load32(&l->writer, CONC__RELAXED) == 0 && conc__br_enter_read(l) ? CONC_OK : conc__br_hopeless(l);
}

/* Enters the node under the writer's word, unless there is no writer. */
static bool conc__br_arm(conc_op *op, conc_node *node) {
    conc_brlock *l = (conc_brlock *)op->object;
    conc__bucket *b = conc__bucket_lock(&l->writer);
    bool wait = conc__load32(&l->writer, CONC__SEQ_CST) != 0;
    if (wait) conc__bucket_push(b, &l->writer, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_brlock_read(conc_brlock *l) {
    static const conc_op_class cls = {"read", CONC_BUSY, conc__br_read_attempt, conc__br_arm, NULL, NULL};
    return conc_op_make(&cls, l, NULL);
}

/* op->word: 1 once the writer has announced itself. */
static conc_result conc__br_write_attempt(conc_op *op) {
    conc_brlock *l = (conc_brlock *)op->object;
    if (l == NULL) return conc__null("conc_op_brlock_write");
    if (op->word == 0) {
        uint32_t nobody = 0;
        if (!conc__cas32(&l->writer, &nobody, conc__self()->owner, CONC__SEQ_CST)) return conc__br_hopeless(l);
        op->word = 1;
    }
    if (!conc__br_is_drained(l)) return CONC_PENDING;
    conc__store32(&l->writer, conc__self()->owner | CONC__BR_HOLDS, CONC__RELAXED);
    op->word = 0;
    return CONC_OK;
}

static bool conc__br_write_arm(conc_op *op, conc_node *node) {
    conc_brlock *l = (conc_brlock *)op->object;
    conc__bucket *b;
    bool wait;
    if (op->word == 0) return conc__br_arm(op, node);
    b = conc__bucket_lock(&l->drain);
    wait = !conc__br_is_drained(l);
    if (wait) conc__bucket_push(b, &l->drain, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static void conc__br_write_abandon(conc_op *op) {
    if (op->word != 0) conc__br_leave_write((conc_brlock *)op->object);
    op->word = 0;
}

conc_op conc_op_brlock_write(conc_brlock *l) {
    static const conc_op_class cls = {"write",            CONC_BUSY, conc__br_write_attempt,
                                      conc__br_write_arm, NULL,      conc__br_write_abandon};
    return conc_op_make(&cls, l, NULL);
}

conc_result conc_brlock_read(conc_brlock *l, conc_deadline deadline) {
    conc_op op;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_brlock_read");
    if (CONC__LIKELY(conc__br_enter_read(l))) return CONC_OK;
    op = conc_op_brlock_read(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_brlock_write(conc_brlock *l, conc_deadline deadline) {
    conc_op op = conc_op_brlock_write(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_brlock_read_unlock(conc_brlock *l) {
    conc__br_slot *slot;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_brlock_read_unlock");
    slot = conc__br_slot_of(l);
    if (CONC__UNLIKELY(conc__load32(&slot->count, CONC__RELAXED) == 0)) {
        return conc__fail(CONC_NOT_OWNER, "conc_brlock_read_unlock: the calling thread does not read");
    }
    conc__br_leave_read(l, slot);
    return CONC_OK;
}

conc_result conc_brlock_write_unlock(conc_brlock *l) {
    if (l == NULL) return conc__null("conc_brlock_write_unlock");
    if (conc__load32(&l->writer, CONC__RELAXED) != (conc__self()->owner | CONC__BR_HOLDS)) {
        return conc__fail(CONC_NOT_OWNER, "conc_brlock_write_unlock: the calling thread does not write");
    }
    conc__br_leave_write(l);
    return CONC_OK;
}

conc_result conc_brlock_free(conc_brlock *l) {
    if (l == NULL) return CONC_OK;
    if (conc__load32(&l->writer, CONC__ACQUIRE) != 0 || !conc__br_is_drained(l) ||
        conc__is_waited_for(&l->writer) || conc__is_waited_for(&l->drain)) {
        return conc__fail(CONC_BUSY, "conc_brlock_free: the lock is held or waited for");
    }
    conc__free(l);
    return CONC_OK;
}

/* ---- semaphore --------------------------------------------------------------------------------------- */

/* The word: the permits, and the flag. */

static bool conc__has_count(uint32_t w) {
    return CONC__NUMBER(w) != 0;
}

static conc_result conc__semaphore_attempt(conc_op *op) {
    conc_semaphore *s = (conc_semaphore *)op->object;
    uint32_t w;
    if (s == NULL) return conc__null("conc_op_acquire");
    w = conc__load32(&s->conc__word, CONC__RELAXED);
    while (conc__has_count(w)) {
        if (conc__cas32(&s->conc__word, &w, w - 1, CONC__ACQUIRE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    return CONC_PENDING;
}

static bool conc__semaphore_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_semaphore *)op->object)->conc__word, node, conc__has_count, CONC__PARKED);
}

conc_op conc_op_acquire(conc_semaphore *s) {
    static const conc_op_class cls = {"acquire", CONC_BUSY, conc__semaphore_attempt, conc__semaphore_arm, NULL, NULL};
    return conc_op_make(&cls, s, NULL);
}

conc_result conc_semaphore_init(conc_semaphore *s, uint32_t permits, uint32_t max) {
    if (s == NULL) return conc__null("conc_semaphore_init");
    if (permits > 0x7fffffffu || max > 0x7fffffffu || (max != 0 && permits > max)) {
        return conc__fail(CONC_INVALID, "conc_semaphore_init: %u permits of at most %u", (unsigned)permits,
                          (unsigned)(max != 0 ? max : 0x7fffffffu));
    }
    s->conc__word = permits;
    s->max = max;
    return CONC_OK;
}

conc_result conc_semaphore_acquire(conc_semaphore *s, conc_deadline deadline) {
    conc_op op;
    uint32_t w;
    if (CONC__UNLIKELY(s == NULL)) return conc__null("conc_semaphore_acquire");
    w = conc__load32(&s->conc__word, CONC__RELAXED);
    if (CONC__LIKELY(conc__has_count(w) && conc__cas32(&s->conc__word, &w, w - 1, CONC__ACQUIRE))) return CONC_OK;
    op = conc_op_acquire(s);
    return conc__wait_op(&op, deadline);
}

static bool conc__add_permits(uint32_t *w, uint32_t n, uint32_t max) {
    if (n > max || *w > max - n) return false;
    *w += n;
    return true;
}

conc_result conc_semaphore_release(conc_semaphore *s, uint32_t n) {
    uint32_t w, next, max;
    if (CONC__UNLIKELY(s == NULL)) return conc__null("conc_semaphore_release");
    max = s->max != 0 && s->max < 0x7fffffffu ? s->max : 0x7fffffffu;
    w = conc__load32(&s->conc__word, CONC__RELAXED);
    while ((w & CONC__PARKED) == 0) {
        next = w;
        if (CONC__UNLIKELY(!conc__add_permits(&next, n, max))) break;
        if (CONC__LIKELY(conc__cas32(&s->conc__word, &w, next, CONC__RELEASE))) return CONC_OK;
    }
    if ((w & CONC__PARKED) != 0 && conc__change_and_wake(&s->conc__word, conc__add_permits, n, max, n)) return CONC_OK;
    return conc__fail(CONC_INVALID, "conc_semaphore_release: %u permits more than there are would pass the bound of %u",
                      (unsigned)n, (unsigned)max);
}

uint32_t conc_semaphore_permits(const conc_semaphore *s) {
    return s != NULL ? CONC__NUMBER(conc__load32(&s->conc__word, CONC__RELAXED)) : 0;
}

conc_result conc_semaphore_destroy(conc_semaphore *s) {
    return conc__destroy(s, "conc_semaphore_destroy");
}

/* ---- event ------------------------------------------------------------------------------------------- */

/* The word: 1 if set, and the flag. */

static conc_result conc__event_attempt(conc_op *op) {
    conc_event *e = (conc_event *)op->object;
    uint32_t w;
    if (e == NULL) return conc__null("conc_op_event");
    w = conc__load32(&e->conc__word, CONC__ACQUIRE);
    while (conc__has_count(w)) {
        if (!e->auto_reset || conc__cas32(&e->conc__word, &w, w & ~1u, CONC__ACQUIRE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    return CONC_PENDING;
}

static bool conc__event_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_event *)op->object)->conc__word, node, conc__has_count, CONC__PARKED);
}

conc_op conc_op_event(conc_event *e) {
    static const conc_op_class cls = {"event", CONC_BUSY, conc__event_attempt, conc__event_arm, NULL, NULL};
    return conc_op_make(&cls, e, NULL);
}

conc_result conc_event_wait(conc_event *e, conc_deadline deadline) {
    conc_op op = conc_op_event(e);
    return conc__wait_op(&op, deadline);
}

static bool conc__set_bit(uint32_t *w, uint32_t bit, uint32_t limit) {
    (void)limit;
    *w |= bit;
    return true;
}

conc_result conc_event_set(conc_event *e) {
    uint32_t w;
    bool one;
    if (e == NULL) return conc__null("conc_event_set");
    one = e->auto_reset; /* read before: afterwards the event may be gone */
    w = conc__load32(&e->conc__word, CONC__RELAXED);
    while ((w & CONC__PARKED) == 0) {
        if (conc__cas32(&e->conc__word, &w, w | 1u, CONC__RELEASE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    (void)conc__change_and_wake(&e->conc__word, conc__set_bit, 1u, 0, one ? 1 : CONC_ALL);
    return CONC_OK;
}

conc_result conc_event_reset(conc_event *e) {
    if (e == NULL) return conc__null("conc_event_reset");
    (void)conc__and32(&e->conc__word, ~1u, CONC__ACQ_REL);
    CONC__OPAQUE();
    return CONC_OK;
}

bool conc_event_is_set(const conc_event *e) {
    bool set = e != NULL && conc__has_count(conc__load32(&e->conc__word, CONC__ACQUIRE));
    CONC__OPAQUE();
    return set;
}

conc_result conc_event_destroy(conc_event *e) {
    return conc__destroy(e, "conc_event_destroy");
}

/* ---- barrier ------------------------------------------------------------------------------------------ */

/* All fields but `parties` are guarded by the lock of the barrier's bucket. op->word: 0 not arrived, else the
 * round it arrived in, plus 1. */

/* Ends the round and lets its parties go, with the bucket's lock held, which it gives up. */
static void conc__barrier_end_round(conc_barrier *b, conc__bucket *bucket, bool broken) {
    uint32_t bit = 1u << b->conc__generation % 32;
    b->conc__history = broken ? b->conc__history | bit : b->conc__history & ~bit;
    b->conc__arrived = 0;
    b->conc__generation++;
    conc__bucket_unlock(bucket);
    (void)conc__wake_waiters(b, CONC__ANY_TAG, CONC_ALL); /* uses the address only */
}

static conc_result conc__barrier_is_broken(void) {
    return conc__fail(CONC_BROKEN, "conc_barrier_wait: the barrier is broken");
}

/* How a round that has ended did end. With the bucket's lock. */
static bool conc__barrier_ended_broken(const conc_barrier *b, uint64_t round) {
    return (b->conc__history >> round % 32 & 1u) != 0;
}

static conc_result conc__barrier_attempt(conc_op *op) {
    conc_barrier *b = (conc_barrier *)op->object;
    conc__bucket *bucket;
    bool broken;
    if (b == NULL) return conc__null("conc_barrier_wait");
    if (b->parties == 0) return conc__fail(CONC_INVALID, "conc_barrier_wait: a barrier of 0 parties");
    bucket = conc__bucket_lock(b);
    if (op->word == 0 && !b->conc__broken) { /* arrive */
        if (op->data != NULL) *(uint32_t *)op->data = b->conc__arrived;
        op->word = (uint64_t)b->conc__generation + 1;
        b->conc__arrived++;
        if (b->conc__arrived == b->parties) {
            conc__barrier_end_round(b, bucket, false);
            op->word = 0;
            return CONC_OK;
        }
    }
    if (op->word == (uint64_t)b->conc__generation + 1) {
        conc__bucket_unlock(bucket);
        return CONC_PENDING;
    }
    broken = op->word == 0 || conc__barrier_ended_broken(b, op->word - 1);
    conc__bucket_unlock(bucket);
    op->word = 0;
    return broken ? conc__barrier_is_broken() : CONC_OK;
}

static bool conc__barrier_arm(conc_op *op, conc_node *node) {
    conc_barrier *b = (conc_barrier *)op->object;
    conc__bucket *bucket = conc__bucket_lock(b);
    bool wait = op->word == (uint64_t)b->conc__generation + 1;
    if (wait) conc__bucket_push(bucket, b, node, 0);
    conc__bucket_unlock(bucket);
    return wait;
}

/* A party that had arrived and gives up breaks the barrier, unless its round has ended after all. */
static void conc__barrier_abandon(conc_op *op) {
    conc_barrier *b = (conc_barrier *)op->object;
    conc__bucket *bucket;
    if (op->word == 0) return; /* it never arrived */
    bucket = conc__bucket_lock(b);
    if (op->word == (uint64_t)b->conc__generation + 1) {
        b->conc__broken = true;
        conc__barrier_end_round(b, bucket, true);
    } else {
        bool broken = conc__barrier_ended_broken(b, op->word - 1);
        conc__bucket_unlock(bucket);
        op->result = broken ? conc__barrier_is_broken() : CONC_OK;
    }
    op->word = 0;
}

conc_op conc_op_barrier(conc_barrier *b, uint32_t *rank) {
    static const conc_op_class cls = {"barrier",         CONC_BUSY, conc__barrier_attempt,
                                      conc__barrier_arm, NULL,      conc__barrier_abandon};
    return conc_op_make(&cls, b, rank);
}

conc_result conc_barrier_wait(conc_barrier *b, uint32_t *rank, conc_deadline deadline) {
    conc_op op = conc_op_barrier(b, rank);
    return conc__wait_op(&op, deadline);
}

static conc_result conc__barrier_break(conc_barrier *b, bool stays_broken) {
    conc__bucket *bucket = conc__bucket_lock(b);
    b->conc__broken = stays_broken;
    if (b->conc__arrived > 0) {
        conc__barrier_end_round(b, bucket, true);
    } else {
        conc__bucket_unlock(bucket);
    }
    return CONC_OK;
}

conc_result conc_barrier_abort(conc_barrier *b) {
    return b != NULL ? conc__barrier_break(b, true) : conc__null("conc_barrier_abort");
}

conc_result conc_barrier_reset(conc_barrier *b) {
    return b != NULL ? conc__barrier_break(b, false) : conc__null("conc_barrier_reset");
}

conc_result conc_barrier_destroy(conc_barrier *b) {
    return conc__destroy(b, "conc_barrier_destroy");
}

/* ---- once ------------------------------------------------------------------------------------------- */

/* The word: CONC__DONE; or the owner who runs it, and CONC__SLEEPERS; or 0. */
#define CONC__DONE 2u

static conc_result conc__once_attempt(conc_op *op) {
    uint32_t w = conc__load32(&((conc_once *)op->object)->conc__word, CONC__ACQUIRE);
    if (CONC__OWNER(w) == 0) return CONC_OK; /* done, or to be tried anew */
    if (CONC__OWNER(w) == conc__self()->owner) {
        return conc__fail(CONC_DEADLOCK, "conc_once_do: called from within its own function");
    }
    if (conc__is_gone(CONC__OWNER(w))) {
        return conc__fail(CONC_FORKED, "conc_once_do: begun by a thread of the parent process");
    }
    return CONC_PENDING;
}

static bool conc__once_idle(uint32_t w) {
    return CONC__OWNER(w) == 0;
}

static bool conc__once_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_once *)op->object)->conc__word, node, conc__once_idle, CONC__SLEEPERS);
}

/* The fast path, once it has run, is one load with acquire, against the release with which it was marked
 * done. */
conc_result conc_once_do(conc_once *o, conc_fn fn, void *arg, conc_deadline deadline) {
    static const conc_op_class cls = {"once", CONC_BUSY, conc__once_attempt, conc__once_arm, NULL, NULL};
    if (CONC__UNLIKELY(o == NULL || fn == NULL)) return conc__null("conc_once_do");
    while (conc__load32(&o->conc__word, CONC__ACQUIRE) != CONC__DONE) {
        uint32_t fresh = 0;
        if (conc__cas32(&o->conc__word, &fresh, conc__self()->owner, CONC__ACQUIRE)) {
            int code = fn(arg);
            uint32_t w = conc__swap32(&o->conc__word, code == 0 ? CONC__DONE : 0, CONC__ACQ_REL);
            if ((w & CONC__SLEEPERS) != 0) (void)conc__wake_waiters(&o->conc__word, CONC__ANY_TAG, CONC_ALL);
            if (code != 0) return conc__fail(CONC_FAILED, "conc_once_do: the function returned %d", code);
        } else {
            conc_op op = conc_op_make(&cls, o, NULL);
            conc_result r = conc__wait_op(&op, deadline);
            if (r != CONC_OK) return r;
        }
    }
    return CONC_OK;
}

/* ---- latch ------------------------------------------------------------------------------------------ */

/* The word: the count, and the flag. */

static bool conc__has_no_count(uint32_t w) {
    return CONC__NUMBER(w) == 0;
}

static conc_result conc__latch_attempt(conc_op *op) {
    const conc_latch *l = (const conc_latch *)op->object;
    if (l == NULL) return conc__null("conc_latch_wait");
    return conc__has_no_count(conc__load32(&l->conc__word, CONC__ACQUIRE)) ? CONC_OK : CONC_PENDING;
}

static bool conc__latch_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_latch *)op->object)->conc__word, node, conc__has_no_count, CONC__PARKED);
}

conc_op conc_op_latch(conc_latch *l) {
    static const conc_op_class cls = {"latch", CONC_BUSY, conc__latch_attempt, conc__latch_arm, NULL, NULL};
    return conc_op_make(&cls, l, NULL);
}

conc_result conc_latch_wait(conc_latch *l, conc_deadline deadline) {
    conc_op op = conc_op_latch(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_latch_add(conc_latch *l, uint32_t n) {
    uint32_t w;
    if (l == NULL) return conc__null("conc_latch_add");
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    do {
        if (n > 0x7fffffffu - CONC__NUMBER(w)) {
            return conc__fail(CONC_INVALID, "conc_latch_add: %u and %u more is too many", (unsigned)CONC__NUMBER(w),
                              (unsigned)n);
        }
    } while (!conc__cas32(&l->conc__word, &w, w + n, CONC__RELAXED));
    CONC__OPAQUE();
    return CONC_OK;
}

conc_result conc_latch_done(conc_latch *l) {
    uint32_t w, next;
    if (l == NULL) return conc__null("conc_latch_done");
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    do {
        if (CONC__NUMBER(w) == 0) return conc__fail(CONC_INVALID, "conc_latch_done: more often than the latch was counted up");
        next = w - 1;
        if (CONC__NUMBER(next) == 0) next = 0; /* the flag goes in the same step: the last touch */
        /* Acquire and release: whoever waits sees what all that counted down did before. */
    } while (!conc__cas32(&l->conc__word, &w, next, CONC__ACQ_REL));
    if (next == 0 && (w & CONC__PARKED) != 0) (void)conc__wake_waiters(&l->conc__word, CONC__ANY_TAG, CONC_ALL);
    CONC__OPAQUE();
    return CONC_OK;
}

uint32_t conc_latch_count(const conc_latch *l) {
    return l != NULL ? CONC__NUMBER(conc__load32(&l->conc__word, CONC__RELAXED)) : 0;
}

conc_result conc_latch_destroy(conc_latch *l) {
    return conc__destroy(l, "conc_latch_destroy");
}
