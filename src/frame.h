/* ============================================================================================
 * frame: what generators and coroutines share: functions that return in the middle and go on there.
 *
 * Such a function keeps what must live from one resume to the next in a struct of its own, its frame, and begins with
 * a switch on the place where it stopped (T. Duff, 1983, in a mail of 1988; S. Tatham, "Coroutines in C", 2000).
 * What follows from it, for whoever writes one:
 *  - variables that must survive a suspension are fields of the frame (self->i); others are lost at it. With
 *    CONC_DEBUG the dead stack is overwritten before each resume, so that a lost one shows at once;
 *  - so are pointers to them: &x of a local x, or an array on the stack, must not be what is waited with or for. (A wait of a
 *    coroutine that would have to suspend with one says CONC_INVALID);
 *  - a suspension may not stand inside a block that undoes itself: CONC_WITH_LOCK, CONC_WITH_CANCEL, CONC_FOREACH,
 *    CONC_FOR_GEN, CONC_FOR_QUEUE. It leaves the function, and so the block; and on its way back it finds the block's variables
 *    lost. (clang refuses to compile it; else a coroutine's wait in one ends the program with a message
 *    that names the place.) Lock with
 *    CO_AWAIT(conc_op_lock(&m)), and unlock in the clean-up part;
 *  - a suspension may not stand inside a switch of your own: its label would belong to that switch. Resuming it ends
 *    the program with a message that names the place. With CONC_COMPUTED_GOTO (gcc, clang) it may;
 *  - C++ wants variables with initialisers in braces of their own, with no suspension after them there.
 * Each suspension has a number, from __COUNTER__; where a compiler has none, its line, and two on one line
 * need the forms with _AT, which take a number of yours (below 1,000,000, different in each function).
 * ========================================================================================== */

#ifndef CONC__FRAME_H
#define CONC__FRAME_H

#include "core.h"

/* Places that no suspension has. */
#define CONC__PLACE_START 0u
#define CONC__PLACE_CLEANUP 0xfffffffeu /* to go on with what follows CONC_FINALLY or CO_FINALLY */
#define CONC__PLACE_DONE 0xffffffffu

/* The switch. What has no label of its own (a place that is in an inner switch; the clean-up of a function that has
 * none) comes to the default label, at the end. */
#define CONC__FRAME_BEGIN(place)                                                                   \
    conc__again:                                                                                   \
    switch (place) {                                                                               \
    case CONC__PLACE_START:
/* At the end of the switch: all that a function that ended, or has no clean-up, does. `lost`: the place is none of
 * these. */
#define CONC__FRAME_END(place, lost)                                                               \
    break;                                                                                         \
    default:                                                                                       \
        if ((place) < CONC__PLACE_CLEANUP) {                                                       \
            CONC__FRAME_FIND(place);                                                               \
            lost;                                                                                  \
        }                                                                                          \
        if (0) goto conc__again; /* so that the label is used */                                   \
        break;                                                                                     \
    }
/* Between: the clean-up part, which those who are sent to it find, and those who come to the end run into. */
#define CONC__FRAME_FINALLY(place)                                                                 \
    if (0) {                                                                                       \
    case CONC__PLACE_CLEANUP:;                                                                     \
    }                                                                                              \
    (place) = CONC__PLACE_DONE

#define CONC__FRAME_LABEL CONC__UNIQUE

#if defined(CONC_COMPUTED_GOTO) && CONC_CC_GNU && !CONC_CC_TINY
/* A place is the distance of its label from the first instruction's. */
#define CONC__FRAME_AT(place, label)                                                               \
    ((place) = (uint32_t)((char *)__extension__ &&CONC__CAT(conc__at_, label) - (char *)__extension__ &&conc__again) + 1u)
#define CONC__FRAME_HERE(label) CONC__CAT(conc__at_, label) :
/* (It is no ISO C, but it was asked for.) */
#if defined(__clang__)
#define CONC__FRAME_FIND(place)                                                                    \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wpedantic\"")            \
    goto *(void *)((char *)__extension__ &&conc__again + (int32_t)((place) - 1u));                 \
    _Pragma("clang diagnostic pop")
#else
#define CONC__FRAME_FIND(place)                                                                    \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wpedantic\"")                \
    goto *(void *)((char *)__extension__ &&conc__again + (int32_t)((place) - 1u));                 \
    _Pragma("GCC diagnostic pop")
#endif
#if defined(__clang__)
#define CONC__FRAME_FN CONC__NOINLINE /* there may be one copy of a label only */
#else
#define CONC__FRAME_FN __attribute__((noinline, noclone))
#endif
#else
#define CONC__FRAME_AT(place, label) ((place) = (uint32_t)(label) + 1u)
#define CONC__FRAME_HERE(label) case (label) + 1:
#define CONC__FRAME_FIND(place) ((void)0)
#if defined(CONC_DEBUG)
#define CONC__FRAME_FN CONC__NOINLINE /* so that its variables lie where CONC__FRAME_SCRIBBLE() writes */
#else
#define CONC__FRAME_FN CONC__ALWAYS_INLINE
#endif
#endif

/* Does not return: were there a way back, it would be one more that a resume could have come, and clang would not make the plain
 * loop of it.
 * Ends the program: "NAME, FILE:LINE: cannot be resumed there: ..." */
CONC_API CONC__NORETURN void conc__frame_lost(const char *name, const char *file, uint32_t line);

/* Ends the program: a coroutine suspends inside of a block that undoes itself. */
CONC_API CONC__NORETURN void conc__frame_torn(const char *name, const char *file, uint32_t line);

/* CONC_DEBUG: overwrites what lies dead on the stack below the caller. */
CONC_API void conc__frame_scribble(void);
#if defined(CONC_DEBUG)
#define CONC__FRAME_SCRIBBLE() conc__frame_scribble()
#define CONC__FRAME_BATCH(n) ((void)(n), (size_t)1) /* of several suspensions that could be left out: none is */
#else
#define CONC__FRAME_SCRIBBLE() ((void)0)
#define CONC__FRAME_BATCH(n) (n)
#endif

#endif
