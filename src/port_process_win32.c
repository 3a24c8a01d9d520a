/* ============================================================================================
 * port, Windows: processes. There is no fork. A process is given the handles that it is to have and no others; its end is
 * told by the system's own threads; the lifeline is a job, which the system ends with the last handle to it.
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

#include <stdio.h>

#define CONC__WIN_HANDLES 20
#define CONC__WIN_HANDLE_LIST ((DWORD_PTR)0x00020002) /* PROC_THREAD_ATTRIBUTE_HANDLE_LIST, which not all headers have */

static HANDLE conc__win_job; /* set by conc__port_life_open(), before the first process is started */

static int conc__win_error(DWORD saved) {
    int e = (int)GetLastError();
    SetLastError(saved);
    return e != 0 ? e : ERROR_GEN_FAILURE;
}

/* ---- sockets ----------------------------------------------------------------------------------------- */

/* A connection on the loopback, that nobody else can have got into. */
int conc__port_socket_pair(intptr_t fd[2]) {
    conc_address a, mine, theirs;
    conc__port_pollfd look;
    intptr_t listener;
    int e, error;
    fd[0] = fd[1] = -1;
    memset(&a, 0, sizeof a);
    a.family = 4;
    a.ip[0] = 127;
    a.ip[3] = 1;
    e = conc__port_socket(4, true, &listener);
    if (e != 0) return e;
    e = conc__port_socket_bind(listener, &a);
    if (e == 0) e = conc__port_socket_listen(listener, 1);
    if (e == 0) e = conc__port_socket_name(listener, false, &a);
    if (e == 0) e = conc__port_socket(4, true, &fd[0]);
    if (e == 0) e = conc__port_socket_connect(fd[0], &a);
    if (e == CONC__PORT_IN_PROGRESS) e = 0;
    while (e == 0 && fd[1] == -1) {
        look.fd = listener;
        look.want = CONC__PORT_READ;
        if (conc__port_poll(&look, 1, conc__port_clock_ns() + (int64_t)10000000000, &error) <= 0) {
            e = WSAETIMEDOUT;
            break;
        }
        e = conc__port_socket_accept(listener, &fd[1], &theirs);
        if (conc__port_would_block(e)) {
            e = 0;
            continue;
        }
        if (e == 0) e = conc__port_socket_name(fd[0], false, &mine);
        if (e == 0 && !conc_address_equal(&mine, &theirs)) { /* a stranger */
            conc__port_socket_close(fd[1]);
            fd[1] = -1;
        }
    }
    conc__port_socket_close(listener);
    if (e == 0) { /* the other side has accepted, so it is connected, or is about to be */
        look.fd = fd[0];
        look.want = CONC__PORT_WRITE;
        if (conc__port_poll(&look, 1, conc__port_clock_ns() + (int64_t)10000000000, &error) <= 0) e = WSAETIMEDOUT;
    }
    if (e == 0) e = conc__port_socket_option(fd[0], CONC__PORT_NO_DELAY, 1);
    if (e == 0) e = conc__port_socket_option(fd[1], CONC__PORT_NO_DELAY, 1);
    if (e != 0) {
        conc__port_socket_close(fd[0]);
        conc__port_socket_close(fd[1]);
        fd[0] = fd[1] = -1;
    }
    return e;
}

/* ---- the lifeline ------------------------------------------------------------------------------------- */

int conc__port_life_open(intptr_t life[2]) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
    DWORD saved = GetLastError();
    HANDLE job;
    int e = CONC__FAULT("CreateJobObjectW", ERROR_NOT_ENOUGH_MEMORY);
    life[0] = life[1] = -1;
    if (e != 0) return e;
    job = CreateJobObjectW(NULL, NULL);
    if (job == NULL) return conc__win_error(saved);
    memset(&limits, 0, sizeof limits);
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits)) {
        e = conc__win_error(saved);
        (void)CloseHandle(job);
        return e;
    }
    conc__win_job = job;
    life[1] = (intptr_t)job;
    return 0;
}

void conc__port_life_close(intptr_t fd) {
    (void)fd; /* it stays until the process ends: that is what it is for */
}

int conc__port_life_watch(intptr_t life) {
    (void)life;
    return 0;
}

/* ---- starting -------------------------------------------------------------------------------------------- */

static VOID CALLBACK conc__win_process_ended(PVOID process, BOOLEAN timed_out) {
    conc__port_process *p = (conc__port_process *)process;
    (void)timed_out;
    p->ended(p->arg);
}

/* The command line: the program's own name first, in quotes, which cannot be part of it. */
static bool conc__win_command(WCHAR *line, size_t size, const WCHAR *program, const char *option, const char *argument) {
    char rest[200];
    size_t n = wcslen(program), i;
    int length = snprintf(rest, sizeof rest, " %s %s -1", option, argument);
    if (length < 0 || n + (size_t)length + 3 > size) return false;
    line[0] = L'"';
    memcpy(line + 1, program, n * sizeof *line);
    line[n + 1] = L'"';
    for (i = 0; i <= (size_t)length; i++) line[n + 2 + i] = (WCHAR)(unsigned char)rest[i];
    return true;
}

/* The standard handles as others may have them. */
static void conc__win_standard(STARTUPINFOW *s, HANDLE *list, DWORD *count) {
    static const DWORD which[3] = { STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE };
    HANDLE copies[3];
    int i;
    for (i = 0; i < 3; i++) {
        HANDLE h = GetStdHandle(which[i]);
        copies[i] = NULL;
        if (h != NULL && h != INVALID_HANDLE_VALUE &&
            DuplicateHandle(GetCurrentProcess(), h, GetCurrentProcess(), &copies[i], 0, TRUE, DUPLICATE_SAME_ACCESS)) {
            list[(*count)++] = copies[i];
        }
    }
    s->dwFlags = STARTF_USESTDHANDLES;
    s->hStdInput = copies[0];
    s->hStdOutput = copies[1];
    s->hStdError = copies[2];
}

static int conc__win_create(WCHAR *program, WCHAR *line, HANDLE *list, DWORD count, STARTUPINFOEXW *start,
                            PROCESS_INFORMATION *info) {
    uint64_t memory[64]; /* a list of one attribute is 48 bytes */
    SIZE_T size = 0;
    int e = 0;
    start->lpAttributeList = (LPPROC_THREAD_ATTRIBUTE_LIST)(void *)memory;
    (void)InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    if (size > sizeof memory) return ERROR_NOT_ENOUGH_MEMORY;
    if (!InitializeProcThreadAttributeList(start->lpAttributeList, 1, 0, &size)) return (int)GetLastError();
    if (!UpdateProcThreadAttribute(start->lpAttributeList, 0, CONC__WIN_HANDLE_LIST, list, count * sizeof *list, NULL,
                                   NULL) ||
        !CreateProcessW(program, line, NULL, NULL, TRUE, CREATE_SUSPENDED | EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                        &start->StartupInfo, info)) {
        e = (int)GetLastError();
    }
    DeleteProcThreadAttributeList(start->lpAttributeList);
    return e;
}

int conc__port_process_spawn(conc__port_process *p, const char *program, const char *option, const char *argument,
                             const intptr_t *inherit, size_t n, intptr_t socket, void *passed) {
    STARTUPINFOEXW start;
    PROCESS_INFORMATION info;
    HANDLE list[CONC__WIN_HANDLES];
    DWORD saved = GetLastError(), count = 0, ours, i;
    WCHAR *text; /* of the program, and the command line */
    const size_t room = 33000;
    int e = CONC__FAULT("CreateProcessW", ERROR_NOT_ENOUGH_MEMORY, ERROR_FILE_NOT_FOUND);
    (void)program; /* the system knows */
    p->pid = 0;
    p->end = -1;
    p->early = false;
    p->handle[0] = p->handle[1] = NULL;
    if (e != 0) return e;
    memset(&start, 0, sizeof start);
    start.StartupInfo.cb = sizeof start;
    text = (WCHAR *)conc__alloc(2 * room, sizeof *text, "a command line");
    if (text == NULL) return ERROR_NOT_ENOUGH_MEMORY;
    i = GetModuleFileNameW(NULL, text, (DWORD)room);
    if (i == 0 || i >= (DWORD)room || !conc__win_command(text + room, room, text, option, argument)) {
        conc__free(text);
        SetLastError(saved);
        return ERROR_FILENAME_EXCED_RANGE;
    }
    conc__win_standard(&start.StartupInfo, list, &count);
    ours = count;
    for (i = 0; i < (DWORD)n; i++) {
        if (inherit[i] == -1) continue;
        list[count] = (HANDLE)inherit[i];
        (void)SetHandleInformation(list[count++], HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    }
    e = conc__win_create(text, text + room, list, count, &start, &info);
    for (i = 0; i < count; i++) {
        if (i < ours) {
            (void)CloseHandle(list[i]);
        } else {
            (void)SetHandleInformation(list[i], HANDLE_FLAG_INHERIT, 0);
        }
    }
    conc__free(text);
    if (e == 0) {
        p->pid = (long)info.dwProcessId;
        p->handle[0] = info.hProcess;
        if (socket != -1) e = conc__port_socket_pass(socket, p->pid, passed);
        if (e != 0 || !AssignProcessToJobObject(conc__win_job, info.hProcess) ||
            !RegisterWaitForSingleObject(&p->handle[1], info.hProcess, conc__win_process_ended, p, INFINITE,
                                         WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD)) {
            if (e == 0) e = (int)GetLastError();
            p->handle[1] = NULL;
            (void)TerminateProcess(info.hProcess, 1);
            conc__port_process_close(p);
        } else {
            (void)ResumeThread(info.hThread);
        }
        (void)CloseHandle(info.hThread);
    }
    SetLastError(saved);
    return e;
}

void conc__port_inherited(intptr_t fd) {
    DWORD saved = GetLastError();
    if (fd != -1) (void)SetHandleInformation((HANDLE)fd, HANDLE_FLAG_INHERIT, 0);
    SetLastError(saved);
}

/* ---- ending -------------------------------------------------------------------------------------------------- */

bool conc__port_process_reap(conc__port_process *p, conc__port_ending *ending) {
    DWORD saved = GetLastError(), code = 0;
    bool ended = WaitForSingleObject(p->handle[0], 0) == WAIT_OBJECT_0;
    memset(ending, 0, sizeof *ending);
    if (ended) {
        ending->known = GetExitCodeProcess(p->handle[0], &code) != 0;
        ending->code = (int)code;
    }
    SetLastError(saved);
    return ended;
}

int conc__port_process_signal(conc__port_process *p, bool kill) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("TerminateProcess", ERROR_ACCESS_DENIED);
    if (e == 0 && !TerminateProcess(p->handle[0], kill ? 9u : 15u)) {
        e = conc__win_error(saved);
        if (WaitForSingleObject(p->handle[0], 0) == WAIT_OBJECT_0) e = 0; /* it is ending */
    }
    SetLastError(saved);
    return e;
}

/* Waits for a call of `ended` that is under way. */
void conc__port_process_close(conc__port_process *p) {
    DWORD saved = GetLastError();
    if (p->handle[1] != NULL) (void)UnregisterWaitEx(p->handle[1], INVALID_HANDLE_VALUE);
    if (p->handle[0] != NULL) (void)CloseHandle(p->handle[0]);
    p->handle[0] = p->handle[1] = NULL;
    SetLastError(saved);
}

long conc__port_pid(void) {
    return (long)GetCurrentProcessId();
}

void conc__port_exit(int code) {
    for (;;) (void)TerminateProcess(GetCurrentProcess(), (UINT)code);
}

void conc__port_ignore_interrupt(void) {
    DWORD saved = GetLastError();
    (void)SetConsoleCtrlHandler(NULL, TRUE);
    SetLastError(saved);
}

/* A job of its own within its parent's. What it has at its beginning is little. */
int conc__port_limit_memory(uint64_t more) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
    DWORD saved = GetLastError();
    int e = CONC__FAULT("CreateJobObjectW: limit", ERROR_NOT_ENOUGH_MEMORY);
    HANDLE job = e == 0 ? CreateJobObjectW(NULL, NULL) : NULL;
    if (e == 0 && job == NULL) return conc__win_error(saved);
    if (e != 0) return e;
    memset(&limits, 0, sizeof limits);
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY;
    limits.ProcessMemoryLimit = more > SIZE_MAX - ((SIZE_T)16 << 20) ? SIZE_MAX : (SIZE_T)more + ((SIZE_T)16 << 20);
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits) ||
        !AssignProcessToJobObject(job, GetCurrentProcess())) {
        e = conc__win_error(saved);
    }
    SetLastError(saved);
    return e; /* (the job stays until the process ends) */
}

const char *conc__port_signal_name(int number) {
    (void)number; /* there are no signals */
    return NULL;
}

/* ---- shared memory ------------------------------------------------------------------------------------------------ */

static int conc__win_map(conc__port_block *b) {
    DWORD saved = GetLastError();
    int e = 0;
    b->data = MapViewOfFile((HANDLE)b->fd, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, b->size);
    if (b->data == NULL) {
        e = conc__win_error(saved);
        conc__port_block_free(b);
    }
    return e;
}

int conc__port_block_new(conc__port_block *b, size_t size, bool spawns) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("CreateFileMappingW", ERROR_NOT_ENOUGH_MEMORY);
    HANDLE h;
    (void)spawns;
    b->data = NULL;
    b->size = size;
    b->fd = -1;
    if (e != 0) return e;
    h = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, (DWORD)((uint64_t)size >> 32),
                           (DWORD)((uint64_t)size & 0xffffffffu), NULL);
    if (h == NULL) return conc__win_error(saved);
    b->fd = (intptr_t)h;
    e = CONC__FAULT("MapViewOfFile", ERROR_NOT_ENOUGH_MEMORY);
    if (e == 0) return conc__win_map(b);
    conc__port_block_free(b);
    return e;
}

int conc__port_block_open(conc__port_block *b, intptr_t fd, size_t size) {
    int e = CONC__FAULT("MapViewOfFile: open", ERROR_NOT_ENOUGH_MEMORY);
    b->data = NULL;
    b->size = size;
    b->fd = fd;
    return e != 0 ? e : conc__win_map(b);
}

void conc__port_block_free(conc__port_block *b) {
    DWORD saved = GetLastError();
    if (b->data != NULL) (void)UnmapViewOfFile(b->data);
    if (b->fd != -1) (void)CloseHandle((HANDLE)b->fd);
    b->data = NULL;
    b->fd = -1;
    SetLastError(saved);
}

#endif /* CONC_OS_WINDOWS */
