/* ============================================================================================
 * config: which compiler, which system, which linkage. The one table of platform flags.
 *
 * Every flag is always defined, as 0 or 1, and tested with #if. Defining one of the flags marked
 * (force) before the implementation overrides the choice made here.
 * ========================================================================================== */

#ifndef CONC__CONFIG_H
#define CONC__CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONC_VERSION_MAJOR 0
#define CONC_VERSION_MINOR 1
#define CONC_VERSION_PATCH 0
#define CONC_VERSION "0.1.0"

/* ---- system ------------------------------------------------------------------------------- */

#if defined(_WIN32)
#define CONC_OS_WINDOWS 1
#else
#define CONC_OS_WINDOWS 0
#endif

#if defined(__linux__)
#define CONC_OS_LINUX 1
#else
#define CONC_OS_LINUX 0
#endif

#if defined(__APPLE__) && defined(__MACH__)
#define CONC_OS_MACOS 1
#else
#define CONC_OS_MACOS 0
#endif

/* ---- compiler ----------------------------------------------------------------------------- */

#if defined(__GNUC__) || defined(__clang__)
#define CONC_CC_GNU 1 /* gcc, clang and what speaks their dialect: __atomic, __attribute__, asm labels */
#else
#define CONC_CC_GNU 0
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define CONC_CC_MSVC 1
#else
#define CONC_CC_MSVC 0
#endif

#if defined(__TINYC__)
#define CONC_CC_TINY 1
#else
#define CONC_CC_TINY 0
#endif

/* ---- attributes --------------------------------------------------------------------------- */

#if CONC_CC_GNU
#define CONC__UNUSED __attribute__((unused))
#define CONC__NOINLINE __attribute__((noinline))
#define CONC__ALWAYS_INLINE inline __attribute__((always_inline))
#define CONC__LIKELY(x) __builtin_expect(!!(x), 1)
#define CONC__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CONC_MUST_CHECK __attribute__((warn_unused_result))
#define CONC__NORETURN __attribute__((noreturn))
#else
#define CONC__UNUSED
#define CONC__NOINLINE
#define CONC__ALWAYS_INLINE
#define CONC__LIKELY(x) (x)
#define CONC__UNLIKELY(x) (x)
#define CONC_MUST_CHECK
#define CONC__NORETURN
#endif

/* Around static functions that a macro defines in a user's file, whether he uses them or not. (clang's strictest warnings want
 * neither an unused function nor a used one that is marked as unused.) */
#if defined(__clang__)
#define CONC__SPARE _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wunused-function\"") static
#define CONC__SPARE_END _Pragma("clang diagnostic pop")
#else
#define CONC__SPARE CONC__UNUSED static
#define CONC__SPARE_END
#endif

/* A function that checks its format string against its arguments. */
#if CONC_CC_GNU && defined(__MINGW32__)
#define CONC__PRINTF(f, a) __attribute__((format(gnu_printf, f, a)))
#elif CONC_CC_GNU
#define CONC__PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CONC__PRINTF(f, a)
#endif

/* ---- linkage -------------------------------------------------------------------------------
 * CONC_API: what users call. CONC__LIB: shared between the files of src/, invisible to users; it is
 * static in the single file and extern when src/ is compiled file by file (CONC__SPLIT).
 * Each file's own helpers are plain static. */

#if defined(CONC_STATIC)
#define CONC_API static CONC__UNUSED
#elif defined(__cplusplus)
#define CONC_API extern "C"
#else
#define CONC_API extern
#endif

#if !defined(CONC__SPLIT)
#define CONC__LIB static CONC__UNUSED
#elif defined(__cplusplus)
#define CONC__LIB extern "C"
#else
#define CONC__LIB extern
#endif

/* CONC_STATIC makes every function private to the file that includes the header, so the code has to
 * come along. */
#if defined(CONC_STATIC) && !defined(CONC_IMPLEMENTATION) && !defined(CONC__SPLIT)
#define CONC_IMPLEMENTATION
#endif

/* ---- macros that build names -------------------------------------------------------------- */

#define CONC__CAT_(a, b) a##b
#define CONC__CAT(a, b) CONC__CAT_(a, b)
#if defined(__COUNTER__)
#define CONC__UNIQUE __COUNTER__
#else
#define CONC__UNIQUE __LINE__
#endif

/* ---- blocks that undo themselves --------------------------------------------------------------
 * CONC__WITH(type, enter, leave, unique) { body }: runs the body once, between `enter` (an expression of
 * type `type`, a struct with `int live`, 1 if the body is to run) and `leave(&it)`, which sets live to 0
 * and does nothing the second time. Two nested loops, so that `break` (which leaves the inner one) and
 * `continue` both reach the outer one's leave; with gcc and clang a cleanup attribute makes `return` and
 * `goto` safe too. The name is unique, so that nesting shadows nothing. */
#define CONC__WITH(type, enter, leave, unique) CONC__WITH_(type, enter, leave, CONC__CAT(conc__scope_, unique))
#define CONC__WITH_(type, enter, leave, s)                                                         \
    for (type s CONC__CLEANUP(leave) = (enter); s.live; leave(&s))                                  \
        for (; s.live == 1; s.live = 2)
#define CONC__HAS_CLEANUP (CONC_CC_GNU && !CONC_CC_TINY)
#if CONC_CC_GNU
#define CONC__CLEANUP(fn) __attribute__((cleanup(fn)))
#else
#define CONC__CLEANUP(fn)
#endif

#endif
