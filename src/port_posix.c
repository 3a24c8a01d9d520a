/* ============================================================================================
 * port, POSIX: Linux by futex; every other Unix, or Linux with CONC_PORT_PORTABLE, by pthreads alone.
 *
 * Written against what <pthread.h> declares in strict C99: whatever feature macros the user's file has or
 * has not set, the names hidden by them are declared here, under names of our own (which is also what
 * keeps glibc's `leaf` away, see port.h).
 * ========================================================================================== */

#include "internal.h"

#if !CONC_OS_WINDOWS

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#if CONC_OS_LINUX
#include <sys/syscall.h>
#if defined(CONC__TEST_LEAFY)
#include <sched.h>
#include <unistd.h>
#define conc__syscall syscall
#else
#if defined(__cplusplus)
extern "C"
#endif
long conc__syscall(long number, ...) __asm__("syscall");
#endif
#else
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>
#endif

#if CONC_OS_LINUX && !CONC_PORT_PORTABLE
#define CONC__WAIT_FUTEX 1
#define CONC__WAIT_OS_SYNC 0
#define CONC__WAIT_PTHREAD 0
#elif CONC_OS_MACOS && !CONC_PORT_PORTABLE && defined(__MAC_OS_X_VERSION_MIN_REQUIRED) &&           \
    defined(__MAC_14_4) && __MAC_OS_X_VERSION_MIN_REQUIRED >= 140400
#define CONC__WAIT_FUTEX 0
#define CONC__WAIT_OS_SYNC 1
#define CONC__WAIT_PTHREAD 0
#include <os/os_sync_wait_on_address.h>
#else
#define CONC__WAIT_FUTEX 0
#define CONC__WAIT_OS_SYNC 0
#define CONC__WAIT_PTHREAD 1
#endif

/* ---- time ------------------------------------------------------------------------------------- */

#if CONC_OS_LINUX
/* The timespec of the C library's clock_gettime symbol and of the old system calls: two longs, whatever _TIME_BITS says;
 * but 64 bits each where the system never had it otherwise. */
#if !defined(SYS_futex) || (defined(__x86_64__) && defined(__ILP32__))
typedef struct conc__timespec {
    int64_t tv_sec, tv_nsec;
} conc__timespec;
#else
typedef struct conc__timespec {
    long tv_sec, tv_nsec;
} conc__timespec;
#endif
#define CONC__CLOCK_MONOTONIC 1
#if defined(__cplusplus)
extern "C"
#endif
int conc__clock_gettime(int clock, conc__timespec *t) __asm__("clock_gettime");

int64_t CONC__PORT(clock_ns)(void) {
    conc__timespec t;
#if defined(CONC__TEST_LEAFY)
    struct timespec leafy;
    (void)clock_gettime(CLOCK_MONOTONIC, &leafy);
    t.tv_sec = leafy.tv_sec;
    t.tv_nsec = leafy.tv_nsec;
#else
    (void)conc__clock_gettime(CONC__CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#else
int64_t CONC__PORT(clock_ns)(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#endif

/* Later than a 32-bit time_t can say, 68 years after the machine was started: as good as never. */
#define CONC__PORT_NEVER ((int64_t)INT32_MAX * 1000000000)

/* ---- wait on address: Linux -------------------------------------------------------------------- */

#if CONC__WAIT_FUTEX

#if defined(SYS_futex)
#define CONC__SYS_FUTEX SYS_futex
#else /* 32-bit systems that were made after it */
#define CONC__SYS_FUTEX SYS_futex_time64
#endif
#define CONC__FUTEX_WAKE_PRIVATE (1 | 128)
#define CONC__FUTEX_WAIT_BITSET_PRIVATE (9 | 128) /* its time-out is absolute, on the monotonic clock */
#define CONC__FUTEX_ANY 0xffffffffu

/* The kernel compares and sleeps under the lock of the address's own queue, and a wake takes the same lock:
 * a wake after *a was changed either finds the sleeper or the sleeper finds the change (futex(2)). */
bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    conc__timespec t;
    bool passed = false;
    int saved = errno; /* the caller's errno is not ours to change */
    if (CONC__FAULT("futex: wait", EINTR, EAGAIN) != 0) return false;
    if (deadline_ns >= CONC__PORT_NEVER) {
        (void)conc__syscall(CONC__SYS_FUTEX, a, CONC__FUTEX_WAIT_BITSET_PRIVATE, expected, NULL, NULL,
                            CONC__FUTEX_ANY);
    } else {
        if (deadline_ns < 0) deadline_ns = 0;
        t.tv_sec = (long)(deadline_ns / 1000000000);
        t.tv_nsec = (long)(deadline_ns % 1000000000);
        passed = conc__syscall(CONC__SYS_FUTEX, a, CONC__FUTEX_WAIT_BITSET_PRIVATE, expected, &t, NULL,
                               CONC__FUTEX_ANY) != 0 &&
                 errno == ETIMEDOUT;
    }
    errno = saved;
    return passed;
}

static void conc__futex_wake(uint32_t *a, int n) {
    int saved = errno;
    (void)conc__syscall(CONC__SYS_FUTEX, a, CONC__FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
    errno = saved;
}

void CONC__PORT(wake_one)(uint32_t *a) {
    conc__futex_wake(a, 1);
}

void CONC__PORT(wake_all)(uint32_t *a) {
    conc__futex_wake(a, INT32_MAX);
}

#endif

/* ---- wait on address: macOS 14.4 and later ------------------------------------------------------- */

#if CONC__WAIT_OS_SYNC

bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    int saved = errno;
    bool passed = false;
    if (deadline_ns >= CONC__PORT_NEVER) {
        (void)os_sync_wait_on_address(a, expected, 4, OS_SYNC_WAIT_ON_ADDRESS_NONE);
    } else {
        int64_t left = deadline_ns - conc__port_clock_ns();
        if (left > 0) {
            (void)os_sync_wait_on_address_with_timeout(a, expected, 4, OS_SYNC_WAIT_ON_ADDRESS_NONE,
                                                       OS_CLOCK_MACH_ABSOLUTE_TIME, (uint64_t)left);
        }
        passed = conc__port_clock_ns() >= deadline_ns;
    }
    errno = saved;
    return passed;
}

void CONC__PORT(wake_one)(uint32_t *a) {
    int saved = errno;
    (void)os_sync_wake_by_address_any(a, 4, OS_SYNC_WAKE_BY_ADDRESS_NONE);
    errno = saved;
}

void CONC__PORT(wake_all)(uint32_t *a) {
    int saved = errno;
    (void)os_sync_wake_by_address_all(a, 4, OS_SYNC_WAKE_BY_ADDRESS_NONE);
    errno = saved;
}

#endif

/* ---- wait on address: pthreads -------------------------------------------------------------------- */

#if CONC__WAIT_PTHREAD

#define CONC__PORT_ROOMS 128

/* The waiters of all addresses that hash to one room share its condition; all are woken and look again. */
static struct conc__port_room {
    pthread_mutex_t mutex; /* held to compare and sleep, and to wake: so no wake falls between the two */
    pthread_cond_t cond;
} conc__port_rooms[CONC__PORT_ROOMS];
static pthread_once_t conc__port_rooms_once = PTHREAD_ONCE_INIT;

#if CONC_OS_LINUX
#if defined(__cplusplus)
extern "C"
#endif
int conc__condattr_setclock(pthread_condattr_t *a, int clock) __asm__("pthread_condattr_setclock");
#endif

static void conc__port_rooms_make(void) {
    size_t i;
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
#if CONC_OS_LINUX
    (void)conc__condattr_setclock(&attr, CONC__CLOCK_MONOTONIC);
#elif !CONC_OS_MACOS
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    for (i = 0; i < CONC__PORT_ROOMS; i++) {
        (void)pthread_mutex_init(&conc__port_rooms[i].mutex, NULL);
        (void)pthread_cond_init(&conc__port_rooms[i].cond, &attr);
    }
    (void)pthread_condattr_destroy(&attr);
}

static void conc__port_rooms_begin(void) {
    conc__port_rooms_make();
    (void)conc__port_on_fork(conc__port_rooms_make); /* a room may have been locked by a thread now gone */
}

static struct conc__port_room *conc__port_room_of(const uint32_t *a) {
    (void)pthread_once(&conc__port_rooms_once, conc__port_rooms_begin);
    return &conc__port_rooms[((uintptr_t)a >> 2) * 0x9E3779B1u / 64 % CONC__PORT_ROOMS];
}

bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    struct conc__port_room *r = conc__port_room_of(a);
    int e = 0;
    (void)pthread_mutex_lock(&r->mutex);
    if (conc__load32(a, CONC__ACQUIRE) == expected && CONC__FAULT("pthread_cond_wait", EINTR) == 0) {
        if (deadline_ns >= CONC__PORT_NEVER) {
            (void)pthread_cond_wait(&r->cond, &r->mutex);
        } else {
            struct timespec t;
#if CONC_OS_MACOS /* has no monotonic conditions, but relative waits */
            int64_t ns = deadline_ns - conc__port_clock_ns();
            if (ns <= 0) {
                e = ETIMEDOUT;
            } else {
                t.tv_sec = (time_t)(ns / 1000000000);
                t.tv_nsec = (long)(ns % 1000000000);
                (void)pthread_cond_timedwait_relative_np(&r->cond, &r->mutex, &t);
                if (conc__port_clock_ns() >= deadline_ns) e = ETIMEDOUT;
            }
#else
            if (deadline_ns < 0) deadline_ns = 0;
            t.tv_sec = (time_t)(deadline_ns / 1000000000);
            t.tv_nsec = (long)(deadline_ns % 1000000000);
            e = pthread_cond_timedwait(&r->cond, &r->mutex, &t);
#endif
        }
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return e == ETIMEDOUT;
}

void CONC__PORT(wake_all)(uint32_t *a) {
    struct conc__port_room *r = conc__port_room_of(a);
    (void)pthread_mutex_lock(&r->mutex);
    (void)pthread_cond_broadcast(&r->cond);
    (void)pthread_mutex_unlock(&r->mutex);
}

void CONC__PORT(wake_one)(uint32_t *a) {
    conc__port_wake_all(a); /* which of the room's sleepers waits for `a` is not known */
}

#endif

/* ---- the heavy fence --------------------------------------------------------------------------- */

#if CONC_OS_LINUX && defined(SYS_membarrier) && !CONC_PORT_PORTABLE

#define CONC__MEMBARRIER_PRIVATE_EXPEDITED 8
#define CONC__MEMBARRIER_REGISTER 16

bool CONC__PORT(heavy_fence_ready)(void) {
    static uint32_t known; /* atomic: 0 not asked yet, 1 no, 2 yes */
    uint32_t k = conc__load32(&known, CONC__RELAXED);
    if (k == 0) {
        int saved = errno;
        k = CONC__FAULT("membarrier: register", ENOSYS, EPERM) == 0 &&
                    conc__syscall(SYS_membarrier, CONC__MEMBARRIER_REGISTER, 0) == 0
                ? 2
                : 1;
        conc__store32(&known, k, CONC__RELAXED);
        errno = saved;
    }
    return k == 2;
}

void CONC__PORT(heavy_fence)(void) {
    int saved = errno;
    if (CONC__FAULT("membarrier", EPERM) != 0 ||
        conc__syscall(SYS_membarrier, CONC__MEMBARRIER_PRIVATE_EXPEDITED, 0) != 0) {
        /* a forked child whose kernel does not inherit the registration */
        (void)conc__syscall(SYS_membarrier, CONC__MEMBARRIER_REGISTER, 0);
        (void)conc__syscall(SYS_membarrier, CONC__MEMBARRIER_PRIVATE_EXPEDITED, 0);
    }
    errno = saved;
}

#else

bool CONC__PORT(heavy_fence_ready)(void) {
    return false;
}

void CONC__PORT(heavy_fence)(void) {
}

#endif

/* ---- threads -------------------------------------------------------------------------------------- */

static void *conc__port_thread_main(void *p) {
    conc__port_thread *t = (conc__port_thread *)p;
    t->fn(t->arg); /* `t` may be gone after this */
    return NULL;
}

int CONC__PORT(thread_start)(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size) {
    pthread_attr_t attr;
    pthread_t handle;
    int e = CONC__FAULT("pthread_attr_init", ENOMEM);
    if (e == 0) e = pthread_attr_init(&attr);
    if (e != 0) return e;
    if (stack_size != 0) {
        const size_t page = 65536; /* a multiple of every page size in use */
        stack_size = stack_size > SIZE_MAX - page ? SIZE_MAX / page * page : (stack_size + page - 1) / page * page;
        /* The least that the system takes differs (128 KiB with glibc on aarch64) and its name is hidden in strict
         * C99: EINVAL says that it was more. */
        for (;;) {
            e = CONC__FAULT("pthread_attr_setstacksize", EINVAL);
            if (e == 0) e = pthread_attr_setstacksize(&attr, stack_size);
            if (e != EINVAL || stack_size >= 1048576) break;
            stack_size *= 2;
        }
    }
    t->fn = fn;
    t->arg = arg;
    if (e == 0) e = CONC__FAULT("pthread_create", EAGAIN, ENOMEM, EPERM);
    if (e == 0) e = pthread_create(&handle, &attr, conc__port_thread_main, t);
    if (e == 0) memcpy(t->handle, &handle, sizeof handle);
    (void)pthread_attr_destroy(&attr);
    return e;
}

void CONC__PORT(thread_join)(conc__port_thread *t) {
    pthread_t handle;
    memcpy(&handle, t->handle, sizeof handle);
    (void)pthread_join(handle, NULL);
}

void CONC__PORT(thread_detach)(conc__port_thread *t) {
    pthread_t handle;
    memcpy(&handle, t->handle, sizeof handle);
    (void)pthread_detach(handle);
}

void CONC__PORT(thread_set_name)(const char *name) {
#if CONC_OS_LINUX
    char cut[16]; /* TASK_COMM_LEN */
    size_t n = strlen(name);
    if (n > sizeof cut - 1) n = sizeof cut - 1;
    memcpy(cut, name, n);
    cut[n] = '\0';
    (void)conc__syscall(SYS_prctl, 15L /* PR_SET_NAME */, cut, 0L, 0L, 0L);
#elif CONC_OS_MACOS
    (void)pthread_setname_np(name);
#else
    (void)name;
#endif
}

void CONC__PORT(yield)(void) {
#if CONC_OS_LINUX
    (void)conc__syscall(SYS_sched_yield);
#else
    (void)sched_yield();
#endif
}

/* ---- the key -------------------------------------------------------------------------------------- */

static pthread_key_t conc__port_key;
static pthread_once_t conc__port_key_once = PTHREAD_ONCE_INIT;
static bool conc__port_key_made;                /* written under the once */
static void *conc__port_key_destroy;            /* atomic; every caller hands in the same function */

static void conc__port_key_end(void *value) {
    void (*destroy)(void *);
    void *p = conc__loadp(&conc__port_key_destroy, CONC__ACQUIRE);
    memcpy(&destroy, &p, sizeof destroy); /* ISO C has no cast between the two */
    destroy(value);
}

static void conc__port_key_make(void) {
    conc__port_key_made = CONC__FAULT("pthread_key_create", EAGAIN, ENOMEM) == 0 &&
                          pthread_key_create(&conc__port_key, conc__port_key_end) == 0;
}

void *CONC__PORT(key_get)(void) {
    (void)pthread_once(&conc__port_key_once, conc__port_key_make);
    return conc__port_key_made ? pthread_getspecific(conc__port_key) : NULL;
}

bool CONC__PORT(key_set)(void *value, void (*destroy)(void *)) {
    (void)pthread_once(&conc__port_key_once, conc__port_key_make);
    {
        void *p;
        memcpy(&p, &destroy, sizeof p);
        conc__storep(&conc__port_key_destroy, p, CONC__RELEASE);
    }
    /* (To take the value away again cannot fail.) */
    return conc__port_key_made && (value == NULL || CONC__FAULT_ONCE("pthread_setspecific", ENOMEM) == 0) &&
           pthread_setspecific(conc__port_key, value) == 0;
}

/* ---- the process and the machine ---------------------------------------------------------------- */

#if CONC_OS_LINUX

static unsigned conc__affinity_count(void) {
    unsigned long mask[256]; /* 16,384 processors */
    long bytes = CONC__FAULT("sched_getaffinity", EINVAL) == 0
                     ? conc__syscall(SYS_sched_getaffinity, 0L, sizeof mask, mask)
                     : -1;
    unsigned n = 0;
    long i;
    for (i = 0; i < bytes / (long)sizeof mask[0]; i++) {
        unsigned long m;
        for (m = mask[i]; m != 0; m &= m - 1) n++;
    }
    return n;
}

/* The processors that the quota in one cgroup directory allows, rounded up; 0: none set. */
static unsigned conc__quota_in(const char *directory) {
    char path[600];
    long long quota = -1, period = 0;
    FILE *f;
    (void)snprintf(path, sizeof path, "%s/cpu.max", directory); /* version 2 */
    f = CONC__FAULT("fopen: quota", ENOENT, EMFILE) == 0 ? fopen(path, "r") : NULL;
    if (f != NULL) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = -1; /* "max 100000" */
        (void)fclose(f);
    } else { /* version 1 */
        (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
        f = fopen(path, "r");
        if (f == NULL) return 0;
        if (fscanf(f, "%lld", &quota) != 1) quota = -1;
        (void)fclose(f);
        (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
        f = fopen(path, "r");
        if (f == NULL) return 0;
        if (fscanf(f, "%lld", &period) != 1) period = 0;
        (void)fclose(f);
    }
    if (quota <= 0 || period <= 0) return 0;
    return (unsigned)((quota + period - 1) / period);
}

/* Whether `word` is one of the comma-separated words of `list`. */
static bool conc__list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    while (list != NULL) {
        if (strncmp(list, word, n) == 0 && (list[n] == ',' || list[n] == '\0')) return true;
        list = strchr(list, ',');
        if (list != NULL) list++;
    }
    return false;
}

/* The least quota of the group we are in and the groups above it. */
static unsigned conc__cgroup_count(void) {
    char line[512], directory[560];
    unsigned least = 0;
    FILE *f = CONC__FAULT("fopen: cgroup", ENOENT, EMFILE) == 0 ? fopen("/proc/self/cgroup", "r") : NULL;
    if (f == NULL) return 0;
    while (fgets(line, sizeof line, f) != NULL) { /* "0::/a/b" or "4:cpu,cpuacct:/a/b" */
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        const char *root;
        size_t root_length;
        if (path == NULL) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        controllers++;
        if (*controllers == '\0') {
            root = "/sys/fs/cgroup";
        } else if (conc__list_has(controllers, "cpu")) {
            root = "/sys/fs/cgroup/cpu";
        } else {
            continue;
        }
        root_length = strlen(root);
        (void)snprintf(directory, sizeof directory, "%s%s", root, path);
        for (;;) {
            unsigned n = conc__quota_in(directory);
            char *slash = strrchr(directory, '/');
            if (n != 0 && (least == 0 || n < least)) least = n;
            if (slash == NULL || slash < directory + root_length) break;
            *slash = '\0';
        }
    }
    (void)fclose(f);
    return least;
}

unsigned CONC__PORT(cpu_count)(void) {
    int saved = errno;
    unsigned n = conc__affinity_count(), quota = conc__cgroup_count();
    errno = saved;
    if (quota != 0 && quota < n) n = quota;
    return n != 0 ? n : 1;
}

#else

unsigned CONC__PORT(cpu_count)(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

#endif

int CONC__PORT(on_fork)(void (*child)(void)) {
    int e = CONC__FAULT("pthread_atfork", ENOMEM);
    return e != 0 ? e : pthread_atfork(NULL, NULL, child);
}

const char *CONC__PORT(error_text)(int error, char *buffer, size_t size) {
    /* strerror() and not strerror_r(), of which there are two; its race is for text only. */
    (void)snprintf(buffer, size, "%s", strerror(error));
    return buffer;
}

#endif /* !CONC_OS_WINDOWS */
