/* ============================================================================================
 * queue: see queue.h. Three ways to hold items, one way to wait:
 *
 *  ring    the bounded FIFO. Lock-free; see below.
 *  array   the unbounded FIFO, the stacks, the priority queues: an array under a lock.
 *  none    the hand-off: the item goes from the putter's memory to the getter's.
 *
 * Getters that sleep stand in the table under &q->get_asleep, putters under &q->put_asleep. The flag at that
 * address says that somebody may be there; it is set by arm() and cleared by the waker that finds the list
 * empty, both under the bucket's lock. An item put is one getter claimed; so a sleeper costs one wake, not
 * one for each item put while it is on its way. Whoever waits for a gap to close (see the ring) stands apart.
 * ========================================================================================== */

#include "internal.h"

typedef struct conc__slot {
    size_t stamp; /* atomic; see the ring */
    /* the item follows */
} conc__slot;

struct conc_queue {
    /* Constant after conc_queue_new_ex(). */
    conc_queue_kind kind;
    bool ring;                 /* kind is CONC_FIFO and capacity is not 0 */
    bool fenced;               /* the system has no heavy fence: publishing pays for its own */
    uint32_t generation;       /* conc__fork_generation() when it was made */
    size_t item_size, capacity;
    size_t stride;             /* from one slot, or array element, to the next */
    size_t closed_bit, lap;    /* of ring indices */
    int (*compare)(const void *, const void *);
    unsigned char *slots;      /* ring */
    char pad0[CONC__CACHE_LINE];

    size_t tail;               /* atomic; ring: where the next put goes, and the closed bit */
    char pad1[CONC__CACHE_LINE - sizeof(size_t)];
    size_t head;               /* atomic; ring: where the next get comes from */
    char pad2[CONC__CACHE_LINE - sizeof(size_t)];

    uint32_t get_asleep;       /* atomic; see above. Read at every put, written seldom */
    uint32_t put_asleep;       /* atomic; the same for gets */
    uint32_t join_asleep;      /* atomic; the same for task_done */
    char pad3[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];

    size_t done;               /* atomic; ring: counts conc_queue_task_done(), in the manner of tail */

    conc__lock lock;           /* array: guards all that follows; hand-off: its bucket's lock does */
    bool closed;
    unsigned char *array;      /* `space` elements, `count` of them used, from `first` on, round the end */
    size_t space, first, count;
    size_t unfinished;         /* put and not yet reported done */
    uint64_t sequence;         /* numbers the puts of a priority queue */
};

/* Items of a machine word are by far the most frequent: no call for them. */
static void conc__copy(void *to, const void *from, size_t size) {
    if (size == sizeof(void *)) {
        memcpy(to, from, sizeof(void *));
    } else {
        memcpy(to, from, size);
    }
}

/* The two kinds of sleepers under such an address, and their bits in the flag there: those who wait for an item (or
 * for room), one of which is woken for each; and those who wait for a gap to be settled (see the ring), who need
 * nothing but its end: all are woken, and none of them costs a wake meant for the others. They stand under addresses
 * of their own, so each bit is guarded by its own list's bucket. */
#define CONC__SLEEPERS 1u
#define CONC__SETTLERS 2u

static const void *conc__sleepers_of(const uint32_t *asleep, uint32_t kind) {
    return (const unsigned char *)asleep + (kind == CONC__SETTLERS ? 1 : 0);
}

static void conc__queue_wake_kind(uint32_t *asleep, uint32_t kind, size_t n) {
    conc__wake_asleep(conc__sleepers_of(asleep, kind), asleep, kind, n);
}

/* Wakes up to `n` who wait under `asleep`, and all settlers. */
static CONC__NOINLINE void conc__queue_wake(uint32_t *asleep, size_t n) {
    if ((conc__load32(asleep, CONC__RELAXED) & CONC__SETTLERS) != 0) {
        conc__queue_wake_kind(asleep, CONC__SETTLERS, CONC_ALL);
    }
    conc__queue_wake_kind(asleep, CONC__SLEEPERS, n);
}

static void conc__queue_wake_if_asleep(uint32_t *asleep, size_t n) {
    if (CONC__UNLIKELY(conc__load32(asleep, CONC__SEQ_CST) != 0)) conc__queue_wake(asleep, n);
}

/* ---- the ring --------------------------------------------------------------------------------------
 * D. Vyukov, "Bounded MPMC queue" (2010). An index is a lap number in the upper bits and a place in the lower
 * ones, with the closed bit between: `lap` is one in the lap's lowest bit, places are below `closed_bit`.
 * A slot's stamp says whose turn it is: equal to the tail: free for that put; tail + 1: holds its item, for
 * the get whose head is equal to that tail; then head + lap: free for the next lap's put.
 *
 * Memory orders. The stamp is stored with release after the item was written (or read) and loaded with acquire
 * before it is read (or written): that carries the item. Moving the tail or the head, and looking at the
 * sleepers' flag after it, are sequentially consistent, against the sleeper who sets the flag and then looks
 * at the index (arm): of two such pairs one sees the other. So a put that moves the tail after the getter
 * has looked finds the flag set; and one that moved it before is seen by the getter.
 *
 * The gap. Between moving the index and storing the stamp, a put has taken effect that nobody can get yet; the
 * next get has to wait for it (taking a later item would break the order, and "empty" would be a lie if a
 * later put is complete). It is a memcpy long, but its thread may be preempted in it. Whoever meets the gap
 * settles it first: it looks a few times, then sleeps as any getter does. For that sleep the pair is another:
 * the put stores the stamp (release) and loads the flag; the getter sets the flag and loads the stamp. What the
 * put's side lacks in order, the getter's makes up for with a heavy fence, if the system has one; else
 * (`fenced`) the stamp is exchanged, sequentially consistent. The other side, a get in its memcpy and a put
 * that finds no free slot, is the mirror image. */

static conc__slot *conc__ring_slot(const conc_queue *q, size_t index) {
    return (conc__slot *)(void *)(q->slots + (index & (q->closed_bit - 1)) * q->stride);
}

static void *conc__ring_item(conc__slot *slot) {
    return slot + 1;
}

static size_t conc__ring_next(const conc_queue *q, size_t index) {
    return (index & (q->closed_bit - 1)) + 1 < q->capacity ? index + 1 : (index & ~(q->lap - 1)) + q->lap;
}

static void conc__ring_stamp(const conc_queue *q, conc__slot *slot, size_t stamp) {
    if (CONC__UNLIKELY(q->fenced)) {
        (void)conc__swapz(&slot->stamp, stamp, CONC__SEQ_CST);
    } else {
        conc__storez(&slot->stamp, stamp, CONC__RELEASE);
    }
}

/* No put that has moved the tail is missing its stamp at the head. */
static bool conc__ring_get_is_settled(conc_queue *q) {
    size_t head = conc__loadz(&q->head, CONC__SEQ_CST);
    return (conc__loadz(&q->tail, CONC__SEQ_CST) & ~q->closed_bit) == head ||
           conc__loadz(&conc__ring_slot(q, head)->stamp, CONC__SEQ_CST) == head + 1 ||
           conc__loadz(&q->head, CONC__SEQ_CST) != head;
}

/* No get that has moved the head is missing its stamp at the tail. */
static bool conc__ring_put_is_settled(conc_queue *q) {
    size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST);
    return (tail & q->closed_bit) != 0 || conc__loadz(&q->head, CONC__SEQ_CST) + q->lap == tail ||
           conc__loadz(&conc__ring_slot(q, tail)->stamp, CONC__SEQ_CST) == tail ||
           conc__loadz(&q->tail, CONC__SEQ_CST) != tail;
}

static bool conc__ring_is_settled(const conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    return op->data == &q->get_asleep ? conc__ring_get_is_settled(q) : conc__ring_put_is_settled(q);
}

static conc_result conc__settle_attempt(conc_op *op) {
    return conc__ring_is_settled(op) ? CONC_OK : CONC_PENDING;
}

static bool conc__settle_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    uint32_t *asleep = (uint32_t *)op->data;
    const void *key = conc__sleepers_of(asleep, CONC__SETTLERS);
    conc__bucket *b = conc__bucket_lock(key);
    bool wait;
    (void)conc__or32(asleep, CONC__SETTLERS, CONC__SEQ_CST);
    wait = !conc__ring_is_settled(op);
    if (wait && !q->fenced) {
        conc__port_heavy_fence();
        wait = !conc__ring_is_settled(op);
    }
    if (wait) conc__bucket_push(b, key, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

/* Waits until the one in the gap has stored its stamp. Like an internal lock it is not canceled: the wait is for a
 * memcpy. */
static CONC__NOINLINE void conc__ring_settle(conc_queue *q, uint32_t *asleep) {
    static const conc_op_class cls = {"settle", CONC_BUSY, conc__settle_attempt, conc__settle_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, q, asleep);
    (void)conc__wait_uncanceled(&op, CONC_FOREVER);
}

/* CONC_OK, CONC_PENDING (full), CONC_CLOSED. Wakes nobody. */
static CONC__ALWAYS_INLINE conc_result conc__ring_put(conc_queue *q, const void *item) {
    size_t tail = conc__loadz(&q->tail, CONC__RELAXED);
    for (;;) {
        conc__slot *slot;
        if (CONC__UNLIKELY((tail & q->closed_bit) != 0)) return CONC_CLOSED;
        slot = conc__ring_slot(q, tail);
        if (CONC__LIKELY(conc__loadz(&slot->stamp, CONC__ACQUIRE) == tail)) {
            if (conc__casz(&q->tail, &tail, conc__ring_next(q, tail), CONC__SEQ_CST)) {
                CONC__WRITES(conc__ring_item(slot), q->item_size);
                conc__copy(conc__ring_item(slot), item, q->item_size);
                conc__ring_stamp(q, slot, tail + 1);
                return CONC_OK;
            }
        } else {
            size_t now = conc__loadz(&q->tail, CONC__SEQ_CST);
            if (now == tail) {
                if (conc__loadz(&q->head, CONC__SEQ_CST) + q->lap == tail) return CONC_PENDING;
                conc__ring_settle(q, &q->put_asleep);
                now = conc__loadz(&q->tail, CONC__RELAXED);
            }
            tail = now;
        }
    }
}

/* CONC_OK, CONC_PENDING (empty), CONC_CLOSED (and empty). Wakes nobody. */
static CONC__ALWAYS_INLINE conc_result conc__ring_get(conc_queue *q, void *item) {
    size_t head = conc__loadz(&q->head, CONC__RELAXED);
    for (;;) {
        conc__slot *slot = conc__ring_slot(q, head);
        if (CONC__LIKELY(conc__loadz(&slot->stamp, CONC__ACQUIRE) == head + 1)) {
            if (conc__casz(&q->head, &head, conc__ring_next(q, head), CONC__SEQ_CST)) {
                CONC__READS(conc__ring_item(slot), q->item_size);
                conc__copy(item, conc__ring_item(slot), q->item_size);
                conc__ring_stamp(q, slot, head + q->lap);
                return CONC_OK;
            }
        } else {
            size_t now = conc__loadz(&q->head, CONC__SEQ_CST);
            if (now == head) {
                size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST);
                if ((tail & ~q->closed_bit) == head) return (tail & q->closed_bit) != 0 ? CONC_CLOSED : CONC_PENDING;
                conc__ring_settle(q, &q->get_asleep);
                now = conc__loadz(&q->head, CONC__RELAXED);
            }
            head = now;
        }
    }
}

/* The looks before sleeping, after the flag was set. Each reads first the index that its waker moves. */
static bool conc__ring_must_wait_to_put(conc_queue *q) {
    size_t head = conc__loadz(&q->head, CONC__SEQ_CST);
    return head + q->lap == conc__loadz(&q->tail, CONC__SEQ_CST); /* false if closed: the bit differs */
}

static bool conc__ring_must_wait_to_get(conc_queue *q) {
    size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST);
    return tail == conc__loadz(&q->head, CONC__SEQ_CST);
}

static size_t conc__ring_length(const conc_queue *q) {
    for (;;) {
        size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST), head = conc__loadz(&q->head, CONC__SEQ_CST);
        if (conc__loadz(&q->tail, CONC__SEQ_CST) == tail) {
            size_t in = tail & (q->closed_bit - 1), out = head & (q->closed_bit - 1);
            if (in > out) return in - out;
            if (in < out) return q->capacity - out + in;
            return (tail & ~q->closed_bit) == head ? 0 : q->capacity;
        }
    }
}

/* ---- the array --------------------------------------------------------------------------------------
 * With q->lock held. A priority queue is a binary heap from `first` == 0 on, whose elements begin with the number of
 * their put, so that equal items come out in order. */

static unsigned char *conc__array_at(const conc_queue *q, size_t i) {
    size_t place = q->first + i;
    return q->array + (place < q->space ? place : place - q->space) * q->stride;
}

/* Moves the items to `to`, with room for `space`; false if that is NULL. */
static bool conc__array_move(conc_queue *q, unsigned char *to, size_t space) {
    size_t i;
    if (to == NULL) return false;
    for (i = 0; i < q->count; i++) memcpy(to + i * q->stride, conc__array_at(q, i), q->stride);
    conc__free(q->array);
    q->array = to;
    q->space = space;
    q->first = 0;
    return true;
}

static bool conc__array_grow(conc_queue *q) {
    size_t space = q->space == 0 ? 16 : q->space > SIZE_MAX / 2 ? SIZE_MAX : q->space * 2;
    return conc__array_move(q, (unsigned char *)conc__alloc(space, q->stride, "items of a queue"), space);
}

/* The number's part of an element: so long that the item behind it is aligned as malloc() would align it. */
static size_t conc__heap_prefix(const conc_queue *q) {
    return q->item_size % 16 == 0 ? 16 : sizeof q->sequence;
}

static bool conc__heap_before(const conc_queue *q, const unsigned char *a, const unsigned char *b) {
    uint64_t na, nb;
    int order = q->compare(a + conc__heap_prefix(q), b + conc__heap_prefix(q));
    if (order != 0) return order < 0;
    memcpy(&na, a, sizeof na);
    memcpy(&nb, b, sizeof nb);
    return na < nb;
}

/* The array has one element more than its space: where the one that is moved waits. */
static void conc__heap_put(conc_queue *q, const void *item) {
    unsigned char *moved = q->array + (q->space - 1) * q->stride;
    size_t place = q->count++;
    memcpy(moved, &q->sequence, sizeof q->sequence);
    q->sequence++;
    memcpy(moved + conc__heap_prefix(q), item, q->item_size);
    while (place > 0 && conc__heap_before(q, moved, q->array + (place - 1) / 2 * q->stride)) {
        memcpy(q->array + place * q->stride, q->array + (place - 1) / 2 * q->stride, q->stride);
        place = (place - 1) / 2;
    }
    memcpy(q->array + place * q->stride, moved, q->stride);
}

static void conc__heap_get(conc_queue *q, void *item) {
    unsigned char *moved = q->array + (q->count - 1) * q->stride; /* the last fills the hole */
    size_t place = 0;
    memcpy(item, q->array + conc__heap_prefix(q), q->item_size);
    q->count--;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < q->count &&
            conc__heap_before(q, q->array + (child + 1) * q->stride, q->array + child * q->stride)) {
            child++;
        }
        if (child >= q->count || !conc__heap_before(q, q->array + child * q->stride, moved)) break;
        memcpy(q->array + place * q->stride, q->array + child * q->stride, q->stride);
        place = child;
    }
    if (q->count > 0 && q->array + place * q->stride != moved) memcpy(q->array + place * q->stride, moved, q->stride);
}

/* How many elements must be left over: the heap needs a place for the one it moves. */
static size_t conc__array_spare(const conc_queue *q) {
    return q->kind == CONC_PRIORITY ? 1 : 0;
}

/* CONC_OK, CONC_PENDING (full), CONC_CLOSED, CONC_NO_MEMORY. Takes the lock; wakes nobody. */
static CONC__NOINLINE conc_result conc__array_put(conc_queue *q, const void *item) {
    conc_result r = CONC_OK;
    conc__lock_take(&q->lock);
    if (q->closed) {
        r = CONC_CLOSED;
    } else if (q->capacity != 0 && q->count == q->capacity) {
        r = CONC_PENDING;
    } else if (q->count + conc__array_spare(q) >= q->space && !conc__array_grow(q)) {
        r = CONC_NO_MEMORY;
    } else {
        q->unfinished++;
        if (q->kind == CONC_PRIORITY) {
            conc__heap_put(q, item);
        } else {
            conc__copy(conc__array_at(q, q->count), item, q->item_size);
            q->count++;
        }
    }
    conc__lock_give(&q->lock);
    return r;
}

/* CONC_OK, CONC_PENDING (empty), CONC_CLOSED (and empty). Takes the lock; wakes nobody. */
static CONC__NOINLINE conc_result conc__array_get(conc_queue *q, void *item) {
    conc_result r = CONC_OK;
    conc__lock_take(&q->lock);
    if (q->count == 0) {
        r = q->closed ? CONC_CLOSED : CONC_PENDING;
    } else {
        if (q->kind == CONC_PRIORITY) {
            conc__heap_get(q, item);
        } else if (q->kind == CONC_LIFO) {
            q->count--;
            conc__copy(item, conc__array_at(q, q->count), q->item_size);
        } else {
            conc__copy(item, conc__array_at(q, 0), q->item_size);
            q->count--;
            q->first = q->first + 1 < q->space ? q->first + 1 : 0;
        }
        /* What a burst has taken is given back; if there is no memory to do it, the next get tries again. */
        if (q->space > 1024 && q->count < q->space / 8) {
            size_t space = q->space / 4; /* not conc__alloc(): no get fails for want of it, so no error is recorded */
            bool none = CONC__FAULT("malloc: shrink", ENOMEM) != 0;
            (void)conc__array_move(q, none ? NULL : (unsigned char *)CONC__MALLOC(space * q->stride), space);
        }
    }
    conc__lock_give(&q->lock);
    return r;
}

/* ---- the hand-off --------------------------------------------------------------------------------------
 * Under the lock of the queue's bucket, a putter meets a getter that stands in the table, or the other way round;
 * it claims it, and copies the item from memory to memory. The claimed one passes the same lock before it goes
 * on, so both ops stay where they are until the copy is done.
 *
 * Both sides may be in a select. An attempt is made with nothing armed, so only the other has to be claimed. In
 * arm() other ops of ours may be armed already: then both waiters have to be claimed, ours and the other's, at
 * once. It is done in the order of the waiters' ids, so that two that want each other cannot both fail: the
 * lower id is claimed first by both. Whoever is claimed in vain just attempts again. (Compare J. Reppy, C. Russo,
 * Y. Xiao, "Parallel Concurrent ML", ICFP 2009.) */

#define CONC__TAG_GETTER 1u
#define CONC__TAG_PUTTER 2u
#define CONC__SERVED 1u /* the grant */

static conc_op *conc__op_of(conc_node *node) {
    return (conc_op *)(void *)((char *)node - offsetof(conc_op, node));
}

static unsigned conc__handoff_tag(const conc_op *op);

static void conc__handoff_transfer(conc_queue *q, conc_op *op, conc_op *other) {
    if (conc__handoff_tag(op) == CONC__TAG_PUTTER) {
        memcpy(other->data, op->data, q->item_size);
    } else {
        memcpy(op->data, other->data, q->item_size);
    }
    q->unfinished++;
}

static conc_result conc__handoff_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    unsigned wanted = CONC__TAG_GETTER + CONC__TAG_PUTTER - conc__handoff_tag(op);
    conc__bucket *b = conc__bucket_lock(q);
    conc_result r = CONC_PENDING;
    conc__wakes wakes;
    wakes.count = 0;
    if (op->node.conc__grant == CONC__SERVED) {
        op->node.conc__grant = 0;
        r = CONC_OK;
    } else if (q->closed) {
        r = CONC_CLOSED;
    } else {
        conc_node *n = conc__bucket_first(b, q);
        while (n != NULL && r == CONC_PENDING) {
            conc_node *after = conc__bucket_next(b, n);
            if (conc__node_tag(n) == wanted && conc__claim(b, n, CONC__SERVED, &wakes)) {
                conc__handoff_transfer(q, op, conc__op_of(n));
                r = CONC_OK;
            }
            n = after;
        }
    }
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
    return r;
}

/* Claims both, or not: true if `op` is served. With the bucket's lock. */
static bool conc__handoff_match(conc_queue *q, conc__bucket *b, conc_op *op, conc_node *n, conc__wakes *wakes) {
    conc_waiter *mine = op->node.conc__waiter;
    uint32_t waits = 0;
    bool served = false;
    if (mine->owner < n->conc__waiter->owner) {
        if (!conc__cas32(&mine->claimed, &waits, op->node.conc__ticket, CONC__RELAXED)) return false;
        served = conc__claim(b, n, CONC__SERVED, wakes);
    } else if (conc__claim(b, n, CONC__SERVED, wakes)) {
        served = conc__cas32(&mine->claimed, &waits, op->node.conc__ticket, CONC__RELAXED);
        if (!served) n->conc__grant = 0; /* claimed in vain; it looks under this lock */
    }
    if (served) {
        conc__handoff_transfer(q, op, conc__op_of(n));
        op->node.conc__grant = CONC__SERVED;
    }
    return served;
}

static bool conc__handoff_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    unsigned tag = conc__handoff_tag(op), wanted = CONC__TAG_GETTER + CONC__TAG_PUTTER - tag;
    conc__bucket *b = conc__bucket_lock(q);
    bool wait = !q->closed;
    conc_node *n = conc__bucket_first(b, q);
    conc__wakes wakes;
    wakes.count = 0;
    while (wait && n != NULL && wakes.count < CONC__WAKES) {
        conc_node *after = conc__bucket_next(b, n);
        /* Not with another op of the same select: nobody hands anything to himself. */
        if (conc__node_tag(n) == wanted && n->conc__waiter != node->conc__waiter) {
            (void)conc__handoff_match(q, b, op, n, &wakes);
            wait = conc__load32(&node->conc__waiter->claimed, CONC__RELAXED) == 0;
        }
        n = after;
    }
    if (wait) conc__bucket_push(b, q, node, tag);
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
    return wait;
}

/* ---- put and get as ops ----------------------------------------------------------------------------- */

/* A child of fork() has a copy of the queue, perhaps made in the middle of another thread's put: not to be used. */
static bool conc__queue_is_forked(const conc_queue *q) {
    return q->generation != conc__fork_generation();
}

static conc_result conc__queue_forked(const char *what) {
    return conc__fail(CONC_FORKED, "%s: the queue was made before fork()", what);
}

/* Whether this call may use the queue, and why not. */
static CONC__NOINLINE conc_result conc__queue_check(const conc_queue *q, const void *item, size_t size,
                                                    const char *what) {
    if (CONC__UNLIKELY(q == NULL || item == NULL)) return conc__fail(CONC_INVALID, "%s: NULL", what);
    if (CONC__UNLIKELY(size != q->item_size)) {
        return conc__fail(CONC_INVALID, "%s: an item of %zu bytes, in a queue of items of %zu bytes", what, size,
                          q->item_size);
    }
    if (CONC__UNLIKELY(conc__queue_is_forked(q))) return conc__queue_forked(what);
    return CONC_OK;
}

/* Whether it may: the same in a few instructions, for the fast paths. */
#define conc__queue_is_good(q, item, size)                                                         \
    CONC__LIKELY((q) != NULL && (item) != NULL && (size) == (q)->item_size && !conc__queue_is_forked(q))

/* Moves one item without waiting, and wakes nobody. */
static conc_result conc__queue_try_put(conc_queue *q, const void *item) {
    return q->ring ? conc__ring_put(q, item) : conc__array_put(q, item);
}

static conc_result conc__queue_try_get(conc_queue *q, void *item) {
    return q->ring ? conc__ring_get(q, item) : conc__array_get(q, item);
}

static bool conc__queue_must_wait_to_put(conc_queue *q) {
    bool wait;
    if (q->ring) return conc__ring_must_wait_to_put(q);
    conc__lock_take(&q->lock);
    wait = !q->closed && q->capacity != 0 && q->count == q->capacity;
    conc__lock_give(&q->lock);
    return wait;
}

static bool conc__queue_must_wait_to_get(conc_queue *q) {
    bool wait;
    if (q->ring) return conc__ring_must_wait_to_get(q);
    conc__lock_take(&q->lock);
    wait = !q->closed && q->count == 0;
    conc__lock_give(&q->lock);
    return wait;
}

static conc_result conc__put_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    conc_result r = conc__queue_check(q, op->data, (size_t)op->word, "conc_queue_put");
    if (r != CONC_OK) return r;
    if (q->kind == CONC_HANDOFF) return conc__handoff_attempt(op);
    r = conc__queue_try_put(q, op->data);
    if (r == CONC_OK) conc__queue_wake_if_asleep(&q->get_asleep, 1);
    return r;
}

static conc_result conc__get_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    conc_result r = conc__queue_check(q, op->data, (size_t)op->word, "conc_queue_get");
    if (r != CONC_OK) return r;
    if (q->kind == CONC_HANDOFF) return conc__handoff_attempt(op);
    r = conc__queue_try_get(q, op->data);
    if (r == CONC_OK) conc__queue_wake_if_asleep(&q->put_asleep, 1);
    return r;
}

static bool conc__put_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    conc__bucket *b;
    bool wait;
    if (q->kind == CONC_HANDOFF) return conc__handoff_arm(op, node);
    b = conc__bucket_lock(&q->put_asleep);
    (void)conc__or32(&q->put_asleep, CONC__SLEEPERS, CONC__SEQ_CST);
    wait = conc__queue_must_wait_to_put(q);
    if (wait) conc__bucket_push(b, &q->put_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static bool conc__get_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    conc__bucket *b;
    bool wait;
    if (q->kind == CONC_HANDOFF) return conc__handoff_arm(op, node);
    b = conc__bucket_lock(&q->get_asleep);
    (void)conc__or32(&q->get_asleep, CONC__SLEEPERS, CONC__SEQ_CST);
    wait = conc__queue_must_wait_to_get(q);
    if (wait) conc__bucket_push(b, &q->get_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__put_class = {"put", CONC_FULL, conc__put_attempt, conc__put_arm, NULL, NULL};
static const conc_op_class conc__get_class = {"get", CONC_EMPTY, conc__get_attempt, conc__get_arm, NULL, NULL};

static unsigned conc__handoff_tag(const conc_op *op) {
    return op->cls == &conc__put_class ? CONC__TAG_PUTTER : CONC__TAG_GETTER;
}

conc_op conc_op_put_bytes(conc_queue *q, const void *item, size_t size) {
    conc_op op = conc_op_make(&conc__put_class, q, (void *)(uintptr_t)item);
    op.word = size;
    return op;
}

conc_op conc_op_get_bytes(conc_queue *q, void *item, size_t size) {
    conc_op op = conc_op_make(&conc__get_class, q, item);
    op.word = size;
    return op;
}

/* ---- put and get ---------------------------------------------------------------------------------------- */

/* Before it sleeps, one who finds the ring full or empty watches for a while the stamp that will change, and nothing
 * else: looking at the other side's index as well would slow down just the one that is waited for. */
#define CONC__RING_LOOKS 60

static bool conc__ring_comes_free(conc_queue *q) {
    unsigned i;
    for (i = 0; i < CONC__LOOKS(CONC__RING_LOOKS); i++) {
        size_t tail = conc__loadz(&q->tail, CONC__RELAXED);
        if ((tail & q->closed_bit) != 0 || conc__loadz(&conc__ring_slot(q, tail)->stamp, CONC__RELAXED) == tail) return true;
        conc__port_pause();
    }
    return false;
}

static bool conc__ring_fills(conc_queue *q) {
    unsigned i;
    for (i = 0; i < CONC__LOOKS(CONC__RING_LOOKS); i++) {
        size_t head = conc__loadz(&q->head, CONC__RELAXED);
        if (conc__loadz(&conc__ring_slot(q, head)->stamp, CONC__RELAXED) == head + 1) return true;
        conc__port_pause();
    }
    return false;
}

static CONC__NOINLINE conc_result conc__queue_put_slow(conc_queue *q, const void *item, size_t size,
                                                       conc_deadline deadline) {
    conc_op op = conc_op_put_bytes(q, item, size);
    if (deadline.ns != INT64_MIN && q->ring && conc__ring_comes_free(q)) {
        conc_result r = conc__put_attempt(&op);
        if (r != CONC_PENDING) return r;
    }
    return conc__wait_op(&op, deadline);
}

static CONC__NOINLINE conc_result conc__queue_get_slow(conc_queue *q, void *item, size_t size, conc_deadline deadline) {
    conc_op op = conc_op_get_bytes(q, item, size);
    if (deadline.ns != INT64_MIN && q->ring && conc__ring_fills(q)) {
        conc_result r = conc__get_attempt(&op);
        if (r != CONC_PENDING) return r;
    }
    return conc__wait_op(&op, deadline);
}

conc_result conc_queue_put_bytes(conc_queue *q, const void *item, size_t size, conc_deadline deadline) {
    conc_result r;
    if (!conc__queue_is_good(q, item, size)) return conc__queue_check(q, item, size, "conc_queue_put");
    if (q->kind != CONC_HANDOFF) {
        r = q->ring ? conc__ring_put(q, item) : conc__array_put(q, item);
        if (CONC__LIKELY(r == CONC_OK)) conc__queue_wake_if_asleep(&q->get_asleep, 1);
        if (CONC__LIKELY(r != CONC_PENDING)) return r;
        if (deadline.ns == INT64_MIN) return CONC_FULL;
    }
    return conc__queue_put_slow(q, item, size, deadline);
}

conc_result conc_queue_get_bytes(conc_queue *q, void *item, size_t size, conc_deadline deadline) {
    conc_result r;
    if (!conc__queue_is_good(q, item, size)) return conc__queue_check(q, item, size, "conc_queue_get");
    if (q->kind != CONC_HANDOFF) {
        r = q->ring ? conc__ring_get(q, item) : conc__array_get(q, item);
        if (CONC__LIKELY(r == CONC_OK)) conc__queue_wake_if_asleep(&q->put_asleep, 1);
        if (CONC__LIKELY(r != CONC_PENDING)) return r;
        if (deadline.ns == INT64_MIN) return CONC_EMPTY;
    }
    return conc__queue_get_slow(q, item, size, deadline);
}

conc_result conc_queue_put_many_bytes(conc_queue *q, const void *items, size_t size, size_t n, size_t *done,
                                      conc_deadline deadline) {
    const unsigned char *from = (const unsigned char *)items;
    conc_result r;
    if (done == NULL) return conc__fail(CONC_INVALID, "conc_queue_put_many: no place for the count");
    *done = 0;
    r = conc__queue_check(q, items, size, "conc_queue_put_many");
    while (r == CONC_OK && *done < n) {
        size_t before = *done;
        if (q->kind != CONC_HANDOFF) {
            while (*done < n && (r = conc__queue_try_put(q, from + *done * size)) == CONC_OK) ++*done;
            /* one look at the sleepers for all of them: it comes after the last move of the tail */
            if (*done > before) conc__queue_wake_if_asleep(&q->get_asleep, *done - before);
            if (*done == n || r != CONC_PENDING) break;
        }
        r = conc__queue_put_slow(q, from + *done * size, size, deadline);
        if (r == CONC_OK) ++*done;
    }
    return r;
}

conc_result conc_queue_get_many_bytes(conc_queue *q, void *items, size_t size, size_t n, size_t *done,
                                      conc_deadline deadline) {
    unsigned char *to = (unsigned char *)items;
    conc_result r;
    if (done == NULL) return conc__fail(CONC_INVALID, "conc_queue_get_many: no place for the count");
    *done = 0;
    r = conc__queue_check(q, items, size, "conc_queue_get_many");
    if (r != CONC_OK || n == 0) return r;
    r = conc_queue_get_bytes(q, to, size, deadline);
    if (r != CONC_OK) return r;
    *done = 1;
    if (q->kind == CONC_HANDOFF) {
        while (*done < n && conc_queue_get_bytes(q, to + *done * size, size, CONC_NOW) == CONC_OK) ++*done;
    } else {
        while (*done < n && conc__queue_try_get(q, to + *done * size) == CONC_OK) ++*done;
        if (*done > 1) conc__queue_wake_if_asleep(&q->put_asleep, *done - 1);
    }
    return CONC_OK;
}

/* The lock that guards `closed` and `unfinished` of an array or a hand-off: the array's own, or the hand-off's bucket
 * (which is returned; NULL for the array's). */
static conc__bucket *conc__queue_guard(conc_queue *q) {
    if (q->kind == CONC_HANDOFF) return conc__bucket_lock(q);
    conc__lock_take(&q->lock);
    return NULL;
}

static void conc__queue_unguard(conc_queue *q, conc__bucket *b) {
    if (b != NULL) {
        conc__bucket_unlock(b);
    } else {
        conc__lock_give(&q->lock);
    }
}

/* ---- closing ---------------------------------------------------------------------------------------------- */

conc_result conc_queue_close(conc_queue *q) {
    bool was_closed;
    if (q == NULL) return conc__fail(CONC_INVALID, "conc_queue_close: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_close");
    if (q->kind == CONC_HANDOFF) {
        conc__bucket *b = conc__bucket_lock(q);
        was_closed = q->closed;
        q->closed = true;
        conc__bucket_unlock(b);
        (void)conc__wake_waiters(q, CONC__ANY_TAG, CONC_ALL);
    } else {
        if (q->ring) {
            was_closed = (conc__orz(&q->tail, q->closed_bit, CONC__SEQ_CST) & q->closed_bit) != 0;
        } else {
            conc__lock_take(&q->lock);
            was_closed = q->closed;
            q->closed = true;
            conc__lock_give(&q->lock);
        }
        conc__queue_wake(&q->get_asleep, CONC_ALL);
        conc__queue_wake(&q->put_asleep, CONC_ALL);
    }
    return was_closed ? CONC_CLOSED : CONC_OK;
}

conc_result conc_queue_close_now(conc_queue *q, void (*drop)(void *item, void *arg), void *arg) {
    conc_result closed;
    void *item;
    if (q == NULL || drop == NULL) return conc__fail(CONC_INVALID, "conc_queue_close_now: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_close_now");
    item = conc__alloc(1, q->item_size, "an item to drop");
    if (item == NULL) return CONC_NO_MEMORY;
    closed = conc_queue_close(q);
    while (q->kind != CONC_HANDOFF && conc__queue_try_get(q, item) == CONC_OK) {
        drop(item, arg);
        (void)conc_queue_task_done(q);
    }
    conc__free(item);
    return closed;
}

bool conc_queue_is_closed(const conc_queue *q) {
    bool closed;
    if (q == NULL || conc__queue_is_forked(q)) return false;
    if (q->ring) {
        closed = (conc__loadz(&q->tail, CONC__ACQUIRE) & q->closed_bit) != 0;
    } else {
        conc_queue *own = (conc_queue *)(uintptr_t)q;
        conc__bucket *b = conc__queue_guard(own);
        closed = q->closed;
        conc__queue_unguard(own, b);
    }
    CONC__OPAQUE();
    return closed;
}

/* ---- counting work ------------------------------------------------------------------------------------------ */

conc_result conc_queue_task_done(conc_queue *q) {
    bool all_done = false, too_many = false;
    if (q == NULL) return conc__fail(CONC_INVALID, "conc_queue_task_done: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_task_done");
    if (q->ring) {
        /* A position that follows the tail: all is done when it has caught up. Sequentially consistent, in the same
         * pairing as put and get: it moves, then looks for joiners; a joiner sets the flag, then looks at it. */
        size_t done;
        do { /* acquire: whoever moved it this far had seen the tail beyond it, and so do we */
            done = conc__loadz(&q->done, CONC__ACQUIRE);
            too_many = done == (conc__loadz(&q->tail, CONC__ACQUIRE) & ~q->closed_bit);
        } while (!too_many && !conc__casz(&q->done, &done, conc__ring_next(q, done), CONC__SEQ_CST));
        all_done = conc__ring_next(q, done) == (conc__loadz(&q->tail, CONC__SEQ_CST) & ~q->closed_bit);
    } else {
        conc__bucket *b = conc__queue_guard(q);
        too_many = q->unfinished == 0;
        if (!too_many) all_done = --q->unfinished == 0;
        conc__queue_unguard(q, b);
    }
    if (too_many) return conc__fail(CONC_INVALID, "conc_queue_task_done: more often than items were put");
    if (all_done) conc__queue_wake_if_asleep(&q->join_asleep, CONC_ALL);
    CONC__OPAQUE();
    return CONC_OK;
}

static conc_result conc__join_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    bool all_done;
    if (q == NULL) return conc__fail(CONC_INVALID, "conc_queue_join: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_join");
    if (q->ring) {
        size_t done = conc__loadz(&q->done, CONC__SEQ_CST);
        all_done = done == (conc__loadz(&q->tail, CONC__SEQ_CST) & ~q->closed_bit);
    } else {
        conc__bucket *b = conc__queue_guard(q);
        all_done = q->unfinished == 0;
        conc__queue_unguard(q, b);
    }
    return all_done ? CONC_OK : CONC_PENDING;
}

static bool conc__join_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    conc__bucket *b = conc__bucket_lock(&q->join_asleep);
    bool wait;
    (void)conc__or32(&q->join_asleep, CONC__SLEEPERS, CONC__SEQ_CST);
    if (q->kind == CONC_HANDOFF) {
        /* Its count is guarded by another bucket, and one is held at a time: enter first, look after. */
        conc__bucket_push(b, &q->join_asleep, node, 0);
        conc__bucket_unlock(b);
        wait = conc__join_attempt(op) == CONC_PENDING;
        if (!wait) conc_waiters_disarm(node);
        return wait;
    }
    wait = conc__join_attempt(op) == CONC_PENDING;
    if (wait) conc__bucket_push(b, &q->join_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_queue_join(conc_queue *q) {
    static const conc_op_class cls = {"queue join", CONC_BUSY, conc__join_attempt, conc__join_arm, NULL, NULL};
    return conc_op_make(&cls, q, NULL);
}

conc_result conc_queue_join(conc_queue *q, conc_deadline deadline) {
    conc_op op = conc_op_queue_join(q);
    return conc__wait_op(&op, deadline);
}

/* ---- making and freeing ---------------------------------------------------------------------------------------- */

/* Stamps and indices need room for the laps: a capacity beyond this could not be allocated anyway. */
#define CONC__RING_MAX (SIZE_MAX / 16)

static bool conc__ring_make(conc_queue *q) {
    size_t i;
    q->closed_bit = 1;
    while (q->closed_bit < q->capacity + 1) q->closed_bit *= 2;
    q->lap = q->closed_bit * 2;
    q->fenced = !conc__port_heavy_fence_ready();
    q->stride = (sizeof(conc__slot) + q->item_size + sizeof(size_t) - 1) / sizeof(size_t) * sizeof(size_t);
    q->slots = (unsigned char *)conc__alloc(q->capacity, q->stride, "a queue's ring");
    if (q->slots == NULL) return false;
    for (i = 0; i < q->capacity; i++) conc__ring_slot(q, i)->stamp = i;
    return true;
}

conc_queue *conc_queue_new_ex(size_t item_size, size_t capacity, const conc_queue_desc *desc) {
    conc_queue_kind kind = desc != NULL ? desc->kind : CONC_FIFO;
    conc_queue *q;
    const char *wrong = NULL;
    if (item_size == 0) {
        wrong = "items of 0 bytes";
    } else if (item_size > SIZE_MAX / 8 || capacity > CONC__RING_MAX || capacity > SIZE_MAX / 2 / item_size) {
        wrong = "capacity times item size is more than there can be";
    } else if (kind != CONC_FIFO && kind != CONC_LIFO && kind != CONC_PRIORITY && kind != CONC_HANDOFF) {
        wrong = "no such kind";
    } else if (kind == CONC_PRIORITY && desc->compare == NULL) {
        wrong = "a priority queue needs `compare`";
    } else if (kind == CONC_HANDOFF && capacity != 0) {
        wrong = "a hand-off has no capacity: it wants 0";
    }
    if (wrong != NULL) {
        (void)conc__fail(CONC_INVALID, "conc_queue_new: %s (item size %zu, capacity %zu)", wrong, item_size, capacity);
        return NULL;
    }
    q = (conc_queue *)conc__alloc(1, sizeof *q, "a queue");
    if (q == NULL) return NULL;
    q->kind = kind;
    q->item_size = item_size;
    q->capacity = capacity;
    (void)conc__self(); /* fork() is watched for from here on */
    q->generation = conc__fork_generation();
    q->compare = desc != NULL ? desc->compare : NULL;
    q->ring = kind == CONC_FIFO && capacity != 0;
    q->stride = item_size + (kind == CONC_PRIORITY ? conc__heap_prefix(q) : 0);
    if (q->ring && !conc__ring_make(q)) {
        conc__free(q);
        return NULL;
    }
    return q;
}

conc_queue *conc_queue_new(size_t item_size, size_t capacity) {
    return conc_queue_new_ex(item_size, capacity, NULL);
}

conc_result conc_queue_free(conc_queue *q) {
    if (q == NULL) return CONC_OK;
    if (conc__is_waited_for(&q->get_asleep) || conc__is_waited_for(&q->put_asleep) ||
        conc__is_waited_for(&q->join_asleep) || conc__is_waited_for(q) ||
        conc__is_waited_for(conc__sleepers_of(&q->get_asleep, CONC__SETTLERS)) ||
        conc__is_waited_for(conc__sleepers_of(&q->put_asleep, CONC__SETTLERS))) {
        return conc__fail(CONC_BUSY, "conc_queue_free: somebody waits on the queue");
    }
    conc__free(q->slots);
    conc__free(q->array);
    conc__free(q);
    return CONC_OK;
}

/* ---- questions ---------------------------------------------------------------------------------------------------- */

size_t conc_queue_length(const conc_queue *q) {
    size_t n;
    conc_queue *own = (conc_queue *)(uintptr_t)q;
    if (q == NULL || q->kind == CONC_HANDOFF || conc__queue_is_forked(q)) return 0;
    if (q->ring) return conc__ring_length(q);
    conc__lock_take(&own->lock);
    n = q->count;
    conc__lock_give(&own->lock);
    return n;
}

size_t conc_queue_capacity(const conc_queue *q) {
    return q != NULL ? q->capacity : 0;
}

size_t conc_queue_item_size(const conc_queue *q) {
    return q != NULL ? q->item_size : 0;
}
