/* ============================================================================================
 * port, Windows: 8 and later, without a pthread library.
 *
 * What came after Windows 8, and what no import library has, is looked up when the program runs. The
 * functions leave the thread's GetLastError() as they found it. Link with `synchronization` (with mingw
 * -lsynchronization; the Microsoft compiler is told below).
 * ========================================================================================== */

#include "internal.h"

#if CONC_OS_WINDOWS

#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

#if defined(_WIN32_WINNT) && _WIN32_WINNT < 0x0602
#error "conc.h: the implementation needs Windows 8: define _WIN32_WINNT as 0x0602 or more, before any include"
#endif

#if defined(__MINGW32__)
#include <float.h>
#endif
#include <stdio.h>

#if defined(_MSC_VER)
#pragma comment(lib, "synchronization")
#endif

/* A function of a system library that is always loaded; NULL on systems that have none of that name. The
 * caller casts it to what it is. */
typedef void (*conc__win_fn)(void);
static conc__win_fn conc__win_find(const WCHAR *library, const char *name) {
    HMODULE module = GetModuleHandleW(library);
    return module != NULL ? (conc__win_fn)GetProcAddress(module, name) : NULL;
}

/* ---- time ------------------------------------------------------------------------------------- */

/* The counter never goes back, and is the same for all processors. Whole seconds and the rest are converted
 * apart: the rest is below the frequency, so its product stays below 2^63 for every frequency up to 9 GHz
 * (those in use: 10 MHz, or the processor's own). Neither call can fail since Windows XP, and the
 * frequency is read from a page that every process has mapped: it costs less than guarding a copy. */
int64_t CONC__PORT(clock_ns)(void) {
    LARGE_INTEGER ticks, hz;
    (void)QueryPerformanceFrequency(&hz);
    (void)QueryPerformanceCounter(&ticks);
    return ticks.QuadPart / hz.QuadPart * 1000000000 + ticks.QuadPart % hz.QuadPart * 1000000000 / hz.QuadPart;
}

/* ---- wait on address --------------------------------------------------------------------------
 * Why no wake is lost: WaitOnAddress enters the thread in the process's table of waiters for the address and
 * compares *a after that, before it sleeps; a waker looks in the table after *a was changed. Either the
 * comparison sees the change, or the waker sees the waiter; a wake sent to a waiter that is not asleep yet makes
 * it not fall asleep. Both sides of this Dekker pair need a full fence between their two steps. The
 * system makes the waiter's; the waker's is made here, since *a may have been changed by a plain store, and
 * nothing promises that the system looks with more than a load. */

/* The longest time-out there is: one more millisecond would be INFINITE. */
#define CONC__WIN_MS_MAX ((DWORD)(INFINITE - 1))

/* Milliseconds that are not less than `ns` (over 0), or as many as one call can wait. */
static DWORD conc__win_ms(int64_t ns) {
    int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
    return ms < (int64_t)CONC__WIN_MS_MAX ? (DWORD)ms : CONC__WIN_MS_MAX;
}

/* The system counts time-outs in ticks of its timer and may call one over a little before our clock agrees:
 * so it is our clock that decides, and what is left is waited for again. The loop goes round again only
 * after time has passed in the system. It ends: with the wake, the change or the deadline. */
bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    DWORD saved = GetLastError();
    bool passed = false;
    for (;;) {
        DWORD ms = INFINITE;
        if (deadline_ns != INT64_MAX) {
            int64_t now = conc__port_clock_ns(); /* is not negative: the difference cannot overflow */
            passed = deadline_ns <= now;
            if (passed) break;
            ms = conc__win_ms(deadline_ns - now);
        }
        if (WaitOnAddress(a, &expected, sizeof expected, ms)) break;
        if (GetLastError() != ERROR_TIMEOUT) break; /* none is documented: to us, a wake for no reason */
    }
    SetLastError(saved);
    return passed;
}

void CONC__PORT(wake_one)(uint32_t *a) {
    MemoryBarrier();
    WakeByAddressSingle(a);
}

void CONC__PORT(wake_all)(uint32_t *a) {
    MemoryBarrier();
    WakeByAddressAll(a);
}

/* ---- the heavy fence --------------------------------------------------------------------------
 * The system interrupts each processor that runs a thread of this process; a thread that does not run has passed
 * a fence when it was switched away. Every Windows since Vista has it, but in many versions of Wine the call
 * is there and does nothing: under Wine there is no heavy fence. */

bool CONC__PORT(heavy_fence_ready)(void) {
    static uint32_t known; /* atomic: 0 not asked yet, 1 no, 2 yes */
    uint32_t k = conc__load32(&known, CONC__RELAXED);
    if (k == 0) {
        DWORD saved = GetLastError();
        k = conc__win_find(L"ntdll.dll", "wine_get_version") != NULL ? 1 : 2;
        conc__store32(&known, k, CONC__RELAXED);
        SetLastError(saved);
    }
    return k == 2;
}

void CONC__PORT(heavy_fence)(void) {
    FlushProcessWriteBuffers();
}

/* ---- threads -------------------------------------------------------------------------------------- */

static DWORD WINAPI conc__port_thread_main(void *p) {
    conc__port_thread *t = (conc__port_thread *)p;
#if defined(__MINGW32__) && (defined(__i386__) || defined(__x86_64__))
    _fpreset(); /* the system starts a thread with the x87 cut to double; mingw's long double has more */
#endif
    t->fn(t->arg); /* `t` may be gone after this */
    return 0;
}

/* The thread is made stopped and let go once its handle is in `t`: whoever the thread tells of itself may
 * join or detach it at once. It is CreateThread and not _beginthreadex: since Visual C++ 2015, and always
 * with mingw, the C library makes its own data for a thread it has not started, and frees it. */
int CONC__PORT(thread_start)(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size) {
    DWORD saved = GetLastError(), error;
    HANDLE handle;
    int fault = CONC__FAULT("CreateThread", ERROR_NOT_ENOUGH_MEMORY, ERROR_MAX_THRDS_REACHED);
    if (fault != 0) return fault;
    t->fn = fn;
    t->arg = arg;
    /* The size is what is set aside, rounded up by the system (which must not wrap around); 0: what the program's
     * file says. */
    if (stack_size > SIZE_MAX / 2) stack_size = SIZE_MAX / 2;
    handle = CreateThread(NULL, stack_size, conc__port_thread_main, t,
                          CREATE_SUSPENDED | STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (handle == NULL) {
        error = GetLastError();
        SetLastError(saved);
        return error != ERROR_SUCCESS ? (int)error : ERROR_NOT_ENOUGH_MEMORY;
    }
    t->handle[0] = handle;
    (void)ResumeThread(handle); /* can fail only without a right that the maker's handle has */
    return 0;
}

/* The system signals a thread's handle when it has ended it: by then its keys are destroyed and its stack is
 * given back. So this wait ends when fn, and the destructors, have returned. */
void CONC__PORT(thread_join)(conc__port_thread *t) {
    DWORD saved = GetLastError();
    (void)WaitForSingleObject(t->handle[0], INFINITE);
    (void)CloseHandle(t->handle[0]);
    SetLastError(saved);
}

/* A thread runs on without handles. */
void CONC__PORT(thread_detach)(conc__port_thread *t) {
    DWORD saved = GetLastError();
    (void)CloseHandle(t->handle[0]);
    SetLastError(saved);
}

/* SetThreadDescription came with Windows 10, first in one library and then in the other; older systems have
 * no names for threads. `name` is UTF-8; what does not fit is cut. */
void CONC__PORT(thread_set_name)(const char *name) {
    typedef HRESULT(WINAPI * describe_fn)(HANDLE, const WCHAR *);
    DWORD saved = GetLastError();
    WCHAR wide[64];
    int bytes = 0, n;
    describe_fn describe = (describe_fn)conc__win_find(L"kernel32.dll", "SetThreadDescription");
    if (describe == NULL) describe = (describe_fn)conc__win_find(L"kernelbase.dll", "SetThreadDescription");
    if (describe != NULL) {
        while (bytes < 63 && name[bytes] != '\0') bytes++; /* a byte makes at most one unit of UTF-16 */
        n = bytes > 0 ? MultiByteToWideChar(CP_UTF8, 0, name, bytes, wide, 63) : 0;
        wide[n] = L'\0';
        (void)describe(GetCurrentThread(), wide);
    }
    SetLastError(saved);
}

void CONC__PORT(yield)(void) {
    (void)SwitchToThread();
}

/* ---- the key --------------------------------------------------------------------------------------
 * A fiber-local slot, because the system calls a destructor for these and not for thread-local ones; a thread
 * that has made no fibers is one fiber. The system also calls it for the thread that ends the process, at a
 * moment when the other threads have been killed wherever they were: a destructor that took a lock could
 * wait for one of them for ever. So it is asked whether that is the case. */

static INIT_ONCE conc__win_key_once = INIT_ONCE_STATIC_INIT;
static DWORD conc__win_key_slot;                /* all written under the once */
static void (*conc__win_key_destroy)(void *);
static BOOLEAN(NTAPI *conc__win_process_ends)(void);
static uint32_t conc__win_key_made;             /* atomic; publishes the slot */

/* Up to four rounds, as with pthreads; what is left after them is dropped. */
static void WINAPI conc__win_key_end(void *value) {
    int round;
    if (conc__win_process_ends != NULL && conc__win_process_ends()) return;
    for (round = 0; round < 4 && value != NULL; round++) {
        (void)FlsSetValue(conc__win_key_slot, NULL);
        conc__win_key_destroy(value);
        value = FlsGetValue(conc__win_key_slot);
    }
    (void)FlsSetValue(conc__win_key_slot, NULL);
}

/* Under the once, which lets others wait until it returns; that it does without waiting for anybody. When
 * it fails, the next to come tries again. */
static BOOL WINAPI conc__win_key_make(INIT_ONCE *once, void *destroy, void **unused) {
    typedef BOOLEAN(NTAPI * ends_fn)(void);
    DWORD slot = CONC__FAULT("FlsAlloc", ERROR_NOT_ENOUGH_MEMORY) == 0 ? FlsAlloc(conc__win_key_end) : FLS_OUT_OF_INDEXES;
    (void)once;
    (void)unused;
    if (slot == FLS_OUT_OF_INDEXES) return FALSE;
    conc__win_key_slot = slot;
    conc__win_key_destroy = *(void (**)(void *))destroy;
    conc__win_process_ends = (ends_fn)conc__win_find(L"ntdll.dll", "RtlDllShutdownInProgress");
    conc__store32(&conc__win_key_made, 1, CONC__RELEASE);
    return TRUE;
}

void *CONC__PORT(key_get)(void) {
    DWORD saved;
    void *value;
    if (conc__load32(&conc__win_key_made, CONC__ACQUIRE) == 0) return NULL; /* nobody has set one */
    saved = GetLastError();
    value = FlsGetValue(conc__win_key_slot);
    SetLastError(saved);
    return value;
}

bool CONC__PORT(key_set)(void *value, void (*destroy)(void *)) {
    DWORD saved = GetLastError();
    bool done = InitOnceExecuteOnce(&conc__win_key_once, conc__win_key_make, &destroy, NULL) &&
                (value == NULL || CONC__FAULT("FlsSetValue", ERROR_NOT_ENOUGH_MEMORY) == 0) &&
                FlsSetValue(conc__win_key_slot, value);
    SetLastError(saved);
    return done;
}

/* ---- the process and the machine ---------------------------------------------------------------- */

/* What QueryInformationJobObject tells about JobObjectCpuRateControlInformation, spelled out because the headers
 * differ in how much of it they know. */
typedef struct conc__win_cpu_rate {
    DWORD flags;
    DWORD rate; /* 1/100 % of all processors together; with MIN_MAX the upper half is the most */
} conc__win_cpu_rate;
#define CONC__WIN_CPU_RATE_INFORMATION ((JOBOBJECTINFOCLASS)15)
#define CONC__WIN_CPU_RATE_ENABLE 0x1u
#define CONC__WIN_CPU_RATE_HARD_CAP 0x4u
#define CONC__WIN_CPU_RATE_MIN_MAX 0x10u

/* How many processors, rounded up, the process's job (containers are jobs) may use at most out of `all`; 0:
 * it has no hard cap, or there is no job. */
static unsigned conc__win_job_count(unsigned all) {
    conc__win_cpu_rate r;
    DWORD rate = 0;
    if (CONC__FAULT("QueryInformationJobObject", ERROR_ACCESS_DENIED) != 0 ||
        !QueryInformationJobObject(NULL, CONC__WIN_CPU_RATE_INFORMATION, &r, sizeof r, NULL)) {
        return 0;
    }
    if ((r.flags & CONC__WIN_CPU_RATE_ENABLE) == 0) return 0;
    if ((r.flags & CONC__WIN_CPU_RATE_HARD_CAP) != 0) rate = r.rate;
    if ((r.flags & CONC__WIN_CPU_RATE_MIN_MAX) != 0) rate = r.rate >> 16;
    return (unsigned)(((uint64_t)rate * all + 9999) / 10000);
}

/* A process runs on one group of at most 64 processors and its affinity mask is about that group; when it has
 * threads in several groups the mask reads as zero, and all processors count. */
unsigned CONC__PORT(cpu_count)(void) {
    DWORD saved = GetLastError();
    DWORD_PTR mask = 0, system = 0;
    unsigned all = (unsigned)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS), n = 0, job;
    if (CONC__FAULT("GetProcessAffinityMask", ERROR_ACCESS_DENIED) == 0 &&
        GetProcessAffinityMask(GetCurrentProcess(), &mask, &system)) {
        for (; mask != 0; mask &= mask - 1) n++;
    }
    if (n == 0) n = all;
    job = conc__win_job_count(all);
    if (job != 0 && job < n) n = job;
    SetLastError(saved);
    return n != 0 ? n : 1;
}

int CONC__PORT(on_fork)(void (*child)(void)) {
    (void)child; /* there is no fork */
    return 0;
}

/* In the user's language. The system ends its sentences with a full stop and a line end, which do not fit
 * into ours; a text too long for `buffer` is cut between characters. */
const char *CONC__PORT(error_text)(int error, char *buffer, size_t size) {
    DWORD saved = GetLastError();
    WCHAR wide[512];
    int room = size > 4096 ? 4095 : (int)size - 1, bytes = 0;
    int n = (int)FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                                    FORMAT_MESSAGE_MAX_WIDTH_MASK,
                                NULL, (DWORD)error, 0, wide, 512, NULL);
    if (size == 0) return buffer;
    while (n > 0 && (wide[n - 1] == L' ' || wide[n - 1] == L'\r' || wide[n - 1] == L'\n')) n--;
    if (n > 0 && wide[n - 1] == L'.') n--;
    for (; n > 0; n--) {
        bool half = wide[n - 1] >= 0xD800 && wide[n - 1] <= 0xDBFF; /* of a character: its other half was cut */
        bytes = half ? 0 : WideCharToMultiByte(CP_UTF8, 0, wide, n, NULL, 0, NULL, NULL);
        if (bytes > 0 && bytes <= room) break;
    }
    if (n > 0) {
        (void)WideCharToMultiByte(CP_UTF8, 0, wide, n, buffer, room, NULL, NULL);
        buffer[bytes] = '\0';
    } else {
        (void)snprintf(buffer, size, "error %d", error);
    }
    SetLastError(saved);
    return buffer;
}

#endif /* CONC_OS_WINDOWS */
