/* ============================================================================================
 * port: what the library asks of the machine: atomics, clock, wait-on-address, threads,
 * descriptors, sockets.
 *
 * Private. Nothing above this file names an operating system, calls a clock or a thread function, or
 * uses an atomic builtin. Implemented by port_posix.c (Linux futex; elsewhere, or with CONC_PORT_PORTABLE,
 * a table of pthread mutexes and conditions) and port_win32.c; with CONC_SIM, by port_sim.c before them.
 *
 * A COMPILER TRAP. glibc declares syscall(), sched_yield() and clock_gettime() as `leaf` functions, which
 * promise not to come back into the caller's file; gcc's ipa-reference pass believes it, ignores the
 * atomics beside them, and drops loads and stores of the user's file-scope static data across a lock that
 * is not inlined. So the ports call the system only through declarations of their own, without `leaf`, and
 * a public function that synchronises by atomics alone passes CONC__OPAQUE(). tests/codegen holds this.
 * No standalone fences: the thread sanitizer cannot see them.
 * ========================================================================================== */

#ifndef CONC__PORT_H
#define CONC__PORT_H

#include "net.h"

#if !defined(CONC_PORT_PORTABLE)
#define CONC_PORT_PORTABLE 0
#endif

/* ---- atomics --------------------------------------------------------------------------------
 * On uint32_t (32), size_t (z) and void * (p). `o` is the memory order, with the meaning of C11. */

#if CONC_CC_GNU && !CONC_CC_TINY
#define CONC__RELAXED __ATOMIC_RELAXED
#define CONC__ACQUIRE __ATOMIC_ACQUIRE
#define CONC__RELEASE __ATOMIC_RELEASE
#define CONC__ACQ_REL __ATOMIC_ACQ_REL
#define CONC__SEQ_CST __ATOMIC_SEQ_CST
/* A relaxed load that is no point of a simulation: of what is set once, before anything can hang on it. */
#define conc__peek32(a) __atomic_load_n((a), __ATOMIC_RELAXED)
#define conc__peekp(a) __atomic_load_n((a), __ATOMIC_RELAXED)
#define conc__peekz(a) __atomic_load_n((a), __ATOMIC_RELAXED)
/* A relaxed store, likewise: of a hint for reports. */
#define conc__poke32(a, v) __atomic_store_n((a), (v), __ATOMIC_RELAXED)
#define conc__pokep(a, v) __atomic_store_n((a), (v), __ATOMIC_RELAXED)
#define conc__pokez(a, v) __atomic_store_n((a), (v), __ATOMIC_RELAXED)
#endif

#if defined(CONC_SIM)

#if !CONC_CC_GNU || CONC_CC_TINY
#error "conc.h: CONC_SIM wants gcc or clang"
#endif

/* Each is a point of the simulation (port_sim.c), if the thread is in one; else it is just done. On 4 or 8 bytes, with
 * the order of a C11 operation; `in` is the function it stands in. */
typedef enum conc__sim_rmw_kind { CONC__SIM_SWAP, CONC__SIM_ADD, CONC__SIM_OR, CONC__SIM_AND } conc__sim_rmw_kind;
CONC__LIB uint64_t conc__sim_load(const void *a, size_t size, int order, const char *in);
CONC__LIB void conc__sim_store(void *a, size_t size, uint64_t v, int order, const char *in);
CONC__LIB uint64_t conc__sim_rmw(void *a, size_t size, conc__sim_rmw_kind kind, uint64_t v, int order, const char *in);
CONC__LIB bool conc__sim_cas(void *a, size_t size, void *expected, uint64_t v, int order, const char *in);

#define conc__load32(a, o) ((uint32_t)conc__sim_load((a), sizeof(uint32_t), (o), __func__))
#define conc__store32(a, v, o) conc__sim_store((a), sizeof(uint32_t), (uint32_t)(v), (o), __func__)
#define conc__rmw32(a, k, v, o) ((uint32_t)conc__sim_rmw((a), sizeof(uint32_t), (k), (uint32_t)(v), (o), __func__))
#define conc__swap32(a, v, o) conc__rmw32(a, CONC__SIM_SWAP, v, o)
#define conc__add32(a, v, o) conc__rmw32(a, CONC__SIM_ADD, v, o)
#define conc__sub32(a, v, o) conc__rmw32(a, CONC__SIM_ADD, 0u - (uint32_t)(v), o)
#define conc__or32(a, v, o) conc__rmw32(a, CONC__SIM_OR, v, o)
#define conc__and32(a, v, o) conc__rmw32(a, CONC__SIM_AND, v, o)
#define conc__cas32(a, expected, v, o) conc__sim_cas((a), sizeof(uint32_t), (expected), (uint32_t)(v), (o), __func__)
#define conc__loadz(a, o) ((size_t)conc__sim_load((a), sizeof(size_t), (o), __func__))
#define conc__storez(a, v, o) conc__sim_store((a), sizeof(size_t), (size_t)(v), (o), __func__)
#define conc__rmwz(a, k, v, o) ((size_t)conc__sim_rmw((a), sizeof(size_t), (k), (size_t)(v), (o), __func__))
#define conc__swapz(a, v, o) conc__rmwz(a, CONC__SIM_SWAP, v, o)
#define conc__addz(a, v, o) conc__rmwz(a, CONC__SIM_ADD, v, o)
#define conc__subz(a, v, o) conc__rmwz(a, CONC__SIM_ADD, (size_t)0 - (size_t)(v), o)
#define conc__orz(a, v, o) conc__rmwz(a, CONC__SIM_OR, v, o)
#define conc__casz(a, expected, v, o) conc__sim_cas((a), sizeof(size_t), (expected), (size_t)(v), (o), __func__)
#define conc__loadp(a, o) ((void *)(uintptr_t)conc__sim_load((a), sizeof(void *), (o), __func__))
#define conc__storep(a, v, o) conc__sim_store((a), sizeof(void *), (uint64_t)(uintptr_t)(v), (o), __func__)
#define conc__swapp(a, v, o) ((void *)(uintptr_t)conc__sim_rmw((a), sizeof(void *), CONC__SIM_SWAP, (uint64_t)(uintptr_t)(v), (o), __func__))
#define conc__casp(a, expected, v, o) conc__sim_cas((a), sizeof(void *), (expected), (uint64_t)(uintptr_t)(v), (o), __func__)

#elif CONC_CC_GNU && !CONC_CC_TINY

#if defined(CONC__DELAYS) /* tests: now and then a delay before an atomic operation */
CONC__LIB void conc__delay(void);
#define CONC__ATOM(a) (conc__delay(), (a))
#else
#define CONC__ATOM(a) (a)
#endif

#define conc__load32(a, o) __atomic_load_n(CONC__ATOM(a), (o))
#define conc__store32(a, v, o) __atomic_store_n(CONC__ATOM(a), (v), (o))
#define conc__swap32(a, v, o) __atomic_exchange_n(CONC__ATOM(a), (v), (o))
#define conc__add32(a, v, o) __atomic_fetch_add(CONC__ATOM(a), (v), (o))
#define conc__sub32(a, v, o) __atomic_fetch_sub(CONC__ATOM(a), (v), (o))
#define conc__or32(a, v, o) __atomic_fetch_or(CONC__ATOM(a), (v), (o))
#define conc__and32(a, v, o) __atomic_fetch_and(CONC__ATOM(a), (v), (o))
/* Strong. On failure *expected becomes what was there, read with order relaxed. */
#define conc__cas32(a, expected, v, o) __atomic_compare_exchange_n(CONC__ATOM(a), (expected), (v), 0, (o), __ATOMIC_RELAXED)
#define conc__loadz(a, o) __atomic_load_n(CONC__ATOM(a), (o))
#define conc__storez(a, v, o) __atomic_store_n(CONC__ATOM(a), (v), (o))
#define conc__swapz(a, v, o) __atomic_exchange_n(CONC__ATOM(a), (v), (o))
#define conc__addz(a, v, o) __atomic_fetch_add(CONC__ATOM(a), (v), (o))
#define conc__subz(a, v, o) __atomic_fetch_sub(CONC__ATOM(a), (v), (o))
#define conc__orz(a, v, o) __atomic_fetch_or(CONC__ATOM(a), (v), (o))
#define conc__casz(a, expected, v, o) __atomic_compare_exchange_n(CONC__ATOM(a), (expected), (v), 0, (o), __ATOMIC_RELAXED)
#define conc__loadp(a, o) __atomic_load_n(CONC__ATOM(a), (o))
#define conc__storep(a, v, o) __atomic_store_n(CONC__ATOM(a), (v), (o))
#define conc__swapp(a, v, o) __atomic_exchange_n(CONC__ATOM(a), (v), (o))
#define conc__casp(a, expected, v, o) __atomic_compare_exchange_n(CONC__ATOM(a), (expected), (v), 0, (o), __ATOMIC_RELAXED)

#else /* MSVC, tcc: every operation is sequentially consistent, whatever `o` says */

#define CONC__RELAXED 0
#define CONC__ACQUIRE 0
#define CONC__RELEASE 0
#define CONC__ACQ_REL 0
#define CONC__SEQ_CST 0

#if CONC_CC_MSVC
#include <intrin.h>
#if defined(_WIN64)
#define CONC__MSVCZ(f) f##64
typedef __int64 conc__msvcz;
#else
#define CONC__MSVCZ(f) f
typedef long conc__msvcz;
#endif
static __inline uint32_t conc__cmpxchg32(uint32_t *a, uint32_t old, uint32_t v) {
    return (uint32_t)_InterlockedCompareExchange((volatile long *)a, (long)v, (long)old);
}
static __inline size_t conc__cmpxchgz(size_t *a, size_t old, size_t v) {
    return (size_t)CONC__MSVCZ(_InterlockedCompareExchange)((volatile conc__msvcz *)a, (conc__msvcz)v,
                                                            (conc__msvcz)old);
}
#elif defined(__i386__) || defined(__x86_64__)
static uint32_t conc__cmpxchg32(uint32_t *a, uint32_t old, uint32_t v) {
    __asm__ __volatile__("lock cmpxchgl %2, %1" : "+a"(old), "+m"(*a) : "r"(v) : "memory");
    return old;
}
static size_t conc__cmpxchgz(size_t *a, size_t old, size_t v) {
#if defined(__x86_64__)
    __asm__ __volatile__("lock cmpxchgq %2, %1" : "+a"(old), "+m"(*a) : "r"(v) : "memory");
#else
    __asm__ __volatile__("lock cmpxchgl %2, %1" : "+a"(old), "+m"(*a) : "r"(v) : "memory");
#endif
    return old;
}
#else
#error "conc.h: this compiler has neither __atomic builtins nor anything known in their place"
#endif

/* Everything from compare-and-swap: these compilers are served for reach, not for speed. */
#define CONC__ATOMICS(T, s)                                                                        \
    static CONC__UNUSED T conc__rmw_load##s(const T *a) {                                          \
        return conc__cmpxchg##s((T *)(uintptr_t)a, 0, 0);                                          \
    }                                                                                              \
    static CONC__UNUSED bool conc__rmw_cas##s(T *a, T *expected, T v) {                            \
        T was = conc__cmpxchg##s(a, *expected, v);                                                 \
        bool done = was == *expected;                                                              \
        *expected = was;                                                                           \
        return done;                                                                               \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_swap##s(T *a, T v) {                                           \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, v)) {                                                    \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_add##s(T *a, T v) {                                            \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, (T)(old + v))) {                                         \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_or##s(T *a, T v) {                                             \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, (T)(old | v))) {                                         \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_and##s(T *a, T v) {                                            \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, (T)(old & v))) {                                         \
        }                                                                                          \
        return old;                                                                                \
    }
CONC__ATOMICS(uint32_t, 32)
CONC__ATOMICS(size_t, z)
#undef CONC__ATOMICS

#define conc__load32(a, o) conc__rmw_load32(a)
#define conc__store32(a, v, o) ((void)conc__rmw_swap32((a), (v)))
#define conc__swap32(a, v, o) conc__rmw_swap32((a), (v))
#define conc__add32(a, v, o) conc__rmw_add32((a), (v))
#define conc__sub32(a, v, o) conc__rmw_add32((a), 0u - (uint32_t)(v))
#define conc__or32(a, v, o) conc__rmw_or32((a), (v))
#define conc__and32(a, v, o) conc__rmw_and32((a), (v))
#define conc__cas32(a, expected, v, o) conc__rmw_cas32((a), (expected), (v))
#define conc__loadz(a, o) conc__rmw_loadz(a)
#define conc__storez(a, v, o) ((void)conc__rmw_swapz((a), (v)))
#define conc__swapz(a, v, o) conc__rmw_swapz((a), (v))
#define conc__addz(a, v, o) conc__rmw_addz((a), (v))
#define conc__subz(a, v, o) conc__rmw_addz((a), (size_t)0 - (size_t)(v))
#define conc__orz(a, v, o) conc__rmw_orz((a), (v))
#define conc__casz(a, expected, v, o) conc__rmw_casz((a), (expected), (v))
#define conc__loadp(a, o) ((void *)conc__rmw_loadz((const size_t *)(const void *)(a)))
#define conc__storep(a, v, o) ((void)conc__rmw_swapz((size_t *)(void *)(a), (size_t)(v)))
#define conc__swapp(a, v, o) ((void *)conc__rmw_swapz((size_t *)(void *)(a), (size_t)(v)))
#define conc__casp(a, expected, v, o) conc__rmw_casz((size_t *)(void *)(a), (size_t *)(void *)(expected), (size_t)(v))
#define conc__peek32(a) conc__rmw_load32(a)
#define conc__peekp(a) conc__loadp((a), 0)
#define conc__peekz(a) conc__rmw_loadz(a)
#define conc__poke32(a, v) (*(volatile uint32_t *)(a) = (v)) /* aligned words are stored whole by all that these serve */
#define conc__pokez(a, v) (*(volatile size_t *)(a) = (v))
#define conc__pokep(a, v) (*(void *volatile *)(a) = (void *)(uintptr_t)(v))

#endif

/* ---- the opaque call (see the trap above) ------------------------------------------------------
 * Never taken, but no compiler can know: to it, every function that passes here may run any code. */
static CONC__UNUSED void (*volatile conc__opaque)(void);
#if defined(CONC__TEST_LEAFY) /* tests/codegen only: shows that the guard is needed */
#define CONC__OPAQUE() ((void)0)
#else
#define CONC__OPAQUE()                                                                             \
    do {                                                                                           \
        void (*conc__o)(void) = conc__opaque;                                                      \
        if (CONC__UNLIKELY(conc__o != NULL)) conc__o();                                            \
    } while (0)
#endif

/* ---- thread-local storage ----------------------------------------------------------------------
 * CONC__TLS before a static variable; where a compiler has none, core keeps its per-thread record under
 * the port's one key instead. */
#if CONC_CC_TINY || defined(CONC_SIM) /* a simulation's threads are all one to the compiler */
#define CONC__HAS_TLS 0
#elif CONC_CC_MSVC
#define CONC__HAS_TLS 1
#define CONC__TLS __declspec(thread)
#else
#define CONC__HAS_TLS 1
#define CONC__TLS __thread
#endif

/* One pointer a thread, with `destroy` called on it, if it is not NULL, when the thread ends (not when the
 * process does). `destroy` is the same function at every call in the process. It may set the pointer again,
 * and is then called again, a few times. */
CONC__LIB void *conc__port_key_get(void);
CONC__LIB bool conc__port_key_set(void *value, void (*destroy)(void *));

/* ---- time ------------------------------------------------------------------------------------- */

CONC__LIB int64_t conc__port_clock_ns(void); /* monotonic */

/* ---- wait on address --------------------------------------------------------------------------
 * wait: returns at once if *a != expected; otherwise blocks until a wake of `a`, the deadline (absolute, in
 * conc__port_clock_ns time, INT64_MAX is never), or for no reason. True: the deadline has passed. Look at *a
 * again whatever it says. A wake that comes after *a was changed is never lost. wake: only `a`'s value is
 * used, the memory is not touched: it may be gone. */
CONC__LIB bool conc__port_wait(uint32_t *a, uint32_t expected, int64_t deadline_ns);
CONC__LIB void conc__port_wake_one(uint32_t *a);
CONC__LIB void conc__port_wake_all(uint32_t *a);

/* A fence that all running threads of the process pass before it returns (membarrier,
 * FlushProcessWriteBuffers): with it one side of a Dekker pair can do without a fence. Costs microseconds and
 * an interrupt for other processors. `ready`: whether this system has it; the same answer always. */
CONC__LIB bool conc__port_heavy_fence_ready(void);
CONC__LIB void conc__port_heavy_fence(void);

/* ---- threads ----------------------------------------------------------------------------------- */

typedef struct conc__port_thread {
    void *handle[2];
    void (*fn)(void *);
    void *arg;
} conc__port_thread;

/* Starts fn(arg); `t` must live until it has ended. 0, or the system's error number. join and detach may be called
 * only after start has returned. */
CONC__LIB int conc__port_thread_start(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size);
/* Exactly one of them, once. join blocks until the system has let go of the thread's stack. */
CONC__LIB void conc__port_thread_join(conc__port_thread *t);
CONC__LIB void conc__port_thread_detach(conc__port_thread *t);
CONC__LIB void conc__port_thread_set_name(const char *name); /* of the calling thread */
CONC__LIB void conc__port_yield(void);
#define CONC__CACHE_LINE 64

/* How many looks a spin of up to `n` makes before its thread sleeps: in a simulation none. A spin is there for speed only;
 * its offers of the processor would hide just the schedules in which the sleep comes at a bad moment. */
#if defined(CONC_SIM)
#define CONC__LOOKS(n) (conc__sim_is_here() ? 0u : (unsigned)(n))
CONC__LIB bool conc__sim_is_here(void);
#else
#define CONC__LOOKS(n) ((unsigned)(n))
#endif

/* A hash of an address, of `bits` bits. In a simulation, where no address may decide anything, the number of the
 * object. */
#if defined(CONC_SIM)
#define CONC__BUCKET_BITS 7
#define conc__port_hash(address, bits) ((size_t)conc__sim_number(address) & (((size_t)1 << (bits)) - 1))
#else /* Fibonacci hashing (Knuth, TAOCP 3, 6.4): the product's high bits */
#define CONC__BUCKET_BITS 13
#define conc__port_hash(address, bits)                                                             \
    ((size_t)((uint64_t)((uintptr_t)(address) >> 2) * (uint64_t)0x9E3779B97F4A7C15u >> (64 - (bits))))
#endif

/* A hint to the processor that this is a spin loop. */
#if defined(CONC_SIM)
#define conc__port_pause() conc__port_yield()
#elif CONC_CC_GNU && (defined(__i386__) || defined(__x86_64__)) && !CONC_CC_TINY
#define conc__port_pause() __builtin_ia32_pause()
#elif (CONC_CC_GNU || CONC_CC_TINY) && (defined(__i386__) || defined(__x86_64__))
#define conc__port_pause() __asm__ __volatile__("pause")
#elif CONC_CC_GNU && (defined(__aarch64__) || (defined(__arm__) && defined(__ARM_ARCH) && __ARM_ARCH >= 7))
#define conc__port_pause() __asm__ __volatile__("yield")
#elif CONC_CC_MSVC && (defined(_M_IX86) || defined(_M_X64))
#define conc__port_pause() _mm_pause()
#elif CONC_CC_MSVC
#define conc__port_pause() __yield()
#else
#define conc__port_pause() ((void)0)
#endif

/* ---- the process and the machine ---------------------------------------------------------------- */

CONC__LIB unsigned conc__port_cpu_count(void);
/* `child` will be called in the child of every fork() to come, before fork() returns there. Where there is no
 * fork: nothing. 0, or the system's error number. */
CONC__LIB int conc__port_on_fork(void (*child)(void));
/* The system's words for its error number; returns `buffer`. */
CONC__LIB const char *conc__port_error_text(int error, char *buffer, size_t size);

/* ---- descriptors --------------------------------------------------------------------------------
 * What the system calls a file, a pipe or a socket: an int, on Windows a SOCKET (there, nothing but sockets); -1: none.
 * These functions return 0 or the system's error number, and leave errno and its like alone. What they make is closed in
 * a program that this process starts (close-on-exec), and does not block; no write to it raises SIGPIPE. */

#define CONC__PORT_READ 1u
#define CONC__PORT_WRITE 2u
#define CONC__PORT_HUP 4u /* told without being asked: an error, a hang-up, or the peer will send no more: look at both sides,
                             which stay as they are */
#define CONC__PORT_BAD 8u /* likewise: it is not an open descriptor */

#define CONC__PORT_ALWAYS_READY (-1) /* an answer: the poller takes no descriptors of this kind, such as files on disk */
#define CONC__PORT_IN_PROGRESS (-2)  /* an answer: connecting goes on, until the socket is writable */
CONC__LIB int conc__port_unsupported(void); /* the error number for "this system cannot do that" */

/* A signal: what ends the sleep of a thread in conc__port_poll(), which has fd[0] among its descriptors. raise: by any
 * thread, also one that handles a (POSIX) signal; several may become one. clear: takes them away; never blocks. */
typedef struct conc__port_signal {
    intptr_t fd[2]; /* to wait for reading of; private */
} conc__port_signal;
CONC__LIB int conc__port_signal_open(conc__port_signal *s);
CONC__LIB void conc__port_signal_close(conc__port_signal *s);
CONC__LIB void conc__port_signal_raise(conc__port_signal *s);
CONC__LIB void conc__port_signal_clear(conc__port_signal *s);

/* Sleeps until one of `n` (or 0) descriptors is ready, the deadline (as for conc__port_wait(); INT64_MIN: does not
 * sleep), or for no reason. Returns how many have something in `got`, all of which it sets; or 0; or -1 with the reason
 * in *error. An fd of -1 is passed over. */
typedef struct conc__port_pollfd {
    intptr_t fd;
    unsigned want, got;
} conc__port_pollfd;
CONC__LIB int conc__port_poll(conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error);
/* The same with the caller's memory, n * CONC__PORT_POLL_SCRATCH bytes, aligned for an int64_t: does not allocate. */
#define CONC__PORT_POLL_SCRATCH 16u
CONC__LIB int conc__port_poll_in(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error);

/* A poller: tells of many descriptors. One thread at a time waits; the other functions may be called by any thread, also
 * meanwhile.
 * add (with CONC__POLLER_EDGES only): tells of both sides each time they become ready, until the descriptor is closed;
 * to add it again makes it tell anew what is ready now. want: tells once of what is in `mask` (which replaces the mask
 * of an earlier call for this descriptor), then forgets it, as forget does. Not both for one descriptor. What is closed
 * is to be forgotten before.
 * wait: the events found, up to `max` (1 or more); *signaled: there was a signal, which is taken away with that. Neither:
 * at the deadline, or for no reason. signal: also before the wait, or by a signal handler; several may become one.
 * Whatever was done before it is seen by the wait that tells of it. */
#if CONC_OS_LINUX && !CONC_PORT_PORTABLE
#define CONC__POLLER_EPOLL 1
#else
#define CONC__POLLER_EPOLL 0
#endif
#if (CONC_OS_MACOS || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)) &&     \
    !CONC_PORT_PORTABLE
#define CONC__POLLER_KQUEUE 1
#else
#define CONC__POLLER_KQUEUE 0
#endif
#define CONC__POLLER_EDGES (CONC__POLLER_EPOLL || CONC__POLLER_KQUEUE)

typedef struct conc__port_event {
    intptr_t fd;
    unsigned got;
} conc__port_event;

typedef struct conc__port_poller {
    intptr_t fd;            /* of epoll or kqueue */
    uint32_t signaled;      /* atomic: 1: there was a signal since the last wait that told so */
    conc__port_signal wake; /* what ends a wait's sleep; not with kqueue, which has events of the user's */
#if !CONC__POLLER_EDGES
    uint32_t lock;             /* a conc__lock; guards the next four */
    uint32_t sleeping;         /* 1: the waiting thread has taken its copy and sleeps */
    size_t count, capacity;    /* `wanted` is a hash table with open addressing; capacity a power of two, or 0 */
    conc__port_pollfd *wanted; /* fd -1: free */
    size_t room;               /* the waiting thread's own: of `copy`, */
    conc__port_pollfd *copy;   /* with as many places of scratch behind it */
#endif
} conc__port_poller;

CONC__LIB int conc__port_poller_open(conc__port_poller *p);
CONC__LIB void conc__port_poller_close(conc__port_poller *p);
CONC__LIB int conc__port_poller_add(conc__port_poller *p, intptr_t fd);
CONC__LIB int conc__port_poller_want(conc__port_poller *p, intptr_t fd, unsigned mask);
CONC__LIB void conc__port_poller_forget(conc__port_poller *p, intptr_t fd);
CONC__LIB size_t conc__port_poller_wait(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                                        bool *signaled);
CONC__LIB void conc__port_poller_signal(conc__port_poller *p);

/* ---- sockets ---------------------------------------------------------------------------------------- */

/* An unconnected one, for `family` 4 or 6. */
CONC__LIB int conc__port_socket(unsigned family, bool stream, intptr_t *fd);
CONC__LIB void conc__port_socket_close(intptr_t fd);
CONC__LIB int conc__port_socket_bind(intptr_t fd, const conc_address *a);
CONC__LIB int conc__port_socket_listen(intptr_t fd, int backlog);
CONC__LIB int conc__port_socket_accept(intptr_t fd, intptr_t *conn, conc_address *peer);
/* Begins it: 0: connected, CONC__PORT_IN_PROGRESS, or an error. Then, once writable: */
CONC__LIB int conc__port_socket_connect(intptr_t fd, const conc_address *a);
CONC__LIB int conc__port_socket_connected(intptr_t fd); /* how it ended; takes the error away */
/* At most `size` bytes. receive: 0 bytes done is the end of the stream. */
CONC__LIB int conc__port_socket_send(intptr_t fd, const void *data, size_t size, size_t *done);
CONC__LIB int conc__port_socket_receive(intptr_t fd, void *buffer, size_t size, size_t *done);
/* A datagram; `to` NULL: to whom it is connected. `cut`: it was longer, and the rest is gone. */
CONC__LIB int conc__port_socket_send_to(intptr_t fd, const void *data, size_t size, const conc_address *to, size_t *done);
CONC__LIB int conc__port_socket_receive_from(intptr_t fd, void *buffer, size_t size, conc_address *from, size_t *done,
                                             bool *cut);
/* CONC__PORT_READ: nothing more is read; CONC__PORT_WRITE: nothing more will be written; or both. */
CONC__LIB int conc__port_socket_shutdown(intptr_t fd, unsigned sides);
/* Its own address or its peer's. */
CONC__LIB int conc__port_socket_name(intptr_t fd, bool peer, conc_address *a);

typedef enum conc__port_option {
    CONC__PORT_REUSE_ADDRESS, /* bind in spite of connections that are ending; where that is not always so */
    CONC__PORT_REUSE_PORT,    /* several sockets on one port */
    CONC__PORT_V6_ONLY,
    CONC__PORT_NO_DELAY,
    CONC__PORT_KEEP_ALIVE,
    CONC__PORT_BROADCAST,
    CONC__PORT_SEND_BUFFER,
    CONC__PORT_RECEIVE_BUFFER,
    CONC__PORT_OPTIONS
} conc__port_option;
CONC__LIB int conc__port_socket_option(intptr_t fd, conc__port_option option, int value);

/* What an error number of these functions is a case of. */
typedef enum conc__port_kind {
    CONC__PORT_OTHER,
    CONC__PORT_WOULD_BLOCK,
    CONC__PORT_TABLE_FULL, /* no more descriptors, in this process or on this machine */
    CONC__PORT_NO_BUFFERS, /* the system is short of memory */
    CONC__PORT_ABORTED,    /* accept: this connection is gone, or its network is: go on with the next */
    CONC__PORT_BROKEN      /* the connection was reset, or its other side is gone */
} conc__port_kind;
CONC__LIB conc__port_kind conc__port_kind_of(int error);
#define conc__port_would_block(error) (conc__port_kind_of(error) == CONC__PORT_WOULD_BLOCK)

/* Asks the system for the addresses of `host`, a name or numbers. Blocks, for as long
 * as it takes. *found: how many of them are in `list`. On failure `text` says why. */
typedef enum conc__port_found {
    CONC__PORT_FOUND,
    CONC__PORT_UNKNOWN_HOST,
    CONC__PORT_LOOKUP_MEMORY,
    CONC__PORT_LOOKUP_FAILED
} conc__port_found;
CONC__LIB conc__port_found conc__port_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                                             char *text, size_t size);

/* ---- processes ------------------------------------------------------------------------------------------
 * What they make is closed in programs that are started, but for what these are to have. 0 or the system's error number. */

#if CONC_OS_WINDOWS
#define CONC__PROCESS_FORKS 0
#define CONC__PROCESS_POLLED 0 /* its end is told by `ended` */
#else
#define CONC__PROCESS_FORKS 1
#define CONC__PROCESS_POLLED 1 /* its end makes the descriptor `end` readable */
#endif

typedef struct conc__port_process {
    long pid;
    intptr_t end;              /* POLLED: readable from the end on; */
    bool early;                /* and perhaps earlier, as it is no more than a pipe that the process has closed; or -1 */
    void *handle[2];           /* not POLLED; as are the next two, which are set before it is started: */
    void (*ended)(void *arg);  /* called once, in any thread, when it has ended, or shortly before close() returns */
    void *arg;
} conc__port_process;

typedef struct conc__port_ending {
    bool known;    /* else nobody knows how it ended: others have taken its status */
    bool signaled; /* by the signal `code`; else `code` is its exit code */
    int code;
} conc__port_ending;

#if CONC__PROCESS_FORKS
/* `*child`: whether this is the child, where `keep` is a descriptor that is to stay open until its end, or -1. */
CONC__LIB int conc__port_process_fork(conc__port_process *p, bool *child, intptr_t *keep);
#endif
/* Starts this program anew (`program` is how it was called), with three arguments: these two, and the number of a descriptor that is
 * to stay open there until its end, or -1; and with the `n` descriptors (or -1) at `inherit`, which have the same numbers there. A
 * `socket` (or -1) goes over by what is written to `passed`, CONC__PORT_PASSED bytes, before the program begins there: it opens it by
 * conc__port_socket_passed(). */
#define CONC__PORT_PASSED 640
CONC__LIB int conc__port_process_spawn(conc__port_process *p, const char *program, const char *option, const char *argument,
                                       const intptr_t *inherit, size_t n, intptr_t socket, void *passed);
CONC__LIB int conc__port_socket_passed(const void *passed, intptr_t *fd);
/* There: from now on it is closed in other programs. */
CONC__LIB void conc__port_inherited(intptr_t fd);
/* Whether it has ended; asked until it has, and never again. Does not block. */
CONC__LIB bool conc__port_process_reap(conc__port_process *p, conc__port_ending *ending);
/* Not once it has been reaped. */
CONC__LIB int conc__port_process_signal(conc__port_process *p, bool kill);
CONC__LIB void conc__port_process_close(conc__port_process *p);
CONC__LIB long conc__port_pid(void);
/* Ends this process without anything that exit() does. */
CONC__LIB void conc__port_exit(int code) CONC__NORETURN;
CONC__LIB const char *conc__port_signal_name(int number); /* "SIGSEGV", or NULL */
/* In a process of ours: Ctrl-C is not for it. */
CONC__LIB void conc__port_ignore_interrupt(void);
/* From now on this process gets no more than `more` bytes of memory beside what it has. Where this is not possible it is
 * conc__port_unsupported(). */
#if CONC_OS_LINUX || CONC_OS_WINDOWS
#define CONC__PROCESS_LIMITS 1
#else
#define CONC__PROCESS_LIMITS 0
#endif
CONC__LIB int conc__port_limit_memory(uint64_t more);

/* A lifeline: children of the process that holds life[1] watch life[0], and die with it, whatever they do. */
CONC__LIB int conc__port_life_open(intptr_t life[2]);
CONC__LIB int conc__port_life_watch(intptr_t life);
CONC__LIB void conc__port_life_close(intptr_t fd);

/* Memory that processes share, zero at first; `fd`: by which a spawned process opens it, or -1. */
typedef struct conc__port_block {
    void *data;
    size_t size;
    intptr_t fd;
} conc__port_block;
CONC__LIB int conc__port_block_new(conc__port_block *b, size_t size, bool spawns);
CONC__LIB int conc__port_block_open(conc__port_block *b, intptr_t fd, size_t size);
CONC__LIB void conc__port_block_free(conc__port_block *b);

#if CONC_OS_WINDOWS
CONC__LIB int conc__port_socket_pass(intptr_t fd, long pid, void *passed);
#endif
/* Two sockets that are connected with each other. */
CONC__LIB int conc__port_socket_pair(intptr_t fd[2]);

/* ---- files, for downloads ----------------------------------------------------------------------------------
 * Paths are as the C library takes them (on Windows: UTF-8). 0 or the system's error number; errno and its like stay. */
#if defined(CONC_WITH_CURL)
typedef enum conc__port_file_kind { /* what an error number of these functions is a case of */
    CONC__FILE_OTHER,
    CONC__FILE_MISSING,
    CONC__FILE_FOREIGN,  /* what is there is another's, or no plain file */
    CONC__FILE_IN_USE,   /* another one, perhaps of another process, has it */
    CONC__FILE_DISK_FULL /* or a quota */
} conc__port_file_kind;
CONC__LIB conc__port_file_kind conc__port_file_kind_of(int error);

/* A file that is being written: for reading and writing, locked against all others that open one so; its owner alone may read it. */
typedef struct conc__port_part {
    intptr_t fd;   /* -1: none */
    bool is_new;   /* else it was there before */
    uint64_t size; /* when it was opened */
    uint64_t id;   /* the file's own number, which a later file of that name hardly has */
} conc__port_part;
/* Opens the plain file at `path`, or makes it. Follows no link, at least not at its last part. What is there and is not a plain file of this
 * user's is an error. */
CONC__LIB int conc__port_part_open(const char *path, conc__port_part *part);
CONC__LIB void conc__port_part_close(conc__port_part *part);
CONC__LIB bool conc__port_part_is_at(const conc__port_part *part, const char *path); /* false: that name is another file's now */
CONC__LIB int conc__port_part_write(const conc__port_part *part, const void *data, size_t size, uint64_t offset); /* all of it */
CONC__LIB int conc__port_part_truncate(const conc__port_part *part, uint64_t size);
/* How many bytes the part has of its disk, and how many more are there for it; UINT64_MAX: nobody knows. `path`: its own. */
CONC__LIB void conc__port_part_room(const conc__port_part *part, const char *path, uint64_t *held, uint64_t *free);
/* Has the system keep room for a length; what is no error where it cannot. The size stays. */
CONC__LIB int conc__port_part_reserve(const conc__port_part *part, uint64_t size);
CONC__LIB int conc__port_part_sync(const conc__port_part *part);
/* Gives it its permissions (0: it keeps its own) and its name in place of what was there, and closes it. On failure it is as before,
 * and open, but on Windows. */
CONC__LIB int conc__port_part_publish(conc__port_part *part, const char *path, const char *target, unsigned mode);
/* The directory that a path stands in is brought to the disk. */
CONC__LIB int conc__port_directory_sync(const char *path);

/* Not: a link to one, which a file can be put in place of. On Windows that cannot be, and it is one. */
CONC__LIB bool conc__port_is_directory(const char *path);
CONC__LIB int conc__port_file_remove(const char *path);
/* For reading; a plain file. `fd` is closed by conc__port_file_close(). */
CONC__LIB int conc__port_file_open(const char *path, intptr_t *fd, uint64_t *size);
/* Likewise a note. Follows no link; what is not this user's alone is FOREIGN. */
CONC__LIB int conc__port_note_open(const char *path, intptr_t *fd, uint64_t *size);
CONC__LIB int conc__port_file_read(intptr_t fd, void *buffer, size_t size, uint64_t offset, size_t *done); /* 0 done: its end */
CONC__LIB void conc__port_file_close(intptr_t fd);
/* A short text, readable by its owner alone, over what was there, or in its place if that is no note: see above. */
CONC__LIB int conc__port_note_write(const char *path, const char *text, size_t size);
CONC__LIB unsigned conc__port_umask(void);
/* The terminal at stderr; false: it is none. */
CONC__LIB bool conc__port_terminal(unsigned *columns, unsigned *rows);
#endif

/* ---- faults -----------------------------------------------------------------------------------------
 * Every call that can fail asks first, by CONC__FAULT("what is called", ERROR, ...): 0, or the one of these errors that it
 * is to fail with. In builds without CONC_FAULTS, all but those of some tests, that is the constant 0. What cannot
 * fail with the arguments it is given, or whose failure makes no difference, does not ask. CONC__FAULT_ONCE: a sticky
 * plan does not go on with it, as what it stands for can be borne by one thread at a time. CONC__FAULT_PARTLY: about
 * every other time, as a poller that is always interrupted never sees anything. */
#if defined(CONC_FAULTS)
#include <errno.h>
CONC__LIB int conc__fault(const char *text, const char *site, ...);
#define CONC__FAULT(...) conc__fault(#__VA_ARGS__, __VA_ARGS__, 0)
#define CONC__FAULT_ONCE(...) conc__fault("once " #__VA_ARGS__, __VA_ARGS__, 0)
#define CONC__FAULT_PARTLY(...) conc__fault("partly " #__VA_ARGS__, __VA_ARGS__, 0)
/* From now on the nth time that a site is passed (0: none) it fails, and if `sticky` each one after it, with the error
 * number `which` of its list (counted round). */
CONC__LIB void conc__fault_plan(uint32_t nth, uint32_t which, bool sticky);
/* Of which only those of that name count; NULL: all, as at first. */
CONC__LIB void conc__fault_only(const char *site);
/* How many sites have been passed since. */
CONC__LIB uint32_t conc__fault_passed(void);
/* The i-th kind of fault that was made, by the names of its site and its error; false: there were not so many (or that
 * many are not kept). */
CONC__LIB bool conc__fault_made(uint32_t i, const char **site, char *error, size_t size);
#else
#define CONC__FAULT(...) 0
#define CONC__FAULT_ONCE(...) 0
#define CONC__FAULT_PARTLY(...) 0
#endif

/* ---- the real port beside the simulated one -------------------------------------------------------
 * CONC__PORT(name) is what port_posix.c and port_win32.c call their functions: conc__port_name; or, where port_sim.c
 * stands before them, conc__real_name. (What works on sockets has no simulated side: in a simulation none can be made.) */
#if defined(CONC_SIM)
#define CONC__PORT(name) conc__real_##name
CONC__LIB void *conc__real_key_get(void);
CONC__LIB bool conc__real_key_set(void *value, void (*destroy)(void *));
CONC__LIB int64_t conc__real_clock_ns(void);
CONC__LIB bool conc__real_wait(uint32_t *a, uint32_t expected, int64_t deadline_ns);
CONC__LIB void conc__real_wake_one(uint32_t *a);
CONC__LIB void conc__real_wake_all(uint32_t *a);
CONC__LIB bool conc__real_heavy_fence_ready(void);
CONC__LIB void conc__real_heavy_fence(void);
CONC__LIB int conc__real_thread_start(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size);
CONC__LIB void conc__real_thread_join(conc__port_thread *t);
CONC__LIB void conc__real_thread_detach(conc__port_thread *t);
CONC__LIB void conc__real_thread_set_name(const char *name);
CONC__LIB void conc__real_yield(void);
CONC__LIB unsigned conc__real_cpu_count(void);
CONC__LIB int conc__real_on_fork(void (*child)(void));
CONC__LIB const char *conc__real_error_text(int error, char *buffer, size_t size);
CONC__LIB int conc__real_signal_open(conc__port_signal *s);
CONC__LIB void conc__real_signal_close(conc__port_signal *s);
CONC__LIB void conc__real_signal_raise(conc__port_signal *s);
CONC__LIB void conc__real_signal_clear(conc__port_signal *s);
CONC__LIB int conc__real_poll_in(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error);
CONC__LIB int conc__real_poller_open(conc__port_poller *p);
CONC__LIB void conc__real_poller_close(conc__port_poller *p);
CONC__LIB int conc__real_poller_add(conc__port_poller *p, intptr_t fd);
CONC__LIB int conc__real_poller_want(conc__port_poller *p, intptr_t fd, unsigned mask);
CONC__LIB void conc__real_poller_forget(conc__port_poller *p, intptr_t fd);
CONC__LIB size_t conc__real_poller_wait(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                                        bool *signaled);
CONC__LIB void conc__real_poller_signal(conc__port_poller *p);
CONC__LIB int conc__real_socket(unsigned family, bool stream, intptr_t *fd);
CONC__LIB conc__port_found conc__real_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                                             char *text, size_t size);
#else
#define CONC__PORT(name) conc__port_##name
#endif

#endif
