/* check.h: what the behaviour tests share. Include it after conc.h. One test file is one program:
 *
 *     int main(void) {
 *         check_begin("mutex");
 *         RUN(try_and_lock);
 *         return check_end();
 *     }
 *
 * A check that fails prints file:line, the case and both values, and the program goes on; it exits with 1 if
 * any failed, with 77 if all was skipped. A case that takes longer than 120 s (CONC_TEST_TIMEOUT) is hung: a
 * watchdog names it and ends the program.
 *
 * How often races are run is scaled by CONC_TEST_SCALE (1 is 2 to 5 s of CPU a program), and by itself less
 * under a sanitizer, valgrind, wine and qemu. */

#ifndef CONC_TESTS_CHECK_H
#define CONC_TESTS_CHECK_H

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#else
#include <unistd.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define CHECK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHECK_TSAN 1
#endif
#endif
#if !defined(CHECK_TSAN)
#define CHECK_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CHECK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHECK_ASAN 1
#endif
#endif
#if !defined(CHECK_ASAN)
#define CHECK_ASAN 0
#endif

#define CHECK_SKIPPED 77

static int check_failures; /* counted without a lock: what matters is whether it is 0 */
static const char *volatile check_case = "(start)";
static const char *check_program = "?";

/* ---- reporting ------------------------------------------------------------------------------------ */

static inline const char *check_result_name(int r) {
#define CHECK__NAME(name, value, text)                                                             \
    if (r == (value)) return #name;
    CONC_RESULTS(CHECK__NAME)
#undef CHECK__NAME
    return "?";
}

static inline void check_fail(const char *file, int line, const char *text) {
    if (check_failures++ >= 40) return; /* enough to see what is wrong */
    fprintf(stderr, "%s:%d: [%s] %s\n", file, line, check_case, text);
    fflush(stderr);
}

static inline bool check_true(const char *file, int line, bool ok, const char *what) {
    if (!ok) check_fail(file, line, what);
    return ok;
}

static inline bool check_eq(const char *file, int line, long long got, long long want, const char *what) {
    char text[400];
    if (got == want) return true;
    snprintf(text, sizeof text, "%.250s: got %lld, want %lld", what, got, want);
    check_fail(file, line, text);
    return false;
}

static inline bool check_result(const char *file, int line, int got, int want, const char *what) {
    char text[700];
    if (got == want) return true;
    snprintf(text, sizeof text, "%.250s: got %s (%d), want %s; detail: %.250s", what, check_result_name(got), got,
             check_result_name(want), conc_error_detail());
    check_fail(file, line, text);
    return false;
}

static inline bool check_str(const char *file, int line, const char *got, const char *want, const char *what) {
    char text[700];
    if (got != NULL && strcmp(got, want) == 0) return true;
    snprintf(text, sizeof text, "%.200s: got \"%.200s\", want \"%.200s\"", what, got == NULL ? "(null)" : got, want);
    check_fail(file, line, text);
    return false;
}

static inline bool check_has(const char *file, int line, const char *got, const char *part, const char *what) {
    char text[700];
    if (got != NULL && strstr(got, part) != NULL) return true;
    snprintf(text, sizeof text, "%.200s: \"%.200s\" has no \"%.200s\"", what, got == NULL ? "(null)" : got, part);
    check_fail(file, line, text);
    return false;
}

/* Each is an expression: true if the check held. */
#define CHECK(cond) check_true(__FILE__, __LINE__, !!(cond), #cond)
#define CHECK_EQ(got, want) check_eq(__FILE__, __LINE__, (long long)(got), (long long)(want), #got)
#define CHECK_R(got, want) check_result(__FILE__, __LINE__, (int)(got), (int)(want), #got)
#define CHECK_OK(got) check_result(__FILE__, __LINE__, (int)(got), CONC_OK, #got)
#define CHECK_STR(got, want) check_str(__FILE__, __LINE__, (got), (want), #got)
#define CHECK_HAS(got, part) check_has(__FILE__, __LINE__, (got), (part), #got)

/* A misuse: `call` gives `want`, and conc_error_detail() a sentence of its own about it. */
#define CHECK_MISUSE(call, want)                                                                   \
    do {                                                                                           \
        check_mark();                                                                              \
        check_misuse(__FILE__, __LINE__, (int)(call), (int)(want), #call);                         \
    } while (0)
/* The same of a constructor that is to return NULL. */
#define CHECK_MISUSE_NULL(call, want)                                                              \
    do {                                                                                           \
        check_mark();                                                                              \
        if (CHECK((call) == NULL)) check_misuse(__FILE__, __LINE__, (int)conc_error_result(), (int)(want), #call); \
    } while (0)

static inline const char *check_mark_text(void) {
    return "conc_cancel_fire";
}

/* Puts a known error in the place that the call under test has to overwrite. */
static inline void check_mark(void) {
    (void)conc_cancel_fire(NULL);
}

static inline void check_misuse(const char *file, int line, int got, int want, const char *what) {
    char text[500], marked[256];
    if (!check_result(file, line, got, want, what)) return;
    check_result(file, line, (int)conc_error_result(), want, "conc_error_result() after it");
    snprintf(text, sizeof text, "%.250s: no sentence", what);
    check_true(file, line, conc_error_detail() != NULL && conc_error_detail()[0] != '\0', text);
    snprintf(marked, sizeof marked, "%.255s", conc_error_detail());
    check_mark();
    snprintf(text, sizeof text, "%.250s: the sentence is that of the call before", what);
    if (strstr(what, "conc_cancel_fire") == NULL) check_true(file, line, strcmp(marked, conc_error_detail()) != 0, text);
}

/* ---- scale ------------------------------------------------------------------------------------------ */

static inline double check_scale(void) {
    static double scale = 0;
    const char *s;
    if (scale > 0) return scale;
    s = getenv("CONC_TEST_SCALE");
    scale = s != NULL ? atof(s) : 1.0;
    if (!(scale > 0)) scale = 1.0;
    if (CHECK_TSAN || CHECK_ASAN) scale *= 0.2;
#if defined(_WIN32)
    if (GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL) scale *= 0.1;
#else
    s = getenv("LD_PRELOAD");
    if (s != NULL && strstr(s, "vgpreload") != NULL) scale *= 0.03;
#if !defined(__i386__) && !defined(__x86_64__)
    { /* the emulator shows the processor of the machine below */
        FILE *f = fopen("/proc/cpuinfo", "r");
        char word[400];
        while (f != NULL && fscanf(f, "%399s", word) == 1) {
            if (strcmp(word, "GenuineIntel") == 0 || strcmp(word, "AuthenticAMD") == 0) {
                scale *= 0.1;
                break;
            }
        }
        if (f != NULL) fclose(f);
    }
#endif
#endif
    return scale;
}

/* `n` rounds, scaled; at least `least`. */
static inline int check_rounds_least(int n, int least) {
    double r = n * check_scale();
    return r < least ? least : r > 1e9 ? 1000000000 : (int)r;
}
static inline int check_rounds(int n) {
    return check_rounds_least(n, n < 5 ? n : 5);
}

/* ---- the watchdog ------------------------------------------------------------------------------------ */

static inline unsigned check_limit(void) {
    const char *s = getenv("CONC_TEST_TIMEOUT");
    int limit = s != NULL ? atoi(s) : 0;
    return limit > 0 ? (unsigned)limit : 120u;
}

#if defined(_WIN32)
static volatile LONG check_ticks;

static DWORD WINAPI check_watch(LPVOID unused) {
    LONG limit = (LONG)check_limit();
    (void)unused;
    while (InterlockedIncrement(&check_ticks) <= limit) Sleep(1000);
    fprintf(stderr, "%s: [%s] HUNG for %ld s\n", check_program, check_case, (long)limit);
    fflush(stderr);
    TerminateProcess(GetCurrentProcess(), 1);
    return 0;
}

static inline void check_watchdog(void) {
    static int started = 0;
    InterlockedExchange(&check_ticks, 0);
    if (!started) {
        HANDLE h = CreateThread(NULL, 0, check_watch, NULL, 0, NULL);
        if (h != NULL) CloseHandle(h);
        started = 1;
    }
}
#else
static inline void check_hung(int sig) {
    static const char tail[] = "] HUNG: the watchdog ends it\n";
    const char *name = check_case;
    ssize_t n = 0;
    (void)sig;
    n += write(2, "[", 1);
    n += write(2, name, strlen(name));
    n += write(2, tail, sizeof tail - 1);
    _exit(n < 0 ? 2 : 1);
}

static inline void check_watchdog(void) {
    /* The thread sanitizer holds signals back while a thread sits in a system call, for ever in a hang: there
     * the signal's own action has to do, and the last case named is the one that hung. */
    if (!CHECK_TSAN) signal(SIGALRM, check_hung);
    alarm(check_limit());
}
#endif

/* ---- the program ---------------------------------------------------------------------------------------- */

static inline void check_begin(const char *program) {
    check_program = program;
    (void)check_scale(); /* looked up once, before there are threads */
    check_watchdog();
}

static int64_t check_started; /* the case; 0: none */

static inline void check_enter(const char *name) {
    int64_t now = conc_clock_ns();
    if (check_started != 0) printf("    %.1f ms\n", (double)(now - check_started) / 1e6);
    check_started = now;
    check_case = name;
    printf("  %s\n", name);
    fflush(stdout);
    check_watchdog();
}

static inline int check_end(void) {
    check_enter("(end)");
    printf("%s: %s\n", check_program, check_failures != 0 ? "FAILED" : "ok");
    fflush(stdout);
    return check_failures != 0;
}

static inline int check_skip(const char *program, const char *why) {
    printf("%s: skipped: %s\n", program, why);
    return CHECK_SKIPPED;
}

#define RUN(fn)                                                                                    \
    do {                                                                                           \
        check_enter(#fn);                                                                          \
        fn();                                                                                      \
    } while (0)

/* ---- threads --------------------------------------------------------------------------------------------- */

#define CREW_MAX 32
typedef struct crew {
    int n;
    conc_thread *threads[CREW_MAX];
} crew;

static inline bool crew_add_under(crew *c, conc_fn fn, void *arg, conc_cancel *token) {
    conc_thread_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.cancel = token;
    if (!CHECK(c->n < CREW_MAX)) return false;
    c->threads[c->n] = conc_thread_start(fn, arg, &desc);
    if (c->threads[c->n] == NULL) {
        fprintf(stderr, "cannot start a thread: %s\n", conc_error_detail());
        exit(1); /* all that follows would wait for it */
    }
    c->n++;
    return true;
}

static inline bool crew_add(crew *c, conc_fn fn, void *arg) {
    return crew_add_under(c, fn, arg, NULL);
}

/* Joins all; each has to have returned 0. */
static inline void crew_join(crew *c) {
    int i;
    for (i = 0; i < c->n; i++) {
        int result = -1;
        CHECK_OK(conc_thread_join(c->threads[i], &result, CONC_FOREVER));
        CHECK_EQ(result, 0);
    }
    c->n = 0;
}

/* ---- who waits: for tests that bring the implementation ------------------------------------------------------- */

#if defined(CONC__IMPLEMENTED)
/* How many wait under `key`, an object's address, at this moment. */
CONC__UNUSED static size_t check_standing(const void *key) {
    conc__bucket *b = conc__bucket_lock(key);
    conc_node *n;
    size_t count = 0;
    for (n = conc__bucket_first(b, key); n != NULL; n = conc__bucket_next(b, n)) count++;
    conc__bucket_unlock(b);
    return count;
}
#endif

/* ---- orders of events ----------------------------------------------------------------------------------------
 * NUDGE makes one of two orders likely (that the other thread has gone to sleep by now, say). What follows it
 * must be right in both. UNTIL polls a state that the library tells. */

static inline void check_pause(unsigned *n) {
    if (++*n < 200) conc_thread_yield();
    else {
#if defined(_WIN32)
        Sleep(1);
#else
        conc_cancel *token = conc_cancel_use(NULL);
        (void)conc_sleep(conc_after(0.0002));
        (void)conc_cancel_use(token);
#endif
    }
}

#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        unsigned until_n = 0;                                                                      \
        while (!(cond)) check_pause(&until_n);                                                     \
    } while (0)

/* From nothing to a millisecond, by `kind`. */
static inline void nudge(unsigned kind) {
    unsigned i;
    switch (kind % 4) {
    case 0: break;
    case 1: conc_thread_yield(); break;
    case 2:
        for (i = 0; i < 30; i++) conc_thread_yield();
        break;
    default: {
        conc_cancel *token = conc_cancel_use(NULL);
        (void)conc_sleep(conc_after(0.001));
        (void)conc_cancel_use(token);
    }
    }
}

/* A number that looks random, from a state of the caller's. */
static inline uint32_t check_random(uint32_t *state) {
    uint32_t x = *state != 0 ? *state : 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    return x;
}

/* Up to `most` microseconds of doing nothing useful: how far two racing calls lie apart. */
static inline void check_spin_us(uint32_t most, uint32_t *state) {
    int64_t end;
    if (most == 0) return;
    end = conc_clock_ns() + (int64_t)(check_random(state) % (most * 1000u));
    while (conc_clock_ns() < end) {
    }
}

static inline conc_deadline check_past(void) {
    return conc_deadline_at(conc_clock_ns() - 1);
}

#endif
