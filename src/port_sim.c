/* ============================================================================================
 * port_sim: the simulated machine; see port_sim.h for what it is and sim.h for what it is good for.
 *
 * In this order: fibers, the world, choices, the scheduler, memory orders, memory, and then the port's functions as
 * the other modules call them, each of which is the real one's when the thread is not in a simulation.
 *
 * Nothing here is atomic and nothing is locked: one thread runs it. Where the thread sanitizer looks on, it is told
 * to look away in here, so that it sees the simulated program only.
 * ========================================================================================== */

#include "internal.h"
#include "port_sim.h"

#if defined(CONC_SIM)

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what looks on ------------------------------------------------------------------------------ */

#if defined(__SANITIZE_THREAD__)
#define CONC__SIM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONC__SIM_TSAN 1
#endif
#endif
#if !defined(CONC__SIM_TSAN)
#define CONC__SIM_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CONC__SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONC__SIM_ASAN 1
#endif
#endif
#if !defined(CONC__SIM_ASAN)
#define CONC__SIM_ASAN 0
#endif

#if defined(__cplusplus)
extern "C" {
#endif
#if CONC__SIM_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void AnnotateHappensBefore(const char *file, int line, void *address);
void AnnotateHappensAfter(const char *file, int line, void *address);
#endif
#if CONC__SIM_ASAN
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old, size_t *size_old);
void __asan_unpoison_memory_region(void const volatile *address, size_t size);
void __asan_poison_memory_region(void const volatile *address, size_t size);
#endif
#if defined(__cplusplus)
}
#endif

/* ---- contexts -----------------------------------------------------------------------------------
 * Own switches where they are known: the stack pointer and the registers that a call keeps; all others are declared
 * as overwritten. Elsewhere the system's, which are slower. */

#if CONC_OS_WINDOWS
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#define CONC__SIM_SWITCH_ASM 0
typedef void *conc__sim_context;
#elif defined(__x86_64__) && !defined(__ILP32__)
#define CONC__SIM_SWITCH_ASM 1
typedef void *conc__sim_context;
static CONC__NOINLINE void conc__sim_switch_to(void **from, void *to) {
    __asm__ __volatile__("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                         "pushq %%rbp\n\t"
                         "pushq %%rbx\n\t"
                         "leaq 1f(%%rip), %%rax\n\t"
                         "pushq %%rax\n\t"
                         "movq %%rsp, (%0)\n\t"
                         "movq %1, %%rsp\n\t"
                         "popq %%rax\n\t"
                         "jmpq *%%rax\n"
                         "1:\n\t"
                         "popq %%rbx\n\t"
                         "popq %%rbp\n\t"
                         "leaq 128(%%rsp), %%rsp"
                         : "+D"(from), "+S"(to)
                         :
                         : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}
#elif defined(__aarch64__)
#define CONC__SIM_SWITCH_ASM 1
typedef void *conc__sim_context;
static CONC__NOINLINE void conc__sim_switch_to(void **from, void *to) {
    __asm__ __volatile__("sub sp, sp, #32\n\t"
                         "stp x29, x19, [sp]\n\t"
                         "adr x9, 1f\n\t"
                         "str x9, [sp, #16]\n\t"
                         "mov x9, sp\n\t"
                         "str x9, [%0]\n\t"
                         "mov sp, %1\n\t"
                         "ldr x9, [sp, #16]\n\t"
                         "br x9\n"
                         "1:\n\t"
                         "ldp x29, x19, [sp]\n\t"
                         "add sp, sp, #32"
                         : "+r"(from), "+r"(to)
                         :
                         : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                           "x17", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v8", "v9", "v10",
                           "v11", "v12", "v13", "v14", "v15", "memory", "cc");
}
#else
#define CONC__SIM_SWITCH_ASM 0
#include <ucontext.h>
typedef ucontext_t conc__sim_context;
#endif

#if CONC__SIM_SWITCH_ASM
/* Through a pointer, so that no compiler concludes from the body which registers of the caller survive. */
static void (*volatile conc__sim_switch_through)(void **, void *) = conc__sim_switch_to;
#endif

#define CONC__SIM_STACK ((size_t)256 << 10)
#define CONC__SIM_CANARY ((uint64_t)0x5ca1ab1e0ddba11u)

/* ---- the world --------------------------------------------------------------------------------- */

enum { CONC__SIM_READY, CONC__SIM_ASLEEP, CONC__SIM_JOINS, CONC__SIM_DONE };

/* What a store carries to those who acquire it: which stores its thread had seen, per location, and its clock. */
typedef struct conc__sim_view {
    uint32_t count;                       /* of `seen` */
    uint32_t clock[CONC__SIM_FIBERS];
    uint32_t seen[1];                     /* grows */
} conc__sim_view;

typedef struct conc__sim_fiber_state {
    conc__sim_context context;
    unsigned char *stack;        /* kept from schedule to schedule */
    conc__sim_view *view;        /* likewise: which stores this fiber has to have seen, and its vector clock */
    int state;
    bool expired;                /* its sleep ended by the deadline */
    const uint32_t *sleeps_on;
    int64_t due;
    int priority;                /* PCT */
    unsigned joins;              /* the fiber it waits for */
    void *key;
    void (*fn)(void *);
    void *arg;
    int saved_errno;
    char name[32];
    const char *file, *call;     /* the user's place */
    int line;
#if CONC__SIM_TSAN
    void *tsan;
    int hidden; /* how deep in conc__sim_hide() */
#endif
#if CONC__SIM_ASAN
    void *fake_stack;
#endif
} conc__sim_fiber_state;

#define CONC__SIM_LOCATIONS 1024 /* atomic words with a history; a power of two */
#define CONC__SIM_HISTORY 8
typedef struct conc__sim_store_record {
    uint64_t value;
    const conc__sim_view *view; /* NULL: it publishes nothing */
} conc__sim_store_record;
typedef struct conc__sim_location {
    uint32_t latest;     /* stores are numbered from 0 */
    uint32_t oldest;     /* that a load may still see */
    uint32_t latest_sc;  /* the latest sequentially consistent one */
    conc__sim_store_record stores[CONC__SIM_HISTORY];
} conc__sim_location;

#define CONC__SIM_MARKS 256 /* places of marked data; a power of two */
typedef struct conc__sim_mark {
    const void *address;
    uint32_t epoch;                              /* schedule */
    uint32_t write_clock, read_clock[CONC__SIM_FIBERS];
    uint8_t writer;
    const char *write_file, *read_file[CONC__SIM_FIBERS];
    int write_line, read_line[CONC__SIM_FIBERS];
} conc__sim_mark;

/* From address to number; entries of earlier schedules are as good as empty. */
#define CONC__SIM_NUMBERS 4096
typedef struct conc__sim_numbered {
    uintptr_t address;
    uint32_t epoch, number;
} conc__sim_numbered;

#define CONC__SIM_CHOICES 65536
typedef struct conc__sim_choice {
    uint8_t taken, of;
} conc__sim_choice;

#define CONC__SIM_ARENA ((size_t)8 << 20)
#define CONC__SIM_VIEWS ((size_t)24 << 20)
#define CONC__SIM_EVENTS 20000

typedef struct conc__sim_block {
    size_t size;
    const char *file, *call;
    int line;
    bool live;
} conc__sim_block;
#define CONC__SIM_BLOCK ((sizeof(conc__sim_block) + 15u) & ~(size_t)15u)

static struct conc__sim_world {
    conc__sim_plan plan;
    conc__sim_outcome *outcome;
    conc__sim_context host;
    uint64_t random;
    uint32_t epoch;              /* number of the schedule: marks what is of this one */
    int64_t now;
    unsigned current, count;     /* fibers */
    uint32_t ready, yielded, asleep, timed; /* sets of fibers; timed: those asleep with a deadline */
    uint32_t switch_below;       /* random: switch when a 32-bit number is below it */
    bool early, heavy;
    int lowest;                  /* PCT */
    uint32_t change[8];          /* PCT: the points at which a priority falls; ascending */
    unsigned change_count, change_next;
    unsigned preemptions_left;   /* depth first */
    size_t depth, choice_count;  /* of choices: made in this schedule; known from earlier ones */
    bool replaying;              /* beyond the known choices each is 0, and none is counted as preemption */
    conc__sim_choice *choices;
    conc__sim_numbered *numbers;
    uint32_t number_count, number_mask;
    conc__sim_location *locations;
    conc__sim_numbered *located;
    uint32_t location_count;
    conc__sim_mark *marks;
    unsigned char *arena, *views;
    size_t arena_used, views_used;
    uint8_t *freed;              /* of each 16 bytes of the arena: freed */
    conc__sim_event *events;
    size_t event_count;
    void (*key_destroy)(void *);
    conc__sim_fiber_state fibers[CONC__SIM_FIBERS];
#if CONC__SIM_TSAN
    void *host_tsan;
#endif
#if CONC__SIM_ASAN
    void *host_fake;
    const void *host_bottom;
    size_t host_size;
#endif
} conc__sim;

static __thread bool conc__sim_here; /* this thread is in a simulation: what runs is a fiber */

/* Around everything that is the simulator's own work. */
static void conc__sim_hide(void) {
#if CONC__SIM_TSAN
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    if (conc__sim_here) conc__sim.fibers[conc__sim.current].hidden++;
#endif
}

static void conc__sim_show(void) {
#if CONC__SIM_TSAN
    if (conc__sim_here) conc__sim.fibers[conc__sim.current].hidden--;
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

bool conc__sim_is_here(void) {
    return conc__sim_here;
}

static conc__sim_fiber_state *conc__sim_me(void) {
    return &conc__sim.fibers[conc__sim.current];
}

static void conc__sim_event_add(conc__sim_event_kind kind, unsigned other, const char *text, const void *object,
                                uint64_t before, uint64_t after) {
    const conc__sim_fiber_state *me = conc__sim_me();
    conc__sim_event *e;
    if (!conc__sim.plan.trace || conc__sim.event_count == CONC__SIM_EVENTS) return;
    e = &conc__sim.events[conc__sim.event_count++];
    e->point = conc__sim.outcome->points;
    e->kind = (uint8_t)kind;
    e->fiber = (uint8_t)conc__sim.current;
    e->other = (uint8_t)other;
    e->file = me->file;
    e->line = me->line;
    e->text = text;
    e->object = object;
    e->before = before;
    e->after = after;
}

size_t conc__sim_events(const conc__sim_event **events) {
    *events = conc__sim.events;
    return conc__sim.event_count;
}

bool conc__sim_fiber(unsigned i, conc__sim_who *who) {
    const conc__sim_fiber_state *f = &conc__sim.fibers[i];
    if (i >= conc__sim.count) return false;
    who->name = f->name;
    who->file = f->file;
    who->line = f->line;
    who->call = f->call;
    who->done = f->state == CONC__SIM_DONE;
    who->agent = f->key;
    return true;
}

/* ---- from fiber to fiber --------------------------------------------------------------------------- */

static void conc__sim_fiber_main(void);

#if CONC_OS_WINDOWS
static VOID CALLBACK conc__sim_fiber_entry(void *unused) {
    (void)unused;
    conc__sim_fiber_main();
}
#else
static void conc__sim_fiber_entry(void) {
    conc__sim_fiber_main();
}
#endif

/* Makes fiber `i`, whose stack is there, ready to be switched to for the first time. */
static bool conc__sim_context_make(unsigned i) {
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
#if CONC_OS_WINDOWS
    if (f->context != NULL) DeleteFiber(f->context);
    f->context = CreateFiberEx(0, CONC__SIM_STACK, 0, conc__sim_fiber_entry, NULL);
    if (f->context == NULL) return false;
#elif CONC__SIM_SWITCH_ASM
    void **top = (void **)(void *)(f->stack + CONC__SIM_STACK);
    void (*entry)(void) = conc__sim_fiber_entry;
#if defined(__x86_64__)
    top -= 8; /* a multiple of 16: after the jump the stack is as after a call */
    memcpy(top, &entry, sizeof entry);
#else
    top -= 4;
    memcpy(top + 2, &entry, sizeof entry);
#endif
    f->context = top;
#else
    if (getcontext(&f->context) != 0) return false;
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = CONC__SIM_STACK;
    f->context.uc_link = NULL;
    makecontext(&f->context, conc__sim_fiber_entry, 0);
#endif
#if CONC__SIM_ASAN
    __asan_unpoison_memory_region(f->stack, CONC__SIM_STACK); /* what an abandoned fiber left */
    f->fake_stack = NULL;
#endif
#if CONC__SIM_TSAN
    f->hidden = 0;
    f->tsan = __tsan_create_fiber(0); /* begins with what its maker has seen */
#endif
    return true;
}

static void conc__sim_context_switch(conc__sim_context *from, conc__sim_context *to) {
#if CONC_OS_WINDOWS
    (void)from;
    SwitchToFiber(*to);
#elif CONC__SIM_SWITCH_ASM
    conc__sim_switch_through(from, *to);
#else
    (void)swapcontext(from, to);
#endif
}

/* On with fiber `i`. The calling fiber goes on when somebody calls this with its number. */
static void conc__sim_go(unsigned i) {
    conc__sim_fiber_state *from = conc__sim_me(), *to = &conc__sim.fibers[i];
    if (from == to) return;
    from->saved_errno = errno;
    conc__sim.current = i;
#if CONC__SIM_ASAN
    __sanitizer_start_switch_fiber(from->state == CONC__SIM_DONE ? NULL : &from->fake_stack, to->stack,
                                   CONC__SIM_STACK);
#endif
#if CONC__SIM_TSAN
    __tsan_switch_to_fiber(to->tsan, 1); /* 1: which is no synchronisation */
#endif
    conc__sim_context_switch(&from->context, &to->context);
#if CONC__SIM_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
    errno = from->saved_errno;
}

/* Out of the simulation, for good. */
static CONC__NORETURN void conc__sim_leave(void) {
    conc__sim_fiber_state *from = conc__sim_me();
    conc__sim_here = false;
#if CONC__SIM_ASAN
    __sanitizer_start_switch_fiber(NULL, conc__sim.host_bottom, conc__sim.host_size);
#endif
#if CONC__SIM_TSAN
    __tsan_switch_to_fiber(conc__sim.host_tsan, 0);
#endif
    conc__sim_context_switch(&from->context, &conc__sim.host);
    abort(); /* nobody comes back to it */
}

static CONC__NORETURN void conc__sim_stopv(conc_sim_verdict, const char *, va_list) CONC__PRINTF(2, 0);
static void conc__sim_stopv(conc_sim_verdict verdict, const char *format, va_list args) {
    conc__sim_outcome *o = conc__sim.outcome;
    o->verdict = verdict;
    (void)vsnprintf(o->text, sizeof o->text, format, args);
    conc__sim_leave();
}

void conc__sim_stop(conc_sim_verdict verdict, const char *format, ...) {
    va_list args;
    if (!conc__sim_here) return;
    conc__sim_hide();
    va_start(args, format);
    conc__sim_stopv(verdict, format, args);
}

/* ---- choices ------------------------------------------------------------------------------------------ */

static uint64_t conc__sim_mix(uint64_t x) { /* splitmix64's finalizer */
    x ^= x >> 30;
    x *= (uint64_t)0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= (uint64_t)0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint32_t conc__sim_random(void) { /* xorshift64* */
    uint64_t x = conc__sim.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    conc__sim.random = x;
    return (uint32_t)(x * (uint64_t)0x2545f4914f6cdd1du >> 32);
}

static uint32_t conc__sim_below(uint32_t n) {
    return (uint32_t)((uint64_t)conc__sim_random() * n >> 32);
}

/* One of n, by the strategy; depth first comes back for the others. */
static unsigned conc__sim_pick_one(unsigned n) {
    conc__sim_choice *c;
    if (n < 2) return 0;
    if (conc__sim.plan.strategy != CONC__SIM_DEPTH) return conc__sim_below(n);
    if (conc__sim.depth == CONC__SIM_CHOICES || n > 255) {
        conc__sim_stop(CONC_SIM_LIMIT, "more than %d choices in one schedule", CONC__SIM_CHOICES);
    }
    c = &conc__sim.choices[conc__sim.depth++];
    if (conc__sim.depth > conc__sim.choice_count) {
        conc__sim.choice_count = conc__sim.depth;
        c->taken = 0;
        c->of = (uint8_t)n;
    } else if (c->of == 0 && c->taken < n) {
        c->of = (uint8_t)n; /* a replay, which does not know */
    } else if (c->of != n) {
        conc__sim_stop(CONC_SIM_UNSTABLE, "the function does not do the same each time: at choice %u there were %u "
                                          "possibilities before, and now %u",
                       (unsigned)conc__sim.depth, (unsigned)c->of, n);
    }
    return c->taken;
}

unsigned conc__sim_choose(unsigned n) {
    unsigned i;
    if (!conc__sim_here) return 0;
    conc__sim_hide();
    i = conc__sim_pick_one(n);
    conc__sim_show();
    return i;
}

void conc__sim_depth_begin(void) {
    conc__sim.choice_count = 0;
}

bool conc__sim_depth_next(void) {
    size_t n = conc__sim.depth; /* what lies beyond was not reached this time, and is not known for the next */
    while (n > 0 && conc__sim.choices[n - 1].taken + 1u == conc__sim.choices[n - 1].of) n--;
    conc__sim.choice_count = n;
    if (n == 0) return false;
    conc__sim.choices[n - 1].taken++;
    return true;
}

bool conc__sim_depth_choices(char *text, size_t size) {
    size_t i, length = 0;
    text[0] = '\0';
    for (i = 0; i < conc__sim.depth; i++) {
        if (conc__sim.choices[i].taken == 0) continue;
        if (length + 16 > size) return false;
        length += (size_t)snprintf(text + length, size - length, "%s%u.%u", length != 0 ? "," : "", (unsigned)i,
                                   (unsigned)conc__sim.choices[i].taken);
    }
    if (length == 0) (void)snprintf(text, size, "0.0");
    return true;
}

bool conc__sim_depth_replay(const char *text) {
    size_t count = 0;
    if (conc__sim.choices == NULL) return false;
    memset(conc__sim.choices, 0, CONC__SIM_CHOICES * sizeof *conc__sim.choices);
    while (*text != '\0') {
        char *end;
        unsigned long place = strtoul(text, &end, 10), taken;
        if (end == text || *end != '.' || place >= CONC__SIM_CHOICES) return false;
        text = end + 1;
        taken = strtoul(text, &end, 10);
        if (end == text || (*end != ',' && *end != '\0') || taken > 255) return false;
        conc__sim.choices[place].taken = (uint8_t)taken;
        if (place + 1 > count) count = place + 1;
        text = *end == ',' ? end + 1 : end;
    }
    conc__sim.choice_count = count;
    return true;
}

/* ---- sets of fibers ------------------------------------------------------------------------------------- */

static unsigned conc__sim_size(uint32_t set) {
    return (unsigned)__builtin_popcount(set);
}

static unsigned conc__sim_member(uint32_t set, unsigned n) { /* the n-th */
    while (n-- > 0) set &= set - 1;
    return (unsigned)__builtin_ctz(set);
}

/* ---- the scheduler ---------------------------------------------------------------------------------------- */

static void conc__sim_awake(unsigned i, bool expired) {
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
    f->state = CONC__SIM_READY;
    f->expired = expired;
    conc__sim.ready |= 1u << i;
    conc__sim.asleep &= ~(1u << i);
    conc__sim.timed &= ~(1u << i);
}

/* The deadline of sleeper `i` passes: now, whatever the others do. */
static void conc__sim_expire(unsigned i) {
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
    if (conc__sim.now < f->due) conc__sim.now = f->due;
    conc__sim_event_add(CONC__SIM_EXPIRE, i, NULL, NULL, 0, 0);
    conc__sim_awake(i, true);
}

const char *conc__sim_base(const char *file) {
    const char *slash = strrchr(file, '/');
    return slash != NULL ? slash + 1 : file;
}

static void conc__sim_deadlocked(void) {
    char text[CONC__SIM_TEXT - 64];
    size_t length = 0;
    unsigned i;
    text[0] = '\0';
    for (i = 0; i < conc__sim.count; i++) {
        const conc__sim_fiber_state *f = &conc__sim.fibers[i];
        if (f->state == CONC__SIM_DONE || length + 100 > sizeof text) continue;
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length != 0 ? ", " : "", f->name);
        if (f->file != NULL) {
            length += (size_t)snprintf(text + length, sizeof text - length, " at %.60s:%d", conc__sim_base(f->file), f->line);
        }
        if (length >= sizeof text) length = sizeof text - 1;
    }
    conc__sim_stop(CONC_SIM_DEADLOCK, "nobody can go on: %s", text);
}

static unsigned conc__sim_highest(uint32_t set) {
    unsigned best = (unsigned)__builtin_ctz(set);
    for (set &= set - 1; set != 0; set &= set - 1) {
        unsigned i = (unsigned)__builtin_ctz(set);
        if (conc__sim.fibers[i].priority > conc__sim.fibers[best].priority) best = i;
    }
    return best;
}

/* Who goes on. */
static unsigned conc__sim_next(void) {
    uint32_t can, me = 1u << conc__sim.current;
    uint32_t r = 0;
    if (conc__sim.plan.strategy != CONC__SIM_DEPTH) {
        r = conc__sim_random();
        if (conc__sim.early && (r & 31u) == 0 && conc__sim.fibers[0].state != CONC__SIM_DONE) {
            if ((r & 32u) != 0 && conc__sim.timed != 0) {
                uint32_t set = conc__sim.timed;
                conc__sim_expire(conc__sim_member(set, conc__sim_below(conc__sim_size(set))));
            } else if ((r & 192u) == 0 && conc__sim.asleep != 0) {
                unsigned i = conc__sim_member(conc__sim.asleep, conc__sim_below(conc__sim_size(conc__sim.asleep)));
                conc__sim_event_add(CONC__SIM_SPURIOUS, i, NULL, NULL, 0, 0);
                conc__sim_awake(i, false);
            }
        }
    }
    if (conc__sim.fibers[0].state == CONC__SIM_DONE && conc__sim.ready == 0) conc__sim_leave(); /* what is left, is left */
    while (conc__sim.ready == 0) {
        /* Nobody: then it is the clock's turn. Any deadline may be the next to be noticed. */
        uint32_t set = conc__sim.timed;
        if (set == 0) conc__sim_deadlocked();
        conc__sim_expire(conc__sim_member(set, conc__sim_pick_one(conc__sim_size(set))));
    }
    can = conc__sim.ready & ~conc__sim.yielded;
    if (can == 0) { /* all have offered: the offers are used up */
        conc__sim.yielded = 0;
        can = conc__sim.ready;
        if ((conc__sim.ready & ~me) != 0) can &= ~me;
    }
    switch (conc__sim.plan.strategy) {
    case CONC__SIM_RANDOM:
        if ((can & me) != 0 && (r ^ r << 13) >= conc__sim.switch_below) return conc__sim.current;
        return conc__sim_member(can, conc__sim_below(conc__sim_size(can)));
    case CONC__SIM_PCT:
        if (conc__sim.change_next < conc__sim.change_count &&
            conc__sim.outcome->points >= conc__sim.change[conc__sim.change_next]) {
            conc__sim_me()->priority = --conc__sim.lowest;
            conc__sim.change_next++;
        }
        return conc__sim_highest(can);
    default: break;
    }
    /* Depth first. To leave one that could go on is a preemption; so is a deadline that need not pass yet. */
    if ((can & me) != 0) {
        uint32_t others = conc__sim.ready & ~me; /* those that have offered too: that costs no less */
        unsigned n = conc__sim_size(others), chosen;
        if (conc__sim.preemptions_left == 0) return conc__sim.current;
        chosen = conc__sim_pick_one(1 + n + conc__sim_size(conc__sim.timed));
        if (chosen == 0) return conc__sim.current;
        conc__sim.preemptions_left--;
        if (chosen <= n) return conc__sim_member(others, chosen - 1);
        chosen = conc__sim_member(conc__sim.timed, chosen - 1 - n);
        conc__sim_expire(chosen);
        return chosen;
    } else {
        unsigned n = conc__sim_size(can), early = 0, chosen;
        if (conc__sim.preemptions_left > 0) early = conc__sim_size(conc__sim.timed);
        chosen = conc__sim_pick_one(n + early);
        if (chosen < n) return conc__sim_member(can, chosen);
        conc__sim.preemptions_left--;
        chosen = conc__sim_member(conc__sim.timed, chosen - n);
        conc__sim_expire(chosen);
        return chosen;
    }
}

/* The world may go on elsewhere. */
static void conc__sim_point(void) {
    unsigned next;
    if (++conc__sim.outcome->points > conc__sim.plan.max_points) {
        const conc__sim_fiber_state *me = conc__sim_me();
        if (conc__sim.fibers[0].state == CONC__SIM_DONE) conc__sim_leave(); /* a daemon that never sleeps */
        conc__sim_stop(CONC_SIM_LIVELOCK, "%u points, and no end: %s goes on at %s:%d", (unsigned)conc__sim.plan.max_points,
                       me->name, me->file != NULL ? me->file : "?", me->line);
    }
    next = conc__sim_next();
    conc__sim.yielded &= ~(1u << next);
    /* An offer holds until another has done something; depth first, until all have offered, so that two that offer in a
     * loop cannot keep a third from going on. */
    if (conc__sim.plan.strategy == CONC__SIM_RANDOM && next != conc__sim.current) conc__sim.yielded &= 1u << conc__sim.current;
    conc__sim_go(next);
}

/* The current fiber can not go on until somebody makes it ready. */
static void conc__sim_blocked(void) {
    conc__sim.ready &= ~(1u << conc__sim.current);
    conc__sim_point();
}

/* ---- views and clocks -------------------------------------------------------------------------------------- */

/* What a fiber has seen of `location`. (A view has room for all locations there are when it is made; a fiber's own, for all
 * there can be.) */
static uint32_t *conc__sim_seen_at(conc__sim_view *v, uint32_t location) {
    while (v->count <= location) v->seen[v->count++] = 0;
    return &v->seen[location];
}

static void conc__sim_join_into(conc__sim_view *v, const conc__sim_view *from) {
    uint32_t i;
    if (from == NULL) return;
    for (i = 0; i < conc__sim.count; i++) {
        if (from->clock[i] > v->clock[i]) v->clock[i] = from->clock[i];
    }
    for (i = 0; i < from->count; i++) {
        uint32_t *mine = conc__sim_seen_at(v, i);
        if (from->seen[i] > *mine) *mine = from->seen[i];
    }
}

/* A copy of the fiber's view for a store to carry, joined with `more`. */
static const conc__sim_view *conc__sim_snapshot(const conc__sim_view *v, const conc__sim_view *more) {
    size_t n = sizeof(conc__sim_view) + conc__sim.location_count * sizeof(uint32_t);
    conc__sim_view *copy = (conc__sim_view *)(void *)(conc__sim.views + conc__sim.views_used);
    n = (n + 15u) & ~(size_t)15u;
    if (conc__sim.views_used + n > CONC__SIM_VIEWS) {
        conc__sim_stop(CONC_SIM_LIMIT, "too long to follow in weak memory: %u points", (unsigned)conc__sim.outcome->points);
    }
    conc__sim.views_used += n;
    memcpy(copy->clock, v->clock, sizeof copy->clock);
    memcpy(copy->seen, v->seen, v->count * sizeof v->seen[0]);
    copy->count = v->count;
    conc__sim_join_into(copy, more);
    return copy;
}

/* The entry of `address` in a table, new if it has none in this schedule. */
static conc__sim_numbered *conc__sim_entry(conc__sim_numbered *table, const void *address, uint32_t *count) {
    uintptr_t a = (uintptr_t)address;
    size_t i = (size_t)((uint64_t)(a >> 2) * (uint64_t)0x9E3779B97F4A7C15u >> 52); /* 4096 */
    for (;; i = (i + 1) % CONC__SIM_NUMBERS) {
        conc__sim_numbered *n = &table[i];
        if (n->epoch == conc__sim.epoch && n->address == a) return n;
        if (n->epoch != conc__sim.epoch) {
            if (*count == CONC__SIM_NUMBERS / 4) {
                conc__sim_stop(CONC_SIM_LIMIT, "more than %d addresses", CONC__SIM_NUMBERS / 4);
            }
            n->epoch = conc__sim.epoch;
            n->address = a;
            n->number = (*count)++;
            return n;
        }
    }
}

uint64_t conc__sim_number(const void *address) {
    uint64_t n;
    /* Fibonacci hashing (Knuth, TAOCP 3, 6.4): the product's high bits. */
    if (!conc__sim_here) return (uint64_t)((uintptr_t)address >> 2) * (uint64_t)0x9E3779B97F4A7C15u >> 54;
    conc__sim_hide();
    n = conc__sim_entry(conc__sim.numbers, address, &conc__sim.number_count)->number & conc__sim.number_mask;
    conc__sim_show();
    return n;
}

/* ---- atomics ------------------------------------------------------------------------------------------------- */

/* In memory, for real: with the order that was asked for, so that the thread sanitizer sees it. */
#define CONC__SIM_RAW(T, s)                                                                        \
    static uint64_t conc__sim_raw_load##s(const T *a, int o) {                                     \
        if (o == CONC__RELAXED) return __atomic_load_n(a, __ATOMIC_RELAXED);                       \
        if (o == CONC__ACQUIRE) return __atomic_load_n(a, __ATOMIC_ACQUIRE);                       \
        return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                               \
    }                                                                                              \
    static void conc__sim_raw_store##s(T *a, uint64_t v, int o) {                                  \
        if (o == CONC__RELAXED) __atomic_store_n(a, (T)v, __ATOMIC_RELAXED);                       \
        else if (o == CONC__RELEASE) __atomic_store_n(a, (T)v, __ATOMIC_RELEASE);                  \
        else __atomic_store_n(a, (T)v, __ATOMIC_SEQ_CST);                                          \
    }                                                                                              \
    static uint64_t conc__sim_raw_rmw##s(T *a, conc__sim_rmw_kind k, uint64_t v64, int o) {        \
        T v = (T)v64;                                                                              \
        switch (k) {                                                                               \
        case CONC__SIM_SWAP: CONC__SIM_ORDERED(__atomic_exchange_n)                                \
        case CONC__SIM_ADD: CONC__SIM_ORDERED(__atomic_fetch_add)                                  \
        case CONC__SIM_OR: CONC__SIM_ORDERED(__atomic_fetch_or)                                    \
        default: CONC__SIM_ORDERED(__atomic_fetch_and)                                             \
        }                                                                                          \
    }                                                                                              \
    static bool conc__sim_raw_cas##s(T *a, T *expected, uint64_t v64, int o) {                     \
        T v = (T)v64;                                                                              \
        if (o == CONC__RELAXED)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
        if (o == CONC__ACQUIRE)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED); \
        if (o == CONC__RELEASE)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED); \
        if (o == CONC__ACQ_REL)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED); \
        return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED); \
    }
#define CONC__SIM_ORDERED(f)                                                                       \
    if (o == CONC__RELAXED) return f(a, v, __ATOMIC_RELAXED);                                      \
    if (o == CONC__ACQUIRE) return f(a, v, __ATOMIC_ACQUIRE);                                      \
    if (o == CONC__RELEASE) return f(a, v, __ATOMIC_RELEASE);                                      \
    if (o == CONC__ACQ_REL) return f(a, v, __ATOMIC_ACQ_REL);                                      \
    return f(a, v, __ATOMIC_SEQ_CST);
CONC__SIM_RAW(uint32_t, 32)
CONC__SIM_RAW(uint64_t, 64)
#undef CONC__SIM_ORDERED
#undef CONC__SIM_RAW

static uint64_t conc__sim_raw_load(const void *a, size_t size, int o) {
    return size == 4 ? conc__sim_raw_load32((const uint32_t *)a, o) : conc__sim_raw_load64((const uint64_t *)a, o);
}

static void conc__sim_raw_store(void *a, size_t size, uint64_t v, int o) {
    if (size == 4) {
        conc__sim_raw_store32((uint32_t *)a, v, o);
    } else {
        conc__sim_raw_store64((uint64_t *)a, v, o);
    }
}

static bool conc__sim_acquires(int o) {
    return o == CONC__ACQUIRE || o == CONC__ACQ_REL || o == CONC__SEQ_CST;
}

static bool conc__sim_releases(int o) {
    return o == CONC__RELEASE || o == CONC__ACQ_REL || o == CONC__SEQ_CST;
}

/* Memory that was given back must not be touched. */
static void conc__sim_check_live(const void *a, const char *in) {
    size_t offset = (size_t)((uintptr_t)a - (uintptr_t)conc__sim.arena);
    if (offset < CONC__SIM_ARENA && conc__sim.freed[offset / 16] != 0) {
        conc__sim_stop(CONC_SIM_FREED, "%s touches memory that was freed (in %s)", conc__sim_me()->name, in);
    }
}

/* The history of `a`, whose newest value is `value`. A plain store that it does not know of (the initialisation of new
 * memory at an old address) empties it: who may write like that has the word for itself. */
static conc__sim_location *conc__sim_location_of(const void *a, uint64_t value, uint32_t *number) {
    uint32_t count = conc__sim.location_count;
    conc__sim_numbered *n = conc__sim_entry(conc__sim.located, a, &conc__sim.location_count);
    conc__sim_location *l;
    *number = n->number;
    l = &conc__sim.locations[n->number];
    if (conc__sim.location_count != count) {
        l->latest = l->oldest = l->latest_sc = 0;
        l->stores[0].value = value;
        l->stores[0].view = NULL;
    } else if (l->stores[l->latest % CONC__SIM_HISTORY].value != value) {
        l->latest++;
        l->oldest = l->latest_sc = l->latest;
        l->stores[l->latest % CONC__SIM_HISTORY].value = value;
        l->stores[l->latest % CONC__SIM_HISTORY].view = NULL;
    }
    return l;
}

/* Which store a load sees: any that is not older than one it has to know of. */
static const conc__sim_store_record *conc__sim_load_from(conc__sim_location *l, uint32_t number, int order) {
    uint32_t *seen = conc__sim_seen_at(conc__sim_me()->view, number);
    uint32_t from = *seen;
    if (from < l->oldest) from = l->oldest;
    if (order == CONC__SEQ_CST && from < l->latest_sc) from = l->latest_sc;
    if (conc__sim.plan.weak && from < l->latest && (conc__sim_random() & 1u) != 0) {
        from += conc__sim_below(l->latest - from + 1);
    } else {
        from = l->latest;
    }
    *seen = from;
    return &l->stores[from % CONC__SIM_HISTORY];
}

/* A store becomes the latest. `before`: the one that a read-modify-write has read, whose release sequence it
 * continues. */
static void conc__sim_store_to(conc__sim_location *l, uint32_t number, uint64_t value, int order,
                               const conc__sim_store_record *before) {
    conc__sim_view *mine = conc__sim_me()->view;
    const conc__sim_view *view = before != NULL ? before->view : NULL;
    conc__sim_store_record *s;
    l->latest++;
    if (l->latest - l->oldest >= CONC__SIM_HISTORY) l->oldest = l->latest - CONC__SIM_HISTORY + 1;
    if (order == CONC__SEQ_CST) l->latest_sc = l->latest;
    *conc__sim_seen_at(mine, number) = l->latest;
    if (conc__sim_releases(order)) {
        view = conc__sim_snapshot(mine, view);
        mine->clock[conc__sim.current]++;
    }
    s = &l->stores[l->latest % CONC__SIM_HISTORY];
    s->value = value;
    s->view = view;
}

uint64_t conc__sim_load(const void *a, size_t size, int order, const char *in) {
    uint64_t v, newest;
    if (!conc__sim_here) return conc__sim_raw_load(a, size, order);
    conc__sim_hide();
    conc__sim_point();
    conc__sim_check_live(a, in);
    v = newest = conc__sim_raw_load(a, size, order);
    if (conc__sim.plan.track) {
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, newest, &number);
        const conc__sim_store_record *s = conc__sim_load_from(l, number, order);
        if (conc__sim_acquires(order)) conc__sim_join_into(conc__sim_me()->view, s->view);
        v = s->value;
    }
    conc__sim_event_add(v == newest ? CONC__SIM_ATOMIC : CONC__SIM_STALE, 0, in, a, newest, v);
    conc__sim_show();
    return v;
}

void conc__sim_store(void *a, size_t size, uint64_t v, int order, const char *in) {
    uint64_t old;
    if (!conc__sim_here) {
        conc__sim_raw_store(a, size, v, order);
        return;
    }
    conc__sim_hide();
    conc__sim_point();
    conc__sim_check_live(a, in);
    old = conc__sim_raw_load(a, size, CONC__RELAXED);
    if (conc__sim.plan.track) {
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, old, &number);
        conc__sim_store_to(l, number, size == 4 ? (uint32_t)v : v, order, NULL);
    }
    conc__sim_raw_store(a, size, v, order);
    conc__sim_event_add(CONC__SIM_ATOMIC, 0, in, a, old, v);
    conc__sim_show();
}

uint64_t conc__sim_rmw(void *a, size_t size, conc__sim_rmw_kind kind, uint64_t v, int order, const char *in) {
    uint64_t old;
    bool here = conc__sim_here;
    if (here) {
        conc__sim_hide();
        conc__sim_point();
        conc__sim_check_live(a, in);
    }
    old = size == 4 ? conc__sim_raw_rmw32((uint32_t *)a, kind, v, order)
                    : conc__sim_raw_rmw64((uint64_t *)a, kind, v, order);
    if (here) {
        uint64_t now = conc__sim_raw_load(a, size, CONC__RELAXED);
        if (conc__sim.plan.track) {
            uint32_t number;
            conc__sim_location *l = conc__sim_location_of(a, old, &number);
            const conc__sim_store_record before = l->stores[l->latest % CONC__SIM_HISTORY];
            if (conc__sim_acquires(order)) conc__sim_join_into(conc__sim_me()->view, before.view);
            conc__sim_store_to(l, number, now, order, &before);
        }
        conc__sim_event_add(CONC__SIM_ATOMIC, 0, in, a, old, now);
        conc__sim_show();
    }
    return old;
}

bool conc__sim_cas(void *a, size_t size, void *expected, uint64_t v, int order, const char *in) {
    uint64_t want = size == 4 ? *(uint32_t *)expected : *(uint64_t *)expected, newest;
    bool done;
    if (!conc__sim_here) {
        return size == 4 ? conc__sim_raw_cas32((uint32_t *)a, (uint32_t *)expected, v, order)
                         : conc__sim_raw_cas64((uint64_t *)a, (uint64_t *)expected, v, order);
    }
    conc__sim_hide();
    conc__sim_point();
    conc__sim_check_live(a, in);
    newest = conc__sim_raw_load(a, size, CONC__RELAXED);
    if (conc__sim.plan.track) {
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, newest, &number);
        /* One that fails is a relaxed load; one that succeeds has read the latest. */
        const conc__sim_store_record *s = conc__sim_load_from(l, number, CONC__RELAXED);
        if (s->value != want) {
            uint64_t v_seen = s->value;
            if (size == 4) {
                *(uint32_t *)expected = (uint32_t)v_seen;
            } else {
                *(uint64_t *)expected = v_seen;
            }
            conc__sim_event_add(v_seen == newest ? CONC__SIM_ATOMIC : CONC__SIM_STALE, 0, in, a, newest, v_seen);
            conc__sim_show();
            return false;
        }
        *conc__sim_seen_at(conc__sim_me()->view, number) = l->latest;
        if (newest == want) {
            const conc__sim_store_record before = l->stores[l->latest % CONC__SIM_HISTORY];
            if (conc__sim_acquires(order)) conc__sim_join_into(conc__sim_me()->view, before.view);
            conc__sim_store_to(l, number, size == 4 ? (uint32_t)v : v, order, &before);
        }
    }
    done = size == 4 ? conc__sim_raw_cas32((uint32_t *)a, (uint32_t *)expected, v, order)
                     : conc__sim_raw_cas64((uint64_t *)a, (uint64_t *)expected, v, order);
    conc__sim_event_add(CONC__SIM_ATOMIC, 0, in, a, newest, done ? v : newest);
    conc__sim_show();
    return done;
}

/* ---- marked data ------------------------------------------------------------------------------------------------ */

static conc__sim_mark *conc__sim_mark_of(const void *address) {
    size_t i = (size_t)((uint64_t)(uintptr_t)address * (uint64_t)0x9E3779B97F4A7C15u >> 56); /* 256 */
    size_t looked;
    for (looked = 0; looked < CONC__SIM_MARKS; looked++, i = (i + 1) % CONC__SIM_MARKS) {
        conc__sim_mark *m = &conc__sim.marks[i];
        if (m->epoch == conc__sim.epoch && m->address == address) return m;
        if (m->epoch != conc__sim.epoch) {
            memset(m, 0, sizeof *m);
            m->epoch = conc__sim.epoch;
            m->address = address;
            return m;
        }
    }
    conc__sim_stop(CONC_SIM_LIMIT, "more than %d marked variables", CONC__SIM_MARKS);
    return NULL;
}

/* Clocks start at 1, so that 0 is "never". (C. Flanagan, S. Freund, "FastTrack", PLDI 2009, without its compression.) */
void conc_sim_access(const void *p, size_t size, bool write, const char *file, int line) {
    unsigned me, i;
    conc__sim_mark *m;
    const uint32_t *clock;
    (void)size; /* a variable is known by where it starts */
    if (!conc__sim_here) return;
    conc__sim_hide();
    conc__sim.outcome->marked = true;
    if (conc__sim.plan.track) {
        me = conc__sim.current;
        clock = conc__sim_me()->view->clock;
        m = conc__sim_mark_of(p);
        if (m->write_clock > clock[m->writer]) {
            conc__sim_stop(CONC_SIM_RACE, "%s %s at %s:%d what %s writes at %s:%d, and nothing orders the two",
                           conc__sim_me()->name, write ? "writes" : "reads", conc__sim_base(file), line, conc__sim.fibers[m->writer].name,
                           conc__sim_base(m->write_file), m->write_line);
        }
        for (i = 0; write && i < conc__sim.count; i++) {
            if (m->read_clock[i] > clock[i]) {
                conc__sim_stop(CONC_SIM_RACE, "%s writes at %s:%d what %s reads at %s:%d, and nothing orders the two",
                               conc__sim_me()->name, conc__sim_base(file), line, conc__sim.fibers[i].name,
                               conc__sim_base(m->read_file[i]),
                               m->read_line[i]);
            }
        }
        if (write) {
            m->writer = (uint8_t)me;
            m->write_clock = clock[me];
            m->write_file = file;
            m->write_line = line;
        } else {
            m->read_clock[me] = clock[me];
            m->read_file[me] = file;
            m->read_line[me] = line;
        }
    }
    conc__sim_show();
}

/* ---- the arena ------------------------------------------------------------------------------------------------------
 * Memory is never used twice in a schedule, so whatever is freed stays recognisable. */

void *conc__sim_malloc(size_t size) {
    conc__sim_block *b;
    size_t n;
    if (!conc__sim_here) return CONC_MALLOC(size);
    conc__sim_hide();
    n = CONC__SIM_BLOCK + ((size + 15u) & ~(size_t)15u);
    if (size > CONC__SIM_ARENA || conc__sim.arena_used + n > CONC__SIM_ARENA) {
        conc__sim_stop(CONC_SIM_LIMIT, "more than %u bytes of memory in one schedule", (unsigned)CONC__SIM_ARENA);
    }
    b = (conc__sim_block *)(void *)(conc__sim.arena + conc__sim.arena_used);
    conc__sim.arena_used += n;
    b->size = size;
    b->live = true;
    b->file = conc__sim_me()->file;
    b->line = conc__sim_me()->line;
    b->call = conc__sim_me()->call;
    memset(conc__sim.freed + ((unsigned char *)b - conc__sim.arena) / 16, 0, n / 16);
    conc__sim_show();
    return (unsigned char *)b + CONC__SIM_BLOCK;
}

static conc__sim_block *conc__sim_block_of(void *p) {
    return (conc__sim_block *)(void *)((unsigned char *)p - CONC__SIM_BLOCK);
}

void conc__sim_free(void *p) {
    conc__sim_block *b;
    if (!conc__sim_here) {
        CONC_FREE(p);
        return;
    }
    if (p == NULL) return;
    conc__sim_hide();
    b = conc__sim_block_of(p);
    if (!b->live) conc__sim_stop(CONC_SIM_FREED, "%s frees memory a second time", conc__sim_me()->name);
    b->live = false;
    memset(conc__sim.freed + ((unsigned char *)p - conc__sim.arena) / 16, 1, (b->size + 15) / 16);
    memset(p, 0xdd, b->size);
#if CONC__SIM_ASAN
    __asan_poison_memory_region(p, b->size);
#endif
    conc__sim_show();
}

void *conc__sim_realloc(void *p, size_t size) {
    void *bigger;
    size_t old;
    if (!conc__sim_here) return CONC_REALLOC(p, size);
    bigger = conc__sim_malloc(size);
    if (p == NULL) return bigger;
    conc__sim_hide();
    old = conc__sim_block_of(p)->size;
    conc__sim_show();
    memcpy(bigger, p, old < size ? old : size);
    conc__sim_free(p);
    return bigger;
}

size_t conc__sim_leaks(const char **file, int *line, const char **call, size_t *size) {
    size_t at = 0, n = 0;
    while (at < conc__sim.arena_used) {
        const conc__sim_block *b = (const conc__sim_block *)(const void *)(conc__sim.arena + at);
        if (b->live && n++ == 0) {
            *file = b->file;
            *line = b->line;
            *call = b->call;
            *size = b->size;
        }
        at += CONC__SIM_BLOCK + ((b->size + 15u) & ~(size_t)15u);
    }
    return n;
}

/* ---- fibers come and go ---------------------------------------------------------------------------------------------- */

/* A new fiber, ready; `parent`'s view is where it starts from. 32: there are no more. */
static unsigned conc__sim_fiber_new(void (*fn)(void *), void *arg, const conc__sim_view *parent) {
    unsigned i = conc__sim.count;
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
    if (i == CONC__SIM_FIBERS) return i;
    if (f->stack == NULL) {
        f->stack = (unsigned char *)malloc(CONC__SIM_STACK);
        f->view = (conc__sim_view *)malloc(sizeof *f->view + CONC__SIM_LOCATIONS * sizeof(uint32_t));
        if (f->stack == NULL || f->view == NULL) {
            free(f->stack);
            free(f->view);
            f->stack = NULL;
            return CONC__SIM_FIBERS;
        }
    }
    *(uint64_t *)(void *)f->stack = CONC__SIM_CANARY;
    if (!conc__sim_context_make(i)) return CONC__SIM_FIBERS;
    conc__sim.count++;
    f->state = CONC__SIM_READY;
    f->expired = false;
    f->key = NULL;
    f->fn = fn;
    f->arg = arg;
    f->saved_errno = 0;
    f->file = f->call = NULL;
    f->line = 0;
    if (i == 0) {
        memcpy(f->name, "main", 5);
    } else {
        (void)snprintf(f->name, sizeof f->name, "fiber %u", i);
    }
    f->view->count = 0;
    memset(f->view->clock, 0, sizeof f->view->clock);
    conc__sim_join_into(f->view, parent);
    f->view->clock[i] = 1;
    if (conc__sim.plan.strategy == CONC__SIM_PCT) f->priority = 1 + (int)conc__sim_below(0x7ffffff0u);
    conc__sim.ready |= 1u << i;
    return i;
}

/* Where each fiber begins and ends. */
static void conc__sim_fiber_main(void) {
    conc__sim_fiber_state *me;
    int round;
#if CONC__SIM_ASAN
    /* From the host the first fiber comes, from other fibers all others: only the host's stack is not known yet. */
    __sanitizer_finish_switch_fiber(NULL, conc__sim.current == 0 ? &conc__sim.host_bottom : NULL,
                                    conc__sim.current == 0 ? &conc__sim.host_size : NULL);
#endif
    conc__sim_hide();
    me = conc__sim_me();
    conc__sim_show();
    me->fn(me->arg);
    for (round = 0; me->key != NULL && round < 4; round++) { /* as a system does with a thread's keys */
        void *value = me->key;
        me->key = NULL;
        conc__sim.key_destroy(value);
    }
    conc__sim_hide();
    if (*(uint64_t *)(void *)me->stack != CONC__SIM_CANARY) {
        conc__sim_stop(CONC_SIM_LIMIT, "the stack of %s is too small: it has %u bytes in a simulation", me->name,
                       (unsigned)CONC__SIM_STACK);
    }
    conc__sim_event_add(CONC__SIM_END, conc__sim.current, NULL, NULL, 0, 0);
#if CONC__SIM_TSAN
    AnnotateHappensBefore(__FILE__, __LINE__, me); /* its join */
#endif
    me->state = CONC__SIM_DONE;
    {
        unsigned i;
        for (i = 0; i < conc__sim.count; i++) {
            conc__sim_fiber_state *f = &conc__sim.fibers[i];
            if (f->state == CONC__SIM_JOINS && f->joins == conc__sim.current) conc__sim_awake(i, false);
        }
    }
    conc__sim_blocked(); /* for ever */
}

static bool conc__sim_world_make(void) {
    if (conc__sim.choices != NULL) return true;
    conc__sim.numbers = (conc__sim_numbered *)calloc(CONC__SIM_NUMBERS, sizeof *conc__sim.numbers);
    conc__sim.located = (conc__sim_numbered *)calloc(CONC__SIM_NUMBERS, sizeof *conc__sim.located);
    conc__sim.locations = (conc__sim_location *)calloc(CONC__SIM_LOCATIONS, sizeof *conc__sim.locations);
    conc__sim.marks = (conc__sim_mark *)calloc(CONC__SIM_MARKS, sizeof *conc__sim.marks);
    conc__sim.arena = (unsigned char *)malloc(CONC__SIM_ARENA);
    conc__sim.freed = (uint8_t *)calloc(CONC__SIM_ARENA / 16, 1);
    conc__sim.views = (unsigned char *)malloc(CONC__SIM_VIEWS);
    conc__sim.events = (conc__sim_event *)malloc(CONC__SIM_EVENTS * sizeof *conc__sim.events);
    if (conc__sim.numbers != NULL && conc__sim.located != NULL && conc__sim.locations != NULL &&
        conc__sim.marks != NULL && conc__sim.arena != NULL && conc__sim.freed != NULL && conc__sim.views != NULL &&
        conc__sim.events != NULL) {
        conc__sim.choices = (conc__sim_choice *)calloc(CONC__SIM_CHOICES, sizeof *conc__sim.choices);
    }
    if (conc__sim.choices != NULL) return true;
    free(conc__sim.numbers);
    free(conc__sim.located);
    free(conc__sim.locations);
    free(conc__sim.marks);
    free(conc__sim.arena);
    free(conc__sim.freed);
    free(conc__sim.views);
    free(conc__sim.events);
    return false;
}

static void conc__sim_world_begin(const conc__sim_plan *plan, conc__sim_outcome *outcome) {
    memset(outcome, 0, sizeof *outcome);
    conc__sim.plan = *plan;
    conc__sim.outcome = outcome;
    conc__sim.epoch++;
    conc__sim.random = conc__sim_mix(plan->seed + (uint64_t)0x9E3779B97F4A7C15u) | 1u;
    conc__sim.now = (int64_t)1000000000;
    conc__sim.current = conc__sim.count = 0;
    conc__sim.ready = conc__sim.yielded = conc__sim.asleep = conc__sim.timed = 0;
    conc__sim.number_count = conc__sim.location_count = 0;
#if CONC__SIM_ASAN
    __asan_unpoison_memory_region(conc__sim.arena, conc__sim.arena_used);
#endif
    conc__sim.arena_used = conc__sim.views_used = conc__sim.event_count = conc__sim.depth = 0;
    conc__sim.preemptions_left = plan->depth;
    conc__sim.early = false;
    conc__sim.heavy = false;
    conc__sim.number_mask = 0xffffffffu;
    if (plan->strategy == CONC__SIM_DEPTH) return;
    conc__sim.early = (conc__sim_random() & 3u) != 0;
    conc__sim.heavy = (conc__sim_random() & 1u) != 0;
    /* Few objects never share a bucket by themselves: in half of the schedules they have to. */
    if ((conc__sim_random() & 1u) != 0) conc__sim.number_mask = (1u << conc__sim_below(3)) - 1;
    /* How often it switches: at each point, at every second, ... every 32nd in the mean. */
    conc__sim.switch_below = 0xffffffffu >> conc__sim_below(6);
    conc__sim.lowest = 0;
    conc__sim.change_count = conc__sim.change_next = 0;
    if (plan->strategy == CONC__SIM_PCT) {
        /* The length of a schedule is not known before: its magnitude is guessed anew each time. */
        uint32_t length = 16u << conc__sim_below(7);
        unsigned i, k;
        for (i = 0; i + 1 < plan->depth && i < 8; i++) {
            uint32_t at = 1 + conc__sim_below(length);
            for (k = conc__sim.change_count++; k > 0 && conc__sim.change[k - 1] > at; k--) {
                conc__sim.change[k] = conc__sim.change[k - 1];
            }
            conc__sim.change[k] = at;
        }
    }
}

bool conc__sim_schedule(const conc__sim_plan *plan, void (*body)(void *), void *arg, conc__sim_outcome *outcome) {
    int saved = errno;
    if (!conc__sim_world_make()) return false;
    conc__sim_hide();
    conc__sim_world_begin(plan, outcome);
    if (conc__sim_fiber_new(body, arg, NULL) != 0) {
        conc__sim_show();
        return false;
    }
#if CONC_OS_WINDOWS
    conc__sim.host = ConvertThreadToFiber(NULL);
    if (conc__sim.host == NULL) return false;
#endif
#if CONC__SIM_TSAN
    conc__sim.host_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(conc__sim.fibers[0].tsan, 0);
#endif
#if CONC__SIM_ASAN
    __sanitizer_start_switch_fiber(&conc__sim.host_fake, conc__sim.fibers[0].stack, CONC__SIM_STACK);
#endif
    conc__sim_here = true;
    conc__sim_context_switch(&conc__sim.host, &conc__sim.fibers[0].context);
#if CONC__SIM_ASAN
    __sanitizer_finish_switch_fiber(conc__sim.host_fake, NULL, NULL);
#endif
#if CONC__SIM_TSAN
    { /* What the fibers did comes before all that follows; and none may go while it is hidden. */
        unsigned i;
        for (i = 0; i < conc__sim.count; i++) {
            void *fiber = conc__sim.fibers[i].tsan;
            int hidden = conc__sim.fibers[i].hidden;
            __tsan_switch_to_fiber(fiber, 1);
            AnnotateHappensBefore(__FILE__, __LINE__, &conc__sim);
            for (; hidden > 0; hidden--) conc__sim_show();
            __tsan_switch_to_fiber(conc__sim.host_tsan, 1);
            __tsan_destroy_fiber(fiber);
        }
        AnnotateHappensAfter(__FILE__, __LINE__, &conc__sim);
    }
#endif
    conc__sim_show();
#if CONC_OS_WINDOWS
    (void)ConvertFiberToThread();
#endif
    outcome->fibers = conc__sim.count;
    errno = saved;
    return true;
}

/* ---- the port ---------------------------------------------------------------------------------------------------------- */

void *conc__port_key_get(void) {
    void *value;
    if (!conc__sim_here) return conc__real_key_get();
    conc__sim_hide();
    value = conc__sim_me()->key;
    conc__sim_show();
    return value;
}

bool conc__port_key_set(void *value, void (*destroy)(void *)) {
    if (!conc__sim_here) return conc__real_key_set(value, destroy);
    if (value != NULL && CONC__FAULT("simulated key", ENOMEM) != 0) return false;
    conc__sim_hide();
    conc__sim_me()->key = value;
    conc__sim.key_destroy = destroy;
    conc__sim_show();
    return true;
}

/* Every look takes some time; by chance a good deal of it, as if the thread had been off the processor. */
int64_t conc__port_clock_ns(void) {
    int64_t now;
    if (!conc__sim_here) return conc__real_clock_ns();
    conc__sim_hide();
    conc__sim.now += 100;
    if (conc__sim.plan.strategy != CONC__SIM_DEPTH && conc__sim.early && (conc__sim_random() & 15u) == 0) {
        conc__sim.now += 2000000;
    }
    now = conc__sim.now;
    conc__sim_show();
    return now;
}

bool conc__port_wait(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    conc__sim_fiber_state *me;
    uint32_t now;
    bool expired = false;
    if (!conc__sim_here) return conc__real_wait(a, expected, deadline_ns);
    conc__sim_hide();
    me = conc__sim_me();
    conc__sim_point();
    conc__sim_check_live(a, "wait");
    now = (uint32_t)conc__sim_raw_load(a, 4, CONC__RELAXED);
    if (conc__sim.plan.track) { /* the system compares with what is there, and what it saw its caller has seen */
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, now, &number);
        *conc__sim_seen_at(me->view, number) = l->latest;
    }
    if (now == expected) {
        expired = deadline_ns <= conc__sim.now;
        if (!expired) {
            me->state = CONC__SIM_ASLEEP;
            me->sleeps_on = a;
            me->due = deadline_ns;
            conc__sim.asleep |= 1u << conc__sim.current;
            if (deadline_ns != INT64_MAX) conc__sim.timed |= 1u << conc__sim.current;
            conc__sim_event_add(CONC__SIM_SLEEP, 0, NULL, a, 0, 0);
            conc__sim_blocked();
            expired = me->expired;
        }
    }
    conc__sim_show();
    return expired;
}

/* Those asleep on `a`. */
static uint32_t conc__sim_sleepers(const uint32_t *a) {
    uint32_t set = 0;
    unsigned i;
    for (i = 0; i < conc__sim.count; i++) {
        if ((conc__sim.asleep >> i & 1u) != 0 && conc__sim.fibers[i].sleeps_on == a) set |= 1u << i;
    }
    return set;
}

static void conc__sim_wake(const uint32_t *a, bool all) {
    uint32_t set;
    conc__sim_hide();
    conc__sim_point();
    for (set = conc__sim_sleepers(a); set != 0; set = conc__sim_sleepers(a)) {
        unsigned i = conc__sim_member(set, conc__sim_pick_one(conc__sim_size(set)));
        conc__sim_event_add(CONC__SIM_WAKE, i, NULL, a, 0, 0);
        conc__sim_awake(i, false);
        if (!all) break;
    }
    conc__sim_show();
}

void conc__port_wake_one(uint32_t *a) {
    if (conc__sim_here) {
        conc__sim_wake(a, false);
    } else {
        conc__real_wake_one(a);
    }
}

void conc__port_wake_all(uint32_t *a) {
    if (conc__sim_here) {
        conc__sim_wake(a, true);
    } else {
        conc__real_wake_all(a);
    }
}

/* Both kinds of system are simulated. */
bool conc__port_heavy_fence_ready(void) {
    bool heavy;
    if (!conc__sim_here) return conc__real_heavy_fence_ready();
    conc__sim_hide();
    heavy = conc__sim.plan.strategy == CONC__SIM_DEPTH ? conc__sim_pick_one(2) != 0 : conc__sim.heavy;
    conc__sim_show();
    return heavy;
}

/* All have seen the latest of everything. */
void conc__port_heavy_fence(void) {
    unsigned i;
    uint32_t k;
    if (!conc__sim_here) {
        conc__real_heavy_fence();
        return;
    }
    conc__sim_hide();
    conc__sim_point();
    for (i = 0; conc__sim.plan.track && i < conc__sim.count; i++) {
        for (k = 0; k < conc__sim.location_count; k++) {
            *conc__sim_seen_at(conc__sim.fibers[i].view, k) = conc__sim.locations[k].latest;
        }
    }
    conc__sim_show();
}

int conc__port_thread_start(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size) {
    unsigned i;
    int error;
    if (!conc__sim_here) return conc__real_thread_start(t, fn, arg, stack_size);
    error = CONC__FAULT("simulated thread start", EAGAIN, ENOMEM);
    if (error != 0) return error;
    conc__sim_hide();
    i = conc__sim_fiber_new(fn, arg, conc__sim_me()->view);
    if (i == CONC__SIM_FIBERS) {
        conc__sim_stop(CONC_SIM_LIMIT, "more than %d threads in one schedule", CONC__SIM_FIBERS);
    }
    conc__sim_me()->view->clock[conc__sim.current]++;
    t->handle[0] = &conc__sim.fibers[i];
    conc__sim_event_add(CONC__SIM_START, i, NULL, NULL, 0, 0);
    conc__sim_point();
    conc__sim_show();
    return 0;
}

void conc__port_thread_join(conc__port_thread *t) {
    conc__sim_fiber_state *f, *me;
    if (!conc__sim_here) {
        conc__real_thread_join(t);
        return;
    }
    conc__sim_hide();
    f = (conc__sim_fiber_state *)t->handle[0];
    me = conc__sim_me();
    conc__sim_point();
    if (f->state != CONC__SIM_DONE) {
        me->state = CONC__SIM_JOINS;
        me->joins = (unsigned)(f - conc__sim.fibers);
        conc__sim_blocked();
    }
    conc__sim_join_into(me->view, f->view);
#if CONC__SIM_TSAN
    AnnotateHappensAfter(__FILE__, __LINE__, f);
#endif
    conc__sim_show();
}

void conc__port_thread_detach(conc__port_thread *t) {
    if (!conc__sim_here) {
        conc__real_thread_detach(t);
    }
}

void conc__port_thread_set_name(const char *name) {
    if (!conc__sim_here) {
        conc__real_thread_set_name(name);
        return;
    }
    conc__sim_hide();
    (void)snprintf(conc__sim_me()->name, sizeof conc__sim_me()->name, "%s", name);
    conc__sim_show();
}

void conc__port_yield(void) {
    if (!conc__sim_here) {
        conc__real_yield();
        return;
    }
    conc__sim_hide();
    conc__sim.yielded |= 1u << conc__sim.current;
    if (conc__sim.plan.strategy == CONC__SIM_PCT) conc__sim_me()->priority = --conc__sim.lowest;
    conc__sim_point();
    conc__sim_show();
}

unsigned conc__port_cpu_count(void) {
    return conc__sim_here ? 2u : conc__real_cpu_count();
}

int conc__port_on_fork(void (*child)(void)) {
    return conc__sim_here ? 0 : conc__real_on_fork(child);
}

const char *conc__port_error_text(int error, char *buffer, size_t size) {
    return conc__real_error_text(error, buffer, size);
}

/* ---- descriptors ----------------------------------------------------------------------------------------------------------
 * There are none in a simulation: what would make one, or wait for one, says so. Signals have nobody to end the sleep of.
 * A poller can be waited for and signaled: a loop's own waiting can be simulated. */

int conc__port_signal_open(conc__port_signal *s) {
    if (!conc__sim_here) return conc__real_signal_open(s);
    s->fd[0] = s->fd[1] = -1;
    return 0;
}

void conc__port_signal_close(conc__port_signal *s) {
    if (!conc__sim_here) conc__real_signal_close(s);
}

void conc__port_signal_raise(conc__port_signal *s) {
    if (!conc__sim_here) conc__real_signal_raise(s);
}

void conc__port_signal_clear(conc__port_signal *s) {
    if (!conc__sim_here) conc__real_signal_clear(s);
}

int conc__port_poll_in(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    if (!conc__sim_here) return conc__real_poll_in(scratch, fds, n, deadline_ns, error);
    *error = conc__port_unsupported();
    return -1;
}

int conc__port_poller_open(conc__port_poller *p) {
    if (!conc__sim_here) return conc__real_poller_open(p);
    memset(p, 0, sizeof *p);
    return CONC__FAULT("simulated poller", ENOMEM);
}

void conc__port_poller_close(conc__port_poller *p) {
    if (!conc__sim_here) conc__real_poller_close(p);
}

int conc__port_poller_add(conc__port_poller *p, intptr_t fd) {
    return conc__sim_here ? conc__port_unsupported() : conc__real_poller_add(p, fd);
}

int conc__port_poller_want(conc__port_poller *p, intptr_t fd, unsigned mask) {
    return conc__sim_here ? conc__port_unsupported() : conc__real_poller_want(p, fd, mask);
}

void conc__port_poller_forget(conc__port_poller *p, intptr_t fd) {
    if (!conc__sim_here) conc__real_poller_forget(p, fd);
}

/* (The real one need not look before it sleeps; this one sleeps only if there is no signal.) */
size_t conc__port_poller_wait(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                              bool *signaled) {
    if (!conc__sim_here) return conc__real_poller_wait(p, events, max, deadline_ns, signaled);
    if (deadline_ns != INT64_MIN) (void)conc__port_wait(&p->signaled, 0, deadline_ns);
    *signaled = conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return 0;
}

void conc__port_poller_signal(conc__port_poller *p) {
    if (!conc__sim_here) {
        conc__real_poller_signal(p);
    } else if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) {
        conc__port_wake_one(&p->signaled);
    }
}

int conc__port_socket(unsigned family, bool stream, intptr_t *fd) {
    if (!conc__sim_here) return conc__real_socket(family, stream, fd);
    *fd = -1;
    return conc__port_unsupported();
}

conc__port_found conc__port_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found, char *text,
                                   size_t size) {
    if (!conc__sim_here) return conc__real_lookup(host, port, list, n, found, text, size);
    *found = 0;
    (void)conc__port_error_text(conc__port_unsupported(), text, size);
    return CONC__PORT_LOOKUP_FAILED;
}

/* ---- the user's places ---------------------------------------------------------------------------------------------- */

void conc__sim_at(const char *file, int line, const char *call) {
    conc__sim_fiber_state *me;
    if (!conc__sim_here) return;
    conc__sim_hide();
    me = conc__sim_me();
    me->file = file;
    me->line = line;
    me->call = call;
    conc__sim_event_add(CONC__SIM_CALL, 0, call, NULL, 0, 0);
    conc__sim_show();
}

void conc_sim_note(const char *text) {
    if (!conc__sim_here) return;
    conc__sim_hide();
    conc__sim_event_add(CONC__SIM_NOTE, 0, text, NULL, 0, 0);
    conc__sim_show();
}

#endif /* CONC_SIM */
