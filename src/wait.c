/* ============================================================================================
 * wait: see wait.h for the protocol that everything here serves.
 * ========================================================================================== */

#include "internal.h"

/* ---- the lock of the house -------------------------------------------------------------------- */

/* Acquire on taking, release on giving. A sleeper has stored 2 before it sleeps, so whoever gives finds 2 and
 * wakes; a taker that has slept takes with 2 again, because there may be others. */
void conc__lock_take(conc__lock *l) {
    uint32_t free = 0;
    unsigned i;
    if (CONC__LIKELY(conc__cas32(l, &free, 1, CONC__ACQUIRE))) return;
    for (i = 0; i < CONC__LOOKS(40); i++) { /* held for a few dozen instructions: worth a short look */
        conc__port_pause();
        free = 0;
        if (conc__load32(l, CONC__RELAXED) == 0 && conc__cas32(l, &free, 1, CONC__ACQUIRE)) return;
    }
    while (conc__swap32(l, 2, CONC__ACQUIRE) != 0) {
        (void)conc__port_wait(l, 2, INT64_MAX);
    }
}

void conc__lock_give(conc__lock *l) {
    if (conc__swap32(l, 0, CONC__RELEASE) == 2) conc__port_wake_one(l);
}

/* ---- the table ------------------------------------------------------------------------------------ */

#define CONC__BUCKETS (1u << CONC__BUCKET_BITS) /* 512 KiB of zero pages, touched as used */

static conc__bucket conc__table[CONC__BUCKETS];

/* In a child of fork() only the calling thread exists, and it does not wait: the table is empty there. */
static void conc__table_reset(void) {
    size_t i;
    for (i = 0; i < CONC__BUCKETS; i++) { /* pages that nobody has touched stay untouched */
        if (conc__table[i].firsts != NULL || conc__table[i].lock != 0) memset(&conc__table[i], 0, sizeof conc__table[i]);
    }
}

void conc__table_begin(void) {
    conc__on_fork(CONC__RESET_TABLE, conc__table_reset);
}

conc__bucket *conc__bucket_lock(const void *key) {
    conc__bucket *b = &conc__table[conc__port_hash(key, CONC__BUCKET_BITS)];
    conc__table_begin();
    conc__lock_take(&b->lock);
    return b;
}

void conc__bucket_unlock(conc__bucket *b) {
    conc__lock_give(&b->lock);
}

conc_node *conc__bucket_first(conc__bucket *b, const void *key) {
    conc_node *f = b->firsts;
    while (f != NULL && f->conc__key != key) f = f->conc__peer;
    return f;
}

conc_node *conc__bucket_next(conc__bucket *b, conc_node *node) {
    conc_node *next = node->conc__next;
    return next == conc__bucket_first(b, node->conc__key) ? NULL : next;
}

/* Where the chain of firsts points to `first`. */
static conc_node **conc__bucket_link(conc__bucket *b, const conc_node *first) {
    conc_node **link = &b->firsts;
    while (*link != NULL && *link != first) link = &(*link)->conc__peer;
    return link;
}

void conc__bucket_push(conc__bucket *b, const void *key, conc_node *node, unsigned tag) {
    conc_node *first = conc__bucket_first(b, key);
    bool front = (node->conc__tag & CONC__FRONT) != 0;
    node->conc__key = key;
    node->conc__tag = (uint8_t)tag;
    if (first == NULL) {
        node->conc__next = node->conc__prev = node;
        node->conc__peer = b->firsts;
        b->firsts = node;
    } else {
        node->conc__next = first; /* before the first is behind the last */
        node->conc__prev = first->conc__prev;
        first->conc__prev->conc__next = node;
        first->conc__prev = node;
        node->conc__peer = NULL;
        if (front) {
            node->conc__peer = first->conc__peer;
            *conc__bucket_link(b, first) = node;
            first->conc__peer = NULL;
        }
    }
    conc__store32(&node->conc__armed, 1, CONC__RELAXED);
}

static void conc__bucket_remove(conc__bucket *b, conc_node *node) {
    conc_node **link = conc__bucket_link(b, node);
    if (*link == node) {
        conc_node *heir = node->conc__next == node ? NULL : node->conc__next;
        if (heir != NULL) heir->conc__peer = node->conc__peer;
        *link = heir != NULL ? heir : node->conc__peer;
    }
    node->conc__prev->conc__next = node->conc__next;
    node->conc__next->conc__prev = node->conc__prev;
}

bool conc__bucket_has(conc__bucket *b, const void *key, unsigned tag) {
    conc_node *first = conc__bucket_first(b, key), *n = first;
    if (first == NULL) return false;
    do {
        if (conc__node_tag(n) == tag) return true;
        n = n->conc__next;
    } while (n != first);
    return false;
}

bool conc__is_waited_for(const void *key) {
    conc__bucket *b = conc__bucket_lock(key);
    bool any = conc__bucket_first(b, key) != NULL;
    conc__bucket_unlock(b);
    return any;
}

/* ---- claiming ----------------------------------------------------------------------------------- */

void conc__wakes_run(conc__wakes *w) {
    size_t i;
    for (i = 0; i < w->count; i++) w->list[i].wake(w->list[i].waiter);
    w->count = 0;
}

bool conc__claim(conc__bucket *b, conc_node *node, unsigned grant, conc__wakes *w) {
    conc_waiter *waiter = node->conc__waiter;
    void (*wake)(void *) = waiter->wake;
    uint32_t waiting = 0, ticket = node->conc__ticket;
    bool mine;
    conc__bucket_remove(b, node);
    if (grant == CONC__SWEPT) {
        ticket |= CONC__TICKET_SWEPT;
    } else {
        node->conc__grant = (uint8_t)grant;
    }
    /* While `armed` is 1 the waiter cannot leave: its disarm has to take the bucket's lock. Release: what the
     * claimer did, the grant included, is seen by the waiter that reads `claimed`. */
    mine = conc__cas32(&waiter->claimed, &waiting, ticket, CONC__RELEASE);
    if (mine) {
        w->list[w->count].wake = wake;
        w->list[w->count].waiter = waiter;
        w->count++;
    } else {
        node->conc__grant = 0;
    }
    conc__store32(&node->conc__armed, 0, CONC__RELEASE); /* from here on the node may be gone */
    return mine;
}

bool conc__claim_first(conc__bucket *b, const void *key, unsigned tag, unsigned grant, conc__wakes *w) {
    conc_node *n = conc__bucket_first(b, key);
    while (n != NULL) {
        conc_node *next = conc__bucket_next(b, n);
        if ((tag == CONC__ANY_TAG || conc__node_tag(n) == tag) && conc__claim(b, n, grant, w)) return true;
        n = next;
    }
    return false;
}

void conc__wake_asleep(const void *key, uint32_t *asleep, uint32_t kind, size_t n) {
    bool more = true;
    while (more && n > 0) {
        conc__wakes w;
        conc__bucket *b = conc__bucket_lock(key);
        w.count = 0;
        while (more && n > 0 && w.count < CONC__WAKES) {
            more = conc__claim_first(b, key, CONC__ANY_TAG, 0, &w);
            if (more) n--;
        }
        if (conc__bucket_first(b, key) == NULL) (void)conc__and32(asleep, ~kind, CONC__RELAXED);
        conc__bucket_unlock(b);
        conc__wakes_run(&w);
    }
}

size_t conc__wake_waiters(const void *key, unsigned tag, size_t n) {
    size_t woken = 0;
    bool more = true;
    unsigned grant = n == CONC_ALL ? CONC__SWEPT : 0;
    if (n == CONC_ALL) { /* those there now: who comes back for more while we are at it is not among them */
        conc__bucket *b = conc__bucket_lock(key);
        conc_node *node;
        n = 0;
        for (node = conc__bucket_first(b, key); node != NULL; node = conc__bucket_next(b, node)) n++;
        conc__bucket_unlock(b);
    }
    while (more && woken < n) {
        conc__wakes w;
        conc__bucket *b = conc__bucket_lock(key);
        w.count = 0;
        while (more && woken + w.count < n && w.count < CONC__WAKES) more = conc__claim_first(b, key, tag, grant, &w);
        conc__bucket_unlock(b);
        woken += w.count;
        conc__wakes_run(&w);
    }
    return woken;
}

/* ---- waiters of users' objects ---------------------------------------------------------------------- */

void conc_waiters_arm(conc_waiters *w, conc_node *node) {
    conc__bucket *b = conc__bucket_lock(w);
    conc__bucket_push(b, w, node, 0);
    conc__bucket_unlock(b);
}

void conc_waiters_disarm(conc_node *node) {
    conc__bucket *b;
    /* 0: a claimer took it out, and has done with it (acquire, against the release in conc__claim()). */
    if (conc__load32(&node->conc__armed, CONC__ACQUIRE) == 0) return;
    b = conc__bucket_lock(node->conc__key); /* constant while armed */
    if (conc__load32(&node->conc__armed, CONC__RELAXED) != 0) {
        conc__bucket_remove(b, node);
        conc__store32(&node->conc__armed, 0, CONC__RELAXED);
    }
    conc__bucket_unlock(b);
}

size_t conc_waiters_wake(conc_waiters *w, size_t n) {
    return conc__wake_waiters(w, CONC__ANY_TAG, n);
}

/* ---- the steps of a wait --------------------------------------------------------------------------------- */

/* Waking a sleeper on another core costs some 300 times a look: a short spin wins on two cores, and the offers of the
 * processor at its end make sure that it loses nothing on one. */
bool conc__spin(unsigned step, unsigned pauses) {
    unsigned i;
    if (step >= CONC__LOOKS(8)) return false;
    if (step < pauses) {
        for (i = 0; i < 2u << step; i++) conc__port_pause();
    } else {
        conc__port_yield();
    }
    return true;
}

bool conc__op_valid(const conc_op *op) {
    return op->cls != NULL && op->cls->attempt != NULL && op->cls->arm != NULL;
}

void conc__ops_begin(conc_op *ops, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        ops[i].node.conc__armed = 0;
        ops[i].node.conc__tag = ops[i].node.conc__grant = 0;
    }
}

size_t conc__attempt_all(conc_op *ops, size_t n, size_t first) {
    size_t i;
    if (first < n) {
        ops[first].result = ops[first].cls->attempt(&ops[first]);
        if (ops[first].result != CONC_PENDING) return first;
    }
    for (i = 0; i < n; i++) {
        if (i == first) continue;
        ops[i].result = ops[i].cls->attempt(&ops[i]);
        if (ops[i].result != CONC_PENDING) return i;
    }
    return n;
}

void conc__abandon_but(conc_op *ops, size_t n, size_t winner) {
    size_t i;
    for (i = 0; i < n; i++) {
        if (i != winner && ops[i].cls->abandon != NULL) ops[i].cls->abandon(&ops[i]);
    }
}

size_t conc__arm_all(conc_op *ops, size_t n, conc_waiter *waiter, int64_t *until) {
    size_t armed;
    for (armed = 0; armed < n; armed++) {
        conc_op *op = &ops[armed];
        op->node.conc__waiter = waiter;
        op->node.conc__ticket = (uint16_t)(armed + 1);
        if (!op->cls->arm(op, &op->node)) break;
        if (op->due.ns < *until) *until = op->due.ns;
    }
    return armed;
}

bool conc__was_claimed(uint32_t ticket, size_t armed) {
    return ticket != 0 && (ticket & ~CONC__TICKET_SWEPT) != armed + 1;
}

void conc__disarm_all(conc_op *ops, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        if (ops[i].cls->disarm != NULL) {
            ops[i].cls->disarm(&ops[i], &ops[i].node);
        } else {
            conc_waiters_disarm(&ops[i].node);
        }
    }
}

size_t conc__tokens_count(const conc_cancel *token) {
    size_t n = 0;
    for (; token != NULL && n < CONC_CANCEL_DEPTH; token = token->parent) n++;
    return n;
}

bool conc__tokens_arm(conc_cancel *token, conc_node *nodes, size_t *count, conc_waiter *waiter) {
    size_t n = 0;
    bool quiet = true;
    for (; token != NULL && n < CONC_CANCEL_DEPTH && quiet; token = token->parent) {
        conc__bucket *b = conc__bucket_lock(token);
        /* Fired before we hold the lock: seen here. After: conc_cancel_fire() finds the node. */
        quiet = conc__load32(&token->conc__state, CONC__ACQUIRE) == 0;
        if (quiet) {
            nodes[n].conc__waiter = waiter;
            nodes[n].conc__ticket = CONC__TICKET_CANCEL;
            nodes[n].conc__tag = nodes[n].conc__grant = 0;
            conc__bucket_push(b, token, &nodes[n], 0);
            n++;
        }
        conc__bucket_unlock(b);
    }
    *count = n;
    return quiet;
}

conc_result conc__op_busy(const conc_op *op) {
    return op->cls->busy != CONC_OK ? op->cls->busy : CONC_BUSY;
}

/* ---- descriptors -------------------------------------------------------------------------------------------- */

/* The second look is for the close only: that the descriptor is ready is found by the poll or the poller, which look at it
 * after this. A close marks the object and then wakes the key: of the two, the mark and the node, one is seen. */
bool conc__polled_arm(conc_op *op, conc_node *node) {
    const void *key = conc__polled_key(conc__polled_fd(op->word), conc__polled_side(op->word));
    conc__bucket *b = conc__bucket_lock(key);
    bool wait = conc__polled_number(op->word) == 0 || conc__load32((const uint32_t *)op->object, CONC__ACQUIRE) == 0;
    if (wait) conc__bucket_push(b, key, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

bool conc__is_polled(const conc_op *op) {
    return op->cls->arm == conc__polled_arm;
}

/* ---- a thread's wait ------------------------------------------------------------------------------------------ */

static void conc__thread_wake(void *waiter) {
    conc__port_wake_one(&((conc_waiter *)waiter)->claimed);
}

/* A thread that waits for descriptors sleeps in the port's poll, and is woken by its signal. Its waiter stays where it is
 * until the signal of whoever claimed it has arrived. */
typedef struct conc__poll_waiter {
    conc_waiter base;
    conc__port_signal *signal;
} conc__poll_waiter;

static void conc__poll_wake(void *waiter) {
    conc__port_signal_raise(((conc__poll_waiter *)waiter)->signal); /* the last touch */
}

#define CONC__MAX_POLLED 64

static bool conc__any_polled(const conc_op *ops, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        if (conc__is_polled(&ops[i])) return true;
    }
    return false;
}

/* Makes the thread's signal, if it has none. */
static conc_result conc__signal_begin(conc__agent *me) {
    int e;
    if (me->has_signal) return CONC_OK;
    if (!conc__agent_watch_end(me, me->ended)) return conc__fail(CONC_NO_MEMORY, "no memory for a thread's signal");
    e = conc__port_signal_open(&me->signal);
    if (e != 0) return conc__fail_system(CONC_SYSTEM, e, "cannot make what wakes a thread that waits for descriptors");
    me->has_signal = true;
    return CONC_OK;
}

/* Sleeps until the waiter is claimed, a descriptor is ready, or `until`. The index of an op whose descriptor is ready, or
 * n. `*error`: what the system had against it. */
static size_t conc__sleep_polling(conc_op *ops, size_t n, conc__poll_waiter *waiter, int64_t until, int *error) {
    conc__port_pollfd polled[CONC__MAX_POLLED + 1];
    int64_t scratch[(CONC__MAX_POLLED + 1) * CONC__PORT_POLL_SCRATCH / sizeof(int64_t)];
    uint16_t which[CONC__MAX_POLLED + 1];
    size_t i, count = 1, ready = n;
    polled[0].fd = waiter->signal->fd[0];
    polled[0].want = CONC__PORT_READ;
    for (i = 0; i < n && count <= CONC__MAX_POLLED; i++) {
        if (!conc__is_polled(&ops[i])) continue;
        polled[count].fd = conc__polled_fd(ops[i].word);
        polled[count].want = conc__polled_want(ops[i].word);
        which[count++] = (uint16_t)i;
    }
    *error = 0;
    while (ready == n && *error == 0 && conc__load32(&waiter->base.claimed, CONC__ACQUIRE) == 0) {
        if (conc__port_poll_in(scratch, polled, count, until, error) <= 0) {
            if (until != INT64_MAX && conc__port_clock_ns() >= until) break;
            continue;
        }
        for (i = 1; i < count && ready == n; i++) {
            if (polled[i].got != 0) ready = which[i];
        }
    }
    return ready;
}

/* The signal of whoever claimed us is on its way, or here: it must not reach the next wait, nor the waiter go before it
 * has come. */
static void conc__signal_take(conc__port_signal *signal) {
    conc__port_pollfd polled;
    int64_t scratch[CONC__PORT_POLL_SCRATCH / sizeof(int64_t)];
    int error;
    polled.fd = signal->fd[0];
    polled.want = CONC__PORT_READ;
    while (conc__port_poll_in(scratch, &polled, 1, INT64_MAX, &error) <= 0) {
    }
    conc__port_signal_clear(signal);
}

/* Sleeps until claimed or `until`. The wake: each object's waker claims under the bucket's lock, under which arm() looked at
 * the object; a claim stores `claimed` and then wakes this address; the port's wait does not sleep if `claimed` has
 * changed. */
static void conc__sleep(conc_waiter *waiter, int64_t until) {
    while (conc__load32(&waiter->claimed, CONC__ACQUIRE) == 0) {
        if (conc__port_wait(&waiter->claimed, 0, until)) break;
        /* A sleep that ends for no reason, again and again (signals), ends at its deadline all the same. */
        if (until != INT64_MAX && conc__port_clock_ns() >= until) break;
    }
}

/* conc_select() under `token`; n may be 0: then it only waits for the deadline or the token. `spin`: whether to look
 * for a while before the first sleep (before later ones it always does); `pauses`: how, see conc__spin(). */
static int conc__select(conc_op *ops, size_t n, conc_deadline deadline, conc_cancel *token, bool spin,
                        unsigned pauses) {
    conc__poll_waiter poll_waiter;
    conc_waiter *waiter = &poll_waiter.base;
    conc__agent *me = conc__self();
    conc_node token_nodes[CONC_CANCEL_DEPTH];
    size_t i, winner, first = n;
    bool front = false, over = conc_deadline_passed(deadline), polling = false;

    conc__ops_begin(ops, n);
    waiter->owner = me->owner;
    waiter->wake = conc__thread_wake;

    for (;;) {
        size_t armed = 0, tokens, ready = n;
        int64_t until = deadline.ns;
        unsigned step;
        int error = 0;
        bool quiet, swept;
        uint32_t ticket;

        winner = conc__attempt_all(ops, n, first);
        if (spin && !over && n != 0 && n <= 8) {
            for (step = 0; winner == n && conc__spin(step, pauses); step++) winner = conc__attempt_all(ops, n, first);
        }
        if (winner < n) {
            conc__abandon_but(ops, n, winner);
            return (int)winner;
        }
        if (over) {
            conc__abandon_but(ops, n, n);
            return deadline.ns != INT64_MIN ? CONC_TIMEOUT : CONC_BUSY;
        }
        if (front) ops[first].node.conc__tag |= CONC__FRONT;
        if (!polling && conc__any_polled(ops, n)) {
            conc_result r = conc__signal_begin(me);
            if (r != CONC_OK) {
                conc__abandon_but(ops, n, n);
                return (int)r;
            }
            polling = true;
            poll_waiter.signal = &me->signal;
            waiter->wake = conc__poll_wake;
        }

        /* Arm. No claim can come before this store, as nothing is armed. */
        conc__store32(&waiter->claimed, 0, CONC__RELAXED);
        quiet = conc__tokens_arm(token, token_nodes, &tokens, waiter);
        if (quiet) armed = conc__arm_all(ops, n, waiter, &until);
        if (quiet && armed == n) {
#if defined(CONC_SIM)
            me->waits = ops;
            me->waits_count = n;
#endif
            conc__pokez(&me->sleeps_since, (size_t)(conc__port_clock_ns() / 1000000));
            conc__pokep(&me->sleeps_for, n != 0 ? ops[0].object : NULL);
            conc__pokep(&me->sleeps_in, n == 0 ? "sleep" : n == 1 ? ops[0].cls->name : "select");
            if (polling) {
                ready = conc__sleep_polling(ops, n, &poll_waiter, until, &error);
            } else {
                conc__sleep(waiter, until);
            }
            conc__pokep(&me->sleeps_in, (const char *)NULL);
#if defined(CONC_SIM)
            me->waits_count = 0;
#endif
        }
        for (i = 0; i < tokens; i++) conc_waiters_disarm(&token_nodes[i]);
        conc__disarm_all(ops, armed);

        /* Nothing is armed: `claimed` does not change any more. */
        ticket = conc__load32(&waiter->claimed, CONC__ACQUIRE);
        if (polling && conc__was_claimed(ticket, armed)) conc__signal_take(&me->signal);
        swept = (ticket & CONC__TICKET_SWEPT) != 0;
        ticket &= ~CONC__TICKET_SWEPT;
        if (ticket == CONC__TICKET_CANCEL || (ticket == 0 && !quiet)) {
            conc__abandon_but(ops, n, n);
            return CONC_CANCELED;
        }
        if (error != 0) {
            conc__abandon_but(ops, n, n);
            return (int)conc__fail_system(CONC_SYSTEM, error, "cannot wait for descriptors");
        }
        spin = true;
        first = ticket != 0 ? ticket - 1u : ready < n ? ready : armed; /* or the one that arm() found ready, or n: it is time */
        /* Woken alone and then too late, it goes to the front; of a crowd, to the end, or those behind it would be passed
         * over while the crowd is being woken. */
        front = ticket != 0 && !swept;
        if (ticket == 0 && ready == n && armed == n && deadline.ns != INT64_MAX) {
            over = conc__port_clock_ns() >= deadline.ns;
        }
    }
}

static conc_result conc__wait_under(conc_op *op, conc_deadline deadline, conc_cancel *token, bool spin,
                                    unsigned pauses) {
    int r = conc__select(op, 1, deadline, token, spin, pauses);
    if (r == 0 || op->result != CONC_PENDING) return op->result; /* abandon() may have found it complete after all */
    return r == CONC_BUSY ? conc__op_busy(op) : (conc_result)r;
}

conc_result conc__wait_op(conc_op *op, conc_deadline deadline) {
    return conc__wait_under(op, deadline, conc__self()->cancel, true, CONC__SPIN_LONG);
}

conc_result conc__wait_uncanceled(conc_op *op, conc_deadline deadline) {
    return conc__wait_under(op, deadline, NULL, true, CONC__SPIN_LONG);
}

conc_result conc__wait_spun(conc_op *op, conc_deadline deadline, bool cancelable) {
    return conc__wait_under(op, deadline, cancelable ? conc__self()->cancel : NULL, false, CONC__SPIN_SHORT);
}

conc_result conc_wait(conc_op op, conc_deadline deadline) {
    if (!conc__op_valid(&op)) return conc__fail(CONC_INVALID, "conc_wait: an op without a class");
    return conc__wait_op(&op, deadline);
}

conc_result conc_try(conc_op op) {
    return conc_wait(op, CONC_NOW);
}

int conc_select(conc_op *ops, size_t n, conc_deadline deadline) {
    size_t i, polled = 0;
    if (ops == NULL || n == 0 || n > CONC__MAX_OPS) {
        return conc__fail(CONC_INVALID, "conc_select: %zu ops; 1 to %d can be waited for", ops == NULL ? 0 : n,
                          CONC__MAX_OPS);
    }
    for (i = 0; i < n; i++) {
        if (!conc__op_valid(&ops[i])) return conc__fail(CONC_INVALID, "conc_select: op %zu has no class", i);
        if (conc__is_polled(&ops[i]) && ++polled > CONC__MAX_POLLED) {
            return conc__fail(CONC_INVALID, "conc_select: more than %d ops that wait for descriptors", CONC__MAX_POLLED);
        }
    }
    return conc__select(ops, n, deadline, conc__self()->cancel, true, CONC__SPIN_LONG);
}

conc_op conc_op_make(const conc_op_class *cls, void *object, void *data) {
    conc_op op;
    memset(&op, 0, sizeof op);
    op.cls = cls;
    op.object = object;
    op.data = data;
    op.due = CONC_FOREVER;
    op.result = CONC_PENDING;
    return op;
}

/* ---- points in time ------------------------------------------------------------------------------------- */

static conc_result conc__until_attempt(conc_op *op) {
    return conc_deadline_passed(op->due) ? CONC_OK : CONC_PENDING;
}

static bool conc__until_arm(conc_op *op, conc_node *node) {
    (void)node; /* in no list: the waiter sleeps no longer than op->due */
    return !conc_deadline_passed(op->due);
}

static const conc_op_class conc__until = {"until", CONC_BUSY, conc__until_attempt, conc__until_arm, NULL, NULL};

bool conc__op_is_until(const conc_op *op) {
    return op->cls == &conc__until;
}

conc_op conc_op_until(conc_deadline when) {
    conc_op op = conc_op_make(&conc__until, NULL, NULL);
    op.due = when;
    return op;
}

conc_op conc_op_sleep(double seconds) {
    return conc_op_until(conc_after(seconds));
}

conc_op conc_op_never(void) {
    return conc_op_until(CONC_FOREVER);
}

conc_result conc_sleep(conc_deadline until) {
    conc_result r;
    if (conc_deadline_passed(until)) return CONC_OK;
    r = (conc_result)conc__select(NULL, 0, until, conc__self()->cancel, false, 0);
    return r == CONC_TIMEOUT ? CONC_OK : r;
}

/* ---- cancel tokens ------------------------------------------------------------------------------------------ */

conc_result conc_cancel_fire(conc_cancel *token) {
    if (token == NULL) return conc__fail(CONC_INVALID, "conc_cancel_fire: no token");
    /* Release: what was done before is seen by those it wakes. Then whoever armed before we take the bucket's
     * lock is found there, and whoever arms later reads the state under it. */
    if (conc__swap32(&token->conc__state, 1, CONC__ACQ_REL) == 0) {
        (void)conc__wake_waiters(token, CONC__ANY_TAG, CONC_ALL);
    }
    return CONC_OK;
}

bool conc_cancel_fired(const conc_cancel *token) {
    unsigned depth;
    for (depth = 0; token != NULL && depth < CONC_CANCEL_DEPTH; depth++, token = token->parent) {
        if (conc__load32(&token->conc__state, CONC__ACQUIRE) != 0) return true;
    }
    CONC__OPAQUE();
    return false;
}

static conc_result conc__canceled_attempt(conc_op *op) {
    const conc_cancel *token = (const conc_cancel *)op->object;
    if (token == NULL) return conc__fail(CONC_INVALID, "conc_op_canceled: no token");
    return conc__load32(&token->conc__state, CONC__ACQUIRE) != 0 ? CONC_OK : CONC_PENDING;
}

static bool conc__canceled_arm(conc_op *op, conc_node *node) {
    conc__bucket *b = conc__bucket_lock(op->object);
    bool wait = conc__canceled_attempt(op) == CONC_PENDING;
    if (wait) conc__bucket_push(b, op->object, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_canceled(conc_cancel *token) {
    static const conc_op_class cls = {"canceled", CONC_BUSY, conc__canceled_attempt, conc__canceled_arm, NULL, NULL};
    return conc_op_make(&cls, token, NULL);
}

conc_cancel *conc_cancel_use(conc_cancel *token) {
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel, *t;
    unsigned depth = 0;
    for (t = token; t != NULL && depth <= CONC_CANCEL_DEPTH; t = t->parent) depth++;
    if (depth > CONC_CANCEL_DEPTH) {
        (void)conc__fail(CONC_INVALID, "conc_cancel_use: more than %d tokens in a chain; those above do not count",
                         CONC_CANCEL_DEPTH);
    }
    me->cancel = token;
    return before;
}

conc_cancel *conc_cancel_current(void) {
    return conc__self()->cancel;
}

bool conc__is_canceled(void) {
    return conc_cancel_fired(conc__self()->cancel);
}

conc_result conc_canceled(void) {
    return conc__is_canceled() ? CONC_CANCELED : CONC_OK;
}

conc__cancel_scope conc__cancel_enter(conc_cancel *token) {
    conc__cancel_scope s;
    s.live = 1;
    s.before = conc_cancel_use(token);
    conc__self()->scopes++;
    return s;
}

void conc__cancel_leave(conc__cancel_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    conc__self()->scopes--;
    (void)conc_cancel_use(scope->before);
}
