/* ============================================================================================
 * gen: generators: functions that yield one value after another and go on where they stopped.
 *
 *     CONC_GENERATOR(fibonacci, long, int n, i; long a, b;) {
 *         CONC_BEGIN;
 *         self->a = 0; self->b = 1;
 *         for (self->i = 0; self->i < self->n; self->i++) {
 *             CONC_YIELD(self->a);
 *             { long next = self->a + self->b; self->a = self->b; self->b = next; }
 *         }
 *         CONC_END;
 *     }
 *     CONC_FOR_GEN(fibonacci, x, .n = 10) printf("%ld ", x);
 *
 * It makes a type of the generator's name, a struct that begins with `conc_iter iter` and holds the fields: the frame, `self`
 * within the body. See frame.h for what a body may not do. Frames are plain data (trivially copyable, in C++); one that has been
 * started must stay where it is only if the body keeps pointers into it, or if &g.iter has been handed out.
 *
 * TWO WAYS TO RUN ONE. By name (CONC_FOR_GEN, CONC_NEXT): the body is inlined, and an optimising compiler makes the plain loop of
 * it. Through the iterator (&g.iter, CONC_GEN_NEW): one call for each batch of items. Both may be mixed.
 *
 * ITS LIFE. A generator that has not been started has nothing to clean up. Started, it ends at CONC_END, by CONC_RETURN, by
 * CONC_FAIL, by an error that is thrown at a yield that does not catch it, or by being closed; each time what stands between
 * CONC_FINALLY and CONC_END runs, once. Then next says CONC_CLOSED (the first time, the error, if it was one), for ever.
 * Resuming a generator from within itself is CONC_INVALID.
 * ========================================================================================== */

#ifndef CONC__GEN_H
#define CONC__GEN_H

#include "frame.h"
#include "iter.h"

/* What a frame keeps for itself. */
typedef struct conc__gen_state {
    conc_iter *from;    /* CONC_YIELD_FROM goes through it; or NULL */
    uint32_t place;     /* where it stopped */
    uint32_t line;      /* the same, as a line, for a message */
    conc_result ending; /* what it will have ended with; CONC_OK is CONC_CLOSED */
    uint8_t running;    /* between a resume and the next yield */
    uint8_t cleaning;   /* it has come to its clean-up part */
    uint8_t catching;   /* it stopped at a CONC_TRY_YIELD */
    uint8_t on_heap;    /* close frees it */
} conc__gen_state;

/* ---- defining one -------------------------------------------------------------------------------
 * CONC_GENERATOR(name, type, fields) { body }: `fields` are declarations, as in a struct; there may be none. At file scope.
 * The type must be assignable (an array is not; a typedef for a pointer to a function will do).
 * CONC_GENERATOR_PLAIN: the same, with a promise: no pointer into the frame outlives a yield (as one would that an adaptor
 * holds on &self->other.iter). Then a batch may be made on a copy of it, in registers, which is twice as fast.
 * CONC_GENERATOR_SEND(name, type, in_type, fields) { body }: one that values of `in_type` can be sent to: after each yield
 * self->was_sent tells whether it was resumed by CONC_SEND, and self->sent is what was sent. */
#define CONC_GENERATOR(name, ...)                                                                  \
    CONC__GEN_STRUCT(name, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)),                              \
                     CONC__CAT(CONC__GEN_FIELDS_, CONC__ARE_MANY(__VA_ARGS__))(__VA_ARGS__))       \
    CONC__GEN_CODE(name, (void)0, CONC__GEN_IN_PLACE)
#define CONC_GENERATOR_PLAIN(name, ...)                                                            \
    CONC__GEN_STRUCT(name, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)),                              \
                     CONC__CAT(CONC__GEN_FIELDS_, CONC__ARE_MANY(__VA_ARGS__))(__VA_ARGS__))       \
    CONC__GEN_CODE(name, (void)0, CONC__GEN_ON_COPY)
#define CONC_GENERATOR_SEND(name, type, ...)                                                       \
    CONC__GEN_STRUCT(name, type, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)) sent; bool was_sent;    \
                     CONC__CAT(CONC__GEN_FIELDS_, CONC__ARE_MANY(__VA_ARGS__))(__VA_ARGS__))       \
    CONC__GEN_SEND_CODE(name, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)))                           \
    CONC__GEN_CODE(name, self->was_sent = false, CONC__GEN_IN_PLACE)

#define CONC__GEN_FIELDS_1(type)
#define CONC__GEN_FIELDS_2(type, ...) __VA_ARGS__

/* A body is one statement after another between CONC_BEGIN and CONC_END; what stands before CONC_BEGIN runs at each resume. */
#define CONC_BEGIN                                                                                 \
    (void)conc__out, (void)conc__room;                                                             \
    CONC__FRAME_BEGIN(self->conc__gen.place)
/* Here begins the clean-up part. At most once, not within a block, before CONC_END. A yield in it is possible at the end of a
 * generator that is used up; in one that is being closed it is an error, which is told, and ends it. */
#define CONC_FINALLY                                                                               \
    CONC__FRAME_FINALLY(self->conc__gen.place);                                                    \
    self->conc__gen.cleaning = 1
#define CONC_END                                                                                   \
    CONC__FRAME_END(self->conc__gen.place,                                                         \
                    conc__frame_lost(__func__ + sizeof "conc__step_" - 1, __FILE__, self->conc__gen.line)) \
    self->conc__gen.place = CONC__PLACE_DONE;                                                      \
    return conc__done

/* Gives a value; the next resume goes on after it. */
#define CONC_YIELD(...) CONC__YIELD(CONC__FRAME_LABEL, __VA_ARGS__)
#define CONC_YIELD_AT(label, ...) CONC__YIELD(label, __VA_ARGS__)
/* The same; and an error thrown at it does not end the generator but is self->thrown, until the next CONC_TRY_YIELD. CONC_OK:
 * none. */
#define CONC_TRY_YIELD(...) CONC__TRY_YIELD(CONC__FRAME_LABEL, __VA_ARGS__)
#define CONC_TRY_YIELD_AT(label, ...) CONC__TRY_YIELD(label, __VA_ARGS__)
/* Gives all that an iterator gives, and closes it. It belongs to the generator from here on. If it ends with an error, so does
 * the generator. What is sent or thrown does not reach it: thrown errors end it. */
#define CONC_YIELD_FROM(...) CONC__YIELD_FROM(CONC__FRAME_LABEL, __VA_ARGS__)
#define CONC_YIELD_FROM_AT(label, ...) CONC__YIELD_FROM(label, __VA_ARGS__)
/* Ends it, by way of the clean-up part; as CONC_CLOSED, or with an error. */
#define CONC_RETURN                                                                                \
    do {                                                                                           \
        self->conc__gen.place = self->conc__gen.cleaning ? CONC__PLACE_DONE : CONC__PLACE_CLEANUP; \
        goto conc__again;                                                                          \
    } while (0)
#define CONC_FAIL(result)                                                                          \
    do {                                                                                           \
        self->conc__gen.ending = (result);                                                         \
        CONC_RETURN;                                                                               \
    } while (0)

/* ---- making one -----------------------------------------------------------------------------------
 * fibonacci g = CONC_GEN(fibonacci, .n = 10);    by value. In C++ before C++20 there are no such initialisers:
 * fibonacci g = CONC_GEN_ZERO(fibonacci); g.n = 10;
 * &g.iter is it as an iterator; to close it (conc_iter_close(&g.iter), CONC_FOREACH) runs its clean-up part and leaves the struct.
 * A generator with a clean-up part that was started and is not gone through to the end must be closed. */
#define CONC_GEN(...) CONC__EXPAND(CONC__GEN(__VA_ARGS__, ))
#define CONC_GEN_ZERO(name) conc__zero_##name()
/* conc_iter *it = CONC_GEN_NEW(fibonacci, .n = 10);    allocated; freed when it is closed. Without memory: an iterator that has
 * failed (see iter.h); what the fields hold is then still the caller's. With it generators may be recursive:
 * CONC_YIELD_FROM(CONC_GEN_NEW(walk, .node = self->node->left)). */
#define CONC_GEN_NEW(...) CONC__EXPAND(CONC__GEN_NEW(__VA_ARGS__, ))

/* ---- running one by name ---------------------------------------------------------------------------
 * CONC_FOR_GEN(fibonacci, x, .n = 10) { ... x ... }: makes one, and runs the block with each item; x is a variable of the item's
 * type. The generator is closed when the block is left (with gcc and clang also by return and goto). An error at its end goes to
 * the error hook, as with CONC_FOREACH. Not in the generator's own body. */
#define CONC_FOR_GEN(name, ...) CONC__EXPAND(CONC__FOR_GEN(name, CONC__CAT(conc__run_, CONC__UNIQUE), __VA_ARGS__, ))

/* CONC_NEXT(fibonacci, &g, &x): the next item. CONC_OK; CONC_CLOSED; the error it ended with; CONC_INVALID: it is running. */
#define CONC_NEXT(name, g, item) conc__next_of_##name((g), (item))
/* CONC_SEND(averager, &g, 10.0, &x): resumes it with a value, up to its next yield: the item of that. As CONC_NEXT; CONC_INVALID
 * before the first next, since no yield is there to receive it. */
#define CONC_SEND(name, g, value, item) conc__send_to_##name((g), (value), (item))
/* CONC_THROW(name, &g, CONC_FAILED, &x): resumes it with an error. At a CONC_TRY_YIELD it goes on, up to its next yield: CONC_OK
 * and the item; else it ends, and this is the error (as it is if it was not started, or has ended already). CONC_INVALID: it is
 * running, or the error is CONC_OK. */
#define CONC_THROW(name, g, error, item) conc__throw_to_##name((g), (error), (item))

/* ---- what they are made of -------------------------------------------------------------------------- */

#define CONC__EXPAND(x) x /* some preprocessors take __VA_ARGS__ for one argument until it has been through here */
#define CONC__ARG_1(first, ...) first
#define CONC__ARG_64(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, \
                     a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, a36, a37, a38, a39, a40, a41, a42, a43, a44, a45, \
                     a46, a47, a48, a49, a50, a51, a52, a53, a54, a55, a56, a57, a58, a59, a60, a61, a62, a63, a64, ...) \
    a64
/* 1: one argument; 2: up to 63. */
#define CONC__ARE_MANY(...)                                                                        \
    CONC__EXPAND(CONC__ARG_64(__VA_ARGS__, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, \
                              2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 0))

/* A body fills the room for conc__room items, of which it has given conc__done, and stops when it is full; by name that is one item, always full, and only the
 * suspension is left. */
#define CONC__YIELD(label, ...)                                                                    \
    do {                                                                                           \
        conc__out[conc__done++] = (__VA_ARGS__);                                                   \
        if (conc__done == conc__room) {                                                            \
            CONC__FRAME_AT(self->conc__gen.place, label);                                          \
            self->conc__gen.line = __LINE__;                                                       \
            return conc__done;                                                                     \
            CONC__FRAME_HERE(label);                                                               \
        }                                                                                          \
    } while (0)
#define CONC__TRY_YIELD(label, ...)                                                                \
    do {                                                                                           \
        conc__out[conc__done++] = (__VA_ARGS__);                                                   \
        self->thrown = CONC_OK;                                                                    \
        if (conc__done == conc__room) {                                                            \
            CONC__FRAME_AT(self->conc__gen.place, label);                                          \
            self->conc__gen.line = __LINE__;                                                       \
            self->conc__gen.catching = 1;                                                          \
            return conc__done;                                                                     \
            CONC__FRAME_HERE(label);                                                               \
            self->conc__gen.catching = 0;                                                          \
        }                                                                                          \
    } while (0)
#define CONC__YIELD_FROM(label, ...)                                                               \
    do {                                                                                           \
        self->conc__gen.from = (__VA_ARGS__);                                                      \
        while (conc__done += conc__gen_from(&self->conc__gen, conc__out + conc__done, sizeof *conc__out, \
                                            conc__room - conc__done),                              \
               conc__done == conc__room) {                                                         \
            CONC__FRAME_AT(self->conc__gen.place, label);                                          \
            self->conc__gen.line = __LINE__;                                                       \
            return conc__done;                                                                     \
            CONC__FRAME_HERE(label);                                                               \
        }                                                                                          \
        if (self->conc__gen.ending != CONC_OK) CONC_RETURN;                                        \
    } while (0)

/* What CONC_GEN begins with. */
#define CONC__GEN_ITER(name) { conc__next_##name, conc__close_##name, sizeof(conc__item_##name), CONC_OK }

#if !defined(__cplusplus)
#define CONC__GEN(name, ...) ((struct name){ .iter = CONC__GEN_ITER(name), __VA_ARGS__ })
#define CONC__GEN_NEW(name, ...) conc__gen_new(&CONC__GEN(name, __VA_ARGS__), sizeof(struct name))
#define CONC__GEN_RUN(name, ...) { .iter = CONC__GEN_ITER(name), .conc__gen = { .running = 1 }, __VA_ARGS__ }
#else
#if __cplusplus >= 202002L
#define CONC__GEN(name, ...)                                                                       \
    CONC__EXPAND(CONC__CAT(CONC__GEN_WITH_, CONC__ARE_MANY(__VA_ARGS__))(name, __VA_ARGS__))
#define CONC__GEN_WITH_1(name, ...) conc__zero_##name() /* without fields: no warning that there are none */
#define CONC__GEN_WITH_2(name, ...)                                                                \
    (name{ .iter = CONC__GEN_ITER(name), .conc__gen = {}, .thrown = CONC_OK, __VA_ARGS__ })
#else
#define CONC__GEN(name, ...) conc__zero_##name(__VA_ARGS__) /* no fields can be given before C++20 */
#endif
#define CONC__GEN_NEW(name, ...) conc__gen_new_of(CONC__GEN(name, __VA_ARGS__))
#define CONC__GEN_RUN(name, ...) conc__gen_run_of(CONC__GEN(name, __VA_ARGS__))
#endif
#define CONC__FOR_GEN(name, s, ...) CONC__EXPAND(CONC__FOR_GEN_(name, s, __VA_ARGS__))
#define CONC__FOR_GEN_(name, s, x, ...)                                                            \
    for (struct name s CONC__CLEANUP(conc__leave_##name) = CONC__GEN_RUN(name, __VA_ARGS__); s.conc__gen.running != 0; \
         conc__leave_##name(&s))                                                                   \
        for (conc__item_##name x; conc__step_##name(&s, &x, 1, 0) != 0;)

#define CONC__GEN_STRUCT(name, type, ...)                                                          \
    typedef struct name name;                                                                      \
    typedef type conc__item_##name;                                                                \
    struct name {                                                                                  \
        conc_iter iter;                                                                            \
        conc__gen_state conc__gen;                                                                 \
        conc_result thrown;                                                                        \
        __VA_ARGS__                                                                                \
    };

/* With CONC_DEBUG the body's variables lie deeper than the part of the dead stack that scribbling cannot reach. */
#if defined(CONC_DEBUG)
#define CONC__GEN_DEEPER(name)                                                                     \
    CONC__SPARE CONC__NOINLINE size_t conc__deeper_##name(struct name *self, conc__item_##name *out, size_t room) { \
        volatile unsigned char above[256];                                                         \
        volatile size_t first = 0;                                                                 \
        size_t done;                                                                               \
        above[first] = 0;                                                                          \
        done = conc__step_##name(self, out, room, 0);                                              \
        return done + above[first];                                                                 \
    } CONC__SPARE_END
#define CONC__GEN_STEP(name, self, out, room) conc__deeper_##name((self), (out), (room))
#else
#define CONC__GEN_DEEPER(name)
#define CONC__GEN_STEP(name, self, out, room) conc__step_##name((self), (out), (room), 0)
#endif

#define CONC__GEN_IN_PLACE(name) done = CONC__GEN_STEP(name, self, (conc__item_##name *)items, n)
#define CONC__GEN_ON_COPY(name)                                                                    \
    {                                                                                              \
        struct name copy = *self;                                                                  \
        done = CONC__GEN_STEP(name, &copy, (conc__item_##name *)items, n);                         \
        *self = copy;                                                                              \
    }                                                                                              \
    (void)0

/* The step is the body; it returns how many items it gave. Then what runs it; and its own head, which the user's braces
 * follow. */
#define CONC__GEN_CODE(name, prepare, BATCH)                                                             \
    static CONC__FRAME_FN size_t conc__step_##name(                                                \
        struct name *self, conc__item_##name *conc__out, size_t conc__room, size_t conc__done); \
    CONC__GEN_DEEPER(name)                                                                         \
    CONC__SPARE CONC__ALWAYS_INLINE conc_result conc__resume_##name(struct name *self, conc__item_##name *item) { \
        bool more;                                                                                 \
        self->conc__gen.running = 1;                                                               \
        CONC__FRAME_SCRIBBLE();                                                                    \
        more = CONC__GEN_STEP(name, self, item, 1) != 0;                                           \
        self->conc__gen.running = 0;                                                               \
        if (!more) return self->iter.result = conc__gen_end(&self->conc__gen);                     \
        self->iter.result = CONC_OK;                                                               \
        return CONC_OK;                                                                            \
    } CONC__SPARE_END                                                                              \
    CONC__SPARE inline conc_result conc__next_of_##name(struct name *self, conc__item_##name *item) { \
        if (self->conc__gen.running != 0) return conc__gen_refuse(#name, CONC__GEN_RUNNING);       \
        prepare;                                                                                   \
        return conc__resume_##name(self, item);                                                    \
    } CONC__SPARE_END                                                                              \
    CONC__SPARE conc_result conc__throw_to_##name(struct name *self, conc_result error, conc__item_##name *item) { \
        if (self->conc__gen.running != 0) return conc__gen_refuse(#name, CONC__GEN_RUNNING);       \
        if (error == CONC_OK) return conc__gen_refuse(#name, CONC__GEN_NO_ERROR);                  \
        prepare;                                                                                   \
        self->thrown = error;                                                                      \
        if (conc__gen_throw(&self->conc__gen, error)) return conc__resume_##name(self, item);      \
        self->iter.result = error;                                                                 \
        return error;                                                                              \
    } CONC__SPARE_END                                                                              \
    static size_t conc__next_##name(conc_iter *iter, void *__restrict items, size_t n) {           \
        struct name *self = (struct name *)(void *)iter;                                           \
        size_t done;                                                                               \
        if (self->conc__gen.running != 0) {                                                        \
            iter->result = conc__gen_refuse(#name, CONC__GEN_RUNNING);                             \
            return 0;                                                                              \
        }                                                                                          \
        prepare;                                                                                   \
        n = CONC__FRAME_BATCH(n);                                                                  \
        CONC__FRAME_SCRIBBLE();                                                                    \
        self->conc__gen.running = 1;                                                               \
        BATCH(name);                                \
        self->conc__gen.running = 0;                                                               \
        iter->result = done != 0 ? CONC_OK : conc__gen_end(&self->conc__gen);                      \
        return done;                                                                               \
    }                                                                                              \
    CONC__SPARE CONC__ALWAYS_INLINE void conc__finish_##name(struct name *self) {                          \
        if (self->conc__gen.from != NULL) conc__gen_drop(&self->conc__gen);                        \
        if (self->conc__gen.place != CONC__PLACE_START && self->conc__gen.place != CONC__PLACE_DONE && \
            self->conc__gen.cleaning == 0) {                                                       \
            conc__item_##name unwanted;                                                            \
            self->conc__gen.running = 1;                                                           \
            self->conc__gen.place = CONC__PLACE_CLEANUP;                                           \
            if (conc__step_##name(self, &unwanted, 1, 0) != 0) {                                       \
                conc__gen_yielded(#name, __FILE__, self->conc__gen.line);                          \
                if (self->conc__gen.from != NULL) conc__gen_drop(&self->conc__gen);                \
            }                                                                                      \
            self->conc__gen.running = 0;                                                           \
        }                                                                                          \
        self->conc__gen.place = CONC__PLACE_DONE;                                                  \
        self->conc__gen.ending = CONC_CLOSED;                                                      \
        self->iter.result = CONC_CLOSED;                                                           \
    } CONC__SPARE_END                                                                              \
    static void conc__close_##name(conc_iter *iter) {                                              \
        struct name *self = (struct name *)(void *)iter;                                           \
        if (self->conc__gen.running != 0) {                                                        \
            conc__gen_closed_running(#name);                                                       \
            return;                                                                                \
        }                                                                                          \
        conc__finish_##name(self);                                                                 \
        if (self->conc__gen.on_heap != 0) conc__gen_free(iter);                                    \
    }                                                                                              \
    CONC__SPARE CONC__ALWAYS_INLINE void conc__leave_##name(struct name *self) {                           \
        if (self->conc__gen.running == 0) return;                                                  \
        if (self->conc__gen.place != CONC__PLACE_DONE) conc__finish_##name(self);                  \
        else if (self->conc__gen.ending != CONC_OK) conc__gen_failed(self->conc__gen.ending, #name); \
        self->conc__gen.running = 0;                                                               \
    } CONC__SPARE_END                                                                              \
    CONC__GEN_ZERO_CODE(name)                                                                      \
    static CONC__FRAME_FN size_t conc__step_##name(                                                \
        struct name *self, conc__item_##name *conc__out, size_t conc__room, size_t conc__done)

#define CONC__GEN_SEND_CODE(name, in_type)                                                         \
    CONC__SPARE CONC__ALWAYS_INLINE conc_result conc__resume_##name(struct name *self, conc__item_##name *item) \
        CONC__SPARE_END;                                                                           \
    CONC__SPARE conc_result conc__send_to_##name(struct name *self, in_type value, conc__item_##name *item) { \
        if (self->conc__gen.running != 0) return conc__gen_refuse(#name, CONC__GEN_RUNNING);       \
        if (self->conc__gen.place == CONC__PLACE_START) return conc__gen_refuse(#name, CONC__GEN_NOT_STARTED); \
        self->sent = value;                                                                        \
        self->was_sent = true;                                                                     \
        return conc__resume_##name(self, item);                                                    \
    } CONC__SPARE_END

#if defined(__cplusplus)
#define CONC__GEN_ZERO_CODE(name)                                                                  \
    CONC__SPARE inline struct name conc__zero_##name() {                                   \
        struct name zero = {};                                                                     \
        zero.iter.next = conc__next_##name;                                                        \
        zero.iter.close = conc__close_##name;                                                      \
        zero.iter.item_size = sizeof(conc__item_##name);                                           \
        return zero;                                                                               \
    } CONC__SPARE_END
#else
#define CONC__GEN_ZERO_CODE(name)                                                                  \
    CONC__SPARE inline struct name conc__zero_##name(void) {                               \
        return CONC__GEN(name, );                                                                  \
    } CONC__SPARE_END
#endif

enum { CONC__GEN_RUNNING, CONC__GEN_NOT_STARTED, CONC__GEN_NO_ERROR };
CONC_API conc_result conc__gen_refuse(const char *name, int why);
/* Puts it where a thrown error goes; false: it has ended with it. */
CONC_API bool conc__gen_throw(conc__gen_state *g, conc_result error);
/* The next items of CONC_YIELD_FROM. Fewer than n: there are no more; it is closed, and an error in `ending`. */
CONC_API size_t conc__gen_from(conc__gen_state *g, void *items, size_t size, size_t n);
CONC_API void conc__gen_drop(conc__gen_state *g);
/* Told to the error hook. */
CONC_API void conc__gen_yielded(const char *name, const char *file, uint32_t line);
CONC_API void conc__gen_closed_running(const char *name);
CONC_API void conc__gen_failed(conc_result r, const char *name);
CONC_API conc_iter *conc__gen_new(const void *frame, size_t size);
CONC_API void conc__gen_free(conc_iter *it);

static inline conc_result conc__gen_end(conc__gen_state *g) {
    conc_result r = g->ending == CONC_OK ? CONC_CLOSED : g->ending;
    g->ending = CONC_CLOSED;
    return r;
}

#if defined(__cplusplus)
extern "C++" {
template <class G> conc_iter *conc__gen_new_of(const G &frame) {
    static_assert(__is_trivially_copyable(G), "a generator's fields are copied as bytes");
    return conc__gen_new(&frame, sizeof frame);
}
template <class G> G conc__gen_run_of(G frame) {
    frame.conc__gen.running = 1;
    return frame;
}
}
#endif

#endif
