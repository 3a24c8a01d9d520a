/* ============================================================================================
 * coro: coroutines: functions that suspend at each wait, thousands of them in one thread.
 *
 * A coroutine is written with CONC_CORO and run by a loop (loop.h) as a *task*. It keeps what must live across a
 * suspension in its frame (see frame.h for what follows from that), and waits with CO_AWAIT for any op of this
 * library: an item of a queue, a lock, an event, a point in time, a readable socket, another task's end. While it waits
 * its thread runs other tasks. A task costs 128 bytes and its frame, and no stack; a wait allocates nothing from the heap.
 *
 *     CONC_CORO(ticker, const char *tag; int i;) {
 *         CO_BEGIN;
 *         for (self->i = 0; self->i < 3; self->i++) {
 *             printf("---%s---\n", self->tag);
 *             CO_AWAIT(conc_op_sleep(0.1));
 *         }
 *         CO_END;
 *     }
 *
 * Between two suspensions a coroutine runs like any function, and no other task of its loop runs meanwhile. A blocking
 * call in it (conc_queue_get(), sleep()) holds up all the others: there is an op for each of the library's, and
 * conc_op_offload() for the rest.
 *
 * THE END, AND WHAT COMES BEFORE IT. A coroutine ends at CO_END, by CO_RETURN(code), or because its task was canceled
 * (conc_task_cancel(), or a cancel token). A cancel strikes at a wait, at the next one that really has to wait: the
 * coroutine goes on with what stands after CO_FINALLY, if it has that part, and ends. So whatever it took it gives back
 * there; every other way out runs through that part, too. It may wait in it, and is not canceled a second time there
 * (its token is not the current one any more). A
 * task that is canceled before it has begun goes through its clean-up part likewise, with its fields as they were given.
 *
 * Waits that need not wait do not suspend: but after 128 of them in a row the others come first. A sleep always lets them.
 * ========================================================================================== */

#ifndef CONC__CORO_H
#define CONC__CORO_H

#include "frame.h"
#include "wait.h"

typedef struct conc_loop conc_loop;
typedef struct conc_task conc_task;

/* The head of each coroutine's frame: self->co. */
typedef struct conc_co {
    const struct conc_co_class *conc__cls;
    struct conc_co *conc__up; /* the frame that called it */
    uint32_t conc__place, conc__line;
    conc_result result; /* of the last CO_AWAIT */
    int value;          /* the last CO_AWAIT_ANY's index; the last CO_CALL's and CO_JOIN's code */
} conc_co;

/* What all frames of one coroutine have in common. Private. */
typedef struct conc_co_class {
    const char *name, *file;
    conc_result (*resume)(conc_co *co, conc_task *task);
    size_t size;
} conc_co_class;

/* A frame is copied as bytes, and nobody destroys its fields. */
#if defined(__cplusplus)
#define CONC__CO_PLAIN(name) static_assert(__is_trivially_copyable(name), "a coroutine's fields are copied as bytes");
#else
#define CONC__CO_PLAIN(name)
#endif

/* CONC_CORO(name, fields) { CO_BEGIN; ... CO_END; } defines a coroutine and its frame, struct `name`: a conc_co, then
 * your fields. Without fields: CONC_CORO(name, ). The body has `self`, the frame. At file scope; static. */
#define CONC_CORO(name, ...)                                                                       \
    typedef struct name {                                                                          \
        conc_co co;                                                                                \
        __VA_ARGS__                                                                                \
    } name;                                                                                        \
    static CONC__FRAME_FN conc_result conc__body_##name(name *self, conc_task *conc__task);        \
    static conc_result conc__resume_##name(conc_co *conc__co, conc_task *conc__task);              \
    static const conc_co_class conc__class_##name = {#name, __FILE__, conc__resume_##name, sizeof(name)};\
    CONC__CO_PLAIN(name)                                                                           \
    static inline conc_task *conc__spawn_##name(conc_loop *conc__loop, const struct conc_task_desc *conc__desc,\
                                                name conc__frame) {                                \
        name *conc__it = (name *)conc__co_new(conc__loop, sizeof(name), conc__desc);               \
        if (conc__it == NULL) return NULL;                                                         \
        *conc__it = conc__frame;                                                                   \
        return conc__co_start(&conc__it->co, &conc__class_##name);                                 \
    }                                                                                              \
    static inline bool conc__call_##name(conc_task *conc__task, name conc__frame) {                \
        name *conc__it = (name *)conc__co_call(conc__task, sizeof(name));                          \
        if (conc__it == NULL) return false;                                                        \
        *conc__it = conc__frame;                                                                   \
        conc__co_enter(conc__task, &conc__it->co, &conc__class_##name);                            \
        return true;                                                                               \
    }                                                                                              \
    static conc_result conc__resume_##name(conc_co *conc__co, conc_task *conc__task) {             \
        (void)conc__spawn_##name; /* none of them is unused */                                     \
        (void)conc__call_##name;                                                                   \
        return conc__body_##name((name *)(void *)conc__co, conc__task);                            \
    }                                                                                              \
    static CONC__FRAME_FN conc_result conc__body_##name(name *self, conc_task *conc__task)

#define CO_BEGIN                                                                                   \
    (void)conc__task;                                                                              \
    CONC__FRAME_BEGIN(self->co.conc__place)
/* Begins the clean-up part: at most one, not inside of any block. */
#define CO_FINALLY                                                                                 \
    CONC__FRAME_FINALLY(self->co.conc__place);                                                     \
    self->co.conc__line |= CONC__CO_CLEANS
#define CO_END                                                                                     \
    CONC__FRAME_END(self->co.conc__place,                                                          \
                    conc__frame_lost(self->co.conc__cls->name, self->co.conc__cls->file,            \
                                     self->co.conc__line & CONC__CO_LINE))                         \
    self->co.conc__place = CONC__PLACE_DONE;                                                       \
    return CONC_OK

/* ---- suspending --------------------------------------------------------------------------------------
 * Each is a statement. Those with _AT take a label of yours, see frame.h. */

/* Waits for an op, as conc_wait() does in a thread. self->co.result is then the op's result. An op that need not wait completes
 * at once, and the coroutine goes on without a suspension. */
#define CO_AWAIT(op) CO_AWAIT_AT(CONC__FRAME_LABEL, op)
#define CO_AWAIT_AT(label, op) CONC__CO_AWAIT(label, op, CONC_FOREVER, false)
/* With a deadline: result CONC_TIMEOUT. With CONC_NOW: CONC_EMPTY, CONC_FULL, CONC_BUSY. */
#define CO_AWAIT_UNTIL(op, deadline) CO_AWAIT_UNTIL_AT(CONC__FRAME_LABEL, op, deadline)
#define CO_AWAIT_UNTIL_AT(label, op, deadline) CONC__CO_AWAIT(label, op, deadline, false)
/* A cancel does not end the coroutine but is this wait's result, CONC_CANCELED; it has been seen then, and later waits
 * wait. */
#define CO_TRY_AWAIT(op, deadline) CO_TRY_AWAIT_AT(CONC__FRAME_LABEL, op, deadline)
#define CO_TRY_AWAIT_AT(label, op, deadline) CONC__CO_AWAIT(label, op, deadline, true)

/* Waits for the first of several, as conc_select(): self->co.value is its index, and self->co.result its result; or the value
 * is -1 and the result CONC_TIMEOUT, or what was wrong. The array must live until then: in the frame, or longer. */
#define CO_AWAIT_ANY(ops, n) CO_AWAIT_ANY_UNTIL_AT(CONC__FRAME_LABEL, ops, n, CONC_FOREVER)
#define CO_AWAIT_ANY_AT(label, ops, n) CO_AWAIT_ANY_UNTIL_AT(label, ops, n, CONC_FOREVER)
#define CO_AWAIT_ANY_UNTIL(ops, n, deadline) CO_AWAIT_ANY_UNTIL_AT(CONC__FRAME_LABEL, ops, n, deadline)
#define CO_AWAIT_ANY_UNTIL_AT(label, ops, n, deadline)                                             \
    CONC__CO_SUSPEND(label, !conc__co_await_any(conc__task, (ops), (n), (deadline)))

/* Lets the others run first. */
#define CO_YIELD CO_YIELD_AT(CONC__FRAME_LABEL)
#define CO_YIELD_AT(label)                                                                         \
    do {                                                                                           \
        CONC__CO_MARK(label);                                                                      \
        return CONC__CO_YIELDS;                                                                    \
        CONC__FRAME_HERE(label);                                                                   \
    } while (0)

/* CO_CALL(name, .field = value, ...): runs another coroutine, or the same one again, as part of this task and waits for
 * its end: self->co.value is the code that it returned. Its frame comes from the loop's memory: if there is none, the
 * result is CONC_NO_MEMORY (else CONC_OK). */
#define CO_CALL(...) CONC__CO_CALL(CONC__FRAME_LABEL, __VA_ARGS__, )
#define CO_CALL_AT(label, ...) CONC__CO_CALL(label, __VA_ARGS__, )
#define CONC__CO_CALL(label, name, ...) CONC__CO_CALL_FRAME(label, name, CONC__CO_FRAME(name, __VA_ARGS__))
/* The same with a frame that was filled before (C++11 has no .field = value). */
#define CO_CALL_FRAME(name, frame) CONC__CO_CALL_FRAME(CONC__FRAME_LABEL, name, frame)
#define CONC__CO_CALL_FRAME(label, name, frame)                                                    \
    CONC__CO_SUSPEND(label, conc__call_##name(conc__task, frame))

/* Waits for a task's end: self->co.value is its code, and the handle is given back. self->co.result: CONC_OK, CONC_DEADLOCK
 * (itself), CONC_INVALID. */
#define CO_JOIN(task) CO_AWAIT(conc_op_join((task), &self->co.value))

/* Ends the coroutine, by way of its clean-up part. */
#define CO_RETURN(code)                                                                            \
    do {                                                                                           \
        self->co.conc__place = conc__co_return(conc__task, &self->co, (code));                     \
        goto conc__again;                                                                          \
    } while (0)

/* ---- time-outs around a block -----------------------------------------------------------------------------
 *     CONC_CORO(fetch, conc_co_timeout limit; ...) { ...
 *         CO_TIMEOUT(self->limit, 0.5) { CO_AWAIT(...); CO_CALL(...); ... }
 *         if (self->limit.expired) ...
 * The block is left at the wait in which the time is up (coroutines called from it run their clean-up parts and end).
 * Blocks may be nested. A block is left by its end, by `break` or CO_RETURN, not by goto. */
typedef struct conc_co_timeout {
    bool expired;
    uint8_t conc__inside;
    bool conc__held; /* no time for it: a frame within it ends already */
    uint32_t conc__place;
    int64_t conc__due;
    struct conc_co_timeout *conc__outer;
    conc_co *conc__frame;
} conc_co_timeout;

#define CO_TIMEOUT(timeout, seconds) CO_TIMEOUT_AT(CONC__FRAME_LABEL, timeout, seconds)
#define CO_TIMEOUT_AT(label, timeout, seconds)                                                     \
    if (0) {                                                                                       \
        CONC__FRAME_HERE(label);                                                                   \
    } else                                                                                         \
        for (CONC__FRAME_AT((timeout).conc__place, label),                                         \
             conc__co_timeout_enter(conc__task, &self->co, &(timeout), conc_after(seconds));       \
             (timeout).conc__inside != 0; conc__co_timeout_leave(conc__task, &(timeout)))          \
            for (; (timeout).conc__inside == 1; (timeout).conc__inside = 2)

/* ---- frames -------------------------------------------------------------------------------------------------- */

/* A frame as a value: CONC_FRAME(ticker, .tag = "1"), all other fields zero; and, for C++11, CONC_FRAME_ZERO(ticker) to be
 * filled field by field. */
#define CONC_FRAME(...) CONC__CO_FRAME(__VA_ARGS__, )
#define CONC__CO_FRAME(name, ...) CONC__CO_FRAME_(name, __VA_ARGS__)
#if defined(__cplusplus)
#define CONC__CO_FRAME_(name, ...) (name{.co = CONC__CO_NONE, __VA_ARGS__})
#define CONC_FRAME_ZERO(name) name()
#else
#define CONC__CO_FRAME_(name, ...) ((name){.co = CONC__CO_NONE, __VA_ARGS__})
#define CONC_FRAME_ZERO(name) ((name){.co = CONC__CO_NONE})
#endif
#define CONC__CO_NONE {NULL, NULL, 0, 0, CONC_OK, 0}

/* ---- what the macros call ---------------------------------------------------------------------------------------- */

/* What a coroutine's function returns: CONC_OK, it has ended; CONC_PENDING, it waits, or has called another; or this. */
#define CONC__CO_YIELDS CONC_BUSY
#if defined(CONC_DEBUG) /* else only waits that suspend are looked at */
#define CONC__CO_CHECK() conc__co_check(conc__task)
#else
#define CONC__CO_CHECK() ((void)0)
#endif
#define CONC__CO_MARK(label)                                                                       \
    (CONC__CO_CHECK(), CONC__FRAME_AT(self->co.conc__place, label),                                                  \
     (void)(self->co.conc__line = (self->co.conc__line & ~CONC__CO_LINE) | (uint32_t)__LINE__))
#define CONC__CO_LINE 0x3fffffffu
#define CONC__CO_CLEANS 0x80000000u /* in a frame's line: it is in its clean-up part; */
#define CONC__CO_UNWINDS 0x40000000u /* its end goes on to its caller's, as a cancel or a time-out wants it */
#define CONC__CO_SUSPEND(label, suspends)                                                          \
    do {                                                                                           \
        CONC__CO_MARK(label);                                                                      \
        if (suspends) {                                                                            \
            return CONC_PENDING;                                                                   \
            CONC__FRAME_HERE(label);                                                               \
        }                                                                                          \
    } while (0)
#define CONC__CO_AWAIT(label, op, deadline, catches)                                               \
    CONC__CO_SUSPEND(label, !conc__co_await(conc__task, (op), (deadline), (catches)))

struct conc_task_desc;
/* Memory for a new task's frame; and, once that is filled, but for its head, the task's start. */
CONC_API void *conc__co_new(conc_loop *loop, size_t size, const struct conc_task_desc *desc);
CONC_API conc_task *conc__co_start(conc_co *co, const conc_co_class *cls);
/* The same for the frame of a called one, which runs when the caller returns CONC_PENDING. */
CONC_API void *conc__co_call(conc_task *task, size_t size);
CONC_API void conc__co_enter(conc_task *task, conc_co *co, const conc_co_class *cls);
/* False: suspended, and to be resumed; true: completed, the result stored. */
CONC_API bool conc__co_await(conc_task *task, conc_op op, conc_deadline deadline, bool catches);
CONC_API bool conc__co_await_any(conc_task *task, conc_op *ops, size_t n, conc_deadline deadline);
CONC_API void conc__co_check(const conc_task *task); /* not inside of a block that undoes itself */
CONC_API uint32_t conc__co_return(conc_task *task, conc_co *frame, int code);
CONC_API void conc__co_timeout_enter(conc_task *task, conc_co *frame, conc_co_timeout *timeout, conc_deadline due);
CONC_API void conc__co_timeout_leave(conc_task *task, conc_co_timeout *timeout);

#endif
