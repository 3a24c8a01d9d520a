/* ============================================================================================
 * queue: a blocking queue between threads: any number of producers and consumers.
 *
 * Items are copied in and out by their size, fixed when the queue is made; a queue of pointers holds
 * pointers, and what they point to passes from the producer to the consumer. Items come out in the order
 * in which the puts took effect, one total order for all consumers (FIFO kinds). What a producer did
 * before a put is seen by the consumer that gets the item.
 *
 * CLOSE. conc_queue_close() ends the input: puts fail with CONC_CLOSED at once, also those that wait;
 * gets drain what is there, then say CONC_CLOSED. A put that returned CONC_OK is never lost: its item
 * comes out, or is handed to the drop function of conc_queue_close_now().
 *
 * HOW. The bounded FIFO is D. Vyukov's ring (a stamp in each slot; here with the lap in the upper bits
 * of the indices, so that any capacity works and closing is one bit of the tail). Sleepers and wakers
 * meet in the manner of Dekker: a producer moves the tail with a sequentially consistent
 * read-modify-write and then reads `getters asleep?`; a consumer sets that flag the same way and then
 * reads the tail: one of them sees the other. The other kinds are an array under a lock; the hand-off
 * keeps no item at all.
 * ========================================================================================== */

#ifndef CONC__QUEUE_H
#define CONC__QUEUE_H

#include "wait.h"

typedef struct conc_queue conc_queue;

typedef enum conc_queue_kind {
    CONC_FIFO = 0, /* bounded by `capacity`; 0 is unbounded */
    CONC_LIFO,     /* a stack, likewise */
    CONC_PRIORITY, /* least first by `compare`; equal items in the order of their puts */
    CONC_HANDOFF   /* holds nothing: a put completes when a get takes the item (rendezvous) */
} conc_queue_kind;

typedef struct conc_queue_desc {
    conc_queue_kind kind;
    /* For CONC_PRIORITY: < 0 if a comes first. Must not block. Items are aligned as malloc() aligns. */
    int (*compare)(const void *a, const void *b);
} conc_queue_desc;

/* A queue for items of `item_size` bytes (at least 1), at most `capacity` of them (0: no bound but memory;
 * the hand-off wants 0). `desc` NULL: a FIFO. A bounded FIFO allocates all its memory here. NULL:
 * CONC_INVALID (size 0, capacity * size overflows, priority without compare, unknown kind),
 * CONC_NO_MEMORY. */
CONC_API conc_queue *conc_queue_new(size_t item_size, size_t capacity);
CONC_API conc_queue *conc_queue_new_ex(size_t item_size, size_t capacity, const conc_queue_desc *desc);

/* Frees it with the items in it. CONC_BUSY, and nothing happens, if somebody sleeps on it. NULL is CONC_OK.
 * No thread may be using it or use it afterwards; one that has just been woken, or is about to sleep, is using it and is
 * not seen. */
CONC_API conc_result conc_queue_free(conc_queue *q);

/* Puts a copy of *item / takes the next item into *item, waiting for room / for an item until the deadline.
 * Macros over the functions below: they hand in sizeof(*item), so an item of another type than the
 * queue's is told: CONC_INVALID.
 * CONC_OK; CONC_CLOSED; CONC_TIMEOUT; CONC_FULL / CONC_EMPTY (only with CONC_NOW); CONC_CANCELED;
 * CONC_INVALID (NULL, wrong size); CONC_NO_MEMORY (put, but not into a bounded FIFO or a hand-off); CONC_FORKED (made
 * before fork(), used
 * in the child). But for CONC_OK the queue, and *item, are as before. */
#define conc_queue_put(q, item, deadline) conc_queue_put_bytes((q), (item), sizeof *(item), (deadline))
#define conc_queue_get(q, item, deadline) conc_queue_get_bytes((q), (item), sizeof *(item), (deadline))
CONC_API conc_result conc_queue_put_bytes(conc_queue *q, const void *item, size_t size, conc_deadline deadline);
CONC_API conc_result conc_queue_get_bytes(conc_queue *q, void *item, size_t size, conc_deadline deadline);

/* The same as ops. *item must live until the wait is over. */
#define conc_op_put(q, item) conc_op_put_bytes((q), (item), sizeof *(item))
#define conc_op_get(q, item) conc_op_get_bytes((q), (item), sizeof *(item))
CONC_API conc_op conc_op_put_bytes(conc_queue *q, const void *item, size_t size);
CONC_API conc_op conc_op_get_bytes(conc_queue *q, void *item, size_t size);

/* Several at once, in order. put: all `n` items, waiting for room as needed; get: waits for the first, then takes
 * what is there, up to `n`. `*done` (may not be NULL) is how many were moved, whatever the result; CONC_OK:
 * all n (put), at least one (get). Other producers' items may come between those of one put. */
#define conc_queue_put_many(q, items, n, done, deadline)                                           \
    conc_queue_put_many_bytes((q), (items), sizeof *(items), (n), (done), (deadline))
#define conc_queue_get_many(q, items, n, done, deadline)                                           \
    conc_queue_get_many_bytes((q), (items), sizeof *(items), (n), (done), (deadline))
CONC_API conc_result conc_queue_put_many_bytes(conc_queue *q, const void *items, size_t size, size_t n,
                                               size_t *done, conc_deadline deadline);
CONC_API conc_result conc_queue_get_many_bytes(conc_queue *q, void *items, size_t size, size_t n, size_t *done,
                                               conc_deadline deadline);

/* Ends the input (see above). CONC_OK, or CONC_CLOSED if it was closed already. Never blocks. */
CONC_API conc_result conc_queue_close(conc_queue *q);
/* Ends input and output: takes out all items that no get has taken, in order, and hands each to
 * drop(item, arg), so that none is lost silently; gets then say CONC_CLOSED. `drop` may not be NULL. If it
 * was closed already, what is left in it is dropped all the same: CONC_CLOSED. */
CONC_API conc_result conc_queue_close_now(conc_queue *q, void (*drop)(void *item, void *arg), void *arg);
CONC_API bool conc_queue_is_closed(const conc_queue *q);

/* How many items are in it at this moment (a hint while others use it); its capacity, 0 if unbounded; the size
 * of an item. 0 for NULL, and the length in a child of fork(). */
CONC_API size_t conc_queue_length(const conc_queue *q);
CONC_API size_t conc_queue_capacity(const conc_queue *q);
CONC_API size_t conc_queue_item_size(const conc_queue *q);

/* Counting work, as Python's queue does: whoever got an item calls conc_queue_task_done() when it has been dealt
 * with; conc_queue_join() waits until that has happened for every item ever put (those dropped by close_now
 * count as done). CONC_INVALID: more calls than items. */
CONC_API conc_result conc_queue_task_done(conc_queue *q);
CONC_API conc_result conc_queue_join(conc_queue *q, conc_deadline deadline);
CONC_API conc_op conc_op_queue_join(conc_queue *q);

/* CONC_FOR_QUEUE(long, x, q) { ... x ... }: takes items until the queue is closed and empty. `x` is a variable
 * of type `type` within the block. Ends early if the wait is canceled or misused; conc_queue_is_closed() and
 * conc_error_detail() tell. */
#define CONC_FOR_QUEUE(type, x, q) for (type x; conc_queue_get((q), &x, CONC_FOREVER) == CONC_OK;)

#endif
